//! The workshop: packs photos and clips, trains recurrent U-Nets with Burn, and exports int8 ONNX.
//!
//! Shape letters: B batch (lanes), T time (frames of a chunk), C channels, Q bins, H W the input's size, h w the output's.

pub mod checkpoint;
pub mod classical;
pub mod config;
pub mod data;
pub mod decodes;
pub mod evaluate;
pub mod experiments;
pub mod export;
pub mod figure;
pub mod files;
pub mod filmstrip;
pub mod follow;
mod lock;
pub mod losses;
pub mod metrics;
pub mod nets;
mod normals;
pub mod plot;
pub mod pretrained;
pub mod report;
pub mod run_folder;
pub mod schedule;
pub mod survey;
pub mod train;
pub mod warm_start;
