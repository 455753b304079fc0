//! The decodes of one model side by side: what becomes of the same logits.

use anyhow::{Context, ensure};
use autochrome_model::{Colorizer, Decode, LumaRange, Output, Painter, Picture, Step};
use image::RgbImage;

use crate::evaluate::grey_luma;
use crate::figure::Cell;
use crate::figure::pictures::{is_colored, without_color};

/// A strip of all decodes has the annealed mean at these temperatures.
pub const TEMPERATURES: [f32; 4] = [0.1, 0.38, 0.6, 0.8];
/// And the blend at these tau.
pub const TAUS: [f32; 2] = [0.25, 2.0];

/// Every decode, from the boldest to the most careful, then the blends.
pub fn all() -> Vec<Decode> {
    let annealed = TEMPERATURES.map(|temperature| Decode::AnnealedMean { temperature });
    let blends = TAUS.map(|tau| Decode::Blend { tau });
    [Decode::Argmax].into_iter().chain(annealed).chain([Decode::Mean]).chain(blends).collect()
}

/// The annealed mean at these temperatures: a temperature strip.
pub fn annealed(temperatures: &[f32]) -> Vec<Decode> {
    temperatures.iter().map(|&temperature| Decode::AnnealedMean { temperature }).collect()
}

/// A decode's caption.
pub fn caption(decode: Decode) -> String {
    match decode {
        Decode::Argmax => "mode".into(),
        Decode::Mean => "mean".into(),
        Decode::AnnealedMean { temperature } => format!("T {temperature}"),
        Decode::Blend { tau } => format!("blend {tau}"),
    }
}

/// One painter for many strips, with saturation 1: the card's would color what the decodes are compared by.
///
/// # Errors
/// If the model gives ab itself: then there is nothing to decode.
pub fn painter(colorizer: Colorizer) -> anyhow::Result<Painter> {
    let card = &colorizer.contract().card;
    ensure!(
        matches!(card.output, Output::ColorLogits { .. }),
        "{} gives ab itself and has no bins: there are no decodes to compare",
        card.name
    );
    let mut painter = Painter::new(colorizer, LumaRange::Full);
    painter.set_saturation(1.0);
    Ok(painter)
}

/// Grey | each decode | the truth, where the picture has color. The network sees the picture once, from a zero state.
///
/// # Errors
/// If the model fails.
pub fn row(painter: &mut Painter, picture: &RgbImage, decodes: &[Decode]) -> anyhow::Result<Vec<Cell>> {
    let (width, height) = picture.dimensions();
    let luma = grey_luma(picture, width as usize, height as usize);
    let mut row = vec![Cell::new("grey", without_color(picture))];
    let mut painted = Picture { luma, ..Picture::default() };
    painter.reset();
    for &decode in decodes {
        painter.set_decode(decode);
        // Only the first steps the network; the others decode what it said then.
        painter.paint_into(&mut painted, Step::Hold).with_context(|| format!("color a picture of {width}x{height}"))?;
        let rgb = RgbImage::from_raw(width, height, painted.to_rgb(LumaRange::Full)).context("a picture has three bytes a pixel")?;
        row.push(Cell::new(caption(decode), rgb));
    }
    if is_colored(picture) {
        row.push(Cell::new("truth", picture.clone()));
    }
    Ok(row)
}
