//! The pool of tunnels: streams of many connections share few HTTP/2 connections.
//!
//! A pair (source workload, destination proxy, destination identity) has its own connections, so that a tunnel
//! never carries another identity's traffic. A pair's lock is held for moments only: TCP, TLS and HTTP/2 come about
//! outside it, in a task of their own, and everybody who needs the connection waits for that task. Each of the data
//! plane's threads has connections of its own: a stream's frames are made, encrypted and read on the thread of who uses
//! it, and the threads of the peer get work from each of them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use h2::client::SendRequest;
use mesh_model::Identity;
use mesh_runtime::drain::Drain;
use mesh_runtime::tasks;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{interval, timeout};

use super::channel::{Channel, Flush};
use super::client::{self, Endpoint, Opened, TunnelError};
use super::keepalive::Keepalive;
use crate::config::HboneConfig;
use crate::identity::Material;
use crate::identity::tls::Tls;
use crate::telemetry::metrics::Metrics;

/// Connections that one stream has opened for it. A peer that takes no stream in any of them wants none.
const OPENINGS: usize = 3;

/// What tells pairs apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The source workload's slot on this node.
    pub source: u32,
    /// The destination's proxy.
    pub peer: SocketAddr,
    /// The identity that it must have.
    pub expected: Identity,
    /// The thread that uses it ([`crate::net::cores::current`]).
    pub core: usize,
}

/// All tunnels of this node.
#[derive(Debug)]
pub struct Pool {
    config: HboneConfig,
    tls: Tls,
    metrics: Arc<Metrics>,
    drain: Drain,
    pairs: Mutex<HashMap<Key, Arc<Pair>>>,
}

/// A place in a connection for one stream. Freed when it is dropped.
#[derive(Debug)]
pub struct Lease {
    tunnel: Arc<Tunnel>,
}

/// Whether the peer of a leased place leaves: what is idle there had better end.
#[derive(Debug, Clone)]
pub struct Departure(Arc<Tunnel>);

#[derive(Debug, Default)]
struct Pair {
    state: Mutex<PairState>,
}

#[derive(Debug, Default)]
struct PairState {
    tunnels: Vec<Arc<Tunnel>>,
    /// Set while a connection is coming about; tells how that went.
    opening: Option<watch::Receiver<Progress>>,
}

/// How the opening of a connection goes.
type Progress = Option<Result<(), TunnelError>>;

#[derive(Debug)]
struct Tunnel {
    send: SendRequest<Bytes>,
    peer: SocketAddr,
    /// Streams leased.
    streams: AtomicUsize,
    /// Set when a stream could not be opened: the peer is leaving (GOAWAY) or gone, though other streams may go on.
    is_broken: AtomicBool,
}

enum Attempt {
    Leased(Lease),
    Wait(watch::Receiver<Progress>),
    Open(watch::Sender<Progress>, watch::Receiver<Progress>),
    Full(usize),
}

// === impl Pool ===

impl Pool {
    /// An empty pool. Its tasks hold guards of `drain` and end soon after it stops.
    pub fn new(config: HboneConfig, tls: Tls, metrics: Arc<Metrics>, drain: Drain) -> Self {
        Self {
            config,
            tls,
            metrics,
            drain,
            pairs: Mutex::default(),
        }
    }

    /// A place for one stream, in a connection that is there or is opened for it.
    pub async fn lease(
        self: &Arc<Self>,
        key: &Key,
        endpoint: &Endpoint,
        own: &Arc<Material>,
    ) -> Result<Lease, TunnelError> {
        let deadline = self.config.connect_timeout;
        timeout(deadline, self.lease_now(key, endpoint, own))
            .await
            .map_err(|_| TunnelError::Timeout {
                peer: key.peer,
                deadline,
            })?
    }

