//! The pictures that everyone is measured on.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use autochrome_model::color::srgb_to_lab;

use super::pictures::TruePicture;
use crate::data::shard::{Item, ItemKind, PackedSet};
use crate::data::split::Split;
use crate::metrics::SSIM_SIDE;

/// A picture whose chroma, as the root mean square in Lab units, is below this has no color to be found. Grey is right there to within a code or so (about
/// 48 dB), and where it is right to the bit a picture has more than 80 dB: in a mean it would stand for many others.
const CHROMA_LEAST: f32 = 1.0;

/// Pixels of a picture that its chroma is told by.
const CHROMA_PIXELS: usize = 2000;

/// Which part of a packed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// One split.
    Of(Split),
    /// Both: a set that was packed to be measured on, not to be trained on.
    Whole,
}

impl Share {
    /// The split's name, or "all".
    pub fn name(self) -> &'static str {
        match self {
            Self::Of(split) => split.name(),
            Self::Whole => "all",
        }
    }
}

/// Stills and clips of a packed set.
pub struct Exhibits<'a> {
    set: &'a PackedSet,
    origin: PathBuf,
    share: Share,
    too_small: usize,
    colorless: usize,
    /// Of each source evenly spread, in the set's order.
    stills: Vec<&'a Item>,
    clips: Vec<&'a Item>,
}

impl<'a> Exhibits<'a> {
    /// All clips of `share`, and at most `limit` stills of each source; where there are clips alone, their middle frames are the stills.
    /// What is too small for the figures, below [`SSIM_SIDE`] pixels a side, is left out, and so are stills without color.
    ///
    /// # Errors
    /// If nothing is left.
    pub fn choose(set: &'a PackedSet, share: Share, limit: usize) -> anyhow::Result<Self> {
        Self::choose_from(set.folder(), set, share, limit)
    }

    /// [`choose`](Self::choose), where the set was packed from `origin` for this once: messages and tables name that.
    ///
    /// # Errors
    /// If nothing is left.
    pub fn choose_from(origin: &Path, set: &'a PackedSet, share: Share, limit: usize) -> anyhow::Result<Self> {
        let mut exhibits = Self::of(origin, set, share)?;
        let found = exhibits.stills.len();
        exhibits.stills.retain(|item| has_color(set.picture(item)));
        exhibits.colorless = found - exhibits.stills.len();
        ensure!(
            !exhibits.stills.is_empty(),
            "none of the {found} pictures in the {} split of {} has any color that could be found",
            share.name(),
            origin.display()
        );
        let sources = sources(&exhibits.stills);
        exhibits.stills = sources.iter().flat_map(|source| spread(&of_source(&exhibits.stills, source), limit)).collect();
        Ok(exhibits)
    }

    /// All pictures of `set`, to be looked at and not to be measured: those without color, too.
    ///
    /// # Errors
    /// If there is none of [`SSIM_SIDE`] pixels a side or more.
    pub fn to_show(set: &'a PackedSet) -> anyhow::Result<Self> {
        Self::of(set.folder(), set, Share::Whole)
    }

    fn of(origin: &Path, set: &'a PackedSet, share: Share) -> anyhow::Result<Self> {
        let splits = match share {
            Share::Of(split) => vec![split],
            Share::Whole => Split::ALL.to_vec(),
        };
        let mut items: Vec<&Item> = splits.iter().flat_map(|split| set.items(*split)).collect();
        let (folder, part) = (origin.display(), share.name());
        ensure!(!items.is_empty(), "{folder} has nothing in its {part} split; pack photographs or clips, or choose another split");
        let found = items.len();
        items.retain(|item| item.width.min(item.height) as usize >= SSIM_SIDE);
        let too_small = found - items.len();
        ensure!(!items.is_empty(), "all {found} pictures in {folder} are too small: figures need at least {SSIM_SIDE} pixels a side");
        let mut stills: Vec<&Item> = items.iter().copied().filter(|item| item.kind == ItemKind::Still).collect();
        if stills.is_empty() {
            // Of clips alone, their middle frames are the stills.
            stills = items.clone();
        }
        let stills = sources(&stills).iter().flat_map(|source| of_source(&stills, source)).collect();
        let clips = items.into_iter().filter(|item| item.kind == ItemKind::Clip).collect();
        Ok(Self { set, origin: origin.to_path_buf(), share, too_small, colorless: 0, stills, clips })
    }

    /// The packed set.
    pub fn set(&self) -> &'a PackedSet {
        self.set
    }

    /// What it is called: the folder's or file's own name.
    pub fn name(&self) -> String {
        self.origin.file_name().map_or_else(|| self.origin.display().to_string(), |name| name.to_string_lossy().into_owned())
    }

    /// How many items were left out, as they have a side below [`SSIM_SIDE`] pixels.
    pub fn too_small(&self) -> usize {
        self.too_small
    }

    /// How many stills were left out besides, as they have no color.
    pub fn colorless(&self) -> usize {
        self.colorless
    }

    /// The part of it.
    pub fn share(&self) -> Share {
        self.share
    }

    /// The stills, source by source.
    pub fn stills(&self) -> &[&'a Item] {
        &self.stills
    }

    /// The clips.
    pub fn clips(&self) -> &[&'a Item] {
        &self.clips
    }

    /// The sources of the stills, in their order.
    pub fn sources(&self) -> Vec<&'a str> {
        sources(&self.stills)
    }

    /// At most `count` stills, evenly spread over all sources.
    pub fn some_stills(&self, count: usize) -> Vec<&'a Item> {
        spread(&self.stills, count)
    }

    /// The picture of an item: [`PackedSet::picture`].
    pub fn still(&self, item: &Item) -> TruePicture {
        TruePicture::new(self.set.picture(item), item.width as usize, item.height as usize)
    }

    /// One frame of an item.
    pub fn picture(&self, item: &Item, frame: usize) -> TruePicture {
        TruePicture::new(self.set.frame(item, frame), item.width as usize, item.height as usize)
    }
}

