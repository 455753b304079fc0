//! Parts of a packed set, made independently of each other, and their merging into one.
//!
//! Everything that is to be packed is a list of jobs whose order follows from names alone. Part `i` of `n` takes every `n`-th job beginning
//! with the `i`-th, so that no part needs to know of another, and each has its share of every input. A part's folder has shards like a packed
//! set's and `part.json` in place of the manifest. The merged set is, byte for byte, the one that a single pack would have written.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};

use super::claim::Claim;
use super::pack::{PackSummary, Skipped};
use super::shard::{MANIFEST_NAME, Manifest, PART_NAME, PackedSet, SHARD_BYTES};
use super::writer::{NewItem, PackWriter, write_description};

/// The version of `part.json` that is written and read here.
const PART_FORMAT: u32 = 2;

/// Which part of a set to pack: the `index`-th of `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartOf {
    /// From 1 to `of`.
    pub index: u32,
    /// Parts.
    pub of: u32,
}

impl PartOf {
    /// Whether there is such a part: there is no part 0, and none of 0.
    fn is_one(self) -> bool {
        (1..=self.of).contains(&self.index)
    }

    /// Whether a job is this part's.
    pub(super) fn has(self, job: usize) -> bool {
        job as u64 % u64::from(self.of) == u64::from(self.index - 1)
    }
}

impl FromStr for PartOf {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(index, of)| Some(Self { index: index.parse().ok()?, of: of.parse().ok()? }));
        numbers.filter(|part| part.is_one()).ok_or_else(|| format!("{text:?} is no part; parts are I/N, from 1/N to N/N, such as 3/8"))
    }
}

impl fmt::Display for PartOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

/// What a part has of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InputItems {
    /// Of the same name there may be several.
    pub(super) source: String,
    pub(super) items: usize,
}

/// The content of `part.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    pub(super) format: u32,
    pub(super) part: PartOf,
    /// SHA-256 over the configuration and the names of all jobs: parts with the same one are parts of the same set.
    pub(super) plan: String,
    /// In the order in which they were given.
    pub(super) inputs: Vec<InputItems>,
    /// The job of each of the manifest's items.
    pub(super) jobs: Vec<u64>,
    pub(super) grey: usize,
    pub(super) skipped: Vec<Skipped>,
    /// As it would stand in `manifest.json`.
    pub(super) manifest: Manifest,
}

impl Part {
    pub(super) fn new(
        part: PartOf,
        plan: String,
        inputs: Vec<InputItems>,
        jobs: Vec<u64>,
        summary: &PackSummary,
        manifest: Manifest,
    ) -> Self {
        Self { format: PART_FORMAT, part, plan, inputs, jobs, grey: summary.grey, skipped: summary.skipped.clone(), manifest }
    }

    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(PART_NAME);
        let text = std::fs::read(&path).with_context(|| {
            format!("read the part {}: cannot read {PART_NAME}; make the part with `autochrome-trainer pack --shard I/N`", folder.display())
        })?;
        /// What all versions have.
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let damaged = || format!("{}: not a part of a packed set; pack the part again", path.display());
        let Version { format } = serde_json::from_slice(&text).with_context(damaged)?;
        ensure!(
            format == PART_FORMAT,
            "{}: format {format} found, {PART_FORMAT} expected; pack the part again with this version",
            path.display()
        );
        let part: Self = serde_json::from_slice(&text).with_context(damaged)?;
        ensure!(
            part.part.is_one(),
            "{}: it says that it is part {}, and parts go from 1/N to N/N; pack the part again",
            path.display(),
            part.part
        );
        let in_order = part.jobs.len() == part.manifest.items.len() && part.jobs.is_sorted();
        ensure!(
            in_order && part.jobs.iter().all(|&job| part.part.has(job as usize)),
            "{}: its items are not those of part {}; pack the part again",
            path.display(),
            part.part
        );
        Ok(part)
    }
}

