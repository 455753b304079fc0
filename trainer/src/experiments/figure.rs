//! What an experiment shows: losses, the trade-off between decibels and color, pictures, and a table.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use autochrome_model::{Colorizer, Decode};
use image::RgbImage;

use super::{Entry, Over, Plan, Setting};
use crate::data::shard::PackedSet;
use crate::data::split::Split;
use crate::decodes;
use crate::evaluate::{self, Contestant, Exhibits, Kind, Share};
use crate::export;
use crate::figure::pictures::write_png;
use crate::figure::strip;
use crate::files::write_atomically;
use crate::plot::{Chart, Series};

/// The temperatures of the trade-off, from nearly the mode to the mean.
const TEMPERATURES: [f32; 6] = [0.1, 0.25, 0.38, 0.6, 0.8, 1.0];
/// Validation stills of each source that are measured, evenly spread.
const STILLS: usize = 40;
/// Pictures shown.
const SHOWN: usize = 8;
/// How tall the pictures of a temperature strip are.
const STRIP_HEIGHT: u32 = 112;
/// Points of a loss curve over steps, at most: each is the mean of so many lines of the log as that takes.
const POINTS: usize = 60;
/// Of the lines of a range test, the share on either side of a point that it is the median of: neighboring steps see other pictures, which moves the
/// loss more than the rate does.
const NEIGHBORS: f64 = 0.04;

/// Draws the figures of the finished `entries`; returns the page that shows them.
///
/// # Errors
/// If a run is not there, cannot be exported, or a file cannot be written.
pub(super) fn draw(plan: &Plan, entries: &[Entry], set: &PackedSet, setting: &Setting) -> anyhow::Result<String> {
    let out = &setting.out;
    let range_test = plan.over == Over::LearningRate;
    let mut losses = Vec::new();
    let mut rows = String::new();
    for entry in entries {
        let log = Log::read(&out.join(entry.folder()))?;
        losses.push(Series::new(&entry.label, log.losses(plan.over)));
        let _ = write!(rows, "| {} | {} | {:.4} | {} |", entry.label, log.steps, log.last_loss, log.validation_loss);
        if range_test {
            let (steepest, best) = log.suggested_rates();
            let _ = write!(rows, " {steepest:.1e} | {best:.1e} |");
        }
        rows.push('\n');
    }
    let chart = Chart {
        title: plan.question.clone(),
        x: if range_test { "learning rate" } else { "steps" }.into(),
        y: "training loss".into(),
        logarithmic_x: range_test,
        series: losses,
        ..Chart::default()
    };
    write_atomically(&out.join("losses.svg"), chart.to_svg().as_bytes())?;
    let spent = setting.budget.map_or_else(String::new, |budget| format!("Each run had {budget}.\n\n"));
    let [more, rule] = if range_test { [" steepest at | least at |", " --- | --- |"] } else { ["", ""] };
    let mut page = format!(
        "# {}\n\n{spent}| | steps | last training loss | validation loss |{more}\n| --- | --- | --- | --- |{rule}\n{rows}\n![losses](losses.svg)\n",
        plan.question
    );
    if range_test {
        page += "\nThe loss falls most steeply at the first of the two rates, a good peak for a schedule; where it is least, it is about to explode.\n";
    }
    if entries.windows(2).any(|pair| minimized(&pair[0]) != minimized(&pair[1])) {
        page += "\nThe entries minimize different sums, or are validated on other frames (a memory on moving ones): each loss can be compared with itself only.\n";
    }
    if !range_test {
        page += &measured(plan, entries, set, setting)?;
    }
    Ok(page)
}

/// What decides the meaning of an entry's loss.
fn minimized(entry: &Entry) -> impl PartialEq + '_ {
    let config = &entry.config;
    let remembers = !config.net.state_shapes(config.data.height, config.data.width).is_empty();
    (&config.loss, &config.adversarial, &config.bins, config.output, remembers)
}

