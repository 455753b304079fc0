//! A clip as a film strip: grey, colored and true frames, one under the other.

use anyhow::{Context, ensure};
use autochrome_model::{LumaRange, Painter};
use image::RgbImage;

use crate::evaluate::grey_luma;
use crate::figure::Cell;
use crate::figure::pictures::{is_colored, without_color};

/// Colors all frames in their order, the state carried from each to the next, and keeps `shown` of them, evenly spread from the first to the last.
///
/// Rows: grey, colored, and the truth if some shown frame has color. `frame(n)` gives frame `n`; the frames may differ in size, after which the
/// state begins anew.
///
/// # Errors
/// If there is no frame, one cannot be had, or the model fails.
pub fn rows(
    painter: &mut Painter,
    frames: usize,
    shown: usize,
    mut frame: impl FnMut(usize) -> anyhow::Result<RgbImage>,
) -> anyhow::Result<Vec<Vec<Cell>>> {
    ensure!(frames > 0 && shown > 0, "a film strip has at least one frame");
    let shown = spread(frames, shown);
    let (mut grey, mut colored, mut truth) = (Vec::new(), Vec::new(), Vec::new());
    painter.reset();
    for number in 0..frames {
        let picture = frame(number)?;
        let (width, height) = picture.dimensions();
        let painted =
            painter.paint(grey_luma(&picture, width as usize, height as usize)).with_context(|| format!("color frame {number}"))?;
        if !shown.contains(&number) {
            continue;
        }
        let rgb = RgbImage::from_raw(width, height, painted.to_rgb(LumaRange::Full)).context("a picture has three bytes a pixel")?;
        grey.push(Cell::new(format!("grey {number}"), without_color(&picture)));
        colored.push(Cell::new(format!("colored {number}"), rgb));
        truth.push(Cell::new(format!("truth {number}"), picture));
    }
    let mut rows = vec![grey, colored];
    if truth.iter().any(|cell| is_colored(&cell.picture)) {
        rows.push(truth);
    }
    Ok(rows)
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
    }
}
