//! What stands behind a Service's port at one moment: immutable, made anew when it changes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use mesh_model::{AppProtocol, Endpoint, PortPolicy, ResourceName, Snapshot};

use super::endpoint::{EndpointState, WorkloadRef};

/// What stands behind a Service's port.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// The port as the Service declares it; `None` when there is no such Service or port.
    pub(super) port: Option<Port>,
    /// Those that may be chosen.
    pub(super) ready: Vec<Arc<EndpointState>>,
    /// An endpoint's workload that is not described, if there is one.
    pub(super) undescribed: Option<ResourceName>,
    /// All, ready or not.
    pub(super) all: HashMap<SocketAddr, Arc<EndpointState>>,
}

/// What a Service says of its port.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) protocol: AppProtocol,
    pub(super) policy: Arc<PortPolicy>,
}

// === impl Members ===

impl Members {
    /// As the snapshot has it. Endpoints that were there before stay the same values.
    pub(super) fn build(snapshot: &Snapshot, service: &ResourceName, port: u16, former: &Members) -> Self {
        let declared = snapshot.service(service).and_then(|s| s.port(port));
        let mut members = Self {
            port: declared.map(|port| Port {
                protocol: port.protocol,
                policy: Arc::clone(&port.policy),
            }),
            ..Self::default()
        };
        let set = snapshot.endpoints(service).filter(|_| declared.is_some());
        for endpoint in set.iter().flat_map(|set| &set.endpoints) {
            let Some(address) = endpoint.target(port) else {
                continue;
            };
            let workload = workload_of(snapshot, endpoint, address);
            let state = match former.all.get(&address) {
                Some(state) if state.workload.is_reached_like(&workload) => Arc::clone(state),
                _ => Arc::new(EndpointState::new(address, workload)),
            };
            match &state.workload {
                WorkloadRef::Undescribed(name) => members.undescribed = Some(name.clone()),
                _ if endpoint.is_ready => members.ready.push(Arc::clone(&state)),
                _ => {}
            }
            members.all.insert(address, state);
        }
        members
    }
}

fn workload_of(snapshot: &Snapshot, endpoint: &Endpoint, address: SocketAddr) -> WorkloadRef {
    match &endpoint.workload {
        Some(name) => match snapshot.workload(name) {
            Some(workload) => WorkloadRef::Known(Arc::clone(workload)),
            None => WorkloadRef::Undescribed(name.clone()),
        },
        None => match snapshot.workload_at(address) {
            Some(workload) => WorkloadRef::Known(Arc::clone(workload)),
            None => WorkloadRef::None,
        },
    }
}
