//! From the guided filter's lines to Cb and Cr at the frame's own size.
//!
//! A line is stretched to the frame's width once for each of its own rows; a frame's row then lies between two of those. What is left for each
//! pixel are three short loops without branches, calls or tables. Each computes several pixels at once, and a processor has several turns of it
//! under way: one long loop would wait for its own results.

use std::ops::Range;

use crate::color::{
    LumaRange, Tone, chroma_that_fits, fast_srgb_encode, lightness_table, linear_srgb_of, nearest_code, rgb_to_chroma, seen_lightness_table,
};
use crate::crew::{Crew, each};
use crate::picture::Picture;
use crate::planes::Plane;
use crate::vector::vectorized;

/// What the 256 luma codes mean.
#[derive(Clone, Debug)]
pub(crate) struct Codes {
    pub(crate) range: LumaRange,
    /// L* as the network sees it: it guides the chroma.
    pub(crate) seen: [f32; 256],
    /// (L* + 16) / 116 of the grey that is shown: the color is found for it.
    shown: [f32; 256],
}

impl Codes {
    pub(crate) fn new(range: LumaRange, tone: Tone) -> Self {
        Self { range, seen: seen_lightness_table(range, tone), shown: lightness_table(range).map(|lightness| (lightness + 16.0) / 116.0) }
    }
}

/// The four lines, of one row.
type Rows = [Vec<f32>; 4];

/// Puts chroma beside a frame's luma. Made for one size of frame.
#[derive(Clone, Debug)]
pub(crate) struct Composer {
    columns: Vec<Between>,
    rows: Vec<Between>,
    /// One for each thread that shares a frame.
    hands: Vec<Hand>,
}

/// What one thread works with, row by row.
#[derive(Clone, Debug)]
struct Hand {
    /// The lines' rows around the present one, at the frame's width; `held` says which they are.
    stretched: [Rows; 2],
    held: [Option<usize>; 2],
    mixed: Rows,
    seen: Vec<f32>,
    shown: Vec<f32>,
    /// Red, green and blue, 0 to 1.
    rgb: [Vec<f32>; 3],
}

/// What is the same for all rows of a frame.
struct Frame<'a> {
    columns: &'a [Between],
    rows: &'a [Between],
    lines: &'a [Plane<f32>; 4],
    codes: &'a Codes,
    neutral: usize,
    luma: &'a Plane<u8>,
}

impl Composer {
    /// From lines of `lines` (width, height) to a frame of `frame`, by so many threads.
    pub(crate) fn new(lines: (usize, usize), frame: (usize, usize), threads: usize) -> Self {
        Self {
            columns: (0..frame.0).map(|x| Between::new(x, frame.0, lines.0)).collect(),
            rows: (0..frame.1).map(|y| Between::new(y, frame.1, lines.1)).collect(),
            hands: vec![Hand::new(frame.0); threads.clamp(1, frame.1)],
        }
    }

    /// Fills the picture's chroma, scaled down where the color would leave the RGB cube. The columns left of `neutral` stay without color. The
    /// threads are those of `crew`; without one, this one does all.
    ///
    /// # Panics
    /// If the luma or the lines are not of the sizes this was made for.
    pub(crate) fn compose(&mut self, lines: &[Plane<f32>; 4], codes: &Codes, neutral: usize, picture: &mut Picture, crew: Option<&Crew>) {
        let Picture { luma, cb, cr } = picture;
        for plane in [&mut *cb, &mut *cr] {
            (plane.width, plane.height) = (luma.width, luma.height);
            plane.data.resize(luma.data.len(), 128);
        }
        let Self { columns, rows, hands } = self;
        let frame = Frame { columns, rows, lines, codes, neutral: neutral.min(luma.width), luma };
        let height = frame.luma.height;
        match crew {
            Some(crew) if hands.len() > 1 => {
                let rows = height.div_ceil(hands.len());
                let size = rows * frame.luma.width;
                let planes = cb.data.chunks_mut(size).zip(cr.data.chunks_mut(size));
                let strips = hands.iter_mut().zip(planes).enumerate().map(|(part, (hand, (cb, cr)))| {
                    let rows = part * rows..((part + 1) * rows).min(height);
                    Strip { hand, rows, cb, cr }
                });
                crew.run(|| each(strips, &|strip: Strip| frame.fill(strip)));
            }
            _ => frame.fill(Strip { hand: &mut hands[0], rows: 0..height, cb: &mut cb.data, cr: &mut cr.data }),
        }
    }
}

