//! What was found as text, and what each figure means.

use std::fmt::Write as _;

use super::colorist::Kind;
use super::comparison::{Comparison, Conditions, Row};
use crate::metrics::SSIM_SIDE;

/// Which of two values of a figure is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    Higher,
    Lower,
    NearerTheTruth,
}

/// What a figure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Nearness,
    Colorfulness,
    Steadiness,
}

impl Group {
    pub(super) const ALL: [Self; 3] = [Self::Nearness, Self::Colorfulness, Self::Steadiness];

    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::Nearness => "Nearness to the truth",
            Self::Colorfulness => "Colorfulness",
            Self::Steadiness => "Steadiness",
        }
    }
}

/// A figure: its name, what it means, and how it is read from a row.
pub(super) struct Column {
    pub(super) group: Group,
    pub(super) heading: &'static str,
    pub(super) unit: &'static str,
    pub(super) meaning: &'static str,
    pub(super) better: Better,
    /// The figure in the unit that is shown; absent where it does not apply or was not measured.
    pub(super) value: fn(&Row) -> Option<f64>,
    decimals: usize,
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Signed,
    /// With how far it is from the truth's, in percent.
    BesideTruth,
}

const fn column(
    group: Group,
    heading: &'static str,
    unit: &'static str,
    better: Better,
    (form, decimals): (Form, usize),
    value: fn(&Row) -> Option<f64>,
    meaning: &'static str,
) -> Column {
    Column { group, heading, unit, meaning, better, value, decimals, form }
}

/// All figures, in the order in which they are shown.
pub(super) const COLUMNS: [Column; 19] = {
    use Better::{Higher, Lower, NearerTheTruth};
    use Form::{BesideTruth, Plain, Signed};
    use Group::{Colorfulness, Nearness, Steadiness};
    [
        column(
            Nearness,
            "PSNR",
            "dB",
            Higher,
            (Plain, 2),
            |r| Some(r.all().against_truth.as_ref()?.psnr),
            "Peak signal-to-noise ratio of RGB: the truth's lightness with the found colors, against the truth.",
        ),
        column(
            Nearness,
            "gain",
            "dB",
            Higher,
            (Signed, 2),
            |r| Some(r.all().against_truth.as_ref()?.gain),
            "PSNR above that of the grey picture: below 0, no color would have been nearer.",
        ),
        column(
            Nearness,
            "SSIM",
            "",
            Higher,
            (Plain, 4),
            |r| Some(r.all().against_truth.as_ref()?.ssim),
            "Structural similarity of the same pictures, 11x11 windows; lightness is true, so it is high everywhere.",
        ),
        column(
            Nearness,
            "ab",
            "Lab",
            Lower,
            (Plain, 2),
            |r| Some(r.all().against_truth.as_ref()?.ab_distance),
            "Mean over the pixels of the Euclidean distance to the true color in the ab plane.",
        ),
        column(
            Nearness,
            "AuC",
            "%",
            Higher,
            (Plain, 1),
            |r| Some(r.all().against_truth.as_ref()?.auc * 100.0),
            "Share of pixels within a tolerance of the true color, averaged over tolerances of 0 to 150; grey scores high.",
        ),
        column(
            Nearness,
            "AuC reb.",
            "%",
            Higher,
            (Plain, 1),
            |r| Some(r.all().against_truth.as_ref()?.auc_rebalanced * 100.0),
            "The same, rare colors counting more (Zhang's published prior, lambda 0.5).",
        ),
        column(
            Nearness,
            "FID",
            "",
            Lower,
            (Plain, 2),
            |r| r.all().against_truth.as_ref()?.fid,
            "Frechet distance of a feature network's features; few pictures raise it, so compare only within this table.",
        ),
        column(
            Nearness,
            "LPIPS",
            "",
            Lower,
            (Plain, 4),
            |r| r.all().against_truth.as_ref()?.lpips,
            "Perceptual distance to the truth by a trained network.",
        ),
        column(
            Colorfulness,
            "CF",
            "",
            NearerTheTruth,
            (Plain, 1),
            |r| Some(r.all().colorfulness),
            "Colorfulness (Hasler and Suesstrunk) in the form that publications use, with absolute differences.",
        ),
        column(
            Colorfulness,
            "CF share",
            "%",
            NearerTheTruth,
            (Plain, 0),
            |r| Some(r.all().against_truth.as_ref().map_or(1.0, |a| a.colorfulness_share) * 100.0),
            "Colorfulness as a share of the truth's.",
        ),
        column(
            Colorfulness,
            "dCF",
            "",
            Lower,
            (Plain, 1),
            |r| Some(r.all().against_truth.as_ref()?.delta_colorfulness),
            "How far the mean colorfulness is from the truth's.",
        ),
        column(
            Colorfulness,
            "CF signed",
            "",
            NearerTheTruth,
            (Plain, 1),
            |r| Some(r.all().colorfulness_signed),
            "Colorfulness as its authors define it, with signed differences.",
        ),
        column(
            Colorfulness,
            "chroma",
            "%",
            NearerTheTruth,
            (Plain, 0),
            |r| Some(r.all().against_truth.as_ref().map_or(1.0, |a| a.saturation_retention) * 100.0),
            "Saturation retention: mean distance from grey as a share of the truth's.",
        ),
        column(
            Colorfulness,
            "bleed",
            "",
            NearerTheTruth,
            (Plain, 3),
            |r| r.all().bleeding,
            "Change of color where the picture is flat over change of color on its edges: color that runs over edges raises it.",
        ),
        column(
            Steadiness,
            "CDC",
            "",
            NearerTheTruth,
            (BesideTruth, 5),
            |r| Some(r.moving.as_ref()?.clips?.cdc),
            "Color distribution consistency of real clips: how much histograms change from frame to frame, and how far that is from the truth's.",
        ),
        column(
            Steadiness,
            "CDC films",
            "",
            NearerTheTruth,
            (BesideTruth, 5),
            |r| Some(r.moving.as_ref()?.films.cdc),
            "The same on photographs that a synthetic camera films.",
        ),
        column(
            Steadiness,
            "warp",
            "Lab",
            Lower,
            (Plain, 2),
            |r| Some(r.moving.as_ref()?.films.warp_error),
            "Change of a thing's color while it moves, along the exactly known motion; grey has none, and the truth's comes from resampling.",
        ),
        column(
            Steadiness,
            "flicker",
            "Lab",
            Lower,
            (Plain, 3),
            |r| Some(r.moving.as_ref()?.scene?.flicker),
            "Standard deviation of ab over time on a scene that stands still, 640x480 with sensor noise of 5 codes.",
        ),
        column(
            Steadiness,
            "settling",
            "frames",
            Lower,
            (Plain, 1),
            |r| Some(r.moving.as_ref()?.scene?.settling_frames),
            "Frames after a reset of the state before the colors stay within 2 Lab units of the mean of the last 20 of 40 frames; at most 20 can be seen.",
        ),
    ]
};

