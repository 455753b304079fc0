//! Every configuration in `configs/losses`, made tiny, through a training on made-up pictures: what it asks for falls, and a run that was interrupted
//! goes on as if it had not been.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod made_up;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use autochrome_trainer::checkpoint::load_weights;
use autochrome_trainer::config::RunConfig;
use autochrome_trainer::losses::adversarial::{AdversarialConfig, critic_channels};
use autochrome_trainer::losses::features::{FeatureConfig, FeatureNetKind};
use autochrome_trainer::losses::regression::{Distance, RegressionConfig};
use autochrome_trainer::nets::discriminator::{Critic, CriticConfig};
use autochrome_trainer::nets::{NetConfig, OutputKind};
use autochrome_trainer::{run_folder, train};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use serde_json::Value;

use made_up::{drawing, encoder, packed};

/// A test for each configuration, so that they run side by side: which part of the loss falls, and to what share of its beginning; and the same run
/// once more, interrupted in its middle.
macro_rules! configurations {
    ($($test:ident = $name:literal: $part:literal to $share:literal,)+) => {
        const NAMES: &[&str] = &[$($name),+];
        $(
            #[test]
            fn $test() {
                let lines = goes_on(&tiny($name), 25);
                let part: Vec<f64> = lines.iter().map(|line| line[$part].as_f64().unwrap()).collect();
                let (first, last) = (part[0], part[part.len() - 1]);
                assert!(last < $share * first, "{}: {part:?}", $part);
            }
        )+
    };
}

configurations! {
    mse = "mse": "regression" to 0.8,
    l1 = "l1": "regression" to 0.9,
    huber = "huber": "regression" to 0.9,
    cross_entropy = "cross-entropy": "cross_entropy" to 0.9,
    rebalanced = "rebalanced": "cross_entropy" to 0.9,
    colorfulness = "colorfulness": "colorfulness" to 0.9,
    feature = "feature": "feature" to 0.97,
    fidelity = "fidelity": "fidelity" to 1.05,
    warp_consistency = "warp-consistency": "cross_entropy" to 0.9,
    transform_invariance = "transform-invariance": "cross_entropy" to 0.9,
    noise_agreement = "noise-agreement": "cross_entropy" to 0.9,
    pix2pix = "pix2pix": "regression" to 0.95,
    small_gan = "small-gan": "regression" to 0.95,
    mse_gan_video = "mse-gan-video": "regression" to 0.95,
    nogan = "nogan": "regression" to 0.95,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/losses")
}

#[test]
fn no_configuration_goes_without_a_test_or_by_another_name() {
    let found: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().strip_suffix(".toml").unwrap().to_owned())
        .collect();
    assert_eq!(found, NAMES.iter().map(|name| (*name).to_owned()).collect());
    for name in NAMES {
        assert_eq!(&RunConfig::read(&folder().join(name).with_extension("toml")).unwrap().name, name);
    }
}

/// A configuration, with a small network on small pictures for a short time.
fn tiny(name: &str) -> RunConfig {
    let text = std::fs::read_to_string(folder().join(name).with_extension("toml")).unwrap();
    let mut table: toml::Table = toml::from_str(&text).unwrap();
    let net = table["net"].as_table_mut().unwrap();
    let small: toml::Table = match net["kind"].as_str().unwrap() {
        "pix2pix" => toml::from_str("widths = [4, 6, 8, 8]").unwrap(),
        "memory-unet" => toml::from_str("widths = [4, 6, 8, 12]\nhead_width = 8").unwrap(),
        "resnet-unet" => toml::from_str("width = 4\nblocks = [1, 1, 1, 1]\nhead_width = 8").unwrap(),
        _ => toml::from_str("widths = [4, 6, 8, 12]\ndeep_blocks = 1\nhead_width = 8").unwrap(),
    };
    net.extend(small);
    let mut config: RunConfig = toml::from_str(&toml::to_string(&table).unwrap()).unwrap();
    config.steps = 60;
    (config.log_every, config.checkpoint_every, config.evaluate_every) = (5, 30, 1000);
    (config.schedule.peak, config.schedule.warmup_steps) = (1e-2, 4);
    config.input_size = [64, 32];
    let judged = config.adversarial.as_ref().map_or(12, |adversarial| adversarial.critic.side_min());
    // What looks through the encoder sees at least as much as that takes.
    let output = judged.max(if config.loss.feature.is_some() { 32 } else { 0 });
    let side = (output * config.data.output_stride).next_multiple_of(config.net.side_multiple());
    (config.data.lanes, config.data.width, config.data.height, config.data.chunks_per_item) = (2, side, side, 2);
    if config.loss.feature.is_some() {
        config.take_encoder_weights(encoder());
    }
    if let Some(AdversarialConfig { critic, generator_steps, critic_steps, .. }) = &mut config.adversarial {
        let (CriticConfig::Patch70 { width } | CriticConfig::Patch30 { width } | CriticConfig::Nogan { width }) = critic;
        *width = 8;
        if *generator_steps > 0 {
            (*generator_steps, *critic_steps) = (20, 20);
        }
    }
    config.check().unwrap();
    config
}

