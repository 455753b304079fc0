//! The float arithmetic of the recurrent cells: chains of sums, products, sigmoids and hyperbolic tangents of whole pictures as one operator each,
//! which goes over memory once and keeps its output's memory from frame to frame.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math::{Add, Mul, Sub, Tanh};
use tract_onnx::tract_core::ops::nn::Sigmoid;

use super::layout::{Layout, Recycled};
use super::moving::{Moved, Shown};
use super::reading::picture;
use crate::vector::vectorized;

/// The longest chain that is made one operator: what is read by two others is computed in both, and this bounds how often.
const STEPS_MAX: usize = 32;
/// The deepest stack of intermediate values.
const DEPTH_MAX: usize = 8;
/// Values that go through a chain at once: what they need on the stack stays in the first-level cache.
const CHUNK: usize = 256;

/// A chain in postfix order: each step takes its operands from a stack and leaves its result there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Elementwise {
    steps: Vec<Step>,
    to: Layout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// An input's values, from an offset on.
    Load {
        input: usize,
        offset: usize,
    },
    Add,
    Subtract,
    Multiply,
    Sigmoid,
    Tanh,
}

impl Eq for Elementwise {}

impl Step {
    /// How many operands a node's operator takes, if it is one of these.
    fn of(node: &TypedNode) -> Option<(Self, usize)> {
        if let Some(op) = node.op_as::<TypedBinOp>() {
            let step = if op.0.is::<Add>() {
                Self::Add
            } else if op.0.is::<Sub>() {
                Self::Subtract
            } else if op.0.is::<Mul>() {
                Self::Multiply
            } else {
                return None;
            };
            return Some((step, 2));
        }
        let op = &node.op_as::<ElementWiseOp>()?.0;
        let step = if op.is::<Sigmoid>() {
            Self::Sigmoid
        } else if op.is::<Tanh>() {
            Self::Tanh
        } else {
            return None;
        };
        Some((step, 1))
    }
}

/// A node that a chain can go through.
enum Link {
    Step(Step),
    /// The channels from the first on.
    Slice(usize),
}

/// `model` with the chains in it as one operator each, and the names of their last nodes.
///
/// # Errors
/// Tract's, if it refuses a node.
pub(super) fn fuse(model: &TypedModel) -> TractResult<(TypedModel, Vec<String>)> {
    let order = model.eval_order()?;
    let links = links(model, &order)?;
    let mut chains = HashMap::new();
    let mut inner = HashSet::new();
    // From the ends: what is read by nothing else than chains is computed in them.
    for &id in order.iter().rev() {
        let node = model.node(id);
        let Some(link) = links.get(&id) else { continue };
        let ends = model.outputs.iter().any(|output| output.node == id);
        if !ends && !node.outputs[0].successors.is_empty() && node.outputs[0].successors.iter().all(|reader| inner.contains(&reader.node)) {
            continue;
        }
        // A slice that begins a chain saves nothing.
        if matches!(link, Link::Slice(_)) {
            continue;
        }
        let Some(to) = picture(model, OutletId::new(id, 0))? else { continue };
        let mut chain = Chain::default();
        if chain.follow(model, &links, OutletId::new(id, 0), 0, to)? && chain.depth_max <= DEPTH_MAX && chain.steps.len() > 2 {
            inner.extend(chain.through.iter().copied());
            chains.insert(id, (Elementwise { steps: chain.steps, to }, chain.inputs));
        }
    }
    let mut needed: HashSet<usize> = model.outputs.iter().map(|output| output.node).collect();
    for &id in order.iter().rev().filter(|id| model.inputs.iter().all(|input| input.node != **id)) {
        if needed.contains(&id) {
            let inputs = chains.get(&id).map_or(&model.node(id).inputs[..], |(_, inputs)| &inputs[..]);
            needed.extend(inputs.iter().map(|input| input.node));
        }
    }
    let mut to = TypedModel { symbols: model.symbols.clone(), ..TypedModel::default() };
    let (mut wired, mut names) = (HashMap::new(), Vec::new());
    for input in &model.inputs {
        let node = model.node(input.node);
        wired.insert(*input, to.add_source(&node.name, node.outputs[0].fact.clone())?);
    }
    for &id in order.iter().filter(|id| needed.contains(id)) {
        let node = model.node(id);
        if wired.contains_key(&OutletId::new(id, 0)) {
            continue;
        }
        let outlets = if let Some((op, inputs)) = chains.remove(&id) {
            let inputs: Vec<OutletId> = inputs.iter().map(|input| wired[input]).collect();
            names.push(node.name.clone());
            to.wire_node(&node.name, op, &inputs)?
        } else if let Some(constant) = node.outputs[0].fact.konst.clone().filter(|_| node.inputs.is_empty()) {
            tvec!(to.add_const(&node.name, constant)?)
        } else {
            let inputs: Vec<OutletId> = node.inputs.iter().map(|input| wired[input]).collect();
            to.wire_node(&node.name, node.op.clone(), &inputs)?
        };
        for (slot, outlet) in outlets.into_iter().enumerate() {
            wired.insert(OutletId::new(id, slot), outlet);
        }
    }
    let outputs: Vec<OutletId> = model.outputs.iter().map(|output| wired[output]).collect();
    to.select_output_outlets(&outputs)?;
    Ok((to, names))
}

