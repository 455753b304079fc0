//! A camera's luma plane in, the same plane with chroma out: everything between a frame and a picture, the network included.

use crate::bins::Decode;
use crate::color::{GammaTable, LumaRange, chroma_that_fits, gamma_table, lab_to_chroma, lightness_table};
use crate::colorizer::{Colorizer, ModelError};
use crate::planes::{Chroma, Placement, Plane, Resampler, cut_out, mirror_outside, resample};

/// How far, in model input pixels, the luma guides the chroma.
const GUIDE_RADIUS: usize = 4;
/// The lightness contrast below which chroma is smoothed rather than cut along an edge, in L* (0 to 100).
const GUIDE_CONTRAST: f32 = 4.0;

/// Colors the frames of one feed: fits each into the model, steps the network, and grows the chroma along the luma's edges.
#[derive(Debug)]
pub struct Painter {
    colorizer: Colorizer,
    range: LumaRange,
    lightness: [f32; 256],
    gamma: GammaTable,
    /// What depends on the frame's size; made at the first frame and whenever the size changes.
    fitted: Option<Fitted>,
}

#[derive(Debug)]
struct Fitted {
    placement: Placement,
    shrink: Resampler,
    input: Plane<f32>,
}

/// A full-size picture: luma as the camera gave it, and the chroma that goes with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    /// The camera's luma, untouched.
    pub luma: Plane<u8>,
    /// Rec. 601 Cb, full range, 128 = neutral.
    pub cb: Plane<u8>,
    /// Rec. 601 Cr, full range, 128 = neutral.
    pub cr: Plane<u8>,
}

impl Painter {
    /// A painter of a feed whose luma codes mean `range`.
    pub fn new(colorizer: Colorizer, range: LumaRange) -> Self {
        Self { colorizer, range, lightness: lightness_table(range), gamma: gamma_table(), fitted: None }
    }

    /// The model.
    pub fn colorizer(&self) -> &Colorizer {
        &self.colorizer
    }

    /// How logits become colors from the next frame on.
    pub fn set_decode(&mut self, decode: Decode) {
        self.colorizer.set_decode(decode);
    }

    /// The factor on the chroma from the next frame on; 0 gives grey.
    pub fn set_saturation(&mut self, saturation: f32) {
        self.colorizer.set_saturation(saturation);
    }

    /// Forgets the frames so far: after a cut or a gap.
    pub fn reset(&mut self) {
        self.colorizer.reset();
    }

    /// Colors one frame and advances the recurrent state: [`observe`](Self::observe), then the picture.
    ///
    /// # Errors
    /// [`ModelError::Run`] if the runtime fails.
    ///
    /// # Panics
    /// If the plane is empty.
    pub fn paint(&mut self, luma: Plane<u8>) -> Result<Picture, ModelError> {
        self.observe(&luma)?;
        Ok(self.compose(luma))
    }

    /// Fits one frame into the model's input and steps the network. A frame of another size than the last one's resets the state first.
    ///
    /// # Errors
    /// [`ModelError::Run`] if the runtime fails.
    ///
    /// # Panics
    /// If the plane is empty.
    pub fn observe(&mut self, luma: &Plane<u8>) -> Result<(), ModelError> {
        let contract = self.colorizer.contract();
        let size = (luma.width, luma.height);
        let model_size = (contract.width, contract.height);
        if self.fitted.as_ref().is_none_or(|fitted| fitted.shrink.from_size() != size) {
            let placement = Placement::fit(size, model_size);
            self.fitted = Some(Fitted {
                placement,
                shrink: Resampler::new(size, (placement.width, placement.height)),
                input: Plane::filled(model_size.0, model_size.1, 0.0),
            });
            self.colorizer.reset();
        }
        let fitted = self.fitted.as_mut().expect("made just above");
        let table = &self.lightness;
        let Placement { x, y, .. } = fitted.placement;
        fitted.shrink.resample_into(luma, |code| table[usize::from(code)], &mut fitted.input, (x, y));
        mirror_outside(&mut fitted.input, fitted.placement);
        self.colorizer.advance(&fitted.input)
    }

    /// The full-size ab of the frame that was observed last, decoded with the present settings; for evaluation.
    ///
    /// # Panics
    /// If no frame was observed, or `luma` is of another size.
    pub fn chroma(&self, luma: &Plane<u8>) -> Chroma {
        let size = (luma.width, luma.height);
        let [slope_a, offset_a, slope_b, offset_b] = self.guide_chroma().map(|plane| resample(&plane, |v| v, size));
        let grown = |slope: &Plane<f32>, offset: &Plane<f32>| {
            let values = slope.data.iter().zip(&offset.data).zip(&luma.data);
            Plane::from_vec(size.0, size.1, values.map(|((s, o), &y)| s * self.lightness[usize::from(y)] + o).collect())
        };
        Chroma { a: grown(&slope_a, &offset_a), b: grown(&slope_b, &offset_b) }
    }

