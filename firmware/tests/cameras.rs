//! Cameras and programs as inputs, from outside: no camera is needed, a child process plays one.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[allow(dead_code, reason = "each test file uses its part")]
mod program;

use std::fs;

use program::{frames_of, run, run_with, y4m};

#[test]
fn cameras_are_listed_even_if_there_is_none() {
    let listed = run_with(&["list-cameras"], b"");
    assert!(listed.status.success() && !listed.stdout.is_empty());
    let json = run_with(&["list-cameras", "--json"], b"");
    let found: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(json.status.success() && found.is_array());
}

#[test]
fn what_is_wrong_with_an_input_is_said() {
    for (code, input, part) in [
        (2, "v4l2:/dev/video0?sise=1x1", "did you mean size?"),
        (2, "v4l2:", "v4l2:auto"),
        (2, "rpicam:800x600@25", "take 768x600"),
        (66, "v4l2:/dev/video-none", "there is no such device"),
        (66, "y4m:/no/such/program -x", "is it installed?"),
    ] {
        let (found, said) = run(&["run", "--input", input, "--output", "null"]);
        assert!(found == code && said.contains(part) && said.lines().count() == 1, "{input}: {found} {said}");
    }
}

#[test]
fn a_program_is_an_input_that_comes_back_when_it_dies() {
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("film.y4m");
    let bytes = y4m("F25:1 C420jpeg", (32, 16), 16 * 8, 1, |_, x, y| (x * 5 + y * 3) as u8);
    fs::write(&film, &bytes).unwrap();
    let input = format!("y4m:cat {}", film.display());
    let output = run_with(&["run", "--input", &input, "--output", "-", "--frames", "3"], b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("cat ended (exit code 0), restarting") && said.contains("there is a picture again from cat"), "{said}");
    let (_, frames) = frames_of(&output.stdout, 32 * 16 * 3 / 2);
    let (_, given) = frames_of(&bytes, 32 * 16 * 3 / 2);
    assert_eq!(frames.len(), 3);
    assert_eq!(frames[0][..32 * 16], given[0][..32 * 16], "the luma is the program's");
}

#[test]
fn a_camera_is_calibrated_into_toml() {
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("film.y4m");
    // Codes 40 to 200 of a ramp.
    fs::write(&film, y4m("F25:1 C420jpeg XCOLORRANGE=FULL", (64, 32), 32 * 16, 2, |_, x, _| (40 + x * 160 / 63) as u8)).unwrap();
    let output = run_with(&["calibrate", "--input", film.to_str().unwrap()], b"");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("[camera.tone]"), "{text} {}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("black = 40.0") && text.contains("white = 200.0"), "{text}");
    fs::write(&film, y4m("F25:1 C420jpeg", (64, 32), 32 * 16, 2, |_, _, _| 20)).unwrap();
    let (code, said) = run(&["calibrate", "--input", film.to_str().unwrap()]);
    assert!(code == 65 && said.contains("all dark"), "{code} {said}");
}
