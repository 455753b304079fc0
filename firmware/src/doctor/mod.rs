//! `doctor`: what is right and wrong with this device, each with a line on how to mend it.
//!
//! Everything is read below a folder that stands for `/`, so that tests can make up a device.

mod checks;

use std::path::{Path, PathBuf};

use lexopt::prelude::*;
use serde::Serialize;

use crate::cli::{next, print, unexpected};
use crate::config::{Layers, Loaded};
use crate::errors::{Exit, Failure, OrFail, Result};

const HELP: &str = "\
autochrome doctor [--json]
  looks at everything that a picture needs, and says how to mend what is wrong
  --json           as JSON
  ends with 0, or with 1 if there is a problem; a warning is none";

/// How it is with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be, or not needed.
    Ok,
    /// It works, but not as well as it could.
    Warning,
    /// There will be no picture, or none that can be relied on.
    Problem,
}

/// What was found out about one thing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub found: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// Who runs the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user's number; 0 may do anything.
    pub uid: u32,
    /// The numbers of the groups.
    pub gids: Vec<u32>,
}

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Device {
    /// The folder that stands for `/`.
    pub root: PathBuf,
    /// Who asks.
    pub person: Person,
    /// Seconds since 1970.
    pub now: u64,
}

impl Device {
    /// This machine.
    pub fn of_system() -> Self {
        let groups = rustix::process::getgroups().unwrap_or_default();
        let gids = groups.into_iter().chain([rustix::process::getegid()]).map(|gid| gid.as_raw()).collect();
        let person = Person { uid: rustix::process::geteuid().as_raw(), gids };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { root: PathBuf::from("/"), person, now }
    }

    /// Whether it is this machine, and not one that a test made up.
    fn is_real(&self) -> bool {
        self.root == Path::new("/")
    }

    /// A path below the root.
    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// All checks, in an order in which mending one may mend those after it.
    pub fn examine(&self, layers: &Layers) -> Vec<Check> {
        let mut found = Vec::new();
        let loaded = checks::configuration(layers, &mut found);
        checks::all(self, &loaded, &mut found);
        found
    }
}

/// `doctor`.
///
/// # Errors
/// [`Exit::Other`] if there is a problem, after everything was printed.
pub fn command(mut parser: lexopt::Parser) -> Result<()> {
    let mut json = false;
    while let Some(argument) = next(&mut parser)? {
        match argument {
            Short('h') | Long("help") => return print(HELP),
            Long("json") => json = true,
            other => return Err(unexpected(other)),
        }
    }
    let checks = Device::of_system().examine(&Layers::of_system(None, Vec::new()));
    if json {
        print(&serde_json::to_string_pretty(&checks).or_fail(Exit::Other, || "write JSON".into())?)?;
    } else {
        print(&to_text(&checks))?;
    }
    match checks.iter().filter(|check| check.state == State::Problem).count() {
        0 => Ok(()),
        1 => Err(Failure::new(Exit::Other, "doctor found 1 problem")),
        problems => Err(Failure::new(Exit::Other, format!("doctor found {problems} problems"))),
    }
}

/// A line for each check, and its fix below it.
fn to_text(checks: &[Check]) -> String {
    let name_width = checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for Check { name, state, found, fix } in checks {
        let state = match state {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Problem => "PROBLEM",
        };
        text += &format!("{state:<7}  {name:<name_width$}  {found}\n");
        if let Some(fix) = fix {
            text += &format!("{:7}  {:name_width$}  -> {fix}\n", "", "");
        }
    }
    text
}

/// What a check says of a configuration that could not be read: the built-in one, so that the rest can be looked at.
fn fallback() -> Loaded {
    let config = crate::config::Config::default();
    Loaded { config, values: Default::default(), board: None, files: Vec::new(), warnings: Vec::new() }
}
