//! A colored picture, and its way to RGB.

use crate::color::{LumaRange, nearest_code};
use crate::planes::Plane;
use crate::vector::vectorized;

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

/// Pixels that are converted together.
const BLOCK: usize = 64;

impl Picture {
    /// 8-bit RGB, row-major, 3 bytes a pixel: full-range Rec. 601, with the luma's own range expanded first.
    pub fn to_rgb(&self, range: LumaRange) -> Vec<u8> {
        let mut rgb = Vec::new();
        self.to_rgb_into(range, &mut rgb);
        rgb
    }

    /// [`to_rgb`](Self::to_rgb) into `rgb`, whose content is replaced and whose memory is used again.
    ///
    /// # Panics
    /// If the chroma planes are smaller than the luma's.
    pub fn to_rgb_into(&self, range: LumaRange, rgb: &mut Vec<u8>) {
        let pixels = self.luma.data.len();
        rgb.resize(3 * pixels, 0);
        let mut block = [0_u32; BLOCK];
        let (cb, cr) = (&self.cb.data[..pixels], &self.cr.data[..pixels]);
        let planes = self.luma.data.chunks(BLOCK).zip(cb.chunks(BLOCK)).zip(cr.chunks(BLOCK));
        vectorized(
            #[inline(always)]
            || {
                for (rgb, ((luma, cb), cr)) in rgb.chunks_mut(3 * BLOCK).zip(planes) {
                    let block = &mut block[..luma.len()];
                    convert(range, luma, cb, cr, block);
                    for (rgb, &value) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(&*block) {
                        let [_, r, g, b] = value.to_be_bytes();
                        *rgb = [r, g, b];
                    }
                }
            },
        );
    }

    /// One word a pixel, 0x00RRGGBB in little-endian order (DRM's XRGB8888), rows `row_stride_pixels` words apart: for a screen's memory.
    ///
    /// The words between the picture's right edge and the next row stay as they are.
    ///
    /// # Panics
    /// If `row_stride_pixels` is less than the picture's width, `words` is too short for it, or the chroma planes are smaller than the luma's.
    pub fn to_xrgb_into(&self, range: LumaRange, row_stride_pixels: usize, words: &mut [u32]) {
        let Plane { width, height, .. } = self.luma;
        if width == 0 || height == 0 {
            return;
        }
        assert!(row_stride_pixels >= width, "rows of {width} pixels do not fit {row_stride_pixels} words");
        assert!(words.len() >= row_stride_pixels * (height - 1) + width, "{width}x{height} pixels do not fit {} words", words.len());
        vectorized(
            #[inline(always)]
            || {
                for (y, words) in words.chunks_mut(row_stride_pixels).take(height).enumerate() {
                    let words = &mut words[..width];
                    convert(range, self.luma.row(y), self.cb.row(y), self.cr.row(y), words);
                    if cfg!(target_endian = "big") {
                        words.iter_mut().for_each(|word| *word = word.to_le());
                    }
                }
            },
        );
    }
}

/// A row of 0x00RRGGBB.
#[inline(always)]
fn convert(range: LumaRange, luma: &[u8], cb: &[u8], cr: &[u8], out: &mut [u32]) {
    let (black, span) = range.black_and_span();
    let scale = 255.0 / span;
    let channel = |v: f32| u32::from(nearest_code(v));
    for (((out, &y), &cb), &cr) in out.iter_mut().zip(luma).zip(cb).zip(cr) {
        let y = ((f32::from(y) - black) * scale).clamp(0.0, 255.0);
        let (cb, cr) = (f32::from(cb) - 128.0, f32::from(cr) - 128.0);
        let [r, g, b] = [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(channel);
        *out = r << 16 | g << 8 | b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::color::chroma_that_fits;
    use crate::reference;

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

    /// Every luma with many chromas; the width is no multiple of a block.
    fn many_colors() -> Picture {
        let (width, height) = (257, 16 * 16);
        let plane = |of: fn(usize, usize) -> usize| {
            let values = (0..width * height).map(|i| of(i % width, i / width).min(255) as u8);
            Plane::from_vec(width, height, values.collect())
        };
        Picture { luma: plane(|x, _| x), cb: plane(|_, y| y % 16 * 17), cr: plane(|_, y| y / 16 * 17) }
    }

    #[test]
    fn rgb_is_what_the_plain_formula_says() {
        let picture = many_colors();
        let mut rgb = vec![7; 3];
        for range in [LumaRange::Full, LumaRange::Limited] {
            picture.to_rgb_into(range, &mut rgb);
            assert!(rgb == reference::to_rgb(&picture, range), "{range:?}");
        }
    }

    #[test]
    fn a_screens_rows_are_a_stride_apart() {
        let picture = many_colors();
        let Plane { width, height, .. } = picture.luma;
        let stride = width + 7;
        // The last row may end where its pixels end.
        let mut words = vec![0xABCD_u32; stride * (height - 1) + width];
        picture.to_xrgb_into(LumaRange::Full, stride, &mut words);
        let rgb = picture.to_rgb(LumaRange::Full);
        for (y, row) in words.chunks(stride).enumerate() {
            for (x, word) in row.iter().enumerate() {
                let expected = match rgb.get(3 * (y * width + x)..).filter(|_| x < width) {
                    Some(rgb) => [rgb[2], rgb[1], rgb[0], 0],
                    None => 0xABCD_u32.to_ne_bytes(),
                };
                assert_eq!(word.to_ne_bytes(), expected, "{x},{y}");
            }
        }
        Picture::default().to_xrgb_into(LumaRange::Full, 0, &mut []);
    }
}
