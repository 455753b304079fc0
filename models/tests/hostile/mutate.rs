//! Changes to model files: to their bytes, and to what they say.

use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, tensor_shape_proto::dimension::Value, type_proto};

use crate::seeds::{floats, int, longs, node, text, value};

/// SplitMix64 (Steele, Lea and Flood 2014): a case is its number.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, or 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(crate) fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

const INTS: [i64; 24] = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 63, 64, 65, 255, -1, -2, -3, -4, 1 << 20, 1 << 31, 1 << 40, i64::MAX, i64::MIN];
const SMALL_INTS: [i64; 8] = [0, 1, 2, 3, 4, 5, -1, -2];
const FLOATS: [f32; 16] =
    [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-3, 1e3, 1e-45, 1e-30, 1e-18, 1e18, 3e38, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
const TYPES: [i32; 14] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 16, 9999];
const OPERATORS: [&str; 38] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "Conv",
    "ConvTranspose",
    "DequantizeLinear",
    "Div",
    "Exp",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Mul",
    "Neg",
    "QuantizeLinear",
    "Relu",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Split",
    "Sub",
    "Tanh",
    "Transpose",
    "ConstantOfShape",
    "Loop",
    "Tile",
    "Expand",
];
/// Those of one float input and an output of the same shape, and what they need said.
const INSERTED: [&str; 16] = [
    "Relu",
    "LeakyRelu",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Tanh",
    "Exp",
    "Neg",
    "Identity",
    "Softmax",
    "Transpose",
    "Cast",
    "Clip",
    "MaxPool",
    "AveragePool",
    "twice",
];

/// Bytes changed, added, removed, repeated or cut off.
pub(crate) fn bytes(random: &mut Random, file: &mut Vec<u8>) {
    for _ in 0..=random.below(4) {
        let at = random.below(file.len());
        match random.below(8) {
            0..=2 => file[at] ^= 1 << random.below(8),
            3 | 4 => file[at] = random.next() as u8,
            5 => file.insert(at, random.next() as u8),
            6 => drop(file.drain(at..(at + 1 + random.below(8)).min(file.len()))),
            _ if random.below(4) == 0 => file.truncate(at),
            _ => {
                let part = file[at..(at + random.below(64)).min(file.len())].to_vec();
                let to = random.below(file.len());
                file.splice(to..to, part);
            }
        }
        if file.is_empty() {
            return;
        }
    }
}

/// One to three changes to what the model says.
pub(crate) fn structure(random: &mut Random, model: &mut ModelProto) {
    for _ in 0..[1, 1, 1, 2, 3][random.below(5)] {
        let Some(graph) = &mut model.graph else { return };
        match random.below(20) {
            0..=5 => stored(random, graph),
            6..=9 => attribute(random, graph),
            10..=13 => wiring(random, graph),
            14 | 15 => insert(random, graph),
            16 => declared(random, graph),
            17 | 18 => window(random, graph),
            _ => {
                let nodes = graph.node.len();
                if nodes > 1 {
                    match random.below(3) {
                        0 => drop(graph.node.remove(random.below(nodes))),
                        1 => graph.node.swap(random.below(nodes), random.below(nodes)),
                        _ => {
                            let mut again = graph.node[random.below(nodes)].clone();
                            if random.below(2) == 0 {
                                again.output.iter_mut().for_each(|name| name.push('2'));
                                again.name.push('2');
                            }
                            graph.node.insert(random.below(nodes), again);
                        }
                    }
                }
            }
        }
    }
}

