//! VGG-style stacks of convolutions (Simonyan and Zisserman 2015) whose inner values are compared by the feature loss.

use burn::module::{Initializer, Module, Param};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::MaxPool2dConfig;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};

use super::FeatureNet;
use crate::normals::{generator, normals};

/// The mean and deviation of ImageNet's gamma-coded red, green and blue, which torchvision's networks expect taken out.
const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
/// Channels and convolutions of VGG-16's five stages.
const VGG16: [(usize, usize); 5] = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)];
/// Those of the random stand-in.
const SMALL: [(usize, usize); 4] = [(16, 1), (32, 1), (64, 1), (64, 1)];
/// The seed of the random stand-in: the same in every run, so that their losses can be compared.
const SEED: u64 = 16;

/// Stages of 3x3 convolutions and ReLU with a halving max-pool between two.
#[derive(Module, Debug)]
pub struct Vgg {
    stages: Vec<VggStage>,
}

/// The convolutions at one resolution.
#[derive(Module, Debug)]
pub struct VggStage {
    convs: Vec<Conv2d>,
}

impl Vgg {
    /// VGG-16's shape without its classifier; the weights are to be loaded.
    pub fn vgg16(device: &Device) -> Self {
        Self::shaped(&VGG16, device)
    }

    /// A small stack with random weights (Kaiming-normal, no bias), the same on every device.
    pub fn random(device: &Device) -> Self {
        let mut net = Self::shaped(&SMALL, device);
        let mut rng = generator(SEED, 0);
        for conv in net.stages.iter_mut().flat_map(|stage| &mut stage.convs) {
            let shape = conv.weight.shape().dims::<4>();
            let deviation = (2.0 / (shape[1] * shape[2] * shape[3]) as f32).sqrt();
            let values: Vec<f32> = normals(&mut rng, shape.iter().product()).into_iter().map(|v| v * deviation).collect();
            conv.weight = Param::from_data(TensorData::new(values, shape), device);
        }
        net
    }

    /// The convolutions, stage by stage.
    pub fn stages(&mut self) -> impl Iterator<Item = &mut Vec<Conv2d>> {
        self.stages.iter_mut().map(|stage| &mut stage.convs)
    }

    fn shaped(stages: &[(usize, usize)], device: &Device) -> Self {
        let mut from = 3;
        let stage = |&(width, convs): &(usize, usize)| VggStage {
            convs: (0..convs)
                .map(|_| {
                    let conv = Conv2dConfig::new([from, width], [3, 3])
                        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                        .with_initializer(Initializer::Zeros)
                        .init(device);
                    from = width;
                    conv
                })
                .collect(),
        };
        Self { stages: stages.iter().map(stage).collect() }
    }
}

impl FeatureNet for Vgg {
    /// The values at the end of each stage, in front of its max-pool: 1, 1/2, 1/4 .. of the picture's resolution, as long as there is any left.
    fn features(&self, rgb: Tensor<4>) -> Vec<Tensor<4>> {
        let device = rgb.device();
        let [mean, deviation] = IMAGENET.map(|values| Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, 3, 1, 1]), &device));
        let mut x = (rgb - mean) / deviation;
        let mut found = Vec::with_capacity(self.stages.len());
        for (index, stage) in self.stages.iter().enumerate() {
            if index > 0 {
                if x.dims()[2].min(x.dims()[3]) < 2 {
                    break;
                }
                x = MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init().forward(x);
            }
            for conv in &stage.convs {
                x = relu(conv.forward(x));
            }
            found.push(x.clone());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::features::feature_distance;

    #[test]
    fn vgg_16_has_its_published_size() {
        // 14,714,688 weights in front of the classifier.
        assert_eq!(Vgg::vgg16(&Device::flex()).num_params(), 14_714_688);
    }

    #[test]
    fn random_features_are_the_same_each_time_and_tell_colors_and_edges_apart() {
        let device = Device::flex();
        let (one, two) = (Vgg::random(&device), Vgg::random(&device));
        let picture = |hue: f32, period: usize| {
            let value = |c: usize, x: usize| if (x / period).is_multiple_of(2) { 0.5 } else { 0.5 + hue * (c as f32 - 1.0) };
            let values: Vec<f32> = (0..3).flat_map(|c| (0..256).map(move |i| value(c, i % 16))).collect();
            Tensor::<4>::from_data(TensorData::new(values, [1, 3, 16, 16]), &device)
        };
        let sizes: Vec<[usize; 4]> = one.features(picture(0.2, 4)).iter().map(Tensor::dims).collect();
        assert_eq!(sizes, [[1, 16, 16, 16], [1, 32, 8, 8], [1, 64, 4, 4], [1, 64, 2, 2]]);
        let distance = |a: Tensor<4>, b: Tensor<4>| feature_distance(&one, a, b, &[1.0; 5]).into_scalar::<f32>();
        assert_eq!(distance(picture(0.2, 4), picture(0.2, 4)), 0.0);
        assert!(distance(picture(0.2, 4), picture(-0.2, 4)) > distance(picture(0.2, 4), picture(0.19, 4)));
        assert!(distance(picture(0.2, 4), picture(0.2, 8)) > 0.01);
        for (a, b) in one.features(picture(0.2, 4)).into_iter().zip(two.features(picture(0.2, 4))) {
            assert_eq!((a - b).abs().max().into_scalar::<f32>(), 0.0);
        }
    }
}
