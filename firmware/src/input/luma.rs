//! The luma of a camera's raw buffers.

use autochrome_model::Plane;

/// Where the luma samples of a raw format stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packing {
    /// Bytes from one luma sample to the next.
    pub(super) step: usize,
    /// Bytes before the first.
    pub(super) offset: usize,
}

impl Packing {
    /// The packing of a V4L2 format, if it is one of 8-bit raw luma.
    pub(super) fn of(fourcc: [u8; 4]) -> Option<Self> {
        match &fourcc {
            // Semi-planar and planar formats begin with a whole plane of luma.
            b"GREY" | b"NV12" | b"NV21" | b"YU12" | b"YV12" => Some(Self { step: 1, offset: 0 }),
            b"YUYV" | b"YVYU" => Some(Self { step: 2, offset: 0 }),
            b"UYVY" | b"VYUY" => Some(Self { step: 2, offset: 1 }),
            _ => None,
        }
    }
}

/// Copies the luma out of a buffer whose rows are `stride` bytes apart; a `stride` of 0 means that they are tight, which is how some
/// drivers say it. Nothing if the buffer is too short for the picture.
pub(super) fn unpack(bytes: &[u8], (width, height): (usize, usize), stride: usize, packing: Packing) -> Option<Plane<u8>> {
    let row_bytes = width * packing.step;
    let stride = if stride == 0 { row_bytes } else { stride };
    // The last row needs no padding behind it.
    if width * height == 0 || stride < row_bytes || bytes.len() < stride * (height - 1) + row_bytes {
        return None;
    }
    let mut data = Vec::with_capacity(width * height);
    for row in bytes.chunks(stride).take(height) {
        match packing.step {
            1 => data.extend_from_slice(&row[..width]),
            step => data.extend(row[..row_bytes].chunks_exact(step).map(|pixel| pixel[packing.offset])),
        }
    }
    Some(Plane::from_vec(width, height, data))
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
        ];
        for Case { fourcc, stride, bytes, expected } in cases {
            let packing = Packing::of(*fourcc).unwrap();
            let found = unpack(bytes, (2, 2), stride, packing).map(|plane| plane.data);
            assert_eq!(found.as_deref(), expected, "{} stride {stride} {bytes:?}", String::from_utf8_lossy(fourcc));
        }
        assert_eq!(Packing::of(*b"MJPG"), None);
    }
}
