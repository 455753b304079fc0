//! From photographs and films to chunks of training data; knows files and colors, and nothing of Burn.
//!
//! [`pack`](pack::pack) decodes what `import` finds in folders, published collections and video files once, into memory-mapped shards
//! ([`shard`]), at once or in parts that [`part`] merges; [`prior`] counts the packed colors; [`lanes`] plays the packed pictures as `B`
//! parallel camera feeds. A photograph becomes a short film through a synthetic camera ([`still_camera`]), and every feed passes through one
//! imperfect grey camera ([`degrade`]).
//!
//! Shape letters: `B` lanes (batch), `T` frames of a chunk, `H` and `W` the net's input size, `h` and `w` the size of its color output.

pub mod ab_chart;
mod claim;
pub mod degrade;
pub mod flow;
mod import;
mod lane_config;
pub mod lanes;
pub mod pack;
pub mod part;
pub mod prefetch;
pub mod prior;
pub mod shard;
pub mod soft_colors;
pub mod split;
pub mod still_camera;
mod target;
mod writer;

pub(crate) use import::{is_picture, list, open_picture};

pub use degrade::DegradeConfig;
pub use flow::Flow;
pub use lanes::{Chunk, LaneConfig, Lanes, Order};
pub use pack::{InputKind, PackConfig, PackInput, PackSummary, pack};
pub use prefetch::Prefetch;
pub use shard::{Item, ItemKind, PackedSet};
pub use soft_colors::{SoftColors, SoftEncoding};
pub use split::{Split, split_of};
pub use still_camera::MotionConfig;
