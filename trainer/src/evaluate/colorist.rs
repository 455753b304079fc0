//! Whoever gives grey frames color.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use autochrome_model::{Chroma, Colorizer, Decode, LumaRange, Output, Painter, Plane};
use image::RgbImage;
use serde::{Deserialize, Serialize};
use tract_onnx::pb::ModelProto;

use super::exhibits::Exhibits;
use super::references::{Reference, References};
use crate::classical::{self, Method};
use crate::data::shard::PackedSet;
use crate::export;

/// Training pictures that a reference is chosen from.
const REFERENCES: usize = 500;
/// What a classical method draws at random follows from it.
const REFERENCE_SEED: u64 = 1;

/// Gives the frames of one feed color. Frames come in order; what is remembered of them is its own affair.
pub trait Colorist: Send {
    /// The next frame has nothing to do with those before.
    fn begin(&mut self);

    /// The ab of the next frame, whose luma is `grey` (full range), at the frame's size, Lab units.
    ///
    /// # Errors
    /// If the frame cannot be colored.
    fn color(&mut self, grey: &Plane<u8>) -> anyhow::Result<Chroma>;

    /// The default decoding temperature, where there is one to set.
    fn temperature(&self) -> Option<f32> {
        None
    }

    /// The frame that was colored last once more, as another temperature would have it. No frame is counted by it, and the next is decoded at
    /// the default temperature. `None` where there is nothing to set.
    fn at_temperature(&mut self, grey: &Plane<u8>, temperature: f32) -> Option<Chroma> {
        let _ = (grey, temperature);
        None
    }

    /// The ab of the frame that was colored last as the network itself gave it, before it was grown to the frame's size along the luma.
    fn coarse(&self) -> Option<Chroma> {
        None
    }
}

/// What kind of colorist a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The pictures themselves.
    Truth,
    /// No color.
    Grey,
    /// A method without a network.
    Classical,
    /// A run's network, not yet a file.
    Network,
    /// A float model file.
    Float,
    /// An int8 model file.
    Int8,
}

/// A colorist with a name.
pub struct Contestant {
    /// What the row is called.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Who colors.
    pub colorist: Box<dyn Colorist>,
}

impl Contestant {
    /// A row.
    pub fn new(name: impl Into<String>, kind: Kind, colorist: impl Colorist + 'static) -> Self {
        Self { name: name.into(), kind, colorist: Box::new(colorist) }
    }

    /// The row without color.
    pub fn grey() -> Self {
        Self::new("grey", Kind::Grey, Grey)
    }

    /// The methods before networks, each with the colors of a training picture of `set` that is none of the pictures `measured`.
    ///
    /// # Errors
    /// If the set has no training still, or none but those.
    pub fn classical_apart_from(measured: &Exhibits, set: &PackedSet) -> anyhow::Result<Vec<Self>> {
        Ok(Self::by_reference(References::apart_from(measured, set, REFERENCES)?))
    }

    fn by_reference(references: References) -> Vec<Self> {
        let references = Arc::new(references);
        let row = |method: Method| {
            let transfer = move |reference: &Reference, grey: &Plane<u8>| {
                let picture = RgbImage::from_raw(reference.width as u32, reference.height as u32, reference.rgb.clone());
                classical::chroma(method, grey, &picture.context("a reference's size")?, REFERENCE_SEED)
            };
            Self::new(method.name(), Kind::Classical, ByReference::new(references.clone(), transfer))
        };
        Method::ALL.into_iter().map(row).collect()
    }

    /// The newest checkpoint of a run's folder, exported as a float file and run as that would be.
    ///
    /// # Errors
    /// If the run has no checkpoint or its network cannot be exported.
    pub fn from_run(run: &Path) -> anyhow::Result<Self> {
        let model = export::float_of_run(run).with_context(|| format!("evaluate the run {}", run.display()))?;
        Self::from_model(&name_of_run(run), Kind::Network, &model)
    }

    /// A model in memory, run as its file would be.
    ///
    /// # Errors
    /// If it is no colorizer.
    pub fn from_model(name: &str, kind: Kind, model: &ModelProto) -> anyhow::Result<Self> {
        Ok(Self::new(name, kind, Painter::new(Colorizer::from_proto(name, model)?, LumaRange::Full)))
    }

