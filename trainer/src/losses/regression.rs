//! Distances between a predicted picture and the true one, value by value.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// A regression loss, in the units of the network's output: ab / 110, or RGB or UV from 0 to 1.
///
/// On colors with several likely values all three are least for a color between them, which is why networks trained on them alone come out grey.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegressionConfig {
    /// How far apart two values are.
    pub distance: Distance,
    /// Its weight in the sum; Isola et al. 2017 give L1 100 beside an adversarial loss.
    #[serde(default = "one")]
    pub weight: f32,
    /// Where the distance `huber` turns from a square into a line, in the network's own unit (ab / 110, or RGB and UV from 0 to 1).
    #[serde(default = "huber_corner")]
    pub corner: f32,
}

fn one() -> f32 {
    1.0
}

/// 5 Lab units of an ab output: below that a difference is hard to see.
fn huber_corner() -> f32 {
    5.0 / 110.0
}

/// How far apart two values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distance {
    /// The mean square.
    Mse,
    /// The mean absolute value.
    L1,
    /// Huber 1964 with corner d: x² / 2 up to d, d (|x| - d / 2) beyond.
    Huber,
}

/// The mean distance of `found` and `truth`, of the same shape; not weighted.
pub fn regression(found: Tensor<4>, truth: Tensor<4>, config: &RegressionConfig) -> Tensor<1> {
    let difference = found - truth;
    match config.distance {
        Distance::Mse => difference.square().mean(),
        Distance::L1 => difference.abs().mean(),
        Distance::Huber => huber(difference, config.corner),
    }
}

/// The mean Huber loss with its corner at `corner`; with 1, the smooth L1.
pub fn huber(difference: Tensor<4>, corner: f32) -> Tensor<1> {
    let size = difference.abs();
    // min(|x|, d) makes both branches one expression: m (|x| - m / 2).
    let capped = size.clone().clamp_max(corner);
    (capped.clone() * (size - capped / 2.0)).mean()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    #[test]
    fn each_distance_is_what_a_hand_computes() {
        let tensor = |values: [f32; 4]| Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, 2, 1, 2]), &Device::flex());
        // Differences 0.5, -1, 2 and 0.
        let (found, truth) = (tensor([0.5, -1.0, 3.0, 1.0]), tensor([0.0, 0.0, 1.0, 1.0]));
        for (distance, corner, expected) in [
            (Distance::Mse, 1.0, (0.25 + 1.0 + 4.0) / 4.0),
            (Distance::L1, 1.0, 3.5 / 4.0),
            (Distance::Huber, 1.0, (0.125 + 0.5 + 1.5) / 4.0),
            (Distance::Huber, 0.25, (0.25 * 0.375 + 0.25 * 0.875 + 0.25 * 1.875) / 4.0),
        ] {
            let value = regression(found.clone(), truth.clone(), &RegressionConfig { distance, weight: 7.0, corner }).into_scalar::<f32>();
            assert!((value - expected).abs() < 1e-6, "{distance:?}: {value}, not {expected}");
        }
    }
}
