//! The whole program on small made-up data: pack, train, kill, resume, export.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use autochrome_model::Colorizer;
use autochrome_trainer::data::split::{Split, split_of};

const CONFIG: &str = r#"
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

fn trainer() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_autochrome-trainer"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ended_well(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

/// Packs smooth colored pictures of which four validate.
fn packed(folder: &Path) -> PathBuf {
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

fn start(folder: &Path, pack: &Path, run: &Path) -> Child {
    trainer().arg("train").arg(folder.join("small.toml")).arg("--data").arg(pack).arg("--run").arg(run).spawn().unwrap()
}

fn wait_for(path: &Path, child: &mut Child) {
    let started = Instant::now();
    while !path.exists() {
        assert!(started.elapsed() < Duration::from_secs(120), "{} never came", path.display());
        assert!(child.try_wait().unwrap().is_none(), "the run ended before {} came", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// (step, loss) of every logged step, the loss to five digits.
fn losses(run: &Path) -> Vec<(u64, String)> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let key = |v: &serde_json::Value, key: &str| v[key].as_f64().map(|loss| format!("{loss:.4e}"));
    lines.filter_map(|v| Some((v["step"].as_u64()?, key(&v, "loss").or(key(&v, "validation_loss"))?))).collect()
}

#[test]
fn a_killed_run_resumes_to_the_same_losses_and_its_export_loads() {
    let folder = tempfile::tempdir().unwrap();
    let pack = packed(folder.path());
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    assert!(start(folder.path(), &pack, &whole).wait().unwrap().success());
    let mut child = start(folder.path(), &pack, &killed);
    wait_for(&killed.join("checkpoints/00000020"), &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    // What a kill in the middle of writing a checkpoint leaves behind.
    std::fs::create_dir(killed.join("checkpoints/00000059")).unwrap();
    std::fs::write(killed.join("checkpoints/00000059/weights.bpk"), b"half").unwrap();
    let said = ended_well(trainer().arg("resume").arg(&killed));
    assert!(said.contains("passed over a damaged checkpoint") && said.contains("00000059"), "{said}");
    let expected = losses(&whole);
    assert_eq!(expected.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [20, 40, 60, 60]);
    assert_eq!(losses(&killed), expected);
    for file in ["config.toml", "card.md", "curves.svg", "samples/00000060.png"] {
        assert!(whole.join(file).exists(), "the run's folder lacks {file}");
    }
    let said = ended_well(trainer().arg("export").arg(&whole).arg("--out").arg(folder.path()));
    for file in ["small-48x32-float.onnx", "small-48x32-int8.onnx"] {
        let model = Colorizer::load(&folder.path().join(file)).unwrap();
        assert_eq!((model.contract().width, model.contract().quantized), (48, file.contains("int8")), "{said}");
    }
    let parity: serde_json::Value =
        serde_json::from_str(said.lines().find_map(|l| l.strip_prefix("Tract against Burn: ")).unwrap()).unwrap();
    // Float rounding over 100 recurrent frames; the bar that is promised.
    for key in ["ab_error_max", "state_error_max"] {
        assert!(parity[key].as_f64().unwrap() <= 1e-4, "{parity}");
    }
    let float = folder.path().join("small-48x32-float.onnx");
    let said = ended_well(
        trainer()
            .arg("resize")
            .arg(&float)
            .args(["--size", "64x48", "--saturation", "0.9", "--data"])
            .arg(&pack)
            .arg("--out")
            .arg(folder.path()),
    );
    for (file, quantized) in [("small-64x48-float.onnx", false), ("small-64x48-int8.onnx", true)] {
        let model = Colorizer::load(&folder.path().join(file)).unwrap();
        let found = model.contract();
        assert_eq!((found.width, found.height, found.quantized), (64, 48, quantized), "{said}");
        assert_eq!((found.card.name.as_str(), found.card.saturation, found.card.temperature), ("small-64x48", 0.9, 0.8));
        assert!(found.card.training.contains("small-48x32, trained for 48x32, at 64x48 without further training"), "{:?}", found.card);
    }
    // Another size of network, which the file's weights do not fit; then the one they do, with one more block.
    let size = folder.path().join("size.toml");
    let text = |first| {
        format!(
            "name = \"deep\"\ninput_size = [64, 48]\ntraining_size = [32, 32]\n[net]\nkind = \"recurrent-unet\"\nwidths = [{first}, 8, 8, 12]\ndeep_blocks = 2\nhead_width = 8\n"
        )
    };
    let train = |run: &str| {
        let mut command = trainer();
        command.arg("train").arg(folder.path().join("small.toml")).arg("--size").arg(&size).arg("--data").arg(&pack);
        command.arg("--run").arg(folder.path().join(run)).args(["--steps", "2", "--start-from"]).arg(&float);
        command
    };
    std::fs::write(&size, text(6)).unwrap();
    let output = train("misfit").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("stem.conv.weight") && error.contains("small-48x32-float.onnx"), "{error}");
    std::fs::write(&size, text(4)).unwrap();
    ended_well(&mut train("deep"));
    let card = std::fs::read_to_string(folder.path().join("deep/card.md")).unwrap();
    assert!(card.contains("# deep 64x48") && card.contains("small-48x32-float.onnx"), "{card}");
}

#[test]
fn an_interrupted_run_saves_where_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let pack = packed(folder.path());
    let run = folder.path().join("run");
    let long = CONFIG.replace("steps = 60", "steps = 100000").replace("checkpoint_every = 10", "checkpoint_every = 90000");
    std::fs::write(folder.path().join("small.toml"), long).unwrap();
    let mut child = start(folder.path(), &pack, &run);
    wait_for(&run.join("metrics.jsonl"), &mut child);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    let newest = autochrome_trainer::checkpoint::list(&run.join("checkpoints")).unwrap().pop().unwrap();
    assert!(!newest.ends_with("00000000"), "only the checkpoint of the beginning is there");
}

#[test]
fn mistakes_are_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("wrong.toml");
    std::fs::write(&config, "stepps = 3\n").unwrap();
    let train = |config: &Path| {
        let output =
            trainer().arg("train").arg(config).args(["--data", "nowhere", "--run"]).arg(folder.path().join("run")).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = train(&config);
    assert_eq!(code, Some(1));
    assert!(said.contains("stepps"), "{said}");
    std::fs::write(&config, "steps = 3\n").unwrap();
    let (code, said) = train(&config);
    assert_eq!(code, Some(1));
    assert!(said.contains("nowhere") && !said.contains("panicked"), "{said}");
}
