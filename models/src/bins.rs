//! The ab bins: the classes into which the color plane is cut, soft encoding into them, and the decodes back to ab.

use std::sync::LazyLock;

use crate::color::srgb_to_lab;
use crate::vector::vectorized;

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

/// The cells of the landscape network that is called seed 004 in this project: 105 of a grid of 15 x 15 cells, 17 Lab units apart from -127.5
/// on. A cell's number is 15 times that of its a* plus that of its b*, each counted from 0.
const SEED_004_CELLS: [std::ops::RangeInclusive<u8>; 13] =
    [25..=27, 40..=42, 51..=57, 64..=72, 79..=87, 93..=102, 108..=117, 123..=132, 136..=147, 150..=160, 165..=175, 180..=180, 182..=190];

/// The centers of seed 004's 105 cells, in its order. A color belongs to the cell with the nearest center, which is also what it decodes to.
///
/// The network itself encoded on a grid of 255 / 14 units and decoded on one of 17, so that its colors came back up to 20 units off.
pub fn seed_004() -> &'static [[f32; 2]] {
    static CENTERS: LazyLock<Vec<[f32; 2]>> = LazyLock::new(|| {
        let center = |part: u8| f32::from(part) * 17.0 - 119.0;
        SEED_004_CELLS.into_iter().flatten().map(|cell| [center(cell / 15), center(cell % 15)]).collect()
    });
    &CENTERS
}

/// Every grid that a configuration can ask for, with its name.
pub fn grids() -> [(&'static str, &'static [[f32; 2]]); 3] {
    [("seventeen", seventeen()), ("zhang-313", zhang_313()), ("seed004-105", seed_004())]
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
    vectorized(
        #[inline(always)]
        || {
            for (block, (a, b)) in a.chunks_mut(BLOCK).zip(b.chunks_mut(BLOCK)).enumerate() {
                let width = a.len();
                let planes = logits.chunks_exact(pixels).map(|plane| &plane[block * BLOCK..][..width]);
                decode_block(planes, centers, decode, a, b);
            }
        },
    );
}

/// Pixels that are decoded together: what they need stays in the nearest cache.
const BLOCK: usize = 64;

#[inline(always)]
fn decode_block<'a>(planes: impl Iterator<Item = &'a [f32]> + Clone, centers: &[[f32; 2]], decode: Decode, a: &mut [f32], b: &mut [f32]) {
    let (mut peaks, mut modes) = ([f32::NEG_INFINITY; BLOCK], [0_u32; BLOCK]);
    for (bin, plane) in planes.clone().enumerate() {
        for ((peak, mode), &z) in peaks.iter_mut().zip(&mut modes).zip(plane) {
            *mode = if z > *peak { bin as u32 } else { *mode };
            *peak = if z > *peak { z } else { *peak };
        }
    }
    let (temperature, tau) = match decode {
        Decode::AnnealedMean { temperature } => (temperature.max(1e-3), 0.0),
        Decode::Mean => (1.0, 0.0),
        Decode::Blend { tau } => (1.0, tau.max(0.0)),
        Decode::Argmax => {
            for ((a, b), &mode) in a.iter_mut().zip(b).zip(&modes) {
                [*a, *b] = centers[mode as usize];
            }
            return;
        }
    };
    let sharpness = temperature.recip();
    let (mut shares, mut sums, mut sums_a, mut sums_b) = ([0.0; BLOCK], [0.0_f32; BLOCK], [0.0_f32; BLOCK], [0.0_f32; BLOCK]);
    for (plane, &[center_a, center_b]) in planes.zip(centers) {
        for ((share, &peak), &z) in shares.iter_mut().zip(&peaks).zip(plane) {
            *share = exp_of_negative((z - peak) * sharpness);
        }
        for (i, &share) in shares.iter().enumerate() {
            sums[i] += share;
            sums_a[i] += share * center_a;
            sums_b[i] += share * center_b;
        }
    }
    for (i, (a, b)) in a.iter_mut().zip(b).enumerate() {
        let mode = centers[modes[i] as usize];
        *a = (sums_a[i] / sums[i] + tau * mode[0]) / (1.0 + tau);
        *b = (sums_b[i] / sums[i] + tau * mode[1]) / (1.0 + tau);
    }
}

/// e^x for x at most 0, within 1e-5 of its value; below -87, where it is less than any share that counts, e^-87. NaN stays NaN.
///
/// 2^n times the polynomial that comes nearest to 2^r for r from -1/2 to 1/2 (Remez). Without branches or calls, so that a loop over it
/// computes several at once.
#[inline(always)]
fn exp_of_negative(x: f32) -> f32 {
    const NEAREST: [f32; 6] = [1.000_000_1, std::f32::consts::LN_2, 0.240_221_07, 0.055_502_973, 0.009_676_036, 0.001_341_000_5];
    // Added to a small number, this leaves no bits for its fraction, and its whole part in the lowest ones.
    const ROUNDING: f32 = 12_582_912.0;
    let power = if x < -87.0 { -87.0 } else { x } * std::f32::consts::LOG2_E;
    let rounded = power + ROUNDING;
    let r = power - (rounded - ROUNDING);
    let [c0, c1, c2, c3, c4, c5] = NEAREST;
    let curve = c0 + r * (c1 + r * (c2 + r * (c3 + r * (c4 + r * c5))));
    f32::from_bits(rounded.to_bits().wrapping_add(127) << 23) * curve
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grids_have_their_published_counts() {
        assert_eq!(zhang_313().len(), 313);
        // Counted by walking over sRGB: an exact "some sRGB color rounds to this cell" test gives 261 of Zhang's cells, 101 or 102 of 17 units.
        assert_eq!(grid(10.0).len(), 261);
        assert!((101..=102).contains(&seventeen().len()), "{}", seventeen().len());
        assert!(seventeen().contains(&[0.0, 0.0]));
        assert!(grid(10.0).iter().all(|cell| zhang_313().contains(cell)));
    }

    #[test]
    fn seed_004_has_its_105_cells_and_decodes_what_it_encodes() {
        let centers = seed_004();
        assert_eq!(centers.len(), 105);
        // By hand: cell 25 is 1 x 15 + 10, cell 112 is 7 x 15 + 7, cell 190 is 12 x 15 + 10. Class 45 is the neutral one.
        assert_eq!((centers[0], centers[45], centers[104]), ([-102.0, 51.0], [0.0, 0.0], [85.0, 51.0]));
        for (class, &center) in centers.iter().enumerate() {
            assert_eq!(nearest(centers, center), class);
            assert_eq!(nearest(centers, [center[0] + 8.4, center[1] - 8.4]), class, "a cell reaches 8.5 units around its center");
        }
        // Its list was made for another grid than this one; the cells that it shares with the reachable ones were counted apart from this code.
        assert_eq!(centers.iter().filter(|center| seventeen().contains(center)).count(), 93);
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
        // Worked out apart from this code: from Zhang's own prior, lambda .5 gives .097 to 6.17; .8 gives .183 to 3.07.
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
        // Worked out apart from this code: p = (.45, .35, .20) on (60, 40), (0, 0), (-10, -50).
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

    #[test]
    fn the_fast_exponential_is_within_a_hundred_thousandth() {
        for i in 0..=870_000 {
            let x = i as f32 * -1e-4;
            let (found, exact) = (f64::from(exp_of_negative(x)), f64::from(x).exp());
            assert!((found / exact - 1.0).abs() < 1e-5, "{x}: {found} for {exact}");
        }
        assert!(exp_of_negative(f32::NEG_INFINITY) < 2e-38);
        assert!(exp_of_negative(f32::NAN).is_nan());
    }
}
