//! Where pictures go: a screen, the live page, other programs, a Y4M file or pipe, folders of PNGs, or nowhere.

pub mod display;
pub mod page;
pub mod pairs;
pub mod pngs;
mod v4l2;
mod video;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::coloring::Colored;
use crate::errors::{Failure, Result};
use crate::statistics::Snapshot;

pub use display::{Display, Screen};
pub use page::Page;
pub use pairs::Pairs;
pub use pngs::Pngs;
pub use v4l2::V4l2;
pub use video::Video;

/// What `--output` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// `display:`, `display:HDMI-A-1`, `display:/dev/dri/card1`, with options: a screen.
    Display(Screen),
    /// `fbdev:/dev/fb0`: a framebuffer.
    Fbdev(PathBuf),
    /// `v4l2:/dev/videoN`: an output device that other programs read like a camera.
    V4l2(PathBuf),
    /// `http://ADDR`: the live page.
    Page(String),
    /// `file.y4m`
    Y4m(PathBuf),
    /// `-`: YUV4MPEG2 on standard output.
    Stdout,
    /// A folder of PNGs.
    Pngs(PathBuf),
    /// `null`
    Null,
}

impl Sink {
    /// The file or folder that is written, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Y4m(path) | Self::Pngs(path) => Some(path),
            _ => None,
        }
    }

    /// Reads what `--output` says.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::errors::Exit::Usage) for a file of a kind that is not written.
    pub fn parse(uri: &str) -> Result<Self> {
        if let Some(address) = uri.strip_prefix("http://") {
            return Ok(Self::Page(address.trim_end_matches('/').to_owned()));
        }
        if let Some(screen) = uri.strip_prefix("display:") {
            return Screen::parse(screen).map(Self::Display);
        }
        for (scheme, sink) in [("fbdev:", Self::Fbdev as fn(PathBuf) -> Self), ("v4l2:", Self::V4l2)] {
            match uri.strip_prefix(scheme) {
                Some("") => return Err(Failure::usage(format!("output {uri}: it wants a device, as in {scheme}/dev/..."))),
                Some(device) => return Ok(sink(device.into())),
                None => {}
            }
        }
        let path = PathBuf::from(uri);
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        match (uri, extension.as_deref()) {
            ("-", _) => Ok(Self::Stdout),
            ("null", _) => Ok(Self::Null),
            _ if path.is_dir() || uri.ends_with('/') => Ok(Self::Pngs(path)),
            (_, Some("y4m")) => Ok(Self::Y4m(path)),
            (_, None) if !uri.is_empty() => Ok(Self::Pngs(path)),
            _ => Err(Failure::usage(format!(
                "output {uri}: not a kind of output; there are display:, http://ADDRESS:PORT, v4l2:DEVICE, fbdev:DEVICE, FILE.y4m, -, \
                 a folder, and null"
            ))),
        }
    }
}

/// An opened output.
pub enum Output {
    /// A screen, or a framebuffer.
    Display(Display),
    /// An output device that other programs read.
    V4l2(V4l2),
    /// The live page.
    Page(Page),
    /// A stream of YUV4MPEG2.
    Video(Video),
    /// A PNG a frame.
    Pngs(Pngs),
    /// Now and then a pair of PNGs, before and after.
    Pairs(Pairs),
    /// Nothing.
    Null,
}

impl Output {
    /// Shows a frame. Breaks if this output has no reader left.
    ///
    /// # Errors
    /// [`Exit::Broken`](crate::errors::Exit::Broken) and its kind, where writing fails.
    pub fn show(&mut self, colored: &Arc<Colored>, snapshot: &Snapshot) -> Result<ControlFlow<()>> {
        match self {
            Self::Display(display) => display.show(colored),
            Self::V4l2(device) => device.show(colored),
            Self::Page(page) => page.show(colored, snapshot),
            Self::Video(video) => return video.show(colored),
            Self::Pngs(pngs) => pngs.show(colored)?,
            Self::Pairs(pairs) => pairs.show(colored)?,
            Self::Null => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Whether somebody looks at this output now, and should be told where there is no picture.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Display(_) | Self::V4l2(_) | Self::Page(_))
    }

    /// Says that no frame will follow.
    ///
    /// # Errors
    /// As [`show`](Self::show).
    pub fn finish(&mut self) -> Result<()> {
        match self {
            Self::Pairs(pairs) => pairs.finish(),
            Self::Display(_) | Self::V4l2(_) | Self::Page(_) | Self::Video(_) | Self::Pngs(_) | Self::Null => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_named_as_documented() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().to_str().unwrap();
        let cases = [
            ("http://127.0.0.1:8080", Sink::Page("127.0.0.1:8080".into())),
            ("http://[::1]:80/", Sink::Page("[::1]:80".into())),
            ("display:", Sink::Display(Screen::default())),
            ("display:HDMI-A-1", Sink::Display(Screen { connector: Some("HDMI-A-1".into()), ..Screen::default() })),
            ("fbdev:/dev/fb0", Sink::Fbdev("/dev/fb0".into())),
            ("v4l2:/dev/video9", Sink::V4l2("/dev/video9".into())),
            ("-", Sink::Stdout),
            ("null", Sink::Null),
            ("a/b.y4m", Sink::Y4m("a/b.y4m".into())),
            ("frames", Sink::Pngs("frames".into())),
            ("frames.2/", Sink::Pngs("frames.2/".into())),
            (there, Sink::Pngs(there.into())),
        ];
        for (uri, expected) in cases {
            assert_eq!(Sink::parse(uri).unwrap(), expected, "{uri}");
        }
        for uri in ["a.mp4", "", "a.png", "fbdev:", "v4l2:", "display:?mode=big"] {
            assert!(Sink::parse(uri).is_err(), "{uri}");
        }
    }
}
