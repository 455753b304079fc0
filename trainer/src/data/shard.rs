//! The packed format: decoded pictures of one size class in a few large files, memory-mapped.
//!
//! A packed set is a folder with `manifest.json` and shards named `train-000.shard`, `validation-000.shard` and so on. A shard is 16 bytes
//! of [`SHARD_MAGIC`] followed by frames back to back: RGB u8, row-major, three bytes a pixel, no padding. Everything else (sizes, offsets,
//! names) is in the manifest. The manifest is written last, so a folder that has one is complete.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use memmap2::Mmap;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::split::Split;

/// The first 16 bytes of every shard; the last character is the version of the layout.
pub const SHARD_MAGIC: [u8; 16] = *b"AUTOCHROME-RGB-1";

/// The file that makes a folder a packed set.
pub const MANIFEST_NAME: &str = "manifest.json";

/// The file that makes a folder one part of a packed set; see [`super::part`].
pub const PART_NAME: &str = "part.json";

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
    /// The class, where the collection has classes; otherwise the name up to its first `_` (or without its extension), such as `facemask`.
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
        ensure!(
            path.exists() || !folder.join(PART_NAME).exists(),
            "open the packed set {}: it holds one part of a set ({PART_NAME}); join all parts with `autochrome-trainer merge`",
            folder.display()
        );
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
        Self::from_manifest(folder, manifest).with_context(|| path.display().to_string())
    }

    /// Opens the shards in `folder` that `manifest` lists. Errors as in [`PackedSet::open`].
    pub(super) fn from_manifest(folder: &Path, manifest: Manifest) -> Result<Self> {
        let maps = manifest.shards.iter().map(|entry| map_shard(folder, entry)).collect::<Result<Vec<_>>>()?;
        for item in &manifest.items {
            check_item(item, &manifest.shards).with_context(|| format!("item {:?}", item.name))?;
        }
        let of_split = |split| manifest.items.iter().filter(|item| manifest.shards[item.shard].split == split).cloned().collect();
        let (train, validation) = (of_split(Split::Train), of_split(Split::Validation));
        Ok(Self { folder: folder.to_path_buf(), manifest, maps, train, validation })
    }

    /// Reads every shard and compares its SHA-256 with the manifest. Takes about a second a gigabyte.
    ///
    /// # Errors
    /// Names the first shard that cannot be read or whose content is not what was packed.
    pub fn verify(&self) -> Result<()> {
        self.manifest.shards.par_iter().try_for_each(|entry| {
            let path = self.folder.join(&entry.file);
            let found = sha256_of(&path).with_context(|| format!("verify {}", path.display()))?;
            ensure!(
                found == entry.sha256,
                "verify {}: SHA-256 is {found}, the manifest says {}; the file was changed or damaged, pack again",
                path.display(),
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

    /// The frame that stands for an item where one picture is wanted: the middle one. Films begin with black, and with titles.
    ///
    /// # Panics
    /// When `item` is of another packed set and lies outside this one's shards.
    pub fn picture(&self, item: &Item) -> &[u8] {
        self.frame(item, item.frames as usize / 2)
    }

    /// All frames of an item, back to back.
    pub(super) fn frames(&self, item: &Item) -> &[u8] {
        &self.maps[item.shard][item.offset as usize..][..item.frame_bytes() * item.frames as usize]
    }

    /// SHA-256 of the manifest, which has those of all shards: the same for the same pictures packed alike, wherever they are.
    ///
    /// # Panics
    /// Never; a manifest is plain data.
    pub fn hash(&self) -> String {
        hex(&Sha256::digest(serde_json::to_vec(&self.manifest).expect("plain data")))
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

/// A file's SHA-256, lower-case hexadecimal. Read piece by piece: what is mapped would count as this process's memory.
pub(crate) fn sha256_of(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let (mut digest, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex(&digest.finalize())),
            length => digest.update(&piece[..length]),
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Packed sets for the tests of this room.
#[cfg(test)]
pub(crate) mod test_sets {
    use super::super::writer::{NewItem, PackWriter, write_description};
    use super::*;

    /// A new item without the parts that tests seldom look at.
    pub(in crate::data) fn new_item(name: &str, kind: ItemKind, width: u32, height: u32, split: Split) -> NewItem<'static> {
        NewItem { name: name.to_owned(), tag: None, source: "made", kind, width, height, mean_chroma: 20.0, split }
    }

    /// Bytes that differ from item to item and from frame to frame.
    pub(crate) fn speckles(bytes: usize, seed: usize) -> Vec<u8> {
        (0..bytes).map(|i| (i.wrapping_mul(31).wrapping_add(seed.wrapping_mul(97)).wrapping_mul(2_654_435_761) >> 7) as u8).collect()
    }

    /// A packed set of these items.
    pub(in crate::data) fn pack_of(folder: &Path, items: impl IntoIterator<Item = (NewItem<'static>, Vec<u8>)>) -> PackedSet {
        let mut writer = PackWriter::new(folder, SHARD_BYTES, "");
        for (item, frames) in items {
            writer.add(item, &frames).unwrap();
        }
        write_description(folder, MANIFEST_NAME, &writer.close(32, vec!["made".to_owned()]).unwrap()).unwrap();
        PackedSet::open(folder).unwrap()
    }

    /// One even grey still for training.
    pub(crate) fn grey_set(folder: &Path) -> PackedSet {
        pack_of(folder, [(new_item("grey.png", ItemKind::Still, 32, 24, Split::Train), vec![128; 32 * 24 * 3])])
    }

    /// Four stills and two clips for training, two stills for validation.
    pub(crate) fn small_set(folder: &Path) -> PackedSet {
        let mut items = Vec::new();
        for i in 0..4 {
            let item = new_item(&format!("still_{i}.png"), ItemKind::Still, 40 + i, 32, Split::Train);
            items.push((item, speckles((40 + i as usize) * 32 * 3, i as usize)));
        }
        for (i, frames) in [5, 60].into_iter().enumerate() {
            let item = new_item(&format!("clip_{i}"), ItemKind::Clip, 32, 36, Split::Train);
            items.push((item, speckles(32 * 36 * 3 * frames, 10 + i)));
        }
        for i in 0..2 {
            let item = new_item(&format!("check_{i}.png"), ItemKind::Still, 48, 32, Split::Validation);
            items.push((item, speckles(48 * 32 * 3, 20 + i)));
        }
        pack_of(folder, items)
    }
}

#[cfg(test)]
mod tests {
    use super::test_sets::{small_set, speckles};
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
}
