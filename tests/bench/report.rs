//! What is printed, and what is added to `docs/benchmarks.md`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use autochrome_model::InstructionSet;

use crate::contender::{Engine, Form, Installation};
use crate::measure::{Effort, Findings, Row};
use crate::pipeline::Pipeline;
use crate::statistics::Spread;
use crate::subject::Subject;

/// A network's table, in Markdown that can be read as it is.
pub(crate) fn network(subject: &Subject, findings: &Findings) -> String {
    let Subject { name, width, height, work, parameters, .. } = subject;
    let mut text = format!(
        "**{name}**, {width}x{height}: {:.0} M multiply-adds a frame, {:.2} M weights\n\n",
        *work as f64 / 1e6,
        *parameters as f64 / 1e6
    );
    let header = ["engine", "threads", "ms a step", "ours / it", "it / Tract f32", "agreement", "load ms", "memory MB"];
    let mut table = vec![header.map(String::from).to_vec()];
    table.extend(findings.rows.iter().map(cells));
    text += &aligned(&table);
    text += &skipped(findings);
    if let (Some(one), Some(two)) = (findings.row(Engine::Ours, Form::Int8, 1), findings.row(Engine::Ours, Form::Int8, 2)) {
        let (ratio, fastest) = (Spread::of_ratios(&two.turns, &one.turns), two.fastest() / one.fastest());
        let _ = writeln!(text, "\nours, 2 threads / 1 thread: {}, of the fastest turns {fastest:.3}", spread(ratio, 3));
    }
    if let Some(ours) = findings.row(Engine::Ours, Form::Int8, 1) {
        let _ = writeln!(text, "\nours: {}", ours.version);
    }
    for peak in findings.rows.iter().filter(|row| row.entry.engine == Engine::Peak) {
        let rate = *work as f64 / peak.ms.median / 1e6;
        let _ = writeln!(text, "\n{}: {rate:.0} G multiply-adds/s ({})", peak.entry, peak.version);
    }
    let mut versions: Vec<String> = Vec::new();
    for row in findings.rows.iter().filter(|row| !matches!(row.entry.engine, Engine::Ours | Engine::Peak)) {
        let version = format!("{} {}", row.entry.engine.name(), row.version);
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    if !versions.is_empty() {
        let _ = writeln!(text, "\nversions: {}", versions.join(", "));
    }
    text
}

/// A line for each reason why an engine, or some of its rows, are missing.
fn skipped(findings: &Findings) -> String {
    let mut lines: Vec<(String, &str)> = Vec::new();
    for (entry, reason) in &findings.skipped {
        let takes_part = findings.rows.iter().any(|row| row.entry.engine == entry.engine);
        let who = if takes_part { format!("{entry} ({} threads)", entry.threads) } else { entry.engine.name().into() };
        if !lines.contains(&(who.clone(), reason)) {
            lines.push((who, reason));
        }
    }
    lines.into_iter().map(|(who, reason)| format!("\nskipped: {who}: {reason}\n")).collect()
}

/// The table of the whole pipeline, or why there is none.
pub(crate) fn pipelines(measured: anyhow::Result<Vec<Pipeline>>, frames: usize, runs: usize) -> String {
    let pipelines = match measured {
        Ok(pipelines) => pipelines,
        Err(reason) => return format!("skipped: the whole pipeline: {reason:#}\n"),
    };
    let header = ["network", "network ms", "own stages ms", "whole ms", "frames/s", "load ms", "memory MB"];
    let mut table = vec![header.map(String::from).to_vec()];
    table.extend(pipelines.into_iter().map(|p| {
        let numbers = [(p.step_ms, 2), (p.own_stages_ms, 2), (p.whole_ms, 2), (p.frames_per_second, 1), (p.load_ms, 0), (p.memory_mb, 0)];
        std::iter::once(p.name).chain(numbers.map(|(value, digits)| format!("{value:.digits$}"))).collect()
    }));
    let head = "**The whole pipeline** of the device, 640x480 luma to RGB, int8, one thread";
    format!("{head} (`autochrome bench --frames {frames}`, median of {runs}):\n\n{}", aligned(&table))
}

fn cells(row: &Row) -> Vec<String> {
    let shown = |value: f64, digits: usize| if value.is_finite() { format!("{value:.digits$}") } else { "-".into() };
    let is_network = row.entry.engine != Engine::Peak;
    vec![
        row.entry.to_string(),
        row.entry.threads.to_string(),
        spread(row.ms, 2),
        row.ratio.map_or("-".into(), |ratio| spread(ratio, 3)),
        row.of_tract.map_or("-".into(), |ratio| spread(ratio, 3)),
        row.agreement.map_or("-".into(), |c| format!("{c:.6}")),
        shown(if is_network { row.load_ms } else { f64::NAN }, 0),
        shown(if is_network { row.memory_mb } else { f64::NAN }, 0),
    ]
}

fn spread(Spread { median, low, high }: Spread, digits: usize) -> String {
    format!("{median:.digits$} ({low:.digits$} to {high:.digits$})")
}

/// A Markdown table with columns of even width; the first row is its header.
fn aligned(rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> =
        (0..rows[0].len()).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let line = |cells: &[String]| -> String {
        cells.iter().zip(&widths).map(|(cell, &width)| format!("| {cell:width$} ")).collect::<String>() + "|\n"
    };
    let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
    rows.iter().enumerate().map(|(at, row)| if at == 0 { line(row) + &line(&rule) } else { line(row) }).collect()
}

/// A section for `docs/benchmarks.md`.
pub(crate) fn section(installation: &Installation, effort: Effort, parts: &[String]) -> String {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(crate::root()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let date = said("date", &["-u", "+%F"]).unwrap_or_default();
    let changed = said("git", &["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
    let commit =
        said("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".into()) + if changed { " with changes" } else { "" };
    let pinned = installation.core.map_or("not pinned".into(), |core| format!("pinned to core {core}"));
    let Effort { rounds, steps, compared } = effort;
    format!(
        "\n### {date}, commit {commit}\n\n{}. {rounds} rounds; in each, every engine takes {steps} steps in turn, after 2 that do not count; one thread is {pinned}.\n\
         Spreads are p10 to p90; ratios are of the turns of one round. Agreement: correlation of the outputs over {compared} recurrent frames, of int8 with ours (of \"sums too\", which is another file, too), of f32 with Tract's.\n\
         Memory is VmHWM of the engine's process, with the frames that are played, and for ONNX Runtime and OpenVINO with Python; load is reading and preparing, once.\n\n{}",
        machine(),
        parts.join("\n")
    )
}

/// Processor, cores, and the instruction set that our operators choose on it.
pub(crate) fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown processor", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    format!("{name}, {cores} cores, {}", InstructionSet::detect())
}

/// What stands above the sections in a file that has none yet.
const HEADING: &str = "## Beside other engines";
const INTRODUCTION: &str = "\
Written by `just bench --append docs/benchmarks.md`. Every engine runs in a process of its own, and they take turns, so that what else the machine does
meets all of them. \"int8\" is the file as it is exported (QDQ, gates and state in float); \"int8, sums too\" is the same network with the output of every
convolution quantized, because ONNX Runtime computes a convolution in float where its output is float. The peak is the time that as many 8-bit
multiply-adds take in registers alone (for AVX2 with `vpmaddwd`; its kernel uses `vpmaddubsw`).

ONNX Runtime and OpenVINO are called from Python; what such a call costs is in their times. OpenVINO is told to compute floats in f32, as the others do, and
not in bf16. A lesser instruction set is that of our int8 kernels; the float parts and Tract keep theirs.
";

/// Adds `section` at the end of `file`.
///
/// # Errors
/// If it cannot be read or written.
pub(crate) fn append(file: &Path, section: &str) -> anyhow::Result<()> {
    let add = || {
        let opened = std::fs::OpenOptions::new().append(true).create(true).open(file);
        let is_first = !std::fs::read_to_string(file)?.contains(HEADING);
        let introduction = if is_first { format!("\n{HEADING}\n\n{INTRODUCTION}") } else { String::new() };
        opened?.write_all(format!("{introduction}{section}").as_bytes())
    };
    add().with_context(|| format!("add to {}", file.display()))
}

/// The last of the cores this process may use; none where `taskset` is missing.
pub(crate) fn last_core() -> Option<usize> {
    Command::new("taskset").arg("--version").output().ok().filter(|output| output.status.success())?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    list.trim().rsplit([',', '-']).next()?.parse().ok()
}
