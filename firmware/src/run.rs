//! `run`: one input, any number of outputs, until the input ends or somebody says so.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use autochrome_model::{Colorizer, LumaRange};
use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::coloring::{Colored, Coloring};
use crate::errors::{Exit, Failure, OrFail, Result, say};
use crate::input::{Feed, Frame, Source, capture};
use crate::kiosk::Heart;
use crate::model;
use crate::output::{Output, Page, Pngs, Sink, Video};
use crate::panel::port::{self, Port};
use crate::pipeline::{self, Controls, Flow};
use crate::remote::Remote;
use crate::settings::{Choices, Command};
use crate::showing::Showing;
use crate::y4m::Header;

/// What `run` was asked to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Where frames come from.
    pub input: Source,
    /// Where pictures go.
    pub outputs: Vec<Sink>,
    /// A model file instead of the bundled model.
    pub model: Option<PathBuf>,
    /// Settings to start with.
    pub settings: Vec<Command>,
    /// How luma is coded, against what the input says.
    pub range: Option<LumaRange>,
    /// Ends the run after so many frames.
    pub frames: Option<u64>,
    /// Lets the newest frame of a pipe win, as if it were a camera.
    pub live: bool,
    /// Frames a second of an input that has no rate of its own.
    pub fps: Option<u32>,
    /// The serial line of a knob box.
    pub panel: Option<Port>,
}

/// Runs until the input ends, the frames are shown, or SIGINT or SIGTERM says so.
///
/// # Errors
/// Whatever ended it.
pub fn run(request: Request) -> Result<()> {
    let Request { input, outputs: sinks, model: file, settings, range, frames, live, fps, panel } = request;
    let colorizer = model::load(file.as_deref())?;
    let mut feed = Feed::open(&input)?;
    if let Some(range) = range {
        feed.set_range(range);
    }
    let header = match feed.header() {
        Some(header) => header.clone().colored(),
        None => Header::new(0, 0, fps.map_or(feed.rate(), |fps| (fps, 1)), feed.range()),
    };
    // Before anybody is told that there is something to see, and after what may wait for a pipe.
    let quit = quit_on_signal()?;
    let remote = Remote::new(Choices::default());
    let outputs = sinks.iter().map(|sink| open(sink, &header, &remote.0)).collect::<Result<Vec<_>>>()?;
    // Somebody who watches wants to see a recording at its own pace; a file wants it soon.
    let watched = outputs.iter().any(|output| matches!(output, Output::Page(_)));
    let paced = input == Source::TestPattern || watched && !matches!(input, Source::Camera(_) | Source::Stdin);
    let flow = if live || input.is_live() { Flow::Live } else { Flow::Lossless };
    Session { colorizer, feed, flow, period: paced.then(|| period(header.rate)), outputs, settings, frames, panel, remote, quit }.run()
}

fn open(sink: &Sink, header: &Header, remote: &Remote) -> Result<Output> {
    Ok(match sink {
        Sink::Page(address) => {
            let page = Page::listen(address, remote.clone())?;
            say(&format!("open http://{}/ in a browser", page.address()));
            Output::Page(page)
        }
        Sink::Y4m(path) => Output::Video(Video::create(path, header.clone())?),
        Sink::Stdout => Output::Video(Video::stdout(header.clone())),
        Sink::Pngs(path) => Output::Pngs(Pngs::create(path)?),
        Sink::Null => Output::Null,
    })
}

/// How long a frame lasts; 1/25 s where the rate is unknown, and never more than ten seconds.
fn period((numerator, denominator): (u32, u32)) -> Duration {
    if numerator == 0 || denominator == 0 {
        return Duration::from_millis(40);
    }
    Duration::from_secs_f64((f64::from(denominator) / f64::from(numerator)).min(10.0))
}

/// Everything opened, and ready to go.
pub struct Session {
    /// The model.
    pub colorizer: Colorizer,
    /// Where frames come from.
    pub feed: Feed,
    /// What becomes of frames that nobody takes in time.
    pub flow: Flow,
    /// Frames come no faster than this.
    pub period: Option<Duration>,
    /// Where pictures go.
    pub outputs: Vec<Output>,
    /// Settings to start with.
    pub settings: Vec<Command>,
    /// Ends the run after so many frames.
    pub frames: Option<u64>,
    /// The serial line of a knob box.
    pub panel: Option<Port>,
    /// How the page and the panel steer, and where that comes out.
    pub remote: (Remote, Receiver<Command>),
    /// Says when to end: see [`quit_on_signal`].
    pub quit: Receiver<()>,
}

impl Session {
    /// Runs the pipeline to its end, and says in one line on standard error how it was.
    ///
    /// # Errors
    /// Whatever ended it.
    pub fn run(self) -> Result<()> {
        let Self { colorizer, feed, flow, period, outputs, settings, frames, panel, remote: (remote, commands), quit } = self;
        let mut coloring = Coloring::new(colorizer, feed.range(), Arc::clone(&remote.choices));
        settings.into_iter().for_each(|command| coloring.set(command));
        if let Some(panel) = panel {
            port::serve(panel, coloring.settings(), remote.clone())?;
        }
        let controls = Controls { commands, quit };
        let source = move |outlet| capture(feed, period, outlet);
        let color = move |frame, next: Option<&Frame>, commands: &[Command], into: &mut Colored| {
            commands.iter().for_each(|&command| coloring.set(command));
            coloring.color(frame, next, into)
        };
        let showing = Showing::new(outputs, flow, Arc::clone(&remote.status), Heart::default());
        pipeline::run(flow, controls, source, color, move |inlet| showing.run(inlet, frames.unwrap_or(u64::MAX)))
    }
}

/// A channel that says so once SIGINT or SIGTERM came. A second one ends the process as it always does.
///
/// # Errors
/// [`Exit::Other`] if the system refuses.
pub fn quit_on_signal() -> Result<Receiver<()>> {
    let (quit_in, quit) = bounded(1);
    let mut signals = Signals::new([SIGINT, SIGTERM]).or_fail(Exit::Other, || "listen for signals".into())?;
    let started = std::thread::Builder::new().name("signals".into()).spawn(move || {
        for (count, signal) in signals.forever().enumerate() {
            if count > 0 {
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
            let _ = quit_in.try_send(());
        }
    });
    started.map(|_| quit).map_err(|error| Failure::new(Exit::Other, format!("start thread signals: {error}")))
}
