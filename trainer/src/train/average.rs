//! The moving average of the weights, which is what is evaluated and exported.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use crate::nets::Network;

/// The decay at `step`: short in the beginning, so that the random first weights are soon forgotten.
pub(super) fn average_decay(decay: f32, step: u64) -> f32 {
    decay.min((1.0 + step as f32) / (10.0 + step as f32))
}

/// The moving average of the weights and the normalization's statistics.
pub(super) fn averaged(average: Network, net: &Network, decay: f32) -> Network {
    struct Collect<'a>(&'a mut GradientsParams);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.register::<D>(param.id, param.val());
        }
    }
    struct Blend<'a>(&'a mut GradientsParams, f32);
    impl ModuleMapper for Blend<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(newest) = self.0.remove::<D>(param.id) else { return param };
            let decay = self.1;
            param.map(|old| old.mul_scalar(decay) + newest.mul_scalar(1.0 - decay))
        }
    }
    let mut newest = GradientsParams::new();
    // `valid` copies; a clone would share the normalization's statistics with the average. Of several devices, the statistics stay on the one
    // that was the last to touch them.
    let device = average.devices().remove(0);
    net.valid().to_device(&device).visit(&mut Collect(&mut newest));
    average.map(&mut Blend(&mut newest, decay))
}
