//! What the settings stand at, as far as the panel knows: what it changed itself, and what it sees others change.

use std::sync::Arc;

use crate::settings::{Choices, Command, KNOBS, Knob, Settings};

/// After so many more frames a change has surely arrived: more than are ever on their way between the camera and the outputs.
const FRAMES_UNDER_WAY_MAX: u64 = 8;
/// Another model is loaded beside the picture first: some seconds on a small board.
const FRAMES_LOADING_MAX: u64 = 250;

/// What a knob stands at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// The model at work has no such setting.
    Absent,
    /// A number.
    Number(f32),
    /// 0 or 1.
    Switch(bool),
    /// By its place in [`Choices`].
    Choice(Option<usize>),
}

impl Value {
    /// What `knob` stands at in `settings`.
    pub fn of(knob: &Knob, settings: &Settings) -> Self {
        match knob.name {
            "saturation" => Self::Number(settings.saturation),
            "hue" => Self::Number(settings.hue),
            "temperature" => settings.temperature.map_or(Self::Absent, Self::Number),
            "mix" => Self::Number(settings.mix),
            "split" => Self::Number(settings.split),
            "freeze" => Self::Switch(settings.freeze),
            "night" => Self::Switch(settings.night),
            "preset" => Self::Choice(settings.preset),
            "model" => Self::Choice(Some(settings.model)),
            _ => Self::Absent,
        }
    }

    /// As it stands on a line; nothing if it is absent.
    pub fn text(self, knob: &Knob, choices: &Choices) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Number(number) => Some(number_text(number)),
            Self::Switch(on) => Some(u8::from(on).to_string()),
            Self::Choice(at) => Some(at.and_then(|at| choice_names(knob, choices).nth(at)).map_or_else(|| "-".into(), word)),
        }
    }
}

/// The names that a choice has, in their order.
pub fn choice_names<'a>(knob: &Knob, choices: &'a Choices) -> impl Iterator<Item = &'a str> + use<'a> {
    let (presets, models) = match knob.name {
        "preset" => (&choices.presets[..], &[][..]),
        "model" => (&[][..], &choices.models[..]),
        _ => (&[][..], &[][..]),
    };
    presets.iter().map(|preset| &*preset.name).chain(models.iter().map(|model| &*model.name))
}

/// A number with at most four digits behind the point.
pub fn number_text(number: f32) -> String {
    // Adding zero turns -0 into 0.
    ((f64::from(number) * 1e4).round() / 1e4 + 0.0).to_string()
}

/// A name as one word of at most 32 characters that cannot be taken for anything else on a line.
pub fn word(name: &str) -> String {
    let word: String = name.chars().take(32).map(|c| if c.is_ascii_alphanumeric() || "-_.+".contains(c) { c } else { '-' }).collect();
    if word.is_empty() { "-".into() } else { word }
}

/// The settings, and how often they were changed.
#[derive(Debug)]
pub struct Standing {
    choices: Arc<Choices>,
    settings: Settings,
    /// For each knob that was turned here: until how many frames were shown, what is seen may still be from before.
    under_way: [Option<u64>; KNOBS.len()],
    frames: u64,
    revision: u32,
}