    /// The guided filter (He et al. 2010): in every window ab is a linear function of lightness, so that color stops where luma does.
    ///
    /// Returns slope and offset of a*, then of b*, at the resolution that the network saw the frame at.
    fn guide_chroma(&self) -> [Plane<f32>; 4] {
        let fitted = self.fitted.as_ref().expect("a frame was observed");
        let guide = &cut_out(&fitted.input, fitted.placement);
        let small = self.colorizer.decode_last();
        let contract = self.colorizer.contract();
        let grow = |plane: &Plane<f32>| cut_out(&resample(plane, |v| v, (contract.width, contract.height)), fitted.placement);
        let mut mean = BoxMean::default();
        let square = Plane::from_vec(guide.width, guide.height, guide.data.iter().map(|v| v * v).collect());
        let guide_mean = mean.of(guide, GUIDE_RADIUS);
        let square_mean = mean.of(&square, GUIDE_RADIUS);
        let mut lines = |channel: &Plane<f32>| {
            let channel = grow(channel);
            let product = Plane::from_vec(guide.width, guide.height, guide.data.iter().zip(&channel.data).map(|(g, c)| g * c).collect());
            let product_mean = mean.of(&product, GUIDE_RADIUS);
            let channel_mean = mean.of(&channel, GUIDE_RADIUS);
            let mut slope = Plane::filled(guide.width, guide.height, 0.0);
            let mut offset = slope.clone();
            for i in 0..slope.data.len() {
                let g = guide_mean.data[i];
                let variance = (square_mean.data[i] - g * g).max(0.0);
                let covariance = product_mean.data[i] - g * channel_mean.data[i];
                slope.data[i] = covariance / (variance + GUIDE_CONTRAST * GUIDE_CONTRAST);
                offset.data[i] = channel_mean.data[i] - slope.data[i] * g;
            }
            [mean.of(&slope, GUIDE_RADIUS), mean.of(&offset, GUIDE_RADIUS)]
        };
        let [aa, ab] = lines(&small.a);
        let [ba, bb] = lines(&small.b);
        [aa, ab, ba, bb]
    }

    /// Puts the chroma beside the frame's own luma, scaled down where the color would leave the RGB cube.
    fn compose(&self, luma: Plane<u8>) -> Picture {
        let coefficients = self.guide_chroma();
        let (width, height) = (luma.width, luma.height);
        let mut picture = Picture { cb: Plane::filled(width, height, 128), cr: Plane::filled(width, height, 128), luma };
        let columns: Vec<Between> = (0..width).map(|x| Between::new(x, width, coefficients[0].width)).collect();
        let mut rows = [const { Vec::new() }; 4];
        let mut unit = [0.0_f32; 256];
        (0..=255_u8).for_each(|code| unit[usize::from(code)] = self.range.to_unit(code));
        for y in 0..height {
            let row = Between::new(y, height, coefficients[0].height);
            for (row_values, plane) in rows.iter_mut().zip(&coefficients) {
                let (upper, lower) = (plane.row(row.first), plane.row(row.second));
                row_values.clear();
                row_values.extend(upper.iter().zip(lower).map(|(u, l)| u + (l - u) * row.part));
            }
            let luma_row = picture.luma.row(y);
            let (cb_row, cr_row) = (picture.cb.row_mut(y), picture.cr.row_mut(y));
            for x in 0..width {
                let at = &columns[x];
                let [slope_a, offset_a, slope_b, offset_b] = [0, 1, 2, 3].map(|i: usize| {
                    let row: &Vec<f32> = &rows[i];
                    row[at.first] + (row[at.second] - row[at.first]) * at.part
                });
                let code = usize::from(luma_row[x]);
                let lightness = self.lightness[code];
                let (a, b) = (slope_a * lightness + offset_a, slope_b * lightness + offset_b);
                let (cb, cr) = lab_to_chroma(lightness, a, b, &self.gamma);
                let fit = chroma_that_fits(unit[code], cb, cr);
                cb_row[x] = (128.0 + 255.0 * cb * fit + 0.5) as u8;
                cr_row[x] = (128.0 + 255.0 * cr * fit + 0.5) as u8;
            }
        }
        picture
    }
}

/// Where an output position lies between two input positions.
#[derive(Clone, Copy, Debug)]
struct Between {
    first: usize,
    second: usize,
    part: f32,
}

