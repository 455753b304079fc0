//! A slot that holds the newest of something, and a bell for those who wait for it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The newest value that somebody put in. Who puts never waits, and who looks late sees only the newest.
#[derive(Debug)]
pub struct Newest<T> {
    slot: Mutex<Slot<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Slot<T> {
    value: Option<Arc<T>>,
    ended: bool,
}

/// What one who waited gets.
#[derive(Debug)]
pub enum Awaited<T> {
    /// A value other than the last one seen.
    Newer(Arc<T>),
    /// None came in time.
    NotYet,
    /// None will come any more.
    Ended,
}

impl<T> Default for Newest<T> {
    fn default() -> Self {
        Self { slot: Mutex::new(Slot { value: None, ended: false }), changed: Condvar::new() }
    }
}

impl<T> Newest<T> {
    fn lock(&self) -> MutexGuard<'_, Slot<T>> {
        // One who panicked left the slot as it was: nothing in it is ever half written.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a value the newest. Returns the one before, so that its memory can be used again.
    pub fn put(&self, value: Arc<T>) -> Option<Arc<T>> {
        let before = self.lock().value.replace(value);
        self.changed.notify_all();
        before
    }

    /// Says that no value will come any more.
    pub fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// The newest value.
    pub fn get(&self) -> Option<Arc<T>> {
        self.lock().value.clone()
    }

    /// Waits for a value other than `last`.
    pub fn wait_for_newer(&self, last: Option<&Arc<T>>, patience: Duration) -> Awaited<T> {
        let same = |slot: &mut Slot<T>| match (&slot.value, last) {
            (Some(value), Some(last)) => Arc::ptr_eq(value, last),
            (None, _) => true,
            (Some(_), None) => false,
        };
        let waited = self.changed.wait_timeout_while(self.lock(), patience, |slot| !slot.ended && same(slot));
        let (mut slot, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if slot.ended {
            return Awaited::Ended;
        }
        if same(&mut slot) { Awaited::NotYet } else { slot.value.clone().map_or(Awaited::NotYet, Awaited::Newer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_waits_sees_the_newest_and_the_end() {
        let slot = Newest::default();
        assert!(matches!(slot.wait_for_newer(None, Duration::ZERO), Awaited::NotYet));
        assert!(slot.put(Arc::new(1)).is_none());
        assert_eq!(slot.put(Arc::new(2)).as_deref(), Some(&1));
        let Awaited::Newer(newest) = slot.wait_for_newer(None, Duration::ZERO) else { panic!("there is one") };
        assert_eq!(*newest, 2);
        assert!(matches!(slot.wait_for_newer(Some(&newest), Duration::from_millis(1)), Awaited::NotYet));
        slot.end();
        assert!(matches!(slot.wait_for_newer(Some(&newest), Duration::from_secs(60)), Awaited::Ended));
    }
}
