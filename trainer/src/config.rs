//! A run's configuration: a small named TOML file. Unknown keys are refused.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use autochrome_model::contract::Output;
use burn::tensor::Device;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::data::lanes::LaneConfig;
use crate::data::soft_colors::SoftEncoding;
use crate::losses::LossConfig;
use crate::losses::adversarial::AdversarialConfig;
use crate::losses::features::FeatureNetKind;
use crate::nets::initialization::Initialization;
use crate::nets::{NetConfig, Network, OutputKind};
use crate::schedule::ScheduleConfig;
use crate::train::{Precision, QuantizationConfig};

/// Everything that decides a run's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// What the run is called; the model's name by default.
    pub name: String,
    /// Seeds the weights; the data has a seed of its own.
    pub seed: u64,
    /// How the first weights are drawn.
    pub initialization: Initialization,
    /// Threads that each train on a share of the lanes: give as many as there are cores; on GPUs there is one for each, whatever this says. Part of the
    /// result, and so not counted from the machine: the normalization's batch statistics are a share's.
    pub workers: usize,
    /// Optimizer steps.
    pub steps: u64,
    /// What forward and backward passes compute in.
    pub precision: Precision,
    /// Chunks whose gradients make one optimizer step: as many lanes again, without their memory.
    pub accumulate: usize,
    /// Steps between two lines of the log.
    pub log_every: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// How many of the newest checkpoints are kept, beside the best.
    pub keep: usize,
    /// Steps between evaluations.
    pub evaluate_every: u64,
    /// The run ends when so many evaluations in a row brought no better validation loss. 0: never.
    pub patience: u64,
    /// What the run starts from (fine-tuning), if anything: a checkpoint, or a float ONNX file of the same bins and widths.
    pub start_from: Option<PathBuf>,
    /// The file (see `convert-encoder`) that a pretrained encoder begins with, if the network has one; where `start_from` is given too, that wins.
    pub encoder_weights: Option<PathBuf>,
    /// Decoupled weight decay; biases and normalization have none.
    pub weight_decay: f32,
    /// How long the optimizer (AdamW) remembers gradients.
    pub beta_1: f32,
    /// How long it remembers their squares.
    pub beta_2: f32,
    /// The global gradient norm is clipped to this.
    pub gradient_norm_max: f32,
    /// The decay of the moving average of the weights, which is what is evaluated and exported. 0 turns it off.
    pub average_decay: f32,
    /// What the network's output means.
    pub output: OutputKind,
    /// The ab bins: `seventeen`, `zhang-313` or `seed004-105` (the 105 bins of project 004, docs/workshop.md).
    pub bins: String,
    /// The temperature that evaluation and export use.
    pub temperature: f32,
    /// The factor on ab that evaluation and export use.
    pub saturation: f32,
    /// The exported model's input size, width and height.
    pub input_size: [usize; 2],
    /// The learning rate.
    pub schedule: ScheduleConfig,
    /// The losses.
    pub loss: LossConfig,
    /// A critic to be deceived, if any.
    pub adversarial: Option<AdversarialConfig>,
    /// The network.
    pub net: NetConfig,
    /// Quantization-aware training, if any.
    pub quantization: Option<QuantizationConfig>,
    /// The data.
    pub data: LaneConfig,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            name: "autochrome".into(),
            seed: 1,
            initialization: Initialization::default(),
            workers: 2,
            steps: 10_000,
            precision: Precision::default(),
            accumulate: 1,
            log_every: 20,
            checkpoint_every: 200,
            keep: 3,
            evaluate_every: 500,
            patience: 0,
            start_from: None,
            encoder_weights: None,
            weight_decay: 0.02,
            beta_1: 0.9,
            beta_2: 0.99,
            gradient_norm_max: 1.0,
            average_decay: 0.999,
            output: OutputKind::default(),
            bins: "seventeen".into(),
            temperature: 0.8,
            saturation: 1.1,
            input_size: [192, 144],
            schedule: ScheduleConfig::default(),
            loss: LossConfig::default(),
            adversarial: None,
            net: NetConfig::default(),
            quantization: None,
            data: LaneConfig::default(),
        }
    }
}

