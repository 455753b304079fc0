//! What makes a run's folder explain itself: sample grids, curves, and the model's card.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use autochrome_model::{Colorizer, LumaRange, Painter, contract};

use crate::checkpoint::{Position, write_atomically};
use crate::config::RunConfig;
use crate::data::lanes::Lanes;
use crate::data::shard::PackedSet;
use crate::data::split::Split;
use crate::evaluate::{self, StillQuality};
use crate::export::{self, Provenance, calibrate, quantize};
use crate::nets::Network;

/// Chunks a calibration in the middle of a run looks at: enough to see whether int8 will do.
const CALIBRATION_CHUNKS: u64 = 6;
/// Validation pictures an evaluation in the middle of a run measures.
const PICTURES: usize = 120;
/// Rows of a sample grid.
const GRID_ROWS: usize = 16;

/// Measures `net` (on a plain device) as it would be shipped and writes a sample grid, grey | float | int8 | truth, to `grid`.
///
/// # Errors
/// If the network cannot be exported or the file not written.
pub fn snapshot(net: &Network, config: &RunConfig, set: &Arc<PackedSet>, grid: &Path) -> anyhow::Result<StillQuality> {
    let provenance = Provenance { training: "a snapshot in the middle of a run".into(), license: "none".into() };
    let float = export::float_model(net, config, &provenance)?;
    let lanes: Lanes = export::calibration_lanes(set, config)?;
    let mut int8 = quantize::quantize(&float, &calibrate::calibrate(&float, &lanes, CALIBRATION_CHUNKS)?)?;
    contract::write_card(&mut int8, &contract::check(&float)?.card);
    let models = vec![Colorizer::from_proto("float", &float)?, Colorizer::from_proto("int8", &int8)?];
    evaluate::sample_grid(models, set, Split::Validation, GRID_ROWS, grid)?;
    let mut painter = Painter::new(Colorizer::from_proto("float", &float)?, LumaRange::Full);
    let mut quality = evaluate::stills(&mut painter, set, Split::Validation, None, &[config.temperature], PICTURES)?;
    quality.pop().context("one temperature gives one row")
}

/// Draws the losses in `metrics.jsonl` as `curves.svg`.
///
/// # Errors
/// If the log cannot be read or the picture not written.
pub fn curves(run: &Path) -> anyhow::Result<()> {
    let log = run.join("metrics.jsonl");
    let text = fs::read_to_string(&log).with_context(|| format!("read {}", log.display()))?;
    let lines: Vec<serde_json::Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let series =
        |key: &str| -> Vec<(f64, f64)> { lines.iter().filter_map(|line| Some((line["step"].as_f64()?, line[key].as_f64()?))).collect() };
    let drawn =
        [("loss", "#888888"), ("cross_entropy", "#c26b2c"), ("mean", "#3b7a57"), ("temporal", "#7a4fa3"), ("validation_loss", "#1f5fbf")];
    let all = drawn.map(|(key, color)| (key, color, series(key)));
    let steps = all.iter().flat_map(|(_, _, s)| s).map(|p| p.0).fold(1.0, f64::max);
    let highest = all.iter().flat_map(|(_, _, s)| s).map(|p| p.1).fold(0.1, f64::max);
    const WIDTH: f64 = 860.0;
    const HEIGHT: f64 = 420.0;
    const LEFT: f64 = 60.0;
    const TOP: f64 = 20.0;
    let x = |step: f64| LEFT + WIDTH * step / steps;
    let y = |value: f64| TOP + HEIGHT * (1.0 - value / highest);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1000 480\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"1000\" height=\"480\" fill=\"white\"/>\n<path d=\"M{LEFT} {TOP}V{}H{}\" fill=\"none\" stroke=\"black\"/>\n",
        TOP + HEIGHT,
        LEFT + WIDTH
    );
    for part in 0..=4 {
        let (value, step) = (highest * f64::from(part) / 4.0, steps * f64::from(part) / 4.0);
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{value:.2}</text>", LEFT - 6.0, y(value) + 4.0);
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{step:.0}</text>", x(step), TOP + HEIGHT + 18.0);
    }
    for (index, (name, color, points)) in all.iter().filter(|(_, _, points)| !points.is_empty()).enumerate() {
        let path: String =
            points.iter().enumerate().map(|(i, p)| format!("{}{:.1} {:.1}", if i == 0 { "M" } else { "L" }, x(p.0), y(p.1))).collect();
        let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>");
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" fill=\"{color}\" text-anchor=\"end\">{name}</text>",
            LEFT + WIDTH,
            TOP + 16.0 * (index + 1) as f64
        );
    }
    svg.push_str("</svg>\n");
    write_atomically(&run.join("curves.svg"), svg.as_bytes())
}

/// Writes the run's `card.md`: what was trained, on what, for how long, and how good it is.
///
/// # Errors
/// If the file cannot be written.
pub fn card(
    run: &Path,
    config: &RunConfig,
    set: &PackedSet,
    weights: usize,
    position: &Position,
    quality: &StillQuality,
) -> anyhow::Result<()> {
    let [width, height] = config.input_size;
    let sources: Vec<String> = set
        .manifest()
        .sources
        .iter()
        .map(|source| {
            let items = set.items(Split::Train).iter().filter(|item| &item.source == source).count();
            format!("{source} ({items} items)")
        })
        .collect();
    let frames = position.step * (config.data.lanes * config.data.chunk_frames) as u64;
    let started = config.start_from.as_ref().map_or("random weights".to_owned(), |from| format!("the weights of {}", from.display()));
    let text = format!(
        "# {} {width}x{height}\n\n\
         | | |\n| --- | --- |\n\
         | weights | {weights} |\n\
         | started from | {started} |\n\
         | trained | {} of {} steps, {frames} frames, {:.2} hours |\n\
         | data | {} |\n\
         | validation pictures | {} (from a zero state) |\n\
         | RGB PSNR, truth's L* with predicted ab | {:.2} dB; grey {:.2} dB; gain {:+.2} dB |\n\
         | colorfulness (absolute form) | {:.1} of the truth's {:.1} ({:.0} %) |\n\
         | temperature | {} |\n\n\
         The configuration is in `config.toml`, the losses in `metrics.jsonl` and `curves.svg`, pictures in `samples/`.\n",
        config.name,
        position.step,
        config.steps,
        position.seconds / 3600.0,
        sources.join(", "),
        quality.pictures,
        quality.psnr,
        quality.psnr_grey,
        quality.gain(),
        quality.colorfulness,
        quality.colorfulness_truth,
        100.0 * quality.colorfulness_share(),
        quality.temperature
    );
    write_atomically(&run.join("card.md"), text.as_bytes())
}
