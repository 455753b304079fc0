//! What an experiment shows: losses, the trade-off between decibels and color, pictures, and a table.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use autochrome_model::{Colorizer, LumaRange, Painter};

use super::{Budget, Entry, Over, Plan};
use crate::checkpoint::write_atomically;
use crate::data::shard::PackedSet;
use crate::data::split::Split;
use crate::evaluate::{self, Exhibits, Share};
use crate::export;
use crate::plot::{Chart, Series};

/// The temperatures of the trade-off, from nearly the mode to the mean.
const TEMPERATURES: [f32; 6] = [0.1, 0.25, 0.38, 0.6, 0.8, 1.0];
/// Validation pictures measured, evenly spread.
const PICTURES: usize = 120;
/// Pictures shown.
const SHOWN: usize = 8;
/// Lines of the log that a point of a loss curve is the mean of, at most so many points.
const POINTS: usize = 60;

/// Draws the figures of the finished `entries` into `out`; returns the page that shows them.
///
/// # Errors
/// If a run is not there, cannot be exported, or a file cannot be written.
pub(super) fn draw(plan: &Plan, entries: &[Entry], set: &Arc<PackedSet>, out: &Path, budget: Option<Budget>) -> anyhow::Result<String> {
    let exhibits = Exhibits::choose(set, Share::Of(Split::Validation), usize::MAX)?;
    let mut losses = Vec::new();
    let mut trade_off = Vec::new();
    let mut models = Vec::new();
    let mut rows = String::new();
    for entry in entries {
        let run = out.join(entry.folder());
        let log = Log::read(&run)?;
        losses.push(Series::new(&entry.label, log.losses(plan.over)));
        let _ = write!(rows, "| {} | {} | {:.4} | {} |", entry.label, log.steps, log.last_loss, log.validation_loss);
        if plan.over == Over::LearningRate {
            let (steepest, best) = log.suggested_rates();
            let _ = writeln!(rows, " {steepest:.1e} | {best:.1e} |");
            continue;
        }
        let model = export::float_of_run(&run)?;
        let mut painter = Painter::new(Colorizer::from_proto(&entry.label, &model)?, LumaRange::Full);
        let default = painter.colorizer().contract().card.temperature;
        let temperatures: Vec<f32> = std::iter::once(default).chain(TEMPERATURES).collect();
        let measured = evaluate::stills(&mut painter, set, Split::Validation, &temperatures, PICTURES)?;
        let _ = writeln!(rows, " {:+.2} | {:.0} % |", measured[0].gain(), 100.0 * measured[0].colorfulness_share());
        let curve = measured[1..].iter().map(|q| (100.0 * q.colorfulness_share(), q.gain())).collect();
        trade_off.push(Series::new(&entry.label, curve));
        models.push(Colorizer::from_proto(&entry.label, &model)?);
    }
    let x = match plan.over {
        Over::Step => "steps",
        Over::LearningRate => "learning rate",
    };
    let chart = Chart {
        title: plan.question.clone(),
        x: x.into(),
        y: "training loss".into(),
        logarithmic_x: plan.over == Over::LearningRate,
        series: losses,
        ..Chart::default()
    };
    write_atomically(&out.join("losses.svg"), chart.to_svg().as_bytes())?;
    let columns = if plan.over == Over::LearningRate { "steepest at | least at" } else { "gain over grey, dB | colorfulness" };
    let spent = budget.map_or_else(String::new, |budget| format!(" Each run had {budget}."));
    let mut page = format!(
        "# {}\n\n{} validation pictures, from a zero state, at each configuration's default temperature.{spent}\n\n\
         | | steps | last training loss | validation loss | {columns} |\n| --- | --- | --- | --- | --- | --- |\n{rows}\n\
         ![losses](losses.svg)\n",
        plan.question,
        exhibits.stills().len().min(PICTURES)
    );
    if !models.is_empty() {
        let chart = Chart {
            title: "The trade-off over the temperature".into(),
            x: "colorfulness, % of the truth's".into(),
            y: "gain over grey, dB".into(),
            dots: true,
            series: trade_off,
            ..Chart::default()
        };
        write_atomically(&out.join("trade-off.svg"), chart.to_svg().as_bytes())?;
        evaluate::sample_grid(models, &exhibits, SHOWN.min(exhibits.stills().len()), &out.join("pictures.png"))?;
        let order: Vec<&str> = entries.iter().map(|entry| entry.label.as_str()).collect();
        let _ = write!(
            page,
            "\n![trade-off](trade-off.svg)\n\nFrom left to right: grey | {} | truth, twice in a row.\n\n![pictures](pictures.png)\n",
            order.join(" | ")
        );
    }
    Ok(page)
}

/// What `metrics.jsonl` says.
struct Log {
    /// (step, learning rate, loss).
    lines: Vec<[f64; 3]>,
    steps: u64,
    last_loss: f64,
    validation_loss: String,
}

impl Log {
    fn read(run: &Path) -> anyhow::Result<Self> {
        let file = run.join("metrics.jsonl");
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let all: Vec<serde_json::Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let number = |line: &serde_json::Value, key: &str| line[key].as_f64();
        let lines: Vec<[f64; 3]> =
            all.iter().filter_map(|l| Some([number(l, "step")?, number(l, "learning_rate")?, number(l, "loss")?])).collect();
        let [step, _, loss] = *lines.last().with_context(|| format!("{} has no loss", file.display()))?;
        let validation = all.iter().rev().find_map(|line| number(line, "validation_loss"));
        let validation_loss = validation.map_or("-".into(), |loss| format!("{loss:.4}"));
        Ok(Self { lines, steps: step as u64, last_loss: loss, validation_loss })
    }

    /// The loss over steps or learning rates, smoothed to at most 60 points.
    fn losses(&self, over: Over) -> Vec<(f64, f64)> {
        let group = self.lines.len().div_ceil(POINTS);
        let at = |line: &[f64; 3]| if over == Over::Step { line[0] } else { line[1] };
        self.lines
            .chunks(group.max(1))
            .map(|lines| (at(&lines[lines.len() / 2]), lines.iter().map(|line| line[2]).sum::<f64>() / lines.len() as f64))
            .collect()
    }

    /// Where the smoothed loss falls most steeply and where it is least, of a range test: the first is a good peak, the second too much.
    fn suggested_rates(&self) -> (f64, f64) {
        let points = self.losses(Over::LearningRate);
        let least = points.iter().copied().fold((f64::NAN, f64::INFINITY), |best, p| if p.1 < best.1 { p } else { best });
        let before = points.iter().take_while(|p| p.0 < least.0).count();
        let steepest = points[..=before.min(points.len() - 1)].windows(2).min_by(|a, b| (a[1].1 - a[0].1).total_cmp(&(b[1].1 - b[0].1)));
        (steepest.map_or(f64::NAN, |pair| pair[1].0), least.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_test_suggests_the_steepest_rate_and_the_least_loss() {
        // Falls slowly, then fast around 1e-2, is least at 1e-1, and explodes.
        let losses = [5.0, 4.9, 4.8, 3.0, 2.5, 9.0];
        let lines = losses.iter().enumerate().map(|(i, &loss)| [i as f64, 10_f64.powi(i as i32 - 5), loss]).collect();
        let log = Log { lines, steps: 6, last_loss: 9.0, validation_loss: "-".into() };
        assert_eq!(log.suggested_rates(), (1e-2, 1e-1));
    }
}
