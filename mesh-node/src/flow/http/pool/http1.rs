//! HTTP/1.1 connections: one request at a time, the one used last first.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::{AGAIN, IDLE, Pair, PoolError, Upstreams, Wanted, Way, bounded, connect, drive, timed};
use crate::l7::client::{Cut, Http1};
use crate::net::io::SideIo;
use crate::resilience::{Backend, ConnectionPermit, PendingPermit};

/// How long an endpoint is given to end a connection that this side has ended.
const ENDING: Duration = Duration::from_secs(5);
/// Connections of one pair that are kept.
const MAX_IDLE: usize = 256;

/// What a connection was leased from, for one request. Dropped without the connection being given back, it is over.
#[derive(Debug)]
pub struct Lease1 {
    /// How it was made.
    pub way: Way,
    /// Whether it has carried a request before.
    pub is_reused: bool,
    pair: Arc<Pair>,
    kept: Kept,
}

/// A connection for one request.
pub type Leased = (Box<Http1>, Lease1);

/// What stays with a connection.
#[derive(Debug)]
struct Kept {
    backend: Arc<Backend>,
    /// Takes the connection's bytes to their end; dropped, it breaks off whatever is still under way on them.
    ending: oneshot::Sender<SideIo>,
    _permit: ConnectionPermit,
    served: u32,
}

/// The idle connections of a pair.
#[derive(Debug, Default)]
pub(super) struct Idle {
    connections: Mutex<Vec<(Lease, Instant)>>,
    returned: Notify,
}

#[derive(Debug)]
struct Lease {
    connection: Box<Http1>,
    way: Way,
    kept: Kept,
}

/// A connection that is free.
pub(super) fn idle(pair: &Arc<Pair>) -> Option<Leased> {
    loop {
        let (mut lease, _) = pair.http1.connections.lock().pop()?;
        // Closed by the endpoint while it was idle: the next one.
        if !lease.connection.is_over() {
            return Some(Lease1::new(pair, lease, true));
        }
        lease.end();
    }
}

/// A new connection, when there may be one; or one that becomes free meanwhile.
pub(super) async fn open(
    upstreams: &Arc<Upstreams>,
    pair: &Arc<Pair>,
    wanted: &Wanted<'_>,
) -> Result<Leased, PoolError> {
    let pending = wanted.backend.admit_pending()?;
    let permit = match wanted.backend.admit_connection(wanted.endpoint) {
        Ok(permit) => permit,
        Err(limit) => {
            let turn = turn(upstreams, pair, wanted, &pending);
            match bounded(wanted, &limit, turn).await? {
                Turn::Free(leased) => return Ok(leased),
                Turn::Permit(permit) => permit,
            }
        }
    };
    let opening = async {
        let (connected, way) = connect(wanted).await?;
        Ok((connected, way))
    };
    let (connected, way) = timed(wanted, opening).await?;
    let released = connected.released();
    let cut = Arc::new(Cut::default());
    let connection = Box::new(Http1::new(connected.into_io(), Arc::clone(&cut)));
    let (ending, ended) = oneshot::channel::<SideIo>();
    let ended = async {
        if let Ok(io) = ended.await {
            // Whatever goes wrong now is nobody's loss; dropped at the deadline, it is broken off.
            drop(timeout(ENDING, io.end()).await);
        }
    };
    drive(pair, released, ended, std::future::pending(), move || cut.cut());
    drop(pending);
    let lease = Lease {
        connection,
        way,
        kept: Kept {
            backend: Arc::clone(wanted.backend),
            ending,
            _permit: permit,
            served: 0,
        },
    };
    Ok(Lease1::new(pair, lease, false))
}

/// What a wait within a limit ends with.
enum Turn {
    Free(Leased),
    Permit(ConnectionPermit),
}

/// Waits for a connection that becomes free, or for the permission to make one.
async fn turn(
    upstreams: &Arc<Upstreams>,
    pair: &Arc<Pair>,
    wanted: &Wanted<'_>,
    pending: &PendingPermit,
) -> Turn {
    // One and the same all the while: it keeps its turn.
    let mut permit = pin!(pending.connection(wanted.endpoint));
    loop {
        let returned = pair.http1.returned.notified();
        if let Some(leased) = idle(pair) {
            return Turn::Free(leased);
        }
        upstreams.make_room(wanted.backend);
        tokio::select! {
            permit = &mut permit => return Turn::Permit(permit),
            () = returned => {}
            () = sleep(AGAIN) => {}
        }
    }
}

/// Closes an idle connection of the backend; false when there is none.
pub(super) fn close_one(pair: &Pair, backend: &Arc<Backend>) -> bool {
    let mut connections = pair.http1.connections.lock();
    let position = connections
        .iter()
        .position(|(lease, _)| Arc::ptr_eq(&lease.kept.backend, backend));
    let closed = position.map(|position| connections.swap_remove(position));
    drop(connections);
    closed.map(|(lease, _)| lease.end()).is_some()
}

// === impl Lease ===

impl Lease {
    /// Ends a connection on which nothing is under way.
    fn end(self) {
        // Without a receiver it has been cut off already.
        drop(self.kept.ending.send(self.connection.into_io()));
    }
}

// === impl Lease1 ===

impl Lease1 {
    fn new(pair: &Arc<Pair>, lease: Lease, is_reused: bool) -> Leased {
        let Lease {
            connection,
            way,
            mut kept,
        } = lease;
        kept.served += 1;
        let lease = Self {
            way,
            is_reused,
            pair: Arc::clone(pair),
            kept,
        };
        (connection, lease)
    }

    /// The request and its answer have ended: the connection is free for the next one.
    pub fn give_back(self, connection: Box<Http1>) {
        let now = Instant::now();
        let most = self
            .kept
            .backend
            .policy()
            .backend
            .limits
            .max_requests_per_connection;
        let is_used_up = most.is_some_and(|most| self.kept.served >= most);
        let pair = self.pair;
        let is_over = is_used_up || connection.is_last() || self.way.is_old(now) || pair.is_over();
        let lease = Lease {
            connection,
            way: self.way,
            kept: self.kept,
        };
        if is_over {
            return lease.end();
        }
        let mut connections = pair.http1.connections.lock();
        if connections.len() < MAX_IDLE {
            connections.push((lease, now));
            drop(connections);
            pair.http1.returned.notify_one();
        } else {
            drop(connections);
            lease.end();
        }
    }
}

// === impl Idle ===

impl Idle {
    pub(super) fn is_empty(&self) -> bool {
        self.connections.lock().is_empty()
    }

    /// Closes what has been idle for long.
    pub(super) fn expire(&self, now: Instant) {
        let is_stale = |(lease, since): &mut (Lease, Instant)| {
            lease.connection.is_over() || now.duration_since(*since) >= IDLE || lease.way.is_old(now)
        };
        let stale: Vec<_> = self.connections.lock().extract_if(.., is_stale).collect();
        for (lease, _) in stale {
            lease.end();
        }
    }

    pub(super) fn close(&self) {
        let all = std::mem::take(&mut *self.connections.lock());
        for (lease, _) in all {
            lease.end();
        }
    }
}
