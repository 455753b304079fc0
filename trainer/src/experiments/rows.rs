//! A table's rows on disk, a file each: what was measured is not made again, and rows that were made on different machines go into one table.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use burn::tensor::Device;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Budget;
use crate::config::RunConfig;
use crate::data::shard::PackedSet;
use crate::evaluate::{Comparison, Jpeg, Row};
use crate::files::write_atomically;

/// What all rows of a table have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Terms {
    budget: String,
    /// The hash of the packed set.
    data: String,
    /// The hash of the set that is shown, where it is another.
    shown: Option<String>,
    /// Stills a source, where not all were measured.
    limit: Option<usize>,
}

impl Terms {
    pub(super) fn new(budget: Budget, set: &PackedSet, shown: Option<&PackedSet>, limit: usize) -> Self {
        Self {
            budget: budget.to_string(),
            data: set.hash(),
            shown: shown.map(PackedSet::hash),
            limit: (limit != usize::MAX).then_some(limit),
        }
    }

    /// How `other` differs.
    fn difference(&self, other: &Self) -> Option<String> {
        let shown = |terms: &Self| terms.shown.clone().unwrap_or_else(|| "that is measured".into());
        let stills = |terms: &Self| terms.limit.map_or_else(|| "all stills".into(), |limit| format!("{limit} stills a source"));
        let all = [
            ("within", self.budget.clone(), other.budget.clone()),
            ("on the packed set", self.data.clone(), other.data.clone()),
            ("showing the set", shown(self), shown(other)),
            ("on", stills(self), stills(other)),
        ];
        all.into_iter().find(|(_, own, others)| own != others).map(|(what, own, others)| format!("{what} {others} (now: {own})"))
    }
}

/// How a run came to be: the half of a row that no picture tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Effort {
    pub(super) name: String,
    pub(super) steps: u64,
    pub(super) frames: u64,
    pub(super) weights: usize,
    pub(super) multiply_adds: u64,
    pub(super) input: [usize; 2],
    /// What its steps took in the end, minutes of the budget's kind: how many would fit was told by a short trial. Older rows do not say.
    #[serde(default)]
    pub(super) minutes: Option<f64>,
    /// What it was computed with: the same minutes are more steps on a faster machine.
    #[serde(default)]
    pub(super) machine: String,
}

/// The processor's name, as the Linux kernel has it; for a GPU what its driver calls it, or else what Burn does.
pub(super) fn machine(budget: Budget, device: &Device) -> String {
    if matches!(budget, Budget::Minutes(_)) {
        let asked = Command::new("nvidia-smi").args(["--query-gpu=name", "--format=csv,noheader"]).output();
        let told = asked.ok().filter(|output| output.status.success()).and_then(|output| String::from_utf8(output.stdout).ok());
        // Of several kinds it is not told which one this is.
        let text = told.unwrap_or_default();
        let names: BTreeSet<&str> = text.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
        return if names.is_empty() { format!("{device:?}") } else { Vec::from_iter(names).join(" or ") };
    }
    let known = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = known.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.into(), |(_, name)| name.trim().to_owned())
}

/// A configuration's row.
#[derive(Serialize, Deserialize)]
pub(super) struct MadeRow {
    /// What was trained, as its file says; weights that it began with are not told apart.
    pub(super) config: RunConfig,
    pub(super) effort: Effort,
    pub(super) figures: Row,
    /// What it made of the pictures that are shown, in their order.
    pub(super) looks: Vec<Jpeg>,
}

/// What is in a file.
#[derive(Serialize, Deserialize)]
struct Filed<T> {
    terms: Terms,
    #[serde(flatten)]
    content: T,
}

/// The rows and the baselines of one table.
pub(super) struct RowFiles {
    folder: PathBuf,
    terms: Terms,
}

impl RowFiles {
    /// In the table's folder `table`, which need not exist.
    pub(super) fn of(table: &Path, terms: Terms) -> Self {
        Self { folder: table.to_owned(), terms }
    }

    fn row(&self, name: &str) -> PathBuf {
        self.folder.join("rows").join(name).with_added_extension("json")
    }

    fn baselines(&self) -> PathBuf {
        self.folder.join("baselines.json")
    }

    /// The row of the configuration `config` called `name`, if it was made.
    ///
    /// # Errors
    /// If there is a file and it is damaged, or is about another configuration, other pictures or another budget.
    pub(super) fn find(&self, name: &str, config: &RunConfig) -> anyhow::Result<Option<MadeRow>> {
        let file = self.row(name);
        let Some(found) = self.read::<MadeRow>(&file)? else { return Ok(None) };
        ensure!(
            found.config == *config,
            "{} is the row of another configuration than {name} is now; remove it to have it made anew, or choose another folder",
            file.display()
        );
        Ok(Some(found))
    }

    /// Files a row, to be found under its effort's name.
    pub(super) fn keep(&self, row: &MadeRow) -> anyhow::Result<()> {
        self.write(&self.row(&row.effort.name), row)
    }

    /// The truth, grey and the classical methods, if they were measured.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub(super) fn find_baselines(&self) -> anyhow::Result<Option<Comparison>> {
        self.read(&self.baselines())
    }

    /// Files the truth, grey and the classical methods.
    pub(super) fn keep_baselines(&self, found: &Comparison) -> anyhow::Result<()> {
        self.write(&self.baselines(), found)
    }

    fn read<T: DeserializeOwned>(&self, file: &Path) -> anyhow::Result<Option<T>> {
        if !file.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let what =
            || format!("read {}, which is no row of a table as this program writes them; remove it to have it made anew", file.display());
        let found: Filed<T> = serde_json::from_str(&text).with_context(what)?;
        if let Some(difference) = self.terms.difference(&found.terms) {
            anyhow::bail!("{} was made {difference}; remove it to have it made anew, or choose another folder", file.display());
        }
        Ok(Some(found.content))
    }

    fn write<T: Serialize>(&self, file: &Path, content: &T) -> anyhow::Result<()> {
        let folder = file.parent().context("a row's folder")?;
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        write_atomically(file, &serde_json::to_vec(&Filed { terms: self.terms.clone(), content })?)
    }
}
