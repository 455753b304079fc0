//! V4L2: grey pictures from a camera that may be unplugged at any time.
//!
//! `driver` says what is asked of a driver and of the machine; `kernel` asks the real ones. `spec` is what the person wants, `negotiate`
//! settles it with the driver, `fields` makes pictures of what comes, and here is what happens when nothing does: the camera is closed, looked
//! for by a name that survives the plug, opened with everything settled anew, and until then every call says why there is no picture.

pub(crate) mod driver;
mod fields;
pub(crate) mod kernel;
pub(crate) mod negotiate;
pub(crate) mod spec;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use autochrome_model::{LumaRange, Plane};

use self::driver::{About, Driver, Filled, Machine, Node, Rate, Ready};
use self::fields::{Deinterlacer, Unpacked};
use self::kernel::Linux;
use self::negotiate::{Settled, Unsettled, plainly, settle};
use self::spec::{CameraSpec, Deinterlace, Select, fourcc_name};
use super::backoff::Backoff;
use super::jpeg::decode_luma;
use super::luma::{Layout, Packing};
use super::{Faults, Next, SILENCE_MAX};
use crate::errors::{Exit, Failure};

/// How many buffers the driver gets to fill.
const BUFFERS: u32 = 4;
/// How long one call waits.
const WAIT: Duration = Duration::from_millis(200);
/// After how long without a good frame the camera counts as silent; a slow one gets three times its period.
const SILENCE: Duration = Duration::from_secs(1);
/// By when a source says so that is not slow by itself.
const SAID_SOON: Duration = Duration::from_secs(5);
/// How long the first frame may take; with some cameras it is two seconds.
const FIRST_FRAME: Duration = Duration::from_secs(4);
/// How long a stream has to live before the pauses between attempts are short again.
const STEADY: Duration = Duration::from_secs(1);
/// After a device came, how long udev gets to say who may use it.
const SETTLE: Duration = Duration::from_millis(50);
/// After so many damaged frames in a row a pause follows each, so that a driver that gives them without end costs nothing.
const DAMAGED_ROW: u32 = 8;
const DAMAGED_PAUSE: Duration = Duration::from_millis(5);

/// Why a camera cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// It cannot be opened or asked for its abilities.
    #[error("open camera {path}{}", words(source))]
    Open {
        /// The device.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// None was named, and there is none.
    #[error("there is no camera that can be used; `autochrome list-cameras` says more")]
    NotFound,
    /// It is a V4L2 device of another kind.
    #[error("{path} is no camera that this program reads: it offers no streaming video capture")]
    NoCapture {
        /// The device.
        path: PathBuf,
    },
    /// None of its formats is read here.
    #[error("{path} offers {offered}; this program reads GREY, Y10, Y12, Y16, YUYV, UYVY, NV12, YU12 and MJPG")]
    NoUsableFormat {
        /// The device.
        path: PathBuf,
        /// Its formats.
        offered: String,
    },
    /// It does not start, or no longer gives frames.
    #[error("camera {path} gives no frames{}", words(source))]
    Stream {
        /// The device.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl From<CameraError> for Failure {
    fn from(error: CameraError) -> Self {
        Self { exit: Exit::NoInput, cause: error.into() }
    }
}

/// What keeps a camera from giving pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// It is not there (ENOENT, ENXIO, ENODEV).
    Missing,
    /// It is there, but no camera of ours: it does not capture, or in no format that is read.
    Unusable,
    /// It gives nothing.
    Silent,
    /// What it gives is damaged.
    Damaged,
    /// It breaks down (EIO and everything unexpected).
    Faulty,
    /// It refuses what every camera can (EINVAL, ENOTTY).
    Refused,
    /// The USB bus is full (ENOSPC).
    Bandwidth,
    /// This user may not (EACCES, EPERM).
    Forbidden,
    /// Another program has it (EBUSY).
    Busy,
}

