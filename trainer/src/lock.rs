//! Locks on files.

use std::fs::{File, TryLockError};
use std::time::Duration;

/// Tries this often, with this pause between.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(25);

/// Locks `file`, or says that another process holds the lock. One that is gone after a moment does not count: a child between its start and
/// its program's has all of its parent's open files, locks included, and so has whoever only asks.
///
/// # Errors
/// As [`File::try_lock`].
pub(crate) fn take(file: &File) -> Result<(), TryLockError> {
    for _ in 1..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
    file.try_lock()
}
