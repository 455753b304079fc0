//! Models small enough to be loaded a hundred thousand times, in the form that the trainer exports.

use autochrome_model::contract::{self, Card, Output, write_card};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    tensor_proto::DataType,
    tensor_shape_proto::{Dimension, dimension::Value},
    type_proto,
};

pub(crate) fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&d| Dimension { value: Some(Value::DimValue(d)), ..Dimension::default() }).collect();
    let tensor = type_proto::Tensor { elem_type: 1, shape: Some(TensorShapeProto { dim }) };
    let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() });
    ValueInfoProto { name: name.into(), r#type, ..ValueInfoProto::default() }
}

pub(crate) fn node(op_type: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    let input = inputs.iter().map(|&s| s.into()).collect();
    NodeProto { op_type: op_type.into(), name: output.into(), input, output: vec![output.into()], attribute, ..NodeProto::default() }
}

pub(crate) fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: ints.to_vec(), r#type: 7, ..AttributeProto::default() }
}

pub(crate) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i, r#type: 2, ..AttributeProto::default() }
}

pub(crate) fn text(name: &str, text: &str) -> AttributeProto {
    AttributeProto { name: name.into(), s: text.into(), r#type: 3, ..AttributeProto::default() }
}

pub(crate) fn tensor(name: &str, dims: &[i64], data_type: DataType, raw_data: Vec<u8>) -> TensorProto {
    TensorProto { name: name.into(), dims: dims.to_vec(), data_type: data_type as i32, raw_data, ..TensorProto::default() }
}

pub(crate) fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

pub(crate) fn longs(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A model that keeps the contract around `graph`, whose output is ab.
pub(crate) fn model(graph: GraphProto) -> ModelProto {
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 18 }];
    let mut model = ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..ModelProto::default() };
    write_card(
        &mut model,
        &Card {
            name: "seed".into(),
            output: Output::Ab,
            temperature: 1.0,
            saturation: 1.0,
            color: contract::COLOR_CONSTANTS.into(),
            training: "made by hand".into(),
            license: "MIT".into(),
            calibration: None,
            float_parent_sha256: None,
        },
    );
    model
}

/// Writes a graph node by node.
struct Writer(GraphProto);

