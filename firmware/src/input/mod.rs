//! Where frames come from: a camera, files, a pipe, or nothing but numbers.

mod backoff;
pub(crate) mod camera;
mod child;
pub mod images;
pub mod jpeg;
mod luma;
mod mjpeg;
pub mod photos;
mod test_pattern;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use autochrome_model::{LumaRange, Plane};
use serde::Serialize;

use crate::errors::{Exit, Failure, OrFail, Result};
use crate::kiosk;
use crate::pipeline::Outlet;
use crate::recording::{About, Recording, Replayed};
use crate::y4m::{self, Header};

pub use camera::CameraError;
pub use camera::spec::{CameraSpec, Deinterlace, Select};
pub use child::{ChildSpec, Pixels};
pub use photos::Photos;

/// The largest width and height of a picture that is read.
pub const SIDE_MAX: usize = 8192;
/// The longest that a gap in a recording is waited for.
const REPLAY_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How many bytes are read from a pipe or a file at once.
const READ_BYTES: usize = 1 << 17;

/// For how long at most a camera or a program says nothing, and between two pictures of a film that somebody watches, however slow it is: a service manager that hears nothing for eight seconds (`WatchdogSec`) ends the program.
pub const SILENCE_MAX: Duration = Duration::from_millis(7500);

/// One grey picture on its way through the device.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Counted from 0 at the source; a gap is a frame that was dropped.
    pub sequence: u64,
    /// When the source had it.
    pub captured_at: Instant,
    /// The luma, as it came.
    pub luma: Plane<u8>,
    /// Where it came from.
    pub origin: Origin,
    /// Of a recording, the settings that were changed before this frame, as they were written.
    pub set: Vec<String>,
}

impl Default for Frame {
    fn default() -> Self {
        Self { sequence: 0, captured_at: Instant::now(), luma: Plane::default(), origin: Origin::default(), set: Vec::new() }
    }
}

impl Frame {
    /// Takes the place of an `older` frame that nobody will see: that the source began anew, or settings that came with it, still count.
    /// Returns its plane.
    pub(crate) fn take_over(&mut self, mut older: Self) -> Plane<u8> {
        self.origin.anew |= older.origin.anew;
        if !older.set.is_empty() {
            older.set.append(&mut self.set);
            self.set = older.set;
        }
        older.luma
    }
}

/// What a source says of a frame beside its pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Origin {
    /// What the luma codes mean.
    pub range: LumaRange,
    /// Whether the source began anew with this frame: what was before has nothing to do with it.
    pub anew: bool,
    /// What went wrong at the source so far.
    pub faults: Faults,
    /// How long the source had been running; what depends on time goes by this clock, so that a recording can be played at any pace.
    pub at: Duration,
    /// Frames a second as numerator and denominator, as the source says it; 0 where it does not.
    pub rate: (u32, u32),
}

/// What a source could not use, counted since the run began. None of it was shown, and none of it reached the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Buffers without a byte in them.
    pub empty: u64,
    /// Buffers with less than a picture in them.
    pub short: u64,
    /// Buffers that the driver itself marked as damaged.
    pub flagged: u64,
    /// JPEGs that are cut off or damaged.
    pub undecodable: u64,
    /// Errors of the device, the stream or the pipe.
    pub errors: u64,
    /// How often the source was lost, and came back.
    pub reopened: u64,
}

/// What `--input` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `v4l2:/dev/videoN`, `v4l2:auto`
    Camera(CameraSpec),
    /// `y4m:COMMAND`, `yuv420:SHAPE:COMMAND`, `rpicam:SHAPE`: what a program writes.
    Child(ChildSpec),
    /// A folder of pictures, in name order.
    Folder(PathBuf),
    /// `file.mjpeg`: JPEGs one after the other.
    Mjpeg(PathBuf),
    /// `file.y4m`
    Y4m(PathBuf),
    /// `-`: YUV4MPEG2 on standard input.
    Stdin,
    /// `test-pattern`
    TestPattern,
    /// The demo's photographs.
    Photos,
    /// A folder that [`crate::recording`] wrote.
    Recording(PathBuf),
}

/// An opened source.
pub struct Feed {
    kind: Kind,
    range: LumaRange,
    /// Whether somebody said what the range is, whatever the source says.
    range_is_set: bool,
    rate: (u32, u32),
    header: Option<Header>,
}

enum Kind {
    Camera(Box<camera::Camera>),
    Child(Box<child::ChildFeed>),
    Folder(VecDeque<PathBuf>),
    Mjpeg(mjpeg::MjpegFile),
    Y4m { name: String, reader: y4m::Reader<Box<dyn BufRead + Send>> },
    TestPattern(u64),
    Photos(Photos, u64),
    Recording(Box<Recording>),
}

