//! Memory, descriptors and threads over very many frames.
//!
//! The fast tier runs some ten thousand. `cargo test --release -p autochrome --test soak -- --ignored` runs a million, in minutes: small
//! frames and a model of one convolution, through the whole program.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[allow(dead_code, reason = "each test file uses its part")]
mod program;

use std::fs;
use std::io::{BufWriter, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use program::{Server, program};

/// What a process holds.
#[derive(Debug)]
struct Holdings {
    frames: u64,
    rss_kib: u64,
    threads: u64,
    descriptors: usize,
}

impl Holdings {
    fn of(server: &Server) -> Self {
        let id = server.child.id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap()
        };
        let descriptors = fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
        Self { frames: frames_shown(&server.address), rss_kib: field("VmRSS:"), threads: field("Threads:"), descriptors }
    }
}

fn frames_shown(address: &str) -> u64 {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /state HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    serde_json::from_str::<serde_json::Value>(body).unwrap()["frames"].as_u64().unwrap()
}

fn soak(frames: u64) {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/small.onnx");
    let arguments = ["run", "--input", "-", "--output", "http://127.0.0.1:0", "-o", "null", "--model", model.to_str().unwrap()];
    let mut child = program(&arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = BufWriter::with_capacity(1 << 16, child.stdin.take().unwrap());
    // The page is there once the feed is known.
    pipe.write_all(b"YUV4MPEG2 W64 H48 F25:1 Ip Cmono XCOLORRANGE=FULL\n").unwrap();
    pipe.flush().unwrap();
    let server = Server::of(child);
    // Somebody watches all the time, and not as fast as the frames come.
    let mut viewer = TcpStream::connect(&server.address).unwrap();
    viewer.write_all(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    std::thread::spawn(move || {
        let mut piece = vec![0; 1 << 14];
        while viewer.read(&mut piece).is_ok_and(|read| read > 0) {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let mut frame = b"FRAME\n".to_vec();
    frame.resize(6 + 64 * 48, 100);
    let mut first = None;
    for number in 0..frames {
        // A picture that moves, and now and then another one.
        for (i, code) in frame[6..].iter_mut().enumerate() {
            *code = ((i as u64 * 3 + number + number / 500 * 7919) % 251) as u8;
        }
        pipe.write_all(&frame).unwrap();
        if number == 10_000 {
            pipe.flush().unwrap();
            first = Some(Holdings::of(&server));
        }
    }
    pipe.flush().unwrap();
    let (first, last) = (first.unwrap(), Holdings::of(&server));
    eprintln!("{first:?}\n{last:?}");
    // What the pipe and the buffers at its ends hold is still on its way.
    assert!(last.frames + 128 > frames, "nothing is lost from a pipe: {last:?} of {frames}");
    // Two MiB: what an allocator's free lists may drift by without anything being held.
    assert!(last.rss_kib <= first.rss_kib + 2048, "{first:?} {last:?}");
    assert!(last.threads <= first.threads && last.descriptors <= first.descriptors, "{first:?} {last:?}");
    drop(pipe);
    assert_eq!(server.end("-TERM").0, 0);
}

#[test]
fn nothing_grows_over_thirty_thousand_frames() {
    soak(30_000);
}

#[test]
#[ignore = "minutes"]
fn nothing_grows_over_a_million_frames() {
    soak(1_000_000);
}
