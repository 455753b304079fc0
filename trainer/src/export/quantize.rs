//! ONNX to ONNX: int8 in the QDQ form. Per-channel symmetric int8 weights, per-tensor 8-bit activations, int32 biases; gates and state stay float.
//!
//! QuantizeLinear and DequantizeLinear stand behind every ReLU and upsampling and in front of every convolution. Tensors that are moved but
//! not computed (upsampling, concatenation, slices) share the parameters of what they are made from, so that a runtime may move bytes instead.

use std::collections::{HashMap, HashSet};

use anyhow::Context;
use autochrome_model::contract;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, tensor_proto::DataType};

use super::calibrate::Ranges;
use super::fold::{initializer, tensor, tensor_floats};
use crate::nets::fake_quant::{Count, Grid, Grids};

/// The largest bias of a channel, in units of its scale: as many as a float has digits.
const BIAS_UNITS: f32 = (1 << 23) as f32;
/// The operators that move values without changing them.
const MOVING: [&str; 3] = ["Resize", "Slice", "Concat"];

/// Quantizes a float model whose normalizations are folded.
///
/// # Errors
/// If a tensor that needs a range has none, or a weight is no float initializer.
pub fn quantize(float: &ModelProto, ranges: &Ranges) -> anyhow::Result<ModelProto> {
    let mut model = float.clone();
    let graph = model.graph.as_mut().context("the model has no graph")?;
    let parameters = activation_parameters(graph, ranges)?;
    let nodes = std::mem::take(&mut graph.node);
    let mut quantized = HashSet::new();
    let mut out = Vec::with_capacity(nodes.len() * 4);
    let graph_inputs: Vec<String> = graph.input.iter().map(|i| i.name.clone()).collect();
    for name in graph_inputs.iter().filter(|name| parameters.contains_key(*name)) {
        pair(graph, &mut out, name, parameters[name]);
        quantized.insert(name.clone());
    }
    for mut node in nodes {
        let is_conv = node.op_type == "Conv";
        // Arithmetic of the gates keeps the float values; convolutions and moved values take the quantized ones.
        if is_conv || MOVING.contains(&node.op_type.as_str()) {
            for input in node.input.iter_mut().filter(|input| quantized.contains(*input)) {
                *input = dequantized(input);
            }
        } else if node.op_type == "Add" && node.input.iter().all(|input| !is_state(graph, input)) {
            // A residual sum reads what its branches read.
            for input in node.input.iter_mut().filter(|input| quantized.contains(*input)) {
                *input = dequantized(input);
            }
        }
        if node.op_type == "Clip" {
            let behind = parameters.get(&node.output[0]).copied();
            relax_clip(graph, &mut node, behind)?;
        }
        if is_conv {
            let scale = parameters.get(node.input[0].trim_end_matches(DEQUANTIZED)).context("a convolution's input has no range")?.0;
            quantize_weights(graph, &mut out, &mut node, scale)?;
        }
        let outputs = node.output.clone();
        out.push(node);
        for name in outputs.iter().filter(|name| parameters.contains_key(*name)) {
            pair(graph, &mut out, name, parameters[name]);
            quantized.insert(name.clone());
        }
    }
    graph.node = out;
    // Shapes of the float file's inner tensors say nothing about the new ones.
    graph.value_info.clear();
    Ok(model)
}

/// The values that [`quantize`] leaves to the activations of `float`, in the order of the graph, which is the order of a pass.
///
/// # Errors
/// If a tensor that needs a range has none.
pub fn grids(float: &ModelProto, ranges: &Ranges) -> anyhow::Result<Grids> {
    let graph = float.graph.as_ref().context("the model has no graph")?;
    let parameters = activation_parameters(graph, ranges)?;
    let grid = |(scale, zero_point)| Grid { scale, zero_point };
    let of = |name: &String| parameters.get(name).copied();
    let of_node = |node: &NodeProto| of(&node.output[0]).map(grid).with_context(|| format!("{:?} has no range", node.output[0]));
    let apart = |node: &&NodeProto| node.input.iter().any(|input| of(input) != of(&node.output[0]));
    Ok(Grids {
        lightness: of(&contract::LIGHTNESS.to_owned()).map(grid).context("the input has no range")?,
        relus: relus(graph).map(of_node).collect::<anyhow::Result<_>>()?,
        linear: linear(graph).into_iter().map(of_node).collect::<anyhow::Result<_>>()?,
        concatenations: concatenations(graph).map(|node| Some(node).filter(apart).and_then(|node| of(&node.output[0])).map(grid)).collect(),
        state: grid(scale_and_zero_point(-1.0, 1.0)),
    })
}

