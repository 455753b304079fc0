//! Recordings: what was live is repeated, byte for byte.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[allow(dead_code, reason = "each test file uses its part")]
mod program;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use program::{Server, program, run, run_with, y4m};

fn set(address: &str, query: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "POST /set?{query} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A room, then (a cut) another one, then the dark.
fn scenes(frame: usize, x: usize, y: usize) -> u8 {
    match frame {
        0..12 => (40 + x * 2 + y + frame) as u8,
        12..24 => {
            if (x / 9 + y / 7).is_multiple_of(2) {
                220
            } else {
                60
            }
        }
        _ => 17,
    }
}

#[test]
fn a_live_run_is_repeated_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (recording, live, again) = (path("recording"), path("live.y4m"), path("again.y4m"));
    let arguments =
        ["run", "--input", "-", "--live", "--record", &recording, "--output", "http://127.0.0.1:0", "-o", &live, "--saturation", "0.9"];
    let mut child = program(&arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let film = y4m("F25:1 Ip Cmono", (96, 64), 0, 36, scenes);
    let (header, frames) = film.split_at(film.iter().position(|&byte| byte == b'\n').unwrap() + 1);
    pipe.write_all(header).unwrap();
    let server = Server::of(child);
    for (number, frame) in frames.chunks(6 + 96 * 64).enumerate() {
        match number {
            5 => set(&server.address, "saturation=2&hue=10"),
            18 => set(&server.address, "temperature=0.2&split=0.25"),
            _ => {}
        }
        pipe.write_all(frame).unwrap();
        // So that not all of them are passed over; which ones are does not matter.
        std::thread::sleep(Duration::from_millis(15));
    }
    drop(pipe);
    let mut server = server;
    assert!(server.child.wait().unwrap().success());
    let (code, said) = run(&["run", "--input", &recording, "--output", &again]);
    assert_eq!(code, 0, "{said}");
    let (live, again) = (fs::read(&live).unwrap(), fs::read(&again).unwrap());
    assert!(live.len() > 10 * 96 * 64 && live == again, "{} bytes live, {} bytes replayed", live.len(), again.len());
    let lines = fs::read_to_string(folder.path().join("recording/frames.jsonl")).unwrap();
    assert!(["saturation=0.9", "saturation=2", "hue=10", "split=0.25"].iter().all(|set| lines.contains(set)), "{lines}");
}

#[test]
fn a_feed_is_recorded_without_being_colored_and_other_programs_can_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("recording");
    let input = y4m("F25:1 Ip Cmono XCOLORRANGE=FULL", (64, 48), 0, 7, scenes);
    let output = run_with(&["record", "--input", "-", "--to", recording.to_str().unwrap(), "--frames", "5"], &input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let film = fs::read(recording.join("0001.y4m")).unwrap();
    let begin = film.iter().position(|&byte| byte == b'\n').unwrap();
    let begin_in = input.iter().position(|&byte| byte == b'\n').unwrap();
    assert!(film[begin..] == input[begin_in..][..5 * (6 + 64 * 48) + 1]);
    let replay = run_with(&["run", "--input", recording.to_str().unwrap(), "--output", "-"], b"");
    assert!(replay.status.success() && !replay.stdout.is_empty());
    // What the pixels mean may be said later: nothing was colored yet.
    let limited = run_with(&["run", "--input", recording.to_str().unwrap(), "--range", "limited", "--output", "-"], b"");
    assert!(limited.status.success() && limited.stdout != replay.stdout);
    let own = recording.join("0001.y4m");
    let (code, said) = run(&["run", "--input", recording.to_str().unwrap(), "--output", own.to_str().unwrap()]);
    assert!(code == 2 && said.contains("0001.y4m is the input and an output") && fs::read(&own).unwrap() == film, "{code} {said}");
    let (code, said) = run(&["record", "--input", "test-pattern", "--to", recording.to_str().unwrap()]);
    assert!(code == 73 && said.contains("not empty"), "{code} {said}");
}

#[test]
fn a_signal_ends_a_recording_whose_pipe_is_silent() {
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("recording");
    let mut child = program(&["record", "--input", "-", "--to", recording.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&y4m("F25:1", (8, 8), 16, 2, |_, _, _| 7)).unwrap();
    let lines = || fs::read_to_string(recording.join("frames.jsonl")).unwrap_or_default().lines().count();
    let begun = Instant::now();
    // What it is about stands first.
    while lines() < 3 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} frames were recorded", lines());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(0) && said.contains("2 frames of 8x8 recorded"), "{:?} {said}", output.status);
    drop(stdin);
}

#[test]
fn a_program_that_is_recorded_ends_with_the_recording() {
    let folder = tempfile::tempdir().unwrap();
    let (recording, alive) = (folder.path().join("recording"), folder.path().join("alive"));
    // Two frames, and then nothing for long: it would live on if nobody ended it.
    let script =
        format!("y4m:sh -c 'printf \"YUV4MPEG2 W2 H2 F25:1 Cmono\\nFRAME\\nabcdFRAME\\nefgh\"; echo $$ > {}; sleep 60'", alive.display());
    let (code, said) = run(&["record", "--input", &script, "--to", recording.to_str().unwrap(), "--frames", "2"]);
    assert!(code == 0 && said.contains("2 frames of 2x2 recorded"), "{code} {said}");
    let pid = fs::read_to_string(&alive).unwrap();
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    // Gone, or waiting to be buried by whoever is its parent now.
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}
