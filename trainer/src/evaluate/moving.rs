//! What is measured on frames that follow each other: real clips, photographs filmed by a synthetic camera, and a scene that stands still.

use anyhow::Context;
use autochrome_model::planes::resample;
use autochrome_model::{Chroma, Plane};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::colorist::{Colorist, Contestant};
use super::exhibits::Exhibits;
use super::pictures::{TruePicture, grey_luma};
use crate::data::shard::{Item, PackedSet};
use crate::data::still_camera::{MotionConfig, Source, StillCamera, View, sample};
use crate::metrics::{OverTime, WarpError, color_distribution_consistency, histograms, settling};

/// Photographs that are filmed.
const FILMS: usize = 24;
/// Frames of a film.
const FILM_FRAMES: usize = 12;
/// Size of a film's frames.
const FILM_SIZE: (usize, usize) = (192, 144);
/// Photographs that stand still before a noisy camera.
pub(super) const SCENES: usize = 12;
/// Frames of such a scene.
pub(super) const SCENE_FRAMES: usize = 40;
/// Flicker is that of the frames behind these.
pub(super) const SCENE_SETTLING: usize = 10;
/// The frames behind these are the steady state; so this is the longest settling that can be seen.
pub(super) const SCENE_STEADY: usize = 20;
/// Size of the noisy camera's frames.
pub(super) const SCENE_SIZE: (usize, usize) = (640, 480);
/// Its noise, in luma codes.
pub(super) const NOISE_SIGMA: f32 = 5.0;
/// How near to the steady state is near enough, Lab units.
const SETTLED: f64 = 2.0;

/// How the synthetic camera of the films moves: always, and without trembling.
fn film_motion() -> MotionConfig {
    MotionConfig {
        window_min: 0.7,
        window_max: 0.9,
        aspect_max: 1.0,
        flip_share: 0.0,
        tripod_share: 0.0,
        jitter_px: 0.0,
        ..MotionConfig::default()
    }
}

/// Figures of one colorist, or of the truth, on moving pictures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MovingFigures {
    /// On real clips, if there are any.
    pub clips: Option<ClipFigures>,
    /// On photographs filmed by a synthetic camera.
    pub films: FilmFigures,
    /// On scenes that stand still; absent for the truth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scene: Option<SceneFigures>,
}

/// On real clips, those of one frame left out: nothing changes in them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ClipFigures {
    /// How many.
    pub clips: usize,
    /// Color distribution consistency, mean over the clips.
    pub cdc: f64,
}

/// On photographs filmed by a synthetic camera.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct FilmFigures {
    /// How many.
    pub films: usize,
    /// Color distribution consistency, mean over the films.
    pub cdc: f64,
    /// Root of the mean squared ab difference along the exact motion, Lab units.
    pub warp_error: f64,
}

/// On scenes that stand still before a camera with noise of 5 codes at 640x480.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SceneFigures {
    /// How many.
    pub scenes: usize,
    /// Standard deviation of ab over time at the frame's size, Lab units, after 10 frames.
    pub flicker: f64,
    /// The same of the network's own output, where there is a network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flicker_coarse: Option<f64>,
    /// Mean number of frames after a reset before ab stays within 2 units of the steady state, which is the mean of the last 20 of 40 frames:
    /// at most 20 can be seen.
    pub settling_frames: f64,
}

/// Sums over clips, films and scenes.
#[derive(Clone, Debug, Default)]
pub(super) struct MovingTally {
    clips: usize,
    clip_cdc: f64,
    films: usize,
    film_cdc: f64,
    warp: WarpError,
    scenes: usize,
    flicker: f64,
    flicker_coarse: Option<f64>,
    settling: usize,
}

impl MovingTally {
    pub(super) fn figures(&self) -> MovingFigures {
        let (films, scenes) = (self.films.max(1) as f64, self.scenes.max(1) as f64);
        MovingFigures {
            clips: (self.clips > 0).then(|| ClipFigures { clips: self.clips, cdc: self.clip_cdc / self.clips as f64 }),
            films: FilmFigures { films: self.films, cdc: self.film_cdc / films, warp_error: self.warp.root() },
            scene: (self.scenes > 0).then(|| SceneFigures {
                scenes: self.scenes,
                flicker: self.flicker / scenes,
                flicker_coarse: self.flicker_coarse.map(|sum| sum / scenes),
                settling_frames: self.settling as f64 / scenes,
            }),
        }
    }
}