impl Trouble {
    /// What an error of the system means with a camera.
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(2 | 6 | 19) => Self::Missing,
            Some(1 | 13) => Self::Forbidden,
            Some(16) => Self::Busy,
            Some(22 | 25) => Self::Refused,
            Some(28) => Self::Bandwidth,
            Some(110) => Self::Silent,
            _ => Self::Faulty,
        }
    }

    /// Why there is no picture, for the person in front of it. `detail` is what the system said.
    fn absence(self, place: Option<&str>, detail: &str) -> String {
        let camera = place.map_or("the camera".to_owned(), |place| format!("the camera on {place}"));
        match (self, place) {
            (Self::Missing, Some(place)) => format!("no camera on {place}, waiting"),
            (Self::Missing, None) => "no camera, waiting".into(),
            (Self::Unusable, _) => format!("{detail}, waiting"),
            (Self::Silent, _) => format!("{camera} gives no frames, starting it anew"),
            (Self::Damaged, _) => format!("{camera} gives only damaged frames, starting it anew"),
            (Self::Faulty, _) => format!("{camera} broke down ({detail}), starting it anew"),
            (Self::Refused, _) => format!("{camera} refuses to work ({detail}), trying again"),
            (Self::Bandwidth, _) => {
                format!("the USB bus has no bandwidth left for {camera}; try another port, or unplug other cameras")
            }
            (Self::Forbidden, _) => format!("this user may not use {camera}; it may have to be in the group `video`"),
            (Self::Busy, _) => format!("another program is using {camera}, waiting"),
        }
    }
}

impl CameraError {
    /// What kind of trouble it is.
    pub(crate) fn trouble(&self) -> Trouble {
        match self {
            Self::Open { source, .. } | Self::Stream { source, .. } => Trouble::of(source),
            Self::NotFound => Trouble::Missing,
            Self::NoCapture { .. } | Self::NoUsableFormat { .. } => Trouble::Unusable,
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Open { source, .. } | Self::Stream { source, .. } => plainly(source),
            other => other.to_string(),
        }
    }
}

/// What an error number of a camera means to the person at the command line.
fn words(error: &io::Error) -> &'static str {
    if error.raw_os_error() == Some(19) {
        return ": it was unplugged";
    }
    match Trouble::of(error) {
        Trouble::Missing => ": there is no such device; is the camera plugged in",
        Trouble::Forbidden => ": this user may not use it; it may have to be in the group `video`",
        Trouble::Busy => ": another program is using it",
        Trouble::Refused => ": it is not a V4L2 camera, or refuses what every camera can",
        Trouble::Bandwidth => ": the USB bus has no bandwidth left for it; try another port, or unplug other cameras",
        Trouble::Silent | Trouble::Damaged | Trouble::Faulty | Trouble::Unusable => "",
    }
}

/// A camera, plugged in or not.
pub(super) struct Camera {
    machine: Box<dyn Machine>,
    spec: CameraSpec,
    /// Which one it is, once it was opened.
    identity: Option<Identity>,
    running: Option<Running>,
    backoff: Backoff,
    /// The machine's devices when the camera was last looked for.
    fingerprint: u64,
    /// Why there is no picture, as long as there is none.
    absence: Option<Absence>,
    /// Whether the stream was interrupted since the last good frame.
    interrupted: bool,
    /// Whether there ever was a picture.
    seen: bool,
    /// A buffer could not be given back after its frame was taken: said with the next call.
    broken: Option<io::Error>,
    faults: Faults,
    range: LumaRange,
    rate: Option<Rate>,
    /// Wishes that were not granted, and are known.
    notes: Vec<String>,
    deinterlacer: Deinterlacer,
}

struct Absence {
    trouble: Trouble,
    why: Arc<str>,
}

/// Why a device may be the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// Its name says so.
    Ours,
    /// Only if it says the same of itself as the one that was lost.
    IfTheSame,
    /// It is another one, and another one will do.
    Instead,
}

/// What a camera is known by when it comes back, perhaps as another `/dev/videoN`.
struct Identity {
    path: PathBuf,
    by_path: Option<PathBuf>,
    by_id: Option<PathBuf>,
    card: String,
    bus: String,
}

impl Identity {
    fn is(&self, about: &About) -> bool {
        (&self.bus, &self.card) == (&about.bus, &about.card)
    }
}

