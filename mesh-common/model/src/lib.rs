//! What the mesh knows: services, workloads, endpoints, identities, and the immutable [`Snapshot`] of them.
//!
//! Both the control plane (which builds it) and the data plane (which reads it) use these types. Nothing here does
//! I/O, knows a wire format, or depends on an async runtime.

mod diff;
mod endpoint;
mod identity;
mod name;
mod service;
mod snapshot;
mod trust;
mod workload;

#[cfg(any(test, feature = "fixture"))]
pub mod fixture;

pub use diff::{Change, Diff};
pub use endpoint::{ActiveConnections, Endpoint, EndpointSet, PortMapping};
pub use identity::{Identity, IdentityError, TrustDomain};
pub use name::{NameError, NodeName, ResourceName};
pub use service::{AppProtocol, Service, ServicePort};
pub use snapshot::{Destination, Snapshot};
pub use trust::TrustBundle;
pub use workload::{Attachment, NetworkMode, Tunnel, Workload, WorkloadPort};
