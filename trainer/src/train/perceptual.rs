//! The network that looks for the feature loss, from its file where it has one.

use anyhow::{Context, ensure};
use burn::module::{Module, Param};
use burn::tensor::{Device, TensorData};

use crate::checkpoint;
use crate::losses::features::{FeatureConfig, FeatureNetKind};
use crate::nets::FeatureNet;
use crate::nets::lite0_unet::Encoder;
use crate::nets::vgg::Vgg;
use crate::pretrained::{self, Tensors};

/// Makes the network that `config` names; its weights never learn.
///
/// # Errors
/// If its file is not given, cannot be read, or holds another network.
pub(super) fn open(config: &FeatureConfig, device: &Device) -> anyhow::Result<Box<dyn FeatureNet>> {
    let file = || config.weights.as_ref().with_context(|| format!("loss.feature.weights is not given; {:?} needs it", config.net));
    match config.net {
        FeatureNetKind::Random => Ok(Box::new(Vgg::random(device).no_grad())),
        FeatureNetKind::Vgg16 => {
            let file = file()?;
            let mut net = Vgg::vgg16(device);
            pretrained::read(file)
                .and_then(|tensors| fill(&mut net, &tensors, device))
                .with_context(|| format!("load VGG-16 from {}", file.display()))?;
            Ok(Box::new(net.no_grad()))
        }
        FeatureNetKind::Lite0 => {
            let file = file()?;
            let net = checkpoint::load_weights(Encoder::new(device), file)
                .with_context(|| format!("load a pretrained encoder; convert-encoder writes such files: {}", file.display()))?;
            Ok(Box::new(net.no_grad()))
        }
    }
}

/// Gives the convolutions of `net` the weights that torchvision's VGG-16 has under `features`.
fn fill(net: &mut Vgg, tensors: &Tensors, device: &Device) -> anyhow::Result<()> {
    // A convolution and its ReLU are two places, a max-pool between stages is one.
    let mut place = 0;
    for stage in net.stages() {
        for conv in stage {
            let get = |part: &str, shape: &[usize]| {
                let name = format!("features.{place}.{part}");
                let (found, values) =
                    tensors.get(&name).with_context(|| format!("it has no {name:?}; VGG-16 without batch normalization is expected"))?;
                ensure!(found == shape, "{name:?} is {found:?}; {shape:?} is expected");
                Ok(TensorData::new(values.clone(), shape.to_vec()))
            };
            let shape = conv.weight.shape().dims::<4>();
            conv.weight = Param::from_data(get("weight", &shape)?, device);
            conv.bias = Some(Param::from_data(get("bias", &shape[..1])?, device));
            place += 2;
        }
        place += 1;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use std::fs;

    use burn::module::ModuleVisitor;
    use burn::module::Param;
    use burn::tensor::Tensor;

    use super::*;
    use crate::files;

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

    #[test]
    fn every_convolution_gets_the_weights_of_its_place() {
        let device = Device::flex();
        // torchvision's places of VGG-16's thirteen convolutions, each filled with its own number.
        let places = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28];
        let mut net = Vgg::vgg16(&device);
        let shapes: Vec<[usize; 4]> = net.stages().flatten().map(|conv| conv.weight.shape().dims::<4>()).collect();
        let mut tensors = Tensors::new();
        for (place, shape) in places.iter().zip(&shapes) {
            tensors.insert(format!("features.{place}.weight"), (shape.to_vec(), vec![*place as f32; shape.iter().product()]));
            tensors.insert(format!("features.{place}.bias"), (vec![shape[0]], vec![*place as f32 + 0.5; shape[0]]));
        }
        fill(&mut net, &tensors, &device).unwrap();
        for (conv, place) in net.stages().flatten().zip(places) {
            let first = |values: TensorData| values.try_into_vec::<f32>().unwrap()[0];
            let found = (first(conv.weight.val().into_data()), first(conv.bias.as_ref().unwrap().val().into_data()));
            assert_eq!(found, (place as f32, place as f32 + 0.5));
        }
        tensors.remove("features.17.bias");
        let said = format!("{:#}", fill(&mut net, &tensors, &device).unwrap_err());
        assert!(said.contains("features.17.bias"), "{said}");
    }

    #[test]
    fn the_encoder_of_a_file_looks_at_each_color_by_itself() {
        let device = Device::flex();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("encoder.bpk");
        files::write_atomically(&file, &Encoder::new(&device).into_record().into_bytes().unwrap()).unwrap();
        let net = open(&FeatureConfig { net: FeatureNetKind::Lite0, weights: Some(file), ..FeatureConfig::default() }, &device).unwrap();
        let picture = |rgb: [f32; 3]| {
            let values: Vec<f32> = (0..3).flat_map(|c| (0..1024).map(move |i| rgb[c] * (i as f32 / 9.0).sin())).collect();
            Tensor::<4>::from_data(TensorData::new(values, [1, 3, 32, 32]), &device)
        };
        let found = net.features(picture([0.2, 0.4, 0.6]));
        assert_eq!(found.iter().map(Tensor::dims).collect::<Vec<_>>(), [[3, 24, 8, 8], [3, 40, 4, 4], [3, 112, 2, 2], [3, 320, 1, 1]]);
        let swapped = net.features(picture([0.4, 0.2, 0.6]));
        let apart = |from: usize, to: usize| {
            (found[0].clone().narrow(0, from, 1) - swapped[0].clone().narrow(0, to, 1)).abs().max().into_scalar::<f32>()
        };
        assert!(apart(0, 1) < 1e-6 && apart(2, 2) < 1e-6 && apart(0, 0) > 1e-3);
    }
}
