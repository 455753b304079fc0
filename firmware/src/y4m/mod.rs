//! YUV4MPEG2, the format in which `ffmpeg`, `rpicam-vid` and most video tools pass plain pictures through a pipe.
//!
//! Eight bits a sample; 4:2:0, 4:2:2, 4:4:4 and monochrome. Reading takes the luma and leaves the chroma; writing keeps luma byte for byte.
//! The codes mean limited range unless the header says `XCOLORRANGE=FULL`, which is the convention of the tools that write it.

mod reader;
mod writer;

use autochrome_model::LumaRange;

pub use reader::Reader;
pub use writer::Writer;

use crate::errors::{Exit, Failure};

/// The largest width and height that is read; what a hostile header can make us allocate.
pub const SIDE_MAX: usize = 8192;
/// The longest stream header that is read, in bytes.
pub const HEADER_BYTES_MAX: usize = 4096;
const NO_STREAM: &str = "it does not begin with YUV4MPEG2";

/// What a stream says of its frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Frames a second as numerator and denominator; 0 where unknown.
    pub rate: (u32, u32),
    /// The interlacing parameter as it stood there, e.g. `p`.
    pub interlacing: Option<String>,
    /// The pixel aspect ratio as it stood there, e.g. `1:1`.
    pub aspect: Option<String>,
    /// Where the chroma samples are.
    pub layout: Layout,
    /// The range that was written there.
    pub range: Option<LumaRange>,
}

/// How the chroma of a stream is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// 4:2:0, samples in the middle of four pixels (`C420jpeg`, and plain `C420`).
    C420Jpeg,
    /// 4:2:0, samples beside the left pixels (`C420mpeg2`).
    C420Mpeg2,
    /// 4:2:0 of PAL DV (`C420paldv`).
    C420Paldv,
    /// 4:2:2, samples beside the left pixels.
    C422,
    /// 4:4:4.
    C444,
    /// No chroma.
    Mono,
}

/// Why a stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Y4mError {
    /// The header is not one, or says something that is not read here.
    #[error("not a readable YUV4MPEG2 stream: {0}")]
    Header(String),
    /// A frame does not begin as frames do.
    #[error("frame {frame} does not begin with FRAME")]
    Frame {
        /// The frame, counted from 1.
        frame: u64,
    },
    /// The stream ends inside a frame.
    #[error("the stream ends in the middle of frame {frame}")]
    Truncated {
        /// The frame, counted from 1.
        frame: u64,
    },
    /// Reading failed.
    #[error("read")]
    Read(#[from] std::io::Error),
}

impl From<Y4mError> for Failure {
    fn from(error: Y4mError) -> Self {
        let exit = match error {
            Y4mError::Header(_) | Y4mError::Frame { .. } => Exit::BadData,
            Y4mError::Truncated { .. } | Y4mError::Read(_) => Exit::Broken,
        };
        Self { exit, cause: error.into() }
    }
}

impl Layout {
    /// The name after the `C` of a header.
    pub fn tag(self) -> &'static str {
        match self {
            Self::C420Jpeg => "420jpeg",
            Self::C420Mpeg2 => "420mpeg2",
            Self::C420Paldv => "420paldv",
            Self::C422 => "422",
            Self::C444 => "444",
            Self::Mono => "mono",
        }
    }

    /// The size of one chroma plane; empty for [`Layout::Mono`].
    pub fn chroma_size(self, width: usize, height: usize) -> (usize, usize) {
        match self {
            Self::C420Jpeg | Self::C420Mpeg2 | Self::C420Paldv => (width.div_ceil(2), height.div_ceil(2)),
            Self::C422 => (width.div_ceil(2), height),
            Self::C444 => (width, height),
            Self::Mono => (0, 0),
        }
    }
}

impl Header {
    /// A progressive stream of square pixels in 4:2:0.
    pub fn new(width: usize, height: usize, rate: (u32, u32), range: LumaRange) -> Self {
        let layout = Layout::C420Jpeg;
        Self { width, height, rate, interlacing: Some("p".into()), aspect: Some("1:1".into()), layout, range: Some(range) }
    }

    /// The header of a colored copy: everything stays, but a monochrome stream gets chroma.
    #[must_use]
    pub fn colored(mut self) -> Self {
        if self.layout == Layout::Mono {
            self.layout = Layout::C420Jpeg;
        }
        self
    }

    /// What the codes mean: limited range unless the stream says otherwise.
    pub fn luma_range(&self) -> LumaRange {
        self.range.unwrap_or(LumaRange::Limited)
    }

    /// Reads the line, without its line feed.
    ///
    /// # Errors
    /// [`Y4mError::Header`].
    pub fn parse(line: &str) -> Result<Self, Y4mError> {
        let refuse = |what: String| Err(Y4mError::Header(what));
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("YUV4MPEG2") {
            return refuse(NO_STREAM.into());
        }
        let mut header = Self::new(0, 0, (0, 0), LumaRange::Limited);
        (header.interlacing, header.aspect, header.range) = (None, None, None);
        for word in words {
            let mut letters = word.chars();
            let key = letters.next();
            let value = letters.as_str();
            match key {
                Some('W') => header.width = side(word, value)?,
                Some('H') => header.height = side(word, value)?,
                Some('F') => header.rate = ratio(value).ok_or_else(|| Y4mError::Header(format!("{word:?} is no frame rate")))?,
                Some('I') => header.interlacing = Some(value.to_owned()),
                Some('A') => header.aspect = Some(value.to_owned()),
                Some('C') => header.layout = layout(value)?,
                Some('X') => match value {
                    "COLORRANGE=FULL" => header.range = Some(LumaRange::Full),
                    "COLORRANGE=LIMITED" => header.range = Some(LumaRange::Limited),
                    _ => {}
                },
                _ => {}
            }
        }
        if header.width == 0 || header.height == 0 {
            return refuse("its header does not give W and H".into());
        }
        Ok(header)
    }