/// Joins parts into the packed set that one pack of everything would have written. The parts stay as they are. Returns what was joined, and
/// the longest that a picture's shorter side may be in it.
///
/// # Errors
/// When a part is missing, given twice or of another set, when a shard is not what was packed (its length, or its SHA-256), when an input has
/// no item in any part, when `out` already holds a packed set and `force` is not set, or when writing fails. `out` then has no manifest, or
/// the old one.
pub fn merge(out: &Path, parts: &[PathBuf], force: bool) -> Result<(PackSummary, u32)> {
    let full = |path: &Path| std::fs::canonicalize(path).ok();
    let is_part = full(out).is_some_and(|out| parts.iter().any(|part| full(part).is_some_and(|part| part == out)));
    ensure!(!is_part, "{} is one of the parts; choose another folder for the whole set", out.display());
    let described = parts.iter().map(|folder| Part::read(folder)).collect::<Result<Vec<_>>>()?;
    check_all_there(parts, &described)?;
    let sets = parts
        .iter()
        .zip(&described)
        .map(|(folder, part)| {
            let set = PackedSet::from_manifest(folder, part.manifest.clone()).with_context(|| format!("the part {}", folder.display()))?;
            set.verify()?;
            Ok(set)
        })
        .collect::<Result<Vec<_>>>()?;

    // By job; the items of one job are in one part, in their order.
    let mut order: Vec<(u64, usize, usize)> = Vec::new();
    for (at, part) in described.iter().enumerate() {
        order.extend(part.jobs.iter().enumerate().map(|(item, &job)| (job, at, item)));
    }
    order.sort_unstable();
    let manifest = &described[0].manifest;
    for (index, InputItems { source, .. }) in described[0].inputs.iter().enumerate() {
        let found = described.iter().any(|part| part.inputs.get(index).is_some_and(|input| input.items > 0));
        let first = described.iter().find_map(|part| part.skipped.first());
        ensure!(
            found,
            "no part has an item of input {}, {source:?}{}",
            index + 1,
            first.map_or_else(String::new, |s| format!("; first skipped: {s}"))
        );
    }

    let claim = Claim::of(out, force)?;
    let mut writer = PackWriter::new(out, SHARD_BYTES, claim.suffix());
    let mut summary = PackSummary { grey: described.iter().map(|part| part.grey).sum(), ..PackSummary::default() };
    for (_, at, item) in order {
        let item = &described[at].manifest.items[item];
        let split = described[at].manifest.shards[item.shard].split;
        summary.count(item.kind, split, item.frames, item.width.min(item.height) < manifest.short_side);
        let new = NewItem {
            name: item.name.clone(),
            tag: Some(item.tag.clone()),
            source: &item.source,
            kind: item.kind,
            width: item.width,
            height: item.height,
            mean_chroma: item.mean_chroma,
            split,
        };
        writer.add(new, sets[at].frames(item))?;
    }
    let merged = writer.close(manifest.short_side, manifest.sources.clone())?;
    write_description(out, MANIFEST_NAME, &merged)?;
    claim.finish(MANIFEST_NAME, &merged)?;
    summary.bytes = merged.shards.iter().map(|shard| shard.bytes).sum();
    summary.skipped = described.into_iter().flat_map(|part| part.skipped).collect();
    Ok((summary, merged.short_side))
}