/// How many steps of progress [`measure`] takes.
pub(super) fn steps(exhibits: &Exhibits) -> usize {
    exhibits.clips().len() + exhibits.some_stills(FILMS).len() + exhibits.some_stills(SCENES).len()
}

/// Measures all on the same frames; the first tally is the truth's. `done` is called after each clip, film and scene.
pub(super) fn measure(
    contestants: &mut [Contestant],
    exhibits: &Exhibits,
    mut done: impl FnMut(),
) -> anyhow::Result<(MovingTally, Vec<MovingTally>)> {
    let mut truth = MovingTally::default();
    let mut tallies = vec![MovingTally::default(); contestants.len()];
    for clip in exhibits.clips() {
        let frames: Vec<TruePicture> = (0..clip.frames as usize).map(|frame| exhibits.picture(clip, frame)).collect();
        let Some(of_truth) = true_consistency(&frames) else {
            done();
            continue;
        };
        truth.clips += 1;
        truth.clip_cdc += of_truth;
        contestants.par_iter_mut().zip(&mut tallies).try_for_each(|(contestant, tally)| {
            let colors = colored(&mut *contestant.colorist, &frames).with_context(|| failed(contestant, clip))?;
            tally.clips += 1;
            tally.clip_cdc += consistency(&frames, &colors).unwrap_or(0.0);
            anyhow::Ok(())
        })?;
        done();
    }
    for (number, item) in exhibits.some_stills(FILMS).into_iter().enumerate() {
        let (frames, views) = film(exhibits.set(), item, number as u64);
        let of_truth: Vec<&Chroma> = frames.iter().map(|frame| &frame.chroma).collect();
        truth.films += 1;
        truth.film_cdc += true_consistency(&frames).unwrap_or(0.0);
        add_warp(&mut truth.warp, &of_truth, &views, item);
        contestants.par_iter_mut().zip(&mut tallies).try_for_each(|(contestant, tally)| {
            let colors = colored(&mut *contestant.colorist, &frames).with_context(|| failed(contestant, item))?;
            tally.films += 1;
            tally.film_cdc += consistency(&frames, &colors).unwrap_or(0.0);
            add_warp(&mut tally.warp, &colors.iter().collect::<Vec<_>>(), &views, item);
            anyhow::Ok(())
        })?;
        done();
    }
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for item in exhibits.some_stills(SCENES) {
        let frames = noisy_frames(exhibits.set(), item, &mut rng);
        contestants.par_iter_mut().zip(&mut tallies).try_for_each(|(contestant, tally)| {
            add_scene(tally, &mut *contestant.colorist, &frames).with_context(|| failed(contestant, item))
        })?;
        done();
    }
    Ok((truth, tallies))
}

fn failed(contestant: &Contestant, item: &Item) -> String {
    format!("color {} with {}", item.name, contestant.name)
}

/// The colors of consecutive frames, the state carried along.
pub(super) fn colored(colorist: &mut dyn Colorist, frames: &[TruePicture]) -> anyhow::Result<Vec<Chroma>> {
    colorist.begin();
    frames.iter().map(|frame| colorist.color(&frame.grey)).collect()
}

/// `None` of a single frame.
fn consistency(frames: &[TruePicture], colors: &[Chroma]) -> Option<f64> {
    let cells: Vec<_> = frames.iter().zip(colors).map(|(frame, chroma)| histograms(&frame.colored(chroma))).collect();
    color_distribution_consistency(&cells)
}

fn true_consistency(frames: &[TruePicture]) -> Option<f64> {
    color_distribution_consistency(&frames.iter().map(|frame| histograms(&frame.rgb)).collect::<Vec<_>>())
}

/// Along the motion that is known: what `photograph` shows, and not what is mirrored beyond its edges.
fn add_warp(warp: &mut WarpError, colors: &[&Chroma], views: &[View], photograph: &Item) {
    for (pair, views) in colors.windows(2).zip(views.windows(2)) {
        let [to_x, to_y] = views[0].seen_from(&views[1]);
        warp.add(pair[0], pair[1], |x, y| {
            let (x, y) = (x as f64 + 0.5, y as f64 + 0.5);
            let to = |[along_x, along_y, shift]: [f64; 3]| (along_x * x + along_y * y + shift - 0.5) as f32;
            views[0].is_inside(x, y, photograph.width, photograph.height).then(|| (to(to_x), to(to_y)))
        });
    }
}

