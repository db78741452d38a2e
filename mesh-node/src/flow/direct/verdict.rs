//! Whether a workload's connections to a destination may go past the proxy, and to which endpoints: from the snapshot alone.
//!
//! They may when the proxy would do nothing for them but choose an endpoint of this node. Reasons are of two kinds. What
//! somebody has asked of the proxy (a protocol that is looked into, routes, policy) ends open connections, too, for they
//! would go without it. Where endpoints are at the moment says only where the next connection goes: the proxy leaves
//! open connections at their endpoints then, and so do we.

use std::net::SocketAddr;
use std::sync::Arc;

use mesh_model::{
    AppProtocol, BackendPolicy, Balancing, Destination, Endpoint, LocalityPreference, NodeName, PortPolicy,
    ResourceName, Service, ServicePort, Snapshot, Workload,
};

use crate::capture::MAX_DIRECT_ENDPOINTS;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// By what is known now.
    pub snapshot: &'a Snapshot,
    /// This node.
    pub node: &'a NodeName,
    /// The client's namespace.
    pub client_namespace: &'a str,
    /// What the client asks for.
    pub asked: SocketAddr,
    /// The mesh's own ports, at which no workload may be reached.
    pub mesh_ports: [u16; 3],
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The Service asked for; none for a workload's own address.
    pub service: Option<ResourceName>,
    /// Where connections may go, by address; or why they go to the proxy.
    pub targets: Result<Vec<Target>, Reason>,
}

/// An endpoint on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// Who is there.
    pub workload: Arc<Workload>,
    /// Its share among its peers; not 0.
    pub weight: u32,
}

/// Why connections go to the proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// What is spoken there has to be found out.
    #[error(
        "the port declares no protocol, so the proxy looks for HTTP; appProtocol: tcp declares that there is none"
    )]
    Undeclared,
    /// Requests are looked into.
    #[error("the port speaks {}, and the proxy carries its requests", .0.as_str())]
    Requests(AppProtocol),
    /// There are routes.
    #[error("routes apply at the port")]
    Routes,
    /// A policy wants the proxy.
    #[error("the TrafficPolicy at the port sets {0}")]
    Policy(&'static str),
    /// It is one of the mesh's own ports.
    #[error("{0} is one of the mesh's own ports")]
    MeshPort(SocketAddr),
    /// The mesh knows nothing there.
    #[error("no Service and no workload of the mesh has this address")]
    Unknown,
    /// A Service without this port.
    #[error("the Service has no such port")]
    NoSuchPort,
    /// Nobody is there.
    #[error("the Service has no ready endpoint of this address family")]
    NoEndpoint,
    /// Somebody is elsewhere.
    #[error("the endpoint {0} is on another node")]
    Elsewhere(SocketAddr),
    /// Somebody is not in the mesh.
    #[error("the endpoint {0} is no workload of the mesh")]
    Outside(SocketAddr),
    /// Too many for one grant.
    #[error("it has {0} endpoints, more than {MAX_DIRECT_ENDPOINTS}")]
    TooMany(usize),
    /// A workload without processes so far.
    #[error("the workload {0} has no processes on this node yet")]
    NotHere(ResourceName),
    /// The client's network does not lead there.
    #[error("{0}")]
    Unreachable(String),
    /// A connection has failed a moment ago.
    #[error("the last connection to {0} failed; the proxy tries other endpoints for some seconds")]
    Failed(SocketAddr),
    /// The kernel's table is full, or could not be written.
    #[error("it could not be granted: {0}")]
    NotGranted(String),
}

// === impl Reason ===

impl Reason {
    /// Whether open connections end for it, too.
    pub fn ends_connections(&self) -> bool {
        matches!(
            self,
            Self::Undeclared | Self::Requests(_) | Self::Routes | Self::Policy(_) | Self::MeshPort(_)
        )
    }
}

/// Answers.
pub fn judge(question: &Question<'_>) -> Verdict {
    let of = |service, targets| Verdict { service, targets };
    match question.snapshot.resolve(question.asked) {
        Destination::Service { service, port, .. } => {
            let targets = at_service(question, &service, &port);
            of(Some(service.name.clone()), targets)
        }
        Destination::ServiceWithoutPort(service) => of(Some(service.name.clone()), Err(Reason::NoSuchPort)),
        Destination::Workload(workload) => of(
            None,
            target(question, question.asked, Some(workload), 1).map(|target| vec![target]),
        ),
        Destination::Unknown => of(None, Err(Reason::Unknown)),
    }
}

