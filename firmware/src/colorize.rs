//! `colorize`: a picture to a picture, a folder to a folder, a film to a film, each with its own luma kept.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use autochrome_model::{LumaRange, Plane};

use crate::coloring::{Colored, Coloring, Conditions};
use crate::errors::{Exit, Failure, OrFail, Result, reader_is_gone};
use crate::files::{Draft, create_folder, remove_drafts_on_signals};
use crate::input::{Frame, Origin, images};
use crate::model;
use crate::output::pngs;
use crate::scene::{Night, SceneSettings};
use crate::settings::Command;
use crate::y4m::{Reader, Writer};

/// What `colorize` was asked to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What is colored.
    pub input: PathBuf,
    /// Where the result goes.
    pub output: PathBuf,
    /// Whether the pictures of a folder are the frames of one clip.
    pub clip: bool,
    /// A model file instead of the bundled model.
    pub model: Option<PathBuf>,
    /// How many threads share a frame's network; chosen by the number of cores if absent.
    pub threads: Option<NonZeroUsize>,
    /// Settings other than the model's.
    pub settings: Vec<Command>,
}

/// What kind of thing a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Picture,
    Film,
    Folder,
}

/// Colors the input.
///
/// # Errors
/// Whatever ended it; of a folder's pictures, those that can be read are colored before one that cannot is reported.
pub fn run(request: &Request) -> Result<()> {
    let Request { input, output, clip, .. } = request;
    let kind = kind_of_input(input)?;
    if *clip && kind != Kind::Folder {
        return Err(Failure::usage("--clip goes with a folder of pictures"));
    }
    let wanted = kind_of_output(output, kind)?;
    if wanted != kind {
        let say = |kind| match kind {
            Kind::Picture => "a picture",
            Kind::Film => "a Y4M stream",
            Kind::Folder => "a folder of pictures",
        };
        let message = format!("{} is {}, so it cannot become {} ({})", input.display(), say(kind), say(wanted), output.display());
        return Err(Failure::usage(message));
    }
    remove_drafts_on_signals()?;
    let colorizer = model::load(request.model.as_deref(), model::threads(request.threads))?;
    // Pictures and films are what they are: nothing of theirs fades for being dark.
    let scene = SceneSettings { night: Night::Off, dark_fade: false };
    let conditions = Conditions { lookahead: true, scene, ..Conditions::default() };
    let mut coloring = Coloring::new(colorizer, conditions, Arc::default());
    coloring.prepare(&Frame::default(), &request.settings);
    match kind {
        Kind::Picture => {
            let luma = images::read_luma(input)?;
            let mut colored = Colored::blank();
            coloring.color(frame(0, luma, LumaRange::Full), None, &mut colored)?;
            pngs::save(output, &colored.picture, colored.range)
        }
        Kind::Folder => folder(input, output, *clip, &mut coloring),
        Kind::Film => {
            let name = if is_pipe(input) { "standard input".to_owned() } else { input.display().to_string() };
            let stream: Box<dyn BufRead> = if is_pipe(input) {
                Box::new(BufReader::new(io::stdin()))
            } else {
                Box::new(BufReader::new(File::open(input).or_fail(Exit::NoInput, || format!("open {name}"))?))
            };
            let reader = Reader::new(stream).map_err(|error| Failure::from(error).context(&name))?;
            film(reader, &name, output, &mut coloring)
        }
    }
}

fn is_pipe(path: &Path) -> bool {
    path == Path::new("-")
}

fn extension(path: &Path) -> Option<String> {
    path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase())
}

fn kind_of_input(path: &Path) -> Result<Kind> {
    if path.is_dir() {
        return Ok(Kind::Folder);
    }
    if is_pipe(path) || extension(path).as_deref() == Some("y4m") {
        return Ok(Kind::Film);
    }
    // Opening says more than existing: it may be there and not be ours to read.
    File::open(path).or_fail(Exit::NoInput, || format!("open {}", path.display()))?;
    Ok(Kind::Picture)
}

