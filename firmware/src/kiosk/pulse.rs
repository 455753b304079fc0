//! Pulses: by these a thread that pictures do not go through shows that it does not stand still.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Of a thread that has ended as it should.
const ENDED: u64 = u64::MAX;

/// The pulses of all threads that give one.
#[derive(Debug)]
pub struct Pulses {
    since: Instant,
    all: Mutex<Vec<Arc<Beat>>>,
}

#[derive(Debug)]
struct Beat {
    thread: &'static str,
    /// In milliseconds since [`Pulses::since`].
    at: AtomicU64,
}

/// A thread's end: it has to [`beat`](Self::beat) at least every two seconds, whatever it waits for. A thread that drops it has ended and is
/// no longer waited for; unless it panicked.
#[derive(Debug)]
pub struct Pulse {
    since: Instant,
    beat: Arc<Beat>,
}

impl Default for Pulses {
    fn default() -> Self {
        Self { since: Instant::now(), all: Mutex::default() }
    }
}

impl Pulses {
    /// A pulse for the calling thread, or for one that is about to start.
    pub fn begin(&self, thread: &'static str) -> Pulse {
        let beat = Arc::new(Beat { thread, at: AtomicU64::new(0) });
        let pulse = Pulse { since: self.since, beat: Arc::clone(&beat) };
        pulse.beat();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|beat| beat.at.load(Ordering::Relaxed) != ENDED);
        all.push(beat);
        pulse
    }

    /// The name of a thread whose pulse did not beat for longer than `patience`.
    pub fn stale(&self, now: Instant, patience: Duration) -> Option<&'static str> {
        let now = milliseconds(now.saturating_duration_since(self.since));
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = all.iter().find(|beat| now.saturating_sub(beat.at.load(Ordering::Relaxed)) > milliseconds(patience));
        stale.map(|beat| beat.thread)
    }
}

impl Pulse {
    /// Says that the thread is at work.
    pub fn beat(&self) {
        self.beat.at.store(milliseconds(self.since.elapsed()), Ordering::Relaxed);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.beat.at.store(ENDED, Ordering::Relaxed);
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_goes_stale_unless_its_thread_ended_as_it_should() {
        let pulses = Arc::new(Pulses::default());
        let patience = Duration::from_secs(5);
        let (page, panel) = (pulses.begin("page"), pulses.begin("panel"));
        let soon = Instant::now() + Duration::from_secs(4);
        let late = Instant::now() + Duration::from_secs(6);
        page.beat();
        assert_eq!((pulses.stale(soon, patience), pulses.stale(late, patience)), (None, Some("page")));
        drop(page);
        assert_eq!(pulses.stale(late, patience), Some("panel"));
        drop(panel);
        assert_eq!(pulses.stale(late, patience), None);
        let thermal = pulses.begin("thermal");
        let panicked = std::thread::spawn(move || {
            thermal.beat();
            panic!("a bug");
        });
        assert!(panicked.join().is_err());
        assert_eq!(pulses.stale(late, patience), Some("thermal"));
        assert_eq!(pulses.all.lock().unwrap().len(), 1, "those that ended are forgotten");
    }
}
