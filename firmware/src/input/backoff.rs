//! How long to wait before something that failed is tried again: a quarter of a second, then twice as long each time, up to five seconds.

use std::time::Duration;

/// The first pause.
pub(super) const FIRST: Duration = Duration::from_millis(250);
/// The longest pause.
pub(super) const LONGEST: Duration = Duration::from_secs(5);

/// The pauses between attempts. It knows no clock: times are given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    pause: Duration,
    due: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { pause: FIRST, due: Duration::ZERO }
    }
}

impl Backoff {
    /// An attempt failed, at `now`.
    pub(super) fn failed(&mut self, now: Duration) {
        self.due = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST);
    }

    /// How long the next attempt still has to wait.
    pub(super) fn remaining(&self, now: Duration) -> Duration {
        self.due.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_seconds() {
        let (mut backoff, mut now) = (Backoff::default(), Duration::ZERO);
        assert_eq!(backoff.remaining(now), Duration::ZERO);
        let pauses: Vec<u128> = (0..7)
            .map(|_| {
                backoff.failed(now);
                let pause = backoff.remaining(now);
                now += pause;
                pause.as_millis()
            })
            .collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 5000, 5000]);
    }
}
