//! What a service manager is told: that the device is ready, how it is, and that it is alive.
//!
//! The protocol is that of `sd_notify(3)`. Nothing is said where nobody listens, that is without `NOTIFY_SOCKET`.

mod fault;
mod pulse;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

pub use fault::inject;
pub use pulse::{Pulse, Pulses};

use crate::errors::warn;
use crate::status::Status;

/// How often the manager is told how the device is, where it watches nothing.
const STATUS_PERIOD: Duration = Duration::from_secs(2);
/// The longest line of status.
const STATUS_CHARACTERS_MAX: usize = 200;

type Tell = Box<dyn FnMut(&[NotifyState<'_>]) -> io::Result<()> + Send>;

/// The sign of life. It is given only by a fresh picture that was shown, or by an honest word that there is no camera; and only while no
/// other thread stands still.
pub struct Heart {
    status: Arc<Status>,
    manager: Option<Manager>,
}

struct Manager {
    tell: Tell,
    /// The manager ends the process after so long without a sign of life.
    watchdog: Option<Duration>,
    told_at: Option<Instant>,
}

impl Heart {
    /// For the service manager that started this process; silent if none did.
    pub fn new(status: Arc<Status>) -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Self { status, manager: None };
        }
        Self::telling(status, sd_notify::watchdog_enabled(), Box::new(sd_notify::notify))
    }

    fn telling(status: Arc<Status>, watchdog: Option<Duration>, tell: Tell) -> Self {
        Self { status, manager: Some(Manager { tell, watchdog, told_at: None }) }
    }

    /// Says that the device is alive `now`: the first time that it is ready, then at most every quarter of the manager's patience.
    pub fn beat(&mut self, now: Instant) {
        let Some(manager) = &mut self.manager else { return };
        let patience = manager.watchdog.map_or(STATUS_PERIOD, |watchdog| watchdog / 4);
        if manager.told_at.is_some_and(|at| now.saturating_duration_since(at) < patience) {
            return;
        }
        // So that the two patiences together are no longer than one and a half of the manager's.
        let stale = manager.watchdog.and_then(|watchdog| self.status.pulses.stale(now, watchdog / 2));
        let words = match stale {
            Some(thread) => {
                warn(&format!("the thread {thread} stands still; the service manager is not told that this program is alive"));
                format!("the thread {thread} stands still")
            }
            None => words(&self.status),
        };
        let mut news = vec![NotifyState::Status(&words)];
        if manager.told_at.is_none() {
            news.push(NotifyState::Ready);
        }
        if manager.watchdog.is_some() && stale.is_none() {
            news.push(NotifyState::Watchdog);
        }
        manager.told_at = Some(now);
        if let Err(error) = (manager.tell)(&news) {
            warn(&format!("tell the service manager: {error}"));
        }
    }
}

/// Tells the service manager that the program ends because it was asked to.
pub fn stopping() {
    if let Err(error) = sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status("ending")]) {
        warn(&format!("tell the service manager: {error}"));
    }
}

/// How the device is, on one line without control characters: a line break would end the field and begin another one.
fn words(status: &Status) -> String {
    let heat = status.heat.get().and_then(|heat| heat.celsius).map_or(String::new(), |celsius| format!(", {celsius:.0} degrees C"));
    let words = match status.snapshot.get() {
        None => "no picture yet".to_owned(),
        Some(snapshot) => match &snapshot.absent {
            Some(why) => format!("{why}{heat}"),
            None => format!("{:.1} frames/s, {:.0} ms, {}{heat}", snapshot.fps, snapshot.latency_ms.p50, snapshot.model),
        },
    };
    words.chars().map(|character| if character.is_control() { ' ' } else { character }).take(STATUS_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests;
