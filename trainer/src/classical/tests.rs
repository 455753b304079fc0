//! Moments and histograms after transfer, between made-up pictures and between the two halves of a real frame; and what grey and flat
//! pictures do.

use image::Rgb;

use super::*;
use crate::figure::pictures;

/// The left and the right half of a film frame: grass and a grey rabbit; grass, blue trees, rocks and sky.
fn halves() -> (RgbImage, RgbImage) {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pictures/big_buck_bunny.jpg");
    let frame = pictures::open(file.as_ref()).unwrap();
    let half = frame.width() / 2;
    let part = |left| image::imageops::crop_imm(&frame, left, 0, half, frame.height()).to_image();
    (part(0), part(half))
}

/// A smooth picture whose colors are spread in all three channels, none near the ends of the range.
fn waves(phase: f32, tone: [f32; 3], size: (u32, u32)) -> RgbImage {
    RgbImage::from_fn(size.0, size.1, |x, y| {
        let (x, y) = (x as f32, y as f32);
        let wave = |speed: f32, middle: f32, tall: f32| (middle + tall * (x / 9.0 * speed + y / 7.0 + phase * speed).sin()) as u8;
        Rgb([wave(1.0, tone[0], 40.0), wave(1.7, tone[1], 25.0), wave(0.6, tone[2], 15.0)])
    })
}

fn pairs() -> [(RgbImage, RgbImage); 3] {
    let (left, right) = halves();
    let made_up = (waves(0.3, [120.0, 110.0, 130.0], (64, 48)), waves(2.0, [150.0, 120.0, 90.0], (50, 70)));
    [made_up, (left.clone(), right.clone()), (right, left)]
}

fn grey(picture: &RgbImage) -> RgbImage {
    image::DynamicImage::ImageRgb8(picture.clone()).into_luma8().pixels().zip(0_u32..).fold(picture.clone(), |mut grey, (y, i)| {
        grey.put_pixel(i % picture.width(), i / picture.width(), Rgb([y.0[0]; 3]));
        grey
    })
}

fn cloud(picture: &RgbImage, space: Space) -> cloud::Cloud {
    DistinctColors::of(picture).cloud(space)
}

