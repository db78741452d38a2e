//! What sources emit: the resources of a cluster, typed and located, not yet joined.
//!
//! Names, addresses and port numbers are already checked one by one; whether they fit together is for the join.

mod policy;
mod route;

use std::collections::BTreeMap;
use std::net::IpAddr;

use mesh_model::{Locality, NetworkMode, NodeName, ResourceName, WorkloadPort};

use super::problem::Origin;

pub use policy::{BackendSettings, RequestSettings, TargetRef, TrafficPolicy};
pub use route::{Age, BackendRef, Filter, ParentRef, Refusal, Route, RouteKind, Rule, WeightedRef};

/// Everything that a source holds at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Namespaces.
    pub namespaces: Vec<Sourced<Namespace>>,
    /// Services.
    pub services: Vec<Sourced<Service>>,
    /// Endpoint slices.
    pub slices: Vec<Sourced<Slice>>,
    /// Workloads.
    pub workloads: Vec<Sourced<Workload>>,
    /// Routes of all kinds.
    pub routes: Vec<Sourced<Route>>,
    /// Traffic policies.
    pub policies: Vec<Sourced<TrafficPolicy>>,
}

/// A resource and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sourced<T> {
    /// Where it came from.
    pub origin: Origin,
    /// The resource.
    pub value: T,
}

/// A Namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ResourceName,
    /// Its virtual addresses; empty for a headless one.
    pub addresses: Vec<IpAddr>,
    /// Its TCP ports.
    pub ports: Vec<ServicePort>,
    /// Labels that its workloads carry; empty: no selection.
    pub selector: BTreeMap<String, String>,
    /// Whether endpoints count as ready when they are not.
    pub is_publishing_not_ready: bool,
}

/// A TCP port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Where it is in the manifest, such as `spec.ports[0]`.
    pub field: String,
    /// Its name; may be empty.
    pub name: String,
    /// The port at the virtual address.
    pub port: u16,
    /// The port of the workload.
    pub target: TargetPort,
    /// `appProtocol`, as it was written.
    pub app_protocol: Option<String>,
}

/// Which port of a workload serves a Service's port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetPort {
    /// The one with the Service's number.
    Same,
    /// The one with this number.
    Number(u16),
    /// The one that the workload gives this name.
    Name(String),
}

/// An EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Its name.
    pub name: ResourceName,
    /// The Service that it belongs to.
    pub service: Option<ResourceName>,
    /// The TCP ports of all its endpoints.
    pub ports: Vec<SlicePort>,
    /// Its endpoints.
    pub endpoints: Vec<SliceEndpoint>,
}

/// A TCP port of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    /// The name of the Service's port that it serves.
    pub name: String,
    /// The number; without one, the Service's.
    pub port: Option<u16>,
}

/// An endpoint of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Where it is in the manifest, such as `endpoints[0]`.
    pub field: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it takes new connections.
    pub is_ready: bool,
    /// The zone that it is in.
    pub zone: Option<String>,
}

/// A Workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its name.
    pub name: ResourceName,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its node.
    pub node: NodeName,
    /// The account whose identity it has.
    pub service_account: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Where its sockets live.
    pub network: NetworkMode,
    /// Its cgroup, below the mount point on its node.
    pub cgroup: Option<String>,
    /// A file that names its network namespace.
    pub network_namespace: Option<String>,
    /// Its TCP ports.
    pub ports: Vec<WorkloadPort>,
    /// Whether it takes new connections.
    pub is_ready: bool,
    /// Its share among the endpoints of a Service.
    pub weight: u32,
    /// Where it runs.
    pub locality: Locality,
}
