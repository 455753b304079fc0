//! Chunks that are ready when they are wanted.

use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use crossbeam_channel::{Receiver, Sender, bounded};

use super::lanes::{Chunk, Lanes};

/// Prepares chunks on background threads and hands them out in order.
///
/// Each thread makes every n-th chunk into a channel of its own, so that order needs no bookkeeping. Dropping the prefetch drops the
/// receivers, which ends the threads.
pub struct Prefetch {
    receivers: Vec<Receiver<Chunk>>,
    threads: Vec<JoinHandle<()>>,
    next: u64,
    begin: u64,
}

impl fmt::Debug for Prefetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefetch").field("next", &self.next).field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl Prefetch {
    /// Starts `threads` threads (at least one), each up to `ahead` chunks ahead of the consumer, beginning with chunk `begin`.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(lanes: Arc<Lanes>, begin: u64, threads: usize, ahead: usize) -> Result<Self> {
        let count = threads.max(1);
        let mut prefetch = Self { receivers: Vec::new(), threads: Vec::new(), next: begin, begin };
        for index in 0..count as u64 {
            let (sender, receiver) = bounded(ahead);
            let lanes = Arc::clone(&lanes);
            let thread = thread::Builder::new()
                .name(format!("loader-{index}"))
                .spawn(move || load(&lanes, (begin + index..).step_by(count), &sender))
                .with_context(|| format!("start loader thread {index}"))?;
            prefetch.receivers.push(receiver);
            prefetch.threads.push(thread);
        }
        Ok(prefetch)
    }

    /// Waits for the next chunk.
    ///
    /// # Errors
    /// When a loader thread died; its panic is on standard error.
    pub fn next_chunk(&mut self) -> Result<Chunk> {
        let turn = ((self.next - self.begin) % self.receivers.len() as u64) as usize;
        let chunk = self.receivers[turn]
            .recv()
            .map_err(|_| anyhow!("load chunk {}: loader thread {turn} died; its message is above", self.next))?;
        self.next += 1;
        Ok(chunk)
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.receivers.clear();
        for thread in self.threads.drain(..) {
            // A panic has been printed already, and the consumer was told.
            let _ = thread.join();
        }
    }
}

/// Makes chunks until nobody wants them.
fn load(lanes: &Lanes, numbers: impl Iterator<Item = u64>, sender: &Sender<Chunk>) {
    for number in numbers {
        if sender.send(lanes.chunk(number)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lane_config::LaneConfig;
    use super::super::shard::test_sets::small_set;
    use super::super::split::Split;
    use super::*;

    #[test]
    fn a_prefetch_gives_the_chunks_in_order_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let config = LaneConfig { lanes: 3, chunks_per_item: 3, width: 32, height: 24, ..LaneConfig::default() };
        let lanes = Arc::new(Lanes::new(Arc::new(small_set(folder.path())), Split::Train, config).unwrap());
        let mut prefetch = Prefetch::start(Arc::clone(&lanes), 5, 3, 2).unwrap();
        for number in 5..15 {
            assert_eq!(prefetch.next_chunk().unwrap(), lanes.chunk(number));
        }
        // Joins the threads: the test would hang here if one did not end.
        drop(prefetch);
        assert_eq!(Arc::strong_count(&lanes), 1);
    }
}
