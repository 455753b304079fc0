//! `calibrate`: what a camera calls black and white, and how it bends what is between.
//!
//! Over some seconds of frames the codes are counted. The darkest half percent is black, the brightest half percent white. With a grey card
//! (18 % reflectance, L* 50) in the middle of the picture, the gamma is the one that makes the card what it is; without one it is guessed so that
//! half of the scene is darker than middle grey, and that guess is kept mild, because a scene is no card.

use std::fmt::Write;
use std::time::{Duration, Instant};

use autochrome_model::{LumaRange, Plane, Tone};
use lexopt::prelude::*;

use crate::cli;
use crate::errors::{Exit, Failure, Result, say};
use crate::input::{Feed, Next, Source};

/// How long is measured unless something else is said, and at most.
const SECONDS: u64 = 5;
const SECONDS_MAX: u64 = 600;
/// How long the first frame may take beyond that.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of the picture, at either end, does not count as black or white: sparkle, dead pixels, lamps.
const OUTLIERS: f64 = 0.005;
/// L* of a grey card, and its value as gamma-coded sRGB, 0 to 1.
const CARD_LIGHTNESS: f64 = 50.0;
const CARD_VALUE: f64 = 0.466;
/// The card has to fill the middle third of the picture, and may differ from itself by so many codes.
const CARD_PART: usize = 3;
const CARD_SPREAD_MAX: f64 = 40.0;
/// The least distance of black from white, in codes, and how much of the picture may stand at the very end of the scale.
const SPAN_MIN: f64 = 32.0;
const CLIPPED_MAX: f64 = 0.2;
/// How far a gamma that is guessed from a scene may go, and one that is measured on a card.
const GUESS: (f64, f64) = (0.75, 1.33);
const MEASURED: (f64, f64) = (0.2, 5.0);

/// Reads the command's options and does it.
///
/// # Errors
/// [`Exit::Usage`]; those of the input; [`Exit::BadData`] for a picture that says nothing about the camera.
pub fn command(mut parser: lexopt::Parser) -> Result<()> {
    let (mut input, mut seconds, mut card) = (None, SECONDS, false);
    while let Some(argument) = parser.next().map_err(Failure::usage)? {
        match argument {
            Short('i') | Long("input") => input = Some(Source::parse(&parser.value().map_err(Failure::usage)?.to_string_lossy())?),
            Long("seconds") => seconds = cli::number("--seconds", &mut parser)?,
            Long("card") => card = true,
            Short('h') | Long("help") => return cli::help(),
            other => return Err(cli::unexpected(other)),
        }
    }
    let input = input.ok_or_else(|| Failure::usage("calibrate wants --input URI, as in --input v4l2:auto"))?;
    if !(1..=SECONDS_MAX).contains(&seconds) {
        return Err(Failure::usage(format!("--seconds {seconds}: it is 1 to {SECONDS_MAX}")));
    }
    let mut feed = Feed::open(&input)?;
    if card {
        say("hold a grey card so that it fills the middle of the picture, evenly lit");
    }
    let counts = watch(&mut feed, Duration::from_secs(seconds), card)?;
    let tone = counts.tone().map_err(|why| Failure::new(Exit::BadData, format!("the camera cannot be calibrated: {why}")))?;
    cli::print(&told(&tone, &counts))
}

/// How often each code came, after the range was expanded.
struct Counts {
    frames: u64,
    scene: [u64; 256],
    /// The codes in the middle of the picture, if a card is there.
    card: Option<[u64; 256]>,
}

fn watch(feed: &mut Feed, duration: Duration, card: bool) -> Result<Counts> {
    let mut counts = Counts { frames: 0, scene: [0; 256], card: card.then_some([0; 256]) };
    let mut luma = Plane::default();
    let begun = Instant::now();
    let mut first: Option<Instant> = None;
    loop {
        match feed.next_frame(&mut luma)? {
            Next::Frame { .. } => {
                first.get_or_insert_with(Instant::now);
                counts.add(&luma, feed.range());
            }
            // What the codes meant stands beside each frame.
            Next::Replayed { origin, .. } => {
                first.get_or_insert_with(Instant::now);
                counts.add(&luma, origin.range);
            }
            Next::Absent(why) if first.is_none() && begun.elapsed() > PATIENCE => return Err(Failure::new(Exit::NoInput, why)),
            Next::Absent(_) | Next::NotYet => {}
            Next::End => break,
        }
        if first.unwrap_or(begun).elapsed() >= if first.is_some() { duration } else { 2 * PATIENCE } {
            break;
        }
    }
    if counts.frames == 0 {
        return Err(Failure::new(Exit::NoInput, "the input gave no frames to measure"));
    }
    Ok(counts)
}

impl Counts {
    fn add(&mut self, luma: &Plane<u8>, range: LumaRange) {
        self.frames += 1;
        let codes: [usize; 256] = std::array::from_fn(|code| (range.to_unit(code as u8) * 255.0).round() as usize);
        for &code in &luma.data {
            self.scene[codes[usize::from(code)]] += 1;
        }
        if let Some(card) = &mut self.card {
            let (part_width, part_height) = (luma.width / CARD_PART, luma.height / CARD_PART);
            for y in part_height..luma.height - part_height {
                for &code in &luma.row(y)[part_width..luma.width - part_width] {
                    card[codes[usize::from(code)]] += 1;
                }
            }
        }
    }

