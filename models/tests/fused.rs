//! The fusing pass, on small networks made here in the exporter's form: whatever it makes of a graph computes what Tract computes, on every
//! instruction set and number of threads.
//!
//! All scales are powers of two and all sums are short, so that neither the order of additions nor the place of a multiplication changes a bit:
//! outputs are compared for equality.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::num::NonZeroUsize;

use autochrome_model::contract::{self, Card, Output, state_in, state_out, write_card};
use autochrome_model::{Colorizer, Fused, InstructionSet, Plane, Runtime};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};

/// A small generator of random numbers (xorshift64*), so that a case is named by its seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// From 0 to `count - 1`.
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % count
    }

    fn within(&mut self, low: i32, high: i32) -> i32 {
        low + self.below((high - low + 1) as usize) as i32
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// What bytes mean: scale and zero point.
type Meaning = (f32, u8);

/// A tensor of a network that is being made.
#[derive(Clone, Debug)]
struct Value {
    name: String,
    /// \[channels, height, width\].
    shape: [usize; 3],
    /// If its numbers are dequantized bytes.
    bytes: Option<Meaning>,
}

/// A convolution that is to be made.
#[derive(Clone, Copy)]
struct Wanted {
    outputs: usize,
    kernel: usize,
    stride: usize,
    /// Pixels of padding in front of the first row and column, and behind the last.
    padding: [usize; 2],
    group: usize,
    biased: bool,
}

impl Wanted {
    fn plain(outputs: usize, kernel: usize) -> Self {
        Self { outputs, kernel, stride: 1, padding: [kernel / 2; 2], group: 1, biased: true }
    }

    fn depthwise(channels: usize, kernel: usize) -> Self {
        Self { group: channels, ..Self::plain(channels, kernel) }
    }
}

/// A network that is being made.
struct Network {
    graph: GraphProto,
    random: Random,
    lightness: Value,
}

fn info(name: &str, [channels, height, width]: [usize; 3]) -> ValueInfoProto {
    let dims = [1, channels, height, width];
    let dim = dims.iter().map(|&d| Dimension { value: Some(dimension::Value::DimValue(d as i64)), ..Dimension::default() }).collect();
    let tensor = type_proto::Tensor { elem_type: 1, shape: Some(TensorShapeProto { dim }) };
    let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() });
    ValueInfoProto { name: name.into(), r#type, ..ValueInfoProto::default() }
}

fn ints(name: &str, ints: &[usize]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: ints.iter().map(|&v| v as i64).collect(), r#type: 7, ..AttributeProto::default() }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i, r#type: 2, ..AttributeProto::default() }
}

fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { name: name.into(), s: s.as_bytes().to_vec(), r#type: 3, ..AttributeProto::default() }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.into(), f, r#type: 1, ..AttributeProto::default() }
}

const FLOAT: i32 = 1;
const UINT8: i32 = 2;
const INT8: i32 = 3;
const INT32: i32 = 6;
const INT64: i32 = 7;

impl Network {
    fn new(seed: u64, height: usize, width: usize) -> Self {
        let graph =
            GraphProto { name: "small".into(), input: vec![info(contract::LIGHTNESS, [1, height, width])], ..GraphProto::default() };
        let lightness = Value { name: contract::LIGHTNESS.into(), shape: [1, height, width], bytes: None };
        Self { graph, random: Random::new(seed), lightness }
    }

