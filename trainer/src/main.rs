//! `autochrome-trainer`: pack, train, resume, eval, export, resize.

mod terminal;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use autochrome_model::{Colorizer, LumaRange, Painter, contract};
use autochrome_trainer::config::{RunConfig, SizeConfig};
use autochrome_trainer::data::pack::{InputKind, PackConfig, PackInput, pack};
use autochrome_trainer::data::shard::PackedSet;
use autochrome_trainer::data::split::Split;
use autochrome_trainer::export::{self, CardChanges, Exported, Provenance};
use autochrome_trainer::{checkpoint, evaluate, nets, train};
use burn::module::Module;
use burn::tensor::Device;
use clap::{Parser, Subcommand, ValueEnum};

/// Packs photos and clips, trains recurrent colorizers, and exports them as int8 ONNX.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Packs photo folders, clip folders and video files into memory-mapped shards.
    Pack {
        /// Photo folders, folders of clip folders, or video files; `KIND:PATH` (stills, clips, video) says what one holds.
        #[arg(required = true)]
        inputs: Vec<String>,
        /// The folder to create.
        #[arg(long)]
        out: PathBuf,
        /// The pictures' shorter side, pixels.
        #[arg(long, default_value_t = 144)]
        short_side: u32,
        /// Frames a second taken from video files.
        #[arg(long)]
        fps: Option<f32>,
        /// Pack only this many stills.
        #[arg(long)]
        limit: Option<usize>,
        /// Replace a packed set that is already there.
        #[arg(long)]
        force: bool,
    },
    /// Trains a network from the beginning, or from another run's weights.
    Train {
        /// The configuration.
        config: PathBuf,
        /// The packed set.
        #[arg(long)]
        data: PathBuf,
        /// The new run's folder.
        #[arg(long)]
        run: PathBuf,
        /// A file with another network and input size, in place of the configuration's.
        #[arg(long)]
        size: Option<PathBuf>,
        /// Where to compute.
        #[arg(long, value_enum, default_value_t)]
        device: DeviceChoice,
        /// Steps, in place of the configuration's.
        #[arg(long)]
        steps: Option<u64>,
        /// A checkpoint or a float ONNX file whose weights to start from, in place of the configuration's.
        #[arg(long)]
        start_from: Option<PathBuf>,
    },
    /// Goes on with a run from its newest checkpoint.
    Resume {
        /// The run's folder.
        run: PathBuf,
        /// The packed set, where it has moved.
        #[arg(long)]
        data: Option<PathBuf>,
        /// Where to compute.
        #[arg(long, value_enum, default_value_t)]
        device: DeviceChoice,
    },
    /// Measures model files on the validation split.
    Eval {
        /// ONNX files.
        #[arg(required = true)]
        models: Vec<PathBuf>,
        /// The packed set.
        #[arg(long)]
        data: PathBuf,
        /// Temperatures to measure at.
        #[arg(long, value_delimiter = ',', default_value = "0.38,0.6,0.8,1.0")]
        temperatures: Vec<f32>,
        /// Pictures a source, evenly spread.
        #[arg(long, default_value_t = usize::MAX)]
        limit: usize,
        /// Only still pictures.
        #[arg(long)]
        stills_only: bool,
        /// Also a PNG of grey | each model | truth.
        #[arg(long)]
        grid: Option<PathBuf>,
        /// JSON lines in place of a table.
        #[arg(long)]
        json: bool,
    },
    /// Exports a run's newest checkpoint as a float and an int8 ONNX file, and verifies both.
    Export {
        /// The run's folder.
        run: PathBuf,
        /// The folder for the files.
        #[arg(long, default_value = ".")]
        out: PathBuf,
        /// The packed set, where it has moved.
        #[arg(long)]
        data: Option<PathBuf>,
        /// What the file says about its training, in place of what the run's folder says.
        #[arg(long)]
        training: Option<String>,
        /// What the file says about the terms of its use.
        #[arg(long, default_value = "not stated; ask whoever trained it")]
        license: String,
        /// The default decoding temperature, in place of the configuration's.
        #[arg(long)]
        temperature: Option<f32>,
        /// The default factor on ab, in place of the configuration's.
        #[arg(long)]
        saturation: Option<f32>,
        /// Only the float file, without calibration and verification: for a look in the middle of a run.
        #[arg(long)]
        float_only: bool,
    },
    /// Writes a float ONNX file for another input size, with the same weights, and an int8 file that is calibrated anew.
    Resize {
        /// The float file.
        float: PathBuf,
        /// The new input size, as WIDTHxHEIGHT; multiples of 16.
        #[arg(long, value_parser = size)]
        size: [usize; 2],
        /// The packed set to calibrate and to compare on.
        #[arg(long)]
        data: PathBuf,
        /// The folder for the files.
        #[arg(long, default_value = ".")]
        out: PathBuf,
        /// The name in front of the size, in place of the old one.
        #[arg(long)]
        name: Option<String>,
        /// The default decoding temperature, in place of the old one.
        #[arg(long)]
        temperature: Option<f32>,
        /// The default factor on ab, in place of the old one: from the same weights a larger input gives stronger colors.
        #[arg(long)]
        saturation: Option<f32>,
    },
}

