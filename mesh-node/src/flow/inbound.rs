//! Connections that arrive for local workloads through tunnels.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::StatusCode;
use mesh_model::Identity;
use mesh_runtime::tasks;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::context::Context;
use super::failure::Failure;
use super::relay::relay;
use super::report::Report;
use crate::hbone::authority::Authority;
use crate::hbone::headers::baggage;
use crate::hbone::server::{self, Accepted, Stream};
use crate::local::LocalWorkload;
use crate::net::namespace::Namespace;
use crate::net::side::Side;
use crate::net::socket;

/// Ports that are the mesh's own: a tunnel to one of them would lead back into it.
const MESH_PORTS: [u16; 3] = [15001, 15006, 15008];

/// Streams of one tunnel that are being served, those included that the peer has given up and that are not ended
/// yet: twice as many as it may have open, so that who ends some and opens others meets no refusal.
const MAX_STREAM_TASKS: usize = 2 * server::MAX_CONCURRENT_STREAMS as usize;

/// Where tunnels end.
#[derive(Debug)]
pub struct Listener {
    /// The namespace that the listener is in.
    pub namespace: Arc<Namespace>,
    /// Its certificates and whom it lets in.
    pub tls: Arc<ServerConfig>,
}

/// One tunnel, as its streams see it.
#[derive(Debug)]
struct Tunnel {
    identity: Identity,
    source: SocketAddr,
    /// The address that the peer connected to.
    local: IpAddr,
    cookie: u64,
    server_name: Option<String>,
}

/// Why a stream is not served, as HBONE answers it.
struct Refusal {
    status: StatusCode,
    failure: Failure,
}

/// Serves one accepted tunnel to its end. `place` is kept until the client has proved who it is.
pub async fn serve(
    context: Arc<Context>,
    listener: Arc<Listener>,
    client: (TcpStream, SocketAddr),
    place: OwnedSemaphorePermit,
) {
    let (stream, source) = client;
    let source = socket::canonical(source);
    let accepted = tokio::select! {
        accepted = accept(&context, &listener, stream, source) => accepted,
        // Nobody yet, and nothing to be drained: a stop does not wait for the deadline of a handshake.
        () = context.drain.stopping() => return,
    };
    drop(place);
    let accepted = match accepted {
        Ok(accepted) => accepted,
        Err(failure) => return Report::new("inbound", source).finish(&context, Err(failure)),
    };
    let (accepted, local) = accepted;
    let tunnel = Arc::new(Tunnel {
        identity: accepted.identity.clone(),
        source,
        local,
        cookie: listener.namespace.cookie(),
        server_name: accepted.server_name.clone(),
    });
    let drain = context.drain.clone();
    let places = Arc::new(Semaphore::new(MAX_STREAM_TASKS));
    let serve_stream = |stream: Stream| {
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            let text = "the peer opens streams and gives them up faster than they can be ended";
            tunnel
                .report()
                .finish(&context, Err(Failure::BadRequest(text.to_owned())));
            return stream.refuse(StatusCode::SERVICE_UNAVAILABLE);
        };
        let (context, tunnel) = (Arc::clone(&context), Arc::clone(&tunnel));
        tasks::spawn_guarded("inbound", context.drain.guard(), async move {
            serve_stream(&context, &tunnel, stream).await;
            drop(place);
        });
    };
    // Streams end by themselves when their workload is released; a tunnel without streams ends with the drain.
    if let Err(error) = accepted.serve(&context.hbone, &drain, serve_stream).await {
        tracing::debug!(%source, peer = %tunnel.identity, %error, "tunnel broke");
    }
}

// === impl Tunnel ===

impl Tunnel {
    /// The report on one of its streams.
    fn report(&self) -> Report {
        let mut report = Report::new("inbound", self.source);
        report.peer = self.identity.to_string();
        report.transport = "hbone";
        report
    }
}

