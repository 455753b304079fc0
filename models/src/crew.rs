//! The threads that share a step.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};

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

    /// Runs `step` on one of the threads, while the others look for what it hands out with `rayon::join`. Nobody waits for them: where the cores are
    /// busy with something else, the one computes alone until another comes.
    pub(crate) fn run<R: Send>(&self, step: impl FnOnce() -> R + Send) -> R {
        let over = AtomicBool::new(false);
        self.pool.install(|| {
            let own = rayon::current_thread_index();
            rayon::scope(|scope| {
                for _ in 1..self.size() {
                    scope.spawn(|_| {
                        // The step's own thread takes up what lies around while it waits for the other half of a layer; this would keep it.
                        if rayon::current_thread_index() != own {
                            look_for_work(&over);
                        }
                    });
                }
                let over = Over(&over);
                let result = step();
                drop(over);
                result
            })
        })
    }
}

/// Works on what the pool has, until it is over.
fn look_for_work(over: &AtomicBool) {
    let mut idle = 0_u32;
    while !over.load(Ordering::Acquire) {
        if rayon::yield_now() == Some(rayon::Yield::Executed) {
            idle = 0;
        } else if idle < 2_000 {
            idle += 1;
            std::hint::spin_loop();
        } else {
            // A thread that has a frame to read or a picture to send goes first.
            std::thread::yield_now();
        }
    }
}

/// Lets the others go, even if the step panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// The sum of the numbers below `end`, shared down to single ones.
    fn sum(start: u64, end: u64) -> u64 {
        if end - start < 2 {
            return if start < end { start } else { 0 };
        }
        let middle = start.midpoint(end);
        let (a, b) = rayon::join(|| sum(start, middle), || sum(middle, end));
        a + b
    }

    fn crew(threads: usize) -> Crew {
        Crew::new(NonZeroUsize::new(threads).unwrap()).unwrap().unwrap()
    }

    #[test]
    fn a_crew_larger_than_the_processor_comes_to_an_end() {
        assert!(Crew::new(NonZeroUsize::MIN).unwrap().is_none(), "one thread needs no crew");
        for threads in [2, 3, 8, 16] {
            let crew = crew(threads);
            assert_eq!(crew.size(), threads);
            for _ in 0..20 {
                assert_eq!(crew.run(|| sum(0, 1000)), 499_500);
            }
        }
    }

    #[test]
    fn a_panic_in_a_step_comes_out_and_the_next_step_runs() {
        let crew = crew(3);
        for panicking in 0..3 {
            let bad = |part: u64| {
                assert!(part != panicking, "on purpose");
                sum(0, 10)
            };
            let caught = catch_unwind(AssertUnwindSafe(|| {
                crew.run(|| {
                    bad(0);
                    rayon::join(|| bad(1), || bad(2))
                })
            }));
            assert!(caught.is_err(), "the panic in part {panicking} is lost");
            assert_eq!(crew.run(|| sum(0, 100)), 4950);
        }
    }

    #[test]
    fn a_crew_can_be_moved_and_dropped_elsewhere() {
        let crew = crew(3);
        assert_eq!(crew.run(|| sum(0, 10)), 45);
        let sum_elsewhere = std::thread::spawn(move || crew.run(|| sum(0, 100))).join();
        assert_eq!(sum_elsewhere.unwrap(), 4950);
    }
}
