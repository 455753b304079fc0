//! Pictures as differentiable tensors: from what a network predicts to sRGB. The numbers are those of `autochrome_model::color`.

use autochrome_model::color::{DELTA, RELATIVE_TO_RGB, RGB_TO_RELATIVE};
use burn::tensor::Tensor;

/// Where the sRGB encoding turns from a line into a power (IEC 61966-2-1).
const ENCODING_CORNER: f32 = 0.003_130_8;

/// Gamma-coded sRGB, 0 to 1, \[N, 3, h, w\], of lightness L* \[N, 1, h, w\], 0 to 100, and ab \[N, 2, h, w\], Lab units.
///
/// Colors outside of the gamut are clipped, channel by channel; a clipped channel has no gradient.
pub fn srgb_of_lab(lightness: Tensor<4>, ab: Tensor<4>) -> Tensor<4> {
    let y = (lightness + 16.0) / 116.0;
    let x = y.clone() + ab.clone().narrow(1, 0, 1) / 500.0;
    let z = y.clone() - ab.narrow(1, 1, 1) / 200.0;
    let [x, y, z] = [x, y, z].map(lab_f_inverse);
    let channel = |row: [f32; 3]| x.clone() * row[0] + y.clone() * row[1] + z.clone() * row[2];
    srgb_encode(Tensor::cat(RELATIVE_TO_RGB.map(channel).to_vec(), 1))
}

/// Rec. 601 luma, 0 to 1 \[N, 1, h, w\], of gamma-coded sRGB \[N, 3, h, w\]. It is not what a picture's lightness tells: blue has L* 32 and a luma of 0.11.
pub fn luma_of_srgb(rgb: Tensor<4>) -> Tensor<4> {
    let [r, g, b] = [0, 1, 2].map(|channel| rgb.clone().narrow(1, channel, 1));
    r * 0.299 + g * 0.587 + b * 0.114
}

/// Gamma-coded sRGB, 0 to 1, of luma \[N, 1, h, w\], 0 to 1, and the chroma UV \[N, 2, h, w\], 0 to 1 with 0.5 neutral (Rec. 601).
pub fn srgb_of_uv(luma: Tensor<4>, uv: Tensor<4>) -> Tensor<4> {
    let cb = uv.clone().narrow(1, 0, 1) - 0.5;
    let cr = uv.narrow(1, 1, 1) - 0.5;
    let channels = vec![luma.clone() + cr.clone() * 1.402, luma.clone() - cb.clone() * 0.344_136 - cr * 0.714_136, luma + cb * 1.772];
    Tensor::cat(channels, 1).clamp(0.0, 1.0)
}

/// The chroma UV, 0 to 1 with 0.5 neutral (Rec. 601, as Dahl's residual encoder predicts it), of gamma-coded sRGB \[N, 3, h, w\].
pub fn uv_of_srgb(rgb: Tensor<4>) -> Tensor<4> {
    let luma = luma_of_srgb(rgb.clone());
    let [r, b] = [0, 2].map(|channel| rgb.clone().narrow(1, channel, 1));
    Tensor::cat(vec![(b - luma.clone()) / 1.772 + 0.5, (r - luma) / 1.402 + 0.5], 1)
}

/// ab, Lab units, of gamma-coded sRGB \[N, 3, h, w\], 0 to 1.
pub fn ab_of_srgb(rgb: Tensor<4>) -> Tensor<4> {
    let linear = srgb_decode(rgb);
    let [r, g, b] = [0, 1, 2].map(|channel| linear.clone().narrow(1, channel, 1));
    let [x, y, z] = RGB_TO_RELATIVE.map(|row| lab_f(r.clone() * row[0] + g.clone() * row[1] + b.clone() * row[2]));
    Tensor::cat(vec![(x - y.clone()) * 500.0, (y - z) * 200.0], 1)
}

/// A cube root above [`DELTA`]³ and its tangent below, as a sum without branches.
fn lab_f(t: Tensor<4>) -> Tensor<4> {
    let corner = DELTA * DELTA * DELTA;
    let above = t.clone().clamp_min(corner).powf_scalar(1.0 / 3.0);
    above + (t.clamp_max(corner) - corner) / (3.0 * DELTA * DELTA)
}

/// Gamma-coded sRGB to linear light.
fn srgb_decode(coded: Tensor<4>) -> Tensor<4> {
    let corner = ENCODING_CORNER * 12.92;
    let power = ((coded.clone().clamp_min(corner) + 0.055) / 1.055).powf_scalar(2.4);
    power + coded.clamp_max(corner) / 12.92 - ENCODING_CORNER
}

/// A cube above [`DELTA`] and its tangent below, as a sum without branches.
fn lab_f_inverse(f: Tensor<4>) -> Tensor<4> {
    let above = f.clone().clamp_min(DELTA);
    let below = f.clamp_max(DELTA);
    above.clone().square() * above + (below - DELTA) * (3.0 * DELTA * DELTA)
}

