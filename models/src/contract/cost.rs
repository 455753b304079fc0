//! What a graph costs: the shape of every tensor, worked out in the file's order from the declared inputs and the stored tensors, before Tract
//! sees the graph. What cannot be worked out is refused, and so is what would take more memory or time than any board has.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

use super::operators::{Known, Step};
use super::tensors::{self, FLOAT, I64};
use super::{ContractError, broken};

/// The operator sets whose rules are known here. The trainer writes 18.
pub(super) const OPSETS: RangeInclusive<i64> = 13..=21;
/// The most nodes of a graph. Tract's preparation takes time with the square of their number; an int8 file of the family has about 165.
pub(super) const NODES_MAX: usize = 512;
/// The most bytes of all computed tensors together, as if none was freed before the end.
pub(super) const ACTIVATION_BYTES_MAX: u64 = 256 << 20;
/// The most elements that a convolution's input has with every window written out.
const WINDOW_ELEMENTS_MAX: u64 = 1 << 25;
/// The most multiply-adds of a frame, ten times those of the largest network of the family.
pub(super) const MULTIPLY_ADDS_MAX: u64 = 16 << 30;
/// The most elements of all stored tensors together.
const STORED_ELEMENTS_MAX: usize = 1 << 24;
/// The longest name, in bytes.
const NAME_MAX: usize = 256;
/// The most inputs or outputs of a node, attributes of a node, and numbers in an attribute.
pub(super) const LIST_MAX: usize = 64;

/// What a frame takes, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Of all computed tensors together.
    pub(super) activation_bytes: u64,
    /// Of convolutions and matrix products.
    pub(super) multiply_adds: u64,
    /// The same, and one for each element that any operator gives.
    work: u64,
}

/// Checks the tensors and nodes of a graph, whose lists [`check_sizes`] has passed, in order, and gives what a frame costs.
pub(super) fn check(graph: &GraphProto) -> Result<Cost, ContractError> {
    let mut known = given(graph)?;
    let mut cost = Cost::default();
    for node in &graph.node {
        check_node(node)?;
        let fail = |what: String| broken(format!("node {:?} ({}): {what}", node.name, node.op_type));
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            match known.get(name.as_str()) {
                Some(value) => inputs.push(Some(value.clone())),
                None if name.is_empty() => inputs.push(None),
                None => return fail(format!("nothing makes {name:?} before it is read here")),
            }
        }
        let mut step = Step::new(node, inputs);
        let outputs = match step.outputs() {
            Ok(outputs) => outputs,
            Err(what) => return fail(what),
        };
        if outputs.len() != node.output.len() {
            return fail(format!("it has {} outputs where {} are expected", node.output.len(), outputs.len()));
        }
        cost.multiply_adds = cost.multiply_adds.saturating_add(step.multiply_adds);
        cost.work = cost.work.saturating_add(step.multiply_adds);
        if step.window_elements > WINDOW_ELEMENTS_MAX {
            return fail(format!("its windows hold {} elements; at most {WINDOW_ELEMENTS_MAX} are allowed", step.window_elements));
        }
        for (name, value) in node.output.iter().zip(outputs) {
            let elements = value.elements();
            if elements == 0 || elements > tensors::ELEMENTS_MAX as u64 || value.shape.len() > tensors::RANK_MAX {
                return fail(format!("{name:?} would have shape {:?}; 1 to {} elements are allowed", value.shape, tensors::ELEMENTS_MAX));
            }
            // In Tract, what is quantized is mostly computed as f32.
            cost.activation_bytes += elements * if value.data_type == I64 { 8 } else { 4 };
            cost.work = cost.work.saturating_add(elements);
            if cost.activation_bytes > ACTIVATION_BYTES_MAX || cost.work > MULTIPLY_ADDS_MAX {
                return fail(format!(
                    "up to here a frame takes {} MiB and {} million multiply-adds; at most {} MiB and {} million are allowed: make the input smaller",
                    cost.activation_bytes >> 20,
                    cost.work / 1_000_000,
                    ACTIVATION_BYTES_MAX >> 20,
                    MULTIPLY_ADDS_MAX / 1_000_000
                ));
            }
            if known.insert(name, value).is_some() {
                return fail(format!("{name:?} is made more than once"));
            }
        }
    }
    for output in &graph.output {
        match known.get(output.name.as_str()) {
            None => return broken(format!("no node makes its output {:?}", output.name)),
            Some(value) => agree("output", output, value)?,
        }
    }
    // Tract takes these shapes for true.
    for info in &graph.value_info {
        if let Some(value) = known.get(info.name.as_str()) {
            agree("inner tensor", info, value)?;
        }
    }
    Ok(cost)
}

