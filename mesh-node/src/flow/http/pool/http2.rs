//! HTTP/2 connections: many requests share one; a further one is opened when all are full.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::{AGAIN, IDLE, Pair, PoolError, Upstreams, Wanted, Way, bounded, connect, drive, timed};
use crate::l7::client::{self, Http2};
use crate::resilience::{Backend, ConnectionPermit};

/// Streams of one connection, however many the endpoint would take: they share one lock and one core.
const MAX_STREAMS: usize = 100;

/// A place in a connection for one request. Freed when it is dropped.
#[derive(Debug)]
pub struct Lease2 {
    connection: Arc<Connection>,
    /// Whether it has carried a request before.
    pub is_reused: bool,
}

/// The connections of a pair.
#[derive(Debug, Default)]
pub(super) struct Shared {
    connections: Mutex<Vec<Arc<Connection>>>,
    /// Held by who opens one; the others wait for that one first.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Connection {
    http2: Http2,
    way: Way,
    backend: Arc<Backend>,
    streams: AtomicUsize,
    served: AtomicU32,
    is_over: AtomicBool,
    idle_since: Mutex<Instant>,
    _permit: ConnectionPermit,
}

/// A place in a connection that is there.
pub(super) fn place(pair: &Pair) -> Option<Lease2> {
    let mut connections = pair.http2.connections.lock();
    connections.retain(|connection| !connection.is_over.load(Ordering::Relaxed));
    let most_served = |connection: &Connection| {
        let limits = &connection.backend.policy().backend.limits;
        limits.max_requests_per_connection.unwrap_or(u32::MAX)
    };
    let now = Instant::now();
    let connection = connections.iter().find(|connection| {
        connection.streams.load(Ordering::Relaxed) < connection.http2.max_streams().min(MAX_STREAMS)
            && connection.served.load(Ordering::Relaxed) < most_served(connection)
            && !connection.way.is_old(now)
    })?;
    Some(Lease2::new(connection))
}

/// A place in a new connection, when there may be one; or in one that somebody else has opened meanwhile.
pub(super) async fn open(
    upstreams: &Arc<Upstreams>,
    pair: &Arc<Pair>,
    wanted: &Wanted<'_>,
) -> Result<Lease2, PoolError> {
    let pending = wanted.backend.admit_pending()?;
    let turn = timed(wanted, async { Ok(pair.http2.opening.lock().await) }).await?;
    if let Some(lease) = place(pair) {
        return Ok(lease);
    }
    let permit = match wanted.backend.admit_connection(wanted.endpoint) {
        Ok(permit) => permit,
        Err(limit) => {
            let waiting = async {
                loop {
                    upstreams.make_room(wanted.backend);
                    if let Ok(permit) = timeout(AGAIN, pending.connection(wanted.endpoint)).await {
                        return Ok(permit);
                    }
                    if let Some(lease) = place(pair) {
                        return Err(lease);
                    }
                }
            };
            match bounded(wanted, &limit, waiting).await? {
                Ok(permit) => permit,
                Err(lease) => return Ok(lease),
            }
        }
    };
    let opening = async {
        let (connected, way) = connect(wanted).await?;
        let released = connected.released();
        let opened = client::http2(connected.into_io()).await;
        let (http2, driver) = opened.map_err(|error| PoolError::Protocol {
            address: wanted.endpoint.address,
            protocol: "HTTP/2",
            error: error.to_string(),
        })?;
        Ok((http2, driver, way, released))
    };
    let (http2, driver, way, released) = timed(wanted, opening).await?;
    let connection = Arc::new(Connection {
        http2,
        way,
        backend: Arc::clone(wanted.backend),
        streams: AtomicUsize::new(0),
        served: AtomicU32::new(0),
        is_over: AtomicBool::new(false),
        idle_since: Mutex::new(Instant::now()),
        _permit: permit,
    });
    let weak = Arc::downgrade(&connection);
    drive(pair, released, std::future::pending::<()>(), driver, move || {
        if let Some(connection) = weak.upgrade() {
            connection.is_over.store(true, Ordering::Relaxed);
        }
    });
    let lease = Lease2::new(&connection);
    // Nobody closes what is kept after the pair's end.
    if !pair.is_over() {
        pair.http2.connections.lock().push(connection);
    }
    drop((turn, pending));
    Ok(lease)
}

/// Closes an idle connection of the backend; false when there is none.
pub(super) fn close_one(pair: &Pair, backend: &Arc<Backend>) -> bool {
    let mut connections = pair.http2.connections.lock();
    let position = connections.iter().position(|connection| {
        Arc::ptr_eq(&connection.backend, backend) && connection.streams.load(Ordering::Relaxed) == 0
    });
    let closed = position.map(|position| connections.swap_remove(position));
    drop(connections);
    closed.is_some()
}

// === impl Lease2 ===

impl Lease2 {
    fn new(connection: &Arc<Connection>) -> Self {
        connection.streams.fetch_add(1, Ordering::Relaxed);
        let served = connection.served.fetch_add(1, Ordering::Relaxed);
        Self {
            connection: Arc::clone(connection),
            is_reused: served > 0,
        }
    }

    /// The connection.
    pub fn http2(&self) -> &Http2 {
        &self.connection.http2
    }

    /// How it was made.
    pub fn way(&self) -> &Way {
        &self.connection.way
    }

    /// The endpoint takes no more requests on it, though others may go on.
    pub fn mark_over(&self) {
        self.connection.is_over.store(true, Ordering::Relaxed);
    }
}

impl Drop for Lease2 {
    fn drop(&mut self) {
        if self.connection.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            *self.connection.idle_since.lock() = Instant::now();
        }
    }
}

// === impl Shared ===

impl Shared {
    pub(super) fn is_empty(&self) -> bool {
        self.connections.lock().is_empty()
    }

    /// Closes what has been idle for long.
    pub(super) fn expire(&self, now: Instant) {
        self.connections.lock().retain(|connection| {
            let is_busy = connection.streams.load(Ordering::Relaxed) > 0;
            let is_fresh =
                now.duration_since(*connection.idle_since.lock()) < IDLE && !connection.way.is_old(now);
            !connection.is_over.load(Ordering::Relaxed) && (is_busy || is_fresh)
        });
    }

    pub(super) fn close(&self) {
        drop(std::mem::take(&mut *self.connections.lock()));
    }
}
