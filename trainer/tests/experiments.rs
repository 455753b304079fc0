//! A whole experiment and a whole comparison in small, as their commands: every run is made, the figures and pages are written, and what is
//! complete is not made anew.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod small_run;

use std::path::Path;
use std::process::Command;

use small_run::{CONFIG, ended_well, packed, trainer, wait_for};

/// Pictures to be shown, of one training photograph.
fn set_to_show(folder: &Path, pack: &Path) -> std::path::PathBuf {
    let photos = folder.join("shown");
    std::fs::create_dir(&photos).unwrap();
    let first = std::fs::read_dir(pack.parent().unwrap().join("photos")).unwrap().next().unwrap().unwrap();
    std::fs::copy(first.path(), photos.join("shown.png")).unwrap();
    let out = folder.join("shown-pack");
    ended_well(trainer().arg("pack").arg(&photos).arg("--out").arg(&out).args(["--short-side", "48"]));
    out
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// When a run's weights were last written.
fn trained_at(run: &Path) -> std::time::SystemTime {
    run.join("checkpoints").join("00000060").join("weights.bpk").metadata().unwrap().modified().unwrap()
}

#[test]
fn an_experiment_trains_its_entries_once_and_draws_what_they_came_to() {
    let folder = tempfile::tempdir().unwrap();
    let pack = packed(folder.path());
    let shown = set_to_show(folder.path(), &pack);
    let plan = folder.path().join("sweep.toml");
    std::fs::write(
        &plan,
        "question = \"How much?\"\nbase = \"small.toml\"\ntemperature_strips = true\n[[entry]]\nlabel = \"lambda 1\"\nset = { loss = { lambda = 1.0 } }\n\
         [[entry]]\nlabel = \"lambda 0.5\"\nset = { loss = { lambda = 0.5 } }\n",
    )
    .unwrap();
    let out = folder.path().join("sweep");
    let make = || {
        let mut command = trainer();
        command.arg("experiment").arg(&plan).arg("--data").arg(&pack).arg("--show").arg(&shown).arg("--out").arg(&out);
        ended_well(&mut command)
    };
    make();
    let page = read(&out.join("README.md"));
    for said in ["# How much?", "| lambda 1 | 60 |", "| lambda 0.5 | 60 |", "4 validation stills", "grey | lambda 1 | lambda 0.5 | truth"] {
        assert!(page.contains(said), "{said:?} is missing in {page}");
    }
    for (figure, series) in [("losses.svg", "lambda 0.5"), ("trade-off.svg", "lambda 1")] {
        let text = read(&out.join(figure));
        assert!(text.contains("<svg") && text.contains(series), "{figure}");
    }
    // Grey, two entries and the truth beside each other.
    let pictures = image::open(out.join("pictures.png")).unwrap().to_rgb8();
    assert!(pictures.width() >= 4 * 48, "{} columns", pictures.width());
    // Grey, the mode, six temperatures and the truth.
    for label in ["lambda-1", "lambda-0.5"] {
        let strip = image::open(out.join(format!("temperatures-{label}.png"))).unwrap().to_rgb8();
        assert!(strip.width() >= 9 * 149 && page.contains(&format!("(temperatures-{label}.png)")), "{} wide", strip.width());
    }
    let trained = ["lambda-1", "lambda-0.5"].map(|run| trained_at(&out.join(run)));
    std::fs::remove_file(out.join("README.md")).unwrap();
    make();
    assert_eq!(read(&out.join("README.md")), page);
    assert_eq!(["lambda-1", "lambda-0.5"].map(|run| trained_at(&out.join(run))), trained, "it was trained again");
}

#[test]
fn a_single_picture_is_learned_by_heart() {
    let folder = tempfile::tempdir().unwrap();
    let pack = packed(folder.path());
    let plan = folder.path().join("single.toml");
    std::fs::write(
        &plan,
        "question = \"By heart?\"\nbase = \"small.toml\"\nsingle_picture = true\n[[entry]]\nlabel = \"regression\"\n[entry.set]\noutput = \"ab\"\n\
         steps = 300\naverage_decay = 0.9\nschedule = { peak = 1e-2 }\n",
    )
    .unwrap();
    let out = folder.path().join("single");
    ended_well(trainer().arg("experiment").arg(&plan).arg("--data").arg(&pack).arg("--out").arg(&out));
    let log = read(&out.join("regression/metrics.jsonl"));
    let losses: Vec<f64> =
        log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64()).collect();
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < 0.01 * first, "{first} at first, {last} in the end: not by heart");
    assert!(read(&out.join("README.md")).contains("# By heart?"));
    // A network without a temperature is a point in the trade-off.
    let trade_off = read(&out.join("trade-off.svg"));
    assert!(trade_off.contains(">regression<") && trade_off.matches("<circle").count() == 1, "{trade_off}");
}

