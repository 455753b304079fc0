//! A camera's luma plane in, the same plane with chroma out: everything between a frame and a picture, the network included.
//!
//! Once warm, a frame allocates nothing here: all that depends on the frame's size is made at the first frame and used again.

use crate::bins::Decode;
use crate::color::{LumaRange, Tone};
use crate::colorizer::{Colorizer, ModelError};
use crate::composer::{Codes, Composer};
use crate::crew::Crew;
use crate::guide::Guide;
use crate::picture::Picture;
use crate::planes::{Chroma, Placement, Plane, Resampler, mirror_outside, resample};

/// Colors the frames of one feed: fits each into the model, steps the network, and grows the chroma along the luma's edges.
#[derive(Debug)]
pub struct Painter {
    colorizer: Colorizer,
    codes: Codes,
    tone: Tone,
    tint: Option<Tint>,
    /// The share of the width that stays without color, from the left.
    split: f32,
    /// The network's ab as it is shown.
    chroma: Chroma,
    /// Whether the network saw a frame since the last reset.
    observed: bool,
    /// What depends on the frame's size; made at the first frame and whenever the size changes.
    fitted: Option<Fitted>,
}

/// A color that takes the place of the network's, by `amount`.
#[derive(Clone, Copy, Debug)]
struct Tint {
    ab: (f32, f32),
    amount: f32,
}

#[derive(Clone, Debug)]
struct Fitted {
    placement: Placement,
    shrink: Resampler,
    input: Plane<f32>,
    guide: Guide,
    composer: Composer,
}

/// What a frame does to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The network sees it, and its state moves on.
    Advance,
    /// The network does not see it, as it should not see a flash: its last colors are grown along this frame's luma.
    Hold,
}

/// The parts of a frame's work, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From luma to the model's input.
    Shrink,
    /// The network. Not there for a frame that was held.
    Network,
    /// From the network's output to ab.
    Decode,
    /// The guided filter, at the model's size.
    Guide,
    /// From its lines to Cb and Cr, at the frame's size.
    Compose,
}

impl Painter {
    /// A painter of a feed whose luma codes mean `range`.
    pub fn new(colorizer: Colorizer, range: LumaRange) -> Self {
        let tone = Tone::default();
        Self {
            colorizer,
            codes: Codes::new(range, tone),
            tone,
            tint: None,
            split: 0.0,
            chroma: Chroma::default(),
            observed: false,
            fitted: None,
        }
    }

    /// The model.
    pub fn colorizer(&self) -> &Colorizer {
        &self.colorizer
    }

    /// Another model from the next frame on, with the decoding and the saturation of its card. All else stays as it was set.
    pub fn replace(&mut self, mut colorizer: Colorizer) {
        colorizer.set_hue(self.colorizer.hue());
        self.colorizer = colorizer;
        self.fitted = None;
        self.observed = false;
    }

    /// How logits become colors from the next frame on.
    pub fn set_decode(&mut self, decode: Decode) {
        self.colorizer.set_decode(decode);
    }

    /// The factor on the chroma from the next frame on; 0 gives grey.
    pub fn set_saturation(&mut self, saturation: f32) {
        self.colorizer.set_saturation(saturation);
    }

    /// Turns the colors around the ab plane from the next frame on, in degrees from a* towards b*; 0 leaves them.
    pub fn set_hue(&mut self, degrees: f32) {
        self.colorizer.set_hue(degrees);
    }

    /// Draws all colors towards one (a*, b*) from the next frame on: `amount` 0 leaves them, 1 puts this color in their place.
    pub fn set_tint(&mut self, ab: Option<(f32, f32)>, amount: f32) {
        // A comparison with NaN is false.
        self.tint = ab.filter(|(a, b)| a.is_finite() && b.is_finite() && amount > 0.0).map(|ab| Tint { ab, amount: amount.min(1.0) });
    }

    /// Leaves the columns left of `share` (0 to 1) of the width without color from the next frame on.
    pub fn set_split(&mut self, share: f32) {
        self.split = share;
    }

    /// What luma codes mean from the next frame on. The state stays.
    pub fn set_range(&mut self, range: LumaRange) {
        self.codes = Codes::new(range, self.tone);
    }

    /// Which tone curve is undone for the network's eyes from the next frame on. The picture's luma, and how its colors are shown, stay.
    pub fn set_tone(&mut self, tone: Tone) {
        self.tone = tone;
        self.codes = Codes::new(self.codes.range, tone);
    }

    /// Forgets the frames so far: after a cut or a gap.
    pub fn reset(&mut self) {
        self.colorizer.reset();
        self.observed = false;
    }

    /// Colors one frame and advances the recurrent state: [`paint_into`](Self::paint_into), from a plane.
    ///
    /// # Errors
    /// Those of [`paint_into`](Self::paint_into).
    pub fn paint(&mut self, luma: Plane<u8>) -> Result<Picture, ModelError> {
        let mut picture = Picture { luma, ..Picture::default() };
        self.paint_into(&mut picture, Step::Advance)?;
        Ok(picture)
    }

