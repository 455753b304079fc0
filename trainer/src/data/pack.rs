//! Decodes photographs, clips and video files once, shrinks them, and writes a packed set or one part of it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::claim::Claim;
use super::import::{ClipPictures, Content, Frames, Framing, Job, Video, is_grey, jobs_of, mean_chroma};
pub use super::import::{InputKind, PackInput};
use super::part::{InputItems, Part, PartOf};
use super::shard::{ItemKind, MANIFEST_NAME, PART_NAME, SHARD_BYTES, hex};
use super::split::{Split, split_of};
use super::writer::{NewItem, PackWriter, write_description};

/// The rest of a long clip is dropped when it is shorter than this many frames.
const SHORTEST_TAIL: usize = 8;

/// What to pack, and how small.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PackConfig {
    /// Read in this order.
    pub inputs: Vec<PackInput>,
    /// The folder to create the packed set in.
    pub out: PathBuf,
    /// Pictures are shrunk until their shorter side has this many pixels; smaller ones stay as they are.
    pub short_side: u32,
    /// Frames per second taken from video files; none keeps every frame.
    pub video_fps: Option<f32>,
    /// Video frames are shrunk into a box of this width and height, in its middle, on black; none goes by `short_side`.
    pub pad: Option<[u32; 2]>,
    /// Packs only this many stills, always the same ones, spread over all inputs and both splits; none packs all.
    pub limit: Option<usize>,
    /// Longer clips and films are cut into several items of this many frames.
    pub max_clip_frames: usize,
    /// Packs only one of several parts, for [`merge`](super::part::merge) to join; none packs everything.
    pub part: Option<PartOf>,
    /// Replaces a packed set that is already in `out`, when the new one is whole.
    pub force: bool,
}

impl Default for PackConfig {
    fn default() -> Self {
        Self {
            inputs: Vec::new(),
            out: PathBuf::new(),
            short_side: 144,
            video_fps: None,
            pad: None,
            limit: None,
            max_clip_frames: 240,
            part: None,
            force: false,
        }
    }
}

/// A file or clip folder that could not be used, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skipped {
    /// Path as given by the input. In JSON what is not Unicode in it is replaced.
    #[serde(serialize_with = "readably")]
    pub path: PathBuf,
    /// What was wrong.
    pub reason: String,
}

fn readably<S: Serializer>(path: &Path, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

/// What was packed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackSummary {
    /// Photographs.
    pub stills: usize,
    /// Clips; a long film counts once for every part.
    pub clips: usize,
    /// Frames, photographs included.
    pub frames: u64,
    /// Items of the training split.
    pub train_items: usize,
    /// Items of the validation split.
    pub validation_items: usize,
    /// Items whose shorter side is below the configured one. They are packed as they are: an enlarged picture holds no more than the small
    /// one, and takes its room on the disk. The lanes enlarge a picture where they show it.
    pub small: usize,
    /// Length of all shards.
    pub bytes: u64,
    /// Grey photographs of published collections, which were left out.
    pub grey: usize,
    /// What else was left out, in whole or in part, and why.
    pub skipped: Vec<Skipped>,
}

impl PackSummary {
    /// Adds one item.
    pub(super) fn count(&mut self, kind: ItemKind, split: Split, frames: u32, small: bool) {
        self.frames += u64::from(frames);
        self.small += usize::from(small);
        match kind {
            ItemKind::Still => self.stills += 1,
            ItemKind::Clip => self.clips += 1,
        }
        match split {
            Split::Train => self.train_items += 1,
            Split::Validation => self.validation_items += 1,
        }
    }
}

