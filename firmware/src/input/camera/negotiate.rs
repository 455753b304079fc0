//! Settling with a driver on a format: what is asked for is a wish, what counts is what the driver then says that it gives.

use std::io;

use autochrome_model::LumaRange;

use super::driver::{Control, Driver, Field, Format, Rate};
use super::spec::{CameraSpec, FORMATS, fourcc_name, standard};
use crate::input::SIDE_MAX;
use crate::input::luma::{Layout, Packing};

/// The size that is asked for if nobody asks for one.
const SIZE_ASKED: (u32, u32) = (640, 480);
/// `V4L2_COLORSPACE_SMPTE170M`, `.._470_SYSTEM_M` and `.._470_SYSTEM_BG`: analog television.
const ANALOG_COLORSPACES: [u32; 3] = [1, 5, 6];
/// `V4L2_QUANTIZATION_..`
const QUANTIZATION_DEFAULT: u32 = 0;
const QUANTIZATION_LIMITED: u32 = 2;

/// What the driver gives.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settled {
    /// The pixel format.
    pub(super) fourcc: [u8; 4],
    /// Pixels a row, and rows, of a buffer.
    pub(super) size: (usize, usize),
    /// How raw luma lies in a buffer; nothing for MJPG.
    pub(super) layout: Option<Layout>,
    /// How fields lie in a buffer.
    pub(super) field: Field,
    /// What the codes mean.
    pub(super) range: LumaRange,
    /// Frames a second, where the driver says it.
    pub(super) rate: Option<Rate>,
    /// Wishes that were not granted.
    pub(super) notes: Vec<String>,
}

/// Why no format was settled on.
#[derive(Debug)]
pub(super) enum Unsettled {
    /// The driver said so.
    Driver(io::Error),
    /// What is offered is not read here: in words.
    Unreadable(String),
}

/// The format to ask for, and why this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The pixel format.
    pub(crate) fourcc: [u8; 4],
    /// In words.
    pub(crate) why: &'static str,
}

/// Chooses among what a driver offers: a format that has the size and the rate that were asked for comes before one that has not; among
/// equals the order of the wish, then that of [`FORMATS`]. Nothing if none is read.
pub(crate) fn choose(driver: &dyn Driver, offered: &[[u8; 4]], spec: &CameraSpec) -> Option<Choice> {
    let order: Vec<[u8; 4]> = spec.formats.iter().chain(&FORMATS).copied().filter(|format| offered.contains(format)).collect();
    let grants = |fourcc: [u8; 4]| {
        let size = spec.size.is_none_or(|size| {
            let sizes = driver.sizes(fourcc);
            sizes.is_empty() || sizes.iter().any(|sizes| sizes.contains(size))
        });
        let rate = spec.fps.is_none_or(|fps| {
            let rates = driver.rates(fourcc, spec.size.unwrap_or(SIZE_ASKED));
            // Drivers round: 30 may be 30000 frames in 1001 seconds.
            rates.is_empty() || rates.iter().any(|rate| rate.hz() > f64::from(fps) * 0.99)
        });
        (size, rate)
    };
    let best = order.iter().copied().enumerate().max_by_key(|&(place, fourcc)| {
        let (size, rate) = grants(fourcc);
        (size, rate, std::cmp::Reverse(place))
    });
    let (place, fourcc) = best?;
    let why = match () {
        () if place > 0 => "the formats before it lack the size or the rate that was asked for",
        () if spec.formats.contains(&fourcc) => "it was asked for",
        () if order.len() == 1 => "it is the only one that is read",
        () if fourcc == *b"GREY" => "grey needs no unpacking",
        () => "the first in the order of preference",
    };
    Some(Choice { fourcc, why })
}

