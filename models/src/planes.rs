//! Planes of pixels: how a camera's picture is fitted into a model's input, and back.
//!
//! Numbers in, numbers out. Indexing mistakes are ours and panic; no input can make these functions fail.

use crate::vector::vectorized;

/// One channel of a picture, row-major and tight.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Plane<T> {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width * height` values.
    pub data: Vec<T>,
}

impl<T: Copy> Plane<T> {
    /// A plane of one value.
    pub fn filled(width: usize, height: usize, value: T) -> Self {
        Self { width, height, data: vec![value; width * height] }
    }

    /// A plane of these values.
    ///
    /// # Panics
    /// If there are not `width * height` of them.
    pub fn from_vec(width: usize, height: usize, data: Vec<T>) -> Self {
        assert_eq!(data.len(), width * height, "a {width}x{height} plane");
        Self { width, height, data }
    }

    /// Row `y`.
    #[inline]
    pub fn row(&self, y: usize) -> &[T] {
        &self.data[y * self.width..(y + 1) * self.width]
    }

    /// Row `y`, to write to.
    #[inline]
    pub fn row_mut(&mut self, y: usize) -> &mut [T] {
        &mut self.data[y * self.width..(y + 1) * self.width]
    }
}

/// A picture's a* and b*, planes of one size.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Chroma {
    /// a*, about -108 to 98.
    pub a: Plane<f32>,
    /// b*, about -108 to 94.
    pub b: Plane<f32>,
}

/// A rectangle of a model's input that a picture is fitted into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Left edge, in input pixels.
    pub x: usize,
    /// Top edge.
    pub y: usize,
    /// Width.
    pub width: usize,
    /// Height.
    pub height: usize,
}

/// How much a picture may be stretched in one direction to fill the input. Training shows the network this much.
pub const STRETCH_MAX: f64 = 4.0 / 3.0;

impl Placement {
    /// Where a `width` x `height` picture goes in a `model_width` x `model_height` input: over all of it when a stretch of
    /// [`STRETCH_MAX`] does it, else centered with the rest mirrored. A mild stretch costs less than empty input.
    pub fn fit((width, height): (usize, usize), (model_width, model_height): (usize, usize)) -> Self {
        let aspect = width.max(1) as f64 / height.max(1) as f64;
        let model_aspect = model_width as f64 / model_height as f64;
        // Up to the limit towards the model's shape.
        let shown = model_aspect.clamp(aspect / STRETCH_MAX, aspect * STRETCH_MAX);
        let (w, h) = if shown < model_aspect {
            ((model_height as f64 * shown).round() as usize, model_height)
        } else {
            (model_width, (model_width as f64 / shown).round() as usize)
        };
        let (w, h) = (w.clamp(1, model_width), h.clamp(1, model_height));
        Self { x: (model_width - w) / 2, y: (model_height - h) / 2, width: w, height: h }
    }
}

/// The weights of one output position: the first input and a slice of `weights`.
#[derive(Clone, Debug)]
struct Tap {
    first: usize,
    weights: std::ops::Range<usize>,
}

/// Resampling along one axis with a triangle filter: linear interpolation when growing, an antialiased mean when shrinking.
#[derive(Clone, Debug)]
struct Axis {
    taps: Vec<Tap>,
    weights: Vec<f32>,
}

impl Axis {
    fn new(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        let radius = scale.max(1.0);
        let mut axis = Self { taps: Vec::with_capacity(to), weights: Vec::new() };
        for i in 0..to {
            let center = (i as f64 + 0.5) * scale - 0.5;
            let first = ((center - radius).ceil().max(0.0)) as usize;
            let last = ((center + radius).floor().min(from as f64 - 1.0).max(0.0)) as usize;
            let first = first.min(last);
            let start = axis.weights.len();
            for at in first..=last {
                axis.weights.push((1.0 - (at as f64 - center).abs() / radius).max(0.0) as f32);
            }
            let sum: f32 = axis.weights[start..].iter().sum();
            if sum > 0.0 {
                axis.weights[start..].iter_mut().for_each(|w| *w /= sum);
            } else {
                axis.weights[start] = 1.0;
            }
            axis.taps.push(Tap { first, weights: start..axis.weights.len() });
        }
        axis
    }
}

