//! `eval` as a person types it, with the shipped model on made-up pictures.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn eval(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_autochrome-trainer"));
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/autochrome-192x144-int8.onnx");
    command.arg("eval").arg(model).arg("--data").arg(data);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A plain folder of two colored pictures.
fn pictures(folder: &Path) -> PathBuf {
    let photos = folder.join("photos");
    std::fs::create_dir(&photos).unwrap();
    for hue in 0..2 {
        let picture = image::RgbImage::from_fn(64, 48, |x, y| {
            let wave = |phase: f32| (127.0 + 100.0 * (x as f32 / 20.0 + y as f32 / 15.0 * phase + hue as f32 * phase).sin()) as u8;
            image::Rgb([wave(1.0), wave(1.7), wave(2.3)])
        });
        picture.save(photos.join(format!("picture_{hue}.png"))).unwrap();
    }
    photos
}

#[test]
fn a_plain_folder_gives_a_table_json_and_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let photos = pictures(folder.path());
    let page = folder.path().join("report.html");
    let output = eval(&photos).args(["--stills-only", "--json", "--report"]).arg(&page).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let lines: Vec<serde_json::Value> =
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["conditions"]["set"], &lines[0]["conditions"]["stills"]), (&"photos".into(), &2.into()));
    let names: Vec<&str> = lines[1..].iter().map(|line| line["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["truth", "grey", "autochrome-192x144-int8"]);
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
    // Nothing of the folder that it was packed into for this once is told.
    assert!(!html.contains(std::env::temp_dir().to_str().unwrap()));

    let output = eval(&photos).args(["--stills-only", "--without-state"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("2 stills") && text.lines().any(|line| line.starts_with("autochrome-192x144-int8 ")), "{text}");
    assert!(text.lines().any(|line| line.starts_with("autochrome-192x144-int8, no state")), "{text}");
}

#[test]
fn a_measured_picture_gives_no_colors_and_a_page_that_cannot_be_written_loses_no_figures() {
    let folder = tempfile::tempdir().unwrap();
    let photos = pictures(folder.path());
    let packed = folder.path().join("packed");
    let pack = Command::new(env!("CARGO_BIN_EXE_autochrome-trainer")).arg("pack").arg(&photos).arg("--out").arg(&packed).output().unwrap();
    assert!(pack.status.success(), "{}", said(&pack));
    let output = eval(&photos).args(["--stills-only", "--references"]).arg(&packed).output().unwrap();
    assert!(!output.status.success() && said(&output).contains("give away the truth"), "{}", said(&output));

    // A file stands where the page's folder would be.
    let page = photos.join("picture_0.png/report.html");
    image::RgbImage::new(64, 10).save(photos.join("strip.png")).unwrap();
    let output = eval(&photos).args(["--stills-only", "--report"]).arg(&page).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        !output.status.success() && said(&output).contains("write the report") && said(&output).contains("picture_0.png"),
        "{}",
        said(&output)
    );
    assert!(text.contains("2 stills of 144 pixels, 0 clips; left out 1 below 11 pixels a side"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("autochrome-192x144-int8")), "{text}");
}

#[test]
fn classes_are_not_taken_for_clips_where_it_is_said_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path());
    let classes = folder.path().join("classes");
    std::fs::create_dir(&classes).unwrap();
    std::fs::rename(folder.path().join("photos"), classes.join("fens")).unwrap();
    let conditions = |data: &Path| {
        let output = eval(data).args(["--stills-only", "--json"]).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let first = String::from_utf8_lossy(&output.stdout).lines().next().unwrap().to_owned();
        serde_json::from_str::<serde_json::Value>(&first).unwrap()["conditions"].clone()
    };
    let named = format!("imagenet:{}", classes.display());
    let found = conditions(Path::new(&named));
    assert_eq!((&found["set"], &found["stills"], &found["clips"]), (&"classes".into(), &2.into(), &0.into()));
    // Without a kind, a folder of folders is clips.
    assert_eq!(conditions(&classes)["stills"], 1);
}

#[test]
fn what_cannot_be_measured_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let photos = pictures(folder.path());
    let text = folder.path().join("inception.onnx");
    std::fs::write(&text, "no network").unwrap();
    let nowhere = folder.path().join("nowhere");
    let fid = text.to_str().unwrap();
    let cases: [(&Path, &[&str], &[&str]); 3] = [
        (&nowhere, &[], &["nowhere", "pack"]),
        (&photos, &["--fid-weights", fid], &["inception.onnx", "ONNX"]),
        (&photos, &["--temperatures=0"], &["temperature 0", "positive"]),
    ];
    for (data, arguments, expected) in cases {
        let output = eval(data).args(arguments).output().unwrap();
        let said = said(&output);
        assert!(!output.status.success() && said.trim().lines().count() == 1, "{said}");
        assert!(expected.iter().all(|part| said.contains(part)), "{said}");
    }
}

#[test]
fn what_is_not_packed_yet_is_shrunk_as_asked_and_a_packed_set_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let photos = pictures(folder.path());
    let output = eval(&photos).args(["--stills-only", "--short-side", "24"]).output().unwrap();
    assert!(output.status.success() && said(&output).contains("2 stills of 24 pixels"), "{}", said(&output));
    let packed = folder.path().join("packed");
    let mut pack = Command::new(env!("CARGO_BIN_EXE_autochrome-trainer"));
    assert!(pack.arg("pack").arg(&photos).arg("--out").arg(&packed).status().unwrap().success());
    let output = eval(&packed).args(["--split", "all", "--short-side", "24"]).output().unwrap();
    assert!(!output.status.success() && said(&output).contains("is a packed set, and measured as it was packed"), "{}", said(&output));
}
