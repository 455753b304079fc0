//! `strip`.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use autochrome_model::{Colorizer, LumaRange, Painter};
use autochrome_trainer::figure::pictures::{list, open_within, write_png};
use autochrome_trainer::{figure, filmstrip};

/// Draws a clip as a film strip: frames in grey, colored with the state carried from frame to frame, and true.
#[derive(clap::Args)]
pub(crate) struct Strip {
    /// A folder with the clip's frames, in the order of their names.
    clip: PathBuf,
    /// The ONNX file.
    #[arg(long)]
    model: PathBuf,
    /// The PNG to write.
    #[arg(long)]
    out: PathBuf,
    /// How many frames to show, from the first to the last.
    #[arg(long, default_value_t = 6)]
    frames: usize,
    /// Frames with longer sides are shrunk to this many pixels first.
    #[arg(long, default_value_t = 1024)]
    side: u32,
    /// How tall the strip's pictures are, pixels.
    #[arg(long, default_value_t = 144)]
    height: u32,
}

impl Strip {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let frames = list(&self.clip)?;
        ensure!(!frames.is_empty(), "{} holds no JPEG or PNG frames", self.clip.display());
        let mut painter = Painter::new(Colorizer::load(&self.model)?, LumaRange::Full);
        let rows = filmstrip::rows(&mut painter, frames.len(), self.frames, |number| open_within(&frames[number], self.side));
        let rows = rows.with_context(|| format!("color the clip {}", self.clip.display()))?;
        write_png(&self.out, &figure::strip(&rows, self.height)?)?;
        println!("{}", self.out.display());
        Ok(())
    }
}
