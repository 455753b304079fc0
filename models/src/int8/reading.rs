//! What a graph says about its 8-bit values: which float tensors are dequantized bytes, moved or not, and which convolutions read only such.

use std::collections::HashMap;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::TypedConcat;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec};
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math::{Add, Max, Min};
use tract_onnx::tract_core::ops::nn::DataFormat;
use tract_onnx::tract_core::ops::quant::{DequantizeLinearF32, QuantizeLinearU8};

use super::kernels::READINGS_MAX;
use super::layout::Layout;
use super::moving::{Moved, Shown};
use super::weights;

/// Bytes and what they mean, in channels that are taken from one or more stored pictures.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub(super) parts: Vec<Part>,
    pub(super) meaning: Meaning,
    pub(super) height: usize,
    pub(super) width: usize,
}

/// Consecutive channels of one stored picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The picture, as an index into [`Findings::pictures`].
    pub(super) picture: usize,
    pub(super) stored: Layout,
    pub(super) first: usize,
    pub(super) channels: usize,
    /// Each pixel twice, in both directions.
    pub(super) upsampled: bool,
    /// What the border of the stored picture holds.
    pub(super) border: u8,
}

impl View {
    pub(super) fn channels(&self) -> usize {
        self.parts.iter().map(|part| part.channels).sum()
    }

    fn narrowed(&self, first: usize, channels: usize) -> Self {
        let mut parts = Vec::new();
        let mut start = 0;
        for part in &self.parts {
            let (from, to) = (first.max(start), (first + channels).min(start + part.channels));
            if from < to {
                parts.push(Part { first: part.first + from - start, channels: to - from, ..*part });
            }
            start += part.channels;
        }
        Self { parts, ..self.clone() }
    }

    fn upsampled(&self) -> Option<Self> {
        if self.parts.iter().any(|part| part.upsampled) {
            return None;
        }
        let parts = self.parts.iter().map(|part| Part { upsampled: true, ..*part }).collect();
        Some(Self { parts, height: 2 * self.height, width: 2 * self.width, ..self.clone() })
    }

    /// Views side by side, if their bytes mean the same.
    fn joined(views: &[&Self]) -> Option<Self> {
        let (first, others) = views.split_first()?;
        let same = |view: &&&Self| (view.meaning, view.height, view.width) == (first.meaning, first.height, first.width);
        let few = views.iter().map(|view| view.parts.len()).sum::<usize>() <= PARTS_MAX;
        (few && others.iter().all(|view| same(&view))).then(|| {
            let parts = views.iter().flat_map(|view| view.parts.iter().copied()).collect();
            Self { parts, ..(*first).clone() }
        })
    }
}

/// What QuantizeLinear does: `round(value * factor) + zero_point`, from 0 to 255, ties to even.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Quantization {
    /// 1 / scale.
    pub(super) factor: f32,
    pub(super) zero_point: u8,
}

impl Quantization {
    #[inline(always)]
    pub(super) fn byte(&self, value: f32) -> u8 {
        // Adding this number leaves whole numbers of up to 22 bits in the low bits of the sum, rounded to even: a conversion without branches.
        const WHOLE: f32 = 1.5 * (1 << 23) as f32;
        let value = (value * self.factor + WHOLE) - WHOLE + f32::from(self.zero_point);
        // Comparisons, so that a NaN becomes 0.
        let value = if value > 0.0 { value } else { 0.0 };
        let value = if value < 255.0 { value } else { 255.0 };
        (value + WHOLE).to_bits() as u8
    }
}

/// The lowest and the highest byte of a quantization behind a ReLU or a clip: to quantize what was clipped is to clip what was quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) low: u8,
    pub(super) high: u8,
}

/// What bytes mean: `(byte - zero_point) * scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Meaning {
    pub(super) scale: f32,
    pub(super) zero_point: u8,
}

impl Meaning {
    #[inline(always)]
    pub(super) fn value(&self, byte: u8) -> f32 {
        (f32::from(byte) - f32::from(self.zero_point)) * self.scale
    }
}

/// A convolution that reads bytes only.
#[derive(Clone, Debug)]
pub(super) struct Convolution {
    pub(super) input: View,
    /// Of each output channel: the weights \[input channel\]\[row\]\[column\], their scale, and the bias in units of the products.
    pub(super) outputs: Vec<OutputChannel>,
    /// Whether each output channel reads only the input channel of its own number.
    pub(super) depthwise: bool,
    pub(super) window: Window,
    pub(super) height: usize,
    pub(super) width: usize,
}

