//! The guided filter (He et al. 2010): in every window ab is a linear function of lightness, so that color stops where luma does.
//!
//! Works at the resolution that the network saw the frame at. Every loop runs over whole rows, so that it computes several pixels at once.

use crate::planes::{Chroma, Placement, Plane, Resampler};
use crate::vector::vectorized;

/// How far, in model input pixels, the luma guides the chroma.
pub(crate) const RADIUS: usize = 4;
/// The lightness contrast below which chroma is smoothed rather than cut along an edge, in L* (0 to 100).
pub(crate) const CONTRAST: f32 = 4.0;
const WINDOW: usize = 2 * RADIUS + 1;

/// Finds, for every pixel of a rectangle of the model's input, the line from its lightness to its a*, and the one to its b*.
#[derive(Clone, Debug)]
pub(crate) struct Guide {
    placement: Placement,
    /// The network's ab at the model input's size.
    grow: Resampler,
    a: Plane<f32>,
    b: Plane<f32>,
    /// 1 / (columns of the window that lie inside), for each column.
    shares: Vec<f32>,
    /// Column sums over the window's rows: of lightness, its square, a*, a* times lightness, b*, b* times lightness.
    sums: [ColumnSums; 6],
    /// The same, over the window's area, of one row.
    areas: [Vec<f32>; 6],
    /// Each window's own line: slope and offset of a*, then of b*.
    fitted: [Plane<f32>; 4],
    line_sums: ColumnSums,
    lines: [Plane<f32>; 4],
}

impl Guide {
    /// For a network whose output is `output` (width, height), input is `input`, and whose frame lies at `placement` in the input.
    pub(crate) fn new(output: (usize, usize), input: (usize, usize), placement: Placement) -> Self {
        let Placement { width, height, .. } = placement;
        let full = Plane::filled(input.0, input.1, 0.0);
        let part = Plane::filled(width, height, 0.0);
        Self {
            placement,
            grow: Resampler::new(output, input),
            a: full.clone(),
            b: full,
            shares: (0..width).map(|x| share_inside(x, width)).collect(),
            sums: std::array::from_fn(|_| ColumnSums::new(width)),
            areas: std::array::from_fn(|_| vec![0.0; width]),
            fitted: std::array::from_fn(|_| part.clone()),
            line_sums: ColumnSums::new(width),
            lines: std::array::from_fn(|_| part.clone()),
        }
    }

    /// Slope and offset of a*, then of b*, of the placement's size.
    ///
    /// `input` is the lightness that the network saw, `chroma` what it made of it.
    ///
    /// # Panics
    /// If a size differs from the one this was made for.
    pub(crate) fn lines(&mut self, input: &Plane<f32>, chroma: &Chroma) -> &[Plane<f32>; 4] {
        self.grow.resample_into(&chroma.a, |v| v, &mut self.a, (0, 0));
        self.grow.resample_into(&chroma.b, |v| v, &mut self.b, (0, 0));
        vectorized(
            #[inline(always)]
            || self.fit(input),
        );
        &self.lines
    }

    #[inline(always)]
    fn fit(&mut self, input: &Plane<f32>) {
        let Placement { x: left, y: top, width, height } = self.placement;
        let rows = |y: usize| [input, &self.a, &self.b].map(|plane| &plane.row(top + y)[left..left + width]);
        self.sums.iter_mut().for_each(ColumnSums::clear);
        let [light, square, a, a_light, b, b_light] = &mut self.sums;
        for y in 0..height {
            for (row, sign) in entering_and_leaving(y, height) {
                let [row_light, row_a, row_b] = rows(row);
                light.add(row_light, sign);
                square.add_product(row_light, row_light, sign);
                a.add(row_a, sign);
                a_light.add_product(row_a, row_light, sign);
                b.add(row_b, sign);
                b_light.add_product(row_b, row_light, sign);
            }
            let sums = [&*light, &*square, &*a, &*a_light, &*b, &*b_light];
            for (area, sums) in self.areas.iter_mut().zip(sums) {
                sums.areas(area);
            }
            let means = Means { shares: &self.shares, share: share_inside(y, height) };
            let [light, square, a, a_light, b, b_light] = &self.areas;
            let [slope_a, offset_a, slope_b, offset_b] = &mut self.fitted;
            means.fit([light, square], [a, a_light], slope_a.row_mut(y), offset_a.row_mut(y));
            means.fit([light, square], [b, b_light], slope_b.row_mut(y), offset_b.row_mut(y));
        }
        for (line, fitted) in self.lines.iter_mut().zip(&self.fitted) {
            box_mean(fitted, &self.shares, &mut self.line_sums, line);
        }
    }
}

