//! What the page and the panel hold in their hands: the way to change settings, what there is to choose from, and how the device is doing.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::settings::{Choices, Command};
use crate::status::Status;

/// How many changes of settings may wait for the next frame.
const COMMANDS_WAITING_MAX: usize = 64;

/// One end for each that steers; cheap to clone.
#[derive(Clone, Debug)]
pub struct Remote {
    commands: Sender<Command>,
    /// The presets and models that can be named.
    pub choices: Arc<Choices>,
    /// How the device is doing.
    pub status: Arc<Status>,
}

/// Why a change was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// The color thread stands still, or is flooded.
    #[error("the color thread is not taking settings")]
    Busy,
    /// There is nobody left to take it.
    #[error("the run has ended")]
    Ended,
}

impl Remote {
    /// A remote, and the end where its commands come out.
    pub fn new(choices: Choices) -> (Self, Receiver<Command>) {
        let (commands, waiting) = bounded(COMMANDS_WAITING_MAX);
        (Self { commands, choices: Arc::new(choices), status: Arc::default() }, waiting)
    }

    /// Sends a command on its way, without waiting: the color thread takes all that wait before every frame.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn send(&self, command: Command) -> Result<(), NotTaken> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => NotTaken::Busy,
            TrySendError::Disconnected(_) => NotTaken::Ended,
        })
    }
}