    /// Black, white and gamma, or why the picture does not tell them.
    fn tone(&self) -> std::result::Result<Tone, String> {
        let total: u64 = self.scene.iter().sum();
        let share = |counts: &[u64]| counts.iter().sum::<u64>() as f64 / total.max(1) as f64;
        let (black, white) = (percentile(&self.scene, OUTLIERS), percentile(&self.scene, 1.0 - OUTLIERS));
        if white < 48.0 {
            return Err(format!("the picture is all dark (its brightest codes are about {white}); light the scene, or open the lens"));
        }
        if share(&self.scene[254..]) > CLIPPED_MAX {
            return Err("much of the picture is clipped to white; close the lens, or set a shorter exposure".into());
        }
        if share(&self.scene[..2]) > CLIPPED_MAX {
            return Err("much of the picture is clipped to black; light the scene, or set a longer exposure".into());
        }
        if white - black < SPAN_MIN {
            let advice = "point the camera at something with black and white in it";
            return Err(format!("the picture is all of one tone (codes {black} to {white}); {advice}"));
        }
        let (value, (least, most)) = match &self.card {
            Some(card) => {
                let spread = percentile(card, 0.9) - percentile(card, 0.1);
                if spread > CARD_SPREAD_MAX {
                    return Err(format!("the middle of the picture is no even card (its codes differ by {spread}); move it closer"));
                }
                (percentile(card, 0.5), MEASURED)
            }
            None => (percentile(&self.scene, 0.5), GUESS),
        };
        let value = ((value - black) / (white - black)).clamp(0.01, 0.99);
        // The value becomes value^(1 / gamma).
        let gamma = (value.ln() / CARD_VALUE.ln()).clamp(least, most);
        Ok(Tone { black: black as f32, white: white as f32, gamma: gamma as f32 })
    }
}

/// The code below which this share of all pixels lies.
fn percentile(counts: &[u64; 256], share: f64) -> f64 {
    let total: u64 = counts.iter().sum();
    let wanted = (total as f64 * share).max(1.0);
    let mut sum = 0;
    let reached = counts.iter().position(|&count| {
        sum += count;
        sum as f64 >= wanted
    });
    reached.unwrap_or(255) as f64
}

fn told(tone: &Tone, counts: &Counts) -> String {
    let Tone { black, white, gamma } = tone;
    let by = if counts.card.is_some() {
        format!("the card in the middle was taken for L* {CARD_LIGHTNESS}")
    } else {
        "the gamma is a guess from the scene; with a grey card and --card it is measured".into()
    };
    let mut text = String::new();
    let _ = writeln!(text, "# {} frames: 0.5 % of the pixels are at or below code {black:.0}, 0.5 % above {white:.0};", counts.frames);
    let _ = writeln!(text, "# {by}.");
    let _ = writeln!(text, "[camera.tone]\nblack = {black:.1}\nwhite = {white:.1}\ngamma = {gamma:.2}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A scene of greys whose codes a camera made with this tone curve; the card, if there is one, in the middle.
    fn seen(black: f64, white: f64, gamma: f64, card: bool) -> Counts {
        let mut counts = Counts { frames: 0, scene: [0; 256], card: card.then_some([0; 256]) };
        let code = |value: f64| (black + (white - black) * value.powf(gamma)).round() as u8;
        let mut luma = Plane::filled(90, 90, 0);
        for y in 0..90 {
            for (x, to) in luma.row_mut(y).iter_mut().enumerate() {
                let middle = (25..65).contains(&x) && (25..65).contains(&y);
                *to = code(if card && middle { CARD_VALUE } else { x as f64 / 89.0 });
            }
        }
        counts.add(&luma, LumaRange::Full);
        counts
    }

    #[test]
    fn a_card_gives_back_the_tone_curve() {
        for (black, white, gamma) in [(0.0, 255.0, 1.0), (20.0, 220.0, 1.4), (40.0, 180.0, 0.7)] {
            let tone = seen(black, white, gamma, true).tone().unwrap();
            assert!((f64::from(tone.black) - black).abs() <= 3.0 && (f64::from(tone.white) - white).abs() <= 3.0, "{tone:?}");
            assert!((f64::from(tone.gamma) - gamma).abs() < 0.1, "{tone:?} is not {gamma}");
        }
        let card = autochrome_model::color::lightness(LumaRange::Full, (CARD_VALUE * 255.0).round() as u8);
        assert!((f64::from(card) - CARD_LIGHTNESS).abs() < 0.5, "{card}");
    }

    #[test]
    fn a_guess_stays_mild() {
        let tone = seen(10.0, 250.0, 3.0, false).tone().unwrap();
        assert_eq!(tone.gamma, GUESS.1 as f32);
        assert!((0.8..1.2).contains(&seen(10.0, 250.0, 1.0, false).tone().unwrap().gamma));
    }

    #[test]
    fn pictures_that_say_nothing_are_refused() {
        let flat = |code: u8| {
            let mut counts = Counts { frames: 0, scene: [0; 256], card: None };
            counts.add(&Plane::filled(8, 8, code), LumaRange::Full);
            counts.tone().unwrap_err()
        };
        assert!(flat(10).contains("all dark"));
        assert!(flat(120).contains("all of one tone"));
        assert!(flat(255).contains("clipped to white"));
        let mut uneven = seen(0.0, 255.0, 1.0, false);
        uneven.card = Some(uneven.scene);
        assert!(uneven.tone().unwrap_err().contains("no even card"));
    }

    #[test]
    fn what_is_printed_is_toml() {
        let counts = seen(20.0, 220.0, 1.4, true);
        let text = told(&counts.tone().unwrap(), &counts);
        let table: toml::Table = text.parse().unwrap();
        let tone = &table["camera"]["tone"];
        assert!(tone["black"].as_float().unwrap() > 15.0 && tone["gamma"].as_float().unwrap() > 1.2, "{text}");
    }
}
