//! How an 8-bit activation lies in memory between our operators.

use std::sync::Arc;

use tract_onnx::prelude::*;

use super::kernels::BLOCK;

/// A picture of 8-bit channels, channels innermost (NHWC), with a border of one pixel around it that holds the zero point: what a 3x3 window at
/// the edge reads.
///
/// A 5x5 window reaches one pixel further. To the sides, that is the border at the other end of the row before or after, and one more such pixel lies
/// in front of the first row and behind the last; above and below, it reads the border's row again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

/// Bytes behind the last pixel: a kernel may read up to three beyond what it uses.
const SLACK: usize = 16;

impl Layout {
    /// From one pixel to the next: whole blocks, so that a kernel can write them, but for a picture of a single channel, which none writes.
    pub(super) fn stride(&self) -> usize {
        if self.channels == 1 { 1 } else { self.channels.next_multiple_of(BLOCK) }
    }

    /// From one row to the next.
    pub(super) fn row(&self) -> usize {
        (self.width + 2) * self.stride()
    }

    /// Where the pixel in row `y` and column `x` starts; -1 and the height or width are the border, and one column more on each side is, too.
    pub(super) fn offset(&self, y: isize, x: isize) -> usize {
        (y + 1) as usize * self.row() + (x + 2) as usize * self.stride()
    }

    /// All of it.
    pub(super) fn bytes(&self) -> usize {
        (self.height + 2) * self.row() + 2 * self.stride() + SLACK
    }

    /// What Tract is told: it moves these tensors, and only our operators look inside.
    pub(super) fn fact(&self) -> TypedFact {
        u8::fact([self.bytes()])
    }
}

/// An operator's output tensor, used again from frame to frame. Two take turns, as the last frame's may still be held by whoever reads it.
#[derive(Clone, Debug)]
pub(super) struct Recycled {
    tensors: [Arc<Tensor>; 2],
}

impl Recycled {
    /// Tensors that are copies of `content`.
    pub(super) fn new(content: Tensor) -> Self {
        let other = Arc::new(content.clone());
        Self { tensors: [Arc::new(content), other] }
    }

    /// A tensor that nobody else holds; if both are held, a copy. It keeps what was written into it before.
    pub(super) fn free(&mut self) -> &mut Arc<Tensor> {
        if Arc::get_mut(&mut self.tensors[0]).is_none() {
            self.tensors.swap(0, 1);
        }
        Arc::make_mut(&mut self.tensors[0]);
        &mut self.tensors[0]
    }
}
