//! Cameras that fail in every way, on a scripted machine.

use super::driver::{Field, Format, Planes};
use super::fake::{Fake, Plugged, Shot};
use super::*;

fn spec(text: &str) -> CameraSpec {
    CameraSpec::parse(text).unwrap()
}

fn opened(fake: &Fake) -> Camera {
    Camera::plugged_into(Box::new(fake.clone()), spec("/dev/video0")).unwrap()
}

/// Asks until there is a frame, and at most `asks` times. Returns what was said meanwhile, without repetitions.
fn until_frame(camera: &mut Camera, luma: &mut Plane<u8>, asks: usize) -> (Option<bool>, Vec<String>) {
    let mut said: Vec<String> = Vec::new();
    for _ in 0..asks {
        match camera.next(luma) {
            Next::Frame { anew } => return (Some(anew), said),
            Next::Absent(why) if said.last().is_none_or(|last| **last != *why) => said.push(why.to_string()),
            _ => {}
        }
    }
    (None, said)
}

#[test]
fn frames_come_as_they_are() {
    let fake = Fake::grey();
    let (mut camera, mut luma) = (opened(&fake), Plane::default());
    let mut memory = None;
    for number in 0..20 {
        assert_eq!(camera.next(&mut luma), Next::Frame { anew: false });
        assert_eq!(*memory.get_or_insert(luma.data.as_ptr()), luma.data.as_ptr(), "the plane's memory is used again");
        assert_eq!(luma, Plane::filled(8, 4, number));
    }
    assert_eq!((camera.faults(), camera.rate()), (Faults::default(), (25, 1)));
    assert_eq!(fake.world().calls["S_FMT"], 1);
}

/// Every call and every error number, while opening and while running: the right words, pauses that grow, and a picture once the fault is gone.
#[test]
fn every_fault_of_every_call_is_named_waited_out_and_survived() {
    use Trouble::{Bandwidth, Busy, Faulty, Forbidden, Missing, Refused};
    let numbers = [(13, Forbidden), (16, Busy), (22, Refused), (5, Faulty), (19, Missing), (28, Bandwidth)];
    let calls = ["open", "QUERYCAP", "ENUM_FMT", "S_FMT", "REQBUFS", "QBUF", "STREAMON", "DQBUF", "poll", "STREAMOFF"];
    let parts = |trouble| match trouble {
        Bandwidth => "the USB bus has no bandwidth left for the camera on usb-0000:00:14.0-2; try another port",
        Busy => "another program is using the camera on usb-0000:00:14.0-2",
        Forbidden => "group `video`",
        Missing => "no camera on usb-0000:00:14.0-2, waiting",
        Refused => "refuses to work (Invalid argument)",
        _ => "broke down (Input/output error)",
    };
    for call in calls {
        for (number, trouble) in numbers {
            let case = format!("{call} {number}");
            let fake = Fake::grey();
            let (mut camera, mut luma) = (opened(&fake), Plane::default());
            assert_eq!(camera.next(&mut luma), Next::Frame { anew: false }, "{case}");
            // It is interrupted, and when it is looked for again, this call fails.
            {
                let mut world = fake.world();
                world.fail.insert(call, number);
                if !matches!(call, "DQBUF" | "QBUF" | "poll") {
                    world.fail.insert("poll", 5);
                }
            }
            camera.next(&mut luma);
            if !matches!(call, "DQBUF" | "QBUF" | "poll") {
                fake.world().fail.remove("poll");
            }
            fake.world().opened_at.clear();
            let begun = fake.world().now;
            let (came, said) = until_frame(&mut camera, &mut luma, 400);
            // A wish that is not granted is no fault: what the driver has set is taken. A stream that does not stop is closed.
            let harmless = call == "STREAMOFF" || call == "S_FMT" && trouble != Missing;
            if harmless {
                assert_eq!(came, Some(true), "{case}: {said:?}");
                continue;
            }
            assert!(said.last().unwrap().contains(parts(trouble)), "{case}: {said:?}");
            let opened_at = fake.world().opened_at.clone();
            let elapsed = fake.world().now - begun;
            if !matches!(call, "DQBUF" | "poll" | "QBUF") || came.is_none() {
                let pauses: Vec<u128> = opened_at.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
                assert!(pauses.len() >= 6, "{case}: it is tried again: {pauses:?}");
                assert!(pauses.iter().all(|&pause| pause <= 5300), "{case}: {pauses:?}");
                assert!(pauses.windows(2).all(|pair| pair[1] + 100 >= pair[0]), "{case}: pauses grow: {pauses:?}");
                assert!(*pauses.last().unwrap() >= 5000, "{case}: up to five seconds: {pauses:?}");
                assert!(elapsed > Duration::from_secs(20), "{case}: {elapsed:?} for 400 calls is a spin");
            }
            fake.world().fail.clear();
            let (came, _) = until_frame(&mut camera, &mut luma, 60);
            assert_eq!(came, Some(true), "{case}: it recovers");
            assert!(camera.faults().reopened >= 1 && camera.faults().errors >= 1, "{case}: {:?}", camera.faults());
            assert_eq!(fake.world().open, 1, "{case}: no descriptor is lost");
        }
    }
}

