//! From photographs and films to chunks of training data; knows files and colors, and nothing of Burn.
//!
//! [`pack`](pack::pack) decodes folders of photos, folders of clips and video files once, into memory-mapped shards ([`shard`]); [`lanes`]
//! plays the packed pictures as `B` parallel camera feeds. A photograph becomes a short film through a synthetic camera
//! ([`still_camera`]), and every feed passes through one imperfect grey camera ([`degrade`]).
//!
//! Shape letters: `B` lanes (batch), `T` frames of a chunk, `H` and `W` the net's input size, `h` and `w` the size of its color output.

pub mod degrade;
pub mod lanes;
pub mod pack;
pub mod shard;
pub mod split;
pub mod still_camera;

pub use degrade::DegradeConfig;
pub use lanes::{Chunk, LaneConfig, Lanes, Order, Prefetch};
pub use pack::{InputKind, PackConfig, PackInput, PackSummary, pack};
pub use shard::{Item, ItemKind, PackedSet};
pub use split::{Split, split_of};
pub use still_camera::MotionConfig;
