//! How many steps a run gets, so that runs of different networks cost the same.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, ensure};
use burn::tensor::Device;
use serde::Deserialize;

use crate::config::RunConfig;
use crate::train::{self, EvaluationMetrics, QuantizationConfig, StepMetrics, Watcher};

/// Steps of a line of the trial run. The first line is not counted: its steps allocate.
const TRIAL_STEPS: u64 = 6;
/// What the trial spends at least, seconds: processor time is counted in hundredths of a second.
const TRIAL_S: f64 = 0.5;
/// And as a share of the budget: what other processes leave of the caches comes and goes within seconds.
const TRIAL_SHARE: f64 = 0.01;
/// And the most steps it takes, however fast they are: the system may not count at all.
const TRIAL_STEPS_MAX: u64 = 600;

/// A part of a run whose steps cost the same.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Phase {
    /// Of the run's steps.
    share: f64,
    /// With how many steps of the generator alone, and of the critic alone, a run has this phase at its beginning.
    generator_steps: u64,
    critic_steps: u64,
    /// Whether its steps are quantization-aware.
    rounds: bool,
}

/// The phases of `config`: with a critic there may be three, of which the last, in which both learn, costs most, and each may become quantization-aware.
fn phases(config: &RunConfig) -> Vec<Phase> {
    let steps = config.steps;
    let (generator, critic) = config.adversarial.as_ref().map_or((0, 0), |a| (a.generator_steps, a.critic_steps));
    let generator_end = generator.min(steps);
    let critic_end = generator_end + critic.min(steps - generator_end);
    let rounding = config.quantization.as_ref().map_or(steps, |quantization| quantization.start(steps));
    let mut cuts = vec![0, generator_end, critic_end, rounding, steps];
    cuts.sort_unstable();
    cuts.dedup();
    let phase = |part: &[u64]| {
        let (generator_steps, critic_steps) = match part[0] {
            begin if begin < generator_end => (u64::MAX, 0),
            begin if begin < critic_end => (0, u64::MAX),
            _ => (0, 0),
        };
        Phase { share: (part[1] - part[0]) as f64 / steps as f64, generator_steps, critic_steps, rounds: part[0] >= rounding }
    };
    cuts.windows(2).map(phase).collect()
}

/// What a run may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// Minutes of processor time, all threads together: on a shared machine the clock says little.
    ProcessorMinutes(f64),
    /// Minutes by the clock: for a GPU.
    Minutes(f64),
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProcessorMinutes(minutes) => write!(f, "{minutes} minutes of processor time"),
            Self::Minutes(minutes) => write!(f, "{minutes} minutes"),
        }
    }
}

impl Budget {
    /// What a step of `frames` frames took, in the budget's own seconds.
    fn step_s(self, frames: f64, frames_per_s: f64, processor_s: f64) -> f64 {
        match self {
            Self::ProcessorMinutes(_) => processor_s,
            Self::Minutes(_) => frames / frames_per_s,
        }
    }

    /// What the run in the folder `run` has spent so far, minutes, by its log. Evaluations are not counted.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn spent_minutes(self, run: &Path, config: &RunConfig) -> anyhow::Result<f64> {
        /// A line about steps; those about evaluations lack the rest.
        #[derive(Deserialize)]
        struct Line {
            step: u64,
            frames_per_s: f64,
            processor_s: f64,
        }
        let log = run.join("metrics.jsonl");
        let text = std::fs::read_to_string(&log).with_context(|| format!("read {}", log.display()))?;
        let (mut before, mut spent_s) = (0, 0.0);
        for Line { step, frames_per_s, processor_s } in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            let each_s = self.step_s(config.frames_a_step() as f64, frames_per_s, processor_s);
            spent_s += step.saturating_sub(before) as f64 * each_s;
            before = step;
        }
        Ok(spent_s / 60.0)
    }

    /// The steps of `config` that fit, by what a few of them cost in a trial on `pack`; nothing if `stop` ended that. Evaluations are not counted.
    ///
    /// # Errors
    /// If the trial fails, or not one step fits.
    pub fn steps(self, config: &RunConfig, pack: &Path, device: &Device, stop: &AtomicBool) -> anyhow::Result<Option<u64>> {
        /// Counts from the trial's second line on, until enough was spent to be told apart from the clock's steps.
        struct Trial<'a> {
            stop: &'a AtomicBool,
            asked_to_stop: &'a AtomicBool,
            budget: Budget,
            enough_s: f64,
            steps: u64,
            spent_s: f64,
        }
        impl Watcher for Trial<'_> {
            fn steps(&mut self, metrics: &StepMetrics, _steps_total: u64) {
                if metrics.step > TRIAL_STEPS {
                    self.steps += TRIAL_STEPS;
                    let StepMetrics { frames, frames_per_s, processor_s, .. } = *metrics;
                    self.spent_s += TRIAL_STEPS as f64 * self.budget.step_s(frames, frames_per_s, processor_s);
                }
                let is_enough = self.spent_s >= self.enough_s || self.steps >= TRIAL_STEPS_MAX;
                self.stop.store(is_enough || self.asked_to_stop.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            fn evaluated(&mut self, _metrics: &EvaluationMetrics) {}
            fn say(&mut self, _line: &str) {}
        }
        let (Self::ProcessorMinutes(minutes) | Self::Minutes(minutes)) = self;
        let enough_s = TRIAL_S.max(TRIAL_SHARE * 60.0 * minutes);
        let mut costs = Vec::new();
        for Phase { share, generator_steps, critic_steps, rounds } in phases(config) {
            let folder = tempfile::tempdir().context("create a folder for a trial run")?;
            let mut trial = RunConfig {
                steps: u64::MAX,
                log_every: TRIAL_STEPS,
                evaluate_every: u64::MAX,
                checkpoint_every: u64::MAX,
                // From the first step on, which is not counted: it also calibrates.
                quantization: rounds.then_some(QuantizationConfig { start_share: 0.0 }),
                ..config.clone()
            };
            if let Some(adversarial) = trial.adversarial.as_mut() {
                (adversarial.generator_steps, adversarial.critic_steps) = (generator_steps, critic_steps);
                // With a threshold the generator would wait for the trial's critic, which is new and good at nothing.
                adversarial.generator_threshold = None;
            }
            let ended = AtomicBool::new(false);
            let mut watcher = Trial { stop: &ended, asked_to_stop: stop, budget: self, enough_s, steps: 0, spent_s: 0.0 };
            train::start(&folder.path().join("trial"), &trial, pack, std::slice::from_ref(device), &ended, &mut watcher)
                .context("try what a step costs")?;
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            ensure!(watcher.spent_s > 0.0, "this system does not say what a step costs; give steps in place of minutes");
            costs.push((share, watcher.spent_s / watcher.steps.max(1) as f64));
        }
        let (Self::ProcessorMinutes(minutes) | Self::Minutes(minutes)) = self;
        steps_within(60.0 * minutes, &costs).map(Some).with_context(|| format!("plan for {self}"))
    }
}

