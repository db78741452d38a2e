//! Connections that local workloads open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_model::{Destination, EndpointSet, ResourceName, Service, Snapshot};
use tokio::net::TcpStream;

use super::connect::{self, Connected, Hop};
use super::context::Context;
use super::failure::Failure;
use super::relay::relay;
use super::report::Report;
use crate::config::UnknownDestination;
use crate::local::LocalWorkload;
use crate::net::namespace::Namespace;
use crate::net::side::Side;
use crate::net::socket;
use crate::resilience::balance;

/// Longest time until a connection has come about, whatever is tried for it: certificates waited for, tunnels opened,
/// further endpoints. Three attempts of ten seconds, the defaults.
const CONNECT_PHASE: Duration = Duration::from_secs(30);

/// What a destination stands for.
#[derive(Debug)]
enum Target {
    /// Endpoints of a Service, to be chosen from.
    Endpoints {
        service: Arc<Service>,
        asked: SocketAddr,
        endpoints: Arc<EndpointSet>,
        snapshot: Arc<Snapshot>,
    },
    /// One address.
    Address(Hop),
}

/// Carries one accepted connection to its end.
pub async fn serve(context: Arc<Context>, namespace: Arc<Namespace>, stream: TcpStream, source: SocketAddr) {
    let source = socket::canonical(source);
    let mut report = Report::new("outbound", source);
    let mut client = Side::Tcp(stream);
    let result = match captured(&context, &namespace, source) {
        Ok((local, destination)) => {
            report.workload = Some(local.workload.name.clone());
            report.destination = Some(destination);
            carry(&context, &local, &mut client, destination, &mut report).await
        }
        Err(failure) => Err(failure),
    };
    if result.is_err() {
        client.reset();
    }
    report.finish(&context, result);
}

/// Whose connection it is and where it wants to go, as the kernel noted at connect().
fn captured(
    context: &Context,
    namespace: &Namespace,
    source: SocketAddr,
) -> Result<(Arc<LocalWorkload>, SocketAddr), Failure> {
    let flow = context
        .capture
        .take_flow(namespace.cookie(), source)
        .ok_or(Failure::NotCaptured)?;
    let local = context.locals.by_slot(flow.slot).ok_or(Failure::NotCaptured)?;
    // The slot comes from the kernel; that it belongs to the listener's namespace is checked all the same.
    if local.namespace.cookie() != namespace.cookie() {
        return Err(Failure::NotCaptured);
    }
    Ok((local, socket::canonical(flow.destination)))
}

async fn carry(
    context: &Context,
    local: &LocalWorkload,
    client: &mut Side,
    destination: SocketAddr,
    report: &mut Report,
) -> Result<(), Failure> {
    if let Side::Tcp(stream) = client {
        socket::tune(stream).map_err(|source| Failure::Broken {
            side: "client",
            source,
        })?;
    }
    let target = resolve(context, destination, &mut report.service)?;
    let mut server = tokio::select! {
        connected = connect_to(context, local, report, &target) => connected?,
        () = local.drain.stopping() => return Err(Failure::Released),
        () = tokio::time::sleep(CONNECT_PHASE) => return Err(Failure::ConnectTimeout(CONNECT_PHASE)),
    };
    let (sent, received) = report.open(context);
    let released = server.released();
    let result = tokio::select! {
        result = relay(client, &mut server.side, sent, received, &local.drain) => result,
        () = released => Err(Failure::Released),
    };
    if result.is_err() {
        server.side.reset();
    }
    result
}

fn resolve(
    context: &Context,
    destination: SocketAddr,
    service_name: &mut Option<ResourceName>,
) -> Result<Target, Failure> {
    let snapshot = context.store.load();
    match snapshot.resolve(destination) {
        Destination::Service {
            service, endpoints, ..
        } => {
            *service_name = Some(service.name.clone());
            let none = || Failure::NoEndpoint {
                service: service.name.to_string(),
            };
            let endpoints = endpoints.ok_or_else(none)?;
            Ok(Target::Endpoints {
                service,
                asked: destination,
                endpoints,
                snapshot: Arc::clone(&snapshot),
            })
        }
        Destination::ServiceWithoutPort(service) => Err(Failure::NoSuchPort {
            service: service.name.to_string(),
            port: destination.port(),
        }),
        Destination::Workload(workload) => Ok(Target::Address(Hop {
            address: destination,
            workload: Some(workload),
        })),
        Destination::Unknown => match context.outbound.unknown {
            UnknownDestination::Passthrough => Ok(Target::Address(Hop {
                address: destination,
                workload: None,
            })),
            UnknownDestination::Refuse => Err(Failure::UnknownDestination),
        },
    }
}

/// Connects to the target; of a Service's endpoints, tries another when one does not take the connection.
async fn connect_to(
    context: &Context,
    local: &LocalWorkload,
    report: &mut Report,
    target: &Target,
) -> Result<Connected, Failure> {
    let (service, asked, endpoints, snapshot) = match target {
        Target::Address(hop) => return connect_hop(context, local, report, hop).await,
        Target::Endpoints {
            service,
            asked,
            endpoints,
            snapshot,
        } => (service, *asked, endpoints, snapshot),
    };
    let mut tried = Vec::new();
    let mut last = Failure::NoEndpoint {
        service: service.name.to_string(),
    };
    while tried.len() < context.outbound.connect_attempts.max(1) {
        let Some((index, endpoint)) = balance::choose(endpoints, asked, &tried) else {
            break;
        };
        tried.push(index);
        // An endpoint without a mapping for the port is never chosen.
        let Some(address) = endpoint.target(asked.port()) else {
            continue;
        };
        let workload = match &endpoint.workload {
            Some(name) => {
                let Some(workload) = snapshot.workload(name) else {
                    // Whether it is in the mesh is not known; it might be, and then clear text would be wrong.
                    last = Failure::UnknownWorkload(name.clone());
                    continue;
                };
                Some(Arc::clone(workload))
            }
            None => snapshot.workload_at(address).cloned(),
        };
        let hop = Hop { address, workload };
        match connect_hop(context, local, report, &hop).await {
            Err(failure) if failure.is_retryable() => last = failure,
            result => return result,
        }
    }
    Err(last)
}

async fn connect_hop(
    context: &Context,
    local: &LocalWorkload,
    report: &mut Report,
    hop: &Hop,
) -> Result<Connected, Failure> {
    report.endpoint = Some(hop.address);
    let connected = connect::connect(context, local, report.source, hop).await?;
    report.peer.clone_from(&connected.peer);
    report.transport = connected.transport;
    Ok(connected)
}
