//! Pictures to look at: what everyone makes of the same few stills and clips.

use anyhow::Context;

use super::colorist::Contestant;
use super::exhibits::Exhibits;
use super::moving::colored;

/// Frames of a film strip.
const STRIP_FRAMES: usize = 8;
/// Clips that are shown.
const CLIPS: usize = 4;

/// What everyone makes of the same few pictures.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Stills.
    pub pictures: Vec<SamplePicture>,
    /// Clips.
    pub strips: Vec<FilmStrip>,
}

/// A still in every form.
#[derive(Clone, Debug)]
pub struct SamplePicture {
    /// Its name in the packed set.
    pub name: String,
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// RGB of each row, in the rows' order, then the truth.
    pub versions: Vec<Vec<u8>>,
}

/// A clip in every form, every n-th frame side by side.
#[derive(Clone, Debug)]
pub struct FilmStrip {
    /// Its name in the packed set.
    pub name: String,
    /// Of the whole strip, pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Which frames of the clip are shown, from 0.
    pub frames: Vec<usize>,
    /// RGB of each row's strip, in the rows' order, then the truth.
    pub versions: Vec<Vec<u8>>,
}

impl Samples {
    /// `count` stills, evenly spread, and the first clips.
    pub(super) fn take(contestants: &mut [Contestant], exhibits: &Exhibits, count: usize, mut done: impl FnMut()) -> anyhow::Result<Self> {
        let mut samples = Self::default();
        if count == 0 {
            return Ok(samples);
        }
        for item in exhibits.some_stills(count) {
            let truth = exhibits.picture(item, 0);
            let (width, height) = truth.size();
            let mut versions = Vec::new();
            for Contestant { name, colorist, .. } in &mut *contestants {
                colorist.begin();
                let chroma = colorist.color(&truth.grey).with_context(|| format!("color {} with {name}", item.name))?;
                versions.push(truth.colored(&chroma));
            }
            versions.push(truth.rgb);
            samples.pictures.push(SamplePicture { name: item.name.clone(), width, height, versions });
            done();
        }
        for item in exhibits.clips().iter().take(CLIPS) {
            let truth: Vec<_> = (0..item.frames as usize).map(|frame| exhibits.picture(item, frame)).collect();
            let shown = truth.len().min(STRIP_FRAMES);
            let frames: Vec<usize> = (0..shown).map(|i| i * truth.len() / shown).collect();
            let (width, height) = truth[0].size();
            let strip = |pictures: Vec<Vec<u8>>| -> Vec<u8> {
                (0..height).flat_map(|y| pictures.iter().flat_map(move |rgb| &rgb[y * width * 3..][..width * 3])).copied().collect()
            };
            let mut versions = Vec::new();
            for Contestant { name, colorist, .. } in &mut *contestants {
                let colors = colored(&mut **colorist, &truth).with_context(|| format!("color {} with {name}", item.name))?;
                versions.push(strip(frames.iter().map(|&frame| truth[frame].colored(&colors[frame])).collect()));
            }
            versions.push(strip(frames.iter().map(|&frame| truth[frame].rgb.clone()).collect()));
            samples.strips.push(FilmStrip { name: item.name.clone(), width: width * shown, height, frames, versions });
            done();
        }
        Ok(samples)
    }

    /// How many steps of progress [`take`](Self::take) takes.
    pub(super) fn steps(exhibits: &Exhibits, count: usize) -> usize {
        if count == 0 { 0 } else { exhibits.some_stills(count).len() + exhibits.clips().len().min(CLIPS) }
    }
}
