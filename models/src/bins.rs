//! The ab bins: the classes into which the color plane is cut, soft encoding into them, and the decodes back to ab.

use std::sync::LazyLock;

use crate::color::srgb_to_lab;

/// The 313 ab centers published with Zhang et al. 2016, 10 units apart, with their empirical ImageNet prior.
const ZHANG_313: &str = include_str!("zhang_313.csv");

/// The centers (a*, b*) of Zhang's 313 bins, 10 Lab units apart, in their published order.
pub fn zhang_313() -> &'static [[f32; 2]] {
    static CENTERS: LazyLock<Vec<[f32; 2]>> = LazyLock::new(|| zhang_rows().map(|[a, b, _]| [a, b]).collect());
    &CENTERS
}

/// The prior published with [`zhang_313`]: the share of ImageNet's pixels in each bin.
pub fn zhang_313_prior() -> Vec<f32> {
    zhang_rows().map(|[_, _, prior]| prior).collect()
}

fn zhang_rows() -> impl Iterator<Item = [f32; 3]> {
    ZHANG_313.lines().skip(1).map(|line| {
        let mut fields = line.split(',').map(|field| field.trim().parse().expect("the shipped table holds numbers"));
        std::array::from_fn(|_| fields.next().expect("the shipped table has three columns"))
    })
}

/// The centers of the bins 17 Lab units apart that some sRGB color falls into (a cell reaches 8.5 units around its center).
///
/// Derived by enumerating the surface of the sRGB cube, whose shadow on the ab plane is the whole gamut's. One center is neutral (0, 0).
pub fn seventeen() -> &'static [[f32; 2]] {
    static CENTERS: LazyLock<Vec<[f32; 2]>> = LazyLock::new(|| grid(17.0));
    &CENTERS
}

/// The reachable bins of a square grid `step` Lab units apart, ordered by a*, then b*.
pub fn grid(step: f32) -> Vec<[f32; 2]> {
    let mut cells = std::collections::BTreeSet::new();
    for face in 0..6 {
        for u in 0..=255_u8 {
            for v in 0..=255_u8 {
                let edge = if face % 2 == 0 { 0 } else { 255 };
                let rgb = match face / 2 {
                    0 => [edge, u, v],
                    1 => [u, edge, v],
                    _ => [u, v, edge],
                };
                let [_, a, b] = srgb_to_lab(rgb);
                cells.insert(((a / step).round() as i32, (b / step).round() as i32));
            }
        }
    }
    cells.into_iter().map(|(a, b)| [a as f32 * step, b as f32 * step]).collect()
}

/// The bin nearest to a color.
pub fn nearest(centers: &[[f32; 2]], ab: [f32; 2]) -> usize {
    let distance = |c: &[f32; 2]| (c[0] - ab[0]).powi(2) + (c[1] - ab[1]).powi(2);
    (0..centers.len()).min_by(|&i, &j| distance(&centers[i]).total_cmp(&distance(&centers[j]))).unwrap_or(0)
}

/// Calls `add(bin, weight)` for the `neighbors` (at most 16) bins nearest to `ab`, with Gaussian weights of `sigma` Lab units that sum to 1
/// (Zhang et al. 2016, section 2.2: 5 neighbors and sigma 5 on the 10-unit grid).
pub fn soft_encode(centers: &[[f32; 2]], ab: [f32; 2], neighbors: usize, sigma: f32, mut add: impl FnMut(usize, f32)) {
    let neighbors = neighbors.clamp(1, 16).min(centers.len());
    // A short list kept sorted: cheaper than sorting a hundred distances.
    let mut best = [(f32::INFINITY, 0_usize); 16];
    for (bin, center) in centers.iter().enumerate() {
        let distance = (center[0] - ab[0]).powi(2) + (center[1] - ab[1]).powi(2);
        if distance < best[neighbors - 1].0 {
            let mut at = neighbors - 1;
            while at > 0 && best[at - 1].0 > distance {
                best[at] = best[at - 1];
                at -= 1;
            }
            best[at] = (distance, bin);
        }
    }
    // Relative to the nearest, so that a far color does not underflow to 0 / 0.
    let weight = |distance: f32| (-(distance - best[0].0) / (2.0 * sigma * sigma)).exp();
    let sum: f32 = best[..neighbors].iter().map(|&(d, _)| weight(d)).sum();
    for &(distance, bin) in &best[..neighbors] {
        add(bin, weight(distance) / sum);
    }
}

