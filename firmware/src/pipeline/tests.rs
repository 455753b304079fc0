//! The pipeline with fakes for its stages: no camera, no model, no page.

use std::sync::mpsc;

use crossbeam_channel::{never, unbounded};

use super::*;

fn grey(value: u8) -> Plane<u8> {
    Plane::filled(1, 1, value)
}

fn paint(frame: Frame, into: &mut Colored) -> Result<()> {
    (into.sequence, into.captured_at) = (frame.sequence, frame.captured_at);
    into.before = std::mem::replace(&mut into.picture.luma, frame.luma);
    Ok(())
}

fn controls() -> Controls {
    Controls { commands: never(), quit: never() }
}

fn count_up(frames: u64) -> impl FnOnce(Outlet) -> Result<()> {
    move |mut outlet| {
        count(&mut outlet, frames);
        Ok(())
    }
}

fn count(outlet: &mut Outlet, frames: u64) {
    (0..frames).find(|&i| outlet.send(grey(i as u8), Origin::default(), Vec::new()).is_break());
}

fn endless(mut outlet: Outlet) -> Result<()> {
    while outlet.send(grey(0), Origin::default(), Vec::new()).is_continue() {
        std::thread::yield_now();
    }
    Ok(())
}

fn see_all(inlet: Inlet) -> Result<()> {
    inlet.for_each(drop);
    Ok(())
}

fn pictures(inlet: Inlet) -> impl Iterator<Item = Arrival> {
    inlet.filter_map(|event| if let Event::Picture(arrival) = event { Some(arrival) } else { None })
}

