//! How a connection failed: one closed list, which metrics label and logs name.

use std::io;
use std::time::Duration;

use mesh_model::ResourceName;

use crate::hbone::client::TunnelError;
use crate::hbone::server::AcceptError;
use crate::identity::IdentityUnavailable;

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
        address: std::net::SocketAddr,
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
    /// The workload was released, or the node stopped, while the connection was open.
    #[error("closed by this node: the workload was released, or the node stopped")]
    Released,
}

// === impl Failure ===

impl Failure {
    /// The label of metrics and of the access log's `reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Failure::NotCaptured => "not_captured",
            Failure::NoSuchPort { .. } => "no_such_port",
            Failure::NoEndpoint { .. } => "no_endpoint",
            Failure::UnknownDestination => "unknown_destination",
            Failure::UnknownWorkload(_) => "unknown_workload",
            Failure::NoCertificate(_) => "no_certificate",
            Failure::Connect { .. } => "connect",
            Failure::ConnectTimeout(_) => "connect_timeout",
            Failure::Tunnel(error) => error.reason(),
            Failure::Accept(error) => error.reason(),
            Failure::BadRequest(_) => "bad_request",
            Failure::Broken { .. } => "broken",
            Failure::Released => "released",
        }
    }

    /// Whether another endpoint may be tried: nothing has reached this one's application.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Failure::Connect { .. } | Failure::Tunnel(_))
    }
}
