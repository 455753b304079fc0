//! Writes shards, under temporary names until they are whole.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::shard::{Item, ItemKind, MANIFEST_FORMAT, Manifest, SHARD_MAGIC, ShardEntry, hex};
use super::split::Split;

/// What the temporary names of unfinished shards begin with.
pub(super) const SHARD_PREFIX: &str = ".shard-";

/// What the temporary names of unfinished manifests begin with.
pub(super) const DESCRIPTION_PREFIX: &str = ".manifest-";

/// Writes the shards of both splits and at last the manifest.
pub(super) struct PackWriter {
    folder: PathBuf,
    shard_bytes: u64,
    /// Behind the number in the shards' names: a new set is written beside the one that it replaces.
    suffix: &'static str,
    open: [Option<OpenShard>; 2],
    shards: Vec<ShardEntry>,
    items: Vec<Item>,
}

/// A shard that still grows, under a temporary name. It is unlinked when it is dropped unfinished.
struct OpenShard {
    index: usize,
    file: BufWriter<NamedTempFile>,
    digest: Sha256,
    bytes: u64,
}

/// What [`PackWriter::add`] needs besides the pixels.
pub(super) struct NewItem<'a> {
    pub(super) name: String,
    /// None where the name says it.
    pub(super) tag: Option<String>,
    pub(super) source: &'a str,
    pub(super) kind: ItemKind,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) mean_chroma: f32,
    pub(super) split: Split,
}

impl PackWriter {
    /// Shards roll over at `shard_bytes`; `folder` must exist.
    pub(super) fn new(folder: &Path, shard_bytes: u64, suffix: &'static str) -> Self {
        Self { folder: folder.to_path_buf(), shard_bytes, suffix, open: [None, None], shards: Vec::new(), items: Vec::new() }
    }

    /// Appends one item; `frames` is one or more tight RGB frames back to back.
    pub(super) fn add(&mut self, new: NewItem<'_>, frames: &[u8]) -> Result<()> {
        let frame_bytes = new.width as usize * new.height as usize * 3;
        assert!(frame_bytes > 0 && !frames.is_empty() && frames.len().is_multiple_of(frame_bytes), "an item is whole frames");
        let slot = new.split as usize;
        if self.open[slot].as_ref().is_some_and(|shard| shard.bytes >= self.shard_bytes) {
            self.close_shard(slot)?;
        }
        if self.open[slot].is_none() {
            self.open[slot] = Some(self.begin(new.split)?);
        }
        let shard = self.open[slot].as_mut().expect("the line above opened it");
        let (offset, index) = (shard.bytes, shard.index);
        shard.write(frames).with_context(|| {
            format!("write {:?} to {}; is the disk full?", new.name, self.folder.join(&self.shards[index].file).display())
        })?;
        self.items.push(Item {
            tag: new.tag.unwrap_or_else(|| tag_of(&new.name).to_owned()),
            name: new.name,
            source: new.source.to_owned(),
            kind: new.kind,
            width: new.width,
            height: new.height,
            frames: (frames.len() / frame_bytes) as u32,
            mean_chroma: new.mean_chroma,
            shard: index,
            offset,
        });
        Ok(())
    }

    fn begin(&mut self, split: Split) -> Result<OpenShard> {
        let number = self.shards.iter().filter(|shard| shard.split == split).count();
        let file = NamedTempFile::with_prefix_in(SHARD_PREFIX, &self.folder)
            .with_context(|| format!("create a shard in {}; is the folder writable?", self.folder.display()))?;
        let entry = ShardEntry { file: format!("{split}-{number:03}{}.shard", self.suffix), split, bytes: 0, sha256: String::new() };
        self.shards.push(entry);
        let mut shard =
            OpenShard { index: self.shards.len() - 1, file: BufWriter::with_capacity(1 << 20, file), digest: Sha256::new(), bytes: 0 };
        shard.write(&SHARD_MAGIC).with_context(|| format!("begin a shard in {}", self.folder.display()))?;
        Ok(shard)
    }

