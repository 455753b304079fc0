//! How colorful a picture is (Hasler and Suesstrunk 2003), and the price of being less so than the truth.

use burn::tensor::Tensor;

/// The colorfulness \[N\] of gamma-coded sRGB pictures \[N, 3, h, w\], 0 to 1, in units of 8-bit codes: that of `metrics::colorfulness`, signed.
pub fn colorfulness(rgb: Tensor<4>) -> Tensor<1> {
    let [pictures, _, height, width] = rgb.dims();
    let [r, g, b] = [0, 1, 2].map(|channel| rgb.clone().narrow(1, channel, 1).reshape([pictures, height * width]) * 255.0);
    let rg = r.clone() - g.clone();
    let yb = (r + g) * 0.5 - b;
    let mean = |x: &Tensor<2>| x.clone().mean_dim(1);
    let variance = |x: &Tensor<2>| (x.clone() - mean(x)).square().mean_dim(1);
    // A hundredth of a code under each root keeps its slope finite where a picture is grey.
    let root = |x: Tensor<2>| (x + 1e-4).sqrt();
    let spread = root(variance(&rg) + variance(&yb));
    let offset = root(mean(&rg).square() + mean(&yb).square());
    (spread + offset * 0.3).reshape([pictures])
}

/// max(0, colorfulness of the truth - colorfulness of what was found) / 100, the mean over the pictures.
///
/// Never beyond the truth's: rewarded without an end, colorfulness gives red blots.
pub fn colorfulness_lack(found: Tensor<4>, truth: Tensor<4>) -> Tensor<1> {
    ((colorfulness(truth).detach() - colorfulness(found)) / 100.0).clamp_min(0.0).mean()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::metrics;

    /// Planar pictures \[1, 3, h, w\] of interleaved 8-bit ones.
    fn planar(rgb: &[u8], [height, width]: [usize; 2], device: &Device) -> Tensor<4> {
        let values: Vec<f32> = (0..3).flat_map(|c| rgb.iter().skip(c).step_by(3).map(|&v| f32::from(v) / 255.0)).collect();
        Tensor::from_data(TensorData::new(values, [1, 3, height, width]), device)
    }

    fn patches() -> [Vec<u8>; 2] {
        let vivid = [255, 0, 0, 0, 255, 0, 40, 90, 200, 250, 240, 10].to_vec();
        let dull = [120, 110, 110, 100, 115, 100, 90, 95, 105, 130, 128, 110].to_vec();
        [vivid, dull]
    }

    #[test]
    fn a_tensors_colorfulness_is_that_of_the_metric() {
        let device = Device::flex();
        for picture in patches() {
            let found = colorfulness(planar(&picture, [2, 2], &device)).into_scalar::<f32>();
            let expected = metrics::colorfulness(&picture, true) as f32;
            assert!((found - expected).abs() < 0.02, "{found}, not {expected}");
        }
        // Worked by hand: half red, half green.
        let halves = planar(&[255, 0, 0, 0, 255, 0], [1, 2], &device);
        assert!((colorfulness(halves).into_scalar::<f32>() - 293.25).abs() < 0.05);
    }

    #[test]
    fn only_a_lack_of_color_costs() {
        let device = Device::flex().autodiff();
        let [vivid, dull] = patches().map(|picture| planar(&picture, [2, 2], &device).require_grad());
        let lack = colorfulness_lack(dull.clone(), vivid.clone());
        let [cf_vivid, cf_dull] = patches().map(|p| metrics::colorfulness(&p, true) as f32);
        assert!((lack.clone().into_scalar::<f32>() - (cf_vivid - cf_dull) / 100.0).abs() < 1e-3);
        let gradients = lack.backward();
        assert!(dull.grad(&gradients).is_some(), "the dull picture learns");
        assert!(vivid.grad(&gradients).is_none(), "the truth does not");
        assert_eq!(colorfulness_lack(vivid, dull).into_scalar::<f32>(), 0.0);
    }

    #[test]
    fn a_grey_picture_has_a_finite_slope() {
        let device = Device::flex().autodiff();
        let grey = planar(&[100; 12], [2, 2], &device).require_grad();
        let gradients = colorfulness_lack(grey.clone(), planar(&patches()[0], [2, 2], &device)).backward();
        let slope = grey.grad(&gradients).expect("a gradient").abs().max().into_scalar::<f32>();
        assert!(slope.is_finite(), "{slope}");
    }
}
