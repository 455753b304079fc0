//! A synthetic camera that films a photograph, so that stills train a recurrent net.
//!
//! A window moves over the picture: it pans, zooms and turns a little, or stands on a tripod and only trembles. Input and truth are both
//! made from what the camera sees, so they always agree.

use std::f32::consts::{PI, TAU};

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// How the synthetic camera moves. Shares are probabilities from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MotionConfig {
    /// Smallest window, as a share of the side of the largest that fits.
    pub window_min: f32,
    /// Largest window, as a share of the side of the largest that fits.
    pub window_max: f32,
    /// The picture is stretched by a factor between 1/this and this, since the device stretches a camera's picture to the net's shape.
    pub aspect_max: f32,
    /// Mirrored left to right.
    pub flip_share: f32,
    /// Stills filmed from a tripod: no motion but the trembling.
    pub tripod_share: f32,
    /// Trembling: every frame is off by up to this many output pixels in x and y.
    pub jitter_px: f32,
    /// Fastest pan, as a share of the window per frame.
    pub pan_per_frame: f32,
    /// Fastest zoom, as a share of the window per frame.
    pub zoom_per_frame: f32,
    /// Largest roll to either side, degrees.
    pub roll_degrees: f32,
    /// Fastest roll, degrees per frame.
    pub roll_degrees_per_frame: f32,
}

impl Default for MotionConfig {
    fn default() -> Self {
        Self {
            window_min: 0.75,
            window_max: 1.0,
            aspect_max: 1.33,
            flip_share: 0.5,
            tripod_share: 0.5,
            jitter_px: 0.4,
            pan_per_frame: 0.02,
            zoom_per_frame: 0.01,
            roll_degrees: 3.0,
            roll_degrees_per_frame: 0.5,
        }
    }
}

impl MotionConfig {
    /// No motion and no augmentation: the largest window that fits, centered, undistorted.
    pub fn off() -> Self {
        Self {
            window_min: 1.0,
            window_max: 1.0,
            aspect_max: 1.0,
            flip_share: 0.0,
            tripod_share: 1.0,
            jitter_px: 0.0,
            pan_per_frame: 0.0,
            zoom_per_frame: 0.0,
            roll_degrees: 0.0,
            roll_degrees_per_frame: 0.0,
        }
    }

    /// What is wrong with the values, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        let shares = [("flip_share", self.flip_share), ("tripod_share", self.tripod_share)];
        let limits = [
            ("window_min", self.window_min, 0.05, self.window_max),
            ("window_max", self.window_max, self.window_min, 1.0),
            ("aspect_max", self.aspect_max, 1.0, 4.0),
            ("jitter_px", self.jitter_px, 0.0, 16.0),
            ("pan_per_frame", self.pan_per_frame, 0.0, 0.5),
            ("zoom_per_frame", self.zoom_per_frame, 0.0, 0.5),
            ("roll_degrees", self.roll_degrees, 0.0, 45.0),
            ("roll_degrees_per_frame", self.roll_degrees_per_frame, 0.0, 45.0),
        ];
        shares
            .map(|(name, value)| (name, value, 0.0, 1.0))
            .iter()
            .chain(&limits)
            .find(|&&(_, value, low, high)| !(low..=high).contains(&value))
            .map(|(name, value, low, high)| format!("motion.{name} is {value}; it must be between {low} and {high}"))
    }
}

/// The way of one camera over one photograph (or its fixed window over a clip).
#[derive(Debug, Clone, PartialEq)]
pub struct StillCamera {
    /// Output size, pixels.
    output: (f32, f32),
    /// Window size in source pixels.
    window: (f32, f32),
    flip: bool,
    /// Middle of the window, source pixels.
    x: Swing,
    y: Swing,
    /// Logarithm of the magnification.
    zoom: Swing,
    /// Radians.
    roll: Swing,
    jitter_px: f32,
}

/// A value that swings around a middle: it is smooth, and it never leaves its range however long the item is.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Swing {
    middle: f32,
    amplitude: f32,
    phase: f32,
    per_frame: f32,
}

impl Swing {
    /// Stands still at `middle`.
    fn fixed(middle: f32) -> Self {
        Self { middle, amplitude: 0.0, phase: 0.0, per_frame: 0.0 }
    }

