//! The screen: what QEMU sees on it is what the program writes as PNGs.

use anyhow::{Context, Result, ensure};
use image::RgbImage;
use serde_json::json;

use super::Case;
use super::camera::plug_in;
use super::clip::CONNECT_HDMI;
use super::guest::{Guest, LOG};
use super::program::Program;

/// 640x480 fits without scaling, so that every pixel can be compared.
pub(super) const SCREEN: (u32, u32) = (800, 480);
/// How many screenshots are tried.
const SCREENSHOTS: usize = 8;
const PICTURE: (u32, u32) = (640, 480);

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("screen_drm", &["display:"], |guest| shows(guest, "display:")),
        Case::new("screen_fbdev", &["fbdev:"], |guest| shows(guest, "fbdev:/dev/fb0")),
        Case::new("screen_plugged_in_again", &["display:"], plugged_in_again),
        Case::new("video_output_is_read_as_a_camera", &["v4l2loopback"], video_output),
    ]
}

/// A still picture on the screen and into a folder, watched until it is there.
fn start(guest: &mut Guest, output: &str) -> Result<Program> {
    guest.sh("modprobe virtio-gpu; i=0; while [ ! -e /dev/fb0 ]; do usleep 50000; i=$((i + 1)); [ $i -lt 400 ] || exit 1; done")?;
    plug_in(guest, "n_devs=1 node_types=0x1 vid_cap_nr=0")?;
    guest.sh("v4l2-ctl -d0 -v width=640,height=480,pixelformat=GREY && v4l2-ctl -d0 --set-parm 15 -c test_pattern=20,osd_text_mode=2")?;
    guest.sh("rm -rf /tmp/pictures")?;
    let program = Program::start(guest, &format!("--input v4l2:/dev/video0 --output {output} --output /tmp/pictures"))?;
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
    let taken =
        format!("i=0; until [ $(grep -c 'the picture is on' {LOG}) -ge 2 ]; do sleep 1; i=$((i + 1)); [ $i -lt 60 ] || exit 1; done");
    guest.sh(&taken).context("wait for the program to take the screen again")?;
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

/// What one program writes into vivid's HDMI output comes out of its HDMI input, where v4l2-ctl reads it as any program would.
fn video_output(guest: &mut Guest) -> Result<()> {
    plug_in(guest, "n_devs=2 node_types=0x101,0x1 vid_cap_nr=0,2 vid_out_nr=1")?;
    guest.sh(&format!("{CONNECT_HDMI} && v4l2-ctl -d2 -v width=640,height=480,pixelformat=GREY"))?;
    guest.sh("v4l2-ctl -d2 --set-parm 15 -c test_pattern=20,osd_text_mode=2 && v4l2-ctl -d2 --stream-mmap --stream-count=1 --stream-to=/tmp/grey")?;
    let grey = guest.fetch("/tmp/grey")?;
    let program = Program::start(guest, "--input v4l2:/dev/video2 --output v4l2:/dev/video1")?;
    program.wait_for_pictures(guest)?;
    guest.sh("v4l2-ctl -d0 -v width=640,height=480,pixelformat=YUYV --stream-mmap --stream-count=2 --stream-to=/tmp/read")?;
    let read = guest.fetch("/tmp/read")?;
    let frame = (PICTURE.0 * PICTURE.1) as usize;
    ensure!(read.len() == 4 * frame && grey.len() == frame, "read {} and {} bytes", read.len(), grey.len());
    let last = read[2 * frame..].iter().step_by(2);
    for (index, (&luma, &code)) in last.zip(&grey).enumerate() {
        // The camera's codes are full-range, what a video output gets is limited.
        let expected = 16.0 + f32::from(code) * 219.0 / 255.0;
        ensure!((f32::from(luma) - expected).abs() <= 1.0, "luma code {index} is {luma}; it should be {expected}");
    }
    program.stop(guest)
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
    let left = (SCREEN.0 - PICTURE.0) / 2;
    for (x, y, pixel) in shown.enumerate_pixels() {
        let inside = (left..left + PICTURE.0).contains(&x);
        let expected = if inside { *picture.get_pixel(x - left, y) } else { image::Rgb([0; 3]) };
        let off = pixel.0.iter().zip(expected.0).any(|(shown, expected)| shown.abs_diff(expected) > 1);
        ensure!(!off, "the screen's pixel ({x}, {y}) is {:?}; it should be {:?}", pixel.0, expected.0);
    }
    Ok(())
}
