//! The panel: the conformance file against the state machine and over a real pseudo-terminal, damaged lines, garbage, unplugging, the example
//! sketches, and the whole program with `serial-sim`.
//!
//! Two tests are long and run only when asked for:
//! `cargo test --release -p autochrome --test panel -- --ignored --nocapture`

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[allow(dead_code, reason = "each test file uses its part")]
mod program;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use autochrome::panel::line::{checksum, digits};
use autochrome::panel::port::{Port, serve};
use autochrome::panel::protocol::{Outbox, Protocol};
use autochrome::remote::{NotTaken, Remote};
use autochrome::settings::{Choices, Command, KNOBS, ModelChoice, Preset, Settings};
use autochrome::statistics::{Snapshot, Statistics};
use autochrome::status::Heat;
use crossbeam_channel::Receiver;
use program::{Server, program};
use serialport::{SerialPort, TTYPort};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// What the example sketches need to run here.
fn stubs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sketches")
}

fn choices() -> Choices {
    let preset = |name: &str, commands: &[Command]| Preset { name: name.into(), commands: commands.to_vec() };
    let model = |name: &str| ModelChoice { name: name.into(), file: None };
    Choices {
        presets: vec![preset("faded", &[Command::Saturation(0.5), Command::Hue(5.0)]), preset("vivid", &[Command::Saturation(1.5)])],
        models: vec![model("large"), model("small")],
    }
}

fn settings() -> Settings {
    Settings { temperature: Some(0.5), ..Settings::neutral() }
}

fn checked(text: &str) -> String {
    format!("{text} *{}", digits(checksum(text.as_bytes())))
}

// ---------------------------------------------------------------------------------------------------------------------------------------------
// The conformance file

#[derive(Debug)]
struct Case {
    title: String,
    options: Vec<String>,
    steps: Vec<(usize, Step)>,
}

#[derive(Debug)]
enum Step {
    Send(Vec<u8>),
    Wait(Duration),
    Expect(String),
    ExpectLike(String),
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut left = text.bytes();
    while let Some(byte) = left.next() {
        bytes.push(match byte {
            b'\\' => match left.next().unwrap() {
                b'n' => b'\n',
                b'r' => b'\r',
                b'\\' => b'\\',
                b'x' => {
                    let digits = [left.next().unwrap(), left.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => panic!("no such escape: \\{}", char::from(other)),
            },
            byte => byte,
        });
    }
    bytes
}

fn conformance() -> Vec<Case> {
    let text = fs::read_to_string(examples().join("panel-conformance.txt")).unwrap();
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let (mark, rest) = line.split_once(' ').unwrap_or_else(|| panic!("line {}: {line}", number + 1));
        if mark == "=" {
            let (title, options) = rest.split_once(" | ").unwrap_or((rest, ""));
            let options = options.split_whitespace().map(String::from).collect();
            cases.push(Case { title: title.into(), options, steps: Vec::new() });
            continue;
        }
        let count = mark.trim_start_matches(['<', '>']).parse().unwrap_or(1);
        let steps = &mut cases.last_mut().unwrap().steps;
        for _ in 0..count {
            let step = match mark.as_bytes() {
                b">>" => Step::Send(unescaped(rest)),
                [b'>', ..] => Step::Send(format!("{rest}\n").into_bytes()),
                [b'<', ..] => Step::Expect(rest.into()),
                b"~" => Step::ExpectLike(rest.into()),
                b"." => Step::Wait(Duration::from_millis(rest.parse().unwrap())),
                _ => panic!("line {}: no such mark: {line}", number + 1),
            };
            steps.push((number + 1, step));
        }
    }
    cases
}

impl Case {
    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|given| given == option)
    }

    fn device(&self) -> (Settings, Choices) {
        let settings = if self.has("no-temperature") { Settings::neutral() } else { settings() };
        (settings, if self.has("no-choices") { Choices::default() } else { choices() })
    }

    /// Plays the case on a line.
    fn play(&self, line: &mut impl Wire) {
        let mut waiting = std::collections::VecDeque::new();
        for (number, step) in &self.steps {
            let at = format!("{:?}, line {number}", self.title);
            match step {
                Step::Send(bytes) => line.send(bytes),
                Step::Wait(time) => line.wait(*time),
                Step::Expect(expected) | Step::ExpectLike(expected) => loop {
                    if waiting.is_empty() {
                        waiting.extend(line.receive());
                    }
                    let found: String = waiting.pop_front().unwrap_or_else(|| panic!("{at}: {expected:?} did not come"));
                    assert!(found.len() <= 120, "{at}: {} bytes: {found:?}", found.len());
                    let fits = if let Step::ExpectLike(_) = step { is_like(&found, expected) } else { found == *expected };
                    if fits {
                        break;
                    }
                    assert!(found.starts_with("! "), "{at}: expected {expected:?}, found {found:?}");
                },
            }
        }
        waiting.extend(line.rest());
        waiting.retain(|line| !line.starts_with("! "));
        assert!(waiting.is_empty(), "{:?}: nobody asked for {waiting:?}", self.title);
    }
}

