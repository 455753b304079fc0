//! A step of adversarial training: the critic learns from true and colored pictures, then the generator from the critic.

use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Tensor};

use super::gradients::{Share, add_gradients, joined};
use super::log::Values;
use super::look::Look;
use super::workers::Workers;
use crate::checkpoint::Adversary;
use crate::losses::adversarial::{AdversarialConfig, Phase, critic_channels, critic_loss, deceiving_loss, seen_by_critic};
use crate::nets::discriminator::Critic;
use crate::nets::{Network, OutputKind};

/// What the log calls the critic's loss.
pub(super) const CRITIC: &str = "critic";
/// What the log calls the generator's loss in the critic's eyes.
const ADVERSARIAL: &str = "adversarial";

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
/// that has it stand still. Where the critic's loss is no finite number, nobody learns, and it is the loss of all.
pub(super) fn learn(
    net: &Network,
    adversary: &mut Adversary,
    looks: Vec<Look>,
    step: u64,
    config: &AdversarialConfig,
    workers: &Workers,
    device: &Device,
) -> Share {
    let phase = config.phase(step);
    if phase == Phase::GeneratorAlone {
        return joined(net, workers.map_each(looks, Look::learn));
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
    if !loss.is_finite() {
        let mut share = joined(net, workers.map_each(looks, Look::pass));
        share.values.loss = loss;
        share.values.parts.insert(CRITIC, loss);
        return share;
    }
    adversary.critic = adversary.optimizer.step(config.rate(phase), adversary.critic.clone(), gradients);
    let mut share = if config.generator_learns(phase, loss) {
        // A constant to the generator: nothing flows into its weights.
        let critic = &adversary.critic.clone().no_grad();
        joined(net, workers.map_each(looks, |look| deceive(critic, look, config).learn()))
    } else {
        joined(net, workers.map_each(looks, Look::pass))
    };
    share.values.parts.insert(CRITIC, loss);
    share
}

/// Whether a loss that is no finite number is the critic's doing: what the generator is told without it is finite. A generator that diverges takes what the
/// critic says along.
pub(super) fn is_the_critics(values: &Values) -> bool {
    let [critics, generators] =
        [true, false].map(|wanted| values.parts.iter().filter(move |(name, _)| [CRITIC, ADVERSARIAL].contains(name) == wanted));
    critics.map(|(_, value)| value).any(|value| !value.is_finite()) && generators.map(|(_, value)| value).all(|value| value.is_finite())
}

/// Whether it is the step that the critic made just before: its loss was a number.
pub(super) fn is_of_the_critics_step(values: &Values) -> bool {
    is_the_critics(values) && values.parts.get(CRITIC).is_some_and(|loss| loss.is_finite())
}

/// The critic's loss on one worker's pictures, and its gradients.
fn judge(critic: Critic, look: Look, config: &AdversarialConfig) -> (Look, (f32, GradientsParams)) {
    let (target, prediction) = (&look.batch.target, &look.prediction);
    let seen = |values: Tensor<4>| seen_by_critic(target.lightness.clone(), values, prediction.kind);
    // Detached: nothing flows into the generator.
    let on_colored = critic.forward(seen(prediction.values.clone().detach()));
    let loss = critic_loss(critic.forward(seen(target.values(prediction.kind))), on_colored, config.label_smoothing);
    // The value last, as in `Look::learn`.
    let gradients = GradientsParams::from_grads(loss.backward(), &critic);
    let value = loss.into_scalar::<f32>();
    (look, (value, gradients))
}

/// Adds to the generator's losses that its pictures should pass for true ones.
fn deceive(critic: &Critic, mut look: Look, config: &AdversarialConfig) -> Look {
    let prediction = &look.prediction;
    let seen = seen_by_critic(look.batch.target.lightness.clone(), prediction.values.clone(), prediction.kind);
    look.found.add(ADVERSARIAL, deceiving_loss(critic.forward(seen)), config.weight);
    look
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use std::ops::Range;

    use burn::module::{Flag, ModuleMapper, ModuleVisitor, Param};

    use super::super::batch::Batch;
    use super::super::look::View;
    use super::super::precision::Precision;
    use super::super::workers::share_of;
    use super::*;
    use crate::config::RunConfig;
    use crate::data::lanes::{Chunk, LaneConfig};
    use crate::losses::center_tensor;
    use crate::nets::discriminator::CriticConfig;
    use crate::nets::test_nets::{self, numbers};

    const LANES: usize = 4;
    const SIDE: usize = 128;

    fn config(workers: usize) -> RunConfig {
        let adversarial = AdversarialConfig {
            critic: CriticConfig::Patch30 { width: 8 },
            generator_steps: 1,
            critic_steps: 1,
            weight: 3.0,
            ..AdversarialConfig::default()
        };
        let mut config = RunConfig {
            workers,
            output: OutputKind::Ab,
            net: test_nets::small(0),
            adversarial: Some(adversarial),
            data: LaneConfig { lanes: LANES, chunk_frames: 1, width: SIDE, height: SIDE, ..LaneConfig::default() },
            ..RunConfig::default()
        };
        config.check().unwrap();
        // Nothing but the critic to learn from. A run could not be validated so; a step can be taken.
        config.loss.mean_weight = 0.0;
        config
    }

    /// A network whose normalizations go by their statistics and not by the batch's: no lane sees another.
    fn network(config: &RunConfig) -> Network {
        struct Still;
        impl ModuleMapper for Still {
            fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
                flag.map(|_| Flag::new(false))
            }
        }
        Network::new(&config.net, 2, &device()).map(&mut Written(0)).map(&mut Still)
    }

    /// Weights that no other test's drawing can change: a wave over all of them, small enough for many layers.
    struct Written(usize);

    impl ModuleMapper for Written {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let shape = param.val().dims();
            // Normalizations keep what they begin with.
            if D < 2 {
                return param;
            }
            let inputs: usize = shape[1..].iter().product();
            let scale = (6.0 / inputs as f32).sqrt();
            let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| scale * ((self.0 + i) as f32 * 1.618).sin()).collect();
            self.0 += values.len();
            param.map(|old| Tensor::from_data(burn::tensor::TensorData::new(values, shape), &old.device()).require_grad())
        }
    }

    fn device() -> Device {
        Device::flex().autodiff()
    }

    fn gradients(net: &Network, share: &Share) -> Vec<Vec<f32>> {
        struct Read<'a>(&'a GradientsParams, Vec<Vec<f32>>);
        impl ModuleVisitor for Read<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.1.extend(self.0.get::<D>(param.id).map(|gradient| gradient.into_data().try_into_vec::<f32>().unwrap()));
            }
        }
        let mut read = Read(&share.gradients, Vec::new());
        net.visit(&mut read);
        read.1
    }

    /// How many weights of `net` there are, and of how many there is a gradient that is not 0 throughout.
    fn learning(net: &Network, gradients: &GradientsParams) -> [usize; 2] {
        struct Count<'a>(&'a GradientsParams, [usize; 2]);
        impl ModuleVisitor for Count<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.1[0] += usize::from(param.val().is_require_grad());
                let learns = |gradient: Tensor<D>| gradient.abs().sum().into_scalar::<f32>() > 0.0;
                self.1[1] += usize::from(self.0.get::<D>(param.id).is_some_and(learns));
            }
        }
        let mut count = Count(gradients, [0, 0]);
        net.visit(&mut count);
        count.1
    }

    /// What step `step` gives to which network, and the critic before and behind it.
    fn after(step: u64, config: &RunConfig) -> (Share, Network, [Vec<f32>; 2]) {
        after_seeing(40.0, step, config)
    }

    /// The same with colors of this size.
    fn after_seeing(colors: f32, step: u64, config: &RunConfig) -> (Share, Network, [Vec<f32>; 2]) {
        let adversarial = config.adversarial.as_ref().unwrap();
        let device = device();
        let net = network(config);
        let mut adversary = fresh(adversarial, config.output, &device);
        adversary.critic = adversary.critic.map(&mut Written(1));
        let before = numbers(&adversary.critic);
        let wave = |size: usize, scale: f32| (0..LANES * size).map(|i| scale * (i as f32 / 7.3).sin()).collect::<Vec<f32>>();
        let chunk = Chunk {
            number: step,
            lightness: wave(SIDE * SIDE, 0.4),
            true_lightness: wave(SIDE * SIDE / 16, 40.0).iter().map(|value| 50.0 + value).collect(),
            ab: wave(SIDE * SIDE / 8, colors),
            reset: vec![true; LANES],
            flow: None,
            colors: None,
        };
        let centers = config.centers().unwrap();
        let weights = vec![1.0; centers.len()];
        let view = View { config, centers: center_tensor(centers, &device), features: None, precision: Precision::Float, grids: None };
        let workers = Workers::new(config.workers).unwrap();
        let looks = workers.map(|worker, count| {
            let lanes: Range<usize> = share_of(LANES, worker, count);
            let batch = Batch::new(&chunk, lanes.clone(), config, centers, &weights, &device);
            let states = config.net.zero_states(lanes.len(), SIDE, SIDE, &device);
            Look::new(net.clone().fork(&device), batch, states, &lanes, &view, step)
        });
        let share = learn(&net, &mut adversary, looks, step, adversarial, &workers, &device);
        let behind = numbers(&adversary.critic);
        (share, net, [before, behind])
    }

    #[test]
    fn each_side_learns_in_its_phase_and_from_its_own_loss_only() {
        let config = config(1);
        // The generator alone: nobody to deceive, and no other loss here.
        let (share, net, [before, behind]) = after(0, &config);
        assert_eq!(before, behind);
        assert!(!share.values.parts.contains_key("critic") && !share.values.parts.contains_key("adversarial"));
        assert_eq!(learning(&net, &share.gradients)[1], 0);
        // The critic alone.
        let (share, net, [before, alone]) = after(1, &config);
        assert_ne!(before, alone);
        assert_eq!(learning(&net, &share.gradients)[1], 0);
        assert!(share.values.parts.contains_key("critic") && !share.values.parts.contains_key("adversarial"));
        // Both: the critic's step is the one it makes alone, so the generator's loss leaves it as it is; and the generator's every weight learns.
        let (share, net, [_, behind]) = after(2, &config);
        assert_eq!(behind, alone);
        let [weights, learning] = learning(&net, &share.gradients);
        // All but the four that look at a memory that is empty yet.
        assert!(learning > 20 && learning + 4 >= weights, "{learning} of {weights} weights learn");
        assert!((share.values.loss - 3.0 * share.values.parts["adversarial"]).abs() < 1e-5, "{:?}", share.values);
    }

    #[test]
    fn two_workers_teach_the_critic_and_the_generator_what_one_does() {
        let (one, net_of_one, [_, critic_of_one]) = after(2, &config(1));
        let (two, net_of_two, [_, critic_of_two]) = after(2, &config(2));
        for part in ["critic", "adversarial"] {
            assert!((one.values.parts[part] - two.values.parts[part]).abs() < 1e-5, "{part}: {:?}, {:?}", one.values, two.values);
        }
        // The first step of Adam is a sign: where a gradient is nearly 0, rounding may turn it.
        let differing = critic_of_one.iter().zip(&critic_of_two).filter(|(a, b)| (**a - **b).abs() > 1e-5).count();
        assert!(differing * 100 < critic_of_one.len(), "{differing} of {} weights differ", critic_of_one.len());
        for (one, two) in gradients(&net_of_one, &one).iter().zip(gradients(&net_of_two, &two)) {
            let size = one.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let error = one.iter().zip(two).map(|(one, two)| (one - two).abs()).fold(0.0_f32, f32::max);
            assert!(error <= 0.02 * size + 1e-7, "{error} of {size}");
        }
        assert_eq!(one.states.iter().map(Tensor::dims).collect::<Vec<_>>(), two.states.iter().map(Tensor::dims).collect::<Vec<_>>());
    }

    #[test]
    fn nobody_learns_from_a_loss_of_the_critic_that_is_no_number() {
        for step in [1, 2] {
            let (share, net, [before, behind]) = after_seeing(f32::NAN, step, &config(1));
            assert!(share.values.loss.is_nan() && share.values.parts[CRITIC].is_nan());
            assert_eq!(before, behind);
            assert_eq!(learning(&net, &share.gradients)[1], 0);
        }
    }

    #[test]
    fn who_has_diverged_is_told_apart() {
        let mut wild = config(1);
        wild.adversarial.as_mut().unwrap().learning_rate = 1e30;
        let share = after(2, &wild).0;
        assert!(share.values.parts[CRITIC].is_finite() && !share.values.parts[ADVERSARIAL].is_finite(), "{:?}", share.values);
        assert!(is_the_critics(&share.values) && is_of_the_critics_step(&share.values));
        assert!(!is_the_critics(&after(2, &config(1)).0.values));
        // A generator whose pictures are no numbers: the critic's loss is none, either.
        let values = |mean: f32| Values { loss: f32::NAN, parts: [("mean", mean), (CRITIC, f32::NAN)].into() };
        assert!(is_the_critics(&values(1.0)) && !is_the_critics(&values(f32::NAN)));
        assert!(!is_of_the_critics_step(&values(1.0)));
    }

    #[test]
    fn a_critic_that_is_fooled_keeps_the_generator_waiting() {
        let mut config = config(1);
        config.adversarial.as_mut().unwrap().generator_threshold = Some(0.1);
        let (share, net, [before, behind]) = after(2, &config);
        assert!(share.values.parts["critic"] > 0.1);
        assert_ne!(before, behind);
        assert_eq!(learning(&net, &share.gradients)[1], 0);
    }
}
