//! What happens to a frame: the cut detector, the painter, and the settings that people change while it runs.

use std::sync::Arc;
use std::time::Instant;

use autochrome_model::{Colorizer, Decode, LumaRange, Painter, Picture, Plane};

use crate::cuts::CutDetector;
use crate::errors::Result;
use crate::input::{Faults, Frame};
use crate::pipeline::Painted;
use crate::settings::{Choices, Command, Settings};

/// A frame in color.
#[derive(Debug)]
pub struct Colored {
    /// The frame's.
    pub sequence: u64,
    /// The frame's.
    pub captured_at: Instant,
    /// The frame's luma with its chroma.
    pub picture: Picture,
    /// What the luma codes mean.
    pub range: LumaRange,
    /// Whether the state was forgotten before this frame because another shot began.
    pub cut: bool,
    /// The settings it was colored with.
    pub settings: Settings,
    /// What went wrong at the source so far.
    pub faults: Faults,
    /// The name of the model that colored it.
    pub model: Arc<str>,
    /// The luma plane that was in the picture's place before: for the source to fill again.
    pub before: Plane<u8>,
}

impl Colored {
    /// Nothing colored yet.
    pub fn blank() -> Self {
        Self {
            sequence: 0,
            captured_at: Instant::now(),
            picture: Picture::default(),
            range: LumaRange::Full,
            cut: false,
            settings: Settings::neutral(),
            faults: Faults::default(),
            model: Arc::from(""),
            before: Plane::default(),
        }
    }
}

/// The model at work on one feed.
#[derive(Debug)]
pub struct Coloring {
    painter: Painter,
    range: LumaRange,
    cuts: CutDetector,
    settings: Settings,
    choices: Arc<Choices>,
    model: Arc<str>,
}

impl Coloring {
    /// A feed whose luma codes mean `range`.
    pub fn new(colorizer: Colorizer, range: LumaRange, choices: Arc<Choices>) -> Self {
        let card = &colorizer.contract().card;
        let (settings, model) = (Settings::of(card), Arc::from(card.name.as_str()));
        Self { painter: Painter::new(colorizer, range), range, cuts: CutDetector::default(), settings, choices, model }
    }

    /// What the settings stand at.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Changes a setting from the next frame on.
    pub fn set(&mut self, command: Command) {
        self.settings.apply(command, &self.choices);
        self.painter.set_saturation(self.settings.saturation * self.settings.mix);
        if let Some(temperature) = self.settings.temperature {
            self.painter.set_decode(Decode::AnnealedMean { temperature });
        }
    }

    /// Forgets what was before: the next frame has nothing to do with the last one.
    pub fn reset(&mut self) {
        self.painter.reset();
        self.cuts = CutDetector::default();
    }

    /// Colors a frame into `into`. `next` is the frame after it, if it is there already: then a cut is known at once.
    ///
    /// # Errors
    /// Those of the runtime.
    pub fn color(&mut self, frame: Frame, next: Option<&Frame>, into: &mut Colored) -> Result<Painted> {
        if frame.origin.anew {
            self.reset();
        }
        let cut = self.cuts.is_cut(&frame.luma, next.map(|frame| &frame.luma));
        if cut {
            self.painter.reset();
        }
        let Frame { sequence, captured_at, luma, origin, .. } = frame;
        into.before = std::mem::take(&mut into.picture.luma);
        into.picture = self.painter.paint(luma)?;
        (into.sequence, into.captured_at, into.range, into.faults) = (sequence, captured_at, self.range, origin.faults);
        (into.cut, into.settings) = (cut || origin.anew, self.settings);
        into.model.clone_from(&self.model);
        Ok(Painted::Picture)
    }
}
