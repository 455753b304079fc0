//! DRM: the first screen, its best mode, two dumb buffers, and page flips. No desktop, no acceleration.

use std::convert::Infallible;
use std::fs::{File, OpenOptions, read_dir};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use drm::buffer::{Buffer as _, DrmFourcc};
use drm::control::connector::{self, State};
use drm::control::dumbbuffer::{DumbBuffer, DumbMapping};
use drm::control::{Device as _, Event, Mode, ModeTypeFlags, PageFlipFlags, ResourceHandles, crtc, framebuffer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::letterbox::Place;
use super::{Fitting, Pictures, RETRY, Screen, pause};
use crate::coloring::Colored;
use crate::errors::{say, warn};
use crate::newest::Awaited;

/// How long one wait for a picture takes before the screen is looked at again.
const PATIENCE: Duration = Duration::from_millis(250);
/// A flip that takes longer than this never comes.
const FLIP_MAX: Duration = Duration::from_secs(1);
/// The longest wait for a flip in one go: a frame of a slow screen.
const FLIP_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 40_000_000 };
/// How often a screen in use is asked whether it is still there. The answer is what the driver knows already.
const GLANCE: Duration = Duration::from_secs(1);
/// Every so many glances the driver has to go and see, which some do only when told to, and for which some take long.
const PROBE_EVERY: u32 = 5;

/// Why there is no screen to show on.
#[derive(Debug, thiserror::Error)]
pub(super) enum CardError {
    /// There is no card at all, or not the one that was named.
    #[error("display: {0}", path.as_ref().map_or_else(
        || "there is no DRM device in /dev/dri".to_owned(),
        |path| format!("{}: there is no such card", path.display())))]
    NoCard {
        /// The one that was named.
        path: Option<PathBuf>,
    },
    /// It cannot be opened or asked.
    #[error("display {path}{}", words(source))]
    Open {
        /// The card.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It has another master.
    #[error("display {path}: another program (a desktop?) owns the screen; end it, or boot to a text console")]
    Owned {
        /// The card.
        path: PathBuf,
    },
    /// It has no such connector.
    #[error("display {connector}: there is no such connector; there are {offered}")]
    NoConnector {
        /// The one that was named.
        connector: String,
        /// Those there are.
        offered: String,
    },
    /// No screen is plugged in.
    #[error("no screen is plugged in at {connectors}")]
    NoScreen {
        /// Where one could be.
        connectors: String,
    },
}

impl CardError {
    /// Whether the kernel has no DRM driver for a screen.
    pub(super) fn is_no_driver(&self) -> bool {
        match self {
            Self::NoCard { .. } => true,
            Self::Open { source, .. } => matches!(source.raw_os_error(), Some(25 | 95)),
            Self::Owned { .. } | Self::NoConnector { .. } | Self::NoScreen { .. } => false,
        }
    }
}

/// What an error number of a card means to the person in front of it.
fn words(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(13) => ": this user may not use it; it may have to be in the group `video`",
        Some(22 | 25 | 95) => ": it drives no screen",
        _ => "",
    }
}

/// A card's device.
#[derive(Debug)]
struct Card {
    path: PathBuf,
    file: File,
}

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl drm::Device for Card {}
impl drm::control::Device for Card {}

impl Card {
    /// Opens a card and becomes its master.
    fn open(path: &Path) -> Result<Self, CardError> {
        let fail = |source| CardError::Open { path: path.to_owned(), source };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(fail)?;
        let card = Self { path: path.to_owned(), file };
        // Who opens a card first is its master, and may ask again to be it (Linux 5.8). Who is refused, with EACCES as a plain user and with
        // EBUSY as root, came second.
        match drm::Device::acquire_master_lock(&card).map_err(|error| error.raw_os_error()) {
            Err(Some(13 | 16)) => Err(CardError::Owned { path: path.to_owned() }),
            _ => Ok(card),
        }
    }
}

/// What a picture is shown with.
#[derive(Debug)]
struct Plan {
    card: Arc<Card>,
    connector: connector::Handle,
    /// The connector's name, for people.
    name: String,
    crtc: crtc::Handle,
    mode: Mode,
    /// Why it is not the mode that was asked for.
    remark: Option<String>,
}

