//! Decodes photographs, clips and video files once, shrinks them, and writes a packed set.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail, ensure};
use autochrome_model::color::srgb_to_lab;
use image::{DynamicImage, ImageDecoder, ImageReader};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::shard::{ItemKind, MANIFEST_NAME, NewItem, PackWriter, SHARD_BYTES};
use super::split::{Split, split_of};

const PICTURE_EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];
const VIDEO_EXTENSIONS: [&str; 10] = ["mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "y4m"];

/// The rest of a long clip is dropped when it is shorter than this many frames.
const SHORTEST_TAIL: usize = 8;

/// What an input path holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputKind {
    /// A folder of photographs (JPEG or PNG), with any depth of sub-folders, or one photograph.
    Stills,
    /// A folder of folders, each with the consecutive frames of one clip in the order of their names.
    Clips,
    /// A folder of video files, or one video file. Needs the `ffmpeg` and `ffprobe` commands.
    Video,
}

impl InputKind {
    /// Looks at a path and says what it holds: pictures directly inside mean stills, video files mean video, sub-folders with pictures mean
    /// clips.
    ///
    /// # Errors
    /// When the path cannot be read or holds nothing of the three.
    pub fn detect(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).with_context(|| format!("look at the input {}", path.display()))?;
        let entries = if metadata.is_dir() { list(path)? } else { vec![path.to_path_buf()] };
        if entries.iter().any(|entry| is_picture(entry)) {
            return Ok(InputKind::Stills);
        }
        if entries.iter().any(|entry| is_video(entry)) {
            return Ok(InputKind::Video);
        }
        for folder in entries.iter().filter(|entry| entry.is_dir()) {
            if list(folder)?.iter().any(|entry| is_picture(entry)) {
                return Ok(InputKind::Clips);
            }
        }
        bail!(
            "the input {} holds no pictures ({}), no video files ({}) and no folders of pictures",
            path.display(),
            PICTURE_EXTENSIONS.join(", "),
            VIDEO_EXTENSIONS.join(", ")
        )
    }
}

/// One folder or file to pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackInput {
    /// Folder, or a single file.
    pub path: PathBuf,
    /// What it holds.
    pub kind: InputKind,
    /// Name for this source in the packed set, by which training weighs it.
    pub source: String,
}

impl PackInput {
    /// An input whose kind is detected and whose source name is the folder's (or file's) own name.
    ///
    /// # Errors
    /// As [`InputKind::detect`].
    pub fn detect(path: &Path) -> Result<Self> {
        let kind = InputKind::detect(path)?;
        // `.` and `photos/..` have no name of their own.
        let full = std::fs::canonicalize(path).with_context(|| format!("resolve the input {}", path.display()))?;
        let source = full.file_stem().map_or_else(|| "input".to_owned(), |name| name.to_string_lossy().into_owned());
        Ok(Self { path: path.to_path_buf(), kind, source })
    }
}

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
    /// Packs only this many stills, always the same ones, spread over all inputs and both splits; none packs all.
    pub limit: Option<usize>,
    /// Longer clips and films are cut into several items of this many frames.
    pub max_clip_frames: usize,
    /// Replaces a packed set that is already in `out`.
    pub force: bool,
}

impl Default for PackConfig {
    fn default() -> Self {
        Self { inputs: Vec::new(), out: PathBuf::new(), short_side: 144, video_fps: None, limit: None, max_clip_frames: 240, force: false }
    }
}

/// A file or clip folder that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Path as given by the input.
    pub path: PathBuf,
    /// What was wrong.
    pub reason: String,
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
    /// Length of all shards.
    pub bytes: u64,
    /// What was left out, and why.
    pub skipped: Vec<Skipped>,
}

/// One thing to decode: a photograph, a clip's folder or a video file.
struct Job {
    path: PathBuf,
    name: String,
    input: usize,
}

