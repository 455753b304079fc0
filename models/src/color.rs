//! Luma, lightness, Lab and sRGB. Numbers in, numbers out: nothing here can fail.
//!
//! Constants are CIE Lab under D65 with the sRGB primaries as scikit-image and the colorization literature use them
//! (white 0.950456, 1, 1.088754). *Luma* Y' is what a camera gives (gamma-coded, 0 to 255); *lightness* L* is what the network eats (0 to 100).

use std::sync::LazyLock;

/// Linear sRGB to XYZ, D65 (rows X, Y, Z).
const RGB_TO_XYZ: [[f32; 3]; 3] = [[0.412_453, 0.357_580, 0.180_423], [0.212_671, 0.715_160, 0.072_169], [0.019_334, 0.119_193, 0.950_227]];
/// The inverse of [`RGB_TO_XYZ`].
const XYZ_TO_RGB: [[f32; 3]; 3] =
    [[3.240_481, -1.537_152, -0.498_536], [-0.969_255, 1.875_99, 0.041_556], [0.055_647, -0.204_041, 1.057_311]];
const WHITE: [f32; 3] = [0.950_456, 1.0, 1.088_754];
const DELTA: f32 = 6.0 / 29.0;

/// How luma codes map to light.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LumaRange {
    /// Codes 0 to 255, as JPEG and most UVC cameras give them.
    #[default]
    Full,
    /// Codes 16 to 235, as video standards and analog grabbers give them. Codes outside are clipped.
    Limited,
}

impl LumaRange {
    /// The full-range gamma-coded value, 0 to 1, of a luma code.
    pub fn to_unit(self, luma: u8) -> f32 {
        match self {
            Self::Full => f32::from(luma) / 255.0,
            Self::Limited => ((f32::from(luma) - 16.0) / 219.0).clamp(0.0, 1.0),
        }
    }
}

/// Decodes one gamma-coded sRGB value, 0 to 1, to linear light (IEC 61966-2-1).
pub fn srgb_decode(value: f32) -> f32 {
    if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

/// Encodes linear light, clamped to 0 to 1, as a gamma-coded sRGB value.
pub fn srgb_encode(linear: f32) -> f32 {
    let linear = linear.clamp(0.0, 1.0);
    if linear <= 0.003_130_8 { linear * 12.92 } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 }
}

/// Linear light, 0 to 1, of an 8-bit sRGB value.
pub fn srgb_to_linear(value: u8) -> f32 {
    static TABLE: LazyLock<[f32; 256]> = LazyLock::new(|| std::array::from_fn(|i| srgb_decode(i as f32 / 255.0)));
    TABLE[usize::from(value)]
}

fn lab_f(t: f32) -> f32 {
    if t > DELTA * DELTA * DELTA { t.cbrt() } else { t / (3.0 * DELTA * DELTA) + 4.0 / 29.0 }
}

fn lab_f_inverse(f: f32) -> f32 {
    if f > DELTA { f * f * f } else { 3.0 * DELTA * DELTA * (f - 4.0 / 29.0) }
}

/// Lab (L* 0 to 100, a* and b* about -108 to 98) of linear sRGB.
pub fn linear_srgb_to_lab(rgb: [f32; 3]) -> [f32; 3] {
    let f: [f32; 3] = std::array::from_fn(|row| {
        let [r, g, b] = RGB_TO_XYZ[row];
        lab_f((r * rgb[0] + g * rgb[1] + b * rgb[2]) / WHITE[row])
    });
    [116.0 * f[1] - 16.0, 500.0 * (f[0] - f[1]), 200.0 * (f[1] - f[2])]
}

/// Lab of an 8-bit sRGB color.
pub fn srgb_to_lab(rgb: [u8; 3]) -> [f32; 3] {
    linear_srgb_to_lab(rgb.map(srgb_to_linear))
}

