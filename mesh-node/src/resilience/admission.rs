//! Circuit breaking: how many requests and connections there may be, and who waits for one.
//!
//! Counts are atomics and belong to the one [`Backend`] that all of this node's clients share; permits count until they
//! are dropped.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

use super::backend::Backend;
use super::budget::Budget;
use super::clock::Moment;
use super::endpoint::EndpointState;

/// Requests that may wait for a connection unless it is said otherwise (Envoy's `max_pending_requests`).
const MAX_PENDING: u32 = 1_024;

/// A limit of circuit breaking was reached; 503, `UO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("circuit breaking: {limit} is {most}, and so many there are")]
pub struct Overflow {
    /// Which.
    pub limit: Limit,
    /// What it is set to.
    pub most: u32,
}

/// Which limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Connections to all endpoints.
    Connections,
    /// Requests that wait for a connection.
    Pending,
    /// Requests in flight to all endpoints.
    Requests,
    /// Connections to one endpoint.
    EndpointConnections,
    /// Requests in flight to one endpoint.
    EndpointRequests,
}

/// Counts of what is under way to a backend.
#[derive(Debug, Default)]
pub(super) struct Counts {
    requests: AtomicU32,
    pending: AtomicU32,
    pub(super) connections: Gate,
    budget: Budget,
}

/// Connections, and who waits for one.
#[derive(Debug, Default)]
pub(super) struct Gate {
    count: AtomicU32,
    waiting: AtomicU32,
    /// A connection was given up, or the limit has changed: the one who waits longest may look.
    freed: Notify,
}

/// A request in flight, retries included.
#[derive(Debug)]
pub struct RequestPermit(Arc<Backend>);

/// A request that waits for a connection.
#[derive(Debug)]
pub struct PendingPermit(Arc<Backend>);

/// A connection.
#[derive(Debug)]
pub struct ConnectionPermit {
    backend: Arc<Backend>,
    endpoint: Arc<EndpointState>,
}

/// Counts as one who waits at a gate until it is dropped.
struct Waiting<'a>(&'a Gate);

// === impl Backend ===

/// What may be under way.
impl Backend {
    /// Takes a request: once for each that a client makes, whatever is retried. The permit is held until its answer has
    /// ended.
    pub fn admit_request(self: &Arc<Self>) -> Result<RequestPermit, Overflow> {
        let most = self.policy().backend.limits.max_requests;
        count(&self.counts.requests, most, Limit::Requests)?;
        self.counts.budget.request(Moment::now());
        Ok(RequestPermit(Arc::clone(self)))
    }

    /// Counts a client's connection, which has no requests of its own, for the budget of retries.
    pub fn count_connection(&self) {
        self.counts.budget.request(Moment::now());
    }

    /// Whether there may be one more retry: those of the last ten seconds stay within the budget. Counts it.
    pub fn admit_retry(&self) -> bool {
        let budget = self.policy().backend.retry_budget;
        self.counts.budget.retry(budget, Moment::now())
    }

    /// Takes a request that has to wait for a connection, be it for one to be set up or for another request to leave
    /// one.
    pub fn admit_pending(self: &Arc<Self>) -> Result<PendingPermit, Overflow> {
        let most = self.policy().backend.limits.max_pending.unwrap_or(MAX_PENDING);
        count(&self.counts.pending, Some(most), Limit::Pending)?;
        Ok(PendingPermit(Arc::clone(self)))
    }

    /// Takes a new connection to one of the backend's endpoints, at once or not at all. Those who wait go first.
    pub fn admit_connection(
        self: &Arc<Self>,
        endpoint: &Arc<EndpointState>,
    ) -> Result<ConnectionPermit, Overflow> {
        self.take_connection(endpoint, true)
    }

    /// Requests in flight.
    pub fn requests(&self) -> u32 {
        self.counts.requests.load(Ordering::Acquire)
    }

    /// Requests that wait for a connection.
    pub fn pending(&self) -> u32 {
        self.counts.pending.load(Ordering::Acquire)
    }

    /// Connections to all endpoints.
    pub fn connections(&self) -> u32 {
        self.counts.connections.count()
    }

    fn take_connection(
        self: &Arc<Self>,
        endpoint: &Arc<EndpointState>,
        lets_others_first: bool,
    ) -> Result<ConnectionPermit, Overflow> {
        let policy = self.policy();
        let limits = &policy.backend.limits;
        let most = limits.endpoint_max_connections;
        let own = Limit::EndpointConnections;
        endpoint.connections.enter(most, own, lets_others_first)?;
        let most = limits.max_connections;
        let entered = self
            .counts
            .connections
            .enter(most, Limit::Connections, lets_others_first);
        if let Err(overflow) = entered {
            endpoint.connections.leave();
            return Err(overflow);
        }
        Ok(ConnectionPermit {
            backend: Arc::clone(self),
            endpoint: Arc::clone(endpoint),
        })
    }
}

