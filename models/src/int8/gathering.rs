//! Channels of several stored pictures in one.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

use super::layout::{Layout, Recycled};
use super::reading::Part;

/// Copies channels side by side, for a kernel that cannot read them where they are. Its inputs are the pictures of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gathering {
    parts: Vec<Part>,
    /// What the border holds.
    border: u8,
    to: Layout,
}

impl Gathering {
    /// The parts together have the channels of `to`.
    pub(super) fn new(parts: Vec<Part>, border: u8, to: Layout) -> Self {
        Self { parts, border, to }
    }

    fn run(&self, inputs: &[&[u8]], output: &mut [u8]) {
        let mut first = 0;
        for (part, bytes) in self.parts.iter().zip(inputs) {
            for y in 0..self.to.height {
                for x in 0..self.to.width {
                    let halved = |at: usize| if part.upsampled { at / 2 } else { at } as isize;
                    let from = &bytes[part.stored.offset(halved(y), halved(x)) + part.first..][..part.channels];
                    output[self.to.offset(y as isize, x as isize) + first..][..part.channels].copy_from_slice(from);
                }
            }
            first += part.channels;
        }
    }
}

impl Op for Gathering {
    fn name(&self) -> StaticName {
        "Int8Gathering".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Gathering {
    not_out_of_plan!();

    fn state(&self, _: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        let border = tensor0(self.border).broadcast_to_shape(&[self.to.bytes()])?;
        Ok(Some(Box::new(Running { output: Recycled::new(border) })))
    }
}

impl TypedOp for Gathering {
    as_op!();

    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(self.to.fact()))
    }
}

/// The output of one gathering of one running network.
#[derive(Clone, Debug)]
struct Running {
    output: Recycled,
}

impl OpState for Running {
    fn eval(&mut self, _: &EvalContext, op: &dyn Op, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let op = op.downcast_ref::<Gathering>().context("the state of another operator")?;
        let views = inputs.iter().map(|input| input.try_as_plain_ram()).collect::<TractResult<TVec<_>>>()?;
        let bytes = views.iter().map(|view| view.as_slice::<u8>()).collect::<TractResult<TVec<_>>>()?;
        let output = self.output.free();
        let tensor = Arc::get_mut(output).context("the output is free")?;
        op.run(&bytes, tensor.try_as_plain_ram_mut()?.as_slice_mut::<u8>()?);
        Ok(tvec!(TValue::from_const(output.clone())))
    }

    fn reset_lanes(&mut self, _: &[LaneId]) -> TractResult<()> {
        Ok(())
    }
}
