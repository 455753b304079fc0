//! Reading what the program recorded: YUV4MPEG2, 4:2:0.

use anyhow::{Context, Result, bail};

/// A recorded stream.
pub(super) struct Recording {
    pub(super) width: usize,
    pub(super) height: usize,
    /// A frame each, `width * height` luma codes.
    pub(super) lumas: Vec<Vec<u8>>,
    /// A frame each, Cb and Cr after one another.
    pub(super) chromas: Vec<Vec<u8>>,
}

impl Recording {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let (header, mut rest) = line(bytes).context("the recording has no header")?;
        let number = |tag: char| header.split(' ').skip(1).find_map(|word| word.strip_prefix(tag)?.parse::<usize>().ok());
        let (Some(width), Some(height)) = (number('W'), number('H')) else { bail!("the recording begins with {header:?}") };
        if !header.contains(" C420") {
            bail!("the recording is no 4:2:0: {header:?}");
        }
        let (luma, chroma) = (width * height, 2 * (width.div_ceil(2) * height.div_ceil(2)));
        let mut recording = Self { width, height, lumas: Vec::new(), chromas: Vec::new() };
        while !rest.is_empty() {
            let (frame, pixels) = line(rest).context("the recording breaks off")?;
            if !frame.starts_with("FRAME") || pixels.len() < luma + chroma {
                bail!("frame {} of the recording is cut or begins with {frame:?}", recording.lumas.len());
            }
            recording.lumas.push(pixels[..luma].to_vec());
            recording.chromas.push(pixels[luma..luma + chroma].to_vec());
            rest = &pixels[luma + chroma..];
        }
        Ok(recording)
    }
}

fn line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().take(256).position(|&byte| byte == b'\n')?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}
