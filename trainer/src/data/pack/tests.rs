//! Packing small folders and records of every kind.

use std::path::Path;
use std::process::{Command, ExitStatus};

use super::*;
use crate::data::import::test_pictures::picture;
use crate::data::shard::PackedSet;

fn input(path: &Path, kind: InputKind, source: &str) -> PackInput {
    PackInput { path: path.to_path_buf(), kind, source: source.to_owned() }
}

fn config(out: &Path, inputs: Vec<PackInput>) -> PackConfig {
    PackConfig { inputs, out: out.to_path_buf(), short_side: 48, max_clip_frames: 10, ..PackConfig::default() }
}

#[test]
fn pictures_and_clips_come_back_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (photos, clips, out) = (folder.path().join("photos"), folder.path().join("clips"), folder.path().join("pack"));
    std::fs::create_dir_all(photos.join("deeper")).unwrap();
    // PNG, so that the bytes are the picture's own; 48 is the packed short side, so that nothing is shrunk.
    picture(64, 48, 1).save(photos.join("sea_1.png")).unwrap();
    picture(40, 56, 2).save(photos.join("deeper").join("wood_2.PNG")).unwrap();
    std::fs::write(photos.join("broken_3.jpg"), b"not a picture").unwrap();
    std::fs::write(photos.join("MANIFEST.csv"), b"ignored").unwrap();
    std::fs::create_dir_all(clips.join("walk_by")).unwrap();
    for frame in 1..=21 {
        picture(50, 48, frame).save(clips.join("walk_by").join(format!("{frame}.png"))).unwrap();
    }
    let mut heard = Vec::new();
    let inputs = vec![input(&photos, InputKind::Stills, "photos"), input(&clips, InputKind::Clips, "clips")];
    let summary = pack(&config(&out, inputs), &mut |done, total| heard.push((done, total))).unwrap();
    assert_eq!((summary.stills, summary.clips, summary.frames), (2, 2, 22));
    assert_eq!(summary.skipped.len(), 1);
    assert!(summary.skipped[0].path.ends_with("broken_3.jpg"), "{:?}", summary.skipped);
    assert_eq!((heard.first(), heard.last()), (Some(&(0, 4)), Some(&(4, 4))));

    let set = PackedSet::open(&out).unwrap();
    set.verify().unwrap();
    let items: Vec<_> = Split::ALL.iter().flat_map(|&split| set.items(split)).collect();
    let find = |name: &str| items.iter().find(|item| item.name == name).unwrap();
    assert_eq!(set.frame(find("sea_1.png"), 0), picture(64, 48, 1).as_raw().as_slice());
    assert_eq!(set.frame(find("wood_2.PNG"), 0), picture(40, 56, 2).as_raw().as_slice());
    assert_eq!((find("sea_1.png").tag.as_str(), find("sea_1.png").source.as_str()), ("sea", "photos"));
    // 21 frames at 10 an item: two parts, and a tail of one frame is dropped. Frame 10 comes after frame 9.
    assert_eq!(set.frame(find("walk_by"), 9), picture(50, 48, 10).as_raw().as_slice());
    assert_eq!(set.frame(find("walk_by#2"), 0), picture(50, 48, 11).as_raw().as_slice());
    assert!(find("sea_1.png").mean_chroma > 5.0);
}

#[test]
fn a_packed_set_is_not_overwritten_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let (photos, out) = (folder.path().join("photos"), folder.path().join("pack"));
    std::fs::create_dir(&photos).unwrap();
    picture(64, 48, 1).save(photos.join("a_1.png")).unwrap();
    let mut config = config(&out, vec![PackInput::detect(&photos).unwrap()]);
    pack(&config, &mut |_, _| ()).unwrap();
    let message = format!("{:#}", pack(&config, &mut |_, _| ()).unwrap_err());
    assert!(message.contains("already holds a packed set") && message.contains("--force"), "{message}");
    picture(64, 48, 2).save(photos.join("a_2.png")).unwrap();
    config.force = true;
    assert_eq!(pack(&config, &mut |_, _| ()).unwrap().stills, 2);
    PackedSet::open(&out).unwrap().verify().unwrap();
}

#[test]
fn an_input_of_which_nothing_can_be_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (photos, out) = (folder.path().join("photos"), folder.path().join("pack"));
    std::fs::create_dir(&photos).unwrap();
    std::fs::write(photos.join("broken.jpg"), b"not a picture").unwrap();
    let message = format!("{:#}", pack(&config(&out, vec![input(&photos, InputKind::Stills, "photos")]), &mut |_, _| ()).unwrap_err());
    assert!(message.contains("none of the pictures") && message.contains("broken.jpg"), "{message}");
    assert!(PackedSet::open(&out).is_err());
}

