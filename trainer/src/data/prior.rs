//! The colors of a packed set: how often each part of the ab plane occurs, and what class weights follow from it.

use std::collections::BTreeMap;

use autochrome_model::bins::{grids, rebalancing_weights};
use rayon::prelude::*;
use serde::Serialize;

use super::shard::{ItemKind, PackedSet};
use super::split::Split;
use super::target::mean_lab;

/// a* and b* are counted from -110 to 110, which holds all of sRGB (a* -86 to 98, b* -108 to 94).
pub(super) const REACH: usize = 110;
/// Cells of a Lab unit. With two, every border between bins 10 or 17 units apart is a border between cells.
pub(super) const PER_UNIT: usize = 2;
/// Cells along a* and along b*.
pub(super) const CELLS: usize = 2 * REACH * PER_UNIT;

/// Pixels are counted after shrinking by this, as the net's color output is shrunk.
const STRIDE: usize = 4;
/// Of a clip, every so many frames are looked at: its neighbors show the same.
const CLIP_STEP: usize = 8;

/// The deviation of the Gaussian that smooths the prior, Lab units (Zhang et al. 2016, section 2.2).
pub const SMOOTHING: f32 = 5.0;
/// The share of the uniform distribution in the class weights (there, too).
pub const LAMBDA: f32 = 0.5;

/// How often each color occurs.
#[derive(Debug, Clone, PartialEq)]
pub struct ColorCounts {
    /// `[a][b]`, ascending.
    cells: Vec<f64>,
}

/// The content of `prior.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prior {
    /// The part of the set that was counted.
    pub split: Split,
    /// Photographs and clips.
    pub items: usize,
    /// Pixels, after shrinking.
    pub pixels: u64,
    /// [`SMOOTHING`].
    pub smoothing: f32,
    /// [`LAMBDA`].
    pub lambda: f32,
    /// By the grid's name.
    pub grids: BTreeMap<&'static str, GridPrior>,
}

/// One grid's part of [`Prior`]; all lists go by bin.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GridPrior {
    /// a* and b*.
    pub centers: Vec<[f32; 2]>,
    /// Share of the pixels whose nearest center it is.
    pub prior: Vec<f32>,
    /// The same after smoothing in the ab plane.
    pub smoothed: Vec<f32>,
    /// What rebalancing multiplies the bin's loss with, from the smoothed prior.
    pub weights: Vec<f32>,
}

impl ColorCounts {
    /// Counts all photographs of a split, and some frames of each clip.
    pub fn of(set: &PackedSet, split: Split) -> Self {
        let count = |mut counts: Self, item| {
            counts.add_item(set, item);
            counts
        };
        set.items(split).par_chunks(64).fold(Self::none, |counts, items| items.iter().fold(counts, count)).reduce(Self::none, Self::plus)
    }

