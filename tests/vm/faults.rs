//! Cameras that fail: the process lives, says what is wrong, and pictures come back.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Case;
use super::camera::{NO_SCALER, plug_in};
use super::guest::Guest;
use super::program::{Program, frames};

const UNPLUGGED: u32 = 100;
/// From the node being there to the picture being back.
const BACK_MAX: Duration = Duration::from_secs(2);
/// The 99th of a hundred.
const P99: usize = UNPLUGGED as usize * 99 / 100 - 1;
/// Of one core, while there is no camera. A spin takes all of it; the bar of 5 % holds on a machine that is not emulated.
const LOAD_MAX: f64 = 0.25;
/// What an allocator may keep.
const RSS_GROWTH_KIB_MAX: u64 = 1024;

const VIVID: &str = "n_devs=1 node_types=0x1 vid_cap_nr=0";
const UNPLUG: &str = "echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind";
/// Small, so that emulation shows more than one picture a second.
const CAMERA: &str = "--input 'v4l2:/dev/video0?size=320x180&fps=15'";

pub(super) fn cases() -> Vec<Case> {
    // What is set off in the driver, and what of it comes into `/state`.
    let injected: [(&str, &str, Option<&str>); 7] = [
        ("flagged_buffer", "v4l2-ctl -d0 -c inject_v4l2_buf_flag_error=1", Some("flagged")),
        ("half_of_the_buffers_dropped", "v4l2-ctl -d0 -c percentage_of_dropped_buffers=50", None),
        ("fatal_streaming_error", "v4l2-ctl -d0 -c inject_fatal_streaming_error=1", Some("errors")),
        ("reqbufs_refused", "v4l2-ctl -d0 -c inject_vidioc_reqbufs_error=1,inject_fatal_streaming_error=1", Some("errors")),
        ("qbuf_refused", "v4l2-ctl -d0 -c inject_vidioc_qbuf_error=1", Some("errors")),
        ("streamon_refused", "v4l2-ctl -d0 -c inject_vidioc_streamon_error=1,inject_fatal_streaming_error=1", Some("errors")),
        ("disconnected", "v4l2-ctl -d0 -c disconnect=1", Some("reopened")),
    ];
    let mut cases: Vec<Case> = injected
        .into_iter()
        .map(|(name, command, counted)| Case::new(format!("fault_{name}"), move |guest| survives(guest, command, counted)))
        .collect();
    cases.push(Case::new("fault_no_camera_at_the_start", no_camera_at_the_start));
    cases.push(Case::new("fault_another_program_has_the_camera", another_program_has_the_camera));
    cases.push(Case::new("fault_another_camera_in_its_place", another_camera_in_its_place));
    cases.push(Case::new("fault_unplugged_100_times", unplugged_100_times));
    cases
}

fn watch_a_camera(guest: &mut Guest) -> Result<Program> {
    plug_in(guest, VIVID)?;
    let program = Program::start(guest, CAMERA)?;
    program.wait_for_pictures(guest)?;
    Ok(program)
}

fn survives(guest: &mut Guest, command: &str, counted: Option<&str>) -> Result<()> {
    let program = watch_a_camera(guest)?;
    guest.sh(command)?;
    if let Some(counted) = counted {
        program.wait(guest, &format!("the fault to be counted as {counted:?}"), |state| state["faults"][counted].as_u64() > Some(0))?;
    }
    program.wait_for_pictures(guest)?;
    program.stop(guest)
}

fn no_camera_at_the_start(guest: &mut Guest) -> Result<()> {
    guest.sh("! lsmod | grep -q '^vivid ' || rmmod vivid; ! ls /dev/video*")?;
    let program = Program::start(guest, &format!("{CAMERA} --wait"))?;
    let words = program.wait_for_absence(guest)?;
    ensure!(words.contains("camera"), "the page says {words:?}");
    let load = program.load(guest, Duration::from_secs(5))?;
    ensure!(load <= LOAD_MAX, "waiting for a camera takes {:.0} % of a core", 100.0 * load);
    guest.sh(&format!("modprobe vivid {VIVID}"))?;
    program.wait_for_pictures(guest)?;
    program.stop(guest)
}

fn another_program_has_the_camera(guest: &mut Guest) -> Result<()> {
    plug_in(guest, VIVID)?;
    guest.sh("v4l2-ctl -d0 --stream-mmap >/dev/null 2>&1 & usleep 500000")?;
    let program = Program::start(guest, &format!("{CAMERA} --wait"))?;
    let words = program.wait_for_absence(guest)?;
    ensure!(words.contains("another program") || words.contains("busy"), "the page says {words:?}");
    guest.sh("killall v4l2-ctl; usleep 100000")?;
    program.wait_for_pictures(guest)?;
    program.stop(guest)
}

/// The node is the same, but behind it is a multi-planar camera that gives another size: everything is negotiated anew.
fn another_camera_in_its_place(guest: &mut Guest) -> Result<()> {
    plug_in(guest, VIVID)?;
    let program = Program::start(guest, "--input 'v4l2:/dev/video0?size=320x180&fps=15'")?;
    let first = program.wait_for_pictures(guest)?;
    ensure!(first["width"] == 320, "the first camera gives {}x{}", first["width"], first["height"]);
    guest.sh(UNPLUG)?;
    program.wait_for_absence(guest)?;
    // An analog one: it has one size, whatever is asked for, and two fields. The program is there before anything could be set with v4l2-ctl.
    guest.sh(&format!("rmmod vivid; modprobe vivid {VIVID} multiplanar=2 num_inputs=1 input_types=1 {NO_SCALER}"))?;
    let before = program.state(guest)?.map_or(0, |state| frames(&state));
    program.wait(guest, "a picture of the other camera", |state| state["width"] == 720 && frames(state) >= before + 2)?;
    program.stop(guest)
}

fn unplugged_100_times(guest: &mut Guest) -> Result<()> {
    let program = watch_a_camera(guest)?;
    let mut took = Vec::new();
    let mut held_early = None;
    for round in 1..=UNPLUGGED {
        guest.sh(UNPLUG)?;
        program.wait_for_absence(guest)?;
        let before = program.state(guest)?.map_or(0, |state| frames(&state));
        guest.sh("echo vivid.0 >/sys/bus/platform/drivers/vivid/bind; ls /dev/video0")?;
        let back = Instant::now();
        program.wait(guest, "the picture to be back", |state| state["absent"].is_null() && frames(state) > before)?;
        took.push(back.elapsed());
        if round == 10 {
            held_early = Some(program.held(guest)?);
        }
    }
    let held = program.held(guest)?;
    took.sort();
    println!(
        "the picture was back after {} ms (p50), {} ms (p99), {} ms (worst); {held:?}",
        took[took.len() / 2].as_millis(),
        took[P99].as_millis(),
        took[took.len() - 1].as_millis()
    );
    ensure!(took[P99] <= BACK_MAX, "the picture was back after {} ms (p99)", took[P99].as_millis());
    let early = held_early.unwrap_or(held);
    ensure!(
        held.fds <= early.fds && held.threads <= early.threads && held.rss_kib <= early.rss_kib + RSS_GROWTH_KIB_MAX,
        "the process grew from {early:?} after 10 times to {held:?} after {UNPLUGGED}"
    );
    program.stop(guest)
}
