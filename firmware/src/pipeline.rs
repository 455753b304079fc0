//! The device's three threads: frames go one way, from `camera` to `color` to `outputs`, through bounded channels.
//!
//! There is no stop flag. A stage that ends drops its ends of the channels, and its neighbors see that and end too; the stage that failed
//! hands its error to [`run`]. From a live source the newest waiting frame wins: what finds no room is dropped at the camera, and what
//! waited behind a newer frame is skipped before the model, where that costs nothing. From a file or a pipe nothing is lost.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use autochrome_model::Plane;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded, select};

use crate::coloring::Colored;
use crate::errors::{Exit, Failure, Result};
use crate::input::Frame;
use crate::settings::Command;

/// How many frames may wait for the color thread.
const WAITING_MAX: usize = 2;
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
    pub colored: Colored,
    /// How many frames found no room in front of the color thread so far.
    pub dropped: u64,
    /// How many frames were passed over for a newer one so far.
    pub skipped: u64,
}

/// The camera's end: where a source puts its frames.
pub struct Outlet {
    frames: Sender<Waiting>,
    flow: Flow,
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
    pub fn send(&mut self, luma: Plane<u8>) -> ControlFlow<()> {
        let frame = Frame { sequence: self.sequence, captured_at: Instant::now(), luma };
        self.sequence += 1;
        let waiting = Waiting { frame, dropped: self.dropped };
        let lost = match self.flow {
            Flow::Lossless => self.frames.send(waiting).is_err(),
            Flow::Live => match self.frames.try_send(waiting) {
                Ok(()) => false,
                Err(TrySendError::Full(_)) => {
                    self.dropped += 1;
                    false
                }
                Err(TrySendError::Disconnected(_)) => true,
            },
        };
        if lost { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
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
    quit: Receiver<()>,
    /// Nothing is sent here: see [`Outlet::is_closed`].
    _alive: Sender<Infallible>,
}

impl Iterator for Inlet {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        select! {
            recv(self.arrivals) -> arrival => arrival.ok(),
            recv(self.quit) -> _ => None,
        }
    }
}

/// Runs the three stages until the source ends, `show` has seen enough, a stage fails, or `controls` says so.
///
/// `color` gets a frame, the one after it where nothing is lost and it is there, and the commands that came since the last frame.
///
/// # Errors
/// That of the stage that failed; [`Exit::Other`] for one that panicked.
pub fn run<S, C, O>(flow: Flow, controls: Controls, source: S, color: C, show: O) -> Result<()>
where
    S: FnOnce(Outlet) -> Result<()> + Send + 'static,
    C: FnMut(Frame, Option<&Frame>, &[Command]) -> Result<Colored> + Send + 'static,
    O: FnOnce(Inlet) -> Result<()> + Send + 'static,
{
    let Controls { commands, quit } = controls;
    let (frames_in, frames) = bounded(WAITING_MAX);
    let (arrivals_in, arrivals) = bounded(1);
    let (_alive, outputs_gone) = bounded::<Infallible>(0);
    let (ended_in, ended) = bounded::<Infallible>(0);
    let outlet = Outlet { frames: frames_in, flow, sequence: 0, dropped: 0, outputs_gone: outputs_gone.clone() };
    let source = spawn("camera", move || {
        let _ended = ended_in;
        source(outlet)
    })?;
    let desk = Desk { frames, outputs_gone, commands, arrivals: arrivals_in };
    let color = spawn("color", move || color_frames(flow, &desk, color))?;
    let inlet = Inlet { arrivals, quit, _alive };
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
}

impl Desk {
    /// Waits for a frame. Nothing if the source ended, or if nobody is left to see it: the source may be waiting for a silent pipe.
    fn wait(&self) -> Option<Waiting> {
        select! {
            recv(self.frames) -> waiting => waiting.ok(),
            recv(self.outputs_gone) -> _ => None,
        }
    }
}

fn color_frames(flow: Flow, desk: &Desk, mut color: impl FnMut(Frame, Option<&Frame>, &[Command]) -> Result<Colored>) -> Result<()> {
    let mut skipped = 0;
    let mut ahead: Option<Waiting> = None;
    while let Some(mut now) = ahead.take().or_else(|| desk.wait()) {
        match flow {
            Flow::Lossless => ahead = desk.wait(),
            // Skip here and not after the model: a skipped step would age the recurrent state by two frames.
            Flow::Live => {
                while let Ok(newer) = desk.frames.try_recv() {
                    skipped += 1;
                    now = newer;
                }
            }
        }
        let commands: Vec<Command> = desk.commands.try_iter().collect();
        let colored = color(now.frame, ahead.as_ref().map(|waiting| &waiting.frame), &commands)?;
        if desk.arrivals.send(Arrival { colored, dropped: now.dropped, skipped }).is_err() {
            break;
        }
    }
    Ok(())
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