    /// Fills the chroma of `picture`, whose luma is the frame; a chroma plane of the right size is used again.
    ///
    /// A frame of another size than the last one's resets the state first. The first frame after a reset is never held.
    ///
    /// # Errors
    /// [`ModelError::Frame`] if the luma is empty or not as large as it says, [`ModelError::Run`] if the runtime fails. The state and the
    /// chroma stay as they were.
    pub fn paint_into(&mut self, picture: &mut Picture, step: Step) -> Result<(), ModelError> {
        self.paint_watched(picture, step, |_| {})
    }

    /// [`paint_into`](Self::paint_into), with a call of `done` after each of its parts: for whoever measures them.
    ///
    /// # Errors
    /// Those of [`paint_into`](Self::paint_into).
    pub fn paint_watched(&mut self, picture: &mut Picture, step: Step, mut done: impl FnMut(Stage)) -> Result<(), ModelError> {
        self.shrink(&picture.luma)?;
        done(Stage::Shrink);
        if step == Step::Advance || !self.observed {
            self.advance()?;
            done(Stage::Network);
        }
        let Self { colorizer, tint, chroma, .. } = self;
        decode(colorizer, *tint, chroma);
        done(Stage::Decode);
        let Fitted { input, guide, composer, .. } = self.fitted.as_mut().expect("made by `shrink`");
        let lines = guide.lines(input, chroma);
        done(Stage::Guide);
        // A share that is no number is none.
        let neutral = (picture.luma.width as f32 * self.split.clamp(0.0, 1.0)).round() as usize;
        composer.compose(lines, &self.codes, neutral, picture, colorizer.crew());
        done(Stage::Compose);
        Ok(())
    }

    /// Fits one frame into the model's input and steps the network. A frame of another size than the last one's resets the state first.
    ///
    /// # Errors
    /// Those of [`paint_into`](Self::paint_into).
    pub fn observe(&mut self, luma: &Plane<u8>) -> Result<(), ModelError> {
        self.shrink(luma)?;
        self.advance()
    }

    /// The full-size ab of the frame that was observed last, decoded with the present settings; for evaluation.
    ///
    /// # Panics
    /// If no frame was observed, or `luma` is of another size.
    pub fn chroma(&self, luma: &Plane<u8>) -> Chroma {
        let mut chroma = Chroma::default();
        decode(&self.colorizer, self.tint, &mut chroma);
        let Fitted { input, mut guide, .. } = self.fitted.clone().expect("a frame was observed");
        let size = (luma.width, luma.height);
        let [slope_a, offset_a, slope_b, offset_b] = guide.lines(&input, &chroma).each_ref().map(|line| resample(line, |v| v, size));
        let grown = |slope: &Plane<f32>, offset: &Plane<f32>| {
            let values = slope.data.iter().zip(&offset.data).zip(&luma.data);
            Plane::from_vec(size.0, size.1, values.map(|((s, o), &y)| s * self.codes.seen[usize::from(y)] + o).collect())
        };
        Chroma { a: grown(&slope_a, &offset_a), b: grown(&slope_b, &offset_b) }
    }

    fn shrink(&mut self, luma: &Plane<u8>) -> Result<(), ModelError> {
        let size = (luma.width, luma.height);
        if luma.data.is_empty() || size.0.checked_mul(size.1) != Some(luma.data.len()) {
            return Err(ModelError::Frame { width: size.0, height: size.1, values: luma.data.len() });
        }
        if self.fitted.as_ref().is_none_or(|fitted| fitted.shrink.from_size() != size) {
            let contract = self.colorizer.contract();
            let model_size = (contract.width, contract.height);
            let placement = Placement::fit(size, model_size);
            let placed = (placement.width, placement.height);
            self.fitted = Some(Fitted {
                placement,
                shrink: Resampler::new(size, placed),
                input: Plane::filled(model_size.0, model_size.1, 0.0),
                guide: Guide::new((contract.output_width, contract.output_height), model_size, placement),
                composer: Composer::new(placed, size, self.colorizer.crew().map_or(1, Crew::size)),
            });
            self.reset();
        }
        let Fitted { placement, shrink, input, .. } = self.fitted.as_mut().expect("made just above");
        let seen = &self.codes.seen;
        shrink.resample_into(luma, |code| seen[usize::from(code)], input, (placement.x, placement.y));
        mirror_outside(input, *placement);
        Ok(())
    }

    fn advance(&mut self) -> Result<(), ModelError> {
        self.colorizer.advance(&self.fitted.as_ref().expect("made by `shrink`").input)?;
        self.observed = true;
        Ok(())
    }
}

fn decode(colorizer: &Colorizer, tint: Option<Tint>, chroma: &mut Chroma) {
    colorizer.decode_into(chroma);
    if let Some(Tint { ab, amount }) = tint {
        for (plane, tint) in [(&mut chroma.a, ab.0), (&mut chroma.b, ab.1)] {
            plane.data.iter_mut().for_each(|v| *v += (tint - *v) * amount);
        }
    }
}
