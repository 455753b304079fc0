//! The configuration as the program reads it: plain values under the names of the keys.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use autochrome_model::LumaRange;
use serde::{Deserialize, Serialize};

use super::keys::{self, KEYS};
use crate::coloring::Conditions;
use crate::errors::Result;
use crate::input::Source;
use crate::output::Sink;
use crate::output::page::Access;
use crate::panel::port::Port;
use crate::run;
use crate::scene::{Night, SceneSettings};
use crate::settings::{Choices, Command, ModelChoice, Preset as PresetChoice};

/// The name of the model inside the program.
pub const BUNDLED: &str = env!("BUNDLED_MODEL");

/// The whole configuration. What a field means and takes stands in [`KEYS`], under its name with `-` for `_`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(missing_docs, reason = "KEYS says what each is for")]
pub struct Config {
    pub schema: u32,
    pub board: String,
    pub outputs: Vec<String>,
    pub camera: Camera,
    pub model: Model,
    pub color: Color,
    #[serde(default)]
    pub presets: BTreeMap<String, Preset>,
    pub page: Page,
    pub panel: Panel,
    #[serde(default)]
    pub display: Display,
    pub thermal: Thermal,
    pub kiosk: Kiosk,
}

/// The table `camera`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(missing_docs, reason = "KEYS says what each is for")]
pub struct Camera {
    pub input: String,
    pub size: Option<String>,
    pub fps: Option<u32>,
    pub formats: Vec<String>,
    pub v4l2_input: Option<u32>,
    pub standard: Option<String>,
    pub deinterlace: String,
    pub range: String,
    pub exposure: Option<i64>,
    pub gain: Option<i64>,
    #[serde(default)]
    pub controls: BTreeMap<String, i64>,
    pub wait: bool,
    pub tone: Tone,
}

/// The table `camera.tone`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(missing_docs, reason = "KEYS says what each is for")]
pub struct Tone {
    pub black: f32,
    pub white: f32,
    pub gamma: f32,
}

/// The table `model`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(missing_docs, reason = "KEYS says what each is for")]
pub struct Model {
    pub variant: String,
    pub file: Option<PathBuf>,
    pub threads: Option<NonZeroUsize>,
    #[serde(default)]
    pub choices: BTreeMap<String, String>,
}

/// The table `color`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(missing_docs, reason = "KEYS says what each is for")]
pub struct Color {
    pub preset: Option<String>,
    pub saturation: Option<f32>,
    pub hue: f32,
    pub temperature: Option<f32>,
    pub mix: f32,
    pub night: String,
    pub dark_fade: bool,
}

/// A table `presets.NAME`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(missing_docs, reason = "KEYS says what each is for")]
pub struct Preset {
    pub saturation: Option<f32>,
    pub hue: Option<f32>,
    pub temperature: Option<f32>,
    pub mix: Option<f32>,
}

/// The table `page`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(missing_docs, reason = "KEYS says what each is for")]
pub struct Page {
    pub token_file: Option<PathBuf>,
    pub hosts: Vec<String>,
}

/// The table `panel`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(missing_docs, reason = "KEYS says what each is for")]
pub struct Panel {
    pub port: Option<String>,
    pub baud: u32,
}

/// The table `display`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(missing_docs, reason = "KEYS says what each is for")]
pub struct Display {
    pub connector: Option<String>,
    pub mode: Option<String>,
}

/// The table `thermal`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(missing_docs, reason = "KEYS says what each is for")]
pub struct Thermal {
    pub enabled: bool,
    pub zones: Vec<String>,
    pub step_down_c: f32,
    pub step_up_c: f32,
    pub stop_c: f32,
    pub small_model: Option<String>,
}

/// The table `kiosk`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(missing_docs, reason = "KEYS says what each is for")]
pub struct Kiosk {
    pub state_folder: PathBuf,
}

impl Default for Config {
    /// What is built in, without any board.
    fn default() -> Self {
        let mut values = BTreeMap::new();
        for key in KEYS {
            if let Some(default) = key.default {
                values.insert(key.path.to_owned(), key.kind.read(default));
            }
        }
        Self::from_values(values).expect("the built-in values are tested to be complete")
    }
}

impl Config {
    /// Puts values under their paths into the fields.
    ///
    /// # Errors
    /// What serde says; values that were checked against [`KEYS`] bring none.
    pub(super) fn from_values(values: BTreeMap<String, toml::Value>) -> std::result::Result<Self, toml::de::Error> {
        nested(values).try_into()
    }

