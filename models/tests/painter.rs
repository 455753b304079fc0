//! A painter of the shipped int8 model: what each setting changes, and what it leaves.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::path::Path;

use autochrome_model::{Colorizer, LumaRange, ModelError, Painter, Picture, Plane, Step, Tone};

fn colorizer() -> Colorizer {
    Colorizer::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("autochrome-192x144-int8.onnx")).unwrap()
}

fn painter() -> Painter {
    Painter::new(colorizer(), LumaRange::Full)
}

/// A sky above hills, moving: the model gives it color.
fn frame(number: usize) -> Plane<u8> {
    let value = |x: usize, y: usize| {
        let hill = 60.0 + 25.0 * ((x + 3 * number) as f32 / 21.0).sin();
        if (y as f32) < hill { 190.0 - y as f32 / 2.0 } else { 90.0 + 20.0 * ((x * y) as f32 / 300.0).sin() }
    };
    Plane::from_vec(160, 120, (0..160 * 120).map(|i| value(i % 160, i / 160) as u8).collect())
}

fn painted(painter: &mut Painter, number: usize, step: Step) -> Picture {
    let mut picture = Picture { luma: frame(number), ..Picture::default() };
    painter.paint_into(&mut picture, step).unwrap();
    assert_eq!(picture.luma, frame(number));
    picture
}

fn spread(picture: &Picture) -> u32 {
    picture.cb.data.iter().chain(&picture.cr.data).map(|v| u32::from(v.abs_diff(128))).sum()
}

#[test]
fn a_held_frame_is_colored_but_not_seen() {
    let (mut one, mut other) = (painter(), painter());
    painted(&mut one, 0, Step::Advance);
    painted(&mut other, 0, Step::Advance);
    let states: Vec<Vec<f32>> = one.colorizer().states().iter().map(|state| state.to_vec()).collect();
    let mut flash = Picture { luma: Plane::filled(160, 120, 250), ..Picture::default() };
    one.paint_into(&mut flash, Step::Hold).unwrap();
    assert_eq!(one.colorizer().states(), states);
    assert_eq!((flash.cb.width, flash.cb.height), (160, 120));
    // The luma that was there before gives the picture that was there before.
    assert_eq!(painted(&mut one, 0, Step::Hold), painted(&mut painter(), 0, Step::Advance));
    assert_eq!(painted(&mut one, 1, Step::Advance), painted(&mut other, 1, Step::Advance));
}

#[test]
fn there_is_nothing_to_hold_before_the_first_frame_and_after_a_reset() {
    let expected = painted(&mut painter(), 0, Step::Advance);
    let mut painter = painter();
    assert_eq!(painted(&mut painter, 0, Step::Hold), expected);
    painted(&mut painter, 1, Step::Advance);
    painter.reset();
    assert_eq!(painted(&mut painter, 0, Step::Hold), expected);
    // Another size is another feed.
    painter.paint_into(&mut Picture { luma: Plane::filled(8, 8, 3), ..Picture::default() }, Step::Advance).unwrap();
    assert_eq!(painted(&mut painter, 0, Step::Hold), expected);
    painter.replace(colorizer());
    assert_eq!(painted(&mut painter, 0, Step::Hold), expected);
}

