//! How the device is doing: rates, latencies and losses.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use crate::input::Faults;
use crate::pipeline::{Absence, Arrival};
use crate::settings::Settings;

/// How many latencies are looked back on.
const LATENCIES_KEPT: usize = 250;
/// Over how long the rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(2);

/// A moment's numbers, as `/state` gives them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// The model's name.
    #[serde(serialize_with = "as_text")]
    pub model: Arc<str>,
    /// How many threads share its work.
    pub threads: usize,
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Frames shown.
    pub frames: u64,
    /// Frames a second, lately.
    pub fps: f32,
    /// From the source having a frame to its picture reaching the outputs, lately.
    pub latency_ms: Percentiles,
    /// Frames that found no room in front of the color thread.
    pub dropped: u64,
    /// Frames passed over for a newer one.
    pub skipped: u64,
    /// Cuts seen.
    pub cuts: u64,
    /// What could not be used of the source's frames, and how often it was lost.
    pub faults: Faults,
    /// Why there is no live picture, in words; absent while there is one.
    #[serde(serialize_with = "as_optional_text")]
    pub absent: Option<Arc<str>>,
    /// The settings of the last frame.
    #[serde(flatten)]
    pub settings: Settings,
}

fn as_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn as_optional_text<S: Serializer>(text: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    text.as_deref().serialize(serializer)
}

/// Half of the values are at most `p50`; 95 and 99 of a hundred are at most `p95` and `p99`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// The median.
    pub p50: f32,
    /// The 95th percentile.
    pub p95: f32,
    /// The 99th percentile.
    pub p99: f32,
}

/// Counts what arrives at the outputs.
#[derive(Debug)]
pub struct Statistics {
    now: Snapshot,
    latencies_ms: VecDeque<f32>,
    sorted: Vec<f32>,
    shown: VecDeque<Instant>,
}

impl Statistics {
    /// Nothing counted yet; `settings` are those that the first picture will have.
    pub fn new(settings: Settings) -> Self {
        let now = Snapshot {
            model: Arc::from(""),
            threads: 0,
            width: 0,
            height: 0,
            frames: 0,
            fps: 0.0,
            latency_ms: Percentiles::default(),
            dropped: 0,
            skipped: 0,
            cuts: 0,
            faults: Faults::default(),
            absent: None,
            settings,
        };
        Self { now, latencies_ms: VecDeque::new(), sorted: Vec::new(), shown: VecDeque::new() }
    }

    /// Counts a frame that is shown `now`.
    pub fn count(&mut self, arrival: &Arrival, now: Instant) {
        let colored = &arrival.colored;
        self.latencies_ms.push_back(now.duration_since(colored.captured_at).as_secs_f32() * 1000.0);
        self.latencies_ms.drain(..self.latencies_ms.len().saturating_sub(LATENCIES_KEPT));
        self.sorted.clear();
        self.sorted.extend(&self.latencies_ms);
        self.shown.push_back(now);
        self.forget_before(now);
        let window = self.shown.front().map_or(0.0, |&first| now.duration_since(first).as_secs_f32());
        let snapshot = &mut self.now;
        snapshot.model.clone_from(&colored.model);
        snapshot.threads = colored.threads;
        (snapshot.width, snapshot.height) = (colored.picture.luma.width, colored.picture.luma.height);
        snapshot.frames += 1;
        snapshot.fps = if window > 0.0 { (self.shown.len() - 1) as f32 / window } else { 0.0 };
        snapshot.latency_ms = Percentiles::sort(&mut self.sorted);
        (snapshot.dropped, snapshot.skipped) = (arrival.dropped, arrival.skipped);
        snapshot.cuts += u64::from(colored.cut);
        (snapshot.faults, snapshot.settings) = (colored.faults, colored.settings);
        snapshot.absent = None;
    }

    /// Notes that there is no picture.
    pub fn absent(&mut self, absence: &Absence, now: Instant) {
        self.forget_before(now);
        self.now.absent = Some(Arc::clone(&absence.why));
        self.now.faults = absence.faults;
        self.now.fps = 0.0;
    }

    /// How things stand.
    pub fn now(&self) -> &Snapshot {
        &self.now
    }

    fn forget_before(&mut self, now: Instant) {
        while self.shown.front().is_some_and(|&first| now.duration_since(first) > RATE_WINDOW) {
            self.shown.pop_front();
        }
    }
}

impl Percentiles {
    /// By the nearest rank; all zero where there is no value.
    pub fn of(mut values: Vec<f32>) -> Self {
        Self::sort(&mut values)
    }

    /// As [`of`](Self::of); the values are left sorted.
    pub fn sort(values: &mut [f32]) -> Self {
        // Without memory of its own, which a stable sort would take.
        values.sort_unstable_by(f32::total_cmp);
        let at = |share: f32| {
            let rank = (share * values.len() as f32).ceil() as usize;
            values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        Self { p50: at(0.50), p95: at(0.95), p99: at(0.99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coloring::Colored;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let found = Percentiles::of((1..=200).rev().map(|v| v as f32).collect());
        assert_eq!(found, Percentiles { p50: 100.0, p95: 190.0, p99: 198.0 });
        assert_eq!(Percentiles::of(vec![7.0]), Percentiles { p50: 7.0, p95: 7.0, p99: 7.0 });
        assert_eq!(Percentiles::of(vec![]), Percentiles::default());
    }

    #[test]
    fn rate_and_latency_are_those_of_the_last_frames() {
        let start = Instant::now();
        let mut statistics = Statistics::new(Settings::neutral());
        for i in 0..100_u32 {
            let captured_at = start + Duration::from_millis(40) * i;
            let colored = Arc::new(Colored { sequence: i.into(), captured_at, cut: i == 50, ..Colored::blank() });
            let arrival = Arrival { colored, dropped: 3, skipped: 4 };
            statistics.count(&arrival, captured_at + Duration::from_millis(30));
        }
        let last = statistics.now();
        assert!((last.fps - 25.0).abs() < 0.1 && (last.latency_ms.p95 - 30.0).abs() < 0.1, "{last:?}");
        assert_eq!((last.frames, last.cuts, last.dropped, last.skipped), (100, 1, 3, 4));
        let absence = Absence { why: Arc::from("no camera"), after: 100, faults: Faults { errors: 1, ..Faults::default() } };
        statistics.absent(&absence, start);
        assert_eq!((statistics.now().absent.as_deref(), statistics.now().fps, statistics.now().faults.errors), (Some("no camera"), 0.0, 1));
    }
}