/// Of two pictures' values along one axis of RGB: the mean distance that values have to be moved to make one's histogram the other's, by
/// comparing as many quantiles as either has pixels. Independent of the method's own ranks.
fn histogram_distance(one: &RgbImage, other: &RgbImage, axis: [f64; 3]) -> f64 {
    let sorted = |picture: &RgbImage| {
        let mut values: Vec<f64> = picture.pixels().map(|pixel| pixel.0.iter().zip(axis).map(|(&v, a)| f64::from(v) * a).sum()).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let (one, other) = (sorted(one), sorted(other));
    let quantiles = one.len().max(other.len());
    let at = |values: &[f64], i: usize| values[(2 * i + 1) * values.len() / (2 * quantiles)];
    (0..quantiles).map(|i| (at(&one, i) - at(&other, i)).abs()).sum::<f64>() / quantiles as f64
}

const CHANNELS: [[f64; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
/// Directions that no round is made along: diagonals of the cube, not of length 1.
const DIAGONALS: [[f64; 3]; 4] = [[0.6, 0.6, 0.6], [0.7, -0.7, 0.0], [0.4, 0.4, -0.8], [0.0, 0.7, -0.7]];

#[test]
fn mean_std_gives_the_references_moments() {
    for (method, space) in [(Method::MeanStdRgb, Space::Rgb), (Method::MeanStdLab, Space::Lab)] {
        for (index, (source, reference)) in pairs().iter().enumerate() {
            let (found, expected) = (cloud(&transfer(method, source, reference, 1).unwrap(), space), cloud(reference, space));
            // The made-up pair stays inside sRGB, and only rounding to 8 bits is left; a real one is clipped at both ends.
            let tolerance = if index == 0 { 0.5 } else { 5.0 };
            for axis in 0..3 {
                let (mean, spread) = (found.mean()[axis], found.spread()[axis]);
                let (new_mean, new_spread) = (expected.mean()[axis], expected.spread()[axis]);
                assert!((mean - new_mean).abs() < tolerance, "{method:?} {index} axis {axis}: mean {mean} for {new_mean}");
                assert!((spread - new_spread).abs() < tolerance, "{method:?} {index} axis {axis}: deviation {spread} for {new_spread}");
            }
        }
    }
}

#[test]
fn mean_std_is_exact_before_rounding_and_clipping() {
    let (source, reference) = halves();
    for space in [Space::Rgb, Space::Lab] {
        let (from, to) = (cloud(&source, space), cloud(&reference, space));
        let moved = cloud::Cloud { points: mean_std::transfer(&from, &to), shares: from.shares };
        for (found, expected) in moved.mean().iter().chain(&moved.spread()).zip(to.mean().iter().chain(&to.spread())) {
            assert!((found - expected).abs() < 1e-9, "{found} for {expected} in {space:?}");
        }
    }
}

#[test]
fn the_linear_map_gives_the_references_covariance() {
    for (source, reference) in pairs() {
        let (from, to) = (cloud(&source, Space::Rgb), cloud(&reference, Space::Rgb));
        let moved = cloud::Cloud { points: monge::transfer(&from, &to), shares: from.shares };
        for (found, expected) in moved.covariance().0.as_flattened().iter().zip(to.covariance().0.as_flattened()) {
            assert!((found - expected).abs() < 1e-2, "{found} for {expected}");
        }
    }
}

#[test]
fn pdf_transfer_brings_every_histogram_to_the_references() {
    for (index, (source, reference)) in pairs().iter().enumerate() {
        let found = transfer(Method::Pdf, source, reference, 7).unwrap();
        for axis in CHANNELS {
            let (before, after) = (histogram_distance(source, reference, axis), histogram_distance(&found, reference, axis));
            // Levels of 255: what rounding leaves.
            assert!(after < 0.5 && before > 5.0, "pair {index} along {axis:?}: {before} became {after}");
        }
        for axis in DIAGONALS {
            let after = histogram_distance(&found, reference, axis);
            assert!(after < 2.0, "pair {index} along {axis:?}: {after}");
        }
    }
}

#[test]
fn pdf_transfer_gets_nearer_than_the_moments_alone() {
    let (source, reference) = halves();
    let distance = |method| {
        let found = transfer(method, &source, &reference, 7).unwrap();
        DIAGONALS.iter().map(|&axis| histogram_distance(&found, &reference, axis)).fold(0.0, f64::max)
    };
    let (pdf, linear, channels) = (distance(Method::Pdf), distance(Method::MongeKantorovich), distance(Method::MeanStdRgb));
    assert!(pdf < 0.5 * linear && linear < channels, "{pdf} {linear} {channels}");
}

#[test]
fn grey_becomes_a_color_for_each_level_and_no_noise() {
    let (source, reference) = halves();
    let source = grey(&source);
    let mean = cloud(&reference, Space::Rgb).mean();
    for method in Method::ALL {
        let found = transfer(method, &source, &reference, 3).unwrap();
        if method == Method::Welsh {
            continue;
        }
        let mean_found = cloud(&found, Space::Rgb).mean();
        // The mean color is the reference's, as far as clipping lets it.
        for (found, expected) in mean_found.iter().zip(mean) {
            assert!((found - expected).abs() < 20.0, "{method:?}: {mean_found:?} for {mean:?}");
        }
        let mut colors = std::collections::HashMap::new();
        for (from, to) in source.pixels().zip(found.pixels()) {
            assert_eq!(colors.entry(from.0).or_insert(to.0), &to.0, "{method:?} gives one grey two colors");
        }
    }
}

#[test]
fn pdf_transfer_of_grey_keeps_the_order_of_greys_and_matches_every_channel() {
    let (source, reference) = halves();
    let source = grey(&source);
    let found = transfer(Method::Pdf, &source, &reference, 3).unwrap();
    for axis in CHANNELS {
        // A grey picture's levels are coarser than a color picture's channels.
        let distance = histogram_distance(&found, &reference, axis);
        assert!(distance < 1.5, "{distance} along {axis:?}");
    }
    let mut colors = std::collections::BTreeMap::new();
    for (from, to) in source.pixels().zip(found.pixels()) {
        colors.insert(from.0[0], to.0);
    }
    for ((darker, below), (lighter, above)) in colors.iter().zip(colors.iter().skip(1)) {
        assert!(below.iter().zip(above).all(|(b, a)| b <= a), "{darker} became {below:?}, {lighter} {above:?}");
    }
}

#[test]
fn nearly_grey_is_not_stretched_into_colors() {
    // What JPEG leaves of a grey picture: a step here and there.
    let (source, reference) = halves();
    let mut source = grey(&source);
    for (index, pixel) in source.pixels_mut().enumerate().filter(|(index, _)| index % 50 == 0) {
        pixel.0[index / 50 % 3] = pixel.0[index / 50 % 3].saturating_add(1);
    }
    for method in [Method::MeanStdLab, Method::MongeKantorovich] {
        let found = transfer(method, &source, &reference, 3).unwrap();
        for (index, pixel) in found.pixels().enumerate().filter(|(index, _)| index % 50 == 0) {
            let Some(neighbor) = (index + 1..index + 50).find(|&n| {
                n < found.pixels().len() && {
                    let (x, y) = (n as u32 % source.width(), n as u32 / source.width());
                    source.get_pixel(x, y).0.iter().max() == source.pixels().nth(index).unwrap().0.iter().max()
                }
            }) else {
                continue;
            };
            let other = found.get_pixel(neighbor as u32 % found.width(), neighbor as u32 / found.width());
            let difference = pixel.0.iter().zip(other.0).map(|(&a, b)| a.abs_diff(b)).max().unwrap();
            assert!(difference < 12, "{method:?}: one step of rounding became {difference}");
        }
    }
}

#[test]
fn the_linear_map_of_grey_is_the_references_regression_of_color_on_grey() {
    // Color = the reference's mean, and for each deviation of grey from its own mean S u / sqrt(u' S u), u the direction of grey.
    let (source, reference) = halves();
    let (from, to) = (cloud(&grey(&source), Space::Rgb), cloud(&reference, Space::Rgb));
    let along = to.covariance().0.map(|row| row.iter().sum::<f64>() / 3.0_f64.sqrt());
    let variance = along.iter().sum::<f64>() / 3.0_f64.sqrt();
    let spread = from.covariance().0.as_flattened().iter().sum::<f64>() / 3.0;
    for (point, moved) in from.points.iter().zip(monge::transfer(&from, &to)) {
        let place = (point[0] - from.mean()[0]) * 3.0_f64.sqrt() / spread.sqrt();
        for axis in 0..3 {
            let expected = to.mean()[axis] + along[axis] / variance.sqrt() * place;
            assert!((moved[axis] - expected).abs() < 0.1, "{moved:?} axis {axis}: {expected}");
        }
    }
}

#[test]
fn welsh_keeps_the_lightness_and_tells_textures_apart() {
    // Reference: a smooth red half and a rough green half; a third of the rough one's pixels are as light as the smooth one's, so that only
    // texture tells them apart. Source: the same in grey.
    let checkers = |x: u32, y: u32| [18.0, 0.0, -18.0][((x / 2 + y / 2) % 3) as usize];
    let picture = |color: bool| {
        RgbImage::from_fn(96, 64, |x, y| {
            let lightness = if x < 48 { 50.0 } else { 50.0 + checkers(x, y) };
            let (a, b) = if !color {
                (0.0, 0.0)
            } else if x < 48 {
                (40.0, 20.0)
            } else {
                (-30.0, 20.0)
            };
            Rgb(lab_to_srgb([lightness, a, b]))
        })
    };
    let (source, reference) = (picture(false), picture(true));
    let found = transfer(Method::Welsh, &source, &reference, 5).unwrap();
    let (mut right, mut all) = (0, 0);
    for (x, y, pixel) in found.enumerate_pixels() {
        let ([lightness, a, _], [before, ..]) = (srgb_to_lab(pixel.0), srgb_to_lab(source.get_pixel(x, y).0));
        assert!((lightness - before).abs() < 1.0, "{x},{y}: {lightness} for {before}");
        all += 1;
        right += i32::from((x < 48) == (a > 0.0));
    }
    assert!(right * 100 > all * 92, "{right} of {all} pixels have their own half's color");
}

#[test]
fn a_method_as_a_colorist_gives_the_results_ab() {
    let (source, reference) = halves();
    let source = grey(&source);
    let luma = Plane::from_vec(source.width() as usize, source.height() as usize, source.pixels().map(|pixel| pixel.0[0]).collect());
    for method in Method::ALL {
        let found = chroma(method, &luma, &reference, 2).unwrap();
        let colored = transfer(method, &source, &reference, 2).unwrap();
        let expected = colored.pixels().map(|pixel| srgb_to_lab(pixel.0));
        assert!(found.a.data.iter().zip(&found.b.data).zip(expected).all(|((&a, &b), [_, x, y])| a == x && b == y), "{method:?}");
    }
    assert!(chroma(Method::Pdf, &Plane::filled(0, 0, 0), &reference, 2).is_err());
}

#[test]
fn flat_and_tiny_pictures_are_colored_too() {
    let (_, reference) = halves();
    let flat = RgbImage::from_pixel(7, 5, Rgb([90; 3]));
    let dot = RgbImage::from_pixel(1, 1, Rgb([200, 10, 30]));
    let line = RgbImage::from_fn(700, 1, |x, _| Rgb([(x % 251) as u8, 3, 250]));
    for method in Method::ALL {
        for (source, reference) in
            [(&flat, &reference), (&dot, &reference), (&reference, &dot), (&reference, &flat), (&flat, &dot), (&flat, &line)]
        {
            let found = transfer(method, source, reference, 1).unwrap();
            assert_eq!(found.dimensions(), source.dimensions());
        }
        let empty = transfer(method, &RgbImage::new(0, 4), &reference, 1).unwrap_err().to_string();
        assert!(empty.contains("0x4"), "{empty}");
    }
    // One color becomes one: the reference's mean, or its median.
    let found = transfer(Method::MeanStdRgb, &flat, &reference, 1).unwrap();
    let mean = cloud(&reference, Space::Rgb).mean();
    assert!(found.get_pixel(0, 0).0.iter().zip(mean).all(|(&v, m)| (f64::from(v) - m).abs() <= 0.5));
}

#[test]
fn a_seed_repeats_and_lightness_can_be_kept() {
    let (source, reference) = halves();
    for method in Method::ALL {
        let found = transfer(method, &source, &reference, 11).unwrap();
        assert!(found == transfer(method, &source, &reference, 11).unwrap(), "{method:?}");
        let kept = keep_lightness(&grey(&source), &found);
        let (mut sum, mut clipped) = (0.0, 0);
        for (from, to) in grey(&source).pixels().zip(kept.pixels()) {
            let difference = (srgb_to_lab(from.0)[0] - srgb_to_lab(to.0)[0]).abs();
            sum += difference;
            clipped += u32::from(difference > 1.0);
        }
        assert!(sum / ((kept.width() * kept.height()) as f32) < 2.0, "{method:?}: {clipped} pixels");
    }
}
