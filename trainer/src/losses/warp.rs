//! Steadiness along known motion: what a frame shows must be what the frame before it showed, moved.

use burn::tensor::ops::{GridSampleOptions, GridSamplePaddingMode, InterpolateMode};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// The warp loss (Lai et al. 2018), on color alone.
///
/// It is least for a picture without color, and by itself hardly agrees with what people see: a small weight beside a loss that asks for color.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarpConfig {
    /// Its weight in the sum.
    pub weight: f32,
    /// a of the soft mask exp(-a (L_t - warped L_{t-1})²), with lightness from 0 to 1: how little of a pixel counts whose lightness is not the one that
    /// the motion brings.
    #[serde(default = "mask_steepness")]
    pub mask_steepness: f32,
}

/// As Lai et al. 2018 have it.
fn mask_steepness() -> f32 {
    50.0
}

/// Where each pixel of a frame was in the frame before, for M = (T - 1) B pairs of frames.
#[derive(Clone, Debug)]
pub struct Motion {
    /// Offsets (x, y) from a pixel to where it was, \[M, 2, h, w\], in pixels of the output.
    pub offsets: Tensor<4>,
    /// 1 where the offset leads to a pixel that shows the same thing, else 0, \[M, 1, h, w\].
    pub valid: Tensor<4>,
}

/// `pictures` \[N, C, h, w\] looked at from each pixel plus its offset (x, y) \[N, 2, h, w\], in pixels: bilinear, the border's values beyond it.
pub fn warp(pictures: Tensor<4>, offsets: Tensor<4>) -> Tensor<4> {
    let [_, _, height, width] = pictures.dims();
    // A grid runs from -1 to 1 over the picture, with pixels' centers half a pixel inside.
    let scale = [2.0 / width as f32, 2.0 / height as f32];
    let mut places = Vec::with_capacity(2 * height * width);
    places.extend((0..height).flat_map(|_| (0..width).map(|x| (x as f32 + 0.5) * scale[0] - 1.0)));
    places.extend((0..height).flat_map(|y| std::iter::repeat_n((y as f32 + 0.5) * scale[1] - 1.0, width)));
    let device = offsets.device();
    let places = Tensor::<4>::from_data(TensorData::new(places, [1, 2, height, width]), &device);
    let scale = Tensor::<4>::from_data(TensorData::new(scale.to_vec(), [1, 2, 1, 1]), &device);
    let grid = (offsets * scale + places).permute([0, 2, 3, 1]);
    let options = GridSampleOptions::new(InterpolateMode::Bilinear).with_padding_mode(GridSamplePaddingMode::Border);
    pictures.grid_sample_2d(grid, options)
}

