//! What a model file costs: its multiply-adds a frame, counted from its graph.

use anyhow::{Context, ensure};
use tract_onnx::pb::{ModelProto, ValueInfoProto};
use tract_onnx::prelude::*;

use super::fold::initializer;

/// The multiply-adds of all convolutions for one frame, in a float or an int8 file. What else is computed (sums, gates, upsampling) is not counted:
/// below one in a hundred.
///
/// # Errors
/// If Tract cannot infer the shapes, or a convolution's weights are no initializer.
pub fn multiply_adds(model: &ModelProto) -> anyhow::Result<u64> {
    // What is wanted of the shapes is asked for as outputs: Tract gives no other tensor a name that lasts.
    let mut asked = model.clone();
    let graph = asked.graph.as_mut().context("the model has no graph")?;
    let convs: Vec<_> = graph.node.iter().filter(|node| node.op_type == "Conv").cloned().collect();
    graph.output = convs.iter().map(|conv| ValueInfoProto { name: conv.output[0].clone(), ..ValueInfoProto::default() }).collect();
    let typed = tract_onnx::onnx().model_for_proto_model(&asked)?.into_typed().context("infer the shapes of the model")?;
    let graph = model.graph.as_ref().context("the model has no graph")?;
    let mut sum = 0;
    for (index, conv) in convs.iter().enumerate() {
        // A quantized weight comes through a DequantizeLinear.
        let from = graph.node.iter().find(|node| node.output.contains(&conv.input[1]));
        let weight = initializer(graph, from.map_or(&conv.input[1], |node| &node.input[0]))?;
        let filter: i64 = weight.dims.iter().skip(1).product();
        let shape = typed.output_fact(index)?.shape.as_concrete().context("a convolution's shape is not fixed")?;
        ensure!(shape.len() == 4, "{:?} gives {shape:?}; four axes are expected", conv.name);
        sum += filter as u64 * shape.iter().product::<usize>() as u64;
    }
    Ok(sum)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use super::*;
    use crate::config::{RunConfig, SizeConfig};
    use crate::export::{Provenance, float_model};
    use crate::nets::RecurrentUNet;
    use burn::tensor::Device;
    use std::path::Path;

    #[test]
    fn each_size_costs_what_its_file_says() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/sizes");
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let file = entry.unwrap().path();
            let mut config = RunConfig::default();
            SizeConfig::read(&file).unwrap().apply(&mut config);
            config.check().unwrap();
            let net = RecurrentUNet::new(&config.net, config.centers().unwrap().len(), &Device::flex());
            let provenance = Provenance { training: "none".into(), license: "none".into() };
            let counted = multiply_adds(&float_model(&net, &config, &provenance).unwrap()).unwrap() as f64 / 1e9;
            let text = std::fs::read_to_string(&file).unwrap();
            let said: f64 = text.strip_prefix("# ").and_then(|t| t.split_once(" G multiply-adds")).unwrap().0.parse().unwrap();
            assert!((counted / said - 1.0).abs() < 0.03, "{}: {counted} G, it says {said}", file.display());
            found.push(said);
        }
        found.sort_by(f64::total_cmp);
        for (said, wanted) in found.iter().zip([0.15, 0.45, 1.5]) {
            assert!((said / wanted - 1.0).abs() < 0.08, "{said} G; a size of about {wanted} is wanted");
        }
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn an_int8_file_costs_what_its_float_file_does() {
        let read = |kind: &str| {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../models/autochrome-192x144-{kind}.onnx"));
            multiply_adds(&autochrome_model::contract::parse(&std::fs::read(file).unwrap()).unwrap()).unwrap()
        };
        // The figure of the card.
        assert_eq!((read("float") + 500_000) / 1_000_000, 272);
        assert_eq!(read("int8"), read("float"));
    }
}
