//! Connections to endpoints that speak HTTP, kept for the next request.
//!
//! A connection belongs to one source workload and one endpoint, so that it never carries another identity's requests,
//! and to one of the data plane's threads, so that a request stays on its own. It goes with any of them, after a time without requests, and when the node stops.

mod http1;
mod http2;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt as _;
use mesh_runtime::drain::Drain;
use mesh_runtime::tasks;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

pub use self::http1::{Lease1, Leased};
pub use self::http2::Lease2;
use crate::flow::connect::{self, Connected, Hop};
use crate::flow::context::Context;
use crate::flow::failure::Failure;
use crate::hbone::pool::Departure;
use crate::local::LocalWorkload;
use crate::net::cores;
use crate::resilience::{Backend, EndpointState, Overflow};

/// How long a connection is kept without a request. Shorter than most servers keep theirs, so that seldom a request
/// meets one that is being closed.
const IDLE: Duration = Duration::from_secs(55);
/// How long a connection is used. What stands in front of an endpoint without the mesh's knowledge gets a chance to
/// spread them anew.
const LIFETIME: Duration = Duration::from_secs(3600);
/// Who waits for a connection within a limit looks so often for an idle one that can be closed for it.
const AGAIN: Duration = Duration::from_millis(10);
/// How often idle connections are looked at.
const SWEEP: Duration = Duration::from_secs(1);

/// All connections to endpoints.
#[derive(Debug)]
pub struct Upstreams {
    shards: Box<[Shard]>,
    drain: Drain,
    is_swept: AtomicBool,
}

/// What one thread uses, on cache lines of its own. Another one looks in only to close what is idle.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<HashMap<Key, Arc<Pair>>>);

/// For whom a connection is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Handles.
    pub context: &'a Arc<Context>,
    /// The source workload.
    pub local: &'a Arc<LocalWorkload>,
    /// The client's address.
    pub client: SocketAddr,
    /// The Service's port.
    pub backend: &'a Arc<Backend>,
    /// Its endpoint.
    pub endpoint: &'a Arc<EndpointState>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// A limit of circuit breaking.
    #[error(transparent)]
    Overflow(#[from] Overflow),
    /// It did not come about.
    #[error(transparent)]
    Connect(#[from] Failure),
    /// Not in time.
    #[error("no connection to {address} within {} s", deadline.as_secs_f32())]
    Timeout {
        /// Where.
        address: SocketAddr,
        /// How long it was waited for.
        deadline: Duration,
    },
    /// The endpoint does not speak the protocol.
    #[error("{address} does not speak {protocol}: {error}")]
    Protocol {
        /// Where.
        address: SocketAddr,
        /// `HTTP/1.1` or `HTTP/2`.
        protocol: &'static str,
        /// What it did.
        error: String,
    },
}

/// Both pointers are held by the pair, so that neither is another's before the pair is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    source: usize,
    endpoint: usize,
}

/// The connections of one source workload to one endpoint.
#[derive(Debug)]
struct Pair {
    local: Arc<LocalWorkload>,
    endpoint: Arc<EndpointState>,
    http1: http1::Idle,
    http2: http2::Shared,
    drain: Drain,
}

/// What is known of a connection's way.
#[derive(Debug, Clone)]
pub struct Way {
    /// `hbone`, `local` or `plaintext`.
    pub transport: &'static str,
    /// Stops when the destination is released, if it is a workload of this node.
    pub destination: Option<Drain>,
    departure: Option<Departure>,
    opened: Instant,
}

// === impl Upstreams ===

impl Upstreams {
    /// No connections yet. `threads` of them have requests to send; `drain` is the node's.
    pub fn new(threads: usize, drain: Drain) -> Arc<Self> {
        Arc::new(Self {
            shards: (0..threads.max(1)).map(|_| Shard::default()).collect(),
            drain,
            is_swept: AtomicBool::new(false),
        })
    }

    /// An HTTP/1.1 connection that is free, or a new one.
    pub async fn http1(self: &Arc<Self>, wanted: &Wanted<'_>) -> Result<Leased, PoolError> {
        let pair = self.pair(wanted);
        if let Some(leased) = http1::idle(&pair) {
            return Ok(leased);
        }
        // On the heap, for few requests need it: the future of every request has room for what it awaits.
        Box::pin(http1::open(self, &pair, wanted)).await
    }

    /// A place in an HTTP/2 connection.
    pub async fn http2(self: &Arc<Self>, wanted: &Wanted<'_>) -> Result<Lease2, PoolError> {
        let pair = self.pair(wanted);
        if let Some(lease) = http2::place(&pair) {
            return Ok(lease);
        }
        Box::pin(http2::open(self, &pair, wanted)).await
    }

