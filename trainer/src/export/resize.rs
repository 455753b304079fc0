//! An exported float file at another input resolution, with the same weights: the family is fully convolutional, so only shapes change.

use std::collections::HashSet;

use anyhow::{Context, bail, ensure};
use autochrome_model::contract;
use tract_onnx::pb::tensor_shape_proto::dimension::Value::DimValue;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, ValueInfoProto, type_proto};

use super::fold::{initializer, tensor};

/// The multiple of `recurrent-unet`. One that halves more often, as `lite0-unet`, refuses more: its shapes then do not fit each other.
const SIDE_MULTIPLE: usize = 16;
/// ONNX's data type INT64.
const INT64: i32 = 7;

/// `float` for an input of `width` x `height`. The card's name is kept.
///
/// # Errors
/// If a side is no multiple of 16, the model is quantized (its scales belong to the old resolution's values), or it holds an operator whose
/// constants depend on the resolution in a way that this function does not know.
pub fn at_size(float: &ModelProto, width: usize, height: usize) -> anyhow::Result<ModelProto> {
    ensure!(
        [width, height].iter().all(|side| *side > 0 && side.is_multiple_of(SIDE_MULTIPLE)),
        "{width}x{height}: every side must be a multiple of {SIDE_MULTIPLE}"
    );
    let old = contract::check(float)?;
    ensure!(!old.quantized, "{:?} holds int8 weights; give the float file that it was made from", old.card.name);
    let mut model = float.clone();
    let graph = model.graph.as_mut().context("the model has no graph")?;
    let scaled = |height_then: i64, width_then: i64| -> Option<(i64, i64)> {
        let scale = |then: i64, old: usize, new: usize| {
            let numerator = then.checked_mul(new as i64)?;
            (numerator % old as i64 == 0).then_some(numerator / old as i64)
        };
        Some((scale(height_then, old.height, height)?, scale(width_then, old.width, width)?))
    };
    for value in graph.input.iter_mut().chain(&mut graph.output) {
        let name = value.name.clone();
        let (height, width) = spatial_dims(value).with_context(|| format!("{name:?} has no fixed height and width"))?;
        let (DimValue(then_height), DimValue(then_width)) = (&*height, &*width) else { bail!("{name:?} has no fixed height and width") };
        let (new_height, new_width) = scaled(*then_height, *then_width)
            .with_context(|| format!("{name:?} is {then_width}x{then_height}, which does not scale with the input to whole pixels"))?;
        (*height, *width) = (DimValue(new_height), DimValue(new_width));
    }
    let mut done = HashSet::new();
    for node in graph.node.clone() {
        match node.op_type.as_str() {
            "Slice" => resize_slice(graph, &node, &scaled, &mut done)?,
            "Resize" => ensure!(
                node.input.len() == 3,
                "{:?} grows to sizes, not by scales; only files that `export` wrote can be resized",
                node.name
            ),
            // What is left of the family computes wherever it stands.
            "Conv" | "Relu" | "Clip" | "Add" | "Sub" | "Mul" | "Sigmoid" | "Tanh" | "Concat" => {}
            other => {
                bail!(
                    "{:?} is a {other}, which neither `recurrent-unet` nor `lite0-unet` has; only files that `export` wrote can be resized",
                    node.name
                )
            }
        }
    }
    // Shapes of inner tensors, if any are written down, are the old ones.
    graph.value_info.clear();
    contract::check(&model).context("the resized model breaks the contract")?;
    Ok(model)
}

fn spatial_dims(
    value: &mut ValueInfoProto,
) -> Option<(&mut tract_onnx::pb::tensor_shape_proto::dimension::Value, &mut tract_onnx::pb::tensor_shape_proto::dimension::Value)> {
    let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_mut().and_then(|t| t.value.as_mut()) else { return None };
    let [_, _, height, width] = &mut tensor.shape.as_mut()?.dim[..] else { return None };
    Some((height.value.as_mut()?, width.value.as_mut()?))
}

