//! The measurement itself: rounds in which every contender takes its turn.

use std::path::Path;
use std::time::Duration;

use autochrome_model::InstructionSet;

use crate::contender::{Contender, Engine, Entry, Form, Installation};
use crate::statistics::{Spread, correlation, median};
use crate::subject::Subject;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// How often every contender has a turn.
    pub(crate) rounds: usize,
    /// Steps of a turn that count.
    pub(crate) steps: usize,
    /// Recurrent frames whose outputs are compared.
    pub(crate) compared: usize,
}

/// Steps at the start of a turn that do not count: caches are someone else's then.
const TURN_WARM_UP: usize = 2;
/// Between turns. Threads of the last contender may spin for a while after their work.
const PAUSE: Duration = Duration::from_millis(50);

/// What was found about one contender.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Who.
    pub(crate) entry: Entry,
    /// Its own word.
    pub(crate) version: String,
    /// The median step of each turn, in ms.
    pub(crate) turns: Vec<f64>,
    /// Of `turns`.
    pub(crate) ms: Spread,
    /// Ours on as many threads, divided by this one, turn by turn.
    pub(crate) ratio: Option<Spread>,
    /// This one, divided by stock Tract's float on one thread, turn by turn.
    pub(crate) of_tract: Option<Spread>,
    /// Of its outputs with those of ours, or for a float file with those of Tract's float; the first found on this list.
    pub(crate) agreement: Option<f64>,
    /// Reading and preparing the model, once, in ms.
    pub(crate) load_ms: f64,
    /// The most memory it held, in MB.
    pub(crate) memory_mb: f64,
}

impl Row {
    /// The ms of its fastest turn: other work on the machine makes a turn slower, and nothing makes it faster.
    pub(crate) fn fastest(&self) -> f64 {
        self.turns.iter().copied().fold(f64::MAX, f64::min)
    }
}

/// What was found about a network.
#[derive(Clone, Debug)]
pub(crate) struct Findings {
    /// In the order of the entries.
    pub(crate) rows: Vec<Row>,
    /// Entries that could not take part, and why.
    pub(crate) skipped: Vec<(Entry, String)>,
}

impl Findings {
    /// The row of an engine, with the instruction set that this processor is for.
    pub(crate) fn row(&self, engine: Engine, form: Form, threads: usize) -> Option<&Row> {
        let set = InstructionSet::detect();
        self.rows.iter().find(|row| row.entry == Entry { engine, form, threads, set })
    }
}

/// Lets the entries compute `subject` in turns.
///
/// # Errors
/// If a contender ends while it is measured.
pub(crate) fn interleaved(
    entries: &[Entry],
    subject: &Subject,
    installation: &Installation,
    folder: &Path,
    effort: Effort,
) -> anyhow::Result<Findings> {
    let mut contenders = Vec::new();
    let mut skipped = Vec::new();
    for &entry in entries {
        match Contender::start(entry, subject, installation, folder, effort.compared) {
            Ok(contender) => contenders.push((contender, Vec::new())),
            Err(error) => skipped.push((entry, format!("{error:#}"))),
        }
    }
    for round in 0..effort.rounds {
        // Every other round backwards, so that nobody always follows the same neighbor.
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let (contender, turns) = &mut contenders[at];
            std::thread::sleep(PAUSE);
            let steps = contender.steps(TURN_WARM_UP + effort.steps)?;
            turns.push(median(&steps[TURN_WARM_UP..]));
        }
    }
    let set = InstructionSet::detect();
    let find = |engine, form, threads| contenders.iter().find(|(c, _)| c.entry == Entry { engine, form, threads, set });
    let tract = find(Engine::Tract, Form::Float, 1);
    let mut rows: Vec<Row> = Vec::new();
    for (contender, turns) in &contenders {
        let entry = contender.entry;
        // Beside a lesser instruction set's peak stand our kernels for it; those themselves stand beside nothing.
        let ours = Entry { engine: Engine::Ours, form: Form::Int8, threads: entry.threads, set: entry.set };
        let ours = contenders.iter().find(|(c, _)| c.entry == ours && c.entry != entry);
        let model = if entry.form == Form::Float { find(Engine::Tract, Form::Float, 1) } else { find(Engine::Ours, Form::Int8, 1) };
        let model = model.filter(|(model, _)| model.entry != entry && entry.engine != Engine::Peak);
        rows.push(Row {
            entry,
            version: contender.version.clone(),
            turns: turns.clone(),
            ms: Spread::of(turns),
            ratio: ours.map(|(_, ours)| Spread::of_ratios(ours, turns)),
            of_tract: tract.filter(|(tract, _)| tract.entry != entry).map(|(_, tract)| Spread::of_ratios(turns, tract)),
            agreement: model.map(|(model, _)| correlation(&model.outputs, &contender.outputs)),
            load_ms: contender.load_ms,
            memory_mb: f64::NAN,
        });
    }
    for (row, (contender, _)) in rows.iter_mut().zip(&mut contenders) {
        row.memory_mb = contender.memory_mb()?;
    }
    Ok(Findings { rows, skipped })
}
