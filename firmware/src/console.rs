//! The serial console: a knob box or a terminal sets saturation and temperature, a line at a time.
//!
//! `SET saturation=0.7`, `SET temperature=0.5` and `GET` are answered with `ok ...` or `err ...`. The console has its own thread and hands
//! settings on through a channel, so it cannot hold up the picture; if its device fails, only the console ends.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use crate::errors::{Exit, Failure, Result, say};
use crate::remote::{NotTaken, Remote};
use crate::settings::{Command, Settings};

/// The longest line that is read, in bytes.
const LINE_BYTES_MAX: usize = 120;
const BAUD_DEFAULT: u32 = 115_200;

/// What `--console` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The device.
    pub path: PathBuf,
    /// Bits a second.
    pub baud: u32,
}

impl Port {
    /// Reads `/dev/ttyX` or `/dev/ttyX:BAUD`.
    pub fn parse(text: &str) -> Self {
        match text.rsplit_once(':').and_then(|(path, baud)| Some((path, baud.parse().ok()?))) {
            Some((path, baud)) => Self { path: path.into(), baud },
            None => Self { path: text.into(), baud: BAUD_DEFAULT },
        }
    }
}

/// Opens the port and serves it on a thread of its own, until the port fails or nobody takes commands any more.
///
/// # Errors
/// [`Exit::NoInput`] if the port cannot be opened.
pub fn serve(port: &Port, settings: Settings, remote: Remote) -> Result<()> {
    let name = port.path.display().to_string();
    let opened = serialport::new(&*name, port.baud).timeout(Duration::from_millis(500)).open();
    let device = opened.map_err(|error| Failure::new(Exit::NoInput, format!("open console {name}: {error}")))?;
    let started = std::thread::Builder::new().name("console".into()).spawn(move || {
        if let Err(error) = talk(device, settings, &remote) {
            say(&format!("warning: console {name}: {error}; the picture goes on without it"));
        }
    });
    started.map(drop).map_err(|error| Failure::new(Exit::Other, format!("start thread console: {error}")))
}

/// Answers lines until the stream fails or nobody takes commands.
fn talk(mut stream: impl Read + Write, mut settings: Settings, remote: &Remote) -> io::Result<()> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed")),
            Ok(_) if byte[0] == b'\n' => {
                let reply = match answer(&line, settings) {
                    Answer::Nothing => String::new(),
                    Answer::Reply(reply) => reply,
                    Answer::Set(command) => {
                        // The color thread takes all that wait before every frame; a full channel means that it stands still.
                        match remote.send(command) {
                            Ok(()) => {
                                settings.apply(command, &remote.choices);
                                status(settings)
                            }
                            Err(NotTaken::Ended) => return Ok(()),
                            Err(NotTaken::Busy) => "err busy\n".into(),
                        }
                    }
                };
                line.clear();
                stream.write_all(reply.as_bytes())?;
            }
            // One byte more than allowed marks the line as too long; the rest is not kept.
            Ok(_) if line.len() <= LINE_BYTES_MAX => line.push(byte[0]),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

#[derive(Debug, PartialEq)]
enum Answer {
    /// An empty line.
    Nothing,
    /// Text to send back.
    Reply(String),
    /// A setting to change.
    Set(Command),
}

fn answer(line: &[u8], settings: Settings) -> Answer {
    let error = |why: &str| Answer::Reply(format!("err {why}\n"));
    if line.len() > LINE_BYTES_MAX {
        return error("line too long");
    }
    let Some(text) = std::str::from_utf8(line).ok().filter(|text| text.is_ascii()) else { return error("not ASCII") };
    let mut words = text.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (None, ..) => Answer::Nothing,
        (Some("GET"), None, _) => Answer::Reply(status(settings)),
        (Some("SET"), Some(setting), None) => match setting.split_once('=') {
            Some((name, value)) => Command::parse(name, value).map_or_else(|why| error(&why.to_string()), Answer::Set),
            None => error("SET wants name=value"),
        },
        _ => error("unknown; there are SET name=value and GET"),
    }
}

fn status(settings: Settings) -> String {
    let temperature = settings.temperature.map(|temperature| format!(" temperature={temperature}")).unwrap_or_default();
    format!("ok saturation={}{temperature}\n", settings.saturation)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings { temperature: Some(0.5), ..Settings::neutral() };

    #[test]
    fn lines_are_understood_and_refused() {
        let long = vec![b'a'; LINE_BYTES_MAX + 1];
        let reply = |text: &str| Answer::Reply(format!("{text}\n"));
        let cases: [(&[u8], Answer); 10] = [
            (b"SET saturation=0.7", Answer::Set(Command::Saturation(0.7))),
            (b"  SET temperature=2 \r", Answer::Set(Command::Temperature(2.0))),
            (b"GET\r", reply("ok saturation=1 temperature=0.5")),
            (b"", Answer::Nothing),
            (b"\r", Answer::Nothing),
            (b"SET saturation", reply("err SET wants name=value")),
            (b"SET saturation=9", reply("err saturation=9 is outside 0 to 4")),
            (b"get", reply("err unknown; there are SET name=value and GET")),
            (b"GET \xff", reply("err not ASCII")),
            (&long, reply("err line too long")),
        ];
        for (line, expected) in cases {
            assert_eq!(answer(line, SETTINGS), expected, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn a_conversation_changes_the_settings() {
        struct Wire<'a>(&'a [u8], Vec<u8>);
        impl Read for Wire<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                self.0.read(into)
            }
        }
        impl Write for Wire<'_> {
            fn write(&mut self, from: &[u8]) -> io::Result<usize> {
                self.1.write(from)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (remote, receiver) = Remote::new(crate::settings::Choices::default());
        let mut wire = Wire(b"SET saturation=2\nGET\nSET", Vec::new());
        assert!(talk(&mut wire, SETTINGS, &remote).is_err(), "the wire was closed");
        assert_eq!(String::from_utf8(wire.1).unwrap(), "ok saturation=2 temperature=0.5\nok saturation=2 temperature=0.5\n");
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [Command::Saturation(2.0)]);
    }

    #[test]
    fn ports_are_named_with_and_without_a_rate() {
        assert_eq!(Port::parse("/dev/ttyUSB0"), Port { path: "/dev/ttyUSB0".into(), baud: 115_200 });
        assert_eq!(Port::parse("/dev/ttyS1:9600"), Port { path: "/dev/ttyS1".into(), baud: 9600 });
    }
}
