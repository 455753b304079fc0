//! A true picture in all the forms that figures need.

use autochrome_model::color::{lab_to_srgb, luma, srgb_to_lab};
use autochrome_model::{Chroma, Plane};

/// A picture whose colors are known.
#[derive(Clone, Debug)]
pub struct TruePicture {
    /// `width * height * 3` bytes, RGB.
    pub rgb: Vec<u8>,
    /// Its luma, as a camera without color sees it.
    pub grey: Plane<u8>,
    /// L*, 0 to 100.
    pub lightness: Plane<f32>,
    /// ab, Lab units.
    pub chroma: Chroma,
}

impl TruePicture {
    /// Of tight RGB.
    pub fn new(rgb: &[u8], width: usize, height: usize) -> Self {
        let mut planes = [const { Vec::new() }; 3];
        for p in rgb.chunks_exact(3) {
            planes.iter_mut().zip(srgb_to_lab([p[0], p[1], p[2]])).for_each(|(plane, v)| plane.push(v));
        }
        let [l, a, b] = planes.map(|plane| Plane::from_vec(width, height, plane));
        Self { rgb: rgb.to_vec(), grey: grey_luma(rgb, width, height), lightness: l, chroma: Chroma { a, b } }
    }

    /// Pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.grey.width, self.grey.height)
    }

    /// Its own L* with these ab, as 8-bit RGB.
    pub fn colored(&self, chroma: &Chroma) -> Vec<u8> {
        let pixels = self.lightness.data.iter().zip(chroma.a.data.iter().zip(&chroma.b.data));
        pixels.flat_map(|(&l, (&a, &b))| lab_to_srgb([l, a, b])).collect()
    }

    /// Its own L* alone, as 8-bit RGB.
    pub fn without_color(&self) -> Vec<u8> {
        self.lightness.data.iter().flat_map(|&l| lab_to_srgb([l, 0.0, 0.0])).collect()
    }
}

/// An RGB frame as a camera without color would have seen it: rounded Rec. 601 luma.
pub fn grey_luma(rgb: &[u8], width: usize, height: usize) -> Plane<u8> {
    Plane::from_vec(width, height, rgb.chunks_exact(3).map(|p| luma([p[0], p[1], p[2]]).round() as u8).collect())
}
