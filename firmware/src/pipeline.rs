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
mod tests {
    use std::sync::mpsc;

    use autochrome_model::{LumaRange, Picture};
    use crossbeam_channel::{never, unbounded};

    use super::*;
    use crate::settings::Settings;

    fn grey(value: u8) -> Plane<u8> {
        Plane::filled(1, 1, value)
    }

    fn colored(frame: Frame) -> Colored {
        let Frame { sequence, captured_at, luma } = frame;
        let picture = Picture { cb: luma.clone(), cr: luma.clone(), luma };
        Colored { sequence, captured_at, picture, range: LumaRange::Full, cut: false, settings: Settings { saturation: 1.0, temperature: None } }
    }

    fn controls() -> Controls {
        Controls { commands: never(), quit: never() }
    }

    fn count_up(frames: u64) -> impl FnOnce(Outlet) -> Result<()> {
        move |mut outlet| {
            (0..frames).find(|&i| outlet.send(grey(i as u8)).is_break());
            Ok(())
        }
    }

    fn endless(mut outlet: Outlet) -> Result<()> {
        while outlet.send(grey(0)).is_continue() {
            std::thread::yield_now();
        }
        Ok(())
    }

    #[test]
    fn nothing_is_lost_from_a_file_and_the_next_frame_is_at_hand() {
        let (seen_in, seen) = mpsc::channel();
        let color = move |frame: Frame, next: Option<&Frame>, _: &[Command]| {
            assert_eq!(next.map(|next| next.sequence), (frame.sequence < 99).then_some(frame.sequence + 1));
            Ok(colored(frame))
        };
        let show = move |inlet: Inlet| {
            inlet.for_each(|arrival| seen_in.send((arrival.colored.sequence, arrival.dropped, arrival.skipped)).unwrap());
            Ok(())
        };
        run(Flow::Lossless, controls(), count_up(100), color, show).unwrap();
        assert_eq!(seen.iter().collect::<Vec<_>>(), (0..100).map(|i| (i, 0, 0)).collect::<Vec<_>>());
    }

    #[test]
    fn the_newest_frame_wins_and_every_loss_is_counted() {
        let (go_in, go) = unbounded::<()>();
        let (seen_in, seen) = mpsc::channel();
        let (sent_in, sent) = unbounded::<()>();
        // Frame 0 is being colored while 1 to 5 are offered: 1 and 2 wait, 3 to 5 find no room.
        let source = move |mut outlet: Outlet| {
            let _ = outlet.send(grey(0));
            go.recv().unwrap();
            (1..=5).for_each(|i| assert!(outlet.send(grey(i)).is_continue()));
            sent_in.send(()).unwrap();
            go.recv().unwrap();
            let _ = outlet.send(grey(6));
            Ok(())
        };
        let go_on = go_in.clone();
        let color = move |frame: Frame, _: Option<&Frame>, _: &[Command]| {
            if frame.sequence == 0 {
                go_on.send(()).unwrap();
                sent.recv().unwrap();
            }
            Ok(colored(frame))
        };
        let show = move |inlet: Inlet| {
            for arrival in inlet {
                if arrival.colored.sequence == 2 {
                    go_in.send(()).unwrap();
                }
                seen_in.send((arrival.colored.sequence, arrival.dropped, arrival.skipped)).unwrap();
            }
            Ok(())
        };
        run(Flow::Live, controls(), source, color, show).unwrap();
        // The loss of 3 to 5 is first told by the frame that came after them.
        assert_eq!(seen.iter().collect::<Vec<_>>(), [(0, 0, 0), (2, 0, 1), (6, 3, 1)]);
    }

    #[test]
    fn a_failing_stage_ends_the_run_with_its_error() {
        let fail = |name: &str| Failure::new(Exit::Broken, format!("{name} failed"));
        let paint = |frame: Frame, _: Option<&Frame>, _: &[Command]| Ok(colored(frame));
        let look = |inlet: Inlet| Ok(inlet.for_each(drop));
        for flow in [Flow::Live, Flow::Lossless] {
            let source = run(flow, controls(), move |_| Err(fail("source")), paint, look);
            let color = run(flow, controls(), endless, move |_, _, _| Err(fail("color")), look);
            let outputs = run(flow, controls(), endless, paint, move |_| Err(fail("outputs")));
            let panic = run(flow, controls(), endless, |_, _, _| panic!("a bug"), look);
            let all = [source, color, outputs, panic].map(|result| result.unwrap_err().to_string());
            assert_eq!(all, ["source failed", "color failed", "outputs failed", "the color thread panicked: a bug"]);
        }
    }

    #[test]
    fn frames_before_a_sources_error_are_shown() {
        let (seen_in, seen) = mpsc::channel();
        let source = |outlet: Outlet| count_up(7)(outlet).and(Err(Failure::new(Exit::Broken, "cut off")));
        let show = move |inlet: Inlet| {
            inlet.for_each(|arrival| seen_in.send(arrival.colored.sequence).unwrap());
            Ok(())
        };
        let result = run(Flow::Lossless, controls(), source, |frame, _, _| Ok(colored(frame)), show);
        assert_eq!((result.unwrap_err().exit, seen.iter().count()), (Exit::Broken, 7));
    }

    #[test]
    fn a_silent_source_ends_when_the_run_is_told_to() {
        let (quit_in, quit) = bounded(1);
        quit_in.send(()).unwrap();
        let silent = |outlet: Outlet| {
            while !outlet.is_closed() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        };
        let controls = Controls { commands: never(), quit };
        run(Flow::Live, controls, silent, |frame, _, _| Ok(colored(frame)), |mut inlet| Ok(assert!(inlet.next().is_none()))).unwrap();
    }

    #[test]
    fn a_source_that_waits_for_ever_does_not_keep_the_run_from_ending() {
        let (quit_in, quit) = bounded(1);
        let (_keep, blocked) = bounded::<()>(0);
        let source = move |mut outlet: Outlet| {
            let _ = outlet.send(grey(1));
            quit_in.send(()).unwrap();
            // As reading a pipe that stays open and silent.
            let _ = blocked.recv();
            Ok(())
        };
        let controls = Controls { commands: never(), quit };
        run(Flow::Lossless, controls, source, |frame, _, _| Ok(colored(frame)), |inlet| Ok(inlet.for_each(drop))).unwrap();
    }

    #[test]
    fn commands_reach_the_next_frame() {
        let (commands_in, commands) = unbounded();
        let (seen_in, seen) = mpsc::channel();
        commands_in.send(Command::Saturation(0.5)).unwrap();
        commands_in.send(Command::Temperature(0.3)).unwrap();
        let color = move |frame, _: Option<&Frame>, commands: &[Command]| {
            seen_in.send(commands.to_vec()).unwrap();
            Ok(colored(frame))
        };
        let show = |inlet: Inlet| Ok(inlet.for_each(drop));
        run(Flow::Lossless, Controls { commands, quit: never() }, count_up(2), color, show).unwrap();
        assert_eq!(seen.iter().collect::<Vec<_>>(), [vec![Command::Saturation(0.5), Command::Temperature(0.3)], vec![]]);
    }
}
