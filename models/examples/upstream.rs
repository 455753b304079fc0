//! The minimal examples behind the reports in `docs/upstream/`, on Tract alone: `cargo run --release -p autochrome-model --example upstream -- REPORT`.
//!
//! Figures are medians of interleaved rounds, so that what else the machine does falls on both sides; trust the ratios.
#![allow(clippy::unwrap_used, reason = "an example that fails says where")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fearless_simd::{Level, Simd, dispatch};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};
use tract_onnx::prelude::*;

const ROUNDS: usize = 60;

fn main() {
    let reports: [(&str, fn()); 8] = [
        ("qdq", qdq),
        ("upsample", upsample),
        ("im2col", im2col),
        ("vzeroupper", vzeroupper),
        ("lookup-table", lookup_table),
        ("qlinearconcat", qlinearconcat),
        ("panics", panics),
        ("endless", endless),
    ];
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let known = |name: &String| reports.iter().any(|(report, _)| report == name);
    if wanted.is_empty() || !wanted.iter().all(known) {
        eprintln!("which of {:?}?", reports.map(|(report, _)| report));
        std::process::exit(2);
    }
    for (report, run) in reports.iter().filter(|(report, _)| wanted.iter().any(|w| w == report)) {
        println!("== {report}");
        run();
    }
}

// ---- graphs

fn node(op_type: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    let input = inputs.iter().map(|&s| s.into()).collect();
    NodeProto { op_type: op_type.into(), name: output.into(), input, output: vec![output.into()], attribute, ..NodeProto::default() }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: ints.to_vec(), r#type: 7, ..AttributeProto::default() }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i, r#type: 2, ..AttributeProto::default() }
}

fn text(name: &str, text: &str) -> AttributeProto {
    AttributeProto { name: name.into(), s: text.into(), r#type: 3, ..AttributeProto::default() }
}

fn tensor(name: &str, dims: &[i64], data_type: DataType, raw_data: Vec<u8>) -> TensorProto {
    TensorProto { name: name.into(), dims: dims.to_vec(), data_type: data_type as i32, raw_data, ..TensorProto::default() }
}

fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    tensor(name, dims, DataType::Float, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

fn longs(name: &str, values: &[i64]) -> TensorProto {
    tensor(name, &[values.len() as i64], DataType::Int64, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

fn value(name: &str, data_type: DataType, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&d| Dimension { value: Some(Value::DimValue(d)), ..Dimension::default() }).collect();
    let tensor = type_proto::Tensor { elem_type: data_type as i32, shape: Some(TensorShapeProto { dim }) };
    let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() });
    ValueInfoProto { name: name.into(), r#type, ..ValueInfoProto::default() }
}

/// A model of one input `x` and one output `y`.
fn model(input: ValueInfoProto, node: Vec<NodeProto>, initializer: Vec<TensorProto>) -> ModelProto {
    let output = vec![ValueInfoProto { name: "y".into(), ..ValueInfoProto::default() }];
    let graph = GraphProto { name: "example".into(), node, initializer, input: vec![input], output, ..GraphProto::default() };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 18 }];
    ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..ModelProto::default() }
}

type Plan = Arc<TypedSimplePlan>;

fn plan(model: &ModelProto) -> TractResult<Plan> {
    tract_onnx::onnx().model_for_proto_model(model)?.into_optimized()?.into_runnable()
}

/// How often each operator stands in an optimized plan.
fn operators(plan: &Plan) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for node in plan.model().nodes() {
        *count.entry(node.op().name().to_string()).or_insert(0) += 1;
    }
    count
}

// ---- measuring

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The median time of each piece of work, done in turn.
fn interleaved<const N: usize>(mut work: [&mut dyn FnMut() -> Duration; N]) -> [Duration; N] {
    let mut times = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        for (times, work) in times.iter_mut().zip(&mut work) {
            times.push(work());
        }
    }
    times.map(|mut times| median(&mut times[ROUNDS / 6..]))
}

