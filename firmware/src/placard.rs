//! The honest placeholder: the last picture fades, words say what is missing, and something moves, so that nobody takes it for a picture.

use std::convert::Infallible;

use autochrome_model::{LumaRange, Picture, Plane};
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::iso_8859_1::{FONT_4X6, FONT_6X10, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::text::{Baseline, Text};
use embedded_graphics::{Drawable, Pixel, draw_target::DrawTarget};

use crate::coloring::Colored;

/// How long the last picture takes to fade.
pub const FADE_SECONDS: f32 = 0.7;
/// The size of a placard where no picture was shown before it.
const SIZE: (usize, usize) = (640, 480);
/// More words than this are cut off.
const CHARACTERS_MAX: usize = 200;
/// How long the sign of life takes to go over its track and back.
const LAP_SECONDS: f32 = 16.0;
/// Letters are so large that about this many stand in a line, and this many lines below each other, where the words allow it.
const CHARACTERS_A_LINE: usize = 20;
const LINES: usize = 4;
/// No color.
const NEUTRAL: u8 = 128;
/// Full-range gamma-coded values: the ground behind the words, the words, and the track of what moves.
const GROUND: f32 = 0.16;
const INK: f32 = 0.86;
const TRACK: f32 = 0.30;

/// A picture that says `words`, over what is left of the `last` one after `seconds` without it.
pub fn draw(last: Option<&Colored>, words: &str, seconds: f32) -> Colored {
    let last = last.filter(|last| !last.picture.luma.data.is_empty());
    let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
    let left = (1.0 - seconds / FADE_SECONDS).clamp(0.0, 1.0);
    let range = last.map_or(LumaRange::Full, |last| last.range);
    let ground = code(range, GROUND);
    let mut picture = match last {
        Some(last) if left > 0.0 => faded(&last.picture, ground, left),
        Some(last) => plain((last.picture.luma.width, last.picture.luma.height), ground),
        None => plain(SIZE, ground),
    };
    let (width, height) = (picture.luma.width, picture.luma.height);
    // Words in the upper part of the middle, and below them what moves.
    let room = (width - width / 8, height - height / 3);
    let lettering = Lettering::fit(words, room, (room.0 / (10 * CHARACTERS_A_LINE)).min(room.1 / (20 * LINES)));
    let bar = (height / 60).max(1);
    let block = Area::centered((lettering.width().max(width / 3), lettering.height() + 4 * bar), (width, height));
    block.grown(2 * bar, (width, height)).fill(&mut picture, ground);
    lettering.draw(&mut picture.luma, block, code(range, INK));
    let track = Area { x: width / 2 - width / 6, y: block.y + block.height.saturating_sub(bar), width: width / 3, height: bar };
    track.fill(&mut picture, code(range, TRACK));
    let turn = seconds / LAP_SECONDS % 1.0;
    let way = 1.0 - (2.0 * turn - 1.0).abs();
    let dot = (3 * bar).min(track.width);
    let x = track.x + ((track.width - dot) as f32 * way).round() as usize;
    Area { x, width: dot, ..track }.fill(&mut picture, code(range, INK));
    match last {
        Some(last) => Colored { picture, before: Plane::default(), model: last.model.clone(), ..*last },
        None => Colored { picture, ..Colored::blank() },
    }
}

/// Writes `words` small into the lower left corner: for a picture that is not what it seems.
pub fn mark(picture: &mut Picture, range: LumaRange, words: &str) {
    let (width, height) = (picture.luma.width, picture.luma.height);
    let lettering = Lettering::fit(words, (width - width / 8, (height / 6).max(6)), height / 320);
    let padding = (lettering.height() / 4).max(1);
    let space = (lettering.width() + 2 * padding, lettering.height() + 2 * padding);
    let label = Area { x: padding, y: height.saturating_sub(space.1 + padding), width: space.0, height: space.1 };
    label.fill(picture, code(range, GROUND));
    let inside = Area { x: label.x + padding, y: label.y + padding, width: lettering.width(), height: lettering.height() };
    lettering.draw(&mut picture.luma, inside, code(range, INK));
}

/// The luma code of a full-range gamma-coded value, 0 to 1.
fn code(range: LumaRange, value: f32) -> u8 {
    match range {
        LumaRange::Full => (value * 255.0).round() as u8,
        LumaRange::Limited => (16.0 + value * 219.0).round() as u8,
    }
}

fn plain((width, height): (usize, usize), ground: u8) -> Picture {
    let plane = |value| Plane::filled(width, height, value);
    Picture { luma: plane(ground), cb: plane(NEUTRAL), cr: plane(NEUTRAL) }
}

/// `left` of the picture, the rest ground.
fn faded(picture: &Picture, ground: u8, left: f32) -> Picture {
    let toward = |plane: &Plane<u8>, end: u8| {
        let codes: [u8; 256] = std::array::from_fn(|code| (f32::from(end) + (code as f32 - f32::from(end)) * left).round() as u8);
        Plane::from_vec(plane.width, plane.height, plane.data.iter().map(|&code| codes[usize::from(code)]).collect())
    };
    Picture { luma: toward(&picture.luma, ground), cb: toward(&picture.cb, NEUTRAL), cr: toward(&picture.cr, NEUTRAL) }
}

/// A rectangle. What of it is outside of a picture is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Area {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

impl Area {
    fn centered(size: (usize, usize), (width, height): (usize, usize)) -> Self {
        let (w, h) = (size.0.min(width), size.1.min(height));
        Self { x: (width - w) / 2, y: (height - h) / 2, width: w, height: h }
    }

    fn grown(self, by: usize, (width, height): (usize, usize)) -> Self {
        let (x, y) = (self.x.saturating_sub(by), self.y.saturating_sub(by));
        let (right, bottom) = ((self.x + self.width + by).min(width), (self.y + self.height + by).min(height));
        Self { x, y, width: right - x, height: bottom - y }
    }

    /// Makes it grey.
    fn fill(self, picture: &mut Picture, luma: u8) {
        self.paint(&mut picture.luma, luma);
        self.paint(&mut picture.cb, NEUTRAL);
        self.paint(&mut picture.cr, NEUTRAL);
    }

    fn paint(self, plane: &mut Plane<u8>, value: u8) {
        let columns = self.x.min(plane.width)..(self.x + self.width).min(plane.width);
        (self.y..(self.y + self.height).min(plane.height)).for_each(|y| plane.row_mut(y)[columns.clone()].fill(value));
    }
}

/// Words in lines, in a font magnified by whole pixels.
struct Lettering {
    font: &'static MonoFont<'static>,
    zoom: usize,
    lines: Vec<String>,
}

impl Lettering {
    /// The largest letters, at most `zoom` times the font's, with which the words fit into a room of width and height. Where none are
    /// small enough the end is cut off.
    fn fit(words: &str, room: (usize, usize), zoom: usize) -> Self {
        let words = readable(words);
        let sizes = (1..=zoom.max(1)).rev().map(|zoom| (&FONT_10X20, zoom)).chain([(&FONT_6X10, 1), (&FONT_4X6, 1)]);
        let mut last = Self { font: &FONT_4X6, zoom: 1, lines: Vec::new() };
        for (font, zoom) in sizes {
            let columns = room.0 / (font.character_size.width as usize * zoom);
            let rows = room.1 / (font.character_size.height as usize * zoom);
            let (lines, is_whole) = wrapped(&words, columns.max(1));
            let fits = is_whole && lines.len() <= rows;
            last = Self { font, zoom, lines };
            if fits {
                return last;
            }
            last.lines.truncate(rows.max(1));
        }
        last
    }

    fn width(&self) -> usize {
        let longest = self.lines.iter().map(|line| line.chars().count()).max();
        longest.unwrap_or(0) * self.font.character_size.width as usize * self.zoom
    }

    fn line_height(&self) -> usize {
        self.font.character_size.height as usize * self.zoom
    }

    fn height(&self) -> usize {
        self.lines.len() * self.line_height()
    }

    /// Each line in the middle of the area's width, from its top.
    fn draw(&self, luma: &mut Plane<u8>, area: Area, ink: u8) {
        for (i, line) in self.lines.iter().enumerate() {
            let width = line.chars().count() * self.font.character_size.width as usize * self.zoom;
            let corner = (area.x + area.width.saturating_sub(width) / 2, area.y + i * self.line_height());
            let mut target = Magnified { luma, corner, zoom: self.zoom, ink };
            let style = MonoTextStyle::new(self.font, BinaryColor::On);
            let Ok(_) = Text::with_baseline(line, Point::zero(), style, Baseline::Top).draw(&mut target);
        }
    }
}

/// One line of words that the fonts have letters for; they show what else there is as `?`.
fn readable(words: &str) -> String {
    let mut text = String::new();
    for c in words.chars().take(CHARACTERS_MAX) {
        match c {
            '\u{2018}' | '\u{2019}' => text.push('\''),
            '\u{201c}' | '\u{201d}' | '\u{201e}' => text.push('"'),
            '\u{2010}'..='\u{2015}' => text.push('-'),
            '\u{2026}' => text.push_str("..."),
            c if c.is_control() || c.is_whitespace() => text.push(' '),
            c => text.push(c),
        }
    }
    text
}

/// Lines of at most `columns` characters, and whether every word is whole.
fn wrapped(words: &str, columns: usize) -> (Vec<String>, bool) {
    let mut lines: Vec<String> = Vec::new();
    let mut room = 0;
    let mut is_whole = true;
    for word in words.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        is_whole &= letters.len() <= columns;
        for (i, part) in letters.chunks(columns).enumerate() {
            match lines.last_mut() {
                Some(line) if i == 0 && part.len() < room => {
                    line.push(' ');
                    line.extend(part);
                    room -= part.len() + 1;
                }
                _ => {
                    lines.push(part.iter().collect());
                    room = columns - part.len();
                }
            }
        }
    }
    (lines, is_whole)
}

