//! What makes a run's folder explain itself: sample grids, curves, and the model's card.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use autochrome_model::{Colorizer, LumaRange, Painter, contract};

use crate::checkpoint::Position;
use crate::config::RunConfig;
use crate::data::shard::PackedSet;
use crate::data::split::Split;
use crate::evaluate::{self, Exhibits, Share, StillQuality};
use crate::export::calibrate::{Ranges, calibrate};
use crate::export::{self, Provenance, quantize};
use crate::files::write_atomically;
use crate::nets::Network;
use crate::plot::{Chart, Series};

/// Chunks a calibration in the middle of a run looks at: enough to see whether int8 will do.
const CALIBRATION_CHUNKS: u64 = 6;
/// Validation pictures an evaluation in the middle of a run measures.
const PICTURES: usize = 120;
/// What a line of `metrics.jsonl` has besides losses.
pub(crate) const NO_LOSSES: [&str; 10] = [
    "step",
    "gradient_norm",
    "learning_rate",
    "frames_per_s",
    "processor_s",
    "waited_share",
    "beside_share",
    "memory_mb",
    "gain_db",
    "colorfulness_share",
];
/// Rows of a sample grid.
const GRID_ROWS: usize = 16;

/// Measures `net` (on a plain device) as it would be shipped and writes a sample grid, grey | float | int8 | truth, to `grid`. The int8 file has the ranges
/// `found` by quantization-aware training, else those of a short calibration.
///
/// # Errors
/// If the network cannot be exported or the file not written.
pub fn snapshot(
    net: &Network,
    config: &RunConfig,
    set: &Arc<PackedSet>,
    found: Option<&Ranges>,
    grid: &Path,
) -> anyhow::Result<StillQuality> {
    let provenance = Provenance { training: "a snapshot in the middle of a run".into(), license: "none".into() };
    let float = export::float_model(net, config, &provenance)?;
    let ranges = match found {
        Some(ranges) => Cow::Borrowed(ranges),
        None => Cow::Owned(calibrate(&float, &export::calibration_lanes(set, config)?, CALIBRATION_CHUNKS)?),
    };
    let mut int8 = quantize::quantize(&float, &ranges)?;
    contract::write_card(&mut int8, &contract::check(&float)?.card);
    let models = vec![Colorizer::from_proto("float", &float)?, Colorizer::from_proto("int8", &int8)?];
    let exhibits = Exhibits::choose(set, Share::Of(Split::Validation), usize::MAX)?;
    evaluate::sample_grid(models, &exhibits, GRID_ROWS, grid)?;
    let mut painter = Painter::new(Colorizer::from_proto("float", &float)?, LumaRange::Full);
    let mut quality = evaluate::stills(&mut painter, set, Split::Validation, &[config.temperature], PICTURES)?;
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
    // Whatever parts the run's loss has.
    let names: BTreeSet<&str> = lines
        .iter()
        .filter_map(|line| line.as_object())
        .flat_map(|line| line.keys().map(String::as_str))
        .filter(|name| !NO_LOSSES.contains(name))
        .collect();
    let points = |key: &str| lines.iter().filter_map(|line| Some((line["step"].as_f64()?, line[key].as_f64()?))).collect();
    let chart = Chart {
        title: "losses".into(),
        x: "steps".into(),
        series: names.into_iter().map(|name| Series::new(name, points(name))).collect(),
        ..Chart::default()
    };
    write_atomically(&run.join("curves.svg"), chart.to_svg().as_bytes())
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
    let frames = position.step * config.frames_a_step() as u64;
    let started = match (&config.start_from, &config.encoder_weights) {
        (Some(from), _) => format!("the weights of {}", from.display()),
        (None, Some(encoder)) => format!("random weights, but for the encoder, which has those of {}", encoder.display()),
        (None, None) => "random weights".to_owned(),
    };
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
