//! The layers of the configuration: read, checked, and laid over each other, with where each value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Value};

use super::boards::{self, Board};
use super::keys::{BOARD_KEYS, KEYS, Key, find, hint, is_name};
use super::typed::Config;
use crate::errors::{Exit, Failure};

/// The largest configuration file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 18;
/// How many drop-ins are read.
const DROP_INS_MAX: usize = 100;
/// How many values all layers together may have.
const VALUES_MAX: usize = 4096;
/// What the names of the environment begin with.
pub const ENVIRONMENT_PREFIX: &str = "AUTOCHROME__";

/// Which layer a value came from; later ones win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// The program itself.
    BuiltIn,
    /// The board's file.
    Board,
    /// `/etc/autochrome/config.toml`, or the file that was named.
    File,
    /// `/etc/autochrome/config.d/*.toml`, in name order.
    DropIn,
    /// A variable `AUTOCHROME__TABLE__KEY`.
    Environment,
    /// `--set`.
    Set,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The layer.
    pub layer: Layer,
    /// The file, the variable or the option; empty for what is built in.
    pub place: String,
    /// The line of the file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.layer, self.line) {
            (Layer::BuiltIn, _) => f.write_str("built-in"),
            (_, Some(line)) => write!(f, "{}:{line}", self.place),
            (_, None) => f.write_str(&self.place),
        }
    }
}

/// Something wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub origin: Origin,
    /// What, and what would be right.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

/// Everything that is wrong with the configuration, in the order in which it was read. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl From<Mistakes> for Failure {
    /// The first one, and how many more there are.
    fn from(Mistakes(mistakes): Mistakes) -> Self {
        let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
        let more = match mistakes.len() {
            0 | 1 => String::new(),
            count => format!(" (and {} more; `autochrome check-config` lists them)", count - 1),
        };
        Self::new(Exit::Config, format!("{first}{more}"))
    }
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// The value, in its usual form.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

/// Where the layers are.
#[derive(Clone, Debug)]
pub struct Layers {
    /// The folder that stands for `/`.
    pub root: PathBuf,
    /// The file that was named instead of `/etc/autochrome`.
    pub file: Option<PathBuf>,
    /// The environment, names and values.
    pub environment: Vec<(String, String)>,
    /// What was given with `--set`, as `camera.fps=15`.
    pub sets: Vec<String>,
    /// The processor's architecture, as Rust calls it.
    pub architecture: String,
}

/// The layers, laid over each other.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The result.
    pub config: Config,
    /// Each value that is set, by its key's path.
    pub values: BTreeMap<String, Placed>,
    /// The board, if one was found.
    pub board: Option<Board>,
    /// The files that were read, in order.
    pub files: Vec<String>,
    /// What is not wrong, but worth saying.
    pub warnings: Vec<String>,
}

/// A value on its way from a layer.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    path: String,
    /// Nothing takes back what the layers before said.
    value: Option<Value>,
    origin: Origin,
}

impl Layers {
    /// The layers of this machine.
    pub fn of_system(file: Option<PathBuf>, sets: Vec<String>) -> Self {
        let environment =
            std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
        Self { file, ..Self::from_root(Path::new("/"), environment.collect(), sets) }
    }

    /// The layers below a folder that stands for `/`.
    pub fn from_root(root: &Path, environment: Vec<(String, String)>, sets: Vec<String>) -> Self {
        Self { root: root.to_owned(), file: None, environment, sets, architecture: std::env::consts::ARCH.to_owned() }
    }

    /// Reads all layers and lays them over each other.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn load(&self) -> Result<Loaded, Mistakes> {
        let (mut mistakes, mut warnings) = (Vec::new(), Vec::new());
        let (mut entries, files) = self.read_files(&mut mistakes);
        self.read_environment(&mut entries, &mut mistakes);
        self.read_sets(&mut entries, &mut mistakes);

