//! `colorize`, on pictures, folders and films.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[allow(dead_code, reason = "each test file uses its part")]
mod program;

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use image::GenericImageView;
use program::{frames_of, photo, run, run_with, said, y4m};

/// A clip of slanted waves that travel: nothing in it is flat, and no two frames are alike.
fn waves(frame: usize, x: usize, y: usize) -> u8 {
    (120.0 + 90.0 * ((x + 2 * y + 3 * frame) as f32 / 17.0).sin()) as u8
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_film_keeps_its_luma_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("in.y4m"), folder.path().join("out.y4m"));
    struct Case(&'static str, (usize, usize), usize, &'static str, usize);
    let cases = [
        Case("F25:1 Ip A1:1 C420jpeg XCOLORRANGE=FULL", (64, 48), 32 * 24, "C420jpeg XCOLORRANGE=FULL", 32 * 24),
        Case("F30000:1001 Ip C420mpeg2", (65, 49), 33 * 25, "F30000:1001 Ip C420mpeg2", 33 * 25),
        Case("F5:1 Cmono", (40, 70), 0, "F5:1 C420jpeg", 20 * 35),
        Case("F5:1 C444 XCOLORRANGE=LIMITED", (16, 16), 256, "C444 XCOLORRANGE=LIMITED", 256),
    ];
    for Case(header, (width, height), chroma, expected_header, expected_chroma) in cases {
        let film = y4m(header, (width, height), chroma, 4, waves);
        fs::write(&from, &film).unwrap();
        assert_eq!(run(&["colorize", text(&from), text(&to)]), (0, String::new()), "{header}");
        let colored = fs::read(&to).unwrap();
        let (line, frames) = frames_of(&colored, width * height + 2 * expected_chroma);
        assert!(line.ends_with(expected_header), "{line}");
        let (_, before) = frames_of(&film, width * height + 2 * chroma);
        assert_eq!(frames.len(), 4, "{header}");
        for (after, before) in frames.iter().zip(&before) {
            assert_eq!(after[..width * height], before[..width * height], "{header}");
            assert_eq!(after.len(), width * height + 2 * expected_chroma, "{header}");
        }
        // Through pipes, the same comes out.
        let piped = run_with(&["colorize", "-", "-"], &film);
        assert!(piped.status.success() && piped.stdout == colored, "{header}");
    }
}

#[test]
fn a_film_that_breaks_off_is_colored_as_far_as_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("in.y4m"), folder.path().join("out.y4m"));
    let film = y4m("F25:1 C420jpeg", (32, 32), 256, 3, waves);
    fs::write(&from, &film[..film.len() - 100]).unwrap();
    let (code, said) = run(&["colorize", text(&from), text(&to)]);
    assert_eq!(code, 74);
    assert!(said.contains("in.y4m: the stream ends in the middle of frame 3") && said.lines().count() == 1, "{said}");
    assert_eq!(frames_of(&fs::read(&to).unwrap(), 32 * 32 + 512).1.len(), 2);
}

#[test]
fn a_folder_becomes_pngs_of_the_same_stems_sizes_and_luma() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir(&from).unwrap();
    fs::copy(photo("black-canyon"), from.join("one.jpg")).unwrap();
    image::open(photo("nagasaki-boats")).unwrap().thumbnail(101, 77).save(from.join("two.png")).unwrap();
    fs::write(from.join("notes.txt"), "no picture").unwrap();
    assert_eq!(run(&["colorize", text(&from), text(&to)]), (0, String::new()));
    let mut names: Vec<_> = fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["one.png", "two.png"]);
    for (before, after) in [("one.jpg", "one.png"), ("two.png", "two.png")] {
        let (before, after) = (image::open(from.join(before)).unwrap(), image::open(to.join(after)).unwrap());
        assert_eq!(before.dimensions(), after.dimensions());
        let (before, after) = (before.to_luma8(), after.to_rgb8());
        // One step of rounding a channel, and what a color at the gamut's border loses; JPEG decoders differ by one too.
        let worst = before
            .pixels()
            .zip(after.pixels())
            .map(|(before, after)| (f32::from(before.0[0]) - autochrome_model::color::luma(after.0)).abs());
        assert!(worst.fold(0.0, f32::max) <= 2.5);
    }
}

