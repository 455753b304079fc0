//! The threads that share a step.

use std::num::NonZeroUsize;
use std::ops::Range;
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

    /// Runs `step` on one of the threads, while the others look for what it hands out with [`each`] and [`share`]. Nobody waits for them: where the
    /// cores are busy with something else, the one computes alone until another comes.
    pub(crate) fn run<R: Send>(&self, step: impl FnOnce() -> R + Send) -> R {
        let over = AtomicBool::new(false);
        self.pool.install(|| {
            let own = rayon::current_thread_index();
            rayon::scope(|scope| {
                // Jobs that any thread may take, and not one for each: the scope does not end before all of them have run, and a thread whose core is
                // taken would keep it. The step's own thread finds those that are left over when it waits, and must come back from them.
                for _ in 1..self.size() {
                    scope.spawn(|_| {
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
    work_until(|| over.load(Ordering::Acquire));
}

/// Works on what the pool has until `done`, without sleeping.
fn work_until(done: impl Fn() -> bool) {
    let mut idle = 0_u32;
    while !done() {
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

/// Does `work` on all of `items`, of which each has `size` elements of `output` (the last may have fewer), with up to `threads` threads of the pool
/// that this runs in.
pub(crate) fn share<T: Send>(
    threads: usize,
    items: Range<usize>,
    size: usize,
    output: &mut [T],
    work: &(impl Fn(Range<usize>, &mut [T]) + Sync),
) {
    if threads < 2 || items.len() < 2 {
        return work(items, output);
    }
    let count = items.len().div_ceil(threads);
    let ranges = items.clone().step_by(count).map(|start| start..(start + count).min(items.end));
    each(ranges.zip(output.chunks_mut(count * size)), &|(range, output)| work(range, output));
}

/// Does `work` on all of `parts`, each on whatever thread of the pool takes it; on the first, on this one.
///
/// No part may hand out work itself: a thread that waited for it could take up a job of [`Crew::run`], and would not come back before the step's end,
/// which waits for its part.
///
/// `rayon::join` would do, but a thread that waits in it falls asleep within microseconds, and a layer's parts are never done at the same time.
pub(crate) fn each<P: Send>(mut parts: impl Iterator<Item = P> + Send, work: &(impl Fn(P) + Sync)) {
    let Some(first) = parts.next() else { return };
    let left = AtomicUsize::new(0);
    rayon::scope(|scope| {
        for part in parts {
            left.fetch_add(1, Ordering::AcqRel);
            let left = &left;
            scope.spawn(move |_| {
                let _done = Done(left);
                work(part);
            });
        }
        work(first);
        work_until(|| left.load(Ordering::Acquire) == 0);
    });
}

/// Counts a part as done, even if it panics.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
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
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// The sum of the numbers from `start` to below `end`, in many parts.
    fn sum(start: u64, end: u64) -> u64 {
        let sum = AtomicU64::new(0);
        each((start..end).step_by(7), &|from| {
            sum.fetch_add((from..end.min(from + 7)).sum(), Ordering::Relaxed);
        });
        sum.into_inner()
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
    fn every_item_is_done_once_by_whoever_takes_it() {
        for threads in [1, 2, 3, 7] {
            let crew = Crew::new(NonZeroUsize::new(threads).unwrap()).unwrap();
            for items in [0, 1, 2, 5, 100] {
                // The last item has only one of its three elements.
                let mut output = vec![0; (items * 3_usize).saturating_sub(2)];
                let fill = |range: Range<usize>, part: &mut [usize]| {
                    for (element, item) in part.iter_mut().zip(range.flat_map(|item| [item; 3])) {
                        *element += item + 1;
                    }
                };
                let mut work = || share(threads, 0..items, 3, &mut output, &fill);
                match &crew {
                    Some(crew) => crew.run(work),
                    None => work(),
                }
                let expected: Vec<usize> = (0..output.len()).map(|at| at / 3 + 1).collect();
                assert_eq!(output, expected, "{threads} threads, {items} items");
            }
        }
    }

    #[test]
    fn a_panic_in_a_step_comes_out_and_the_next_step_runs() {
        let crew = crew(3);
        for panicking in 0..3 {
            let bad = |part: u64| assert!(part != panicking, "on purpose");
            let caught = catch_unwind(AssertUnwindSafe(|| crew.run(|| each(0..3, &bad))));
            assert!(caught.is_err(), "the panic in part {panicking} is lost");
            let shared = |range: Range<usize>, _: &mut [u8]| bad(range.start as u64);
            let caught = catch_unwind(AssertUnwindSafe(|| crew.run(|| share(3, 0..3, 1, &mut [0; 3], &shared))));
            assert!(caught.is_err(), "the panic in a shared part {panicking} is lost");
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
