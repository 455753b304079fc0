//! The network that looks for the feature loss, from its file where it has one.

use anyhow::Context;
use burn::module::Module;
use burn::tensor::Device;
use burn_store::{ModuleSnapshot, PytorchStore};

use crate::losses::features::{FeatureConfig, FeatureNet, FeatureNetKind};
use crate::nets::vgg::Vgg;

/// Where torchvision's VGG-16 has the convolutions of the five stages, by their index in `features`.
const TORCHVISION: [&[usize]; 5] = [&[0, 2], &[5, 7], &[10, 12, 14], &[17, 19, 21], &[24, 26, 28]];

/// Makes the network that `config` names; its weights never learn.
///
/// # Errors
/// If its file is not given, cannot be read, or holds another network.
pub(super) fn open(config: &FeatureConfig, device: &Device) -> anyhow::Result<Box<dyn FeatureNet>> {
    match config.net {
        FeatureNetKind::Random => Ok(Box::new(Vgg::random(device).no_grad())),
        FeatureNetKind::Vgg16 => {
            let file = config.weights.as_ref().context("loss.feature.net = \"vgg16\" without loss.feature.weights")?;
            let mut net = Vgg::vgg16(device);
            let mut store = PytorchStore::from_file(file).allow_partial(false);
            for (stage, convs) in TORCHVISION.iter().enumerate() {
                for (conv, index) in convs.iter().enumerate() {
                    store = store.with_key_remapping(format!(r"^features\.{index}\."), format!("stages.{stage}.convs.{conv}."));
                }
            }
            net.load_from(&mut store)
                .map_err(|e| anyhow::anyhow!("{e}"))
                .with_context(|| format!("load VGG-16 from {}", file.display()))?;
            Ok(Box::new(net.no_grad()))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use std::fs;

    use burn::module::ModuleVisitor;
    use burn::module::Param;
    use burn::tensor::Tensor;

    use super::*;

    #[test]
    fn a_file_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vgg16.pth");
        let config = FeatureConfig { net: FeatureNetKind::Vgg16, weights: Some(file.clone()), ..FeatureConfig::default() };
        let said = |config: &FeatureConfig| format!("{:#}", open(config, &Device::flex()).err().unwrap());
        assert!(said(&config).contains("vgg16.pth"), "{}", said(&config));
        fs::write(&file, b"not a file of PyTorch").unwrap();
        assert!(said(&config).contains("vgg16.pth"), "{}", said(&config));
    }

    #[test]
    fn what_looks_never_learns() {
        struct Learning(usize);
        impl ModuleVisitor for Learning {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0 += usize::from(param.val().is_require_grad());
            }
        }
        let device = Device::flex().autodiff();
        let mut learning = Learning(0);
        Vgg::random(&device).visit(&mut learning);
        assert!(learning.0 > 0, "a fresh network learns");
        let net = open(&FeatureConfig::default(), &device).unwrap();
        let picture = Tensor::<4>::full([1, 3, 8, 8], 0.5, &device).require_grad();
        let gradients = net.features(picture.clone()).remove(2).sum().backward();
        assert!(picture.grad(&gradients).unwrap().abs().sum().into_scalar::<f32>() > 0.0, "the picture does not see what is seen in it");
        learning.0 = 0;
        Vgg::random(&device).no_grad().visit(&mut learning);
        assert_eq!(learning.0, 0);
    }
}
