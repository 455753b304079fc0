//! The training loop, in its natural order: data, learning rate, forward, backward, clip, step, log, evaluate, checkpoint.

mod adversary;
mod average;
mod batch;
mod gradients;
mod log;
mod look;
mod perceptual;
mod workers;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, ensure};
use autochrome_model::bins;
use burn::module::{Module, ParamGroup};
use burn::optim::{AdamWConfig, ModuleOptimizer};
use burn::tensor::Device;

pub use self::log::{EvaluationMetrics, StepMetrics, Watcher, processor_seconds};
use crate::checkpoint::{self, Position, Progress};
use crate::config::RunConfig;
use crate::data::lanes::{LaneConfig, Lanes};
use crate::data::prefetch::Prefetch;
use crate::data::shard::PackedSet;
use crate::data::split::Split;
use crate::losses::prior::smoothed;
use crate::losses::{Prediction, center_tensor, losses};
use crate::nets::Network;
use crate::pretrained;
use crate::report;
use crate::schedule::{learning_rate, rate_of_each_weight};
use crate::warm_start;
use average::{average_decay, averaged};
use batch::Batch;
use gradients::{Share, clip_gradients, joined};
use log::{Window, keep_lines_up_to};
use look::{Look, View};
use workers::{Workers, share_of};

/// Chunks of training data that the class prior is counted on.
const PRIOR_CHUNKS: u64 = 64;
/// More loader threads than this are of no use to any device known here.
const LOADER_THREADS_MAX: usize = 16;
/// Chunks that wait ready.
const CHUNKS_AHEAD: usize = 4;
/// Chunks of validation data an evaluation uses.
const VALIDATION_CHUNKS: u64 = 8;

/// The folder of checkpoints in a run's folder.
pub fn checkpoints(run: &Path) -> PathBuf {
    run.join("checkpoints")
}

/// The file of a run's configuration.
pub fn config_file(run: &Path) -> PathBuf {
    run.join("config.toml")
}

/// Starts a run in the new folder `run`.
///
/// # Errors
/// If the folder holds a run already, the data cannot be read, or a loss is not a finite number.
pub fn start(
    run: &Path,
    config: &RunConfig,
    pack: &Path,
    device: &Device,
    stop: &AtomicBool,
    watcher: &mut dyn Watcher,
) -> anyhow::Result<()> {
    ensure!(!config_file(run).exists(), "{} holds a run already; resume it, or choose another folder", run.display());
    config.check()?;
    let set = Arc::new(PackedSet::open(pack)?);
    let mut progress = fresh(config, device)?;
    if let Some(file) = &config.encoder_weights {
        progress.net = pretrained::load_encoder(progress.net, file)?;
        progress.average = progress.net.valid();
        watcher.say(&format!("the encoder starts from {}", file.display()));
    }
    if let Some(from) = &config.start_from {
        progress.net = if from.is_dir() {
            checkpoint::load_weights(progress.net, &checkpoint::average_file(from))?
        } else {
            let lane = Lanes::new(set.clone(), Split::Train, LaneConfig { lanes: 1, ..config.data.clone() })?;
            warm_start::load(progress.net, from, config, &lane)?
        };
        progress.average = progress.net.valid();
        watcher.say(&format!("starting from the weights of {}", from.display()));
    }
    watcher.say(&format!("{} weights, {}", progress.net.num_params(), describe(&set)));
    fs::create_dir_all(run).with_context(|| format!("create {}", run.display()))?;
    let lanes = Lanes::new(set.clone(), Split::Train, config.data.clone())?;
    let prior = count_prior(&lanes, config)?;
    checkpoint::write_atomically(&run.join("prior.json"), &serde_json::to_vec(&prior)?)?;
    let pack = fs::canonicalize(pack).with_context(|| format!("find {}", pack.display()))?;
    checkpoint::write_atomically(&run.join("data.txt"), pack.display().to_string().as_bytes())?;
    // Last: a folder with a configuration is a run that can be resumed.
    checkpoint::save(&checkpoints(run), &progress)?;
    checkpoint::write_atomically(&config_file(run), toml::to_string_pretty(config)?.as_bytes())?;
    go_on(run, config, lanes, &set, &prior, progress, device, stop, watcher)
}

