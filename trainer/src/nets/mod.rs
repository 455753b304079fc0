//! The networks, as plain Burn modules, one file a family. Shape letters: B batch (lanes), T time, C channels, H W the input's size, h w the
//! output's.
//!
//! A family is a struct of settings, a module, and a variant of [`NetConfig`] and of [`Network`]; what a run does with it, it does through
//! those two.

pub mod blocks;
pub mod conv_lstm;
pub mod discriminator;
pub mod fake_quant;
pub mod feature_unet;
pub mod fully_connected;
pub mod initialization;
pub mod layers;
pub mod lite0_unet;
pub mod memory;
pub mod memory_unet;
pub mod pix2pix;
pub mod plain_unet;
pub mod recurrent_unet;
pub mod residual_encoder;
pub mod resnet_unet;
pub mod temporal_conv_unet;
pub mod unet;
pub mod vgg;
pub mod zhang;

use burn::module::Module;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use feature_unet::{FeatureUNet, FeatureUNetConfig};
use fully_connected::{FullyConnected, FullyConnectedConfig};
use lite0_unet::{Lite0UNet, Lite0UNetConfig};
use memory_unet::{MemoryUNet, MemoryUNetConfig};
use pix2pix::{Pix2pix, Pix2pixConfig};
use plain_unet::{PlainUNet, PlainUNetConfig};
use recurrent_unet::{RecurrentUNet, RecurrentUNetConfig};
use residual_encoder::{ResidualEncoder, ResidualEncoderConfig};
use resnet_unet::{ResnetUNet, ResnetUNetConfig};
use temporal_conv_unet::{TemporalConvUNet, TemporalConvUNetConfig};
use zhang::{Zhang, ZhangConfig};

/// The recurrent states, each \[B, C, h, w\] at a resolution of its own; none for a network without memory.
pub type States = Vec<Tensor<4>>;

/// The most channels of a layer that a configuration may ask for: more are a slip, and what is computed from them might overflow.
const WIDTH_MAX: usize = 4096;
/// The most blocks in a row.
const BLOCKS_MAX: usize = 64;

/// Checks the numbers of channels `widths` that the setting `name` of a network gives.
fn check_widths(name: &str, widths: &[usize]) -> anyhow::Result<()> {
    let fit = widths.iter().all(|width| (1..=WIDTH_MAX).contains(width));
    anyhow::ensure!(fit, "net.{name} {widths:?}: from 1 to {WIDTH_MAX}");
    Ok(())
}

/// What a network's output means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputKind {
    /// A logit for each ab bin.
    #[default]
    Bins,
    /// ab / 110, behind a tanh.
    Ab,
    /// sRGB, 0 to 1, behind a sigmoid.
    Rgb,
    /// The chroma of YUV as Dahl has it, 0 to 1 with grey at 0.5, behind a sigmoid.
    Uv,
}

impl OutputKind {
    /// Output channels; `bins` is how many ab bins there are.
    pub fn channels(self, bins: usize) -> usize {
        match self {
            Self::Bins => bins,
            Self::Ab | Self::Uv => 2,
            Self::Rgb => 3,
        }
    }

    /// Brings a network's raw output into the range that its kind has.
    pub fn activate(self, raw: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Bins => raw,
            Self::Ab => raw.tanh(),
            Self::Rgb | Self::Uv => sigmoid(raw),
        }
    }
}

/// A fixed network that looks at sRGB pictures.
pub trait FeatureNet: Send + Sync {
    /// The maps of features of gamma-coded sRGB \[N, 3, h, w\], 0 to 1, shallowest first.
    fn features(&self, rgb: Tensor<4>) -> Vec<Tensor<4>>;
}

/// Which network, and its shape: `kind` names the family, the other keys are the family's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum NetConfig {
    /// 3x3 convolutions and two ConvGRUs.
    RecurrentUnet(RecurrentUNetConfig),
    /// A pretrained encoder with that family's decoder.
    #[serde(rename = "lite0-unet")]
    Lite0Unet(Lite0UNetConfig),
    /// See [`fully_connected`].
    FullyConnected(FullyConnectedConfig),
    /// See [`residual_encoder`].
    ResidualEncoder(ResidualEncoderConfig),
    /// See [`zhang`].
    Zhang(ZhangConfig),
    /// See [`plain_unet`].
    PlainUnet(PlainUNetConfig),
    /// See [`feature_unet`].
    FeatureUnet(FeatureUNetConfig),
    /// See [`memory_unet`].
    MemoryUnet(MemoryUNetConfig),
    /// See [`temporal_conv_unet`].
    TemporalConvUnet(TemporalConvUNetConfig),
    /// See [`resnet_unet`].
    ResnetUnet(ResnetUNetConfig),
    /// See [`pix2pix`].
    Pix2pix(Pix2pixConfig),
}

impl Default for NetConfig {
    fn default() -> Self {
        Self::RecurrentUnet(RecurrentUNetConfig::default())
    }
}

