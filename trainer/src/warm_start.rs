//! An exported float file as the weights that a run begins with.
//!
//! Exporting folds every batch normalization into its convolution. The way back has to make one up: with y the folded convolution without
//! its bias, m and v the mean and variance of y per channel, gamma = sqrt(v + epsilon) and beta = bias + m give y + bias again, whatever m
//! and v are. They are measured on training data, so that the normalization by a batch's own statistics, which training uses, starts
//! from the same function too.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use autochrome_model::contract::{self, Output};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use tract_onnx::pb::ModelProto;

use crate::config::RunConfig;
use crate::data::lanes::Lanes;
use crate::export::calibrate;
use crate::export::fold::{initializer, tensor_floats};
use crate::export::resize;
use crate::nets::layers::NORM_EPSILON;
use crate::nets::{NetConfig, Network};

/// Frames of training data that the statistics are measured on.
const FRAMES: usize = 256;
/// A fresh filter's norm is this (Kaiming, gain sqrt(2)); a folded one is brought back to it, so that a step of the optimizer turns it as far
/// as it would turn a fresh one.
const FILTER_NORM: f64 = std::f64::consts::SQRT_2;

/// A parameter's shape and values.
type Values = (Vec<usize>, Vec<f32>);

/// `net` with the weights of the exported float file `file`. Residual blocks that the file does not have stay as they are: a fresh one adds
/// nothing yet, so the network computes what the file does.
///
/// `lanes` plays training data at the training's size, one lane.
///
/// # Errors
/// If the file cannot be read, is no float file of this family, or has other shapes or bins than `config` says.
pub fn load(net: Network, file: &Path, config: &RunConfig, lanes: &Lanes) -> anyhow::Result<Network> {
    let what = || format!("start from {}", file.display());
    let bytes = std::fs::read(file).with_context(what)?;
    let model = contract::parse(&bytes).with_context(what)?;
    load_model(net, &model, config, lanes).with_context(what)
}

fn load_model(net: Network, model: &ModelProto, config: &RunConfig, lanes: &Lanes) -> anyhow::Result<Network> {
    // The families whose parameters the file names as the network does, with a normalization behind every `conv` and nowhere else.
    let depth = match &config.net {
        NetConfig::RecurrentUnet(shape) => format!(" (net.deep_blocks = {})", shape.deep_blocks),
        NetConfig::Lite0Unet(_) => String::new(),
        _ => bail!("a file can start a network of the families recurrent-unet and lite0-unet; others start from a checkpoint's folder"),
    };
    let promise = contract::check(model)?;
    ensure!(!promise.quantized, "it holds int8 weights; give the float file that it was made from");
    ensure!(
        promise.card.output == Output::ColorLogits { centers: config.centers()?.to_vec() },
        "it has other bins than {:?}, which the configuration names",
        config.bins
    );
    let sized = resize::at_size(model, lanes.config().width, lanes.config().height)?;
    let moments = moments(&sized, lanes)?;
    let mut fill = Fill { path: Vec::new(), values: parameters(model, &moments)?, used: HashSet::new(), problem: None };
    let net = net.map(&mut fill);
    if let Some(problem) = fill.problem {
        bail!("{problem}");
    }
    if let Some(left) = fill.values.keys().find(|name| !fill.used.contains(*name)) {
        bail!("it has {left:?}, which the configuration's network{depth} has not");
    }
    Ok(net)
}

