//! The panel: a knob box on a serial line.

pub mod simulator;