/// The place in front of a screen, whether one is plugged in or not. Cards stay open while it is held, so that nobody else draws on them.
#[derive(Debug)]
pub(super) struct Seat {
    screen: Screen,
    /// `/dev/dri`
    folder: PathBuf,
    cards: Vec<Arc<Card>>,
    plan: Option<Plan>,
    /// What was on the screen before.
    former: Option<Former>,
    fitting: Fitting,
    /// What was said last of what went wrong: it is not said again every second.
    complaint: String,
}

#[derive(Debug)]
struct Former {
    card: PathBuf,
    connector: connector::Handle,
    crtc: crtc::Info,
}

/// How a screen's use ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It was unplugged, or another one is plugged in.
    Unplugged,
    /// There are no more pictures.
    Finished,
}

impl Seat {
    /// Takes the cards in `folder`, or the one that `screen` names. That no screen is plugged in is said, and is no error.
    ///
    /// # Errors
    /// [`CardError`], all but `NoScreen`.
    pub(super) fn take(screen: &Screen, folder: &Path) -> Result<Self, CardError> {
        let mut seat = Self {
            screen: screen.clone(),
            folder: folder.to_owned(),
            cards: Vec::new(),
            plan: None,
            former: None,
            fitting: Fitting::new(screen.scale),
            complaint: String::new(),
        };
        match seat.look() {
            Ok(plan) => seat.plan = Some(plan),
            Err(error @ CardError::NoScreen { .. }) => seat.complain(format!("{error}; waiting for one")),
            Err(error) => return Err(error),
        }
        Ok(seat)
    }

    /// Shows the newest picture until there are no more, wherever a screen is.
    pub(super) fn show(mut self, newest: &Pictures) {
        loop {
            if let Some(plan) = self.plan.take() {
                match self.show_on(&plan, newest) {
                    Ok(End::Finished) => return,
                    Ok(End::Unplugged) => self.complain(format!("the screen at {} was unplugged or changed; looking for one", plan.name)),
                    Err(error) => self.complain(format!("show on {}: {error}; trying again every second", plan.name)),
                }
            }
            // One that fails at once is not to be tried more often than one that is away.
            if !pause(newest, RETRY) {
                return;
            }
            self.plan = self.look().ok();
        }
    }

    fn complain(&mut self, line: String) {
        if self.complaint != line {
            warn(&line);
            self.complaint = line;
        }
    }

    /// Says where the picture is, once it is there.
    fn announce(&mut self, plan: &Plan) {
        self.complaint.clear();
        let Plan { card, name, mode, remark, .. } = plan;
        remark.iter().for_each(|remark| warn(remark));
        let (width, height) = mode.size();
        say(&format!("the picture is on {name} of {}, {width}x{height} at {} Hz", card.path.display(), mode.vrefresh()));
    }

    /// Looks for a screen on the cards that are open, and on those that can be opened.
    fn look(&mut self) -> Result<Plan, CardError> {
        let named = self.screen.card.clone();
        let paths = named.clone().map_or_else(|| cards(&self.folder), |path| if path.exists() { vec![path] } else { vec![] });
        self.cards.retain(|card| paths.contains(&card.path));
        let mut failed = paths.is_empty().then_some(CardError::NoCard { path: named });
        let mut connectors = Vec::new();
        for path in paths {
            let card = match self.cards.iter().find(|card| card.path == path) {
                Some(card) => Arc::clone(card),
                None => match Card::open(&path) {
                    Ok(card) => Arc::new(card),
                    Err(error) => {
                        failed = Some(worse(failed, error));
                        continue;
                    }
                },
            };
            self.cards.retain(|card| card.path != path);
            match plan(&card, &self.screen, &mut connectors) {
                Ok(Some(plan)) => {
                    self.cards = vec![card];
                    return Ok(plan);
                }
                Ok(None) => self.cards.push(card),
                Err(source) => failed = Some(worse(failed, CardError::Open { path, source })),
            }
        }
        let names = || connectors.join(", ");
        Err(match (&self.screen.connector, failed) {
            (_, Some(error)) if connectors.is_empty() || matches!(error, CardError::Owned { .. }) => error,
            (Some(wanted), _) if !connectors.is_empty() && !connectors.contains(wanted) => {
                CardError::NoConnector { connector: wanted.clone(), offered: names() }
            }
            _ => CardError::NoScreen { connectors: names() },
        })
    }

