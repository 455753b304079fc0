//! Screens, without a desktop: the picture fills one, as large as it fits, with black bars beside it.
//!
//! A thread of its own scales and waits for the screen, so that the one that gives it pictures never does: it takes the newest, and those
//! that came while it was busy are not shown.

mod card;
mod framebuffer;
pub(super) mod letterbox;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::coloring::Colored;
use crate::errors::{Exit, Failure, OrFail, Result, say};
use crate::kiosk::{self, Pulse, Pulses};
use crate::newest::{Awaited, Newest};

pub use letterbox::Scale;
use letterbox::{Letterbox, Place};

/// The framebuffer that is used where there is no DRM device.
const FRAMEBUFFER: &str = "/dev/fb0";
/// How often a screen that is not there is looked for.
const RETRY: Duration = Duration::from_secs(1);
/// A longest side that no screen has.
const SIDE_MAX: usize = 16_384;

/// Which screen, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// The card, as in `/dev/dri/card1`; else the first with a screen.
    pub card: Option<PathBuf>,
    /// The connector, as in `HDMI-A-1`; else the first with a screen.
    pub connector: Option<String>,
    /// Width and height; else what the screen prefers.
    pub mode: Option<(u16, u16)>,
    /// How the picture is brought to the screen's size.
    pub scale: Scale,
}

impl Screen {
    /// Reads what follows `display:`.
    ///
    /// # Errors
    /// [`Exit::Usage`].
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: String| Failure::usage(format!("output display:{text}: {why}"));
        let (place, options) = text.split_once('?').unwrap_or((text, ""));
        let mut screen = Self::default();
        if place.starts_with('/') {
            screen.card = Some(place.into());
        } else if !place.is_empty() {
            screen.connector = Some(place.to_owned());
        }
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("mode", mode)) => {
                    let size = mode.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
                    screen.mode = Some(size.ok_or_else(|| wrong(format!("mode={mode} is no size as in mode=1920x1080")))?);
                }
                Some(("scale", "integer")) => screen.scale = Scale::Integer,
                Some(("scale", "smooth")) => screen.scale = Scale::Smooth,
                _ => return Err(wrong(format!("{option:?} is not known; there are mode=WIDTHxHEIGHT and scale=integer or smooth"))),
            }
        }
        Ok(screen)
    }
}

/// A screen with a thread that shows the newest picture on it.
pub struct Display {
    newest: Arc<Newest<Colored>>,
    thread: Option<JoinHandle<()>>,
}

/// The pictures as the screen's thread sees them. Each look at them is its sign of life.
struct Pictures {
    newest: Arc<Newest<Colored>>,
    pulse: Pulse,
    began: Instant,
}

impl Pictures {
    fn get(&self) -> Option<Arc<Colored>> {
        self.beat();
        self.newest.get()
    }

    fn wait_for_newer(&self, last: Option<&Arc<Colored>>, patience: Duration) -> Awaited<Colored> {
        self.beat();
        self.newest.wait_for_newer(last, patience)
    }

    fn beat(&self) {
        self.pulse.beat();
        kiosk::inject("display", self.began.elapsed().as_secs());
    }
}

impl Display {
    /// Takes a screen. Where none is plugged in, it is waited for; where there is no DRM device at all, the framebuffer is used.
    ///
    /// # Errors
    /// [`Exit::CannotCreate`] if there is no such card or connector, or if another program owns the screen.
    pub fn open(screen: &Screen, pulses: &Pulses) -> Result<Self> {
        match card::Seat::take(screen, Path::new("/dev/dri")) {
            Ok(seat) => Self::start(pulses, move |pictures| seat.show(pictures)),
            Err(error) if error.is_no_driver() && screen.card.is_none() && Path::new(FRAMEBUFFER).exists() => {
                say(&format!("{error}; the picture goes to the framebuffer {FRAMEBUFFER}"));
                Self::framebuffer(Path::new(FRAMEBUFFER), screen.scale, pulses)
            }
            Err(error) => Err(Failure { exit: Exit::CannotCreate, cause: error.into() }),
        }
    }

    /// Takes a framebuffer device.
    ///
    /// # Errors
    /// [`Exit::CannotCreate`] if there is none, or one of an unknown kind.
    pub fn framebuffer(device: &Path, scale: Scale, pulses: &Pulses) -> Result<Self> {
        let framebuffer = framebuffer::Framebuffer::open(device, Path::new("/sys"), Path::new("/dev/tty0"), scale);
        let framebuffer = framebuffer.or_fail(Exit::CannotCreate, || format!("open framebuffer {}", device.display()))?;
        Self::start(pulses, move |pictures| framebuffer.show(pictures))
    }

    fn start(pulses: &Pulses, show: impl FnOnce(&Pictures) + Send + 'static) -> Result<Self> {
        let newest = Arc::new(Newest::default());
        let mine = Pictures { newest: Arc::clone(&newest), pulse: pulses.begin("display"), began: Instant::now() };
        let thread = std::thread::Builder::new().name("display".into()).spawn(move || show(&mine));
        let thread = thread.or_fail(Exit::Other, || "start thread display".into())?;
        Ok(Self { newest, thread: Some(thread) })
    }

