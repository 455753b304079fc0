//! What a service manager is told: that the device is ready, how it is, and that it is alive.

/// The sign of life. It is given only by a fresh picture that was shown, or by an honest word that there is no camera.
#[derive(Debug, Default)]
pub struct Heart {}

impl Heart {
    /// Says that the device is alive.
    pub fn beat(&mut self) {}
}
