//! The checks, each for itself.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use autochrome_model::{LumaRange, Painter, Plane};

use super::{Check, Device, State, fallback};
use crate::config::{Config, Layers, Loaded, Mistakes};
use crate::list_cameras;
use crate::model;
use crate::output::Sink;
use crate::thermal::{self, Throttled};

/// The first second of 2026: no device that runs this program is older.
const CLOCK_MIN: u64 = 1_767_225_600;
/// Free memory below which a picture becomes unlikely, and below which it is tight, in MiB.
const MEMORY_MIB: (u64, u64) = (96, 192);
/// Free space for models below which one may not fit, in MiB.
const DISK_MIB: u64 = 32;
/// The most that is read of a file of the system, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 18;
/// How many devices of a kind are looked at.
const DEVICES_MAX: usize = 64;

fn ok(name: &'static str, found: impl Into<String>) -> Check {
    Check { name, state: State::Ok, found: found.into(), fix: None }
}

fn warning(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Check {
    Check { name, state: State::Warning, found: found.into(), fix: Some(fix.into()) }
}

fn problem(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Check {
    Check { name, state: State::Problem, found: found.into(), fix: Some(fix.into()) }
}

/// Reads the configuration; what comes after goes on with the built-in one if it is wrong.
pub(super) fn configuration(layers: &Layers, checks: &mut Vec<Check>) -> Loaded {
    match layers.load() {
        Ok(loaded) => {
            let files = if loaded.files.is_empty() { "no files, all defaults".into() } else { loaded.files.join(", ") };
            checks.push(ok("configuration", files));
            let measured = |measured| if measured { "measured" } else { "its settings are not measured" };
            checks.push(match &loaded.board {
                Some(board) => ok("board", format!("{} ({}; {})", board.name, board.id, measured(board.measured))),
                None => warning("board", "unknown", "write a board file: board-configs/README.md says how"),
            });
            for warning_said in &loaded.warnings {
                let fix = "name the board, as in board = \"raspberry-pi-5\", or write a board file";
                let fix =
                    if warning_said.starts_with("the model") { "install it, or take model.variant out of the configuration" } else { fix };
                checks.push(warning("configuration", warning_said.clone(), fix));
            }
            loaded
        }
        Err(Mistakes(mistakes)) => {
            let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
            let more = if mistakes.len() > 1 { format!(", and {} more", mistakes.len() - 1) } else { String::new() };
            checks.push(problem("configuration", first + &more, "`autochrome check-config` lists every mistake"));
            fallback()
        }
    }
}

/// All the others.
pub(super) fn all(device: &Device, loaded: &Loaded, checks: &mut Vec<Check>) {
    let config = &loaded.config;
    access(device, checks);
    cameras(device, config, checks);
    checks.push(temperature(device, config));
    checks.extend(power(device));
    checks.extend(clock_speed(device));
    checks.push(memory(device));
    checks.push(state_folder(device, config));
    checks.push(clock(device));
    checks.push(processor(device));
    checks.push(self_test(config.model_file(&device.root).0.as_deref()));
    pages(device, config, checks);
    checks.extend(panel(device, config));
    checks.push(screens(device, config));
    checks.extend(service(device));
}

/// A folder's entries whose names begin so and go on with a digit, in the order of their numbers.
fn numbered(folder: &Path, prefix: &str) -> Vec<(String, PathBuf)> {
    let Ok(listing) = fs::read_dir(folder) else { return Vec::new() };
    let entry = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.ok()?;
        let name = entry.file_name().into_string().ok()?;
        let number: u32 = name.strip_prefix(prefix)?.parse().ok()?;
        Some((number, name, entry.path()))
    };
    let mut found: Vec<(u32, String, PathBuf)> = listing.filter_map(entry).take(DEVICES_MAX).collect();
    found.sort();
    found.into_iter().map(|(_, name, path)| (name, path)).collect()
}

fn read_text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn read_line(path: &Path) -> Option<String> {
    read_text(path).map(|text| text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Whether the user may read and write the devices that are there.
fn access(device: &Device, checks: &mut Vec<Check>) {
    let kinds: [(&str, &str, &[&str], &str); 3] = [
        ("camera access", "dev", &["video"], "video"),
        ("screen access", "dev/dri", &["card", "renderD"], "video,render"),
        ("serial access", "dev", &["ttyACM", "ttyUSB"], "dialout"),
    ];
    for (name, folder, prefixes, usual) in kinds {
        let files = prefixes.iter().flat_map(|prefix| numbered(&device.at(folder), prefix));
        let files: Vec<(String, fs::Metadata)> = files.filter_map(|(name, path)| Some((name, path.metadata().ok()?))).collect();
        let (closed, open): (Vec<_>, Vec<_>) = files.iter().partition(|(_, metadata)| !may_use(device, metadata));
        let Some((first, metadata)) = closed.first() else {
            if !open.is_empty() {
                checks.push(ok(name, open.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")));
            }
            continue;
        };
        let group = group_name(device, metadata.gid()).unwrap_or_else(|| usual.to_owned());
        let found = format!("this user may not use {}", list(closed.iter().map(|(name, _)| name.as_str())));
        if group == "root" {
            checks.push(problem(
                name,
                found,
                format!("install the udev rules, or `sudo chgrp {usual} /{folder}/{first}` until the next start"),
            ));
        } else {
            checks.push(problem(name, found, format!("sudo usermod -aG {group} $USER, then log in again")));
        }
    }
}

/// Names in a row, cut where there are many.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.len() > 4 { format!("{} and {} more", names[..4].join(", "), names.len() - 4) } else { names.join(", ") }
}

fn may_use(device: &Device, metadata: &fs::Metadata) -> bool {
    let (person, mode) = (&device.person, metadata.mode());
    let allowed = if person.uid == metadata.uid() {
        mode >> 6
    } else if person.gids.contains(&metadata.gid()) {
        mode >> 3
    } else {
        mode
    };
    person.uid == 0 || allowed & 0o6 == 0o6
}

fn group_name(device: &Device, gid: u32) -> Option<String> {
    let groups = read_text(&device.at("etc/group"))?;
    let gid = gid.to_string();
    groups.lines().find(|line| line.split(':').nth(2) == Some(&gid)).and_then(|line| line.split(':').next()).map(str::to_owned)
}

/// The cameras, by what the kernel calls them, and the USB ports they are on.
fn cameras(device: &Device, config: &Config, checks: &mut Vec<Check>) {
    let nodes = numbered(&device.at("sys/class/video4linux"), "video");
    // A camera's other nodes carry metadata; the first has the pictures.
    let first = |path: &PathBuf| read_line(&path.join("index")).is_none_or(|index| index == "0");
    let nodes: Vec<_> = nodes.into_iter().filter(|(_, path)| first(path)).collect();
    let wants_one = config.camera.input.starts_with("v4l2:");
    if nodes.is_empty() {
        let (found, fix) = ("none", "plug one in and look at `dmesg`; until then `autochrome demo` needs none");
        checks.push(if wants_one { warning("cameras", found, fix) } else { ok("cameras", "none, and none is configured") });
    }
    // Only this machine's cameras can be asked.
    let unusable = if device.is_real() { list_cameras::unusable() } else { Vec::new() };
    for (node, path) in nodes {
        let name = read_line(&path.join("name")).unwrap_or_else(|| "unnamed".into());
        let usb = usb_port(&path);
        let on = usb.as_ref().map(|usb| format!(" on USB at {} Mbit/s", usb.mbits)).unwrap_or_default();
        let found = format!("/dev/{node}: {name}{on}");
        let why_not = unusable.iter().find(|(path, _)| *path == format!("/dev/{node}")).map(|(_, why)| why);
        checks.push(match usb {
            _ if !device.at(format!("dev/{node}")).exists() => {
                problem("cameras", format!("{found}, but /dev/{node} is missing"), "is this a container? pass the device in")
            }
            _ if why_not.is_some() => {
                let why = why_not.map(String::as_str).unwrap_or_default();
                warning("cameras", format!("{found}: {why}"), "`autochrome list-cameras` says what it offers")
            }
            Some(usb) if usb.mbits < 480.0 => {
                warning("cameras", format!("{found}, too slow for video"), "another port or cable; not behind an old hub or a keyboard")
            }
            Some(usb) if usb.milliamperes > 500 && usb.mbits <= 480.0 => {
                warning("cameras", format!("{found}, asks for {} mA", usb.milliamperes), "a hub with a power supply of its own")
            }
            _ => ok("cameras", found),
        });
    }
    let path = config.camera.input.strip_prefix("v4l2:").and_then(|rest| rest.split('?').next()).unwrap_or_default();
    if path.starts_with('/') && !device.at(path).exists() {
        let fix = "plug it in, or take one of `autochrome list-cameras`; `camera.wait` decides whether `run` waits for it";
        checks.push(warning("cameras", format!("camera.input is {path}, which is not there"), fix));
    }
}

struct UsbPort {
    mbits: f32,
    milliamperes: u32,
}

/// The USB device above a video node: the nearest folder with a speed.
fn usb_port(node: &Path) -> Option<UsbPort> {
    let mut folder = node.join("device").canonicalize().ok()?;
    for _ in 0..4 {
        if let Some(speed) = read_line(&folder.join("speed")) {
            let milliamperes = read_line(&folder.join("bMaxPower")).and_then(|text| text.trim_end_matches("mA").trim().parse().ok());
            return Some(UsbPort { mbits: speed.parse().ok()?, milliamperes: milliamperes.unwrap_or_default() });
        }
        folder = folder.parent()?.to_owned();
    }
    None
}

fn temperature(device: &Device, config: &Config) -> Check {
    let limits = &config.thermal;
    match thermal::celsius(&device.root, &limits.zones) {
        None => ok("temperature", "the system does not say"),
        Some(celsius) if celsius >= limits.stop_c => problem(
            "temperature",
            format!("{celsius:.0} C; coloring stops from {} C on", limits.stop_c),
            "a heat sink, a fan, or a cooler place",
        ),
        Some(celsius) if celsius >= limits.step_down_c => {
            let found = format!("{celsius:.0} C; fewer frames are colored from {} C on", limits.step_down_c);
            warning("temperature", found, "a heat sink, a fan, or a cooler place")
        }
        Some(celsius) => ok("temperature", format!("{celsius:.0} C; fewer frames are colored from {} C on", limits.step_down_c)),
    }
}

/// What a Raspberry Pi says of its power supply.
fn power(device: &Device) -> Option<Check> {
    let bits = Throttled::read(&device.root)?;
    let words = bits.words().join(", ");
    let supply = "a power supply and a cable that give 5.1 V under load";
    Some(if bits.is(Throttled::UNDER_VOLTAGE) {
        problem("power", words, supply)
    } else if bits.was(Throttled::UNDER_VOLTAGE) {
        warning("power", words, supply)
    } else if bits.is(Throttled::THROTTLED | Throttled::CAPPED) || bits.was(Throttled::THROTTLED) {
        warning("power", words, "it got too hot: a heat sink, a fan, or a cooler place")
    } else {
        ok("power", if words.is_empty() { "enough since the start".into() } else { words })
    })
}

fn clock_speed(device: &Device) -> Option<Check> {
    let (policy, limit, most) = thermal::clock_limits(&device.root).into_iter().next()?;
    let fix = "cooling, if it is heat; else /sys/devices/system/cpu/cpufreq/*/scaling_max_freq";
    Some(warning("processor clock", format!("{policy} is held at {limit} MHz of {most} MHz"), fix))
}

fn memory(device: &Device) -> Check {
    let text = read_text(&device.at("proc/meminfo")).unwrap_or_default();
    let mib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib >> 10)
    };
    let Some((free, total)) = mib("MemAvailable").zip(mib("MemTotal")) else { return ok("memory", "the system does not say") };
    let found = format!("{free} MiB of {total} MiB free");
    let fix = "end other programs; a desktop is not needed for the display";
    match free {
        _ if free < MEMORY_MIB.0 => problem("memory", found, fix),
        _ if free < MEMORY_MIB.1 => warning("memory", found, fix),
        _ => ok("memory", found),
    }
}

/// Where installed models are: whether there is room, and whether it lasts.
fn state_folder(device: &Device, config: &Config) -> Check {
    let folder = &config.kiosk.state_folder;
    let place = device.at(folder);
    // The nearest folder that is there says where it would be.
    let Some(there) = place.ancestors().find(|path| path.is_dir()) else { return warning("state folder", "nowhere", "check the disk") };
    let shown = folder.display();
    if let Some(kind) = passing_file_system(device, folder) {
        let fix = "what is installed there is lost at power-off: put kiosk.state-folder on a disk";
        return warning("state folder", format!("{shown} is on {kind}"), fix);
    }
    let free = rustix::fs::statvfs(there).ok().map(|stat| (stat.f_bavail.saturating_mul(stat.f_frsize)) >> 20);
    match free {
        Some(free) if free < DISK_MIB => {
            warning("state folder", format!("{shown} has {free} MiB left"), "make room: a model takes 1 to 8 MiB")
        }
        _ if !place.is_dir() => ok("state folder", format!("{shown} is not there yet; it is needed only for installed models")),
        Some(free) => ok("state folder", format!("{shown} has {free} MiB left")),
        None => ok("state folder", format!("{shown}; the system does not say how full it is")),
    }
}

/// The kind of file system of a folder, if it forgets everything at power-off.
fn passing_file_system(device: &Device, folder: &Path) -> Option<String> {
    let mounts = read_text(&device.at("proc/mounts"))?;
    let mount = |line: &str| {
        let mut words = line.split(' ').skip(1);
        Some((PathBuf::from(words.next()?), words.next()?.to_owned()))
    };
    let holding = mounts.lines().filter_map(mount).filter(|(at, _)| folder.starts_with(at));
    // The deepest mount; of two at the same place the later one lies on top.
    let (_, kind) = holding.max_by_key(|(at, _)| at.components().count())?;
    matches!(kind.as_str(), "tmpfs" | "ramfs" | "overlay").then_some(kind)
}

fn clock(device: &Device) -> Check {
    if device.now >= CLOCK_MIN {
        return ok("clock", "plausible");
    }
    let years = 1970 + device.now / 31_556_952;
    warning("clock", format!("it says {years}"), "connect a network and `sudo timedatectl set-ntp true`, or fit a clock battery")
}

/// Whether the processor has what int8 models like.
fn processor(device: &Device) -> Check {
    let text = read_text(&device.at("proc/cpuinfo")).unwrap_or_default();
    let field = |name: &str| {
        text.lines().find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim()))
    };
    let cores = text.lines().filter(|line| line.starts_with("processor")).count();
    let cores = if cores == 1 { "1 core".into() } else { format!("{cores} cores") };
    let flags: Vec<&str> = field("flags").or_else(|| field("Features")).unwrap_or_default().split_whitespace().collect();
    let has = |flag: &str| flags.contains(&flag);
    let dot_product = ["asimddp", "avx512_vnni", "avx_vnni"].into_iter().find(|flag| has(flag));
    let vectors = ["avx512f", "avx2", "avx", "asimd", "neon", "sse2"].into_iter().find(|flag| has(flag));
    match (dot_product, vectors) {
        (Some(dot_product), _) => ok("processor", format!("{cores}, int8 dot products ({dot_product})")),
        (None, Some(vectors)) => ok("processor", format!("{cores}, {vectors}, no int8 dot products")),
        (None, None) if flags.is_empty() => ok("processor", "the system does not say"),
        (None, None) => warning("processor", format!("{cores}, no vector instructions"), "another board: this one will be very slow"),
    }
}

