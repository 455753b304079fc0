//! The other side of the line protocol, for the engines that are Rust: `peers --worker ENGINE MODEL FRAMES THREADS OUTPUTS STEPS SET`.
//!
//! A worker loads its model, plays STEPS frames from a zero state, writes what the network gave into OUTPUTS (little-endian f32), and says
//! `ready LOAD_MS VERSION`, or `failed REASON`. Then, for each line it reads: a number N is answered by `ms` and the milliseconds of each of N
//! further steps, `memory` by `memory` and the most MB it ever held. It ends with its input. `peer.py` speaks the same.

use std::io::{BufRead, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use autochrome_model::{Colorizer, InstructionSet, Plane, Runtime};

use crate::{peak, subject};

/// Serves requests until standard input ends.
///
/// # Errors
/// If standard output is gone. Everything else is told to the other side.
pub(crate) fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let (mut step, ready) = match begin(arguments) {
        Ok(begun) => begun,
        Err(error) => return Ok(writeln!(out, "failed {}", format!("{error:#}").replace('\n', " "))?),
    };
    writeln!(out, "ready {ready}")?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        match line?.trim() {
            "memory" => writeln!(out, "memory {}", peak_memory_mb().unwrap_or(f64::NAN))?,
            count => {
                let times: Vec<String> = (0..count.parse().unwrap_or(0_usize)).map(|_| step().to_string()).collect();
                writeln!(out, "ms {}", times.join(" "))?;
            }
        }
        out.flush()?;
    }
    Ok(())
}

/// One step, and how many milliseconds it took.
type TimedStep = Box<dyn FnMut() -> f64>;

fn begin(arguments: &[String]) -> anyhow::Result<(TimedStep, String)> {
    let [engine, model, frames, threads, outputs, steps, set] = arguments else { anyhow::bail!("a worker takes seven arguments") };
    let instruction_set =
        InstructionSet::ALL.iter().copied().find(|known| known.to_string() == *set).with_context(|| format!("no {set:?}"))?;
    if engine == "peak" {
        let work: u64 = model.parse()?;
        let step = move || timed(|| peak::multiply_adds(instruction_set, work));
        return Ok((Box::new(step), format!("0 {}", peak::name(instruction_set))));
    }
    let threads: NonZeroUsize = threads.parse()?;
    let start = Instant::now();
    let proto = subject::read(Path::new(model))?;
    let mut colorizer =
        Colorizer::from_proto_as(model, &proto, Runtime { fused: engine == "ours", threads, instruction_set: Some(instruction_set) })?;
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    drop(proto);
    let fused = colorizer.fused();
    let version = match engine.as_str() {
        "ours" => {
            let (count, left) = (fused.convolutions.len(), &fused.left);
            let exceptions = if left.is_empty() { String::new() } else { format!(", not {}", left.join(", ")) };
            format!("{count} of {} convolutions fused{exceptions}", count + left.len())
        }
        _ => tract_version().into(),
    };
    let (width, height) = (colorizer.contract().width, colorizer.contract().height);
    let bytes = std::fs::read(frames).with_context(|| format!("read {frames}"))?;
    let values: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    drop(bytes);
    let planes: Vec<Plane<f32>> = values.chunks_exact(width * height).map(|plane| Plane::from_vec(width, height, plane.to_vec())).collect();
    anyhow::ensure!(!planes.is_empty(), "{frames} holds no frame of {width}x{height}");
    let mut written = std::io::BufWriter::new(std::fs::File::create(outputs).with_context(|| format!("write {outputs}"))?);
    let steps: usize = steps.parse()?;
    for number in 0..steps {
        colorizer.advance(&planes[number % planes.len()])?;
        for value in colorizer.raw_output() {
            written.write_all(&value.to_le_bytes())?;
        }
    }
    written.flush()?;
    let mut number = steps;
    let step = move || {
        number += 1;
        let plane = &planes[number % planes.len()];
        timed(|| colorizer.advance(plane).expect("a step like those before"))
    };
    Ok((Box::new(step), format!("{load_ms} {version}")))
}

/// As the workspace locks it.
fn tract_version() -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let entry = lock.split("name = \"tract-onnx\"\nversion = \"").nth(1);
    entry.and_then(|rest| rest.split('"').next()).unwrap_or("of an unknown version")
}

fn timed<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed().as_secs_f64() * 1e3
}

/// VmHWM of this process.
fn peak_memory_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()? / 1024.0)
}