impl RunConfig {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// If it cannot be read, holds an unknown key, or its values do not go together.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let config: Self = read_toml(path, "the configuration")?;
        config.check().with_context(|| format!("the configuration {}", path.display()))?;
        Ok(config)
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the value and what it may be.
    pub fn check(&self) -> anyhow::Result<()> {
        self.net.check()?;
        self.schedule.check()?;
        let share = self.schedule.encoder_share;
        ensure!(
            share == 1.0 || self.net.has_pretrained_encoder(),
            "schedule.encoder_share is {share}; this network has no pretrained encoder that could learn more slowly"
        );
        ensure!(self.gradient_norm_max > 0.0, "gradient_norm_max is {}; it must be above 0", self.gradient_norm_max);
        ensure!(
            self.weight_decay.is_finite() && self.weight_decay >= 0.0,
            "weight_decay is {}; it must be 0 or a positive number",
            self.weight_decay
        );
        for (name, beta) in [("beta_1", self.beta_1), ("beta_2", self.beta_2)] {
            ensure!((0.0..1.0).contains(&beta), "{name} is {beta}; 0 to below 1");
        }
        // What a model file may say, by its contract.
        ensure!((0.01..=10.0).contains(&self.temperature), "temperature {} is outside 0.01 to 10", self.temperature);
        ensure!((0.0..=4.0).contains(&self.saturation), "saturation {} is outside 0 to 4", self.saturation);
        let (multiple, stride) = (self.net.side_multiple(), self.net.output_stride());
        for (name, [width, height]) in [("data.width x data.height", [self.data.width, self.data.height]), ("input_size", self.input_size)]
        {
            ensure!(
                [width, height].iter().all(|side| *side > 0 && side % multiple == 0),
                "{name} is {width} x {height}; for this network every side must be a multiple of {multiple}"
            );
            if let Some(only) = self.net.only_size() {
                ensure!(
                    only == [width, height],
                    "{name} is {width} x {height}; this network takes pictures of {} x {} only",
                    only[0],
                    only[1]
                );
            }
        }
        ensure!(self.data.output_stride == stride, "data.output_stride is {}; the network predicts at 1/{stride}", self.data.output_stride);
        ensure!(
            self.steps > 0 && self.log_every > 0 && self.checkpoint_every > 0 && self.evaluate_every > 0,
            "steps, log_every, checkpoint_every and evaluate_every are above 0"
        );
        self.loss.check()?;
        ensure!(
            self.output == OutputKind::Bins || self.loss.compares_pictures(),
            "no loss compares a picture with its truth, so the validation loss would say nothing: give mean_weight, colorfulness_weight or fidelity_weight in \
             [loss], or loss.regression"
        );
        if let Some(QuantizationConfig { start_share }) = self.quantization {
            ensure!((0.0..1.0).contains(&start_share), "quantization.start_share {start_share} is outside 0 to 1");
        }
        ensure!(
            self.precision == Precision::Float || matches!(self.net, NetConfig::RecurrentUnet(_) | NetConfig::Lite0Unet(_)),
            "precision is bfloat16; only recurrent-unet and lite0-unet keep their normalizations in float"
        );
        ensure!(
            self.adversarial.is_none() || self.accumulate == 1,
            "accumulate is {}; adversarial training takes one chunk a step, for the critic learns between the chunks",
            self.accumulate
        );
        ensure!(self.accumulate > 0 && self.keep > 0, "accumulate and keep are above 0");
        ensure!(
            (0.0..1.0).contains(&self.average_decay),
            "average_decay {} is outside 0 to 1, where 1 would never learn",
            self.average_decay
        );
        ensure!(
            self.loss.warp.is_none() || (self.data.flow && self.data.chunk_frames > 1),
            "loss.warp needs data.flow = true and data.chunk_frames of 2 or more: it compares frames along their motion"
        );
        if let Some(adversarial) = &self.adversarial {
            adversarial.check(self.data.output_size())?;
        }
        ensure!(
            (1..=self.data.lanes).contains(&self.workers),
            "workers is {}; 1 to data.lanes ({}) can share the lanes",
            self.workers,
            self.data.lanes
        );
        ensure!(
            self.loss.agreement.is_none() || self.workers == 1,
            "workers is {}; with loss.agreement it must be 1: of its two looks a step, several threads' would come to the normalization's statistics in an \
             order that is left to chance",
            self.workers
        );
        let (height, width) = self.data.output_size();
        if let Some(side) = self.loss.feature.as_ref().map(|feature| feature.net.side_min()) {
            ensure!(
                height.min(width) >= side,
                "the network's output is {width} x {height} pixels; loss.feature.net needs at least {side}: enlarge data.width and data.height, or take another"
            );
        }
        self.centers().map(|_| ())
    }