/// An open camera that streams.
struct Running {
    driver: Box<dyn Driver>,
    settled: Settled,
    started_at: Duration,
    /// When the last good frame came.
    good_at: Option<Duration>,
    /// Whether anything came since then.
    only_damaged: bool,
    damaged_row: u32,
}

impl Running {
    /// How long the camera may take for the next good frame before it counts as silent, and before it is started anew.
    fn patience(&self) -> (Duration, Duration) {
        let hz = self.settled.rate.map_or(0.0, Rate::hz);
        let period = if hz > 0.0 { Duration::from_secs_f64((1.0 / hz).min(60.0)) } else { Duration::ZERO };
        let silent = SILENCE.max(3 * period);
        // Up to two seconds may have gone by before, since the service manager heard of the last picture.
        let said = silent.min(SAID_SOON.max(period * 3 / 2)).min(SILENCE_MAX);
        (said, if self.good_at.is_some() { silent } else { silent.max(FIRST_FRAME) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A driver that refuses to stop is closed all the same.
        let _ = self.driver.stream_off();
    }
}

/// What one look at the driver brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grabbed {
    Frame,
    /// A field that is not wanted: the camera lives.
    PassedOver,
    Damaged,
    Nothing,
}

impl Camera {
    /// Opens a camera and starts it. With [`CameraSpec::wait`] that may also happen later.
    ///
    /// # Errors
    /// [`CameraError`], unless it may be waited for.
    pub(super) fn open(spec: CameraSpec) -> Result<Self, CameraError> {
        Self::plugged_into(Box::new(Linux::default()), spec)
    }

    fn plugged_into(machine: Box<dyn Machine>, spec: CameraSpec) -> Result<Self, CameraError> {
        let mut camera = Self {
            range: spec.range.unwrap_or_default(),
            machine,
            spec,
            identity: None,
            running: None,
            backoff: Backoff::default(),
            fingerprint: 0,
            absence: None,
            interrupted: false,
            seen: false,
            broken: None,
            faults: Faults::default(),
            rate: None,
            notes: Vec::new(),
            deinterlacer: Deinterlacer::default(),
        };
        match camera.start() {
            Ok(()) => camera.machine.say(&camera.introduction("camera")),
            Err(error) if camera.spec.wait => camera.lose(error.trouble(), &error.detail()),
            Err(error) => return Err(error),
        }
        Ok(camera)
    }

    /// What luma codes mean now.
    pub(super) fn range(&self) -> LumaRange {
        self.range
    }

    /// Frames a second, as the driver says; 0 where unknown.
    pub(super) fn rate(&self) -> (u32, u32) {
        self.rate.map_or((0, 0), |rate| (rate.frames, rate.seconds))
    }

    /// What went wrong so far.
    pub(super) fn faults(&self) -> Faults {
        self.faults
    }

    /// Puts the next frame into `luma`, or says within a quarter of a second that there is none, and why. It never gives up.
    pub(super) fn next(&mut self, luma: &mut Plane<u8>) -> Next {
        if let Some(error) = self.broken.take() {
            self.lose(Trouble::of(&error), &plainly(&error));
        }
        if self.running.is_none() {
            self.revive();
            return self.nothing();
        }
        match self.grab(luma) {
            Ok(Grabbed::Frame) => Next::Frame { anew: self.frame_came() },
            Ok(Grabbed::PassedOver) => {
                self.keep_alive();
                Next::NotYet
            }
            Ok(grabbed) => {
                self.mind_silence(grabbed == Grabbed::Damaged);
                self.nothing()
            }
            Err(error) => {
                self.lose(Trouble::of(&error), &plainly(&error));
                self.nothing()
            }
        }
    }

    fn nothing(&self) -> Next {
        self.absence.as_ref().map_or(Next::NotYet, |absence| Next::Absent(Arc::clone(&absence.why)))
    }

    /// Notes that a good frame came. Says whether it is the first after an interruption.
    fn frame_came(&mut self) -> bool {
        let anew = std::mem::take(&mut self.interrupted);
        self.faults.reopened += u64::from(anew && self.seen);
        self.seen = true;
        if self.running.as_ref().is_some_and(|running| running.good_at.is_none()) {
            self.learn_links();
        }
        self.keep_alive();
        if self.absence.take().is_some() {
            self.machine.say(&self.introduction("there is a picture again: camera"));
        }
        anew
    }

