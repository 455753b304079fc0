//! `experiment`.

use std::path::PathBuf;

use autochrome_trainer::experiments::{self, Budget};

use super::device::DeviceChoice;
use super::train::stop_on_signals;
use crate::terminal;

/// Makes the runs of an experiment and draws the figure that compares them.
#[derive(clap::Args)]
pub(crate) struct Experiment {
    /// The experiment, such as `trainer/configs/experiments/lambda.toml`.
    file: PathBuf,
    /// The packed set.
    #[arg(long)]
    data: PathBuf,
    /// The folder for the runs and the figure; a stopped experiment goes on there.
    #[arg(long)]
    out: PathBuf,
    /// What each run may cost, minutes: processor time on the CPU, time on a GPU. As its configuration says by default.
    #[arg(long)]
    minutes: Option<f64>,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    device: DeviceChoice,
}

impl Experiment {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self { file, data, out, minutes, device } = self;
        let budget = minutes.map(|minutes| match device {
            DeviceChoice::Cpu => Budget::ProcessorMinutes(minutes),
            DeviceChoice::Cuda => Budget::Minutes(minutes),
        });
        experiments::run(&file, &data, &out, budget, &device.open()?, &*stop_on_signals()?, &mut terminal::Terminal::new())?;
        println!("{}", out.join("README.md").display());
        Ok(())
    }
}
