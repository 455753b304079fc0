//! The fair table: every configuration trained within the same budget on the same data, measured on the same pictures.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, ensure};
use burn::module::Module;
use burn::tensor::Device;

use super::rows::{Effort, MadeRow, RowFiles, Terms, machine};
use super::{Budget, Entry, Start, train_entry};
use crate::checkpoint;
use crate::config::RunConfig;
use crate::data::shard::PackedSet;
use crate::data::split::Split;
use crate::evaluate::{self, Comparison, Contestant, Exhibits, Plan, Share, page};
use crate::export;
use crate::files::write_atomically;
use crate::run_folder;
use crate::train::{self, Ended, Watcher};

/// Pictures on the page.
const SAMPLES: usize = 12;

/// What is compared, and where it goes.
#[derive(Clone, Debug)]
pub struct Contest {
    /// The configurations.
    pub configs: Vec<PathBuf>,
    /// The packed set.
    pub pack: PathBuf,
    /// The folder for the runs, one each; complete ones are not made again.
    pub runs: PathBuf,
    /// What each may cost.
    pub budget: Budget,
    /// What all runs begin with.
    pub start: Start,
    /// Stills of each source that are measured, evenly spread.
    pub limit: usize,
    /// A packed set of pictures to be looked at in place of the validation split's, which may not be shown to everyone.
    pub show: Option<PathBuf>,
    /// The folder of the page, the pictures and the table.
    pub page: PathBuf,
}

/// Trains and measures what is not measured yet, and writes `README.md`, `pictures.html` and `table.jsonl`. Rows are kept in files of their own in the
/// page's folder: they may come from elsewhere, and what has one is not made again.
///
/// # Errors
/// If a configuration cannot be read, a row that is there is another configuration's or was made under other conditions, or a file cannot be written. If a
/// run fails, after the table of the others is written.
pub fn compare(contest: &Contest, device: &Device, stop: &AtomicBool, watcher: &mut dyn Watcher) -> anyhow::Result<Ended> {
    let set = PackedSet::open(&contest.pack)?;
    let shown = contest.show.as_deref().map(PackedSet::open).transpose()?;
    let files = RowFiles::of(&contest.page, Terms::new(contest.budget, &set, shown.as_ref(), contest.limit));
    // All of them before the first is trained: what cannot be read is told at once.
    let mut entries: Vec<(Entry, Option<MadeRow>)> = Vec::new();
    for file in &contest.configs {
        let label = file.file_stem().context("a configuration's name")?.to_string_lossy().into_owned();
        ensure!(
            entries.iter().all(|(other, _)| other.label != label),
            "two configurations are called {label:?}; their runs would share a folder"
        );
        let config = RunConfig::read(file)?;
        let row = files.find(&label, &config)?;
        if row.is_none() {
            contest
                .start
                .of(&config)
                .ensure_encoder_weights()
                .with_context(|| format!("{} cannot be trained; it may be left out", file.display()))?;
        }
        entries.push((Entry { label, config }, row));
    }
    contest.start.tell_what_is_unused(entries.iter().map(|(entry, _)| &entry.config), watcher);
    if entries.iter().any(|(_, row)| row.is_none()) {
        train::verify_pictures(&set, watcher)?;
    }
    let measures = Measures {
        exhibits: Exhibits::choose(&set, Share::Of(Split::Validation), contest.limit)?,
        shown: shown.as_ref().map(Exhibits::to_show).transpose()?,
        plan: Plan { temperatures: vec![0.38, 0.6, 0.8, 1.0], moving: true, samples: SAMPLES, ..Plan::default() },
    };
    let mut found = match files.find_baselines()? {
        Some(found) => found,
        None => {
            watcher.say("measuring grey and the classical methods");
            let mut contestants = vec![Contestant::grey()];
            contestants.extend(Contestant::classical_apart_from(&measures.exhibits, &set)?);
            let found = measures.of(contestants)?;
            files.keep_baselines(&found)?;
            files.find_baselines()?.context("read what was just measured")?
        }
    };
    let (mut efforts, mut forgetful, mut failed, mut missing) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (entry, row) in entries {
        if row.is_none() && stop.load(Ordering::Relaxed) {
            missing.push(entry.label);
            continue;
        }
        let made = row.map_or_else(|| make(&entry, contest, &measures, &files, device, stop, watcher), |row| Ok(Some(row)));
        match made {
            Ok(Some(row)) => {
                found.add(row.figures, row.looks)?;
                if row.config.net.has_memory() && row.config.data.restart_share >= 1.0 {
                    forgetful.push(row.effort.name.clone());
                }
                efforts.push(row.effort);
            }
            Ok(None) => missing.push(entry.label),
            Err(error) => {
                watcher.say(&format!("{} failed: {error:#}", entry.label));
                failed.push(format!("{}: {error:#}", entry.label));
            }
        }
    }
    if !missing.is_empty() {
        watcher.say("stopped; the same command goes on from here");
    }
    if efforts.is_empty() {
        ensure!(failed.is_empty(), "no configuration could be trained and measured: {}", failed.join("; "));
        return Ok(Ended::Stopped);
    }
    let readme = readme(contest, &found, &efforts, &forgetful, &failed, &missing);
    write_atomically(&contest.page.join("table.jsonl"), evaluate::table::json_lines(&found)?.as_bytes())?;
    write_atomically(&contest.page.join("README.md"), readme.as_bytes())?;
    write_atomically(&contest.page.join("pictures.html"), page::html(&found).as_bytes())?;
    ensure!(
        failed.is_empty(),
        "{} failed; the table in {} has the others: {}",
        evaluate::table::counted(failed.len(), "configuration"),
        contest.page.display(),
        failed.join("; ")
    );
    Ok(if missing.is_empty() { Ended::AsPlanned } else { Ended::Stopped })
}

