//! The known attacks, each a change to a model that runs, and what the refusal says.

use autochrome_model::contract::FILE_BYTES_MAX;
use prost::Message;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, StringStringEntryProto, TensorProto, ValueInfoProto,
    tensor_proto::DataType, tensor_shape_proto::dimension::Value, type_proto,
};

use crate::seeds::{chain, floats, int, ints, longs, node, tensor, text, value};

/// The file that the tests of whole programs use.
pub(crate) fn small() -> &'static [u8] {
    include_bytes!("../../../tests/data/small.onnx")
}

/// A file, and a part of the sentence that refuses it.
pub(crate) struct Case {
    pub(crate) says: &'static str,
    pub(crate) file: Box<dyn Fn() -> Vec<u8>>,
}

fn changed(says: &'static str, change: fn(&mut GraphProto)) -> Case {
    let file = move || {
        let mut model = chain();
        change(model.graph.as_mut().unwrap());
        model.encode_to_vec()
    };
    Case { says, file: Box::new(file) }
}

fn model(says: &'static str, change: fn(&mut ModelProto)) -> Case {
    let file = move || {
        let mut model = chain();
        change(&mut model);
        model.encode_to_vec()
    };
    Case { says, file: Box::new(file) }
}

fn stored<'a>(graph: &'a mut GraphProto, name: &str) -> &'a mut TensorProto {
    graph.initializer.iter_mut().find(|t| t.name == name).unwrap()
}

fn of<'a>(graph: &'a mut GraphProto, name: &str) -> &'a mut NodeProto {
    graph.node.iter_mut().find(|n| n.name == name).unwrap()
}

fn attribute<'a>(node: &'a mut NodeProto, name: &str) -> &'a mut AttributeProto {
    node.attribute.iter_mut().find(|a| a.name == name).unwrap()
}

/// Puts `more` behind the chain's relu; its last output is what the rest reads.
fn behind_relu(graph: &mut GraphProto, more: Vec<NodeProto>) {
    let last = more.last().unwrap().output[0].clone();
    let at = graph.node.iter().position(|n| n.name == "relu").unwrap() + 1;
    of(graph, "relu_quantized").input[0] = last;
    graph.node.splice(at..at, more);
}

fn one(graph: &mut GraphProto, op_type: &str, inputs: &[&str], attributes: Vec<AttributeProto>) {
    behind_relu(graph, vec![node(op_type, inputs, "more", attributes)]);
}

