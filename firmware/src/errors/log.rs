//! Lines on standard error: plain for people, with a priority for the journal.

use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long the same warning is only counted.
const REPEAT_PERIOD: Duration = Duration::from_secs(60);
/// How many different warnings are remembered.
const REPEATS_MAX: usize = 32;

/// How the journal sorts a line; the numbers are those of `syslog(3)`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Priority {
    Error = 3,
    Warning = 4,
    Info = 6,
}

/// Writes one line.
pub(super) fn write(priority: Priority, line: &str) {
    static IN_JOURNAL: OnceLock<bool> = OnceLock::new();
    // A line in one piece: threads write at the same time.
    let text =
        if *IN_JOURNAL.get_or_init(stderr_is_journal) { format!("<{}>{line}\n", priority as u8) } else { format!("autochrome: {line}\n") };
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Writes one line of warning, unless the same one was written a moment ago.
pub(super) fn warn(line: &str) {
    static REPEATS: Mutex<Repeats> = Mutex::new(Repeats(Vec::new()));
    let passed = REPEATS.lock().unwrap_or_else(PoisonError::into_inner).pass(line, Instant::now());
    if let Some(line) = passed {
        write(Priority::Warning, &format!("warning: {line}"));
    }
}

/// Whether standard error is the socket that `JOURNAL_STREAM` names by device and inode.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let stat = rustix::fs::fstat(std::io::stderr());
    stat.is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Warnings written lately.
#[derive(Debug)]
struct Repeats(Vec<Repeat>);

#[derive(Debug)]
struct Repeat {
    line: String,
    written_at: Instant,
    swallowed: u64,
}

impl Repeats {
    /// What to write, if anything.
    fn pass(&mut self, line: &str, now: Instant) -> Option<String> {
        if let Some(repeat) = self.0.iter_mut().find(|repeat| repeat.line == line) {
            if now.saturating_duration_since(repeat.written_at) < REPEAT_PERIOD {
                repeat.swallowed += 1;
                return None;
            }
            repeat.written_at = now;
            return Some(match std::mem::take(&mut repeat.swallowed) {
                0 => line.to_owned(),
                swallowed => format!("{line} (and {swallowed} times more since this was last said)"),
            });
        }
        if self.0.len() == REPEATS_MAX {
            let oldest = (0..REPEATS_MAX).min_by_key(|&at| self.0[at].written_at);
            oldest.map(|at| self.0.swap_remove(at));
        }
        self.0.push(Repeat { line: line.to_owned(), written_at: now, swallowed: 0 });
        Some(line.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_warning_is_written_once_a_minute_with_its_count() {
        let mut repeats = Repeats(Vec::new());
        let start = Instant::now();
        let mut written = Vec::new();
        for second in 0..150 {
            let now = start + Duration::from_secs(second);
            written.extend(repeats.pass("a frame is damaged", now));
            if second % 70 == 0 {
                written.extend(repeats.pass("another", now));
            }
        }
        let counted = "a frame is damaged (and 59 times more since this was last said)";
        assert_eq!(written, ["a frame is damaged", "another", counted, "another", counted, "another"]);
    }

    #[test]
    fn ever_new_warnings_are_all_written_and_not_all_remembered() {
        let mut repeats = Repeats(Vec::new());
        let start = Instant::now();
        for number in 0..1000 {
            assert!(repeats.pass(&number.to_string(), start + Duration::from_millis(number)).is_some());
        }
        assert_eq!(repeats.0.len(), REPEATS_MAX);
        assert_eq!(repeats.pass("999", start + Duration::from_secs(2)), None);
    }
}
