//! Batch normalization folded into the convolution in front of it.

use anyhow::{Context, ensure};
use tract_onnx::pb::{GraphProto, ModelProto, TensorProto};

/// Folds every BatchNormalization that follows a Conv into it. In evaluation both are affine, so nothing but rounding changes.
///
/// # Errors
/// If a normalization does not follow a convolution of its own, or the parameters are not float initializers.
pub fn fold_batch_norm(model: &mut ModelProto) -> anyhow::Result<()> {
    let graph = model.graph.as_mut().context("the model has no graph")?;
    while let Some(at) = graph.node.iter().position(|node| node.op_type == "BatchNormalization") {
        let norm = graph.node.remove(at);
        let folded = &norm.input[0];
        let readers = graph.node.iter().filter(|node| node.input.contains(folded)).count();
        let conv = graph.node.iter().position(|node| node.op_type == "Conv" && node.output.contains(folded));
        let conv = conv.filter(|_| readers == 0).with_context(|| format!("{:?} does not follow a convolution of its own", norm.name))?;
        let epsilon = norm.attribute.iter().find(|a| a.name == "epsilon").map_or(1e-5, |a| a.f);
        let parameter = |index: usize| floats(graph, &norm.input[index]);
        let (gamma, beta, mean, variance) = (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?);
        let scale: Vec<f32> =
            gamma.iter().zip(&variance).map(|(g, v)| (f64::from(*g) / (f64::from(*v) + f64::from(epsilon)).sqrt()) as f32).collect();
        let weight_name = graph.node[conv].input[1].clone();
        let bias = match graph.node[conv].input.get(2) {
            Some(name) => floats(graph, name)?,
            None => vec![0.0; scale.len()],
        };
        let bias: Vec<f32> = (0..scale.len()).map(|c| (bias[c] - mean[c]) * scale[c] + beta[c]).collect();
        let weight = initializer_mut(graph, &weight_name)?;
        let dims = weight.dims.clone();
        ensure!(
            dims.first() == Some(&(scale.len() as i64)),
            "{weight_name:?} has {dims:?}; its normalization has {} channels",
            scale.len()
        );
        let mut values = tensor_floats(weight)?;
        let per_channel = values.len() / scale.len();
        for (channel, values) in values.chunks_exact_mut(per_channel).enumerate() {
            values.iter_mut().for_each(|v| *v *= scale[channel]);
        }
        *weight = float_tensor(&weight_name, &dims, &values);
        let bias_name = format!("{}.bias", weight_name.trim_end_matches(".weight"));
        graph.initializer.retain(|t| t.name != bias_name && !norm.input[1..].contains(&t.name));
        graph.initializer.push(float_tensor(&bias_name, &[bias.len() as i64], &bias));
        let node = &mut graph.node[conv];
        node.input.truncate(2);
        node.input.push(bias_name);
        node.output = norm.output.clone();
    }
    Ok(())
}

/// The initializer `name`.
///
/// # Errors
/// If there is none.
pub fn initializer<'a>(graph: &'a GraphProto, name: &str) -> anyhow::Result<&'a TensorProto> {
    graph.initializer.iter().find(|t| t.name == name).with_context(|| format!("there is no initializer {name:?}"))
}

fn initializer_mut<'a>(graph: &'a mut GraphProto, name: &str) -> anyhow::Result<&'a mut TensorProto> {
    graph.initializer.iter_mut().find(|t| t.name == name).with_context(|| format!("there is no initializer {name:?}"))
}

fn floats(graph: &GraphProto, name: &str) -> anyhow::Result<Vec<f32>> {
    tensor_floats(initializer(graph, name)?)
}

/// The values of a float tensor.
///
/// # Errors
/// If it is of another type.
pub fn tensor_floats(tensor: &TensorProto) -> anyhow::Result<Vec<f32>> {
    ensure!(tensor.data_type == 1, "{:?} is of data type {}; float (1) is expected", tensor.name, tensor.data_type);
    if tensor.raw_data.is_empty() {
        return Ok(tensor.float_data.clone());
    }
    Ok(tensor.raw_data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

/// A float tensor.
pub fn float_tensor(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    tensor(name, dims, 1, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// A tensor of ONNX data type `data_type` from its little-endian bytes.
pub fn tensor(name: &str, dims: &[i64], data_type: i32, raw: Vec<u8>) -> TensorProto {
    TensorProto { name: name.into(), dims: dims.to_vec(), data_type, raw_data: raw, ..TensorProto::default() }
}
