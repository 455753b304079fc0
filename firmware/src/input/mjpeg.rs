//! A file of JPEGs, one after the other.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use autochrome_model::Plane;

use super::jpeg::{Walk, decode_luma};
use crate::errors::{Exit, Failure, OrFail, Result};

/// The largest frame that is read.
const FRAME_BYTES_MAX: usize = 64 << 20;
const PIECE_BYTES: u64 = 1 << 17;

/// An opened file.
pub(super) struct MjpegFile<R = BufReader<File>> {
    path: PathBuf,
    stream: R,
    /// What was read and not yet decoded; begins where a frame begins.
    waiting: Vec<u8>,
    frames: u64,
}

impl MjpegFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`Exit::NoInput`].
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).or_fail(Exit::NoInput, || format!("open {}", path.display()))?;
        Ok(Self::new(path, BufReader::new(file)))
    }
}

impl<R: Read> MjpegFile<R> {
    /// Frames from any stream; `path` is what errors call it.
    fn new(path: &Path, stream: R) -> Self {
        Self { path: path.to_owned(), stream, waiting: Vec::new(), frames: 0 }
    }

    /// The luma of the next frame; nothing at the end of the file.
    ///
    /// # Errors
    /// [`Exit::BadData`] for a frame that is no JPEG, [`Exit::Broken`] for a file that ends inside a frame or cannot be read.
    pub(super) fn next_luma(&mut self) -> Result<Option<Plane<u8>>> {
        let frame = self.frames + 1;
        let name = self.path.display().to_string();
        let damaged = |why: String| Failure::new(Exit::BadData, format!("{name}: frame {frame}: {why}"));
        if !self.skip_padding(&name)? {
            return Ok(None);
        }
        let mut walk = Walk::default();
        let end = loop {
            if let Some(end) = walk.advance(&self.waiting).map_err(damaged)? {
                break end;
            }
            if self.waiting.len() > FRAME_BYTES_MAX {
                return Err(damaged(format!("it is larger than {FRAME_BYTES_MAX} bytes")));
            }
            if !self.read_on(&name)? {
                return Err(Failure::new(Exit::Broken, format!("{name}: the file ends in the middle of frame {frame}")));
            }
        };
        let decoded = decode_luma(&self.waiting[..end]).map_err(damaged)?;
        self.waiting.drain(..end);
        self.frames = frame;
        Ok(Some(decoded.luma))
    }

    /// Drops the zeros in front of a frame: cameras pad their frames, and recorders the last block of a file. Returns whether anything else comes.
    fn skip_padding(&mut self, name: &str) -> Result<bool> {
        loop {
            let padding = self.waiting.iter().take_while(|&&byte| byte == 0).count();
            self.waiting.drain(..padding);
            if !self.waiting.is_empty() {
                return Ok(true);
            }
            if !self.read_on(name)? {
                return Ok(false);
            }
        }
    }

    /// Reads another piece; returns whether there was one.
    fn read_on(&mut self, name: &str) -> Result<bool> {
        let read = (&mut self.stream).take(PIECE_BYTES).read_to_end(&mut self.waiting);
        Ok(read.or_fail(Exit::Broken, || format!("read {name}"))? > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jpeg(grey: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        image::codecs::jpeg::JpegEncoder::new(&mut bytes).encode(&[grey; 64], 8, 8, image::ExtendedColorType::L8).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<u8>, Option<Failure>) {
        let mut file = MjpegFile::new(Path::new("a.mjpeg"), bytes);
        let mut greys = Vec::new();
        loop {
            match file.next_luma() {
                Ok(Some(luma)) => greys.push(luma.data[0]),
                Ok(None) => return (greys, None),
                Err(failure) => return (greys, Some(failure)),
            }
        }
    }

    #[test]
    fn frames_come_one_after_the_other() {
        let (greys, failure) = read(&[jpeg(40), vec![0; 5], jpeg(90), jpeg(200), vec![0; 100]].concat());
        assert!(failure.is_none());
        assert!(greys.iter().zip([40, 90, 200]).all(|(&found, expected)| found.abs_diff(expected) <= 2), "{greys:?}");
    }

    #[test]
    fn padding_may_be_longer_than_what_is_read_at_once() {
        let padding = vec![0; 3 * PIECE_BYTES as usize];
        let (greys, failure) = read(&[padding.clone(), jpeg(40), padding.clone(), jpeg(90), padding].concat());
        assert!(failure.is_none(), "{failure:?}");
        assert!(greys.len() == 2 && greys[1].abs_diff(90) <= 2, "{greys:?}");
    }

    #[test]
    fn a_partial_or_foreign_frame_is_named() {
        let half = jpeg(9);
        let (greys, failure) = read(&[jpeg(40), half[..half.len() / 2].to_vec()].concat());
        let failure = failure.unwrap();
        assert_eq!((greys.len(), failure.exit), (1, Exit::Broken));
        assert_eq!(failure.to_string(), "a.mjpeg: the file ends in the middle of frame 2");
        let (greys, failure) = read(&[jpeg(40), b"hello, this is no JPEG".to_vec()].concat());
        assert_eq!((greys.len(), failure.unwrap().exit), (1, Exit::BadData));
        assert!(read(b"").1.is_none());
    }
}