fn stored(random: &mut Random, graph: &mut GraphProto) {
    let count = graph.initializer.len();
    if count == 0 {
        return;
    }
    // Scales and zero points are where a fused kernel could believe too much.
    let scalar = random.below(2) == 0;
    let at = (0..8).map(|_| random.below(count)).find(|&at| (graph.initializer[at].raw_data.len() <= 16) == scalar);
    let at = at.unwrap_or_else(|| random.below(count));
    if random.below(24) == 0 {
        graph.initializer.remove(at);
        return;
    }
    let TensorProto { dims, data_type, raw_data, float_data, int64_data, .. } = &mut graph.initializer[at];
    let length = raw_data.len();
    match random.below(10) {
        0..=2 if *data_type == 1 && length >= 4 => {
            let at = random.below(length / 4) * 4;
            raw_data.splice(at..at + 4, floats(&[random.of(&FLOATS)]));
        }
        0..=2 if *data_type == 7 && length >= 8 => {
            let at = random.below(length / 8) * 8;
            raw_data.splice(at..at + 8, longs(&[random.of(&INTS)]));
        }
        3 | 4 if *data_type == 1 && length >= 4 => {
            let factor = 2_f32.powi(random.below(41) as i32 - 20);
            *raw_data =
                raw_data.chunks_exact(4).flat_map(|b| (f32::from_le_bytes([b[0], b[1], b[2], b[3]]) * factor).to_le_bytes()).collect();
        }
        0..=4 if length > 0 => {
            let at = random.below(length);
            raw_data[at] = random.of(&[0, 1, 127, 128, 129, 255]);
        }
        5 if !dims.is_empty() => {
            let at = random.below(dims.len());
            dims[at] = random.of(&INTS);
        }
        6 => dims.reverse(),
        7 => match random.below(3) {
            0 => dims.push(1),
            1 => dims.insert(0, 1),
            _ => drop(dims.pop()),
        },
        // Signed and unsigned bytes are as long, so that such a file stays whole.
        8 => *data_type = if random.below(2) == 0 { 5 - *data_type } else { random.of(&TYPES) },
        _ => match random.below(4) {
            0 => raw_data.truncate(length / 2),
            1 => raw_data.push(0),
            2 => float_data.push(1.0),
            _ => int64_data.push(1),
        },
    }
}

fn attribute(random: &mut Random, graph: &mut GraphProto) {
    let with: Vec<usize> = (0..graph.node.len()).filter(|&n| !graph.node[n].attribute.is_empty()).collect();
    if with.is_empty() {
        return;
    }
    let node = &mut graph.node[random.of(&with)];
    let at = random.below(node.attribute.len());
    let attribute = &mut node.attribute[at];
    match random.below(12) {
        0..=5 if !attribute.ints.is_empty() => {
            let at = random.below(attribute.ints.len());
            attribute.ints[at] = if random.below(3) == 0 { random.of(&INTS) } else { random.of(&SMALL_INTS) };
        }
        0..=5 if attribute.r#type == 2 => attribute.i = if random.below(3) == 0 { random.of(&INTS) } else { random.of(&SMALL_INTS) },
        0..=5 => {
            attribute.s = random
                .of(&[
                    "nearest",
                    "linear",
                    "cubic",
                    "half_pixel",
                    "align_corners",
                    "pytorch_half_pixel",
                    "ceil",
                    "tf_crop_and_resize",
                    "",
                    "\u{e9}",
                ])
                .into()
        }
        6 => attribute.ints.push(random.of(&SMALL_INTS)),
        7 => drop(attribute.ints.pop()),
        8 => attribute.r#type = random.below(15) as i32,
        9 => attribute.name = random.of(&["auto_pad", "axis", "to", "kernel_shape", "dilations", "x"]).into(),
        10 => drop(node.attribute.remove(at)),
        _ => {
            let more = match random.below(5) {
                0 => text("auto_pad", random.of(&["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET", "OTHER"])),
                1 => int("ceil_mode", 1),
                2 => int("axis", random.of(&SMALL_INTS)),
                3 => int("antialias", 1),
                _ => int("group", random.of(&SMALL_INTS)),
            };
            node.attribute.push(more);
        }
    }
}

/// Changes of a convolution that may still fit: strides, pads and dilations together.
fn window(random: &mut Random, graph: &mut GraphProto) {
    let convs: Vec<usize> = (0..graph.node.len()).filter(|&n| graph.node[n].op_type == "Conv").collect();
    if convs.is_empty() {
        return;
    }
    let conv = &mut graph.node[random.of(&convs)];
    let dilation = 1 + random.below(3) as i64;
    for attribute in &mut conv.attribute {
        match attribute.name.as_str() {
            "dilations" => attribute.ints = vec![dilation, 1 + random.below(2) as i64 * (dilation - 1)],
            "pads" => attribute.ints = (0..4).map(|_| random.of(&[0, 1, dilation, 2])).collect(),
            "strides" if random.below(3) == 0 => attribute.ints = vec![1 + random.below(3) as i64, 1 + random.below(3) as i64],
            _ => {}
        }
    }
}

