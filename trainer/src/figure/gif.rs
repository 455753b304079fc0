//! Animated GIFs (version 89a): the one moving picture that every viewer and every page shows.
//!
//! One palette of at most 256 colors serves all frames, and the dither is the same in all, so that nothing shimmers that stands still.

use std::collections::HashMap;

use anyhow::ensure;
use image::RgbImage;

/// Bits of a channel that the palette is chosen by.
const KEPT_BITS: u32 = 5;
const CELLS: usize = 1 << (3 * KEPT_BITS);
const COLORS_MAX: usize = 256;
/// The most pixels of all frames together.
const PIXELS_MAX: u64 = 1 << 28;
/// Ordered dither, in levels of 255: each position moves its pixel by a sixteenth of a cell's width more than the one before.
const DITHER: [[i16; 4]; 4] = [[-4, 0, -3, 1], [2, -2, 3, -1], [-3, 1, -4, 0], [3, -1, 2, -2]];

const CODE_BITS: u32 = 8;
const CLEAR: u16 = 1 << CODE_BITS;
const END: u16 = CLEAR + 1;
const CODES_MAX: u16 = 4096;

/// Whether so many frames of (width, height) pixels are no more than a GIF takes here. All of them are in memory at once: who makes them asks before.
///
/// # Errors
/// If they are more.
pub fn ensure_within(frames: usize, (width, height): (u32, u32)) -> anyhow::Result<()> {
    let pixels = (frames as u64).saturating_mul(u64::from(width) * u64::from(height));
    ensure!(pixels <= PIXELS_MAX, "{frames} frames of {width}x{height} are too many for a GIF: shrink them, or take fewer");
    Ok(())
}

/// The file's bytes: these frames, each for `hundredths` of a second, over and over.
///
/// # Errors
/// If there is no frame, the frames differ in size, or there are too many pixels.
pub fn encode(frames: &[RgbImage], hundredths: u16) -> anyhow::Result<Vec<u8>> {
    let (width, height) = frames.first().map_or((0, 0), RgbImage::dimensions);
    ensure!(width > 0 && height > 0, "a GIF has at least one frame, and that at least one pixel");
    let sides = (u16::try_from(width), u16::try_from(height));
    let (Ok(wide), Ok(tall)) = sides else { anyhow::bail!("{width}x{height} is too large for a GIF: a side is at most 65535 pixels") };
    for (number, frame) in frames.iter().enumerate() {
        let found = frame.dimensions();
        ensure!(found == (width, height), "frame {number} is {}x{}, the first {width}x{height}: a GIF has one size", found.0, found.1);
    }
    ensure_within(frames.len(), (width, height))?;
    let (palette, index_of) = palette(frames);
    let mut bytes = b"GIF89a".to_vec();
    bytes.extend_from_slice(&wide.to_le_bytes());
    bytes.extend_from_slice(&tall.to_le_bytes());
    // A global table of 256 colors of 8 bits; background 0; square pixels.
    bytes.extend_from_slice(&[0xF7, 0, 0]);
    bytes.extend(palette.iter().flatten());
    bytes.resize(bytes.len() + 3 * (COLORS_MAX - palette.len()), 0);
    // Netscape's extension: repeat for ever.
    bytes.extend_from_slice(b"\x21\xFF\x0BNETSCAPE2.0\x03\x01\0\0\0");
    for frame in frames {
        let [low, high] = hundredths.to_le_bytes();
        bytes.extend_from_slice(&[0x21, 0xF9, 4, 0, low, high, 0, 0]);
        bytes.extend_from_slice(&[0x2C, 0, 0, 0, 0]);
        bytes.extend_from_slice(&wide.to_le_bytes());
        bytes.extend_from_slice(&tall.to_le_bytes());
        bytes.extend_from_slice(&[0, CODE_BITS as u8]);
        let dithered = frame.enumerate_pixels().map(|(x, y, pixel)| {
            let by = DITHER[(y % 4) as usize][(x % 4) as usize];
            index_of[cell(pixel.0.map(|v| (i16::from(v) + by).clamp(0, 255) as u8))]
        });
        for block in compressed(dithered).chunks(255) {
            bytes.push(block.len() as u8);
            bytes.extend_from_slice(block);
        }
        bytes.push(0);
    }
    bytes.push(0x3B);
    Ok(bytes)
}

fn cell([r, g, b]: [u8; 3]) -> usize {
    [r, g, b].iter().fold(0, |cell, &v| cell << KEPT_BITS | usize::from(v >> (8 - KEPT_BITS)))
}

