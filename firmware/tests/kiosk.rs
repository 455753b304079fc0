//! The program under a service manager: what it tells, and what happens when one of its threads hangs. And the files that go with it.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[allow(dead_code, reason = "each test file uses its part")]
mod program;

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use program::program;

/// What takes longer than this has failed; nothing here is measured.
const FOREVER: Duration = Duration::from_secs(60);
const SIGABRT: i32 = 6;

/// What systemd does with a unit of `Type=notify` with `WatchdogSec=` and `Restart=always`, as far as one process goes.
struct Manager {
    socket: UnixDatagram,
    _folder: tempfile::TempDir,
    watchdog: Duration,
}

/// A service that runs, and where its page is.
struct Service {
    child: Child,
    address: String,
    /// Read to its end by a thread of its own: a full pipe would hang what we look at.
    said: std::thread::JoinHandle<String>,
}

#[derive(Debug, PartialEq)]
enum Heard {
    News(String),
    Silence,
}

impl Manager {
    fn new(watchdog: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Self { socket, _folder: folder, watchdog }
    }

    fn start(&self, inject: Option<&str>) -> Service {
        self.start_with(&["--input", "test-pattern"], inject)
    }

    fn start_with(&self, input: &[&str], inject: Option<&str>) -> Service {
        let mut command = program(&[&["run", "--output", "http://127.0.0.1:0"], input].concat());
        let address = self.socket.local_addr().unwrap();
        command.env("NOTIFY_SOCKET", address.as_pathname().unwrap()).env("WATCHDOG_USEC", self.watchdog.as_micros().to_string());
        inject.map(|fault| command.env("AUTOCHROME_INJECT", fault));
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("http://") {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended");
        }
        let address = line.split("http://").nth(1).unwrap_or_else(|| panic!("{line}")).split('/').next().unwrap().to_owned();
        let said = std::thread::spawn(move || {
            let mut said = String::new();
            stderr.read_to_string(&mut said).unwrap();
            said
        });
        Service { child, address, said }
    }

    /// The next news, if they come within `patience`.
    fn hear(&self, patience: Duration) -> Heard {
        let mut bytes = [0; 4096];
        self.socket.set_read_timeout(Some(patience)).unwrap();
        loop {
            match self.socket.recv(&mut bytes) {
                Ok(length) => return Heard::News(String::from_utf8(bytes[..length].to_vec()).unwrap()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Heard::Silence,
                // A wait with a time limit is interrupted when the whole machine stood still for a while.
                Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}"),
            }
        }
    }

    /// Waits for news that contain `part`, and returns all that came until then.
    fn wait_for(&self, part: &str) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let Heard::News(news) = self.hear(FOREVER) else { panic!("no {part:?} in {all:?}") };
            all.push(news);
            if all.last().unwrap().contains(part) {
                return all;
            }
        }
    }

    /// Waits until the watchdog is not fed any more, and returns all that came until then.
    fn starve(&self) -> Vec<String> {
        let (begun, mut fed_at, mut all) = (Instant::now(), Instant::now(), Vec::new());
        while fed_at.elapsed() < self.watchdog {
            assert!(begun.elapsed() < FOREVER, "it is fed for ever: {all:?}");
            if let Heard::News(news) = self.hear((self.watchdog - fed_at.elapsed()).max(Duration::from_millis(1))) {
                if news.contains("WATCHDOG=1\n") {
                    fed_at = Instant::now();
                }
                all.push(news);
            }
        }
        all
    }
}