fn is_like(text: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => text == pattern,
        Some((start, rest)) => {
            text.strip_prefix(start).is_some_and(|left| (0..=left.len()).any(|at| left.is_char_boundary(at) && is_like(&left[at..], rest)))
        }
    }
}

/// A box's end of a line.
trait Wire {
    fn send(&mut self, bytes: &[u8]);
    fn wait(&mut self, time: Duration);
    /// The next lines; none if none come.
    fn receive(&mut self) -> Vec<String>;
    /// What came and was not expected, as far as that can be known without waiting.
    fn rest(&mut self) -> Vec<String>;
}

/// The state machine alone, with a clock that only tests move.
struct Machine {
    protocol: Protocol,
    now: Instant,
    out: Outbox,
    answer: Result<(), NotTaken>,
    taken: Vec<Command>,
}

impl Machine {
    fn new(settings: Settings, choices: Choices) -> Self {
        let now = Instant::now();
        let mut machine = Self {
            protocol: Protocol::new("test", settings, Arc::new(choices), now),
            now,
            out: Outbox::default(),
            answer: Ok(()),
            taken: Vec::new(),
        };
        machine.protocol.open(now, &mut machine.out);
        machine.protocol.tick(now, &mut machine.out);
        machine
    }

    fn lines(&mut self) -> Vec<String> {
        String::from_utf8(self.out.take()).unwrap().lines().map(String::from).collect()
    }

    /// What a line is answered.
    fn ask(&mut self, line: &str) -> Vec<String> {
        self.out.take();
        self.send(format!("{line}\n").as_bytes());
        self.lines()
    }

    fn observe(&mut self, frames: u64, settings: Settings) {
        self.protocol.observe(&snapshot(frames, settings), None);
    }
}

impl Wire for Machine {
    fn send(&mut self, bytes: &[u8]) {
        let (answer, taken) = (self.answer, &mut self.taken);
        let mut steer = |commands: &[Command]| {
            taken.extend_from_slice(commands);
            answer
        };
        self.protocol.hear(bytes, self.now, &mut steer, &mut self.out);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.protocol.tick(self.now, &mut self.out);
    }

    fn receive(&mut self) -> Vec<String> {
        self.lines()
    }

    fn rest(&mut self) -> Vec<String> {
        self.lines()
    }
}

#[test]
fn the_state_machine_conforms() {
    let cases = conformance();
    assert!(cases.len() > 20, "{} cases", cases.len());
    for case in cases {
        let (settings, choices) = case.device();
        let mut machine = Machine::new(settings, choices);
        if case.has("busy") {
            machine.answer = Err(NotTaken::Busy);
        } else if case.has("ended") {
            machine.answer = Err(NotTaken::Ended);
        }
        case.play(&mut machine);
    }
}

