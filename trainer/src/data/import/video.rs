//! Video files, through the `ffmpeg` and `ffprobe` commands.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::picture::{Frames, shrunk_size};

/// A video file that `ffmpeg` decodes into a pipe.
pub(in crate::data) struct Video {
    path: PathBuf,
    child: std::process::Child,
    pipe: std::process::ChildStdout,
    messages: File,
    width: u32,
    height: u32,
}

/// What a video's frames become.
#[derive(Debug, Clone, Copy)]
pub(in crate::data) struct Framing {
    /// The longest that the shorter side may be, pixels. Not looked at where there is a box.
    pub(in crate::data) short_side: u32,
    /// Frames are shrunk until they fit into a box of this width and height and stand in its middle, on black.
    pub(in crate::data) pad: Option<[u32; 2]>,
    /// Frames a second; none keeps every frame.
    pub(in crate::data) fps: Option<f32>,
}

impl Framing {
    /// What `ffmpeg` is asked to do with upright frames of `width` x `height`, and the size of what comes back. Nothing is enlarged.
    fn filter(&self, width: u32, height: u32, matrix: Option<&str>) -> (String, [u32; 2]) {
        // The even sizes that 4:2:0 decoders and scalers like best.
        let even = |side: u32| (side / 2 * 2).max(2);
        let (inner, size, pad) = match self.pad {
            None => {
                let (width, height) = shrunk_size(width, height, self.short_side);
                let size = [even(width), even(height)];
                (size, size, String::new())
            }
            Some([box_width, box_height]) => {
                let (width, height) = (f64::from(width), f64::from(height));
                let factor = (f64::from(box_width) / width).min(f64::from(box_height) / height).min(1.0);
                let fitted = |side: f64, limit: u32| even((side * factor).round() as u32).min(limit);
                let inner = [fitted(width, box_width), fitted(height, box_height)];
                let [left, top] = [(box_width - inner[0]) / 2, (box_height - inner[1]) / 2];
                // In RGB, since a box of subsampled color could have no odd side.
                let pad = format!(",format=rgb24,pad={box_width}:{box_height}:{left}:{top}:black");
                (inner, [box_width, box_height], pad)
            }
        };
        let rate = self.fps.map_or_else(String::new, |fps| format!("fps={fps},"));
        let matrix = matrix.map_or_else(String::new, |matrix| format!(":in_color_matrix={matrix}"));
        (format!("{rate}scale={}:{}:flags=area{matrix}{pad},setsar=1", inner[0], inner[1]), size)
    }
}