        let asked = entries.iter().rev().find(|entry| entry.path == "board");
        let id = asked.and_then(|entry| entry.value.as_ref()?.as_str()).unwrap_or("auto");
        let known = boards::all(&self.root, &mut warnings);
        let board = match boards::pick(&known, id, &self.root, &self.architecture, &mut warnings) {
            Ok(board) => board.cloned(),
            Err(message) => {
                let origin = asked.map_or(built_in(), |entry| entry.origin.clone());
                mistakes.push(Mistake { origin, message });
                None
            }
        };
        let mut values = built_in_values();
        if let Some(board) = &board {
            let from_board = read_text(&board.text, Layer::Board, &board.place, true, &mut mistakes);
            lay_over(&mut values, from_board);
        }
        lay_over(&mut values, entries);
        check_together(&values, &mut mistakes);
        if values.len() > VALUES_MAX {
            mistakes.push(Mistake { origin: built_in(), message: format!("{} values; at most {VALUES_MAX} are taken", values.len()) });
        }
        if !mistakes.is_empty() {
            return Err(Mistakes(mistakes));
        }
        let plain = values.iter().map(|(path, placed)| (path.clone(), placed.value.clone())).collect();
        match Config::from_values(plain) {
            Ok(config) => {
                warnings.extend(config.model_file(&self.root).1);
                Ok(Loaded { config, values, board, files, warnings })
            }
            Err(error) => Err(Mistakes(vec![Mistake { origin: built_in(), message: error.message().to_owned() }])),
        }
    }

    fn read_files(&self, mistakes: &mut Vec<Mistake>) -> (Vec<Entry>, Vec<String>) {
        let (mut entries, mut files) = (Vec::new(), Vec::new());
        let mut read = |path: &Path, layer, shown: String, mistakes: &mut Vec<Mistake>| match read_bounded(path) {
            Ok(text) => {
                entries.extend(read_text(&text, layer, &shown, false, mistakes));
                files.push(shown);
            }
            Err(message) => mistakes.push(Mistake { origin: Origin { layer, place: shown, line: None }, message }),
        };
        if let Some(file) = &self.file {
            read(file, Layer::File, file.display().to_string(), mistakes);
            return (entries, files);
        }
        let main = self.root.join("etc/autochrome/config.toml");
        if main.symlink_metadata().is_ok() {
            read(&main, Layer::File, "/etc/autochrome/config.toml".into(), mistakes);
        }
        let drop_ins = toml_files(&self.root.join("etc/autochrome/config.d"));
        for path in drop_ins.iter().take(DROP_INS_MAX) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            read(path, Layer::DropIn, format!("/etc/autochrome/config.d/{name}"), mistakes);
        }
        if drop_ins.len() > DROP_INS_MAX {
            let origin = Origin { layer: Layer::DropIn, place: "/etc/autochrome/config.d".into(), line: None };
            mistakes.push(Mistake { origin, message: format!("{} files; at most {DROP_INS_MAX} are read", drop_ins.len()) });
        }
        (entries, files)
    }

    fn read_environment(&self, entries: &mut Vec<Entry>, mistakes: &mut Vec<Mistake>) {
        let mut variables: Vec<_> = self.environment.iter().filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect();
        variables.sort();
        for (name, text) in variables {
            let origin = Origin { layer: Layer::Environment, place: name.clone(), line: None };
            let path = name[ENVIRONMENT_PREFIX.len()..].to_lowercase().replace("__", ".");
            // A shell's names have no dashes; a name that people chose may have either.
            let dashed = path.replace('_', "-");
            let known = |path: &str| find(KEYS, path).is_some_and(|key| !key.path.contains('*'));
            let is_named = !known(&dashed) && find(KEYS, &path).is_some();
            read_written(if is_named { path } else { dashed }, text, origin, entries, mistakes);
        }
    }

    fn read_sets(&self, entries: &mut Vec<Entry>, mistakes: &mut Vec<Mistake>) {
        for set in &self.sets {
            let origin =
                Origin { layer: Layer::Set, place: format!("--set {}", set.split_whitespace().collect::<Vec<_>>().join(" ")), line: None };
            match set.split_once('=') {
                Some((path, text)) => read_written(path.trim().to_owned(), text, origin, entries, mistakes),
                None => mistakes.push(Mistake { origin, message: "it is KEY=VALUE, as in camera.fps=15".into() }),
            }
        }
    }
}

