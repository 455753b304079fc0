//! `compare`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use autochrome_trainer::experiments::{Budget, Contest, Start, compare};
use autochrome_trainer::train::Ended;

use super::device::DeviceChoice;
use super::train::stop_on_signals;
use super::unfinished_if;
use crate::terminal::Terminal;

/// Trains many configurations within the same budget and compares them in one table.
#[derive(clap::Args)]
pub(crate) struct Compare {
    /// The configurations, such as all of `trainer/configs/methods`.
    #[arg(required = true)]
    configs: Vec<PathBuf>,
    /// The packed set.
    #[arg(long)]
    data: PathBuf,
    /// The folder for the runs; a stopped comparison goes on there.
    #[arg(long)]
    runs: PathBuf,
    /// The folder for the table and the page.
    #[arg(long)]
    out: PathBuf,
    /// What each run may cost, minutes: processor time on the CPU, time on a GPU.
    #[arg(long)]
    minutes: f64,
    /// A pretrained encoder's weights (see `convert-encoder`), for the configurations that can begin with them or look through them.
    #[arg(long)]
    encoder_weights: Option<PathBuf>,
    /// A packed set whose pictures are shown in place of the validation split's.
    #[arg(long)]
    show: Option<PathBuf>,
    /// Stills a source that are measured, evenly spread; all by default.
    #[arg(long)]
    limit: Option<NonZeroUsize>,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    device: DeviceChoice,
}

impl Compare {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self { configs, data, runs, out, minutes, encoder_weights, show, limit, device } = self;
        let budget = match device {
            DeviceChoice::Cpu => Budget::ProcessorMinutes(minutes),
            DeviceChoice::Cuda => Budget::Minutes(minutes),
        };
        let limit = limit.map_or(usize::MAX, NonZeroUsize::get);
        let start = Start { encoder_weights, one_worker: device.is_gpu() };
        let contest = Contest { configs, pack: data, runs, budget, start, limit, show, page: out };
        let ended = compare(&contest, &device.open()?, &*stop_on_signals()?, &mut Terminal::new())?;
        unfinished_if(ended == Ended::Stopped)
    }
}
