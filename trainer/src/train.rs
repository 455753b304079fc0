//! The training loop, in its natural order: data, learning rate, forward, backward, clip, step, log, evaluate, checkpoint.

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, ensure};
use autochrome_model::bins;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamGroup};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor, TensorData};
use serde::Serialize;

use crate::checkpoint::{self, Position, Progress};
use crate::config::RunConfig;
use crate::data::lanes::{Chunk, LaneConfig, Lanes};
use crate::data::prefetch::Prefetch;
use crate::data::shard::PackedSet;
use crate::data::split::Split;
use crate::losses::{Target, center_tensor, losses};
use crate::nets::{OUTPUT_STRIDE, RecurrentUNet, States};
use crate::report;
use crate::schedule::learning_rate;
use crate::warm_start;

/// Chunks of training data that the class prior is counted on.
const PRIOR_CHUNKS: u64 = 64;
/// Threads that prepare data beside the training.
const LOADER_THREADS: usize = 1;
/// Steps between two lines of the log.
const LOG_EVERY: u64 = 20;
/// Chunks that wait ready.
const CHUNKS_AHEAD: usize = 4;
/// Chunks of validation data an evaluation uses.
const VALIDATION_CHUNKS: u64 = 8;

/// One line of `metrics.jsonl` about the steps since the line before.
#[derive(Clone, Debug, Serialize)]
pub struct StepMetrics {
    /// Steps done.
    pub step: u64,
    /// Means over the steps of this line.
    pub loss: f32,
    /// Cross-entropy part.
    pub cross_entropy: f32,
    /// Smooth L1 part.
    pub mean: f32,
    /// Temporal part.
    pub temporal: f32,
    /// The gradient's global norm before clipping, at the last step.
    pub gradient_norm: f32,
    /// At the last step.
    pub learning_rate: f64,
    /// Over the steps of this line.
    pub frames_per_s: f64,
    /// Frames a step.
    #[serde(skip)]
    pub frames: f64,
}

/// One line of `metrics.jsonl` about an evaluation.
#[derive(Clone, Debug, Serialize)]
pub struct EvaluationMetrics {
    /// Steps done.
    pub step: u64,
    /// The loss of the averaged weights on clean validation crops.
    pub validation_loss: f32,
    /// RGB PSNR above grey on validation pictures, exported and run as on a device, dB.
    pub gain_db: f64,
    /// Their colorfulness as a share of the truth's.
    pub colorfulness_share: f64,
}

/// What a run tells while it goes on.
pub trait Watcher {
    /// Some steps are done.
    fn steps(&mut self, metrics: &StepMetrics, steps_total: u64);
    /// An evaluation is done.
    fn evaluated(&mut self, metrics: &EvaluationMetrics);
    /// Something a person should read.
    fn say(&mut self, line: &str);
}

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
    let net = RecurrentUNet::new(&config.net, config.centers()?.len(), device);
    // Touches every weight in field order: drawn lazily, they would depend on what the forward pass needs first.
    let average = net.valid();
    let states = RecurrentUNet::zero_states(&config.net, config.data.lanes, config.data.height, config.data.width, device);
    let position = Position { step: 0, seconds: 0.0, state_shapes: Vec::new(), best_validation_loss: None };
    Ok(Progress { net, average, optimizer: optimizer(config)?, states, position })
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
    let pixels = output_pixels(&config.data);
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

