//! Pictures for people: rows of pictures with a caption under each, as one PNG.

pub mod gif;
mod lettering;
pub mod pictures;

use anyhow::ensure;
use image::imageops::FilterType;
use image::{Rgb, RgbImage};

use lettering::{LINE_HEIGHT, write};

/// Between pictures, and around all of them, pixels.
const GAP: u32 = 8;
/// The most pixels of a strip: what a viewer can still be asked to open.
const PIXELS_MAX: u64 = 1 << 28;
const PAPER: Rgb<u8> = Rgb([255; 3]);

/// A picture of a strip.
#[derive(Clone, Debug)]
pub struct Cell {
    /// A word or two under it.
    pub caption: String,
    /// The picture.
    pub picture: RgbImage,
}

impl Cell {
    /// A picture with its caption.
    pub fn new(caption: impl Into<String>, picture: RgbImage) -> Self {
        Self { caption: caption.into(), picture }
    }
}

/// Draws rows of pictures, each scaled to `height` pixels. Pictures of one column stand one under the other.
///
/// # Errors
/// If there is nothing to draw, or the strip would be too large to look at.
pub fn strip(rows: &[Vec<Cell>], height: u32) -> anyhow::Result<RgbImage> {
    ensure!(height > 0 && rows.iter().any(|row| !row.is_empty()), "there is no picture to draw");
    let shown = |cell: &Cell| -> anyhow::Result<(u32, u32)> {
        let (width, tall) = cell.picture.dimensions();
        ensure!(width > 0 && tall > 0, "the picture {:?} is {width}x{tall}", cell.caption);
        Ok(((u64::from(width) * u64::from(height)).div_ceil(u64::from(tall)).min(u64::from(u32::MAX)) as u32, height))
    };
    let mut widths: Vec<u64> = Vec::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let width = u64::from(shown(cell)?.0);
            match widths.get_mut(column) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let width = widths.iter().map(|w| w + u64::from(GAP)).sum::<u64>() + u64::from(GAP);
    let tall = rows.len() as u64 * u64::from(height + LINE_HEIGHT + GAP) + u64::from(GAP);
    ensure!(
        width * tall <= PIXELS_MAX,
        "a strip of {width}x{tall} pixels is too large: give fewer pictures, or a smaller height than {height}"
    );
    let mut strip = RgbImage::from_pixel(width as u32, tall as u32, PAPER);
    for (row, y) in rows.iter().zip((GAP..).step_by((height + LINE_HEIGHT + GAP) as usize)) {
        let mut x = GAP;
        for (cell, &room) in row.iter().zip(&widths) {
            let (width, height) = shown(cell)?;
            // Neighboring pixels stay whole where a small picture is shown large: what a network does to single pixels is to be seen.
            let filter = if height >= 2 * cell.picture.height() { FilterType::Nearest } else { FilterType::Triangle };
            if cell.picture.dimensions() == (width, height) {
                image::imageops::replace(&mut strip, &cell.picture, i64::from(x), i64::from(y));
            } else {
                let scaled = image::imageops::resize(&cell.picture, width, height, filter);
                image::imageops::replace(&mut strip, &scaled, i64::from(x), i64::from(y));
            }
            write(&mut strip, &cell.caption, (x, y + height), room as u32);
            x += room as u32 + GAP;
        }
    }
    Ok(strip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_stand_in_their_places_with_captions_below() {
        let flat = |color: [u8; 3], size: (u32, u32)| RgbImage::from_pixel(size.0, size.1, Rgb(color));
        let (red, green, blue) = ([200, 0, 0], [0, 200, 0], [0, 0, 200]);
        let rows = [
            vec![Cell::new("red", flat(red, (40, 30))), Cell::new("", flat(green, (60, 30)))],
            vec![Cell::new("blue", flat(blue, (20, 60))), Cell::new("", flat(red, (60, 30)))],
        ];
        let found = strip(&rows, 30).unwrap();
        assert_eq!(found.dimensions(), (GAP + 40 + GAP + 60 + GAP, GAP + 2 * (30 + LINE_HEIGHT + GAP)));
        let second = GAP + 30 + LINE_HEIGHT + GAP;
        for (color, x, y, width) in
            [(red, GAP, GAP, 40), (green, GAP + 40 + GAP, GAP, 60), (blue, GAP, second, 10), (red, GAP + 40 + GAP, second, 60)]
        {
            for (x, y) in [(x, y), (x + width - 1, y + 29)] {
                assert_eq!(found.get_pixel(x, y).0, color, "{x},{y}");
            }
            assert_eq!(*found.get_pixel(x + width, y), PAPER);
        }
        let inked = |left: u32, top: u32| {
            (left..left + 40).flat_map(|x| (top..top + LINE_HEIGHT).map(move |y| (x, y))).any(|(x, y)| *found.get_pixel(x, y) != PAPER)
        };
        assert!(inked(GAP, GAP + 30) && inked(GAP, second + 30));
        assert!(!inked(GAP + 40 + GAP, GAP + 30), "an empty caption is drawn");
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        assert!(strip(&[], 30).is_err());
        assert!(strip(&[Vec::new()], 30).is_err());
        assert!(strip(&[vec![Cell::new("", RgbImage::new(0, 3))]], 30).is_err());
        let line = RgbImage::new(60_000, 1);
        let error = strip(&[vec![Cell::new("line", line)]], 4000).unwrap_err().to_string();
        assert!(error.contains("smaller height"), "{error}");
    }
}