/// A Slice that `trace` writes takes a range of channels and all of the picture; its ends say how large that is.
fn resize_slice(
    graph: &mut GraphProto,
    node: &NodeProto,
    scaled: &dyn Fn(i64, i64) -> Option<(i64, i64)>,
    done: &mut HashSet<String>,
) -> anyhow::Result<()> {
    let values = |name: &String| -> anyhow::Result<Vec<i64>> {
        let found = initializer(graph, name)?;
        ensure!(found.data_type == INT64, "{name:?} is of data type {}; int64 ({INT64}) is expected", found.data_type);
        let raw = found.raw_data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().expect("8 bytes")));
        Ok(if found.raw_data.is_empty() { found.int64_data.clone() } else { raw.collect() })
    };
    let [_, starts, ends, axes, ..] = &node.input[..] else { bail!("{:?} does not say its axes", node.name) };
    if !done.insert(ends.clone()) {
        return Ok(());
    }
    let (starts, mut sizes, axes) = (values(starts)?, values(ends)?, values(axes)?);
    ensure!(
        axes == [0, 1, 2, 3] && starts.len() == 4 && sizes.len() == 4 && starts[2..] == [0, 0],
        "{:?} slices from {starts:?} along {axes:?}; a range of channels and the whole picture is expected",
        node.name
    );
    (sizes[2], sizes[3]) = scaled(sizes[2], sizes[3])
        .with_context(|| format!("{:?} ends at {sizes:?}, which does not scale with the input to whole pixels", node.name))?;
    graph.initializer.retain(|t| &t.name != ends);
    graph.initializer.push(tensor(ends, &[4], INT64, sizes.iter().flat_map(|v| v.to_le_bytes()).collect()));
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use autochrome_model::{Colorizer, Plane};

    use super::*;
    use crate::config::RunConfig;
    use crate::export::{Provenance, float_model};
    use crate::nets::{Network, test_nets};

    fn small() -> (RunConfig, Network) {
        let net = test_nets::small(1);
        let config = RunConfig { input_size: [48, 32], net, ..RunConfig::default() };
        let bins = config.centers().unwrap().len();
        (config.clone(), test_nets::settled(&config.net, bins, 5))
    }

    fn provenance() -> Provenance {
        Provenance { training: "made up".into(), license: "none".into() }
    }

    /// Logits and states of a few frames, the state carried.
    fn outputs(model: &ModelProto) -> Vec<f32> {
        let mut colorizer = Colorizer::from_proto("it", model).unwrap();
        let (width, height) = (colorizer.contract().width, colorizer.contract().height);
        let mut all = Vec::new();
        for frame in 0..4 {
            let value = |i: usize| 50.0 + 45.0 * ((i % width) as f32 / 7.0 + (i / width) as f32 / 5.0 + frame as f32).sin();
            colorizer.advance(&Plane::from_vec(width, height, (0..width * height).map(value).collect())).unwrap();
            all.extend_from_slice(colorizer.raw_output());
            all.extend(colorizer.states().iter().flat_map(|state| state.iter().copied()));
        }
        all
    }

    #[test]
    fn a_resized_file_computes_what_its_weights_traced_at_that_size_do() {
        let (config, net) = small();
        let float = float_model(&net, &config, &provenance()).unwrap();
        for size in [[80, 32], [32, 64], [48, 32]] {
            let resized = at_size(&float, size[0], size[1]).unwrap();
            let promise = contract::check(&resized).unwrap();
            assert_eq!((promise.width, promise.height), (size[0], size[1]));
            assert_eq!((promise.output_width, promise.output_height), (size[0] / 4, size[1] / 4));
            let traced = float_model(&net, &RunConfig { input_size: size, ..config.clone() }, &provenance()).unwrap();
            let (found, expected) = (outputs(&resized), outputs(&traced));
            assert_eq!(found.len(), expected.len());
            let error = found.iter().zip(&expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
            assert!(error <= 1e-5, "{size:?}: {error}");
        }
    }

    #[test]
    fn sizes_and_files_that_cannot_be_are_refused() {
        let (config, net) = small();
        let float = float_model(&net, &config, &provenance()).unwrap();
        let refused = |model: &ModelProto, width, height| format!("{:#}", at_size(model, width, height).unwrap_err());
        assert!(refused(&float, 50, 32).contains("multiple of 16"));
        assert!(refused(&float, 0, 32).contains("multiple of 16"));
        assert!(refused(&float, 16_000, 16_000).contains("lightness"), "{}", refused(&float, 16_000, 16_000));
        let mut strange = float.clone();
        strange.graph.as_mut().unwrap().node.iter_mut().find(|node| node.op_type == "Tanh").unwrap().op_type = "Reshape".into();
        assert!(refused(&strange, 64, 32).contains("Reshape"));
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/autochrome-192x144-int8.onnx");
        assert!(refused(&contract::parse(&std::fs::read(shipped).unwrap()).unwrap(), 64, 32).contains("int8"));
    }
}
