//! Training pictures to take colors from.

use std::collections::HashSet;

use anyhow::ensure;
use autochrome_model::Plane;

use super::exhibits::Exhibits;
use super::grey_luma;
use crate::data::shard::{Item, ItemKind, PackedSet};
use crate::data::split::Split;

/// A picture to take colors from.
#[derive(Clone, Debug)]
pub struct Reference {
    /// Its name in the packed set.
    pub name: String,
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// `width * height * 3` bytes, RGB.
    pub rgb: Vec<u8>,
}

/// A spread of a packed set's training stills. Never of its validation stills: a reference that is the picture itself would be the truth.
pub struct References {
    pictures: Vec<Reference>,
    /// Of each picture, the share of pixels at or below each luma code.
    spreads: Vec<[f32; 256]>,
}

impl References {
    /// At most `most` stills of the training split, evenly spread, without the pictures of `measured`, by source and name or by their pixels: a
    /// reference that is the picture itself would be the truth.
    ///
    /// # Errors
    /// If there is none, or none is left.
    pub fn apart_from(measured: &Exhibits, set: &PackedSet, most: usize) -> anyhow::Result<Self> {
        let names = measured.stills().iter().map(|item| (item.source.as_str(), item.name.as_str())).collect();
        let pixels = measured.stills().iter().map(|item| measured.set().picture(item)).collect();
        Self::of(set, most, &names, &pixels)
    }

    fn of(set: &PackedSet, most: usize, names: &HashSet<(&str, &str)>, pixels: &HashSet<&[u8]>) -> anyhow::Result<Self> {
        let folder = set.folder().display();
        let mut items: Vec<&Item> = set.items(Split::Train).iter().filter(|item| item.kind == ItemKind::Still).collect();
        ensure!(!items.is_empty(), "{folder} has no training stills to take colors from; name another packed set");
        items.retain(|item| !names.contains(&(item.source.as_str(), item.name.as_str())));
        let count = items.len().min(most.max(1));
        let chosen = (0..count).map(|i| items[i * items.len() / count]).filter(|item| !pixels.contains(set.picture(item)));
        let pictures: Vec<Reference> = chosen
            .map(|item| Reference {
                name: item.name.clone(),
                width: item.width as usize,
                height: item.height as usize,
                rgb: set.picture(item).to_vec(),
            })
            .collect();
        ensure!(
            !pictures.is_empty(),
            "the training stills of {folder} are the very pictures that are measured, and would give away the truth; name another packed set"
        );
        let spreads = pictures.iter().map(|picture| spread(&grey_luma(&picture.rgb, picture.width, picture.height))).collect();
        Ok(Self { pictures, spreads })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pictures.len()
    }

    /// Never: [`apart_from`](Self::apart_from) refuses.
    pub fn is_empty(&self) -> bool {
        self.pictures.is_empty()
    }

    /// One of them.
    pub fn picture(&self, index: usize) -> &Reference {
        &self.pictures[index]
    }

    /// The one whose luma histogram is nearest, by the earth mover's distance; the first of equals.
    pub fn nearest(&self, grey: &Plane<u8>) -> usize {
        let wanted = spread(grey);
        let distance = |spread: &[f32; 256]| spread.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).sum::<f32>();
        let distances = self.spreads.iter().map(distance).enumerate();
        distances.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(index, _)| index)
    }
}

fn spread(grey: &Plane<u8>) -> [f32; 256] {
    let mut counts = [0_u32; 256];
    grey.data.iter().for_each(|&v| counts[usize::from(v)] += 1);
    let mut below = 0;
    counts.map(|count| {
        below += count;
        below as f32 / grey.data.len().max(1) as f32
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use super::*;
    use crate::data::shard::test_sets::small_set;
    use crate::evaluate::Share;

    #[test]
    fn the_nearest_is_the_training_picture_of_the_same_brightness() {
        let folder = tempfile::tempdir().unwrap();
        let references = References::of(&small_set(folder.path()), 100, &HashSet::new(), &HashSet::new()).unwrap();
        assert_eq!(references.len(), 4, "stills of the training split only");
        let third = references.picture(2);
        assert_eq!(third.name, "still_2.png");
        assert_eq!(references.nearest(&grey_luma(&third.rgb, third.width, third.height)), 2);
    }

    #[test]
    fn a_measured_picture_is_no_reference() {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [set, same] = folders.each_ref().map(|folder| small_set(folder.path()));
        let names = |references: &References| (0..references.len()).map(|i| references.picture(i).name.clone()).collect::<Vec<_>>();
        // All but one training still of another set of the same pictures.
        let exhibits = Exhibits::choose(&set, Share::Of(Split::Train), 3).unwrap();
        let references = References::apart_from(&exhibits, &same, 100).unwrap();
        assert_eq!(names(&references), ["still_3.png"]);
        // By their pixels, whatever they are called.
        let pixels: HashSet<&[u8]> = exhibits.stills().iter().map(|item| set.picture(item)).collect();
        assert_eq!(names(&References::of(&same, 100, &HashSet::new(), &pixels).unwrap()), ["still_3.png"]);
        let all = Exhibits::choose(&set, Share::Whole, 100).unwrap();
        let message = References::apart_from(&all, &same, 100).err().unwrap().to_string();
        assert!(message.contains("give away the truth"), "{message}");
    }
}
