//! A camera that does what a script says, on a machine whose clock only runs when somebody waits.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::driver::{About, Control, Driver, Field, Filled, Format, Machine, Node, Planes, Rate, Ready, Sizes};

/// What a fake camera gives when it is asked for a buffer.
#[derive(Clone, Debug)]
pub(super) struct Shot {
    pub(super) bytes: Vec<u8>,
    pub(super) flagged: bool,
    pub(super) field: Field,
}

impl Shot {
    pub(super) fn good(bytes: Vec<u8>) -> Self {
        Self { bytes, flagged: false, field: Field::Progressive }
    }
}

/// A plugged-in device.
#[derive(Clone, Debug)]
pub(super) struct Plugged {
    pub(super) node: Node,
    pub(super) about: About,
    pub(super) format: Format,
    pub(super) offered: Vec<[u8; 4]>,
}

impl Plugged {
    /// A grey camera of 8x4 pixels.
    pub(super) fn grey(path: &str) -> Self {
        Self {
            node: Node { path: path.into(), by_id: None, by_path: None, name: "Cam".into() },
            about: About { driver: "fake".into(), card: "Cam".into(), bus: "usb-0000:00:14.0-2".into(), planes: Some(Planes::Single) },
            format: Format {
                fourcc: *b"GREY",
                width: 8,
                height: 4,
                stride: 8,
                field: Field::Progressive,
                colorspace: 8,
                quantization: 0,
                planes: 1,
            },
            offered: vec![*b"GREY"],
        }
    }
}

/// Everything a test can see and change while a camera runs.
pub(super) struct World {
    pub(super) now: Duration,
    pub(super) plugged: Vec<Plugged>,
    /// Links as udev makes them: (link, device).
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    /// Errors by call, until they are taken away.
    pub(super) fail: BTreeMap<&'static str, i32>,
    /// Whether poll(2) never finds anything.
    pub(super) silent: bool,
    /// Makes the shot with this number.
    pub(super) shoot: Box<dyn FnMut(u64) -> Shot + Send>,
    pub(super) shots: u64,
    /// How often each call was made.
    pub(super) calls: BTreeMap<&'static str, u64>,
    /// When an open was tried.
    pub(super) opened_at: Vec<Duration>,
    pub(super) open: u32,
    /// What was said to the person at the machine.
    pub(super) said: Vec<String>,
    /// Buffers that the driver owns, to see that none is queued twice.
    queued: Vec<bool>,
    generation: u64,
}

impl World {
    /// Changes what is plugged in.
    pub(super) fn replug(&mut self, plugged: Vec<Plugged>) {
        self.plugged = plugged;
        self.generation += 1;
    }

    fn call(&mut self, name: &'static str) -> io::Result<()> {
        *self.calls.entry(name).or_default() += 1;
        self.fail.get(name).map_or(Ok(()), |&number| Err(io::Error::from_raw_os_error(number)))
    }
}

/// The machine, shared with the test.
#[derive(Clone)]
pub(super) struct Fake(Arc<Mutex<World>>);