/// What everyone is measured on, and how.
struct Measures<'a> {
    exhibits: Exhibits<'a>,
    shown: Option<Exhibits<'a>>,
    plan: Plan,
}

impl Measures<'_> {
    fn of(&self, contestants: Vec<Contestant>) -> anyhow::Result<Comparison> {
        evaluate::evaluate(contestants, &self.exhibits, self.shown.as_ref(), &self.plan, &mut |_, _| ())
    }
}

/// Trains an entry, or the rest of it, and measures it; nothing if it was stopped before the end.
fn make(
    entry: &Entry,
    contest: &Contest,
    measures: &Measures<'_>,
    files: &RowFiles,
    device: &Device,
    stop: &AtomicBool,
    watcher: &mut dyn Watcher,
) -> anyhow::Result<Option<MadeRow>> {
    let run = contest.runs.join(&entry.label);
    watcher.say(&format!("{}:", entry.label));
    let begun = Entry { label: entry.label.clone(), config: contest.start.of(&entry.config) };
    train_entry(&begun, &contest.pack, &run, Some(contest.budget), device, stop, watcher)?;
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let found = measures.of(vec![Contestant::from_run(&run)?])?;
    let (figures, looks) = found.last_row().context("a row")?;
    let row = MadeRow { config: entry.config.clone(), effort: effort(&run, contest.budget, device)?, figures, looks };
    files.keep(&row)?;
    // As the file has it: a number's last bit may be another.
    files.find(&entry.label, &entry.config)
}

fn effort(run: &Path, budget: Budget, device: &Device) -> anyhow::Result<Effort> {
    let config = RunConfig::read(&run_folder::config_file(run))?;
    let steps = checkpoint::position(&run_folder::newest_checkpoint(run)?)?.step;
    let model = export::float_of_run(run)?;
    Ok(Effort {
        name: run.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        steps,
        frames: steps * config.frames_a_step() as u64,
        weights: config.fresh_network(&Device::flex())?.num_params(),
        multiply_adds: autochrome_model::contract::check(&model)?.multiply_adds,
        input: config.input_size,
        minutes: Some(budget.spent_minutes(run, &config)?),
        machine: machine(budget, device),
    })
}

fn readme(
    contest: &Contest,
    found: &Comparison,
    efforts: &[Effort],
    forgetful: &[String],
    failed: &[String],
    missing: &[String],
) -> String {
    let conditions = &found.conditions;
    let mut text = format!(
        "# Every method, on the same data, within the same budget\n\n\
         Written by `autochrome-trainer compare`. Each network had {} on the same packed photographs and clips, and is measured as its exported \
         float file, run by the engine that ships, on {} and {} (short side {} pixels). Grey and the classical methods, which take the \
         colors of the training picture whose lightness is spread most alike, are rows too. What each figure means is said in `pictures.html`, \
         which also shows pictures; `table.jsonl` has every figure.\n\n",
        contest.budget,
        evaluate::table::counted(conditions.stills, "validation still"),
        evaluate::table::counted(conditions.clips, "clip"),
        conditions.short_side
    );
    text += &evaluate::table::markdown(found);
    if !forgetful.is_empty() {
        let _ = writeln!(
            text,
            "\nThe state of {} was dropped behind each chunk of a few frames in training; like all others they are measured as a device runs them, with the state \
             carried.",
            forgetful.join(", ")
        );
    }
    text += "\n## What each network is, and how far it came\n\n| network | weights | multiply-adds a frame | input | steps | frames seen | minutes spent |\n| --- | --- | --- | --- | --- | --- | --- |\n";
    for effort in efforts {
        let [width, height] = effort.input;
        let _ = writeln!(
            text,
            "| {} | {:.2} M | {:.0} M | {width}x{height} | {} | {} | {} |",
            effort.name,
            effort.weights as f64 / 1e6,
            effort.multiply_adds as f64 / 1e6,
            effort.steps,
            effort.frames,
            effort.minutes.map_or_else(|| "-".into(), |minutes| format!("{minutes:.1}"))
        );
    }
    let machines: BTreeSet<&str> = efforts.iter().map(|effort| effort.machine.as_str()).filter(|name| !name.is_empty()).collect();
    let one = if machines.len() > 1 { " different machines, so that the same minutes were not the same work" } else { "" };
    if !machines.is_empty() {
        let _ = writeln!(text, "\nComputed on{one}: {}.", machines.into_iter().collect::<Vec<_>>().join("; "));
    }
    if !missing.is_empty() {
        let _ = writeln!(text, "\nNot made yet: {}.", missing.join(", "));
    }
    if !failed.is_empty() {
        text += "\n## Failed\n\n";
        failed.iter().for_each(|line| {
            let _ = writeln!(text, "- {line}");
        });
    }
    text
}
