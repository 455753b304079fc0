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

fn main() -> ExitCode {
    match Arguments::parse().verb.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("autochrome-trainer: {error:#}");
            ExitCode::FAILURE
        }
    }
}
