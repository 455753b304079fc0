//! A U-Net with one recurrent cell at its deepest level (project 000): ConvLSTM or ConvGRU, its state carried or not, with or without a feature
//! vector. All else is the same in all of them, so that they can be compared.
//!
//! Half of the deepest channels go through the cell, the others keep this frame's own evidence. Changed: project 000 ran an LSTM at each position
//! apart (a 1x1 window), which cannot follow what moves; these cells look at 3x3 positions, as in Shi et al. 2015. And its states came from
//! one clip at a time; here many lanes play at once, and a lane's states are zeroed where its clip begins or is cut.

use anyhow::ensure;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::conv_lstm::ConvLstm;
use super::feature_unet::Fusion;
use super::layers::head;
use super::memory::ConvGru;
use super::unet::{Decoder, Encoder, Halves};
use super::{States, check_widths};

/// The kind of a recurrent cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CellKind {
    /// One state.
    #[default]
    Gru,
    /// Two states.
    Lstm,
}

/// The shape of a [`MemoryUNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemoryUNetConfig {
    /// Channels at 1/2, 1/4, 1/8 .. of the input's resolution; the last is even.
    pub widths: Vec<usize>,
    /// The recurrent cell.
    pub cell: CellKind,
    /// Whether the cell's state is carried from frame to frame. If not, it is zero in front of every frame, and the weights that read it rest.
    /// (The methods called `stateless` leave this as it is: their state is dropped behind each chunk, by `restart_share = 1`.)
    pub stateful: bool,
    /// Whether the deepest map is fused with an embedding of the whole picture.
    pub feature_vector: bool,
    /// Numbers in the embedding.
    pub feature_width: usize,
    /// Channels of the last stage, in front of the head.
    pub head_width: usize,
    /// The output's resolution is the input's divided by this.
    pub output_stride: usize,
}

impl Default for MemoryUNetConfig {
    fn default() -> Self {
        Self {
            widths: vec![16, 32, 64, 128],
            cell: CellKind::Gru,
            stateful: true,
            feature_vector: false,
            feature_width: 64,
            head_width: 48,
            output_stride: 4,
        }
    }
}

impl MemoryUNetConfig {
    fn halves(&self) -> Halves<'_> {
        Halves { widths: &self.widths, output_stride: self.output_stride, head_width: self.head_width, normalized: true }
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the value and what it may be.
    pub fn check(&self) -> anyhow::Result<()> {
        self.halves().check()?;
        ensure!(
            self.halves().deepest().is_multiple_of(2),
            "net.widths {:?}: the last must be even, half of it goes through the cell",
            self.widths
        );
        check_widths("feature_width", &[self.feature_width])?;
        Ok(())
    }

    /// The input's sides must be multiples of this.
    pub fn side_multiple(&self) -> usize {
        self.halves().side_multiple()
    }

    /// The shapes \[C, h, w\] of the states for an input of `height` x `width`: h, and c for an LSTM. None if they are not carried.
    pub fn state_shapes(&self, height: usize, width: usize) -> Vec<[usize; 3]> {
        let states = match (self.stateful, self.cell) {
            (false, _) => 0,
            (true, CellKind::Gru) => 1,
            (true, CellKind::Lstm) => 2,
        };
        vec![self.halves().deepest_shape(self.halves().deepest() / 2, height, width); states]
    }
}

/// A cell of either kind.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "a network has one")]
enum Cell {
    Gru(ConvGru),
    Lstm(ConvLstm),
}

impl Cell {
    fn new(kind: CellKind, channels: usize, device: &Device) -> Self {
        match kind {
            CellKind::Gru => Self::Gru(ConvGru::new(channels, device)),
            CellKind::Lstm => Self::Lstm(ConvLstm::new(channels, device)),
        }
    }

    /// T frames from `states`, or each from nothing if there are none.
    fn forward(&self, x: Tensor<4>, states: States, keep: &[Option<Tensor<4>>]) -> (Tensor<4>, States) {
        match (self, <[Tensor<4>; 1]>::try_from(states)) {
            (Self::Gru(cell), Ok([h])) => {
                let (x, h) = cell.run(x, h, keep);
                (x, vec![h])
            }
            (Self::Lstm(cell), Err(states)) if !states.is_empty() => {
                let states = <[Tensor<4>; 2]>::try_from(states).expect("an LSTM has two states");
                let (x, states) = cell.run(x, states, keep);
                (x, states.into())
            }
            (Self::Gru(cell), _) => (cell.afresh(x), Vec::new()),
            (Self::Lstm(cell), _) => (cell.afresh(x), Vec::new()),
        }
    }
}

/// See the module's documentation.
#[derive(Module, Debug)]
pub struct MemoryUNet {
    encoder: Encoder,
    fusion: Option<Fusion>,
    cell: Cell,
    decoder: Decoder,
    head: Conv2d,
}

impl MemoryUNet {
    /// A network with `outputs` output channels and random weights.
    pub fn new(config: &MemoryUNetConfig, outputs: usize, device: &Device) -> Self {
        let halves = config.halves();
        let deepest = halves.deepest();
        Self {
            encoder: Encoder::new(&halves, device),
            fusion: config.feature_vector.then(|| Fusion::new(deepest, config.feature_width, device)),
            cell: Cell::new(config.cell, deepest / 2, device),
            decoder: Decoder::new(&halves, deepest, device),
            head: head(config.head_width, outputs, device),
        }
    }

    /// T frames of B lanes: scaled lightness \[T B, 1, H, W\], frame-major, to \[T B, outputs, H / output stride, W / output stride\], not
    /// squashed, and the states after the last frame. `keep` \[T\]\[B, 1, 1, 1\] holds 0 where a lane's states are zeroed in front of a frame.
    pub fn forward_clip(&self, lightness: Tensor<4>, states: States, keep: &[Option<Tensor<4>>]) -> (Tensor<4>, States) {
        let maps = self.encoder.forward(lightness);
        let mut deepest = maps[maps.len() - 1].clone();
        if let Some(fusion) = &self.fusion {
            deepest = fusion.forward(deepest);
        }
        let half = deepest.dims()[1] / 2;
        let (remembered, states) = self.cell.forward(deepest.clone().narrow(1, 0, half), states, keep);
        let deepest = Tensor::cat(vec![remembered, deepest.narrow(1, half, half)], 1);
        (self.head.forward(self.decoder.forward(deepest, &maps)), states)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn a_cell_without_memory_is_one_whose_state_is_zeroed_in_front_of_each_frame() {
        let (device, frames, lanes, channels) = (Device::flex(), 3, 2, 4);
        let random = |count: usize| Tensor::<4>::random([count, channels, 5, 6], Distribution::Uniform(-1.0, 1.0), &device);
        for (kind, states) in [(CellKind::Gru, 1), (CellKind::Lstm, 2)] {
            let cell = Cell::new(kind, channels, &device);
            let x = random(frames * lanes);
            let zeroed = vec![Some(Tensor::zeros([lanes, 1, 1, 1], &device)); frames];
            let carried = |keep: &[Option<Tensor<4>>]| cell.forward(x.clone(), (0..states).map(|_| random(lanes)).collect(), keep).0;
            let (found, left) = cell.forward(x.clone(), Vec::new(), &[]);
            assert!(left.is_empty());
            let off = |other: Tensor<4>| (found.clone() - other).abs().max().into_scalar::<f32>();
            let (same, other) = (off(carried(&zeroed)), off(carried(&vec![None; frames])));
            assert!(same < 1e-6 && other > 1e-3, "{kind:?}: {same}, and {other} with the state");
        }
    }
}