/// Rows that one thread fills, and what it fills them with.
struct Strip<'a> {
    hand: &'a mut Hand,
    rows: Range<usize>,
    cb: &'a mut [u8],
    cr: &'a mut [u8],
}

impl Frame<'_> {
    fn fill(&self, Strip { hand, rows, cb, cr }: Strip) {
        vectorized(
            #[inline(always)]
            || hand.fill(self, rows, cb, cr),
        );
    }
}

impl Hand {
    fn new(width: usize) -> Self {
        let row = || vec![0.0; width];
        let rows = || std::array::from_fn(|_| row());
        Self { stretched: [rows(), rows()], held: [None; 2], mixed: rows(), seen: row(), shown: row(), rgb: std::array::from_fn(|_| row()) }
    }

    #[inline(always)]
    fn fill(&mut self, frame: &Frame, rows: Range<usize>, cb: &mut [u8], cr: &mut [u8]) {
        let Frame { lines, codes, neutral, .. } = *frame;
        let width = frame.luma.width;
        self.held = [None; 2];
        for ((y, cb), cr) in rows.zip(cb.chunks_exact_mut(width)).zip(cr.chunks_exact_mut(width)) {
            let Between { first, second, part } = frame.rows[y];
            if self.held[1] == Some(first) {
                self.stretched.swap(0, 1);
                self.held.swap(0, 1);
            }
            for (at, row) in [first, second].into_iter().enumerate() {
                if self.held[at] != Some(row) {
                    for (to, line) in self.stretched[at].iter_mut().zip(lines) {
                        stretch(line.row(row), frame.columns, to);
                    }
                    self.held[at] = Some(row);
                }
            }
            let [upper, lower] = &self.stretched;
            for ((mixed, upper), lower) in self.mixed.iter_mut().zip(upper).zip(lower) {
                mix(upper, lower, part, mixed);
            }
            let luma = frame.luma.row(y);
            for ((seen, shown), &code) in self.seen.iter_mut().zip(&mut self.shown).zip(luma) {
                (*seen, *shown) = (codes.seen[usize::from(code)], codes.shown[usize::from(code)]);
            }
            cb[..neutral].fill(128);
            cr[..neutral].fill(128);
            let lines = self.mixed.each_ref().map(|row| &row[neutral..]);
            let [r, g, b] = &mut self.rgb;
            light_row(lines, &self.seen[neutral..], &self.shown[neutral..], [r, g, b]);
            for channel in [&mut *r, g, b] {
                channel[..width - neutral].iter_mut().for_each(|v| *v = fast_srgb_encode(*v));
            }
            code_row([r, g, b], &luma[neutral..], codes.range, &mut cb[neutral..], &mut cr[neutral..]);
        }
    }
}

/// A row at the frame's width, by linear interpolation.
#[inline(always)]
fn stretch(row: &[f32], columns: &[Between], to: &mut [f32]) {
    for (to, at) in to.iter_mut().zip(columns) {
        let (first, second) = (row[at.first], row[at.second]);
        *to = first + (second - first) * at.part;
    }
}

#[inline(always)]
fn mix(upper: &[f32], lower: &[f32], part: f32, mixed: &mut [f32]) {
    for ((mixed, upper), lower) in mixed.iter_mut().zip(upper).zip(lower) {
        *mixed = upper + (lower - upper) * part;
    }
}

