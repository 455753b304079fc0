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
const CELLS_ALL: usize = CELLS.0 * CELLS.1;
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

    /// Whether the last frame jumped and may be a flash.
    pub fn may_be_flash(&self) -> bool {
        self.jumped
    }

    fn is_jump(&self, change: f32) -> bool {
        let mut recent = [0.0; CHANGES_KEPT];
        let recent = &mut recent[..self.changes.len().min(CHANGES_KEPT)];
        recent.iter_mut().zip(&self.changes).for_each(|(to, &change)| *to = change);
        recent.sort_unstable_by(f32::total_cmp);
        let median = recent.get(recent.len() / 2).copied().unwrap_or(0.0);
        change > CHANGE_MIN && change > TIMES_MEDIAN * median
    }
}

/// A frame shrunk to what the verdict needs. Of a fixed size, so that a frame allocates nothing.
#[derive(Clone, Debug)]
struct Thumbnail {
    /// Columns and rows of cells: [`CELLS`], or as many as the frame has pixels.
    size: (usize, usize),
    /// Mean luma of each cell, 0 to 1.
    means: [f32; CELLS_ALL],
    /// Share of the pixels at each level.
    levels: [f32; LEVELS],
}

impl Thumbnail {
    fn of(luma: &Plane<u8>) -> Self {
        let (width, height) = (luma.width, luma.height);
        let (across, down) = (CELLS.0.min(width), CELLS.1.min(height));
        // Every second pixel says enough, at a quarter of the cost.
        let step = |side: usize, cells: usize| if side >= 4 * cells { 2 } else { 1 };
        let (step_x, step_y) = (step(width, across), step(height, down));
        // A cell's first column: the first that was looked at of those that `x * across / width` puts into it.
        let first = |cell: usize| (cell * width).div_ceil(across).next_multiple_of(step_x);
        let mut firsts = [0_usize; CELLS.0 + 1];
        firsts[..=across].iter_mut().enumerate().skip(1).for_each(|(cell, at)| *at = first(cell).min(width));
        let mut sums = [(0_u32, 0_u32); CELLS_ALL];
        // Four counts of each value, so that equal neighbors do not wait for each other.
        let mut counts = [[0_u32; 256]; 4];
        for y in (0..height).step_by(step_y) {
            let row = luma.row(y);
            for (cell, sums) in sums[y * down / height * across..][..across].iter_mut().enumerate() {
                let values = row[firsts[cell]..firsts[cell + 1]].iter().step_by(step_x);
                sums.1 += values.len() as u32;
                for (at, &value) in values.enumerate() {
                    sums.0 += u32::from(value);
                    counts[at % 4][usize::from(value)] += 1;
                }
            }
        }
        let pixels = counts.iter().flatten().sum::<u32>().max(1) as f32;
        let mut levels = [0.0; LEVELS];
        for value in 0..256 {
            levels[value * LEVELS / 256] += counts.iter().map(|counts| counts[value]).sum::<u32>() as f32 / pixels;
        }
        let means = sums.map(|(sum, count)| sum as f32 / (255 * count.max(1)) as f32);
        Self { size: (across, down), means, levels }
    }

    /// The cells that the frame has.
    fn cells(&self) -> &[f32] {
        &self.means[..self.size.0 * self.size.1]
    }

    /// How much two frames differ, 0 to 2: the mean difference of the cells and the share of pixels that changed level.
    /// Frames of different sizes differ in everything.
    fn change(&self, other: &Self) -> f32 {
        if self.size != other.size {
            return 2.0;
        }
        let cells: f32 = self.cells().iter().zip(other.cells()).map(|(a, b)| (a - b).abs()).sum();
        let levels: f32 = self.levels.iter().zip(&other.levels).map(|(a, b)| (a - b).abs()).sum();
        cells / self.cells().len().max(1) as f32 + levels / 2.0
    }

    /// The correlation of the cells, -1 to 1; 0 where a frame is flat.
    fn correlation(&self, other: &Self) -> f32 {
        if self.size != other.size {
            return 0.0;
        }
        let mean = |cells: &[f32]| cells.iter().sum::<f32>() / cells.len().max(1) as f32;
        let (mean_a, mean_b) = (mean(self.cells()), mean(other.cells()));
        let (mut ab, mut aa, mut bb) = (0.0, 1e-6, 1e-6);
        for (a, b) in self.cells().iter().zip(other.cells()) {
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

    /// The thumbnail by its definition, pixel by pixel.
    fn plain(luma: &Plane<u8>) -> (Vec<f32>, [f32; LEVELS]) {
        let (across, down) = (CELLS.0.min(luma.width), CELLS.1.min(luma.height));
        let step = |side: usize, cells: usize| if side >= 4 * cells { 2 } else { 1 };
        let mut cells = vec![(0_u32, 0_u32); across * down];
        let mut levels = [0.0; LEVELS];
        let mut pixels = 0.0;
        for y in (0..luma.height).step_by(step(luma.height, down)) {
            for x in (0..luma.width).step_by(step(luma.width, across)) {
                let value = luma.row(y)[x];
                let cell = &mut cells[y * down / luma.height * across + x * across / luma.width];
                *cell = (cell.0 + u32::from(value), cell.1 + 1);
                levels[usize::from(value) * LEVELS / 256] += 1.0;
                pixels += 1.0;
            }
        }
        (cells.into_iter().map(|(sum, count)| sum as f32 / (255 * count.max(1)) as f32).collect(), levels.map(|count| count / pixels))
    }

    #[test]
    fn a_thumbnail_is_what_its_definition_says() {
        for (width, height) in [(640, 480), (641, 97), (130, 96), (128, 95), (33, 25), (7, 3), (1, 1), (1920, 1080)] {
            let luma = Plane::from_vec(width, height, (0..width * height).map(|i| (i * i / 7 + i / width) as u8).collect());
            let (found, (cells, levels)) = (Thumbnail::of(&luma), plain(&luma));
            assert_eq!(found.cells(), cells, "{width}x{height}");
            assert!(found.levels.iter().zip(levels).all(|(f, e)| (f - e).abs() < 1e-5), "{width}x{height}: {:?} {levels:?}", found.levels);
        }
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
