//! The packed format: decoded pictures of one size class in a few large files, memory-mapped.
//!
//! A packed set is a folder with `manifest.json` and shards named `train-000.shard`, `validation-000.shard` and so on. A shard is 16 bytes
//! of [`SHARD_MAGIC`] followed by frames back to back: RGB u8, row-major, three bytes a pixel, no padding. Everything else (sizes, offsets,
//! names) is in the manifest. The manifest is written last, so a folder that has one is complete.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use memmap2::Mmap;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::split::Split;

/// The first 16 bytes of every shard; the last character is the version of the layout.
pub const SHARD_MAGIC: [u8; 16] = *b"AUTOCHROME-RGB-1";

/// The file that makes a folder a packed set.
pub const MANIFEST_NAME: &str = "manifest.json";

/// The version of `manifest.json` that is written and read here.
pub const MANIFEST_FORMAT: u32 = 1;

/// A shard that has reached this many bytes is closed and the next one begun. An item never spans two shards.
pub const SHARD_BYTES: u64 = 1 << 30;

/// Whether an item is one picture or many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemKind {
    /// One photograph.
    Still,
    /// Consecutive frames of one film.
    Clip,
}

/// One photograph or clip of a packed set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// File or folder name, without directories. Later parts of a long clip are called `name#2`, `name#3`.
    pub name: String,
    /// The input it came from, such as `photos`.
    pub source: String,
    /// The name up to its first `_` (or without its extension), such as `facemask`.
    pub tag: String,
    /// Photograph or clip.
    pub kind: ItemKind,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// 1 for a photograph.
    pub frames: u32,
    /// Mean of sqrt(a*² + b*²) over the middle frame, Lab units; near 0 for a grey picture.
    pub mean_chroma: f32,
    /// Index into [`Manifest::shards`]; the shard says the split.
    pub shard: usize,
    /// Byte position of the first frame in the shard file.
    pub offset: u64,
}

impl Item {
    /// Bytes of one frame: width x height x 3.
    pub fn frame_bytes(&self) -> usize {
        self.width as usize * self.height as usize * 3
    }
}

/// One shard file as the manifest lists it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardEntry {
    /// File name inside the packed set's folder.
    pub file: String,
    /// The split of every item inside.
    pub split: Split,
    /// Length of the file.
    pub bytes: u64,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: String,
}

/// The content of `manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`].
    pub format: u32,
    /// What a reader without this program needs to know of the layout.
    pub layout: String,
    /// Pictures were shrunk until their shorter side had at most this many pixels.
    pub short_side: u32,
    /// Names of the inputs, in the order they were packed.
    pub sources: Vec<String>,
    /// The shard files of both splits.
    pub shards: Vec<ShardEntry>,
    /// All items of both splits.
    pub items: Vec<Item>,
}

/// A packed set opened for reading: shards are memory-mapped and shared by all threads.
#[derive(Debug)]
pub struct PackedSet {
    folder: PathBuf,
    manifest: Manifest,
    maps: Vec<Mmap>,
    train: Vec<Item>,
    validation: Vec<Item>,
}

