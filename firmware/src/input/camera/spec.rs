//! Which camera, and how it is to be set: what stands behind `v4l2:`, or in the `[camera]` table of a configuration.

use std::path::PathBuf;

use autochrome_model::LumaRange;

use super::super::SIDE_MAX;

/// The formats that are read, the best first: grey needs nothing, deep grey loses bits, MJPG needs decoding.
pub(crate) const FORMATS: [[u8; 4]; 15] = [
    *b"GREY", *b"YUYV", *b"UYVY", *b"NV12", *b"YU12", *b"NV21", *b"YV12", *b"YVYU", *b"VYUY", *b"Y10P", *b"Y12P", *b"Y16 ", *b"Y12 ",
    *b"Y10 ", *b"MJPG",
];

/// What can be set, in the order in which it is documented.
const KEYS: [&str; 15] = [
    "size",
    "fps",
    "format",
    "input",
    "standard",
    "deinterlace",
    "range",
    "wait",
    "exposure",
    "auto_exposure",
    "gain",
    "auto_gain",
    "brightness",
    "contrast",
    "control",
];
/// Those of them that are controls of the camera, by their names here.
const CONTROL_KEYS: [&str; 6] = ["exposure", "auto_exposure", "gain", "auto_gain", "brightness", "contrast"];

/// Television standards and the sets of V4L2's bits that they are.
const STANDARDS: [(&str, u64); 9] = [
    ("PAL", 0xff),
    ("NTSC", 0xb000),
    ("SECAM", 0xff_0000),
    ("PAL-M", 0x100),
    ("PAL-N", 0x200),
    ("PAL-NC", 0x400),
    ("PAL-60", 0x800),
    ("NTSC-M-JP", 0x2000),
    ("NTSC-443", 0x4000),
];

/// A camera and its settings.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CameraSpec {
    /// Which one.
    pub device: Select,
    /// Width and height to ask for; 640x480 if nothing is said. The driver may give another.
    pub size: Option<(u32, u32)>,
    /// Frames a second to ask for; what the driver likes if nothing is said.
    pub fps: Option<u32>,
    /// Pixel formats to prefer over the built-in order, the best first.
    pub formats: Vec<[u8; 4]>,
    /// The video input of a grabber that has several.
    pub input: Option<u32>,
    /// The television standard of an analog input: PAL, NTSC, SECAM, PAL-M and the like.
    pub standard: Option<String>,
    /// What becomes of fields.
    pub deinterlace: Deinterlace,
    /// What luma codes mean, against what the driver says.
    pub range: Option<LumaRange>,
    /// Controls by name or number, and their values, in the order in which they are set. `exposure`, `gain`, `auto_exposure` and `auto_gain`
    /// mean the same with every driver; other names are the driver's own, as `v4l2-ctl -l` lists them.
    pub controls: Vec<(String, i64)>,
    /// Whether to wait for a camera that is not there at the start, instead of failing.
    pub wait: bool,
}

/// Which camera.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Select {
    /// The first that can be used.
    #[default]
    Auto,
    /// This one: a device, or a link to one that udev keeps.
    Path(PathBuf),
}

/// What becomes of the fields of an interlaced camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Deinterlace {
    /// As `Bob` where the driver speaks of fields; elsewhere the picture is whole.
    #[default]
    Auto,
    /// One field of two, the rows between filled with the mean of their neighbors. Fields that come alone become a picture each.
    Bob,
    /// One field of two at half the width, so that the shape stays: a quarter of the pixels, for weak boards.
    Drop,
    /// As it comes, combs and all.
    Off,
}

/// The V4L2 bits of a television standard. The error says what there is.
///
/// # Errors
/// If the name is not known.
pub(crate) fn standard(name: &str) -> Result<u64, String> {
    let wanted = name.to_ascii_uppercase().replace('_', "-");
    STANDARDS.iter().find(|(known, _)| *known == wanted).map(|&(_, bits)| bits).ok_or_else(|| {
        let names: Vec<_> = STANDARDS.iter().map(|(name, _)| *name).collect();
        format!("standard={name}: there is no such television standard{}", meant(&wanted, &names))
    })
}

