//! The report on a connection: what is known of it grows while it comes about, and is told once, at its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mesh_model::{ResourceName, RuleName};

use super::context::Context;
use super::failure::{Failed, Failure};
use super::live::{self, Connection};
use super::relay::Count;
use crate::telemetry::access_log;
use crate::telemetry::connections::{ConnectionCounters, ConnectionLabels};

/// What is known of a connection so far.
#[derive(Debug)]
pub struct Report {
    /// `inbound` or `outbound`.
    pub direction: &'static str,
    /// The local workload.
    pub workload: Option<ResourceName>,
    /// The client.
    pub source: SocketAddr,
    /// What it asked for.
    pub destination: Option<SocketAddr>,
    /// The Service asked for.
    pub service: Option<ResourceName>,
    /// The rule of a TCPRoute or TLSRoute that it fell under.
    pub route: Option<Arc<RuleName>>,
    /// Where it went.
    pub endpoint: Option<SocketAddr>,
    /// The peer's SPIFFE ID; empty when it has proved none.
    pub peer: String,
    /// `hbone`, `local`, `direct` or `plaintext`; `http` when that differs from one request to the next; empty until it is known.
    pub transport: &'static str,
    started: Instant,
    open: Option<Open>,
}

/// The counts of a connection, for who counts by itself.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The connection's own.
    pub connection: Arc<Connection>,
    /// The node's.
    pub counters: ConnectionCounters,
}

/// A connection that has come about.
#[derive(Debug)]
struct Open {
    live: live::Entry,
    counters: ConnectionCounters,
}

// === impl Report ===

impl Report {
    /// A connection that has just been accepted.
    pub fn new(direction: &'static str, source: SocketAddr) -> Self {
        Self {
            direction,
            workload: None,
            source,
            destination: None,
            service: None,
            route: None,
            endpoint: None,
            peer: String::new(),
            transport: "",
            started: Instant::now(),
            open: None,
        }
    }

    /// A connection that began then, which the proxy does not carry.
    pub fn begun(direction: &'static str, source: SocketAddr, started: Instant) -> Self {
        Self {
            started,
            ..Self::new(direction, source)
        }
    }

    /// The connection has come about: from now on it is in the table of open connections. Gives the counts for
    /// both directions, `sent` first.
    pub fn open(&mut self, context: &Context) -> (Count<'_>, Count<'_>) {
        let open = self.begin(context);
        let connection = &open.live.connection;
        (
            Count {
                connection: &connection.sent,
                metric: &open.counters.sent,
            },
            Count {
                connection: &connection.received,
                metric: &open.counters.received,
            },
        )
    }

    fn begin(&mut self, context: &Context) -> &Open {
        let labels = ConnectionLabels {
            direction: self.direction,
            workload: name(self.workload.as_ref()),
            service: name(self.service.as_ref()),
            peer: self.peer.clone(),
            transport: self.transport,
        };
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        self.open.insert(Open {
            counters: context.connections.opened(&labels),
            live: context.live.insert(Connection {
                direction: self.direction,
                workload: self.workload.clone(),
                source: self.source,
                destination: self.destination.unwrap_or(unknown),
                service: self.service.clone(),
                endpoint: self.endpoint,
                peer: self.peer.clone(),
                transport: self.transport,
                sent: 0.into(),
                received: 0.into(),
                since: self.started,
            }),
        })
    }

    /// As [`Self::open`], with counts that live on their own.
    pub fn open_shared(&mut self, context: &Context) -> Shared {
        let open = self.begin(context);
        Shared {
            connection: Arc::clone(&open.live.connection),
            counters: open.counters.clone(),
        }
    }

    /// The connection has not come about: notes where it was to go.
    pub fn failed(&mut self, failed: Failed) -> Failure {
        self.endpoint = failed.endpoint.or(self.endpoint);
        failed.failure
    }

    /// The connection is over: counts it and writes the access log.
    pub fn finish(self, context: &Context, result: Result<(), Failure>) {
        let duration = self.started.elapsed();
        self.finish_after(context, result, duration);
    }

    /// The same for one that lasted so long: what the proxy does not carry is told of later.
    pub fn finish_after(self, context: &Context, result: Result<(), Failure>, duration: Duration) {
        let workload = name(self.workload.as_ref());
        let (mut sent, mut received) = (0, 0);
        if let Some(open) = &self.open {
            open.counters.close();
            sent = open.live.connection.sent.load(Ordering::Relaxed);
            received = open.live.connection.received.load(Ordering::Relaxed);
        }
        if let Err(failure) = &result {
            context
                .connections
                .failed(self.direction, workload.clone(), failure.reason());
        }
        context.access_log.write(&access_log::Entry {
            direction: self.direction,
            workload: &workload,
            source: self.source,
            destination: self.destination,
            service: &name(self.service.as_ref()),
            route: &self.route.as_ref().map(ToString::to_string).unwrap_or_default(),
            endpoint: self.endpoint,
            peer: &self.peer,
            transport: self.transport,
            sent,
            received,
            duration,
            failure: result
                .err()
                .map(|failure| (failure.reason(), failure.to_string())),
        });
    }
}

fn name(name: Option<&ResourceName>) -> String {
    name.map(ToString::to_string).unwrap_or_default()
}
