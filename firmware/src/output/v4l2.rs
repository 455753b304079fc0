//! A V4L2 output device, as v4l2loopback makes one: other programs read from it as if from a color camera.
//!
//! Frames are written whole, as limited-range YUYV, and nothing waits: where nobody reads in time the frame is lost, and counted.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use autochrome_model::LumaRange;
use v4l::capability::Flags as Capability;
use v4l::format::{Colorspace, Quantization};
use v4l::video::Output as _;
use v4l::{Device, Format, FourCC};

use super::display::Scale;
use super::display::letterbox::Letterbox;
use crate::coloring::Colored;
use crate::errors::{Exit, OrFail, Result, say, warn};

/// How often a device that went away is looked for.
const RETRY: Duration = Duration::from_secs(1);
/// What programs that read from a camera all understand.
const YUYV: [u8; 4] = *b"YUYV";
/// Cr, Cb and luma of black, and nothing.
const BLACK: [u8; 4] = [128, 128, 16, 0];

/// What a device was brought to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    width: usize,
    height: usize,
    stride: usize,
}

/// A device, or what stands for one.
trait Port: Send {
    /// Asks for a size, and says what the device takes.
    fn set_size(&mut self, width: usize, height: usize) -> io::Result<Taken>;
    /// Hands over a frame without waiting.
    fn put(&mut self, frame: &[u8]) -> io::Result<usize>;
}

type Open = Box<dyn Fn(&Path) -> io::Result<Box<dyn Port>> + Send>;

/// A V4L2 output device.
pub struct V4l2 {
    path: PathBuf,
    open: Open,
    port: Option<Box<dyn Port>>,
    /// The size that was asked for, and what came of it.
    agreed: Option<((usize, usize), Taken)>,
    retry_at: Option<Instant>,
    dropped: u64,
    pixels: Vec<u32>,
    letterbox: Option<Letterbox>,
    frame: Vec<u8>,
    codes: Box<Codes>,
}

impl V4l2 {
    /// Opens a device.
    ///
    /// # Errors
    /// [`Exit::CannotCreate`] if there is none, or if it is not for output.
    pub fn open(path: &Path) -> Result<Self> {
        Self::with(path, Box::new(|path| Loopback::open(path).map(|port| Box::new(port) as Box<dyn Port>)))
    }

    fn with(path: &Path, open: Open) -> Result<Self> {
        let port = open(path).or_fail(Exit::CannotCreate, || format!("open video output {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            open,
            port: Some(port),
            agreed: None,
            retry_at: None,
            dropped: 0,
            pixels: Vec::new(),
            letterbox: None,
            frame: Vec::new(),
            codes: Box::new(Codes::new(LumaRange::Full)),
        })
    }

    /// Hands a picture to whoever reads. Never waits, and never fails: a device that goes away may come back.
    pub fn show(&mut self, colored: &Colored) {
        self.show_at(colored, Instant::now());
    }

    fn show_at(&mut self, colored: &Colored, now: Instant) {
        if self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        match self.try_show(colored) {
            Ok(()) => {
                if self.retry_at.take().is_some() {
                    say(&format!("video output {} is back", self.path.display()));
                }
            }
            Err(error) => {
                if self.retry_at.is_none() {
                    warn(&format!("video output {}: {error}; trying again every second", self.path.display()));
                }
                (self.port, self.agreed, self.retry_at) = (None, None, Some(now + RETRY));
            }
        }
    }

