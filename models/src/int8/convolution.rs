//! The fused convolution: bytes in; bytes or floats out.

use std::ops::Range;
use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

use crate::crew::share;

use super::kernels::{self, BLOCK, DepthwiseWeights, InstructionSet, QUAD, Quantizing, READINGS_MAX, Reading, Residual, Weights, Writing};
use super::layout::{Layout, Recycled};
use super::reading::{self, Limits, Part, View, Window};

/// A convolution, and what becomes of its sums. Its inputs are the stored pictures of its parts, in their order, and then the residual's.
#[derive(Clone, Debug)]
pub(super) struct Int8Convolution {
    parts: Vec<Part>,
    window: Window,
    weights: Arc<Packed>,
    /// The output's channels, height and width.
    to: Layout,
    target: Target,
    /// How many threads of the surrounding pool share the work.
    threads: usize,
}

/// The weights, for the kernels that read them.
#[derive(Debug)]
enum Packed {
    Dense(Weights),
    Depthwise(DepthwiseWeights),
}

impl Packed {
    /// `None` if a sum could overflow.
    fn new(convolution: &reading::Convolution, set: InstructionSet) -> Option<Self> {
        let reading::Convolution { input, outputs, depthwise, window, .. } = convolution;
        let (bias, zero_point): (Vec<i32>, _) = (outputs.iter().map(|output| output.bias).collect(), input.meaning.zero_point);
        if *depthwise {
            let rows: Vec<Vec<i8>> = outputs.iter().map(|output| output.weights.clone()).collect();
            return DepthwiseWeights::pack(set, &rows, &bias, zero_point).map(Self::Depthwise);
        }
        let order = reading_order(input, window.kernel);
        let rows: Vec<Vec<i8>> = outputs
            .iter()
            .map(|output| {
                let at = |&(channel, row, column): &(usize, usize, usize)| {
                    output.weights[(channel * window.kernel + row) * window.kernel + column]
                };
                order.iter().map(|tap| tap.as_ref().map_or(0, at)).collect()
            })
            .collect();
        Weights::pack(set, &rows, &bias, zero_point).map(Self::Dense)
    }

    /// How many blocks of [`BLOCK`] output channels there are.
    fn blocks(&self) -> usize {
        match self {
            Self::Dense(weights) => weights.blocks(),
            Self::Depthwise(weights) => weights.blocks(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Dense(weights) => weights.bytes(),
            Self::Depthwise(weights) => weights.bytes(),
        }
    }

    fn convolve(&self, blocks: Range<usize>, readings: &[Reading], pixels: usize, writing: &mut Writing) {
        match self {
            Self::Dense(weights) => kernels::convolve(weights, blocks, readings, pixels, writing),
            Self::Depthwise(weights) => kernels::convolve_depthwise(weights, blocks, readings, pixels, writing),
        }
    }
}

/// What the sums become.
#[derive(Clone, Debug)]
enum Target {
    /// A picture of bytes.
    Bytes { quantizing: Arc<Quantizing>, residual: Option<Added> },
    /// Floats, NCHW, each sum times its channel's multiplier.
    Floats { multipliers: Arc<Vec<f32>> },
}

#[derive(Clone, Copy, Debug)]
struct Added {
    zero_point: u8,
    factor: f32,
}

// Tract compares operators to find nodes that do the same; two of ours never do.
impl PartialEq for Int8Convolution {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.weights, &other.weights)
    }
}

impl Eq for Int8Convolution {}

/// Whether the kernels can read a convolution's view in place.
fn readable(convolution: &reading::Convolution) -> bool {
    let reading::Convolution { input, depthwise, window: Window { kernel, stride, .. }, width, .. } = convolution;
    let readings = |part: &Part| if !depthwise && consecutive(part) { *kernel } else { kernel * kernel };
    let few = input.parts.iter().map(readings).sum::<usize>() <= READINGS_MAX;
    // Every second pixel of a row at a time.
    let upsampled = input.parts.iter().any(|part| part.upsampled);
    let halved = !upsampled || *kernel >= 3 && *stride == 1 && width % 2 == 0;
    few && halved && (!depthwise || input.parts.len() == 1)
}

/// Whether a row of a window is one stretch of bytes.
fn consecutive(part: &Part) -> bool {
    !part.upsampled && part.first == 0 && part.channels == part.stored.stride()
}

