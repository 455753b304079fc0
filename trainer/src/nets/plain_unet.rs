//! A U-Net of 3x3 convolutions and ReLU without memory: regression (projects 000 and 001), classification (000 and 004), and with batch
//! normalization and more levels project 000's larger U-Net. The kind of output decides which of them it is.
//!
//! Mended: every output is the head's own. Project 004 sent its logits through normalization and a sigmoid, which caps the likeliest of 105
//! bins at 2.5 %; project 000 sent them through a ReLU, and classified a* and b* apart. Project 004's shape is `widths = [64, 128, 256, 512]`
//! with `output_stride = 1`, project 000's the same widths with `dilated = 4`.

use anyhow::ensure;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::BLOCKS_MAX;
use super::blocks::{Block, Window};
use super::layers::head;
use super::unet::{Decoder, Encoder, Halves};

/// The shape of a [`PlainUNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlainUNetConfig {
    /// Channels at 1/2, 1/4, 1/8 .. of the input's resolution.
    pub widths: Vec<usize>,
    /// Dilated convolutions at the deepest level, each of which sees twice as far.
    pub dilated: usize,
    /// Whether batch normalization stands behind every convolution.
    pub batch_norm: bool,
    /// Channels of the last stage, in front of the head.
    pub head_width: usize,
    /// The output's resolution is the input's divided by this.
    pub output_stride: usize,
}

impl Default for PlainUNetConfig {
    fn default() -> Self {
        Self { widths: vec![16, 32, 64, 128], dilated: 2, batch_norm: false, head_width: 48, output_stride: 4 }
    }
}

impl PlainUNetConfig {
    fn halves(&self) -> Halves<'_> {
        Halves { widths: &self.widths, output_stride: self.output_stride, head_width: self.head_width, normalized: self.batch_norm }
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the value and what it may be.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(self.dilated <= BLOCKS_MAX, "net.dilated {}: at most {BLOCKS_MAX}", self.dilated);
        self.halves().check()
    }

    /// The input's sides must be multiples of this.
    pub fn side_multiple(&self) -> usize {
        self.halves().side_multiple()
    }
}

/// See the module's documentation.
#[derive(Module, Debug)]
pub struct PlainUNet {
    encoder: Encoder,
    dilated: Vec<Block>,
    decoder: Decoder,
    head: Conv2d,
}

impl PlainUNet {
    /// A network with `outputs` output channels and random weights.
    pub fn new(config: &PlainUNetConfig, outputs: usize, device: &Device) -> Self {
        let halves = config.halves();
        let deepest = halves.deepest();
        Self {
            encoder: Encoder::new(&halves, device),
            dilated: (0..config.dilated).map(|_| Block::new([deepest; 2], Window::DILATED, config.batch_norm, device)).collect(),
            decoder: Decoder::new(&halves, deepest, device),
            head: head(config.head_width, outputs, device),
        }
    }

    /// Scaled lightness \[N, 1, H, W\] to \[N, outputs, H / output stride, W / output stride\], not squashed.
    pub fn forward(&self, lightness: Tensor<4>) -> Tensor<4> {
        let maps = self.encoder.forward(lightness);
        let deepest = self.dilated.iter().fold(maps[maps.len() - 1].clone(), |x, block| block.forward(x));
        self.head.forward(self.decoder.forward(deepest, &maps))
    }
}
