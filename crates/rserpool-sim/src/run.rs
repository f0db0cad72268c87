//! Many seeds on all cores.

use crate::stats::Stats;
use crate::swarm::{Outcome, Plan};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How seeds are run.
#[derive(Clone, Debug)]
pub struct Runner {
    /// Threads; each runs one seed at a time.
    pub threads: usize,
    /// Whether to stop at the first violation.
    pub until_failure: bool,
    /// Whether seeds stand for secured scopes ([`Plan::secured`]).
    pub secured: bool,
    /// When to begin no further seed.
    pub deadline: Option<Instant>,
    /// Set by somebody else to have no further seed begun; the sums are those of all that ended.
    pub stop: Arc<AtomicBool>,
}

/// What came of many seeds.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds that ended.
    pub seeds: u64,
    /// One after the last of them.
    pub next: u64,
    /// Those that violated something, in the order of their numbers.
    pub failed: Vec<(u64, Outcome)>,
    /// Sums over all of them.
    pub stats: Stats,
    /// Time of processors that all threads took together, where the system tells it; otherwise
    /// time that passed.
    pub busy: Duration,
}

impl Runner {
    /// On all cores, through all seeds.
    pub fn new() -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Self { threads, until_failure: false, secured: false, deadline: None, stop: Arc::default() }
    }

    /// Runs seeds; `done` hears of each that has ended.
    ///
    /// Seeds begin in order, so that with `until_failure` no lower one fails unseen.
    pub fn run(&self, seeds: Range<u64>, done: impl Fn(u64, &Outcome) + Sync) -> Summary {
        let next = AtomicU64::new(seeds.start);
        let summary = Mutex::new(Summary { next: seeds.start, ..Summary::default() });
        thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    while !self.stop.load(Ordering::Relaxed)
                        && self.deadline.is_none_or(|deadline| Instant::now() < deadline)
                    {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end {
                            return;
                        }
                        let began = Stopwatch::start();
                        let plan =
                            if self.secured { Plan::secured(seed) } else { Plan::draw(seed) };
                        let outcome = plan.run(0);
                        if outcome.violation.is_some() && self.until_failure {
                            self.stop.store(true, Ordering::Relaxed);
                        }
                        done(seed, &outcome);
                        let Ok(mut summary) = summary.lock() else { return };
                        summary.add(seed, outcome, began.elapsed());
                    }
                });
            }
        });
        let mut summary = summary.into_inner().unwrap_or_default();
        summary.failed.sort_by_key(|(seed, _)| *seed);
        summary
    }
}

/// Measures what one thread takes of a processor, so that others who run there do not count.
struct Stopwatch {
    cpu: Option<Duration>,
    began: Instant,
}

impl Stopwatch {
    fn start() -> Self {
        Self { cpu: thread_time(), began: Instant::now() }
    }

    fn elapsed(&self) -> Duration {
        let cpu = thread_time().zip(self.cpu).map(|(now, then)| now.saturating_sub(then));
        cpu.unwrap_or_else(|| self.began.elapsed())
    }
}

/// Time that this thread has had a processor for; Linux tells it in nanoseconds.
fn thread_time() -> Option<Duration> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

impl Default for Runner {
    fn default() -> Self {
        Self::new()
    }
}

impl Summary {
    fn add(&mut self, seed: u64, outcome: Outcome, took: Duration) {
        self.seeds += 1;
        self.next = self.next.max(seed + 1);
        self.stats.add(&outcome.stats);
        self.busy += took;
        if outcome.violation.is_some() {
            self.failed.push((seed, outcome));
        }
    }

    /// Messages per second and core.
    pub fn rate(&self) -> f64 {
        self.stats.messages as f64 / self.busy.as_secs_f64().max(1e-9)
    }
}
