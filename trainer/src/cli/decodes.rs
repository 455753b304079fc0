//! `decodes`.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use autochrome_model::Colorizer;
use autochrome_trainer::decodes;
use autochrome_trainer::figure::pictures::{open_within, write_png};
use autochrome_trainer::figure::strip;

/// Draws what the decodes make of one model's output: grey | mode | annealed means | mean | blends | truth, a row for each picture. A model
/// that gives colors itself has nothing to decode, and is one column: regression.
#[derive(clap::Args)]
pub(crate) struct Decodes {
    /// The ONNX file.
    model: PathBuf,
    /// Another model in the same strip, such as a regression beside the decodes; may be repeated.
    #[arg(long = "beside", value_name = "FILE.onnx")]
    beside: Vec<PathBuf>,
    /// Pictures; those with color show it at the end of their row.
    #[arg(required = true)]
    pictures: Vec<PathBuf>,
    /// The PNG to write.
    #[arg(long)]
    out: PathBuf,
    /// A temperature strip in place of all decodes: the annealed mean at these temperatures, above 0.
    #[arg(long, value_delimiter = ',')]
    temperatures: Vec<f32>,
    /// Pictures with longer sides are shrunk to this many pixels first.
    #[arg(long, default_value_t = 1024)]
    side: u32,
    /// How tall the strip's pictures are, pixels.
    #[arg(long, default_value_t = 192)]
    height: u32,
}

impl Decodes {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let wrong = self.temperatures.iter().find(|t| !t.is_finite() || **t <= 0.0);
        ensure!(wrong.is_none(), "--temperatures: {} is no temperature; they are above 0", wrong.unwrap_or(&0.0));
        let decodes = if self.temperatures.is_empty() { decodes::all() } else { decodes::annealed(&self.temperatures) };
        let models = std::iter::once(&self.model).chain(&self.beside);
        let mut painters = models.map(|file| Ok(decodes::painter(Colorizer::load(file)?))).collect::<anyhow::Result<Vec<_>>>()?;
        let mut rows = Vec::with_capacity(self.pictures.len());
        for file in &self.pictures {
            let picture = open_within(file, self.side)?;
            rows.push(decodes::row(&mut painters, &picture, &decodes).with_context(|| format!("decode {}", file.display()))?);
        }
        write_png(&self.out, &strip(&rows, self.height)?)?;
        println!("{}", self.out.display());
        Ok(())
    }
}