/// The pixels of a cell, and the sums of their channels.
#[derive(Clone, Copy, Default)]
struct Sum {
    count: u64,
    channels: [u64; 3],
}

impl Sum {
    fn mean(&self) -> [u8; 3] {
        self.channels.map(|sum| ((sum + self.count / 2) / self.count.max(1)) as u8)
    }
}

/// At most 256 colors by median cut (Heckbert 1982), and the nearest of them for every cell.
fn palette(frames: &[RgbImage]) -> (Vec<[u8; 3]>, Vec<u8>) {
    let mut sums = vec![Sum::default(); CELLS];
    for pixel in frames.iter().flat_map(RgbImage::pixels) {
        let sum = &mut sums[cell(pixel.0)];
        sum.count += 1;
        sum.channels.iter_mut().zip(pixel.0).for_each(|(sum, v)| *sum += u64::from(v));
    }
    let mut boxes: Vec<Vec<Sum>> = vec![sums.into_iter().filter(|sum| sum.count > 0).collect()];
    while boxes.len() < COLORS_MAX {
        // The box whose pixels are spread widest, by how many they are: what a color less would cost.
        let widest = (0..boxes.len()).filter(|&i| boxes[i].len() > 1).max_by_key(|&i| cost(&boxes[i]));
        let Some(widest) = widest else { break };
        let mut lower = boxes.swap_remove(widest);
        let (channel, _) = longest_side(&lower);
        lower.sort_unstable_by_key(|sum| sum.mean()[channel]);
        let half = lower.iter().map(|sum| sum.count).sum::<u64>() / 2;
        let mut before = 0;
        let cut = lower.iter().position(|sum| {
            before += sum.count;
            before > half
        });
        let upper = lower.split_off(cut.unwrap_or(1).clamp(1, lower.len() - 1));
        boxes.extend([lower, upper]);
    }
    let whole = |sums: &Vec<Sum>| {
        let mut all = Sum::default();
        for sum in sums {
            all.count += sum.count;
            all.channels.iter_mut().zip(sum.channels).for_each(|(all, v)| *all += v);
        }
        all.mean()
    };
    let colors: Vec<[u8; 3]> = boxes.iter().map(whole).collect();
    let nearest = |cell: usize| {
        let middle = |shift: u32| ((cell >> (shift * KEPT_BITS) & 31) << 3) as i32 + 4;
        let place = [middle(2), middle(1), middle(0)];
        let distance = |color: &[u8; 3]| color.iter().zip(place).map(|(&v, p)| (i32::from(v) - p).pow(2)).sum::<i32>();
        (0..colors.len()).min_by_key(|&i| distance(&colors[i])).unwrap_or(0) as u8
    };
    let index_of = (0..CELLS).map(nearest).collect();
    (colors, index_of)
}

fn cost(sums: &[Sum]) -> u64 {
    let (_, length) = longest_side(sums);
    sums.iter().map(|sum| sum.count).sum::<u64>() * u64::from(length) * u64::from(length)
}

/// The channel that spans most, and how much.
fn longest_side(sums: &[Sum]) -> (usize, u8) {
    let mut side = (0, 0);
    for channel in 0..3 {
        let values = sums.iter().map(|sum| sum.mean()[channel]);
        let span = values.clone().max().unwrap_or(0) - values.min().unwrap_or(0);
        if span > side.1 {
            side = (channel, span);
        }
    }
    side
}

/// GIF's variant of LZW: codes of growing length, lowest bit first, the dictionary emptied when it is full.
fn compressed(indices: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut out = Bits::default();
    let mut known: HashMap<(u16, u8), u16> = HashMap::new();
    let (mut next, mut bits) = (END + 1, CODE_BITS + 1);
    out.push(CLEAR, bits);
    let mut current: Option<u16> = None;
    for index in indices {
        let Some(prefix) = current else {
            current = Some(u16::from(index));
            continue;
        };
        if let Some(&code) = known.get(&(prefix, index)) {
            current = Some(code);
            continue;
        }
        out.push(prefix, bits);
        current = Some(u16::from(index));
        if next == CODES_MAX {
            out.push(CLEAR, bits);
            known.clear();
            (next, bits) = (END + 1, CODE_BITS + 1);
            continue;
        }
        known.insert((prefix, index), next);
        // The reader knows a code one step later than we do, so the codes grow when the next one would not fit.
        if u32::from(next) == 1 << bits {
            bits += 1;
        }
        next += 1;
    }
    if let Some(code) = current {
        out.push(code, bits);
    }
    out.push(END, bits);
    out.bytes()
}

