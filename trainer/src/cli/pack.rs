//! `pack` and `merge`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use autochrome_trainer::data::pack::{InputKind, PackConfig, PackInput, PackSummary, pack};
use autochrome_trainer::data::part::{PartOf, merge};
use autochrome_trainer::evaluate::table::counted;

use super::export::size;
use crate::terminal;

/// Packs photographs, clips, videos and published collections into memory-mapped shards.
#[derive(clap::Args)]
pub(crate) struct Pack {
    /// Folders or files. `KIND:PATH` says what one holds: stills, clips (a folder each), video, stl10, cifar10, imagenet, coco, landscapes.
    /// Without a kind, stills, clips and videos are told apart by what is inside.
    #[arg(required = true)]
    inputs: Vec<String>,
    /// The folder to create.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    framing: Framing,
    /// Pack only this many stills.
    #[arg(long)]
    limit: Option<NonZeroUsize>,
    /// Pack only part I of N (from 1/N to N/N), on any machine and in any order; `merge` joins the parts.
    #[arg(long, value_name = "I/N")]
    shard: Option<PartOf>,
    /// Replace a packed set that is already there, once the new one is whole.
    #[arg(long)]
    force: bool,
}

/// What is taken from pictures and films.
#[derive(Clone, clap::Args)]
pub(crate) struct Framing {
    /// The longest that a picture's shorter side may be, pixels; 144 by default. Smaller pictures stay as they are.
    #[arg(long)]
    short_side: Option<u32>,
    /// Frames a second taken from video files.
    #[arg(long)]
    fps: Option<f32>,
    /// Shrink video frames into a box of this size, as WIDTHxHEIGHT, with black around them.
    #[arg(long, value_parser = size)]
    pad: Option<[usize; 2]>,
}

impl Framing {
    /// Whether anything was asked for.
    pub(crate) fn is_given(&self) -> bool {
        self.short_side.is_some() || self.fps.is_some() || self.pad.is_some()
    }

    /// `config` with what was asked for.
    pub(crate) fn apply(&self, config: PackConfig) -> PackConfig {
        PackConfig {
            short_side: self.short_side.unwrap_or(config.short_side),
            video_fps: self.fps.or(config.video_fps),
            pad: self.pad.map(|sides| sides.map(|side| u32::try_from(side).unwrap_or(u32::MAX))).or(config.pad),
            ..config
        }
    }
}

impl Pack {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self { inputs, out, framing, limit, shard, force } = self;
        let inputs = inputs.iter().map(|text| opened(text)).collect::<anyhow::Result<Vec<_>>>()?;
        tell_shared_names(&inputs);
        let config = framing.apply(PackConfig {
            inputs,
            out: out.clone(),
            limit: limit.map(NonZeroUsize::get),
            part: shard,
            force,
            ..PackConfig::default()
        });
        let mut bar = terminal::Bar::new("packed");
        let summary = pack(&config, &mut |done, total| bar.at(done as u64, total as u64, ""))?;
        bar.end();
        tell(&out, &summary, config.short_side);
        Ok(())
    }
}

/// What `text` says is to be packed; says so where folders of pictures could also be photographs.
fn opened(text: &str) -> anyhow::Result<PackInput> {
    let input = PackInput::parse(text)?;
    if input.kind == InputKind::Clips && input.path.as_os_str() == text {
        eprintln!(
            "{text} is taken for clips: the pictures of each folder in it are consecutive frames; if they are photographs, say stills:{text}"
        );
    }
    Ok(input)
}

/// Inputs of one name become one source, which may not be meant.
fn tell_shared_names(inputs: &[PackInput]) {
    for (at, input) in inputs.iter().enumerate() {
        if let Some(other) = inputs[..at].iter().find(|other| other.source == input.source) {
            eprintln!("{} and {} are both called {:?}, and become one source", other.path.display(), input.path.display(), input.source);
        }
    }
}

/// Joins the parts that `pack --shard` made into one packed set, after checking that all are there and undamaged.
#[derive(clap::Args)]
pub(crate) struct Merge {
    /// The folder to create.
    out: PathBuf,
    /// The folder of every part, in any order.
    #[arg(required = true)]
    parts: Vec<PathBuf>,
    /// Replace a packed set that is already there, once the new one is whole.
    #[arg(long)]
    force: bool,
}

impl Merge {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self { out, parts, force } = self;
        let (summary, short_side) = merge(&out, &parts, force)?;
        tell(&out, &summary, short_side);
        Ok(())
    }
}

fn tell(out: &Path, summary: &PackSummary, short_side: u32) {
    summary.skipped.iter().take(20).for_each(|skipped| eprintln!("damaged or of no use: {skipped}"));
    println!(
        "{}: {}, {}, {}, {:.1} MB; {} to train on, {} to validate, {} damaged or of no use",
        out.display(),
        counted(summary.stills, "still"),
        counted(summary.clips, "clip"),
        counted(summary.frames as usize, "frame"),
        summary.bytes as f64 / 1e6,
        counted(summary.train_items, "item"),
        summary.validation_items,
        counted(summary.skipped.len(), "file")
    );
    if summary.grey > 0 {
        println!("grey photographs and pieces of film that were left out: {}", summary.grey);
    }
    if summary.small > 0 {
        println!("{} items have a shorter side below {short_side} pixels and were kept at their size", summary.small);
    }
}
