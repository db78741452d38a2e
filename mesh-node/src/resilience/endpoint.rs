//! An endpoint and what is known of how it does: what is under way, how fast it answers, whether it is ejected.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mesh_model::{NodeName, ResourceName, Workload};
use tokio::sync::watch;

/// One endpoint of a Service's port. It outlives snapshots: as long as its address is among the Service's endpoints
/// and the same workload stands there, it is the same value.
#[derive(Debug)]
pub struct EndpointState {
    /// Where it takes connections: its address and target port.
    pub address: SocketAddr,
    /// The workload there, as it was when the endpoint came. What says how it is reached is current: with another node,
    /// identity or tunnel it is another endpoint.
    pub workload: WorkloadRef,
    in_flight: AtomicU32,
    gone: watch::Sender<bool>,
}

/// The workload at an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkloadRef {
    /// This one.
    Known(Arc<Workload>),
    /// One that the control plane has not described. It may be in the mesh, so the endpoint must never be connected to
    /// in clear; it is never chosen.
    Undescribed(ResourceName),
    /// None that the mesh knows.
    None,
}

/// How a request ended, or a connection came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It went well: for connections.
    Ok,
    /// An answer with this status.
    Status(u16),
    /// An answer with this gRPC status.
    Grpc(u32),
    /// No connection came about.
    ConnectFailed,
    /// The connection, or the stream, broke.
    Reset,
    /// The endpoint took too long.
    Timeout,
}

/// A request, or a TCP connection, that is under way. Counts until it is dropped.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<EndpointState>,
    is_finished: bool,
    retry_after: Option<Duration>,
}

// === impl EndpointState ===

impl EndpointState {
    pub(super) fn new(address: SocketAddr, workload: WorkloadRef) -> Self {
        Self {
            address,
            workload,
            in_flight: AtomicU32::new(0),
            gone: watch::Sender::new(false),
        }
    }

    /// Counts a request, or a TCP connection, until the value is dropped.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight {
            endpoint: Arc::clone(self),
            is_finished: false,
            retry_after: None,
        }
    }

    /// How many requests, or TCP connections, are under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// What a cookie remembers of the endpoint: a hash of its address, the same on every node.
    pub fn affinity(&self) -> u64 {
        0
    }

    /// Waits until the endpoint has left the Service, or the Service is not used any more.
    pub fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut gone = self.gone.subscribe();
        async move {
            // An error says that the endpoint itself was dropped.
            drop(gone.wait_for(|is_gone| *is_gone).await);
        }
    }

    pub(super) fn leave(&self) {
        self.gone.send_replace(true);
    }
}

// === impl WorkloadRef ===

impl WorkloadRef {
    /// The workload, when it is known.
    pub fn known(&self) -> Option<&Arc<Workload>> {
        match self {
            Self::Known(workload) => Some(workload),
            Self::Undescribed(_) | Self::None => None,
        }
    }

    /// The node that it runs on, when it is known.
    pub fn node(&self) -> Option<&NodeName> {
        self.known().map(|workload| &workload.node)
    }

    /// Whether both are reached the same way: what was connected to the one is connected to the other.
    pub(super) fn is_reached_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Known(a), Self::Known(b)) => {
                a.name == b.name
                    && a.node == b.node
                    && a.identity == b.identity
                    && a.network == b.network
                    && a.tunnel == b.tunnel
            }
            (a, b) => a == b,
        }
    }
}

// === impl InFlight ===

impl InFlight {
    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<EndpointState> {
        &self.endpoint
    }

    /// The endpoint asked to be left alone for so long (`Retry-After`). Before [`InFlight::finish`].
    pub fn retry_after(&mut self, pause: Duration) {
        self.retry_after = Some(pause);
    }

    /// Notes how it went: once, further calls change nothing. `latency`: until the answer's head, or until the
    /// connection stood. Without it nothing is noted, as when the client went away.
    pub fn finish(&mut self, _outcome: Outcome, _latency: Duration) {
        if self.is_finished {
            return;
        }
        self.is_finished = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
