//! Every configuration in `configs/methods`: what it says about itself, and its network, made tiny, through a whole training on made-up pictures.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod made_up;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, MutexGuard};

use autochrome_model::{Colorizer, Plane, contract};
use autochrome_trainer::config::RunConfig;
use autochrome_trainer::data::lanes::LaneConfig;
use autochrome_trainer::data::shard::PackedSet;
use autochrome_trainer::data::split::Split;
use autochrome_trainer::export::calibrate::calibrate;
use autochrome_trainer::export::quantize::quantize;
use autochrome_trainer::export::{Provenance, calibration_lanes, float_model, sequence, verify};
use autochrome_trainer::nets::pix2pix::Pix2pixConfig;
use autochrome_trainer::nets::residual_encoder::ResidualEncoderConfig;
use autochrome_trainer::nets::resnet_unet::ResnetUNetConfig;
use autochrome_trainer::nets::zhang::ZhangConfig;
use autochrome_trainer::nets::{NetConfig, Network, States};
use autochrome_trainer::{checkpoint, run_folder, train};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Distribution, Tensor, TensorData};

use made_up::{drawing, encoder, packed};

/// A test for each configuration, so that they run side by side.
macro_rules! methods {
    ($($test:ident = $name:literal,)+) => {
        const NAMES: &[&str] = &[$($name),+];
        $(
            #[test]
            fn $test() {
                trains_resumes_and_exports(&tiny($name));
            }
        )+
    };
}

methods! {
    batch_norm_unet_bins = "batch-norm-unet-bins",
    batch_norm_unet_regression = "batch-norm-unet-regression",
    control_unet_bins = "control-unet-bins",
    feature_gru_unet_stateful_bins = "feature-gru-unet-stateful-bins",
    feature_gru_unet_stateless_bins = "feature-gru-unet-stateless-bins",
    feature_lstm_unet_stateful_bins = "feature-lstm-unet-stateful-bins",
    feature_lstm_unet_stateful_regression = "feature-lstm-unet-stateful-regression",
    feature_lstm_unet_stateless_bins = "feature-lstm-unet-stateless-bins",
    feature_lstm_unet_stateless_regression = "feature-lstm-unet-stateless-regression",
    feature_unet_bins = "feature-unet-bins",
    feature_unet_regression = "feature-unet-regression",
    fully_connected_rgb = "fully-connected-rgb",
    gru_unet_stateful_bins = "gru-unet-stateful-bins",
    gru_unet_stateless_bins = "gru-unet-stateless-bins",
    lite0_unet_bins = "lite0-unet-bins",
    lstm_unet_stateful_bins = "lstm-unet-stateful-bins",
    lstm_unet_stateful_regression = "lstm-unet-stateful-regression",
    lstm_unet_stateless_bins = "lstm-unet-stateless-bins",
    lstm_unet_stateless_regression = "lstm-unet-stateless-regression",
    pix2pix_generator = "pix2pix-generator",
    plain_unet_105_bins = "plain-unet-105-bins",
    plain_unet_bins = "plain-unet-bins",
    plain_unet_regression = "plain-unet-regression",
    residual_encoder_uv = "residual-encoder-uv",
    resnet_unet_bins = "resnet-unet-bins",
    resnet_unet_regression = "resnet-unet-regression",
    temporal_conv_unet_bins = "temporal-conv-unet-bins",
    zhang = "zhang",
    zhang_rebalanced = "zhang-rebalanced",
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/methods")
}

fn provenance() -> Provenance {
    Provenance { training: "none".into(), license: "none".into() }
}

#[test]
fn no_configuration_goes_without_a_test() {
    let found: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().strip_suffix(".toml").unwrap().to_owned())
        .collect();
    assert_eq!(found, NAMES.iter().map(|name| (*name).to_owned()).collect());
}

#[test]
fn each_is_named_after_its_file_costs_what_it_says_and_looks_at_the_same_data() {
    let mut wrong = Vec::new();
    for name in NAMES {
        let file = folder().join(name).with_extension("toml");
        let config = RunConfig::read(&file).unwrap();
        assert_eq!(&config.name, name);
        // All but the size of what goes in and comes out.
        let first = RunConfig::read(&folder().join(NAMES[0]).with_extension("toml")).unwrap().data;
        // And where memory begins anew, which is what the stateless ones are about.
        let LaneConfig { width, height, output_stride, restart_share, .. } = config.data;
        assert_eq!(config.data, LaneConfig { width, height, output_stride, restart_share, ..first }, "{name}");
        assert_eq!(restart_share == 1.0, name.contains("stateless"), "{name}");
        let _alone = drawing();
        let net = config.fresh_network(&Device::flex()).unwrap();
        let counted = contract::check(&float_model(&net, &config, &provenance()).unwrap()).unwrap().multiply_adds as f64 / 1e9;
        let text = std::fs::read_to_string(&file).unwrap();
        let said = text.strip_prefix("# ").and_then(|t| t.split_once(" G multiply-adds")).unwrap().0;
        if said != format!("{counted:.3}") {
            wrong.push(format!("{name} {counted:.3}"));
        }
    }
    assert!(wrong.is_empty(), "the first lines should say:\n{}", wrong.join("\n"));
}

