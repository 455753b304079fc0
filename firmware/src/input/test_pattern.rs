//! A moving picture from nothing: a gradient, a row of bars that travel, and a disc that bounces.

use autochrome_model::Plane;

/// Width and height of the pattern.
pub(super) const SIZE: (usize, usize) = (640, 480);

/// Frame `number` of the pattern.
pub(super) fn draw(number: u64) -> Plane<u8> {
    let (width, height) = SIZE;
    let mut plane = Plane::filled(width, height, 0_u8);
    let shift = (number % width as u64) as usize;
    let (disc_x, disc_y) = (bounce(number * 5, width - 1), bounce(number * 3, height - 1));
    for y in 0..height {
        for (x, value) in plane.row_mut(y).iter_mut().enumerate() {
            let distance = x.abs_diff(disc_x).pow(2) + y.abs_diff(disc_y).pow(2);
            *value = if distance < 45 * 45 {
                235
            } else if y * 3 < height * 2 {
                (40 + (x + y) * 150 / (width + height)) as u8
            } else {
                ((x + shift) * 8 / width % 8 * 32 + 16) as u8
            };
        }
    }
    plane
}

/// A position that goes from 0 to `last` and back.
fn bounce(at: u64, last: usize) -> usize {
    let at = (at % (2 * last as u64)) as usize;
    at.min(2 * last - at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_moves_and_never_ends() {
        assert_ne!(draw(0), draw(1));
        assert_eq!(draw(u64::MAX / 8).data.len(), SIZE.0 * SIZE.1);
        assert_eq!([0, 1, 9, 10, 11, 20].map(|at| bounce(at, 10)), [0, 1, 9, 10, 9, 0]);
    }
}
