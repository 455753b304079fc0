//! Pictures to look at: what everyone makes of the same few stills and clips.

use anyhow::{Context, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use serde::{Deserialize, Serialize};

use super::colorist::Contestant;
use super::exhibits::Exhibits;
use super::moving::colored;

/// Quality of the samples' JPEGs; they keep chroma at full size.
const JPEG_QUALITY: u8 = 90;
/// Frames of a film strip.
const STRIP_FRAMES: usize = 8;
/// Clips that are shown.
const CLIPS: usize = 4;

/// A JPEG file; in JSON its Base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Jpeg(Vec<u8>);

/// What everyone makes of the same few pictures.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Samples {
    /// Stills.
    pub pictures: Vec<SamplePicture>,
    /// Clips.
    pub strips: Vec<FilmStrip>,
}

/// A still in every form.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SamplePicture {
    /// Its name in the packed set.
    pub name: String,
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Of each row, in the rows' order, then the truth.
    pub versions: Vec<Jpeg>,
}

/// A clip in every form, every n-th frame side by side.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FilmStrip {
    /// Its name in the packed set.
    pub name: String,
    /// Of the whole strip, pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Which frames of the clip are shown, from 0.
    pub frames: Vec<usize>,
    /// Of each row, in the rows' order, then the truth.
    pub versions: Vec<Jpeg>,
}

impl Samples {
    /// `count` stills, evenly spread, and the first clips.
    pub(super) fn take(contestants: &mut [Contestant], exhibits: &Exhibits, count: usize, mut done: impl FnMut()) -> anyhow::Result<Self> {
        let mut samples = Self::default();
        if count == 0 {
            return Ok(samples);
        }
        for item in exhibits.some_stills(count) {
            let truth = exhibits.still(item);
            let (width, height) = truth.size();
            let mut versions = Vec::new();
            for Contestant { name, colorist, .. } in &mut *contestants {
                colorist.begin();
                let chroma = colorist.color(&truth.grey).with_context(|| format!("color {} with {name}", item.name))?;
                versions.push(Jpeg::encode(&truth.colored(&chroma), truth.size())?);
            }
            versions.push(Jpeg::encode(&truth.rgb, truth.size())?);
            samples.pictures.push(SamplePicture { name: item.name.clone(), width, height, versions });
            done();
        }
        for item in exhibits.clips().iter().take(CLIPS) {
            let truth: Vec<_> = (0..item.frames as usize).map(|frame| exhibits.picture(item, frame)).collect();
            let shown = truth.len().min(STRIP_FRAMES);
            let frames: Vec<usize> = (0..shown).map(|i| i * truth.len() / shown).collect();
            let (width, height) = truth[0].size();
            let strip = |pictures: Vec<Vec<u8>>| {
                let row = |y: usize| pictures.iter().flat_map(move |rgb| &rgb[y * width * 3..][..width * 3]).copied();
                Jpeg::encode(&(0..height).flat_map(row).collect::<Vec<u8>>(), (width * shown, height))
            };
            let mut versions = Vec::new();
            for Contestant { name, colorist, .. } in &mut *contestants {
                let colors = colored(&mut **colorist, &truth).with_context(|| format!("color {} with {name}", item.name))?;
                versions.push(strip(frames.iter().map(|&frame| truth[frame].colored(&colors[frame])).collect())?);
            }
            versions.push(strip(frames.iter().map(|&frame| truth[frame].rgb.clone()).collect())?);
            samples.strips.push(FilmStrip { name: item.name.clone(), width: width * shown, height, frames, versions });
            done();
        }
        Ok(samples)
    }

    /// Every picture's and strip's versions.
    fn each(&mut self) -> impl ExactSizeIterator<Item = &mut Vec<Jpeg>> {
        let mut all: Vec<&mut Vec<Jpeg>> = self.pictures.iter_mut().map(|picture| &mut picture.versions).collect();
        all.extend(self.strips.iter_mut().map(|strip| &mut strip.versions));
        all.into_iter()
    }

    /// Takes out what the row at `index` made of every picture, then of every strip.
    pub(super) fn of_row(&mut self, index: usize) -> Vec<Jpeg> {
        self.each().map(|versions| versions.remove(index)).collect()
    }

    /// Adds a row's, in the order in which [`of_row`](Self::of_row) gives them.
    pub(super) fn add(&mut self, looks: Vec<Jpeg>) -> anyhow::Result<()> {
        let all = self.each();
        ensure!(looks.len() == all.len(), "{} pictures to look at are expected, not {}", all.len(), looks.len());
        // The truth stays last.
        all.zip(looks).for_each(|(versions, look)| versions.insert(versions.len().saturating_sub(1), look));
        Ok(())
    }

    /// How many steps of progress [`take`](Self::take) takes.
    pub(super) fn steps(exhibits: &Exhibits, count: usize) -> usize {
        if count == 0 { 0 } else { exhibits.some_stills(count).len() + exhibits.clips().len().min(CLIPS) }
    }
}

impl Jpeg {
    fn encode(rgb: &[u8], (width, height): (usize, usize)) -> anyhow::Result<Self> {
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).encode(rgb, width as u32, height as u32, ExtendedColorType::Rgb8)?;
        Ok(Self(bytes))
    }

    /// As a page refers to it.
    pub(super) fn data_url(&self) -> String {
        format!("data:image/jpeg;base64,{}", String::from(self.clone()))
    }
}

impl From<Jpeg> for String {
    fn from(jpeg: Jpeg) -> Self {
        BASE64_STANDARD.encode(jpeg.0)
    }
}

impl TryFrom<String> for Jpeg {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        BASE64_STANDARD.decode(text).map(Self)
    }
}
