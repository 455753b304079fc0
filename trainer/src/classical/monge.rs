//! The linear map of Monge and Kantorovich: of all that give the reference's mean and covariance, the one that moves colors least.

use super::cloud::{Cloud, SPREAD_MIN};
use super::matrix::Matrix;

/// Added to the source's variances, in squared 8-bit steps: small beside what a picture has, large beside rounding in 64 bits.
const RIDGE: f64 = 1e-6;

/// Pitie and Kokaram 2007: A = S^-1/2 (S^1/2 R S^1/2)^1/2 S^-1/2 with S and R the covariances of source and reference.
///
/// The ridge makes this hold for a source whose colors lie on a line, as grey does; on that line the map becomes the reference's
/// regression of color on grey. What stands beside the line is noise, which A would make huge, and is dropped.
pub(super) fn transfer(from: &Cloud, to: &Cloud) -> Vec<[f64; 3]> {
    let (mean, new_mean, covariance) = (from.mean(), to.mean(), from.covariance());
    let source = covariance.plus(&Matrix::diagonal([RIDGE; 3]));
    let root = source.with_eigenvalues(|v| v.max(0.0).sqrt());
    let inverse_root = source.with_eigenvalues(|v| v.max(RIDGE).sqrt().recip());
    let middle = root.times(&to.covariance()).times(&root).with_eigenvalues(|v| v.max(0.0).sqrt());
    let map = inverse_root.times(&middle).times(&inverse_root);
    let signal = covariance.with_eigenvalues(|v| if v < SPREAD_MIN * SPREAD_MIN { 0.0 } else { 1.0 });
    let map = map.times(&signal);
    let moved = |point: &[f64; 3]| {
        let turned = map.apply(std::array::from_fn(|axis| point[axis] - mean[axis]));
        std::array::from_fn(|axis| turned[axis] + new_mean[axis])
    };
    from.points.iter().map(moved).collect()
}
