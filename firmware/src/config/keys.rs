//! Every key of the configuration: what it takes, what it stands at, and what it is for.
//!
//! This table is the only list of keys. The built-in layer, the checks, the hints about misspelled keys and the table in
//! `docs/configuration.md` are made from it.

use toml::Value;

use crate::input::Source;
use crate::input::camera::spec::format_of;
use crate::model;
use crate::output::Sink;
use crate::panel::port::Port;
use crate::settings::{Knob, KnobKind};

/// The longest text that a key takes, in bytes.
const TEXT_MAX: usize = 1024;
/// The longest name of a preset, a model or a camera control, in bytes.
const NAME_MAX: usize = 64;
/// The largest width and height that can be asked for, in pixels.
const SIDE_MAX: u32 = crate::input::SIDE_MAX as u32;

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The tables it is in and its name, with dots between them; `*` stands for a name that people choose.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it stands at if nobody says otherwise, as TOML; absent for a key that then says nothing.
    pub default: Option<&'static str>,
    /// What it is for, in a line.
    pub about: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// One word of letters, digits, `-` and `_`.
    Word,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// A whole number from the first to the second.
    Whole(i64, i64),
    /// A number from the first to the second.
    Number(f64, f64),
    /// What the setting of that name takes.
    Knob(&'static str),
    /// `WIDTHxHEIGHT` in pixels.
    Size,
    /// At most so many texts.
    Texts(usize),
    /// Pixel formats, by the four letters V4L2 calls them.
    Formats,
    /// The path of a serial port.
    Port,
    /// What `--input` takes.
    Input,
    /// What `--output` takes, as a list.
    Outputs,
}

/// The TV standards that V4L2 knows, by the names that people use.
const STANDARDS: &[&str] = &["PAL", "NTSC", "SECAM", "PAL-M", "PAL-N", "PAL-NC", "PAL-60", "NTSC-M-JP", "NTSC-443"];

const fn key(path: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key { path, kind, default: Some(default), about }
}

const fn optional(path: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { path, kind, default: None, about }
}

