//! The exported files against what they were made from, over many recurrent frames.

use autochrome_model::bins::Decode;
use autochrome_model::contract::AB_SCALE;
use autochrome_model::{Chroma, Colorizer, Plane};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::Serialize;
use tract_onnx::pb::ModelProto;

use crate::config::RunConfig;
use crate::nets::Network;

/// What Tract and Burn may differ by, in ab / 110 and in a state's value, of which it is a share where that is above 1 (an LSTM's cell may grow by 1 a frame):
/// the model's contract promises it.
pub const PARITY: f32 = 1e-4;
/// ab is compared at no lower temperature. Near 0 the decode is a choice of one bin, and two that are as likely as each other tell nothing about the networks.
const TEMPERATURE_MIN: f32 = 0.38;

/// Tract against Burn on the same weights.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Parity {
    /// Frames compared, the state carried in both.
    pub frames: usize,
    /// The greatest difference of a decoded ab value, divided by 110 as in the contract's ab output.
    pub ab_error_max: f32,
    /// The greatest difference of a logit.
    pub logit_error_max: f32,
    /// The greatest difference of a state value, as a share of it where it is above 1.
    pub state_error_max: f32,
}

impl Parity {
    /// Whether the two are the same function, within [`PARITY`]. What is no number is not.
    pub fn agrees(&self) -> bool {
        self.ab_error_max <= PARITY && self.state_error_max <= PARITY
    }
}

/// int8 against float in Tract.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Drift {
    /// Frames compared, the state carried in both.
    pub frames: usize,
    /// Mean absolute difference of a decoded ab value, in Lab units.
    pub ab_error_mean: f32,
    /// Its 99th percentile.
    pub ab_error_p99: f32,
    /// The mean over the first tenth of the frames.
    pub ab_error_mean_first: f32,
    /// The mean over the last tenth.
    pub ab_error_mean_last: f32,
}

/// Runs `float` in Tract and `net` in Burn, on the CPU wherever it was trained, over the same scaled lightness planes.
///
/// # Errors
/// If either cannot run.
pub fn against_burn(net: &Network, config: &RunConfig, float: &ModelProto, planes: &[Vec<f32>]) -> anyhow::Result<Parity> {
    let mut colorizer = Colorizer::from_proto("float", float)?;
    let (width, height) = (colorizer.contract().width, colorizer.contract().height);
    let device = Device::flex();
    let net = net.valid().to_device(&device);
    let mut states = config.net.zero_states(1, height, width, &device);
    colorizer.set_decode(Decode::AnnealedMean { temperature: config.temperature.max(TEMPERATURE_MIN) });
    let mut parity = Parity { frames: planes.len(), ab_error_max: 0.0, logit_error_max: 0.0, state_error_max: 0.0 };
    // NaN stays: `f32::max` would pass over it.
    let larger = |a: f32, b: f32| if a >= b || a.is_nan() { a } else { b };
    let greatest = |found: &[f32], expected: &[f32]| found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, larger);
    for plane in planes {
        colorizer.advance(&unscaled(plane, width, height))?;
        let (logits, next) = net.forward(Tensor::from_data(TensorData::new(plane.clone(), [1, 1, height, width]), &device), states);
        states = next;
        let logits = config.output.activate(logits);
        let values =
            |tensor: &Tensor<4>| tensor.clone().into_data().try_into_vec::<f32>().map_err(|e| anyhow::anyhow!("read a tensor: {e:?}"));
        let logits = values(&logits)?;
        parity.logit_error_max = larger(parity.logit_error_max, greatest(colorizer.raw_output(), &logits));
        let (found, mut expected) = (colorizer.decode_last(), Chroma::default());
        colorizer.decode(&logits, &mut expected);
        for (found, expected) in [(found.a, expected.a), (found.b, expected.b)] {
            parity.ab_error_max = larger(parity.ab_error_max, greatest(&found.data, &expected.data) / AB_SCALE);
        }
        for (found, expected) in colorizer.states().iter().zip(&states) {
            let expected = values(expected)?;
            let scaled = |values: &[f32]| values.iter().zip(&expected).map(|(v, e)| v / e.abs().max(1.0)).collect::<Vec<_>>();
            parity.state_error_max = larger(parity.state_error_max, greatest(&scaled(found), &scaled(&expected)));
        }
    }
    Ok(parity)
}

/// Runs both models over the same scaled lightness planes.
///
/// # Errors
/// If either cannot run.
pub fn drift(float: &mut Colorizer, int8: &mut Colorizer, planes: &[Vec<f32>]) -> anyhow::Result<Drift> {
    let (width, height) = (float.contract().width, float.contract().height);
    let mut errors: Vec<f32> = Vec::new();
    let mut means = Vec::with_capacity(planes.len());
    for plane in planes {
        let lightness = unscaled(plane, width, height);
        let (expected, found) = (float.step(&lightness)?, int8.step(&lightness)?);
        let start = errors.len();
        for (e, f) in [(expected.a, found.a), (expected.b, found.b)] {
            errors.extend(e.data.iter().zip(&f.data).map(|(e, f)| (e - f).abs()));
        }
        means.push(mean(&errors[start..]));
    }
    let tenth = (planes.len() / 10).max(1);
    let ab_error_mean = mean(&errors);
    let at = errors.len() * 99 / 100;
    let (_, p99, _) = errors.select_nth_unstable_by(at, f32::total_cmp);
    Ok(Drift {
        frames: planes.len(),
        ab_error_mean,
        ab_error_p99: *p99,
        ab_error_mean_first: mean(&means[..tenth]),
        ab_error_mean_last: mean(&means[means.len() - tenth..]),
    })
}

fn mean(values: &[f32]) -> f32 {
    (values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len().max(1) as f64) as f32
}

/// L* of a scaled plane.
fn unscaled(plane: &[f32], width: usize, height: usize) -> Plane<f32> {
    Plane::from_vec(width, height, plane.iter().map(|v| v * 100.0 + 50.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_or_is_no_number_does_not_agree() {
        let parity = |ab_error_max, state_error_max| Parity { frames: 1, ab_error_max, logit_error_max: 1.0, state_error_max };
        assert!(parity(0.9e-4, 0.9e-4).agrees());
        assert!(!parity(1.1e-4, 0.0).agrees() && !parity(0.0, 1.1e-4).agrees());
        assert!(!parity(f32::NAN, 0.0).agrees() && !parity(0.0, f32::NAN).agrees());
    }
}