/// Every part of one set, each once.
fn check_all_there(folders: &[PathBuf], parts: &[Part]) -> Result<()> {
    let first = parts.first().ok_or_else(|| anyhow!("nothing to merge: name the folder of every part"))?;
    let mut seen: BTreeMap<u32, &Path> = BTreeMap::new();
    for (folder, part) in folders.iter().zip(parts) {
        ensure!(
            (part.part.of, &part.plan) == (first.part.of, &first.plan),
            "{} is part {} of another set than {} (part {}): other inputs, or packed in another way; pack both again from the same files, \
             with the same options",
            folder.display(),
            part.part,
            folders[0].display(),
            first.part
        );
        if let Some(other) = seen.insert(part.part.index, folder) {
            anyhow::bail!("{} and {} are both part {}; name each part once", other.display(), folder.display(), part.part);
        }
    }
    let missing: Vec<String> = (1..=first.part.of).filter(|index| !seen.contains_key(index)).take(10).map(|i| i.to_string()).collect();
    ensure!(
        missing.is_empty(),
        "{} of {} parts are there; missing: {}{}",
        seen.len(),
        first.part.of,
        missing.join(", "),
        if (first.part.of as usize - seen.len()) > missing.len() { " and more" } else { "" }
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::import::test_pictures::picture;
    use super::super::pack::{InputKind, PackConfig, PackInput, pack};
    use super::*;

    /// Eleven photographs, three clips and a broken file.
    fn inputs(folder: &Path) -> Vec<PackInput> {
        let (photos, clips) = (folder.join("photos"), folder.join("clips"));
        std::fs::create_dir_all(&photos).unwrap();
        for i in 0..11 {
            picture(20 + i, 24, i).save(photos.join(format!("{i}.png"))).unwrap();
        }
        std::fs::write(photos.join("5_broken.jpg"), b"not a picture").unwrap();
        for clip in ["a", "b", "c"] {
            std::fs::create_dir_all(clips.join(clip)).unwrap();
            for frame in 0..20 {
                picture(24, 20, frame).save(clips.join(clip).join(format!("{frame}.png"))).unwrap();
            }
        }
        [(photos, InputKind::Stills), (clips, InputKind::Clips)]
            .map(|(path, kind)| PackInput { source: path.file_name().unwrap().to_string_lossy().into_owned(), path, kind })
            .to_vec()
    }

    fn config(inputs: &[PackInput], out: PathBuf, part: Option<PartOf>) -> PackConfig {
        PackConfig { inputs: inputs.to_vec(), out, short_side: 24, max_clip_frames: 8, part, ..PackConfig::default() }
    }

    fn pack_parts(folder: &Path, inputs: &[PackInput], of: u32) -> Vec<PathBuf> {
        let part = |index| {
            let out = folder.join(format!("part-{index}-of-{of}"));
            pack(&config(inputs, out.clone(), Some(PartOf { index, of })), &mut |_, _| ()).unwrap();
            out
        };
        // In any order.
        (1..=of).rev().map(part).collect()
    }

    fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        files.map(|file| (file.file_name().to_string_lossy().into_owned(), std::fs::read(file.path()).unwrap())).collect()
    }

    #[test]
    fn merged_parts_are_the_set_that_one_pack_writes() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = inputs(folder.path());
        let whole = folder.path().join("whole");
        let summary = pack(&config(&inputs, whole.clone(), None), &mut |_, _| ()).unwrap();
        // Twenty frames at eight an item: two items, and a tail that is dropped.
        assert_eq!((summary.stills, summary.clips, summary.skipped.len()), (11, 6, 1));
        // Twenty parts are more than there are things to pack.
        for of in [1, 3, 20] {
            let parts = pack_parts(folder.path(), &inputs, of);
            let merged = folder.path().join(format!("merged-{of}"));
            assert_eq!(merge(&merged, &parts, false).unwrap(), (summary.clone(), 24));
            assert!(content(&merged) == content(&whole), "{of} parts");
        }
    }

    #[test]
    fn what_does_not_belong_together_is_not_merged() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = inputs(folder.path());
        let parts = pack_parts(folder.path(), &inputs, 3);
        let out = folder.path().join("merged");
        let refused = |parts: &[PathBuf]| format!("{:#}", merge(&out, parts, false).unwrap_err());
        let message = refused(&parts[..2]);
        assert!(message.contains("2 of 3 parts are there; missing: 1"), "{message}");
        let message = refused(&[parts.clone(), vec![parts[0].clone()]].concat());
        assert!(message.contains("both part 3/3"), "{message}");
        assert!(refused(&[]).contains("nothing to merge"));
        // Packed in another way.
        let other = folder.path().join("other");
        let differs = PackConfig { max_clip_frames: 9, ..config(&inputs, other.clone(), Some(PartOf { index: 1, of: 3 })) };
        pack(&differs, &mut |_, _| ()).unwrap();
        let message = refused(&[parts[0].clone(), parts[1].clone(), other]);
        assert!(message.contains("another set"), "{message}");
        // A part is no set, and a set is no part.
        let message = format!("{:#}", PackedSet::open(&parts[0]).unwrap_err());
        assert!(message.contains("one part of a set") && message.contains("merge"), "{message}");
        let message = refused(std::slice::from_ref(&inputs[0].path));
        assert!(message.contains("part.json") && message.contains("--shard"), "{message}");
        let message = format!("{:#}", merge(&parts[0], &parts, true).unwrap_err());
        assert!(message.contains("is one of the parts"), "{message}");
        // Numbers that no part has.
        let description = parts[0].join(PART_NAME);
        let text = std::fs::read_to_string(&description).unwrap();
        for (index, of) in [(0, 3), (4, 3), (3, 0)] {
            let mut changed: serde_json::Value = serde_json::from_str(&text).unwrap();
            changed["part"] = serde_json::json!({"index": index, "of": of});
            std::fs::write(&description, changed.to_string()).unwrap();
            let message = refused(&parts);
            assert!(message.contains("part.json") && message.contains(&format!("part {index}/{of}")), "{message}");
        }
        // As an older version wrote it.
        let mut changed: serde_json::Value = serde_json::from_str(&text).unwrap();
        changed["format"] = 1.into();
        changed.as_object_mut().unwrap().remove("inputs");
        std::fs::write(&description, changed.to_string()).unwrap();
        assert!(refused(&parts).contains("format 1 found, 2 expected"));
        std::fs::write(&description, text).unwrap();
        // Of two inputs with one name nothing of the second can be read.
        let broken = folder.path().join("broken");
        std::fs::create_dir(&broken).unwrap();
        std::fs::write(broken.join("6.jpg"), b"not a picture").unwrap();
        let named = PackInput { path: broken, kind: InputKind::Stills, source: "photos".into() };
        let unreadable = pack_parts(&folder.path().join("unreadable"), &[inputs[0].clone(), named], 2);
        let message = refused(&unreadable);
        assert!(message.contains("no part has an item of input 2, \"photos\"") && message.contains("first skipped"), "{message}");
        // Damaged.
        let shard = parts[1].join("train-000.shard");
        let mut bytes = std::fs::read(&shard).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&shard, &bytes).unwrap();
        assert!(refused(&parts).contains("part-2-of-3/train-000.shard"));
        std::fs::write(&shard, &bytes[..bytes.len() - 1]).unwrap();
        let message = refused(&parts);
        assert!(message.contains("part-2-of-3/train-000.shard") && message.contains("truncated"), "{message}");
        assert!(!out.exists());
    }

    #[test]
    fn parts_are_counted_from_one() {
        assert_eq!("3/8".parse(), Ok(PartOf { index: 3, of: 8 }));
        for text in ["0/8", "9/8", "1/0", "x/2", "3", "-1/2", ""] {
            assert!(text.parse::<PartOf>().unwrap_err().contains("1/N to N/N"), "{text}");
        }
    }
}