/// Loads the model that a run begins with, and colors a made-up frame.
fn self_test(file: Option<&Path>) -> Check {
    let shown = file.map_or_else(|| "the bundled model".into(), |file| file.display().to_string());
    let colored = model::load(file, NonZeroUsize::MIN).and_then(|colorizer| {
        let name = colorizer.contract().card.name.clone();
        // A gradient: anything but a plain grey.
        let luma = Plane::from_vec(320, 240, (0..320 * 240).map(|i| ((i % 320 + i / 320) * 255 / 560) as u8).collect());
        let picture = Painter::new(colorizer, LumaRange::Full).paint(luma.clone())?;
        Ok((name, picture.luma == luma && picture.cb.data.len() == luma.data.len()))
    });
    match colored {
        Ok((name, true)) => ok("model", format!("{name} colors a test frame")),
        Ok((name, false)) => problem("model", format!("{name} gives a picture that is not the frame's"), "install another model"),
        Err(failure) => problem("model", format!("{shown}: {failure}"), "install it again, or take it out of the configuration"),
    }
}

/// Whether the addresses of the pages are free.
fn pages(device: &Device, config: &Config, checks: &mut Vec<Check>) {
    if !device.is_real() {
        return;
    }
    for sink in config.sinks().unwrap_or_default() {
        let Sink::Page(address) = sink else { continue };
        let addresses = address.to_socket_addrs();
        let tried = addresses.and_then(|addresses| TcpListener::bind(addresses.collect::<Vec<_>>().as_slice()));
        checks.push(match tried {
            Ok(_) => ok("page", format!("{address} is free")),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                warning("page", format!("{address} is taken"), "if it is not autochrome itself: end that program, or change `outputs`")
            }
            Err(error) => problem("page", format!("{address}: {error}"), "change `outputs` in the configuration"),
        });
    }
}

