//! The learning rate as a pure function of the step.

use anyhow::ensure;
use burn::lr_scheduler::module_lr_scheduler::{ModuleLearningRate, ModuleLrScheduler};
use burn::module::ParamGroup;
use serde::{Deserialize, Serialize};

/// Linear warm-up, then half a cosine down to a floor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// The rate after the warm-up.
    pub peak: f64,
    /// The rate at the last step, as a share of the peak.
    pub floor_share: f64,
    /// Steps of warm-up.
    pub warmup_steps: u64,
    /// In place of all that: the rate rises from this to the peak by equal factors, step by step (Smith's range test, 2015).
    pub rising_from: Option<f64>,
    /// The rate of the weights of a pretrained encoder, as a share of the others': its folded filters are small, and a step of full size would
    /// soon erase them.
    pub encoder_share: f64,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self { peak: 2e-3, floor_share: 0.02, warmup_steps: 200, rising_from: None, encoder_share: 1.0 }
    }
}

impl ScheduleConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the value and what it may be.
    pub fn check(&self) -> anyhow::Result<()> {
        for (name, rate) in [("peak", self.peak), ("rising_from", self.rising_from.unwrap_or(self.peak))] {
            ensure!(rate.is_finite() && rate > 0.0, "schedule.{name} is {rate}; it must be a number above 0");
        }
        ensure!((0.0..=1.0).contains(&self.floor_share), "schedule.floor_share is {}; it must be from 0 to 1", self.floor_share);
        let share = self.encoder_share;
        ensure!(share > 0.0 && share <= 1.0, "schedule.encoder_share is {share}; it must be above 0, and at most 1");
        Ok(())
    }
}

/// The learning rate of `step` (from 0) of `steps`.
pub fn learning_rate(config: &ScheduleConfig, step: u64, steps: u64) -> f64 {
    if let Some(lowest) = config.rising_from {
        let part = step.min(steps) as f64 / steps.saturating_sub(1).max(1) as f64;
        return lowest * (config.peak / lowest).powf(part);
    }
    // 1. Up in a straight line, so that batch normalization settles before the weights jump.
    if step < config.warmup_steps {
        return config.peak * (step + 1) as f64 / config.warmup_steps as f64;
    }
    // 2. Past the end, where a resumed run may be: the floor.
    let floor = config.peak * config.floor_share;
    if step >= steps {
        return floor;
    }
    // 3. Down along half a cosine.
    let part = (step - config.warmup_steps) as f64 / (steps - config.warmup_steps).max(1) as f64;
    floor + (config.peak - floor) * 0.5 * (1.0 + (std::f64::consts::PI * part).cos())
}

/// `rate` for every weight but an encoder's, which have their share of it.
///
/// # Errors
/// None that a valid pattern can cause.
pub fn rate_of_each_weight(config: &ScheduleConfig, rate: f64) -> anyhow::Result<ModuleLearningRate> {
    if config.encoder_share == 1.0 {
        return Ok(rate.into());
    }
    let encoder = ParamGroup::from_any_regexes(vec![r"(^|\.)encoder\."]).map_err(|e| anyhow::anyhow!("{e:?}"))?;
    Ok(ModuleLrScheduler::new(rate).with_group(encoder, rate * config.encoder_share).step())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_peaks_and_falls_to_the_floor() {
        let config = ScheduleConfig { peak: 1.0, floor_share: 0.1, warmup_steps: 10, rising_from: None, encoder_share: 1.0 };
        assert_eq!(learning_rate(&config, 0, 110), 0.1);
        assert_eq!(learning_rate(&config, 10, 110), 1.0);
        assert!((learning_rate(&config, 60, 110) - 0.55).abs() < 1e-12);
        assert_eq!(learning_rate(&config, 500, 110), 0.1);
    }

    #[test]
    fn a_range_test_rises_by_equal_factors() {
        let config = ScheduleConfig { peak: 1.0, rising_from: Some(1e-4), ..ScheduleConfig::default() };
        let rates: Vec<f64> = (0..5).map(|step| learning_rate(&config, step, 5)).collect();
        for (rate, expected) in rates.iter().zip([1e-4, 1e-3, 1e-2, 1e-1, 1.0]) {
            assert!((rate / expected - 1.0).abs() < 1e-9, "{rates:?}");
        }
    }
}
