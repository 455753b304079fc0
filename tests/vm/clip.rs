//! A clip that is known: what is fed into vivid's HDMI output comes in through its HDMI input, and has to come out of the program unchanged.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::Case;
use super::camera::{plug_in, record};
use super::guest::Guest;

const SIZE: (usize, usize) = (640, 480);
/// How many different frames there are.
const SOURCE_FRAMES: usize = 40;
/// How many are recorded.
const RECORDED_FRAMES: usize = 16;
/// How many of those have to differ, so that it is a clip and no still picture.
const DISTINCT_MIN: usize = 5;

/// Connects the HDMI output of the first vivid, `/dev/video1`, with its HDMI input, `/dev/video0`, at 640x480. Kernel 6.1 names that `loop_video`;
/// later ones connect an input to an output.
const CONNECT_HDMI: &str = "v4l2-ctl -d1 -o 1 && v4l2-ctl -d0 -i 3 && \
    v4l2-ctl -d1 --set-dv-bt-timings index=0 && v4l2-ctl -d0 --set-dv-bt-timings index=0 && \
    { v4l2-ctl -d0 -c loop_video=1 2>/dev/null || v4l2-ctl -d0 -c hdmi_000_0_is_connected_to=2; } && v4l2-ctl -d0 -c osd_text_mode=2";

pub(super) fn cases() -> Vec<Case> {
    vec![Case::new("clip_keeps_every_luma_code", keeps_every_luma_code)]
}

/// A gradient that moves, under a row of 8x8 squares that count in binary.
fn source_frame(index: usize) -> Vec<u8> {
    let code = |x: usize, y: usize| {
        let bit = x / 8;
        if y < 8 && bit < 16 { if index >> bit & 1 == 1 { 255 } else { 0 } } else { ((3 * x / 2 + y / 2 + 7 * index) % 256) as u8 }
    };
    (0..SIZE.1).flat_map(|y| (0..SIZE.0).map(move |x| code(x, y))).collect()
}

fn keeps_every_luma_code(guest: &mut Guest) -> Result<()> {
    let source: Vec<Vec<u8>> = (0..SOURCE_FRAMES).map(source_frame).collect();
    fs::write(guest.share().join("clip.raw"), source.concat())?;
    plug_in(guest, "n_devs=1 node_types=0x101 vid_cap_nr=0 vid_out_nr=1")?;
    guest.sh(&format!(
        "{CONNECT_HDMI} && v4l2-ctl -d1 -x width=640,height=480,pixelformat=GREY && v4l2-ctl -d0 -v width=640,height=480,pixelformat=GREY"
    ))?;
    // Two frames a second, each shown until the next is there: the program sees most of them however slow the guest is.
    let bytes = SIZE.0 * SIZE.1;
    guest.sh(&format!(
        "(i=0; while [ $i -lt {SOURCE_FRAMES} ]; do dd if=/share/clip.raw bs={bytes} skip=$i count=1 2>/dev/null; i=$((i + 1)); \
         usleep 500000; done; sleep 600) | v4l2-ctl -d1 --stream-out-mmap --stream-from=- >/dev/null 2>&1 & sleep 2"
    ))?;
    let recording = record(guest, "v4l2:/dev/video0?format=GREY", RECORDED_FRAMES)?;
    guest.sh("killall v4l2-ctl; killall sleep 2>/dev/null; true")?;
    guest.until("! pidof v4l2-ctl")?;
    ensure!((recording.width, recording.height) == SIZE, "recorded {}x{}", recording.width, recording.height);
    let mut shown: Vec<usize> = Vec::new();
    for (index, luma) in recording.lumas.iter().enumerate() {
        let found = source.iter().position(|frame| frame == luma).with_context(|| {
            let nearest = source.iter().map(|frame| frame.iter().zip(luma).filter(|(a, b)| a != b).count()).min();
            format!("frame {index} is none of the clip's; the nearest differs in {nearest:?} of {bytes} codes")
        })?;
        shown.push(found);
    }
    ensure!(shown.is_sorted(), "the frames came in the order {shown:?}");
    shown.dedup();
    ensure!(shown.len() >= DISTINCT_MIN, "only the frames {shown:?} came");
    Ok(())
}
