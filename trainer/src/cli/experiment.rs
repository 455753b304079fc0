//! `experiment`.

use std::path::PathBuf;

use autochrome_trainer::experiments::{self, Budget, Setting, Start};

use super::device::DeviceChoice;
use super::train::stop_on_signals;
use super::unfinished_if;
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
    /// A packed set whose pictures are shown in place of the validation split's.
    #[arg(long)]
    show: Option<PathBuf>,
    /// A pretrained encoder's weights (see `convert-encoder`), for the configurations that can begin with them or look through them.
    #[arg(long)]
    encoder_weights: Option<PathBuf>,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    device: DeviceChoice,
}

impl Experiment {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self { file, data, out, minutes, show, encoder_weights, device } = self;
        let budget = minutes.map(|minutes| match device {
            DeviceChoice::Cpu => Budget::ProcessorMinutes(minutes),
            DeviceChoice::Cuda => Budget::Minutes(minutes),
        });
        let start = Start { encoder_weights, one_worker: device.is_gpu() };
        let setting = Setting { pack: data, out, budget, show, start };
        let page = experiments::run(&file, &setting, &device.open()?, &*stop_on_signals()?, &mut terminal::Terminal::new())?;
        page.iter().for_each(|page| println!("{}", page.display()));
        unfinished_if(page.is_none())
    }
}