impl Fake {
    pub(super) fn new(plugged: Vec<Plugged>, shoot: impl FnMut(u64) -> Shot + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(World {
            now: Duration::ZERO,
            plugged,
            links: Vec::new(),
            fail: BTreeMap::new(),
            silent: false,
            shoot: Box::new(shoot),
            shots: 0,
            calls: BTreeMap::new(),
            opened_at: Vec::new(),
            open: 0,
            said: Vec::new(),
            queued: Vec::new(),
            generation: 1,
        })))
    }

    /// A machine with one grey camera whose frames are good.
    pub(super) fn grey() -> Self {
        Self::new(vec![Plugged::grey("/dev/video0")], |number| Shot::good(vec![number as u8; 32]))
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machine for Fake {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Driver>> {
        let real = self.resolve(path);
        let mut world = self.world();
        let now = world.now;
        world.opened_at.push(now);
        world.call("open")?;
        let found = world.plugged.iter().find(|plugged| plugged.node.path == real);
        let plugged = found.cloned().ok_or_else(|| io::Error::from_raw_os_error(2))?;
        world.open += 1;
        let generation = world.generation;
        drop(world);
        Ok(Box::new(FakeDriver { fake: self.clone(), plugged, generation }))
    }

    fn nodes(&self) -> Vec<Node> {
        let world = self.world();
        let link = |folder: &str, path: &Path| {
            let found = world.links.iter().find(|(link, to)| to == path && link.to_string_lossy().contains(folder));
            found.map(|(link, _)| link.clone())
        };
        let linked = |plugged: &Plugged| Node {
            by_id: link("by-id", &plugged.node.path),
            by_path: link("by-path", &plugged.node.path),
            ..plugged.node.clone()
        };
        world.plugged.iter().map(linked).collect()
    }

    fn fingerprint(&self) -> u64 {
        self.world().generation
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        let world = self.world();
        world.links.iter().find(|(link, _)| link == path).map_or_else(|| path.to_owned(), |(_, to)| to.clone())
    }

    fn now(&self) -> Duration {
        self.world().now
    }

    fn sleep(&self, pause: Duration) {
        self.world().now += pause;
    }

    fn say(&self, line: &str) {
        self.world().said.push(line.to_owned());
    }
}

struct FakeDriver {
    fake: Fake,
    plugged: Plugged,
    generation: u64,
}

impl FakeDriver {
    /// Notes a call; a device that was unplugged meanwhile says ENODEV to everything.
    fn call(&self, name: &'static str) -> io::Result<()> {
        let mut world = self.fake.world();
        world.call(name)?;
        let there = world.generation == self.generation || world.plugged.iter().any(|plugged| plugged.node == self.plugged.node);
        if there { Ok(()) } else { Err(io::Error::from_raw_os_error(19)) }
    }
}

impl Drop for FakeDriver {
    fn drop(&mut self) {
        self.fake.world().open -= 1;
    }
}

impl Driver for FakeDriver {
    fn about(&self) -> io::Result<About> {
        self.call("QUERYCAP").map(|()| self.plugged.about.clone())
    }

    fn use_planes(&mut self, _: Planes) {}

    fn formats(&self) -> io::Result<Vec<[u8; 4]>> {
        self.call("ENUM_FMT").map(|()| self.plugged.offered.clone())
    }

    fn sizes(&self, _: [u8; 4]) -> Vec<Sizes> {
        vec![Sizes::One(self.plugged.format.width, self.plugged.format.height)]
    }

    fn rates(&self, _: [u8; 4], _: (u32, u32)) -> Vec<Rate> {
        vec![Rate { frames: 25, seconds: 1 }]
    }

    fn format(&self) -> io::Result<Format> {
        self.call("G_FMT").map(|()| self.plugged.format)
    }

    fn set_format(&self, fourcc: [u8; 4], _: (u32, u32)) -> io::Result<Format> {
        self.call("S_FMT").map(|()| Format { fourcc, ..self.plugged.format })
    }

    fn rate(&self) -> io::Result<Rate> {
        Ok(Rate { frames: 25, seconds: 1 })
    }

    fn set_rate(&self, rate: Rate) -> io::Result<Rate> {
        self.call("S_PARM").map(|()| rate)
    }

    fn set_input(&self, _: u32) -> io::Result<()> {
        self.call("S_INPUT")
    }

    fn standard(&self) -> io::Result<u64> {
        Err(io::Error::from_raw_os_error(25))
    }

    fn set_standard(&self, _: u64) -> io::Result<()> {
        self.call("S_STD")
    }

    fn controls(&self) -> Vec<Control> {
        Vec::new()
    }

    fn set_control(&self, _: u32, _: i32) -> io::Result<()> {
        self.call("S_CTRL")
    }

    fn request_buffers(&mut self, count: u32) -> io::Result<u32> {
        self.call("REQBUFS")?;
        self.fake.world().queued = vec![false; count as usize];
        Ok(count)
    }

    fn queue(&mut self, index: u32) -> io::Result<()> {
        self.call("QBUF")?;
        let mut world = self.fake.world();
        assert!(!world.queued[index as usize], "buffer {index} is queued twice");
        world.queued[index as usize] = true;
        Ok(())
    }

    fn stream_on(&mut self) -> io::Result<()> {
        self.call("STREAMON")
    }

    fn stream_off(&mut self) -> io::Result<()> {
        self.call("STREAMOFF")
    }

    fn wait(&self, patience: Duration) -> io::Result<Ready> {
        self.call("poll")?;
        let mut world = self.fake.world();
        if world.silent {
            world.now += patience;
            return Ok(Ready::Nothing);
        }
        world.now += Duration::from_millis(40);
        Ok(Ready::Buffer)
    }

    fn dequeue(&mut self, look: &mut dyn FnMut(&[u8], Filled)) -> io::Result<u32> {
        self.call("DQBUF")?;
        let (shot, index) = {
            let mut world = self.fake.world();
            let index = world.queued.iter().position(|&queued| queued).expect("the driver owns a buffer");
            world.queued[index] = false;
            let number = world.shots;
            world.shots += 1;
            ((world.shoot)(number), index)
        };
        look(&shot.bytes, Filled { flagged: shot.flagged, field: shot.field });
        Ok(index as u32)
    }
}