/// Lets a run end behind the line of the log about step `until`.
struct Until<'a> {
    until: u64,
    stop: &'a AtomicBool,
}

impl train::Watcher for Until<'_> {
    fn steps(&mut self, metrics: &train::StepMetrics, _steps_total: u64) {
        self.stop.store(metrics.step >= self.until, Ordering::Relaxed);
    }

    fn evaluated(&mut self, _metrics: &train::EvaluationMetrics) {}

    fn say(&mut self, _line: &str) {}
}

/// The lines about steps, without how fast they were.
fn lines(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).filter(|line| line.get("loss").is_some());
    lines
        .map(|mut line| {
            line.as_object_mut().unwrap().retain(|key, _| !key.ends_with("_s") && !key.ends_with("_share") && key != "memory_mb");
            line
        })
        .collect()
}

/// Trains to the end and gives the lines about steps.
fn trained(config: &RunConfig) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    run_until(&run, config, u64::MAX);
    lines(&run)
}

fn run_until(run: &Path, config: &RunConfig, until: u64) {
    let _alone = drawing();
    let stop = AtomicBool::new(false);
    train::start(run, config, packed(), &[device()], &stop, &mut Until { until, stop: &stop }).unwrap();
}

fn device() -> Device {
    Device::flex().autodiff()
}

/// The weights and statistics of the network, its average and the critic, if it has one, in a checkpoint.
fn weights(run: &Path, config: &RunConfig, step: u64) -> [Vec<f32>; 3] {
    let file = |name: &str| run_folder::checkpoints(run).join(format!("{step:08}")).join(name);
    let device = Device::flex();
    let net = |name: &str| values(&load_weights(config.fresh_network(&device).unwrap(), &file(name)).unwrap());
    let critic = config.adversarial.as_ref().map_or_else(Vec::new, |adversarial| {
        let critic = Critic::new(&adversarial.critic, critic_channels(config.output), &device);
        values(&load_weights(critic, &file("critic.bpk")).unwrap())
    });
    [net("weights.bpk"), net("average.bpk"), critic]
}

fn values(module: &impl Module) -> Vec<f32> {
    struct Read(Vec<f32>);
    impl ModuleVisitor for Read {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.extend(param.val().into_data().try_into_vec::<f32>().unwrap());
        }
    }
    let mut read = Read(Vec::new());
    module.visit(&mut read);
    read.0
}

/// A run that is interrupted behind step `until` goes on as if it had not been; gives its lines.
fn goes_on(config: &RunConfig, until: u64) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    run_until(&whole, config, u64::MAX);
    run_until(&parts, config, until);
    assert_eq!(lines(&parts).len() as u64, until / 5, "it was not interrupted");
    let stop = AtomicBool::new(false);
    let alone = drawing();
    train::resume(&parts, None, &[device()], &stop, &mut Until { until: u64::MAX, stop: &stop }).unwrap();
    drop(alone);
    assert_eq!(lines(&parts), lines(&whole));
    assert!(weights(&parts, config, 60) == weights(&whole, config, 60), "the weights differ");
    lines(&whole)
}

/// The configuration `name` with a second look at each frame in each step.
fn looking_twice(name: &str) -> RunConfig {
    let mut config = tiny(name);
    config.loss.agreement = tiny("noise-agreement").loss.agreement;
    // As two looks a step need.
    config.workers = 1;
    config
}

#[test]
fn an_interrupted_run_goes_on_where_all_learn_and_look_twice() {
    goes_on(&looking_twice("pix2pix"), 25);
}

#[test]
fn an_interrupted_run_goes_on_where_the_critic_learns_alone() {
    goes_on(&looking_twice("nogan"), 30);
}

#[test]
fn an_interrupted_run_goes_on_where_the_generator_waits_for_the_critic() {
    goes_on(&looking_twice("nogan"), 50);
}

