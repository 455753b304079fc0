//! From a trained network to the files a device runs. After [`trace`](trace::trace) the network only ever moves as ONNX.
//!
//! trace (Burn to ONNX, boundary named) -> fold (batch normalization into convolutions) -> calibrate (activation ranges, in Tract)
//! -> quantize (ONNX to ONNX, int8 QDQ) -> verify (Tract against Burn, int8 against float).

pub mod calibrate;
pub mod fold;
pub mod quantize;
pub mod relu6;
pub mod resize;
pub mod trace;
pub mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use autochrome_model::contract::{self, Card};
use autochrome_model::{Colorizer, Contract};
use burn::module::Module;
use burn::tensor::Device;
use prost::Message;
use sha2::{Digest, Sha256};
use tract_onnx::pb::ModelProto;

use self::calibrate::Ranges;
use crate::checkpoint;
use crate::config::RunConfig;
use crate::data::lanes::{LaneConfig, Lanes};
use crate::data::shard::{ItemKind, PackedSet, hex};
use crate::data::split::Split;
use crate::files;
use crate::nets::Network;
use crate::run_folder;

/// What an exported file says about its training.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// On what data, for how long, on what hardware.
    pub training: String,
    /// Under which terms the weights may be used.
    pub license: String,
}

/// The files of an export and the figures of its verification.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The float file.
    pub float: PathBuf,
    /// The int8 file.
    pub int8: PathBuf,
    /// int8 against float, in Tract.
    pub quantization: verify::Drift,
    /// Multiply-adds of a frame.
    pub multiply_adds: u64,
}

/// What a resized file's card says in place of its parent's; `None` keeps it.
#[derive(Clone, Debug, Default)]
pub struct CardChanges {
    /// The name in front of the size.
    pub name: Option<String>,
    /// The default decoding temperature.
    pub temperature: Option<f32>,
    /// The default factor on ab. A larger input gives stronger colors from the same weights.
    pub saturation: Option<f32>,
}

/// The float file of `net` (on a plain device) as ONNX: traced, named, folded, with its card.
///
/// # Errors
/// If the network uses an operator that cannot be exported, or the file breaks the contract.
pub fn float_model(net: &Network, config: &RunConfig, provenance: &Provenance) -> anyhow::Result<ModelProto> {
    let [width, height] = config.input_size;
    let mut model = trace::trace(net, config)?;
    relu6::clip_relu6(&mut model)?;
    fold::fold_batch_norm(&mut model)?;
    let card = Card {
        name: format!("{}-{width}x{height}", config.name),
        output: config.contract_output()?,
        temperature: config.temperature,
        saturation: config.saturation,
        color: contract::COLOR_CONSTANTS.into(),
        training: provenance.training.clone(),
        license: provenance.license.clone(),
        calibration: None,
        float_parent_sha256: None,
    };
    contract::write_card(&mut model, &card);
    contract::check(&model).context("the traced network breaks its own contract")?;
    Ok(model)
}

/// The averaged weights of the checkpoint `checkpoint` of a run, and the run's configuration.
///
/// # Errors
/// If either cannot be read.
pub fn network_at(run: &Path, checkpoint: &Path) -> anyhow::Result<(Network, RunConfig)> {
    let config = RunConfig::read(&run_folder::config_file(run))?;
    let net = checkpoint::load_average(config.fresh_network(&Device::flex())?, checkpoint)?.valid();
    Ok((net, config))
}

/// The float file of a run's newest checkpoint, to look at: its card names no terms of use.
///
/// # Errors
/// If the run has no whole checkpoint, or as [`float_model`].
pub fn float_of_run(run: &Path) -> anyhow::Result<ModelProto> {
    float_at(run, &run_folder::newest_checkpoint(run)?).map(|(float, _)| float)
}

fn float_at(run: &Path, checkpoint: &Path) -> anyhow::Result<(ModelProto, RunConfig)> {
    let (net, config) = network_at(run, checkpoint)?;
    let provenance = Provenance { training: format!("run {:?}", config.name), license: "not stated".into() };
    Ok((float_model(&net, &config, &provenance)?, config))
}

/// Both files of a run's newest checkpoint, to look at: float, and int8 or why there is none. Where quantization-aware training has not found the ranges, they
/// are calibrated on the packed set that the run was started with, which may not be there any more.
///
/// # Errors
/// As [`float_of_run`].
pub fn files_of_run(run: &Path) -> anyhow::Result<(ModelProto, anyhow::Result<ModelProto>)> {
    // Looked for once: a run that is being trained may have another one soon.
    let checkpoint = run_folder::newest_checkpoint(run)?;
    let (float, config) = float_at(run, &checkpoint)?;
    let int8 = || {
        let pack = Arc::new(PackedSet::open(&run_folder::data_of(run)?)?);
        quantized(&float, &config, &pack, checkpoint::frozen_ranges(&checkpoint)?)
    };
    let int8 = int8();
    Ok((float, int8))
}

/// Exports `net` into `folder` as `NAME-WxH-float.onnx` and `NAME-WxH-int8.onnx`, and verifies both. The int8 file has the ranges that
/// quantization-aware training has frozen, or is calibrated on `pack`.
///
/// # Errors
/// If a stage fails, the float file does not do what the network does (see [`verify::PARITY`]), or a file cannot be written.
pub fn export(
    net: &Network,
    config: &RunConfig,
    pack: &Arc<PackedSet>,
    provenance: &Provenance,
    frozen: Option<Ranges>,
    folder: &Path,
) -> anyhow::Result<(Exported, verify::Parity)> {
    let float = float_model(net, config, provenance)?;
    let parity = verify::against_burn(net, config, &float, &sequence(pack, Split::Validation, config, 100)?)?;
    ensure!(
        parity.agrees(),
        "the float file does not do what the network does: over {} frames ab / 110 differs by up to {:.1e} and the state by {:.1e}, where {:.0e} is \
         promised; nothing was written",
        parity.frames,
        parity.ab_error_max,
        parity.state_error_max,
        verify::PARITY
    );
    Ok((quantize_and_write(&float, config, pack, frozen, folder)?, parity))
}

