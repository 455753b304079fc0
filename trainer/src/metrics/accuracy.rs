//! How many pixels are near enough to the truth, over all that "near enough" may mean.

use autochrome_model::{Chroma, bins};

use super::ab_distances;

/// The largest tolerance, Lab units.
const TOLERANCE_MAX: u32 = 150;

/// Zhang et al.'s AuC (2016): the share of pixels whose ab is within a tolerance of the truth's, averaged over the tolerances 0, 1, .. 150.
///
/// All pictures' pixels count alike, or each by its weight. Grey scores near 0.9 on photographs, since most of their pixels are dull.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccuracyArea {
    raw: [f64; 2],
    rebalanced: [f64; 2],
}

impl AccuracyArea {
    /// Adds a picture's pixels.
    pub fn add(&mut self, found: &Chroma, truth: &Chroma, rarity: &RarityWeights) {
        let truths = truth.a.data.iter().zip(&truth.b.data);
        for (distance, (&a, &b)) in ab_distances(found, truth).zip(truths) {
            // Within every tolerance from the distance, rounded up, to the largest.
            let reached = (f64::from(TOLERANCE_MAX) + 1.0 - f64::from(distance.ceil())).max(0.0) / (f64::from(TOLERANCE_MAX) + 1.0);
            let weight = f64::from(rarity.of([a, b]));
            self.raw = [self.raw[0] + reached, self.raw[1] + 1.0];
            self.rebalanced = [self.rebalanced[0] + weight * reached, self.rebalanced[1] + weight];
        }
    }

    /// 0 to 1; every pixel counts alike.
    pub fn raw(&self) -> f64 {
        self.raw[0] / self.raw[1].max(f64::MIN_POSITIVE)
    }

    /// 0 to 1; a pixel counts by how rare its true color is.
    pub fn rebalanced(&self) -> f64 {
        self.rebalanced[0] / self.rebalanced[1].max(f64::MIN_POSITIVE)
    }
}

/// How much a true color counts in the rebalanced area: the class weights of Zhang et al. with lambda .5 on the prior they published, so
/// that the figure of one set of pictures can be compared with that of another.
#[derive(Clone, Debug)]
pub struct RarityWeights {
    /// Of each cell of 10x10 Lab units; [`CELLS`] a side, around 0.
    cells: Vec<f32>,
}

const CELLS: i32 = 27;

impl RarityWeights {
    /// The weights, 0.097 to 6.17.
    pub fn published() -> Self {
        let weights = bins::rebalancing_weights(&bins::zhang_313_prior(), 0.5);
        let cells = (0..CELLS * CELLS).map(|cell| {
            let center = |index: i32| (index - CELLS / 2) as f32 * 10.0;
            weights[bins::nearest(bins::zhang_313(), [center(cell / CELLS), center(cell % CELLS)])]
        });
        Self { cells: cells.collect() }
    }

    /// The weight of a true color.
    pub fn of(&self, ab: [f32; 2]) -> f32 {
        let [a, b] = ab.map(|v| (((v / 10.0).round() as i32) + CELLS / 2).clamp(0, CELLS - 1));
        self.cells[(a * CELLS + b) as usize]
    }
}

#[cfg(test)]
mod tests {
    use autochrome_model::Plane;

    use super::*;

    fn row(values: &[[f32; 2]]) -> Chroma {
        let plane = |i: usize| Plane::from_vec(values.len(), 1, values.iter().map(|ab| ab[i]).collect());
        Chroma { a: plane(0), b: plane(1) }
    }

    #[test]
    fn the_area_is_the_mean_over_the_tolerances() {
        let truth = [[0.0, 0.0], [30.0, 40.0], [-3.0, 0.5], [90.0, 0.0], [0.0, -100.0]];
        let found = [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [-90.0, 0.0], [0.2, -100.0]];
        let rarity = RarityWeights::published();
        let mut area = AccuracyArea::default();
        area.add(&row(&found), &row(&truth), &rarity);
        // The definition, word for word.
        let (mut raw, mut rebalanced) = (0.0, 0.0);
        let weights: Vec<f64> = truth.iter().map(|&ab| f64::from(rarity.of(ab))).collect();
        for tolerance in 0..=150 {
            let within = |i: usize| (found[i][0] - truth[i][0]).hypot(found[i][1] - truth[i][1]) <= tolerance as f32;
            raw += (0..5).filter(|&i| within(i)).count() as f64 / 5.0 / 151.0;
            rebalanced += (0..5).filter(|&i| within(i)).map(|i| weights[i]).sum::<f64>() / weights.iter().sum::<f64>() / 151.0;
        }
        assert!((area.raw() - raw).abs() < 1e-9, "{} {raw}", area.raw());
        assert!((area.rebalanced() - rebalanced).abs() < 1e-9, "{} {rebalanced}", area.rebalanced());
        assert!((raw - rebalanced).abs() > 0.01, "the case tells the two apart");
    }

    #[test]
    fn grey_is_common_and_strong_blue_is_rare() {
        // Of the published prior with lambda .5: 0.0965 at grey, 6.17 at the rarest.
        let rarity = RarityWeights::published();
        assert!((rarity.of([1.0, -2.0]) - 0.0965).abs() < 1e-3, "{}", rarity.of([1.0, -2.0]));
        assert!(rarity.of([70.0, -105.0]) > 5.0, "{}", rarity.of([70.0, -105.0]));
    }
}
