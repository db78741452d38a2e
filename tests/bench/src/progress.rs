//! What is going on, and how long it will still take; on standard error, beside the results.

use std::time::{Duration, Instant};

use mesh_bench::cases::{Job, Work};

/// What the programs of a turn take to start and to end, until some turns have shown it.
const OVERHEAD: f64 = 0.4;

/// How far a run is.
#[derive(Debug)]
pub(crate) struct Progress {
    start: Instant,
    turns: u32,
    done: u32,
    /// Seconds of the turns that are still to come, without what is around them.
    left: f64,
    /// The same of those that are over.
    over: f64,
    first: Option<Instant>,
}

// === impl Progress ===

impl Progress {
    /// Before the first of all turns.
    pub(crate) fn new(jobs: &[Job]) -> Self {
        // Memory has no turns.
        let jobs = || jobs.iter().filter(|job| job.work != Work::Memory);
        Self {
            start: Instant::now(),
            turns: jobs().map(Job::turns).sum(),
            done: 0,
            left: jobs()
                .map(|job| f64::from(job.turns()) * f64::from(job.seconds))
                .sum(),
            over: 0.0,
            first: None,
        }
    }

    /// Something that is no turn.
    pub(crate) fn say(&mut self, what: &str) {
        eprintln!("    {:>4} s  {what}", self.start.elapsed().as_secs());
    }

    /// A turn of so many seconds begins.
    pub(crate) fn turn(&mut self, what: &str, seconds: u32) {
        let first = *self.first.get_or_insert_with(Instant::now);
        let left = self.estimate(first.elapsed());
        let minutes = left.as_secs() / 60;
        self.done += 1;
        eprintln!(
            "    {:>4} s  [{}/{}] {what}   {minutes} min {:02} s left",
            self.start.elapsed().as_secs(),
            self.done,
            self.turns,
            left.as_secs() % 60
        );
        self.left -= f64::from(seconds);
        self.over += f64::from(seconds);
    }

    fn estimate(&self, passed: Duration) -> Duration {
        let each = if self.done > 0 {
            ((passed.as_secs_f64() - self.over) / f64::from(self.done)).max(0.0)
        } else {
            OVERHEAD
        };
        let turns = f64::from(self.turns.saturating_sub(self.done));
        Duration::try_from_secs_f64(self.left + each * turns).unwrap_or_default()
    }
}
