//! Pictures out of fields: what analog cameras send is every other row, then the rows between, a fiftieth of a second later.
//!
//! A frame woven of two fields shows combs wherever something moved, and a network takes combs for texture. So one field is taken.

use autochrome_model::Plane;

use super::super::luma::{Layout, resize, unpack};
use super::driver::Field;
use super::spec::Deinterlace;

/// How many rows may be missing at the end of a frame of two fields. Grabbers lose one or two of them all the time, at the bottom edge
/// that no television ever showed; the last row that is there stands in for them.
const ROWS_LOST_MAX: usize = 4;

/// What became of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unpacked {
    /// A picture is in the plane.
    Picture,
    /// A field that is not wanted.
    PassedOver,
    /// Less than a picture; the plane is as it was.
    TooShort,
}

/// One field in a buffer.
struct FieldRows {
    /// The row of the buffer where it begins.
    first: usize,
    /// From one of its rows to the next, in rows of the buffer.
    step: usize,
    /// How many rows it has.
    count: usize,
    /// Whether its rows are the odd ones of the picture.
    bottom: bool,
    /// Rows of the whole picture.
    picture_rows: usize,
}

impl FieldRows {
    /// The field that is taken: the top one where both are in the buffer, so that the picture does not hop. Nothing if the picture is whole.
    fn of(format: Field, buffer: Field, deinterlace: Deinterlace, rows: usize) -> Option<Self> {
        let half = rows.div_ceil(2);
        let forced = matches!(deinterlace, Deinterlace::Bob | Deinterlace::Drop);
        let alone = |bottom| Some(Self { first: 0, step: 1, count: rows, bottom, picture_rows: 2 * rows });
        let top_of_two = Self { first: 0, step: 2, count: half, bottom: false, picture_rows: rows };
        match format {
            _ if deinterlace == Deinterlace::Off => None,
            Field::Progressive if forced => Some(top_of_two),
            Field::Progressive => None,
            Field::Interlaced => Some(top_of_two),
            Field::TopThenBottom => Some(Self { step: 1, count: rows / 2, ..top_of_two }),
            Field::BottomThenTop => Some(Self { first: rows / 2, step: 1, count: rows / 2, ..top_of_two }),
            Field::Top => alone(false),
            Field::Bottom => alone(true),
            Field::Alternate => alone(buffer == Field::Bottom),
        }
    }
}

/// Takes the luma out of buffers, a field or a frame each.
#[derive(Debug, Default)]
pub(super) struct Deinterlacer {
    /// One row of a field, where the picture is half as wide.
    row: Vec<u8>,
}

impl Deinterlacer {
    /// Puts the picture of a buffer into `luma`. `format` is what the driver said of all buffers, `buffer` what it says of this one.
    pub(super) fn unpack(
        &mut self,
        bytes: &[u8],
        layout: &Layout,
        (format, buffer): (Field, Field),
        deinterlace: Deinterlace,
        luma: &mut Plane<u8>,
    ) -> Unpacked {
        let Some(field) = FieldRows::of(format, buffer, deinterlace, layout.height) else {
            return if unpack(bytes, layout, luma) { Unpacked::Picture } else { Unpacked::TooShort };
        };
        let dropping = deinterlace == Deinterlace::Drop;
        if dropping && field.bottom && format == Field::Alternate {
            return Unpacked::PassedOver;
        }
        let whole = layout.whole_rows(bytes.len());
        let lost_max = if field.step == 2 { ROWS_LOST_MAX.min(layout.height / 8) } else { 0 };
        if whole == 0 || field.count == 0 || whole + lost_max < layout.height {
            return Unpacked::TooShort;
        }
        let last = (whole - 1 - field.first) / field.step;
        let source = |row: usize| field.first + row.min(last) * field.step;
        if dropping {
            resize(luma, (layout.width / 2).max(1), field.count);
            self.row.resize(layout.width, 0);
            for y in 0..field.count {
                layout.read_row(bytes, source(y), &mut self.row);
                for (to, pair) in luma.row_mut(y).iter_mut().zip(self.row.chunks(2)) {
                    *to = mean(pair[0], pair[pair.len() - 1]);
                }
            }
        } else {
            resize(luma, layout.width, field.picture_rows);
            let parity = usize::from(field.bottom);
            for y in (0..field.count).filter(|y| 2 * y + parity < field.picture_rows) {
                layout.read_row(bytes, source(y), luma.row_mut(2 * y + parity));
            }
            fill_between(luma, parity);
        }
        Unpacked::Picture
    }
}

