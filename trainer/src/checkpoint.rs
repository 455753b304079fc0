//! Checkpoints: everything that an exact resume needs, in one folder that appears whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::store::ModuleRecord;
use burn::tensor::{Bytes, Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::export::calibrate::Ranges;
use crate::files::{sync_folder, write_synced};
use crate::nets::discriminator::Critic;
use crate::nets::{Network, States};

const WEIGHTS: &str = "weights.bpk";
const AVERAGE: &str = "average.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const CRITIC: &str = "critic.bpk";
const CRITIC_OPTIMIZER: &str = "critic-optimizer.bpk";
const STATES: &str = "states.f32";
const POSITION: &str = "position.json";
/// What quantization-aware training found; only there while it goes on.
const RANGES: &str = "ranges.json";
/// CRC-32C of each of the other files.
const CHECKSUMS: &str = "checksums.json";
/// What a folder is called while it is written.
const UNFINISHED: &str = ".writing-";

/// Where a run stands: the next step, which is also the number of the next chunk of data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Steps done.
    pub step: u64,
    /// Seconds trained so far, over all sessions.
    pub seconds: f64,
    /// The states' shapes.
    pub state_shapes: Vec<[usize; 4]>,
    /// The learning curve's best validation loss so far.
    pub best_validation_loss: Option<f32>,
    /// The step it was found at.
    #[serde(default)]
    pub best_step: u64,
    /// Evaluations since then.
    #[serde(default)]
    pub evaluations_since_best: u64,
    /// Frames in a row that validation looks at; single ones where nothing is said.
    #[serde(default = "one_frame")]
    pub validation_frames: usize,
}

fn one_frame() -> usize {
    1
}

impl Position {
    /// Takes note of how many frames in a row validation looks at from now on. Where that is new, the best loss so far is no measure any more.
    pub fn is_validated_on(&mut self, frames: usize) {
        if self.validation_frames != frames {
            self.forget_best();
        }
        self.validation_frames = frames;
    }

    /// Lets the next validation loss be the best so far.
    pub fn forget_best(&mut self) {
        (self.best_validation_loss, self.best_step, self.evaluations_since_best) = (None, 0, 0);
    }

    /// Takes note of the validation loss at this step; whether it is the best so far. One that is no finite number is worse than any.
    ///
    /// The run's last phase begins behind step `last_phase`; 0 if there is one only. Before it nothing counts as a lack of progress, and in it the best of
    /// an earlier phase, where something else was learned, is no measure any more.
    pub fn takes(&mut self, validation_loss: f32, last_phase: u64) -> bool {
        let in_last_phase = self.step > last_phase;
        let outdated = last_phase > 0 && in_last_phase && self.best_step <= last_phase;
        let best = self.best_validation_loss.filter(|_| !outdated);
        let better = validation_loss.is_finite() && best.is_none_or(|best| validation_loss < best);
        if better {
            self.best_validation_loss = Some(validation_loss);
            self.best_step = self.step;
            self.evaluations_since_best = 0;
        } else if in_last_phase {
            self.evaluations_since_best += 1;
        }
        better
    }
}

/// What is saved and restored.
pub struct Progress {
    /// The network being trained, on an autodiff device.
    pub net: Network,
    /// The moving average of its weights, on a plain device.
    pub average: Network,
    /// The optimizer's moments.
    pub optimizer: ModuleOptimizer,
    /// The critic, where the training is adversarial.
    pub adversary: Option<Adversary>,
    /// The lanes' recurrent states.
    pub states: States,
    /// The ranges of the activations, once quantization-aware training has begun.
    pub ranges: Option<Ranges>,
    /// Where the run stands.
    pub position: Position,
}

/// The other side of adversarial training.
pub struct Adversary {
    /// The critic, on an autodiff device.
    pub critic: Critic,
    /// Its optimizer's moments.
    pub optimizer: ModuleOptimizer,
}

/// Writes a checkpoint of `progress` under `folder` and removes all but the newest `keep`. Those of later steps are of another course, which this one has
/// left: they do not count, and are set aside.
///
/// # Errors
/// If a file cannot be written; an older checkpoint is then still whole.
pub fn save(folder: &Path, progress: &Progress, keep: usize) -> anyhow::Result<PathBuf> {
    let target = write(folder, progress)?;
    leave_later(folder, progress.position.step)?;
    let mut all = list(folder)?;
    all.truncate(all.len().saturating_sub(keep.max(1)));
    remove(&all)?;
    Ok(target)
}

