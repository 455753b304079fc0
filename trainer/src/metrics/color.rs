//! How much color a picture has, and how far it is from another's.

use autochrome_model::Chroma;

/// Hasler and Suesstrunk's colorfulness (2003) of an 8-bit RGB picture.
///
/// `signed` is their definition; otherwise |rg| and |yb| are taken first, as the published code of the colorization literature does.
pub fn colorfulness(rgb: &[u8], signed: bool) -> f64 {
    let mut sums = [0.0_f64; 4];
    for pixel in rgb.chunks_exact(3) {
        let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(f64::from);
        let (mut rg, mut yb) = (r - g, 0.5 * (r + g) - b);
        if !signed {
            (rg, yb) = (rg.abs(), yb.abs());
        }
        sums = [sums[0] + rg, sums[1] + yb, sums[2] + rg * rg, sums[3] + yb * yb];
    }
    let [rg, yb, rg_square, yb_square] = sums.map(|sum| sum / (rgb.len() / 3).max(1) as f64);
    let deviation = (rg_square - rg * rg + yb_square - yb * yb).max(0.0).sqrt();
    deviation + 0.3 * (rg * rg + yb * yb).sqrt()
}

/// The Euclidean distance in the ab plane at each pixel, Lab units.
pub fn ab_distances(found: &Chroma, truth: &Chroma) -> impl Iterator<Item = f32> {
    let a = found.a.data.iter().zip(&truth.a.data);
    let b = found.b.data.iter().zip(&truth.b.data);
    a.zip(b).map(|((fa, ta), (fb, tb))| (fa - ta).hypot(fb - tb))
}

/// Mean over the pixels of the Euclidean distance in the ab plane, Lab units.
///
/// An older project summed the norms of a picture's columns instead, which grows with the picture's size and cannot be compared.
pub fn ab_distance(found: &Chroma, truth: &Chroma) -> f64 {
    ab_distances(found, truth).map(f64::from).sum::<f64>() / found.a.data.len().max(1) as f64
}

/// Mean over the pixels of sqrt(a*² + b*²), Lab units.
pub fn mean_chroma(chroma: &Chroma) -> f64 {
    let sum: f64 = chroma.a.data.iter().zip(&chroma.b.data).map(|(a, b)| f64::from(a.hypot(*b))).sum();
    sum / chroma.a.data.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use autochrome_model::Plane;

    use super::*;

    #[test]
    fn half_red_half_green_has_the_worked_colorfulness() {
        // Worked by hand: 293.25 signed, 85.53 with absolute values.
        let picture = [[255, 0, 0], [0, 255, 0]].concat();
        assert!((colorfulness(&picture, true) - 293.25).abs() < 0.01, "{}", colorfulness(&picture, true));
        assert!((colorfulness(&picture, false) - 85.53).abs() < 0.01, "{}", colorfulness(&picture, false));
        assert_eq!(colorfulness(&[7; 30], false), 0.0);
    }

    #[test]
    fn distances_are_per_pixel_and_do_not_grow_with_the_picture() {
        let chroma = |a: f32, b: f32, side| Chroma { a: Plane::filled(side, side, a), b: Plane::filled(side, side, b) };
        for side in [2, 16] {
            assert_eq!(ab_distance(&chroma(3.0, 1.0, side), &chroma(0.0, -3.0, side)), 5.0);
            assert_eq!(mean_chroma(&chroma(6.0, -8.0, side)), 10.0);
        }
    }
}