    fn try_show(&mut self, colored: &Colored) -> io::Result<()> {
        let (width, height) = (colored.picture.luma.width, colored.picture.luma.height);
        if width == 0 || height == 0 {
            return Ok(());
        }
        // Two pixels share their chroma.
        let wanted = (width.next_multiple_of(2), height);
        // Where somebody reads, the format stands until the writer has left.
        if self.agreed.is_some_and(|(asked, _)| asked != wanted) {
            (self.port, self.agreed) = (None, None);
        }
        if self.port.is_none() {
            self.port = Some((self.open)(&self.path).map_err(|error| during("open it", &error))?);
        }
        let Some(port) = self.port.as_mut() else { return Ok(()) };
        let taken = match self.agreed {
            Some((_, taken)) => taken,
            None => port.set_size(wanted.0, wanted.1).map_err(|error| during(&format!("set it to {}x{}", wanted.0, wanted.1), &error))?,
        };
        if self.agreed.is_none() {
            self.agreed = Some((wanted, taken));
            if (taken.width, taken.height) != wanted {
                let (name, Taken { width: w, height: h, .. }) = (self.path.display(), taken);
                say(&format!("video output {name} stays at {w}x{h}; the picture of {width}x{height} is fitted into it"));
            }
            self.frame.clear();
        }
        let screen = (taken.width, taken.height);
        // The column that an odd width lacks is a repetition, and no bar.
        let fitted = if screen == wanted { screen } else { (width, height) };
        if self.codes.range != colored.range {
            *self.codes = Codes::new(colored.range);
        }
        self.codes.pack(colored, fitted.0, &mut self.pixels);
        if self.letterbox.as_ref().is_none_or(|letterbox| !letterbox.is_for(fitted, screen)) {
            self.letterbox = Some(Letterbox::new(fitted, screen, Scale::Smooth));
            self.frame.clear();
        }
        let Some(letterbox) = self.letterbox.as_mut() else { return Ok(()) };
        if self.frame.is_empty() {
            let [cr, cb, y, _] = BLACK;
            self.frame.extend([y, cb, y, cr].into_iter().cycle().take(taken.stride * taken.height));
        }
        let (x, frame) = (letterbox.place().x, &mut self.frame);
        letterbox.draw(&self.pixels, |y, row| subsample(row, x, &mut frame[y * taken.stride..][..taken.width * 2]));
        match port.put(&self.frame) {
            Ok(written) if written >= self.frame.len() => Ok(()),
            Ok(_) => self.lose(),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => self.lose(),
            Err(error) => Err(during("write", &error)),
        }
    }

    fn lose(&mut self) -> io::Result<()> {
        self.dropped += 1;
        Ok(())
    }
}

impl Drop for V4l2 {
    fn drop(&mut self) {
        if self.dropped > 0 {
            say(&format!("video output {}: {} frames were not taken in time", self.path.display(), self.dropped));
        }
    }
}

fn during(attempt: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{attempt}: {error}"))
}

/// From a picture's codes to those of video: luma 16 to 235, chroma 16 to 240.
struct Codes {
    range: LumaRange,
    luma: [u8; 256],
    chroma: [u8; 256],
}

impl Codes {
    fn new(range: LumaRange) -> Self {
        let luma = |code: u8| match range {
            LumaRange::Full => (f32::from(code) * 219.0 / 255.0 + 16.0).round() as u8,
            LumaRange::Limited => code,
        };
        let chroma = |code: u8| ((f32::from(code) - 128.0) * 224.0 / 255.0 + 128.0).round() as u8;
        Self { range, luma: std::array::from_fn(|code| luma(code as u8)), chroma: std::array::from_fn(|code| chroma(code as u8)) }
    }

    /// The picture as pixels of Cr, Cb, luma and nothing, a byte each, in rows of `width`; the last pixel repeats where the picture is narrower.
    fn pack(&self, colored: &Colored, width: usize, pixels: &mut Vec<u32>) {
        let picture = &colored.picture;
        pixels.clear();
        for y in 0..picture.luma.height {
            let row = picture.luma.row(y).iter().zip(picture.cb.row(y)).zip(picture.cr.row(y));
            let code = |table: &[u8; 256], code: u8| table[usize::from(code)];
            pixels.extend(
                row.map(|((&y, &cb), &cr)| u32::from_ne_bytes([code(&self.chroma, cr), code(&self.chroma, cb), code(&self.luma, y), 0])),
            );
            let last = pixels.last().copied().unwrap_or(u32::from_ne_bytes(BLACK));
            pixels.resize((y + 1) * width, last);
        }
    }
}

/// A row of pixels of Cr, Cb and luma into one of YUYV, from pixel `x` on. Chroma stands beside the left pixel of a pair and takes 1-2-1
/// around it.
fn subsample(row: &[u8], x: usize, out: &mut [u8]) {
    let pixels = row.as_chunks::<4>().0;
    let last = pixels.len() - 1;
    for (i, &[_, _, luma, _]) in pixels.iter().enumerate() {
        let at = x + i;
        out[at * 2] = luma;
        if at.is_multiple_of(2) && at * 2 + 3 < out.len() {
            let around = [pixels[i.saturating_sub(1)], pixels[i], pixels[(i + 1).min(last)]];
            let mean = |byte: usize| {
                let [left, here, right] = around.map(|pixel| u16::from(pixel[byte]));
                ((left + 2 * here + right + 2) / 4) as u8
            };
            (out[at * 2 + 1], out[at * 2 + 3]) = (mean(1), mean(0));
        }
    }
}

