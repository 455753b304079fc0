//! Quantization-aware training: the last part of a run computes as the int8 file will.
//!
//! The ranges of the activations are those that an export would find, by the same calibration on the averaged weights: at the beginning of that
//! part and a few times up to its middle; then they are frozen, and the export uses them.

use std::sync::Arc;

use anyhow::{Context, ensure};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Progress;
use crate::config::RunConfig;
use crate::data::shard::PackedSet;
use crate::export::calibrate::{self, calibrate};
use crate::export::{self, Provenance, quantize};
use crate::nets::Network;
use crate::nets::fake_quant::{self, Grids};

/// How often the ranges are found before they are frozen.
const LOOKS: u64 = 4;

/// When a run is quantization-aware.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantizationConfig {
    /// The share of the steps before it: with 0.9, the last tenth of them.
    pub start_share: f64,
}

impl QuantizationConfig {
    /// The first of `steps` steps that is quantization-aware.
    pub fn start(&self, steps: u64) -> u64 {
        (steps as f64 * self.start_share) as u64
    }

    /// The first step whose ranges are frozen.
    pub fn frozen(&self, steps: u64) -> u64 {
        let start = self.start(steps);
        start + (steps - start) / 2
    }

    /// Whether the ranges are found anew in front of `step`.
    fn looks(&self, step: u64, steps: u64) -> bool {
        let (start, frozen) = (self.start(steps), self.frozen(steps));
        // A run without an end, such as one that only tries what a step costs, has more steps than could be multiplied.
        let at = |look: u64| u128::from(start) + u128::from(frozen - start) * u128::from(look) / u128::from(LOOKS);
        (0..LOOKS).any(|look| u128::from(step) == at(look))
    }
}

/// What rounds the activations in front of the step at which `progress` stands; `None` before quantization-aware training. Finds the ranges
/// where it is time, or where a run came here without any.
///
/// # Errors
/// If the network cannot be exported or run in Tract.
pub(super) fn grids_at(
    progress: &mut Progress,
    before: Option<Arc<Grids>>,
    config: &RunConfig,
    set: &Arc<PackedSet>,
) -> anyhow::Result<Option<Arc<Grids>>> {
    let Some(quantization) = &config.quantization else { return Ok(None) };
    let step = progress.position.step;
    if step < quantization.start(config.steps) {
        return Ok(None);
    }
    let looks = quantization.looks(step, config.steps) || progress.ranges.is_none();
    if !looks && before.is_some() {
        return Ok(before);
    }
    let float = float_model(&progress.average.valid(), config)?;
    if looks {
        let mut ranges = calibrate(&float, &export::calibration_lanes(set, config)?, calibrate::CHUNKS)?;
        ranges.summary += &format!("; found at step {step} of quantization-aware training");
        progress.ranges = Some(ranges);
    }
    let ranges = progress.ranges.as_ref().context("they were found above")?;
    Ok(Some(Arc::new(quantize::grids(&float, ranges)?)))
}

/// Checks at the beginning of a run that its network can be trained so.
///
/// # Errors
/// If it cannot be exported, or rounds where its layers do not say so.
pub(super) fn check(net: &Network, config: &RunConfig) -> anyhow::Result<()> {
    if config.quantization.is_none() {
        return Ok(());
    }
    let float = float_model(&net.valid(), config).context("[quantization] needs a network that can be exported")?;
    let [width, height] = config.input_size;
    let device = Device::flex();
    let copy = net.valid().to_device(&device);
    let lightness = Tensor::zeros([1, 1, height, width], &device);
    let (passed, exported) =
        (fake_quant::count(|| copy.forward(lightness, config.net.zero_states(1, height, width, &device))), quantize::count(&float));
    ensure!(
        passed == exported,
        "[quantization] is not for this network: its exported file has {exported:?}, of which its layers round {passed:?}"
    );
    Ok(())
}

fn float_model(net: &Network, config: &RunConfig) -> anyhow::Result<tract_onnx::pb::ModelProto> {
    let provenance = Provenance { training: "in the middle of a run".into(), license: "none".into() };
    export::float_model(net, config, &provenance)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use autochrome_model::{Colorizer, Plane};
    use burn::tensor::TensorData;

    use super::*;
    use crate::data::shard::test_sets::small_set;
    use crate::nets::lite0_unet::Lite0UNetConfig;
    use crate::nets::{NetConfig, test_nets};

    #[test]
    fn the_ranges_are_found_four_times_and_frozen_half_way() {
        let config = QuantizationConfig { start_share: 0.9 };
        assert_eq!((config.start(1000), config.frozen(1000)), (900, 950));
        let looks: Vec<u64> = (0..1000).filter(|step| config.looks(*step, 1000)).collect();
        assert_eq!(looks, [900, 912, 925, 937]);
        // A part of one step has one look.
        assert_eq!((0..10).filter(|step| config.looks(*step, 10)).collect::<Vec<_>>(), [9]);
    }

    #[test]
    fn a_fake_quantized_pass_computes_what_the_int8_file_does() {
        fake_passes_do_as_int8_files(test_nets::small(1), [48, 32]);
    }

    #[test]
    fn a_fake_quantized_pass_through_inverted_residuals_does_too() {
        let net = Lite0UNetConfig { widths: [4, 4, 6, 8], head_width: 4, frozen_stages: 0 };
        fake_passes_do_as_int8_files(NetConfig::Lite0Unet(net), [64, 32]);
    }

    fn fake_passes_do_as_int8_files(net: NetConfig, [width, height]: [usize; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let set = Arc::new(small_set(folder.path()));
        let mut config = RunConfig { net, input_size: [width, height], ..RunConfig::default() };
        config.quantization = Some(QuantizationConfig { start_share: 0.5 });
        let net = test_nets::settled(&config.net, config.outputs().unwrap(), 5);
        check(&net, &config).unwrap();
        let float = float_model(&net, &config).unwrap();
        let ranges = calibrate(&float, &export::calibration_lanes(&set, &config).unwrap(), 8).unwrap();
        let int8 = quantize::quantize(&float, &ranges).unwrap();
        let grids = Arc::new(quantize::grids(&float, &ranges).unwrap());
        let mut files = [&float, &int8].map(|model| Colorizer::from_proto("it", model).unwrap());
        let rounded_net = fake_quant::with_rounded_weights(net);
        let device = Device::flex();
        let mut states = config.net.zero_states(1, height, width, &device);
        let (mut off_float, mut off_fake) = (0.0, 0.0);
        for frame in 0..6 {
            let plane: Vec<f32> = (0..width * height).map(|i| 0.45 * (i as f32 / 9.0 + frame as f32).sin()).collect();
            let lightness = Plane::from_vec(width, height, plane.iter().map(|v| v * 100.0 + 50.0).collect());
            files.iter_mut().for_each(|file| file.advance(&lightness).unwrap());
            let input = Tensor::from_data(TensorData::new(plane, [1, 1, height, width]), &device);
            let (raw, next) = fake_quant::with(Some(&grids), || rounded_net.forward(input, states));
            states = next;
            let fake = raw.into_data().try_into_vec::<f32>().unwrap();
            let [float, int8] = files.each_ref().map(|file| file.raw_output());
            let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
            off_float += distance(float, int8);
            off_fake += distance(&fake, int8);
        }
        // What is left are values that fell on the other side of a half.
        let share = (off_fake / off_float).sqrt();
        assert!(off_float > 0.0 && share < 0.3, "{share} of what lies between the float and the int8 file");
    }
}