/// For each quad of input bytes that a pixel reads, in order: the (input channel, row, column) of its weights, where there are any.
fn reading_order(view: &View, kernel: usize) -> Vec<Option<(usize, usize, usize)>> {
    let mut order = Vec::new();
    let mut channel = 0;
    for part in &view.parts {
        for row in 0..kernel {
            for column in 0..kernel {
                order.extend((0..part.channels).map(|c| Some((channel + c, row, column))));
                if !consecutive(part) || column + 1 == kernel {
                    order.resize(order.len().next_multiple_of(QUAD), None);
                }
            }
        }
        channel += part.channels;
    }
    order
}

impl Int8Convolution {
    /// The operator for `convolution`, whose sums become bytes by `quantization` (within limits, and with a residual's bytes added) or floats.
    /// `None` if the kernels cannot read its view in place, or a sum could overflow.
    pub(super) fn new(
        convolution: &reading::Convolution,
        quantized: Option<(reading::Quantization, Limits, Option<&View>)>,
        set: InstructionSet,
        threads: usize,
    ) -> Option<Self> {
        let reading::Convolution { input, outputs, window, height, width, .. } = convolution;
        // A picture of a single channel has no room for the blocks of channels that the kernels write.
        if !readable(convolution) || quantized.is_some() && outputs.len() == 1 {
            return None;
        }
        let weights = Arc::new(Packed::new(convolution, set)?);
        let factor = quantized.as_ref().map_or(1.0, |(quantization, ..)| quantization.factor);
        // Channels that only fill up a block meet zero weights wherever they are read.
        let mut multipliers: Vec<f32> = outputs.iter().map(|output| input.meaning.scale * output.scale * factor).collect();
        multipliers.resize(weights.blocks() * BLOCK, 0.0);
        if multipliers.iter().any(|m| !m.is_finite()) {
            return None;
        }
        let target = match quantized {
            Some((quantization, Limits { low, high }, residual)) => {
                let residual =
                    residual.map(|view| Added { zero_point: view.meaning.zero_point, factor: view.meaning.scale * quantization.factor });
                if residual.is_some_and(|residual| !residual.factor.is_finite()) {
                    return None;
                }
                Target::Bytes { quantizing: Arc::new(Quantizing { multipliers, zero_point: quantization.zero_point, low, high }), residual }
            }
            None => Target::Floats { multipliers: Arc::new(multipliers) },
        };
        let to = Layout { channels: outputs.len(), height: *height, width: *width };
        Some(Self { parts: input.parts.clone(), window: *window, weights, to, target, threads })
    }

    /// How much memory its packed weights take, in bytes.
    pub(super) fn weight_bytes(&self) -> usize {
        self.weights.bytes()
    }

    fn output(&self) -> TractResult<Tensor> {
        match &self.target {
            // The border stays what it is here: the zero point.
            Target::Bytes { quantizing, .. } => tensor0(quantizing.zero_point).broadcast_to_shape(&[self.to.bytes()]),
            Target::Floats { .. } => Tensor::zero::<f32>(&[1, self.to.channels, self.to.height, self.to.width]),
        }
    }

    /// Every how many pixels of a row the kernels go, so that all parts are read with constant steps.
    fn columns(&self) -> usize {
        if self.parts.iter().any(|part| part.upsampled) { 2 } else { 1 }
    }

