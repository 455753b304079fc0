//! Where a picture goes on a screen, and its pixels brought to that size. Numbers only; nothing here can fail.

/// How a picture is brought to the size of a screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// As large as it fits, interpolated between the nearest pixels.
    #[default]
    Smooth,
    /// As large as whole pixels allow: each is an exact copy. A picture larger than the screen loses every second, or third, and so on.
    Integer,
}

/// The part of a screen that a picture covers, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Left edge.
    pub(crate) x: usize,
    /// Top edge.
    pub(crate) y: usize,
    /// Width.
    pub(crate) width: usize,
    /// Height.
    pub(crate) height: usize,
}

impl Place {
    fn fit((width, height): (usize, usize), (screen_width, screen_height): (usize, usize), scale: Scale) -> Self {
        let (w, h) = match scale {
            Scale::Smooth if width * screen_height >= screen_width * height => {
                (screen_width, rounded(screen_width * height, width).clamp(1, screen_height))
            }
            Scale::Smooth => (rounded(screen_height * width, height).clamp(1, screen_width), screen_height),
            Scale::Integer => match (screen_width / width).min(screen_height / height) {
                0 => {
                    let step = width.div_ceil(screen_width).max(height.div_ceil(screen_height));
                    ((width / step).max(1), (height / step).max(1))
                }
                times => (width * times, height * times),
            },
        };
        Self { x: (screen_width - w) / 2, y: (screen_height - h) / 2, width: w, height: h }
    }
}

fn rounded(numerator: usize, denominator: usize) -> usize {
    (numerator + denominator / 2) / denominator
}

/// Which two neighbors of a row (or column) make one pixel: `weight` / 256 of `next`, the rest of `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tap {
    at: usize,
    next: usize,
    weight: u16,
}

/// The taps for `shown` pixels out of `of`; pixel centers are aligned, and what lies outside repeats the edge.
fn taps(of: usize, shown: usize, scale: Scale) -> Vec<Tap> {
    let last = of - 1;
    let tap = |i: usize| match scale {
        Scale::Smooth => {
            let position = (((2 * i + 1) * of).saturating_sub(shown) * 128 / shown).min(last * 256);
            let at = position / 256;
            Tap { at, next: (at + 1).min(last), weight: (position % 256) as u16 }
        }
        Scale::Integer => {
            let at = if shown >= of { i / (shown / of) } else { (i * of / shown).min(last) };
            Tap { at, next: at, weight: 0 }
        }
    };
    (0..shown).map(tap).collect()
}

/// Four-byte pixels, fitted into a screen. The tables are made once for a pair of sizes; drawing allocates nothing.
#[derive(Debug)]
pub(crate) struct Letterbox {
    picture: (usize, usize),
    screen: (usize, usize),
    place: Place,
    columns: Vec<Tap>,
    /// No column is interpolated.
    columns_exact: bool,
    rows: Vec<Tap>,
    upper: Stretched,
    lower: Stretched,
    mixed: Vec<u8>,
}

/// A row of the picture at the width that is shown.
#[derive(Debug, Default)]
struct Stretched {
    /// Which row; none yet.
    row: Option<usize>,
    bytes: Vec<u8>,
}

impl Letterbox {
    /// A `picture` of width and height on a `screen` of width and height, none of them 0.
    pub(crate) fn new(picture: (usize, usize), screen: (usize, usize), scale: Scale) -> Self {
        let place = Place::fit(picture, screen, scale);
        let columns = taps(picture.0, place.width, scale);
        let row = || Stretched { row: None, bytes: vec![0; place.width * 4] };
        Self {
            picture,
            screen,
            place,
            columns_exact: columns.iter().all(|tap| tap.weight == 0),
            columns,
            rows: taps(picture.1, place.height, scale),
            upper: row(),
            lower: row(),
            mixed: vec![0; place.width * 4],
        }
    }

