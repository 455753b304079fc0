//! `record`: a feed that can be played again, frame for frame.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use lexopt::prelude::*;

use crate::cli;
use crate::errors::{Exit, Failure, Result, say};
use crate::input::{Feed, Frame, Next, Origin, Source, time_of};
use crate::recording::{About, Recorder, Recording};
use crate::run::quit_on_signal;
use crate::settings::Choices;

/// How long the feed may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(1);

struct Request {
    input: Source,
    folder: PathBuf,
    frames: Option<u64>,
}

/// Reads the command's options and does it: `--input URI --to FOLDER [--frames N]`.
///
/// # Errors
/// Whatever ended it.
pub fn command(parser: lexopt::Parser) -> Result<()> {
    let Some(Request { input, folder, frames }) = parse(parser)? else { return cli::help() };
    let feed = Feed::open(&input)?;
    let quit = quit_on_signal()?;
    let live = input.is_live();
    let about = About { lookahead: !live, ..About::new(feed.rate(), feed.header()) };
    let mut recorder = Recorder::create(&folder, &feed.recording().cloned().unwrap_or(about))?;
    let reader = Reader::start(feed, live)?;
    let choices = Choices::default();
    let (mut count, mut size) = (0, (0, 0));
    let mut asked_to_end = false;
    while frames.is_none_or(|frames| count < frames) {
        let mut frame = select! {
            recv(quit) -> _ => {
                asked_to_end = true;
                break;
            }
            recv(reader.frames) -> message => match message {
                Ok(frame) => frame?,
                // There are no more.
                Err(_) => break,
            }
        };
        let set = std::mem::take(&mut frame.set);
        recorder.write(&mut frame, &Recording::commands(&set, &choices), &choices)?;
        size = (frame.luma.width, frame.luma.height);
        count += 1;
    }
    reader.end();
    if count == 0 && !asked_to_end {
        return Err(Failure::new(Exit::BadData, "the input holds no frames"));
    }
    say(&format!("{count} frames of {}x{} recorded in {}", size.0, size.1, folder.display()));
    Ok(())
}

/// A feed that is read in a thread of its own: a pipe that is silent does not keep a signal waiting.
struct Reader {
    frames: Receiver<Result<Frame>>,
    going: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Reader {
    fn start(feed: Feed, live: bool) -> Result<Self> {
        let (frames_in, frames) = bounded(1);
        let going = Arc::new(AtomicBool::new(true));
        let goes_on = Arc::clone(&going);
        let started = std::thread::Builder::new().name("reader".into()).spawn(move || read(feed, live, &frames_in, &goes_on));
        let thread = started.map_err(|error| Failure::new(Exit::Other, format!("start thread reader: {error}")))?;
        Ok(Self { frames, going, thread })
    }

    /// Lets go of the feed: a program that it reads is ended, a camera stopped. One that hangs in the middle of a frame ends with the process.
    fn end(self) {
        self.going.store(false, Ordering::Relaxed);
        drop(self.frames);
        let asked = Instant::now();
        while !self.thread.is_finished() && asked.elapsed() < END_TIMEOUT {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.thread.is_finished()
            && let Err(panic) = self.thread.join()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Hands on one frame after the other until there are no more, or nobody wants them.
fn read(mut feed: Feed, live: bool, frames: &Sender<Result<Frame>>, going: &AtomicBool) {
    let begun = Instant::now();
    let mut count = 0;
    while going.load(Ordering::Relaxed) {
        let mut frame = Frame::default();
        match feed.next_frame(&mut frame.luma) {
            Ok(Next::NotYet | Next::Absent(_)) => continue,
            Ok(Next::Frame { anew }) => {
                // A film that is read as fast as it can be read has its own clock, as when it is colored.
                let at = if live { begun.elapsed() } else { time_of(count, feed.rate()) };
                let at = Duration::from_micros(at.as_micros() as u64);
                frame.origin = Origin { range: feed.range(), anew, faults: feed.faults(), at, rate: feed.rate() };
            }
            Ok(Next::Replayed { origin, set }) => (frame.origin, frame.set) = (origin, set),
            Ok(Next::End) => return,
            Err(failure) => return drop(frames.send(Err(failure))),
        }
        count += 1;
        if frames.send(Ok(frame)).is_err() {
            return;
        }
    }
}

/// Nothing for `--help`.
fn parse(mut parser: lexopt::Parser) -> Result<Option<Request>> {
    let (mut input, mut folder, mut frames) = (None, None, None);
    while let Some(argument) = cli::next(&mut parser)? {
        match argument {
            Short('i') | Long("input") => input = Some(Source::parse(&cli::text(&mut parser)?)?),
            Long("to") => folder = Some(cli::path(&mut parser)?),
            Long("frames") => frames = Some(cli::frames(&mut parser)?),
            Short('h') | Long("help") => return Ok(None),
            other => return Err(cli::unexpected(other)),
        }
    }
    let input = input.ok_or_else(|| Failure::usage("record wants --input URI"))?;
    let folder = folder.ok_or_else(|| Failure::usage("record wants --to FOLDER"))?;
    Ok(Some(Request { input, folder, frames }))
}