    fn close_shard(&mut self, slot: usize) -> Result<()> {
        let Some(shard) = self.open[slot].take() else { return Ok(()) };
        let entry = &mut self.shards[shard.index];
        entry.bytes = shard.bytes;
        entry.sha256 = hex(&shard.digest.finalize());
        let path = self.folder.join(&entry.file);
        let file = shard
            .file
            .into_inner()
            .map_err(|error| error.into_error())
            .with_context(|| format!("write {}; is the disk full?", path.display()))?;
        keep(file, &path)
    }

    /// Closes the shards and says what is in them. The caller writes that down, last of all.
    pub(super) fn close(mut self, short_side: u32, sources: Vec<String>) -> Result<Manifest> {
        for slot in 0..self.open.len() {
            self.close_shard(slot)?;
        }
        Ok(Manifest {
            format: MANIFEST_FORMAT,
            layout: "16 bytes of magic, then frames back to back: height x width x RGB u8, row-major, sRGB".to_owned(),
            short_side,
            sources,
            shards: self.shards,
            items: self.items,
        })
    }
}

/// Writes the file that makes a folder complete.
pub(super) fn write_description(folder: &Path, name: &str, content: &impl Serialize) -> Result<()> {
    let path = folder.join(name);
    let mut file = NamedTempFile::with_prefix_in(DESCRIPTION_PREFIX, folder).with_context(|| format!("create {}", path.display()))?;
    let text = serde_json::to_vec(content).with_context(|| format!("encode {}", path.display()))?;
    file.write_all(&text).with_context(|| format!("write {}; is the disk full?", path.display()))?;
    keep(file, &path)
}

impl OpenShard {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all(bytes)?;
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// Gives a finished file its name, after its bytes have reached the disk: a name never stands for half a file.
fn keep(file: NamedTempFile, path: &Path) -> Result<()> {
    file.as_file().sync_all().with_context(|| format!("flush {} to disk; is the disk full?", path.display()))?;
    let file = file.persist(path).with_context(|| format!("give {} its name", path.display()))?;
    readable_by_all(&file).with_context(|| format!("set the permissions of {}", path.display()))
}

/// Temporary files are private to their owner; a packed set may be shared.
#[cfg(unix)]
fn readable_by_all(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable_by_all(_: &File) -> std::io::Result<()> {
    Ok(())
}

/// The name up to its first `_`, or without its extension when there is none.
fn tag_of(name: &str) -> &str {
    match name.split_once('_') {
        Some((tag, _)) => tag,
        None => name.split_once(['.', '#']).map_or(name, |(stem, _)| stem),
    }
}

#[cfg(test)]
mod tests {
    use super::super::shard::test_sets::{new_item, speckles};
    use super::super::shard::{PackedSet, SHARD_BYTES};
    use super::*;

    #[test]
    fn shards_roll_over_between_items() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = PackWriter::new(folder.path(), 100, "");
        for i in 0..3 {
            writer.add(new_item(&format!("{i}.png"), ItemKind::Still, 8, 4, Split::Train), &speckles(96, i)).unwrap();
        }
        let manifest = writer.close(4, vec![]).unwrap();
        // 16 + 96 bytes is over 100, so that every item begins a shard of its own.
        let files: Vec<_> = manifest.shards.iter().map(|shard| shard.file.as_str()).collect();
        assert_eq!(files, ["train-000.shard", "train-001.shard", "train-002.shard"]);
        let set = PackedSet::from_manifest(folder.path(), manifest.clone()).unwrap();
        for (i, item) in set.items(Split::Train).iter().enumerate() {
            assert_eq!(set.frame(item, 0), speckles(96, i));
        }
    }

    #[test]
    fn an_unfinished_pack_is_no_packed_set() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = PackWriter::new(folder.path(), SHARD_BYTES, "");
        writer.add(new_item("a.png", ItemKind::Still, 8, 4, Split::Train), &speckles(96, 0)).unwrap();
        drop(writer);
        assert!(PackedSet::open(folder.path()).is_err());
        // The temporary files went with the writer.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn tags_end_at_the_first_underscore() {
        assert_eq!(tag_of("facemask_00012.jpg"), "facemask");
        assert_eq!(tag_of("arm_wrestling"), "arm");
        assert_eq!(tag_of("apple"), "apple");
        assert_eq!(tag_of("holiday.mp4#2"), "holiday");
    }
}
