//! The live page, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[allow(dead_code, reason = "each test file uses its part")]
mod program;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use program::Server;

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(&server.address).unwrap();
    // No answer takes this long; a hang becomes a failure.
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// Sends a request, and returns the answer's status and body.
fn ask(server: &Server, line: &str) -> (u16, Vec<u8>) {
    let mut stream = connect(server);
    write!(stream, "{line} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&answer)));
    let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
    (status, answer[end + 4..].to_vec())
}

fn state(server: &Server) -> serde_json::Value {
    serde_json::from_slice(&ask(server, "GET /state").1).unwrap()
}

/// Asks until the answer is as wished; a slow machine only takes longer.
fn wait_for(server: &Server, line: &str, wished: impl Fn(u16, &[u8]) -> bool) {
    let begun = Instant::now();
    loop {
        let (status, body) = ask(server, line);
        if wished(status, &body) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{line}: {status} {}", String::from_utf8_lossy(&body));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A viewer of a stream.
struct Viewer(BufReader<TcpStream>);

impl Viewer {
    fn open(server: &Server, path: &str) -> Self {
        let mut stream = connect(server);
        write!(stream, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
        Self(BufReader::new(stream))
    }

    /// The next JPEG of the stream.
    fn picture(&mut self) -> Vec<u8> {
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream ended");
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap();
            } else if line == "\r\n" && length > 0 {
                break;
            }
        }
        let mut jpeg = vec![0; length];
        self.0.read_exact(&mut jpeg).unwrap();
        jpeg
    }
}

#[test]
fn every_address_answers_as_documented() {
    let server = Server::start(&["--input", "test-pattern"]);
    wait_for(&server, "GET /healthz", |status, _| status == 200);
    let (status, page) = ask(&server, "GET /");
    let page = String::from_utf8(page).unwrap();
    assert!(status == 200 && page.contains("/stream.mjpg") && !page.contains("//cdn") && !page.contains("src=\"http"), "self-contained");
    let (status, jpeg) = ask(&server, "GET /snapshot.jpg");
    let picture = image::load_from_memory(&jpeg).unwrap();
    assert_eq!((status, picture.width(), picture.height()), (200, 640, 480));
    let state = state(&server);
    for key in ["fps", "dropped", "skipped", "frames", "cuts", "saturation", "temperature", "width", "height", "age_ms"] {
        assert!(state[key].is_number(), "{key}: {state}");
    }
    assert!(state["latency_ms"]["p50"].is_number() && state["latency_ms"]["p95"].is_number() && state["model"].is_string());
    let cases = [
        ("HEAD /", 200, ""),
        ("HEAD /state", 200, ""),
        ("GET /nothing", 404, "no such page"),
        ("GET /../Cargo.toml", 404, "no such page"),
        ("POST /", 405, "not this way"),
        ("GET /set?saturation=1", 405, "not this way"),
        ("HEAD /stream.mjpg", 405, ""),
        ("PUT /set", 405, "not a request"),
        ("POST /set", 400, "no setting"),
        ("POST /set?saturation=9", 400, "outside 0 to 4"),
        ("POST /set?saturation=1&hue=2", 400, "no setting \"hue\""),
        ("nonsense", 400, "not a request"),
    ];
    for (line, expected, part) in cases {
        let (status, body) = ask(&server, line);
        let body = String::from_utf8_lossy(&body);
        assert!(status == expected && body.contains(part) && (body.is_empty() == part.is_empty()), "{line}: {status} {body}");
    }
    let long = format!("GET /?{}", "a".repeat(9000));
    assert_eq!(ask_carelessly(&server, &long), Some(431));
}

/// As [`ask`], for a request that the server stops reading: the rest of it may meet a closed connection.
fn ask_carelessly(server: &Server, line: &str) -> Option<u16> {
    let mut stream = connect(server);
    let _ = write!(stream, "{line}");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).ok()?;
    std::str::from_utf8(&answer[9..12]).ok()?.parse().ok()
}

#[test]
fn settings_act_on_the_picture() {
    let server = Server::start(&["--input", "test-pattern"]);
    wait_for(&server, "GET /healthz", |status, _| status == 200);
    assert_eq!(ask(&server, "POST /set?saturation=0&temperature=1.5").0, 200);
    wait_for(&server, "GET /state", |_, body| {
        let state: serde_json::Value = serde_json::from_slice(body).unwrap();
        state["saturation"] == 0.0 && state["temperature"] == 1.5
    });
    let grey = image::load_from_memory(&ask(&server, "GET /snapshot.jpg").1).unwrap().to_rgb8();
    assert!(grey.pixels().all(|pixel| pixel.0.iter().all(|channel| channel.abs_diff(pixel.0[0]) <= 3)));
}

#[test]
fn a_viewer_gets_pictures_in_color_and_in_grey() {
    let server = Server::start(&["--input", "test-pattern"]);
    let mut color = Viewer::open(&server, "/stream.mjpg");
    let mut grey = Viewer::open(&server, "/stream-grey.mjpg");
    let first = color.picture();
    assert_ne!(first, color.picture(), "the picture moves");
    assert!(image::load_from_memory(&first).unwrap().color().has_color());
    assert!(!image::load_from_memory(&grey.picture()).unwrap().color().has_color());
}

#[test]
fn forty_idle_connections_do_not_keep_a_viewer_out() {
    let server = Server::start(&["--input", "test-pattern"]);
    let mut early = Viewer::open(&server, "/stream.mjpg");
    early.picture();
    let idle: Vec<TcpStream> = (0..40).map(|_| connect(&server)).collect();
    let mut late = Viewer::open(&server, "/stream.mjpg");
    for _ in 0..3 {
        early.picture();
        late.picture();
    }
    assert!(state(&server)["frames"].as_u64().unwrap() > 0);
    drop(idle);
}

#[test]
fn a_viewer_that_takes_nothing_does_not_hold_up_the_picture() {
    let server = Server::start(&["--input", "test-pattern"]);
    let _slow: Vec<Viewer> = (0..4).map(|_| Viewer::open(&server, "/stream.mjpg")).collect();
    let mut quick = Viewer::open(&server, "/stream.mjpg");
    for _ in 0..5 {
        quick.picture();
    }
}

#[test]
fn more_streams_than_allowed_are_refused_and_the_state_is_still_told() {
    let server = Server::start(&["--input", "test-pattern"]);
    wait_for(&server, "GET /healthz", |status, _| status == 200);
    let mut viewers: Vec<Viewer> = (0..24).map(|_| Viewer::open(&server, "/stream.mjpg")).collect();
    viewers.iter_mut().for_each(|viewer| drop(viewer.picture()));
    assert_eq!(ask(&server, "GET /stream.mjpg").0, 503);
    assert!(state(&server)["frames"].as_u64().unwrap() > 0);
}

#[test]
fn a_signal_ends_a_run_whose_pipe_is_silent() {
    let mut child = program::program(&["run", "--input", "-", "--output", "http://127.0.0.1:0"]).stdin(Stdio::piped()).spawn().unwrap();
    // The page listens once the header of the stream was read; the second frame makes the first one be shown.
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&program::y4m("F25:1", (8, 8), 16, 2, |_, _, _| 7)).unwrap();
    let server = Server::of(child);
    wait_for(&server, "GET /healthz", |status, _| status == 200);
    let (code, said) = server.end("-TERM");
    assert!(code == 0 && said.contains("1 frames shown"), "{code} {said}");
    drop(stdin);
}
