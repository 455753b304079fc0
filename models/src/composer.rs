//! From the guided filter's lines to Cb and Cr at the frame's own size.
//!
//! A line is stretched to the frame's width once for each of its own rows; a frame's row then lies between two of those. What is left for each
//! pixel are three short loops without branches, calls or tables. Each computes several pixels at once, and a processor has several turns of it
//! under way: one long loop would wait for its own results.

use crate::color::{
    LumaRange, Tone, chroma_that_fits, fast_srgb_encode, lightness_table, linear_srgb_of, nearest_code, rgb_to_chroma, seen_lightness_table,
};
use crate::picture::Picture;
use crate::planes::Plane;

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
    /// The lines' rows around the present one, at the frame's width; `held` says which they are.
    stretched: [Rows; 2],
    held: [Option<usize>; 2],
    mixed: Rows,
    seen: Vec<f32>,
    shown: Vec<f32>,
    /// Red, green and blue, 0 to 1.
    rgb: [Vec<f32>; 3],
}

impl Composer {
    /// From lines of `lines` (width, height) to a frame of `frame`.
    pub(crate) fn new(lines: (usize, usize), frame: (usize, usize)) -> Self {
        let row = || vec![0.0; frame.0];
        let rows = || std::array::from_fn(|_| row());
        Self {
            columns: (0..frame.0).map(|x| Between::new(x, frame.0, lines.0)).collect(),
            rows: (0..frame.1).map(|y| Between::new(y, frame.1, lines.1)).collect(),
            stretched: [rows(), rows()],
            held: [None; 2],
            mixed: rows(),
            seen: row(),
            shown: row(),
            rgb: std::array::from_fn(|_| row()),
        }
    }

    /// Fills the picture's chroma, scaled down where the color would leave the RGB cube. The columns left of `neutral` stay without color.
    ///
    /// # Panics
    /// If the luma or the lines are not of the sizes this was made for.
    pub(crate) fn compose(&mut self, lines: &[Plane<f32>; 4], codes: &Codes, neutral: usize, picture: &mut Picture) {
        let Picture { luma, cb, cr } = picture;
        for plane in [&mut *cb, &mut *cr] {
            (plane.width, plane.height) = (luma.width, luma.height);
            plane.data.resize(luma.data.len(), 128);
        }
        self.held = [None; 2];
        let width = luma.width;
        let neutral = neutral.min(width);
        for y in 0..luma.height {
            let Between { first, second, part } = self.rows[y];
            if self.held[1] == Some(first) {
                self.stretched.swap(0, 1);
                self.held.swap(0, 1);
            }
            for (at, row) in [first, second].into_iter().enumerate() {
                if self.held[at] != Some(row) {
                    for (to, line) in self.stretched[at].iter_mut().zip(lines) {
                        stretch(line.row(row), &self.columns, to);
                    }
                    self.held[at] = Some(row);
                }
            }
            let [upper, lower] = &self.stretched;
            for ((mixed, upper), lower) in self.mixed.iter_mut().zip(upper).zip(lower) {
                mix(upper, lower, part, mixed);
            }
            let luma = luma.row(y);
            for ((seen, shown), &code) in self.seen.iter_mut().zip(&mut self.shown).zip(luma) {
                (*seen, *shown) = (codes.seen[usize::from(code)], codes.shown[usize::from(code)]);
            }
            let (cb, cr) = (cb.row_mut(y), cr.row_mut(y));
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
fn stretch(row: &[f32], columns: &[Between], to: &mut [f32]) {
    for (to, at) in to.iter_mut().zip(columns) {
        let (first, second) = (row[at.first], row[at.second]);
        *to = first + (second - first) * at.part;
    }
}

fn mix(upper: &[f32], lower: &[f32], part: f32, mixed: &mut [f32]) {
    for ((mixed, upper), lower) in mixed.iter_mut().zip(upper).zip(lower) {
        *mixed = upper + (lower - upper) * part;
    }
}

/// Linear light of a row. `lines` are slope and offset of a*, then of b*; `seen` and `shown` as in [`Codes`].
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