/// Sets aside what is under `folder` and later than `step`: it is of a course that a run which goes on from there may never come to. Returns where it is.
///
/// # Errors
/// If one cannot be renamed.
pub fn leave_later(folder: &Path, step: u64) -> anyhow::Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let last = at_step(folder, step);
    list(folder)?.iter().filter(|path| **path > last).map(|path| set_aside(path, "abandoned")).collect()
}

/// Writes a checkpoint of `progress` under `folder` and removes all others there.
///
/// # Errors
/// If a file cannot be written; the others are then still there.
pub fn save_only(folder: &Path, progress: &Progress) -> anyhow::Result<PathBuf> {
    let target = write(folder, progress)?;
    let mut others = list(folder)?;
    others.retain(|path| *path != target);
    remove(&others)?;
    Ok(target)
}

fn remove(checkpoints: &[PathBuf]) -> anyhow::Result<()> {
    let remove = |path: &PathBuf| fs::remove_dir_all(path).with_context(|| format!("remove the old checkpoint {}", path.display()));
    checkpoints.iter().try_for_each(remove)
}

fn write(folder: &Path, progress: &Progress) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let target = at_step(folder, progress.position.step);
    let staging = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(folder)
        .with_context(|| format!("create a folder in {}", folder.display()))?;
    // Brings the pending batch's statistics into the network: a record alone would be one batch behind.
    let _ = progress.net.valid();
    let weights = progress.net.clone().into_record().into_bytes().context("encode the weights")?;
    let average = progress.average.clone().into_record().into_bytes().context("encode the average")?;
    let optimizer = progress.optimizer.into_bytes().context("encode the optimizer")?;
    let mut states = Vec::new();
    let mut position = progress.position.clone();
    position.state_shapes.clear();
    for state in &progress.states {
        position.state_shapes.push(state.dims());
        let values: Vec<f32> =
            state.clone().inner().into_data().try_into_vec::<f32>().map_err(|e| anyhow::anyhow!("read the state: {e:?}"))?;
        states.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }
    let position = serde_json::to_vec_pretty(&position)?;
    let ranges = progress.ranges.as_ref().map(serde_json::to_vec_pretty).transpose()?;
    let always =
        [(WEIGHTS, &weights[..]), (AVERAGE, &average[..]), (OPTIMIZER, &optimizer[..]), (STATES, &states[..]), (POSITION, &position[..])];
    let adversary = match &progress.adversary {
        Some(Adversary { critic, optimizer }) => Some((
            critic.clone().into_record().into_bytes().context("encode the critic")?,
            optimizer.into_bytes().context("encode the critic's optimizer")?,
        )),
        None => None,
    };
    let critic = adversary.iter().flat_map(|(critic, optimizer)| [(CRITIC, &critic[..]), (CRITIC_OPTIMIZER, &optimizer[..])]);
    let files = always.into_iter().chain(critic).chain(ranges.as_ref().map(|ranges| (RANGES, &ranges[..])));
    let mut checksums = BTreeMap::new();
    for (name, bytes) in files {
        write_synced(&staging.path().join(name), bytes)?;
        checksums.insert(name, crc32c::crc32c(bytes));
    }
    write_synced(&staging.path().join(CHECKSUMS), &serde_json::to_vec_pretty(&checksums)?)?;
    // One that is there already is of an earlier time at the same step.
    if target.exists() {
        fs::remove_dir_all(&target).with_context(|| format!("replace {}", target.display()))?;
    }
    let staged = staging.keep();
    fs::rename(&staged, &target).with_context(|| format!("move the checkpoint to {}", target.display()))?;
    sync_folder(folder)?;
    Ok(target)
}

/// Removes what a run that was killed while it wrote a checkpoint left under `folder`.
///
/// # Errors
/// If it is there and cannot be removed.
pub fn remove_unfinished(folder: &Path) -> anyhow::Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(UNFINISHED)) {
            fs::remove_dir_all(&path).with_context(|| format!("remove the unfinished checkpoint {}", path.display()))?;
        }
    }
    Ok(())
}