fn panel(device: &Device, config: &Config) -> Option<Check> {
    let port = config.panel.port.as_deref()?;
    let kind = device.at(port).metadata().map(|metadata| metadata.file_type());
    Some(match kind {
        Ok(kind) if kind.is_char_device() => ok("panel", format!("{port} is there")),
        Ok(_) => {
            problem("panel", format!("{port} is no serial port"), "a port is /dev/ttyACM0, /dev/ttyUSB0, or better /dev/serial/by-id/..")
        }
        Err(_) => warning("panel", format!("{port} is not there"), "plug the knob box in, or look into /dev/serial/by-id for its name"),
    })
}

/// The screens' connectors.
fn screens(device: &Device, config: &Config) -> Check {
    let wanted = config.outputs.iter().any(|output| output.starts_with("display:"));
    let folder = device.at("sys/class/drm");
    let cards: Vec<String> = numbered(&folder, "card").into_iter().map(|(name, _)| name).collect();
    let listing = fs::read_dir(&folder).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let connectors = listing.filter(|name| name.starts_with("card") && name.contains('-')).take(DEVICES_MAX);
    let is_connected = |name: &String| read_line(&folder.join(name).join("status")).as_deref() == Some("connected");
    let mut connected: Vec<String> =
        connectors.filter(is_connected).filter_map(|name| name.split_once('-').map(|(_, connector)| connector.to_owned())).collect();
    connected.sort();
    match (&config.display.connector, connected.as_slice()) {
        (Some(asked), found) if wanted && !found.contains(asked) => {
            let there = if found.is_empty() { "none".into() } else { found.join(", ") };
            warning("screen", format!("{asked} has no screen; connected: {there}"), "check the cable, or change display.connector")
        }
        (_, found) if !found.is_empty() => ok("screen", format!("{} connected", found.join(", "))),
        _ if !wanted => ok("screen", "none connected, and none is configured"),
        _ if cards.is_empty() => problem("screen", "no DRM device", "on a Raspberry Pi: dtoverlay=vc4-kms-v3d in config.txt"),
        _ => warning("screen", "none connected", "check the cable; a screen that is switched on later is found then"),
    }
}

