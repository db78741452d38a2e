//! Moments that fit an atomic.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Nanoseconds since this process first asked. Never 0, so that 0 can mean "none"; 584 years until it overflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

/// One nanosecond before the first question, so that no answer is 0.
static EPOCH: LazyLock<Instant> = LazyLock::new(|| {
    let now = Instant::now();
    now.checked_sub(Duration::from_nanos(1)).unwrap_or(now)
});

// === impl Moment ===

impl Moment {
    /// Before every other.
    pub(super) const FIRST: Moment = Moment(1);

    /// This moment.
    pub(super) fn now() -> Self {
        Self::from_nanos(nanos(EPOCH.elapsed()))
    }

    /// From an atomic.
    pub(super) fn from_nanos(nanos: u64) -> Self {
        Self(nanos.max(1))
    }

    /// For an atomic.
    pub(super) fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long ago the other one was; zero when it is still to come.
    pub(super) fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Later by so much.
    pub(super) fn after(self, pause: Duration) -> Self {
        Self(self.0.saturating_add(nanos(pause)))
    }
}

/// A duration in nanoseconds, at most 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
