//! The connections past the proxy that are open: told of in metrics, in the table of open connections and in the access log
//! like those that the proxy carries, and ended when they may not go on.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::verdict::Reason;
use super::{Pair, PairView};
use crate::capture::DirectConnection;
use crate::flow::context::Context;
use crate::flow::failure::Failure;
use crate::flow::report::{Report, Shared};
use crate::local::LocalWorkload;
use crate::net::diag::{Diag, Socket};
use crate::net::namespace::Namespace;

/// How old the counts of an open connection may be.
const FRESH: Duration = Duration::from_secs(5);
/// Connections whose counts one look brings up to date: a question to the kernel each, of some 5 µs.
const REFRESHED: usize = 2_000;

/// All of them, by their sockets' cookies.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    open: HashMap<u64, Open>,
    /// Those that do not come about after all, or whose end is not told yet.
    ending: HashMap<u64, End>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) pair: Pair,
    /// Slot of the workload at the endpoint.
    pub(super) server: u32,
    client: Arc<LocalWorkload>,
    socket: Socket,
    report: Report,
    counts: Shared,
    refreshed: Instant,
    /// Whether the kernel did not know it at the last look.
    is_missing: bool,
    /// The pair's count.
    count: Option<Arc<AtomicUsize>>,
}

/// Who a connection joins.
#[derive(Debug)]
pub(super) struct Parties {
    pub(super) client: Arc<LocalWorkload>,
    pub(super) server: Arc<LocalWorkload>,
}

/// Why the node ends a connection.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// One of the workloads was released.
    Released,
    /// It may not go past the proxy any more.
    Withheld(Reason),
}

/// Asks the kernel, in the namespaces of one look.
#[derive(Debug, Default)]
pub(super) struct Diags(HashMap<u64, Option<Diag>>);

// === impl Ledger ===

impl Ledger {
    /// The connection, if it is known to be open.
    pub(super) fn get(&self, cookie: u64) -> Option<&Open> {
        self.open.get(&cookie)
    }

    /// Whether the node has ended it.
    pub(super) fn is_ending(&self, cookie: u64) -> bool {
        self.ending.contains_key(&cookie)
    }

    /// A connection has come about.
    pub(super) fn opened(
        &mut self,
        context: &Context,
        connection: &DirectConnection,
        parties: Parties,
        view: Option<&Arc<PairView>>,
    ) {
        let Parties { client, server } = parties;
        let mut report = report(connection, &client, &server, view);
        let counts = report.open_shared(context);
        if let Some(view) = view {
            view.open.fetch_add(1, Ordering::Relaxed);
        }
        let open = Open {
            pair: Pair {
                slot: client.slot,
                asked: connection.destination,
            },
            server: server.slot,
            socket: socket(connection),
            client,
            report,
            counts,
            refreshed: connection.opened,
            is_missing: false,
            count: view.map(|view| Arc::clone(&view.open)),
        };
        self.open.insert(connection.cookie, open);
    }

    /// A connection that [`Self::opened`] knows is over.
    pub(super) fn closed(&mut self, context: &Context, connection: &DirectConnection, is_broken: bool) {
        let end = self.ending.remove(&connection.cookie);
        let Some(mut open) = self.open.remove(&connection.cookie) else {
            return;
        };
        open.count(connection.sent, connection.received);
        let result = match end {
            Some(end) => Err(end.into()),
            None if is_broken => Err(Failure::Broken {
                side: "client or server",
                source: io::ErrorKind::ConnectionReset.into(),
            }),
            None => Ok(()),
        };
        open.finish(context, result, Some(connection.duration));
    }

    /// A connection has not come about.
    pub(super) fn failed(
        &mut self,
        context: &Context,
        connection: &DirectConnection,
        parties: &Parties,
        view: Option<&Arc<PairView>>,
    ) {
        let failure = match self.ending.remove(&connection.cookie) {
            Some(end) => end.into(),
            None => Failure::Connect {
                address: connection.endpoint,
                source: io::Error::other("past the proxy: it was refused, or not answered"),
            },
        };
        let report = report(connection, &parties.client, &parties.server, view);
        report.finish_after(context, Err(failure), connection.duration);
    }