/// Counts one more unless `most` are counted.
fn count(counter: &AtomicU32, most: Option<u32>, limit: Limit) -> Result<(), Overflow> {
    let one_more = |now: u32| match most {
        Some(most) if now >= most => None,
        _ => now.checked_add(1),
    };
    match counter.try_update(Ordering::AcqRel, Ordering::Acquire, one_more) {
        Ok(_) => Ok(()),
        Err(now) => Err(Overflow {
            limit,
            most: most.unwrap_or(now),
        }),
    }
}

// === impl Gate ===

impl Gate {
    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }

    /// The limit may have changed, or waiting may be pointless: all who wait look again.
    pub(super) fn change(&self) {
        self.freed.notify_waiters();
    }

    fn enter(&self, most: Option<u32>, limit: Limit, lets_others_first: bool) -> Result<(), Overflow> {
        let is_awaited = || self.waiting.load(Ordering::Acquire) > 0;
        if let Some(most) = most
            && lets_others_first
            && is_awaited()
        {
            return Err(Overflow { limit, most });
        }
        count(&self.count, most, limit)
    }

    fn leave(&self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
        self.freed.notify_one();
    }

    fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting(self)
    }

    fn pass_on(&self, most: Option<u32>) {
        let has_room = most.is_none_or(|most| self.count() < most);
        if has_room && self.waiting.load(Ordering::Acquire) > 0 {
            self.freed.notify_one();
        }
    }
}

// === impl PendingPermit ===

impl PendingPermit {
    /// Waits until there may be a new connection to the endpoint; in the order of arrival. The caller sets the deadline,
    /// and drops the future when it got a connection that was there already, or when the endpoint has gone.
    pub async fn connection(&self, endpoint: &Arc<EndpointState>) -> ConnectionPermit {
        let backend = &self.0;
        let mut refused = match backend.take_connection(endpoint, true) {
            Ok(permit) => return permit,
            Err(overflow) => overflow,
        };
        loop {
            let gate = backend.gate(endpoint, refused);
            let is_here = |o: &Overflow| std::ptr::eq(backend.gate(endpoint, *o), gate);
            let waiting = gate.wait();
            let mut freed = pin!(gate.freed.notified());
            // Registered before looking again: a place that is given up in between is not missed. Who is not the first
            // does not look: it would take the place of another who has been told already.
            freed.as_mut().enable();
            let mut taken = if waiting.is_alone() {
                backend.take_connection(endpoint, false)
            } else {
                Err(refused)
            };
            if taken.as_ref().is_err_and(is_here) {
                freed.await;
                taken = backend.take_connection(endpoint, false);
            }
            drop(waiting);
            match taken {
                Ok(permit) => {
                    backend.pass_on(endpoint);
                    return permit;
                }
                Err(overflow) => {
                    if !is_here(&overflow) {
                        // There is a place here, but none behind the other gate: somebody else may have use for it.
                        gate.freed.notify_one();
                    }
                    refused = overflow;
                }
            }
        }
    }
}

impl Backend {
    /// The gate that an overflow was met at.
    fn gate<'a>(&'a self, endpoint: &'a EndpointState, overflow: Overflow) -> &'a Gate {
        match overflow.limit {
            Limit::EndpointConnections => &endpoint.connections,
            _ => &self.counts.connections,
        }
    }

    /// Several places may have been given up before anybody waited, which tells only one of those who come then.
    fn pass_on(&self, endpoint: &EndpointState) {
        let policy = self.policy();
        let limits = &policy.backend.limits;
        self.counts.connections.pass_on(limits.max_connections);
        endpoint.connections.pass_on(limits.endpoint_max_connections);
    }
}

// === impl Waiting ===

impl Waiting<'_> {
    fn is_alone(&self) -> bool {
        self.0.waiting.load(Ordering::Acquire) == 1
    }
}

// === impl Drop ===

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.0.counts.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for PendingPermit {
    fn drop(&mut self) {
        self.0.counts.pending.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.endpoint.connections.leave();
        self.backend.counts.connections.leave();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl std::fmt::Display for Limit {
    /// The manifest's word for it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connections => "maxConnections",
            Self::Pending => "maxPendingRequests",
            Self::Requests => "maxRequests",
            Self::EndpointConnections => "perEndpoint.maxConnections",
            Self::EndpointRequests => "perEndpoint.maxRequests",
        })
    }
}

#[cfg(test)]
mod tests;