    /// The presets, and the models: first the one that a run begins with, then the others in name order.
    pub fn choices(&self) -> Choices {
        let presets = self.presets.iter().map(|(name, preset)| PresetChoice { name: name.clone(), commands: preset.commands() });
        let start = self.model_file(Path::new("/")).0;
        let others = self.model.choices.iter().map(|(name, file)| ModelChoice { name: name.clone(), file: choice_file(file) });
        let mut choices = Choices { presets: presets.collect(), models: others.collect() };
        match choices.models.iter().position(|model| model.file == start) {
            Some(at) => choices.models[..=at].rotate_right(1),
            None => {
                let stem = start.as_deref().and_then(Path::file_stem).map(|stem| stem.to_string_lossy().into_owned());
                let name = choices.free_model_name(keys::as_name(&stem.unwrap_or_else(|| BUNDLED.into())));
                choices.models.insert(0, ModelChoice { name, file: start });
            }
        }
        choices
    }

    /// The file of the model to start with, absent for the bundled one; and what to say if it is not the one that was asked for.
    pub fn model_file(&self, root: &Path) -> (Option<PathBuf>, Option<String>) {
        if let Some(file) = &self.model.file {
            return (Some(file.clone()), None);
        }
        let variant = &self.model.variant;
        if let Some(file) = self.model.choices.get(variant) {
            return (choice_file(file), None);
        }
        if variant == BUNDLED {
            return (None, None);
        }
        for folder in [&self.kiosk.state_folder.join("models"), Path::new("/usr/share/autochrome/models")] {
            let file = folder.join(format!("{variant}.onnx"));
            if root.join(file.strip_prefix("/").unwrap_or(&file)).is_file() {
                return (Some(file), None);
            }
        }
        (None, Some(format!("the model {variant} is not installed; the bundled {BUNDLED} is used instead")))
    }

    /// The settings to start with.
    pub fn commands(&self) -> Vec<Command> {
        let Color { preset, saturation, hue, temperature, mix, .. } = &self.color;
        let mut commands = vec![Command::Hue(*hue), Command::Mix(*mix)];
        commands.extend(saturation.map(Command::Saturation));
        commands.extend(temperature.map(Command::Temperature));
        // Last, because a preset that was changed is none any more.
        let at = preset.as_ref().and_then(|name| self.presets.keys().position(|known| known == name));
        commands.extend(at.map(Command::Preset));
        commands
    }

    /// What luma codes mean, against what the source says.
    pub fn range(&self) -> Option<LumaRange> {
        match self.camera.range.as_str() {
            "full" => Some(LumaRange::Full),
            "limited" => Some(LumaRange::Limited),
            _ => None,
        }
    }

    /// The input as `--input` takes it, with the camera's options behind a V4L2 device. Those that stand in `camera.input` itself come
    /// last, and win.
    pub fn input_uri(&self) -> String {
        let Camera { input, .. } = &self.camera;
        if !input.starts_with("v4l2:") {
            return input.clone();
        }
        let (device, own) = input.split_once('?').unwrap_or((input, ""));
        let mut options: Vec<String> = self.camera.options().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        options.extend((!own.is_empty()).then(|| own.to_owned()));
        if options.is_empty() { device.to_owned() } else { format!("{device}?{}", options.join("&")) }
    }

    /// The outputs as `--output` takes them; a `display:` that says no more is the screen of the table `display`.
    pub fn output_uris(&self) -> Vec<String> {
        let Display { connector, mode } = &self.display;
        let mode = mode.as_ref().map(|mode| format!("?mode={mode}")).unwrap_or_default();
        let screen = format!("display:{}{mode}", connector.as_deref().unwrap_or_default());
        self.outputs.iter().map(|uri| if uri == "display:" { screen.clone() } else { uri.clone() }).collect()
    }

    /// The outputs.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::errors::Exit::Usage); none for a configuration that was loaded.
    pub fn sinks(&self) -> Result<Vec<Sink>> {
        self.output_uris().iter().map(|uri| Sink::parse(uri)).collect()
    }

    /// What is decided before a run about how its frames are colored.
    pub fn conditions(&self) -> Conditions {
        let Tone { black, white, gamma } = self.camera.tone;
        let night = match self.color.night.as_str() {
            "on" => Night::On,
            "off" => Night::Off,
            _ => Night::Auto,
        };
        let scene = SceneSettings { night, dark_fade: self.color.dark_fade };
        Conditions { tone: autochrome_model::Tone { black, white, gamma }, scene, ..Conditions::default() }
    }

    /// What `run` is asked to do, before its own flags change it.
    ///
    /// # Errors
    /// As [`sinks`](Self::sinks).
    pub fn request(&self) -> Result<run::Request> {
        let panel = self.panel.port.as_ref().map(|port| Port::parse(&format!("{port}:{}", self.panel.baud))).transpose()?;
        let access = Access { token_file: self.page.token_file.clone(), hosts: self.page.hosts.clone() };
        let input = Source::parse(&self.input_uri())?;
        Ok(run::Request {
            outputs: self.sinks()?,
            model: self.model_file(Path::new("/")).0,
            threads: self.model.threads,
            settings: self.commands(),
            choices: self.choices(),
            conditions: self.conditions(),
            thermal: self.thermal.enabled.then(|| self.thermal.clone()),
            record: None,
            // A camera has it among its options, where those of its own URI win.
            range: self.range().filter(|_| !matches!(input, Source::Camera(_))),
            input,
            frames: None,
            live: false,
            fps: self.camera.fps,
            panel,
            access,
        })
    }
}

