//! What a box asks and what it is answered: the Autochrome panel protocol, version 1, as `docs/panel.md` describes it.
//!
//! A pure state machine: bytes and the time go in, replies come out, and changes of settings go to whoever was handed in. It does no I/O,
//! cannot fail or block, and holds at most one line, one reply and one [`Outbox`].

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::line::{Assembler, Damage, Heard, LINE_BYTES_MAX, Line, checksum, digits};
use super::standing::{Standing, Value, choice_names, number_text, word};
use crate::remote::NotTaken;
use crate::settings::{Choices, Command, KNOBS, Knob, KnobKind, SettingError, Settings};
use crate::statistics::Snapshot;
use crate::status::Heat;

/// The protocol's version.
pub const PROTOCOL: u32 = 1;
/// How many lines a second are answered.
const LINES_PER_SECOND: f32 = 100.0;
/// Changes are pushed no more often than this.
const PUSH_PERIOD: Duration = Duration::from_millis(100);
/// A state line is pushed at least this often.
const STATE_PERIOD: Duration = Duration::from_secs(5);
/// How much may wait to be sent to a box that does not read, in bytes.
const OUTBOX_BYTES_MAX: usize = 4096;
/// What a reply's number and its checksum take of a line: `#65535 ` and ` *dddd`.
const FRAME_BYTES: usize = 7 + 6;

/// Lines on their way to the box. What finds no room is not sent: a box that does not read has no need of it.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: VecDeque<u8>,
}

impl Outbox {
    /// Puts a line in, or nothing of it. Says whether it found room.
    fn put(&mut self, text: &str, checked: bool) -> bool {
        let checksum = if checked { format!(" *{}", digits(checksum(text.as_bytes()))) } else { String::new() };
        let room = self.bytes.len() + text.len() + checksum.len() < OUTBOX_BYTES_MAX;
        if room {
            self.bytes.extend(text.bytes().chain(checksum.bytes()).chain([b'\n']));
        }
        room
    }

    /// The next byte to be sent.
    pub fn first(&self) -> Option<u8> {
        self.bytes.front().copied()
    }

    /// Takes away the next byte, which was sent.
    pub fn pop(&mut self) {
        self.bytes.pop_front();
    }

    /// Takes away all there is.
    pub fn take(&mut self) -> Vec<u8> {
        self.bytes.drain(..).collect()
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// The numbers of errors. They do not change; the words behind them may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Proto = 10,
    Crc = 11,
    Long = 12,
    Syntax = 13,
    Verb = 20,
    Key = 21,
    Type = 30,
    Range = 34,
    Busy = 40,
    NotNow = 41,
    Internal = 50,
}

/// Why something was not done.
#[derive(Debug)]
struct Refusal {
    number: Number,
    details: String,
}

impl Refusal {
    fn new(number: Number, details: impl Into<String>) -> Self {
        Self { number, details: details.into() }
    }

    fn of_key(number: Number, key: &str, details: &str) -> Self {
        Self::new(number, format!("key={}{details}", word(key)))
    }

