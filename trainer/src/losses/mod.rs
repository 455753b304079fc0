//! The losses, as pure functions of tensors. N frames (T B of them, frame-major), Q bins, h x w the output's size.

use autochrome_model::bins;
use autochrome_model::contract::AB_SCALE;
use burn::nn::pool::AvgPool2dConfig;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::nets::OutputKind;

/// What the network is asked to minimize.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossConfig {
    /// Rebalancing: the uniform part of the class weights' denominator. 1 is off, Zhang et al. use 0.5.
    pub lambda: f32,
    /// Bins a color is softly encoded into.
    pub neighbors: usize,
    /// The soft encoding's Gaussian, in Lab units.
    pub sigma: f32,
    /// Weight of the smooth L1 between the decoded mean (T = 1) and the truth, both / 10.
    pub mean_weight: f32,
    /// Weight of the L1 between the decoded mean's change from frame to frame and the truth's, both / 10.
    pub temporal_weight: f32,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self { lambda: 0.9, neighbors: 5, sigma: 8.0, mean_weight: 1.0, temporal_weight: 0.5 }
    }
}

/// The truth of one chunk, encoded for the losses.
#[derive(Clone, Debug)]
pub struct Target {
    /// Soft bins \[N, Q, h, w\], summing to 1 over Q.
    pub bins: Tensor<4>,
    /// Class weights \[N, 1, h, w\].
    pub weight: Tensor<4>,
    /// ab in Lab units \[N, 2, h, w\].
    pub ab: Tensor<4>,
    /// The L* that the network saw, shrunk to the output's size \[N, 1, h, w\].
    pub lightness: Tensor<4>,
}

impl Target {
    /// Encodes `ab` (\[N\]\[2\]\[h w\], Lab units); `class_weights` has one weight a bin, for the bin nearest to the truth.
    /// `lightness` \[N, 1, H, W\] is the network's input.
    pub fn encode(
        ab: &[f32],
        [frames, height, width]: [usize; 3],
        centers: &[[f32; 2]],
        class_weights: &[f32],
        config: &LossConfig,
        lightness: &Tensor<4>,
    ) -> Self {
        let device = &lightness.device();
        let pixels = height * width;
        let q = centers.len();
        let mut soft = vec![0.0_f32; frames * q * pixels];
        let mut weight = vec![0.0_f32; frames * pixels];
        for ((ab, soft), weight) in ab.chunks_exact(2 * pixels).zip(soft.chunks_exact_mut(q * pixels)).zip(weight.chunks_exact_mut(pixels))
        {
            for i in 0..pixels {
                let (mut best, mut best_share) = (0, 0.0);
                bins::soft_encode(centers, [ab[i], ab[pixels + i]], config.neighbors, config.sigma, |bin, share| {
                    soft[bin * pixels + i] = share;
                    if share > best_share {
                        (best, best_share) = (bin, share);
                    }
                });
                weight[i] = class_weights[best];
            }
        }
        let tensor =
            |values: Vec<f32>, channels: usize| Tensor::from_data(TensorData::new(values, [frames, channels, height, width]), device);
        let stride = [lightness.dims()[2] / height, lightness.dims()[3] / width];
        let lightness = AvgPool2dConfig::new(stride).with_strides(stride).init().forward(lightness.clone()) * 100.0 + 50.0;
        Self { bins: tensor(soft, q), weight: tensor(weight, 1), ab: tensor(ab.to_vec(), 2), lightness }
    }
}

/// The bin centers as a tensor \[1, 2, Q\].
pub fn center_tensor(centers: &[[f32; 2]], device: &Device) -> Tensor<3> {
    let values: Vec<f32> = (0..2).flat_map(|axis| centers.iter().map(move |c| c[axis])).collect();
    Tensor::from_data(TensorData::new(values, [1, 2, centers.len()]), device)
}

/// What is minimized, and what it consists of.
#[derive(Clone, Debug)]
pub struct Losses {
    /// The weighted sum of the parts \[1\].
    pub total: Tensor<1>,
    /// The parts before weighting \[1\] each, by the names that the log has. A part that does not apply is not there.
    pub parts: Vec<(&'static str, Tensor<1>)>,
}

/// What a network's output says, in the terms that the losses speak of.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// Logarithms of the bins' shares \[N, Q, h, w\], of a network that gives bins.
    pub log_share: Option<Tensor<4>>,
    /// ab in Lab units \[N, 2, h, w\]; of bins, the mean (T = 1).
    pub ab: Tensor<4>,
}

impl Prediction {
    /// Reads the raw output \[N, outputs, h, w\] of a network whose output is of `kind`; `centers` is [`center_tensor`].
    ///
    /// # Panics
    /// For RGB and UV, which [`crate::config::RunConfig::check`] refuses so far.
    pub fn read(raw: Tensor<4>, kind: OutputKind, centers: &Tensor<3>) -> Self {
        let [frames, q, height, width] = raw.dims();
        match kind {
            OutputKind::Bins => {
                let log_share = log_softmax(raw, 1);
                let share = log_share.clone().exp().reshape([frames, q, height * width]);
                let ab = centers.clone().expand([frames, 2, q]).matmul(share).reshape([frames, 2, height, width]);
                Self { log_share: Some(log_share), ab }
            }
            OutputKind::Ab => Self { log_share: None, ab: kind.activate(raw) * AB_SCALE },
            OutputKind::Rgb | OutputKind::Uv => unimplemented!("losses of {kind:?}"),
        }
    }
}

