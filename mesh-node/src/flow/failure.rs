//! How a connection failed: one closed list, which metrics label and logs name.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mesh_model::ResourceName;

use super::direct::verdict::Reason;
use crate::hbone::client::TunnelError;
use crate::hbone::server::AcceptError;
use crate::identity::IdentityUnavailable;
use crate::resilience::{Overflow, Unavailable};

/// Why a connection did not come about, or broke.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Not captured by us: somebody connected straight to the mesh's port.
    #[error(
        "no captured connection has this source address; the mesh's ports take captured connections only"
    )]
    NotCaptured,
    /// The Service has no such port.
    #[error("the Service {service} has no port {port}; declare it in the Service's spec.ports")]
    NoSuchPort {
        /// `namespace/name`.
        service: String,
        /// The port asked for.
        port: u16,
    },
    /// The Service has no endpoint that takes connections.
    #[error(
        "the Service {service} has no ready endpoint; check that its workloads run and that its selector matches them"
    )]
    NoEndpoint {
        /// `namespace/name`.
        service: String,
    },
    /// Circuit breaking: the Service takes no more connections.
    #[error("the Service {service} takes no more connections: {overflow}")]
    Overflow {
        /// `namespace/name`.
        service: String,
        /// Which limit was reached.
        overflow: Overflow,
    },
    /// No rule of the Service's TLSRoutes is for the server name.
    #[error(
        "no rule of the TLSRoutes at the Service {service} is for {}", server_name.as_deref().unwrap_or("a connection without a server name")
    )]
    NoRoute {
        /// `namespace/name`.
        service: String,
        /// The name that the client asked for.
        server_name: Option<String>,
    },
    /// A rule leads nowhere.
    #[error("the rule {rule} leads nowhere: {reason}")]
    NoBackend {
        /// The rule.
        rule: String,
        /// Why.
        reason: String,
    },
    /// The Service's routes do not compile.
    #[error("the routes at the Service {service} can't be used: {reason}")]
    Routes {
        /// `namespace/name`.
        service: String,
        /// Why.
        reason: String,
    },
    /// The destination is not known, and configuration says to refuse such.
    #[error("the destination is no Service or workload of the mesh, and [outbound] unknown is \"refuse\"")]
    UnknownDestination,
    /// An endpoint names a workload that the control plane has not described.
    #[error(
        "nothing is known of the workload {0} that the endpoint names; the control plane's log may say why"
    )]
    UnknownWorkload(ResourceName),
    /// The workload's own identity has no certificate yet.
    #[error(transparent)]
    NoCertificate(#[from] IdentityUnavailable),
    /// The destination could not be connected to.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No endpoint took the connection in the time that there is for all of them.
    #[error("no endpoint took the connection within {} s", .0.as_secs())]
    ConnectTimeout(Duration),
    /// The tunnel to the destination's node could not be built, or its proxy refused.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    /// A client did not get a tunnel.
    #[error(transparent)]
    Accept(#[from] AcceptError),
    /// The peer's request is not one that this workload serves.
    #[error("{0}")]
    BadRequest(String),
    /// The connection broke while bytes were relayed.
    #[error("the {side} broke the connection: {source}")]
    Broken {
        /// `client` or `server`.
        side: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// No byte was sent for longer than the idle timeout.
    #[error("no byte in either direction for {} s", .0.as_secs_f32())]
    Idle(Duration),
    /// The workload was released, or the node stopped, while the connection was open.
    #[error("closed by this node: the workload was released, or the node stopped")]
    Released,
    /// It went past the proxy, and may not any more.
    #[error("closed by this node, so that it comes anew through the proxy: {0}")]
    Withdrawn(Reason),
}

/// How opening a connection failed.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub failure: Failure,
    /// The address that was tried last.
    pub endpoint: Option<SocketAddr>,
}

// === impl Failure ===

impl Failure {
    /// The label of metrics and of the access log's `reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Failure::NotCaptured => "not_captured",
            Failure::NoSuchPort { .. } => "no_such_port",
            Failure::NoEndpoint { .. } => "no_endpoint",
            Failure::Overflow { .. } => "overflow",
            Failure::NoRoute { .. } => "no_route",
            Failure::NoBackend { .. } => "no_backend",
            Failure::Routes { .. } => "routes",
            Failure::UnknownDestination => "unknown_destination",
            Failure::UnknownWorkload(_) => "unknown_workload",
            Failure::NoCertificate(_) => "no_certificate",
            Failure::Connect { .. } => "connect",
            Failure::ConnectTimeout(_) => "connect_timeout",
            Failure::Tunnel(error) => error.reason(),
            Failure::Accept(error) => error.reason(),
            Failure::BadRequest(_) => "bad_request",
            Failure::Broken { .. } => "broken",
            Failure::Idle(_) => "idle",
            Failure::Released => "released",
            Failure::Withdrawn(_) => "withdrawn",
        }
    }

    /// No endpoint of the Service was to be had.
    pub fn unavailable(service: &ResourceName, why: Unavailable) -> Self {
        match why {
            Unavailable::Undescribed(name) => Failure::UnknownWorkload(name),
            Unavailable::Overflow(overflow) => Failure::overflow(service, overflow),
            Unavailable::NoEndpoints | Unavailable::Tried => Failure::NoEndpoint {
                service: service.to_string(),
            },
        }
    }

    /// The Service takes no more.
    pub fn overflow(service: &ResourceName, overflow: Overflow) -> Self {
        Failure::Overflow {
            service: service.to_string(),
            overflow,
        }
    }

    /// With the address that did not take the connection.
    pub fn at(self, endpoint: SocketAddr) -> Failed {
        Failed {
            failure: self,
            endpoint: Some(endpoint),
        }
    }

    /// Whether another endpoint may be tried: nothing has reached this one's application.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Failure::Connect { .. } | Failure::Tunnel(_))
    }
}

// === impl Failed ===

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            endpoint: None,
        }
    }
}