impl PackedSet {
    /// Opens the packed set in `folder` and checks that the shards have the length that the manifest promises.
    ///
    /// # Errors
    /// When the manifest is missing, unreadable or of another version, when a shard is missing, truncated or not a shard, or when an item
    /// lies outside its shard. The message names the file.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST_NAME);
        let text = std::fs::read(&path).with_context(|| {
            format!("open the packed set {}: cannot read {MANIFEST_NAME}; create the set with `autochrome-trainer pack`", folder.display())
        })?;
        let manifest: Manifest = serde_json::from_slice(&text)
            .with_context(|| format!("{}: not a manifest of a packed set; pack again with this version", path.display()))?;
        ensure!(
            manifest.format == MANIFEST_FORMAT,
            "{}: format {} found, {MANIFEST_FORMAT} expected; pack again with this version",
            path.display(),
            manifest.format
        );
        let maps = manifest.shards.iter().map(|entry| map_shard(folder, entry)).collect::<Result<Vec<_>>>()?;
        for item in &manifest.items {
            check_item(item, &manifest.shards).with_context(|| format!("{}: item {:?}", path.display(), item.name))?;
        }
        let of_split = |split| manifest.items.iter().filter(|item| manifest.shards[item.shard].split == split).cloned().collect();
        let (train, validation) = (of_split(Split::Train), of_split(Split::Validation));
        Ok(Self { folder: folder.to_path_buf(), manifest, maps, train, validation })
    }

    /// Reads every shard and compares its SHA-256 with the manifest. Takes about a second a gigabyte.
    ///
    /// # Errors
    /// Names the first shard whose content is not what was packed.
    pub fn verify(&self) -> Result<()> {
        self.manifest.shards.par_iter().zip(&self.maps).try_for_each(|(entry, map)| {
            let found = hex(&Sha256::digest(map));
            ensure!(
                found == entry.sha256,
                "verify {}: SHA-256 is {found}, the manifest says {}; the file was changed or damaged, pack again",
                self.folder.join(&entry.file).display(),
                entry.sha256
            );
            Ok(())
        })
    }

    /// The items of one split, in the order they were packed.
    pub fn items(&self, split: Split) -> &[Item] {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
        }
    }

    /// One frame: `height * width * 3` bytes, RGB, row-major, gamma-coded sRGB.
    ///
    /// # Panics
    /// When `index` is not below `item.frames`, or `item` is of another packed set and lies outside this one's shards.
    pub fn frame(&self, item: &Item, index: usize) -> &[u8] {
        assert!(index < item.frames as usize, "frame {index} of {:?}, which has {}", item.name, item.frames);
        let bytes = item.frame_bytes();
        let start = item.offset as usize + index * bytes;
        &self.maps[item.shard][start..start + bytes]
    }

    /// The manifest as it was read.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The folder it was opened from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Maps one shard after checking its length and its first bytes.
fn map_shard(folder: &Path, entry: &ShardEntry) -> Result<Mmap> {
    // A manifest that came from elsewhere must not reach outside its folder.
    ensure!(
        Path::new(&entry.file).file_name().is_some_and(|name| name == entry.file.as_str()),
        "{}: the manifest names the shard {:?}, expected a bare file name",
        folder.display(),
        entry.file
    );
    let path = folder.join(&entry.file);
    let file = File::open(&path).with_context(|| format!("open the shard {}; pack again if it was deleted", path.display()))?;
    let found = file.metadata().with_context(|| format!("read the size of the shard {}", path.display()))?.len();
    ensure!(
        found == entry.bytes,
        "the shard {} has {found} bytes, the manifest says {}; it was truncated or replaced, copy it again or pack again",
        path.display(),
        entry.bytes
    );
    // Mapping a file is unsafe because another process could shrink or rewrite it while it is mapped. Shards are written under a temporary
    // name, renamed when complete and never written again; whoever edits one by hand during a training run loses that run.
    #[allow(unsafe_code)]
    let map = unsafe { Mmap::map(&file) }.with_context(|| format!("map the shard {} into memory", path.display()))?;
    ensure!(
        map.starts_with(&SHARD_MAGIC),
        "the shard {} does not begin with {:?}; it is not a shard of this version, pack again",
        path.display(),
        String::from_utf8_lossy(&SHARD_MAGIC)
    );
    Ok(map)
}

/// Makes sure that [`PackedSet::frame`] stays inside the shard.
fn check_item(item: &Item, shards: &[ShardEntry]) -> Result<()> {
    let Some(shard) = shards.get(item.shard) else {
        bail!("shard {} of {}", item.shard, shards.len());
    };
    ensure!(item.width > 0 && item.height > 0 && item.frames > 0, "{} frames of {}x{}", item.frames, item.width, item.height);
    let end = (u64::from(item.width) * u64::from(item.height))
        .checked_mul(3 * u64::from(item.frames))
        .and_then(|bytes| bytes.checked_add(item.offset));
    ensure!(
        item.offset >= SHARD_MAGIC.len() as u64 && end.is_some_and(|end| end <= shard.bytes),
        "{} frames of {}x{} at byte {} do not fit into {} ({} bytes)",
        item.frames,
        item.width,
        item.height,
        item.offset,
        shard.file,
        shard.bytes
    );
    Ok(())
}

/// Writes the shards of both splits and at last the manifest.
pub(super) struct PackWriter {
    folder: PathBuf,
    shard_bytes: u64,
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
    pub(super) source: &'a str,
    pub(super) kind: ItemKind,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) mean_chroma: f32,
    pub(super) split: Split,
}

