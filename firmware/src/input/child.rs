//! A program whose standard output is the feed: `rpicam-vid`, `ffmpeg`, or anything that writes YUV4MPEG2 or raw 4:2:0.
//!
//! It is a live source. A program that ends, hangs or writes nonsense is killed with all that it started, and started again after a pause that
//! grows; until then every call says so.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use autochrome_model::{LumaRange, Plane};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::process::{Pid, Signal, kill_process_group};

use super::backoff::Backoff;
use super::luma::resize;
use super::{Faults, Next, READ_BYTES, SIDE_MAX, SILENCE_MAX};
use crate::errors::{Exit, Failure, Result, say, warn};
use crate::y4m;

/// How long one call waits.
const WAIT: Duration = Duration::from_millis(200);
/// How long a program may be silent between two frames, and before the first: cameras take a while to start.
const SILENCE: Duration = Duration::from_secs(3);
const FIRST_FRAME: Duration = Duration::from_secs(10);
/// After how long without a frame it is said that there is none; for a program that gives frames more rarely after three of its periods, of which one and a half
/// have to do where that is longer than the outputs take a picture for a live one. A service manager that hears no word for longer takes it for a hang.
const SAID_AFTER: Duration = Duration::from_secs(1);
const SAID_SOON: Duration = Duration::from_secs(4);
const SAID_AFTER_MAX: Duration = SILENCE_MAX;
/// The longest period that is believed.
const PERIOD_MAX: Duration = Duration::from_secs(600);
/// How long a program has to give frames before the pauses between attempts are short again.
const STEADY: Duration = Duration::from_secs(2);
/// How much of a line that the program says on standard error is kept.
const LINE_BYTES_MAX: u64 = 400;
/// `rpicam-vid` pads its rows to a multiple of this.
const RPICAM_ALIGNMENT: usize = 64;

/// A program, and what it writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildSpec {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What comes out.
    pub output: Pixels,
    /// What luma codes mean, where the stream does not say it.
    pub range: LumaRange,
}

/// What a program writes to its standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pixels {
    /// YUV4MPEG2.
    Y4m,
    /// Planes of 4:2:0 without any header, the luma first.
    Yuv420 {
        /// Pixels a row, without padding.
        width: usize,
        /// Rows.
        height: usize,
        /// Frames a second.
        fps: u32,
    },
}

impl ChildSpec {
    /// Reads `y4m:COMMAND ARGS`, `yuv420:WIDTHxHEIGHT@FPS:COMMAND ARGS` or `rpicam:WIDTHxHEIGHT@FPS`. Nothing if it is none of them.
    ///
    /// # Errors
    /// [`Exit::Usage`] for one that is wrong.
    pub fn parse(uri: &str) -> Option<Result<Self>> {
        let (scheme, rest) = uri.split_once(':')?;
        let refuse = |what: &str| Failure::usage(format!("input {uri}: {what}"));
        Some(match scheme {
            "y4m" => words(rest)
                .map(|command| Self { command, output: Pixels::Y4m, range: LumaRange::Limited })
                .ok_or_else(|| refuse("y4m: wants a command, as in y4m:ffmpeg -i URL -f yuv4mpegpipe -")),
            "yuv420" => {
                let parsed = rest.split_once(':').and_then(|(shape, command)| Some((shape_of(shape)?, words(command)?)));
                let parsed = parsed.map(|(output, command)| Self { command, output, range: LumaRange::Limited });
                parsed.ok_or_else(|| refuse("it is yuv420:WIDTHxHEIGHT@FPS:COMMAND, sizes up to 8192"))
            }
            "rpicam" => shape_of(rest)
                .ok_or_else(|| refuse("it is rpicam:WIDTHxHEIGHT@FPS, as in rpicam:640x480@25"))
                .and_then(|output| Self::rpicam(output).map_err(|what| refuse(&what))),
            _ => return None,
        })
    }

    /// A camera of a Raspberry Pi that only libcamera can read. `rpicam-vid` codes luma in full range with this codec.
    fn rpicam(output: Pixels) -> std::result::Result<Self, String> {
        let Pixels::Yuv420 { width, height, fps } = output else { return Err("it is rpicam:WIDTHxHEIGHT@FPS".into()) };
        if !width.is_multiple_of(RPICAM_ALIGNMENT) || height % 2 != 0 {
            let near = (width / RPICAM_ALIGNMENT).max(1) * RPICAM_ALIGNMENT;
            return Err(format!(
                "the width has to be a multiple of {RPICAM_ALIGNMENT} and the height even, because rpicam-vid pads rows to that without saying so; \
                 take {near}x{}",
                height.next_multiple_of(2)
            ));
        }
        let arguments = format!("rpicam-vid -n -t 0 --width {width} --height {height} --framerate {fps} --codec yuv420 -o -");
        Ok(Self { command: arguments.split(' ').map(str::to_owned).collect(), output, range: LumaRange::Full })
    }