fn with_tensor(name: &str, tensor: TensorProto) -> AttributeProto {
    AttributeProto { name: name.into(), t: Some(tensor), r#type: 4, ..AttributeProto::default() }
}

fn with_graph(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto { name: name.into(), g: Some(graph), r#type: 5, ..AttributeProto::default() }
}

fn scale(graph: &mut GraphProto, name: &str, scale: f32) {
    stored(graph, name).raw_data = floats(&[scale]);
}

/// Declares dimension `at` of the lightness.
fn lightness(graph: &mut GraphProto, dims: &[i64]) {
    graph.input[0] = value("lightness", dims);
}

/// A protobuf field of bytes.
fn field(tag: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 12);
    for mut number in [tag << 3 | 2, bytes.len() as u64] {
        while number >= 0x80 {
            out.push(number as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
    }
    out.extend_from_slice(bytes);
    out
}

/// Files that a careless reader would give gigabytes, and what refuses them.
pub(crate) fn bombs() -> Vec<Case> {
    let all_empty = |outer: u64, inner: [u8; 2]| Box::new(move || field(outer, &inner.repeat((FILE_BYTES_MAX - 64) / 2)));
    vec![
        // 2 bytes a node, 2 bytes an attribute, 1 byte a dimension.
        Case { says: "decoded, it would take", file: all_empty(7, [1 << 3 | 2, 0]) },
        Case { says: "decoded, it would take", file: all_empty(7, [5 << 3 | 2, 0]) },
        Case { says: "decoded, it would take", file: Box::new(|| field(7, &field(1, &[5 << 3 | 2, 0].repeat(30 << 20)))) },
        Case { says: "decoded, it would take", file: Box::new(|| field(7, &field(5, &field(1, &vec![1; 60 << 20])))) },
        Case { says: "decoded, it would take", file: all_empty(14, [1 << 3 | 2, 0]) },
        changed("ConstantOfShape", |g| {
            g.initializer.push(tensor("huge", &[4], DataType::Int64, longs(&[1, 4, 4, 75_000_000])));
            one(g, "ConstantOfShape", &["huge"], vec![]);
        }),
        changed("Tile", |g| {
            g.initializer.push(tensor("often", &[4], DataType::Int64, longs(&[1, 1, 1 << 20, 1 << 20])));
            one(g, "Tile", &["relu", "often"], vec![]);
        }),
        changed("Expand", |g| {
            g.initializer.push(tensor("wide", &[4], DataType::Int64, longs(&[1, 4, 1 << 14, 1 << 14])));
            one(g, "Expand", &["relu", "wide"], vec![]);
        }),
        // Each concatenation doubles: 2^40 channels.
        changed("elements are allowed", |g| {
            let double = |i: usize| {
                let from = if i == 0 { "relu".to_owned() } else { format!("double_{}", i - 1) };
                node("Concat", &[&from, &from], &format!("double_{i}"), vec![int("axis", 1)])
            };
            behind_relu(g, (0..40).map(double).collect());
        }),
        changed("elements are allowed", |g| {
            g.initializer.push(tensor("column", &[8192, 1], DataType::Float, vec![0; 4 * 8192]));
            g.initializer.push(tensor("row", &[1, 8192], DataType::Float, vec![0; 4 * 8192]));
            one(g, "MatMul", &["column", "row"], vec![]);
        }),
        changed("elements are allowed", |g| {
            g.initializer.push(tensor("column", &[1, 1, 8192, 1], DataType::Float, vec![0; 4 * 8192]));
            g.initializer.push(tensor("row", &[1, 1, 1, 8192], DataType::Float, vec![0; 4 * 8192]));
            one(g, "Add", &["column", "row"], vec![]);
        }),
        changed("elements are allowed", |g| {
            g.initializer.push(tensor("scales", &[4], DataType::Float, floats(&[1.0, 1.0, 16.0, 16.0])));
            let larger = |i: usize| {
                let from = if i == 0 { "relu".to_owned() } else { format!("larger_{}", i - 1) };
                node("Resize", &[&from, "", "scales"], &format!("larger_{i}"), vec![text("mode", "nearest")])
            };
            behind_relu(g, (0..6).map(larger).collect());
        }),
        // Many tensors, none of them too large.
        changed("MiB and", |g| {
            lightness(g, &[1, 1, 2048, 2048]);
            let again = |i: usize| {
                let from = if i == 0 { "lightness".to_owned() } else { format!("again_{}", i - 1) };
                node("Relu", &[&from], &format!("again_{i}"), vec![])
            };
            g.node.splice(0..0, (0..100).map(again));
        }),
        // 64 x 64 windows of 2048 x 2048 pixels.
        changed("windows", |g| {
            lightness(g, &[1, 1, 2048, 2048]);
            g.initializer.push(tensor("wide", &[1, 1, 64, 64], DataType::Float, vec![0; 4 << 12]));
            g.node.insert(0, node("Conv", &["lightness", "wide"], "more", vec![]));
        }),
        changed("shape", |g| lightness(g, &[1, 1, 8192, 8192])),
    ]
}

/// Files that must be refused, and why.
pub(crate) fn refused() -> Vec<Case> {
    let mut cases = edges();
    cases.extend(graphs());
    cases.extend(operators());
    cases.extend(quantization());
    cases
}

/// The files themselves: protobuf, metadata, stored tensors.
fn edges() -> Vec<Case> {
    let bytes = |says: &'static str, file: fn() -> Vec<u8>| Case { says, file: Box::new(file) };
    vec![
        bytes("no metadata", Vec::new),
        bytes("not a readable ONNX file", || b"a text is no model, however long it goes on".to_vec()),
        bytes("not a readable ONNX file", || vec![0xff; 4096]),
        bytes("bytes; at most", || vec![0; FILE_BYTES_MAX + 1]),
        bytes("not a readable ONNX file", || [chain().encode_to_vec(), vec![0xff; 100]].concat()),
        bytes("in the middle of a field", || [chain().encode_to_vec(), b"\x3a\x7f".to_vec()].concat()),
        bytes("wire type", || [chain().encode_to_vec(), vec![0x0b; 1 << 20]].concat()),
        // Protobuf makes one of two: all lists are twice as long.
        bytes("operator sets [18, 18]", || [chain().encode_to_vec(), chain().encode_to_vec()].concat()),
        model("deep", |m| {
            let mut inner = GraphProto::default();
            for _ in 0..90 {
                inner.node = vec![NodeProto { attribute: vec![with_graph("body", inner.clone())], ..NodeProto::default() }];
            }
            m.graph = Some(inner);
        }),
        model("no graph", |m| m.graph = None),
        model("autochrome.card", |m| m.metadata_props[1].value = "[".repeat(100_000)),
        model("bytes long", |m| m.metadata_props[1].value = " ".repeat(8 << 20)),
        model("bins", |m| {
            let centers = vec!["[0,0]"; 2000].join(",");
            let output = format!("{{\"color_logits\":{{\"centers\":[{centers}]}}}}");
            m.metadata_props[1].value = m.metadata_props[1].value.replace("\"ab\"", &output);
        }),
        model("autochrome.card", |m| {
            m.metadata_props[1].value = m.metadata_props[1].value.replace("\"temperature\":1.0", "\"temperature\":1e999")
        }),
        model("temperature", |m| {
            m.metadata_props[1].value = m.metadata_props[1].value.replace("\"temperature\":1.0", "\"temperature\":-1")
        }),
        model("decoded, it would take", |m| {
            m.metadata_props.extend(vec![StringStringEntryProto { key: "x".into(), value: String::new() }; 1_500_000]);
        }),
        model("operator sets", |m| m.opset_import.clear()),
        model("operator sets", |m| m.opset_import[0].version = 7),
        model("operator sets", |m| m.opset_import[0].version = i64::MAX),
        model("for training", |m| m.training_info.push(tract_onnx::pb::TrainingInfoProto::default())),
        changed("not a finite number", |g| stored(g, "half").raw_data = floats(&[f32::NAN])),
        changed("not a finite number", |g| stored(g, "half").raw_data = floats(&[f32::INFINITY])),
        changed("not a finite number", |g| {
            let half = stored(g, "half");
            half.raw_data.clear();
            half.float_data = vec![f32::NEG_INFINITY];
        }),
        changed("another file", |g| {
            stored(g, "half").external_data = vec![StringStringEntryProto { key: "location".into(), value: "../../../etc/passwd".into() }];
        }),
        changed("another file", |g| stored(g, "half").data_location = Some(1)),
        changed("dimension of -4", |g| stored(g, "half").dims[0] = -4),
        changed("0 elements", |g| stored(g, "half").dims[0] = 0),
        changed("elements in shape", |g| stored(g, "half").dims = vec![1 << 40]),
        changed("elements in shape", |g| stored(g, "half").dims = vec![1 << 32, 1 << 32, 1, 1]),
        changed("elements in shape", |g| stored(g, "half").dims = vec![i64::MAX, i64::MAX, i64::MAX]),
        changed("dimensions; at most", |g| stored(g, "half").dims = vec![1; 1000]),
        changed("should hold 1 elements", |g| stored(g, "half").raw_data.push(0)),
        changed("should hold 1 elements", |g| stored(g, "half").raw_data.clear()),
        changed("should hold 1 elements", |g| stored(g, "half").float_data.push(0.5)),
        changed("should hold 1 elements", |g| stored(g, "half").string_data.push(b"0.5".to_vec())),
        changed("should hold 1000000 elements", |g| stored(g, "half").dims = vec![1000, 1000]),
        changed("data type 8", |g| {
            let half = stored(g, "half");
            (half.data_type, half.string_data, half.raw_data) = (8, vec![b"half".to_vec()], vec![]);
        }),
        changed("data type 10", |g| stored(g, "half").data_type = 10),
        changed("data type 11", |g| stored(g, "half").data_type = 11),
        changed("data type 0", |g| stored(g, "half").data_type = 0),
        changed("data type -1", |g| stored(g, "half").data_type = -1),
        changed("stored tensors have", |g| {
            g.initializer.extend((0..2).map(|i| tensor(&format!("half_{i}"), &[1 << 24], DataType::Int8, vec![0; 1 << 24])));
        }),
        changed("sparse", |g| g.sparse_initializer.push(SparseTensorProto::default())),
    ]
}

/// What is named, declared and counted.
fn graphs() -> Vec<Case> {
    vec![
        changed("nodes; at most", |g| relus(g, 600)),
        changed("nodes; at most", |g| relus(g, 20_000)),
        changed("nodes; at most", |g| relus(g, 100_000)),
        changed("inputs; at most", |g| g.input.extend((0..50_000).map(|i| value(&format!("i{i}"), &[1, 1, 1, 1])))),
        changed("stored tensors; at most", |g| {
            g.initializer.extend((0..50_000).map(|i| tensor(&format!("t{i}"), &[1], DataType::Int8, vec![0])));
        }),
        changed("outputs; at most", |g| g.output.extend(vec![g.output[0].clone(); 50_000])),
        changed("inner tensors; at most", |g| g.value_info = vec![ValueInfoProto::default(); 50_000]),
        changed("bytes long", |g| of(g, "relu").name = "n".repeat(1 << 20)),
        changed("bytes long", |g| g.input[0].name = "n".repeat(1 << 20)),
        changed("bytes long", |g| of(g, "relu").op_type = "n".repeat(1 << 20)),
        changed("nothing makes", |g| of(g, "relu").input[0] = "relu".into()),
        changed("nothing makes", |g| of(g, "stem").input[0] = "ab".into()),
        changed("nothing makes", |g| g.node.reverse()),
        changed("nothing makes", |g| of(g, "relu").input[0] = "elsewhere".into()),
        changed("made more than once", |g| of(g, "relu").output[0] = "stem".into()),
        changed("made more than once", |g| of(g, "relu").output[0] = "lightness".into()),
        changed("made more than once", |g| of(g, "relu").output[0] = "half".into()),
        changed("inputs", |g| g.input.push(g.input[0].clone())),
        changed("two inputs", |g| g.input.extend(vec![value("half", &[1, 1, 1, 1]); 2])),
        changed("is empty or taken", |g| g.initializer.push(g.initializer[0].clone())),
        changed("is empty or taken", |g| stored(g, "half").name.clear()),
        changed("no \"lightness\"", |g| stored(g, "half").name = "lightness".into()),
        changed("inputs", |g| g.output.push(g.output[0].clone())),
        changed("outputs", |g| g.output.push(value("relu", &[1, 4, 4, 4]))),
        changed("no \"state_0_out\"", |g| g.output[1] = g.output[0].clone()),
        changed("no name", |g| of(g, "relu").output[0].clear()),
        changed("outputs where 1 are expected", |g| of(g, "relu").output.push("more".into())),
        changed("outputs where 1 are expected", |g| of(g, "relu").output.clear()),
        changed("no node makes", |g| drop(g.node.pop())),
        changed("declared as [1, 2, 8, 8] but computed as [1, 2, 4, 4]", |g| g.output[0] = value("ab", &[1, 2, 8, 8])),
        changed("declared as [1, 4, 4, 9] but computed", |g| g.value_info.push(value("relu", &[1, 4, 4, 9]))),
        // A dimension that Tract would read as a formula, nested deep enough to end its stack.
        changed("every shape is fixed", |g| {
            let mut info = value("relu", &[1, 4, 4, 4]);
            if let Some(type_proto::Value::TensorType(tensor)) = info.r#type.as_mut().and_then(|t| t.value.as_mut()) {
                tensor.shape.as_mut().unwrap().dim[3].value = Some(Value::DimParam("(".repeat(1 << 20)));
            }
            g.value_info.push(info);
        }),
        changed("fixed", |g| lightness(g, &[1, 1, 8, 0])),
        changed("fixed", |g| lightness(g, &[1, 1, 8, -8])),
        changed("fixed", |g| lightness(g, &[1, 1, 1 << 40, 1 << 40])),
        changed("not a float tensor", |g| {
            if let Some(type_proto::Value::TensorType(tensor)) = g.input[0].r#type.as_mut().and_then(|t| t.value.as_mut()) {
                tensor.elem_type = 8;
            }
        }),
    ]
}

/// A chain of `count` nodes more.
fn relus(graph: &mut GraphProto, count: usize) {
    let next = |i: usize| {
        let from = if i == 0 { "relu".to_owned() } else { format!("r{}", i - 1) };
        node("Relu", &[&from], &format!("r{i}"), vec![])
    };
    behind_relu(graph, (0..count).map(next).collect());
}

/// Operators that stay out, and those that are in with what they cannot mean.
fn operators() -> Vec<Case> {
    vec![
        changed("\"ConstantOfShape\"", |g| {
            g.initializer.push(tensor("size", &[1], DataType::Int64, longs(&[-5])));
            one(g, "ConstantOfShape", &["size"], vec![]);
        }),
        changed("\"Loop\"", |g| one(g, "Loop", &["relu"], vec![])),
        changed("\"If\"", |g| one(g, "If", &["relu"], vec![])),
        changed("\"Scan\"", |g| one(g, "Scan", &["relu"], vec![])),
        changed("\"Range\"", |g| one(g, "Range", &["half", "half", "half"], vec![])),
        changed("\"OneHot\"", |g| one(g, "OneHot", &["half", "half", "half"], vec![])),
        changed("\"Pad\"", |g| one(g, "Pad", &["relu", "half"], vec![])),
        changed("\"RandomNormal\"", |g| one(g, "RandomNormal", &[], vec![ints("shape", &[1 << 20, 1 << 20])])),
        changed("\"NoSuchOperator\"", |g| one(g, "NoSuchOperator", &["relu"], vec![])),
        changed("which no colorizer needs", |g| of(g, "relu").domain = "com.example".into()),
        changed("holds a graph", |g| one(g, "Relu", &["relu"], vec![with_graph("body", GraphProto::default())])),
        changed("there twice", |g| {
            let stem = of(g, "stem");
            stem.attribute.push(stem.attribute[0].clone());
        }),
        changed("longer than any", |g| of(g, "stem").attribute.push(ints("x", &[1; 1000]))),
        changed("longer than any", |g| of(g, "stem").attribute.push(text("auto_pad", &"x".repeat(1 << 20)))),
        changed("more than", |g| of(g, "relu").input = vec!["stem".into(); 100_000]),
        changed("strides is [0, 2]", |g| attribute(of(g, "stem"), "strides").ints[0] = 0),
        changed("strides is [-1, 2]", |g| attribute(of(g, "stem"), "strides").ints[0] = -1),
        changed("strides", |g| attribute(of(g, "stem"), "strides").ints = vec![2]),
        changed("dilations", |g| attribute(of(g, "stem"), "dilations").ints[1] = i64::MAX),
        changed("its window reaches over", |g| attribute(of(g, "stem"), "dilations").ints[1] = 60),
        changed("pads", |g| attribute(of(g, "stem"), "pads").ints[1] = 1 << 40),
        changed("pads", |g| attribute(of(g, "stem"), "pads").ints[1] = -1),
        changed("group is 0", |g| attribute(of(g, "stem"), "group").i = 0),
        changed("group is -3", |g| attribute(of(g, "stem"), "group").i = -3),
        changed("groups do not fit", |g| attribute(of(g, "stem"), "group").i = i64::MAX),
        changed("auto_pad", |g| of(g, "stem").attribute.push(text("auto_pad", "SAME_SIDEWAYS"))),
        changed("kernel_shape", |g| of(g, "stem").attribute.push(ints("kernel_shape", &[5, 5]))),
        changed("expected", |g| stored(g, "stem.weight_quantized").dims = vec![4, 9]),
        changed("empty", |g| {
            let stem = of(g, "stem");
            stem.input[2].clear();
        }),
        changed("computed from a frame", |g| {
            let stem = of(g, "stem");
            stem.input = vec![stem.input[0].clone(), stem.input[0].clone()];
        }),
        changed("inputs; 2 to 3", |g| of(g, "stem").input.truncate(1)),
        changed("do not go together", |g| {
            g.initializer.push(tensor("odd", &[1, 3, 1, 1], DataType::Float, floats(&[1.0; 3])));
            one(g, "Mul", &["relu", "odd"], vec![]);
        }),
        changed("computes in float", |g| {
            g.initializer.push(tensor("zero", &[1, 1, 1, 1], DataType::Int32, vec![0; 4]));
            one(g, "Div", &["zero", "zero"], vec![]);
        }),
        changed("it makes [0, -1]", |g| {
            g.initializer.push(tensor("empty", &[0], DataType::Float, vec![]));
            g.initializer.push(tensor("shape", &[2], DataType::Int64, longs(&[0, -1])));
            one(g, "Reshape", &["empty", "shape"], vec![]);
        }),
        changed("no stored list", |g| one(g, "Reshape", &["relu", "half"], vec![])),
        changed("it makes", |g| {
            g.initializer.push(tensor("shape", &[2], DataType::Int64, longs(&[-1, -1])));
            one(g, "Reshape", &["relu", "shape"], vec![]);
        }),
        changed("it makes", |g| {
            g.initializer.push(tensor("shape", &[4], DataType::Int64, longs(&[1 << 32, 1 << 32, 1 << 32, 1 << 32])));
            one(g, "Reshape", &["relu", "shape"], vec![]);
        }),
        changed("it makes", |g| {
            g.initializer.push(tensor("shape", &[2], DataType::Int64, longs(&[i64::MIN, -1])));
            one(g, "Reshape", &["relu", "shape"], vec![]);
        }),
        changed("it takes", |g| {
            g.initializer.push(tensor("from", &[1], DataType::Int64, longs(&[3])));
            g.initializer.push(tensor("to", &[1], DataType::Int64, longs(&[i64::MIN])));
            one(g, "Slice", &["relu", "from", "to"], vec![]);
        }),
        changed("is not among", |g| {
            g.initializer.push(tensor("from", &[1], DataType::Int64, longs(&[0])));
            g.initializer.push(tensor("axes", &[1], DataType::Int64, longs(&[i64::MIN])));
            one(g, "Slice", &["relu", "from", "axes", "axes"], vec![]);
        }),
        changed("it takes", |g| {
            g.initializer.push(tensor("from", &[1], DataType::Int64, longs(&[0])));
            g.initializer.push(tensor("to", &[1], DataType::Int64, longs(&[4])));
            g.initializer.push(tensor("axes", &[1], DataType::Int64, longs(&[1])));
            g.initializer.push(tensor("steps", &[1], DataType::Int64, longs(&[i64::MIN])));
            one(g, "Slice", &["relu", "from", "to", "axes", "steps"], vec![]);
        }),
        changed("axis", |g| one(g, "Concat", &["relu", "relu"], vec![int("axis", i64::MIN)])),
        changed("axis", |g| one(g, "Softmax", &["relu"], vec![int("axis", 4)])),
        changed("axis", |g| one(g, "Flatten", &["relu"], vec![int("axis", i64::MAX)])),
        changed("perm", |g| one(g, "Transpose", &["relu"], vec![ints("perm", &[0, 0, 1, 9])])),
        changed("it casts to", |g| one(g, "Cast", &["relu"], vec![int("to", 8)])),
        changed("it splits", |g| {
            g.initializer.push(tensor("parts", &[1], DataType::Int64, longs(&[-4])));
            one(g, "Split", &["relu", "parts"], vec![int("axis", 1)]);
        }),
        changed("its scales are", |g| {
            g.initializer.push(tensor("scales", &[4], DataType::Float, floats(&[1.0, 1.0, 1e9, 1e9])));
            one(g, "Resize", &["relu", "", "scales"], vec![text("mode", "nearest")]);
        }),
        changed("its scales are", |g| {
            g.initializer.push(tensor("scales", &[4], DataType::Float, floats(&[1.0, 1.0, -2.0, 0.0])));
            one(g, "Resize", &["relu", "", "scales"], vec![text("mode", "nearest")]);
        }),
        changed("its sizes are", |g| {
            g.initializer.push(tensor("sizes", &[4], DataType::Int64, longs(&[1, 4, 0, i64::MAX])));
            one(g, "Resize", &["relu", "", "", "sizes"], vec![text("mode", "nearest")]);
        }),
        changed("kernel_shape is missing", |g| one(g, "MaxPool", &["relu"], vec![])),
        changed("pads are as large", |g| {
            one(g, "AveragePool", &["relu"], vec![ints("kernel_shape", &[2, 2]), ints("pads", &[2, 2, 2, 2])]);
        }),
        changed("data type 8", |g| {
            let strings = TensorProto { data_type: 8, dims: vec![1], string_data: vec![b"x".to_vec()], ..TensorProto::default() };
            one(g, "Constant", &[], vec![with_tensor("value", strings)]);
        }),
        changed("not a finite number", |g| {
            let alpha = AttributeProto { name: "alpha".into(), f: f32::NAN, r#type: 1, ..AttributeProto::default() };
            one(g, "LeakyRelu", &["relu"], vec![alpha]);
        }),
    ]
}

/// Scales and zero points.
fn quantization() -> Vec<Case> {
    vec![
        changed("a scale is 0", |g| scale(g, "relu_scale", 0.0)),
        changed("a scale is -0.01", |g| scale(g, "relu_scale", -0.01)),
        changed("a scale is", |g| scale(g, "relu_scale", 1e-44)),
        changed("a scale is", |g| scale(g, "relu_scale", 3e38)),
        changed("not a finite number", |g| scale(g, "relu_scale", f32::NAN)),
        changed("not a finite number", |g| scale(g, "relu_scale", f32::INFINITY)),
        changed("its scale is computed", |g| of(g, "relu_quantized").input[1] = "relu".into()),
        changed("its zero point of shape", |g| of(g, "relu_quantized").input[2] = "lightness".into()),
        changed("its zero point of shape", |g| stored(g, "relu_zero_point").dims = vec![1]),
        changed("data type", |g| {
            let zero = stored(g, "relu_zero_point");
            (zero.data_type, zero.raw_data) = (6, vec![0; 4]);
        }),
        changed("its zero point of", |g| stored(g, "stem.weight_zero_point").data_type = 2),
        changed("int32 zero point is not 0", |g| stored(g, "stem.bias_zero_point").raw_data[0] = 1),
        changed("do not fit its input", |g| attribute(of(g, "stem.weight_dequantized"), "axis").i = 1),
        changed("axis", |g| attribute(of(g, "stem.weight_dequantized"), "axis").i = i64::MIN),
        changed("do not fit its input", |g| of(g, "relu_quantized").attribute.push(int("block_size", 2))),
    ]
}