impl NetConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the value and what it may be.
    pub fn check(&self) -> anyhow::Result<()> {
        match self {
            Self::RecurrentUnet(config) => config.check(),
            Self::Lite0Unet(config) => config.check(),
            Self::FullyConnected(config) => config.check(),
            Self::ResidualEncoder(config) => config.check(),
            Self::Zhang(config) => config.check(),
            Self::PlainUnet(config) => config.check(),
            Self::FeatureUnet(config) => config.check(),
            Self::MemoryUnet(config) => config.check(),
            Self::TemporalConvUnet(config) => config.check(),
            Self::ResnetUnet(config) => config.check(),
            Self::Pix2pix(config) => config.check(),
        }
    }

    /// The input's sides must be multiples of this.
    pub fn side_multiple(&self) -> usize {
        match self {
            Self::RecurrentUnet(_) => 16,
            Self::Lite0Unet(config) => config.side_multiple(),
            Self::FullyConnected(_) => 1,
            Self::ResidualEncoder(_) => ResidualEncoderConfig::SIDE_MULTIPLE,
            Self::Zhang(_) => ZhangConfig::SIDE_MULTIPLE,
            Self::PlainUnet(config) => config.side_multiple(),
            Self::FeatureUnet(config) => config.side_multiple(),
            Self::MemoryUnet(config) => config.side_multiple(),
            Self::TemporalConvUnet(config) => config.side_multiple(),
            Self::ResnetUnet(_) => ResnetUNetConfig::SIDE_MULTIPLE,
            Self::Pix2pix(config) => config.side_multiple(),
        }
    }

    /// The output's resolution is the input's divided by this.
    pub fn output_stride(&self) -> usize {
        match self {
            Self::RecurrentUnet(_) => 4,
            Self::Lite0Unet(config) => config.output_stride(),
            Self::FullyConnected(_) => 1,
            Self::ResidualEncoder(config) => config.output_stride,
            Self::Zhang(_) => ZhangConfig::OUTPUT_STRIDE,
            Self::PlainUnet(config) => config.output_stride,
            Self::FeatureUnet(config) => config.output_stride,
            Self::MemoryUnet(config) => config.output_stride,
            Self::TemporalConvUnet(config) => config.output_stride,
            Self::ResnetUnet(config) => config.output_stride,
            Self::Pix2pix(config) => config.output_stride,
        }
    }

    /// The one input size, width and height, that the network takes, if it does not take all that are multiples.
    pub fn only_size(&self) -> Option<[usize; 2]> {
        match self {
            Self::FullyConnected(config) => Some([config.width, config.height]),
            _ => None,
        }
    }

    /// The shapes \[C, h, w\] of the states for an input of `height` x `width`.
    pub fn state_shapes(&self, height: usize, width: usize) -> Vec<[usize; 3]> {
        match self {
            Self::RecurrentUnet(config) => config.state_shapes(height, width),
            Self::Lite0Unet(config) => config.state_shapes(height, width),
            Self::MemoryUnet(config) => config.state_shapes(height, width),
            Self::TemporalConvUnet(config) => config.state_shapes(height, width),
            Self::FullyConnected(_)
            | Self::ResidualEncoder(_)
            | Self::Zhang(_)
            | Self::PlainUnet(_)
            | Self::FeatureUnet(_)
            | Self::ResnetUnet(_)
            | Self::Pix2pix(_) => Vec::new(),
        }
    }

    /// Whether anything is carried from frame to frame.
    pub fn has_memory(&self) -> bool {
        // Whatever the size: what is carried has as many planes.
        !self.state_shapes(256, 256).is_empty()
    }

    /// Whether `convert-encoder`'s weights fit into a part of it.
    pub fn has_pretrained_encoder(&self) -> bool {
        matches!(self, Self::Lite0Unet(_))
    }

    /// Zero states for `lanes` lanes.
    pub fn zero_states(&self, lanes: usize, height: usize, width: usize, device: &Device) -> States {
        self.state_shapes(height, width).into_iter().map(|[c, h, w]| Tensor::zeros([lanes, c, h, w], device)).collect()
    }
}

/// A network of any family.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "a run holds two of them, and their weights lie elsewhere")]
pub enum Network {
    /// 3x3 convolutions and two ConvGRUs.
    RecurrentUNet(RecurrentUNet),
    /// A pretrained encoder with that family's decoder.
    Lite0UNet(Lite0UNet),
    /// See [`fully_connected`].
    FullyConnected(FullyConnected),
    /// See [`residual_encoder`].
    ResidualEncoder(ResidualEncoder),
    /// See [`zhang`].
    Zhang(Zhang),
    /// See [`plain_unet`].
    PlainUNet(PlainUNet),
    /// See [`feature_unet`].
    FeatureUNet(FeatureUNet),
    /// See [`memory_unet`].
    MemoryUNet(MemoryUNet),
    /// See [`temporal_conv_unet`].
    TemporalConvUNet(TemporalConvUNet),
    /// See [`resnet_unet`].
    ResnetUNet(ResnetUNet),
    /// See [`pix2pix`].
    Pix2pix(Pix2pix),
}

