//! Chunks of small packed sets.

use std::collections::BTreeSet;
use std::path::Path;

use autochrome_model::color::{LumaRange, lightness_table, srgb_to_lab};

use super::*;
use crate::data::shard::test_sets::{new_item, pack_of, small_set};
use crate::data::still_camera::{MotionConfig, View};

fn small_config() -> LaneConfig {
    LaneConfig { lanes: 3, chunk_frames: 4, chunks_per_item: 3, width: 32, height: 24, clip_share: 0.4, ..LaneConfig::default() }
}

fn small_lanes(folder: &Path, config: LaneConfig) -> Lanes {
    Lanes::new(Arc::new(small_set(folder)), Split::Train, config).unwrap()
}

/// A set of one still for training.
fn still_set(folder: &Path, width: u32, height: u32, rgb: &[u8]) -> Arc<PackedSet> {
    let item = new_item("one.png", ItemKind::Still, width, height, Split::Train);
    Arc::new(pack_of(folder, [(item, rgb.to_vec())]))
}

#[test]
fn a_chunk_is_the_same_whenever_and_by_whomever_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let lanes = small_lanes(folder.path(), small_config());
    let chunk = lanes.chunk(17);
    assert_eq!(chunk.lightness.len(), 4 * 3 * 24 * 32);
    assert_eq!(chunk.ab.len(), 4 * 3 * 2 * 6 * 8);
    lanes.chunk(3);
    assert_eq!(lanes.chunk(17), chunk);
    let fresh = Lanes::new(Arc::new(PackedSet::open(folder.path()).unwrap()), Split::Train, small_config()).unwrap();
    assert_eq!(fresh.chunk(17), chunk);
    assert_ne!(lanes.chunk(18).lightness, chunk.lightness);
    let other = LaneConfig { seed: 2, ..small_config() };
    assert_ne!(Lanes::new(Arc::clone(&lanes.set), Split::Train, other).unwrap().chunk(17).lightness, chunk.lightness);
}

#[test]
fn colors_are_encoded_frame_by_frame_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let encoding = SoftEncoding { centers: autochrome_model::bins::seventeen(), neighbors: 3, sigma: 8.0 };
    let lanes = small_lanes(folder.path(), small_config());
    assert_eq!(lanes.chunk(5).colors, None);
    let lanes = lanes.encoding(Some(encoding));
    let Chunk { ab, colors: Some(colors), .. } = lanes.chunk(5) else { panic!("not encoded") };
    let (frames, pixels) = (4 * 3, 6 * 8);
    assert_eq!((colors.neighbors, colors.bins.len(), colors.shares.len()), (3, frames * 3 * pixels, frames * 3 * pixels));
    for frame in 0..frames {
        for pixel in 0..pixels {
            let color = [ab[2 * frame * pixels + pixel], ab[(2 * frame + 1) * pixels + pixel]];
            let at = |k: usize| (frame * 3 + k) * pixels + pixel;
            let mut expected = Vec::new();
            autochrome_model::bins::soft_encode(encoding.centers, color, 3, 8.0, |bin, share| expected.push((bin as i32, share)));
            let found: Vec<(i32, f32)> = (0..3).map(|k| (colors.bins[at(k)], colors.shares[at(k)])).collect();
            assert_eq!(found, expected, "frame {frame}, pixel {pixel}");
        }
    }
}

#[test]
fn without_restarts_and_cuts_the_state_is_zeroed_at_item_starts_only() {
    let folder = tempfile::tempdir().unwrap();
    let config = LaneConfig { restart_share: 0.0, cut_share: 0.0, missed_cut_share: 0.0, ..small_config() };
    let lanes = small_lanes(folder.path(), config);
    for number in 0..12 {
        let chunk = lanes.chunk(number);
        for (place, &reset) in chunk.reset.iter().enumerate() {
            let (t, lane) = (place / 3, place % 3);
            // Three lanes, three chunks an item: lane l is l chunks ahead. All lanes begin with chunk 0.
            let starts = t == 0 && (number == 0 || (number + lane as u64).is_multiple_of(3));
            assert_eq!(reset, starts, "chunk {number}, frame {t}, lane {lane}");
        }
    }
}