impl Between {
    fn new(at: usize, outputs: usize, inputs: usize) -> Self {
        let position = ((at as f32 + 0.5) * inputs as f32 / outputs as f32 - 0.5).clamp(0.0, inputs as f32 - 1.0);
        let first = position as usize;
        Self { first, second: (first + 1).min(inputs - 1), part: position - first as f32 }
    }
}

/// Means over square windows in time independent of the radius.
#[derive(Debug, Default)]
struct BoxMean {
    across: Vec<f32>,
    sums: Vec<f32>,
}

impl BoxMean {
    /// The mean of the (2 `radius` + 1)² window around each value; at the borders, of what lies inside.
    fn of(&mut self, plane: &Plane<f32>, radius: usize) -> Plane<f32> {
        let (width, height) = (plane.width, plane.height);
        self.across.clear();
        for y in 0..height {
            let row = plane.row(y);
            let mut sum: f32 = row.iter().take(radius).sum();
            for x in 0..width {
                if x + radius < width {
                    sum += row[x + radius];
                }
                if x > radius {
                    sum -= row[x - radius - 1];
                }
                let count = (x + radius).min(width - 1) + 1 - x.saturating_sub(radius);
                self.across.push(sum / count as f32);
            }
        }
        let mut out = Plane::filled(width, height, 0.0);
        self.sums.clear();
        self.sums.resize(width, 0.0);
        let add = |sums: &mut Vec<f32>, row: &[f32], sign: f32| sums.iter_mut().zip(row).for_each(|(s, v)| *s += sign * v);
        for y in 0..radius.min(height) {
            add(&mut self.sums, &self.across[y * width..][..width], 1.0);
        }
        for y in 0..height {
            if y + radius < height {
                add(&mut self.sums, &self.across[(y + radius) * width..][..width], 1.0);
            }
            if y > radius {
                add(&mut self.sums, &self.across[(y - radius - 1) * width..][..width], -1.0);
            }
            let count = (y + radius).min(height - 1) + 1 - y.saturating_sub(radius);
            let scale = 1.0 / count as f32;
            out.row_mut(y).iter_mut().zip(&self.sums).for_each(|(o, s)| *o = s * scale);
        }
        out
    }
}

impl Picture {
    /// 8-bit RGB, row-major, 3 bytes a pixel: full-range Rec. 601, with the luma's own range expanded first.
    pub fn to_rgb(&self, range: LumaRange) -> Vec<u8> {
        let mut rgb = Vec::with_capacity(self.luma.data.len() * 3);
        for ((&y, &cb), &cr) in self.luma.data.iter().zip(&self.cb.data).zip(&self.cr.data) {
            let y = range.to_unit(y) * 255.0;
            let (cb, cr) = (f32::from(cb) - 128.0, f32::from(cr) - 128.0);
            let channels = [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb];
            rgb.extend(channels.map(|c| (c + 0.5) as u8));
        }
        rgb
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_box_mean_is_the_mean_of_the_window() {
        let plane = Plane::from_vec(5, 4, (0..20).map(|v| (v * v % 17) as f32).collect());
        for radius in [0, 1, 2, 7] {
            let fast = BoxMean::default().of(&plane, radius);
            for y in 0..4_usize {
                for x in 0..5_usize {
                    let rows = y.saturating_sub(radius)..=(y + radius).min(3);
                    let values: Vec<f32> = rows
                        .flat_map(|r| (x.saturating_sub(radius)..=(x + radius).min(4)).map(move |c| (r, c)))
                        .map(|(r, c)| plane.row(r)[c])
                        .collect();
                    let mean = values.iter().sum::<f32>() / values.len() as f32;
                    assert!((fast.row(y)[x] - mean).abs() < 1e-4, "radius {radius} at {x},{y}");
                }
            }
        }
    }

    #[test]
    fn rgb_keeps_the_luma() {
        let luma = Plane::from_vec(16, 16, (0..=255).collect());
        let mut picture = Picture { cb: Plane::filled(16, 16, 128), cr: Plane::filled(16, 16, 128), luma };
        for i in 0..256 {
            let y = f32::from(picture.luma.data[i]) / 255.0;
            let (cb, cr) = (0.3_f32, -0.2);
            let fit = chroma_that_fits(y, cb, cr);
            picture.cb.data[i] = (128.0 + 255.0 * cb * fit + 0.5) as u8;
            picture.cr.data[i] = (128.0 + 255.0 * cr * fit + 0.5) as u8;
        }
        for (rgb, &y) in picture.to_rgb(LumaRange::Full).chunks_exact(3).zip(&picture.luma.data) {
            let found = crate::color::luma([rgb[0], rgb[1], rgb[2]]);
            // Half a step of rounding a channel, and up to one where rounding the chroma pushed a channel over the cube's edge.
            assert!((found - f32::from(y)).abs() <= 1.5, "{rgb:?} for luma {y}");
        }
    }
}