impl Network {
    /// A network with random weights and `outputs` output channels.
    pub fn new(config: &NetConfig, outputs: usize, device: &Device) -> Self {
        match config {
            NetConfig::RecurrentUnet(config) => Self::RecurrentUNet(RecurrentUNet::new(config, outputs, device)),
            NetConfig::Lite0Unet(config) => Self::Lite0UNet(Lite0UNet::new(config, outputs, device)),
            NetConfig::FullyConnected(config) => Self::FullyConnected(FullyConnected::new(config, outputs, device)),
            NetConfig::ResidualEncoder(config) => Self::ResidualEncoder(ResidualEncoder::new(config, outputs, device)),
            NetConfig::Zhang(config) => Self::Zhang(Zhang::new(config, outputs, device)),
            NetConfig::PlainUnet(config) => Self::PlainUNet(PlainUNet::new(config, outputs, device)),
            NetConfig::FeatureUnet(config) => Self::FeatureUNet(FeatureUNet::new(config, outputs, device)),
            NetConfig::MemoryUnet(config) => Self::MemoryUNet(MemoryUNet::new(config, outputs, device)),
            NetConfig::TemporalConvUnet(config) => Self::TemporalConvUNet(TemporalConvUNet::new(config, outputs, device)),
            NetConfig::ResnetUnet(config) => Self::ResnetUNet(ResnetUNet::new(config, outputs, device)),
            NetConfig::Pix2pix(config) => Self::Pix2pix(Pix2pix::new(config, outputs, device)),
        }
    }

    /// One frame of one lane or more: scaled lightness \[B, 1, H, W\] to raw output \[B, outputs, h, w\] and the next states. What is exported.
    pub fn forward(&self, lightness: Tensor<4>, states: States) -> (Tensor<4>, States) {
        self.forward_clip(lightness, states, &[None])
    }

    /// T frames of B lanes at once, over the same weights: scaled lightness \[T B, 1, H, W\], frame-major, to raw output \[T B, outputs, h, w\]
    /// (see [`OutputKind::activate`]) and the states after the last frame. `keep` \[T\]\[B, 1, 1, 1\] holds 0 where a lane's state is zeroed in
    /// front of a frame; `None` keeps all.
    pub fn forward_clip(&self, lightness: Tensor<4>, states: States, keep: &[Option<Tensor<4>>]) -> (Tensor<4>, States) {
        let lightness = fake_quant::lightness(lightness);
        match self {
            Self::RecurrentUNet(net) => net.forward_clip(lightness, states, keep),
            Self::Lite0UNet(net) => net.forward_clip(lightness, states, keep),
            Self::MemoryUNet(net) => net.forward_clip(lightness, states, keep),
            Self::TemporalConvUNet(net) => net.forward_clip(lightness, states, keep),
            Self::FullyConnected(net) => (net.forward(lightness), states),
            Self::ResidualEncoder(net) => (net.forward(lightness), states),
            Self::Zhang(net) => (net.forward(lightness), states),
            Self::PlainUNet(net) => (net.forward(lightness), states),
            Self::FeatureUNet(net) => (net.forward(lightness), states),
            Self::ResnetUNet(net) => (net.forward(lightness), states),
            Self::Pix2pix(net) => (net.forward(lightness), states),
        }
    }
}

#[cfg(test)]
pub(crate) mod test_nets {
    use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};

    use super::*;

    /// A small network of the first family.
    pub(crate) fn small(deep_blocks: usize) -> NetConfig {
        NetConfig::RecurrentUnet(RecurrentUNetConfig { widths: [4, 6, 8, 12], deep_blocks, head_width: 6 })
    }

    /// All parameters of a module, statistics too, in field order.
    pub(crate) fn numbers(module: &impl Module) -> Vec<f32> {
        struct Read(Vec<f32>);
        impl ModuleVisitor for Read {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.extend(param.val().into_data().try_into_vec::<f32>().expect("floats"));
            }
        }
        let mut read = Read(Vec::new());
        module.visit(&mut read);
        read.0
    }

    /// A network on a plain device whose every parameter and statistic is of an ordinary size but none is at its beginning: as if it had been trained.
    pub(crate) fn settled(config: &NetConfig, outputs: usize, seed: u64) -> Network {
        struct Stir(Vec<String>);
        impl ModuleMapper for Stir {
            fn enter_module(&mut self, name: &str, _container_type: &str) {
                self.0.push(name.to_owned());
            }

            fn exit_module(&mut self, _name: &str, _container_type: &str) {
                self.0.pop();
            }

            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                let drawn = |shift: f64, scale: f64| {
                    param.clone().map(|old| old.random_like(burn::tensor::Distribution::Uniform(shift - scale, shift + scale)))
                };
                match self.0.last().map(String::as_str) {
                    Some("gamma" | "running_var") => drawn(1.0, 0.5),
                    Some("beta" | "bias" | "running_mean") => drawn(0.0, 0.3),
                    // The head's first weights are too small to tell one network from another.
                    _ if self.0.iter().any(|name| name == "head") => drawn(0.0, 0.5),
                    _ => param,
                }
            }
        }
        let device = Device::flex();
        device.seed(seed);
        Network::new(config, outputs, &device).map(&mut Stir(Vec::new()))
    }
}
