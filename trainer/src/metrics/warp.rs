//! Whether color stays with the things it is on while they move.

use autochrome_model::{Chroma, Plane};

/// Warp error (Lai et al. 2018) on ab: the squared difference between a frame and the next one drawn back along the motion, averaged over
/// both channels and over the pixels that are in both frames.
///
/// Made for motion that is known exactly: then nothing is occluded but what leaves the frame. Grey has none, and drawing back blurs, so the
/// truth has some: print both beside it.
#[derive(Clone, Copy, Debug, Default)]
pub struct WarpError {
    squares: f64,
    values: f64,
}

impl WarpError {
    /// Adds two frames; `position` says where the middle of pixel (x, y) of `before` lies in `now`, whole numbers being middles of pixels, if it
    /// is known.
    pub fn add(&mut self, before: &Chroma, now: &Chroma, position: impl Fn(usize, usize) -> Option<(f32, f32)>) {
        for y in 0..before.a.height {
            for x in 0..before.a.width {
                let Some(to) = position(x, y) else { continue };
                if let (Some(a), Some(b)) = (bilinear(&now.a, to), bilinear(&now.b, to)) {
                    let at = y * before.a.width + x;
                    self.squares += f64::from((a - before.a.data[at]).powi(2)) + f64::from((b - before.b.data[at]).powi(2));
                    self.values += 2.0;
                }
            }
        }
    }

    /// The root of the mean squared difference, Lab units.
    pub fn root(&self) -> f64 {
        (self.squares / self.values.max(1.0)).sqrt()
    }
}

/// The value at a position between four pixels; `None` outside.
fn bilinear(plane: &Plane<f32>, (x, y): (f32, f32)) -> Option<f32> {
    let inside = x >= 0.0 && y >= 0.0 && x <= (plane.width - 1) as f32 && y <= (plane.height - 1) as f32;
    inside.then(|| {
        let (left, top) = (x as usize, y as usize);
        let (right, below) = ((left + 1).min(plane.width - 1), (top + 1).min(plane.height - 1));
        let (part_x, part_y) = (x - left as f32, y - top as f32);
        let along = |row: usize| {
            let row = plane.row(row);
            row[left] + (row[right] - row[left]) * part_x
        };
        along(top) + (along(below) - along(top)) * part_y
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plane that rises by 2 a pixel to the right and falls by 1 a pixel down, moved by (dx, dy).
    fn slope(dx: f32, dy: f32) -> Chroma {
        let value = |i: usize| 2.0 * ((i % 16) as f32 - dx) - ((i / 16) as f32 - dy);
        Chroma { a: Plane::from_vec(16, 12, (0..192).map(value).collect()), b: Plane::filled(16, 12, 3.0) }
    }

    #[test]
    fn color_that_moves_with_its_thing_has_no_error() {
        let mut error = WarpError::default();
        error.add(&slope(0.0, 0.0), &slope(1.5, -0.25), |x, y| Some((x as f32 + 1.5, y as f32 - 0.25)));
        assert!(error.root() < 1e-5, "{}", error.root());
    }

    #[test]
    fn color_that_stays_behind_errs_by_what_it_should_have_moved() {
        // a* is off by 2 * 3 everywhere, b* is not: the root of half of 36.
        let mut error = WarpError::default();
        error.add(&slope(0.0, 0.0), &slope(0.0, 0.0), |x, y| Some((x as f32 + 3.0, y as f32)));
        assert!((error.root() - 18.0_f64.sqrt()).abs() < 1e-5, "{}", error.root());
        // Where nobody knows the motion, nothing is asked: the right half has another color in each frame.
        let mut half = slope(0.0, 0.0);
        half.b.data.iter_mut().enumerate().filter(|(at, _)| at % 16 >= 8).for_each(|(_, b)| *b += 9.0);
        let mut known = WarpError::default();
        known.add(&slope(0.0, 0.0), &half, |x, y| (x < 8).then_some((x as f32, y as f32)));
        assert_eq!(known.root(), 0.0);
        // Nothing is in both frames.
        let mut nothing = WarpError::default();
        nothing.add(&slope(0.0, 0.0), &slope(0.0, 0.0), |x, _| Some((x as f32 + 100.0, 0.0)));
        assert_eq!(nothing.root(), 0.0);
    }
}