#[test]
fn a_limit_takes_the_same_stills_from_both_splits() {
    let inputs = [input(Path::new("photos"), InputKind::Stills, "photos"), input(Path::new("clips"), InputKind::Clips, "clips")];
    let jobs = || -> Vec<Job> {
        let job = |name: String, input| Job { content: Content::Picture(PathBuf::from(&name)), name, tag: None, input };
        (0..4000).map(|i| job(format!("p_{i}.jpg"), 0)).chain([job("clip".to_owned(), 1)]).collect()
    };
    let kept = |limit| {
        let mut jobs = jobs();
        keep_some_stills(&mut jobs, &inputs, limit);
        jobs.into_iter().map(|job| job.name).collect::<Vec<_>>()
    };
    let (small, large) = (kept(1000), kept(2000));
    assert_eq!(small.len(), 1001);
    assert!(small.iter().all(|name| large.contains(name)), "a larger limit only adds");
    assert!(small.contains(&"clip".to_owned()), "clips are not counted");
    let validation = small.iter().filter(|name| split_of(name) == Split::Validation).count();
    // 5 % of 1000 is 51, with a standard deviation of 7; 0 or 1000 would mean the order follows the split.
    assert!((20..90).contains(&validation), "{validation}");
}

#[test]
fn a_video_gives_as_many_frames_as_ffmpeg_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("film_test.mkv");
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=10:duration=2.5", "-c:v", "ffv1"])
        .arg(&film)
        .status();
    if !is_made(made) {
        return;
    }
    let out = folder.path().join("pack");
    let summary = pack(&config(&out, vec![PackInput::detect(&film).unwrap()]), &mut |_, _| ()).unwrap();
    // 25 frames at 10 an item: the last five are too few for an item.
    assert_eq!((summary.clips, summary.frames), (2, 20), "{:?}", summary.skipped);
    let set = PackedSet::open(&out).unwrap();
    let item = Split::ALL.iter().flat_map(|&split| set.items(split)).next().unwrap();
    assert_eq!((item.width, item.height, item.source.as_str()), (64, 48, "film_test"));
    assert_ne!(set.frame(item, 0), set.frame(item, 9));
    // Into an upright box: 60 x 45 in its middle, black above and below.
    let config = PackConfig {
        pad: Some([60, 81]),
        video_fps: Some(5.0),
        ..config(&folder.path().join("padded"), vec![PackInput::detect(&film).unwrap()])
    };
    assert_eq!(pack(&config, &mut |_, _| ()).unwrap().frames, 10);
    let set = PackedSet::open(&config.out).unwrap();
    let item = Split::ALL.iter().flat_map(|&split| set.items(split)).next().unwrap();
    assert_eq!((item.width, item.height), (60, 81));
    let rows: Vec<bool> = set.frame(item, 3).chunks_exact(60 * 3).map(|row| row.iter().all(|&value| value < 3)).collect();
    // 120 x 60 / 160 is 45, and even sides are taken: 44 rows from (81 - 44) / 2 on.
    assert!(rows[..18].iter().chain(&rows[62..]).all(|black| *black), "{rows:?}");
    assert!(!rows[18] && !rows[61], "{rows:?}");
}

/// A film of even colors, limited YCbCr, that says nothing of its matrix; false without an ffmpeg.
fn untagged_film(film: &Path, [width, height]: [usize; 2], frames: &[[u8; 3]]) -> bool {
    let raw = film.with_extension("y4m");
    let mut bytes = format!("YUV4MPEG2 W{width} H{height} F10:1 Ip A1:1 C444\n").into_bytes();
    for color in frames {
        bytes.extend(b"FRAME\n");
        color.iter().for_each(|&value| bytes.resize(bytes.len() + width * height, value));
    }
    std::fs::write(&raw, bytes).unwrap();
    let made = Command::new("ffmpeg").args(["-nostdin", "-v", "error", "-i"]).arg(&raw).args(["-c:v", "ffv1"]).arg(film).status();
    std::fs::remove_file(raw).unwrap();
    is_made(made)
}

/// Whether ffmpeg made a film. FFmpeg is optional, for packing and for these tests; where they are run to let a change in, it has to be there.
fn is_made(made: std::io::Result<ExitStatus>) -> bool {
    let usable = made.as_ref().is_ok_and(ExitStatus::success);
    assert!(usable || std::env::var_os("CI").is_none(), "no usable ffmpeg, which bootstrap.sh installs: {made:?}");
    if !usable {
        eprintln!("skipped: no usable ffmpeg");
    }
    usable
}