/// All keys, in the order in which they are shown.
pub const KEYS: &[Key] = &[
    key("schema", Kind::Whole(1, 1), "1", "the version of this table of keys"),
    key("board", Kind::Word, "\"auto\"", "the board's id; auto looks at the device tree"),
    key("outputs", Kind::Outputs, "[\"http://127.0.0.1:8080\"]", "where pictures go, each as `--output` takes it"),
    key("camera.input", Kind::Input, "\"v4l2:auto\"", "where frames come from, as `--input` takes it"),
    optional("camera.size", Kind::Size, "the size to ask the camera for, as in 640x480"),
    optional("camera.fps", Kind::Whole(1, 1000), "the frames a second to ask the camera for"),
    key("camera.formats", Kind::Formats, "[]", "the pixel formats to try, the best first; empty for the program's own order"),
    optional("camera.v4l2-input", Kind::Whole(0, 255), "which input of a grabber"),
    optional("camera.standard", Kind::OneOf(STANDARDS), "the TV standard of a grabber"),
    key("camera.deinterlace", Kind::OneOf(&["auto", "bob", "drop", "off"]), "\"auto\"", "what to do about interlaced fields"),
    key("camera.range", Kind::OneOf(&["auto", "full", "limited"]), "\"auto\"", "what luma codes mean; auto believes the source"),
    optional("camera.exposure", Kind::Whole(0, 10_000_000), "a fixed exposure, in the camera's own unit"),
    optional("camera.gain", Kind::Whole(0, 1_000_000), "a fixed gain, in the camera's own unit"),
    optional("camera.controls.*", Kind::Whole(i32::MIN as i64, i32::MAX as i64), "any other control of the camera, by its name"),
    key("camera.wait", Kind::Switch, "true", "wait for a camera that is not there, instead of giving up"),
    key("camera.tone.black", Kind::Number(0.0, 254.0), "0.0", "the luma code that the camera calls black"),
    key("camera.tone.white", Kind::Number(1.0, 255.0), "255.0", "the luma code that the camera calls white"),
    key("camera.tone.gamma", Kind::Number(0.2, 5.0), "1.0", "above 1 lightens what is between; 1 changes nothing"),
    key(
        "model.variant",
        Kind::Word,
        concat!("\"", env!("BUNDLED_MODEL"), "\""),
        "the model, by its name; an installed one or the bundled one",
    ),
    optional("model.file", Kind::Text, "a model file, which goes before the variant"),
    optional(
        "model.threads",
        Kind::Whole(1, model::THREADS_MAX as i64),
        "how many threads share a frame's network; unset: by the number of cores",
    ),
    optional("model.choices.*", Kind::Text, "a model that can be changed to by this name: its file, or `bundled`"),
    optional("color.preset", Kind::Word, "the preset to start with"),
    optional("color.saturation", Kind::Knob("saturation"), "how strong colors are; unset: what the model says"),
    key("color.hue", Kind::Knob("hue"), "0.0", "the turn of every hue, in degrees"),
    optional("color.temperature", Kind::Knob("temperature"), "likeliest colors (low) or the mean of all (high); unset: the model's"),
    key("color.mix", Kind::Knob("mix"), "1.0", "how much color is mixed into the grey picture"),
    key("color.night", Kind::OneOf(&["auto", "off", "on"]), "\"auto\"", "one tint instead of invented colors, under infrared light"),
    key("color.dark-fade", Kind::Switch, "true", "less color where the picture is too dark to know it"),
    optional("presets.*.saturation", Kind::Knob("saturation"), "a preset of that name: its saturation"),
    optional("presets.*.hue", Kind::Knob("hue"), "its hue"),
    optional("presets.*.temperature", Kind::Knob("temperature"), "its temperature"),
    optional("presets.*.mix", Kind::Knob("mix"), "its mix"),
    optional("page.token-file", Kind::Text, "a file with the word that viewers need to change settings"),
    key("page.hosts", Kind::Texts(16), "[]", "names under which the page may be asked for, besides this machine's own"),
    optional("panel.port", Kind::Port, "the serial port of the knob box, as in /dev/ttyACM0"),
    key("panel.baud", Kind::Whole(300, 4_000_000), "115200", "the speed of that port"),
    optional("display.connector", Kind::Text, "the screen of the output `display:`, as in HDMI-A-1; unset: the first"),
    optional("display.mode", Kind::Size, "its mode, as in 1920x1080; unset: the one it prefers"),
    key("thermal.enabled", Kind::Switch, "true", "do less when the processor is hot"),
    key("thermal.zones", Kind::Texts(16), "[]", "the thermal zones to look at, by type, the hottest counts; empty for all"),
    key("thermal.step-down-c", Kind::Number(30.0, 120.0), "72.0", "do less from so many degrees Celsius on"),
    key("thermal.step-up-c", Kind::Number(20.0, 115.0), "64.0", "do more again below so many degrees Celsius"),
    key("thermal.stop-c", Kind::Number(35.0, 125.0), "82.0", "stop coloring from so many degrees Celsius on"),
    optional("thermal.small-model", Kind::Word, "the one of model.choices to change to when it is hot"),
    key("kiosk.state-folder", Kind::Text, "\"/var/lib/autochrome\"", "where installed models and other lasting things are"),
];

/// What a board's file has besides [`KEYS`].
pub const BOARD_KEYS: &[Key] = &[
    optional("id", Kind::Word, "what `board` calls it"),
    optional("name", Kind::Text, "what people call it"),
    optional("match", Kind::Texts(16), "the device tree's `compatible` strings that mean this board"),
    optional("cores", Kind::Whole(1, 1024), "its processor cores"),
    optional("measured", Kind::Switch, "whether docs/benchmarks.md has figures that were measured on this board"),
];

impl Key {
    /// Whether this is the key of that path.
    pub fn fits(&self, path: &str) -> bool {
        let mut names = path.split('.');
        self.path.split('.').all(|part| names.next().is_some_and(|name| part == "*" || part == name)) && names.next().is_none()
    }

