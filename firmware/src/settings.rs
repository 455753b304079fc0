//! The settings that can be changed while the picture runs, and how people write them.

use autochrome_model::{Card, Output};
use serde::Serialize;

/// A change of one setting, on its way to the color thread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Command {
    /// The factor on the chroma: 0 gives grey, 1 what the model says.
    Saturation(f32),
    /// The decoding temperature T: towards 0 the likeliest color, towards 1 and beyond the mean of the likely ones.
    Temperature(f32),
}

/// What the settings stand at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// The factor on the chroma.
    pub saturation: f32,
    /// The decoding temperature; absent for a model that has nothing to decode.
    pub temperature: Option<f32>,
}

/// The largest saturation; beyond it every color stands at the gamut's border.
pub const SATURATION_MAX: f32 = 4.0;
/// The smallest and largest temperature: what a model's card may say.
pub const TEMPERATURE_RANGE: (f32, f32) = (0.01, 10.0);

impl Command {
    /// Reads a setting from its name and value, as in `saturation` and `1.2`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(name: &str, value: &str) -> Result<Self, String> {
        let number = |(min, max): (f32, f32)| match value.trim().parse::<f32>() {
            // The comparison is false for a NaN.
            Ok(number) if number >= min && number <= max => Ok(number),
            Ok(_) => Err(format!("{name}={value} is outside {min} to {max}")),
            Err(_) => Err(format!("{name}={value} is not a number")),
        };
        match name {
            "saturation" => number((0.0, SATURATION_MAX)).map(Self::Saturation),
            "temperature" => number(TEMPERATURE_RANGE).map(Self::Temperature),
            _ => Err(format!("there is no setting {name:?}, only saturation and temperature")),
        }
    }
}

impl Settings {
    /// What a model says of itself.
    pub fn of(card: &Card) -> Self {
        let temperature = matches!(card.output, Output::ColorLogits { .. }).then_some(card.temperature);
        Self { saturation: card.saturation, temperature }
    }

    /// Notes a change. A temperature for a model that has none is ignored.
    pub fn apply(&mut self, command: Command) {
        match command {
            Command::Saturation(value) => self.saturation = value,
            Command::Temperature(value) => self.temperature = self.temperature.map(|_| value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_refused() {
        struct Case(&'static str, &'static str, Result<Command, &'static str>);
        let cases = [
            Case("saturation", "1.2", Ok(Command::Saturation(1.2))),
            Case("saturation", " 0 ", Ok(Command::Saturation(0.0))),
            Case("temperature", "0.5", Ok(Command::Temperature(0.5))),
            Case("saturation", "-1", Err("saturation=-1 is outside 0 to 4")),
            Case("saturation", "NaN", Err("saturation=NaN is outside 0 to 4")),
            Case("temperature", "0", Err("temperature=0 is outside 0.01 to 10")),
            Case("temperature", "warm", Err("temperature=warm is not a number")),
            Case("hue", "1", Err("there is no setting \"hue\", only saturation and temperature")),
        ];
        for Case(name, value, expected) in cases {
            assert_eq!(Command::parse(name, value), expected.map_err(String::from), "{name}={value}");
        }
    }
}