/// How many activations of each kind `float` has.
pub fn count(float: &ModelProto) -> Count {
    let of = |graph: &GraphProto| Count {
        relus: relus(graph).count(),
        linear: linear(graph).len(),
        concatenations: concatenations(graph).count(),
    };
    float.graph.as_ref().map(of).unwrap_or_default()
}

/// A Clip is a ReLU that ends.
fn relus(graph: &GraphProto) -> impl Iterator<Item = &NodeProto> {
    graph.node.iter().filter(|node| node.op_type == "Relu" || node.op_type == "Clip")
}

/// What goes into a convolution as another gave it, or as a sum.
fn linear(graph: &GraphProto) -> Vec<&NodeProto> {
    let read: HashSet<&String> = convolutions(graph).map(|node| &node.input[0]).collect();
    let makes = |node: &&NodeProto| ["Conv", "Add"].contains(&node.op_type.as_str()) && read.contains(&node.output[0]);
    graph.node.iter().filter(makes).collect()
}

fn concatenations(graph: &GraphProto) -> impl Iterator<Item = &NodeProto> {
    graph.node.iter().filter(|node| node.op_type == "Concat")
}

fn convolutions(graph: &GraphProto) -> impl Iterator<Item = &NodeProto> {
    graph.node.iter().filter(|node| node.op_type == "Conv")
}

const DEQUANTIZED: &str = "_dequantized";

fn dequantized(name: &str) -> String {
    format!("{name}{DEQUANTIZED}")
}

/// Turns a Clip from 0 into the ReLU that runtimes know best, where the quantization behind it cuts off no later than the Clip does.
fn relax_clip(graph: &mut GraphProto, clip: &mut NodeProto, parameters: Option<(f32, u8)>) -> anyhow::Result<()> {
    let bound = |graph: &GraphProto, index: usize| tensor_floats(initializer(graph, &clip.input[index])?);
    let (least, greatest) = (bound(graph, 1)?, bound(graph, 2)?);
    if let (&[0.0], &[greatest], Some((scale, 0))) = (&least[..], &greatest[..], parameters)
        && scale * 255.0 <= greatest * 1.0001
    {
        let bounds: Vec<String> = clip.input.drain(1..).collect();
        graph.initializer.retain(|tensor| !bounds.contains(&tensor.name));
        clip.op_type = "Relu".into();
    }
    Ok(())
}

fn is_state(graph: &GraphProto, name: &str) -> bool {
    graph.input.iter().any(|input| input.name == name && name.starts_with("state_"))
}

