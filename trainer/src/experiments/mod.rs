//! Experiments: a few runs that differ in one thing, and the figure that compares them.
//!
//! An experiment is a small TOML file ([`Plan`]): a question, a run's configuration, and what each entry changes in it. Every entry is
//! an ordinary run in a folder of its own, so an interrupted experiment goes on where it stood.

mod budget;
mod compare;
mod figure;
mod rows;
mod single;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail, ensure};
use burn::tensor::Device;
use serde::Deserialize;

pub use budget::Budget;
pub use compare::{Contest, compare};

use crate::config::{RunConfig, read_toml};
use crate::data::lanes::LaneConfig;
use crate::data::shard::PackedSet;
use crate::files::write_atomically;
use crate::run_folder;
use crate::train::{self, Ended, Watcher};

/// An experiment's file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What the experiment asks, in a sentence.
    pub question: String,
    /// The configuration that entries start from, relative to this file.
    pub base: Option<PathBuf>,
    /// What the loss is drawn over.
    #[serde(default)]
    pub over: Over,
    /// Train and validate on one and the same picture, as it is: no camera moves over it, and none has faults.
    #[serde(default)]
    pub single_picture: bool,
    /// Also a strip for each run: its pictures decoded at every temperature.
    #[serde(default)]
    pub temperature_strips: bool,
    /// The runs.
    pub entry: Vec<EntryPlan>,
}

/// What the losses are drawn over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// Steps done.
    #[default]
    Step,
    /// The learning rate, logarithmically: a range test.
    LearningRate,
}

/// One run of an experiment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryPlan {
    /// What the figure calls it.
    pub label: String,
    /// A configuration in place of the base, relative to the experiment's file.
    pub config: Option<PathBuf>,
    /// What is changed in the configuration.
    #[serde(default)]
    pub set: toml::Table,
}

/// A run to make.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What the figure calls it.
    pub label: String,
    /// Its configuration.
    pub config: RunConfig,
}

impl Entry {
    /// The name of its folder: the label in small letters, all else as hyphens.
    pub fn folder(&self) -> String {
        let letters: String =
            self.label.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' }).collect();
        letters.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
    }
}

impl Plan {
    /// Reads an experiment's file.
    ///
    /// # Errors
    /// If it cannot be read or holds an unknown key.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        read_toml(file, "the experiment")
    }

    /// The runs, their configurations read relative to `file`, the experiment's own.
    ///
    /// # Errors
    /// If a configuration cannot be read or what is set does not fit it; if two entries would share a folder.
    pub fn entries(&self, file: &Path) -> anyhow::Result<Vec<Entry>> {
        ensure!(!self.entry.is_empty(), "{} has no entry", file.display());
        let mut entries: Vec<Entry> = Vec::new();
        for plan in &self.entry {
            let what = || format!("the entry {:?} of {}", plan.label, file.display());
            let Some(named) = plan.config.as_ref().or(self.base.as_ref()) else {
                bail!("{}: neither it nor the experiment names a configuration", what());
            };
            let path = file.parent().unwrap_or(Path::new(".")).join(named);
            let mut table: toml::Table = read_toml(&path, "the configuration").with_context(what)?;
            merge(&mut table, &plan.set);
            let config: RunConfig = table.try_into().with_context(what)?;
            config.check().with_context(what)?;
            let entry = Entry { label: plan.label.clone(), config };
            let folder = entry.folder();
            ensure!(
                !folder.is_empty() && entries.iter().all(|other| other.folder() != folder),
                "{}: its folder would be {folder:?}, which is empty or another entry's",
                what()
            );
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// Puts `changes` over `table`, key by key.
fn merge(table: &mut toml::Table, changes: &toml::Table) {
    for (key, change) in changes {
        match (table.get_mut(key), change) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => merge(old, new),
            _ => {
                table.insert(key.clone(), change.clone());
            }
        }
    }
}

/// What an experiment is made with.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The packed set.
    pub pack: PathBuf,
    /// The folder for the runs and the figure.
    pub out: PathBuf,
    /// What each run may cost; as long as its configuration says if there is none.
    pub budget: Option<Budget>,
    /// A packed set of pictures to be shown in place of the validation split's, which may not be shown to everyone.
    pub show: Option<PathBuf>,
    /// What all runs begin with.
    pub start: Start,
}

