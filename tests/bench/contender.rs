//! An engine with a model, in a process of its own: so each has its own memory, and only the one whose turn it is runs.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, bail};
use autochrome_model::InstructionSet;

use crate::subject::Subject;

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// This repository's runtime, as a device has it.
    Ours,
    /// The same crate with everything left to Tract.
    Tract,
    /// From PyPI.
    OnnxRuntime,
    /// From PyPI.
    OpenVino,
    /// The worker in `rten/`.
    Rten,
    /// No network at all: as many multiply-adds as it has, at the rate of the best instruction.
    Peak,
}

impl Engine {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [Self::Ours, Self::Tract, Self::OnnxRuntime, Self::OpenVino, Self::Rten, Self::Peak];

    /// What the line protocol and `--engines` call it.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Tract => "tract",
            Self::OnnxRuntime => "onnxruntime",
            Self::OpenVino => "openvino",
            Self::Rten => "rten",
            Self::Peak => "peak",
        }
    }

    /// What reports call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Tract => "stock Tract",
            Self::OnnxRuntime => "ONNX Runtime",
            Self::OpenVino => "OpenVINO",
            Self::Rten => "rten",
            Self::Peak => "int8 peak",
        }
    }
}

/// In which file a network is given to an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The float file.
    Float,
    /// The int8 file as it is exported: what the gates sum stays float.
    Int8,
    /// The same with every convolution's output quantized. ONNX Runtime computes a convolution in float where its output is float.
    AllInt8,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float => "f32",
            Self::Int8 => "int8",
            Self::AllInt8 => "int8, sums too",
        })
    }
}

/// One row of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What computes.
    pub(crate) engine: Engine,
    /// The file it runs.
    pub(crate) form: Form,
    /// How many threads it may use.
    pub(crate) threads: usize,
    /// The instruction set of our own operators, or of the peak; the other engines choose theirs.
    pub(crate) set: InstructionSet,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.engine == Engine::Peak {
            return write!(f, "{}, {}", self.engine.name(), self.set);
        }
        write!(f, "{} {}", self.engine.name(), self.form)?;
        if self.engine == Engine::Ours { write!(f, ", {}", self.set) } else { Ok(()) }
    }
}

/// A worker that waits for its turn.
pub(crate) struct Contender {
    /// What it is.
    pub(crate) entry: Entry,
    /// Its own word.
    pub(crate) version: String,
    /// Reading and preparing the model, once, in ms.
    pub(crate) load_ms: f64,
    /// Its first outputs, step after step.
    pub(crate) outputs: Vec<f32>,
    child: Child,
    requests: Option<ChildStdin>,
    answers: Receiver<String>,
}

/// Where the foreign engines are, and how processes are held on one core.
pub(crate) struct Installation {
    /// The folder that `just bench` prepares: a Python environment, and the rten worker.
    pub(crate) peers: PathBuf,
    /// The core for what runs on one thread; none where `taskset` is missing.
    pub(crate) core: Option<usize>,
}

/// A command that runs `program`, on `core` alone if one is given.
pub(crate) fn pinned(program: &Path, core: Option<usize>) -> Command {
    let Some(core) = core else { return Command::new(program) };
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &core.to_string()]).arg(program);
    command
}

/// How long an engine may take to load a model and play the first frames, or to answer.
const PATIENCE: Duration = Duration::from_secs(180);

impl Contender {
    /// Starts a worker and lets it play `steps` frames.
    ///
    /// # Errors
    /// Why this engine is to be left out: it is not installed, or does not run this model.
    pub(crate) fn start(entry: Entry, subject: &Subject, installation: &Installation, folder: &Path, steps: usize) -> anyhow::Result<Self> {
        let outputs = folder.join(format!("{}-{}-{}-{}.f32", entry.engine.key(), entry.form, entry.threads, entry.set));
        let program = match entry.engine {
            Engine::Ours | Engine::Tract | Engine::Peak => std::env::current_exe().context("find this program")?,
            Engine::OnnxRuntime | Engine::OpenVino => installation.peers.join("python/bin/python"),
            Engine::Rten => installation.peers.join("rten/release/rten-peer"),
        };
        if !program.exists() {
            bail!("not installed ({} is missing; `just bench` makes it where there is a network)", program.display());
        }
        let mut command = pinned(&program, installation.core.filter(|_| entry.threads == 1));
        match entry.engine {
            Engine::Ours | Engine::Tract | Engine::Peak => command.arg("--worker"),
            Engine::OnnxRuntime | Engine::OpenVino => command.arg(crate::root().join("tests/bench/peer.py")),
            Engine::Rten => &mut command,
        };
        command.arg(entry.engine.key());
        match entry.engine {
            Engine::Peak => command.arg(subject.work.to_string()),
            _ => command.arg(subject.file(entry.form)),
        };
        command.arg(&subject.frames).arg(entry.threads.to_string()).arg(&outputs).arg(steps.to_string());
        if matches!(entry.engine, Engine::Ours | Engine::Tract | Engine::Peak) {
            command.arg(entry.set.to_string());
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let requests = child.stdin.take();
        let stdout = child.stdout.take().context("a worker without standard output")?;
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            // Ends with the worker's output, or with the receiver.
            BufReader::new(stdout).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok());
        });
        let mut contender = Self { entry, version: String::new(), load_ms: f64::NAN, outputs: Vec::new(), child, requests, answers };
        let ready = contender.answer("ready")?;
        let (load_ms, version) = ready.split_once(' ').unwrap_or((&ready, ""));
        (contender.load_ms, contender.version) = (load_ms.parse()?, version.into());
        if entry.engine != Engine::Peak {
            let bytes = std::fs::read(&outputs).with_context(|| format!("read {}", outputs.display()))?;
            contender.outputs = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        }
        Ok(contender)
    }

    /// The milliseconds of each of `count` further steps.
    ///
    /// # Errors
    /// If the worker is gone.
    pub(crate) fn steps(&mut self, count: usize) -> anyhow::Result<Vec<f64>> {
        self.request(&count.to_string())?;
        self.answer("ms")?.split_whitespace().map(|ms| Ok(ms.parse()?)).collect()
    }

    /// The most memory it ever held, in MB.
    ///
    /// # Errors
    /// If the worker is gone.
    pub(crate) fn memory_mb(&mut self) -> anyhow::Result<f64> {
        self.request("memory")?;
        Ok(self.answer("memory")?.parse()?)
    }

    fn request(&mut self, line: &str) -> anyhow::Result<()> {
        writeln!(self.requests.as_mut().context("the worker's input is closed")?, "{line}").with_context(|| format!("ask {}", self.entry))
    }

    /// What follows `word` in the first line that begins with it; engines write lines of their own too.
    fn answer(&mut self, word: &str) -> anyhow::Result<String> {
        loop {
            let line = self.answers.recv_timeout(PATIENCE).map_err(|error| match error {
                RecvTimeoutError::Disconnected => anyhow::anyhow!("its process ended without a word"),
                RecvTimeoutError::Timeout => anyhow::anyhow!("its process said nothing for {PATIENCE:?}"),
            })?;
            match line.split_once(' ') {
                Some(("failed", reason)) => bail!("{reason}"),
                Some((first, rest)) if first == word => return Ok(rest.trim().into()),
                _ => {}
            }
        }
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        // It ends with its input; one that does not is ended.
        drop(self.requests.take());
        for _ in 0..50 {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
