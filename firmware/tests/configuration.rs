//! `config`, `check-config` and `doctor`, as a person or a package's script calls them.

#![allow(clippy::unwrap_used, reason = "a test that fails is meant to panic")]

#[allow(dead_code, reason = "each test program uses its part")]
mod program;

use std::fs;
use std::path::Path;

use program::{program, run, run_with, said};

/// Exit code, standard output and standard error.
fn asked(arguments: &[&str]) -> (i32, String, String) {
    let output = run_with(arguments, b"");
    let (code, error) = said(&output);
    (code, String::from_utf8(output.stdout).unwrap(), error)
}

#[test]
fn a_file_with_mistakes_is_refused_with_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let path = file.to_str().unwrap();
    fs::write(&file, "schema = 1\n[camera]\nfsp = 15\nfps = 0\n").unwrap();
    let (code, output, error) = asked(&["check-config", path]);
    assert_eq!((code, output.as_str()), (78, ""));
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines[0], format!("autochrome: {path}:3: camera.fsp is not a key; did you mean camera.fps?"));
    assert_eq!(lines[1], format!("autochrome: {path}:4: camera.fps: 0 is not a whole number from 1 to 1000"));
    assert_eq!((lines[2], lines.len()), ("autochrome: 2 mistakes in the configuration", 3));
    // Where only one can be said, the others are counted.
    let (code, error) = run(&["config", "show", "--config", path]);
    assert!(code == 78 && error.lines().count() == 1 && error.contains("and 1 more"), "{code}: {error}");
    fs::write(&file, "schema = 1\n[camera]\nfps = 15\n").unwrap();
    assert_eq!(asked(&["check-config", path]), (0, format!("{path} is valid\n"), String::new()));
    assert_eq!(run(&["check-config", path, "no/such/file.toml"]).0, 78);
}

#[test]
fn the_board_files_of_the_repository_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../board-configs");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path().to_str().unwrap().to_owned());
    let files: Vec<String> = files.filter(|path| path.ends_with(".toml")).collect();
    assert!(files.len() >= 8);
    let arguments: Vec<&str> = ["check-config"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let (code, output, error) = asked(&arguments);
    assert_eq!((code, output.lines().count()), (0, files.len()), "{error}");
}

#[test]
fn what_applies_is_shown_with_where_it_came_from() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    fs::write(&file, "camera.size = \"320x240\"\n").unwrap();
    let path = file.to_str().unwrap();
    let arguments = ["config", "show", "--origin", "--config", path, "--set", "camera.fps=7", "--set", "board=rock-5b"];
    let output = program(&arguments).env("AUTOCHROME__COLOR__HUE", "-4").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {text}"));
    for (start, end) in [
        ("size = \"320x240\"", format!("# {path}:1")),
        ("fps = 7", "# --set camera.fps=7".into()),
        ("hue = -4.0", "# AUTOCHROME__COLOR__HUE".into()),
        ("mix = 1.0", "# built-in".into()),
        ("stop-c = 83.0", "# board rock-5b:28".into()),
    ] {
        assert!(line(start).ends_with(&end), "{}", line(start));
    }
}

#[test]
fn mistakes_on_the_command_line_are_no_mistakes_of_the_configuration() {
    for arguments in
        [["config"].as_slice(), &["config", "edit"], &["config", "show", "--fast"], &["check-config", "--fast"], &["doctor", "x"]]
    {
        let (code, error) = run(arguments);
        assert!(code == 2 && error.lines().count() == 1, "{arguments:?}: {code} {error}");
    }
}

#[test]
fn doctor_says_the_same_for_people_and_for_programs() {
    let (code, text, _) = asked(&["doctor"]);
    let (_, json, _) = asked(&["doctor", "--json"]);
    let checks: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert!(checks.iter().any(|check| check["name"] == "model" && check["state"] == "ok"), "{json}");
    // What this machine lacks is not known here; that the exit code goes with it is.
    assert_eq!(code, i32::from(text.contains("PROBLEM")), "{text}");
    assert_eq!(text.lines().filter(|line| !line.starts_with(' ')).count(), checks.len());
}