/// What a feed answers when asked for a frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// A frame, in the plane that was given.
    Frame {
        /// See [`Origin::anew`].
        anew: bool,
    },
    /// A frame of a recording, in the plane that was given.
    Replayed {
        /// What the source said then.
        origin: Origin,
        /// See [`Frame::set`].
        set: Vec<String>,
    },
    /// None yet: ask again.
    NotYet,
    /// None for now, because the source itself is gone: why, in words for the person in front of the picture. Ask again.
    Absent(Arc<str>),
    /// None any more.
    End,
}

impl Source {
    /// Reads what `--input` says.
    ///
    /// # Errors
    /// [`Exit::Usage`] for a file of a kind that is not read.
    pub fn parse(uri: &str) -> Result<Self> {
        if let Some(device) = uri.strip_prefix("v4l2:") {
            return CameraSpec::parse(device).map(Self::Camera).map_err(|what| Failure::usage(format!("input {uri}: {what}")));
        }
        if let Some(child) = ChildSpec::parse(uri) {
            return child.map(Self::Child);
        }
        let path = PathBuf::from(uri);
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        Ok(match (uri, extension.as_deref()) {
            ("-", _) => Self::Stdin,
            ("test-pattern", _) => Self::TestPattern,
            _ if Recording::is_one(&path) => Self::Recording(path),
            _ if path.is_dir() => Self::Folder(path),
            (_, Some("mjpeg" | "mjpg")) => Self::Mjpeg(path),
            (_, Some("y4m")) => Self::Y4m(path),
            _ if path.exists() => {
                let kinds = "v4l2:/dev/videoN, v4l2:auto, rpicam:WIDTHxHEIGHT@FPS, y4m:COMMAND, a folder of pictures, FILE.mjpeg, FILE.y4m, - and test-pattern";
                return Err(Failure::usage(format!("input {uri}: not a kind of input that is read; there are {kinds}")));
            }
            _ => Self::Folder(path),
        })
    }

    /// Whether frames come at the world's pace and are lost if nobody takes them.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Camera(_) | Self::Child(_) | Self::TestPattern | Self::Photos)
    }

    /// The file or folder that is read, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Folder(path) | Self::Mjpeg(path) | Self::Y4m(path) | Self::Recording(path) => Some(path),
            _ => None,
        }
    }
}

impl Feed {
    /// Opens a source.
    ///
    /// # Errors
    /// [`Exit::NoInput`] if it is not there, [`Exit::BadData`] if it begins wrong.
    pub fn open(source: &Source) -> Result<Self> {
        let full = |kind| Self { kind, range: LumaRange::Full, range_is_set: false, rate: (0, 0), header: None };
        Ok(match source {
            Source::Camera(spec) => {
                let camera = camera::Camera::open(spec.clone())?;
                Self { range: camera.range(), rate: camera.rate(), ..full(Kind::Camera(Box::new(camera))) }
            }
            Source::Child(spec) => {
                let child = child::ChildFeed::open(spec.clone())?;
                Self { range: child.range(), rate: child.rate(), ..full(Kind::Child(Box::new(child))) }
            }
            Source::Folder(path) => full(Kind::Folder(images::list(path)?.into())),
            Source::Mjpeg(path) => full(Kind::Mjpeg(mjpeg::MjpegFile::open(path)?)),
            Source::Y4m(path) => Self::y4m(&path.display().to_string(), Box::new(open_buffered(path)?))?,
            Source::Stdin => Self::y4m("standard input", Box::new(BufReader::with_capacity(READ_BYTES, io::stdin())))?,
            Source::TestPattern => full(Kind::TestPattern(0)),
            Source::Photos => full(Kind::Photos(Photos::new()?, 0)),
            Source::Recording(path) => {
                let recording = Recording::open(path)?;
                let About { rate, header, .. } = recording.about();
                let (rate, header) = (*rate, header.as_deref().and_then(|line| Header::parse(line).ok()));
                Self { rate, header, ..full(Kind::Recording(Box::new(recording))) }
            }
        })
    }

    fn y4m(name: &str, stream: Box<dyn BufRead + Send>) -> Result<Self> {
        let reader = y4m::Reader::new(stream).map_err(|error| Failure::from(error).context(name))?;
        let header = reader.header().clone();
        let (range, rate) = (header.luma_range(), header.rate);
        Ok(Self { kind: Kind::Y4m { name: name.to_owned(), reader }, range, range_is_set: false, rate, header: Some(header) })
    }

