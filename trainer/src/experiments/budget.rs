//! How many steps a run gets, so that runs of different networks cost the same.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, ensure};
use burn::tensor::Device;

use crate::config::RunConfig;
use crate::train::{self, EvaluationMetrics, StepMetrics, Watcher};

/// Steps of a line of the trial run. The first line is not counted: its steps allocate.
const TRIAL_STEPS: u64 = 6;
/// What the trial spends at least, seconds: processor time is counted in hundredths of a second.
const TRIAL_S: f64 = 0.5;
/// And the most steps it takes, should the system not count at all.
const TRIAL_STEPS_MAX: u64 = 600;

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
    /// What a step of those that `metrics` is about took, in the budget's own seconds.
    fn spent_s(self, metrics: &StepMetrics) -> f64 {
        match self {
            Self::ProcessorMinutes(_) => metrics.processor_s,
            Self::Minutes(_) => metrics.frames / metrics.frames_per_s,
        }
    }

    /// The steps of `config` that fit, by what a few of them cost in a trial on `pack`. Evaluations are not counted.
    ///
    /// # Errors
    /// If the trial fails, or not one step fits.
    pub fn steps(self, config: &RunConfig, pack: &Path, device: &Device) -> anyhow::Result<u64> {
        /// Counts from the trial's second line on, until enough was spent to be told apart from the clock's steps.
        struct Trial<'a> {
            stop: &'a AtomicBool,
            budget: Budget,
            steps: u64,
            spent_s: f64,
        }
        impl Watcher for Trial<'_> {
            fn steps(&mut self, metrics: &StepMetrics, _steps_total: u64) {
                if metrics.step > TRIAL_STEPS {
                    self.steps += TRIAL_STEPS;
                    self.spent_s += TRIAL_STEPS as f64 * self.budget.spent_s(metrics);
                }
                self.stop.store(self.spent_s >= TRIAL_S || self.steps >= TRIAL_STEPS_MAX, Ordering::Relaxed);
            }
            fn evaluated(&mut self, _metrics: &EvaluationMetrics) {}
            fn say(&mut self, _line: &str) {}
        }
        let folder = tempfile::tempdir().context("create a folder for a trial run")?;
        let mut trial =
            RunConfig { steps: u64::MAX, log_every: TRIAL_STEPS, evaluate_every: u64::MAX, checkpoint_every: u64::MAX, ..config.clone() };
        if let Some(adversarial) = trial.adversarial.as_mut().filter(|adversarial| adversarial.generator_steps < config.steps) {
            // The phase in which both learn costs most; the others are shorter.
            (adversarial.generator_steps, adversarial.critic_steps) = (0, 0);
            // With a threshold the generator would wait for the trial's critic, which is new and good at nothing.
            adversarial.generator_threshold = None;
        }
        let stop = AtomicBool::new(false);
        let mut watcher = Trial { stop: &stop, budget: self, steps: 0, spent_s: 0.0 };
        train::start(&folder.path().join("trial"), &trial, pack, std::slice::from_ref(device), &stop, &mut watcher)
            .context("try what a step costs")?;
        let (Self::ProcessorMinutes(minutes) | Self::Minutes(minutes)) = self;
        let (budget_s, step_s) = (60.0 * minutes, watcher.spent_s / watcher.steps.max(1) as f64);
        ensure!(step_s > 0.0, "this system does not say what a step costs; give steps in place of minutes");
        let steps = (budget_s / step_s) as u64;
        ensure!(steps > 0, "a step costs {step_s:.1} s; not one fits into {self}");
        Ok(steps)
    }
}
