//! The boards: the files that come with the program, those that a system has instead, and which one this machine is.

use std::path::Path;

use super::layers::{read_bounded, toml_files};

/// The files that come with the program.
const BUILT_IN: [(&str, &str); 9] = [
    ("raspberry-pi-3", include_str!("../../../board-configs/raspberry-pi-3.toml")),
    ("raspberry-pi-4", include_str!("../../../board-configs/raspberry-pi-4.toml")),
    ("raspberry-pi-5", include_str!("../../../board-configs/raspberry-pi-5.toml")),
    ("raspberry-pi-zero-2-w", include_str!("../../../board-configs/raspberry-pi-zero-2-w.toml")),
    ("orange-pi-5", include_str!("../../../board-configs/orange-pi-5.toml")),
    ("rock-5b", include_str!("../../../board-configs/rock-5b.toml")),
    ("generic-aarch64", include_str!("../../../board-configs/generic-aarch64.toml")),
    ("generic-armv7", include_str!("../../../board-configs/generic-armv7.toml")),
    ("generic-x86_64", include_str!("../../../board-configs/generic-x86_64.toml")),
];
/// The folders whose files replace those of the program with the same `id`; the later folder wins.
const FOLDERS: [&str; 2] = ["usr/share/autochrome/boards", "etc/autochrome/boards"];
/// How many files of a folder are read.
const FILES_MAX: usize = 100;
/// The longest `compatible` that is read, in bytes.
const COMPATIBLE_MAX: usize = 4096;

/// A board's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// What `board` calls it.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The device tree's `compatible` strings that mean this board.
    pub matches: Vec<String>,
    /// Its processor cores.
    pub cores: Option<u32>,
    /// Whether there are figures that were measured on it.
    pub measured: bool,
    /// The file's path, or a name for one that is inside the program.
    pub place: String,
    /// The file.
    pub text: String,
}

impl Board {
    /// Reads what a board's file says of the board itself; the rest is read only if it is the board.
    pub(super) fn read(place: String, text: String) -> Result<Self, String> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| format!("it is not TOML: {}", error.message()))?;
        let word = |key: &str| table.get(key).and_then(toml::Value::as_str).map(str::to_owned).ok_or_else(|| format!("it has no {key}"));
        let (id, name) = (word("id")?, word("name")?);
        let matches = table.get("match").and_then(toml::Value::as_array).ok_or("it has no list called match")?;
        let matches = matches.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect();
        let cores = table.get("cores").and_then(toml::Value::as_integer).and_then(|cores| cores.try_into().ok());
        let measured = table.get("measured").and_then(toml::Value::as_bool).unwrap_or(false);
        Ok(Self { id, name, matches, cores, measured, place, text })
    }
}

/// All boards. A file that cannot be read is a warning: it may well be another machine's.
pub(super) fn all(root: &Path, warnings: &mut Vec<String>) -> Vec<Board> {
    let mut boards = Vec::new();
    for (id, text) in BUILT_IN {
        match Board::read(format!("board {id}"), text.to_owned()) {
            Ok(board) => boards.push(board),
            Err(why) => warnings.push(format!("board {id}: {why}")),
        }
    }
    for folder in FOLDERS {
        for path in toml_files(&root.join(folder)).into_iter().take(FILES_MAX) {
            let place = format!("/{folder}/{}", path.file_name().unwrap_or_default().to_string_lossy());
            match read_bounded(&path).and_then(|text| Board::read(place.clone(), text)) {
                Ok(board) => {
                    boards.retain(|known: &Board| known.id != board.id);
                    boards.push(board);
                }
                Err(why) => warnings.push(format!("{place}: {why}; this board is left out")),
            }
        }
    }
    boards
}

