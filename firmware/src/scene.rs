//! What the light in front of the camera allows: color, less of it, or only a tint.
//!
//! A dark frame is mostly noise, and by infrared light things do not have their colors' greys; a network that is asked anyway invents
//! something. So the color of a dark scene fades, and in the night it gives way to one quiet tint. All of it goes by the frames' own clock
//! and slowly, so that neither a flash nor a switched light makes the colors jump.

use std::time::Duration;

use autochrome_model::{LumaRange, Plane, color};

/// What becomes of the color at night.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Night {
    /// A scene that stays dark is one at night.
    #[default]
    Auto,
    /// It is never night.
    Off,
    /// It is night until somebody says otherwise: for a camera that sees by infrared light, which no picture tells.
    On,
}

/// What is decided beforehand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SceneSettings {
    /// When it is night.
    pub night: Night,
    /// Whether the color of a dark scene fades.
    pub dark_fade: bool,
}

impl Default for SceneSettings {
    fn default() -> Self {
        Self { night: Night::Auto, dark_fade: true }
    }
}

/// How a frame should be colored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Light {
    /// The factor on the chroma, 0 to 1.
    pub chroma: f32,
    /// How much of the night's tint there is, 0 to 1.
    pub tint: f32,
}

/// The night's tint as (a*, b*): the cool side of neutral, too weak to pass for a guess at a thing's color.
pub const NIGHT_TINT: (f32, f32) = (-3.0, -9.0);

/// The mean lightness (L*, 0 to 100) at and below which no color is left, and at and above which all of it is. The photographs and clips
/// that the shipped models learned from are brighter: of 400 taken at random, one lies below the latter, and the darkest hundredth at 19.
const DARK: (f32, f32) = (4.0, 12.0);
/// Night falls when the mean lightness has been below the first for a while, and ends when it has been above the second for a while: far
/// apart, so that a scene at the border does not flicker between them.
const NIGHT: (f32, f32) = (8.0, 14.0);
const NIGHT_AFTER: Duration = Duration::from_secs(3);
/// How long chroma and tint take from nothing to all.
const FADE: Duration = Duration::from_secs(1);
/// Every so many-th pixel and row is looked at: some thousands of a picture's pixels know its mean to a fraction of a code.
const STEP: usize = 8;

/// Watches the light.
#[derive(Debug)]
pub struct Scene {
    settings: SceneSettings,
    range: LumaRange,
    lightness: [f32; 256],
    /// Where chroma and tint stand, at that time.
    now: Option<(Light, Duration)>,
    night: bool,
    /// Since when the light has spoken against `night`.
    against_since: Option<Duration>,
}

impl Scene {
    /// Nothing seen yet.
    pub fn new(settings: SceneSettings) -> Self {
        let range = LumaRange::Full;
        Self { settings, range, lightness: color::lightness_table(range), now: None, night: false, against_since: None }
    }

    /// Forgets what was seen: the next frame has nothing to do with the last one.
    pub fn reset(&mut self) {
        *self = Self::new(self.settings);
    }

    /// How to color a frame that came `at` this time of the source's clock. With `is_night` it is night, whatever the frame says.
    pub fn look(&mut self, luma: &Plane<u8>, range: LumaRange, at: Duration, is_night: bool) -> Light {
        if self.range != range {
            (self.range, self.lightness) = (range, color::lightness_table(range));
        }
        let level = self.level(luma);
        self.fall_or_end(level, at);
        let share = ((level - DARK.0) / (DARK.1 - DARK.0)).clamp(0.0, 1.0);
        let day = if self.settings.dark_fade { share * share * (3.0 - 2.0 * share) } else { 1.0 };
        let wanted = if self.night || is_night { Light { chroma: 0.0, tint: 1.0 } } else { Light { chroma: day, tint: 0.0 } };
        let now = match self.now {
            None => wanted,
            Some((now, before)) => {
                let most = at.saturating_sub(before).as_secs_f32() / FADE.as_secs_f32();
                let toward = |now: f32, wanted: f32| now + (wanted - now).clamp(-most, most);
                Light { chroma: toward(now.chroma, wanted.chroma), tint: toward(now.tint, wanted.tint) }
            }
        };
        self.now = Some((now, at));
        now
    }

