//! The settings that can be changed while the picture runs, what values they take, and how people write them.

use autochrome_model::{Card, Output};
use serde::Serialize;

/// A change of one setting, on its way to the color thread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Command {
    /// The factor on the chroma: 0 gives grey, 1 what the network says.
    Saturation(f32),
    /// The turn of every hue, in degrees.
    Hue(f32),
    /// The decoding temperature T: towards 0 the likeliest color, towards 1 and beyond the mean of the likely ones.
    Temperature(f32),
    /// How much color is mixed into the grey picture: 0 none, 1 all.
    Mix(f32),
    /// The share of the picture, from the left, that stays grey.
    Split(f32),
    /// Whether the outputs keep the picture that they show.
    Freeze(bool),
    /// Whether it is night in front of the camera, whatever the picture says: for infrared light, and for a light sensor on the panel.
    Night(bool),
    /// A preset, by its place in [`Choices::presets`].
    Preset(usize),
    /// A model, by its place in [`Choices::models`].
    Model(usize),
    /// Asks the network only about every so many-th frame, to stay cool; the others get its last colors. No person's knob: the thermal ladder
    /// turns it. [`STOPPED_NTH`] and more take the color away.
    EveryNth(u32),
    /// Puts saturation, hue, temperature, mix and preset back to what the run began with.
    Reset,
}

/// While coloring is stopped to stay cool, the network still runs now and then, so that its state is not of another day.
pub const STOPPED_NTH: u32 = 1000;

/// What the settings stand at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// See [`Command::Saturation`].
    pub saturation: f32,
    /// See [`Command::Hue`].
    pub hue: f32,
    /// See [`Command::Temperature`]; absent for a model that has nothing to decode.
    pub temperature: Option<f32>,
    /// See [`Command::Mix`].
    pub mix: f32,
    /// See [`Command::Split`].
    pub split: f32,
    /// See [`Command::Freeze`].
    pub freeze: bool,
    /// See [`Command::Night`].
    pub night: bool,
    /// The preset that was chosen and not changed since.
    #[serde(skip)]
    pub preset: Option<usize>,
    /// The model at work.
    #[serde(skip)]
    pub model: usize,
    /// See [`Command::EveryNth`].
    pub every_nth: u32,
}

/// A setting that people can change, and the values it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knob {
    /// What it is called on the command line, on the page, and on the panel.
    pub name: &'static str,
    /// What it takes.
    pub kind: KnobKind,
}

/// The values that a knob takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KnobKind {
    /// A number.
    Number {
        /// The smallest.
        min: f32,
        /// The largest.
        max: f32,
        /// What one click of an encoder changes.
        step: f32,
        /// The unit, if there is one.
        unit: &'static str,
    },
    /// 0 or 1.
    Switch,
    /// One of the names in [`Choices`].
    Choice,
}

/// All knobs, in the order in which they are listed.
pub const KNOBS: [Knob; 9] = [
    // Beyond 4 every color stands at the gamut's border.
    Knob { name: "saturation", kind: KnobKind::Number { min: 0.0, max: 4.0, step: 0.05, unit: "" } },
    Knob { name: "hue", kind: KnobKind::Number { min: -30.0, max: 30.0, step: 1.0, unit: "deg" } },
    // What a model's card may say.
    Knob { name: "temperature", kind: KnobKind::Number { min: 0.01, max: 10.0, step: 0.05, unit: "" } },
    Knob { name: "mix", kind: KnobKind::Number { min: 0.0, max: 1.0, step: 0.05, unit: "" } },
    Knob { name: "split", kind: KnobKind::Number { min: 0.0, max: 1.0, step: 0.05, unit: "" } },
    Knob { name: "freeze", kind: KnobKind::Switch },
    Knob { name: "night", kind: KnobKind::Switch },
    Knob { name: "preset", kind: KnobKind::Choice },
    Knob { name: "model", kind: KnobKind::Choice },
];

/// The presets and models that a run knows by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choices {
    /// Named groups of settings.
    pub presets: Vec<Preset>,
    /// Models, the one that a run begins with first.
    pub models: Vec<ModelChoice>,
}

/// Settings that are changed together.
#[derive(Clone, Debug, PartialEq)]
pub struct Preset {
    /// Its name: one word of letters, digits, `-` and `_`.
    pub name: String,
    /// What it changes; no preset and no model among them.
    pub commands: Vec<Command>,
}

/// A model that a run can change to.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelChoice {
    /// Its name: one word.
    pub name: String,
    /// Its file; the bundled model if absent.
    pub file: Option<std::path::PathBuf>,
}

