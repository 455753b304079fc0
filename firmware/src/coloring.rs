//! What happens to a frame: the light, the cut detector, the painter, and the settings that people change while it runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use autochrome_model::color::Tone;
use autochrome_model::painter::Step;
use autochrome_model::{Colorizer, Decode, LumaRange, Painter, Picture, Plane};
use crossbeam_channel::{Receiver, TryRecvError, bounded};

use crate::cuts::CutDetector;
use crate::errors::{Result, say, warn};
use crate::input::{Faults, Frame};
use crate::model;
use crate::recording::Recording;
use crate::scene::{NIGHT_TINT, Night, Scene, SceneSettings};
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
    /// Frames a second, as the source says it; 0 where it does not.
    pub rate: (u32, u32),
    /// Whether the state was forgotten before this frame because another shot began.
    pub cut: bool,
    /// The settings it was colored with.
    pub settings: Settings,
    /// What went wrong at the source so far.
    pub faults: Faults,
    /// The name of the model that colored it.
    pub model: Arc<str>,
    /// How many threads shared its network.
    pub threads: usize,
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
            rate: (0, 0),
            cut: false,
            settings: Settings::neutral(),
            faults: Faults::default(),
            model: Arc::from(""),
            threads: 0,
            before: Plane::default(),
        }
    }
}

/// What is decided before a run about how its frames are colored.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    /// The camera's tone curve, for the network's eyes.
    pub tone: Tone,
    /// What darkness and night do.
    pub scene: SceneSettings,
    /// Whether frames come from a recording: then nothing is decided by what happens to be ready.
    pub replaying: bool,
    /// Whether the frame after a frame may be looked at.
    pub lookahead: bool,
}

/// The model at work on one feed.
#[derive(Debug)]
pub struct Coloring {
    painter: Painter,
    range: LumaRange,
    conditions: Conditions,
    cuts: CutDetector,
    scene: Scene,
    settings: Settings,
    /// What the run began with, beside what the model says.
    begun_with: Vec<Command>,
    choices: Arc<Choices>,
    model: Arc<str>,
    loading: Option<Loading>,
    /// The model that is to be loaded after that one.
    wish: Option<usize>,
    /// The changes that took effect before this frame.
    effective: Vec<Command>,
    frames: u64,
}

/// A model on its way, by its place among the choices.
#[derive(Debug)]
struct Loading {
    at: usize,
    loaded: Receiver<Result<Box<Colorizer>>>,
}

impl Coloring {
    /// A feed under these conditions.
    pub fn new(colorizer: Colorizer, conditions: Conditions, choices: Arc<Choices>) -> Self {
        let card = &colorizer.contract().card;
        let settings = Settings { night: conditions.scene.night == Night::On, ..Settings::of(card) };
        let model = Arc::from(card.name.as_str());
        let mut painter = Painter::new(colorizer, LumaRange::Full);
        painter.set_tone(conditions.tone);
        Self {
            painter,
            range: LumaRange::Full,
            conditions,
            cuts: CutDetector::default(),
            scene: Scene::new(conditions.scene),
            settings,
            begun_with: Vec::new(),
            choices,
            model,
            loading: None,
            wish: None,
            effective: Vec::new(),
            frames: 0,
        }
    }

    /// Remembers what the run begins with, for [`Command::Reset`].
    pub fn begin_with(&mut self, commands: Vec<Command>) {
        self.begun_with = commands;
    }

