//! The verbs that draw and ask, as whole programs on small pictures and a shipped model.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/autochrome-192x144-float.onnx");
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pictures/big_buck_bunny.jpg");

fn trainer() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_autochrome-trainer"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn said(command: &mut Command, ends_well: bool) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.success(), ends_well, "{command:?}: {text}");
    text
}

/// A clip of four frames whose colors move.
fn clip(folder: &Path) -> PathBuf {
    let clip = folder.join("clip");
    std::fs::create_dir(&clip).unwrap();
    let frame = image::open(PICTURE).unwrap().into_rgb8();
    for number in 0..4 {
        let moved = image::imageops::crop_imm(&frame, 10 * number, 0, 160, 120).to_image();
        moved.save(clip.join(format!("{number:04}.png"))).unwrap();
    }
    clip
}

#[test]
fn strips_have_a_picture_for_each_method_decode_and_frame() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let clip = clip(folder.path());
    let frame = clip.join("0000.png");
    // Pictures of 160x120 at a height of 60 are 80 wide, with 8 between and around them.
    let width = |pictures: u32| 8 + 88 * pictures;
    let classical = |out: &Path| {
        let mut command = trainer();
        command.arg("classical").args([&frame, &clip.join("0003.png")]).arg("--out").arg(out).args(["--height", "60"]);
        command
    };
    said(classical(&at("all.png")).arg("--each").arg(at("each")), true);
    assert_eq!(image::open(at("all.png")).unwrap().width(), width(7));
    assert_eq!(std::fs::read_dir(at("each")).unwrap().count(), 5);
    assert_eq!(image::image_dimensions(at("each/pdf.png")).unwrap(), (160, 120));
    said(classical(&at("two.png")).args(["--method", "pdf,welsh", "--in-color", "--keep-lightness"]), true);
    assert_eq!(image::open(at("two.png")).unwrap().width(), width(4));
    let decodes = |out: &Path| {
        let mut command = trainer();
        command.args(["decodes", MODEL]).arg(&frame).arg("--out").arg(out).args(["--height", "60"]);
        command
    };
    said(&mut decodes(&at("decodes.png")), true);
    assert_eq!(image::open(at("decodes.png")).unwrap().width(), width(10));
    said(decodes(&at("two.png")).args(["--temperatures", ".4", "--beside", MODEL]), true);
    assert_eq!(image::open(at("two.png")).unwrap().width(), width(4), "a column of each model");
    said(decodes(&at("temperatures.png")).args(["--temperatures", ".1,.4,.8,1"]), true);
    assert_eq!(image::open(at("temperatures.png")).unwrap().width(), width(6));
    let strip = |out: &Path| {
        let mut command = trainer();
        command.arg("strip").arg(&clip).args(["--model", MODEL, "--height", "60", "--frames", "3", "--out"]).arg(out);
        command
    };
    said(&mut strip(&at("film.png")), true);
    assert_eq!(image::open(at("film.png")).unwrap().width(), width(3));
    said(&mut strip(&at("film.gif")), true);
    let gif = std::fs::read(at("film.gif")).unwrap();
    assert_eq!((&gif[..6], u32::from(gif[6]) + 256 * u32::from(gif[7])), (&b"GIF89a"[..], width(3)));
    std::fs::write(at("notes.png"), "no picture").unwrap();
    let error = said(trainer().arg("classical").arg(at("notes.png")).arg(&frame).arg("--out").arg(at("x.png")), false);
    assert!(error.contains("notes.png") && !at("x.png").exists(), "{error}");
    assert!(said(decodes(&at("x.png")).args(["--temperatures", "0"]), false).contains("above 0"));
    assert!(said(&mut strip(&at("film.mp4")), false).contains(".gif"));
}

#[test]
fn the_decodes_differ_and_a_row_repeats() {
    let model = autochrome_model::Colorizer::load(MODEL.as_ref()).unwrap();
    let mut painter = [autochrome_trainer::decodes::painter(model)];
    let picture = image::open(PICTURE).unwrap().into_rgb8();
    let row = autochrome_trainer::decodes::row(&mut painter, &picture, &autochrome_trainer::decodes::all()).unwrap();
    let captions: Vec<&str> = row.iter().map(|cell| cell.caption.as_str()).collect();
    assert_eq!(captions, ["grey", "mode", "T 0.1", "T 0.38", "T 0.6", "T 0.8", "mean", "blend 0.25", "blend 2", "truth"]);
    for (index, cell) in row.iter().enumerate() {
        assert!(row[..index].iter().all(|other| other.picture != cell.picture), "{} is there twice", cell.caption);
    }
    // A decode from the picture's own first look: the same row again, although the painter has seen it.
    let again = autochrome_trainer::decodes::row(&mut painter, &picture, &autochrome_trainer::decodes::all()).unwrap();
    assert!(row.iter().zip(&again).all(|(one, other)| one.picture == other.picture));
}

#[test]
fn a_killed_survey_goes_on_with_all_its_votes() {
    let folder = tempfile::tempdir().unwrap();
    let frame = image::open(PICTURE).unwrap().into_rgb8();
    for side in ["ours", "truth"] {
        std::fs::create_dir(folder.path().join(side)).unwrap();
        for pair in 0..3 {
            frame.save(folder.path().join(side).join(format!("{pair}.jpg"))).unwrap();
        }
    }
    let votes = folder.path().join("votes.jsonl");
    let start = || {
        let mut command = trainer();
        command.current_dir(folder.path()).args(["survey", "--left", "ours", "--right", "truth", "--port", "0", "--out"]).arg(&votes);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let first = lines.next().unwrap();
        let address = lines.next().unwrap().split('/').nth(2).unwrap().to_owned();
        (child, first, address, lines)
    };
    let ask = |address: &str, request: String| -> serde_json::Value {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(format!("{request} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let voter = "0123456789abcdef";
    let vote = |address: &str| {
        let next = ask(address, format!("GET /next?voter={voter}"));
        ask(address, format!("POST /vote?voter={voter}&pair={}&side=1", next["pair"].as_str().unwrap()))
    };
    let (mut child, _, address, _) = start();
    vote(&address);
    vote(&address);
    child.kill().unwrap();
    child.wait().unwrap();
    let (mut child, first, address, rest) = start();
    assert!(first.contains("3 pairs, 2 votes"), "{first}");
    assert!(vote(&address)["pair"].is_null());
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let told: Vec<String> = rest.collect();
    assert!(child.wait().unwrap().success());
    let results = said(trainer().arg("survey").arg("--results").arg(&votes), true);
    assert_eq!(results.trim_end(), told.join("\n"));
    assert!(results.contains("ours preferred over truth") && results.contains("of 3, 1 voter"), "{results}");
    let other = said(
        trainer().current_dir(folder.path()).args(["survey", "--left", "ours", "--right", "truth", "--names", "a,b", "--out"]).arg(&votes),
        false,
    );
    assert!(other.contains("between"), "{other}");
}
