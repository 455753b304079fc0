//! A step of adversarial training: the critic learns from true and colored pictures, then the generator from the critic.

use anyhow::ensure;
use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Tensor};

use super::gradients::{Share, add_gradients, joined};
use super::look::Look;
use super::workers::Workers;
use crate::checkpoint::Adversary;
use crate::losses::adversarial::{AdversarialConfig, Phase, critic_channels, critic_loss, deceiving_loss, seen_by_critic};
use crate::nets::discriminator::Critic;
use crate::nets::{Network, OutputKind};

/// A critic with random weights and an optimizer that has seen nothing.
pub(super) fn fresh(config: &AdversarialConfig, output: OutputKind, device: &Device) -> Adversary {
    let critic = Critic::new(&config.critic, critic_channels(output), device);
    // Touches every weight in field order, as the network's are.
    let _ = critic.valid();
    // Without decay, AdamW is Adam.
    let optimizer = AdamWConfig::new().with_beta_1(config.beta_1).with_beta_2(config.beta_2).with_epsilon(1e-8).with_weight_decay(0.0);
    Adversary { critic, optimizer: optimizer.init() }
}

/// Lets the critic learn from `looks`, and says what the generator would learn from the critic that has learned: nothing in a phase, or against a critic,
/// that has it stand still.
///
/// # Errors
/// If the critic's loss is not a finite number.
pub(super) fn learn(
    net: &Network,
    adversary: &mut Adversary,
    looks: Vec<Look>,
    step: u64,
    config: &AdversarialConfig,
    workers: &Workers,
    device: &Device,
) -> anyhow::Result<Share> {
    let phase = config.phase(step);
    if phase == Phase::GeneratorAlone {
        return Ok(joined(net, workers.map_each(looks, Look::learn)));
    }
    let critic = &adversary.critic;
    let (looks, judged): (Vec<_>, Vec<_>) =
        workers.map_each(looks, |look| judge(critic.clone().fork(device), look, config)).into_iter().unzip();
    let lanes: usize = looks.iter().map(|look| look.lanes).sum();
    let (mut loss, mut gradients) = (0.0, GradientsParams::new());
    for (look, (value, mut more)) in looks.iter().zip(judged) {
        let part = look.lanes as f32 / lanes as f32;
        loss += value * part;
        add_gradients(critic, &mut gradients, &mut more, part);
    }
    ensure!(
        loss.is_finite(),
        "step {step}: the critic's loss is {loss}; lower adversarial.learning_rate and resume from the last checkpoint"
    );
    adversary.critic = adversary.optimizer.step(config.rate(phase), adversary.critic.clone(), gradients);
    let mut share = if config.generator_learns(phase, loss) {
        // A constant to the generator: nothing flows into its weights.
        let critic = &adversary.critic.clone().no_grad();
        joined(net, workers.map_each(looks, |look| deceive(critic, look, config).learn()))
    } else {
        joined(net, workers.map_each(looks, Look::pass))
    };
    share.values.parts.insert("critic", loss);
    Ok(share)
}

/// The critic's loss on one worker's pictures, and its gradients.
fn judge(critic: Critic, look: Look, config: &AdversarialConfig) -> (Look, (f32, GradientsParams)) {
    let (target, prediction) = (&look.batch.target, &look.prediction);
    let seen = |values: Tensor<4>| seen_by_critic(target.lightness.clone(), values, prediction.kind);
    // Detached: nothing flows into the generator.
    let on_colored = critic.forward(seen(prediction.values.clone().detach()));
    let loss = critic_loss(critic.forward(seen(target.values(prediction.kind))), on_colored, config.label_smoothing);
    let value = loss.clone().into_scalar::<f32>();
    let gradients = GradientsParams::from_grads(loss.backward(), &critic);
    (look, (value, gradients))
}

/// Adds to the generator's losses that its pictures should pass for true ones.
fn deceive(critic: &Critic, mut look: Look, config: &AdversarialConfig) -> Look {
    let prediction = &look.prediction;
    let seen = seen_by_critic(look.batch.target.lightness.clone(), prediction.values.clone(), prediction.kind);
    look.found.add("adversarial", deceiving_loss(critic.forward(seen)), config.weight);
    look
}