/// Linear light of a row. `lines` are slope and offset of a*, then of b*; `seen` and `shown` as in [`Codes`].
#[inline(always)]
fn light_row(lines: [&[f32]; 4], seen: &[f32], shown: &[f32], rgb: [&mut [f32]; 3]) {
    let n = seen.len();
    // Slices of one length spare the loop its bounds checks.
    let [slope_a, offset_a, slope_b, offset_b] = lines.map(|line| &line[..n]);
    let shown = &shown[..n];
    let [r, g, b] = rgb.map(|channel| &mut channel[..n]);
    for x in 0..n {
        let ab = (slope_a[x] * seen[x] + offset_a[x], slope_b[x] * seen[x] + offset_b[x]);
        [r[x], g[x], b[x]] = linear_srgb_of(shown[x], ab.0, ab.1);
    }
}

/// Cb and Cr of a row of gamma-coded RGB, for the luma that is shown.
#[inline(always)]
fn code_row(rgb: [&[f32]; 3], luma: &[u8], range: LumaRange, cb: &mut [u8], cr: &mut [u8]) {
    let (black, span) = range.black_and_span();
    let share = span.recip();
    let n = luma.len();
    let [r, g, b] = rgb.map(|channel| &channel[..n]);
    let (cb, cr) = (&mut cb[..n], &mut cr[..n]);
    for x in 0..n {
        let (blue, red) = rgb_to_chroma([r[x], g[x], b[x]]);
        let y = ((f32::from(luma[x]) - black) * share).clamp(0.0, 1.0);
        let fit = 255.0 * chroma_that_fits(y, blue, red);
        cb[x] = nearest_code(128.0 + blue * fit);
        cr[x] = nearest_code(128.0 + red * fit);
    }
}

/// Where an output position lies between two input positions.
#[derive(Clone, Copy, Debug)]
struct Between {
    first: usize,
    second: usize,
    part: f32,
}

