//! The luma of a camera's raw buffers, as 8-bit codes.
//!
//! Deeper formats keep their highest eight bits: Y10, Y12 and Y14 stand in the low bits of 16-bit little-endian words and are shifted right
//! by 2, 4 and 6; Y16 fills its word and is shifted by 8. The packed formats of CSI cameras (Y10P, Y12P) carry those eight bits as bytes of
//! their own.

use autochrome_model::Plane;

/// Where the luma samples of a raw format stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// A byte of luma in every `step` bytes, after `offset` others.
    Bytes {
        /// Bytes from one luma sample to the next.
        step: usize,
        /// Bytes before the first.
        offset: usize,
    },
    /// A 16-bit little-endian word a sample.
    Words {
        /// How far it is shifted right to leave eight bits.
        shift: u32,
    },
    /// Groups of samples: first the high eight bits of each, then one byte with the low bits of all.
    Groups {
        /// Samples in a group.
        samples: usize,
    },
}

impl Packing {
    /// The packing of a V4L2 format, if it is one of raw luma that is read.
    pub(super) fn of(fourcc: [u8; 4]) -> Option<Self> {
        Some(match &fourcc {
            // Semi-planar and planar formats begin with a whole plane of luma.
            b"GREY" | b"NV12" | b"NV21" | b"YU12" | b"YV12" => Self::Bytes { step: 1, offset: 0 },
            b"YUYV" | b"YVYU" => Self::Bytes { step: 2, offset: 0 },
            b"UYVY" | b"VYUY" => Self::Bytes { step: 2, offset: 1 },
            b"Y10 " => Self::Words { shift: 2 },
            b"Y12 " => Self::Words { shift: 4 },
            b"Y14 " => Self::Words { shift: 6 },
            b"Y16 " => Self::Words { shift: 8 },
            b"Y10P" => Self::Groups { samples: 4 },
            b"Y12P" => Self::Groups { samples: 2 },
            _ => return None,
        })
    }

    /// The bytes of a row of `width` samples, without padding.
    pub(super) fn row_bytes(self, width: usize) -> usize {
        match self {
            Self::Bytes { step, .. } => width * step,
            Self::Words { .. } => width * 2,
            Self::Groups { samples } => width.div_ceil(samples) * (samples + 1),
        }
    }

    /// Copies the luma of one row.
    fn unpack_row(self, bytes: &[u8], luma: &mut [u8]) {
        match self {
            Self::Bytes { step: 1, .. } => luma.copy_from_slice(&bytes[..luma.len()]),
            Self::Bytes { step: 2, offset } => {
                for (to, pixel) in luma.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *to = pixel[offset & 1];
                }
            }
            Self::Bytes { step, offset } => {
                for (to, pixel) in luma.iter_mut().zip(bytes.chunks_exact(step)) {
                    *to = pixel[offset];
                }
            }
            Self::Words { shift } => {
                for (to, word) in luma.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    // A driver that leaves something in the bits above means nothing by it.
                    *to = (u16::from_le_bytes(*word) >> shift).min(255) as u8;
                }
            }
            Self::Groups { samples } => {
                for (to, group) in luma.chunks_mut(samples).zip(bytes.chunks_exact(samples + 1)) {
                    to.copy_from_slice(&group[..to.len()]);
                }
            }
        }
    }
}

/// How the rows of a picture lie in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Pixels a row.
    pub(super) width: usize,
    /// Rows.
    pub(super) height: usize,
    /// Bytes from one row to the next; 0 means that rows are tight, which is how some drivers say it.
    pub(super) stride: usize,
    /// How a row is packed.
    pub(super) packing: Packing,
}

impl Layout {
    /// Bytes from one row to the next. Nothing for a picture without pixels, or with a stride that is shorter than a row.
    fn pitch(&self) -> Option<usize> {
        let row_bytes = self.packing.row_bytes(self.width);
        let pitch = if self.stride == 0 { row_bytes } else { self.stride };
        (self.width > 0 && self.height > 0 && pitch >= row_bytes).then_some(pitch)
    }

    /// How many rows are whole in so many bytes; the last needs no padding behind it.
    pub(super) fn whole_rows(&self, bytes: usize) -> usize {
        let row_bytes = self.packing.row_bytes(self.width);
        match self.pitch() {
            Some(pitch) if bytes >= row_bytes => ((bytes - row_bytes) / pitch + 1).min(self.height),
            _ => 0,
        }
    }

    /// Copies row `y` of the buffer. The caller has asked [`whole_rows`](Self::whole_rows).
    pub(super) fn read_row(&self, bytes: &[u8], y: usize, luma: &mut [u8]) {
        let start = y * self.pitch().unwrap_or(0);
        self.packing.unpack_row(&bytes[start..], luma);
    }
}

