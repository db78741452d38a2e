//! Connections that local workloads open: whose they are, where to, and what they speak. Requests go to
//! [`super::http`]; what is no HTTP is carried as bytes, here.

mod counted;
mod open;
mod rule;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use mesh_model::Destination;
use mesh_runtime::tasks;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use self::counted::Counted;
use self::open::{Direct, Opened, ToService, idle_timeout};
use super::connect::Hop;
use super::context::Context;
use super::detect::{self, Look, Speech, Upstream};
use super::failure::{Failed, Failure};
use super::http::{self, HttpClient};
use super::plan::{Plan, Rules};
use super::relay::{idle, relay};
use super::report::Report;
use crate::config::UnknownDestination;
use crate::l7::server::{ServeError, Version};
use crate::local::LocalWorkload;
use crate::net::namespace::Namespace;
use crate::net::side::Side;
use crate::net::socket;
use crate::resilience::Backend;

/// Longest time until a connection has come about, whatever is tried for it: certificates waited for, tunnels opened,
/// further endpoints. Three attempts of ten seconds, the defaults.
const CONNECT_PHASE: Duration = Duration::from_secs(30);
/// How long a server is given to end a connection that was opened in vain.
const ENDING: Duration = Duration::from_secs(5);

/// A captured connection, but for its bytes.
struct Captured {
    context: Arc<Context>,
    local: Arc<LocalWorkload>,
    /// The client.
    source: SocketAddr,
    /// What it asked for.
    asked: SocketAddr,
}

/// What a destination stands for.
enum Target {
    /// A port of a Service.
    Service(Arc<Plan>),
    /// One address.
    Address(Hop),
}

/// How a connection is carried.
enum Path {
    /// As bytes, over the connection that this opens.
    Bytes(BoxFuture<'static, Result<Opened, Failed>>),
    /// As requests.
    Requests(Arc<Plan>, Version),
}

/// Carries one accepted connection to its end.
pub async fn serve(context: Arc<Context>, namespace: Arc<Namespace>, stream: TcpStream, source: SocketAddr) {
    let source = socket::canonical(source);
    let mut report = Report::new("outbound", source);
    let result = match captured(&context, &namespace, source) {
        Ok(captured) => {
            report.workload = Some(captured.local.workload.name.clone());
            report.destination = Some(captured.asked);
            captured.carry(stream, &mut report).await
        }
        Err(failure) => {
            socket::reset_on_close(&stream);
            Err(failure)
        }
    };
    report.finish(&context, result);
}

/// Whose connection it is and where it wants to go, as the kernel noted at connect().
fn captured(context: &Arc<Context>, namespace: &Namespace, source: SocketAddr) -> Result<Captured, Failure> {
    let flow = context
        .capture
        .take_flow(namespace.cookie(), source)
        .ok_or(Failure::NotCaptured)?;
    let local = context.locals.by_slot(flow.slot).ok_or(Failure::NotCaptured)?;
    // The slot comes from the kernel; that it belongs to the listener's namespace is checked all the same.
    if local.namespace.cookie() != namespace.cookie() {
        return Err(Failure::NotCaptured);
    }
    Ok(Captured {
        context: Arc::clone(context),
        local,
        source,
        asked: socket::canonical(flow.destination),
    })
}

// === impl Captured ===

impl Captured {
    async fn carry(&self, mut stream: TcpStream, report: &mut Report) -> Result<(), Failure> {
        // Boxed: what is only needed until it is known where to goes then, and an open connection is a small one.
        let path = match Box::pin(self.path(&stream, report)).await {
            Ok((path, is_stale)) => {
                if is_stale {
                    stream = rearm(stream)?;
                }
                path
            }
            Err(failure) => {
                socket::reset_on_close(&stream);
                return Err(failure);
            }
        };
        match path {
            Path::Bytes(opening) => {
                let mut client = Side::Tcp(stream);
                let result = self.relay(&mut client, report, opening).await;
                if result.is_err() {
                    client.reset();
                }
                result
            }
            Path::Requests(plan, version) => Box::pin(self.requests(stream, report, plan, version)).await,
        }
    }

    /// Which path the connection takes, and whether it is to be registered anew first.
    async fn path(&self, stream: &TcpStream, report: &mut Report) -> Result<(Path, bool), Failure> {
        socket::tune(stream).map_err(|source| Failure::Broken {
            side: "client",
            source,
        })?;
        match self.resolve(report)? {
            Target::Address(hop) => {
                let direct = Direct {
                    context: Arc::clone(&self.context),
                    local: Arc::clone(&self.local),
                    source: self.source,
                    hop,
                };
                Ok((Path::Bytes(Box::pin(direct.open())), false))
            }
            Target::Service(plan) => match Look::at(&plan) {
                Look::Nothing => Ok((self.to_service(report, &plan, None)?, false)),
                look => self.look(stream, report, plan, look).await,
            },
        }
    }

    fn resolve(&self, report: &mut Report) -> Result<Target, Failure> {
        let snapshot = self.context.store.load();
        let address = |workload| {
            Ok(Target::Address(Hop {
                address: self.asked,
                workload,
                connect_timeout: None,
            }))
        };
        match snapshot.resolve(self.asked) {
            Destination::Service { service, port, .. } => {
                report.service = Some(service.name.clone());
                let namespace = self.local.workload.name.namespace();
                let plan = self.context.plans.get(&snapshot, &service, &port, namespace);
                Ok(Target::Service(plan))
            }
            Destination::ServiceWithoutPort(service) => Err(Failure::NoSuchPort {
                service: service.name.to_string(),
                port: self.asked.port(),
            }),
            Destination::Workload(workload) => address(Some(workload)),
            Destination::Unknown => match self.context.outbound.unknown {
                UnknownDestination::Passthrough => address(None),
                UnknownDestination::Refuse => Err(Failure::UnknownDestination),
            },
        }
    }