/// The same kind of network and training, small enough for a test.
fn tiny(name: &str) -> RunConfig {
    let mut config = RunConfig::read(&folder().join(name).with_extension("toml")).unwrap();
    let shrink = |widths: &mut Vec<usize>| widths.iter_mut().enumerate().for_each(|(level, width)| *width = 4 + 2 * level.min(2));
    match &mut config.net {
        NetConfig::FullyConnected(net) => net.hidden = vec![24],
        NetConfig::ResidualEncoder(net) => net.width = 2,
        NetConfig::Zhang(net) => net.width = 2,
        NetConfig::ResnetUnet(net) => (net.width, net.head_width) = (4, 6),
        NetConfig::Pix2pix(net) => shrink(&mut net.widths),
        NetConfig::PlainUnet(net) => {
            shrink(&mut net.widths);
            net.head_width = 6;
        }
        NetConfig::FeatureUnet(net) => {
            shrink(&mut net.widths);
            (net.feature_width, net.head_width) = (4, 6);
        }
        NetConfig::MemoryUnet(net) => {
            shrink(&mut net.widths);
            (net.feature_width, net.head_width) = (4, 6);
        }
        NetConfig::TemporalConvUnet(net) => {
            shrink(&mut net.widths);
            (net.history_width, net.head_width) = (4, 6);
        }
        // The pretrained encoder has one size.
        NetConfig::Lite0Unet(net) => (net.widths, net.head_width) = ([4, 6, 8, 12], 6),
        other => panic!("{other:?} has no tiny form here"),
    }
    config.steps = 40;
    (config.checkpoint_every, config.evaluate_every) = (20, 1000);
    (config.schedule.peak, config.schedule.warmup_steps) = (1e-2, 4);
    config.weight_decay = 0.0;
    if config.net.has_pretrained_encoder() {
        config.take_encoder_weights(encoder());
    }
    config.input_size = config.net.only_size().unwrap_or([64, 32]);
    let LaneConfig { output_stride, restart_share, clip_share, degrade, .. } = config.data.clone();
    config.data = LaneConfig {
        lanes: 4,
        chunk_frames: 2,
        chunks_per_item: 2,
        width: 32,
        height: 32,
        output_stride,
        clip_share,
        restart_share,
        degrade,
        ..LaneConfig::default()
    };
    config.check().unwrap();
    config
}

/// Lets nobody else draw until a run has drawn its network: what it says first comes behind that.
struct Drawing(Option<MutexGuard<'static, ()>>);

impl Drawing {
    fn alone() -> Self {
        Self(Some(drawing()))
    }
}

impl train::Watcher for Drawing {
    fn steps(&mut self, _metrics: &train::StepMetrics, _steps_total: u64) {}
    fn evaluated(&mut self, _metrics: &train::EvaluationMetrics) {}
    fn say(&mut self, _line: &str) {
        self.0 = None;
    }
}

/// (step, loss) of every line about steps.
fn losses(run: &Path) -> Vec<(u64, f64)> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter_map(|v| Some((v["step"].as_u64()?, v["loss"].as_f64()?))).collect()
}

fn weights(net: &Network) -> Vec<f32> {
    struct Values(Vec<f32>);
    impl ModuleVisitor for Values {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.extend(param.val().into_data().try_into_vec::<f32>().unwrap());
        }
    }
    let mut values = Values(Vec::new());
    net.visit(&mut values);
    values.0
}

/// The networks of `experiments/stateful-vs-stateless.toml` that use no state at all.
fn without_memory(name: &str) -> RunConfig {
    let mut config = tiny(name);
    let NetConfig::MemoryUnet(net) = &mut config.net else { panic!("{name} has no cell") };
    net.stateful = false;
    config
}

#[test]
fn gru_without_memory() {
    trains_resumes_and_exports(&without_memory("gru-unet-stateless-bins"));
}

#[test]
fn lstm_without_memory() {
    trains_resumes_and_exports(&without_memory("lstm-unet-stateless-bins"));
}

/// Names of the weights of `net` that a training may move, and their values.
fn named_weights(net: &Network) -> Vec<(String, Vec<f32>)> {
    struct Read {
        path: Vec<String>,
        found: Vec<(String, Vec<f32>)>,
    }
    impl ModuleVisitor for Read {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.val().is_require_grad() {
                self.found.push((self.path.join("."), param.val().into_data().try_into_vec::<f32>().unwrap()));
            }
        }
    }
    let mut read = Read { path: Vec::new(), found: Vec::new() };
    net.visit(&mut read);
    read.found
}

