//! Rewrites a graph with the fused operators.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::konst::Const;

use super::adding::Sum;
use super::convolution::Int8Convolution;
use super::elementwise;
use super::gathering::Gathering;
use super::kernels::InstructionSet;
use super::packing::{Packing, Unpacking};
use super::reading::{self, Findings, Making, Part, Picture, View};

/// What became of a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fused {
    /// What the kernels were chosen for; empty if nothing is fused.
    pub instruction_set: String,
    /// The convolutions that run on 8-bit values in our kernels, by the names of their nodes.
    pub convolutions: Vec<String>,
    /// The convolutions that are left to Tract.
    pub left: Vec<String>,
    /// The last nodes of the chains of float arithmetic that run as one operator each.
    pub chains: Vec<String>,
    /// Multiply-adds a frame of the fused convolutions.
    pub multiply_adds: u64,
    /// Memory of their packed weights.
    pub weight_bytes: usize,
}

/// `model` with everything fused that is proven to be what our operators compute, and the list of it. With more than one thread, the model has to
/// run inside of a pool of so many.
///
/// # Errors
/// Tract's, if it refuses a node.
pub(crate) fn fuse(model: &TypedModel, set: InstructionSet, threads: usize) -> TractResult<(TypedModel, Fused)> {
    let order = model.eval_order()?;
    let mut findings = reading::read(model, &order)?;
    let operators = Operators::new(model, &mut findings, set, threads);
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
    let mut pictures = findings.pictures.iter().enumerate().peekable();
    for &id in &order {
        let node = model.node(id);
        while let Some((index, picture)) = pictures.next_if(|(_, picture)| picture.node == id) {
            if needs.stored.contains(&index) {
                let (op, inputs) = operators.making(index, picture, &findings, &wiring);
                if let Making::Convolution { convolution, .. } = picture.making {
                    fused.add(&model.node(convolution).name, &findings.convolutions[&convolution], &operators.stored[&index]);
                }
                let outlet = wiring.to.wire_node(free_name(model, &node.name, index), op, &inputs)?[0];
                wiring.stored.insert(index, outlet);
            }
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
    let (model, chains) = elementwise::fuse(&wiring.to)?;
    fused.chains = chains;
    Ok((model, fused))
}

/// A name for the node of a picture that no node of the file has.
fn free_name(model: &TypedModel, node: &str, picture: usize) -> String {
    let mut name = format!("{node}.stored.{picture}");
    while model.nodes().iter().any(|other| other.name == name) {
        name.push('_');
    }
    name
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
    /// By picture.
    stored: HashMap<usize, Int8Convolution>,
    /// By convolution node.
    floats: HashMap<usize, Int8Convolution>,
    threads: usize,
}

impl Operators {
    /// Makes them, and turns the making of bytes by a convolution that cannot be one of ours into the packing of its floats.
    fn new(model: &TypedModel, findings: &mut Findings, set: InstructionSet, threads: usize) -> Self {
        let mut operators = Self { stored: HashMap::new(), floats: HashMap::new(), threads };
        let mut ended = HashSet::new();
        for (index, picture) in findings.pictures.iter_mut().enumerate() {
            let Making::Convolution { convolution, residual, limits } = &picture.making else { continue };
            let quantized = Some((picture.quantization, *limits, residual.as_ref()));
            match Int8Convolution::new(&findings.convolutions[convolution], quantized, set, threads) {
                Some(op) => {
                    operators.stored.insert(index, op);
                    ended.insert(*convolution);
                }
                None => picture.making = Making::Floats { outlet: model.node(picture.node).inputs[0] },
            }
        }
        for (&id, convolution) in findings.convolutions.iter().filter(|(id, _)| !ended.contains(*id)) {
            if let Some(op) = Int8Convolution::new(convolution, None, set, threads) {
                operators.floats.insert(id, op);
            }
        }
        operators
    }

    /// The operator that makes a picture, and what it reads.
    fn making(&self, index: usize, picture: &Picture, findings: &Findings, wiring: &Wiring) -> (Box<dyn TypedOp>, Vec<OutletId>) {
        let Picture { making, layout, quantization, .. } = picture;
        match making {
            Making::Convolution { convolution, residual, .. } => {
                let parts = findings.convolutions[convolution].input.parts.iter();
                (Box::new(self.stored[&index].clone()), wiring.pictures(parts.chain(residual.iter().flat_map(|view| &view.parts))))
            }
            Making::Sum { terms, limits } => {
                let sum = Sum::new(*terms, *quantization, *limits, *layout, self.threads);
                (Box::new(sum), wiring.pictures(terms.iter().map(|(part, _)| part)))
            }
            Making::Gathered { parts } => {
                (Box::new(Gathering::new(parts.clone(), quantization.zero_point, *layout)), wiring.pictures(parts))
            }
            Making::Floats { outlet } => (Box::new(Packing::of_floats(*quantization, *layout)), vec![wiring.plain[outlet]]),
            Making::Bytes { part, meaning } => {
                (Box::new(Packing::of_bytes(*part, *meaning, *quantization, *layout)), vec![wiring.stored[&part.picture]])
            }
        }
    }
}

/// What has to be computed, and in which form.
struct Needs {
    /// Nodes whose outputs are read as Tract's tensors.
    plain: HashSet<usize>,
    /// Pictures that are read.
    stored: HashSet<usize>,
}

impl Needs {
    fn new(model: &TypedModel, order: &[usize], findings: &Findings, operators: &Operators) -> Self {
        let mut needs = Self { plain: model.outputs.iter().map(|output| output.node).collect(), stored: HashSet::new() };
        let mut pictures = findings.pictures.iter().enumerate().rev().peekable();
        for &id in order.iter().rev() {
            // What reads a node comes behind it in the order, so all that is needed of it is known by now.
            if needs.plain.contains(&id) {
                if operators.floats.contains_key(&id) {
                    needs.pictures(&findings.convolutions[&id].input);
                } else if let Some(view) = findings.views.get(&id) {
                    needs.pictures(view);
                } else {
                    needs.plain.extend(model.node(id).inputs.iter().map(|input| input.node));
                }
            }
            while let Some((index, picture)) = pictures.next_if(|(_, picture)| picture.node == id) {
                if !needs.stored.contains(&index) {
                    continue;
                }
                match &picture.making {
                    Making::Convolution { convolution, residual, .. } => {
                        needs.pictures(&findings.convolutions[convolution].input);
                        residual.iter().for_each(|view| needs.pictures(view));
                    }
                    Making::Sum { terms, .. } => needs.stored.extend(terms.iter().map(|(part, _)| part.picture)),
                    Making::Gathered { parts } => needs.stored.extend(parts.iter().map(|part| part.picture)),
                    Making::Floats { outlet } => drop(needs.plain.insert(outlet.node)),
                    Making::Bytes { part, .. } => drop(needs.stored.insert(part.picture)),
                }
            }
        }
        needs
    }

    fn pictures(&mut self, view: &View) {
        self.stored.extend(view.parts.iter().map(|part| part.picture));
    }
}

/// The new graph as it grows.
struct Wiring {
    to: TypedModel,
    plain: HashMap<OutletId, OutletId>,
    /// By picture.
    stored: HashMap<usize, OutletId>,
}

impl Wiring {
    fn pictures<'a>(&self, parts: impl IntoIterator<Item = &'a Part>) -> Vec<OutletId> {
        parts.into_iter().map(|part| self.stored[&part.picture]).collect()
    }
}
