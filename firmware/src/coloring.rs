//! What happens to a frame: the cut detector, the painter, and the settings that people change while it runs.

use std::time::Instant;

use autochrome_model::{Colorizer, Decode, LumaRange, Painter, Picture};

use crate::cuts::CutDetector;
use crate::errors::Result;
use crate::input::Frame;
use crate::settings::{Command, Settings};

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
}

/// The model at work on one feed.
#[derive(Debug)]
pub struct Coloring {
    painter: Painter,
    range: LumaRange,
    cuts: CutDetector,
    settings: Settings,
}

impl Coloring {
    /// A feed whose luma codes mean `range`.
    pub fn new(colorizer: Colorizer, range: LumaRange) -> Self {
        let settings = Settings::of(&colorizer.contract().card);
        Self { painter: Painter::new(colorizer, range), range, cuts: CutDetector::default(), settings }
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.painter.colorizer().contract().card.name
    }

    /// What the settings stand at.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Changes a setting from the next frame on.
    pub fn set(&mut self, command: Command) {
        self.settings.apply(command);
        match command {
            Command::Saturation(saturation) => self.painter.set_saturation(saturation),
            Command::Temperature(temperature) => self.painter.set_decode(Decode::AnnealedMean { temperature }),
        }
    }

    /// Forgets what was before: the next frame has nothing to do with the last one.
    pub fn reset(&mut self) {
        self.painter.reset();
        self.cuts = CutDetector::default();
    }

    /// Colors a frame. `next` is the frame after it, if it is there already: then a cut is known at once.
    ///
    /// # Errors
    /// Those of the runtime.
    pub fn color(&mut self, frame: Frame, next: Option<&Frame>) -> Result<Colored> {
        let cut = self.cuts.is_cut(&frame.luma, next.map(|frame| &frame.luma));
        if cut {
            self.painter.reset();
        }
        let Frame { sequence, captured_at, luma } = frame;
        let picture = self.painter.paint(luma)?;
        Ok(Colored { sequence, captured_at, picture, range: self.range, cut, settings: self.settings })
    }
}
