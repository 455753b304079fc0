//! The model files in `models/`, on the four photographs that are shipped: here nothing of the training data is needed.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;

use autochrome_model::color::{LumaRange, lightness_table, luma};
use autochrome_model::planes::resample;
use autochrome_model::{Colorizer, InstructionSet, Painter, Plane, Runtime, contract};
use tract_onnx::pb::GraphProto;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The models, each as a float and an int8 file.
const NAMES: [&str; 3] = ["autochrome-192x144", "autochrome-lite0-128x96", "autochrome-lite0-224x160"];

/// The one that the program carries.
fn model(kind: &str) -> PathBuf {
    file_of("autochrome-lite0-224x160", kind)
}

fn file_of(name: &str, kind: &str) -> PathBuf {
    root().join(format!("models/{name}-{kind}.onnx"))
}

fn names_and_kinds() -> impl Iterator<Item = (&'static str, &'static str)> {
    NAMES.iter().flat_map(|name| ["float", "int8"].map(|kind| (*name, kind)))
}

/// `count` luma planes of 640x480: slow pans over the photographs, with a hard cut between them.
fn feed(count: usize) -> Vec<Plane<u8>> {
    let mut photos: Vec<PathBuf> = std::fs::read_dir(root().join("firmware/assets/demo"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "jpg"))
        .collect();
    photos.sort();
    let mut frames = Vec::new();
    for (index, photo) in photos.iter().enumerate() {
        let picture = image::open(photo).unwrap().to_rgb8();
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let (window_width, window_height) = (width * 4 / 5, height * 4 / 5);
        let share = count * (index + 1) / photos.len() - count * index / photos.len();
        for frame in 0..share {
            let left = (width - window_width) * frame / share.max(2);
            let top = (height - window_height) / 2;
            let window = |x: usize, y: usize| {
                let image::Rgb(rgb) = picture.get_pixel((left + x) as u32, (top + y) as u32);
                luma(*rgb)
            };
            let grey = (0..window_height).flat_map(|y| (0..window_width).map(move |x| (x, y))).map(|(x, y)| window(x, y)).collect();
            let large = resample(&Plane::from_vec(window_width, window_height, grey), |v| v, (640, 480));
            frames.push(Plane::from_vec(640, 480, large.data.iter().map(|v| v.round().clamp(0.0, 255.0) as u8).collect()));
        }
    }
    frames
}

/// The feed as a model's lightness input.
fn lightness_feed(count: usize, model: &Colorizer) -> Vec<Plane<f32>> {
    let table = lightness_table(LumaRange::Full);
    let size = (model.contract().width, model.contract().height);
    feed(count).iter().map(|frame| resample(frame, |code| table[usize::from(code)], size)).collect()
}

#[test]
fn int8_stays_near_float_and_does_not_drift() {
    let (mut float, mut int8) = (Colorizer::load(&model("float")).unwrap(), Colorizer::load(&model("int8")).unwrap());
    let frames = lightness_feed(40, &float);
    let mut means = Vec::new();
    let mut errors = Vec::new();
    // The same 40 frames ten times over, the state never reset: an error that builds up would show in the last rounds.
    for frame in frames.iter().cycle().take(400) {
        let (expected, found) = (float.step(frame).unwrap(), int8.step(frame).unwrap());
        let start = errors.len();
        errors.extend(
            expected.a.data.iter().chain(&expected.b.data).zip(found.a.data.iter().chain(&found.b.data)).map(|(e, f)| (e - f).abs()),
        );
        means.push(errors[start..].iter().sum::<f32>() / (errors.len() - start) as f32);
    }
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    errors.sort_by(f32::total_cmp);
    // The bars of the contract: mean 2, 99th percentile 8 Lab units.
    assert!(mean(&means) <= 2.0, "mean {}", mean(&means));
    assert!(errors[errors.len() * 99 / 100] <= 8.0, "99th percentile {}", errors[errors.len() * 99 / 100]);
    assert!(mean(&means[360..]) <= 1.2 * mean(&means[..40]) + 0.05, "drift: {} then {}", mean(&means[..40]), mean(&means[360..]));
}

/// How Tract runs a model by itself.
const STOCK: Runtime = Runtime { fused: false, threads: NonZeroUsize::MIN, instruction_set: None };

/// The network's outputs for all frames, one after the other, the state carried from frame to frame.
fn logits(model: &mut Colorizer, frames: &[Plane<f32>]) -> Vec<f32> {
    let mut found = Vec::new();
    for frame in frames {
        model.advance(frame).unwrap();
        found.extend_from_slice(model.raw_output());
    }
    found
}

