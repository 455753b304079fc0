//! `dry-run`: a few real steps and everything around them, before hours are spent.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use autochrome_model::{Colorizer, bins};
use burn::module::Module;
use burn::tensor::Device;

use super::average::{average_decay, averaged};
use super::gradients::{Share, clip_gradients, is_finite};
use super::log::resident_peak;
use super::passes::Passes;
use super::{QuantizationConfig, begin, check_validation, count_prior, describe, fresh, loader_threads, quantization};
use crate::checkpoint;
use crate::config::RunConfig;
use crate::data::lanes::Lanes;
use crate::data::shard::PackedSet;
use crate::data::split::Split;
use crate::export::verify::{self, PARITY, Parity};
use crate::export::{self, Provenance};
use crate::files;
use crate::losses::adversarial::AdversarialConfig;
use crate::schedule::{learning_rate, rate_of_each_weight};

/// Steps that are timed, after the first, which on a GPU compiles and chooses its kernels.
const TIMED_STEPS: u64 = 3;
/// Frames over which Tract is compared with Burn.
const PARITY_FRAMES: usize = 10;

/// What a dry run found.
#[derive(Clone, Debug)]
pub struct DryRun {
    /// The packed set, in words.
    pub data: String,
    /// Weights of the network.
    pub weights: usize,
    /// Frames of a step.
    pub frames_a_step: usize,
    /// Steps of the run.
    pub steps: u64,
    /// The first step.
    pub first_step: Duration,
    /// A later step, without waiting for data.
    pub step: Duration,
    /// A step that is quantization-aware, where the run will have such.
    pub rounded_step: Option<Duration>,
    /// Phases of the run that began in none of the steps, in words.
    pub unseen: Option<String>,
    /// What one thread takes to load a step's data.
    pub load: Duration,
    /// Threads that will load it.
    pub loader_threads: usize,
    /// The loss of the last step.
    pub loss: f32,
    /// Bytes and time of a checkpoint, which could be restored.
    pub checkpoint: (u64, Duration),
    /// Checkpoints that stay on the disk.
    pub kept: usize,
    /// The most memory that the process had, in bytes, where the system tells.
    pub memory_peak: Option<u64>,
    /// Bytes in use and reserved on the first device, where it tells.
    pub device_memory: Option<(u64, u64)>,
    /// Tract against Burn on the exported file, or why it cannot be exported.
    pub export: Result<Parity, String>,
}

