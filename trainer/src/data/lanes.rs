//! Plays a packed set as `B` parallel grey camera feeds with known color, in chunks of `T` frames.
//!
//! Every lane plays an item (a filmed photograph or a real clip) for `K` chunks and then the next, so that a recurrent net can carry its
//! state from chunk to chunk. A chunk is a pure function of the configuration and its number: a resumed run asks for the next number and
//! sees what it would have seen, and any number of threads may prepare chunks in any order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, bail, ensure};
use autochrome_model::color::{linear_srgb_to_lab, srgb_to_linear};
use crossbeam_channel::{Receiver, Sender, bounded};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::degrade::{DegradeConfig, ItemDegradation, Scratch};
use super::shard::{Item, ItemKind, PackedSet};
use super::split::Split;
use super::still_camera::{MotionConfig, Source, StillCamera, sample};

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
    /// `B`, parallel feeds.
    pub lanes: usize,
    /// `T`, frames of a chunk: as many as the net is unrolled over.
    pub chunk_frames: usize,
    /// `K`, chunks of an item.
    pub chunks_per_item: usize,
    /// `W`, pixels fed to the net.
    pub width: usize,
    /// `H`, pixels fed to the net.
    pub height: usize,
    /// `W / w` and `H / h`: the net's color output is smaller by this.
    pub output_stride: usize,
    /// Order of the items.
    pub order: Order,
    /// Items that are real clips. Without clips (or stills) in the split all items are of the other kind.
    pub clip_share: f32,
    /// Relative weight of an item by its source or its tag (see [`Item`]); an item that both name has the product, others have 1.
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
    fn item_frames(&self) -> usize {
        self.chunks_per_item * self.chunk_frames
    }

    fn weight(&self, item: &Item) -> f64 {
        let weight = |name: &String| self.source_weights.get(name).map_or(1.0, |&weight| f64::from(weight));
        // A source that is its own tag, such as one film, is weighed once.
        if item.source == item.tag { weight(&item.source) } else { weight(&item.source) * weight(&item.tag) }
    }
}

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
        };
        let mut rgb = vec![0; pixels * 3];
        let mut scratch = Scratch::default();
        let items = self.set.items(self.split);
        for lane in 0..lanes {
            let (item_number, part) = self.position(number, lane);
            let plan = self.plan(lane, item_number);
            for t in 0..chunk_frames {
                let frame = part * chunk_frames + t;
                let shot = plan.shot_at(frame);
                let item = &items[shot.item];
                let shown = ping_pong(shot.start + frame - shot.begin, item.frames as usize);
                let source = Source { rgb: self.set.frame(item, shown), width: item.width, height: item.height };
                let mut rng = stream(self.config.seed, lane, item_number, frame as u64 + 1);
                sample(source, &shot.camera.view(frame, &mut rng), width, height, &mut rgb);

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

/// Linear light 0..1 by coded value, without the call for each of fifty thousand values a frame.
static LINEAR: LazyLock<[f32; 256]> = LazyLock::new(|| std::array::from_fn(|value| srgb_to_linear(value as u8)));

/// a* and b* planes of the picture shrunk by `stride`.
///
/// The mean is taken of linear light, then converted: that is the color a camera of the lower resolution would see, and it needs one
/// conversion for an output pixel instead of one for each of its stride x stride input pixels. The mean of ab itself differs only at edges
/// between bright and dark colors, and there the source's own 4:2:0 chroma is no better.
fn mean_ab(rgb: &[u8], width: usize, stride: usize, ab: &mut [f32]) {
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
            let [_, a, b] = linear_srgb_to_lab(sum.map(|sum| sum * scale));
            a_plane[y * out_width + x] = a;
            b_plane[y * out_width + x] = b;
        }
    }
}

/// Prepares chunks on background threads and hands them out in order.
///
/// Each thread makes every n-th chunk into a channel of its own, so that order needs no bookkeeping. Dropping the prefetch drops the
/// receivers, which ends the threads.
pub struct Prefetch {
    receivers: Vec<Receiver<Chunk>>,
    threads: Vec<JoinHandle<()>>,
    next: u64,
    begin: u64,
}

impl fmt::Debug for Prefetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefetch").field("next", &self.next).field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl Prefetch {
    /// Starts `threads` threads (at least one), each up to `ahead` chunks ahead of the consumer, beginning with chunk `begin`.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(lanes: Arc<Lanes>, begin: u64, threads: usize, ahead: usize) -> Result<Self> {
        let count = threads.max(1);
        let mut prefetch = Self { receivers: Vec::new(), threads: Vec::new(), next: begin, begin };
        for index in 0..count as u64 {
            let (sender, receiver) = bounded(ahead);
            let lanes = Arc::clone(&lanes);
            let thread = thread::Builder::new()
                .name(format!("loader-{index}"))
                .spawn(move || load(&lanes, (begin + index..).step_by(count), &sender))
                .with_context(|| format!("start loader thread {index}"))?;
            prefetch.receivers.push(receiver);
            prefetch.threads.push(thread);
        }
        Ok(prefetch)
    }

    /// Waits for the next chunk.
    ///
    /// # Errors
    /// When a loader thread died; its panic is on standard error.
    pub fn next_chunk(&mut self) -> Result<Chunk> {
        let turn = ((self.next - self.begin) % self.receivers.len() as u64) as usize;
        let chunk = self.receivers[turn]
            .recv()
            .map_err(|_| anyhow!("load chunk {}: loader thread {turn} died; its message is above", self.next))?;
        self.next += 1;
        Ok(chunk)
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.receivers.clear();
        for thread in self.threads.drain(..) {
            // A panic has been printed already, and the consumer was told.
            let _ = thread.join();
        }
    }
}

/// Makes chunks until nobody wants them.
fn load(lanes: &Lanes, numbers: impl Iterator<Item = u64>, sender: &Sender<Chunk>) {
    for number in numbers {
        if sender.send(lanes.chunk(number)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use autochrome_model::color::{LumaRange, lightness_table, srgb_to_lab};

    use super::super::shard::test_sets::{new_item, small_set};
    use super::super::shard::{PackWriter, SHARD_BYTES};
    use super::*;

    fn small_config() -> LaneConfig {
        LaneConfig { lanes: 3, chunk_frames: 4, chunks_per_item: 3, width: 32, height: 24, clip_share: 0.4, ..LaneConfig::default() }
    }

    fn small_lanes(folder: &Path, config: LaneConfig) -> Lanes {
        Lanes::new(Arc::new(small_set(folder)), Split::Train, config).unwrap()
    }

    /// A set of one still for training.
    fn still_set(folder: &Path, width: u32, height: u32, rgb: &[u8]) -> Arc<PackedSet> {
        let mut writer = PackWriter::new(folder, SHARD_BYTES);
        writer.add(new_item("one.png", ItemKind::Still, width, height, Split::Train), rgb).unwrap();
        writer.finish(height, vec!["made".to_owned()]).unwrap();
        Arc::new(PackedSet::open(folder).unwrap())
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

    #[test]
    fn a_prefetch_gives_the_chunks_in_order_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let lanes = Arc::new(small_lanes(folder.path(), small_config()));
        let mut prefetch = Prefetch::start(Arc::clone(&lanes), 5, 3, 2).unwrap();
        for number in 5..15 {
            assert_eq!(prefetch.next_chunk().unwrap(), lanes.chunk(number));
        }
        // Joins the threads: the test would hang here if one did not end.
        drop(prefetch);
        assert_eq!(Arc::strong_count(&lanes), 1);
    }

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
