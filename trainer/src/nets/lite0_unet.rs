//! A recurrent U-Net on a pretrained encoder: EfficientNet-lite0 (Tan & Le 2019 without squeeze-and-excitation and swish), which can begin with weights
//! that know the things of ImageNet, and the decoder of [`super::recurrent_unet`] with its two ConvGRUs.
//!
//! The encoder has no normalization of its own: [`crate::pretrained`] folds the trained one into the convolutions. Like the original it pads a
//! strided convolution behind rather than in front, and it keeps ReLU6 where it was measured to matter.

use anyhow::ensure;
use burn::module::{Initializer, Module};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::fake_quant::{concatenation, linear, relu, relu6};
use super::layers::{NORM_EPSILON, Stage, head, normalized, twice};
use super::memory::{ConvGru, half_through};
use super::{FeatureNet, States, check_widths};

/// Channels of the stem, at 1/2 of the input's resolution.
const STEM: usize = 32;
/// The encoder's stages: kernel side, expansion, channels, stride, blocks.
const STAGES: [(usize, usize, usize, usize, usize); 7] =
    [(3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (5, 6, 40, 2, 2), (3, 6, 80, 2, 3), (5, 6, 112, 1, 3), (5, 6, 192, 2, 4), (3, 6, 320, 1, 1)];
/// The last stages at 1/4, 1/8, 1/16 and 1/32.
const TAPS: [usize; 4] = [1, 2, 4, 6];
/// The stem and this many blocks are capped at 6, as all were in the original: nearly all that is above 6 is in there. Of 200 pictures from ImageNet
/// (grey, enlarged from 144 lines) the original names 124, with the cap in these blocks alone 121, in the stem alone about half as many.
const CAPPED_BLOCKS: usize = 4;

/// The shape of a [`Lite0UNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lite0UNetConfig {
    /// Channels of the decoder at 1/4, 1/8, 1/16 and 1/32 of the input's resolution; those at 1/8 and 1/16 are even, for they give half of theirs to
    /// the recurrent cells.
    pub widths: [usize; 4],
    /// Channels of the last stage, in front of the head.
    pub head_width: usize,
    /// The first stages of the encoder (of 7; the stem belongs to the first) that are not trained: they take most of a step's time, and know
    /// edges and textures already.
    pub frozen_stages: usize,
}

impl Default for Lite0UNetConfig {
    fn default() -> Self {
        Self { widths: [32, 64, 128, 128], head_width: 40, frozen_stages: 0 }
    }
}

impl Lite0UNetConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the value and what it may be.
    pub fn check(&self) -> anyhow::Result<()> {
        check_widths("widths", &self.widths)?;
        ensure!(self.widths.iter().all(|w| w % 2 == 0), "net.widths {:?}: even numbers", self.widths);
        check_widths("head_width", &[self.head_width])?;
        ensure!(self.frozen_stages <= STAGES.len(), "net.frozen_stages is {}; the encoder has {}", self.frozen_stages, STAGES.len());
        Ok(())
    }

    /// The shapes \[C, h, w\] of the states for an input of `height` x `width`, deepest first.
    pub fn state_shapes(&self, height: usize, width: usize) -> Vec<[usize; 3]> {
        vec![[self.widths[2] / 2, height / 16, width / 16], [self.widths[1] / 2, height / 8, width / 8]]
    }

    /// The input's sides must be multiples of this.
    pub fn side_multiple(&self) -> usize {
        32
    }

    /// The output's resolution is the input's divided by this.
    pub fn output_stride(&self) -> usize {
        4
    }
}

/// A convolution with a bias whose output has the input's size divided by the stride; an odd row of padding lies behind, as TensorFlow has it.
fn convolution([from, to]: [usize; 2], kernel: usize, stride: usize, groups: usize, gain: f64, device: &Device) -> Conv2d {
    let padding = kernel - stride.min(kernel);
    let (before, after) = if stride == 1 { (kernel / 2, kernel / 2) } else { (padding / 2, padding - padding / 2) };
    let mut conv = Conv2dConfig::new([from, to], [kernel, kernel])
        .with_stride([stride, stride])
        .with_groups(groups)
        .with_padding(PaddingConfig2d::Explicit(before, before, after, after))
        .with_initializer(Initializer::KaimingNormal { gain, fan_out_only: false })
        .init(device);
    conv.bias = Some(Initializer::Zeros.init([to], device));
    conv
}