/// Packs all inputs (or one part of them) into `config.out`; `progress` hears (done, total) counted in photographs, clip folders and video
/// files.
///
/// Pictures are decoded on rayon's threads. Unreadable files are left out and listed in the summary.
///
/// # Errors
/// When `out` already holds a packed set and `force` is not set, when another process packs into it, when an input cannot be read or gives
/// no item at all, when `ffmpeg` is needed and missing, or when writing fails. `out` then has no manifest, or the old one, and the next run
/// starts over.
pub fn pack(config: &PackConfig, progress: &mut dyn FnMut(usize, usize)) -> Result<PackSummary> {
    check(config)?;
    let mut jobs = Vec::new();
    for (input, given) in config.inputs.iter().enumerate() {
        let found = jobs_of(given, input)?;
        ensure!(!found.is_empty(), "the input {} holds no {}", given.path.display(), given.kind.holds());
        jobs.extend(found);
    }
    if let Some(limit) = config.limit {
        keep_some_stills(&mut jobs, &config.inputs, limit);
    }
    let plan = plan_of(config, &jobs);
    let mut jobs: Vec<(usize, Job)> = jobs.into_iter().enumerate().collect();
    if let Some(part) = config.part {
        jobs.retain(|(number, _)| part.has(*number));
    }

    let claim = Claim::of(&config.out, config.force)?;
    let mut packing = Packing {
        config,
        writer: PackWriter::new(&config.out, SHARD_BYTES, claim.suffix()),
        summary: PackSummary::default(),
        items_of_input: vec![0; config.inputs.len()],
        job_of_item: Vec::new(),
    };
    let total = jobs.len();
    let mut done = 0;
    progress(done, total);
    for of_input in jobs.chunk_by(|(_, a), (_, b)| a.input == b.input) {
        let input = of_input[0].1.input;
        // A batch of stills is decoded in parallel and written in order; a clip is decoded while it is written.
        let batch = match config.inputs[input].kind {
            InputKind::Clips | InputKind::Video => 1,
            _ => 256,
        };
        for batch in of_input.chunks(batch) {
            packing.add_batch(batch)?;
            done += batch.len();
            progress(done, total);
        }
        // A small part may have nothing but bad luck; merging sees the whole.
        if config.part.is_none() {
            packing.check_input(input)?;
        }
    }
    packing.finish(claim, plan)
}

fn check(config: &PackConfig) -> Result<()> {
    ensure!(!config.inputs.is_empty(), "nothing to pack: name at least one folder of photos, folder of clips or video file");
    ensure!(config.short_side >= 16, "short_side is {}; at least 16 pixels are needed", config.short_side);
    ensure!(config.max_clip_frames > 0, "max_clip_frames is 0; at least 1 is needed");
    ensure!(config.limit != Some(0), "limit is 0; at least 1 still is needed");
    if let Some(fps) = config.video_fps {
        ensure!(fps.is_finite() && fps > 0.0, "video_fps is {fps}; a positive number is needed");
    }
    if let Some([width, height]) = config.pad {
        let fits = |side| (16..=8192).contains(&side);
        ensure!(fits(width) && fits(height), "pad is {width}x{height}; sides of 16 to 8192 pixels are possible");
    }
    Ok(())
}

/// SHA-256 over everything that decides what a set holds, except for the bytes of the pictures: the same for all parts of one set.
fn plan_of(config: &PackConfig, jobs: &[Job]) -> String {
    let mut digest = Sha256::new();
    let settings = (config.short_side, config.video_fps.map(f32::to_bits), config.pad, config.max_clip_frames, jobs.len());
    digest.update(format!("{settings:?}\n"));
    for input in &config.inputs {
        // Without the path: machines may have mounted the same folder in different places.
        digest.update(format!("{:?} {:?}\n", input.kind, input.source));
    }
    for job in jobs {
        digest.update(format!("{} {:?} {:?}\n", job.input, job.name, job.tag));
    }
    hex(&digest.finalize())
}

/// What is said of a clip or a film that breaks off, before the reason.
const AS_FAR: &str = "its frames are packed as far as they came";

