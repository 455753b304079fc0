//! Picture files: read upright, written whole or not at all.

use std::path::{Path, PathBuf};

use anyhow::Context;
use image::RgbImage;
use image::imageops::FilterType;

use crate::data;

/// Reads a JPEG or PNG, turned as its EXIF says.
///
/// # Errors
/// If it cannot be read, is no picture, or has more than 100 million pixels.
pub fn open(file: &Path) -> anyhow::Result<RgbImage> {
    data::open_picture(file)
}

/// [`open`], shrunk so that no side is longer than `side`.
///
/// # Errors
/// Those of [`open`].
pub fn open_within(file: &Path, side: u32) -> anyhow::Result<RgbImage> {
    let picture = open(file)?;
    let (width, height) = picture.dimensions();
    let longest = width.max(height);
    if longest <= side.max(1) {
        return Ok(picture);
    }
    let shrunk = |length: u32| ((u64::from(length) * u64::from(side) + u64::from(longest) / 2) / u64::from(longest)).max(1) as u32;
    Ok(image::imageops::resize(&picture, shrunk(width), shrunk(height), FilterType::Triangle))
}

/// The JPEG and PNG files of a folder in the order of their names as a person would read them (`frame2` before `frame10`), hidden ones left
/// out.
///
/// # Errors
/// If the folder cannot be listed.
pub fn list(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = data::list(folder)?;
    files.retain(|path| data::is_picture(path) && path.is_file());
    Ok(files)
}

/// The same picture without its color: rounded Rec. 601 luma, as a camera without color gives it.
pub fn without_color(picture: &RgbImage) -> RgbImage {
    let mut grey = picture.clone();
    for pixel in grey.pixels_mut() {
        pixel.0 = [autochrome_model::color::luma(pixel.0).round() as u8; 3];
    }
    grey
}

/// Whether a picture is worth calling colored: some pixel's |a*| or |b*| is above 5 (Zhang et al. leave pictures without any out).
pub fn is_colored(picture: &RgbImage) -> bool {
    picture.pixels().any(|pixel| {
        let [_, a, b] = autochrome_model::color::srgb_to_lab(pixel.0);
        a.abs() > 5.0 || b.abs() > 5.0
    })
}

/// Writes a PNG; a file of that name is replaced when the new one is whole.
///
/// # Errors
/// If it cannot be encoded or written.
pub fn write_png(file: &Path, picture: &RgbImage) -> anyhow::Result<()> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).with_context(|| format!("encode {}", file.display()))?;
    crate::files::write_atomically(file, bytes.get_ref())
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn pictures_come_back_and_shrink() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.jpg");
        let picture = RgbImage::from_fn(30, 20, |x, y| Rgb([x as u8, y as u8, 77]));
        write_png(&file, &picture).unwrap();
        assert!(open(&file).unwrap() == picture, "a PNG that is called .jpg");
        assert_eq!(open_within(&file, 15).unwrap().dimensions(), (15, 10));
        assert!(open_within(&file, 30).unwrap() == picture);
        std::fs::write(folder.path().join("b.png"), "no picture").unwrap();
        std::fs::write(folder.path().join(".c.png"), "hidden").unwrap();
        std::fs::write(folder.path().join("notes.txt"), "no picture").unwrap();
        assert_eq!(list(folder.path()).unwrap(), [file, folder.path().join("b.png")]);
        for frame in ["frame10.png", "frame9.PNG", "frame1.png"] {
            std::fs::write(folder.path().join(frame), "in order").unwrap();
        }
        let names = list(folder.path()).unwrap().into_iter().skip(2).map(|file| file.file_name().unwrap().to_owned());
        assert_eq!(names.collect::<Vec<_>>(), ["frame1.png", "frame9.PNG", "frame10.png"]);
        assert!(format!("{:#}", open(&folder.path().join("b.png")).unwrap_err()).contains("b.png"));
    }

    #[test]
    fn grey_is_told_from_color() {
        let colored = RgbImage::from_pixel(4, 4, Rgb([120, 130, 110]));
        assert!(is_colored(&colored));
        assert!(!is_colored(&without_color(&colored)));
        // .299 * 120 + .587 * 130 + .114 * 110
        assert_eq!(without_color(&colored).get_pixel(0, 0).0, [125; 3]);
    }
}
