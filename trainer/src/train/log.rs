//! What a run writes down and tells while it goes on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use super::tensorboard::EventFile;
use crate::files;

/// One line of `metrics.jsonl` about the steps since the line before.
#[derive(Clone, Debug, Serialize)]
pub struct StepMetrics {
    /// Steps done.
    pub step: u64,
    /// Means over the steps of this line.
    pub loss: f32,
    /// The losses' parts before weighting, by name; each the mean over those of the steps in which it was there.
    #[serde(flatten)]
    pub parts: BTreeMap<&'static str, f32>,
    /// The gradient's global norm before clipping, at the last step.
    pub gradient_norm: f32,
    /// At the last step.
    pub learning_rate: f64,
    /// Over the steps of this line; evaluations and checkpoints are not counted.
    pub frames_per_s: f64,
    /// Processor time of a step, all threads with the loader's, seconds; as `frames_per_s`.
    pub processor_s: f64,
    /// Share of the time that the loop waited for chunks from the loader, 0 to 1; of the time that `frames_per_s` counts. That a worker brings
    /// a chunk to its device is part of the step.
    pub waited_share: f64,
    /// Share of the time since the line before that evaluations and checkpoints took, 0 to 1: a GPU stands still meanwhile.
    pub beside_share: f64,
    /// What the process has in memory beside mapped files, MB; 0 where the system does not say.
    pub memory_mb: f64,
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

/// `metrics.jsonl`, and the same figures for TensorBoard.
pub(super) struct Log {
    path: PathBuf,
    lines: File,
    events: EventFile,
}

impl Log {
    /// Goes on with the log of the run in the folder `run` behind `step`.
    pub(super) fn open(run: &Path, step: u64) -> anyhow::Result<Self> {
        let path = run.join("metrics.jsonl");
        let lines = File::options().create(true).append(true).open(&path).with_context(|| format!("open {}", path.display()))?;
        Ok(Self { path, lines, events: EventFile::begin(&run.join("tensorboard"), step + 1)? })
    }

    /// Adds the line `metrics`; TensorBoard shows its numbers under `group`.
    pub(super) fn write(&mut self, group: &str, step: u64, metrics: &impl Serialize) -> anyhow::Result<()> {
        let line = serde_json::to_value(metrics)?;
        // In one call, so that who follows the file sees few half lines.
        let text = format!("{}\n", serde_json::to_string(metrics)?);
        self.lines.write_all(text.as_bytes()).with_context(|| format!("write {}", self.path.display()))?;
        let numbers = line.as_object().into_iter().flatten().filter(|(name, _)| *name != "step");
        let scalars: Vec<_> = numbers.filter_map(|(name, value)| Some((format!("{group}/{name}"), value.as_f64()? as f32))).collect();
        self.events.scalars(step, &scalars)
    }

    /// Shows the PNG file `picture` in TensorBoard.
    pub(super) fn picture(&mut self, step: u64, picture: &Path) -> anyhow::Result<()> {
        let png = fs::read(picture).with_context(|| format!("read {}", picture.display()))?;
        self.events.picture(step, "samples", &png)
    }
}

/// Means since the last line of the log.
#[derive(Default)]
pub(super) struct Window {
    sums: Values,
    /// In how many steps each part was there.
    counts: BTreeMap<&'static str, usize>,
    steps: usize,
    frames: usize,
    /// For data.
    waited: Duration,
    /// Since the window began or last went on.
    clock: Clock,
    /// Before that.
    spent: Spent,
    /// What did not count, seconds.
    beside_s: f64,
}

/// A time on the clock and on the processors.
struct Clock {
    wall: Instant,
    processor_s: f64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { wall: Instant::now(), processor_s: processor_seconds() }
    }
}

/// Seconds that went by.
#[derive(Clone, Copy, Default)]
struct Spent {
    wall_s: f64,
    processor_s: f64,
}

/// The loss and its parts, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    /// What was minimized.
    pub(super) loss: f32,
    /// The parts before weighting.
    pub(super) parts: BTreeMap<&'static str, f32>,
}

