//! V4L2: plain capture of luma from a camera, with the sharp edges of the `v4l` crate guarded.
//!
//! After any error that crate's stream queues a buffer that the kernel still owns, and fails for ever; so a stream that failed once is
//! thrown away and made anew. It waits without end unless told otherwise, so we poll first. It hands out whole buffers, so we cut them to
//! what the driver filled. And it panics where a driver says something unknown, so every call into it is guarded.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use autochrome_model::{LumaRange, Plane};
use v4l::buffer::{Flags, Type};
use v4l::capability::Flags as Capability;
use v4l::format::{Colorspace, Quantization};
use v4l::io::mmap::Stream;
use v4l::io::traits::CaptureStream;
use v4l::video::Capture;
use v4l::{Device, Format, FourCC};

use super::jpeg::decode_luma;
use super::luma::{Packing, unpack};
use crate::errors::{Exit, Failure};

/// The formats that are read, the best first: grey needs nothing, MJPG needs decoding.
const FORMATS: [&[u8; 4]; 8] = [b"GREY", b"YUYV", b"UYVY", b"NV12", b"YU12", b"YVYU", b"VYUY", b"MJPG"];
/// The size that is asked for; the driver may give another.
const SIZE_ASKED: (u32, u32) = (640, 480);
/// How long one call waits for a frame.
const WAIT_MS: i32 = 200;
/// How long a camera may be silent before its stream is made anew; the first frame of some takes two seconds.
const SILENCE_MAX: Duration = Duration::from_secs(4);
/// How often in a row a stream is made anew before the camera is given up.
const FAILURES_MAX: u32 = 5;
/// The pause before a stream is made anew.
const RESTART_PAUSE: Duration = Duration::from_millis(250);
/// `POLLIN` of poll(2).
const POLLIN: i16 = 1;

/// Why a camera gives no frames.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// It cannot be opened or asked for its abilities.
    #[error("open camera {path}{}", words(source))]
    Open {
        /// The device.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a V4L2 device of another kind.
    #[error("{path} is no camera that this program reads: it offers no single-planar streaming capture")]
    NoCapture {
        /// The device.
        path: PathBuf,
    },
    /// None of its formats is read here.
    #[error("{path} offers {offered}; this program reads GREY, YUYV, UYVY, NV12, YU12 and MJPG")]
    NoUsableFormat {
        /// The device.
        path: PathBuf,
        /// Its formats.
        offered: String,
    },
    /// It does not start, or no longer gives frames.
    #[error("camera {path} gives no frames{}", words(source))]
    Stream {
        /// The device.
        path: PathBuf,
        /// Whether it ever gave one.
        after_frames: bool,
        /// What the system said last.
        source: io::Error,
    },
}

impl From<CameraError> for Failure {
    fn from(error: CameraError) -> Self {
        let exit = if matches!(error, CameraError::Stream { after_frames: true, .. }) { Exit::Broken } else { Exit::NoInput };
        Self { exit, cause: error.into() }
    }
}

/// What an error number of a camera means to the person in front of it.
fn words(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(2 | 6) => ": there is no such device; is the camera plugged in",
        Some(13) => ": this user may not use it; it may have to be in the group `video`",
        Some(16) => ": another program is using it",
        Some(19) => ": it was unplugged",
        Some(22 | 25) => ": it is not a V4L2 camera, or refuses what every camera can",
        Some(28) => ": the USB bus has no bandwidth left for it; try another port, or unplug other cameras",
        _ => "",
    }
}

/// An opened camera.
pub(super) struct Camera {
    path: PathBuf,
    device: Option<Device>,
    format: Got,
    stream: Option<Stream<'static>>,
    /// When the stream last showed life.
    alive_at: Instant,
    failures: u32,
    frames: u64,
}

/// What the driver gives, as opposed to what was asked for.
struct Got {
    width: usize,
    height: usize,
    stride: usize,
    /// How raw luma is packed; absent for MJPG.
    packing: Option<Packing>,
    range: LumaRange,
}

impl Camera {
    /// Opens a camera and settles on a format.
    ///
    /// # Errors
    /// [`CameraError`], all but `Stream`.
    pub(super) fn open(path: &Path) -> Result<Self, CameraError> {
        let (device, format) = open(path)?;
        Ok(Self { path: path.to_owned(), device: Some(device), format, stream: None, alive_at: Instant::now(), failures: 0, frames: 0 })
    }

    /// How the camera codes luma.
    pub(super) fn range(&self) -> LumaRange {
        self.format.range
    }