/// Puts the checkpoint `path` out of the way: no run goes on from it. It stays beside the others, as `why-NNNNNNNN`.
///
/// # Errors
/// If it cannot be renamed.
pub fn set_aside(path: &Path, why: &str) -> anyhow::Result<PathBuf> {
    let name = path.file_name().with_context(|| format!("{} is no checkpoint", path.display()))?;
    let aside = path.with_file_name(format!("{why}-{}", name.to_string_lossy()));
    if aside.exists() {
        fs::remove_dir_all(&aside).with_context(|| format!("replace {}", aside.display()))?;
    }
    fs::rename(path, &aside).with_context(|| format!("rename {} to {}", path.display(), aside.display()))?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))?;
    Ok(aside)
}

/// The folder of the checkpoint of `step` under `folder`.
pub fn at_step(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("{step:08}"))
}

/// The checkpoints under `folder`, oldest first.
///
/// # Errors
/// If the folder cannot be listed.
pub fn list(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("list the checkpoints in {}", folder.display()))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.len() == 8 && n.bytes().all(|b| b.is_ascii_digit())))
        .collect();
    found.sort();
    Ok(found)
}

/// The newest checkpoint under `folder` that can be restored, with a line for each damaged one that was passed over and set aside: the run that goes on
/// must not take it for its newest.
///
/// # Errors
/// If there is none, where all stay as they are.
pub fn restore_newest(folder: &Path, fresh: impl Fn() -> Progress, device: &Device) -> anyhow::Result<(Progress, Vec<String>)> {
    let (mut damaged, mut passed_over): (Vec<PathBuf>, Vec<String>) = (Vec::new(), Vec::new());
    for path in list(folder)?.into_iter().rev() {
        match restore(&path, fresh(), device) {
            Ok(progress) => {
                for (path, line) in damaged.iter().zip(&mut passed_over) {
                    *line = format!("{line}; it is {} now", set_aside(path, "damaged")?.display());
                }
                return Ok((progress, passed_over));
            }
            Err(error) => {
                passed_over.push(format!("{}: {error:#}", path.display()));
                damaged.push(path);
            }
        }
    }
    anyhow::bail!("no whole checkpoint in {}{}{}", folder.display(), if passed_over.is_empty() { "" } else { ": " }, passed_over.join("; "))
}

/// Restores one checkpoint into `fresh`, which must have the run's shapes.
///
/// # Errors
/// If a file is missing, damaged, or of other shapes.
pub fn restore(path: &Path, fresh: Progress, device: &Device) -> anyhow::Result<Progress> {
    let read = |name: &str| read_checked(path, name);
    let position = position(path)?;
    let shapes: Vec<[usize; 4]> = fresh.states.iter().map(Tensor::dims).collect();
    ensure!(
        position.state_shapes == shapes,
        "{} holds states of {:?}; the configuration has {shapes:?}: data.lanes, data.width and data.height stay as they were when the run began",
        path.display(),
        position.state_shapes
    );
    let net = with_weights(fresh.net, read(WEIGHTS)?, &path.join(WEIGHTS))?;
    let average = with_weights(fresh.average, read(AVERAGE)?, &path.join(AVERAGE))?;
    let optimizer = |fresh: ModuleOptimizer, name: &str| {
        let bytes = Bytes::from_bytes_vec(read(name)?);
        fresh.from_bytes(bytes).map_err(|e| anyhow::anyhow!("{}: {e:?}", path.join(name).display()))
    };
    let adversary = match fresh.adversary {
        Some(Adversary { critic, optimizer: fresh }) => {
            let critic = with_weights(critic, read(CRITIC)?, &path.join(CRITIC))?;
            Some(Adversary { critic, optimizer: optimizer(fresh, CRITIC_OPTIMIZER)? })
        }
        None => None,
    };
    let optimizer = optimizer(fresh.optimizer, OPTIMIZER)?;
    let values: Vec<f32> = read(STATES)?.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let wanted: usize = position.state_shapes.iter().map(|shape| shape.iter().product::<usize>()).sum();
    ensure!(values.len() == wanted, "{}: {} values; its position file says {wanted}", path.join(STATES).display(), values.len());
    let mut values = &values[..];
    let states = position
        .state_shapes
        .iter()
        .map(|&shape| {
            let (own, others) = values.split_at(shape.iter().product());
            values = others;
            Tensor::from_data(TensorData::new(own.to_vec(), shape), device)
        })
        .collect();
    Ok(Progress { net, average, optimizer, adversary, states, ranges: frozen_ranges(path)?, position })
}