#[test]
fn nothing_is_lost_from_a_file_and_the_next_frame_is_at_hand() {
    let (seen_in, seen) = mpsc::channel();
    let color = move |frame: Frame, next: Option<&Frame>, _: &[Command], into: &mut Colored| {
        assert_eq!(next.map(|next| next.sequence), (frame.sequence < 99).then_some(frame.sequence + 1));
        paint(frame, into)
    };
    let show = move |inlet: Inlet| {
        pictures(inlet).for_each(|arrival| seen_in.send((arrival.colored.sequence, arrival.dropped, arrival.skipped)).unwrap());
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
    // Frame 0 is being colored while 1 to 5 are offered: 4 and 5 wait, for which 1 to 3 gave way.
    let source = move |mut outlet: Outlet| {
        let _ = outlet.send(grey(0), Origin::default(), Vec::new());
        go.recv().unwrap();
        // The source begins anew with a frame that gives way.
        (1..=5).for_each(|i| {
            let origin = Origin { anew: i == 2, ..Origin::default() };
            assert!(outlet.send(grey(i), origin, Vec::new()).is_continue());
        });
        sent_in.send(()).unwrap();
        go.recv().unwrap();
        let _ = outlet.send(grey(6), Origin::default(), Vec::new());
        Ok(())
    };
    let go_on = go_in.clone();
    let color = move |frame: Frame, _: Option<&Frame>, _: &[Command], into: &mut Colored| {
        assert_eq!(frame.origin.anew, frame.sequence == 5, "frame {}", frame.sequence);
        if frame.sequence == 0 {
            go_on.send(()).unwrap();
            sent.recv().unwrap();
        }
        paint(frame, into)
    };
    let show = move |inlet: Inlet| {
        for arrival in pictures(inlet) {
            if arrival.colored.sequence == 5 {
                go_in.send(()).unwrap();
            }
            seen_in.send((arrival.colored.sequence, arrival.dropped, arrival.skipped)).unwrap();
        }
        Ok(())
    };
    run(Flow::Live, controls(), source, color, show).unwrap();
    assert_eq!(seen.iter().collect::<Vec<_>>(), [(0, 0, 0), (5, 3, 1), (6, 3, 1)]);
}

#[test]
fn a_failing_stage_ends_the_run_with_its_error() {
    let fail = |name: &str| Failure::new(Exit::Broken, format!("{name} failed"));
    let color = |frame: Frame, _: Option<&Frame>, _: &[Command], into: &mut Colored| paint(frame, into);
    let look = see_all;
    for flow in [Flow::Live, Flow::Lossless] {
        let source = run(flow, controls(), move |_| Err(fail("source")), color, look);
        let failing = run(flow, controls(), endless, move |_, _, _, _| Err(fail("color")), look);
        let outputs = run(flow, controls(), endless, color, move |_| Err(fail("outputs")));
        let panic = run(flow, controls(), endless, |_, _, _, _| panic!("a bug"), look);
        let all = [source, failing, outputs, panic].map(|result| result.unwrap_err().to_string());
        assert_eq!(all, ["source failed", "color failed", "outputs failed", "the color thread panicked: a bug"]);
    }
}

#[test]
fn frames_before_a_sources_error_are_shown() {
    let (seen_in, seen) = mpsc::channel();
    let source = |outlet: Outlet| count_up(7)(outlet).and(Err(Failure::new(Exit::Broken, "cut off")));
    let show = move |inlet: Inlet| {
        pictures(inlet).for_each(|arrival| seen_in.send(arrival.colored.sequence).unwrap());
        Ok(())
    };
    let result = run(Flow::Lossless, controls(), source, |frame, _, _, into| paint(frame, into), show);
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
    run(Flow::Live, controls, silent, |frame, _, _, into| paint(frame, into), see_all).unwrap();
}

#[test]
fn a_source_that_waits_for_ever_does_not_keep_the_run_from_ending() {
    let (quit_in, quit) = bounded(1);
    let (_keep, blocked) = bounded::<()>(0);
    let source = move |mut outlet: Outlet| {
        let _ = outlet.send(grey(1), Origin::default(), Vec::new());
        quit_in.send(()).unwrap();
        // As reading a pipe that stays open and silent.
        let _ = blocked.recv();
        Ok(())
    };
    let controls = Controls { commands: never(), quit };
    run(Flow::Lossless, controls, source, |frame, _, _, into| paint(frame, into), see_all).unwrap();
}

#[test]
fn commands_reach_the_next_frame() {
    let (commands_in, commands) = unbounded();
    let (seen_in, seen) = mpsc::channel();
    commands_in.send(Command::Saturation(0.5)).unwrap();
    commands_in.send(Command::Temperature(0.3)).unwrap();
    let color = move |frame, _: Option<&Frame>, commands: &[Command], into: &mut Colored| {
        seen_in.send(commands.to_vec()).unwrap();
        paint(frame, into)
    };
    run(Flow::Lossless, Controls { commands, quit: never() }, count_up(2), color, see_all).unwrap();
    assert_eq!(seen.iter().collect::<Vec<_>>(), [vec![Command::Saturation(0.5), Command::Temperature(0.3)], vec![]]);
}

#[test]
fn an_absent_source_is_told_of_and_pictures_are_used_again() {
    let (seen_in, seen) = mpsc::channel();
    let source = |mut outlet: Outlet| {
        count(&mut outlet, 50);
        while !outlet.is_closed() {
            outlet.absent(Arc::from("no camera"), Faults { errors: 1, ..Faults::default() });
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    };
    let show = move |inlet: Inlet| {
        let mut sheets = std::collections::HashSet::new();
        for event in inlet {
            match event {
                Event::Picture(arrival) => drop(sheets.insert(Arc::as_ptr(&arrival.colored) as usize)),
                Event::Absent(absence) => {
                    seen_in.send((sheets.len(), absence)).unwrap();
                    break;
                }
                Event::Quiet => {}
            }
        }
        Ok(())
    };
    run(Flow::Lossless, controls(), source, |frame, _, _, into| paint(frame, into), show).unwrap();
    let (sheets, absence) = seen.recv().unwrap();
    assert!(sheets <= 4, "{sheets} sheets for 50 pictures");
    assert_eq!((&*absence.why, absence.after, absence.faults.errors), ("no camera", 50, 1));
}

#[test]
fn commands_are_taken_while_there_is_no_frame() {
    let (commands_in, commands) = bounded(4);
    let (seen_in, seen) = mpsc::channel();
    let source = move |mut outlet: Outlet| {
        for value in 0..100 {
            commands_in.send(Command::Saturation(value as f32 / 100.0)).unwrap();
        }
        commands_in.send(Command::Freeze(true)).unwrap();
        let _ = outlet.send(grey(0), Origin::default(), Vec::new());
        Ok(())
    };
    let color = move |frame: Frame, _: Option<&Frame>, commands: &[Command], into: &mut Colored| {
        seen_in.send(commands.to_vec()).unwrap();
        paint(frame, into)
    };
    run(Flow::Live, Controls { commands, quit: never() }, source, color, see_all).unwrap();
    let last: Vec<_> = seen.recv().unwrap();
    assert!(last.ends_with(&[Command::Saturation(0.99), Command::Freeze(true)]) && last.len() <= 8, "{last:?}");
}