/// The real device.
struct Loopback {
    device: Option<Device>,
}

impl Loopback {
    fn open(path: &Path) -> io::Result<Self> {
        // It is opened without waiting, and so are its writes.
        let device = guarded(|| Device::with_path(path))?;
        let port = Self { device: Some(device) };
        let capabilities = guarded(|| port.device()?.query_caps())?.capabilities;
        if !capabilities.contains(Capability::VIDEO_OUTPUT) {
            return Err(io::Error::other("it takes no pictures; load the module v4l2loopback, and name the device that it makes"));
        }
        Ok(port)
    }

    fn device(&self) -> io::Result<&Device> {
        self.device.as_ref().ok_or_else(|| io::Error::other("it is closed"))
    }
}

impl Port for Loopback {
    fn set_size(&mut self, width: usize, height: usize) -> io::Result<Taken> {
        let mut asked = Format::new(width as u32, height as u32, FourCC::new(&YUYV));
        (asked.colorspace, asked.quantization) = (Colorspace::SMPTE170M, Quantization::LimitedRange);
        (asked.stride, asked.size) = (asked.width * 2, asked.width * 2 * asked.height);
        asked.field_order = v4l::format::FieldOrder::Progressive;
        let device = self.device()?;
        let got = guarded(|| device.set_format(&asked)).or_else(|_| guarded(|| device.format()))?;
        if got.fourcc.repr != YUYV {
            return Err(io::Error::other(format!("it takes only {}; this program writes YUYV", got.fourcc)));
        }
        let taken = Taken { width: got.width as usize, height: got.height as usize, stride: got.stride as usize };
        let tight = taken.width * 2;
        if taken.width < 2 || taken.height < 1 || taken.width > 16_384 || taken.height > 16_384 || taken.stride > 8 * tight {
            return Err(io::Error::other(format!("it takes pictures of {}x{} only", taken.width, taken.height)));
        }
        Ok(Taken { width: taken.width & !1, stride: taken.stride.max(tight), ..taken })
    }

    fn put(&mut self, frame: &[u8]) -> io::Result<usize> {
        self.device.as_mut().ok_or_else(|| io::Error::other("it is closed"))?.write(frame)
    }
}

impl Drop for Loopback {
    /// The crate panics if closing fails, which is no reason for us to.
    fn drop(&mut self) {
        let device = self.device.take();
        let _ = guarded(|| {
            drop(device);
            Ok(())
        });
    }
}