/// Scale and zero point of every tensor that is quantized.
fn activation_parameters(graph: &GraphProto, ranges: &Ranges) -> anyhow::Result<HashMap<String, (f32, u8)>> {
    let conv_inputs = convolutions(graph).map(|n| &n.input[0]);
    let relus = relus(graph).map(|n| &n.output[0]);
    let resized = graph.node.iter().filter(|n| n.op_type == "Resize").map(|n| &n.output[0]);
    let wanted: HashSet<&String> = conv_inputs.chain(relus).chain(resized).collect();
    // (low, high) of a tensor; the state and its gated form are bounded by construction, whatever the calibration clips showed.
    let range = |name: &str| -> anyhow::Result<(f32, f32)> {
        if is_state(graph, name) || graph.node.iter().any(|n| n.output.iter().any(|o| o == name) && n.op_type == "Mul") {
            return Ok((-1.0, 1.0));
        }
        let &(low, high) = ranges.of.get(name).with_context(|| format!("{name:?} was not calibrated"))?;
        Ok((low.min(0.0), high.max(0.0)))
    };
    let mut groups: HashMap<String, (f32, f32)> = HashMap::new();
    for name in &wanted {
        groups.insert((*name).clone(), range(name)?);
    }
    // Moved tensors share one range. A concatenation with a signed partner (a state) keeps one of its own: sharing it would cost
    // the non-negative partner half of its levels and the ReLU that saturation gives for free.
    loop {
        let before = groups.clone();
        for node in graph.node.iter().filter(|n| MOVING.contains(&n.op_type.as_str())) {
            let inputs = if node.op_type == "Concat" { &node.input[..] } else { &node.input[..1] };
            let members: Vec<&String> = inputs.iter().chain(&node.output).filter(|name| groups.contains_key(*name)).collect();
            let whole = members.len() == inputs.len() + node.output.len();
            if !whole || members.iter().any(|name| groups[*name].0 < 0.0) {
                continue;
            }
            let high = members.iter().map(|name| groups[*name].1).fold(0.0, f32::max);
            for name in members {
                groups.insert(name.clone(), (0.0, high));
            }
        }
        if groups == before {
            break;
        }
    }
    Ok(groups.into_iter().map(|(name, (low, high))| (name, scale_and_zero_point(low, high))).collect())
}

/// The 8-bit parameters of a range that contains zero, so that zero is exact.
fn scale_and_zero_point(low: f32, high: f32) -> (f32, u8) {
    let scale = ((high - low) / 255.0).max(1e-8);
    (scale, (-low / scale).round().clamp(0.0, 255.0) as u8)
}

fn node(op_type: &str, name: String, inputs: Vec<String>, output: String) -> NodeProto {
    NodeProto { op_type: op_type.into(), name, input: inputs, output: vec![output], ..NodeProto::default() }
}

/// Adds QuantizeLinear and DequantizeLinear behind `name`.
fn pair(graph: &mut GraphProto, out: &mut Vec<NodeProto>, name: &str, (scale, zero_point): (f32, u8)) {
    let (scale_name, zero_name, byte_name) = (format!("{name}_scale"), format!("{name}_zero_point"), format!("{name}_quantized"));
    graph.initializer.push(tensor(&scale_name, &[], DataType::Float as i32, scale.to_le_bytes().to_vec()));
    graph.initializer.push(tensor(&zero_name, &[], DataType::Uint8 as i32, vec![zero_point]));
    out.push(node("QuantizeLinear", byte_name.clone(), vec![name.into(), scale_name.clone(), zero_name.clone()], byte_name.clone()));
    out.push(node("DequantizeLinear", dequantized(name), vec![byte_name, scale_name, zero_name], dequantized(name)));
}