    /// Waits a moment for a frame. Nothing if none came, or a damaged one.
    ///
    /// # Errors
    /// [`CameraError::Stream`] once starting anew did not help a few times.
    pub(super) fn next(&mut self) -> Result<Option<Plane<u8>>, CameraError> {
        match self.grab() {
            Ok(frame) => {
                if frame.is_some() {
                    (self.failures, self.frames) = (0, self.frames + 1);
                }
                Ok(frame)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(source) => {
                self.close();
                self.failures += 1;
                // What no waiting cures is said at once.
                let hopeless = self.frames == 0 && matches!(source.raw_os_error(), Some(16 | 19 | 28));
                if hopeless || self.failures > FAILURES_MAX {
                    return Err(CameraError::Stream { path: self.path.clone(), after_frames: self.frames > 0, source });
                }
                sleep(RESTART_PAUSE);
                Ok(None)
            }
        }
    }

    fn grab(&mut self) -> io::Result<Option<Plane<u8>>> {
        if self.device.is_none() {
            let (device, format) = open(&self.path).map_err(io::Error::other)?;
            (self.device, self.format) = (Some(device), format);
        }
        let starting = self.stream.is_none();
        if starting {
            let device = self.device.as_ref().ok_or_else(|| io::Error::other("it is closed"))?;
            let mut stream = guarded(|| Stream::with_buffers(device, Type::VideoCapture, 4))?;
            // The first `next` starts the stream, and only then is there something to poll.
            stream.set_timeout(SILENCE_MAX);
            self.stream = Some(stream);
            self.alive_at = Instant::now();
        }
        let Some(stream) = self.stream.as_mut() else { return Ok(None) };
        if !starting && guarded(|| stream.handle().poll(POLLIN, WAIT_MS))? == 0 {
            let silent = self.alive_at.elapsed() > SILENCE_MAX;
            return if silent { Err(io::Error::new(io::ErrorKind::TimedOut, "the camera fell silent")) } else { Ok(None) };
        }
        let (bytes, meta) = guarded(|| stream.next())?;
        self.alive_at = Instant::now();
        let filled = &bytes[..bytes.len().min(meta.bytesused as usize)];
        if meta.flags.contains(Flags::ERROR) {
            return Ok(None);
        }
        let Got { width, height, stride, packing, .. } = self.format;
        Ok(match packing {
            Some(packing) => unpack(filled, (width, height), stride, packing),
            None => guarded(|| Ok(decode_luma(filled).ok()))?.map(|decoded| decoded.luma),
        })
    }

    /// Drops stream and device; the crate panics if the driver refuses to stop, which is no reason for us to.
    fn close(&mut self) {
        let (stream, device) = (self.stream.take(), self.device.take());
        let _ = guarded(|| {
            drop(stream);
            Ok(())
        });
        let _ = guarded(|| {
            drop(device);
            Ok(())
        });
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.close();
    }
}

fn open(path: &Path) -> Result<(Device, Got), CameraError> {
    let fail = |source| CameraError::Open { path: path.to_owned(), source };
    let device = guarded(|| Device::with_path(path)).map_err(fail)?;
    let capabilities = guarded(|| device.query_caps()).map_err(fail)?.capabilities;
    if !capabilities.contains(Capability::VIDEO_CAPTURE | Capability::STREAMING) {
        return Err(CameraError::NoCapture { path: path.to_owned() });
    }
    let offered: Vec<[u8; 4]> = guarded(|| device.enum_formats()).map_err(fail)?.iter().map(|format| format.fourcc.repr).collect();
    let Some(wanted) = FORMATS.into_iter().find(|wanted| offered.contains(wanted)) else {
        let names: Vec<_> = offered.iter().map(|fourcc| String::from_utf8_lossy(fourcc).into_owned()).collect();
        let offered = if names.is_empty() { "no format".into() } else { names.join(", ") };
        return Err(CameraError::NoUsableFormat { path: path.to_owned(), offered });
    };
    let asked = Format::new(SIZE_ASKED.0, SIZE_ASKED.1, FourCC::new(wanted));
    // Asking is advisory: the driver may round, and refuses while another program holds the device. What counts is what it gives.
    let format = guarded(|| device.set_format(&asked)).or_else(|_| guarded(|| device.format())).map_err(fail)?;
    let packing = Packing::of(format.fourcc.repr);
    if packing.is_none() && format.fourcc.repr != *b"MJPG" {
        return Err(CameraError::NoUsableFormat { path: path.to_owned(), offered: format!("only {}", format.fourcc) });
    }
    let got = Got {
        width: format.width as usize,
        height: format.height as usize,
        stride: format.stride as usize,
        packing,
        range: range(&format),
    };
    Ok((device, got))
}

/// Limited range where the driver says so, or where the color space is that of analog television; most drivers leave it open, and most
/// webcams use all codes.
fn range(format: &Format) -> LumaRange {
    match (format.quantization, format.colorspace) {
        (Quantization::LimitedRange, _) => LumaRange::Limited,
        (Quantization::Default, Colorspace::SMPTE170M | Colorspace::NTSC | Colorspace::EBUTech3212) if format.fourcc.repr != *b"MJPG" => {
            LumaRange::Limited
        }
        _ => LumaRange::Full,
    }
}

/// Calls into the `v4l` crate, turning a panic there into an error.
fn guarded<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(io::Error::other("the driver said something unknown")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_camera_is_refused_in_words() {
        let missing = Camera::open(Path::new("/dev/video-none")).err().unwrap();
        assert!(missing.to_string().contains("there is no such device"), "{missing}");
        assert_eq!(Failure::from(missing).exit, Exit::NoInput);
        let null = Camera::open(Path::new("/dev/null")).err().unwrap();
        assert!(null.to_string().contains("it is not a V4L2 camera"), "{null}");
    }

    #[test]
    fn a_panic_in_the_crate_is_an_error() {
        let quiet = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        assert!(guarded(|| -> io::Result<()> { panic!("Invalid colorspace") }).is_err());
        std::panic::set_hook(quiet);
    }

    #[test]
    fn usb_bandwidth_is_named() {
        let error = CameraError::Stream { path: "/dev/video0".into(), after_frames: false, source: io::Error::from_raw_os_error(28) };
        assert!(error.to_string().contains("no bandwidth left"), "{error}");
    }
}
