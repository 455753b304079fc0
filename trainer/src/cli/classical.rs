//! `classical`.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use autochrome_trainer::classical::{Method, keep_lightness, transfer};
use autochrome_trainer::figure::pictures::{open_within, without_color, write_png};
use autochrome_trainer::figure::{Cell, strip};

/// Colors a picture from a reference by the methods that came before networks, and draws them side by side.
#[derive(clap::Args)]
pub(crate) struct Classical {
    /// The picture to color; its own colors are taken away first.
    input: PathBuf,
    /// The picture whose colors to take.
    reference: PathBuf,
    /// The PNG to write: grey | reference | each result.
    #[arg(long)]
    out: PathBuf,
    /// Methods, in the strip's order; all if none is named.
    #[arg(long = "method", value_enum, value_delimiter = ',')]
    methods: Vec<Method>,
    /// Also write each result as METHOD.png into this folder.
    #[arg(long)]
    each: Option<PathBuf>,
    /// Transfer from color to color: the picture keeps its own colors to begin with.
    #[arg(long)]
    in_color: bool,
    /// Take only a* and b* from the results, and leave the picture its own lightness.
    #[arg(long)]
    keep_lightness: bool,
    /// For the methods that draw random numbers.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Pictures with longer sides are shrunk to this many pixels first.
    #[arg(long, default_value_t = 1024)]
    side: u32,
    /// How tall the strip's pictures are, pixels.
    #[arg(long, default_value_t = 288)]
    height: u32,
}

impl Classical {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let methods = if self.methods.is_empty() { Method::ALL.to_vec() } else { self.methods };
        let (input, reference) = (open_within(&self.input, self.side)?, open_within(&self.reference, self.side)?);
        let (source, caption) = if self.in_color { (input, "picture") } else { (without_color(&input), "grey") };
        let mut row = vec![Cell::new(caption, source.clone()), Cell::new("reference", reference.clone())];
        for method in methods {
            ensure!(row.iter().all(|cell| cell.caption != method.name()), "--method names {} twice", method.name());
            let what = || format!("give {} the colors of {}", self.input.display(), self.reference.display());
            let mut result = transfer(method, &source, &reference, self.seed).with_context(what)?;
            if self.keep_lightness {
                result = keep_lightness(&source, &result);
            }
            if let Some(folder) = &self.each {
                write_png(&folder.join(format!("{}.png", method.name())), &result)?;
            }
            row.push(Cell::new(method.name(), result));
        }
        write_png(&self.out, &strip(&[row], self.height)?)?;
        println!("{}", self.out.display());
        Ok(())
    }
}
