//! Where one shot ends and another begins, so that the colors of the one are not carried into the other.
//!
//! A frame *jumps* if it differs from the one before it by much more than frames did lately, and by more than a floor, and if its picture
//! is another one: a room whose light is switched has other levels, but the same picture. A jump is a cut unless the frame after it looks
//! like the frame before it, which is a flash. So a cut is known only one frame later. Where that frame is at hand (files, pipes) the
//! verdict falls on the first frame of the new shot; of a camera, whose frames cannot wait, it falls on the second.

use std::collections::VecDeque;

use autochrome_model::Plane;

/// A jump is at least this large; see [`Thumbnail::change`].
const CHANGE_MIN: f32 = 0.22;
/// A jump is at least this many times the median of the recent changes.
const TIMES_MEDIAN: f32 = 3.0;
/// How many changes the median is taken over.
const CHANGES_KEPT: usize = 25;
/// Two frames whose thumbnails correlate as much as this show the same picture, whatever the light.
const SAME_PICTURE: f32 = 0.75;
const CELLS: (usize, usize) = (32, 24);
const LEVELS: usize = 16;

/// Watches a feed for cuts.
#[derive(Debug, Default)]
pub struct CutDetector {
    /// The last frame that did not jump.
    last: Option<Thumbnail>,
    /// Whether the frame after `last` jumped and may be a flash.
    jumped: bool,
    changes: VecDeque<f32>,
}

impl CutDetector {
    /// Whether the state should be forgotten before this frame. `next` is the frame after it, where it is known already.
    pub fn is_cut(&mut self, luma: &Plane<u8>, next: Option<&Plane<u8>>) -> bool {
        let now = Thumbnail::of(luma);
        let Some(last) = &self.last else {
            self.last = Some(now);
            return false;
        };
        let change = now.change(last);
        let jumps = self.is_jump(change) && now.correlation(last) < SAME_PICTURE;
        if jumps && !self.jumped {
            let back = next.is_none_or(|next| {
                let next = Thumbnail::of(next);
                !self.is_jump(next.change(last)) || next.correlation(last) >= SAME_PICTURE
            });
            if back {
                self.jumped = true;
                return false;
            }
        }
        self.jumped = false;
        self.last = Some(now);
        if jumps {
            self.changes.clear();
        } else {
            self.changes.push_back(change);
            self.changes.drain(..self.changes.len().saturating_sub(CHANGES_KEPT));
        }
        jumps
    }

    fn is_jump(&self, change: f32) -> bool {
        let mut recent: Vec<f32> = self.changes.iter().copied().collect();
        recent.sort_by(f32::total_cmp);
        let median = recent.get(recent.len() / 2).copied().unwrap_or(0.0);
        change > CHANGE_MIN && change > TIMES_MEDIAN * median
    }
}

/// A frame shrunk to what the verdict needs.
#[derive(Clone, Debug)]
struct Thumbnail {
    /// Mean luma of each cell, 0 to 1.
    cells: Vec<f32>,
    /// Share of the pixels at each level.
    levels: [f32; LEVELS],
}

impl Thumbnail {
    fn of(luma: &Plane<u8>) -> Self {
        let (across, down) = (CELLS.0.min(luma.width), CELLS.1.min(luma.height));
        let mut sums = vec![(0_u32, 0_u32); across * down];
        let mut counts = [0_u32; 256];
        // Every second pixel says enough, at a quarter of the cost.
        let step = |side: usize, cells: usize| if side >= 4 * cells { 2 } else { 1 };
        let (step_x, step_y) = (step(luma.width, across), step(luma.height, down));
        let columns: Vec<usize> = (0..luma.width).step_by(step_x).map(|x| x * across / luma.width).collect();
        for y in (0..luma.height).step_by(step_y) {
            let row = &mut sums[y * down / luma.height * across..][..across];
            for (&value, &cell) in luma.row(y).iter().step_by(step_x).zip(&columns) {
                row[cell].0 += u32::from(value);
                row[cell].1 += 1;
                counts[usize::from(value)] += 1;
            }
        }
        let pixels = counts.iter().sum::<u32>().max(1) as f32;
        let mut levels = [0.0; LEVELS];
        counts.iter().enumerate().for_each(|(value, &count)| levels[value * LEVELS / 256] += count as f32 / pixels);
        Self { cells: sums.into_iter().map(|(sum, count)| sum as f32 / (255 * count.max(1)) as f32).collect(), levels }
    }