impl Video {
    /// Starts the decoder. The outer error ends the pack (`ffmpeg` cannot be run at all), the inner one concerns this file only.
    pub(in crate::data) fn open(path: &Path, framing: &Framing) -> Result<Result<Self>> {
        let Probed { size: (width, height), matrix } = match probe(path)? {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let (filter, [width, height]) = framing.filter(width, height, matrix);
        // Into a file: a pipe that nobody empties would stop the decoder after 64 KiB of complaints.
        let messages = tempfile::tempfile().context("create a temporary file for ffmpeg's messages")?;
        let child = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-i"])
            .arg(protocol_free(path)?)
            .args(["-map", "0:v:0", "-vf", &filter])
            // Otherwise ffmpeg repeats frames of a video of changing rate until the rate is constant.
            .args(if framing.fps.is_none() { ["-fps_mode", "passthrough"].as_slice() } else { &[] })
            .args(["-an", "-sn", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(messages.try_clone().context("share the file for ffmpeg's messages")?)
            .spawn();
        let mut child = started(child, "ffmpeg", path)?;
        let pipe = child.stdout.take().expect("stdout was piped");
        Ok(Ok(Self { path: path.to_path_buf(), child, pipe, messages, width, height }))
    }

    /// Up to `count` more frames; none at the end.
    pub(in crate::data) fn read(&mut self, count: usize) -> Result<Frames> {
        let mut frames = Frames { width: self.width, height: self.height, rgb: Vec::new() };
        let bytes = frames.frame_bytes();
        (&mut self.pipe)
            .take((count * bytes) as u64)
            .read_to_end(&mut frames.rgb)
            .with_context(|| format!("read the frames of {} from ffmpeg", self.path.display()))?;
        frames.rgb.truncate(frames.rgb.len() / bytes * bytes);
        Ok(frames)
    }

    /// Waits for the decoder after its last frame and says whether it was content. Of a file that is cut off or damaged it may complain and still end well.
    pub(in crate::data) fn close(mut self) -> Result<()> {
        let status = self.child.wait().with_context(|| format!("wait for ffmpeg on {}", self.path.display()))?;
        let mut text = Vec::new();
        let read = self.messages.seek(SeekFrom::Start(0)).and_then(|_| (&mut self.messages).take(2000).read_to_end(&mut text));
        read.with_context(|| format!("read what ffmpeg said of {}", self.path.display()))?;
        let text = String::from_utf8_lossy(&text);
        ensure!(status.success(), "ffmpeg on {} ended with {status}: {}", self.path.display(), text.trim());
        ensure!(text.trim().is_empty(), "ffmpeg complained of {}: {}", self.path.display(), text.trim());
        Ok(())
    }
}

impl Drop for Video {
    fn drop(&mut self) {
        // After `close` both do nothing; after an error the decoder must not live on.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A name like `a:b.mp4` would be taken for a protocol; an absolute path never is.
fn protocol_free(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("resolve {}", path.display()))
}

/// Says how to get a missing command.
fn started<T>(result: std::io::Result<T>, command: &str, path: &Path) -> Result<T> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "read the video {}: the command `{command}` was not found; install FFmpeg (on Debian: apt install ffmpeg), or turn the film into \
             a folder of pictures",
            path.display()
        ),
        other => other.with_context(|| format!("start `{command}` on {}", path.display())),
    }
}

/// What `ffmpeg` has to be told of a video.
#[derive(Debug, PartialEq, Eq)]
struct Probed {
    /// Of the upright picture with square pixels.
    size: (u32, u32),
    /// How its YCbCr was made from RGB, where the file does not say and `ffmpeg`'s guess would be wrong.
    matrix: Option<&'static str>,
}

/// Asks `ffprobe`. Nested as in [`Video::open`].
fn probe(path: &Path) -> Result<Result<Probed>> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0", "-show_streams", "-of", "json"])
        .arg(protocol_free(path)?)
        .stdin(Stdio::null())
        .output();
    let output = started(output, "ffprobe", path)?;
    if !output.status.success() {
        return Ok(Err(anyhow!("ffprobe on {}: {}", path.display(), String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(probed(&output.stdout).with_context(|| format!("read what ffprobe says of {}", path.display())))
}

/// Reads ffprobe's JSON: width, height, pixel aspect and rotation, which `ffmpeg` applies before our scaling.
fn probed(json: &[u8]) -> Result<Probed> {
    let streams: serde_json::Value = serde_json::from_slice(json).context("the answer is not JSON")?;
    let stream = streams["streams"].get(0).context("the file has no video stream")?;
    let side = |name: &str| stream[name].as_u64().and_then(|side| u32::try_from(side).ok()).filter(|&side| side > 0);
    let (Some(mut width), Some(mut height)) = (side("width"), side("height")) else {
        bail!("the video stream has no size");
    };
    // Where nothing is said `ffmpeg` takes BT.601 at any size; players take BT.709 for what is larger than standard definition, and so do those who make it.
    let said = stream["color_space"].as_str().is_some_and(|space| space != "unknown");
    let matrix = (!said && (width >= 1280 || height > 576)).then_some("bt709");
    let aspect = stream["sample_aspect_ratio"].as_str().and_then(|ratio| {
        let (x, y) = ratio.split_once(':')?;
        Some((x.parse::<f64>().ok()?, y.parse::<f64>().ok()?))
    });
    if let Some((x, y)) = aspect.filter(|&(x, y)| x > 0.0 && y > 0.0) {
        width = ((f64::from(width) * x / y).round() as u32).max(1);
    }
    let rotation = stream["side_data_list"].as_array().into_iter().flatten().find_map(|data| data["rotation"].as_f64()).unwrap_or(0.0);
    if (rotation / 90.0).round() as i64 % 2 != 0 {
        std::mem::swap(&mut width, &mut height);
    }
    Ok(Probed { size: (width, height), matrix })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_phone_video_is_measured_upright() {
        let plain = br#"{"streams": [{"width": 640, "height": 480, "sample_aspect_ratio": "0:1"}]}"#;
        assert_eq!(probed(plain).unwrap().size, (640, 480));
        let turned = br#"{"streams": [{"width": 640, "height": 480, "side_data_list": [{"rotation": -90}]}]}"#;
        assert_eq!(probed(turned).unwrap().size, (480, 640));
        let wide = br#"{"streams": [{"width": 720, "height": 576, "sample_aspect_ratio": "64:45"}]}"#;
        assert_eq!(probed(wide).unwrap().size, (1024, 576));
        assert!(probed(br#"{"streams": []}"#).is_err());
    }

    #[test]
    fn a_large_film_that_does_not_say_its_matrix_is_taken_for_bt709() {
        let matrix = |stream: &str| probed(format!("{{\"streams\": [{{{stream}}}]}}").as_bytes()).unwrap().matrix;
        assert_eq!(matrix(r#""width": 1920, "height": 1080"#), Some("bt709"));
        assert_eq!(matrix(r#""width": 1280, "height": 544, "color_space": "unknown""#), Some("bt709"));
        assert_eq!(matrix(r#""width": 1920, "height": 1080, "color_space": "smpte170m""#), None);
        assert_eq!(matrix(r#""width": 720, "height": 576"#), None);
        let framing = Framing { short_side: 144, pad: None, fps: None };
        assert_eq!(framing.filter(1920, 1080, Some("bt709")).0, "scale=256:144:flags=area:in_color_matrix=bt709,setsar=1");
    }

    #[test]
    fn a_box_holds_the_whole_frame_and_enlarges_nothing() {
        let framing = |pad| Framing { short_side: 144, pad, fps: None };
        // 16:9 into 3:2: bars of (320 - 270) / 2 above and below.
        let (filter, size) = framing(Some([480, 320])).filter(1920, 1080, None);
        assert_eq!((filter.as_str(), size), ("scale=480:270:flags=area,format=rgb24,pad=480:320:0:25:black,setsar=1", [480, 320]));
        // Upright: bars at the sides. 135 is odd, and stays so.
        let (filter, size) = framing(Some([240, 135])).filter(720, 1280, None);
        assert_eq!((filter.as_str(), size), ("scale=76:134:flags=area,format=rgb24,pad=240:135:82:0:black,setsar=1", [240, 135]));
        // Smaller than the box.
        let (filter, _) = framing(Some([480, 320])).filter(160, 120, None);
        assert_eq!(filter, "scale=160:120:flags=area,format=rgb24,pad=480:320:160:100:black,setsar=1");
        let (filter, size) = Framing { fps: Some(12.5), ..framing(None) }.filter(1920, 1080, None);
        assert_eq!((filter.as_str(), size), ("fps=12.5,scale=256:144:flags=area,setsar=1", [256, 144]));
    }
}
