//! The fair table: every configuration trained within the same budget on the same data, measured on the same pictures.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, ensure};
use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::{Budget, Entry, train_entry};
use crate::checkpoint::{self, write_atomically};
use crate::config::RunConfig;
use crate::data::shard::PackedSet;
use crate::data::split::Split;
use crate::evaluate::{self, Comparison, Contestant, Exhibits, Plan, Share, page};
use crate::export;
use crate::train::{self, Watcher};

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
    /// Pretrained weights for the configurations that have an encoder for them.
    pub encoder_weights: Option<PathBuf>,
    /// Stills of each source that are measured, evenly spread.
    pub limit: usize,
    /// A packed set of pictures to be looked at in place of the validation split's, which may not be shown to everyone.
    pub show: Option<PathBuf>,
    /// The folder of the page, the pictures and the table.
    pub page: PathBuf,
}

/// How a run came to be: the half of a row that no picture tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Effort {
    name: String,
    steps: u64,
    frames: u64,
    weights: usize,
    multiply_adds: u64,
    input: [usize; 2],
}

/// Trains what is not trained yet, measures everyone, and writes `README.md` and `pictures.html`.
///
/// # Errors
/// If a configuration cannot be read, no run succeeds, or a file cannot be written. A run that fails is told and left out.
pub fn compare(contest: &Contest, device: &Device, stop: &AtomicBool, watcher: &mut dyn Watcher) -> anyhow::Result<()> {
    let entries = contest.configs.iter().map(|file| entry(file, contest)).collect::<anyhow::Result<Vec<Entry>>>()?;
    for (index, entry) in entries.iter().enumerate() {
        let other = entries[..index].iter().find(|other| other.label == entry.label);
        ensure!(other.is_none(), "two configurations are called {:?}; their runs would share a folder", entry.label);
    }
    let (mut made, mut failed) = (Vec::new(), Vec::new());
    for entry in entries {
        let run = contest.runs.join(&entry.label);
        watcher.say(&format!("{}:", entry.label));
        match train_entry(&entry, &contest.pack, &run, Some(contest.budget), device, stop, watcher) {
            Ok(()) => made.push(entry),
            Err(error) => {
                watcher.say(&format!("{} failed: {error:#}", entry.label));
                failed.push(format!("{}: {error:#}", entry.label));
            }
        }
        if stop.load(Ordering::Relaxed) {
            watcher.say("stopped; the same command goes on from here");
            return Ok(());
        }
    }
    let set = PackedSet::open(&contest.pack)?;
    let mut efforts = Vec::new();
    let exhibits = Exhibits::choose(&set, Share::Of(Split::Validation), contest.limit)?;
    let mut contestants = vec![Contestant::grey()];
    contestants.extend(Contestant::classical_apart_from(&exhibits, &set)?);
    for entry in &made {
        let run = contest.runs.join(&entry.label);
        match Contestant::from_run(&run).and_then(|contestant| Ok((effort(&run)?, contestant))) {
            Ok((effort, contestant)) => {
                efforts.push(effort);
                contestants.push(contestant);
            }
            Err(error) => failed.push(format!("{}: {error:#}", entry.label)),
        }
    }
    ensure!(!efforts.is_empty(), "no configuration could be trained and measured: {}", failed.join("; "));
    let plan = Plan { temperatures: vec![0.38, 0.6, 0.8, 1.0], moving: true, samples: SAMPLES, ..Plan::default() };
    let shown = contest.show.as_deref().map(PackedSet::open).transpose()?;
    let shown = shown.as_ref().map(|set| Exhibits::choose(set, Share::Whole, usize::MAX)).transpose()?;
    let mut at = 0;
    let mut progress = |done: usize, total: usize| {
        if 10 * done / total.max(1) != at {
            at = 10 * done / total.max(1);
            watcher.say(&format!("measured {done} of {total}"));
        }
    };
    let found = evaluate::evaluate(contestants, &exhibits, shown.as_ref(), &plan, &mut progress)?;
    let readme = readme(contest, &found, &efforts, &failed);
    write_atomically(&contest.page.join("table.jsonl"), evaluate::table::json_lines(&found)?.as_bytes())?;
    write_atomically(&contest.page.join("README.md"), readme.as_bytes())?;
    write_atomically(&contest.page.join("pictures.html"), page::html(&found)?.as_bytes())
}

fn entry(file: &Path, contest: &Contest) -> anyhow::Result<Entry> {
    let mut config = RunConfig::read(file)?;
    let label = file.file_stem().context("a configuration's name")?.to_string_lossy().into_owned();
    if config.net.has_pretrained_encoder() {
        config.encoder_weights = config.encoder_weights.or_else(|| contest.encoder_weights.clone());
        ensure!(
            config.encoder_weights.is_some(),
            "{} begins with a pretrained encoder; give its weights (--encoder-weights, see convert-encoder), or leave it out",
            file.display()
        );
    }
    Ok(Entry { label, config })
}

fn effort(run: &Path) -> anyhow::Result<Effort> {
    let config = RunConfig::read(&train::config_file(run))?;
    let newest = checkpoint::list(&train::checkpoints(run))?.pop().with_context(|| format!("{} has no checkpoint", run.display()))?;
    let steps = checkpoint::position(&newest)?.step;
    let model = export::float_of_run(run)?;
    Ok(Effort {
        name: run.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        steps,
        frames: steps * config.frames_a_step() as u64,
        weights: config.fresh_network(&Device::flex())?.num_params(),
        multiply_adds: autochrome_model::contract::check(&model)?.multiply_adds,
        input: config.input_size,
    })
}

fn readme(contest: &Contest, found: &Comparison, efforts: &[Effort], failed: &[String]) -> String {
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
    text += "\n## What each network is, and how far it came\n\n| network | weights | multiply-adds a frame | input | steps | frames seen |\n| --- | --- | --- | --- | --- | --- |\n";
    for effort in efforts {
        let [width, height] = effort.input;
        let _ = writeln!(
            text,
            "| {} | {:.2} M | {:.0} M | {width}x{height} | {} | {} |",
            effort.name,
            effort.weights as f64 / 1e6,
            effort.multiply_adds as f64 / 1e6,
            effort.steps,
            effort.frames
        );
    }
    if !failed.is_empty() {
        text += "\n## Failed\n\n";
        failed.iter().for_each(|line| {
            let _ = writeln!(text, "- {line}");
        });
    }
    text
}