impl Writer {
    fn node(&mut self, op_type: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> String {
        self.0.node.push(node(op_type, inputs, output, attribute));
        output.into()
    }

    fn store(&mut self, name: &str, dims: &[i64], data_type: DataType, raw: Vec<u8>) -> String {
        self.0.initializer.push(tensor(name, dims, data_type, raw));
        name.into()
    }

    /// QuantizeLinear and DequantizeLinear behind `name`.
    fn pair(&mut self, name: &str, scale: f32, zero_point: u8) -> String {
        let scale = self.store(&format!("{name}_scale"), &[], DataType::Float, floats(&[scale]));
        let zero = self.store(&format!("{name}_zero_point"), &[], DataType::Uint8, vec![zero_point]);
        let bytes = self.node("QuantizeLinear", &[name, &scale, &zero], &format!("{name}_quantized"), vec![]);
        self.node("DequantizeLinear", &[&bytes, &scale, &zero], &format!("{name}_dequantized"), vec![])
    }

    /// A stored tensor behind a DequantizeLinear with a scale for each of its first index.
    fn dequantized(&mut self, name: &str, dims: &[i64], data_type: DataType, raw: Vec<u8>, scale: f32) -> String {
        let count = dims[0] as usize;
        let scales: Vec<f32> = (0..count).map(|c| scale * (1.0 + 0.1 * c as f32)).collect();
        let bytes = self.store(&format!("{name}_quantized"), dims, data_type, raw);
        let scale = self.store(&format!("{name}_scale"), &dims[..1], DataType::Float, floats(&scales));
        let zeros = vec![0; count * if data_type == DataType::Int32 { 4 } else { 1 }];
        let zero = self.store(&format!("{name}_zero_point"), &dims[..1], data_type, zeros);
        self.node("DequantizeLinear", &[&bytes, &scale, &zero], &format!("{name}_dequantized"), vec![int("axis", 0)])
    }

    /// A square convolution of `side` with int8 weights, and a bias of int32 if asked for.
    fn conv(&mut self, input: &str, output: &str, shape: [i64; 4], bias: bool) -> String {
        self.grouped(input, output, shape, bias, 1)
    }

    /// A convolution whose outputs each read `from` channels of their own group.
    fn grouped(&mut self, input: &str, output: &str, [from, to, side, stride]: [i64; 4], bias: bool, groups: i64) -> String {
        let weights = (0..to * from * side * side).map(|i| ((i * 73 + 19) % 255 - 127) as i8 as u8).collect();
        let mut inputs = vec![input.to_owned()];
        inputs.push(self.dequantized(&format!("{output}.weight"), &[to, from, side, side], DataType::Int8, weights, 0.004));
        if bias {
            let values = (0..to as i32).flat_map(|c| (c * 500 - 700).to_le_bytes()).collect();
            inputs.push(self.dequantized(&format!("{output}.bias"), &[to], DataType::Int32, values, 0.00004));
        }
        let pad = (side - 1) / 2;
        let attributes = vec![ints("strides", &[stride; 2]), ints("dilations", &[1, 1]), ints("pads", &[pad; 4]), int("group", groups)];
        self.node("Conv", &inputs.iter().map(String::as_str).collect::<Vec<_>>(), output, attributes)
    }

    fn channels(&mut self, input: &str, output: &str, from: i64, to: i64) -> String {
        let starts = self.store(&format!("{output}_starts"), &[1], DataType::Int64, longs(&[from]));
        let ends = self.store(&format!("{output}_ends"), &[1], DataType::Int64, longs(&[to]));
        let axes = self.store(&format!("{output}_axes"), &[1], DataType::Int64, longs(&[1]));
        let steps = self.store(&format!("{output}_steps"), &[1], DataType::Int64, longs(&[1]));
        self.node("Slice", &[input, &starts, &ends, &axes, &steps], output, vec![])
    }
}

/// One quantized convolution of stride 2, one of side 1, and a state that adds up: 13 nodes.
pub(crate) fn chain() -> ModelProto {
    let mut w = Writer(GraphProto { name: "chain".into(), ..GraphProto::default() });
    let x = w.pair("lightness", 1.0 / 255.0, 128);
    let x = w.conv(&x, "stem", [1, 4, 3, 2], true);
    let x = w.node("Relu", &[&x], "relu", vec![]);
    let x = w.pair(&x, 0.01, 0);
    w.conv(&x, "ab", [4, 2, 1, 1], true);
    let half = w.store("half", &[1, 1, 1, 1], DataType::Float, floats(&[0.5]));
    let kept = w.node("Mul", &["state_0_in", &half], "kept", vec![]);
    w.node("Add", &[&kept, "ab"], "state_0_out", vec![]);
    w.0.input = vec![value("lightness", &[1, 1, 8, 8]), value("state_0_in", &[1, 2, 4, 4])];
    w.0.output = vec![value("ab", &[1, 2, 4, 4]), value("state_0_out", &[1, 2, 4, 4])];
    model(w.0)
}

/// A recurrent U-Net of the shipped family, in small: two levels, a convolutional gated cell on half of the channels, a residual sum.
pub(crate) fn recurrent() -> ModelProto {
    let mut w = Writer(GraphProto { name: "recurrent".into(), ..GraphProto::default() });
    let x = w.pair("lightness", 1.0 / 255.0, 128);
    let x = w.conv(&x, "stem", [1, 4, 3, 2], true);
    let x = w.node("Relu", &[&x], "skip", vec![]);
    let skip = w.pair(&x, 0.008, 0);
    let x = w.conv(&skip, "down", [4, 4, 3, 2], true);
    let x = w.node("Relu", &[&x], "deep", vec![]);
    let deep = w.pair(&x, 0.008, 0);
    let x = w.conv(&deep, "residual", [4, 4, 3, 1], false);
    let x = w.node("Add", &[&deep, &x], "sum", vec![]);
    let x = w.node("Relu", &[&x], "after", vec![]);
    let x = w.pair(&x, 0.01, 0);
    let first = w.channels(&x, "first", 0, 2);
    let rest = w.channels(&x, "rest", 2, 4);
    let first = w.pair(&first, 0.01, 0);
    let gates_x = w.conv(&first, "gates_x", [2, 4, 3, 1], true);
    let candidate_x = w.conv(&first, "candidate_x", [2, 2, 3, 1], true);
    let state = w.pair("state_0_in", 2.0 / 255.0, 128);
    let gates_h = w.conv(&state, "gates_h", [2, 4, 3, 1], false);
    let gates = w.node("Add", &[&gates_x, &gates_h], "gates", vec![]);
    let gates = w.node("Sigmoid", &[&gates], "open", vec![]);
    let update = w.channels(&gates, "update", 0, 2);
    let keep = w.channels(&gates, "keep", 2, 4);
    let kept = w.node("Mul", &[&keep, "state_0_in"], "kept", vec![]);
    let kept = w.pair(&kept, 2.0 / 255.0, 128);
    let candidate_h = w.conv(&kept, "candidate_h", [2, 2, 3, 1], false);
    let candidate = w.node("Add", &[&candidate_x, &candidate_h], "candidate_sum", vec![]);
    let candidate = w.node("Tanh", &[&candidate], "candidate", vec![]);
    let change = w.node("Sub", &[&candidate, "state_0_in"], "change", vec![]);
    let change = w.node("Mul", &[&update, &change], "step", vec![]);
    let next = w.node("Add", &["state_0_in", &change], "state_0_out", vec![]);
    let x = w.node("Concat", &[&next, &rest], "both", vec![int("axis", 1)]);
    let x = w.pair(&x, 0.01, 100);
    let x = w.conv(&x, "grow", [4, 4, 1, 1], true);
    let x = w.node("Relu", &[&x], "grown", vec![]);
    let x = w.pair(&x, 0.008, 0);
    let scales = w.store("scales", &[4], DataType::Float, floats(&[1.0, 1.0, 2.0, 2.0]));
    let nearest = vec![text("mode", "nearest"), text("coordinate_transformation_mode", "asymmetric"), text("nearest_mode", "floor")];
    let x = w.node("Resize", &[&x, "", &scales], "larger", nearest);
    let x = w.pair(&x, 0.008, 0);
    let x = w.node("Concat", &[&x, &skip], "joined", vec![int("axis", 1)]);
    let x = w.pair(&x, 0.008, 0);
    let x = w.conv(&x, "out", [8, 4, 3, 1], true);
    let x = w.node("Relu", &[&x], "last", vec![]);
    let x = w.pair(&x, 0.01, 0);
    w.conv(&x, "ab", [4, 2, 1, 1], true);
    w.0.input = vec![value("lightness", &[1, 1, 8, 8]), value("state_0_in", &[1, 2, 2, 2])];
    w.0.output = vec![value("ab", &[1, 2, 4, 4]), value("state_0_out", &[1, 2, 2, 2])];
    model(w.0)
}

/// Two mobile blocks: pointwise, depthwise with windows of three and of five, ReLU6, a residual of sums and one of bytes. Its state adds up.
pub(crate) fn mobile() -> ModelProto {
    let mut w = Writer(GraphProto { name: "mobile".into(), ..GraphProto::default() });
    let low = w.store("low", &[], DataType::Float, floats(&[0.0]));
    let high = w.store("high", &[], DataType::Float, floats(&[6.0]));
    let x = w.pair("lightness", 1.0 / 255.0, 128);
    let x = w.conv(&x, "stem", [1, 4, 3, 2], true);
    let narrow = w.pair(&x, 0.01, 120);
    let x = w.conv(&narrow, "wide", [4, 20, 1, 1], true);
    let x = w.node("Clip", &[&x, &low, &high], "wide6", vec![]);
    let x = w.pair(&x, 6.0 / 255.0, 0);
    let x = w.grouped(&x, "deep", [1, 20, 3, 1], true, 20);
    let x = w.node("Clip", &[&x, &low, &high], "deep6", vec![]);
    let x = w.pair(&x, 0.03, 0);
    let x = w.conv(&x, "first", [20, 4, 1, 1], true);
    let x = w.node("Add", &[&x, &narrow], "first_sum", vec![]);
    let x = w.pair(&x, 0.01, 130);
    let second = w.grouped(&x, "second", [1, 4, 5, 1], true, 4);
    let second = w.pair(&second, 0.02, 100);
    let x = w.node("Add", &[&x, &second], "second_sum", vec![]);
    let x = w.pair(&x, 0.02, 110);
    let both = w.node("Concat", &[&x, &x], "both", vec![int("axis", 1)]);
    let x = w.grouped(&both, "last", [1, 8, 3, 1], false, 8);
    let x = w.pair(&x, 0.02, 128);
    w.conv(&x, "ab", [8, 2, 1, 1], true);
    w.node("Add", &["state_0_in", "ab"], "state_0_out", vec![]);
    w.0.input = vec![value("lightness", &[1, 1, 8, 8]), value("state_0_in", &[1, 2, 4, 4])];
    w.0.output = vec![value("ab", &[1, 2, 4, 4]), value("state_0_out", &[1, 2, 4, 4])];
    model(w.0)
}
