//! A run's folder, read while it grows: what `watch` shows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use serde_json::{Map, Value};

use crate::checkpoint::Position;
use crate::config::RunConfig;
use crate::report::NO_LOSSES;
use crate::run_folder;
use crate::train::claim;

/// The key that tells an evaluation's line from one about steps.
const EVALUATION: &str = "validation_loss";

/// What is known of a run.
pub struct Run {
    folder: PathBuf,
    config: RunConfig,
    /// (step, value) of everything in the log, by its name.
    pub series: BTreeMap<String, Vec<(f64, f64)>>,
    /// The newest line about steps.
    pub steps: Map<String, Value>,
    /// The newest line about an evaluation.
    pub evaluation: Map<String, Value>,
    /// (step, validation loss) of every evaluation; NaN where the log has null, which is how it writes what is no number.
    evaluations: Vec<(u64, f64)>,
    log: Option<Log>,
}

/// How far the log was read.
#[derive(Clone, Copy, PartialEq)]
struct Log {
    inode: u64,
    read: u64,
    written: SystemTime,
}

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// A process trains it.
    Training,
    /// All of its steps are done, or it ended early.
    Finished,
    /// No process trains it, and steps are left.
    Stopped,
}

impl Run {
    /// Opens the run in `folder`.
    ///
    /// # Errors
    /// If it holds none.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let config =
            RunConfig::read(&run_folder::config_file(folder)).with_context(|| format!("look for a run in {}", folder.display()))?;
        let empty = Map::new();
        let mut run = Self {
            folder: folder.to_owned(),
            config,
            series: BTreeMap::new(),
            steps: empty.clone(),
            evaluation: empty,
            evaluations: Vec::new(),
            log: None,
        };
        run.refresh()?;
        Ok(run)
    }

    /// Reads what was written since the last time.
    ///
    /// # Errors
    /// If the log is there and cannot be read.
    pub fn refresh(&mut self) -> anyhow::Result<()> {
        let path = self.folder.join("metrics.jsonl");
        // No line is written before some steps are done.
        let Ok(mut file) = File::open(&path) else { return Ok(()) };
        let mut attempt = || -> std::io::Result<String> {
            let metadata = file.metadata()?;
            let mut from = self.log.filter(|log| log.inode == metadata.ino() && log.read <= metadata.len()).map(|log| log.read);
            if from.is_none() {
                // A resumed run wrote the log anew, without what it does again.
                self.series.clear();
                self.steps.clear();
                self.evaluation.clear();
                self.evaluations.clear();
                from = Some(0);
            }
            let from = from.unwrap_or(0);
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            // The last line may be half there.
            bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
            self.log = Some(Log { inode: metadata.ino(), read: from + bytes.len() as u64, written: metadata.modified()? });
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = attempt().with_context(|| format!("read {}", path.display()))?;
        for line in text.lines() {
            if let Ok(Value::Object(line)) = serde_json::from_str(line) {
                self.take(line);
            }
        }
        Ok(())
    }

    fn take(&mut self, line: Map<String, Value>) {
        let Some(step) = line.get("step").and_then(Value::as_f64) else { return };
        for (name, value) in &line {
            if let Some(value) = value.as_f64().filter(|_| name != "step") {
                self.series.entry(name.clone()).or_default().push((step, value));
            }
        }
        if let Some(loss) = line.get(EVALUATION) {
            self.evaluations.push((step as u64, loss.as_f64().unwrap_or(f64::NAN)));
            self.evaluation = line;
        } else {
            self.steps = line;
        }
    }

    /// The run's name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The names of the losses that the log holds.
    pub fn losses(&self) -> impl Iterator<Item = &String> {
        self.series.keys().filter(|name| !NO_LOSSES.contains(&name.as_str()))
    }

    /// Steps done, as far as the log says.
    pub fn step(&self) -> u64 {
        let of = |line: &Map<String, Value>| line.get("step").and_then(Value::as_u64).unwrap_or(0);
        of(&self.steps).max(of(&self.evaluation))
    }

    /// Steps there are to do.
    pub fn steps_total(&self) -> u64 {
        self.config.steps
    }

    /// Frames a second over the newest line's steps.
    pub fn frames_per_s(&self) -> Option<f64> {
        self.steps.get("frames_per_s").and_then(Value::as_f64).filter(|rate| *rate > 0.0)
    }

    /// Steps a second over the newest line's steps.
    pub fn steps_per_s(&self) -> Option<f64> {
        Some(self.frames_per_s()? / self.config.frames_a_step() as f64)
    }

    /// How long the steps that are left will take at the newest rate, without evaluations.
    pub fn left(&self) -> Option<Duration> {
        let steps = self.steps_total().saturating_sub(self.step());
        Duration::try_from_secs_f64(steps as f64 / self.steps_per_s()?).ok()
    }

    /// Which of the evaluations is the best so far, as the run itself takes note of it.
    fn best(&self) -> Position {
        let mut position = Position::default();
        for &(step, loss) in &self.evaluations {
            position.step = step;
            position.takes(loss as f32, self.config.last_phase());
        }
        position
    }

    /// Whether the newest evaluations brought nothing for as long as the configuration bears.
    fn is_out_of_patience(&self) -> bool {
        self.config.patience > 0 && self.best().evaluations_since_best >= self.config.patience
    }

    /// Whether a process is at it.
    pub fn doing(&self) -> Doing {
        match claim::is_claimed(&self.folder) {
            true => Doing::Training,
            false if self.step() >= self.steps_total() || self.is_out_of_patience() => Doing::Finished,
            false => Doing::Stopped,
        }
    }

    /// How long ago the log's newest line was written.
    pub fn silent(&self) -> Option<Duration> {
        self.log?.written.elapsed().ok()
    }

    /// The steps of the checkpoints that are there, oldest first.
    pub fn checkpoints(&self) -> Vec<u64> {
        let listed = crate::checkpoint::list(&run_folder::checkpoints(&self.folder)).unwrap_or_default();
        listed.iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect()
    }

    /// All of it in a few lines.
    pub fn summary(&self) -> String {
        let mut lines = vec![self.headline(), self.rates()];
        lines.extend(self.losses_now());
        lines.extend(self.evaluation_now());
        lines.push(match self.checkpoints().last() {
            Some(newest) => format!("newest checkpoint: step {newest}"),
            None => "no checkpoint yet".into(),
        });
        lines.join("\n")
    }

    /// Name, step and what it is doing.
    pub fn headline(&self) -> String {
        let (step, total) = (self.step(), self.steps_total());
        let percent = 100.0 * step as f64 / total as f64;
        let silent = self.silent().map_or_else(String::new, |silent| format!(", newest line {} ago", span(silent)));
        let doing = match self.doing() {
            Doing::Training => format!("training now{silent}"),
            Doing::Finished => "finished".into(),
            Doing::Stopped => format!("stopped: no process trains it{silent}"),
        };
        format!("{}: step {step} of {total} ({percent:.1} %), {doing}", self.name())
    }

    /// How fast it goes.
    pub fn rates(&self) -> String {
        let (Some(frames), Some(steps)) = (self.frames_per_s(), self.steps_per_s()) else { return "no rate yet".into() };
        let left = self.left().filter(|left| !left.is_zero()).map_or_else(String::new, |left| format!(", {} left", span(left)));
        let number = |name: &str| self.steps.get(name).and_then(Value::as_f64);
        let waited = number("waited_share").map_or_else(String::new, |share| format!(", waited for data {:.1} %", 100.0 * share));
        let beside = number("beside_share").filter(|share| *share > 0.0);
        let beside = beside.map_or_else(String::new, |share| format!(", evaluations and checkpoints {:.1} %", 100.0 * share));
        let rate = number("learning_rate").map_or_else(String::new, |rate| format!(", learning rate {rate:.2e}"));
        let norm = number("gradient_norm").map_or_else(String::new, |norm| format!(", gradient norm {norm:.3}"));
        format!("{frames:.1} frames/s, {steps:.2} steps/s{left}{waited}{beside}{rate}{norm}")
    }

    /// The newest losses.
    pub fn losses_now(&self) -> Option<String> {
        let now = |name: &String| Some(format!("{name} {:.4}", self.steps.get(name)?.as_f64()?));
        let losses: Vec<String> = self.losses().filter_map(now).collect();
        (!losses.is_empty()).then(|| losses.join(", "))
    }

    /// The newest evaluation.
    pub fn evaluation_now(&self) -> Option<String> {
        let number = |name: &str| self.evaluation.get(name).and_then(Value::as_f64);
        let mut text = format!("evaluated at step {}: validation loss {:.5}", number("step")?, self.evaluations.last()?.1);
        let best = self.best();
        if let Some(loss) = best.best_validation_loss {
            text += &format!(" (best {loss:.5} at step {})", best.best_step);
        }
        if let (Some(gain), Some(share)) = (number("gain_db"), number("colorfulness_share")) {
            text += &format!("; {gain:+.2} dB above grey, colorfulness {:.0} % of the truth's", 100.0 * share);
        }
        Some(text)
    }
}