    /// Shows a picture as soon as the screen is ready for one. Never waits.
    pub fn show(&self, colored: &Arc<Colored>) {
        self.newest.put(Arc::clone(colored));
    }
}

impl Drop for Display {
    /// Gives the screen back.
    fn drop(&mut self) {
        self.newest.end();
        // One that panicked left a pulse that stands still, by which the service manager knows.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A picture as pixels, and how they are fitted into a screen. What is made for one picture is kept for the next.
#[derive(Debug)]
struct Fitting {
    scale: Scale,
    pixels: Vec<u32>,
    letterbox: Option<Letterbox>,
}

impl Fitting {
    fn new(scale: Scale) -> Self {
        Self { scale, pixels: Vec::new(), letterbox: None }
    }

    /// Where a picture goes, and what draws it there: see [`Letterbox::draw`]. Nothing for a picture without pixels.
    fn fit(&mut self, colored: &Colored, screen: (usize, usize)) -> Option<(Place, &mut Letterbox, &[u32])> {
        let size = (colored.picture.luma.width, colored.picture.luma.height);
        if size.0 == 0 || size.1 == 0 {
            return None;
        }
        if self.letterbox.as_ref().is_none_or(|letterbox| !letterbox.is_for(size, screen)) {
            self.letterbox = Some(Letterbox::new(size, screen, self.scale));
        }
        self.pixels.resize(size.0 * size.1, 0);
        colored.picture.to_xrgb_into(colored.range, size.0, &mut self.pixels);
        let letterbox = self.letterbox.as_mut()?;
        Some((letterbox.place(), letterbox, &self.pixels))
    }
}

/// Lets `time` pass. False if there will be no more pictures.
fn pause(newest: &Pictures, time: Duration) -> bool {
    let until = Instant::now() + time;
    let mut seen = newest.get();
    loop {
        match newest.wait_for_newer(seen.as_ref(), until.saturating_duration_since(Instant::now())) {
            Awaited::Newer(newer) => seen = Some(newer),
            Awaited::NotYet => return true,
            Awaited::Ended => return false,
        }
        if Instant::now() >= until {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use autochrome_model::{LumaRange, Picture, Plane};

    use super::*;

    #[test]
    fn screens_are_named_as_documented() {
        let screen = Screen::default;
        let cases = [
            ("", screen()),
            ("HDMI-A-1", Screen { connector: Some("HDMI-A-1".into()), ..screen() }),
            ("/dev/dri/card1", Screen { card: Some("/dev/dri/card1".into()), ..screen() }),
            ("?mode=1920x1080", Screen { mode: Some((1920, 1080)), ..screen() }),
            (
                "DP-2?scale=integer&mode=800x600",
                Screen { connector: Some("DP-2".into()), mode: Some((800, 600)), scale: Scale::Integer, card: None },
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(Screen::parse(text).unwrap(), expected, "{text}");
        }
        for (text, part) in
            [("?mode=big", "mode=big is no size"), ("?mode=1x99999", "mode=1x99999"), ("?scale=2", "\"scale=2\" is not known")]
        {
            let failure = Screen::parse(text).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.to_string().contains(part), "{failure}");
        }
    }

    #[test]
    fn a_card_that_is_not_there_is_named() {
        let failure =
            Display::open(&Screen { card: Some("/dev/dri/card-none".into()), ..Screen::default() }, &Pulses::default()).err().unwrap();
        assert_eq!(failure.exit, Exit::CannotCreate);
        assert!(failure.to_string().contains("/dev/dri/card-none: there is no such card"), "{failure}");
    }

    #[test]
    fn pixels_are_blue_green_red_and_nothing() {
        let one = |[y, cb, cr]: [u8; 3]| Picture { luma: Plane::filled(1, 1, y), cb: Plane::filled(1, 1, cb), cr: Plane::filled(1, 1, cr) };
        let cases = [
            (LumaRange::Full, [76, 85, 255], [0, 0, 254, 0]),
            (LumaRange::Limited, [235, 128, 128], [255, 255, 255, 0]),
            (LumaRange::Limited, [16, 128, 128], [0, 0, 0, 0]),
        ];
        for (range, codes, expected) in cases {
            let mut fitting = Fitting::new(Scale::Smooth);
            let colored = Colored { picture: one(codes), range, ..Colored::blank() };
            let (place, letterbox, pixels) = fitting.fit(&colored, (3, 1)).unwrap();
            assert_eq!(place, Place { x: 1, y: 0, width: 1, height: 1 });
            letterbox.draw(pixels, |_, row| assert_eq!(row, expected));
        }
        assert!(Fitting::new(Scale::Smooth).fit(&Colored::blank(), (3, 1)).is_none());
    }
}