/// Writes the float model `float` for an input of `width` x `height` into `folder`, with the same weights, as [`export`] would: two files,
/// the int8 one calibrated anew.
///
/// # Errors
/// If the size or the model cannot be (see [`resize::at_size`]), a stage fails, or a file cannot be written.
pub fn resize(
    float: &ModelProto,
    [width, height]: [usize; 2],
    changes: &CardChanges,
    pack: &Arc<PackedSet>,
    folder: &Path,
) -> anyhow::Result<Exported> {
    let old = contract::check(float)?;
    let old_size = format!("{}x{}", old.width, old.height);
    let mut resized = resize::at_size(float, width, height)?;
    let mut card = old.card;
    let name = card.name.strip_suffix(&format!("-{old_size}")).unwrap_or(&card.name);
    let name = format!("{}-{width}x{height}", changes.name.as_deref().unwrap_or(name));
    card.training =
        format!("the weights of {}, trained for {old_size}, at {width}x{height} without further training: {}", card.name, card.training);
    card.name = name;
    card.temperature = changes.temperature.unwrap_or(card.temperature);
    card.saturation = changes.saturation.unwrap_or(card.saturation);
    contract::write_card(&mut resized, &card);
    contract::check(&resized).context("the resized model breaks the contract")?;
    let config = RunConfig { input_size: [width, height], ..RunConfig::default() };
    quantize_and_write(&resized, &config, pack, None, folder)
}

/// Quantizes `float` (calibrated, if there are no frozen ranges), compares the two, and writes both. Of `config` only the input's size and the
/// data's degradation count.
fn quantize_and_write(
    float: &ModelProto,
    config: &RunConfig,
    pack: &Arc<PackedSet>,
    frozen: Option<Ranges>,
    folder: &Path,
) -> anyhow::Result<Exported> {
    let int8 = quantized(float, config, pack, frozen)?;
    let contract: Contract = contract::check(&int8).context("the quantized network breaks its own contract")?;
    let quantization = verify::drift(
        &mut Colorizer::from_proto("float", float)?,
        &mut Colorizer::from_proto("int8", &int8)?,
        &sequence(pack, Split::Validation, config, 1000)?,
    )?;
    let name = &contract.card.name;
    let files = [
        (folder.join(format!("{name}-float.onnx")), float.encode_to_vec()),
        (folder.join(format!("{name}-int8.onnx")), int8.encode_to_vec()),
    ];
    for (path, bytes) in &files {
        files::write_atomically(path, bytes)?;
    }
    let [(float, _), (int8, _)] = files;
    Ok(Exported { float, int8, quantization, multiply_adds: contract.multiply_adds })
}

/// The int8 file of `float`, by the ranges `frozen`, else calibrated on `pack`.
///
/// # Errors
/// If the set has no training data, or the model cannot be run or quantized.
fn quantized(float: &ModelProto, config: &RunConfig, pack: &Arc<PackedSet>, frozen: Option<Ranges>) -> anyhow::Result<ModelProto> {
    let ranges = match frozen {
        Some(ranges) => ranges,
        None => calibrate::calibrate(float, &calibration_lanes(pack, config)?, calibrate::CHUNKS)?,
    };
    let mut int8 = quantize::quantize(float, &ranges)?;
    let mut card = contract::check(float)?.card;
    card.calibration = Some(ranges.summary.clone());
    card.float_parent_sha256 = Some(hex(&Sha256::digest(float.encode_to_vec())));
    contract::write_card(&mut int8, &card);
    Ok(int8)
}

/// Lightness planes (scaled, H W values each) of the split's clips one after the other, looped to `frames`: the recurrent test feed. A set
/// without clips gives its stills, 50 frames each.
///
/// # Errors
/// If the split is empty.
pub fn sequence(pack: &Arc<PackedSet>, split: Split, config: &RunConfig, frames: usize) -> anyhow::Result<Vec<Vec<f32>>> {
    let [width, height] = config.input_size;
    let clip_share = if pack.items(split).iter().any(|item| item.kind == ItemKind::Clip) { 1.0 } else { 0.0 };
    let data = LaneConfig { lanes: 1, chunk_frames: 50, chunks_per_item: 1, width, height, clip_share, ..config.data.validation() };
    let lanes = Lanes::new(pack.clone(), split, data).context("make a feed of the validation split")?;
    let mut planes = Vec::with_capacity(frames);
    for number in 0.. {
        for plane in lanes.chunk(number).lightness.chunks_exact(width * height) {
            if planes.len() == frames {
                return Ok(planes);
            }
            planes.push(plane.to_vec());
        }
    }
    unreachable!("the numbers never end")
}

/// Training data at the exported size, degraded as in training: what calibration sees.
///
/// # Errors
/// If the set has no training data.
pub fn calibration_lanes(pack: &Arc<PackedSet>, config: &RunConfig) -> anyhow::Result<Lanes> {
    let [width, height] = config.input_size;
    Lanes::new(
        pack.clone(),
        Split::Train,
        LaneConfig { lanes: 1, chunk_frames: 4, chunks_per_item: 2, width, height, ..config.data.clone() },
    )
}
