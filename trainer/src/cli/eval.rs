//! `eval`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use autochrome_model::Colorizer;
use autochrome_trainer::data::pack::{PackConfig, PackInput, pack};
use autochrome_trainer::data::shard::{ItemKind, MANIFEST_NAME, PART_NAME, PackedSet};
use autochrome_trainer::data::split::Split;
use autochrome_trainer::evaluate::{
    self, Comparison, Contestant, Exhibits, FeatureNetwork, Kind, PerceptualDistance, Plan, Share, page, table,
};
use autochrome_trainer::export;
use autochrome_trainer::files::write_atomically;
use clap::ValueEnum;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;
use tract_onnx::pb::ModelProto;

use super::pack::Framing;
use crate::terminal::Bar;

/// How often a folder is removed that is still being written to.
const ATTEMPTS: usize = 20;

/// Measures model files beside grey pictures: one table, and a page with pictures.
#[derive(clap::Args)]
pub(crate) struct Eval {
    /// ONNX files, or folders of runs; of a run's newest checkpoint both files are measured, float and int8.
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// The packed set; or a folder of photographs, a folder of clip folders, a video file, or `KIND:PATH` as `pack` takes it, which is packed for
    /// this once.
    #[arg(long)]
    data: PathBuf,
    #[command(flatten)]
    framing: Framing,
    /// Which part of a packed set. All of a plain folder is measured.
    #[arg(long, value_enum, default_value_t)]
    split: Part,
    /// Temperatures of the trade-off curve; the table is measured at each model's own.
    #[arg(long, value_delimiter = ',', default_value = "0.38,0.6,0.8,1.0")]
    temperatures: Vec<f32>,
    /// Pictures a source, evenly spread; all by default.
    #[arg(long)]
    limit: Option<NonZeroUsize>,
    /// A packed set whose training photographs the classical methods take their colors from. By default they take those of the set that is
    /// measured, where its validation split is. A measured picture is never a reference: it would be the truth.
    #[arg(long, value_name = "SET")]
    references: Option<PathBuf>,
    /// Leaves the classical methods out.
    #[arg(long, conflicts_with = "references")]
    no_classical: bool,
    /// Only still pictures.
    #[arg(long)]
    stills_only: bool,
    /// Each model a second time, with a zero state before every frame.
    #[arg(long)]
    without_state: bool,
    /// Also a page, one HTML file with all pictures in it.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Pictures on the page.
    #[arg(long, default_value_t = 12)]
    samples: usize,
    /// An ONNX file that gives pool3 features, RGB 0 to 1 in, for FID. Nothing is downloaded.
    #[arg(long, value_name = "FILE.onnx")]
    fid_weights: Option<PathBuf>,
    /// An ONNX file that gives the distance of two pictures, RGB -1 to 1 in, for LPIPS. Nothing is downloaded.
    #[arg(long, value_name = "FILE.onnx")]
    lpips_weights: Option<PathBuf>,
    /// Also a PNG of grey | each model | truth, as a device would show them.
    #[arg(long)]
    grid: Option<PathBuf>,
    /// JSON lines in place of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Part {
    #[default]
    Validation,
    Train,
    All,
}

impl From<Part> for Share {
    fn from(part: Part) -> Self {
        match part {
            Part::Validation => Self::Of(Split::Validation),
            Part::Train => Self::Of(Split::Train),
            Part::All => Self::Whole,
        }
    }
}

