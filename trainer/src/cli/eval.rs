//! `eval`.

use std::path::{Path, PathBuf};

use autochrome_model::{Colorizer, LumaRange, Painter};
use autochrome_trainer::data::shard::PackedSet;
use autochrome_trainer::data::split::Split;
use autochrome_trainer::evaluate;

/// Measures model files on the validation split.
#[derive(clap::Args)]
pub(crate) struct Eval {
    /// ONNX files.
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// The packed set.
    #[arg(long)]
    data: PathBuf,
    /// Temperatures to measure at.
    #[arg(long, value_delimiter = ',', default_value = "0.38,0.6,0.8,1.0")]
    temperatures: Vec<f32>,
    /// Pictures a source, evenly spread.
    #[arg(long, default_value_t = usize::MAX)]
    limit: usize,
    /// Only still pictures.
    #[arg(long)]
    stills_only: bool,
    /// Also a PNG of grey | each model | truth.
    #[arg(long)]
    grid: Option<PathBuf>,
    /// JSON lines in place of a table.
    #[arg(long)]
    json: bool,
}

impl Eval {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self { models, data, temperatures, limit, stills_only, grid, json } = self;
        evaluate_files(&models, &data, &temperatures, limit, stills_only, json)?;
        if let Some(grid) = grid {
            let models = models.iter().map(|m| Colorizer::load(m)).collect::<Result<_, _>>()?;
            evaluate::sample_grid(models, &PackedSet::open(&data)?, Split::Validation, 24, &grid)?;
        }
        Ok(())
    }
}

fn evaluate_files(
    models: &[PathBuf],
    data: &Path,
    temperatures: &[f32],
    limit: usize,
    stills_only: bool,
    json: bool,
) -> anyhow::Result<()> {
    let set = PackedSet::open(data)?;
    let sources = ["photos", "people", "objects"].into_iter().filter(|s| set.manifest().sources.iter().any(|known| known == s));
    let sources: Vec<Option<&str>> = std::iter::once(None).chain(sources.map(Some)).collect();
    if !json {
        println!(
            "{:<40} {:<8} {:>4} {:>5} {:>7} {:>7} {:>6} {:>14} {:>14}",
            "model", "source", "n", "T", "PSNR", "grey", "gain", "CF abs", "CF signed"
        );
    }
    for file in models {
        let mut painter = Painter::new(Colorizer::load(file)?, LumaRange::Full);
        let name = file.file_stem().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        for source in &sources {
            for q in evaluate::stills(&mut painter, &set, Split::Validation, *source, temperatures, limit)? {
                if json {
                    println!("{}", serde_json::json!({"model": name, "stills": q}));
                    continue;
                }
                let share = |found: f64, truth: f64| format!("{found:.1}/{truth:.1} {:.0}%", 100.0 * found / truth);
                println!(
                    "{name:<40} {:<8} {:>4} {:>5} {:>7.2} {:>7.2} {:>+6.2} {:>14} {:>14}",
                    q.source,
                    q.pictures,
                    q.temperature,
                    q.psnr,
                    q.psnr_grey,
                    q.gain(),
                    share(q.colorfulness, q.colorfulness_truth),
                    share(q.colorfulness_signed, q.colorfulness_signed_truth)
                );
            }
        }
        if stills_only {
            continue;
        }
        let temperature = painter.colorizer().contract().card.temperature;
        let s = evaluate::steadiness(&mut painter, &set, Split::Validation, temperature)?;
        if json {
            println!("{}", serde_json::json!({"model": name, "temperature": temperature, "steadiness": s}));
        } else {
            println!(
                "{name:<40} T {temperature}, {} clips: CDC {:.6}, truth {:.6} ({:+.1} %), grey {:.6}; std(ab) of a noisy still scene {:.3}",
                s.clips,
                s.cdc,
                s.cdc_truth,
                100.0 * (s.cdc / s.cdc_truth - 1.0),
                s.cdc_grey,
                s.still_ab_deviation
            );
        }
    }
    Ok(())
}
