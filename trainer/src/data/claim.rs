//! The folder that a packed set is written into: nobody else writes there meanwhile, and what was there before stays until the new is whole.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::import::name_of;
use super::shard::{MANIFEST_NAME, Manifest, PART_NAME};
use super::split::Split;
use super::writer::{DESCRIPTION_PREFIX, SHARD_PREFIX};

/// What the shards of a new set are called behind their number; one that the old set does not use is taken.
const SUFFIXES: [&str; 3] = ["", "-b", "-c"];

/// A folder that is this process's to write into. The claim ends when it is dropped.
pub(super) struct Claim {
    folder: PathBuf,
    suffix: &'static str,
    /// Locked as long as it is open, and unlocked by the system however the process ends.
    _lock: File,
}

/// The shards that `manifest.json` or `part.json` names.
#[derive(Deserialize)]
struct Described {
    #[serde(default)]
    shards: Vec<ShardName>,
    manifest: Option<Box<Described>>,
}

#[derive(Deserialize)]
struct ShardName {
    file: String,
}

impl Claim {
    /// Creates the folder, or takes it and removes what an interrupted run has left in it.
    ///
    /// # Errors
    /// When the folder holds a finished set (or part) and `force` is not set, when another process is writing there, or when it cannot be
    /// created or written to.
    pub(super) fn of(folder: &Path, force: bool) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("create the folder {}", folder.display()))?;
        let lock = File::open(folder).with_context(|| format!("open the folder {}", folder.display()))?;
        // A file system without locks has other ways to be wrong; only a lock that somebody holds is a reason to stop.
        if let Err(TryLockError::WouldBlock) = crate::lock::take(&lock) {
            bail!("another process is packing into {}; wait for it, or choose another folder", folder.display());
        }
        let mut used = BTreeSet::new();
        for (name, what) in [(MANIFEST_NAME, "a packed set"), (PART_NAME, "a part of a packed set")] {
            let path = folder.join(name);
            if !path.exists() {
                continue;
            }
            ensure!(force, "{} already holds {what} ({name}); choose another folder, or replace it with --force", folder.display());
            let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            match serde_json::from_slice::<Described>(&text) {
                Ok(described) => {
                    let inner = described.manifest.map_or_else(Vec::new, |manifest| manifest.shards);
                    used.extend(described.shards.into_iter().chain(inner).map(|shard| shard.file));
                }
                // Nobody can say what belongs to it: everything stays until the new set is whole.
                Err(_) => used.extend(shards_in(folder)?),
            }
        }
        for path in entries(folder)? {
            let name = name_of(&path);
            let unfinished = name.starts_with(SHARD_PREFIX) || name.starts_with(DESCRIPTION_PREFIX);
            if unfinished || (is_shard(&name) && !used.contains(&name)) {
                std::fs::remove_file(&path).with_context(|| format!("remove what an interrupted run left: {}", path.display()))?;
            }
        }
        let is_free = |suffix: &str| !used.iter().any(|name| suffix_of(name) == suffix);
        let Some(suffix) = SUFFIXES.into_iter().find(|suffix| is_free(suffix)) else {
            bail!("{} holds shards of several sets; remove them, or choose another folder", folder.display());
        };
        Ok(Self { folder: folder.to_path_buf(), suffix, _lock: lock })
    }

    /// What the new set's shards are called behind their number.
    pub(super) fn suffix(&self) -> &'static str {
        self.suffix
    }

    /// Removes what the new set, which is described in the file `description`, replaces.
    pub(super) fn finish(self, description: &str, manifest: &Manifest) -> Result<()> {
        for path in entries(&self.folder)? {
            let name = name_of(&path);
            let old_description = [MANIFEST_NAME, PART_NAME].contains(&name.as_str()) && name != description;
            let old_shard = is_shard(&name) && !manifest.shards.iter().any(|shard| shard.file == name);
            if old_description || old_shard {
                std::fs::remove_file(&path).with_context(|| format!("remove the old {}", path.display()))?;
            }
        }
        Ok(())
    }
}

/// Everything in a folder, hidden files too.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = || std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
    list().with_context(|| format!("list the folder {}", folder.display()))
}

fn shards_in(folder: &Path) -> Result<Vec<String>> {
    Ok(entries(folder)?.iter().map(|path| name_of(path)).filter(|name| is_shard(name)).collect())
}

/// Whether a file's name is one that a pack gives: `train-000.shard`, with one of the suffixes behind the number.
fn is_shard(name: &str) -> bool {
    let of = |split: &Split| {
        let number = name.strip_prefix(split.name())?.strip_prefix('-')?.strip_suffix(".shard")?.strip_suffix(suffix_of(name))?;
        Some(number.len() >= 3 && number.bytes().all(|byte| byte.is_ascii_digit()) && SUFFIXES.contains(&suffix_of(name)))
    };
    Split::ALL.iter().filter_map(of).any(|is_one| is_one)
}

/// `-b` of `train-000-b.shard`, nothing of `train-000.shard`.
fn suffix_of(name: &str) -> &str {
    let stem = name.strip_suffix(".shard").unwrap_or(name);
    let number = stem.find('-').map_or(0, |dash| dash + 1);
    stem[number..].find('-').map_or("", |dash| &stem[number + dash..])
}
