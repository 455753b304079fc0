//! The transfer of a whole color distribution: histograms are matched along random axes, again and again (Pitie, Kokaram, Dahyot 2005).
//!
//! Two distributions whose shadows agree along every axis are the same; each round brings three shadows together and disturbs the others
//! less than it mends.

use std::f64::consts::TAU;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::cloud::{Cloud, SPREAD_MIN};
use super::matrix::Matrix;

/// Rounds at most.
const ROUNDS_MAX: usize = 60;
/// The largest 1-D distance has stalled when this many rounds did not bring it below [`PROGRESS`] of its least.
const PATIENCE: usize = 8;
const PROGRESS: f64 = 0.9;

/// Where the source's points go. A picture whose colors lie on a line is matched along the channels alone, which keeps the line's order.
///
/// Otherwise rounds go on until the largest distance stalls. The first and the last round are along the channels themselves, so that each
/// channel's histogram ends as the reference's whatever the random axes were.
pub(super) fn transfer(from: &Cloud, to: &Cloud, random: &mut ChaCha8Rng) -> Vec<[f64; 3]> {
    let mut moving = from.clone();
    let [_, across, _] = from.covariance().eigenvalues();
    if across < SPREAD_MIN * SPREAD_MIN {
        // Colors on a line, as grey: further rounds would fold it to fill the space, and neighboring greys would get unrelated colors.
        match_along(&mut moving, to, &Matrix::IDENTITY);
        return moving.points;
    }
    let (mut least, mut waited) = (f64::INFINITY, 0);
    for round in 0..ROUNDS_MAX {
        let axes = if round == 0 { Matrix::IDENTITY } else { rotation(random) };
        let distance = match_along(&mut moving, to, &axes);
        waited += 1;
        if distance < PROGRESS * least {
            (least, waited) = (distance, 0);
        }
        if waited >= PATIENCE {
            break;
        }
    }
    match_along(&mut moving, to, &Matrix::IDENTITY);
    moving.points
}

/// Matches the histograms along three axes, the rows of a rotation. Returns the largest of the three distances that there were.
fn match_along(moving: &mut Cloud, to: &Cloud, axes: &Matrix) -> f64 {
    let matched: Vec<(Vec<f64>, f64)> = axes.0.par_iter().map(|&axis| matched(moving, to, axis)).collect();
    let back = axes.transposed();
    for (index, point) in moving.points.iter_mut().enumerate() {
        *point = back.apply(std::array::from_fn(|axis| matched[axis].0[index]));
    }
    matched.iter().map(|&(_, distance)| distance).fold(0.0, f64::max)
}

/// The positions along one axis after matching, t = F_to^-1(F_from), and how far that moved the points on average: the
/// distribution's Wasserstein distance.
fn matched(from: &Cloud, to: &Cloud, axis: [f64; 3]) -> (Vec<f64>, f64) {
    let (source, target) = (Ranked::along(from, axis), Ranked::along(to, axis));
    let mut positions = vec![0.0; from.points.len()];
    let (mut distance, mut above) = (0.0, 0);
    for (&(value, index), &rank) in source.values.iter().zip(&source.ranks) {
        while above < target.ranks.len() && target.ranks[above] < rank {
            above += 1;
        }
        let position = target.between(above, rank);
        positions[index as usize] = position;
        distance += from.shares[index as usize] * (position - value).abs();
    }
    (positions, distance)
}

/// Points along an axis, in order, each with the share that lies before it plus half of what lies with it.
///
/// Half, so that equal values have one rank: equal colors must stay equal, and a picture of one color goes to the median.
struct Ranked {
    values: Vec<(f64, u32)>,
    ranks: Vec<f64>,
}

impl Ranked {
    fn along(cloud: &Cloud, axis: [f64; 3]) -> Self {
        let along = |point: &[f64; 3]| axis.iter().zip(point).map(|(a, v)| a * v).sum();
        let mut values: Vec<(f64, u32)> = cloud.points.iter().map(along).zip(0..).collect();
        values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut ranks = Vec::with_capacity(values.len());
        let mut before = 0.0;
        for equal in values.chunk_by(|a, b| a.0 == b.0) {
            let share: f64 = equal.iter().map(|&(_, index)| cloud.shares[index as usize]).sum();
            ranks.extend(equal.iter().map(|_| before + 0.5 * share));
            before += share;
        }
        Self { values, ranks }
    }

    /// The value at `rank`, on the line between the value at `above`, the first whose rank is not less, and the one before.
    fn between(&self, above: usize, rank: f64) -> f64 {
        let last = self.values.len() - 1;
        if above == 0 || above > last {
            return self.values[above.min(last)].0;
        }
        let (low, high) = (self.ranks[above - 1], self.ranks[above]);
        let (from, to) = (self.values[above - 1].0, self.values[above].0);
        from + (to - from) * ((rank - low) / (high - low)).clamp(0.0, 1.0)
    }
}

/// A rotation drawn evenly from all, from a unit quaternion (Shoemake 1992).
fn rotation(random: &mut ChaCha8Rng) -> Matrix {
    let [u, v, w] = std::array::from_fn(|_| random.random::<f64>());
    let (long, short) = ((1.0 - u).sqrt(), u.sqrt());
    let [x, y, z, r] = [long * (TAU * v).sin(), long * (TAU * v).cos(), short * (TAU * w).sin(), short * (TAU * w).cos()];
    Matrix([
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - z * r), 2.0 * (x * z + y * r)],
        [2.0 * (x * y + z * r), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - x * r)],
        [2.0 * (x * z - y * r), 2.0 * (y * z + x * r), 1.0 - 2.0 * (x * x + y * y)],
    ])
}
