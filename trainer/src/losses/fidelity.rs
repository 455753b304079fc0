//! How near a picture is to the truth, as the peak signal-to-noise ratio (PSNR) counts it.

use burn::tensor::Tensor;

/// One 8-bit code, squared: a picture that is nearer than that is as good as the truth, and must not outweigh the others.
const FLOOR: f32 = 1.0 / (255.0 * 255.0);

/// ln of each picture's mean square error, the mean over the pictures; gamma-coded sRGB \[N, 3, h, w\], 0 to 1.
///
/// It is -PSNR ln(10) / 10: 0.23 less is 1 dB more. The sum of the errors themselves is mostly that of the few pictures that are far off; in the sum
/// of their logarithms a tenth less error counts the same in any picture, as it does in the mean of the PSNR.
pub fn log_square_error(found: Tensor<4>, truth: Tensor<4>) -> Tensor<1> {
    let [pictures, ..] = found.dims();
    let square = (found - truth).square().reshape([pictures as i32, -1]);
    let error: Tensor<2> = square.mean_dim(1);
    (error + FLOOR).log().mean()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::metrics;

    #[test]
    fn it_is_the_psnr_of_the_metric() {
        let device = Device::flex();
        let truth: Vec<u8> = (0..24).map(|i| (i * 37 % 200) as u8).collect();
        let found: Vec<u8> = truth.iter().enumerate().map(|(i, v)| v + 5 + (i % 7) as u8 * 6).collect();
        let planar = |rgb: &[u8]| {
            let values: Vec<f32> = (0..3).flat_map(|c| rgb.iter().skip(c).step_by(3).map(|&v| f32::from(v) / 255.0)).collect();
            Tensor::<4>::from_data(TensorData::new(values, [1, 3, 2, 4]), &device)
        };
        let near: Vec<u8> = truth.iter().map(|v| v + 3).collect();
        let both = |other: &[u8]| Tensor::cat(vec![planar(&found), planar(other)], 0);
        let value = log_square_error(both(&near), Tensor::cat(vec![planar(&truth); 2], 0));
        let psnr = (metrics::psnr(&found, &truth) + metrics::psnr(&near, &truth)) / 2.0;
        // The floor is a ninth of the second picture's error: ln(10 / 9) / 2 at most.
        let found = -f64::from(value.into_scalar::<f32>()) * 10.0 / 10.0_f64.ln();
        assert!(found < psnr && psnr - found < 0.25, "{found}, not {psnr}");
    }

    #[test]
    fn a_perfect_picture_has_a_finite_slope() {
        let device = Device::flex().autodiff();
        let truth = Tensor::<4>::full([1, 3, 2, 2], 0.4, &device);
        let found = truth.clone().require_grad();
        let gradients = log_square_error(found.clone(), truth).backward();
        let slope = found.grad(&gradients).expect("a gradient").abs().max().into_scalar::<f32>();
        assert!(slope.is_finite(), "{slope}");
    }
}
