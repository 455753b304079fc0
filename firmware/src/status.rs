//! How the device is doing, for everybody who wants to tell: the page, the panel, the metrics, the service manager.

use serde::Serialize;

use crate::kiosk::Pulses;
use crate::newest::Newest;
use crate::statistics::Snapshot;

/// What the run's threads say of themselves, each in a slot of its own.
#[derive(Debug, Default)]
pub struct Status {
    /// From the outputs thread, with every picture.
    pub snapshot: Newest<Snapshot>,
    /// From the thermal ladder, if there is one.
    pub heat: Newest<Heat>,
    /// From every thread that pictures do not go through.
    pub pulses: Pulses,
}

/// How warm the processor is, and what is done about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Heat {
    /// Degrees Celsius, where the system says.
    pub celsius: Option<f32>,
    /// How many steps down the thermal ladder the device stands; 0 is full speed.
    pub rung: u32,
}
