//! The whole way of a frame, as the device's own `autochrome bench` measures it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

use crate::contender::{Installation, pinned};
use crate::statistics::median;
use crate::subject::Subject;

/// From a 640x480 luma plane to an RGB picture, on one core; medians of the runs.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    /// The network's name.
    pub(crate) name: String,
    /// The network alone, p50 in ms, decoding included.
    pub(crate) step_ms: f64,
    /// What is not the network, p50 in ms.
    pub(crate) own_stages_ms: f64,
    /// All of it, p50 in ms.
    pub(crate) whole_ms: f64,
    /// Frames a second: the mean, not the best.
    pub(crate) frames_per_second: f64,
    /// Reading and preparing the model, in ms.
    pub(crate) load_ms: f64,
    /// VmHWM in MB.
    pub(crate) memory_mb: f64,
}

/// Calls the program `runs` times for each int8 file, in turns.
///
/// # Errors
/// Why it is to be left out: the program is not built, or fails.
pub(crate) fn measure(subjects: &[Subject], installation: &Installation, frames: usize, runs: usize) -> anyhow::Result<Vec<Pipeline>> {
    let program = device_program()?;
    let mut found: Vec<Vec<Value>> = vec![Vec::new(); subjects.len()];
    for _ in 0..runs {
        for (subject, found) in subjects.iter().zip(&mut found) {
            found.push(run(&program, &subject.int8, installation, frames)?);
        }
    }
    let rows = subjects.iter().zip(&found).map(|(subject, reports)| {
        let of = |path: &str| median(&reports.iter().filter_map(|report| report.pointer(path)?.as_f64()).collect::<Vec<_>>());
        Pipeline {
            name: subject.name.clone(),
            step_ms: of("/step_ms/p50"),
            own_stages_ms: of("/own_stages_ms/p50"),
            whole_ms: of("/pipeline_ms/p50"),
            frames_per_second: of("/pipeline_fps"),
            load_ms: of("/load_ms"),
            memory_mb: of("/peak_rss_mb"),
        }
    });
    Ok(rows.collect())
}

fn run(program: &Path, model: &Path, installation: &Installation, frames: usize) -> anyhow::Result<Value> {
    let mut command = pinned(program, installation.core);
    let output = command.args(["bench", "--json", "--frames", &frames.to_string(), "--model"]).arg(model).output();
    let output = output.with_context(|| format!("start {}", program.display()))?;
    anyhow::ensure!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stderr).trim());
    serde_json::from_slice(&output.stdout).with_context(|| format!("read what {} bench --json said", program.display()))
}

/// `autochrome` beside this program: Cargo puts benchmarks one folder deeper.
fn device_program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("find this program")?;
    let program = own.parent().and_then(Path::parent).unwrap_or(&own).join("autochrome");
    anyhow::ensure!(program.exists(), "{} is not built; `just bench` builds it", program.display());
    Ok(program)
}