    fn text(&self) -> String {
        let word = match self.number {
            Number::Proto => "proto",
            Number::Crc => "crc",
            Number::Long => "long",
            Number::Syntax => "syntax",
            Number::Verb => "verb",
            Number::Key => "key",
            Number::Type => "type",
            Number::Range => "range",
            Number::Busy => "busy",
            Number::NotNow => "notnow",
            Number::Internal => "internal",
        };
        let space = if self.details.is_empty() { "" } else { " " };
        format!("err {} {word}{space}{}", self.number as u8, self.details)
    }
}

impl From<Damage> for Refusal {
    fn from(damage: Damage) -> Self {
        match damage {
            Damage::Checksum => Self::new(Number::Crc, ""),
            Damage::Syntax => Self::new(Number::Syntax, "it wants [#number] VERB key=value with one space between"),
        }
    }
}

impl From<NotTaken> for Refusal {
    fn from(why: NotTaken) -> Self {
        match why {
            NotTaken::Busy => Self::new(Number::Busy, "the picture stands still"),
            NotTaken::Ended => Self::new(Number::Internal, "the run has ended"),
        }
    }
}

/// Where changes of settings go: all of them at once, or none.
pub type Steer<'a> = &'a mut dyn FnMut(&[Command]) -> Result<(), NotTaken>;

/// How many lines are still answered.
#[derive(Debug)]
struct Allowance {
    lines: f32,
    at: Instant,
}

impl Allowance {
    fn full(now: Instant) -> Self {
        Self { lines: LINES_PER_SECOND, at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.at).as_secs_f32();
        self.lines = (self.lines + seconds * LINES_PER_SECOND).min(LINES_PER_SECOND);
        self.at = now;
        let enough = self.lines >= 1.0;
        if enough {
            self.lines -= 1.0;
        }
        enough
    }
}

/// How the device is doing, as far as a state line says it.
#[derive(Clone, Debug, PartialEq)]
struct Health {
    camera: &'static str,
    fps: f32,
    celsius: Option<f32>,
    rung: u32,
    model: String,
}

/// Whether a box said HELLO since the line was opened.
#[derive(Debug)]
enum Greeting {
    None,
    Heard(String),
    Told,
}

/// One end of the line: the device's.
#[derive(Debug)]
pub struct Protocol {
    device: String,
    standing: Standing,
    /// What the settings stood at when the run began.
    defaults: Settings,
    health: Health,
    /// All that follows is of this opening of the line.
    assembler: Assembler,
    allowance: Allowance,
    /// Whether every line has to have a checksum.
    checked: bool,
    /// The number of the last numbered line, and what it was answered.
    last: Option<(u16, String)>,
    /// What the box knows each knob to stand at, and the revision it was compared at.
    told: [Option<String>; KNOBS.len()],
    told_revision: Option<u32>,
    told_health: Option<(&'static str, u32)>,
    pushed_at: Option<Instant>,
    state_at: Option<Instant>,
    greeting: Greeting,
}

impl Protocol {
    /// For a device of that name, as a run begins with these settings.
    pub fn new(device: &str, settings: Settings, choices: Arc<Choices>, now: Instant) -> Self {
        Self {
            device: word(device),
            standing: Standing::new(settings, choices),
            defaults: settings,
            health: Health { camera: "wait", fps: 0.0, celsius: None, rung: 0, model: "-".into() },
            assembler: Assembler::default(),
            allowance: Allowance::full(now),
            checked: false,
            last: None,
            told: Default::default(),
            told_revision: None,
            told_health: None,
            pushed_at: None,
            state_at: None,
            greeting: Greeting::None,
        }
    }

    /// The line was opened, for the first time or again: whoever is there knows nothing yet, and is greeted.
    pub fn open(&mut self, now: Instant, out: &mut Outbox) {
        self.assembler = Assembler::default();
        self.allowance = Allowance::full(now);
        (self.checked, self.last, self.greeting) = (false, None, Greeting::None);
        (self.pushed_at, self.state_at) = (None, None);
        // A box that wants to know says HELLO; one that only sends is not told what it may not read.
        self.told = KNOBS.map(|knob| self.standing.text(&knob));
        self.told_revision = Some(self.standing.revision());
        out.put(&format!("! hello proto={PROTOCOL} dev={} fw={}", self.device, env!("CARGO_PKG_VERSION")), false);
    }

    /// How the device is doing. Pushes come with the next [`tick`](Self::tick).
    pub fn observe(&mut self, snapshot: &Snapshot, heat: Option<&Heat>) {
        self.standing.observe(&snapshot.settings, snapshot.frames);
        let camera = if snapshot.absent.is_some() { "none" } else { "ok" };
        self.health.camera = camera;
        self.health.fps = snapshot.fps;
        self.health.celsius = heat.and_then(|heat| heat.celsius);
        self.health.rung = heat.map_or(0, |heat| heat.rung);
        let named = self.standing.choices().models.get(snapshot.settings.model);
        let name = named.map_or(&*snapshot.model, |model| &*model.name);
        if self.health.model != name {
            self.health.model = word(name);
        }
    }

