//! The live page, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[allow(dead_code, reason = "each test file uses its part")]
mod program;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
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
    let (status, _, body) = ask_with(server, line, &format!("Host: {}\r\n", server.address));
    (status, body)
}

/// Sends a request with these header lines, and returns the answer's status, header lines and body.
fn ask_with(server: &Server, line: &str, headers: &str) -> (u16, String, Vec<u8>) {
    let mut stream = connect(server);
    write!(stream, "{line} HTTP/1.1\r\n{headers}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&answer)));
    let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
    (status, String::from_utf8_lossy(&answer[..end]).into_owned(), answer[end + 4..].to_vec())
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
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address).unwrap();
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
    for key in ["fps", "dropped", "skipped", "frames", "cuts", "saturation", "temperature", "width", "height", "threads", "age_ms"] {
        assert!(state[key].is_number(), "{key}: {state}");
    }
    for (key, value) in [("absent", "null"), ("access", "\"open\""), ("freeze", "false"), ("presets", "[]"), ("viewers", "0")] {
        assert_eq!(state[key].to_string(), value, "{key}: {state}");
    }
    assert!(state["faults"]["short"].is_number() && state["mix"].is_number() && state["heat"]["rung"] == 0);
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
        ("POST /set?saturation=1&zoom=2", 400, "no setting \"zoom\""),
        ("POST /set?preset=warm", 400, "no preset \"warm\""),
        ("GET /reset", 405, "not this way"),
        ("GET /sign-in", 405, "not this way"),
        ("POST /metrics", 405, "not this way"),
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
fn metrics_are_in_the_text_format_and_only_grow() {
    let server = Server::start(&["--input", "test-pattern"]);
    wait_for(&server, "GET /healthz", |status, _| status == 200);
    let mut viewer = Viewer::open(&server, "/stream.mjpg");
    viewer.picture();
    let read = || {
        let (status, headers, body) = ask_with(&server, "GET /metrics", "Host: localhost\r\n");
        assert!(status == 200 && headers.contains("text/plain; version=0.0.4"), "{headers}");
        samples(std::str::from_utf8(&body).unwrap())
    };
    let before = read();
    viewer.picture();
    let after = read();
    assert_eq!((before["autochrome_live"], before["autochrome_viewers"]), (1.0, 1.0));
    for (name, value) in before.iter().filter(|(name, _)| name.contains("_total")) {
        assert!(after[name] >= *value, "{name}");
    }
    assert!(after["autochrome_frames_total"] > 0.0 && after["autochrome_faults_total{kind=\"short\"}"] == 0.0);
    assert!(after.keys().any(|name| name.starts_with("autochrome_build_info{version=\"")), "{after:?}");
}

/// Reads Prometheus' text format as strictly as it is described: names, one type for each family before its samples, no sample twice.
fn samples(text: &str) -> std::collections::BTreeMap<String, f64> {
    assert!(text.ends_with('\n'));
    let (mut found, mut family) = (std::collections::BTreeMap::new(), String::new());
    let mut families = Vec::new();
    for line in text.lines() {
        if let Some(about) = line.strip_prefix("# HELP ") {
            family = about.split(' ').next().unwrap().to_owned();
            assert!(!families.contains(&family), "{family} twice");
            families.push(family.clone());
        } else if let Some(about) = line.strip_prefix("# TYPE ") {
            let (name, kind) = about.split_once(' ').unwrap();
            assert!(name == family && (kind == "counter") == name.ends_with("_total") && ["counter", "gauge"].contains(&kind), "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let bare = name.split('{').next().unwrap();
            assert!(bare == family && bare.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
            if let Some(labels) = name.strip_prefix(bare).filter(|labels| !labels.is_empty()) {
                let labels = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix("\"}")).unwrap_or_else(|| panic!("{line}"));
                assert!(labels.split("\",").all(|label| label.split_once("=\"").is_some_and(|(_, value)| !value.contains('"'))), "{line}");
            }
            assert!(found.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{line} twice");
        }
    }
    found
}

#[test]
fn only_the_devices_own_names_are_answered() {
    let server = Server::start(&["--input", "test-pattern", "--host", "kiosk.museum.example"]);
    let cases =
        [("127.0.0.1:1", 200), ("localhost", 200), ("kiosk.museum.example:8080", 200), ("evil.example", 421), ("kiosk.evil.example", 421)];
    for (host, expected) in cases {
        for path in ["/", "/state", "/metrics"] {
            let (status, _, body) = ask_with(&server, &format!("GET {path}"), &format!("Host: {host}\r\n"));
            assert_eq!(status, expected, "{host} {path}: {}", String::from_utf8_lossy(&body[..body.len().min(99)]));
        }
    }
    assert_eq!(ask_with(&server, "GET /", "").0, 400, "HTTP/1.1 has a Host");
    assert_eq!(ask_with(&server, "GET /stream.mjpg", "Host: evil.example\r\n").0, 421);
}

#[test]
fn beyond_loopback_changes_take_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "correct-horse\n").unwrap();
    let start = |arguments: &[&str]| {
        let arguments = [&["run", "--output", "http://0.0.0.0:0", "--input", "test-pattern"], arguments].concat();
        let mut server = Server::of_talkative(program::program(&arguments).spawn().unwrap());
        server.address = server.address.replace("0.0.0.0", "127.0.0.1");
        server
    };
    let locked = start(&[]);
    wait_for(&locked, "GET /healthz", |status, _| status == 200);
    let (status, body) = ask(&locked, "POST /set?saturation=0");
    assert!(status == 403 && String::from_utf8_lossy(&body).contains("--token-file"), "{status}");
    assert_eq!(state(&locked)["access"], "locked");

    let server = start(&["--token-file", file.to_str().unwrap()]);
    wait_for(&server, "GET /healthz", |status, _| status == 200);
    let host = format!("Host: {0}\r\nOrigin: http://{0}\r\n", server.address);
    let post = |path: &str, headers: &str| ask_with(&server, &format!("POST {path}"), &format!("{host}{headers}"));
    assert_eq!(state(&server)["access"], "needs-token");
    assert_eq!(post("/set?saturation=0", "").0, 401);
    assert_eq!(post("/set?saturation=0&token=correct-horse", "").0, 401, "not in an address");
    assert_eq!(post("/sign-in", "Authorization: Bearer wrong-horse\r\n").0, 401);
    assert_eq!(post("/set?saturation=0", "Authorization: Bearer correct-horse\r\n").0, 200);
    let (status, headers, _) = post("/sign-in", "Authorization: Bearer correct-horse\r\n");
    let cookie = headers.lines().find_map(|line| line.strip_prefix("Set-Cookie: ")).and_then(|line| line.split(';').next()).unwrap();
    assert_eq!(status, 200);
    assert_eq!(post("/set?saturation=0.5", &format!("Cookie: {cookie}\r\n")).0, 200);
    let saturation = |body: &[u8]| serde_json::from_slice::<serde_json::Value>(body).unwrap()["saturation"].as_f64().unwrap();
    wait_for(&server, "GET /state", |_, body| saturation(body) == 0.5);
    assert_eq!(post("/reset", "").0, 401);
    assert_eq!(post("/reset", &format!("Cookie: {cookie}\r\n")).0, 200);
    // What the bundled model says of itself.
    wait_for(&server, "GET /state", |_, body| (saturation(body) - 1.18).abs() < 1e-6);
    let foreign = format!("Host: {}\r\nOrigin: http://evil.example\r\nCookie: {cookie}\r\n", server.address);
    assert_eq!(ask_with(&server, "POST /set?saturation=0.5", &foreign).0, 403);
    assert_eq!(post("/set?saturation=0.5", "Cookie: autochrome=00000000000000000000000000000000\r\n").0, 401);
    // What /state says of the one who asks.
    let (_, _, body) = ask_with(&server, "GET /state", &format!("{host}Cookie: {cookie}\r\n"));
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap()["access"], "signed-in");
    let guesses: Vec<u16> = (0..7).map(|_| post("/sign-in", "Authorization: Bearer wrong-horse\r\n").0).collect();
    assert_eq!(guesses, [401, 401, 401, 401, 401, 429, 429]);

    std::fs::write(&file, "short").unwrap();
    let arguments = ["run", "--output", "http://127.0.0.1:0", "--input", "test-pattern", "--token-file", file.to_str().unwrap()];
    let (code, said) = program::run(&arguments);
    assert!(code == 78 && said.contains("8 to 256"), "{code} {said}");
}

