//! What an imperfect grey camera makes of the scene: spectral response, lens, exposure, sensor noise, tone curve and range mistakes.
//!
//! Only the net's input passes through here; the color target comes from the undegraded picture. An item keeps its camera for all its
//! frames, so that a recurrent net can learn to know it; only noise and flicker change from frame to frame.

use std::f32::consts::TAU;
use std::sync::LazyLock;

use autochrome_model::color::{LumaRange, lightness_table, srgb_encode, srgb_to_linear};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::still_camera::{log_uniform, uniform};

/// How often and how strongly the camera errs. Shares are probabilities from 0 to 1 per item; levels are of 255.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DegradeConfig {
    /// Cameras that give the standard luma, .299 R + .587 G + .114 B of the gamma-coded picture (Rec. 601).
    pub standard_luma_share: f32,
    /// Other cameras weigh linear light by the standard weights, each times exp of a normal number with this deviation.
    pub spectral_spread: f32,
    /// Of the other cameras: orthochromatic, almost blind to red.
    pub orthochromatic_share: f32,
    /// Of the other cameras: mostly red, as without an infrared filter under warm light.
    pub red_heavy_share: f32,
    /// Cameras out of focus.
    pub blur_share: f32,
    /// Largest deviation of the Gaussian blur, output pixels.
    pub blur_px_max: f32,
    /// Cameras with a wrong gamma.
    pub gamma_share: f32,
    /// Smallest exponent of the coded luma (brightens).
    pub gamma_min: f32,
    /// Largest exponent (darkens).
    pub gamma_max: f32,
    /// Cameras with wrong black and white levels: crushed and clipped, or faded.
    pub levels_share: f32,
    /// Black and white are off by at most this many levels.
    pub levels_max: f32,
    /// Items whose exposure changes on the way.
    pub ramp_share: f32,
    /// Largest change of light over the item, in stops (factors of two).
    pub ramp_stops_max: f32,
    /// Items under flickering light.
    pub flicker_share: f32,
    /// Weakest flicker: amplitude as a share of the light.
    pub flicker_min: f32,
    /// Strongest flicker.
    pub flicker_max: f32,
    /// Lenses that darken the corners.
    pub vignette_share: f32,
    /// Largest loss of light in the corners.
    pub vignette_max: f32,
    /// Limited-range luma (16 to 235) that is taken for full range: grey blacks, no whites.
    pub limited_as_full_share: f32,
    /// Full-range luma that is taken for limited: crushed blacks and whites.
    pub full_as_limited_share: f32,
    /// Sensors with noise.
    pub noise_share: f32,
    /// Largest deviation of the noise in bright parts, levels. Small values are drawn more often than large ones.
    pub noise_max: f32,
    /// Sensors with a fixed pattern of columns.
    pub columns_share: f32,
    /// Largest deviation of the column pattern, levels.
    pub columns_max: f32,
}

impl Default for DegradeConfig {
    fn default() -> Self {
        Self {
            standard_luma_share: 0.7,
            spectral_spread: 0.4,
            orthochromatic_share: 0.15,
            red_heavy_share: 0.15,
            blur_share: 0.5,
            blur_px_max: 1.5,
            gamma_share: 0.5,
            gamma_min: 0.7,
            gamma_max: 1.5,
            levels_share: 0.3,
            levels_max: 25.0,
            ramp_share: 0.15,
            ramp_stops_max: 0.7,
            flicker_share: 0.25,
            flicker_min: 0.01,
            flicker_max: 0.03,
            vignette_share: 0.3,
            vignette_max: 0.4,
            limited_as_full_share: 0.05,
            full_as_limited_share: 0.05,
            noise_share: 0.7,
            noise_max: 12.0,
            columns_share: 0.1,
            columns_max: 3.0,
        }
    }
}

impl DegradeConfig {
    /// A perfect camera: standard luma, quantized to 8 bits, nothing else.
    pub fn off() -> Self {
        Self {
            standard_luma_share: 1.0,
            blur_share: 0.0,
            gamma_share: 0.0,
            levels_share: 0.0,
            ramp_share: 0.0,
            flicker_share: 0.0,
            vignette_share: 0.0,
            limited_as_full_share: 0.0,
            full_as_limited_share: 0.0,
            noise_share: 0.0,
            columns_share: 0.0,
            ..Self::default()
        }
    }