fn kind_of_output(path: &Path, input: Kind) -> Result<Kind> {
    if is_pipe(path) || extension(path).as_deref() == Some("y4m") {
        return Ok(Kind::Film);
    }
    if path.is_dir() {
        return Ok(Kind::Folder);
    }
    match input {
        // A folder may be called anything.
        Kind::Folder => Ok(Kind::Folder),
        _ if images::is_image(path) => Ok(Kind::Picture),
        // A device such as /dev/null takes anything.
        _ if path.exists() && !path.is_file() => Ok(input),
        _ => Err(Failure::usage(format!("{}: the output's name has to end in .png, .jpg, .jpeg or .y4m", path.display()))),
    }
}

fn frame(sequence: u64, luma: Plane<u8>, range: LumaRange) -> Frame {
    Frame { sequence, luma, origin: Origin { range, ..Origin::default() }, ..Frame::default() }
}

/// Colors every picture of a folder into a PNG of the same stem.
fn folder(input: &Path, output: &Path, clip: bool, coloring: &mut Coloring) -> Result<()> {
    let paths = images::list(input)?;
    let mut stems: HashMap<OsString, &Path> = HashMap::new();
    for path in &paths {
        let stem = path.file_stem().unwrap_or_default().to_owned();
        if let Some(other) = stems.insert(stem, path) {
            let message = format!("{} and {} would both become the same PNG", other.display(), path.display());
            return Err(Failure::new(Exit::BadData, message));
        }
    }
    create_folder(output)?;
    let total = paths.len();
    let mut refused = Vec::new();
    let mut readable = paths.into_iter().filter_map(|path| match images::read_luma(&path) {
        Ok(luma) => Some((path, luma)),
        Err(failure) => {
            refused.push(failure);
            None
        }
    });
    let mut now = readable.next();
    let mut sequence = 0;
    let mut colored = Colored::blank();
    while let Some((path, luma)) = now {
        let next = readable.next();
        if !clip {
            coloring.reset();
        }
        // The next picture helps to tell a cut from a flash; pictures that stand alone have neither.
        let ahead = next.as_ref().filter(|_| clip).map(|(_, luma)| frame(sequence + 1, luma.clone(), LumaRange::Full));
        coloring.color(frame(sequence, luma, LumaRange::Full), ahead.as_ref(), &mut colored)?;
        let name = path.with_extension("png");
        pngs::save(&output.join(name.file_name().unwrap_or_default()), &colored.picture, colored.range)?;
        (now, sequence) = (next, sequence + 1);
    }
    drop(readable);
    let count = refused.len();
    match refused.into_iter().next() {
        Some(first) if count > 1 => Err(first.context(format!("{count} of {total} pictures were left out; the first"))),
        Some(first) => Err(first),
        None => Ok(()),
    }
}

/// Colors a film, frame by frame with the state carried. The frames before a damaged end are written.
fn film(mut reader: Reader<Box<dyn BufRead>>, name: &str, output: &Path, coloring: &mut Coloring) -> Result<()> {
    let header = reader.header().clone().colored();
    let range = header.luma_range();
    let mut damage = None;
    let mut frames = (0..).map_while(|sequence| match reader.next_luma() {
        Ok(luma) => luma.map(|luma| frame(sequence, luma, range)),
        Err(error) => {
            damage = Some(Failure::from(error).context(name));
            None
        }
    });
    let mut now = frames.next();
    if now.is_some() {
        let mut draft = if is_pipe(output) { None } else { Some(Draft::create(output)?) };
        let mut pipe = BufWriter::new(io::stdout());
        let stream: &mut dyn Write = match &mut draft {
            Some(draft) => draft,
            None => &mut pipe,
        };
        let mut writer = Writer::new(stream, header);
        let attempt = || format!("write {}", output.display());
        let mut colored = Colored::blank();
        while let Some(frame) = now {
            let next = frames.next();
            coloring.color(frame, next.as_ref(), &mut colored)?;
            match writer.write(&colored.picture) {
                // Whoever reads the pipe has what it wanted.
                Err(error) if reader_is_gone(&error) => return Ok(()),
                written => written.or_fail(Exit::Broken, attempt)?,
            }
            now = next;
        }
        if let Some(draft) = draft {
            draft.finish().or_fail(Exit::Broken, attempt)?;
        }
    } else if damage.is_none() {
        return Err(Failure::new(Exit::BadData, format!("{name}: the stream holds no frames")));
    }
    damage.map_or(Ok(()), Err)
}