fn output_pixels(data: &LaneConfig) -> usize {
    (data.width / OUTPUT_STRIDE) * (data.height / OUTPUT_STRIDE)
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
    let class_weights = bins::rebalancing_weights(prior, config.loss.lambda);
    let center_values = center_tensor(centers, device);
    let workers = Workers::new(config.workers)?;
    let mut chunks = Prefetch::start(Arc::new(lanes), progress.position.step, LOADER_THREADS, CHUNKS_AHEAD)?;
    let mut log = fs::OpenOptions::new().create(true).append(true).open(run.join("metrics.jsonl")).context("open metrics.jsonl")?;
    let started = Instant::now();
    let seconds_before = progress.position.seconds;
    let mut window = Window::default();
    let mut saved_at = progress.position.step;
    while progress.position.step < config.steps && !stop.load(Ordering::Relaxed) {
        let step = progress.position.step;
        let chunk = chunks.next_chunk()?;
        ensure!(chunk.number == step, "the loader gave chunk {} at step {step}", chunk.number);
        let rate = learning_rate(&config.schedule, step, config.steps);
        let (net, states) = (&progress.net, &progress.states);
        let shares = workers.map(|worker, count| {
            // Leaves of its own: on shared ones the autodiff graphs would merge, and the workers would wait for each other's lock.
            let net = &net.clone().fork(device);
            let lanes = share_of(config.data.lanes, worker, count);
            let batch = Batch::new(&chunk, lanes.clone(), config, centers, &class_weights, device);
            let states = states.clone().map(|state| state.narrow(0, lanes.start, lanes.len()));
            let (logits, states) = net.forward_clip(batch.lightness, states, &batch.keep);
            let parts = losses(logits, &batch.target, &center_values, batch.moving, &config.loss);
            let values = [&parts.total, &parts.cross_entropy, &parts.mean, &parts.temporal].map(|t| t.clone().into_scalar::<f32>());
            let gradients = GradientsParams::from_grads(parts.total.backward(), net);
            // Truncated back-propagation: the next chunk goes on from these values, not through them.
            Share { values, gradients, states: states.map(Tensor::detach) }
        });
        let Share { values, mut gradients, states } = joined(net, shares);
        progress.states = states;
        let norm = clip_gradients(&progress.net, &mut gradients, config.gradient_norm_max);
        ensure!(
            values[0].is_finite() && norm.is_finite(),
            "step {step}: the loss is {} and the gradient's norm {norm}; lower schedule.peak and resume from the last checkpoint in {}",
            values[0],
            checkpoints(run).display()
        );
        progress.net = progress.optimizer.step(rate, progress.net, gradients);
        progress.average = averaged(progress.average, &progress.net, average_decay(config.average_decay, step));
        progress.position.step += 1;
        progress.position.seconds = seconds_before + started.elapsed().as_secs_f64();
        window.add(values, config.data.lanes * config.data.chunk_frames);
        let last = progress.position.step == config.steps;
        if progress.position.step.is_multiple_of(LOG_EVERY) || last {
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
    }
    if saved_at != progress.position.step {
        checkpoint::save(&checkpoints(run), &progress)?;
        watcher.say(&format!("stopped and saved at step {}", progress.position.step));
    }
    Ok(())
}

/// A chunk as tensors.
struct Batch {
    lightness: Tensor<4>,
    keep: Vec<Option<Tensor<4>>>,
    moving: Option<Tensor<4>>,
    target: Target,
}

impl Batch {
    /// The lanes `own` of a chunk.
    fn new(chunk: &Chunk, own: Range<usize>, config: &RunConfig, centers: &[[f32; 2]], class_weights: &[f32], device: &Device) -> Self {
        let LaneConfig { lanes, chunk_frames, width, height, .. } = config.data;
        let (output_width, output_height) = (width / OUTPUT_STRIDE, height / OUTPUT_STRIDE);
        let frames = own.len() * chunk_frames;
        let lightness = of_lanes(&chunk.lightness, lanes, &own, width * height);
        let ab = of_lanes(&chunk.ab, lanes, &own, 2 * output_width * output_height);
        let reset = of_lanes(&chunk.reset, lanes, &own, 1);
        let flags = |resets: &[bool]| {
            let values: Vec<f32> = resets.iter().map(|&reset| if reset { 0.0 } else { 1.0 }).collect();
            let count = values.len();
            Tensor::<4>::from_data(TensorData::new(values, [count, 1, 1, 1]), device)
        };
        Self {
            lightness: Tensor::from_data(TensorData::new(lightness, [frames, 1, height, width]), device),
            keep: reset.chunks_exact(own.len()).map(|resets| resets.contains(&true).then(|| flags(resets))).collect(),
            moving: (chunk_frames > 1).then(|| flags(&reset[own.len()..])),
            target: Target::encode(&ab, [frames, output_height, output_width], centers, class_weights, &config.loss, device),
        }
    }
}

/// The values of the lanes `own` out of \[T\]\[B\]\[size\].
fn of_lanes<V: Copy>(values: &[V], lanes: usize, own: &Range<usize>, size: usize) -> Vec<V> {
    values.chunks_exact(lanes * size).flat_map(|frame| &frame[own.start * size..own.end * size]).copied().collect()
}

/// The lanes of the `worker`-th of `count` workers.
fn share_of(lanes: usize, worker: usize, count: usize) -> Range<usize> {
    lanes * worker / count..lanes * (worker + 1) / count
}

/// What a worker computed from its lanes.
struct Share {
    values: [f32; 4],
    gradients: GradientsParams,
    states: States,
}

/// The means over the workers' losses and gradients, and all their states.
fn joined(net: &RecurrentUNet, shares: Vec<Share>) -> Share {
    struct Add<'a>(&'a mut GradientsParams, &'a mut GradientsParams, f32);
    impl ModuleVisitor for Add<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(more) = self.1.remove::<D>(param.id) {
                let more = more * self.2;
                let sum = self.0.remove::<D>(param.id).map_or(more.clone(), |sum| sum + more);
                self.0.register::<D>(param.id, sum);
            }
        }
    }
    let lanes = |share: &Share| share.states[0].dims()[0] as f32;
    let total: f32 = shares.iter().map(lanes).sum();
    let (mut values, mut gradients, mut states) = ([0.0; 4], GradientsParams::new(), [Vec::new(), Vec::new()]);
    for mut share in shares {
        let part = lanes(&share) / total;
        net.visit(&mut Add(&mut gradients, &mut share.gradients, part));
        values.iter_mut().zip(share.values).for_each(|(sum, value)| *sum += value * part);
        states.iter_mut().zip(share.states).for_each(|(all, state)| all.push(state));
    }
    Share { values, gradients, states: states.map(|all| Tensor::cat(all, 0)) }
}

