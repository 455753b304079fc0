//! The plain networks that are compared: a recurrent U-Net of 3x3 convolutions in the exporter's form, with weights from a seed.

use autochrome_model::contract::{self, AB, Card, LIGHTNESS, Output};
use autochrome_trainer::export::fold::{float_tensor, tensor};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto, ValueInfoProto,
    tensor_proto::DataType,
    tensor_shape_proto::{Dimension, dimension::Value},
    type_proto,
};

/// Four stages that halve the picture, a ConvGRU on the last, three that double it again, and ab at half the input's size.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlainNet {
    /// What reports call it.
    pub(crate) name: String,
    /// Input width, a multiple of 16.
    pub(crate) width: usize,
    /// Input height, a multiple of 16.
    pub(crate) height: usize,
    /// Channels at 1/2, 1/4, 1/8 and 1/16 of the input's size.
    pub(crate) widths: [usize; 4],
}

impl PlainNet {
    /// The network of `docs/benchmarks.md`: 1.13 M parameters, 469 M multiply-adds a frame.
    pub(crate) fn a192() -> Self {
        Self { name: "a192".into(), width: 256, height: 192, widths: [16, 32, 64, 128] }
    }

    /// What a strong board could run: about 1.5 G multiply-adds a frame.
    pub(crate) fn large() -> Self {
        Self { name: "large".into(), width: 320, height: 224, widths: [24, 48, 96, 192] }
    }

    /// The float model: \[1, 1, H, W\] lightness and \[1, C, H/16, W/16\] state in, \[1, 2, H/2, W/2\] ab and the next state out.
    pub(crate) fn to_onnx(&self) -> ModelProto {
        let [half, quarter, eighth, deep] = self.widths;
        let (state_in, state_out) = (contract::state_in(0), contract::state_out(0));
        let mut net = Builder::default();
        let half_skip = net.stage("stem", LIGHTNESS, 1, half, 2);
        let quarter_skip = net.stage("to_quarter", &half_skip, half, quarter, 2);
        let eighth_skip = net.stage("to_eighth", &quarter_skip, quarter, eighth, 2);
        let x = net.stage("to_sixteenth", &eighth_skip, eighth, deep, 2);
        net.memory(&x, &state_in, &state_out, deep);
        let mut x = state_out.clone();
        let ups = [
            ("eighth_out", deep, eighth, &eighth_skip),
            ("quarter_out", eighth, quarter, &quarter_skip),
            ("half_out", quarter, half, &half_skip),
        ];
        for (name, from, to, skip) in ups {
            let grown = net.twice(&x);
            let joined = net.op("Concat", &[&grown, skip], vec![integer("axis", 1)]);
            x = net.stage(name, &joined, from + to, to, 1);
        }
        net.convolution("head", &x, Convolution { from: half, to: 2, kernel: 1, stride: 1, gain: 1.0, bias: true });
        net.rename_last(AB);
        let state = [1, deep, self.height / 16, self.width / 16];
        let graph = GraphProto {
            name: "colorizer".into(),
            input: vec![value(LIGHTNESS, [1, 1, self.height, self.width]), value(&state_in, state)],
            output: vec![value(AB, [1, 2, self.height / 2, self.width / 2]), value(&state_out, state)],
            ..net.graph
        };
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 18 }];
        let mut model = ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..ModelProto::default() };
        contract::write_card(&mut model, &self.card());
        model
    }

    fn card(&self) -> Card {
        Card {
            name: format!("{}-{}x{}", self.name, self.width, self.height),
            output: Output::Ab,
            temperature: 1.0,
            saturation: 1.0,
            color: contract::COLOR_CONSTANTS.into(),
            training: "none: random weights, for measuring speed".into(),
            license: "MIT OR Apache-2.0".into(),
            calibration: None,
            float_parent_sha256: None,
        }
    }
}

/// A convolution with as much padding as keeps the size at stride 1.
struct Convolution {
    from: usize,
    to: usize,
    kernel: usize,
    stride: usize,
    /// The weights' standard deviation is this over the square root of what one output sums.
    gain: f64,
    bias: bool,
}

#[derive(Default)]
struct Builder {
    graph: GraphProto,
    noise: Noise,
}

