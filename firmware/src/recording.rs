//! A recording of a run: every frame that reached the color thread, and everything that was decided from outside while it ran. Played
//! again, the same frames meet the same settings at the same moments, and the same pictures come out, byte for byte.
//!
//! A recording is a folder. `0001.y4m`, `0002.y4m` and so on are the frames, grey, in a format that other programs read too; a new file
//! begins where the frames change their size. `frames.jsonl` says the rest: first a line about the recording, then a line a frame. A
//! frame is written before its line; a recording that was cut off ends at its last whole line, or where its last file of frames ends, for after a power cut
//! a disk may have the lines and not the frames.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use autochrome_model::{LumaRange, Picture, Plane, Tone};
use serde::{Deserialize, Serialize};

use crate::coloring::Conditions;
use crate::errors::{Exit, Failure, OrFail, Result, warn};
use crate::files::create_folder;
use crate::input::{Frame, Origin, is_said};
use crate::scene::{Night, SceneSettings};
use crate::settings::{Choices, Command};
use crate::y4m::{self, Header, Layout, Y4mError};

/// The file that makes a folder a recording.
pub const FRAMES_FILE: &str = "frames.jsonl";
/// The version of this format that is written, and the only one that is read.
const VERSION: u32 = 1;
/// The longest line of [`FRAMES_FILE`] that is read, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 16;

/// The first line: what holds for the whole recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The version of the format.
    pub autochrome_recording: u32,
    /// The name of the model at the beginning; absent where nothing was colored.
    pub model: Option<String>,
    /// Frames a second as numerator and denominator; 0 where unknown.
    pub rate: (u32, u32),
    /// The header of the YUV4MPEG2 stream that the frames came from, if they did: a film made of the recording begins as one of it would.
    #[serde(default, skip_serializing_if = "is_default")]
    pub header: Option<String>,
    /// Whether each frame was colored with the one after it at hand, as from a file.
    pub lookahead: bool,
    /// What was decided about the coloring before the run; absent where nothing was colored.
    #[serde(default, skip_serializing_if = "is_default")]
    pub decided: Option<Decided>,
}

/// What is decided before a run, in the recording's words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// The camera's black, white and gamma.
    pub tone: (f32, f32, f32),
    /// `auto`, `off` or `on`.
    pub night: String,
    /// Whether the color of a dark scene fades.
    pub dark_fade: bool,
}

impl Decided {
    /// In the recording's words.
    pub fn of(conditions: &Conditions) -> Self {
        let Tone { black, white, gamma } = conditions.tone;
        let night = match conditions.scene.night {
            Night::Auto => "auto",
            Night::Off => "off",
            Night::On => "on",
        };
        Self { tone: (black, white, gamma), night: night.into(), dark_fade: conditions.scene.dark_fade }
    }

    /// The same conditions again; a word that is not known is `auto`.
    pub fn conditions(&self) -> Conditions {
        let (black, white, gamma) = self.tone;
        let night = match &*self.night {
            "off" => Night::Off,
            "on" => Night::On,
            _ => Night::Auto,
        };
        let scene = SceneSettings { night, dark_fade: self.dark_fade };
        Conditions { tone: Tone { black, white, gamma }, scene, ..Conditions::default() }
    }
}

impl About {
    /// A recording of frames that nobody colored, from a source of this rate.
    pub fn new(rate: (u32, u32), header: Option<&Header>) -> Self {
        let header = header.map(|header| header.to_line().trim_end().to_owned());
        Self { autochrome_recording: VERSION, model: None, rate, header, lookahead: false, decided: None }
    }
}

/// A line of a frame.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Line {
    /// Microseconds since the source began.
    at_us: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    limited: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    anew: bool,
    /// Whether the frame is the first one of another file.
    #[serde(default, skip_serializing_if = "is_default")]
    next_file: bool,
    /// Settings that were changed before this frame, as in `saturation=0.7`.
    #[serde(default, skip_serializing_if = "is_default")]
    set: Vec<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A recording being written.
pub struct Recorder {
    folder: PathBuf,
    lines: BufWriter<File>,
    rate: (u32, u32),
    frames: Option<y4m::Writer<BufWriter<File>>>,
    files: u32,
    /// Lends the frame's luma to the writer, which takes pictures.
    lent: Picture,
}

