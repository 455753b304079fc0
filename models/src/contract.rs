//! What a colorizer model file promises: names, shapes, and the metadata a device needs. Read, checked, or refused.

mod cost;
mod operators;
mod tensors;
mod wire;

use std::fmt;

use prost::Message;
use serde::{Deserialize, Serialize};
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::{ModelProto, StringStringEntryProto, ValueInfoProto, type_proto};

/// The contract's version that this crate reads and writes.
pub const VERSION: u32 = 1;
/// The name of the lightness input: f32 \[1, 1, H, W\], scaled (L* - 50) / 100.
pub const LIGHTNESS: &str = "lightness";
/// The bins output: f32 \[1, Q, h, w\], unnormalized.
pub const COLOR_LOGITS: &str = "color_logits";
/// The regression output: f32 \[1, 2, h, w\], scaled ab / 110.
pub const AB: &str = "ab";
/// The sRGB output: f32 \[1, 3, h, w\], gamma-coded, 0 to 1.
pub const RGB: &str = "rgb";
/// The chroma output: f32 \[1, 2, h, w\], U and V of Rec. 601, 0 to 1 with grey at 0.5.
pub const UV: &str = "uv";
/// What ab is divided by in the [`AB`] output (Zhang's `base_color.py`).
pub const AB_SCALE: f32 = 110.0;
/// The model file's largest size. This bounds what a hostile file can make us read.
pub const FILE_BYTES_MAX: usize = 64 << 20;
/// The longest card, in bytes. 1024 bins take 40 KB.
const CARD_BYTES_MAX: usize = 256 << 10;
/// The most bytes that a file may become when it is decoded: its weights, and some room for its nodes and names.
const DECODED_BYTES_MAX: usize = FILE_BYTES_MAX + (32 << 20);
const DIM_MAX: i64 = 8192;
const STATES_MAX: usize = 8;
const BINS_MAX: usize = 1024;

/// The scaled lightness that the network eats: (L* - 50) / 100.
#[inline]
pub fn scaled_lightness(lightness: f32) -> f32 {
    (lightness - 50.0) / 100.0
}

/// The name of the `index`-th state input.
pub fn state_in(index: usize) -> String {
    format!("state_{index}_in")
}

/// The name of the `index`-th state output.
pub fn state_out(index: usize) -> String {
    format!("state_{index}_out")
}

/// What the network's picture output holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Logits over ab bins.
    ColorLogits {
        /// The bins' centers (a*, b*), in channel order.
        centers: Vec<[f32; 2]>,
    },
    /// ab itself, scaled by 1 / [`AB_SCALE`].
    Ab,
    /// Gamma-coded sRGB, of which only the chroma is used.
    Rgb,
    /// U and V of Rec. 601 beside the input's own luma.
    Uv,
}

impl Output {
    /// The output tensor's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ColorLogits { .. } => COLOR_LOGITS,
            Self::Ab => AB,
            Self::Rgb => RGB,
            Self::Uv => UV,
        }
    }

    /// The output tensor's channels.
    pub fn channels(&self) -> usize {
        match self {
            Self::ColorLogits { centers } => centers.len(),
            Self::Ab | Self::Uv => 2,
            Self::Rgb => 3,
        }
    }
}

/// What the metadata of a model file says beside its shapes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// The model's name, e.g. `autochrome-192x144`.
    pub name: String,
    /// What the output holds.
    pub output: Output,
    /// The default decoding temperature T (bins only).
    pub temperature: f32,
    /// The default factor on ab after decoding.
    pub saturation: f32,
    /// The color constants the model was trained with.
    pub color: String,
    /// What the weights were trained on, for how long, on what.
    pub training: String,
    /// Under which terms the weights may be used.
    pub license: String,
    /// How activation ranges were found; absent in a float file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<String>,
    /// SHA-256 of the float file that an int8 file was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub float_parent_sha256: Option<String>,
}

/// The color constants of version 1, as written into every file.
pub const COLOR_CONSTANTS: &str = "CIE Lab, D65 white .950456 1 1.088754, sRGB primaries; input (L*-50)/100 of grey sRGB; ab output /110";

