//! The losses, as pure functions of tensors. N frames (T B of them, frame-major), Q bins, h x w the output's size.
//!
//! Here is what compares a prediction with the truth frame by frame; what needs more (motion, a second look, a network that looks, a critic) is in
//! the files beside, and the training loop adds it.

pub mod adversarial;
pub mod agreement;
pub mod color;
pub mod colorfulness;
pub mod features;
pub mod fidelity;
pub mod regression;
pub mod warp;

use std::borrow::Cow;

use anyhow::ensure;
use autochrome_model::contract::AB_SCALE;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::data::soft_colors::{SoftColors, SoftEncoding};
use crate::nets::OutputKind;
use agreement::AgreementConfig;
use color::{ab_of_srgb, luma_of_srgb, srgb_of_lab, srgb_of_uv, uv_of_srgb};
use colorfulness::colorfulness_lack;
use features::{FeatureConfig, FeatureNetKind};
use fidelity::log_square_error;
use regression::{RegressionConfig, huber, regression};
use warp::WarpConfig;

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
    /// The Gaussian that smooths the counted colors in the ab plane before they become the class prior, in Lab units. 0 is off, Zhang et al. use 5.
    pub prior_sigma: f32,
    /// Weight of what the picture lacks of the truth's colorfulness, / 100; more than the truth's is not rewarded.
    pub colorfulness_weight: f32,
    /// Weight of the logarithm of each picture's mean square error in RGB: what PSNR is made of.
    pub fidelity_weight: f32,
    /// A distance in the output's own units.
    pub regression: Option<RegressionConfig>,
    /// What a fixed network sees in the picture and in the truth.
    pub feature: Option<FeatureConfig>,
    /// Steadiness along known motion.
    pub warp: Option<WarpConfig>,
    /// Two looks at the same scene, shifted, mirrored or noisy.
    pub agreement: Option<AgreementConfig>,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            lambda: 0.9,
            neighbors: 5,
            sigma: 8.0,
            mean_weight: 1.0,
            temporal_weight: 0.5,
            prior_sigma: 0.0,
            colorfulness_weight: 0.0,
            fidelity_weight: 0.0,
            regression: None,
            feature: None,
            warp: None,
            agreement: None,
        }
    }
}

impl LossConfig {
    /// How true colors are encoded as shares of the bins around `centers`.
    pub fn soft_encoding<'a>(&self, centers: &'a [[f32; 2]]) -> SoftEncoding<'a> {
        SoftEncoding { centers, neighbors: self.neighbors, sigma: self.sigma }
    }

    /// Whether any term compares single pictures with their truth. Without one the validation loss says nothing: feature, warp, agreement and critic are not in
    /// it, and the temporal term is least for no color. Bins have such a term without a weight, the cross-entropy.
    pub fn compares_pictures(&self) -> bool {
        let regression = self.regression.as_ref().map_or(0.0, |part| part.weight);
        [self.mean_weight, self.colorfulness_weight, self.fidelity_weight, regression].into_iter().any(|weight| weight > 0.0)
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the value and what it may be.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!((0.0..=1.0).contains(&self.lambda), "loss.lambda {} is outside 0 to 1", self.lambda);
        ensure!(self.sigma.is_finite() && self.sigma > 0.0, "loss.sigma is {}; it must be above 0", self.sigma);
        ensure!((1..=16).contains(&self.neighbors), "loss.neighbors is {}; 1 to 16 bins", self.neighbors);
        ensure!(
            self.prior_sigma == 0.0 || self.prior_sigma >= 0.1,
            "loss.prior_sigma is {}; 0 is off, and less than 0.1 smooths nothing",
            self.prior_sigma
        );
        let mut weights = vec![
            ("mean_weight", self.mean_weight),
            ("temporal_weight", self.temporal_weight),
            ("prior_sigma", self.prior_sigma),
            ("colorfulness_weight", self.colorfulness_weight),
            ("fidelity_weight", self.fidelity_weight),
        ];
        if let Some(regression) = &self.regression {
            ensure!(regression.corner > 0.0, "loss.regression.corner is {}; it must be above 0", regression.corner);
            weights.push(("regression.weight", regression.weight));
        }
        if let Some(feature) = &self.feature {
            ensure!(
                feature.net != FeatureNetKind::Vgg16 || feature.weights.is_some(),
                "loss.feature.net is \"vgg16\" and needs its weights: give their file's path in loss.feature.weights"
            );
            weights.push(("feature.weight", feature.weight));
            weights.extend(feature.layers.iter().map(|&weight| ("feature.layers", weight)));
        }
        if let Some(warp) = &self.warp {
            weights.extend([("warp.weight", warp.weight), ("warp.mask_steepness", warp.mask_steepness)]);
        }
        if let Some(agreement) = &self.agreement {
            ensure!(agreement.shift <= 64, "loss.agreement.shift is {}; at most 64 pixels of the output", agreement.shift);
            ensure!(
                agreement.shift > 0 || agreement.mirror || agreement.noise > 0.0,
                "loss.agreement has no shift, mirror or noise: both looks would be the same"
            );
            weights.extend([("agreement.weight", agreement.weight), ("agreement.noise", agreement.noise)]);
        }
        for (name, value) in weights {
            ensure!(value.is_finite() && value >= 0.0, "loss.{name} is {value}; it must be 0 or a positive number");
        }
        Ok(())
    }
}

