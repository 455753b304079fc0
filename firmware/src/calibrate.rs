//! `calibrate`: what a camera calls black and white.

use crate::errors::{Failure, Result};

/// Reads the command's options and does it.
///
/// # Errors
/// Whatever ended it.
pub fn command(_parser: lexopt::Parser) -> Result<()> {
    Err(Failure::usage("not there yet"))
}
