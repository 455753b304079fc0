//! A packed set of one picture, which both splits have: can the network and the loss learn anything at all?

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::data::pack::{InputKind, PackConfig, PackInput, pack};
use crate::data::shard::{ItemKind, MANIFEST_NAME, PackedSet};
use crate::data::split::{Split, split_of};
use crate::metrics::colorfulness;

/// Packs the most colorful of the first stills of `from` as `folder`/set and returns that folder's path.
///
/// # Errors
/// If `from` has no still or a file cannot be written.
pub(super) fn picture_set(from: &PackedSet, folder: &Path) -> anyhow::Result<PathBuf> {
    const LOOKED_AT: usize = 50;
    let packed = folder.join("set");
    if packed.join(MANIFEST_NAME).exists() {
        return Ok(packed);
    }
    let stills = from.items(Split::Train).iter().filter(|item| item.kind == ItemKind::Still).take(LOOKED_AT);
    let item = stills
        .max_by(|a, b| colorfulness(from.frame(a, 0), false).total_cmp(&colorfulness(from.frame(b, 0), false)))
        .with_context(|| format!("{} has no stills to train on", from.folder().display()))?;
    let picture = image::RgbImage::from_raw(item.width, item.height, from.frame(item, 0).to_vec()).context("the still's size")?;
    let pictures = folder.join("pictures");
    std::fs::create_dir_all(&pictures).with_context(|| format!("create {}", pictures.display()))?;
    // A name decides the split: one for each.
    for split in Split::ALL {
        let name = (0..).map(|i| format!("picture_{i}.png")).find(|name| split_of(name) == split).context("a name for each split")?;
        let file = pictures.join(name);
        picture.save(&file).with_context(|| format!("write {}", file.display()))?;
    }
    let input = PackInput { path: pictures, kind: InputKind::Stills, source: "picture".into() };
    let config = PackConfig { inputs: vec![input], out: packed.clone(), short_side: item.width.min(item.height), ..PackConfig::default() };
    pack(&config, &mut |_, _| ())?;
    Ok(packed)
}
