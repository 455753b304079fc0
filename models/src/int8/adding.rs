//! The sum of two stored pictures of bytes, as a third.

use std::ops::Range;
use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

use super::layout::{Layout, Recycled};
use super::reading::{Limits, Meaning, Part, Quantization};
use crate::crew::share;
use crate::vector::vectorized;

/// Adds two pictures of the same size, whose bytes may mean different things: what a residual connection is whose branches are quantized each.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sum {
    terms: [(Part, Meaning); 2],
    quantization: Quantization,
    limits: Limits,
    to: Layout,
    /// How many threads of the surrounding pool share the work.
    threads: usize,
}

impl Eq for Sum {}

impl Sum {
    /// The sum of `terms`, none of which is upsampled, as a picture of the size of `to`.
    pub(super) fn new(terms: [(Part, Meaning); 2], quantization: Quantization, limits: Limits, to: Layout, threads: usize) -> Self {
        Self { terms, quantization, limits, to, threads }
    }

    fn run(&self, inputs: [&[u8]; 2], output: &mut [u8]) {
        let row = self.to.row();
        let inner = &mut output[self.to.offset(0, -1)..][..self.to.height * row];
        share(self.threads, 0..self.to.height, row, inner, &|rows: Range<usize>, bytes: &mut [u8]| {
            for (y, bytes) in rows.zip(bytes.chunks_exact_mut(row)) {
                self.row(inputs, y as isize, &mut bytes[self.to.stride()..][..self.to.width * self.to.stride()]);
            }
        });
    }

    /// One row, from its first pixel to its last.
    fn row(&self, inputs: [&[u8]; 2], y: isize, to: &mut [u8]) {
        let [(a, a_meaning), (b, b_meaning)] = self.terms;
        let from = |index: usize, part: Part, x: usize| &inputs[index][part.stored.offset(y, x as isize) + part.first..];
        let add = |a: &[u8], b: &[u8], to: &mut [u8]| {
            vectorized(
                #[inline(always)]
                || {
                    for ((to, &a), &b) in to.iter_mut().zip(a).zip(b) {
                        let byte = self.quantization.byte(a_meaning.value(a) + b_meaning.value(b));
                        *to = byte.max(self.limits.low).min(self.limits.high);
                    }
                },
            );
        };
        let stride = self.to.stride();
        if [a, b].iter().all(|part| part.first == 0 && part.stored.stride() == stride) {
            // With the channels that only fill up a block, whose sums nobody reads.
            return add(from(0, a, 0), from(1, b, 0), to);
        }
        for (x, to) in to.chunks_exact_mut(stride).enumerate() {
            add(from(0, a, x), from(1, b, x), &mut to[..self.to.channels]);
        }
    }
}

impl Op for Sum {
    fn name(&self) -> StaticName {
        "Int8Sum".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Sum {
    not_out_of_plan!();

    fn state(&self, _: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        let border = tensor0(self.quantization.zero_point).broadcast_to_shape(&[self.to.bytes()])?;
        Ok(Some(Box::new(Running { output: Recycled::new(border) })))
    }
}

impl TypedOp for Sum {
    as_op!();

    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(self.to.fact()))
    }
}

/// The output of one sum of one running network.
#[derive(Clone, Debug)]
struct Running {
    output: Recycled,
}

impl OpState for Running {
    fn eval(&mut self, _: &EvalContext, op: &dyn Op, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let op = op.downcast_ref::<Sum>().context("the state of another operator")?;
        let [a, b] = [inputs[0].try_as_plain_ram()?, inputs[1].try_as_plain_ram()?];
        let output = self.output.free();
        let tensor = Arc::get_mut(output).context("the output is free")?;
        op.run([a.as_slice::<u8>()?, b.as_slice::<u8>()?], tensor.try_as_plain_ram_mut()?.as_slice_mut::<u8>()?);
        Ok(tvec!(TValue::from_const(output.clone())))
    }

    fn reset_lanes(&mut self, _: &[LaneId]) -> TractResult<()> {
        Ok(())
    }
}
