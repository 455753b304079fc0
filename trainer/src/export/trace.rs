//! Burn to ONNX, with the names of the contract.

use std::collections::HashMap;

use anyhow::Context;
use autochrome_model::contract::{self, LIGHTNESS};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_onnx::export::OnnxExporter;
use prost::Message;
use tract_onnx::pb::{ModelProto, ValueInfoProto};

use crate::config::RunConfig;
use crate::nets::Network;

/// Traces one frame of `net` (on a plain device) for the input size and the output that `config` has.
///
/// # Errors
/// If an operator cannot be lowered to ONNX.
pub fn trace(net: &Network, config: &RunConfig) -> anyhow::Result<ModelProto> {
    let [width, height] = config.input_size;
    let device = Device::flex();
    let lightness = Tensor::<4>::zeros([1, 1, height, width], &device);
    let states = config.net.zero_states(1, height, width, &device);
    let state_count = states.len();
    // A copy: the exporter moves the normalization's statistics, which clones share, to a device of its own.
    let copy = net.valid().to_device(&device);
    let output = config.output;
    let onnx = OnnxExporter::new()
        .export(&copy, (lightness, states), |net: &Network, (lightness, states): (Tensor<4>, Vec<Tensor<4>>)| {
            let (raw, states) = net.forward(lightness, states);
            (output.activate(raw), states)
        })
        .context("lower the network to ONNX")?;
    let mut model = ModelProto::decode(onnx.as_bytes()).context("read the traced ONNX")?;
    name_boundary(&mut model, config.contract_output()?.name(), state_count)?;
    scale_every_axis(&mut model)?;
    Ok(model)
}

/// Rewrites Resize from "sizes of the last two axes" to "scales of all four": ONNX Runtime 1.31 fails to optimize a quantized graph with the
/// former (its layout change drops the sizes and then misses them).
fn scale_every_axis(model: &mut ModelProto) -> anyhow::Result<()> {
    use tract_onnx::prelude::*;
    // What is wanted of the shapes is asked for as outputs: Tract gives no other tensor a name that lasts.
    let mut asked = model.clone();
    let graph = asked.graph.as_mut().context("the traced ONNX has no graph")?;
    let grown: Vec<String> = graph.node.iter().filter(|node| node.op_type == "Resize").map(|node| node.input[0].clone()).collect();
    graph.output = grown.iter().map(|name| ValueInfoProto { name: name.clone(), ..ValueInfoProto::default() }).collect();
    let typed = tract_onnx::onnx().model_for_proto_model(&asked)?.into_typed().context("infer the shapes of the traced ONNX")?;
    let graph = model.graph.as_mut().context("the traced ONNX has no graph")?;
    for node in graph.node.iter_mut().filter(|node| node.op_type == "Resize") {
        let sizes = node.input.get(3).context("a Resize without sizes")?;
        let at = graph.initializer.iter().position(|t| &t.name == sizes).with_context(|| format!("{sizes:?} is no initializer"))?;
        let sizes = graph.initializer.remove(at);
        let wanted: Vec<f32> = sizes.raw_data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().expect("8 bytes")) as f32).collect();
        let output = grown.iter().position(|name| name == &node.input[0]).context("every Resize was asked about")?;
        let shape = typed.output_fact(output)?.shape.as_concrete().map(<[usize]>::to_vec);
        let (Some([_, _, height, width]), [wanted_height, wanted_width]) = (shape.as_deref(), &wanted[..]) else {
            anyhow::bail!("{:?} grows {shape:?} to {wanted:?}; the last two of four axes are expected", node.name);
        };
        let scales = [1.0, 1.0, wanted_height / *height as f32, wanted_width / *width as f32];
        let name = format!("{}_scales", node.name);
        graph.initializer.push(super::fold::float_tensor(&name, &[4], &scales));
        node.input = vec![node.input[0].clone(), String::new(), name];
        node.attribute.retain(|attribute| attribute.name != "axes");
    }
    Ok(())
}

/// Gives inputs and outputs the contract's names, and every other tensor one that does not depend on what was traced before.
fn name_boundary(model: &mut ModelProto, color: &str, states: usize) -> anyhow::Result<()> {
    let graph = model.graph.as_mut().context("the traced ONNX has no graph")?;
    let inputs: Vec<String> = std::iter::once(LIGHTNESS.to_owned()).chain((0..states).map(contract::state_in)).collect();
    let outputs: Vec<String> = std::iter::once(color.to_owned()).chain((0..states).map(contract::state_out)).collect();
    anyhow::ensure!(
        graph.input.len() == inputs.len() && graph.output.len() == outputs.len(),
        "the traced ONNX has another boundary than the network"
    );
    let mut names: HashMap<String, String> = HashMap::new();
    names.extend(graph.input.iter().map(|v| v.name.clone()).zip(inputs));
    names.extend(graph.output.iter().map(|v| v.name.clone()).zip(outputs));
    // The enum's variant is not the network's business.
    let variant = |name: &str| name.split_once('.').map(|(_, rest)| rest.to_owned());
    names.extend(graph.initializer.iter().filter_map(|t| Some((t.name.clone(), variant(&t.name)?))));
    for (index, node) in graph.node.iter_mut().enumerate() {
        node.name = format!("{}_{index}", node.op_type.to_lowercase());
        for output in &node.output {
            names.entry(output.clone()).or_insert_with(|| node.name.clone());
        }
    }
    let rename = |name: &mut String| {
        if let Some(new) = names.get(name.as_str()) {
            *name = new.clone();
        }
    };
    for node in &mut graph.node {
        node.input.iter_mut().chain(&mut node.output).for_each(rename);
    }
    graph.initializer.iter_mut().for_each(|t| rename(&mut t.name));
    for value in graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info) {
        rename(&mut value.name);
    }
    graph.name = "colorizer".into();
    Ok(())
}