/// Consecutive frames of one size, back to back.
struct Frames {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Frames {
    fn frame_bytes(&self) -> usize {
        self.width as usize * self.height as usize * 3
    }
}

/// Packs all inputs into `config.out`; `progress` hears (done, total) counted in photographs, clip folders and video files.
///
/// Pictures are decoded on rayon's threads. Unreadable files are left out and listed in the summary.
///
/// # Errors
/// When `out` already holds a packed set and `force` is not set, when an input cannot be read or gives no item at all, when `ffmpeg` is
/// needed and missing, or when writing fails. `out` then has no manifest, and the next run starts over.
pub fn pack(config: &PackConfig, progress: &mut dyn FnMut(usize, usize)) -> Result<PackSummary> {
    ensure!(!config.inputs.is_empty(), "nothing to pack: name at least one folder of photos, folder of clips or video file");
    ensure!(config.short_side >= 16, "short_side is {}; at least 16 pixels are needed", config.short_side);
    ensure!(config.max_clip_frames > 0, "max_clip_frames is 0; at least 1 is needed");
    if let Some(fps) = config.video_fps {
        ensure!(fps.is_finite() && fps > 0.0, "video_fps is {fps}; a positive number is needed");
    }
    let mut jobs = Vec::new();
    for (input, given) in config.inputs.iter().enumerate() {
        let found = jobs_of(given)?;
        ensure!(!found.is_empty(), "the input {} holds no {}", given.path.display(), what(given.kind));
        jobs.extend(found.into_iter().map(|path| Job { name: name_of(&path), path, input }));
    }
    if let Some(limit) = config.limit {
        keep_some_stills(&mut jobs, &config.inputs, limit);
    }

    prepare_folder(&config.out, config.force)?;
    let mut packing = Packing {
        config,
        writer: PackWriter::new(&config.out, SHARD_BYTES),
        summary: PackSummary::default(),
        items_of_input: vec![0; config.inputs.len()],
    };
    let total = jobs.len();
    let mut done = 0;
    progress(done, total);
    for of_input in jobs.chunk_by(|a, b| a.input == b.input) {
        let kind = config.inputs[of_input[0].input].kind;
        // A batch is decoded in parallel and written in order; clips are a hundred times larger than stills.
        let batch = match kind {
            InputKind::Stills => 256,
            InputKind::Clips => 8,
            InputKind::Video => 1,
        };
        for batch in of_input.chunks(batch) {
            packing.add_batch(kind, batch)?;
            done += batch.len();
            progress(done, total);
        }
        packing.check_input(of_input[0].input)?;
    }
    packing.finish()
}

/// A pack in progress.
struct Packing<'a> {
    config: &'a PackConfig,
    writer: PackWriter,
    summary: PackSummary,
    items_of_input: Vec<usize>,
}

