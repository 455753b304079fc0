//! How much a network computes, counted from its graph.

use std::collections::HashMap;

use anyhow::Context;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, tensor_shape_proto::dimension::Value, type_proto};

/// The multiply-adds of all convolutions for one frame. Float or quantized, the number is the same.
///
/// # Errors
/// If the graph holds a convolution whose weights or input's size are not to be found.
pub(crate) fn multiply_adds(model: &ModelProto) -> anyhow::Result<u64> {
    let graph = model.graph.as_ref().context("the model has no graph")?;
    let mut sizes: HashMap<&str, [usize; 2]> = HashMap::new();
    for input in &graph.input {
        if let Some([.., height, width]) = dims(input).as_deref() {
            sizes.insert(&input.name, [*height, *width]);
        }
    }
    let mut sum = 0;
    for node in &graph.node {
        let Some(&size) = node.input.first().and_then(|input| sizes.get(input.as_str())) else { continue };
        let size = match node.op_type.as_str() {
            "Conv" => {
                let &[to, from, kernel_height, kernel_width] = &weight_dims(graph, &node.input[1])?[..] else {
                    anyhow::bail!("the weights of {:?} do not have four axes", node.name)
                };
                let out = [0, 1].map(|axis| {
                    let pads = attribute(node, "pads", axis) + attribute(node, "pads", axis + 2);
                    (size[axis] + pads - [kernel_height, kernel_width][axis]) / attribute(node, "strides", axis).max(1) + 1
                });
                sum += (out[0] * out[1] * to * from * kernel_height * kernel_width) as u64;
                out
            }
            "Resize" => {
                let scales = graph.initializer.iter().find(|t| Some(&t.name) == node.input.get(2)).context("a Resize without scales")?;
                let scales = autochrome_trainer::export::fold::tensor_floats(scales)?;
                [0, 1].map(|axis| (size[axis] as f32 * scales[2 + axis]) as usize)
            }
            _ => size,
        };
        node.output.iter().for_each(|output| {
            sizes.insert(output, size);
        });
    }
    Ok(sum)
}

fn attribute(node: &NodeProto, name: &str, index: usize) -> usize {
    node.attribute.iter().find(|a| a.name == name).and_then(|a| a.ints.get(index)).map_or(0, |&v| v as usize)
}

/// The dimensions of an initializer, or of the one that a DequantizeLinear reads.
fn weight_dims(graph: &GraphProto, name: &str) -> anyhow::Result<Vec<usize>> {
    let source = graph.node.iter().find(|node| node.output.iter().any(|o| o == name)).map_or(name, |node| &node.input[0]);
    let weights = graph.initializer.iter().find(|t| t.name == source).with_context(|| format!("there are no weights {name:?}"))?;
    Ok(weights.dims.iter().map(|&d| d as usize).collect())
}

fn dims(value: &tract_onnx::pb::ValueInfoProto) -> Option<Vec<usize>> {
    let Some(type_proto::Value::TensorType(tensor)) = &value.r#type.as_ref()?.value else { return None };
    let dim = |d: &tract_onnx::pb::tensor_shape_proto::Dimension| match d.value {
        Some(Value::DimValue(v)) => usize::try_from(v).ok(),
        _ => None,
    };
    tensor.shape.as_ref()?.dim.iter().map(dim).collect()
}
