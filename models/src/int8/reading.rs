//! What a graph says about its 8-bit values: which float tensors are dequantized bytes, moved or not, and which convolutions read only such.

use std::collections::HashMap;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::TypedConcat;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec};
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math::{Add, Max};
use tract_onnx::tract_core::ops::nn::DataFormat;
use tract_onnx::tract_core::ops::quant::{DequantizeLinearF32, QuantizeLinearU8};

use super::kernels::READINGS_MAX;
use super::layout::Layout;
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
    /// 1 or 3, with a border of 0 or 1.
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) height: usize,
    pub(super) width: usize,
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
    /// By a convolution, then perhaps an addition, then perhaps a ReLU.
    Convolution { convolution: usize, residual: Option<View>, relu: bool },
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
fn constant(model: &TypedModel, outlet: OutletId) -> TractResult<Option<Arc<Tensor>>> {
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

/// The other operand of a maximum with zero, which is what Tract makes of a ReLU.
fn relu_of(model: &TypedModel, node: &TypedNode) -> TractResult<Option<OutletId>> {
    if !node.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Max>()) {
        return Ok(None);
    }
    for (zero, other) in [(1, 0), (0, 1)] {
        let zero = constant(model, node.inputs[zero])?;
        if zero.is_some_and(|zero| zero.datum_type() == f32::datum_type() && zero.len() == 1 && floats(&zero).is_ok_and(|v| v[0] == 0.0)) {
            return Ok(Some(node.inputs[other]));
        }
    }
    Ok(None)
}