/// The class weights of Zhang et al. 2016: `((1 - lambda) prior + lambda / Q)^-1`, scaled so that the prior-weighted mean is 1.
///
/// `lambda` 1 turns rebalancing off. The uniform part covers only bins that occur, as in the published training code.
pub fn rebalancing_weights(prior: &[f32], lambda: f32) -> Vec<f32> {
    let total: f32 = prior.iter().sum();
    let occurring = prior.iter().filter(|&&p| p > 0.0).count().max(1) as f32;
    let mut weights: Vec<f32> = prior
        .iter()
        .map(|&p| {
            let uniform = if p > 0.0 { 1.0 / occurring } else { 0.0 };
            ((1.0 - lambda) * p / total + lambda * uniform).max(1e-12).recip()
        })
        .collect();
    // A bin that never occurs has no say in the mean and must not get a huge weight should it occur later.
    let largest = weights.iter().zip(prior).filter(|&(_, &p)| p > 0.0).map(|(&w, _)| w).fold(0.0, f32::max);
    weights.iter_mut().for_each(|w| *w = w.min(largest));
    let mean: f32 = weights.iter().zip(prior).map(|(w, p)| w * p / total).sum();
    weights.iter_mut().for_each(|w| *w /= mean);
    weights
}

/// How bin logits become one color.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decode {
    /// The expectation over softmax(logits / T): T towards 0 is the mode, 1 the mean. Continuous in time, so the choice for video.
    AnnealedMean {
        /// T, above 0.
        temperature: f32,
    },
    /// The most probable bin's center.
    Argmax,
    /// The expectation at T = 1.
    Mean,
    /// `(mean + tau * mode) / (1 + tau)`: keeps the mode's saturation, and its flicker under near ties.
    Blend {
        /// Tau, at least 0.
        tau: f32,
    },
}