    /// A node with one output, whose name it has.
    fn node(&mut self, operator: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> String {
        let name = format!("{}_{}", operator.to_lowercase(), self.graph.node.len());
        self.node_named(operator, inputs, attribute, &name);
        name
    }

    fn node_named(&mut self, operator: &str, inputs: &[&str], attribute: Vec<AttributeProto>, name: &str) {
        let input = inputs.iter().map(|&s| s.into()).collect();
        let output = vec![name.into()];
        self.graph.node.push(NodeProto { op_type: operator.into(), name: name.into(), input, output, attribute, ..NodeProto::default() });
    }

    fn initializer(&mut self, dims: &[usize], data_type: i32, raw_data: Vec<u8>) -> String {
        let name = format!("constant_{}", self.graph.initializer.len());
        let dims = dims.iter().map(|&d| d as i64).collect();
        self.graph.initializer.push(TensorProto { name: name.clone(), dims, data_type, raw_data, ..TensorProto::default() });
        name
    }

    fn float_initializer(&mut self, dims: &[usize], values: &[f32]) -> String {
        self.initializer(dims, FLOAT, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    fn any_meaning(&mut self) -> Meaning {
        let zero_point = self.random.of(&[0, 0, 0, 1, 100, 128, 255]);
        (self.random.of(&[1.0 / 64.0, 1.0 / 32.0, 1.0 / 16.0, 0.125]), zero_point)
    }

    /// QuantizeLinear.
    fn quantized(&mut self, of: &Value, (scale, zero_point): Meaning) -> Value {
        let (scale_name, zero_name) = (self.float_initializer(&[], &[scale]), self.initializer(&[], UINT8, vec![zero_point]));
        let name = self.node("QuantizeLinear", &[&of.name, &scale_name, &zero_name], vec![]);
        Value { name, shape: of.shape, bytes: None }
    }

    /// DequantizeLinear of bytes.
    fn dequantized(&mut self, of: &Value, (scale, zero_point): Meaning) -> Value {
        let (scale_name, zero_name) = (self.float_initializer(&[], &[scale]), self.initializer(&[], UINT8, vec![zero_point]));
        let name = self.node("DequantizeLinear", &[&of.name, &scale_name, &zero_name], vec![]);
        Value { name, shape: of.shape, bytes: Some((scale, zero_point)) }
    }

    /// Both, as the exporter puts them.
    fn bytes(&mut self, of: &Value, meaning: Meaning) -> Value {
        let quantized = self.quantized(of, meaning);
        self.dequantized(&quantized, meaning)
    }

    /// Random integers behind DequantizeLinear, one scale an output channel.
    fn weights(&mut self, dims: &[usize], scales: &[f32]) -> String {
        let each: usize = dims[1..].iter().product();
        let raw = (0..dims[0])
            .flat_map(|_| {
                // Some channels have small weights, some few or none: what looks like a scale is then another.
                let reach = self.random.of(&[127, 127, 20, 3, 1, 0]);
                let sparse = self.random.one_in(4);
                let channel: Vec<u8> = (0..each)
                    .map(|_| if sparse && !self.random.one_in(4) { 0 } else { self.random.within(-reach, reach) as i8 as u8 })
                    .collect();
                channel
            })
            .collect();
        let integers = self.initializer(dims, INT8, raw);
        self.constant(&integers, INT8, vec![0; dims[0]], scales)
    }

    fn constant(&mut self, integers: &str, data_type: i32, zeros: Vec<u8>, scales: &[f32]) -> String {
        let scale = self.float_initializer(&[scales.len()], scales);
        let zero = self.initializer(&[scales.len()], data_type, zeros);
        self.node("DequantizeLinear", &[integers, &scale, &zero], vec![int("axis", 0)])
    }

    fn convolution(&mut self, of: &Value, wanted: Wanted) -> Value {
        let Wanted { outputs, kernel, stride, padding, group, biased } = wanted;
        let [channels, height, width] = of.shape;
        let scales: Vec<f32> = (0..outputs).map(|_| self.random.of(&[1.0 / 128.0, 1.0 / 256.0, 1.0 / 1024.0])).collect();
        let weights = self.weights(&[outputs, channels / group, kernel, kernel], &scales);
        let mut inputs = vec![of.name.clone(), weights];
        if biased {
            let unit = of.bytes.map_or(1.0 / 64.0, |(scale, _)| scale);
            let raw = (0..outputs).flat_map(|_| self.random.within(-200_000, 200_000).to_le_bytes()).collect();
            let integers = self.initializer(&[outputs], INT32, raw);
            let scales: Vec<f32> = scales.iter().map(|scale| scale * unit).collect();
            inputs.push(self.constant(&integers, INT32, vec![0; 4 * outputs], &scales));
        }
        let attributes = vec![
            ints("kernel_shape", &[kernel; 2]),
            ints("strides", &[stride; 2]),
            ints("pads", &[padding[0], padding[0], padding[1], padding[1]]),
            ints("dilations", &[1; 2]),
            int("group", group as i64),
        ];
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let name = self.node("Conv", &inputs, attributes);
        let out = |size: usize| (size + padding[0] + padding[1] - kernel) / stride + 1;
        Value { name, shape: [outputs, out(height), out(width)], bytes: None }
    }

    fn simple(&mut self, operator: &str, of: &Value, attributes: Vec<AttributeProto>) -> Value {
        let name = self.node(operator, &[&of.name], attributes);
        Value { name, shape: of.shape, bytes: None }
    }

    fn clipped(&mut self, of: &Value, low: f32, high: f32) -> Value {
        let (low, high) = (self.float_initializer(&[], &[low]), self.float_initializer(&[], &[high]));
        let name = self.node("Clip", &[&of.name, &low, &high], vec![]);
        Value { name, shape: of.shape, bytes: None }
    }

    fn sum(&mut self, a: &Value, b: &Value) -> Value {
        let name = self.node("Add", &[&a.name, &b.name], vec![]);
        let shape = std::array::from_fn(|axis| a.shape[axis].max(b.shape[axis]));
        Value { name, shape, bytes: None }
    }

    fn concatenation(&mut self, of: &[&Value]) -> Value {
        let names: Vec<&str> = of.iter().map(|value| &value.name[..]).collect();
        let name = self.node("Concat", &names, vec![int("axis", 1)]);
        let [_, height, width] = of[0].shape;
        let bytes = of[0].bytes.filter(|&meaning| of.iter().all(|value| value.bytes == Some(meaning)));
        Value { name, shape: [of.iter().map(|value| value.shape[0]).sum(), height, width], bytes }
    }

    fn upsampled(&mut self, of: &Value) -> Value {
        let scales = self.float_initializer(&[4], &[1.0, 1.0, 2.0, 2.0]);
        let attributes = vec![text("mode", "nearest"), text("coordinate_transformation_mode", "asymmetric"), text("nearest_mode", "floor")];
        let name = self.node("Resize", &[&of.name, "", &scales], attributes);
        let [channels, height, width] = of.shape;
        Value { name, shape: [channels, 2 * height, 2 * width], bytes: of.bytes }
    }

    fn slice(&mut self, of: &Value, first: usize, channels: usize) -> Value {
        let mut numbers = |number: usize| self.initializer(&[1], INT64, (number as i64).to_le_bytes().to_vec());
        let (starts, ends, axes) = (numbers(first), numbers(first + channels), numbers(1));
        let name = self.node("Slice", &[&of.name, &starts, &ends, &axes], vec![]);
        Value { name, shape: [channels, of.shape[1], of.shape[2]], bytes: of.bytes }
    }

    /// The model whose picture is a 1x1 convolution of `last`, and whose states come out as `seen`, so that they are compared, too.
    fn finished(mut self, last: &Value, seen: &[Value]) -> ModelProto {
        let head = self.convolution(last, Wanted { biased: false, ..Wanted::plain(2, 1) });
        self.node_named("Identity", &[&head.name], vec![], contract::AB);
        self.graph.output.push(info(contract::AB, head.shape));
        for (index, value) in seen.iter().enumerate() {
            self.graph.input.push(info(&state_in(index), value.shape));
            self.node_named("Identity", &[&value.name], vec![], &state_out(index));
            self.graph.output.push(info(&state_out(index), value.shape));
        }
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 18 }];
        let mut model = ModelProto { ir_version: 8, opset_import, graph: Some(self.graph), ..ModelProto::default() };
        let card = Card {
            name: "small".into(),
            output: Output::Ab,
            temperature: 1.0,
            saturation: 1.0,
            color: contract::COLOR_CONSTANTS.into(),
            training: "made by chance".into(),
            license: "MIT".into(),
            calibration: None,
            float_parent_sha256: None,
        };
        write_card(&mut model, &card);
        model
    }
}

/// All outputs over two frames.
fn outputs(model: &mut Colorizer) -> Vec<Vec<f32>> {
    let (width, height) = (model.contract().width, model.contract().height);
    let mut random = Random::new(7);
    let mut found = Vec::new();
    for _ in 0..2 {
        // Scaled by the model to multiples of 1/64.
        let lightness = (0..width * height).map(|_| 50.0 + 100.0 * random.within(-32, 32) as f32 / 64.0).collect();
        model.advance(&Plane::from_vec(width, height, lightness)).unwrap();
        found.push(model.raw_output().to_vec());
        found.extend(model.states().iter().map(|state| state.to_vec()));
    }
    found
}

fn loaded(model: &ModelProto, runtime: Runtime) -> Colorizer {
    Colorizer::from_proto_as("small", model, runtime).unwrap()
}

/// Compares the fused model with Tract's own way, on all instruction sets and on one to three threads. What was fused, for further checks.
fn compared(what: &str, model: &ModelProto) -> Fused {
    let expected = outputs(&mut loaded(model, Runtime { fused: false, ..Runtime::default() }));
    let mut fused = Fused::default();
    for &set in InstructionSet::ALL.iter().filter(|set| set.is_available()) {
        for threads in [1, 3, 2] {
            if threads > 1 && set != InstructionSet::detect() {
                continue;
            }
            let threads = NonZeroUsize::new(threads).unwrap();
            let mut ours = loaded(model, Runtime { fused: true, threads, instruction_set: Some(set) });
            for (index, (expected, found)) in expected.iter().zip(outputs(&mut ours)).enumerate() {
                assert_eq!(expected.len(), found.len());
                if let Some(at) = expected.iter().zip(&found).position(|(expected, found)| expected != found) {
                    let nodes: Vec<String> = model
                        .graph
                        .iter()
                        .flat_map(|g| &g.node)
                        .map(|n| format!("{} = {}({})", n.name, n.op_type, n.input.join(", ")))
                        .collect();
                    panic!(
                        "{what}, {set}, {threads} threads: output {index} at {at} of {} is {}, not {}; fused: {:?}\n{}",
                        found.len(),
                        found[at],
                        expected[at],
                        ours.fused(),
                        nodes.join("\n")
                    );
                }
            }
            fused = ours.fused().clone();
        }
    }
    fused
}

/// A network of random layers.
fn random_network(seed: u64) -> ModelProto {
    let mut random = Random::new(seed ^ 0xABCD);
    let (height, width) = (random.of(&[1, 2, 3, 4, 6, 8, 9]), random.of(&[1, 2, 3, 4, 5, 8, 12, 17, 22]));
    let mut network = Network::new(seed, height, width);
    let lightness = network.lightness.clone();
    let first = network.bytes(&lightness, (1.0 / 64.0, 64));
    let mut pool = vec![first];
    for _ in 0..random.within(2, 7) {
        let of = if random.one_in(3) { pool[random.below(pool.len())].clone() } else { pool.last().unwrap().clone() };
        let [channels, height, width] = of.shape;
        let next = match random.below(10) {
            // A concatenation of two or three, each perhaps with its own meaning.
            0 => {
                let partners: Vec<&Value> = pool.iter().filter(|value| value.shape[1..] == of.shape[1..]).collect();
                let parts: Vec<&Value> = (0..random.within(1, 2)).map(|_| partners[random.below(partners.len())]).chain([&of]).collect();
                if parts.iter().map(|part| part.shape[0]).sum::<usize>() > 40 {
                    continue;
                }
                network.concatenation(&parts)
            }
            1 if height * width <= 100 => network.upsampled(&of),
            2 if channels > 1 => {
                let first = random.below(channels);
                network.slice(&of, first, 1 + random.below(channels - first))
            }
            // What computes something of bytes, however little.
            3 => match random.below(3) {
                0 => network.simple("Relu", &of, vec![]),
                1 => network.simple("LeakyRelu", &of, vec![float("alpha", 0.5)]),
                _ => network.clipped(&of, -0.5, 1.5),
            },
            // The sum of two tensors of bytes.
            4 => {
                let other = pool.iter().rev().skip(random.below(3)).find(|value| value.shape == of.shape).unwrap_or(&of).clone();
                let sum = network.sum(&of, &other);
                if random.one_in(3) { network.clipped(&sum, 0.0, 3.0) } else { sum }
            }
            _ => {
                let depthwise = channels > 1 && random.one_in(3);
                let smallest = height.min(width);
                let kernel = if smallest < 3 || random.one_in(3) {
                    1
                } else if depthwise && random.one_in(2) {
                    5
                } else {
                    3
                };
                let half = kernel / 2;
                // Now and then what no kernel of ours computes.
                let odd = random.one_in(8);
                let padding = match random.below(4) {
                    // A picture has to be left of it.
                    0 if smallest + half >= kernel => [0, half],
                    1 if half > 0 && smallest + 2 * half > kernel => [half - 1, half],
                    2 if smallest >= kernel => [0, 0],
                    _ => [half; 2],
                };
                let wanted = Wanted {
                    outputs: if depthwise { channels } else { random.of(&[1, 2, 3, 4, 5, 8, 15, 16, 17, 24, 32, 33]) },
                    kernel,
                    stride: if random.one_in(3) { 2 } else { 1 },
                    padding: if odd { [half + 1; 2] } else { padding },
                    group: if depthwise { channels } else { 1 },
                    biased: !random.one_in(4),
                };
                if !depthwise && channels * kernel * kernel > 400 {
                    continue;
                }
                let mut sum = network.convolution(&of, wanted);
                let residual = pool.iter().rev().find(|value| value.shape == sum.shape);
                if let Some(residual) = residual.filter(|_| random.one_in(2)) {
                    sum = if random.one_in(2) { network.sum(&sum, residual) } else { network.sum(residual, &sum) };
                }
                match random.below(4) {
                    0 | 1 => network.simple("Relu", &sum, vec![]),
                    2 => network.clipped(&sum, 0.0, 6.0),
                    _ => sum,
                }
            }
        };
        // Almost always quantized; sometimes twice, differently; sometimes read back as something else than what was written.
        let mut meaning = network.any_meaning();
        if random.one_in(3) {
            meaning = of.bytes.unwrap_or(meaning);
        }
        if next.bytes.is_some() && random.one_in(2) {
            pool.push(next);
        } else {
            if random.one_in(8) {
                let other = network.any_meaning();
                let value = network.bytes(&next, other);
                pool.push(value);
            }
            let quantized = network.quantized(&next, meaning);
            let read = if random.one_in(8) { network.any_meaning() } else { meaning };
            let value = network.dequantized(&quantized, read);
            pool.push(value);
        }
    }
    let seen: Vec<Value> = (0..2).map(|_| pool[random.below(pool.len())].clone()).collect();
    let last = pool.last().unwrap().clone();
    network.finished(&last, &seen)
}

#[test]
fn random_networks_compute_the_same_fused_and_not() {
    let (mut fused, mut left) = (0, 0);
    for seed in 0..60 {
        let found = compared(&format!("seed {seed}"), &random_network(seed));
        fused += found.convolutions.len();
        left += found.left.len();
    }
    println!("{fused} convolutions fused, {left} left");
    assert!(fused > 3 * left && left > 0, "{fused} convolutions fused, {left} left");
}

/// One network with one peculiarity, and how many of its convolutions are fused and left.
struct Case {
    what: &'static str,
    size: (usize, usize),
    expected: (usize, usize),
    make: fn(&mut Network, Value) -> Value,
}

#[test]
fn what_the_pass_may_take_and_what_it_must_leave() {
    const M: Meaning = (1.0 / 16.0, 128);
    const POSITIVE: Meaning = (1.0 / 16.0, 0);
    fn layer(network: &mut Network, of: &Value, wanted: Wanted, meaning: Meaning) -> Value {
        let convolution = network.convolution(of, wanted);
        network.bytes(&convolution, meaning)
    }
    // Each gets 5 channels of 6x8 pixels (or its own size) with a zero point of 128; the first layer and the head are fused, too.
    let cases = [
        Case { what: "nothing more", size: (6, 8), expected: (2, 0), make: |_, x| x },
        Case { what: "a single pixel", size: (1, 1), expected: (3, 0), make: |n, x| layer(n, &x, Wanted::plain(7, 1), M) },
        Case { what: "a single column", size: (5, 1), expected: (3, 0), make: |n, x| layer(n, &x, Wanted::plain(7, 3), M) },
        Case {
            what: "an odd width, halved",
            size: (5, 7),
            expected: (3, 0),
            make: |n, x| layer(n, &x, Wanted { stride: 2, ..Wanted::plain(4, 3) }, M),
        },
        Case {
            what: "1x1 with stride 2",
            size: (6, 8),
            expected: (3, 0),
            make: |n, x| layer(n, &x, Wanted { stride: 2, ..Wanted::plain(4, 1) }, M),
        },
        Case {
            what: "no padding",
            size: (6, 8),
            expected: (3, 0),
            make: |n, x| layer(n, &x, Wanted { padding: [0, 0], ..Wanted::plain(4, 3) }, M),
        },
        Case {
            what: "padding behind the last row and column only, before a stride",
            size: (6, 8),
            expected: (3, 0),
            make: |n, x| layer(n, &x, Wanted { padding: [0, 1], stride: 2, ..Wanted::plain(4, 3) }, M),
        },
        Case {
            what: "more padding than there is border",
            size: (6, 8),
            expected: (2, 1),
            make: |n, x| layer(n, &x, Wanted { padding: [2, 1], ..Wanted::plain(4, 3) }, M),
        },
        Case {
            what: "groups of two channels",
            size: (6, 8),
            expected: (3, 1),
            make: |n, x| {
                let six = layer(n, &x, Wanted::plain(6, 1), M);
                layer(n, &six, Wanted { group: 3, ..Wanted::plain(6, 3) }, M)
            },
        },
        Case {
            what: "groups of one channel, with two outputs each",
            size: (6, 8),
            expected: (2, 1),
            make: |n, x| layer(n, &x, Wanted { group: 5, ..Wanted::plain(10, 3) }, M),
        },
        Case { what: "a depthwise convolution", size: (6, 8), expected: (3, 0), make: |n, x| layer(n, &x, Wanted::depthwise(5, 3), M) },
        Case {
            what: "a depthwise window of one pixel",
            size: (6, 8),
            expected: (3, 0),
            make: |n, x| layer(n, &x, Wanted::depthwise(5, 1), M),
        },
        Case {
            what: "depthwise windows of five pixels that see two of the border everywhere",
            size: (1, 1),
            expected: (4, 0),
            make: |n, x| {
                let first = layer(n, &x, Wanted::depthwise(5, 5), M);
                layer(n, &first, Wanted { stride: 2, ..Wanted::depthwise(5, 5) }, M)
            },
        },
        Case {
            what: "depthwise windows of five pixels, halving, padded as TensorFlow does",
            size: (8, 10),
            expected: (4, 0),
            make: |n, x| {
                let wide = layer(n, &x, Wanted::plain(40, 1), (1.0 / 16.0, 255));
                layer(n, &wide, Wanted { stride: 2, padding: [1, 2], ..Wanted::depthwise(40, 5) }, M)
            },
        },
        Case { what: "a plain window of five pixels", size: (6, 8), expected: (2, 1), make: |n, x| layer(n, &x, Wanted::plain(3, 5), M) },
        Case {
            what: "depthwise over channels in the middle of a picture",
            size: (6, 8),
            expected: (4, 0),
            make: |n, x| {
                let wide = layer(n, &x, Wanted::plain(40, 1), M);
                let middle = n.slice(&wide, 21, 18);
                layer(n, &middle, Wanted::depthwise(18, 5), POSITIVE)
            },
        },
        Case {
            what: "depthwise over what is upsampled",
            size: (3, 4),
            expected: (4, 0),
            make: |n, x| {
                let large = n.upsampled(&x);
                let (a, b) = (layer(n, &large, Wanted::depthwise(5, 3), M), layer(n, &large, Wanted::depthwise(5, 5), M));
                n.concatenation(&[&a, &b])
            },
        },
        Case {
            what: "depthwise over channels of several pictures, one of them upsampled",
            size: (6, 8),
            expected: (6, 0),
            make: |n, x| {
                let (small, other) = (layer(n, &x, Wanted { stride: 2, ..Wanted::plain(18, 3) }, M), layer(n, &x, Wanted::plain(7, 1), M));
                let large = n.upsampled(&small);
                let joined = n.concatenation(&[&x, &large, &other]);
                let (a, b) = (layer(n, &joined, Wanted::depthwise(30, 5), M), n.convolution(&joined, Wanted::depthwise(30, 3)));
                let b = n.simple("LeakyRelu", &b, vec![float("alpha", 0.5)]);
                let b = n.bytes(&b, M);
                n.concatenation(&[&a, &b])
            },
        },
        Case {
            what: "depthwise whose output stays float",
            size: (6, 8),
            expected: (3, 0),
            make: |n, x| {
                let convolution = n.convolution(&x, Wanted::depthwise(5, 3));
                let half = n.simple("LeakyRelu", &convolution, vec![float("alpha", 0.5)]);
                n.bytes(&half, M)
            },
        },
        Case {
            what: "an inverted bottleneck with ReLU6 and a residual without an activation",
            size: (6, 8),
            expected: (5, 0),
            make: |n, x| {
                let wide = n.convolution(&x, Wanted::plain(24, 1));
                let wide = n.clipped(&wide, 0.0, 6.0);
                let wide = n.bytes(&wide, (6.0 / 192.0, 0));
                let deep = n.convolution(&wide, Wanted::depthwise(24, 5));
                let deep = n.clipped(&deep, 0.0, 6.0);
                let deep = n.bytes(&deep, (1.0 / 16.0, 0));
                let narrow = n.convolution(&deep, Wanted::plain(5, 1));
                let sum = n.sum(&narrow, &x);
                n.bytes(&sum, (1.0 / 32.0, 119))
            },
        },
        Case {
            what: "clips one after the other, upside down",
            size: (6, 8),
            expected: (3, 0),
            make: |n, x| {
                let convolution = n.convolution(&x, Wanted::plain(5, 3));
                let clipped = n.clipped(&convolution, -2.0, 1.0);
                let clipped = n.clipped(&clipped, 3.0, 2.0);
                let clipped = n.clipped(&clipped, -1.0, 4.0);
                n.bytes(&clipped, M)
            },
        },
        Case {
            what: "sums of bytes with different meanings",
            size: (6, 8),
            expected: (4, 0),
            make: |n, x| {
                let (a, b) = (layer(n, &x, Wanted::plain(5, 3), POSITIVE), layer(n, &x, Wanted::plain(11, 1), (1.0 / 64.0, 200)));
                let part = n.slice(&b, 3, 5);
                let (first, second) = (n.sum(&a, &x), n.sum(&part, &a));
                let (first, second) = (n.clipped(&first, -1.0, 2.0), n.bytes(&second, POSITIVE));
                let first = n.bytes(&first, POSITIVE);
                n.concatenation(&[&first, &second])
            },
        },
        Case { what: "a single output channel", size: (6, 8), expected: (3, 0), make: |n, x| layer(n, &x, Wanted::plain(1, 3), M) },
        Case {
            what: "an identity that adds a little",
            size: (1, 2),
            expected: (2, 0),
            make: |n, x| {
                let identity: Vec<f32> = (0..25).map(|at| if at / 5 == at % 5 { 1.0 } else { 0.0 }).collect();
                let (weights, bias) = (n.float_initializer(&[5, 5, 1, 1], &identity), n.float_initializer(&[5], &[0.05; 5]));
                let name = n.node("ConvTranspose", &[&x.name, &weights, &bias], vec![ints("kernel_shape", &[1, 1])]);
                let moved = Value { name, ..x };
                n.bytes(&moved, M)
            },
        },
        Case {
            what: "more parts than a kernel reads, many of them the same",
            size: (2, 2),
            expected: (3, 0),
            make: |n, x| {
                let mut all = x;
                for _ in 0..3 {
                    all = n.concatenation(&[&all; 10]);
                }
                let all = n.bytes(&all, POSITIVE);
                layer(n, &all, Wanted::plain(4, 1), M)
            },
        },
        Case {
            what: "a ReLU of dequantized bytes",
            size: (6, 8),
            expected: (2, 0),
            make: |n, x| {
                let relu = n.simple("Relu", &x, vec![]);
                n.bytes(&relu, M)
            },
        },
        Case {
            what: "a wide clip of dequantized bytes",
            size: (6, 8),
            expected: (2, 0),
            make: |n, x| {
                let clipped = n.clipped(&x, -1.0, 1e6);
                n.bytes(&clipped, M)
            },
        },
        Case {
            what: "bytes read with another zero point than they are written with, so that the border is not zero",
            size: (6, 8),
            expected: (2, 1),
            make: |n, x| {
                let quantized = n.quantized(&x, M);
                let other = n.dequantized(&quantized, (1.0 / 32.0, 3));
                layer(n, &other, Wanted::plain(3, 3), M)
            },
        },
        Case {
            what: "the same, for a window of one pixel, which sees no border",
            size: (6, 8),
            expected: (3, 0),
            make: |n, x| {
                let quantized = n.quantized(&x, M);
                let other = n.dequantized(&quantized, (1.0 / 32.0, 3));
                layer(n, &other, Wanted::plain(3, 1), M)
            },
        },
        Case {
            what: "a concatenation of four with three meanings, and slices of no multiple of four across them",
            size: (6, 8),
            expected: (6, 0),
            make: |n, x| {
                let (a, b) = (layer(n, &x, Wanted::plain(16, 1), M), layer(n, &x, Wanted::plain(3, 3), POSITIVE));
                let c = layer(n, &x, Wanted::plain(1, 1), (1.0 / 64.0, 9));
                let joined = n.concatenation(&[&a, &b, &c, &x]);
                let bytes = n.bytes(&joined, M);
                let across = n.slice(&bytes, 13, 7);
                layer(n, &across, Wanted::plain(6, 3), M)
            },
        },
        Case {
            what: "a decoder's step: a small picture upsampled beside a large one",
            size: (6, 8),
            expected: (4, 0),
            make: |n, x| {
                let small = layer(n, &x, Wanted { stride: 2, ..Wanted::plain(20, 3) }, M);
                let large = n.upsampled(&small);
                let joined = n.concatenation(&[&large, &x]);
                layer(n, &joined, Wanted::plain(17, 3), POSITIVE)
            },
        },
        Case {
            what: "upsampled before a window of one pixel and before a stride",
            size: (3, 3),
            expected: (1, 3),
            make: |n, x| {
                let large = n.upsampled(&x);
                let (a, b) = (layer(n, &large, Wanted::plain(5, 1), M), layer(n, &large, Wanted { stride: 2, ..Wanted::plain(5, 3) }, M));
                let b = n.upsampled(&b);
                n.concatenation(&[&a, &b])
            },
        },
        Case {
            what: "a residual, with a ReLU behind it",
            size: (6, 8),
            expected: (3, 0),
            make: |n, x| {
                let convolution = n.convolution(&x, Wanted::plain(5, 3));
                let sum = n.sum(&x, &convolution);
                let relu = n.simple("Relu", &sum, vec![]);
                n.bytes(&relu, POSITIVE)
            },
        },
        Case {
            what: "a residual that is upsampled",
            size: (6, 8),
            expected: (4, 0),
            make: |n, x| {
                let small = layer(n, &x, Wanted { stride: 2, ..Wanted::plain(4, 3) }, M);
                let large = n.upsampled(&small);
                let convolution = n.convolution(&x, Wanted::plain(4, 3));
                let sum = n.sum(&convolution, &large);
                n.bytes(&sum, M)
            },
        },
        Case {
            what: "a residual whose convolution reads what is upsampled",
            size: (6, 8),
            expected: (4, 0),
            make: |n, x| {
                let small = layer(n, &x, Wanted { stride: 2, ..Wanted::plain(4, 3) }, M);
                let large = n.upsampled(&small);
                let convolution = n.convolution(&large, Wanted::plain(5, 3));
                let sum = n.sum(&convolution, &x);
                n.bytes(&sum, M)
            },
        },
        Case {
            what: "a sum of two convolutions",
            size: (6, 8),
            expected: (4, 0),
            make: |n, x| {
                let (a, b) = (n.convolution(&x, Wanted::plain(3, 3)), n.convolution(&x, Wanted::plain(3, 1)));
                let sum = n.sum(&a, &b);
                n.bytes(&sum, M)
            },
        },
        Case {
            what: "a sum that repeats a convolution's single channel",
            size: (6, 8),
            expected: (3, 0),
            make: |n, x| {
                let convolution = n.convolution(&x, Wanted::plain(1, 3));
                let sum = n.sum(&convolution, &x);
                n.bytes(&sum, M)
            },
        },
        Case {
            what: "a sum that repeats a convolution's single pixel",
            size: (6, 8),
            expected: (6, 0),
            make: |n, x| {
                let halved = Wanted { stride: 2, ..Wanted::plain(5, 3) };
                let mut pixel = x.clone();
                for _ in 0..3 {
                    pixel = layer(n, &pixel, halved, M);
                }
                let convolution = n.convolution(&pixel, Wanted::plain(5, 1));
                let sum = n.sum(&x, &convolution);
                n.bytes(&sum, M)
            },
        },
        Case {
            what: "a convolution that two quantizations and an addition read",
            size: (6, 8),
            expected: (3, 0),
            make: |n, x| {
                let convolution = n.convolution(&x, Wanted::plain(5, 3));
                let (a, b) = (n.bytes(&convolution, M), n.bytes(&convolution, POSITIVE));
                let sum = n.sum(&convolution, &x);
                let c = n.bytes(&sum, M);
                let joined = n.concatenation(&[&a, &b, &c]);
                n.bytes(&joined, M)
            },
        },
        Case {
            what: "a concatenation with constants",
            size: (6, 8),
            expected: (3, 0),
            make: |n, x| {
                let name = n.float_initializer(&[1, 1, 6, 8], &[0.75; 48]);
                let joined = n.concatenation(&[&Value { name, shape: [1, 6, 8], bytes: None }, &x]);
                let bytes = n.bytes(&joined, M);
                layer(n, &bytes, Wanted::plain(2, 3), M)
            },
        },
    ];
    for (seed, Case { what, size: (height, width), expected, make }) in cases.into_iter().enumerate() {
        let mut network = Network::new(1000 + seed as u64, height, width);
        let lightness = network.lightness.clone();
        let input = network.bytes(&lightness, (1.0 / 64.0, 64));
        let first = layer(&mut network, &input, Wanted::plain(5, 1), M);
        let last = make(&mut network, first.clone());
        let found = compared(what, &network.finished(&last, &[last.clone(), first]));
        assert_eq!((found.convolutions.len(), found.left.len()), expected, "{what}: {found:?}");
    }
}

/// With scales as they are in real networks nothing is exact, and a value may fall on the other side between two bytes.
#[test]
fn any_scales_give_the_same_bytes_but_for_neighbors() {
    let (mut values, mut others) = (0, 0);
    for seed in 0..20 {
        let mut network = Network::new(2000 + seed, 9, 14);
        let mut scale = |low: f32| low * (1.0 + network.random.below(1000) as f32 / 700.0);
        let (from, to) = ((scale(0.004), 128), (scale(0.03), 119));
        let weight_scales: Vec<f32> = (0..18).map(|_| scale(0.002)).collect();
        let lightness = network.lightness.clone();
        let input = network.bytes(&lightness, from);
        let weights = network.weights(&[18, 1, 3, 3], &weight_scales);
        let integers: Vec<u8> = (0..18).flat_map(|_| network.random.within(-9000, 9000).to_le_bytes()).collect();
        let integers = network.initializer(&[18], INT32, integers);
        let bias_scales: Vec<f32> = weight_scales.iter().map(|scale| scale * from.0).collect();
        let bias = network.constant(&integers, INT32, vec![0; 72], &bias_scales);
        let attributes = vec![ints("kernel_shape", &[3; 2]), ints("strides", &[1; 2]), ints("pads", &[1; 4])];
        let name = network.node("Conv", &[&input.name, &weights, &bias], attributes);
        let last = network.bytes(&Value { name, shape: [18, 9, 14], bytes: None }, to);
        let model = network.finished(&last, std::slice::from_ref(&last));
        let expected = outputs(&mut loaded(&model, Runtime { fused: false, ..Runtime::default() }));
        let mut first = None;
        for &set in InstructionSet::ALL.iter().filter(|set| set.is_available()) {
            let mut ours = loaded(&model, Runtime { instruction_set: Some(set), ..Runtime::default() });
            assert!(ours.fused().left.is_empty(), "{:?}", ours.fused());
            let found = outputs(&mut ours);
            // The states are the bytes; the picture is a sum of them.
            for (expected, found) in [(&expected[1], &found[1]), (&expected[3], &found[3])] {
                for (expected, found) in expected.iter().zip(found) {
                    let steps = ((expected - found) / to.0).abs();
                    assert!(steps < 1.01, "seed {seed}, {set}: {found} instead of {expected} is {steps} steps");
                    values += 1;
                    others += usize::from(steps > 0.5);
                }
            }
            let bits: Vec<u32> = found.iter().flatten().map(|v| v.to_bits()).collect();
            assert!(*first.get_or_insert_with(|| bits.clone()) == bits, "seed {seed}: {set} gives other bits");
        }
    }
    println!("{others} of {values} bytes are their neighbors");
    assert!(others * 1000 < values, "{others} of {values}");
}

#[test]
fn no_number_of_threads_brings_a_step_to_a_halt() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("autochrome-lite0-224x160-int8.onnx");
    for threads in [3, 5, 8] {
        let runtime = Runtime { threads: NonZeroUsize::new(threads).unwrap(), ..Runtime::default() };
        let mut model = Colorizer::load_as(&path, runtime).unwrap();
        assert_eq!(model.threads().get(), threads);
        let lightness = Plane::filled(model.contract().width, model.contract().height, 60.0);
        (0..20).for_each(|_| model.advance(&lightness).unwrap());
        let mut alone = Colorizer::load(&path).unwrap();
        (0..20).for_each(|_| alone.advance(&lightness).unwrap());
        assert!(model.raw_output() == alone.raw_output(), "{threads} threads give another output");
    }
}
