//! How near an RGB picture is to the truth.

/// RGB peak signal-to-noise ratio in dB of two 8-bit pictures: 20 log10(255 / RMSE).
pub fn psnr(found: &[u8], truth: &[u8]) -> f64 {
    let sum: f64 = found.iter().zip(truth).map(|(f, t)| (f64::from(*f) - f64::from(*t)).powi(2)).sum();
    let mean = sum / found.len().max(1) as f64;
    // Identical pictures: what one wrong step in the whole picture would give is the most that can be said.
    let floor = 1.0 / found.len().max(1) as f64;
    20.0 * (255.0 / mean.max(floor).sqrt()).log10()
}

/// The side of SSIM's window, and so the least side of a picture that has one.
pub const SSIM_SIDE: usize = 11;

/// Structural similarity (Wang et al. 2004) of two 8-bit RGB pictures: the mean over the channels and over all 11x11 windows, weighted by a
/// Gaussian of sigma 1.5, that lie inside the picture; K1 .01, K2 .03, range 255.
///
/// # Panics
/// If a side is below [`SSIM_SIDE`], or a picture is not `width * height * 3` long.
pub fn ssim(found: &[u8], truth: &[u8], width: usize, height: usize) -> f64 {
    assert!(width >= SSIM_SIDE && height >= SSIM_SIDE, "{width}x{height} is smaller than the window");
    assert_eq!((found.len(), truth.len()), (width * height * 3, width * height * 3), "the pictures have the given size");
    const C1: f32 = (0.01 * 255.0) * (0.01 * 255.0);
    const C2: f32 = (0.03 * 255.0) * (0.03 * 255.0);
    let window = gaussian_window();
    let mut sum = 0.0_f64;
    for channel in 0..3 {
        let plane = |rgb: &[u8]| -> Vec<f32> { rgb.iter().skip(channel).step_by(3).map(|&v| f32::from(v)).collect() };
        let (x, y) = (plane(found), plane(truth));
        let product = |p: &[f32], q: &[f32]| -> Vec<f32> { p.iter().zip(q).map(|(p, q)| p * q).collect() };
        let [mean_x, mean_y, xx, yy, xy] =
            [&x, &y, &product(&x, &x), &product(&y, &y), &product(&x, &y)].map(|plane| filtered(plane, width, height, &window));
        for i in 0..mean_x.len() {
            let (mx, my) = (mean_x[i], mean_y[i]);
            let (variance_x, variance_y, covariance) = (xx[i] - mx * mx, yy[i] - my * my, xy[i] - mx * my);
            let similarity = (2.0 * mx * my + C1) * (2.0 * covariance + C2) / ((mx * mx + my * my + C1) * (variance_x + variance_y + C2));
            sum += f64::from(similarity);
        }
    }
    sum / (3 * (width - SSIM_SIDE + 1) * (height - SSIM_SIDE + 1)) as f64
}

fn gaussian_window() -> [f32; SSIM_SIDE] {
    let weights: [f32; SSIM_SIDE] = std::array::from_fn(|i| (-(i as f32 - 5.0).powi(2) / (2.0 * 1.5 * 1.5)).exp());
    let sum: f32 = weights.iter().sum();
    weights.map(|w| w / sum)
}

/// The window's mean at every place where it lies inside, first along the rows, then along the columns.
fn filtered(plane: &[f32], width: usize, height: usize, window: &[f32; SSIM_SIDE]) -> Vec<f32> {
    let across = width - SSIM_SIDE + 1;
    let mut rows = vec![0.0; across * height];
    for (to, from) in rows.chunks_exact_mut(across).zip(plane.chunks_exact(width)) {
        for (k, weight) in window.iter().enumerate() {
            to.iter_mut().zip(&from[k..]).for_each(|(to, from)| *to += weight * from);
        }
    }
    let mut out = vec![0.0; across * (height - SSIM_SIDE + 1)];
    for (y, to) in out.chunks_exact_mut(across).enumerate() {
        for (k, weight) in window.iter().enumerate() {
            to.iter_mut().zip(&rows[(y + k) * across..]).for_each(|(to, from)| *to += weight * from);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psnr_of_a_known_error() {
        // Every value off by 5: 20 log10(51).
        assert!((psnr(&[10; 12], &[15; 12]) - 34.151).abs() < 0.001);
    }

    #[test]
    fn ssim_and_psnr_are_those_of_scikit_image() {
        let (width, height) = (24, 20);
        let picture = |value: fn(usize, usize, usize) -> usize| -> Vec<u8> {
            let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
            pixels.flat_map(|(x, y)| (0..3).map(move |c| (value(x, y, c) % 256) as u8)).collect()
        };
        let first = picture(|x, y, c| x * 7 + y * 3 + c * 40);
        let second = picture(|x, y, c| x * 6 + y * 4 + c * 37 + x * y % 17);
        // scikit-image 0.26.0: structural_similarity(first, second, channel_axis=2, gaussian_weights=True, sigma=1.5,
        // use_sample_covariance=False, data_range=255) and peak_signal_noise_ratio(first, second).
        assert!((ssim(&first, &second, width, height) - 0.881_580).abs() < 1e-4, "{}", ssim(&first, &second, width, height));
        assert!((psnr(&first, &second) - 18.541_208_373).abs() < 1e-6, "{}", psnr(&first, &second));
        assert!((ssim(&first, &first, width, height) - 1.0).abs() < 1e-6);
    }
}
