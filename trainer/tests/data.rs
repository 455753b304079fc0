//! Packing and loading as whole programs: what is left when one is killed or finds no room, and whether memory grows.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use autochrome_trainer::data::shard::PackedSet;

const TRAINER: &str = env!("CARGO_BIN_EXE_autochrome-trainer");

/// Hard links to one photograph under `count` names.
fn photographs(folder: &Path, count: usize) -> PathBuf {
    let photos = folder.join("photos");
    std::fs::create_dir(&photos).unwrap();
    let first = folder.join("first.png");
    image::RgbImage::from_fn(640, 480, |x, y| image::Rgb([x as u8, y as u8, (x * y / 200) as u8])).save(&first).unwrap();
    for index in 0..count {
        std::fs::hard_link(&first, photos.join(format!("view_{index:04}.png"))).unwrap();
    }
    photos
}

fn pack(mut command: Command, photos: &Path, out: &Path) -> Command {
    command.arg("pack").arg(photos).args(["--short-side", "48", "--force", "--out"]).arg(out);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn hidden_files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with('.'))).count()
}

#[test]
fn a_pack_that_is_killed_or_finds_the_disk_full_leaves_nothing_half_way() {
    let folder = tempfile::tempdir().unwrap();
    // Three batches, so that there is an unfinished shard for most of the time.
    let photos = photographs(folder.path(), 700);
    let out = folder.path().join("pack");

    let mut child = pack(Command::new(TRAINER), &photos, &out).spawn().unwrap();
    let started = Instant::now();
    while hidden_files(&out) == 0 {
        assert!(started.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none(), "no shard was begun");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(PackedSet::open(&out).is_err());
    assert!(hidden_files(&out) >= 1, "the unfinished shards");

    let output = pack(Command::new(TRAINER), &photos, &out).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let whole = |out: &Path| {
        let set = PackedSet::open(out).unwrap();
        set.verify().unwrap();
        assert_eq!((set.manifest().items.len(), hidden_files(out)), (700, 0));
    };
    whole(&out);

    // No file may grow beyond some hundred kilobytes: to a program that is what a full disk looks like. The signal that comes with it is
    // ignored, as with a disk there is none.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 500; exec \"$0\" \"$@\"", TRAINER]);
    let output = pack(limited, &photos, &out).output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("train-000-b.shard; is the disk full?") && !text.contains("panicked"), "{text}");
    // What was there before is still whole.
    whole(&out);
}

#[test]
fn memory_does_not_grow_with_the_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let (photos, out) = (photographs(folder.path(), 20), folder.path().join("pack"));
    assert!(pack(Command::new(TRAINER), &photos, &out).output().unwrap().status.success());
    let output = Command::new(TRAINER)
        .arg("loader")
        .arg(&out)
        .args(["--threads", "1", "--chunks", "1", "--growth-chunks", "2000"])
        .output()
        .unwrap();
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    let line = text.lines().find_map(|line| line.strip_prefix("memory of its own: ")).unwrap();
    let kib: Vec<i64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    // 2,000 chunks are 300 MB of numbers; one kept of a hundred would be 3 MB.
    assert!(kib[1] - kib[0] < 2048, "{line}");
}

#[test]
fn shards_packed_one_by_one_merge_into_a_set_whose_colors_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let photos = photographs(folder.path(), 20);
    let part = |index: usize| {
        let out = folder.path().join(format!("part-{index}"));
        let output = pack(Command::new(TRAINER), &photos, &out).args(["--shard", &format!("{index}/2")]).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        out
    };
    let parts = [part(2), part(1)];
    let (whole, prior) = (folder.path().join("whole"), folder.path().join("prior"));
    let output = Command::new(TRAINER).arg("merge").arg(&whole).args(&parts).output().unwrap();
    assert!(output.status.success() && said(&output).contains("20 stills"), "{}", said(&output));
    PackedSet::open(&whole).unwrap().verify().unwrap();
    let output = Command::new(TRAINER).arg("prior").arg(&whole).arg("--out").arg(&prior).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let found: serde_json::Value = serde_json::from_slice(&std::fs::read(prior.join("prior.json")).unwrap()).unwrap();
    assert_eq!(found["grids"]["seed004-105"]["weights"].as_array().unwrap().len(), 105);
    for name in ["heat-map", "palette-seventeen", "palette-zhang-313", "palette-seed004-105"] {
        image::open(prior.join(format!("{name}.png"))).unwrap();
    }
}

#[test]
fn a_set_without_training_pictures_has_no_prior() {
    use autochrome_trainer::data::split::{Split, split_of};

    let folder = tempfile::tempdir().unwrap();
    let photos = photographs(folder.path(), 40);
    for photo in std::fs::read_dir(&photos).unwrap().map(|entry| entry.unwrap()) {
        if split_of(&photo.file_name().to_string_lossy()) == Split::Train {
            std::fs::remove_file(photo.path()).unwrap();
        }
    }
    let (out, prior) = (folder.path().join("pack"), folder.path().join("prior"));
    let output = pack(Command::new(TRAINER), &photos, &out).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let output = Command::new(TRAINER).arg("prior").arg(&out).arg("--out").arg(&prior).output().unwrap();
    assert!(output.status.code() == Some(1) && said(&output).contains("nothing in its training split"), "{}", said(&output));
    assert!(!prior.exists());
}