    fn fall_or_end(&mut self, level: f32, at: Duration) {
        match self.settings.night {
            Night::Off => self.night = false,
            // Said by the setting, not seen here.
            Night::On => {}
            Night::Auto => {
                let against = if self.night { level > NIGHT.1 } else { level < NIGHT.0 };
                if !against {
                    self.against_since = None;
                } else if at.saturating_sub(*self.against_since.get_or_insert(at)) >= NIGHT_AFTER {
                    self.night = !self.night;
                    self.against_since = None;
                }
            }
        }
    }

    /// The mean L* of a frame.
    fn level(&self, luma: &Plane<u8>) -> f32 {
        let (mut sum, mut count) = (0.0, 0_u32);
        for y in (0..luma.height).step_by(STEP) {
            for &code in luma.row(y).iter().step_by(STEP) {
                sum += self.lightness[usize::from(code)];
                count += 1;
            }
        }
        sum / count.max(1) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Light = Light { chroma: 1.0, tint: 0.0 };
    const DEEP_NIGHT: Light = Light { chroma: 0.0, tint: 1.0 };

    /// Shows frames of these codes, 25 a second, each for so many seconds; returns the light at the end of each.
    fn watch(settings: SceneSettings, codes: &[(u8, f32)]) -> Vec<Light> {
        let mut scene = Scene::new(settings);
        let mut frame = 0;
        let mut show = |&(code, seconds): &(u8, f32)| {
            let mut light = DAY;
            for _ in 0..(seconds * 25.0) as u32 {
                light = scene.look(&Plane::filled(64, 48, code), LumaRange::Full, Duration::from_millis(40 * frame), false);
                frame += 1;
            }
            light
        };
        codes.iter().map(&mut show).collect()
    }

    #[test]
    fn color_fades_with_the_light_and_night_falls_after_a_while() {
        let auto = SceneSettings::default();
        // Code 5 is L* 1.4, code 25 is 8.8, code 30 is 11, code 120 is 50.
        assert_eq!(
            watch(auto, &[(120, 1.0), (5, 2.0), (5, 4.0), (120, 2.0), (120, 3.0)]),
            [DAY, Light { chroma: 0.0, tint: 0.0 }, DEEP_NIGHT, DEEP_NIGHT, DAY]
        );
        let dim = watch(auto, &[(25, 9.0)])[0];
        assert!(dim.tint == 0.0 && (0.3..0.9).contains(&dim.chroma), "{dim:?}");
        // Between the two borders the night stays as it is.
        assert_eq!(watch(auto, &[(5, 5.0), (30, 9.0)])[1], DEEP_NIGHT);
    }

    #[test]
    fn a_flash_and_a_moment_of_darkness_leave_the_color() {
        let lights = watch(SceneSettings::default(), &[(120, 1.0), (255, 0.04), (120, 1.0), (0, 0.08), (120, 0.2)]);
        assert!(lights.iter().all(|light| light.tint == 0.0 && light.chroma > 0.9), "{lights:?}");
    }

    #[test]
    fn what_was_decided_beforehand_holds() {
        let off = SceneSettings { night: Night::Off, dark_fade: false };
        assert_eq!(watch(off, &[(0, 20.0)]), [DAY]);
        let mut scene = Scene::new(SceneSettings::default());
        assert_eq!(scene.look(&Plane::filled(8, 8, 200), LumaRange::Full, Duration::ZERO, true), DEEP_NIGHT);
    }

    #[test]
    fn limited_range_black_is_dark() {
        let mut scene = Scene::new(SceneSettings::default());
        assert_eq!(scene.look(&Plane::filled(8, 8, 20), LumaRange::Limited, Duration::ZERO, false).chroma, 0.0);
    }
}
