//! `train` and `resume`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, ensure};
use autochrome_trainer::config::{RunConfig, SizeConfig};
use autochrome_trainer::data::shard::PackedSet;
use autochrome_trainer::run_folder;
use autochrome_trainer::train::{self, Ended};

use super::device::Devices;
use super::unfinished_if;
use crate::terminal;

/// What the command line changes in a configuration.
#[derive(clap::Args)]
pub(crate) struct Changes {
    /// A file with another network and input size, in place of the configuration's.
    #[arg(long)]
    size: Option<PathBuf>,
    /// Steps, in place of the configuration's.
    #[arg(long)]
    steps: Option<u64>,
    /// A checkpoint or a float ONNX file whose weights to start from, in place of the configuration's.
    #[arg(long)]
    start_from: Option<PathBuf>,
    /// A pretrained encoder's weights (see `convert-encoder`), in place of the configuration's: for the network that begins with them, and for the
    /// feature loss that looks through them.
    #[arg(long)]
    encoder_weights: Option<PathBuf>,
}

impl Changes {
    /// The configuration in `file` with these changes.
    pub(crate) fn read(self, file: &Path) -> anyhow::Result<RunConfig> {
        let Self { size, steps, start_from, encoder_weights } = self;
        let mut config = RunConfig::read(file)?;
        if let Some(file) = size {
            SizeConfig::read(&file)?.apply(&mut config);
            config.check().with_context(|| format!("the size {}", file.display()))?;
        }
        config.steps = steps.unwrap_or(config.steps);
        config.start_from = start_from.or(config.start_from);
        if let Some(file) = encoder_weights {
            ensure!(
                config.take_encoder_weights(&file),
                "--encoder-weights {}: nothing takes them; they are for a network with net.kind = \"lite0-unet\" and a feature loss with \
                 loss.feature.net = \"lite0\"",
                file.display()
            );
        }
        Ok(config)
    }
}

/// Trains a network from the beginning, or from another run's weights.
#[derive(clap::Args)]
pub(crate) struct Train {
    /// The configuration.
    config: PathBuf,
    /// The packed set.
    #[arg(long)]
    data: PathBuf,
    /// The new run's folder.
    #[arg(long)]
    run: PathBuf,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    devices: Devices,
}

impl Train {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self { config, data, run, changes, devices } = self;
        let mut config = changes.read(&config)?;
        devices.fit(&mut config);
        let (devices, mut watcher) = (devices.open()?, terminal::Terminal::new());
        // A folder that holds a run already is refused at once.
        if !run_folder::config_file(&run).exists() {
            train::verify_pictures(&PackedSet::open(&data)?, &mut watcher)?;
        }
        let ended = train::start(&run, &config, &data, &devices, &*stop_on_signals()?, &mut watcher)?;
        unfinished_if(ended == Ended::Stopped)
    }
}

/// Goes on with a run from its newest checkpoint.
#[derive(clap::Args)]
pub(crate) struct Resume {
    /// The run's folder.
    run: PathBuf,
    /// The packed set, where it has moved.
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    devices: Devices,
}

impl Resume {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self { run, data, devices } = self;
        if let Ok(begun) = RunConfig::read(&run_folder::config_file(&run)) {
            devices.tell_of_fixed_workers(&begun);
        }
        let ended = train::resume(&run, data.as_deref(), &devices.open()?, &*stop_on_signals()?, &mut terminal::Terminal::new())?;
        unfinished_if(ended == Ended::Stopped)
    }
}

/// Set by SIGINT and SIGTERM: the run then saves and ends. A second signal ends it at once.
pub(crate) fn stop_on_signals() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_default(signal, stop.clone()).context("listen for signals")?;
        signal_hook::flag::register(signal, stop.clone()).context("listen for signals")?;
    }
    Ok(stop)
}