#[test]
fn a_fault_at_the_start_ends_the_run_unless_it_may_wait() {
    for (call, number, part) in [
        ("open", 13, "group `video`"),
        ("REQBUFS", 16, "another program is using it"),
        ("STREAMON", 28, "no bandwidth left"),
        ("open", 2, "there is no such device"),
        ("QUERYCAP", 25, "it is not a V4L2 camera"),
    ] {
        let fake = Fake::grey();
        fake.world().fail.insert(call, number);
        let error = Camera::plugged_into(Box::new(fake.clone()), spec("/dev/video0")).err().unwrap();
        assert!(error.to_string().contains(part), "{call} {number}: {error}");
        assert_eq!(Failure::from(error).exit, Exit::NoInput);
        let mut camera = Camera::plugged_into(Box::new(fake.clone()), spec("/dev/video0?wait=yes")).unwrap();
        let mut luma = Plane::default();
        assert!(matches!(camera.next(&mut luma), Next::Absent(_)), "{call} {number}");
        fake.world().fail.clear();
        assert_eq!(until_frame(&mut camera, &mut luma, 20).0, Some(true), "{call} {number}");
        assert_eq!(camera.faults().reopened, 0, "it was never open before");
    }
}

#[test]
fn a_silent_camera_is_named_after_a_second_and_started_anew() {
    let fake = Fake::grey();
    let (mut camera, mut luma) = (opened(&fake), Plane::default());
    camera.next(&mut luma);
    fake.world().silent = true;
    let begun = fake.world().now;
    let mut answers = 0;
    let why = loop {
        let before = fake.world().now;
        let next = camera.next(&mut luma);
        assert!(fake.world().now - before <= Duration::from_millis(250), "an answer comes soon");
        answers += 1;
        match next {
            Next::Absent(why) => break why,
            Next::NotYet => assert!(answers < 20),
            other => panic!("{other:?}"),
        }
    };
    assert!(why.contains("gives no frames"), "{why}");
    assert!(fake.world().now - begun <= Duration::from_millis(1200));
    let streams = fake.world().calls["STREAMON"];
    until_frame(&mut camera, &mut luma, 60);
    assert!(fake.world().calls["STREAMON"] > streams, "the stream is made anew");
    fake.world().silent = false;
    assert_eq!(until_frame(&mut camera, &mut luma, 60).0, Some(true));
}

#[test]
fn only_damaged_frames_are_said_to_be_that() {
    let fake = Fake::new(vec![Plugged::grey("/dev/video0")], |number| Shot::good(vec![7; if number < 3 { 32 } else { 5 }]));
    let (mut camera, mut luma) = (opened(&fake), Plane::default());
    for _ in 0..3 {
        camera.next(&mut luma);
    }
    let (came, said) = until_frame(&mut camera, &mut luma, 100);
    assert!(came.is_none() && said[0].contains("gives only damaged frames"), "{said:?}");
    assert!(camera.faults().short > 20);
}