impl Packing<'_> {
    fn add_batch(&mut self, kind: InputKind, batch: &[Job]) -> Result<()> {
        let short_side = self.config.short_side;
        match kind {
            InputKind::Stills => {
                let decoded: Vec<_> = batch.par_iter().map(|job| read_picture(&job.path, short_side)).collect();
                for (job, picture) in batch.iter().zip(decoded) {
                    match picture {
                        Ok(picture) => self.add(job, job.name.clone(), ItemKind::Still, &picture)?,
                        Err(error) => self.skip(&job.path, &error),
                    }
                }
            }
            InputKind::Clips => {
                let decoded: Vec<_> = batch.par_iter().map(|job| read_clip_folder(&job.path, short_side)).collect();
                for (job, clip) in batch.iter().zip(decoded) {
                    match clip {
                        Ok(clip) => self.add_clip(job, clip)?,
                        Err(error) => self.skip(&job.path, &error),
                    }
                }
            }
            InputKind::Video => {
                for job in batch {
                    self.add_video(job)?;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, job: &Job, name: String, kind: ItemKind, frames: &Frames) -> Result<()> {
        let frame_bytes = frames.frame_bytes();
        let count = frames.rgb.len() / frame_bytes;
        let middle = &frames.rgb[count / 2 * frame_bytes..][..frame_bytes];
        // By the file's name and not the part's: neighboring parts of a film show the same scene.
        let split = split_of(&job.name);
        let source = &self.config.inputs[job.input].source;
        let mean_chroma = mean_chroma(middle);
        let new = NewItem { name, source, kind, width: frames.width, height: frames.height, mean_chroma, split };
        self.writer.add(new, &frames.rgb)?;
        self.items_of_input[job.input] += 1;
        self.summary.frames += count as u64;
        match kind {
            ItemKind::Still => self.summary.stills += 1,
            ItemKind::Clip => self.summary.clips += 1,
        }
        match split {
            Split::Train => self.summary.train_items += 1,
            Split::Validation => self.summary.validation_items += 1,
        }
        Ok(())
    }

    fn add_clip(&mut self, job: &Job, clip: Frames) -> Result<()> {
        let Frames { width, height, ref rgb } = clip;
        for (part, rgb) in rgb.chunks(self.config.max_clip_frames * clip.frame_bytes()).enumerate() {
            self.add_part(job, part, &Frames { width, height, rgb: rgb.to_vec() })?;
        }
        Ok(())
    }

    fn add_part(&mut self, job: &Job, part: usize, frames: &Frames) -> Result<()> {
        if part == 0 {
            self.add(job, job.name.clone(), ItemKind::Clip, frames)
        } else if frames.rgb.len() >= SHORTEST_TAIL * frames.frame_bytes() {
            self.add(job, format!("{}#{}", job.name, part + 1), ItemKind::Clip, frames)
        } else {
            Ok(())
        }
    }

    fn add_video(&mut self, job: &Job) -> Result<()> {
        let mut video = match Video::open(&job.path, self.config)? {
            Ok(video) => video,
            Err(error) => {
                self.skip(&job.path, &error);
                return Ok(());
            }
        };
        let mut part = 0;
        loop {
            let frames = video.read(self.config.max_clip_frames)?;
            if frames.rgb.is_empty() {
                break;
            }
            self.add_part(job, part, &frames)?;
            part += 1;
        }
        // A film that breaks off keeps what came before, but is named.
        if let Err(error) = video.close() {
            self.skip(&job.path, &error);
        } else if part == 0 {
            self.skip(&job.path, &anyhow!("the video has no frames"));
        }
        Ok(())
    }

    fn skip(&mut self, path: &Path, error: &anyhow::Error) {
        self.summary.skipped.push(Skipped { path: path.to_path_buf(), reason: format!("{error:#}") });
    }

    /// One bad file is worth a line; an input of which nothing is left is a mistake.
    fn check_input(&self, input: usize) -> Result<()> {
        let given = &self.config.inputs[input];
        if self.items_of_input[input] == 0 {
            let first = self.summary.skipped.iter().find(|skipped| skipped.path.starts_with(&given.path));
            bail!(
                "none of the {} in the input {} could be read; the first: {}",
                what(given.kind),
                given.path.display(),
                first.map_or("(no reason known)", |skipped| skipped.reason.as_str())
            );
        }
        Ok(())
    }

    fn finish(self) -> Result<PackSummary> {
        let mut sources: Vec<String> = Vec::new();
        for input in &self.config.inputs {
            if !sources.contains(&input.source) {
                sources.push(input.source.clone());
            }
        }
        let manifest = self.writer.finish(self.config.short_side, sources)?;
        Ok(PackSummary { bytes: manifest.shards.iter().map(|shard| shard.bytes).sum(), ..self.summary })
    }
}

/// The plural for messages.
fn what(kind: InputKind) -> &'static str {
    match kind {
        InputKind::Stills => "pictures (jpg, jpeg, png)",
        InputKind::Clips => "folders of pictures",
        InputKind::Video => "video files",
    }
}

/// Creates the folder, or empties it of an earlier pack.
fn prepare_folder(out: &Path, force: bool) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("create the folder {}", out.display()))?;
    let manifest = out.join(MANIFEST_NAME);
    if manifest.exists() {
        ensure!(force, "{} already holds a packed set ({MANIFEST_NAME}); choose another folder, or replace it with --force", out.display());
        // First, so that the folder never has a manifest that describes other shards.
        std::fs::remove_file(&manifest).with_context(|| format!("remove {}", manifest.display()))?;
    }
    for path in list(out)? {
        let name = name_of(&path);
        if Split::ALL.iter().any(|split| name.starts_with(&format!("{split}-"))) && name.ends_with(".shard") {
            std::fs::remove_file(&path).with_context(|| format!("remove the old shard {}", path.display()))?;
        }
    }
    Ok(())
}

/// Everything of an input that can become an item, in the order of names.
fn jobs_of(input: &PackInput) -> Result<Vec<PathBuf>> {
    let path = &input.path;
    let metadata = std::fs::metadata(path).with_context(|| format!("look at the input {}", path.display()))?;
    if !metadata.is_dir() {
        let fits = match input.kind {
            InputKind::Stills => is_picture(path),
            InputKind::Clips => false,
            InputKind::Video => true,
        };
        return Ok(if fits { vec![path.clone()] } else { Vec::new() });
    }
    match input.kind {
        InputKind::Stills => {
            let mut found = Vec::new();
            collect_pictures(path, &mut found)?;
            Ok(found)
        }
        InputKind::Clips => {
            let mut found = list(path)?;
            found.retain(|entry| entry.is_dir());
            Ok(found)
        }
        InputKind::Video => {
            let mut found = list(path)?;
            found.retain(|entry| is_video(entry));
            Ok(found)
        }
    }
}

/// Pictures of a folder and its sub-folders.
fn collect_pictures(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in list(folder)? {
        // A link to a folder is not followed: it could lead back to where it came from.
        let kind = std::fs::symlink_metadata(&entry).with_context(|| format!("look at {}", entry.display()))?.file_type();
        if kind.is_dir() {
            collect_pictures(&entry, found)?;
        } else if is_picture(&entry) {
            found.push(entry);
        }
    }
    Ok(())
}

