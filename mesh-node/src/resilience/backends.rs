//! The registry of backends: one value for each port of a Service that is in use, kept current.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use mesh_model::{Change, Diff, ResourceName, Snapshot};
use parking_lot::Mutex;

use super::backend::Backend;

/// All backends that are in use. Asked when something is compiled, never for a request.
#[derive(Debug, Default)]
pub struct Backends {
    registry: Mutex<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    snapshot: Arc<Snapshot>,
    backends: HashMap<(ResourceName, u16), Weak<Backend>>,
}

/// What a diff changes of backends.
#[derive(Debug, Default)]
pub struct Touched {
    services: Vec<ResourceName>,
    workloads: Vec<ResourceName>,
}

// === impl Backends ===

impl Backends {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The backend for a port of a Service. The same value as long as somebody holds it; who compiles something anew
    /// binds before letting go of what it had, so that counts and ejections stay.
    pub fn bind(&self, service: &ResourceName, port: u16) -> Arc<Backend> {
        let mut registry = self.registry.lock();
        let key = (service.clone(), port);
        if let Some(backend) = registry.backends.get(&key).and_then(Weak::upgrade) {
            return backend;
        }
        let backend = Arc::new(Backend::new(service.clone(), port, &registry.snapshot));
        registry.backends.insert(key, Arc::downgrade(&backend));
        backend
    }

    /// Takes over a new snapshot.
    pub fn refresh(&self, snapshot: &Arc<Snapshot>, _touched: &Touched) {
        let mut registry = self.registry.lock();
        registry.snapshot = Arc::clone(snapshot);
        registry.backends.retain(|_, backend| match backend.upgrade() {
            Some(backend) => {
                backend.rebuild(snapshot);
                true
            }
            None => false,
        });
    }
}

// === impl Touched ===

impl Touched {
    /// What the diff will change.
    pub fn by(diff: &Diff) -> Self {
        let mut touched = Self::default();
        for change in &diff.changes {
            match change {
                Change::Service(service) => touched.services.push(service.name.clone()),
                Change::ServiceRemoved(name) | Change::EndpointsRemoved(name) => {
                    touched.services.push(name.clone());
                }
                Change::Endpoints(set) => touched.services.push(set.service.clone()),
                Change::Workload(workload) => touched.workloads.push(workload.name.clone()),
                Change::WorkloadRemoved(name) => touched.workloads.push(name.clone()),
                Change::Routes(_) | Change::RoutesRemoved(_) | Change::Trust(_) => {}
            }
        }
        touched
    }
}
