//! What the page and the panel hold in their hands: the way to change settings, what there is to choose from, and how the device is doing.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::settings::{Choices, Command};
use crate::status::Status;

/// How many changes of settings may wait for the next frame.
const COMMANDS_WAITING_MAX: usize = 64;

/// One end for each that steers; cheap to clone.
#[derive(Clone, Debug)]
pub struct Remote {
    commands: Sender<Command>,
    /// Whose turn it is to send. Held for a few sends by those who steer; the color thread never waits for it.
    turn: Arc<Mutex<()>>,
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
        (Self { commands, turn: Arc::default(), choices: Arc::new(choices), status: Arc::default() }, waiting)
    }

    /// Sends a command on its way, without waiting: the color thread takes all that wait before every frame.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn send(&self, command: Command) -> Result<(), NotTaken> {
        self.send_all(&[command])
    }

    /// Sends several, all of them or none, in a row.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn send_all(&self, commands: &[Command]) -> Result<(), NotTaken> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.commands.len() + commands.len() > COMMANDS_WAITING_MAX {
            return Err(NotTaken::Busy);
        }
        commands.iter().try_for_each(|&command| {
            self.commands.try_send(command).map_err(|error| match error {
                TrySendError::Full(_) => NotTaken::Busy,
                TrySendError::Disconnected(_) => NotTaken::Ended,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_changes_are_sent_together_or_not_at_all() {
        let (remote, receiver) = Remote::new(Choices::default());
        for _ in 0..COMMANDS_WAITING_MAX - 1 {
            remote.send(Command::Freeze(true)).unwrap();
        }
        let two = [Command::Mix(0.5), Command::Split(0.5)];
        assert_eq!(remote.send_all(&two), Err(NotTaken::Busy));
        assert_eq!(receiver.len(), COMMANDS_WAITING_MAX - 1);
        receiver.recv().unwrap();
        assert_eq!(remote.send_all(&two), Ok(()));
        assert_eq!(receiver.iter().take(COMMANDS_WAITING_MAX).last(), Some(Command::Split(0.5)));
        drop(receiver);
        assert_eq!(remote.send(Command::Mix(1.0)), Err(NotTaken::Ended));
    }
}
