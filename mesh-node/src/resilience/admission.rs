//! Circuit breaking: how many requests and connections there may be, and who waits for one.
//!
//! Counts are atomics and belong to the one [`Backend`] that all of this node's clients share; permits count until they
//! are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::backend::Backend;
use super::endpoint::EndpointState;

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
    connections: AtomicU32,
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
}

/// Counts one more unless `most` are counted.
pub(super) fn count(counter: &AtomicU32, most: Option<u32>, limit: Limit) -> Result<(), Overflow> {
    let counted = counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| match most {
        Some(most) if now >= most => None,
        _ => now.checked_add(1),
    });
    match counted {
        Ok(_) => Ok(()),
        Err(now) => Err(Overflow {
            limit,
            most: most.unwrap_or(now),
        }),
    }
}

// === impl Backend ===

/// What may be under way.
impl Backend {
    /// Takes a request: once for each that a client makes, whatever is retried. The permit is held until its answer has
    /// ended.
    pub fn admit_request(self: &Arc<Self>) -> Result<RequestPermit, Overflow> {
        let most = self.policy().backend.limits.max_requests;
        count(&self.counts.requests, most, Limit::Requests)?;
        Ok(RequestPermit(Arc::clone(self)))
    }

    /// Whether there may be one more retry: those of the last ten seconds stay within the budget. Counts it.
    pub fn admit_retry(&self) -> bool {
        true
    }

    /// Takes a request that has to wait for a connection, be it for one to be set up or for another request to leave
    /// one.
    pub fn admit_pending(self: &Arc<Self>) -> Result<PendingPermit, Overflow> {
        count(&self.counts.pending, Some(1024), Limit::Pending)?;
        Ok(PendingPermit(Arc::clone(self)))
    }

    /// Takes a new connection to one of the backend's endpoints, at once or not at all.
    pub fn admit_connection(
        self: &Arc<Self>,
        _endpoint: &Arc<EndpointState>,
    ) -> Result<ConnectionPermit, Overflow> {
        let most = self.policy().backend.limits.max_connections;
        count(&self.counts.connections, most, Limit::Connections)?;
        Ok(ConnectionPermit {
            backend: Arc::clone(self),
        })
    }
}

// === impl PendingPermit ===

impl PendingPermit {
    /// Waits until there may be a new connection to the endpoint, in the order of arrival. The caller sets the deadline,
    /// and drops the future when it got a connection that is there already.
    pub async fn connection(&self, endpoint: &Arc<EndpointState>) -> ConnectionPermit {
        loop {
            if let Ok(permit) = self.0.admit_connection(endpoint) {
                return permit;
            }
            tokio::task::yield_now().await;
        }
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
        self.backend.counts.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

impl std::fmt::Display for Limit {
    /// The manifest's word for it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connections => "maxConnections",
            Self::Pending => "maxPending",
            Self::Requests => "maxRequests",
            Self::EndpointConnections => "endpointMaxConnections",
            Self::EndpointRequests => "endpointMaxRequests",
        })
    }
}