impl Between {
    fn new(at: usize, outputs: usize, inputs: usize) -> Self {
        let position = ((at as f32 + 0.5) * inputs as f32 / outputs as f32 - 0.5).clamp(0.0, inputs as f32 - 1.0);
        let first = position as usize;
        Self { first, second: (first + 1).min(inputs - 1), part: position - first as f32 }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use super::*;
    use crate::guide::Guide;
    use crate::planes::{Chroma, Placement, mirror_outside, resample};
    use crate::reference;

    /// The same numbers on every machine, 0 to 1.
    fn noise(seed: usize) -> impl FnMut() -> f32 {
        let mut state = seed as u64;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u64 << 24) as f32
        }
    }

    /// Slopes, an edge every 40 pixels, and noise: all codes occur.
    fn frame(width: usize, height: usize) -> Plane<u8> {
        let mut noise = noise(width + height);
        let value = |x: usize, y: usize, noise: f32| {
            let edge = if (x / 40 + y / 40).is_multiple_of(2) { 0.0 } else { 110.0 };
            edge + 145.0 * (x + y) as f32 / (width + height) as f32 + 30.0 * (noise - 0.5)
        };
        Plane::from_vec(width, height, (0..width * height).map(|i| value(i % width, i / width, noise()).clamp(0.0, 255.0) as u8).collect())
    }

    #[test]
    fn colors_are_those_of_the_plain_form() {
        struct Case {
            size: (usize, usize),
            range: LumaRange,
            tone: Tone,
            /// How far ab reaches: the network's limit, and what photographs have.
            reach: f32,
        }
        let tone = Tone { black: 20.0, white: 210.0, gamma: 1.4 };
        let cases = [
            ((640, 480), LumaRange::Full, Tone::default(), 30.0),
            ((640, 480), LumaRange::Limited, tone, 128.0),
            // As the model's input is: nothing is stretched. Smaller, upright, and hardly anything: no loop may count on a whole vector.
            ((192, 144), LumaRange::Full, Tone::default(), 128.0),
            ((101, 67), LumaRange::Limited, Tone::default(), 60.0),
            ((90, 350), LumaRange::Full, tone, 60.0),
            ((3, 2), LumaRange::Full, Tone::default(), 60.0),
            ((1, 1), LumaRange::Full, Tone::default(), 60.0),
        ];
        for Case { size, range, tone, reach } in cases.map(|(size, range, tone, reach)| Case { size, range, tone, reach }) {
            let (output, input_size) = ((48, 36), (192, 144));
            let placement = Placement::fit(size, input_size);
            let codes = Codes::new(range, tone);
            let luma = frame(size.0, size.1);
            let mut input = Plane::filled(input_size.0, input_size.1, 0.0);
            let shrunk = resample(&luma, |code| codes.seen[usize::from(code)], (placement.width, placement.height));
            for y in 0..placement.height {
                input.row_mut(placement.y + y)[placement.x..placement.x + placement.width].copy_from_slice(shrunk.row(y));
            }
            mirror_outside(&mut input, placement);
            let mut noise = noise(1);
            let mut plane = || Plane::from_vec(48, 36, (0..48 * 36).map(|_| reach * (2.0 * noise() - 1.0)).collect());
            let chroma = Chroma { a: plane(), b: plane() };

            let mut found = Picture { luma: luma.clone(), ..Picture::default() };
            let mut guide = Guide::new(output, input_size, placement);
            let lines = guide.lines(&input, &chroma);
            Composer::new((placement.width, placement.height), size, 1).compose(lines, &codes, 0, &mut found, None);
            let crew = Crew::new(3.try_into().unwrap()).unwrap();
            let mut shared = Picture { luma: luma.clone(), ..Picture::default() };
            Composer::new((placement.width, placement.height), size, 3).compose(lines, &codes, 0, &mut shared, crew.as_ref());
            assert_eq!(shared, found, "{size:?}: three threads, and one");
            let mut expected = Picture { luma: luma.clone(), ..Picture::default() };
            reference::compose(&reference::lines(&input, placement, &chroma), range, tone, &mut expected);

            assert_eq!(found.luma, luma);
            assert_eq!((found.cb.width, found.cb.height, found.cr.width, found.cr.height), (size.0, size.1, size.0, size.1));
            let pairs = found.cb.data.iter().chain(&found.cr.data).zip(expected.cb.data.iter().chain(&expected.cr.data));
            let differences: Vec<u8> = pairs.map(|(found, expected)| found.abs_diff(*expected)).collect();
            let beyond = |limit: u8| differences.iter().filter(|&&d| d > limit).count();
            assert_eq!(beyond(1), 0, "{size:?} {range:?}");
            assert!(beyond(0) <= differences.len() / 20 + 2, "{size:?} {range:?}: {} of {} differ by 1", beyond(0), differences.len());
            let colored = found.cb.data.iter().filter(|v| v.abs_diff(128) > 3).count();
            assert!(colored * 10 >= found.cb.data.len(), "{size:?} {range:?}: nothing to compare");
        }
    }

    #[test]
    fn the_columns_left_of_the_split_stay_neutral() {
        let luma = frame(50, 7);
        let lines = [0.0, 40.0, 0.0, -30.0].map(|v| Plane::filled(12, 5, v));
        let codes = Codes::new(LumaRange::Full, Tone::default());
        let picture_split_at = |neutral| {
            // Chroma of another picture, and of another size.
            let mut picture = Picture { luma: luma.clone(), cb: Plane::filled(9, 9, 7), cr: Plane::filled(50, 7, 9) };
            Composer::new((12, 5), (50, 7), 1).compose(&lines, &codes, neutral, &mut picture, None);
            picture
        };
        let whole = picture_split_at(0);
        for neutral in [1, 13, 50, 51] {
            let split = picture_split_at(neutral);
            for (found, whole) in [(&split.cb, &whole.cb), (&split.cr, &whole.cr)] {
                for y in 0..7 {
                    for x in 0..50 {
                        let expected = if x < neutral { 128 } else { whole.row(y)[x] };
                        assert_eq!(found.row(y)[x], expected, "{x},{y} split at {neutral}");
                    }
                }
            }
        }
    }
}