/// Whether the graph's lists and names are short enough to be looked at.
pub(super) fn check_sizes(graph: &GraphProto) -> Result<(), ContractError> {
    let lists = [
        ("nodes", graph.node.len(), NODES_MAX),
        ("stored tensors", graph.initializer.len(), 4 * NODES_MAX),
        ("inputs", graph.input.len(), 4 * NODES_MAX),
        ("outputs", graph.output.len(), LIST_MAX),
        ("described inner tensors", graph.value_info.len(), 4 * NODES_MAX),
        ("sparse tensors", graph.sparse_initializer.len(), 0),
    ];
    if let Some((what, found, most)) = lists.into_iter().find(|(_, found, most)| found > most) {
        return broken(format!("it has {found} {what}; at most {most} are allowed"));
    }
    let values = graph.input.iter().chain(&graph.output).chain(&graph.value_info).map(|value| &value.name);
    let nodes = graph.node.iter().flat_map(|n| n.output.iter().chain(&n.input).chain([&n.name, &n.op_type]));
    match values.chain(graph.initializer.iter().map(|t| &t.name)).chain(nodes).find(|name| name.len() > NAME_MAX) {
        Some(name) => broken(format!("a name is {} bytes long; at most {NAME_MAX} are allowed", name.len())),
        None => Ok(()),
    }
}

/// The tensors that are there before the first node: stored ones and inputs.
fn given(graph: &GraphProto) -> Result<HashMap<&str, Known<'_>>, ContractError> {
    let mut known = HashMap::new();
    let mut stored_elements = 0;
    for tensor in &graph.initializer {
        let shape = tensors::check(tensor)?;
        stored_elements += shape.iter().product::<usize>();
        let value = Known { data_type: tensor.data_type, shape, fixed: true, stored: Some(tensor) };
        if tensor.name.is_empty() || known.insert(tensor.name.as_str(), value).is_some() {
            return broken(format!("the name {:?} of a stored tensor is empty or taken", tensor.name));
        }
    }
    if stored_elements > STORED_ELEMENTS_MAX {
        return broken(format!("its stored tensors have {stored_elements} elements; at most {STORED_ELEMENTS_MAX} are allowed"));
    }
    let mut seen = HashSet::new();
    for input in &graph.input {
        if !seen.insert(&input.name) {
            return broken(format!("it has two inputs {:?}", input.name));
        }
        if !known.contains_key(input.name.as_str()) {
            let shape = super::shape(&[input], &input.name)?;
            known.insert(&input.name, Known::new(FLOAT, shape.to_vec(), false));
        }
    }
    Ok(known)
}

/// Whether a declared shape, where it says anything, is the one that is computed.
fn agree(what: &str, declared: &tract_onnx::pb::ValueInfoProto, value: &Known) -> Result<(), ContractError> {
    let Some(dims) = super::declared_dims(declared) else { return Ok(()) };
    let same = |(dim, &size): (&Option<i64>, &usize)| dim.is_some_and(|dim| dim == size as i64);
    if dims.len() != value.shape.len() || !dims.iter().zip(&value.shape).all(same) {
        let dims: Vec<i64> = dims.into_iter().map(|dim| dim.unwrap_or(-1)).collect();
        return broken(format!(
            "{what} {:?} is declared as {dims:?} but computed as {:?}; every shape is fixed",
            declared.name, value.shape
        ));
    }
    Ok(())
}

fn check_node(node: &NodeProto) -> Result<(), ContractError> {
    let fail = |what: String| broken(format!("node {:?} ({}): {what}", node.name, node.op_type));
    if !(node.domain.is_empty() || node.domain == "ai.onnx") || !OPERATORS.contains(&node.op_type.as_str()) {
        return broken(format!("node {:?} is a {:?}, which no colorizer needs", node.name, node.op_type));
    }
    if node.input.len() > LIST_MAX || node.output.len() > LIST_MAX || node.attribute.len() > LIST_MAX {
        return fail(format!("it has more than {LIST_MAX} inputs, outputs or attributes"));
    }
    if node.output.iter().any(String::is_empty) {
        return fail("an output has no name".into());
    }
    let mut names = HashSet::new();
    for attribute in &node.attribute {
        let AttributeProto { name, ints, floats, strings, s, f, .. } = attribute;
        if name.len() > NAME_MAX || s.len() > NAME_MAX || ints.len().max(floats.len()) > LIST_MAX || !strings.is_empty() {
            return fail("an attribute is longer than any colorizer's".into());
        }
        if !names.insert(name) {
            return fail(format!("the attribute {name:?} is there twice"));
        }
        if floats.iter().chain([f]).any(|v| !v.is_finite()) {
            return fail(format!("{name} is not a finite number"));
        }
        if attribute.g.is_some() || !attribute.graphs.is_empty() {
            return fail("it holds a graph".into());
        }
        if !attribute.tensors.is_empty() || attribute.sparse_tensor.is_some() || !attribute.sparse_tensors.is_empty() {
            return fail(format!("{name} holds more than one tensor, or a sparse one"));
        }
        if let Some(tensor) = &attribute.t {
            tensors::check(tensor)?;
        }
    }
    Ok(())
}

/// The operators a colorizer may consist of. Loops, and operators that make large tensors from small files, stay out.
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
