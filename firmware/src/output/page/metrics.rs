//! What a Prometheus server collects, in its text format 0.0.4.

use std::fmt::Write;
use std::time::Duration;

use crate::statistics::Snapshot;
use crate::status::Heat;

/// The content type that goes with the text.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is told besides the snapshot.
pub(super) struct Moment {
    pub(super) live: bool,
    pub(super) viewers: usize,
    pub(super) uptime: Duration,
    pub(super) heat: Option<Heat>,
    /// How long the picture has been the newest.
    pub(super) age: Option<Duration>,
}

/// Writes all metrics. Those that nothing is known of are left out.
pub(super) fn text(snapshot: Option<&Snapshot>, moment: &Moment) -> String {
    let mut text = Text(String::new());
    let model = snapshot.map_or("", |snapshot| &snapshot.model);
    let build = format!("version=\"{}\",model=\"{}\"", env!("CARGO_PKG_VERSION"), escaped(model));
    text.family("build_info", "gauge", "The program and the model at work", &[(&build, 1.0)]);
    text.one("uptime_seconds", "gauge", "Since the page began", moment.uptime.as_secs_f64());
    text.one("live", "gauge", "Whether a live picture is shown: 1, or 0 for a placeholder", f64::from(u8::from(moment.live)));
    text.one("viewers", "gauge", "Streams of the page that are watched", moment.viewers as f64);
    if let Some(age) = moment.age {
        text.one("picture_age_seconds", "gauge", "How long the picture has been the newest", age.as_secs_f64());
    }
    if let Some(snapshot) = snapshot {
        text.one("frames_total", "counter", "Frames shown", snapshot.frames as f64);
        text.one("dropped_total", "counter", "Frames that found no room in front of the color thread", snapshot.dropped as f64);
        text.one("skipped_total", "counter", "Frames passed over for a newer one", snapshot.skipped as f64);
        text.one("cuts_total", "counter", "Cuts seen", snapshot.cuts as f64);
        text.one("frames_per_second", "gauge", "Frames shown a second, lately", snapshot.fps.into());
        let latency = &snapshot.latency_ms;
        let latencies = [("50", latency.p50), ("95", latency.p95), ("99", latency.p99)];
        let latencies = latencies.map(|(share, ms)| (format!("percentile=\"{share}\""), f64::from(ms) / 1000.0));
        let latencies = latencies.each_ref().map(|(label, value)| (label.as_str(), *value));
        text.family("latency_seconds", "gauge", "From the source having a frame to its picture being shown, lately", &latencies);
        // By the names of `/state`, so that none is forgotten.
        if let Ok(serde_json::Value::Object(faults)) = serde_json::to_value(snapshot.faults) {
            let count = |value: &serde_json::Value| value.as_u64().unwrap_or(0) as f64;
            let kinds = faults.iter().filter(|(kind, _)| *kind != "reopened");
            let kinds: Vec<(String, f64)> = kinds.map(|(kind, value)| (format!("kind=\"{kind}\""), count(value))).collect();
            let kinds: Vec<(&str, f64)> = kinds.iter().map(|(label, value)| (label.as_str(), *value)).collect();
            text.family("faults_total", "counter", "What could not be used of what the source gave", &kinds);
            text.one("reopened_total", "counter", "How often the source was lost and came back", faults.get("reopened").map_or(0.0, count));
        }
    }
    if let Some(heat) = moment.heat {
        if let Some(celsius) = heat.celsius {
            text.one("temperature_celsius", "gauge", "The processor's temperature", celsius.into());
        }
        text.one("thermal_rung", "gauge", "Steps down the thermal ladder; 0 is full speed", heat.rung.into());
    }
    text.0
}

struct Text(String);

impl Text {
    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help, &[("", value)]);
    }

    fn family(&mut self, name: &str, kind: &str, help: &str, samples: &[(&str, f64)]) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP autochrome_{name} {help}.\n# TYPE autochrome_{name} {kind}\n");
        for (labels, value) in samples {
            let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            let _ = writeln!(self.0, "autochrome_{name}{labels} {value}");
        }
    }
}

/// A label's value: a model's name comes from a file.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::input::Faults;
    use crate::statistics::{Percentiles, Statistics};

    #[test]
    fn everything_that_is_counted_is_told() {
        let faults = Faults { short: 7, reopened: 3, ..Faults::default() };
        let latency_ms = Percentiles { p50: 31.5, p95: 40.0, p99: 62.0 };
        let model = Arc::from("a \"b\" \\ c\nd");
        let snapshot = Snapshot {
            model,
            frames: 9,
            fps: 24.5,
            dropped: 1,
            skipped: 2,
            cuts: 4,
            faults,
            latency_ms,
            ..Statistics::new(crate::settings::Settings::neutral()).now().clone()
        };
        let heat = Some(Heat { celsius: Some(61.5), rung: 2 });
        let age = Some(Duration::from_millis(40));
        let told = text(Some(&snapshot), &Moment { live: true, viewers: 5, uptime: Duration::from_secs(60), heat, age });
        let expected = [
            "build_info{version=\"VERSION\",model=\"a \\\"b\\\" \\\\ c\\nd\"} 1",
            "uptime_seconds 60",
            "live 1",
            "viewers 5",
            "picture_age_seconds 0.04",
            "frames_total 9",
            "dropped_total 1",
            "skipped_total 2",
            "cuts_total 4",
            "frames_per_second 24.5",
            "latency_seconds{percentile=\"50\"} 0.0315",
            "latency_seconds{percentile=\"95\"} 0.04",
            "latency_seconds{percentile=\"99\"} 0.062",
            "faults_total{kind=\"empty\"} 0",
            "faults_total{kind=\"errors\"} 0",
            "faults_total{kind=\"flagged\"} 0",
            "faults_total{kind=\"short\"} 7",
            "faults_total{kind=\"undecodable\"} 0",
            "reopened_total 3",
            "temperature_celsius 61.5",
            "thermal_rung 2",
        ];
        for line in expected {
            let line = format!("autochrome_{}", line.replace("VERSION", env!("CARGO_PKG_VERSION")));
            assert!(told.lines().any(|told| told == line), "{line} in\n{told}");
        }
        let samples = told.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(samples, expected.len());
        let nothing = text(None, &Moment { live: false, viewers: 0, uptime: Duration::ZERO, heat: None, age: None });
        assert!(nothing.contains("autochrome_live 0\n") && !nothing.contains("frames_total"), "{nothing}");
    }
}
