//! The configuration: layers of TOML, where each value came from, and what is wrong with one.

use crate::errors::{Failure, Result};

/// Reads the command's options and does it.
///
/// # Errors
/// Whatever ended it.
pub fn command(_parser: lexopt::Parser) -> Result<()> {
    Err(Failure::usage("not there yet"))
}

/// `check-config`.
///
/// # Errors
/// What is wrong.
pub fn check_command(_parser: lexopt::Parser) -> Result<()> {
    Err(Failure::usage("not there yet"))
}
