//! Autochrome's device program: a grey feed in, a colored picture out, frame after frame.
//!
//! [`input`] is where frames come from, [`coloring`] is what happens to each, [`output`] is where pictures go, and [`pipeline`] joins the
//! three by channels on named threads. [`run`], [`demo`], [`colorize`] and [`mod@bench`] are what the program can be asked to do, and [`cli`] is
//! how it is asked. Each outside world is touched in one room: V4L2 in `input::camera`, HTTP in `output::page`, the serial port in
//! [`panel`].

pub mod bench;
pub mod calibrate;
pub mod cli;
pub mod coloring;
pub mod colorize;
pub mod config;
pub mod cuts;
pub mod demo;
pub mod doctor;
pub mod errors;
pub mod files;
pub mod input;
pub mod kiosk;
pub mod list_cameras;
pub mod model;
pub mod newest;
pub mod output;
pub mod panel;
pub mod pipeline;
pub mod placard;
pub mod record;
pub mod recording;
pub mod remote;
pub mod run;
pub mod scene;
pub mod settings;
pub mod showing;
pub mod statistics;
pub mod status;
pub mod thermal;
pub mod y4m;
