//! What an Autochrome colorizer model is, and how to run one: the contract that the trainer and the device share.
//!
//! [`color`], [`planes`] and [`bins`] are numbers only. [`contract`] says what a model file holds; [`colorizer`] runs it on Tract;
//! [`painter`] goes from a camera's luma plane to a colored picture of the same size.

pub mod bins;
pub mod color;
pub mod colorizer;
mod composer;
mod constants;
pub mod contract;
mod crew;
mod guide;
mod int8;
pub mod painter;
mod picture;
pub mod planes;
#[cfg(test)]
mod reference;
mod vector;

pub use bins::Decode;
pub use color::{LumaRange, Tone};
pub use colorizer::{Colorizer, ModelError, Runtime};
pub use contract::{Card, Contract, ContractError, Output};
pub use int8::{Fused, InstructionSet};
pub use painter::{Painter, Stage, Step};
pub use picture::Picture;
pub use planes::{Chroma, Placement, Plane};
