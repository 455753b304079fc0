//! Rewrites a graph with the fused operators.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::konst::Const;

use super::convolution::Int8Convolution;
use super::kernels::InstructionSet;
use super::layout::Layout;
use super::packing::{Packing, Unpacking};
use super::reading::{self, Findings, Making, Part, Source, View};

/// What became of a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fused {
    /// What the kernels were chosen for; empty if nothing is fused.
    pub instruction_set: String,
    /// The convolutions that run on 8-bit values in our kernels, by the names of their nodes.
    pub convolutions: Vec<String>,
    /// The convolutions that are left to Tract.
    pub left: Vec<String>,
    /// Multiply-adds a frame of the fused convolutions.
    pub multiply_adds: u64,
    /// Memory of their packed weights.
    pub weight_bytes: usize,
}

/// `model` with everything fused that is proven to be what our operators compute, and the list of it.
///
/// # Errors
/// Tract's, if it refuses a node.
pub(crate) fn fuse(model: &TypedModel, set: InstructionSet) -> TractResult<(TypedModel, Fused)> {
    let order = model.eval_order()?;
    let mut findings = reading::read(model, &order)?;
    let operators = Operators::new(model, &mut findings, set);
    let needs = Needs::new(model, &order, &findings, &operators);
    let mut fused = Fused { instruction_set: set.to_string(), ..Fused::default() };
    let mut wiring = Wiring {
        to: TypedModel { symbols: model.symbols.clone(), ..TypedModel::default() },
        plain: HashMap::new(),
        stored: HashMap::new(),
    };
    // The order of the inputs is the model's, whatever the order of evaluation.
    for input in &model.inputs {
        let node = model.node(input.node);
        let outlet = wiring.to.add_source(&node.name, node.outputs[0].fact.clone())?;
        wiring.plain.insert(*input, outlet);
    }
    for &id in &order {
        let node = model.node(id);
        if needs.stored.contains(&id) {
            let (op, inputs): (Box<dyn TypedOp>, Vec<OutletId>) = match &findings.makings[&id] {
                Making::Convolution { convolution, residual, .. } => {
                    let op = operators.stored[&id].clone();
                    let found = &findings.convolutions[convolution];
                    fused.add(&model.node(*convolution).name, found, &op);
                    let parts = found.input.parts.iter().chain(residual.iter().flat_map(|view| &view.parts));
                    (Box::new(op), wiring.pictures(parts))
                }
                Making::Packing { sources, quantization } => {
                    let inputs = sources.iter().flat_map(|source| match source {
                        Source::Floats { outlet, .. } => vec![wiring.plain[outlet]],
                        Source::Bytes { view } => wiring.pictures(&view.parts),
                    });
                    let inputs = inputs.collect();
                    (Box::new(Packing::new(sources, *quantization, stored(&findings, id))), inputs)
                }
            };
            let outlet = wiring.to.wire_node(format!("{}.stored", node.name), op, &inputs)?[0];
            wiring.stored.insert(id, outlet);
        }
        if !needs.plain.contains(&id) || wiring.plain.contains_key(&OutletId::new(id, 0)) {
            continue;
        }
        let outlets = if let Some(op) = operators.floats.get(&id) {
            let found = &findings.convolutions[&id];
            fused.add(&node.name, found, op);
            let inputs = wiring.pictures(&found.input.parts);
            wiring.to.wire_node(&node.name, op.clone(), &inputs)?
        } else if let Some(view) = findings.views.get(&id) {
            let inputs = wiring.pictures(&view.parts);
            wiring.to.wire_node(&node.name, Unpacking { view: view.clone() }, &inputs)?
        } else if let Some(constant) = node.op_as::<Const>() {
            tvec!(wiring.to.add_const(&node.name, constant.val().clone())?)
        } else {
            if node.op.name() == "Conv" {
                fused.left.push(node.name.clone());
            }
            let inputs: Vec<OutletId> = node.inputs.iter().map(|input| wiring.plain[input]).collect();
            wiring.to.wire_node(&node.name, node.op.clone(), &inputs)?
        };
        for (slot, outlet) in outlets.into_iter().enumerate() {
            wiring.plain.insert(OutletId::new(id, slot), outlet);
        }
    }
    let outputs: Vec<OutletId> = model.outputs.iter().map(|output| wiring.plain[output]).collect();
    wiring.to.select_output_outlets(&outputs)?;
    if fused.convolutions.is_empty() {
        fused.instruction_set.clear();
    }
    Ok((wiring.to, fused))
}