/// The nodes that chains can go through: operators of pictures of one size, without broadcasting, and slices of channels.
fn links(model: &TypedModel, order: &[usize]) -> TractResult<HashMap<usize, Link>> {
    let (mut links, mut shown) = (HashMap::new(), Shown::default());
    for &id in order {
        let node = model.node(id);
        if node.outputs.len() != 1 || node.outputs[0].fact.datum_type != f32::datum_type() {
            continue;
        }
        let Some(to) = picture(model, OutletId::new(id, 0))? else { continue };
        if let Some((step, operands)) = Step::of(node) {
            let mut same = node.inputs.len() == operands;
            for &input in &node.inputs {
                same &= picture(model, input)? == Some(to) && model.outlet_fact(input)?.datum_type == f32::datum_type();
            }
            if same {
                links.insert(id, Link::Step(step));
            }
        } else if let Some(&input) = node.inputs.first()
            && input.slot == 0
            && links.contains_key(&input.node)
            && let Some(from) = picture(model, input)?
            && from.channels > to.channels
            && let Some(Moved::Sliced { first }) = Moved::by(model, node, from, &mut shown)?
        {
            links.insert(id, Link::Slice(first));
        }
    }
    Ok(links)
}

/// A chain as it is followed back from its end.
#[derive(Default)]
struct Chain {
    steps: Vec<Step>,
    inputs: Vec<OutletId>,
    /// The nodes in it.
    through: Vec<usize>,
    depth: usize,
    depth_max: usize,
}

impl Chain {
    /// Adds what computes the channels of `to` from the channel `first` of `outlet` on; false if that becomes too long.
    fn follow(
        &mut self,
        model: &TypedModel,
        links: &HashMap<usize, Link>,
        outlet: OutletId,
        first: usize,
        to: Layout,
    ) -> TractResult<bool> {
        if self.steps.len() >= STEPS_MAX || self.through.len() >= STEPS_MAX {
            return Ok(false);
        }
        let node = model.node(outlet.node);
        match links.get(&outlet.node) {
            Some(Link::Slice(more)) => {
                self.through.push(node.id);
                self.follow(model, links, node.inputs[0], first + more, to)
            }
            Some(Link::Step(step)) => {
                self.through.push(node.id);
                for &input in &node.inputs {
                    if !self.follow(model, links, input, first, to)? {
                        return Ok(false);
                    }
                }
                self.depth -= node.inputs.len() - 1;
                self.steps.push(*step);
                Ok(true)
            }
            None => {
                let input = self.inputs.iter().position(|input| *input == outlet).unwrap_or_else(|| {
                    self.inputs.push(outlet);
                    self.inputs.len() - 1
                });
                self.steps.push(Step::Load { input, offset: first * to.height * to.width });
                self.depth += 1;
                self.depth_max = self.depth_max.max(self.depth);
                Ok(true)
            }
        }
    }
}

impl Elementwise {
    #[inline(always)]
    fn run(&self, inputs: &[&[f32]], output: &mut [f32]) {
        let mut stack = [[0.0_f32; CHUNK]; DEPTH_MAX];
        for (index, output) in output.chunks_mut(CHUNK).enumerate() {
            let start = index * CHUNK;
            let mut depth = 0;
            for step in &self.steps {
                match *step {
                    Step::Load { input, offset } => {
                        stack[depth][..output.len()].copy_from_slice(&inputs[input][offset + start..][..output.len()]);
                        depth += 1;
                    }
                    // Plain loops: what a closure holds might be compiled without the vectors.
                    Step::Sigmoid => {
                        for value in &mut stack[depth - 1] {
                            *value = sigmoid(*value);
                        }
                    }
                    Step::Tanh => {
                        for value in &mut stack[depth - 1] {
                            *value = 2.0 * sigmoid(2.0 * *value) - 1.0;
                        }
                    }
                    Step::Add | Step::Subtract | Step::Multiply => {
                        depth -= 1;
                        let (below, above) = stack.split_at_mut(depth);
                        let (to, from) = (&mut below[depth - 1], &above[0]);
                        match step {
                            Step::Add => {
                                for (a, b) in to.iter_mut().zip(from) {
                                    *a += b;
                                }
                            }
                            Step::Subtract => {
                                for (a, b) in to.iter_mut().zip(from) {
                                    *a -= b;
                                }
                            }
                            _ => {
                                for (a, b) in to.iter_mut().zip(from) {
                                    *a *= b;
                                }
                            }
                        }
                    }
                }
            }
            output.copy_from_slice(&stack[0][..output.len()]);
        }
    }
}

