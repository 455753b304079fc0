//! The networks, as plain Burn modules. Shape letters: B batch, T time, C channels, H, W.
//!
//! One family so far: a recurrent U-Net of 3x3 convolutions, batch normalization and ReLU, nearest upsampling, and a ConvGRU on half of the
//! channels of its two deepest levels. Only operators that `burn-onnx` lowers are used, and everything is predicted at a quarter of the
//! input's resolution: a full-resolution head alone would cost more than the rest.

use burn::module::{Initializer, Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// The shape of a [`RecurrentUNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetConfig {
    /// Channels at 1/2, 1/4, 1/8 and 1/16 of the input's resolution; even, for the two deepest give half of theirs to the recurrent cells.
    pub widths: [usize; 4],
    /// Residual blocks at 1/16, where meaning is cheap to compute.
    pub deep_blocks: usize,
    /// Channels of the last stage, in front of the head.
    pub head_width: usize,
}

impl Default for NetConfig {
    fn default() -> Self {
        Self { widths: [16, 40, 80, 160], deep_blocks: 2, head_width: 64 }
    }
}

/// The input's sides must be multiples of this.
pub const SIDE_MULTIPLE: usize = 16;
/// The epsilon of every batch normalization.
pub const NORM_EPSILON: f64 = 1e-5;
/// The output's resolution is the input's divided by this.
pub const OUTPUT_STRIDE: usize = 4;

fn conv3x3(from: usize, to: usize, stride: usize, bias: bool, device: &Device) -> Conv2d {
    let mut conv = Conv2dConfig::new([from, to], [3, 3])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .with_bias(bias)
        .with_initializer(Initializer::KaimingNormal { gain: 2_f64.sqrt(), fan_out_only: false })
        .init(device);
    // Burn draws the bias like the weights; it starts at zero here.
    conv.bias = bias.then(|| Initializer::Zeros.init([to], device));
    conv
}

/// 3x3 convolution, batch normalization, ReLU.
#[derive(Module, Debug)]
pub struct Stage {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Stage {
    fn new(from: usize, to: usize, stride: usize, device: &Device) -> Self {
        Self { conv: conv3x3(from, to, stride, false, device), norm: BatchNormConfig::new(to).with_epsilon(NORM_EPSILON).init(device) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        relu(self.norm.forward(self.conv.forward(x)))
    }
}

/// A ConvGRU whose input and hidden convolutions are separate, so that each can be quantized with a range of its own.
///
/// With x the input and h the state: z, r = sigmoid(Wx x + Wh h), c = tanh(Vx x + Vh (r h)), h' = (1 - z) h + z c. The state stays within -1 to 1.
#[derive(Module, Debug)]
pub struct ConvGru {
    gates_x: Conv2d,
    gates_h: Conv2d,
    candidate_x: Conv2d,
    candidate_h: Conv2d,
}

impl ConvGru {
    fn new(channels: usize, device: &Device) -> Self {
        Self {
            gates_x: conv3x3(channels, 2 * channels, 1, true, device),
            gates_h: conv3x3(channels, 2 * channels, 1, false, device),
            candidate_x: conv3x3(channels, channels, 1, true, device),
            candidate_h: conv3x3(channels, channels, 1, false, device),
        }
    }

    /// The next state from what the input's convolutions gave, both \[B, .., h, w\].
    fn step(&self, gates: Tensor<4>, candidate: Tensor<4>, state: Tensor<4>) -> Tensor<4> {
        let channels = state.dims()[1];
        let gates = sigmoid(gates + self.gates_h.forward(state.clone()));
        let update = gates.clone().narrow(1, 0, channels);
        let keep = gates.narrow(1, channels, channels);
        let candidate = (candidate + self.candidate_h.forward(keep * state.clone())).tanh();
        // As h + z (c - h): one operator fewer than (1 - z) h + z c.
        state.clone() + update * (candidate - state)
    }

