//! Weights out of their 8-bit form before Tract sees them: it folds DequantizeLinear of a constant as well, but number by number, which is most of the time
//! that a model takes to load.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{ModelProto, NodeProto, TensorProto, tensor_proto::DataType};

/// `model` with a float initializer in place of every DequantizeLinear of an initializer, as far as they are of the usual form: integers in
/// little-endian bytes, scales and zero points of one number or one a channel. The rest stays as it is.
pub(crate) fn dequantized(model: &ModelProto) -> ModelProto {
    let mut model = model.clone();
    let Some(graph) = &mut model.graph else { return model };
    let constants: HashMap<&str, &TensorProto> = graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let is_output = |node: &NodeProto| graph.output.iter().any(|output| node.output.contains(&output.name));
    let floats: Vec<Option<TensorProto>> = graph.node.iter().map(|node| constant(node, &constants).filter(|_| !is_output(node))).collect();
    let mut floats = floats.into_iter();
    let mut made = Vec::new();
    graph.node.retain(|_| match floats.next().flatten() {
        Some(tensor) => {
            made.push(tensor);
            false
        }
        None => true,
    });
    let read: HashSet<&str> =
        graph.node.iter().flat_map(|node| &node.input).chain(graph.output.iter().map(|o| &o.name)).map(String::as_str).collect();
    graph.initializer.retain(|tensor| read.contains(tensor.name.as_str()));
    graph.initializer.append(&mut made);
    model
}

/// What `node` makes, if it is a DequantizeLinear of a constant.
fn constant(node: &NodeProto, constants: &HashMap<&str, &TensorProto>) -> Option<TensorProto> {
    if node.op_type != "DequantizeLinear" || node.attribute.iter().any(|attribute| attribute.name != "axis") {
        return None;
    }
    let [input, scale, ..] = &node.input[..] else { return None };
    let (input, scale) = (*constants.get(input.as_str())?, floats(constants.get(scale.as_str())?)?);
    let numbers = integers(input)?;
    let zero_points = match node.input.get(2).filter(|name| !name.is_empty()) {
        Some(name) => integers(constants.get(name.as_str())?)?,
        None => vec![0; scale.len()],
    };
    let dims: Vec<usize> = input.dims.iter().map(|&side| usize::try_from(side).ok()).collect::<Option<_>>()?;
    // The default of the operator.
    let axis = node.attribute.first().map_or(1, |attribute| attribute.i);
    let (channels, inner) = if scale.len() == 1 {
        (1, numbers.len())
    } else {
        let axis = usize::try_from(if axis < 0 { axis + dims.len() as i64 } else { axis }).ok().filter(|&axis| axis < dims.len())?;
        (dims[axis], dims[axis + 1..].iter().product())
    };
    let whole = dims.iter().product::<usize>() == numbers.len() && scale.len() == channels && zero_points.len() == channels && inner > 0;
    if !whole {
        return None;
    }
    let mut raw = Vec::with_capacity(4 * numbers.len());
    for (index, run) in numbers.chunks(inner).enumerate() {
        let (scale, zero_point) = (scale[index % channels], zero_points[index % channels]);
        raw.extend(run.iter().flat_map(|&number| (number.wrapping_sub(zero_point) as f32 * scale).to_le_bytes()));
    }
    let name = node.output.first()?.clone();
    Some(TensorProto { name, dims: input.dims.clone(), data_type: DataType::Float as i32, raw_data: raw, ..TensorProto::default() })
}

/// The numbers of an integer tensor that is stored as bytes.
fn integers(tensor: &TensorProto) -> Option<Vec<i32>> {
    let bytes = &tensor.raw_data;
    let numbers = match DataType::try_from(tensor.data_type).ok()? {
        DataType::Int8 => bytes.iter().map(|&byte| i32::from(byte as i8)).collect(),
        DataType::Uint8 => bytes.iter().map(|&byte| i32::from(byte)).collect(),
        DataType::Int32 => bytes.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        _ => return None,
    };
    Some(numbers).filter(|numbers: &Vec<i32>| !numbers.is_empty())
}

