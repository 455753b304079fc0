//! Reading: the luma of one frame after another.

use std::io::{self, BufRead, Read};

use autochrome_model::Plane;

use super::{HEADER_BYTES_MAX, Header, NO_STREAM, Y4mError};

/// The longest frame header that is read, in bytes.
const FRAME_LINE_BYTES_MAX: usize = 512;

/// A stream whose header was read.
pub struct Reader<R> {
    stream: R,
    header: Header,
    frames: u64,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Y4mError::Header`] or [`Y4mError::Read`].
    pub fn new(mut stream: R) -> Result<Self, Y4mError> {
        let line = match read_line(&mut stream, HEADER_BYTES_MAX)? {
            Line::Whole(line) => line,
            Line::Ended(rest) if rest.is_empty() => return Err(Y4mError::Header("it is empty".into())),
            Line::Ended(line) | Line::TooLong(line) => {
                // What does not even begin as a stream does is another kind of file.
                let what = if line.starts_with(b"YUV4MPEG2") { "its header has no end" } else { NO_STREAM };
                return Err(Y4mError::Header(what.into()));
            }
        };
        let header = Header::parse(&String::from_utf8_lossy(&line))?;
        Ok(Self { stream, header, frames: 0 })
    }

    /// What the stream says of its frames.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The luma of the next frame; nothing where the stream ends between frames.
    ///
    /// # Errors
    /// [`Y4mError`], all but the header's.
    pub fn next_luma(&mut self) -> Result<Option<Plane<u8>>, Y4mError> {
        let frame = self.frames + 1;
        match read_line(&mut self.stream, FRAME_LINE_BYTES_MAX)? {
            Line::Ended(rest) if rest.is_empty() => return Ok(None),
            Line::Ended(_) => return Err(Y4mError::Truncated { frame }),
            Line::Whole(line) if line == b"FRAME" || line.starts_with(b"FRAME ") => {}
            Line::Whole(_) | Line::TooLong(_) => return Err(Y4mError::Frame { frame }),
        }
        let Header { width, height, layout, .. } = self.header;
        let mut luma = Plane::filled(width, height, 0_u8);
        let truncated = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Y4mError::Truncated { frame },
            _ => Y4mError::Read(error),
        };
        self.stream.read_exact(&mut luma.data).map_err(truncated)?;
        let (chroma_width, chroma_height) = layout.chroma_size(width, height);
        let rest = (2 * chroma_width * chroma_height) as u64;
        if io::copy(&mut (&mut self.stream).take(rest), &mut io::sink())? != rest {
            return Err(Y4mError::Truncated { frame });
        }
        self.frames = frame;
        Ok(Some(luma))
    }
}

enum Line {
    /// A line, without its line feed.
    Whole(Vec<u8>),
    /// What there was before the stream ended.
    Ended(Vec<u8>),
    /// What was read of a line that is longer than allowed.
    TooLong(Vec<u8>),
}

fn read_line(stream: &mut impl BufRead, bytes_max: usize) -> io::Result<Line> {
    let mut line = Vec::new();
    stream.take(bytes_max as u64).read_until(b'\n', &mut line)?;
    Ok(match line.pop() {
        Some(b'\n') => Line::Whole(line),
        last => {
            line.extend(last);
            if line.len() == bytes_max { Line::TooLong(line) } else { Line::Ended(line) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(bytes: &[u8]) -> (usize, Option<String>) {
        let mut reader = match Reader::new(bytes) {
            Ok(reader) => reader,
            Err(error) => return (0, Some(error.to_string())),
        };
        let mut count = 0;
        loop {
            match reader.next_luma() {
                Ok(Some(_)) => count += 1,
                Ok(None) => return (count, None),
                Err(error) => return (count, Some(error.to_string())),
            }
        }
    }

    #[test]
    fn whole_frames_are_read_and_a_partial_one_is_named() {
        let header = b"YUV4MPEG2 W3 H3 C420jpeg\n".to_vec();
        // 9 of luma and twice 2x2 of chroma.
        let frame = [b"FRAME\n".as_slice(), &[7; 17]].concat();
        let two = [header.as_slice(), &frame, &frame].concat();
        assert_eq!(frames(&two), (2, None));
        for cut in 1..frame.len() {
            let error = "the stream ends in the middle of frame 2";
            assert_eq!(frames(&two[..two.len() - cut]), (1, Some(error.into())), "{cut} bytes short");
        }
        let with_parameters = [header.as_slice(), b"FRAME Ip XSOMETHING\n", &[7; 17]].concat();
        assert_eq!(frames(&with_parameters), (1, None));
    }

    #[test]
    fn what_is_no_stream_is_refused() {
        let endless = vec![b'Y'; 1 << 20];
        let huge_frame_line = [b"YUV4MPEG2 W2 H2\n".as_slice(), &endless].concat();
        let cases: [(&[u8], &str); 6] = [
            (b"", "it is empty"),
            (b"YUV4MPEG2 W2 H2", "its header has no end"),
            (&endless, "does not begin with YUV4MPEG2"),
            (b"\x89PNG\r\n", "does not begin with YUV4MPEG2"),
            (b"YUV4MPEG2 W2 H2\nFRAMES\n      ", "frame 1 does not begin with FRAME"),
            (&huge_frame_line, "frame 1 does not begin with FRAME"),
        ];
        for (bytes, expected) in cases {
            let (count, error) = frames(bytes);
            assert!(count == 0 && error.as_ref().is_some_and(|e| e.contains(expected)), "{error:?} is not {expected:?}");
        }
    }

    #[test]
    fn luma_comes_row_by_row_from_every_layout() {
        for (tag, chroma_bytes) in [("420mpeg2", 12), ("422", 18), ("444", 30), ("mono", 0)] {
            let mut bytes = format!("YUV4MPEG2 W5 H3 C{tag}\n").into_bytes();
            for frame in 0..2_u8 {
                bytes.extend_from_slice(b"FRAME\n");
                bytes.extend((0..15).map(|i| i + 100 * frame));
                bytes.extend(std::iter::repeat_n(128, chroma_bytes));
            }
            let mut reader = Reader::new(bytes.as_slice()).unwrap();
            reader.next_luma().unwrap();
            let luma = reader.next_luma().unwrap().unwrap();
            assert_eq!(luma.data, (100..115).collect::<Vec<u8>>(), "{tag}");
            assert!(reader.next_luma().unwrap().is_none(), "{tag}");
        }
    }
}