/// A strip for each entry with bins: grey | the mode | the temperatures | truth, a picture a row; the page's part about them.
fn strips(entries: &[Entry], shown: &Exhibits<'_>, out: &Path) -> anyhow::Result<String> {
    let decodes: Vec<Decode> = std::iter::once(Decode::Argmax).chain(decodes::annealed(&TEMPERATURES)).collect();
    let columns: Vec<String> = decodes.iter().map(|&decode| decodes::caption(decode)).collect();
    let mut page = format!("\nThe same networks' output decoded as grey | {} | truth.\n", columns.join(" | "));
    for entry in entries {
        let colorizer = Colorizer::from_proto(&entry.label, &export::float_of_run(&out.join(entry.folder()))?)?;
        if !decodes::has_bins(&colorizer) {
            continue;
        }
        let mut painter = [decodes::painter(colorizer)];
        let mut rows = Vec::new();
        for item in shown.some_stills(SHOWN) {
            let (set, width, height) = (shown.set(), item.width, item.height);
            let picture = RgbImage::from_raw(width, height, set.picture(item).to_vec()).context("a picture of a packed set")?;
            rows.push(decodes::row(&mut painter, &picture, &decodes)?);
        }
        let name = format!("temperatures-{}.png", entry.folder());
        write_png(&out.join(&name), &strip(&rows, STRIP_HEIGHT)?)?;
        let _ = write!(page, "\n{}:\n\n![{}]({name})\n", entry.label, entry.label);
    }
    Ok(page)
}

/// Measures the runs as `eval` does; the trade-off, the pictures, and the page's part about them.
fn measured(plan: &Plan, entries: &[Entry], set: &PackedSet, setting: &Setting) -> anyhow::Result<String> {
    let out = &setting.out;
    let exhibits = Exhibits::choose(set, Share::Of(Split::Validation), STILLS)?;
    let mut contestants = vec![Contestant::grey()];
    for entry in entries {
        let mut contestant = Contestant::from_run(&out.join(entry.folder()))?;
        contestant.name = entry.label.clone();
        contestants.push(contestant);
    }
    let measures = evaluate::Plan { temperatures: TEMPERATURES.to_vec(), moving: true, ..evaluate::Plan::default() };
    let found = evaluate::evaluate(contestants, &exhibits, None, &measures, &mut |_, _| ())?;
    let curve = |row: &evaluate::Row| {
        let points = row.trade_off().into_iter().map(|(_, share, gain)| (share, gain)).collect();
        Series::new(&row.name, points)
    };
    let chart = Chart {
        title: "The trade-off over the temperature".into(),
        x: "colorfulness, % of the truth's".into(),
        y: "gain over grey, dB".into(),
        dots: true,
        series: found.rows.iter().filter(|row| row.kind != Kind::Grey).map(curve).collect(),
        ..Chart::default()
    };
    write_atomically(&out.join("trade-off.svg"), chart.to_svg().as_bytes())?;
    let shown = setting.show.as_deref().map(PackedSet::open).transpose()?;
    let shown = shown.as_ref().map(Exhibits::to_show).transpose()?;
    let shown = shown.as_ref().unwrap_or(&exhibits);
    let mut models = Vec::new();
    for entry in entries {
        models.push(Colorizer::from_proto(&entry.label, &export::float_of_run(&out.join(entry.folder()))?)?);
    }
    let pictures = SHOWN.min(shown.stills().len());
    evaluate::sample_grid(models, shown, pictures, &out.join("pictures.png"))?;
    let twice = if pictures > 1 { ", twice in a row" } else { "" };
    let order: Vec<&str> = entries.iter().map(|entry| entry.label.as_str()).collect();
    let strips = if plan.temperature_strips { strips(entries, shown, out)? } else { String::new() };
    Ok(format!(
        "\nMeasured as exported float files on {}, from a zero state, and on {} with the state carried, each at its default \
         temperature. `eval --report` says what each figure means.\n\n{}\n![trade-off](trade-off.svg)\n\nFrom left to right: grey | {} | truth{twice}.\n\n\
         ![pictures](pictures.png)\n{strips}",
        evaluate::table::counted(found.conditions.stills, "validation still"),
        evaluate::table::counted(found.conditions.clips, "clip"),
        evaluate::table::markdown(&found),
        order.join(" | ")
    ))
}

