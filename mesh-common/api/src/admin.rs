//! The JSON that a node's admin listener, and mesh-control's, answer with. `meshctl` reads the same types.
//!
//! Fields are only ever added, so that a `meshctl` of one version reads a node of the next.

mod direct;
mod node_route;
mod route;
mod stats;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

pub use direct::{DirectPair, DirectStatus};
pub use node_route::{NodeRoutes, NodeRule};
pub use route::{
    ConditionStatus, ParentStatus, PolicyStatus, PolicyTargetStatus, RouteReading, RouteReport, RouteStatus,
    RuleBackendStatus, RuleStatus,
};
pub use stats::{Stats, StatsGroup, StatsRow};

/// `GET /status`: the node at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The node's name.
    pub node: String,
    /// The version of mesh-node.
    pub version: String,
    /// Seconds since the process started.
    pub uptime_seconds: u64,
    /// Whether the node takes traffic, and what it waits for when it does not.
    pub is_ready: bool,
    /// What readiness waits for.
    pub pending: Vec<String>,
    /// The connection to the control plane.
    pub control: ControlStatus,
    /// Workloads of this node that are captured.
    pub enrolled_workloads: usize,
    /// All workloads in the snapshot.
    pub workloads: usize,
    /// Services in the snapshot.
    pub services: usize,
    /// Connections open now.
    pub open_connections: usize,
    /// Counters of the kernel programs.
    pub capture: BTreeMap<String, u64>,
}

/// The connection to the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlStatus {
    /// Its address.
    pub address: String,
    /// Whether a stream is open.
    pub is_connected: bool,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// Whether the configuration in force came from disk and has not been confirmed since.
    pub is_stale: bool,
}

/// One entry of `GET /workloads`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadStatus {
    /// `namespace/name`.
    pub name: String,
    /// Its node.
    pub node: String,
    /// Its SPIFFE ID.
    pub identity: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it shares its node's network.
    pub is_host_network: bool,
    /// Whether it is in the mesh.
    pub is_enrolled: bool,
    /// What this node does for it; absent for workloads of other nodes.
    pub local: Option<LocalWorkload>,
}

/// What a node does for a workload of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalWorkload {
    /// The cgroup, as a path below the mount point of the cgroup v2 hierarchy.
    pub cgroup: String,
    /// The network namespace's file, when the manifest names one.
    pub network_namespace: Option<String>,
    /// Whether its connections are captured.
    pub is_captured: bool,
    /// Why they are not.
    pub waiting_for: Option<String>,
    /// Connections open now, in either direction.
    pub open_connections: usize,
}

/// One entry of `GET /services`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// `namespace/name`.
    pub name: String,
    /// Virtual addresses.
    pub addresses: Vec<IpAddr>,
    /// Ports, as `name:port/protocol`.
    pub ports: Vec<String>,
    /// What stands behind it.
    pub endpoints: Vec<EndpointStatus>,
}

/// An endpoint of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// Its address.
    pub address: IpAddr,
    /// Its ports, as `service port -> target port`.
    pub ports: Vec<(u16, u16)>,
    /// The workload there.
    pub workload: Option<String>,
    /// Whether it takes new connections.
    pub is_ready: bool,
    /// Connections that this node has to it, in use or not.
    pub active_connections: u32,
    /// Requests, and TCP connections, that this node has under way to it.
    #[serde(default)]
    pub active_requests: u32,
    /// At which of the Service's ports it is left out for now, because of how it answered.
    #[serde(default)]
    pub ejected: Vec<EjectionStatus>,
}

/// An endpoint that is left out for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EjectionStatus {
    /// The Service's port.
    pub port: u16,
    /// For how long still; 0 when it may be tried again.
    pub seconds_left: u64,
}

/// One entry of `GET /connections`: a connection that is open now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// Counts up over the process' life.
    pub id: u64,
    /// `inbound` or `outbound`, relative to the workload.
    pub direction: String,
    /// The local workload.
    pub workload: String,
    /// The client's address.
    pub source: SocketAddr,
    /// What the client asked for.
    pub destination: SocketAddr,
    /// The Service asked for.
    pub service: Option<String>,
    /// Where it went.
    pub endpoint: Option<SocketAddr>,
    /// The peer's SPIFFE ID: the other side's, verified by mutual TLS or, on this node, by the kernel.
    pub peer: Option<String>,
    /// `hbone`, `local`, `direct` or `plaintext`.
    pub transport: String,
    /// Bytes from the client to the server.
    pub sent_bytes: u64,
    /// Bytes from the server to the client.
    pub received_bytes: u64,
    /// Seconds since it was opened.
    pub age_seconds: u64,
}

/// One entry of `GET /certificates`. Never holds a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The SPIFFE ID.
    pub identity: String,
    /// The serial number, in hexadecimal.
    pub serial: String,
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970.
    pub not_after: i64,
    /// When it will be renewed, in seconds since 1970.
    pub renewal: i64,
    /// Why the last attempt to get or renew it failed.
    pub last_error: Option<String>,
}
