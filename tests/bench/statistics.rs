//! Medians and spreads.

/// The middle of a set of measurements, and where four fifths of them lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// p50.
    pub(crate) median: f64,
    /// p10.
    pub(crate) low: f64,
    /// p90.
    pub(crate) high: f64,
}

impl Spread {
    /// Of at least one value; NaN of none.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self { median: quantile(&sorted, 0.5), low: quantile(&sorted, 0.1), high: quantile(&sorted, 0.9) }
    }

    /// Of `ours / theirs`, pair by pair.
    pub(crate) fn of_ratios(ours: &[f64], theirs: &[f64]) -> Self {
        Self::of(&ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>())
    }
}

/// p50.
pub(crate) fn median(values: &[f64]) -> f64 {
    Spread::of(values).median
}

/// Between the two nearest values, in proportion.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = share * last as f64;
    let (below, above) = (sorted[at as usize], sorted[(at as usize + 1).min(last)]);
    below + (above - below) * at.fract()
}

/// Pearson's correlation of two equally long lists; NaN where one of them is constant.
pub(crate) fn correlation(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "two engines give outputs of different sizes");
    let mean = |values: &[f32]| values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut products, mut squares_a, mut squares_b) = (0.0, 0.0, 0.0);
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f64::from(a) - mean_a, f64::from(b) - mean_b);
        products += a * b;
        squares_a += a * a;
        squares_b += b * b;
    }
    products / (squares_a * squares_b).sqrt()
}