#[test]
fn restarts_come_at_chunk_starts_and_cuts_where_the_picture_changes() {
    let folder = tempfile::tempdir().unwrap();
    let restarting = small_lanes(folder.path(), LaneConfig { restart_share: 1.0, cut_share: 0.0, ..small_config() });
    for number in 0..6 {
        let expected: Vec<bool> = (0..12).map(|place| place < 3).collect();
        assert_eq!(restarting.chunk(number).reset, expected);
    }
    let set = Arc::clone(&restarting.set);
    let cut = LaneConfig { restart_share: 0.0, cut_share: 1.0, missed_cut_share: 0.0, ..small_config() };
    let missed = LaneConfig { cut_share: 0.0, missed_cut_share: 1.0, ..cut.clone() };
    let count = |config: LaneConfig| {
        let lanes = Lanes::new(Arc::clone(&set), Split::Train, config).unwrap();
        // Three whole items of every lane, beginning after the lanes' shorter first ones.
        (3..12).map(|number| lanes.chunk(number).reset.iter().filter(|&&reset| reset).count()).sum::<usize>()
    };
    assert_eq!((count(cut), count(missed)), (2 * 9, 9));
}

#[test]
fn a_cut_shows_another_shot_from_the_middle_on() {
    let folder = tempfile::tempdir().unwrap();
    let lanes = small_lanes(folder.path(), LaneConfig { cut_share: 1.0, missed_cut_share: 0.0, ..small_config() });
    for item in 0..50 {
        let plan = lanes.plan(1, item);
        let begin = plan.shots[1].begin;
        assert!((3..=9).contains(&begin), "{begin}");
        assert_eq!((plan.shot_at(begin - 1).begin, plan.shot_at(begin).begin), (0, begin));
    }
}

#[test]
fn a_clean_grey_world_has_the_lightness_of_the_table_and_no_color() {
    let folder = tempfile::tempdir().unwrap();
    let rgb: Vec<u8> = (0..32 * 24).flat_map(|i| [(i % 256) as u8; 3]).collect();
    let set = still_set(folder.path(), 32, 24, &rgb);
    let lanes = Lanes::new(set, Split::Train, small_config().validation()).unwrap();
    let chunk = lanes.chunk(0);
    let table = lightness_table(LumaRange::Full);
    for (i, &lightness) in chunk.lightness[..32 * 24].iter().enumerate() {
        assert_eq!(lightness, (table[i % 256] - 50.0) / 100.0);
    }
    // The matrix rows and the white point have six decimals, so that grey is off by some thousandths.
    assert!(chunk.ab.iter().all(|value| value.abs() < 0.02));
}

#[test]
fn the_target_of_a_flat_color_is_that_color() {
    let folder = tempfile::tempdir().unwrap();
    let color = [180, 60, 30];
    let set = still_set(folder.path(), 40, 40, &color.repeat(1600));
    let lanes = Lanes::new(set, Split::Train, small_config()).unwrap();
    let [l, a, b] = srgb_to_lab(color);
    // Camera and degradation are on: a flat picture looks the same from everywhere, and the target ignores the degradation.
    let chunk = lanes.chunk(5);
    assert!(chunk.true_lightness.iter().all(|&found| (found - l).abs() < 0.01));
    for frame in chunk.ab.chunks_exact(2 * 48) {
        // The mean of 16 equal numbers in f32.
        assert!(frame[..48].iter().all(|&found| (found - a).abs() < 0.01));
        assert!(frame[48..].iter().all(|&found| (found - b).abs() < 0.01));
    }
}

#[test]
fn lightness_and_color_are_flipped_together() {
    let folder = tempfile::tempdir().unwrap();
    // Left black, right saturated red.
    let rgb: Vec<u8> = (0..24).flat_map(|_| (0..32).flat_map(|x| if x < 16 { [0; 3] } else { [220, 0, 0] })).collect();
    let set = still_set(folder.path(), 32, 24, &rgb);
    for (flip_share, red_left) in [(0.0, false), (1.0, true)] {
        let config = LaneConfig { motion: MotionConfig { flip_share, ..MotionConfig::off() }, ..small_config().validation() };
        let chunk = Lanes::new(Arc::clone(&set), Split::Train, config).unwrap().chunk(0);
        assert_eq!(chunk.lightness[0] > chunk.lightness[31], red_left);
        assert_eq!(chunk.ab[0] > chunk.ab[7], red_left);
        assert!(chunk.ab[0].max(chunk.ab[7]) > 50.0);
    }
}

