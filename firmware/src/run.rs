//! `run`: one input, any number of outputs, until the input ends or somebody says so.

use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use autochrome_model::{Colorizer, LumaRange};
use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::coloring::{Colored, Coloring, Conditions};
use crate::config::keys;
use crate::config::typed::Thermal;
use crate::errors::{Exit, Failure, OrFail, Result, say, warn};
use crate::input::{Feed, Frame, SILENCE_MAX, Source, capture, known_rate};
use crate::kiosk::{self, Heart};
use crate::model;
use crate::output::display::Scale;
use crate::output::page::Access;
use crate::output::{Display, Output, Page, Pngs, Sink, V4l2, Video};
use crate::panel::port::{self, Port};
use crate::pipeline::{self, Controls, Flow};
use crate::recording::{About, Decided, Recorder};
use crate::remote::Remote;
use crate::settings::{Choices, Command, ModelChoice};
use crate::showing::Showing;
use crate::thermal;
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
    /// How many threads share a frame's network; chosen by the number of cores if absent.
    pub threads: Option<NonZeroUsize>,
    /// Settings to start with.
    pub settings: Vec<Command>,
    /// The presets and models that can be named while it runs.
    pub choices: Choices,
    /// What is decided beforehand about the coloring.
    pub conditions: Conditions,
    /// What is done when the processor gets hot; nothing if absent.
    pub thermal: Option<Thermal>,
    /// A folder to record the run into.
    pub record: Option<PathBuf>,
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
    /// Who may do what on the page.
    pub access: Access,
}

/// Runs until the input ends, the frames are shown, or SIGINT or SIGTERM says so.
///
/// # Errors
/// Whatever ended it.
pub fn run(request: Request) -> Result<()> {
    let Request {
        input,
        outputs: sinks,
        model: file,
        threads,
        settings,
        mut choices,
        conditions,
        record,
        range,
        frames,
        live,
        fps,
        panel,
        access,
        thermal,
    } = request;
    sinks.iter().try_for_each(|sink| ensure_apart(&input, sink))?;
    let colorizer = model::load(file.as_deref(), model::threads(threads))?;
    // The model that a run begins with is the first of those it can go back to.
    if choices.models.first().is_none_or(|first| first.file != file) {
        let name = choices.free_model_name(keys::as_name(&colorizer.contract().card.name));
        choices.models.insert(0, ModelChoice { name, file });
    }
    let mut feed = Feed::open(&input)?;
    if let Some(range) = range {
        feed.set_range(range);
    }
    if let Some(fps) = fps {
        feed.assume_rate(fps);
    }
    let header = match feed.header() {
        Some(header) => Header { rate: feed.rate(), ..header.clone().colored() },
        None => Header::new(0, 0, known_rate(feed.rate()), feed.range()),
    };
    // Before anybody is told that there is something to see, and after what may wait for a pipe.
    let quit = quit_on_signal()?;
    let remote = Remote::new(choices);
    let outputs = sinks.iter().map(|sink| open(sink, &header, &access, &remote.0)).collect::<Result<Vec<_>>>()?;
    // Somebody who watches wants to see a recording at its own pace; a file wants it soon.
    let watched = outputs.iter().any(Output::is_live);
    let paced = input == Source::TestPattern || watched && !matches!(input, Source::Camera(_) | Source::Child(_) | Source::Stdin);
    let flow = if live || input.is_live() { Flow::Live } else { Flow::Lossless };
    let replaying = feed.recording();
    let lookahead = replaying.map_or(flow == Flow::Lossless, |about| about.lookahead);
    if let Some(other) = replaying.and_then(|about| about.model.as_deref()).filter(|&model| model != colorizer.contract().card.name) {
        warn(&format!("the recording was made with the model {other}; this one's colors will be others"));
    }
    // What was colored is colored again under the conditions and settings of then, whatever holds here.
    let decided = replaying.and_then(|about| about.decided.as_ref());
    let settings = if decided.is_some() { Vec::new() } else { settings };
    let conditions = Conditions { replaying: replaying.is_some(), lookahead, ..decided.map_or(conditions, Decided::conditions) };
    let model_name = colorizer.contract().card.name.clone();
    let about =
        || About { model: Some(model_name), lookahead, decided: Some(Decided::of(&conditions)), ..About::new(header.rate, feed.header()) };
    let recorder = record.map(|folder| Recorder::create(&folder, &about())).transpose()?;
    let period = paced.then(|| period(header.rate));
    Session { colorizer, feed, flow, period, outputs, settings, conditions, recorder, frames, panel, thermal, remote, quit }.run()
}