impl Builder {
    /// Adds a node and gives its output's name.
    fn op(&mut self, op_type: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> String {
        let name = format!("{}_{}", op_type.to_lowercase(), self.graph.node.len());
        let input = inputs.iter().map(|&input| input.into()).collect();
        let node =
            NodeProto { op_type: op_type.into(), name: name.clone(), input, output: vec![name.clone()], attribute, ..NodeProto::default() };
        self.graph.node.push(node);
        name
    }

    fn rename_last(&mut self, name: &str) {
        if let Some(node) = self.graph.node.last_mut() {
            node.output = vec![name.into()];
        }
    }

    fn convolution(&mut self, name: &str, input: &str, shape: Convolution) -> String {
        let Convolution { from, to, kernel, stride, gain, bias } = shape;
        let deviation = gain / ((from * kernel * kernel) as f64).sqrt();
        let (weight_name, bias_name) = (format!("{name}.conv.weight"), format!("{name}.conv.bias"));
        let weights = self.noise.normal(to * from * kernel * kernel, deviation);
        self.graph.initializer.push(float_tensor(&weight_name, &[to as i64, from as i64, kernel as i64, kernel as i64], &weights));
        let mut inputs = vec![input, &weight_name];
        if bias {
            let biases = self.noise.normal(to, 0.05);
            self.graph.initializer.push(float_tensor(&bias_name, &[to as i64], &biases));
            inputs.push(&bias_name);
        }
        let (stride, pad) = (stride as i64, (kernel / 2) as i64);
        let attributes = vec![
            integers("strides", &[stride; 2]),
            integers("dilations", &[1; 2]),
            integers("pads", &[pad; 4]),
            integer("group", 1),
            integers("kernel_shape", &[kernel as i64; 2]),
        ];
        self.op("Conv", &inputs, attributes)
    }

    /// 3x3 convolution (He et al. 2015: gain sqrt 2) and ReLU.
    fn stage(&mut self, name: &str, input: &str, from: usize, to: usize, stride: usize) -> String {
        let convolution = Convolution { from, to, kernel: 3, stride, gain: std::f64::consts::SQRT_2, bias: true };
        let sum = self.convolution(name, input, convolution);
        self.op("Relu", &[&sum], vec![])
    }

    /// The trainer's ConvGRU: `h' = h + z (c - h)`. Its hidden convolutions have a small gain, so that it forgets as a trained one does; a chaotic
    /// one would magnify the last bit of a rounding, and nothing could be compared.
    fn memory(&mut self, x: &str, state: &str, next: &str, channels: usize) {
        let input = |to| Convolution { from: channels, to, kernel: 3, stride: 1, gain: 1.0, bias: true };
        let hidden = |to| Convolution { from: channels, to, kernel: 3, stride: 1, gain: 0.5, bias: false };
        let gates_x = self.convolution("memory.gates_x", x, input(2 * channels));
        let candidate_x = self.convolution("memory.candidate_x", x, input(channels));
        let gates_h = self.convolution("memory.gates_h", state, hidden(2 * channels));
        let gates = self.op("Add", &[&gates_x, &gates_h], vec![]);
        let gates = self.op("Sigmoid", &[&gates], vec![]);
        let update = self.channels(&gates, 0, channels);
        let keep = self.channels(&gates, channels, 2 * channels);
        let kept = self.op("Mul", &[&keep, state], vec![]);
        let candidate_h = self.convolution("memory.candidate_h", &kept, hidden(channels));
        let candidate = self.op("Add", &[&candidate_x, &candidate_h], vec![]);
        let candidate = self.op("Tanh", &[&candidate], vec![]);
        let change = self.op("Sub", &[&candidate, state], vec![]);
        let change = self.op("Mul", &[&update, &change], vec![]);
        self.op("Add", &[state, &change], vec![]);
        self.rename_last(next);
    }

    /// Channels `from` to `until` (exclusive) of `input`.
    fn channels(&mut self, input: &str, from: usize, until: usize) -> String {
        let name = format!("node_{}", self.graph.node.len());
        let end = i64::MAX;
        let constants =
            [("starts", [0, from as i64, 0, 0]), ("ends", [end, until as i64, end, end]), ("axes", [0, 1, 2, 3]), ("steps", [1; 4])];
        let mut inputs = vec![input.to_owned()];
        for (role, values) in constants {
            let raw = values.iter().flat_map(|v: &i64| v.to_le_bytes()).collect();
            self.graph.initializer.push(tensor(&format!("{name}_{role}"), &[4], DataType::Int64 as i32, raw));
            inputs.push(format!("{name}_{role}"));
        }
        self.op("Slice", &inputs.iter().map(String::as_str).collect::<Vec<_>>(), vec![])
    }

    /// Nearest upsampling by two.
    fn twice(&mut self, input: &str) -> String {
        let scales = format!("resize_{}_scales", self.graph.node.len());
        self.graph.initializer.push(float_tensor(&scales, &[4], &[1.0, 1.0, 2.0, 2.0]));
        let attributes = vec![text("mode", "nearest"), text("coordinate_transformation_mode", "asymmetric"), text("nearest_mode", "floor")];
        self.op("Resize", &[input, "", &scales], attributes)
    }
}

fn integer(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i, r#type: 2, ..AttributeProto::default() }
}

fn integers(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: values.to_vec(), r#type: 7, ..AttributeProto::default() }
}

fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { name: name.into(), s: value.as_bytes().to_vec(), r#type: 3, ..AttributeProto::default() }
}

fn value(name: &str, dims: [usize; 4]) -> ValueInfoProto {
    let dim = dims.iter().map(|&d| Dimension { value: Some(Value::DimValue(d as i64)), ..Dimension::default() }).collect();
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(TensorShapeProto { dim }) };
    let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() });
    ValueInfoProto { name: name.into(), r#type, ..ValueInfoProto::default() }
}

/// Normal numbers, always the same ones: SplitMix64 and the Box-Muller transform.
#[derive(Default)]
struct Noise(u64);

impl Noise {
    /// Above 0, at most 1.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (((z ^ (z >> 31)) >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self, count: usize, deviation: f64) -> Vec<f32> {
        let mut one = || {
            let (radius, angle) = ((-2.0 * self.uniform().ln()).sqrt(), std::f64::consts::TAU * self.uniform());
            (deviation * radius * angle.cos()) as f32
        };
        (0..count).map(|_| one()).collect()
    }
}
