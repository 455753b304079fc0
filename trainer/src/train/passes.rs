//! Forward and backward: from chunks of data to the gradients of one optimizer step, over threads, devices and several chunks.
//!
//! Several devices are used as by Burn's own `ExecutionStrategy::MultiDevice(.., OptimMainDevice)`: each has a fork of the network and a share
//! of the lanes, the gradients are averaged on the first device, and the optimizer steps there.

use std::sync::Arc;

use anyhow::{Context, ensure};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::adversary;
use super::batch::Batch;
use super::gradients::{Share, joined};
use super::look::{Look, View};
use super::perceptual;
use super::precision::{Precision, narrowed};
use super::workers::{Workers, share_of};
use crate::checkpoint::Adversary;
use crate::config::RunConfig;
use crate::data::lanes::Chunk;
use crate::losses::center_tensor;
use crate::nets::FeatureNet;
use crate::nets::fake_quant::{self, Grids};
use crate::nets::{Network, States};

/// What a pass needs beside the network, the same for a whole run.
pub(super) struct Passes<'a> {
    config: &'a RunConfig,
    centers: &'a [[f32; 2]],
    class_weights: &'a [f32],
    /// Worker w computes at place w modulo their number.
    places: Vec<Place>,
    workers: Workers,
}

/// A device, and what the losses need there.
struct Place {
    device: Device,
    centers: Tensor<3>,
    features: Option<Box<dyn FeatureNet>>,
}

impl<'a> Passes<'a> {
    /// `devices` are autodiff devices, at least one; the network is on the first.
    ///
    /// # Errors
    /// If there are more devices than workers or than the kind of training can use, the feature loss's network cannot be opened, or the threads
    /// cannot be started.
    pub(super) fn new(
        config: &'a RunConfig,
        centers: &'a [[f32; 2]],
        class_weights: &'a [f32],
        devices: &[Device],
    ) -> anyhow::Result<Self> {
        ensure!(
            (1..=config.workers).contains(&devices.len()),
            "{} devices for {} workers: set `workers` in the configuration to as many as there are devices, or more",
            devices.len(),
            config.workers
        );
        ensure!(devices.len() == 1 || config.adversarial.is_none(), "adversarial training is for one device: the critic is on the first");
        let place = |device: &Device| {
            let features = config.loss.feature.as_ref().map(|config| perceptual::open(config, device)).transpose()?;
            anyhow::Ok(Place { device: device.clone(), centers: center_tensor(centers, device), features })
        };
        let places = devices.iter().map(place).collect::<Result<_, _>>()?;
        Ok(Self { config, centers, class_weights, places, workers: Workers::new(config.workers)? })
    }

    /// The gradients of the optimizer step `step`: the means over as many chunks as `config.accumulate` says, each of which goes on from the
    /// states that the one before left behind; weights and activations rounded to `grids`, if there are any.
    ///
    /// # Errors
    /// What `next` fails with.
    pub(super) fn step(
        &self,
        net: &Network,
        mut adversary: Option<&mut Adversary>,
        mut states: States,
        step: u64,
        grids: Option<&Arc<Grids>>,
        next: &mut dyn FnMut() -> anyhow::Result<Chunk>,
    ) -> anyhow::Result<Share> {
        let mut chunks = Vec::with_capacity(self.config.accumulate);
        for index in 0..self.config.accumulate as u64 {
            let chunk = next()?;
            let expected = step * self.config.accumulate as u64 + index;
            ensure!(chunk.number == expected, "the loader gave chunk {} in place of {expected}", chunk.number);
            let looks = self.looks(net, &states, grids, &chunk);
            let mut share = match (&self.config.adversarial, adversary.as_deref_mut()) {
                (Some(config), Some(adversary)) => {
                    adversary::learn(net, adversary, looks, step, config, &self.workers, &self.places[0].device)
                }
                _ => joined(net, self.workers.map_each(looks, |look| self.brought_home(net, look.learn()))),
            };
            states = std::mem::take(&mut share.states);
            chunks.push(share);
        }
        let mut all = if chunks.len() == 1 { chunks.pop().context("it has one")? } else { joined(net, chunks) };
        all.states = states;
        Ok(all)
    }

    /// All workers' forward passes over one chunk.
    fn looks(&self, net: &Network, states: &States, grids: Option<&Arc<Grids>>, chunk: &Chunk) -> Vec<Look> {
        // int8 is rounded to in float: bfloat16 cannot tell all of its values apart.
        let precision = if grids.is_some() { Precision::Float } else { self.config.precision };
        self.workers.map(|worker, count| {
            let Place { device, centers, features } = &self.places[worker % self.places.len()];
            let lanes = share_of(self.config.data.lanes, worker, count);
            let batch = Batch::new(chunk, lanes.clone(), self.config, self.centers, self.class_weights, device);
            let states = states.iter().map(|state| state.clone().narrow(0, lanes.start, lanes.len()).to_device(device)).collect();
            // Leaves of its own: on shared ones the autodiff graphs would merge, and the workers would wait for each other's lock.
            let net = net.clone().fork(device);
            let net = match (precision, grids) {
                (_, Some(_)) => fake_quant::with_rounded_weights(net),
                (Precision::Bfloat16, None) => narrowed(net),
                (Precision::Float, None) => net,
            };
            let view = View { config: self.config, centers: centers.clone(), features: features.as_deref(), precision, grids };
            Look::new(net, batch, states, &lanes, &view, chunk.number)
        })
    }