    /// The program's name, without its folder.
    fn name(&self) -> &str {
        self.command.first().map_or("", |program| program.rsplit('/').next().unwrap_or(program))
    }
}

/// `WIDTHxHEIGHT@FPS`
fn shape_of(text: &str) -> Option<Pixels> {
    let (size, fps) = text.split_once('@')?;
    let (width, height) = size.split_once('x')?;
    let side = |text: &str| text.parse().ok().filter(|side| (1..=SIDE_MAX).contains(side));
    let fps = fps.parse().ok().filter(|fps| (1..=1000).contains(fps))?;
    Some(Pixels::Yuv420 { width: side(width)?, height: side(height)?, fps })
}

/// Words at spaces; what is in single or double quotes is one. Nothing if there is no word, or a quote without its end.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(end), _) if c == end => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    (quote.is_none() && !words.is_empty()).then_some(words)
}

/// The program, running or not.
pub(super) struct ChildFeed {
    spec: ChildSpec,
    running: Option<Running>,
    backoff: Backoff,
    born: Instant,
    absence: Option<Arc<str>>,
    interrupted: bool,
    seen: bool,
    faults: Faults,
    range: LumaRange,
    /// Frames a second as they were asked for, or as the stream says it; 0 where unknown.
    rate: (u32, u32),
    silence: Duration,
    said_after: Duration,
    first_frame: Duration,
}

struct Running {
    child: Child,
    frames: Receiver<Message>,
    spares: Sender<Plane<u8>>,
    last_line: Arc<Mutex<String>>,
    /// Nothing is ever sent: it ends when the program's standard error does.
    all_said: Receiver<()>,
    started_at: Instant,
    frame_at: Option<Instant>,
}

enum Message {
    /// The luma, what its codes mean, and the stream's rate.
    Frame(Plane<u8>, LumaRange, (u32, u32)),
    /// Nothing more comes: why, if not because the program ended.
    End(Option<String>),
}