#[test]
fn onnx_runtime_agrees_over_100_recurrent_frames() {
    // `just test` prepares an environment with tests/requirements.txt and names its interpreter here.
    let python = std::env::var("AUTOCHROME_PYTHON").unwrap_or_else(|_| "python3".into());
    let folder = tempfile::tempdir().unwrap();
    for (name, kind) in names_and_kinds() {
        let file = file_of(name, kind);
        let mut ours = Colorizer::load(&file).unwrap();
        let frames = lightness_feed(100, &ours);
        let bytes: Vec<u8> = frames.iter().flat_map(|f| &f.data).flat_map(|&v| contract::scaled_lightness(v).to_le_bytes()).collect();
        let (input, output) = (folder.path().join("frames.f32"), folder.path().join("logits.f32"));
        std::fs::write(&input, bytes).unwrap();
        let run =
            Command::new(&python).arg(root().join("tests/onnx_runtime.py")).arg(&file).args([&input, &output]).arg("100").output().unwrap();
        assert!(
            run.status.success(),
            "{python} with onnx and onnxruntime is needed (run `just test`, or set AUTOCHROME_PYTHON): {}",
            String::from_utf8_lossy(&run.stderr)
        );
        let theirs: Vec<f32> =
            std::fs::read(&output).unwrap().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        // The promised bar for int8, where the runtimes may round differently; float must be equal but for the order of sums.
        let bar = if kind == "float" { 0.999_999 } else { 0.9998 };
        let mut stock = Colorizer::load_as(&file, STOCK).unwrap();
        for (way, model) in [("fused", &mut ours), ("stock Tract", &mut stock)] {
            let correlation = correlation(&logits(model, &frames), &theirs);
            println!("{name} {kind}, {way}: correlation of the logits {correlation}");
            assert!(correlation >= bar, "{name} {kind}, {way}: correlation {correlation}");
        }
    }
}

#[test]
fn fused_and_stock_agree_over_100_recurrent_frames() {
    let path = model("int8");
    let (mut fused, mut stock) = (Colorizer::load(&path).unwrap(), Colorizer::load_as(&path, STOCK).unwrap());
    let frames = lightness_feed(100, &fused);
    let (found, expected) = (logits(&mut fused, &frames), logits(&mut stock, &frames));
    let correlation = correlation(&found, &expected);
    println!("correlation of the logits {correlation}");
    assert!(correlation >= 0.9998, "{correlation}");
    assert_eq!(fused.states().len(), stock.states().len());
    assert!(stock.fused().convolutions.is_empty() && !fused.fused().convolutions.is_empty(), "they are run in two ways");
}

#[test]
fn every_convolution_of_an_int8_file_is_fused_and_none_of_a_float_file() {
    for name in NAMES {
        let (int8, mut float) = (Colorizer::load(&file_of(name, "int8")).unwrap(), Colorizer::load(&file_of(name, "float")).unwrap());
        let found = int8.fused();
        assert!(found.left.is_empty(), "left to Tract: {:?}", found.left);
        assert!(!found.instruction_set.is_empty() && found.multiply_adds > 0 && found.weight_bytes > 0, "{found:?}");
        let names = |names: &[String]| names.iter().cloned().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(names(&found.convolutions).len(), found.convolutions.len(), "each once");
        assert!(float.fused().convolutions.is_empty() && float.fused().instruction_set.is_empty());
        assert_eq!(float.fused().left.len(), found.convolutions.len(), "the same network");
        let frame = &lightness_feed(1, &float)[0];
        assert!(float.step(frame).unwrap().a.data.iter().any(|a| a.abs() > 1.0), "it still colors");
    }
}

#[test]
fn the_int8_files_hold_the_float_files_biases() {
    for name in NAMES {
        let [float, int8] =
            ["float", "int8"].map(|kind| contract::parse(&std::fs::read(file_of(name, kind)).unwrap()).unwrap().graph.unwrap());
        let raw = |graph: &GraphProto, name: &str| {
            let tensor = graph.initializer.iter().find(|tensor| tensor.name == name);
            let words = tensor.unwrap_or_else(|| panic!("no {name}")).raw_data.chunks_exact(4);
            words.map(|b| <[u8; 4]>::try_from(b).unwrap()).collect::<Vec<_>>()
        };
        let biases: Vec<&str> = int8.initializer.iter().filter_map(|tensor| tensor.name.strip_suffix(".bias_quantized")).collect();
        assert!(biases.len() > 10, "{name}: {biases:?}");
        for layer in biases {
            let part = |suffix: &str| raw(&int8, &format!("{layer}.bias_{suffix}"));
            let expected = raw(&float, &format!("{layer}.bias"));
            for ((units, scale), expected) in part("quantized").into_iter().zip(part("scale")).zip(expected) {
                let (units, scale, expected) = (i32::from_le_bytes(units), f32::from_le_bytes(scale), f32::from_le_bytes(expected));
                let off = (f64::from(units) * f64::from(scale) - f64::from(expected)).abs();
                // Half of a unit, and what the digits of a float lose.
                assert!(
                    off <= 0.5 * f64::from(scale) + 1e-6 * f64::from(expected.abs()),
                    "{name}, {layer}: {expected} became {units} times {scale}"
                );
            }
        }
    }
}

