//! The truth that the net is measured by: L* and ab at the size of its output.

use std::sync::LazyLock;

use autochrome_model::color::{linear_srgb_to_lab, srgb_to_linear};

/// Linear light 0..1 by coded value, without the call for each of fifty thousand values a frame.
static LINEAR: LazyLock<[f32; 256]> = LazyLock::new(|| std::array::from_fn(|value| srgb_to_linear(value as u8)));

/// L* and the a* and b* planes of the picture shrunk by `stride`.
///
/// The mean is taken of linear light, then converted: that is the color a camera of the lower resolution would see, and it needs one
/// conversion for an output pixel instead of one for each of its stride x stride input pixels. The mean of ab itself differs only at edges
/// between bright and dark colors, and there the source's own 4:2:0 chroma is no better.
pub(super) fn mean_lab(rgb: &[u8], width: usize, stride: usize, lightness: &mut [f32], ab: &mut [f32]) {
    let outputs = ab.len() / 2;
    let out_width = width / stride;
    let (a_plane, b_plane) = ab.split_at_mut(outputs);
    let linear: &[f32; 256] = &LINEAR;
    let scale = 1.0 / (stride * stride) as f32;
    let mut sums = vec![[0.0f32; 3]; out_width];
    for (y, rows) in rgb.chunks_exact(width * 3 * stride).enumerate() {
        sums.fill([0.0; 3]);
        for row in rows.chunks_exact(width * 3) {
            for (sum, block) in sums.iter_mut().zip(row.chunks_exact(3 * stride)) {
                for pixel in block.chunks_exact(3) {
                    for (sum, &value) in sum.iter_mut().zip(pixel) {
                        *sum += linear[usize::from(value)];
                    }
                }
            }
        }
        for (x, sum) in sums.iter().enumerate() {
            let [l, a, b] = linear_srgb_to_lab(sum.map(|sum| sum * scale));
            lightness[y * out_width + x] = l;
            a_plane[y * out_width + x] = a;
            b_plane[y * out_width + x] = b;
        }
    }
}
