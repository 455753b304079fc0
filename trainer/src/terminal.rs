//! What a person at a terminal sees: a bar with rate and remaining time, or plain lines where there is no terminal.

use std::io::IsTerminal;

use autochrome_trainer::train::{EvaluationMetrics, StepMetrics, Watcher};
use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar on a terminal, a line now and then elsewhere.
pub(crate) struct Bar {
    bar: Option<ProgressBar>,
    what: &'static str,
    last_tenth: u64,
}

impl Bar {
    /// A bar that counts `what`.
    pub(crate) fn new(what: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {per_sec} eta {eta}  {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(0).with_style(style)
        });
        Self { bar, what, last_tenth: 0 }
    }

    /// `done` of `total` are done.
    pub(crate) fn at(&mut self, done: u64, total: u64, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(message.to_owned());
            return;
        }
        let tenth = 10 * done / total.max(1);
        if tenth != self.last_tenth {
            self.last_tenth = tenth;
            eprintln!("{} {done} of {total}", self.what);
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Shows a run.
pub(crate) struct Terminal {
    bar: Bar,
}

impl Terminal {
    /// On standard error.
    pub(crate) fn new() -> Self {
        Self { bar: Bar::new("trained") }
    }
}

impl Watcher for Terminal {
    fn steps(&mut self, m: &StepMetrics, total: u64) {
        let parts: Vec<String> = m.parts.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        let message = format!(
            "loss {:.4} ({}) {:.1} frames/s, {:.0} % of the time waiting for data",
            m.loss,
            parts.join(", "),
            m.frames_per_s,
            100.0 * m.waited_share
        );
        if self.bar.bar.is_some() {
            self.bar.at(m.step, total, &message);
        } else {
            let left = (total - m.step.min(total)) as f64 * m.frames / m.frames_per_s;
            eprintln!("step {}/{total} {message} eta {:.0} min", m.step, left / 60.0);
        }
    }

    fn evaluated(&mut self, m: &EvaluationMetrics) {
        self.say(&format!(
            "step {}: validation loss {:.5}; exported: {:+.2} dB above grey, colorfulness {:.0} % of the truth's",
            m.step,
            m.validation_loss,
            m.gain_db,
            100.0 * m.colorfulness_share
        ));
    }

    fn say(&mut self, line: &str) {
        match &self.bar.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }
}