/// Where the pixels of a convolution look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// 1 or 3; 5 for a depthwise convolution.
    pub(super) kernel: usize,
    pub(super) stride: usize,
    /// Rows and columns of padding in front of the first; at most half of the kernel, as behind the last.
    pub(super) before: [usize; 2],
}

#[derive(Clone, Debug)]
pub(super) struct OutputChannel {
    pub(super) weights: Vec<i8>,
    pub(super) scale: f32,
    pub(super) bias: i32,
}

impl Convolution {
    /// Multiply-accumulates a frame, padding not counted.
    pub(super) fn multiply_adds(&self) -> u64 {
        (self.height * self.width * self.outputs.len()) as u64 * self.outputs[0].weights.len() as u64
    }
}

/// A picture of bytes that has to be stored.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    /// The QuantizeLinear node that asks for it.
    pub(super) node: usize,
    pub(super) making: Making,
    pub(super) layout: Layout,
    pub(super) quantization: Quantization,
}

/// How a picture is made.
#[derive(Clone, Debug)]
pub(super) enum Making {
    /// By a convolution, then perhaps an addition, then within limits.
    Convolution { convolution: usize, residual: Option<View>, limits: Limits },
    /// By the addition of two pictures of the same size, within limits.
    Sum { terms: [(Part, Meaning); 2], limits: Limits },
    /// Of the channels of other pictures, side by side, each of them of the picture's size or upsampled to it.
    Gathered { parts: Vec<Part> },
    /// From floats, NCHW.
    Floats { outlet: OutletId },
    /// From bytes with another meaning.
    Bytes { part: Part, meaning: Meaning },
}

/// The bytes of a QuantizeLinear node: a [`View`] whose meaning is what reads them gives them.
#[derive(Clone, Debug)]
pub(super) struct Bytes {
    pub(super) parts: Vec<Part>,
    height: usize,
    width: usize,
}

/// The most parts of a view: more stretches of bytes no kernel reads, and each is at least one.
const PARTS_MAX: usize = READINGS_MAX;

/// What was found in a graph.
#[derive(Default)]
pub(super) struct Findings {
    /// Of nodes whose float output is dequantized bytes.
    pub(super) views: HashMap<usize, View>,
    /// Of QuantizeLinear nodes: the bytes they give.
    bytes: HashMap<usize, Bytes>,
    /// In the order in which they can be made.
    pub(super) pictures: Vec<Picture>,
    /// Convolutions that read bytes, by node.
    pub(super) convolutions: HashMap<usize, Convolution>,
    shown: Shown,
}

/// Reads a graph whose nodes are visited in `order`.
pub(super) fn read(model: &TypedModel, order: &[usize]) -> TractResult<Findings> {
    let mut findings = Findings::default();
    for &id in order {
        let node = model.node(id);
        if let Some(quantization) = quantization(node) {
            findings.read_quantize(model, node, quantization)?;
        } else if let Some(op) = node.op_as::<DequantizeLinearF32>() {
            let zero_point = u8::try_from(op.zero_point);
            if let (Some(bytes), Ok(zero_point)) = (findings.bytes.get(&node.inputs[0].node), zero_point) {
                let Bytes { parts, height, width } = bytes.clone();
                let view = View { parts, meaning: Meaning { scale: op.scale, zero_point }, height, width };
                if op.scale.is_finite() && op.scale > 0.0 {
                    findings.views.insert(id, view);
                }
            }
        } else if let Some(op) = node.op_as::<Conv>() {
            if let Some(convolution) = findings.read_convolution(model, node, op)? {
                findings.convolutions.insert(id, convolution);
            }
        } else if let Some(view) = findings.read_moving(model, node)? {
            findings.views.insert(id, view);
        }
    }
    Ok(findings)
}

fn quantization(node: &TypedNode) -> Option<Quantization> {
    let op = node.op_as::<ElementWiseOp>()?.0.downcast_ref::<QuantizeLinearU8>()?;
    (op.scale.is_finite() && op.scale > 0.0).then_some(Quantization { factor: op.scale, zero_point: op.zero_point })
}

/// \[1, C, H, W\], where that is the shape.
pub(super) fn picture(model: &TypedModel, outlet: OutletId) -> TractResult<Option<Layout>> {
    Ok(match model.outlet_fact(outlet)?.shape.as_concrete() {
        Some(&[1, channels, height, width]) if channels * height * width > 0 => Some(Layout { channels, height, width }),
        _ => None,
    })
}

