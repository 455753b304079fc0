//! A fully connected generator (project 003's first): a small grey picture as one row of numbers, hidden layers, a picture.
//!
//! It knows nothing of neighborhood and is bound to one size: a floor under the others. Mended: the hidden layers begin Kaiming-normal, and the
//! output is squashed to what a picture can hold.

use anyhow::ensure;
use burn::module::{Initializer, Module};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

/// The shape of a [`FullyConnected`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FullyConnectedConfig {
    /// The width of the pictures, of which it takes no other.
    pub width: usize,
    /// Their height.
    pub height: usize,
    /// Numbers in each hidden layer.
    pub hidden: Vec<usize>,
}

impl Default for FullyConnectedConfig {
    fn default() -> Self {
        Self { width: 32, height: 32, hidden: vec![512, 512] }
    }
}

/// The most weights that a layer may have: 1 GiB of them.
const WEIGHTS_MAX: usize = 1 << 28;

impl FullyConnectedConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the value and what it may be.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(self.width > 0 && self.height > 0, "net.width {} and net.height {}: above 0", self.width, self.height);
        let pixels = self.width.saturating_mul(self.height);
        let sizes = [&[pixels][..], &self.hidden, &[3 * pixels.min(WEIGHTS_MAX)]].concat();
        ensure!(sizes.iter().all(|&size| size > 0), "net.hidden {:?}: numbers above 0", self.hidden);
        let largest = sizes.windows(2).map(|pair| pair[0].saturating_mul(pair[1])).max().unwrap_or(0);
        ensure!(largest <= WEIGHTS_MAX, "net: a layer would have {largest} weights; at most {WEIGHTS_MAX} are allowed");
        Ok(())
    }
}

/// See the module's documentation.
#[derive(Module, Debug)]
pub struct FullyConnected {
    hidden: Vec<Linear>,
    head: Linear,
    outputs: usize,
}

impl FullyConnected {
    /// A network with `outputs` numbers a pixel and random weights.
    pub fn new(config: &FullyConnectedConfig, outputs: usize, device: &Device) -> Self {
        let linear = |from: usize, to: usize, initializer: Initializer| {
            let mut linear = LinearConfig::new(from, to).with_initializer(initializer).init(device);
            linear.bias = Some(Initializer::Zeros.init([to], device));
            linear
        };
        let pixels = config.width * config.height;
        let sizes = [&[pixels][..], &config.hidden].concat();
        let kaiming = || Initializer::KaimingNormal { gain: 2_f64.sqrt(), fan_out_only: false };
        Self {
            hidden: sizes.windows(2).map(|pair| linear(pair[0], pair[1], kaiming())).collect(),
            head: linear(sizes[sizes.len() - 1], outputs * pixels, Initializer::Normal { mean: 0.0, std: 0.01 }),
            outputs,
        }
    }

    /// Scaled lightness \[N, 1, H, W\] to \[N, outputs, H, W\], not squashed.
    pub fn forward(&self, lightness: Tensor<4>) -> Tensor<4> {
        let [frames, _, height, width] = lightness.dims();
        let row = lightness.reshape([frames, height * width]);
        let row = self.hidden.iter().fold(row, |row, layer| relu(layer.forward(row)));
        self.head.forward(row).reshape([frames, self.outputs, height, width])
    }
}
