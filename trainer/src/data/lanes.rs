//! Plays a packed set as `B` parallel grey camera feeds with known color, in chunks of `T` frames.
//!
//! Every lane plays an item (a filmed photograph or a real clip) for `K` chunks and then the next, so that a recurrent net can carry its
//! state from chunk to chunk. A chunk is a pure function of the configuration and its number: a resumed run asks for the next number and
//! sees what it would have seen, and any number of threads may prepare chunks in any order.

use std::fmt;
use std::sync::Arc;

use anyhow::{Result, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::degrade::{ItemDegradation, Scratch};
use super::flow::Flow;
pub use super::lane_config::{LaneConfig, Order};
use super::shard::{Item, ItemKind, PackedSet};
use super::split::Split;
use super::still_camera::{Source, StillCamera, sample};
use super::target::mean_ab;

/// `T` frames of all lanes.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Counts from 0.
    pub number: u64,
    /// `[T][B][H][W]`: scaled lightness (L*-50)/100 of the degraded grey picture, the net's input.
    pub lightness: Vec<f32>,
    /// `[T][B][2][h][w]`: a* and b* of the undegraded picture, Lab units.
    pub ab: Vec<f32>,
    /// `[T][B]`: the lane's state is zeroed before this frame.
    pub reset: Vec<bool>,
    /// How the picture moved, where [`LaneConfig::flow`] asks for it.
    pub flow: Option<Flow>,
}

/// Items to draw from, by weight.
#[derive(Debug, Default)]
struct Pool {
    /// Indices into the split's items.
    items: Vec<usize>,
    /// Running sums of the weights.
    sums: Vec<f64>,
}

impl Pool {
    fn add(&mut self, item: usize, weight: f64) {
        if weight > 0.0 {
            self.sums.push(self.sums.last().copied().unwrap_or(0.0) + weight);
            self.items.push(item);
        }
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> usize {
        let total = self.sums.last().copied().expect("an empty pool is never drawn from");
        let at = rng.random::<f64>() * total;
        // The product may be rounded up to the total.
        let place = self.sums.partition_point(|&sum| sum <= at).min(self.items.len() - 1);
        self.items[place]
    }
}

/// The loader: makes any chunk by its number.
pub struct Lanes {
    set: Arc<PackedSet>,
    split: Split,
    config: LaneConfig,
    stills: Pool,
    clips: Pool,
    /// What [`Order::Sequential`] plays.
    sequence: Vec<usize>,
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("split", &self.split).field("config", &self.config).finish_non_exhaustive()
    }
}

/// What one lane does during one item.
struct Plan {
    shots: Vec<Shot>,
    degradation: ItemDegradation,
    /// By chunk of the item: begin from zero.
    restarts: Vec<bool>,
    /// Whether the cut between the shots zeroes the state.
    cut_resets: bool,
}

/// Uninterrupted frames of one photograph or clip.
struct Shot {
    /// Index into the split's items.
    item: usize,
    camera: StillCamera,
    /// Frame of the lane's item at which the shot begins.
    begin: usize,
    /// Frame of the clip that is shown first.
    start: usize,
}

