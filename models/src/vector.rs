//! Loops as wide as the processor at hand.

use fearless_simd::{Level, Simd, dispatch};

/// Runs `work` as it was compiled for the widest vector instructions that this processor has. Only what is inlined into `work` is compiled so:
/// it, and the functions with loops that it calls, need `#[inline(always)]`.
///
/// On x86-64 this is more than speed of its own. Tract's kernels leave the upper halves of the vector registers in use, and until those are
/// cleared, as such a function does when it returns, the instructions that every x86-64 has wait for each other, three to four times as long.
#[inline(always)]
pub(crate) fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    dispatch!(Level::new(), simd => simd.vectorize(work))
}
