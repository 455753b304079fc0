//! Pictures of the same name in two folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rayon::prelude::*;

use crate::data::open_picture;
use crate::figure::pictures;

/// The largest picture file that is shown.
pub(super) const PICTURE_BYTES_MAX: u64 = 1 << 26;

/// Two pictures to choose from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Their common name, without its ending.
    pub name: String,
    /// One file from each folder.
    pub files: [PathBuf; 2],
}

/// All pairs in the order of their names, and the names that only one of the folders has.
///
/// # Errors
/// If a folder cannot be listed, holds two pictures of one name, or there is no pair.
pub fn find(left: &Path, right: &Path) -> anyhow::Result<(Vec<Pair>, Vec<String>)> {
    let (mut first, second) = (by_name(left)?, by_name(right)?);
    let (mut pairs, mut alone) = (Vec::new(), Vec::new());
    for (name, file) in second {
        match first.remove(&name) {
            Some(other) => pairs.push(Pair { name, files: [other, file] }),
            None => alone.push(name),
        }
    }
    alone.extend(first.into_keys());
    ensure!(
        !pairs.is_empty(),
        "{} and {} have no picture of the same name, so there is nothing to compare",
        left.display(),
        right.display()
    );
    Ok((pairs, alone))
}

fn by_name(folder: &Path) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    for file in pictures::list(folder)? {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(other) = files.insert(name, file.clone()) {
            anyhow::bail!("{} and {} have the same name: which is to be compared?", other.display(), file.display());
        }
    }
    Ok(files)
}

/// The names of pairs whose pictures differ in size, upright as a browser shows them. Decodes all of them: no voter is to come to one that cannot be shown.
///
/// # Errors
/// If one is no picture, is cut off, or is too large to be shown.
pub fn different_sizes(pairs: &[Pair]) -> anyhow::Result<Vec<String>> {
    let differs = |Pair { name, files: [first, second] }: &Pair| {
        for file in [first, second] {
            let bytes = file.metadata().with_context(|| format!("open {}", file.display()))?.len();
            ensure!(
                bytes <= PICTURE_BYTES_MAX,
                "{} has {bytes} bytes, and no picture of more than {PICTURE_BYTES_MAX} is shown: make it smaller, or a JPEG",
                file.display()
            );
        }
        let differs = open_picture(first)?.dimensions() != open_picture(second)?.dimensions();
        anyhow::Ok(differs.then(|| name.clone()))
    };
    let found: Vec<Option<String>> = pairs.par_iter().map(differs).collect::<anyhow::Result<_>>()?;
    Ok(found.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;

    #[test]
    fn pictures_of_one_name_are_paired_whatever_their_ending() {
        let folder = tempfile::tempdir().unwrap();
        let [left, right] = ["left", "right"].map(|name| folder.path().join(name));
        for side in [&left, &right] {
            std::fs::create_dir(side).unwrap();
        }
        for (file, width) in [(left.join("b.png"), 4), (right.join("b.jpg"), 4), (left.join("a.png"), 4), (right.join("a.png"), 5)] {
            RgbImage::new(width, 3).save(file).unwrap();
        }
        RgbImage::new(4, 3).save(left.join("only.png")).unwrap();
        let (pairs, alone) = find(&left, &right).unwrap();
        let expected = [("a", "a.png", "a.png"), ("b", "b.png", "b.jpg")];
        assert_eq!(pairs, expected.map(|(name, first, second)| Pair { name: name.into(), files: [left.join(first), right.join(second)] }));
        assert_eq!(alone, ["only"]);
        assert_eq!(different_sizes(&pairs).unwrap(), ["a"]);
        // Cut off behind its head: a voter could never see it.
        let bytes = std::fs::read(left.join("b.png")).unwrap();
        std::fs::write(left.join("b.png"), &bytes[..bytes.len() - 30]).unwrap();
        assert!(format!("{:#}", different_sizes(&pairs).unwrap_err()).contains("b.png"));
        // Whole, but larger than what is sent: what follows a PNG's end is no part of the picture.
        std::fs::write(left.join("b.png"), &bytes).unwrap();
        std::fs::File::options().write(true).open(left.join("b.png")).unwrap().set_len(PICTURE_BYTES_MAX + 1).unwrap();
        let said = format!("{:#}", different_sizes(&pairs).unwrap_err());
        assert!(said.contains("b.png has 67108865 bytes"), "{said}");
        RgbImage::new(4, 3).save(left.join("a.jpg")).unwrap();
        assert!(find(&left, &right).unwrap_err().to_string().contains("a.jpg"));
        let empty = folder.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        assert!(find(&empty, &right).unwrap_err().to_string().contains("nothing to compare"));
    }
}
