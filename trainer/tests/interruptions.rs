//! What may happen to a run: it is killed, its files are damaged, the disk is full, its loss is no number. Nothing that was good is lost.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod small_run;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use autochrome_trainer::data::split::{Split, split_of};
use autochrome_trainer::train::{self, EvaluationMetrics, StepMetrics, Watcher};
use autochrome_trainer::{checkpoint, config::RunConfig, run_folder};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use small_run::{ended_well, losses, packed, start, trainer, wait_for};

/// Takes down what a run says.
#[derive(Default)]
struct Notes(Vec<String>);

impl Watcher for Notes {
    fn steps(&mut self, _metrics: &StepMetrics, _steps_total: u64) {}
    fn evaluated(&mut self, _metrics: &EvaluationMetrics) {}
    fn say(&mut self, line: &str) {
        self.0.push(line.to_owned());
    }
}

/// A folder with a packed set and `small.toml`, in which `changes` replace lines of the configuration.
fn prepared(changes: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let pack = packed(folder.path());
    rewrite(&folder.path().join("small.toml"), changes);
    (folder, pack)
}

fn rewrite(file: &Path, changes: &[(&str, &str)]) {
    let mut text = fs::read_to_string(file).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from:?} is not in {text}");
        text = text.replace(from, to);
    }
    fs::write(file, text).unwrap();
}

/// Puts `values` into the position of `checkpoint`, which has no checksums behind that.
fn rewrite_position(checkpoint: &Path, values: &[(&str, serde_json::Value)]) {
    fs::remove_file(checkpoint.join("checksums.json")).unwrap();
    let file = checkpoint.join("position.json");
    let mut position: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    for (key, value) in values {
        position[key] = value.clone();
    }
    fs::write(file, position.to_string()).unwrap();
}

/// The steps of the checkpoints of `run`.
fn steps(run: &Path) -> Vec<String> {
    let all = checkpoint::list(&run_folder::checkpoints(run)).unwrap();
    all.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

/// Resumes `run` inside this process and stops at once, so that nothing is trained.
fn looked_at(run: &Path) -> anyhow::Result<Vec<String>> {
    let mut notes = Notes::default();
    train::resume(run, None, &[Device::flex().autodiff()], &AtomicBool::new(true), &mut notes)?;
    Ok(notes.0)
}

/// Both runs ended with the same validation loss, weights and states. (A line about steps is a mean since the line before, or since the run was
/// resumed.)
fn assert_same_end(found: &Path, expected: &Path) {
    assert_eq!(losses(found).last(), losses(expected).last());
    let newest = |run: &Path| checkpoint::list(&run_folder::checkpoints(run)).unwrap().pop().unwrap();
    let states = [found, expected].map(|run| fs::read(newest(run).join("states.f32")).unwrap());
    assert!(states[0] == states[1], "the states differ");
    for file in ["weights.bpk", "average.bpk"] {
        let [found, expected] = [found, expected].map(|run| weights(run, &newest(run).join(file)));
        assert!(expected.len() > 1000 && found == expected, "{file} differs");
    }
}

/// All the weights in `file` of the run `run`.
fn weights(run: &Path, file: &Path) -> Vec<f32> {
    struct Read(Vec<f32>);
    impl ModuleVisitor for Read {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.extend(param.val().into_data().try_into_vec::<f32>().unwrap());
        }
    }
    let net = RunConfig::read(&run_folder::config_file(run)).unwrap().fresh_network(&Device::flex()).unwrap();
    let mut read = Read(Vec::new());
    checkpoint::load_weights(net, file).unwrap().visit(&mut read);
    read.0
}

