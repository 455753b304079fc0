//! Distances that a trained network takes, for FID and LPIPS: ONNX files that are given by a path, run through Tract. Nothing is downloaded.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, anyhow, ensure};
use autochrome_model::Plane;
use autochrome_model::planes::resample;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::DimLike;

/// The sides that pictures are scaled to where a feature network's file leaves them open: Inception-v3's.
const FEATURE_SIZE: (usize, usize) = (299, 299);
/// The sides within which a distance's open file sees pictures as they are: smaller ones leave AlexNet's last layers nothing.
const OWN_SIDES: RangeInclusive<usize> = 64..=1024;
/// What pictures beyond those are scaled to.
const DISTANCE_SIZE: (usize, usize) = (256, 256);
/// The longest side that is run.
const SIDE_MAX: usize = 4096;
/// Plans that are kept: each has the network's weights anew, and pictures of one set come in few sizes at a time.
const PLANS_MAX: usize = 4;

/// A network that gives a picture's features, such as Inception-v3 up to pool3 for FID.
///
/// The file has one input, f32 \[1, 3, H, W\], RGB from 0 to 1, and its first output holds the features. Pictures are scaled to W x H, or to 299 x 299.
pub struct FeatureNetwork(Network);

impl FeatureNetwork {
    /// Reads the file.
    ///
    /// # Errors
    /// If it is no ONNX file that Tract can run, or has other inputs.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        Network::load(file, 1, Some(FEATURE_SIZE)).with_context(|| format!("the feature network {}", file.display())).map(Self)
    }

    /// The features of a picture: `width * height * 3` bytes, RGB.
    ///
    /// # Errors
    /// If Tract fails.
    pub fn features(&self, rgb: &[u8], (width, height): (usize, usize)) -> anyhow::Result<Vec<f32>> {
        self.0.run(&[rgb], (width, height), |v| v / 255.0)
    }
}

/// A network that gives the perceptual distance of two pictures, such as LPIPS.
///
/// The file has two inputs, f32 \[1, 3, H, W\], RGB from -1 to 1, and its first output is the distance; several values are averaged. Where H and W are left
/// open, pictures with sides from 64 to 1024 go in as they are, as the published figures are made, and others at 256 x 256; else all are scaled to W x H.
pub struct PerceptualDistance(Network);

impl PerceptualDistance {
    /// Reads the file.
    ///
    /// # Errors
    /// If it is no ONNX file that Tract can run, or has other inputs.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        Network::load(file, 2, None).with_context(|| format!("the perceptual network {}", file.display())).map(Self)
    }

    /// The distance of two pictures of one size.
    ///
    /// # Errors
    /// If Tract fails.
    pub fn between(&self, found: &[u8], truth: &[u8], size: (usize, usize)) -> anyhow::Result<f64> {
        let values = self.0.run(&[found, truth], size, |v| v / 127.5 - 1.0)?;
        Ok(values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64)
    }
}

struct Network {
    model: InferenceModel,
    /// The size of what goes in; each picture's own if there is none.
    size: Option<(usize, usize)>,
    /// Tract plans for one size at a time.
    plans: Mutex<HashMap<(usize, usize), Arc<TypedSimplePlan>>>,
}

impl Network {
    /// `open` is the size where the file leaves it open.
    fn load(file: &Path, inputs: usize, open: Option<(usize, usize)>) -> anyhow::Result<Self> {
        ensure!(file.is_file(), "there is no such file; give the path of an ONNX file");
        guarded(|| {
            let model = tract_onnx::onnx().model_for_path(file).context("not an ONNX file that Tract reads")?;
            let found = model.inputs.len();
            ensure!(found == inputs, "it has {found} inputs, {inputs} expected");
            let shape = model.input_fact(0)?.shape.clone();
            let side = |axis: usize| {
                let dim = shape.dims().nth(axis).and_then(|dim| dim.concretize()).and_then(|dim| dim.to_usize().ok());
                dim.filter(|&side| side > 0)
            };
            let size = side(3).zip(side(2)).or(open);
            let network = Self { model, size, plans: Mutex::default() };
            // What cannot be run at all is told before the first picture is colored.
            network.plan(size.unwrap_or(DISTANCE_SIZE))?;
            Ok(network)
        })
    }

    /// The network for pictures of `size`.
    fn plan(&self, size: (usize, usize)) -> anyhow::Result<Arc<TypedSimplePlan>> {
        let (width, height) = size;
        ensure!(width.max(height) <= SIDE_MAX, "its input is {width}x{height}; at most {SIDE_MAX} a side are run");
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans.get(&size) {
            return Ok(plan.clone());
        }
        let mut model = self.model.clone();
        for input in 0..model.inputs.len() {
            model.set_input_fact(input, f32::fact([1, 3, height, width]).into()).context("its inputs are not f32 [1, 3, H, W]")?;
        }
        let plan = model.into_optimized().with_context(|| format!("Tract cannot prepare it for {width}x{height}"))?.into_runnable()?;
        if plans.len() >= PLANS_MAX {
            plans.clear();
        }
        plans.insert(size, plan.clone());
        Ok(plan)
    }