/// The losses of a prediction.
///
/// `moving` \[(T - 1) B, 1, 1, 1\] is 1 where a frame continues the one before it, and 0 behind a cut, where nothing has to stay steady; `None` when T is 1.
pub fn losses(prediction: &Prediction, target: &Target, moving: Option<Tensor<4>>, config: &LossConfig) -> Losses {
    let mut parts = Vec::new();
    let mut total = None;
    let mut add = |name, value: Tensor<1>, weight: f32| {
        parts.push((name, value.clone()));
        let weighted = value * weight;
        total = Some(total.take().map_or(weighted.clone(), |sum: Tensor<1>| sum + weighted));
    };
    // Class-weighted soft cross-entropy.
    if let Some(log_share) = &prediction.log_share {
        add("cross_entropy", ((log_share.clone() * target.bins.clone()).sum_dim(1) * target.weight.clone()).mean().neg(), 1.0);
    }
    let ab = &prediction.ab;
    add("mean", smooth_l1((ab.clone() - target.ab.clone()) / 10.0), config.mean_weight);
    if let Some(moving) = moving {
        let frames = ab.dims()[0];
        let lanes = frames - moving.dims()[0];
        let change = |x: &Tensor<4>| x.clone().narrow(0, lanes, frames - lanes) - x.clone().narrow(0, 0, frames - lanes);
        add("temporal", ((change(ab) - change(&target.ab)).abs() * moving / 10.0).mean(), config.temporal_weight);
    }
    Losses { total: total.expect("the mean's part is always there"), parts }
}

/// Smooth L1 with its corner at 1: x² / 2 within, |x| - 1/2 beyond.
fn smooth_l1(difference: Tensor<4>) -> Tensor<1> {
    let size = difference.abs();
    // min(|x|, 1) makes both branches one expression: m (|x| - m / 2).
    let capped = size.clone().clamp_max(1.0);
    (capped.clone() * (size - capped / 2.0)).mean()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(ab: &[f32], shape: [usize; 3], centers: &[[f32; 2]]) -> Target {
        let lightness = Tensor::zeros([shape[0], 1, 4 * shape[1], 4 * shape[2]], &Device::flex());
        Target::encode(ab, shape, centers, &vec![1.0; centers.len()], &LossConfig::default(), &lightness)
    }

    /// The part `name` of the losses of `logits`.
    fn part(name: &str, logits: Tensor<4>, target: &Target, centers: &[[f32; 2]], moving: Option<f32>) -> f32 {
        let device = Device::flex();
        let prediction = Prediction::read(logits, OutputKind::Bins, &center_tensor(centers, &device));
        let moving = moving.map(|moving| Tensor::from_data(TensorData::new(vec![moving], [1, 1, 1, 1]), &device));
        let found = losses(&prediction, target, moving, &LossConfig::default());
        found.parts.into_iter().find(|(known, _)| *known == name).map_or(f32::NAN, |(_, value)| value.into_scalar::<f32>())
    }

    #[test]
    fn cross_entropy_of_uniform_logits_is_the_log_of_the_bins() {
        let centers = bins::seventeen();
        let target = target(&[0.0; 8], [1, 2, 2], centers);
        let value = part("cross_entropy", Tensor::zeros([1, centers.len(), 2, 2], &Device::flex()), &target, centers, None);
        assert!((value - (centers.len() as f32).ln()).abs() < 1e-4, "{value}");
    }

    #[test]
    fn the_mean_term_is_the_smooth_l1_by_hand() {
        // Two bins, one certain: the decoded mean is (20, 0), the truth (0, 5): differences 2 and -.5, losses 1.5 and .125.
        let centers = [[20.0, 0.0], [-20.0, 0.0]];
        let target = target(&[0.0, 5.0], [1, 1, 1], &centers);
        let logits = Tensor::from_data(TensorData::new(vec![50.0_f32, -50.0], [1, 2, 1, 1]), &Device::flex());
        let value = part("mean", logits, &target, &centers, None);
        assert!((value - (1.5 + 0.125) / 2.0).abs() < 1e-5, "{value}");
    }

    #[test]
    fn a_steady_truth_and_a_flickering_picture_cost_in_the_temporal_term_unless_a_cut_lies_between() {
        let centers = [[20.0, 0.0], [-20.0, 0.0]];
        let target = target(&[0.0; 4], [2, 1, 1], &centers);
        let logits = Tensor::from_data(TensorData::new(vec![50.0_f32, -50.0, -50.0, 50.0], [2, 2, 1, 1]), &Device::flex());
        let cost = |moving: f32| part("temporal", logits.clone(), &target, &centers, Some(moving));
        // a* jumps by 40, b* stays: (40 / 10 + 0) / 2.
        assert!((cost(1.0) - 2.0).abs() < 1e-5);
        assert_eq!(cost(0.0), 0.0);
    }

    #[test]
    fn the_lightness_of_the_target_is_what_the_network_saw() {
        let seen: Vec<f32> = (0..16).map(|i| if i % 4 < 2 { 0.5 } else { -0.5 }).collect();
        let lightness = Tensor::from_data(TensorData::new(seen, [1, 1, 4, 4]), &Device::flex());
        let centers = bins::seventeen();
        let target = Target::encode(&[0.0; 8], [1, 2, 2], centers, &vec![1.0; centers.len()], &LossConfig::default(), &lightness);
        assert_eq!(target.lightness.into_data().try_into_vec::<f32>().expect("floats"), [100.0, 0.0, 100.0, 0.0]);
    }
}
