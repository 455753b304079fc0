//! How fast networks of mobile blocks run: a made-up U-Net whose encoder is that of EfficientNet-Lite0 (pointwise, depthwise 3x3 and 5x5, ReLU6,
//! residuals without an activation), with random weights, in three ways and in turns: fused, in stock Tract in its 8-bit form, in stock Tract in float.
//!
//!     cargo run --release -p autochrome-model --example mobile [FRAMES] [FOLDER]
//!
//! With a folder, both files are written there, and what the fused one gives for a test picture, as text.
#![allow(clippy::unwrap_used, reason = "a panic is how an example reports")]

use std::collections::BTreeMap;
use std::time::Instant;

use autochrome_model::contract::{self, AB, Card, LIGHTNESS, Output, write_card};
use autochrome_model::{Colorizer, Plane, Runtime};
use prost::Message as _;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    tensor_shape_proto::{Dimension, dimension::Value},
    type_proto,
};

const WIDTH: usize = 224;
const HEIGHT: usize = 160;

/// The stages of EfficientNet-Lite0: expansion, channels, blocks, kernel, stride.
const STAGES: [[usize; 5]; 7] =
    [[1, 16, 1, 3, 1], [6, 24, 2, 3, 2], [6, 40, 2, 5, 2], [6, 80, 3, 3, 2], [6, 112, 3, 5, 1], [6, 192, 4, 5, 2], [6, 320, 1, 3, 1]];
/// The decoder's channels at 1/16, 1/8, 1/4 and 1/2 of the input's size.
const DECODER: [usize; 4] = [96, 64, 32, 16];

/// Frames that one way computes before it is the next one's turn.
const FRAMES_A_TURN: usize = 5;

/// What a layer's values are after it: with ReLU6 from 0 to 6, otherwise about -4 to 4.
const POSITIVE: (f32, u8) = (6.0 / 255.0, 0);
const SIGNED: (f32, u8) = (8.0 / 255.0, 128);

/// A picture in the network: its name, channels, height and width, and what its bytes mean.
#[derive(Clone)]
struct Tensor {
    name: String,
    channels: usize,
    height: usize,
    width: usize,
    scale: f32,
}

/// A network that is being made, in its 8-bit form or in float, with the same numbers.
struct Builder {
    graph: GraphProto,
    int8: bool,
    noise: u64,
}

/// A convolution to be made.
#[derive(Clone, Copy)]
struct Wanted {
    outputs: usize,
    kernel: usize,
    stride: usize,
    depthwise: bool,
}