    /// The line, with its line feed.
    pub fn to_line(&self) -> String {
        let (numerator, denominator) = self.rate;
        let mut line = format!("YUV4MPEG2 W{} H{} F{numerator}:{denominator}", self.width, self.height);
        for (key, value) in [('I', &self.interlacing), ('A', &self.aspect)] {
            if let Some(value) = value {
                line.extend([' ', key]);
                line.push_str(value);
            }
        }
        line.push_str(" C");
        line.push_str(self.layout.tag());
        line.push_str(match self.range {
            Some(LumaRange::Full) => " XCOLORRANGE=FULL\n",
            Some(LumaRange::Limited) => " XCOLORRANGE=LIMITED\n",
            None => "\n",
        });
        line
    }
}

fn side(word: &str, value: &str) -> Result<usize, Y4mError> {
    match value.parse() {
        Ok(side) if (1..=SIDE_MAX).contains(&side) => Ok(side),
        _ => Err(Y4mError::Header(format!("{word:?} is outside 1 to {SIDE_MAX}"))),
    }
}

fn ratio(value: &str) -> Option<(u32, u32)> {
    let (numerator, denominator) = value.split_once(':')?;
    Some((numerator.parse().ok()?, denominator.parse().ok()?))
}

fn layout(value: &str) -> Result<Layout, Y4mError> {
    Ok(match value {
        "420jpeg" | "420" => Layout::C420Jpeg,
        "420mpeg2" => Layout::C420Mpeg2,
        "420paldv" => Layout::C420Paldv,
        "422" => Layout::C422,
        "444" => Layout::C444,
        "mono" => Layout::Mono,
        _ => {
            let read = "420jpeg, 420mpeg2, 420paldv, 422, 444 and mono are read, all of 8 bits";
            return Err(Y4mError::Header(format!("its color space is {value:?}; {read}")));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_refused() {
        struct Case(&'static str, Result<(usize, usize, Layout, LumaRange), &'static str>);
        let cases = [
            Case("YUV4MPEG2 W640 H480 F25:1 Ip A1:1 C420jpeg", Ok((640, 480, Layout::C420Jpeg, LumaRange::Limited))),
            Case("YUV4MPEG2 H3 W5", Ok((5, 3, Layout::C420Jpeg, LumaRange::Limited))),
            Case("YUV4MPEG2 W8 H8 C420mpeg2 XYSCSS=420MPEG2 XCOLORRANGE=FULL", Ok((8, 8, Layout::C420Mpeg2, LumaRange::Full))),
            Case("YUV4MPEG2 W8 H8 Cmono XCOLORRANGE=LIMITED", Ok((8, 8, Layout::Mono, LumaRange::Limited))),
            Case("YUV4MPEG2 W8192 H8192 C444", Ok((8192, 8192, Layout::C444, LumaRange::Limited))),
            Case("", Err("begin with")),
            Case("RIFF....AVI", Err("begin with")),
            Case("YUV4MPEG", Err("begin with")),
            Case("YUV4MPEG2", Err("does not give W and H")),
            Case("YUV4MPEG2 W640", Err("does not give W and H")),
            Case("YUV4MPEG2 W0 H8", Err("\"W0\" is outside")),
            Case("YUV4MPEG2 W-4 H8", Err("\"W-4\" is outside")),
            Case("YUV4MPEG2 W8193 H8", Err("\"W8193\" is outside")),
            Case("YUV4MPEG2 W99999999999999999999 H8", Err("is outside")),
            Case("YUV4MPEG2 W8 H8 F25", Err("no frame rate")),
            Case("YUV4MPEG2 W8 H8 F25:x", Err("no frame rate")),
            Case("YUV4MPEG2 W8 H8 C420p10", Err("color space is \"420p10\"")),
            Case("YUV4MPEG2 W8 H8 Cmono16", Err("color space is \"mono16\"")),
            Case("YUV4MPEG2 W8 H8 C444alpha", Err("color space is \"444alpha\"")),
        ];
        for Case(line, expected) in cases {
            let found = Header::parse(line);
            match (&found, expected) {
                (Ok(h), Ok(expected)) => assert_eq!((h.width, h.height, h.layout, h.luma_range()), expected, "{line}"),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{line}: {error}"),
                _ => panic!("{line}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_header_survives_being_written() {
        for line in ["YUV4MPEG2 W6 H4 F30000:1001 Ip A1:1 C420mpeg2 XCOLORRANGE=FULL\n", "YUV4MPEG2 W6 H4 F0:0 C444\n"] {
            assert_eq!(Header::parse(line.trim_end()).unwrap().to_line(), line);
        }
        let mono = Header::parse("YUV4MPEG2 W6 H4 F25:1 Cmono").unwrap();
        assert_eq!(mono.colored().to_line(), "YUV4MPEG2 W6 H4 F25:1 C420jpeg\n");
    }
}