#[test]
fn pictures_of_a_folder_stand_alone_unless_they_are_a_clip() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("in");
    fs::create_dir(&from).unwrap();
    for frame in 0..3_usize {
        let picture = image::GrayImage::from_fn(96, 72, |x, y| image::Luma([waves(frame, x as usize, y as usize)]));
        picture.save(from.join(format!("{}.png", 9 + frame))).unwrap();
    }
    let colored = |out: &str, options: &[&str]| {
        let to = folder.path().join(out);
        assert_eq!(run(&[&["colorize", text(&from), text(&to)], options].concat()), (0, String::new()));
        [9, 10, 11].map(|name| fs::read(to.join(format!("{name}.png"))).unwrap())
    };
    let (alone, clip) = (colored("alone", &[]), colored("clip", &["--clip"]));
    let single = folder.path().join("single.png");
    assert_eq!(run(&["colorize", text(&from.join("10.png")), text(&single)]).0, 0);
    assert_eq!(alone[1], fs::read(&single).unwrap(), "a picture of a folder is colored as it would be by itself");
    // 9 comes before 10 and 11: numbers count as numbers.
    assert_eq!(alone[0], clip[0]);
    assert_ne!(alone[2], clip[2], "the third frame of a clip knows the two before it");
}

#[test]
fn saturation_zero_is_grey_and_jpeg_is_written_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("grey.jpg");
    assert_eq!(run(&["colorize", text(&photo("black-canyon")), text(&to), "--saturation", "0"]).0, 0);
    assert!(fs::read(&to).unwrap().starts_with(b"\xff\xd8"));
    let picture = image::open(&to).unwrap().to_rgb8();
    assert!(picture.pixels().all(|pixel| pixel.0.iter().all(|channel| channel.abs_diff(pixel.0[0]) <= 3)));
}

#[test]
fn unreadable_pictures_are_named_and_the_others_colored() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir(&from).unwrap();
    fs::write(from.join("a.jpg"), "no picture").unwrap();
    fs::copy(photo("black-canyon"), from.join("b.jpg")).unwrap();
    fs::write(from.join("c.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let (code, said) = run(&["colorize", text(&from), text(&to)]);
    assert_eq!((code, said.lines().count()), (65, 1), "{said}");
    assert!(said.contains("2 of 3 pictures were left out") && said.contains("a.jpg"), "{said}");
    assert!(to.join("b.png").exists());
}

#[test]
fn a_signal_ends_a_film_and_leaves_no_half_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("out.y4m");
    let mut child = program::program(&["colorize", "-", text(&to)]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let film = y4m("F25:1 C420jpeg", (32, 32), 256, 3, waves);
    stdin.write_all(&film).unwrap();
    let files = || fs::read_dir(folder.path()).unwrap().count();
    while files() == 0 {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    // Though the pipe is silent, and not as a film that is done.
    let ended = child.wait().unwrap();
    assert_eq!((ended.signal(), files()), (Some(15), 0));
    drop(stdin);
}

#[test]
fn a_pipe_that_closes_early_is_no_failure() {
    use std::io::Read;
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("in.y4m");
    fs::write(&from, y4m("F25:1 C420jpeg", (160, 120), 80 * 60, 40, waves)).unwrap();
    let commands: [&[&str]; 2] = [&["colorize", text(&from), "-"], &["run", "--input", text(&from), "--output", "-"]];
    for arguments in commands {
        let mut child = program::program(arguments).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 1000]).unwrap();
        drop(stdout);
        let (code, said) = said(&child.wait_with_output().unwrap());
        assert_eq!(code, 0, "{said}");
        assert!(!said.contains("panic") && !said.contains("pipe"), "{said}");
    }
}
