//! Before and after: once a second of the feed, what went in, what came out, and both side by side.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::ExtendedColorType;

use super::pngs::{encode_png, full_range_luma, save, save_rgb};
use crate::coloring::Colored;
use crate::errors::{Exit, OrFail, Result};
use crate::files::{create_folder, write_whole};
use crate::input::photos;

/// A folder that fills with `0001-before.png`, `0001-after.png`, `0001-side-by-side.png`, and so on: from the first pass over the demo's
/// photographs, so that a demo that nobody stops does not fill the disk.
pub struct Pairs {
    folder: PathBuf,
    count: u64,
    /// The last frame, for a run that ends before its first pair.
    last: Option<Arc<Colored>>,
}

impl Pairs {
    /// Makes the folder, if it is not there.
    ///
    /// # Errors
    /// [`Exit::CannotCreate`].
    pub fn create(folder: &Path) -> Result<Self> {
        create_folder(folder)?;
        Ok(Self { folder: folder.to_owned(), count: 0, last: None })
    }

    /// Writes a pair if the frame completes another second.
    ///
    /// # Errors
    /// [`Exit::CannotCreate`] or [`Exit::Broken`].
    pub fn show(&mut self, colored: &Arc<Colored>) -> Result<()> {
        // A live feed drops frames, so the one in the middle of a second may be missing.
        let due = colored.sequence >= self.count * photos::RATE + photos::RATE / 2;
        if due && colored.sequence < photos::FRAMES_ALL {
            return self.write(colored);
        }
        self.last = Some(Arc::clone(colored));
        Ok(())
    }

    /// Writes the last frame if there was no pair yet.
    ///
    /// # Errors
    /// As [`show`](Self::show).
    pub fn finish(&mut self) -> Result<()> {
        match self.last.take() {
            Some(last) if self.count == 0 => self.write(&last),
            _ => Ok(()),
        }
    }

    fn write(&mut self, colored: &Colored) -> Result<()> {
        self.count = self.count.max(colored.sequence / photos::RATE) + 1;
        let place = |what: &str| self.folder.join(format!("{:04}-{what}.png", self.count));
        let Colored { picture, range, .. } = colored;
        let (width, height) = (picture.luma.width, picture.luma.height);
        let before = full_range_luma(picture, *range);
        let grey = encode_png(&before, width, height, ExtendedColorType::L8).or_fail(Exit::Other, || "encode a PNG".into())?;
        write_whole(&place("before"), &grey)?;
        save(&place("after"), picture, *range)?;
        let after = picture.to_rgb(*range);
        let mut both = Vec::with_capacity(after.len() * 2);
        for (grey, color) in before.chunks_exact(width).zip(after.chunks_exact(3 * width)) {
            both.extend(grey.iter().flat_map(|&value| [value; 3]));
            both.extend_from_slice(color);
        }
        save_rgb(&place("side-by-side"), 2 * width, height, &both)
    }
}