#[test]
fn nothing_but_the_page_is_reached_by_any_path() {
    let server = Server::start(&["--input", "test-pattern"]);
    let paths = [
        "/../../etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/./state",
        "/state/",
        "/state/..",
        "/page.html",
        "/%00",
        "/snapshot.jpg%00.html",
        "/\\..\\..\\etc\\passwd",
        "/....//....//etc/passwd",
        "http://127.0.0.1/state",
        "/STATE",
        "/set;a=b",
        "*",
    ];
    for path in paths {
        let (status, body) = ask(&server, &format!("GET {path}"));
        assert!([404, 400].contains(&status) && body.len() < 100, "{path}: {status} {}", String::from_utf8_lossy(&body));
    }
}

/// How many frames were shown, from a server that may show us out for others.
fn frames_shown(server: &Server) -> u64 {
    let asked = || {
        let mut stream = TcpStream::connect(&server.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        write!(stream, "GET /state HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str::<serde_json::Value>(answer.split("\r\n\r\n").nth(1)?).ok()?["frames"].as_u64()
    };
    (0..100).find_map(|_| asked()).unwrap()
}

/// Threads, and kilobytes of memory, of a program that runs.
fn size_of(server: &Server) -> (usize, usize) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let number = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    (number("Threads:"), number("VmRSS:"))
}

#[test]
fn attackers_do_not_take_a_viewers_frames() {
    // Small pictures, so that what is lost is lost at the door and not to a busy processor.
    let mut child =
        program::program(&["run", "--input", "-", "--live", "--output", "http://127.0.0.1:0"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let film = program::y4m("F25:1", (64, 48), 32 * 24, 1, |_, x, y| (x * 3 + y) as u8);
    let feeder = std::thread::spawn(move || {
        let frame = film.windows(6).position(|six| six == b"FRAME\n").unwrap();
        let mut going = stdin.write_all(&film[..frame]).is_ok();
        while going {
            going = stdin.write_all(&film[frame..]).is_ok();
            std::thread::sleep(Duration::from_millis(40));
        }
    });
    let server = Server::of(child);
    let (going, seen) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let mut viewer = Viewer::open(&server, "/stream.mjpg");
    viewer.picture();
    let viewer = std::thread::spawn({
        let (going, seen) = (Arc::clone(&going), Arc::clone(&seen));
        move || {
            while going.load(Relaxed) {
                viewer.picture();
                seen.fetch_add(1, Relaxed);
            }
        }
    });
    let (_, kilobytes_before) = size_of(&server);
    // Of the next frames that are shown, the share that reaches the viewer, in thousandths.
    let share = |frames: u64| {
        let shown = || (frames_shown(&server), seen.load(Relaxed));
        let (begun, mut now) = (shown(), shown());
        while now.0 < begun.0 + frames {
            std::thread::sleep(Duration::from_millis(50));
            now = shown();
        }
        (now.1 - begun.1) * 1000 / (now.0 - begun.0)
    };
    let undisturbed = share(40);
    let attack = |what: fn(&str, &AtomicBool)| {
        let (address, going) = (server.address.clone(), Arc::clone(&going));
        std::thread::spawn(move || what(&address, &going))
    };
    let attackers = [
        // Half a request, and another connection, and another one: 500 open at a time.
        attack(|address, going| {
            let mut open = std::collections::VecDeque::new();
            while going.load(Relaxed) {
                if let Ok(mut stream) = TcpStream::connect(address) {
                    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: ");
                    open.push_back(stream);
                }
                if open.len() > 500 {
                    open.pop_front();
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }),
        // A header that has no end.
        attack(|address, going| {
            while going.load(Relaxed) {
                let Ok(mut stream) = TcpStream::connect(address) else { continue };
                let _ = stream.write_all(b"GET / HTTP/1.1\r\nX: ");
                while going.load(Relaxed) && stream.write_all(&[b'a'; 4096]).is_ok() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }),
        // Another device's name, and paths that lead elsewhere.
        attack(|address, going| {
            while going.load(Relaxed) {
                let Ok(mut stream) = TcpStream::connect(address) else { continue };
                let _ = stream.write_all(b"GET /../../etc/shadow HTTP/1.1\r\nHost: evil.example\r\n\r\n");
                let _ = stream.read(&mut [0; 512]);
                std::thread::sleep(Duration::from_millis(5));
            }
        }),
    ];
    // Until the house was full once; 3 threads of the pipeline, the page, signals, and the main one.
    let begun = Instant::now();
    while size_of(&server).0 < 30 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the attackers never filled the house: {} threads", size_of(&server).0);
        std::thread::sleep(Duration::from_millis(10));
    }
    let attacked = share(60);
    let (threads, kilobytes) = size_of(&server);
    going.store(false, Relaxed);
    attackers.into_iter().chain([viewer]).for_each(|thread| thread.join().unwrap());
    println!(
        "of 1000 frames the viewer got {undisturbed} undisturbed and {attacked} attacked; {threads} threads, {kilobytes_before} kB before, {kilobytes} kB"
    );
    assert!(attacked * 10 >= undisturbed.min(1000) * 9, "{attacked} of 1000 frames after {undisturbed}");
    drop(server);
    feeder.join().unwrap();
    assert!(threads <= 64 && kilobytes < kilobytes_before + 32 * 1024, "{threads} threads, {kilobytes} kB after {kilobytes_before}");
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
    // Noise, of which a JPEG has hundreds of kilobytes: what the system keeps for a viewer who takes nothing is soon full.
    let mut child =
        program::program(&["run", "--input", "-", "--live", "--output", "http://127.0.0.1:0"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let (width, height) = (1280, 960);
    let noise = |_, x: usize, y: usize| {
        let mixed = ((x as u64) << 32 | y as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40) as u8
    };
    let film = program::y4m("F25:1", (width, height), width * height / 4, 1, noise);
    let feeder = std::thread::spawn(move || {
        let frame = film.windows(6).position(|six| six == b"FRAME\n").unwrap();
        let mut going = stdin.write_all(&film[..frame]).is_ok();
        while going {
            going = stdin.write_all(&film[frame..]).is_ok();
        }
    });
    let server = Server::of(child);
    let slow: Vec<Viewer> = (0..4).map(|_| Viewer::open(&server, "/stream.mjpg")).collect();
    let mut quick = Viewer::open(&server, "/stream.mjpg");
    let mut bytes = 0;
    // More than twice what Linux keeps at most for a connection, 4 MiB on this side and 6 on the other.
    while bytes < 24 << 20 {
        bytes += quick.picture().len();
    }
    assert!(frames_shown(&server) > 10);
    drop((slow, quick, server));
    feeder.join().unwrap();
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
