//! The class prior, made fit for rebalancing.

/// The prior smoothed over the bins: each bin's share is handed round to all bins by a Gaussian of `sigma` Lab units around its center.
///
/// Zhang et al. 2016 smooth the empirical distribution with sigma 5 before they rebalance, so that a bin hardly ever seen gets no huge weight
/// while its neighbor gets a small one. Shares are kept: what falls between and beyond the bins goes to those that are there. 0 leaves all as it is.
pub fn smoothed(prior: &[f32], centers: &[[f32; 2]], sigma: f32) -> Vec<f32> {
    if sigma <= 0.0 {
        return prior.to_vec();
    }
    let mut found = vec![0.0_f64; prior.len()];
    let mut reach = vec![0.0_f64; prior.len()];
    for (center, &share) in centers.iter().zip(prior) {
        let mut sum = 0.0;
        for (reach, other) in reach.iter_mut().zip(centers) {
            let square = (center[0] - other[0]).powi(2) + (center[1] - other[1]).powi(2);
            *reach = f64::from(-square / (2.0 * sigma * sigma)).exp();
            sum += *reach;
        }
        for (found, reach) in found.iter_mut().zip(&reach) {
            *found += f64::from(share) * reach / sum;
        }
    }
    found.iter().map(|&share| share as f32).collect()
}

#[cfg(test)]
mod tests {
    use autochrome_model::bins;

    use super::*;

    #[test]
    fn a_share_spreads_to_its_neighbors_by_the_gaussian_and_none_is_lost() {
        let centers = bins::zhang_313();
        let mut prior = vec![0.0; centers.len()];
        prior[bins::nearest(centers, [0.0, 0.0])] = 1.0;
        let found = smoothed(&prior, centers, 5.0);
        assert!((found.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let at = |ab| found[bins::nearest(centers, ab)];
        // On a full grid 10 apart, sigma 5: a side neighbor has exp(-2) of the middle's share, a corner exp(-4); the middle has 1 / (1 + 2 exp(-2) + 2 exp(-8))^2.
        let row = 1.0 + 2.0 * (-2.0_f32).exp() + 2.0 * (-8.0_f32).exp();
        assert!((at([0.0, 0.0]) - row.powi(-2)).abs() < 1e-4, "{}", at([0.0, 0.0]));
        assert!((at([10.0, 0.0]) / at([0.0, 0.0]) - (-2.0_f32).exp()).abs() < 1e-5);
        assert!((at([10.0, -10.0]) / at([0.0, 0.0]) - (-4.0_f32).exp()).abs() < 1e-5);
        assert_eq!(smoothed(&prior, centers, 0.0), prior);
    }

    #[test]
    fn smoothing_narrows_the_weights_of_rebalancing() {
        // Zhang's own prior without more smoothing gives .097 to 6.17 (asserted in the models crate); an unsmoothed count has empty bins beside full ones.
        let centers = bins::zhang_313();
        let mut counted = bins::zhang_313_prior();
        counted.iter_mut().step_by(7).for_each(|p| *p = 1e-9);
        let spread = |prior: &[f32]| {
            let weights = bins::rebalancing_weights(prior, 0.1);
            weights.iter().copied().fold(0.0, f32::max) / weights.iter().copied().fold(f32::MAX, f32::min)
        };
        let (before, after) = (spread(&counted), spread(&smoothed(&counted, centers, 5.0)));
        assert!(after < 0.8 * before, "{before} before, {after} after");
    }
}
