//! `loader`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use autochrome_trainer::config::RunConfig;
use autochrome_trainer::data::lanes::{LaneConfig, Lanes};
use autochrome_trainer::data::prefetch::Prefetch;
use autochrome_trainer::data::shard::PackedSet;
use autochrome_trainer::data::split::Split;
use autochrome_trainer::run_folder::config_file;
use autochrome_trainer::train::{own_memory, processor_seconds};

/// Chunks that wait ready for the consumer, which here does nothing with them.
const AHEAD: usize = 4;

/// Measures how fast training data is made, and whether making it takes more and more memory.
#[derive(clap::Args)]
pub(crate) struct Loader {
    /// The packed set.
    data: PathBuf,
    /// A run whose data configuration to use, and whose speed to compare with.
    #[arg(long)]
    run: Option<PathBuf>,
    /// Numbers of loader threads to measure.
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<NonZeroUsize>,
    /// Chunks to measure with.
    #[arg(long, default_value_t = 100)]
    chunks: u64,
    /// Small chunks over which memory must not grow; 0 leaves that out.
    #[arg(long, default_value_t = 10_000)]
    growth_chunks: u64,
}

impl Loader {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self { data, run, threads, chunks, growth_chunks } = self;
        ensure!(chunks > 0, "--chunks is 0; at least 1 is needed");
        let set = Arc::new(PackedSet::open(&data)?);
        let config = run.as_ref().map_or_else(|| Ok(RunConfig::default()), |run| RunConfig::read(&config_file(run)))?;
        let (config, encoding) = (config.data.clone(), config.soft_encoding()?);
        let needed = run.as_deref().map(frames_per_second_of).transpose()?;
        let lanes = Arc::new(Lanes::new(set.clone(), Split::Train, config.clone())?.encoding(encoding));
        println!("{} lanes, chunks of {} frames of {}x{}", config.lanes, config.chunk_frames, config.width, config.height);
        for count in threads {
            let Speed { wall, processor } = measure(&lanes, count.get(), chunks)?;
            let share = needed.map_or_else(String::new, |needed| format!(", {:.1} times what the run took ({needed:.1})", wall / needed));
            println!("{count} loader threads: {wall:.0} images/s{share}; {processor:.0} a second of processor time");
        }
        if growth_chunks > 0 {
            let small = LaneConfig { lanes: 4, chunk_frames: 2, width: 32, height: 32, output_stride: 4, flow: true, ..config };
            let lanes = Arc::new(Lanes::new(set, Split::Train, small)?.encoding(encoding));
            let (before, after) = growth(&lanes, growth_chunks)?;
            println!("memory of its own: {before} KiB after the first small chunks, {after} KiB after {growth_chunks} more");
        }
        Ok(())
    }
}

/// Images a second.
struct Speed {
    /// By the clock.
    wall: f64,
    /// By the time that the processors spent on it: what is left when others keep them busy.
    processor: f64,
}

/// How fast `threads` threads are.
fn measure(lanes: &Arc<Lanes>, threads: usize, chunks: u64) -> anyhow::Result<Speed> {
    let mut prefetch = Prefetch::start(Arc::clone(lanes), 0, threads, AHEAD)?;
    // Until the threads have started and what they made first is gone.
    let full = (threads * (AHEAD + 1)) as u64;
    for _ in 0..full {
        prefetch.next_chunk()?;
    }
    let (started, spent) = (Instant::now(), processor_seconds());
    for _ in 0..chunks {
        prefetch.next_chunk()?;
    }
    let images = (chunks as usize * lanes.config().lanes * lanes.config().chunk_frames) as f64;
    Ok(Speed { wall: images / started.elapsed().as_secs_f64(), processor: images / (processor_seconds() - spent) })
}

/// Memory of the process after some chunks, and after `chunks` more, KiB.
fn growth(lanes: &Arc<Lanes>, chunks: u64) -> anyhow::Result<(u64, u64)> {
    let mut prefetch = Prefetch::start(Arc::clone(lanes), 0, 2, AHEAD)?;
    let mut play = |count: u64| (0..count).try_for_each(|_| prefetch.next_chunk().map(|_| ()));
    play(chunks.min(500))?;
    let memory = || own_memory().map(|bytes| bytes / 1024).context("this system does not say how much memory is in use; Linux does");
    let before = memory()?;
    play(chunks)?;
    Ok((before, memory()?))
}

/// The median speed of a run.
fn frames_per_second_of(run: &Path) -> anyhow::Result<f64> {
    let path = run.join("metrics.jsonl");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let speed = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["frames_per_s"].as_f64();
    let mut speeds: Vec<f64> = text.lines().filter_map(speed).collect();
    ensure!(!speeds.is_empty(), "{} has no line with frames_per_s; train for some steps first", path.display());
    speeds.sort_by(f64::total_cmp);
    Ok(speeds[speeds.len() / 2])
}
