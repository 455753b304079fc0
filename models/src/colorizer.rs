//! The network at run time: one lightness plane in, ab out, the recurrent state kept inside.

use std::io::Read;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::plan;

use crate::bins::{self, Decode};
use crate::color::{lightness_to_luma, srgb_to_ab, uv_to_srgb};
use crate::constants;
use crate::contract::{self, AB_SCALE, Contract, ContractError, LIGHTNESS, Output};
use crate::crew::Crew;
use crate::int8::{self, Fused, InstructionSet};
use crate::planes::{Chroma, Plane};

/// Why a model could not be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file could not be read.
    #[error("read model {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file is not a colorizer.
    #[error("{name}: {cause}")]
    Refused {
        /// The file's name.
        name: String,
        /// What is wrong with it.
        cause: ContractError,
    },
    /// The runtime could not prepare the graph.
    #[error("{name}: the runtime cannot prepare this graph: {cause}")]
    Graph {
        /// The file's name.
        name: String,
        /// What the runtime said.
        cause: String,
    },
    /// The plane given to [`Colorizer::step`] is not the contract's size.
    #[error("a {found_width}x{found_height} lightness plane was given to a model for {width}x{height}")]
    Shape {
        /// Found.
        found_width: usize,
        /// Found.
        found_height: usize,
        /// Expected.
        width: usize,
        /// Expected.
        height: usize,
    },
    /// The frame given to a painter is empty, or its plane does not hold what it says.
    #[error("a frame of {width}x{height} pixels came with {values} values; it needs one for each, and at least one")]
    Frame {
        /// Said.
        width: usize,
        /// Said.
        height: usize,
        /// Found.
        values: usize,
    },
    /// A step failed inside the runtime.
    #[error("{name}: a frame could not be computed: {cause}")]
    Run {
        /// The file's name.
        name: String,
        /// What the runtime said.
        cause: String,
    },
}

/// How a model is run. The default is what a device wants: all that can be fused, on one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Whether the int8 parts are fused into our own operators, or left to Tract.
    pub fused: bool,
    /// How many threads share the work of a step.
    pub threads: NonZeroUsize,
    /// The instruction set of the fused operators, where it is not to be the fastest that this processor has.
    pub instruction_set: Option<InstructionSet>,
}

impl Default for Runtime {
    fn default() -> Self {
        Self { fused: true, threads: NonZeroUsize::MIN, instruction_set: None }
    }
}

type Plan = Arc<TypedSimplePlan>;
type State = TypedSimpleState;

/// A loaded model and its recurrent state.
pub struct Colorizer {
    name: String,
    contract: Contract,
    fused: Fused,
    /// Where a step runs, if more than one thread shares it.
    crew: Option<Crew>,
    state: State,
    /// Of each of the graph's inputs, which of the contract's it is: 0 is the lightness, `n` is state `n - 1`.
    inputs: Vec<usize>,
    /// Where the contract's outputs stand among the graph's.
    output_order: Vec<usize>,
    /// The lightness input's tensor, written anew for each frame. Tract lets go of it at the end of a step.
    lightness: Arc<Tensor>,
    carried: Vec<TValue>,
    /// What `carried` is after a reset.
    zeros: Vec<TValue>,
    /// The last step's picture output, before decoding.
    raw: Option<TValue>,
    decode: Decode,
    saturation: f32,
    /// In degrees.
    hue: f32,
}

impl std::fmt::Debug for Colorizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Colorizer").field("name", &self.name).field("contract", &self.contract).finish_non_exhaustive()
    }
}