    /// How luma is coded.
    pub fn range(&self) -> LumaRange {
        self.range
    }

    /// Says how luma is coded, against what the source says itself.
    pub fn set_range(&mut self, range: LumaRange) {
        (self.range, self.range_is_set) = (range, true);
    }

    /// Frames a second as the source says it, as a numerator and a denominator; 0 where it does not, or has not yet.
    pub fn rate(&self) -> (u32, u32) {
        self.rate
    }

    /// Frames a second of a source that does not say it.
    pub fn assume_rate(&mut self, fps: u32) {
        if !is_said(self.rate) {
            self.rate = (fps, 1);
        }
    }

    /// What a recording says of itself.
    pub fn recording(&self) -> Option<&About> {
        if let Kind::Recording(recording) = &self.kind { Some(recording.about()) } else { None }
    }

    /// The header of a YUV4MPEG2 stream.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// What went wrong so far.
    pub fn faults(&self) -> Faults {
        match &self.kind {
            Kind::Camera(camera) => camera.faults(),
            Kind::Child(child) => child.faults(),
            _ => Faults::default(),
        }
    }

    /// Puts the next frame into `luma`, whose memory is used again. A camera answers within a fraction of a second, with
    /// [`Next::NotYet`] or [`Next::Absent`] if need be.
    ///
    /// # Errors
    /// [`Exit::BadData`] or [`Exit::Broken`], naming the frame or the file.
    pub fn next_frame(&mut self, luma: &mut Plane<u8>) -> Result<Next> {
        let frame = match &mut self.kind {
            Kind::Camera(camera) => {
                let next = camera.next(luma);
                // It may have come back as another camera.
                self.range = if self.range_is_set { self.range } else { camera.range() };
                self.rate = if is_said(camera.rate()) { camera.rate() } else { self.rate };
                return Ok(next);
            }
            Kind::Child(child) => {
                let next = child.next(luma);
                self.range = if self.range_is_set { self.range } else { child.range() };
                self.rate = if is_said(child.rate()) { child.rate() } else { self.rate };
                return Ok(next);
            }
            Kind::Recording(recording) => {
                let Some(Replayed { luma: frame, mut origin, set }) = recording.next_frame()? else { return Ok(Next::End) };
                // What was colored once is colored again as then; where nothing was, whoever says what the range is knows better.
                if self.range_is_set && recording.about().decided.is_none() {
                    origin.range = self.range;
                }
                *luma = frame;
                return Ok(Next::Replayed { origin, set });
            }
            Kind::Folder(paths) => paths.pop_front().map(|path| images::read_luma(&path)).transpose()?,
            Kind::Mjpeg(file) => file.next_luma()?,
            Kind::Y4m { name, reader } => reader.next_luma().map_err(|error| Failure::from(error).context(name))?,
            Kind::TestPattern(number) => {
                *number += 1;
                Some(test_pattern::draw(*number - 1))
            }
            Kind::Photos(photos, number) => {
                *number += 1;
                Some(photos.draw(*number - 1))
            }
        };
        let Some(frame) = frame else { return Ok(Next::End) };
        *luma = frame;
        Ok(Next::Frame { anew: false })
    }
}

/// The first stage of the pipeline: offers one frame after another until the feed ends or nobody wants more.
///
/// With a `period`, frames are offered no faster than that.
///
/// # Errors
/// Those of the feed; [`Exit::BadData`] if it ends without a single frame.
pub fn capture(mut feed: Feed, period: Option<Duration>, mut outlet: Outlet) -> Result<()> {
    let begun = Instant::now();
    let rate = feed.rate();
    let mut replay = ReplayClock::new(begun);
    let mut due = begun;
    let mut luma = outlet.blank();
    loop {
        kiosk::inject("camera", outlet.sent());
        match feed.next_frame(&mut luma)? {
            Next::Frame { anew } => {
                if let Some(period) = period {
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    // A frame that was late does not make the next ones hurry.
                    due = due.max(Instant::now() - period) + period;
                }
                // In whole microseconds, as a recording keeps it. What is read as fast as it can be read has its own clock.
                let at = if outlet.is_live() { begun.elapsed() } else { time_of(outlet.sent(), rate) };
                let at = Duration::from_micros(at.as_micros() as u64);
                let origin = Origin { range: feed.range(), anew, faults: feed.faults(), at, rate: feed.rate() };
                if outlet.send(luma, origin, Vec::new()).is_break() {
                    return Ok(());
                }
                luma = outlet.blank();
            }
            Next::Replayed { origin, set } => {
                if period.is_some() {
                    std::thread::sleep(replay.pause(origin.at, Instant::now()));
                }
                if outlet.send(luma, origin, set).is_break() {
                    return Ok(());
                }
                luma = outlet.blank();
            }
            Next::Absent(_) | Next::NotYet if outlet.is_closed() => return Ok(()),
            Next::Absent(why) => outlet.absent(why, feed.faults()),
            Next::NotYet => {}
            Next::End if outlet.sent() == 0 => return Err(Failure::new(Exit::BadData, "the input holds no frames")),
            Next::End => return Ok(()),
        }
    }
}