    /// What is wrong with the values, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        let limits = [
            ("standard_luma_share", self.standard_luma_share, 0.0, 1.0),
            ("spectral_spread", self.spectral_spread, 0.0, 3.0),
            ("orthochromatic_share", self.orthochromatic_share, 0.0, 1.0),
            ("red_heavy_share", self.red_heavy_share, 0.0, 1.0 - self.orthochromatic_share),
            ("blur_share", self.blur_share, 0.0, 1.0),
            ("blur_px_max", self.blur_px_max, 0.0, 4.0),
            ("gamma_share", self.gamma_share, 0.0, 1.0),
            ("gamma_min", self.gamma_min, 0.1, self.gamma_max),
            ("gamma_max", self.gamma_max, self.gamma_min, 10.0),
            ("levels_share", self.levels_share, 0.0, 1.0),
            ("levels_max", self.levels_max, 0.0, 100.0),
            ("ramp_share", self.ramp_share, 0.0, 1.0),
            ("ramp_stops_max", self.ramp_stops_max, 0.0, 5.0),
            ("flicker_share", self.flicker_share, 0.0, 1.0),
            ("flicker_min", self.flicker_min, 0.0, self.flicker_max),
            ("flicker_max", self.flicker_max, self.flicker_min, 1.0),
            ("vignette_share", self.vignette_share, 0.0, 1.0),
            ("vignette_max", self.vignette_max, 0.0, 1.0),
            ("limited_as_full_share", self.limited_as_full_share, 0.0, 1.0),
            ("full_as_limited_share", self.full_as_limited_share, 0.0, 1.0 - self.limited_as_full_share),
            ("noise_share", self.noise_share, 0.0, 1.0),
            ("noise_max", self.noise_max, 0.0, 100.0),
            ("columns_share", self.columns_share, 0.0, 1.0),
            ("columns_max", self.columns_max, 0.0, 100.0),
        ];
        limits
            .iter()
            .find(|&&(_, value, low, high)| !(low..=high).contains(&value))
            .map(|(name, value, low, high)| format!("degrade.{name} is {value}; it must be between {low} and {high}"))
    }
}

/// Rec. 601, as cameras and JPEG use it.
const STANDARD: [f32; 3] = [0.299, 0.587, 0.114];

/// Positions of the tone curve per level: a quarter of a level is well below the quantization that follows.
const TONE_STEPS: usize = 4;

/// One item's camera, drawn once and applied to each frame.
#[derive(Debug, Clone)]
pub struct ItemDegradation {
    /// Weights of linear R, G, B that sum to 1; none is the standard luma.
    spectral: Option<[f32; 3]>,
    /// Half of a symmetric kernel that sums to 1, the middle first; empty without blur.
    blur: Vec<f32>,
    /// Loss of coded luma in the corners, 0 to 1.
    vignette: f32,
    ramp: Option<Ramp>,
    flicker: Option<Flicker>,
    /// Deviation of the noise at black, levels.
    read_noise: f32,
    /// Deviation that is added (in squares) at white, levels.
    shot_noise: f32,
    /// Offset of every column, levels; empty without the pattern.
    columns: Vec<f32>,
    /// Scaled lightness of the quantized luma, by luma in steps of 1/[`TONE_STEPS`].
    tone: Vec<f32>,
}

/// A change of exposure, in stops, along the item.
#[derive(Debug, Clone, Copy)]
struct Ramp {
    from: f32,
    to: f32,
    /// First and last frame of the change.
    begin: f32,
    end: f32,
}

/// Light that swings with a mains frequency that the frame rate folds, plus a random part.
#[derive(Debug, Clone, Copy)]
struct Flicker {
    amplitude: f32,
    per_frame: f32,
    phase: f32,
}

/// Planes that are used again for each frame.
#[derive(Debug, Default)]
pub struct Scratch {
    luma: Vec<f32>,
    blurred: Vec<f32>,
    random: Vec<u8>,
}

