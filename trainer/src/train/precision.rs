//! Mixed precision: convolutions and what lies between them in bfloat16, everything that sums up or is kept in float.
//!
//! The weights, the optimizer, normalizations and losses stay in float; a pass works on copies of the weights and of the carried states in bfloat16, and
//! the gradients and states that come of it are widened again. bfloat16 has float's exponents, so losses need no scaling.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{FloatDType, Tensor};
use serde::{Deserialize, Serialize};

use crate::nets::Network;

/// What a pass computes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    Float,
    /// 16 bits: for GPUs that multiply matrices of them faster. On a CPU it works, and is slower.
    Bfloat16,
}

impl Precision {
    /// The type of a pass's tensors.
    pub(super) fn dtype(self) -> FloatDType {
        match self {
            Self::Float => FloatDType::F32,
            Self::Bfloat16 => FloatDType::BF16,
        }
    }
}

/// `net`, which has leaves of its own, with the convolutions' weights and biases as leaves in bfloat16.
pub(super) fn narrowed(net: Network) -> Network {
    struct Narrow(Vec<String>);
    impl ModuleMapper for Narrow {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.0.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.0.pop();
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if !matches!(self.0.last().map(String::as_str), Some("weight" | "bias")) {
                return param;
            }
            param.map(|weight| {
                let learns = weight.is_require_grad();
                let narrow = Tensor::from_inner(weight.inner().cast(FloatDType::BF16));
                if learns { narrow.require_grad() } else { narrow }
            })
        }
    }
    net.map(&mut Narrow(Vec::new()))
}

/// Gradients of any type as float.
pub(super) fn widened(mut gradients: GradientsParams, net: &Network) -> GradientsParams {
    struct Widen<'a>(&'a mut GradientsParams);
    impl ModuleVisitor for Widen<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.remove::<D>(param.id) {
                self.0.register::<D>(param.id, gradient.cast(FloatDType::F32));
            }
        }
    }
    net.visit(&mut Widen(&mut gradients));
    gradients
}