    /// Checks that the pretrained encoder, with which the network begins or through which the feature loss looks, has its weights: random ones would be
    /// frozen, or say nothing about a picture.
    ///
    /// # Errors
    /// Says what lacks them and how to give them.
    pub fn ensure_encoder_weights(&self) -> anyhow::Result<()> {
        ensure!(
            !self.net.has_pretrained_encoder() || self.encoder_weights.is_some() || self.start_from.is_some(),
            "the network begins with a pretrained encoder; give its weights (--encoder-weights, see convert-encoder), or what to start from (--start-from)"
        );
        ensure!(
            self.loss.feature.as_ref().is_none_or(|feature| feature.net != FeatureNetKind::Lite0 || feature.weights.is_some()),
            "the feature loss looks through a pretrained encoder; give its weights (--encoder-weights, see convert-encoder), or its file in \
             loss.feature.weights"
        );
        Ok(())
    }

    /// Gives the weights of `file` to the pretrained encoder wherever there is one: in the network, in the feature loss, or in both. Returns whether there is
    /// any.
    pub fn take_encoder_weights(&mut self, file: &Path) -> bool {
        let begins = self.net.has_pretrained_encoder();
        if begins {
            self.encoder_weights = Some(file.to_owned());
        }
        let looking = self.loss.feature.as_mut().filter(|feature| feature.net == FeatureNetKind::Lite0);
        let looks = looking.is_some();
        if let Some(feature) = looking {
            feature.weights = Some(file.to_owned());
        }
        begins || looks
    }

    /// The steps in front of the run's last phase, in which all that is to learn does, as it is to: behind a critic's and a generator's time alone, and once
    /// quantization-aware training has begun. 0 for a run of one phase.
    pub fn last_phase(&self) -> u64 {
        let both = self.adversarial.as_ref().map_or(0, |config| config.generator_steps.saturating_add(config.critic_steps));
        both.max(self.quantization.as_ref().map_or(0, |config| config.start(self.steps)))
    }

    /// Frames that one optimizer step sees.
    pub fn frames_a_step(&self) -> usize {
        self.data.lanes * self.data.chunk_frames * self.accumulate
    }

    /// The network's output channels.
    ///
    /// # Errors
    /// If there is no such grid of bins.
    pub fn outputs(&self) -> anyhow::Result<usize> {
        Ok(self.output.channels(self.centers()?.len()))
    }

    /// What a model file says about the network's output.
    ///
    /// # Errors
    /// If there is no such grid of bins.
    pub fn contract_output(&self) -> anyhow::Result<Output> {
        Ok(match self.output {
            OutputKind::Bins => Output::ColorLogits { centers: self.centers()?.to_vec() },
            OutputKind::Ab => Output::Ab,
            OutputKind::Rgb => Output::Rgb,
            OutputKind::Uv => Output::Uv,
        })
    }

