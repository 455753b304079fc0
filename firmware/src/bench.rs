//! How fast this machine is: the network's step alone, our own stages one by one, and the whole way from luma to picture.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use autochrome_model::{Colorizer, LumaRange, Painter, Picture, Plane, Stage, Step, color, planes};
use serde::Serialize;

use crate::cuts::CutDetector;
use crate::errors::{Exit, Failure, OrFail, Result};
use crate::input::Photos;
use crate::model;
use crate::statistics::Percentiles;

/// Frames before the clock runs: caches, and memory that is allocated once.
const WARM_UP: u64 = 5;

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The model's name.
    pub model: String,
    /// Threads that shared a frame's network.
    pub threads: usize,
    /// Frames that were timed.
    pub frames: u64,
    /// From a lightness plane to ab at the model's resolution.
    pub step_ms: Percentiles,
    /// From a 640x480 luma plane to an RGB picture of that size, the cut detector's look included.
    pub pipeline_ms: Percentiles,
    /// What of that is not the network.
    pub own_stages_ms: Percentiles,
    /// What `own_stages_ms` consists of.
    pub stages_ms: Stages,
    /// What a step consists of, in the order in which it is computed.
    pub operators: Vec<Operator>,
    /// Frames a second of the whole pipeline.
    pub pipeline_fps: f32,
    /// The most memory this process held at once (VmHWM); absent where the system does not say.
    pub peak_rss_mb: Option<f32>,
    /// Reading and preparing the model.
    pub load_ms: f32,
}

/// One of the network's operators.
#[derive(Debug, Serialize)]
pub struct Operator {
    /// The name of its node.
    pub node: String,
    /// What it does.
    pub operator: String,
    /// How long it takes; half of the frames took at most so long.
    pub p50_ms: f32,
}

/// The stages of a 640x480 frame beside the network, in milliseconds.
#[derive(Debug, Serialize)]
pub struct Stages {
    /// Looking for a cut.
    pub cut_detector: Percentiles,
    /// Luma to lightness, shrunk into the model's input.
    pub shrink: Percentiles,
    /// Logits to ab.
    pub decode: Percentiles,
    /// The guided filter, at the model's size.
    pub guided_filter: Percentiles,
    /// Its lines and the luma to Cb and Cr.
    pub compose: Percentiles,
    /// Luma, Cb and Cr to RGB.
    pub rgb: Percentiles,
}

/// Measures `frames` frames of the demo's feed.
///
/// # Errors
/// [`Exit::Usage`] for no frames; those of loading and running the model.
pub fn measure(file: Option<&Path>, threads: NonZeroUsize, frames: u64) -> Result<Report> {
    if frames == 0 {
        return Err(Failure::usage("--frames 0: there is nothing to measure"));
    }
    let (colorizer, load_ms) = timed(|| model::load(file, model::threads(Some(threads))));
    let mut colorizer = colorizer?;
    let name = colorizer.contract().card.name.clone();
    let photos = Photos::new()?;
    let size = (colorizer.contract().width, colorizer.contract().height);
    let table = color::lightness_table(LumaRange::Full);
    let lightness = |number| planes::resample(&photos.draw(number), |code| table[usize::from(code)], size);
    let step_ms = each_frame(frames, |number| {
        let lightness = lightness(number);
        let (chroma, ms) = timed(|| colorizer.step(&lightness));
        Ok((chroma?.a.data.len(), ms))
    })?;
    let operators = operators(&mut colorizer, frames, lightness)?;
    colorizer.reset();
    let own = stages(Painter::new(colorizer, LumaRange::Full), &photos, frames)?;
    let pipeline_fps = 1000.0 * own.whole.len() as f32 / own.whole.iter().sum::<f32>().max(1e-6);
    let [cut_detector, shrink, _, decode, guided_filter, compose, rgb] = own.each.map(Percentiles::of);
    Ok(Report {
        model: name,
        threads: threads.get(),
        frames,
        step_ms: Percentiles::of(step_ms),
        pipeline_ms: Percentiles::of(own.whole),
        own_stages_ms: Percentiles::of(own.without_network),
        stages_ms: Stages { cut_detector, shrink, decode, guided_filter, compose, rgb },
        operators,
        pipeline_fps,
        peak_rss_mb: peak_rss_mb(),
        load_ms,
    })
}

/// The network's operators, one by one. The clock is read between them, so their sum is a little more than a step.
fn operators(colorizer: &mut Colorizer, frames: u64, lightness: impl Fn(u64) -> Plane<f32>) -> Result<Vec<Operator>> {
    let mut found: Vec<(String, String, Vec<f32>)> = Vec::new();
    for number in 0..WARM_UP + frames {
        let lightness = lightness(number);
        let (mut at, mut before) = (0, Instant::now());
        colorizer.advance_watched(&lightness, |node, operator| {
            let ms = before.elapsed().as_secs_f32() * 1000.0;
            if at == found.len() {
                found.push((node.to_owned(), operator.to_owned(), Vec::new()));
            }
            if number >= WARM_UP {
                found[at].2.push(ms);
            }
            at += 1;
            before = Instant::now();
        })?;
    }
    let operator = |(node, operator, times)| Operator { node, operator, p50_ms: Percentiles::of(times).p50 };
    Ok(found.into_iter().map(operator).collect())
}