/// Linear sRGB of a Lab color; values outside 0 to 1 are outside the sRGB gamut.
pub fn lab_to_linear_srgb(lab: [f32; 3]) -> [f32; 3] {
    let fy = (lab[0] + 16.0) / 116.0;
    let f = [fy + lab[1] / 500.0, fy, fy - lab[2] / 200.0];
    let xyz: [f32; 3] = std::array::from_fn(|i| lab_f_inverse(f[i]) * WHITE[i]);
    XYZ_TO_RGB.map(|[x, y, z]| x * xyz[0] + y * xyz[1] + z * xyz[2])
}

/// The nearest 8-bit sRGB color of a Lab color, each channel clipped to the gamut.
pub fn lab_to_srgb(lab: [f32; 3]) -> [u8; 3] {
    lab_to_linear_srgb(lab).map(|linear| (srgb_encode(linear) * 255.0).round() as u8)
}

/// L* of the grey that a luma code means: luma to full range to grey sRGB (v, v, v) to lightness.
///
/// Taking luma times 100 / 255 as L* is a known mistake: at half scale it is off by 3.4.
pub fn lightness(range: LumaRange, luma: u8) -> f32 {
    116.0 * lab_f(srgb_decode(range.to_unit(luma))) - 16.0
}

/// [`lightness`] of all 256 luma codes.
pub fn lightness_table(range: LumaRange) -> [f32; 256] {
    std::array::from_fn(|luma| lightness(range, luma as u8))
}

/// Full-range Rec. 601 luma, 0 to 255 and not rounded, of gamma-coded sRGB: what JPEG, analog grabbers and most webcams call Y.
pub fn luma(rgb: [u8; 3]) -> f32 {
    0.299 * f32::from(rgb[0]) + 0.587 * f32::from(rgb[1]) + 0.114 * f32::from(rgb[2])
}

/// The largest factor, at most 1, by which (cb, cr) can be scaled so that luma `y` with them stays inside the RGB cube.
///
/// All values are in units of the full scale (y 0 to 1, cb and cr about -0.5 to 0.5, Rec. 601). Scaling both keeps the hue and the luma.
pub fn chroma_that_fits(y: f32, cb: f32, cr: f32) -> f32 {
    let offsets = [1.402 * cr, -0.344_136 * cb - 0.714_136 * cr, 1.772 * cb];
    let mut fit = 1.0_f32;
    for offset in offsets {
        let room = if offset > 0.0 { 1.0 - y } else { y };
        if offset.abs() * fit > room {
            fit = room / offset.abs();
        }
    }
    fit.max(0.0)
}

/// From (L*, a*, b*) to the Rec. 601 (cb, cr), in units of the full scale, of that color clipped to the sRGB gamut.
///
/// `gamma` is a table from [`gamma_table`]; exact powers would cost most of a frame's time.
pub fn lab_to_chroma(lightness: f32, a: f32, b: f32, gamma: &GammaTable) -> (f32, f32) {
    let [r, g, b] = lab_to_linear_srgb([lightness, a, b]).map(|linear| gamma.encode(linear));
    let y = 0.299 * r + 0.587 * g + 0.114 * b;
    ((b - y) / 1.772, (r - y) / 1.402)
}

/// A table of [`srgb_encode`], indexed by the square root of the light so that dark values keep their precision.
#[derive(Debug)]
pub struct GammaTable(Vec<f32>);

/// Builds the [`GammaTable`]; its greatest error is below a quarter of an 8-bit step.
pub fn gamma_table() -> GammaTable {
    GammaTable((0..=1024).map(|i| srgb_encode((i as f32 / 1024.0).powi(2))).collect())
}