fn stored(findings: &Findings, id: usize) -> Layout {
    findings.bytes[&id].parts[0].stored
}

impl Fused {
    fn add(&mut self, name: &str, convolution: &reading::Convolution, op: &Int8Convolution) {
        self.convolutions.push(name.to_owned());
        self.multiply_adds += convolution.multiply_adds();
        self.weight_bytes += op.weight_bytes();
    }
}

/// The operators of the convolutions that are fused, made once.
struct Operators {
    /// By QuantizeLinear node.
    stored: HashMap<usize, Int8Convolution>,
    /// By convolution node.
    floats: HashMap<usize, Int8Convolution>,
}

impl Operators {
    /// Makes them, and turns the making of bytes by a convolution that cannot be one of ours into the packing of its floats.
    fn new(model: &TypedModel, findings: &mut Findings, set: InstructionSet) -> Self {
        let mut operators = Self { stored: HashMap::new(), floats: HashMap::new() };
        let mut ended = HashSet::new();
        for (&id, making) in &mut findings.makings {
            let Making::Convolution { convolution, residual, relu, quantization } = making else { continue };
            let quantization = *quantization;
            match Int8Convolution::new(&findings.convolutions[convolution], Some((quantization, *relu, residual.as_ref())), set) {
                Some(op) => {
                    operators.stored.insert(id, op);
                    ended.insert(*convolution);
                }
                None => {
                    let channels = findings.bytes[&id].channels();
                    let sources = vec![Source::Floats { outlet: model.node(id).inputs[0], channels }];
                    *making = Making::Packing { sources, quantization };
                }
            }
        }
        for (&id, convolution) in findings.convolutions.iter().filter(|(id, _)| !ended.contains(*id)) {
            if let Some(op) = Int8Convolution::new(convolution, None, set) {
                operators.floats.insert(id, op);
            }
        }
        operators
    }
}

/// What has to be computed, and in which form.
struct Needs {
    /// Nodes whose outputs are read as Tract's tensors.
    plain: HashSet<usize>,
    /// QuantizeLinear nodes whose bytes are read as stored pictures.
    stored: HashSet<usize>,
}

impl Needs {
    fn new(model: &TypedModel, order: &[usize], findings: &Findings, operators: &Operators) -> Self {
        let mut needs = Self { plain: model.outputs.iter().map(|output| output.node).collect(), stored: HashSet::new() };
        for &id in order.iter().rev() {
            if needs.stored.contains(&id) {
                match &findings.makings[&id] {
                    Making::Convolution { convolution, residual, .. } => {
                        needs.pictures(&findings.convolutions[convolution].input);
                        residual.iter().for_each(|view| needs.pictures(view));
                    }
                    Making::Packing { sources, .. } => {
                        for source in sources {
                            match source {
                                Source::Floats { outlet, .. } => drop(needs.plain.insert(outlet.node)),
                                Source::Bytes { view } => needs.pictures(view),
                            }
                        }
                    }
                }
            }
            if needs.plain.contains(&id) {
                if operators.floats.contains_key(&id) {
                    needs.pictures(&findings.convolutions[&id].input);
                } else if let Some(view) = findings.views.get(&id) {
                    needs.pictures(view);
                } else {
                    needs.plain.extend(model.node(id).inputs.iter().map(|input| input.node));
                }
            }
        }
        needs
    }

    fn pictures(&mut self, view: &View) {
        self.stored.extend(view.parts.iter().map(|part| part.producer));
    }
}

/// The new graph as it grows.
struct Wiring {
    to: TypedModel,
    plain: HashMap<OutletId, OutletId>,
    /// By QuantizeLinear node.
    stored: HashMap<usize, OutletId>,
}

impl Wiring {
    fn pictures<'a>(&self, parts: impl IntoIterator<Item = &'a Part>) -> Vec<OutletId> {
        parts.into_iter().map(|part| self.stored[&part.producer]).collect()
    }
}