/// A pack in progress.
struct Packing<'a> {
    config: &'a PackConfig,
    writer: PackWriter,
    summary: PackSummary,
    items_of_input: Vec<usize>,
    job_of_item: Vec<u64>,
}

/// What became of a job.
enum Decoded {
    Still(Result<Frames>),
    /// Decoded piece by piece while they are written: they may be hours long.
    Clip,
    Film,
}

impl Packing<'_> {
    fn add_batch(&mut self, batch: &[(usize, Job)]) -> Result<()> {
        let short_side = self.config.short_side;
        let decode = |(_, job): &(usize, Job)| match &job.content {
            Content::Picture(_) | Content::Record { .. } => Decoded::Still(job.content.read_still(short_side)),
            Content::ClipFolder(_) => Decoded::Clip,
            Content::Video(_) => Decoded::Film,
        };
        let decoded: Vec<Decoded> = batch.par_iter().map(decode).collect();
        for ((number, job), decoded) in batch.iter().zip(decoded) {
            match decoded {
                Decoded::Still(Ok(picture)) => self.add_still(*number, job, &picture)?,
                Decoded::Clip => self.add_clip(*number, job)?,
                Decoded::Film => self.add_video(*number, job)?,
                Decoded::Still(Err(error)) => self.skip(job, &error),
            }
        }
        Ok(())
    }

    fn add_still(&mut self, number: usize, job: &Job, picture: &Frames) -> Result<()> {
        if self.config.inputs[job.input].kind.leaves_out_grey() && is_grey(&picture.rgb) {
            self.summary.grey += 1;
            return Ok(());
        }
        self.add(number, job, job.name.clone(), ItemKind::Still, picture)
    }

    fn add(&mut self, number: usize, job: &Job, name: String, kind: ItemKind, frames: &Frames) -> Result<()> {
        let Frames { width, height, .. } = *frames;
        let frame_bytes = frames.frame_bytes();
        let count = frames.rgb.len() / frame_bytes;
        let middle = &frames.rgb[count / 2 * frame_bytes..][..frame_bytes];
        // By the file's name and not the part's: neighboring parts of a film show the same scene.
        let split = split_of(&job.name);
        let source = &self.config.inputs[job.input].source;
        let new = NewItem { name, tag: job.tag.clone(), source, kind, width, height, mean_chroma: mean_chroma(middle), split };
        self.writer.add(new, &frames.rgb)?;
        self.items_of_input[job.input] += 1;
        self.job_of_item.push(number as u64);
        self.summary.count(kind, split, count as u32, width.min(height) < self.config.short_side);
        Ok(())
    }

    fn add_clip(&mut self, number: usize, job: &Job) -> Result<()> {
        let mut pictures = match ClipPictures::open(job.content.path(), self.config.short_side) {
            Ok(pictures) => pictures,
            Err(error) => {
                self.skip(job, &error);
                return Ok(());
            }
        };
        for piece in 0.. {
            let (frames, error) = pictures.read(self.config.max_clip_frames);
            let came = piece > 0 || !frames.rgb.is_empty();
            let ends = frames.rgb.is_empty() || error.is_some();
            if !frames.rgb.is_empty() {
                self.add_piece(number, job, piece, &frames)?;
            }
            // As a film that breaks off.
            if let Some(error) = error {
                self.skip(job, &if came { error.context(AS_FAR) } else { error });
            }
            if ends {
                break;
            }
        }
        Ok(())
    }

    fn add_piece(&mut self, number: usize, job: &Job, piece: usize, frames: &Frames) -> Result<()> {
        if self.config.inputs[job.input].kind.leaves_out_grey() && is_grey(&frames.rgb) {
            self.summary.grey += 1;
            return Ok(());
        }
        if piece == 0 {
            self.add(number, job, job.name.clone(), ItemKind::Clip, frames)
        } else if frames.rgb.len() >= SHORTEST_TAIL * frames.frame_bytes() {
            self.add(number, job, format!("{}#{}", job.name, piece + 1), ItemKind::Clip, frames)
        } else {
            Ok(())
        }
    }

    fn add_video(&mut self, number: usize, job: &Job) -> Result<()> {
        let framing = Framing { short_side: self.config.short_side, pad: self.config.pad, fps: self.config.video_fps };
        let mut video = match Video::open(job.content.path(), &framing)? {
            Ok(video) => video,
            Err(error) => {
                self.skip(job, &error);
                return Ok(());
            }
        };
        let mut piece = 0;
        loop {
            let frames = video.read(self.config.max_clip_frames)?;
            if frames.rgb.is_empty() {
                break;
            }
            self.add_piece(number, job, piece, &frames)?;
            piece += 1;
        }
        // A film that breaks off or is damaged keeps what came, but is named.
        if let Err(error) = video.close() {
            self.skip(job, &if piece > 0 { error.context(AS_FAR) } else { error });
        } else if piece == 0 {
            self.skip(job, &anyhow!("the video has no frames"));
        }
        Ok(())
    }

    fn skip(&mut self, job: &Job, error: &anyhow::Error) {
        self.summary.skipped.push(Skipped { path: job.content.path().to_path_buf(), reason: format!("{error:#}") });
    }

    /// One bad file is worth a line; an input of which nothing is left is a mistake.
    fn check_input(&self, input: usize) -> Result<()> {
        let given = &self.config.inputs[input];
        if self.items_of_input[input] == 0 {
            let first = self.summary.skipped.iter().find(|skipped| skipped.path.starts_with(&given.path));
            bail!(
                "none of the {} in the input {} could be used; {} are grey; the first that could not be read: {}",
                given.kind.holds(),
                given.path.display(),
                self.summary.grey,
                first.map_or("(there is none)", |skipped| skipped.reason.as_str())
            );
        }
        Ok(())
    }

    fn finish(self, claim: Claim, plan: String) -> Result<PackSummary> {
        let Self { config, writer, mut summary, items_of_input, job_of_item } = self;
        let mut sources: Vec<String> = Vec::new();
        for input in &config.inputs {
            if !sources.contains(&input.source) {
                sources.push(input.source.clone());
            }
        }
        let manifest = writer.close(config.short_side, sources)?;
        summary.bytes = manifest.shards.iter().map(|shard| shard.bytes).sum();
        let name = match config.part {
            None => {
                write_description(&config.out, MANIFEST_NAME, &manifest)?;
                MANIFEST_NAME
            }
            Some(part) => {
                let described = config.inputs.iter().zip(items_of_input);
                let inputs = described.map(|(input, items)| InputItems { source: input.source.clone(), items }).collect();
                write_description(&config.out, PART_NAME, &Part::new(part, plan, inputs, job_of_item, &summary, manifest.clone()))?;
                PART_NAME
            }
        };
        claim.finish(name, &manifest)?;
        Ok(summary)
    }
}

/// Keeps `limit` stills and every clip and video.
fn keep_some_stills(jobs: &mut Vec<Job>, inputs: &[PackInput], limit: usize) {
    let is_still = |job: &Job| inputs[job.input].kind.is_of_stills();
    let mut order: Vec<_> = jobs
        .iter()
        .enumerate()
        .filter(|(_, job)| is_still(job))
        .map(|(index, job)| {
            // The digest's first byte is what `split_of` looks at: in its order the first names would all be for validation.
            let digest = Sha256::digest(job.name.as_bytes());
            let mut tail = [0; 8];
            tail.copy_from_slice(&digest[24..]);
            (tail, index)
        })
        .collect();
    order.sort_unstable();
    let kept: BTreeSet<usize> = order.into_iter().take(limit).map(|(_, index)| index).collect();
    let mut index = 0;
    jobs.retain(|job| {
        let keep = !is_still(job) || kept.contains(&index);
        index += 1;
        keep
    });
}

#[cfg(test)]
mod tests;
