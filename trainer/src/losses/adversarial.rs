//! Losses between a network that colors (the generator) and a critic that tells its pictures from true ones (Goodfellow et al. 2014).

use anyhow::ensure;
use burn::tensor::Tensor;
use burn::tensor::activation::softplus;
use serde::{Deserialize, Serialize};

use crate::nets::OutputKind;
use crate::nets::discriminator::CriticConfig;

/// Adversarial training: the critic, and who learns when.
///
/// As it stands both learn in every step, as in pix2pix. With `generator_steps` and `critic_steps` it is the NoGAN procedure: first the generator alone,
/// with its other losses; then the critic alone, on what the generator paints by now; then both, for a short time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdversarialConfig {
    /// Weight, in the generator's sum, of deceiving the critic.
    pub weight: f32,
    /// The critic's learning rate.
    pub learning_rate: f64,
    /// The decay of the critic's Adam's first moment.
    pub beta_1: f32,
    /// And of its second.
    pub beta_2: f32,
    /// Label smoothing, 0 to 1: the critic's target is half of this for colored pictures, and 1 less half of this for true ones.
    pub label_smoothing: f32,
    /// Steps in the beginning in which the generator learns alone.
    pub generator_steps: u64,
    /// Steps behind those in which the critic learns alone.
    pub critic_steps: u64,
    /// The critic's learning rate is multiplied by this while both learn.
    pub joint_rate_factor: f64,
    /// While both learn, the generator learns only in steps where the critic's loss is below this. A critic that knows nothing has .693.
    pub generator_threshold: Option<f32>,
    /// Which critic.
    pub critic: CriticConfig,
}

impl Default for AdversarialConfig {
    fn default() -> Self {
        Self {
            weight: 1.0,
            learning_rate: 2e-4,
            beta_1: 0.5,
            beta_2: 0.999,
            label_smoothing: 0.0,
            generator_steps: 0,
            critic_steps: 0,
            joint_rate_factor: 1.0,
            generator_threshold: None,
            critic: CriticConfig::Patch70 { width: 64 },
        }
    }
}

/// Who learns in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The generator, without a critic.
    GeneratorAlone,
    /// The critic; the generator stands still.
    CriticAlone,
    /// First the critic, then the generator against the critic that has learned.
    Both,
}

impl AdversarialConfig {
    /// Who learns in step `step`, counted from 0.
    pub fn phase(&self, step: u64) -> Phase {
        if step < self.generator_steps {
            Phase::GeneratorAlone
        } else if step < self.generator_steps + self.critic_steps {
            Phase::CriticAlone
        } else {
            Phase::Both
        }
    }

    /// Whether the generator learns in a step of `phase` in which the critic's loss is `critic_loss`.
    pub fn generator_learns(&self, phase: Phase, critic_loss: f32) -> bool {
        match phase {
            Phase::GeneratorAlone => true,
            Phase::CriticAlone => false,
            Phase::Both => self.generator_threshold.is_none_or(|threshold| critic_loss < threshold),
        }
    }

    /// The critic's learning rate in a step of `phase`.
    pub fn rate(&self, phase: Phase) -> f64 {
        if phase == Phase::Both { self.learning_rate * self.joint_rate_factor } else { self.learning_rate }
    }

    /// Checks what the types cannot; `output` is the network's output's height and width.
    ///
    /// # Errors
    /// Names the value and what it may be.
    pub fn check(&self, output: (usize, usize)) -> anyhow::Result<()> {
        self.critic.check()?;
        let side = self.critic.side_min();
        ensure!(
            output.0.min(output.1) >= side,
            "the network's output is {} x {} pixels; this critic needs at least {side}: enlarge data.width and data.height, or take another",
            output.1,
            output.0
        );
        ensure!((0.0..1.0).contains(&self.label_smoothing), "adversarial.label_smoothing {} is outside 0 to 1", self.label_smoothing);
        for (name, value) in [
            ("weight", f64::from(self.weight)),
            ("learning_rate", self.learning_rate),
            ("joint_rate_factor", self.joint_rate_factor),
            ("generator_threshold", f64::from(self.generator_threshold.unwrap_or(1.0))),
        ] {
            ensure!(value.is_finite() && value >= 0.0, "adversarial.{name} is {value}; it must be 0 or a positive number");
        }
        for (name, value) in [("beta_1", self.beta_1), ("beta_2", self.beta_2)] {
            ensure!((0.0..1.0).contains(&value), "adversarial.{name} is {value}; it must be from 0 to below 1");
        }
        Ok(())
    }
}

/// The channels of [`seen_by_critic`].
pub fn critic_channels(kind: OutputKind) -> usize {
    // Bins are seen as the color that they mean.
    1 + kind.channels(2)
}

/// What a critic sees, values about -1 to 1 \[N, 1 + C, h, w\]: lightness L* \[N, 1, h, w\] and the colors of
/// [`Prediction::values`](super::Prediction::values) beside it.
pub fn seen_by_critic(lightness: Tensor<4>, values: Tensor<4>, kind: OutputKind) -> Tensor<4> {
    let colors = match kind {
        OutputKind::Bins | OutputKind::Ab => values,
        OutputKind::Rgb | OutputKind::Uv => values * 2.0 - 1.0,
    };
    Tensor::cat(vec![lightness / 50.0 - 1.0, colors], 1)
}

