//! Folders of files, in the order in which a person would read their names.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub(in crate::data) const PICTURE_EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];
pub(in crate::data) const VIDEO_EXTENSIONS: [&str; 10] = ["mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "y4m"];

/// Pictures of a folder and its sub-folders, appended to `found`.
pub(in crate::data) fn collect_pictures(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in list(folder)? {
        // A link to a folder is not followed: it could lead back to where it came from.
        let kind = std::fs::symlink_metadata(&entry).with_context(|| format!("look at {}", entry.display()))?.file_type();
        if kind.is_dir() {
            collect_pictures(&entry, found)?;
        } else if is_picture(&entry) && entry.is_file() {
            found.push(entry);
        }
    }
    Ok(())
}

/// The entries of a folder in the order of their names, hidden ones left out.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("list the folder {}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("list the folder {}", folder.display()))?.path();
        if !name_of(&path).starts_with('.') {
            paths.push(path);
        }
    }
    paths.sort_by(|a, b| by_name(&name_of(a), &name_of(b)));
    Ok(paths)
}

/// Orders names as a person would: `frame2` before `frame10`.
fn by_name(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    while let (Some(&x), Some(&y)) = (left.first(), right.first()) {
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let (m, n) = (digits(left), digits(right));
            let (number_a, number_b) = (without_zeros(&left[..m]), without_zeros(&right[..n]));
            let order = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
            if order.is_ne() {
                return order;
            }
            (left, right) = (&left[m..], &right[n..]);
        } else if x != y {
            return x.cmp(&y);
        } else {
            (left, right) = (&left[1..], &right[1..]);
        }
    }
    // `1.jpg` and `01.jpg` are the same number and different names.
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().take_while(|&&digit| digit == b'0').count()..]
}

pub(in crate::data) fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

pub(crate) fn is_picture(path: &Path) -> bool {
    has_extension(path, &PICTURE_EXTENSIONS)
}

pub(in crate::data) fn is_video(path: &Path) -> bool {
    has_extension(path, &VIDEO_EXTENSIONS)
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|found| extensions.iter().any(|known| found.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_their_numbers() {
        let mut names = ["f10.jpg", "f9.jpg", "f009.jpg", "e11.jpg", "f10b.jpg"];
        names.sort_by(|a, b| by_name(a, b));
        assert_eq!(names, ["e11.jpg", "f009.jpg", "f9.jpg", "f10.jpg", "f10b.jpg"]);
    }
}