/// Fills the rows that are not of the field, each with the mean of its neighbors.
fn fill_between(luma: &mut Plane<u8>, parity: usize) {
    let (width, height) = (luma.width, luma.height);
    for y in (1 - parity..height).step_by(2) {
        let above = if y > 0 { y - 1 } else { y + 1 };
        let below = if y + 1 < height { y + 1 } else { above };
        if above >= height {
            continue;
        }
        for x in 0..width {
            luma.data[y * width + x] = mean(luma.data[above * width + x], luma.data[below * width + x]);
        }
    }
}

fn mean(a: u8, b: u8) -> u8 {
    (u16::from(a) + u16::from(b)).div_ceil(2) as u8
}

#[cfg(test)]
mod tests {
    use super::super::super::luma::Packing;
    use super::*;

    /// A buffer of one-pixel-high grey rows, two pixels wide.
    fn rows(values: &[u8]) -> Vec<u8> {
        values.iter().flat_map(|&v| [v, v]).collect()
    }

    #[test]
    fn one_field_becomes_a_picture() {
        use Deinterlace::{Auto, Bob, Drop, Off};
        use Field::{Alternate, Bottom, BottomThenTop, Interlaced, Progressive, Top, TopThenBottom};
        struct Case(Field, Field, Deinterlace, &'static [u8], &'static [u8]);
        let cases = [
            Case(Progressive, Progressive, Auto, &[1, 2, 3, 4], &[1, 2, 3, 4]),
            Case(Interlaced, Interlaced, Off, &[1, 2, 3, 4], &[1, 2, 3, 4]),
            // Top rows 10 and 20; the bottom ones, 99, are of another time.
            Case(Interlaced, Interlaced, Auto, &[10, 99, 20, 99], &[10, 15, 20, 20]),
            Case(Interlaced, Interlaced, Auto, &[10, 99, 20, 99, 30], &[10, 15, 20, 25, 30]),
            Case(Progressive, Progressive, Bob, &[10, 99, 20, 99], &[10, 15, 20, 20]),
            Case(TopThenBottom, Interlaced, Auto, &[10, 20, 99, 99], &[10, 15, 20, 20]),
            Case(BottomThenTop, Interlaced, Auto, &[99, 99, 10, 20], &[10, 15, 20, 20]),
            Case(Alternate, Top, Auto, &[10, 20], &[10, 15, 20, 20]),
            Case(Alternate, Bottom, Bob, &[10, 20], &[10, 10, 15, 20]),
            Case(Top, Top, Auto, &[10, 20], &[10, 15, 20, 20]),
            Case(Bottom, Bottom, Auto, &[10, 20], &[10, 10, 15, 20]),
        ];
        for Case(format, buffer, deinterlace, given, expected) in cases {
            let layout = Layout { width: 2, height: given.len(), stride: 2, packing: Packing::Bytes { step: 1, offset: 0 } };
            let mut luma = Plane::default();
            let unpacked = Deinterlacer::default().unpack(&rows(given), &layout, (format, buffer), deinterlace, &mut luma);
            assert_eq!((unpacked, luma.data), (Unpacked::Picture, rows(expected)), "{format:?} {buffer:?} {deinterlace:?}");
        }
        let layout = Layout { width: 4, height: 4, stride: 4, packing: Packing::Bytes { step: 1, offset: 0 } };
        let mut luma = Plane::default();
        let bytes = [10, 20, 30, 50, 0, 0, 0, 0, 1, 3, 5, 7, 0, 0, 0, 0];
        let mut deinterlacer = Deinterlacer::default();
        assert_eq!(deinterlacer.unpack(&bytes, &layout, (Interlaced, Interlaced), Drop, &mut luma), Unpacked::Picture);
        assert_eq!(luma, Plane::from_vec(2, 2, vec![15, 40, 2, 6]));
        assert_eq!(deinterlacer.unpack(&bytes, &layout, (Alternate, Bottom), Drop, &mut luma), Unpacked::PassedOver);
    }

    #[test]
    fn a_grabber_may_lose_its_last_rows_but_no_more() {
        let layout = Layout { width: 2, height: 32, stride: 2, packing: Packing::Bytes { step: 1, offset: 0 } };
        let bytes = rows(&std::array::from_fn::<u8, 32, _>(|y| y as u8));
        let mut luma = Plane::default();
        let mut take = |rows: usize, field: Field| {
            Deinterlacer::default().unpack(&bytes[..2 * rows], &layout, (field, field), Deinterlace::Auto, &mut luma)
        };
        assert_eq!(take(29, Field::Progressive), Unpacked::TooShort);
        assert_eq!(take(27, Field::Interlaced), Unpacked::TooShort);
        assert_eq!(take(28, Field::Interlaced), Unpacked::Picture);
        assert_eq!(luma.row(24), [24, 24]);
        assert_eq!((luma.row(28), luma.row(31)), ([26_u8, 26].as_slice(), [26_u8, 26].as_slice()));
    }
}