/// Decodes planar logits (bin-major, `centers.len()` planes of `a.len()` pixels) into a* and b*.
///
/// # Panics
/// If `logits` is not `centers.len() * a.len()` long or `a` and `b` differ in length.
pub fn decode(logits: &[f32], centers: &[[f32; 2]], decode: Decode, a: &mut [f32], b: &mut [f32]) {
    let pixels = a.len();
    assert_eq!((logits.len(), b.len()), (centers.len() * pixels, pixels), "the logits' length");
    let mut peak = vec![(f32::NEG_INFINITY, 0_usize); pixels];
    for (bin, plane) in logits.chunks_exact(pixels.max(1)).enumerate() {
        for (peak, &z) in peak.iter_mut().zip(plane) {
            if z > peak.0 {
                *peak = (z, bin);
            }
        }
    }
    let (temperature, tau) = match decode {
        Decode::AnnealedMean { temperature } => (temperature.max(1e-3), Some(0.0)),
        Decode::Mean => (1.0, Some(0.0)),
        Decode::Blend { tau } => (1.0, Some(tau.max(0.0))),
        Decode::Argmax => (1.0, None),
    };
    let Some(tau) = tau else {
        for (i, &(_, bin)) in peak.iter().enumerate() {
            [a[i], b[i]] = centers[bin];
        }
        return;
    };
    let mut sum = vec![0.0_f32; pixels];
    a.fill(0.0);
    b.fill(0.0);
    let sharpness = temperature.recip();
    for (plane, center) in logits.chunks_exact(pixels.max(1)).zip(centers) {
        for (i, &z) in plane.iter().enumerate() {
            let share = ((z - peak[i].0) * sharpness).exp();
            sum[i] += share;
            a[i] += share * center[0];
            b[i] += share * center[1];
        }
    }
    for i in 0..pixels {
        let mode = centers[peak[i].1];
        a[i] = (a[i] / sum[i] + tau * mode[0]) / (1.0 + tau);
        b[i] = (b[i] / sum[i] + tau * mode[1]) / (1.0 + tau);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grids_have_their_published_counts() {
        assert_eq!(zhang_313().len(), 313);
        // Facts 2.2 and 2.3: an exact "some sRGB color rounds to this cell" test gives 261 of Zhang's cells, 101 or 102 of 17 units.
        assert_eq!(grid(10.0).len(), 261);
        assert!((101..=102).contains(&seventeen().len()), "{}", seventeen().len());
        assert!(seventeen().contains(&[0.0, 0.0]));
        assert!(grid(10.0).iter().all(|cell| zhang_313().contains(cell)));
    }

    #[test]
    fn soft_encoding_sums_to_one_and_favors_the_nearest() {
        let mut target = vec![0.0; 313];
        soft_encode(zhang_313(), [12.0, -31.0], 5, 5.0, |bin, weight| target[bin] += weight);
        assert!((target.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        let best = (0..313).max_by(|&i, &j| target[i].total_cmp(&target[j])).unwrap();
        assert_eq!(zhang_313()[best], [10.0, -30.0]);
        assert_eq!(best, nearest(zhang_313(), [12.0, -31.0]));
        // By hand: squared distances 5, 65, 85, 125, 145 to the five nearest, sigma 5.
        let weights = [5.0, 65.0, 85.0, 125.0, 145.0_f32].map(|d| (-d / 50.0).exp());
        assert!((target[best] - weights[0] / weights.iter().sum::<f32>()).abs() < 1e-5);
        // Farther than any Gaussian reaches: still a distribution.
        let mut sum = 0.0;
        soft_encode(zhang_313(), [500.0, 500.0], 5, 5.0, |_, weight| sum += weight);
        assert!((sum - 1.0_f32).abs() < 1e-6);
    }

    #[test]
    fn rebalancing_gives_the_published_range() {
        // Facts 2.2: from Zhang's own prior, lambda .5 gives .097 to 6.17; .8 gives .183 to 3.07.
        for (lambda, low, high) in [(0.5, 0.0965, 6.17), (0.8, 0.183, 3.07)] {
            let weights = rebalancing_weights(&zhang_313_prior(), lambda);
            let (min, max) = weights.iter().fold((f32::MAX, 0.0_f32), |(l, h), &w| (l.min(w), h.max(w)));
            assert!((min - low).abs() < 0.001, "{min}");
            assert!((max - high).abs() < 0.01, "{max}");
        }
        assert!(rebalancing_weights(&[0.9, 0.1], 1.0).iter().all(|w| (w - 1.0).abs() < 1e-6));
    }

    #[test]
    fn the_decodes_give_the_worked_example() {
        // Facts 2.3: p = (.45, .35, .20) on (60, 40), (0, 0), (-10, -50).
        let centers = [[60.0, 40.0], [0.0, 0.0], [-10.0, -50.0]];
        let logits: Vec<f32> = [0.45_f32, 0.35, 0.20].iter().map(|p| p.ln()).collect();
        let table = [
            (Decode::AnnealedMean { temperature: 1.0 }, [25.0, 8.0]),
            (Decode::AnnealedMean { temperature: 0.5 }, [32.0, 17.0]),
            (Decode::AnnealedMean { temperature: 0.38 }, [36.0, 21.0]),
            (Decode::Blend { tau: 0.25 }, [32.0, 14.0]),
            (Decode::Blend { tau: 2.0 }, [48.0, 29.0]),
            (Decode::Argmax, [60.0, 40.0]),
            (Decode::Mean, [25.0, 8.0]),
        ];
        for (how, expected) in table {
            let (mut a, mut b) = ([0.0], [0.0]);
            decode(&logits, &centers, how, &mut a, &mut b);
            assert!((a[0] - expected[0]).abs() < 0.6 && (b[0] - expected[1]).abs() < 0.6, "{how:?}: {a:?} {b:?}");
        }
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let (mut a, mut b) = ([0.0], [0.0]);
        decode(&[1e30, -1e30], &[[5.0, 6.0], [7.0, 8.0]], Decode::AnnealedMean { temperature: 0.0 }, &mut a, &mut b);
        assert_eq!((a[0], b[0]), (5.0, 6.0));
    }
}
