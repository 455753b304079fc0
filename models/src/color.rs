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
/// Where the curve of Lab turns from a cube into its tangent.
pub const DELTA: f32 = 6.0 / 29.0;

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
    #[inline]
    pub fn to_unit(self, luma: u8) -> f32 {
        let (black, span) = self.black_and_span();
        ((f32::from(luma) - black) / span).clamp(0.0, 1.0)
    }

    /// The code of black, and how many codes white is above it.
    #[inline]
    pub fn black_and_span(self) -> (f32, f32) {
        match self {
            Self::Full => (0.0, 255.0),
            Self::Limited => (16.0, 219.0),
        }
    }
}

/// A camera's tone curve, undone before the network looks: what it calls black and white, and how it bends what is between.
///
/// The numbers are those of a levels dialog. `black` and `white` are codes, 0 to 255, after the range was expanded; what they say counts as
/// black and as white. `gamma` above 1 lightens what is between: the value, 0 to 1, is raised to `1 / gamma`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tone {
    /// The code that the camera gives for black.
    pub black: f32,
    /// The code that it gives for white; taken as at least one above `black`.
    pub white: f32,
    /// The exponent's inverse, 0.2 to 5.
    pub gamma: f32,
}

impl Default for Tone {
    /// The tone of a camera that needs no correction.
    fn default() -> Self {
        Self { black: 0.0, white: 255.0, gamma: 1.0 }
    }
}

