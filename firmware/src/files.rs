//! Whole files: written beside their place and moved there, so that nobody ever sees half of one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::errors::{Exit, Failure, OrFail, Result};

/// Drafts that are not finished: what a signal leaves behind otherwise.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets SIGINT and SIGTERM end the process as they always do, and first removes the drafts that are not finished.
///
/// # Errors
/// [`Exit::Other`] if the system refuses.
pub fn remove_drafts_on_signals() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).or_fail(Exit::Other, || "listen for signals".into())?;
    let end = move || {
        for signal in signals.forever() {
            // Held to the end: no draft is begun or finished any more.
            let drafts = unfinished();
            drafts.iter().for_each(|draft| drop(fs::remove_file(draft)));
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    };
    let started = std::thread::Builder::new().name("signals".into()).spawn(end);
    started.map(drop).or_fail(Exit::Other, || "start thread signals".into())
}

/// A file that appears at its place only when it is finished; dropped before that, it leaves nothing behind.
#[derive(Debug)]
pub struct Draft {
    writer: Option<BufWriter<File>>,
    temporary: PathBuf,
    path: PathBuf,
}

impl Draft {
    /// Starts a file that will stand at `path`.
    ///
    /// # Errors
    /// [`Exit::CannotCreate`].
    pub fn create(path: &Path) -> Result<Self> {
        let Some(name) = path.file_name() else {
            return Err(Failure::new(Exit::CannotCreate, format!("create {}: it has no file name", path.display())));
        };
        // A device or a pipe is written to as it is: moving a file over it would replace it.
        if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            let file = fs::OpenOptions::new().write(true).open(path).or_fail(Exit::CannotCreate, || format!("open {}", path.display()))?;
            return Ok(Self { writer: Some(BufWriter::new(file)), temporary: path.to_owned(), path: path.to_owned() });
        }
        if path.is_dir() {
            return Err(Failure::new(Exit::CannotCreate, format!("create {}: it is a folder", path.display())));
        }
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.partial", std::process::id()));
        let temporary = path.with_file_name(hidden);
        let mut unfinished = unfinished();
        let file = File::create(&temporary).or_fail(Exit::CannotCreate, || format!("create {}", path.display()))?;
        unfinished.push(temporary.clone());
        Ok(Self { writer: Some(BufWriter::new(file)), temporary, path: path.to_owned() })
    }

    /// Writes out what is buffered and moves the file to its place.
    ///
    /// # Errors
    /// What the system said.
    pub fn finish(mut self) -> io::Result<()> {
        if let Some(writer) = self.writer.take() {
            writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        }
        if self.temporary != self.path {
            let mut unfinished = unfinished();
            fs::rename(&self.temporary, &self.path)?;
            unfinished.retain(|draft| *draft != self.temporary);
        }
        // From here on there is nothing to clean up.
        self.temporary.clone_from(&self.path);
        Ok(())
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.as_mut().expect("the writer is taken only by finish").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.as_mut().expect("the writer is taken only by finish").flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.temporary != self.path {
            let mut unfinished = unfinished();
            let _ = fs::remove_file(&self.temporary);
            unfinished.retain(|draft| *draft != self.temporary);
        }
    }
}

/// Writes a whole file.
///
/// # Errors
/// [`Exit::CannotCreate`] or [`Exit::Broken`].
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut draft = Draft::create(path)?;
    let written = draft.write_all(bytes);
    written.and_then(|()| draft.finish()).or_fail(Exit::Broken, || format!("write {}", path.display()))
}

/// Makes a folder and those above it.
///
/// # Errors
/// [`Exit::CannotCreate`].
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).or_fail(Exit::CannotCreate, || format!("create folder {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_only_when_it_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let mut draft = Draft::create(&path).unwrap();
        draft.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(draft);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        write_whole(&path, b"whole").unwrap();
        assert!(!unfinished().iter().any(|draft| draft.starts_with(folder.path())), "a signal would remove what is not a draft");
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_place_that_cannot_be_written_says_so() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(write_whole(folder.path(), b"").unwrap_err().exit, Exit::CannotCreate);
        assert_eq!(write_whole(&folder.path().join("none/a.txt"), b"").unwrap_err().exit, Exit::CannotCreate);
        write_whole(Path::new("/dev/null"), b"gone").unwrap();
    }
}
