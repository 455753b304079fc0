//! `export` and `resize`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use autochrome_model::contract;
use autochrome_trainer::data::shard::PackedSet;
use autochrome_trainer::export::{self, CardChanges, Exported, Provenance};
use autochrome_trainer::{checkpoint, files, run_folder};

/// Exports a run's newest checkpoint as a float and an int8 ONNX file, and verifies both.
#[derive(clap::Args)]
pub(crate) struct Export {
    /// The run's folder.
    run: PathBuf,
    /// The folder for the files.
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// The packed set, where it has moved.
    #[arg(long)]
    data: Option<PathBuf>,
    /// What the file says about its training, in place of what the run's folder says.
    #[arg(long)]
    training: Option<String>,
    /// What the file says about the terms of its use.
    #[arg(long, default_value = "not stated; ask whoever trained it")]
    license: String,
    /// The default decoding temperature, in place of the configuration's.
    #[arg(long)]
    temperature: Option<f32>,
    /// The default factor on ab, in place of the configuration's.
    #[arg(long)]
    saturation: Option<f32>,
    /// The checkpoint with the best validation loss, in place of the newest.
    #[arg(long)]
    best: bool,
    /// Only the float file, without calibration and verification: for a look in the middle of a run.
    #[arg(long)]
    float_only: bool,
}

impl Export {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self { run, out, data, training, license, temperature, saturation, best, float_only } = self;
        let checkpoint = if best { run_folder::best_checkpoint(&run) } else { run_folder::newest_checkpoint(&run) }?;
        let (net, mut config) = export::network_at(&run, &checkpoint)?;
        config.temperature = temperature.unwrap_or(config.temperature);
        config.saturation = saturation.unwrap_or(config.saturation);
        let provenance = Provenance { training: training.unwrap_or_else(|| format!("run {:?}", config.name)), license };
        if float_only {
            let model = export::float_model(&net, &config, &provenance)?;
            let file = out.join("float.onnx");
            files::write_atomically(&file, &prost::Message::encode_to_vec(&model))?;
            println!("{} from {}", file.display(), checkpoint.display());
            return Ok(());
        }
        let data = data.map_or_else(|| run_folder::data_of(&run), Ok)?;
        let (pack, frozen) = (Arc::new(PackedSet::open(&data)?), checkpoint::frozen_ranges(&checkpoint)?);
        let (exported, parity) = export::export(&net, &config, &pack, &provenance, frozen, &out)?;
        println!("Tract against Burn: {}", serde_json::to_string(&parity)?);
        tell(&exported)
    }
}

/// Writes a float ONNX file for another input size, with the same weights, and an int8 file that is calibrated anew.
#[derive(clap::Args)]
pub(crate) struct Resize {
    /// The float file.
    float: PathBuf,
    /// The new input size, as WIDTHxHEIGHT; multiples of what the network halves: 16, or 32 for lite0-unet.
    #[arg(long, value_parser = size)]
    size: [usize; 2],
    /// The packed set to calibrate and to compare on.
    #[arg(long)]
    data: PathBuf,
    /// The folder for the files.
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// The name in front of the size, in place of the old one.
    #[arg(long)]
    name: Option<String>,
    /// The default decoding temperature, in place of the old one.
    #[arg(long)]
    temperature: Option<f32>,
    /// The default factor on ab, in place of the old one: from the same weights a larger input gives stronger colors.
    #[arg(long)]
    saturation: Option<f32>,
}

impl Resize {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self { float, size, data, out, name, temperature, saturation } = self;
        let what = || format!("resize {}", float.display());
        let model = contract::parse(&std::fs::read(&float).with_context(what)?).with_context(what)?;
        let pack = Arc::new(PackedSet::open(&data)?);
        let changes = CardChanges { name, temperature, saturation };
        tell(&export::resize(&model, size, &changes, &pack, &out).with_context(what)?)
    }
}

pub(super) fn size(text: &str) -> Result<[usize; 2], String> {
    let sides = text.split_once('x').and_then(|(width, height)| Some([width.parse().ok()?, height.parse().ok()?]));
    sides.ok_or_else(|| "a size is WIDTHxHEIGHT, such as 256x192".into())
}

fn tell(exported: &Exported) -> anyhow::Result<()> {
    println!("{}", exported.float.display());
    println!("{}", exported.int8.display());
    println!("int8 against float: {}", serde_json::to_string(&exported.quantization)?);
    println!("{:.1} M multiply-adds a frame", exported.multiply_adds as f64 / 1e6);
    Ok(())
}
