//! How many steps a run gets, so that runs of different networks cost the same.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, ensure};
use burn::tensor::Device;

use crate::config::RunConfig;
use crate::train::{self, EvaluationMetrics, StepMetrics, Watcher};

/// Steps of the trial run that are not counted (the first ones allocate) and that are.
const TRIAL_STEPS: u64 = 6;

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
    /// The steps of `config` that fit, by what a few of them cost in a trial on `pack`. Evaluations are not counted.
    ///
    /// # Errors
    /// If the trial fails, or not one step fits.
    pub fn steps(self, config: &RunConfig, pack: &Path, device: &Device) -> anyhow::Result<u64> {
        /// Stops the trial at its second line.
        struct Trial<'a> {
            stop: &'a AtomicBool,
            last: Option<StepMetrics>,
        }
        impl Watcher for Trial<'_> {
            fn steps(&mut self, metrics: &StepMetrics, _steps_total: u64) {
                if metrics.step >= 2 * TRIAL_STEPS {
                    self.last = Some(metrics.clone());
                    self.stop.store(true, Ordering::Relaxed);
                }
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
        }
        let stop = AtomicBool::new(false);
        let mut watcher = Trial { stop: &stop, last: None };
        train::start(&folder.path().join("trial"), &trial, pack, std::slice::from_ref(device), &stop, &mut watcher)
            .context("try what a step costs")?;
        let line = watcher.last.context("the trial run ended early")?;
        let (budget_s, step_s) = match self {
            Self::ProcessorMinutes(minutes) => (60.0 * minutes, line.processor_s),
            Self::Minutes(minutes) => (60.0 * minutes, line.frames / line.frames_per_s),
        };
        ensure!(step_s > 0.0, "this system does not say what a step costs; give steps in place of minutes");
        let steps = (budget_s / step_s) as u64;
        ensure!(steps > 0, "a step costs {step_s:.1} s; not one fits into {self}");
        Ok(steps)
    }
}
