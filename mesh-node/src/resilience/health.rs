//! How an endpoint does, as its answers tell: passive health checks, the part that belongs to one endpoint.
//!
//! ```text
//! healthy ──too many failures──► ejected ──time──► probing ──success──► healthy
//!                                   ▲                 │
//!                                   └─────failure─────┘  for longer than before
//! ```
//!
//! Ejected, it gets no requests. Probing, it gets one at a time. What comes in of requests that were under way when it
//! was ejected says nothing new and is ignored. All of it is atomics; only ejecting, which needs to know of the other
//! endpoints, is [`super::outlier`]'s.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use mesh_model::OutlierDetection;

use super::clock::Moment;

/// An endpoint's health.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// 0: healthy. Else when the ejection ends; from then on probing.
    ejected_until: AtomicU64,
    /// Whether a request is under way that is to tell whether the endpoint is well again.
    is_probed: AtomicBool,
    /// How many ejections it has behind it that have not been forgotten.
    ejections: AtomicU32,
    consecutive_5xx: AtomicU32,
    consecutive_gateway: AtomicU32,
    /// Of the current interval.
    requests: AtomicU32,
    /// Of the current interval.
    successes: AtomicU32,
}

/// Where an endpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Healthy,
    Ejected { until: Moment },
    Probing,
}

/// What an answer leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Nothing,
    /// The endpoint failed too often and is to be ejected, if there may be one more.
    TooManyFailures,
    /// The probe failed: the endpoint has been ejected again.
    StillFails,
    /// The probe succeeded: the endpoint is healthy.
    Recovered,
}

/// What was counted in an interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) requests: u32,
    pub(super) successes: u32,
}

// === impl Health ===

impl Health {
    pub(super) fn phase(&self, now: Moment) -> Phase {
        match self.ejected_until.load(Ordering::Acquire) {
            0 => Phase::Healthy,
            until if now.as_nanos() < until => Phase::Ejected {
                until: Moment::from_nanos(until),
            },
            _ => Phase::Probing,
        }
    }

    /// Whether it is ejected, or was and has not shown yet that it is well.
    pub(super) fn is_suspect(&self) -> bool {
        self.ejected_until.load(Ordering::Acquire) != 0
    }

    /// Whether it counts as one that takes requests: ejected ones do not, probing ones do.
    pub(super) fn is_in_service(&self, now: Moment) -> bool {
        !matches!(self.phase(now), Phase::Ejected { .. })
    }

    /// Whether a request may go to it.
    pub(super) fn takes_requests(&self, now: Moment) -> bool {
        match self.phase(now) {
            Phase::Healthy => true,
            Phase::Ejected { .. } => false,
            Phase::Probing => !self.is_probed.load(Ordering::Acquire),
        }
    }

    /// Whether the request that begins now is the one that tells whether the endpoint is well again.
    pub(super) fn begin_probe(&self, now: Moment) -> bool {
        self.phase(now) == Phase::Probing && !self.is_probed.swap(true, Ordering::AcqRel)
    }

    /// The probe has ended, whatever it told.
    pub(super) fn end_probe(&self) {
        self.is_probed.store(false, Ordering::Release);
    }

    /// Takes an answer into account.
    pub(super) fn note(
        &self,
        status: u16,
        is_probe: bool,
        policy: &OutlierDetection,
        now: Moment,
    ) -> Verdict {
        if is_probe {
            return self.probed(status, policy, now);
        }
        if self.is_suspect() {
            return Verdict::Nothing;
        }
        self.requests.fetch_add(1, Ordering::AcqRel);
        let server_error = consecutive(&self.consecutive_5xx, status >= 500);
        let gateway_error = consecutive(&self.consecutive_gateway, is_gateway_error(status));
        if status < 500 {
            self.successes.fetch_add(1, Ordering::AcqRel);
        }
        let reaches = |count: u32, threshold: Option<u32>| threshold.is_some_and(|most| count >= most.max(1));
        if reaches(server_error, policy.consecutive_5xx) || reaches(gateway_error, policy.consecutive_gateway)
        {
            // Also when there may be no further ejection: that is asked again after as many failures, not at each.
            self.consecutive_5xx.store(0, Ordering::Release);
            self.consecutive_gateway.store(0, Ordering::Release);
            return Verdict::TooManyFailures;
        }
        Verdict::Nothing
    }

    fn probed(&self, status: u16, policy: &OutlierDetection, now: Moment) -> Verdict {
        let looks_at_all_errors = policy.consecutive_5xx.is_some() || policy.success_rate.is_some();
        let has_failed = is_gateway_error(status) || (looks_at_all_errors && status >= 500);
        if has_failed {
            self.eject(policy, now);
            return Verdict::StillFails;
        }
        self.reset();
        Verdict::Recovered
    }

    /// Ejects it for as long as is its turn; says for how long.
    pub(super) fn eject(&self, policy: &OutlierDetection, now: Moment) -> Duration {
        let ejections = self.ejections.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        let length = policy
            .base_ejection
            .saturating_mul(ejections)
            .min(policy.max_ejection.max(policy.base_ejection));
        self.ejected_until
            .store(now.after(length).as_nanos(), Ordering::Release);
        length
    }

    /// Begins anew: nobody looks for outliers any more.
    pub(super) fn forgive(&self) {
        self.reset();
        self.ejections.store(0, Ordering::Release);
    }

    /// Begins anew, healthy; former ejections are not forgotten.
    fn reset(&self) {
        self.take_tally();
        self.consecutive_5xx.store(0, Ordering::Release);
        self.consecutive_gateway.store(0, Ordering::Release);
        self.ejected_until.store(0, Ordering::Release);
    }

    /// For each interval without an ejection, one is forgotten.
    pub(super) fn forget(&self, intervals: u32) {
        if !self.is_suspect() {
            self.ejections.update(Ordering::AcqRel, Ordering::Acquire, |n| {
                n.saturating_sub(intervals)
            });
        }
    }

    /// What was counted since the last call.
    pub(super) fn take_tally(&self) -> Tally {
        // Successes first: an answer in between counts as a failure of the next interval at worst.
        let successes = self.successes.swap(0, Ordering::AcqRel);
        Tally {
            requests: self.requests.swap(0, Ordering::AcqRel).max(successes),
            successes,
        }
    }
}

/// The run's length with this answer.
fn consecutive(count: &AtomicU32, is_failure: bool) -> u32 {
    if is_failure {
        return count.fetch_add(1, Ordering::AcqRel).saturating_add(1);
    }
    // Mostly zero already; a store would take the cache line from the other cores.
    if count.load(Ordering::Acquire) != 0 {
        count.store(0, Ordering::Release);
    }
    0
}

/// Whether a proxy or an overloaded server answered, not the application.
fn is_gateway_error(status: u16) -> bool {
    (502..=504).contains(&status)
}

#[cfg(test)]
mod tests;