#[test]
fn no_instruction_set_changes_a_bit_of_the_output() {
    let mut expected = None;
    for set in InstructionSet::ALL.iter().copied().filter(|set| set.is_available()) {
        let runtime = Runtime { instruction_set: Some(set), ..Runtime::default() };
        let mut model = Colorizer::load_as(&model("int8"), runtime).unwrap();
        let frames = lightness_feed(3, &model);
        let found: Vec<u32> = logits(&mut model, &frames).iter().map(|v| v.to_bits()).collect();
        assert!(*expected.get_or_insert_with(|| found.clone()) == found, "{set} gives other logits");
    }
}

#[test]
fn threads_change_no_bit_of_a_picture() {
    let frames = feed(6);
    let mut expected = None;
    for threads in 1..=3 {
        let runtime = Runtime { threads: NonZeroUsize::new(threads).unwrap(), ..Runtime::default() };
        let mut painter = Painter::new(Colorizer::load_as(&model("int8"), runtime).unwrap(), LumaRange::Full);
        let mut paint = |frames: &[Plane<u8>]| frames.iter().map(|frame| painter.paint(frame.clone()).unwrap()).collect::<Vec<_>>();
        let mut found = paint(&frames[..3]);
        // A device loads models on one thread and runs them on another, and lets go of them on either.
        found.extend(std::thread::scope(|scope| scope.spawn(|| paint(&frames[3..])).join().unwrap()));
        std::thread::spawn(move || drop(painter)).join().unwrap();
        assert!(*expected.get_or_insert_with(|| found.clone()) == found, "{threads} threads give another picture");
    }
}

fn correlation(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let n = a.len() as f64;
    let mean = |v: &[f32]| v.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let (ma, mb) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(&x, &y)| f(f64::from(x) - ma, f64::from(y) - mb)).sum::<f64>();
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

#[test]
fn the_picture_keeps_its_luma_and_gets_color() {
    let mut painter = Painter::new(Colorizer::load(&model("int8")).unwrap(), LumaRange::Full);
    for frame in feed(4) {
        let picture = painter.paint(frame.clone()).unwrap();
        assert_eq!(picture.luma, frame);
        let colored = picture.cb.data.iter().zip(&picture.cr.data).filter(|(cb, cr)| cb.abs_diff(128) > 3 || cr.abs_diff(128) > 3).count();
        assert!(colored * 10 > picture.cb.data.len(), "less than a tenth of the picture has color");
    }
    painter.set_saturation(0.0);
    let grey = painter.paint(feed(1).remove(0)).unwrap();
    assert!(grey.cb.data.iter().chain(&grey.cr.data).all(|v| v.abs_diff(128) <= 1));
}

#[test]
fn a_reset_forgets_everything() {
    let mut model = Colorizer::load(&model("int8")).unwrap();
    let frames = lightness_feed(3, &model);
    let first = model.step(&frames[0]).unwrap();
    model.step(&frames[1]).unwrap();
    assert_ne!(model.step(&frames[0]).unwrap(), first, "the state makes a difference");
    model.reset();
    assert_eq!(model.step(&frames[0]).unwrap(), first);
}

#[test]
fn the_files_say_what_they_are_and_fit_on_small_devices() {
    for (name, kind) in names_and_kinds() {
        let file = file_of(name, kind);
        assert!(std::fs::metadata(&file).unwrap().len() < if kind == "int8" { 5_000_000 } else { 16_000_000 });
        let contract = Colorizer::load(&file).unwrap().contract().clone();
        assert_eq!(contract.card.name, name);
        assert!(name.ends_with(&format!("-{}x{}", contract.width, contract.height)), "{name}");
        assert_eq!(contract.quantized, kind == "int8");
        assert!(!contract.card.training.is_empty() && !contract.card.license.is_empty());
        assert_eq!(contract.card.calibration.is_some(), kind == "int8");
        assert_eq!(contract.card.float_parent_sha256.is_some(), kind == "int8");
    }
}