#[test]
fn settings_change_colors_and_nothing_else() {
    // One painter, set back each time: loading a model takes its time.
    let mut painter = painter();
    let plain = painted(&mut painter, 0, Step::Advance);
    assert!(spread(&plain) > 2 * 160 * 120, "the frame has color");
    let mut changed = |set: fn(&mut Painter)| {
        set(&mut painter);
        painter.reset();
        let picture = painted(&mut painter, 0, Step::Advance);
        painter.set_hue(0.0);
        painter.set_tint(None, 0.0);
        painter.set_split(0.0);
        painter.set_tone(Tone::default());
        painter.set_range(LumaRange::Full);
        picture
    };
    let unchanged: [fn(&mut Painter); 7] = [
        |_| (),
        |p| p.set_hue(f32::NAN),
        |p| p.set_tint(None, 1.0),
        |p| p.set_tint(Some((50.0, 50.0)), 0.0),
        |p| p.set_tint(Some((50.0, 50.0)), f32::NAN),
        |p| p.set_split(f32::NAN),
        |p| p.set_tone(Tone::default()),
    ];
    for (index, set) in unchanged.into_iter().enumerate() {
        assert_eq!(changed(set), plain, "setting {index}");
    }
    let around = changed(|p| p.set_hue(360.0));
    assert!(around.cb.data.iter().zip(&plain.cb.data).all(|(a, b)| a.abs_diff(*b) <= 1));
    // Half a turn: yellowish becomes bluish.
    let turned = changed(|p| p.set_hue(180.0));
    let tendency = |picture: &Picture| picture.cb.data.iter().map(|&v| i32::from(v) - 128).sum::<i32>().signum();
    assert_eq!(tendency(&turned), -tendency(&plain));
    // One color everywhere: of all pixels of one luma, one chroma.
    let tinted = changed(|p| p.set_tint(Some((5.0, 20.0)), 1.0));
    let mut of_luma = [None; 256];
    for ((&y, &cb), &cr) in tinted.luma.data.iter().zip(&tinted.cb.data).zip(&tinted.cr.data) {
        let first: (u8, u8) = *of_luma[usize::from(y)].get_or_insert((cb, cr));
        assert!(first.0.abs_diff(cb) <= 1 && first.1.abs_diff(cr) <= 1 && cb < 128, "luma {y}: {cb} {cr}, {first:?}");
    }
    let split = changed(|p| p.set_split(0.25));
    for y in 0..120 {
        assert!(split.cb.row(y)[..40].iter().chain(&split.cr.row(y)[..40]).all(|&v| v == 128));
        assert_eq!(split.cb.row(y)[40..], plain.cb.row(y)[40..]);
    }
    assert_ne!(changed(|p| p.set_tone(Tone { black: 40.0, white: 200.0, gamma: 1.5 })), plain);
    assert_ne!(changed(|p| p.set_range(LumaRange::Limited)), plain);
}

#[test]
fn settings_stay_with_another_model_but_for_those_of_its_card() {
    let mut painter = painter();
    let mut painted_as_set = |replace: bool| {
        painter.set_hue(90.0);
        painter.set_split(0.5);
        painter.set_saturation(0.0);
        if replace {
            painter.replace(colorizer());
        } else {
            painter.set_saturation(painter.colorizer().contract().card.saturation);
        }
        painted(&mut painter, 0, Step::Advance)
    };
    assert_eq!(painted_as_set(false), painted_as_set(true));
}

#[test]
fn a_range_or_a_tone_can_change_without_forgetting() {
    let mut painter = painter();
    painted(&mut painter, 0, Step::Advance);
    let states: Vec<Vec<f32>> = painter.colorizer().states().iter().map(|state| state.to_vec()).collect();
    painter.set_range(LumaRange::Limited);
    painter.set_tone(Tone { gamma: 2.0, ..Tone::default() });
    assert_eq!(painter.colorizer().states(), states);
    painter.set_range(LumaRange::Full);
    painter.set_tone(Tone::default());
    assert_eq!(painted(&mut painter, 0, Step::Hold), painted(&mut self::painter(), 0, Step::Advance));
}

#[test]
fn a_frame_that_is_not_what_it_says_is_refused_and_harms_nothing() {
    let mut painter = painter();
    painted(&mut painter, 0, Step::Advance);
    for (width, height, values) in [(0, 0, 0), (0, 5, 0), (160, 120, 19), (usize::MAX, 2, 4)] {
        let luma = Plane { width, height, data: vec![0; values] };
        let mut picture = Picture { luma, ..Picture::default() };
        let error = painter.paint_into(&mut picture, Step::Advance).unwrap_err();
        assert!(matches!(error, ModelError::Frame { .. }), "{error}");
    }
    assert_eq!(painted(&mut painter, 0, Step::Hold), painted(&mut self::painter(), 0, Step::Advance));
}
