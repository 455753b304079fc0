//! Where Burn computes.

use anyhow::{bail, ensure};
use autochrome_trainer::config::RunConfig;
use burn::tensor::Device;
use clap::ValueEnum;

/// Where to train.
#[derive(clap::Args)]
pub(crate) struct Devices {
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    device: DeviceChoice,
    /// How many devices share the work. GPUs have one worker each; on the CPU the configuration's `workers` are spread over the devices.
    #[arg(long, default_value_t = 1)]
    devices: usize,
}

impl Devices {
    /// Lets `config` have as many workers as there are GPUs, and says so: more would share the batch of one GPU among them, which only makes it slower.
    pub(crate) fn fit(&self, config: &mut RunConfig) {
        if self.device.is_gpu() && config.workers != self.devices {
            eprintln!("workers = {} in place of {}: on GPUs there is one for each", self.devices, config.workers);
            config.workers = self.devices;
        }
    }

    /// Says of a run that has begun that it keeps its workers: another number would compute something else.
    pub(crate) fn tell_of_fixed_workers(&self, begun: &RunConfig) {
        if self.device.is_gpu() && begun.workers != self.devices {
            eprintln!("workers = {}, as the run began; on GPUs one for each is faster: begin anew (--start-from)", begun.workers);
        }
    }

    /// The devices, for training; the first holds the network.
    pub(crate) fn open(&self) -> anyhow::Result<Vec<Device>> {
        ensure!(self.devices > 0, "--devices is above 0");
        self.device.open_several(self.devices)
    }
}

#[derive(Clone, Copy, Default, ValueEnum)]
pub(crate) enum DeviceChoice {
    /// This machine's processor.
    #[default]
    Cpu,
    /// NVIDIA GPUs, from the first; needs a build with `--features cuda`.
    Cuda,
}

impl DeviceChoice {
    pub(crate) fn is_gpu(self) -> bool {
        matches!(self, Self::Cuda)
    }

    /// The device, for training.
    pub(crate) fn open(self) -> anyhow::Result<Device> {
        Ok(self.open_several(1)?.remove(0))
    }

    fn open_several(self, count: usize) -> anyhow::Result<Vec<Device>> {
        match self {
            Self::Cpu if cfg!(feature = "cuda") && std::env::var("BURN_DEVICE").as_deref() != Ok("flex") => {
                // Burn restores optimizers on its default device, which in such a build is the GPU.
                bail!("this build computes on CUDA by default; set BURN_DEVICE=flex in the environment to compute on the CPU")
            }
            // There is one such device; twice the same is what a machine without GPUs can try several devices with.
            Self::Cpu => Ok(vec![Device::flex().autodiff(); count]),
            Self::Cuda => open_cuda(count),
        }
    }
}

#[cfg(feature = "cuda")]
fn open_cuda(count: usize) -> anyhow::Result<Vec<Device>> {
    let found: Vec<Device> = Device::enumerate(burn::tensor::DeviceType::Cuda).into_iter().map(Device::autodiff).take(count).collect();
    match found.len() {
        0 => bail!("no CUDA GPU was found: `nvidia-smi` should list one, and the CUDA libraries must be installed"),
        fewer if fewer < count => bail!("{count} CUDA GPUs are wanted and {fewer} were found"),
        _ => Ok(found),
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(_count: usize) -> anyhow::Result<Vec<Device>> {
    bail!("this build has no CUDA; `just trainer-cuda` makes one that has")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_one_worker_for_each_gpu_and_its_own_number_on_a_cpu() {
        let workers = |device, devices| {
            let mut config = RunConfig { workers: 2, ..RunConfig::default() };
            Devices { device, devices }.fit(&mut config);
            config.workers
        };
        assert_eq!(workers(DeviceChoice::Cuda, 1), 1);
        assert_eq!(workers(DeviceChoice::Cuda, 3), 3);
        assert_eq!(workers(DeviceChoice::Cpu, 1), 2);
    }
}
