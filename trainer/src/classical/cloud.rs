//! A picture's colors as points in a color space, each with the share of the pixels that have it.
//!
//! Working on distinct colors makes equal pixels stay equal whatever a method does, and a grey picture as cheap as its 256 levels.

use autochrome_model::color::{lab_to_srgb, srgb_to_lab};
use image::RgbImage;

use super::matrix::Matrix;

/// Spreads (standard deviations) below this, in 8-bit steps or Lab units, are the noise of rounding to 8 bits, whose own is 0.29: nothing
/// to stretch.
pub(super) const SPREAD_MIN: f64 = 0.25;

/// Where colors are points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    /// Gamma-coded sRGB, 0 to 255.
    Rgb,
    /// CIE Lab.
    Lab,
}

/// A picture, taken apart into its colors and which pixel has which.
#[derive(Debug)]
pub(super) struct DistinctColors {
    size: (u32, u32),
    colors: Vec<[u8; 3]>,
    pixels: Vec<u64>,
    of_pixel: Vec<u32>,
}

/// Points with their shares, which sum to 1.
#[derive(Clone, Debug)]
pub(super) struct Cloud {
    pub(super) points: Vec<[f64; 3]>,
    pub(super) shares: Vec<f64>,
}

impl DistinctColors {
    pub(super) fn of(picture: &RgbImage) -> Self {
        let code = |pixel: &[u8]| u32::from_be_bytes([0, pixel[0], pixel[1], pixel[2]]);
        let codes: Vec<u32> = picture.as_raw().chunks_exact(3).map(code).collect();
        let mut sorted = codes.clone();
        sorted.sort_unstable();
        let (mut known, mut pixels) = (Vec::new(), Vec::new());
        for run in sorted.chunk_by(|a, b| a == b) {
            known.push(run[0]);
            pixels.push(run.len() as u64);
        }
        let of_pixel = codes.iter().map(|code| known.partition_point(|k| k < code) as u32).collect();
        let colors = known.iter().map(|code| code.to_be_bytes()).map(|[_, r, g, b]| [r, g, b]).collect();
        Self { size: picture.dimensions(), colors, pixels, of_pixel }
    }

    pub(super) fn cloud(&self, space: Space) -> Cloud {
        let point = |&color: &[u8; 3]| match space {
            Space::Rgb => color.map(f64::from),
            Space::Lab => srgb_to_lab(color).map(f64::from),
        };
        let total = self.of_pixel.len() as f64;
        Cloud { points: self.colors.iter().map(point).collect(), shares: self.pixels.iter().map(|&n| n as f64 / total).collect() }
    }

    /// The picture with each color replaced by the point at its place, clipped to sRGB.
    pub(super) fn repainted(&self, points: &[[f64; 3]], space: Space) -> RgbImage {
        let color = |&point: &[f64; 3]| match space {
            Space::Rgb => point.map(|v| v.round().clamp(0.0, 255.0) as u8),
            Space::Lab => lab_to_srgb(point.map(|v| v as f32)),
        };
        let colors: Vec<[u8; 3]> = points.iter().map(color).collect();
        let rgb = self.of_pixel.iter().flat_map(|&index| colors[index as usize]).collect();
        RgbImage::from_raw(self.size.0, self.size.1, rgb).expect("three values a pixel")
    }
}

impl Cloud {
    pub(super) fn mean(&self) -> [f64; 3] {
        let mut mean = [0.0; 3];
        for (point, share) in self.points.iter().zip(&self.shares) {
            mean.iter_mut().zip(point).for_each(|(m, v)| *m += share * v);
        }
        mean
    }

    pub(super) fn covariance(&self) -> Matrix {
        let (mean, mut covariance) = (self.mean(), Matrix::default());
        for (point, share) in self.points.iter().zip(&self.shares) {
            for (row, i) in covariance.0.iter_mut().zip(0..3) {
                for (cell, j) in row.iter_mut().zip(0..3) {
                    *cell += share * (point[i] - mean[i]) * (point[j] - mean[j]);
                }
            }
        }
        covariance
    }

    /// Each axis' standard deviation.
    pub(super) fn spread(&self) -> [f64; 3] {
        let Matrix(covariance) = self.covariance();
        std::array::from_fn(|axis| covariance[axis][axis].max(0.0).sqrt())
    }
}