/// Why a setting was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// No knob has this name.
    #[error("there is no setting {0:?}; there are saturation, hue, temperature, mix, split, freeze, night, preset and model")]
    Unknown(String),
    /// The value is of another kind.
    #[error("{name}={value} is not {expected}")]
    Type {
        /// The knob.
        name: String,
        /// What was given.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
    /// The value is outside what the knob takes.
    #[error("{name}={value} is outside {min} to {max}")]
    Range {
        /// The knob.
        name: &'static str,
        /// What was given.
        value: String,
        /// The smallest.
        min: String,
        /// The largest.
        max: String,
    },
    /// No preset or model has this name.
    #[error("there is no {name} {value:?}; there are {known}")]
    Choice {
        /// The knob.
        name: &'static str,
        /// What was given.
        value: String,
        /// What there is.
        known: String,
    },
}

impl Knob {
    /// The knob of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        KNOBS.iter().find(|knob| knob.name == name)
    }
}

impl Choices {
    /// A name for another model, as near to `wanted` as it is still free.
    pub fn free_model_name(&self, mut wanted: String) -> String {
        while self.models.iter().any(|model| model.name == wanted) {
            wanted += "-start";
        }
        wanted
    }

    /// Reads a setting from its name and value, as in `saturation` and `1.2`.
    ///
    /// # Errors
    /// [`SettingError`].
    pub fn command(&self, name: &str, value: &str) -> Result<Command, SettingError> {
        let value = value.trim();
        let knob = Knob::named(name).ok_or_else(|| SettingError::Unknown(name.to_owned()))?;
        match knob.kind {
            KnobKind::Number { .. } | KnobKind::Switch => Command::parse(name, value),
            KnobKind::Choice => {
                let is_preset = knob.name == "preset";
                let names: Vec<&str> = if is_preset {
                    self.presets.iter().map(|preset| preset.name.as_str()).collect()
                } else {
                    self.models.iter().map(|model| model.name.as_str()).collect()
                };
                match names.iter().position(|&known| known == value) {
                    Some(at) if is_preset => Ok(Command::Preset(at)),
                    Some(at) => Ok(Command::Model(at)),
                    None => {
                        let known = if names.is_empty() { "none".into() } else { names.join(", ") };
                        Err(SettingError::Choice { name: knob.name, value: value.to_owned(), known })
                    }
                }
            }
        }
    }
}

impl Command {
    /// Reads a number or a switch from its name and value; [`Choices::command`] reads the rest too.
    ///
    /// # Errors
    /// [`SettingError`].
    pub fn parse(name: &str, value: &str) -> Result<Self, SettingError> {
        let value = value.trim();
        let wrong = |expected| SettingError::Type { name: name.to_owned(), value: value.to_owned(), expected };
        let knob = Knob::named(name).ok_or_else(|| SettingError::Unknown(name.to_owned()))?;
        let number = match knob.kind {
            KnobKind::Switch => {
                let on = match value {
                    "0" | "off" | "false" => false,
                    "1" | "on" | "true" => true,
                    _ => return Err(wrong("0 or 1")),
                };
                return Ok(if knob.name == "night" { Self::Night(on) } else { Self::Freeze(on) });
            }
            KnobKind::Choice => return Err(wrong("known here")),
            KnobKind::Number { min, max, .. } => match value.parse::<f32>() {
                // The comparison is false for a NaN.
                Ok(number) if number >= min && number <= max => number,
                Ok(_) => {
                    let (min, max) = (min.to_string(), max.to_string());
                    return Err(SettingError::Range { name: knob.name, value: value.to_owned(), min, max });
                }
                Err(_) => return Err(wrong("a number")),
            },
        };
        Ok(match knob.name {
            "saturation" => Self::Saturation(number),
            "hue" => Self::Hue(number),
            "temperature" => Self::Temperature(number),
            "mix" => Self::Mix(number),
            _ => Self::Split(number),
        })
    }
}

impl Settings {
    /// What a model says of itself, and neutral values for the rest.
    pub fn of(card: &Card) -> Self {
        let temperature = matches!(card.output, Output::ColorLogits { .. }).then_some(card.temperature);
        Self { saturation: card.saturation, temperature, ..Self::neutral() }
    }

    /// The picture as a model without a card would have it.
    pub const fn neutral() -> Self {
        Self {
            saturation: 1.0,
            hue: 0.0,
            temperature: None,
            mix: 1.0,
            split: 0.0,
            freeze: false,
            night: false,
            preset: None,
            model: 0,
            every_nth: 1,
        }
    }

