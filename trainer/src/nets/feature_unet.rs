//! A U-Net that also knows what the whole picture shows: Deep Koalarization's fusion layer (Baldassarre et al. 2017) with an embedding of its
//! own in place of a pretrained classifier's.
//!
//! The embedding is the mean of the deepest map behind a 1x1 convolution, replicated at every position, concatenated with the map, and mixed in
//! by a 1x1 convolution. A pretrained network of a thousand classes costs more than everything else here, and project 000's attempts to bolt one
//! on gave artifacts or grey. The paper's encoder is `widths = [128, 256, 512]` with `feature_width = 1001` and `output_stride = 2`.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::activation::relu;
use burn::tensor::module::adaptive_avg_pool2d;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::blocks::{Block, Window, convolution};
use super::check_widths;
use super::layers::head;
use super::unet::{Decoder, Encoder, Halves};

/// The shape of a [`FeatureUNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeatureUNetConfig {
    /// Channels at 1/2, 1/4, 1/8 .. of the input's resolution.
    pub widths: Vec<usize>,
    /// Numbers in the embedding.
    pub feature_width: usize,
    /// Channels of the last stage, in front of the head.
    pub head_width: usize,
    /// The output's resolution is the input's divided by this.
    pub output_stride: usize,
}

impl Default for FeatureUNetConfig {
    fn default() -> Self {
        Self { widths: vec![16, 32, 64, 128], feature_width: 64, head_width: 48, output_stride: 4 }
    }
}

impl FeatureUNetConfig {
    fn halves(&self) -> Halves<'_> {
        Halves { widths: &self.widths, output_stride: self.output_stride, head_width: self.head_width, normalized: true }
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the value and what it may be.
    pub fn check(&self) -> anyhow::Result<()> {
        check_widths("feature_width", &[self.feature_width])?;
        self.halves().check()
    }

    /// The input's sides must be multiples of this.
    pub fn side_multiple(&self) -> usize {
        self.halves().side_multiple()
    }
}

/// The embedding of a map, mixed into the map at every position.
#[derive(Module, Debug)]
pub struct Fusion {
    embed: Block,
    mix_map: Conv2d,
    mix_embedding: Conv2d,
}

impl Fusion {
    /// A fusion with random weights of `channels` channels and an embedding of `features` numbers.
    pub fn new(channels: usize, features: usize, device: &Device) -> Self {
        Self {
            embed: Block::new([channels, features], Window::POINT, false, device),
            mix_map: convolution([channels; 2], Window::POINT, true, device),
            mix_embedding: convolution([features, channels], Window::POINT, false, device),
        }
    }

    /// \[B, C, h, w\] to the same shape.
    pub fn forward(&self, map: Tensor<4>) -> Tensor<4> {
        let embedding = self.embed.forward(adaptive_avg_pool2d(map.clone(), [1, 1]));
        // A 1x1 convolution of the two concatenated is the sum of one of each; the embedding's is the same everywhere, and computed once.
        relu(self.mix_map.forward(map) + self.mix_embedding.forward(embedding))
    }
}

/// See the module's documentation.
#[derive(Module, Debug)]
pub struct FeatureUNet {
    encoder: Encoder,
    fusion: Fusion,
    decoder: Decoder,
    head: Conv2d,
}

impl FeatureUNet {
    /// A network with `outputs` output channels and random weights.
    pub fn new(config: &FeatureUNetConfig, outputs: usize, device: &Device) -> Self {
        let halves = config.halves();
        Self {
            encoder: Encoder::new(&halves, device),
            fusion: Fusion::new(halves.deepest(), config.feature_width, device),
            decoder: Decoder::new(&halves, halves.deepest(), device),
            head: head(config.head_width, outputs, device),
        }
    }

    /// Scaled lightness \[N, 1, H, W\] to \[N, outputs, H / output stride, W / output stride\], not squashed.
    pub fn forward(&self, lightness: Tensor<4>) -> Tensor<4> {
        let maps = self.encoder.forward(lightness);
        let deepest = self.fusion.forward(maps[maps.len() - 1].clone());
        self.head.forward(self.decoder.forward(deepest, &maps))
    }
}
