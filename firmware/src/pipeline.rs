//! The device's three threads: frames go one way, from `camera` to `color` to `outputs`, through bounded channels.
//!
//! There is no stop flag. A stage that ends drops its ends of the channels, and its neighbors see that and end too; the stage that failed
//! hands its error to [`run`]. From a live source the newest waiting frame wins: where there is no room, the oldest that waits is dropped, and what
//! waited behind a newer frame is skipped before the model, where that costs nothing. From a file or a pipe nothing is lost.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use autochrome_model::Plane;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded, never, select};

use crate::coloring::Colored;
use crate::errors::{Exit, Failure, Result};
use crate::input::{Faults, Frame, Origin};
use crate::settings::Command;

/// How many frames may wait for the color thread.
const WAITING_MAX: usize = 2;
/// How many planes may wait to be filled again, and how many pictures are kept for their memory: more than are ever under way at once.
const SPARES_MAX: usize = 4;
const SHEETS_MAX: usize = 8;
/// After how long without anything the outputs are told so.
pub const QUIET: Duration = Duration::from_millis(100);
/// How long a source may take to notice that nobody wants its frames. One that waits for a pipe never does, and ends with the process.
const SOURCE_END_TIMEOUT: Duration = Duration::from_millis(1000);

/// What becomes of a frame that nobody takes in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It is lost, and counted.
    Live,
    /// It waits, and the source with it.
    Lossless,
}

/// The ends of the channels by which the rest of the program reaches the pipeline.
#[derive(Debug)]
pub struct Controls {
    /// Changes of settings, for the color thread.
    pub commands: Receiver<Command>,
    /// Anything in here, or its other end going away, ends the run.
    pub quit: Receiver<()>,
}

/// A frame's arrival at the outputs.
#[derive(Debug)]
pub struct Arrival {
    /// The frame.
    pub colored: Arc<Colored>,
    /// How many frames found no room in front of the color thread so far.
    pub dropped: u64,
    /// How many frames were passed over for a newer one so far.
    pub skipped: u64,
}

/// The source is gone, and says so again and again until it is back.
#[derive(Clone, Debug, PartialEq)]
pub struct Absence {
    /// Why, in words for the person in front of the picture.
    pub why: Arc<str>,
    /// How many frames were offered before; a later one means that the source is back.
    pub after: u64,
    /// What went wrong at the source so far.
    pub faults: Faults,
}

/// What the outputs are told.
#[derive(Debug)]
pub enum Event {
    /// A picture.
    Picture(Arrival),
    /// There is none, and why.
    Absent(Absence),
    /// Nothing happened for [`QUIET`]. Comes again and again.
    Quiet,
}

/// The camera's end: where a source puts its frames.
pub struct Outlet {
    frames: Sender<Waiting>,
    /// Of a live source, the color thread's end too: the oldest waiting frame gives way to a new one.
    waiting: Option<Receiver<Waiting>>,
    /// The plane of one that gave way.
    spare: Option<Plane<u8>>,
    notices: Sender<Absence>,
    spares: Receiver<Plane<u8>>,
    sequence: u64,
    dropped: u64,
    /// Nothing is ever sent here; that the other end is gone is the message.
    outputs_gone: Receiver<Infallible>,
}

struct Waiting {
    frame: Frame,
    dropped: u64,
}

impl Outlet {
    /// Offers a frame. Breaks once nobody takes frames any more.
    pub fn send(&mut self, luma: Plane<u8>, origin: Origin, set: Vec<String>) -> ControlFlow<()> {
        let frame = Frame { sequence: self.sequence, captured_at: Instant::now(), luma, origin, set };
        self.sequence += 1;
        let mut offered = Waiting { frame, dropped: self.dropped };
        let Some(waiting) = &self.waiting else {
            return if self.frames.send(offered).is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        };
        loop {
            // Holding both ends, only the outputs' end tells that nobody is left.
            if self.outputs_gone.try_recv() == Err(TryRecvError::Disconnected) {
                return ControlFlow::Break(());
            }
            match self.frames.try_send(offered) {
                Ok(()) => return ControlFlow::Continue(()),
                Err(TrySendError::Disconnected(_)) => return ControlFlow::Break(()),
                Err(TrySendError::Full(back)) => {
                    offered = back;
                    if let Ok(oldest) = waiting.try_recv() {
                        self.dropped += 1;
                        offered.dropped = self.dropped;
                        self.spare = Some(offered.frame.take_over(oldest.frame));
                    }
                }
            }
        }
    }