impl CameraSpec {
    /// Reads what stands behind `v4l2:`, e.g. `/dev/video0?size=640x480&fps=25`, `auto`, `/dev/v4l/by-id/..`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (device, options) = text.split_once('?').unwrap_or((text, ""));
        let device = match device {
            "" => return Err("name a device, as in v4l2:/dev/video0, or v4l2:auto for the first that can be used".into()),
            "auto" => Select::Auto,
            path => Select::Path(path.into()),
        };
        let mut spec = Self { device, ..Self::default() };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, "yes"));
            spec.set(key, value)?;
        }
        Ok(spec)
    }

    /// Sets one option as it is written in a URI.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let name = key.to_ascii_lowercase().replace('-', "_");
        let refuse = |what: &str| Err(format!("{key}={value}: {what}"));
        match name.as_str() {
            "size" => match value.split_once('x').map(|(w, h)| (w.parse(), h.parse())) {
                Some((Ok(w), Ok(h))) if (1..=SIDE_MAX as u32).contains(&w) && (1..=SIDE_MAX as u32).contains(&h) => {
                    self.size = Some((w, h))
                }
                _ => return refuse("a size is WIDTHxHEIGHT, up to 8192 each, as in 640x480"),
            },
            "fps" => match value.parse() {
                Ok(fps @ 1..=1000) => self.fps = Some(fps),
                _ => return refuse("frames a second are a number from 1 to 1000"),
            },
            "format" => {
                self.formats = value.split(',').map(format_of).collect::<Result<_, _>>()?;
            }
            "input" => match value.parse() {
                Ok(input @ 0..=255) => self.input = Some(input),
                _ => return refuse("an input is a number from 0 to 255"),
            },
            "standard" => {
                standard(value)?;
                self.standard = Some(value.to_owned());
            }
            "deinterlace" => {
                self.deinterlace = match value {
                    "auto" => Deinterlace::Auto,
                    "bob" => Deinterlace::Bob,
                    "drop" => Deinterlace::Drop,
                    "off" => Deinterlace::Off,
                    _ => return refuse("it is auto, bob, drop or off"),
                }
            }
            "range" => {
                self.range = match value {
                    "auto" => None,
                    "full" => Some(LumaRange::Full),
                    "limited" => Some(LumaRange::Limited),
                    _ => return refuse("it is auto, full or limited"),
                }
            }
            "wait" => {
                self.wait = match value {
                    "yes" | "true" | "1" => true,
                    "no" | "false" | "0" => false,
                    _ => return refuse("it is yes or no"),
                }
            }
            "control" => match value.split_once(':').map(|(name, value)| (name, value.parse())) {
                Some((name, Ok(number))) if !name.is_empty() => self.controls.push((name.to_owned(), number)),
                _ => return refuse("it is control=NAME:VALUE, the value a whole number; `v4l2-ctl -l` lists a camera's own"),
            },
            control if CONTROL_KEYS.contains(&control) => match value.parse() {
                Ok(number) => self.controls.push((control.to_owned(), number)),
                Err(_) => return refuse("a control's value is a whole number"),
            },
            _ => return Err(format!("{key}: a camera has no such option{}", meant(&name, &KEYS))),
        }
        Ok(())
    }
}

/// The format of that name, of those that are read.
pub(crate) fn format_of(name: &str) -> Result<[u8; 4], String> {
    let wanted = match name.to_ascii_uppercase().as_str() {
        "MJPEG" | "JPEG" => "MJPG".to_owned(),
        "I420" => "YU12".to_owned(),
        "YUY2" => "YUYV".to_owned(),
        "Y8" | "Y800" | "GRAY" => "GREY".to_owned(),
        other => other.to_owned(),
    };
    FORMATS.into_iter().find(|known| fourcc_name(*known) == wanted).ok_or_else(|| {
        let names = FORMATS.map(fourcc_name);
        format!("format={name}: not a format that is read{}", meant(&wanted, &names.each_ref().map(String::as_str)))
    })
}

/// A pixel format as people write it.
pub(crate) fn fourcc_name(fourcc: [u8; 4]) -> String {
    let letter = |byte: u8| if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '?' };
    fourcc.map(letter).iter().collect::<String>().trim_end().to_owned()
}

/// What was meant, or else what there is.
fn meant(word: &str, known: &[&str]) -> String {
    let nearest = known.iter().max_by(|a, b| strsim::jaro_winkler(word, a).total_cmp(&strsim::jaro_winkler(word, b)));
    match nearest {
        Some(nearest) if strsim::jaro_winkler(word, nearest) > 0.75 => format!("; did you mean {nearest}?"),
        _ => format!("; there are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_camera_is_named_with_its_settings() {
        let all = "/dev/v4l/by-id/usb-x?size=640x480&fps=25&format=y10,MJPEG&input=1&standard=pal&deinterlace=bob&range=limited&exposure=100\
                   &gain=10&control=white_balance_automatic:0&wait";
        let spec = CameraSpec::parse(all).unwrap();
        let expected = CameraSpec {
            device: Select::Path("/dev/v4l/by-id/usb-x".into()),
            size: Some((640, 480)),
            fps: Some(25),
            formats: vec![*b"Y10 ", *b"MJPG"],
            input: Some(1),
            standard: Some("pal".into()),
            deinterlace: Deinterlace::Bob,
            range: Some(LumaRange::Limited),
            controls: vec![("exposure".into(), 100), ("gain".into(), 10), ("white_balance_automatic".into(), 0)],
            wait: true,
        };
        assert_eq!(spec, expected);
        assert_eq!(CameraSpec::parse("auto").unwrap(), CameraSpec::default());
        assert_eq!(CameraSpec::parse("auto?auto-exposure=3&wait=no").unwrap().controls, [("auto_exposure".to_owned(), 3)]);
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("", "name a device"),
            ("auto?sise=640x480", "sise: a camera has no such option; did you mean size?"),
            ("auto?colour=7", "there are size, fps"),
            ("auto?size=640", "WIDTHxHEIGHT"),
            ("auto?size=0x480", "up to 8192"),
            ("auto?size=99999x480", "up to 8192"),
            ("auto?fps=0", "1 to 1000"),
            ("auto?format=GRAY8", "did you mean GREY?"),
            ("auto?format=BGR3", "not a format that is read"),
            ("auto?standard=PAAL", "did you mean PAL?"),
            ("auto?deinterlace=weave", "auto, bob, drop or off"),
            ("auto?range=half", "auto, full or limited"),
            ("auto?gain=high", "whole number"),
            ("auto?control=gain", "control=NAME:VALUE"),
            ("auto?wait=maybe", "yes or no"),
            ("auto?input=-1", "0 to 255"),
        ];
        for (text, part) in cases {
            let error = CameraSpec::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