fn at_service(question: &Question<'_>, service: &Service, port: &ServicePort) -> Result<Vec<Target>, Reason> {
    match port.protocol {
        AppProtocol::Tcp | AppProtocol::Tls => {}
        AppProtocol::Undeclared => return Err(Reason::Undeclared),
        protocol => return Err(Reason::Requests(protocol)),
    }
    let routes = question.snapshot.routes(&service.name);
    if routes.is_some_and(|routes| routes.group(port.port, question.client_namespace).is_some()) {
        return Err(Reason::Routes);
    }
    if let Some(feature) = needs_proxy(&port.policy) {
        return Err(Reason::Policy(feature));
    }
    let set = question.snapshot.endpoints(&service.name);
    let is_asked = |address: &SocketAddr| {
        address.ip().to_canonical().is_ipv4() == question.asked.ip().to_canonical().is_ipv4()
    };
    // Those that the proxy would choose from.
    let choice = |endpoint: &Endpoint| {
        let address = endpoint.target(port.port).filter(is_asked)?;
        (endpoint.is_ready && endpoint.weight > 0).then_some(address)
    };
    let all = set.iter().flat_map(|set| &set.endpoints);
    let chosen: Vec<(SocketAddr, &Endpoint)> = all
        .filter_map(|endpoint| Some((choice(endpoint)?, endpoint)))
        .collect();
    if chosen.is_empty() {
        return Err(Reason::NoEndpoint);
    }
    let mut targets = Vec::with_capacity(chosen.len());
    for (address, endpoint) in &chosen {
        let workload = match &endpoint.workload {
            Some(name) => question.snapshot.workload(name),
            None => question.snapshot.workload_at(*address),
        };
        targets.push(target(question, *address, workload.cloned(), endpoint.weight)?);
    }
    if targets.len() > MAX_DIRECT_ENDPOINTS {
        return Err(Reason::TooMany(targets.len()));
    }
    targets.sort_unstable_by_key(|target| target.address);
    Ok(targets)
}

fn target(
    question: &Question<'_>,
    address: SocketAddr,
    workload: Option<Arc<Workload>>,
    weight: u32,
) -> Result<Target, Reason> {
    if question.mesh_ports.contains(&address.port()) {
        return Err(Reason::MeshPort(address));
    }
    let enrolled = workload.filter(|workload| workload.is_enrolled());
    let workload = enrolled.ok_or(Reason::Outside(address))?;
    if workload.node != *question.node {
        return Err(Reason::Elsewhere(address));
    }
    Ok(Target {
        address,
        workload,
        weight,
    })
}

/// What of a policy the kernel can't do for a connection, in the manifest's words. What concerns requests only does not
/// matter, for there are none. Choosing at random stands in for turns and for the least connections, which are the
/// default: over many connections the shares are the same.
fn needs_proxy(policy: &PortPolicy) -> Option<&'static str> {
    if policy.request.timeouts.idle.is_some() {
        return Some("timeouts.idle");
    }
    // Without `..`: who adds a field decides here.
    let BackendPolicy {
        balancing,
        locality,
        slow_start,
        connect_timeout,
        limits,
        outliers,
        retry_budget: _,
    } = &policy.backend;
    match balancing {
        Balancing::LeastRequest | Balancing::RoundRobin | Balancing::Random => {}
        Balancing::PeakEwma => return Some("the balancing PeakEwma"),
        Balancing::RingHash { .. } | Balancing::Maglev { .. } => return Some("consistent hashing"),
    }
    if *locality != LocalityPreference::None {
        return Some("locality");
    }
    if slow_start.is_some() {
        return Some("slow start");
    }
    if connect_timeout.is_some() {
        return Some("timeouts.connect");
    }
    if limits.max_connections.is_some() || limits.endpoint_max_connections.is_some() {
        return Some("limits of connections");
    }
    outliers.is_some().then_some("outlier detection")
}

#[cfg(test)]
mod tests;