/// Resumes the run in `run` from its newest whole checkpoint, on the data it was started with or on `pack`.
///
/// # Errors
/// If there is no run, no whole checkpoint, or no data.
pub fn resume(run: &Path, pack: Option<&Path>, device: &Device, stop: &AtomicBool, watcher: &mut dyn Watcher) -> anyhow::Result<()> {
    let config = RunConfig::read(&config_file(run))?;
    let text = |name: &str| fs::read_to_string(run.join(name)).with_context(|| format!("read {}", run.join(name).display()));
    let prior: Vec<f32> =
        serde_json::from_str(&text("prior.json")?).with_context(|| format!("read {}", run.join("prior.json").display()))?;
    let pack = pack.map_or_else(|| data_of(run), |pack| Ok(pack.to_owned()))?;
    let set = Arc::new(PackedSet::open(&pack)?);
    let lanes = Lanes::new(set.clone(), Split::Train, config.data.clone())?;
    fresh(&config, device)?;
    let (progress, damaged) =
        checkpoint::restore_newest(&checkpoints(run), || fresh(&config, device).expect("the configuration was checked above"), device)?;
    damaged.iter().for_each(|line| watcher.say(&format!("passed over a damaged checkpoint: {line}")));
    watcher.say(&format!("resuming at step {}", progress.position.step));
    keep_lines_up_to(&run.join("metrics.jsonl"), progress.position.step)?;
    go_on(run, &config, lanes, &set, &prior, progress, device, stop, watcher)
}

/// The packed set that a run was started with.
///
/// # Errors
/// If the run's folder does not say.
pub fn data_of(run: &Path) -> anyhow::Result<PathBuf> {
    let file = run.join("data.txt");
    fs::read_to_string(&file).map(PathBuf::from).with_context(|| format!("read {}", file.display()))
}

fn describe(set: &PackedSet) -> String {
    format!("{} training and {} validation items", set.items(Split::Train).len(), set.items(Split::Validation).len())
}

fn fresh(config: &RunConfig, device: &Device) -> anyhow::Result<Progress> {
    device.seed(config.seed);
    let net = config.fresh_network(device)?;
    // Touches every weight in field order: drawn lazily, they would depend on what the forward pass needs first.
    let average = net.valid();
    let states = config.net.zero_states(config.data.lanes, config.data.height, config.data.width, device);
    let position = Position { step: 0, seconds: 0.0, state_shapes: Vec::new(), best_validation_loss: None };
    let adversary = config.adversarial.as_ref().map(|adversarial| adversary::fresh(adversarial, config.output, device));
    Ok(Progress { net, average, optimizer: optimizer(config)?, adversary, states, position })
}

fn optimizer(config: &RunConfig) -> anyhow::Result<ModuleOptimizer> {
    let base = AdamWConfig::new().with_beta_1(0.9).with_beta_2(0.99).with_epsilon(1e-8).with_weight_decay(config.weight_decay);
    let undecayed = ParamGroup::from_any_regexes(vec![r"(^|\.)(bias|gamma|beta)$"]).map_err(|e| anyhow::anyhow!("{e:?}"))?;
    Ok(base.init().with_group(undecayed, base.clone().with_weight_decay(0.0).build(), None))
}

/// The share of each bin in the training data, softly encoded.
fn count_prior(lanes: &Lanes, config: &RunConfig) -> anyhow::Result<Vec<f32>> {
    let centers = config.centers()?;
    let mut prior = vec![0.0_f64; centers.len()];
    let (height, width) = config.data.output_size();
    let pixels = height * width;
    for number in 0..PRIOR_CHUNKS {
        // Far from the chunks that training will see first; each is a pure function of its number.
        for ab in lanes.chunk(u64::from(u32::MAX) + number * 997).ab.chunks_exact(2 * pixels) {
            for i in 0..pixels {
                bins::soft_encode(centers, [ab[i], ab[pixels + i]], config.loss.neighbors, config.loss.sigma, |bin, share| {
                    prior[bin] += f64::from(share)
                });
            }
        }
    }
    let sum: f64 = prior.iter().sum();
    Ok(prior.iter().map(|p| (p / sum) as f32).collect())
}