/// Where the network stands among the stages of a frame.
const NETWORK: usize = 2;

/// The times of each frame's stages.
#[derive(Default)]
struct Times {
    /// Cut detector, shrink, network, decode, guided filter, compose, RGB.
    each: [Vec<f32>; 7],
    whole: Vec<f32>,
    without_network: Vec<f32>,
}

fn stages(mut painter: Painter, photos: &Photos, frames: u64) -> Result<Times> {
    let mut times = Times::default();
    let mut cuts = CutDetector::default();
    let mut picture = Picture::default();
    let mut rgb = Vec::new();
    for number in 0..WARM_UP + frames {
        picture.luma = photos.draw(number);
        let mut ends = [Instant::now(); 8];
        let cut = cuts.is_cut(&picture.luma, None);
        ends[1] = Instant::now();
        if cut {
            painter.reset();
        }
        let ended = |stage| match stage {
            Stage::Shrink => 2,
            Stage::Network => NETWORK + 1,
            Stage::Decode => 4,
            Stage::Guide => 5,
            Stage::Compose => 6,
        };
        painter.paint_watched(&mut picture, Step::Advance, |stage| ends[ended(stage)] = Instant::now())?;
        picture.to_rgb_into(LumaRange::Full, &mut rgb);
        ends[7] = Instant::now();
        std::hint::black_box(&rgb);
        if number < WARM_UP {
            continue;
        }
        let ms = |from: usize, to: usize| ends[to].duration_since(ends[from]).as_secs_f32() * 1000.0;
        for (stage, times) in times.each.iter_mut().enumerate() {
            times.push(ms(stage, stage + 1));
        }
        times.whole.push(ms(0, 7));
        times.without_network.push(ms(0, 7) - ms(NETWORK, NETWORK + 1));
    }
    Ok(times)
}

impl Report {
    /// The report for people, or as JSON.
    ///
    /// # Errors
    /// None that can happen.
    pub fn to_text(&self, as_json: bool) -> Result<String> {
        if as_json {
            return serde_json::to_string_pretty(self).or_fail(Exit::Other, || "write JSON".into());
        }
        let mut text = String::new();
        let row = |Percentiles { p50, p95, p99 }: Percentiles| format!("p50 {p50:.2} ms, p95 {p95:.2} ms, p99 {p99:.2} ms");
        let peak = self.peak_rss_mb.map_or_else(|| "unknown".into(), |mb| format!("{mb:.0} MB"));
        let rows = [
            ("model", self.model.clone()),
            ("threads", self.threads.to_string()),
            ("load", format!("{:.0} ms", self.load_ms)),
            ("step", row(self.step_ms)),
            ("pipeline", row(self.pipeline_ms)),
            ("own stages", row(self.own_stages_ms)),
            ("  cuts", row(self.stages_ms.cut_detector)),
            ("  shrink", row(self.stages_ms.shrink)),
            ("  decode", row(self.stages_ms.decode)),
            ("  guide", row(self.stages_ms.guided_filter)),
            ("  compose", row(self.stages_ms.compose)),
            ("  rgb", row(self.stages_ms.rgb)),
            ("frames/s", format!("{:.1}", self.pipeline_fps)),
            ("peak memory", peak),
        ];
        for (name, value) in rows {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<12}{value}");
        }
        let mut kinds: BTreeMap<&str, (usize, f32)> = BTreeMap::new();
        for Operator { operator, p50_ms, .. } in &self.operators {
            let (count, ms) = kinds.entry(operator).or_default();
            *count += 1;
            *ms += p50_ms;
        }
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_by(|(_, (_, a)), (_, (_, b))| b.total_cmp(a));
        text.push_str("the network's operators, all of a kind together\n");
        for (operator, (count, ms)) in kinds {
            let _ = writeln!(text, "  {operator:<22}{count:>3}  {ms:.3} ms");
        }
        Ok(text)
    }
}

/// The times of `frames` calls after [`WARM_UP`] others. A result's size is kept so that no work can be left out.
fn each_frame(frames: u64, mut work: impl FnMut(u64) -> Result<(usize, f32)>) -> Result<Vec<f32>> {
    let mut times = Vec::new();
    for number in 0..WARM_UP + frames {
        let (size, ms) = work(number)?;
        std::hint::black_box(size);
        if number >= WARM_UP {
            times.push(ms);
        }
    }
    Ok(times)
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f32) {
    let start = Instant::now();
    let value = work();
    (value, start.elapsed().as_secs_f32() * 1000.0)
}

fn peak_rss_mb() -> Option<f32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: f32 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes / 1024.0)
}