#[test]
fn the_conformance_file_has_every_verb_and_error() {
    let text = fs::read_to_string(examples().join("panel-conformance.txt")).unwrap();
    for part in
        ["10 proto", "11 crc", "12 long", "13 syntax", "20 verb", "21 key", "30 type", "34 range", "40 busy", "41 notnow", "50 internal"]
    {
        assert!(text.contains(&format!("err {part}")), "{part}");
    }
    for verb in ["HELLO", "LIST", "GET", "SET", "ADD"] {
        assert!(text.contains(&format!("\n> {verb}")), "{verb}");
    }
}

// ---------------------------------------------------------------------------------------------------------------------------------------------
// A real line

/// What the outputs thread says after so many frames.
fn snapshot(frames: u64, settings: Settings) -> Snapshot {
    Snapshot { frames, fps: 24.83, model: Arc::from("the model"), settings, ..Statistics::new(settings).now().clone() }
}

/// Plays the color thread and the outputs thread: takes commands and shows frames.
fn color(commands: Receiver<Command>, remote: Remote, mut settings: Settings) {
    thread::spawn(move || {
        for frames in 0.. {
            match commands.recv_timeout(Duration::from_millis(5)) {
                Ok(command) => settings.apply(command, &remote.choices),
                Err(error) if error.is_disconnected() => return,
                Err(_) => {}
            }
            remote.status.snapshot.put(Arc::new(snapshot(frames, settings)));
        }
    });
}

/// The box's end of a pseudo-terminal whose other end is known by a link.
struct Cable {
    device: TTYPort,
    heard: Vec<u8>,
}

impl Cable {
    /// Plugs a box in.
    fn plug(link: &Path) -> Self {
        let (device, theirs) = TTYPort::pair().unwrap();
        let _ = fs::remove_file(link);
        symlink(theirs.name().unwrap(), link).unwrap();
        // So that nobody but the device holds it.
        drop(theirs);
        let mut cable = Self { device, heard: Vec::new() };
        assert!(cable.line_that(|line| line.starts_with("! hello proto=1 dev=")).is_some(), "the device greets");
        cable
    }

    /// The next line that comes in time.
    fn line(&mut self, deadline: Instant) -> Option<String> {
        self.device.set_timeout(Duration::from_millis(20)).unwrap();
        loop {
            if let Some(end) = self.heard.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if Instant::now() > deadline {
                return None;
            }
            let mut bytes = [0; 256];
            match self.device.read(&mut bytes) {
                Ok(count) => self.heard.extend(&bytes[..count]),
                // Nobody has opened it yet, or nothing came.
                Err(_) => thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    fn line_that(&mut self, is_it: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let line = self.line(deadline)?;
            if is_it(&line) {
                return Some(line);
            }
        }
    }

    /// What a line is answered, pushes aside.
    fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\n").as_bytes());
        self.line_that(|line| !line.starts_with("! ")).unwrap()
    }
}

impl Wire for Cable {
    fn send(&mut self, bytes: &[u8]) {
        self.device.set_timeout(PATIENCE).unwrap();
        self.device.write_all(bytes).unwrap();
    }

    fn wait(&mut self, time: Duration) {
        thread::sleep(time);
    }

    fn receive(&mut self) -> Vec<String> {
        self.line(Instant::now() + PATIENCE).into_iter().collect()
    }

    fn rest(&mut self) -> Vec<String> {
        Vec::new()
    }
}

fn serve_at(link: &Path, settings: Settings, remote: &Remote) {
    serve(Port { path: link.to_str().unwrap().to_owned(), baud: 115_200 }, settings, remote.clone()).unwrap();
}

#[test]
fn a_real_line_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let cases = conformance();
    thread::scope(|scope| {
        for (number, case) in cases.iter().enumerate().filter(|(_, case)| !case.has("clock")) {
            // A path of its own for each: what served it waits for its return.
            let link = folder.path().join(number.to_string());
            scope.spawn(move || {
                let (settings, choices) = case.device();
                let (remote, commands) = Remote::new(choices);
                let mut kept = None;
                if case.has("busy") {
                    while remote.send(Command::Freeze(false)).is_ok() {}
                    kept = Some(commands);
                } else if !case.has("ended") {
                    color(commands, remote.clone(), settings);
                } else {
                    drop(commands);
                }
                serve_at(&link, settings, &remote);
                case.play(&mut Cable::plug(&link));
                fs::remove_file(&link).unwrap();
                drop(kept);
            });
        }
    });
}

