//! V4L2 by system calls: the only place of this crate with `unsafe` in it.
//!
//! The `v4l` crate lends its declarations of the kernel's structures and its `ioctl`. Its devices, formats, controls and streams are not
//! used: they panic where a driver says something that they do not know, know no multi-planar buffers, and after any error queue a buffer that
//! the kernel still owns.

use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::ptr::{NonNull, null_mut};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::mm::{MapFlags, ProtFlags};
use v4l::v4l_sys as sys;
use v4l::v4l2::vidioc;

use super::driver::{About, Control, Driver, Field, Filled, Format, Machine, Node, Planes, Rate, Ready, Sizes};

/// The most that a driver is asked to list of anything, and the largest number of buffers; a driver that never ends its list is believed so far.
const LIST_MAX: u32 = 256;
const BUFFERS_MAX: u32 = 32;
/// The largest buffer that is mapped.
const BUFFER_BYTES_MAX: u32 = 1 << 28;

/// This machine, or a folder that looks like it.
#[derive(Debug)]
pub(crate) struct Linux {
    /// `/dev`
    pub(crate) dev: PathBuf,
    /// `/sys`
    pub(crate) sys: PathBuf,
}

impl Default for Linux {
    fn default() -> Self {
        Self { dev: "/dev".into(), sys: "/sys".into() }
    }
}

impl Linux {
    /// The number of a `/dev/videoN`.
    fn number(path: &Path) -> Option<u32> {
        path.file_name()?.to_str()?.strip_prefix("video")?.parse().ok()
    }

    fn video_paths(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = list(&self.dev).into_iter().filter(|path| Self::number(path).is_some()).collect();
        paths.sort_by_key(|path| Self::number(path));
        paths
    }

    /// The links of a folder that udev keeps, each with what it leads to.
    fn links(&self, folder: &str) -> Vec<(PathBuf, PathBuf)> {
        let mut links: Vec<_> = list(&self.dev.join("v4l").join(folder)).into_iter().map(|link| (self.resolve(&link), link)).collect();
        links.sort();
        links
    }
}

/// What is in a folder; nothing if there is none.
fn list(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}

impl Machine for Linux {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Driver>> {
        // Closed in programs that we start: one of them must not keep the camera from coming back.
        let flags = OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        Ok(Box::new(Device { file, planes: Planes::Single, buffers: Vec::new() }))
    }