impl Values {
    /// Adds `share` of `more`.
    pub(super) fn add(&mut self, more: &Self, share: f32) {
        self.loss += more.loss * share;
        for (name, value) in &more.parts {
            *self.parts.entry(name).or_default() += value * share;
        }
    }
}

impl Window {
    /// Adds a step, before which the loop has `waited` for its data.
    pub(super) fn add(&mut self, values: &Values, frames: usize, waited: Duration) {
        self.sums.add(values, 1.0);
        for name in values.parts.keys() {
            *self.counts.entry(name).or_default() += 1;
        }
        self.steps += 1;
        self.frames += frames;
        self.waited += waited;
        let now = Clock::default();
        self.spent.wall_s += now.wall.duration_since(self.clock.wall).as_secs_f64();
        self.spent.processor_s += now.processor_s - self.clock.processor_s;
        self.clock = now;
    }

    /// What happened since the last step does not count.
    pub(super) fn go_on(&mut self) {
        let now = Clock::default();
        self.beside_s += now.wall.duration_since(self.clock.wall).as_secs_f64();
        self.clock = now;
    }

    /// The means, and a new window.
    pub(super) fn take(&mut self, step: u64, gradient_norm: f32, learning_rate: f64) -> StepMetrics {
        let steps = self.steps.max(1);
        let metrics = StepMetrics {
            step,
            loss: self.sums.loss / steps as f32,
            parts: self.sums.parts.iter().map(|(name, sum)| (*name, sum / self.counts[name] as f32)).collect(),
            gradient_norm,
            learning_rate,
            frames_per_s: self.frames as f64 / self.spent.wall_s,
            processor_s: self.spent.processor_s / steps as f64,
            waited_share: self.waited.as_secs_f64() / self.spent.wall_s,
            beside_share: self.beside_s / (self.beside_s + self.spent.wall_s),
            memory_mb: own_memory().unwrap_or(0) as f64 / 1e6,
            frames: self.frames as f64 / steps as f64,
        };
        *self = Self::default();
        metrics
    }
}

/// What this process has in memory that is no file's, bytes, as the Linux kernel counts it: pages of mapped shards come and go as the system likes.
pub fn own_memory() -> Option<u64> {
    memory("RssAnon:")
}

/// The most that it had in memory so far, bytes.
pub(super) fn resident_peak() -> Option<u64> {
    memory("VmHWM:")
}

fn memory(what: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(what))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Processor time of this process so far, all threads, seconds; 0 where the system does not say.
pub fn processor_seconds() -> f64 {
    // Linux counts in hundredths of a second for programs, whatever it does inside.
    const TICKS_A_SECOND: f64 = 100.0;
    let Ok(text) = fs::read_to_string("/proc/self/stat") else { return 0.0 };
    // The program's name, which may hold anything, is the second field, in brackets; user and system time are the 14th and 15th.
    let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_A_SECOND
}

/// Drops the lines of a log that a resumed run will write again.
pub(super) fn keep_lines_up_to(log: &Path, step: u64) -> anyhow::Result<()> {
    let Ok(text) = fs::read_to_string(log) else { return Ok(()) };
    let step_of = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok().and_then(|v| v["step"].as_u64());
    let kept: String = text.lines().filter(|line| step_of(line).is_some_and(|s| s <= step)).map(|line| format!("{line}\n")).collect();
    files::write_atomically(log, kept.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_not_in_every_step_is_the_mean_over_those_where_it_is() {
        let mut window = Window::default();
        for step in 0..4 {
            let mut values = Values { loss: 2.0, parts: BTreeMap::from([("mean", 1.0)]) };
            if step == 3 {
                values.parts.insert("adversarial", 0.7);
            }
            window.add(&values, 8, Duration::ZERO);
        }
        let metrics = window.take(4, 1.0, 1e-3);
        assert_eq!((metrics.loss, &metrics.parts), (2.0, &BTreeMap::from([("adversarial", 0.7), ("mean", 1.0)])));
    }
}
