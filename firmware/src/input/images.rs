//! Pictures from files: PNG and JPEG, grey or colored, brought to luma.

use std::cmp::Ordering;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use autochrome_model::Plane;
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageFormat, ImageReader, Limits};

use super::SIDE_MAX;
use super::jpeg::{decode_luma, luma_of_rgb};
use crate::errors::{Exit, Failure, OrFail, Result};

/// The largest picture file that is read.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// Whether a file's name says that it holds a picture that is read here.
pub fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    matches!(extension.as_deref(), Some("png" | "jpg" | "jpeg"))
}

/// The pictures of a folder in the order of their names, numbers in names counted as numbers: `2.png` comes before `10.png`.
///
/// # Errors
/// [`Exit::NoInput`] if the folder cannot be read or holds none.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let attempt = || format!("read folder {}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).or_fail(Exit::NoInput, attempt)? {
        let path = entry.or_fail(Exit::NoInput, attempt)?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if is_image(&path) && !hidden && !path.is_dir() {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(Failure::new(Exit::NoInput, format!("{}: there is no PNG or JPEG in this folder", folder.display())));
    }
    paths.sort_by(|a, b| by_name(&a.to_string_lossy(), &b.to_string_lossy()));
    Ok(paths)
}

/// The luma of a picture file, upright: Y' as a JPEG holds it, the Rec. 601 luma of an RGB picture; full range.
///
/// # Errors
/// [`Exit::NoInput`] if the file cannot be opened, [`Exit::BadData`] if it is not a picture that is read here.
pub fn read_luma(path: &Path) -> Result<Plane<u8>> {
    let name = path.display();
    let attempt = || format!("read {name}");
    let mut bytes = Vec::new();
    // What a pipe or a device holds shows only in reading.
    let read = fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    if read.or_fail(Exit::NoInput, attempt)? as u64 > FILE_BYTES_MAX {
        return Err(Failure::new(Exit::BadData, format!("{name}: more than {FILE_BYTES_MAX} bytes, which are not read")));
    }
    let luma = match image::guess_format(&bytes) {
        Ok(ImageFormat::Jpeg) => upright_jpeg(&bytes),
        Ok(ImageFormat::Png) => png(&bytes).map_err(|error| error.to_string()),
        _ => Err("not a PNG or JPEG".into()),
    };
    luma.map_err(|why| Failure::new(Exit::BadData, format!("{name}: {why}")))
}

fn upright_jpeg(bytes: &[u8]) -> std::result::Result<Plane<u8>, String> {
    let decoded = decode_luma(bytes)?;
    let orientation = decoded.exif.as_deref().and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms);
    let Plane { width, height, data } = decoded.luma;
    let grey = GrayImage::from_raw(width as u32, height as u32, data).ok_or("its size does not fit its data")?;
    let mut picture = DynamicImage::ImageLuma8(grey);
    picture.apply_orientation(orientation);
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    Ok(Plane::from_vec(width, height, picture.into_bytes()))
}

fn png(bytes: &[u8]) -> image::ImageResult<Plane<u8>> {
    let mut reader = ImageReader::with_format(std::io::Cursor::new(bytes), ImageFormat::Png);
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(SIDE_MAX as u32), Some(SIDE_MAX as u32));
    limits.max_alloc = Some(1 << 30);
    reader.limits(limits);
    let picture = reader.decode()?;
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    // The image crate's own way to grey weights the channels as Rec. 709 does. What is transparent is shown.
    let data = if picture.color().has_color() { luma_of_rgb(&picture.into_rgb8().into_raw()) } else { picture.into_luma8().into_raw() };
    Ok(Plane::from_vec(width, height, data))
}

/// Compares names piece by piece, runs of digits by their value.
fn by_name(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    loop {
        let (l, r) = (digits(left), digits(right));
        let order = if l > 0 && r > 0 {
            let strip = |run: &[u8]| run.iter().position(|&d| d != b'0').unwrap_or(run.len());
            let (x, y) = (&left[strip(&left[..l])..l], &right[strip(&right[..r])..r]);
            let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
            (left, right) = (&left[l..], &right[r..]);
            order
        } else {
            let order = left.first().cmp(&right.first());
            if left.is_empty() {
                // Names that differ in leading zeros only still need one order.
                return order.then_with(|| a.cmp(b));
            }
            (left, right) = (&left[1..], right.get(1..).unwrap_or_default());
            order
        };
        if order.is_ne() {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_with_numbers_as_numbers() {
        let ordered = ["", "a.png", "a2.png", "a02.png", "a2b", "a2b1", "a10.png", "a99999999999999999999999.png", "b"];
        for (i, a) in ordered.iter().enumerate() {
            for (j, b) in ordered.iter().enumerate() {
                // Two names that differ in leading zeros only have an order too, whichever.
                if i != j && (i, j) != (2, 3) && (i, j) != (3, 2) {
                    assert_eq!(by_name(a, b), i.cmp(&j), "{a:?} and {b:?}");
                }
            }
        }
        assert!(by_name("a2.png", "a02.png").is_ne());
    }

    #[test]
    fn color_becomes_rec_601_luma_and_grey_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        image::RgbImage::from_raw(3, 1, vec![255, 0, 0, 0, 255, 0, 0, 0, 255]).unwrap().save(&path).unwrap();
        assert_eq!(read_luma(&path).unwrap().data, [76, 150, 29]);
        GrayImage::from_raw(3, 1, vec![1, 128, 254]).unwrap().save(&path).unwrap();
        assert_eq!(read_luma(&path).unwrap().data, [1, 128, 254]);
        image::ImageBuffer::<image::Luma<u16>, _>::from_raw(2, 1, vec![0_u16, 65535]).unwrap().save(&path).unwrap();
        assert_eq!(read_luma(&path).unwrap().data, [0, 255]);
    }

    #[test]
    fn what_is_no_picture_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        assert_eq!(read_luma(&path).unwrap_err().exit, Exit::NoInput);
        for bytes in [b"".as_slice(), b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"] {
            fs::write(&path, bytes).unwrap();
            let failure = read_luma(&path).unwrap_err();
            assert_eq!(failure.exit, Exit::BadData);
            assert!(failure.to_string().contains("a.png: "), "{failure}");
        }
        assert_eq!(list(&folder.path().join("none")).unwrap_err().exit, Exit::NoInput);
        assert_eq!(list(folder.path()).unwrap().len(), 1);
    }
}