fn timed(mut work: impl FnMut()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn runner(plan: &Plan, input: Tensor) -> impl FnMut() -> Duration {
    let mut state = plan.spawn().unwrap();
    let input = input.into_tvalue();
    move || timed(|| drop(black_box(state.run(tvec!(input.clone())).unwrap())))
}

/// Prints in which operators a plan spends its time.
fn profile(plan: &Plan, input: &Tensor) {
    let mut state = plan.spawn().unwrap();
    let mut spent: BTreeMap<String, Duration> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let evaluated = state.run_plan_with_eval(tvec!(input.clone().into_tvalue()), |context, state, node, inputs| {
            let start = Instant::now();
            let result = tract_onnx::tract_core::plan::eval(context, state, node, inputs);
            *spent.entry(node.op().name().to_string()).or_default() += start.elapsed();
            result
        });
        drop(evaluated.unwrap());
    }
    let all: Duration = spent.values().sum();
    let mut spent: Vec<_> = spent.into_iter().collect();
    spent.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    for (operator, time) in spent.iter().take(6) {
        let share = 100.0 * time.as_secs_f64() / all.as_secs_f64();
        println!("    {share:5.1} % {:>9.1?} {operator}", *time / ROUNDS as u32);
    }
}

/// Numbers without a pattern that a kernel could profit from.
fn noise(count: usize) -> impl Iterator<Item = u32> {
    (0..count as u32).map(|i| i.wrapping_mul(2_654_435_761) >> 8)
}

fn float_noise(shape: &[usize]) -> Tensor {
    let values: Vec<f32> = noise(shape.iter().product()).map(|v| (v % 2001) as f32 / 1000.0 - 1.0).collect();
    Tensor::from_shape(shape, &values).unwrap()
}

fn byte_noise(shape: &[usize]) -> Tensor {
    let values: Vec<u8> = noise(shape.iter().product()).map(|v| v as u8).collect();
    Tensor::from_shape(shape, &values).unwrap()
}

const CHANNELS: usize = 32;
const SHAPE: [usize; 4] = [1, CHANNELS, 72, 96];

fn shape() -> Vec<i64> {
    SHAPE.map(|d| d as i64).to_vec()
}

fn same_3x3() -> Vec<AttributeProto> {
    vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1, 1, 1, 1])]
}

fn weights() -> Vec<i8> {
    noise(CHANNELS * CHANNELS * 9).map(|v| (v % 255) as i8).collect()
}

// ---- the reports

/// Four convolutions of 32 to 32 channels, in float and as QDQ.
fn qdq() {
    let dims = [CHANNELS as i64, CHANNELS as i64, 3, 3];
    let mut float = (vec![], vec![]);
    let mut quantized = (vec![], vec![floats("s", &[], &[0.02]), tensor("z", &[], DataType::Uint8, vec![0])]);
    let layers = 4;
    for layer in 0..layers {
        let name = |what: &str| format!("{what}{layer}");
        let from = if layer == 0 { "x".to_owned() } else { format!("relu{}", layer - 1) };
        let out = if layer + 1 == layers { "y".to_owned() } else { name("relu") };
        let (w, conv) = (name("w"), name("conv"));
        let values: Vec<f32> = weights().iter().map(|&w| f32::from(w) * 0.0003).collect();
        float.1.push(floats(&w, &dims, &values));
        float.0.push(node("Conv", &[&from, &w], &conv, same_3x3()));
        float.0.push(node("Relu", &[&conv], &out, vec![]));
        // The same between QuantizeLinear and DequantizeLinear, the weights as int8.
        let (bytes, back, stored, scale, zero) = (name("q"), name("dq"), name("w8_"), name("ws"), name("wz"));
        quantized.1.push(tensor(&stored, &dims, DataType::Int8, weights().iter().map(|&w| w as u8).collect()));
        quantized.1.push(floats(&scale, &[dims[0]], &[0.0003; CHANNELS]));
        quantized.1.push(tensor(&zero, &[dims[0]], DataType::Int8, vec![0; CHANNELS]));
        quantized.0.push(node("QuantizeLinear", &[&from, "s", "z"], &bytes, vec![]));
        quantized.0.push(node("DequantizeLinear", &[&bytes, "s", "z"], &back, vec![]));
        quantized.0.push(node("DequantizeLinear", &[&stored, &scale, &zero], &w, vec![int("axis", 0)]));
        quantized.0.push(node("Conv", &[&back, &w], &conv, same_3x3()));
        quantized.0.push(node("Relu", &[&conv], &out, vec![]));
    }
    let float = plan(&model(value("x", DataType::Float, &shape()), float.0, float.1)).unwrap();
    let quantized = plan(&model(value("x", DataType::Float, &shape()), quantized.0, quantized.1)).unwrap();
    let input = float_noise(&SHAPE);
    let [f, q] = interleaved([&mut runner(&float, input.clone()), &mut runner(&quantized, input.clone())]);
    println!("  float {f:.2?}, QDQ {q:.2?}, ratio {:.2}", q.as_secs_f64() / f.as_secs_f64());
    println!("  operators of the optimized QDQ plan: {:?}", operators(&quantized));
    profile(&quantized, &input);
}