    /// Whether this key is somewhere below a table of that path.
    pub fn is_below(&self, table: &str) -> bool {
        let mut parts = self.path.split('.');
        table.split('.').all(|name| parts.next().is_some_and(|part| part == "*" || part == name)) && parts.next().is_some()
    }

    /// Whether nothing at all is an answer too, written as `""`.
    pub fn can_be_unset(&self) -> bool {
        self.default.is_none()
    }
}

/// The key of that path.
pub fn find<'k>(keys: impl IntoIterator<Item = &'k Key>, path: &str) -> Option<&'k Key> {
    keys.into_iter().find(|key| key.fits(path))
}

/// What to say about a path that is no key: the nearest one, or what there is beside it.
pub fn hint(keys: &[&Key], path: &str) -> String {
    let names: Vec<&str> = path.split('.').collect();
    // Names that people choose are taken over, so that only the rest is compared.
    let spelled = |key: &Key| {
        let parts = key.path.split('.').enumerate();
        parts.map(|(at, part)| if part == "*" { names.get(at).copied().unwrap_or("NAME") } else { part }).collect::<Vec<_>>().join(".")
    };
    // The right name in the wrong table.
    let last = names.last().copied().unwrap_or_default();
    let mut elsewhere = keys.iter().filter(|key| key.path.rsplit('.').next() == Some(last));
    if let (Some(only), None) = (elsewhere.next(), elsewhere.next()) {
        return format!("did you mean {}?", spelled(only));
    }
    let mut candidates = Vec::new();
    for key in keys {
        let key = spelled(key);
        candidates.extend(key.match_indices('.').map(|(at, _)| key[..at].to_owned()));
        candidates.push(key);
    }
    let distance = |candidate: &String| strsim::damerau_levenshtein(candidate, path);
    if let Some(nearest) =
        candidates.iter().min_by_key(|candidate| distance(candidate)).filter(|nearest| distance(nearest) <= 2.max(path.len() / 6))
    {
        return format!("did you mean {nearest}?");
    }
    let table = path.rsplit_once('.').map(|(table, _)| table);
    let beside: Vec<String> = keys.iter().filter(|key| table.is_some_and(|table| key.is_below(table))).map(|key| spelled(key)).collect();
    if beside.is_empty() {
        let mut tables: Vec<&str> = keys.iter().filter_map(|key| Some(key.path.split_once('.')?.0)).collect();
        tables.dedup();
        return format!("there are the tables {}", tables.join(", "));
    }
    format!("there are {}", beside.join(", "))
}

/// Whether a name may be given to a preset, a model or a control.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// A text as a name: what may not stand in one becomes `_`.
pub fn as_name(text: &str) -> String {
    let name: String =
        text.chars().take(NAME_MAX).map(|letter| if is_name(letter.encode_utf8(&mut [0; 4])) { letter } else { '_' }).collect();
    if name.is_empty() { "_".into() } else { name }
}

/// Whether the panel can be there; its rate is a key of its own.
fn port(text: &str) -> Result<(), String> {
    let port = Port::parse(text).map_err(|failure| failure.to_string())?;
    if port.path == text { Ok(()) } else { Err(format!("{text:?} is not a path alone: the rate is panel.baud")) }
}

/// Reads a size as in `640x480`.
pub fn size(text: &str) -> Option<(u32, u32)> {
    let (width, height) = text.split_once('x')?;
    let side = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let in_range = |side: &u32| (1..=SIDE_MAX).contains(side);
    Some((side(width).filter(in_range)?, side(height).filter(in_range)?))
}

