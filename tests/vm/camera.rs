//! Cameras that work: every format, size and kind of node that vivid offers and the program reads.

use anyhow::{Result, bail, ensure};

use super::Case;
use super::guest::{COMMAND_MAX, Guest};
use super::y4m::Recording;

/// Single-planar nodes (1) and multi-planar ones (2): video0, video1 and video2.
const NODES: &str = "n_devs=3 multiplanar=1,2,1 node_types=0x1,0x1,0x1 vid_cap_nr=0,1,2";
/// No real grabber scales: whatever is asked for, it gives what the standard says.
pub(super) const NO_SCALER: &str = "ccs_cap_mode=0";
/// The smallest that vivid offers: emulation is slow.
const SIZE: (usize, usize) = (320, 180);
/// How many frames are recorded.
const FRAMES: usize = 3;

/// A format that vivid offers.
struct Format {
    fourcc: &'static str,
    /// Bytes from one pixel's luma to the next.
    step: usize,
    /// The luma of the pixel that begins here.
    luma: fn(&[u8]) -> u8,
    /// By how much the program may round differently.
    tolerance: u8,
}

const FORMATS: [Format; 8] = [
    Format { fourcc: "GREY", step: 1, luma: |pixel| pixel[0], tolerance: 0 },
    Format { fourcc: "YUYV", step: 2, luma: |pixel| pixel[0], tolerance: 0 },
    Format { fourcc: "UYVY", step: 2, luma: |pixel| pixel[1], tolerance: 0 },
    Format { fourcc: "NV12", step: 1, luma: |pixel| pixel[0], tolerance: 0 },
    Format { fourcc: "YU12", step: 1, luma: |pixel| pixel[0], tolerance: 0 },
    Format { fourcc: "Y10 ", step: 2, luma: |pixel| deep(pixel, 2), tolerance: 1 },
    Format { fourcc: "Y12 ", step: 2, luma: |pixel| deep(pixel, 4), tolerance: 1 },
    Format { fourcc: "Y16 ", step: 2, luma: |pixel| deep(pixel, 8), tolerance: 1 },
];

fn deep(pixel: &[u8], shift: u32) -> u8 {
    (u16::from_le_bytes([pixel[0], pixel[1]]) >> shift).min(255) as u8
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("camera_shipped_model", shipped_model),
        Case::new("camera_is_listed", is_listed),
        Case::new("camera_interlaced_pal", interlaced_pal),
    ];
    for format in &FORMATS {
        let name = format.fourcc.trim_end();
        cases.push(Case::new(format!("camera_format_{name}"), |guest| captures_what_the_driver_gives(guest, format, "/dev/video0")));
    }
    for format in FORMATS.iter().filter(|format| ["GREY", "YUYV", "NV12"].contains(&format.fourcc)) {
        let name = format.fourcc;
        cases.push(Case::new(format!("camera_multiplanar_{name}"), |guest| captures_what_the_driver_gives(guest, format, "/dev/video1")));
    }
    cases
}

/// Loads vivid anew, with settings of nobody else.
pub(super) fn plug_in(guest: &mut Guest, parameters: &str) -> Result<()> {
    guest.sh(&format!("! lsmod | grep -q '^vivid ' || rmmod vivid; modprobe vivid {parameters}; ls /dev/video*"))?;
    Ok(())
}

/// Records a few frames of an input with the small model.
pub(super) fn record(guest: &mut Guest, input: &str, frames: usize) -> Result<Recording> {
    let command =
        format!("rm -f /tmp/x.y4m; autochrome run --model /share/small.onnx --input '{input}' --output /tmp/x.y4m --frames {frames}");
    let (code, output) = guest.run(&command, COMMAND_MAX)?;
    if code != 0 {
        bail!("exit code {code}: {output}");
    }
    let recording = Recording::parse(&guest.fetch("/tmp/x.y4m")?)?;
    ensure!(recording.lumas.len() == frames, "{} frames were recorded, not {frames}", recording.lumas.len());
    Ok(recording)
}