#[test]
fn a_range_test_shows_the_loss_over_the_rate() {
    let folder = tempfile::tempdir().unwrap();
    let pack = packed(folder.path());
    let plan = folder.path().join("range.toml");
    std::fs::write(
        &plan,
        "question = \"Which rate?\"\nbase = \"small.toml\"\nover = \"learning_rate\"\n[[entry]]\nlabel = \"AdamW\"\n[entry.set]\n\
         log_every = 1\n[entry.set.schedule]\nrising_from = 1e-6\npeak = 1.0\n",
    )
    .unwrap();
    let out = folder.path().join("range");
    ended_well(trainer().arg("experiment").arg(&plan).arg("--data").arg(&pack).arg("--out").arg(&out));
    let page = read(&out.join("README.md"));
    let row = page.lines().find(|line| line.starts_with("| AdamW |")).unwrap();
    let rates: Vec<f64> = row.split('|').skip(5).filter_map(|cell| cell.trim().parse().ok()).collect();
    assert!(rates.len() == 2 && rates.iter().all(|rate| (1e-6..1.0).contains(rate)), "{row}");
    assert!(read(&out.join("losses.svg")).contains("learning rate"));
    assert!(!out.join("pictures.png").exists(), "a network that was driven to pieces is not measured");

    // That it diverges is what it is for; any other failure is one.
    let changed = read(&plan).replace("peak = 1.0", "peak = 2.0");
    std::fs::write(&plan, changed).unwrap();
    let again = trainer().arg("experiment").arg(&plan).arg("--data").arg(&pack).arg("--out").arg(&out).output().unwrap();
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(!again.status.success() && said.contains("another configuration"), "{said}");
}

