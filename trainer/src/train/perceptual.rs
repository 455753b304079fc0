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
            let file = config.weights.as_ref().context(
                "loss.feature.net is \"vgg16\", which needs its weights: give the path of a VGG-16 file of PyTorch in loss.feature.weights",
            )?;
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
