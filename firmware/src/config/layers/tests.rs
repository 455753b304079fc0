use super::*;
use crate::config::show::{Showing, show};

/// A folder that stands for `/`, with these files in it.
fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    root
}

fn layers(root: &tempfile::TempDir, environment: &[(&str, &str)], sets: &[&str]) -> Layers {
    let environment = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    let layers = Layers::from_root(root.path(), environment, sets.iter().map(|&set| set.to_owned()).collect());
    Layers { architecture: "aarch64".into(), ..layers }
}

fn mistakes(layers: &Layers) -> Vec<String> {
    layers.load().unwrap_err().0.iter().map(ToString::to_string).collect()
}

const MAIN: &str = "etc/autochrome/config.toml";
const PI_5: (&str, &str) = ("proc/device-tree/compatible", "raspberrypi,5-model-b\0brcm,bcm2712\0");

#[test]
fn later_layers_win_and_say_where_they_are() {
    // Each step adds a layer, and each layer has to win over all before.
    let (main, first, second) = ("[camera]\nfps = 11", "camera.fps = 12", "[camera]\n\nfps = 13");
    let files = [PI_5, (MAIN, main), ("etc/autochrome/config.d/10-a.toml", first), ("etc/autochrome/config.d/20-b.toml", second)];
    let environment = [("AUTOCHROME__CAMERA__FPS", "14"), ("HOME", "/"), ("AUTOCHROME_OTHER", "x")];
    let sets = ["camera.fps=15"];
    let steps = [
        (0, 0, 0, None, "built-in", Layer::BuiltIn),
        (1, 0, 0, Some(25), "board raspberry-pi-5:17", Layer::Board),
        (2, 0, 0, Some(11), "/etc/autochrome/config.toml:2", Layer::File),
        (3, 0, 0, Some(12), "/etc/autochrome/config.d/10-a.toml:1", Layer::DropIn),
        (4, 0, 0, Some(13), "/etc/autochrome/config.d/20-b.toml:3", Layer::DropIn),
        (4, 3, 0, Some(14), "AUTOCHROME__CAMERA__FPS", Layer::Environment),
        (4, 3, 1, Some(15), "--set camera.fps=15", Layer::Set),
    ];
    for (files_there, variables, sets_there, fps, place, layer) in steps {
        let root = root(&files[..files_there]);
        let loaded = layers(&root, &environment[..variables], &sets[..sets_there]).load().unwrap();
        assert_eq!(loaded.config.camera.fps, fps, "{place}");
        if let Some(placed) = loaded.values.get("camera.fps") {
            assert_eq!((placed.origin.to_string().as_str(), placed.origin.layer), (place, layer));
        }
    }
}

#[test]
fn a_named_file_replaces_etc_but_not_the_rest() {
    let root = root(&[
        (MAIN, "camera.fps = 1\ncamera.size = \"1x1\""),
        ("etc/autochrome/config.d/a.toml", "camera.fps = 2"),
        ("my.toml", "camera.fps = 3"),
    ]);
    let named = |file: &str| Layers { file: Some(root.path().join(file)), ..layers(&root, &[("AUTOCHROME__COLOR__HUE", "5")], &[]) };
    let config = named("my.toml").load().unwrap().config;
    assert_eq!((config.camera.fps, config.camera.size, config.color.hue), (Some(3), None, 5.0));
    let missing = mistakes(&named("none.toml"));
    assert!(missing.len() == 1 && missing[0].contains("none.toml: it cannot be read: No such file"), "{missing:?}");
}

