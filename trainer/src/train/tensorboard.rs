//! TensorBoard's event files, so that `tensorboard --logdir RUN` shows a run: scalars and sample grids.
//!
//! An event file is a row of TFRecords (length u64, masked CRC-32C of the length, data, masked CRC-32C of the data; little-endian), each
//! holding one `tensorflow.Event`. Of that message only the fields that are written are declared here.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use prost::Message;

/// `tensorflow.Event` (event.proto).
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

/// `tensorflow.SessionLog`.
#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    /// 1: started. A reader then forgets what it read about this step and later ones.
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `tensorflow.Summary` (summary.proto).
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

/// `tensorflow.Summary.Value`.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(oneof = "Content", tags = "2, 4")]
    content: Option<Content>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Content {
    #[prost(float, tag = "2")]
    Scalar(f32),
    #[prost(message, tag = "4")]
    Image(Image),
}

/// `tensorflow.Summary.Image`.
#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    /// Channels: 3 for RGB.
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    png: Vec<u8>,
}

/// One session's event file.
pub struct EventFile {
    file: File,
    path: PathBuf,
}

impl EventFile {
    /// Begins a file in `folder` for a session that goes on from `step`: what earlier files say about `step` and later is forgotten by readers.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn begin(folder: &Path, step: u64) -> anyhow::Result<Self> {
        Self::begin_at(folder, step, now())
    }

    fn begin_at(folder: &Path, step: u64, at: Duration) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        // Readers take every file with `tfevents` in its name, in the order of the names.
        let path = folder.join(format!("events.out.tfevents.{:010}.{:09}", at.as_secs(), at.subsec_nanos()));
        let file = File::create_new(&path).with_context(|| format!("create {}", path.display()))?;
        let mut events = Self { file, path };
        events.write(at, 0, What::FileVersion("brain.Event:2".into()))?;
        events.write(at, step, What::SessionLog(SessionLog { status: 1 }))?;
        Ok(events)
    }

    /// Adds values of `step` by their names. TensorBoard groups names by what stands in front of the first slash.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn scalars(&mut self, step: u64, values: &[(String, f32)]) -> anyhow::Result<()> {
        self.scalars_at(step, values, now())
    }

    fn scalars_at(&mut self, step: u64, values: &[(String, f32)], at: Duration) -> anyhow::Result<()> {
        let values = values.iter().map(|(tag, value)| Value { tag: tag.clone(), content: Some(Content::Scalar(*value)) }).collect();
        self.write(at, step, What::Summary(Summary { values }))
    }

    /// Adds an RGB picture of `step` from the bytes of its PNG file.
    ///
    /// # Errors
    /// If they are no PNG, or the file cannot be written.
    pub fn picture(&mut self, step: u64, tag: &str, png: &[u8]) -> anyhow::Result<()> {
        self.picture_at(step, tag, png, now())
    }

    fn picture_at(&mut self, step: u64, tag: &str, png: &[u8], at: Duration) -> anyhow::Result<()> {
        let header = image::ImageReader::with_format(std::io::Cursor::new(png), image::ImageFormat::Png);
        let (width, height) = header.into_dimensions().with_context(|| format!("read the picture for {tag:?}"))?;
        let image = Image { height: height.try_into()?, width: width.try_into()?, colorspace: 3, png: png.to_vec() };
        self.write(at, step, What::Summary(Summary { values: vec![Value { tag: tag.into(), content: Some(Content::Image(image)) }] }))
    }

    fn write(&mut self, at: Duration, step: u64, what: What) -> anyhow::Result<()> {
        let event = Event { wall_time: at.as_secs_f64(), step: step as i64, what: Some(what) };
        // One call for the whole record: a reader that looks meanwhile sees few halves, and waits for the rest of one.
        self.file.write_all(&record(&event.encode_to_vec())).with_context(|| format!("write {}", self.path.display()))
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A TFRecord.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length).to_le_bytes(), data, &masked_crc(data).to_le_bytes()].concat()
}

/// TensorFlow's masking: a checksum of data that holds checksums would be weak.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use super::*;

    /// A PNG of one red pixel.
    const RED: &[u8] = &[
        0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0, 0x90,
        0x77, 0x53, 0xde, 0, 0, 0, 12, b'I', b'D', b'A', b'T', 0x08, 0xd7, 0x63, 0xf8, 0xcf, 0xc0, 0x00, 0x00, 0x03, 0x01, 0x01, 0x00,
        0x18, 0xdd, 0x8d, 0xb0, 0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82,
    ];

    fn written(folder: &Path) -> Vec<u8> {
        let at = Duration::new(1_700_000_000, 500_000_000);
        let mut events = EventFile::begin_at(folder, 40, at).unwrap();
        events.scalars_at(60, &[("training/loss".into(), 0.5), ("training/mean".into(), -2.25)], at).unwrap();
        events.picture_at(60, "samples", RED, at).unwrap();
        fs::read(events.path).unwrap()
    }

    #[test]
    fn a_files_bytes_are_those_that_tensorboard_reads() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = written(folder.path());
        let found: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // Its `EventAccumulator` (tensorboard 2.21.0) read from these: two scalars at step 60, 0.5 and -2.25, and a red pixel.
        let read = [
            "1800000000000000a37f4b220900002040fc54d9411a0d627261696e2e4576656e743a322b353110",
            "0f000000000000006d532b090900002040fc54d94110283a02080188d80308",
            "39000000000000008b0737f10900002040fc54d941103c2a2c0a140a0d747261696e696e672f6c6f7373150000003f",
            "0a140a0d747261696e696e672f6d65616e15000010c028cc0ade",
            "6700000000000000baadcdd40900002040fc54d941103c2a5a0a580a0773616d706c6573224d080110011803224589504e470d0a1a0a",
            "0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc000000301010018dd8db0",
            "0000000049454e44ae4260823bbccb2a",
        ];
        assert_eq!(found, read.concat());
    }

    #[test]
    fn what_is_no_picture_is_refused_and_a_file_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let at = Duration::from_secs(7);
        let mut events = EventFile::begin_at(folder.path(), 0, at).unwrap();
        assert!(events.picture(1, "samples", b"no picture").is_err());
        let said = format!("{:#}", EventFile::begin_at(folder.path(), 0, at).err().unwrap());
        assert!(said.contains("events.out.tfevents.0000000007"), "{said}");
    }
}