    fn show_on(&mut self, plan: &Plan, newest: &Pictures) -> io::Result<End> {
        let Plan { card, connector, crtc, mode, .. } = plan;
        if self.former.is_none() {
            self.former = Some(Former { card: card.path.clone(), connector: *connector, crtc: card.get_crtc(*crtc)? });
        }
        let size = mode.size();
        let mut buffers = [Buffer::new(card, size)?, Buffer::new(card, size)?];
        let [a, b] = &mut buffers;
        let mut sides = [Side::new(card, a)?, Side::new(card, b)?];
        card.set_crtc(*crtc, Some(sides[0].frame), (0, 0), &[*connector], Some(*mode))?;
        let watch = Watch::start(card, *connector, *mode)?;
        let mut flipping = Flipping { since: None, works: None };
        let mut seen: Option<Arc<Colored>> = None;
        let mut back = 1;
        let mut is_announced = false;
        loop {
            if watch.is_over() {
                return Ok(End::Unplugged);
            }
            if !flipping.is_over(card)? {
                continue;
            }
            if seen.is_some() && !is_announced {
                is_announced = true;
                self.announce(plan);
            }
            let colored = match newest.wait_for_newer(seen.as_ref(), PATIENCE) {
                Awaited::Newer(colored) => colored,
                Awaited::NotYet => continue,
                Awaited::Ended => break,
            };
            let screen = (usize::from(size.0), usize::from(size.1));
            if let Some((place, letterbox, pixels)) = self.fitting.fit(&colored, screen) {
                let side = &mut sides[back];
                side.clear_around(place);
                let (stride, map) = (side.stride, side.map.as_mut());
                letterbox.draw(pixels, |y, row| {
                    let at = y * stride + place.x * 4;
                    map[at..at + row.len()].copy_from_slice(row);
                });
                if flipping.flip(plan, side.frame)? {
                    back = 1 - back;
                }
            }
            seen = Some(colored);
        }
        // While the buffers are still there: to take away one that is shown makes the screen dark for a moment.
        flipping.is_over(card)?;
        self.restore(card);
        Ok(End::Finished)
    }

    /// Puts back what was there before.
    fn restore(&mut self, card: &Card) {
        if let Some(Former { card: path, connector, crtc }) = self.former.take()
            && path == card.path
            && crtc.mode().is_some()
        {
            let position = crtc.position();
            // Whoever drew it may be gone, and its frame with it.
            let _ = card.set_crtc(crtc.handle(), crtc.framebuffer(), position, &[connector], crtc.mode());
        }
    }
}

/// That a screen has another owner says more than that some other card is no display.
fn worse(one: Option<CardError>, other: CardError) -> CardError {
    match one {
        Some(one @ CardError::Owned { .. }) => one,
        _ => other,
    }
}

/// The cards in a folder, by number.
fn cards(folder: &Path) -> Vec<PathBuf> {
    let entries = read_dir(folder).into_iter().flatten().flatten();
    let mut numbers: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("card")?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers.into_iter().map(|number| folder.join(format!("card{number}"))).collect()
}

/// What to show with on this card, if a screen is plugged in. Adds the names of the card's connectors.
fn plan(card: &Arc<Card>, screen: &Screen, connectors: &mut Vec<String>) -> io::Result<Option<Plan>> {
    let resources = card.resource_handles()?;
    if resources.connectors().is_empty() {
        // As a card without any of this says: EOPNOTSUPP.
        return Err(io::Error::from_raw_os_error(95));
    }
    for &handle in resources.connectors() {
        let Ok(info) = card.get_connector(handle, true) else { continue };
        let name = info.to_string();
        let is_connected = info.state() == State::Connected;
        let wanted = screen.connector.as_ref().is_none_or(|wanted| *wanted == name);
        connectors.push(name.clone());
        let (true, true, Some((mode, remark))) = (wanted, is_connected, best_mode(&info, screen.mode)) else { continue };
        let Some(crtc) = free_crtc(card, &resources, &info) else { continue };
        return Ok(Some(Plan { card: Arc::clone(card), connector: handle, name, crtc, mode, remark }));
    }
    Ok(None)
}

