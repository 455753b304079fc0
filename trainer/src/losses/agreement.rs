//! Two looks at the same scene must agree: the second is shifted, mirrored or noisy, and the colors must come out shifted, mirrored, and the same.
//!
//! With a shift or a mirror this is the transform invariance of Eilertsen et al. 2019, f(T(x)) = T(f(x)), which needs no video; with noise it is the
//! agreement of two noise draws. Both are one mechanism: another forward pass, on the second look.

use burn::tensor::{Tensor, TensorData};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::warp::warp;
use crate::normals::{generator, normals};

/// Streams of the generator below: lanes are counted from 0, the transform has one of its own.
const TRANSFORM_STREAM: u64 = u64::MAX;

/// What differs between the two looks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgreementConfig {
    /// Its weight in the sum.
    pub weight: f32,
    /// The largest shift along each axis, in pixels of the output; a shift is a whole number of them.
    pub shift: usize,
    /// Whether every other second look is mirrored, at random.
    pub mirror: bool,
    /// The deviation of the noise that both looks get, each a draw of its own, in lightness L*. 5 is a dim room's.
    pub noise: f32,
}

impl Default for AgreementConfig {
    fn default() -> Self {
        Self { weight: 1.0, shift: 0, mirror: false, noise: 0.0 }
    }
}

/// A mirror image, then a shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transform {
    /// Whether left and right change places first.
    pub mirrored: bool,
    /// From a pixel to the one whose value it gets, (x, y), in pixels of the output.
    pub shift: [i32; 2],
}

impl Transform {
    /// The transform of step `step`.
    pub fn draw(config: &AgreementConfig, seed: u64, step: u64) -> Self {
        let mut rng = generator(seed ^ step.wrapping_mul(0x9E37_79B9_7F4A_7C15), TRANSFORM_STREAM);
        let reach = i32::try_from(config.shift).unwrap_or(i32::MAX);
        let mirrored = config.mirror && rng.random::<bool>();
        Self { mirrored, shift: [rng.random_range(-reach..=reach), rng.random_range(-reach..=reach)] }
    }

    /// The picture \[N, C, ..\] of `scale` times the output's resolution, transformed. Recurrent states are of a lower one, where a shift is a fraction.
    pub fn apply(&self, picture: Tensor<4>, scale: f32) -> Tensor<4> {
        let picture = if self.mirrored { picture.flip([3]) } else { picture };
        if self.shift == [0, 0] {
            return picture;
        }
        let [pictures, _, height, width] = picture.dims();
        let offsets = self.shift.map(|s| Tensor::<4>::full([pictures, 1, height, width], s as f32 * scale, &picture.device()));
        warp(picture, Tensor::cat(offsets.to_vec(), 1))
    }

    /// 1 where [`apply`](Self::apply) shows something of the picture and not its repeated border, \[1, 1, h, w\] at the output's resolution.
    fn covered(&self, like: &Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = like.dims();
        let inside = |at: usize, shift: i32, size: usize| (0..size as i64).contains(&(at as i64 + i64::from(shift)));
        let values = (0..height)
            .flat_map(|y| (0..width).map(move |x| inside(x, self.shift[0], width) && inside(y, self.shift[1], height)))
            .map(|covered| if covered { 1.0_f32 } else { 0.0 })
            .collect::<Vec<_>>();
        Tensor::from_data(TensorData::new(values, [1, 1, height, width]), &like.device())
    }
}

/// Noise for scaled lightness \[T B, 1, H, W\] of which this worker has the lanes from `first_lane` on: `draw` 0 for one look, 1 for the other.
///
/// A lane's noise depends on the seed, the step and the lane, not on how the lanes are shared out.
pub fn noise(like: &Tensor<4>, frames: usize, first_lane: usize, deviation: f32, seed: u64, step: u64, draw: u64) -> Tensor<4> {
    let [total, _, height, width] = like.dims();
    let (lanes, pixels) = (total / frames, height * width);
    let mut values = vec![0.0_f32; total * pixels];
    for lane in 0..lanes {
        let mut rng = generator(seed ^ step.wrapping_mul(0x9E37_79B9_7F4A_7C15), 2 * (first_lane + lane) as u64 + draw);
        for frame in 0..frames {
            let begin = (frame * lanes + lane) * pixels;
            for (value, normal) in values[begin..begin + pixels].iter_mut().zip(normals(&mut rng, pixels)) {
                // Lightness is scaled as (L* - 50) / 100.
                *value = normal * deviation / 100.0;
            }
        }
    }
    Tensor::from_data(TensorData::new(values, like.dims()), &like.device())
}