fn median(lines: &[[f64; 3]]) -> f64 {
    let mut losses: Vec<f64> = lines.iter().map(|line| line[2]).collect();
    losses.sort_by(f64::total_cmp);
    losses[losses.len() / 2]
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
        // A loss that is no number was written as null, and is not the one before it.
        let newest = all.iter().rev().find(|line| line.get("validation_loss").is_some());
        let validation = newest.and_then(|line| number(line, "validation_loss"));
        let validation_loss = validation.map_or("-".into(), |loss| format!("{loss:.4}"));
        Ok(Self { lines, steps: step as u64, last_loss: loss, validation_loss })
    }

    /// The smoothed loss over steps or learning rates.
    fn losses(&self, over: Over) -> Vec<(f64, f64)> {
        let mean = |lines: &[[f64; 3]]| lines.iter().map(|line| line[2]).sum::<f64>() / lines.len() as f64;
        match over {
            Over::Step => {
                let group = self.lines.len().div_ceil(POINTS).max(1);
                self.lines.chunks(group).map(|lines| (lines[lines.len() / 2][0], mean(lines))).collect()
            }
            Over::LearningRate => {
                let reach = self.reach();
                let around = |at: usize| &self.lines[at.saturating_sub(reach)..(at + reach + 1).min(self.lines.len())];
                self.lines.iter().enumerate().map(|(at, line)| (line[1], median(around(at)))).collect()
            }
        }
    }

    /// How many lines on either side a point of a range test is made of.
    fn reach(&self) -> usize {
        (self.lines.len() as f64 * NEIGHBORS).ceil() as usize
    }

    /// Where the smoothed loss falls most steeply and where it is least, of a range test: the first is a good peak, the second too much.
    fn suggested_rates(&self) -> (f64, f64) {
        let points = self.losses(Over::LearningRate);
        let least = points.iter().copied().fold((f64::NAN, f64::INFINITY), |best, p| if p.1 < best.1 { p } else { best });
        let falling = &points[..points.iter().take_while(|p| p.0 < least.0).count()];
        // From one median to the next the loss moves in jumps; over a window of them it has a slope.
        let reach = self.reach();
        let slopes = falling.windows(2 * reach + 1).map(|window| (window[reach].0, window[2 * reach].1 - window[0].1));
        (slopes.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(f64::NAN, |(rate, _)| rate), least.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_test_suggests_the_steepest_rate_and_the_least_loss_in_spite_of_noise() {
        // 140 rates from 1e-6 to 10: the loss falls by 3 around 1e-3, is least at 3e-2 and explodes; every line is up to 0.4 off, and one that is
        // much too low stands where nothing is learned.
        let lines: Vec<[f64; 3]> = (0..140)
            .map(|i| {
                let exponent = -6.0 + f64::from(i) / 20.0;
                let falls = 3.0 / (1.0 + (-4.0 * (exponent + 3.0)).exp());
                let explodes = (6.0 * (exponent + 0.5)).exp();
                let noise = if i == 20 { -4.0 } else { 0.4 * (f64::from(i) * 2.4).sin() };
                [f64::from(i), 10_f64.powf(exponent), 5.0 - falls + explodes + noise]
            })
            .collect();
        let log = Log { lines, steps: 140, last_loss: 9.0, validation_loss: "-".into() };
        let (steepest, least) = log.suggested_rates();
        assert!((steepest.log10() + 3.0).abs() < 0.35, "{steepest:e}");
        assert!((-2.2..-1.0).contains(&least.log10()), "{least:e}");
    }
}
