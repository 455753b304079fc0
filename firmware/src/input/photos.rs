//! The demo's feed: four black-and-white photographs, each slowly panned and zoomed over, with a hard cut between them.

use autochrome_model::Plane;

use super::jpeg::decode_luma;
use crate::errors::{Exit, Failure, Result};

/// Width and height of the feed.
pub const SIZE: (usize, usize) = (640, 480);
/// Frames a second.
pub const RATE: u64 = 25;
/// Frames of one photograph: five seconds.
pub const FRAMES_EACH: u64 = 5 * RATE;
/// Frames until the feed begins again.
pub const FRAMES_ALL: u64 = FRAMES_EACH * TOURS.len() as u64;

/// A camera's way over one photograph. Views are (center x, center y, size), as shares of what fits.
struct Tour {
    file: &'static [u8],
    from: (f32, f32, f32),
    to: (f32, f32, f32),
}

const TOURS: [Tour; 4] = [
    Tour { file: include_bytes!("../../assets/demo/bw_dust-bowl-home.jpg"), from: (0.5, 0.5, 1.0), to: (0.4, 0.6, 0.78) },
    Tour { file: include_bytes!("../../assets/demo/bw_french-alpine-landscape.jpg"), from: (0.0, 0.5, 1.0), to: (1.0, 0.5, 1.0) },
    Tour { file: include_bytes!("../../assets/demo/bw_nagasaki-boats.jpg"), from: (0.6, 0.7, 0.8), to: (0.45, 0.45, 0.97) },
    Tour { file: include_bytes!("../../assets/demo/bw_black-canyon.jpg"), from: (0.2, 0.4, 0.85), to: (0.8, 0.6, 0.85) },
];

/// The decoded photographs.
pub struct Photos {
    photos: Vec<Plane<u8>>,
}

impl Photos {
    /// Decodes the photographs.
    ///
    /// # Errors
    /// [`Exit::Other`] if one is damaged, which a test rules out.
    pub fn new() -> Result<Self> {
        let decoded = TOURS.iter().map(|tour| decode_luma(tour.file).map(|decoded| decoded.luma));
        let photos =
            decoded.collect::<std::result::Result<_, _>>().map_err(|why| Failure::new(Exit::Other, format!("a demo photograph: {why}")))?;
        Ok(Self { photos })
    }

    /// Frame `number` of the feed, which repeats after [`FRAMES_ALL`].
    pub fn draw(&self, number: u64) -> Plane<u8> {
        let at = (number / FRAMES_EACH % TOURS.len() as u64) as usize;
        let part = (number % FRAMES_EACH) as f32 / (FRAMES_EACH - 1) as f32;
        // Starts and stops softly.
        let part = part * part * (3.0 - 2.0 * part);
        let Tour { from, to, .. } = &TOURS[at];
        let mix = |a: f32, b: f32| a + (b - a) * part;
        view(&self.photos[at], (mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2)))
    }
}

/// A part of a photograph at the feed's size, by linear interpolation.
fn view(photo: &Plane<u8>, (center_x, center_y, size): (f32, f32, f32)) -> Plane<u8> {
    let (width, height) = SIZE;
    let (whole_width, whole_height) = (photo.width as f32, photo.height as f32);
    let scale = (whole_width / width as f32).min(whole_height / height as f32) * size;
    let left = (whole_width - width as f32 * scale) * center_x;
    let top = (whole_height - height as f32 * scale) * center_y;
    // (first, second, share of the second in 1/256).
    let taps = |count: usize, start: f32, last: usize| -> Vec<(usize, usize, u32)> {
        let position = |i: usize| (start + (i as f32 + 0.5) * scale - 0.5).clamp(0.0, last as f32);
        (0..count).map(|i| (position(i) as usize, (position(i) as usize + 1).min(last), (position(i).fract() * 256.0) as u32)).collect()
    };
    let columns = taps(width, left, photo.width - 1);
    let mut data = Vec::with_capacity(width * height);
    for (first, second, below) in taps(height, top, photo.height - 1) {
        let (upper, lower) = (photo.row(first), photo.row(second));
        data.extend(columns.iter().map(|&(left, right, beside)| {
            let mix = |row: &[u8]| u32::from(row[left]) * (256 - beside) + u32::from(row[right]) * beside;
            ((mix(upper) * (256 - below) + mix(lower) * below + (1 << 15)) >> 16) as u8
        }));
    }
    Plane::from_vec(width, height, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_photograph_is_shown_and_moves_slowly() {
        let photos = Photos::new().unwrap();
        let difference = |a: &Plane<u8>, b: &Plane<u8>| {
            a.data.iter().zip(&b.data).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>() as f32 / a.data.len() as f32
        };
        for photo in 0..4 {
            let middle = photo * FRAMES_EACH + FRAMES_EACH / 2;
            let step = difference(&photos.draw(middle), &photos.draw(middle + 1));
            assert!(step > 0.05 && step < 12.0, "photograph {photo}: {step} a frame");
            let cut = difference(&photos.draw(photo * FRAMES_EACH + FRAMES_EACH - 1), &photos.draw((photo + 1) * FRAMES_EACH));
            assert!(cut > 20.0, "cut after photograph {photo}: {cut}");
        }
        assert_eq!(photos.draw(3), photos.draw(3 + FRAMES_ALL));
    }
}