/// A span of time in its two largest units.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    const FIRST: &str = "{\"step\":20,\"loss\":3.5,\"mean\":0.5,\"gradient_norm\":1.25,\"learning_rate\":0.001,\"frames_per_s\":16.0}\n";

    fn run() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        fs::create_dir(&run).unwrap();
        fs::write(run.join("config.toml"), "name = \"small\"\nsteps = 100\n[data]\nlanes = 4\nchunk_frames = 2\n").unwrap();
        (folder, run)
    }

    fn append(run: &Path, text: &str) {
        let mut log = File::options().create(true).append(true).open(run.join("metrics.jsonl")).unwrap();
        log.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn a_growing_log_is_read_line_by_line_and_a_half_line_waits() {
        let (_folder, path) = run();
        let mut run = Run::open(&path).unwrap();
        assert_eq!((run.step(), run.rates().as_str(), run.losses().count()), (0, "no rate yet", 0));
        append(&path, FIRST);
        append(&path, "{\"step\":40,\"lo");
        run.refresh().unwrap();
        assert_eq!(run.step(), 20);
        append(
            &path,
            "ss\":2.5,\"mean\":0.25,\"frames_per_s\":32.0}\n{\"step\":40,\"validation_loss\":3.0,\"gain_db\":0.5,\"colorfulness_share\":0.8}\n",
        );
        run.refresh().unwrap();
        assert_eq!(run.series["loss"], [(20.0, 3.5), (40.0, 2.5)]);
        assert_eq!(run.losses().collect::<Vec<_>>(), ["loss", "mean", "validation_loss"]);
        // 32 frames a second of 8 frames a step; 60 steps are left.
        assert_eq!((run.steps_per_s(), run.left()), (Some(4.0), Some(Duration::from_secs(15))));
        let said = run.summary();
        assert!(said.starts_with("small: step 40 of 100 (40.0 %), stopped: no process trains it"), "{said}");
        assert!(said.contains("evaluated at step 40: validation loss 3.00000 (best 3.00000 at step 40); +0.50 dB above grey"), "{said}");
        let claim = claim::Claim::take(&path).unwrap();
        assert_eq!(run.doing(), Doing::Training);
        drop(claim);
        // A resumed run puts a shorter log in the place of this one.
        crate::files::write_atomically(&path.join("metrics.jsonl"), FIRST.as_bytes()).unwrap();
        run.refresh().unwrap();
        assert_eq!((run.step(), run.series["loss"].len(), run.evaluation_now()), (20, 1, None));
        append(&path, "{\"step\":100,\"loss\":1.0}\n");
        run.refresh().unwrap();
        assert_eq!(run.doing(), Doing::Finished);
    }

    #[test]
    fn an_evaluation_that_came_to_no_number_counts_as_one_without_progress() {
        let (_folder, path) = run();
        fs::write(path.join("config.toml"), "name = \"small\"\nsteps = 100\npatience = 2\n").unwrap();
        let evaluation =
            |step: u64, loss: &str| format!("{{\"step\":{step},\"validation_loss\":{loss},\"gain_db\":0.5,\"colorfulness_share\":0.8}}\n");
        append(&path, &(evaluation(10, "3.0") + &evaluation(20, "null")));
        let mut run = Run::open(&path).unwrap();
        assert_eq!(run.doing(), Doing::Stopped);
        let said = run.evaluation_now().unwrap();
        assert!(said.starts_with("evaluated at step 20: validation loss NaN (best 3.00000 at step 10)"), "{said}");
        append(&path, &evaluation(30, "null"));
        run.refresh().unwrap();
        // Out of patience.
        assert_eq!((run.doing(), run.series[EVALUATION].len()), (Doing::Finished, 1));
    }

    #[test]
    fn a_folder_without_a_run_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let said = format!("{:#}", Run::open(folder.path()).err().unwrap());
        assert!(said.contains("look for a run in") && said.contains("config.toml"), "{said}");
    }

    #[test]
    fn spans_are_told_in_two_units() {
        let cases = [(59, "59 s"), (61, "1 min 1 s"), (3 * 3600 + 120, "3 h 2 min"), (2 * 86_400 + 3600, "2 d 1 h")];
        for (seconds, said) in cases {
            assert_eq!(span(Duration::from_secs(seconds)), said);
        }
    }
}