/// The mean of |f(T(x)) - T(f(x))| over the pixels that both looks show; `first` is f(x) and `second` f(T(x)), \[N, C, h, w\], in any unit.
pub fn disagreement(first: Tensor<4>, second: Tensor<4>, transform: Transform) -> Tensor<1> {
    let [pictures, channels, _, _] = first.dims();
    let covered = transform.covered(&first);
    let count = covered.clone().sum() * (pictures * channels) as f32;
    ((second - transform.apply(first, 1.0)).abs() * covered).sum() / count.clamp_min(1.0)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn tensor(values: &[f32], shape: [usize; 4]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
    }

    fn floats(tensor: Tensor<4>) -> Vec<f32> {
        tensor.into_data().try_into_vec::<f32>().expect("floats")
    }

    #[test]
    fn a_transform_mirrors_then_shifts_and_only_what_both_looks_show_is_compared() {
        let transform = Transform { mirrored: true, shift: [1, 0] };
        let first = tensor(&[1.0, 2.0, 3.0, 4.0], [1, 1, 1, 4]);
        let moved = floats(transform.apply(first.clone(), 1.0));
        for (found, expected) in moved.iter().zip([3.0, 2.0, 1.0, 1.0]) {
            assert!((found - expected).abs() < 1e-4, "{moved:?}");
        }
        // Differences 0, 3 and 0; what stands behind the border does not count.
        let second = tensor(&[3.0, 5.0, 1.0, 77.0], [1, 1, 1, 4]);
        assert!((disagreement(first, second, transform).into_scalar::<f32>() - 1.0).abs() < 1e-4);
    }

    #[test]
    fn the_input_is_shifted_by_as_many_strides_as_the_output_by_pixels() {
        let transform = Transform { mirrored: false, shift: [-1, 1] };
        // Each output pixel's average over 2 x 2 input pixels moves with them.
        let input = tensor(&(0..32).map(|i| ((i * 7) % 13) as f32).collect::<Vec<_>>(), [1, 1, 4, 8]);
        let pooled = |x: Tensor<4>| burn::nn::pool::AvgPool2dConfig::new([2, 2]).with_strides([2, 2]).init().forward(x);
        let one = disagreement(pooled(input.clone()), pooled(transform.apply(input, 2.0)), transform);
        assert!(one.into_scalar::<f32>() < 1e-4);
    }

    #[test]
    fn noise_belongs_to_a_lane_whoever_works_on_it() {
        let all = floats(noise(&Tensor::zeros([6, 1, 2, 2], &Device::flex()), 2, 0, 5.0, 1, 9, 0));
        let last = floats(noise(&Tensor::zeros([2, 1, 2, 2], &Device::flex()), 2, 2, 5.0, 1, 9, 0));
        // Lane 2 of three, frames 0 and 1.
        assert_eq!([&all[8..12], &all[20..24]].concat(), last);
        let other = floats(noise(&Tensor::zeros([2, 1, 2, 2], &Device::flex()), 2, 2, 5.0, 1, 9, 1));
        assert!(other.iter().zip(&last).all(|(a, b)| a != b));
    }

    #[test]
    fn transforms_differ_from_step_to_step_and_stay_within_reach() {
        let config = AgreementConfig { shift: 2, mirror: true, ..AgreementConfig::default() };
        let drawn: Vec<_> = (0..200).map(|step| Transform::draw(&config, 1, step)).collect();
        assert!(drawn.iter().all(|t| t.shift.iter().all(|s| s.abs() <= 2)));
        assert!((60..140).contains(&drawn.iter().filter(|t| t.mirrored).count()));
        for wanted in -2..=2 {
            assert!(drawn.iter().any(|t| t.shift[0] == wanted) && drawn.iter().any(|t| t.shift[1] == wanted));
        }
        assert_eq!(Transform::draw(&config, 1, 7), drawn[7]);
        let still = Transform::draw(&AgreementConfig::default(), 1, 7);
        assert_eq!(still, Transform { mirrored: false, shift: [0, 0] });
    }
}
