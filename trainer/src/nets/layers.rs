//! Layers that the networks share.

use burn::module::{Initializer, Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};

use super::fake_quant::relu;

/// The epsilon of every batch normalization.
pub const NORM_EPSILON: f64 = 1e-5;

/// A 3x3 convolution that keeps the size (at stride 1), Kaiming-normal, its bias (if any) zero.
pub fn conv3x3(from: usize, to: usize, stride: usize, bias: bool, device: &Device) -> Conv2d {
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

/// Batch normalization, in float whatever `x` is in: its statistics are sums over many pixels.
pub fn normalized(norm: &BatchNorm, x: Tensor<4>) -> Tensor<4> {
    match x.dtype() {
        DType::F32 => norm.forward(x),
        narrow => norm.forward(x.cast(FloatDType::F32)).cast(FloatDType::from(narrow)),
    }
}

/// 3x3 convolution, batch normalization, ReLU.
#[derive(Module, Debug)]
pub struct Stage {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Stage {
    /// A stage with random weights.
    pub fn new(from: usize, to: usize, stride: usize, device: &Device) -> Self {
        Self { conv: conv3x3(from, to, stride, false, device), norm: BatchNormConfig::new(to).with_epsilon(NORM_EPSILON).init(device) }
    }

    /// \[B, from, H, W\] to \[B, to, H / stride, W / stride\].
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        relu(normalized(&self.norm, self.conv.forward(x)))
    }
}

/// x + conv-norm-relu-conv-norm(x), then ReLU.
#[derive(Module, Debug)]
pub struct Residual {
    first: Stage,
    conv: Conv2d,
    norm: BatchNorm,
}

impl Residual {
    /// A block that is the identity (behind a ReLU) yet.
    pub fn new(channels: usize, device: &Device) -> Self {
        let mut norm: BatchNorm = BatchNormConfig::new(channels).with_epsilon(NORM_EPSILON).init(device);
        // Starts as the identity (Goyal et al. 2017): the block grows in only where it helps.
        norm.gamma = Param::from_data(TensorData::zeros::<f32, _>([channels]), device);
        Self { first: Stage::new(channels, channels, 1, device), conv: conv3x3(channels, channels, 1, false, device), norm }
    }

    /// \[B, C, H, W\] to the same shape.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        relu(x.clone() + normalized(&self.norm, self.conv.forward(self.first.forward(x))))
    }
}

/// The head: a 1x1 convolution with small random weights, so that a fresh network prefers nothing.
pub fn head(from: usize, outputs: usize, device: &Device) -> Conv2d {
    let mut head = Conv2dConfig::new([from, outputs], [1, 1]).with_initializer(Initializer::Normal { mean: 0.0, std: 0.01 }).init(device);
    head.bias = Some(Initializer::Zeros.init([outputs], device));
    head
}

/// \[B, C, H, W\] to \[B, C, 2 H, 2 W\], nearest; in float whatever `x` is in: CUDA's backward pass computes the positions in `x`'s own numbers, and bfloat16
/// rounds those above 256.
pub fn twice(x: Tensor<4>) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    let options = InterpolateOptions::new(InterpolateMode::Nearest).with_output_size([2 * h, 2 * w]);
    match x.dtype() {
        DType::F32 => interpolate(x, options),
        narrow => interpolate(x.cast(FloatDType::F32), options).cast(FloatDType::from(narrow)),
    }
}