/// The mode that was asked for, at its highest rate; else the one that the screen prefers or else its first, and why it is not the other.
fn best_mode(info: &connector::Info, wanted: Option<(u16, u16)>) -> Option<(Mode, Option<String>)> {
    let modes = info.modes();
    let preferred = modes.iter().find(|mode| mode.mode_type().contains(ModeTypeFlags::PREFERRED)).or(modes.first());
    let Some(wanted) = wanted else { return preferred.map(|&mode| (mode, None)) };
    let asked = modes.iter().filter(|mode| mode.size() == wanted).max_by_key(|mode| mode.vrefresh());
    if let Some(&asked) = asked {
        return Some((asked, None));
    }
    let mut sizes: Vec<_> = modes.iter().map(|mode| format!("{}x{}", mode.size().0, mode.size().1)).collect();
    sizes.dedup();
    let remark = format!("the screen at {info} has no mode {}x{}; it has {}", wanted.0, wanted.1, sizes.join(", "));
    preferred.map(|&mode| (mode, Some(remark)))
}

/// The CRTC that drives the connector now, or else the first that can and drives no other.
fn free_crtc(card: &Card, resources: &ResourceHandles, info: &connector::Info) -> Option<crtc::Handle> {
    let driven_by = |info: &connector::Info| card.get_encoder(info.current_encoder()?).ok()?.crtc();
    if let Some(crtc) = driven_by(info) {
        return Some(crtc);
    }
    let others = resources.connectors().iter().filter(|&&other| other != info.handle());
    let busy: Vec<_> = others.filter_map(|&other| driven_by(&card.get_connector(other, false).ok()?)).collect();
    let possible = info.encoders().iter().filter_map(|&encoder| card.get_encoder(encoder).ok());
    let possible: Vec<_> = possible.flat_map(|encoder| resources.filter_crtcs(encoder.possible_crtcs())).collect();
    possible.iter().find(|crtc| !busy.contains(crtc)).or(possible.first()).copied()
}

/// Memory that can be shown.
struct Buffer<'a> {
    card: &'a Card,
    memory: DumbBuffer,
    frame: Option<framebuffer::Handle>,
}

impl<'a> Buffer<'a> {
    fn new(card: &'a Card, (width, height): (u16, u16)) -> io::Result<Self> {
        let memory = card.create_dumb_buffer((width.into(), height.into()), DrmFourcc::Xrgb8888, 32)?;
        // From here on it is freed whatever happens.
        let mut buffer = Self { card, memory, frame: None };
        buffer.frame = Some(card.add_framebuffer(&memory, 24, 32)?);
        Ok(buffer)
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        // A card that is gone took its memory with it.
        let _ = self.frame.map(|frame| self.card.destroy_framebuffer(frame));
        let _ = self.card.destroy_dumb_buffer(self.memory);
    }
}

/// A buffer to draw into.
struct Side<'a> {
    frame: framebuffer::Handle,
    stride: usize,
    map: DumbMapping<'a>,
    /// Where the last picture was; around it is black, as all of it is at first.
    placed: Option<Place>,
}

impl<'a> Side<'a> {
    fn new(card: &Card, buffer: &'a mut Buffer) -> io::Result<Self> {
        let frame = buffer.frame.ok_or_else(|| io::Error::other("it has no frame"))?;
        let stride = buffer.memory.pitch() as usize;
        let mut map = card.map_dumb_buffer(&mut buffer.memory)?;
        map.as_mut().fill(0);
        Ok(Self { frame, stride, map, placed: None })
    }

    fn clear_around(&mut self, place: Place) {
        if self.placed.replace(place).is_some_and(|placed| placed != place) {
            self.map.as_mut().fill(0);
        }
    }
}

/// The way to bring the other buffer onto the screen.
struct Flipping {
    /// When the flip began that is not yet over.
    since: Option<Instant>,
    /// Whether this driver flips; not known before the first time.
    works: Option<bool>,
}