impl Recorder {
    /// Begins a recording in a new folder, or in an empty one.
    ///
    /// # Errors
    /// [`Exit::CannotCreate`]; a folder that already holds something is not written into.
    pub fn create(folder: &Path, about: &About) -> Result<Self> {
        create_folder(folder)?;
        let taken = folder.read_dir().or_fail(Exit::CannotCreate, || format!("look into {}", folder.display()))?.next().is_some();
        if taken {
            let message = format!("record into {}: the folder is not empty, and nothing in it is written over", folder.display());
            return Err(Failure::new(Exit::CannotCreate, message));
        }
        let path = folder.join(FRAMES_FILE);
        let file = File::create_new(&path).or_fail(Exit::CannotCreate, || format!("create {}", path.display()))?;
        let mut recorder = Self {
            folder: folder.to_owned(),
            lines: BufWriter::new(file),
            rate: about.rate,
            frames: None,
            files: 0,
            lent: Picture::default(),
        };
        recorder.line(about)?;
        Ok(recorder)
    }

    /// Appends a frame, and the settings that were changed before it.
    ///
    /// # Errors
    /// [`Exit::CannotCreate`] or [`Exit::Broken`]; the recording is whole up to the frame before.
    pub fn write(&mut self, frame: &mut Frame, commands: &[Command], choices: &Choices) -> Result<()> {
        let size = (frame.luma.width, frame.luma.height);
        let fits = self.frames.as_ref().is_some_and(|frames| (frames.header().width, frames.header().height) == size);
        if !fits {
            self.files += 1;
            let path = self.folder.join(format!("{:04}.y4m", self.files));
            let file = File::create_new(&path).or_fail(Exit::CannotCreate, || format!("create {}", path.display()))?;
            // A camera that was waited for, or a program, had not said its rate when the recording began.
            let said = frame.origin.rate;
            let rate = if is_said(said) { said } else { self.rate };
            let mut header = Header::new(size.0, size.1, rate, frame.origin.range);
            header.layout = Layout::Mono;
            self.frames = Some(y4m::Writer::new(BufWriter::new(file), header));
        }
        if let Some(frames) = &mut self.frames {
            std::mem::swap(&mut frame.luma, &mut self.lent.luma);
            let written = frames.write(&self.lent);
            std::mem::swap(&mut frame.luma, &mut self.lent.luma);
            written.or_fail(Exit::Broken, || format!("write a frame into {}", self.folder.display()))?;
        }
        let line = Line {
            at_us: frame.origin.at.as_micros() as u64,
            limited: frame.origin.range == LumaRange::Limited,
            anew: frame.origin.anew,
            next_file: !fits && self.files > 1,
            set: commands.iter().flat_map(|&command| written(command, choices)).collect(),
        };
        self.line(&line)
    }

    fn line(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec(line).or_fail(Exit::Other, || "write JSON".into())?;
        text.push(b'\n');
        let done = self.lines.write_all(&text).and_then(|()| self.lines.flush());
        done.or_fail(Exit::Broken, || format!("write {}", self.folder.join(FRAMES_FILE).display()))
    }
}

/// A command as a recording keeps it: a preset as what it changes, as it may mean something else one day; nothing for a choice that is not
/// there.
fn written(command: Command, choices: &Choices) -> Vec<String> {
    let one = match command {
        Command::Saturation(value) => format!("saturation={value}"),
        Command::Hue(value) => format!("hue={value}"),
        Command::Temperature(value) => format!("temperature={value}"),
        Command::Mix(value) => format!("mix={value}"),
        Command::Split(value) => format!("split={value}"),
        Command::Freeze(value) => format!("freeze={}", u8::from(value)),
        Command::Night(value) => format!("night={}", u8::from(value)),
        Command::EveryNth(value) => format!("every-nth={value}"),
        // The color thread hands on what it became.
        Command::Reset => return Vec::new(),
        Command::Preset(at) => {
            let changes = choices.presets.get(at).map_or(&[][..], |preset| &preset.commands);
            // A preset holds no preset.
            return changes
                .iter()
                .filter(|change| !matches!(change, Command::Preset(_)))
                .flat_map(|&change| written(change, choices))
                .collect();
        }
        Command::Model(at) => match choices.models.get(at) {
            Some(model) => format!("model={}", model.name),
            None => return Vec::new(),
        },
    };
    vec![one]
}

fn read(text: &str, choices: &Choices) -> std::result::Result<Command, String> {
    match text.split_once('=') {
        Some(("every-nth", value)) => value.parse().map(Command::EveryNth).map_err(|_| format!("every-nth={value} is not a number")),
        Some((name, value)) => choices.command(name, value).map_err(|error| error.to_string()),
        None => Err(format!("{text:?} is not name=value")),
    }
}

/// A recording being played.
pub struct Recording {
    folder: PathBuf,
    about: About,
    lines: BufReader<File>,
    frames: Option<y4m::Reader<BufReader<File>>>,
    files: u32,
    line_number: u64,
}

/// A frame of a recording.
#[derive(Debug, PartialEq)]
pub struct Replayed {
    /// The luma.
    pub luma: Plane<u8>,
    /// What the source said of it.
    pub origin: Origin,
    /// Settings that were changed before it, as they were written.
    pub set: Vec<String>,
}

