//! A clip beside its coloring: each frame in grey, colored with the state carried from frame to frame, and true.

use anyhow::{Context, ensure};
use autochrome_model::{LumaRange, Painter};
use image::RgbImage;

use crate::evaluate::grey_luma;
use crate::figure::pictures::{is_colored, without_color};
use crate::figure::{Cell, gif, strip};

/// A clip's frames, by number.
pub struct Clip<F> {
    /// How many there are.
    pub frames: usize,
    /// Gets one.
    pub frame: F,
}

impl<F: FnMut(usize) -> anyhow::Result<RgbImage>> Clip<F> {
    /// A film strip: `shown` frames, evenly spread from the first to the last; rows of grey, colored, and true ones if some have color.
    ///
    /// All frames are colored, in their order. After a frame of another size the state begins anew.
    ///
    /// # Errors
    /// If there is no frame, one cannot be had, or the model fails.
    pub fn film_strip(mut self, painter: &mut Painter, shown: usize, height: u32) -> anyhow::Result<RgbImage> {
        ensure!(shown > 0, "a film strip has at least one frame");
        let shown = spread(self.frames, shown);
        let mut rows = vec![Vec::new(); 3];
        self.color(painter, |number, triple| {
            if shown.contains(&number) {
                rows.iter_mut().zip(triple).for_each(|(row, mut cell)| {
                    cell.caption = format!("{} {number}", cell.caption);
                    row.push(cell);
                });
            }
            Ok(())
        })?;
        if !rows[2].iter().any(|cell| is_colored(&cell.picture)) {
            rows.truncate(2);
        }
        strip(&rows, height)
    }

    /// Every frame as grey | colored | true, for a GIF; the truth is left out if the clip has no color in its middle, for it may begin with black.
    ///
    /// # Errors
    /// If there is no frame, one cannot be had, they are more than a GIF takes, or the model fails.
    pub fn triples(mut self, painter: &mut Painter, height: u32) -> anyhow::Result<Vec<RgbImage>> {
        let (mut pictures, frames) = (Vec::new(), self.frames);
        ensure!(frames > 0, "the clip has no frames");
        let columns = if is_colored(&(self.frame)(frames / 2)?) { 3 } else { 2 };
        self.color(painter, |number, triple| {
            let picture = strip(&[triple[..columns].to_vec()], height)?;
            if number == 0 {
                gif::ensure_within(frames, picture.dimensions())?;
            }
            pictures.push(picture);
            Ok(())
        })?;
        Ok(pictures)
    }

    fn color(&mut self, painter: &mut Painter, mut take: impl FnMut(usize, [Cell; 3]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        ensure!(self.frames > 0, "the clip has no frames");
        painter.reset();
        for number in 0..self.frames {
            let picture = (self.frame)(number)?;
            let (width, height) = picture.dimensions();
            let luma = grey_luma(&picture, width as usize, height as usize);
            let painted = painter.paint(luma).with_context(|| format!("color frame {number}"))?;
            let rgb = painted.to_rgb(LumaRange::Full);
            let colored = RgbImage::from_raw(width, height, rgb).context("a picture has three bytes a pixel")?;
            take(number, [Cell::new("grey", without_color(&picture)), Cell::new("colored", colored), Cell::new("truth", picture)])?;
        }
        Ok(())
    }
}

/// `wanted` numbers below `frames`, the first and the last among them, as evenly as whole numbers can be.
fn spread(frames: usize, wanted: usize) -> Vec<usize> {
    let wanted = wanted.min(frames);
    let gaps = wanted.saturating_sub(1).max(1);
    (0..wanted).map(|i| (i * (frames - 1) + gaps / 2) / gaps).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_frames_go_from_the_first_to_the_last() {
        assert_eq!(spread(10, 4), [0, 3, 6, 9]);
        assert_eq!(spread(3, 9), [0, 1, 2]);
        assert_eq!(spread(60, 1), [0]);
        assert_eq!(spread(1, 1), [0]);
        assert!(spread(0, 3).is_empty());
    }
}