impl Builder {
    fn node(&mut self, op_type: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> String {
        let name = format!("{}_{}", op_type.to_lowercase(), self.graph.node.len());
        let input = inputs.iter().map(|&input| input.into()).collect();
        let output = vec![name.clone()];
        self.graph.node.push(NodeProto { op_type: op_type.into(), name: name.clone(), input, output, attribute, ..NodeProto::default() });
        name
    }

    fn constant(&mut self, dims: &[usize], data_type: i32, raw_data: Vec<u8>) -> String {
        let name = format!("constant_{}", self.graph.initializer.len());
        let dims = dims.iter().map(|&d| d as i64).collect();
        self.graph.initializer.push(TensorProto { name: name.clone(), dims, data_type, raw_data, ..TensorProto::default() });
        name
    }

    fn floats(&mut self, dims: &[usize], values: &[f32]) -> String {
        self.constant(dims, 1, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// About normal, always the same ones: the sum of uniform numbers of xorshift.
    fn normal(&mut self) -> f32 {
        let mut uniform = || {
            self.noise ^= self.noise << 13;
            self.noise ^= self.noise >> 7;
            self.noise ^= self.noise << 17;
            (self.noise >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
        };
        (uniform() + uniform() + uniform() + uniform()) * 1.732
    }

    /// QuantizeLinear and DequantizeLinear behind a tensor, in the 8-bit form.
    fn bytes(&mut self, mut of: Tensor, (scale, zero_point): (f32, u8)) -> Tensor {
        if self.int8 {
            let (scale_name, zero_name) = (self.floats(&[], &[scale]), self.constant(&[], 2, vec![zero_point]));
            let quantized = self.node("QuantizeLinear", &[&of.name, &scale_name, &zero_name], vec![]);
            of.name = self.node("DequantizeLinear", &[&quantized, &scale_name, &zero_name], vec![]);
        }
        Tensor { scale, ..of }
    }

    /// Integers with a scale for each of the first dimension: behind DequantizeLinear, or their products.
    fn weights(&mut self, dims: &[usize], data_type: i32, integers: &[i32], scales: &[f32]) -> String {
        let each = integers.len() / dims[0];
        if !self.int8 {
            let values: Vec<f32> = integers.iter().enumerate().map(|(at, &q)| q as f32 * scales[at / each]).collect();
            return self.floats(dims, &values);
        }
        let size = if data_type == 3 { 1 } else { 4 };
        let raw = integers.iter().flat_map(|q| q.to_le_bytes()[..size].to_vec()).collect();
        let integers = self.constant(dims, data_type, raw);
        let scale = self.floats(&[scales.len()], scales);
        let zero = self.constant(&[scales.len()], data_type, vec![0; size * scales.len()]);
        self.node("DequantizeLinear", &[&integers, &scale, &zero], vec![int("axis", 0)])
    }

    fn convolution(&mut self, of: &Tensor, wanted: Wanted) -> Tensor {
        let Wanted { outputs, kernel, stride, depthwise } = wanted;
        let read = if depthwise { 1 } else { of.channels };
        let each = read * kernel * kernel;
        // Weights whose outputs have a variance of about one, at 127 for three deviations.
        let deviation = 0.8 / (each as f32).sqrt();
        let scales = vec![deviation * 3.0 / 127.0; outputs];
        let weights: Vec<i32> = (0..outputs * each).map(|_| (self.normal() * 42.0).round().clamp(-127.0, 127.0) as i32).collect();
        let bias_scales: Vec<f32> = scales.iter().map(|s| s * of.scale).collect();
        let biases: Vec<i32> = (0..outputs).map(|o| ((0.5 + 0.3 * self.normal()) / bias_scales[o]).round() as i32).collect();
        let weights = self.weights(&[outputs, read, kernel, kernel], 3, &weights, &scales);
        let bias = self.weights(&[outputs], 6, &biases, &bias_scales);
        let attributes = vec![
            ints("kernel_shape", &[kernel; 2]),
            ints("strides", &[stride; 2]),
            ints("pads", &[kernel / 2; 4]),
            ints("dilations", &[1; 2]),
            int("group", if depthwise { outputs as i64 } else { 1 }),
        ];
        let name = self.node("Conv", &[&of.name, &weights, &bias], attributes);
        Tensor { name, channels: outputs, height: of.height.div_ceil(stride), width: of.width.div_ceil(stride), scale: 0.0 }
    }

    /// A convolution, ReLU6, and the quantization.
    fn layer(&mut self, of: &Tensor, wanted: Wanted) -> Tensor {
        let sums = self.convolution(of, wanted);
        let (low, high) = (self.floats(&[], &[0.0]), self.floats(&[], &[6.0]));
        let name = self.node("Clip", &[&sums.name, &low, &high], vec![]);
        self.bytes(Tensor { name, ..sums }, POSITIVE)
    }

    /// An inverted residual block.
    fn block(&mut self, of: &Tensor, [expansion, outputs, kernel, stride]: [usize; 4]) -> Tensor {
        let pointwise = |outputs| Wanted { outputs, kernel: 1, stride: 1, depthwise: false };
        let wide = if expansion == 1 { of.clone() } else { self.layer(of, pointwise(expansion * of.channels)) };
        let wide = self.layer(&wide, Wanted { outputs: wide.channels, kernel, stride, depthwise: true });
        let mut narrow = self.convolution(&wide, pointwise(outputs));
        if stride == 1 && outputs == of.channels {
            narrow.name = self.node("Add", &[&narrow.name, &of.name], vec![]);
        }
        self.bytes(narrow, SIGNED)
    }

    /// The network.
    fn build(int8: bool) -> ModelProto {
        let mut net = Self { graph: GraphProto { name: "mobile".into(), ..GraphProto::default() }, int8, noise: 0x9e37_79b9_7f4a_7c15 };
        let lightness = Tensor { name: LIGHTNESS.into(), channels: 1, height: HEIGHT, width: WIDTH, scale: 0.0 };
        let input = net.bytes(lightness, (1.0 / 255.0, 128));
        let mut x = net.layer(&input, Wanted { outputs: 32, kernel: 3, stride: 2, depthwise: false });
        let mut skips: Vec<Tensor> = Vec::new();
        for [expansion, channels, blocks, kernel, stride] in STAGES {
            if stride == 2 {
                skips.push(x.clone());
            }
            for block in 0..blocks {
                x = net.block(&x, [expansion, channels, kernel, if block == 0 { stride } else { 1 }]);
            }
        }
        for outputs in DECODER {
            let skip = skips.pop().unwrap();
            let scales = net.floats(&[4], &[1.0, 1.0, 2.0, 2.0]);
            let attributes =
                vec![text("mode", "nearest"), text("coordinate_transformation_mode", "asymmetric"), text("nearest_mode", "floor")];
            let grown = net.node("Resize", &[&x.name, "", &scales], attributes);
            let name = net.node("Concat", &[&grown, &skip.name], vec![int("axis", 1)]);
            let joined = Tensor { name, channels: x.channels + skip.channels, ..skip };
            // The parts' own bytes, which the pass need not touch where they mean the same.
            let joined = net.bytes(joined, SIGNED);
            x = net.layer(&joined, Wanted { outputs, kernel: 3, stride: 1, depthwise: false });
        }
        net.convolution(&x, Wanted { outputs: 2, kernel: 1, stride: 1, depthwise: false });
        net.graph.node.last_mut().unwrap().output = vec![AB.into()];
        net.graph.input.push(info(LIGHTNESS, [1, 1, HEIGHT, WIDTH]));
        net.graph.output.push(info(AB, [1, 2, x.height, x.width]));
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 18 }];
        let mut model = ModelProto { ir_version: 8, opset_import, graph: Some(net.graph), ..ModelProto::default() };
        let card = Card {
            name: "mobile".into(),
            output: Output::Ab,
            temperature: 1.0,
            saturation: 1.0,
            color: contract::COLOR_CONSTANTS.into(),
            training: "none: random weights, for measuring speed".into(),
            license: "MIT OR Apache-2.0".into(),
            calibration: None,
            float_parent_sha256: None,
        };
        write_card(&mut model, &card);
        model
    }
}

fn info(name: &str, dims: [usize; 4]) -> ValueInfoProto {
    let dim = dims.iter().map(|&d| Dimension { value: Some(Value::DimValue(d as i64)), ..Dimension::default() }).collect();
    let tensor = type_proto::Tensor { elem_type: 1, shape: Some(TensorShapeProto { dim }) };
    let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() });
    ValueInfoProto { name: name.into(), r#type, ..ValueInfoProto::default() }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i, r#type: 2, ..AttributeProto::default() }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: values.iter().map(|&v| v as i64).collect(), r#type: 7, ..AttributeProto::default() }
}

fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { name: name.into(), s: value.as_bytes().to_vec(), r#type: 3, ..AttributeProto::default() }
}

/// A picture with edges and slopes.
fn picture() -> Plane<f32> {
    let at = |i: usize| ((i % WIDTH * 3 / 7 + i / WIDTH) % 60 + (i % WIDTH / 37 + i / WIDTH / 23) % 3 * 18) as f32;
    Plane::from_vec(WIDTH, HEIGHT, (0..WIDTH * HEIGHT).map(at).collect())
}

/// How long the processor has worked on this thread, which other programs do not lengthen by taking turns with it; in steps of a scheduler's tick.
fn processor_ms() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}