impl Kind {
    /// What it takes, for people.
    pub fn words(&self) -> String {
        match self {
            Self::Text => "text".into(),
            Self::Word => "one word of letters, digits, - and _".into(),
            Self::OneOf(words) => words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", "),
            Self::Switch => "true or false".into(),
            Self::Whole(min, max) if min == max => format!("{min}"),
            Self::Whole(min, max) => format!("a whole number from {min} to {max}"),
            Self::Number(min, max) => format!("a number from {min} to {max}"),
            Self::Knob(_) => {
                let (min, max) = self.bounds().unwrap_or_default();
                format!("a number from {min} to {max}")
            }
            Self::Size => format!("WIDTHxHEIGHT, each from 1 to {SIDE_MAX}"),
            Self::Texts(most) => format!("a list of at most {most} texts"),
            Self::Formats => "a list of formats of four letters, as in \"GREY\" and \"YUYV\"".into(),
            Self::Port => "the absolute path of a serial port".into(),
            Self::Input => "an input, as --input takes it".into(),
            Self::Outputs => "a list of outputs, each as --output takes it".into(),
        }
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        match *self {
            Self::Number(min, max) => Some((min, max)),
            Self::Knob(name) => match Knob::named(name)?.kind {
                // By way of text, so that 0.01 stays 0.01.
                KnobKind::Number { min, max, .. } => Some((min.to_string().parse().ok()?, max.to_string().parse().ok()?)),
                KnobKind::Switch | KnobKind::Choice => None,
            },
            _ => None,
        }
    }

    /// The value in its usual form, if it is one that the key takes; else what is wrong with it.
    pub fn check(&self, value: Value) -> Result<Value, String> {
        let wrong = |value: &Value| format!("{} is not {}", shown(value), self.words());
        match (self, &value) {
            (Self::Text | Self::Word | Self::OneOf(_) | Self::Size | Self::Port | Self::Input, Value::String(text)) => {
                if text.len() > TEXT_MAX || text.chars().any(char::is_control) {
                    return Err(format!("it takes at most {TEXT_MAX} bytes, none of them a control character"));
                }
                match self {
                    Self::Word if !is_name(text) => Err(wrong(&value)),
                    Self::OneOf(words) if !words.contains(&text.as_str()) => Err(wrong(&value) + &nearest_word(words, text)),
                    Self::Size if size(text).is_none() => Err(wrong(&value)),
                    Self::Port => port(text).map(|()| value),
                    Self::Input => Source::parse(text).map(|_| value.clone()).map_err(|failure| failure.to_string()),
                    _ => Ok(value),
                }
            }
            (Self::Switch, Value::Boolean(_)) => Ok(value),
            (Self::Whole(min, max), Value::Integer(number)) if (min..=max).contains(&number) => Ok(value),
            (Self::Number(..) | Self::Knob(_), Value::Integer(_) | Value::Float(_)) => {
                let number = value.as_float().or_else(|| value.as_integer().map(|number| number as f64)).unwrap_or(f64::NAN);
                let (min, max) = self.bounds().unwrap_or_default();
                // The comparison is false for a NaN.
                if number >= min && number <= max { Ok(Value::Float(number)) } else { Err(wrong(&value)) }
            }
            (Self::Texts(_) | Self::Formats | Self::Outputs, Value::Array(items)) => {
                let most = if let Self::Texts(most) = self { *most } else { 16 };
                if items.len() > most {
                    return Err(format!("{} entries; it takes at most {most}", items.len()));
                }
                let item = match self {
                    Self::Formats => Self::format,
                    Self::Outputs => Self::output,
                    _ => |value| Self::Text.check(value),
                };
                let items: Result<Vec<Value>, String> = items.iter().cloned().map(item).collect();
                items.map(Value::Array)
            }
            _ => Err(wrong(&value)),
        }
    }

    fn format(value: Value) -> Result<Value, String> {
        let text = value.as_str().ok_or_else(|| format!("{} is not a format of up to four letters, as in \"GREY\"", shown(&value)))?;
        format_of(text).map(|_| value.clone())
    }

    fn output(value: Value) -> Result<Value, String> {
        let value = Self::Text.check(value)?;
        Sink::parse(value.as_str().unwrap_or_default()).map(|_| value.clone()).map_err(|failure| failure.to_string())
    }

    /// What a person wrote behind a `=` of the environment or of `--set`: TOML, or words without quotes, lists with commas.
    pub fn read(&self, text: &str) -> Value {
        let text = text.trim();
        let toml = || {
            let table: toml::Table = toml::from_str(&format!("value = {text}")).ok()?;
            // Line breaks could smuggle in more keys than the one.
            (table.len() == 1).then(|| table.get("value").cloned()).flatten()
        };
        let plain = || Value::String(text.to_owned());
        match self {
            Self::Text | Self::Word | Self::OneOf(_) | Self::Size | Self::Port | Self::Input if !text.starts_with(['"', '\'']) => plain(),
            Self::Texts(_) | Self::Formats | Self::Outputs if !text.starts_with('[') => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
            }
            _ => toml().unwrap_or_else(plain),
        }
    }
}

