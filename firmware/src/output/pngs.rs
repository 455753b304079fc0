//! A folder of PNGs, one a frame, and the writing of pictures to image files.

use std::path::{Path, PathBuf};

use autochrome_model::{LumaRange, Picture};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageResult};

use crate::coloring::Colored;
use crate::errors::{Exit, OrFail, Result};
use crate::files::{create_folder, write_whole};

/// The quality of JPEG files that are kept.
const JPEG_QUALITY: u8 = 95;

/// A folder that fills with `000000.png`, `000001.png`, and so on.
pub struct Pngs {
    folder: PathBuf,
    count: u64,
}

impl Pngs {
    /// Makes the folder, if it is not there.
    ///
    /// # Errors
    /// [`Exit::CannotCreate`].
    pub fn create(folder: &Path) -> Result<Self> {
        create_folder(folder)?;
        Ok(Self { folder: folder.to_owned(), count: 0 })
    }

    /// Writes a frame.
    ///
    /// # Errors
    /// [`Exit::CannotCreate`] or [`Exit::Broken`].
    pub fn show(&mut self, colored: &Colored) -> Result<()> {
        let path = self.folder.join(format!("{:06}.png", self.count));
        self.count += 1;
        save(&path, &colored.picture, colored.range)
    }
}

/// Writes a picture as JPEG if the file's name says so, else as PNG.
///
/// # Errors
/// [`Exit::CannotCreate`] or [`Exit::Broken`].
pub fn save(path: &Path, picture: &Picture, range: LumaRange) -> Result<()> {
    let (width, height) = (picture.luma.width, picture.luma.height);
    save_rgb(path, width, height, &picture.to_rgb(range))
}

/// Writes RGB pixels as JPEG if the file's name says so, else as PNG.
///
/// # Errors
/// As [`save`].
pub fn save_rgb(path: &Path, width: usize, height: usize, rgb: &[u8]) -> Result<()> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    let is_jpeg = matches!(extension.as_deref(), Some("jpg" | "jpeg"));
    let bytes = if is_jpeg {
        encode_jpeg(rgb, width, height, ExtendedColorType::Rgb8, JPEG_QUALITY)
    } else {
        encode_png(rgb, width, height, ExtendedColorType::Rgb8)
    };
    write_whole(path, &bytes.or_fail(Exit::Other, || format!("encode {}", path.display()))?)
}

/// A PNG of `pixels`.
///
/// # Errors
/// Those of the encoder, which has none for sizes that fit.
pub fn encode_png(pixels: &[u8], width: usize, height: usize, color: ExtendedColorType) -> ImageResult<Vec<u8>> {
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes).write_image(pixels, width as u32, height as u32, color)?;
    Ok(bytes)
}

/// A JPEG of `pixels`.
///
/// # Errors
/// Those of the encoder, which has none for sizes that fit.
pub fn encode_jpeg(pixels: &[u8], width: usize, height: usize, color: ExtendedColorType, quality: u8) -> ImageResult<Vec<u8>> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality).write_image(pixels, width as u32, height as u32, color)?;
    Ok(bytes)
}

/// The luma as a full-range grey picture.
pub fn full_range_luma(picture: &Picture, range: LumaRange) -> Vec<u8> {
    let table: [u8; 256] = std::array::from_fn(|code| (range.to_unit(code as u8) * 255.0).round() as u8);
    picture.luma.data.iter().map(|&code| table[usize::from(code)]).collect()
}