/// A checked model file's promise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contract {
    /// The metadata.
    #[serde(flatten)]
    pub card: Card,
    /// Input width W.
    pub width: usize,
    /// Input height H.
    pub height: usize,
    /// Output width w.
    pub output_width: usize,
    /// Output height h.
    pub output_height: usize,
    /// The shapes \[1, C, h, w\] of the state tensors.
    pub states: Vec<[usize; 4]>,
    /// Whether the file holds quantized weights.
    pub quantized: bool,
    /// How many weights the file holds.
    pub parameters: usize,
    /// Multiply-adds a frame of its convolutions and matrix products.
    pub multiply_adds: u64,
}

/// Why a model file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// Not an ONNX file, or a damaged one.
    #[error("not a readable ONNX file: {0}")]
    Unreadable(String),
    /// Readable ONNX, but not what a colorizer may be.
    #[error("not a colorizer of contract version {VERSION}: {0}")]
    Broken(String),
}

fn broken<T>(what: impl fmt::Display) -> Result<T, ContractError> {
    Err(ContractError::Broken(what.to_string()))
}

const KEY_VERSION: &str = "autochrome.contract";
const KEY_CARD: &str = "autochrome.card";

/// Writes `card` into the model's metadata, replacing an older one.
pub fn write_card(model: &mut ModelProto, card: &Card) {
    model.metadata_props.retain(|entry| !entry.key.starts_with("autochrome."));
    let json = serde_json::to_string(card).expect("a card is plain data");
    for (key, value) in [(KEY_VERSION, VERSION.to_string()), (KEY_CARD, json)] {
        model.metadata_props.push(StringStringEntryProto { key: key.into(), value });
    }
}

/// Parses the bytes of an ONNX file.
///
/// # Errors
/// [`ContractError::Unreadable`] if they are too many, or would become too many when decoded, or are not ONNX.
pub fn parse(bytes: &[u8]) -> Result<ModelProto, ContractError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(ContractError::Unreadable(format!("{} bytes; at most {FILE_BYTES_MAX} are read", bytes.len())));
    }
    let decoded = wire::decoded_bytes(bytes).map_err(ContractError::Unreadable)?;
    if decoded > DECODED_BYTES_MAX {
        return Err(ContractError::Unreadable(format!("decoded, it would take {decoded} bytes; at most {DECODED_BYTES_MAX} are allowed")));
    }
    ModelProto::decode(bytes).map_err(|e| ContractError::Unreadable(e.to_string()))
}

/// Checks a parsed model against the contract, before any runtime sees its graph.
///
/// # Errors
/// [`ContractError::Broken`] with what was found and what was expected.
pub fn check(model: &ModelProto) -> Result<Contract, ContractError> {
    let property = |key: &str| model.metadata_props.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
    match property(KEY_VERSION) {
        Some(version) if version == VERSION.to_string() => {}
        Some(version) => return broken(format!("its metadata says contract version {version:?}")),
        None => return broken(format!("it has no metadata {KEY_VERSION:?}; export it with `autochrome-trainer export`")),
    }
    if let Some(card) = property(KEY_CARD).filter(|card| card.len() > CARD_BYTES_MAX) {
        return broken(format!("metadata {KEY_CARD:?} is {} bytes long; at most {CARD_BYTES_MAX} are read", card.len()));
    }
    let card: Card = match property(KEY_CARD).map(serde_json::from_str) {
        Some(Ok(card)) => card,
        Some(Err(error)) => return broken(format!("metadata {KEY_CARD:?}: {error}")),
        None => return broken(format!("it has no metadata {KEY_CARD:?}")),
    };
    check_card(&card)?;
    let Some(graph) = &model.graph else { return broken("it has no graph") };
    if !model.training_info.is_empty() {
        return broken("it holds graphs for training; export it for inference");
    }
    let operators: Vec<i64> =
        model.opset_import.iter().filter(|set| matches!(&*set.domain, "" | "ai.onnx")).map(|set| set.version).collect();
    if !matches!(operators[..], [version] if cost::OPSETS.contains(&version)) {
        return broken(format!(
            "it uses ONNX operator sets {operators:?}; one of {:?} is expected, and 18 is what the trainer writes",
            cost::OPSETS
        ));
    }
    cost::check_sizes(graph)?;
    let initialized = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
    let inputs: Vec<&ValueInfoProto> = graph.input.iter().filter(|input| !initialized(&input.name)).collect();
    let [_, one, height, width] = shape(&inputs, LIGHTNESS)?;
    if one != 1 {
        return broken(format!("input {LIGHTNESS:?} has {one} channels; the contract says 1"));
    }
    let outputs: Vec<&ValueInfoProto> = graph.output.iter().collect();
    let [_, channels, output_height, output_width] = shape(&outputs, card.output.name())?;
    if channels != card.output.channels() {
        return broken(format!("output {:?} has {channels} channels; its metadata says {}", card.output.name(), card.output.channels()));
    }
    let mut states = Vec::new();
    while inputs.iter().any(|input| input.name == state_in(states.len())) {
        let index = states.len();
        let entering = shape(&inputs, &state_in(index))?;
        let leaving = shape(&outputs, &state_out(index))?;
        if entering != leaving {
            return broken(format!("state {index} goes in as {entering:?} and comes out as {leaving:?}"));
        }
        states.push(entering);
        if states.len() > STATES_MAX {
            return broken(format!("it has more than {STATES_MAX} states"));
        }
    }
    if (inputs.len(), outputs.len()) != (1 + states.len(), 1 + states.len()) {
        return broken(format!(
            "it has {} inputs and {} outputs; with {} states the contract says {} of each",
            inputs.len(),
            outputs.len(),
            states.len(),
            1 + states.len()
        ));
    }
    let multiply_adds = cost::check(graph)?.multiply_adds;
    // Zero points and scales are no weights.
    let weights = graph.initializer.iter().filter(|tensor| tensor.dims.len() > 1);
    let parameters = weights.clone().map(|tensor| tensor.dims.iter().product::<i64>() as usize).sum();
    let quantized = weights.clone().any(|tensor| tensor.data_type == tensors::I8);
    Ok(Contract { card, width, height, output_width, output_height, states, quantized, parameters, multiply_adds })
}