/// True colors as [`SoftColors`] on a device, and what they weigh.
#[derive(Clone, Debug)]
pub struct SoftBins {
    /// Which bins \[N, K, h, w\], the nearest first.
    pub bins: Tensor<4, Int>,
    /// Their shares \[N, K, h, w\], summing to 1 over K.
    pub shares: Tensor<4>,
    /// Class weights \[N, 1, h, w\], of the nearest bin.
    pub weight: Tensor<4>,
}

impl SoftBins {
    /// Encoded colors \[N\]\[K\]\[h w\] of the shape `[N, h, w]`.
    fn new(colors: &SoftColors, [frames, height, width]: [usize; 3], class_weights: &[f32], device: &Device) -> Self {
        let (neighbors, pixels) = (colors.neighbors, height * width);
        let nearest = colors.bins.chunks_exact(neighbors * pixels).flat_map(|frame| &frame[..pixels]);
        let weight: Vec<f32> = nearest.map(|&bin| class_weights[bin as usize]).collect();
        let shape = |channels: usize| [frames, channels, height, width];
        Self {
            bins: Tensor::from_data(TensorData::new(colors.bins.clone(), shape(neighbors)), device),
            shares: Tensor::from_data(TensorData::new(colors.shares.clone(), shape(neighbors)), device),
            weight: Tensor::from_data(TensorData::new(weight, shape(1)), device),
        }
    }

    /// The class-weighted soft cross-entropy of logarithms of shares \[N, Q, h, w\].
    fn cross_entropy(&self, log_share: &Tensor<4>) -> Tensor<1> {
        let theirs = log_share.clone().gather(1, self.bins.clone());
        ((theirs * self.shares.clone()).sum_dim(1) * self.weight.clone()).mean().neg()
    }
}

/// The truth of one chunk, encoded for the losses.
#[derive(Clone, Debug)]
pub struct Target {
    /// As bins, for a network that gives those.
    pub bins: Option<SoftBins>,
    /// ab in Lab units \[N, 2, h, w\].
    pub ab: Tensor<4>,
    /// The true L* \[N, 1, h, w\], 0 to 100. The network saw another one: a camera's luma is no lightness, and this camera had its faults.
    pub lightness: Tensor<4>,
    /// The true Rec. 601 luma \[N, 1, h, w\], 0 to 1, for a network that gives the chroma to it, UV.
    pub luma: Option<Tensor<4>>,
}

/// True pictures as they come from the data.
#[derive(Clone, Copy, Debug)]
pub struct TruePictures<'a> {
    /// L* \[N\]\[h w\], 0 to 100.
    pub lightness: &'a [f32],
    /// ab \[N\]\[2\]\[h w\], Lab units.
    pub ab: &'a [f32],
    /// The same as bins, if that was done already; else [`Target::encode`] does it.
    pub colors: Option<&'a SoftColors>,
    /// N, h and w.
    pub shape: [usize; 3],
}