    /// Starts anywhere in `middle` ± `amplitude`, in either direction, and moves by at most `speed` a frame.
    fn sample(middle: f32, amplitude: f32, speed: f32, rng: &mut impl Rng) -> Self {
        if amplitude <= 0.0 {
            return Self::fixed(middle);
        }
        // Evenly over the range, where an even phase would prefer its ends.
        let rising = rng.random_range(-1.0f32..=1.0).asin();
        let phase = if rng.random() { rising } else { PI - rising };
        let per_frame = (rng.random::<f32>() * speed / amplitude).min(1.0);
        Self { middle, amplitude, phase, per_frame }
    }

    fn at(&self, frame: usize) -> f32 {
        // The remainder keeps the precision of f32 in very long items.
        let angle = (self.per_frame * frame as f32 + self.phase) % TAU;
        self.middle + self.amplitude * angle.sin()
    }
}

impl StillCamera {
    /// Draws a camera for a `source` of (width, height) pixels that films frames of `output` pixels.
    ///
    /// With `moving` false (a real clip, which has its own motion) the window is drawn but stays where it is, without trembling.
    pub fn sample(config: &MotionConfig, source: (u32, u32), output: (usize, usize), moving: bool, rng: &mut impl Rng) -> Self {
        let (source_w, source_h) = (source.0 as f32, source.1 as f32);
        let output = (output.0 as f32, output.1 as f32);
        let stretch = log_uniform(1.0 / config.aspect_max, config.aspect_max, rng);
        let aspect = output.0 / output.1 * stretch;
        let largest_w = source_w.min(source_h * aspect);
        let share = uniform(config.window_min, config.window_max, rng);
        let window = (largest_w * share, largest_w / aspect * share);
        let flip = rng.random::<f32>() < config.flip_share;
        let handheld = moving && rng.random::<f32>() >= config.tripod_share;
        let centered = config.window_min >= 1.0;

        let mut axis = |source: f32, window: f32| {
            let room = if centered { 0.0 } else { (source - window) / 2.0 };
            if handheld {
                // A window that fills the picture may still move a little: the border is mirrored.
                let room = room.max(0.03 * window);
                Swing::sample(source / 2.0, room, config.pan_per_frame * window, rng)
            } else {
                Swing::fixed(source / 2.0 + uniform(-room.max(0.0), room.max(0.0), rng))
            }
        };
        let (x, y) = (axis(source_w, window.0), axis(source_h, window.1));
        let (mut zoom, mut roll) = (Swing::fixed(0.0), Swing::fixed(0.0));
        if handheld {
            let amplitude = if config.zoom_per_frame > 0.0 { 0.08 } else { 0.0 };
            zoom = Swing::sample(0.0, amplitude, config.zoom_per_frame, rng);
            roll = Swing::sample(0.0, config.roll_degrees.to_radians(), config.roll_degrees_per_frame.to_radians(), rng);
        }
        let jitter_px = if moving { config.jitter_px * rng.random::<f32>() } else { 0.0 };
        Self { output, window, flip, x, y, zoom, roll, jitter_px }
    }

    /// Where every output pixel of one frame lies in the source; `rng` gives the frame's trembling.
    pub fn view(&self, frame: usize, rng: &mut impl Rng) -> View {
        let magnification = self.zoom.at(frame).exp();
        let width = self.window.0 / magnification;
        let height = self.window.1 / magnification;
        // Source pixels per output pixel.
        let (step_x, step_y) = (width / self.output.0, height / self.output.1);
        let (mut x, mut y) = (self.x.at(frame), self.y.at(frame));
        if self.jitter_px > 0.0 {
            x += step_x * uniform(-self.jitter_px, self.jitter_px, rng);
            y += step_y * uniform(-self.jitter_px, self.jitter_px, rng);
        }
        let (sin, cos) = self.roll.at(frame).sin_cos();
        let right = if self.flip { -step_x } else { step_x };
        let along_x = (cos * right, sin * right);
        let along_y = (-sin * step_y, cos * step_y);
        let origin = (
            x - along_x.0 * self.output.0 / 2.0 - along_y.0 * self.output.1 / 2.0,
            y - along_x.1 * self.output.0 / 2.0 - along_y.1 * self.output.1 / 2.0,
        );
        View { origin, along_x, along_y }
    }
}

/// An affine map from output to source coordinates; pixel (i, j) covers i..i+1, j..j+1 in both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// Source position of the output's corner.
    origin: (f32, f32),
    /// Step in the source for one output pixel to the right.
    along_x: (f32, f32),
    /// Step in the source for one output pixel down.
    along_y: (f32, f32),
}

impl View {
    /// An upright view: its corner in the source, and the steps of an output pixel to the right and down.
    #[cfg(test)]
    pub(super) fn window(origin: (f32, f32), (right, down): (f32, f32)) -> Self {
        Self { origin, along_x: (right, 0.0), along_y: (0.0, down) }
    }

