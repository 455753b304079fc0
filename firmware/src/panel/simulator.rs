//! `serial-sim`: a box to try things with, on a pseudo-terminal. Lines typed here are sent to the device; what it says is printed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use lexopt::prelude::*;
use serialport::{SerialPort, TTYPort};

use super::line::LINE_BYTES_MAX;
use crate::cli::{next, path, print, unexpected};
use crate::errors::{Exit, OrFail, Result, reader_is_gone, say};

/// How long an answer is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// How often it is looked whether the device has opened the line.
const OPENED_PERIOD: Duration = Duration::from_millis(50);
/// The longest line that is sent; the device is to refuse it, not this program.
const SENT_BYTES_MAX: u64 = 4 * LINE_BYTES_MAX as u64;
const HELP: &str = "\
autochrome serial-sim [--script FILE]: a knob box without hardware

It prints the port to give to `autochrome run --panel PORT`, and waits until the device opens it. Then each line typed here is sent, and what the
device says is printed: try `SET saturation=0.5`, `LIST` or `?`. It ends with its standard input.

  --script FILE    send the lines of a file instead";

/// Reads the command's options and does it.
///
/// # Errors
/// [`Exit::NoInput`] if the script cannot be opened, [`Exit::Other`] if there are no pseudo-terminals, [`Exit::Broken`] if reading breaks.
pub fn command(mut parser: lexopt::Parser) -> Result<()> {
    let mut script: Option<PathBuf> = None;
    while let Some(argument) = next(&mut parser)? {
        match argument {
            Long("script") => script = Some(path(&mut parser)?),
            Short('h') | Long("help") => return print(HELP),
            other => return Err(unexpected(other)),
        }
    }
    match script {
        None => play(io::stdin().lock(), io::stdin().is_terminal()),
        Some(path) => {
            let file = File::open(&path).or_fail(Exit::NoInput, || format!("open script {}", path.display()))?;
            play(BufReader::new(file), false)
        }
    }
}

/// Sends the lines one after the other, each when the one before was answered or was not for too long.
fn play(mut lines: impl BufRead, typed: bool) -> Result<()> {
    let (mut ours, theirs) = TTYPort::pair().or_fail(Exit::Other, || "open a pseudo-terminal".into())?;
    let port = theirs.name().unwrap_or_default();
    // So that it shows when the device opens and closes the line.
    drop(theirs);
    let heard = ours.try_clone_native().or_fail(Exit::Other, || format!("open {port} again"))?;
    print(&port)?;
    say(&format!("give it to `autochrome run --panel {port}`; waiting for that"));
    let (answers_in, answers) = bounded(64);
    let started = thread::Builder::new().name("hear".into()).spawn(move || hear(heard, &answers_in));
    started.or_fail(Exit::Other, || "start thread hear".into())?;
    if !await_greeting(&answers) {
        return Ok(());
    }
    if typed {
        say("the device is there: type lines such as SET saturation=0.5, LIST or ?");
    }
    let mut line = Vec::new();
    loop {
        line.clear();
        let count =
            lines.by_ref().take(SENT_BYTES_MAX).read_until(b'\n', &mut line).or_fail(Exit::Broken, || "read the lines to send".into())?;
        if count == 0 {
            return Ok(());
        }
        if !line.ends_with(b"\n") {
            line.push(b'\n');
        }
        send(&mut ours, &line, &answers)?;
    }
}

fn send(device: &mut TTYPort, line: &[u8], answers: &Receiver<Answer>) -> Result<()> {
    answers.try_iter().for_each(drop);
    let mut left = line;
    while !left.is_empty() {
        match device.write(left) {
            Ok(count) => left = &left[count..],
            Err(error) if is_closed(&error) => {
                say("the device closed the line; waiting for it");
                if !await_greeting(answers) {
                    return Ok(());
                }
                left = line;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error).or_fail(Exit::Broken, || "write to the device".into()),
        }
    }
    let wanted = match line.trim_ascii() {
        b"" => return Ok(()),
        b"?" => Answer::State,
        _ => Answer::Reply,
    };
    if !await_answer(wanted, answers) {
        say("no answer");
    }
    Ok(())
}

/// Prints what the device says, and tells of what may be waited for.
fn hear(mut device: TTYPort, answers: &Sender<Answer>) {
    let (mut line, mut bytes) = (Vec::new(), [0; 256]);
    loop {
        let count = match device.read(&mut bytes) {
            Ok(0) => {
                thread::sleep(OPENED_PERIOD);
                continue;
            }
            Ok(count) => count,
            Err(error) if is_closed(&error) => {
                thread::sleep(OPENED_PERIOD);
                continue;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::Interrupted) => continue,
            Err(_) => return,
        };
        for &byte in &bytes[..count] {
            if byte != b'\n' {
                if line.len() < LINE_BYTES_MAX {
                    line.push(byte);
                }
                continue;
            }
            let text = String::from_utf8_lossy(&line);
            if let Err(error) = writeln!(io::stdout(), "{text}")
                && reader_is_gone(&error)
            {
                return;
            }
            // Only one who waits for an answer wants to know.
            if let Some(answer) = Answer::of(&text) {
                let _ = answers.try_send(answer);
            }
            line.clear();
        }
    }
}

/// What one who waits may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// `ok` or `err`, the last line of a reply.
    Reply,
    /// A state line, asked for or not.
    State,
    /// The device opened the line.
    Greeting,
}

impl Answer {
    fn of(text: &str) -> Option<Self> {
        let unnumbered = match text.strip_prefix('#') {
            Some(numbered) => numbered.split_once(' ').map_or("", |(_, rest)| rest),
            None => text,
        };
        let starts = [("ok ", Self::Reply), ("err ", Self::Reply), ("! state ", Self::State), ("! hello ", Self::Greeting)];
        starts.iter().find(|(start, _)| unnumbered.starts_with(start)).map(|&(_, answer)| answer)
    }
}

/// Waits until the device opens the line, however long that takes. False if nobody reads what it says any more.
fn await_greeting(answers: &Receiver<Answer>) -> bool {
    answers.iter().any(|answer| answer == Answer::Greeting)
}

/// Waits until `wanted` is heard. Says whether it was.
fn await_answer(wanted: Answer, answers: &Receiver<Answer>) -> bool {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    while let Ok(answer) = answers.recv_deadline(deadline) {
        if answer == wanted {
            return true;
        }
    }
    false
}

/// How a pseudo-terminal says that nobody has its other end open.
fn is_closed(error: &io::Error) -> bool {
    // EIO, before and after somebody had it.
    error.kind() == io::ErrorKind::BrokenPipe || error.raw_os_error() == Some(5) || error.kind() == io::ErrorKind::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_answer_is_known() {
        for (text, expected) in [
            ("ok mix=1 rev=0", Some(Answer::Reply)),
            ("#5 err 34 range key=mix *0000", Some(Answer::Reply)),
            ("! hello proto=1 dev=a fw=1", Some(Answer::Greeting)),
            ("! state cam=ok", Some(Answer::State)),
            ("- key=mix", None),
            ("#7 - key=mix", None),
            ("! set mix=1 rev=1", None),
            ("#", None),
            ("", None),
        ] {
            assert_eq!(Answer::of(text), expected, "{text:?}");
        }
    }
}
