//! The verbs of the command line, a file each.

mod classical;
mod compare;
mod convert_encoder;
mod decodes;
mod device;
mod dry_run;
mod eval;
mod experiment;
mod export;
mod loader;
mod pack;
mod prior;
mod strip;
mod survey;
mod train;
mod watch;

use clap::Subcommand;

/// The error of what was stopped by a signal before its end, and goes on with the same command or `resume`. What became of it was said.
#[derive(Debug)]
pub(crate) struct Unfinished;

impl std::error::Error for Unfinished {}

impl std::fmt::Display for Unfinished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped before the end")
    }
}

fn unfinished_if(stopped: bool) -> anyhow::Result<()> {
    if stopped { Err(Unfinished.into()) } else { Ok(()) }
}

/// What the program can be asked to do.
#[derive(Subcommand)]
pub(crate) enum Verb {
    Pack(pack::Pack),
    Merge(pack::Merge),
    Prior(prior::Prior),
    Loader(loader::Loader),
    Train(train::Train),
    Resume(train::Resume),
    DryRun(dry_run::DryRun),
    Watch(watch::Watch),
    Eval(eval::Eval),
    Experiment(experiment::Experiment),
    Export(export::Export),
    Resize(export::Resize),
    Compare(compare::Compare),
    ConvertEncoder(convert_encoder::ConvertEncoder),
    Classical(classical::Classical),
    Decodes(decodes::Decodes),
    Strip(strip::Strip),
    Survey(survey::Survey),
}

impl Verb {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Pack(verb) => verb.run(),
            Self::Merge(verb) => verb.run(),
            Self::Prior(verb) => verb.run(),
            Self::Loader(verb) => verb.run(),
            Self::Train(verb) => verb.run(),
            Self::Resume(verb) => verb.run(),
            Self::DryRun(verb) => verb.run(),
            Self::Watch(verb) => verb.run(),
            Self::Eval(verb) => verb.run(),
            Self::Experiment(verb) => verb.run(),
            Self::Export(verb) => verb.run(),
            Self::Resize(verb) => verb.run(),
            Self::Compare(verb) => verb.run(),
            Self::ConvertEncoder(verb) => verb.run(),
            Self::Classical(verb) => verb.run(),
            Self::Decodes(verb) => verb.run(),
            Self::Strip(verb) => verb.run(),
            Self::Survey(verb) => verb.run(),
        }
    }
}