    async fn lease_now(
        self: &Arc<Self>,
        key: &Key,
        endpoint: &Endpoint,
        own: &Arc<Material>,
    ) -> Result<Lease, TunnelError> {
        let pair = Arc::clone(self.pairs.lock().entry(key.clone()).or_default());
        let mut openings = 0;
        loop {
            let mut progress = match self.attempt(&pair, openings < OPENINGS) {
                Attempt::Leased(lease) => return Ok(lease),
                Attempt::Wait(progress) => progress,
                Attempt::Open(done, progress) => {
                    openings += 1;
                    self.spawn_open(
                        done,
                        Arc::clone(&pair),
                        key.clone(),
                        endpoint.clone(),
                        Arc::clone(own),
                    );
                    progress
                }
                Attempt::Full(open) => return Err(TunnelError::Full { peer: key.peer, open }),
            };
            // An error of the channel means that the task is gone without a result: look again.
            if let Ok(outcome) = progress.wait_for(Option::is_some).await
                && let Some(Err(error)) = outcome.as_ref()
            {
                return Err(error.clone());
            }
        }
    }

    fn attempt(&self, pair: &Pair, may_open: bool) -> Attempt {
        let mut state = pair.state.lock();
        // One that has room, and not the least loaded: a peer may take fewer streams in one than in another, or none.
        let has_room = |t: &&Arc<Tunnel>| !t.is_broken.load(Ordering::Relaxed) && t.load() < self.limit(t);
        if let Some(tunnel) = state.tunnels.iter().filter(has_room).min_by_key(|t| t.load()) {
            tunnel.streams.fetch_add(1, Ordering::Relaxed);
            return Attempt::Leased(Lease {
                tunnel: Arc::clone(tunnel),
            });
        }
        // Closed while it is set: the task has panicked, and nobody opens anything.
        if let Some(progress) = &state.opening
            && progress.has_changed().is_ok()
        {
            return Attempt::Wait(progress.clone());
        }
        if !may_open || state.tunnels.len() >= self.config.max_connections_per_pair {
            return Attempt::Full(state.tunnels.len());
        }
        let (done, progress) = watch::channel(None);
        state.opening = Some(progress.clone());
        Attempt::Open(done, progress)
    }

    /// Streams that a connection may have: ours or the peer's limit.
    fn limit(&self, tunnel: &Tunnel) -> usize {
        self.config
            .max_streams_per_connection
            .min(tunnel.send.current_max_send_streams())
    }

    fn spawn_open(
        self: &Arc<Self>,
        done: watch::Sender<Progress>,
        pair: Arc<Pair>,
        key: Key,
        endpoint: Endpoint,
        own: Arc<Material>,
    ) {
        let pool = Arc::clone(self);
        tasks::spawn_guarded("tunnel", self.drain.guard(), async move {
            let opened = pool.open(&endpoint, own).await;
            let outcome = opened.as_ref().map(|_| ()).map_err(Clone::clone);
            let driven = opened.ok().map(|opened| pool.adopt(&pair, key.peer, opened));
            if driven.is_none() {
                pair.state.lock().opening = None;
            }
            done.send_replace(Some(outcome));
            if let Some((tunnel, connection)) = driven {
                pool.drive(&tunnel, connection, &endpoint.released).await;
                pool.metrics.tunnel_closed();
                pair.state.lock().tunnels.retain(|t| !Arc::ptr_eq(t, &tunnel));
            }
            pool.tidy(&pair, &key);
        });
    }

    async fn open(&self, endpoint: &Endpoint, own: Arc<Material>) -> Result<Opened, TunnelError> {
        let tls = self
            .tls
            .client(own, endpoint.expected.clone())
            .map_err(|error| TunnelError::Tls {
                peer: endpoint.peer,
                expected: endpoint.expected.clone(),
                source: Arc::new(std::io::Error::other(error)),
            })?;
        let opened = client::open(endpoint, tls, &self.config).await;
        self.metrics
            .handshake("client", opened.as_ref().ok().map(|o| o.handshake));
        opened
    }