#[test]
fn a_film_that_does_not_say_its_matrix_has_the_one_of_its_size() {
    // (200, 60, 40) by BT.709 and by BT.601, Rec. ITU-R BT.709-6 and BT.601-7.
    for (name, size, color) in [("large", [1280, 720], [92, 105, 190]), ("small", [160, 120], [102, 98, 191])] {
        let folder = tempfile::tempdir().unwrap();
        let film = folder.path().join(name).with_extension("mkv");
        if !untagged_film(&film, size, &[color; 10]) {
            return;
        }
        let config = config(&folder.path().join("pack"), vec![PackInput::detect(&film).unwrap()]);
        assert_eq!(pack(&config, &mut |_, _| ()).unwrap().frames, 10);
        let set = PackedSet::open(&config.out).unwrap();
        let item = Split::ALL.iter().flat_map(|&split| set.items(split)).next().unwrap();
        // Rounded twice, to YCbCr and back; the other matrix is 14 off.
        let off = set.frame(item, 5)[..3].iter().zip([200, 60, 40]).map(|(found, wanted)| found.abs_diff(wanted)).max();
        assert!(off.unwrap() <= 4, "{name}: {:?}", &set.frame(item, 5)[..3]);
    }
}

#[test]
fn pieces_of_a_film_that_are_grey_throughout_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("credits.mkv");
    let (grey, red) = ([120, 128, 128], [102, 98, 191]);
    // Ten frames an item: grey, mixed, colored.
    let frames: Vec<[u8; 3]> = (0..30).map(|frame| if frame < 15 { grey } else { red }).collect();
    if !untagged_film(&film, [160, 120], &frames) {
        return;
    }
    let summary = pack(&config(&folder.path().join("pack"), vec![PackInput::detect(&film).unwrap()]), &mut |_, _| ()).unwrap();
    assert_eq!((summary.clips, summary.frames, summary.grey), (2, 20, 1));
}

#[test]
fn a_video_of_changing_rate_gives_each_frame_once() {
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("film_test.mkv");
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=10:duration=1"])
        .args(["-vf", "setpts='(N+N*N/4)/10/TB'", "-fps_mode", "passthrough", "-c:v", "ffv1"])
        .arg(&film)
        .status();
    if !is_made(made) {
        return;
    }
    let every = config(&folder.path().join("every"), vec![PackInput::detect(&film).unwrap()]);
    assert_eq!(pack(&every, &mut |_, _| ()).unwrap().frames, 10);
}