    /// Runs T frames (x is \[T B, C, h, w\], frame-major) from `state` \[B, C, h, w\]. `keep` \[T\]\[B, 1, 1, 1\] zeroes a lane's state in front of a frame.
    fn run(&self, x: Tensor<4>, mut state: Tensor<4>, keep: &[Option<Tensor<4>>]) -> (Tensor<4>, Tensor<4>) {
        let lanes = state.dims()[0];
        let gates = self.gates_x.forward(x.clone());
        let candidates = self.candidate_x.forward(x);
        let mut outputs = Vec::with_capacity(keep.len());
        for (t, keep) in keep.iter().enumerate() {
            if let Some(keep) = keep {
                state = state * keep.clone();
            }
            let frame = |all: &Tensor<4>| if lanes == all.dims()[0] { all.clone() } else { all.clone().narrow(0, t * lanes, lanes) };
            state = self.step(frame(&gates), frame(&candidates), state);
            outputs.push(state.clone());
        }
        let all = if outputs.len() == 1 { outputs.remove(0) } else { Tensor::cat(outputs, 0) };
        (all, state)
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

/// x + conv-norm-relu-conv-norm(x), then ReLU.
#[derive(Module, Debug)]
pub struct Residual {
    first: Stage,
    conv: Conv2d,
    norm: BatchNorm,
}

impl Residual {
    fn new(channels: usize, device: &Device) -> Self {
        let mut norm: BatchNorm = BatchNormConfig::new(channels).with_epsilon(NORM_EPSILON).init(device);
        // Starts as the identity (Goyal et al. 2017): the block grows in only where it helps.
        norm.gamma = Param::from_data(TensorData::zeros::<f32, _>([channels]), device);
        Self { first: Stage::new(channels, channels, 1, device), conv: conv3x3(channels, channels, 1, false, device), norm }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        relu(x.clone() + self.norm.forward(self.conv.forward(self.first.forward(x))))
    }
}

/// The two recurrent states, deepest first: \[B, C, h, w\] each.
pub type States = [Tensor<4>; 2];

impl RecurrentUNet {
    /// A network with `bins` output channels.
    pub fn new(config: &NetConfig, bins: usize, device: &Device) -> Self {
        let [w2, w4, w8, w16] = config.widths;
        let mut head = Conv2dConfig::new([config.head_width, bins], [1, 1])
            .with_initializer(Initializer::Normal { mean: 0.0, std: 0.01 })
            .init(device);
        head.bias = Some(Initializer::Zeros.init([bins], device));
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
            head,
        }
    }

    /// The shapes \[C, h, w\] of the states for an input of `height` x `width`.
    pub fn state_shapes(config: &NetConfig, height: usize, width: usize) -> [[usize; 3]; 2] {
        [[config.widths[3] / 2, height / 16, width / 16], [config.widths[2] / 2, height / 8, width / 8]]
    }

    /// Zero states for `lanes` lanes.
    pub fn zero_states(config: &NetConfig, lanes: usize, height: usize, width: usize, device: &Device) -> States {
        Self::state_shapes(config, height, width).map(|[c, h, w]| Tensor::zeros([lanes, c, h, w], device))
    }

    /// One frame of one lane or more: scaled lightness \[B, 1, H, W\] to logits \[B, Q, H/4, W/4\] and the next states. What is exported.
    pub fn forward(&self, lightness: Tensor<4>, states: States) -> (Tensor<4>, States) {
        self.forward_clip(lightness, states, &[None])
    }

    /// T frames of B lanes at once, over the same weights: scaled lightness \[T B, 1, H, W\], frame-major, to logits \[T B, Q, H/4, W/4\] and the
    /// states after the last frame. `keep` \[T\]\[B, 1, 1, 1\] holds 0 where a lane's state is zeroed in front of a frame; `None` keeps all.
    pub fn forward_clip(
        &self,
        lightness: Tensor<4>,
        [deep_state, eighth_state]: States,
        keep: &[Option<Tensor<4>>],
    ) -> (Tensor<4>, States) {
        let quarter = self.quarter.forward(self.to_quarter.forward(self.stem.forward(lightness)));
        let eighth = self.eighth.forward(self.to_eighth.forward(quarter.clone()));
        let mut deep = self.to_sixteenth.forward(eighth.clone());
        for block in &self.deep {
            deep = block.forward(deep);
        }
        let (deep, deep_state) = half_through(&self.deep_memory, deep, deep_state, keep);
        // Shrinking the channels before growing the picture computes a quarter of the positions.
        let grown = twice(self.grow_eighth.forward(deep));
        let eighth = self.eighth_out.forward(Tensor::cat(vec![grown, eighth], 1));
        let (eighth, eighth_state) = half_through(&self.eighth_memory, eighth, eighth_state, keep);
        let grown = twice(self.grow_quarter.forward(eighth));
        let quarter = self.quarter_out.forward(Tensor::cat(vec![grown, quarter], 1));
        (self.head.forward(quarter), [deep_state, eighth_state])
    }
}

/// Sends the first half of the channels through the memory; the other half keeps this frame's own evidence (as Robust Video Matting does).
fn half_through(memory: &ConvGru, x: Tensor<4>, state: Tensor<4>, keep: &[Option<Tensor<4>>]) -> (Tensor<4>, Tensor<4>) {
    let channels = x.dims()[1] / 2;
    let (remembered, state) = memory.run(x.clone().narrow(1, 0, channels), state, keep);
    (Tensor::cat(vec![remembered, x.narrow(1, channels, channels)], 1), state)
}

fn twice(x: Tensor<4>) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    interpolate(x, InterpolateOptions::new(InterpolateMode::Nearest).with_output_size([2 * h, 2 * w]))
}

#[cfg(test)]
pub(crate) mod test_nets {
    use burn::module::ModuleMapper;

    use super::*;

    /// A network on a plain device whose every parameter and statistic is of an ordinary size but none is at its beginning: as if it had been trained.
    pub(crate) fn settled(config: &NetConfig, bins: usize, seed: u64) -> RecurrentUNet {
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
                    _ if self.0.first().is_some_and(|name| name == "head") => drawn(0.0, 0.5),
                    _ => param,
                }
            }
        }
        let device = Device::flex();
        device.seed(seed);
        RecurrentUNet::new(config, bins, &device).map(&mut Stir(Vec::new()))
    }
}