/// The program's luma is what `v4l2-ctl` gets from the same node in the same format.
fn captures_what_the_driver_gives(guest: &mut Guest, format: &Format, device: &str) -> Result<()> {
    plug_in(guest, NODES)?;
    let Format { fourcc, step, luma, tolerance } = format;
    let (width, height) = SIZE;
    // A grey ramp that stands still, without text.
    guest.sh(&format!("v4l2-ctl -d {device} -c test_pattern=20,osd_text_mode=2"))?;
    guest.sh(&format!(
        "v4l2-ctl -d {device} -v width={width},height={height},pixelformat='{fourcc}' --stream-mmap --stream-count=1 --stream-to=/tmp/raw"
    ))?;
    let raw = guest.fetch("/tmp/raw")?;
    ensure!(raw.len() >= width * height * step, "v4l2-ctl got {} bytes", raw.len());
    let expected: Vec<u8> = raw.chunks_exact(*step).take(width * height).map(luma).collect();
    ensure!(expected.iter().max() > expected.iter().min(), "the camera gives no picture");
    let recording = record(guest, &format!("v4l2:{device}?size={width}x{height}&fps=15&format={}", fourcc.trim_end()), FRAMES)?;
    ensure!((recording.width, recording.height) == SIZE, "recorded {}x{}", recording.width, recording.height);
    for (index, found) in recording.lumas.iter().enumerate() {
        let worst = found.iter().zip(&expected).map(|(f, e)| f.abs_diff(*e)).max().unwrap_or(u8::MAX);
        ensure!(worst <= *tolerance, "frame {index}: a luma code is {worst} away from the camera's");
    }
    ensure!(recording.chromas.iter().flatten().any(|&code| code.abs_diff(128) > 8), "the picture has no color");
    Ok(())
}

/// As a person starts it: the first camera, nothing asked for, the model in the program.
fn shipped_model(guest: &mut Guest) -> Result<()> {
    plug_in(guest, NODES)?;
    guest.sh("autochrome run --input v4l2:auto --output /tmp/x.y4m --frames 1")?;
    let recording = Recording::parse(&guest.fetch("/tmp/x.y4m")?)?;
    ensure!((recording.width, recording.height, recording.lumas.len()) == (640, 480, 1), "it recorded something else");
    Ok(())
}

fn is_listed(guest: &mut Guest) -> Result<()> {
    plug_in(guest, NODES)?;
    let list = guest.sh("autochrome list-cameras")?;
    for word in ["/dev/video0", "/dev/video1", "/dev/video2", "GREY", "YUYV", "320x180", "640x480"] {
        ensure!(list.contains(word), "list-cameras does not say {word}");
    }
    Ok(())
}

/// An analog grabber: every other row is white in one field and black in the other. What moved between two fields looks like that, so only one
/// of them may be in a picture; as they come they are only where somebody asked for that.
fn interlaced_pal(guest: &mut Guest) -> Result<()> {
    plug_in(guest, &format!("n_devs=1 node_types=0x1 vid_cap_nr=0 {NO_SCALER}"))?;
    guest.sh("v4l2-ctl -d0 -c test_pattern=15,osd_text_mode=2")?;
    for (deinterlace, combed) in [("auto", false), ("off", true)] {
        let recording = record(guest, &format!("v4l2:/dev/video0?input=1&standard=PAL&format=GREY&deinterlace={deinterlace}"), 2)?;
        ensure!(
            recording.width == 720 && [576, 288].contains(&recording.height),
            "deinterlace={deinterlace}: recorded {}x{}",
            recording.width,
            recording.height
        );
        for luma in &recording.lumas {
            let rows: Vec<&[u8]> = luma.chunks_exact(720).collect();
            let differing = rows.windows(2).filter(|pair| pair[0][360].abs_diff(pair[1][360]) > 100).count();
            ensure!(
                if combed { differing == rows.len() - 1 } else { differing == 0 },
                "deinterlace={deinterlace}: {differing} of {} rows differ from the row below",
                rows.len()
            );
        }
    }
    Ok(())
}