    /// Counts pictures whose ab planes are given, a* and then b*.
    pub fn of_planes<'a>(pictures: impl IntoIterator<Item = &'a [f32]>) -> Self {
        let mut counts = Self::none();
        pictures.into_iter().for_each(|ab| counts.add_planes(ab));
        counts
    }

    fn none() -> Self {
        Self { cells: vec![0.0; CELLS * CELLS] }
    }

    fn plus(mut self, other: Self) -> Self {
        self.cells.iter_mut().zip(other.cells).for_each(|(sum, count)| *sum += count);
        self
    }

    fn add_item(&mut self, set: &PackedSet, item: &super::shard::Item) {
        let (width, height) = (item.width as usize, item.height as usize);
        let step = if item.kind == ItemKind::Clip { CLIP_STEP } else { 1 };
        let pixels = (width / STRIDE) * (height / STRIDE);
        let (mut lightness, mut ab) = (vec![0.0; pixels], vec![0.0; 2 * pixels]);
        for frame in (0..item.frames as usize).step_by(step) {
            mean_lab(set.frame(item, frame), width, STRIDE, &mut lightness, &mut ab);
            self.add_planes(&ab);
        }
    }

    /// Counts the pixels of an a* plane with a b* plane behind it.
    fn add_planes(&mut self, ab: &[f32]) {
        let (a, b) = ab.split_at(ab.len() / 2);
        a.iter().zip(b).for_each(|(&a, &b)| self.add([a, b]));
    }

    fn add(&mut self, ab: [f32; 2]) {
        let [a, b] = ab.map(|value| (((value + REACH as f32) * PER_UNIT as f32) as usize).min(CELLS - 1));
        self.cells[a * CELLS + b] += 1.0;
    }

    /// Pixels, or the share of them that [`smoothed`](Self::smoothed) counts.
    pub fn total(&self) -> f64 {
        self.cells.iter().sum()
    }

    /// What is counted in square cells of one Lab unit: `[a][b]`, 220 x 220, from -110 to 110.
    pub(super) fn by_unit(&self) -> Vec<f64> {
        let side = CELLS / PER_UNIT;
        let mut units = vec![0.0; side * side];
        for (at, count) in self.cells.iter().enumerate() {
            units[at / CELLS / PER_UNIT * side + at % CELLS / PER_UNIT] += count;
        }
        units
    }

    /// Blurred by a Gaussian of `sigma` Lab units; the total stays.
    pub fn smoothed(&self, sigma: f32) -> Self {
        let deviation = f64::from(sigma) * PER_UNIT as f64;
        let radius = (4.0 * deviation).ceil() as i64;
        let weights: Vec<f64> = (-radius..=radius).map(|distance| (-0.5 * (distance as f64 / deviation).powi(2)).exp()).collect();
        let along = |cells: &[f64], stride: usize, line: usize| -> Vec<f64> {
            let mut blurred = vec![0.0; CELLS * CELLS];
            for start in (0..CELLS).map(|i| i * line) {
                for from in 0..CELLS {
                    let count = cells[start + from * stride];
                    if count == 0.0 {
                        continue;
                    }
                    // What would fall beyond the edge is shared out among the rest.
                    let targets = || weights.iter().enumerate().filter_map(|(k, w)| Some((place(from, k as i64 - radius)?, w)));
                    let sum: f64 = targets().map(|(_, weight)| weight).sum();
                    targets().for_each(|(to, weight)| blurred[start + to * stride] += count * weight / sum);
                }
            }
            blurred
        };
        Self { cells: along(&along(&self.cells, 1, CELLS), CELLS, 1) }
    }

    /// The share of each bin: of the cells whose nearest center it has.
    pub fn shares(&self, centers: &[[f32; 2]]) -> Vec<f32> {
        let middle = |cell: usize| (cell as f32 + 0.5) / PER_UNIT as f32 - REACH as f32;
        let mut sums = vec![0.0; centers.len()];
        for (at, &count) in self.cells.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            sums[autochrome_model::bins::nearest(centers, [middle(at / CELLS), middle(at % CELLS)])] += count;
        }
        let total = self.total().max(f64::MIN_POSITIVE);
        sums.iter().map(|sum| (sum / total) as f32).collect()
    }
}

/// The cell `distance` from `cell`, if there is one.
fn place(cell: usize, distance: i64) -> Option<usize> {
    usize::try_from(cell as i64 + distance).ok().filter(|&to| to < CELLS)
}

/// The prior of every grid, from what was counted in one split of a set.
pub fn prior(counts: &ColorCounts, split: Split, items: usize) -> Prior {
    let smooth = counts.smoothed(SMOOTHING);
    let of_grid = |centers: &'static [[f32; 2]]| {
        let smoothed = smooth.shares(centers);
        GridPrior { centers: centers.to_vec(), prior: counts.shares(centers), weights: rebalancing_weights(&smoothed, LAMBDA), smoothed }
    };
    let grids = grids().into_iter().map(|(name, centers)| (name, of_grid(centers))).collect();
    Prior { split, items, pixels: counts.total() as u64, smoothing: SMOOTHING, lambda: LAMBDA, grids }
}

