//! `just bench`: our runtime beside others, in one run, in turns, on the shipped networks and on plain ones.

mod contender;
mod measure;
mod network;
mod peak;
mod pipeline;
mod plot;
mod report;
mod scaling;
mod statistics;
mod subject;
mod worker;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use autochrome_model::InstructionSet;

use contender::{Engine, Entry, Form, Installation};
use measure::Effort;
use network::PlainNet;
use subject::{Photographs, Subject};

const HELP: &str = "\
just bench [OPTIONS]: our runtime beside others, in turns, with ratios and their spread

  --quick              few rounds: a first look
  --rounds N           how often every engine has a turn (20)
  --only NAME          only networks whose name holds NAME: a192, large (which is left out otherwise), and the shipped ones
  --engines A,B        only these: ours, tract, onnxruntime, openvino, rten, peak
  --append FILE        adds the result to FILE as a section: docs/benchmarks.md
  --plot FILE          measures what scales instead, and draws it: docs/scaling.svg
  --write-models DIR   writes the plain networks' files into DIR and measures nothing

Paths are relative to the repository. What is not installed is skipped, with a line.
";

struct Options {
    rounds: usize,
    quick: bool,
    only: Option<String>,
    engines: Vec<Engine>,
    append: Option<PathBuf>,
    plot: Option<PathBuf>,
    write_models: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.split_first() {
        Some((first, rest)) if first == "--worker" => worker::serve(rest),
        _ => match options(&arguments) {
            Ok(Some(options)) => run(options),
            Ok(None) => {
                print!("{HELP}");
                Ok(())
            }
            Err(error) => Err(error),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// None where help is wanted.
fn options(arguments: &[String]) -> anyhow::Result<Option<Options>> {
    let mut options =
        Options { rounds: 20, quick: false, only: None, engines: Engine::ALL.to_vec(), append: None, plot: None, write_models: None };
    let mut rounds = None;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value; see --help"));
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            // Cargo says this to every benchmark.
            "--bench" => {}
            "--quick" => options.quick = true,
            "--rounds" => rounds = Some(value()?.parse().ok().filter(|n| (1..=10_000).contains(n)).context("--rounds: 1 to 10000")?),
            "--only" => options.only = Some(value()?.clone()),
            "--engines" => {
                let named = |name: &str| Engine::ALL.into_iter().find(|engine| engine.key() == name);
                let engines: Option<Vec<Engine>> = value()?.split(',').map(named).collect();
                options.engines = engines.with_context(|| format!("--engines: of {:?}", Engine::ALL.map(Engine::key)))?;
            }
            "--append" => options.append = Some(root().join(value()?)),
            "--plot" => options.plot = Some(root().join(value()?)),
            "--write-models" => options.write_models = Some(root().join(value()?)),
            other => bail!("{other:?} is no option; see --help"),
        }
    }
    options.rounds = rounds.unwrap_or(if options.quick { 5 } else { 20 });
    Ok(Some(options))
}

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

fn run(options: Options) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("make a folder for the models")?;
    let photographs = Photographs::pack(folder.path())?;
    if let Some(target) = &options.write_models {
        return write_models(target, &photographs, folder.path());
    }
    let installation = Installation { peers: peers(), core: report::last_core() };
    let effort =
        Effort { rounds: options.rounds, steps: if options.quick { 5 } else { 25 }, compared: if options.quick { 20 } else { 100 } };
    if let Some(file) = &options.plot {
        // A dozen networks, and only the fastest turns are drawn.
        let effort = Effort { rounds: options.rounds.min(8), compared: 10, ..effort };
        let panels = scaling::measure(&options.engines, &photographs, &installation, folder.path(), effort)?;
        let how = format!(
            "{}; one thread but in the last panel; the fastest of {} turns of {} steps",
            report::machine(),
            effort.rounds,
            effort.steps
        );
        let drawn = plot::svg("Milliseconds a step of the plain recurrent U-Net", &how, &panels);
        return std::fs::write(file, drawn).with_context(|| format!("write {}", file.display()));
    }
    // Who looks at the first lines only ends nothing by that.
    let say = |text: &str| drop(writeln!(std::io::stdout(), "{text}"));
    say(&format!("{}\n", report::machine()));
    let wanted = |name: &str| options.only.as_ref().map_or(name != "large", |only| name.contains(only.as_str()));
    let subjects = subjects(&wanted, &photographs, folder.path())?;
    let mut parts = Vec::new();
    let mut tell = |part: String| {
        say(&part);
        parts.push(part);
    };
    for subject in &subjects {
        tell(report::network(subject, &measure::interleaved(&entries(&options.engines), subject, &installation, folder.path(), effort)?));
    }
    let runs = if options.quick { 1 } else { 3 };
    let frames = 10 * effort.steps;
    tell(report::pipelines(pipeline::measure(&subjects, &installation, frames, runs), frames, runs));
    match &options.append {
        Some(file) => report::append(file, &report::section(&installation, effort, &parts)),
        None => Ok(()),
    }
}