/// Makes the runs of the experiment in `file` and draws `losses.svg`, `trade-off.svg`, `pictures.png` and `README.md`. Runs that are complete are
/// not made again. Returns the page's file, or nothing if it was stopped before the end.
///
/// # Errors
/// If a run fails or a file cannot be written.
pub fn run(
    file: &Path,
    setting: &Setting,
    device: &Device,
    stop: &AtomicBool,
    watcher: &mut dyn Watcher,
) -> anyhow::Result<Option<PathBuf>> {
    let plan = Plan::read(file)?;
    let mut entries = plan.entries(file)?;
    for entry in &mut entries {
        entry.config = setting.start.of(&entry.config);
        // What has begun has them.
        if !run_folder::config_file(&setting.out.join(entry.folder())).exists() {
            entry.config.ensure_encoder_weights().with_context(|| format!("the entry {:?} of {}", entry.label, file.display()))?;
        }
    }
    setting.start.tell_what_is_unused(entries.iter().map(|entry| &entry.config), watcher);
    if plan.single_picture {
        for entry in &mut entries {
            let data = &mut entry.config.data;
            *data = LaneConfig { order: data.order, clip_share: 0.0, ..data.validation() };
            entry.config.input_size = [data.width, data.height];
        }
    }
    let Setting { pack, out, budget, .. } = setting;
    train::verify_pictures(&PackedSet::open(pack)?, watcher)?;
    let single;
    let pack = if plan.single_picture {
        let LaneConfig { width, height, .. } = entries[0].config.data;
        single = single::picture_set(&PackedSet::open(pack)?, [width, height], &out.join("picture"))?;
        &single
    } else {
        pack
    };
    for entry in &entries {
        watcher.say(&format!("{}:", entry.label));
        let made = train_entry(entry, pack, &out.join(entry.folder()), *budget, device, stop, watcher);
        match made {
            // A range test is meant to end where nothing is finite any more.
            Err(error) if plan.over == Over::LearningRate && error.is::<train::Diverged>() => watcher.say(&format!("{error:#}")),
            made => drop(made?),
        }
        if stop.load(Ordering::Relaxed) {
            watcher.say("stopped; the same command goes on from here");
            return Ok(None);
        }
    }
    let page = figure::draw(&plan, &entries, &PackedSet::open(pack)?, setting)?;
    let readme = out.join("README.md");
    write_atomically(&readme, page.as_bytes())?;
    Ok(Some(readme))
}

/// What runs begin with beside their configurations.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Weights for the pretrained encoders of those that have one.
    pub encoder_weights: Option<PathBuf>,
    /// Whether one worker does all, as on a GPU. Workers are for the cores of a CPU.
    pub one_worker: bool,
}

impl Start {
    /// `config` so begun.
    fn of(&self, config: &RunConfig) -> RunConfig {
        let mut config = config.clone();
        if let Some(file) = &self.encoder_weights {
            config.take_encoder_weights(file);
        }
        if self.one_worker {
            config.workers = 1;
        }
        config
    }

    /// Says so where weights are given that none of `configs` takes.
    fn tell_what_is_unused<'a>(&self, mut configs: impl Iterator<Item = &'a RunConfig>, watcher: &mut dyn Watcher) {
        if let Some(file) = &self.encoder_weights
            && !configs.any(|config| config.clone().take_encoder_weights(file))
        {
            watcher.say(&format!("no configuration takes the encoder weights {}", file.display()));
        }
    }
}

/// Makes one run, or the rest of it.
///
/// # Errors
/// If it fails, or if the folder holds a run of another configuration or budget.
pub fn train_entry(
    entry: &Entry,
    pack: &Path,
    run: &Path,
    budget: Option<Budget>,
    device: &Device,
    stop: &AtomicBool,
    watcher: &mut dyn Watcher,
) -> anyhow::Result<Ended> {
    let budget_file = run.join("budget.txt");
    let allowed = budget.map_or_else(|| "as many steps as the configuration says".into(), |budget| budget.to_string());
    if run_folder::config_file(run).exists() {
        let stored = RunConfig::read(&run_folder::config_file(run))?;
        // Read at the beginning only, and perhaps by another name.
        let given_now = RunConfig { encoder_weights: stored.encoder_weights.clone(), ..within(&entry.config, stored.steps) };
        let given = std::fs::read_to_string(&budget_file).with_context(|| format!("read {}", budget_file.display()))?;
        ensure!(
            stored == train::in_its_place(&given_now)? && given == allowed,
            "{} holds a run that was made with another configuration or another budget ({given}; now {allowed}); choose another folder, or remove it",
            run.display()
        );
        return train::resume(run, Some(pack), std::slice::from_ref(device), stop, watcher);
    }
    let steps = match budget {
        Some(budget) => match budget.steps(&within(&entry.config, entry.config.steps), pack, device, stop)? {
            Some(steps) => steps,
            None => return Ok(Ended::Stopped),
        },
        None => entry.config.steps,
    };
    watcher.say(&format!("{steps} steps ({allowed})"));
    write_atomically(&budget_file, allowed.as_bytes())?;
    train::start(run, &within(&entry.config, steps), pack, std::slice::from_ref(device), stop, watcher)
}