    /// Whether it was made for these sizes.
    pub(crate) fn is_for(&self, picture: (usize, usize), screen: (usize, usize)) -> bool {
        (self.picture, self.screen) == (picture, screen)
    }

    /// Where the picture goes.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Gives `put` each row of the picture as shown, from the top: the screen's row, and four bytes a pixel, in the order of
    /// memory, which go from [`Place::x`] on. Each byte is interpolated by itself.
    pub(crate) fn draw(&mut self, pixels: &[u32], mut put: impl FnMut(usize, &[u8])) {
        (self.upper.row, self.lower.row) = (None, None);
        for (y, tap) in self.rows.iter().enumerate() {
            if self.upper.row != Some(tap.at) {
                std::mem::swap(&mut self.upper, &mut self.lower);
            }
            self.upper.stretch(tap.at, pixels, self.picture.0, &self.columns, self.columns_exact);
            let y = self.place.y + y;
            if tap.weight == 0 {
                put(y, &self.upper.bytes);
                continue;
            }
            self.lower.stretch(tap.next, pixels, self.picture.0, &self.columns, self.columns_exact);
            let (most, rest) = (256 - tap.weight, tap.weight);
            for ((mixed, &upper), &lower) in self.mixed.iter_mut().zip(&self.upper.bytes).zip(&self.lower.bytes) {
                *mixed = ((u16::from(upper) * most + u16::from(lower) * rest + 128) >> 8) as u8;
            }
            put(y, &self.mixed);
        }
    }
}

impl Stretched {
    fn stretch(&mut self, row: usize, pixels: &[u32], width: usize, columns: &[Tap], exact: bool) {
        if self.row == Some(row) {
            return;
        }
        self.row = Some(row);
        let from = &pixels[row * width..(row + 1) * width];
        let out = self.bytes.chunks_exact_mut(4).zip(columns);
        if exact {
            out.for_each(|(out, tap)| out.copy_from_slice(&from[tap.at].to_ne_bytes()));
        } else {
            out.for_each(|(out, tap)| out.copy_from_slice(&mix(from[tap.at], from[tap.next], u32::from(tap.weight)).to_ne_bytes()));
        }
    }
}

