//! `list-cameras`: what cameras there are, what they give, and why one cannot be used.

use std::fmt::Write;
use std::io;

use lexopt::prelude::*;
use serde::Serialize;

use crate::cli;
use crate::errors::{Exit, Failure, OrFail, Result};
use crate::input::CameraSpec;
use crate::input::camera::driver::{Driver, Machine, Node, Rate, Sizes};
use crate::input::camera::kernel::Linux;
use crate::input::camera::negotiate::choose;
use crate::input::camera::spec::{FORMATS, fourcc_name};
use crate::input::camera::why_not;

/// How many sizes of a format are asked for their rates: each is a question to the driver.
const SIZES_MAX: usize = 64;

/// Reads the command's options and does it.
///
/// # Errors
/// Whatever ended it; that there is no camera is no error.
pub fn command(mut parser: lexopt::Parser) -> Result<()> {
    let mut json = false;
    while let Some(argument) = parser.next().map_err(Failure::usage)? {
        match argument {
            Long("json") => json = true,
            Short('h') | Long("help") => return cli::help(),
            other => return Err(cli::unexpected(other)),
        }
    }
    let found = survey(&Linux::default());
    cli::print(&if json { serde_json::to_string_pretty(&found).or_fail(Exit::Other, || "write JSON".into())? } else { told(&found) })
}

/// A video device.
#[derive(Debug, Serialize)]
struct Found {
    /// `/dev/videoN`
    device: String,
    /// The name of the camera in whatever port, if udev made one.
    by_id: Option<String>,
    /// The name of the port, whatever camera is in it.
    by_path: Option<String>,
    card: String,
    driver: String,
    bus: String,
    /// Whether it gives video to programs.
    captures: bool,
    formats: Vec<FormatFound>,
    /// The format that `run` would ask for, and why.
    chosen: Option<Chosen>,
    /// Why it cannot be used.
    unusable: Option<String>,
}

#[derive(Debug, Serialize)]
struct FormatFound {
    name: String,
    /// Whether this program reads it.
    read: bool,
    sizes: Vec<SizeFound>,
}

#[derive(Debug, PartialEq, Serialize)]
struct SizeFound {
    /// Width and height; with `to`, the smallest.
    size: (u32, u32),
    /// The largest, where everything between goes too.
    to: Option<(u32, u32)>,
    /// Frames a second.
    rates: Vec<f64>,
}

#[derive(Debug, Serialize)]
struct Chosen {
    format: String,
    why: String,
}

/// The video devices of this machine that cannot be used as cameras, and why.
pub(crate) fn unusable() -> Vec<(String, String)> {
    survey(&Linux::default()).into_iter().filter_map(|found| Some((found.device, found.unusable?))).collect()
}

/// Asks every video device of a machine what it is. Nothing is set, and no stream of another program is disturbed.
fn survey(machine: &dyn Machine) -> Vec<Found> {
    machine.nodes().into_iter().map(|node| asked(machine, node)).collect()
}

fn asked(machine: &dyn Machine, node: Node) -> Found {
    let name = |link: &Option<std::path::PathBuf>| link.as_ref().map(|path| path.display().to_string());
    let mut found = Found {
        device: node.path.display().to_string(),
        by_id: name(&node.by_id),
        by_path: name(&node.by_path),
        card: node.name.clone(),
        driver: String::new(),
        bus: String::new(),
        captures: false,
        formats: Vec::new(),
        chosen: None,
        unusable: None,
    };
    let opened = machine.open(&node.path).and_then(|mut driver| look(driver.as_mut(), &mut found));
    if let Err(error) = opened {
        found.unusable = Some(why_not(&error));
    }
    found
}

fn look(driver: &mut dyn Driver, found: &mut Found) -> io::Result<()> {
    let about = driver.about()?;
    (found.card, found.driver, found.bus) = (about.card, about.driver, about.bus);
    let Some(planes) = about.planes else {
        found.unusable = Some("it gives no video: it is an output, a codec, or the metadata of a camera".into());
        return Ok(());
    };
    found.captures = true;
    driver.use_planes(planes);
    let offered = driver.formats()?;
    for &fourcc in &offered {
        let sizes = driver.sizes(fourcc).into_iter().take(SIZES_MAX);
        let described = |sizes| {
            let (size, to) = match sizes {
                Sizes::One(width, height) => ((width, height), None),
                Sizes::Between(least, most) => (least, Some(most)),
            };
            let mut rates: Vec<f64> = driver.rates(fourcc, size).into_iter().map(Rate::hz).collect();
            rates.sort_by(f64::total_cmp);
            SizeFound { size, to, rates }
        };
        found.formats.push(FormatFound {
            name: fourcc_name(fourcc),
            read: FORMATS.contains(&fourcc),
            sizes: sizes.map(described).collect(),
        });
    }
    match choose(driver, &offered, &CameraSpec::default()) {
        Some(choice) => found.chosen = Some(Chosen { format: fourcc_name(choice.fourcc), why: choice.why.into() }),
        None => {
            let names = if found.formats.is_empty() {
                "no format; a camera of a Raspberry Pi that needs libcamera is read with --input rpicam:640x480@25".into()
            } else {
                let names: Vec<_> = found.formats.iter().map(|format| format.name.as_str()).collect();
                format!("{}, none of which is read", names.join(", "))
            };
            found.unusable = Some(format!("it offers {names}"));
        }
    }
    // To give back buffers that one does not have changes nothing, and is refused where another program has some.
    if let Err(error) = driver.request_buffers(0)
        && found.unusable.is_none()
    {
        found.unusable = Some(why_not(&error));
    }
    Ok(())
}