/// An inverted residual block (Sandler et al. 2018): 1x1 to more channels, depthwise, 1x1 back; the input is added where the shapes agree.
#[derive(Module, Debug)]
pub struct Block {
    expand: Option<Conv2d>,
    depthwise: Conv2d,
    project: Conv2d,
    #[module(skip)]
    residual: bool,
    #[module(skip)]
    capped: bool,
}

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let activate = |x| if self.capped { relu6(x) } else { relu(x) };
        let wide = match &self.expand {
            Some(expand) => activate(expand.forward(x.clone())),
            None => x.clone(),
        };
        let out = self.project.forward(activate(self.depthwise.forward(wide)));
        linear(if self.residual { x + out } else { out })
    }
}

/// EfficientNet-lite0 on one channel, without its classifier.
#[derive(Module, Debug)]
pub struct Encoder {
    stem: Conv2d,
    blocks: Vec<Block>,
}

impl Encoder {
    /// An encoder with random weights.
    pub fn new(device: &Device) -> Self {
        let mut from = STEM;
        let mut blocks = Vec::new();
        for (kernel, expansion, to, stride, count) in STAGES {
            for index in 0..count {
                let stride = if index == 0 { stride } else { 1 };
                let (wide, residual) = (from * expansion, stride == 1 && from == to);
                // Without a normalization a sum of many fresh branches would grow; each begins small.
                let last_gain = if residual { 0.2 } else { 1.0 };
                blocks.push(Block {
                    expand: (expansion > 1).then(|| convolution([from, wide], 1, 1, 1, 2_f64.sqrt(), device)),
                    depthwise: convolution([wide, wide], kernel, stride, wide, 2_f64.sqrt(), device),
                    project: convolution([wide, to], 1, 1, 1, last_gain, device),
                    residual,
                    capped: blocks.len() < CAPPED_BLOCKS,
                });
                from = to;
            }
        }
        Self { stem: convolution([1, STEM], 3, 2, 1, 2_f64.sqrt(), device), blocks }
    }

    /// The same with the first `stages` stages out of training.
    fn frozen(mut self, stages: usize) -> Self {
        if stages > 0 {
            self.stem = self.stem.no_grad();
        }
        let frozen: usize = STAGES[..stages].iter().map(|stage| stage.4).sum();
        self.blocks = self.blocks.into_iter().enumerate().map(|(at, block)| if at < frozen { block.no_grad() } else { block }).collect();
        self
    }

    /// \[B, 1, H, W\], scaled lightness, to the last features at 1/4, 1/8, 1/16 and 1/32: 24, 40, 112 and 320 channels.
    pub fn forward(&self, lightness: Tensor<4>) -> [Tensor<4>; 4] {
        let mut x = relu6(self.stem.forward(lightness));
        let mut blocks = self.blocks.iter();
        let stages = STAGES.map(|stage| {
            for block in blocks.by_ref().take(stage.4) {
                x = block.forward(x.clone());
            }
            x.clone()
        });
        TAPS.map(|tap| stages[tap].clone())
    }

    /// Every convolution with its name: `stem`, or `expand`, `depthwise` and `project` behind `blocks.` and the block's number.
    pub fn convolutions(&mut self) -> Vec<(String, &mut Conv2d)> {
        let mut all = vec![("stem".to_owned(), &mut self.stem)];
        for (at, block) in self.blocks.iter_mut().enumerate() {
            all.extend(block.expand.as_mut().map(|conv| (format!("blocks.{at}.expand"), conv)));
            all.push((format!("blocks.{at}.depthwise"), &mut block.depthwise));
            all.push((format!("blocks.{at}.project"), &mut block.project));
        }
        all
    }
}

