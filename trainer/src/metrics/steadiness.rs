//! How colors behave from frame to frame.

use autochrome_model::Chroma;

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
/// A short clip is measured at the gaps of which it has pairs; one frame alone has none.
pub fn color_distribution_consistency(frames: &[[Vec<f64>; 3]]) -> Option<f64> {
    let apart = |gap: usize| {
        let pairs = frames.len().checked_sub(gap).filter(|&pairs| pairs > 0)?;
        let sum: f64 =
            (0..pairs).flat_map(|i| (0..3).map(move |c| (i, c))).map(|(i, c)| jensen_shannon(&frames[i][c], &frames[i + gap][c])).sum();
        Some(sum / (3 * pairs) as f64)
    };
    let gaps: Vec<f64> = [1, 2, 4].into_iter().filter_map(apart).collect();
    (!gaps.is_empty()).then(|| gaps.iter().sum::<f64>() / gaps.len() as f64)
}

/// Mean and spread over time of each pixel's a* and b* on a scene that stands still.
#[derive(Clone, Debug, Default)]
pub struct OverTime {
    sums: Vec<[f64; 2]>,
    frames: usize,
}

impl OverTime {
    /// Adds a frame. All are of one size.
    pub fn add(&mut self, chroma: &Chroma) {
        self.sums.resize(chroma.a.data.len() + chroma.b.data.len(), [0.0; 2]);
        for (sums, &value) in self.sums.iter_mut().zip(chroma.a.data.iter().chain(&chroma.b.data)) {
            sums[0] += f64::from(value);
            sums[1] += f64::from(value).powi(2);
        }
        self.frames += 1;
    }

    /// The standard deviation over time, averaged over pixels and over a* and b*, Lab units.
    pub fn deviation(&self) -> f64 {
        let frames = self.frames.max(1) as f64;
        let sum: f64 = self.sums.iter().map(|[s, q]| (q / frames - (s / frames).powi(2)).max(0.0).sqrt()).sum();
        sum / self.sums.len().max(1) as f64
    }

    /// The mean over the pixels of the ab distance between a frame and the mean of those that were added, Lab units.
    pub fn distance_from_mean(&self, chroma: &Chroma) -> f64 {
        let pixels = chroma.a.data.len();
        let frames = self.frames.max(1) as f64;
        let off = |sums: &[f64; 2], value: f32| f64::from(value) - sums[0] / frames;
        let (a, b) = self.sums.split_at(pixels.min(self.sums.len()));
        let pairs = a.iter().zip(b).zip(chroma.a.data.iter().zip(&chroma.b.data));
        pairs.map(|((a, b), (&va, &vb))| off(a, va).hypot(off(b, vb))).sum::<f64>() / pixels.max(1) as f64
    }
}

/// How many frames come before `distances` from the steady state stay within `tolerance`.
pub fn settling(distances: &[f64], tolerance: f64) -> usize {
    distances.iter().rposition(|&distance| distance > tolerance).map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use autochrome_model::Plane;

    use super::*;

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
        assert_eq!(color_distribution_consistency(&still), Some(0.0));
        let blinking: Vec<_> = (0..8).map(|i| if i % 2 == 0 { dark.clone() } else { light.clone() }).collect();
        // One frame apart ln 2, two and four apart 0.
        let consistency = |frames: usize| color_distribution_consistency(&blinking[..frames]);
        assert!((consistency(8).unwrap() - std::f64::consts::LN_2 / 3.0).abs() < 1e-12);
        // Of four frames none are four apart, of two none are two apart.
        assert!((consistency(4).unwrap() - std::f64::consts::LN_2 / 2.0).abs() < 1e-12);
        assert!((consistency(2).unwrap() - std::f64::consts::LN_2).abs() < 1e-12);
        assert_eq!(consistency(1), None);
    }

    #[test]
    fn divergence_and_consistency_are_those_of_the_definition() {
        // Computed apart from this program, from the definition.
        let shares = [[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.25, 0.25, 0.5], [0.0, 0.4, 0.6], [0.7, 0.2, 0.1]];
        assert!((jensen_shannon(&shares[0], &shares[1]) - 0.103_294_525_415).abs() < 1e-11);
        // The channels: as they are, their cells in the opposite order, and two frames ahead.
        let backwards = |[a, b, c]: [f64; 3]| [c, b, a];
        let clip: Vec<_> = (0..5).map(|i| [shares[i], backwards(shares[i]), shares[(i + 2) % 5]].map(Vec::from)).collect();
        // Gaps of 1, 2 and 4 frames: 0.152785, 0.119420, 0.036721.
        assert!((color_distribution_consistency(&clip).unwrap() - 0.102_975_265_456).abs() < 1e-11);
    }

    #[test]
    fn spread_and_distance_are_those_of_the_values() {
        let frame = |a: f32, b: f32| Chroma { a: Plane::filled(3, 2, a), b: Plane::filled(3, 2, b) };
        let mut over_time = OverTime::default();
        // a* alternates by 2 around 10, b* stands.
        (0..8).for_each(|i| over_time.add(&frame(if i % 2 == 0 { 8.0 } else { 12.0 }, -4.0)));
        assert!((over_time.deviation() - 1.0).abs() < 1e-12, "2 for a*, 0 for b*");
        assert!((over_time.distance_from_mean(&frame(13.0, -8.0)) - 5.0).abs() < 1e-12);
    }

    #[test]
    fn settling_ends_after_the_last_frame_outside() {
        assert_eq!(settling(&[9.0, 3.0, 1.0, 2.5, 1.0, 0.5], 2.0), 4);
        assert_eq!(settling(&[1.0, 0.5], 2.0), 0);
        assert_eq!(settling(&[9.0, 9.0], 2.0), 2);
    }
}