    fn adopt(&self, pair: &Pair, peer: SocketAddr, opened: Opened) -> (Arc<Tunnel>, Driven) {
        let tunnel = Arc::new(Tunnel {
            send: opened.send,
            peer,
            streams: AtomicUsize::new(0),
            is_broken: AtomicBool::new(false),
        });
        let mut state = pair.state.lock();
        state.tunnels.push(Arc::clone(&tunnel));
        state.opening = None;
        self.metrics.tunnel_opened();
        (tunnel, (opened.connection, opened.flush))
    }

    /// Drives a connection until it ends, is dead, has been idle for long, or its workload is released.
    async fn drive(&self, tunnel: &Tunnel, driven: Driven, released: &Drain) {
        let (mut connection, flush) = driven;
        let keepalive = Keepalive {
            interval: self.config.ping_interval,
            timeout: self.config.ping_timeout,
        };
        let ping_pong = connection.ping_pong();
        let probed = async {
            match ping_pong {
                Some(ping_pong) => keepalive.watch(ping_pong).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = flush.drive(connection) => match ended {
                Ok(()) => tracing::debug!(peer = %tunnel.peer, "tunnel ended"),
                Err(error) => tracing::debug!(peer = %tunnel.peer, %error, "tunnel broke"),
            },
            () = probed => tracing::info!(peer = %tunnel.peer, "tunnel dropped: the peer does not answer PING"),
            () = released.stopping() => tracing::debug!(peer = %tunnel.peer, "tunnel dropped: its workload is gone"),
            () = self.idle(tunnel) => tracing::debug!(peer = %tunnel.peer, "tunnel dropped: idle"),
        }
    }

    /// Returns when the tunnel has had no stream for the idle time, or at the next look when it will get none.
    async fn idle(&self, tunnel: &Tunnel) {
        let mut looks = interval(self.config.idle_timeout.min(std::time::Duration::from_secs(1)));
        let mut since: Option<Instant> = None;
        loop {
            looks.tick().await;
            if tunnel.is_refusing() {
                tunnel.is_broken.store(true, Ordering::Relaxed);
            }
            if tunnel.load() > 0 {
                since = None;
                continue;
            }
            let idle = since.get_or_insert_with(Instant::now).elapsed();
            let takes_none =
                tunnel.is_broken.load(Ordering::Relaxed) || tunnel.send.current_max_send_streams() == 0;
            let is_useless = takes_none || self.drain.is_stopping();
            if is_useless || idle >= self.config.idle_timeout {
                return;
            }
        }
    }

    /// Removes a pair that has no connection and gets none.
    fn tidy(&self, pair: &Arc<Pair>, key: &Key) {
        let mut pairs = self.pairs.lock();
        let state = pair.state.lock();
        let is_unused = state.tunnels.is_empty() && state.opening.is_none();
        if is_unused && pairs.get(key).is_some_and(|present| Arc::ptr_eq(present, pair)) {
            pairs.remove(key);
        }
    }
}

type Driven = (h2::client::Connection<Channel, Bytes>, Flush);

// === impl Lease ===

impl Lease {
    /// Says that the connection takes no new stream, so that nobody is given a place in it any more.
    pub fn mark_broken(&self) {
        self.tunnel.is_broken.store(true, Ordering::Relaxed);
    }

    /// Tells when the peer leaves.
    pub fn departure(&self) -> Departure {
        Departure(Arc::clone(&self.tunnel))
    }

    /// The connection's sender, for one request.
    pub fn sender(&self) -> SendRequest<Bytes> {
        self.tunnel.send.clone()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.tunnel.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Departure ===

impl Departure {
    /// Whether it has begun. Noticed within a second.
    pub fn has_begun(&self) -> bool {
        self.0.is_broken.load(Ordering::Relaxed)
    }
}

// === impl Tunnel ===

impl Tunnel {
    fn load(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Whether the peer takes no new stream for good: it has said GOAWAY, or is gone.
    fn is_refusing(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        matches!(self.send.clone().poll_ready(&mut context), Poll::Ready(Err(_)))
    }
}

#[cfg(test)]
mod tests;
