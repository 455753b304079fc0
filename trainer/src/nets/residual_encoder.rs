//! Dahl's residual encoder (2016; project 003): the first four levels of VGG-16, each of which is added to what comes back from the level below.
//!
//! Its own form is `width = 64` with `output_stride = 1` and UV as the output. Changed: the last stages have `width` channels in place of 3, which
//! squeezed all that the network knew into the shape of an RGB picture; the normalization in front of a sum stands in the encoder, in front of
//! the last ReLU of a level, so that it folds into the convolution; and the encoder is trained with the rest, for no weights come with it.

use anyhow::ensure;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::blocks::{Block, Row, Window, convolution, max_pool};
use super::check_widths;
use super::layers::{head, twice};

/// The shape of a [`ResidualEncoder`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResidualEncoderConfig {
    /// Channels at the full size; the deepest level has eight times as many.
    pub width: usize,
    /// The output's resolution is the input's divided by this: 1, 2 or 4.
    pub output_stride: usize,
}

impl Default for ResidualEncoderConfig {
    fn default() -> Self {
        Self { width: 8, output_stride: 1 }
    }
}

impl ResidualEncoderConfig {
    /// The input's sides must be multiples of this.
    pub const SIDE_MULTIPLE: usize = 8;

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the value and what it may be.
    pub fn check(&self) -> anyhow::Result<()> {
        check_widths("width", &[self.width])?;
        ensure!([1, 2, 4].contains(&self.output_stride), "net.output_stride {}: 1, 2 or 4", self.output_stride);
        Ok(())
    }
}

/// See the module's documentation.
#[derive(Module, Debug)]
pub struct ResidualEncoder {
    levels: Vec<Row>,
    narrow: Vec<Block>,
    near_end: Block,
    grey: Conv2d,
    last: Block,
    head: Conv2d,
}

impl ResidualEncoder {
    /// A network with `outputs` output channels and random weights.
    pub fn new(config: &ResidualEncoderConfig, outputs: usize, device: &Device) -> Self {
        let width = |level: usize| config.width << level;
        let level = |(at, count): (usize, usize)| {
            let from = if at == 0 { 1 } else { width(at - 1) };
            Row::new([from, width(at)], count, Window::NEAR, true, device)
        };
        let output = config.output_stride.ilog2() as usize;
        // As in the paper, the deepest map is narrowed by a 1x1 convolution and the others by 3x3 ones.
        let window = |at: usize| if at == 3 { Window::POINT } else { Window::NEAR };
        Self {
            levels: [2, 2, 3, 3].into_iter().enumerate().map(level).collect(),
            narrow: (output + 1..4).rev().map(|at| Block::new([width(at), width(at - 1)], window(at), false, device)).collect(),
            near_end: Block::new([width(output); 2], Window::NEAR, false, device),
            grey: convolution(
                [1, width(output)],
                Window { kernel: config.output_stride, stride: config.output_stride, dilation: 1 },
                false,
                device,
            ),
            last: Block::new([width(output); 2], Window::NEAR, false, device),
            head: head(width(output), outputs, device),
        }
    }

    /// Scaled lightness \[N, 1, H, W\] to \[N, outputs, H / output stride, W / output stride\], not squashed.
    pub fn forward(&self, lightness: Tensor<4>) -> Tensor<4> {
        let mut maps: Vec<Tensor<4>> = Vec::new();
        for level in &self.levels {
            let above = maps.last().map_or_else(|| lightness.clone(), |map| max_pool(map.clone(), 2));
            maps.push(level.forward(above));
        }
        let deepest = maps.pop().expect("there are four levels");
        let merged = self.narrow.iter().zip(maps.iter().rev()).fold(deepest, |x, (narrow, map)| twice(narrow.forward(x)) + map.clone());
        let merged = relu(self.near_end.linear(merged) + self.grey.forward(lightness));
        self.head.forward(self.last.forward(merged))
    }
}
