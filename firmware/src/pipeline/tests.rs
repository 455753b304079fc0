//! The pipeline with fakes for its stages: no camera, no model, no page.

use std::sync::mpsc;

use autochrome_model::{LumaRange, Picture};
use crossbeam_channel::{never, unbounded};

use super::*;
use crate::settings::Settings;

fn grey(value: u8) -> Plane<u8> {
    Plane::filled(1, 1, value)
}

fn colored(frame: Frame) -> Colored {
    let Frame { sequence, captured_at, luma } = frame;
    let picture = Picture { cb: luma.clone(), cr: luma.clone(), luma };
    Colored {
        sequence,
        captured_at,
        picture,
        range: LumaRange::Full,
        cut: false,
        settings: Settings { saturation: 1.0, temperature: None },
    }
}

fn controls() -> Controls {
    Controls { commands: never(), quit: never() }
}

fn count_up(frames: u64) -> impl FnOnce(Outlet) -> Result<()> {
    move |mut outlet| {
        (0..frames).find(|&i| outlet.send(grey(i as u8)).is_break());
        Ok(())
    }
}

fn endless(mut outlet: Outlet) -> Result<()> {
    while outlet.send(grey(0)).is_continue() {
        std::thread::yield_now();
    }
    Ok(())
}

fn see_all(inlet: Inlet) -> Result<()> {
    inlet.for_each(drop);
    Ok(())
}

#[test]
fn nothing_is_lost_from_a_file_and_the_next_frame_is_at_hand() {
    let (seen_in, seen) = mpsc::channel();
    let color = move |frame: Frame, next: Option<&Frame>, _: &[Command]| {
        assert_eq!(next.map(|next| next.sequence), (frame.sequence < 99).then_some(frame.sequence + 1));
        Ok(colored(frame))
    };
    let show = move |inlet: Inlet| {
        inlet.for_each(|arrival| seen_in.send((arrival.colored.sequence, arrival.dropped, arrival.skipped)).unwrap());
        Ok(())
    };
    run(Flow::Lossless, controls(), count_up(100), color, show).unwrap();
    assert_eq!(seen.iter().collect::<Vec<_>>(), (0..100).map(|i| (i, 0, 0)).collect::<Vec<_>>());
}

#[test]
fn the_newest_frame_wins_and_every_loss_is_counted() {
    let (go_in, go) = unbounded::<()>();
    let (seen_in, seen) = mpsc::channel();
    let (sent_in, sent) = unbounded::<()>();
    // Frame 0 is being colored while 1 to 5 are offered: 1 and 2 wait, 3 to 5 find no room.
    let source = move |mut outlet: Outlet| {
        let _ = outlet.send(grey(0));
        go.recv().unwrap();
        (1..=5).for_each(|i| assert!(outlet.send(grey(i)).is_continue()));
        sent_in.send(()).unwrap();
        go.recv().unwrap();
        let _ = outlet.send(grey(6));
        Ok(())
    };
    let go_on = go_in.clone();
    let color = move |frame: Frame, _: Option<&Frame>, _: &[Command]| {
        if frame.sequence == 0 {
            go_on.send(()).unwrap();
            sent.recv().unwrap();
        }
        Ok(colored(frame))
    };
    let show = move |inlet: Inlet| {
        for arrival in inlet {
            if arrival.colored.sequence == 2 {
                go_in.send(()).unwrap();
            }
            seen_in.send((arrival.colored.sequence, arrival.dropped, arrival.skipped)).unwrap();
        }
        Ok(())
    };
    run(Flow::Live, controls(), source, color, show).unwrap();
    // The loss of 3 to 5 is first told by the frame that came after them.
    assert_eq!(seen.iter().collect::<Vec<_>>(), [(0, 0, 0), (2, 0, 1), (6, 3, 1)]);
}

#[test]
fn a_failing_stage_ends_the_run_with_its_error() {
    let fail = |name: &str| Failure::new(Exit::Broken, format!("{name} failed"));
    let paint = |frame: Frame, _: Option<&Frame>, _: &[Command]| Ok(colored(frame));
    let look = see_all;
    for flow in [Flow::Live, Flow::Lossless] {
        let source = run(flow, controls(), move |_| Err(fail("source")), paint, look);
        let color = run(flow, controls(), endless, move |_, _, _| Err(fail("color")), look);
        let outputs = run(flow, controls(), endless, paint, move |_| Err(fail("outputs")));
        let panic = run(flow, controls(), endless, |_, _, _| panic!("a bug"), look);
        let all = [source, color, outputs, panic].map(|result| result.unwrap_err().to_string());
        assert_eq!(all, ["source failed", "color failed", "outputs failed", "the color thread panicked: a bug"]);
    }
}

#[test]
fn frames_before_a_sources_error_are_shown() {
    let (seen_in, seen) = mpsc::channel();
    let source = |outlet: Outlet| count_up(7)(outlet).and(Err(Failure::new(Exit::Broken, "cut off")));
    let show = move |inlet: Inlet| {
        inlet.for_each(|arrival| seen_in.send(arrival.colored.sequence).unwrap());
        Ok(())
    };
    let result = run(Flow::Lossless, controls(), source, |frame, _, _| Ok(colored(frame)), show);
    assert_eq!((result.unwrap_err().exit, seen.iter().count()), (Exit::Broken, 7));
}

#[test]
fn a_silent_source_ends_when_the_run_is_told_to() {
    let (quit_in, quit) = bounded(1);
    quit_in.send(()).unwrap();
    let silent = |outlet: Outlet| {
        while !outlet.is_closed() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    };
    let controls = Controls { commands: never(), quit };
    run(Flow::Live, controls, silent, |frame, _, _| Ok(colored(frame)), see_all).unwrap();
}

#[test]
fn a_source_that_waits_for_ever_does_not_keep_the_run_from_ending() {
    let (quit_in, quit) = bounded(1);
    let (_keep, blocked) = bounded::<()>(0);
    let source = move |mut outlet: Outlet| {
        let _ = outlet.send(grey(1));
        quit_in.send(()).unwrap();
        // As reading a pipe that stays open and silent.
        let _ = blocked.recv();
        Ok(())
    };
    let controls = Controls { commands: never(), quit };
    run(Flow::Lossless, controls, source, |frame, _, _| Ok(colored(frame)), see_all).unwrap();
}

#[test]
fn commands_reach_the_next_frame() {
    let (commands_in, commands) = unbounded();
    let (seen_in, seen) = mpsc::channel();
    commands_in.send(Command::Saturation(0.5)).unwrap();
    commands_in.send(Command::Temperature(0.3)).unwrap();
    let color = move |frame, _: Option<&Frame>, commands: &[Command]| {
        seen_in.send(commands.to_vec()).unwrap();
        Ok(colored(frame))
    };
    run(Flow::Lossless, Controls { commands, quit: never() }, count_up(2), color, see_all).unwrap();
    assert_eq!(seen.iter().collect::<Vec<_>>(), [vec![Command::Saturation(0.5), Command::Temperature(0.3)], vec![]]);
}
