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

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::nets::test_nets::{self, numbers};

    #[test]
    fn the_average_goes_a_share_of_the_way_to_the_newest_weights_and_statistics() {
        struct Moved(f32);
        impl ModuleMapper for Moved {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                let by = self.0;
                param.map(|old| old + by)
            }
        }
        let first = test_nets::settled(&test_nets::small(0), 2, 3);
        let before = numbers(&first);
        // Two steps, of 1 and of 3 away from the beginning: .75 of 0 and .25 of 1, then half of that and half of 3.
        let one = first.valid().map(&mut Moved(1.0)).train().fork(&Device::flex().autodiff());
        let average = averaged(first.valid(), &one, 0.75);
        let two = one.clone().valid().map(&mut Moved(2.0)).train().fork(&Device::flex().autodiff());
        let average = averaged(average, &two, 0.5);
        for (found, begin) in numbers(&average).iter().zip(&before) {
            assert!((found - (begin + 1.625)).abs() < 1e-4, "{found}, not {begin} + 1.625");
        }
        for (found, begin) in numbers(&two.valid()).iter().zip(&before) {
            assert!((found - (begin + 3.0)).abs() < 1e-4, "the newest weights were changed: {found}, not {begin} + 3");
        }
    }

    #[test]
    fn the_first_weights_are_soon_forgotten() {
        assert_eq!((average_decay(0.999, 0), average_decay(0.999, 8), average_decay(0.999, 1_000_000)), (0.1, 0.5, 0.999));
        assert_eq!(average_decay(0.0, 50), 0.0);
    }
}
