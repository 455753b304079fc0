//! Quality figures, as the literature defines them: pure functions of pictures, and sums over many of them.
//!
//! Pictures are tight 8-bit RGB, row-major, gamma-coded; ab is in Lab units.

mod accuracy;
mod bleeding;
mod color;
mod fidelity;
mod frechet;
mod steadiness;
mod warp;

pub use accuracy::{AccuracyArea, RarityWeights};
pub use bleeding::Bleeding;
pub use color::{ab_distance, ab_distances, colorfulness, mean_chroma};
pub use fidelity::{SSIM_SIDE, psnr, ssim};
pub use frechet::frechet_distance;
pub use steadiness::{OverTime, color_distribution_consistency, histograms, jensen_shannon, settling};
pub use warp::WarpError;