/// The `compatible` strings of the device tree, the most particular first; none where there is no device tree.
pub fn compatible(root: &Path) -> Vec<String> {
    let Ok(bytes) = std::fs::read(root.join("proc/device-tree/compatible")) else { return Vec::new() };
    let bytes = bytes.get(..COMPATIBLE_MAX).unwrap_or(&bytes);
    bytes.split(|&byte| byte == 0).filter(|text| !text.is_empty()).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

/// The board of that id; for `auto` the one that the device tree names, else the generic one of the architecture.
pub(super) fn pick<'b>(
    boards: &'b [Board],
    id: &str,
    root: &Path,
    architecture: &str,
    warnings: &mut Vec<String>,
) -> Result<Option<&'b Board>, String> {
    let with_id = |id: &str| boards.iter().find(|board| board.id == id);
    if id != "auto" {
        let known = || boards.iter().map(|board| board.id.as_str()).collect::<Vec<_>>().join(", ");
        return with_id(id).map(Some).ok_or_else(|| format!("board: there is no board {id:?}; there are auto, {}", known()));
    }
    let strings = compatible(root);
    // The last of several boards with the same string is the one from /etc.
    let named = strings.iter().find_map(|string| boards.iter().rev().find(|board| board.matches.contains(string)));
    if named.is_some() {
        return Ok(named);
    }
    let generic = with_id(match architecture {
        "aarch64" => "generic-aarch64",
        "arm" => "generic-armv7",
        "x86_64" => "generic-x86_64",
        _ => "",
    });
    let used = generic.map_or("no board's settings", |board| board.name.as_str());
    // A machine without a device tree, a PC, is not expected to be known by name.
    if let Some(first) = strings.first() {
        warnings.push(format!("no board file matches {first:?}, which the device tree calls this board; using {used}"));
    } else if architecture != "x86_64" {
        warnings.push(format!("the device tree does not say which board this is; using {used}"));
    }
    Ok(generic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(compatible: &[u8]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("proc/device-tree")).unwrap();
        std::fs::write(root.path().join("proc/device-tree/compatible"), compatible).unwrap();
        root
    }

    #[test]
    fn every_board_is_known_by_its_device_tree() {
        // What each board's kernel has in /proc/device-tree/compatible.
        let cases: [(&[u8], &str, &str); 13] = [
            (b"raspberrypi,3-model-b\0brcm,bcm2837\0", "aarch64", "raspberry-pi-3"),
            (b"raspberrypi,3-model-b-plus\0brcm,bcm2837\0", "aarch64", "raspberry-pi-3"),
            (b"raspberrypi,4-model-b\0brcm,bcm2711\0", "aarch64", "raspberry-pi-4"),
            (b"raspberrypi,5-model-b\0brcm,bcm2712\0", "aarch64", "raspberry-pi-5"),
            (b"raspberrypi,model-zero-2-w\0brcm,bcm2837\0", "aarch64", "raspberry-pi-zero-2-w"),
            (b"raspberrypi,model-zero-2-w\0brcm,bcm2837\0", "arm", "raspberry-pi-zero-2-w"),
            (b"xunlong,orangepi-5\0rockchip,rk3588s\0", "aarch64", "orange-pi-5"),
            (b"rockchip,rk3588s-orangepi-5\0rockchip,rk3588\0", "aarch64", "orange-pi-5"),
            (b"radxa,rock-5b\0rockchip,rk3588\0", "aarch64", "rock-5b"),
            (b"brand,new-board\0rockchip,rk3588\0", "aarch64", "generic-aarch64"),
            (b"brand,new-board\0", "arm", "generic-armv7"),
            (b"\0\0\xff\xfe\0", "aarch64", "generic-aarch64"),
            (b"", "x86_64", "generic-x86_64"),
        ];
        for (compatible, architecture, expected) in cases {
            let root = tree(compatible);
            let mut warnings = Vec::new();
            let boards = all(root.path(), &mut warnings);
            let board = pick(&boards, "auto", root.path(), architecture, &mut warnings).unwrap().unwrap();
            assert_eq!(board.id, expected, "{compatible:?}");
            // A board that was not recognized is said, but on a PC there is nothing to recognize.
            let is_said = expected.starts_with("generic") && architecture != "x86_64";
            assert_eq!(warnings.len(), usize::from(is_said), "{compatible:?}: {warnings:?}");
        }
    }

    #[test]
    fn no_two_boards_share_an_id_or_a_string() {
        let mut seen = std::collections::BTreeSet::new();
        for (name, text) in BUILT_IN {
            let board = Board::read(name.into(), text.into()).unwrap();
            assert_eq!(board.id, name);
            assert!(seen.insert(board.id.clone()), "{name}");
            assert!(board.matches.iter().all(|string| seen.insert(string.clone())), "{name}");
            // Nobody has measured anything on a board yet; this has to change with docs/benchmarks.md.
            assert!(!board.measured, "{name}");
        }
    }

    #[test]
    fn files_of_the_system_go_before_those_of_the_program() {
        let root = tree(b"raspberrypi,5-model-b\0brcm,bcm2712\0");
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let picked = |warnings: &mut Vec<String>| {
            let boards = all(root.path(), warnings);
            pick(&boards, "auto", root.path(), "aarch64", warnings).unwrap().unwrap().place.clone()
        };
        assert_eq!(picked(&mut Vec::new()), "board raspberry-pi-5");
        write("usr/share/autochrome/boards/pi5.toml", "id = \"raspberry-pi-5\"\nname = \"a\"\nmatch = [\"raspberrypi,5-model-b\"]");
        assert_eq!(picked(&mut Vec::new()), "/usr/share/autochrome/boards/pi5.toml");
        write("etc/autochrome/boards/kiosk.toml", "id = \"kiosk\"\nname = \"b\"\nmatch = [\"raspberrypi,5-model-b\"]");
        assert_eq!(picked(&mut Vec::new()), "/etc/autochrome/boards/kiosk.toml");
        write("etc/autochrome/boards/broken.toml", "id = ");
        let mut warnings = Vec::new();
        assert_eq!(picked(&mut warnings), "/etc/autochrome/boards/kiosk.toml");
        assert!(warnings.len() == 1 && warnings[0].starts_with("/etc/autochrome/boards/broken.toml: it is not TOML"), "{warnings:?}");
    }

    #[test]
    fn a_board_can_be_named() {
        let root = tempfile::tempdir().unwrap();
        let boards = all(root.path(), &mut Vec::new());
        let pick = |id| pick(&boards, id, root.path(), "x86_64", &mut Vec::new()).map(|board| board.unwrap().id.clone());
        assert_eq!(pick("rock-5b").unwrap(), "rock-5b");
        assert!(pick("rock-6").unwrap_err().starts_with("board: there is no board \"rock-6\"; there are auto, raspberry-pi-3,"));
    }
}