/// How many steps fit into `budget_s` seconds, of which these shares cost so many seconds a step.
///
/// # Errors
/// If not one fits.
fn steps_within(budget_s: f64, costs: &[(f64, f64)]) -> anyhow::Result<u64> {
    let step_s: f64 = costs.iter().map(|(share, step_s)| share * step_s).sum();
    let steps = (budget_s / step_s) as u64;
    ensure!(steps > 0, "a step costs {step_s:.1} s; not one fits");
    Ok(steps)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use super::*;

    #[test]
    fn what_was_spent_is_that_of_all_steps_in_the_log() {
        let folder = tempfile::tempdir().unwrap();
        // 20 steps of 3 s, an evaluation, and 10 steps of 6 s.
        let log = r#"{"step":20,"loss":1.0,"frames_per_s":4.0,"processor_s":3.0}
            {"step":20,"validation_loss":1.0,"gain_db":0.0,"colorfulness_share":0.0}
            {"step":30,"loss":1.0,"frames_per_s":2.0,"processor_s":6.0}"#;
        std::fs::write(folder.path().join("metrics.jsonl"), log).unwrap();
        let mut config = RunConfig::default();
        (config.data.lanes, config.data.chunk_frames, config.accumulate) = (2, 3, 2);
        let spent = |budget: Budget| budget.spent_minutes(folder.path(), &config).unwrap();
        assert_eq!(spent(Budget::ProcessorMinutes(9.0)), 2.0);
        // 12 frames a step: 20 steps of 3 s and 10 of 6 s by the clock as well.
        assert_eq!(spent(Budget::Minutes(9.0)), 2.0);
    }

    #[test]
    fn steps_fill_the_budget_each_phase_at_its_own_cost() {
        // 0.75 x 1 s + 0.15 x 2 s + 0.1 x 4 s = 1.45 s a step.
        assert_eq!(steps_within(60.0, &[(0.75, 1.0), (0.15, 2.0), (0.1, 4.0)]).unwrap(), 41);
        assert_eq!(steps_within(60.0, &[(1.0, 0.25)]).unwrap(), 240);
        let said = steps_within(1.0, &[(0.5, 1.0), (0.5, 2.0)]).unwrap_err().to_string();
        assert!(said.contains("a step costs 1.5 s; not one fits"), "{said}");
        // 12 frames at 4 a second are 3 s by the clock, in which two threads spend 5.
        let costs = [Budget::ProcessorMinutes(1.0), Budget::Minutes(1.0)].map(|budget| budget.step_s(12.0, 4.0, 5.0));
        assert_eq!(costs, [5.0, 3.0]);
    }

    #[test]
    fn each_phase_of_a_run_counts_by_its_share_of_the_steps() {
        let of = |name: &str| {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(name);
            phases(&RunConfig::read(&file).unwrap()).into_iter().map(|p| (p.share, p.generator_steps, p.critic_steps)).collect::<Vec<_>>()
        };
        assert_eq!(of("losses/mse.toml"), [(1.0, 0, 0)]);
        assert_eq!(of("losses/pix2pix.toml"), [(1.0, 0, 0)]);
        assert_eq!(of("losses/nogan.toml"), [(0.75, u64::MAX, 0), (0.15, 0, u64::MAX), (0.1, 0, 0)]);
        // Rounding begins within the critic's time, and from step 0 on.
        let mut rounded = RunConfig::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/losses/nogan.toml")).unwrap();
        rounded.quantization = Some(QuantizationConfig { start_share: 0.8 });
        let found: Vec<_> = phases(&rounded).into_iter().map(|p| ((p.share * 100.0).round(), p.critic_steps > 0, p.rounds)).collect();
        assert_eq!(found, [(75.0, false, false), (5.0, true, false), (10.0, true, true), (10.0, false, true)]);
        rounded.quantization = Some(QuantizationConfig { start_share: 0.0 });
        assert!(phases(&rounded).iter().all(|phase| phase.rounds) && phases(&rounded).len() == 3);
        // The critic's turn never comes.
        let mut alone = RunConfig::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/losses/nogan.toml")).unwrap();
        alone.adversarial.as_mut().unwrap().generator_steps = 1_000_000_000;
        assert_eq!(phases(&alone).len(), 1);
    }
}
