//! `demo`: four old photographs become a grey feed, and the bundled model colors it. No camera, no network, no files needed.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use crate::coloring::Conditions;
use crate::errors::Result;
use crate::input::{Feed, Source, photos};
use crate::model;
use crate::output::page::Access;
use crate::output::{Output, Page, Pairs};
use crate::pipeline::Flow;
use crate::remote::Remote;
use crate::run::{Session, quit_on_signal};
use crate::settings::Choices;

/// Where the page is, unless `--listen` says otherwise.
pub const ADDRESS: &str = "127.0.0.1:8080";

/// What `demo` was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Ends the demo after so many frames, none of them lost and none waited for.
    pub frames: Option<u64>,
    /// A folder for pairs of before and after.
    pub out: Option<PathBuf>,
    /// Where the page listens; nowhere if absent.
    pub listen: Option<String>,
    /// Who may do what on the page.
    pub access: Access,
}

/// Runs the demo.
///
/// # Errors
/// Whatever ended it.
pub fn run(request: &Request) -> Result<()> {
    let quit = quit_on_signal()?;
    let remote = Remote::new(Choices::default());
    let mut outputs = Vec::new();
    if let Some(folder) = &request.out {
        outputs.push(Output::Pairs(Pairs::create(folder)?));
    }
    if let Some(address) = &request.listen {
        let page = Page::listen(address, &request.access, remote.0.clone())?;
        // Whoever closed our standard output does not want to know.
        let _ = writeln!(std::io::stdout(), "Open http://{}/ in a browser", page.address());
        outputs.push(Output::Page(page));
    }
    // With an end given, the same frames come out on every machine; without one, it is a live feed like any other.
    let whole = request.frames.is_some();
    Session {
        colorizer: model::load(None, model::threads(None))?,
        feed: Feed::open(&Source::Photos)?,
        flow: if whole { Flow::Lossless } else { Flow::Live },
        period: (!whole).then(|| Duration::from_secs(1) / photos::RATE as u32),
        outputs,
        settings: Vec::new(),
        conditions: Conditions { lookahead: whole, ..Conditions::default() },
        recorder: None,
        frames: request.frames,
        panel: None,
        thermal: None,
        remote,
        quit,
    }
    .run()
}