impl Colorizer {
    /// Loads a model file.
    ///
    /// # Errors
    /// [`ModelError::Read`], and those of [`from_bytes`](Self::from_bytes).
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        Self::load_as(path, Runtime::default())
    }

    /// Loads a model file, to be run as `runtime` says.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_as(path: &Path, runtime: Runtime) -> Result<Self, ModelError> {
        let read = |cause| ModelError::Read { path: path.to_owned(), cause };
        let mut bytes = Vec::new();
        // One more than is allowed, which the contract then refuses: what a pipe or a device holds shows only in reading.
        let file = std::fs::File::open(path).map_err(read)?;
        file.take(contract::FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(read)?;
        Self::from_bytes_as(&path.display().to_string(), &bytes, runtime)
    }

    /// Loads a model from the bytes of its file; `name` is what errors call it.
    ///
    /// # Errors
    /// [`ModelError::Refused`] if the bytes break the contract, [`ModelError::Graph`] if Tract cannot prepare them.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, ModelError> {
        Self::from_bytes_as(name, bytes, Runtime::default())
    }

    /// Loads a model from the bytes of its file, to be run as `runtime` says.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes).
    pub fn from_bytes_as(name: &str, bytes: &[u8], runtime: Runtime) -> Result<Self, ModelError> {
        let proto = contract::parse(bytes).map_err(|cause| ModelError::Refused { name: name.to_owned(), cause })?;
        Self::from_proto_as(name, &proto, runtime)
    }

    /// Loads a model that is already parsed.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes).
    pub fn from_proto(name: &str, proto: &ModelProto) -> Result<Self, ModelError> {
        Self::from_proto_as(name, proto, Runtime::default())
    }

    /// Loads a model that is already parsed, to be run as `runtime` says.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes).
    pub fn from_proto_as(name: &str, proto: &ModelProto, runtime: Runtime) -> Result<Self, ModelError> {
        let contract = contract::check(proto).map_err(|cause| ModelError::Refused { name: name.to_owned(), cause })?;
        let graph = |cause: String| ModelError::Graph { name: name.to_owned(), cause };
        // Tract's graph stage panics on some malformed graphs that parse; for a device that is one more refused file.
        let (prepared, fused) = guarded(|| prepare(proto, runtime)).map_err(graph)?;
        let state = prepared.spawn().map_err(|e| graph(format!("{e:#}")))?;
        let index_of = |names: Vec<String>, wanted: &str| names.iter().position(|n| n == wanted);
        let outlet_names =
            |nodes: Vec<usize>| -> Vec<String> { nodes.into_iter().map(|node| prepared.model().node(node).name.clone()).collect() };
        let inputs = outlet_names(prepared.model().inputs.iter().map(|o| o.node).collect());
        // Tract keeps the order of the file's graph outputs, and may rename the nodes behind them.
        let outputs: Vec<String> = proto.graph.iter().flat_map(|g| &g.output).map(|o| o.name.clone()).collect();
        let states = 0..contract.states.len();
        let wanted_in = std::iter::once(LIGHTNESS.to_owned()).chain(states.clone().map(contract::state_in));
        let wanted_out = std::iter::once(contract.card.output.name().to_owned()).chain(states.map(contract::state_out));
        let order = |names: &Vec<String>, wanted: &mut dyn Iterator<Item = String>| -> Result<Vec<usize>, ModelError> {
            wanted.map(|w| index_of(names.clone(), &w).ok_or_else(|| graph(format!("{w:?} is lost in its graph")))).collect()
        };
        let mut input_roles = vec![0; inputs.len()];
        order(&inputs, &mut { wanted_in })?.into_iter().enumerate().for_each(|(role, at)| input_roles[at] = role);
        let output_order = order(&outputs, &mut { wanted_out })?;
        // The file declares its shapes; what the graph computes is what counts.
        let output = [1, contract.card.output.channels(), contract.output_height, contract.output_width];
        let declared = std::iter::once(&output).chain(&contract.states);
        for (&at, declared) in output_order.iter().zip(declared) {
            let fact = prepared.model().output_fact(at).map_err(|e| graph(format!("{e:#}")))?;
            if fact.datum_type != f32::datum_type() || fact.shape.as_concrete() != Some(&declared[..]) {
                return Err(graph(format!("output {:?} is declared as {declared:?} but computed as {fact:?}", outputs[at])));
            }
        }
        let decode = Decode::AnnealedMean { temperature: contract.card.temperature };
        let saturation = contract.card.saturation;
        let zero = |shape: &[usize]| Tensor::zero::<f32>(shape).map_err(|e| graph(format!("{e:#}")));
        let zeros = contract.states.iter().map(|shape| zero(shape).map(TValue::from)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            name: name.to_owned(),
            lightness: Arc::new(zero(&[1, 1, contract.height, contract.width])?),
            contract,
            fused,
            crew: Crew::new(runtime.threads).map_err(graph)?,
            state,
            inputs: input_roles,
            output_order,
            carried: zeros.clone(),
            zeros,
            raw: None,
            decode,
            saturation,
            hue: 0.0,
        })
    }

    /// What the model promises.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// Which of its operators are fused.
    pub fn fused(&self) -> &Fused {
        &self.fused
    }

    /// How many threads share a step.
    pub fn threads(&self) -> NonZeroUsize {
        self.crew.as_ref().and_then(|crew| NonZeroUsize::new(crew.size())).unwrap_or(NonZeroUsize::MIN)
    }

    /// The threads that share its work, if it is not one alone.
    pub(crate) fn crew(&self) -> Option<&Crew> {
        self.crew.as_ref()
    }

    /// How logits become colors from the next step on. A model that gives ab itself has nothing to decode.
    pub fn set_decode(&mut self, decode: Decode) {
        self.decode = decode;
    }

    /// The factor on ab from the next step on.
    pub fn set_saturation(&mut self, saturation: f32) {
        self.saturation = saturation;
    }

    /// How far ab is turned from the next step on, in degrees from a* towards b*. An angle that is no number changes nothing.
    pub fn set_hue(&mut self, degrees: f32) {
        if degrees.is_finite() {
            self.hue = degrees;
        }
    }

    /// How far ab is turned, in degrees.
    pub fn hue(&self) -> f32 {
        self.hue
    }

    /// Zeroes the state: for the first frame, and after a cut or a gap.
    pub fn reset(&mut self) {
        self.carried.clone_from(&self.zeros);
    }

    /// Colors one frame and advances the recurrent state.
    ///
    /// `lightness` is CIE L* (0 to 100) at the contract's height and width. Returns a* and b* at the contract's output size.
    /// Frames must come in order; call [`reset`](Self::reset) after a cut or a gap.
    ///
    /// # Errors
    /// [`ModelError::Shape`] if the plane is not the contract's size, [`ModelError::Run`] if the runtime fails. The state stays as it was.
    pub fn step(&mut self, lightness: &Plane<f32>) -> Result<Chroma, ModelError> {
        self.advance(lightness)?;
        Ok(self.decode_last())
    }

    /// As [`step`](Self::step), without decoding: see [`raw_output`](Self::raw_output).
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn advance(&mut self, lightness: &Plane<f32>) -> Result<(), ModelError> {
        self.advance_watched(lightness, |_, _| {})
    }

    /// [`advance`](Self::advance), with a call of `done` after each of the graph's operators, with the names of the node and of the operator: for
    /// whoever measures them.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn advance_watched(&mut self, lightness: &Plane<f32>, mut done: impl FnMut(&str, &str) + Send) -> Result<(), ModelError> {
        let (width, height) = (self.contract.width, self.contract.height);
        if (lightness.width, lightness.height) != (width, height) {
            return Err(ModelError::Shape { found_width: lightness.width, found_height: lightness.height, width, height });
        }
        let Self { name, crew, state, inputs, output_order, lightness: tensor, carried, raw, .. } = self;
        let failed = |cause: String| ModelError::Run { name: name.clone(), cause };
        write(tensor, lightness).map_err(|e| failed(format!("{e:#}")))?;
        // A list of Tract's own that needs no memory for up to four inputs.
        let entering: TVec<TValue> = inputs
            .iter()
            .map(|&role| role.checked_sub(1).map_or_else(|| TValue::from_const(tensor.clone()), |i| carried[i].clone()))
            .collect();
        let run = || {
            state.run_plan_with_eval(entering, |context, op_state, node, inputs| {
                let outputs = plan::eval(context, op_state, node, inputs);
                done(&node.name, &node.op.name());
                outputs
            })
        };
        let leaving = match crew {
            Some(crew) => crew.run(|| guarded(run)),
            None => guarded(run),
        }
        .map_err(failed)?;
        for (carried, &at) in carried.iter_mut().zip(&output_order[1..]) {
            *carried = leaving[at].clone();
        }
        *raw = Some(leaving[output_order[0]].clone());
        Ok(())
    }

    /// The last step's output tensor as the network gave it, channel-major; empty before the first step.
    pub fn raw_output(&self) -> &[f32] {
        self.raw.as_ref().map_or(&[], floats)
    }

    /// The state tensors after the last step.
    pub fn states(&self) -> Vec<&[f32]> {
        self.carried.iter().map(floats).collect()
    }

    /// Decodes the last step's output with the present settings.
    pub fn decode_last(&self) -> Chroma {
        let mut chroma = Chroma::default();
        self.decode_into(&mut chroma);
        chroma
    }

    /// [`decode_last`](Self::decode_last) into `chroma`, whose content is replaced and whose memory is used again.
    pub fn decode_into(&self, chroma: &mut Chroma) {
        self.decode(self.raw_output(), chroma);
    }

    /// Decodes `raw`, channel-major as [`raw_output`](Self::raw_output), in place of the network's own output. Chroma beside a luma (UV) is read
    /// beside the last step's lightness. What is too short gives grey.
    pub fn decode(&self, raw: &[f32], chroma: &mut Chroma) {
        let (width, height) = (self.contract.output_width, self.contract.output_height);
        let pixels = width * height;
        let Chroma { a, b } = chroma;
        for plane in [&mut *a, &mut *b] {
            (plane.width, plane.height) = (width, height);
            plane.data.resize(pixels, 0.0);
        }
        let (a, b) = (&mut a.data, &mut b.data);
        if raw.len() < pixels * self.contract.card.output.channels() {
            a.fill(0.0);
            b.fill(0.0);
            return;
        }
        match &self.contract.card.output {
            Output::ColorLogits { centers } => bins::decode(raw, centers, self.decode, a, b),
            Output::Ab => {
                for (to, from) in [(&mut *a, &raw[..pixels]), (&mut *b, &raw[pixels..])] {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = from * AB_SCALE);
                }
            }
            Output::Rgb => {
                for i in 0..pixels {
                    [a[i], b[i]] = srgb_to_ab([0, 1, 2].map(|channel| raw[channel * pixels + i]));
                }
            }
            Output::Uv => {
                for i in 0..pixels {
                    let luma = lightness_to_luma(self.lightness_at(i % width, i / width));
                    [a[i], b[i]] = srgb_to_ab(uv_to_srgb(luma, [raw[i], raw[pixels + i]]));
                }
            }
        }
        let (sine, cosine) = self.hue.to_radians().sin_cos();
        let (sine, cosine) = (sine * self.saturation, cosine * self.saturation);
        // A network that computes a NaN must not paint one.
        let number = |v: f32| if v.is_finite() { v } else { 0.0 };
        for (a, b) in a.iter_mut().zip(b) {
            let (from_a, from_b) = (number(*a), number(*b));
            *a = (from_a * cosine - from_b * sine).clamp(-128.0, 128.0);
            *b = (from_b * cosine + from_a * sine).clamp(-128.0, 128.0);
        }
    }
}

