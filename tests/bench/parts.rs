//! What `just bench` is made of, without its clocks: the networks, the count of their work, the figures and the drawing.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(dead_code, reason = "the program that measures uses the rest")]

mod contender;
mod network;
mod plot;
mod statistics;
mod subject;

use std::path::Path;

use autochrome_model::{Colorizer, Plane, contract};
use network::PlainNet;
use statistics::{Spread, correlation};
use subject::{FRAMES, Photographs, Subject};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn the_plain_networks_have_the_size_that_is_said_of_them() {
    let a192 = PlainNet::a192().to_onnx();
    let work = contract::check(&a192).unwrap().multiply_adds as f64;
    assert!((work / 469e6 - 1.0).abs() < 0.01, "{work} multiply-adds");
    let parameters = contract::check(&a192).unwrap().parameters as f64;
    assert!((parameters / 1.13e6 - 1.0).abs() < 0.01, "{parameters} weights");
    let large = contract::check(&PlainNet::large().to_onnx()).unwrap().multiply_adds;
    assert!((1_400_000_000..1_600_000_000).contains(&large), "{large} multiply-adds");
}

#[test]
fn work_is_the_same_in_float_and_int8() {
    let count = |kind: &str| {
        let model = subject::read(&root().join(format!("models/autochrome-192x144-{kind}.onnx"))).unwrap();
        contract::check(&model).unwrap().multiply_adds
    };
    assert_eq!(count("float"), count("int8"));
    // The figure of the card in models/README.md.
    assert_eq!((count("float") + 500_000) / 1_000_000, 272);
}

#[test]
fn all_forms_of_a_network_compute_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let photographs = Photographs::pack(folder.path()).unwrap();
    let net = PlainNet { name: "small".into(), width: 64, height: 48, widths: [4, 8, 12, 16] };
    let subject = Subject::plain(&net, &photographs, folder.path()).unwrap();
    let bytes = std::fs::read(&subject.frames).unwrap();
    let lightness: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(lightness.len(), FRAMES * 64 * 48);
    assert!(lightness.iter().all(|v| (-0.01..=100.01).contains(v)));
    let outputs = [&subject.float, &subject.int8, &subject.all_int8].map(|file| {
        let mut model = Colorizer::load(file).unwrap();
        let mut outputs = Vec::new();
        for plane in lightness.chunks_exact(64 * 48) {
            model.advance(&Plane::from_vec(64, 48, plane.to_vec())).unwrap();
            outputs.extend_from_slice(model.raw_output());
        }
        outputs
    });
    assert_ne!(outputs[1], outputs[2], "the sums of the third are quantized");
    for quantized in &outputs[1..] {
        let correlation = correlation(&outputs[0], quantized);
        assert!((0.98..1.0).contains(&correlation), "correlation {correlation}");
    }
}

#[test]
fn a_spread_lies_between_the_values() {
    let values: Vec<f64> = (0..=10).rev().map(f64::from).collect();
    assert_eq!(Spread::of(&values), Spread { median: 5.0, low: 1.0, high: 9.0 });
    assert_eq!(Spread::of(&[2.0, 1.0]).median, 1.5);
    assert!(Spread::of(&[]).median.is_nan());
    // Round by round: the median of the ratios, not the ratio of the medians.
    assert_eq!(Spread::of_ratios(&[1.0, 4.0, 9.0], &[2.0, 4.0, 3.0]).median, 1.0);
    assert!((correlation(&[1.0, 2.0, 4.0], &[-1.0, -2.0, -4.0]) + 1.0).abs() < 1e-12);
}

#[test]
fn a_drawing_holds_every_point_inside_its_edges() {
    let line = |name: &str, factor: f64| plot::Line {
        name: name.into(),
        points: vec![(1.0, 0.01 * factor), (2.0, factor), (4.0, 900.0 * factor)],
        is_limit: false,
        is_ours: factor == 1.0,
    };
    let ticks = [1.0, 2.0, 4.0].map(|at: f64| (at, [at.to_string(), String::new()])).to_vec();
    let panel = plot::Panel { title: "T".into(), axis: "x".into(), ticks, share: 1.0, lines: vec![line("ours", 1.0), line("theirs", 2.0)] };
    let drawn = plot::svg("Title", "below", &[panel]);
    assert_eq!(drawn.matches("<circle").count(), 1 + 3, "one mark in the legend, three on the curve");
    assert!(!drawn.contains("NaN") && !drawn.contains("inf"));
    for circle in drawn.split("<circle cx=\"").skip(1) {
        let x: f64 = circle.split('"').next().unwrap().parse().unwrap();
        let y: f64 = circle.split("cy=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        assert!((0.0..=980.0).contains(&x) && (0.0..=420.0).contains(&y), "{x}, {y}");
    }
}
