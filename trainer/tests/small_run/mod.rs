//! A small run for tests of the whole program: made-up pictures, a tiny network, 60 steps.
#![allow(dead_code, reason = "no test file uses all of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use autochrome_trainer::data::split::{Split, split_of};

/// The run.
pub(crate) const CONFIG: &str = r#"
name = "small"
steps = 60
checkpoint_every = 10
evaluate_every = 1000
input_size = [48, 32]

[schedule]
peak = 2e-3
warmup_steps = 5

[net]
kind = "recurrent-unet"
widths = [4, 8, 8, 12]
deep_blocks = 1
head_width = 8

[data]
lanes = 4
chunk_frames = 2
chunks_per_item = 2
width = 32
height = 32
"#;

/// The program, quiet and without input.
pub(crate) fn trainer() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_autochrome-trainer"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What `command` said; it must succeed.
pub(crate) fn ended_well(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

/// Packs smooth colored pictures of which four validate.
pub(crate) fn packed(folder: &Path) -> PathBuf {
    let photos = folder.join("photos");
    std::fs::create_dir(&photos).unwrap();
    let (mut training, mut validating) = (0, 0);
    for index in 0_u32.. {
        let name = format!("picture_{index:04}.png");
        let count = if split_of(&name) == Split::Validation { &mut validating } else { &mut training };
        if *count < if split_of(&name) == Split::Validation { 4 } else { 24 } {
            *count += 1;
            let hue = index as f32;
            let picture = image::RgbImage::from_fn(64, 48, |x, y| {
                let wave = |phase: f32| (127.0 + 100.0 * (x as f32 / 20.0 + y as f32 / 15.0 * phase + hue * phase).sin()) as u8;
                image::Rgb([wave(1.0), wave(1.7), wave(2.3)])
            });
            picture.save(photos.join(name)).unwrap();
        }
        if training == 24 && validating == 4 {
            break;
        }
    }
    let pack = folder.join("pack");
    ended_well(trainer().arg("pack").arg(&photos).arg("--out").arg(&pack).args(["--short-side", "48"]));
    std::fs::write(folder.join("small.toml"), CONFIG).unwrap();
    pack
}

/// Begins the run `small.toml` of `folder`.
pub(crate) fn start(folder: &Path, pack: &Path, run: &Path) -> Child {
    trainer().arg("train").arg(folder.join("small.toml")).arg("--data").arg(pack).arg("--run").arg(run).spawn().unwrap()
}

/// Waits until `path` is there.
pub(crate) fn wait_for(path: &Path, child: &mut Child) {
    let started = Instant::now();
    while !path.exists() {
        assert!(started.elapsed() < Duration::from_secs(120), "{} never came", path.display());
        assert!(child.try_wait().unwrap().is_none(), "the run ended before {} came", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// (step, loss) of every logged step, the loss to five digits.
pub(crate) fn losses(run: &Path) -> Vec<(u64, String)> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let key = |v: &serde_json::Value, key: &str| v[key].as_f64().map(|loss| format!("{loss:.4e}"));
    lines.filter_map(|v| Some((v["step"].as_u64()?, key(&v, "loss").or(key(&v, "validation_loss"))?))).collect()
}