#[test]
fn short_clips_play_back_and_forth() {
    let shown: Vec<_> = (0..9).map(|at| ping_pong(at, 4)).collect();
    assert_eq!(shown, [0, 1, 2, 3, 2, 1, 0, 1, 2]);
    assert_eq!(ping_pong(1000, 1), 0);
    let mut rng = stream(1, 0, 0, 0);
    for _ in 0..100 {
        assert!(first_frame(60, 32, &mut rng) <= 28);
        assert!(first_frame(5, 32, &mut rng) < 5);
    }
    assert_eq!(first_frame(32, 32, &mut rng), 0);
}

#[test]
fn validation_plays_every_item_once() {
    let folder = tempfile::tempdir().unwrap();
    let lanes = small_lanes(folder.path(), small_config().validation());
    let items = lanes.set.items(Split::Train);
    // Items in three lanes, three chunks each.
    let names = |lanes: &Lanes, chunks: u64| -> BTreeSet<String> {
        let playing = |number, lane| {
            let (item, part) = lanes.position(number, lane);
            items[lanes.plan(lane, item).shot_at(part * 4).item].name.clone()
        };
        (0..chunks).flat_map(|number| [0, 1, 2].map(|lane| playing(number, lane))).collect()
    };
    assert_eq!(names(&lanes, 6).len(), 6);
    let clips = LaneConfig { clip_share: 1.0, ..small_config().validation() };
    let lanes = Lanes::new(Arc::clone(&lanes.set), Split::Train, clips).unwrap();
    assert_eq!(names(&lanes, 3).into_iter().collect::<Vec<_>>(), ["clip_0", "clip_1"]);
}

#[test]
fn weights_of_source_and_tag_multiply() {
    let folder = tempfile::tempdir().unwrap();
    let weights = [("made", 2.0), ("clip", 3.0), ("check", 0.0), ("typo", 1.0)].map(|(name, weight)| (name.to_owned(), weight));
    let config = LaneConfig { source_weights: weights.into(), ..small_config() };
    let lanes = small_lanes(folder.path(), config.clone());
    assert_eq!(lanes.stills.sums, [2.0, 4.0, 6.0, 8.0]);
    assert_eq!(lanes.clips.sums, [6.0, 12.0]);
    assert_eq!(lanes.unused_weights(), ["typo"]);
    let message = Lanes::new(Arc::clone(&lanes.set), Split::Validation, config).unwrap_err().to_string();
    assert!(message.contains("nothing to play for validation"), "{message}");
}

#[test]
fn clips_are_drawn_as_often_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let lanes = small_lanes(folder.path(), small_config());
    let items = lanes.set.items(Split::Train);
    let clips = (0..2000).filter(|&item| items[lanes.plan(0, item).shots[0].item].kind == ItemKind::Clip).count();
    // 40 % of 2000 is 800 with a standard deviation of 22; five of them are allowed.
    assert!(clips.abs_diff(800) < 110, "{clips}");
}

/// The value of a plane between pixel centers.
fn between(plane: &[f32], width: usize, x: f32, y: f32) -> f32 {
    let (x, y) = ((x - 0.5).max(0.0), (y - 0.5).max(0.0));
    let (left, top) = (x as usize, y as usize);
    let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(plane.len() / width - 1));
    let (part_x, part_y) = (x - left as f32, y - top as f32);
    let row = |y: usize| plane[y * width + left] * (1.0 - part_x) + plane[y * width + right] * part_x;
    row(top) * (1.0 - part_y) + row(bottom) * part_y
}

