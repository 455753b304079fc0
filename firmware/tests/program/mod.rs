//! The built program, run and looked at from outside.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

/// A demo photograph of the repository.
pub(crate) fn photo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo").join(format!("bw_{name}.jpg"))
}

/// The program with these arguments, its streams captured.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_autochrome"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program to its end, with `input` on its standard input.
pub(crate) fn run_with(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = program(arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // Its own thread: the program answers while it still reads. It may also stop reading, which is its good right.
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = feeder.join();
    output
}

/// Runs the program to its end. Returns its exit code, and what it said on standard error.
pub(crate) fn run(arguments: &[&str]) -> (i32, String) {
    said(&run_with(arguments, b""))
}

/// The exit code, and standard error.
pub(crate) fn said(output: &Output) -> (i32, String) {
    (output.status.code().expect("it was not killed"), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Y4M of `count` frames; `luma` gives the luma of a pixel of a frame.
pub(crate) fn y4m(
    header: &str,
    (width, height): (usize, usize),
    chroma: usize,
    count: usize,
    luma: impl Fn(usize, usize, usize) -> u8,
) -> Vec<u8> {
    let mut bytes = format!("YUV4MPEG2 W{width} H{height} {header}\n").into_bytes();
    for frame in 0..count {
        bytes.extend_from_slice(b"FRAME\n");
        bytes.extend((0..width * height).map(|i| luma(frame, i % width, i / width)));
        bytes.extend(std::iter::repeat_n(128, 2 * chroma));
    }
    bytes
}

/// The header line of a Y4M stream, and its frames.
pub(crate) fn frames_of(bytes: &[u8], frame_bytes: usize) -> (String, Vec<&[u8]>) {
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap();
    let frames = bytes[end + 1..].chunks(frame_bytes + 6).map(|frame| frame.strip_prefix(b"FRAME\n").unwrap()).collect();
    (String::from_utf8_lossy(&bytes[..end]).into_owned(), frames)
}

/// A program that serves a page; killed when dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: String,
    stderr: BufReader<ChildStderr>,
}

impl Server {
    /// Starts `run` with a page on a free port, and waits until it listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::of(program(&[&["run", "--output", "http://127.0.0.1:0"], arguments].concat()).spawn().unwrap())
    }

    /// Waits until a program that was started listens.
    pub(crate) fn of(mut child: Child) -> Self {
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).unwrap_or_else(|| panic!("{line}")).split('/').next().unwrap().to_owned();
        Self { child, address, stderr }
    }

    /// As [`of`](Self::of), for a program that says something else first.
    pub(crate) fn of_talkative(mut child: Child) -> Self {
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("open http://") {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended");
        }
        let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
        Self { child, address, stderr }
    }

    /// Tells the program to end, and returns its exit code and the rest of what it said.
    pub(crate) fn end(mut self, signal: &str) -> (i32, String) {
        let killed = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let code = self.child.wait().unwrap().code().expect("it ended by itself");
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (code, rest)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