/// The entries of a folder in the order of their names, hidden ones left out.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("list the folder {}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("list the folder {}", folder.display()))?.path();
        if !name_of(&path).starts_with('.') {
            paths.push(path);
        }
    }
    paths.sort_by(|a, b| by_name(&name_of(a), &name_of(b)));
    Ok(paths)
}

/// Orders names as a person would: `frame2` before `frame10`.
fn by_name(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    while let (Some(&x), Some(&y)) = (left.first(), right.first()) {
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let (m, n) = (digits(left), digits(right));
            let (number_a, number_b) = (without_zeros(&left[..m]), without_zeros(&right[..n]));
            let order = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
            if order.is_ne() {
                return order;
            }
            (left, right) = (&left[m..], &right[n..]);
        } else if x != y {
            return x.cmp(&y);
        } else {
            (left, right) = (&left[1..], &right[1..]);
        }
    }
    // `1.jpg` and `01.jpg` are the same number and different names.
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().take_while(|&&digit| digit == b'0').count()..]
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn is_picture(path: &Path) -> bool {
    has_extension(path, &PICTURE_EXTENSIONS)
}

fn is_video(path: &Path) -> bool {
    has_extension(path, &VIDEO_EXTENSIONS)
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|found| extensions.iter().any(|known| found.eq_ignore_ascii_case(known)))
}

/// Keeps `limit` stills and every clip and video.
fn keep_some_stills(jobs: &mut Vec<Job>, inputs: &[PackInput], limit: usize) {
    let is_still = |job: &Job| inputs[job.input].kind == InputKind::Stills;
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

/// Decodes one picture, upright, and shrinks it.
fn read_picture(path: &Path, short_side: u32) -> Result<Frames> {
    let reader = ImageReader::open(path).with_context(|| format!("open {}", path.display()))?;
    // By content: a PNG that is called .jpg is common in collections.
    let reader = reader.with_guessed_format().with_context(|| format!("read {}", path.display()))?;
    let mut decoder = reader.into_decoder().with_context(|| format!("decode {}", path.display()))?;
    // Broken EXIF is no reason to lose the picture.
    let orientation = decoder.orientation().ok();
    let mut picture = DynamicImage::from_decoder(decoder).with_context(|| format!("decode {}", path.display()))?;
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    let picture = picture.into_rgb8();
    let (width, height) = picture.dimensions();
    ensure!(width > 0 && height > 0, "decode {}: the picture is {width}x{height}", path.display());
    Ok(shrink(Frames { width, height, rgb: picture.into_raw() }, short_side))
}

/// Decodes the pictures of one folder as a clip.
fn read_clip_folder(folder: &Path, short_side: u32) -> Result<Frames> {
    let mut pictures = list(folder)?;
    pictures.retain(|path| is_picture(path));
    let (first, rest) = pictures.split_first().ok_or_else(|| anyhow!("{} holds no pictures", folder.display()))?;
    let mut clip = read_picture(first, short_side)?;
    clip.rgb.reserve_exact(clip.rgb.len() * rest.len());
    for path in rest {
        let frame = read_picture(path, short_side)?;
        ensure!(
            (frame.width, frame.height) == (clip.width, clip.height),
            "{} is {}x{} (shrunk), {} is {}x{}: the frames of a clip must have one size",
            path.display(),
            frame.width,
            frame.height,
            first.display(),
            clip.width,
            clip.height
        );
        clip.rgb.extend_from_slice(&frame.rgb);
    }
    Ok(clip)
}

/// The size whose shorter side is at most `short_side`, aspect kept.
fn shrunk_size(width: u32, height: u32, short_side: u32) -> (u32, u32) {
    let short = width.min(height);
    if short <= short_side {
        return (width, height);
    }
    let scaled = |side: u32| ((f64::from(side) * f64::from(short_side) / f64::from(short)).round() as u32).max(1);
    (scaled(width), scaled(height))
}

/// Shrinks one frame by area averaging, which neither aliases nor rings. Gamma-coded values are averaged, as cameras and codecs do.
fn shrink(frame: Frames, short_side: u32) -> Frames {
    let (width, height) = shrunk_size(frame.width, frame.height, short_side);
    if (width, height) == (frame.width, frame.height) {
        return frame;
    }
    let columns = spans(frame.width, width);
    let rows = spans(frame.height, height);
    let source_row = frame.width as usize * 3;
    let row = width as usize * 3;
    let mut rgb = vec![0; row * height as usize];
    let mut line = vec![0.0f32; row];
    for (y, span) in rows.iter().enumerate() {
        line.fill(0.0);
        for (source_y, row_weight) in span.weights() {
            let source = &frame.rgb[source_y * source_row..][..source_row];
            for (pixel, column) in line.chunks_exact_mut(3).zip(&columns) {
                for (x, weight) in column.weights() {
                    for (sum, &value) in pixel.iter_mut().zip(&source[x * 3..x * 3 + 3]) {
                        *sum += row_weight * weight * f32::from(value);
                    }
                }
            }
        }
        for (out, &value) in rgb[y * row..(y + 1) * row].iter_mut().zip(&line) {
            *out = (value + 0.5) as u8;
        }
    }
    Frames { width, height, rgb }
}

/// The source pixels under one output pixel: the first and the last are covered in part.
struct Span {
    first: usize,
    count: usize,
    first_weight: f32,
    inner_weight: f32,
    last_weight: f32,
}

impl Span {
    fn weights(&self) -> impl Iterator<Item = (usize, f32)> + '_ {
        (0..self.count).map(|i| {
            let weight = match i {
                0 => self.first_weight,
                i if i + 1 == self.count => self.last_weight,
                _ => self.inner_weight,
            };
            (self.first + i, weight)
        })
    }
}

