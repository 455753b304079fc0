//! The threads that share a step.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// A pool whose threads stay awake during a step: its layers are so short, a tenth of a millisecond, that waking a thread for each would cost more
/// than it brings.
#[derive(Debug)]
pub(crate) struct Crew {
    pool: ThreadPool,
}

impl Crew {
    /// A crew of `threads`; none for a single one.
    ///
    /// # Errors
    /// What the system says if it starts no thread.
    pub(crate) fn new(threads: NonZeroUsize) -> Result<Option<Self>, String> {
        if threads.get() == 1 {
            return Ok(None);
        }
        let pool = ThreadPoolBuilder::new().num_threads(threads.get()).thread_name(|index| format!("network {index}")).build();
        pool.map(|pool| Some(Self { pool })).map_err(|error| format!("start {threads} threads: {error}"))
    }

    /// How many threads they are.
    pub(crate) fn size(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `step` on one of the threads, while the others look for what it hands out with `rayon::join`.
    pub(crate) fn run<R: Send>(&self, step: impl FnOnce() -> R + Send) -> R {
        let others = self.pool.current_num_threads() - 1;
        let (awake, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        self.pool.install(|| {
            rayon::scope(|scope| {
                for _ in 0..others {
                    scope.spawn(|_| {
                        awake.fetch_add(1, Ordering::AcqRel);
                        while !over.load(Ordering::Acquire) {
                            if rayon::yield_now() != Some(rayon::Yield::Executed) {
                                std::hint::spin_loop();
                            }
                        }
                    });
                }
                // All of them have to have begun: a thread that waits for a layer's other half takes up what lies around, and one of these would
                // keep it until the end of the step that it is in.
                while awake.load(Ordering::Acquire) < others {
                    std::hint::spin_loop();
                }
                let over = Over(&over);
                let result = step();
                drop(over);
                result
            })
        })
    }
}

/// Lets the others go, even if the step panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
