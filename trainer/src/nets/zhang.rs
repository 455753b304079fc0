//! The classifier of Zhang, Isola and Efros 2016: eight rows of convolutions, the fifth and sixth dilated, to 313 bins at a quarter of the
//! resolution (projects 003 and 000).
//!
//! The released network is `width = 64` (32 M weights). Changed: batch normalization stands in front of a row's last ReLU and not behind it, so
//! that it folds into the convolution; and the eighth row begins with nearest upsampling and a 3x3 convolution in place of a transposed one, for
//! `burn-onnx` lowers no transposed convolution, and upsampling leaves no checkerboard.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::blocks::{Block, Row, Window};
use super::check_widths;
use super::layers::{head, twice};

/// The shape of a [`Zhang`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ZhangConfig {
    /// Channels of the first row; the fourth to the seventh have eight times as many.
    pub width: usize,
}

impl Default for ZhangConfig {
    fn default() -> Self {
        Self { width: 8 }
    }
}

impl ZhangConfig {
    /// The input's sides must be multiples of this.
    pub const SIDE_MULTIPLE: usize = 8;
    /// The output's resolution is the input's divided by this.
    pub const OUTPUT_STRIDE: usize = 4;

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the value and what it may be.
    pub fn check(&self) -> anyhow::Result<()> {
        check_widths("width", &[self.width])
    }
}

/// Some convolutions, then one more that is normalized and may shrink the picture.
#[derive(Module, Debug)]
struct Shrinking {
    row: Row,
    last: Block,
}

impl Shrinking {
    fn new([from, to]: [usize; 2], before: usize, device: &Device) -> Self {
        Self { row: Row::new([from, to], before, Window::NEAR, false, device), last: Block::new([to; 2], Window::HALVING, true, device) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.last.forward(self.row.forward(x))
    }
}

/// See the module's documentation.
#[derive(Module, Debug)]
pub struct Zhang {
    shrinking: Vec<Shrinking>,
    rows: Vec<Row>,
    eighth: Row,
    head: Conv2d,
}

impl Zhang {
    /// A network with `outputs` output channels and random weights.
    pub fn new(config: &ZhangConfig, outputs: usize, device: &Device) -> Self {
        let [w1, w2, w3, w4] = [1, 2, 4, 8].map(|times| times * config.width);
        let row = |from: usize, window: Window| Row::new([from, w4], 3, window, true, device);
        Self {
            shrinking: vec![Shrinking::new([1, w1], 1, device), Shrinking::new([w1, w2], 1, device), Shrinking::new([w2, w3], 2, device)],
            rows: vec![row(w3, Window::NEAR), row(w4, Window::DILATED), row(w4, Window::DILATED), row(w4, Window::NEAR)],
            eighth: Row::new([w4, w3], 3, Window::NEAR, false, device),
            head: head(w3, outputs, device),
        }
    }

    /// Scaled lightness \[N, 1, H, W\] to \[N, outputs, H / 4, W / 4\], not squashed.
    pub fn forward(&self, lightness: Tensor<4>) -> Tensor<4> {
        let x = self.shrinking.iter().fold(lightness, |x, part| part.forward(x));
        let x = self.rows.iter().fold(x, |x, row| row.forward(x));
        self.head.forward(self.eighth.forward(twice(x)))
    }
}
