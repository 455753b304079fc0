//! Pictures as they are packed: decoded, upright, shrunk by area averaging, and never enlarged.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use autochrome_model::color::srgb_to_lab;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use rayon::prelude::*;

use super::folders::{is_picture, list};

/// A photograph none of whose pixels is farther than this from the grey axis, in a* or b*, is grey (as in the training of Zhang et al. 2016).
const GREY_LIMIT: f32 = 5.0;

/// The largest picture that is read: above what cameras give, and far below what a few kilobytes of PNG can claim to be.
const MOST_PIXELS: u64 = 100_000_000;

/// Consecutive frames of one size, back to back.
pub(in crate::data) struct Frames {
    pub(in crate::data) width: u32,
    pub(in crate::data) height: u32,
    pub(in crate::data) rgb: Vec<u8>,
}

impl Frames {
    pub(in crate::data) fn frame_bytes(&self) -> usize {
        self.width as usize * self.height as usize * 3
    }

    /// One frame, shrunk until its shorter side is at most `short_side`.
    pub(in crate::data) fn shrunk(self, short_side: u32) -> Self {
        shrink(self, short_side)
    }
}

/// Decodes one JPEG or PNG, turned as its EXIF says.
///
/// # Errors
/// If it cannot be read, is no picture, is cut off, has no pixels, or has more of them than 100 million. Memory is taken only after its size is known.
pub(crate) fn open_picture(path: &Path) -> Result<RgbImage> {
    let what = || format!("decode {}", path.display());
    let reader = ImageReader::open(path).with_context(|| format!("open {}", path.display()))?;
    // By content: a PNG that is called .jpg is common in collections.
    let reader = reader.with_guessed_format().with_context(|| format!("read {}", path.display()))?;
    if reader.format() == Some(ImageFormat::Jpeg) {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let whole = has_end(BufReader::new(file)).with_context(|| format!("read {}", path.display()))?;
        ensure!(whole, "decode {}: the JPEG is cut off, it has no end; fetch or make it again", path.display());
    }
    let mut decoder = reader.into_decoder().with_context(what)?;
    let (width, height) = decoder.dimensions();
    ensure!(width > 0 && height > 0, "decode {}: the picture is {width}x{height}", path.display());
    ensure!(
        u64::from(width) * u64::from(height) <= MOST_PIXELS,
        "decode {}: the picture is {width}x{height}; at most {} million pixels are read, shrink it first",
        path.display(),
        MOST_PIXELS / 1_000_000
    );
    // A decoder counts what it takes itself, and not the picture that it fills.
    let mut limits = Limits::default();
    limits.reserve(decoder.total_bytes()).with_context(what)?;
    decoder.set_limits(limits).with_context(what)?;
    // Broken EXIF is no reason to lose the picture.
    let orientation = decoder.orientation().ok();
    let mut picture = DynamicImage::from_decoder(decoder).with_context(what)?;
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    Ok(picture.into_rgb8())
}

/// Whether a JPEG has its end-of-image marker. Where one is cut off decoders paint the rest grey, and say nothing.
fn has_end(mut jpeg: impl BufRead) -> std::io::Result<bool> {
    loop {
        // Compressed data has no marker in it but those of restarts: its own 0xFF are followed by 0.
        if jpeg.skip_until(0xFF)? == 0 {
            return Ok(false);
        }
        let mut marker = [0xFF];
        while marker[0] == 0xFF {
            if jpeg.read(&mut marker)? == 0 {
                return Ok(false);
            }
        }
        match marker[0] {
            // What has no segment behind it: the escaped 0xFF, a temporary marker, restarts and the beginning.
            0x00 | 0x01 | 0xD0..=0xD8 => {}
            0xD9 => return Ok(true),
            // A segment, which begins with its own length. A thumbnail in it has an end of its own.
            _ => {
                let mut length = Vec::new();
                (&mut jpeg).take(2).read_to_end(&mut length)?;
                let Ok(length) = <[u8; 2]>::try_from(length) else { return Ok(false) };
                std::io::copy(&mut (&mut jpeg).take(u64::from(u16::from_be_bytes(length).saturating_sub(2))), &mut std::io::sink())?;
            }
        }
    }
}

/// [`open_picture`], shrunk.
pub(in crate::data) fn read_picture(path: &Path, short_side: u32) -> Result<Frames> {
    let picture = open_picture(path)?;
    let (width, height) = picture.dimensions();
    Ok(shrink(Frames { width, height, rgb: picture.into_raw() }, short_side))
}

/// The pictures of one folder as the frames of a clip, decoded piece by piece: it may be a whole film.
pub(in crate::data) struct ClipPictures {
    paths: Vec<PathBuf>,
    short_side: u32,
    read: usize,
    /// What every frame's size has to be, as the first one's is.
    size: Option<(u32, u32)>,
}

impl ClipPictures {
    /// The pictures of `folder` in name order.
    ///
    /// # Errors
    /// If it cannot be listed or holds no pictures.
    pub(in crate::data) fn open(folder: &Path, short_side: u32) -> Result<Self> {
        let mut paths = list(folder)?;
        paths.retain(|path| is_picture(path));
        ensure!(!paths.is_empty(), "{} holds no pictures", folder.display());
        Ok(Self { paths, short_side, read: 0, size: None })
    }