    /// What a worker computed, on the first device.
    fn brought_home(&self, net: &Network, mut share: Share) -> Share {
        if self.places.len() > 1 {
            let home = &self.places[0].device;
            share.gradients = share.gradients.to_device(&home.clone().inner(), net);
            share.states = share.states.into_iter().map(|state| state.to_device(home)).collect();
        }
        share
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use burn::module::{ModuleMapper, ModuleVisitor, Param};
    use burn::optim::GradientsParams;

    use super::*;
    use crate::data::lanes::LaneConfig;
    use crate::nets::lite0_unet::Lite0UNetConfig;
    use crate::nets::recurrent_unet::RecurrentUNetConfig;
    use crate::nets::{NetConfig, test_nets};

    const T: usize = 2;
    const SIDE: usize = 32;

    fn config(lanes: usize, workers: usize, accumulate: usize) -> RunConfig {
        RunConfig {
            workers,
            accumulate,
            net: NetConfig::RecurrentUnet(RecurrentUNetConfig { widths: [4, 6, 8, 12], deep_blocks: 1, head_width: 6 }),
            data: LaneConfig { lanes, chunk_frames: T, width: SIDE, height: SIDE, ..LaneConfig::default() },
            ..RunConfig::default()
        }
    }

    /// Lanes `lanes` of a made-up chunk, every one of which begins anew.
    fn chunk(lanes: std::ops::Range<usize>) -> Chunk {
        part(lanes, 0)
    }

    /// The chunk that comes `number` chunks behind it, in which nothing begins anew.
    fn part(lanes: std::ops::Range<usize>, number: usize) -> Chunk {
        let (mut lightness, mut true_lightness, mut ab, mut reset) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for t in number * T..(number + 1) * T {
            for lane in lanes.clone() {
                let wave = |i: usize, scale: f32| scale * ((i as f32 / 7.0) + (lane * 3 + t) as f32).sin();
                lightness.extend((0..SIDE * SIDE).map(|i| wave(i, 0.4)));
                true_lightness.extend((0..SIDE * SIDE / 16).map(|i| 50.0 + wave(i, 40.0)));
                ab.extend((0..2 * SIDE * SIDE / 16).map(|i| wave(i, 30.0)));
                reset.push(t == 0);
            }
        }
        Chunk { number: 0, lightness, true_lightness, ab, reset, flow: None, colors: None }
    }

    /// A settled network whose normalizations go by their statistics and not by the batch's: no lane sees another.
    fn network(config: &RunConfig) -> Network {
        struct Still;
        impl ModuleMapper for Still {
            fn map_flag(&mut self, flag: Param<burn::module::Flag>) -> Param<burn::module::Flag> {
                flag.map(|_| burn::module::Flag::new(false))
            }
        }
        test_nets::settled(&config.net, config.outputs().unwrap(), 3).train().fork(&Device::flex().autodiff()).map(&mut Still)
    }

    /// The loss and all gradients of a step of `net` over `chunks`. Steps that are compared take the same network: all tests of a process draw from one
    /// source, so that a second one of the same seed may be another.
    fn step(net: &Network, config: &RunConfig, devices: &[Device], chunks: &[Chunk]) -> (f32, Vec<Vec<f32>>) {
        let states = config.net.zero_states(config.data.lanes, SIDE, SIDE, &devices[0]);
        step_from(states, net, config, devices, chunks).0
    }

    /// The same from `states`, and the states behind it.
    fn step_from(
        states: States,
        net: &Network,
        config: &RunConfig,
        devices: &[Device],
        chunks: &[Chunk],
    ) -> ((f32, Vec<Vec<f32>>), States) {
        struct Read<'a>(&'a GradientsParams, Vec<Vec<f32>>);
        impl ModuleVisitor for Read<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some(gradient) = self.0.get::<D>(param.id) {
                    self.1.push(gradient.into_data().try_into_vec::<f32>().unwrap());
                }
            }
        }
        let centers = config.centers().unwrap();
        let weights = vec![1.0; centers.len()];
        let passes = Passes::new(config, centers, &weights, devices).unwrap();
        let mut left = chunks.iter().zip(0..).map(|(chunk, number)| Chunk { number, ..chunk.clone() });
        let share = passes.step(net, None, states, 0, None, &mut || Ok(left.next().unwrap())).unwrap();
        assert!(left.next().is_none(), "a chunk was not used");
        assert_eq!(share.states[0].dims()[0], config.data.lanes);
        let mut read = Read(&share.gradients, Vec::new());
        net.visit(&mut read);
        ((share.values.loss, read.1), share.states)
    }

    fn assert_same((loss, gradients): &(f32, Vec<Vec<f32>>), expected: &(f32, Vec<Vec<f32>>)) {
        assert!((loss - expected.0).abs() < 1e-5 * expected.0.abs(), "{loss}, {}", expected.0);
        assert!(gradients.len() > 20 && gradients.len() == expected.1.len());
        for (index, (found, expected)) in gradients.iter().zip(&expected.1).enumerate() {
            let size = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            let error = found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0_f32, f32::max);
            assert!(size > 0.0 && error <= 1e-4 * size, "gradient {index}: {error} of {size}");
        }
    }

    #[test]
    fn accumulated_chunks_are_as_good_as_more_lanes() {
        let device = [Device::flex().autodiff()];
        let net = network(&config(4, 1, 1));
        let whole = step(&net, &config(4, 1, 1), &device, &[chunk(0..4)]);
        assert_same(&step(&net, &config(2, 1, 2), &device, &[chunk(0..2), chunk(2..4)]), &whole);
        let other = step(&net, &config(2, 1, 2), &device, &[chunk(0..2), chunk(0..2)]);
        assert!((other.0 - whole.0).abs() > 1e-3, "any chunks would do");
    }

    #[test]
    fn a_step_goes_on_from_the_states_that_the_one_before_left() {
        let device = [Device::flex().autodiff()];
        let one = config(4, 1, 1);
        let net = network(&one);
        let zero = || one.net.zero_states(4, SIDE, SIDE, &device[0]);
        let parts = [part(0..4, 0), part(0..4, 1)];
        // What the network makes of both parts as one clip, without any of the training's own plumbing.
        let lightness = parts.iter().flat_map(|part| part.lightness.clone()).collect::<Vec<_>>();
        let lightness = Tensor::from_data(burn::tensor::TensorData::new(lightness, [2 * T * 4, 1, SIDE, SIDE]), &device[0]);
        let expected = net.forward_clip(lightness, zero(), &vec![None; 2 * T]).1;
        let assert_left = |found: &States, what: &str| {
            for (found, expected) in found.iter().zip(&expected) {
                let size = expected.clone().abs().max().into_scalar::<f32>();
                let error = (found.clone() - expected.clone()).abs().max().into_scalar::<f32>();
                assert!(size > 0.01 && error < 1e-4 * size, "{what}: {error} of {size}");
            }
        };
        let two_steps = |workers: usize| {
            let config = config(4, workers, 1);
            let states = step_from(zero(), &net, &config, &device, &parts[..1]).1;
            step_from(states, &net, &config, &device, &parts[1..])
        };
        let (second, states) = two_steps(1);
        assert_left(&states, "two steps");
        for workers in [2, 3] {
            let (found, states) = two_steps(workers);
            assert_left(&states, &format!("{workers} workers"));
            assert_same(&found, &second);
        }
        assert_left(&step_from(zero(), &net, &config(4, 1, 2), &device, &parts).1, "one step of two chunks");
        let afresh = step_from(zero(), &net, &one, &device, &parts[1..]).0;
        assert!((afresh.0 / second.0 - 1.0).abs() > 1e-5, "the loss is the same without the state: {}", afresh.0);
    }

    #[test]
    fn bfloat16_computes_nearly_what_float_does() {
        let device = [Device::flex().autodiff()];
        let lite0 = NetConfig::Lite0Unet(Lite0UNetConfig { widths: [4, 6, 8, 12], head_width: 6, frozen_stages: 3 });
        for net in [config(2, 1, 1).net, lite0] {
            let config = RunConfig { net, ..config(2, 1, 1) };
            let network = network(&config);
            let expected = step(&network, &config, &device, &[chunk(0..2)]);
            let found = step(&network, &RunConfig { precision: Precision::Bfloat16, ..config.clone() }, &device, &[chunk(0..2)]);
            assert!(found.0 != expected.0 && (found.0 / expected.0 - 1.0).abs() < 0.01, "{}, {}", found.0, expected.0);
            assert_eq!(found.1.len(), expected.1.len());
            let all = |gradients: &[Vec<f32>]| gradients.concat();
            let (found, expected) = (all(&found.1), all(&expected.1));
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let cosine = dot(&found, &expected) / (dot(&found, &found) * dot(&expected, &expected)).sqrt();
            assert!(cosine > 0.99, "{:?}: {cosine}", config.net);
        }
    }

    #[test]
    fn two_devices_compute_what_one_does() {
        let device = Device::flex().autodiff();
        let net = network(&config(4, 1, 1));
        let whole = step(&net, &config(4, 1, 1), std::slice::from_ref(&device), &[chunk(0..4)]);
        assert_same(&step(&net, &config(4, 2, 1), &[device.clone(), device.clone()], &[chunk(0..4)]), &whole);
        // Three workers on two devices, with shares of unequal size.
        assert_same(&step(&net, &config(4, 3, 1), &[device.clone(), device.clone()], &[chunk(0..4)]), &whole);
        let config = config(4, 1, 1);
        let said = Passes::new(&config, config.centers().unwrap(), &[], &[device.clone(), device]).err().unwrap().to_string();
        assert!(said.contains("2 devices for 1 workers"), "{said}");
    }
}