/// The service, if it is installed.
fn service(device: &Device) -> Option<Check> {
    let folders = ["etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];
    folders.iter().find(|folder| device.at(folder).join("autochrome.service").exists())?;
    if !device.is_real() {
        return Some(ok("service", "installed"));
    }
    // Asks, and changes nothing.
    let asked = Process::new("systemctl").args(["show", "autochrome.service", "--property=ActiveState,SubState,NRestarts"]).output();
    let text = asked.ok().filter(|output| output.status.success()).map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    Some(service_state(text.as_deref()))
}

fn service_state(text: Option<&str>) -> Check {
    let field = |name: &str| text?.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let restarts = field("NRestarts").and_then(|count| count.parse::<u32>().ok()).unwrap_or_default();
    let log = "journalctl -u autochrome -b says why";
    match (field("ActiveState"), restarts) {
        (Some("active"), 0) => ok("service", "running"),
        (Some("active"), restarts) => warning("service", format!("running, after {restarts} restarts"), log),
        (Some("failed"), _) => problem("service", "failed", log),
        (Some("inactive"), _) => ok("service", "installed, not running: sudo systemctl enable --now autochrome"),
        (Some(state), _) => warning("service", state, log),
        (None, _) => ok("service", "installed; systemd does not answer here"),
    }
}

#[cfg(test)]
mod tests;
