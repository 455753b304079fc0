//! One process at a time trains in a run's folder: two would write over each other's checkpoints.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Held by the process that trains. The system lets go of it when the process ends, however it ends.
pub struct Claim {
    _lock: Option<File>,
}

fn lock_file(run: &Path) -> PathBuf {
    run.join("training.lock")
}

impl Claim {
    /// Claims the run in the folder `run`, which is made if it is not there.
    ///
    /// # Errors
    /// If another process trains there, or the folder cannot be written.
    pub fn take(run: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(run).with_context(|| format!("create {}", run.display()))?;
        let path = lock_file(run);
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).with_context(|| format!("open {}", path.display()))?;
        match crate::lock::take(&file) {
            Ok(()) => Ok(Self { _lock: Some(file) }),
            Err(TryLockError::WouldBlock) => {
                bail!("another process trains in {}; wait until it has ended, or choose another folder", run.display())
            }
            // A file system without locks: it is trained there as if there were none.
            Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => Ok(Self { _lock: None }),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }
}

/// Whether a process trains in the folder `run` now.
pub fn is_claimed(run: &Path) -> bool {
    let Ok(file) = File::open(lock_file(run)) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_claimed_by_one_and_free_again_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        assert!(!is_claimed(&run));
        let claim = Claim::take(&run).unwrap();
        assert!(is_claimed(&run));
        let said = format!("{:#}", Claim::take(&run).err().unwrap());
        assert!(said.contains("another process trains in"), "{said}");
        drop(claim);
        assert!(!is_claimed(&run));
        Claim::take(&run).unwrap();
    }
}
