//! The whole program on small made-up data: pack, train, kill, resume, export.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod small_run;

use std::path::Path;
use std::process::Command;

use autochrome_model::Colorizer;

use small_run::{CONFIG, ended_well, losses, packed, start, trainer, wait_for};

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
    let newest = || autochrome_trainer::checkpoint::list(&run.join("checkpoints")).unwrap().pop().unwrap();
    let lines = || std::fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default().lines().count();
    let mut seen = 0;
    for signal in ["-INT", "-TERM"] {
        // A line is a few steps: there is something new to save.
        while lines() <= seen {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let before = newest();
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        // Not 0: a script has to see that steps are left.
        assert_eq!(child.wait().unwrap().code(), Some(75), "{signal}");
        assert!(newest() > before, "{signal}: nothing newer than {}", before.display());
        seen = lines();
        child = trainer().arg("resume").arg(&run).spawn().unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn mistakes_are_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("wrong.toml");
    std::fs::write(&config, "seed = 3\nstepps = 3\n").unwrap();
    let train = |config: &Path| {
        let output =
            trainer().arg("train").arg(config).args(["--data", "nowhere", "--run"]).arg(folder.path().join("run")).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = train(&config);
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("wrong.toml, line 2: unknown field `stepps`"), "{said}");
    std::fs::write(&config, "steps = 3\n").unwrap();
    let (code, said) = train(&config);
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("nowhere"), "{said}");
}