/// The clock by which a recording is watched: its own, but for gaps of more than [`REPLAY_PAUSE_MAX`], which are cut short once and for all.
struct ReplayClock {
    begun: Instant,
    first_at: Option<Duration>,
    left_out: Duration,
}

impl ReplayClock {
    fn new(begun: Instant) -> Self {
        Self { begun, first_at: None, left_out: Duration::ZERO }
    }

    /// How long to wait before a frame that the source had `at` that time.
    fn pause(&mut self, at: Duration, now: Instant) -> Duration {
        let since_first = at.saturating_sub(*self.first_at.get_or_insert(at));
        let pause = (self.begun + since_first.saturating_sub(self.left_out)).saturating_duration_since(now);
        let waited = pause.min(REPLAY_PAUSE_MAX);
        self.left_out += pause - waited;
        waited
    }
}

/// A rate that a source says, or else the one that is assumed of all, 25 frames/s.
pub(crate) fn known_rate(rate: (u32, u32)) -> (u32, u32) {
    if is_said(rate) { rate } else { (photos::RATE as u32, 1) }
}

/// Whether a source says its rate.
pub(crate) fn is_said((numerator, denominator): (u32, u32)) -> bool {
    numerator > 0 && denominator > 0
}

/// When a frame of a feed of this rate is due, 25 frames/s where it is unknown.
pub(crate) fn time_of(number: u64, rate: (u32, u32)) -> Duration {
    let (numerator, denominator) = known_rate(rate);
    Duration::from_secs_f64(number as f64 * f64::from(denominator) / f64::from(numerator))
}

/// Opens a file for reading.
///
/// # Errors
/// [`Exit::NoInput`].
fn open_buffered(path: &Path) -> Result<BufReader<File>> {
    let file = File::open(path).or_fail(Exit::NoInput, || format!("open {}", path.display()))?;
    Ok(BufReader::with_capacity(READ_BYTES, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_in_a_recording_is_waited_for_once() {
        let begun = Instant::now();
        let mut clock = ReplayClock::new(begun);
        let hour = Duration::from_secs(3600);
        let frame = Duration::from_millis(40);
        // Two frames, an hour without a camera, two more; the recording's clock does not begin at zero.
        let mut now = begun;
        let mut pauses = Vec::new();
        for at in [frame, 2 * frame, hour, hour + frame] {
            pauses.push(clock.pause(at, now));
            now += pauses[pauses.len() - 1];
        }
        assert_eq!(pauses, [Duration::ZERO, frame, REPLAY_PAUSE_MAX, frame]);
        // Who is late is not made to wait.
        assert_eq!(clock.pause(hour + 2 * frame, now + hour), Duration::ZERO);
    }

    #[test]
    fn inputs_are_named_as_documented() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.txt");
        std::fs::write(&file, "").unwrap();
        let there = folder.path().to_str().unwrap();
        let cases = [
            ("v4l2:/dev/video7", Source::Camera(CameraSpec { device: Select::Path("/dev/video7".into()), ..CameraSpec::default() })),
            ("v4l2:auto", Source::Camera(CameraSpec::default())),
            (
                "y4m:cat a.y4m",
                Source::Child(ChildSpec { command: vec!["cat".into(), "a.y4m".into()], output: Pixels::Y4m, range: LumaRange::Limited }),
            ),
            ("-", Source::Stdin),
            ("test-pattern", Source::TestPattern),
            ("a.mjpeg", Source::Mjpeg("a.mjpeg".into())),
            ("b/a.MJPG", Source::Mjpeg("b/a.MJPG".into())),
            ("a.y4m", Source::Y4m("a.y4m".into())),
            (there, Source::Folder(there.into())),
            ("no/such/thing", Source::Folder("no/such/thing".into())),
        ];
        for (uri, expected) in cases {
            assert_eq!(Source::parse(uri).unwrap(), expected, "{uri}");
        }
        assert_eq!(Source::parse(file.to_str().unwrap()).unwrap_err().exit, Exit::Usage);
    }
}