impl GammaTable {
    /// [`srgb_encode`] by linear interpolation.
    #[inline]
    pub fn encode(&self, linear: f32) -> f32 {
        let at = linear.clamp(0.0, 1.0).sqrt() * 1024.0;
        let index = (at as usize).min(1023);
        let part = at - index as f32;
        self.0[index] + (self.0[index + 1] - self.0[index]) * part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: [f32; 3], expected: [f32; 3], tolerance: f32) {
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() <= tolerance, "{found:?} is not {expected:?}");
        }
    }

    #[test]
    fn lab_agrees_with_scikit_image() {
        // skimage.color.rgb2lab 0.26 (D65, 2 degrees), printed to four decimals: an independent implementation of the same constants.
        struct Case {
            rgb: [u8; 3],
            lab: [f32; 3],
        }
        let cases = LAB_REFERENCE.map(|(rgb, lab)| Case { rgb, lab });
        for Case { rgb, lab } in cases {
            // Its white point is (.95047, 1, 1.08883): its own greys stand up to .005 beside zero.
            close(srgb_to_lab(rgb), lab, 6e-3);
        }
    }

    include!("color_reference.rs");

    #[test]
    fn every_srgb_color_survives_the_way_to_lab_and_back() {
        for r in (0..=255).step_by(15) {
            for g in (0..=255).step_by(15) {
                for b in (0..=255).step_by(15) {
                    let rgb = [r as u8, g as u8, b as u8];
                    assert_eq!(lab_to_srgb(srgb_to_lab(rgb)), rgb);
                }
            }
        }
    }

    #[test]
    fn the_gamut_has_its_published_extent() {
        let (mut low, mut high) = ([f32::MAX; 2], [f32::MIN; 2]);
        for r in (0..=255).step_by(5) {
            for g in (0..=255).step_by(5) {
                for b in (0..=255).step_by(5) {
                    let [_, a, b] = srgb_to_lab([r as u8, g as u8, b as u8]);
                    low = [low[0].min(a), low[1].min(b)];
                    high = [high[0].max(a), high[1].max(b)];
                }
            }
        }
        // Facts: a in [-86.2, 98.2], b in [-107.9, 94.5].
        close([low[0], high[0], low[1]], [-86.2, 98.2, -107.9], 0.1);
        assert!((high[1] - 94.5).abs() < 0.1);
    }

    #[test]
    fn half_luma_is_not_half_lightness() {
        let middle = 116.0 * lab_f(srgb_decode(0.5)) - 16.0;
        assert!((middle - 53.39).abs() < 0.01, "{middle}");
        assert_eq!(lightness(LumaRange::Full, 0), 0.0);
        assert!((lightness(LumaRange::Full, 255) - 100.0).abs() < 1e-4);
    }

    #[test]
    fn limited_range_reaches_black_and_white_at_16_and_235() {
        assert_eq!(lightness(LumaRange::Limited, 16), lightness(LumaRange::Full, 0));
        assert_eq!(lightness(LumaRange::Limited, 235), lightness(LumaRange::Full, 255));
        assert_eq!(lightness(LumaRange::Limited, 3), lightness(LumaRange::Limited, 16));
    }

    #[test]
    fn the_gamma_table_is_within_a_quarter_of_an_8_bit_step() {
        let table = gamma_table();
        for i in 0..=100_000 {
            let linear = i as f32 / 100_000.0;
            assert!((table.encode(linear) - srgb_encode(linear)).abs() < 0.25 / 255.0, "{linear}");
        }
    }

    #[test]
    fn chroma_that_fits_touches_the_cube_and_never_leaves_it() {
        for y in [0.0, 0.1, 0.5, 0.9, 1.0] {
            for (cb, cr) in [(0.4, -0.3), (-0.5, 0.5), (0.0, 0.2), (0.0, 0.0)] {
                let fit = chroma_that_fits(y, cb, cr);
                let (cb, cr) = (cb * fit, cr * fit);
                for channel in [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb] {
                    assert!((-1e-6..=1.000_001).contains(&channel));
                }
            }
        }
        assert_eq!(chroma_that_fits(0.5, 0.1, 0.1), 1.0);
    }

    #[test]
    fn gray_has_no_chroma() {
        let gamma = gamma_table();
        for luma in 0..=255 {
            let (cb, cr) = lab_to_chroma(lightness(LumaRange::Full, luma), 0.0, 0.0, &gamma);
            assert!(cb.abs() < 0.002 && cr.abs() < 0.002, "luma {luma}: {cb} {cr}");
        }
    }
}
