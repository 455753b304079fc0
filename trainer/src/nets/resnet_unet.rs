//! A U-Net whose way down is a ResNet (project 002): a 7x7 convolution and a pool, then four levels of residual blocks.
//!
//! ResNet-18 is `width = 64` with two blocks a level, which is the default. Mended: it reads the one channel that there is, in place of a grey picture copied
//! into three, and its output is ab or bins, in place of a softmax over two channels of color.

use anyhow::ensure;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::blocks::{Block, Window, max_pool};
use super::layers::{Residual, head};
use super::unet::{Decoder, Halves};
use super::{BLOCKS_MAX, check_widths};

/// The shape of a [`ResnetUNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResnetUNetConfig {
    /// Channels at 1/2 and 1/4 of the input's resolution; twice as many at 1/8, and so on.
    pub width: usize,
    /// Residual blocks at 1/4, 1/8, 1/16 and 1/32.
    pub blocks: [usize; 4],
    /// Channels of the last stage, in front of the head.
    pub head_width: usize,
    /// The output's resolution is the input's divided by this.
    pub output_stride: usize,
}

impl Default for ResnetUNetConfig {
    fn default() -> Self {
        Self { width: 16, blocks: [2; 4], head_width: 48, output_stride: 4 }
    }
}

impl ResnetUNetConfig {
    /// The input's sides must be multiples of this.
    pub const SIDE_MULTIPLE: usize = 32;

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the value and what it may be.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.blocks.iter().all(|count| (1..=BLOCKS_MAX).contains(count)),
            "net.blocks {:?}: 1 to {BLOCKS_MAX} of each",
            self.blocks
        );
        check_widths("width", &[self.width])?;
        self.halves(&self.widths()).check()
    }

    fn widths(&self) -> [usize; 5] {
        [1, 1, 2, 4, 8].map(|times| times * self.width)
    }

    fn halves<'a>(&self, widths: &'a [usize]) -> Halves<'a> {
        Halves { widths, output_stride: self.output_stride, head_width: self.head_width, normalized: true }
    }
}

/// A residual block that halves the picture and changes its channels; a 1x1 convolution brings the input to the same shape.
#[derive(Module, Debug)]
struct HalvingResidual {
    first: Block,
    second: Block,
    shortcut: Block,
}

impl HalvingResidual {
    fn new([from, to]: [usize; 2], device: &Device) -> Self {
        Self {
            first: Block::new([from, to], Window::HALVING, true, device),
            second: Block::new([to; 2], Window::NEAR, true, device),
            shortcut: Block::new([from, to], Window { stride: 2, ..Window::POINT }, true, device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        relu(self.second.linear(self.first.forward(x.clone())) + self.shortcut.linear(x))
    }
}

/// What is at one resolution.
#[derive(Module, Debug)]
struct Level {
    halve: Option<HalvingResidual>,
    blocks: Vec<Residual>,
}

/// See the module's documentation.
#[derive(Module, Debug)]
pub struct ResnetUNet {
    stem: Block,
    levels: Vec<Level>,
    decoder: Decoder,
    head: Conv2d,
}

impl ResnetUNet {
    /// A network with `outputs` output channels and random weights.
    pub fn new(config: &ResnetUNetConfig, outputs: usize, device: &Device) -> Self {
        let widths = config.widths();
        let halves = config.halves(&widths);
        let level = |at: usize| {
            // The first level has the stem's channels, and the pool has halved the picture.
            let halve = (at > 0).then(|| HalvingResidual::new([widths[at], widths[at + 1]], device));
            let blocks = config.blocks[at] - usize::from(at > 0);
            Level { halve, blocks: (0..blocks).map(|_| Residual::new(widths[at + 1], device)).collect() }
        };
        Self {
            stem: Block::new([1, config.width], Window { kernel: 7, stride: 2, dilation: 1 }, true, device),
            levels: (0..4).map(level).collect(),
            decoder: Decoder::new(&halves, halves.deepest(), device),
            head: head(config.head_width, outputs, device),
        }
    }

    /// Scaled lightness \[N, 1, H, W\] to \[N, outputs, H / output stride, W / output stride\], not squashed.
    pub fn forward(&self, lightness: Tensor<4>) -> Tensor<4> {
        let stem = self.stem.forward(lightness.clone());
        let mut x = max_pool(stem.clone(), 3);
        let mut maps = vec![lightness, stem];
        for level in &self.levels {
            if let Some(halve) = &level.halve {
                x = halve.forward(x);
            }
            x = level.blocks.iter().fold(x, |x, block| block.forward(x));
            maps.push(x.clone());
        }
        self.head.forward(self.decoder.forward(x, &maps))
    }
}
