//! What is measured: a network as a float and an int8 file, and the frames that all contenders see.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use autochrome_model::contract;
use autochrome_trainer::data::lanes::{LaneConfig, Lanes};
use autochrome_trainer::data::pack::{PackConfig, PackInput, pack};
use autochrome_trainer::data::shard::PackedSet;
use autochrome_trainer::data::shard::hex;
use autochrome_trainer::data::split::Split;
use autochrome_trainer::export::calibrate::{Ranges, calibrate};
use autochrome_trainer::export::{fold::tensor, quantize::quantize};
use prost::Message;
use sha2::{Digest, Sha256};
use tract_onnx::pb::{ModelProto, NodeProto, tensor_proto::DataType};

use crate::contender::Form;
use crate::network::PlainNet;

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
    /// See [`Form::AllInt8`].
    pub(crate) all_int8: PathBuf,
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
        card.calibration = Some(ranges.summary.clone());
        card.float_parent_sha256 = Some(hex(&Sha256::digest(float.encode_to_vec())));
        contract::write_card(&mut int8, &card);
        let path = |kind: &str| folder.join(format!("{}-{kind}.onnx", net.name));
        write(&path("float"), &float.encode_to_vec())?;
        write(&path("int8"), &int8.encode_to_vec())?;
        Self::with_ranges(&net.name, [path("float"), path("int8")], &ranges, photographs, folder)
    }

    /// A pair of files that exist, float and int8.
    ///
    /// # Errors
    /// If they are no colorizers, or files cannot be written into `folder`.
    pub(crate) fn of_files(name: &str, files: [PathBuf; 2], photographs: &Photographs, folder: &Path) -> anyhow::Result<Self> {
        let float = read(&files[0])?;
        let contract = contract::check(&float).with_context(|| format!("read {}", files[0].display()))?;
        let ranges = calibrate(&float, &photographs.lanes(contract.width, contract.height)?, CALIBRATION_CHUNKS)?;
        Self::with_ranges(name, files, &ranges, photographs, folder)
    }

    fn with_ranges(
        name: &str,
        [float, int8]: [PathBuf; 2],
        ranges: &Ranges,
        photographs: &Photographs,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let mut model = read(&int8)?;
        let contract = contract::check(&model).with_context(|| format!("read {}", int8.display()))?;
        let (width, height) = (contract.width, contract.height);
        let lanes = photographs.lanes(width, height)?;
        let scaled = (0..FRAMES / CHUNK_FRAMES).flat_map(|number| lanes.chunk(number as u64).lightness);
        let lightness: Vec<u8> = scaled.flat_map(|v| (v * 100.0 + 50.0).to_le_bytes()).collect();
        let (frames, all_int8) = (folder.join(format!("{name}.f32")), folder.join(format!("{name}-all-int8.onnx")));
        write(&frames, &lightness)?;
        let work = contract.multiply_adds;
        quantize_sums(&mut model, ranges)?;
        write(&all_int8, &model.encode_to_vec())?;
        Ok(Self { name: name.into(), float, int8, all_int8, frames, width, height, work, parameters: contract.parameters })
    }

    /// The file for an engine that wants this form.
    pub(crate) fn file(&self, form: Form) -> &Path {
        match form {
            Form::Float => &self.float,
            Form::Int8 => &self.int8,
            Form::AllInt8 => &self.all_int8,
        }
    }
}

/// Quantizes what convolutions give to something else than a ReLU: the sums of the gates, the residual blocks, and the picture itself.
fn quantize_sums(int8: &mut ModelProto, ranges: &Ranges) -> anyhow::Result<()> {
    let graph = int8.graph.as_mut().context("the model has no graph")?;
    let rectified: HashSet<String> = graph.node.iter().filter(|node| node.op_type == "Relu").map(|node| node.input[0].clone()).collect();
    for mut node in std::mem::take(&mut graph.node) {
        let name = node.output[0].clone();
        if node.op_type != "Conv" || rectified.contains(&name) {
            graph.node.push(node);
            continue;
        }
        let &(low, high) = ranges.of.get(&name).with_context(|| format!("{name:?} was not calibrated"))?;
        let (low, high) = (low.min(0.0), high.max(0.0));
        let scale = ((high - low) / 255.0).max(1e-8);
        let [sum, byte, scale_name, zero_name] = ["sum", "byte", "byte_scale", "byte_zero_point"].map(|role| format!("{name}_{role}"));
        graph.initializer.push(tensor(&scale_name, &[], DataType::Float as i32, scale.to_le_bytes().to_vec()));
        graph.initializer.push(tensor(&zero_name, &[], DataType::Uint8 as i32, vec![(-low / scale).round() as u8]));
        node.output[0].clone_from(&sum);
        graph.node.push(node);
        for (op_type, from, to) in [("QuantizeLinear", &sum, &byte), ("DequantizeLinear", &byte, &name)] {
            let input = vec![from.clone(), scale_name.clone(), zero_name.clone()];
            let name = format!("{to}_{}", op_type.to_lowercase());
            graph.node.push(NodeProto { op_type: op_type.into(), name, input, output: vec![to.clone()], ..NodeProto::default() });
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

/// A model file, parsed.
///
/// # Errors
/// If it cannot be read, or is not ONNX.
pub(crate) fn read(path: &Path) -> anyhow::Result<ModelProto> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    contract::parse(&bytes).with_context(|| format!("read {}", path.display()))
}