/// Mean and variance of each channel of each convolution's output, by the weight's name.
fn moments(float: &ModelProto, lanes: &Lanes) -> anyhow::Result<HashMap<String, Vec<[f64; 2]>>> {
    let graph = float.graph.as_ref().context("it has no graph")?;
    let convs: HashMap<&str, (&str, usize)> = graph
        .node
        .iter()
        .filter(|node| node.op_type == "Conv")
        .map(|node| {
            Ok((
                node.output[0].as_str(),
                (node.input[1].as_str(), initializer(graph, &node.input[1])?.dims.first().map_or(1, |&d| d as usize)),
            ))
        })
        .collect::<anyhow::Result<_>>()?;
    let mut sums: HashMap<String, (f64, Vec<[f64; 2]>)> = HashMap::new();
    let chunks = FRAMES.div_ceil(lanes.config().chunk_frames) as u64;
    calibrate::watch(float, lanes, chunks, &mut |name, values| {
        let Some((weight, channels)) = convs.get(name) else { return };
        let (count, sums) = sums.entry((*weight).to_owned()).or_insert_with(|| (0.0, vec![[0.0; 2]; *channels]));
        let pixels = (values.len() / (*channels).max(1)).max(1);
        *count += pixels as f64;
        for (sum, values) in sums.iter_mut().zip(values.chunks_exact(pixels)) {
            for &v in values {
                sum[0] += f64::from(v);
                sum[1] += f64::from(v) * f64::from(v);
            }
        }
    })?;
    let finished = |(count, sums): (f64, Vec<[f64; 2]>)| {
        sums.into_iter().map(|[sum, square]| [sum / count, (square / count - (sum / count).powi(2)).max(0.0)]).collect()
    };
    Ok(sums.into_iter().map(|(name, sums)| (name, finished(sums))).collect())
}

/// Every parameter of the network by its path: the file's initializers, and a normalization for each convolution that one was folded into.
fn parameters(model: &ModelProto, moments: &HashMap<String, Vec<[f64; 2]>>) -> anyhow::Result<HashMap<String, Values>> {
    let graph = model.graph.as_ref().context("it has no graph")?;
    let read = |name: &str| -> anyhow::Result<Values> {
        let tensor = initializer(graph, name)?;
        let (dims, values): (Vec<usize>, _) = (tensor.dims.iter().map(|&d| d as usize).collect(), tensor_floats(tensor)?);
        ensure!(
            values.len() == dims.iter().product::<usize>() && !values.is_empty() && !dims.is_empty(),
            "{name:?} is {dims:?} and holds {} values",
            values.len()
        );
        Ok((dims, values))
    };
    let mut all = HashMap::new();
    for node in graph.node.iter().filter(|node| node.op_type == "Conv") {
        let name = &node.input[1];
        let (dims, mut weight) = read(name)?;
        let bias = node.input.get(2).map(|bias| read(bias)).transpose()?;
        // Only convolutions in front of a normalization are called `conv`; see `nets`.
        let Some(stage) = name.strip_suffix("conv.weight") else {
            all.insert(name.clone(), (dims, weight));
            if let (Some(bias_name), Some(bias)) = (node.input.get(2), bias) {
                all.insert(bias_name.clone(), bias);
            }
            continue;
        };
        let (_, bias) = bias.with_context(|| format!("{name:?} has no bias; its normalization was not folded"))?;
        let moments = moments.get(name).with_context(|| format!("{name:?} was not measured"))?;
        let channels = dims[0];
        let filter_len = weight.len() / channels;
        ensure!(bias.len() == channels && moments.len() == channels, "{name:?} is {dims:?}; its bias has {} values", bias.len());
        let mut norm: [Vec<f32>; 4] = Default::default();
        for (channel, filter) in weight.chunks_exact_mut(filter_len).enumerate() {
            let length = filter.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
            let factor = if length > 0.0 { FILTER_NORM / length } else { 1.0 };
            filter.iter_mut().for_each(|v| *v = (f64::from(*v) * factor) as f32);
            let bias = f64::from(bias[channel]);
            let (mean, variance) = (factor * (moments[channel][0] - bias), factor * factor * moments[channel][1]);
            // As the forward pass will see them: rounded to f32 first.
            let (mean, variance) = (mean as f32, variance as f32);
            let values = [(f64::from(variance) + NORM_EPSILON).sqrt() / factor, bias + f64::from(mean) / factor];
            for (all, value) in norm.iter_mut().zip([values[0] as f32, values[1] as f32, mean, variance]) {
                all.push(value);
            }
        }
        all.insert(name.clone(), (dims, weight));
        for (field, values) in ["gamma", "beta", "running_mean", "running_var"].into_iter().zip(norm) {
            all.insert(format!("{stage}norm.{field}"), (vec![channels], values));
        }
    }
    Ok(all)
}

/// Puts values where their paths say.
struct Fill {
    path: Vec<String>,
    values: HashMap<String, Values>,
    used: HashSet<String>,
    problem: Option<String>,
}

