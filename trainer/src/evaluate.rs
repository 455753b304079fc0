//! Evaluation with the engine that ships: every figure is measured on what [`Painter`] gives, never on the training network.

use std::path::Path;

use anyhow::{Context, ensure};
use autochrome_model::color::{lab_to_srgb, luma, srgb_to_lab};
use autochrome_model::planes::resample;
use autochrome_model::{Chroma, Colorizer, Decode, LumaRange, Painter, Plane};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::data::shard::{Item, ItemKind, PackedSet};
use crate::data::split::Split;
use crate::metrics::{color_distribution_consistency, colorfulness, histograms, psnr};

/// Sensor noise of the steadiness test, in luma codes of a 640x480 camera.
const NOISE_SIGMA: f32 = 5.0;
/// Frames of the steadiness test, the first of which settle the state.
const STILL_FRAMES: usize = 40;
const STILL_SETTLING: usize = 10;
/// Pictures of the steadiness test.
const STILL_SCENES: usize = 12;

/// Quality on single pictures, each from a zero state.
#[derive(Clone, Debug, Serialize)]
pub struct StillQuality {
    /// Where the pictures come from.
    pub source: String,
    /// The decoding temperature.
    pub temperature: f32,
    /// How many pictures.
    pub pictures: usize,
    /// Mean RGB PSNR of the truth's L* with the predicted ab, dB.
    pub psnr: f64,
    /// The same of the truth's L* alone.
    pub psnr_grey: f64,
    /// Mean colorfulness, absolute form.
    pub colorfulness: f64,
    /// The truth's.
    pub colorfulness_truth: f64,
    /// Mean colorfulness, signed form.
    pub colorfulness_signed: f64,
    /// The truth's.
    pub colorfulness_signed_truth: f64,
}

impl StillQuality {
    /// How much better than grey, dB.
    pub fn gain(&self) -> f64 {
        self.psnr - self.psnr_grey
    }

    /// Colorfulness (absolute form) as a share of the truth's.
    pub fn colorfulness_share(&self) -> f64 {
        self.colorfulness / self.colorfulness_truth
    }
}

/// Steadiness on clips and on a still scene.
#[derive(Clone, Debug, Serialize)]
pub struct Steadiness {
    /// How many clips.
    pub clips: usize,
    /// Color distribution consistency of the colored clips.
    pub cdc: f64,
    /// The truth's.
    pub cdc_truth: f64,
    /// The grey clips'.
    pub cdc_grey: f64,
    /// Standard deviation over time of ab on a still scene under sensor noise, Lab units.
    pub still_ab_deviation: f64,
}

/// An RGB frame as a camera without color would have seen it: rounded Rec. 601 luma.
pub fn grey_luma(rgb: &[u8], width: usize, height: usize) -> Plane<u8> {
    Plane::from_vec(width, height, rgb.chunks_exact(3).map(|p| luma([p[0], p[1], p[2]]).round() as u8).collect())
}

/// The truth's L* with these ab, as 8-bit RGB.
pub fn with_true_lightness(rgb: &[u8], chroma: &Chroma) -> Vec<u8> {
    let pixels = rgb.chunks_exact(3).zip(chroma.a.data.iter().zip(&chroma.b.data));
    pixels.flat_map(|(p, (&a, &b))| lab_to_srgb([srgb_to_lab([p[0], p[1], p[2]])[0], a, b])).collect()
}

fn without_color(rgb: &[u8]) -> Vec<u8> {
    rgb.chunks_exact(3).flat_map(|p| lab_to_srgb([srgb_to_lab([p[0], p[1], p[2]])[0], 0.0, 0.0])).collect()
}

