//! How the picture moves between frames: known exactly where a synthetic camera films a photograph.

use super::lane_config::LaneConfig;
use super::still_camera::View;

/// Where the points of each frame but the first were one frame ago. Sizes are those of the color output.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// `[T-1][B][2][h][w]`: a plane of x, then one of y. The point at the middle of pixel (i, j) of frame t was at (i + 0.5 + x, j + 0.5 + y) of
    /// frame t-1, in output pixels; 0 where nobody knows.
    pub offsets: Vec<f32>,
    /// `[T-1][B][1][h][w]`: 1 where the offset is known and leads between the middles of four pixels, so that frame t-1 can be interpolated
    /// there; 0 for films, across cuts, and outside of the picture, where it is mirrored.
    pub valid: Vec<f32>,
}

impl Flow {
    /// The flow of a chunk of which nothing is known yet.
    pub(super) fn unknown(config: &LaneConfig) -> Self {
        let (height, width) = config.output_size();
        let pairs = (config.chunk_frames - 1) * config.lanes;
        Self { offsets: vec![0.0; pairs * 2 * height * width], valid: vec![0.0; pairs * height * width] }
    }

    /// Fills in one pair of frames of a photograph of (width, height) pixels, which were seen through the views `now` and `before`.
    pub(super) fn set(&mut self, pair: usize, now: &View, before: &View, photograph: (u32, u32), config: &LaneConfig) {
        let (height, width) = config.output_size();
        let (stride, pixels) = (config.output_stride as f64, height * width);
        let (offsets_x, offsets_y) = self.offsets[pair * 2 * pixels..][..2 * pixels].split_at_mut(pixels);
        let valid = &mut self.valid[pair * pixels..][..pixels];
        let [of_x, of_y] = now.seen_from(before);
        // A motion that ends on the edge counts as inside, however it was rounded.
        let inside = |position: f64, side: usize| (0.499..=side as f64 - 0.499).contains(&position);
        for at in 0..pixels {
            let (x, y) = ((at % width) as f64 + 0.5, (at / width) as f64 + 0.5);
            let was = |[along_x, along_y, origin]: [f64; 3]| along_x * x + along_y * y + origin / stride;
            let (was_x, was_y) = (was(of_x), was(of_y));
            offsets_x[at] = (was_x - x) as f32;
            offsets_y[at] = (was_y - y) as f32;
            let is_known =
                inside(was_x, width) && inside(was_y, height) && now.is_inside(x * stride, y * stride, photograph.0, photograph.1);
            valid[at] = if is_known { 1.0 } else { 0.0 };
        }
    }
}