impl Recording {
    /// Whether a folder is a recording.
    pub fn is_one(folder: &Path) -> bool {
        folder.join(FRAMES_FILE).is_file()
    }

    /// Opens a recording.
    ///
    /// # Errors
    /// [`Exit::NoInput`] if it is not there, [`Exit::BadData`] if it is not one, or one of another version.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(FRAMES_FILE);
        let file = File::open(&path).or_fail(Exit::NoInput, || format!("open {}", path.display()))?;
        let mut lines = BufReader::new(file);
        let wrong = |why: String| Failure::new(Exit::BadData, format!("{}: {why}", path.display()));
        let first = next_line(&mut lines).or_fail(Exit::Broken, || format!("read {}", path.display()))?;
        let first = first.ok_or_else(|| wrong("it is empty".into()))?;
        let about: About =
            serde_json::from_slice(&first).map_err(|error| wrong(format!("its first line is not a recording's: {error}")))?;
        if about.autochrome_recording != VERSION {
            let found = about.autochrome_recording;
            return Err(wrong(format!("it is a recording of version {found}; this program plays version {VERSION}")));
        }
        Ok(Self { folder: folder.to_owned(), about, lines, frames: None, files: 0, line_number: 1 })
    }

    /// What holds for the whole recording.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The next frame; nothing at the end, which is the last whole line that has its frame.
    ///
    /// # Errors
    /// [`Exit::BadData`] for a damaged line or frame in the middle, [`Exit::Broken`] if reading fails.
    pub fn next_frame(&mut self) -> Result<Option<Replayed>> {
        let path = self.folder.join(FRAMES_FILE);
        let Some(line) = next_line(&mut self.lines).or_fail(Exit::Broken, || format!("read {}", path.display()))? else { return Ok(None) };
        self.line_number += 1;
        let wrong = |why: String| Failure::new(Exit::BadData, format!("{} line {}: {why}", path.display(), self.line_number));
        let line: Line = serde_json::from_slice(&line).map_err(|error| wrong(error.to_string()))?;
        if line.next_file || self.frames.is_none() {
            self.files += 1;
            let path = self.folder.join(format!("{:04}.y4m", self.files));
            let is_empty = std::fs::metadata(&path).map_or_else(|error| error.kind() == ErrorKind::NotFound, |found| found.len() == 0);
            if line.next_file
                && is_empty
                && let Some(more) = lines_of_this_file(&mut self.lines)
            {
                return Ok(cut_off(&path, more + 1));
            }
            let file = File::open(&path).or_fail(Exit::BadData, || format!("open {}", path.display()))?;
            let reader = y4m::Reader::new(BufReader::new(file)).map_err(|error| Failure::from(error).context(path.display()))?;
            self.frames = Some(reader);
        }
        let Some(frames) = &mut self.frames else { return Ok(None) };
        let film = self.folder.join(format!("{:04}.y4m", self.files));
        match frames.next_luma() {
            Ok(Some(luma)) => {
                let range = if line.limited { LumaRange::Limited } else { LumaRange::Full };
                let (at, rate) = (Duration::from_micros(line.at_us), frames.header().rate);
                let origin = Origin { range, anew: line.anew, at, rate, ..Origin::default() };
                Ok(Some(Replayed { luma, origin, set: line.set }))
            }
            // After a power cut the last lines may be there without their frames; frames that are missing before another file are damage.
            Ok(None) | Err(Y4mError::Truncated { .. }) => match lines_of_this_file(&mut self.lines) {
                Some(more) => Ok(cut_off(&film, more + 1)),
                None => Err(wrong(format!("its frame is missing in {}", film.display()))),
            },
            Err(error) => Err(Failure::from(error).context(film.display())),
        }
    }

    /// Reads the settings of a frame; those that mean nothing here are left out, with a warning.
    pub fn commands(set: &[String], choices: &Choices) -> Vec<Command> {
        let known =
            |text: &String| read(text, choices).map_err(|why| warn(&format!("the recording sets {text}, which is left out: {why}")));
        set.iter().filter_map(|text| known(text).ok()).collect()
    }
}

/// The end of a recording in whose last file so many frames are missing.
fn cut_off(film: &Path, missing: u64) -> Option<Replayed> {
    warn(&format!("{}: the recording was cut off; of its end {missing} frames are missing", film.display()));
    None
}

/// How many lines are left, if none of them begins another file and all can be read.
fn lines_of_this_file(lines: &mut impl BufRead) -> Option<u64> {
    let mut count = 0;
    while let Some(line) = next_line(lines).ok()? {
        let line: Line = serde_json::from_slice(&line).ok()?;
        if line.next_file {
            return None;
        }
        count += 1;
    }
    Some(count)
}

