//! What the lanes play and how.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::degrade::DegradeConfig;
use super::shard::Item;
use super::still_camera::MotionConfig;

/// In which order items are played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Drawn by weight, with replacement, for ever; lanes change items at different chunks. For training.
    Random,
    /// Each item once, in a mixed but fixed order, then from the beginning; all lanes change items together. For validation.
    ///
    /// `clip_share` 0 then plays only stills, 1 only clips, anything between plays both.
    Sequential,
}

/// What the lanes play and how. Shares are probabilities from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LaneConfig {
    /// Everything random follows from it.
    pub seed: u64,
    /// Parallel feeds: a step sees a chunk of each.
    pub lanes: usize,
    /// Frames of a chunk: as many as the net is unrolled over.
    pub chunk_frames: usize,
    /// Chunks of an item.
    pub chunks_per_item: usize,
    /// Width of what the net is fed, pixels.
    pub width: usize,
    /// Height of what the net is fed, pixels.
    pub height: usize,
    /// The net's color output is smaller by this, in width and in height.
    pub output_stride: usize,
    /// Order of the items.
    pub order: Order,
    /// Items that are real clips. Without clips (or stills) in the split all items are of the other kind.
    pub clip_share: f32,
    /// Relative weight of an item by its source or its tag (the packed folder's name; a class or the file's name up to the first `_`); an item that both name has the product, others have 1.
    pub source_weights: BTreeMap<String, f32>,
    /// The grey camera.
    pub degrade: DegradeConfig,
    /// The synthetic camera over photographs.
    pub motion: MotionConfig,
    /// Chunks inside an item that begin with a zero state anyway.
    pub restart_share: f32,
    /// Items with a cut to another item, where the state is zeroed.
    pub cut_share: f32,
    /// Items with a cut where it is not, as when the device misses one.
    pub missed_cut_share: f32,
    /// Whether chunks say how the picture moved from frame to frame, which `[loss.warp]` needs.
    pub flow: bool,
}

impl Default for LaneConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            lanes: 16,
            chunk_frames: 4,
            chunks_per_item: 8,
            width: 128,
            height: 128,
            output_stride: 4,
            order: Order::Random,
            clip_share: 0.15,
            source_weights: BTreeMap::new(),
            degrade: DegradeConfig::default(),
            motion: MotionConfig::default(),
            restart_share: 0.1,
            cut_share: 0.05,
            missed_cut_share: 0.05,
            flow: false,
        }
    }
}

impl LaneConfig {
    /// The same shapes and seed without any augmentation: clean centered crops of every item once, in a fixed order.
    pub fn validation(&self) -> Self {
        Self {
            order: Order::Sequential,
            clip_share: 0.5,
            source_weights: BTreeMap::new(),
            degrade: DegradeConfig::off(),
            motion: MotionConfig::off(),
            restart_share: 0.0,
            cut_share: 0.0,
            missed_cut_share: 0.0,
            ..self.clone()
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// Names the first field that is out of its range.
    pub fn check(&self) -> Result<()> {
        let counts = [
            ("lanes", self.lanes, 4096),
            ("chunk_frames", self.chunk_frames, 4096),
            ("chunks_per_item", self.chunks_per_item, 65_536),
            ("width", self.width, 4096),
            ("height", self.height, 4096),
            ("output_stride", self.output_stride, 64),
        ];
        for (name, value, high) in counts {
            ensure!((1..=high).contains(&value), "lanes: {name} is {value}; it must be between 1 and {high}");
        }
        for (name, side) in [("width", self.width), ("height", self.height)] {
            ensure!(
                side.is_multiple_of(self.output_stride),
                "lanes: {name} is {side}, which output_stride {} does not divide",
                self.output_stride
            );
        }
        let shares = [
            ("clip_share", self.clip_share, 1.0),
            ("restart_share", self.restart_share, 1.0),
            ("cut_share", self.cut_share, 1.0),
            ("missed_cut_share", self.missed_cut_share, 1.0 - self.cut_share),
        ];
        for (name, value, high) in shares {
            ensure!((0.0..=high).contains(&value), "lanes: {name} is {value}; it must be between 0 and {high}");
        }
        for (name, &weight) in &self.source_weights {
            ensure!(weight.is_finite() && weight >= 0.0, "lanes: source_weights.{name} is {weight}; it must be 0 or a positive number");
        }
        match self.degrade.problem().or_else(|| self.motion.problem()) {
            Some(problem) => bail!("lanes: {problem}"),
            None => Ok(()),
        }
    }

    /// `h` and `w`, the size of the color target.
    pub fn output_size(&self) -> (usize, usize) {
        (self.height / self.output_stride, self.width / self.output_stride)
    }

    /// K x T.
    pub(super) fn item_frames(&self) -> usize {
        self.chunks_per_item * self.chunk_frames
    }

    pub(super) fn weight(&self, item: &Item) -> f64 {
        let weight = |name: &String| self.source_weights.get(name).map_or(1.0, |&weight| f64::from(weight));
        // A source that is its own tag, such as one film, is weighed once.
        if item.source == item.tag { weight(&item.source) } else { weight(&item.source) * weight(&item.tag) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_in_the_configuration_are_named() {
        struct Case {
            config: LaneConfig,
            says: &'static str,
        }
        let motion = MotionConfig { window_min: 0.0, ..MotionConfig::default() };
        let degrade = DegradeConfig { noise_share: f32::NAN, ..DegradeConfig::default() };
        let cases = [
            Case { config: LaneConfig { width: 130, ..LaneConfig::default() }, says: "width is 130, which output_stride 4" },
            Case { config: LaneConfig { lanes: 0, ..LaneConfig::default() }, says: "lanes is 0" },
            Case { config: LaneConfig { cut_share: 1.5, ..LaneConfig::default() }, says: "cut_share is 1.5" },
            Case { config: LaneConfig { motion, ..LaneConfig::default() }, says: "motion.window_min is 0" },
            Case { config: LaneConfig { degrade, ..LaneConfig::default() }, says: "degrade.noise_share is NaN" },
        ];
        for case in cases {
            let message = case.config.check().unwrap_err().to_string();
            assert!(message.contains(case.says), "{message}");
        }
        LaneConfig::default().check().unwrap();
        LaneConfig::default().validation().check().unwrap();
    }
}