    /// Runs pictures through it, each scaled to its input and each value mapped by `scaled`.
    fn run(&self, pictures: &[&[u8]], (width, height): (usize, usize), scaled: fn(f32) -> f32) -> anyhow::Result<Vec<f32>> {
        let own = OWN_SIDES.contains(&width) && OWN_SIDES.contains(&height);
        let size = self.size.unwrap_or(if own { (width, height) } else { DISTANCE_SIZE });
        let tensor = |rgb: &&[u8]| -> anyhow::Result<TValue> {
            let mut values = Vec::with_capacity(3 * size.0 * size.1);
            for channel in 0..3 {
                let plane = Plane::from_vec(width, height, rgb.iter().skip(channel).step_by(3).copied().collect());
                values.extend(resample(&plane, f32::from, size).data.into_iter().map(scaled));
            }
            Ok(Tensor::from_shape(&[1, 3, size.1, size.0], &values)?.into())
        };
        let inputs = pictures.iter().map(tensor).collect::<anyhow::Result<TVec<TValue>>>()?;
        let outputs = guarded(|| self.plan(size)?.run(inputs))?;
        let first = outputs.first().context("the network has no output")?;
        let values = first.cast_to::<f32>()?.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
        ensure!(
            !values.is_empty() && values.iter().all(|v| v.is_finite()),
            "the network gave {} values, not all of them numbers",
            values.len()
        );
        Ok(values)
    }
}

/// A file from elsewhere may make Tract panic; that is an error of the file's.
fn guarded<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(anyhow!("Tract panicked on it")))
}

/// Tiny ONNX files for tests.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
pub(super) mod made_up {
    use prost::Message;
    use tempfile::NamedTempFile;
    use tract_onnx::pb::*;

    fn value(name: &str, shape: &[Option<i64>]) -> ValueInfoProto {
        let dim = |d: &Option<i64>| tensor_shape_proto::Dimension {
            denotation: String::new(),
            value: Some(match d {
                Some(size) => tensor_shape_proto::dimension::Value::DimValue(*size),
                None => tensor_shape_proto::dimension::Value::DimParam(format!("{name}_open")),
            }),
        };
        let shape = TensorShapeProto { dim: shape.iter().map(dim).collect() };
        let tensor = type_proto::Tensor { elem_type: 1, shape: Some(shape) };
        ValueInfoProto {
            name: name.into(),
            r#type: Some(TypeProto { denotation: String::new(), value: Some(type_proto::Value::TensorType(tensor)) }),
            doc_string: String::new(),
        }
    }

    fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: op.into(),
            input: inputs.iter().map(|s| (*s).into()).collect(),
            output: vec![output.into()],
            name: output.into(),
            ..NodeProto::default()
        }
    }

    fn file(nodes: Vec<NodeProto>, inputs: Vec<ValueInfoProto>, output: &str) -> NamedTempFile {
        let graph = GraphProto {
            name: "made up".into(),
            node: nodes,
            input: inputs,
            output: vec![ValueInfoProto { name: output.into(), ..ValueInfoProto::default() }],
            ..GraphProto::default()
        };
        let model = ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 13 }],
            graph: Some(graph),
            ..ModelProto::default()
        };
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), model.encode_to_vec()).unwrap();
        file
    }

    /// Gives each channel's mean.
    pub(in crate::evaluate) fn channel_means() -> NamedTempFile {
        let input = value("picture", &[Some(1), Some(3), Some(16), Some(20)]);
        file(vec![node("GlobalAveragePool", &["picture"], "mean"), node("Flatten", &["mean"], "features")], vec![input], "features")
    }

    /// Gives each channel's mean absolute difference. The sides are left open.
    pub(in crate::evaluate) fn mean_difference() -> NamedTempFile {
        let inputs = ["found", "truth"].map(|name| value(name, &[Some(1), Some(3), None, None])).to_vec();
        let nodes = vec![
            node("Sub", &["found", "truth"], "difference"),
            node("Abs", &["difference"], "size"),
            node("GlobalAveragePool", &["size"], "distance"),
        ];
        file(nodes, inputs, "distance")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use super::made_up::{channel_means, mean_difference};
    use super::*;

    #[test]
    fn features_are_those_of_the_file_on_values_from_0_to_1() {
        let file = channel_means();
        let network = FeatureNetwork::load(file.path()).unwrap();
        let picture: Vec<u8> = [51, 102, 255].repeat(12 * 8);
        let found = network.features(&picture, (12, 8)).unwrap();
        assert_eq!(found.len(), 3);
        for (found, expected) in found.iter().zip([0.2, 0.4, 1.0]) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn a_distance_is_that_of_the_file_on_values_from_minus_1_to_1() {
        let file = mean_difference();
        let network = PerceptualDistance::load(file.path()).unwrap();
        // 0 and 255 are 2 apart, in one channel of three.
        let distance = network.between(&[0, 9, 9].repeat(64), &[255, 9, 9].repeat(64), (8, 8)).unwrap();
        assert!((distance - 2.0 / 3.0).abs() < 1e-5, "{distance}");
        // Larger ones go in as they are, whatever their sizes: scaled, a single pixel would weigh otherwise.
        for (width, height) in [(70, 64), (64, 80), (64, 66), (65, 64), (67, 64), (70, 64)] {
            let truth = vec![9; 3 * width * height];
            let mut found = truth.clone();
            found[0] = 255;
            let distance = network.between(&found, &truth, (width, height)).unwrap();
            assert!((distance * truth.len() as f64 - 246.0 / 127.5).abs() < 1e-3, "{distance}");
        }
        let message = format!("{:#}", FeatureNetwork::load(file.path()).err().unwrap());
        assert!(message.contains("2 inputs, 1 expected"), "{message}");
    }

    #[test]
    fn what_is_no_network_is_refused_by_name() {
        let file = tempfile::NamedTempFile::with_suffix(".onnx").unwrap();
        std::fs::write(file.path(), b"not an ONNX file").unwrap();
        for path in [file.path(), Path::new("/nowhere/inception.onnx")] {
            let message = format!("{:#}", FeatureNetwork::load(path).err().unwrap());
            assert!(message.contains(&path.display().to_string()), "{message}");
        }
    }
}
