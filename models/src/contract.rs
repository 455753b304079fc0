//! What a colorizer model file promises: names, shapes, and the metadata a device needs. Read, checked, or refused.

use std::fmt;

use prost::Message;
use serde::{Deserialize, Serialize};
use tract_onnx::pb::{ModelProto, StringStringEntryProto, TensorProto, ValueInfoProto, type_proto};

/// The contract's version that this crate reads and writes.
pub const VERSION: u32 = 1;
/// The name of the lightness input: f32 \[1, 1, H, W\], scaled (L* - 50) / 100.
pub const LIGHTNESS: &str = "lightness";
/// The bins output: f32 \[1, Q, h, w\], unnormalized.
pub const COLOR_LOGITS: &str = "color_logits";
/// The regression output: f32 \[1, 2, h, w\], scaled ab / 110.
pub const AB: &str = "ab";
/// What ab is divided by in the [`AB`] output (Zhang's `base_color.py`).
pub const AB_SCALE: f32 = 110.0;
/// The model file's largest size. A shipped model is below 8 MB; this bounds what a hostile file can make us read.
pub const FILE_BYTES_MAX: usize = 64 << 20;
const NODES_MAX: usize = 1024;
const DIM_MAX: i64 = 8192;
const TENSOR_ELEMENTS_MAX: i64 = 1 << 24;
const STATES_MAX: usize = 8;
const BINS_MAX: usize = 1024;

/// The operators a colorizer may consist of. Loops, external data and operators that make large tensors from small files stay out.
const OPERATORS: [&str; 34] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "Conv",
    "ConvTranspose",
    "DequantizeLinear",
    "Div",
    "Exp",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Mul",
    "Neg",
    "QuantizeLinear",
    "Relu",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Split",
    "Sub",
    "Tanh",
    "Transpose",
];

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
}

impl Output {
    /// The output tensor's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ColorLogits { .. } => COLOR_LOGITS,
            Self::Ab => AB,
        }
    }

    /// The output tensor's channels.
    pub fn channels(&self) -> usize {
        match self {
            Self::ColorLogits { centers } => centers.len(),
            Self::Ab => 2,
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
/// [`ContractError::Unreadable`] if they are too many, or not ONNX.
pub fn parse(bytes: &[u8]) -> Result<ModelProto, ContractError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(ContractError::Unreadable(format!("{} bytes; at most {FILE_BYTES_MAX} are read", bytes.len())));
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
    let card: Card = match property(KEY_CARD).map(serde_json::from_str) {
        Some(Ok(card)) => card,
        Some(Err(error)) => return broken(format!("metadata {KEY_CARD:?}: {error}")),
        None => return broken(format!("it has no metadata {KEY_CARD:?}")),
    };
    check_card(&card)?;
    let Some(graph) = &model.graph else { return broken("it has no graph") };
    check_nodes(graph)?;
    let (mut parameters, mut quantized) = (0, false);
    for tensor in &graph.initializer {
        check_tensor(tensor)?;
        let elements: i64 = tensor.dims.iter().product();
        // Zero points and scales are no weights.
        if tensor.dims.len() > 1 {
            parameters += elements as usize;
            quantized |= tensor.data_type == 3;
        }
    }
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
    Ok(Contract { card, width, height, output_width, output_height, states, quantized, parameters })
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

fn check_nodes(graph: &tract_onnx::pb::GraphProto) -> Result<(), ContractError> {
    if graph.node.len() > NODES_MAX {
        return broken(format!("it has {} nodes; at most {NODES_MAX} are allowed", graph.node.len()));
    }
    if !graph.sparse_initializer.is_empty() {
        return broken("it has sparse initializers");
    }
    let mut made: std::collections::HashSet<&str> = graph.node.iter().flat_map(|n| n.output.iter().map(String::as_str)).collect();
    made.extend(graph.input.iter().map(|i| i.name.as_str()));
    made.extend(graph.initializer.iter().map(|i| i.name.as_str()));
    if let Some(output) = graph.output.iter().find(|output| !made.contains(output.name.as_str())) {
        return broken(format!("no node makes its output {:?}", output.name));
    }
    for node in &graph.node {
        if !OPERATORS.contains(&node.op_type.as_str()) || !(node.domain.is_empty() || node.domain == "ai.onnx") {
            return broken(format!("node {:?} is a {:?}, which no colorizer needs", node.name, node.op_type));
        }
        if let Some(input) = node.input.iter().find(|input| !input.is_empty() && !made.contains(input.as_str())) {
            return broken(format!("nothing makes {input:?}, which node {:?} reads", node.name));
        }
        for attribute in &node.attribute {
            let positive = ["strides", "dilations", "kernel_shape"].contains(&attribute.name.as_str());
            if positive && attribute.ints.iter().any(|&v| !(1..=64).contains(&v))
                || attribute.name == "group" && !(1..=DIM_MAX).contains(&attribute.i)
            {
                return broken(format!("node {:?}: {} is out of range", node.name, attribute.name));
            }
            if let Some(tensor) = &attribute.t {
                check_tensor(tensor)?;
            }
            if attribute.g.is_some() || !attribute.graphs.is_empty() {
                return broken(format!("node {:?} holds a graph", node.name));
            }
        }
    }
    Ok(())
}

fn check_tensor(tensor: &TensorProto) -> Result<(), ContractError> {
    let name = &tensor.name;
    if !tensor.external_data.is_empty() || tensor.data_location.is_some_and(|l| l != 0) {
        return broken(format!("tensor {name:?} keeps its data in another file"));
    }
    let mut elements = 1_i64;
    for &dim in &tensor.dims {
        if !(0..=TENSOR_ELEMENTS_MAX).contains(&dim) {
            return broken(format!("tensor {name:?} has a dimension of {dim}"));
        }
        elements = elements.saturating_mul(dim);
    }
    if elements > TENSOR_ELEMENTS_MAX {
        return broken(format!("tensor {name:?} has {elements} elements; at most {TENSOR_ELEMENTS_MAX} are allowed"));
    }
    let raw = tensor.raw_data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    // Data type 1 is FLOAT. A NaN anywhere turns the state, and with it every later frame, into NaN.
    if tensor.data_type == 1 && tensor.float_data.iter().copied().chain(raw).any(|v| !v.is_finite()) {
        return broken(format!("tensor {name:?} holds a weight that is not a finite number"));
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
    let dims: Vec<i64> = tensor
        .shape
        .iter()
        .flat_map(|shape| &shape.dim)
        .map(|dim| match dim.value {
            Some(tract_onnx::pb::tensor_shape_proto::dimension::Value::DimValue(v)) => v,
            _ => -1,
        })
        .collect();
    match dims[..] {
        [1, c, h, w] if [c, h, w].iter().all(|d| (1..=DIM_MAX).contains(d)) && c * h * w <= TENSOR_ELEMENTS_MAX => {
            Ok([1, c as usize, h as usize, w as usize])
        }
        _ => broken(format!("{name:?} has shape {dims:?}; the contract says [1, C, H, W], fixed")),
    }
}
