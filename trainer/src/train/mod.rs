//! The training loop, in its natural order: data, learning rate, forward, backward, clip, step, log, evaluate, checkpoint.

mod adversary;
mod average;
mod batch;
pub mod claim;
pub mod dry_run;
mod gradients;
mod log;
mod look;
mod passes;
mod perceptual;
mod precision;
mod quantization;
pub mod tensorboard;
mod workers;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, fs};

use anyhow::{Context, ensure};
use autochrome_model::bins;
use burn::module::{Module, ParamGroup};
use burn::optim::{AdamWConfig, ModuleOptimizer};
use burn::tensor::Device;

pub use self::log::{EvaluationMetrics, StepMetrics, Watcher, own_memory, processor_seconds};
pub use self::precision::Precision;
pub use self::quantization::QuantizationConfig;
use crate::checkpoint::{self, Position, Progress};
use crate::config::RunConfig;
use crate::data::lanes::{LaneConfig, Lanes};
use crate::data::prefetch::Prefetch;
use crate::data::prior::ColorCounts;
use crate::data::shard::{ItemKind, PackedSet};
use crate::data::split::Split;
use crate::evaluate::{self, Exhibits};
use crate::files;
use crate::losses::{Prediction, center_tensor, losses};
use crate::nets::Network;
use crate::pretrained;
use crate::report;
use crate::run_folder::{best, checkpoints, config_file, data_of};
use crate::schedule::{learning_rate, rate_of_each_weight};
use crate::warm_start;
use average::{average_decay, averaged};
use batch::Batch;
use claim::Claim;
use gradients::{Share, clip_gradients, is_finite};
use log::{Log, Window, keep_lines_up_to};
use passes::Passes;

/// Chunks of training data that the class prior is counted on.
const PRIOR_CHUNKS: u64 = 64;
/// More loader threads than this are of no use to any device known here.
const LOADER_THREADS_MAX: usize = 16;
/// Chunks that wait ready.
const CHUNKS_AHEAD: usize = 4;
/// Chunks of validation data an evaluation uses.
const VALIDATION_CHUNKS: u64 = 8;
/// In a run's folder: what tells its packed set from others.
const DATA_HASH: &str = "data.sha256";
/// The setting to lower where the network diverges.
const RATE: &str = "schedule.peak";
/// The same where its critic does.
const CRITIC_RATE: &str = "adversarial.learning_rate";

/// How a training ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All steps are done, or `patience` ran out.
    AsPlanned,
    /// It was told to stop, and goes on when it is resumed.
    Stopped,
}

/// Starts a run in the new folder `run`, on autodiff devices of which the first holds the network.
///
/// # Errors
/// If the folder holds a run already, the data cannot be read, or a loss is not a finite number.
pub fn start(
    run: &Path,
    config: &RunConfig,
    pack: &Path,
    devices: &[Device],
    stop: &AtomicBool,
    watcher: &mut dyn Watcher,
) -> anyhow::Result<Ended> {
    let device = devices.first().context("training needs a device")?;
    ensure!(!config_file(run).exists(), "{} holds a run already; resume it, or choose another folder", run.display());
    config.check()?;
    config.ensure_encoder_weights()?;
    let config = &in_its_place(config)?;
    let set = Arc::new(PackedSet::open(pack)?);
    check_validation(&set, config)?;
    let progress = begin(config, &set, device)?;
    quantization::check(&progress.net, config)?;
    if let Some(file) = &config.encoder_weights {
        watcher.say(&format!("the encoder starts from {}", file.display()));
    }
    if let Some(from) = &config.start_from {
        watcher.say(&format!("starting from the weights of {}", from.display()));
    }
    watcher.say(&format!("{} weights, {}", progress.net.num_params(), describe(&set)));
    let _claim = Claim::take(run)?;
    let lanes = Lanes::new(set.clone(), Split::Train, config.data.clone())?;
    let unused = lanes.unused_weights();
    if !unused.is_empty() {
        watcher.say(&format!("data.source_weights names what the packed set has not: {}", unused.join(", ")));
    }
    let prior = count_prior(&lanes, config)?;
    files::write_atomically(&run.join("prior.json"), &serde_json::to_vec(&prior)?)?;
    remember_data(run, pack)?;
    files::write_atomically(&run.join(DATA_HASH), set.hash().as_bytes())?;
    // Last: a folder with a configuration is a run that can be resumed.
    checkpoint::save(&checkpoints(run), &progress, config.keep)?;
    files::write_atomically(&config_file(run), toml::to_string_pretty(config)?.as_bytes())?;
    go_on(run, config, lanes, &set, &prior, progress, devices, stop, watcher)
}