/// Source rows that are resampled across together, a vector register's lane each.
const LANES: usize = 8;

/// A reusable resampler from one plane size to another.
#[derive(Clone, Debug)]
pub struct Resampler {
    from: (usize, usize),
    to: (usize, usize),
    across: Axis,
    down: Axis,
    /// The rows resampled across, one a source row.
    narrow: Vec<f32>,
    /// Of [`LANES`] source rows, column by column.
    columns: Vec<[f32; LANES]>,
}

impl Resampler {
    /// A resampler between two sizes (width, height), both at least 1x1.
    pub fn new(from: (usize, usize), to: (usize, usize)) -> Self {
        Self {
            from,
            to,
            across: Axis::new(from.0, to.0),
            down: Axis::new(from.1, to.1),
            narrow: vec![0.0; to.0 * from.1],
            columns: vec![[0.0; LANES]; from.0],
        }
    }

    /// The source size (width, height).
    pub fn from_size(&self) -> (usize, usize) {
        self.from
    }

    /// Resamples `source`, each pixel passed through `value` first, into the rectangle of `target` that starts at (x, y).
    ///
    /// # Panics
    /// If `source` is not [`from_size`](Self::from_size) or the rectangle leaves `target`.
    pub fn resample_into<T: Copy>(&mut self, source: &Plane<T>, value: impl Fn(T) -> f32, target: &mut Plane<f32>, (x, y): (usize, usize)) {
        assert_eq!((source.width, source.height), self.from, "the source's size");
        vectorized(
            #[inline(always)]
            || self.fill(source, value, target, (x, y)),
        );
    }

    #[inline(always)]
    fn fill<T: Copy>(&mut self, source: &Plane<T>, value: impl Fn(T) -> f32, target: &mut Plane<f32>, (x, y): (usize, usize)) {
        let (width, height) = self.to;
        for (block, narrow) in self.narrow.chunks_mut(LANES * width).enumerate() {
            let rows = narrow.len() / width;
            for lane in 0..rows {
                for (to, &from) in self.columns.iter_mut().zip(source.row(block * LANES + lane)) {
                    to[lane] = value(from);
                }
            }
            for (x, tap) in self.across.taps.iter().enumerate() {
                let mut sums = [0.0; LANES];
                for (&weight, column) in self.across.weights[tap.weights.clone()].iter().zip(&self.columns[tap.first..]) {
                    for (sum, v) in sums.iter_mut().zip(column) {
                        *sum += weight * v;
                    }
                }
                for (lane, sum) in sums[..rows].iter().enumerate() {
                    narrow[lane * width + x] = *sum;
                }
            }
        }
        for (row, tap) in self.down.taps.iter().enumerate() {
            debug_assert!(row < height);
            let out = &mut target.row_mut(y + row)[x..x + width];
            out.fill(0.0);
            for (step, &weight) in self.down.weights[tap.weights.clone()].iter().enumerate() {
                let from = &self.narrow[(tap.first + step) * width..][..width];
                for (to, &v) in out.iter_mut().zip(from) {
                    *to += weight * v;
                }
            }
        }
    }
}

/// Resamples a plane to another size (width, height).
pub fn resample<T: Copy>(source: &Plane<T>, value: impl Fn(T) -> f32, to: (usize, usize)) -> Plane<f32> {
    let mut target = Plane::filled(to.0, to.1, 0.0);
    Resampler::new((source.width, source.height), to).resample_into(source, value, &mut target, (0, 0));
    target
}

/// Fills what lies outside `placement` by mirroring what lies inside, so that the network sees no hard edge.
pub fn mirror_outside(plane: &mut Plane<f32>, placement: Placement) {
    let mirrored = |at: usize, first: usize, size: usize| {
        // Distance from the rectangle's start, folded into it.
        let period = 2 * size as isize;
        let offset = (at as isize - first as isize).rem_euclid(period);
        first + (if offset < size as isize { offset } else { period - 1 - offset }) as usize
    };
    for y in placement.y..placement.y + placement.height {
        let row = plane.row_mut(y);
        for x in (0..placement.x).chain(placement.x + placement.width..row.len()) {
            row[x] = row[mirrored(x, placement.x, placement.width)];
        }
    }
    for y in (0..placement.y).chain(placement.y + placement.height..plane.height) {
        let from = mirrored(y, placement.y, placement.height) * plane.width;
        plane.data.copy_within(from..from + plane.width, y * plane.width);
    }
}