impl Flipping {
    /// Whether the last flip is over; waits for it, but not for long.
    fn is_over(&mut self, card: &Card) -> io::Result<bool> {
        let Some(since) = self.since else { return Ok(true) };
        let mut waiting = [PollFd::new(card, PollFlags::IN)];
        match poll(&mut waiting, Some(&FLIP_WAIT)) {
            Ok(0) if since.elapsed() > FLIP_MAX => return Err(io::Error::new(io::ErrorKind::TimedOut, "the screen takes no picture")),
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        if card.receive_events()?.any(|event| matches!(event, Event::PageFlip(_))) {
            self.since = None;
        }
        Ok(self.since.is_none())
    }

    /// Brings `frame` onto the screen. False if the screen was not ready, and the picture is lost.
    fn flip(&mut self, plan: &Plan, frame: framebuffer::Handle) -> io::Result<bool> {
        let Plan { card, connector, crtc, mode, .. } = plan;
        if self.works != Some(false) {
            match card.page_flip(*crtc, frame, PageFlipFlags::EVENT, None) {
                Ok(()) => {
                    (self.since, self.works) = (Some(Instant::now()), Some(true));
                    return Ok(true);
                }
                Err(error) if error.raw_os_error() == Some(16) => return Ok(false),
                Err(error) if self.works == Some(true) => return Err(error),
                Err(_) => self.works = Some(false),
            }
        }
        // A driver that cannot flip can set the mode that is set already, and may want to be told that there is something new.
        card.set_crtc(*crtc, Some(frame), (0, 0), &[*connector], Some(*mode))?;
        let _ = card.dirty_framebuffer(frame, &[]);
        Ok(true)
    }
}

/// A thread that looks whether the screen is still there: to ask can take a driver longer than a picture lasts.
struct Watch {
    over: Arc<AtomicBool>,
    /// Its going away ends the thread.
    stop: Option<Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn start(card: &Arc<Card>, connector: connector::Handle, mode: Mode) -> io::Result<Self> {
        let (stop_in, stop) = bounded(0);
        let over = Arc::new(AtomicBool::new(false));
        let (card, is_over) = (Arc::clone(card), Arc::clone(&over));
        let work = move || {
            let mut glances = 0_u32;
            while stop.recv_timeout(GLANCE) == Err(RecvTimeoutError::Timeout) {
                glances = glances.wrapping_add(1);
                let asks = glances.is_multiple_of(PROBE_EVERY);
                let is_there = |probe| {
                    let info = card.get_connector(connector, probe);
                    info.is_ok_and(|info| info.state() == State::Connected && info.modes().contains(&mode))
                };
                // Before the picture is taken away the driver has to be sure.
                if !is_there(asks) && !is_there(true) {
                    is_over.store(true, Ordering::Relaxed);
                    return;
                }
            }
        };
        let thread = Builder::new().name("screen".into()).spawn(work)?;
        Ok(Self { over, stop: Some(stop_in), thread: Some(thread) })
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_taken_by_number() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["card10", "card2", "renderD128", "card", "controlD64", "cardx"] {
            std::fs::write(folder.path().join(name), []).unwrap();
        }
        assert_eq!(cards(folder.path()), [folder.path().join("card2"), folder.path().join("card10")]);
        assert!(cards(Path::new("/none")).is_empty());
    }

    #[test]
    fn what_is_no_card_is_said_in_words() {
        let taken = |screen: &Screen, folder: &Path| Seat::take(screen, folder).map(|_| ()).unwrap_err().to_string();
        let folder = tempfile::tempdir().unwrap();
        assert!(taken(&Screen::default(), folder.path()).contains("there is no DRM device"));
        let null = Screen { card: Some("/dev/null".into()), ..Screen::default() };
        assert_eq!(taken(&null, folder.path()), "display /dev/null: it drives no screen");
    }

    #[test]
    fn only_a_missing_driver_is_a_reason_for_the_framebuffer() {
        let open = |number| CardError::Open { path: "/dev/dri/card0".into(), source: io::Error::from_raw_os_error(number) };
        let cases = [
            (CardError::NoCard { path: None }, true),
            (open(95), true),
            (open(13), false),
            (CardError::Owned { path: "/dev/dri/card0".into() }, false),
            (CardError::NoScreen { connectors: "HDMI-A-1".into() }, false),
        ];
        for (error, expected) in cases {
            assert_eq!(error.is_no_driver(), expected, "{error}");
        }
    }

    #[test]
    fn another_owner_outweighs_other_failures() {
        let owned = || CardError::Owned { path: "/dev/dri/card1".into() };
        let open = || CardError::Open { path: "/dev/dri/card0".into(), source: io::Error::from_raw_os_error(95) };
        assert!(matches!(worse(Some(owned()), open()), CardError::Owned { .. }));
        assert!(matches!(worse(Some(open()), owned()), CardError::Owned { .. }));
        let text = owned().to_string();
        assert!(text.contains("another program (a desktop?) owns the screen"), "{text}");
    }
}