/// 1 / (1 + e^-x), to within 2e-7.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// e^x, to within 2e-7 of itself, from -87 to 87; beyond, what it is there. A NaN stays one.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Comparisons leave a NaN what it is.
    let x = if x > 87.0 { 87.0 } else { x };
    let x = if x < -87.0 { -87.0 } else { x };
    // Adding this number leaves the nearest whole number in the low bits of the sum.
    const WHOLE: f32 = 1.5 * (1 << 23) as f32;
    let shifted = x * std::f32::consts::LOG2_E + WHOLE;
    let whole = shifted - WHOLE;
    // ln 2 in two parts (Cody and Waite), so that the difference is exact.
    let rest = (x - whole * 0.693_359_4) + whole * 2.121_944_4e-4;
    // Taylor's series; `rest` is at most half of ln 2, where the first term left out is below 2e-8.
    let series = 1.0 + rest * (1.0 + rest * (0.5 + rest * (1.0 / 6.0 + rest * (1.0 / 24.0 + rest * (1.0 / 120.0 + rest * (1.0 / 720.0))))));
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    series * power
}

impl Op for Elementwise {
    fn name(&self) -> StaticName {
        "Elementwise".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Elementwise {
    not_out_of_plan!();

    fn state(&self, _: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        let Layout { channels, height, width } = self.to;
        Ok(Some(Box::new(Running { output: Recycled::new(Tensor::zero::<f32>(&[1, channels, height, width])?) })))
    }
}

impl TypedOp for Elementwise {
    as_op!();

    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact([1, self.to.channels, self.to.height, self.to.width])))
    }
}

/// The output of one chain in one running network.
#[derive(Clone, Debug)]
struct Running {
    output: Recycled,
}

impl OpState for Running {
    fn eval(&mut self, _: &EvalContext, op: &dyn Op, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let op = op.downcast_ref::<Elementwise>().context("the state of another operator")?;
        // Chains have more inputs than a list of Tract's takes without asking for memory.
        let mut floats = [&[][..]; STEPS_MAX];
        for (floats, input) in floats.iter_mut().zip(&inputs) {
            *floats = input.try_as_plain_ram()?.as_slice::<f32>()?;
        }
        let output = self.output.free();
        let mut plain = Arc::get_mut(output).context("the output is free")?.try_as_plain_ram_mut()?;
        let to = plain.as_slice_mut::<f32>()?;
        vectorized(
            #[inline(always)]
            || op.run(&floats, to),
        );
        Ok(tvec!(TValue::from_const(output.clone())))
    }

    fn reset_lanes(&mut self, _: &[LaneId]) -> TractResult<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_exact_to_seven_digits() {
        for step in -870..=870 {
            let x = step as f32 / 10.0;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 3e-7, "e^{x}: {found} instead of {expected}");
        }
        assert!(exp(f32::NAN).is_nan() && exp(f32::INFINITY) > 1e37 && exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn a_chain_of_a_recurrent_cell_is_what_its_formula_says() {
        // h + sigmoid(a) * (tanh(b) - h), with `a` from the second channel of its picture on.
        let load = |input, offset| Step::Load { input, offset };
        let steps =
            vec![load(0, 0), load(1, 300), Step::Sigmoid, load(2, 0), Step::Tanh, load(0, 0), Step::Subtract, Step::Multiply, Step::Add];
        let chain = Elementwise { steps, to: Layout { channels: 1, height: 20, width: 15 } };
        let values = |count: usize, by: f32| (0..count).map(|i| (i as f32 * by).sin() * 5.0).collect::<Vec<f32>>();
        let (h, a, b) = (values(300, 0.11), values(600, 0.07), values(300, 0.13));
        let mut found = vec![0.0; 300];
        chain.run(&[&h, &a, &b], &mut found);
        for i in 0..300 {
            let sigmoid = 1.0 / (1.0 + (-f64::from(a[300 + i])).exp());
            let expected = f64::from(h[i]) + sigmoid * (f64::from(b[i]).tanh() - f64::from(h[i]));
            assert!((f64::from(found[i]) - expected).abs() < 2e-6, "{}: {} instead of {expected}", i, found[i]);
        }
    }
}