#[test]
fn a_camera_is_found_again_under_another_number() {
    let links = |node: &str| vec![(PathBuf::from("/dev/v4l/by-path/pci-2"), PathBuf::from(node))];
    let mut other = Plugged::grey("/dev/video0");
    other.about.bus = "usb-elsewhere".into();
    other.about.card = "Another".into();
    for linked in [true, false] {
        let fake = Fake::grey();
        if linked {
            fake.world().links = links("/dev/video0");
        }
        let (mut camera, mut luma) = (opened(&fake), Plane::default());
        camera.next(&mut luma);
        {
            let mut world = fake.world();
            world.replug(vec![]);
            world.links.clear();
        }
        let (_, said) = until_frame(&mut camera, &mut luma, 30);
        assert_eq!(said, ["no camera on usb-0000:00:14.0-2, waiting"], "the place of the camera that was lost is named");
        let warnings = fake.world().said.iter().filter(|line| line.starts_with("warning")).count();
        assert_eq!(warnings, 1, "once, and not with every attempt: {:?}", fake.world().said);
        // Another camera takes its number; it is not mistaken for it.
        fake.world().replug(vec![other.clone()]);
        assert_eq!(until_frame(&mut camera, &mut luma, 30).0, None);
        // It comes back as another number, with another size and range.
        let mut back = Plugged::grey("/dev/video1");
        back.format = Format { width: 16, height: 2, stride: 20, quantization: 2, ..back.format };
        {
            let mut world = fake.world();
            world.replug(vec![other.clone(), back]);
            if linked {
                world.links = links("/dev/video1");
            }
            world.shoot = Box::new(|number| Shot::good(if number % 2 == 0 { vec![9; 32] } else { vec![5; 40] }));
        }
        let since = fake.world().now;
        let (came, _) = until_frame(&mut camera, &mut luma, 30);
        assert_eq!(came, Some(true), "linked {linked}");
        assert!(fake.world().now - since < Duration::from_secs(1), "the pause is not waited out when a device comes");
        assert_eq!(luma, Plane::filled(16, 2, 5), "nothing is shown with the old stride");
        assert_eq!((camera.range(), camera.faults().reopened), (LumaRange::Limited, 1));
    }
}

#[test]
fn any_camera_will_do_if_none_is_named() {
    let mut metadata = Plugged::grey("/dev/video0");
    metadata.about.planes = None;
    let mut camera = Plugged::grey("/dev/video1");
    camera.about.planes = Some(Planes::Multiple);
    let fake = Fake::new(vec![metadata.clone(), camera], |_| Shot::good(vec![7; 32]));
    let mut found = Camera::plugged_into(Box::new(fake), spec("auto")).unwrap();
    assert_eq!(found.next(&mut Plane::default()), Next::Frame { anew: false });
    for plugged in [vec![], vec![metadata]] {
        let none = Fake::new(plugged, |_| Shot::good(vec![]));
        let error = Camera::plugged_into(Box::new(none), spec("auto")).err().unwrap();
        assert!(error.to_string().contains("list-cameras"), "{error}");
    }
}

#[test]
fn another_camera_takes_the_place_of_one_that_nobody_named() {
    let fake = Fake::grey();
    let mut camera = Camera::plugged_into(Box::new(fake.clone()), spec("auto")).unwrap();
    let mut luma = Plane::default();
    camera.next(&mut luma);
    let mut other = Plugged::grey("/dev/video3");
    (other.about.bus, other.about.card) = ("usb-elsewhere".into(), "Another".into());
    fake.world().replug(vec![other]);
    fake.world().fail.insert("REQBUFS", 16);
    let (_, said) = until_frame(&mut camera, &mut luma, 30);
    assert_eq!(said, ["no camera on usb-0000:00:14.0-2, waiting"], "the other one's trouble is not this one's");
    fake.world().fail.clear();
    assert_eq!(until_frame(&mut camera, &mut luma, 60).0, Some(true));
    assert_eq!(camera.place().as_deref(), Some("usb-elsewhere"));
}

