//! The serial port: opened, kept open, and opened again. One thread, which never holds up the picture and never ends the run.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serialport::{SerialPort, TTYPort};

use super::protocol::{Outbox, Protocol};
use crate::errors::{Exit, Failure, OrFail, Result, say, warn};
use crate::kiosk::{self, Pulse};
use crate::remote::Remote;
use crate::settings::Settings;
use crate::statistics::Snapshot;

const BAUD_DEFAULT: u32 = 115_200;
/// The slowest and the fastest that Linux knows.
const BAUD_MIN: u32 = 50;
const BAUD_MAX: u32 = 4_000_000;
/// How long a read waits: as late as this a change made on the page may be pushed.
const READ_TIMEOUT: Duration = Duration::from_millis(40);
/// A line that delivers without end is read no faster than a buffer in this time: half a megabyte a second.
const FLOOD_PAUSE: Duration = Duration::from_millis(1);
const BUFFER_BYTES: usize = 512;
/// How long a port that is not there is waited for, at first and in the end.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What `--panel` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The device's absolute path.
    pub path: String,
    /// Bits a second.
    pub baud: u32,
}

impl Port {
    /// Reads `/dev/ttyX` or `/dev/ttyX:BAUD`.
    ///
    /// # Errors
    /// [`Exit::Usage`] if it is neither.
    pub fn parse(text: &str) -> Result<Self> {
        let digits = |tail: &str| !tail.is_empty() && tail.bytes().all(|byte| byte.is_ascii_digit());
        // Paths by connector have colons in them too.
        let (path, baud) = match text.rsplit_once(':').filter(|(_, tail)| digits(tail)) {
            None => (text, Some(BAUD_DEFAULT)),
            Some((path, tail)) => (path, tail.parse().ok().filter(|baud| (BAUD_MIN..=BAUD_MAX).contains(baud))),
        };
        let baud = baud.ok_or_else(|| Failure::usage(format!("panel {text}: a rate is from {BAUD_MIN} to {BAUD_MAX} bits a second")))?;
        if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
            return Err(Failure::usage(format!("panel {text}: a port is an absolute path, as in /dev/ttyUSB0 or /dev/ttyS1:9600")));
        }
        Ok(Self { path: path.to_owned(), baud })
    }
}

/// Serves the port on a thread of its own, which ends with the process. A port that is not there, or goes, is waited for.
///
/// # Errors
/// [`Exit::Other`] if no thread can be started.
pub fn serve(port: Port, settings: Settings, remote: Remote) -> Result<()> {
    let protocol = Protocol::new(&host_name(), settings, remote.choices.clone(), Instant::now());
    let life = Life { pulse: remote.status.pulses.begin("panel"), began: Instant::now() };
    let started = thread::Builder::new().name("panel".into()).spawn(move || keep_open(&port, protocol, &remote, &life));
    started.map(drop).or_fail(Exit::Other, || "start thread panel".into())
}

/// The thread's sign of life.
struct Life {
    pulse: Pulse,
    began: Instant,
}

impl Life {
    fn beat(&self) {
        self.pulse.beat();
        kiosk::inject("panel", self.began.elapsed().as_secs());
    }
}

/// What the box is told that it is connected to.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "autochrome".into() } else { name.trim().into() }
}

fn keep_open(port: &Port, mut protocol: Protocol, remote: &Remote, life: &Life) {
    let Port { path, baud } = port;
    let (mut retry, mut missed) = (RETRY_MIN, false);
    loop {
        match serialport::new(path, *baud).timeout(READ_TIMEOUT).open_native() {
            Ok(device) => {
                if missed {
                    say(&format!("panel {path}: opened"));
                }
                let error = talk(device, path, &mut protocol, remote, life);
                warn(&format!("panel {path}: {error}; the picture goes on without it, and it is waited for"));
                (missed, retry) = (true, RETRY_MIN);
            }
            Err(error) if !missed => {
                warn(&format!("open panel {path}: {error}; the picture goes on without it, and it is waited for"));
                missed = true;
            }
            Err(_) => {}
        }
        let tried = Instant::now();
        while tried.elapsed() < retry {
            life.beat();
            thread::sleep(RETRY_MIN);
        }
        retry = (retry * 2).min(RETRY_MAX);
    }
}

/// Answers until the port fails or is unplugged; returns how that showed.
fn talk(mut device: TTYPort, path: &str, protocol: &mut Protocol, remote: &Remote, life: &Life) -> io::Error {
    let mut out = Outbox::default();
    let mut buffer = [0; BUFFER_BYTES];
    let mut seen = None;
    look(remote, &mut seen, protocol);
    protocol.open(Instant::now(), &mut out);
    loop {
        life.beat();
        protocol.tick(Instant::now(), &mut out);
        if let Err(error) = send(&mut device, &mut out) {
            return if error.kind() == io::ErrorKind::BrokenPipe { closed() } else { error };
        }
        let count = match device.set_timeout(READ_TIMEOUT).map_err(io::Error::from).and_then(|()| device.read(&mut buffer)) {
            Ok(0) => return closed(),
            Ok(count) => count,
            Err(error) if is_later(&error) => 0,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return closed(),
            Err(error) => return error,
        };
        look(remote, &mut seen, protocol);
        if count > 0 {
            protocol.hear(&buffer[..count], Instant::now(), &mut |commands| remote.send_all(commands), &mut out);
        }
        if let Some(name) = protocol.greeting() {
            say(&format!("panel {path}: box {name} is there"));
        }
        if count == buffer.len() {
            thread::sleep(FLOOD_PAUSE);
        }
    }
}

/// Tells the protocol how the device is doing, if there is news.
fn look(remote: &Remote, seen: &mut Option<Arc<Snapshot>>, protocol: &mut Protocol) {
    let newest = remote.status.snapshot.get();
    let is_news = match (&newest, &seen) {
        (Some(newest), Some(seen)) => !Arc::ptr_eq(newest, seen),
        (newest, _) => newest.is_some(),
    };
    if let (Some(snapshot), true) = (&newest, is_news) {
        protocol.observe(snapshot, remote.status.heat.get().as_deref());
        *seen = newest;
    }
}

/// Sends what the line takes without waiting. A byte at a time: the descriptor blocks, and room for one is all that a poll promises. What is
/// left is sent after the next read; a box that never reads fills the outbox and nothing else.
fn send(device: &mut TTYPort, out: &mut Outbox) -> io::Result<()> {
    device.set_timeout(Duration::ZERO)?;
    while let Some(byte) = out.first() {
        match device.write(&[byte]) {
            Ok(0) => break,
            Ok(_) => out.pop(),
            Err(error) if is_later(&error) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A hang-up, which the library calls a broken pipe.
fn closed() -> io::Error {
    io::Error::other("it was closed or unplugged")
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_named_with_and_without_a_rate() {
        let by_path = "/dev/serial/by-path/pci-0000:00:14.0-usb-0:2:1.0-port0";
        let cases = [
            ("/dev/ttyUSB0", Some(("/dev/ttyUSB0", 115_200))),
            ("/dev/ttyS1:9600", Some(("/dev/ttyS1", 9600))),
            (by_path, Some((by_path, 115_200))),
            ("ttyUSB0", None),
            ("", None),
            (":9600", None),
            ("/dev/", None),
            ("/dev/ttyS1:0", None),
            ("/dev/ttyS1:99999999999", None),
            ("/dev/tty\0S1", None),
        ];
        for (text, expected) in cases {
            let found = Port::parse(text).ok();
            assert_eq!(found, expected.map(|(path, baud)| Port { path: path.into(), baud }), "{text:?}");
        }
    }
}