/// Binary cross-entropy of logits of any shape against one `label` from 0 to 1: softplus(x) - x label, the mean.
pub fn binary_cross_entropy(logits: Tensor<4>, label: f32) -> Tensor<1> {
    // softplus(x) = max(x, 0) + ln(1 + exp(-|x|)): no overflow on either side.
    (softplus(logits.clone(), 1.0) - logits * label).mean()
}

/// What the critic minimizes: half the cross-entropy of true pictures against 1 and of colored ones against 0.
///
/// Label smoothing s moves both labels towards the middle: 1 - s / 2 and s / 2. A critic that knows nothing has ln 2.
pub fn critic_loss(on_true: Tensor<4>, on_colored: Tensor<4>, label_smoothing: f32) -> Tensor<1> {
    let half = label_smoothing / 2.0;
    (binary_cross_entropy(on_true, 1.0 - half) + binary_cross_entropy(on_colored, half)) / 2.0
}

/// What the generator minimizes beside its other losses: that its pictures pass for true ones (the form that does not saturate).
pub fn deceiving_loss(on_colored: Tensor<4>) -> Tensor<1> {
    binary_cross_entropy(on_colored, 1.0)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn logits(values: &[f32]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values.to_vec(), [1, 1, 1, values.len()]), &Device::flex())
    }

    #[test]
    fn the_cross_entropy_is_that_of_the_sigmoid() {
        let values = [-2.0_f32, 0.0, 0.5, 3.0];
        for label in [0.0_f32, 0.05, 0.95, 1.0] {
            let expected = values
                .iter()
                .map(|x| {
                    let share = 1.0 / (1.0 + (-x).exp());
                    -(label * share.ln() + (1.0 - label) * (1.0 - share).ln())
                })
                .sum::<f32>()
                / 4.0;
            let found = binary_cross_entropy(logits(&values), label).into_scalar::<f32>();
            assert!((found - expected).abs() < 1e-5, "label {label}: {found}, not {expected}");
        }
        // Sure and right costs nothing, sure and wrong as much as it is sure; neither overflows.
        assert!(binary_cross_entropy(logits(&[200.0]), 1.0).into_scalar::<f32>().abs() < 1e-5);
        assert!((binary_cross_entropy(logits(&[200.0]), 0.0).into_scalar::<f32>() - 200.0).abs() < 1e-3);
        assert!((binary_cross_entropy(logits(&[-200.0]), 1.0).into_scalar::<f32>() - 200.0).abs() < 1e-3);
    }

    #[test]
    fn nogan_is_first_one_then_the_other_then_both() {
        let pix2pix = AdversarialConfig::default();
        assert_eq!(pix2pix.phase(0), Phase::Both);
        assert!(pix2pix.generator_learns(Phase::Both, 9.0));
        let nogan = AdversarialConfig {
            generator_steps: 10,
            critic_steps: 5,
            joint_rate_factor: 5.0,
            generator_threshold: Some(0.65),
            ..AdversarialConfig::default()
        };
        let expected =
            [(0, Phase::GeneratorAlone), (9, Phase::GeneratorAlone), (10, Phase::CriticAlone), (14, Phase::CriticAlone), (15, Phase::Both)];
        for (step, phase) in expected {
            assert_eq!(nogan.phase(step), phase, "step {step}");
        }
        assert!(nogan.generator_learns(Phase::GeneratorAlone, 9.0) && !nogan.generator_learns(Phase::CriticAlone, 0.0));
        assert!(nogan.generator_learns(Phase::Both, 0.64) && !nogan.generator_learns(Phase::Both, 0.66));
        assert!((nogan.rate(Phase::Both) - 1e-3).abs() < 1e-9 && (nogan.rate(Phase::CriticAlone) - 2e-4).abs() < 1e-9);
    }

    #[test]
    fn a_critic_sees_every_kind_of_output_from_minus_1_to_1() {
        let device = Device::flex();
        for (kind, low, high) in
            [(OutputKind::Ab, -1.0, 1.0), (OutputKind::Bins, -1.0, 1.0), (OutputKind::Rgb, 0.0, 1.0), (OutputKind::Uv, 0.0, 1.0)]
        {
            let colors = critic_channels(kind) - 1;
            for (lightness, value, expected) in [(0.0, low, -1.0), (100.0, high, 1.0)] {
                let seen =
                    seen_by_critic(Tensor::full([1, 1, 1, 1], lightness, &device), Tensor::full([1, colors, 1, 1], value, &device), kind);
                let values = seen.into_data().try_into_vec::<f32>().expect("floats");
                assert_eq!(values, vec![expected; critic_channels(kind)], "{kind:?}");
            }
        }
    }

    #[test]
    fn an_ignorant_critic_has_ln_2_and_smoothing_keeps_it_from_being_sure() {
        let ln_2 = std::f32::consts::LN_2;
        for smoothing in [0.0, 0.1] {
            assert!((critic_loss(logits(&[0.0]), logits(&[0.0]), smoothing).into_scalar::<f32>() - ln_2).abs() < 1e-6);
        }
        let sure = critic_loss(logits(&[9.0]), logits(&[-9.0]), 0.1).into_scalar::<f32>();
        // The best with labels .95 and .05 is their entropy, .1985, at logits of ln 19 = 2.944.
        let best = critic_loss(logits(&[2.944]), logits(&[-2.944]), 0.1).into_scalar::<f32>();
        assert!((best - 0.1985).abs() < 1e-3 && sure > best, "{sure} {best}");
        assert!((deceiving_loss(logits(&[0.0])).into_scalar::<f32>() - ln_2).abs() < 1e-6);
    }
}
