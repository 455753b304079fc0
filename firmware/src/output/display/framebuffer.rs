//! The framebuffer device, where there is no DRM: its shape from sysfs, its pixels by plain writes.

use std::fs::{File, OpenOptions, read_to_string};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::letterbox::{Place, Scale};
use super::{Fitting, Pictures, RETRY, SIDE_MAX, pause};
use crate::coloring::Colored;
use crate::errors::{say, warn};
use crate::newest::Awaited;

/// What the kernel says of a framebuffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    /// Pixels that are seen.
    width: usize,
    height: usize,
    /// Bytes of a pixel: 2 (RGB 5-6-5), 3 or 4 (blue first).
    depth: usize,
    /// Bytes from one row to the next.
    stride: usize,
}

/// Escape sequences of the text console.
const HIDE_CURSOR: &[u8] = b"\x1b[?25l";
const SHOW_CURSOR: &[u8] = b"\x1b[?25h";

/// The text console below the picture, whose cursor would blink in it. Who may not write to it has to live with that.
#[derive(Debug)]
struct Console(Option<File>);

impl Console {
    fn hide_cursor(path: &Path) -> Self {
        let mut console = OpenOptions::new().append(true).open(path).ok();
        let hidden = console.as_mut().is_some_and(|console| console.write_all(HIDE_CURSOR).is_ok());
        Self(console.filter(|_| hidden))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.0.as_mut().map(|console| console.write_all(SHOW_CURSOR));
    }
}

/// An opened framebuffer device.
#[derive(Debug)]
pub(super) struct Framebuffer {
    device: PathBuf,
    /// `/sys`
    sysfs: PathBuf,
    file: File,
    shape: Shape,
    fitting: Fitting,
    /// Where the last picture was; around it is black.
    placed: Option<Place>,
    image: Vec<u8>,
    _console: Console,
}

impl Framebuffer {
    /// Opens a device and asks `sysfs` for its shape. Takes the cursor away from `console`, for as long as the picture is there.
    ///
    /// # Errors
    /// What the system said, or that the shape is not one that is known.
    pub(super) fn open(device: &Path, sysfs: &Path, console: &Path, scale: Scale) -> io::Result<Self> {
        let shape = shape(device, sysfs)?;
        let file = OpenOptions::new().write(true).open(device)?;
        Ok(Self {
            device: device.to_owned(),
            sysfs: sysfs.to_owned(),
            file,
            shape,
            fitting: Fitting::new(scale),
            placed: None,
            image: Vec::new(),
            _console: Console::hide_cursor(console),
        })
    }

    /// Shows the newest picture until there are no more. A device that fails is opened again and again.
    pub(super) fn show(mut self, newest: &Pictures) {
        let Shape { width, height, depth, .. } = self.shape;
        say(&format!("the picture is on {}, {width}x{height}, {} bits a pixel", self.device.display(), depth * 8));
        let mut seen = None;
        let mut failing = false;
        let mut looked = Instant::now();
        loop {
            match newest.wait_for_newer(seen.as_ref(), RETRY) {
                Awaited::Newer(colored) => {
                    // Another mode may have been set.
                    if looked.elapsed() > RETRY {
                        looked = Instant::now();
                        self.look_again();
                    }
                    let written = self.write(&colored);
                    seen = Some(colored);
                    if let Err(error) = &written {
                        if !failing {
                            warn(&format!("write to {}: {error}; trying again every second", self.device.display()));
                        }
                        if !pause(newest, RETRY) {
                            return;
                        }
                        if let Ok(file) = OpenOptions::new().write(true).open(&self.device) {
                            self.file = file;
                        }
                    }
                    failing = written.is_err();
                }
                Awaited::NotYet => {}
                Awaited::Ended => return,
            }
        }
    }

    fn look_again(&mut self) {
        if let Ok(shape) = shape(&self.device, &self.sysfs)
            && shape != self.shape
        {
            self.shape = shape;
            self.placed = None;
        }
    }

