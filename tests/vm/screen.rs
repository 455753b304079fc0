//! The screen: what QEMU sees on it is what the program writes as PNGs.

use anyhow::{Context, Result, ensure};
use image::RgbImage;
use serde_json::json;

use super::Case;
use super::camera::plug_in;
use super::guest::Guest;
use super::program::{Program, frames};

/// 640x480 fits without scaling, so that every pixel can be compared.
pub(super) const SCREEN: (u32, u32) = (800, 480);
const PICTURE: (u32, u32) = (640, 480);

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("screen_drm", &["display:"], |guest| shows(guest, "display:")),
        Case::new("screen_fbdev", &["fbdev:"], |guest| shows(guest, "fbdev:/dev/fb0")),
        Case::new("screen_plugged_in_again", &["display:"], plugged_in_again),
    ]
}

/// A still picture on the screen and into a folder, shown until the colors have settled.
fn start(guest: &mut Guest, output: &str) -> Result<Program> {
    guest.sh("modprobe virtio-gpu; i=0; while [ ! -e /dev/fb0 ]; do usleep 50000; i=$((i + 1)); [ $i -lt 400 ] || exit 1; done")?;
    plug_in(guest, "n_devs=1 node_types=0x1 vid_cap_nr=0")?;
    guest.sh("v4l2-ctl -d0 -v width=640,height=480,pixelformat=GREY && v4l2-ctl -d0 --set-parm 15 -c test_pattern=20,osd_text_mode=2")?;
    guest.sh("rm -rf /tmp/pictures")?;
    let program = Program::start(guest, &format!("--input v4l2:/dev/video0 --output {output} --output /tmp/pictures"))?;
    program.wait(guest, "the colors to settle", |state| frames(state) >= 24)?;
    Ok(program)
}

fn shows(guest: &mut Guest, output: &str) -> Result<()> {
    let program = start(guest, output)?;
    let shown = screenshot(guest)?;
    let expected = newest_picture(guest)?;
    compare(&shown, &expected)?;
    program.stop(guest)
}

/// The connector loses its screen and gets it back; the program draws on it again.
fn plugged_in_again(guest: &mut Guest) -> Result<()> {
    let program = start(guest, "display:")?;
    guest.sh("echo off >/sys/class/drm/card0-Virtual-1/status; sleep 2")?;
    program.wait_for_pictures(guest)?;
    guest.sh("echo detect >/sys/class/drm/card0-Virtual-1/status; sleep 8")?;
    program.wait_for_pictures(guest)?;
    let shown = screenshot(guest)?;
    let expected = newest_picture(guest)?;
    compare(&shown, &expected)?;
    program.stop(guest)
}

fn screenshot(guest: &mut Guest) -> Result<RgbImage> {
    let path = guest.share().join("screen.png");
    guest.qmp.execute("screendump", json!({"filename": path, "format": "png", "device": "screen", "head": 0}))?;
    Ok(image::open(&path).with_context(|| format!("read {}", path.display()))?.to_rgb8())
}

fn newest_picture(guest: &mut Guest) -> Result<RgbImage> {
    // The last but one is certainly whole.
    let path = guest.sh("ls /tmp/pictures/*.png | tail -n 2 | head -n 1")?;
    Ok(image::load_from_memory(&guest.fetch(&path)?)?.to_rgb8())
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