/// 1x1 convolution, batch normalization, ReLU.
#[derive(Module, Debug)]
pub struct Narrow {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Narrow {
    fn new(from: usize, to: usize, device: &Device) -> Self {
        let conv = Conv2dConfig::new([from, to], [1, 1])
            .with_bias(false)
            .with_initializer(Initializer::KaimingNormal { gain: 2_f64.sqrt(), fan_out_only: false })
            .init(device);
        Self { conv, norm: BatchNormConfig::new(to).with_epsilon(NORM_EPSILON).init(device) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        relu(normalized(&self.norm, self.conv.forward(x)))
    }
}

/// See the module's documentation.
#[derive(Module, Debug)]
pub struct Lite0UNet {
    /// What can be loaded from elsewhere.
    pub encoder: Encoder,
    narrow: Narrow,
    sixteenth_out: Stage,
    deep_memory: ConvGru,
    grow_eighth: Stage,
    eighth_out: Stage,
    eighth_memory: ConvGru,
    grow_quarter: Stage,
    quarter_out: Stage,
    head: Conv2d,
}

impl Lite0UNet {
    /// A network with random weights and `outputs` output channels.
    pub fn new(config: &Lite0UNetConfig, outputs: usize, device: &Device) -> Self {
        let [w4, w8, w16, w32] = config.widths;
        let [s4, s8, s16, s32] = TAPS.map(|tap| STAGES[tap].2);
        Self {
            encoder: Encoder::new(device).frozen(config.frozen_stages),
            narrow: Narrow::new(s32, w32, device),
            sixteenth_out: Stage::new(w32 + s16, w16, 1, device),
            deep_memory: ConvGru::new(w16 / 2, device),
            grow_eighth: Stage::new(w16, w8, 1, device),
            eighth_out: Stage::new(w8 + s8, w8, 1, device),
            eighth_memory: ConvGru::new(w8 / 2, device),
            grow_quarter: Stage::new(w8, w4, 1, device),
            quarter_out: Stage::new(w4 + s4, config.head_width, 1, device),
            head: head(config.head_width, outputs, device),
        }
    }