    fn write(&mut self, colored: &Colored) -> io::Result<()> {
        let Shape { width, height, depth, stride } = self.shape;
        let Some((place, letterbox, pixels)) = self.fitting.fit(colored, (width, height)) else { return Ok(()) };
        if self.placed != Some(place) || self.image.len() != stride * height {
            self.image.clear();
            self.image.resize(stride * height, 0);
            self.placed = Some(place);
        }
        let image = &mut self.image;
        letterbox.draw(pixels, |y, row| {
            let at = y * stride + place.x * depth;
            pack(row, depth, &mut image[at..at + place.width * depth]);
        });
        self.file.write_all_at(&self.image, 0)
    }
}

/// Pixels of blue, green, red and nothing as the framebuffer wants them.
fn pack(row: &[u8], depth: usize, out: &mut [u8]) {
    let pixels = row.as_chunks::<4>().0;
    match depth {
        2 => {
            for (&[b, g, r, _], out) in pixels.iter().zip(out.as_chunks_mut::<2>().0) {
                *out = (u16::from(r >> 3) << 11 | u16::from(g >> 2) << 5 | u16::from(b >> 3)).to_le_bytes();
            }
        }
        3 => pixels.iter().zip(out.as_chunks_mut::<3>().0).for_each(|(&[b, g, r, _], out)| *out = [b, g, r]),
        _ => out.copy_from_slice(row),
    }
}