#[test]
fn every_mistake_is_listed_with_its_line() {
    let text = "\
schema = 2
fps = 5
output = []
[camera]
fsp = 15
fps = 5000
size = \"big\"
wait = \"yes\"
input = { kind = 1 }
tone = 3
[camera.tone]
black = 300
[camara]
fps = 1
[presets.warm]
satturation = 1
hue = 99
[presets.\"a b\"]
hue = 1
[thermal]
step-up-c = 90
";
    // `tone` twice is not TOML; without that line everything else is found.
    let root_1 = root(&[(MAIN, text)]);
    let found = mistakes(&layers(&root_1, &[], &[]));
    assert!(found.len() == 1 && found[0].starts_with("/etc/autochrome/config.toml:11: it is not TOML: "), "{found:?}");
    let root_2 = root(&[(MAIN, &text.replace("tone = 3\n", "\n"))]);
    let found =
        mistakes(&layers(&root_2, &[("AUTOCHROME__CAMERA__FSP", "1"), ("AUTOCHROME__PANEL__BAUD", "fast")], &["camera", "color.mix=2"]));
    let expected = [
        "/etc/autochrome/config.toml:1: schema: 2 is not 1: this program reads schema 1, and no other",
        "/etc/autochrome/config.toml:2: fps is not a key; did you mean camera.fps?",
        "/etc/autochrome/config.toml:3: output is not a key; did you mean outputs?",
        "/etc/autochrome/config.toml:5: camera.fsp is not a key; did you mean camera.fps?",
        "/etc/autochrome/config.toml:6: camera.fps: 5000 is not a whole number from 1 to 1000",
        "/etc/autochrome/config.toml:7: camera.size: \"big\" is not WIDTHxHEIGHT, each from 1 to 8192",
        "/etc/autochrome/config.toml:8: camera.wait: \"yes\" is not true or false",
        "/etc/autochrome/config.toml:9: camera.input: a table is not an input, as --input takes it",
        "/etc/autochrome/config.toml:12: camera.tone.black: 300 is not a number from 0 to 254",
        "/etc/autochrome/config.toml:13: camara is not a key; did you mean camera?",
        "/etc/autochrome/config.toml:16: presets.warm.satturation is not a key; did you mean presets.warm.saturation?",
        "/etc/autochrome/config.toml:17: presets.warm.hue: 99 is not a number from -30 to 30",
        "/etc/autochrome/config.toml:18: presets.a b: \"a b\" is not a name; it is one word of letters, digits, - and _",
        "AUTOCHROME__CAMERA__FSP: camera.fsp is not a key; did you mean camera.fps?",
        "AUTOCHROME__PANEL__BAUD: panel.baud: \"fast\" is not a whole number from 300 to 4000000",
        "--set camera: it is KEY=VALUE, as in camera.fps=15",
        "--set color.mix=2: color.mix: 2 is not a number from 0 to 1",
        "/etc/autochrome/config.toml:21: thermal.step-up-c is 90 and has to be below thermal.step-down-c, which is 70",
    ];
    assert_eq!(found, expected);
    let failure = Failure::from(layers(&root_2, &[], &[]).load().unwrap_err());
    assert_eq!(failure.exit, Exit::Config);
    assert!(failure.to_string().contains("(and 13 more; `autochrome check-config` lists them)"), "{failure}");
}

#[test]
fn what_belongs_together_is_checked_together() {
    let cases = [
        ("camera.tone.black=200\ncamera.tone.white=100", "camera.tone.black is 200 and has to be below camera.tone.white, which is 100"),
        ("thermal.stop-c=60.5", "thermal.step-down-c is 70 and has to be below thermal.stop-c, which is 60.5"),
        ("color.preset=\"warm\"", "color.preset: there is no \"warm\" in presets; there are none"),
        ("color.preset=\"warm\"\npresets.cold.hue=1\npresets.cold.mix=1", "color.preset: there is no \"warm\" in presets; there are cold"),
        (
            "thermal.small-model=\"s\"\nmodel.choices.small=\"a\"",
            "thermal.small-model: there is no \"s\" in model.choices; there are small",
        ),
        ("board = \"rock\"", "board: there is no board \"rock\"; there are auto, raspberry-pi-3"),
    ];
    for (text, part) in cases {
        let found = mistakes(&layers(&root(&[(MAIN, text)]), &[], &[]));
        assert!(found.len() == 1 && found[0].starts_with("/etc/autochrome/config.toml:") && found[0].contains(part), "{text}: {found:?}");
    }
}

#[test]
fn an_empty_text_takes_back_what_was_said_before() {
    let root = root(&[PI_5, (MAIN, "camera.size = \"\"\npage.token-file = \"/a\"")]);
    let loaded = layers(&root, &[("AUTOCHROME__PAGE__TOKEN_FILE", "")], &[]).load().unwrap();
    assert_eq!((loaded.config.camera.size, loaded.config.page.token_file), (None, None));
    // A key that has to stand at something cannot stand at nothing.
    assert_eq!(mistakes(&layers(&root, &[], &["color.hue="])).len(), 1);
}

#[test]
fn the_environment_and_set_take_words_without_quotes() {
    let variables = [
        ("AUTOCHROME__OUTPUTS", "http://0.0.0.0:80, null"),
        ("AUTOCHROME__CAMERA__V4L2_INPUT", "1"),
        ("AUTOCHROME__CAMERA__CONTROLS__EXPOSURE_AUTO", "-3"),
        ("AUTOCHROME__PRESETS__OLD_FILM__SATURATION", "0.5"),
        ("AUTOCHROME__KIOSK__STATE_FOLDER", "\"/data\""),
    ];
    let config = layers(&root(&[]), &variables, &["camera.input=/films/my film.y4m", "camera.formats=[\"GREY\"]"]).load().unwrap().config;
    assert_eq!(config.outputs, ["http://0.0.0.0:80", "null"]);
    assert_eq!(config.camera.v4l2_input, Some(1));
    assert_eq!(config.camera.controls["exposure_auto"], -3);
    assert_eq!(config.presets["old_film"].saturation, Some(0.5));
    assert_eq!(config.kiosk.state_folder, Path::new("/data"));
    assert_eq!((config.camera.input.as_str(), config.camera.formats.as_slice()), ("/films/my film.y4m", ["GREY".to_owned()].as_slice()));
}

#[test]
fn what_is_shown_can_be_read_again() {
    let text = "outputs = [\"null\"]\n[presets.warm]\nhue = 5\nsaturation = 1.3\n[presets.cold]\nhue = -5\n[camera.controls]\nfocus = 3\n[model.choices]\nsmall = \"/m/s.onnx\"";
    let first_root = root(&[PI_5, (MAIN, text)]);
    let first = layers(&first_root, &[], &["page.token-file=/a \"quoted\" \\ path"]).load().unwrap();
    for showing in [Showing::default(), Showing { origin: true, ..Showing::default() }] {
        let shown = show(&first, showing).unwrap();
        let second_root = root(&[(MAIN, &shown)]);
        let second = layers(&second_root, &[], &[]).load().unwrap_or_else(|mistakes| panic!("{shown}\n{mistakes:?}"));
        assert_eq!(second.config, first.config, "{shown}");
    }
    let diff = show(&first, Showing { diff: true, origin: true, ..Showing::default() }).unwrap();
    assert!(diff.contains("outputs = [\"null\"]") && diff.contains("# /etc/autochrome/config.toml:1\n"), "{diff}");
    assert!(diff.contains("# board raspberry-pi-5:") && !diff.contains("mix ="), "{diff}");
    let json: serde_json::Value = serde_json::from_str(&show(&first, Showing { json: true, ..Showing::default() }).unwrap()).unwrap();
    assert_eq!(json["presets"]["warm"]["hue"], 5.0);
    let json = show(&first, Showing { json: true, origin: true, ..Showing::default() }).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["presets.cold.hue"]["from"]["line"], 6);
    assert_eq!(json["camera.fps"]["from"]["layer"], "board");
}

