//! The first family: a recurrent U-Net of 3x3 convolutions, batch normalization and ReLU, nearest upsampling, and a ConvGRU on half of the
//! channels of its two deepest levels. Only operators that `burn-onnx` lowers are used, and everything is predicted at a quarter of the
//! input's resolution: a full-resolution head alone would cost more than the rest.

use anyhow::ensure;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::fake_quant::concatenation;
use super::layers::{Residual, Stage, head, twice};
use super::memory::{ConvGru, half_through};
use super::{BLOCKS_MAX, States, check_widths};

/// The shape of a [`RecurrentUNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecurrentUNetConfig {
    /// Channels at 1/2, 1/4, 1/8 and 1/16 of the input's resolution; even, for the two deepest give half of theirs to the recurrent cells.
    pub widths: [usize; 4],
    /// Residual blocks at 1/16, where meaning is cheap to compute.
    pub deep_blocks: usize,
    /// Channels of the last stage, in front of the head.
    pub head_width: usize,
}

impl Default for RecurrentUNetConfig {
    fn default() -> Self {
        Self { widths: [16, 40, 80, 160], deep_blocks: 2, head_width: 64 }
    }
}

impl RecurrentUNetConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the value and what it may be.
    pub fn check(&self) -> anyhow::Result<()> {
        check_widths("widths", &self.widths)?;
        ensure!(self.widths.iter().all(|w| w % 2 == 0), "net.widths {:?}: even numbers", self.widths);
        ensure!(self.deep_blocks <= BLOCKS_MAX, "net.deep_blocks is {}; at most {BLOCKS_MAX}", self.deep_blocks);
        check_widths("head_width", &[self.head_width])
    }

    /// The shapes \[C, h, w\] of the states for an input of `height` x `width`, deepest first.
    pub fn state_shapes(&self, height: usize, width: usize) -> Vec<[usize; 3]> {
        vec![[self.widths[3] / 2, height / 16, width / 16], [self.widths[2] / 2, height / 8, width / 8]]
    }
}

/// See the module's documentation.
#[derive(Module, Debug)]
pub struct RecurrentUNet {
    stem: Stage,
    to_quarter: Stage,
    quarter: Stage,
    to_eighth: Stage,
    eighth: Stage,
    to_sixteenth: Stage,
    deep: Vec<Residual>,
    deep_memory: ConvGru,
    grow_eighth: Stage,
    eighth_out: Stage,
    eighth_memory: ConvGru,
    grow_quarter: Stage,
    quarter_out: Stage,
    head: Conv2d,
}

impl RecurrentUNet {
    /// A network with `outputs` output channels.
    pub fn new(config: &RecurrentUNetConfig, outputs: usize, device: &Device) -> Self {
        let [w2, w4, w8, w16] = config.widths;
        Self {
            stem: Stage::new(1, w2, 2, device),
            to_quarter: Stage::new(w2, w4, 2, device),
            quarter: Stage::new(w4, w4, 1, device),
            to_eighth: Stage::new(w4, w8, 2, device),
            eighth: Stage::new(w8, w8, 1, device),
            to_sixteenth: Stage::new(w8, w16, 2, device),
            deep: (0..config.deep_blocks).map(|_| Residual::new(w16, device)).collect(),
            deep_memory: ConvGru::new(w16 / 2, device),
            grow_eighth: Stage::new(w16, w8, 1, device),
            eighth_out: Stage::new(2 * w8, w8, 1, device),
            eighth_memory: ConvGru::new(w8 / 2, device),
            grow_quarter: Stage::new(w8, w4, 1, device),
            quarter_out: Stage::new(2 * w4, config.head_width, 1, device),
            head: head(config.head_width, outputs, device),
        }
    }

    /// T frames of B lanes at once, over the same weights: scaled lightness \[T B, 1, H, W\], frame-major, to raw output \[T B, outputs, H/4, W/4\] and the
    /// states after the last frame. `keep` \[T\]\[B, 1, 1, 1\] holds 0 where a lane's state is zeroed in front of a frame; `None` keeps all.
    pub fn forward_clip(&self, lightness: Tensor<4>, states: States, keep: &[Option<Tensor<4>>]) -> (Tensor<4>, States) {
        let [deep_state, eighth_state] = <[_; 2]>::try_from(states).expect("this network has two states");
        let quarter = self.quarter.forward(self.to_quarter.forward(self.stem.forward(lightness)));
        let eighth = self.eighth.forward(self.to_eighth.forward(quarter.clone()));
        let mut deep = self.to_sixteenth.forward(eighth.clone());
        for block in &self.deep {
            deep = block.forward(deep);
        }
        let (deep, deep_state) = half_through(&self.deep_memory, deep, deep_state, keep);
        // Shrinking the channels before growing the picture computes a quarter of the positions.
        let grown = twice(self.grow_eighth.forward(deep));
        let eighth = self.eighth_out.forward(concatenation(vec![grown, eighth]));
        let (eighth, eighth_state) = half_through(&self.eighth_memory, eighth, eighth_state, keep);
        let grown = twice(self.grow_quarter.forward(eighth));
        let quarter = self.quarter_out.forward(concatenation(vec![grown, quarter]));
        (self.head.forward(quarter), vec![deep_state, eighth_state])
    }
}
