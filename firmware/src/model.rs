//! The model: the one inside the program, or a file. And what `model info` says about a file.

use std::fmt::Write as _;
use std::path::Path;

use autochrome_model::{Colorizer, Contract, Output};
use serde_json::{Value, json};

use crate::errors::{Exit, OrFail, Result};

/// The int8 model that every program carries.
const BUNDLED: &[u8] = include_bytes!("../../models/autochrome-192x144-int8.onnx");

/// Loads a model file, or the bundled model.
///
/// # Errors
/// [`Exit::NoInput`] if the file cannot be read, [`Exit::BadData`] if it is not a colorizer.
pub fn load(file: Option<&Path>) -> Result<Colorizer> {
    Ok(match file {
        Some(path) => Colorizer::load(path)?,
        None => Colorizer::from_bytes("the bundled model", BUNDLED)?,
    })
}

/// What a model file promises, for people or as JSON.
///
/// # Errors
/// As [`load`].
pub fn info(file: &Path, as_json: bool) -> Result<String> {
    // Loading it too says whether the runtime can prepare the graph.
    let colorizer = load(Some(file))?;
    let contract = colorizer.contract();
    if as_json {
        return serde_json::to_string_pretty(&to_json(contract)).or_fail(Exit::Other, || "write JSON".into());
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
    line("color", card.color.clone());
    line("training", card.training.clone());
    line("license", card.license.clone());
    line("calibration", card.calibration.clone().unwrap_or_else(|| "none".into()));
    line("float parent", card.float_parent_sha256.clone().unwrap_or_else(|| "none".into()));
    Ok(text)
}

/// The contract without the bins' centers, which are many, and with their count.
fn to_json(contract: &Contract) -> Value {
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
