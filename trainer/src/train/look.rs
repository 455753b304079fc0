//! What one worker makes of its lanes of a chunk: the forward pass, the losses, and the gradients.

use std::ops::Range;
use std::sync::Arc;

use burn::optim::GradientsParams;
use burn::tensor::{FloatDType, Tensor};

use super::batch::Batch;
use super::gradients::Share;
use super::log::Values;
use super::precision::{Precision, widened};
use crate::config::RunConfig;
use crate::losses::agreement::{AgreementConfig, Transform, disagreement, noise};
use crate::losses::features::feature_distance;
use crate::losses::warp::warp_difference;
use crate::losses::{Losses, Prediction, losses};
use crate::nets::FeatureNet;
use crate::nets::fake_quant::{self, Grids};
use crate::nets::{Network, States};

/// What all workers share, beside the weights.
pub(super) struct View<'a> {
    pub(super) config: &'a RunConfig,
    /// As [`Prediction::read`] takes it.
    pub(super) centers: Tensor<3>,
    /// What looks for the feature loss.
    pub(super) features: Option<&'a dyn FeatureNet>,
    /// What the network computes in.
    pub(super) precision: Precision,
    /// What its activations are rounded to.
    pub(super) grids: Option<&'a Arc<Grids>>,
}

impl View<'_> {
    /// A pass of `net`, from float to float.
    fn forward(&self, net: &Network, lightness: Tensor<4>, states: States, keep: &[Option<Tensor<4>>]) -> (Tensor<4>, States) {
        let narrow = |x: Tensor<4>| x.cast(self.precision.dtype());
        let keep: Vec<_> = keep.iter().map(|keep| keep.clone().map(narrow)).collect();
        let states = states.into_iter().map(narrow).collect();
        let (raw, states) = fake_quant::with(self.grids, || net.forward_clip(narrow(lightness), states, &keep));
        (raw.cast(FloatDType::F32), states.into_iter().map(|state| state.cast(FloatDType::F32)).collect())
    }
}

/// A forward pass and its losses, before anything has learned from it.
pub(super) struct Look {
    /// The worker's own leaves of the weights.
    net: Network,
    pub(super) batch: Batch,
    pub(super) prediction: Prediction,
    /// All but the adversarial one.
    pub(super) found: Losses,
    /// After the last frame.
    states: States,
    pub(super) lanes: usize,
}

impl Look {
    /// Runs `net` over the `lanes` of step `step`.
    pub(super) fn new(net: Network, mut batch: Batch, states: States, lanes: &Range<usize>, view: &View<'_>, step: u64) -> Self {
        let config = &view.config.loss;
        let clean = batch.lightness.clone();
        if let Some(agreement) = &config.agreement {
            batch.lightness = clean.clone() + draw(agreement, &clean, lanes, view.config, step, 0);
        }
        let (raw, next) = view.forward(&net, batch.lightness.clone(), states.clone(), &batch.keep);
        let prediction = Prediction::read(raw, view.config.output, &view.centers, batch.target.luma.as_ref());
        let mut found = losses(&prediction, &batch.target, batch.moving.clone(), config);
        if let (Some(feature), Some(features)) = (&config.feature, view.features) {
            let rgb = prediction.rgb(&batch.target);
            found.add("feature", feature_distance(features, rgb, batch.target.rgb(), &feature.layers), feature.weight);
        }
        if let (Some(warp), Some(motion)) = (&config.warp, &batch.motion) {
            let lightness = batch.target.lightness.clone();
            found.add("warp", warp_difference(prediction.ab.clone() / 10.0, lightness, motion, warp.mask_steepness), warp.weight);
        }
        if let Some(agreement) = &config.agreement {
            let transform = Transform::draw(agreement, view.config.seed, step);
            let output = prediction.ab.dims();
            let moved = |x: Tensor<4>| {
                let scale = x.dims()[2] as f32 / output[2] as f32;
                transform.apply(x, scale)
            };
            let second = moved(clean.clone() + draw(agreement, &clean, lanes, view.config, step, 1));
            let (raw, _) = view.forward(&net, second, states.into_iter().map(moved).collect(), &batch.keep);
            let luma = batch.target.luma.clone().map(moved);
            let second = Prediction::read(raw, view.config.output, &view.centers, luma.as_ref());
            found.add("agreement", disagreement(prediction.ab.clone() / 10.0, second.ab / 10.0, transform), agreement.weight);
        }
        // Truncated back-propagation: the next chunk goes on from these values, not through them.
        let states = next.into_iter().map(Tensor::detach).collect();
        Self { net, batch, prediction, found, states, lanes: lanes.len() }
    }

    /// The gradients of the losses.
    pub(super) fn learn(self) -> Share {
        // Before any value is asked for: a GPU has the backward pass to do while this waits for the answer.
        let gradients = widened(GradientsParams::from_grads(self.found.total.backward(), &self.net), &self.net);
        let values = self.values();
        Share { values, gradients, states: self.states, lanes: self.lanes }
    }

    /// No gradients: the network stands still.
    pub(super) fn pass(self) -> Share {
        Share { values: self.values(), gradients: GradientsParams::new(), states: self.states, lanes: self.lanes }
    }

    fn values(&self) -> Values {
        // One question to the device, and not one for each: a GPU would stand still for every answer.
        let all: Vec<Tensor<1>> =
            std::iter::once(&self.found.total).chain(self.found.parts.iter().map(|(_, part)| part)).cloned().collect();
        let values = Tensor::cat(all, 0).into_data().try_into_vec::<f32>().expect("losses are floats");
        Values { loss: values[0], parts: self.found.parts.iter().zip(&values[1..]).map(|((name, _), value)| (*name, *value)).collect() }
    }
}

/// The noise of one of the two looks.
fn draw(agreement: &AgreementConfig, like: &Tensor<4>, lanes: &Range<usize>, config: &RunConfig, step: u64, draw: u64) -> Tensor<4> {
    if agreement.noise == 0.0 {
        return Tensor::zeros([1, 1, 1, 1], &like.device());
    }
    noise(like, config.data.chunk_frames, lanes.start, agreement.noise, config.seed, step, draw)
}
