//! What changed: the unit in which snapshots are built and sent.

use crate::{EndpointSet, ResourceName, Service, ServiceRoutes, TrustBundle, Workload};

/// One resource that came, changed or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A workload is there with this content.
    Workload(Workload),
    /// The workload is gone.
    WorkloadRemoved(ResourceName),
    /// A Service is there with this content.
    Service(Service),
    /// The Service is gone.
    ServiceRemoved(ResourceName),
    /// A Service's endpoints are these.
    Endpoints(EndpointSet),
    /// The Service has no endpoints any more.
    EndpointsRemoved(ResourceName),
    /// The routes at a Service are these.
    Routes(ServiceRoutes),
    /// The Service has no routes any more.
    RoutesRemoved(ResourceName),
    /// The trust domain's roots are these. There is always one bundle; it is replaced, never removed.
    Trust(TrustBundle),
}

/// Changes that take effect together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// In the order of application: the last word on a resource stands.
    pub changes: Vec<Change>,
}

// === impl Diff ===

impl Diff {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl From<Vec<Change>> for Diff {
    fn from(changes: Vec<Change>) -> Self {
        Self { changes }
    }
}