/// Makes a plane this large, using its memory again. What is in it then is whatever was there.
pub(super) fn resize(plane: &mut Plane<u8>, width: usize, height: usize) {
    plane.data.resize(width * height, 0);
    (plane.width, plane.height) = (width, height);
}

/// Copies the luma out of a buffer. Says false, and leaves the plane alone, if the buffer is too short for the picture.
pub(super) fn unpack(bytes: &[u8], layout: &Layout, luma: &mut Plane<u8>) -> bool {
    if layout.height == 0 || layout.whole_rows(bytes.len()) < layout.height {
        return false;
    }
    resize(luma, layout.width, layout.height);
    for y in 0..layout.height {
        layout.read_row(bytes, y, luma.row_mut(y));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luma_is_found_in_every_packing_and_stride() {
        struct Case {
            fourcc: &'static [u8; 4],
            stride: usize,
            bytes: &'static [u8],
            expected: Option<&'static [u8]>,
        }
        let cases = [
            Case { fourcc: b"GREY", stride: 2, bytes: &[1, 2, 3, 4], expected: Some(&[1, 2, 3, 4]) },
            Case { fourcc: b"GREY", stride: 0, bytes: &[1, 2, 3, 4], expected: Some(&[1, 2, 3, 4]) },
            Case { fourcc: b"GREY", stride: 3, bytes: &[1, 2, 9, 3, 4, 9], expected: Some(&[1, 2, 3, 4]) },
            Case { fourcc: b"GREY", stride: 3, bytes: &[1, 2, 9, 3, 4], expected: Some(&[1, 2, 3, 4]) },
            Case { fourcc: b"GREY", stride: 3, bytes: &[1, 2, 9, 3], expected: None },
            Case { fourcc: b"GREY", stride: 2, bytes: &[], expected: None },
            Case { fourcc: b"GREY", stride: 1, bytes: &[1, 2, 3, 4], expected: None },
            Case { fourcc: b"NV12", stride: 2, bytes: &[1, 2, 3, 4, 128, 128], expected: Some(&[1, 2, 3, 4]) },
            Case { fourcc: b"YUYV", stride: 4, bytes: &[1, 128, 2, 128, 3, 128, 4, 128], expected: Some(&[1, 2, 3, 4]) },
            Case { fourcc: b"YUYV", stride: 6, bytes: &[1, 0, 2, 0, 9, 9, 3, 0, 4, 0, 9, 9], expected: Some(&[1, 2, 3, 4]) },
            Case { fourcc: b"YUYV", stride: 4, bytes: &[1, 128, 2, 128, 3, 128, 4], expected: None },
            Case { fourcc: b"UYVY", stride: 4, bytes: &[128, 1, 128, 2, 128, 3, 128, 4], expected: Some(&[1, 2, 3, 4]) },
            Case { fourcc: b"Y10 ", stride: 4, bytes: &[0xff, 3, 0, 0, 4, 0, 3, 0], expected: Some(&[255, 0, 1, 0]) },
            Case { fourcc: b"Y12 ", stride: 5, bytes: &[0xff, 0xf, 0x10, 0, 9, 0, 8, 0, 0x10], expected: Some(&[255, 1, 128, 255]) },
            Case { fourcc: b"Y16 ", stride: 0, bytes: &[9, 1, 9, 2, 9, 3, 9, 255], expected: Some(&[1, 2, 3, 255]) },
            Case { fourcc: b"Y16 ", stride: 0, bytes: &[9, 1, 9, 2, 9, 3, 9], expected: None },
            Case { fourcc: b"Y10P", stride: 0, bytes: &[1, 2, 0, 0, 9, 3, 4, 0, 0, 9], expected: Some(&[1, 2, 3, 4]) },
            Case { fourcc: b"Y12P", stride: 4, bytes: &[1, 2, 9, 8, 3, 4, 9], expected: Some(&[1, 2, 3, 4]) },
        ];
        for Case { fourcc, stride, bytes, expected } in cases {
            let packing = Packing::of(*fourcc).unwrap();
            let mut luma = Plane::filled(3, 1, 7);
            let found = unpack(bytes, &Layout { width: 2, height: 2, stride, packing }, &mut luma);
            let expected = expected.unwrap_or(&[7, 7, 7]);
            assert_eq!(luma.data, expected, "{} stride {stride} {bytes:?}", String::from_utf8_lossy(fourcc));
            assert_eq!(found, luma.width == 2);
        }
        assert_eq!(Packing::of(*b"MJPG"), None);
    }
}