fn size(text: &str) -> Result<[usize; 2], String> {
    let sides = text.split_once('x').and_then(|(width, height)| Some([width.parse().ok()?, height.parse().ok()?]));
    sides.ok_or_else(|| "a size is WIDTHxHEIGHT, such as 256x192".into())
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum DeviceChoice {
    /// This machine's processor.
    #[default]
    Cpu,
    /// The first NVIDIA GPU; needs a build with `--features cuda`.
    Cuda,
}

impl DeviceChoice {
    fn open(self) -> anyhow::Result<Device> {
        match self {
            Self::Cpu if cfg!(feature = "cuda") && std::env::var("BURN_DEVICE").as_deref() != Ok("flex") => {
                // Burn restores optimizers on its default device, which in such a build is the GPU.
                bail!("this build computes on CUDA by default; set BURN_DEVICE=flex in the environment to compute on the CPU")
            }
            Self::Cpu => Ok(Device::flex().autodiff()),
            Self::Cuda => open_cuda(),
        }
    }
}

#[cfg(feature = "cuda")]
fn open_cuda() -> anyhow::Result<Device> {
    match Device::enumerate(burn::tensor::DeviceType::Cuda).into_iter().next() {
        Some(device) => Ok(device.autodiff()),
        None => bail!("no CUDA GPU was found: `nvidia-smi` should list one, and the CUDA libraries must be installed"),
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda() -> anyhow::Result<Device> {
    bail!("this build has no CUDA; build it with `cargo build --release -p autochrome-trainer --features cuda`")
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("autochrome-trainer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Pack { inputs, out, short_side, fps, limit, force } => {
            let inputs = inputs.iter().map(|text| pack_input(text)).collect::<anyhow::Result<_>>()?;
            let config = PackConfig { inputs, out: out.clone(), short_side, video_fps: fps, limit, force, ..PackConfig::default() };
            let mut bar = terminal::Bar::new("packed");
            let summary = pack(&config, &mut |done, total| bar.at(done as u64, total as u64, ""))?;
            bar.end();
            summary.skipped.iter().take(20).for_each(|s| eprintln!("skipped {}: {}", s.path.display(), s.reason));
            println!(
                "{}: {} stills, {} clips, {} frames, {:.1} MB; {} items to train on, {} to validate, {} files skipped",
                out.display(),
                summary.stills,
                summary.clips,
                summary.frames,
                summary.bytes as f64 / 1e6,
                summary.train_items,
                summary.validation_items,
                summary.skipped.len()
            );
            Ok(())
        }
        Verb::Train { config, data, run, size, device, steps, start_from } => {
            let mut config = RunConfig::read(&config)?;
            if let Some(file) = size {
                SizeConfig::read(&file)?.apply(&mut config);
                config.check().with_context(|| format!("the size {}", file.display()))?;
            }
            config.steps = steps.unwrap_or(config.steps);
            config.start_from = start_from.or(config.start_from);
            let mut watcher = terminal::Terminal::new();
            train::start(&run, &config, &data, &device.open()?, &*stop_on_signals()?, &mut watcher)
        }
        Verb::Resume { run, data, device } => {
            train::resume(&run, data.as_deref(), &device.open()?, &*stop_on_signals()?, &mut terminal::Terminal::new())
        }
        Verb::Eval { models, data, temperatures, limit, stills_only, grid, json } => {
            evaluate_files(&models, &data, &temperatures, limit, stills_only, json)?;
            if let Some(grid) = grid {
                let models = models.iter().map(|m| Colorizer::load(m)).collect::<Result<_, _>>()?;
                evaluate::sample_grid(models, &PackedSet::open(&data)?, Split::Validation, 24, &grid)?;
            }
            Ok(())
        }
        Verb::Export { run, out, data, training, license, temperature, saturation, float_only } => {
            let mut config = RunConfig::read(&train::config_file(&run))?;
            config.temperature = temperature.unwrap_or(config.temperature);
            config.saturation = saturation.unwrap_or(config.saturation);
            let newest =
                checkpoint::list(&train::checkpoints(&run))?.pop().with_context(|| format!("{} has no checkpoint", run.display()))?;
            let net = nets::RecurrentUNet::new(&config.net, config.centers()?.len(), &Device::flex());
            let net = checkpoint::load_weights(net, &checkpoint::average_file(&newest))?.valid();
            let provenance = Provenance { training: training.unwrap_or_else(|| format!("run {:?}", config.name)), license };
            if float_only {
                let model = export::float_model(&net, &config, &provenance)?;
                let file = out.join("float.onnx");
                checkpoint::write_atomically(&file, &prost::Message::encode_to_vec(&model))?;
                println!("{} from {}", file.display(), newest.display());
                return Ok(());
            }
            let data = data.map_or_else(|| train::data_of(&run), Ok)?;
            let (exported, parity) = export::export(&net, &config, &Arc::new(PackedSet::open(&data)?), &provenance, &out)?;
            println!("Tract against Burn: {}", serde_json::to_string(&parity)?);
            tell(&exported)
        }
        Verb::Resize { float, size, data, out, name, temperature, saturation } => {
            let what = || format!("resize {}", float.display());
            let model = contract::parse(&std::fs::read(&float).with_context(what)?).with_context(what)?;
            let pack = Arc::new(PackedSet::open(&data)?);
            let changes = CardChanges { name, temperature, saturation };
            tell(&export::resize(&model, size, &changes, &pack, &out).with_context(what)?)
        }
    }
}

fn tell(exported: &Exported) -> anyhow::Result<()> {
    println!("{}", exported.float.display());
    println!("{}", exported.int8.display());
    println!("int8 against float: {}", serde_json::to_string(&exported.quantization)?);
    println!("{:.1} M multiply-adds a frame", exported.multiply_adds as f64 / 1e6);
    Ok(())
}

fn pack_input(text: &str) -> anyhow::Result<PackInput> {
    let kinds = [("stills:", InputKind::Stills), ("clips:", InputKind::Clips), ("video:", InputKind::Video)];
    match kinds.iter().find_map(|(prefix, kind)| text.strip_prefix(prefix).map(|path| (path, *kind))) {
        Some((path, kind)) => {
            let path = PathBuf::from(path);
            let source = path.file_stem().map_or("input".into(), |name| name.to_string_lossy().into_owned());
            Ok(PackInput { path, kind, source })
        }
        None => PackInput::detect(Path::new(text)),
    }
}

fn evaluate_files(
    models: &[PathBuf],
    data: &Path,
    temperatures: &[f32],
    limit: usize,
    stills_only: bool,
    json: bool,
) -> anyhow::Result<()> {
    let set = PackedSet::open(data)?;
    let sources = ["photos", "people", "objects"].into_iter().filter(|s| set.manifest().sources.iter().any(|known| known == s));
    let sources: Vec<Option<&str>> = std::iter::once(None).chain(sources.map(Some)).collect();
    if !json {
        println!(
            "{:<40} {:<8} {:>4} {:>5} {:>7} {:>7} {:>6} {:>14} {:>14}",
            "model", "source", "n", "T", "PSNR", "grey", "gain", "CF abs", "CF signed"
        );
    }
    for file in models {
        let mut painter = Painter::new(Colorizer::load(file)?, LumaRange::Full);
        let name = file.file_stem().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        for source in &sources {
            for q in evaluate::stills(&mut painter, &set, Split::Validation, *source, temperatures, limit)? {
                if json {
                    println!("{}", serde_json::json!({"model": name, "stills": q}));
                    continue;
                }
                let share = |found: f64, truth: f64| format!("{found:.1}/{truth:.1} {:.0}%", 100.0 * found / truth);
                println!(
                    "{name:<40} {:<8} {:>4} {:>5} {:>7.2} {:>7.2} {:>+6.2} {:>14} {:>14}",
                    q.source,
                    q.pictures,
                    q.temperature,
                    q.psnr,
                    q.psnr_grey,
                    q.gain(),
                    share(q.colorfulness, q.colorfulness_truth),
                    share(q.colorfulness_signed, q.colorfulness_signed_truth)
                );
            }
        }
        if stills_only {
            continue;
        }
        let temperature = painter.colorizer().contract().card.temperature;
        let s = evaluate::steadiness(&mut painter, &set, Split::Validation, temperature)?;
        if json {
            println!("{}", serde_json::json!({"model": name, "temperature": temperature, "steadiness": s}));
        } else {
            println!(
                "{name:<40} T {temperature}, {} clips: CDC {:.6}, truth {:.6} ({:+.1} %), grey {:.6}; std(ab) of a noisy still scene {:.3}",
                s.clips,
                s.cdc,
                s.cdc_truth,
                100.0 * (s.cdc / s.cdc_truth - 1.0),
                s.cdc_grey,
                s.still_ab_deviation
            );
        }
    }
    Ok(())
}

/// Set by SIGINT and SIGTERM: the run then saves and ends. A second signal ends it at once.
fn stop_on_signals() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_default(signal, stop.clone()).context("listen for signals")?;
        signal_hook::flag::register(signal, stop.clone()).context("listen for signals")?;
    }
    Ok(stop)
}
