//! Services: stable addresses in front of endpoints.

use std::net::IpAddr;
use std::sync::Arc;

use crate::{PortPolicy, ResourceName};

/// A Service: its virtual addresses and ports. Its endpoints travel apart, for they change far more often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ResourceName,
    /// Its virtual addresses (`clusterIPs`); empty for a headless Service.
    pub addresses: Vec<IpAddr>,
    /// Its TCP ports, each number once.
    pub ports: Vec<ServicePort>,
}

/// One TCP port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// The name; empty when the Service has one port and gives it none.
    pub name: String,
    /// The port at the virtual address.
    pub port: u16,
    /// What is spoken there.
    pub protocol: AppProtocol,
    /// How it is treated as a destination.
    pub policy: Arc<PortPolicy>,
}

/// What is spoken at a port, as far as it was declared (`appProtocol`, or the port name's prefix).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AppProtocol {
    /// Nothing was declared.
    Undeclared,
    /// Bytes, not to be looked into.
    Tcp,
    /// TLS, passed on as it is.
    Tls,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS.
    Http2,
    /// gRPC.
    Grpc,
}

// === impl AppProtocol ===

impl AppProtocol {
    /// Whether requests are looked into where this is declared.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http1 | Self::Http2 | Self::Grpc)
    }

    /// The word for it in metrics and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undeclared => "undeclared",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
        }
    }
}

// === impl Service ===

impl Service {
    /// The port with this number.
    pub fn port(&self, port: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|p| p.port == port)
    }
}