impl Lanes {
    /// Prepares to play one split of a packed set.
    ///
    /// # Errors
    /// When the configuration is out of range, or the split has no item to play with a weight above 0.
    pub fn new(set: Arc<PackedSet>, split: Split, config: LaneConfig) -> Result<Self> {
        config.check()?;
        let items = set.items(split);
        let (mut stills, mut clips) = (Pool::default(), Pool::default());
        for (index, item) in items.iter().enumerate() {
            let pool = match item.kind {
                ItemKind::Still => &mut stills,
                ItemKind::Clip => &mut clips,
            };
            pool.add(index, config.weight(item));
        }
        let with_stills = config.clip_share < 1.0;
        let with_clips = config.clip_share > 0.0;
        let mut sequence: Vec<usize> = Vec::new();
        if config.order == Order::Sequential {
            sequence.extend(stills.items.iter().filter(|_| with_stills));
            sequence.extend(clips.items.iter().filter(|_| with_clips));
            // Mixed, so that the first few chunks are a fair sample of all sources.
            sequence.sort_by_cached_key(|&index| Sha256::digest(format!("{}/{}", items[index].source, items[index].name)).to_vec());
        }
        let playable = match config.order {
            Order::Random => !(stills.items.is_empty() && clips.items.is_empty()),
            Order::Sequential => !sequence.is_empty(),
        };
        ensure!(
            playable,
            "the packed set {} has nothing to play for {split}: {} items, {} stills and {} clips with a weight above 0, clip_share {}; \
             pack more pictures or change the weights",
            set.folder().display(),
            items.len(),
            stills.items.len(),
            clips.items.len(),
            config.clip_share
        );
        Ok(Self { set, split, config, stills, clips, sequence })
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &LaneConfig {
        &self.config
    }

    /// Names in `source_weights` that no item of the packed set has, in either split: likely typing mistakes, worth a warning.
    pub fn unused_weights(&self) -> Vec<String> {
        let items = || Split::ALL.iter().flat_map(|&split| self.set.items(split));
        let known = |name: &str| items().any(|item| item.source == name || item.tag == name);
        self.config.source_weights.keys().filter(|name| !known(name)).cloned().collect()
    }

    /// How many chunks play every item once; with [`Order::Random`], as many as hold that many items.
    ///
    /// When the last round of lanes is not full it is filled up from the beginning.
    pub fn chunks_per_pass(&self) -> u64 {
        let items = match self.config.order {
            Order::Random => self.stills.items.len() + self.clips.items.len(),
            Order::Sequential => self.sequence.len(),
        };
        (items.div_ceil(self.config.lanes) * self.config.chunks_per_item) as u64
    }

    /// The item that a lane shows in the first frame of a chunk, for labels.
    ///
    /// # Panics
    /// When `lane` is not below the number of lanes.
    pub fn playing(&self, number: u64, lane: usize) -> &Item {
        assert!(lane < self.config.lanes, "lane {lane} of {}", self.config.lanes);
        let (item, part) = self.position(number, lane);
        let plan = self.plan(lane, item);
        &self.set.items(self.split)[plan.shot_at(part * self.config.chunk_frames).item]
    }

    /// Makes one chunk; the same number always gives the same chunk.
    pub fn chunk(&self, number: u64) -> Chunk {
        let LaneConfig { lanes, chunk_frames, width, height, output_stride, .. } = self.config;
        let (pixels, outputs) = (width * height, width * height / (output_stride * output_stride));
        let mut chunk = Chunk {
            number,
            lightness: vec![0.0; chunk_frames * lanes * pixels],
            ab: vec![0.0; chunk_frames * lanes * 2 * outputs],
            reset: vec![false; chunk_frames * lanes],
            flow: self.config.flow.then(|| Flow::unknown(&self.config)),
        };
        let mut rgb = vec![0; pixels * 3];
        let mut scratch = Scratch::default();
        let items = self.set.items(self.split);
        for lane in 0..lanes {
            let (item_number, part) = self.position(number, lane);
            let plan = self.plan(lane, item_number);
            // Which shot was seen last, and how.
            let mut before = None;
            for t in 0..chunk_frames {
                let frame = part * chunk_frames + t;
                let shot = plan.shot_at(frame);
                let item = &items[shot.item];
                let shown = ping_pong(shot.start + frame - shot.begin, item.frames as usize);
                let source = Source { rgb: self.set.frame(item, shown), width: item.width, height: item.height };
                let mut rng = stream(self.config.seed, lane, item_number, frame as u64 + 1);
                let view = shot.camera.view(frame, &mut rng);
                sample(source, &view, width, height, &mut rgb);
                if let Some(flow) = &mut chunk.flow {
                    let now = (shot.begin, view);
                    // A film moves by itself, nobody knows how. Frames on either side of a cut have nothing in common.
                    if let Some((begin, earlier)) = before.replace(now)
                        && item.kind == ItemKind::Still
                        && begin == shot.begin
                    {
                        flow.set((t - 1) * lanes + lane, &view, &earlier, &self.config);
                    }
                }

                let place = t * lanes + lane;
                let lightness = &mut chunk.lightness[place * pixels..][..pixels];
                plan.degradation.apply(&rgb, width, frame, &mut rng, &mut scratch, lightness);
                mean_ab(&rgb, width, output_stride, &mut chunk.ab[place * 2 * outputs..][..2 * outputs]);
                chunk.reset[place] = frame == 0
                    // Nobody has a state before the first chunk, also where a lane begins within an item.
                    || (number == 0 && t == 0)
                    || (t == 0 && plan.restarts[part])
                    || (plan.cut_resets && shot.begin > 0 && frame == shot.begin);
            }
        }
        chunk
    }

    /// Which item a lane plays in a chunk, counted from 0, and which of its `K` parts.
    fn position(&self, number: u64, lane: usize) -> (u64, usize) {
        let length = self.config.chunks_per_item as u64;
        // Lanes that all changed their items together would give chunks of only young or only old states.
        let ahead = match self.config.order {
            Order::Random => lane as u64 * length / self.config.lanes as u64,
            Order::Sequential => 0,
        };
        // A chunk number near u64::MAX is of no use; it must not panic either.
        let at = number.saturating_add(ahead);
        (at / length, (at % length) as usize)
    }

    /// Draws everything that stays the same during an item.
    fn plan(&self, lane: usize, item_number: u64) -> Plan {
        let config = &self.config;
        let total = config.item_frames();
        let mut rng = stream(config.seed, lane, item_number, 0);
        let first = match config.order {
            Order::Random => self.draw(&mut rng),
            Order::Sequential => {
                let place = (u128::from(item_number) * config.lanes as u128 + lane as u128) % self.sequence.len() as u128;
                self.sequence[place as usize]
            }
        };
        let mut shots = vec![self.shot(first, 0, &mut rng)];
        let kind = rng.random::<f32>();
        let has_cut = kind < config.cut_share + config.missed_cut_share && total > 1;
        if has_cut {
            // In the middle half: both shots are long enough to be worth remembering.
            let begin = rng.random_range((total / 4).max(1)..=(total * 3 / 4).max(1));
            let second = self.draw(&mut rng);
            shots.push(self.shot(second, begin, &mut rng));
        }
        let restarts = (0..config.chunks_per_item).map(|_| rng.random::<f32>() < config.restart_share).collect();
        // The same camera before and after a cut: a device keeps its own, and a film was shot on one stock.
        let degradation = ItemDegradation::sample(&config.degrade, config.width, total, &mut rng);
        Plan { shots, degradation, restarts, cut_resets: kind < config.cut_share }
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> usize {
        let clip = rng.random::<f32>() < self.config.clip_share;
        let pool = match (clip, self.stills.items.is_empty(), self.clips.items.is_empty()) {
            (_, true, _) => &self.clips,
            (_, _, true) => &self.stills,
            (true, ..) => &self.clips,
            (false, ..) => &self.stills,
        };
        pool.draw(rng)
    }

    fn shot(&self, index: usize, begin: usize, rng: &mut ChaCha8Rng) -> Shot {
        let item = &self.set.items(self.split)[index];
        let still = item.kind == ItemKind::Still;
        let size = (self.config.width, self.config.height);
        let camera = StillCamera::sample(&self.config.motion, (item.width, item.height), size, still, rng);
        let start = match self.config.order {
            Order::Random => first_frame(item.frames as usize, self.config.item_frames() - begin, rng),
            Order::Sequential => 0,
        };
        Shot { item: index, camera, begin, start }
    }
}

impl Plan {
    fn shot_at(&self, frame: usize) -> &Shot {
        self.shots.iter().rev().find(|shot| shot.begin <= frame).expect("the first shot begins at frame 0")
    }
}

/// The random numbers of one item (`frame` 0) or of one of its frames (counted from 1).
fn stream(seed: u64, lane: usize, item: u64, frame: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, number) in key.chunks_exact_mut(8).zip([seed, lane as u64, item, frame]) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// A start from which `wanted` frames can be played forwards, or any where the clip is too short for that.
fn first_frame(frames: usize, wanted: usize, rng: &mut ChaCha8Rng) -> usize {
    if frames >= wanted { rng.random_range(0..=frames - wanted) } else { rng.random_range(0..frames) }
}

/// The frame to show when playing back and forth: 0 1 2 3 2 1 0 1 ... for four frames.
fn ping_pong(at: usize, frames: usize) -> usize {
    if frames <= 1 {
        return 0;
    }
    let period = 2 * (frames - 1);
    let at = at % period;
    at.min(period - at)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use autochrome_model::color::{LumaRange, lightness_table, srgb_to_lab};

    use super::super::shard::test_sets::{new_item, pack_of, small_set};
    use super::super::still_camera::MotionConfig;
    use super::*;

    fn small_config() -> LaneConfig {
        LaneConfig { lanes: 3, chunk_frames: 4, chunks_per_item: 3, width: 32, height: 24, clip_share: 0.4, ..LaneConfig::default() }
    }

    fn small_lanes(folder: &Path, config: LaneConfig) -> Lanes {
        Lanes::new(Arc::new(small_set(folder)), Split::Train, config).unwrap()
    }

    /// A set of one still for training.
    fn still_set(folder: &Path, width: u32, height: u32, rgb: &[u8]) -> Arc<PackedSet> {
        let item = new_item("one.png", ItemKind::Still, width, height, Split::Train);
        Arc::new(pack_of(folder, [(item, rgb.to_vec())]))
    }

    #[test]
    fn a_chunk_is_the_same_whenever_and_by_whomever_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let lanes = small_lanes(folder.path(), small_config());
        let chunk = lanes.chunk(17);
        assert_eq!(chunk.lightness.len(), 4 * 3 * 24 * 32);
        assert_eq!(chunk.ab.len(), 4 * 3 * 2 * 6 * 8);
        lanes.chunk(3);
        assert_eq!(lanes.chunk(17), chunk);
        let fresh = Lanes::new(Arc::new(PackedSet::open(folder.path()).unwrap()), Split::Train, small_config()).unwrap();
        assert_eq!(fresh.chunk(17), chunk);
        assert_ne!(lanes.chunk(18).lightness, chunk.lightness);
        let other = LaneConfig { seed: 2, ..small_config() };
        assert_ne!(Lanes::new(Arc::clone(&lanes.set), Split::Train, other).unwrap().chunk(17).lightness, chunk.lightness);
    }

    #[test]
    fn without_restarts_and_cuts_the_state_is_zeroed_at_item_starts_only() {
        let folder = tempfile::tempdir().unwrap();
        let config = LaneConfig { restart_share: 0.0, cut_share: 0.0, missed_cut_share: 0.0, ..small_config() };
        let lanes = small_lanes(folder.path(), config);
        for number in 0..12 {
            let chunk = lanes.chunk(number);
            for (place, &reset) in chunk.reset.iter().enumerate() {
                let (t, lane) = (place / 3, place % 3);
                // Three lanes, three chunks an item: lane l is l chunks ahead. All lanes begin with chunk 0.
                let starts = t == 0 && (number == 0 || (number + lane as u64).is_multiple_of(3));
                assert_eq!(reset, starts, "chunk {number}, frame {t}, lane {lane}");
            }
        }
    }

    #[test]
    fn restarts_come_at_chunk_starts_and_cuts_where_the_picture_changes() {
        let folder = tempfile::tempdir().unwrap();
        let restarting = small_lanes(folder.path(), LaneConfig { restart_share: 1.0, cut_share: 0.0, ..small_config() });
        for number in 0..6 {
            let expected: Vec<bool> = (0..12).map(|place| place < 3).collect();
            assert_eq!(restarting.chunk(number).reset, expected);
        }
        let set = Arc::clone(&restarting.set);
        let cut = LaneConfig { restart_share: 0.0, cut_share: 1.0, missed_cut_share: 0.0, ..small_config() };
        let missed = LaneConfig { cut_share: 0.0, missed_cut_share: 1.0, ..cut.clone() };
        let count = |config: LaneConfig| {
            let lanes = Lanes::new(Arc::clone(&set), Split::Train, config).unwrap();
            // Three whole items of every lane, beginning after the lanes' shorter first ones.
            (3..12).map(|number| lanes.chunk(number).reset.iter().filter(|&&reset| reset).count()).sum::<usize>()
        };
        assert_eq!((count(cut), count(missed)), (2 * 9, 9));
    }

    #[test]
    fn a_cut_shows_another_shot_from_the_middle_on() {
        let folder = tempfile::tempdir().unwrap();
        let lanes = small_lanes(folder.path(), LaneConfig { cut_share: 1.0, missed_cut_share: 0.0, ..small_config() });
        for item in 0..50 {
            let plan = lanes.plan(1, item);
            let begin = plan.shots[1].begin;
            assert!((3..=9).contains(&begin), "{begin}");
            assert_eq!((plan.shot_at(begin - 1).begin, plan.shot_at(begin).begin), (0, begin));
        }
    }

    #[test]
    fn a_clean_grey_world_has_the_lightness_of_the_table_and_no_color() {
        let folder = tempfile::tempdir().unwrap();
        let rgb: Vec<u8> = (0..32 * 24).flat_map(|i| [(i % 256) as u8; 3]).collect();
        let set = still_set(folder.path(), 32, 24, &rgb);
        let lanes = Lanes::new(set, Split::Train, small_config().validation()).unwrap();
        let chunk = lanes.chunk(0);
        let table = lightness_table(LumaRange::Full);
        for (i, &lightness) in chunk.lightness[..32 * 24].iter().enumerate() {
            assert_eq!(lightness, (table[i % 256] - 50.0) / 100.0);
        }
        // The matrix rows and the white point have six decimals, so that grey is off by some thousandths.
        assert!(chunk.ab.iter().all(|value| value.abs() < 0.02));
    }

    #[test]
    fn the_target_of_a_flat_color_is_that_color() {
        let folder = tempfile::tempdir().unwrap();
        let color = [180, 60, 30];
        let set = still_set(folder.path(), 40, 40, &color.repeat(1600));
        let lanes = Lanes::new(set, Split::Train, small_config()).unwrap();
        let [_, a, b] = srgb_to_lab(color);
        // Camera and degradation are on: a flat picture looks the same from everywhere, and the target ignores the degradation.
        for frame in lanes.chunk(5).ab.chunks_exact(2 * 48) {
            // The mean of 16 equal numbers in f32.
            assert!(frame[..48].iter().all(|&found| (found - a).abs() < 0.01));
            assert!(frame[48..].iter().all(|&found| (found - b).abs() < 0.01));
        }
    }

    #[test]
    fn lightness_and_color_are_flipped_together() {
        let folder = tempfile::tempdir().unwrap();
        // Left black, right saturated red.
        let rgb: Vec<u8> = (0..24).flat_map(|_| (0..32).flat_map(|x| if x < 16 { [0; 3] } else { [220, 0, 0] })).collect();
        let set = still_set(folder.path(), 32, 24, &rgb);
        for (flip_share, red_left) in [(0.0, false), (1.0, true)] {
            let config = LaneConfig { motion: MotionConfig { flip_share, ..MotionConfig::off() }, ..small_config().validation() };
            let chunk = Lanes::new(Arc::clone(&set), Split::Train, config).unwrap().chunk(0);
            assert_eq!(chunk.lightness[0] > chunk.lightness[31], red_left);
            assert_eq!(chunk.ab[0] > chunk.ab[7], red_left);
            assert!(chunk.ab[0].max(chunk.ab[7]) > 50.0);
        }
    }

    #[test]
    fn short_clips_play_back_and_forth() {
        let shown: Vec<_> = (0..9).map(|at| ping_pong(at, 4)).collect();
        assert_eq!(shown, [0, 1, 2, 3, 2, 1, 0, 1, 2]);
        assert_eq!(ping_pong(1000, 1), 0);
        let mut rng = stream(1, 0, 0, 0);
        for _ in 0..100 {
            assert!(first_frame(60, 32, &mut rng) <= 28);
            assert!(first_frame(5, 32, &mut rng) < 5);
        }
        assert_eq!(first_frame(32, 32, &mut rng), 0);
    }

    #[test]
    fn validation_plays_every_item_once() {
        let folder = tempfile::tempdir().unwrap();
        let lanes = small_lanes(folder.path(), small_config().validation());
        // Six items in three lanes, three chunks each.
        assert_eq!(lanes.chunks_per_pass(), 6);
        let names = |lanes: &Lanes| -> BTreeSet<String> {
            (0..lanes.chunks_per_pass()).flat_map(|number| (0..3).map(move |lane| lanes.playing(number, lane).name.clone())).collect()
        };
        assert_eq!(names(&lanes).len(), 6);
        let clips = LaneConfig { clip_share: 1.0, ..small_config().validation() };
        let lanes = Lanes::new(Arc::clone(&lanes.set), Split::Train, clips).unwrap();
        assert_eq!(names(&lanes).into_iter().collect::<Vec<_>>(), ["clip_0", "clip_1"]);
    }

    #[test]
    fn weights_of_source_and_tag_multiply() {
        let folder = tempfile::tempdir().unwrap();
        let weights = [("made", 2.0), ("clip", 3.0), ("check", 0.0), ("typo", 1.0)].map(|(name, weight)| (name.to_owned(), weight));
        let config = LaneConfig { source_weights: weights.into(), ..small_config() };
        let lanes = small_lanes(folder.path(), config.clone());
        assert_eq!(lanes.stills.sums, [2.0, 4.0, 6.0, 8.0]);
        assert_eq!(lanes.clips.sums, [6.0, 12.0]);
        assert_eq!(lanes.unused_weights(), ["typo"]);
        let message = Lanes::new(Arc::clone(&lanes.set), Split::Validation, config).unwrap_err().to_string();
        assert!(message.contains("nothing to play for validation"), "{message}");
    }

    #[test]
    fn clips_are_drawn_as_often_as_asked() {
        let folder = tempfile::tempdir().unwrap();
        let lanes = small_lanes(folder.path(), small_config());
        let items = lanes.set.items(Split::Train);
        let clips = (0..2000).filter(|&item| items[lanes.plan(0, item).shots[0].item].kind == ItemKind::Clip).count();
        // 40 % of 2000 is 800 with a standard deviation of 22; five of them are allowed.
        assert!(clips.abs_diff(800) < 110, "{clips}");
    }

    /// The value of a plane between pixel centers.
    fn between(plane: &[f32], width: usize, x: f32, y: f32) -> f32 {
        let (x, y) = ((x - 0.5).max(0.0), (y - 0.5).max(0.0));
        let (left, top) = (x as usize, y as usize);
        let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(plane.len() / width - 1));
        let (part_x, part_y) = (x - left as f32, y - top as f32);
        let row = |y: usize| plane[y * width + left] * (1.0 - part_x) + plane[y * width + right] * part_x;
        row(top) * (1.0 - part_y) + row(bottom) * part_y
    }