    /// Learns the camera's stable names, if udev was not done with them when it was opened.
    fn learn_links(&mut self) {
        let Some(identity) = self.identity.as_mut().filter(|identity| identity.by_path.is_none() && identity.by_id.is_none()) else {
            return;
        };
        if let Some(node) = self.machine.nodes().into_iter().find(|node| node.path == identity.path) {
            (identity.by_path, identity.by_id) = (node.by_path, node.by_id);
        }
    }

    fn keep_alive(&mut self) {
        let now = self.machine.now();
        if let Some(running) = &mut self.running {
            (running.good_at, running.only_damaged, running.damaged_row) = (Some(now), false, 0);
            if now.saturating_sub(running.started_at) > STEADY {
                self.backoff = Backoff::default();
            }
        }
    }

    /// Nothing good came: says so if that has lasted too long, and closes the camera if it has lasted even longer.
    fn mind_silence(&mut self, damaged: bool) {
        let now = self.machine.now();
        let Some(running) = &mut self.running else { return };
        running.only_damaged |= damaged;
        if damaged {
            running.damaged_row += 1;
            if running.damaged_row > DAMAGED_ROW {
                self.machine.sleep(DAMAGED_PAUSE);
            }
        }
        let quiet = now.saturating_sub(running.good_at.unwrap_or(running.started_at));
        let (silent, hopeless) = running.patience();
        let trouble = if running.only_damaged { Trouble::Damaged } else { Trouble::Silent };
        if quiet >= hopeless {
            self.lose(trouble, "");
        } else if quiet >= silent && self.absence.is_none() {
            self.say_absent(trouble, "");
        }
    }

    /// Closes the camera, to look for it again in a while.
    fn lose(&mut self, trouble: Trouble, detail: &str) {
        self.running = None;
        self.interrupted = true;
        self.backoff.failed(self.machine.now());
        self.fingerprint = self.machine.fingerprint();
        self.say_absent(trouble, detail);
    }

    /// Says why there is no picture, once as long as the reason is the same.
    fn say_absent(&mut self, trouble: Trouble, detail: &str) {
        if self.absence.as_ref().is_some_and(|absence| absence.trouble == trouble) {
            return;
        }
        let why = trouble.absence(self.place().as_deref(), detail);
        self.machine.say(&format!("warning: {why}"));
        self.faults.errors += 1;
        self.absence = Some(Absence { trouble, why: why.into() });
    }

    /// Where the camera is, or was.
    fn place(&self) -> Option<String> {
        match (&self.identity, &self.spec.device) {
            (Some(identity), _) if !identity.bus.is_empty() => Some(identity.bus.clone()),
            (Some(identity), _) => Some(identity.path.display().to_string()),
            (None, Select::Path(path)) => Some(path.display().to_string()),
            (None, Select::Auto) => None,
        }
    }

    fn introduction(&self, first: &str) -> String {
        let (card, place) = self.identity.as_ref().map_or(("", ""), |identity| (identity.card.as_str(), identity.bus.as_str()));
        let Some(Running { settled, .. }) = &self.running else { return format!("{first} {card} on {place}") };
        let range = match settled.range {
            LumaRange::Full => "full",
            LumaRange::Limited => "limited",
        };
        let rate = settled.rate.map_or(String::new(), |rate| format!(", {:.4} frames/s", rate.hz()).replace(".0000", ""));
        let (width, height) = settled.size;
        format!("{first} {card} on {place}: {} {width}x{height}{rate}, {range} range", fourcc_name(settled.fourcc))
    }

    /// Looks for the camera again once it is time.
    fn revive(&mut self) {
        let fingerprint = self.machine.fingerprint();
        if fingerprint != self.fingerprint {
            // Something was plugged in or out, or may now be used: no reason to wait.
            self.fingerprint = fingerprint;
            self.backoff = Backoff::default();
            self.machine.sleep(SETTLE);
        }
        let remaining = self.backoff.remaining(self.machine.now());
        if !remaining.is_zero() {
            self.machine.sleep(remaining.min(WAIT));
        } else if let Err(error) = self.start() {
            self.lose(error.trouble(), &error.detail());
        }
    }

