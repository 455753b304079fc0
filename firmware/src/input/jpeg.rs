//! The luma of a JPEG, and where a JPEG ends in a row of them.

use autochrome_model::Plane;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::SIDE_MAX;

/// A decoded JPEG.
#[derive(Debug)]
pub struct Decoded {
    /// The Y' that the file holds (full range, as JPEG's always is); of an RGB file, its Rec. 601 luma.
    pub luma: Plane<u8>,
    /// The EXIF block, if there is one.
    pub exif: Option<Vec<u8>>,
}

/// An application segment after which decoders supply the Huffman tables that many cameras leave out of their MJPG frames.
const MJPEG_MARK: &[u8] = b"\xff\xe0\x00\x10AVI1\0\0\0\0\0\0\0\0\0\0";

/// Decodes the luma of a whole JPEG.
///
/// # Errors
/// What is wrong with the bytes, in words.
pub fn decode_luma(bytes: &[u8]) -> Result<Decoded, String> {
    let mut walk = Walk::default();
    match walk.advance(bytes)? {
        Some(_) if walk.has_huffman_tables => decode(bytes),
        Some(_) => decode(&[&bytes[..2], MJPEG_MARK, &bytes[2..]].concat()),
        None => Err("it ends in the middle of the picture".into()),
    }
}

fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    let options = DecoderOptions::default().set_max_width(SIDE_MAX).set_max_height(SIDE_MAX).jpeg_set_out_colorspace(ColorSpace::Luma);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let fail = |error: zune_jpeg::errors::DecodeErrors| error.to_string();
    decoder.decode_headers().map_err(fail)?;
    let has_luma = matches!(decoder.input_colorspace(), Some(ColorSpace::YCbCr | ColorSpace::Luma));
    if !has_luma {
        decoder.set_options(options.jpeg_set_out_colorspace(ColorSpace::RGB));
    }
    let info = decoder.info().ok_or("it has no header")?;
    let (width, height) = (usize::from(info.width), usize::from(info.height));
    let samples = decoder.decode().map_err(fail)?;
    let data = if has_luma { samples } else { luma_of_rgb(&samples) };
    if width * height == 0 || data.len() != width * height {
        return Err(format!("{} samples came out of a {width}x{height} picture", data.len()));
    }
    Ok(Decoded { luma: Plane::from_vec(width, height, data), exif: decoder.exif().cloned() })
}

/// The Rec. 601 luma of RGB pixels, rounded.
pub fn luma_of_rgb(rgb: &[u8]) -> Vec<u8> {
    rgb.chunks_exact(3).map(|p| autochrome_model::color::luma([p[0], p[1], p[2]]).round() as u8).collect()
}

/// A walk over the markers of a JPEG, which may arrive in pieces.
#[derive(Debug, Default)]
pub struct Walk {
    at: usize,
    in_scan: bool,
    has_huffman_tables: bool,
}

impl Walk {
    /// Goes on as far as `bytes`, which begin with the JPEG, allow. Returns where the JPEG ends once that is known.
    ///
    /// # Errors
    /// What is wrong with the bytes, in words.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, String> {
        if self.at == 0 {
            match bytes {
                [0xff, 0xd8, ..] => self.at = 2,
                [] | [0xff] => return Ok(None),
                _ => return Err("it does not begin as a JPEG does".into()),
            }
        }
        while let Some(&[first, second]) = bytes.get(self.at..self.at + 2).and_then(|pair| pair.first_chunk()) {
            if first != 0xff {
                if !self.in_scan {
                    return Err(format!("there is no marker at byte {}", self.at));
                }
                let ahead = bytes[self.at..].iter().position(|&byte| byte == 0xff);
                self.at = ahead.map_or(bytes.len(), |ahead| self.at + ahead);
                continue;
            }
            match second {
                // A fill byte before a marker.
                0xff => self.at += 1,
                // Restart markers, and a data byte of 0xff inside a scan.
                0x01 | 0xd0..=0xd7 => self.at += 2,
                0x00 if self.in_scan => self.at += 2,
                0xd9 => return Ok(Some(self.at + 2)),
                marker => {
                    let Some(&length) = bytes.get(self.at + 2..self.at + 4).and_then(|pair| pair.first_chunk()) else { return Ok(None) };
                    self.at += 2 + usize::from(u16::from_be_bytes(length)).max(2);
                    self.in_scan = marker == 0xda;
                    self.has_huffman_tables |= marker == 0xc4;
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let pixels: Vec<u8> = (0..width * height).map(|i| (i % width * 3) as u8).collect();
        let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95);
        encoder.encode(&pixels, width, height, image::ExtendedColorType::L8).unwrap();
        bytes
    }

    #[test]
    fn the_luma_is_decoded() {
        let decoded = decode_luma(&encoded(40, 30)).unwrap();
        assert_eq!((decoded.luma.width, decoded.luma.height), (40, 30));
        assert!(decoded.luma.row(7).iter().enumerate().all(|(x, &v)| (f32::from(v) - 3.0 * x as f32).abs() < 6.0));
    }

    #[test]
    fn a_jpeg_that_is_cut_off_or_damaged_is_refused() {
        let whole = encoded(40, 30);
        for length in [0, 1, 2, 3, 20, whole.len() / 2, whole.len() - 1] {
            assert!(decode_luma(&whole[..length]).is_err(), "{length} bytes");
        }
        assert!(decode_luma(b"GIF89a").unwrap_err().contains("does not begin"));
        let mut bombs = whole.clone();
        let size = bombs.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap() + 5;
        bombs[size..size + 4].copy_from_slice(&[0xff; 4]);
        assert!(decode_luma(&bombs).is_err(), "65535 pixels a side");
    }

    #[test]
    fn frames_without_huffman_tables_are_decoded() {
        // The tables that cameras leave out are those of the standard's annex K, which this encoder uses too.
        let whole = encoded(40, 30);
        let mut bare = whole[..2].to_vec();
        let mut at = 2;
        while whole[at + 1] != 0xda {
            let end = at + 2 + usize::from(u16::from_be_bytes([whole[at + 2], whole[at + 3]]));
            if whole[at + 1] != 0xc4 {
                bare.extend_from_slice(&whole[at..end]);
            }
            at = end;
        }
        bare.extend_from_slice(&whole[at..]);
        assert!(bare.len() < whole.len());
        assert_eq!(decode_luma(&bare).unwrap().luma, decode_luma(&whole).unwrap().luma);
    }

    #[test]
    fn the_end_is_found_whatever_pieces_arrive() {
        let two = [encoded(40, 30), encoded(16, 16)].concat();
        let first = encoded(40, 30).len();
        for piece in [1, 7, 64, 4096] {
            let mut walk = Walk::default();
            let ends = (0..).map(|i| (i * piece).min(two.len())).map(|n| walk.advance(&two[..n]).unwrap());
            assert_eq!(ends.flatten().next(), Some(first), "pieces of {piece}");
        }
    }
}