/// Each of four bytes: `weight` / 256 of `b`, the rest of `a`, rounded. Two bytes at a time; their products stay apart.
fn mix(a: u32, b: u32, weight: u32) -> u32 {
    const EVEN: u32 = 0x00ff_00ff;
    const HALF: u32 = 0x0080_0080;
    let pair = |a: u32, b: u32| (((a & EVEN) * (256 - weight) + (b & EVEN) * weight + HALF) >> 8) & EVEN;
    pair(a, b) | pair(a >> 8, b >> 8) << 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_picture_fits_and_keeps_its_shape() {
        let cases = [
            ((640, 480), (1920, 1080), Scale::Smooth, (240, 0, 1440, 1080)),
            ((640, 480), (640, 480), Scale::Smooth, (0, 0, 640, 480)),
            ((720, 576), (480, 800), Scale::Smooth, (0, 208, 480, 384)),
            ((1920, 1080), (1024, 768), Scale::Smooth, (0, 96, 1024, 576)),
            ((10_000, 1), (100, 100), Scale::Smooth, (0, 49, 100, 1)),
            ((1, 10_000), (100, 100), Scale::Smooth, (49, 0, 1, 100)),
            ((640, 480), (1920, 1080), Scale::Integer, (320, 60, 1280, 960)),
            ((640, 480), (800, 600), Scale::Integer, (80, 60, 640, 480)),
            ((1920, 1080), (1024, 768), Scale::Integer, (32, 114, 960, 540)),
            ((3, 3000), (2, 2), Scale::Integer, (0, 0, 1, 2)),
        ];
        for (picture, screen, scale, (x, y, width, height)) in cases {
            assert_eq!(Place::fit(picture, screen, scale), Place { x, y, width, height }, "{picture:?} on {screen:?}, {scale:?}");
        }
    }

    fn drawn(pixels: &[u32], picture: (usize, usize), screen: (usize, usize), scale: Scale) -> Vec<Vec<u32>> {
        let mut letterbox = Letterbox::new(picture, screen, scale);
        let Place { x, width, .. } = letterbox.place();
        let mut rows = vec![vec![0; screen.0]; screen.1];
        for _ in 0..2 {
            letterbox.draw(pixels, |y, bytes| {
                let pixels = bytes.as_chunks::<4>().0.iter().map(|&pixel| u32::from_ne_bytes(pixel));
                assert_eq!(pixels.len(), width);
                rows[y][x..x + width].copy_from_slice(&pixels.collect::<Vec<_>>());
            });
        }
        rows
    }

    #[test]
    fn pixels_are_interpolated_between_centers() {
        // Twice as wide: centers a quarter and three quarters of the way, and the edges repeat.
        let wide = drawn(&[0x00_40_00_ff, 0x00_80_ff_00], (2, 1), (4, 2), Scale::Smooth);
        assert_eq!(wide, [[0x40_00ff, 0x50_40bf, 0x70_bf40, 0x80_ff00]; 2]);
        let tall = drawn(&[0, 0xffff_ffff], (1, 2), (2, 4), Scale::Smooth);
        let column: Vec<u32> = tall.iter().map(|row| row[0]).collect();
        assert_eq!(column, [0, 0x4040_4040, 0xbfbf_bfbf, 0xffff_ffff]);
        let halved = drawn(&[0, 100, 200, 50], (4, 1), (2, 1), Scale::Smooth);
        assert_eq!(halved, [[50, 125]]);
    }

    #[test]
    fn smooth_is_exact_within_one_step_of_the_formula() {
        let (picture, screen) = ((7, 5), (31, 23));
        let pixels: Vec<u32> = (0..35).map(|i: u32| i.wrapping_mul(0x9e37_79b9)).collect();
        let rows = drawn(&pixels, picture, screen, Scale::Smooth);
        let Place { x, y, width, height } = Place::fit(picture, screen, Scale::Smooth);
        let place = |i: usize, of: usize, shown: usize| ((i as f64 + 0.5) * of as f64 / shown as f64 - 0.5).clamp(0.0, of as f64 - 1.0);
        for row in 0..height {
            for column in 0..width {
                let (u, v) = (place(column, 7, width), place(row, 5, height));
                let (left, top) = (u as usize, v as usize);
                for shift in [0, 8, 16, 24] {
                    let at = |x: usize, y: usize| f64::from(pixels[y.min(4) * 7 + x.min(6)] >> shift & 255);
                    let across = |y| at(left, y) + (at(left + 1, y) - at(left, y)) * u.fract();
                    let expected = across(top) + (across(top + 1) - across(top)) * v.fract();
                    let found = f64::from(rows[y + row][x + column] >> shift & 255);
                    assert!((found - expected).abs() < 3.0, "{column},{row}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn equal_sizes_and_whole_factors_copy_pixels() {
        let pixels: Vec<u32> = (0..6).map(|i| i * 0x0101_0101).collect();
        for scale in [Scale::Smooth, Scale::Integer] {
            assert_eq!(drawn(&pixels, (3, 2), (3, 2), scale).concat(), pixels);
        }
        let p = |i: usize| pixels[i];
        let doubled = drawn(&pixels, (3, 2), (7, 5), Scale::Integer);
        let upper = [p(0), p(0), p(1), p(1), p(2), p(2), 0];
        let lower = [p(3), p(3), p(4), p(4), p(5), p(5), 0];
        assert_eq!(doubled, [upper, upper, lower, lower, [0; 7]]);
        assert_eq!(drawn(&pixels, (3, 2), (1, 1), Scale::Integer), [[p(0)]]);
    }
}
