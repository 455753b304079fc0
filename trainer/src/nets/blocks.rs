//! Convolutions of any window, and what usually stands behind them.

use burn::module::{Initializer, Module};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::MaxPool2dConfig;
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use super::layers::NORM_EPSILON;

/// What a convolution looks at for one position of its output.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Positions along each axis.
    pub kernel: usize,
    /// Input positions from one output position to the next.
    pub stride: usize,
    /// Input positions from one position of the kernel to the next.
    pub dilation: usize,
}

impl Window {
    /// One position.
    pub const POINT: Self = Self { kernel: 1, stride: 1, dilation: 1 };
    /// 3x3.
    pub const NEAR: Self = Self { kernel: 3, stride: 1, dilation: 1 };
    /// 3x3 with stride 2.
    pub const HALVING: Self = Self { kernel: 3, stride: 2, dilation: 1 };
    /// 3x3 over 5x5 positions.
    pub const DILATED: Self = Self { kernel: 3, stride: 1, dilation: 2 };
    /// 4x4 with stride 2.
    pub const FOUR_HALVING: Self = Self { kernel: 4, stride: 2, dilation: 1 };

    /// The zeros at each side of the picture, with which only the stride shrinks it: none where the windows lie side by side.
    fn padding(self) -> usize {
        if self.kernel == self.stride {
            return 0;
        }
        self.dilation * (self.kernel - 1) / 2
    }
}

/// A convolution with Kaiming-normal weights and, if any, a bias of zeros.
pub fn convolution([from, to]: [usize; 2], window: Window, bias: bool, device: &Device) -> Conv2d {
    let pad = window.padding();
    let mut conv = Conv2dConfig::new([from, to], [window.kernel; 2])
        .with_stride([window.stride; 2])
        .with_dilation([window.dilation; 2])
        .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
        .with_bias(bias)
        .with_initializer(Initializer::KaimingNormal { gain: 2_f64.sqrt(), fan_out_only: false })
        .init(device);
    // Burn draws the bias like the weights; it starts at zero here.
    conv.bias = bias.then(|| Initializer::Zeros.init([to], device));
    conv
}

/// A convolution with batch normalization behind it, or with a bias in its place.
#[derive(Module, Debug)]
pub struct Block {
    conv: Conv2d,
    norm: Option<BatchNorm>,
}

impl Block {
    /// A block with random weights.
    pub fn new(channels: [usize; 2], window: Window, normalized: bool, device: &Device) -> Self {
        let norm = normalized.then(|| BatchNormConfig::new(channels[1]).with_epsilon(NORM_EPSILON).init(device));
        Self { conv: convolution(channels, window, !normalized, device), norm }
    }

    /// Convolved and normalized: \[B, from, H, W\] to \[B, to, H / stride, W / stride\].
    pub fn linear(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.conv.forward(x);
        match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }

    /// The same with a ReLU behind it.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        relu(self.linear(x))
    }
}

/// A row of blocks, one after the other.
#[derive(Module, Debug)]
pub struct Row {
    blocks: Vec<Block>,
}

impl Row {
    /// `count` blocks of 3x3 convolutions, the first from `from` channels to `to`. Only the last is normalized, as in Zhang et al. 2016, if any is.
    pub fn new([from, to]: [usize; 2], count: usize, window: Window, normalized: bool, device: &Device) -> Self {
        let block = |at: usize| Block::new([if at == 0 { from } else { to }, to], window, normalized && at + 1 == count, device);
        Self { blocks: (0..count).map(block).collect() }
    }

    /// \[B, from, H, W\] to \[B, to, H, W\].
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.blocks.iter().fold(x, |x, block| block.forward(x))
    }
}

/// x where it is positive, 0.2 x elsewhere. Written with the ReLU, for `burn-onnx` lowers no leaky one.
pub fn leaky_relu(x: Tensor<4>) -> Tensor<4> {
    relu(x.clone()) * 0.8 + x * 0.2
}

/// The largest of `kernel` x `kernel` positions around every second one: \[B, C, H, W\] to \[B, C, H / 2, W / 2\].
pub fn max_pool(x: Tensor<4>, kernel: usize) -> Tensor<4> {
    let pad = (kernel - 1) / 2;
    let padding = PaddingConfig2d::Explicit(pad, pad, pad, pad);
    MaxPool2dConfig::new([kernel; 2]).with_strides([2, 2]).with_padding(padding).init().forward(x)
}