/// The next whole line, without its line feed. What was cut off at the end of the file is no line.
fn next_line(lines: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    std::io::Read::take(lines, LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    Ok(if line.pop() == Some(b'\n') { Some(line) } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ModelChoice, Preset};

    fn choices() -> Choices {
        let preset = Preset { name: "warm".into(), commands: vec![Command::Hue(5.0)] };
        Choices { presets: vec![preset], models: vec![ModelChoice { name: "small".into(), file: None }] }
    }

    fn frame(width: usize, value: u8, origin: Origin) -> Frame {
        Frame { luma: Plane::filled(width, 2, value), origin, ..Frame::default() }
    }

    #[test]
    fn what_was_recorded_is_played() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("recording");
        let about = About { model: Some("m".into()), ..About::new((25, 1), None) };
        let mut recorder = Recorder::create(&folder, &about).unwrap();
        let origins = [
            Origin::default(),
            Origin { at: Duration::from_micros(40_001), range: LumaRange::Limited, ..Origin::default() },
            Origin { at: Duration::from_secs(9), anew: true, rate: (30_000, 1001), ..Origin::default() },
        ];
        let commands = [
            vec![],
            vec![Command::Saturation(0.7), Command::Hue(-3.0), Command::Temperature(0.38), Command::EveryNth(2)],
            vec![
                Command::Preset(0),
                Command::Model(0),
                Command::Freeze(true),
                Command::Night(true),
                Command::Mix(0.5),
                Command::Split(0.25),
            ],
        ];
        for (i, (&origin, commands)) in origins.iter().zip(&commands).enumerate() {
            // The third frame is of another size.
            recorder.write(&mut frame(4 + i / 2, i as u8, origin), commands, &choices()).unwrap();
        }
        let mut recording = Recording::open(&folder).unwrap();
        assert_eq!(recording.about(), &about);
        for (i, (&origin, commands)) in origins.iter().zip(&commands).enumerate() {
            let played = recording.next_frame().unwrap().unwrap();
            // What the source did not say, the recording does.
            let rate = if i == 2 { (30_000, 1001) } else { (25, 1) };
            assert_eq!((played.luma, played.origin), (Plane::filled(4 + i / 2, 2, i as u8), Origin { rate, ..origin }));
            // A preset is kept as what it changes.
            let kept = commands.iter().map(|&command| if command == Command::Preset(0) { Command::Hue(5.0) } else { command });
            assert_eq!(Recording::commands(&played.set, &choices()), kept.collect::<Vec<_>>());
        }
        assert_eq!(recording.next_frame().unwrap(), None);
        assert!(Recorder::create(&folder, &about).err().unwrap().to_string().contains("not empty"));
    }

    #[test]
    fn a_recording_that_was_cut_off_ends_at_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::create(folder.path(), &About::new((0, 0), None)).unwrap();
        for value in 0..3 {
            recorder.write(&mut frame(4, value, Origin::default()), &[], &Choices::default()).unwrap();
        }
        let path = folder.path().join(FRAMES_FILE);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 2]).unwrap();
        let mut recording = Recording::open(folder.path()).unwrap();
        assert_eq!(std::iter::from_fn(|| recording.next_frame().unwrap()).count(), 2);
        // The last lines without their frames are an end too; ones before another file are damage.
        std::fs::write(&path, &whole).unwrap();
        let film = folder.path().join("0001.y4m");
        let frames = std::fs::read(&film).unwrap();
        std::fs::write(&film, &frames[..frames.len() - 3]).unwrap();
        let mut recording = Recording::open(folder.path()).unwrap();
        assert_eq!(std::iter::from_fn(|| recording.next_frame().unwrap()).count(), 2);
        std::fs::write(&film, &frames[..frames.len() - 20]).unwrap();
        let mut recording = Recording::open(folder.path()).unwrap();
        assert_eq!(std::iter::from_fn(|| recording.next_frame().unwrap()).count(), 1);
        std::fs::write(&path, [&*whole, b"{\"at_us\":9,\"next_file\":true}\n"].concat()).unwrap();
        let mut recording = Recording::open(folder.path()).unwrap();
        assert!(recording.next_frame().unwrap().is_some());
        assert!(recording.next_frame().unwrap_err().to_string().contains("0001.y4m"));
        std::fs::write(&film, &frames).unwrap();
        let mut empty = Recording::open(folder.path()).unwrap();
        assert_eq!(std::iter::from_fn(|| empty.next_frame().unwrap()).count(), 3, "the second file is not there any more");
        for (text, why) in [("", "empty"), ("{}\n", "first line"), (&*String::from_utf8_lossy(&whole).replacen(":1", ":7", 1), "version 7")]
        {
            std::fs::write(&path, text).unwrap();
            assert!(Recording::open(folder.path()).err().unwrap().to_string().contains(why), "{text}");
        }
    }
}
