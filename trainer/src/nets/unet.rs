//! The two halves that the U-Nets share: levels that each halve the picture, and rises that double it again beside what the levels kept.

use anyhow::ensure;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::blocks::{Block, Window};
use super::check_widths;
use super::layers::twice;

/// The shape of both halves.
#[derive(Clone, Copy, Debug)]
pub struct Halves<'a> {
    /// Channels at 1/2, 1/4, 1/8 .. of the input's resolution.
    pub widths: &'a [usize],
    /// The output's resolution is the input's divided by this.
    pub output_stride: usize,
    /// Channels of the output.
    pub head_width: usize,
    /// Whether batch normalization stands behind every convolution.
    pub normalized: bool,
}

impl Halves<'_> {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the value and what it may be.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!((1..=8).contains(&self.widths.len()), "net.widths {:?}: 1 to 8 numbers", self.widths);
        check_widths("widths", self.widths)?;
        check_widths("head_width", &[self.head_width])?;
        ensure!(
            self.output_stride.is_power_of_two() && self.output_stride < self.side_multiple(),
            "net.output_stride {}: a power of two below {}, which is how much smaller the deepest level is",
            self.output_stride,
            self.side_multiple()
        );
        Ok(())
    }

    /// The input's sides must be multiples of this.
    pub fn side_multiple(&self) -> usize {
        1 << self.widths.len()
    }

    /// The channels of the deepest level.
    pub fn deepest(&self) -> usize {
        self.widths[self.widths.len() - 1]
    }

    /// The shape \[C, h, w\] of a map of `channels` channels at the deepest level, for an input of `height` x `width`.
    pub fn deepest_shape(&self, channels: usize, height: usize, width: usize) -> [usize; 3] {
        [channels, height / self.side_multiple(), width / self.side_multiple()]
    }
}

/// Two 3x3 convolutions, the first with stride 2.
#[derive(Module, Debug)]
struct Level {
    shrink: Block,
    refine: Block,
}

/// The way down.
#[derive(Module, Debug)]
pub struct Encoder {
    levels: Vec<Level>,
}

impl Encoder {
    /// Levels with random weights.
    pub fn new(halves: &Halves, device: &Device) -> Self {
        let level = |(at, &width): (usize, &usize)| {
            let from = if at == 0 { 1 } else { halves.widths[at - 1] };
            Level {
                shrink: Block::new([from, width], Window::HALVING, halves.normalized, device),
                refine: Block::new([width, width], Window::NEAR, halves.normalized, device),
            }
        };
        Self { levels: halves.widths.iter().enumerate().map(level).collect() }
    }

    /// The lightness \[B, 1, H, W\] and what each level makes of it, finest first.
    pub fn forward(&self, lightness: Tensor<4>) -> Vec<Tensor<4>> {
        let mut maps = vec![lightness];
        for level in &self.levels {
            maps.push(level.refine.forward(level.shrink.forward(maps[maps.len() - 1].clone())));
        }
        maps
    }
}

/// Fewer channels, then twice the size, then what the level of that size kept beside it.
#[derive(Module, Debug)]
struct Rise {
    narrow: Block,
    merge: Block,
}

/// The way up.
#[derive(Module, Debug)]
pub struct Decoder {
    rises: Vec<Rise>,
}

impl Decoder {
    /// Rises with random weights, from the deepest level's size and `deepest` channels.
    pub fn new(halves: &Halves, deepest: usize, device: &Device) -> Self {
        let output = halves.output_stride.ilog2() as usize;
        let mut from = deepest;
        let mut rises = Vec::new();
        for at in (output..halves.widths.len()).rev() {
            // Map 0 is the lightness: one channel, beside as many as the head reads.
            let (kept, narrow) = if at == 0 { (1, halves.head_width) } else { (halves.widths[at - 1], halves.widths[at - 1]) };
            let to = if at == output { halves.head_width } else { narrow };
            rises.push(Rise {
                narrow: Block::new([from, narrow], Window::NEAR, halves.normalized, device),
                merge: Block::new([narrow + kept, to], Window::NEAR, halves.normalized, device),
            });
            from = to;
        }
        Self { rises }
    }

    /// From the deepest map and the encoder's `maps` (the deepest of them is not read) to \[B, head width, H / output stride, W / output stride\].
    pub fn forward(&self, deepest: Tensor<4>, maps: &[Tensor<4>]) -> Tensor<4> {
        let kept = maps.iter().rev().skip(1);
        // Narrowing before growing computes a quarter of the positions.
        self.rises
            .iter()
            .zip(kept)
            .fold(deepest, |x, (rise, kept)| rise.merge.forward(Tensor::cat(vec![twice(rise.narrow.forward(x)), kept.clone()], 1)))
    }
}