/// Resumes the run in `run` from its newest whole checkpoint, on the data it was started with or on `pack`.
///
/// # Errors
/// If there is no run, no whole checkpoint, or no data, or if the packed set is another one than the run was started with.
pub fn resume(run: &Path, pack: Option<&Path>, devices: &[Device], stop: &AtomicBool, watcher: &mut dyn Watcher) -> anyhow::Result<Ended> {
    let device = devices.first().context("training needs a device")?;
    let config = RunConfig::read(&config_file(run))?;
    let _claim = Claim::take(run)?;
    [checkpoints(run), best(run)].iter().try_for_each(|folder| checkpoint::remove_unfinished(folder))?;
    let text = |name: &str| fs::read_to_string(run.join(name)).with_context(|| format!("read {}", run.join(name).display()));
    let prior: Vec<f32> =
        serde_json::from_str(&text("prior.json")?).with_context(|| format!("read {}", run.join("prior.json").display()))?;
    let moved = pack.is_some();
    let pack = pack.map_or_else(|| data_of(run), |pack| Ok(pack.to_owned()))?;
    let set = Arc::new(PackedSet::open(&pack)?);
    ensure_same_data(run, &set)?;
    if moved {
        remember_data(run, &pack)?;
    }
    let lanes = Lanes::new(set.clone(), Split::Train, config.data.clone())?;
    fresh(&config, device)?;
    let (mut progress, damaged) =
        checkpoint::restore_newest(&checkpoints(run), || fresh(&config, device).expect("the configuration was checked above"), device)?;
    damaged.iter().for_each(|line| watcher.say(&format!("passed over a damaged checkpoint: {line}")));
    // A later best is of a course that this run may never come to again, and it replaced the one that was best up to here.
    let left = checkpoint::leave_later(&best(run), progress.position.step)?;
    left.iter().for_each(|path| watcher.say(&format!("the best checkpoint was of a later step: it is {} now", path.display())));
    if !left.is_empty() && !checkpoint::at_step(&best(run), progress.position.best_step).exists() {
        progress.position.forget_best();
    }
    watcher.say(&format!("resuming at step {}", progress.position.step));
    keep_lines_up_to(&run.join("metrics.jsonl"), progress.position.step)?;
    go_on(run, &config, lanes, &set, &prior, progress, devices, stop, watcher)
}

/// Writes where the data is, as whoever looks from another folder finds it.
fn remember_data(run: &Path, pack: &Path) -> anyhow::Result<()> {
    let pack = fs::canonicalize(pack).with_context(|| format!("find {}", pack.display()))?;
    files::write_atomically(&run.join("data.txt"), pack.display().to_string().as_bytes())
}

/// Fails where `set` has other pictures than those that the run in the folder `run` was started with: it would go on with something else than what it
/// stands for. Runs from before this was written down are believed.
fn ensure_same_data(run: &Path, set: &PackedSet) -> anyhow::Result<()> {
    let file = run.join(DATA_HASH);
    if !file.exists() {
        return Ok(());
    }
    let known = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let found = set.hash();
    ensure!(
        known == found,
        "{} was started with another packed set than {} is now (SHA-256 of its manifest {found}, not {known}): resume with the same pictures, or start a new run \
         from this one's weights (--start-from with a checkpoint of {})",
        run.display(),
        set.folder().display(),
        checkpoints(run).display()
    );
    Ok(())
}