impl Column {
    /// The figure as it is shown; a dash where there is none.
    pub(super) fn text(&self, row: &Row, truth: &Row) -> String {
        let Some(value) = (self.value)(row).filter(|value| value.is_finite()) else { return "-".into() };
        let decimals = self.decimals;
        match self.form {
            Form::Plain => format!("{value:.decimals$}"),
            Form::Signed => format!("{value:+.decimals$}"),
            Form::BesideTruth => match (self.value)(truth) {
                Some(true_value) if row.kind != Kind::Truth && true_value > 0.0 => {
                    format!("{value:.decimals$} {:+.0}%", 100.0 * (value / true_value - 1.0))
                }
                _ => format!("{value:.decimals$}"),
            },
        }
    }

    /// The rows that have the best value as it is shown, among those that color; none where all of these do.
    pub(super) fn best(&self, comparison: &Comparison) -> Vec<bool> {
        let true_value = (self.value)(&comparison.truth);
        let cost = |row: &Row| {
            let value = (self.value)(row).filter(|value| value.is_finite() && !matches!(row.kind, Kind::Truth | Kind::Grey))?;
            match self.better {
                Better::Higher => Some(-value),
                Better::Lower => Some(value),
                Better::NearerTheTruth => Some((value - true_value?).abs()),
            }
        };
        // What looks the same is the same: the difference would be smaller than anyone should read into it.
        let scale = 10.0_f64.powi(self.decimals as i32);
        let costs: Vec<Option<f64>> = comparison.rows.iter().map(|row| cost(row).map(|cost| (cost * scale).round())).collect();
        let least = costs.iter().flatten().copied().fold(f64::INFINITY, f64::min);
        let differ = costs.iter().flatten().any(|cost| *cost != least);
        costs.iter().map(|cost| differ && *cost == Some(least)).collect()
    }

    /// Whether any row has this figure.
    pub(super) fn measured(&self, comparison: &Comparison) -> bool {
        comparison.rows.iter().any(|row| (self.value)(row).is_some())
    }
}

