//! The quick look at one model that training takes, with the engine that ships.

use std::path::Path;

use anyhow::Context;
use autochrome_model::{Colorizer, LumaRange, Painter};
use serde::{Deserialize, Serialize};

use super::colorist::Colorist;
use super::exhibits::{Exhibits, Share};
use super::pictures::grey_luma;
use crate::data::shard::PackedSet;
use crate::data::split::Split;
use crate::metrics::{colorfulness, psnr};

/// Quality on single pictures, each from a zero state.
#[derive(Clone, Debug, Serialize, Deserialize)]
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

    /// The means of `values` summed over `pictures`; their order is that of the fields.
    pub(super) fn mean(source: &str, temperature: f32, pictures: usize, values: &[f64; 6]) -> Self {
        let [psnr, psnr_grey, colorfulness, colorfulness_truth, colorfulness_signed, colorfulness_signed_truth] =
            values.map(|sum| sum / pictures.max(1) as f64);
        Self {
            source: source.to_owned(),
            temperature,
            pictures,
            psnr,
            psnr_grey,
            colorfulness,
            colorfulness_truth,
            colorfulness_signed,
            colorfulness_signed_truth,
        }
    }

    /// Colorfulness (absolute form) as a share of the truth's.
    pub fn colorfulness_share(&self) -> f64 {
        self.colorfulness / self.colorfulness_truth
    }
}

/// What [`StillQuality`] is the mean of, of one picture.
pub(super) fn quality_values(found: &[u8], truth: &[u8], psnr_grey: f64) -> [f64; 6] {
    [
        psnr(found, truth),
        psnr_grey,
        colorfulness(found, false),
        colorfulness(truth, false),
        colorfulness(found, true),
        colorfulness(truth, true),
    ]
}

/// Measures at most `limit` stills of a split, evenly spread over its sources, at each temperature.
///
/// # Errors
/// If there is no still or the colorist fails.
pub fn stills(
    colorist: &mut dyn Colorist,
    set: &PackedSet,
    split: Split,
    temperatures: &[f32],
    limit: usize,
) -> anyhow::Result<Vec<StillQuality>> {
    let exhibits = Exhibits::choose(set, Share::Of(split), usize::MAX)?;
    let items = exhibits.some_stills(limit);
    let mut sums = vec![[0.0_f64; 6]; temperatures.len()];
    for item in &items {
        let truth = exhibits.still(item);
        let psnr_grey = psnr(&truth.without_color(), &truth.rgb);
        colorist.begin();
        let usual = colorist.color(&truth.grey).with_context(|| format!("color {}", item.name))?;
        for (sums, &temperature) in sums.iter_mut().zip(temperatures) {
            let found = colorist.at_temperature(&truth.grey, temperature);
            let values = quality_values(&truth.colored(found.as_ref().unwrap_or(&usual)), &truth.rgb, psnr_grey);
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    }
    Ok(temperatures.iter().zip(&sums).map(|(&temperature, sums)| StillQuality::mean("all", temperature, items.len(), sums)).collect())
}

/// Writes a PNG whose rows are pictures as a device shows them: grey | each model | truth.
///
/// # Errors
/// If a model fails or the file cannot be written.
pub fn sample_grid(models: Vec<Colorizer>, exhibits: &Exhibits, rows: usize, file: &Path) -> anyhow::Result<()> {
    const CELL: usize = 144;
    let (set, items) = (exhibits.set(), exhibits.stills());
    let columns = models.len() + 2;
    let mut painters: Vec<Painter> = models.into_iter().map(|m| Painter::new(m, LumaRange::Full)).collect();
    // Two pictures side by side, so that a grid of many stays a page.
    let (width, height) = (rows.min(2) * columns * CELL, rows.div_ceil(2) * CELL);
    let mut grid = image::RgbImage::new(width as u32, height as u32);
    for row in 0..rows {
        let item = items[(row * items.len() + items.len() / 2) / rows];
        let (item_width, item_height) = (item.width as usize, item.height as usize);
        let rgb = set.picture(item);
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
    crate::files::write_atomically(file, bytes.get_ref())
}
