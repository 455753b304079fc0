//! What is where in a run's folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::checkpoint;

/// The folder of checkpoints in a run's folder.
pub fn checkpoints(run: &Path) -> PathBuf {
    run.join("checkpoints")
}

/// The folder of the checkpoint with the best validation loss in a run's folder.
pub fn best(run: &Path) -> PathBuf {
    run.join("best")
}

/// The file of a run's configuration.
pub fn config_file(run: &Path) -> PathBuf {
    run.join("config.toml")
}

/// The packed set that a run was started with.
///
/// # Errors
/// If the run's folder does not say.
pub fn data_of(run: &Path) -> anyhow::Result<PathBuf> {
    let file = run.join("data.txt");
    fs::read_to_string(&file).map(PathBuf::from).with_context(|| format!("read {}", file.display()))
}

/// The newest checkpoint of the run in `run`.
///
/// # Errors
/// If it has none.
pub fn newest_checkpoint(run: &Path) -> anyhow::Result<PathBuf> {
    newest_in(run, &checkpoints(run))
}

/// The checkpoint with the best validation loss of the run in `run`.
///
/// # Errors
/// If it has none.
pub fn best_checkpoint(run: &Path) -> anyhow::Result<PathBuf> {
    newest_in(run, &best(run))
}

fn newest_in(run: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    checkpoint::list(folder)?.pop().with_context(|| format!("{} has no checkpoint", run.display()))
}