fn write_models(target: &Path, photographs: &Photographs, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(target).with_context(|| format!("make {}", target.display()))?;
    for net in [PlainNet::a192(), PlainNet::large()] {
        let made = Subject::plain(&net, photographs, folder)?;
        for (kind, from) in [("float", &made.float), ("int8", &made.int8)] {
            let to = target.join(format!("{}-{kind}.onnx", made.name));
            std::fs::copy(from, &to).with_context(|| format!("write {}", to.display()))?;
            println!("{}: {} M multiply-adds, {} weights", to.display(), made.work / 1_000_000, made.parameters);
        }
    }
    Ok(())
}

fn subjects(wanted: &dyn Fn(&str) -> bool, photographs: &Photographs, folder: &Path) -> anyhow::Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    for net in [PlainNet::a192(), PlainNet::large()] {
        if wanted(&net.name) {
            subjects.push(Subject::plain(&net, photographs, folder)?);
        }
    }
    let models = root().join("models");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&models)
        .with_context(|| format!("list {}", models.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with("-int8.onnx"))
        .collect();
    files.sort();
    for int8 in files {
        let name = int8.file_name().map(|name| name.to_string_lossy().replace("-int8.onnx", "")).unwrap_or_default();
        let float = models.join(format!("{name}-float.onnx"));
        if wanted(&name) && float.exists() {
            subjects.push(Subject::of_files(&name, [float, int8], photographs, folder)?);
        }
    }
    if subjects.is_empty() {
        bail!("no network has such a name; there are a192, large, and the files of {}", models.display());
    }
    Ok(subjects)
}

/// Who takes part, as far as wanted: one thread, then two.
fn entries(engines: &[Engine]) -> Vec<Entry> {
    use Engine::{OnnxRuntime, OpenVino, Ours, Peak, Rten, Tract};
    use Form::{AllInt8, Float, Int8};
    let one = [
        (Ours, Int8),
        (Tract, Float),
        (Tract, Int8),
        (OnnxRuntime, Float),
        (OnnxRuntime, Int8),
        (OnnxRuntime, AllInt8),
        (OpenVino, Float),
        (OpenVino, Int8),
        (OpenVino, AllInt8),
        (Rten, Float),
        (Rten, Int8),
        (Peak, Int8),
    ];
    let two = [(Ours, Int8), (OnnxRuntime, Float), (OnnxRuntime, Int8), (OnnxRuntime, AllInt8), (OpenVino, Int8)];
    let best = InstructionSet::detect();
    let entry = |threads| move |(engine, form)| Entry { engine, form, threads, set: best };
    // What a lesser processor of this kind would do.
    let lesser = InstructionSet::ALL.iter().copied().filter(|&set| set.is_available() && set != best);
    let masked = lesser.flat_map(|set| [Ours, Peak].map(|engine| Entry { engine, form: Int8, threads: 1, set }));
    let all = one.into_iter().map(entry(1)).chain(masked).chain(two.into_iter().map(entry(2)));
    all.filter(|entry| engines.contains(&entry.engine)).collect()
}

/// Where the foreign engines are: `just bench` says it.
fn peers() -> PathBuf {
    std::env::var_os("AUTOCHROME_PEERS").map_or_else(|| root().join("target/peers"), PathBuf::from)
}