#[test]
fn a_box_may_be_unplugged_and_another_plugged_in() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("panel");
    let (remote, commands) = Remote::new(choices());
    color(commands, remote.clone(), settings());
    // Nothing is there yet, which is no error.
    serve_at(&link, settings(), &remote);
    let mut first = Cable::plug(&link);
    assert!(first.ask("HELLO proto=1 box=a crc=1").starts_with("ok proto=1"));
    assert_eq!(first.ask(&checked("#1 SET hue=3")), checked("#1 ok hue=3 rev=1"));
    first.send(b"SET hu");
    drop(first);
    let mut second = Cable::plug(&link);
    // Neither the checksums nor the half line nor the number of the first box count for the second; the settings do.
    assert_eq!(second.ask("#1 ADD hue=1"), "#1 ok hue=4 rev=2");
    // A change on the page is told.
    remote.send(Command::Saturation(1.25)).unwrap();
    assert_eq!(second.line_that(|line| line.starts_with("! set")).unwrap(), "! set saturation=1.25 rev=3");
}

#[test]
fn a_box_that_floods_and_never_reads_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("panel");
    let (remote, commands) = Remote::new(choices());
    color(commands, remote.clone(), settings());
    serve_at(&link, settings(), &remote);
    let mut cable = Cable::plug(&link);
    // More questions than the line and the outbox hold answers, none of which is read.
    cable.send("LIST\n".repeat(2000).as_bytes());
    assert_eq!(remote.send(Command::Hue(7.0)), Ok(()));
    // Then it reads again, and the device is still there; what it says is made of whole lines.
    let told = cable.line_that(|line| {
        assert!(["- key=", "ok n=9", "err 40 busy", "! s"].iter().any(|start| line.starts_with(start)), "{line:?}");
        line.starts_with("! set hue=7")
    });
    assert!(told.is_some());
}

// ---------------------------------------------------------------------------------------------------------------------------------------------
// Pushes

#[test]
fn what_others_change_is_pushed_at_once_but_ten_times_a_second_at_most() {
    let mut machine = Machine::new(settings(), choices());
    machine.observe(1, settings());
    machine.wait(Duration::from_millis(100));
    assert_eq!(machine.lines()[2..], ["! state cam=ok fps=24.8 temp=- model=large thr=0 rev=0"]);
    let mut pushed = Vec::new();
    for step in 0..100_u8 {
        let seen = Settings { saturation: f32::from(step) / 100.0, ..settings() };
        machine.observe(2 + u64::from(step), seen);
        machine.wait(Duration::from_millis(10));
        pushed.extend(machine.lines());
    }
    assert!((9..=11).contains(&pushed.len()), "in a second: {pushed:?}");
    machine.wait(Duration::from_millis(100));
    pushed.extend(machine.lines());
    assert_eq!(pushed.last().unwrap(), "! set saturation=0.99 rev=100");
    let absent = Snapshot { absent: Some(Arc::from("no camera")), fps: 0.0, ..snapshot(200, settings()) };
    machine.protocol.observe(&absent, Some(&Heat { celsius: Some(61.4), rung: 2 }));
    machine.wait(Duration::from_millis(100));
    assert_eq!(machine.lines(), ["! set saturation=1 rev=101", "! state cam=none fps=0.0 temp=61 model=large thr=2 rev=101"]);
    let quiet: Vec<_> = (0..200)
        .flat_map(|_| {
            machine.wait(Duration::from_millis(50));
            machine.lines()
        })
        .collect();
    assert_eq!(quiet.len(), 2, "a state line every five seconds: {quiet:?}");
}

