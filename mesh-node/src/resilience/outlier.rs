//! Passive health checks, the part that looks at all endpoints of a backend: who may be ejected, and whose success rate
//! is out of line.
//!
//! No task runs for it: the answer that completes a run of failures ejects, and the first answer after an interval's end
//! compares success rates. Without answers nothing is learnt, and ejections end by the clock. Nothing here waits: two
//! answers that come to it at the same time do the work once.
//!
//! There is no panic mode in which ejected endpoints get requests because too many are ejected: ejecting stops before
//! that, at `max_ejected_percent` and always at the last endpoint.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mesh_model::{OutlierDetection, SuccessRate};
use parking_lot::Mutex;

use super::backend::Backend;
use super::clock::{Moment, nanos};
use super::endpoint::EndpointState;
use super::health::{Tally, Verdict};
use super::members::Members;

/// What is known of a backend's ejections.
#[derive(Debug, Default)]
pub(super) struct Ejections {
    /// Held while the ejected ones are counted and one is added, so that there are never too many. Answers only try it.
    turn: Mutex<()>,
    /// Whether any endpoint may be ejected or probing.
    are_there: AtomicBool,
    /// When success rates are compared next; 0: one interval after the first answer.
    next_look: AtomicU64,
    /// How many there were.
    total: AtomicU64,
}

// === impl Ejections ===

impl Ejections {
    /// Whether any endpoint may be ejected.
    pub(super) fn are_there(&self) -> bool {
        self.are_there.load(Ordering::Acquire)
    }

    fn recount(&self, members: &Members) {
        let is_any = members.ready().any(|state| state.health.is_suspect());
        self.are_there.store(is_any, Ordering::Release);
    }
}

// === impl Backend ===

impl Backend {
    /// Takes an answer of an endpoint into account.
    pub(super) fn note(&self, endpoint: &EndpointState, status: u16, is_probe: bool, now: Moment) {
        let members = self.members();
        let Some(policy) = members
            .policy()
            .and_then(|policy| policy.backend.outliers.as_ref())
        else {
            return;
        };
        match endpoint.health.note(status, is_probe, policy, now) {
            Verdict::Nothing => {}
            Verdict::TooManyFailures => {
                if let Some(_turn) = self.ejections.turn.try_lock() {
                    self.eject(&members, endpoint, policy, now, "failures one after another");
                }
            }
            Verdict::StillFails => {
                self.ejections.total.fetch_add(1, Ordering::Relaxed);
                tracing::info!(service = %self.name().0, port = self.name().1, endpoint = %endpoint.address, "ejected again: the request that was to tell whether it is well failed");
            }
            Verdict::Recovered => {
                tracing::info!(service = %self.name().0, port = self.name().1, endpoint = %endpoint.address, "back after its ejection");
                if let Some(_turn) = self.ejections.turn.try_lock() {
                    self.ejections.recount(&members);
                }
            }
        }
        self.look_if_due(&members, policy, now);
    }

    /// How many ejections there were.
    pub fn ejections(&self) -> u64 {
        self.ejections.total.load(Ordering::Relaxed)
    }

    /// After the members, or the policy, have changed.
    pub(super) fn review_ejections(&self) {
        let _turn = self.ejections.turn.lock();
        let members = self.members();
        if members
            .policy()
            .is_none_or(|policy| policy.backend.outliers.is_none())
        {
            members.ready().for_each(|state| state.health.forgive());
        }
        self.ejections.recount(&members);
    }

    /// Ejects the endpoint unless too many are. The caller has the turn.
    fn eject(
        &self,
        members: &Members,
        endpoint: &EndpointState,
        policy: &OutlierDetection,
        now: Moment,
        why: &'static str,
    ) {
        if endpoint.health.is_suspect() {
            return;
        }
        // Of its address family: the other family's addresses are mostly the same workloads'.
        let is_ipv4 = endpoint.address.is_ipv4();
        let peers = || members.ready().filter(|state| state.address.is_ipv4() == is_ipv4);
        let ejected = peers().filter(|state| state.health.is_suspect()).count();
        let (service, port) = self.name();
        if ejected >= most_ejected(peers().count(), policy.max_ejected_percent) {
            tracing::debug!(%service, port, endpoint = %endpoint.address, why, ejected, "not ejected: so many already are");
            return;
        }
        let length = endpoint.health.eject(policy, now);
        self.ejections.are_there.store(true, Ordering::Release);
        self.ejections.total.fetch_add(1, Ordering::Relaxed);
        tracing::info!(%service, port, endpoint = %endpoint.address, why, ?length, "ejected");
    }

    /// Once an interval: compares success rates, and forgets old ejections.
    fn look_if_due(&self, members: &Members, policy: &OutlierDetection, now: Moment) {
        let interval = policy.interval.max(Duration::from_millis(1));
        let next = self.ejections.next_look.load(Ordering::Acquire);
        if next != 0 && now.as_nanos() < next {
            return;
        }
        let Some(_turn) = self.ejections.turn.try_lock() else {
            return;
        };
        // Somebody else may have been here in between.
        if self.ejections.next_look.load(Ordering::Acquire) != next {
            return;
        }
        self.ejections
            .next_look
            .store(now.after(interval).as_nanos(), Ordering::Release);
        if next == 0 {
            return;
        }
        let late = now.since(Moment::from_nanos(next));
        let intervals = u32::try_from(nanos(late) / nanos(interval)).unwrap_or(u32::MAX);
        let mut rated = Vec::new();
        for state in members.ready() {
            state.health.forget(intervals.saturating_add(1));
            let tally = state.health.take_tally();
            if let Some(settings) = policy.success_rate.filter(|_| !state.health.is_suspect())
                && tally.requests >= settings.min_requests.max(1)
            {
                rated.push((state, rate(tally)));
            }
        }
        if let Some(settings) = policy.success_rate {
            let least = least_rate(rated.iter().map(|(_, rate)| *rate), settings);
            for (state, _) in rated
                .iter()
                .filter(|(_, rate)| least.is_some_and(|least| *rate < least))
            {
                self.eject(
                    members,
                    state,
                    policy,
                    now,
                    "a success rate far below the others'",
                );
            }
        }
        self.ejections.recount(members);
    }
}

/// How many of so many endpoints may be ejected at once: the share, but always one, and never the last.
fn most_ejected(endpoints: usize, percent: u32) -> usize {
    let share = endpoints.saturating_mul(percent.min(100) as usize) / 100;
    share.max(1).min(endpoints.saturating_sub(1))
}

fn rate(tally: Tally) -> f64 {
    f64::from(tally.successes) / f64::from(tally.requests.max(1))
}

/// The least success rate that is in line with the others': the mean less some standard deviations. `None` with too few
/// to tell.
fn least_rate(rates: impl ExactSizeIterator<Item = f64> + Clone, settings: SuccessRate) -> Option<f64> {
    let count = u32::try_from(rates.len()).unwrap_or(u32::MAX);
    if count < settings.min_endpoints.max(1) {
        return None;
    }
    let mean = rates.clone().sum::<f64>() / f64::from(count);
    let variance = rates.map(|rate| (rate - mean).powi(2)).sum::<f64>() / f64::from(count);
    Some(mean - f64::from(settings.deviations_thousandths) / 1_000.0 * variance.sqrt())
}

#[cfg(test)]
mod tests;
