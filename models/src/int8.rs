//! The int8 parts of a network at the speed of the processor: a pass over Tract's typed model that puts our own operators in the place of what
//! the exported QDQ form spells out (DequantizeLinear, Conv, Add, Relu, Clip, QuantizeLinear, and the concatenations, slices and nearest upsamplings
//! between them). Everything else, the float gates and whatever does not match, stays Tract's.
//!
//! [`reading`](self::reading) finds out what the graph says, [`fusing`](self::fusing) rewrites it; [`convolution`](self::convolution),
//! [`adding`](self::adding), [`gathering`](self::gathering) and [`packing`](self::packing) are the operators, [`kernels`](self::kernels) the
//! convolution's inner loops.

mod adding;
mod convolution;
mod elementwise;
mod fusing;
mod gathering;
mod kernels;
mod layout;
mod moving;
mod packing;
mod reading;
mod weights;

pub use fusing::Fused;
pub(crate) use fusing::fuse;
pub use kernels::InstructionSet;