#[test]
fn nogan_lets_the_critic_learn_alone_and_then_both() {
    let lines = trained(&tiny("nogan"));
    let with =
        |part: &str| lines.iter().filter(|line| line.get(part).is_some()).map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(with("critic"), [25, 30, 35, 40, 45, 50, 55, 60], "the critic learns from step 20 on");
    assert!(
        with("adversarial").first().is_none_or(|&step| step > 40),
        "nobody is to be deceived before step 40: {:?}",
        with("adversarial")
    );
    let critic: Vec<f64> = lines.iter().filter_map(|line| line["critic"].as_f64()).collect();
    assert!(critic[3] < critic[0] && critic[7] < 0.65, "the critic learns nothing: {critic:?}");
    assert!(!with("adversarial").is_empty(), "the critic is good enough, and still the generator does not learn from it: {critic:?}");
}

#[test]
fn pix2pix_learns_on_both_sides_in_each_step() {
    for line in trained(&tiny("pix2pix")) {
        assert!(line["critic"].as_f64().unwrap() > 0.0 && line["adversarial"].as_f64().unwrap() > 0.0, "{line}");
    }
}

/// Two runs that differ in nothing but a term's weight: it ends lower where it counts.
fn falls_where_it_is_asked_for(name: &str, part: &str) {
    let at_end = |weight: f32| {
        let mut config = tiny(name);
        config.loss.agreement.as_mut().into_iter().for_each(|agreement| agreement.weight *= weight);
        config.loss.warp.as_mut().into_iter().for_each(|warp| warp.weight *= weight);
        let lines = trained(&config);
        lines[lines.len() - 3..].iter().map(|line| line[part].as_f64().unwrap()).sum::<f64>()
    };
    let (asked, ignored) = (at_end(3.0), at_end(0.0));
    assert!(asked < 0.8 * ignored, "{asked} asked for, {ignored} ignored");
}

#[test]
fn looks_that_are_shifted_and_mirrored_come_to_agree() {
    falls_where_it_is_asked_for("transform-invariance", "agreement");
}

#[test]
fn looks_with_other_noise_come_to_agree() {
    falls_where_it_is_asked_for("noise-agreement", "agreement");
}

#[test]
fn what_moves_comes_to_keep_its_color() {
    falls_where_it_is_asked_for("warp-consistency", "warp");
}

#[test]
fn rgb_and_chroma_networks_learn_too() {
    for output in [OutputKind::Rgb, OutputKind::Uv] {
        let mut config = tiny("l1");
        config.output = output;
        config.loss.regression = Some(RegressionConfig { distance: Distance::L1, weight: 1.0, corner: 1.0 });
        config.loss.colorfulness_weight = 0.1;
        config.loss.feature = Some(FeatureConfig { weight: 0.1, ..FeatureConfig::default() });
        let part: Vec<f64> = trained(&config).iter().map(|line| line["regression"].as_f64().unwrap()).collect();
        assert!(part[part.len() - 1] < 0.8 * part[0], "{output:?}: {part:?}");
    }
}

#[test]
fn what_cannot_go_together_is_refused_before_anything_is_written() {
    type Mistake = fn(&mut RunConfig);
    let mistakes: [(Mistake, &str); 8] = [
        (
            |config| {
                config.net = NetConfig::Lite0Unet(Default::default());
                (config.data.width, config.data.height, config.data.output_stride) = (288, 288, 4);
                config.input_size = [64, 64];
            },
            "the network begins with a pretrained encoder",
        ),
        (
            |config| config.loss.feature = Some(FeatureConfig { net: FeatureNetKind::Lite0, ..FeatureConfig::default() }),
            "--encoder-weights",
        ),
        (|config| config.loss.warp = tiny("warp-consistency").loss.warp, "data.flow"),
        (|config| config.data.width = 64, "needs at least 70"),
        (|config| config.adversarial.as_mut().unwrap().label_smoothing = 1.5, "label_smoothing 1.5"),
        (|config| config.loss.agreement = Some(Default::default()), "both looks would be the same"),
        (|config| config.loss.colorfulness_weight = -1.0, "colorfulness_weight is -1"),
        (
            |config| config.loss.feature = Some(FeatureConfig { net: FeatureNetKind::Vgg16, ..FeatureConfig::default() }),
            "loss.feature.weights",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (mistake, said) in mistakes {
        let mut config = tiny("pix2pix");
        mistake(&mut config);
        let run = folder.path().join("run");
        let stop = AtomicBool::new(false);
        let _alone = drawing();
        let error = train::start(&run, &config, packed(), &[device()], &stop, &mut Until { until: 5, stop: &stop }).unwrap_err();
        assert!(format!("{error:#}").contains(said), "{error:#}");
        assert!(!run.exists(), "{said}: a run was begun");
    }
}
