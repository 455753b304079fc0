//! `list-cameras`: what cameras there are, what they give, and why one cannot be used.

use crate::errors::{Failure, Result};

/// Reads the command's options and does it.
///
/// # Errors
/// Whatever ended it.
pub fn command(_parser: lexopt::Parser) -> Result<()> {
    Err(Failure::usage("not there yet"))
}
