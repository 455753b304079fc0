//! From floats, or from bytes with another meaning, to a stored picture of bytes; and from stored pictures to floats.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

use super::kernels::BLOCK;
use super::layout::{Layout, Recycled};
use super::reading::{Meaning, Part, Quantization, View};
use crate::vector::vectorized;

/// Makes a stored picture of floats, NCHW, or of another stored picture's bytes: its one input.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Packing {
    from: From,
    quantization: Quantization,
    to: Layout,
}

/// Pixels that are turned from rows into channels at once.
const TURNED: usize = 32;

/// What is packed.
#[derive(Clone, Debug, PartialEq)]
enum From {
    Floats,
    Bytes { part: Part, meaning: Meaning },
}

impl Eq for Packing {}

impl Packing {
    /// The packing of floats of the size of `to`.
    pub(super) fn of_floats(quantization: Quantization, to: Layout) -> Self {
        Self { from: From::Floats, quantization, to }
    }

    /// The packing of the bytes of `part`, as they are stored.
    pub(super) fn of_bytes(part: Part, meaning: Meaning, quantization: Quantization, to: Layout) -> Self {
        Self { from: From::Bytes { part, meaning }, quantization, to }
    }

    fn run(&self, input: &TValue, output: &mut [u8]) -> TractResult<()> {
        let (stride, width) = (self.to.stride(), self.to.width);
        let plain = input.try_as_plain_ram()?;
        match &self.from {
            From::Floats => {
                let floats = plain.as_slice::<f32>()?;
                let plane = self.to.height * width;
                for y in 0..self.to.height {
                    let to = &mut output[self.to.offset(y as isize, 0)..][..width * stride];
                    let rows = floats[y * width..].chunks(plane).take(self.to.channels).map(|plane| &plane[..width]);
                    vectorized(
                        #[inline(always)]
                        || quantize_rows(rows, self.quantization, to, stride),
                    );
                }
            }
            From::Bytes { part, meaning } => {
                let bytes = plain.as_slice::<u8>()?;
                for y in 0..self.to.height as isize {
                    for x in 0..width as isize {
                        let from = &bytes[part.stored.offset(y, x) + part.first..][..part.channels];
                        requantize(from, *meaning, self.quantization, &mut output[self.to.offset(y, x)..][..part.channels]);
                    }
                }
            }
        }
        Ok(())
    }
}

/// One row of each channel, to pixels of `stride` bytes.
#[inline(always)]
fn quantize_rows<'a>(rows: impl Iterator<Item = &'a [f32]>, quantization: Quantization, to: &mut [u8], stride: usize) {
    let mut rows = rows.peekable();
    let mut first = 0;
    // A block of channels and a few pixels at a time: quantized along the rows, and then turned.
    let mut block = [[0_u8; TURNED]; BLOCK];
    while rows.peek().is_some() {
        let mut group = [&[][..]; BLOCK];
        let count = group.iter_mut().zip(&mut rows).map(|(to, row)| *to = row).count();
        if stride == 1 {
            for (to, &value) in to.iter_mut().zip(group[0]) {
                *to = quantization.byte(value);
            }
            return;
        }
        for start in (0..group[0].len()).step_by(TURNED) {
            for (bytes, row) in block.iter_mut().zip(&group[..count]) {
                for (to, &value) in bytes.iter_mut().zip(&row[start..]) {
                    *to = quantization.byte(value);
                }
            }
            for (x, pixel) in to[start * stride..].chunks_exact_mut(stride).take(TURNED).enumerate() {
                let pixel: &mut [u8; BLOCK] = (&mut pixel[first..][..BLOCK]).try_into().expect("whole blocks");
                for (to, bytes) in pixel.iter_mut().zip(&block) {
                    *to = bytes[x];
                }
            }
        }
        first += BLOCK;
    }
}

fn requantize(from: &[u8], meaning: Meaning, quantization: Quantization, to: &mut [u8]) {
    vectorized(
        #[inline(always)]
        || {
            for (to, &byte) in to.iter_mut().zip(from) {
                *to = quantization.byte(meaning.value(byte));
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
        let View { parts, meaning, height, width } = &self.view;
        let plane = height * width;
        let mut first = 0;
        for (part, input) in parts.iter().zip(inputs) {
            let plain = input.try_as_plain_ram()?;
            let bytes = plain.as_slice::<u8>()?;
            for y in 0..*height {
                for x in 0..*width {
                    let halved = |at: usize| if part.upsampled { at / 2 } else { at } as isize;
                    let from = &bytes[part.stored.offset(halved(y), halved(x)) + part.first..][..part.channels];
                    for (channel, &byte) in from.iter().enumerate() {
                        output[(first + channel) * plane + y * width + x] = meaning.value(byte);
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
            op.run(&inputs[0], plain.as_slice_mut::<u8>()?)?;
        } else {
            op.downcast_ref::<Unpacking>().context("the state of another operator")?.run(&inputs, plain.as_slice_mut::<f32>()?)?;
        }
        Ok(tvec!(TValue::from_const(output.clone())))
    }

    fn reset_lanes(&mut self, _: &[LaneId]) -> TractResult<()> {
        Ok(())
    }
}
