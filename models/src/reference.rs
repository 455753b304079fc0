//! The plain form of what [`Guide`](crate::guide), [`Composer`](crate::composer) and [`Picture`] do quickly: one pixel after another, by the
//! book, with exact powers. What they give is compared with this.

use crate::color::{LumaRange, Tone, lab_to_linear_srgb, lightness_table, seen_lightness_table, srgb_encode};
use crate::guide::{CONTRAST, RADIUS};
use crate::picture::Picture;
use crate::planes::{Chroma, Placement, Plane, cut_out, resample};

/// Slope and offset of a*, then of b*, at the placement's size.
pub(crate) fn lines(input: &Plane<f32>, placement: Placement, chroma: &Chroma) -> [Plane<f32>; 4] {
    let guide = cut_out(input, placement);
    let of = |f: &dyn Fn(usize) -> f32| Plane::from_vec(guide.width, guide.height, (0..guide.data.len()).map(f).collect());
    let light_mean = box_mean(&guide);
    let square_mean = box_mean(&of(&|i| guide.data[i] * guide.data[i]));
    let line = |channel: &Plane<f32>| {
        let channel = cut_out(&resample(channel, |v| v, (input.width, input.height)), placement);
        let product_mean = box_mean(&of(&|i| guide.data[i] * channel.data[i]));
        let channel_mean = box_mean(&channel);
        let slope = of(&|i| {
            let light = light_mean.data[i];
            let variance = (square_mean.data[i] - light * light).max(0.0);
            (product_mean.data[i] - light * channel_mean.data[i]) / (variance + CONTRAST * CONTRAST)
        });
        let offset = of(&|i| channel_mean.data[i] - slope.data[i] * light_mean.data[i]);
        [box_mean(&slope), box_mean(&offset)]
    };
    let ([slope_a, offset_a], [slope_b, offset_b]) = (line(&chroma.a), line(&chroma.b));
    [slope_a, offset_a, slope_b, offset_b]
}

/// The mean of the window around each value, of what lies inside, summed in double precision.
pub(crate) fn box_mean(plane: &Plane<f32>) -> Plane<f32> {
    let around = |at: usize, size: usize| at.saturating_sub(RADIUS)..(at + RADIUS + 1).min(size);
    let mut means = Plane::filled(plane.width, plane.height, 0.0);
    for y in 0..plane.height {
        for x in 0..plane.width {
            let (rows, columns) = (around(y, plane.height), around(x, plane.width));
            let count = (rows.len() * columns.len()) as f64;
            let sum: f64 = rows.flat_map(|r| &plane.row(r)[columns.clone()]).map(|&v| f64::from(v)).sum();
            means.row_mut(y)[x] = (sum / count) as f32;
        }
    }
    means
}

/// Fills the picture's chroma.
pub(crate) fn compose(lines: &[Plane<f32>; 4], range: LumaRange, tone: Tone, picture: &mut Picture) {
    let (width, height) = (picture.luma.width, picture.luma.height);
    let (seen, shown) = (seen_lightness_table(range, tone), lightness_table(range));
    picture.cb = Plane::filled(width, height, 128);
    picture.cr = Plane::filled(width, height, 128);
    for y in 0..height {
        let (top, bottom, down) = between(y, height, lines[0].height);
        for x in 0..width {
            let (left, right, across) = between(x, width, lines[0].width);
            let [slope_a, offset_a, slope_b, offset_b] = lines.each_ref().map(|line| {
                let mixed = |x: usize| line.row(top)[x] + (line.row(bottom)[x] - line.row(top)[x]) * down;
                mixed(left) + (mixed(right) - mixed(left)) * across
            });
            let code = picture.luma.row(y)[x];
            let guide = seen[usize::from(code)];
            let lab = [shown[usize::from(code)], slope_a * guide + offset_a, slope_b * guide + offset_b];
            let [r, g, b] = lab_to_linear_srgb(lab).map(srgb_encode);
            let luma = 0.299 * r + 0.587 * g + 0.114 * b;
            let (cb, cr) = ((b - luma) / 1.772, (r - luma) / 1.402);
            let fit = fit(range.to_unit(code), cb, cr);
            picture.cb.row_mut(y)[x] = (128.0 + 255.0 * cb * fit + 0.5) as u8;
            picture.cr.row_mut(y)[x] = (128.0 + 255.0 * cr * fit + 0.5) as u8;
        }
    }
}

/// As [`chroma_that_fits`](crate::color::chroma_that_fits), channel by channel.
fn fit(y: f32, cb: f32, cr: f32) -> f32 {
    let mut fit = 1.0_f32;
    for offset in [1.402 * cr, -0.344_136 * cb - 0.714_136 * cr, 1.772 * cb] {
        let room = if offset > 0.0 { 1.0 - y } else { y };
        if offset.abs() * fit > room {
            fit = room / offset.abs();
        }
    }
    fit.max(0.0)
}

/// The two positions of `inputs` around a position of `outputs`, and the second's share.
fn between(at: usize, outputs: usize, inputs: usize) -> (usize, usize, f32) {
    let position = ((at as f32 + 0.5) * inputs as f32 / outputs as f32 - 0.5).clamp(0.0, inputs as f32 - 1.0);
    let first = position as usize;
    (first, (first + 1).min(inputs - 1), position - first as f32)
}

/// 8-bit RGB of a picture.
pub(crate) fn to_rgb(picture: &Picture, range: LumaRange) -> Vec<u8> {
    let mut rgb = Vec::new();
    for ((&y, &cb), &cr) in picture.luma.data.iter().zip(&picture.cb.data).zip(&picture.cr.data) {
        let y = range.to_unit(y) * 255.0;
        let (cb, cr) = (f32::from(cb) - 128.0, f32::from(cr) - 128.0);
        let channels = [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb];
        rgb.extend(channels.map(|c| (c + 0.5) as u8));
    }
    rgb
}