    /// Ends a connection; the kernel tells when it is over. Whether that was so already.
    pub(super) fn end(
        &mut self,
        connection: &DirectConnection,
        end: &End,
        namespace: &Namespace,
        diags: &mut Diags,
    ) -> bool {
        let Some(diag) = diags.of(namespace) else {
            return false;
        };
        // Its end may not be told when its workload is released.
        if let Some(open) = self.open.get_mut(&connection.cookie) {
            open.look(diag);
        }
        match diag.destroy(&socket(connection)) {
            Ok(true) => {
                tracing::info!(source = %connection.source, endpoint = %connection.endpoint, why = %Failure::from(end.clone()), "ended a connection past the proxy");
                self.ending.insert(connection.cookie, end.clone());
                false
            }
            Ok(false) => true,
            Err(error) => {
                tracing::error!(%error, source = %connection.source, endpoint = %connection.endpoint, "cannot end a connection past the proxy; trying again");
                false
            }
        }
    }

    /// Brings the counts of those up to date that have been open for a while. Gives those that are over although nobody has
    /// told: their workload's cgroup went first, and our programs with it.
    pub(super) fn refresh(&mut self, context: &Context, diags: &mut Diags) -> Vec<u64> {
        let now = Instant::now();
        let Self { open, ending } = self;
        let is_due = |(cookie, open): &(&u64, &mut Open)| {
            now.saturating_duration_since(open.refreshed) >= FRESH || ending.contains_key(cookie)
        };
        let mut over = Vec::new();
        for (cookie, open) in open.iter_mut().filter(is_due).take(REFRESHED) {
            open.refreshed = now;
            let Some(diag) = diags.of(&open.client.namespace) else {
                continue;
            };
            // What the kernel tells is taken in between two looks.
            let was_missing = open.is_missing;
            open.look(diag);
            if was_missing && open.is_missing {
                over.push(*cookie);
            }
        }
        for cookie in &over {
            let end = self.ending.remove(cookie);
            if let Some(open) = self.open.remove(cookie) {
                open.finish(context, end.map_or(Ok(()), |end| Err(end.into())), None);
            }
        }
        over
    }
}

// === impl Open ===

impl Open {
    /// The connection has carried so much in all.
    fn count(&mut self, sent: u64, received: u64) {
        let counts = &self.counts;
        let known = counts.connection.sent.swap(sent, Ordering::Relaxed);
        counts.counters.sent.inc_by(sent.saturating_sub(known));
        let known = counts.connection.received.swap(received, Ordering::Relaxed);
        counts.counters.received.inc_by(received.saturating_sub(known));
    }

    /// Asks the kernel how much it has carried.
    fn look(&mut self, diag: &Diag) {
        match diag.carried(&self.socket) {
            // SYN is no byte of the program's.
            Ok(Some(carried)) => self.count(carried.acknowledged.saturating_sub(1), carried.received),
            Ok(None) => self.is_missing = true,
            Err(error) => tracing::debug!(%error, "cannot ask the kernel about a connection past the proxy"),
        }
    }

    /// It is over.
    fn finish(self, context: &Context, result: Result<(), Failure>, duration: Option<Duration>) {
        if let Some(count) = &self.count {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        match duration {
            Some(duration) => self.report.finish_after(context, result, duration),
            None => self.report.finish(context, result),
        }
    }

    /// The client.
    pub(super) fn client(&self) -> &Arc<LocalWorkload> {
        &self.client
    }
}

// === impl Diags ===

impl Diags {
    fn of(&mut self, namespace: &Namespace) -> Option<&Diag> {
        let open = || {
            let opened = Diag::open(namespace);
            opened.map_err(|error| tracing::error!(%error, "cannot ask the kernel about a workload's connections; trying again")).ok()
        };
        self.0.entry(namespace.cookie()).or_insert_with(open).as_ref()
    }
}

// === impl End ===

impl From<End> for Failure {
    fn from(end: End) -> Self {
        match end {
            End::Released => Self::Released,
            End::Withheld(reason) => Self::Withdrawn(reason),
        }
    }
}

fn report(
    connection: &DirectConnection,
    client: &LocalWorkload,
    server: &LocalWorkload,
    view: Option<&Arc<PairView>>,
) -> Report {
    let mut report = Report::begun("outbound", connection.source, connection.opened);
    report.workload = Some(client.workload.name.clone());
    report.destination = Some(connection.destination);
    report.service = view.and_then(|view| view.service.clone());
    report.endpoint = Some(connection.endpoint);
    report.peer = server.workload.identity.to_string();
    report.transport = "direct";
    report
}

fn socket(connection: &DirectConnection) -> Socket {
    Socket {
        local: connection.source,
        remote: connection.endpoint,
        cookie: connection.cookie,
    }
}