impl ItemDegradation {
    /// Draws a camera for an item of `frames` frames of `width` columns.
    pub fn sample(config: &DegradeConfig, width: usize, frames: usize, rng: &mut impl Rng) -> Self {
        let spectral = (!chance(config.standard_luma_share, rng)).then(|| spectral_weights(config, rng));
        let blur = if chance(config.blur_share, rng) { kernel(uniform(0.0, config.blur_px_max, rng)) } else { Vec::new() };
        let vignette = if chance(config.vignette_share, rng) {
            // Light is lost, coded values are dimmed: exponent 1/2.2.
            1.0 - (1.0 - uniform(0.0, config.vignette_max, rng)).powf(1.0 / 2.2)
        } else {
            0.0
        };
        let ramp = chance(config.ramp_share, rng).then(|| {
            let stops = uniform(-config.ramp_stops_max, config.ramp_stops_max, rng);
            let length = frames as f32;
            let begin = uniform(0.0, 0.7, rng) * length;
            // From a lamp switched on (one frame) to dusk (the whole rest).
            let end = begin + (uniform(0.0, 1.0, rng) * (length - begin)).max(1.0);
            // A darker or brighter scene must not always come last.
            if rng.random() { Ramp { from: 0.0, to: stops, begin, end } } else { Ramp { from: stops, to: 0.0, begin, end } }
        });
        let flicker = chance(config.flicker_share, rng).then(|| Flicker {
            amplitude: uniform(config.flicker_min, config.flicker_max, rng),
            per_frame: uniform(0.0, TAU / 2.0, rng),
            phase: uniform(0.0, TAU, rng),
        });
        let (mut read_noise, mut shot_noise) = (0.0, 0.0);
        if chance(config.noise_share, rng) {
            // Squared: most cameras are nearly clean, few are terrible.
            let deviation = config.noise_max * rng.random::<f32>().powi(2);
            let read_part = rng.random::<f32>();
            read_noise = deviation * read_part.sqrt();
            shot_noise = deviation * (1.0 - read_part).sqrt();
        }
        let columns = if chance(config.columns_share, rng) {
            let deviation = uniform(0.0, config.columns_max, rng);
            (0..width).map(|_| deviation * normal(rng)).collect()
        } else {
            Vec::new()
        };
        let tone = tone_curve(config, rng);
        Self { spectral, blur, vignette, ramp, flicker, read_noise, shot_noise, columns, tone }
    }

    /// Films one frame: `rgb` is tight gamma-coded RGB of `width` columns, `lightness` receives (L*-50)/100 of the camera's 8-bit luma.
    ///
    /// `frame` counts from the item's start; `rng` gives this frame's noise and flicker.
    ///
    /// # Panics
    /// When the planes do not fit together, or `width` is not the one the camera was drawn for.
    pub fn apply(&self, rgb: &[u8], width: usize, frame: usize, rng: &mut impl Rng, scratch: &mut Scratch, lightness: &mut [f32]) {
        let pixels = lightness.len();
        assert!(rgb.len() == pixels * 3 && pixels.is_multiple_of(width), "the planes have one size");
        assert!(self.columns.is_empty() || self.columns.len() == width, "the camera has this width");
        scratch.luma.resize(pixels, 0.0);
        match self.spectral {
            None => {
                for (luma, pixel) in scratch.luma.iter_mut().zip(rgb.chunks_exact(3)) {
                    *luma = STANDARD[0] * f32::from(pixel[0]) + STANDARD[1] * f32::from(pixel[1]) + STANDARD[2] * f32::from(pixel[2]);
                }
            }
            Some(weights) => {
                let mix = SpectralTables::new(weights);
                for (luma, pixel) in scratch.luma.iter_mut().zip(rgb.chunks_exact(3)) {
                    *luma = mix.luma(pixel);
                }
            }
        }
        if !self.blur.is_empty() {
            blur(&mut scratch.luma, &mut scratch.blurred, width, &self.blur);
        }
        let exposure = self.exposure(frame, rng);
        if exposure != 1.0 || self.vignette > 0.0 {
            self.expose(&mut scratch.luma, width, exposure);
        }
        if self.read_noise > 0.0 || self.shot_noise > 0.0 {
            self.add_noise(&mut scratch.luma, &mut scratch.random, rng);
        }
        if !self.columns.is_empty() {
            for row in scratch.luma.chunks_exact_mut(width) {
                for (luma, offset) in row.iter_mut().zip(&self.columns) {
                    *luma += offset;
                }
            }
        }
        let tone = self.tone.as_slice();
        for (out, &luma) in lightness.iter_mut().zip(&scratch.luma) {
            // The conversion clips at 0 below, as black does.
            let index = (luma * TONE_STEPS as f32 + 0.5) as usize;
            *out = tone[index.min(tone.len() - 1)];
        }
    }