/// A value that was written behind a `=`.
fn read_written(path: String, text: &str, origin: Origin, entries: &mut Vec<Entry>, mistakes: &mut Vec<Mistake>) {
    let all: Vec<&Key> = KEYS.iter().collect();
    match find(KEYS, &path) {
        Some(key) if named_well(key, &path) => take(key, path, key.kind.read(text), origin, entries, mistakes),
        _ => mistakes.push(Mistake { origin, message: format!("{path} is not a key; {}", hint(&all, &path)) }),
    }
}

/// Whether the names that people chose in a key's path are ones that may be.
fn named_well(key: &Key, path: &str) -> bool {
    key.path.split('.').zip(path.split('.')).all(|(part, name)| part != "*" || is_name(name))
}

fn take(key: &Key, path: String, value: Value, origin: Origin, entries: &mut Vec<Entry>, mistakes: &mut Vec<Mistake>) {
    if key.can_be_unset() && value.as_str() == Some("") {
        entries.push(Entry { path, value: None, origin });
        return;
    }
    match key.kind.check(value) {
        // It is about the file, and stays what it is.
        Ok(_) if path == "schema" => {}
        Ok(value) => entries.push(Entry { path, value: Some(value), origin }),
        Err(why) if path == "schema" => {
            mistakes.push(Mistake { origin, message: format!("schema: {why}: this program reads schema 1, and no other") });
        }
        Err(why) => mistakes.push(Mistake { origin, message: format!("{path}: {why}") }),
    }
}

/// What is built in.
pub(super) fn built_in_values() -> BTreeMap<String, Placed> {
    let defaults = KEYS.iter().filter_map(|key| Some((key.path.to_owned(), key.kind.read(key.default?))));
    defaults.map(|(path, value)| (path, Placed { value, origin: built_in() })).collect()
}

fn built_in() -> Origin {
    Origin { layer: Layer::BuiltIn, place: String::new(), line: None }
}

fn lay_over(values: &mut BTreeMap<String, Placed>, entries: Vec<Entry>) {
    for Entry { path, value, origin } in entries {
        match value {
            Some(value) => drop(values.insert(path, Placed { value, origin })),
            None => drop(values.remove(&path)),
        }
    }
}

/// What only several values together can have wrong.
fn check_together(values: &BTreeMap<String, Placed>, mistakes: &mut Vec<Mistake>) {
    let number =
        |path: &str| values.get(path).and_then(|placed| placed.value.as_float().or(placed.value.as_integer().map(|whole| whole as f64)));
    let in_order = [
        ("camera.tone.black", "camera.tone.white"),
        ("thermal.step-up-c", "thermal.step-down-c"),
        ("thermal.step-down-c", "thermal.stop-c"),
    ];
    let blame = |first: &str, second: &str| {
        // The later layer said it last, and is more likely wrong.
        let origin = |path: &str| values.get(path).map(|placed| placed.origin.clone());
        [origin(first), origin(second)].into_iter().flatten().max_by_key(|origin| (origin.layer, origin.line)).unwrap_or(built_in())
    };
    for (low, high) in in_order {
        if let (Some(low_value), Some(high_value)) = (number(low), number(high))
            && low_value >= high_value
        {
            mistakes.push(Mistake {
                origin: blame(low, high),
                message: format!("{low} is {low_value} and has to be below {high}, which is {high_value}"),
            });
        }
    }
    for (path, table) in [("color.preset", "presets"), ("thermal.small-model", "model.choices")] {
        let Some(placed) = values.get(path) else { continue };
        let name = placed.value.as_str().unwrap_or_default();
        let prefix = format!("{table}.");
        let mut names: Vec<&str> = values.keys().filter_map(|key| key.strip_prefix(&prefix)?.split('.').next()).collect();
        names.dedup();
        if !names.contains(&name) {
            let known = if names.is_empty() { "none".into() } else { names.join(", ") };
            mistakes.push(Mistake {
                origin: placed.origin.clone(),
                message: format!("{path}: there is no {name:?} in {table}; there are {known}"),
            });
        }
    }
}

/// The `.toml` files of a folder, in name order; none if there is no such folder.
pub(super) fn toml_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(listing) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = listing.filter_map(|entry| Some(entry.ok()?.path()));
    // A name that begins with a dot is an editor's or a package manager's.
    let is_ours = |path: &PathBuf| {
        path.extension().is_some_and(|e| e == "toml") && !path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'))
    };
    let mut paths: Vec<PathBuf> = paths.filter(is_ours).collect();
    paths.sort();
    paths
}