#[test]
fn published_collections_are_packed_at_their_size_without_the_grey() {
    let folder = tempfile::tempdir().unwrap();
    let (stl, cifar, coco) = (folder.path().join("stl"), folder.path().join("cifar"), folder.path().join("coco"));
    [&stl, &cifar, &coco].iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
    // Red, and grey.
    let planes = |pixels: usize, [r, g, b]: [u8; 3]| [vec![r; pixels], vec![g; pixels], vec![b; pixels]].concat();
    let stl_records = [planes(9216, [200, 30, 30]), planes(9216, [90, 90, 90]), planes(9216, [20, 30, 200])].concat();
    std::fs::write(stl.join("train_X.bin"), stl_records).unwrap();
    std::fs::write(stl.join("train_y.bin"), [1, 2, 9]).unwrap();
    std::fs::write(cifar.join("data_batch_1.bin"), [vec![6], planes(1024, [30, 160, 60])].concat()).unwrap();
    picture(64, 48, 1).save(coco.join("000000000009.png")).unwrap();
    image::RgbImage::from_pixel(64, 48, image::Rgb([77; 3])).save(coco.join("000000000025.png")).unwrap();
    std::fs::create_dir_all(coco.join("annotations/panoptic_val2017")).unwrap();
    picture(64, 48, 2).save(coco.join("annotations/panoptic_val2017/000000000009.png")).unwrap();
    let annotations = r#"{"images": [{"id": 9, "file_name": "000000000009.png"}], "categories": [{"id": 1, "name": "boat"}],
        "annotations": [{"image_id": 9, "category_id": 1, "area": 5.5}]}"#;
    std::fs::write(coco.join("instances_val2017.json"), annotations).unwrap();

    let inputs =
        vec![input(&stl, InputKind::Stl10, "stl"), input(&cifar, InputKind::Cifar10, "cifar"), input(&coco, InputKind::Coco, "coco")];
    let config = PackConfig { short_side: 40, ..config(&folder.path().join("pack"), inputs) };
    let summary = pack(&config, &mut |_, _| ()).unwrap();
    assert_eq!((summary.stills, summary.grey, summary.small, summary.skipped.len()), (4, 2, 1, 0));
    let set = PackedSet::open(&config.out).unwrap();
    let mut found: Vec<_> = Split::ALL
        .iter()
        .flat_map(|&split| set.items(split))
        .map(|item| (item.name.as_str(), item.tag.as_str(), item.width, item.height))
        .collect();
    found.sort_unstable();
    let expected = [
        ("000000000009.png", "boat", 53, 40),
        ("data_batch_1_000000", "frog", 32, 32),
        ("train_000000", "airplane", 40, 40),
        ("train_000002", "ship", 40, 40),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_set_is_replaced_only_by_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let (photos, out) = (folder.path().join("photos"), folder.path().join("pack"));
    std::fs::create_dir(&photos).unwrap();
    picture(64, 48, 1).save(photos.join("a_1.png")).unwrap();
    let mut config = config(&out, vec![input(&photos, InputKind::Stills, "photos")]);
    pack(&config, &mut |_, _| ()).unwrap();
    // What a kill leaves: a shard without a name, and one with a name that no manifest knows.
    std::fs::write(out.join(".shard-abc"), b"half").unwrap();
    std::fs::write(out.join("train-007.shard"), b"a whole one of a pack that did not end").unwrap();
    let notes = out.join("train-notes.shard");
    std::fs::write(&notes, b"somebody's own").unwrap();
    config.force = true;
    std::fs::write(photos.join("a_1.png"), b"not a picture").unwrap();
    assert!(pack(&config, &mut |_, _| ()).is_err());
    PackedSet::open(&out).unwrap().verify().unwrap();
    picture(64, 48, 2).save(photos.join("a_1.png")).unwrap();
    for _ in 0..3 {
        pack(&config, &mut |_, _| ()).unwrap();
        let set = PackedSet::open(&out).unwrap();
        assert_eq!(set.frame(&set.items(split_of("a_1.png"))[0], 0), picture(64, 48, 2).as_raw().as_slice());
        // The manifest, its shard, the notes, and nothing else.
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 3);
    }
    let _busy = Claim::of(&out, true).unwrap();
    let message = format!("{:#}", pack(&config, &mut |_, _| ()).unwrap_err());
    assert!(message.contains("another process is packing"), "{message}");
    assert!(notes.exists(), "a file that no pack has written is gone");
}

#[test]
fn a_film_that_is_cut_off_keeps_its_frames_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("half.mkv");
    let frames: Vec<[u8; 3]> = (0..40).map(|frame| [80 + frame, 98, 191]).collect();
    if !untagged_film(&film, [160, 120], &frames) {
        return;
    }
    let bytes = std::fs::read(&film).unwrap();
    std::fs::write(&film, &bytes[..bytes.len() / 2]).unwrap();
    let summary = pack(&config(&folder.path().join("pack"), vec![PackInput::detect(&film).unwrap()]), &mut |_, _| ()).unwrap();
    assert!((8..40).contains(&summary.frames), "{} frames", summary.frames);
    assert!(
        summary.skipped.len() == 1 && summary.skipped[0].reason.contains("as far as they came: ffmpeg complained of"),
        "{:?}",
        summary.skipped
    );
}

#[test]
fn a_limit_of_nothing_is_refused_and_what_was_there_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (photos, out) = (folder.path().join("photos"), folder.path().join("pack"));
    std::fs::create_dir(&photos).unwrap();
    picture(64, 48, 1).save(photos.join("a_1.png")).unwrap();
    let config = config(&out, vec![input(&photos, InputKind::Stills, "photos")]);
    pack(&config, &mut |_, _| ()).unwrap();
    let nothing = PackConfig { limit: Some(0), force: true, ..config };
    assert!(pack(&nothing, &mut |_, _| ()).unwrap_err().to_string().contains("limit is 0"));
    PackedSet::open(&out).unwrap().verify().unwrap();
}

#[cfg(unix)]
#[test]
fn a_skipped_file_may_have_any_name() {
    use std::os::unix::ffi::OsStrExt;
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(b"photos/b\xff.png"));
    let written = serde_json::to_string(&Skipped { path, reason: "no picture".into() }).unwrap();
    let read: Skipped = serde_json::from_str(&written).unwrap();
    assert_eq!(read.path, Path::new("photos/b\u{fffd}.png"));
}