fn shape(device: &Path, sysfs: &Path) -> io::Result<Shape> {
    let name = device.file_name().ok_or_else(|| io::Error::other("it has no name"))?;
    let folder = sysfs.join("class/graphics").join(name);
    let read = |file: &str| {
        let path = folder.join(file);
        read_to_string(&path).map_err(|error| io::Error::new(error.kind(), format!("read {}: {error}", path.display())))
    };
    let odd = |what: &str, text: &str| io::Error::other(format!("{}/{what} says {:?}", folder.display(), text.trim()));
    let number = |what: &str| -> io::Result<usize> {
        let text = read(what)?;
        text.trim().parse().map_err(|_| odd(what, &text))
    };
    let size = |text: &str, between: char| -> Option<(usize, usize)> {
        let (width, height) = text.trim().split_once(between)?;
        let size = (width.parse().ok()?, height.parse().ok()?);
        ((1..=SIDE_MAX).contains(&size.0) && (1..=SIDE_MAX).contains(&size.1)).then_some(size)
    };
    let text = read("virtual_size")?;
    let (mut width, mut height) = size(&text, ',').ok_or_else(|| odd("virtual_size", &text))?;
    // What is seen may be less than what is there. A mode reads `U:1024x768p-60`; either file may be empty.
    let seen = ["mode", "modes"].iter().find_map(|file| {
        let text = read(file).ok()?;
        let mode = text.lines().next()?.split_once(':')?.1;
        size(mode[..mode.rfind('-').unwrap_or(mode.len())].trim_end_matches(|c: char| !c.is_ascii_digit()), 'x')
    });
    if let Some(seen) = seen {
        (width, height) = (width.min(seen.0), height.min(seen.1));
    }
    let bits = number("bits_per_pixel")?;
    let depth = match bits {
        16 | 24 | 32 => bits / 8,
        _ => return Err(io::Error::other(format!("it has {bits} bits a pixel; 16, 24 and 32 are known"))),
    };
    let stride = number("stride")?;
    if stride < width * depth || stride > SIDE_MAX * 8 {
        return Err(io::Error::other(format!("its rows of {width} pixels are {stride} bytes apart")));
    }
    Ok(Shape { width, height, depth, stride })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use autochrome_model::{Picture, Plane};

    use super::*;
    use crate::kiosk::Pulses;
    use crate::newest::Newest;
    use crate::output::display::Display;

    /// A plain file for a device, and what sysfs would say of it.
    fn fake(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let sys = folder.path().join("class/graphics/fb7");
        fs::create_dir_all(&sys).unwrap();
        files.iter().for_each(|(name, text)| fs::write(sys.join(name), text).unwrap());
        let device = folder.path().join("fb7");
        fs::write(&device, []).unwrap();
        (folder, device)
    }

    #[test]
    fn the_shape_is_read_as_the_kernel_writes_it() {
        let cases: [(&str, &str, &str, &str, _); 8] = [
            ("1024,768\n", "32\n", "4096\n", "U:1024x768p-0\n", Ok((1024, 768, 4, 4096))),
            ("800,960\n", "16\n", "1600\n", "U:800x480p-60\nU:640x480p-60\n", Ok((800, 480, 2, 1600))),
            ("720,576", "24", "2176", "D:720x576i-50", Ok((720, 576, 3, 2176))),
            ("320,240", "16", "640", "", Ok((320, 240, 2, 640))),
            ("320,240", "8", "320", "", Err("8 bits a pixel")),
            ("320,240", "32", "320", "", Err("320 bytes apart")),
            ("320", "32", "1280", "", Err("virtual_size says \"320\"")),
            ("0,99999999", "32", "1280", "", Err("virtual_size")),
        ];
        for (size, bits, stride, modes, expected) in cases {
            let (folder, device) =
                fake(&[("virtual_size", size), ("bits_per_pixel", bits), ("stride", stride), ("modes", modes), ("mode", "")]);
            match (shape(&device, folder.path()), expected) {
                (Ok(found), Ok((width, height, depth, stride))) => assert_eq!(found, Shape { width, height, depth, stride }),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (found, expected) => panic!("{found:?} instead of {expected:?}"),
            }
        }
        let (folder, device) = fake(&[]);
        assert!(shape(&device, folder.path()).unwrap_err().to_string().contains("virtual_size"));
    }

    #[test]
    fn pixels_are_packed_for_each_depth() {
        let row = [0x12, 0x34, 0x56, 0, 0xff, 0xff, 0xff, 0, 0xff, 0, 0, 0];
        let cases: [(usize, &[u8]); 3] =
            [(2, &[0xa2, 0x51, 0xff, 0xff, 0x1f, 0x00]), (3, &[0x12, 0x34, 0x56, 0xff, 0xff, 0xff, 0xff, 0, 0]), (4, &row)];
        for (depth, expected) in cases {
            let mut out = vec![0; 3 * depth];
            pack(&row, depth, &mut out);
            assert_eq!(out, expected, "{depth} bytes");
        }
    }

    #[test]
    fn the_picture_is_in_the_middle_of_black_and_rows_keep_their_distance() {
        let (folder, device) =
            fake(&[("virtual_size", "6,6"), ("bits_per_pixel", "32"), ("stride", "28"), ("mode", ""), ("modes", "U:6x3p-0")]);
        let grey = |width, height, luma| {
            let plane = |value| Plane::filled(width, height, value);
            Arc::new(Colored { picture: Picture { luma: plane(luma), cb: plane(128), cr: plane(128) }, ..Colored::blank() })
        };
        let newest = Arc::new(Newest::default());
        let pulse = Pulses::default().begin("display");
        let console = folder.path().join("tty0");
        fs::write(&console, []).unwrap();
        let mut framebuffer = Framebuffer::open(&device, folder.path(), &console, Scale::Smooth).unwrap();
        framebuffer.write(&grey(6, 3, 200)).unwrap();
        framebuffer.write(&grey(2, 2, 7)).unwrap();
        let bytes = fs::read(&device).unwrap();
        assert_eq!(bytes.len(), 28 * 3);
        let inside = |x: usize, y: usize| bytes[y * 28 + x * 4];
        for y in 0..3 {
            let row: Vec<u8> = (0..7).map(|x| inside(x, y)).collect();
            assert_eq!(row, [0, 7, 7, 7, 0, 0, 0], "row {y}");
        }
        newest.end();
        framebuffer.show(&Pictures { newest, pulse, began: Instant::now() });
        assert_eq!(fs::read(&console).unwrap(), [HIDE_CURSOR, SHOW_CURSOR].concat());
    }

    #[test]
    fn a_framebuffer_that_is_not_there_is_an_error() {
        let failure = Display::framebuffer(Path::new("/dev/fb-none"), Scale::Smooth, &Pulses::default()).err().unwrap();
        assert!(failure.to_string().contains("open framebuffer /dev/fb-none: read /sys/class/graphics/fb-none/virtual_size"), "{failure}");
    }
}