    /// Whether the output's point (x, y) is one of a source of `width` x `height` pixels. Outside of it the picture is mirrored, and moves the other way.
    pub fn is_inside(&self, x: f64, y: f64, width: u32, height: u32) -> bool {
        let at = |origin: f32, along_x: f32, along_y: f32| f64::from(origin) + x * f64::from(along_x) + y * f64::from(along_y);
        (0.0..=f64::from(width)).contains(&at(self.origin.0, self.along_x.0, self.along_y.0))
            && (0.0..=f64::from(height)).contains(&at(self.origin.1, self.along_x.1, self.along_y.1))
    }

    /// Where `before` sees the point that this view has at (x, y): rows of factors on x, y and 1, the first row for x. Output pixels.
    pub fn seen_from(&self, before: &View) -> [[f64; 3]; 2] {
        let pair = |(x, y): (f32, f32)| (f64::from(x), f64::from(y));
        let (right, down, origin) = (pair(before.along_x), pair(before.along_y), pair(before.origin));
        let determinant = right.0 * down.1 - right.1 * down.0;
        // From the source back to the output of `before`.
        let back = |(x, y): (f64, f64)| [(x * down.1 - y * down.0) / determinant, (y * right.0 - x * right.1) / determinant];
        let [x, y] = [back(pair(self.along_x)), back(pair(self.along_y))];
        let here = pair(self.origin);
        let shift = back((here.0 - origin.0, here.1 - origin.1));
        [[x[0], y[0], shift[0]], [x[1], y[1], shift[1]]]
    }
}

/// A packed frame: tight RGB u8 with its size.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// `width * height * 3` bytes.
    pub rgb: &'a [u8],
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// Fixed point: 16 bits behind the point hold positions in pictures of up to 32,767 pixels.
const ONE: f32 = 65_536.0;

/// Samples the source through `view` into `out` (`width * height * 3` bytes, RGB, gamma-coded), bilinearly, mirrored at the borders.
///
/// When the view shrinks by more than 1.5 the mean of 2x2 samples is taken: plain bilinear would then skip source pixels and alias.
///
/// # Panics
/// When `out` or `source.rgb` is not of the given size.
pub fn sample(source: Source<'_>, view: &View, width: usize, height: usize, out: &mut [u8]) {
    assert_eq!(out.len(), width * height * 3, "the output plane has the given size");
    assert_eq!(source.rgb.len(), source.width as usize * source.height as usize * 3, "the source has its size");
    let shrink = |step: (f32, f32)| step.0.hypot(step.1);
    if shrink(view.along_x).max(shrink(view.along_y)) > 1.5 {
        sample_points(source, view, width, out, [0.25, 0.75], [0.25, 0.75]);
    } else {
        sample_points(source, view, width, out, [0.5], [0.5]);
    }
}

/// The mean of the bilinear samples at the given positions inside each output pixel.
fn sample_points<const X: usize, const Y: usize>(
    source: Source<'_>,
    view: &View,
    width: usize,
    out: &mut [u8],
    in_x: [f32; X],
    in_y: [f32; Y],
) {
    let (source_w, source_h) = (source.width as usize, source.height as usize);
    let stride = source_w * 3;
    // The position of pixel centers: -0.5, so that whole numbers are source pixels.
    let position = |i: f32, j: f32| {
        (view.origin.0 + i * view.along_x.0 + j * view.along_y.0 - 0.5, view.origin.1 + i * view.along_x.1 + j * view.along_y.1 - 0.5)
    };
    let step = (fixed(view.along_x.0), fixed(view.along_x.1));
    for (j, row) in out.chunks_exact_mut(width * 3).enumerate() {
        let mut starts = [[(0, 0); X]; Y];
        for (starts, dy) in starts.iter_mut().zip(in_y) {
            for (start, dx) in starts.iter_mut().zip(in_x) {
                let (x, y) = position(dx, j as f32 + dy);
                *start = (fixed(x), fixed(y));
            }
        }
        for (i, pixel) in row.chunks_exact_mut(3).enumerate() {
            let mut sum = [0; 3];
            for &(start_x, start_y) in starts.iter().flatten() {
                let x = start_x + i as i32 * step.0;
                let y = start_y + i as i32 * step.1;
                let (left, top) = (x >> 16, y >> 16);
                let (part_x, part_y) = ((x >> 8 & 255) as u32, (y >> 8 & 255) as u32);
                // Inside with the right and the lower neighbor; negative numbers become large ones.
                let (upper, lower) = if (left as usize) < source_w - 1 && (top as usize) < source_h - 1 {
                    let at = top as usize * stride + left as usize * 3;
                    (six(source.rgb, at), six(source.rgb, at + stride))
                } else {
                    mirrored(&source, left, top)
                };
                for c in 0..3 {
                    let above = u32::from(upper[c]) * (256 - part_x) + u32::from(upper[c + 3]) * part_x;
                    let below = u32::from(lower[c]) * (256 - part_x) + u32::from(lower[c + 3]) * part_x;
                    sum[c] += above * (256 - part_y) + below * part_y;
                }
            }
            let points = (X * Y) as u32;
            for (out, sum) in pixel.iter_mut().zip(sum) {
                *out = ((sum + points * 32_768) / (points * 65_536)) as u8;
            }
        }
    }
}

