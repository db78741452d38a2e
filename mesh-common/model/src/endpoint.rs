//! Endpoints: what stands behind a Service.

use std::net::{IpAddr, SocketAddr};

use crate::{Locality, ResourceName};

/// Everything that stands behind one Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSet {
    /// The Service.
    pub service: ResourceName,
    /// Its endpoints, ready or not, each address once.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub address: IpAddr,
    /// Which of its ports serves which of the Service's.
    pub ports: Vec<PortMapping>,
    /// The workload there, when the mesh knows one. Says its node, identity and tunnel.
    pub workload: Option<ResourceName>,
    /// Whether it takes new connections.
    pub is_ready: bool,
    /// Its share among its peers; 0 takes none but to be the last resort. 1 unless it was said otherwise.
    pub weight: u32,
    /// Where it runs.
    pub locality: Locality,
}

/// Which port of an endpoint serves a port of the Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortMapping {
    /// The Service's port.
    pub service_port: u16,
    /// The endpoint's.
    pub target_port: u16,
}

// === impl Endpoint ===

impl Endpoint {
    /// Where the endpoint serves the Service's port, if it does.
    pub fn target(&self, service_port: u16) -> Option<SocketAddr> {
        let mapping = self.ports.iter().find(|p| p.service_port == service_port)?;
        Some(SocketAddr::new(self.address, mapping.target_port))
    }
}
