//! Where Burn computes.

use anyhow::bail;
use burn::tensor::Device;
use clap::ValueEnum;

#[derive(Clone, Copy, Default, ValueEnum)]
pub(crate) enum DeviceChoice {
    /// This machine's processor.
    #[default]
    Cpu,
    /// The first NVIDIA GPU; needs a build with `--features cuda`.
    Cuda,
}

impl DeviceChoice {
    /// The device, for training.
    pub(crate) fn open(self) -> anyhow::Result<Device> {
        match self {
            Self::Cpu if cfg!(feature = "cuda") && std::env::var("BURN_DEVICE").as_deref() != Ok("flex") => {
                // Burn restores optimizers on its default device, which in such a build is the GPU.
                bail!("this build computes on CUDA by default; set BURN_DEVICE=flex in the environment to compute on the CPU")
            }
            Self::Cpu => Ok(Device::flex().autodiff()),
            Self::Cuda => open_cuda(),
        }
    }
}

#[cfg(feature = "cuda")]
fn open_cuda() -> anyhow::Result<Device> {
    match Device::enumerate(burn::tensor::DeviceType::Cuda).into_iter().next() {
        Some(device) => Ok(device.autodiff()),
        None => bail!("no CUDA GPU was found: `nvidia-smi` should list one, and the CUDA libraries must be installed"),
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda() -> anyhow::Result<Device> {
    bail!("this build has no CUDA; build it with `cargo build --release -p autochrome-trainer --features cuda`")
}
