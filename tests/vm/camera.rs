//! Cameras that work: every format, size and kind of node that vivid offers and the program reads.

use anyhow::{Result, bail, ensure};

use super::Case;
use super::guest::{COMMAND_MAX, Guest};
use super::y4m::Recording;

/// How vivid makes a frame: single-planar nodes (1) or multi-planar ones (2).
const NODES: &str = "n_devs=3 multiplanar=1,2,1 node_types=0x101,0x101,0x101";

/// A format that vivid offers.
struct Format {
    fourcc: &'static str,
    /// The luma of one pixel: where it lies in a row, given its column.
    luma: fn(row: &[u8], column: usize) -> u8,
    /// Bytes of a row of 640 pixels of luma, and whatever lies between.
    row: usize,
    /// By how much the program may round differently.
    tolerance: u8,
}

const FORMATS: [Format; 8] = [
    Format { fourcc: "GREY", luma: |row, x| row[x], row: 640, tolerance: 0 },
    Format { fourcc: "YUYV", luma: |row, x| row[2 * x], row: 1280, tolerance: 0 },
    Format { fourcc: "UYVY", luma: |row, x| row[2 * x + 1], row: 1280, tolerance: 0 },
    Format { fourcc: "NV12", luma: |row, x| row[x], row: 640, tolerance: 0 },
    Format { fourcc: "YU12", luma: |row, x| row[x], row: 640, tolerance: 0 },
    Format { fourcc: "Y10 ", luma: |row, x| deep(row, x, 2), row: 1280, tolerance: 1 },
    Format { fourcc: "Y12 ", luma: |row, x| deep(row, x, 4), row: 1280, tolerance: 1 },
    Format { fourcc: "Y16 ", luma: |row, x| deep(row, x, 8), row: 1280, tolerance: 1 },
];

fn deep(row: &[u8], x: usize, shift: u32) -> u8 {
    (u16::from_le_bytes([row[2 * x], row[2 * x + 1]]) >> shift).min(255) as u8
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("camera_best_format", &[], |guest| captures_what_the_driver_gives(guest, &FORMATS[0], "/dev/video0", "")),
        Case::new("camera_shipped_model", &[], shipped_model),
        Case::new("camera_interlaced_pal", &[], interlaced_pal),
    ];
    for (index, format) in FORMATS.iter().enumerate() {
        let name = format.fourcc.trim_end();
        cases.push(Case::new(format!("camera_format_{name}"), &["--camera-format"], move |guest| {
            let format = &FORMATS[index];
            captures_what_the_driver_gives(guest, format, "/dev/video0", &format!("--camera-format {name}"))
        }));
    }
    for (name, index) in [("GREY", 0), ("YUYV", 1), ("NV12", 3)] {
        cases.push(Case::new(format!("camera_multiplanar_{name}"), &["--camera-format"], move |guest| {
            captures_what_the_driver_gives(guest, &FORMATS[index], "/dev/video2", &format!("--camera-format {name}"))
        }));
    }
    cases
}

/// Loads vivid anew, with settings of nobody else, and a picture that stands still.
pub(super) fn plug_in(guest: &mut Guest, parameters: &str) -> Result<()> {
    guest.sh(&format!("! lsmod | grep -q '^vivid ' || rmmod vivid; modprobe vivid {parameters}; ls /dev/video*"))?;
    Ok(())
}

/// Grey ramp, no text, 640x480, faster than 5 frames a second.
fn still_picture(guest: &mut Guest, device: &str) -> Result<()> {
    guest.sh(&format!(
        "v4l2-ctl -d {device} -v width=640,height=480,pixelformat=GREY && v4l2-ctl -d {device} -P >/dev/null && \
         v4l2-ctl -d {device} --set-parm 15 -c test_pattern=20,osd_text_mode=2"
    ))?;
    Ok(())
}

/// Records a few frames of a camera with the small model.
pub(super) fn record(guest: &mut Guest, device: &str, frames: usize, options: &str) -> Result<Recording> {
    let command = format!(
        "rm -f /tmp/x.y4m; autochrome run --model /share/small.onnx --input v4l2:{device} --output /tmp/x.y4m --frames {frames} {options}"
    );
    let (code, output) = guest.run(&command, COMMAND_MAX)?;
    if code != 0 {
        bail!("exit code {code}: {output}");
    }
    let recording = Recording::parse(&guest.fetch("/tmp/x.y4m")?)?;
    ensure!(recording.lumas.len() == frames, "{} frames were recorded, not {frames}", recording.lumas.len());
    Ok(recording)
}

/// The program's luma is what `v4l2-ctl` gets from the same node in the same format.
fn captures_what_the_driver_gives(guest: &mut Guest, format: &Format, device: &str, options: &str) -> Result<()> {
    plug_in(guest, NODES)?;
    still_picture(guest, device)?;
    let Format { fourcc, luma, row, tolerance } = format;
    guest.sh(&format!(
        "v4l2-ctl -d {device} -v width=640,height=480,pixelformat='{fourcc}' --stream-mmap --stream-count=1 --stream-to=/tmp/raw 2>&1"
    ))?;
    let raw = guest.fetch("/tmp/raw")?;
    ensure!(raw.len() >= row * 480, "v4l2-ctl got {} bytes", raw.len());
    let expected: Vec<u8> = raw.chunks_exact(*row).take(480).flat_map(|row| (0..640).map(|x| luma(row, x))).collect();
    ensure!(expected.iter().max() > expected.iter().min(), "the camera gives no picture");
    let recording = record(guest, device, 3, options)?;
    ensure!((recording.width, recording.height) == (640, 480), "recorded {}x{}", recording.width, recording.height);
    for (index, found) in recording.lumas.iter().enumerate() {
        let worst = found.iter().zip(&expected).map(|(f, e)| f.abs_diff(*e)).max();
        ensure!(worst <= Some(*tolerance), "frame {index}: a luma code is {worst:?} away from the camera's");
    }
    ensure!(recording.chromas.iter().flatten().any(|&code| code.abs_diff(128) > 8), "the picture has no color");
    Ok(())
}

fn shipped_model(guest: &mut Guest) -> Result<()> {
    plug_in(guest, NODES)?;
    still_picture(guest, "/dev/video0")?;
    guest.sh("autochrome run --input v4l2:/dev/video0 --output /tmp/x.y4m --frames 1")?;
    let recording = Recording::parse(&guest.fetch("/tmp/x.y4m")?)?;
    ensure!((recording.width, recording.height, recording.lumas.len()) == (640, 480, 1), "it recorded something else");
    Ok(())
}

/// An analog grabber: 576 lines in two fields. Whole frames or single fields, but all of the width.
fn interlaced_pal(guest: &mut Guest) -> Result<()> {
    plug_in(guest, NODES)?;
    // A real grabber has no scaler: whatever is asked for, it gives 720x576.
    guest.sh(
        "v4l2-ctl -d0 -c enable_capture_scaler=0,enable_capture_cropping=0,enable_capture_composing=0 && v4l2-ctl -d0 -i 1 -s pal && \
         v4l2-ctl -d0 -c test_pattern=20,osd_text_mode=2",
    )?;
    let recording = record(guest, "/dev/video0", 2, "")?;
    ensure!(recording.width == 720 && [576, 288].contains(&recording.height), "recorded {}x{}", recording.width, recording.height);
    Ok(())
}