fn fixed(value: f32) -> i32 {
    (value * ONE).round() as i32
}

/// Two neighboring pixels.
fn six(rgb: &[u8], at: usize) -> [u8; 6] {
    rgb[at..at + 6].try_into().expect("a slice of six")
}

/// The four neighbors of a position that may lie outside.
fn mirrored(source: &Source<'_>, left: i32, top: i32) -> ([u8; 6], [u8; 6]) {
    let (w, h) = (source.width as i32, source.height as i32);
    let (x0, x1) = (mirror(left, w), mirror(left + 1, w));
    let row = |y: i32| {
        let at = |x: usize| (mirror(y, h) * w as usize + x) * 3;
        let (a, b) = (at(x0), at(x1));
        let rgb = source.rgb;
        [rgb[a], rgb[a + 1], rgb[a + 2], rgb[b], rgb[b + 1], rgb[b + 2]]
    };
    (row(top), row(top + 1))
}

/// Index of a pixel in an endless row of alternately mirrored pictures: -1 is 0, `size` is `size - 1`.
fn mirror(index: i32, size: i32) -> usize {
    let index = index.rem_euclid(2 * size);
    (if index < size { index } else { 2 * size - 1 - index }) as usize
}

/// Evenly between two values, which may be equal.
pub(super) fn uniform(low: f32, high: f32, rng: &mut impl Rng) -> f32 {
    low + (high - low) * rng.random::<f32>()
}