/// The shortest and the median, in milliseconds.
fn summary(times: &mut [f32]) -> (f32, f32) {
    times.sort_by(f32::total_cmp);
    (times[0], times[times.len() / 2])
}

fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let mean = |v: &[f32]| v.iter().map(|&v| f64::from(v)).sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(&a, &b)| f(f64::from(a) - ma, f64::from(b) - mb)).sum::<f64>();
    sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let frames: usize = arguments.next().map_or(30, |frames| frames.parse().unwrap());
    let (int8, float) = (Builder::build(true), Builder::build(false));
    let stock = Runtime { fused: false, ..Runtime::default() };
    let load = |model: &ModelProto, runtime| Colorizer::from_proto_as("mobile", model, runtime).unwrap();
    let mut ways = [
        ("fused", load(&int8, Runtime::default())),
        ("stock Tract, 8-bit form", load(&int8, stock)),
        ("stock Tract, float", load(&float, stock)),
    ];
    let found = ways[0].1.fused();
    println!("{} multiply-adds in {} fused convolutions, left {:?}", found.multiply_adds, found.convolutions.len(), found.left);
    let lightness = picture();
    let mut times = [const { Vec::new() }; 3];
    // In turns of a few frames, the first of which finds the caches full of another way's weights and is not counted.
    let mut processor = [0.0; 3];
    for _ in 0..frames.div_ceil(FRAMES_A_TURN) {
        for (((_, colorizer), times), processor) in ways.iter_mut().zip(&mut times).zip(&mut processor) {
            colorizer.advance(&lightness).unwrap();
            let before = processor_ms();
            for _ in 0..FRAMES_A_TURN {
                let start = Instant::now();
                colorizer.advance(&lightness).unwrap();
                times.push(start.elapsed().as_secs_f32() * 1000.0);
            }
            *processor += (processor_ms() - before) / (FRAMES_A_TURN * frames.div_ceil(FRAMES_A_TURN)) as f64;
        }
    }
    for (((name, colorizer), times), ms) in ways.iter().zip(&mut times).zip(processor) {
        let (least, median) = summary(times);
        let same = correlation(colorizer.raw_output(), ways[0].1.raw_output());
        let ratio = ms / processor[0];
        println!("{name:<24}{ms:.2} ms of processor time ({ratio:.2}); clock: least {least:.2}, median {median:.2}; correlation {same:.5}");
    }
    // The operators of the fused way.
    let mut kinds: BTreeMap<String, (usize, f32)> = BTreeMap::new();
    for frame in 0..frames {
        let mut before = Instant::now();
        ways[0]
            .1
            .advance_watched(&lightness, |node, operator| {
                let ms = before.elapsed().as_secs_f32() * 1000.0;
                before = Instant::now();
                let entry = kinds.entry(format!("{operator} {node}")).or_insert((0, f32::INFINITY));
                *entry = (frame, entry.1.min(ms));
            })
            .unwrap();
    }
    let mut kinds: Vec<_> = kinds.into_iter().map(|(name, (_, ms))| (ms, name)).collect();
    kinds.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (ms, name) in kinds.iter().take(24) {
        println!("  {ms:.3} ms  {name}");
    }
    println!("  {:.3} ms  all {}", kinds.iter().map(|(ms, _)| ms).sum::<f32>(), kinds.len());
    if let Some(folder) = arguments.next().map(std::path::PathBuf::from) {
        std::fs::write(folder.join("mobile-int8.onnx"), int8.encode_to_vec()).unwrap();
        std::fs::write(folder.join("mobile-float.onnx"), float.encode_to_vec()).unwrap();
        let line = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join("\n");
        let scaled: Vec<f32> = lightness.data.iter().map(|&v| contract::scaled_lightness(v)).collect();
        std::fs::write(folder.join("mobile-input.txt"), line(&scaled)).unwrap();
        std::fs::write(folder.join("mobile-output.txt"), line(ways[0].1.raw_output())).unwrap();
    }
}