    /// Factor on the coded luma.
    fn exposure(&self, frame: usize, rng: &mut impl Rng) -> f32 {
        let mut light = 1.0;
        if let Some(ramp) = self.ramp {
            let part = ((frame as f32 - ramp.begin) / (ramp.end - ramp.begin)).clamp(0.0, 1.0);
            light *= (ramp.from + (ramp.to - ramp.from) * part).exp2();
        }
        if let Some(flicker) = self.flicker {
            let swing = (flicker.per_frame * frame as f32 + flicker.phase).sin();
            light *= 1.0 + flicker.amplitude * (0.7 * swing + 0.3 * uniform(-1.0, 1.0, rng));
        }
        if light == 1.0 { 1.0 } else { light.powf(1.0 / 2.2) }
    }

    fn expose(&self, luma: &mut [f32], width: usize, exposure: f32) {
        let height = luma.len() / width;
        // 1 in the corners, 0 in the middle.
        let (middle_x, middle_y) = (width as f32 / 2.0, height as f32 / 2.0);
        let scale = 1.0 / (middle_x * middle_x + middle_y * middle_y);
        for (y, row) in luma.chunks_exact_mut(width).enumerate() {
            let dy = y as f32 + 0.5 - middle_y;
            for (x, luma) in row.iter_mut().enumerate() {
                let dx = x as f32 + 0.5 - middle_x;
                *luma *= exposure * (1.0 - self.vignette * scale * (dx * dx + dy * dy));
            }
        }
    }

    fn add_noise(&self, luma: &mut [f32], random: &mut Vec<u8>, rng: &mut impl Rng) {
        // The sum of four bytes is close enough to normal (it ends at 3.4 deviations) and needs no logarithm.
        random.resize(luma.len() * 4, 0);
        rng.fill_bytes(random);
        // Each byte has variance (256² - 1) / 12.
        let unit = 1.0 / (4.0 * 65_535.0f32 / 12.0).sqrt();
        let (read, shot) = (self.read_noise.powi(2), self.shot_noise.powi(2) / 255.0);
        for (luma, bytes) in luma.iter_mut().zip(random.chunks_exact(4)) {
            let sum = i32::from(bytes[0]) + i32::from(bytes[1]) + i32::from(bytes[2]) + i32::from(bytes[3]);
            *luma += (sum - 510) as f32 * unit * (read + shot * *luma).sqrt();
        }
    }
}

fn chance(share: f32, rng: &mut impl Rng) -> bool {
    rng.random::<f32>() < share
}

/// A normal number (mean 0, deviation 1) by Box and Muller.
fn normal(rng: &mut impl Rng) -> f32 {
    // 1 - u is above 0, so that the logarithm is finite.
    let radius = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
    radius * (TAU * rng.random::<f32>()).cos()
}

/// Positive weights of linear light that sum to 1.
fn spectral_weights(config: &DegradeConfig, rng: &mut impl Rng) -> [f32; 3] {
    // Log-normal around the standard: like a Dirichlet always positive, and it needs no gamma numbers.
    let mut weights = STANDARD.map(|weight| weight * (config.spectral_spread * normal(rng)).exp());
    let kind = rng.random::<f32>();
    if kind < config.orthochromatic_share {
        weights[0] *= uniform(0.0, 0.1, rng);
        weights[2] *= 2.0;
    } else if kind < config.orthochromatic_share + config.red_heavy_share {
        weights[0] *= uniform(3.0, 8.0, rng);
    }
    let sum: f32 = weights.iter().sum();
    weights.map(|weight| weight / sum)
}

