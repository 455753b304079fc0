//! What is measured: a network as a float and an int8 file, and the frames that all contenders see.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use autochrome_model::contract;
use autochrome_trainer::data::lanes::{LaneConfig, Lanes};
use autochrome_trainer::data::pack::{PackConfig, PackInput, pack};
use autochrome_trainer::data::shard::PackedSet;
use autochrome_trainer::data::split::Split;
use autochrome_trainer::export::{calibrate::calibrate, hex, quantize::quantize};
use prost::Message;
use sha2::{Digest, Sha256};
use tract_onnx::pb::ModelProto;

use crate::network::PlainNet;
use crate::work;

/// Frames in a file; they are played in a circle.
pub(crate) const FRAMES: usize = 16;
const CHUNK_FRAMES: usize = 4;
const CALIBRATION_CHUNKS: u64 = 8;

/// A network's files.
pub(crate) struct Subject {
    /// What reports call it.
    pub(crate) name: String,
    /// The float file.
    pub(crate) float: PathBuf,
    /// The int8 file, in the QDQ form.
    pub(crate) int8: PathBuf,
    /// [`FRAMES`] planes of L* (0 to 100) as little-endian f32.
    pub(crate) frames: PathBuf,
    /// Input width.
    pub(crate) width: usize,
    /// Input height.
    pub(crate) height: usize,
    /// Multiply-adds of a frame.
    pub(crate) work: u64,
    /// Weights.
    pub(crate) parameters: usize,
}

/// The four photographs of the demo, packed as for training: what networks are calibrated on and fed with.
pub(crate) struct Photographs(Arc<PackedSet>);

impl Photographs {
    /// Packs them into `folder`.
    ///
    /// # Errors
    /// If they cannot be read, or `folder` cannot be written.
    pub(crate) fn pack(folder: &Path) -> anyhow::Result<Self> {
        let photographs = crate::root().join("firmware/assets/demo");
        let config = PackConfig {
            inputs: vec![PackInput::detect(&photographs)?],
            out: folder.join("pack"),
            short_side: 288,
            ..PackConfig::default()
        };
        pack(&config, &mut |_, _| {}).with_context(|| format!("pack {}", photographs.display()))?;
        Ok(Self(Arc::new(PackedSet::open(&config.out)?)))
    }

    fn lanes(&self, width: usize, height: usize) -> anyhow::Result<Lanes> {
        let config = LaneConfig { lanes: 1, chunk_frames: CHUNK_FRAMES, chunks_per_item: 2, width, height, ..LaneConfig::default() };
        Lanes::new(self.0.clone(), Split::Train, config)
    }
}

impl Subject {
    /// Builds a plain network and writes its files into `folder`.
    ///
    /// # Errors
    /// If a stage of the export fails, or a file cannot be written.
    pub(crate) fn plain(net: &PlainNet, photographs: &Photographs, folder: &Path) -> anyhow::Result<Self> {
        let float = net.to_onnx();
        let mut card = contract::check(&float)?.card;
        let ranges = calibrate(&float, &photographs.lanes(net.width, net.height)?, CALIBRATION_CHUNKS)?;
        let mut int8 = quantize(&float, &ranges)?;
        let float_bytes = float.encode_to_vec();
        card.calibration = Some(ranges.summary.clone());
        card.float_parent_sha256 = Some(hex(&Sha256::digest(&float_bytes)));
        contract::write_card(&mut int8, &card);
        let name = format!("{}-{}x{}-{}", net.name, net.width, net.height, net.widths[0]);
        let path = |kind: &str| folder.join(format!("{name}-{kind}.onnx"));
        for (kind, bytes) in [("float", float_bytes), ("int8", int8.encode_to_vec())] {
            std::fs::write(path(kind), bytes).with_context(|| format!("write {}", path(kind).display()))?;
        }
        Self::of_files(&net.name, path("float"), path("int8"), photographs, folder)
    }

    /// A pair of files that exist.
    ///
    /// # Errors
    /// If they are no colorizers, or the frames cannot be written into `folder`.
    pub(crate) fn of_files(name: &str, float: PathBuf, int8: PathBuf, photographs: &Photographs, folder: &Path) -> anyhow::Result<Self> {
        let model = read(&int8)?;
        let contract = contract::check(&model).with_context(|| format!("read {}", int8.display()))?;
        let (width, height) = (contract.width, contract.height);
        let lanes = photographs.lanes(width, height)?;
        let scaled = (0..FRAMES / CHUNK_FRAMES).flat_map(|number| lanes.chunk(number as u64).lightness);
        let bytes: Vec<u8> = scaled.flat_map(|v| (v * 100.0 + 50.0).to_le_bytes()).collect();
        let frames = folder.join(format!("{name}-{width}x{height}.f32"));
        std::fs::write(&frames, bytes).with_context(|| format!("write {}", frames.display()))?;
        let work = work::multiply_adds(&model)?;
        Ok(Self { name: name.into(), float, int8, frames, width, height, work, parameters: contract.parameters })
    }
}

/// A model file, parsed.
///
/// # Errors
/// If it cannot be read, or is not ONNX.
pub(crate) fn read(path: &Path) -> anyhow::Result<ModelProto> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    contract::parse(&bytes).with_context(|| format!("read {}", path.display()))
}