fn nearest_word(words: &[&str], text: &str) -> String {
    let nearest = words.iter().min_by_key(|word| strsim::damerau_levenshtein(word, text));
    let near = nearest.filter(|word| strsim::damerau_levenshtein(word, text) <= 2);
    near.map(|word| format!("; did you mean \"{word}\"?")).unwrap_or_default()
}

/// A value as people wrote it, cut to a length that fits a line.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::Table(_) => "a table".into(),
        Value::Array(_) => "a list".into(),
        other => other.to_string(),
    };
    if text.chars().count() <= 40 { text } else { text.chars().take(40).chain("..".chars()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table in the documentation, one row a key.
    fn table() -> String {
        let mut text = String::from("| key | takes | if unset | what for |\n| --- | --- | --- | --- |\n");
        for key in KEYS {
            let default = key.default.map_or_else(|| "-".into(), |default| format!("`{default}`"));
            let path = key.path.replace('*', "NAME");
            text += &format!("| `{path}` | {} | {default} | {} |\n", key.kind.words(), key.about);
        }
        text
    }

    #[test]
    fn every_key_stands_in_the_documentation_as_it_is() {
        let document = include_str!("../../../docs/configuration.md");
        let inside = document.split_once("<!-- keys -->\n").and_then(|(_, rest)| rest.split_once("<!-- end of keys -->"));
        let found = inside.map(|(table, _)| table.trim()).unwrap_or_default();
        assert!(found == table().trim(), "docs/configuration.md, between the two marks, has to be:\n{}", table());
    }

    #[test]
    fn the_documentations_examples_are_valid() {
        let document = include_str!("../../../docs/configuration.md");
        let examples: Vec<&str> = document.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(examples.len() >= 2);
        for example in examples {
            assert_eq!(super::super::layers::check_text(example, "example", false), Ok(()), "{example}");
        }
    }

    #[test]
    fn every_default_is_a_value_that_its_key_takes() {
        for key in KEYS {
            let Some(default) = key.default else { continue };
            let value = key.kind.read(default);
            assert_eq!(key.kind.check(value.clone()).as_ref(), Ok(&value), "{}", key.path);
        }
    }

    #[test]
    fn a_misspelled_key_is_told_the_nearest_one() {
        let all: Vec<&Key> = KEYS.iter().collect();
        let cases = [
            ("camera.fsp", "did you mean camera.fps?"),
            ("camera.v4l2_input", "did you mean camera.v4l2-input?"),
            ("camara.size", "did you mean camera.size?"),
            ("fps", "did you mean camera.fps?"),
            ("camera.token-file", "did you mean page.token-file?"),
            ("camera.black", "did you mean camera.tone.black?"),
            ("output", "did you mean outputs?"),
            ("presets.warm.satturation", "did you mean presets.warm.saturation?"),
            ("panel.velocity-of-light", "there are panel.port, panel.baud"),
            ("zzzzzzzzzzzz", "there are the tables camera, model, color, presets, page, panel, display, thermal, kiosk"),
        ];
        for (path, expected) in cases {
            assert_eq!(hint(&all, path), expected, "{path}");
        }
    }

    #[test]
    fn values_are_taken_or_refused_with_what_would_be_right() {
        struct Case(Kind, &'static str, Result<&'static str, &'static str>);
        let cases = [
            Case(Kind::Whole(1, 240), "15", Ok("15")),
            Case(Kind::Whole(1, 240), "0", Err("0 is not a whole number from 1 to 240")),
            Case(Kind::Whole(1, 240), "1.5", Err("1.5 is not a whole number from 1 to 240")),
            Case(Kind::Whole(1, 240), "fast", Err("\"fast\" is not a whole number from 1 to 240")),
            Case(Kind::Knob("saturation"), "1", Ok("1.0")),
            Case(Kind::Knob("temperature"), "0", Err("0 is not a number from 0.01 to 10")),
            Case(Kind::Number(0.2, 5.0), "nan", Err("nan is not a number from 0.2 to 5")),
            Case(Kind::Number(0.2, 5.0), "inf", Err("inf is not a number from 0.2 to 5")),
            Case(Kind::Switch, "yes", Err("\"yes\" is not true or false")),
            Case(Kind::Size, "640x480", Ok("\"640x480\"")),
            Case(Kind::Size, "640x0", Err("\"640x0\" is not WIDTHxHEIGHT, each from 1 to 8192")),
            Case(Kind::Size, "+640x480", Err("\"+640x480\" is not WIDTHxHEIGHT, each from 1 to 8192")),
            Case(Kind::OneOf(&["auto", "off"]), "of", Err("\"of\" is not \"auto\", \"off\"; did you mean \"off\"?")),
            Case(Kind::Word, "a b", Err("\"a b\" is not one word of letters, digits, - and _")),
            Case(Kind::Texts(2), "a, b", Ok("[\"a\", \"b\"]")),
            Case(Kind::Texts(2), "[\"a\", \"b\", \"c\"]", Err("3 entries; it takes at most 2")),
            Case(Kind::Texts(2), "[1]", Err("1 is not text")),
            Case(Kind::Formats, "GREY,YUYV", Ok("[\"GREY\", \"YUYV\"]")),
            Case(Kind::Formats, "[\"GRAY8\"]", Err("format=GRAY8: not a format that is read")),
            Case(Kind::Formats, "[\"BGR3\"]", Err("format=BGR3: not a format that is read")),
            Case(Kind::Formats, "[4]", Err("4 is not a format of up to four letters")),
            Case(Kind::Port, "/dev/ttyACM0", Ok("\"/dev/ttyACM0\"")),
            Case(
                Kind::Port,
                "/dev/serial/by-path/pci-0000:00:14.0-usb-0:1:1.0",
                Ok("\"/dev/serial/by-path/pci-0000:00:14.0-usb-0:1:1.0\""),
            ),
            Case(Kind::Port, "ttyACM0", Err("panel ttyACM0: a port is an absolute path")),
            Case(Kind::Port, "/dev/ttyS1:9600", Err("\"/dev/ttyS1:9600\" is not a path alone: the rate is panel.baud")),
            Case(Kind::Input, "v4l2:auto", Ok("\"v4l2:auto\"")),
            Case(Kind::Outputs, "http://[::1]:80,null", Ok("[\"http://[::1]:80\", \"null\"]")),
            Case(Kind::Whole(0, 9), "1\nx = 2", Err("\"1\\nx = 2\" is not a whole number from 0 to 9")),
        ];
        for Case(kind, text, expected) in cases {
            let found = kind.check(kind.read(text)).map(|value| value.to_string());
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            match (&found, &expected) {
                (Err(found), Err(expected)) => assert!(found.starts_with(expected.as_str()) || expected.contains("\\n"), "{text}: {found}"),
                _ => assert_eq!(found, expected, "{text}"),
            }
        }
        assert!(Kind::Outputs.check(Kind::Outputs.read("a.mp4")).unwrap_err().contains("not a kind of output"));
    }

    #[test]
    fn a_key_is_of_one_path_and_below_its_tables() {
        let key = find(KEYS, "presets.warm.hue").unwrap();
        assert_eq!(key.path, "presets.*.hue");
        assert!(key.is_below("presets") && key.is_below("presets.warm") && !key.is_below("presets.warm.hue") && !key.is_below("camera"));
        assert!(find(KEYS, "camera").is_none() && find(KEYS, "camera.fps.x").is_none());
    }
}