/// `config` as a run keeps it: the files that are read again when it is resumed are named so that they are found from any folder.
///
/// # Errors
/// If such a file is not there.
pub(crate) fn in_its_place(config: &RunConfig) -> anyhow::Result<RunConfig> {
    let mut config = config.clone();
    if let Some(file) = config.loss.feature.as_mut().and_then(|feature| feature.weights.as_mut()) {
        *file = fs::canonicalize(&file).with_context(|| format!("find loss.feature.weights {}", file.display()))?;
    }
    Ok(config)
}

fn describe(set: &PackedSet) -> String {
    format!("{} training and {} validation items", set.items(Split::Train).len(), set.items(Split::Validation).len())
}

/// What a run begins with: random weights, those of a pretrained encoder, or those of `config.start_from`.
fn begin(config: &RunConfig, set: &Arc<PackedSet>, device: &Device) -> anyhow::Result<Progress> {
    let mut progress = fresh(config, device)?;
    if let Some(file) = &config.encoder_weights {
        progress.net = pretrained::load_encoder(progress.net, file)?;
        progress.average = progress.net.valid();
    }
    let Some(from) = &config.start_from else { return Ok(progress) };
    progress.net = if from.is_dir() {
        checkpoint::load_average(progress.net, from)?
    } else {
        let lane = Lanes::new(set.clone(), Split::Train, LaneConfig { lanes: 1, ..config.data.clone() })?;
        warm_start::load(progress.net, from, config, &lane)?
    };
    progress.average = progress.net.valid();
    Ok(progress)
}

fn fresh(config: &RunConfig, device: &Device) -> anyhow::Result<Progress> {
    device.seed(config.seed);
    let net = config.fresh_network(device)?;
    // Touches every weight in field order: drawn lazily, they would depend on what the forward pass needs first.
    let average = net.valid();
    let states = config.net.zero_states(config.data.lanes, config.data.height, config.data.width, device);
    let position = Position::default();
    let adversary = config.adversarial.as_ref().map(|adversarial| adversary::fresh(adversarial, config.output, device));
    Ok(Progress { net, average, optimizer: optimizer(config)?, adversary, states, ranges: None, position })
}

fn optimizer(config: &RunConfig) -> anyhow::Result<ModuleOptimizer> {
    let base =
        AdamWConfig::new().with_beta_1(config.beta_1).with_beta_2(config.beta_2).with_epsilon(1e-8).with_weight_decay(config.weight_decay);
    let undecayed = ParamGroup::from_any_regexes(vec![r"(^|\.)(bias|gamma|beta)$"]).map_err(|e| anyhow::anyhow!("{e:?}"))?;
    Ok(base.init().with_group(undecayed, base.clone().with_weight_decay(0.0).build(), None))
}