/// The list as people read it.
fn told(found: &[Found]) -> String {
    let mut text = String::new();
    for camera in found {
        let _ = writeln!(text, "{}: {}", camera.device, if camera.card.is_empty() { "unknown" } else { &camera.card });
        if !camera.driver.is_empty() {
            let _ = writeln!(text, "  on {}, driver {}", camera.bus, camera.driver);
        }
        for link in camera.by_id.iter().chain(&camera.by_path) {
            let _ = writeln!(text, "  also {link}");
        }
        text.push_str(&formats_told(&camera.formats));
        match (&camera.unusable, &camera.chosen) {
            (Some(why), _) => drop(writeln!(text, "  cannot be used: {why}")),
            (None, Some(chosen)) => {
                let stable = camera.by_id.as_ref().or(camera.by_path.as_ref()).unwrap_or(&camera.device);
                let _ = writeln!(text, "  would be used as {}: {}", chosen.format, chosen.why);
                let _ = writeln!(text, "  --input v4l2:{stable}");
            }
            (None, None) => {}
        }
    }
    if !found.iter().any(|camera| camera.unusable.is_none()) {
        text.push_str(
            "no camera can be used. Plug one in and see whether `dmesg` notices it; a camera of a Raspberry Pi that needs libcamera is read with \
             --input rpicam:640x480@25, anything that writes Y4M with --input y4m:COMMAND; without any camera there is `autochrome demo`\n",
        );
    }
    text
}

/// The formats, those with the same sizes and rates together.
fn formats_told(formats: &[FormatFound]) -> String {
    let mut groups: Vec<(Vec<&str>, &[SizeFound])> = Vec::new();
    for format in formats.iter().filter(|format| format.read) {
        match groups.iter_mut().find(|(_, sizes)| *sizes == format.sizes) {
            Some((names, _)) => names.push(&format.name),
            None => groups.push((vec![&format.name], &format.sizes)),
        }
    }
    let mut text = String::new();
    for (names, sizes) in groups {
        let _ = writeln!(text, "  {}", names.join(", "));
        for SizeFound { size: (width, height), to, rates } in sizes {
            let to = to.map_or(String::new(), |(width, height)| format!(" to {width}x{height}"));
            let rates: Vec<_> = rates.iter().map(|rate| format!("{}", (rate * 100.0).round() / 100.0)).collect();
            let rates = if rates.is_empty() { String::new() } else { format!(" at {} frames/s", rates.join(", ")) };
            let _ = writeln!(text, "    {width}x{height}{to}{rates}");
        }
    }
    let others: Vec<&str> = formats.iter().filter(|format| !format.read).map(|format| format.name.as_str()).collect();
    if !others.is_empty() {
        let _ = writeln!(text, "  and not read here: {}", others.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_with_the_same_sizes_are_told_together() {
        let format = |name: &str, width| FormatFound {
            name: name.into(),
            read: name != "RGB3",
            sizes: vec![SizeFound { size: (width, 480), to: None, rates: vec![25.0, 30000.0 / 1001.0] }],
        };
        let text = formats_told(&[format("YUYV", 640), format("RGB3", 640), format("MJPG", 1280), format("GREY", 640)]);
        let expected =
            "  YUYV, GREY\n    640x480 at 25, 29.97 frames/s\n  MJPG\n    1280x480 at 25, 29.97 frames/s\n  and not read here: RGB3\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_no_camera_is_listed_with_the_reason() {
        let root = tempfile::tempdir().unwrap();
        let machine = Linux { dev: root.path().join("dev"), sys: root.path().join("sys") };
        assert!(told(&survey(&machine)).starts_with("no camera can be used."));
        std::fs::create_dir_all(machine.dev.join("v4l/by-id")).unwrap();
        std::fs::create_dir_all(machine.sys.join("class/video4linux/video0")).unwrap();
        std::fs::write(machine.dev.join("video0"), "").unwrap();
        std::fs::write(machine.sys.join("class/video4linux/video0/name"), "A file\n").unwrap();
        std::os::unix::fs::symlink("../../video0", machine.dev.join("v4l/by-id/usb-A")).unwrap();
        std::os::unix::fs::symlink("nowhere", machine.dev.join("video1")).unwrap();
        let found = survey(&machine);
        let text = told(&found);
        assert!(text.contains("video0: A file\n  also ") && text.contains("v4l/by-id/usb-A\n"), "{text}");
        assert!(text.contains("cannot be used: Inappropriate ioctl for device: it is not a V4L2 camera"), "{text}");
        assert!(text.contains("there is no such device"), "{text}");
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!((&json[0]["card"], &json[0]["captures"]), (&"A file".into(), &false.into()));
        assert!(json[1]["unusable"].is_string());
    }
}
