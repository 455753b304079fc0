//! `strip`.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use autochrome_model::{Colorizer, LumaRange, Painter};
use autochrome_trainer::figure::gif;
use autochrome_trainer::figure::pictures::{list, open_within, write_png};
use autochrome_trainer::files::write_atomically;
use autochrome_trainer::filmstrip::Clip;

/// Draws a clip in grey, colored with the state carried from frame to frame, and true: as a film strip (PNG) or moving (GIF).
#[derive(clap::Args)]
pub(crate) struct Strip {
    /// A folder with the clip's frames, in the order of their names.
    clip: PathBuf,
    /// The ONNX file.
    #[arg(long)]
    model: PathBuf,
    /// The file to write, a .png or a .gif.
    #[arg(long)]
    out: PathBuf,
    /// How many frames a film strip shows, from the first to the last; a GIF has all.
    #[arg(long, default_value_t = 6)]
    frames: usize,
    /// Frames a second of a GIF.
    #[arg(long, default_value_t = 12.5)]
    fps: f32,
    /// Frames with longer sides are shrunk to this many pixels first.
    #[arg(long, default_value_t = 1024)]
    side: u32,
    /// How tall the pictures are, pixels.
    #[arg(long, default_value_t = 144)]
    height: u32,
}

impl Strip {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let moving = match self.out.extension().map(|ending| ending.to_string_lossy().to_lowercase()).as_deref() {
            Some("gif") => true,
            Some("png") => false,
            _ => bail!("--out {}: the file is a .png or a .gif", self.out.display()),
        };
        ensure!((0.1..=50.0).contains(&self.fps), "--fps {}: a GIF has 0.1 to 50 frames a second", self.fps);
        let files = list(&self.clip)?;
        ensure!(!files.is_empty(), "{} holds no JPEG or PNG frames", self.clip.display());
        let mut painter = Painter::new(Colorizer::load(&self.model)?, LumaRange::Full);
        let clip = Clip { frames: files.len(), frame: |number: usize| open_within(&files[number], self.side) };
        let what = || format!("draw the clip {}", self.clip.display());
        if moving {
            let triples = clip.triples(&mut painter, self.height).with_context(what)?;
            let hundredths = (100.0 / self.fps).round() as u16;
            write_atomically(&self.out, &gif::encode(&triples, hundredths).with_context(what)?)?;
        } else {
            write_png(&self.out, &clip.film_strip(&mut painter, self.frames, self.height).with_context(what)?)?;
        }
        println!("{}", self.out.display());
        Ok(())
    }
}