/// Linear light, clipped to 0 to 1, to gamma-coded sRGB; written as a sum so that the power never sees 0, where its slope is infinite.
fn srgb_encode(linear: Tensor<4>) -> Tensor<4> {
    let linear = linear.clamp(0.0, 1.0);
    let power = linear.clone().clamp_min(ENCODING_CORNER).powf_scalar(1.0 / 2.4) * 1.055;
    let line = linear.clamp_max(ENCODING_CORNER) * 12.92;
    power + line - (0.055 + 12.92 * ENCODING_CORNER)
}

#[cfg(test)]
mod tests {
    use autochrome_model::color::{lab_to_linear_srgb, srgb_encode as reference_encode, srgb_to_lab};
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn tensor(values: Vec<f32>, channels: usize, device: &Device) -> Tensor<4> {
        let pixels = values.len() / channels;
        Tensor::from_data(TensorData::new(values, [1, channels, 1, pixels]), device)
    }

    #[test]
    fn lab_becomes_the_srgb_of_the_models_crate_and_is_clipped_alike() {
        let mut colors: Vec<[f32; 3]> = Vec::new();
        for r in [0, 3, 128, 255] {
            for g in [0, 77, 255] {
                for b in [0, 9, 200] {
                    colors.push(srgb_to_lab([r, g, b]));
                }
            }
        }
        colors.extend([[50.0, 120.0, -100.0], [2.0, -30.0, 40.0], [100.0, 20.0, 20.0]]);
        let device = Device::flex();
        let plane = |axis: usize| colors.iter().map(|c| c[axis]).collect::<Vec<f32>>();
        let lightness = tensor(plane(0), 1, &device);
        let ab = tensor([plane(1), plane(2)].concat(), 2, &device);
        let rgb = srgb_of_lab(lightness, ab.clone());
        let found = rgb.clone().into_data().try_into_vec::<f32>().expect("floats");
        for (i, &lab) in colors.iter().enumerate() {
            let expected = lab_to_linear_srgb(lab).map(reference_encode);
            for (channel, value) in expected.iter().enumerate() {
                let found = found[channel * colors.len() + i];
                assert!((found - value).abs() < 2e-5, "{lab:?}, channel {channel}: {found}, not {value}");
            }
        }
        // And back: all but the last three are inside the gamut.
        let back = (ab_of_srgb(rgb) - ab).narrow(3, 0, colors.len() - 3).abs().max().into_scalar::<f32>();
        assert!(back < 5e-3, "{back}");
    }

    #[test]
    fn the_slope_of_a_color_is_finite_and_that_of_small_steps() {
        let device = Device::flex().autodiff();
        let lightness = [40.0, 0.0, 70.0];
        let ab = [20.0, 0.0, -30.0, 15.0, 0.0, 50.0];
        let sum = |ab: &[f32]| {
            srgb_of_lab(tensor(lightness.to_vec(), 1, &Device::flex()), tensor(ab.to_vec(), 2, &Device::flex())).sum().into_scalar::<f32>()
        };
        let leaf = tensor(ab.to_vec(), 2, &device).require_grad();
        let gradients = srgb_of_lab(tensor(lightness.to_vec(), 1, &device), leaf.clone()).sum().backward();
        let slopes = leaf.grad(&gradients).expect("a gradient").into_data().try_into_vec::<f32>().expect("floats");
        for (i, slope) in slopes.iter().enumerate() {
            let (mut more, mut less) = (ab, ab);
            more[i] += 0.5;
            less[i] -= 0.5;
            assert!(slope.is_finite());
            // Black is at the edge of the gamut, where a step to either side is not the slope.
            if i % 3 != 1 {
                let step = sum(&more) - sum(&less);
                assert!((slope - step).abs() < 2e-4, "{i}: {slope}, a step gives {step}");
            }
        }
    }

    #[test]
    fn uv_is_neutral_for_grey_and_survives_the_way_back() {
        let device = Device::flex();
        let rgb: [[f32; 3]; 3] = [[0.5, 0.5, 0.5], [0.2, 0.4, 0.6], [0.7, 0.5, 0.5]];
        let planes: Vec<f32> = (0..3).flat_map(|c| rgb.iter().map(move |p| p[c])).collect();
        let uv = uv_of_srgb(tensor(planes.clone(), 3, &device));
        let values = uv.clone().into_data().try_into_vec::<f32>().expect("floats");
        assert!((values[0] - 0.5).abs() < 1e-6 && (values[3] - 0.5).abs() < 1e-6);
        // Dahl's: U = -.169 R - .331 G + .499 B + .5 and V = .499 R - .418 G - .0813 B + .5, with rounded factors.
        assert!((values[1] - (-0.169 * 0.2 - 0.331 * 0.4 + 0.499 * 0.6 + 0.5)).abs() < 2e-3);
        assert!((values[5] - (0.499 * 0.7 - 0.418 * 0.5 - 0.0813 * 0.5 + 0.5)).abs() < 2e-3);
        let luma: Vec<f32> = rgb.iter().map(|[r, g, b]| 0.299 * r + 0.587 * g + 0.114 * b).collect();
        let back = srgb_of_uv(tensor(luma, 1, &device), uv).into_data().try_into_vec::<f32>().expect("floats");
        for (found, expected) in back.iter().zip(&planes) {
            assert!((found - expected).abs() < 1e-4, "{found}, not {expected}");
        }
    }
}