impl Colorizer {
    /// The mean L* of the last step's lightness under the output position (`x`, `y`).
    fn lightness_at(&self, x: usize, y: usize) -> f32 {
        let Contract { width, height, output_width, output_height, .. } = self.contract;
        let span = |at: usize, size: usize, outputs: usize| {
            let begin = at * size / outputs;
            begin..((at + 1) * size / outputs).max(begin + 1)
        };
        let scaled = self.lightness.try_as_plain_ram().and_then(|plain| plain.as_slice::<f32>()).unwrap_or(&[]);
        let columns = span(x, width, output_width);
        let rows = span(y, height, output_height);
        let count = (columns.len() * rows.len()) as f32;
        let sum: f32 = rows.flat_map(|row| scaled.get(row * width + columns.start..row * width + columns.end)).flatten().sum();
        sum / count * 100.0 + 50.0
    }
}

/// Writes the scaled lightness into the input's tensor, or into a copy of it where Tract should have kept it.
fn write(tensor: &mut Arc<Tensor>, lightness: &Plane<f32>) -> TractResult<()> {
    let mut view = Arc::make_mut(tensor).try_as_plain_ram_mut()?;
    for (to, &from) in view.as_slice_mut::<f32>()?.iter_mut().zip(&lightness.data) {
        *to = contract::scaled_lightness(from);
    }
    Ok(())
}

fn floats(value: &TValue) -> &[f32] {
    value.try_as_plain_ram().and_then(|plain| plain.as_slice::<f32>()).unwrap_or(&[])
}

fn prepare(proto: &ModelProto, runtime: Runtime) -> TractResult<(Plan, Fused)> {
    let model = tract_onnx::onnx().model_for_proto_model(&constants::dequantized(proto))?.into_typed()?;
    let (model, fused) = if runtime.fused {
        int8::fuse(&model, runtime.instruction_set.unwrap_or_else(InstructionSet::detect), runtime.threads.get())?
    } else {
        (model, Fused::default())
    };
    Ok((model.into_optimized()?.into_runnable()?, fused))
}

/// Runs `work`, turning a panic inside the runtime into an error text.
fn guarded<T>(work: impl FnOnce() -> TractResult<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("{error:#}").replace('\n', " ")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("the runtime panicked: {}", text.unwrap_or("no message")))
        }
    }
}