/// The bytes of the file `name` of the checkpoint `path`: those that were written.
fn read_checked(path: &Path, name: &str) -> anyhow::Result<Vec<u8>> {
    let checksums = read_checksums(path)?;
    let file = path.join(name);
    let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
    let intact = checksums.is_empty() || checksums.get(name).is_some_and(|checksum| *checksum == crc32c::crc32c(&bytes));
    ensure!(intact, "{} is damaged: its {} bytes do not have the checksum that {CHECKSUMS} gives", file.display(), bytes.len());
    Ok(bytes)
}

/// The checksums of a checkpoint's files; none for one that an older version wrote.
fn read_checksums(path: &Path) -> anyhow::Result<BTreeMap<String, u32>> {
    let file = path.join(CHECKSUMS);
    match fs::read(&file) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("read {}", file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}

/// Loads the averaged weights of the checkpoint `checkpoint`, which are what is evaluated and exported, into `net`.
///
/// # Errors
/// If their file is missing, damaged, or of another network.
pub fn load_average<M: Module>(net: M, checkpoint: &Path) -> anyhow::Result<M> {
    with_weights(net, read_checked(checkpoint, AVERAGE)?, &checkpoint.join(AVERAGE))
}

/// Loads the weights of `file`, which need not be a checkpoint's, into `net`.
///
/// # Errors
/// If the file is missing, damaged, or of another network.
pub fn load_weights<M: Module>(net: M, file: &Path) -> anyhow::Result<M> {
    let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    with_weights(net, bytes, file)
}

fn with_weights<M: Module>(net: M, bytes: Vec<u8>, file: &Path) -> anyhow::Result<M> {
    let record = ModuleRecord::from_bytes(Bytes::from_bytes_vec(bytes)).map_err(|e| anyhow::anyhow!("{}: {e}", file.display()))?;
    net.try_load_record(record).map_err(|e| anyhow::anyhow!("{} does not fit this network: {e}", file.display()))
}

/// Where the run stood at the checkpoint `path`.
///
/// # Errors
/// If its position file cannot be read, or is damaged.
pub fn position(path: &Path) -> anyhow::Result<Position> {
    serde_json::from_slice(&read_checked(path, POSITION)?).with_context(|| format!("read {}", path.join(POSITION).display()))
}

/// The ranges that quantization-aware training has found up to this checkpoint, if it has begun.
///
/// # Errors
/// If the file is damaged, or should be there and is not.
pub fn frozen_ranges(checkpoint: &Path) -> anyhow::Result<Option<Ranges>> {
    let file = checkpoint.join(RANGES);
    if !read_checksums(checkpoint)?.contains_key(RANGES) && !file.exists() {
        return Ok(None);
    }
    serde_json::from_slice(&read_checked(checkpoint, RANGES)?).map(Some).with_context(|| format!("read {}", file.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use super::*;

    /// Whether each loss at its step is the best, and the evaluations since.
    fn taken(last_phase: u64, losses: &[(u64, f32)]) -> Vec<(bool, u64)> {
        let mut position = Position::default();
        let take = |&(step, loss): &(u64, f32)| {
            position.step = step;
            (position.takes(loss, last_phase), position.evaluations_since_best)
        };
        losses.iter().map(take).collect()
    }

    #[test]
    fn a_loss_that_is_no_number_is_worse_than_any() {
        let found = taken(0, &[(1, f32::NAN), (2, 3.0), (3, f32::INFINITY), (4, f32::NEG_INFINITY), (5, 2.0)]);
        assert_eq!(found, [(false, 1), (true, 0), (false, 1), (false, 2), (true, 0)]);
    }

    #[test]
    fn a_best_loss_of_other_frames_is_no_measure() {
        // As a program wrote it that validated on single frames only.
        let mut position: Position =
            serde_json::from_str(r#"{"step": 40, "seconds": 1.0, "state_shapes": [], "best_validation_loss": 2.0, "best_step": 30}"#)
                .unwrap();
        position.is_validated_on(1);
        assert!(!position.takes(2.5, 0));
        position.is_validated_on(4);
        assert!(position.takes(2.5, 0));
        position.is_validated_on(4);
        assert!(!position.takes(2.6, 0) && position.best_validation_loss == Some(2.5));
    }

    #[test]
    fn patience_and_the_best_begin_with_the_last_phase() {
        let found = taken(20, &[(10, 3.0), (15, 4.0), (20, 5.0), (25, 6.0), (30, 6.5), (35, 5.5)]);
        assert_eq!(found, [(true, 0), (false, 0), (false, 0), (true, 0), (false, 1), (true, 0)]);
    }
}