/// Nearest upsampling by two, of floats and of bytes.
fn upsample() {
    let larger = |data_type| {
        let nearest = vec![text("mode", "nearest"), text("coordinate_transformation_mode", "asymmetric"), text("nearest_mode", "floor")];
        let resize = node("Resize", &["x", "", "scales"], "y", nearest);
        plan(&model(value("x", data_type, &shape()), vec![resize], vec![floats("scales", &[4], &[1.0, 1.0, 2.0, 2.0])])).unwrap()
    };
    let (float, bytes) = (larger(DataType::Float), larger(DataType::Uint8));
    let [f, b] = interleaved([&mut runner(&float, float_noise(&SHAPE)), &mut runner(&bytes, byte_noise(&SHAPE))]);
    println!("  {SHAPE:?} by 2: f32 {f:.2?}, u8 {b:.2?}, ratio {:.1}, for a quarter of the bytes", b.as_secs_f64() / f.as_secs_f64());
    println!("  operators: {:?} and {:?}", operators(&float), operators(&bytes));
}

/// One convolution, in float and as QLinearConv.
fn im2col() {
    let dims = [CHANNELS as i64, CHANNELS as i64, 3, 3];
    let values: Vec<f32> = weights().iter().map(|&w| f32::from(w) * 0.0003).collect();
    let conv = node("Conv", &["x", "w"], "y", same_3x3());
    let float = plan(&model(value("x", DataType::Float, &shape()), vec![conv], vec![floats("w", &dims, &values)])).unwrap();
    let stored = vec![
        tensor("w", &dims, DataType::Int8, weights().iter().map(|&w| w as u8).collect()),
        floats("xs", &[], &[0.02]),
        floats("ws", &[], &[0.0003]),
        tensor("xz", &[], DataType::Uint8, vec![0]),
        tensor("wz", &[], DataType::Int8, vec![0]),
    ];
    let conv = node("QLinearConv", &["x", "xs", "xz", "w", "ws", "wz", "xs", "xz"], "y", same_3x3());
    let bytes = plan(&model(value("x", DataType::Uint8, &shape()), vec![conv], stored)).unwrap();
    let (x, x8) = (float_noise(&SHAPE), byte_noise(&SHAPE));
    let [f, b] = interleaved([&mut runner(&float, x.clone()), &mut runner(&bytes, x8.clone())]);
    println!("  3x3, {SHAPE:?}: f32 {f:.2?}, QLinearConv {b:.2?}, ratio {:.2}", b.as_secs_f64() / f.as_secs_f64());
    println!("  f32: {:?}", operators(&float));
    profile(&float, &x);
    println!("  QLinearConv: {:?}", operators(&bytes));
    profile(&bytes, &x8);
}

/// A loop as the x86-64 baseline compiles it: SSE2, one dependent chain for each of eight values.
#[inline(never)]
fn baseline(values: &mut [f32]) {
    for v in values.iter_mut() {
        *v = (*v * 0.999 + 0.001).sqrt().max(0.25);
    }
}

/// A function that uses the widest registers and, as compilers do, clears their upper halves when it returns.
#[inline(never)]
fn clears(values: &mut [f32]) {
    dispatch!(Level::new(), simd => simd.vectorize(
        #[inline(always)]
        || {
            for v in values.iter_mut() {
                *v += 1.0;
            }
        }
    ));
}