/// Evenly in the logarithm: doubling is as likely as halving.
pub(super) fn log_uniform(low: f32, high: f32, rng: &mut impl Rng) -> f32 {
    uniform(low.ln(), high.ln(), rng).exp()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn rng(seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }

    /// Red says the column, green the row.
    fn chart(width: u32, height: u32) -> Vec<u8> {
        (0..height).flat_map(|y| (0..width).flat_map(move |x| [x as u8, y as u8, 77])).collect()
    }

    #[test]
    fn a_camera_that_is_off_copies_a_picture_of_its_own_size() {
        let rgb = chart(64, 48);
        let camera = StillCamera::sample(&MotionConfig::off(), (64, 48), (64, 48), true, &mut rng(1));
        let mut out = vec![0; 64 * 48 * 3];
        for frame in [0, 7] {
            sample(Source { rgb: &rgb, width: 64, height: 48 }, &camera.view(frame, &mut rng(2)), 64, 48, &mut out);
            assert_eq!(out, rgb);
        }
    }

    #[test]
    fn a_camera_that_is_off_takes_the_middle() {
        let rgb = chart(100, 48);
        let camera = StillCamera::sample(&MotionConfig::off(), (100, 48), (48, 48), false, &mut rng(1));
        let mut out = vec![0; 48 * 48 * 3];
        sample(Source { rgb: &rgb, width: 100, height: 48 }, &camera.view(0, &mut rng(2)), 48, 48, &mut out);
        assert_eq!((out[0], out[1], out[47 * 3]), (26, 0, 73));
    }

    #[test]
    fn a_flip_mirrors_left_and_right_only() {
        let rgb = chart(40, 30);
        let config = MotionConfig { flip_share: 1.0, ..MotionConfig::off() };
        let camera = StillCamera::sample(&config, (40, 30), (40, 30), true, &mut rng(1));
        let mut out = vec![0; 40 * 30 * 3];
        sample(Source { rgb: &rgb, width: 40, height: 30 }, &camera.view(0, &mut rng(2)), 40, 30, &mut out);
        for (y, row) in out.chunks_exact(40 * 3).enumerate() {
            for (x, pixel) in row.chunks_exact(3).enumerate() {
                assert_eq!(pixel, [39 - x as u8, y as u8, 77]);
            }
        }
    }

    #[test]
    fn no_camera_sees_beyond_the_picture() {
        // A picture without black: a black pixel could only come from outside.
        let rgb = vec![200; 60 * 45 * 3];
        let wild = MotionConfig { roll_degrees: 30.0, pan_per_frame: 0.2, tripod_share: 0.0, ..MotionConfig::default() };
        let mut out = vec![0; 32 * 32 * 3];
        for seed in 0..50 {
            let camera = StillCamera::sample(&wild, (60, 45), (32, 32), true, &mut rng(seed));
            for frame in [0, 3, 1000] {
                sample(Source { rgb: &rgb, width: 60, height: 45 }, &camera.view(frame, &mut rng(9)), 32, 32, &mut out);
                assert!(out.iter().all(|&value| value == 200), "seed {seed}, frame {frame}");
            }
        }
    }

    #[test]
    fn a_still_pans_no_faster_than_it_may() {
        let config = MotionConfig { tripod_share: 0.0, ..MotionConfig::default() };
        for seed in 0..100 {
            let camera = StillCamera::sample(&config, (192, 144), (128, 128), true, &mut rng(seed));
            for frame in 0..100 {
                let step = (camera.x.at(frame + 1) - camera.x.at(frame)).abs();
                // One thousandth for the rounding of f32.
                assert!(step <= 0.02 * camera.window.0 * 1.001, "seed {seed}, frame {frame}: {step}");
            }
        }
    }

    #[test]
    fn a_tripod_trembles_by_less_than_half_a_pixel() {
        let config = MotionConfig { tripod_share: 1.0, ..MotionConfig::default() };
        for seed in 0..100 {
            let camera = StillCamera::sample(&config, (192, 144), (128, 128), true, &mut rng(seed));
            let (first, later) = (camera.view(0, &mut rng(seed + 1)), camera.view(50, &mut rng(seed + 2)));
            assert_eq!((first.along_x, first.along_y), (later.along_x, later.along_y));
            // Both may be off by 0.4 in opposite directions.
            assert!((first.origin.0 - later.origin.0).abs() <= 0.81 * first.along_x.0.abs());
        }
    }

    #[test]
    fn a_clip_has_a_fixed_window() {
        let camera = StillCamera::sample(&MotionConfig::default(), (256, 144), (128, 128), false, &mut rng(5));
        assert_eq!(camera.view(0, &mut rng(1)), camera.view(31, &mut rng(2)));
    }

    #[test]
    fn windows_stay_inside_their_limits() {
        for seed in 0..200 {
            let camera = StillCamera::sample(&MotionConfig::default(), (192, 144), (256, 144), false, &mut rng(seed));
            assert!(camera.window.0 <= 192.001 && camera.window.1 <= 144.001, "{:?}", camera.window);
            let stretch = camera.window.0 / camera.window.1 / (256.0 / 144.0);
            assert!((0.75..=1.34).contains(&stretch), "{stretch}");
            let (left, right) = (camera.x.at(0) - camera.window.0 / 2.0, camera.x.at(0) + camera.window.0 / 2.0);
            assert!(left >= -0.01 && right <= 192.01, "{left} {right}");
        }
    }

    #[test]
    fn a_point_beyond_the_source_is_told() {
        // Two source pixels a step, the window begins 4 to the left of the picture and 6 below its upper edge.
        let view = View::window((-4.0, 6.0), (2.0, 2.0));
        let inside = |x: f64, y: f64| view.is_inside(x, y, 20, 10);
        assert!(!inside(1.9, 0.5) && inside(2.1, 0.5) && inside(11.9, 1.9));
        assert!(!inside(12.1, 1.9) && !inside(11.9, 2.1));
    }

    #[test]
    fn strong_shrinking_is_supersampled() {
        // Columns alternate between 0 and 200. In this view one sample at the center of every output pixel would only meet columns of 200.
        let rgb: Vec<u8> = (0..32).flat_map(|_| (0..64).flat_map(|x| [if x % 2 == 0 { 0 } else { 200 }; 3])).collect();
        let view = View { origin: (0.5, 0.0), along_x: (2.0, 0.0), along_y: (0.0, 2.0) };
        let mut out = vec![0; 16 * 16 * 3];
        sample(Source { rgb: &rgb, width: 64, height: 32 }, &view, 16, 16, &mut out);
        assert!(out.iter().all(|&value| value == 100), "{:?}", &out[..6]);
    }

    #[test]
    fn borders_repeat_mirrored() {
        let indices: Vec<_> = (-4..8).map(|i| mirror(i, 3)).collect();
        assert_eq!(indices, [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]);
    }
}