/// `config` for `steps` steps: what is counted in steps keeps its share of the run.
fn within(config: &RunConfig, steps: u64) -> RunConfig {
    let mut config = config.clone();
    let share = |part: u64| (part as f64 * steps as f64 / config.steps.max(1) as f64).round() as u64;
    let (warmup, phases) =
        (share(config.schedule.warmup_steps), config.adversarial.as_ref().map(|a| [a.generator_steps, a.critic_steps].map(share)));
    config.schedule.warmup_steps = warmup;
    if let (Some(adversarial), Some([generator, critic])) = (&mut config.adversarial, phases) {
        (adversarial.generator_steps, adversarial.critic_steps) = (generator, critic);
    }
    config.steps = steps;
    // Figures are made of the whole run.
    config.evaluate_every = config.evaluate_every.max(steps.div_ceil(4));
    config
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use super::*;

    #[test]
    fn every_experiment_that_comes_with_the_trainer_has_entries_that_differ() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/experiments");
        let mut count = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let file = file.unwrap().path();
            let plan = Plan::read(&file).unwrap();
            let entries = plan.entries(&file).unwrap();
            for (index, entry) in entries.iter().enumerate() {
                assert!(entries[..index].iter().all(|other| other.config != entry.config), "{}: {}", file.display(), entry.label);
            }
            assert!(entries.len() > 1 || plan.single_picture || plan.over == Over::LearningRate, "{}", file.display());
            count += 1;
        }
        assert_eq!(count, 9, "experiments");
    }

    #[test]
    fn what_an_entry_sets_changes_that_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("base.toml"), "steps = 7\n[loss]\nlambda = 0.9\ntemporal_weight = 0.25\n").unwrap();
        let file = folder.path().join("experiment.toml");
        let text = "question = \"?\"\nbase = \"base.toml\"\n[[entry]]\nlabel = \"Lambda 0.5!\"\nset = { loss = { lambda = 0.5 } }\n";
        std::fs::write(&file, text).unwrap();
        let entries = Plan::read(&file).unwrap().entries(&file).unwrap();
        let config = &entries[0].config;
        assert_eq!((config.steps, config.loss.lambda, config.loss.temporal_weight), (7, 0.5, 0.25));
        assert_eq!(entries[0].folder(), "lambda-0.5");
        let refused = |text: &str| {
            std::fs::write(&file, text).unwrap();
            format!("{:#}", Plan::read(&file).unwrap().entries(&file).unwrap_err())
        };
        let said = refused(&text.replace("lambda = 0.5", "lambada = 0.5"));
        assert!(said.contains("lambada") && said.contains("Lambda 0.5!"), "{said}");
        let said = refused(&format!("{text}[[entry]]\nlabel = \"lambda-0.5\"\n"));
        assert!(said.contains("another entry"), "{said}");
    }

    #[test]
    fn phases_keep_their_share_of_a_shorter_run() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/losses/nogan.toml");
        let config = RunConfig::read(&file).unwrap();
        let [whole, short] = [config.steps, config.steps / 10].map(|steps| within(&config, steps));
        let phases = |config: &RunConfig| config.adversarial.as_ref().map(|a| [a.generator_steps, a.critic_steps]).unwrap();
        assert_eq!(phases(&whole), phases(&config));
        assert_eq!(phases(&short), phases(&config).map(|steps| steps / 10));
        assert!(phases(&short).iter().sum::<u64>() < short.steps, "the two never learn together");
    }
}