/// Reads a file of text that is not too long.
pub(super) fn read_bounded(path: &Path) -> Result<String, String> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text));
    read.map_err(|error| format!("it cannot be read: {error}"))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is longer than {} KiB", FILE_BYTES_MAX >> 10));
    }
    String::from_utf8(text).map_err(|error| format!("it is not UTF-8 text, from byte {} on", error.utf8_error().valid_up_to()))
}

/// Reads the values of a file, and what is wrong with it, all with their lines.
pub(super) fn read_text(text: &str, layer: Layer, place: &str, is_board: bool, mistakes: &mut Vec<Mistake>) -> Vec<Entry> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reading = Reading { text, layer, place, keys: KEYS.iter().collect(), entries: Vec::new(), mistakes: Vec::new() };
    if is_board {
        reading.keys.extend(BOARD_KEYS);
    }
    for error in &errors {
        let origin = reading.origin(error.span().map_or(0, |span| span.start));
        reading.mistakes.push(Mistake { origin, message: format!("it is not TOML: {}", error.message()) });
    }
    // What a damaged file seems to say is not worth checking.
    if errors.is_empty() {
        reading.walk("", table.get_ref());
    }
    let Reading { entries, mistakes: mut found, .. } = reading;
    found.sort_by_key(|mistake| mistake.origin.line);
    mistakes.append(&mut found);
    entries
}

/// Checks a file's text over what is built in.
pub(super) fn check_text(text: &str, place: &str, is_board: bool) -> Result<(), Mistakes> {
    let mut mistakes = Vec::new();
    let layer = if is_board { Layer::Board } else { Layer::File };
    let entries = read_text(text, layer, place, is_board, &mut mistakes);
    let mut values = built_in_values();
    lay_over(&mut values, entries);
    check_together(&values, &mut mistakes);
    if mistakes.is_empty() { Ok(()) } else { Err(Mistakes(mistakes)) }
}

struct Reading<'t> {
    text: &'t str,
    layer: Layer,
    place: &'t str,
    keys: Vec<&'static Key>,
    entries: Vec<Entry>,
    mistakes: Vec<Mistake>,
}

impl Reading<'_> {
    fn origin(&self, at: usize) -> Origin {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        Origin { layer: self.layer, place: self.place.to_owned(), line: Some(line) }
    }

    fn mistake(&mut self, at: usize, message: String) {
        let origin = self.origin(at);
        self.mistakes.push(Mistake { origin, message });
    }

    fn walk(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let at = name.span().start;
            let name: &str = name.get_ref();
            let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
            let key = find(self.keys.iter().copied(), &path);
            let is_table = self.keys.iter().any(|key| key.is_below(&path));
            // A name with a dot in it would be taken for a table and a name.
            if (key.is_some() || is_table) && !is_name(name) {
                self.mistake(at, format!("{path}: {name:?} is not a name; it is one word of letters, digits, - and _"));
            } else if let Some(key) = key {
                self.value(key, path, at, value);
            } else if !is_table {
                let hint = hint(&self.keys, &path);
                self.mistake(at, format!("{path} is not a key; {hint}"));
            } else if let DeValue::Table(below) = value.get_ref() {
                self.walk(&path, below);
            } else {
                self.mistake(at, format!("{path} is a table, written [{path}] on a line of its own"));
            }
        }
    }

    fn value(&mut self, key: &Key, path: String, at: usize, value: &Spanned<DeValue<'_>>) {
        let origin = self.origin(at);
        match Value::deserialize(ValueDeserializer::from(value.clone())) {
            // What a board's file says of the board is no configuration.
            Ok(value) if BOARD_KEYS.iter().any(|known| known.path == key.path) => {
                if let Err(why) = key.kind.check(value) {
                    self.mistake(at, format!("{path}: {why}"));
                }
            }
            Ok(value) => take(key, path, value, origin, &mut self.entries, &mut self.mistakes),
            Err(error) => self.mistake(at, format!("{path}: {}", error.message())),
        }
    }
}

#[cfg(test)]
mod tests;
