//! Quality figures, as the literature defines them.

/// RGB peak signal-to-noise ratio in dB of two 8-bit pictures: 20 log10(255 / RMSE).
pub fn psnr(found: &[u8], truth: &[u8]) -> f64 {
    let sum: f64 = found.iter().zip(truth).map(|(f, t)| (f64::from(*f) - f64::from(*t)).powi(2)).sum();
    let mean = sum / found.len().max(1) as f64;
    // Identical pictures: what one wrong step in the whole picture would give is the most that can be said.
    let floor = 1.0 / found.len().max(1) as f64;
    20.0 * (255.0 / mean.max(floor).sqrt()).log10()
}

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

/// The 256-cell histogram of each channel of an 8-bit RGB picture, each summing to 1.
pub fn histograms(rgb: &[u8]) -> [Vec<f64>; 3] {
    let mut cells = [const { Vec::new() }; 3];
    cells.iter_mut().for_each(|c| c.resize(256, 0.0));
    let share = 1.0 / (rgb.len() / 3).max(1) as f64;
    for pixel in rgb.chunks_exact(3) {
        for (cells, value) in cells.iter_mut().zip(pixel) {
            cells[usize::from(*value)] += share;
        }
    }
    cells
}

/// The Jensen-Shannon divergence of two histograms, natural logarithm.
pub fn jensen_shannon(p: &[f64], q: &[f64]) -> f64 {
    let against = |p: f64, m: f64| if p > 0.0 { p * (p / m).ln() } else { 0.0 };
    p.iter().zip(q).map(|(&p, &q)| 0.5 * (against(p, 0.5 * (p + q)) + against(q, 0.5 * (p + q)))).sum()
}

/// Color distribution consistency of a clip's frames, given as [`histograms`]: the mean divergence over channels and frames 1, 2 and 4 apart.
pub fn color_distribution_consistency(frames: &[[Vec<f64>; 3]]) -> f64 {
    let apart = |gap: usize| {
        let pairs = frames.len().saturating_sub(gap);
        let sum: f64 =
            (0..pairs).flat_map(|i| (0..3).map(move |c| (i, c))).map(|(i, c)| jensen_shannon(&frames[i][c], &frames[i + gap][c])).sum();
        sum / (3 * pairs).max(1) as f64
    };
    (apart(1) + apart(2) + apart(4)) / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_red_half_green_has_the_worked_colorfulness() {
        // Facts 3.4: 293.25 signed, 85.53 with absolute values.
        let picture = [[255, 0, 0], [0, 255, 0]].concat();
        assert!((colorfulness(&picture, true) - 293.25).abs() < 0.01, "{}", colorfulness(&picture, true));
        assert!((colorfulness(&picture, false) - 85.53).abs() < 0.01, "{}", colorfulness(&picture, false));
        assert_eq!(colorfulness(&[7; 30], false), 0.0);
    }

    #[test]
    fn psnr_of_a_known_error() {
        // Every value off by 5: 20 log10(51).
        assert!((psnr(&[10; 12], &[15; 12]) - 34.151).abs() < 0.001);
    }

    #[test]
    fn disjoint_histograms_diverge_by_the_log_of_two() {
        assert!((jensen_shannon(&[1.0, 0.0], &[0.0, 1.0]) - std::f64::consts::LN_2).abs() < 1e-12);
        assert_eq!(jensen_shannon(&[0.5, 0.5], &[0.5, 0.5]), 0.0);
    }

    #[test]
    fn a_still_clip_is_perfectly_consistent_and_a_blinking_one_is_not() {
        let dark = histograms(&[0; 12]);
        let light = histograms(&[255; 12]);
        let still = vec![dark.clone(); 6];
        assert_eq!(color_distribution_consistency(&still), 0.0);
        let blinking: Vec<_> = (0..8).map(|i| if i % 2 == 0 { dark.clone() } else { light.clone() }).collect();
        // One frame apart ln 2, two and four apart 0.
        assert!((color_distribution_consistency(&blinking) - std::f64::consts::LN_2 / 3.0).abs() < 1e-12);
    }
}