impl Target {
    /// Encodes the truth for a network whose output is of `kind`; `class_weights` has one weight a bin, for the bin nearest to the truth.
    pub fn encode(
        truth: TruePictures<'_>,
        kind: OutputKind,
        centers: &[[f32; 2]],
        class_weights: &[f32],
        config: &LossConfig,
        device: &Device,
    ) -> Self {
        let TruePictures { lightness, ab, colors, shape } = truth;
        let [frames, height, width] = shape;
        // Large, and of no use to any other kind.
        let bins = (kind == OutputKind::Bins).then(|| {
            let colors = colors.map_or_else(|| Cow::Owned(config.soft_encoding(centers).encode(ab, height * width)), Cow::Borrowed);
            SoftBins::new(&colors, shape, class_weights, device)
        });
        let planes = |values: &[f32], channels: usize| {
            Tensor::from_data(TensorData::new(values.to_vec(), [frames, channels, height, width]), device)
        };
        let target = Self { bins, ab: planes(ab, 2), lightness: planes(lightness, 1), luma: None };
        let luma = (kind == OutputKind::Uv).then(|| luma_of_srgb(target.rgb()));
        Self { luma, ..target }
    }

    /// The true picture as gamma-coded sRGB, 0 to 1 \[N, 3, h, w\].
    pub fn rgb(&self) -> Tensor<4> {
        srgb_of_lab(self.lightness.clone(), self.ab.clone())
    }

    /// The truth in the terms of a network whose output is of `kind`, as [`Prediction::values`].
    pub fn values(&self, kind: OutputKind) -> Tensor<4> {
        match kind {
            OutputKind::Bins | OutputKind::Ab => self.ab.clone() / AB_SCALE,
            OutputKind::Rgb => self.rgb(),
            OutputKind::Uv => uv_of_srgb(self.rgb()),
        }
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

impl Losses {
    /// Adds a part.
    pub fn add(&mut self, name: &'static str, value: Tensor<1>, weight: f32) {
        self.total = self.total.clone() + value.clone() * weight;
        self.parts.push((name, value));
    }
}

/// What a network's output says, in the terms that the losses speak of.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// Logarithms of the bins' shares \[N, Q, h, w\], of a network that gives bins.
    pub log_share: Option<Tensor<4>>,
    /// ab in Lab units \[N, 2, h, w\]; of bins, the mean (T = 1).
    pub ab: Tensor<4>,
    /// What the network gave, activated: RGB or UV from 0 to 1, else ab / 110 \[N, C, h, w\].
    pub values: Tensor<4>,
    /// What it means.
    pub kind: OutputKind,
}

impl Prediction {
    /// Reads the raw output \[N, outputs, h, w\] of a network whose output is of `kind`; `centers` is [`center_tensor`], `luma` is
    /// [`Target::luma`].
    ///
    /// # Panics
    /// For a network that gives UV, without a luma.
    pub fn read(raw: Tensor<4>, kind: OutputKind, centers: &Tensor<3>, luma: Option<&Tensor<4>>) -> Self {
        let [frames, q, height, width] = raw.dims();
        let (log_share, values, ab) = match kind {
            OutputKind::Bins => {
                let log_share = log_softmax(raw, 1);
                let share = log_share.clone().exp().reshape([frames, q, height * width]);
                let ab = centers.clone().expand([frames, 2, q]).matmul(share).reshape([frames, 2, height, width]);
                (Some(log_share), ab.clone() / AB_SCALE, ab)
            }
            OutputKind::Ab => {
                let values = kind.activate(raw);
                (None, values.clone(), values * AB_SCALE)
            }
            OutputKind::Rgb => {
                let values = kind.activate(raw);
                (None, values.clone(), ab_of_srgb(values))
            }
            OutputKind::Uv => {
                let values = kind.activate(raw);
                let luma = luma.expect("the target of a network that gives UV has a luma").clone();
                (None, values.clone(), ab_of_srgb(srgb_of_uv(luma, values)))
            }
        };
        Self { log_share, ab, values, kind }
    }

