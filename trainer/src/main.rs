//! `autochrome-trainer`: the command line.

mod cli;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

/// Packs photos and clips, trains recurrent colorizers, and exports them as int8 ONNX.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: cli::Verb,
}

/// What the process ends with where a signal stopped a training before its end (EX_TEMPFAIL of sysexits.h): a script can tell it from one that is done.
const UNFINISHED: u8 = 75;

fn main() -> ExitCode {
    match Arguments::parse().verb.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<cli::Unfinished>() => ExitCode::from(UNFINISHED),
        Err(error) => {
            eprintln!("autochrome-trainer: {error:#}");
            ExitCode::FAILURE
        }
    }
}
