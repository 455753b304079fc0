//! How the device is doing: rates, latencies and losses.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::pipeline::Arrival;
use crate::settings::Settings;

/// How many latencies are looked back on.
const LATENCIES_KEPT: usize = 250;
/// Over how long the rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(2);

/// A moment's numbers, as `/state` gives them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// The model's name.
    pub model: String,
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Frames shown.
    pub frames: u64,
    /// Frames a second, lately.
    pub fps: f32,
    /// From the source having a frame to its picture being shown, lately.
    pub latency_ms: Percentiles,
    /// Frames that found no room in front of the color thread.
    pub dropped: u64,
    /// Frames passed over for a newer one.
    pub skipped: u64,
    /// Cuts seen.
    pub cuts: u64,
    /// The settings of the last frame.
    #[serde(flatten)]
    pub settings: Settings,
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
    model: String,
    frames: u64,
    cuts: u64,
    latencies_ms: VecDeque<f32>,
    shown: VecDeque<Instant>,
}

impl Statistics {
    /// Nothing counted yet.
    pub fn new(model: String) -> Self {
        Self { model, frames: 0, cuts: 0, latencies_ms: VecDeque::new(), shown: VecDeque::new() }
    }

    /// Counts a frame that is shown `now`.
    pub fn count(&mut self, arrival: &Arrival, now: Instant) -> Snapshot {
        let colored = &arrival.colored;
        self.frames += 1;
        self.cuts += u64::from(colored.cut);
        self.latencies_ms.push_back(now.duration_since(colored.captured_at).as_secs_f32() * 1000.0);
        self.latencies_ms.drain(..self.latencies_ms.len().saturating_sub(LATENCIES_KEPT));
        self.shown.push_back(now);
        while self.shown.front().is_some_and(|&first| now.duration_since(first) > RATE_WINDOW) {
            self.shown.pop_front();
        }
        let window = self.shown.front().map_or(0.0, |&first| now.duration_since(first).as_secs_f32());
        Snapshot {
            model: self.model.clone(),
            width: colored.picture.luma.width,
            height: colored.picture.luma.height,
            frames: self.frames,
            fps: if window > 0.0 { (self.shown.len() - 1) as f32 / window } else { 0.0 },
            latency_ms: Percentiles::of(self.latencies_ms.iter().copied().collect()),
            dropped: arrival.dropped,
            skipped: arrival.skipped,
            cuts: self.cuts,
            settings: colored.settings,
        }
    }
}

impl Percentiles {
    /// By the nearest rank; all zero where there is no value.
    pub fn of(mut values: Vec<f32>) -> Self {
        values.sort_by(f32::total_cmp);
        let at = |share: f32| {
            let rank = (share * values.len() as f32).ceil() as usize;
            values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        Self { p50: at(0.50), p95: at(0.95), p99: at(0.99) }
    }
}

#[cfg(test)]
mod tests {
    use autochrome_model::{LumaRange, Picture};

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
        let mut statistics = Statistics::new("m".into());
        let mut last = None;
        for i in 0..100_u32 {
            let captured_at = start + Duration::from_millis(40) * i;
            let settings = Settings { saturation: 1.0, temperature: None };
            let colored =
                Colored { sequence: i.into(), captured_at, picture: Picture::default(), range: LumaRange::Full, cut: i == 50, settings };
            let arrival = Arrival { colored, dropped: 3, skipped: 4 };
            last = Some(statistics.count(&arrival, captured_at + Duration::from_millis(30)));
        }
        let last = last.unwrap();
        assert!((last.fps - 25.0).abs() < 0.1 && (last.latency_ms.p95 - 30.0).abs() < 0.1, "{last:?}");
        assert_eq!((last.frames, last.cuts, last.dropped, last.skipped), (100, 1, 3, 4));
    }
}