    /// Bytes came.
    pub fn hear(&mut self, bytes: &[u8], now: Instant, steer: Steer<'_>, out: &mut Outbox) {
        let mut assembler = std::mem::take(&mut self.assembler);
        assembler.woken(now);
        for &byte in bytes {
            match assembler.take(byte) {
                None | Some(Heard::Line("")) => {}
                Some(Heard::Line(text)) => self.answer(text, now, steer, out),
                Some(Heard::NotText) => self.refuse(&Refusal::new(Number::Syntax, "not text"), now, out),
                Some(Heard::TooLong) => self.refuse(&Refusal::new(Number::Long, format!("max={LINE_BYTES_MAX}")), now, out),
                Some(Heard::Question) => {
                    if self.allowance.take(now) {
                        out.put(&self.state(), self.checked);
                    }
                }
            }
        }
        self.assembler = assembler;
    }

    /// Time passed: forgets half lines, and pushes what the box does not know yet.
    pub fn tick(&mut self, now: Instant, out: &mut Outbox) {
        self.assembler.rest(now);
        if self.pushed_at.is_some_and(|at| now.saturating_duration_since(at) < PUSH_PERIOD) {
            return;
        }
        let revision = self.standing.revision();
        if self.told_revision != Some(revision) {
            self.pushed_at = Some(now);
            let mut all = true;
            for (knob, told) in KNOBS.iter().zip(&mut self.told) {
                let value = self.standing.text(knob);
                if *told == value {
                    continue;
                }
                let text = format!("! set {}={} rev={revision}", knob.name, value.as_deref().unwrap_or("-"));
                if out.put(&text, self.checked) {
                    *told = value;
                } else {
                    all = false;
                }
            }
            self.told_revision = all.then_some(revision);
        }
        let health = (self.health.camera, self.health.rung);
        let due = self.state_at.is_none_or(|at| now.saturating_duration_since(at) >= STATE_PERIOD);
        if (due || self.told_health != Some(health)) && out.put(&self.state(), self.checked) {
            (self.state_at, self.pushed_at, self.told_health) = (Some(now), Some(now), Some(health));
        }
    }

    /// The name of the box that said HELLO, once for each opening of the line: a box that greets without end fills no log.
    pub fn greeting(&mut self) -> Option<String> {
        match &mut self.greeting {
            Greeting::Heard(name) => {
                let name = std::mem::take(name);
                self.greeting = Greeting::Told;
                Some(name)
            }
            Greeting::None | Greeting::Told => None,
        }
    }

    fn state(&self) -> String {
        let Health { camera, fps, celsius, rung, model } = &self.health;
        let celsius = celsius.map_or_else(|| "-".into(), |celsius| format!("{celsius:.0}"));
        format!("! state cam={camera} fps={fps:.1} temp={celsius} model={model} thr={rung} rev={}", self.standing.revision())
    }

    fn refuse(&mut self, refusal: &Refusal, now: Instant, out: &mut Outbox) {
        let text = if self.allowance.take(now) { refusal.text() } else { Refusal::new(Number::Busy, "").text() };
        out.put(&text, self.checked);
    }

    fn answer(&mut self, text: &str, now: Instant, steer: Steer<'_>, out: &mut Outbox) {
        let line = match Line::parse(text, self.checked) {
            Ok(line) => line,
            Err(damage) => return self.refuse(&damage.into(), now, out),
        };
        let mut reply = if !self.allowance.take(now) {
            Err(Refusal::new(Number::Busy, ""))
        } else if let (Some(cached), false) = (self.repeated(&line), matches!(line.verb, "HELLO" | "GET" | "LIST")) {
            Ok(cached)
        } else {
            self.perform(&line, steer, out)
        };
        if reply.as_ref().is_ok_and(|text| text.len() > LINE_BYTES_MAX - FRAME_BYTES) {
            reply = Err(Refusal::new(Number::Long, "the reply would be; ask for less"));
        }
        // A line that was not run may come again under its number.
        let run = !matches!(&reply, Err(Refusal { number: Number::Busy, .. }));
        let text = reply.unwrap_or_else(|refusal| refusal.text());
        // After HELLO both know whether there are checksums; before, a reply is as its line was.
        out.put(&numbered(line.sequence, &text), self.checked || line.checked);
        if let (Some(sequence), true) = (line.sequence, run) {
            self.last = Some((sequence, text));
        }
    }

    fn repeated(&self, line: &Line<'_>) -> Option<String> {
        self.last.as_ref().filter(|(sequence, _)| Some(*sequence) == line.sequence).map(|(_, reply)| reply.clone())
    }

