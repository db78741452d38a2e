//! Endpoints that take no connections: each is left alone for a while, and asked again by one request at a time.
//!
//! An endpoint that dies is gone from the snapshot only after a while. Until then every request that it is chosen for would
//! find that out anew, and fast failing makes it look free. So, whatever policy says of outliers: after a failed connect
//! it is passed over as long as there are others, for a tenth of a second at first and up to some seconds. When there are
//! no others it is tried all the same.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::clock::{Moment, nanos};

/// The first pause (Linkerd's least backoff between connects).
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest: a server that is back gets requests again within this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Whether an endpoint takes connections.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// 0: it does, as far as is known. Else when it is asked again.
    ask_at: AtomicU64,
    /// Failed connects one after another.
    failures: AtomicU32,
}

// === impl Reach ===

impl Reach {
    /// Whether to pass it over when there are others.
    pub(super) fn is_doubtful(&self, now: Moment) -> bool {
        now.as_nanos() < self.ask_at.load(Ordering::Acquire)
    }

    /// A request begins. If it is the one that asks again, the next one waits for as long as before.
    pub(super) fn begin(&self, now: impl FnOnce() -> Moment) {
        if self.ask_at.load(Ordering::Acquire) == 0 {
            return;
        }
        let now = now();
        let next = now.after(self.pause()).as_nanos();
        self.ask_at.update(Ordering::AcqRel, Ordering::Acquire, |ask_at| {
            // Another one may have asked, or succeeded, in between.
            if ask_at != 0 && ask_at <= now.as_nanos() {
                next
            } else {
                ask_at
            }
        });
    }

    /// No connection came about.
    pub(super) fn failed(&self, now: Moment) {
        self.failures
            .update(Ordering::AcqRel, Ordering::Acquire, |n| n.saturating_add(1));
        self.ask_at
            .store(now.after(self.pause()).as_nanos(), Ordering::Release);
    }

    /// One did.
    pub(super) fn succeeded(&self) {
        // Mostly so already; a store would take the cache line from the other cores.
        if self.ask_at.load(Ordering::Acquire) != 0 {
            self.failures.store(0, Ordering::Release);
            self.ask_at.store(0, Ordering::Release);
        }
    }

    fn pause(&self) -> Duration {
        let doublings = self.failures.load(Ordering::Acquire).saturating_sub(1).min(16);
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        // Half of it is random, so that nodes do not ask in step.
        pause / 2 + Duration::from_nanos(fastrand::u64(..=nanos(pause / 2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::FIRST.after(Duration::from_millis(millis))
    }

    #[test]
    fn after_a_failed_connect_one_asks_again_at_a_time() {
        let reach = Reach::default();
        assert!(!reach.is_doubtful(at(0)));
        reach.failed(at(0));
        assert!(reach.is_doubtful(at(49)));
        assert!(!reach.is_doubtful(at(101)));
        reach.begin(|| at(101));
        assert!(reach.is_doubtful(at(102)), "somebody asks");
        reach.succeeded();
        assert!(!reach.is_doubtful(at(102)));
    }

    #[test]
    fn pauses_grow_to_some_seconds_and_begin_anew_after_a_success() {
        let reach = Reach::default();
        (0..50).for_each(|_| reach.failed(at(0)));
        assert!(reach.is_doubtful(at(2_499)));
        assert!(!reach.is_doubtful(at(5_001)));
        reach.succeeded();
        reach.failed(at(0));
        assert!(!reach.is_doubtful(at(101)));
    }
}
