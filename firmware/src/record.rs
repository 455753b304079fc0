//! `record`: a feed that can be played again, frame for frame.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use autochrome_model::Plane;
use crossbeam_channel::TryRecvError;
use lexopt::prelude::*;

use crate::cli;
use crate::errors::{Exit, Failure, Result, say};
use crate::input::{Feed, Frame, Next, Origin, Source, time_of};
use crate::recording::{About, Recorder, Recording};
use crate::run::quit_on_signal;
use crate::settings::Choices;

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
    let mut feed = Feed::open(&input)?;
    let quit = quit_on_signal()?;
    let live = input.is_live();
    let about = About { lookahead: !live, ..About::new(feed.rate(), feed.header()) };
    let mut recorder = Recorder::create(&folder, &feed.recording().cloned().unwrap_or(about))?;
    let (begun, choices) = (Instant::now(), Choices::default());
    let mut frame = Frame::default();
    let mut count = 0;
    while frames.is_none_or(|frames| count < frames) && quit.try_recv() == Err(TryRecvError::Empty) {
        match feed.next_frame(&mut frame.luma)? {
            Next::Frame { anew } => {
                // A film that is read as fast as it can be read has its own clock, as when it is colored.
                let at = if live { begun.elapsed() } else { time_of(count, feed.rate()) };
                let at = Duration::from_micros(at.as_micros() as u64);
                frame.origin = Origin { range: feed.range(), anew, faults: feed.faults(), at, rate: feed.rate() };
                recorder.write(&mut frame, &[], &choices)?;
                count += 1;
            }
            Next::Replayed { origin, set } => {
                frame.origin = origin;
                recorder.write(&mut frame, &Recording::commands(&set, &choices), &choices)?;
                count += 1;
            }
            Next::NotYet | Next::Absent(_) => {}
            Next::End => break,
        }
    }
    if count == 0 {
        return Err(Failure::new(Exit::BadData, "the input holds no frames"));
    }
    let Plane { width, height, .. } = frame.luma;
    say(&format!("{count} frames of {width}x{height} recorded in {}", folder.display()));
    Ok(())
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
