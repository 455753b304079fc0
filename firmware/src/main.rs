//! The device program: see the library beside it for the rooms it is made of.

use std::process::ExitCode;

fn main() -> ExitCode {
    autochrome::cli::main(std::env::args_os().skip(1))
}
