//! The engine rten behind the line protocol of `../worker.rs`: `rten-peer rten MODEL FRAMES THREADS OUTPUTS STEPS`.

mod unpacked;

use std::error::Error;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::Instant;

use rten::{Dimension, Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueOrView};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

use unpacked::unpacked;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The version that Cargo.toml pins.
const VERSION: &str = "0.27.0";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut out = std::io::stdout().lock();
    let (mut player, load_ms) = match begin(&arguments) {
        Ok(begun) => begun,
        Err(error) => return Ok(writeln!(out, "failed {}", error.to_string().replace('\n', " "))?),
    };
    writeln!(out, "ready {load_ms} {VERSION}")?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        match line?.trim() {
            "memory" => writeln!(out, "memory {}", peak_memory_mb()?)?,
            count => {
                let mut times = Vec::new();
                for _ in 0..count.parse::<usize>()? {
                    let start = Instant::now();
                    player.advance()?;
                    times.push((start.elapsed().as_secs_f64() * 1e3).to_string());
                }
                writeln!(out, "ms {}", times.join(" "))?;
            }
        }
        out.flush()?;
    }
    Ok(())
}

/// A loaded model that has played the first frames and written what it gave, and how many ms loading took.
fn begin(arguments: &[String]) -> Result<(Player, f64)> {
    let [_, model, frames, threads, outputs, steps] = arguments else { return Err("six arguments are expected".into()) };
    let start = Instant::now();
    let bytes = unpacked(&std::fs::read(model)?).ok_or("not an ONNX file")?;
    let model = ModelOptions::with_all_ops().prepack_weights(true).load(bytes)?;
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    let mut player = Player::new(model, &std::fs::read(frames)?, threads.parse()?)?;
    let mut file = std::io::BufWriter::new(std::fs::File::create(outputs)?);
    for _ in 0..steps.parse()? {
        for value in player.advance()? {
            file.write_all(&value.to_le_bytes())?;
        }
    }
    file.flush()?;
    Ok((player, load_ms))
}

/// A model and its state.
struct Player {
    model: Model,
    options: RunOptions,
    /// The graph's inputs, each with the output that is its next value; none for the lightness.
    inputs: Vec<(NodeId, Option<usize>)>,
    /// The inputs' values; the lightness' is never read.
    values: Vec<Value>,
    outputs: Vec<NodeId>,
    /// Where the picture stands among the outputs.
    picture: usize,
    frames: Vec<Value>,
    played: usize,
}

impl Player {
    fn new(model: Model, frames: &[u8], threads: usize) -> Result<Self> {
        let name = |id: NodeId| model.node_info(id).and_then(|info| info.name().map(str::to_owned)).unwrap_or_default();
        let outputs = model.output_ids().to_vec();
        let output_names: Vec<String> = outputs.iter().map(|&id| name(id)).collect();
        let (mut inputs, mut values) = (Vec::new(), Vec::new());
        for (index, &id) in model.input_ids().iter().enumerate() {
            let shape: Option<Vec<usize>> = model.input_shape(index).and_then(|shape| shape.iter().map(fixed).collect());
            values.push(Value::from(Tensor::<f32>::zeros(&shape.ok_or("an input without a fixed shape")?)));
            inputs.push((id, output_names.iter().position(|output| *output == name(id).replace("_in", "_out"))));
        }
        let lightness = inputs.iter().position(|(_, next)| next.is_none()).ok_or("no lightness input")?;
        let shape = values[lightness].shape().to_vec();
        // The same float arithmetic as `contract::scaled_lightness`.
        let scaled: Vec<f32> = frames.chunks_exact(4).map(|b| (f32::from_le_bytes([b[0], b[1], b[2], b[3]]) - 50.0) / 100.0).collect();
        let planes = scaled.chunks_exact(shape.iter().product());
        Ok(Self {
            inputs,
            values,
            picture: output_names.iter().position(|name| !name.starts_with("state_")).ok_or("no picture output")?,
            outputs,
            frames: planes.map(|plane| Tensor::from_data(&shape[..], plane.to_vec()).into()).collect(),
            options: RunOptions::default().with_thread_pool(Some(Arc::new(ThreadPool::with_num_threads(threads)))),
            model,
            played: 0,
        })
    }

    /// Plays one frame and gives the picture output.
    fn advance(&mut self) -> Result<Vec<f32>> {
        let frame = &self.frames[self.played % self.frames.len()];
        let mut feed: Vec<(NodeId, ValueOrView)> = Vec::with_capacity(self.inputs.len());
        for (&(id, next), value) in self.inputs.iter().zip(&self.values) {
            feed.push((id, if next.is_some() { value.into() } else { frame.into() }));
        }
        let mut computed: Vec<Option<Value>> =
            self.model.run(feed, &self.outputs, Some(self.options.clone()))?.into_iter().map(Some).collect();
        self.played += 1;
        for (value, (_, next)) in self.values.iter_mut().zip(&self.inputs) {
            if let Some(new) = next.and_then(|at| computed[at].take()) {
                *value = new;
            }
        }
        let picture: Tensor<f32> = computed[self.picture].take().ok_or("no picture")?.try_into()?;
        Ok(picture.into_data())
    }
}

fn fixed(dimension: &Dimension) -> Option<usize> {
    match dimension {
        Dimension::Fixed(size) => Some(*size),
        Dimension::Symbolic(_) => None,
    }
}

/// VmHWM of this process.
fn peak_memory_mb() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
}