    /// The next frames, at most `count`, none at the end; and what is wrong with the picture behind them, with which the clip ends.
    pub(in crate::data) fn read(&mut self, count: usize) -> (Frames, Option<anyhow::Error>) {
        let end = self.paths.len().min(self.read + count);
        let decoded: Vec<Result<Frames>> = self.paths[self.read..end].par_iter().map(|path| read_picture(path, self.short_side)).collect();
        let mut frames = Frames { width: 0, height: 0, rgb: Vec::new() };
        for (path, frame) in self.paths[self.read..end].iter().zip(decoded) {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => return (frames, Some(error)),
            };
            let found = (frame.width, frame.height);
            let size = *self.size.get_or_insert(found);
            if found != size {
                let [first, path] = [&self.paths[0], path].map(|path| path.display());
                let error = anyhow!(
                    "{path} is {}x{} (shrunk), {first} is {}x{}: the frames of a clip must have one size",
                    found.0,
                    found.1,
                    size.0,
                    size.1
                );
                return (frames, Some(error));
            }
            (frames.width, frames.height) = size;
            frames.rgb.extend_from_slice(&frame.rgb);
        }
        self.read = end;
        (frames, None)
    }
}

/// The size whose shorter side is at most `short_side`, aspect kept.
pub(in crate::data) fn shrunk_size(width: u32, height: u32, short_side: u32) -> (u32, u32) {
    let short = width.min(height);
    if short <= short_side {
        return (width, height);
    }
    let scaled = |side: u32| ((f64::from(side) * f64::from(short_side) / f64::from(short)).round() as u32).max(1);
    (scaled(width), scaled(height))
}

/// Shrinks one frame by area averaging, which neither aliases nor rings. Gamma-coded values are averaged, as cameras and codecs do.
fn shrink(frame: Frames, short_side: u32) -> Frames {
    let (width, height) = shrunk_size(frame.width, frame.height, short_side);
    if (width, height) == (frame.width, frame.height) {
        return frame;
    }
    let columns = spans(frame.width, width);
    let rows = spans(frame.height, height);
    let source_row = frame.width as usize * 3;
    let row = width as usize * 3;
    let mut rgb = vec![0; row * height as usize];
    let mut line = vec![0.0f32; row];
    for (y, span) in rows.iter().enumerate() {
        line.fill(0.0);
        for (source_y, row_weight) in span.weights() {
            let source = &frame.rgb[source_y * source_row..][..source_row];
            for (pixel, column) in line.chunks_exact_mut(3).zip(&columns) {
                for (x, weight) in column.weights() {
                    for (sum, &value) in pixel.iter_mut().zip(&source[x * 3..x * 3 + 3]) {
                        *sum += row_weight * weight * f32::from(value);
                    }
                }
            }
        }
        for (out, &value) in rgb[y * row..(y + 1) * row].iter_mut().zip(&line) {
            *out = (value + 0.5) as u8;
        }
    }
    Frames { width, height, rgb }
}

/// The source pixels under one output pixel: the first and the last are covered in part.
struct Span {
    first: usize,
    count: usize,
    first_weight: f32,
    inner_weight: f32,
    last_weight: f32,
}

impl Span {
    fn weights(&self) -> impl Iterator<Item = (usize, f32)> + '_ {
        (0..self.count).map(|i| {
            let weight = match i {
                0 => self.first_weight,
                i if i + 1 == self.count => self.last_weight,
                _ => self.inner_weight,
            };
            (self.first + i, weight)
        })
    }
}

fn spans(source: u32, target: u32) -> Vec<Span> {
    let scale = f64::from(source) / f64::from(target);
    (0..target)
        .map(|i| {
            let begin = f64::from(i) * scale;
            let end = (begin + scale).min(f64::from(source));
            let first = begin.floor();
            // Not one pixel more for a rounding error.
            let last = (end - 1e-6).floor().max(first);
            let covered = |pixel: f64| (end.min(pixel + 1.0) - begin.max(pixel)) / (end - begin);
            Span {
                first: first as usize,
                count: (last - first) as usize + 1,
                first_weight: covered(first) as f32,
                inner_weight: (1.0 / (end - begin)) as f32,
                last_weight: covered(last) as f32,
            }
        })
        .collect()
}

/// Mean of sqrt(a*² + b*²) over about two thousand pixels of a frame.
pub(in crate::data) fn mean_chroma(rgb: &[u8]) -> f32 {
    let pixels = rgb.len() / 3;
    // An odd step does not walk along a column.
    let step = (pixels / 2000).max(1) | 1;
    let (mut sum, mut count) = (0.0, 0);
    for pixel in rgb.chunks_exact(3).step_by(step) {
        let [_, a, b] = srgb_to_lab([pixel[0], pixel[1], pixel[2]]);
        sum += a.hypot(b);
        count += 1;
    }
    if count == 0 { 0.0 } else { sum / count as f32 }
}