async fn accept(
    context: &Context,
    listener: &Listener,
    stream: TcpStream,
    source: SocketAddr,
) -> Result<(Accepted, IpAddr), Failure> {
    let broken = |source| Failure::Broken {
        side: "client",
        source,
    };
    socket::tune(&stream).map_err(broken)?;
    let local = stream.local_addr().map_err(broken)?.ip().to_canonical();
    let accepted = server::accept(stream, source, Arc::clone(&listener.tls), &context.hbone).await;
    context
        .metrics
        .handshake("server", accepted.as_ref().ok().map(|a| a.handshake));
    Ok((accepted?, local))
}

async fn serve_stream(context: &Context, tunnel: &Tunnel, stream: Stream) {
    let mut report = tunnel.report();
    let result = carry(context, tunnel, stream, &mut report).await;
    report.finish(context, result);
}

async fn carry(
    context: &Context,
    tunnel: &Tunnel,
    mut stream: Stream,
    report: &mut Report,
) -> Result<(), Failure> {
    let connected = match resolve(context, tunnel, &stream.authority, report) {
        Ok((local, destination)) => tokio::select! {
            connected = connect(context, &local, destination) => connected.map(|side| (local, side)),
            () = local.drain.stopping() => Err(Refusal {
                status: StatusCode::SERVICE_UNAVAILABLE,
                failure: Failure::Released,
            }),
            () = stream.given_up() => return Err(Failure::Broken {
                side: "client",
                source: std::io::ErrorKind::ConnectionReset.into(),
            }),
        },
        Err(refusal) => Err(refusal),
    };
    let (local, mut server) = match connected {
        Ok(connected) => connected,
        Err(Refusal { status, failure }) => {
            stream.refuse(status);
            return Err(failure);
        }
    };
    let mut client = stream
        .accept(&baggage(&local.workload))
        .map_err(|error| Failure::Broken {
            side: "client",
            source: std::io::Error::other(error),
        })?;
    let (sent, received) = report.open(context);
    let result = relay(&mut client, &mut server, sent, received, &local.drain).await;
    if result.is_err() {
        client.reset();
        server.reset();
    }
    result
}

/// The workload that the peer asks for. It must be one of this listener's, at the address that was connected to.
fn resolve(
    context: &Context,
    tunnel: &Tunnel,
    authority: &Authority,
    report: &mut Report,
) -> Result<(Arc<LocalWorkload>, SocketAddr), Refusal> {
    let refuse = |status, text: String| Refusal {
        status,
        failure: Failure::BadRequest(text),
    };
    let destination = match authority {
        Authority::Address(address) => *address,
        Authority::Name(name) => {
            let text = format!("the peer asks for '{name}'; nodes serve addresses only");
            return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, text));
        }
    };
    report.destination = Some(destination);
    if destination.ip() != tunnel.local {
        let text = format!(
            "the peer connected to {} and asks for {destination}",
            tunnel.local
        );
        return Err(refuse(StatusCode::BAD_REQUEST, text));
    }
    if MESH_PORTS.contains(&destination.port()) {
        let text = format!("the peer asks for the mesh's own port {}", destination.port());
        return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, text));
    }
    let local = context
        .store
        .load()
        .workload_at(destination)
        .and_then(|workload| context.locals.by_name(&workload.name))
        .filter(|local| local.namespace.cookie() == tunnel.cookie)
        .filter(|local| {
            tunnel
                .server_name
                .as_deref()
                .is_none_or(|name| is_named(&local.workload.identity, name))
        });
    let Some(local) = local else {
        let text =
            format!("no workload of this node serves {destination} under the certificate that was shown");
        return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, text));
    };
    report.workload = Some(local.workload.name.clone());
    report.endpoint = Some(destination);
    Ok((local, destination))
}

fn is_named(identity: &Identity, server_name: &str) -> bool {
    crate::identity::tls::host_server_name(identity).is_some_and(|name| name.to_str() == server_name)
}

async fn connect(context: &Context, local: &LocalWorkload, destination: SocketAddr) -> Result<Side, Refusal> {
    match socket::connect(&local.namespace, destination, context.outbound.connect_timeout).await {
        Ok(stream) => Ok(Side::Tcp(stream)),
        Err(source) => Err(Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            failure: Failure::Connect {
                address: destination,
                source,
            },
        }),
    }
}
