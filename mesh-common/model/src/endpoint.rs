//! Endpoints: what stands behind a Service.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::ResourceName;

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
    /// How many connections this process has open to it. Compares equal to any other.
    pub active: ActiveConnections,
}

/// Which port of an endpoint serves a port of the Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortMapping {
    /// The Service's port.
    pub service_port: u16,
    /// The endpoint's.
    pub target_port: u16,
}

/// A shared count of open connections. It survives the snapshots that its endpoint is in.
#[derive(Debug, Clone, Default)]
pub struct ActiveConnections(Arc<AtomicU32>);

// === impl EndpointSet ===

impl EndpointSet {
    /// Carries the counts of open connections over from the set that this one replaces.
    pub fn adopt_counts(&mut self, previous: &EndpointSet) {
        for endpoint in &mut self.endpoints {
            if let Some(known) = previous.endpoints.iter().find(|p| p.address == endpoint.address) {
                endpoint.active = known.active.clone();
            }
        }
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// Where the endpoint serves the Service's port, if it does.
    pub fn target(&self, service_port: u16) -> Option<SocketAddr> {
        let mapping = self.ports.iter().find(|p| p.service_port == service_port)?;
        Some(SocketAddr::new(self.address, mapping.target_port))
    }
}

// === impl ActiveConnections ===

impl ActiveConnections {
    /// How many are open now. A momentary value: for comparing loads only.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one more.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one less.
    pub fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PartialEq for ActiveConnections {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for ActiveConnections {}
