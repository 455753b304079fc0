//! Burn to ONNX, with the names of the contract.

use std::collections::HashMap;

use anyhow::Context;
use autochrome_model::contract::{self, COLOR_LOGITS, LIGHTNESS};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_onnx::export::OnnxExporter;
use prost::Message;
use tract_onnx::pb::ModelProto;

use crate::nets::{NetConfig, RecurrentUNet};

/// Traces one frame of `net` (on a plain device) for an input of `height` x `width`.
///
/// # Errors
/// If an operator cannot be lowered to ONNX.
pub fn trace(net: &RecurrentUNet, config: &NetConfig, height: usize, width: usize) -> anyhow::Result<ModelProto> {
    let device = Device::flex();
    let lightness = Tensor::<4>::zeros([1, 1, height, width], &device);
    let [first, second] = RecurrentUNet::zero_states(config, 1, height, width, &device);
    // A copy: the exporter moves the normalization's statistics, which clones share, to a device of its own.
    let copy = net.valid().to_device(&device);
    let onnx = OnnxExporter::new()
        .export(&copy, (lightness, first, second), |net: &RecurrentUNet, (lightness, first, second): (Tensor<4>, Tensor<4>, Tensor<4>)| {
            let (logits, [first, second]) = net.forward(lightness, [first, second]);
            (logits, first, second)
        })
        .context("lower the network to ONNX")?;
    let mut model = ModelProto::decode(onnx.as_bytes()).context("read the traced ONNX")?;
    name_boundary(&mut model)?;
    Ok(model)
}

/// Gives inputs and outputs the contract's names, and every other tensor one that does not depend on what was traced before.
fn name_boundary(model: &mut ModelProto) -> anyhow::Result<()> {
    let graph = model.graph.as_mut().context("the traced ONNX has no graph")?;
    let inputs = [LIGHTNESS.to_owned(), contract::state_in(0), contract::state_in(1)];
    let outputs = [COLOR_LOGITS.to_owned(), contract::state_out(0), contract::state_out(1)];
    anyhow::ensure!(graph.input.len() == inputs.len() && graph.output.len() == outputs.len(), "the traced ONNX has another boundary than the network");
    let mut names: HashMap<String, String> = HashMap::new();
    names.extend(graph.input.iter().map(|v| v.name.clone()).zip(inputs));
    names.extend(graph.output.iter().map(|v| v.name.clone()).zip(outputs));
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
    for value in graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info) {
        rename(&mut value.name);
    }
    graph.name = "colorizer".into();
    Ok(())
}