fn wiring(random: &mut Random, graph: &mut GraphProto) {
    let names: Vec<String> = graph
        .node
        .iter()
        .flat_map(|n| n.output.clone())
        .chain(graph.initializer.iter().map(|t| t.name.clone()))
        .chain(graph.input.iter().map(|i| i.name.clone()))
        .collect();
    let nodes = graph.node.len();
    if nodes == 0 {
        return;
    }
    let at = random.below(nodes);
    let earlier: Vec<String> = graph.node[..at].iter().flat_map(|n| n.output.clone()).collect();
    let NodeProto { input, output, op_type, name, .. } = &mut graph.node[at];
    match random.below(9) {
        0 | 1 if !input.is_empty() => {
            let at = random.below(input.len());
            input[at].clone_from(&names[random.below(names.len())]);
        }
        2..=4 if !input.is_empty() && !earlier.is_empty() => {
            let at = random.below(input.len());
            input[at].clone_from(&earlier[random.below(earlier.len())]);
        }
        5 if input.len() > 1 => {
            let (a, b) = (random.below(input.len()), random.below(input.len()));
            input.swap(a, b);
        }
        6 => *op_type = random.of(&OPERATORS).into(),
        7 => match random.below(5) {
            0 => drop(input.pop()),
            1 => input.push(names[random.below(names.len())].clone()),
            2 => input.push(String::new()),
            3 => output.push("more".into()),
            _ => drop(output.pop()),
        },
        _ => match random.below(3) {
            0 => name.clear(),
            1 => name.clone_from(&names[random.below(names.len())]),
            _ if !output.is_empty() => output[0].clone_from(&names[random.below(names.len())]),
            _ => {}
        },
    }
}

/// A node between a tensor and one of its readers.
fn insert(random: &mut Random, graph: &mut GraphProto) {
    let nodes = graph.node.len();
    if nodes == 0 {
        return;
    }
    let at = random.below(nodes);
    if graph.node[at].input.is_empty() {
        return;
    }
    let input = random.below(graph.node[at].input.len());
    let from = graph.node[at].input[input].clone();
    let name = format!("inserted_{}", random.below(1000));
    let window = || vec![crate::seeds::ints("kernel_shape", &[1, 1])];
    let more = match random.of(&INSERTED) {
        "Transpose" => node("Transpose", &[&from], &name, vec![crate::seeds::ints("perm", &[0, 1, 3, 2])]),
        "Softmax" => node("Softmax", &[&from], &name, vec![int("axis", random.of(&SMALL_INTS))]),
        "Cast" => node("Cast", &[&from], &name, vec![int("to", random.of(&[1, 2, 3, 6, 7, 10]))]),
        pool @ ("MaxPool" | "AveragePool") => node(pool, &[&from], &name, window()),
        "twice" => node("Add", &[&from, &from], &name, vec![]),
        operator => node(operator, &[&from], &name, vec![]),
    };
    graph.node[at].input[input] = name;
    graph.node.insert(at, more);
}

fn declared(random: &mut Random, graph: &mut GraphProto) {
    let GraphProto { input, output, value_info, .. } = graph;
    if random.below(4) == 0 {
        let dims = [1, random.of(&INTS), 2, 2];
        let name = graph.node.first().and_then(|n| n.output.first()).cloned().unwrap_or_default();
        value_info.push(value(&name, &dims));
    }
    let all: Vec<&mut ValueInfoProto> = input.iter_mut().chain(output).chain(value_info).collect();
    let count = all.len();
    let Some(value) = all.into_iter().nth(random.below(count)) else { return };
    let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_mut().and_then(|t| t.value.as_mut()) else { return };
    let Some(shape) = &mut tensor.shape else { return };
    let at = random.below(shape.dim.len());
    match random.below(6) {
        0..=2 if at < shape.dim.len() => shape.dim[at].value = Some(Value::DimValue(random.of(&INTS))),
        3 if at < shape.dim.len() => shape.dim[at].value = Some(Value::DimParam("N".into())),
        4 => drop(shape.dim.pop()),
        _ => tensor.elem_type = random.of(&TYPES),
    }
}
