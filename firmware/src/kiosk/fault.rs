//! Faults on demand, for the tests of the watchdog: `AUTOCHROME_INJECT=hang:THREAD@COUNT`.

use std::sync::OnceLock;
use std::time::Duration;

use crate::errors::warn;

const VARIABLE: &str = "AUTOCHROME_INJECT";
const THREADS: [&str; 7] = ["camera", "color", "outputs", "page", "panel", "thermal", "display"];

#[derive(Debug, PartialEq, Eq)]
struct Hang {
    thread: &'static str,
    from: u64,
}

/// Hangs the calling thread for ever if the environment says so. `count` is what the thread has done so far: frames for `camera`, `color`
/// and `outputs`, seconds since it began for the others.
pub fn inject(thread: &str, count: u64) {
    static HANG: OnceLock<Option<Hang>> = OnceLock::new();
    let hang = HANG.get_or_init(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let hang = parse(&text);
        if hang.is_none() {
            warn(&format!(
                "{VARIABLE}={text}: not understood and ignored; it is hang:THREAD@COUNT with a thread of {}",
                THREADS.join(", ")
            ));
        }
        hang
    });
    if hang.as_ref().is_some_and(|hang| hang.thread == thread && count >= hang.from) {
        warn(&format!("{VARIABLE} hangs the thread {thread} here"));
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
}

fn parse(text: &str) -> Option<Hang> {
    let (name, from) = text.strip_prefix("hang:")?.split_once('@')?;
    let thread = THREADS.into_iter().find(|&thread| thread == name)?;
    Some(Hang { thread, from: from.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_named_as_documented() {
        for (thread, from) in THREADS.into_iter().zip([0, 1, 25, u64::MAX, 7, 9, 3]) {
            assert_eq!(parse(&format!("hang:{thread}@{from}")), Some(Hang { thread, from }));
        }
        for text in ["", "hang", "hang:", "hang:color", "hang:color@", "hang:color@-1", "hang:signals@1", "panic:color@1", "hang:color@1 "]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