    /// A plane to put a frame into: one that the color thread is done with, if there is one.
    pub fn blank(&mut self) -> Plane<u8> {
        self.spare.take().or_else(|| self.spares.try_recv().ok()).unwrap_or_default()
    }

    /// Says that the source is gone. Has to be said again and again, a few times a second: silence means that the source hangs.
    pub fn absent(&self, why: Arc<str>, faults: Faults) {
        // Outputs that have not yet read the last one know enough.
        let _ = self.notices.try_send(Absence { why, after: self.sequence, faults });
    }

    /// Whether frames come at the world's pace.
    pub fn is_live(&self) -> bool {
        self.waiting.is_some()
    }

    /// How many frames were offered.
    pub fn sent(&self) -> u64 {
        self.sequence
    }

    /// Whether nobody takes frames any more; for a source that has none to offer.
    pub fn is_closed(&self) -> bool {
        self.outputs_gone.try_recv() == Err(TryRecvError::Disconnected)
    }
}

/// The outputs' end: the pictures, one after the other, until there are no more or the run is told to end.
pub struct Inlet {
    arrivals: Receiver<Arrival>,
    notices: Receiver<Absence>,
    quit: Receiver<()>,
    /// Nothing is sent here: see [`Outlet::is_closed`].
    _alive: Sender<Infallible>,
}

impl Iterator for Inlet {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        select! {
            recv(self.arrivals) -> arrival => arrival.ok().map(Event::Picture),
            recv(self.notices) -> absence => match absence {
                Ok(absence) => Some(Event::Absent(absence)),
                // The source ended; what it offered may still be on its way.
                Err(_) => {
                    self.notices = never();
                    self.next()
                }
            },
            recv(self.quit) -> _ => None,
            default(QUIET) => Some(Event::Quiet),
        }
    }
}

/// Runs the three stages until the source ends, `show` has seen enough, a stage fails, or `controls` says so.
///
/// `color` gets a frame, the one after it where nothing is lost and it is there, the commands that came since the last frame, and
/// something colored before to write over.
///
/// # Errors
/// That of the stage that failed; [`Exit::Other`] for one that panicked.
pub fn run<S, C, O>(flow: Flow, controls: Controls, source: S, color: C, show: O) -> Result<()>
where
    S: FnOnce(Outlet) -> Result<()> + Send + 'static,
    C: FnMut(Frame, Option<&Frame>, &[Command], &mut Colored) -> Result<()> + Send + 'static,
    O: FnOnce(Inlet) -> Result<()> + Send + 'static,
{
    let Controls { commands, quit } = controls;
    let (frames_in, frames) = bounded(WAITING_MAX);
    let (arrivals_in, arrivals) = bounded(1);
    let (notices_in, notices) = bounded(1);
    let (spares_in, spares) = bounded(SPARES_MAX);
    let (_alive, outputs_gone) = bounded::<Infallible>(0);
    let (ended_in, ended) = bounded::<Infallible>(0);
    let waiting = (flow == Flow::Live).then(|| frames.clone());
    let outputs_gone_too = outputs_gone.clone();
    let outlet = Outlet {
        frames: frames_in,
        waiting,
        spare: None,
        notices: notices_in,
        spares,
        sequence: 0,
        dropped: 0,
        outputs_gone: outputs_gone_too,
    };
    let source = spawn("camera", move || {
        let _ended = ended_in;
        source(outlet)
    })?;
    let desk = Desk { frames, outputs_gone, commands, arrivals: arrivals_in, spares: spares_in };
    let color = spawn("color", move || color_frames(flow, &desk, color))?;
    let inlet = Inlet { arrivals, notices, quit, _alive };
    let outputs = spawn("outputs", move || show(inlet))?;
    let outputs = joined("outputs", outputs);
    let color = joined("color", color);
    let source = match ended.recv_timeout(SOURCE_END_TIMEOUT) {
        Err(RecvTimeoutError::Disconnected) => joined("camera", source),
        Err(RecvTimeoutError::Timeout) => Ok(()),
        Ok(never) => match never {},
    };
    source.and(color).and(outputs)
}