    fn perform(&mut self, line: &Line<'_>, steer: Steer<'_>, out: &mut Outbox) -> Result<String, Refusal> {
        match line.verb {
            "HELLO" => self.hello(line),
            "LIST" => self.list(line, out),
            "GET" => self.get(line, out),
            "SET" | "ADD" => self.change(line, steer),
            other => Err(Refusal::new(Number::Verb, format!("{} is none of HELLO LIST GET SET ADD", word(other)))),
        }
    }

    fn hello(&mut self, line: &Line<'_>) -> Result<String, Refusal> {
        let (mut proto, mut checked, mut name) = (PROTOCOL, self.checked, "");
        for (key, value) in pairs(line)? {
            match key {
                "proto" => proto = value.parse().map_err(|_| Refusal::of_key(Number::Type, key, " want=number"))?,
                "crc" => {
                    checked = match value {
                        "0" => false,
                        "1" => true,
                        _ => return Err(Refusal::of_key(Number::Type, key, " want=0,1")),
                    }
                }
                "box" => name = value,
                "fw" => {}
                _ => return Err(Refusal::of_key(Number::Key, key, "")),
            }
        }
        if proto != PROTOCOL {
            return Err(Refusal::new(Number::Proto, format!("min={PROTOCOL} max={PROTOCOL}")));
        }
        self.checked = checked;
        // The box has begun anew, and knows nothing.
        self.told = Default::default();
        (self.told_revision, self.pushed_at, self.state_at, self.last) = (None, None, None, None);
        if matches!(self.greeting, Greeting::None) {
            self.greeting = Greeting::Heard(word(name));
        }
        Ok(format!("ok proto={PROTOCOL} dev={} fw={} max={LINE_BYTES_MAX}", self.device, env!("CARGO_PKG_VERSION")))
    }

    fn list(&mut self, line: &Line<'_>, out: &mut Outbox) -> Result<String, Refusal> {
        if line.words().next().is_some() {
            return Err(Refusal::new(Number::Syntax, "LIST stands alone"));
        }
        let mut count = 0;
        for knob in &KNOBS {
            if Value::of(knob, self.standing.settings()) == Value::Absent {
                continue;
            }
            let text = self.describe(knob);
            out.put(&numbered(line.sequence, &text), self.checked || line.checked);
            count += 1;
        }
        Ok(format!("ok n={count}"))
    }

    /// A knob's line in the list.
    fn describe(&self, knob: &Knob) -> String {
        let choices = self.standing.choices();
        let default = Value::of(knob, &self.defaults).text(knob, choices).unwrap_or_else(|| "-".into());
        let mut text = format!("- key={}", knob.name);
        let _ = match knob.kind {
            KnobKind::Number { min, max, step, unit } => {
                let [min, max, step] = [min, max, step].map(number_text);
                let unit = if unit.is_empty() { "-" } else { unit };
                write!(text, " type=number min={min} max={max} step={step} default={default} unit={unit}")
            }
            KnobKind::Switch => write!(text, " type=switch min=0 max=1 step=1 default={default} unit=-"),
            KnobKind::Choice => write!(text, " type=choice n={} default={default} names=", choice_names(knob, choices).count()),
        };
        let mut separator = "";
        for name in choice_names(knob, choices) {
            // Names that find no room are told by n alone.
            if text.len() + separator.len() + name.len() > LINE_BYTES_MAX - FRAME_BYTES {
                break;
            }
            let _ = write!(text, "{separator}{}", word(name));
            separator = ",";
        }
        text
    }

    fn get(&mut self, line: &Line<'_>, out: &mut Outbox) -> Result<String, Refusal> {
        let revision = self.standing.revision();
        if line.words().next().is_none() {
            let mut count = 0;
            for (knob, told) in KNOBS.iter().zip(&mut self.told) {
                let Some(value) = self.standing.text(knob) else { continue };
                let text = format!("- {}={value}", knob.name);
                if out.put(&numbered(line.sequence, &text), self.checked || line.checked) {
                    *told = Some(value);
                }
                count += 1;
            }
            return Ok(format!("ok n={count} rev={revision}"));
        }
        let mut text = String::from("ok");
        for key in line.words() {
            let knob = knob(key)?;
            let value = self.standing.text(knob).ok_or_else(|| Refusal::of_key(Number::NotNow, key, " the model has none"))?;
            let _ = write!(text, " {key}={value}");
        }
        let _ = write!(text, " rev={revision}");
        Ok(text)
    }

