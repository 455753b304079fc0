//! A convolutional LSTM cell.

use burn::module::{Module, Param};
use burn::nn::conv::Conv2d;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor, TensorData};

use super::layers::conv3x3;

/// A ConvLSTM (Shi et al. 2015, without peepholes): i, f, o = sigmoid(W x + U h), g = tanh(V x + Y h), c' = f c + i g, h' = o tanh(c').
///
/// h stays within -1 to 1. c does not: it can grow by 1 a frame. No convolution reads c, so that an int8 file keeps it in float, as it keeps
/// every gate.
#[derive(Module, Debug)]
pub struct ConvLstm {
    gates_x: Conv2d,
    gates_h: Conv2d,
}

impl ConvLstm {
    /// A cell with random weights over `channels` channels of input and states.
    pub fn new(channels: usize, device: &Device) -> Self {
        let mut gates_x = conv3x3(channels, 4 * channels, 1, true, device);
        // A cell that forgets by default learns nothing from earlier frames (Jozefowicz et al. 2015): the forget gates begin open.
        let bias: Vec<f32> = (0..4 * channels).map(|gate| if gate / channels == 1 { 1.0 } else { 0.0 }).collect();
        gates_x.bias = Some(Param::from_data(TensorData::new(bias, [4 * channels]), device));
        Self { gates_x, gates_h: conv3x3(channels, 4 * channels, 1, false, device) }
    }

    /// T frames of x, \[T B, C, h, w\] and frame-major, none of which knows of another: as [`run`](Self::run) where every state is zeroed.
    pub fn afresh(&self, x: Tensor<4>) -> Tensor<4> {
        let channels = x.dims()[1];
        let (input, _, output, candidate) = opened(self.gates_x.forward(x), channels);
        output * (input * candidate).tanh()
    }

    /// Runs T frames (x is \[T B, C, h, w\], frame-major) from the states h and c, \[B, C, h, w\] each. `keep` \[T\]\[B, 1, 1, 1\] zeroes a lane's
    /// states in front of a frame. Gives h of every frame, and the states after the last.
    pub fn run(&self, x: Tensor<4>, [mut h, mut c]: [Tensor<4>; 2], keep: &[Option<Tensor<4>>]) -> (Tensor<4>, [Tensor<4>; 2]) {
        let [lanes, channels, ..] = h.dims();
        let gates = self.gates_x.forward(x);
        let mut outputs = Vec::with_capacity(keep.len());
        for (t, keep) in keep.iter().enumerate() {
            if let Some(keep) = keep {
                h = h * keep.clone();
                c = c * keep.clone();
            }
            let frame = if gates.dims()[0] == lanes { gates.clone() } else { gates.clone().narrow(0, t * lanes, lanes) };
            let (input, forget, output, candidate) = opened(frame + self.gates_h.forward(h), channels);
            c = forget * c + input * candidate;
            h = output * c.clone().tanh();
            outputs.push(h.clone());
        }
        let all = if outputs.len() == 1 { outputs.remove(0) } else { Tensor::cat(outputs, 0) };
        (all, [h, c])
    }
}

/// The input, forget and output gates and the candidate, out of \[B, 4 C, h, w\].
fn opened(gates: Tensor<4>, channels: usize) -> (Tensor<4>, Tensor<4>, Tensor<4>, Tensor<4>) {
    let open = sigmoid(gates.clone().narrow(1, 0, 3 * channels));
    let gate = |at: usize| open.clone().narrow(1, at * channels, channels);
    (gate(0), gate(1), gate(2), gates.narrow(1, 3 * channels, channels).tanh())
}