impl Standing {
    /// As a run begins.
    pub fn new(settings: Settings, choices: Arc<Choices>) -> Self {
        Self { choices, settings, under_way: [None; KNOBS.len()], frames: 0, revision: 0 }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The presets and models there are.
    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// Grows by one with every change, from whichever side; begins again after the largest.
    pub fn revision(&self) -> u32 {
        self.revision
    }

    /// What a knob stands at, as it stands on a line; nothing if the model has no such setting.
    pub fn text(&self, knob: &Knob) -> Option<String> {
        Value::of(knob, &self.settings).text(knob, &self.choices)
    }

    /// Notes changes that are on their way to the color thread.
    pub fn change(&mut self, commands: &[Command]) {
        let before = self.settings;
        commands.iter().for_each(|&command| self.settings.apply(command, &self.choices));
        let mut changed = false;
        for (knob, under_way) in KNOBS.iter().zip(&mut self.under_way) {
            if Value::of(knob, &before) != Value::of(knob, &self.settings) {
                *under_way = Some(self.frames + frames_under_way(knob));
                changed = true;
            }
        }
        self.revision = self.revision.wrapping_add(u32::from(changed));
    }

    /// Notes the settings that a frame was colored with, the last of `frames`. What was changed here a few frames ago still stands: that
    /// frame may be from before, and an encoder must not jump back.
    pub fn observe(&mut self, seen: &Settings, frames: u64) {
        self.frames = frames;
        let mut changed = false;
        for (knob, under_way) in KNOBS.iter().zip(&mut self.under_way) {
            let value = Value::of(knob, seen);
            let has_arrived = value == Value::of(knob, &self.settings);
            // Before that, what is seen may have been the same already when it was changed there and back.
            let may_be_old = |until: u64| frames + frames_under_way(knob) < until + FRAMES_UNDER_WAY_MAX;
            if under_way.is_some_and(|until| frames < until && (may_be_old(until) || !has_arrived)) {
                continue;
            }
            *under_way = None;
            if value != Value::of(knob, &self.settings) {
                adopt(value, knob, &mut self.settings);
                changed = true;
            }
        }
        self.revision = self.revision.wrapping_add(u32::from(changed));
    }
}

/// For how many frames a change may be on its way.
fn frames_under_way(knob: &Knob) -> u64 {
    if knob.name == "model" { FRAMES_LOADING_MAX } else { FRAMES_UNDER_WAY_MAX }
}

fn adopt(value: Value, knob: &Knob, settings: &mut Settings) {
    match (knob.name, value) {
        ("saturation", Value::Number(number)) => settings.saturation = number,
        ("hue", Value::Number(number)) => settings.hue = number,
        ("temperature", Value::Number(number)) => settings.temperature = Some(number),
        ("temperature", Value::Absent) => settings.temperature = None,
        ("mix", Value::Number(number)) => settings.mix = number,
        ("split", Value::Number(number)) => settings.split = number,
        ("freeze", Value::Switch(on)) => settings.freeze = on,
        ("night", Value::Switch(on)) => settings.night = on,
        ("preset", Value::Choice(at)) => settings.preset = at,
        ("model", Value::Choice(Some(at))) => settings.model = at,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Preset;

    #[test]
    fn numbers_are_short_and_names_are_words() {
        for (number, expected) in
            [(0.7, "0.7"), (-30.0, "-30"), (0.1 + 0.2, "0.3"), (0.000_01, "0"), (-0.000_01, "0"), (1.0 / 3.0, "0.3333")]
        {
            assert_eq!(number_text(number), expected);
        }
        for (name, expected) in [("u-net_1.2", "u-net_1.2"), ("a b*c\n", "a-b-c-"), ("größe", "gr--e"), ("", "-")] {
            assert_eq!(word(name), expected);
        }
        assert_eq!(word(&"x".repeat(99)).len(), 32);
    }

    #[test]
    fn every_knob_is_read_and_adopted() {
        let warm = Preset { name: "warm".into(), commands: vec![] };
        let model = |name: &str| crate::settings::ModelChoice { name: name.into(), file: None };
        let choices = Arc::new(Choices { presets: vec![warm], models: vec![model("large"), model("small")] });
        let mut standing = Standing::new(Settings::neutral(), Arc::clone(&choices));
        let seen = Settings {
            saturation: 2.0,
            hue: -3.0,
            temperature: Some(0.5),
            mix: 0.25,
            split: 0.75,
            freeze: true,
            night: true,
            preset: Some(0),
            model: 1,
            every_nth: 1,
        };
        standing.observe(&seen, 1);
        assert_eq!((*standing.settings(), standing.revision()), (seen, 1));
        let texts: Vec<_> = KNOBS.iter().map(|knob| standing.text(knob).unwrap()).collect();
        assert_eq!(texts, ["2", "-3", "0.5", "0.25", "0.75", "1", "1", "warm", "small"]);
        for (knob, text) in KNOBS.iter().zip(&texts) {
            assert_eq!(seen.value(knob.name, &choices).as_ref(), Some(text), "as the rest of the program says it");
        }
        standing.observe(&Settings::neutral(), 2);
        assert_eq!((*standing.settings(), standing.revision()), (Settings::neutral(), 2));
    }

    #[test]
    fn what_was_changed_here_is_not_undone_by_frames_from_before() {
        let mut standing = Standing::new(Settings::neutral(), Arc::default());
        standing.observe(&Settings::neutral(), 100);
        standing.change(&[Command::Saturation(2.0)]);
        let before = Settings { hue: 5.0, ..Settings::neutral() };
        standing.observe(&before, 103);
        assert_eq!((standing.settings().saturation, standing.settings().hue, standing.revision()), (2.0, 5.0, 2));
        // It never arrived, or somebody else changed it back.
        standing.observe(&before, 108);
        assert_eq!((standing.settings().saturation, standing.revision()), (1.0, 3));
        standing.change(&[Command::Saturation(1.0)]);
        assert_eq!(standing.revision(), 3, "nothing changed");
    }

    #[test]
    fn a_model_stands_while_it_is_loaded_and_no_longer() {
        let model = |name: &str| crate::settings::ModelChoice { name: name.into(), file: None };
        let choices = Choices { models: vec![model("large"), model("small")], ..Choices::default() };
        let mut standing = Standing::new(Settings::neutral(), Arc::new(choices));
        let [old, new] = [0, 1].map(|model| Settings { model, ..Settings::neutral() });
        standing.observe(&old, 100);
        standing.change(&[Command::Model(1)]);
        standing.observe(&old, 130);
        assert_eq!((standing.settings().model, standing.revision()), (1, 1));
        // It is there; from now on what others choose is seen at once.
        standing.observe(&new, 140);
        standing.observe(&old, 141);
        assert_eq!((standing.settings().model, standing.revision()), (0, 2));
        // One that never comes is given up.
        standing.change(&[Command::Model(1)]);
        standing.observe(&old, 141 + FRAMES_LOADING_MAX);
        assert_eq!((standing.settings().model, standing.revision()), (0, 4));
    }
}