fn check_card(card: &Card) -> Result<(), ContractError> {
    if let Output::ColorLogits { centers } = &card.output {
        if centers.is_empty() || centers.len() > BINS_MAX {
            return broken(format!("its metadata lists {} bins; 1 to {BINS_MAX} are allowed", centers.len()));
        }
        if let Some(center) = centers.iter().flatten().find(|c| !(-128.0..=128.0).contains(*c)) {
            return broken(format!("a bin center at {center} is outside -128 to 128"));
        }
    }
    if !(0.01..=10.0).contains(&card.temperature) {
        return broken(format!("temperature {} is outside 0.01 to 10", card.temperature));
    }
    if !(0.0..=4.0).contains(&card.saturation) {
        return broken(format!("saturation {} is outside 0 to 4", card.saturation));
    }
    Ok(())
}

fn shape(values: &[&ValueInfoProto], name: &str) -> Result<[usize; 4], ContractError> {
    let Some(value) = values.iter().find(|value| value.name == name) else {
        let names: Vec<&str> = values.iter().map(|value| value.name.as_str()).collect();
        return broken(format!("it has no {name:?}, only {names:?}"));
    };
    let tensor = match value.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor)) if tensor.elem_type == 1 => tensor,
        _ => return broken(format!("{name:?} is not a float tensor")),
    };
    let dims: Vec<i64> = fixed_dims(tensor).into_iter().map(|dim| dim.unwrap_or(-1)).collect();
    match dims[..] {
        [1, c, h, w] if [c, h, w].iter().all(|d| (1..=DIM_MAX).contains(d)) && c * h * w <= tensors::ELEMENTS_MAX as i64 => {
            Ok([1, c as usize, h as usize, w as usize])
        }
        _ => broken(format!("{name:?} has shape {dims:?}; the contract says [1, C, H, W], fixed")),
    }
}

/// The dimensions of a tensor's type; `None` for one that is not a number.
fn fixed_dims(tensor: &type_proto::Tensor) -> Vec<Option<i64>> {
    let fixed = |value: &Option<dimension::Value>| match value {
        Some(dimension::Value::DimValue(v)) => Some(*v),
        _ => None,
    };
    tensor.shape.iter().flat_map(|shape| &shape.dim).map(|dim| fixed(&dim.value)).collect()
}

/// The dimensions that a value's type declares, if it declares any.
fn declared_dims(value: &ValueInfoProto) -> Option<Vec<Option<i64>>> {
    match value.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor)) => tensor.shape.as_ref().map(|_| fixed_dims(tensor)),
        None => None,
    }
}