/// Threads that each train on a share of the lanes. On a CPU that is faster than Burn's own threads, which split single operators:
/// on two cores about 70 instead of 48 frames a second.
struct Workers(Vec<rayon::ThreadPool>);

impl Workers {
    fn new(count: usize) -> anyhow::Result<Self> {
        // One worker leaves Burn its own threads.
        let pools = if count == 1 { 0 } else { count };
        let pool = |index| rayon::ThreadPoolBuilder::new().num_threads(1).thread_name(move |_| format!("worker-{index}")).build();
        Ok(Self((0..pools).map(pool).collect::<Result<_, _>>().context("start the worker threads")?))
    }

    /// Runs `work(worker, count)` on every worker at once.
    fn map<T: Send>(&self, work: impl Fn(usize, usize) -> T + Sync) -> Vec<T> {
        if self.0.is_empty() {
            return vec![work(0, 1)];
        }
        let count = self.0.len();
        let work = &work;
        std::thread::scope(|scope| {
            let running: Vec<_> =
                self.0.iter().enumerate().map(|(worker, pool)| scope.spawn(move || pool.install(|| work(worker, count)))).collect();
            running.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        })
    }
}

fn validation_loss(
    net: &RecurrentUNet,
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
        let states = RecurrentUNet::zero_states(&config.net, config.data.lanes, config.data.height, config.data.width, device);
        let (logits, _) = net.forward_clip(batch.lightness, states, &batch.keep);
        sum += losses(logits, &batch.target, &center_values, batch.moving, &config.loss).total.into_scalar::<f32>();
    }
    Ok(sum / VALIDATION_CHUNKS as f32)
}

