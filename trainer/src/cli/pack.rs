//! `pack`.

use std::path::{Path, PathBuf};

use autochrome_trainer::data::pack::{InputKind, PackConfig, PackInput, pack};

use crate::terminal;

/// Packs photo folders, clip folders and video files into memory-mapped shards.
#[derive(clap::Args)]
pub(crate) struct Pack {
    /// Photo folders, folders of clip folders, or video files; `KIND:PATH` (stills, clips, video) says what one holds.
    #[arg(required = true)]
    inputs: Vec<String>,
    /// The folder to create.
    #[arg(long)]
    out: PathBuf,
    /// The pictures' shorter side, pixels.
    #[arg(long, default_value_t = 144)]
    short_side: u32,
    /// Frames a second taken from video files.
    #[arg(long)]
    fps: Option<f32>,
    /// Pack only this many stills.
    #[arg(long)]
    limit: Option<usize>,
    /// Replace a packed set that is already there.
    #[arg(long)]
    force: bool,
}

impl Pack {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self { inputs, out, short_side, fps, limit, force } = self;
        let inputs = inputs.iter().map(|text| pack_input(text)).collect::<anyhow::Result<_>>()?;
        let config = PackConfig { inputs, out: out.clone(), short_side, video_fps: fps, limit, force, ..PackConfig::default() };
        let mut bar = terminal::Bar::new("packed");
        let summary = pack(&config, &mut |done, total| bar.at(done as u64, total as u64, ""))?;
        bar.end();
        summary.skipped.iter().take(20).for_each(|s| eprintln!("skipped {}: {}", s.path.display(), s.reason));
        println!(
            "{}: {} stills, {} clips, {} frames, {:.1} MB; {} items to train on, {} to validate, {} files skipped",
            out.display(),
            summary.stills,
            summary.clips,
            summary.frames,
            summary.bytes as f64 / 1e6,
            summary.train_items,
            summary.validation_items,
            summary.skipped.len()
        );
        Ok(())
    }
}

fn pack_input(text: &str) -> anyhow::Result<PackInput> {
    let kinds = [("stills:", InputKind::Stills), ("clips:", InputKind::Clips), ("video:", InputKind::Video)];
    match kinds.iter().find_map(|(prefix, kind)| text.strip_prefix(prefix).map(|path| (path, *kind))) {
        Some((path, kind)) => {
            let path = PathBuf::from(path);
            let source = path.file_stem().map_or("input".into(), |name| name.to_string_lossy().into_owned());
            Ok(PackInput { path, kind, source })
        }
        None => PackInput::detect(Path::new(text)),
    }
}