#[test]
fn a_long_name_is_chosen_by_the_word_that_was_listed() {
    let mut known = choices();
    known.models[1].name = "a name with spaces, and longer than a word on a line".into();
    let mut machine = Machine::new(settings(), known);
    let listed = machine.ask("LIST").into_iter().find(|line| line.contains("key=model")).unwrap();
    let word = listed.rsplit(',').next().unwrap().to_owned();
    assert_eq!(word, "a-name-with-spaces--and-longer-t");
    assert_eq!(machine.ask(&format!("SET model={word}")), [format!("ok model={word} rev=1")]);
    assert_eq!(machine.taken, [Command::Model(1)]);
}

#[test]
fn what_the_box_changed_itself_is_not_told_again() {
    let mut machine = Machine::new(settings(), choices());
    machine.observe(1, settings());
    machine.wait(Duration::from_secs(1));
    assert_eq!(machine.ask("SET hue=3 mix=0.5"), ["ok hue=3 mix=0.5 rev=1"]);
    assert_eq!(machine.taken, [Command::Hue(3.0), Command::Mix(0.5)]);
    // Frames from before the change, and after.
    machine.observe(4, settings());
    machine.wait(Duration::from_millis(100));
    machine.observe(20, Settings { hue: 3.0, mix: 0.5, ..settings() });
    machine.wait(Duration::from_millis(100));
    assert_eq!(machine.lines(), Vec::<String>::new());
    // HELLO wants to be told all.
    machine.ask("HELLO");
    machine.wait(Duration::from_millis(1));
    assert_eq!(machine.lines().iter().filter(|line| line.starts_with("! set ")).count(), KNOBS.len());
}

#[test]
fn what_found_no_room_is_told_when_there_is_some() {
    let mut machine = Machine::new(settings(), choices());
    machine.wait(Duration::from_secs(1));
    machine.send("LIST\n".repeat(10).as_bytes());
    // The shortest reply there is, to the last byte that has room.
    machine.send("*\n".repeat(80).as_bytes());
    assert!((4085..=4096).contains(&machine.out.len()), "{} bytes", machine.out.len());
    machine.observe(1, Settings { hue: 9.0, ..settings() });
    machine.wait(Duration::from_millis(200));
    assert!(!machine.lines().contains(&"! set hue=9 rev=1".into()));
    machine.wait(Duration::from_millis(200));
    assert!(machine.lines().contains(&"! set hue=9 rev=1".into()));
}

// ---------------------------------------------------------------------------------------------------------------------------------------------
// Damage

/// A small generator (xorshift64*), so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// A machine that wants checksums, and lines that change a setting: a usual one, an encoder's, and the longest.
fn strict() -> (Machine, Vec<Vec<u8>>) {
    let mut machine = Machine::new(settings(), choices());
    assert!(machine.ask("HELLO proto=1 box=test crc=1")[0].starts_with("ok"));
    // 114 bytes, and six for the checksum.
    let longest = "#65535 SET saturation=1.0000 hue=-12.000 temperature=0.500000 mix=0.5000 split=0.2500 freeze=1 preset=faded model=";
    let longest = format!("{}small", &longest[..109]);
    let lines = ["#17 SET saturation=0.72", "#18 ADD hue=+3", "SET mix=0.5 split=0.25", &longest];
    let lines = lines.map(|line| format!("{}\n", checked(line)).into_bytes()).to_vec();
    (machine, lines)
}

/// Sends bytes that hold a damaged line. Returns what was changed.
fn changes(machine: &mut Machine, bytes: &[u8]) -> usize {
    // The clock moves so that no line is refused for its haste.
    machine.now += Duration::from_millis(40);
    machine.taken.clear();
    machine.send(bytes);
    machine.send(b"\n");
    machine.out.take();
    machine.taken.len()
}