fn failed(command: &mut Command) -> String {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && !said.contains("panicked"), "{said}");
    said
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been() {
    // A checkpoint at every step: a kill often meets one that is being written.
    let (folder, pack) = prepared(&[("checkpoint_every = 10", "checkpoint_every = 1"), ("steps = 60", "steps = 120")]);
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    assert!(start(folder.path(), &pack, &whole).wait().unwrap().success());
    let go_on = || match run_folder::config_file(&killed).exists() {
        true => trainer().arg("resume").arg(&killed).spawn().unwrap(),
        false => start(folder.path(), &pack, &killed),
    };
    let newest = || run_folder::checkpoints(&killed).exists().then(|| steps(&killed).pop()).flatten();
    // While it starts.
    for milliseconds in [30, 90] {
        let mut child = go_on();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // While it trains: behind a checkpoint that was not there before, and so often within the next.
    for milliseconds in [0, 3, 7, 13, 20] {
        let before = newest();
        let mut child = go_on();
        let started = Instant::now();
        while newest() <= before {
            assert!(started.elapsed() < Duration::from_secs(120), "no checkpoint came behind {before:?}");
            assert!(child.try_wait().unwrap().is_none(), "it ended at step {:?}", newest());
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let reached = newest().unwrap();
    assert!(reached.as_str() >= "00000004" && reached.as_str() < "00000120", "the kills ended at step {reached}");
    ended_well(trainer().arg("resume").arg(&killed));
    assert_same_end(&killed, &whole);
    assert_eq!(steps(&killed), ["00000118", "00000119", "00000120"]);
    let left = fs::read_dir(run_folder::checkpoints(&killed)).unwrap().count();
    assert_eq!(left, 3, "a half checkpoint stayed");
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_its_file_is_named() {
    let (folder, pack) = prepared(&[("steps = 60", "steps = 2"), ("checkpoint_every = 10", "checkpoint_every = 1")]);
    let run = folder.path().join("run");
    assert!(start(folder.path(), &pack, &run).wait().unwrap().success());
    let newest = run_folder::checkpoints(&run).join("00000002");
    assert_eq!(looked_at(&run).unwrap(), ["resuming at step 2"]);
    let mut files: Vec<PathBuf> = fs::read_dir(&newest).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 6, "{files:?}");
    for file in &files {
        let whole = fs::read(file).unwrap();
        let mut turned = whole.clone();
        turned[whole.len() / 2] ^= 1;
        let name = file.file_name().unwrap().to_string_lossy();
        for damaged in [&whole[..whole.len() / 2], &[], &turned] {
            fs::write(file, damaged).unwrap();
            let said = looked_at(&run).unwrap().join("\n");
            assert!(said.contains("passed over a damaged checkpoint") && said.contains("resuming at step 1"), "{name}: {said}");
            assert!(said.contains(&*name) || name == "checksums.json", "{name}: {said}");
            // It is out of the way, for a person to look at: here, to be put back.
            assert_eq!(steps(&run), ["00000000", "00000001"]);
            fs::rename(run_folder::checkpoints(&run).join("damaged-00000002"), &newest).unwrap();
        }
        fs::write(file, &whole).unwrap();
    }
    // Without one of the files, and then without any whole checkpoint.
    fs::remove_file(&files[0]).unwrap();
    for step in ["00000000", "00000001", "00000002"] {
        fs::remove_file(run_folder::checkpoints(&run).join(step).join("weights.bpk")).unwrap();
    }
    let said = format!("{:#}", looked_at(&run).unwrap_err());
    assert!(said.contains("no whole checkpoint in") && said.contains("00000001/weights.bpk"), "{said}");
}

#[test]
fn a_run_that_passed_over_damaged_checkpoints_keeps_those_it_writes() {
    let (folder, pack) = prepared(&[("steps = 60", "steps = 6"), ("checkpoint_every = 10", "checkpoint_every = 1")]);
    let run = folder.path().join("run");
    assert!(start(folder.path(), &pack, &run).wait().unwrap().success());
    assert_eq!(steps(&run), ["00000004", "00000005", "00000006"]);
    let file = |folder: &Path, step: &str| folder.join(step).join("weights.bpk");
    for step in ["00000005", "00000006"] {
        fs::write(file(&run_folder::checkpoints(&run), step), b"damaged").unwrap();
    }
    // The best of a course that is left; it replaced the best up to here, which cannot be beaten.
    let best = checkpoint::list(&run_folder::best(&run)).unwrap().pop().unwrap();
    fs::rename(best, run_folder::best(&run).join("00000099")).unwrap();
    rewrite_position(&run_folder::checkpoints(&run).join("00000004"), &[("best_validation_loss", 0.0.into()), ("best_step", 3.into())]);
    fs::write(run_folder::config_file(&run), toml_with(&run, |config| (config.steps, config.keep, config.evaluate_every) = (5, 1, 1)))
        .unwrap();
    let said = ended_well(trainer().arg("resume").arg(&run));
    assert!(said.contains("resuming at step 4") && said.contains("damaged-00000006"), "{said}");
    assert_eq!(steps(&run), ["00000005"]);
    let best = checkpoint::list(&run_folder::best(&run)).unwrap();
    assert_eq!(best, [run_folder::best(&run).join("00000005")]);
    assert!(run_folder::best(&run).join("abandoned-00000099").exists() && said.contains("abandoned-00000099"), "{said}");
    assert!(looked_at(&run).unwrap().join("").contains("resuming at step 5"));
    // What is exported is checked too.
    let average = run_folder::checkpoints(&run).join("00000005/average.bpk");
    let mut bytes = fs::read(&average).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&average, bytes).unwrap();
    let said = failed(trainer().arg("export").arg(&run).arg("--float-only").arg("--out").arg(folder.path()));
    assert!(said.contains("average.bpk is damaged"), "{said}");
}

#[test]
fn a_checkpoint_with_other_lanes_is_refused_with_the_reason_and_stays() {
    let (folder, pack) = prepared(&[("steps = 60", "steps = 1")]);
    let run = folder.path().join("run");
    assert!(start(folder.path(), &pack, &run).wait().unwrap().success());
    fs::write(run_folder::config_file(&run), toml_with(&run, |config| config.data.lanes = 5)).unwrap();
    let said = format!("{:#}", looked_at(&run).unwrap_err());
    assert!(said.contains("data.lanes, data.width and data.height stay"), "{said}");
    assert_eq!(steps(&run), ["00000000", "00000001"]);
}

#[test]
fn a_full_disk_ends_the_run_with_the_files_name_and_loses_nothing() {
    let (folder, pack) = prepared(&[("steps = 60", "steps = 3")]);
    let run = folder.path().join("run");
    assert!(start(folder.path(), &pack, &run).wait().unwrap().success());
    let before = losses(&run);
    rewrite(&run_folder::config_file(&run), &[("steps = 3", "steps = 12")]);
    // A file that may not grow fails as a full disk does: in the middle of it. 8 blocks of 512 bytes.
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" resume \"$1\"";
    let said = failed(Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_autochrome-trainer")]).arg(&run));
    assert!(said.contains("write") && said.contains("weights.bpk"), "{said}");
    assert_eq!(steps(&run), ["00000000", "00000003"]);
    let left = fs::read_dir(run_folder::checkpoints(&run)).unwrap().count();
    assert_eq!(left, 2, "a half checkpoint stayed");
    // There is room again.
    let said = ended_well(trainer().arg("resume").arg(&run));
    assert!(said.contains("resuming at step 3"), "{said}");
    assert_eq!(losses(&run)[..before.len()], before);
    assert_eq!(steps(&run), ["00000000", "00000003", "00000010", "00000012"][1..]);
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_at_the_last_good_checkpoint() {
    let (folder, pack) = prepared(&[
        ("peak = 2e-3", "peak = 1e30"),
        ("warmup_steps = 5", "warmup_steps = 1"),
        ("checkpoint_every = 10", "checkpoint_every = 1"),
    ]);
    let run = folder.path().join("run");
    let said = failed(trainer().arg("train").arg(folder.path().join("small.toml")).arg("--data").arg(&pack).arg("--run").arg(&run));
    // The first step's weights are numbers, but nothing can be computed with them.
    assert_eq!(steps(&run), ["00000000"]);
    let path = run_folder::checkpoints(&run).join("00000000");
    assert!(said.contains(&format!("the last good checkpoint is {}", path.display())) && said.contains("lower schedule.peak"), "{said}");
    // It is as good as it says: with a lower rate the run goes on from there.
    let lowered = toml_with(&run, |config| (config.schedule.peak, config.steps) = (1e-6, 2));
    fs::write(run_folder::config_file(&run), lowered).unwrap();
    ended_well(trainer().arg("resume").arg(&run));
    assert_eq!(steps(&run), ["00000000", "00000001", "00000002"]);
}

fn toml_with(run: &Path, change: impl FnOnce(&mut RunConfig)) -> String {
    let mut config = RunConfig::read(&run_folder::config_file(run)).unwrap();
    change(&mut config);
    toml::to_string_pretty(&config).unwrap()
}

#[test]
fn a_run_without_progress_ends_early_and_its_best_stays() {
    let (folder, pack) = prepared(&[("steps = 60", "steps = 2"), ("evaluate_every = 1000", "evaluate_every = 1")]);
    let run = folder.path().join("run");
    assert!(start(folder.path(), &pack, &run).wait().unwrap().success());
    let best = checkpoint::list(&run_folder::best(&run)).unwrap();
    assert_eq!(best.len(), 1, "{best:?}");
    // A best loss that cannot be beaten.
    let newest = run_folder::checkpoints(&run).join("00000002");
    rewrite_position(&newest, &[("best_validation_loss", 0.0.into()), ("evaluations_since_best", 0.into())]);
    fs::write(run_folder::config_file(&run), toml_with(&run, |config| (config.steps, config.patience) = (50, 2))).unwrap();
    let said = ended_well(trainer().arg("resume").arg(&run));
    assert!(said.contains("ended early at step 4: 2 evaluations brought no better validation loss"), "{said}");
    assert_eq!(checkpoint::list(&run_folder::best(&run)).unwrap(), best);
    assert_eq!(steps(&run).last().unwrap(), "00000004");
    // It stays ended.
    let said = ended_well(trainer().arg("resume").arg(&run));
    assert!(said.contains("ended early at step 4"), "{said}");
    let said = ended_well(trainer().arg("watch").arg(&run));
    assert!(said.contains("step 4 of 50") && said.contains("newest checkpoint: step 4"), "{said}");
}

#[test]
fn a_run_goes_on_with_its_own_pictures_wherever_they_are() {
    let weighed = [("steps = 60", "steps = 2"), ("height = 32", "height = 32\n[data.source_weights]\nphotoz = 2.0")];
    let (folder, pack) = prepared(&weighed);
    let run = folder.path().join("run");
    let mut train = trainer();
    train.arg("train").arg(folder.path().join("small.toml")).arg("--data").arg(&pack).arg("--run").arg(&run);
    let said = ended_well(&mut train);
    assert!(said.contains("photoz"), "a misspelt weight is not told: {said}");
    let moved = folder.path().join("moved");
    fs::rename(&pack, &moved).unwrap();
    assert!(failed(trainer().arg("resume").arg(&run)).contains("pack"));
    ended_well(trainer().arg("resume").arg(&run).arg("--data").arg(&moved));
    // From now on it is known where they are.
    ended_well(trainer().arg("resume").arg(&run));

    let photos = folder.path().join("photos");
    let lost = fs::read_dir(&photos).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(lost).unwrap();
    let other = folder.path().join("other");
    ended_well(trainer().arg("pack").arg(&photos).arg("--out").arg(&other).args(["--short-side", "48"]));
    let said = failed(trainer().arg("resume").arg(&run).arg("--data").arg(&other));
    assert!(said.contains("another packed set") && said.contains("--start-from"), "{said}");
    ended_well(trainer().arg("resume").arg(&run));
}

#[test]
fn a_set_without_anything_to_validate_on_is_refused_at_the_beginning_and_clips_alone_will_do() {
    let (folder, _) = prepared(&[("steps = 60", "steps = 2")]);
    let photos = folder.path().join("photos");
    // Clips of three frames: the photographs' names decide of the split.
    let clips = folder.path().join("clips");
    for photo in fs::read_dir(&photos).unwrap().map(|entry| entry.unwrap().path()) {
        let clip = clips.join(photo.file_name().unwrap());
        fs::create_dir_all(&clip).unwrap();
        for frame in 0..3 {
            fs::copy(&photo, clip.join(format!("{frame}.png"))).unwrap();
        }
        if split_of(photo.file_name().unwrap().to_str().unwrap()) == Split::Validation {
            fs::remove_file(photo).unwrap();
        }
    }
    let config = folder.path().join("small.toml");
    let packed = |kind: &str, from: &Path| {
        let out = folder.path().join(format!("packed-{kind}"));
        let input = format!("{kind}:{}", from.display());
        ended_well(trainer().arg("pack").arg(input).arg("--out").arg(&out).args(["--short-side", "48"]));
        out
    };
    let run = folder.path().join("run");
    let training_only = packed("stills", &photos);
    let (mut training, mut trying) = (trainer(), trainer());
    training.arg("train").arg("--run").arg(&run);
    trying.args(["dry-run", "--steps", "2"]);
    for command in [&mut training, &mut trying] {
        let said = failed(command.arg(&config).arg("--data").arg(&training_only));
        assert!(said.contains("nothing in its validation split"), "{said}");
    }
    assert!(!run.exists(), "a run that cannot be measured was begun");
    ended_well(trainer().arg("train").arg(&config).arg("--data").arg(packed("clips", &clips)).arg("--run").arg(&run));
    assert!(fs::read_to_string(run.join("metrics.jsonl")).unwrap().contains("validation_loss"));
}

#[test]
fn a_shard_whose_content_was_lost_is_named_before_anything_is_trained() {
    let (folder, pack) = prepared(&[]);
    // As a copy leaves it that reserved its room and then broke off: the length is right, and nothing else.
    let shard = pack.join("train-000.shard");
    let length = fs::metadata(&shard).unwrap().len();
    fs::File::options().write(true).open(&shard).unwrap().set_len(length / 2).unwrap();
    fs::File::options().write(true).open(&shard).unwrap().set_len(length).unwrap();
    let (config, run) = (folder.path().join("small.toml"), folder.path().join("run"));
    let train = failed(trainer().arg("train").arg(&config).arg("--data").arg(&pack).arg("--run").arg(&run));
    let dry_run = failed(trainer().arg("dry-run").arg(&config).arg("--data").arg(&pack));
    for said in [train, dry_run] {
        assert!(said.contains("train-000.shard: SHA-256 is"), "{said}");
    }
    assert!(!run.exists());
}

#[test]
fn a_second_process_is_refused_while_the_first_trains() {
    let (folder, pack) = prepared(&[("steps = 60", "steps = 100000")]);
    let run = folder.path().join("run");
    let mut child = start(folder.path(), &pack, &run);
    wait_for(&run_folder::config_file(&run), &mut child);
    let said = failed(trainer().arg("resume").arg(&run));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(said.contains("another process trains in"), "{said}");
}

#[test]
fn a_dry_run_tells_time_memory_and_parity_and_leaves_nothing() {
    let (folder, pack) = prepared(&[("[data]", "[quantization]\nstart_share = 0.9\n\n[data]")]);
    let before = fs::read_dir(folder.path()).unwrap().count();
    let mut command = trainer();
    command.arg("dry-run").arg(folder.path().join("small.toml")).arg("--data").arg(&pack).current_dir(folder.path());
    let said = ended_well(&mut command);
    for wanted in [
        "24 training and 4 validation items",
        "8 frames a step",
        "a step: ",
        "60 steps at this pace: ",
        "a quantization-aware step",
        "agrees with Burn over 10 frames",
        "at its peak",
    ] {
        assert!(said.contains(wanted), "{wanted:?} is missing: {said}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before);
}

#[test]
fn a_dry_run_of_what_cannot_be_exported_fails() {
    let net = "kind = \"resnet-unet\"\nwidth = 4\nblocks = [30, 30, 30, 30]\nhead_width = 8";
    let (folder, pack) = prepared(&[
        ("kind = \"recurrent-unet\"\nwidths = [4, 8, 8, 12]\ndeep_blocks = 1\nhead_width = 8", net),
        ("input_size = [48, 32]", "input_size = [64, 32]"),
    ]);
    let said = failed(trainer().arg("dry-run").arg(folder.path().join("small.toml")).arg("--data").arg(&pack));
    assert!(said.contains("cannot be exported"), "{said}");
}

#[test]
fn a_quantization_aware_run_resumes_exactly_and_exports_its_frozen_ranges() {
    let (folder, pack) = prepared(&[
        ("steps = 60", "steps = 20"),
        ("checkpoint_every = 10", "checkpoint_every = 1"),
        ("[data]", "[quantization]\nstart_share = 0.5\n\n[data]"),
    ]);
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    assert!(start(folder.path(), &pack, &whole).wait().unwrap().success());
    let mut child = start(folder.path(), &pack, &killed);
    // The ranges were found in front of steps 10 and 11.
    wait_for(&run_folder::checkpoints(&killed).join("00000012/ranges.json"), &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    ended_well(trainer().arg("resume").arg(&killed));
    assert_same_end(&killed, &whole);
    let ranges = |run: &Path| fs::read_to_string(run_folder::checkpoints(run).join("00000020/ranges.json")).unwrap();
    let parsed = |run: &Path| serde_json::from_str::<serde_json::Value>(&ranges(run)).unwrap();
    assert_eq!(parsed(&killed), parsed(&whole));
    ended_well(trainer().arg("export").arg(&whole).arg("--out").arg(folder.path()));
    let model = autochrome_model::Colorizer::load(&folder.path().join("small-48x32-int8.onnx")).unwrap();
    let calibration = model.contract().card.calibration.clone().unwrap();
    // Of 10 quantization-aware steps the ranges change in front of 10, 11, 12 and 13.
    assert!(calibration.contains("found at step 13 of quantization-aware training"), "{calibration}");
}