    /// A model file, run as it ships.
    ///
    /// # Errors
    /// If the file is no model.
    pub fn from_file(name: &str, file: &Path) -> anyhow::Result<Self> {
        let colorizer = Colorizer::load(file).context("evaluate a model file")?;
        let kind = if colorizer.contract().quantized { Kind::Int8 } else { Kind::Float };
        Ok(Self::new(name, kind, Painter::new(colorizer, LumaRange::Full)))
    }

    /// The same network with a zero state before every frame: what its memory is good for is the difference.
    pub fn without_state(self) -> Self {
        Self { name: format!("{}, no state", self.name), kind: self.kind, colorist: Box::new(Forgetful(self.colorist)) }
    }
}

/// What a run's row is called: its folder's name.
fn name_of_run(run: &Path) -> String {
    run.file_name().map_or_else(|| run.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// What the rows of these models are called: a file's stem or a run's folder, and as much of what is above it as tells it from others.
pub fn names_of(models: &[PathBuf]) -> Vec<String> {
    let parts = |model: &PathBuf| -> Vec<String> {
        let named = if model.is_dir() { model.clone() } else { model.with_extension("") };
        named.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect()
    };
    let all: Vec<Vec<String>> = models.iter().map(parts).collect();
    let name = |parts: &[String], count: usize| parts[parts.len().saturating_sub(count)..].join("/");
    let told_apart = |parts: &Vec<String>| {
        let others = || all.iter().filter(|other| *other != parts);
        (1..=parts.len()).find(|&count| others().all(|other| name(other, count) != name(parts, count))).unwrap_or(parts.len())
    };
    all.iter().map(|parts| name(parts, told_apart(parts))).collect()
}

impl Colorist for Painter {
    fn begin(&mut self) {
        self.reset();
    }

    fn color(&mut self, grey: &Plane<u8>) -> anyhow::Result<Chroma> {
        self.observe(grey)?;
        Ok(Painter::chroma(self, grey))
    }

    fn temperature(&self) -> Option<f32> {
        let card = &self.colorizer().contract().card;
        // Only bins are decoded at a temperature; a card has one in any case.
        matches!(card.output, Output::ColorLogits { .. }).then_some(card.temperature)
    }

    fn at_temperature(&mut self, grey: &Plane<u8>, temperature: f32) -> Option<Chroma> {
        let usual = Colorist::temperature(self)?;
        self.set_decode(Decode::AnnealedMean { temperature });
        let chroma = Painter::chroma(self, grey);
        self.set_decode(Decode::AnnealedMean { temperature: usual });
        Some(chroma)
    }

    fn coarse(&self) -> Option<Chroma> {
        Some(self.colorizer().decode_last())
    }
}

/// A colorist to whom every frame is the first.
struct Forgetful(Box<dyn Colorist>);

impl Colorist for Forgetful {
    fn begin(&mut self) {}

    fn color(&mut self, grey: &Plane<u8>) -> anyhow::Result<Chroma> {
        self.0.begin();
        self.0.color(grey)
    }

    fn temperature(&self) -> Option<f32> {
        self.0.temperature()
    }

    fn at_temperature(&mut self, grey: &Plane<u8>, temperature: f32) -> Option<Chroma> {
        self.0.at_temperature(grey, temperature)
    }

    fn coarse(&self) -> Option<Chroma> {
        self.0.coarse()
    }
}

/// Leaves every frame as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Grey;

impl Colorist for Grey {
    fn begin(&mut self) {}

    fn color(&mut self, grey: &Plane<u8>) -> anyhow::Result<Chroma> {
        let plane = Plane::filled(grey.width, grey.height, 0.0);
        Ok(Chroma { a: plane.clone(), b: plane })
    }
}

/// A method that takes its colors from a reference picture: of the training pictures the one whose lightness is spread most alike, chosen at
/// a feed's first frame and kept.
pub struct ByReference<T> {
    references: Arc<References>,
    chosen: Option<usize>,
    transfer: T,
}

impl<T> ByReference<T>
where
    T: FnMut(&Reference, &Plane<u8>) -> anyhow::Result<Chroma> + Send,
{
    /// `transfer` gives a grey frame the colors of a reference.
    pub fn new(references: Arc<References>, transfer: T) -> Self {
        Self { references, chosen: None, transfer }
    }
}

impl<T> Colorist for ByReference<T>
where
    T: FnMut(&Reference, &Plane<u8>) -> anyhow::Result<Chroma> + Send,
{
    fn begin(&mut self) {
        self.chosen = None;
    }

    fn color(&mut self, grey: &Plane<u8>) -> anyhow::Result<Chroma> {
        let chosen = *self.chosen.get_or_insert_with(|| self.references.nearest(grey));
        let reference = self.references.picture(chosen);
        (self.transfer)(reference, grey).with_context(|| format!("take colors from {}", reference.name))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use super::super::grey_luma;
    use super::*;
    use crate::data::shard::test_sets::small_set;
    use crate::data::split::Split;
    use crate::evaluate::Share;

    #[test]
    fn rows_are_told_apart_by_as_much_of_their_paths_as_it_takes() {
        let names = |paths: &[&str]| names_of(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(names(&["models/a-0.5-int8.onnx", "b.onnx"]), ["a-0.5-int8", "b"]);
        assert_eq!(names(&["x/one/float.onnx", "x/two/float.onnx", "three.onnx"]), ["one/float", "two/float", "three"]);
        assert_eq!(names(&["float.onnx", "x/float.onnx"]), ["float", "x/float"]);
        assert_eq!(names(&["x/float.onnx", "x/float.onnx"]), ["float", "float"], "the same file twice");
    }

    #[test]
    fn only_bins_have_a_temperature() {
        let grey = Plane::filled(16, 8, 90);
        let mut regression = Painter::new(crate::decodes::made_up::regression(), LumaRange::Full);
        regression.color(&grey).unwrap();
        assert_eq!((Colorist::temperature(&regression), regression.at_temperature(&grey, 0.5).is_none()), (None, true));
        let bins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/autochrome-192x144-float.onnx");
        let mut bins = Painter::new(Colorizer::load(&bins).unwrap(), LumaRange::Full);
        bins.color(&grey).unwrap();
        assert!(Colorist::temperature(&bins).is_some() && bins.at_temperature(&grey, 0.5).is_some());
    }

    #[test]
    fn without_its_state_a_network_colors_every_frame_as_if_it_were_the_first() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/autochrome-192x144-float.onnx");
        let [mut with, mut without] = [0, 1].map(|_| Contestant::from_file("m", &file).unwrap());
        without = without.without_state();
        let ramp = |lift: usize| Plane { width: 64, height: 48, data: (0..64 * 48).map(|i| (lift + i % 64 * 2 + i / 64) as u8).collect() };
        let second = |contestant: &mut Contestant| {
            contestant.colorist.begin();
            contestant.colorist.color(&ramp(60)).unwrap();
            contestant.colorist.color(&ramp(0)).unwrap()
        };
        let (remembered, forgotten) = (second(&mut with), second(&mut without));
        with.colorist.begin();
        let first = with.colorist.color(&ramp(0)).unwrap();
        assert_eq!(forgotten, first);
        assert_ne!(remembered, first);
    }

    #[test]
    fn a_reference_is_chosen_at_the_first_frame_and_kept_until_the_next_feed() {
        let folder = tempfile::tempdir().unwrap();
        let set = small_set(folder.path());
        let measured = Exhibits::choose(&set, Share::Of(Split::Validation), 100).unwrap();
        let references = Arc::new(References::apart_from(&measured, &set, 100).unwrap());
        let greys = [1, 3].map(|i| references.picture(i)).map(|picture| grey_luma(&picture.rgb, picture.width, picture.height));
        // Its color says which reference it was given: their widths differ.
        let mut colorist = ByReference::new(references, |reference: &Reference, grey: &Plane<u8>| {
            let plane = |value| Plane::filled(grey.width, grey.height, value);
            Ok(Chroma { a: plane(reference.width as f32), b: plane(0.0) })
        });
        let mut given = |grey: &Plane<u8>, anew: bool| {
            if anew {
                colorist.begin();
            }
            colorist.color(grey).unwrap().a.data[0]
        };
        assert_eq!(given(&greys[0], true), 41.0);
        assert_eq!(given(&greys[1], false), 41.0, "still the same feed");
        assert_eq!(given(&greys[1], true), 43.0);
    }
}
