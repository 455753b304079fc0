use std::os::unix::fs::{PermissionsExt, symlink};

use super::super::{Person, to_text};
use super::*;

/// A made-up device: files and their text.
fn device(files: &[(&str, &str)]) -> (tempfile::TempDir, Device) {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let device = Device { root: root.path().to_owned(), person: Person { uid: 1000, gids: vec![1000] }, now: CLOCK_MIN };
    (root, device)
}

/// The state, and what is said.
fn said(check: &Check) -> (State, String) {
    (check.state, format!("{} -> {}", check.found, check.fix.as_deref().unwrap_or("nothing")))
}

#[track_caller]
fn expect(check: &Check, state: State, parts: &[&str]) {
    let (found, text) = said(check);
    assert!(found == state && parts.iter().all(|part| text.contains(part)), "{}: {found:?} {text}", check.name);
}

#[test]
fn a_user_outside_the_group_is_told_which_one() {
    let (root, mut device) = device(&[("dev/video0", ""), ("dev/video1", ""), ("dev/dri/card0", "")]);
    let gid = root.path().join("dev/video0").metadata().unwrap().gid();
    fs::create_dir_all(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/group"), format!("other:x:{}:\nvideo:x:{gid}:someone\n", gid + 1)).unwrap();
    for node in ["dev/video0", "dev/video1"] {
        fs::set_permissions(root.path().join(node), fs::Permissions::from_mode(0o660)).unwrap();
    }
    fs::set_permissions(root.path().join("dev/dri/card0"), fs::Permissions::from_mode(0o666)).unwrap();
    // Not the owner of the files, whoever runs this test.
    device.person = Person { uid: 54_321, gids: vec![gid + 1] };
    let mut checks = Vec::new();
    access(&device, &mut checks);
    assert_eq!(checks.len(), 2, "{checks:?}");
    expect(&checks[0], State::Problem, &["may not use video0, video1", "usermod -aG video $USER"]);
    expect(&checks[1], State::Ok, &["card0"]);
    device.person.gids.push(gid);
    let mut checks = Vec::new();
    access(&device, &mut checks);
    expect(&checks[0], State::Ok, &["video0, video1"]);
}

/// A camera on a USB port of that speed and power.
fn usb_camera(root: &Path, speed: &str, power: &str) {
    let port = root.join("sys/devices/usb1/1-1");
    fs::create_dir_all(port.join("1-1:1.0")).unwrap();
    fs::write(port.join("speed"), speed).unwrap();
    fs::write(port.join("bMaxPower"), power).unwrap();
    let node = root.join("sys/class/video4linux/video0");
    fs::create_dir_all(&node).unwrap();
    fs::write(node.join("name"), "UVC Camera\n").unwrap();
    symlink(port.join("1-1:1.0"), node.join("device")).unwrap();
}

#[test]
fn a_cameras_port_is_looked_at() {
    let cases = [
        ("480\n", "500mA\n", State::Ok, "UVC Camera on USB at 480 Mbit/s"),
        ("12\n", "100mA\n", State::Warning, "too slow"),
        ("480\n", "896mA\n", State::Warning, "896 mA"),
        ("5000\n", "896mA\n", State::Ok, "5000 Mbit/s"),
        ("fast\n", "much\n", State::Ok, "UVC Camera"),
    ];
    for (speed, power, state, part) in cases {
        let (root, device) = device(&[("dev/video0", ""), ("sys/class/video4linux/video1/index", "1")]);
        usb_camera(root.path(), speed, power);
        let mut checks = Vec::new();
        cameras(&device, &Config::default(), &mut checks);
        assert_eq!(checks.len(), 1, "a node for metadata is no camera: {checks:?}");
        expect(&checks[0], state, &["/dev/video0", part]);
    }
    let (_root, device) = device(&[]);
    let mut config = Config::default();
    config.camera.input = "v4l2:/dev/v4l/by-id/x?fps=5".into();
    let mut checks = Vec::new();
    cameras(&device, &config, &mut checks);
    expect(&checks[0], State::Warning, &["none", "plug one in"]);
    expect(&checks[1], State::Warning, &["/dev/v4l/by-id/x, which is not there", "list-cameras"]);
}

#[test]
fn heat_and_power_are_judged() {
    let throttled = "sys/devices/platform/soc/soc:firmware/get_throttled";
    for (text, state, part) in [
        ("0", State::Ok, "enough"),
        ("50000", State::Warning, "too little voltage since the start"),
        ("50005", State::Problem, "5.1 V"),
        ("40000", State::Warning, "it got too hot"),
        ("80008", State::Ok, "soft temperature limit now"),
    ] {
        let (_root, device) = device(&[(throttled, text)]);
        expect(&power(&device).unwrap(), state, &[part]);
    }
    let (zone, config) = ("sys/class/thermal/thermal_zone0", Config::default());
    for (millicelsius, state) in [("50000", State::Ok), ("75000", State::Warning), ("90000", State::Problem), ("much", State::Ok)] {
        let (_root, device) = device(&[(&format!("{zone}/type"), "cpu-thermal"), (&format!("{zone}/temp"), millicelsius)]);
        expect(&temperature(&device, &config), state, &[]);
    }
    let (_root, device) = device(&[]);
    assert!(power(&device).is_none() && clock_speed(&device).is_none());
}

#[test]
fn a_folder_that_forgets_is_said() {
    let cases = [
        ("/dev/root / ext4 rw 0 0\n", State::Ok, "not there yet"),
        ("/dev/root / ext4 rw 0 0\ntmpfs /var tmpfs rw 0 0\n", State::Warning, "on tmpfs"),
        ("overlay / overlay rw 0 0\n", State::Warning, "on overlay"),
        ("overlay / overlay rw 0 0\n/dev/sda2 /var/lib ext4 rw 0 0\n", State::Ok, ""),
        ("", State::Ok, ""),
        ("garbage\n\n x\n", State::Ok, ""),
    ];
    for (mounts, state, part) in cases {
        let (_root, device) = device(&[("proc/mounts", mounts)]);
        expect(&state_folder(&device, &Config::default()), state, &["/var/lib/autochrome", part]);
    }
}

#[test]
fn memory_clock_and_processor_are_read() {
    for (kib, state) in [(500_000, State::Ok), (150_000, State::Warning), (50_000, State::Problem)] {
        let (_root, device) = device(&[("proc/meminfo", &format!("MemTotal:        948000 kB\nMemAvailable:    {kib} kB\n"))]);
        expect(&memory(&device), state, &["of 925 MiB free"]);
    }
    let (_root, mut device_1) = device(&[("proc/meminfo", "MemTotal: lots\n")]);
    expect(&memory(&device_1), State::Ok, &["does not say"]);
    expect(&clock(&device_1), State::Ok, &[]);
    device_1.now = 0;
    expect(&clock(&device_1), State::Warning, &["it says 1970", "set-ntp"]);
    for (cpuinfo, state, parts) in [
        ("processor\t: 0\nFeatures\t: fp asimd asimddp\nprocessor\t: 1\nFeatures\t: fp asimd asimddp\n", State::Ok, ["2 cores", "asimddp"]),
        ("processor\t: 0\nFeatures\t: fp asimd crc32\n", State::Ok, ["1 core", "no int8 dot products"]),
        ("processor\t: 0\nflags\t\t: sse2 avx2 avx512_vnni\n", State::Ok, ["1 core", "avx512_vnni"]),
        ("processor\t: 0\nFeatures\t: half thumb\n", State::Warning, ["no vector", "another board"]),
        ("", State::Ok, ["does not say", ""]),
    ] {
        let (_root, device) = device(&[("proc/cpuinfo", cpuinfo)]);
        expect(&processor(&device), state, &parts);
    }
}

#[test]
fn screens_and_the_panel_are_looked_for_where_they_are_wanted() {
    let mut config = Config::default();
    let (_root, without) = device(&[]);
    expect(&screens(&without, &config), State::Ok, &["none is configured"]);
    assert!(panel(&without, &config).is_none());
    config.outputs = vec!["display:".into()];
    config.panel.port = Some("/dev/ttyACM0".into());
    expect(&screens(&without, &config), State::Problem, &["no DRM device", "vc4-kms-v3d"]);
    expect(&panel(&without, &config).unwrap(), State::Warning, &["not there"]);
    let files = [("dev/ttyACM0", ""), ("sys/class/drm/card1/dev", ""), ("sys/class/drm/card1-HDMI-A-1/status", "disconnected\n")];
    let (root, device) = device(&files);
    expect(&panel(&device, &config).unwrap(), State::Problem, &["no serial port"]);
    expect(&screens(&device, &config), State::Warning, &["none connected"]);
    fs::write(root.path().join("sys/class/drm/card1-HDMI-A-1/status"), "connected\n").unwrap();
    expect(&screens(&device, &config), State::Ok, &["HDMI-A-1 connected"]);
    config.display.connector = Some("HDMI-A-2".into());
    expect(&screens(&device, &config), State::Warning, &["HDMI-A-2 has no screen; connected: HDMI-A-1"]);
}

#[test]
fn the_services_answer_is_understood() {
    for (text, state, part) in [
        (Some("ActiveState=active\nSubState=running\nNRestarts=0\n"), State::Ok, "running"),
        (Some("ActiveState=active\nNRestarts=7\n"), State::Warning, "after 7 restarts"),
        (Some("ActiveState=failed\nNRestarts=3\n"), State::Problem, "journalctl"),
        (Some("ActiveState=inactive\n"), State::Ok, "enable --now"),
        (Some(""), State::Ok, "does not answer"),
        (None, State::Ok, "does not answer"),
    ] {
        expect(&service_state(text), state, &[part]);
    }
}

#[test]
fn the_bundled_model_passes_and_a_broken_one_does_not() {
    expect(&self_test(None), State::Ok, &["colors a test frame"]);
    let (root, _) = device(&[("m.onnx", "no model")]);
    expect(&self_test(Some(&root.path().join("m.onnx"))), State::Problem, &["m.onnx", "install it again"]);
}

#[test]
fn an_empty_device_and_a_wrong_configuration_are_gone_through_to_the_end() {
    let (_root, device) = device(&[("etc/autochrome/config.toml", "camera.fsp = 1\ncamera.fps = 0\n")]);
    let checks = device.examine(&Layers::from_root(&device.root, Vec::new(), Vec::new()));
    expect(&checks[0], State::Problem, &["config.toml:1: camera.fsp is not a key", "and 1 more", "check-config"]);
    assert!(checks.len() > 8, "{checks:?}");
    // Everything but what is fine has a line that says how to mend it.
    assert!(checks.iter().all(|check| (check.state == State::Ok) == check.fix.is_none()), "{checks:?}");
    let text = to_text(&checks);
    assert!(text.starts_with("PROBLEM  configuration  /etc/autochrome/config.toml:1:"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 140), "{text}");
}