/// A photograph as a moving camera films it, and where each frame looked.
fn film(set: &PackedSet, item: &Item, number: u64) -> (Vec<TruePicture>, Vec<View>) {
    let mut rng = ChaCha8Rng::seed_from_u64(number);
    let (width, height) = FILM_SIZE;
    let camera = StillCamera::sample(&film_motion(), (item.width, item.height), FILM_SIZE, true, &mut rng);
    let source = Source { rgb: set.picture(item), width: item.width, height: item.height };
    let views: Vec<View> = (0..FILM_FRAMES).map(|frame| camera.view(frame, &mut rng)).collect();
    let frames = views.iter().map(|view| {
        let mut rgb = vec![0; width * height * 3];
        sample(source, view, width, height, &mut rgb);
        TruePicture::new(&rgb, width, height)
    });
    (frames.collect(), views)
}

/// A photograph that stands still before a camera with noise.
pub(super) fn noisy_frames(set: &PackedSet, item: &Item, rng: &mut ChaCha8Rng) -> Vec<Plane<u8>> {
    let small = grey_luma(set.picture(item), item.width as usize, item.height as usize);
    let clean = resample(&small, f32::from, SCENE_SIZE);
    let frame = |_| {
        let noisy = clean.data.iter().map(|v| (v + NOISE_SIGMA * gaussian(rng)).round().clamp(0.0, 255.0) as u8).collect();
        Plane::from_vec(SCENE_SIZE.0, SCENE_SIZE.1, noisy)
    };
    (0..SCENE_FRAMES).map(frame).collect()
}