    /// T frames of B lanes at once, over the same weights: scaled lightness \[T B, 1, H, W\], frame-major, to raw output \[T B, outputs, H/4, W/4\] and the
    /// states after the last frame. `keep` \[T\]\[B, 1, 1, 1\] holds 0 where a lane's state is zeroed in front of a frame; `None` keeps all.
    pub fn forward_clip(&self, lightness: Tensor<4>, states: States, keep: &[Option<Tensor<4>>]) -> (Tensor<4>, States) {
        let [deep_state, eighth_state] = <[_; 2]>::try_from(states).expect("this network has two states");
        let [quarter, eighth, sixteenth, deepest] = self.encoder.forward(lightness);
        let grown = twice(self.narrow.forward(deepest));
        let deep = self.sixteenth_out.forward(concatenation(vec![grown, sixteenth]));
        let (deep, deep_state) = half_through(&self.deep_memory, deep, deep_state, keep);
        let grown = twice(self.grow_eighth.forward(deep));
        let eighth = self.eighth_out.forward(concatenation(vec![grown, eighth]));
        let (eighth, eighth_state) = half_through(&self.eighth_memory, eighth, eighth_state, keep);
        let grown = twice(self.grow_quarter.forward(eighth));
        let quarter = self.quarter_out.forward(concatenation(vec![grown, quarter]));
        (self.head.forward(quarter), vec![deep_state, eighth_state])
    }
}

impl FeatureNet for Encoder {
    /// Those at 1/4, 1/8, 1/16 and 1/32 of the picture's resolution, \[3 N, C, ..\].
    fn features(&self, rgb: Tensor<4>) -> Vec<Tensor<4>> {
        let [pictures, colors, height, width] = rgb.dims();
        // Scaled lightness is nearly a gamma-coded grey value less a half.
        self.forward(rgb.reshape([pictures * colors, 1, height, width]) - 0.5).to_vec()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use autochrome_model::contract;
    use burn::optim::GradientsParams;

    use super::*;
    use crate::config::RunConfig;
    use crate::export::{Provenance, float_model, verify};
    use crate::nets::{NetConfig, test_nets::settled};

    fn small(frozen_stages: usize) -> RunConfig {
        let net = NetConfig::Lite0Unet(Lite0UNetConfig { widths: [4, 4, 6, 8], head_width: 4, frozen_stages });
        RunConfig { input_size: [64, 32], net, ..RunConfig::default() }
    }

    #[test]
    fn the_exported_network_computes_what_this_one_does_over_many_frames() {
        let config = small(0);
        let net = settled(&config.net, config.outputs().unwrap(), 3);
        let float = float_model(&net, &config, &Provenance { training: "made up".into(), license: "none".into() }).unwrap();
        let operators: Vec<&str> = float.graph.as_ref().unwrap().node.iter().map(|node| node.op_type.as_str()).collect();
        // The stem, block 0 (which has one activation) and blocks 1 to 3 (two each) are capped.
        assert_eq!(operators.iter().filter(|op| **op == "Clip").count(), 2 + 3 * 2, "{operators:?}");
        assert_eq!(operators.iter().filter(|op| **op == "Relu").count(), 12 * 2 + 6, "{operators:?}");
        let plane =
            |frame: usize| (0..64 * 32).map(|i| 0.5 * ((i % 64 * (1 + frame % 3)) as f32 / 9.0 + (i / 64) as f32 / 4.0).sin()).collect();
        let parity = verify::against_burn(&net, &config, &float, &(0..40).map(plane).collect::<Vec<_>>()).unwrap();
        assert!(parity.logit_error_max < 1e-4 && parity.state_error_max < 1e-4, "{parity:?}");
    }

    #[test]
    fn frozen_stages_get_no_gradients_and_stay_frozen_when_weights_are_loaded() {
        let config = small(3);
        let device = Device::flex().autodiff();
        let net = config.fresh_network(&device).unwrap();
        let gradients = |net: &crate::nets::Network| {
            let lightness = Tensor::random([2, 1, 32, 32], burn::tensor::Distribution::Uniform(-0.5, 0.5), &device);
            let (raw, _) = net.forward(lightness, config.net.zero_states(2, 32, 32, &device));
            GradientsParams::from_grads(raw.square().mean().backward(), net).len()
        };
        // 11 blocks of three convolutions with biases; six stages with gamma and beta, two cells of four convolutions and two biases, the head.
        let trained = 11 * 6 + 6 * 3 + 2 * 6 + 2;
        assert_eq!(gradients(&net), trained);
        let record = net.clone().into_record();
        assert_eq!(gradients(&net.try_load_record(record).unwrap()), trained);
        assert_eq!(gradients(&small(0).fresh_network(&device).unwrap()), trained + 2 + 4 + 4 * 6);
    }

    #[test]
    fn strided_convolutions_are_padded_behind() {
        let device = Device::flex();
        for (kernel, first) in [(3, 0), (5, 1)] {
            let mut conv = convolution([1, 1], kernel, 2, 1, 1.0, &device);
            conv.weight = Initializer::Zeros.init([1, 1, kernel, kernel], &device);
            let mut picked = vec![0.0_f32; kernel * kernel];
            picked[0] = 1.0;
            conv.weight = burn::module::Param::from_data(burn::tensor::TensorData::new(picked, [1, 1, kernel, kernel]), &device);
            let plane: Vec<f32> = (0..64).map(|i| i as f32).collect();
            let out = conv.forward(Tensor::from_data(burn::tensor::TensorData::new(plane, [1, 1, 8, 8]), &device));
            assert_eq!(out.dims(), [1, 1, 4, 4]);
            // The window of the output at (1, 1) begins at 2 - first.
            let at = (2 - first) as f32;
            assert_eq!(out.into_data().try_into_vec::<f32>().unwrap()[5], 8.0 * at + at);
        }
    }

    #[test]
    fn the_encoder_alone_costs_what_is_known_of_it() {
        // EfficientNet-lite0 takes 0.385 G multiply-adds for 224x224 in color with its classifier.
        let config = RunConfig { input_size: [224, 224], net: NetConfig::Lite0Unet(Lite0UNetConfig::default()), ..RunConfig::default() };
        let net = config.fresh_network(&Device::flex()).unwrap();
        let float = float_model(&net, &config, &Provenance { training: "none".into(), license: "none".into() }).unwrap();
        let all = contract::check(&float).unwrap().multiply_adds as f64;
        let (p4, p8, p16, p32) = (56.0 * 56.0, 28.0 * 28.0, 14.0 * 14.0, 7.0 * 7.0);
        let cell = |channels: f64| 9.0 * channels * channels * 6.0;
        let decoder = p32 * 320.0 * 128.0
            + p16 * (9.0 * (240.0 * 128.0 + 128.0 * 64.0) + cell(64.0))
            + p8 * (9.0 * (104.0 * 64.0 + 64.0 * 32.0) + cell(32.0))
            + p4 * (9.0 * 56.0 * 40.0 + 40.0 * config.outputs().unwrap() as f64);
        let color = 112.0 * 112.0 * 9.0 * 2.0 * 32.0;
        let classifier = p32 * 320.0 * 1280.0 + 1280.0 * 1000.0;
        let known = (all - decoder + color + classifier) / 1e9;
        assert!((known / 0.385 - 1.0).abs() < 0.02, "{known} G");
    }
}