impl Eval {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        for &temperature in &self.temperatures {
            ensure!(temperature > 0.0 && temperature.is_finite(), "the temperature {temperature}: a positive number is needed");
        }
        let subjects = self.subjects()?;
        let mut models = subjects.iter().map(Subject::contestant).collect::<anyhow::Result<Vec<_>>>()?;
        if self.without_state {
            for subject in &subjects {
                models.push(subject.contestant()?.without_state());
            }
        }
        let plan = Plan {
            temperatures: self.temperatures.clone(),
            moving: !self.stills_only,
            samples: if self.report.is_some() { self.samples } else { 0 },
            features: self.fid_weights.as_deref().map(FeatureNetwork::load).transpose()?,
            perceptual: self.lpips_weights.as_deref().map(PerceptualDistance::load).transpose()?,
        };
        let opened = Opened::open(&self.data, &self.framing)?;
        let share = if opened.temporary.is_some() { Share::Whole } else { self.split.into() };
        let exhibits = Exhibits::choose_from(&self.data, &opened.set, share, self.limit.map_or(usize::MAX, NonZeroUsize::get))?;
        let (small, colorless) = (exhibits.too_small(), exhibits.colorless());
        if small + colorless > 0 {
            eprintln!("left out: {small} too small for the figures, {colorless} without color");
        }
        let mut contestants = vec![Contestant::grey()];
        contestants.extend(self.classical(&exhibits)?);
        contestants.extend(models);
        let mut bar = Bar::new("measured");
        let found = evaluate::evaluate(contestants, &exhibits, None, &plan, &mut |done, total| bar.at(done as u64, total as u64, ""))?;
        bar.end();
        self.show(&found)?;
        if let Some(grid) = &self.grid {
            let colorizer = |path: &PathBuf| -> anyhow::Result<Colorizer> {
                let name = path.display().to_string();
                Ok(if path.is_dir() { Colorizer::from_proto(&name, &export::float_of_run(path)?)? } else { Colorizer::load(path)? })
            };
            let models = self.models.iter().map(colorizer).collect::<anyhow::Result<_>>()?;
            evaluate::sample_grid(models, &exhibits, 24, grid)?;
        }
        Ok(())
    }

    /// A row for each model file, and two for each run: as a float and as an int8 file.
    fn subjects(&self) -> anyhow::Result<Vec<Subject>> {
        let mut subjects = Vec::new();
        for (path, name) in self.models.iter().zip(evaluate::names_of(&self.models)) {
            if !path.is_dir() {
                subjects.push(Subject::File(name, path.clone()));
                continue;
            }
            let what = || format!("evaluate the run {}", path.display());
            let (float, int8) = export::files_of_run(path).with_context(what)?;
            subjects.push(Subject::Model(name.clone(), Kind::Network, Box::new(float)));
            match int8 {
                Ok(int8) => subjects.push(Subject::Model(format!("{name}-int8"), Kind::Int8, Box::new(int8))),
                Err(error) => eprintln!("{name} has no int8 row: {error:#}"),
            }
        }
        Ok(subjects)
    }

    /// The classical rows, where there are pictures to take colors from that are not measured themselves.
    fn classical(&self, exhibits: &Exhibits) -> anyhow::Result<Vec<Contestant>> {
        if self.no_classical {
            return Ok(Vec::new());
        }
        if let Some(set) = &self.references {
            return Contestant::classical_apart_from(exhibits, &PackedSet::open(set)?);
        }
        let measured = exhibits.set();
        if exhibits.share() == Share::Of(Split::Validation) && measured.items(Split::Train).iter().any(|item| item.kind == ItemKind::Still)
        {
            return Contestant::classical_apart_from(exhibits, measured);
        }
        eprintln!("no classical methods: name a packed set to take colors from with --references");
        Ok(Vec::new())
    }

    /// The table first: whatever becomes of the page, nothing that was measured is lost.
    fn show(&self, found: &Comparison) -> anyhow::Result<()> {
        print!("{}", if self.json { table::json_lines(found)? } else { table::text(found) });
        if let Some(file) = &self.report {
            write_atomically(file, page::html(found).as_bytes()).context("write the report")?;
            eprintln!("{}", file.display());
        }
        Ok(())
    }
}

/// What is measured.
enum Subject {
    File(String, PathBuf),
    Model(String, Kind, Box<ModelProto>),
}

impl Subject {
    fn contestant(&self) -> anyhow::Result<Contestant> {
        match self {
            Self::File(name, file) => Contestant::from_file(name, file),
            Self::Model(name, kind, model) => Contestant::from_model(name, *kind, model),
        }
    }
}

/// A packed set, and the folder it was packed into for this once.
struct Opened {
    set: PackedSet,
    temporary: Option<TempDir>,
}

impl Opened {
    fn open(data: &Path, framing: &Framing) -> anyhow::Result<Self> {
        let text = data.to_string_lossy();
        let is_packed = [MANIFEST_NAME, PART_NAME].iter().any(|name| data.join(name).exists());
        if is_packed || !(data.exists() || text.contains(':')) {
            let set = PackedSet::open(data)?;
            ensure!(
                !framing.is_given(),
                "{} is a packed set, and measured as it was packed; --short-side, --fps and --pad are for pictures and films that are not packed yet",
                data.display()
            );
            return Ok(Self { set, temporary: None });
        }
        let what = || format!("evaluate on {}, which is no packed set", data.display());
        let folder = tempfile::tempdir().context("make a folder to pack into")?;
        remove_on_signals(folder.path())?;
        let out = folder.path().join("packed");
        let input = if data.exists() { PackInput::detect(data) } else { PackInput::parse(&text) };
        let config = framing.apply(PackConfig { inputs: vec![input.with_context(what)?], out: out.clone(), ..PackConfig::default() });
        let mut bar = Bar::new("packed");
        let summary = pack(&config, &mut |done, total| bar.at(done as u64, total as u64, "")).with_context(what)?;
        bar.end();
        summary.skipped.iter().take(20).for_each(|s| eprintln!("damaged or of no use: {s}"));
        Ok(Self { set: PackedSet::open(&out)?, temporary: Some(folder) })
    }
}

/// Lets SIGINT and SIGTERM end the process as they always do, and first removes `folder`: a film that is packed is large.
fn remove_on_signals(folder: &Path) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("listen for signals")?;
    let folder = folder.to_path_buf();
    let end = move || {
        for signal in signals.forever() {
            // What is being written just now may appear behind the first look.
            let _ = (0..ATTEMPTS).find(|_| std::fs::remove_dir_all(&folder).is_ok() || !folder.exists());
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(end).map(drop).context("start thread signals")
}