/// The numbers of a float tensor that is stored as bytes.
fn floats(tensor: &TensorProto) -> Option<Vec<f32>> {
    let float = tensor.data_type == DataType::Float as i32 && !tensor.raw_data.is_empty();
    float.then(|| tensor.raw_data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use tract_onnx::pb::AttributeProto;
    use tract_onnx::prelude::*;

    use super::*;

    fn shipped() -> ModelProto {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/autochrome-lite0-128x96-int8.onnx");
        crate::contract::parse(&std::fs::read(file).unwrap()).unwrap()
    }

    /// What stock Tract computes for a frame.
    fn computed(model: &ModelProto) -> Vec<u32> {
        let plan = tract_onnx::onnx().model_for_proto_model(model).unwrap().into_optimized().unwrap().into_runnable().unwrap();
        let shapes =
            plan.model().inputs.iter().map(|input| plan.model().outlet_fact(*input).unwrap().shape.as_concrete().unwrap().to_vec());
        let inputs: TVec<TValue> = shapes
            .map(|shape| {
                let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i as f32 * 0.37).sin() / 2.0).collect();
                Tensor::from_shape(&shape, &values).unwrap().into_tvalue()
            })
            .collect();
        let outputs = plan.run(inputs).unwrap();
        outputs.iter().flat_map(|output| output.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()).map(f32::to_bits).collect()
    }

    #[test]
    fn no_bit_of_what_is_computed_changes_and_no_weight_is_left_to_tract() {
        let whole = shipped();
        let folded = dequantized(&whole);
        let constants = |model: &ModelProto| {
            let graph = model.graph.as_ref().unwrap();
            let names: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
            let of_constant = |node: &&NodeProto| node.op_type == "DequantizeLinear" && names.contains(node.input[0].as_str());
            graph.node.iter().filter(of_constant).count()
        };
        assert!(constants(&whole) > 100);
        assert_eq!(constants(&folded), 0);
        assert!(computed(&whole) == computed(&folded));
    }

    #[test]
    fn channels_lie_along_the_axis_and_zero_points_count() {
        let tensor = |name: &str, dims: &[i64], data_type: DataType, raw_data: Vec<u8>| TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: data_type as i32,
            raw_data,
            ..TensorProto::default()
        };
        let scales: Vec<u8> = [0.5_f32, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let all = [
            tensor("q", &[2, 2], DataType::Uint8, vec![10, 20, 30, 40]),
            tensor("s", &[2], DataType::Float, scales),
            tensor("z", &[2], DataType::Uint8, vec![10, 0]),
        ];
        let constants: HashMap<&str, &TensorProto> = all.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let made = |axis: Option<i64>, inputs: &[&str]| {
            let node = NodeProto {
                op_type: "DequantizeLinear".into(),
                input: inputs.iter().map(|&name| name.into()).collect(),
                output: vec!["x".into()],
                attribute: axis.map(|i| AttributeProto { name: "axis".into(), i, ..AttributeProto::default() }).into_iter().collect(),
                ..NodeProto::default()
            };
            constant(&node, &constants).map(|tensor| floats(&tensor).unwrap())
        };
        assert_eq!(made(Some(0), &["q", "s", "z"]).unwrap(), [0.0, 5.0, 60.0, 80.0]);
        assert_eq!(made(None, &["q", "s", "z"]).unwrap(), [0.0, 40.0, 10.0, 80.0]);
        assert_eq!(made(Some(-2), &["q", "s"]).unwrap(), [5.0, 10.0, 60.0, 80.0]);
        // What is not of the usual form is left to Tract.
        assert_eq!(made(Some(2), &["q", "s", "z"]), None);
        assert_eq!(made(Some(0), &["q", "q"]), None);
        assert_eq!(made(Some(0), &["elsewhere", "s"]), None);
    }
}
