//! Operators that only move values: found by showing them numbers.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;

use super::layout::Layout;
use super::reading::{constant, floats, picture};

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
