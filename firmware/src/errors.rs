//! How the program fails: every failure carries the exit code that says what kind it is.

mod log;

use std::fmt;
use std::process::ExitCode;

/// The program's exit codes; 64 and above are those of `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Something that has no code of its own.
    Other = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A model file or the input's data is not what it should be.
    BadData = 65,
    /// There is no such camera, file or folder, or it cannot be opened.
    NoInput = 66,
    /// The address to listen at is taken or unusable.
    Unavailable = 69,
    /// An output cannot be created.
    CannotCreate = 73,
    /// Reading or writing broke in the middle.
    Broken = 74,
    /// The configuration is wrong.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ended early, and the exit code that goes with it.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// The message, with its causes.
    pub cause: anyhow::Error,
}

/// A result whose error ends the program.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure that one message says all about.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, cause: anyhow::Error::msg(message.to_string()) }
    }

    /// A mistake on the command line.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Puts what was attempted in front of the message.
    #[must_use]
    pub fn context(self, attempt: impl fmt::Display) -> Self {
        Self { exit: self.exit, cause: self.cause.context(attempt.to_string()) }
    }
}

impl fmt::Display for Failure {
    /// The message and its causes on one line, whatever they contain.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = format!("{:#}", self.cause);
        f.write_str(&chain.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// Turns a library's error into a [`Failure`].
pub trait OrFail<T> {
    /// Fails with `exit`, saying what was attempted.
    ///
    /// # Errors
    /// If `self` is an error.
    fn or_fail(self, exit: Exit, attempt: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<anyhow::Error>> OrFail<T> for std::result::Result<T, E> {
    fn or_fail(self, exit: Exit, attempt: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure { exit, cause: error.into().context(attempt()) })
    }
}

impl From<autochrome_model::ModelError> for Failure {
    fn from(error: autochrome_model::ModelError) -> Self {
        use autochrome_model::ModelError::{Frame, Graph, Read, Refused, Run, Shape};
        let exit = match error {
            Read { .. } => Exit::NoInput,
            Refused { .. } | Graph { .. } | Frame { .. } => Exit::BadData,
            Shape { .. } | Run { .. } => Exit::Other,
        };
        Self::new(exit, error)
    }
}

/// Writes one line to standard error. Whoever closed it does not want to know, and that is no reason to end.
pub fn say(line: &str) {
    log::write(log::Priority::Info, line);
}

/// Writes one line of warning to standard error: something is wrong, and the picture goes on. The same line again within a minute is only
/// counted, so that what goes wrong with every frame does not fill a disk.
pub fn warn(line: &str) {
    log::warn(line);
}

/// Writes why the program ends to standard error.
pub fn fail(failure: &Failure) {
    log::write(log::Priority::Error, &failure.to_string());
}

/// Whether writing failed because the other end went away.
pub fn reader_is_gone(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::BrokenPipe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_with_its_causes() {
        let error = std::io::Error::other("the disk\nsaid no");
        let failure = Err::<(), _>(error).or_fail(Exit::Broken, || "write a.png".into()).unwrap_err().context("frame 3");
        assert_eq!(failure.to_string(), "frame 3: write a.png: the disk said no");
        assert_eq!(failure.exit as u8, 74);
    }
}