    /// Tells what is spoken.
    async fn look(
        &self,
        stream: &TcpStream,
        report: &mut Report,
        plan: Arc<Plan>,
        look: Look,
    ) -> Result<(Path, bool), Failure> {
        let to_service = self.opener(&plan, &plan.backend);
        // Where routes may lead elsewhere, that the Service can't be had need not concern the client.
        let is_needed = matches!(plan.rules, Rules::None);
        let mut upstream = Upstream::new(move || Box::pin(to_service.clone().open()), is_needed);
        let started = Instant::now();
        let limit = idle_timeout(&plan.port.policy);
        let seen = tokio::select! {
            seen = detect::look(stream, look, &mut upstream) => seen,
            () = self.local.drain.stopping() => Err(Failure::Released.into()),
            () = sleep(limit) => Err(Failure::Idle(limit).into()),
        };
        let outcome = seen.as_ref().map_or("failed", |seen| seen.outcome);
        let declared = plan.port.protocol.as_str();
        self.context
            .metrics
            .detected(declared, outcome, started.elapsed());
        let seen = seen.map_err(|failed| report.failed(failed))?;
        if let Some(first) = seen.first() {
            plan.habit.set(first);
        }
        let path = match seen.speech {
            Speech::Http(version) => {
                self.leave(upstream);
                Path::Requests(plan, version)
            }
            Speech::Bytes { server_name } if look == Look::ServerName => {
                self.to_service(report, &plan, server_name.as_deref())?
            }
            Speech::Bytes { .. } if matches!(plan.rules, Rules::Broken(_)) => {
                self.leave(upstream);
                self.to_service(report, &plan, None)?
            }
            Speech::Bytes { .. } => Path::Bytes(Box::pin(upstream.opened())),
        };
        Ok((path, seen.is_stale))
    }

    /// To where the rules for connections say, or to the Service.
    fn to_service(
        &self,
        report: &mut Report,
        plan: &Plan,
        server_name: Option<&str>,
    ) -> Result<Path, Failure> {
        let (backend, rule) = rule::backend(plan, server_name)?;
        report.route = rule;
        Ok(Path::Bytes(Box::pin(self.opener(plan, &backend).open())))
    }

    /// Serves requests.
    async fn requests(
        &self,
        stream: TcpStream,
        report: &mut Report,
        plan: Arc<Plan>,
        version: Version,
    ) -> Result<(), Failure> {
        report.transport = "http";
        let counted = Counted::new(stream, report.open_shared(&self.context));
        let client = HttpClient {
            local: Arc::clone(&self.local),
            address: self.source,
            asked: self.asked,
            version,
            plan,
        };
        match http::serve(&self.context, client, counted).await {
            Ok(()) => Ok(()),
            Err(ServeError::Drained) => Err(Failure::Released),
            // Its requests have been told of one by one.
            Err(error) => {
                tracing::debug!(client = %self.source, %error, "a connection with requests broke");
                Ok(())
            }
        }
    }

    /// Carries bytes over a connection that is about to come about.
    async fn relay(
        &self,
        client: &mut Side,
        report: &mut Report,
        opening: BoxFuture<'static, Result<Opened, Failed>>,
    ) -> Result<(), Failure> {
        let mut opened = tokio::select! {
            opened = opening => opened.map_err(|failed| report.failed(failed))?,
            () = self.local.drain.stopping() => return Err(Failure::Released),
            () = sleep(CONNECT_PHASE) => return Err(Failure::ConnectTimeout(CONNECT_PHASE)),
        };
        report.endpoint = Some(opened.address);
        report.peer.clone_from(&opened.connected.peer);
        report.transport = opened.connected.transport;
        if report.transport == "local" {
            self.context.direct.note(self.local.slot, self.asked);
        }
        let (sent, received) = report.open(&self.context);
        let (limit, moved) = (opened.idle, (sent.connection, received.connection));
        let quiet = async {
            match limit {
                Some(limit) => idle(moved.0, moved.1, limit).await,
                None => std::future::pending().await,
            }
        };
        let released = opened.connected.released();
        let server = &mut opened.connected.side;
        let result = tokio::select! {
            result = relay(client, server, sent, received, &self.local.drain) => result,
            () = released => Err(Failure::Released),
            () = quiet => Err(Failure::Idle(limit.unwrap_or_default())),
        };
        if result.is_err() {
            opened.connected.side.reset();
        }
        result
    }

    fn opener(&self, plan: &Plan, backend: &Arc<Backend>) -> ToService {
        ToService {
            context: Arc::clone(&self.context),
            local: Arc::clone(&self.local),
            source: self.source,
            asked: self.asked,
            backend: Arc::clone(backend),
            idle: idle_timeout(&plan.port.policy),
        }
    }

    /// Ends a connection that is not wanted after all, in the background.
    fn leave(&self, upstream: Upstream<Opened>) {
        if !upstream.is_begun() {
            return;
        }
        let guard = self.context.drain.guard();
        tasks::spawn_guarded("connection opened in vain", guard, async move {
            let ended = async {
                if let Ok(opened) = upstream.opened().await {
                    // Whatever goes wrong now is nobody's loss.
                    drop(opened.connected.side.end().await);
                }
            };
            // Dropped at the deadline, it is broken off.
            drop(timeout(ENDING, ended).await);
        });
    }
}

fn rearm(stream: TcpStream) -> Result<TcpStream, Failure> {
    socket::rearm(stream).map_err(|source| Failure::Broken {
        side: "client",
        source,
    })
}