fn spans(source: u32, target: u32) -> Vec<Span> {
    let scale = f64::from(source) / f64::from(target);
    (0..target)
        .map(|i| {
            let begin = f64::from(i) * scale;
            let end = (begin + scale).min(f64::from(source));
            let first = begin.floor();
            // Not one pixel more for a rounding error.
            let last = (end - 1e-6).floor().max(first);
            let covered = |pixel: f64| (end.min(pixel + 1.0) - begin.max(pixel)) / (end - begin);
            Span {
                first: first as usize,
                count: (last - first) as usize + 1,
                first_weight: covered(first) as f32,
                inner_weight: (1.0 / (end - begin)) as f32,
                last_weight: covered(last) as f32,
            }
        })
        .collect()
}

/// Mean of sqrt(a*² + b*²) over about two thousand pixels of a frame.
fn mean_chroma(rgb: &[u8]) -> f32 {
    let pixels = rgb.len() / 3;
    // An odd step does not walk along a column.
    let step = (pixels / 2000).max(1) | 1;
    let (mut sum, mut count) = (0.0, 0);
    for pixel in rgb.chunks_exact(3).step_by(step) {
        let [_, a, b] = srgb_to_lab([pixel[0], pixel[1], pixel[2]]);
        sum += a.hypot(b);
        count += 1;
    }
    if count == 0 { 0.0 } else { sum / count as f32 }
}

/// A video file that `ffmpeg` decodes into a pipe.
struct Video {
    path: PathBuf,
    child: std::process::Child,
    pipe: std::process::ChildStdout,
    messages: File,
    width: u32,
    height: u32,
}

impl Video {
    /// Starts the decoder. The outer error ends the pack (`ffmpeg` cannot be run at all), the inner one concerns this file only.
    fn open(path: &Path, config: &PackConfig) -> Result<Result<Self>> {
        let (width, height) = match probe(path)? {
            Ok(size) => size,
            Err(error) => return Ok(Err(error)),
        };
        // The even sizes that 4:2:0 decoders and scalers like best.
        let even = |side: u32| (side / 2 * 2).max(2);
        let (width, height) = shrunk_size(width, height, config.short_side);
        let (width, height) = (even(width), even(height));
        let scale = format!("scale={width}:{height}:flags=area,setsar=1");
        let filter = config.video_fps.map_or(scale.clone(), |fps| format!("fps={fps},{scale}"));
        // Into a file: a pipe that nobody empties would stop the decoder after 64 KiB of complaints.
        let messages = tempfile::tempfile().context("create a temporary file for ffmpeg's messages")?;
        let child = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-i"])
            .arg(protocol_free(path)?)
            .args(["-map", "0:v:0", "-vf", &filter, "-an", "-sn", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(messages.try_clone().context("share the file for ffmpeg's messages")?)
            .spawn();
        let mut child = started(child, "ffmpeg", path)?;
        let pipe = child.stdout.take().expect("stdout was piped");
        Ok(Ok(Self { path: path.to_path_buf(), child, pipe, messages, width, height }))
    }

    /// Up to `count` more frames; none at the end.
    fn read(&mut self, count: usize) -> Result<Frames> {
        let mut frames = Frames { width: self.width, height: self.height, rgb: Vec::new() };
        let bytes = frames.frame_bytes();
        (&mut self.pipe)
            .take((count * bytes) as u64)
            .read_to_end(&mut frames.rgb)
            .with_context(|| format!("read the frames of {} from ffmpeg", self.path.display()))?;
        frames.rgb.truncate(frames.rgb.len() / bytes * bytes);
        Ok(frames)
    }

    /// Waits for the decoder after its last frame and says whether it was content.
    fn close(mut self) -> Result<()> {
        let status = self.child.wait().with_context(|| format!("wait for ffmpeg on {}", self.path.display()))?;
        let mut text = String::new();
        // Only for the message; without it the status is enough.
        let _ = self.messages.seek(SeekFrom::Start(0)).and_then(|_| (&mut self.messages).take(2000).read_to_string(&mut text));
        ensure!(status.success(), "ffmpeg on {} ended with {status}: {}", self.path.display(), text.trim());
        Ok(())
    }
}

impl Drop for Video {
    fn drop(&mut self) {
        // After `close` both do nothing; after an error the decoder must not live on.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A name like `a:b.mp4` would be taken for a protocol; an absolute path never is.
fn protocol_free(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("resolve {}", path.display()))
}

/// Says how to get a missing command.
fn started<T>(result: std::io::Result<T>, command: &str, path: &Path) -> Result<T> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "read the video {}: the command `{command}` was not found; install FFmpeg (on Debian: apt install ffmpeg), or turn the film into \
             a folder of pictures",
            path.display()
        ),
        other => other.with_context(|| format!("start `{command}` on {}", path.display())),
    }
}