    /// The picture as gamma-coded sRGB, 0 to 1 \[N, 3, h, w\], on the light of the truth.
    pub fn rgb(&self, target: &Target) -> Tensor<4> {
        match (self.kind, &target.luma) {
            (OutputKind::Rgb, _) => self.values.clone(),
            (OutputKind::Uv, Some(luma)) => srgb_of_uv(luma.clone(), self.values.clone()),
            _ => srgb_of_lab(target.lightness.clone(), self.ab.clone()),
        }
    }
}

/// The losses of a prediction that need the truth alone.
///
/// `moving` \[(T - 1) B, 1, 1, 1\] is 1 where a frame continues the one before it, and 0 behind a cut, where nothing has to stay steady; `None` when T is 1.
pub fn losses(prediction: &Prediction, target: &Target, moving: Option<Tensor<4>>, config: &LossConfig) -> Losses {
    let ab = &prediction.ab;
    let mean = huber((ab.clone() - target.ab.clone()) / 10.0, 1.0);
    let mut found = match prediction.log_share.as_ref().zip(target.bins.as_ref()) {
        Some((log_share, bins)) => {
            let value = bins.cross_entropy(log_share);
            Losses { total: value.clone(), parts: vec![("cross_entropy", value)] }
        }
        None => Losses { total: Tensor::zeros([1], &ab.device()), parts: Vec::new() },
    };
    found.add("mean", mean, config.mean_weight);
    if let Some(moving) = moving {
        let frames = ab.dims()[0];
        let lanes = frames - moving.dims()[0];
        let change = |x: &Tensor<4>| x.clone().narrow(0, lanes, frames - lanes) - x.clone().narrow(0, 0, frames - lanes);
        found.add("temporal", ((change(ab) - change(&target.ab)).abs() * moving / 10.0).mean(), config.temporal_weight);
    }
    if let Some(part) = &config.regression {
        found.add("regression", regression(prediction.values.clone(), target.values(prediction.kind), part), part.weight);
    }
    if config.colorfulness_weight > 0.0 {
        found.add("colorfulness", colorfulness_lack(prediction.rgb(target), target.rgb()), config.colorfulness_weight);
    }
    if config.fidelity_weight > 0.0 {
        found.add("fidelity", log_square_error(prediction.rgb(target), target.rgb()), config.fidelity_weight);
    }
    found
}

#[cfg(test)]
mod tests {
    use autochrome_model::bins;

    use super::*;

    fn target(ab: &[f32], shape: [usize; 3], centers: &[[f32; 2]]) -> Target {
        let truth = TruePictures { lightness: &vec![50.0; shape.iter().product()], ab, colors: None, shape };
        Target::encode(truth, OutputKind::Bins, centers, &vec![1.0; centers.len()], &LossConfig::default(), &Device::flex())
    }