    /// A network with random weights of the shape that this configuration has.
    ///
    /// # Errors
    /// If there is no such grid of bins.
    pub fn fresh_network(&self, device: &Device) -> anyhow::Result<Network> {
        Ok(self.initialization.apply(Network::new(&self.net, self.outputs()?, device)))
    }

    /// How true colors are encoded for a network that gives bins.
    ///
    /// # Errors
    /// If there is no such grid of bins.
    pub fn soft_encoding(&self) -> anyhow::Result<Option<SoftEncoding<'static>>> {
        let centers = self.centers()?;
        Ok((self.output == OutputKind::Bins).then(|| self.loss.soft_encoding(centers)))
    }

    /// The bin centers that [`bins`](Self::bins) names.
    ///
    /// # Errors
    /// If there is no such grid.
    pub fn centers(&self) -> anyhow::Result<&'static [[f32; 2]]> {
        let grids = autochrome_model::bins::grids();
        let found = grids.iter().find(|(name, _)| *name == self.bins).map(|(_, centers)| *centers);
        found.with_context(|| format!("bins is {:?}; there are {:?}", self.bins, grids.map(|(name, _)| name)))
    }
}

/// How large a network is and at which sizes it looks at pictures, apart from how it is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeConfig {
    /// The model's name, without its input size.
    pub name: String,
    /// The exported model's input size, width and height.
    pub input_size: [usize; 2],
    /// The size of the crops that it is trained on, width and height.
    pub training_size: [usize; 2],
    /// The network.
    pub net: NetConfig,
}

impl SizeConfig {
    /// Reads a file such as `configs/sizes/large.toml`.
    ///
    /// # Errors
    /// If it cannot be read, holds an unknown key, or lacks one.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        read_toml(path, "the size")
    }

    /// Puts this size in place of `config`'s.
    pub fn apply(self, config: &mut RunConfig) {
        config.name = self.name;
        config.input_size = self.input_size;
        [config.data.width, config.data.height] = self.training_size;
        config.net = self.net;
    }
}