    /// Opens the first of the candidates that can be used.
    fn start(&mut self) -> Result<(), CameraError> {
        let nodes = self.machine.nodes();
        let mut worst = CameraError::NotFound;
        for (path, claim) in self.candidates(&nodes) {
            let known = self.identity.as_ref();
            match self.connect(&path, known.filter(|_| claim == Claim::IfTheSame), &nodes) {
                Ok((running, identity)) => {
                    (self.range, self.rate) = (running.settled.range, running.settled.rate);
                    if running.settled.notes != self.notes {
                        self.notes.clone_from(&running.settled.notes);
                        let said = |note: &String| self.machine.say(&format!("warning: camera on {}: {note}", identity.bus));
                        self.notes.iter().for_each(said);
                    }
                    (self.running, self.identity) = (Some(running), Some(identity));
                    return Ok(());
                }
                Err(error) => {
                    // What is wrong with another camera is not why this one is missing.
                    let ours = match claim {
                        Claim::Ours => true,
                        Claim::IfTheSame => matches!(error, CameraError::Stream { .. }) || known.is_some_and(|known| known.path == path),
                        Claim::Instead => false,
                    };
                    if ours && (matches!(worst, CameraError::NotFound) || error.trouble() > worst.trouble()) {
                        worst = error;
                    }
                }
            }
        }
        // With any camera allowed, a device of another kind is no news.
        let none = self.spec.device == Select::Auto && worst.trouble() <= Trouble::Unusable;
        Err(if none && self.identity.is_none() { CameraError::NotFound } else { worst })
    }

    /// Where the camera may be, the likeliest first.
    fn candidates(&self, nodes: &[Node]) -> Vec<(PathBuf, Claim)> {
        let any = || {
            // What udev names is hardware; what it does not is often a codec or a loopback.
            let mut nodes: Vec<&Node> = nodes.iter().collect();
            nodes.sort_by_key(|node| node.by_id.is_none() && node.by_path.is_none());
            nodes.into_iter().map(|node| node.path.clone())
        };
        let Some(Identity { path, by_path, by_id, .. }) = &self.identity else {
            return match &self.spec.device {
                Select::Path(path) => vec![(path.clone(), Claim::Ours)],
                Select::Auto => any().map(|path| (path, Claim::Ours)).collect(),
            };
        };
        let mut candidates: Vec<(PathBuf, Claim)> = match &self.spec.device {
            // A link that somebody chose says what is meant, whatever camera is behind it.
            Select::Path(link) if !is_node(link) => vec![(link.clone(), Claim::Ours)],
            _ if by_path.is_some() || by_id.is_some() => by_path.iter().chain(by_id).map(|link| (link.clone(), Claim::Ours)).collect(),
            _ => {
                let others = nodes.iter().map(|node| &node.path).filter(|other| *other != path);
                std::iter::once(path).chain(others).map(|path| (path.clone(), Claim::IfTheSame)).collect()
            }
        };
        if self.spec.device == Select::Auto {
            candidates.extend(any().map(|path| (path, Claim::Instead)));
        }
        candidates
    }

    /// Opens a device, settles everything with it, and starts it.
    fn connect(&self, path: &Path, wanted: Option<&Identity>, nodes: &[Node]) -> Result<(Running, Identity), CameraError> {
        let cannot_open = |source| CameraError::Open { path: path.to_owned(), source };
        let cannot_stream = |source| CameraError::Stream { path: path.to_owned(), source };
        let mut driver = self.machine.open(path).map_err(cannot_open)?;
        let about = driver.about().map_err(cannot_open)?;
        if wanted.is_some_and(|wanted| !wanted.is(&about)) {
            return Err(cannot_open(io::Error::from_raw_os_error(2)));
        }
        let Some(planes) = about.planes else { return Err(CameraError::NoCapture { path: path.to_owned() }) };
        driver.use_planes(planes);
        let settled = settle(driver.as_ref(), &self.spec).map_err(|unsettled| match unsettled {
            Unsettled::Driver(source) => cannot_open(source),
            Unsettled::Unreadable(offered) => CameraError::NoUsableFormat { path: path.to_owned(), offered },
        })?;
        let buffers = driver.request_buffers(BUFFERS).map_err(cannot_stream)?;
        if buffers == 0 {
            return Err(cannot_stream(io::Error::other("the driver has no buffers")));
        }
        (0..buffers).try_for_each(|index| driver.queue(index)).map_err(cannot_stream)?;
        driver.stream_on().map_err(cannot_stream)?;
        let real = self.machine.resolve(path);
        let node = nodes.iter().find(|node| node.path == real);
        let identity = Identity {
            by_path: node.and_then(|node| node.by_path.clone()),
            by_id: node.and_then(|node| node.by_id.clone()),
            path: real,
            card: about.card,
            bus: about.bus,
        };
        let started_at = self.machine.now();
        Ok((Running { driver, settled, started_at, good_at: None, only_damaged: false, damaged_row: 0 }, identity))
    }

