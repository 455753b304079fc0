//! The heart, told what time it is, and with a manager that only listens.

use std::sync::mpsc::{Receiver, channel};

use crossbeam_channel::{bounded, never};

use super::*;
use crate::coloring::Colored;
use crate::input::{Faults, Origin};
use crate::pipeline::{Controls, Flow, Outlet};
use crate::showing::Showing;
use crate::statistics::{Percentiles, Snapshot, Statistics};
use crate::status::Heat;

fn heard(status: &Arc<Status>, watchdog: Option<Duration>) -> (Heart, Receiver<String>) {
    let (heard_in, heard) = channel();
    let tell = move |news: &[NotifyState<'_>]| {
        let line = news.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        heard_in.send(line).map_err(io::Error::other)
    };
    (Heart::telling(Arc::clone(status), watchdog, Box::new(tell)), heard)
}

fn snapshot(absent: Option<&str>) -> Arc<Snapshot> {
    let latency_ms = Percentiles { p50: 31.4, ..Percentiles::default() };
    Arc::new(Snapshot {
        fps: 24.83,
        latency_ms,
        model: Arc::from("m"),
        absent: absent.map(Arc::from),
        ..Statistics::new(crate::settings::Settings::neutral()).now().clone()
    })
}

#[test]
fn the_manager_hears_four_times_in_its_patience_and_no_more() {
    let status = Arc::new(Status::default());
    let (mut heart, heard) = heard(&status, Some(Duration::from_secs(8)));
    let start = Instant::now();
    for millisecond in (0..8000).step_by(40) {
        status.snapshot.put(snapshot((millisecond > 5000).then_some("no camera\nWATCHDOG=trigger")));
        heart.beat(start + Duration::from_millis(millisecond));
    }
    let lines = heard.try_iter().collect::<Vec<_>>();
    let picture = "STATUS=24.8 frames/s, 31 ms, m";
    let expected = [
        format!("{picture}; READY=1; WATCHDOG=1"),
        format!("{picture}; WATCHDOG=1"),
        format!("{picture}; WATCHDOG=1"),
        "STATUS=no camera WATCHDOG=trigger; WATCHDOG=1".to_owned(),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn without_a_watchdog_there_is_only_status() {
    let status = Arc::new(Status::default());
    status.heat.put(Arc::new(Heat { celsius: Some(61.2), rung: 1 }));
    let (mut heart, heard) = heard(&status, None);
    let start = Instant::now();
    heart.beat(start);
    status.snapshot.put(snapshot(None));
    heart.beat(start + STATUS_PERIOD);
    let lines = heard.try_iter().collect::<Vec<_>>();
    assert_eq!(lines, ["STATUS=no picture yet; READY=1", "STATUS=24.8 frames/s, 31 ms, m, 61 degrees C"]);
}

#[test]
fn a_thread_that_stands_still_ends_the_signs_of_life_until_it_goes_on() {
    let status = Arc::new(Status::default());
    let pulse = status.pulses.begin("page");
    let (mut heart, heard) = heard(&status, Some(Duration::from_secs(8)));
    let start = Instant::now();
    heart.beat(start);
    heart.beat(start + Duration::from_secs(5));
    pulse.beat();
    heart.beat(start + Duration::from_secs(7));
    let lines = heard.try_iter().collect::<Vec<_>>();
    assert!(lines[0].ends_with("READY=1; WATCHDOG=1"), "{lines:?}");
    assert_eq!(lines[1], "STATUS=the thread page stands still");
    // The pulse beats by the real clock, and the real clock stands at the start.
    assert_eq!(lines[2], "STATUS=the thread page stands still");
    drop(pulse);
    heart.beat(start + Duration::from_secs(9));
    assert!(heard.recv().unwrap().ends_with("WATCHDOG=1"));
}

/// What the manager hears of a whole pipeline whose camera does `source`.
fn heard_of(source: impl FnOnce(Outlet) + Send + 'static, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
    let status = Arc::new(Status::default());
    let (heart, heard) = heard(&status, Some(Duration::from_millis(40)));
    let (quit_in, quit) = bounded(1);
    let run = std::thread::spawn(move || {
        let color = |frame: crate::input::Frame, _: Option<&_>, _: &[_], into: &mut Colored| {
            (into.sequence, into.captured_at, into.picture.luma) = (frame.sequence, frame.captured_at, frame.luma);
            Ok(())
        };
        let source = move |outlet| {
            source(outlet);
            Ok(())
        };
        let showing = Showing::new(Vec::new(), Flow::Live, status, heart, crate::settings::Settings::neutral());
        crate::pipeline::run(Flow::Live, Controls { commands: never(), quit }, source, color, move |inlet| showing.run(inlet, u64::MAX))
    });
    let mut lines = Vec::new();
    while !enough(&lines) {
        match heard.recv_timeout(Duration::from_secs(60)) {
            Ok(line) => lines.push(line),
            Err(_) => break,
        }
    }
    drop(quit_in);
    run.join().unwrap().unwrap();
    lines.extend(heard.try_iter());
    lines
}

#[test]
fn a_camera_that_is_absent_is_no_reason_to_start_again() {
    let absent = |outlet: Outlet| {
        while !outlet.is_closed() {
            outlet.absent(Arc::from("no camera on usb-1"), Faults::default());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let lines = heard_of(absent, |lines| lines.len() > 4);
    assert_eq!(lines[0], "STATUS=no camera on usb-1; READY=1; WATCHDOG=1");
    assert!(lines.iter().all(|line| line.ends_with("WATCHDOG=1")), "{lines:?}");
}

#[test]
fn a_camera_that_hangs_ends_the_signs_of_life() {
    let (hung_in, hung) = bounded::<()>(1);
    let hangs = move |mut outlet: Outlet| {
        for _ in 0..5 {
            let _ = outlet.send(autochrome_model::Plane::filled(2, 2, 7), Origin::default(), Vec::new());
            std::thread::sleep(Duration::from_millis(20));
        }
        // Long enough for a placard that says that the picture stands still.
        let _ = hung.recv_timeout(Duration::from_millis(1200));
    };
    let lines = heard_of(hangs, |_| false);
    drop(hung_in);
    assert!(lines[0].contains("READY=1"), "{lines:?}");
    assert!(lines.len() <= 5 && lines.iter().all(|line| !line.contains("stands still")), "{lines:?}");
}
