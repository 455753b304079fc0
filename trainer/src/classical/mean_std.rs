//! Mean and standard deviation, channel by channel: out = (in - mean) / deviation * the reference's deviation + the reference's mean.

use super::cloud::{Cloud, SPREAD_MIN};

/// A channel that does not vary, as a* and b* of a grey picture, is moved and not stretched: dividing by its deviation would make noise
/// of rounding.
pub(super) fn transfer(from: &Cloud, to: &Cloud) -> Vec<[f64; 3]> {
    let (mean, spread, new_mean, new_spread) = (from.mean(), from.spread(), to.mean(), to.spread());
    let gain: [f64; 3] = std::array::from_fn(|axis| if spread[axis] < SPREAD_MIN { 1.0 } else { new_spread[axis] / spread[axis] });
    let moved = |point: &[f64; 3]| std::array::from_fn(|axis| (point[axis] - mean[axis]) * gain[axis] + new_mean[axis]);
    from.points.iter().map(moved).collect()
}
