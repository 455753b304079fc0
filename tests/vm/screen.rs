//! The screen: what QEMU sees on it is what the program writes as PNGs.

use anyhow::{Context, Result, bail, ensure};
use image::RgbImage;
use serde_json::json;

use super::camera::plug_in;
use super::guest::{COMMAND_MAX, Guest, LOG};
use super::program::Program;
use super::{Case, NotRun};

/// The picture fits without scaling, so that every pixel can be compared, and leaves a bar above and one below.
pub(super) const SCREEN: (u32, u32) = (640, 480);
/// How many screenshots are tried.
const SCREENSHOTS: usize = 8;
/// As large as [`PICTURE`].
const CAMERA: &str = "--input 'v4l2:/dev/video0?size=640x360&fps=15&format=GREY'";
const PICTURE: (u32, u32) = (640, 360);

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("screen_drm", |guest| shows(guest, "display:")),
        Case::new("screen_fbdev", |guest| shows(guest, "fbdev:/dev/fb0")),
        Case::new("screen_plugged_in_again", plugged_in_again),
        Case::new("video_output_is_read_as_a_camera", video_output),
    ]
}

/// A still picture on the screen and into a folder, watched until it is there.
fn start(guest: &mut Guest, output: &str) -> Result<Program> {
    guest.sh("modprobe virtio-gpu")?;
    guest.until("[ -e /dev/fb0 ]")?;
    plug_in(guest, "n_devs=1 node_types=0x1 vid_cap_nr=0")?;
    guest.sh("v4l2-ctl -d0 -c test_pattern=20,osd_text_mode=2; rm -rf /tmp/pictures")?;
    let program = Program::start(guest, &format!("{CAMERA} --output {output} --output /tmp/pictures"))?;
    program.wait_for_pictures(guest)?;
    Ok(program)
}

fn shows(guest: &mut Guest, output: &str) -> Result<()> {
    let program = start(guest, output)?;
    shows_one_of_the_pictures(guest, &program)?;
    program.stop(guest)
}

/// The connector loses its screen and gets it back; the program draws on it again.
fn plugged_in_again(guest: &mut Guest) -> Result<()> {
    let program = start(guest, "display:")?;
    guest.sh("echo off >/sys/class/drm/card0-Virtual-1/status; sleep 3")?;
    program.wait_for_pictures(guest)?;
    guest.sh("echo detect >/sys/class/drm/card0-Virtual-1/status")?;
    // It says so each time that it takes a screen; that it still draws would prove nothing, as the kernel scans out what was there.
    guest.until(&format!("[ $(grep -c 'the picture is on' {LOG}) -ge 2 ]"))?;
    shows_one_of_the_pictures(guest, &program)?;
    program.stop(guest)
}

/// A screenshot is a picture that was written as PNG too. Between two pictures that are more than a second apart, as they may be on a busy
/// machine, there is a placard on the screen; so a few screenshots are tried.
fn shows_one_of_the_pictures(guest: &mut Guest, program: &Program) -> Result<()> {
    let mut last = Ok(());
    for _ in 0..SCREENSHOTS {
        let shown = screenshot(guest)?;
        program.wait_for_pictures(guest)?;
        for path in guest.sh("ls /tmp/pictures/*.png | tail -n 5")?.lines().rev().skip(1) {
            let picture = image::load_from_memory(&guest.fetch(path)?)?.to_rgb8();
            last = compare(&shown, &picture);
            if last.is_ok() {
                return last;
            }
        }
    }
    last
}

/// What the program writes into v4l2loopback, v4l2-ctl reads as any program would.
fn video_output(guest: &mut Guest) -> Result<()> {
    if guest.run("modprobe videodev && modprobe v4l2loopback video_nr=9", COMMAND_MAX)?.0 != 0 {
        bail!(NotRun("the guest has no v4l2loopback"));
    }
    plug_in(guest, "n_devs=1 node_types=0x1 vid_cap_nr=0")?;
    guest.sh("v4l2-ctl -d0 -v width=640,height=360,pixelformat=GREY && v4l2-ctl -d0 -c test_pattern=20,osd_text_mode=2 && \
         v4l2-ctl -d0 --stream-mmap --stream-count=1 --stream-to=/tmp/grey")?;
    let grey = guest.fetch("/tmp/grey")?;
    let program = Program::start(guest, &format!("{CAMERA} --output v4l2:/dev/video9"))?;
    program.wait_for_pictures(guest)?;
    let mut last = Ok(());
    for _ in 0..SCREENSHOTS {
        guest.sh("v4l2-ctl -d9 --stream-mmap --stream-count=2 --stream-to=/tmp/read")?;
        last = is_limited_range_yuyv_of(&guest.fetch("/tmp/read")?, &grey);
        if last.is_ok() {
            break;
        }
    }
    last?;
    program.stop(guest)?;
    guest.sh("rmmod v4l2loopback")?;
    Ok(())
}

/// Whether the last of the frames `read` has the luma of `grey`: the camera's codes are full-range, what a video output gets is limited.
fn is_limited_range_yuyv_of(read: &[u8], grey: &[u8]) -> Result<()> {
    let frame = (PICTURE.0 * PICTURE.1) as usize;
    ensure!(read.len() >= 2 * frame && grey.len() == frame, "read {} and {} bytes", read.len(), grey.len());
    let last = read[read.len() - 2 * frame..].iter().step_by(2);
    for (index, (&luma, &code)) in last.zip(grey).enumerate() {
        let expected = 16.0 + f32::from(code) * 219.0 / 255.0;
        ensure!((f32::from(luma) - expected).abs() <= 1.0, "luma code {index} is {luma}; it should be {expected}");
    }
    Ok(())
}

fn screenshot(guest: &mut Guest) -> Result<RgbImage> {
    let path = guest.share().join("screen.png");
    guest.qmp.execute("screendump", json!({"filename": path, "format": "png", "device": "screen", "head": 0}))?;
    Ok(image::open(&path).with_context(|| format!("read {}", path.display()))?.to_rgb8())
}

/// Black bars, and between them the picture, within one code.
fn compare(shown: &RgbImage, picture: &RgbImage) -> Result<()> {
    ensure!(shown.dimensions() == SCREEN, "the screen is {:?}", shown.dimensions());
    ensure!(picture.dimensions() == PICTURE, "the picture is {:?}", picture.dimensions());
    let top = (SCREEN.1 - PICTURE.1) / 2;
    for (x, y, pixel) in shown.enumerate_pixels() {
        let inside = (top..top + PICTURE.1).contains(&y);
        let expected = if inside { *picture.get_pixel(x, y - top) } else { image::Rgb([0; 3]) };
        let off = pixel.0.iter().zip(expected.0).any(|(shown, expected)| shown.abs_diff(expected) > 1);
        ensure!(!off, "the screen's pixel ({x}, {y}) is {:?}; it should be {:?}", pixel.0, expected.0);
    }
    Ok(())
}