/// Size of a video's upright picture with square pixels. Nested as in [`Video::open`].
fn probe(path: &Path) -> Result<Result<(u32, u32)>> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0", "-show_streams", "-of", "json"])
        .arg(protocol_free(path)?)
        .stdin(Stdio::null())
        .output();
    let output = started(output, "ffprobe", path)?;
    if !output.status.success() {
        return Ok(Err(anyhow!("ffprobe on {}: {}", path.display(), String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(upright_size(&output.stdout).with_context(|| format!("read what ffprobe says of {}", path.display())))
}

/// Reads ffprobe's JSON: width, height, pixel aspect and rotation, which `ffmpeg` applies before our scaling.
fn upright_size(json: &[u8]) -> Result<(u32, u32)> {
    let streams: serde_json::Value = serde_json::from_slice(json).context("the answer is not JSON")?;
    let stream = streams["streams"].get(0).context("the file has no video stream")?;
    let side = |name: &str| stream[name].as_u64().and_then(|side| u32::try_from(side).ok()).filter(|&side| side > 0);
    let (Some(mut width), Some(mut height)) = (side("width"), side("height")) else {
        bail!("the video stream has no size");
    };
    let aspect = stream["sample_aspect_ratio"].as_str().and_then(|ratio| {
        let (x, y) = ratio.split_once(':')?;
        Some((x.parse::<f64>().ok()?, y.parse::<f64>().ok()?))
    });
    if let Some((x, y)) = aspect.filter(|&(x, y)| x > 0.0 && y > 0.0) {
        width = ((f64::from(width) * x / y).round() as u32).max(1);
    }
    let rotation = stream["side_data_list"].as_array().into_iter().flatten().find_map(|data| data["rotation"].as_f64()).unwrap_or(0.0);
    if (rotation / 90.0).round() as i64 % 2 != 0 {
        std::mem::swap(&mut width, &mut height);
    }
    Ok((width, height))
}

#[cfg(test)]
mod tests {
    use super::super::shard::PackedSet;
    use super::*;

    /// A gradient that no two pictures share.
    fn picture(width: u32, height: u32, seed: u32) -> image::RgbImage {
        image::RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x * 3 + seed * 40) as u8, (y * 5 + seed * 17) as u8, ((x + y) * 2 + seed) as u8])
        })
    }

    fn input(path: &Path, kind: InputKind, source: &str) -> PackInput {
        PackInput { path: path.to_path_buf(), kind, source: source.to_owned() }
    }

    fn config(out: &Path, inputs: Vec<PackInput>) -> PackConfig {
        PackConfig { inputs, out: out.to_path_buf(), short_side: 48, max_clip_frames: 10, ..PackConfig::default() }
    }

    #[test]
    fn pictures_and_clips_come_back_byte_for_byte() {
        let folder = tempfile::tempdir().unwrap();
        let (photos, clips, out) = (folder.path().join("photos"), folder.path().join("clips"), folder.path().join("pack"));
        std::fs::create_dir_all(photos.join("deeper")).unwrap();
        // PNG, so that the bytes are the picture's own; 48 is the packed short side, so that nothing is shrunk.
        picture(64, 48, 1).save(photos.join("sea_1.png")).unwrap();
        picture(40, 56, 2).save(photos.join("deeper").join("wood_2.PNG")).unwrap();
        std::fs::write(photos.join("broken_3.jpg"), b"not a picture").unwrap();
        std::fs::write(photos.join("MANIFEST.csv"), b"ignored").unwrap();
        std::fs::create_dir_all(clips.join("walk_by")).unwrap();
        for frame in 1..=21 {
            picture(50, 48, frame).save(clips.join("walk_by").join(format!("{frame}.png"))).unwrap();
        }
        let mut heard = Vec::new();
        let inputs = vec![input(&photos, InputKind::Stills, "photos"), input(&clips, InputKind::Clips, "clips")];
        let summary = pack(&config(&out, inputs), &mut |done, total| heard.push((done, total))).unwrap();
        assert_eq!((summary.stills, summary.clips, summary.frames), (2, 2, 22));
        assert_eq!(summary.skipped.len(), 1);
        assert!(summary.skipped[0].path.ends_with("broken_3.jpg"), "{:?}", summary.skipped);
        assert_eq!((heard.first(), heard.last()), (Some(&(0, 4)), Some(&(4, 4))));

        let set = PackedSet::open(&out).unwrap();
        set.verify().unwrap();
        let items: Vec<_> = Split::ALL.iter().flat_map(|&split| set.items(split)).collect();
        let find = |name: &str| items.iter().find(|item| item.name == name).unwrap();
        assert_eq!(set.frame(find("sea_1.png"), 0), picture(64, 48, 1).as_raw().as_slice());
        assert_eq!(set.frame(find("wood_2.PNG"), 0), picture(40, 56, 2).as_raw().as_slice());
        assert_eq!((find("sea_1.png").tag.as_str(), find("sea_1.png").source.as_str()), ("sea", "photos"));
        // 21 frames at 10 an item: two parts, and a tail of one frame is dropped. Frame 10 comes after frame 9.
        assert_eq!(set.frame(find("walk_by"), 9), picture(50, 48, 10).as_raw().as_slice());
        assert_eq!(set.frame(find("walk_by#2"), 0), picture(50, 48, 11).as_raw().as_slice());
        assert!(find("sea_1.png").mean_chroma > 5.0);
    }

    #[test]
    fn a_packed_set_is_not_overwritten_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let (photos, out) = (folder.path().join("photos"), folder.path().join("pack"));
        std::fs::create_dir(&photos).unwrap();
        picture(64, 48, 1).save(photos.join("a_1.png")).unwrap();
        let mut config = config(&out, vec![PackInput::detect(&photos).unwrap()]);
        pack(&config, &mut |_, _| ()).unwrap();
        let message = format!("{:#}", pack(&config, &mut |_, _| ()).unwrap_err());
        assert!(message.contains("already holds a packed set") && message.contains("--force"), "{message}");
        picture(64, 48, 2).save(photos.join("a_2.png")).unwrap();
        config.force = true;
        assert_eq!(pack(&config, &mut |_, _| ()).unwrap().stills, 2);
        PackedSet::open(&out).unwrap().verify().unwrap();
    }

    #[test]
    fn an_input_of_which_nothing_can_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (photos, out) = (folder.path().join("photos"), folder.path().join("pack"));
        std::fs::create_dir(&photos).unwrap();
        std::fs::write(photos.join("broken.jpg"), b"not a picture").unwrap();
        let message = format!("{:#}", pack(&config(&out, vec![input(&photos, InputKind::Stills, "photos")]), &mut |_, _| ()).unwrap_err());
        assert!(message.contains("none of the pictures") && message.contains("broken.jpg"), "{message}");
        assert!(PackedSet::open(&out).is_err());
    }

    #[test]
    fn a_clip_whose_frames_differ_in_size_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let clip = folder.path().join("odd");
        std::fs::create_dir(&clip).unwrap();
        picture(40, 30, 1).save(clip.join("1.png")).unwrap();
        picture(42, 30, 1).save(clip.join("2.png")).unwrap();
        let message = read_clip_folder(&clip, 48).err().unwrap().to_string();
        assert!(message.contains("2.png is 42x30") && message.contains("one size"), "{message}");
    }

    #[test]
    fn kinds_are_told_apart_by_what_is_inside() {
        let folder = tempfile::tempdir().unwrap();
        let clip = folder.path().join("clips").join("one");
        std::fs::create_dir_all(&clip).unwrap();
        assert!(InputKind::detect(folder.path()).is_err());
        picture(8, 8, 1).save(clip.join("1.jpg")).unwrap();
        assert_eq!(InputKind::detect(&clip).unwrap(), InputKind::Stills);
        assert_eq!(InputKind::detect(clip.parent().unwrap()).unwrap(), InputKind::Clips);
        std::fs::write(folder.path().join("film.MP4"), b"").unwrap();
        assert_eq!(InputKind::detect(folder.path()).unwrap(), InputKind::Video);
    }

    #[test]
    fn a_limit_takes_the_same_stills_from_both_splits() {
        let inputs = [input(Path::new("photos"), InputKind::Stills, "photos"), input(Path::new("clips"), InputKind::Clips, "clips")];
        let jobs = || -> Vec<Job> {
            let job = |name: String, input| Job { path: PathBuf::from(&name), name, input };
            (0..4000).map(|i| job(format!("p_{i}.jpg"), 0)).chain([job("clip".to_owned(), 1)]).collect()
        };
        let kept = |limit| {
            let mut jobs = jobs();
            keep_some_stills(&mut jobs, &inputs, limit);
            jobs.into_iter().map(|job| job.name).collect::<Vec<_>>()
        };
        let (small, large) = (kept(1000), kept(2000));
        assert_eq!(small.len(), 1001);
        assert!(small.iter().all(|name| large.contains(name)), "a larger limit only adds");
        assert!(small.contains(&"clip".to_owned()), "clips are not counted");
        let validation = small.iter().filter(|name| split_of(name) == Split::Validation).count();
        // 5 % of 1000 is 51, with a standard deviation of 7; 0 or 1000 would mean the order follows the split.
        assert!((20..90).contains(&validation), "{validation}");
    }

    #[test]
    fn shrinking_keeps_the_mean_and_the_aspect() {
        let source = picture(250, 150, 3);
        let mean = |rgb: &[u8]| rgb.iter().map(|&value| f64::from(value)).sum::<f64>() / rgb.len() as f64;
        let small = shrink(Frames { width: 250, height: 150, rgb: source.as_raw().clone() }, 60);
        assert_eq!((small.width, small.height), (100, 60));
        // Every source pixel has the same weight, so that only the rounding of the output, half a level at most, moves the mean.
        assert!((mean(&small.rgb) - mean(source.as_raw())).abs() < 0.1);
        let flat = shrink(Frames { width: 250, height: 150, rgb: vec![200; 250 * 150 * 3] }, 49);
        assert!(flat.rgb.iter().all(|&value| value == 200));
        assert_eq!(shrunk_size(100, 48, 48), (100, 48));
        assert_eq!(shrunk_size(30, 100, 48), (30, 100));
    }

    #[test]
    fn names_sort_by_their_numbers() {
        let mut names = ["f10.jpg", "f9.jpg", "f009.jpg", "e11.jpg", "f10b.jpg"];
        names.sort_by(|a, b| by_name(a, b));
        assert_eq!(names, ["e11.jpg", "f009.jpg", "f9.jpg", "f10.jpg", "f10b.jpg"]);
    }

    #[test]
    fn a_turned_phone_video_is_measured_upright() {
        let plain = br#"{"streams": [{"width": 640, "height": 480, "sample_aspect_ratio": "0:1"}]}"#;
        assert_eq!(upright_size(plain).unwrap(), (640, 480));
        let turned = br#"{"streams": [{"width": 640, "height": 480, "side_data_list": [{"rotation": -90}]}]}"#;
        assert_eq!(upright_size(turned).unwrap(), (480, 640));
        let wide = br#"{"streams": [{"width": 720, "height": 576, "sample_aspect_ratio": "64:45"}]}"#;
        assert_eq!(upright_size(wide).unwrap(), (1024, 576));
        assert!(upright_size(br#"{"streams": []}"#).is_err());
    }

    #[test]
    fn a_video_gives_as_many_frames_as_ffmpeg_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let film = folder.path().join("film_test.mkv");
        let made = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=10:duration=2.5", "-c:v", "ffv1"])
            .arg(&film)
            .status();
        // FFmpeg is optional, for packing and for this test.
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no usable ffmpeg");
            return;
        }
        let out = folder.path().join("pack");
        let summary = pack(&config(&out, vec![PackInput::detect(&film).unwrap()]), &mut |_, _| ()).unwrap();
        // 25 frames at 10 an item: the last five are too few for an item.
        assert_eq!((summary.clips, summary.frames), (2, 20), "{:?}", summary.skipped);
        let set = PackedSet::open(&out).unwrap();
        let item = Split::ALL.iter().flat_map(|&split| set.items(split)).next().unwrap();
        assert_eq!((item.width, item.height, item.source.as_str()), (64, 48, "film_test"));
        assert_ne!(set.frame(item, 0), set.frame(item, 9));
    }
}
