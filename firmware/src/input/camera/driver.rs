//! What is asked of a camera's driver, in V4L2's own terms, and of the machine it is plugged into: nothing else in this room makes a system
//! call, so that a test can play the driver, the plug and the clock.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The machine.
pub(crate) trait Machine: Send {
    /// Opens a device.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Driver>>;

    /// All video devices there are, by number.
    fn nodes(&self) -> Vec<Node>;

    /// A number that changes when a video device comes, goes, or may be used by somebody else.
    fn fingerprint(&self) -> u64;

    /// Where a link leads.
    fn resolve(&self, path: &Path) -> PathBuf;

    /// A clock that never goes back.
    fn now(&self) -> Duration;

    /// Waits.
    fn sleep(&self, pause: Duration);

    /// Tells the person at the machine something.
    fn say(&self, line: &str);
}

/// A video device, and the names that udev gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// `/dev/videoN`
    pub(crate) path: PathBuf,
    /// `/dev/v4l/by-id/..`: the camera, in whatever port.
    pub(crate) by_id: Option<PathBuf>,
    /// `/dev/v4l/by-path/..`: the port, whatever camera is in it.
    pub(crate) by_path: Option<PathBuf>,
    /// What the system calls it, where it may not be opened.
    pub(crate) name: String,
}

/// An opened device.
pub(crate) trait Driver: Send {
    /// VIDIOC_QUERYCAP
    fn about(&self) -> io::Result<About>;
    /// Says how buffers are described in everything below.
    fn use_planes(&mut self, planes: Planes);
    /// VIDIOC_ENUM_FMT
    fn formats(&self) -> io::Result<Vec<[u8; 4]>>;
    /// VIDIOC_ENUM_FRAMESIZES
    fn sizes(&self, fourcc: [u8; 4]) -> Vec<Sizes>;
    /// VIDIOC_ENUM_FRAMEINTERVALS, the largest and the smallest rate of a size where they are not discrete.
    fn rates(&self, fourcc: [u8; 4], size: (u32, u32)) -> Vec<Rate>;
    /// VIDIOC_G_FMT
    fn format(&self) -> io::Result<Format>;
    /// VIDIOC_S_FMT; the answer is what the driver made of it.
    fn set_format(&self, fourcc: [u8; 4], size: (u32, u32)) -> io::Result<Format>;
    /// VIDIOC_G_PARM
    fn rate(&self) -> io::Result<Rate>;
    /// VIDIOC_S_PARM; the answer is what the driver made of it.
    fn set_rate(&self, rate: Rate) -> io::Result<Rate>;
    /// VIDIOC_S_INPUT
    fn set_input(&self, input: u32) -> io::Result<()>;
    /// VIDIOC_G_STD
    fn standard(&self) -> io::Result<u64>;
    /// VIDIOC_S_STD
    fn set_standard(&self, standard: u64) -> io::Result<()>;
    /// VIDIOC_QUERYCTRL
    fn controls(&self) -> Vec<Control>;
    /// VIDIOC_S_CTRL
    fn set_control(&self, id: u32, value: i32) -> io::Result<()>;

    /// VIDIOC_REQBUFS, VIDIOC_QUERYBUF and mmap; the answer is how many there are now. 0 gives them back, and fails with EBUSY where
    /// they are another program's.
    fn request_buffers(&mut self, count: u32) -> io::Result<u32>;
    /// VIDIOC_QBUF
    fn queue(&mut self, index: u32) -> io::Result<()>;
    /// VIDIOC_STREAMON
    fn stream_on(&mut self) -> io::Result<()>;
    /// VIDIOC_STREAMOFF
    fn stream_off(&mut self) -> io::Result<()>;
    /// poll(2)
    fn wait(&self, patience: Duration) -> io::Result<Ready>;
    /// VIDIOC_DQBUF; `look` sees what the driver filled, and only that. The answer is the buffer's index, to queue it again.
    fn dequeue(&mut self, look: &mut dyn FnMut(&[u8], Filled)) -> io::Result<u32>;
}

/// What poll(2) said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// There is a buffer.
    Buffer,
    /// Nothing in time.
    Nothing,
    /// The device is in trouble; the next call says which.
    Trouble,
}

/// What a driver says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct About {
    /// The driver.
    pub(crate) driver: String,
    /// The camera.
    pub(crate) card: String,
    /// Where it is plugged in, e.g. `usb-0000:00:14.0-2`.
    pub(crate) bus: String,
    /// Whether it captures into one plane or into several, and streams; nothing if it is no camera.
    pub(crate) planes: Option<Planes>,
}

/// Which of V4L2's two ways to describe a buffer a driver wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planes {
    /// One memory area a buffer.
    Single,
    /// A list of areas. Only lists of one are read.
    Multiple,
}

/// What the driver gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    /// The pixel format.
    pub(crate) fourcc: [u8; 4],
    /// Pixels a row.
    pub(crate) width: u32,
    /// Rows.
    pub(crate) height: u32,
    /// Bytes a row; 0 where the driver leaves it open.
    pub(crate) stride: u32,
    /// How fields lie in a buffer.
    pub(crate) field: Field,
    /// `V4L2_COLORSPACE_..`
    pub(crate) colorspace: u32,
    /// `V4L2_QUANTIZATION_..`
    pub(crate) quantization: u32,
    /// Memory areas a buffer.
    pub(crate) planes: u32,
}

/// How fields lie in a buffer, or which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// A whole picture.
    Progressive,
    /// Only ever the top field.
    Top,
    /// Only ever the bottom field.
    Bottom,
    /// Both, row by row.
    Interlaced,
    /// Both, the top one first.
    TopThenBottom,
    /// Both, the bottom one first.
    BottomThenTop,
    /// One a buffer, in turns.
    Alternate,
}

/// Frame sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// One.
    One(u32, u32),
    /// All from one to another.
    Between((u32, u32), (u32, u32)),
}

impl Sizes {
    /// Whether a size is among them.
    pub(crate) fn contains(self, (width, height): (u32, u32)) -> bool {
        match self {
            Self::One(w, h) => (w, h) == (width, height),
            Self::Between(least, most) => (least.0..=most.0).contains(&width) && (least.1..=most.1).contains(&height),
        }
    }
}

/// Frames a second: so many frames in so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Frames.
    pub(crate) frames: u32,
    /// Seconds.
    pub(crate) seconds: u32,
}

impl Rate {
    /// Frames a second; 0 where unknown.
    pub(crate) fn hz(self) -> f64 {
        if self.seconds == 0 { 0.0 } else { f64::from(self.frames) / f64::from(self.seconds) }
    }
}

/// Something that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Control {
    /// `V4L2_CID_..`
    pub(crate) id: u32,
    /// As `v4l2-ctl` says it, e.g. `exposure_time_absolute`.
    pub(crate) name: String,
    /// The least and the largest value.
    pub(crate) range: (i32, i32),
}

/// What the driver says of a buffer that it filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filled {
    /// V4L2_BUF_FLAG_ERROR: the driver knows that it is damaged.
    pub(crate) flagged: bool,
    /// Which field it is.
    pub(crate) field: Field,
}
