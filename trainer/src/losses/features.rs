//! The feature (perceptual) loss: two pictures are compared by what a fixed network sees in them (Johnson et al. 2016).

use std::path::PathBuf;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::nets::FeatureNet;

/// Which network looks, and how much it counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeatureConfig {
    /// Its weight in the sum.
    pub weight: f32,
    /// The network that looks.
    pub net: FeatureNetKind,
    /// The file of the network's weights, for a kind that needs one. Nothing is downloaded.
    pub weights: Option<PathBuf>,
    /// The weight of each map of features, shallowest first; maps beyond the list do not count. DeOldify has 0, 0, 20, 70, 10 for VGG-16's.
    pub layers: Vec<f32>,
}

impl Default for FeatureConfig {
    fn default() -> Self {
        Self { weight: 1.0, net: FeatureNetKind::Random, weights: None, layers: vec![1.0; 5] }
    }
}

/// A network whose inner values are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeatureNetKind {
    /// A small VGG-style network with random weights, always the same: a stand-in. Random features know edges, textures and colors, but no things;
    /// they are known as a weak perceptual metric (Zhang et al. 2018).
    #[default]
    Random,
    /// VGG-16 without batch normalization, with the weights of a PyTorch file as torchvision publishes it.
    Vgg16,
    /// EfficientNet-lite0's early layers, with the weights of a file that `convert-encoder` wrote. It knows grey pictures: red, green and blue are looked
    /// at one by one.
    Lite0,
}

impl FeatureNetKind {
    /// The smaller side that a picture must have, in pixels of the network's output. VGG-style networks leave out the maps that nothing is left of.
    pub fn side_min(self) -> usize {
        match self {
            Self::Random | Self::Vgg16 => 1,
            Self::Lite0 => 32,
        }
    }
}

/// The weighted sum, over the maps of features, of the mean absolute difference between those of `found` and of `truth`.
///
/// The truth learns nothing, and neither does a network whose weights were put aside by [`burn::module::Module::no_grad`].
pub fn feature_distance(net: &dyn FeatureNet, found: Tensor<4>, truth: Tensor<4>, layers: &[f32]) -> Tensor<1> {
    let device = found.device();
    let seen = net.features(found);
    let wanted = net.features(truth);
    let mut sum = Tensor::zeros([1], &device);
    for ((seen, wanted), &weight) in seen.into_iter().zip(wanted).zip(layers) {
        if weight != 0.0 {
            sum = sum + (seen - wanted.detach()).abs().mean() * weight;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    /// The picture itself, and its negative doubled.
    struct Simple;

    impl FeatureNet for Simple {
        fn features(&self, rgb: Tensor<4>) -> Vec<Tensor<4>> {
            vec![rgb.clone(), rgb * -2.0, Tensor::full([1, 1, 1, 1], f32::NAN, &Device::flex())]
        }
    }

    #[test]
    fn each_map_counts_by_its_weight_and_the_rest_not_at_all() {
        let tensor = |values: [f32; 3]| Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, 3, 1, 1]), &Device::flex());
        let (found, truth) = (tensor([0.5, 0.2, 0.0]), tensor([0.2, 0.2, 0.3]));
        // Mean differences .2 and .4.
        let value = feature_distance(&Simple, found, truth, &[10.0, 5.0]).into_scalar::<f32>();
        assert!((value - (2.0 + 2.0)).abs() < 1e-5, "{value}");
    }

    #[test]
    fn only_the_found_picture_learns() {
        let device = Device::flex().autodiff();
        let tensor = |value: f32| Tensor::<4>::full([1, 3, 2, 2], value, &device).require_grad();
        let (found, truth) = (tensor(0.1), tensor(0.7));
        let gradients = feature_distance(&Simple, found.clone(), truth.clone(), &[1.0]).backward();
        assert!(found.grad(&gradients).is_some() && truth.grad(&gradients).is_none());
    }
}
