//! What the mesh knows: services, workloads, endpoints, routes, identities, and the immutable [`Snapshot`] of them.
//!
//! Both the control plane (which builds it) and the data plane (which reads it) use these types. Nothing here does
//! I/O, knows a wire format, or depends on an async runtime.

mod diff;
mod endpoint;
mod identity;
mod name;
mod policy;
mod route;
mod service;
mod snapshot;
mod trust;
mod workload;

#[cfg(any(test, feature = "fixture"))]
pub mod fixture;

pub use diff::{Change, Diff};
pub use endpoint::{Endpoint, EndpointSet, PortMapping};
pub use identity::{Identity, IdentityError, TrustDomain};
pub use name::{NameError, NodeName, ResourceName};
pub use policy::{
    BackendPolicy, Balancing, CookieAffinity, Fault, FaultKind, HashKey, Limits, LocalityPreference,
    OutlierDetection, PortPolicy, RateLimit, RateLimitKey, RequestPolicy, Retry, RetryBudget, RetryOn,
    SuccessRate, Timeouts,
};
pub use route::{
    BackendTarget, Cors, Filter, HeaderEdits, HttpMatch, HttpRule, Mirror, PathEdit, PathMatch, Redirect,
    Rewrite, RouteGroup, RouteRules, RuleName, ServiceRoutes, TcpRule, TextMatch, TlsRule, ValueMatch,
    WeightedBackend,
};
pub use service::{AppProtocol, Service, ServicePort};
pub use snapshot::{Destination, Snapshot};
pub use trust::TrustBundle;
pub use workload::{Attachment, Locality, NetworkMode, Tunnel, Workload, WorkloadPort};