/// Reads `what` from the TOML file `path`.
///
/// # Errors
/// In one line: the file, and where in it what is wrong.
pub(crate) fn read_toml<T: DeserializeOwned>(path: &Path, what: &str) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {what} {}", path.display()))?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or_else(String::new, |span| format!(", line {}", 1 + text[..span.start].matches('\n').count()));
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        anyhow::anyhow!("read {what} {}{line}: {message}", path.display())
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use autochrome_model::contract;

    use super::*;
    use crate::export::{Provenance, float_model};

    #[test]
    fn mistakes_are_named() {
        use crate::losses::agreement::AgreementConfig;
        use crate::losses::features::FeatureConfig;
        use crate::nets::recurrent_unet::RecurrentUNetConfig;

        fn recurrent(config: &mut RunConfig, change: impl FnOnce(&mut RecurrentUNetConfig)) {
            let NetConfig::RecurrentUnet(net) = &mut config.net else { panic!("another network") };
            change(net);
        }
        type Mistake = fn(&mut RunConfig);
        let mistakes: &[(Mistake, &str)] = &[
            (|c| c.loss.agreement = Some(AgreementConfig { noise: 4.0, ..AgreementConfig::default() }), "workers is 2"),
            (|c| recurrent(c, |net| net.head_width = 0), "net.head_width"),
            (|c| recurrent(c, |net| net.widths[3] = usize::MAX - 1), "net.widths"),
            (|c| recurrent(c, |net| net.deep_blocks = 65), "net.deep_blocks"),
            (|c| c.loss.sigma = 0.0, "loss.sigma is 0"),
            (|c| c.loss.sigma = f32::INFINITY, "loss.sigma is inf"),
            (|c| c.loss.neighbors = 0, "loss.neighbors is 0"),
            (|c| c.loss.neighbors = 17, "loss.neighbors is 17"),
            (|c| c.loss.prior_sigma = 0.05, "loss.prior_sigma is 0.05"),
            (|c| c.schedule.peak = 0.0, "schedule.peak is 0"),
            (|c| c.schedule.peak = f64::NAN, "schedule.peak is NaN"),
            (|c| c.schedule.floor_share = 1.5, "schedule.floor_share is 1.5"),
            (|c| c.schedule.rising_from = Some(0.0), "schedule.rising_from is 0"),
            (|c| c.schedule.encoder_share = 0.0, "schedule.encoder_share is 0"),
            (|c| c.schedule.encoder_share = 0.1, "no pretrained encoder"),
            (|c| c.gradient_norm_max = 0.0, "gradient_norm_max is 0"),
            (|c| c.weight_decay = -0.1, "weight_decay is -0.1"),
            (|c| c.temperature = 0.0, "temperature 0"),
            (|c| c.saturation = 5.0, "saturation 5"),
            (|c| c.average_decay = 1.0, "average_decay 1"),
            (|c| c.data.height = 100, "data.width x data.height is 128 x 100"),
            (|c| c.input_size = [192, 100], "input_size is 192 x 100"),
            (
                |c| {
                    c.output = OutputKind::Ab;
                    (c.loss.mean_weight, c.loss.temporal_weight) = (0.0, 0.0);
                },
                "no loss compares",
            ),
            (
                |c| {
                    // With the temporal term, which grey fulfills.
                    c.output = OutputKind::Ab;
                    c.loss.mean_weight = 0.0;
                    c.loss.feature = Some(FeatureConfig::default());
                },
                "no loss compares",
            ),
            (
                |c| {
                    let weights = Some("encoder.bpk".into());
                    c.data.width = 96;
                    c.loss.feature = Some(FeatureConfig { net: FeatureNetKind::Lite0, weights, ..FeatureConfig::default() });
                },
                "24 x 32 pixels",
            ),
        ];
        RunConfig::default().check().unwrap();
        for (mistake, said) in mistakes {
            let mut config = RunConfig::default();
            mistake(&mut config);
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(said), "{said:?} is expected: {error}");
        }
    }

    #[test]
    fn the_last_phase_begins_behind_all_others() {
        use crate::losses::adversarial::AdversarialConfig;

        let mut config = RunConfig { steps: 100, ..RunConfig::default() };
        assert_eq!(config.last_phase(), 0);
        config.adversarial = Some(AdversarialConfig { generator_steps: 30, critic_steps: 20, ..AdversarialConfig::default() });
        assert_eq!(config.last_phase(), 50);
        config.quantization = Some(QuantizationConfig { start_share: 0.9 });
        assert_eq!(config.last_phase(), 90);
    }

    #[test]
    fn every_training_of_a_shipped_model_can_be_read() {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
        let mut count = 0;
        for folder in [configs.clone(), configs.join("lite0")] {
            for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
                RunConfig::read(&file).unwrap();
                count += 1;
            }
        }
        assert_eq!(count, 2 + 9);
    }

    #[test]
    fn each_size_costs_what_its_file_says() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/sizes");
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let file = entry.unwrap().path();
            let mut config = RunConfig::default();
            SizeConfig::read(&file).unwrap().apply(&mut config);
            config.check().unwrap();
            let net = config.fresh_network(&Device::flex()).unwrap();
            let provenance = Provenance { training: "none".into(), license: "none".into() };
            let counted = contract::check(&float_model(&net, &config, &provenance).unwrap()).unwrap().multiply_adds as f64 / 1e9;
            let text = std::fs::read_to_string(&file).unwrap();
            let said: f64 = text.strip_prefix("# ").and_then(|t| t.split_once(" G multiply-adds")).unwrap().0.parse().unwrap();
            assert!((counted / said - 1.0).abs() < 0.03, "{}: {counted} G, it says {said}", file.display());
            found.push(said);
        }
        found.sort_by(f64::total_cmp);
        for (said, wanted) in found.iter().zip([0.15, 0.45, 0.45, 1.5]) {
            assert!((said / wanted - 1.0).abs() < 0.08, "{said} G; a size of about {wanted} is wanted");
        }
        assert_eq!(found.len(), 4);
    }
}
