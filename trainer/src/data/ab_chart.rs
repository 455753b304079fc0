//! Pictures of the ab plane: which colors occur, and which colors the bins of a grid stand for.

use autochrome_model::color::{lab_to_linear_srgb, lab_to_srgb};
use image::{Rgb, RgbImage};

use super::prior::{ColorCounts, REACH};

/// Pixels of a Lab unit.
const SCALE: u32 = 4;
/// Around the plane, for the numbers.
const MARGIN: u32 = 64;
/// Pixels of the plane.
const PLANE: u32 = 2 * REACH as u32 * SCALE;
/// Beside the plane, for the scale of the heat map.
const LEGEND: u32 = 110;

const PAPER: Rgb<u8> = Rgb([250, 250, 250]);
const INK: Rgb<u8> = Rgb([40, 40, 40]);
const AXIS: Rgb<u8> = Rgb([150, 150, 150]);

/// The lightness at which the bins' colors are shown.
const PALETTE_LIGHTNESS: f32 = 50.0;

/// Powers of ten that the heat map tells apart, below the most frequent color's.
const DECADES: f64 = 6.0;

/// How often each color occurs, on a logarithmic scale: a* to the right, b* up, one Lab unit a dot. Colors that never occur stay white.
pub fn heat_map(counts: &ColorCounts) -> RgbImage {
    let mut picture = RgbImage::from_pixel(PLANE + 2 * MARGIN + LEGEND, PLANE + 2 * MARGIN, PAPER);
    let units = counts.by_unit();
    let side = 2 * REACH;
    let (total, most) = (counts.total().max(1.0), units.iter().copied().fold(1.0, f64::max));
    for (at, &count) in units.iter().enumerate().filter(|(_, count)| **count > 0.0) {
        let heat = 1.0 + (count / most).log10() / DECADES;
        let [left, top] = [(at / side) as u32 * SCALE, PLANE - (at % side) as u32 * SCALE - SCALE];
        fill(&mut picture, [MARGIN + left, MARGIN + top], [SCALE, SCALE], heat_color(heat));
    }
    axes(&mut picture);
    // The legend: a bar with the share of the pixels, as a power of ten, at each whole one.
    let bar = MARGIN + PLANE + 24;
    for row in 0..PLANE {
        let heat = 1.0 - f64::from(row) / f64::from(PLANE);
        fill(&mut picture, [bar, MARGIN + row], [20, 1], heat_color(heat));
    }
    let top = (most / total).log10();
    let mut power = top.floor();
    while power >= top - DECADES {
        let row = MARGIN + ((top - power) / DECADES * f64::from(PLANE)) as u32;
        fill(&mut picture, [bar, row.min(MARGIN + PLANE - 1)], [26, 1], INK);
        write(&mut picture, [bar + 32, row.saturating_sub(8)], "10");
        write_small(&mut picture, [bar + 58, row.saturating_sub(14)], &format!("{power:.0}"));
        power -= 1.0;
    }
    picture
}