    /// Waits a moment for a buffer, and looks at it.
    fn grab(&mut self, luma: &mut Plane<u8>) -> io::Result<Grabbed> {
        let Some(Running { driver, settled, .. }) = &mut self.running else { return Ok(Grabbed::Nothing) };
        let ready = driver.wait(WAIT)?;
        if ready == Ready::Nothing {
            return Ok(Grabbed::Nothing);
        }
        let (faults, deinterlacer, deinterlace) = (&mut self.faults, &mut self.deinterlacer, self.spec.deinterlace);
        let mut grabbed = Grabbed::Nothing;
        let index = driver.dequeue(&mut |bytes, filled| grabbed = look(bytes, filled, settled, deinterlace, deinterlacer, faults, luma));
        match index {
            Ok(index) => {
                // The frame is good even if the buffer cannot go back.
                self.broken = driver.queue(index).err();
                Ok(grabbed)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && ready == Ready::Buffer => {
                self.machine.sleep(DAMAGED_PAUSE);
                Ok(Grabbed::Nothing)
            }
            // The device says that it is in trouble, but not which.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::Error::from_raw_os_error(5)),
            Err(error) => Err(error),
        }
    }
}

/// Whether a path is a device and no link of udev's.
fn is_node(path: &Path) -> bool {
    let is_number = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("video"));
    name.is_some_and(is_number) && path.parent().is_some_and(|folder| folder.ends_with("dev"))
}

/// Takes the luma out of a buffer, or counts why not.
fn look(
    bytes: &[u8],
    filled: Filled,
    settled: &Settled,
    deinterlace: Deinterlace,
    deinterlacer: &mut Deinterlacer,
    faults: &mut Faults,
    luma: &mut Plane<u8>,
) -> Grabbed {
    let damaged = |count: &mut u64| {
        *count += 1;
        Grabbed::Damaged
    };
    if filled.flagged {
        return damaged(&mut faults.flagged);
    }
    if bytes.is_empty() {
        return damaged(&mut faults.empty);
    }
    let fields = (settled.field, filled.field);
    let unpacked = match &settled.layout {
        Some(layout) => deinterlacer.unpack(bytes, layout, fields, deinterlace, luma),
        None => {
            // A decoder that panics has met bytes that nobody thought of: one frame less.
            let decoded = catch_unwind(AssertUnwindSafe(|| decode_luma(bytes)));
            let Ok(Ok(decoded)) = decoded else { return damaged(&mut faults.undecodable) };
            let (width, height) = (decoded.luma.width, decoded.luma.height);
            if (width, height) != settled.size {
                return damaged(&mut faults.undecodable);
            }
            let layout = Layout { width, height, stride: width, packing: Packing::Bytes { step: 1, offset: 0 } };
            deinterlacer.unpack(&decoded.luma.data, &layout, fields, deinterlace, luma)
        }
    };
    match unpacked {
        Unpacked::Picture => Grabbed::Frame,
        Unpacked::PassedOver => Grabbed::PassedOver,
        Unpacked::TooShort => damaged(&mut faults.short),
    }
}

/// What keeps a device from being used, as `list-cameras` says it.
pub(crate) fn why_not(error: &io::Error) -> String {
    format!("{}{}", plainly(error), words(error))
}