#[test]
fn the_flow_leads_to_where_a_point_was_one_frame_ago() {
    let folder = tempfile::tempdir().unwrap();
    // Waves of color about 24 pixels long, in both directions.
    let wave = |x: u32, y: u32, phase: f32| 128.0 + 90.0 * (x as f32 / 4.0 + phase).sin() * (y as f32 / 5.0 - phase).cos();
    let rgb: Vec<u8> = (0..96).flat_map(|y| (0..128).flat_map(move |x| [0.0, 2.1, 4.2].map(|phase| wave(x, y, phase) as u8))).collect();
    let motion = MotionConfig { tripod_share: 0.0, pan_per_frame: 0.05, roll_degrees_per_frame: 2.0, ..MotionConfig::default() };
    let config = LaneConfig { flow: true, output_stride: 2, width: 96, height: 64, cut_share: 0.0, motion, ..small_config() };
    let lanes = Lanes::new(still_set(folder.path(), 128, 96, &rgb), Split::Train, config).unwrap();
    let (w, h) = (48, 32);
    let (mut moved, mut still, mut count) = (0.0, 0.0, 0);
    for number in 0..6 {
        let chunk = lanes.chunk(number);
        let flow = chunk.flow.unwrap();
        assert_eq!((flow.offsets.len(), flow.valid.len()), (3 * 3 * 2 * h * w, 3 * 3 * h * w));
        for pair in 0..9 {
            let offsets = &flow.offsets[pair * 2 * h * w..][..2 * h * w];
            let earlier = &chunk.ab[pair * 2 * h * w..][..2 * h * w];
            // Three lanes: the lane's next frame is three further on.
            let later = &chunk.ab[(pair + 3) * 2 * h * w..][..2 * h * w];
            for at in (0..h * w).filter(|at| flow.valid[pair * h * w + at] == 1.0) {
                let (x, y) = ((at % w) as f32 + 0.5 + offsets[at], (at / w) as f32 + 0.5 + offsets[h * w + at]);
                for channel in [0, h * w] {
                    moved += (between(&earlier[channel..][..h * w], w, x, y) - later[channel + at]).abs();
                    still += (earlier[channel + at] - later[channel + at]).abs();
                }
                count += 2;
            }
        }
    }
    let (moved, still) = (moved / count as f32, still / count as f32);
    // Most of every frame was in sight before.
    assert!(count > 6 * 9 * 2 * h * w * 8 / 10, "{count}");
    // What is left is the bilinear interpolation's, and the rounding to whole codes.
    assert!(moved < 1.5 && moved < still / 5.0, "{moved} Lab units along the flow, {still} without");
}

#[test]
fn the_flow_is_unknown_where_the_photograph_ends() {
    // A window of 16x16 pixels whose left half lies beyond the photograph; a color pixel is two of the frame's.
    let config = LaneConfig { lanes: 1, chunk_frames: 2, width: 16, height: 16, output_stride: 2, flow: true, ..small_config() };
    let view = View::window((-8.0, 4.0), (1.0, 1.0));
    let mut flow = Flow::unknown(&config);
    flow.set(0, &view, &view, (40, 30), &config);
    for (at, &valid) in flow.valid.iter().enumerate() {
        assert_eq!(valid, if at % 8 < 4 { 0.0 } else { 1.0 }, "color pixel {at}");
    }
}

#[test]
fn the_flow_is_unknown_in_films_and_across_cuts() {
    let folder = tempfile::tempdir().unwrap();
    let config = LaneConfig { flow: true, clip_share: 1.0, cut_share: 0.0, missed_cut_share: 0.0, ..small_config() };
    let films = small_lanes(folder.path(), config.clone());
    assert!(films.chunk(3).flow.unwrap().valid.iter().all(|&valid| valid == 0.0));
    let cut = LaneConfig { clip_share: 0.0, cut_share: 1.0, restart_share: 0.0, motion: MotionConfig::off(), ..config };
    let stills = Lanes::new(Arc::clone(&films.set), Split::Train, cut).unwrap();
    for number in 0..9 {
        let chunk = stills.chunk(number);
        let flow = chunk.flow.unwrap();
        assert!(flow.offsets.iter().all(|offset| offset.abs() < 1e-4));
        for (pair, valid) in flow.valid.chunks_exact(48).enumerate() {
            let expected = if chunk.reset[pair + 3] { 0.0 } else { 1.0 };
            assert!(valid.iter().all(|&valid| valid == expected), "chunk {number}, pair {pair}");
        }
    }
}
