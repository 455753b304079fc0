//! How a network's first weights are drawn, for the comparison that one of the older projects made (its pictures overflowed with color
//! until it changed from uniform weights to Xavier's).

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Distribution, Tensor};
use serde::{Deserialize, Serialize};

use super::Network;

/// How the weights of convolutions and fully connected layers are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Initialization {
    /// As the network's own file says: Kaiming's, but for heads and what begins as the identity.
    #[default]
    Own,
    /// Uniform within 0.05 of zero, whatever the layer's size.
    Uniform,
    /// Uniform within sqrt(6 / (inputs + outputs)) (Glorot and Bengio 2010).
    Xavier,
    /// Normal with the variance 2 / inputs (He et al. 2015).
    Kaiming,
}

impl Initialization {
    /// Draws the weights of `net` anew; biases and normalizations stay as they are.
    pub fn apply(self, net: Network) -> Network {
        if self == Self::Own {
            return net;
        }
        net.map(&mut Draw { how: self, field: Vec::new() })
    }

    /// What the weights of a layer with `inputs` and `outputs` connections a value are drawn from.
    fn distribution(self, inputs: usize, outputs: usize) -> Distribution {
        let within = |limit: f64| Distribution::Uniform(-limit, limit);
        match self {
            Self::Own | Self::Uniform => within(0.05),
            Self::Xavier => within((6.0 / (inputs + outputs) as f64).sqrt()),
            Self::Kaiming => Distribution::Normal(0.0, (2.0 / inputs as f64).sqrt()),
        }
    }
}

struct Draw {
    how: Initialization,
    field: Vec<String>,
}

impl ModuleMapper for Draw {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.field.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.field.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.field.last().is_none_or(|name| name != "weight") || D < 2 {
            return param;
        }
        let dims = param.val().dims();
        // A convolution's weight is [outputs, inputs, height, width], a fully connected layer's [inputs, outputs].
        let (inputs, outputs) = if D == 2 {
            (dims[0], dims[1])
        } else {
            let window: usize = dims[2..].iter().product();
            (dims[1] * window, dims[0] * window)
        };
        let distribution = self.how.distribution(inputs, outputs);
        param.map(|old| {
            let new = old.random_like(distribution).detach();
            if old.is_require_grad() { new.require_grad() } else { new }
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::nets::NetConfig;

    #[test]
    fn weights_have_the_deviation_that_each_way_promises() {
        struct Find(Vec<String>, Vec<f64>);
        impl burn::module::ModuleVisitor for Find {
            fn enter_module(&mut self, name: &str, _container_type: &str) {
                self.0.push(name.to_owned());
            }

            fn exit_module(&mut self, _name: &str, _container_type: &str) {
                self.0.pop();
            }

            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if self.0.join(".").ends_with("to_sixteenth.conv.weight") {
                    let values = param.val().into_data().try_into_vec::<f32>().unwrap();
                    self.1.push((values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / values.len() as f64).sqrt());
                }
            }
        }
        let device = Device::flex();
        // The default network's: 80 channels to 160, 3x3.
        let expected = [
            (Initialization::Uniform, 0.05 / 3_f64.sqrt()),
            (Initialization::Xavier, (2.0_f64 / (9.0 * 240.0)).sqrt()),
            (Initialization::Kaiming, (2.0_f64 / (9.0 * 80.0)).sqrt()),
        ];
        for (how, deviation) in expected {
            let mut find = Find(Vec::new(), Vec::new());
            how.apply(Network::new(&NetConfig::default(), 5, &device)).visit(&mut find);
            // 115,200 values: the deviation of their deviation is a five-hundredth.
            assert!((find.1[0] / deviation - 1.0).abs() < 0.02, "{how:?}: {} for {deviation}", find.1[0]);
        }
    }
}