    /// Notes a change. A temperature for a model that has none is ignored; so is a choice that is not in `choices`.
    pub fn apply(&mut self, command: Command, choices: &Choices) {
        match command {
            Command::Saturation(value) => self.saturation = value,
            Command::Hue(value) => self.hue = value,
            Command::Temperature(value) => self.temperature = self.temperature.map(|_| value),
            Command::Mix(value) => self.mix = value,
            Command::Split(value) => self.split = value,
            Command::Freeze(value) => self.freeze = value,
            Command::Night(value) => self.night = value,
            Command::EveryNth(value) => self.every_nth = value.max(1),
            // Only the color thread knows what that is.
            Command::Reset => {}
            Command::Model(at) if at < choices.models.len() => self.model = at,
            Command::Preset(at) => {
                if let Some(preset) = choices.presets.get(at) {
                    preset.commands.iter().for_each(|&command| self.apply(command, choices));
                    self.preset = Some(at);
                    return;
                }
            }
            Command::Model(_) => {}
        }
        // A preset that was changed is no longer that preset; looking, cooling and another model change no color setting.
        if matches!(command, Command::Saturation(_) | Command::Hue(_) | Command::Temperature(_) | Command::Mix(_)) {
            self.preset = None;
        }
    }

    /// Whether coloring is stopped to stay cool.
    pub fn is_stopped(&self) -> bool {
        self.every_nth >= STOPPED_NTH
    }

    /// What a knob stands at, as [`Choices::command`] reads it; nothing where it does not apply.
    pub fn value(&self, knob: &str, choices: &Choices) -> Option<String> {
        Some(match knob {
            "saturation" => self.saturation.to_string(),
            "hue" => self.hue.to_string(),
            "temperature" => self.temperature?.to_string(),
            "mix" => self.mix.to_string(),
            "split" => self.split.to_string(),
            "freeze" => u8::from(self.freeze).to_string(),
            "night" => u8::from(self.night).to_string(),
            "preset" => choices.presets.get(self.preset?)?.name.clone(),
            "model" => choices.models.get(self.model)?.name.clone(),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices() -> Choices {
        let warm = Preset { name: "warm".into(), commands: vec![Command::Saturation(1.5), Command::Hue(5.0)] };
        let model = |name: &str| ModelChoice { name: name.into(), file: None };
        Choices { presets: vec![warm], models: vec![model("large"), model("small")] }
    }

    #[test]
    fn settings_are_read_and_refused() {
        struct Case(&'static str, &'static str, Result<Command, &'static str>);
        let cases = [
            Case("saturation", "1.2", Ok(Command::Saturation(1.2))),
            Case("saturation", " 0 ", Ok(Command::Saturation(0.0))),
            Case("temperature", "0.5", Ok(Command::Temperature(0.5))),
            Case("hue", "-30", Ok(Command::Hue(-30.0))),
            Case("mix", "0.25", Ok(Command::Mix(0.25))),
            Case("split", "1", Ok(Command::Split(1.0))),
            Case("freeze", "1", Ok(Command::Freeze(true))),
            Case("freeze", "off", Ok(Command::Freeze(false))),
            Case("night", "on", Ok(Command::Night(true))),
            Case("preset", "warm", Ok(Command::Preset(0))),
            Case("model", "small", Ok(Command::Model(1))),
            Case("saturation", "-1", Err("saturation=-1 is outside 0 to 4")),
            Case("saturation", "NaN", Err("saturation=NaN is outside 0 to 4")),
            Case("temperature", "0", Err("temperature=0 is outside 0.01 to 10")),
            Case("temperature", "warm", Err("temperature=warm is not a number")),
            Case("freeze", "2", Err("freeze=2 is not 0 or 1")),
            Case("model", "huge", Err("there is no model \"huge\"; there are large, small")),
        ];
        for Case(name, value, expected) in cases {
            let found = choices().command(name, value).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(String::from), "{name}={value}");
        }
        assert!(choices().command("zoom", "1").unwrap_err().to_string().starts_with("there is no setting \"zoom\""));
    }

    #[test]
    fn what_is_set_can_be_read_back() {
        let mut settings = Settings { temperature: Some(1.0), ..Settings::neutral() };
        for (name, value) in
            [("saturation", "0.7"), ("hue", "-3"), ("temperature", "0.38"), ("split", "0.5"), ("freeze", "1"), ("model", "small")]
        {
            settings.apply(choices().command(name, value).unwrap(), &choices());
            assert_eq!(settings.value(name, &choices()).as_deref(), Some(value), "{name}");
        }
    }

    #[test]
    fn a_preset_holds_until_its_colors_are_changed() {
        let mut settings = Settings::neutral();
        settings.apply(Command::Preset(0), &choices());
        settings.apply(Command::Split(0.5), &choices());
        assert_eq!((settings.saturation, settings.hue, settings.value("preset", &choices()).as_deref()), (1.5, 5.0, Some("warm")));
        settings.apply(Command::Saturation(1.0), &choices());
        assert_eq!(settings.preset, None);
        settings.apply(Command::Preset(9), &choices());
        assert_eq!(settings.preset, None);
    }
}