impl Tone {
    /// The corrected value, 0 to 1, of a full-range gamma-coded one. Numbers that are no numbers count as those of the default.
    pub fn apply(self, unit: f32) -> f32 {
        let number = |value: f32, otherwise: f32| if value.is_finite() { value } else { otherwise };
        let tone = Self { black: number(self.black, 0.0), white: number(self.white, 255.0), gamma: number(self.gamma, 1.0) };
        if tone == Self::default() {
            return unit;
        }
        let span = (tone.white - tone.black).max(1.0);
        ((unit * 255.0 - tone.black) / span).clamp(0.0, 1.0).powf(tone.gamma.clamp(0.2, 5.0).recip())
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

/// A cube above [`DELTA`] and its tangent below: written as their sum, each held still on the other's side, it has no branch.
#[inline(always)]
fn lab_f_inverse(f: f32) -> f32 {
    let above = if f > DELTA { f } else { DELTA };
    let below = if f < DELTA { f } else { DELTA };
    above * above * above + (below - DELTA) * (3.0 * DELTA * DELTA)
}

/// Lab (L* 0 to 100, a* and b* about -108 to 98) of linear sRGB.
pub fn linear_srgb_to_lab(rgb: [f32; 3]) -> [f32; 3] {
    let f: [f32; 3] = std::array::from_fn(|row| {
        let [r, g, b] = RGB_TO_XYZ[row];
        lab_f((r * rgb[0] + g * rgb[1] + b * rgb[2]) / WHITE[row])
    });
    [116.0 * f[1] - 16.0, 500.0 * (f[0] - f[1]), 200.0 * (f[1] - f[2])]
}

/// a* and b* of gamma-coded sRGB, 0 to 1; what is outside is clipped.
pub(crate) fn srgb_to_ab(rgb: [f32; 3]) -> [f32; 2] {
    let [_, a, b] = linear_srgb_to_lab(rgb.map(|value| srgb_decode(value.clamp(0.0, 1.0))));
    [a, b]
}

/// Gamma-coded sRGB of a luma, 0 to 1, and the chroma U and V of Rec. 601, 0 to 1 with grey at 0.5 (ITU-T T.871, as JPEG has it). It may be
/// outside of 0 to 1.
pub(crate) fn uv_to_srgb(luma: f32, [u, v]: [f32; 2]) -> [f32; 3] {
    let (cb, cr) = (u - 0.5, v - 0.5);
    [luma + 1.402 * cr, luma - 0.344_136 * cb - 0.714_136 * cr, luma + 1.772 * cb]
}

/// The gamma-coded luma, 0 to 1, of a grey of lightness L*.
pub(crate) fn lightness_to_luma(lightness: f32) -> f32 {
    srgb_encode(lab_to_linear_srgb([lightness, 0.0, 0.0])[1])
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

/// [`lightness_table`] as the network sees a camera whose tone curve is undone.
pub fn seen_lightness_table(range: LumaRange, tone: Tone) -> [f32; 256] {
    std::array::from_fn(|luma| 116.0 * lab_f(srgb_decode(tone.apply(range.to_unit(luma as u8)))) - 16.0)
}

/// Full-range Rec. 601 luma, 0 to 255 and not rounded, of gamma-coded sRGB: what JPEG, analog grabbers and most webcams call Y.
pub fn luma(rgb: [u8; 3]) -> f32 {
    0.299 * f32::from(rgb[0]) + 0.587 * f32::from(rgb[1]) + 0.114 * f32::from(rgb[2])
}

/// The largest factor, at most 1, by which (cb, cr) can be scaled so that luma `y` with them stays inside the RGB cube.
///
/// All values are in units of the full scale (y 0 to 1, cb and cr about -0.5 to 0.5, Rec. 601). Scaling both keeps the hue and the luma.
///
/// Only two of the three channels can limit: the one that lies highest and the one that lies lowest.
#[inline(always)]
pub fn chroma_that_fits(y: f32, cb: f32, cr: f32) -> f32 {
    let (red, green, blue) = (1.402 * cr, -0.344_136 * cb - 0.714_136 * cr, 1.772 * cb);
    // Comparisons rather than `f32::min`, which looks out for NaN: each is one instruction.
    let smaller = |a: f32, b: f32| if a < b { a } else { b };
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    // Never 0, so that no division is.
    let above = larger(larger(larger(red, green), blue), f32::MIN_POSITIVE);
    let below = larger(-smaller(smaller(red, green), blue), f32::MIN_POSITIVE);
    let fit = smaller((1.0 - y) / above, 1.0);
    smaller(y / below, fit)
}

/// XYZ that is relative to the white, D65, to linear sRGB.
pub const RELATIVE_TO_RGB: [[f32; 3]; 3] = {
    let mut matrix = XYZ_TO_RGB;
    let mut row = 0;
    while row < 3 {
        matrix[row] = [matrix[row][0] * WHITE[0], matrix[row][1] * WHITE[1], matrix[row][2] * WHITE[2]];
        row += 1;
    }
    matrix
};

/// Linear sRGB to XYZ that is relative to the white, D65: the inverse of [`RELATIVE_TO_RGB`].
pub const RGB_TO_RELATIVE: [[f32; 3]; 3] = {
    let mut matrix = RGB_TO_XYZ;
    let mut row = 0;
    while row < 3 {
        let mut column = 0;
        while column < 3 {
            matrix[row][column] /= WHITE[row];
            column += 1;
        }
        row += 1;
    }
    matrix
};

/// Linear sRGB of a Lab color whose (L* + 16) / 116 is `f`, as [`lab_to_linear_srgb`].
#[inline(always)]
pub(crate) fn linear_srgb_of(f: f32, a: f32, b: f32) -> [f32; 3] {
    let x = lab_f_inverse(f + a * (1.0 / 500.0));
    let y = lab_f_inverse(f);
    let z = lab_f_inverse(f - b * (1.0 / 200.0));
    let [r, g, b] = RELATIVE_TO_RGB;
    [r[0] * x + r[1] * y + r[2] * z, g[0] * x + g[1] * y + g[2] * z, b[0] * x + b[1] * y + b[2] * z]
}

/// The Rec. 601 (cb, cr), in units of the full scale, of gamma-coded RGB.
#[inline(always)]
pub(crate) fn rgb_to_chroma([r, g, b]: [f32; 3]) -> (f32, f32) {
    let luma = 0.299 * r + 0.587 * g + 0.114 * b;
    ((b - luma) * (1.0 / 1.772), (r - luma) * (1.0 / 1.402))
}

/// [`srgb_encode`] within a twentieth of an 8-bit step: a square root, then the polynomial in it that comes nearest (Remez), where a power
/// would cost most of a frame's time.
#[inline(always)]
pub fn fast_srgb_encode(linear: f32) -> f32 {
    const NEAREST: [f32; 7] = [-0.042_231_95, 1.575_270_9, -1.899_476_4, 3.898_441_3, -5.003_168, 3.418_687, -0.947_671_54];
    let linear = linear.clamp(0.0, 1.0);
    let root = linear.sqrt();
    let [c0, c1, c2, c3, c4, c5, c6] = NEAREST;
    let square = root * root;
    let low = (c0 + c1 * root) + square * (c2 + c3 * root);
    let curve = low + square * square * ((c4 + c5 * root) + square * c6);
    if linear <= 0.003_130_8 { linear * 12.92 } else { curve }
}

/// The nearest of 0 to 255, halves rounded up. What a cast would do, in operations that every processor does for several values at once.
#[inline(always)]
pub(crate) fn nearest_code(value: f32) -> u8 {
    // Added to a small number, this leaves no bits for its fraction, and its whole part in the lowest ones.
    const ROUNDING: f32 = 8_388_608.0;
    let value = value.clamp(0.0, 255.0) + 0.5;
    let rounded = value + ROUNDING;
    let up = rounded - ROUNDING > value;
    rounded.to_bits().wrapping_sub(u32::from(up)) as u8
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
        // Found by walking over the surface of sRGB: a in [-86.2, 98.2], b in [-107.9, 94.5].
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
    fn the_fast_encoding_is_within_a_twentieth_of_an_8_bit_step() {
        for i in 0..=1_000_000 {
            let linear = i as f32 / 1_000_000.0;
            let (found, exact) = (fast_srgb_encode(linear), srgb_encode(linear));
            assert!((found - exact).abs() < 0.05 / 255.0, "{linear}: {found} for {exact}");
        }
        assert_eq!((fast_srgb_encode(-3.0), fast_srgb_encode(0.0)), (0.0, 0.0));
        assert!((fast_srgb_encode(7.0) - 1.0).abs() < 2e-4);
    }

    #[test]
    fn codes_are_rounded_as_a_cast_does() {
        let values = (-2000..140_000).map(|i| i as f32 / 500.0).chain([-1e30, 1e30, f32::INFINITY, 0.499_999_97, 254.499_98]);
        for value in values {
            assert_eq!(nearest_code(value), (value + 0.5) as u8, "{value}");
        }
    }

    #[test]
    fn a_tone_maps_the_cameras_black_and_white() {
        struct Case {
            tone: Tone,
            code: u8,
            seen: f32,
        }
        let levels = Tone { black: 32.0, white: 224.0, gamma: 1.0 };
        let cases = [
            (levels, 32, 0.0),
            (levels, 10, 0.0),
            (levels, 224, 1.0),
            (levels, 250, 1.0),
            (levels, 128, 0.5),
            (Tone { gamma: 2.0, ..Tone::default() }, 51, 0.2_f32.sqrt()),
            // Out of range: the nearest that is allowed.
            (Tone { gamma: 1e9, ..Tone::default() }, 51, 0.2_f32.powf(0.2)),
            (Tone { gamma: f32::NAN, ..Tone::default() }, 51, 0.2),
            (Tone { black: 100.0, white: 50.0, gamma: 1.0 }, 101, 1.0),
        ];
        for Case { tone, code, seen } in cases.map(|(tone, code, seen)| Case { tone, code, seen }) {
            let found = tone.apply(LumaRange::Full.to_unit(code));
            assert!((found - seen).abs() < 1e-5, "{tone:?} makes {found} of {code}");
        }
        for range in [LumaRange::Full, LumaRange::Limited] {
            assert_eq!(seen_lightness_table(range, Tone::default()), lightness_table(range));
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
}
