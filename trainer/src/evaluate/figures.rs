//! What is measured on single pictures.

use autochrome_model::Chroma;
use serde::{Deserialize, Serialize};

use super::pictures::TruePicture;
use crate::metrics::{AccuracyArea, Bleeding, RarityWeights, ab_distance, colorfulness, mean_chroma, psnr, ssim};

/// Figures of one colorist, or of the truth, on single pictures, each from a zero state; means over the pictures where nothing else is said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StillFigures {
    /// Where the pictures come from; "all" for all.
    pub source: String,
    /// How many pictures.
    pub pictures: usize,
    /// Hasler and Suesstrunk's colorfulness, absolute form.
    pub colorfulness: f64,
    /// Their own, signed form.
    pub colorfulness_signed: f64,
    /// Mean of sqrt(a*² + b*²), Lab units.
    pub chroma: f64,
    /// The bleed ratio over all pictures; absent where there is no color.
    pub bleeding: Option<f64>,
    /// What compares it with the truth; absent for the truth itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_truth: Option<AgainstTruth>,
}

/// How near a colorist comes to the truth.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgainstTruth {
    /// RGB PSNR of the truth's L* with the colorist's ab, dB.
    pub psnr: f64,
    /// That, less the same of the truth's L* alone, dB.
    pub gain: f64,
    /// SSIM of the same pictures.
    pub ssim: f64,
    /// Mean ab distance over the pixels, Lab units.
    pub ab_distance: f64,
    /// AuC, 0 to 1, over all pixels.
    pub auc: f64,
    /// AuC, rebalanced, 0 to 1, over all pixels.
    pub auc_rebalanced: f64,
    /// |mean colorfulness - the truth's|, absolute form.
    pub delta_colorfulness: f64,
    /// Colorfulness, absolute form, over the truth's.
    pub colorfulness_share: f64,
    /// Mean chroma over the truth's.
    pub saturation_retention: f64,
    /// Frechet distance of the features, where a network for them was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fid: Option<f64>,
    /// Mean perceptual distance, where a network for it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lpips: Option<f64>,
}

/// Sums over pictures.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pictures: usize,
    colorfulness: [f64; 2],
    chroma: f64,
    bleeding: Bleeding,
    /// PSNR, grey PSNR, SSIM, ab distance.
    fidelity: [f64; 4],
    area: AccuracyArea,
    lpips: Option<f64>,
}

impl Tally {
    /// Adds what a colorist made of a picture: its ab, the same as RGB, and the PSNR of no color.
    pub(super) fn add(&mut self, truth: &TruePicture, found: &Chroma, rgb: &[u8], psnr_grey: f64, rarity: &RarityWeights) {
        self.add_colors(truth, found, rgb);
        let (width, height) = truth.size();
        let values = [psnr(rgb, &truth.rgb), psnr_grey, ssim(rgb, &truth.rgb, width, height), ab_distance(found, &truth.chroma)];
        self.fidelity.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        self.area.add(found, &truth.chroma, rarity);
    }

    /// Adds only what needs no truth.
    pub(super) fn add_colors(&mut self, truth: &TruePicture, found: &Chroma, rgb: &[u8]) {
        self.pictures += 1;
        self.colorfulness[0] += colorfulness(rgb, false);
        self.colorfulness[1] += colorfulness(rgb, true);
        self.chroma += mean_chroma(found);
        self.bleeding.add(found, &truth.lightness);
    }

    /// Adds a picture's perceptual distance.
    pub(super) fn add_lpips(&mut self, distance: f64) {
        *self.lpips.get_or_insert(0.0) += distance;
    }

    /// The truth's figures.
    pub(super) fn of_truth(&self, source: &str) -> StillFigures {
        let mean = |sum: f64| sum / self.pictures.max(1) as f64;
        StillFigures {
            source: source.to_owned(),
            pictures: self.pictures,
            colorfulness: mean(self.colorfulness[0]),
            colorfulness_signed: mean(self.colorfulness[1]),
            chroma: mean(self.chroma),
            bleeding: self.bleeding.ratio(),
            against_truth: None,
        }
    }

    /// A colorist's figures beside the truth's.
    pub(super) fn against(&self, truth: &StillFigures) -> StillFigures {
        let mean = |sum: f64| sum / self.pictures.max(1) as f64;
        let own = self.of_truth(&truth.source);
        let [psnr, psnr_grey, ssim, ab_distance] = self.fidelity.map(mean);
        let against_truth = AgainstTruth {
            psnr,
            gain: psnr - psnr_grey,
            ssim,
            ab_distance,
            auc: self.area.raw(),
            auc_rebalanced: self.area.rebalanced(),
            delta_colorfulness: (own.colorfulness - truth.colorfulness).abs(),
            colorfulness_share: own.colorfulness / truth.colorfulness,
            saturation_retention: own.chroma / truth.chroma,
            fid: None,
            lpips: self.lpips.map(mean),
        };
        StillFigures { against_truth: Some(against_truth), ..own }
    }
}
