//! A fixed pool of threads that share out the numbered units of a job.
//!
//! Units are independent of each other and of the thread that runs them, so results do not depend on the number of
//! threads. Running a job allocates nothing.

use std::cell::Cell;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// How often a thread looks for what it waits for before it goes to sleep.
const SPINS: usize = 4_000;

/// A unit of work: called with the thread's number and the unit's number.
type Work<'a> = dyn Fn(usize, usize) + Sync + 'a;

#[derive(Clone, Copy)]
struct Job {
    work: *const Work<'static>,
    units: usize,
}

// SAFETY: the pointer is to a `Sync` closure, and `Pool::run` keeps it alive until no worker holds the job.
unsafe impl Send for Job {}

struct State {
    job: Option<Job>,
    stop: bool,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    done: Condvar,
    /// Workers that hold the job; changed under the lock only.
    running: AtomicUsize,
    /// Counts jobs, so that a spinning worker sees a new one without the lock.
    epoch: AtomicU64,
    /// The next unit of the job to be taken.
    next: AtomicUsize,
    panicked: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_units(&self, thread: usize, units: usize, work: &Work<'_>) {
        loop {
            let unit = self.next.fetch_add(1, Ordering::Relaxed);
            if unit >= units {
                return;
            }
            work(thread, unit);
        }
    }

    fn worker(&self, thread: usize) {
        let mut seen = 0;
        loop {
            for _ in 0..SPINS {
                if self.epoch.load(Ordering::Relaxed) != seen {
                    break;
                }
                std::hint::spin_loop();
            }
            let mut state = self.lock();
            let job = loop {
                if state.stop {
                    return;
                }
                let epoch = self.epoch.load(Ordering::Relaxed);
                if epoch != seen {
                    seen = epoch;
                    if let Some(job) = state.job {
                        break job;
                    }
                }
                state = self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            };
            self.running.fetch_add(1, Ordering::Relaxed);
            drop(state);
            // SAFETY: `run` does not return while `running` is above 0, so the closure is alive.
            let work = unsafe { &*job.work };
            let result = catch_unwind(AssertUnwindSafe(|| {
                self.take_units(thread, job.units, work);
            }));
            if result.is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            let _state = self.lock();
            // Release: what the units wrote is seen by the thread that finds no worker left.
            if self.running.fetch_sub(1, Ordering::Release) == 1 {
                self.done.notify_one();
            }
        }
    }
}

/// Threads that wait for jobs. The thread that calls [`Pool::run`] is number 0 and works along.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// One job at a time: the pool is not shared between threads.
    _not_sync: PhantomData<Cell<()>>,
}

impl Pool {
    /// A pool of `threads` threads, the caller's included; as many as can be started.
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                job: None,
                stop: false,
            }),
            wake: Condvar::new(),
            done: Condvar::new(),
            running: AtomicUsize::new(0),
            epoch: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
        });
        let workers = (1..threads)
            .map_while(|thread| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("kernel-{thread}"))
                    .spawn(move || shared.worker(thread))
                    .ok()
            })
            .collect();
        Pool {
            shared,
            workers,
            _not_sync: PhantomData,
        }
    }

    /// Number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `work(thread, unit)` for each unit below `units` and returns when all are done.
    pub fn run(&self, units: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        if units <= 1 || self.workers.is_empty() {
            for unit in 0..units {
                work(0, unit);
            }
            return;
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. The closure outlives its uses: the guard below takes the job away and waits
        // for the workers that hold it, also when a unit panics.
        let work_static = unsafe {
            std::mem::transmute::<*const (dyn Fn(usize, usize) + Sync), *const Work<'static>>(work)
        };
        {
            let mut state = shared.lock();
            shared.next.store(0, Ordering::Relaxed);
            shared.panicked.store(false, Ordering::Relaxed);
            state.job = Some(Job {
                work: work_static,
                units,
            });
            shared.epoch.fetch_add(1, Ordering::Relaxed);
        }
        shared.wake.notify_all();
        {
            let _finish = Finish(shared);
            shared.take_units(0, units, work);
        }
        assert!(
            !shared.panicked.load(Ordering::Relaxed),
            "a kernel's worker thread panicked"
        );
    }
}

/// Ends a job when dropped: no worker takes it up any more, and those that did have left.
struct Finish<'a>(&'a Shared);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        let shared = self.0;
        shared.lock().job = None;
        // Mostly the last units are nearly done.
        for _ in 0..SPINS {
            if shared.running.load(Ordering::Acquire) == 0 {
                return;
            }
            std::hint::spin_loop();
        }
        let mut state = shared.lock();
        while shared.running.load(Ordering::Acquire) > 0 {
            state = shared
                .done
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.epoch.fetch_add(1, Ordering::Relaxed);
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches panics of its units, so there is nothing to report.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_runs_once() {
        for threads in [1, 2, 4] {
            let pool = Pool::new(threads);
            for units in [0, 1, 2, 7, 500] {
                let counts: Vec<AtomicUsize> = (0..units).map(|_| AtomicUsize::new(0)).collect();
                pool.run(units, &|_, unit| {
                    counts[unit].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(2);
        let result = catch_unwind(AssertUnwindSafe(|| {
            pool.run(100, &|_, _| panic!("unit"));
        }));
        assert!(result.is_err());
        let sum = AtomicUsize::new(0);
        pool.run(10, &|_, unit| {
            sum.fetch_add(unit, Ordering::Relaxed);
        });
        assert_eq!(sum.load(Ordering::Relaxed), 45);
    }
}