/// Means since the last line of the log.
struct Window {
    sums: [f32; 4],
    steps: usize,
    frames: usize,
    since: Instant,
}

impl Default for Window {
    fn default() -> Self {
        Self { sums: [0.0; 4], steps: 0, frames: 0, since: Instant::now() }
    }
}

impl Window {
    fn add(&mut self, values: [f32; 4], frames: usize) {
        self.sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        self.steps += 1;
        self.frames += frames;
    }

    fn take(&mut self, step: u64, gradient_norm: f32, learning_rate: f64) -> StepMetrics {
        let [loss, cross_entropy, mean, temporal] = self.sums.map(|sum| sum / self.steps.max(1) as f32);
        let frames_per_s = self.frames as f64 / self.since.elapsed().as_secs_f64();
        let frames = self.frames as f64 / self.steps.max(1) as f64;
        *self = Self::default();
        StepMetrics { step, loss, cross_entropy, mean, temporal, gradient_norm, learning_rate, frames_per_s, frames }
    }
}

/// Scales the gradients so that their global norm is at most `max`; returns the norm before.
fn clip_gradients(net: &RecurrentUNet, gradients: &mut GradientsParams, max: f32) -> f32 {
    struct SquareSum<'a>(&'a GradientsParams, Option<Tensor<1>>);
    impl ModuleVisitor for SquareSum<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.get::<D>(param.id) {
                let sum = gradient.square().sum();
                self.1 = Some(match self.1.take() {
                    Some(before) => before + sum,
                    None => sum,
                });
            }
        }
    }
    struct Scale<'a>(&'a mut GradientsParams, f32);
    impl ModuleVisitor for Scale<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.remove::<D>(param.id) {
                self.0.register::<D>(param.id, gradient.mul_scalar(self.1));
            }
        }
    }
    let mut squares = SquareSum(gradients, None);
    net.visit(&mut squares);
    let norm = squares.1.map_or(0.0, |sum| sum.into_scalar::<f32>().sqrt());
    if norm > max {
        net.visit(&mut Scale(gradients, max / norm));
    }
    norm
}

/// The decay at `step`: short in the beginning, so that the random first weights are soon forgotten.
fn average_decay(decay: f32, step: u64) -> f32 {
    decay.min((1.0 + step as f32) / (10.0 + step as f32))
}

/// The moving average of the weights and the normalization's statistics.
fn averaged(average: RecurrentUNet, net: &RecurrentUNet, decay: f32) -> RecurrentUNet {
    struct Collect<'a>(&'a mut GradientsParams);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.register::<D>(param.id, param.val());
        }
    }
    struct Blend<'a>(&'a mut GradientsParams, f32);
    impl ModuleMapper for Blend<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(newest) = self.0.remove::<D>(param.id) else { return param };
            let decay = self.1;
            param.map(|old| old.mul_scalar(decay) + newest.mul_scalar(1.0 - decay))
        }
    }
    // `valid` copies; a clone would share the normalization's statistics with the average.
    let mut newest = GradientsParams::new();
    net.valid().visit(&mut Collect(&mut newest));
    average.map(&mut Blend(&mut newest, decay))
}

/// Drops the lines of a log that a resumed run will write again.
fn keep_lines_up_to(log: &Path, step: u64) -> anyhow::Result<()> {
    let Ok(text) = fs::read_to_string(log) else { return Ok(()) };
    let step_of = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok().and_then(|v| v["step"].as_u64());
    let kept: String = text.lines().filter(|line| step_of(line).is_some_and(|s| s <= step)).map(|line| format!("{line}\n")).collect();
    checkpoint::write_atomically(log, kept.as_bytes())
}