impl PackWriter {
    /// Shards roll over at `shard_bytes`; `folder` must exist.
    pub(super) fn new(folder: &Path, shard_bytes: u64) -> Self {
        Self { folder: folder.to_path_buf(), shard_bytes, open: [None, None], shards: Vec::new(), items: Vec::new() }
    }

    /// Appends one item; `frames` is one or more tight RGB frames back to back.
    pub(super) fn add(&mut self, new: NewItem<'_>, frames: &[u8]) -> Result<()> {
        let frame_bytes = new.width as usize * new.height as usize * 3;
        assert!(frame_bytes > 0 && !frames.is_empty() && frames.len().is_multiple_of(frame_bytes), "an item is whole frames");
        let slot = new.split as usize;
        if self.open[slot].as_ref().is_some_and(|shard| shard.bytes >= self.shard_bytes) {
            self.close(slot)?;
        }
        if self.open[slot].is_none() {
            self.open[slot] = Some(self.begin(new.split)?);
        }
        let shard = self.open[slot].as_mut().expect("the line above opened it");
        let (offset, index) = (shard.bytes, shard.index);
        shard.write(frames).with_context(|| format!("write {:?} to {}", new.name, self.folder.join(&self.shards[index].file).display()))?;
        self.items.push(Item {
            tag: tag_of(&new.name).to_owned(),
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
        let file = NamedTempFile::with_prefix_in(".shard-", &self.folder)
            .with_context(|| format!("create a shard in {}; is the folder writable?", self.folder.display()))?;
        let entry = ShardEntry { file: format!("{split}-{number:03}.shard"), split, bytes: 0, sha256: String::new() };
        self.shards.push(entry);
        let mut shard =
            OpenShard { index: self.shards.len() - 1, file: BufWriter::with_capacity(1 << 20, file), digest: Sha256::new(), bytes: 0 };
        shard.write(&SHARD_MAGIC).with_context(|| format!("begin a shard in {}", self.folder.display()))?;
        Ok(shard)
    }

    fn close(&mut self, slot: usize) -> Result<()> {
        let Some(shard) = self.open[slot].take() else { return Ok(()) };
        let entry = &mut self.shards[shard.index];
        entry.bytes = shard.bytes;
        entry.sha256 = hex(&shard.digest.finalize());
        let path = self.folder.join(&entry.file);
        let file = shard.file.into_inner().map_err(|error| error.into_error()).with_context(|| format!("write {}", path.display()))?;
        keep(file, &path)
    }

    /// Closes the shards and writes the manifest. Returns it.
    pub(super) fn finish(mut self, short_side: u32, sources: Vec<String>) -> Result<Manifest> {
        for slot in 0..self.open.len() {
            self.close(slot)?;
        }
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            layout: "16 bytes of magic, then frames back to back: height x width x RGB u8, row-major, sRGB".to_owned(),
            short_side,
            sources,
            shards: self.shards,
            items: self.items,
        };
        let path = self.folder.join(MANIFEST_NAME);
        let mut file = NamedTempFile::with_prefix_in(".manifest-", &self.folder)
            .with_context(|| format!("create {MANIFEST_NAME} in {}", self.folder.display()))?;
        let text = serde_json::to_vec(&manifest).context("encode the manifest")?;
        file.write_all(&text).with_context(|| format!("write {}", path.display()))?;
        keep(file, &path)?;
        Ok(manifest)
    }
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

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Packed sets for the tests of this room.
#[cfg(test)]
pub(crate) mod test_sets {
    use super::*;

    /// A new item without the parts that tests seldom look at.
    pub(in crate::data) fn new_item(name: &str, kind: ItemKind, width: u32, height: u32, split: Split) -> NewItem<'static> {
        NewItem { name: name.to_owned(), source: "made", kind, width, height, mean_chroma: 0.0, split }
    }

    /// Bytes that differ from item to item and from frame to frame.
    pub(crate) fn speckles(bytes: usize, seed: usize) -> Vec<u8> {
        (0..bytes).map(|i| (i.wrapping_mul(31).wrapping_add(seed.wrapping_mul(97)).wrapping_mul(2_654_435_761) >> 7) as u8).collect()
    }

    /// Four stills and two clips for training, two stills for validation.
    pub(crate) fn small_set(folder: &Path) -> PackedSet {
        let mut writer = PackWriter::new(folder, SHARD_BYTES);
        for i in 0..4 {
            let item = new_item(&format!("still_{i}.png"), ItemKind::Still, 40 + i, 32, Split::Train);
            writer.add(item, &speckles((40 + i as usize) * 32 * 3, i as usize)).unwrap();
        }
        for (i, frames) in [5, 60].into_iter().enumerate() {
            let item = new_item(&format!("clip_{i}"), ItemKind::Clip, 32, 36, Split::Train);
            writer.add(item, &speckles(32 * 36 * 3 * frames, 10 + i)).unwrap();
        }
        for i in 0..2 {
            let item = new_item(&format!("check_{i}.png"), ItemKind::Still, 48, 32, Split::Validation);
            writer.add(item, &speckles(48 * 32 * 3, 20 + i)).unwrap();
        }
        writer.finish(32, vec!["made".to_owned()]).unwrap();
        PackedSet::open(folder).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::test_sets::{new_item, small_set, speckles};
    use super::*;

    #[test]
    fn frames_come_back_byte_for_byte() {
        let folder = tempfile::tempdir().unwrap();
        let set = small_set(folder.path());
        set.verify().unwrap();
        assert_eq!(set.items(Split::Train).len(), 6);
        assert_eq!(set.items(Split::Validation).len(), 2);
        let clip = &set.items(Split::Train)[5];
        assert_eq!((clip.name.as_str(), clip.tag.as_str(), clip.frames), ("clip_1", "clip", 60));
        let all = speckles(32 * 36 * 3 * 60, 11);
        assert_eq!(set.frame(clip, 59), &all[59 * 32 * 36 * 3..]);
    }

    #[test]
    fn shards_roll_over_between_items() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = PackWriter::new(folder.path(), 100);
        for i in 0..3 {
            writer.add(new_item(&format!("{i}.png"), ItemKind::Still, 8, 4, Split::Train), &speckles(96, i)).unwrap();
        }
        let manifest = writer.finish(4, vec![]).unwrap();
        // 16 + 96 bytes is over 100, so that every item begins a shard of its own.
        let files: Vec<_> = manifest.shards.iter().map(|shard| shard.file.as_str()).collect();
        assert_eq!(files, ["train-000.shard", "train-001.shard", "train-002.shard"]);
        let set = PackedSet::open(folder.path()).unwrap();
        for (i, item) in set.items(Split::Train).iter().enumerate() {
            assert_eq!(set.frame(item, 0), speckles(96, i));
        }
    }

    #[test]
    fn a_truncated_shard_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        drop(small_set(folder.path()));
        let shard = folder.path().join("validation-000.shard");
        let file = File::options().write(true).open(&shard).unwrap();
        file.set_len(1000).unwrap();
        let message = format!("{:#}", PackedSet::open(folder.path()).unwrap_err());
        assert!(message.contains("validation-000.shard") && message.contains("1000 bytes"), "{message}");
    }

    #[test]
    fn a_changed_byte_is_found_by_verify() {
        let folder = tempfile::tempdir().unwrap();
        drop(small_set(folder.path()));
        let shard = folder.path().join("train-000.shard");
        let mut bytes = std::fs::read(&shard).unwrap();
        bytes[500] ^= 1;
        std::fs::write(&shard, bytes).unwrap();
        let message = format!("{:#}", PackedSet::open(folder.path()).unwrap().verify().unwrap_err());
        assert!(message.contains("train-000.shard"), "{message}");
    }

    #[test]
    fn a_manifest_that_lies_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let set = small_set(folder.path());
        let mut manifest = set.manifest().clone();
        manifest.items[4].frames = u32::MAX;
        std::fs::write(folder.path().join(MANIFEST_NAME), serde_json::to_vec(&manifest).unwrap()).unwrap();
        let message = format!("{:#}", PackedSet::open(folder.path()).unwrap_err());
        assert!(message.contains("clip_0"), "{message}");
    }

    #[test]
    fn an_unfinished_pack_is_no_packed_set() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = PackWriter::new(folder.path(), SHARD_BYTES);
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
