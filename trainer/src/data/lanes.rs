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
use super::shard::{ItemKind, PackedSet};
use super::soft_colors::{SoftColors, SoftEncoding};
use super::split::Split;
use super::still_camera::{Source, StillCamera, sample};
use super::target::mean_lab;

/// `T` frames of all lanes.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Counts from 0.
    pub number: u64,
    /// `[T][B][H][W]`: scaled lightness (L*-50)/100 of the degraded grey picture, the net's input.
    pub lightness: Vec<f32>,
    /// `[T][B][h][w]`: L* of the undegraded picture in color, 0 to 100. A grey camera sees it otherwise, even a perfect one: luma is not lightness.
    pub true_lightness: Vec<f32>,
    /// `[T][B][2][h][w]`: a* and b* of the same, Lab units.
    pub ab: Vec<f32>,
    /// `[T][B]`: the lane's state is zeroed before this frame.
    pub reset: Vec<bool>,
    /// How the picture moved, where [`LaneConfig::flow`] asks for it.
    pub flow: Option<Flow>,
    /// `ab` as bins, `[T][B][K][h][w]`, where [`Lanes::encoding`] was asked for it.
    pub colors: Option<SoftColors>,
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
    encoding: Option<SoftEncoding<'static>>,
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
        Ok(Self { set, split, config, stills, clips, sequence, encoding: None })
    }

    /// The same, its chunks with their colors encoded.
    pub fn encoding(self, encoding: Option<SoftEncoding<'static>>) -> Self {
        Self { encoding, ..self }
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

    /// Makes one chunk; the same number always gives the same chunk.
    pub fn chunk(&self, number: u64) -> Chunk {
        let LaneConfig { lanes, chunk_frames, width, height, output_stride, .. } = self.config;
        let (pixels, outputs) = (width * height, width * height / (output_stride * output_stride));
        let mut chunk = Chunk {
            number,
            lightness: vec![0.0; chunk_frames * lanes * pixels],
            true_lightness: vec![0.0; chunk_frames * lanes * outputs],
            ab: vec![0.0; chunk_frames * lanes * 2 * outputs],
            reset: vec![false; chunk_frames * lanes],
            flow: self.config.flow.then(|| Flow::unknown(&self.config)),
            colors: None,
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
                        flow.set((t - 1) * lanes + lane, &view, &earlier, (item.width, item.height), &self.config);
                    }
                }

                let place = t * lanes + lane;
                let lightness = &mut chunk.lightness[place * pixels..][..pixels];
                plan.degradation.apply(&rgb, width, frame, &mut rng, &mut scratch, lightness);
                mean_lab(
                    &rgb,
                    width,
                    output_stride,
                    &mut chunk.true_lightness[place * outputs..][..outputs],
                    &mut chunk.ab[place * 2 * outputs..][..2 * outputs],
                );
                chunk.reset[place] = frame == 0
                    // Nobody has a state before the first chunk, also where a lane begins within an item.
                    || (number == 0 && t == 0)
                    || (t == 0 && plan.restarts[part])
                    || (plan.cut_resets && shot.begin > 0 && frame == shot.begin);
            }
        }
        chunk.colors = self.encoding.map(|encoding| encoding.encode(&chunk.ab, outputs));
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
mod tests;