/// One table a channel, so that a pixel costs three look-ups and one to encode the sum.
struct SpectralTables {
    linear: [[f32; 256]; 3],
}

/// Steps of the table that encodes linear light; the darkest step is 0.8 levels, below the quantization.
const ENCODE_STEPS: usize = 4096;

/// Linear light 0..1 to coded 0..255.
static ENCODE: LazyLock<Vec<f32>> =
    LazyLock::new(|| (0..=ENCODE_STEPS).map(|i| 255.0 * srgb_encode(i as f32 / ENCODE_STEPS as f32)).collect());

impl SpectralTables {
    fn new(weights: [f32; 3]) -> Self {
        let scaled = |weight: f32| std::array::from_fn(|value| weight * ENCODE_STEPS as f32 * srgb_to_linear(value as u8));
        Self { linear: weights.map(scaled) }
    }

    fn luma(&self, pixel: &[u8]) -> f32 {
        let [r, g, b] = &self.linear;
        let sum = r[usize::from(pixel[0])] + g[usize::from(pixel[1])] + b[usize::from(pixel[2])];
        ENCODE[((sum + 0.5) as usize).min(ENCODE_STEPS)]
    }
}

/// Half of a Gaussian kernel, the middle first; empty when the blur would not be seen.
fn kernel(deviation: f32) -> Vec<f32> {
    if deviation < 0.2 {
        return Vec::new();
    }
    let radius = (2.5 * deviation).ceil() as usize;
    let mut half: Vec<f32> = (0..=radius).map(|i| (-0.5 * (i as f32 / deviation).powi(2)).exp()).collect();
    let sum = half[0] + 2.0 * half[1..].iter().sum::<f32>();
    half.iter_mut().for_each(|weight| *weight /= sum);
    half
}

/// Blurs in both directions; the border pixel is repeated outwards.
fn blur(plane: &mut [f32], scratch: &mut Vec<f32>, width: usize, half: &[f32]) {
    let height = plane.len() / width;
    let radius = half.len() - 1;
    // Along columns, by whole rows, into the scratch plane.
    scratch.resize(plane.len(), 0.0);
    for (y, out) in scratch.chunks_exact_mut(width).enumerate() {
        let row = |y: usize| &plane[y * width..(y + 1) * width];
        for (out, &value) in out.iter_mut().zip(row(y)) {
            *out = half[0] * value;
        }
        for (distance, &weight) in half.iter().enumerate().skip(1) {
            let (above, below) = (row(y.saturating_sub(distance)), row((y + distance).min(height - 1)));
            for ((out, &a), &b) in out.iter_mut().zip(above).zip(below) {
                *out += weight * (a + b);
            }
        }
    }
    // Along rows, back; a padded copy of the row keeps the inner loop free of border cases.
    let mut padded = vec![0.0; width + 2 * radius];
    for (source, out) in scratch.chunks_exact(width).zip(plane.chunks_exact_mut(width)) {
        padded[..radius].fill(source[0]);
        padded[radius..radius + width].copy_from_slice(source);
        padded[radius + width..].fill(source[width - 1]);
        for (out, &value) in out.iter_mut().zip(source) {
            *out = half[0] * value;
        }
        for (distance, &weight) in half.iter().enumerate().skip(1) {
            let (left, right) = (&padded[radius - distance..], &padded[radius + distance..]);
            for ((out, &a), &b) in out.iter_mut().zip(left).zip(right) {
                *out += weight * (a + b);
            }
        }
    }
}

/// L* of every full-range luma.
static LIGHTNESS: LazyLock<[f32; 256]> = LazyLock::new(|| lightness_table(LumaRange::Full));

