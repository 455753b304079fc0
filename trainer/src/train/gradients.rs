//! Gradients: of all workers joined, and clipped.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::log::Values;
use crate::nets::{Network, States};

/// What a worker computed from its lanes.
pub(super) struct Share {
    /// The losses.
    pub(super) values: Values,
    /// Of every weight.
    pub(super) gradients: GradientsParams,
    /// After the last frame, detached.
    pub(super) states: States,
    /// How many lanes it was.
    pub(super) lanes: usize,
}

/// Adds `part` of the gradients `more` of `net`'s weights to `all`.
pub(super) fn add_gradients(net: &impl Module, all: &mut GradientsParams, more: &mut GradientsParams, part: f32) {
    struct Add<'a>(&'a mut GradientsParams, &'a mut GradientsParams, f32);
    impl ModuleVisitor for Add<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(more) = self.1.remove::<D>(param.id) {
                let more = more * self.2;
                let sum = self.0.remove::<D>(param.id).map_or(more.clone(), |sum| sum + more);
                self.0.register::<D>(param.id, sum);
            }
        }
    }
    net.visit(&mut Add(all, more, part));
}

/// The means over the workers' losses and gradients, and all their states.
pub(super) fn joined(net: &Network, mut shares: Vec<Share>) -> Share {
    // Of one the mean is itself, without an operation for every weight.
    if shares.len() == 1
        && let Some(only) = shares.pop()
    {
        return only;
    }
    let lanes: usize = shares.iter().map(|share| share.lanes).sum();
    let mut all = Share { values: Values::default(), gradients: GradientsParams::new(), states: Vec::new(), lanes };
    let mut states: Vec<Vec<Tensor<4>>> = Vec::new();
    for mut share in shares {
        let part = share.lanes as f32 / lanes as f32;
        add_gradients(net, &mut all.gradients, &mut share.gradients, part);
        all.values.add(&share.values, part);
        states.resize_with(share.states.len(), Vec::new);
        states.iter_mut().zip(share.states).for_each(|(all, state)| all.push(state));
    }
    all.states = states.into_iter().map(|all| Tensor::cat(all, 0)).collect();
    all
}

/// Scales the gradients so that their global norm is at most `max`; returns the norm before.
pub(super) fn clip_gradients(net: &Network, gradients: &mut GradientsParams, max: f32) -> f32 {
    struct SquareSum<'a>(&'a GradientsParams, Option<Tensor<1>>);
    impl ModuleVisitor for SquareSum<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.get::<D>(param.id) {
                let sum = gradient.square().sum();
                self.1 = Some(match self.1.take() {
                    Some(before) => before + sum,
                    None => sum,
                });
            }
        }
    }
    struct Scale<'a>(&'a mut GradientsParams, f32);
    impl ModuleVisitor for Scale<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.remove::<D>(param.id) {
                self.0.register::<D>(param.id, gradient.mul_scalar(self.1));
            }
        }
    }
    let mut squares = SquareSum(gradients, None);
    net.visit(&mut squares);
    let norm = squares.1.map_or(0.0, |sum| sum.into_scalar::<f32>().sqrt());
    if norm > max {
        net.visit(&mut Scale(gradients, max / norm));
    }
    norm
}

/// Whether every weight of `net` is a finite number.
pub(super) fn is_finite(net: &impl Module) -> bool {
    struct Sum(Option<Tensor<1>>);
    impl ModuleVisitor for Sum {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            // Times zero: finite numbers give 0, others no number, and nothing overflows in the sum.
            let sum = (param.val().detach() * 0.0).sum();
            self.0 = Some(match self.0.take() {
                Some(before) => before + sum,
                None => sum,
            });
        }
    }
    let mut sum = Sum(None);
    let net = net.valid();
    // Of several devices, the normalization's statistics stay on the one that was the last to touch them.
    let net = match net.devices().into_iter().next() {
        Some(device) => net.to_device(&device),
        None => net,
    };
    net.visit(&mut sum);
    sum.0.is_none_or(|sum| sum.into_scalar::<f32>() == 0.0)
}