fn trains_resumes_and_exports(config: &RunConfig) {
    let name = &config.name;
    let folder = tempfile::tempdir().unwrap();
    let (whole, resumed) = (folder.path().join("whole"), folder.path().join("resumed"));
    let device = Device::flex().autodiff();
    train::start(&whole, config, packed(), std::slice::from_ref(&device), &AtomicBool::new(false), &mut Drawing::alone()).unwrap();
    let [(20, before), (40, after)] = losses(&whole)[..] else { panic!("{:?}", losses(&whole)) };
    assert!(after < 0.97 * before, "the loss went from {before} to {after}");

    // Nothing is cut off from the losses. (Nothing decays here: what moves has learned.)
    let checkpoint = |run: &Path, step: u64| run_folder::checkpoints(run).join(format!("{step:08}"));
    let at = |step: u64| {
        let _alone = drawing();
        let net = config.fresh_network(&device).unwrap();
        named_weights(&checkpoint::load_weights(net, &checkpoint(&whole, step).join("weights.bpk")).unwrap())
    };
    // Without memory, what looks at the state before rests.
    let carries = !matches!(&config.net, NetConfig::MemoryUnet(net) if !net.stateful);
    let resting: Vec<String> =
        at(0).into_iter().zip(at(40)).filter(|((_, before), (_, after))| before == after).map(|((name, _), _)| name).collect();
    let rests = |name: &str| !carries && name.ends_with("_h.weight");
    assert!(resting.iter().all(|name| rests(name)), "these learn nothing: {resting:?}");

    // The same run, ended after its 20th step.
    std::fs::create_dir_all(checkpoint(&resumed, 20)).unwrap();
    for entry in std::fs::read_dir(checkpoint(&whole, 20)).unwrap() {
        let file = entry.unwrap().path();
        std::fs::copy(&file, checkpoint(&resumed, 20).join(file.file_name().unwrap())).unwrap();
    }
    for file in ["config.toml", "prior.json", "data.txt", "data.sha256", "metrics.jsonl"] {
        std::fs::copy(whole.join(file), resumed.join(file)).unwrap();
    }
    train::resume(&resumed, None, std::slice::from_ref(&device), &AtomicBool::new(false), &mut Drawing::alone()).unwrap();
    assert_eq!(losses(&resumed), losses(&whole));
    let average = |run: &Path| {
        let _alone = drawing();
        let net = config.fresh_network(&Device::flex()).unwrap();
        checkpoint::load_average(net, &checkpoint(run, 40)).unwrap()
    };
    let net = average(&whole);
    assert_eq!(weights(&average(&resumed)), weights(&net));

    let float = float_model(&net, config, &provenance()).unwrap();
    let [width, height] = config.input_size;
    let plane = |frame: usize| (0..width * height).map(|i| 0.5 * (i as f32 / 37.0 + frame as f32 / 3.0).sin()).collect();
    let planes: Vec<Vec<f32>> = (0..8).map(plane).collect();
    let parity = verify::against_burn(&net, config, &float, &planes).unwrap();
    assert!(parity.logit_error_max <= 1e-4 && parity.state_error_max <= 1e-4 && parity.ab_error_max <= 1e-4, "{parity:?}");

    let set = Arc::new(PackedSet::open(packed()).unwrap());
    let ranges = calibrate(&float, &calibration_lanes(&set, config).unwrap(), 16).unwrap();
    let mut int8 = quantize(&float, &ranges).unwrap();
    contract::write_card(&mut int8, &contract::check(&float).unwrap().card);
    let [mut float, mut int8] = [&float, &int8].map(|model| Colorizer::from_proto(name, model).unwrap());
    let planes = sequence(&set, Split::Validation, config, 60).unwrap();
    let drift = verify::drift(&mut float, &mut int8, &planes).unwrap();
    float.reset();
    let sizes = planes.iter().map(|plane| {
        let chroma = float.step(&Plane::from_vec(width, height, plane.iter().map(|v| v * 100.0 + 50.0).collect())).unwrap();
        let [a, b] = [chroma.a, chroma.b].map(|plane| plane.data.iter().map(|v| v.abs()).sum::<f32>() / plane.data.len() as f32);
        0.5 * (a + b)
    });
    let size = sizes.sum::<f32>() / planes.len() as f32;
    // Networks of a few channels after 40 steps, some read at a low temperature, which magnifies rounding: up to 9 %. Grey would be off by all.
    assert!(drift.ab_error_mean < 0.25 * size, "{drift:?}, of {size}");
    // It is rounded; only what has no convolution stays as it is.
    assert_eq!(drift.ab_error_mean > 0.0, !matches!(config.net, NetConfig::FullyConnected(_)), "{drift:?}");
}

