//! `run`, `demo`, `bench` and `model info`, to their end.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[allow(dead_code, reason = "each test file uses its part")]
mod program;

use std::fs;
use std::path::Path;

use image::GenericImageView;
use program::{Server, frames_of, run, run_with, y4m};

#[test]
fn the_demo_ends_after_its_frames_and_leaves_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("pairs");
    let (code, said) = run(&["demo", "--frames", "15", "--listen", "none", "--out", out.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("15 frames shown, 0 cuts, 0 dropped, 0 skipped"), "{said}");
    let before = image::open(out.join("0001-before.png")).unwrap();
    let after = image::open(out.join("0001-after.png")).unwrap().to_rgb8();
    assert_eq!((before.dimensions(), after.dimensions()), ((640, 480), (640, 480)));
    assert_eq!(image::open(out.join("0001-side-by-side.png")).unwrap().dimensions(), (1280, 480));
    assert!(!before.color().has_color());
    let colored = after.pixels().filter(|pixel| pixel.0[0].abs_diff(pixel.0[2]) > 8).count();
    assert!(colored > 640 * 480 / 50, "{colored} pixels have a color");
}

#[test]
fn a_demo_that_ends_before_its_first_second_leaves_a_pair_too() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(&["demo", "--frames", "2", "--listen", "127.0.0.1:0", "--out", folder.path().to_str().unwrap()]).0, 0);
    assert!(folder.path().join("0001-after.png").exists());
}

#[test]
fn nothing_is_lost_from_a_pipe_and_every_output_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let (film, pngs) = (folder.path().join("out.y4m"), folder.path().join("pngs"));
    let input = y4m("F25:1 Ip C420jpeg", (64, 48), 32 * 24, 7, |frame, x, y| (frame * 20 + x + y) as u8);
    let arguments = ["run", "--input", "-", "--output", film.to_str().unwrap(), "-o", "-", "-o", pngs.to_str().unwrap(), "-o", "null"];
    let output = run_with(&arguments, &input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (_, before) = frames_of(&input, 64 * 48 * 3 / 2);
    let (line, after) = frames_of(&output.stdout, 64 * 48 * 3 / 2);
    assert_eq!(line, "YUV4MPEG2 W64 H48 F25:1 Ip C420jpeg");
    assert_eq!(after.len(), 7);
    assert!(before.iter().zip(&after).all(|(before, after)| before[..64 * 48] == after[..64 * 48]));
    assert_eq!(fs::read(&film).unwrap(), output.stdout);
    assert_eq!(fs::read_dir(&pngs).unwrap().count(), 7);
    assert_eq!(image::open(pngs.join("000006.png")).unwrap().dimensions(), (64, 48));
}

#[test]
fn run_and_colorize_give_the_same_film() {
    let input =
        y4m("F25:1 Ip C420jpeg", (64, 48), 32 * 24, 6, |frame, x, y| if frame < 3 { (x * 3 + frame) as u8 } else { 255 - (y * 5) as u8 });
    let run = run_with(&["run", "--input", "-", "--output", "-"], &input);
    let colorize = run_with(&["colorize", "-", "-"], &input);
    assert!(run.status.success() && run.stdout == colorize.stdout);
    assert!(String::from_utf8_lossy(&run.stderr).contains("1 cuts"), "{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn folders_and_mjpeg_files_are_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("clip.mjpeg");
    let mut bytes = Vec::new();
    for frame in 0..3_u8 {
        let picture = image::GrayImage::from_fn(48, 32, |x, y| image::Luma([(x * 4 + y) as u8 + frame]));
        picture.save(folder.path().join(format!("{frame}.jpg"))).unwrap();
        bytes.extend(fs::read(folder.path().join(format!("{frame}.jpg"))).unwrap());
    }
    fs::write(&film, bytes).unwrap();
    let colored = [folder.path(), &film].map(|input: &Path| run_with(&["run", "--input", input.to_str().unwrap(), "--output", "-"], b""));
    assert!(colored[0].status.success() && colored[0].stdout == colored[1].stdout);
    assert_eq!(frames_of(&colored[0].stdout, 48 * 32 * 3 / 2).1.len(), 3);
}

#[test]
fn signals_end_a_run_cleanly() {
    for (signal, input) in [("-TERM", "test-pattern"), ("-INT", "test-pattern")] {
        let (code, said) = Server::start(&["--input", input]).end(signal);
        assert_eq!(code, 0, "{signal}: {said}");
        assert!(!said.contains("panic"), "{said}");
    }
}

#[test]
fn bench_and_model_info_speak_json() {
    let bench = run_with(&["bench", "--frames", "3", "--threads", "2", "--json"], b"");
    let report: serde_json::Value = serde_json::from_slice(&bench.stdout).unwrap();
    for (group, key) in [("step_ms", "p50"), ("step_ms", "p99"), ("pipeline_ms", "p95"), ("own_stages_ms", "p50")] {
        assert!(report[group][key].as_f64().unwrap() > 0.0, "{group} {key}");
    }
    for stage in ["cut_detector", "shrink", "decode", "guided_filter", "compose", "rgb"] {
        assert!(report["stages_ms"][stage]["p50"].as_f64().unwrap() > 0.0, "{stage}");
    }
    assert!(report["pipeline_fps"].as_f64().unwrap() > 0.0 && report["peak_rss_mb"].as_f64().unwrap() > 1.0);
    assert!(report["load_ms"].is_number() && report["threads"] == 2 && report["model"].is_string());
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/autochrome-192x144-int8.onnx");
    let info = run_with(&["model", "info", model.to_str().unwrap(), "--json"], b"");
    let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    assert_eq!((&info["width"], &info["height"]), (&192.into(), &144.into()));
    assert!(info["license"].is_string() && info["states"].is_array() && info["parameters"].as_u64().unwrap() > 0);
    assert!(!info["fused"]["convolutions"].as_array().unwrap().is_empty() && info["fused"]["left"].as_array().unwrap().is_empty());
    assert!(info["fused"]["multiply_adds"].as_u64().unwrap() > 0 && info["fused"]["instruction_set"].is_string());
}
