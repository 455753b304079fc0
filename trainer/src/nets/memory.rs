//! Recurrent cells, and how a clip goes through them.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor};

use super::fake_quant;
use super::layers::conv3x3;

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
    /// A cell with random weights over `channels` channels of input and state.
    pub fn new(channels: usize, device: &Device) -> Self {
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
        let gates = sigmoid(gates + self.gates_h.forward(fake_quant::state(state.clone())));
        let update = gates.clone().narrow(1, 0, channels);
        let keep = gates.narrow(1, channels, channels);
        let candidate = (candidate + self.candidate_h.forward(fake_quant::state(keep * state.clone()))).tanh();
        // As h + z (c - h): one operator fewer than (1 - z) h + z c.
        state.clone() + update * (candidate - state)
    }

    /// T frames of x, \[T B, C, h, w\] and frame-major, none of which knows of another: as [`run`](Self::run) where every state is zeroed.
    pub fn afresh(&self, x: Tensor<4>) -> Tensor<4> {
        let channels = x.dims()[1];
        let update = sigmoid(self.gates_x.forward(x.clone()).narrow(1, 0, channels));
        update * self.candidate_x.forward(x).tanh()
    }

    /// Runs T frames (x is \[T B, C, h, w\], frame-major) from `state` \[B, C, h, w\]. `keep` \[T\]\[B, 1, 1, 1\] zeroes a lane's state in front of a frame.
    pub fn run(&self, x: Tensor<4>, mut state: Tensor<4>, keep: &[Option<Tensor<4>>]) -> (Tensor<4>, Tensor<4>) {
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

/// Sends the first half of the channels through the memory; the other half keeps this frame's own evidence (as Robust Video Matting does).
pub fn half_through(memory: &ConvGru, x: Tensor<4>, state: Tensor<4>, keep: &[Option<Tensor<4>>]) -> (Tensor<4>, Tensor<4>) {
    let channels = x.dims()[1] / 2;
    let (remembered, state) = memory.run(x.clone().narrow(1, 0, channels), state, keep);
    (fake_quant::concatenation(vec![remembered, x.narrow(1, channels, channels)]), state)
}