impl Service {
    fn kill(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Waits for its end. Returns the signal that ended it, its exit code, and what it said.
    fn end(mut self) -> (Option<i32>, Option<i32>, String) {
        let status = self.child.wait().unwrap();
        (status.signal(), status.code(), self.said.join().unwrap())
    }

    fn is_healthy(&self) -> bool {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET /healthz HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.starts_with("HTTP/1.1 200 ")
    }
}

#[test]
fn the_manager_is_told_of_readiness_of_life_and_of_the_end() {
    let manager = Manager::new(Duration::from_secs(4));
    let service = manager.start(None);
    let first = manager.wait_for("READY=1\n");
    assert_eq!(first.len(), 1, "nothing is told before a picture was shown: {first:?}");
    assert!(service.is_healthy());
    manager.wait_for("WATCHDOG=1\n");
    let news = manager.wait_for("WATCHDOG=1\n");
    let status = news[0].lines().find(|line| line.starts_with("STATUS=")).unwrap();
    assert!(status.contains("frames/s") && status.contains("autochrome"), "{status}");
    service.kill("-TERM");
    manager.wait_for("STOPPING=1\n");
    let (_, code, said) = service.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_camera_that_is_absent_is_told_of_and_no_reason_to_start_again() {
    let manager = Manager::new(Duration::from_secs(2));
    let service = manager.start_with(&["--input", "v4l2:/dev/no-such-camera", "--wait"], None);
    let first = manager.wait_for("READY=1\n");
    assert!(first[0].contains("STATUS=no camera on /dev/no-such-camera"), "{first:?}");
    let fed = (0..6).map(|_| manager.wait_for("WATCHDOG=1\n").len()).sum::<usize>();
    assert!(fed == 6 && !service.is_healthy(), "{fed} pieces of news for 6 signs of life");
    service.kill("-TERM");
    manager.wait_for("STOPPING=1\n");
    assert_eq!(service.end().1, Some(0));
}

#[test]
fn a_thread_that_hangs_is_noticed_and_the_next_start_brings_the_picture_back() {
    // All at once: each waits for the watchdog most of the time.
    let hangs = ["camera@20", "color@20", "outputs@20", "page@1", "thermal@1", "panel@1"].map(|fault| {
        std::thread::spawn(move || {
            let manager = Manager::new(Duration::from_secs(2));
            let arguments = ["--input", "test-pattern", "--panel", "/dev/ttyNoSuchBox"];
            let service = manager.start_with(&arguments, Some(&format!("hang:{fault}")));
            manager.wait_for("READY=1\n");
            let news = manager.starve();
            let name = fault.split('@').next().unwrap();
            if ["page", "thermal", "panel"].contains(&name) {
                assert!(news.iter().any(|news| news.contains(&format!("STATUS=the thread {name} stands still"))), "{fault}: {news:?}");
            }
            service.kill("-ABRT");
            let (signal, _, said) = service.end();
            assert_eq!(signal, Some(SIGABRT), "{fault}: {said}");
            assert!(said.contains(&format!("hangs the thread {name} here")), "{fault}: {said}");
            let begun = Instant::now();
            let service = manager.start(None);
            manager.wait_for("READY=1\n");
            assert!(service.is_healthy(), "{fault}");
            println!("{fault}: picture back {:.1} s after SIGABRT", begun.elapsed().as_secs_f32());
            service.kill("-KILL");
            let _ = service.end();
        })
    });
    let failed = hangs.into_iter().map(std::thread::JoinHandle::join).filter(Result::is_err).count();
    assert_eq!(failed, 0);
}

#[test]
fn without_a_manager_nothing_is_told_and_a_bad_fault_is_named() {
    let mut command = program(&["run", "--input", "test-pattern", "--output", "null", "--frames", "3"]);
    let output =
        command.env_remove("NOTIFY_SOCKET").env("WATCHDOG_USEC", "1000").env("AUTOCHROME_INJECT", "hang:everything").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("AUTOCHROME_INJECT=hang:everything: not understood"), "{said}");
}

#[test]
fn lines_for_the_journal_have_a_priority() {
    let (reader, writer) = std::io::pipe().unwrap();
    let about = File::from(OwnedFd::from(writer.try_clone().unwrap())).metadata().unwrap();
    let journal = format!("{}:{}", about.dev(), about.ino());
    let mut said = Vec::new();
    for (stream, arguments, expected) in [
        (&*journal, ["run", "--input", "test-pattern", "--output", "null", "--frames", "2"].as_slice(), "<6>2 frames shown"),
        (&*journal, &["run", "--input", "/no/such/folder", "--output", "null"], "<3>"),
        ("1:2", &["run", "--input", "/no/such/folder", "--output", "null"], "autochrome: "),
    ] {
        let mut child =
            program(arguments).env("JOURNAL_STREAM", stream).stderr(writer.try_clone().unwrap()).stdout(Stdio::null()).spawn().unwrap();
        child.wait().unwrap();
        said.push(expected);
    }
    drop(writer);
    let lines = BufReader::new(reader).lines().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(lines.len(), said.len(), "{lines:?}");
    assert!(lines.iter().zip(&said).all(|(line, start)| line.starts_with(start)), "{lines:?}");
}

/// The files that a package brings besides the program.
const HELP: &str = include_str!("../src/help.txt");
const MAN: &str = include_str!("../packaging/autochrome.1");
const COMPLETION: &str = include_str!("../packaging/autochrome.bash");
const UNIT: &str = include_str!("../packaging/autochrome.service");

#[test]
fn the_man_page_and_the_completion_know_every_option() {
    let is_name = |character: char| character.is_ascii_lowercase() || character == '-';
    let options: Vec<&str> =
        HELP.match_indices("--").map(|(at, _)| HELP[at..].split(|character| !is_name(character)).next().unwrap()).collect();
    assert!(options.len() > 20, "{options:?}");
    let man = MAN.replace("\\-", "-");
    for option in options {
        let known = |text: &str| text.split(|character| !is_name(character)).any(|word| word == option);
        assert!(known(&man), "autochrome.1 has no {option}");
        assert!(known(COMPLETION), "autochrome.bash has no {option}");
    }
    let codes =
        HELP.split("exit codes:").nth(1).unwrap().lines().filter_map(|line| line.trim().split(' ').next().filter(|word| !word.is_empty()));
    for code in codes {
        assert!(MAN.contains(&format!(".B {code}\n")), "autochrome.1 has no exit code {code}");
    }
}

#[test]
fn the_unit_is_watched_and_locked_up() {
    let has = |line: &str| UNIT.lines().any(|other| other == line);
    for line in [
        "Type=notify",
        "NotifyAccess=main",
        "Restart=always",
        "RestartPreventExitStatus=2 65 78",
        "DevicePolicy=closed",
        "NoNewPrivileges=yes",
    ] {
        assert!(has(line), "{line}");
    }
    // A thread's pulse is waited for half of the watchdog's time: one and a half of it, and the start, have to be less than 15 s.
    let seconds = UNIT.lines().find_map(|line| line.strip_prefix("WatchdogSec=")).unwrap().parse::<f32>().unwrap();
    assert!(1.5 * seconds + 0.5 + 2.0 <= 15.0, "{seconds}");
    // Where systemd is, it judges the unit itself.
    let file = format!("{}/packaging/autochrome.service", env!("CARGO_MANIFEST_DIR"));
    match Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=20", "--no-pager", &file]).output() {
        Ok(judged) => assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout)),
        Err(error) => println!("systemd-analyze is not there ({error}): the unit's exposure was not measured"),
    }
}