    /// What the settings stand at.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Takes the changes that came before `frame`, those that a recording holds among them. Returns those that take effect with it: another
    /// model does so only once it is loaded, which happens beside the picture.
    pub fn prepare(&mut self, frame: &Frame, commands: &[Command]) -> &[Command] {
        self.effective.clear();
        self.change_model_if_loaded();
        for &command in commands {
            self.take(command);
        }
        if !frame.set.is_empty() {
            let choices = Arc::clone(&self.choices);
            let recorded = Recording::commands(&frame.set, &choices);
            if self.frames == 0 {
                // What the recorded run began with.
                self.begun_with.extend_from_slice(&recorded);
            }
            recorded.into_iter().for_each(|command| self.take(command));
        }
        &self.effective
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Model(at) if self.conditions.replaying => {
                let threads = self.painter.colorizer().threads();
                match self.choices.models.get(at).map(|choice| model::load(choice.file.as_deref(), threads)) {
                    Some(Ok(colorizer)) => self.change_model(at, colorizer),
                    Some(Err(failure)) => warn(&format!("{failure}; the model stays as it was")),
                    None => {}
                }
            }
            // One at a time, and of many wishes the last: loading takes memory and processor time.
            Command::Model(at) => match &self.loading {
                Some(loading) => self.wish = (loading.at != at).then_some(at),
                // A box that repeats what it stands at asks for nothing.
                None if at == self.settings.model => {}
                None => self.begin_loading(at),
            },
            Command::Reset => self.begin_colors_anew(),
            _ => {
                self.settings.apply(command, &self.choices);
                self.effective.push(command);
            }
        }
    }

    /// The colors' settings as the run began, with what the model at work says of itself. Written into a recording as what they become.
    fn begin_colors_anew(&mut self) {
        let mut first = Settings::of(&self.painter.colorizer().contract().card);
        self.begun_with.iter().for_each(|&command| first.apply(command, &self.choices));
        let Settings { saturation, hue, temperature, mix, preset, .. } = first;
        self.take(Command::Saturation(saturation));
        self.take(Command::Hue(hue));
        self.take(Command::Mix(mix));
        temperature.into_iter().for_each(|value| self.take(Command::Temperature(value)));
        // Last, because a preset that was changed is none any more.
        preset.into_iter().for_each(|at| self.take(Command::Preset(at)));
    }

    fn begin_loading(&mut self, at: usize) {
        let Some(choice) = self.choices.models.get(at) else { return };
        let file: Option<PathBuf> = choice.file.clone();
        let threads = self.painter.colorizer().threads();
        let (loaded_in, loaded) = bounded(1);
        let load = move || {
            let _ = loaded_in.send(model::load(file.as_deref(), threads).map(Box::new));
        };
        match std::thread::Builder::new().name("model".into()).spawn(load) {
            Ok(_) => self.loading = Some(Loading { at, loaded }),
            Err(error) => warn(&format!("start thread model: {error}; the model stays as it was")),
        }
    }

    fn change_model_if_loaded(&mut self) {
        let Some(Loading { at, loaded }) = &self.loading else { return };
        let (at, found) = (*at, loaded.try_recv());
        if matches!(found, Err(TryRecvError::Empty)) {
            return;
        }
        self.loading = None;
        let wish = self.wish.take();
        match found {
            // Something else was wished for since then.
            Ok(Ok(_)) if wish.is_some() => {}
            Ok(Ok(colorizer)) => {
                self.change_model(at, *colorizer);
                say(&format!("the model is now {}", self.model));
            }
            Ok(Err(failure)) => warn(&format!("{failure}; the model stays as it was")),
            Err(_) => warn("the model could not be loaded; it stays as it was"),
        }
        if let Some(at) = wish.filter(|&at| at != self.settings.model) {
            self.begin_loading(at);
        }
    }

    fn change_model(&mut self, at: usize, colorizer: Colorizer) {
        let card = &colorizer.contract().card;
        let (before, after) = (Settings::of(&self.painter.colorizer().contract().card), Settings::of(card));
        self.model = Arc::from(card.name.as_str());
        self.painter.replace(colorizer);
        self.settings.apply(Command::Model(at), &self.choices);
        // What one model's card said gives way to the other's; what somebody set stays, where the other model has it.
        let Settings { saturation, temperature, .. } = &mut self.settings;
        if *saturation == before.saturation {
            *saturation = after.saturation;
        }
        let kept = temperature.filter(|_| *temperature != before.temperature).or(after.temperature);
        *temperature = after.temperature.and(kept);
        self.effective.push(Command::Model(at));
    }

    /// Forgets what was before: the next frame has nothing to do with the last one.
    pub fn reset(&mut self) {
        self.painter.reset();
        self.cuts = CutDetector::default();
        self.scene.reset();
    }

    /// Colors a frame into `into`. `next` is the frame after it, if it is there already: then a cut is known at once.
    ///
    /// # Errors
    /// Those of the runtime.
    pub fn color(&mut self, frame: Frame, next: Option<&Frame>, into: &mut Colored) -> Result<()> {
        let Frame { sequence, captured_at, luma, origin, .. } = frame;
        into.before = std::mem::replace(&mut into.picture.luma, luma);
        let luma = &into.picture.luma;
        if origin.anew {
            self.reset();
        }
        self.frames += 1;
        // To stay cool: the network rests, and the picture goes on with its last colors.
        let rests = !(self.frames - 1).is_multiple_of(u64::from(self.settings.every_nth));
        if origin.range != self.range {
            self.range = origin.range;
            self.painter.set_range(origin.range);
        }
        let next = next.filter(|_| self.conditions.lookahead);
        let cut = self.cuts.is_cut(luma, next.map(|frame| &frame.luma));
        if cut {
            self.painter.reset();
            self.scene.reset();
        }
        let light = self.scene.look(luma, origin.range, origin.at, self.settings.night);
        let mix = if self.settings.is_stopped() { 0.0 } else { self.settings.mix };
        self.painter.set_saturation(self.settings.saturation * mix * light.chroma);
        self.painter.set_tint(Some(NIGHT_TINT), light.tint * mix);
        self.painter.set_hue(self.settings.hue);
        self.painter.set_split(self.settings.split);
        if let Some(temperature) = self.settings.temperature {
            self.painter.set_decode(Decode::AnnealedMean { temperature });
        }
        // A flash shows the network a picture that nobody will see again; what it knew before is the better guess, and stays.
        let step = if self.cuts.may_be_flash() || rests && !cut { Step::Hold } else { Step::Advance };
        self.painter.paint_into(&mut into.picture, step)?;
        (into.sequence, into.captured_at, into.faults) = (sequence, captured_at, origin.faults);
        (into.range, into.rate) = (self.range, origin.rate);
        (into.cut, into.settings) = (cut || origin.anew && sequence > 0, self.settings);
        into.model.clone_from(&self.model);
        into.threads = self.painter.colorizer().threads().get();
        Ok(())
    }
}