#[test]
fn no_line_with_one_or_two_flipped_bits_changes_anything() {
    let (mut machine, lines) = strict();
    for line in &lines {
        let bits = line.len() * 8;
        for first in 0..bits {
            for second in 0..=first {
                let mut damaged = line.clone();
                damaged[first / 8] ^= 1 << (first % 8);
                if second != first {
                    damaged[second / 8] ^= 1 << (second % 8);
                }
                let taken = changes(&mut machine, &damaged);
                assert_eq!(taken, 0, "bits {first} and {second}: {}", damaged.escape_ascii());
            }
        }
    }
}

#[test]
fn no_checksummed_line_with_a_flipped_bit_changes_anything_before_hello_either() {
    let lines = strict().1;
    let mut machine = Machine::new(settings(), choices());
    for line in &lines {
        for bit in 0..line.len() * 8 {
            let mut damaged = line.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(changes(&mut machine, &damaged), 0, "bit {bit}: {}", damaged.escape_ascii());
        }
    }
}

#[test]
#[ignore = "seconds of flipped bits"]
fn no_line_with_three_flipped_bits_changes_anything() {
    let (mut machine, lines) = strict();
    let bits = lines[0].len() * 8;
    let mut count = 0;
    for first in 0..bits {
        for second in 0..first {
            for third in 0..second {
                let mut damaged = lines[0].clone();
                for bit in [first, second, third] {
                    damaged[bit / 8] ^= 1 << (bit % 8);
                }
                if damaged.ends_with(b"\r") {
                    // With the line feed that comes next it is the whole line again.
                    continue;
                }
                assert_eq!(changes(&mut machine, &damaged), 0, "bits {first}, {second} and {third}: {}", damaged.escape_ascii());
                count += 1;
            }
        }
    }
    println!("all {count} triples of flipped bits of {}: no change taken", lines[0].escape_ascii());
}

/// Three flipped bits make a line feed of the space behind a number. What is then left of the line must not have the same checksum.
#[test]
fn no_number_can_be_cut_off_unnoticed() {
    let begun = |text: String| checksum(text.as_bytes());
    // The register's value before the first byte, to which a text that changes nothing would lead back.
    let empty = checksum(b"");
    assert!((0..=u16::MAX).all(|number| begun(format!("#{number} ")) != empty));
}

/// Flips one to three bits of a line, so many times. Each damaged line is followed by two sound ones, of which the second has to be answered.
/// Returns how often a damaged line was taken, how often the first sound line was answered too, and how many lines lost their end or got another.
fn flip(trials: usize) -> (usize, usize, usize) {
    let (mut machine, lines) = strict();
    let mut dice = Dice(0x0BAD_CAFE);
    let (mut taken, mut first_answered, mut reframed) = (0, 0, 0);
    let (one, two) = (format!("{}\n", checked("#1 GET mix")), format!("{}\n", checked("#2 GET mix")));
    for trial in 0..trials {
        let mut damaged = lines[trial % lines.len()].clone();
        for _ in 0..1 + dice.below(3) {
            let bit = dice.below(damaged.len() * 8);
            damaged[bit / 8] ^= 1 << (bit % 8);
        }
        if damaged == lines[trial % lines.len()] {
            continue;
        }
        reframed += usize::from(damaged.iter().filter(|&&byte| byte == b'\n').count() != 1 || !damaged.ends_with(b"\n"));
        machine.now += Duration::from_millis(40);
        machine.taken.clear();
        machine.out.take();
        machine.send(&damaged);
        machine.send(one.as_bytes());
        machine.send(two.as_bytes());
        let said = machine.out.take();
        taken += machine.taken.len();
        let answered = |number: &str| said.windows(6).any(|part| part == format!("{number} ok ").as_bytes());
        first_answered += usize::from(answered("#1"));
        assert!(answered("#2"), "after {}: {}", damaged.escape_ascii(), said.escape_ascii());
    }
    (taken, first_answered, reframed)
}

#[test]
fn no_damaged_line_is_taken_and_the_next_but_one_is_answered() {
    assert_eq!(flip(60_000).0, 0);
}