    /// The part `name` of the losses of `logits`.
    fn part(name: &str, logits: Tensor<4>, target: &Target, centers: &[[f32; 2]], moving: Option<f32>) -> f32 {
        let device = Device::flex();
        let prediction = Prediction::read(logits, OutputKind::Bins, &center_tensor(centers, &device), None);
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
    fn cross_entropy_is_the_sum_over_all_bins_of_the_published_encoding() {
        let centers = bins::seventeen();
        let config = LossConfig { lambda: 0.5, ..LossConfig::default() };
        // Two frames of two pixels; the sum over every bin is done here in f64, by hand.
        let ab = [3.0, 40.0, -12.0, 55.0, -60.0, 8.0, 20.0, -45.0];
        let weights: Vec<f32> = (0..centers.len()).map(|bin| 0.5 + (bin % 7) as f32).collect();
        let logits: Vec<f32> = (0..2 * centers.len() * 2).map(|i| (i as f32 * 0.7).sin() * 2.0).collect();
        let truth = TruePictures { lightness: &[50.0; 4], ab: &ab, colors: None, shape: [2, 1, 2] };
        let device = Device::flex();
        let target = Target::encode(truth, OutputKind::Bins, centers, &weights, &config, &device);
        let mut expected = 0.0_f64;
        for frame in 0..2 {
            for pixel in 0..2 {
                let logit = |bin: usize| f64::from(logits[(frame * centers.len() + bin) * 2 + pixel]);
                let total: f64 = (0..centers.len()).map(|bin| logit(bin).exp()).sum();
                let color = [ab[frame * 4 + pixel], ab[frame * 4 + 2 + pixel]];
                let mut entropy = 0.0;
                bins::soft_encode(centers, color, config.neighbors, config.sigma, |bin, share| {
                    entropy -= f64::from(share) * (logit(bin) - total.ln());
                });
                expected += entropy * f64::from(weights[bins::nearest(centers, color)]) / 4.0;
            }
        }
        let logits = Tensor::from_data(TensorData::new(logits, [2, centers.len(), 1, 2]), &device);
        let found = target.bins.expect("bins").cross_entropy(&log_softmax(logits, 1)).into_scalar::<f32>();
        assert!((f64::from(found) - expected).abs() < 1e-4 * expected, "{found}, not {expected}");
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
    fn the_truth_of_every_output_is_the_photographs_own_whatever_the_camera_made_of_it() {
        // Strong colors, whose luma is far from their lightness: blue has L* 32, and a grey of its luma 11.
        let colors = [[0, 0, 255], [255, 0, 0], [200, 40, 40], [20, 90, 60]];
        let lab = colors.map(autochrome_model::color::srgb_to_lab);
        let plane = |axis: usize| lab.map(|lab| lab[axis]).to_vec();
        let truth = TruePictures { lightness: &plane(0), ab: &[plane(1), plane(2)].concat(), colors: None, shape: [1, 2, 2] };
        let encoded = |kind| Target::encode(truth, kind, bins::seventeen(), &[], &LossConfig::default(), &Device::flex());
        let values = |kind| encoded(kind).values(kind).into_data().try_into_vec::<f32>().expect("floats");
        let (rgb, uv) = (values(OutputKind::Rgb), values(OutputKind::Uv));
        for (i, color) in colors.iter().enumerate() {
            let [r, g, b] = color.map(|value| value as f32 / 255.0);
            for (channel, value) in [r, g, b].into_iter().enumerate() {
                assert!((rgb[4 * channel + i] - value).abs() < 2e-3, "{color:?}: {} is not {value}", rgb[4 * channel + i]);
            }
            // Rec. 601's own chroma, as Dahl's network is to find it.
            let luma = 0.299 * r + 0.587 * g + 0.114 * b;
            let (u, v) = ((b - luma) / 1.772 + 0.5, (r - luma) / 1.402 + 0.5);
            assert!((uv[i] - u).abs() < 2e-3 && (uv[4 + i] - v).abs() < 2e-3, "{color:?}: {} {} is not {u} {v}", uv[i], uv[4 + i]);
        }
        assert!(encoded(OutputKind::Ab).bins.is_none(), "nothing reads them");
        // And whoever says just that loses nothing, in whatever terms: UV goes with the photograph's luma, which its lightness does not tell.
        let config = LossConfig { mean_weight: 1.0, fidelity_weight: 1.0, colorfulness_weight: 1.0, ..LossConfig::default() };
        for kind in [OutputKind::Rgb, OutputKind::Uv] {
            let target = encoded(kind);
            let (values, centers) = (target.values(kind), center_tensor(bins::seventeen(), &Device::flex()));
            // The output before its sigmoid.
            let values = values.clamp(1e-6, 1.0 - 1e-6);
            let raw = (values.clone() / (values * -1.0 + 1.0)).log();
            let prediction = Prediction::read(raw, kind, &centers, target.luma.as_ref());
            let found = losses(&prediction, &target, None, &config).parts;
            let part =
                |name| found.iter().find(|(known, _)| *known == name).map_or(f32::NAN, |(_, value)| value.clone().into_scalar::<f32>());
            assert!(part("mean") < 1e-3 && part("colorfulness") < 1e-2, "{kind:?}: {found:?}");
            // The logarithm is of the error and one code squared: no more than that is left.
            assert!(part("fidelity") < (2.0 / 255.0_f32.powi(2)).ln(), "{kind:?}: {found:?}");
        }
    }
}
