//! `dry-run`.

use std::path::PathBuf;

use anyhow::ensure;
use autochrome_trainer::data::shard::PackedSet;
use autochrome_trainer::train::{self, dry_run::dry_run};

use super::device::Devices;
use super::train::Changes;
use crate::terminal::Terminal;

/// Tries a configuration without leaving anything behind: a few steps, their time and memory, a checkpoint, the exported file against Burn.
#[derive(clap::Args)]
pub(crate) struct DryRun {
    /// The configuration.
    config: PathBuf,
    /// The packed set.
    #[arg(long)]
    data: PathBuf,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    devices: Devices,
}

impl DryRun {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self { config, data, changes, devices } = self;
        let mut config = changes.read(&config)?;
        devices.fit(&mut config);
        let devices = devices.open()?;
        train::verify_pictures(&PackedSet::open(&data)?, &mut Terminal::new())?;
        let found = dry_run(&config, &data, &devices)?;
        println!("{}", found.summary());
        // The summary says why; a run would end at its first evaluation.
        ensure!(found.export.is_ok(), "the network cannot be exported, and every evaluation of a run exports it");
        ensure!(found.agrees(), "the exported file does not do what the network does");
        Ok(())
    }
}
