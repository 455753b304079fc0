//! True colors as shares of the few bins around each. The loader's threads encode them, beside the training: on its own thread a GPU would wait for it.

use autochrome_model::bins;

/// How colors are encoded softly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoftEncoding<'a> {
    /// The bins.
    pub centers: &'a [[f32; 2]],
    /// `K`, the bins that a color is shared among.
    pub neighbors: usize,
    /// The Gaussian by which, in Lab units.
    pub sigma: f32,
}

impl SoftEncoding<'_> {
    /// Encodes the planes `ab`, `[N][2][pixels]` in Lab units.
    pub fn encode(&self, ab: &[f32], pixels: usize) -> SoftColors {
        let neighbors = self.neighbors.min(self.centers.len());
        let size = ab.len() / 2 * neighbors;
        let mut colors = SoftColors { neighbors, bins: vec![0; size], shares: vec![0.0; size] };
        for (frame, ab) in ab.chunks_exact(2 * pixels).enumerate() {
            for i in 0..pixels {
                let mut at = frame * neighbors * pixels + i;
                bins::soft_encode(self.centers, [ab[i], ab[pixels + i]], neighbors, self.sigma, |bin, share| {
                    (colors.bins[at], colors.shares[at]) = (bin as i32, share);
                    at += pixels;
                });
            }
        }
        colors
    }
}

/// Colors as shares of bins: all bins would be ten times as many numbers and more, to be carried to a GPU in every step.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftColors {
    /// `K`.
    pub neighbors: usize,
    /// `[N][K][h][w]`: which bins, the nearest first.
    pub bins: Vec<i32>,
    /// `[N][K][h][w]`: their shares, summing to 1 over `K`.
    pub shares: Vec<f32>,
}