/// Draws gamma, levels and range mistake and tabulates them together with the quantization and the way to scaled lightness.
fn tone_curve(config: &DegradeConfig, rng: &mut impl Rng) -> Vec<f32> {
    let gamma = if chance(config.gamma_share, rng) { log_uniform(config.gamma_min, config.gamma_max, rng) } else { 1.0 };
    let (mut black, mut white) = (0.0, 255.0);
    if chance(config.levels_share, rng) {
        black += uniform(-config.levels_max, config.levels_max, rng);
        white += uniform(-config.levels_max, config.levels_max, rng);
    }
    let mistake = rng.random::<f32>();
    let table = &LIGHTNESS;
    (0..=255 * TONE_STEPS)
        .map(|i| {
            let mut luma = i as f32 / TONE_STEPS as f32;
            if black != 0.0 || white != 255.0 {
                luma = (255.0 * (luma - black) / (white - black)).clamp(0.0, 255.0);
            }
            if gamma != 1.0 {
                luma = 255.0 * (luma / 255.0).powf(gamma);
            }
            if mistake < config.limited_as_full_share {
                luma = 16.0 + luma * 219.0 / 255.0;
            } else if mistake < config.limited_as_full_share + config.full_as_limited_share {
                luma = (luma - 16.0) * 255.0 / 219.0;
            }
            let code = luma.round().clamp(0.0, 255.0) as usize;
            (table[code] - 50.0) / 100.0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn rng(seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }

    /// Films `rgb` once with a camera drawn from `config`.
    fn film(config: &DegradeConfig, rgb: &[u8], width: usize, seed: u64) -> Vec<f32> {
        let camera = ItemDegradation::sample(config, width, 32, &mut rng(seed));
        let mut lightness = vec![0.0; rgb.len() / 3];
        camera.apply(rgb, width, 0, &mut rng(seed + 1000), &mut Scratch::default(), &mut lightness);
        lightness
    }

    fn greys() -> Vec<u8> {
        (0..=255).flat_map(|value| [value; 3]).collect()
    }

    #[test]
    fn a_perfect_camera_sees_grey_as_the_table_does() {
        let expected = lightness_table(LumaRange::Full).map(|lightness| (lightness - 50.0) / 100.0);
        assert_eq!(film(&DegradeConfig::off(), &greys(), 16, 1), expected);
    }

    #[test]
    fn grey_stays_grey_for_every_spectral_response() {
        let config = DegradeConfig { standard_luma_share: 0.0, ..DegradeConfig::off() };
        let expected = lightness_table(LumaRange::Full);
        for seed in 0..20 {
            for (value, (&found, expected)) in film(&config, &greys(), 16, seed).iter().zip(expected).enumerate() {
                // The weights sum to 1; one level (0.4 L*, 0.9 near black) may be lost in the table of 4096 steps.
                assert!((found * 100.0 + 50.0 - expected).abs() < 0.95, "seed {seed}, grey {value}: {found}");
            }
        }
    }

    #[test]
    fn an_orthochromatic_film_sees_red_as_black() {
        let config = DegradeConfig { standard_luma_share: 0.0, orthochromatic_share: 1.0, red_heavy_share: 0.0, ..DegradeConfig::off() };
        let red = [220, 20, 20].repeat(16);
        let normal = film(&DegradeConfig::off(), &red, 4, 1)[0];
        assert!(film(&config, &red, 4, 1)[0] < normal - 0.1);
        let heavy = DegradeConfig { orthochromatic_share: 0.0, red_heavy_share: 1.0, ..config };
        assert!(film(&heavy, &red, 4, 1)[0] > normal + 0.1);
    }

    #[test]
    fn range_mistakes_fade_or_clip() {
        let fade = DegradeConfig { limited_as_full_share: 1.0, full_as_limited_share: 0.0, ..DegradeConfig::off() };
        let clip = DegradeConfig { limited_as_full_share: 0.0, full_as_limited_share: 1.0, ..DegradeConfig::off() };
        let scaled = |luma: usize| (lightness_table(LumaRange::Full)[luma] - 50.0) / 100.0;
        let (faded, clipped) = (film(&fade, &greys(), 16, 1), film(&clip, &greys(), 16, 1));
        assert_eq!((faded[0], faded[255]), (scaled(16), scaled(235)));
        assert_eq!((clipped[16], clipped[235]), (scaled(0), scaled(255)));
        assert_eq!((clipped[3], clipped[250]), (scaled(0), scaled(255)));
    }

    #[test]
    fn noise_has_the_deviation_it_was_drawn_with() {
        let mut camera = ItemDegradation::sample(&DegradeConfig::off(), 128, 8, &mut rng(3));
        (camera.read_noise, camera.shot_noise) = (3.0, 4.0);
        let mut luma = vec![255.0; 128 * 128];
        camera.add_noise(&mut luma, &mut Vec::new(), &mut rng(4));
        let mean = luma.iter().sum::<f32>() / luma.len() as f32;
        let deviation = (luma.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / luma.len() as f32).sqrt();
        // sqrt(3² + 4²) at white; 16,384 samples leave an error of 5 / sqrt(2 * 16,384) = 0.03, and three of them are allowed.
        assert!((deviation - 5.0).abs() < 0.1 && (mean - 255.0).abs() < 0.2, "{deviation} {mean}");
    }

    #[test]
    fn noise_differs_between_frames_and_the_camera_does_not() {
        let config = DegradeConfig { noise_share: 1.0, columns_share: 1.0, ..DegradeConfig::default() };
        let camera = ItemDegradation::sample(&config, 16, 8, &mut rng(7));
        let shoot = |noise: u64| {
            let mut lightness = vec![0.0; 256];
            camera.apply(&[120; 768], 16, 0, &mut rng(noise), &mut Scratch::default(), &mut lightness);
            lightness
        };
        assert_eq!(shoot(1), shoot(1));
        assert_ne!(shoot(1), shoot(2));
    }

    #[test]
    fn blur_keeps_flat_areas_and_the_sum() {
        let half = kernel(1.3);
        assert!((half[0] + 2.0 * half[1..].iter().sum::<f32>() - 1.0).abs() < 1e-6);
        let mut flat = vec![90.0; 12 * 9];
        blur(&mut flat, &mut Vec::new(), 12, &half);
        assert!(flat.iter().all(|value| (value - 90.0).abs() < 1e-3));
        let mut point = vec![0.0; 21 * 21];
        point[10 * 21 + 10] = 100.0;
        blur(&mut point, &mut Vec::new(), 21, &half);
        assert!((point.iter().sum::<f32>() - 100.0).abs() < 1e-3);
        // Symmetric: the same to the left, right, top and bottom.
        let (left, right, top, bottom) = (point[10 * 21 + 8], point[10 * 21 + 12], point[8 * 21 + 10], point[12 * 21 + 10]);
        assert!(left == right && (left - top).abs() < 1e-5 && top == bottom, "{left} {right} {top} {bottom}");
    }

    #[test]
    fn a_blur_wider_than_the_picture_does_no_harm() {
        let mut tiny = vec![10.0, 20.0, 30.0, 40.0];
        blur(&mut tiny, &mut Vec::new(), 2, &kernel(1.5));
        assert!(tiny.iter().all(|value| (10.0..=40.0).contains(value)), "{tiny:?}");
    }

    #[test]
    fn a_vignette_darkens_the_corners_only() {
        let config = DegradeConfig { vignette_share: 1.0, ..DegradeConfig::off() };
        let mut camera = ItemDegradation::sample(&config, 33, 8, &mut rng(5));
        camera.vignette = 0.2;
        let mut luma = vec![200.0; 33 * 33];
        camera.expose(&mut luma, 33, 1.0);
        assert_eq!(luma[16 * 33 + 16], 200.0);
        // The outermost pixel's center is almost in the corner, where 20 % are lost.
        assert!((160.0..166.0).contains(&luma[0]), "{}", luma[0]);
    }

    #[test]
    fn every_camera_gives_valid_lightness() {
        let rgb: Vec<u8> = (0..64 * 64 * 3).map(|i| ((i * 7919) >> 3) as u8).collect();
        for seed in 0..200 {
            let found = film(&DegradeConfig::default(), &rgb, 64, seed);
            assert!(found.iter().all(|value| (-0.5..=0.5).contains(value)), "seed {seed}");
        }
    }
}