    /// What the pixels `column`, `column + columns` and so on of row `y` read.
    fn readings<'a>(&self, pictures: &[&'a [u8]], y: usize, column: usize, readings: &mut [Reading<'a>; READINGS_MAX]) -> usize {
        let Window { kernel, stride, before: [top, left] } = self.window;
        let mut count = 0;
        for (part, &bytes) in self.parts.iter().zip(pictures) {
            let pixel = part.stored.stride();
            let place = |at: usize, tap: usize, before: usize| {
                let at = (at * stride + tap) as isize - before as isize;
                if part.upsampled { at.div_euclid(2) } else { at }
            };
            let step = pixel * if part.upsampled { 1 } else { self.columns() * stride };
            let (taps, length) = match &*self.weights {
                Packed::Dense(_) if consecutive(part) => (1, (kernel * part.channels).div_ceil(QUAD)),
                Packed::Dense(_) => (kernel, part.channels.div_ceil(QUAD)),
                Packed::Depthwise(weights) => (kernel, weights.blocks() * BLOCK / QUAD),
            };
            for row in 0..kernel {
                // Two rows above the picture are what one row above it is.
                let y = place(y, row, top).clamp(-1, part.stored.height as isize);
                for tap in 0..taps {
                    let offset = part.stored.offset(y, place(column, tap, left)) + part.first;
                    readings[count] = Reading { bytes, offset, step, quads: length };
                    count += 1;
                }
            }
        }
        count
    }

    fn run(&self, inputs: &[&[u8]], output: &mut Tensor) -> TractResult<()> {
        let mut output = output.try_as_plain_ram_mut()?;
        let (rows, blocks) = (0..self.to.height, 0..self.weights.blocks());
        let pixels = self.to.width / self.columns();
        match &self.target {
            Target::Bytes { quantizing, residual } => {
                let row = self.to.row();
                let inner = &mut output.as_slice_mut::<u8>()?[self.to.offset(0, -1)..][..self.to.height * row];
                share(self.threads, rows, row, inner, &|rows: Range<usize>, bytes: &mut [u8]| {
                    let start = self.to.offset(rows.start as isize, -1);
                    self.each_row(inputs, rows, |y, column, readings| {
                        let place = self.to.offset(y as isize, column as isize);
                        let step = self.columns() * self.to.stride();
                        let residual = residual.map(|Added { zero_point, factor }| Residual {
                            bytes: inputs[self.parts.len()],
                            offset: place,
                            step,
                            zero_point,
                            factor,
                        });
                        let mut writing = Writing::Bytes { bytes, offset: place - start, step, quantizing, residual };
                        self.weights.convolve(blocks.clone(), readings, pixels, &mut writing);
                    });
                });
            }
            // The rows of a plane belong to one channel, so here the channels are shared.
            Target::Floats { multipliers } => {
                let plane = self.to.height * self.to.width;
                share(self.threads, blocks, BLOCK * plane, output.as_slice_mut::<f32>()?, &|blocks: Range<usize>, floats: &mut [f32]| {
                    let channels = floats.len() / plane;
                    self.each_row(inputs, rows.clone(), |y, column, readings| {
                        let (offset, step) = (y * self.to.width + column, self.columns());
                        let mut writing = Writing::Floats { floats, offset, step, plane, channels, multipliers };
                        self.weights.convolve(blocks.clone(), readings, pixels, &mut writing);
                    });
                });
            }
        }
        Ok(())
    }

    /// Calls `work` for each row, and in it for each column to start from, with what the pixels from there on read.
    fn each_row(&self, inputs: &[&[u8]], rows: Range<usize>, mut work: impl FnMut(usize, usize, &[Reading])) {
        for y in rows {
            for column in 0..self.columns() {
                let mut readings = [Reading::default(); READINGS_MAX];
                let count = self.readings(&inputs[..self.parts.len()], y, column, &mut readings);
                work(y, column, &readings[..count]);
            }
        }
    }
}

impl Op for Int8Convolution {
    fn name(&self) -> StaticName {
        "Int8Convolution".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Int8Convolution {
    not_out_of_plan!();

    fn state(&self, _: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        Ok(Some(Box::new(Running { output: Recycled::new(self.output()?) })))
    }
}

impl TypedOp for Int8Convolution {
    as_op!();

    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(match self.target {
            Target::Bytes { .. } => self.to.fact(),
            Target::Floats { .. } => f32::fact([1, self.to.channels, self.to.height, self.to.width]),
        }))
    }
}

/// The output of one convolution of one running network.
#[derive(Clone, Debug)]
struct Running {
    output: Recycled,
}

impl OpState for Running {
    fn eval(&mut self, _: &EvalContext, op: &dyn Op, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let op = op.downcast_ref::<Int8Convolution>().context("the state of another operator")?;
        let views = inputs.iter().map(|input| input.try_as_plain_ram()).collect::<TractResult<TVec<_>>>()?;
        let bytes = views.iter().map(|view| view.as_slice::<u8>()).collect::<TractResult<TVec<_>>>()?;
        let output = self.output.free();
        op.run(&bytes, Arc::get_mut(output).context("the output is free")?)?;
        Ok(tvec!(TValue::from_const(output.clone())))
    }

    fn reset_lanes(&mut self, _: &[LaneId]) -> TractResult<()> {
        Ok(())
    }
}
