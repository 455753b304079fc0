//! A U-Net with a convolution over time in place of a recurrent cell, as DeepRemaster's (Iizuka and Simo-Serra 2019; named by project 000).
//!
//! Changed: the paper's window reaches one frame into the future, which a live camera does not have. This one is causal: it ends at the frame
//! that is shown. A 3x3x3 convolution over three frames is a 3x3 convolution over the three side by side, so that it needs no operator that ONNX
//! runtimes lack, and the two frames before are its state. What is convolved is squashed by a tanh, as every state stays within -1 to 1. The attention to
//! reference pictures is left out: there are none.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::blocks::{Block, Window};
use super::layers::head;
use super::unet::{Decoder, Encoder, Halves};
use super::{States, check_widths};

/// The shape of a [`TemporalConvUNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TemporalConvUNetConfig {
    /// Channels at 1/2, 1/4, 1/8 .. of the input's resolution.
    pub widths: Vec<usize>,
    /// Channels of a frame in the convolution over time.
    pub history_width: usize,
    /// Channels of the last stage, in front of the head.
    pub head_width: usize,
    /// The output's resolution is the input's divided by this.
    pub output_stride: usize,
}

impl Default for TemporalConvUNetConfig {
    fn default() -> Self {
        Self { widths: vec![16, 32, 64, 128], history_width: 64, head_width: 48, output_stride: 4 }
    }
}

impl TemporalConvUNetConfig {
    fn halves(&self) -> Halves<'_> {
        Halves { widths: &self.widths, output_stride: self.output_stride, head_width: self.head_width, normalized: true }
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the value and what it may be.
    pub fn check(&self) -> anyhow::Result<()> {
        check_widths("history_width", &[self.history_width])?;
        self.halves().check()
    }

    /// The input's sides must be multiples of this.
    pub fn side_multiple(&self) -> usize {
        self.halves().side_multiple()
    }

    /// The shape \[C, h, w\] of the state for an input of `height` x `width`: the frame before the last, then the last.
    pub fn state_shapes(&self, height: usize, width: usize) -> Vec<[usize; 3]> {
        vec![self.halves().deepest_shape(2 * self.history_width, height, width)]
    }
}

/// See the module's documentation.
#[derive(Module, Debug)]
pub struct TemporalConvUNet {
    encoder: Encoder,
    squeeze: Block,
    over_time: Block,
    decoder: Decoder,
    head: Conv2d,
}

impl TemporalConvUNet {
    /// A network with `outputs` output channels and random weights.
    pub fn new(config: &TemporalConvUNetConfig, outputs: usize, device: &Device) -> Self {
        let halves = config.halves();
        let (deepest, history) = (halves.deepest(), config.history_width);
        Self {
            encoder: Encoder::new(&halves, device),
            squeeze: Block::new([deepest, history], Window::POINT, true, device),
            over_time: Block::new([3 * history, history], Window::NEAR, true, device),
            decoder: Decoder::new(&halves, deepest + history, device),
            head: head(config.head_width, outputs, device),
        }
    }

    /// T frames of B lanes: scaled lightness \[T B, 1, H, W\], frame-major, to \[T B, outputs, H / output stride, W / output stride\], not
    /// squashed, and the state after the last frame. `keep` \[T\]\[B, 1, 1, 1\] holds 0 where a lane's state is zeroed in front of a frame.
    pub fn forward_clip(&self, lightness: Tensor<4>, states: States, keep: &[Option<Tensor<4>>]) -> (Tensor<4>, States) {
        let maps = self.encoder.forward(lightness);
        let deepest = maps[maps.len() - 1].clone();
        let squeezed = self.squeeze.linear(deepest.clone()).tanh();
        let [frames, history, ..] = squeezed.dims();
        let lanes = frames / keep.len();
        let [mut before] = <[Tensor<4>; 1]>::try_from(states).expect("a convolution over time has one state");
        let mut windows = Vec::with_capacity(keep.len());
        for (t, keep) in keep.iter().enumerate() {
            if let Some(keep) = keep {
                before = before * keep.clone();
            }
            let now = if lanes == frames { squeezed.clone() } else { squeezed.clone().narrow(0, t * lanes, lanes) };
            let window = Tensor::cat(vec![before, now], 1);
            before = window.clone().narrow(1, history, 2 * history);
            windows.push(window);
        }
        let windows = if windows.len() == 1 { windows.remove(0) } else { Tensor::cat(windows, 0) };
        let deepest = Tensor::cat(vec![self.over_time.forward(windows), deepest], 1);
        (self.head.forward(self.decoder.forward(deepest, &maps)), vec![before])
    }
}
