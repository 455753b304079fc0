//! The knob box: a serial port of the board, and a USB adapter that comes and goes.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::json;

use super::Case;
use super::guest::{Guest, PATIENCE};
use super::program::Program;

pub(super) fn cases() -> Vec<Case> {
    vec![Case::new("panel_sets_the_saturation", panel), Case::new("panel_unplugged_and_plugged_in", usb_panel)]
}

fn panel(guest: &mut Guest) -> Result<()> {
    let program = Program::start(guest, "--input test-pattern --panel /dev/ttyS1")?;
    program.wait_for_pictures(guest)?;
    converse(&mut guest.panel)?;
    program.wait(guest, "the saturation to be 0.5", |state| state["saturation"] == 0.5)?;
    program.stop(guest)
}

/// The picture goes on without the box, and the box is answered again once it is back.
fn usb_panel(guest: &mut Guest) -> Result<()> {
    guest.sh("modprobe xhci-pci && modprobe ftdi_sio")?;
    let plug_in = json!({"driver": "usb-serial", "id": "knobs", "bus": "xhci.0", "chardev": "usb"});
    guest.qmp.execute("device_add", plug_in.clone())?;
    guest.until("[ -e /dev/ttyUSB0 ]")?;
    let program = Program::start(guest, "--input test-pattern --panel /dev/ttyUSB0")?;
    program.wait_for_pictures(guest)?;
    converse(&mut guest.usb)?;
    program.wait(guest, "the saturation to be 0.5", |state| state["saturation"] == 0.5)?;

    guest.qmp.execute("device_del", json!({"id": "knobs"}))?;
    guest.qmp.event("DEVICE_DELETED")?;
    guest.until("[ ! -e /dev/ttyUSB0 ]")?;
    program.wait_for_pictures(guest)?;

    guest.qmp.execute("device_add", plug_in)?;
    guest.until("[ -e /dev/ttyUSB0 ]")?;
    converse(&mut guest.usb)?;
    program.stop(guest)?;
    guest.qmp.execute("device_del", json!({"id": "knobs"}))?;
    guest.qmp.event("DEVICE_DELETED")
}

/// Plays the box: it says who it is until it is answered, and turns a knob.
fn converse(line: &mut UnixStream) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        say(line, "HELLO proto=1 box=test fw=1")?;
        match answer(line, Duration::from_secs(2))? {
            Some(answer) => {
                ensure!(answer.contains("proto=1"), "HELLO is answered with {answer:?}");
                break;
            }
            None if Instant::now() > deadline => bail!("HELLO is not answered"),
            None => {}
        }
    }
    say(line, "SET saturation=0.5")?;
    match answer(line, PATIENCE)? {
        Some(answer) => ensure!(answer.contains("saturation=0.5"), "SET is answered with {answer:?}"),
        None => bail!("SET is not answered"),
    }
    Ok(())
}

fn say(line: &mut UnixStream, words: &str) -> Result<()> {
    Ok(writeln!(line, "{words}")?)
}

/// The next line that is an answer: `ok` or `err`. Pushed states begin with `!` and are passed over.
fn answer(line: &mut UnixStream, limit: Duration) -> Result<Option<String>> {
    let deadline = Instant::now() + limit;
    let mut text = Vec::new();
    let mut byte = [0];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        line.set_read_timeout(Some(left))?;
        match line.read(&mut byte) {
            Ok(0) => bail!("QEMU closed the line"),
            Ok(_) if byte == *b"\n" => {
                let said = String::from_utf8_lossy(&text).trim().to_owned();
                ensure!(!said.starts_with("err"), "the program answers {said:?}");
                if said.starts_with("ok") {
                    return Ok(Some(said));
                }
                text.clear();
            }
            Ok(_) => text.push(byte[0]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}
