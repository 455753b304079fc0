//! The pictures that everyone is measured on.

use anyhow::ensure;

use super::pictures::TruePicture;
use crate::data::shard::{Item, ItemKind, PackedSet};
use crate::data::split::Split;
use crate::metrics::SSIM_SIDE;

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
    share: Share,
    /// Of each source evenly spread, in the set's order.
    stills: Vec<&'a Item>,
    clips: Vec<&'a Item>,
}

impl<'a> Exhibits<'a> {
    /// All clips of `share`, and at most `limit` stills of each source; where there are clips alone, their first frames are the stills.
    ///
    /// # Errors
    /// If there is neither, or one too small for the figures.
    pub fn choose(set: &'a PackedSet, share: Share, limit: usize) -> anyhow::Result<Self> {
        let splits = match share {
            Share::Of(split) => vec![split],
            Share::Whole => Split::ALL.to_vec(),
        };
        let items: Vec<&Item> = splits.iter().flat_map(|split| set.items(*split)).collect();
        let mut stills: Vec<&Item> = items.iter().copied().filter(|item| item.kind == ItemKind::Still).collect();
        if stills.is_empty() {
            // Of clips alone, their first frames are the stills.
            stills = items.clone();
        }
        let (folder, part) = (set.folder().display(), share.name());
        ensure!(!stills.is_empty(), "{folder} has nothing in its {part} split; pack photographs or clips, or choose another split");
        let least = SSIM_SIDE as u32;
        if let Some(small) = items.iter().find(|item| item.width.min(item.height) < least) {
            anyhow::bail!("{} in {folder} is {}x{}; figures need at least {least} pixels a side", small.name, small.width, small.height);
        }
        let stills = sources(&stills).iter().flat_map(|source| spread(&of_source(&stills, source), limit)).collect();
        let clips = items.into_iter().filter(|item| item.kind == ItemKind::Clip).collect();
        Ok(Self { set, share, stills, clips })
    }

    /// The packed set.
    pub fn set(&self) -> &'a PackedSet {
        self.set
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

    /// One frame of an item.
    pub fn picture(&self, item: &Item, frame: usize) -> TruePicture {
        TruePicture::new(self.set.frame(item, frame), item.width as usize, item.height as usize)
    }
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