/// The one node that reads `id`'s only output, if there is one and the output is none of the model's.
fn only_reader(model: &TypedModel, id: usize) -> bool {
    let node = model.node(id);
    node.outputs.len() == 1 && node.outputs[0].successors.len() == 1 && !model.outputs.iter().any(|output| output.node == id)
}

/// A constant, or what a few operators make of constants: Tract casts a bias to the type it has, and leaves large weights to be dequantized.
pub(super) fn constant(model: &TypedModel, outlet: OutletId) -> TractResult<Option<Arc<Tensor>>> {
    computed(model, outlet, 4)
}

fn computed(model: &TypedModel, outlet: OutletId, depth: usize) -> TractResult<Option<Arc<Tensor>>> {
    if let Some(tensor) = &model.outlet_fact(outlet)?.konst {
        return Ok(Some(tensor.clone()));
    }
    let node = model.node(outlet.node);
    if depth == 0 || node.inputs.is_empty() {
        return Ok(None);
    }
    let inputs = node.inputs.iter().map(|&input| computed(model, input, depth - 1)).collect::<TractResult<Option<TVec<_>>>>()?;
    let Some(inputs) = inputs else { return Ok(None) };
    let outputs = node.op.eval_out_of_plan(inputs.into_iter().map(IntoTValue::into_tvalue).collect())?;
    Ok(outputs.and_then(|outputs| outputs.get(outlet.slot).cloned()).map(IntoArcTensor::into_arc_tensor))
}

/// What a node clips, and to what: the other operand of a maximum or a minimum with a constant, which is what Tract makes of a ReLU and of a clip.
fn clip_of(model: &TypedModel, node: &TypedNode) -> TractResult<Option<(OutletId, [f32; 2])>> {
    let Some(op) = node.op_as::<TypedBinOp>().filter(|op| op.0.is::<Max>() || op.0.is::<Min>()) else { return Ok(None) };
    for (limit, other) in [(1, 0), (0, 1)] {
        let Some(limit) = constant(model, node.inputs[limit])? else { continue };
        if limit.datum_type() != f32::datum_type() || limit.len() != 1 {
            continue;
        }
        let limit = floats(&limit)?[0];
        if !limit.is_nan() {
            let range = if op.0.is::<Max>() { [limit, f32::INFINITY] } else { [f32::NEG_INFINITY, limit] };
            return Ok(Some((node.inputs[other], range)));
        }
    }
    Ok(None)
}