#[allow(clippy::too_many_arguments, reason = "the loop's whole world, named once")]
fn go_on(
    run: &Path,
    config: &RunConfig,
    lanes: Lanes,
    set: &Arc<PackedSet>,
    prior: &[f32],
    mut progress: Progress,
    device: &Device,
    stop: &AtomicBool,
    watcher: &mut dyn Watcher,
) -> anyhow::Result<()> {
    let centers = config.centers()?;
    let class_weights = bins::rebalancing_weights(&smoothed(prior, centers, config.loss.prior_sigma), config.loss.lambda);
    let features = config.loss.feature.as_ref().map(|config| perceptual::open(config, device)).transpose()?;
    let view = View { config, centers: center_tensor(centers, device), features: features.as_deref() };
    let workers = Workers::new(config.workers)?;
    let mut chunks = Prefetch::start(Arc::new(lanes), progress.position.step, loader_threads(config.workers), CHUNKS_AHEAD)?;
    let mut log = fs::OpenOptions::new().create(true).append(true).open(run.join("metrics.jsonl")).context("open metrics.jsonl")?;
    let started = Instant::now();
    let seconds_before = progress.position.seconds;
    let mut window = Window::default();
    let mut saved_at = progress.position.step;
    while progress.position.step < config.steps && !stop.load(Ordering::Relaxed) {
        let step = progress.position.step;
        let asked = Instant::now();
        let chunk = chunks.next_chunk()?;
        let waited = asked.elapsed();
        ensure!(chunk.number == step, "the loader gave chunk {} at step {step}", chunk.number);
        let rate = learning_rate(&config.schedule, step, config.steps);
        let (net, states) = (&progress.net, &progress.states);
        let looks = workers.map(|worker, count| {
            let lanes = share_of(config.data.lanes, worker, count);
            let batch = Batch::new(&chunk, lanes.clone(), config, centers, &class_weights, device);
            let states = states.iter().map(|state| state.clone().narrow(0, lanes.start, lanes.len())).collect();
            // Leaves of its own: on shared ones the autodiff graphs would merge, and the workers would wait for each other's lock.
            Look::new(net.clone().fork(device), batch, states, &lanes, &view, step)
        });
        let Share { values, mut gradients, states, .. } = match (&config.adversarial, &mut progress.adversary) {
            (Some(config), Some(adversary)) => adversary::learn(net, adversary, looks, step, config, &workers, device)?,
            _ => joined(net, workers.map_each(looks, Look::learn)),
        };
        progress.states = states;
        let norm = clip_gradients(&progress.net, &mut gradients, config.gradient_norm_max);
        ensure!(
            values.loss.is_finite() && norm.is_finite(),
            "step {step}: the loss is {} and the gradient's norm {norm}; lower schedule.peak and resume from the last checkpoint in {}",
            values.loss,
            checkpoints(run).display()
        );
        progress.net = progress.optimizer.step(rate_of_each_weight(&config.schedule, rate)?, progress.net, gradients);
        progress.average = averaged(progress.average, &progress.net, average_decay(config.average_decay, step));
        progress.position.step += 1;
        progress.position.seconds = seconds_before + started.elapsed().as_secs_f64();
        window.add(&values, config.data.lanes * config.data.chunk_frames, waited);
        let last = progress.position.step == config.steps;
        if progress.position.step.is_multiple_of(config.log_every) || last {
            let metrics = window.take(progress.position.step, norm, rate);
            writeln!(log, "{}", serde_json::to_string(&metrics)?).context("write metrics.jsonl")?;
            watcher.steps(&metrics, config.steps);
        }
        if progress.position.step.is_multiple_of(config.evaluate_every) || last {
            let loss = validation_loss(&progress.average, set, config, centers, &class_weights, &device.clone().inner())?;
            let grid = run.join("samples").join(format!("{:08}.png", progress.position.step));
            // A copy: the exporter moves the normalization's statistics, which clones share.
            let quality = report::snapshot(&progress.average.valid(), config, set, &grid)?;
            report::card(run, config, set, progress.net.num_params(), &progress.position, &quality)?;
            let metrics = EvaluationMetrics {
                step: progress.position.step,
                validation_loss: loss,
                gain_db: quality.gain(),
                colorfulness_share: quality.colorfulness_share(),
            };
            writeln!(log, "{}", serde_json::to_string(&metrics)?).context("write metrics.jsonl")?;
            watcher.evaluated(&metrics);
            report::curves(run)?;
            let best = progress.position.best_validation_loss.map_or(loss, |best| best.min(loss));
            progress.position.best_validation_loss = Some(best);
        }
        if progress.position.step.is_multiple_of(config.checkpoint_every) || last {
            checkpoint::save(&checkpoints(run), &progress)?;
            saved_at = progress.position.step;
        }
        window.go_on();
    }
    if saved_at != progress.position.step {
        checkpoint::save(&checkpoints(run), &progress)?;
        watcher.say(&format!("stopped and saved at step {}", progress.position.step));
    }
    Ok(())
}

/// Threads that prepare data beside the training: the cores that the workers leave, on which the result does not depend.
fn loader_threads(workers: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores.saturating_sub(workers).clamp(1, LOADER_THREADS_MAX)
}

fn validation_loss(
    net: &Network,
    set: &Arc<PackedSet>,
    config: &RunConfig,
    centers: &[[f32; 2]],
    class_weights: &[f32],
    device: &Device,
) -> anyhow::Result<f32> {
    let data = LaneConfig { chunk_frames: 1, chunks_per_item: 1, clip_share: 0.0, ..config.data.validation() };
    let lanes = Lanes::new(set.clone(), Split::Validation, data.clone())?;
    let config = RunConfig { data, ..config.clone() };
    let center_values = center_tensor(centers, device);
    let mut sum = 0.0;
    for number in 0..VALIDATION_CHUNKS {
        let batch = Batch::new(&lanes.chunk(number), 0..config.data.lanes, &config, centers, class_weights, device);
        let states = config.net.zero_states(config.data.lanes, config.data.height, config.data.width, device);
        let (raw, _) = net.forward_clip(batch.lightness, states, &batch.keep);
        let prediction = Prediction::read(raw, config.output, &center_values, &batch.target.lightness);
        sum += losses(&prediction, &batch.target, batch.moving, &config.loss).total.into_scalar::<f32>();
    }
    Ok(sum / VALIDATION_CHUNKS as f32)
}
