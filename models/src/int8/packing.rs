//! From floats, or from bytes with another meaning, to a stored picture of bytes; and from stored pictures to floats.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

use super::layout::{Layout, Recycled};
use super::reading::{Part, Quantization, Source, View};
use crate::vector::vectorized;

/// Puts channels side by side into one stored picture. Its inputs are what its pieces read, in their order.
#[derive(Clone, Debug)]
pub(super) struct Packing {
    pieces: Vec<Piece>,
    quantization: Quantization,
    to: Layout,
}

/// Consecutive channels of a picture that is packed.
#[derive(Clone, Debug)]
enum Piece {
    /// Floats, NCHW.
    Floats { channels: usize },
    /// Stored bytes, each replaced by what stands for it in a table.
    Bytes { part: Part, table: Arc<[u8; 256]> },
}

// Tract compares operators to find nodes that do the same; it may take two of ours for different.
impl PartialEq for Packing {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Packing {}

impl Packing {
    /// The operator for `sources` side by side, as bytes by `quantization`.
    pub(super) fn new(sources: &[Source], quantization: Quantization, to: Layout) -> Self {
        let pieces = sources
            .iter()
            .flat_map(|source| match source {
                Source::Floats { channels, .. } => vec![Piece::Floats { channels: *channels }],
                Source::Bytes { view } => {
                    let table = Arc::new(quantization.table(view.scale, view.zero_point));
                    view.parts.iter().map(|&part| Piece::Bytes { part, table: table.clone() }).collect()
                }
            })
            .collect();
        Self { pieces, quantization, to }
    }

    fn run(&self, inputs: &[TValue], output: &mut [u8]) -> TractResult<()> {
        let (stride, width) = (self.to.stride(), self.to.width);
        let mut channel = 0;
        for (piece, input) in self.pieces.iter().zip(inputs) {
            match piece {
                Piece::Floats { channels } => {
                    let plain = input.try_as_plain_ram()?;
                    let floats = plain.as_slice::<f32>()?;
                    for (c, plane) in floats.chunks_exact(self.to.height * width).enumerate().take(*channels) {
                        for (y, row) in plane.chunks_exact(width).enumerate() {
                            let start = self.to.offset(y as isize, 0) + channel + c;
                            quantize_row(row, self.quantization, &mut output[start..], stride);
                        }
                    }
                    channel += channels;
                }
                Piece::Bytes { part, table } => {
                    let plain = input.try_as_plain_ram()?;
                    let bytes = plain.as_slice::<u8>()?;
                    for y in 0..self.to.height {
                        for x in 0..width {
                            let from = &bytes[position(part, y, x)..][..part.channels];
                            let to = &mut output[self.to.offset(y as isize, x as isize) + channel..][..part.channels];
                            to.iter_mut().zip(from).for_each(|(to, &from)| *to = table[usize::from(from)]);
                        }
                    }
                    channel += part.channels;
                }
            }
        }
        Ok(())
    }
}

/// Where a part's channels of the pixel at (`y`, `x`) of its view start.
fn position(part: &Part, y: usize, x: usize) -> usize {
    let halved = |at: usize| if part.upsampled { at / 2 } else { at } as isize;
    part.stored.offset(halved(y), halved(x)) + part.first
}

fn quantize_row(row: &[f32], quantization: Quantization, output: &mut [u8], stride: usize) {
    vectorized(
        #[inline(always)]
        || {
            // Said apart, it becomes a loop of vectors.
            if stride == 1 {
                output.iter_mut().zip(row).for_each(|(to, &value)| *to = quantization.byte(value));
            } else {
                output.iter_mut().step_by(stride).zip(row).for_each(|(to, &value)| *to = quantization.byte(value));
            }
        },
    );
}

impl Op for Packing {
    fn name(&self) -> StaticName {
        "Int8Packing".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Packing {
    not_out_of_plan!();

    fn state(&self, _: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        let border = tensor0(self.quantization.zero_point).broadcast_to_shape(&[self.to.bytes()])?;
        Ok(Some(Box::new(Running { output: Recycled::new(border) })))
    }
}

impl TypedOp for Packing {
    as_op!();

    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(self.to.fact()))
    }
}

/// Stored pictures as floats, NCHW: for what is left to Tract. Its inputs are the pictures of the view's parts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unpacking {
    pub(super) view: View,
}

impl Eq for Unpacking {}

impl Unpacking {
    fn shape(&self) -> [usize; 4] {
        [1, self.view.channels(), self.view.height, self.view.width]
    }

    fn run(&self, inputs: &[TValue], output: &mut [f32]) -> TractResult<()> {
        let View { parts, scale, zero_point, height, width } = &self.view;
        let plane = height * width;
        let mut first = 0;
        for (part, input) in parts.iter().zip(inputs) {
            let plain = input.try_as_plain_ram()?;
            let bytes = plain.as_slice::<u8>()?;
            for y in 0..*height {
                for x in 0..*width {
                    let from = &bytes[position(part, y, x)..][..part.channels];
                    for (channel, &byte) in from.iter().enumerate() {
                        output[(first + channel) * plane + y * width + x] = (f32::from(byte) - f32::from(*zero_point)) * scale;
                    }
                }
            }
            first += part.channels;
        }
        Ok(())
    }
}

impl Op for Unpacking {
    fn name(&self) -> StaticName {
        "Int8Unpacking".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Unpacking {
    not_out_of_plan!();

    fn state(&self, _: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        Ok(Some(Box::new(Running { output: Recycled::new(Tensor::zero::<f32>(&self.shape())?) })))
    }
}

impl TypedOp for Unpacking {
    as_op!();

    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(self.shape())))
    }
}

/// The output of one operator of this module in one running network.
#[derive(Clone, Debug)]
struct Running {
    output: Recycled,
}

impl OpState for Running {
    fn eval(&mut self, _: &EvalContext, op: &dyn Op, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let output = self.output.free();
        let tensor = Arc::get_mut(output).context("the output is free")?;
        let mut plain = tensor.try_as_plain_ram_mut()?;
        if let Some(op) = op.downcast_ref::<Packing>() {
            op.run(&inputs, plain.as_slice_mut::<u8>()?)?;
        } else {
            op.downcast_ref::<Unpacking>().context("the state of another operator")?.run(&inputs, plain.as_slice_mut::<f32>()?)?;
        }
        Ok(tvec!(TValue::from_const(output.clone())))
    }

    fn reset_lanes(&mut self, _: &[LaneId]) -> TractResult<()> {
        Ok(())
    }
}