/// The color thread's ends of the channels.
struct Desk {
    frames: Receiver<Waiting>,
    outputs_gone: Receiver<Infallible>,
    commands: Receiver<Command>,
    arrivals: Sender<Arrival>,
    spares: Sender<Plane<u8>>,
}

impl Desk {
    /// Waits for a frame. Nothing if the source ended, or if nobody is left to see it: the source may be waiting for a silent pipe.
    ///
    /// Commands that come meanwhile are taken, so that nobody is told to wait only because there is no camera: of each kind the last one,
    /// which is all that the next frame needs.
    fn wait(&self, orders: &mut Vec<Command>) -> Option<Waiting> {
        let mut commands = &self.commands;
        let none = never();
        loop {
            select! {
                recv(self.frames) -> waiting => return waiting.ok(),
                recv(self.outputs_gone) -> _ => return None,
                recv(commands) -> command => match command {
                    Ok(command) => {
                        // A preset changes what another may not: only the same one again says nothing new.
                        let is_preset = matches!(command, Command::Preset(_));
                        let says_same = |other: &Command| std::mem::discriminant(other) == std::mem::discriminant(&command);
                        orders.retain(|other| if is_preset { *other != command } else { !says_same(other) });
                        orders.push(command);
                    }
                    Err(_) => commands = &none,
                },
            }
        }
    }
}

fn color_frames(
    flow: Flow,
    desk: &Desk,
    mut color: impl FnMut(Frame, Option<&Frame>, &[Command], &mut Colored) -> Result<()>,
) -> Result<()> {
    let mut skipped = 0;
    let mut rack = Rack::default();
    let mut orders: Vec<Command> = Vec::new();
    let mut ahead: Option<Waiting> = None;
    while let Some(mut now) = ahead.take().or_else(|| desk.wait(&mut orders)) {
        match flow {
            Flow::Lossless => ahead = desk.wait(&mut orders),
            // Skip here and not after the model: a skipped step would age the recurrent state by two frames.
            Flow::Live => {
                while let Ok(newer) = desk.frames.try_recv() {
                    skipped += 1;
                    let older = std::mem::replace(&mut now, newer);
                    let _ = desk.spares.try_send(now.frame.take_over(older.frame));
                }
            }
        }
        orders.extend(desk.commands.try_iter());
        let mut sheet = rack.take();
        let Some(colored) = Arc::get_mut(&mut sheet) else { continue };
        let next = ahead.as_ref().map(|waiting| &waiting.frame);
        color(now.frame, next, &orders, colored)?;
        orders.clear();
        // What was colored here before is no longer needed; the source can use its memory.
        let _ = desk.spares.try_send(std::mem::take(&mut colored.before));
        let colored = rack.keep(sheet);
        if desk.arrivals.send(Arrival { colored, dropped: now.dropped, skipped }).is_err() {
            break;
        }
    }
    Ok(())
}

/// Pictures whose memory is used again once no output looks at them any more.
#[derive(Default)]
struct Rack {
    sheets: Vec<Arc<Colored>>,
}

impl Rack {
    /// One that nobody else holds; a new one if all are being looked at.
    fn take(&mut self) -> Arc<Colored> {
        let free = self.sheets.iter_mut().position(|sheet| Arc::get_mut(sheet).is_some());
        free.map_or_else(|| Arc::new(Colored::blank()), |at| self.sheets.swap_remove(at))
    }

    /// Remembers one, to take it again later.
    fn keep(&mut self, sheet: Arc<Colored>) -> Arc<Colored> {
        if self.sheets.len() < SHEETS_MAX {
            self.sheets.push(Arc::clone(&sheet));
        }
        sheet
    }
}

fn spawn(name: &str, work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<JoinHandle<Result<()>>> {
    let started = Builder::new().name(name.to_owned()).spawn(work);
    started.map_err(|error| Failure::new(Exit::Other, format!("start thread {name}: {error}")))
}

fn joined(name: &str, thread: JoinHandle<Result<()>>) -> Result<()> {
    thread.join().unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Failure::new(Exit::Other, format!("the {name} thread panicked: {}", text.unwrap_or("no message"))))
    })
}

#[cfg(test)]
mod tests;