/// The rectangle `placement` of a plane, as a plane.
pub fn cut_out(plane: &Plane<f32>, placement: Placement) -> Plane<f32> {
    let mut data = Vec::with_capacity(placement.width * placement.height);
    for y in placement.y..placement.y + placement.height {
        data.extend_from_slice(&plane.row(y)[placement.x..placement.x + placement.width]);
    }
    Plane::from_vec(placement.width, placement.height, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_camera_of_nearly_the_models_shape_fills_it() {
        assert_eq!(Placement::fit((640, 480), (192, 144)), Placement { x: 0, y: 0, width: 192, height: 144 });
        assert_eq!(Placement::fit((1280, 720), (192, 144)), Placement { x: 0, y: 0, width: 192, height: 144 });
        assert_eq!(Placement::fit((500, 500), (192, 144)), Placement { x: 0, y: 0, width: 192, height: 144 });
    }

    #[test]
    fn a_portrait_is_centered_and_mildly_stretched() {
        let placement = Placement::fit((480, 640), (192, 144));
        assert_eq!(placement, Placement { x: 24, y: 0, width: 144, height: 144 });
        let strip = Placement::fit((4000, 10), (192, 144));
        assert_eq!((strip.width, strip.height), (192, 1));
    }

    #[test]
    fn shrinking_is_a_mean_and_growing_is_linear() {
        let ramp = Plane::from_vec(8, 1, (0..8).map(|v| v as f32).collect());
        let small = resample(&ramp, |v| v, (2, 1));
        assert!((small.data.iter().sum::<f32>() / 2.0 - 3.5).abs() < 1e-5, "the mean stays: {small:?}");
        let grown = resample(&Plane::from_vec(2, 1, vec![0.0_f32, 1.0]), |v| v, (4, 1));
        assert_eq!(grown.data, [0.0, 0.25, 0.75, 1.0]);
        let flat = resample(&Plane::filled(31, 17, 7_u8), f32::from, (13, 29));
        assert!(flat.data.iter().all(|v| (v - 7.0).abs() < 1e-5));
    }

    #[test]
    fn rows_that_are_resampled_together_are_as_those_alone() {
        for (from, to) in [((640, 480), (192, 144)), ((17, 11), (5, 4)), ((5, 3), (31, 20)), ((1, 1), (2, 3))] {
            let source = Plane::from_vec(from.0, from.1, (0..from.0 * from.1).map(|i| (i * i / 7 % 251) as u8).collect());
            let (across, down) = (Axis::new(from.0, to.0), Axis::new(from.1, to.1));
            let weights = |axis: &Axis, at: usize| (axis.taps[at].first, axis.weights[axis.taps[at].weights.clone()].to_vec());
            let plain = |x: usize, y: usize| {
                let ((left, across), (top, down)) = (weights(&across, x), weights(&down, y));
                let row = |y: usize| across.iter().zip(&source.row(y)[left..]).fold(0.0, |sum, (w, &v)| sum + w * f32::from(v));
                down.iter().enumerate().fold(0.0, |sum, (i, w)| sum + w * row(top + i))
            };
            let found = resample(&source, f32::from, to);
            for y in 0..to.1 {
                for x in 0..to.0 {
                    // Bit by bit: what the network sees decides how its int8 values round.
                    assert_eq!(found.row(y)[x].to_bits(), plain(x, y).to_bits(), "{from:?} to {to:?} at {x},{y}");
                }
            }
        }
    }

    #[test]
    fn mirroring_repeats_the_picture_outwards() {
        let mut plane = Plane::from_vec(6, 1, vec![0.0, 0.0, 1.0, 2.0, 0.0, 0.0]);
        mirror_outside(&mut plane, Placement { x: 2, y: 0, width: 2, height: 1 });
        assert_eq!(plane.data, [2.0, 1.0, 1.0, 2.0, 2.0, 1.0]);
    }
}