/// A loop of ours after a kernel of Tract's, with the upper halves of the registers cleared in between and without.
fn vzeroupper() {
    let dims = [CHANNELS as i64, CHANNELS as i64, 3, 3];
    let weights: Vec<f32> = weights().iter().map(|&w| f32::from(w) * 0.0003).collect();
    let one = |nodes, stored| plan(&model(value("x", DataType::Float, &shape()), nodes, stored)).unwrap();
    let kernels = [
        ("a 3x3 convolution", one(vec![node("Conv", &["x", "w"], "y", same_3x3())], vec![floats("w", &dims, &weights)])),
        ("Sigmoid", one(vec![node("Sigmoid", &["x"], "y", vec![])], vec![])),
        ("Tanh", one(vec![node("Tanh", &["x"], "y", vec![])], vec![])),
        ("Relu, which no such kernel computes", one(vec![node("Relu", &["x"], "y", vec![])], vec![])),
    ];
    let mut wide: Vec<f32> = noise(4096).map(|v| (v % 1000) as f32).collect();
    let mut values = wide.clone();
    println!("  {:?}; 819200 values in an SSE2 loop:", Level::new());
    let before = median(&mut (0..ROUNDS).map(|_| timed(|| (0..200).for_each(|_| baseline(black_box(&mut values))))).collect::<Vec<_>>());
    println!("    as the program begins: {before:.2?}");
    for (what, kernel) in &kernels {
        let mut run = runner(kernel, float_noise(&SHAPE));
        let mut after = |clear: bool| {
            run();
            if clear {
                clears(black_box(&mut wide));
            }
            timed(|| (0..200).for_each(|_| baseline(black_box(&mut values))))
        };
        let mut times = [vec![], vec![]];
        for _ in 0..ROUNDS {
            times[0].push(after(true));
            times[1].push(after(false));
        }
        let [clean, dirty] = times.map(|mut times| median(&mut times));
        let ratio = dirty.as_secs_f64() / clean.as_secs_f64();
        println!("    after {what} {dirty:.2?}, with the upper halves cleared in between {clean:.2?}, ratio {ratio:.2}");
    }
}

/// Bytes through DequantizeLinear, Tanh and QuantizeLinear to the other kind of bytes, against the definition.
fn lookup_table() {
    let bytes: Vec<u8> = (0..=255).collect();
    let kinds = [(DataType::Uint8, 128_u8, "u8"), (DataType::Int8, 0, "i8")];
    for (from, from_zero, from_name) in kinds {
        for (to, to_zero, to_name) in kinds {
            let stored = vec![
                floats("xs", &[], &[1.0 / 32.0]),
                tensor("xz", &[], from, vec![from_zero]),
                floats("ys", &[], &[1.0 / 127.0]),
                tensor("yz", &[], to, vec![to_zero]),
            ];
            let nodes = vec![
                node("DequantizeLinear", &["x", "xs", "xz"], "a", vec![]),
                node("Tanh", &["a"], "b", vec![]),
                node("QuantizeLinear", &["b", "ys", "yz"], "y", vec![]),
            ];
            let stated = model(value("x", from, &[256]), nodes, stored);
            let signed: Vec<i8> = bytes.iter().map(|&b| b as i8).collect();
            let input = if from == DataType::Int8 { tensor1(&signed) } else { tensor1(&bytes) };
            let expected = |b: u8| {
                let x = if from == DataType::Int8 { f32::from(b as i8) } else { f32::from(b) - f32::from(from_zero) };
                let y = ((x / 32.0).tanh() * 127.0).round_ties_even();
                if to == DataType::Int8 { y.clamp(-128.0, 127.0) } else { (y + f32::from(to_zero)).clamp(0.0, 255.0) }
            };
            let ran = catch_unwind(AssertUnwindSafe(|| -> TractResult<String> {
                let plan = plan(&stated)?;
                let found = plan.spawn()?.run(tvec!(input.into_tvalue()))?.remove(0);
                let kind = found.datum_type();
                let found = found.cast_to::<f32>()?;
                let plain = found.try_as_plain_ram()?;
                let found = plain.as_slice::<f32>()?;
                let wrong: Vec<usize> = (0..256).filter(|&i| (found[i] - expected(i as u8)).abs() > 1.0).collect();
                let first = wrong.first().map(|&i| format!(", first x = {i}: {} instead of {}", found[i], expected(i as u8)));
                Ok(format!("gives {kind:?}, {} of 256 wrong{}; {:?}", wrong.len(), first.unwrap_or_default(), operators(&plan)))
            }));
            match ran {
                Ok(Ok(text)) => println!("  {from_name} -> {to_name}: {text}"),
                Ok(Err(error)) => println!("  {from_name} -> {to_name}: error: {}", format!("{error:#}").replace('\n', " ")),
                Err(_) => println!("  {from_name} -> {to_name}: panic"),
            }
        }
    }
}

