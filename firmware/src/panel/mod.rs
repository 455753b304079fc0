//! The panel: a knob box on a serial line. What is said on the line is in `docs/panel.md`.
//!
//! [`mod@line`] knows where a line begins and ends and whether it came over whole, [`standing`] what the settings stand at, [`protocol`] what is
//! asked and answered; all three are pure. [`port`] alone knows the serial port, and [`simulator`] plays a box on a pseudo-terminal.

pub mod line;
pub mod port;
pub mod protocol;
pub mod simulator;
pub mod standing;
