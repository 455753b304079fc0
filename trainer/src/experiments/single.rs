//! A packed set of one picture, which both splits have: can the network and the loss learn anything at all?

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::data::pack::{InputKind, PackConfig, PackInput, pack};
use crate::data::shard::{ItemKind, MANIFEST_NAME, PackedSet};
use crate::data::split::{Split, split_of};
use crate::files::write_atomically;
use crate::metrics::colorfulness;

/// Packs the middle of the most colorful of the first stills of `from`, of the shape `width` x `height`, as `folder`/set and returns that folder's path. What
/// training sees is then all that is measured.
///
/// # Errors
/// If `from` has no still or a file cannot be written.
pub(super) fn picture_set(from: &PackedSet, [width, height]: [usize; 2], folder: &Path) -> anyhow::Result<PathBuf> {
    const LOOKED_AT: usize = 50;
    let packed = folder.join("set");
    let origin = folder.join("source.sha256");
    if packed.join(MANIFEST_NAME).exists() {
        // Those from before this was written down are believed.
        let known = origin.exists().then(|| std::fs::read_to_string(&origin)).transpose();
        let known = known.with_context(|| format!("read {}", origin.display()))?;
        ensure!(
            known.is_none_or(|known| known == from.hash()),
            "{} has a picture of another packed set than {} is; choose another folder, or remove this one",
            folder.display(),
            from.folder().display()
        );
        return Ok(packed);
    }
    let stills = from.items(Split::Train).iter().filter(|item| item.kind == ItemKind::Still).take(LOOKED_AT);
    let item = stills
        .max_by(|a, b| colorfulness(from.frame(a, 0), false).total_cmp(&colorfulness(from.frame(b, 0), false)))
        .with_context(|| format!("{} has no stills to train on", from.folder().display()))?;
    let picture = image::RgbImage::from_raw(item.width, item.height, from.frame(item, 0).to_vec()).context("the still's size")?;
    let shape = width as f64 / height as f64;
    let (across, down) = (f64::from(item.width), f64::from(item.height));
    let [inner_width, inner_height] = [across.min(down * shape), down.min(across / shape)].map(|side| side.round() as u32);
    let (left, top) = ((item.width - inner_width) / 2, (item.height - inner_height) / 2);
    let picture = image::imageops::crop_imm(&picture, left, top, inner_width, inner_height).to_image();
    let pictures = folder.join("pictures");
    std::fs::create_dir_all(&pictures).with_context(|| format!("create {}", pictures.display()))?;
    // A name decides the split: one for each.
    for split in Split::ALL {
        let name = (0..).map(|i| format!("picture_{i}.png")).find(|name| split_of(name) == split).context("a name for each split")?;
        let file = pictures.join(name);
        picture.save(&file).with_context(|| format!("write {}", file.display()))?;
    }
    let input = PackInput { path: pictures, kind: InputKind::Stills, source: "picture".into() };
    let config =
        PackConfig { inputs: vec![input], out: packed.clone(), short_side: inner_width.min(inner_height), ..PackConfig::default() };
    // Before the set, which is believed once it is there.
    write_atomically(&origin, from.hash().as_bytes())?;
    pack(&config, &mut |_, _| ())?;
    Ok(packed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use super::*;

    #[test]
    fn both_splits_have_the_most_colorful_picture_in_the_shape_of_the_training() {
        let folder = tempfile::tempdir().unwrap();
        let photos = folder.path().join("photos");
        std::fs::create_dir(&photos).unwrap();
        for (index, blue) in (0_u8..).zip([130, 20, 100]) {
            let name = (0..).map(|i| format!("picture_{index}_{i}.png")).find(|name| split_of(name) == Split::Train).unwrap();
            // Told from the others by its blue, and the middle from its borders by red.
            let middle = |x: u32| if (8..56).contains(&x) { 200 } else { 90 };
            image::RgbImage::from_fn(64, 48, |x, _| image::Rgb([middle(x), 130, blue])).save(photos.join(name)).unwrap();
        }
        let input = PackInput { path: photos, kind: InputKind::Stills, source: "photos".into() };
        let config = PackConfig { inputs: vec![input], out: folder.path().join("pack"), short_side: 48, ..PackConfig::default() };
        pack(&config, &mut |_, _| ()).unwrap();
        let packed = picture_set(&PackedSet::open(&config.out).unwrap(), [128, 128], &folder.path().join("picture")).unwrap();
        let set = PackedSet::open(&packed).unwrap();
        for split in Split::ALL {
            let [item] = set.items(split) else { panic!("{} pictures in {split}", set.items(split).len()) };
            assert_eq!((item.width, item.height), (48, 48));
            assert!(set.frame(item, 0).chunks_exact(3).all(|pixel| pixel == [200, 130, 20]), "another picture, or more than its middle");
        }
        // Made once of one set, and of no other.
        let from = PackedSet::open(&config.out).unwrap();
        assert_eq!(picture_set(&from, [128, 128], &folder.path().join("picture")).unwrap(), packed);
        let refused = picture_set(&set, [128, 128], &folder.path().join("picture")).unwrap_err().to_string();
        assert!(refused.contains("has a picture of another packed set"), "{refused}");
    }
}