pub(super) fn floats(tensor: &Tensor) -> TractResult<Vec<f32>> {
    Ok(tensor.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
}

impl Findings {
    fn view(&self, outlet: OutletId) -> Option<&View> {
        if outlet.slot == 0 { self.views.get(&outlet.node) } else { None }
    }

    fn read_quantize(&mut self, model: &TypedModel, node: &TypedNode, quantization: Quantization) -> TractResult<()> {
        let input = node.inputs[0];
        let Some(stored) = picture(model, OutletId::new(node.id, 0))? else { return Ok(()) };
        if model.outlet_fact(input)?.datum_type != f32::datum_type() {
            return Ok(());
        }
        let parts = match self.arithmetic_behind(model, node, stored, quantization)? {
            Some(making) => vec![self.store(node.id, making, stored, quantization)],
            None => {
                let operands = side_by_side(model, input, stored)?;
                let parts = |outlet: OutletId| self.view(outlet).map_or(1, |view| view.parts.len());
                // Too many parts are put together by Tract.
                if operands.iter().map(|&(outlet, _)| parts(outlet)).sum::<usize>() > PARTS_MAX {
                    vec![self.store(node.id, Making::Floats { outlet: input }, stored, quantization)]
                } else {
                    let mut parts = Vec::new();
                    for (outlet, layout) in operands {
                        self.quantized(model, node.id, outlet, layout, quantization, &mut parts)?;
                    }
                    parts
                }
            }
        };
        self.bytes.insert(node.id, Bytes { parts, height: stored.height, width: stored.width });
        Ok(())
    }

    /// A picture more, as a whole.
    fn store(&mut self, node: usize, making: Making, layout: Layout, quantization: Quantization) -> Part {
        self.pictures.push(Picture { node, making, layout, quantization });
        let picture = self.pictures.len() - 1;
        Part { picture, stored: layout, first: 0, channels: layout.channels, upsampled: false, border: quantization.zero_point }
    }

    /// The bytes of one tensor: those that it has already, if they come out as they are; each part's otherwise, or those of its floats. What is
    /// upsampled is quantized before.
    fn quantized(
        &mut self,
        model: &TypedModel,
        node: usize,
        outlet: OutletId,
        layout: Layout,
        quantization: Quantization,
        parts: &mut Vec<Part>,
    ) -> TractResult<()> {
        if let Some(View { parts: known, meaning, .. }) = self.view(outlet).cloned() {
            let same = (0..=255).all(|byte| quantization.byte(meaning.value(byte)) == byte);
            for part in known {
                parts.push(if same {
                    part
                } else {
                    let layout = Layout { channels: part.channels, ..part.stored };
                    let stored = self.store(node, Making::Bytes { part, meaning }, layout, quantization);
                    Part { upsampled: part.upsampled, ..stored }
                });
            }
            return Ok(());
        }
        let mover = model.node(outlet.node);
        if let Some(&small) = mover.inputs.first()
            && let Some(before) = picture(model, small)?
            && (layout.channels, layout.height, layout.width) == (before.channels, 2 * before.height, 2 * before.width)
            && Moved::by(model, mover, before, &mut self.shown)? == Some(Moved::Doubled)
        {
            let stored = self.store(node, Making::Floats { outlet: small }, before, quantization);
            parts.push(Part { upsampled: true, ..stored });
            return Ok(());
        }
        parts.push(self.store(node, Making::Floats { outlet }, layout, quantization));
        Ok(())
    }

    /// The convolution, or the sum of two pictures, that a QuantizeLinear node ends, if nothing else reads what lies between.
    fn arithmetic_behind(
        &self,
        model: &TypedModel,
        node: &TypedNode,
        stored: Layout,
        quantization: Quantization,
    ) -> TractResult<Option<Making>> {
        let mut at = node.inputs[0];
        let [mut low, mut high] = [f32::NEG_INFINITY, f32::INFINITY];
        loop {
            if at.slot != 0 || !only_reader(model, at.node) {
                return Ok(None);
            }
            let Some((before, range)) = clip_of(model, model.node(at.node))? else { break };
            // The limits in front are clipped by those behind, as the values are.
            [low, high] = range.map(|limit| limit.max(low).min(high));
            at = before;
        }
        let limits = Limits { low: quantization.byte(low), high: quantization.byte(high) };
        let making = |convolution, residual| Some(Making::Convolution { convolution, residual, limits });
        // An addition may have repeated the values of a smaller one.
        let whole = |node: usize| {
            self.convolutions
                .get(&node)
                .is_some_and(|c| (c.outputs.len(), c.height, c.width) == (stored.channels, stored.height, stored.width))
        };
        if whole(at.node) {
            return Ok(making(at.node, None));
        }
        let sum = model.node(at.node);
        if !sum.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Add>()) {
            return Ok(None);
        }
        for (convolution, other) in [(1, 0), (0, 1)] {
            let convolution = sum.inputs[convolution];
            let fits = |view: &&View| {
                // A kernel adds the bytes of whole pixels of the output's own layout.
                view.parts.len() == 1 && view.parts[0].stored == stored && view.channels() == stored.channels && !view.parts[0].upsampled
            };
            if let Some(residual) = self.view(sum.inputs[other]).filter(fits)
                && whole(convolution.node)
                && only_reader(model, convolution.node)
            {
                return Ok(making(convolution.node, Some(residual.clone())));
            }
        }
        let term = |input: OutletId| match self.view(input)? {
            View { parts, meaning, height, width } if parts.len() == 1 => {
                let same = (parts[0].channels, *height, *width) == (stored.channels, stored.height, stored.width);
                (same && !parts[0].upsampled).then_some((parts[0], *meaning))
            }
            _ => None,
        };
        Ok(term(sum.inputs[0]).zip(term(sum.inputs[1])).map(|(a, b)| Making::Sum { terms: [a, b], limits }))
    }

    /// The view that a node which only moves values makes of the views it reads.
    fn read_moving(&mut self, model: &TypedModel, node: &TypedNode) -> TractResult<Option<View>> {
        if node.outputs.len() != 1 {
            return Ok(None);
        }
        let Some(to) = picture(model, OutletId::new(node.id, 0))? else { return Ok(None) };
        if let Some(concat) = node.op_as::<TypedConcat>() {
            let views: Option<Vec<&View>> = node.inputs.iter().map(|&input| self.view(input)).collect();
            return Ok(views.filter(|_| concat.axis == 1).and_then(|views| View::joined(&views)));
        }
        let Some(view) = node.inputs.first().and_then(|&input| self.view(input)).cloned() else { return Ok(None) };
        let before = Layout { channels: view.channels(), height: view.height, width: view.width };
        Ok(match Moved::by(model, node, before, &mut self.shown)? {
            Some(Moved::Doubled) => view.upsampled(),
            Some(Moved::Sliced { first }) => Some(view.narrowed(first, to.channels)),
            None => None,
        })
    }

    fn read_convolution(&mut self, model: &TypedModel, node: &TypedNode, op: &Conv) -> TractResult<Option<Convolution>> {
        let Some(mut view) = self.view(node.inputs[0]).cloned() else { return Ok(None) };
        let Some(to) = picture(model, OutletId::new(node.id, 0))? else { return Ok(None) };
        let pool = &op.pool_spec;
        let depthwise = op.group > 1 && (op.group, op.group) == (view.channels(), to.channels);
        let kernel = match pool.kernel_shape[..] {
            [1, 1] => 1,
            [3, 3] => 3,
            [5, 5] if depthwise => 5,
            _ => return Ok(None),
        };
        let stride = match pool.strides.as_deref() {
            None | Some([1, 1]) => 1,
            Some([2, 2]) => 2,
            _ => return Ok(None),
        };
        let (before, after) = match &pool.padding {
            PaddingSpec::Explicit(before, after) => (&before[..], &after[..]),
            PaddingSpec::Valid => (&[0; 2][..], &[0; 2][..]),
            _ => return Ok(None),
        };
        let (&[top, left], &[bottom, right]) = (before, after) else { return Ok(None) };
        let plain = (op.group == 1 || depthwise)
            && op.q_params.is_none()
            && op.kernel_fmt == KernelFormat::OIHW
            && pool.data_format == DataFormat::NCHW
            && pool.dilations.as_ref().is_none_or(|dilations| dilations.iter().all(|&d| d == 1));
        let border = kernel / 2;
        let padded = [top, left, bottom, right].iter().all(|&padding| padding <= border);
        if !padded || !plain || node.inputs.len() != 3 {
            return Ok(None);
        }
        let shrunk = |size: usize, padding: usize| (size + padding).checked_sub(kernel).map(|room| room / stride + 1);
        let sized = shrunk(view.height, top + bottom) == Some(to.height) && shrunk(view.width, left + right) == Some(to.width);
        // What a window reads at the edge must mean zero.
        let bordered = border == 0 || view.parts.iter().all(|part| part.border == view.meaning.zero_point);
        if !sized || !bordered {
            return Ok(None);
        }
        let fact = model.outlet_fact(node.inputs[1])?;
        let read = view.channels() / op.group;
        if fact.shape.as_concrete() != Some(&[to.channels, read, kernel, kernel]) || fact.datum_type != f32::datum_type() {
            return Ok(None);
        }
        let (Some(weights), Some(bias)) = (constant(model, node.inputs[1])?, constant(model, node.inputs[2])?) else { return Ok(None) };
        let bias = bias.cast_to::<f32>()?;
        let bias = floats(&bias)?;
        if bias.len() != 1 && bias.len() != to.channels {
            return Ok(None);
        }
        let outputs = floats(&weights)?
            .chunks_exact(read * kernel * kernel)
            .enumerate()
            .map(|(output, values)| {
                let (weights, scale, bias) = weights::with_bias(values, bias[output % bias.len()], view.meaning.scale)?;
                Some(OutputChannel { weights, scale, bias })
            })
            .collect::<Option<Vec<_>>>();
        let Some(outputs) = outputs else { return Ok(None) };
        if depthwise && view.parts.len() > 1 {
            // The kernels read blocks of channels, wherever a part ends.
            let layout = Layout { channels: view.channels(), height: view.height, width: view.width };
            let quantization = Quantization { factor: 1.0 / view.meaning.scale, zero_point: view.meaning.zero_point };
            let gathered = self.store(node.id, Making::Gathered { parts: view.parts }, layout, quantization);
            view.parts = vec![gathered];
        }
        let window = Window { kernel, stride, before: [top, left] };
        let Layout { height, width, .. } = to;
        Ok(Some(Convolution { input: view, outputs, depthwise, window, height, width }))
    }
}

/// The operands of a concatenation of channels, or the tensor itself.
fn side_by_side(model: &TypedModel, outlet: OutletId, whole: Layout) -> TractResult<Vec<(OutletId, Layout)>> {
    let node = model.node(outlet.node);
    if node.op_as::<TypedConcat>().is_some_and(|concat| concat.axis == 1) {
        let operands = node.inputs.iter().map(|&input| Ok(picture(model, input)?.map(|layout| (input, layout))));
        if let Some(operands) = operands.collect::<TractResult<Option<Vec<_>>>>()? {
            return Ok(operands);
        }
    }
    Ok(vec![(outlet, whole)])
}