fn qlinearconcat() {
    let nodes = vec![node("QLinearConcat", &["s", "z", "x", "s", "z", "x", "s", "z"], "y", vec![int("axis", 1)])];
    let stored = vec![floats("s", &[], &[0.02]), tensor("z", &[], DataType::Uint8, vec![0])];
    match plan(&model(value("x", DataType::Uint8, &shape()), nodes, stored)) {
        Ok(plan) => println!("  loads: {:?}", operators(&plan)),
        Err(error) => println!("  error: {}", format!("{error:#}").replace('\n', " ")),
    }
}

/// Graphs that make Tract panic where an error is expected.
fn panics() {
    static PLACE: Mutex<String> = Mutex::new(String::new());
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| *PLACE.lock().unwrap() = info.location().map_or_else(String::new, ToString::to_string)));
    let small = || value("x", DataType::Float, &[1, 1, 8, 8]);
    let one = |op_type: &str, inputs: &[&str], attributes, mut stored: Vec<TensorProto>| {
        stored.push(floats("w", &[1, 1, 3, 3], &[0.1; 9]));
        model(small(), vec![node(op_type, inputs, "y", attributes)], stored)
    };
    let string = TensorProto { name: "s".into(), dims: vec![1], data_type: 8, raw_data: vec![1; 4], ..TensorProto::default() };
    let cases = vec![
        ("Conv whose optional bias is an empty name", one("Conv", &["x", "w", ""], vec![], vec![])),
        ("Conv with a stride of 0", one("Conv", &["x", "w"], vec![ints("strides", &[0, 1])], vec![])),
        ("Conv with one stride for two axes", one("Conv", &["x", "w"], vec![ints("strides", &[1])], vec![])),
        ("Conv with one dilation for two axes", one("Conv", &["x", "w"], vec![ints("dilations", &[1])], vec![])),
        ("Conv with pads of one axis", one("Conv", &["x", "w"], vec![ints("pads", &[1, 1])], vec![])),
        ("Transpose to a dimension that is not there", one("Transpose", &["x"], vec![ints("perm", &[0, 1, 9, 2])], vec![])),
        (
            "DequantizeLinear with an empty zero point",
            model(
                value("x", DataType::Uint8, &[1, 1, 8, 8]),
                vec![node("DequantizeLinear", &["x", "s", "z"], "y", vec![])],
                vec![floats("s", &[], &[1.0]), tensor("z", &[0], DataType::Uint8, vec![])],
            ),
        ),
        ("a raw tensor of strings", one("Relu", &["x"], vec![], vec![string])),
        (
            "a tensor of 2^62 elements without data",
            one("Relu", &["x"], vec![], vec![tensor("t", &[1 << 31, 1 << 31], DataType::Float, vec![])]),
        ),
        ("AveragePool of a vector", {
            let pool = node("AveragePool", &["x"], "y", vec![ints("kernel_shape", &[1, 1])]);
            model(value("x", DataType::Float, &[4]), vec![pool], vec![])
        }),
        ("ConstantOfShape of -5", one("ConstantOfShape", &["n"], vec![], vec![longs("n", &[-5])])),
        ("an output that no node makes", model(small(), vec![node("Relu", &["x"], "other", vec![])], vec![])),
    ];
    for (what, model) in cases {
        let start = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| plan(&model).map(|_| ())));
        let took = start.elapsed();
        match ended {
            Ok(Ok(())) => println!("  {what}: loads, in {took:.1?}"),
            Ok(Err(error)) => println!("  {what}: error: {}", format!("{error:#}").replace('\n', " ")),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                let place = PLACE.lock().unwrap().clone();
                println!(
                    "  {what}: panic at {}: {}",
                    place.rsplit_once("/registry/src/").map_or(&*place, |(_, rest)| rest),
                    text.unwrap_or_default()
                );
            }
        }
    }
    std::panic::set_hook(print);
}

/// A graph whose preparation did not end within minutes; end the program by hand.
fn endless() {
    let conv = node("Conv", &["x", "w"], "y", vec![ints("strides", &[2, 2]), ints("pads", &[1, 1, 1, i64::MAX])]);
    println!("  Conv with a pad of 2^63 - 1 and strides of 2 ...");
    let start = Instant::now();
    let ended = plan(&model(value("x", DataType::Float, &[1, 1, 8, 8]), vec![conv], vec![floats("w", &[1, 1, 3, 3], &[0.1; 9])]));
    println!("  {} after {:.1?}", if ended.is_ok() { "loads" } else { "an error" }, start.elapsed());
}