/// The mean over all pixels of |color_t - warped color_{t-1}|, each counting by `valid` and the soft mask: those that cannot be compared count as 0. So the
/// loss of many lanes is the mean of each one's, however the lanes are shared out.
///
/// `colors` \[T B, C, h, w\], frame-major, in any unit; `lightness` \[T B, 1, h, w\], L* from 0 to 100.
pub fn warp_difference(colors: Tensor<4>, lightness: Tensor<4>, motion: &Motion, mask_steepness: f32) -> Tensor<1> {
    let pairs = motion.offsets.dims()[0];
    let lanes = colors.dims()[0] - pairs;
    let now = |x: &Tensor<4>| x.clone().narrow(0, lanes, pairs);
    let moved = |x: &Tensor<4>| warp(x.clone().narrow(0, 0, pairs), motion.offsets.clone());
    let change = (now(&lightness) - moved(&lightness)) / 100.0;
    let mask = motion.valid.clone() * (change.square() * -mask_steepness).exp();
    ((now(&colors) - moved(&colors)).abs() * mask).mean()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn tensor(values: Vec<f32>, shape: [usize; 4], device: &Device) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    fn floats(tensor: Tensor<4>) -> Vec<f32> {
        tensor.into_data().try_into_vec::<f32>().expect("floats")
    }

    #[test]
    fn a_warp_looks_where_the_offset_leads_and_repeats_the_border() {
        let device = Device::flex();
        // 2 x 3: 0 1 2 / 10 11 12.
        let picture = tensor(vec![0.0, 1.0, 2.0, 10.0, 11.0, 12.0], [1, 1, 2, 3], &device);
        let offsets = |x: f32, y: f32| tensor([[x; 6], [y; 6]].concat(), [1, 2, 2, 3], &device);
        for (x, y, expected) in [
            (0.0, 0.0, [0.0, 1.0, 2.0, 10.0, 11.0, 12.0]),
            (1.0, 0.0, [1.0, 2.0, 2.0, 11.0, 12.0, 12.0]),
            (-0.25, 0.0, [0.0, 0.75, 1.75, 10.0, 10.75, 11.75]),
            (0.0, 0.5, [5.0, 6.0, 7.0, 10.0, 11.0, 12.0]),
            (0.5, -1.0, [0.5, 1.5, 2.0, 0.5, 1.5, 2.0]),
        ] {
            let found = floats(warp(picture.clone(), offsets(x, y)));
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-4, "({x}, {y}): {found}, not {expected}");
            }
        }
    }

    #[test]
    fn what_moves_along_costs_nothing_and_flicker_costs_what_it_is() {
        let device = Device::flex();
        // Two frames of one lane, 1 x 4: the second shows the first, one pixel to the right.
        let lightness = tensor(vec![10.0, 50.0, 30.0, 70.0, 0.0, 10.0, 50.0, 30.0], [2, 1, 1, 4], &device);
        let motion = Motion {
            offsets: tensor(vec![-1.0, -1.0, -1.0, -1.0, 0.0, 0.0, 0.0, 0.0], [1, 2, 1, 4], &device),
            valid: tensor(vec![0.0, 1.0, 1.0, 1.0], [1, 1, 1, 4], &device),
        };
        let cost = |second: [f32; 4]| {
            let colors = tensor([[5.0, 6.0, 7.0, 8.0], second].concat(), [2, 1, 1, 4], &device);
            warp_difference(colors, lightness.clone(), &motion, 50.0).into_scalar::<f32>()
        };
        assert!(cost([99.0, 5.0, 6.0, 7.0]) < 1e-4);
        // Off by 2, 0 and 1, and one pixel that nothing is known of.
        assert!((cost([99.0, 7.0, 6.0, 6.0]) - 0.75).abs() < 1e-4);
        // A pixel whose lightness changes by 20 counts exp(-50 * .04) = .1353.
        let brighter = tensor(vec![10.0, 50.0, 30.0, 70.0, 0.0, 30.0, 50.0, 30.0], [2, 1, 1, 4], &device);
        let colors = tensor(vec![5.0, 6.0, 7.0, 8.0, 0.0, 8.0, 6.0, 7.0], [2, 1, 1, 4], &device);
        let found = warp_difference(colors, brighter, &motion, 50.0).into_scalar::<f32>();
        let mask = (-2.0_f32).exp();
        assert!((found - 3.0 * mask / 4.0).abs() < 1e-4, "{found}");
        // Nothing to compare: nothing to pay.
        let nothing = Motion { valid: tensor(vec![0.0; 4], [1, 1, 1, 4], &device), ..motion };
        let colors = tensor(vec![1.0; 8], [2, 1, 1, 4], &device);
        assert_eq!(warp_difference(colors, lightness, &nothing, 50.0).into_scalar::<f32>(), 0.0);
    }

    #[test]
    fn both_frames_learn_from_a_difference() {
        let device = Device::flex().autodiff();
        let colors = tensor(vec![0.0, 4.0, 1.0, 1.0], [2, 1, 1, 2], &device).require_grad();
        let motion = Motion { offsets: Tensor::zeros([1, 2, 1, 2], &device), valid: Tensor::ones([1, 1, 1, 2], &device) };
        let gradients = warp_difference(colors.clone(), Tensor::zeros([2, 1, 1, 2], &device), &motion, 50.0).backward();
        let slopes = floats(colors.grad(&gradients).expect("a gradient"));
        for (slope, expected) in slopes.iter().zip([-0.5, 0.5, 0.5, -0.5]) {
            assert!((slope - expected).abs() < 1e-5, "{slopes:?}");
        }
    }
}