/// Calls into the `v4l` crate, turning a panic there into an error.
fn guarded<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(io::Error::other("the driver said something unknown")))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use autochrome_model::{Picture, Plane};

    use super::*;

    /// What happened at the fake device, and what happens next.
    #[derive(Default)]
    struct Bench {
        log: Vec<String>,
        frames: Vec<Vec<u8>>,
        fails: Option<i32>,
        /// Whatever is asked for, this is what is taken.
        fixed: Option<Taken>,
    }

    struct Fake(Arc<Mutex<Bench>>);

    impl Port for Fake {
        fn set_size(&mut self, width: usize, height: usize) -> io::Result<Taken> {
            let mut bench = self.0.lock().unwrap();
            bench.log.push(format!("size {width}x{height}"));
            Ok(bench.fixed.unwrap_or(Taken { width, height, stride: width * 2 }))
        }
        fn put(&mut self, frame: &[u8]) -> io::Result<usize> {
            let mut bench = self.0.lock().unwrap();
            if let Some(number) = bench.fails {
                bench.log.push(format!("fails {number}"));
                return Err(io::Error::from_raw_os_error(number));
            }
            bench.frames.push(frame.to_vec());
            Ok(frame.len())
        }
    }

    fn output() -> (V4l2, Arc<Mutex<Bench>>) {
        let bench = Arc::new(Mutex::new(Bench::default()));
        let mine = Arc::clone(&bench);
        let open: Open = Box::new(move |_| {
            mine.lock().unwrap().log.push("open".into());
            Ok(Box::new(Fake(Arc::clone(&mine))))
        });
        (V4l2::with(Path::new("/dev/video9"), open).unwrap(), bench)
    }

    fn flat(width: usize, height: usize, [y, cb, cr]: [u8; 3], range: LumaRange) -> Colored {
        let plane = |value| Plane::filled(width, height, value);
        Colored { picture: Picture { luma: plane(y), cb: plane(cb), cr: plane(cr) }, range, ..Colored::blank() }
    }

    #[test]
    fn pictures_arrive_as_limited_range_yuyv() {
        let cases = [
            (LumaRange::Full, [255, 0, 255], [235, 16, 235, 240]),
            (LumaRange::Full, [0, 128, 128], [16, 128, 16, 128]),
            (LumaRange::Limited, [235, 255, 0], [235, 240, 235, 16]),
        ];
        for (range, codes, [y0, u, y1, v]) in cases {
            let (mut output, bench) = output();
            output.show(&flat(4, 2, codes, range));
            assert_eq!(bench.lock().unwrap().frames, [[y0, u, y1, v].repeat(4)], "{range:?} {codes:?}");
        }
    }

    #[test]
    fn luma_stays_in_its_place_and_two_pixels_share_their_chroma() {
        let (mut output, bench) = output();
        let luma = Plane::from_vec(3, 1, vec![16, 100, 200]);
        let cb = Plane::from_vec(3, 1, vec![128, 160, 255]);
        let picture = Picture { luma, cb, cr: Plane::filled(3, 1, 128) };
        output.show(&Colored { picture, range: LumaRange::Limited, ..Colored::blank() });
        // 128, 156, 240, and 240 again for the column that is not there: 1-2-1 around the first and the third.
        assert_eq!(bench.lock().unwrap().frames, [[16, 135, 100, 128, 200, 219, 200, 128]]);
        assert_eq!(bench.lock().unwrap().log, ["open", "size 4x1"]);
    }

    #[test]
    fn another_size_is_asked_for_anew_and_a_device_that_refuses_gets_bars() {
        let (mut output, bench) = output();
        for (width, height) in [(4, 2), (4, 2), (6, 2)] {
            output.show(&flat(width, height, [16, 128, 128], LumaRange::Limited));
        }
        assert_eq!(bench.lock().unwrap().log, ["open", "size 4x2", "open", "size 6x2"]);
        bench.lock().unwrap().fixed = Some(Taken { width: 4, height: 1, stride: 10 });
        output.show(&flat(2, 1, [200, 0, 255], LumaRange::Limited));
        let frame = bench.lock().unwrap().frames.pop().unwrap();
        assert_eq!((frame.len(), [frame[0], frame[2], frame[4], frame[6]]), (10, [16, 200, 200, 16]));
    }

    #[test]
    fn slow_readers_lose_frames_and_a_lost_device_is_looked_for_once_a_second() {
        let (mut output, bench) = output();
        let picture = flat(2, 2, [16, 128, 128], LumaRange::Limited);
        let start = Instant::now();
        let mut at = |milliseconds| output.show_at(&picture, start + Duration::from_millis(milliseconds));
        at(0);
        bench.lock().unwrap().fails = Some(11);
        at(10);
        bench.lock().unwrap().fails = Some(19);
        [20, 30, 1010].into_iter().for_each(&mut at);
        bench.lock().unwrap().fails = None;
        [1030, 1040].into_iter().for_each(&mut at);
        assert_eq!(bench.lock().unwrap().log, ["open", "size 2x2", "fails 11", "fails 19", "open", "size 2x2"]);
        assert_eq!((bench.lock().unwrap().frames.len(), output.dropped), (3, 1));
    }

    #[test]
    fn what_is_no_video_output_is_refused() {
        let failure = V4l2::open(Path::new("/dev/video-none")).err().unwrap();
        assert_eq!(failure.exit, Exit::CannotCreate);
        assert!(failure.to_string().contains("open video output /dev/video-none"), "{failure}");
        assert!(V4l2::open(Path::new("/dev/null")).is_err());
    }
}
