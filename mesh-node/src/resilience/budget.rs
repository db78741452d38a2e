//! The retry budget: retries by requests over the last ten seconds.
//!
//! Retries of a backend that fails are load on it when it can bear it least; a share of what clients ask for bounds
//! that load whatever each route's `attempts` say (Finagle's and Linkerd's retry budgets).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mesh_model::RetryBudget;

use super::clock::Moment;

/// Seconds that are counted.
const WINDOW: u32 = 10;

/// Requests and retries of the last ten seconds.
#[derive(Debug, Default)]
pub(super) struct Budget {
    requests: Window,
    retries: Window,
}

/// Counts of the last ten seconds, one for each: the second in the high half, the count in the low one.
#[derive(Debug, Default)]
struct Window([AtomicU64; WINDOW as usize]);

// === impl Budget ===

impl Budget {
    /// Counts a client's request.
    pub(super) fn request(&self, now: Moment) {
        self.requests.add(second(now));
    }

    /// Counts a retry if there may be one: those of the last ten seconds are at most `percent` of the requests, or
    /// `min_per_second` on average, whichever is more. Never more than that, however many ask at once.
    pub(super) fn retry(&self, budget: RetryBudget, now: Moment) -> bool {
        let second = second(now);
        let share = u64::from(budget.percent) * self.requests.sum(second) / 100;
        let allowed = share.max(u64::from(budget.min_per_second) * u64::from(WINDOW));
        self.retries.add(second);
        if self.retries.sum(second) <= allowed {
            return true;
        }
        self.retries.take_back(second);
        false
    }
}

// === impl Window ===

impl Window {
    fn slot(&self, second: u32) -> &AtomicU64 {
        &self.0[(second % WINDOW) as usize]
    }

    fn add(&self, second: u32) {
        let add = |packed| match unpack(packed) {
            (then, count) if then == second => pack(second, count.saturating_add(1)),
            // A core that was held up must not wipe out the new second's count for one of ten seconds ago.
            (then, _) if then > second => packed,
            _ => pack(second, 1),
        };
        self.slot(second).update(Ordering::AcqRel, Ordering::Acquire, add);
    }

    fn take_back(&self, second: u32) {
        let take = |packed| match unpack(packed) {
            (then, count) if then == second => pack(second, count.saturating_sub(1)),
            _ => packed,
        };
        self.slot(second)
            .update(Ordering::AcqRel, Ordering::Acquire, take);
    }

    fn sum(&self, now: u32) -> u64 {
        self.0
            .iter()
            .map(|slot| unpack(slot.load(Ordering::Acquire)))
            .filter(|(then, _)| now.abs_diff(*then) < WINDOW)
            .map(|(_, count)| u64::from(count))
            .sum()
    }
}

/// The moment's second. Begins at ten, so that a slot of zeroes lies outside of every window.
fn second(moment: Moment) -> u32 {
    let seconds = Duration::from_nanos(moment.as_nanos()).as_secs();
    u32::try_from(seconds).unwrap_or(u32::MAX - WINDOW) + WINDOW
}

fn pack(second: u32, count: u32) -> u64 {
    u64::from(second) << 32 | u64::from(count)
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of a word")]
fn unpack(packed: u64) -> (u32, u32) {
    ((packed >> 32) as u32, packed as u32)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    const DEFAULT: RetryBudget = RetryBudget {
        percent: 20,
        min_per_second: 10,
    };

    fn at(seconds: f64) -> Moment {
        Moment::FIRST.after(Duration::from_secs_f64(seconds))
    }

    fn granted(budget: &Budget, settings: RetryBudget, asked: u32, now: Moment) -> u32 {
        (0..asked).map(|_| u32::from(budget.retry(settings, now))).sum()
    }

    #[test]
    fn a_quiet_service_has_the_minimum() {
        let budget = Budget::default();
        assert_eq!(granted(&budget, DEFAULT, 1_000, at(0.0)), 100);
        assert_eq!(granted(&budget, DEFAULT, 1_000, at(9.9)), 0);
        assert_eq!(granted(&budget, DEFAULT, 1_000, at(10.0)), 100);
    }

    #[test]
    fn a_busy_one_has_a_fifth_of_its_requests() {
        let budget = Budget::default();
        for n in 0..10_000 {
            budget.request(at(f64::from(n) / 1_000.0));
        }
        assert_eq!(granted(&budget, DEFAULT, 5_000, at(9.9)), 2_000);
        // The requests of the first seconds have left the window; so have no retries yet.
        assert_eq!(granted(&budget, DEFAULT, 5_000, at(15.0)), 0);
    }

    #[test]
    fn in_no_ten_seconds_there_are_more_than_the_share() {
        let budget = Budget::default();
        let mut retries = Vec::new();
        for n in 0..60_000_u32 {
            let now = at(f64::from(n) / 1_000.0);
            budget.request(now);
            // All requests of every other five seconds fail and are retried until the budget says no.
            if (n / 5_000) % 2 == 0 && budget.retry(DEFAULT, now) {
                retries.push(n);
            }
        }
        for start in (0..50_000).step_by(1_000) {
            let within = retries
                .iter()
                .filter(|n| (start..start + 10_000).contains(*n))
                .count();
            assert!(within <= 2_000, "{within} retries from millisecond {start}");
        }
        assert!(retries.len() > 8_000);
    }

    #[test]
    fn none_means_none() {
        let none = RetryBudget {
            percent: 0,
            min_per_second: 0,
        };
        let budget = Budget::default();
        budget.request(at(0.0));
        assert!(!budget.retry(none, at(0.0)));
    }

    #[test]
    fn many_threads_do_not_exceed_it() {
        let budget = Budget::default();
        let granted_in_all = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    granted_in_all.fetch_add(granted(&budget, DEFAULT, 1_000, at(0.0)), Ordering::Relaxed);
                });
            }
        });
        let granted = granted_in_all.into_inner();
        // Two that ask at the same moment for the last one may both be refused.
        assert!((90..=100).contains(&granted), "{granted}");
    }
}