    fn pair(self: &Arc<Self>, wanted: &Wanted<'_>) -> Arc<Pair> {
        let key = Key {
            source: Arc::as_ptr(wanted.local).addr(),
            endpoint: Arc::as_ptr(wanted.endpoint).addr(),
        };
        // In bounds: there is at least one.
        let mut pairs = self.shards[cores::current() % self.shards.len()].0.lock();
        if let Some(pair) = pairs.get(&key) {
            return Arc::clone(pair);
        }
        let pair = Arc::new(Pair {
            local: Arc::clone(wanted.local),
            endpoint: Arc::clone(wanted.endpoint),
            http1: http1::Idle::default(),
            http2: http2::Shared::default(),
            drain: self.drain.clone(),
        });
        pairs.insert(key, Arc::clone(&pair));
        drop(pairs);
        if !self.is_swept.swap(true, Ordering::Relaxed) {
            let sweeper = sweep(Arc::downgrade(self), self.drain.clone());
            tasks::spawn_guarded("connections to endpoints", self.drain.guard(), sweeper);
        }
        pair
    }

    /// Closes one idle connection to an endpoint of the backend, so that another can be opened within the limit.
    fn make_room(&self, backend: &Arc<Backend>) -> bool {
        let pairs: Vec<Arc<Pair>> = self
            .shards
            .iter()
            .flat_map(|shard| shard.0.lock().values().cloned().collect::<Vec<_>>())
            .collect();
        pairs
            .iter()
            .any(|pair| http1::close_one(pair, backend) || http2::close_one(pair, backend))
    }

    fn sweep_once(&self, now: Instant) {
        for shard in &self.shards {
            // Connections are closed outside the lock.
            let mut closed = Vec::new();
            shard.0.lock().retain(|_, pair| {
                if pair.is_over() {
                    closed.push(Arc::clone(pair));
                    return false;
                }
                pair.http1.expire(now);
                pair.http2.expire(now);
                !(pair.is_empty() && Arc::strong_count(pair) == 1)
            });
            for pair in closed {
                pair.close();
            }
        }
    }
}

/// Runs `connecting` within the time for a connection.
async fn timed<T>(
    wanted: &Wanted<'_>,
    connecting: impl Future<Output = Result<T, PoolError>>,
) -> Result<T, PoolError> {
    let deadline = patience(wanted);
    timeout(deadline, connecting)
        .await
        .map_err(|_| PoolError::Timeout {
            address: wanted.endpoint.address,
            deadline,
        })?
}

/// Runs `waiting` within the same time; without a result it is the limit's fault, and nobody else's.
async fn bounded<T>(
    wanted: &Wanted<'_>,
    limit: &Overflow,
    waiting: impl Future<Output = T>,
) -> Result<T, PoolError> {
    let result = timeout(patience(wanted), waiting).await;
    result.map_err(|_| PoolError::Overflow(*limit))
}

fn patience(wanted: &Wanted<'_>) -> Duration {
    let deadline = wanted.backend.policy().backend.connect_timeout;
    deadline.unwrap_or(wanted.context.outbound.connect_timeout)
}

async fn sweep(upstreams: Weak<Upstreams>, drain: Drain) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_stopping = tokio::select! {
            () = drain.stopping() => true,
            _ = ticks.tick() => false,
        };
        let Some(upstreams) = upstreams.upgrade() else {
            return;
        };
        upstreams.sweep_once(Instant::now());
        if is_stopping {
            return;
        }
    }
}

/// Connects to the endpoint; the driver of the HTTP connection on it ends with it.
async fn connect(wanted: &Wanted<'_>) -> Result<(Connected, Way), PoolError> {
    let hop = Hop {
        address: wanted.endpoint.address,
        workload: wanted.endpoint.workload.known().cloned(),
        connect_timeout: wanted.backend.policy().backend.connect_timeout,
    };
    let connected = connect::connect(wanted.context, wanted.local, wanted.client, &hop).await?;
    let way = Way {
        transport: connected.transport,
        destination: connected.destination(),
        departure: connected.departure(),
        opened: Instant::now(),
    };
    Ok((connected, way))
}

/// Drives a connection until its end, or until its source or destination is released.
fn drive(
    pair: &Pair,
    released: impl Future<Output = ()> + Send + 'static,
    dropped: impl Future + Send + 'static,
    driver: impl Future<Output = ()> + Send + 'static,
    ended: impl FnOnce() + Send + 'static,
) {
    let source = pair.local.drain.clone();
    tasks::spawn_guarded("connection to an endpoint", pair.drain.guard(), async move {
        tokio::select! {
            () = driver => {}
            () = released => {}
            _ = dropped => {}
            () = source.stopping() => {}
        }
        ended();
    });
}

// === impl Pair ===

impl Pair {
    /// Whether no further request will come.
    fn is_over(&self) -> bool {
        self.drain.is_stopping()
            || self.local.drain.is_stopping()
            || self.endpoint.gone().now_or_never().is_some()
    }

    fn is_empty(&self) -> bool {
        self.http1.is_empty() && self.http2.is_empty()
    }

    fn close(&self) {
        self.http1.close();
        self.http2.close();
    }
}

// === impl Way ===

impl Way {
    /// Whether the connection has been used for long enough, or the node that it leads to is about to stop.
    fn is_old(&self, now: Instant) -> bool {
        let is_leaving = self.departure.as_ref().is_some_and(Departure::has_begun);
        is_leaving || now.duration_since(self.opened) >= LIFETIME
    }
}
