//! An endpoint and what is known of how it does: what is under way, how fast it answers, whether it is ejected.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use mesh_model::{ResourceName, Workload};
use tokio::sync::watch;

use super::admission::Gate;
use super::backend::Backend;
use super::clock::Moment;
use super::ewma::PeakEwma;
use super::hash;
use super::health::Health;
use super::reach::Reach;

/// What a failure counts as in the moving average of latency (Linkerd's default): an endpoint that fails fast must not
/// look like a fast one.
const PENALTY: Duration = Duration::from_secs(5);
/// The longest `Retry-After` that is believed (Linkerd's).
const MAX_PENALTY: Duration = Duration::from_secs(300);

/// One endpoint of a Service's port. It outlives snapshots: as long as its address is among the Service's endpoints
/// and the same workload stands there, it is the same value.
#[derive(Debug)]
pub struct EndpointState {
    /// Where it takes connections: its address and target port.
    pub address: SocketAddr,
    /// The workload there, as it was when the endpoint came. What says how it is reached is current: with another node,
    /// identity or tunnel it is another endpoint.
    pub workload: WorkloadRef,
    /// Told of answers, for ejection.
    backend: Weak<Backend>,
    in_flight: AtomicU32,
    pub(super) connections: Gate,
    pub(super) latency: PeakEwma,
    pub(super) health: Health,
    pub(super) reach: Reach,
    /// When it became ready; 0 when that is not known.
    ready_since: AtomicU64,
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
    /// Whether it is to tell that the endpoint is well again.
    is_probe: bool,
    retry_after: Option<Duration>,
}

// === impl EndpointState ===

impl EndpointState {
    pub(super) fn new(
        address: SocketAddr,
        workload: WorkloadRef,
        backend: Weak<Backend>,
        now: Moment,
    ) -> Self {
        Self {
            address,
            workload,
            backend,
            in_flight: AtomicU32::new(0),
            connections: Gate::default(),
            latency: PeakEwma::new(now),
            health: Health::default(),
            reach: Reach::default(),
            ready_since: AtomicU64::new(0),
            gone: watch::Sender::new(false),
        }
    }

    /// Counts a request, or a TCP connection, until the value is dropped.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.begin_at(Moment::now)
    }

    pub(super) fn begin_at(self: &Arc<Self>, now: impl Fn() -> Moment) -> InFlight {
        self.reach.begin(&now);
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight {
            endpoint: Arc::clone(self),
            is_finished: false,
            is_probe: self.health.is_suspect() && self.health.begin_probe(now()),
            retry_after: None,
        }
    }

    /// How many requests, or TCP connections, are under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// How many connections there are, in use or not.
    pub fn connections(&self) -> u32 {
        self.connections.count()
    }

    /// What a cookie remembers of the endpoint: a hash of its address, the same on every node.
    pub fn affinity(&self) -> u64 {
        hash::of_address(self.address)
    }

    /// Waits until the endpoint has left the Service, or nobody uses the Service any more.
    pub fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut gone = self.gone.subscribe();
        async move {
            // An error says that the endpoint itself was dropped.
            drop(gone.wait_for(|is_gone| *is_gone).await);
        }
    }

    pub(super) fn leave(&self) {
        self.gone.send_replace(true);
        self.connections.change();
    }

    /// When it became ready; `None` when that was before anybody asked: how long it has run is not known, and it counts as
    /// warm.
    pub(super) fn ready_since(&self) -> Option<Moment> {
        match self.ready_since.load(Ordering::Acquire) {
            0 => None,
            nanos => Some(Moment::from_nanos(nanos)),
        }
    }

    /// It is ready as of now, and has to warm up.
    pub(super) fn became_ready(&self, now: Moment) {
        self.ready_since.store(now.as_nanos(), Ordering::Release);
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

// === impl Outcome ===

impl Outcome {
    /// The HTTP status that it counts as: gRPC's as in google.rpc.Code's mapping, what the proxy saw itself as Envoy's
    /// outlier detection has it.
    pub(super) fn status(self) -> u16 {
        match self {
            Self::Ok => 200,
            Self::Status(status) => status,
            Self::ConnectFailed | Self::Reset => 503,
            Self::Timeout => 504,
            Self::Grpc(code) => match code {
                0 => 200,
                // CANCELLED.
                1 => 499,
                // INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE.
                3 | 9 | 11 => 400,
                // DEADLINE_EXCEEDED.
                4 => 504,
                // NOT_FOUND.
                5 => 404,
                // ALREADY_EXISTS, ABORTED.
                6 | 10 => 409,
                // PERMISSION_DENIED.
                7 => 403,
                // RESOURCE_EXHAUSTED.
                8 => 429,
                // UNIMPLEMENTED.
                12 => 501,
                // UNAVAILABLE.
                14 => 503,
                // UNAUTHENTICATED.
                16 => 401,
                // UNKNOWN, INTERNAL, DATA_LOSS, and what is no code.
                _ => 500,
            },
        }
    }

    /// Whether the endpoint did badly: Linkerd's penalised outcomes.
    fn is_penalised(self) -> bool {
        let status = self.status();
        status == 429 || status >= 500
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
    pub fn finish(&mut self, outcome: Outcome, latency: Duration) {
        self.finish_at(outcome, latency, Moment::now());
    }

    pub(super) fn finish_at(&mut self, outcome: Outcome, latency: Duration, now: Moment) {
        if std::mem::replace(&mut self.is_finished, true) {
            return;
        }
        let cost = if outcome.is_penalised() {
            let penalty = self.retry_after.map_or(PENALTY, |pause| pause.min(MAX_PENALTY));
            latency.max(penalty)
        } else {
            latency
        };
        self.endpoint.latency.observe(cost, now);
        match outcome {
            Outcome::ConnectFailed => self.endpoint.reach.failed(now),
            Outcome::Ok | Outcome::Status(_) | Outcome::Grpc(_) | Outcome::Reset => {
                self.endpoint.reach.succeeded();
            }
            // Of the connection, or of the answer: it is not known.
            Outcome::Timeout => {}
        }
        if let Some(backend) = self.endpoint.backend.upgrade() {
            backend.note(&self.endpoint, outcome.status(), self.is_probe, now);
        }
        if self.is_probe {
            self.endpoint.health.end_probe();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::AcqRel);
        if self.is_probe && !self.is_finished {
            self.endpoint.health.end_probe();
        }
    }
}