/// The whole comparison as text: one line a row over all stills, then gain and colorfulness by source and temperature.
pub fn text(comparison: &Comparison) -> String {
    let Comparison { conditions, truth, rows, .. } = comparison;
    let mut out = format!(
        "{}, {} split: {} of {} pixels, {}{}\n\n",
        conditions.set,
        conditions.split,
        counted(conditions.stills, "still"),
        conditions.short_side,
        counted(conditions.clips, "clip"),
        left_out(conditions)
    );
    let shown: Vec<&Column> = COLUMNS.iter().filter(|column| column.measured(comparison)).collect();
    let mut lines = vec![Vec::from(["".to_owned(), "T".to_owned()]), Vec::from([String::new(), String::new()])];
    lines[0].extend(shown.iter().map(|column| column.heading.to_owned()));
    lines[1].extend(shown.iter().map(|column| column.unit.to_owned()));
    for row in rows.iter().chain([truth]) {
        let temperature = row.temperature.map_or(String::new(), |t| t.to_string());
        let mut line = vec![row.name.clone(), temperature];
        line.extend(shown.iter().map(|column| column.text(row, truth)));
        lines.push(line);
    }
    out += &aligned(&lines);
    let absent: Vec<&str> = COLUMNS.iter().filter(|column| !column.measured(comparison)).map(|column| column.heading).collect();
    if !absent.is_empty() {
        let _ = writeln!(out, "not measured: {}", absent.join(", "));
    }
    if rows.iter().any(|row| !row.curve.is_empty()) {
        let headings = ["", "source", "stills", "T", "PSNR", "grey", "gain", "CF", "truth", "", "CF signed", "truth", ""];
        let mut lines = vec![headings.map(str::to_owned).to_vec()];
        for row in rows {
            for q in &row.curve {
                let share = |found: f64, truth: f64| format!("{:.0}%", 100.0 * found / truth);
                lines.push(vec![
                    row.name.clone(),
                    q.source.clone(),
                    q.pictures.to_string(),
                    q.temperature.to_string(),
                    format!("{:.2}", q.psnr),
                    format!("{:.2}", q.psnr_grey),
                    format!("{:+.2}", q.gain()),
                    format!("{:.1}", q.colorfulness),
                    format!("{:.1}", q.colorfulness_truth),
                    share(q.colorfulness, q.colorfulness_truth),
                    format!("{:.1}", q.colorfulness_signed),
                    format!("{:.1}", q.colorfulness_signed_truth),
                    share(q.colorfulness_signed, q.colorfulness_signed_truth),
                ]);
            }
        }
        out += "\n";
        out += &aligned(&lines);
    }
    out
}

/// One line a row over all stills, as a Markdown table; the best of each column stands out.
pub fn markdown(comparison: &Comparison) -> String {
    let shown: Vec<&Column> = COLUMNS.iter().filter(|column| column.measured(comparison)).collect();
    let best: Vec<Vec<bool>> = shown.iter().map(|column| column.best(comparison)).collect();
    let mut out = String::from("| |");
    for column in &shown {
        let unit = if column.unit.is_empty() { String::new() } else { format!(", {}", column.unit) };
        let _ = write!(out, " {}{unit} |", column.heading);
    }
    let _ = writeln!(out, "\n| --- |{}", " ---: |".repeat(shown.len()));
    for (index, row) in comparison.rows.iter().chain([&comparison.truth]).enumerate() {
        let _ = write!(out, "| {} |", row.name);
        for (column, best) in shown.iter().zip(&best) {
            let text = column.text(row, &comparison.truth);
            let _ = if best.get(index).is_some_and(|best| *best) { write!(out, " **{text}** |") } else { write!(out, " {text} |") };
        }
        out.push('\n');
    }
    out
}

/// JSON lines: the conditions, the truth's figures, and each row's.
///
/// # Errors
/// Never; figures are plain data.
pub fn json_lines(comparison: &Comparison) -> serde_json::Result<String> {
    let mut lines = vec![serde_json::to_string(&serde_json::json!({ "conditions": comparison.conditions }))?];
    for row in std::iter::once(&comparison.truth).chain(&comparison.rows) {
        lines.push(serde_json::to_string(row)?);
    }
    Ok(lines.join("\n") + "\n")
}

/// A number and its noun.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What was too small or had no color, to be said behind what was measured; nothing if nothing was.
pub(super) fn left_out(conditions: &Conditions) -> String {
    let reasons = [(conditions.too_small, format!("below {SSIM_SIDE} pixels a side")), (conditions.colorless, "without color".to_owned())];
    let said: Vec<String> = reasons.into_iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} {why}")).collect();
    if said.is_empty() { String::new() } else { format!("; left out {}", said.join(" and ")) }
}

/// Columns of equal width, the first to the left and the others to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns).map(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate();
        let cells: Vec<String> =
            cells.map(|(i, (cell, &width))| if i == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }).collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
    out
}