/// Does a few steps of the run that `config` describes on the data in `pack`, and checkpoints and exports, in a temporary folder.
///
/// # Errors
/// If a real run would fail: bad configuration or data, a loss that is no number, a checkpoint that cannot be restored.
pub fn dry_run(config: &RunConfig, pack: &Path, devices: &[Device]) -> anyhow::Result<DryRun> {
    let device = devices.first().context("training needs a device")?;
    config.check()?;
    config.ensure_encoder_weights()?;
    let set = Arc::new(PackedSet::open(pack)?);
    check_validation(&set, config)?;
    let parity_frames = export::sequence(&set, Split::Validation, config, PARITY_FRAMES)?;
    let lanes = Lanes::new(set.clone(), Split::Train, config.data.clone())?;
    let centers = config.centers()?;
    let class_weights = bins::rebalancing_weights(&count_prior(&lanes, config)?, config.loss.lambda);
    let lanes = lanes.encoding(config.soft_encoding()?);
    let passes = Passes::new(config, centers, &class_weights, devices)?;
    let mut progress = begin(config, &set, device)?;
    quantization::check(&progress.net, config)?;
    let (mut first_step, mut step, mut load, mut loss) = (Duration::ZERO, Duration::ZERO, Duration::ZERO, f32::NAN);
    let mut rounded_step = None;
    // One more where the run will end quantization-aware: by a configuration that begins so.
    let rounding = config.quantization.is_some();
    let early = RunConfig { quantization: rounding.then_some(QuantizationConfig { start_share: 0.0 }), ..config.clone() };
    for number in 0..=TIMED_STEPS + u64::from(rounding) {
        let rounds = number > TIMED_STEPS;
        let grids = if rounds { quantization::grids_at(&mut progress, None, &early, &set)? } else { None };
        let loading = Instant::now();
        let chunks = 0..config.accumulate as u64;
        let mut chunks = chunks.map(|c| lanes.chunk(number * config.accumulate as u64 + c)).collect::<Vec<_>>().into_iter();
        let loaded = loading.elapsed();
        let started = Instant::now();
        let mut next = || chunks.next().context("a step takes as many chunks as it accumulates");
        let Share { values, mut gradients, states, .. } =
            passes.step(&progress.net, progress.adversary.as_mut(), progress.states, number, grids.as_ref(), &mut next)?;
        let norm = clip_gradients(&progress.net, &mut gradients, config.gradient_norm_max);
        ensure!(values.loss.is_finite() && norm.is_finite(), "step {number}: the loss is {} and the gradient's norm {norm}", values.loss);
        let rate = learning_rate(&config.schedule, number, config.steps);
        progress.net = progress.optimizer.step(rate_of_each_weight(&config.schedule, rate)?, progress.net, gradients);
        progress.average = averaged(progress.average, &progress.net, average_decay(config.average_decay, number));
        progress.states = states;
        progress.position.step = number + 1;
        device.sync().context("wait until the device has done the step")?;
        let took = started.elapsed();
        ensure!(is_finite(&progress.net), "step {number}: a weight is no finite number any more");
        loss = values.loss;
        if rounds {
            rounded_step = Some(took);
        } else if number == 0 {
            first_step = took;
        } else {
            step += took / TIMED_STEPS as u32;
            load += loaded / TIMED_STEPS as u32;
        }
    }
    let device_memory = device.memory_pool_usage().map(|usage| (usage.bytes_in_use, usage.bytes_reserved));
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let saving = Instant::now();
    let saved = checkpoint::save(folder.path(), &progress, 1)?;
    let took = saving.elapsed();
    checkpoint::restore(&saved, fresh(config, device)?, device).context("restore the checkpoint")?;
    let export = exported(config, &parity_frames, &progress.average.valid(), folder.path()).map_err(|error| format!("{error:#}"));
    black_box(&progress);
    Ok(DryRun {
        data: describe(&set),
        weights: progress.net.num_params(),
        frames_a_step: config.frames_a_step(),
        steps: config.steps,
        first_step,
        step,
        rounded_step,
        unseen: config.adversarial.as_ref().and_then(unseen_phases),
        load,
        loader_threads: loader_threads(config.workers),
        loss,
        checkpoint: (size_of_files(&saved)?, took),
        kept: config.keep + 1,
        memory_peak: resident_peak(),
        device_memory,
        export,
    })
}

/// Writes the float file of `net` to `folder` and compares Tract on it with Burn over `frames`.
fn exported(config: &RunConfig, frames: &[Vec<f32>], net: &crate::nets::Network, folder: &Path) -> anyhow::Result<Parity> {
    let provenance = Provenance { training: "a dry run".into(), license: "none".into() };
    let model = export::float_model(net, config, &provenance)?;
    let file = folder.join("float.onnx");
    files::write_atomically(&file, &prost::Message::encode_to_vec(&model))?;
    Colorizer::load(&file)?;
    verify::against_burn(net, config, &model, frames)
}

impl DryRun {
    /// Whether the exported file does what the network does.
    pub fn agrees(&self) -> bool {
        self.export.as_ref().is_ok_and(Parity::agrees)
    }

    /// What all loading threads together take for a step's data.
    fn load_by_all(&self) -> Duration {
        self.load / u32::try_from(self.loader_threads.max(1)).unwrap_or(u32::MAX)
    }

