//! The registry of backends: one value for each port of a Service that is in use, kept current.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Weak};

use mesh_model::{Change, Diff, ResourceName, Snapshot};
use parking_lot::Mutex;

use super::backend::Backend;
use super::members::{self, Dependency};

/// All backends that are in use. Asked when something is compiled, never for a request.
#[derive(Debug, Default)]
pub struct Backends {
    registry: Mutex<Registry>,
}

/// The Service and its port.
type Key = (ResourceName, u16);

#[derive(Debug, Default)]
struct Registry {
    snapshot: Arc<Snapshot>,
    backends: BTreeMap<Key, Registered>,
    /// Which backends something changes, so that a changed workload costs a look and not a search.
    dependents: HashMap<Dependency, BTreeSet<Key>>,
    /// Registrations at which those that nobody uses are thrown away.
    sweep_at: usize,
}

#[derive(Debug)]
struct Registered {
    backend: Weak<Backend>,
    dependencies: HashSet<Dependency>,
}

/// What a diff changes of backends.
#[derive(Debug, Default)]
pub struct Touched {
    services: Vec<ResourceName>,
    workloads: Vec<ResourceName>,
}

/// Registrations below which nothing is thrown away.
const FEW: usize = 64;

// === impl Backends ===

impl Backends {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The backend for a port of a Service. The same value as long as somebody holds it; who compiles something anew
    /// binds before letting go of what it had, so that counts and ejections stay.
    pub fn bind(&self, service: &ResourceName, port: u16) -> Arc<Backend> {
        let key = (service.clone(), port);
        loop {
            let (found, snapshot) = {
                let registry = self.registry.lock();
                (registry.find(&key), Arc::clone(&registry.snapshot))
            };
            if let Some(backend) = found {
                return backend;
            }
            // Outside the lock: the table of a large Service takes milliseconds.
            let backend = Backend::new(service.clone(), port, &snapshot);
            let mut registry = self.registry.lock();
            if let Some(backend) = registry.find(&key) {
                return backend;
            }
            // Else the world has changed in between.
            if Arc::ptr_eq(&registry.snapshot, &snapshot) {
                registry.register(&key, &backend);
                return backend;
            }
        }
    }

    /// Takes over a new snapshot: makes anew what `touched` says has changed, each backend once. One caller at a time.
    pub fn refresh(&self, snapshot: &Arc<Snapshot>, touched: &Touched) {
        let changed = {
            let mut registry = self.registry.lock();
            let former = std::mem::replace(&mut registry.snapshot, Arc::clone(snapshot));
            registry.changed(&former, touched)
        };
        for backend in changed {
            backend.rebuild(snapshot);
            let (service, port) = backend.name();
            self.registry.lock().register(&(service.clone(), port), &backend);
        }
    }

    /// All that are in use, by name.
    pub fn all(&self) -> Vec<Arc<Backend>> {
        let registry = self.registry.lock();
        registry
            .backends
            .values()
            .filter_map(|r| r.backend.upgrade())
            .collect()
    }
}

// === impl Registry ===

impl Registry {
    fn find(&self, key: &Key) -> Option<Arc<Backend>> {
        self.backends.get(key)?.backend.upgrade()
    }

    fn register(&mut self, key: &Key, backend: &Arc<Backend>) {
        let dependencies = members::dependencies(&self.snapshot, backend.name().0);
        for dependency in &dependencies {
            self.dependents
                .entry(dependency.clone())
                .or_default()
                .insert(key.clone());
        }
        let registered = Registered {
            backend: Arc::downgrade(backend),
            dependencies,
        };
        if let Some(former) = self.backends.insert(key.clone(), registered) {
            let kept = &self.backends[key].dependencies;
            let left: Vec<_> = former
                .dependencies
                .into_iter()
                .filter(|d| !kept.contains(d))
                .collect();
            self.forget(key, &left);
        }
        if self.backends.len() > self.sweep_at {
            self.sweep();
        }
    }

    /// The backends that a change of these touches.
    fn changed(&self, former: &Snapshot, touched: &Touched) -> Vec<Arc<Backend>> {
        let mut keys = BTreeSet::new();
        for service in &touched.services {
            let ports = (service.clone(), 0)..=(service.clone(), u16::MAX);
            keys.extend(self.backends.range(ports).map(|(key, _)| key));
        }
        for name in &touched.workloads {
            if self.dependents.is_empty() {
                break;
            }
            keys.extend(self.dependents_of(&Dependency::Workload(name.clone())));
            let (before, now) = (former.workload(name), self.snapshot.workload(name));
            for address in before
                .into_iter()
                .chain(now)
                .flat_map(|workload| &workload.addresses)
            {
                keys.extend(self.dependents_of(&Dependency::Address(address.to_canonical())));
            }
        }
        keys.into_iter().filter_map(|key| self.find(key)).collect()
    }

    fn dependents_of(&self, dependency: &Dependency) -> impl Iterator<Item = &Key> {
        self.dependents.get(dependency).into_iter().flatten()
    }

    /// Throws away the entries of backends that are gone.
    fn sweep(&mut self) {
        let gone: Vec<Key> = self
            .backends
            .iter()
            .filter(|(_, registered)| registered.backend.strong_count() == 0)
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            if let Some(registered) = self.backends.remove(&key) {
                let dependencies: Vec<_> = registered.dependencies.into_iter().collect();
                self.forget(&key, &dependencies);
            }
        }
        self.sweep_at = FEW.max(2 * self.backends.len());
    }

    fn forget(&mut self, key: &Key, dependencies: &[Dependency]) {
        for dependency in dependencies {
            if let Some(keys) = self.dependents.get_mut(dependency) {
                keys.remove(key);
                if keys.is_empty() {
                    self.dependents.remove(dependency);
                }
            }
        }
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

#[cfg(test)]
mod tests;
