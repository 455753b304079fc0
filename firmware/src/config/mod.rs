//! The configuration: layers of TOML, where each value came from, and what is wrong with one.
//!
//! [`keys`] is the list of all keys, [`layers`] reads and merges, [`boards`] knows the boards, [`typed`] is what the program reads in the
//! end, and [`show()`] prints it.

pub mod boards;
pub mod keys;
pub mod layers;
pub mod show;
pub mod typed;

use std::path::{Path, PathBuf};

use lexopt::prelude::*;

use crate::cli::{next, path, print, text, unexpected};
use crate::errors::{Exit, Failure, Result, say, warn};

pub use layers::{Layers, Loaded, Mistake, Mistakes};
pub use show::{Showing, show};
pub use typed::Config;

const HELP: &str = "\
autochrome config show [--origin] [--diff] [--json] [--config FILE] [--set KEY=VALUE]..
  the configuration as `run` sees it, all layers merged, as TOML
  --origin         with where each value came from
  --diff           only what differs from what is built in
  --json           as JSON
  --config FILE    this file instead of /etc/autochrome/config.toml and config.d
  --set KEY=VALUE  as in camera.fps=15; goes before all files and the environment

autochrome check-config [FILE ..]
  reads the configuration, or these files, each for itself, and lists every mistake; ends with 0 or 78";

/// `config show`.
///
/// # Errors
/// [`Exit::Config`] if the configuration is wrong.
pub fn command(mut parser: lexopt::Parser) -> Result<()> {
    let (mut words, mut showing, mut file, mut sets) = (Vec::new(), Showing::default(), None, Vec::new());
    while let Some(argument) = next(&mut parser)? {
        match argument {
            Short('h') | Long("help") => return print(HELP),
            Long("origin") => showing.origin = true,
            Long("diff") => showing.diff = true,
            Long("json") => showing.json = true,
            Long("config") => file = Some(path(&mut parser)?),
            Long("set") => sets.push(text(&mut parser)?),
            Value(word) => words.push(word),
            other => return Err(unexpected(other)),
        }
    }
    if !matches!(words.as_slice(), [word] if word == "show") {
        return Err(Failure::usage("it is `autochrome config show [--origin] [--diff] [--json] [--config FILE] [--set KEY=VALUE]..`"));
    }
    print(&show(&load(file, sets)?, showing)?)
}

/// The configuration of this machine, its warnings said.
///
/// # Errors
/// [`Exit::Config`], all but one of several mistakes said before.
pub fn load(file: Option<PathBuf>, sets: Vec<String>) -> Result<Loaded> {
    let loaded = Layers::of_system(file, sets).load()?;
    loaded.warnings.iter().for_each(|warning| warn(warning));
    Ok(loaded)
}

/// `check-config`.
///
/// # Errors
/// [`Exit::Config`] if something is wrong; everything was said before.
pub fn check_command(mut parser: lexopt::Parser) -> Result<()> {
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(argument) = next(&mut parser)? {
        match argument {
            Short('h') | Long("help") => return print(HELP),
            Value(file) => files.push(file.into()),
            other => return Err(unexpected(other)),
        }
    }
    let (mut mistakes, mut lines) = (Vec::new(), Vec::new());
    if files.is_empty() {
        match Layers::of_system(None, Vec::new()).load() {
            Ok(loaded) => {
                loaded.warnings.iter().for_each(|warning| warn(warning));
                let board = loaded.board.as_ref().map(|board| board.name.clone());
                let parts: Vec<String> = board.into_iter().chain(loaded.files).collect();
                lines.push(format!("the configuration is valid: built-in, {}", parts.join(", ")));
            }
            Err(Mistakes(found)) => mistakes.extend(found),
        }
    }
    for file in &files {
        match check_file(file) {
            Ok(()) => lines.push(format!("{} is valid", file.display())),
            Err(Mistakes(found)) => mistakes.extend(found),
        }
    }
    match mistakes.as_slice() {
        [] => print(&lines.join("\n")),
        [only] => Err(Failure::new(Exit::Config, only)),
        several => {
            several.iter().for_each(|mistake| say(&mistake.to_string()));
            Err(Failure::new(Exit::Config, format!("{} mistakes in the configuration", several.len())))
        }
    }
}

/// Checks a file for itself: a board's file, known by its `id`, or a configuration over what is built in.
///
/// # Errors
/// All that is wrong with it.
pub fn check_file(file: &Path) -> std::result::Result<(), Mistakes> {
    let place = file.display().to_string();
    let nowhere = |message| {
        let origin = layers::Origin { layer: layers::Layer::File, place: place.clone(), line: None };
        Mistakes(vec![Mistake { origin, message }])
    };
    let text = layers::read_bounded(file).map_err(nowhere)?;
    let is_board = text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("id"));
    if is_board {
        boards::Board::read(place.clone(), text.clone()).map_err(nowhere)?;
    }
    layers::check_text(&text, &place, is_board)
}