/// Sets input, standard, format, rate and controls, and reads back what came of it.
pub(super) fn settle(driver: &dyn Driver, spec: &CameraSpec) -> Result<Settled, Unsettled> {
    let mut notes = Vec::new();
    // What is not granted is said and lived with; a camera that is gone is not a wish that was not granted.
    let mut wish = |what: String, granted: io::Result<()>| match granted {
        Err(error) if is_gone(&error) => Err(Unsettled::Driver(error)),
        Err(error) => {
            notes.push(format!("{what}: {}", plainly(&error)));
            Ok(())
        }
        Ok(()) => Ok(()),
    };
    if let Some(input) = spec.input {
        wish(format!("input {input} was refused"), driver.set_input(input))?;
    }
    if let Some(name) = &spec.standard {
        let set = standard(name).map_err(io::Error::other).and_then(|bits| driver.set_standard(bits));
        wish(format!("the television standard {name} was refused"), set)?;
    }
    let offered = driver.formats().map_err(Unsettled::Driver)?;
    let Some(Choice { fourcc, .. }) = choose(driver, &offered, spec) else {
        let names: Vec<_> = offered.iter().map(|&fourcc| fourcc_name(fourcc)).collect();
        return Err(Unsettled::Unreadable(if names.is_empty() { "no format".into() } else { names.join(", ") }));
    };
    let asked = spec.size.unwrap_or(SIZE_ASKED);
    // The driver may round what is asked, and refuses while another program uses the camera: what is set counts.
    let format = match driver.set_format(fourcc, asked) {
        Ok(format) => format,
        Err(error) => {
            wish(format!("the format {} {}x{} was refused", fourcc_name(fourcc), asked.0, asked.1), Err(error))?;
            driver.format().map_err(Unsettled::Driver)?
        }
    };
    let rate = match spec.fps {
        Some(fps) => driver.set_rate(Rate { frames: fps, seconds: 1 }).or_else(|error| {
            wish(format!("{fps} frames a second were refused"), Err(error))?;
            Ok::<_, Unsettled>(driver.rate().unwrap_or(Rate { frames: 0, seconds: 0 }))
        })?,
        None => driver.rate().unwrap_or(Rate { frames: 0, seconds: 0 }),
    };
    if !spec.controls.is_empty() {
        let controls = driver.controls();
        for (id, name, value) in controls_to_set(&spec.controls, &controls) {
            let set = match id {
                Some(id) => i32::try_from(value).map_err(io::Error::other).and_then(|value| driver.set_control(id, value)),
                None => Err(io::Error::other("the camera has no such control; `v4l2-ctl -l` lists them")),
            };
            wish(format!("{name}={value} was refused"), set)?;
        }
    }
    if spec.size.is_some_and(|size| size != (format.width, format.height)) {
        notes.push(format!("{}x{} was asked for, the camera gives {}x{}", asked.0, asked.1, format.width, format.height));
    }
    let analog = driver.standard().is_ok_and(|bits| bits != 0);
    read(&format, analog, spec.range, (rate.hz() > 0.0).then_some(rate), notes)
}

fn read(format: &Format, analog: bool, range: Option<LumaRange>, rate: Option<Rate>, notes: Vec<String>) -> Result<Settled, Unsettled> {
    let (width, height, fourcc) = (format.width as usize, format.height as usize, format.fourcc);
    let refuse = |what: &str| Err(Unsettled::Unreadable(format!("{} {width}x{height}{what}", fourcc_name(fourcc))));
    if format.planes != 1 {
        return refuse(&format!(" in {} planes, of which only one is read", format.planes));
    }
    if !(1..=SIDE_MAX).contains(&width) || !(1..=SIDE_MAX).contains(&height) {
        return refuse(", which is no size that is read");
    }
    let layout = match Packing::of(fourcc) {
        Some(packing) => Some(Layout { width, height, stride: format.stride as usize, packing }),
        None if fourcc == *b"MJPG" => None,
        None => return refuse(" only"),
    };
    if layout.is_some_and(|layout| layout.stride != 0 && layout.stride < layout.packing.row_bytes(width)) {
        return refuse(&format!(" with {} bytes a row, which is less than a row", format.stride));
    }
    let range = range.unwrap_or_else(|| range_of(format, analog));
    Ok(Settled { fourcc, size: (width, height), layout, field: format.field, range, rate, notes })
}

/// Limited range where the driver says so, or where the signal is analog television; most drivers leave it open, and most webcams use all
/// codes. A JPEG always does.
fn range_of(format: &Format, analog: bool) -> LumaRange {
    match format.quantization {
        _ if format.fourcc == *b"MJPG" => LumaRange::Full,
        QUANTIZATION_LIMITED => LumaRange::Limited,
        QUANTIZATION_DEFAULT if analog || ANALOG_COLORSPACES.contains(&format.colorspace) => LumaRange::Limited,
        _ => LumaRange::Full,
    }
}