/// How many weights the convolutions of `part` have.
fn convolution_weights(config: &NetConfig, outputs: usize, part: &str) -> usize {
    struct Count<'a> {
        part: &'a str,
        path: Vec<String>,
        weights: usize,
    }
    impl ModuleVisitor for Count<'_> {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if D == 4 && self.path.iter().any(|name| name == self.part || self.part.is_empty()) {
                self.weights += param.lazy_shape().num_elements();
            }
        }
    }
    config.check().unwrap();
    let mut count = Count { part, path: Vec::new(), weights: 0 };
    Network::new(config, outputs, &Device::flex()).visit(&mut count);
    count.weights
}

#[test]
fn at_their_authors_widths_the_networks_have_their_authors_weights() {
    let zhang = NetConfig::Zhang(ZhangConfig { width: 64 });
    // The released network has 32.2 M; its transposed convolution of 4x4 is one of 3x3 here.
    let transposed = (16 - 9) * 512 * 256;
    assert_eq!((convolution_weights(&zhang, 313, "") + transposed) / 10_000, 3222);

    let resnet = NetConfig::ResnetUnet(ResnetUNetConfig { width: 64, ..ResnetUNetConfig::default() });
    // ResNet-18's 11_166_912 but for two of the three channels of the first convolution.
    assert_eq!(convolution_weights(&resnet, 2, "stem") + convolution_weights(&resnet, 2, "levels"), 11_166_912 - 2 * 64 * 49);

    let dahl = NetConfig::ResidualEncoder(ResidualEncoderConfig { width: 64, ..ResidualEncoderConfig::default() });
    // VGG-16's first ten convolutions, again with one channel at the beginning.
    assert_eq!(convolution_weights(&dahl, 2, "levels"), 7_632_576 - 2 * 64 * 9);

    let widths = vec![64, 128, 256, 512, 512, 512, 512, 512];
    let pix2pix = NetConfig::Pix2pix(Pix2pixConfig { widths, output_stride: 1 });
    // Of 54.4 M, 34.9 M are in transposed convolutions of 4x4; the last of them, 128 to 2, is the head's here.
    let (down, up) = (convolution_weights(&pix2pix, 2, "down"), convolution_weights(&pix2pix, 2, "up"));
    assert_eq!((down + up * 16 / 9 + 128 * 2 * 16) / 100_000, 544);
}

#[test]
fn a_clip_is_its_frames_one_after_the_other_and_a_lane_forgets_where_it_is_told_to() {
    const FRAMES: usize = 3;
    const LANES: usize = 2;
    let device = Device::flex();
    for name in NAMES {
        let config = tiny(name);
        let (height, width) = (config.data.height, config.data.width);
        let alone = drawing();
        device.seed(7);
        let net = config.fresh_network(&device).unwrap();
        // Drawn when they are first looked at.
        let _ = weights(&net);
        let lightness = Tensor::<4>::random([FRAMES * LANES, 1, height, width], Distribution::Uniform(-0.5, 0.5), &device);
        drop(alone);
        // The first lane forgets in front of the second frame.
        let keep = |t: usize| (t == 1).then(|| Tensor::<4>::from_data(TensorData::new(vec![0.0_f32, 1.0], [LANES, 1, 1, 1]), &device));
        let zeros = |lanes: usize| config.net.zero_states(lanes, height, width, &device);
        let values = |tensor: Tensor<4>| tensor.into_data().try_into_vec::<f32>().unwrap();
        let (clip, after) = net.forward_clip(lightness.clone(), zeros(LANES), &[keep(0), keep(1), keep(2)]);

        let near = |found: Tensor<4>, expected: Tensor<4>| {
            assert_eq!(found.dims(), expected.dims(), "{name}");
            let off = values(found).iter().zip(values(expected)).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
            assert!(off < 1e-5, "{name}: {off}");
        };
        for lane in 0..LANES {
            let mut states: States = zeros(1);
            for t in 0..FRAMES {
                if t == 1 && lane == 0 {
                    states = zeros(1);
                }
                let (frame, next) = net.forward(lightness.clone().narrow(0, t * LANES + lane, 1), states);
                near(clip.clone().narrow(0, t * LANES + lane, 1), frame);
                states = next;
            }
            assert_eq!(states.len(), after.len(), "{name}");
            for (found, expected) in after.iter().zip(states) {
                near(found.clone().narrow(0, lane, 1), expected);
            }
        }
        // A state that nothing reads would pass all of this.
        if !after.is_empty() {
            let (frame, _) = net.forward(lightness.clone().narrow(0, 0, LANES), after);
            let (fresh, _) = net.forward(lightness.narrow(0, 0, LANES), zeros(LANES));
            assert_ne!(values(frame), values(fresh), "{name}");
        }
    }
}