impl Running {
    fn start(spec: &ChildSpec) -> std::io::Result<Self> {
        let mut command = Command::new(spec.command.first().map_or("", String::as_str));
        command.args(&spec.command[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Its own group, so that what it starts itself can be ended with it.
        let mut child = command.process_group(0).spawn()?;
        let (frames_in, frames) = bounded(1);
        let (spares, spares_out) = bounded(2);
        let last_line = Arc::new(Mutex::new(String::new()));
        let (saying, all_said) = bounded(0);
        let (stdout, stderr, line) = (child.stdout.take(), child.stderr.take(), Arc::clone(&last_line));
        // From here on the program ends with this value.
        let running = Self { child, frames, spares, last_line, all_said, started_at: Instant::now(), frame_at: None };
        let (output, range) = (spec.output, spec.range);
        if let (Some(stdout), Some(stderr)) = (stdout, stderr) {
            Builder::new().name("child".into()).spawn(move || read_frames(stdout, output, range, &frames_in, &spares_out))?;
            Builder::new().name("child-says".into()).spawn(move || {
                keep_last_line(stderr, &line);
                drop::<Sender<()>>(saying);
            })?;
        }
        Ok(running)
    }

    /// Ends the program and everything that it started, and says how it ended.
    fn end(&mut self) -> Option<ExitStatus> {
        let ended = self.child.try_wait().ok().flatten();
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        ended.or_else(|| self.child.wait().ok())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Reads frames until the program or its reader ends.
fn read_frames(stdout: ChildStdout, output: Pixels, range: LumaRange, frames: &Sender<Message>, spares: &Receiver<Plane<u8>>) {
    let stream = BufReader::with_capacity(READ_BYTES, stdout);
    let ended = match output {
        Pixels::Y4m => read_y4m(stream, frames),
        Pixels::Yuv420 { width, height, fps } => {
            let send = |luma| frames.send(Message::Frame(luma, range, (fps, 1))).is_ok();
            read_yuv420(stream, (width, height), send, spares)
        }
    };
    // Whoever is not there to hear it killed the program.
    let _ = frames.send(Message::End(ended.err()));
}

fn read_y4m(stream: impl BufRead, frames: &Sender<Message>) -> std::result::Result<(), String> {
    let mut reader = y4m::Reader::new(stream).map_err(|error| error.to_string())?;
    let (range, rate) = (reader.header().luma_range(), reader.header().rate);
    while let Some(luma) = reader.next_luma().map_err(|error| error.to_string())? {
        if frames.send(Message::Frame(luma, range, rate)).is_err() {
            break;
        }
    }
    Ok(())
}

/// `send` says whether anybody wants more.
fn read_yuv420(
    mut stream: impl BufRead,
    (width, height): (usize, usize),
    send: impl Fn(Plane<u8>) -> bool,
    spares: &Receiver<Plane<u8>>,
) -> std::result::Result<(), String> {
    let chroma_bytes = (2 * width.div_ceil(2) * height.div_ceil(2)) as u64;
    for number in 1_u64.. {
        let mut luma = spares.try_recv().unwrap_or_default();
        resize(&mut luma, width, height);
        let mut filled = 0;
        while filled < luma.data.len() {
            match stream.read(&mut luma.data[filled..]) {
                Ok(0) if filled == 0 => return Ok(()),
                Ok(0) => return Err(format!("the stream ends in the middle of frame {number}")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        match std::io::copy(&mut (&mut stream).take(chroma_bytes), &mut std::io::sink()) {
            Ok(skipped) if skipped == chroma_bytes => {}
            Ok(_) => return Err(format!("the stream ends in the middle of frame {number}")),
            Err(error) => return Err(error.to_string()),
        }
        if !send(luma) {
            break;
        }
    }
    Ok(())
}

/// Reads what the program says until it ends, so that it never waits for us, and remembers the last line.
fn keep_last_line(stderr: ChildStderr, last: &Mutex<String>) {
    let mut stream = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text: String = String::from_utf8_lossy(&line).chars().filter(|c| !c.is_control()).collect();
        if !text.trim().is_empty() {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = text.trim().to_owned();
        }
    }
}

impl ChildFeed {
    /// Starts the program.
    ///
    /// # Errors
    /// [`Exit::NoInput`] if there is no such program. One that ends later is started again.
    pub(super) fn open(spec: ChildSpec) -> Result<Self> {
        let name = spec.name().to_owned();
        let running = Running::start(&spec);
        let running = running.map_err(|error| {
            let hint = if error.kind() == std::io::ErrorKind::NotFound { "; is it installed?" } else { "" };
            Failure::new(Exit::NoInput, format!("start {name}: {error}{hint}"))
        })?;
        let mut feed = Self {
            range: spec.range,
            spec,
            running: Some(running),
            backoff: Backoff::default(),
            born: Instant::now(),
            absence: None,
            interrupted: false,
            seen: false,
            faults: Faults::default(),
            rate: (0, 0),
            silence: SILENCE,
            said_after: SAID_AFTER,
            first_frame: FIRST_FRAME,
        };
        if let Pixels::Yuv420 { fps, .. } = feed.spec.output {
            feed.expect((fps, 1));
        }
        Ok(feed)
    }

    /// Frames come at this rate: a program that gives them rarely is not one that hangs.
    fn expect(&mut self, rate: (u32, u32)) {
        let (numerator, denominator) = rate;
        let period = if numerator == 0 { 0.0 } else { f64::from(denominator) / f64::from(numerator) };
        let period = Duration::from_secs_f64(period).min(PERIOD_MAX);
        self.rate = rate;
        self.silence = SILENCE.max(6 * period);
        self.said_after = SAID_AFTER.max(3 * period).min(SAID_SOON.max(period * 3 / 2)).min(SAID_AFTER_MAX);
    }

    /// What luma codes mean now.
    pub(super) fn range(&self) -> LumaRange {
        self.range
    }

    /// Frames a second, as they were asked for or as the stream says it; 0 where unknown.
    pub(super) fn rate(&self) -> (u32, u32) {
        self.rate
    }

    /// What went wrong so far.
    pub(super) fn faults(&self) -> Faults {
        self.faults
    }

    /// Puts the next frame into `luma`, or says within a quarter of a second that there is none, and why. It never gives up.
    pub(super) fn next(&mut self, luma: &mut Plane<u8>) -> Next {
        let Some(running) = &mut self.running else {
            self.revive();
            return self.nothing();
        };
        match running.frames.recv_timeout(WAIT) {
            Ok(Message::Frame(frame, range, rate)) => {
                let now = Instant::now();
                running.frame_at = Some(now);
                let before = std::mem::replace(luma, frame);
                let _ = running.spares.try_send(before);
                if now - running.started_at > STEADY {
                    self.backoff = Backoff::default();
                }
                self.range = range;
                if rate != self.rate {
                    self.expect(rate);
                }
                if self.absence.take().is_some() {
                    say(&format!("there is a picture again from {}", self.spec.name()));
                }
                let anew = std::mem::take(&mut self.interrupted);
                self.faults.reopened += u64::from(anew && self.seen);
                self.seen = true;
                Next::Frame { anew }
            }
            Ok(Message::End(why)) => {
                self.lose(why);
                self.nothing()
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.lose(None);
                self.nothing()
            }
            Err(RecvTimeoutError::Timeout) => {
                let quiet = running.frame_at.unwrap_or(running.started_at).elapsed();
                let patience = if running.frame_at.is_some() { self.silence } else { self.first_frame };
                if quiet >= patience {
                    self.lose(Some(format!("it gave no frame for {} s", quiet.as_secs())));
                } else if quiet >= self.said_after && self.absence.is_none() {
                    self.say_absent(format!("{} gives no frames", self.spec.name()));
                }
                self.nothing()
            }
        }
    }

    fn nothing(&self) -> Next {
        self.absence.as_ref().map_or(Next::NotYet, |why| Next::Absent(Arc::clone(why)))
    }

    /// Ends the program, to start it again in a while. `why` is what was wrong with it while it ran.
    fn lose(&mut self, why: Option<String>) {
        let Some(mut running) = self.running.take() else { return };
        let status = running.end();
        // Its last words may still be on their way. Something that it has started, in a group of its own, may keep the line open.
        let _ = running.all_said.recv_timeout(WAIT);
        let last_line = running.last_line.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let how = match (why, status) {
            (Some(why), _) => why,
            (None, Some(status)) => match status.code() {
                Some(code) => format!("exit code {code}"),
                None => status.to_string(),
            },
            (None, None) => "unknown how".into(),
        };
        let said = if last_line.is_empty() { String::new() } else { format!(": {last_line}") };
        self.interrupted = true;
        self.backoff.failed(self.born.elapsed());
        self.say_absent(format!("{} ended ({how}{said}), restarting", self.spec.name()));
    }

    fn revive(&mut self) {
        let remaining = self.backoff.remaining(self.born.elapsed());
        if !remaining.is_zero() {
            std::thread::sleep(remaining.min(WAIT));
            return;
        }
        match Running::start(&self.spec) {
            Ok(running) => self.running = Some(running),
            Err(error) => {
                self.backoff.failed(self.born.elapsed());
                self.say_absent(format!("{} does not start ({error}), trying again", self.spec.name()));
            }
        }
    }

    /// Says why there is no picture, once as long as the reason is the same.
    fn say_absent(&mut self, why: String) {
        if self.absence.as_deref() != Some(&why) {
            warn(&why);
            self.faults.errors += 1;
            self.absence = Some(why.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, output: Pixels) -> ChildFeed {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        ChildFeed::open(ChildSpec { command, output, range: LumaRange::Limited }).unwrap()
    }

    const SMALL: Pixels = Pixels::Yuv420 { width: 4, height: 2, fps: 25 };

    /// Asks until there is a frame; what is said before is returned.
    fn until_frame(feed: &mut ChildFeed, luma: &mut Plane<u8>) -> (bool, Vec<String>) {
        let mut said: Vec<String> = Vec::new();
        for _ in 0..200 {
            match feed.next(luma) {
                Next::Frame { anew } => return (anew, said),
                Next::Absent(why) if said.last().is_none_or(|last| **last != *why) => said.push(why.to_string()),
                _ => {}
            }
        }
        panic!("no frame: {said:?}");
    }

    #[test]
    fn a_program_that_dies_is_started_again() {
        let mut feed = shell("printf 'AAAAAAAAuuvvBBBBBBBBuuvv'; echo >&2; echo first >&2; echo the cable is loose >&2; exit 3", SMALL);
        let mut luma = Plane::default();
        assert_eq!(until_frame(&mut feed, &mut luma), (false, vec![]));
        assert_eq!(luma, Plane::filled(4, 2, b'A'));
        assert_eq!(until_frame(&mut feed, &mut luma), (false, vec![]));
        assert_eq!(luma, Plane::filled(4, 2, b'B'));
        let (anew, said) = until_frame(&mut feed, &mut luma);
        assert_eq!((anew, said), (true, vec!["sh ended (exit code 3: the cable is loose), restarting".to_owned()]));
        assert_eq!(luma, Plane::filled(4, 2, b'A'));
        assert_eq!((feed.faults().reopened, feed.faults().errors, feed.rate()), (1, 1, (25, 1)));
    }

    #[test]
    fn yuv4mpeg2_of_a_program_is_read_with_its_range() {
        let mut feed = shell("printf 'YUV4MPEG2 W2 H2 F1:5 Cmono XCOLORRANGE=FULL\\nFRAME\\nabcdFRAME\\nef'", Pixels::Y4m);
        let mut luma = Plane::default();
        assert_eq!(until_frame(&mut feed, &mut luma), (false, vec![]));
        assert_eq!((luma.data.as_slice(), feed.range(), feed.rate()), (b"abcd".as_slice(), LumaRange::Full, (1, 5)));
        // A frame every five seconds is no silence.
        assert_eq!((feed.silence, feed.said_after), (Duration::from_secs(30), Duration::from_millis(7500)));
        let (anew, said) = until_frame(&mut feed, &mut luma);
        assert!(anew && said == ["sh ended (the stream ends in the middle of frame 2), restarting"], "{said:?}");
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_all_that_it_started() {
        // What holds the pipe open is a grandchild: killing the shell alone would leave it there.
        let mut feed = shell("printf 'AAAAAAAAuuvv'; sleep 600 & wait", SMALL);
        feed.silence = Duration::from_millis(300);
        let mut luma = Plane::default();
        until_frame(&mut feed, &mut luma);
        let group = feed.running.as_ref().unwrap().child.id();
        let (anew, said) = until_frame(&mut feed, &mut luma);
        assert!(anew && said.last().unwrap().contains("gave no frame for"), "{said:?}");
        wait_for_end_of(group);
    }

    /// Whether a process of this group still runs. One that only waits to be reaped, by whoever is its parent now, does not.
    fn runs(group: u32) -> bool {
        let stats =
            std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        // `pid (name) state parent group ..`
        stats.filter_map(|stat| Some(stat.rsplit_once(") ")?.1.to_owned())).any(|stat| {
            let words: Vec<&str> = stat.split(' ').collect();
            words[0] != "Z" && words[2] == group.to_string()
        })
    }

    fn wait_for_end_of(group: u32) {
        for _ in 0..200 {
            if !runs(group) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the group {group} still runs");
    }

    #[test]
    fn a_program_is_ended_with_its_feed() {
        let feed = shell("sleep 600", SMALL);
        let group = feed.running.as_ref().unwrap().child.id();
        assert!(runs(group));
        drop(feed);
        wait_for_end_of(group);
    }

    #[test]
    fn programs_are_named_as_documented() {
        let parse = |uri: &str| ChildSpec::parse(uri).unwrap().map_err(|failure| failure.to_string());
        let spec = parse("y4m:ffmpeg -i 'a b.mp4' -vf \"\" -f yuv4mpegpipe -").unwrap();
        assert_eq!(spec.command, ["ffmpeg", "-i", "a b.mp4", "-vf", "", "-f", "yuv4mpegpipe", "-"]);
        let spec = parse("yuv420:6x4@30:/usr/bin/cat /dev/zero").unwrap();
        assert_eq!((spec.output, spec.name()), (Pixels::Yuv420 { width: 6, height: 4, fps: 30 }, "cat"));
        let spec = parse("rpicam:640x480@25").unwrap();
        assert_eq!(spec.command.join(" "), "rpicam-vid -n -t 0 --width 640 --height 480 --framerate 25 --codec yuv420 -o -");
        assert_eq!(spec.range, LumaRange::Full);
        let cases = [
            ("y4m:", "wants a command"),
            ("y4m:sh -c 'x", "wants a command"),
            ("yuv420:640x480:cat", "WIDTHxHEIGHT@FPS"),
            ("yuv420:640x480@0:cat", "WIDTHxHEIGHT@FPS"),
            ("yuv420:640x99999@5:cat", "up to 8192"),
            ("rpicam:", "rpicam:640x480@25"),
            ("rpicam:800x600@25", "take 768x600"),
        ];
        for (uri, part) in cases {
            let error = parse(uri).unwrap_err();
            assert!(error.contains(part), "{uri}: {error}");
        }
        assert!(ChildSpec::parse("film.y4m").is_none());
        let missing = ChildSpec { command: vec!["/no/such/program".into()], output: SMALL, range: LumaRange::Full };
        let failure = ChildFeed::open(missing).err().unwrap();
        assert_eq!(failure.exit, Exit::NoInput);
        assert!(failure.to_string().contains("is it installed?"), "{failure}");
    }
}