/// A control that means the same with every driver.
struct Known {
    name: &'static str,
    /// The ids of V4L2 that it may stand for.
    ids: &'static [u32],
    /// What has to be switched off first, and the value that does.
    automatic: Option<(&'static str, i64)>,
}

const KNOWN: [Known; 6] = [
    // V4L2_CID_EXPOSURE_ABSOLUTE, V4L2_CID_EXPOSURE; V4L2_EXPOSURE_MANUAL is 1.
    Known { name: "exposure", ids: &[0x009a_0902, 0x0098_0911], automatic: Some(("auto_exposure", 1)) },
    Known { name: "auto_exposure", ids: &[0x009a_0901], automatic: None },
    // V4L2_CID_GAIN, V4L2_CID_ANALOGUE_GAIN
    Known { name: "gain", ids: &[0x0098_0913, 0x009e_0903], automatic: Some(("auto_gain", 0)) },
    Known { name: "auto_gain", ids: &[0x0098_0912], automatic: None },
    Known { name: "brightness", ids: &[0x0098_0900], automatic: None },
    Known { name: "contrast", ids: &[0x0098_0901], automatic: None },
];

/// What to set in which order: (id, name, value). An automatic that would undo a wish is switched off before, if the camera has it and nobody
/// said otherwise. No id where the camera has no such control.
fn controls_to_set(wanted: &[(String, i64)], there: &[Control]) -> Vec<(Option<u32>, String, i64)> {
    let id_of = |name: &str| {
        let name = name.to_ascii_lowercase().replace('-', "_");
        let known = KNOWN.iter().find(|known| known.name == name).map_or(&[] as &[u32], |known| known.ids);
        let number = name.strip_prefix("0x").and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let by_id = known.iter().copied().chain(number).find(|id| there.iter().any(|control| control.id == *id));
        by_id.or_else(|| there.iter().find(|control| control.name == name).map(|control| control.id))
    };
    let mut orders = Vec::new();
    for (name, value) in wanted {
        let automatic = KNOWN.iter().find(|known| known.name == name).and_then(|known| known.automatic);
        if let Some((automatic, off)) = automatic
            && !wanted.iter().any(|(name, _)| name == automatic)
            && let Some(id) = id_of(automatic)
        {
            orders.push((Some(id), automatic.to_owned(), off));
        }
        orders.push((id_of(name), name.clone(), *value));
    }
    orders
}

/// Whether the device itself is gone: ENODEV or ENXIO.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(6 | 19))
}

/// An error of the system without its number.
pub(super) fn plainly(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_automatic_that_would_undo_a_wish_is_switched_off() {
        let control = |id, name: &str| Control { id, name: name.into(), range: (0, 100) };
        let there = [
            control(0x009a_0901, "auto_exposure"),
            control(0x009a_0902, "exposure_time_absolute"),
            control(0x0098_0913, "gain"),
            control(0x0098_091c, "backlight_compensation"),
        ];
        let wish = |name: &str, value| (name.to_owned(), value);
        let found = controls_to_set(&[wish("exposure", 100), wish("gain", 5), wish("backlight-compensation", 1), wish("zoom", 1)], &there);
        let ids: Vec<_> = found.iter().map(|(id, _, value)| (*id, *value)).collect();
        assert_eq!(ids, [(Some(0x009a_0901), 1), (Some(0x009a_0902), 100), (Some(0x0098_0913), 5), (Some(0x0098_091c), 1), (None, 1)]);
        let own = controls_to_set(&[wish("auto_exposure", 3), wish("exposure", 100), wish("0x98091c", 2)], &there);
        assert_eq!(own.iter().map(|(_, _, value)| *value).collect::<Vec<_>>(), [3, 100, 2]);
    }

    #[test]
    fn the_range_is_limited_where_the_driver_or_television_says_so() {
        let format = |fourcc: &[u8; 4], colorspace, quantization| Format {
            fourcc: *fourcc,
            width: 8,
            height: 8,
            stride: 8,
            field: Field::Progressive,
            colorspace,
            quantization,
            planes: 1,
        };
        let cases = [
            (format(b"YUYV", 8, 0), false, LumaRange::Full),
            (format(b"YUYV", 8, 2), false, LumaRange::Limited),
            (format(b"UYVY", 1, 0), false, LumaRange::Limited),
            (format(b"UYVY", 8, 0), true, LumaRange::Limited),
            (format(b"UYVY", 1, 1), true, LumaRange::Full),
            (format(b"MJPG", 1, 2), true, LumaRange::Full),
            (format(b"GREY", 13, 77), false, LumaRange::Full),
        ];
        for (format, analog, expected) in cases {
            assert_eq!(range_of(&format, analog), expected, "{format:?} {analog}");
        }
    }
}