#[test]
#[ignore = "a minute of flipped bits"]
fn ten_million_damaged_lines() {
    let trials = 10_000_000;
    let (taken, first_answered, reframed) = flip(trials);
    println!("{trials} damaged lines: {taken} changes taken, {reframed} with another line end, {first_answered} next lines answered");
    assert_eq!(taken, 0);
}

/// So many bytes of garbage, in a million at a time. After each of these, a line feed and a line: the line has to be answered.
fn garbage(bytes: usize) -> Vec<usize> {
    let mut machine = Machine::new(settings(), choices());
    let mut dice = Dice(0x5EED);
    let mut block = vec![0_u8; 1_000_000];
    let mut resident = Vec::new();
    // Bytes of all kinds, bytes that occur in lines, and pieces of lines.
    let pieces: [&[u8]; 12] =
        [b"SET ", b"ADD ", b"GET ", b"HELLO ", b"mix=", b"hue=1", b" *", b"#65535 ", b"\n", b"\r\n", b"?", b"saturation=9e99"];
    for number in 0..bytes / block.len() {
        match number % 3 {
            0 => block.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&dice.next().to_le_bytes())),
            1 => block.iter_mut().for_each(|byte| *byte = b" #*=?0123456789ADEGHLOST.abceghilmnoprstux\r\n"[dice.below(43)]),
            _ => {
                let mut filled = 0;
                while filled < block.len() {
                    let piece = pieces[dice.below(pieces.len())];
                    let count = piece.len().min(block.len() - filled);
                    block[filled..filled + count].copy_from_slice(&piece[..count]);
                    filled += count;
                }
            }
        }
        for chunk in block.chunks(512) {
            // As fast as a line of a megabyte a second.
            machine.wait(Duration::from_micros(512));
            machine.send(chunk);
            assert!(machine.out.len() <= 4096);
            machine.out.take();
        }
        machine.wait(Duration::from_secs(1));
        machine.out.take();
        machine.send(b"\n");
        machine.out.take();
        machine.taken.clear();
        // Garbage can say HELLO crc=1 by accident.
        let answer = machine.ask(&checked("GET mix"));
        assert!(answer.iter().any(|line| line.starts_with("ok mix=")), "after block {number}: {answer:?}");
        resident.push(resident_bytes());
    }
    resident
}

