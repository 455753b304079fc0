//! A chunk of data as tensors.

use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};

use crate::config::RunConfig;
use crate::data::lanes::{Chunk, LaneConfig};
use crate::data::soft_colors::SoftColors;
use crate::losses::warp::Motion;
use crate::losses::{Target, TruePictures};

/// A chunk as tensors.
/// Frames are frame-major: all lanes of the first frame, then all lanes of the second.
pub(super) struct Batch {
    /// Scaled lightness [N, 1, H, W].
    pub(super) lightness: Tensor<4>,
    /// What zeroes states, as the networks take it.
    pub(super) keep: Vec<Option<Tensor<4>>>,
    /// As [`losses`](crate::losses::losses) takes it.
    pub(super) moving: Option<Tensor<4>>,
    /// Where each pixel was in the frame before, where that is known.
    pub(super) motion: Option<Motion>,
    /// The truth.
    pub(super) target: Target,
}

impl Batch {
    /// The lanes `own` of a chunk.
    pub(super) fn new(
        chunk: &Chunk,
        own: Range<usize>,
        config: &RunConfig,
        centers: &[[f32; 2]],
        class_weights: &[f32],
        device: &Device,
    ) -> Self {
        let LaneConfig { lanes, chunk_frames, width, height, .. } = config.data;
        let (output_height, output_width) = config.data.output_size();
        let frames = own.len() * chunk_frames;
        let lightness = of_lanes(&chunk.lightness, lanes, &own, width * height);
        let true_lightness = of_lanes(&chunk.true_lightness, lanes, &own, output_width * output_height);
        let ab = of_lanes(&chunk.ab, lanes, &own, 2 * output_width * output_height);
        let colors = chunk.colors.as_ref().map(|SoftColors { neighbors, bins, shares }| {
            let size = neighbors * output_width * output_height;
            SoftColors { neighbors: *neighbors, bins: of_lanes(bins, lanes, &own, size), shares: of_lanes(shares, lanes, &own, size) }
        });
        let reset = of_lanes(&chunk.reset, lanes, &own, 1);
        let flags = |resets: &[bool]| {
            let values: Vec<f32> = resets.iter().map(|&reset| if reset { 0.0 } else { 1.0 }).collect();
            let count = values.len();
            Tensor::<4>::from_data(TensorData::new(values, [count, 1, 1, 1]), device)
        };
        let lightness = Tensor::from_data(TensorData::new(lightness, [frames, 1, height, width]), device);
        let motion = chunk.flow.as_ref().map(|flow| {
            let plane = |values: &[f32], channels: usize| {
                let values = of_lanes(values, lanes, &own, channels * output_height * output_width);
                Tensor::from_data(TensorData::new(values, [frames - own.len(), channels, output_height, output_width]), device)
            };
            Motion { offsets: plane(&flow.offsets, 2), valid: plane(&flow.valid, 1) }
        });
        Self {
            keep: reset.chunks_exact(own.len()).map(|resets| resets.contains(&true).then(|| flags(resets))).collect(),
            motion,
            moving: (chunk_frames > 1).then(|| flags(&reset[own.len()..])),
            target: Target::encode(
                TruePictures { lightness: &true_lightness, ab: &ab, colors: colors.as_ref(), shape: [frames, output_height, output_width] },
                config.output,
                centers,
                class_weights,
                &config.loss,
                device,
            ),
            lightness,
        }
    }
}

/// The values of the lanes `own` out of \[T\]\[B\]\[size\].
fn of_lanes<V: Copy>(values: &[V], lanes: usize, own: &Range<usize>, size: usize) -> Vec<V> {
    values.chunks_exact(lanes * size).flat_map(|frame| &frame[own.start * size..own.end * size]).copied().collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_lanes_has_the_colors_that_the_loader_encoded_for_them() {
        let data = LaneConfig { lanes: 3, chunk_frames: 2, width: 32, height: 16, ..LaneConfig::default() };
        let config = RunConfig { data, ..RunConfig::default() };
        let (frames, outputs) = (2 * 3, 8 * 4);
        let wave = |count: usize, scale: f32| (0..count).map(|i| scale * (i as f32 * 0.37).sin()).collect::<Vec<f32>>();
        let mut chunk = Chunk {
            number: 0,
            lightness: wave(frames * 32 * 16, 0.5),
            true_lightness: vec![50.0; frames * outputs],
            ab: wave(frames * 2 * outputs, 60.0),
            reset: vec![false; frames],
            flow: None,
            colors: None,
        };
        let centers = config.centers().unwrap();
        let weights = wave(centers.len(), 1.0);
        let encoded = |chunk: &Chunk| {
            let bins = Batch::new(chunk, 1..3, &config, centers, &weights, &Device::flex()).target.bins.unwrap();
            (bins.bins.into_data(), bins.shares.into_data(), bins.weight.into_data())
        };
        let by_itself = encoded(&chunk);
        chunk.colors = config.soft_encoding().unwrap().map(|encoding| encoding.encode(&chunk.ab, outputs));
        assert_eq!(encoded(&chunk), by_itself);
    }
}