/// A plane whose pixels are drawn `zoom` times as large, from a corner on.
struct Magnified<'a> {
    luma: &'a mut Plane<u8>,
    corner: (usize, usize),
    zoom: usize,
    ink: u8,
}

impl OriginDimensions for Magnified<'_> {
    fn size(&self) -> Size {
        let size = |whole: usize, from: usize| (whole.saturating_sub(from) / self.zoom) as u32;
        Size::new(size(self.luma.width, self.corner.0), size(self.luma.height, self.corner.1))
    }
}

impl DrawTarget for Magnified<'_> {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(Point { x, y }, color) in pixels {
            let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { continue };
            if color.is_on() {
                let (x, y) = (self.corner.0 + x * self.zoom, self.corner.1 + y * self.zoom);
                Area { x, y, width: self.zoom, height: self.zoom }.paint(self.luma, self.ink);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn colored(width: usize, height: usize, range: LumaRange) -> Colored {
        let plane = |salt: usize| Plane::from_vec(width, height, (0..width * height).map(|i| (i * 7 + salt) as u8).collect());
        Colored { picture: Picture { luma: plane(0), cb: plane(90), cr: plane(201) }, range, ..Colored::blank() }
    }

    fn ink(picture: &Picture, range: LumaRange) -> usize {
        picture.luma.data.iter().filter(|&&luma| luma == code(range, INK)).count()
    }

    #[test]
    fn the_picture_goes_and_the_words_are_there_at_once() {
        for range in [LumaRange::Full, LumaRange::Limited] {
            let last = colored(640, 480, range);
            let corner = |seconds: f32| {
                let Picture { luma, cb, cr } = draw(Some(&last), "no camera", seconds).picture;
                (luma.data[20], cb.data[20], cr.data[20])
            };
            let ground = code(range, GROUND);
            assert_eq!(corner(0.0), (140, 230, 85));
            assert_eq!(corner(FADE_SECONDS / 2.0), (((140.0 + f32::from(ground)) / 2.0).round() as u8, 179, 107));
            for seconds in [1.0, 3600.0, f32::NAN, f32::INFINITY, -1.0] {
                let expected = if seconds >= 1.0 && seconds.is_finite() { (ground, 128, 128) } else { corner(0.0) };
                assert_eq!(corner(seconds), expected, "{seconds}");
            }
            for seconds in [0.0, 0.5, 5.0] {
                let said = draw(Some(&last), "no camera", seconds).picture;
                let silent = draw(Some(&last), "", seconds).picture;
                let differing = said.luma.data.iter().zip(&silent.luma.data).filter(|(a, b)| a != b).count();
                assert!(differing > 2000, "{differing}");
            }
        }
    }

    #[test]
    fn the_same_moment_looks_the_same_and_the_next_second_does_not() {
        let at = |seconds| draw(None, "no camera", seconds).picture;
        assert_eq!((at(9.0).luma.width, at(9.0).luma.height), SIZE);
        assert_eq!(at(9.0), at(9.0));
        for second in 1..60 {
            assert_ne!(at(second as f32), at(second as f32 + 1.0), "{second}");
        }
    }

    #[test]
    fn black_and_white_of_limited_range_are_kept() {
        let last = Colored { picture: plain((320, 240), 16), range: LumaRange::Limited, ..Colored::blank() };
        let picture = draw(Some(&last), "x", 9.0).picture;
        assert!(picture.luma.data.iter().all(|luma| (16..=235).contains(luma)));
        assert_eq!(picture.luma.data[0], 51);
    }

    #[test]
    fn words_are_as_large_as_they_fit_and_never_too_many() {
        let long = "the camera at /dev/v4l/by-id/usb-Sonix_USB_2.0_Camera-video-index0 was unplugged; ".repeat(9);
        let cases = [("no camera", (1920, 1080), 8), ("no camera", (640, 480), 2), ("no camera", (160, 120), 1), (&*long, (640, 480), 1)];
        for (words, (width, height), zoom) in cases {
            let room = (width - width / 8, height - height / 3);
            let found = Lettering::fit(words, room, (room.0 / 200).min(room.1 / 80));
            assert_eq!((found.zoom, found.font.character_size.height), (zoom, 20), "{words}");
            assert!(found.width() <= room.0 && found.height() <= room.1);
            assert!(found.lines.concat().len() <= CHARACTERS_MAX);
        }
    }

    #[test]
    fn lines_break_between_words_and_only_long_words_break() {
        let cases: [(&str, usize, &[&str], bool); 5] = [
            ("no camera at all", 9, &["no camera", "at all"], true),
            ("  no\ncamera\t", 80, &["no camera"], true),
            ("unplugged", 4, &["unpl", "ugge", "d"], false),
            ("an unplugged one", 5, &["an", "unplu", "gged", "one"], false),
            ("", 5, &[], true),
        ];
        for (words, columns, lines, is_whole) in cases {
            assert_eq!(wrapped(&readable(words), columns), (lines.iter().map(ToString::to_string).collect(), is_whole), "{words:?}");
        }
        assert_eq!(readable("it\u{2019}s \u{201c}gone\u{201d}\u{2026} \u{2014} \u{7f}"), "it's \"gone\"... -  ");
        assert_eq!(draw(None, "no \u{4e2d}", 9.0).picture, draw(None, "no ?", 9.0).picture);
    }

    #[test]
    fn no_size_is_too_small() {
        for size in [(1, 1), (2, 300), (300, 2), (16, 16), (33, 17)] {
            for seconds in [0.0, 9.0] {
                let mut picture = draw(Some(&colored(size.0, size.1, LumaRange::Full)), "no camera; is it plugged in?", seconds).picture;
                mark(&mut picture, LumaRange::Full, "frozen");
            }
        }
        let nothing = draw(Some(&Colored::blank()), "no camera", 0.0);
        assert_eq!((nothing.picture.luma.width, nothing.picture.luma.height), SIZE);
    }

    #[test]
    fn a_mark_is_small_and_in_the_corner() {
        for (range, size) in [(LumaRange::Full, (640, 480)), (LumaRange::Limited, (1920, 1080))] {
            let before = plain(size, 120);
            let mut picture = before.clone();
            mark(&mut picture, range, "frozen");
            assert!(ink(&picture, range) > 100);
            let changed: Vec<usize> = (0..before.luma.data.len()).filter(|&i| picture.luma.data[i] != 120).collect();
            assert!(changed.iter().all(|&i| i % size.0 < size.0 / 4 && i / size.0 > size.1 * 7 / 8), "{size:?}");
        }
    }
}
