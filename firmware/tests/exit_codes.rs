//! Bad input: one clear line on standard error and the documented exit code, and neither panic nor hang.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[allow(dead_code, reason = "each test file uses its part")]
mod program;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use program::{photo, run, run_with, said, y4m};

/// The bundled model, which is also a file of the repository.
fn bundled() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/autochrome-lite0-224x160-int8.onnx")
}

#[test]
fn every_mistake_has_its_line_and_code() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let write = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(name), bytes).unwrap();
        at(name)
    };
    let photo = photo("black-canyon").to_str().unwrap().to_owned();
    let model = fs::read(bundled()).unwrap();
    let text = write("text.txt", b"hello");
    let no_model = write("text.onnx", b"this is no model");
    let empty_model = write("empty.onnx", b"");
    let half_model = write("half.onnx", &model[..model.len() / 2]);
    let half_photo = write("half.jpg", &fs::read(&photo).unwrap()[..5000]);
    let no_film = write("no.y4m", b"RIFF....AVI ");
    let huge_film = write("huge.y4m", b"YUV4MPEG2 W100000 H100000 F25:1\nFRAME\n");
    let deep_film = write("deep.y4m", b"YUV4MPEG2 W64 H64 F25:1 C420p10\nFRAME\n");
    let no_frames = write("none.y4m", b"YUV4MPEG2 W64 H64 F25:1 C420jpeg\n");
    let claimed = write("claimed.y4m", b"YUV4MPEG2 W8192 H8192 F25:1 C444\nFRAME\n123");
    let film = write("film.y4m", &y4m("F25:1 C420jpeg", (16, 16), 64, 2, |_, x, _| x as u8));
    let no_mjpeg = write("no.mjpeg", b"hello");
    let (missing, out_png, out_y4m) = (at("missing.png"), at("out.png"), at("out.y4m"));
    let (nowhere, empty) = (at("none/out.png"), at("empty"));
    fs::create_dir(&empty).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let taken_page = format!("http://{taken}");
    // A device that is always full.
    let full = "/dev/full";
    let cases: [(i32, &[&str], &str); 36] = [
        (2, &[], "say what to do"),
        (2, &["paint"], "no command"),
        (2, &["demo", "--speed", "3"], "--speed"),
        (2, &["bench", "--threads", "0"], "from 1 to 16"),
        (2, &["run", "--input", &text, "--output", "null"], "not a kind of input"),
        (2, &["run", "--input", "test-pattern", "--output", "a.mp4"], "not a kind of output"),
        (2, &["run", "--input", &film, "--output", &film], "is the input and an output"),
        (2, &["run", "--input", &empty, "--output", &format!("{empty}/")], "is the input and an output"),
        (2, &["colorize", &photo, &out_y4m], "cannot become a Y4M stream"),
        (2, &["colorize", &film, &out_png], "cannot become a picture"),
        (2, &["colorize", &photo, &at("out.tiff")], "has to end in"),
        (2, &["colorize", &photo, &out_png, "--clip"], "--clip goes with a folder"),
        (65, &["model", "info", &no_model], "text.onnx: not a"),
        (65, &["model", "info", &empty_model], "empty.onnx: not a"),
        (65, &["model", "info", &half_model], "half.onnx: not a"),
        (65, &["colorize", &photo, &out_png, "--model", &no_model], "text.onnx: not a"),
        (65, &["colorize", &text, &out_png], "text.txt: not a PNG or JPEG"),
        (65, &["colorize", &half_photo, &out_png], "half.jpg: it ends in the middle"),
        (65, &["colorize", &no_film, &out_y4m], "does not begin with YUV4MPEG2"),
        (65, &["colorize", &huge_film, &out_y4m], "outside 1 to 8192"),
        (65, &["colorize", &deep_film, &out_y4m], "color space is \"420p10\""),
        (65, &["colorize", &no_frames, &out_y4m], "holds no frames"),
        (65, &["run", "--input", &no_frames, "--output", "null"], "holds no frames"),
        (65, &["run", "--input", &no_mjpeg, "--output", "null"], "frame 1: it does not begin"),
        (66, &["model", "info", &missing], "missing.png"),
        (66, &["colorize", &missing, &out_png], "missing.png"),
        (66, &["colorize", &empty, &at("out")], "no PNG or JPEG"),
        (66, &["run", "--input", "v4l2:/dev/video-none", "--output", "null"], "there is no such device"),
        (66, &["run", "--input", "v4l2:/dev/null", "--output", "null"], "not a V4L2 camera"),
        (2, &["run", "--input", "test-pattern", "--output", "null", "--panel", "ttyUSB0"], "absolute path"),
        (69, &["demo", "--listen", &taken], "choose another address"),
        (69, &["run", "--input", "test-pattern", "--output", &taken_page], "choose another address"),
        (69, &["demo", "--listen", "nonsense"], "an address has a port"),
        (73, &["colorize", &photo, &nowhere], "none/out.png"),
        (74, &["colorize", &claimed, &out_y4m], "in the middle of frame 1"),
        (74, &["colorize", &film, full], "/dev/full"),
    ];
    for (code, arguments, part) in cases {
        let (found, said) = run(arguments);
        assert_eq!(found, code, "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
        assert!(said.starts_with("autochrome: ") && said.contains(part), "{arguments:?}: {said}");
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.contains("partial") || name.starts_with("out")), "{left:?}");
}

#[test]
fn a_damaged_model_is_refused_or_runs_but_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.onnx");
    let model = fs::read(bundled()).unwrap();
    for at in (1..8).map(|i| i * model.len() / 8) {
        let mut damaged = model.clone();
        damaged[at..(at + 64).min(model.len())].fill(0xff);
        fs::write(&path, damaged).unwrap();
        let (code, said) = run(&["model", "info", path.to_str().unwrap()]);
        assert!(matches!(code, 0 | 65) && said.lines().count() == usize::from(code != 0), "at {at}: {code} {said}");
    }
}

#[test]
fn a_pipe_that_brings_nothing_or_half_a_frame_is_named() {
    let cases: [(&[u8], i32, &str); 3] = [
        (b"", 65, "standard input: not a readable YUV4MPEG2 stream: it is empty"),
        (b"YUV4MPEG2 W8 H8 F25:1\nFRAME\n1234", 74, "standard input: the stream ends in the middle of frame 1"),
        (b"YUV4MPEG2 W8 H8 F25:1\n", 65, "holds no frames"),
    ];
    for (input, code, part) in cases {
        for arguments in [["colorize", "-", "-"].as_slice(), &["run", "--input", "-", "--output", "null"]] {
            let (found, said) = said(&run_with(arguments, input));
            assert!(found == code && said.contains(part), "{arguments:?}: {found} {said}");
        }
    }
}

#[test]
fn help_and_version_are_no_mistakes() {
    for (arguments, part) in [(["--help"].as_slice(), "exit codes:"), (&["run", "--help"], "--input URI"), (&["--version"], "autochrome 0")]
    {
        let output = run_with(arguments, b"");
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(part), "{arguments:?}");
    }
}