    /// SET and ADD: all of the line, or nothing of it.
    fn change(&mut self, line: &Line<'_>, steer: Steer<'_>) -> Result<String, Refusal> {
        let mut commands = Vec::with_capacity(KNOBS.len());
        let mut knobs: Vec<usize> = Vec::with_capacity(KNOBS.len());
        for (key, value) in pairs(line)? {
            let knob = knob(key)?;
            let at = KNOBS.iter().position(|other| other.name == key).unwrap_or(0);
            if knobs.contains(&at) {
                return Err(Refusal::new(Number::Syntax, format!("{key} stands there twice")));
            }
            let now = Value::of(knob, self.standing.settings());
            if now == Value::Absent {
                return Err(Refusal::of_key(Number::NotNow, key, " the model has none"));
            }
            let sum = if line.verb == "ADD" { Some(sum(key, now, value)?) } else { None };
            let value = sum.as_deref().unwrap_or(value);
            // A name stands on a line as one word, which may be shorter.
            let names = || choice_names(knob, self.standing.choices());
            let named = names().find(|&name| name == value).or_else(|| names().find(|&name| word(name) == value));
            let command = self.standing.choices().command(key, named.unwrap_or(value));
            commands.push(command.map_err(|error| self.refusal(knob, &error))?);
            knobs.push(at);
        }
        if commands.is_empty() {
            return Err(Refusal::new(Number::Syntax, format!("{} wants key=value", line.verb)));
        }
        steer(&commands)?;
        self.standing.change(&commands);
        let revision = self.standing.revision();
        let mut text = String::from("ok");
        for &at in &knobs {
            let _ = write!(text, " {}={}", KNOBS[at].name, self.standing.text(&KNOBS[at]).unwrap_or_default());
        }
        let _ = write!(text, " rev={revision}");
        if text.len() > LINE_BYTES_MAX - FRAME_BYTES {
            return Ok(format!("ok rev={revision}"));
        }
        for at in knobs {
            self.told[at] = self.standing.text(&KNOBS[at]);
        }
        Ok(text)
    }

    fn refusal(&self, knob: &Knob, error: &SettingError) -> Refusal {
        match error {
            SettingError::Unknown(_) => Refusal::of_key(Number::Key, knob.name, ""),
            SettingError::Type { .. } => {
                let want = if knob.kind == KnobKind::Switch { " want=0,1" } else { " want=number" };
                Refusal::of_key(Number::Type, knob.name, want)
            }
            SettingError::Range { min, max, .. } => Refusal::of_key(Number::Range, knob.name, &format!(" min={min} max={max}")),
            SettingError::Choice { .. } => {
                let count = choice_names(knob, self.standing.choices()).count();
                Refusal::of_key(Number::Range, knob.name, &format!(" n={count} LIST names them"))
            }
        }
    }
}

fn numbered(sequence: Option<u16>, text: &str) -> String {
    sequence.map_or_else(|| text.to_owned(), |sequence| format!("#{sequence} {text}"))
}

fn knob(key: &str) -> Result<&'static Knob, Refusal> {
    Knob::named(key).ok_or_else(|| Refusal::of_key(Number::Key, key, ""))
}

/// The words behind the verb, each as key and value.
fn pairs<'a>(line: &Line<'a>) -> Result<Vec<(&'a str, &'a str)>, Refusal> {
    let pair = |word: &'a str| match word.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key, value)),
        _ => Err(Refusal::new(Number::Syntax, "it wants key=value")),
    };
    line.words().map(pair).collect()
}

/// What a number grows to, as text. Rounded as it is told, so that clicks of an encoder do not add up to crooked numbers.
fn sum(key: &str, now: Value, step: &str) -> Result<String, Refusal> {
    let wrong = || Refusal::of_key(Number::Type, key, " want=number");
    let Value::Number(now) = now else { return Err(Refusal::of_key(Number::Type, key, " ADD wants a knob of numbers")) };
    let step: f32 = step.parse().map_err(|_| wrong())?;
    if step.is_finite() { Ok(number_text(now + step)) } else { Err(wrong()) }
}