#[test]
fn links_that_udev_makes_late_are_learned() {
    let fake = Fake::grey();
    let (mut camera, mut luma) = (opened(&fake), Plane::default());
    fake.world().links = vec![("/dev/v4l/by-id/usb-cam".into(), "/dev/video0".into())];
    camera.next(&mut luma);
    let mut back = Plugged::grey("/dev/video5");
    back.about.bus = "usb-another-port".into();
    {
        let mut world = fake.world();
        world.replug(vec![back]);
        world.links = vec![("/dev/v4l/by-id/usb-cam".into(), "/dev/video5".into())];
    }
    assert_eq!(until_frame(&mut camera, &mut luma, 30).0, Some(true), "by its id, in another port");
}

#[test]
fn what_cannot_be_read_is_refused_in_words() {
    let mut bayer = Plugged::grey("/dev/video0");
    bayer.offered = vec![*b"RGGB", *b"BGR3"];
    let mut many = Plugged::grey("/dev/video0");
    many.format.planes = 2;
    let mut narrow = Plugged::grey("/dev/video0");
    narrow.format.stride = 3;
    let mut huge = Plugged::grey("/dev/video0");
    huge.format.width = 1 << 30;
    for (plugged, part) in [(bayer, "RGGB, BGR3"), (many, "in 2 planes"), (narrow, "less than a row"), (huge, "no size that is read")] {
        let fake = Fake::new(vec![plugged], |_| Shot::good(vec![]));
        let error = Camera::plugged_into(Box::new(fake), spec("/dev/video0")).err().unwrap();
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn fields_become_pictures() {
    let mut analog = Plugged::grey("/dev/video0");
    analog.format = Format { field: Field::Alternate, ..analog.format };
    let shoot = |number: u64| {
        let field = if number.is_multiple_of(2) { Field::Top } else { Field::Bottom };
        Shot { field, ..Shot::good(vec![number as u8; 32]) }
    };
    let fake = Fake::new(vec![analog.clone()], shoot);
    let (mut camera, mut luma) = (opened(&fake), Plane::default());
    for number in 0..3 {
        camera.next(&mut luma);
        assert_eq!(luma, Plane::filled(8, 8, number));
    }
    let fake = Fake::new(vec![analog], shoot);
    let mut camera = Camera::plugged_into(Box::new(fake), spec("/dev/video0?deinterlace=drop")).unwrap();
    let answers: Vec<Next> = (0..4).map(|_| camera.next(&mut luma)).collect();
    let frame = Next::Frame { anew: false };
    assert_eq!(answers, [frame.clone(), Next::NotYet, frame, Next::NotYet]);
    assert_eq!(luma, Plane::filled(4, 4, 2));
}

fn jpeg(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let pixels: Vec<u8> = (0..width * height).map(|i| (i * 7 % 251) as u8).collect();
    image::codecs::jpeg::JpegEncoder::new(&mut bytes).encode(&pixels, width, height, image::ExtendedColorType::L8).unwrap();
    bytes
}

/// A hundred thousand damaged buffers, each followed by a good one now and then: none is shown, each is counted once, and the good ones come.
#[test]
fn a_hundred_thousand_damaged_frames_are_counted_and_not_shown() {
    const FRAMES: u64 = 50_000;
    const GOOD_EVERY: u64 = 10;
    for fourcc in [*b"GREY", *b"MJPG"] {
        let whole = if fourcc == *b"MJPG" { jpeg(16, 8) } else { vec![200; 16 * 8] };
        let other_size = jpeg(24, 8);
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let given = whole.clone();
        let shoot = move |number: u64| {
            if number % GOOD_EVERY == GOOD_EVERY - 1 {
                return Shot::good(given.clone());
            }
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let at = (random >> 20) as usize % given.len();
            match (random % 5, fourcc == *b"MJPG") {
                (0, _) => Shot::good(Vec::new()),
                (1, _) => Shot { flagged: true, ..Shot::good(given.clone()) },
                (2, true) => Shot::good(other_size.clone()),
                (3, true) => {
                    // A bit in what stands before the pixels; between the pixels, JPEG cannot tell damage from another picture.
                    let mut bytes = given.clone();
                    bytes[at % 2] ^= 1 << (random >> 50 & 7);
                    Shot::good(bytes)
                }
                // Cut off; of raw pixels that is also what a wrong stride looks like.
                _ => Shot::good(given[..at].to_vec()),
            }
        };
        let mut plugged = Plugged::grey("/dev/video0");
        plugged.offered = vec![fourcc];
        plugged.format = Format { fourcc, width: 16, height: 8, stride: 16, ..plugged.format };
        let fake = Fake::new(vec![plugged], shoot);
        let (mut camera, mut luma) = (opened(&fake), Plane::default());
        let mut good = 0;
        while fake.world().shots < FRAMES {
            if matches!(camera.next(&mut luma), Next::Frame { .. }) {
                good += 1;
                assert_eq!(fake.world().shots % GOOD_EVERY, 0, "a damaged frame was shown");
            }
        }
        let Faults { empty, short, flagged, undecodable, errors, reopened } = camera.faults();
        assert_eq!(good, FRAMES / GOOD_EVERY, "every good frame comes");
        assert_eq!(empty + short + flagged + undecodable, FRAMES - good, "each is counted once");
        assert_eq!((errors, reopened), (0, 0), "and the stream goes on");
    }
}

/// Any bit of a JPEG may flip. Where it shows, the frame is refused and counted; in no case does anything panic or come in another size.
#[test]
fn flipped_bits_never_do_more_than_spoil_a_picture() {
    let whole = jpeg(16, 8);
    let bits = 8 * whole.len() as u64;
    let shoot = move |number: u64| {
        let mut bytes = whole.clone();
        bytes[(number % bits / 8) as usize] ^= 1 << (number % 8);
        Shot::good(bytes)
    };
    let mut plugged = Plugged::grey("/dev/video0");
    plugged.offered = vec![*b"MJPG"];
    plugged.format = Format { fourcc: *b"MJPG", width: 16, height: 8, ..plugged.format };
    let fake = Fake::new(vec![plugged], shoot);
    let (mut camera, mut luma) = (opened(&fake), Plane::default());
    let mut shown = 0;
    while fake.world().shots < bits {
        if matches!(camera.next(&mut luma), Next::Frame { .. }) {
            shown += 1;
            assert_eq!((luma.width, luma.height), (16, 8));
        }
    }
    assert_eq!(shown + camera.faults().undecodable, bits);
    assert!(camera.faults().undecodable > bits / 20);
}

#[test]
fn wishes_that_are_refused_are_lived_with() {
    let fake = Fake::grey();
    for call in ["S_INPUT", "S_STD", "S_PARM", "S_FMT"] {
        fake.world().fail.insert(call, 25);
    }
    let wishes = spec("/dev/video0?input=3&standard=PAL&fps=30&gain=7&size=640x480");
    let mut camera = Camera::plugged_into(Box::new(fake.clone()), wishes).unwrap();
    assert_eq!(camera.next(&mut Plane::default()), Next::Frame { anew: false });
    let notes = fake.world().said.join("\n");
    for part in ["input 3 was", "PAL was", "GREY 640x480 was", "30 frames a second were", "gain=7 was", "the camera gives 8x4"] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
}

#[test]
fn the_format_is_chosen_by_the_wish() {
    let fake =
        Fake::new(vec![Plugged { offered: vec![*b"MJPG", *b"YUYV", *b"GREY"], ..Plugged::grey("/dev/video0") }], |_| Shot::good(vec![]));
    let driver = fake.open(Path::new("/dev/video0")).unwrap();
    let offered = [*b"MJPG", *b"YUYV", *b"GREY"];
    let chosen = |offered: &[[u8; 4]], text: &str| negotiate::choose(driver.as_ref(), offered, &spec(text)).map(|choice| choice.fourcc);
    assert_eq!(chosen(&offered, "auto"), Some(*b"GREY"));
    assert_eq!(chosen(&offered, "auto?format=MJPG"), Some(*b"MJPG"));
    assert_eq!(chosen(&offered, "auto?format=Y16,YUYV"), Some(*b"YUYV"));
    assert_eq!(chosen(&offered[..1], "auto"), Some(*b"MJPG"));
    assert_eq!(chosen(&[*b"RGB3"], "auto"), None);
}