    /// How much two frames differ, 0 to 2: the mean difference of the cells and the share of pixels that changed level.
    /// Frames of different sizes differ in everything.
    fn change(&self, other: &Self) -> f32 {
        if self.cells.len() != other.cells.len() {
            return 2.0;
        }
        let cells: f32 = self.cells.iter().zip(&other.cells).map(|(a, b)| (a - b).abs()).sum();
        let levels: f32 = self.levels.iter().zip(&other.levels).map(|(a, b)| (a - b).abs()).sum();
        cells / self.cells.len().max(1) as f32 + levels / 2.0
    }

    /// The correlation of the cells, -1 to 1; 0 where a frame is flat.
    fn correlation(&self, other: &Self) -> f32 {
        if self.cells.len() != other.cells.len() {
            return 0.0;
        }
        let mean = |cells: &[f32]| cells.iter().sum::<f32>() / cells.len().max(1) as f32;
        let (mean_a, mean_b) = (mean(&self.cells), mean(&other.cells));
        let (mut ab, mut aa, mut bb) = (0.0, 1e-6, 1e-6);
        for (a, b) in self.cells.iter().zip(&other.cells) {
            let (a, b) = (a - mean_a, b - mean_b);
            (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
        }
        ab / f32::sqrt(aa * bb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{Photos, photos};

    const NONE: [Vec<usize>; 2] = [vec![], vec![]];

    type Scene = fn(usize, usize) -> f32;

    fn scene(draw: Scene, gain: f32, shift: usize) -> Plane<u8> {
        Plane::from_vec(160, 120, (0..160 * 120).map(|i| (draw(i % 160 + shift, i / 160) * gain).clamp(0.0, 255.0) as u8).collect())
    }

    fn hills(x: usize, y: usize) -> f32 {
        120.0 + 70.0 * (x as f32 / 25.0).sin() + y as f32 / 3.0
    }

    fn wall(x: usize, y: usize) -> f32 {
        if (x / 20 + y / 30).is_multiple_of(2) { 30.0 } else { 70.0 }
    }

    /// The frames on which a cut is seen, with the next frame at hand and without.
    fn cuts(frames: &[Plane<u8>]) -> [Vec<usize>; 2] {
        [true, false].map(|ahead| {
            let mut detector = CutDetector::default();
            (0..frames.len()).filter(|&i| detector.is_cut(&frames[i], frames.get(i + 1).filter(|_| ahead))).collect()
        })
    }

    #[test]
    fn a_cut_is_seen_on_its_first_frame_or_the_one_after() {
        let mut frames: Vec<_> = (0..10).map(|i| scene(hills, 1.0, i)).collect();
        frames.extend((0..10).map(|i| scene(wall, 1.0, i)));
        assert_eq!(cuts(&frames), [vec![10], vec![11]]);
    }

    #[test]
    fn a_flash_is_no_cut() {
        let mut frames: Vec<_> = (0..20).map(|i| scene(hills, 1.0, i)).collect();
        frames[8] = Plane::filled(160, 120, 255);
        frames[14] = scene(wall, 1.0, 0);
        assert_eq!(cuts(&frames), NONE);
    }

    #[test]
    fn a_light_that_is_switched_is_no_cut() {
        let gains = [1.0, 1.0, 1.0, 1.0, 0.35, 0.35, 0.35, 0.35, 1.1, 1.1];
        let frames: Vec<_> = gains.iter().enumerate().map(|(i, &gain)| scene(hills, gain, i)).collect();
        assert_eq!(cuts(&frames), NONE);
    }

    #[test]
    fn motion_is_no_cut() {
        let frames: Vec<_> = (0..30).map(|i| scene(wall, 1.0, 9 * i)).collect();
        assert_eq!(cuts(&frames), NONE);
        let flat: Vec<_> = (0..5).map(|i| Plane::filled(1, 1, i)).collect();
        assert_eq!(cuts(&flat), NONE);
    }

    #[test]
    fn the_demo_is_cut_between_its_photographs_and_nowhere_else() {
        let photos = Photos::new().unwrap();
        let frames: Vec<_> = (0..photos::FRAMES_ALL + 10).step_by(5).map(|i| photos.draw(i)).collect();
        let each = (photos::FRAMES_EACH / 5) as usize;
        assert_eq!(cuts(&frames), [vec![each, 2 * each, 3 * each, 4 * each], vec![each + 1, 2 * each + 1, 3 * each + 1, 4 * each + 1]]);
    }
}