/// Values under their paths as tables in tables.
pub(super) fn nested(values: impl IntoIterator<Item = (String, toml::Value)>) -> toml::Table {
    fn insert(table: &mut toml::Table, path: &str, value: toml::Value) {
        match path.split_once('.') {
            None => drop(table.insert(path.to_owned(), value)),
            Some((name, rest)) => {
                let below = table.entry(name).or_insert_with(|| toml::Value::Table(toml::Table::new()));
                if let toml::Value::Table(below) = below {
                    insert(below, rest, value);
                }
            }
        }
    }
    let mut root = toml::Table::new();
    values.into_iter().for_each(|(path, value)| insert(&mut root, &path, value));
    root
}

/// The file behind a name in `model.choices`.
fn choice_file(file: &str) -> Option<PathBuf> {
    (file != "bundled").then(|| file.into())
}

impl Preset {
    /// What it changes.
    fn commands(&self) -> Vec<Command> {
        let Self { saturation, hue, temperature, mix } = *self;
        let changes =
            [saturation.map(Command::Saturation), hue.map(Command::Hue), temperature.map(Command::Temperature), mix.map(Command::Mix)];
        changes.into_iter().flatten().collect()
    }
}

impl Camera {
    /// What differs from a camera that nobody configured: names and values as they stand in a URI behind `v4l2:DEVICE?`.
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let mut options = Vec::new();
        options.extend(self.size.clone().map(|size| ("size", size)));
        options.extend(self.fps.map(|fps| ("fps", fps.to_string())));
        options.extend((!self.formats.is_empty()).then(|| ("format", self.formats.join(","))));
        options.extend(self.v4l2_input.map(|input| ("input", input.to_string())));
        options.extend(self.standard.clone().map(|standard| ("standard", standard)));
        options.extend((self.deinterlace != "auto").then(|| ("deinterlace", self.deinterlace.clone())));
        options.extend((self.range != "auto").then(|| ("range", self.range.clone())));
        options.extend(self.wait.then(|| ("wait", "yes".to_owned())));
        options.extend(self.exposure.map(|exposure| ("exposure", exposure.to_string())));
        options.extend(self.gain.map(|gain| ("gain", gain.to_string())));
        options.extend(self.controls.iter().map(|(name, value)| ("control", format!("{name}:{value}"))));
        options
    }
}

#[cfg(test)]
mod tests {
    use super::super::layers::Layers;
    use super::*;

