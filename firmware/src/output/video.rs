//! A stream of YUV4MPEG2, to a file or to a pipe.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use crate::coloring::Colored;
use crate::errors::{Exit, Failure, OrFail, Result, reader_is_gone};
use crate::input::is_said;
use crate::y4m::{Header, Writer};

/// A stream whose header follows from its first frame.
pub struct Video {
    name: String,
    /// The header but for the size.
    header: Header,
    stream: Stream,
}

enum Stream {
    Waiting(Box<dyn Write + Send>),
    Begun(Writer<Box<dyn Write + Send>>),
    /// Between the two; also after an error.
    Ended,
}

impl Video {
    /// Creates a file. `header` gives all but the size.
    ///
    /// # Errors
    /// [`Exit::CannotCreate`].
    pub fn create(path: &Path, header: Header) -> Result<Self> {
        let name = path.display().to_string();
        let file = File::create(path).or_fail(Exit::CannotCreate, || format!("create {name}"))?;
        Ok(Self::new(name, Box::new(BufWriter::new(file)), header))
    }

    /// Writes to standard output.
    pub fn stdout(header: Header) -> Self {
        Self::new("standard output".into(), Box::new(BufWriter::new(io::stdout())), header)
    }

    /// Writes to any stream; `name` is what errors call it.
    pub fn new(name: String, stream: Box<dyn Write + Send>, header: Header) -> Self {
        Self { name, header, stream: Stream::Waiting(stream) }
    }

    /// Appends a frame. Breaks if the reader of a pipe went away, which is no error: it has what it wanted.
    ///
    /// # Errors
    /// [`Exit::Broken`] if writing fails, [`Exit::BadData`] if the frames change their size.
    pub fn show(&mut self, colored: &Colored) -> Result<ControlFlow<()>> {
        let picture = &colored.picture;
        let (width, height) = (picture.luma.width, picture.luma.height);
        let mut writer = match std::mem::replace(&mut self.stream, Stream::Ended) {
            Stream::Waiting(stream) => {
                let mut header = Header { width, height, ..self.header.clone() };
                // What the frames say counts: a camera that was waited for had not said anything when the header was made.
                if header.luma_range() != colored.range {
                    header.range = Some(colored.range);
                }
                if is_said(colored.rate) {
                    header.rate = colored.rate;
                }
                Writer::new(stream, header)
            }
            Stream::Begun(writer) => writer,
            Stream::Ended => return Ok(ControlFlow::Break(())),
        };
        let begun = (writer.header().width, writer.header().height);
        if begun != (width, height) {
            let message = format!("{}: a frame is {width}x{height}; the stream began with {}x{}", self.name, begun.0, begun.1);
            return Err(Failure::new(Exit::BadData, message));
        }
        match writer.write(picture) {
            Ok(()) => {
                self.stream = Stream::Begun(writer);
                Ok(ControlFlow::Continue(()))
            }
            Err(error) => {
                if reader_is_gone(&error) {
                    Ok(ControlFlow::Break(()))
                } else {
                    Err(error).or_fail(Exit::Broken, || format!("write {}", self.name))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use autochrome_model::{LumaRange, Picture, Plane};

    use super::*;

    struct Gone(io::ErrorKind);

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn picture(width: usize) -> Colored {
        let plane = Plane::filled(width, 2, 128);
        let picture = Picture { luma: plane.clone(), cb: plane.clone(), cr: plane };
        Colored { picture, ..Colored::blank() }
    }

    #[test]
    fn the_sources_own_rate_stands_in_the_header() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let begins = |rate, expected: &str| {
            let mut video = Video::create(file.path(), Header::new(0, 0, (25, 1), LumaRange::Full)).unwrap();
            assert!(video.show(&Colored { rate, ..picture(2) }).unwrap().is_continue());
            drop(video);
            let written = std::fs::read(file.path()).unwrap();
            let line = String::from_utf8_lossy(written.split(|&byte| byte == b'\n').next().unwrap()).into_owned();
            assert!(line.contains(expected), "{line}");
        };
        begins((30_000, 1001), " F30000:1001 ");
        begins((0, 0), " F25:1 ");
    }

    fn video(stream: impl Write + Send + 'static) -> Video {
        Video::new("x".into(), Box::new(stream), Header::new(0, 0, (25, 1), LumaRange::Full))
    }

    #[test]
    fn a_reader_that_left_ends_the_stream_quietly_and_a_full_disk_does_not() {
        let mut pipe = video(Gone(io::ErrorKind::BrokenPipe));
        assert!(pipe.show(&picture(2)).unwrap().is_break());
        assert!(pipe.show(&picture(2)).unwrap().is_break());
        let mut disk = video(Gone(io::ErrorKind::StorageFull));
        assert_eq!(disk.show(&picture(2)).unwrap_err().exit, Exit::Broken);
    }

    #[test]
    fn frames_of_another_size_are_refused() {
        let mut sink = video(io::sink());
        assert!(sink.show(&picture(2)).unwrap().is_continue());
        let failure = sink.show(&picture(4)).unwrap_err();
        assert_eq!(failure.to_string(), "x: a frame is 4x2; the stream began with 2x2");
    }
}