#[test]
fn a_comparison_gives_each_the_same_time_tells_what_failed_and_puts_all_into_one_table() {
    let folder = tempfile::tempdir().unwrap();
    let pack = packed(folder.path());
    let shown = set_to_show(folder.path(), &pack);
    let config = |name: &str, text: String| {
        let file = folder.path().join(name).with_extension("toml");
        std::fs::write(&file, text).unwrap();
        file
    };
    let configs = [
        config("bins", CONFIG.into()),
        config("ab", format!("output = \"ab\"\n{CONFIG}")),
        // Explodes at its first steps.
        config("wild", CONFIG.replace("peak = 2e-3", "peak = 1e30")),
    ];
    let (runs, out) = (folder.path().join("runs"), folder.path().join("table"));
    let mut command = trainer();
    command
        .arg("compare")
        .args(&configs)
        .arg("--data")
        .arg(&pack)
        .arg("--show")
        .arg(&shown)
        .arg("--runs")
        .arg(&runs)
        .arg("--out")
        .arg(&out);
    let minutes = 0.05;
    command.args(["--minutes", &minutes.to_string()]);
    // One failed, and a script that waits for all of them must be able to tell.
    let mut compared = || {
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains("1 configuration failed"), "{said}");
        said
    };
    let said = compared();
    let page = read(&out.join("README.md"));
    for row in ["| grey |", "| bins |", "| ab |", "0.05 minutes of processor time", "4 validation stills", "## Failed", "- wild: "] {
        assert!(page.contains(row), "{row:?} is missing in {page}\n{said}");
    }
    assert!(read(&out.join("pictures.html")).contains("data:image/"));
    let rows: Vec<serde_json::Value> = read(&out.join("table.jsonl")).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(["grey", "bins", "ab"].iter().all(|name| rows.iter().any(|row| row["name"] == *name)), "{rows:?}");
    for name in ["bins", "ab"] {
        // The trial tells what a step costs up to a factor on a busy machine.
        let log = read(&runs.join(name).join("metrics.jsonl"));
        let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let steps: Vec<(f64, f64)> = lines.filter_map(|line| Some((line["step"].as_f64()?, line["processor_s"].as_f64()?))).collect();
        let spent: f64 = steps.iter().scan(0.0, |before, (step, each)| Some((step - std::mem::replace(before, *step)) * each)).sum();
        assert!((0.2..5.0).contains(&(spent / (60.0 * minutes))), "{name}: {spent} s of {}", 60.0 * minutes);
    }

    // The rows that are there need no runs: what failed is tried once more, nothing else.
    let (whole, pictures) = (read(&out.join("table.jsonl")), read(&out.join("pictures.html")));
    std::fs::remove_dir_all(&runs).unwrap();
    compared();
    assert_eq!((read(&out.join("table.jsonl")), read(&out.join("pictures.html"))), (whole, pictures));
    assert!(!runs.join("bins").exists() && !runs.join("ab").exists(), "a row that was there was made again");

    // Nor is a row taken for what it is not: one of another configuration, or made within another budget.
    let refused = |command: &mut Command| {
        let said = command.output().unwrap();
        assert!(!said.status.success());
        String::from_utf8(said.stderr).unwrap()
    };
    std::fs::write(&configs[0], CONFIG.replace("peak = 2e-3", "peak = 1e-3")).unwrap();
    let said = refused(&mut command);
    assert!(said.contains("bins.json is the row of another configuration"), "{said}");
    std::fs::write(&configs[0], CONFIG).unwrap();
    let said = refused(command.args(["--limit", "3"]));
    assert!(said.contains("was made on all stills (now: 3 stills a source)"), "{said}");
}

#[test]
fn a_comparison_or_an_experiment_that_a_signal_stops_says_so_to_a_script() {
    let folder = tempfile::tempdir().unwrap();
    let pack = packed(folder.path());
    let config = folder.path().join("small.toml");
    std::fs::write(&config, CONFIG.replace("steps = 60", "steps = 100000")).unwrap();
    let ends_at = |command: &mut Command, until: &Path| {
        let mut child = command.arg("--data").arg(&pack).spawn().unwrap();
        wait_for(until, &mut child);
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        // Not 0: not everything is made. Not 1: nothing failed.
        assert_eq!(child.wait().unwrap().code(), Some(75));
    };
    let (table, runs) = (folder.path().join("table"), folder.path().join("runs"));
    let mut compare = trainer();
    compare.arg("compare").arg(&config).arg("--out").arg(&table).arg("--runs").arg(&runs).args(["--minutes", "600"]);
    // What follows is the trial of what a step costs, hundreds of steps of it: no run has begun.
    ends_at(&mut compare, &table.join("baselines.json"));
    assert!(!runs.join("small").exists() && !table.join("README.md").exists());

    let plan = folder.path().join("alone.toml");
    std::fs::write(&plan, "question = \"?\"\nbase = \"small.toml\"\n[[entry]]\nlabel = \"alone\"\n").unwrap();
    let out = folder.path().join("alone");
    ends_at(trainer().arg("experiment").arg(&plan).arg("--out").arg(&out), &out.join("alone/checkpoints/00000010"));
    assert!(!out.join("README.md").exists());
}