/// Replaces a convolution's float weights and bias by int8 and int32 initializers behind DequantizeLinear.
fn quantize_weights(graph: &mut GraphProto, out: &mut Vec<NodeProto>, conv: &mut NodeProto, input_scale: f32) -> anyhow::Result<()> {
    let name = conv.input[1].clone();
    let weight = initializer(graph, &name)?;
    let (dims, values) = (weight.dims.clone(), tensor_floats(weight)?);
    let channels = dims[0] as usize;
    let per_channel = values.len() / channels;
    let bias = conv.input.get(2).cloned();
    let biases = bias.as_ref().map(|bias| tensor_floats(initializer(graph, bias)?)).transpose()?.unwrap_or_else(|| vec![0.0; channels]);
    let largest = values.chunks_exact(per_channel).map(|channel| channel.iter().fold(0.0_f32, |most, v| most.max(v.abs())));
    // The bias is counted in units of the weights' scale. A channel that hardly sees its input, as pretrained ones may, has a scale that would put its
    // bias beyond all integers: there the bias decides.
    let scales: Vec<f32> =
        largest.zip(&biases).map(|(largest, bias)| (largest / 127.0).max(bias.abs() / BIAS_UNITS / input_scale).max(1e-8)).collect();
    let bytes = values
        .chunks_exact(per_channel)
        .zip(&scales)
        .flat_map(|(c, s)| c.iter().map(move |v| (v / s).round().clamp(-127.0, 127.0) as i8 as u8))
        .collect();
    let axis_0 = || tract_onnx::pb::AttributeProto { name: "axis".into(), i: 0, r#type: 2, ..Default::default() };
    let mut replace = |graph: &mut GraphProto,
                       name: &str,
                       dims: &[i64],
                       data_type: DataType,
                       raw: Vec<u8>,
                       scales: &[f32],
                       zero: Vec<u8>| {
        graph.initializer.retain(|t| t.name != name);
        let (byte_name, scale_name, zero_name) = (format!("{name}_quantized"), format!("{name}_scale"), format!("{name}_zero_point"));
        let count = [scales.len() as i64];
        graph.initializer.push(tensor(&byte_name, dims, data_type as i32, raw));
        graph.initializer.push(tensor(&scale_name, &count, DataType::Float as i32, scales.iter().flat_map(|s| s.to_le_bytes()).collect()));
        graph.initializer.push(tensor(&zero_name, &count, data_type as i32, zero));
        let mut dequantize = node("DequantizeLinear", dequantized(name), vec![byte_name, scale_name, zero_name], dequantized(name));
        dequantize.attribute.push(axis_0());
        out.push(dequantize);
        dequantized(name)
    };
    conv.input[1] = replace(graph, &name, &dims, DataType::Int8, bytes, &scales, vec![0; channels]);
    if let Some(bias) = bias {
        let scales: Vec<f32> = scales.iter().map(|s| s * input_scale).collect();
        let raw = biases.iter().zip(&scales).flat_map(|(v, s)| ((f64::from(*v) / f64::from(*s)).round() as i32).to_le_bytes()).collect();
        conv.input[2] = replace(graph, &bias, &[channels as i64], DataType::Int32, raw, &scales, vec![0; 4 * channels]);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use tract_onnx::pb::ValueInfoProto;

    use super::super::fold::float_tensor;
    use super::*;

    #[test]
    fn a_channel_that_hardly_sees_its_input_keeps_its_bias() {
        let (weights, biases) = ([1e-12_f32, 0.5, 0.0, 1e-6], [0.3_f32, -0.1, 0.0, -7.0]);
        let graph = GraphProto {
            input: vec![ValueInfoProto { name: contract::LIGHTNESS.into(), ..ValueInfoProto::default() }],
            initializer: vec![float_tensor("w", &[4, 1, 1, 1], &weights), float_tensor("b", &[4], &biases)],
            node: vec![node("Conv", "conv".into(), vec![contract::LIGHTNESS.into(), "w".into(), "b".into()], "sums".into())],
            ..GraphProto::default()
        };
        let ranges = Ranges { of: HashMap::from([(contract::LIGHTNESS.to_owned(), (-0.5, 0.5))]), summary: String::new() };
        let int8 = quantize(&ModelProto { graph: Some(graph), ..ModelProto::default() }, &ranges).unwrap().graph.unwrap();
        let floats = |name: &str| tensor_floats(initializer(&int8, name).unwrap()).unwrap();
        let integers = |name: &str| {
            let raw = &initializer(&int8, name).unwrap().raw_data;
            raw.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect::<Vec<_>>()
        };
        for ((units, scale), bias) in integers("b_quantized").into_iter().zip(floats("b_scale")).zip(biases) {
            assert!(
                (f64::from(units) * f64::from(scale) - f64::from(bias)).abs() <= 1e-6 * f64::from(bias.abs()) + 1e-8,
                "{units} of {scale}"
            );
            assert!(units.abs() <= 1 << 23, "{units} leave no room for the sums");
        }
        // Where the bias is in reach, the weight alone decides.
        assert_eq!(floats("w_scale")[1], 0.5 / 127.0);
        assert_eq!(initializer(&int8, "w_quantized").unwrap().raw_data[1], 127);
    }
}