/// The share of each bin in the training data: smoothed in the ab plane where [`LossConfig::prior_sigma`](crate::losses::LossConfig::prior_sigma) says
/// so, else softly encoded.
fn count_prior(lanes: &Lanes, config: &RunConfig) -> anyhow::Result<Vec<f32>> {
    let centers = config.centers()?;
    let (height, width) = config.data.output_size();
    let pixels = height * width;
    // Far from the chunks that training will see first; each is a pure function of its number.
    let chunks = (0..PRIOR_CHUNKS).map(|number| lanes.chunk(u64::from(u32::MAX) + number * 997).ab);
    if config.loss.prior_sigma > 0.0 {
        let chunks: Vec<Vec<f32>> = chunks.collect();
        let counts = ColorCounts::of_planes(chunks.iter().flat_map(|ab| ab.chunks_exact(2 * pixels)));
        return Ok(counts.smoothed(config.loss.prior_sigma).shares(centers));
    }
    let mut prior = vec![0.0_f64; centers.len()];
    for chunk in chunks {
        for ab in chunk.chunks_exact(2 * pixels) {
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
    devices: &[Device],
    stop: &AtomicBool,
    watcher: &mut dyn Watcher,
) -> anyhow::Result<Ended> {
    let centers = config.centers()?;
    let class_weights = bins::rebalancing_weights(prior, config.loss.lambda);
    let passes = Passes::new(config, centers, &class_weights, devices)?;
    let first_chunk = progress.position.step * config.accumulate as u64;
    progress.position.is_validated_on(validation_lanes(set, config)?.config().chunk_frames);
    let lanes = lanes.encoding(config.soft_encoding()?);
    let mut chunks = Prefetch::start(Arc::new(lanes), first_chunk, loader_threads(config.workers), CHUNKS_AHEAD)?;
    let mut log = Log::open(run, progress.position.step)?;
    let started = Instant::now();
    let seconds_before = progress.position.seconds;
    let mut window = Window::default();
    let mut saved_at = progress.position.step;
    let mut grids = None;
    while progress.position.step < config.steps && !is_out_of_patience(config, &progress.position) && !stop.load(Ordering::Relaxed) {
        let step = progress.position.step;
        let rate = learning_rate(&config.schedule, step, config.steps);
        grids = quantization::grids_at(&mut progress, grids, config, set)?;
        let states = std::mem::take(&mut progress.states);
        let mut waited = Duration::ZERO;
        let mut next = || {
            let asked = Instant::now();
            let chunk = chunks.next_chunk();
            waited += asked.elapsed();
            chunk
        };
        let Share { values, mut gradients, states, .. } =
            passes.step(&progress.net, progress.adversary.as_mut(), states, step, grids.as_ref(), &mut next)?;
        progress.states = states;
        let norm = clip_gradients(&progress.net, &mut gradients, config.gradient_norm_max);
        if !values.loss.is_finite() || !norm.is_finite() {
            let (whose, rate) = if adversary::is_of_the_critics_step(&values) {
                ("in the eyes of the critic, behind its step, ", CRITIC_RATE)
            } else if adversary::is_the_critics(&values) {
                ("of the critic ", CRITIC_RATE)
            } else {
                ("", RATE)
            };
            let what = format!("the loss {whose}is {} and the gradient's norm {norm}", values.loss);
            // A critic that was well before its own step may be so again.
            return Err(diverged(run, step, &what, rate, !adversary::is_of_the_critics_step(&values)));
        }
        progress.net = progress.optimizer.step(rate_of_each_weight(&config.schedule, rate)?, progress.net, gradients);
        progress.average = averaged(progress.average, &progress.net, average_decay(config.average_decay, step));
        progress.position.step += 1;
        progress.position.seconds = seconds_before + started.elapsed().as_secs_f64();
        window.add(&values, config.frames_a_step(), waited);
        let step = progress.position.step;
        let last = step == config.steps;
        if step.is_multiple_of(config.log_every) || last {
            let metrics = window.take(step, norm, rate);
            log.write("training", step, &metrics)?;
            watcher.steps(&metrics, config.steps);
        }
        let evaluates = step.is_multiple_of(config.evaluate_every) || last;
        let saves = step.is_multiple_of(config.checkpoint_every) || last;
        // One that could not go on must not push out those that can.
        if evaluates || saves {
            ensure_finite(run, &progress)?;
        }
        if evaluates {
            let loss = validation_loss(&progress.average, set, config, centers, &class_weights, &devices[0].clone().inner())?;
            let grid = run.join("samples").join(format!("{step:08}.png"));
            // A copy: the exporter moves the normalization's statistics, which clones share.
            let quality = report::snapshot(&progress.average.valid(), config, set, progress.ranges.as_ref(), &grid)?;
            report::card(run, config, set, progress.net.num_params(), &progress.position, &quality)?;
            let metrics = EvaluationMetrics {
                step,
                validation_loss: loss,
                gain_db: quality.gain(),
                colorfulness_share: quality.colorfulness_share(),
            };
            log.write("evaluation", step, &metrics)?;
            log.picture(step, &grid)?;
            watcher.evaluated(&metrics);
            report::curves(run)?;
            if progress.position.takes(loss, config.last_phase()) {
                checkpoint::save_only(&best(run), &progress)?;
            }
        }
        if saves {
            checkpoint::save(&checkpoints(run), &progress, config.keep)?;
            saved_at = step;
        }
        window.go_on();
    }
    let step = progress.position.step;
    if saved_at != step {
        ensure_finite(run, &progress)?;
        checkpoint::save(&checkpoints(run), &progress, config.keep)?;
    }
    if is_out_of_patience(config, &progress.position) {
        let Position { best_step, best_validation_loss, .. } = progress.position;
        let loss = best_validation_loss.unwrap_or(f32::NAN);
        watcher.say(&format!(
            "ended early at step {step}: {} evaluations brought no better validation loss than {loss:.5} at step {best_step}, which is in {}",
            config.patience,
            best(run).display()
        ));
    } else if step < config.steps {
        watcher.say(&format!("stopped and saved at step {step}"));
        return Ok(Ended::Stopped);
    }
    Ok(Ended::AsPlanned)
}

/// Threads that prepare data beside the training: the cores that the workers leave, on which the result does not depend.
fn loader_threads(workers: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores.saturating_sub(workers).clamp(1, LOADER_THREADS_MAX)
}

fn is_out_of_patience(config: &RunConfig, position: &Position) -> bool {
    config.patience > 0 && position.evaluations_since_best >= config.patience
}

/// Fails where a weight, of the network or of its critic, is no finite number.
fn ensure_finite(run: &Path, progress: &Progress) -> anyhow::Result<()> {
    let step = progress.position.step;
    if !is_finite(&progress.net) {
        return Err(diverged(run, step, "a weight is no finite number any more", RATE, true));
    }
    if progress.adversary.as_ref().is_some_and(|adversary| !is_finite(&adversary.critic)) {
        return Err(diverged(run, step, "a weight of the critic is no finite number any more", CRITIC_RATE, true));
    }
    Ok(())
}

/// A loss, a gradient or a weight is no finite number any more.
#[derive(Debug)]
pub struct Diverged(String);

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Diverged {}

/// What a run that cannot go on from `step` says; `rate` is what to lower. Where the step is `hopeless`, a checkpoint of it would fail in the
/// same way whatever the rate: it is set aside.
fn diverged(run: &Path, step: u64, what: &str, rate: &str, hopeless: bool) -> anyhow::Error {
    let folder = checkpoints(run);
    let same = checkpoint::at_step(&folder, step);
    if hopeless
        && same.exists()
        && let Err(error) = checkpoint::set_aside(&same, "diverged")
    {
        return error.context(format!("step {step}: {what}"));
    }
    let newest = checkpoint::list(&folder).ok().and_then(|mut all| all.pop());
    let newest =
        newest.map_or_else(|| "there is no good checkpoint".into(), |path| format!("the last good checkpoint is {}", path.display()));
    Diverged(format!("step {step}: {what}; {newest}: lower {rate} in {}, and resume", config_file(run).display())).into()
}

/// Compares the shards of `set` with what its manifest says of them, before hours are spent on them; says so where that takes a while.
///
/// # Errors
/// Names a shard that is damaged.
pub fn verify_pictures(set: &PackedSet, watcher: &mut dyn Watcher) -> anyhow::Result<()> {
    let gigabytes = set.manifest().shards.iter().map(|shard| shard.bytes).sum::<u64>() >> 30;
    if gigabytes > 0 {
        watcher.say(&format!("comparing {gigabytes} GB of pictures with their SHA-256"));
    }
    set.verify()
}

/// Checks that every evaluation will have something to look at, for the loss and for the figures.
///
/// # Errors
/// If the validation split is empty, or nothing in it can be measured.
fn check_validation(set: &Arc<PackedSet>, config: &RunConfig) -> anyhow::Result<()> {
    validation_lanes(set, config)?;
    Exhibits::choose(set, evaluate::Share::Of(Split::Validation), usize::MAX).map(|_| ())
}

/// Validation pictures as a perfect camera sees them: of stills, or of clips where there are no stills. A network with a memory sees chunks as long as those it
/// trains on, under the moving camera, for on single frames its memory could be worth nothing; any other sees single frames.
///
/// # Errors
/// If the validation split is empty.
fn validation_lanes(set: &Arc<PackedSet>, config: &RunConfig) -> anyhow::Result<Lanes> {
    let items = set.items(Split::Validation);
    ensure!(
        !items.is_empty(),
        "the packed set {} has nothing in its validation split, on which a run is measured; about 5 % of all files belong to it, by their names: \
         pack more photographs or clips",
        set.folder().display()
    );
    let clip_share = if items.iter().any(|item| item.kind == ItemKind::Still) { 0.0 } else { 1.0 };
    let still = LaneConfig { chunk_frames: 1, chunks_per_item: 1, clip_share, flow: false, ..config.data.validation() };
    let (chunk_frames, motion) = (config.data.chunk_frames, config.data.motion.clone());
    let data = if config.net.has_memory() { LaneConfig { chunk_frames, motion, ..still } } else { still };
    Lanes::new(set.clone(), Split::Validation, data)
}

fn validation_loss(
    net: &Network,
    set: &Arc<PackedSet>,
    config: &RunConfig,
    centers: &[[f32; 2]],
    class_weights: &[f32],
    device: &Device,
) -> anyhow::Result<f32> {
    let lanes = validation_lanes(set, config)?;
    let config = RunConfig { data: lanes.config().clone(), ..config.clone() };
    let center_values = center_tensor(centers, device);
    let mut sum = 0.0;
    for number in 0..VALIDATION_CHUNKS {
        let batch = Batch::new(&lanes.chunk(number), 0..config.data.lanes, &config, centers, class_weights, device);
        let states = config.net.zero_states(config.data.lanes, config.data.height, config.data.width, device);
        let (raw, _) = net.forward_clip(batch.lightness, states, &batch.keep);
        let prediction = Prediction::read(raw, config.output, &center_values, batch.target.luma.as_ref());
        sum += losses(&prediction, &batch.target, batch.moving, &config.loss).total.into_scalar::<f32>();
    }
    Ok(sum / VALIDATION_CHUNKS as f32)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use super::*;
    use crate::data::pack::{InputKind, PackConfig, PackInput, pack};
    use crate::data::split::split_of;

    #[test]
    fn a_memory_is_validated_on_frames_that_move_and_others_on_single_ones() {
        let folder = tempfile::tempdir().unwrap();
        let (photos, out) = (folder.path().join("photos"), folder.path().join("packed"));
        fs::create_dir(&photos).unwrap();
        let name = (0..).map(|i| format!("wave_{i}.png")).find(|name| split_of(name) == Split::Validation).unwrap();
        let wave = |x: u32, y: u32| image::Rgb([x, y, x + y].map(|at| (127.0 + 120.0 * (at as f32 / 5.0).sin()) as u8));
        image::RgbImage::from_fn(64, 64, wave).save(photos.join(name)).unwrap();
        let inputs = vec![PackInput { path: photos, kind: InputKind::Stills, source: "photos".into() }];
        pack(&PackConfig { inputs, out: out.clone(), ..PackConfig::default() }, &mut |_, _| ()).unwrap();
        let set = Arc::new(PackedSet::open(&out).unwrap());
        let mut config =
            RunConfig { data: LaneConfig { lanes: 2, width: 32, height: 32, ..LaneConfig::default() }, ..RunConfig::default() };
        let chunk = |config: &RunConfig| validation_lanes(&set, config).unwrap().chunk(0);
        let (moving, pixels) = (chunk(&config), 2 * 32 * 32);
        assert_eq!(moving.lightness.len(), 4 * pixels);
        assert_ne!(moving.lightness[..pixels], moving.lightness[pixels..2 * pixels]);
        assert_eq!(moving.reset, [true, true, false, false, false, false, false, false]);
        assert_eq!(moving, chunk(&config), "another evaluation would see something else");
        config.net = crate::nets::NetConfig::PlainUnet(Default::default());
        assert_eq!(chunk(&config).lightness.len(), pixels);
    }

    /// Every weight by its path, as `value` has it.
    fn weights(net: &Network) -> std::collections::BTreeMap<String, Vec<f32>> {
        use burn::module::{Module, ModuleVisitor, Param};
        use burn::tensor::Tensor;
        #[derive(Default)]
        struct Collect(Vec<String>, std::collections::BTreeMap<String, Vec<f32>>);
        impl ModuleVisitor for Collect {
            fn enter_module(&mut self, name: &str, _container: &str) {
                self.0.push(name.into());
            }
            fn exit_module(&mut self, _name: &str, _container: &str) {
                self.0.pop();
            }
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.1.insert(self.0.join("."), param.val().into_data().try_into_vec::<f32>().unwrap());
            }
        }
        let mut found = Collect::default();
        net.visit(&mut found);
        found.1
    }

    /// The same gradient for every number in every weight.
    fn even_gradients(net: &Network, value: f32) -> burn::optim::GradientsParams {
        use burn::module::{Module, ModuleVisitor, Param};
        use burn::tensor::Tensor;
        struct Fill(burn::optim::GradientsParams, f32);
        impl ModuleVisitor for Fill {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let gradient = Tensor::<D>::full(param.val().dims(), self.1, &param.val().device().inner());
                self.0.register::<D>(param.id, gradient);
            }
        }
        let mut fill = Fill(burn::optim::GradientsParams::new(), value);
        net.visit(&mut fill);
        fill.0
    }

    fn pretrained_config() -> RunConfig {
        let net = crate::nets::NetConfig::Lite0Unet(crate::nets::lite0_unet::Lite0UNetConfig { frozen_stages: 0, ..Default::default() });
        RunConfig { net, weight_decay: 0.0, ..RunConfig::default() }
    }

    #[test]
    fn an_encoder_moves_by_its_share_of_the_rate() {
        let mut config = pretrained_config();
        config.schedule.encoder_share = 0.25;
        let net = config.fresh_network(&Device::flex().autodiff()).unwrap();
        let before = weights(&net);
        let rate = 1e-2;
        let gradients = even_gradients(&net, 1.0);
        let after = weights(&optimizer(&config).unwrap().step(rate_of_each_weight(&config.schedule, rate).unwrap(), net, gradients));
        // The first step of Adam is the rate itself, whatever the gradient; a float32 near 1 has steps of 1e-7.
        let mut seen = [0, 0];
        for (path, values) in &after {
            let in_encoder = path.split('.').any(|part| part == "encoder");
            let expected = if in_encoder { 0.25 * rate } else { rate } as f32;
            for (after, before) in values.iter().zip(&before[path]) {
                assert!((before - after - expected).abs() < 1e-5, "{path}: moved by {} and not {expected}", before - after);
            }
            seen[usize::from(in_encoder)] += 1;
        }
        assert!(seen[0] > 10 && seen[1] > 50, "{seen:?} weights outside and inside of the encoder");
    }

    #[test]
    fn biases_and_normalizations_do_not_decay() {
        let config = RunConfig { weight_decay: 1.0, ..pretrained_config() };
        let net = config.fresh_network(&Device::flex().autodiff()).unwrap();
        let before = weights(&net);
        let gradients = even_gradients(&net, 0.0);
        let after = weights(&optimizer(&config).unwrap().step(0.1, net, gradients));
        let mut seen = [0, 0];
        for (path, values) in &after {
            let stays = matches!(path.rsplit('.').next(), Some("bias" | "gamma" | "beta"));
            let factor = if stays { 1.0 } else { 0.9 };
            for (after, before) in values.iter().zip(&before[path]) {
                assert!((after - factor * before).abs() < 1e-5 * before.abs().max(1e-2), "{path}: {before} became {after}");
            }
            seen[usize::from(stays)] += 1;
        }
        assert!(seen[0] > 50 && seen[1] > 50, "{seen:?} weights that decay and that do not");
    }

    #[test]
    fn gradients_are_clipped_to_a_norm_and_keep_their_direction() {
        let config = RunConfig { net: crate::nets::NetConfig::PlainUnet(Default::default()), ..RunConfig::default() };
        let net = config.fresh_network(&Device::flex().autodiff()).unwrap();
        let count = weights(&net).values().map(Vec::len).sum::<usize>() as f32;
        let mut gradients = even_gradients(&net, -2.0);
        let norm = clip_gradients(&net, &mut gradients, 3.0);
        assert!((norm - 2.0 * count.sqrt()).abs() < 1e-3 * norm, "{norm}");
        // What is left, seen by clipping it to nothing less; one number of it says the sign.
        assert!((clip_gradients(&net, &mut gradients, f32::MAX) - 3.0).abs() < 1e-3);
        let moved = |gradients| {
            let net = net.clone();
            let before = weights(&net);
            let net = burn::optim::SgdConfig::new().init().step(1.0, net, gradients);
            weights(&net).iter().next().map(|(path, values)| values[0] - before[path][0]).unwrap()
        };
        assert!((moved(gradients) - 3.0 / count.sqrt()).abs() < 1e-6);
        let mut small = even_gradients(&net, 1e-6);
        let norm = clip_gradients(&net, &mut small, 3.0);
        assert!((clip_gradients(&net, &mut small, 3.0) - norm).abs() <= 1e-6 * norm, "what is small enough is not made larger");
    }

    #[test]
    fn a_smoothed_prior_spreads_colors_and_not_bins() {
        let folder = tempfile::tempdir().unwrap();
        let (photos, out) = (folder.path().join("photos"), folder.path().join("packed"));
        fs::create_dir(&photos).unwrap();
        let name = (0..).map(|i| format!("grey_{i}.png")).find(|name| split_of(name) == Split::Train).unwrap();
        image::RgbImage::from_pixel(32, 32, image::Rgb([128; 3])).save(photos.join(name)).unwrap();
        let inputs = vec![PackInput { path: photos, kind: InputKind::Stills, source: "photos".into() }];
        pack(&PackConfig { inputs, out: out.clone(), ..PackConfig::default() }, &mut |_, _| ()).unwrap();
        let set = Arc::new(PackedSet::open(&out).unwrap());
        let mut config =
            RunConfig { data: LaneConfig { lanes: 1, width: 32, height: 32, ..LaneConfig::default() }, ..RunConfig::default() };
        config.loss.prior_sigma = 5.0;
        let lanes = Lanes::new(set, Split::Train, config.data.clone()).unwrap();
        let prior = count_prior(&lanes, &config).unwrap();
        // The bin of neutral reaches 8.5 to each side: of a normal distribution of deviation 5, 91.1 % along each axis. From bin to bin, 17 apart, almost
        // nothing would have been handed on.
        let neutral = prior[bins::nearest(config.centers().unwrap(), [0.0, 0.0])];
        assert!((neutral - 0.911 * 0.911).abs() < 0.01, "{neutral}");
    }
}