/// Measures every still of `split` from `source` (all sources if `None`) at every temperature; at most `limit` pictures, evenly spread.
///
/// # Errors
/// If there is no such picture or the model fails.
pub fn stills(
    painter: &mut Painter,
    set: &PackedSet,
    split: Split,
    source: Option<&str>,
    temperatures: &[f32],
    limit: usize,
) -> anyhow::Result<Vec<StillQuality>> {
    let items: Vec<&Item> = set.items(split).iter().filter(|i| i.kind == ItemKind::Still && source.is_none_or(|s| i.source == s)).collect();
    ensure!(
        !items.is_empty(),
        "{} has no stills of {} in its {} split",
        set.folder().display(),
        source.unwrap_or("any source"),
        split.name()
    );
    let mut sums = vec![[0.0_f64; 6]; temperatures.len()];
    let wanted = items.len().min(limit.max(1));
    for index in 0..wanted {
        let item = items[index * items.len() / wanted];
        let rgb = set.frame(item, 0);
        let grey = grey_luma(rgb, item.width as usize, item.height as usize);
        painter.reset();
        painter.observe(&grey).with_context(|| format!("color {}", item.name))?;
        let plain = psnr(&without_color(rgb), rgb);
        for (sums, &temperature) in sums.iter_mut().zip(temperatures) {
            painter.set_decode(Decode::AnnealedMean { temperature });
            let found = with_true_lightness(rgb, &painter.chroma(&grey));
            let values = [
                psnr(&found, rgb),
                plain,
                colorfulness(&found, false),
                colorfulness(rgb, false),
                colorfulness(&found, true),
                colorfulness(rgb, true),
            ];
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    }
    let quality = |(sums, &temperature): (&[f64; 6], &f32)| {
        let [psnr, psnr_grey, colorfulness, colorfulness_truth, colorfulness_signed, colorfulness_signed_truth] =
            sums.map(|s| s / wanted as f64);
        let source = source.unwrap_or("all").to_owned();
        StillQuality {
            source,
            temperature,
            pictures: wanted,
            psnr,
            psnr_grey,
            colorfulness,
            colorfulness_truth,
            colorfulness_signed,
            colorfulness_signed_truth,
        }
    };
    Ok(sums.iter().zip(temperatures).map(quality).collect())
}

/// Measures steadiness on the split's clips and on still scenes made from its photographs.
///
/// # Errors
/// If the split has no clip or no still, or the model fails.
pub fn steadiness(painter: &mut Painter, set: &PackedSet, split: Split, temperature: f32) -> anyhow::Result<Steadiness> {
    painter.set_decode(Decode::AnnealedMean { temperature });
    let clips: Vec<&Item> = set.items(split).iter().filter(|i| i.kind == ItemKind::Clip).collect();
    ensure!(!clips.is_empty(), "{} has no clips in its {} split", set.folder().display(), split.name());
    let mut sums = [0.0_f64; 3];
    for clip in &clips {
        let (mut colored, mut truth, mut grey) = (Vec::new(), Vec::new(), Vec::new());
        painter.reset();
        for frame in 0..clip.frames as usize {
            let rgb = set.frame(clip, frame);
            let luma = grey_luma(rgb, clip.width as usize, clip.height as usize);
            painter.observe(&luma).with_context(|| format!("color {}", clip.name))?;
            colored.push(histograms(&with_true_lightness(rgb, &painter.chroma(&luma))));
            truth.push(histograms(rgb));
            grey.push(histograms(&without_color(rgb)));
        }
        for (sum, frames) in sums.iter_mut().zip([&colored, &truth, &grey]) {
            *sum += color_distribution_consistency(frames) / clips.len() as f64;
        }
    }
    let [cdc, cdc_truth, cdc_grey] = sums;
    Ok(Steadiness { clips: clips.len(), cdc, cdc_truth, cdc_grey, still_ab_deviation: still_deviation(painter, set, split)? })
}

fn still_deviation(painter: &mut Painter, set: &PackedSet, split: Split) -> anyhow::Result<f64> {
    let items: Vec<&Item> = set.items(split).iter().filter(|i| i.kind == ItemKind::Still).collect();
    ensure!(!items.is_empty(), "{} has no stills in its {} split", set.folder().display(), split.name());
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (mut sum, mut count) = (0.0_f64, 0_usize);
    for scene in 0..STILL_SCENES {
        let item = items[scene * items.len() / STILL_SCENES];
        let small = grey_luma(set.frame(item, 0), item.width as usize, item.height as usize);
        let clean = resample(&small, f32::from, (640, 480));
        painter.reset();
        let mut moments: Vec<[f64; 2]> = Vec::new();
        for frame in 0..STILL_FRAMES {
            let noisy = clean.data.iter().map(|v| (v + NOISE_SIGMA * gaussian(&mut rng)).round().clamp(0.0, 255.0) as u8).collect();
            painter.observe(&Plane::from_vec(640, 480, noisy))?;
            if frame < STILL_SETTLING {
                continue;
            }
            let Chroma { a, b } = painter.colorizer().decode_last();
            moments.resize(a.data.len() + b.data.len(), [0.0; 2]);
            for (moments, &value) in moments.iter_mut().zip(a.data.iter().chain(&b.data)) {
                moments[0] += f64::from(value);
                moments[1] += f64::from(value).powi(2);
            }
        }
        let frames = (STILL_FRAMES - STILL_SETTLING) as f64;
        sum += moments.iter().map(|[s, q]| (q / frames - (s / frames).powi(2)).max(0.0).sqrt()).sum::<f64>();
        count += moments.len();
    }
    Ok(sum / count as f64)
}

/// A standard normal value, near enough: the sum of twelve uniform ones has its mean, variance and nearly its shape.
fn gaussian(rng: &mut ChaCha8Rng) -> f32 {
    (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0
}

/// Writes a PNG whose rows are pictures of `split` as grey | each model | truth.
///
/// # Errors
/// If a model fails or the file cannot be written.
pub fn sample_grid(models: Vec<Colorizer>, set: &PackedSet, split: Split, rows: usize, file: &Path) -> anyhow::Result<()> {
    const CELL: usize = 144;
    let items: Vec<&Item> = set.items(split).iter().filter(|i| i.kind == ItemKind::Still).collect();
    ensure!(!items.is_empty(), "{} has no stills in its {} split", set.folder().display(), split.name());
    let columns = models.len() + 2;
    let mut painters: Vec<Painter> = models.into_iter().map(|m| Painter::new(m, LumaRange::Full)).collect();
    // Two pictures side by side, so that a grid of many stays a page.
    let (width, height) = (2 * columns * CELL, rows.div_ceil(2) * CELL);
    let mut grid = image::RgbImage::new(width as u32, height as u32);
    for row in 0..rows {
        let item = items[(row * items.len() + items.len() / 2) / rows];
        let (item_width, item_height) = (item.width as usize, item.height as usize);
        let rgb = set.frame(item, 0);
        let luma = grey_luma(rgb, item_width, item_height);
        let mut cells = vec![luma.data.iter().flat_map(|&y| [y; 3]).collect::<Vec<u8>>()];
        for painter in &mut painters {
            painter.reset();
            cells.push(painter.paint(luma.clone())?.to_rgb(LumaRange::Full));
        }
        cells.push(rgb.to_vec());
        for (column, cell) in cells.into_iter().enumerate() {
            let cell = image::RgbImage::from_raw(item_width as u32, item_height as u32, cell).context("a cell of the grid")?;
            let left = (row % 2 * columns + column) * CELL;
            let cropped = image::imageops::crop_imm(
                &cell,
                ((item_width.saturating_sub(CELL)) / 2) as u32,
                ((item_height.saturating_sub(CELL)) / 2) as u32,
                CELL.min(item_width) as u32,
                CELL.min(item_height) as u32,
            );
            image::imageops::replace(&mut grid, &cropped.to_image(), left as i64, (row / 2 * CELL) as i64);
        }
    }
    let mut bytes = std::io::Cursor::new(Vec::new());
    grid.write_to(&mut bytes, image::ImageFormat::Png).context("encode the sample grid")?;
    crate::checkpoint::write_atomically(file, bytes.get_ref())
}