    #[test]
    fn fields_and_keys_are_the_same() {
        // A configuration with something in every field, so that none is left out of what serde writes.
        let mut values = BTreeMap::new();
        for key in KEYS {
            let text = key.default.unwrap_or(match key.kind {
                keys::Kind::Size => "640x480",
                keys::Kind::OneOf(words) => words[0],
                keys::Kind::Text | keys::Kind::Word => "word",
                keys::Kind::Port => "/dev/ttyUSB0",
                _ => "1",
            });
            let value = key.kind.check(key.kind.read(text)).unwrap();
            values.insert(key.path.replace('*', "name"), value);
        }
        let config = Config::from_values(values).unwrap();
        let mut found = Vec::new();
        flatten("", &toml::Value::try_from(&config).unwrap(), &mut found);
        let mut expected: Vec<String> = KEYS.iter().map(|key| key.path.replace('*', "name")).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_range_in_the_cameras_own_uri_wins() {
        let request = |input: &str| {
            let sets = [format!("camera.input={input:?}"), "camera.range=\"limited\"".to_owned()];
            let nowhere = "/nonexistent".into();
            let layers = Layers { root: nowhere, file: None, environment: Vec::new(), sets: sets.into(), architecture: "x86_64".into() };
            layers.load().unwrap().config.request().unwrap()
        };
        let range = |input: &str| match request(input).input {
            Source::Camera(spec) => spec.range,
            other => panic!("{other:?}"),
        };
        assert_eq!(range("v4l2:/dev/video0"), Some(LumaRange::Limited));
        assert_eq!(range("v4l2:/dev/video0?range=full"), Some(LumaRange::Full));
        // Nothing else says it once more, over the camera's head.
        assert_eq!(request("v4l2:/dev/video0?range=full").range, None);
        assert_eq!(request("film.y4m").range, Some(LumaRange::Limited));
    }

    fn flatten(prefix: &str, value: &toml::Value, found: &mut Vec<String>) {
        match value {
            toml::Value::Table(table) => {
                for (name, value) in table {
                    flatten(&if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") }, value, found);
                }
            }
            _ => found.push(prefix.to_owned()),
        }
    }

    #[test]
    fn choices_begin_with_the_model_that_a_run_begins_with() {
        let mut config = Config::default();
        let names = |config: &Config| config.choices().models.into_iter().map(|model| model.name).collect::<Vec<_>>();
        assert_eq!(names(&config), [BUNDLED]);
        config.model.choices = [("big", "/m/big.onnx"), ("small", "/m/small.onnx")].map(|(a, b)| (a.into(), b.into())).into();
        assert_eq!(names(&config), [BUNDLED, "big", "small"]);
        config.model.variant = "small".into();
        assert_eq!(names(&config), ["small", "big"]);
        assert_eq!(config.choices().models[0].file.as_deref(), Some(Path::new("/m/small.onnx")));
        config.model.choices.insert("usual".into(), "bundled".into());
        config.model.variant = BUNDLED.into();
        assert_eq!(names(&config), ["usual", "big", "small"]);
        config.model.file = Some("/tmp/my model.onnx".into());
        assert_eq!(names(&config), ["my_model", "big", "small", "usual"]);
    }

    #[test]
    fn a_model_that_is_not_installed_is_said_and_replaced() {
        let root = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.model.variant = "tiny".into();
        let (file, warning) = config.model_file(root.path());
        assert!(file.is_none() && warning.unwrap().contains("tiny is not installed"));
        let folder = root.path().join("usr/share/autochrome/models");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("tiny.onnx"), "").unwrap();
        assert_eq!(config.model_file(root.path()), (Some("/usr/share/autochrome/models/tiny.onnx".into()), None));
    }

    #[test]
    fn settings_to_start_with_end_with_the_preset() {
        let mut config = Config::default();
        assert_eq!(config.commands(), [Command::Hue(0.0), Command::Mix(1.0)]);
        config.presets.insert("calm".into(), Preset::default());
        config.presets.insert("warm".into(), Preset { saturation: Some(1.5), ..Preset::default() });
        config.color.preset = Some("warm".into());
        config.color.saturation = Some(0.5);
        assert_eq!(config.commands(), [Command::Hue(0.0), Command::Mix(1.0), Command::Saturation(0.5), Command::Preset(1)]);
        assert_eq!(config.choices().presets[1].commands, [Command::Saturation(1.5)]);
    }

    #[test]
    fn a_run_is_asked_for_what_the_configuration_says() {
        let mut config = Config::default();
        config.camera.input = "test-pattern".into();
        config.outputs = vec!["null".into()];
        let request = config.request().unwrap();
        assert_eq!((request.input, request.outputs, request.range), (Source::TestPattern, vec![Sink::Null], None));
        assert_eq!(request.conditions, Conditions::default());
        config.color.night = "on".into();
        config.color.dark_fade = false;
        config.camera.range = "limited".into();
        config.camera.tone.white = 200.0;
        let request = config.request().unwrap();
        assert_eq!(request.range, Some(LumaRange::Limited));
        assert_eq!(request.conditions.scene, SceneSettings { night: Night::On, dark_fade: false });
        assert_eq!(request.conditions.tone, autochrome_model::Tone { white: 200.0, ..autochrome_model::Tone::default() });
    }

    #[test]
    fn uris_carry_what_their_tables_say() {
        let mut config = Config::default();
        assert_eq!(config.input_uri(), "v4l2:auto?wait=yes");
        config.camera.wait = false;
        assert_eq!(config.input_uri(), "v4l2:auto");
        let Camera { size, fps, formats, controls, .. } = &mut config.camera;
        (*size, *fps, *formats) = (Some("720x576".into()), Some(25), vec!["UYVY".into(), "YUYV".into()]);
        controls.insert("focus".into(), -3);
        config.camera.standard = Some("PAL".into());
        config.camera.input = "v4l2:/dev/video0?fps=5".into();
        assert_eq!(config.input_uri(), "v4l2:/dev/video0?size=720x576&fps=25&format=UYVY,YUYV&standard=PAL&control=focus:-3&fps=5");
        config.camera.input = "rpicam:640x480@25".into();
        assert_eq!(config.input_uri(), "rpicam:640x480@25");
        config.outputs = vec!["display:".into(), "display:DP-1".into(), "null".into()];
        assert_eq!(config.output_uris(), ["display:", "display:DP-1", "null"]);
        config.display = Display { connector: Some("HDMI-A-2".into()), mode: Some("1280x720".into()) };
        assert_eq!(config.output_uris(), ["display:HDMI-A-2?mode=1280x720", "display:DP-1", "null"]);
    }
}