    fn nodes(&self) -> Vec<Node> {
        let (by_id, by_path) = (self.links("by-id"), self.links("by-path"));
        let link = |links: &[(PathBuf, PathBuf)], node: &Path| links.iter().find(|(to, _)| to == node).map(|(_, link)| link.clone());
        let name = |path: &Path| {
            let file = self.sys.join("class/video4linux").join(path.file_name()?).join("name");
            Some(std::fs::read_to_string(file).ok()?.trim().to_owned())
        };
        let described = |path: PathBuf| {
            let real = self.resolve(&path);
            Node { by_id: link(&by_id, &real), by_path: link(&by_path, &real), name: name(&path).unwrap_or_default(), path }
        };
        self.video_paths().into_iter().map(described).collect()
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for path in self.video_paths() {
            // A node that comes back is another file; one whose owner changes has another time of change.
            let seen = std::fs::symlink_metadata(&path).map(|about| (about.ino(), about.ctime(), about.ctime_nsec())).unwrap_or_default();
            (path, seen).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
    }

    fn now(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }

    fn sleep(&self, pause: Duration) {
        std::thread::sleep(pause);
    }

    fn say(&self, line: &str) {
        crate::errors::say(line);
    }
}

/// A structure that the kernel reads or fills: plain C data for which all zeros are a value.
///
/// # Safety
/// No padding matters, no field is a reference, and zero is valid in each.
#[expect(unsafe_code, reason = "the kernel's structures come as C declarations")]
unsafe trait Plain: Copy {
    /// All zeros, which is what V4L2 wants in everything that is not said.
    fn zeroed() -> Self {
        // SAFETY: what implements this trait promises that zeros are a value.
        unsafe { std::mem::zeroed() }
    }
}

macro_rules! plain {
    ($($type:ty),*) => {$(
        // SAFETY: a C structure of integers, raw pointers and unions of them.
        #[expect(unsafe_code, reason = "see Plain")]
        unsafe impl Plain for $type {}
    )*};
}

plain!(
    sys::v4l2_capability,
    sys::v4l2_fmtdesc,
    sys::v4l2_frmsizeenum,
    sys::v4l2_frmivalenum,
    sys::v4l2_format,
    sys::v4l2_streamparm,
    sys::v4l2_queryctrl,
    sys::v4l2_control,
    sys::v4l2_requestbuffers,
    sys::v4l2_buffer,
    sys::v4l2_plane,
    u64,
    std::os::raw::c_int
);

/// One ioctl, again if a signal came between.
fn ask<T: Plain>(file: &File, request: vidioc::_IOC_TYPE, argument: &mut T) -> io::Result<()> {
    // The number of a request holds the size of its structure.
    assert_eq!((request >> 16) as usize & 0x3fff, size_of::<T>(), "the structure of ioctl {request:#x}");
    loop {
        // SAFETY: the descriptor is open, and `argument` is as large as the kernel expects for this request. The only pointer in any of these
        // structures is the one to a buffer's planes, which `Device::with_buffer` sets to an array that outlives the call.
        #[expect(unsafe_code, reason = "an ioctl is a raw system call")]
        let answered = unsafe { v4l::v4l2::ioctl(file.as_raw_fd(), request, std::ptr::from_mut(argument).cast()) };
        match answered {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answered => return answered,
        }
    }
}

/// The memory of one buffer, shared with the driver.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory belongs to the process; nothing about it is bound to a thread.
#[expect(unsafe_code, reason = "a mapping moves to the camera's thread")]
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(file: &File, length: u32, offset: u32) -> io::Result<Self> {
        if length == 0 || length > BUFFER_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the driver's buffers have {length} bytes")));
        }
        let length = length as usize;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
        #[expect(unsafe_code, reason = "mapping is a raw system call")]
        let start = unsafe { rustix::mm::mmap(null_mut(), length, ProtFlags::READ, MapFlags::SHARED, file, u64::from(offset)) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, length })
    }

    /// What is in it. Only to be looked at while the buffer is ours: between DQBUF and QBUF.
    fn bytes(&self) -> &[u8] {
        // SAFETY: `length` bytes are mapped for reading as long as `self` lives, and the driver leaves a dequeued buffer alone.
        #[expect(unsafe_code, reason = "a mapping is a raw pointer")]
        unsafe {
            std::slice::from_raw_parts(self.start.as_ptr(), self.length)
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this mapping was made by `new`, and no slice of it outlives `self`.
        #[expect(unsafe_code, reason = "unmapping is a raw system call")]
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

struct Device {
    file: File,
    /// Known once it was asked what it is.
    planes: Planes,
    buffers: Vec<Mapping>,
}

impl Device {
    fn kind(&self) -> u32 {
        match self.planes {
            Planes::Single => sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE,
            Planes::Multiple => sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE,
        }
    }

    /// Makes a request about a buffer. Returns the buffer, and its first plane as a single one would be described: (length, offset, used).
    fn with_buffer(&self, request: vidioc::_IOC_TYPE, index: u32) -> io::Result<(sys::v4l2_buffer, Memory)> {
        let mut planes = [sys::v4l2_plane::zeroed(); sys::VIDEO_MAX_PLANES as usize];
        let mut buffer = sys::v4l2_buffer { index, type_: self.kind(), memory: sys::v4l2_memory_V4L2_MEMORY_MMAP, ..Plain::zeroed() };
        if self.planes == Planes::Multiple {
            buffer.m.planes = planes.as_mut_ptr();
            buffer.length = planes.len() as u32;
        }
        ask(&self.file, request, &mut buffer)?;
        let plane = planes[0];
        let memory = match self.planes {
            // SAFETY: with V4L2_MEMORY_MMAP the offset is what the kernel wrote.
            #[expect(unsafe_code, reason = "a union of C")]
            Planes::Single => Memory { length: buffer.length, offset: unsafe { buffer.m.offset }, from: 0, to: buffer.bytesused },
            // SAFETY: as above.
            #[expect(unsafe_code, reason = "a union of C")]
            Planes::Multiple => {
                Memory { length: plane.length, offset: unsafe { plane.m.mem_offset }, from: plane.data_offset, to: plane.bytesused }
            }
        };
        // The array of planes ends here.
        buffer.m.offset = 0;
        Ok((buffer, memory))
    }

    fn described(&self, format: &sys::v4l2_format) -> Format {
        match self.planes {
            Planes::Single => {
                // SAFETY: for this buffer type, `pix` is what the kernel filled; all of it are integers.
                #[expect(unsafe_code, reason = "a union of C")]
                let pix = unsafe { format.fmt.pix };
                Format {
                    fourcc: pix.pixelformat.to_le_bytes(),
                    width: pix.width,
                    height: pix.height,
                    stride: pix.bytesperline,
                    field: field(pix.field),
                    colorspace: pix.colorspace,
                    quantization: pix.quantization,
                    planes: 1,
                }
            }
            Planes::Multiple => {
                // SAFETY: as above, for `pix_mp`.
                #[expect(unsafe_code, reason = "a union of C")]
                let pix = unsafe { format.fmt.pix_mp };
                Format {
                    fourcc: { pix.pixelformat }.to_le_bytes(),
                    width: pix.width,
                    height: pix.height,
                    stride: pix.plane_fmt[0].bytesperline,
                    field: field(pix.field),
                    colorspace: pix.colorspace,
                    quantization: u32::from(pix.quantization),
                    planes: u32::from(pix.num_planes),
                }
            }
        }
    }

    fn parameters(&self) -> io::Result<sys::v4l2_streamparm> {
        let mut parameters = sys::v4l2_streamparm { type_: self.kind(), ..Plain::zeroed() };
        ask(&self.file, vidioc::VIDIOC_G_PARM, &mut parameters)?;
        Ok(parameters)
    }
}

/// Where a buffer's memory is, and which part of it is filled.
struct Memory {
    length: u32,
    offset: u32,
    from: u32,
    to: u32,
}

impl Driver for Device {
    fn about(&self) -> io::Result<About> {
        let mut found = sys::v4l2_capability::zeroed();
        ask(&self.file, vidioc::VIDIOC_QUERYCAP, &mut found)?;
        let own = found.capabilities & sys::V4L2_CAP_DEVICE_CAPS != 0;
        let can = if own { found.device_caps } else { found.capabilities };
        let streams = can & sys::V4L2_CAP_STREAMING != 0;
        let planes = match () {
            () if streams && can & sys::V4L2_CAP_VIDEO_CAPTURE != 0 => Some(Planes::Single),
            () if streams && can & sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE != 0 => Some(Planes::Multiple),
            () => None,
        };
        Ok(About { driver: text(&found.driver), card: text(&found.card), bus: text(&found.bus_info), planes })
    }

    fn use_planes(&mut self, planes: Planes) {
        self.planes = planes;
    }

    fn formats(&self) -> io::Result<Vec<[u8; 4]>> {
        let mut formats = Vec::new();
        for index in 0..LIST_MAX {
            let mut found = sys::v4l2_fmtdesc { index, type_: self.kind(), ..Plain::zeroed() };
            match ask(&self.file, vidioc::VIDIOC_ENUM_FMT, &mut found) {
                Ok(()) => formats.push(found.pixelformat.to_le_bytes()),
                Err(error) if error.raw_os_error() == Some(22) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(formats)
    }

    fn sizes(&self, fourcc: [u8; 4]) -> Vec<Sizes> {
        let mut sizes = Vec::new();
        for index in 0..LIST_MAX {
            let mut found = sys::v4l2_frmsizeenum { index, pixel_format: u32::from_le_bytes(fourcc), ..Plain::zeroed() };
            if ask(&self.file, vidioc::VIDIOC_ENUM_FRAMESIZES, &mut found).is_err() {
                break;
            }
            if found.type_ == sys::v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_DISCRETE {
                // SAFETY: the type says which member the kernel filled; all are integers.
                #[expect(unsafe_code, reason = "a union of C")]
                let size = unsafe { found.__bindgen_anon_1.discrete };
                sizes.push(Sizes::One(size.width, size.height));
            } else {
                // SAFETY: as above.
                #[expect(unsafe_code, reason = "a union of C")]
                let all = unsafe { found.__bindgen_anon_1.stepwise };
                sizes.push(Sizes::Between((all.min_width, all.min_height), (all.max_width, all.max_height)));
                break;
            }
        }
        sizes
    }

    fn rates(&self, fourcc: [u8; 4], (width, height): (u32, u32)) -> Vec<Rate> {
        let rate = |interval: sys::v4l2_fract| Rate { frames: interval.denominator, seconds: interval.numerator };
        let mut rates = Vec::new();
        for index in 0..LIST_MAX {
            let pixel_format = u32::from_le_bytes(fourcc);
            let mut found = sys::v4l2_frmivalenum { index, pixel_format, width, height, ..Plain::zeroed() };
            if ask(&self.file, vidioc::VIDIOC_ENUM_FRAMEINTERVALS, &mut found).is_err() {
                break;
            }
            if found.type_ == sys::v4l2_frmivaltypes_V4L2_FRMIVAL_TYPE_DISCRETE {
                // SAFETY: the type says which member the kernel filled; all are integers.
                #[expect(unsafe_code, reason = "a union of C")]
                rates.push(rate(unsafe { found.__bindgen_anon_1.discrete }));
            } else {
                // SAFETY: as above.
                #[expect(unsafe_code, reason = "a union of C")]
                let all = unsafe { found.__bindgen_anon_1.stepwise };
                rates.extend([rate(all.min), rate(all.max)]);
                break;
            }
        }
        rates
    }

    fn format(&self) -> io::Result<Format> {
        let mut format = sys::v4l2_format { type_: self.kind(), ..Plain::zeroed() };
        ask(&self.file, vidioc::VIDIOC_G_FMT, &mut format)?;
        Ok(self.described(&format))
    }

    fn set_format(&self, fourcc: [u8; 4], (width, height): (u32, u32)) -> io::Result<Format> {
        let mut format = sys::v4l2_format { type_: self.kind(), ..Plain::zeroed() };
        let pixelformat = u32::from_le_bytes(fourcc);
        // Everything else is zero, which leaves it to the driver: rows as tight as it can, its own field order and colors.
        match self.planes {
            Planes::Single => format.fmt.pix = sys::v4l2_pix_format { width, height, pixelformat, ..pix(&format) },
            Planes::Multiple => {
                let empty = pix_mp(&format);
                format.fmt.pix_mp = sys::v4l2_pix_format_mplane { width, height, pixelformat, num_planes: 1, ..empty };
            }
        }
        ask(&self.file, vidioc::VIDIOC_S_FMT, &mut format)?;
        Ok(self.described(&format))
    }

    fn rate(&self) -> io::Result<Rate> {
        let parameters = self.parameters()?;
        // SAFETY: for a capture device, `capture` is what the kernel filled; all of it are integers.
        #[expect(unsafe_code, reason = "a union of C")]
        let interval = unsafe { parameters.parm.capture.timeperframe };
        Ok(Rate { frames: interval.denominator, seconds: interval.numerator })
    }

    fn set_rate(&self, rate: Rate) -> io::Result<Rate> {
        let mut parameters = self.parameters()?;
        parameters.parm.capture.timeperframe = sys::v4l2_fract { numerator: rate.seconds, denominator: rate.frames };
        ask(&self.file, vidioc::VIDIOC_S_PARM, &mut parameters)?;
        self.rate()
    }

    fn set_input(&self, input: u32) -> io::Result<()> {
        let mut input = i32::try_from(input).map_err(|_| io::ErrorKind::InvalidInput)?;
        ask(&self.file, vidioc::VIDIOC_S_INPUT, &mut input)
    }

    fn standard(&self) -> io::Result<u64> {
        let mut standard = 0_u64;
        ask(&self.file, vidioc::VIDIOC_G_STD, &mut standard)?;
        Ok(standard)
    }

    fn set_standard(&self, mut standard: u64) -> io::Result<()> {
        ask(&self.file, vidioc::VIDIOC_S_STD, &mut standard)
    }

    fn controls(&self) -> Vec<Control> {
        let mut controls = Vec::new();
        let mut last = 0;
        for _ in 0..LIST_MAX {
            let mut found = sys::v4l2_queryctrl { id: last | sys::V4L2_CTRL_FLAG_NEXT_CTRL, ..Plain::zeroed() };
            // A driver that does not go on would be asked for ever.
            if ask(&self.file, vidioc::VIDIOC_QUERYCTRL, &mut found).is_err() || found.id <= last {
                break;
            }
            last = found.id;
            let settable = found.flags & (sys::V4L2_CTRL_FLAG_DISABLED | sys::V4L2_CTRL_FLAG_READ_ONLY) == 0;
            if settable && found.type_ != sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_CTRL_CLASS {
                controls.push(Control { id: found.id, name: control_name(&text(&found.name)), range: (found.minimum, found.maximum) });
            }
        }
        controls
    }

    fn set_control(&self, id: u32, value: i32) -> io::Result<()> {
        ask(&self.file, vidioc::VIDIOC_S_CTRL, &mut sys::v4l2_control { id, value })
    }

    fn request_buffers(&mut self, count: u32) -> io::Result<u32> {
        self.buffers.clear();
        let memory = sys::v4l2_memory_V4L2_MEMORY_MMAP;
        let mut request = sys::v4l2_requestbuffers { count, type_: self.kind(), memory, ..Plain::zeroed() };
        ask(&self.file, vidioc::VIDIOC_REQBUFS, &mut request)?;
        for index in 0..request.count.min(BUFFERS_MAX) {
            if count == 0 {
                break;
            }
            let (_, memory) = self.with_buffer(vidioc::VIDIOC_QUERYBUF, index)?;
            self.buffers.push(Mapping::new(&self.file, memory.length, memory.offset)?);
        }
        Ok(self.buffers.len() as u32)
    }

    fn queue(&mut self, index: u32) -> io::Result<()> {
        self.with_buffer(vidioc::VIDIOC_QBUF, index).map(|_| ())
    }

    fn stream_on(&mut self) -> io::Result<()> {
        ask(&self.file, vidioc::VIDIOC_STREAMON, &mut (self.kind() as i32))
    }

    fn stream_off(&mut self) -> io::Result<()> {
        ask(&self.file, vidioc::VIDIOC_STREAMOFF, &mut (self.kind() as i32))
    }

    fn wait(&self, patience: Duration) -> io::Result<Ready> {
        let mut waiting = [PollFd::new(&self.file, PollFlags::IN)];
        let patience = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
        match poll(&mut waiting, Some(&patience)) {
            Ok(0) => return Ok(Ready::Nothing),
            // A signal: somebody else's business.
            Err(rustix::io::Errno::INTR) => return Ok(Ready::Nothing),
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        let trouble = waiting[0].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
        Ok(if trouble { Ready::Trouble } else { Ready::Buffer })
    }

    fn dequeue(&mut self, look: &mut dyn FnMut(&[u8], Filled)) -> io::Result<u32> {
        let (buffer, memory) = self.with_buffer(vidioc::VIDIOC_DQBUF, 0)?;
        let strange = || io::Error::new(io::ErrorKind::InvalidData, format!("the driver gave buffer {}, which there is not", buffer.index));
        let bytes = self.buffers.get(buffer.index as usize).ok_or_else(strange)?.bytes();
        let filled = Filled { flagged: buffer.flags & sys::V4L2_BUF_FLAG_ERROR != 0, field: field(buffer.field) };
        let to = (memory.to as usize).min(bytes.len());
        look(&bytes[(memory.from as usize).min(to)..to], filled);
        Ok(buffer.index)
    }
}

fn pix(format: &sys::v4l2_format) -> sys::v4l2_pix_format {
    // SAFETY: integers, and the whole union was zeroed.
    #[expect(unsafe_code, reason = "a union of C")]
    unsafe {
        format.fmt.pix
    }
}

fn pix_mp(format: &sys::v4l2_format) -> sys::v4l2_pix_format_mplane {
    // SAFETY: integers, and the whole union was zeroed.
    #[expect(unsafe_code, reason = "a union of C")]
    unsafe {
        format.fmt.pix_mp
    }
}

/// What a driver's number for a field order means; one that is not known counts as a whole picture.
fn field(number: u32) -> Field {
    match number {
        sys::v4l2_field_V4L2_FIELD_TOP => Field::Top,
        sys::v4l2_field_V4L2_FIELD_BOTTOM => Field::Bottom,
        sys::v4l2_field_V4L2_FIELD_INTERLACED | sys::v4l2_field_V4L2_FIELD_INTERLACED_TB | sys::v4l2_field_V4L2_FIELD_INTERLACED_BT => {
            Field::Interlaced
        }
        sys::v4l2_field_V4L2_FIELD_SEQ_TB => Field::TopThenBottom,
        sys::v4l2_field_V4L2_FIELD_SEQ_BT => Field::BottomThenTop,
        sys::v4l2_field_V4L2_FIELD_ALTERNATE => Field::Alternate,
        _ => Field::Progressive,
    }
}

/// A driver's text, which ends with the first zero and may be anything.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    String::from_utf8_lossy(&bytes[..end]).chars().map(clean).collect::<String>().trim().to_owned()
}

/// A control's name as `v4l2-ctl` writes it: `Exposure Time, Absolute` is `exposure_time_absolute`.
fn control_name(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_their_links_are_found() {
        let root = tempfile::tempdir().unwrap();
        let machine = Linux { dev: root.path().join("dev"), sys: root.path().join("sys") };
        assert!(machine.nodes().is_empty());
        for folder in ["dev/v4l/by-id", "dev/v4l/by-path", "sys/class/video4linux/video2"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let empty = machine.fingerprint();
        for name in ["video10", "video2", "video", "vbi0", "videos"] {
            std::fs::write(machine.dev.join(name), "").unwrap();
        }
        assert_ne!(machine.fingerprint(), empty);
        assert_eq!(machine.fingerprint(), machine.fingerprint());
        std::os::unix::fs::symlink("../../video2", machine.dev.join("v4l/by-id/usb-A-index0")).unwrap();
        std::os::unix::fs::symlink("../../video10", machine.dev.join("v4l/by-path/pci-B-index0")).unwrap();
        std::fs::write(machine.sys.join("class/video4linux/video2/name"), "A camera\n").unwrap();
        let nodes = machine.nodes();
        let names: Vec<_> = nodes.iter().map(|node| node.path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["video2", "video10"]);
        assert_eq!(nodes[0].by_id, Some(machine.dev.join("v4l/by-id/usb-A-index0")));
        assert_eq!((nodes[0].name.as_str(), &nodes[0].by_path), ("A camera", &None));
        assert_eq!(nodes[1].by_path, Some(machine.dev.join("v4l/by-path/pci-B-index0")));
    }

    #[test]
    fn what_is_no_camera_says_so() {
        let null = Linux::default().open(Path::new("/dev/null")).unwrap();
        assert_eq!(null.about().unwrap_err().raw_os_error(), Some(25), "ENOTTY");
        assert_eq!(Linux::default().open(Path::new("/dev/video-none")).err().unwrap().raw_os_error(), Some(2), "ENOENT");
    }

    #[test]
    fn what_drivers_say_is_made_harmless() {
        assert_eq!(text(b"Cam\x1b[2Jera\0rest"), "Cam [2Jera");
        assert_eq!(text(&[0xff, 0xfe]), "\u{fffd}\u{fffd}");
        assert_eq!(control_name("Exposure Time, Absolute"), "exposure_time_absolute");
        assert_eq!(field(4711), Field::Progressive);
    }
}