/// Whether a frame has no color anywhere: a grey scan among color photographs would teach that its objects are grey.
pub(in crate::data) fn is_grey(rgb: &[u8]) -> bool {
    rgb.chunks_exact(3).all(|pixel| {
        // Most pixels of a grey photograph have three equal values; only the others need Lab.
        let [_, a, b] = if pixel[0] == pixel[1] && pixel[1] == pixel[2] {
            return true;
        } else {
            srgb_to_lab([pixel[0], pixel[1], pixel[2]])
        };
        a.abs() <= GREY_LIMIT && b.abs() <= GREY_LIMIT
    })
}

#[cfg(test)]
mod tests {
    use super::super::test_pictures::picture;
    use super::*;

    #[test]
    fn a_clip_is_read_in_pieces_and_ends_before_a_picture_of_another_size() {
        let folder = tempfile::tempdir().unwrap();
        let clip = folder.path().join("odd");
        std::fs::create_dir(&clip).unwrap();
        for number in 1..=3 {
            picture(40, 30, number).save(clip.join(format!("{number}.png"))).unwrap();
        }
        picture(42, 30, 1).save(clip.join("4.png")).unwrap();
        let mut pictures = ClipPictures::open(&clip, 48).unwrap();
        let (first, error) = pictures.read(2);
        assert!(error.is_none() && first.rgb == [picture(40, 30, 1).into_raw(), picture(40, 30, 2).into_raw()].concat());
        let (second, error) = pictures.read(2);
        let message = error.unwrap().to_string();
        assert_eq!((second.width, second.height, second.rgb), (40, 30, picture(40, 30, 3).into_raw()));
        assert!(message.contains("4.png is 42x30") && message.contains("one size"), "{message}");
        assert!(ClipPictures::open(folder.path(), 48).err().unwrap().to_string().contains("holds no pictures"));
    }

    #[test]
    fn a_picture_that_claims_to_be_huge_is_refused_by_its_head() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("huge.jpg");
        picture(32, 24, 1).save(&file).unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        // A start of frame: marker, length, precision, height, width.
        let frame = bytes.windows(4).position(|window| window == [0xff, 0xc0, 0x00, 0x11]).unwrap();
        bytes[frame + 5..frame + 9].copy_from_slice(&[20_000_u16.to_be_bytes(), 30_000_u16.to_be_bytes()].concat());
        std::fs::write(&file, bytes).unwrap();
        let message = format!("{:#}", open_picture(&file).unwrap_err());
        assert!(message.contains("huge.jpg: the picture is 30000x20000") && message.contains("100 million"), "{message}");
    }

    #[test]
    fn a_jpeg_that_is_cut_off_is_refused_and_a_thumbnails_end_is_not_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cut.jpg");
        picture(160, 120, 1).save(&file).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        // Behind the beginning a segment with an end of image in it, as EXIF's has; at the end what some cameras append.
        let with_thumbnail = [&bytes[..2], &[0xff, 0xe1, 0, 6, 0xff, 0xd9, 7, 7], &bytes[2..], b"more"].concat();
        let opened = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            open_picture(&file)
        };
        assert_eq!(opened(&with_thumbnail).unwrap(), opened(&bytes).unwrap());
        for length in [bytes.len() / 2, bytes.len() - 2, bytes.len() - 1] {
            let message = format!("{:#}", opened(&with_thumbnail[..length + 8]).unwrap_err());
            assert!(message.contains("cut.jpg: the JPEG is cut off"), "{length}: {message}");
        }
    }

    #[test]
    fn shrinking_keeps_the_mean_and_the_aspect() {
        let source = picture(250, 150, 3);
        let mean = |rgb: &[u8]| rgb.iter().map(|&value| f64::from(value)).sum::<f64>() / rgb.len() as f64;
        let small = shrink(Frames { width: 250, height: 150, rgb: source.as_raw().clone() }, 60);
        assert_eq!((small.width, small.height), (100, 60));
        // Every source pixel has the same weight, so that only the rounding of the output, half a level at most, moves the mean.
        assert!((mean(&small.rgb) - mean(source.as_raw())).abs() < 0.1);
        let flat = shrink(Frames { width: 250, height: 150, rgb: vec![200; 250 * 150 * 3] }, 49);
        assert!(flat.rgb.iter().all(|&value| value == 200));
        assert_eq!(shrunk_size(100, 48, 48), (100, 48));
        assert_eq!(shrunk_size(30, 100, 48), (30, 100));
    }

    #[test]
    fn a_grey_photograph_is_one_without_any_color() {
        let grey: Vec<u8> = (0..=255).flat_map(|value| [value; 3]).collect();
        assert!(is_grey(&grey));
        // (128, 128, 133) has b* -2.6: a scanner's tint is no color. (128, 128, 140) has b* -6.1.
        assert!(is_grey(&[grey.clone(), vec![128, 128, 133]].concat()));
        assert!(!is_grey(&[grey, vec![128, 128, 140]].concat()));
    }
}