    #[test]
    fn the_flow_leads_to_where_a_point_was_one_frame_ago() {
        let folder = tempfile::tempdir().unwrap();
        // Waves of color about 24 pixels long, in both directions.
        let wave = |x: u32, y: u32, phase: f32| 128.0 + 90.0 * (x as f32 / 4.0 + phase).sin() * (y as f32 / 5.0 - phase).cos();
        let rgb: Vec<u8> = (0..96).flat_map(|y| (0..128).flat_map(move |x| [0.0, 2.1, 4.2].map(|phase| wave(x, y, phase) as u8))).collect();
        let motion = MotionConfig { tripod_share: 0.0, pan_per_frame: 0.05, roll_degrees_per_frame: 2.0, ..MotionConfig::default() };
        let config = LaneConfig { flow: true, output_stride: 2, width: 96, height: 64, cut_share: 0.0, motion, ..small_config() };
        let lanes = Lanes::new(still_set(folder.path(), 128, 96, &rgb), Split::Train, config).unwrap();
        let (w, h) = (48, 32);
        let (mut moved, mut still, mut count) = (0.0, 0.0, 0);
        for number in 0..6 {
            let chunk = lanes.chunk(number);
            let flow = chunk.flow.unwrap();
            assert_eq!((flow.offsets.len(), flow.valid.len()), (3 * 3 * 2 * h * w, 3 * 3 * h * w));
            for pair in 0..9 {
                let offsets = &flow.offsets[pair * 2 * h * w..][..2 * h * w];
                let earlier = &chunk.ab[pair * 2 * h * w..][..2 * h * w];
                // Three lanes: the lane's next frame is three further on.
                let later = &chunk.ab[(pair + 3) * 2 * h * w..][..2 * h * w];
                for at in (0..h * w).filter(|at| flow.valid[pair * h * w + at] == 1.0) {
                    let (x, y) = ((at % w) as f32 + 0.5 + offsets[at], (at / w) as f32 + 0.5 + offsets[h * w + at]);
                    for channel in [0, h * w] {
                        moved += (between(&earlier[channel..][..h * w], w, x, y) - later[channel + at]).abs();
                        still += (earlier[channel + at] - later[channel + at]).abs();
                    }
                    count += 2;
                }
            }
        }
        let (moved, still) = (moved / count as f32, still / count as f32);
        // Most of every frame was in sight before.
        assert!(count > 6 * 9 * 2 * h * w * 8 / 10, "{count}");
        // What is left is the bilinear interpolation's, and the rounding to whole codes.
        assert!(moved < 1.5 && moved < still / 5.0, "{moved} Lab units along the flow, {still} without");
    }

    #[test]
    fn the_flow_is_unknown_in_films_and_across_cuts() {
        let folder = tempfile::tempdir().unwrap();
        let config = LaneConfig { flow: true, clip_share: 1.0, cut_share: 0.0, missed_cut_share: 0.0, ..small_config() };
        let films = small_lanes(folder.path(), config.clone());
        assert!(films.chunk(3).flow.unwrap().valid.iter().all(|&valid| valid == 0.0));
        let cut = LaneConfig { clip_share: 0.0, cut_share: 1.0, restart_share: 0.0, motion: MotionConfig::off(), ..config };
        let stills = Lanes::new(Arc::clone(&films.set), Split::Train, cut).unwrap();
        for number in 0..9 {
            let chunk = stills.chunk(number);
            let flow = chunk.flow.unwrap();
            assert!(flow.offsets.iter().all(|offset| offset.abs() < 1e-4));
            for (pair, valid) in flow.valid.chunks_exact(48).enumerate() {
                let expected = if chunk.reset[pair + 3] { 0.0 } else { 1.0 };
                assert!(valid.iter().all(|&valid| valid == expected), "chunk {number}, pair {pair}");
            }
        }
    }
}