/// Each bin as a square of its color at L* 50: a* to the right, b* up. Where no sRGB color of that lightness is, the nearest is shown and
/// crossed out.
pub fn palette(centers: &[[f32; 2]]) -> RgbImage {
    let mut picture = RgbImage::from_pixel(PLANE + 2 * MARGIN, PLANE + 2 * MARGIN, PAPER);
    axes(&mut picture);
    // As wide as the nearest two are apart, less a line between them.
    let apart = |a: &[f32; 2], b: &[f32; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
    let nearest = centers.iter().skip(1).map(|center| apart(center, &centers[0])).fold(f32::INFINITY, f32::min);
    let size = if nearest.is_finite() { (nearest * SCALE as f32) as u32 - 2 } else { 10 * SCALE };
    for &[a, b] in centers {
        let lab = [PALETTE_LIGHTNESS, a, b];
        let corner = |value: f32| ((value + REACH as f32) * SCALE as f32 - size as f32 / 2.0).max(0.0) as u32;
        let place = [MARGIN + corner(a), MARGIN + corner(-b)];
        fill(&mut picture, place, [size, size], Rgb(lab_to_srgb(lab)));
        if !is_in_srgb(lab) {
            for i in 0..size {
                dot(&mut picture, [place[0] + i, place[1] + i], INK);
                dot(&mut picture, [place[0] + size - 1 - i, place[1] + i], INK);
            }
        }
    }
    picture
}

/// Whether a Lab color can be shown without clipping. The matrices have six decimals, hence the thousandth.
fn is_in_srgb(lab: [f32; 3]) -> bool {
    lab_to_linear_srgb(lab).iter().all(|value| (-0.001..=1.001).contains(value))
}

/// From rare (0, dark blue) over red to frequent (1, yellow).
fn heat_color(heat: f64) -> Rgb<u8> {
    const STOPS: [[f64; 3]; 5] =
        [[25.0, 20.0, 90.0], [110.0, 25.0, 130.0], [200.0, 50.0, 90.0], [245.0, 130.0, 40.0], [250.0, 240.0, 120.0]];
    let at = heat.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let low = (at as usize).min(STOPS.len() - 2);
    let part = at - low as f64;
    Rgb(std::array::from_fn(|c| (STOPS[low][c] * (1.0 - part) + STOPS[low + 1][c] * part).round() as u8))
}

/// The lines a* = 0 and b* = 0, a frame, and numbers every 50 units.
fn axes(picture: &mut RgbImage) {
    let middle = MARGIN + PLANE / 2;
    for at in 0..PLANE {
        for line in [[MARGIN + at, middle], [middle, MARGIN + at]] {
            if *picture.get_pixel(line[0], line[1]) == PAPER {
                dot(picture, line, AXIS);
            }
        }
    }
    for offset in [0, PLANE] {
        fill(picture, [MARGIN, MARGIN + offset], [PLANE, 1], AXIS);
        fill(picture, [MARGIN + offset, MARGIN], [1, PLANE], AXIS);
    }
    for value in [-100_i32, -50, 0, 50, 100] {
        let along = (value + REACH as i32) as u32 * SCALE;
        let text = value.to_string();
        let half = text.len() as u32 * GLYPH_STEP / 2;
        fill(picture, [MARGIN + along, MARGIN + PLANE], [1, 6], INK);
        write(picture, [MARGIN + along - half, MARGIN + PLANE + 12], &text);
        fill(picture, [MARGIN - 6, MARGIN + PLANE - along], [6, 1], INK);
        write(picture, [MARGIN - 8 - 2 * half, MARGIN + PLANE - along - 7], &text);
    }
    write(picture, [MARGIN + PLANE - 24, MARGIN + PLANE + 34], "a*");
    write(picture, [MARGIN - 12, MARGIN - 24], "b*");
}

fn dot(picture: &mut RgbImage, [x, y]: [u32; 2], color: Rgb<u8>) {
    if x < picture.width() && y < picture.height() {
        picture.put_pixel(x, y, color);
    }
}

fn fill(picture: &mut RgbImage, [left, top]: [u32; 2], [width, height]: [u32; 2], color: Rgb<u8>) {
    for y in top..top + height {
        for x in left..left + width {
            dot(picture, [x, y], color);
        }
    }
}

/// Pixels from one character to the next.
const GLYPH_STEP: u32 = 12;

/// Three columns and five rows a character, the top row first, the left column in the highest of three bits.
fn glyph(character: char) -> [u8; 5] {
    match character {
        '0' => [0b111, 0b101, 0b101, 0b101, 0b111],
        '1' => [0b010, 0b110, 0b010, 0b010, 0b111],
        '2' => [0b111, 0b001, 0b111, 0b100, 0b111],
        '3' => [0b111, 0b001, 0b111, 0b001, 0b111],
        '4' => [0b101, 0b101, 0b111, 0b001, 0b001],
        '5' => [0b111, 0b100, 0b111, 0b001, 0b111],
        '6' => [0b111, 0b100, 0b111, 0b101, 0b111],
        '7' => [0b111, 0b001, 0b010, 0b010, 0b010],
        '8' => [0b111, 0b101, 0b111, 0b101, 0b111],
        '9' => [0b111, 0b101, 0b111, 0b001, 0b111],
        '-' => [0b000, 0b000, 0b111, 0b000, 0b000],
        'a' => [0b000, 0b011, 0b101, 0b101, 0b011],
        'b' => [0b100, 0b110, 0b101, 0b101, 0b110],
        '*' => [0b101, 0b010, 0b101, 0b000, 0b000],
        _ => [0; 5],
    }
}

fn write(picture: &mut RgbImage, place: [u32; 2], text: &str) {
    write_scaled(picture, place, text, 3);
}

/// For exponents.
fn write_small(picture: &mut RgbImage, place: [u32; 2], text: &str) {
    write_scaled(picture, place, text, 2);
}

fn write_scaled(picture: &mut RgbImage, [left, top]: [u32; 2], text: &str, scale: u32) {
    for (at, character) in text.chars().enumerate() {
        for (row, bits) in glyph(character).into_iter().enumerate() {
            for column in (0..3).filter(|column| bits & (0b100 >> column) != 0) {
                let place = [left + (at as u32 * 4 + column) * scale, top + row as u32 * scale];
                fill(picture, place, [scale, scale], INK);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use autochrome_model::bins::{seventeen, zhang_313};
    use autochrome_model::color::srgb_to_lab;

    use super::super::shard::ItemKind;
    use super::super::shard::test_sets::{new_item, pack_of};
    use super::super::split::Split;
    use super::*;

    /// The pixel at a Lab color.
    fn at(picture: &RgbImage, [a, b]: [f32; 2]) -> Rgb<u8> {
        let place = |value: f32| MARGIN + ((value + REACH as f32) * SCALE as f32) as u32;
        *picture.get_pixel(place(a), place(-b))
    }

    #[test]
    fn the_palette_shows_each_bin_in_its_place() {
        let picture = palette(zhang_313());
        // (20, 30) is a brown that sRGB has at L* 50; beside the crossing lines of others.
        assert_eq!(at(&picture, [20.0, 30.0]), Rgb(lab_to_srgb([50.0, 20.0, 30.0])));
        assert!(is_in_srgb([50.0, 20.0, 30.0]) && !is_in_srgb([50.0, -80.0, 80.0]));
        // No bin there.
        assert_eq!(at(&picture, [-105.0, -105.0]), PAPER);
        // A crossed out bin has ink in its middle.
        assert!(zhang_313().contains(&[-80.0, 80.0]));
        let middle = at(&picture, [-80.0, 80.0]);
        let below = at(&picture, [-80.25, 80.0]);
        assert!(middle == INK || below == INK, "{middle:?} {below:?}");
        palette(seventeen());
        palette(&[[0.0, 0.0]]);
    }

    #[test]
    fn the_heat_map_is_hottest_at_the_most_frequent_color() {
        let folder = tempfile::tempdir().unwrap();
        let (often, seldom) = ([200, 60, 40], [40, 90, 200]);
        let rgb = [often.repeat(16 * 60), seldom.repeat(16 * 4)].concat();
        let set = pack_of(folder.path(), [(new_item("a.png", ItemKind::Still, 16, 64, Split::Train), rgb)]);
        let picture = heat_map(&ColorCounts::of(&set, Split::Train));
        let color_at = |rgb| {
            let [_, a, b] = srgb_to_lab(rgb);
            at(&picture, [a, b])
        };
        assert_eq!(color_at(often), heat_color(1.0));
        // A fifteenth: 1.18 of the six decades below.
        assert_eq!(color_at(seldom), heat_color(1.0 - 15.0_f64.log10() / DECADES));
        assert_eq!(at(&picture, [50.0, -80.0]), PAPER);
    }
}
