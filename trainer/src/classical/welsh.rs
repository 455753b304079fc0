//! Welsh, Ashikhmin, Mueller 2002: each pixel takes the color of the reference's sample that is most like it in lightness and texture.

use autochrome_model::Plane;
use autochrome_model::color::{lab_to_srgb, srgb_to_lab};
use image::{Rgb, RgbImage};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// About how many samples are taken from the reference, one from each cell of a grid.
const SAMPLES: f64 = 200.0;
/// Texture is the deviation of lightness within this many pixels to each side: 5x5.
const REACH: usize = 2;

/// A place of the reference.
struct Sample {
    lightness: f32,
    texture: f32,
    ab: [f32; 2],
}

/// The source's L* with ab found in the reference.
pub(super) fn transfer(source: &RgbImage, reference: &RgbImage, random: &mut ChaCha8Rng) -> RgbImage {
    let (lightness, places) = (lightness_of(source), lightness_of(reference));
    let texture = texture_of(&lightness);
    let mut samples = samples_of(reference, &places, random);
    // A bright reference for a dark picture, and the reverse: what is compared is how light a place is within its own picture.
    let ((mean, spread), (reference_mean, reference_spread)) = (moments(&lightness.data), moments(&places.data));
    let gain = if reference_spread > 0.0 { spread / reference_spread } else { 1.0 };
    for sample in &mut samples {
        sample.lightness = (sample.lightness - reference_mean) * gain + mean;
        sample.texture *= gain;
    }
    let mut colored = RgbImage::new(source.width(), source.height());
    let pixels = lightness.data.par_iter().zip(&texture.data);
    let colors = pixels.map(|(&lightness, &texture)| {
        let difference = |sample: &Sample| (sample.lightness - lightness).abs() + (sample.texture - texture).abs();
        let best = samples.iter().min_by(|x, y| difference(x).total_cmp(&difference(y)));
        let [a, b] = best.map_or([0.0; 2], |sample| sample.ab);
        Rgb(lab_to_srgb([lightness, a, b]))
    });
    colored.pixels_mut().zip(colors.collect::<Vec<_>>()).for_each(|(pixel, color)| *pixel = color);
    colored
}

fn lightness_of(picture: &RgbImage) -> Plane<f32> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    Plane::from_vec(width, height, picture.pixels().map(|pixel| srgb_to_lab(pixel.0)[0]).collect())
}

fn moments(values: &[f32]) -> (f32, f32) {
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / values.len() as f64;
    (mean as f32, variance.sqrt() as f32)
}

/// The standard deviation of lightness around each pixel, as much of the 5x5 as lies inside.
fn texture_of(lightness: &Plane<f32>) -> Plane<f32> {
    let (width, height) = (lightness.width, lightness.height);
    let around = |index: usize| {
        let (x, y) = (index % width, index / width);
        let (left, right) = (x.saturating_sub(REACH), (x + REACH + 1).min(width));
        let rows = (y.saturating_sub(REACH)..(y + REACH + 1).min(height)).map(|y| &lightness.row(y)[left..right]);
        let count = rows.clone().map(<[f32]>::len).sum::<usize>() as f32;
        let mean = rows.clone().flatten().sum::<f32>() / count;
        (rows.flatten().map(|v| (v - mean).powi(2)).sum::<f32>() / count).sqrt()
    };
    Plane::from_vec(width, height, (0..width * height).into_par_iter().map(around).collect())
}

/// One place from each cell of a grid of nearly square cells, anywhere within it.
fn samples_of(reference: &RgbImage, lightness: &Plane<f32>, random: &mut ChaCha8Rng) -> Vec<Sample> {
    let texture = texture_of(lightness);
    let (width, height) = (lightness.width, lightness.height);
    let columns = ((SAMPLES * width as f64 / height as f64).sqrt().round() as usize).clamp(1, width.min(SAMPLES as usize));
    let rows = ((SAMPLES / columns as f64).round() as usize).clamp(1, height);
    let mut samples = Vec::with_capacity(columns * rows);
    for row in 0..rows {
        for column in 0..columns {
            let x = random.random_range(column * width / columns..(column + 1) * width / columns);
            let y = random.random_range(row * height / rows..(row + 1) * height / rows);
            let [lightness, a, b] = srgb_to_lab(reference.get_pixel(x as u32, y as u32).0);
            samples.push(Sample { lightness, texture: texture.row(y)[x], ab: [a, b] });
        }
    }
    samples
}