/// The mean of the window around each value; at the borders, of what lies inside.
#[inline(always)]
fn box_mean(plane: &Plane<f32>, shares: &[f32], sums: &mut ColumnSums, mean: &mut Plane<f32>) {
    sums.clear();
    for y in 0..plane.height {
        for (row, sign) in entering_and_leaving(y, plane.height) {
            sums.add(plane.row(row), sign);
        }
        let out = mean.row_mut(y);
        sums.areas(out);
        let share = share_inside(y, plane.height);
        out.iter_mut().zip(shares).for_each(|(value, across)| *value *= across * share);
    }
}

/// 1 / (positions within [`RADIUS`] of `at` that lie inside 0..`size`).
#[inline(always)]
fn share_inside(at: usize, size: usize) -> f32 {
    (((at + RADIUS).min(size - 1) + 1 - at.saturating_sub(RADIUS)) as f32).recip()
}

/// The rows that the window around row `y` has and the one around `y - 1` had not, each with 1, and the other way round, with -1.
#[inline(always)]
fn entering_and_leaving(y: usize, height: usize) -> impl Iterator<Item = (usize, f32)> {
    let entering = if y == 0 { 0..(RADIUS + 1).min(height) } else { y + RADIUS..(y + RADIUS + 1).min(height) };
    let leaving = y.checked_sub(RADIUS + 1);
    entering.map(|row| (row, 1.0)).chain(leaving.map(|row| (row, -1.0)))
}

/// A sum over the window's rows for each column, with [`RADIUS`] zeros on either side.
#[derive(Clone, Debug)]
struct ColumnSums(Vec<f32>);

impl ColumnSums {
    fn new(width: usize) -> Self {
        Self(vec![0.0; width + 2 * RADIUS])
    }

    #[inline(always)]
    fn clear(&mut self) {
        self.0.fill(0.0);
    }

    #[inline(always)]
    fn add(&mut self, row: &[f32], sign: f32) {
        self.0[RADIUS..].iter_mut().zip(row).for_each(|(sum, v)| *sum += sign * v);
    }

    #[inline(always)]
    fn add_product(&mut self, left: &[f32], right: &[f32], sign: f32) {
        self.0[RADIUS..].iter_mut().zip(left).zip(right).for_each(|((sum, l), r)| *sum += sign * (l * r));
    }

    /// The sums over the window's area.
    #[inline(always)]
    fn areas(&self, out: &mut [f32]) {
        let width = out.len();
        let shifted: [&[f32]; WINDOW] = std::array::from_fn(|shift| &self.0[shift..shift + width]);
        for (x, out) in out.iter_mut().enumerate() {
            *out = shifted.iter().map(|row| row[x]).sum();
        }
    }
}

/// What turns sums over windows into means.
struct Means<'a> {
    shares: &'a [f32],
    share: f32,
}

impl Means<'_> {
    /// Each window's line from lightness to one channel.
    #[inline(always)]
    fn fit(&self, [light, square]: [&[f32]; 2], [channel, product]: [&[f32]; 2], slope: &mut [f32], offset: &mut [f32]) {
        let n = slope.len();
        let (light, square, channel, product) = (&light[..n], &square[..n], &channel[..n], &product[..n]);
        let (shares, offset) = (&self.shares[..n], &mut offset[..n]);
        for x in 0..n {
            let share = shares[x] * self.share;
            let (light, channel) = (light[x] * share, channel[x] * share);
            let variance = square[x] * share - light * light;
            let variance = if variance > 0.0 { variance } else { 0.0 };
            let covariance = product[x] * share - light * channel;
            slope[x] = covariance / (variance + CONTRAST * CONTRAST);
            offset[x] = channel - slope[x] * light;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_box_mean_is_the_mean_of_the_window() {
        for (width, height) in [(23, 17), (5, 4), (1, 1), (2, 30)] {
            let plane = Plane::from_vec(width, height, (0..width * height).map(|v| (v * v % 17) as f32).collect());
            let shares: Vec<f32> = (0..width).map(|x| share_inside(x, width)).collect();
            let mut fast = Plane::filled(width, height, 0.0);
            box_mean(&plane, &shares, &mut ColumnSums::new(width), &mut fast);
            for y in 0..height {
                for x in 0..width {
                    let rows = y.saturating_sub(RADIUS)..=(y + RADIUS).min(height - 1);
                    let values: Vec<f32> = rows
                        .flat_map(|r| (x.saturating_sub(RADIUS)..=(x + RADIUS).min(width - 1)).map(move |c| (r, c)))
                        .map(|(r, c)| plane.row(r)[c])
                        .collect();
                    let mean = values.iter().sum::<f32>() / values.len() as f32;
                    assert!((fast.row(y)[x] - mean).abs() < 1e-4, "{width}x{height} at {x},{y}");
                }
            }
        }
    }
}