    /// How long the run will take: its steps, at the pace of whichever is slower, the step or the loading. Without evaluations.
    pub fn whole(&self) -> Duration {
        Duration::try_from_secs_f64(self.step.max(self.load_by_all()).as_secs_f64() * self.steps as f64).unwrap_or(Duration::MAX)
    }

    /// All of it in a few lines.
    pub fn summary(&self) -> String {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let seconds = |time: Duration| time.as_secs_f64();
        let mut lines = vec![
            self.data.clone(),
            format!("{} weights, {} frames a step, loss {:.4}", self.weights, self.frames_a_step, self.loss),
            format!(
                "a step: {:.0} ms ({:.1} frames/s); the first one {:.0} ms",
                1e3 * seconds(self.step),
                self.frames_a_step as f64 / seconds(self.step),
                1e3 * seconds(self.first_step)
            ),
            format!(
                "a step's data: {:.0} ms on one thread; the {} that load make it {:.1} times as fast as the step{}",
                1e3 * seconds(self.load),
                self.loader_threads,
                seconds(self.step) / seconds(self.load_by_all()).max(1e-9),
                if self.load_by_all() > self.step { ": the training will wait for data" } else { "" }
            ),
            format!("{} steps at this pace: {}, without evaluations", self.steps, crate::follow::span(self.whole())),
            format!(
                "a checkpoint: {:.1} MB in {:.0} ms; {} stay on the disk ({:.1} MB)",
                megabytes(self.checkpoint.0),
                1e3 * seconds(self.checkpoint.1),
                self.kept,
                megabytes(self.checkpoint.0 * self.kept as u64)
            ),
        ];
        lines.extend(
            self.rounded_step.map(|time| format!("a quantization-aware step, the first of its kind: {:.0} ms", 1e3 * seconds(time))),
        );
        lines.extend(self.unseen.clone());
        lines.extend(self.memory_peak.map(|bytes| format!("memory of this process at its peak: {:.0} MB", megabytes(bytes))));
        lines.extend(self.device_memory.map(|(used, reserved)| {
            format!("memory of the device: {:.0} MB in use after a step, {:.0} MB reserved", megabytes(used), megabytes(reserved))
        }));
        lines.push(match &self.export {
            Ok(parity) => format!(
                "the exported file {} Burn over {} frames: ab / 110 differs by {:.1e}, the state by {:.1e}; at most {PARITY:.0e} is promised",
                if self.agrees() { "agrees with" } else { "DIFFERS from" },
                parity.frames,
                parity.ab_error_max,
                parity.state_error_max
            ),
            Err(reason) => format!("the network cannot be exported: {reason}"),
        });
        lines.join("\n")
    }
}

/// What of an adversarial run its first steps do not show.
fn unseen_phases(config: &AdversarialConfig) -> Option<String> {
    let AdversarialConfig { generator_steps, critic_steps, .. } = *config;
    let both = generator_steps.saturating_add(critic_steps);
    let critic = (critic_steps > 0 && generator_steps > TIMED_STEPS).then(|| format!("the critic alone, from step {generator_steps} on"));
    let joint = (both > TIMED_STEPS).then(|| format!("the generator and the critic together, from step {both} on"));
    let phases: Vec<String> = critic.into_iter().chain(joint).collect();
    (!phases.is_empty()).then(|| format!("NOT tried, and its time and memory not counted: {}", phases.join("; ")))
}

fn size_of_files(folder: &Path) -> anyhow::Result<u64> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    Ok(entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_that_begin_later_are_told() {
        let said = |generator_steps, critic_steps| {
            unseen_phases(&AdversarialConfig { generator_steps, critic_steps, ..AdversarialConfig::default() }).unwrap_or_default()
        };
        assert_eq!(said(0, 0), "");
        let nogan = said(1000, 500);
        assert!(nogan.contains("critic alone, from step 1000") && nogan.contains("together, from step 1500"), "{nogan}");
        let joint = said(0, 500);
        assert!(!joint.contains("alone") && joint.contains("together, from step 500"), "{joint}");
    }
}