#[cfg(test)]
mod tests {
    use autochrome_model::bins::{nearest, seventeen, zhang_313};
    use autochrome_model::color::srgb_to_lab;

    use super::super::shard::test_sets::{new_item, pack_of, small_set};
    use super::*;

    #[test]
    fn flat_pictures_are_counted_in_their_bins() {
        let folder = tempfile::tempdir().unwrap();
        let colors = [[200, 40, 40], [40, 90, 200], [200, 40, 40], [128, 128, 128]];
        let stills = colors
            .iter()
            .enumerate()
            .map(|(i, color)| (new_item(&format!("{i}.png"), ItemKind::Still, 18, 16, Split::Train), color.repeat(18 * 16)));
        // A film of another color: one frame in eight.
        let film = (new_item("film", ItemKind::Clip, 16, 16, Split::Train), [40, 160, 60].repeat(16 * 16 * 9));
        let set = pack_of(folder.path(), stills.chain([film]));
        let counts = ColorCounts::of(&set, Split::Train);
        // 18 / 4 is 4 columns: 16 pixels a picture, and two of the film's frames.
        assert_eq!(counts.total(), 96.0);
        let shares = counts.shares(zhang_313());
        for (color, pixels) in [([200, 40, 40], 32.0), ([40, 90, 200], 16.0), ([128, 128, 128], 16.0), ([40, 160, 60], 32.0)] {
            let [_, a, b] = srgb_to_lab(color);
            assert!((shares[nearest(zhang_313(), [a, b])] - pixels / 96.0).abs() < 1e-6, "{color:?}");
        }
    }

    #[test]
    fn smoothing_spreads_a_color_as_a_gaussian_does() {
        let mut counts = ColorCounts::none();
        // The four cells around neutral: a point, but for the half unit.
        for ab in [[0.1, 0.1], [-0.1, 0.1], [0.1, -0.1], [-0.1, -0.1]] {
            counts.add(ab);
        }
        let smooth = counts.smoothed(SMOOTHING);
        assert!((smooth.total() - 4.0).abs() < 1e-9);
        let shares = smooth.shares(zhang_313());
        let share = |center: [f32; 2]| shares[nearest(zhang_313(), center)];
        // The normal distribution, deviation 5: 68.27 % lie within ±5, 15.73 % from 5 to 15. Both directions multiply.
        assert!((share([0.0, 0.0]) - 0.6827 * 0.6827).abs() < 0.005, "{}", share([0.0, 0.0]));
        assert!((share([10.0, 0.0]) - 0.1573 * 0.6827).abs() < 0.005);
        assert!((share([-10.0, 10.0]) - 0.1573 * 0.1573).abs() < 0.003);
        // At the edge nothing is lost.
        let mut edge = ColorCounts::none();
        edge.add([-109.9, 109.9]);
        assert!((edge.smoothed(SMOOTHING).total() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn every_grid_has_a_prior_and_weights_of_mean_one() {
        let folder = tempfile::tempdir().unwrap();
        let set = small_set(folder.path());
        let prior = prior(&ColorCounts::of(&set, Split::Train), Split::Train, 6);
        assert_eq!(prior.grids.keys().copied().collect::<Vec<_>>(), ["seed004-105", "seventeen", "zhang-313"]);
        for (name, grid) in &prior.grids {
            assert!(
                (grid.prior.iter().sum::<f32>() - 1.0).abs() < 1e-4 && (grid.smoothed.iter().sum::<f32>() - 1.0).abs() < 1e-4,
                "{name}"
            );
            let mean: f32 = grid.weights.iter().zip(&grid.smoothed).map(|(weight, share)| weight * share).sum();
            assert!((mean - 1.0).abs() < 1e-3, "{name}: {mean}");
        }
        assert_eq!(prior.grids["seventeen"].centers, seventeen());
    }
}