#[test]
fn every_board_that_comes_with_the_program_is_valid() {
    // As the package installs it, for the boards that want it.
    let root = root(&[("usr/share/autochrome/models/autochrome-lite0-128x96-int8.onnx", "")]);
    for id in [
        "raspberry-pi-3",
        "raspberry-pi-4",
        "raspberry-pi-5",
        "raspberry-pi-zero-2-w",
        "orange-pi-5",
        "rock-5b",
        "generic-aarch64",
        "generic-armv7",
        "generic-x86_64",
    ] {
        let loaded = layers(&root, &[], &[&format!("board={id}")]).load().unwrap_or_else(|mistakes| panic!("{id}: {mistakes:?}"));
        assert!(loaded.warnings.is_empty(), "{id}: {:?}", loaded.warnings);
        assert!(loaded.values["thermal.stop-c"].origin.layer == Layer::Board, "{id}");
        let limit = if id == "generic-x86_64" { 95.0 } else { 85.0 };
        assert!(loaded.config.thermal.stop_c < limit, "{id}");
    }
}

#[test]
fn mistakes_in_the_boards_file_are_mistakes_too() {
    let board = "id = \"mine\"\nname = \"Mine\"\nmatch = [\"me\"]\ncores = 0\ncolour = 1\n[camera]\nfps = 0\n";
    let root = root(&[("etc/autochrome/boards/mine.toml", board), ("proc/device-tree/compatible", "me\0")]);
    let expected = [
        "/etc/autochrome/boards/mine.toml:4: cores: 0 is not a whole number from 1 to 1024",
        "/etc/autochrome/boards/mine.toml:5: colour is not a key; did you mean color?",
        "/etc/autochrome/boards/mine.toml:7: camera.fps: 0 is not a whole number from 1 to 1000",
    ];
    assert_eq!(mistakes(&layers(&root, &[], &[])), expected);
}

#[test]
fn files_that_are_no_configuration_are_refused_in_words() {
    let long = format!("#{}", "x".repeat(FILE_BYTES_MAX as usize));
    let deep = format!("outputs = {}{}", "[".repeat(10_000), "]".repeat(10_000));
    let cases: [(&[u8], &str); 6] = [
        (long.as_bytes(), "longer than 256 KiB"),
        (b"\xff\xfe", "it is not UTF-8 text, from byte 0 on"),
        (b"[camera\nfps = 1", ":1: it is not TOML"),
        (b"camera.fps = 99999999999999999999", ":1: camera.fps: "),
        (b"camera = 3", ":1: camera is a table, written [camera] on a line of its own"),
        (deep.as_bytes(), ":1: it is not TOML"),
    ];
    for (bytes, part) in cases {
        let root = root(&[]);
        let path = root.path().join(MAIN);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let found = mistakes(&layers(&root, &[], &[]));
        assert!(found[0].contains(part), "{part}: {found:?}");
    }
    // Half of a file, cut anywhere, is read or refused.
    let whole = include_str!("../../../../board-configs/raspberry-pi-5.toml");
    for end in 0..whole.len() {
        if let Some(cut) = whole.get(..end) {
            let _ = check_text(cut, "cut.toml", true);
        }
    }
}