/// A standard normal value, near enough: the sum of twelve uniform ones has its mean, variance and nearly its shape.
fn gaussian(rng: &mut ChaCha8Rng) -> f32 {
    (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0
}

fn add_scene(tally: &mut MovingTally, colorist: &mut dyn Colorist, frames: &[Plane<u8>]) -> anyhow::Result<()> {
    colorist.begin();
    let (mut shown, mut coarse) = (OverTime::default(), OverTime::default());
    let (mut steady, mut first) = (OverTime::default(), Vec::new());
    for (number, frame) in frames.iter().enumerate() {
        let chroma = colorist.color(frame)?;
        if number >= SCENE_SETTLING {
            shown.add(&chroma);
            if let Some(chroma) = colorist.coarse() {
                coarse.add(&chroma);
                tally.flicker_coarse.get_or_insert(0.0);
            }
        }
        if number < SCENE_STEADY {
            first.push(chroma);
        } else {
            steady.add(&chroma);
        }
    }
    tally.scenes += 1;
    tally.flicker += shown.deviation();
    if let Some(sum) = &mut tally.flicker_coarse {
        *sum += coarse.deviation();
    }
    let distances: Vec<f64> = first.iter().map(|chroma| steady.distance_from_mean(chroma)).collect();
    tally.settling += settling(&distances, SETTLED);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use super::*;
    use crate::data::shard::test_sets::{grey_set, small_set};
    use crate::data::split::Split;

    /// Colors everything at once, then fades: what a network does whose state settles slowly.
    struct Fading(f32);

    impl Colorist for Fading {
        fn begin(&mut self) {
            self.0 = 32.0;
        }

        fn color(&mut self, grey: &Plane<u8>) -> anyhow::Result<Chroma> {
            self.0 /= 2.0;
            let plane = Plane::filled(grey.width, grey.height, self.0);
            Ok(Chroma { a: plane.clone(), b: Plane::filled(grey.width, grey.height, 0.0) })
        }
    }

    #[test]
    fn a_state_that_halves_settles_when_it_is_within_two_units() {
        let mut tally = MovingTally::default();
        let frames = vec![Plane::filled(8, 8, 9); SCENE_FRAMES];
        add_scene(&mut tally, &mut Fading(1.0), &frames).unwrap();
        // 16, 8, 4, 2, 1: the fourth frame is within 2 of nothing.
        let scene = tally.figures().scene.unwrap();
        assert_eq!(scene.settling_frames, 3.0);
        assert_eq!(scene.flicker_coarse, None);
        // Of the frames 10 to 39, which are 2^(4-n): the deviation of a*, and none of b*.
        assert!((scene.flicker - 0.001_562_5).abs() < 1e-6, "{}", scene.flicker);
    }

    /// Colors by what it sees, and twice as much before it is grown to the frame's size.
    struct Seeing(Option<Plane<u8>>);

    impl Colorist for Seeing {
        fn begin(&mut self) {}

        fn color(&mut self, grey: &Plane<u8>) -> anyhow::Result<Chroma> {
            self.0 = Some(grey.clone());
            let a = Plane::from_vec(grey.width, grey.height, grey.data.iter().map(|&luma| f32::from(luma)).collect());
            Ok(Chroma { a, b: Plane::filled(grey.width, grey.height, 0.0) })
        }

        fn coarse(&self) -> Option<Chroma> {
            let grey = self.0.as_ref()?;
            let plane = || Plane::from_vec(grey.width, grey.height, grey.data.iter().map(|&luma| 2.0 * f32::from(luma)).collect());
            Some(Chroma { a: plane(), b: plane() })
        }
    }

    #[test]
    fn flicker_is_the_deviation_over_time_of_what_noise_makes_of_a_scene() {
        let folder = tempfile::tempdir().unwrap();
        let set = grey_set(folder.path());
        let frames = noisy_frames(&set, &set.items(Split::Train)[0], &mut ChaCha8Rng::seed_from_u64(5));
        let mut tally = MovingTally::default();
        add_scene(&mut tally, &mut Seeing(None), &frames).unwrap();
        let scene = tally.figures().scene.unwrap();
        // Noise of 5 codes, rounded to whole ones; the mean deviation of 30 values is 0.975 of theirs (c4, and 30 for 29 in the denominator). b* has none.
        let deviation = 0.975 * (NOISE_SIGMA * NOISE_SIGMA + 1.0 / 12.0).sqrt();
        assert!((scene.flicker / (0.5 * f64::from(deviation)) - 1.0).abs() < 0.01, "{}", scene.flicker);
        assert!((scene.flicker_coarse.unwrap() / (4.0 * scene.flicker) - 1.0).abs() < 1e-6, "{scene:?}");
    }

    /// Turns from one color to another after so many frames.
    struct Turning(usize);

    impl Colorist for Turning {
        fn begin(&mut self) {}

        fn color(&mut self, grey: &Plane<u8>) -> anyhow::Result<Chroma> {
            self.0 = self.0.saturating_sub(1);
            let plane = |value| Plane::filled(grey.width, grey.height, value);
            Ok(Chroma { a: plane(if self.0 > 0 { 30.0 } else { 0.0 }), b: plane(0.0) })
        }
    }

    #[test]
    fn settling_is_seen_up_to_the_steady_half() {
        let frames = vec![Plane::filled(8, 8, 9); SCENE_FRAMES];
        for settling in [3, 10, 17, SCENE_STEADY] {
            let mut tally = MovingTally::default();
            add_scene(&mut tally, &mut Turning(settling + 1), &frames).unwrap();
            assert_eq!(tally.figures().scene.unwrap().settling_frames, settling as f64);
        }
    }

    #[test]
    fn a_films_own_colors_move_exactly_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let set = small_set(folder.path());
        let item = &set.items(Split::Train)[0];
        let (frames, views) = film(&set, item, 3);
        let [x, y] = views[0].seen_from(&views[FILM_FRAMES - 1]).map(|[x, y, shift]| x * 96.0 + y * 72.0 + shift);
        assert!((x - 96.0).hypot(y - 72.0) > 0.5, "the camera moves: {x} {y}");
        let warped = |colors: &[&Chroma]| {
            let mut warp = WarpError::default();
            add_warp(&mut warp, colors, &views, item);
            warp.root()
        };
        let moving: Vec<&Chroma> = frames.iter().map(|frame| &frame.chroma).collect();
        let standing: Vec<&Chroma> = frames.iter().map(|_| &frames[0].chroma).collect();
        // The picture is enlarged noise, so drawing back blurs it; colors that stay behind err by much more.
        assert!(warped(&moving) < 0.5 * warped(&standing), "{} {}", warped(&moving), warped(&standing));
    }
}
