//! A model that costs nothing: the cases are about cameras and screens, and a frame of the shipped one takes seconds in emulation.

use autochrome_model::contract::{AB, COLOR_CONSTANTS, Card, LIGHTNESS, Output, state_in, state_out, write_card};
use prost::Message;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    tensor_shape_proto::{Dimension, dimension::Value},
    type_proto,
};

/// An ONNX file that keeps the contract. Bright places turn red, dark ones blue, with half of the last frame's color.
pub(super) fn bytes() -> Vec<u8> {
    let of_lightness: Vec<f32> = [1.0 / 16.0, 1.0 / 32.0].iter().flat_map(|weight| [*weight; 16]).collect();
    let stride = AttributeProto { name: "strides".into(), ints: vec![4, 4], r#type: 7, ..AttributeProto::default() };
    let kernel = AttributeProto { name: "kernel_shape".into(), ints: vec![4, 4], r#type: 7, ..AttributeProto::default() };
    let graph = GraphProto {
        name: "small".into(),
        node: vec![
            node("Conv", &[LIGHTNESS, "weights"], "now", vec![stride, kernel]),
            node("Add", &["now", &state_in(0)], "sum", vec![]),
            node("Mul", &["sum", "half"], AB, vec![]),
            node("Identity", &[AB], &state_out(0), vec![]),
        ],
        initializer: vec![tensor("weights", &[2, 1, 4, 4], &of_lightness), tensor("half", &[1, 1, 1, 1], &[0.5])],
        input: vec![value(LIGHTNESS, &[1, 1, 36, 48]), value(&state_in(0), &[1, 2, 9, 12])],
        output: vec![value(AB, &[1, 2, 9, 12]), value(&state_out(0), &[1, 2, 9, 12])],
        ..GraphProto::default()
    };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 18 }];
    let mut model = ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..ModelProto::default() };
    let card = Card {
        name: "small".into(),
        output: Output::Ab,
        temperature: 1.0,
        saturation: 1.0,
        color: COLOR_CONSTANTS.into(),
        training: "made by hand".into(),
        license: "MIT".into(),
        calibration: None,
        float_parent_sha256: None,
    };
    write_card(&mut model, &card);
    model.encode_to_vec()
}

fn node(op_type: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    let input = inputs.iter().map(|&name| name.into()).collect();
    NodeProto { op_type: op_type.into(), name: output.into(), input, output: vec![output.into()], attribute, ..NodeProto::default() }
}

fn tensor(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorProto { name: name.into(), dims: dims.to_vec(), data_type: 1, raw_data, ..TensorProto::default() }
}

fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&d| Dimension { value: Some(Value::DimValue(d)), ..Dimension::default() }).collect();
    let tensor = type_proto::Tensor { elem_type: 1, shape: Some(TensorShapeProto { dim }) };
    let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() });
    ValueInfoProto { name: name.into(), r#type, ..ValueInfoProto::default() }
}
