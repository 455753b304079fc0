//! Writing: luma as it is, chroma brought to the stream's sampling and range.

use std::io::{self, Write};

use autochrome_model::{LumaRange, Picture, Plane};

use super::{Header, Layout};

/// A stream being written.
pub struct Writer<W> {
    stream: W,
    header: Header,
    /// From full-range chroma codes to the stream's.
    codes: Box<[u8; 256]>,
    chroma: Vec<u8>,
    begun: bool,
}

impl<W: Write> Writer<W> {
    /// A stream whose header is written with the first frame.
    pub fn new(stream: W, header: Header) -> Self {
        let scale = match header.luma_range() {
            LumaRange::Full => 1.0,
            LumaRange::Limited => 224.0 / 255.0,
        };
        let codes: [u8; 256] = std::array::from_fn(|code| ((code as f32 - 128.0) * scale + 128.0).round() as u8);
        Self { stream, header, codes: Box::new(codes), chroma: Vec::new(), begun: false }
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// What the system said.
    ///
    /// # Panics
    /// If the picture is not the header's size.
    pub fn write(&mut self, picture: &Picture) -> io::Result<()> {
        assert_eq!((picture.luma.width, picture.luma.height), (self.header.width, self.header.height), "a frame's size");
        if !self.begun {
            self.stream.write_all(self.header.to_line().as_bytes())?;
            self.begun = true;
        }
        self.stream.write_all(b"FRAME\n")?;
        self.stream.write_all(&picture.luma.data)?;
        for plane in [&picture.cb, &picture.cr] {
            self.chroma.clear();
            shrink_into(plane, self.header.layout, &mut self.chroma);
            self.chroma.iter_mut().for_each(|code| *code = self.codes[usize::from(*code)]);
            self.stream.write_all(&self.chroma)?;
        }
        self.stream.flush()
    }

    /// The stream below.
    pub fn into_inner(self) -> W {
        self.stream
    }
}

/// Averages a chroma plane down to the sampling of `layout`.
fn shrink_into(plane: &Plane<u8>, layout: Layout, out: &mut Vec<u8>) {
    let (width, height) = layout.chroma_size(plane.width, plane.height);
    let halves_rows = height != plane.height;
    match layout {
        Layout::Mono => {}
        Layout::C444 => out.extend_from_slice(&plane.data),
        // Samples that stand beside the left pixel take 1-2-1 around it; those between two pixels take both.
        Layout::C420Mpeg2 | Layout::C422 => {
            for y in 0..height {
                let [upper, lower] = rows(plane, y, halves_rows);
                for x in 0..width {
                    let (left, right) = ((2 * x).saturating_sub(1), (2 * x + 1).min(plane.width - 1));
                    let sum = |row: &[u8]| u16::from(row[left]) + 2 * u16::from(row[2 * x]) + u16::from(row[right]);
                    out.push(((sum(upper) + sum(lower) + 4) / 8) as u8);
                }
            }
        }
        Layout::C420Jpeg | Layout::C420Paldv => {
            for y in 0..height {
                let [upper, lower] = rows(plane, y, halves_rows);
                for x in 0..width {
                    let right = (2 * x + 1).min(plane.width - 1);
                    let sum = |row: &[u8]| u16::from(row[2 * x]) + u16::from(row[right]);
                    out.push(((sum(upper) + sum(lower) + 2) / 4) as u8);
                }
            }
        }
    }
}

/// The two rows that output row `y` averages; twice the same where rows are not halved.
fn rows(plane: &Plane<u8>, y: usize, halves: bool) -> [&[u8]; 2] {
    let (upper, lower) = if halves { (2 * y, (2 * y + 1).min(plane.height - 1)) } else { (y, y) };
    [plane.row(upper), plane.row(lower)]
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;

    fn picture(width: usize, height: usize) -> Picture {
        let plane = |salt: usize| Plane::from_vec(width, height, (0..width * height).map(|i| (i * 37 + salt) as u8).collect());
        Picture { luma: plane(0), cb: plane(90), cr: plane(201) }
    }

    #[test]
    fn luma_survives_every_layout_and_odd_sizes_byte_for_byte() {
        for tag in ["420jpeg", "420mpeg2", "420paldv", "422", "444", "mono"] {
            for (width, height) in [(6, 4), (7, 5), (1, 1), (2, 1), (1, 3)] {
                let header = Header::parse(&format!("YUV4MPEG2 W{width} H{height} F25:1 C{tag}")).unwrap();
                let pictures = [picture(width, height), picture(width, height)];
                let mut writer = Writer::new(Vec::new(), header.clone());
                pictures.iter().for_each(|p| writer.write(p).unwrap());
                let bytes = writer.into_inner();
                let mut reader = Reader::new(bytes.as_slice()).unwrap();
                assert_eq!(reader.header(), &header);
                for expected in &pictures {
                    assert_eq!(reader.next_luma().unwrap().unwrap(), expected.luma, "{tag} {width}x{height}");
                }
                assert!(reader.next_luma().unwrap().is_none(), "{tag} {width}x{height}");
            }
        }
    }

    #[test]
    fn chroma_is_averaged_where_its_samples_stand() {
        let plane = Plane::from_vec(4, 2, vec![0, 40, 80, 120, 8, 48, 88, 128]);
        let shrunk = |layout| {
            let mut out = Vec::new();
            shrink_into(&plane, layout, &mut out);
            out
        };
        assert_eq!(shrunk(Layout::C420Jpeg), [24, 104]);
        assert_eq!(shrunk(Layout::C420Mpeg2), [14, 84]);
        assert_eq!(shrunk(Layout::C422), [10, 80, 18, 88]);
        assert_eq!(shrunk(Layout::C444), plane.data);
    }

    #[test]
    fn limited_range_shrinks_chroma_around_neutral() {
        let grey = Picture { luma: Plane::filled(2, 2, 50), cb: Plane::filled(2, 2, 128), cr: Plane::filled(2, 2, 255) };
        let line = "YUV4MPEG2 W2 H2 F25:1 C420jpeg";
        for (range, expected) in [("", [128, 240]), (" XCOLORRANGE=FULL", [128, 255])] {
            let mut writer = Writer::new(Vec::new(), Header::parse(&format!("{line}{range}")).unwrap());
            writer.write(&grey).unwrap();
            let bytes = writer.into_inner();
            assert_eq!(bytes[bytes.len() - 2..], expected, "{range}");
        }
    }
}