fn has_color(rgb: &[u8]) -> bool {
    // An odd step does not walk along a column.
    let step = (rgb.len() / 3 / CHROMA_PIXELS).max(1) | 1;
    let (mut sum, mut count) = (0.0, 0.0);
    for pixel in rgb.chunks_exact(3).step_by(step) {
        let [_, a, b] = srgb_to_lab([pixel[0], pixel[1], pixel[2]]);
        sum += a * a + b * b;
        count += 1.0;
    }
    sum >= CHROMA_LEAST * CHROMA_LEAST * count
}

fn sources<'a>(items: &[&'a Item]) -> Vec<&'a str> {
    let mut found: Vec<&str> = Vec::new();
    for item in items {
        if !found.contains(&item.source.as_str()) {
            found.push(&item.source);
        }
    }
    found
}

fn of_source<'a>(items: &[&'a Item], source: &str) -> Vec<&'a Item> {
    items.iter().copied().filter(|item| item.source == source).collect()
}

fn spread<'a>(items: &[&'a Item], most: usize) -> Vec<&'a Item> {
    let count = items.len().min(most.max(1));
    (0..count).map(|i| items[i * items.len() / count]).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use super::*;
    use crate::data::pack::{InputKind, PackConfig, PackInput, pack};

    #[test]
    fn pictures_that_are_too_small_or_have_no_color_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let photos = folder.path().join("photos");
        std::fs::create_dir(&photos).unwrap();
        let packed = |name: &str| {
            let out = folder.path().join(name);
            let inputs = vec![PackInput { path: photos.clone(), kind: InputKind::Stills, source: "photos".into() }];
            pack(&PackConfig { inputs, out: out.clone(), ..PackConfig::default() }, &mut |_, _| ()).unwrap();
            PackedSet::open(&out).unwrap()
        };
        let side = SSIM_SIDE as u32;
        let save = |name: &str, height: u32, color: [u8; 3]| {
            image::RgbImage::from_pixel(40, height, image::Rgb(color)).save(photos.join(name)).unwrap();
        };
        save("flat.png", side - 1, [200, 80, 60]);
        let set = packed("small");
        let message = Exhibits::choose_from(&photos, &set, Share::Whole, 9).err().unwrap().to_string();
        assert!(message.contains("photos are too small") && !message.contains("packed"), "{message}");
        save("grey.png", side, [90, 90, 91]);
        let set = packed("grey");
        let message = Exhibits::choose_from(&photos, &set, Share::Whole, 9).err().unwrap().to_string();
        assert!(message.contains("none of the 1 pictures") && message.contains("has any color"), "{message}");
        // To be looked at it will do.
        assert_eq!(Exhibits::to_show(&set).unwrap().stills().len(), 1);
        // A red berry in the snow: a hundredth of the pixels.
        let berry = |x, y| image::Rgb(if x < 2 && y < 2 { [200, 20, 30] } else { [240; 3] });
        image::RgbImage::from_fn(40, side, berry).save(photos.join("berry.png")).unwrap();
        save("tall enough.png", side, [90, 100, 90]);
        let set = packed("mixed");
        let exhibits = Exhibits::choose_from(&photos, &set, Share::Whole, 9).unwrap();
        assert_eq!((exhibits.stills().len(), exhibits.too_small(), exhibits.colorless()), (2, 1, 1));
        assert_eq!(exhibits.name(), "photos");
    }

    #[test]
    fn a_film_that_fades_in_from_black_is_shown_by_its_middle() {
        let folder = tempfile::tempdir().unwrap();
        let clip = folder.path().join("films/opening");
        std::fs::create_dir_all(&clip).unwrap();
        for frame in 0..8_u8 {
            let picture = image::RgbImage::from_pixel(40, SSIM_SIDE as u32, image::Rgb([30 * frame, 10 * frame, 0]));
            picture.save(clip.join(format!("{frame}.png"))).unwrap();
        }
        let out = folder.path().join("packed");
        let inputs = vec![PackInput { path: folder.path().join("films"), kind: InputKind::Clips, source: "films".into() }];
        pack(&PackConfig { inputs, out: out.clone(), ..PackConfig::default() }, &mut |_, _| ()).unwrap();
        let set = PackedSet::open(&out).unwrap();
        let exhibits = Exhibits::choose(&set, Share::Whole, 9).unwrap();
        assert_eq!((exhibits.stills().len(), exhibits.clips().len()), (1, 1));
        assert_eq!(exhibits.still(exhibits.stills()[0]).rgb[..3], [120, 40, 0]);
    }
}
