//! The program running in the background of the guest, watched through its page.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::guest::{COMMAND_MAX, Guest, LOG, PATIENCE};

/// A started program. A case that fails leaves it to the end of the guest.
pub(super) struct Program {
    pid: u32,
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) fds: u64,
    pub(super) threads: u64,
    pub(super) rss_kib: u64,
}

impl Program {
    /// Starts `autochrome run` with the small model and a page, and waits until the page answers.
    pub(super) fn start(guest: &mut Guest, options: &str) -> Result<Self> {
        let pid = guest
            .sh(&format!("autochrome run --model /share/small.onnx --output http://127.0.0.1:8080 {options} >{LOG} 2>&1 & echo $!"))?;
        let program = Self { pid: pid.trim().parse().with_context(|| format!("read {pid:?} as a process number"))? };
        program.wait(guest, "the page to answer", |_| true)?;
        Ok(program)
    }

    /// What `/state` says; nothing while the page does not answer.
    pub(super) fn state(&self, guest: &mut Guest) -> Result<Option<Value>> {
        let (code, answer) = guest.run("wget -qO- http://127.0.0.1:8080/state", COMMAND_MAX)?;
        Ok(if code == 0 { Some(serde_json::from_str(&answer).with_context(|| format!("read /state: {answer}"))?) } else { None })
    }

    /// Waits until `/state` is as wanted, and gives it. The program has to live all the while.
    pub(super) fn wait(&self, guest: &mut Guest, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let state = self.state(guest)?;
            if let Some(state) = state.as_ref().filter(|state| wanted(state)) {
                return Ok(state.clone());
            }
            if Instant::now() > deadline {
                bail!("waited for {what} for {} s; at the end /state said {}", PATIENCE.as_secs(), state.unwrap_or_default());
            }
            self.alive(guest).with_context(|| format!("while waiting for {what}"))?;
            sleep(Duration::from_millis(20));
        }
    }

    /// Waits until pictures that are newer than now are shown.
    pub(super) fn wait_for_pictures(&self, guest: &mut Guest) -> Result<Value> {
        let before = self.state(guest)?.map_or(0, |state| frames(&state));
        self.wait(guest, "new pictures", |state| state["absent"].is_null() && frames(state) >= before + 2)
    }

    /// Waits until the program says that it has no camera, and why. (That a picture stands still it says too, of a busy guest.)
    pub(super) fn wait_for_absence(&self, guest: &mut Guest) -> Result<String> {
        let words = |state: &Value| state["absent"].as_str().unwrap_or_default().to_owned();
        let state = self.wait(guest, "the program to say that it has no camera", |state| words(state).contains("camera"))?;
        Ok(words(&state))
    }

    /// Whether the process is still the one that was started.
    fn alive(&self, guest: &mut Guest) -> Result<()> {
        let (code, _) = guest.run(&format!("readlink /proc/{}/exe", self.pid), COMMAND_MAX)?;
        ensure!(code == 0, "the program ended");
        Ok(())
    }

    /// What the process holds now.
    pub(super) fn held(&self, guest: &mut Guest) -> Result<Held> {
        let pid = self.pid;
        let lines =
            guest.sh(&format!("ls /proc/{pid}/fd | wc -l; sed -n 's/^Threads:[^0-9]*//p; s/^VmRSS:[^0-9]*//p' /proc/{pid}/status"))?;
        // `VmRSS` stands before `Threads` in that file.
        let numbers: Vec<u64> = lines.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
        let [fds, rss_kib, threads] = numbers[..] else { bail!("read {lines:?} as numbers of the process") };
        Ok(Held { fds, threads, rss_kib })
    }

    /// The share of one core that the process uses, over a moment.
    pub(super) fn load(&self, guest: &mut Guest, moment: Duration) -> Result<f64> {
        let pid = self.pid;
        // utime and stime in hundredths of a second, and uptime in seconds.
        let once = |guest: &mut Guest| -> Result<(f64, f64)> {
            let line = guest.sh(&format!("sed 's/.*) //' /proc/{pid}/stat | cut -d' ' -f12,13; cut -d' ' -f1 /proc/uptime"))?;
            let numbers: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            let [user, system, uptime] = numbers[..] else { bail!("read {line:?} as the process's times") };
            Ok(((user + system) / 100.0, uptime))
        };
        let (busy_before, before) = once(guest)?;
        guest.sh(&format!("sleep {}", moment.as_secs()))?;
        let (busy, now) = once(guest)?;
        Ok((busy - busy_before) / (now - before))
    }

    /// Ends the program as a person would, and expects it to do so at once and in order.
    pub(super) fn stop(self, guest: &mut Guest) -> Result<()> {
        // Only the shell that started it can wait for it.
        let (code, _) = guest.run(&format!("kill -INT {0}; wait {0}", self.pid), COMMAND_MAX)?;
        ensure!(code == 0, "the program ended with exit code {code}");
        Ok(())
    }
}

/// Frames shown so far.
pub(super) fn frames(state: &Value) -> u64 {
    state["frames"].as_u64().unwrap_or_default()
}
