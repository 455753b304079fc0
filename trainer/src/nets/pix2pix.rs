//! The generator of pix2pix (Isola et al. 2017; projects 001 and 002): a U-Net of 4x4 convolutions with stride 2 and leaky ReLUs.
//!
//! Its own form is `widths = [64, 128, 256, 512, 512, 512, 512, 512]` with `output_stride = 1`; project 001's is
//! `[64, 128, 256, 256, 256, 256]` on pictures of 64 x 64. Changed: nearest upsampling and a 3x3 convolution stand in place of the transposed
//! convolutions, which `burn-onnx` does not lower; the last one is followed by the 1x1 head that all networks here have; and there is no dropout:
//! it is the generator's only noise, colorizes the same frame in two ways, and would make a resumed run another one.

use anyhow::ensure;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::blocks::{Block, Window, leaky_relu};
use super::check_widths;
use super::layers::{head, twice};

/// The shape of a [`Pix2pix`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pix2pixConfig {
    /// Channels at 1/2, 1/4, 1/8 .. of the input's resolution.
    pub widths: Vec<usize>,
    /// The output's resolution is the input's divided by this.
    pub output_stride: usize,
}

impl Default for Pix2pixConfig {
    fn default() -> Self {
        Self { widths: vec![16, 32, 64, 128, 128], output_stride: 4 }
    }
}

impl Pix2pixConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the value and what it may be.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!((2..=8).contains(&self.widths.len()), "net.widths {:?}: 2 to 8 numbers", self.widths);
        check_widths("widths", &self.widths)?;
        ensure!(
            self.output_stride.is_power_of_two() && self.output_stride < self.side_multiple() / 2,
            "net.output_stride {}: a power of two below {}",
            self.output_stride,
            self.side_multiple() / 2
        );
        Ok(())
    }

    /// The input's sides must be multiples of this.
    pub fn side_multiple(&self) -> usize {
        1 << self.widths.len()
    }
}

/// See the module's documentation.
#[derive(Module, Debug)]
pub struct Pix2pix {
    down: Vec<Block>,
    up: Vec<Block>,
    last: Block,
    head: Conv2d,
}

impl Pix2pix {
    /// A generator with `outputs` output channels and random weights.
    pub fn new(config: &Pix2pixConfig, outputs: usize, device: &Device) -> Self {
        let widths = &config.widths;
        let output = config.output_stride.ilog2() as usize;
        let deepest = widths.len() - 1;
        // The first level is not normalized.
        let down = |at: usize| Block::new([if at == 0 { 1 } else { widths[at - 1] }, widths[at]], Window::FOUR_HALVING, at > 0, device);
        // What comes from below is concatenated with what its own level kept, but for the deepest.
        let from_below = |at: usize| if at == deepest { widths[at] } else { 2 * widths[at] };
        Self {
            down: (0..widths.len()).map(down).collect(),
            up: (output + 1..widths.len())
                .rev()
                .map(|at| Block::new([from_below(at), widths[at - 1]], Window::NEAR, true, device))
                .collect(),
            last: Block::new([from_below(output), widths[output]], Window::NEAR, true, device),
            head: head(widths[output], outputs, device),
        }
    }

    /// Scaled lightness \[N, 1, H, W\] to \[N, outputs, H / output stride, W / output stride\], not squashed.
    pub fn forward(&self, lightness: Tensor<4>) -> Tensor<4> {
        let mut x = lightness;
        let mut kept = Vec::new();
        for down in &self.down {
            x = leaky_relu(down.linear(x));
            kept.push(x.clone());
        }
        for (up, kept) in self.up.iter().zip(kept.into_iter().rev().skip(1)) {
            x = Tensor::cat(vec![up.forward(twice(x)), kept], 1);
        }
        self.head.forward(self.last.forward(twice(x)))
    }
}