/// Refuses an output that would overwrite what is read.
fn ensure_apart(input: &Source, sink: &Sink) -> Result<()> {
    let from = if *input == Source::Stdin { Some(Path::new("/dev/stdin")) } else { input.path() };
    let (Some(from), Some(to)) = (from, sink.path()) else { return Ok(()) };
    // A recording is a folder of films.
    let above = to.parent().filter(|_| matches!(input, Source::Recording(_)));
    let place = |path: &Path| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    // What is not there yet is nobody's input.
    let read = place(from);
    if read.is_some() && (read == place(to) || above.is_some_and(|folder| read == place(folder))) {
        let to = to.display();
        return Err(Failure::usage(format!(
            "{to} is the input and an output, or part of it, and would be overwritten; name another output"
        )));
    }
    Ok(())
}

fn open(sink: &Sink, header: &Header, access: &Access, remote: &Remote) -> Result<Output> {
    Ok(match sink {
        Sink::Display(screen) => Output::Display(Display::open(screen, &remote.status.pulses)?),
        Sink::Fbdev(device) => Output::Display(Display::framebuffer(device, Scale::Smooth, &remote.status.pulses)?),
        Sink::V4l2(device) => Output::V4l2(V4l2::open(device)?),
        Sink::Page(address) => {
            let page = Page::listen(address, access, remote.clone())?;
            say(&format!("open http://{}/ in a browser", page.address()));
            Output::Page(page)
        }
        Sink::Y4m(path) => Output::Video(Video::create(path, header.clone())?),
        Sink::Stdout => Output::Video(Video::stdout(header.clone())),
        Sink::Pngs(path) => Output::Pngs(Pngs::create(path)?),
        Sink::Null => Output::Null,
    })
}

/// How long a frame lasts; 1/25 s where the rate is unknown, and never longer than a source may be silent.
fn period(rate: (u32, u32)) -> Duration {
    let (numerator, denominator) = known_rate(rate);
    Duration::from_secs_f64((f64::from(denominator) / f64::from(numerator)).min(SILENCE_MAX.as_secs_f64()))
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
    /// What is decided beforehand about the coloring.
    pub conditions: Conditions,
    /// Where the run is recorded.
    pub recorder: Option<Recorder>,
    /// Ends the run after so many frames.
    pub frames: Option<u64>,
    /// The serial line of a knob box.
    pub panel: Option<Port>,
    /// What is done when the processor gets hot.
    pub thermal: Option<Thermal>,
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
        let Self { colorizer, feed, flow, period, outputs, settings, frames, panel, thermal, quit, .. } = self;
        let (remote, commands) = self.remote;
        let mut coloring = Coloring::new(colorizer, self.conditions, Arc::clone(&remote.choices));
        // What the first frame will be colored with.
        let mut first = coloring.settings();
        settings.iter().for_each(|&command| first.apply(command, &remote.choices));
        coloring.begin_with(settings.clone());
        if let Some(port) = panel {
            port::serve(port, first, remote.clone())?;
        }
        // From a file nothing is left out, and a recording is repeated as it is.
        if let Some(thermal) = thermal.as_ref().filter(|_| flow == Flow::Live) {
            thermal::serve(Path::new("/"), thermal, remote.clone())?;
        }
        let controls = Controls { commands, quit };
        let status = Arc::clone(&remote.status);
        let source = move |outlet| capture(feed, period, outlet);
        let mut recorder = self.recorder;
        let mut settings = Some(settings);
        let color = move |mut frame: Frame, next: Option<&Frame>, commands: &[Command], into: &mut Colored| {
            kiosk::inject("color", frame.sequence);
            // What a run starts with are changes before its first frame, so that a recording holds them too.
            let effective = match settings.take() {
                Some(first) => coloring.prepare(&frame, &[&first, commands].concat()),
                None => coloring.prepare(&frame, commands),
            };
            record_frame(&mut recorder, &mut frame, effective, &remote.choices);
            coloring.color(frame, next, into)
        };
        let showing = Showing::new(outputs, flow, Arc::clone(&status), Heart::new(status), first);
        pipeline::run(flow, controls, source, color, move |inlet| showing.run(inlet, frames.unwrap_or(u64::MAX)))
    }
}

/// Records a frame. A recording that fails, on a full disk say, ends; the picture goes on.
fn record_frame(recorder: &mut Option<Recorder>, frame: &mut Frame, commands: &[Command], choices: &Choices) {
    if let Some(Err(failure)) = recorder.as_mut().map(|recorder| recorder.write(frame, commands, choices)) {
        warn(&format!("{failure}; the recording ends here, and what it holds can be played"));
        *recorder = None;
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
            kiosk::stopping();
            let _ = quit_in.try_send(());
        }
    });
    started.map(|_| quit).map_err(|error| Failure::new(Exit::Other, format!("start thread signals: {error}")))
}