impl ModuleMapper for Fill {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // Without the family, which stands first.
        let path = self.path[1..].join(".");
        let wanted = param.val().dims();
        let Some((dims, values)) = self.values.get(&path) else {
            // A residual block more than the file has.
            if !path.starts_with("deep.") {
                self.problem.get_or_insert(format!("it has no {path:?}"));
            }
            return param;
        };
        if dims[..] != wanted[..] {
            self.problem.get_or_insert(format!(
                "its {path:?} is {dims:?}, and {wanted:?} in the configuration's network (net.widths, net.head_width)"
            ));
            return param;
        }
        self.used.insert(path);
        let data = TensorData::new(values.clone(), wanted);
        param.map(|old| {
            let new = Tensor::from_data(data, &old.device());
            if old.is_require_grad() { new.require_grad() } else { new }
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use std::sync::Arc;

    use autochrome_model::{Colorizer, Plane};
    use burn::tensor::Device;
    use prost::Message;

    use super::*;
    use crate::data::lanes::LaneConfig;
    use crate::data::shard::test_sets::small_set;
    use crate::data::split::Split;
    use crate::export::{Provenance, float_model};
    use crate::nets::lite0_unet::Lite0UNetConfig;
    use crate::nets::recurrent_unet::RecurrentUNetConfig;
    use crate::nets::test_nets::{settled, small};

    fn config() -> RunConfig {
        RunConfig { input_size: [48, 32], net: small(1), ..RunConfig::default() }
    }

    fn lanes(folder: &Path) -> Lanes {
        let data = LaneConfig { lanes: 1, chunk_frames: 2, chunks_per_item: 2, width: 32, height: 32, ..LaneConfig::default() };
        Lanes::new(Arc::new(small_set(folder)), Split::Train, data).unwrap()
    }

    fn exported(net: &Network, config: &RunConfig) -> ModelProto {
        float_model(net, config, &Provenance { training: "made up".into(), license: "none".into() }).unwrap()
    }

    fn trained(config: &RunConfig) -> ModelProto {
        exported(&settled(&config.net, config.centers().unwrap().len(), 7), config)
    }

    fn fresh(config: &RunConfig, device: &Device) -> Network {
        config.fresh_network(device).unwrap()
    }

    /// The greatest difference of a logit or a state over a few frames.
    fn difference(found: &ModelProto, expected: &ModelProto) -> f32 {
        let mut both = [found, expected].map(|model| Colorizer::from_proto("it", model).unwrap());
        let (width, height) = (both[0].contract().width, both[0].contract().height);
        let mut worst = 0.0_f32;
        for frame in 0..4 {
            let value = |i: usize| 50.0 + 45.0 * ((i % width) as f32 / 7.0 + (i / width) as f32 / 5.0 + frame as f32).sin();
            let plane = Plane::from_vec(width, height, (0..width * height).map(value).collect());
            both.iter_mut().for_each(|colorizer| colorizer.advance(&plane).unwrap());
            let [found, expected] = &both;
            let values = |colorizer: &Colorizer| -> Vec<f32> {
                colorizer.raw_output().iter().copied().chain(colorizer.states().iter().flat_map(|s| s.iter().copied())).collect()
            };
            worst = values(found).iter().zip(values(expected)).map(|(f, e)| (f - e).abs()).fold(worst, f32::max);
        }
        worst
    }

    #[test]
    fn a_network_that_starts_from_a_file_computes_what_the_file_does() {
        let folder = tempfile::tempdir().unwrap();
        let lanes = lanes(folder.path());
        let file = trained(&config());
        assert!(difference(&exported(&fresh(&config(), &Device::flex()), &config()), &file) > 0.1, "any network would pass");
        // With residual blocks that the file has not, too: they add nothing yet.
        for deep_blocks in [1, 3] {
            let mut config = config();
            config.net = small(deep_blocks);
            let device = Device::flex().autodiff();
            let net = load_model(fresh(&config, &device), &file, &config, &lanes).unwrap();
            let error = difference(&exported(&net.valid(), &config), &file);
            assert!(error <= 1e-4, "{deep_blocks} blocks: {error}");
        }
    }

    #[test]
    fn a_network_on_the_pretrained_encoder_starts_from_its_file_too() {
        let folder = tempfile::tempdir().unwrap();
        let lanes = lanes(folder.path());
        let net = NetConfig::Lite0Unet(Lite0UNetConfig { widths: [4, 6, 8, 12], head_width: 6, frozen_stages: 3 });
        let config = RunConfig { input_size: [64, 32], net, ..RunConfig::default() };
        let file = trained(&config);
        let device = Device::flex().autodiff();
        let fresh = fresh(&config, &device);
        let strange = difference(&exported(&fresh.valid(), &config), &file);
        let error = difference(&exported(&load_model(fresh, &file, &config, &lanes).unwrap().valid(), &config), &file);
        assert!(error <= 1e-4 && strange > 0.1, "{error}; {strange} of any other");
    }

    #[test]
    fn training_starts_from_the_files_function_and_reaches_every_weight() {
        let folder = tempfile::tempdir().unwrap();
        let (config, lanes) = (config(), lanes(folder.path()));
        let device = Device::flex().autodiff();
        let net = load_model(fresh(&config, &device), &trained(&config), &config, &lanes).unwrap();
        let mut planes = Vec::new();
        for number in 0..64 {
            planes.extend(lanes.chunk(number).lightness);
        }
        let frames = planes.len() / (32 * 32);
        let run = |net: &Network, device: &Device| {
            let lightness = Tensor::from_data(TensorData::new(planes.clone(), [frames, 1, 32, 32]), device);
            net.forward(lightness, config.net.zero_states(frames, 32, 32, device)).0
        };
        let values = |tensor: Tensor<4>| tensor.into_data().try_into_vec::<f32>().unwrap();
        let plain = values(run(&net.valid(), &Device::flex()));
        // In training the normalization takes the batch's statistics; measured on such data, they are nearly those that were put in.
        let logits = run(&net, &device);
        let training = values(logits.clone().inner());
        let mean = plain.iter().sum::<f32>() / plain.len() as f32;
        let deviation = |of: &dyn Fn(usize) -> f32| (0..plain.len()).map(|i| f64::from(of(i)).powi(2)).sum::<f64>().sqrt();
        let share = deviation(&|i| training[i] - plain[i]) / deviation(&|i| plain[i] - mean);
        assert!(share < 0.3, "{share} of the logits' deviation");
        let gradients = burn::optim::GradientsParams::from_grads(logits.square().mean().backward(), &net);
        // 12 convolutions with a gamma and a beta, two cells of four convolutions and two biases, the head.
        assert_eq!(gradients.len(), 12 * 3 + 2 * 6 + 2, "a parameter gets no gradient, or a statistic does");
    }

    #[test]
    fn files_of_other_networks_are_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let lanes = lanes(folder.path());
        let refused = |file: &ModelProto, change: &dyn Fn(&mut RunConfig)| {
            let mut config = config();
            change(&mut config);
            format!("{:#}", load_model(fresh(&config, &Device::flex()), file, &config, &lanes).unwrap_err())
        };
        let file = trained(&config());
        let said = refused(&file, &|c| {
            c.net = NetConfig::RecurrentUnet(RecurrentUNetConfig { widths: [4, 8, 8, 12], deep_blocks: 1, head_width: 6 });
        });
        assert!(said.contains("\"to_quarter.conv.weight\" is [6, 4, 3, 3], and [8, 4, 3, 3]"), "{said}");
        let said = refused(&file, &|c| c.net = small(0));
        assert!(said.contains("\"deep.0.") && said.contains("net.deep_blocks = 0"), "{said}");
        let said = refused(&file, &|c| c.bins = "zhang-313".into());
        assert!(said.contains("zhang-313"), "{said}");
        let mut renamed = file.clone();
        let graph = renamed.graph.as_mut().unwrap();
        let names = graph.initializer.iter_mut().map(|t| &mut t.name).chain(graph.node.iter_mut().flat_map(|n| &mut n.input));
        names.filter(|name| *name == "head.weight").for_each(|name| *name = "other.weight".into());
        assert!(refused(&renamed, &|_| {}).contains("head.weight"));
        // From the file, as the command line does it: what was wanted of which file stands in front.
        let path = folder.path().join("file.onnx");
        std::fs::write(&path, &file.encode_to_vec()[..1000]).unwrap();
        let said = format!("{:#}", load(fresh(&config(), &Device::flex()), &path, &config(), &lanes).unwrap_err());
        assert!(said.starts_with("start from") && said.contains("file.onnx"), "{said}");
    }
}
