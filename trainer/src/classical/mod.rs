//! Color transfer without learning: a reference picture's colors given to another picture, the ways that came before networks.
//!
//! Pure functions of two pictures and a seed. All but Welsh's map each color to one color, so from a grey picture they can only make
//! color = f(lightness). They are rows of the comparison table, to show what a network adds.

mod cloud;
mod matrix;
mod mean_std;
mod monge;
mod pdf;
mod welsh;

use anyhow::ensure;
use autochrome_model::color::{lab_to_srgb, srgb_to_lab};
use autochrome_model::{Chroma, Plane};
use image::{Rgb, RgbImage};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use cloud::{DistinctColors, Space};

/// A way of color transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Method {
    /// Each RGB channel's mean and standard deviation become the reference's.
    MeanStdRgb,
    /// Each CIE Lab channel's mean and standard deviation become the reference's (after Reinhard et al. 2001).
    MeanStdLab,
    /// The linear map that gives the reference's mean and covariance in RGB and moves colors least (Monge-Kantorovich; Pitie and Kokaram
    /// 2007).
    MongeKantorovich,
    /// The whole distribution of RGB, by matching histograms along random axes (Pitie et al. 2005).
    Pdf,
    /// Each pixel takes ab from the reference's pixel of most similar lightness and texture (Welsh et al. 2002).
    Welsh,
}

impl Method {
    /// All methods, in the order of a comparison strip.
    pub const ALL: [Self; 5] = [Self::MeanStdRgb, Self::MeanStdLab, Self::MongeKantorovich, Self::Pdf, Self::Welsh];

    /// Its name on the command line, in tables and in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::MeanStdRgb => "mean-std-rgb",
            Self::MeanStdLab => "mean-std-lab",
            Self::MongeKantorovich => "monge-kantorovich",
            Self::Pdf => "pdf",
            Self::Welsh => "welsh",
        }
    }
}

/// Gives `source`, grey or in color, the colors of `reference`. The result has the source's size; the same seed gives the same result.
///
/// Only Welsh's method keeps the source's lightness; [`keep_lightness`] puts it back for the others.
///
/// # Errors
/// If a picture has no pixels.
pub fn transfer(method: Method, source: &RgbImage, reference: &RgbImage, seed: u64) -> anyhow::Result<RgbImage> {
    for (what, picture) in [("picture to color", source), ("reference", reference)] {
        let (width, height) = picture.dimensions();
        ensure!(width > 0 && height > 0, "transfer colors by {}: the {what} is {width}x{height}", method.name());
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let space = match method {
        Method::Welsh => return Ok(welsh::transfer(source, reference, &mut random)),
        Method::MeanStdLab => Space::Lab,
        Method::MeanStdRgb | Method::MongeKantorovich | Method::Pdf => Space::Rgb,
    };
    let colors = DistinctColors::of(source);
    let (from, to) = (colors.cloud(space), DistinctColors::of(reference).cloud(space));
    let points = match method {
        Method::MeanStdRgb | Method::MeanStdLab => mean_std::transfer(&from, &to),
        Method::MongeKantorovich => monge::transfer(&from, &to),
        Method::Pdf | Method::Welsh => pdf::transfer(&from, &to, &mut random),
    };
    Ok(colors.repainted(&points, space))
}

/// The ab that a method gives a luma plane (full range), at its size: the method as a colorist, for a table in which nobody changes
/// lightness.
///
/// # Errors
/// If a picture has no pixels.
pub fn chroma(method: Method, grey: &Plane<u8>, reference: &RgbImage, seed: u64) -> anyhow::Result<Chroma> {
    let size = (grey.width as u32, grey.height as u32);
    let source = RgbImage::from_fn(size.0, size.1, |x, y| Rgb([grey.row(y as usize)[x as usize]; 3]));
    let colored = transfer(method, &source, reference, seed)?;
    let lab: Vec<[f32; 3]> = colored.pixels().map(|pixel| srgb_to_lab(pixel.0)).collect();
    let plane = |channel: usize| Plane::from_vec(grey.width, grey.height, lab.iter().map(|lab| lab[channel]).collect());
    Ok(Chroma { a: plane(1), b: plane(2) })
}

/// The a* and b* of `colored` with the L* of `source`, clipped to sRGB: what a method's colors are worth on an untouched picture.
///
/// # Panics
/// If the sizes differ.
pub fn keep_lightness(source: &RgbImage, colored: &RgbImage) -> RgbImage {
    assert_eq!(source.dimensions(), colored.dimensions(), "a picture and its coloring have one size");
    RgbImage::from_fn(source.width(), source.height(), |x, y| {
        let [lightness, ..] = srgb_to_lab(source.get_pixel(x, y).0);
        let [_, a, b] = srgb_to_lab(colored.get_pixel(x, y).0);
        Rgb(lab_to_srgb([lightness, a, b]))
    })
}

#[cfg(test)]
mod tests;