#[derive(Default)]
struct Bits {
    whole: Vec<u8>,
    waiting: u32,
    count: u32,
}

impl Bits {
    fn push(&mut self, code: u16, bits: u32) {
        self.waiting |= u32::from(code) << self.count;
        self.count += bits;
        while self.count >= 8 {
            self.whole.push(self.waiting as u8);
            self.waiting >>= 8;
            self.count -= 8;
        }
    }

    fn bytes(mut self) -> Vec<u8> {
        if self.count > 0 {
            self.whole.push(self.waiting as u8);
        }
        self.whole
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    /// A reader of the codes, written from the format's description.
    fn expanded(bytes: &[u8]) -> Vec<u8> {
        let (mut at, mut bits) = (0, 9_u32);
        let mut take = |bits: u32| {
            let code =
                (0..bits).fold(0_usize, |code, i| code | usize::from(bytes[(at + i as usize) / 8] >> ((at + i as usize) % 8) & 1) << i);
            at += bits as usize;
            code
        };
        let (mut table, mut last, mut out): (Vec<Vec<u8>>, Option<Vec<u8>>, Vec<u8>) = (Vec::new(), None, Vec::new());
        loop {
            let code = take(bits);
            if code == 256 {
                table = (0..258).map(|i| if i < 256 { vec![i as u8] } else { Vec::new() }).collect();
                (last, bits) = (None, 9);
                continue;
            }
            if code == 257 {
                return out;
            }
            let entry = match (&last, table.get(code)) {
                (_, Some(entry)) => entry.clone(),
                (Some(last), None) if code == table.len() => [&last[..], &last[..1]].concat(),
                _ => panic!("code {code} of {}", table.len()),
            };
            if let Some(last) = last
                && table.len() < 4096
            {
                table.push([&last[..], &entry[..1]].concat());
            }
            if table.len() == 1 << bits && bits < 12 {
                bits += 1;
            }
            out.extend_from_slice(&entry);
            last = Some(entry);
        }
    }

    #[test]
    fn what_is_compressed_comes_back() {
        let noise: Vec<u8> = (0..60_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let waves: Vec<u8> = (0..90_000_u32).map(|i| (127.0 + 100.0 * (i as f32 / 37.0).sin()) as u8).collect();
        for indices in [Vec::new(), vec![7], vec![7; 5000], noise, waves] {
            assert!(expanded(&compressed(indices.iter().copied())) == indices, "{} indices", indices.len());
        }
    }

    #[test]
    fn few_colors_stay_and_many_come_near() {
        let few = RgbImage::from_fn(64, 48, |x, y| Rgb([if x < 32 { 250 } else { 20 }, if y < 24 { 200 } else { 30 }, 90]));
        let (colors, _) = palette(std::slice::from_ref(&few));
        assert_eq!(colors.len(), 4);
        assert!(colors.contains(&[250, 200, 90]) && colors.contains(&[20, 30, 90]), "{colors:?}");
        let many = RgbImage::from_fn(256, 256, |x, y| Rgb([x as u8, y as u8, ((x + y) / 2) as u8]));
        let (colors, index_of) = palette(std::slice::from_ref(&many));
        assert_eq!(colors.len(), 256);
        let error = |pixel: &Rgb<u8>| {
            let found = colors[usize::from(index_of[cell(pixel.0)])];
            found.iter().zip(pixel.0).map(|(&f, v)| f64::from(f.abs_diff(v))).sum::<f64>() / 3.0
        };
        let mean = many.pixels().map(error).sum::<f64>() / many.pixels().len() as f64;
        assert!(mean < 8.0, "{mean}");
    }

    #[test]
    fn a_file_has_its_frames_and_odd_ones_are_refused() {
        let frame = |value: u8, width: u32| RgbImage::from_pixel(width, 4, Rgb([value; 3]));
        let bytes = encode(&[frame(10, 6), frame(200, 6), frame(90, 6)], 13).unwrap();
        assert!(bytes.starts_with(b"GIF89a\x06\0\x04\0") && bytes.ends_with(&[0, 0x3B]));
        assert_eq!(bytes.windows(4).filter(|w| w == b"\x21\xF9\x04\0").count(), 3);
        assert!(encode(&[], 13).is_err());
        assert!(encode(&[frame(1, 6), frame(1, 7)], 13).unwrap_err().to_string().contains("7x4"));
        assert!(encode(&[frame(1, 70_000)], 13).is_err());
    }
}