/// The memory that this process has, in bytes.
fn resident_bytes() -> usize {
    let pages: usize = fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn garbage_is_survived_and_the_next_line_answered() {
    garbage(6_000_000);
}

#[test]
#[ignore = "a minute of garbage"]
fn a_gigabyte_of_garbage() {
    let resident = garbage(1_000_000_000);
    let (early, late, most) = (resident[9], *resident.last().unwrap(), *resident.iter().max().unwrap());
    println!("a gigabyte of garbage: {early} bytes resident after 10 MB, {late} at the end, {most} at most");
    assert!(most < early + 1_000_000);
}

// ---------------------------------------------------------------------------------------------------------------------------------------------
// The example sketches: each runs in lockstep with the state machine, over a line that damages what it carries

/// Marks the end of a turn: a byte that is in no line.
const TURN: u8 = 0x05;

/// Lets a sketch and the state machine talk, a millisecond of their clock a turn. Every so many lines, in both directions, one is damaged.
fn converse(mut sketch: Process, turns: usize) -> Machine {
    let mut child = sketch.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut to, mut from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let mut machine = Machine::new(settings(), choices());
    let mut current = settings();
    let (mut dice, mut frames) = (Dice(7), 0);
    for _ in 0..turns {
        let mut said = Vec::new();
        from.read_until(TURN, &mut said).unwrap();
        assert_eq!(said.pop(), Some(TURN), "the sketch ended: {}", said.escape_ascii());
        let mut damage = |bytes: &mut [u8]| {
            if !bytes.is_empty() && dice.below(4) == 0 {
                let at = dice.below(bytes.len());
                bytes[at] ^= 1 << dice.below(7);
            }
        };
        damage(&mut said);
        machine.send(&said);
        machine.taken.drain(..).for_each(|command| current.apply(command, &choices()));
        frames += 1;
        machine.observe(frames, current);
        machine.wait(Duration::from_millis(1));
        let mut reply = machine.out.take();
        damage(&mut reply);
        reply.retain(|&byte| byte != TURN);
        reply.push(TURN);
        to.write_all(&reply).unwrap();
    }
    drop(to);
    child.wait().unwrap();
    machine.taken = vec![
        Command::Saturation(current.saturation),
        Command::Hue(current.hue),
        Command::Mix(current.mix),
        Command::Freeze(current.freeze),
    ];
    machine
}

/// What a test says instead of running where its tool is missing.
fn is_missing(tool: &str) -> bool {
    let missing = Process::new(tool).arg("--version").output().is_err();
    if missing {
        println!("skipped: there is no {tool}");
    }
    missing
}

#[test]
fn the_arduino_sketch_works() {
    if is_missing("g++") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("knobs");
    let compiled = Process::new("g++")
        .args(["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined", "-fno-sanitize-recover", "-I"])
        .args([stubs().as_os_str(), "-I".as_ref(), examples().join("knobs").as_os_str()])
        .args([stubs().join("main.cpp").as_os_str(), "-o".as_ref(), program.as_os_str()])
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let ended = converse(Process::new(program), 4000);
    assert_eq!(ended.taken, [Command::Saturation(2.0), Command::Hue(7.0), Command::Mix(0.5), Command::Freeze(true)]);
}

#[test]
fn the_micropython_sketch_works() {
    if is_missing("python3") {
        return;
    }
    let mut python = Process::new("python3");
    python.arg("-B").arg(stubs().join("turns.py")).env("PYTHONPATH", examples());
    let ended = converse(python, 4000);
    assert_eq!(ended.taken, [Command::Saturation(2.0), Command::Hue(7.0), Command::Mix(0.5), Command::Freeze(true)]);
}

#[test]
fn the_micropython_sketch_conforms() {
    if is_missing("python3") {
        return;
    }
    let file = examples().join("panel-conformance.txt");
    let found =
        Process::new("python3").arg("-B").arg(stubs().join("conformance.py")).arg(file).env("PYTHONPATH", examples()).output().unwrap();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
}

// ---------------------------------------------------------------------------------------------------------------------------------------------
// The whole program

#[test]
fn the_simulator_steers_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    fs::write(&script, "HELLO proto=1 box=sim\nGET saturation\nSET saturation=0.5 hue=3\nADD hue=+4\nSET hue=99\n").unwrap();
    let mut simulator = program(&["serial-sim", "--script", script.to_str().unwrap()]).spawn().unwrap();
    let mut said = BufReader::new(simulator.stdout.take().unwrap());
    let mut port = String::new();
    said.read_line(&mut port).unwrap();
    let server = Server::start(&["--input", "test-pattern", "--saturation", "0.25", "--panel", port.trim()]);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(simulator.wait().unwrap().success());
    let replies: Vec<_> = rest.lines().filter(|line| !line.starts_with("! ")).collect();
    let [hello, get, set, add, refused] = replies[..] else { panic!("{rest}") };
    assert!(hello.starts_with("ok proto=1 dev="), "{rest}");
    assert_eq!(
        [get, set, add, refused],
        ["ok saturation=0.25 rev=0", "ok saturation=0.5 hue=3 rev=1", "ok hue=7 rev=2", "err 34 range key=hue min=-30 max=30"]
    );
    let (code, said) = server.end("-TERM");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("box sim is there") && said.contains("the picture goes on without it"), "{said}");
}

#[test]
fn a_port_that_is_not_there_ends_no_run() {
    let (code, said) = program::run(&["run", "--input", "test-pattern", "--frames", "2", "--output", "null", "--panel", "/dev/tty-none"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("open panel /dev/tty-none") && said.contains("it is waited for"), "{said}");
}
