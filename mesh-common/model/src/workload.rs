//! Workloads: the processes that the mesh serves, or knows of.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::{Identity, NodeName, ResourceName};

/// One running instance: a pod, a container, a unit or a process group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its name.
    pub name: ResourceName,
    /// The node that it runs on.
    pub node: NodeName,
    /// Who it is to its peers.
    pub identity: Identity,
    /// Its addresses, of either family; for a host-network workload its node's. Never empty.
    pub addresses: Vec<IpAddr>,
    /// Where its sockets live.
    pub network: NetworkMode,
    /// How a peer's proxy reaches it.
    pub tunnel: Tunnel,
    /// The ports that it serves. Tells host-network workloads of one address apart.
    pub ports: Vec<WorkloadPort>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Where it runs.
    pub locality: Locality,
    /// How its node finds its processes. Only its own node is told.
    pub attachment: Option<Attachment>,
}

/// Where something runs (Kubernetes' `topology.kubernetes.io/region` and `/zone`); empty where it is not known. One word,
/// for there are many and most know nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Locality(Option<Arc<Place>>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct Place {
    region: String,
    zone: String,
}

/// Where a workload's sockets live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NetworkMode {
    /// In a network namespace of its own.
    Own,
    /// In its node's network namespace, told apart by cgroup (outbound) and port (inbound).
    Host,
}

/// How a peer's proxy reaches a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tunnel {
    /// The workload is not in the mesh: plain TCP.
    None,
    /// HBONE: HTTP/2 CONNECT over mutual TLS to port 15008 of the workload's address.
    Hbone,
}

/// A port that a workload serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadPort {
    /// The name that a Service's `targetPort` may use; may be empty.
    pub name: String,
    /// The TCP port.
    pub port: u16,
}

/// How a node finds a workload's processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The cgroup v2 directory, as a path below the hierarchy's mount point, without a leading slash.
    pub cgroup: String,
    /// A file that names the network namespace (such as `/run/netns/x`). Without it, and with
    /// [`NetworkMode::Own`], the namespace is found through the cgroup's processes.
    pub network_namespace: Option<String>,
}

// === impl Locality ===

impl Locality {
    /// A zone in a region; either may be empty.
    pub fn new(region: impl Into<String>, zone: impl Into<String>) -> Self {
        let (region, zone) = (region.into(), zone.into());
        if region.is_empty() && zone.is_empty() {
            return Self::default();
        }
        Self(Some(Arc::new(Place { region, zone })))
    }

    /// The region.
    pub fn region(&self) -> &str {
        self.0.as_ref().map_or("", |place| &place.region)
    }

    /// The zone in it.
    pub fn zone(&self) -> &str {
        self.0.as_ref().map_or("", |place| &place.zone)
    }
}

// === impl Workload ===

impl Workload {
    /// Whether the workload is in the mesh.
    pub fn is_enrolled(&self) -> bool {
        self.tunnel == Tunnel::Hbone
    }

    /// Whether a connection to `port` at one of its addresses is for this workload rather than
    /// for another one on the same address.
    pub fn serves(&self, port: u16) -> bool {
        self.network == NetworkMode::Own || self.ports.iter().any(|p| p.port == port)
    }
}
