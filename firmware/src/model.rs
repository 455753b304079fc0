//! The model: the one inside the program, or a file. And what `model info` says about a file.

use std::fmt::Write as _;
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;

use autochrome_model::{Colorizer, Contract, Fused, Output, Runtime};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::errors::{Exit, OrFail, Result, warn};

/// The int8 model that every program carries, in gzip's form: see `build.rs`.
const BUNDLED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bundled-model.gz"));

/// The most threads that can be asked for.
pub const THREADS_MAX: usize = 16;

/// Loads a model file, or the bundled model, for so many threads.
///
/// # Errors
/// [`Exit::NoInput`] if the file cannot be read, [`Exit::BadData`] if it is not a colorizer.
pub fn load(file: Option<&Path>, threads: NonZeroUsize) -> Result<Colorizer> {
    let runtime = Runtime { threads, ..Runtime::default() };
    Ok(match file {
        Some(path) => Colorizer::load_as(path, runtime)?,
        None => Colorizer::from_bytes_as("the bundled model", &bundled()?, runtime)?,
    })
}

/// The bundled model's file.
fn bundled() -> Result<Vec<u8>> {
    let mut file = Vec::new();
    GzDecoder::new(BUNDLED).read_to_end(&mut file).or_fail(Exit::BadData, || "unpack the bundled model".into())?;
    Ok(file)
}

/// How many threads share a frame's network: as many as are wanted, with a warning if there are fewer cores; else by the number of cores.
pub fn threads(wanted: Option<NonZeroUsize>) -> NonZeroUsize {
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    if let Some(wanted) = wanted.filter(|&wanted| wanted > cores) {
        warn(&format!("{wanted} threads for the model, but {cores} cores: they will wait for each other"));
    }
    wanted.unwrap_or_else(|| threads_for(cores))
}

/// The camera, the outputs and the page want cores too; and more than four gain little on layers that are so short.
fn threads_for(cores: NonZeroUsize) -> NonZeroUsize {
    NonZeroUsize::new(cores.get().saturating_sub(2).min(4)).unwrap_or(NonZeroUsize::MIN)
}

/// What a model file promises, for people or as JSON.
///
/// # Errors
/// As [`load`].
pub fn info(file: &Path, as_json: bool) -> Result<String> {
    // Loading it too says whether the runtime can prepare the graph.
    let colorizer = load(Some(file), NonZeroUsize::MIN)?;
    let contract = colorizer.contract();
    if as_json {
        return serde_json::to_string_pretty(&to_json(contract, colorizer.fused())).or_fail(Exit::Other, || "write JSON".into());
    }
    let card = &contract.card;
    let (output, bins) = output(contract);
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<14}{value}");
    };
    line("name", card.name.clone());
    line("input", format!("{}x{}", contract.width, contract.height));
    line("output", format!("{output} {}x{}", contract.output_width, contract.output_height));
    if let Some(bins) = bins {
        line("bins", bins.to_string());
        line("temperature", card.temperature.to_string());
    }
    line("saturation", card.saturation.to_string());
    let states: Vec<String> = contract.states.iter().map(|shape| shape.map(|side| side.to_string()).join("x")).collect();
    line("states", if states.is_empty() { "none: every frame stands alone".into() } else { states.join(", ") });
    line("parameters", contract.parameters.to_string());
    line("quantized", if contract.quantized { "yes".into() } else { "no".into() });
    let (fused, left) = fused(contract, colorizer.fused());
    line("fused", fused);
    if let Some(left) = left {
        line("left to Tract", left);
    }
    line("color", card.color.clone());
    line("training", card.training.clone());
    line("license", card.license.clone());
    line("calibration", card.calibration.clone().unwrap_or_else(|| "none".into()));
    line("float parent", card.float_parent_sha256.clone().unwrap_or_else(|| "none".into()));
    Ok(text)
}

/// The contract without the bins' centers, which are many, and with their count.
fn to_json(contract: &Contract, fused: &Fused) -> Value {
    let (output, bins) = output(contract);
    let card = &contract.card;
    json!({
        "name": card.name,
        "width": contract.width, "height": contract.height,
        "output": output,
        "output_width": contract.output_width, "output_height": contract.output_height,
        "bins": bins,
        "temperature": card.temperature, "saturation": card.saturation,
        "states": contract.states,
        "parameters": contract.parameters,
        "quantized": contract.quantized,
        "fused": fused,
        "color": card.color,
        "training": card.training, "license": card.license,
        "calibration": card.calibration,
        "float_parent_sha256": card.float_parent_sha256,
    })
}

/// The output's name, and how many bins it has.
fn output(contract: &Contract) -> (&'static str, Option<usize>) {
    let output = &contract.card.output;
    let bins = if let Output::ColorLogits { centers } = output { Some(centers.len()) } else { None };
    (output.name(), bins)
}

/// Which of its convolutions run in our own operators, and the names of those that do not.
fn fused(contract: &Contract, fused: &Fused) -> (String, Option<String>) {
    let Fused { instruction_set, convolutions, left, chains, multiply_adds, weight_bytes } = fused;
    if convolutions.is_empty() && !contract.quantized {
        return ("none: no 8-bit operators".into(), None);
    }
    let mut text = format!("{} of {} convolutions", convolutions.len(), convolutions.len() + left.len());
    if !convolutions.is_empty() {
        let (millions, megabytes) = (*multiply_adds as f64 / 1e6, *weight_bytes as f64 / 1e6);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            ", {millions:.*} M multiply-adds a frame, {instruction_set} kernels, {megabytes:.1} MB of packed weights",
            usize::from(millions < 10.0)
        );
        if !chains.is_empty() {
            let _ = write!(text, "; {} chains of float arithmetic", chains.len());
        }
    }
    (text, (!left.is_empty()).then(|| left.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cores_are_left_to_the_others_where_there_are_more() {
        let chosen = [1, 2, 3, 4, 6, 8, 64].map(|cores| threads_for(NonZeroUsize::new(cores).unwrap()).get());
        assert_eq!(chosen, [1, 1, 1, 2, 4, 4, 4]);
    }

    #[test]
    fn what_is_fused_is_said_and_what_is_left_is_named() {
        let colorizer = load(None, NonZeroUsize::MIN).unwrap();
        let contract = colorizer.contract();
        let found = Fused {
            instruction_set: "AVX2".into(),
            convolutions: vec!["a".into(), "b".into()],
            left: vec!["c".into(), "d".into()],
            multiply_adds: 256_400_000,
            weight_bytes: 1_140_000,
            chains: Vec::new(),
        };
        let text = "2 of 4 convolutions, 256 M multiply-adds a frame, AVX2 kernels, 1.1 MB of packed weights";
        assert_eq!(fused(contract, &found), (text.into(), Some("c, d".into())));
        let none = Fused { convolutions: Vec::new(), ..found };
        assert_eq!(fused(contract, &none).0, "0 of 2 convolutions");
        let float = Contract { quantized: false, ..contract.clone() };
        assert_eq!(fused(&float, &none), ("none: no 8-bit operators".into(), None));
    }
}