fn floats(tensor: &Tensor) -> TractResult<Vec<f32>> {
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
        let parts = match self.convolution_behind(model, node, stored)? {
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

    /// The convolution that a QuantizeLinear node ends, if nothing else reads what lies between.
    fn convolution_behind(&self, model: &TypedModel, node: &TypedNode, stored: Layout) -> TractResult<Option<Making>> {
        let mut at = node.inputs[0];
        if at.slot != 0 || !only_reader(model, at.node) {
            return Ok(None);
        }
        let relu = match relu_of(model, model.node(at.node))? {
            Some(before) if before.slot == 0 && only_reader(model, before.node) => {
                at = before;
                true
            }
            Some(_) => return Ok(None),
            None => false,
        };
        let making = |convolution, residual| Some(Making::Convolution { convolution, residual, relu });
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
        Ok(None)
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

    fn read_convolution(&self, model: &TypedModel, node: &TypedNode, op: &Conv) -> TractResult<Option<Convolution>> {
        let (Some(view), Some(to)) = (self.view(node.inputs[0]), picture(model, OutletId::new(node.id, 0))?) else { return Ok(None) };
        let pool = &op.pool_spec;
        let kernel = match pool.kernel_shape[..] {
            [1, 1] => 1,
            [3, 3] => 3,
            _ => return Ok(None),
        };
        let stride = match pool.strides.as_deref() {
            None | Some([1, 1]) => 1,
            Some([2, 2]) => 2,
            _ => return Ok(None),
        };
        let border = kernel / 2;
        let padded = match &pool.padding {
            PaddingSpec::Explicit(before, after) => before[..] == [border; 2] && after[..] == [border; 2],
            PaddingSpec::Valid => border == 0,
            _ => false,
        };
        let plain = op.group == 1
            && op.q_params.is_none()
            && op.kernel_fmt == KernelFormat::OIHW
            && pool.data_format == DataFormat::NCHW
            && pool.dilations.as_ref().is_none_or(|dilations| dilations.iter().all(|&d| d == 1));
        let shrunk = |size: usize| (size + 2 * border).checked_sub(kernel).map(|room| room / stride + 1);
        let sized = shrunk(view.height) == Some(to.height) && shrunk(view.width) == Some(to.width);
        // What a window reads at the edge must mean zero.
        let bordered = border == 0 || view.parts.iter().all(|part| part.border == view.meaning.zero_point);
        if !padded || !plain || !sized || !bordered || node.inputs.len() != 3 {
            return Ok(None);
        }
        let fact = model.outlet_fact(node.inputs[1])?;
        if fact.shape.as_concrete() != Some(&[to.channels, view.channels(), kernel, kernel]) || fact.datum_type != f32::datum_type() {
            return Ok(None);
        }
        let (Some(weights), Some(bias)) = (constant(model, node.inputs[1])?, constant(model, node.inputs[2])?) else { return Ok(None) };
        let bias = bias.cast_to::<f32>()?;
        let bias = floats(&bias)?;
        if bias.len() != 1 && bias.len() != to.channels {
            return Ok(None);
        }
        let outputs = floats(&weights)?
            .chunks_exact(view.channels() * kernel * kernel)
            .enumerate()
            .map(|(output, values)| {
                let (weights, scale, bias) = weights::with_bias(values, bias[output % bias.len()], view.meaning.scale)?;
                Some(OutputChannel { weights, scale, bias })
            })
            .collect::<Option<Vec<_>>>();
        Ok(outputs.map(|outputs| Convolution { input: view.clone(), outputs, kernel, stride, height: to.height, width: to.width }))
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

/// What a node does to pictures, if it only moves values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// Each pixel twice, in both directions.
    Doubled,
    /// Consecutive channels.
    Sliced { first: usize },
}

impl Moved {
    /// What an operator does is not read off its name: it is shown a tensor of numbers and looked at where they end up. `from` is what it reads; its
    /// other inputs must be constants. What computes each number by itself moves none, even if it leaves those that it is shown as they are.
    pub(super) fn by(model: &TypedModel, node: &TypedNode, from: Layout, shown: &mut Shown) -> TractResult<Option<Self>> {
        let Some(to) = picture(model, OutletId::new(node.id, 0))? else { return Ok(None) };
        let doubled = (to.channels, to.height, to.width) == (from.channels, 2 * from.height, 2 * from.width);
        let narrowed = (to.height, to.width) == (from.height, from.width) && to.channels <= from.channels;
        let plane = from.height * from.width;
        let computes = node.op_is::<ElementWiseOp>() || node.op_is::<TypedBinOp>();
        if !(doubled || narrowed) || computes || !shown.may(from.channels * plane) {
            return Ok(None);
        }
        let mut constants = TVec::new();
        for &input in &node.inputs[1..] {
            let Some(constant) = constant(model, input)? else { return Ok(None) };
            constants.push(constant.into_tvalue());
        }
        let mut found = None;
        // Large numbers hide what is added to them, so the same ones are shown very small, too: what is added to those is all that is left.
        for unit in [1.0, 2.0_f32.powi(-60)] {
            let numbers: Vec<f32> = (0..from.channels * plane).map(|index| unit * number_at(index)).collect();
            let mut inputs = tvec!(Tensor::from_shape(&[1, from.channels, from.height, from.width], &numbers)?.into_tvalue());
            inputs.extend(constants.iter().cloned());
            let Some(outputs) = node.op.eval_out_of_plan(inputs)? else { return Ok(None) };
            let shape = [1, to.channels, to.height, to.width];
            if outputs.len() != 1 || outputs[0].datum_type() != f32::datum_type() || outputs[0].shape() != shape {
                return Ok(None);
            }
            let moved = floats(&outputs[0])?;
            let this = if doubled {
                let expected = |index: usize| {
                    let (channel, y, x) = (index / (4 * plane), index % (4 * plane) / to.width, index % to.width);
                    channel * plane + y / 2 * from.width + x / 2
                };
                moved.iter().enumerate().all(|(to, &from)| from == numbers[expected(to)]).then_some(Self::Doubled)
            } else {
                let sliced = |first: &usize| moved[..] == numbers[first * plane..][..moved.len()];
                (0..=from.channels - to.channels).find(sliced).map(|first| Self::Sliced { first })
            };
            if this.is_none() || found.is_some_and(|found| Some(found) != this) {
                return Ok(None);
            }
            found = this;
        }
        Ok(found)
    }
}

/// How many numbers operators may still be shown, so that a large graph does not take long to load.
pub(super) struct Shown {
    left: usize,
}

impl Default for Shown {
    fn default() -> Self {
        Self { left: 1 << 24 }
    }
}

impl Shown {
    /// Whether it may be so many more, which then count.
    fn may(&mut self, count: usize) -> bool {
        let left = self.left.checked_sub(count);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

/// Of a tensor's numbers, the one at `index`: each is another, of either sign, and none is on a line with its neighbors.
fn number_at(index: usize) -> f32 {
    // An odd factor makes of different numbers of 24 bits different ones.
    let mixed = (index as u32).wrapping_mul(0x9E_3779) & 0xFF_FFFF;
    mixed as f32 - (1 << 23) as f32 + if (1 << 22..=3 << 22).contains(&mixed) { 0.5 } else { 0.0 }
}
