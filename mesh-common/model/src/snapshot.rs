//! The immutable snapshot: all resources at one moment, with the indexes that a connection needs.
//!
//! A snapshot never changes. [`Snapshot::apply`] builds the next one and shares everything that stayed the same,
//! so that its cost grows with the change and not with the world.
//!
//! Two resources may claim one address for a moment (an address is reused before its last owner's removal
//! arrives): the later claim wins, and the earlier one is back when the later one goes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use imbl::OrdMap;

use crate::{
    Change, Diff, EndpointSet, ResourceName, Service, ServicePort, ServiceRoutes, TrustBundle, Workload,
};

/// All resources at one moment.
///
/// Ordered maps, for the memory: the nodes of a persistent hash map are mostly empty at these sizes, and were half of
/// what a node with 50,000 workloads took.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    workloads: OrdMap<ResourceName, Arc<Workload>>,
    services: OrdMap<ResourceName, Arc<Service>>,
    endpoints: OrdMap<ResourceName, Arc<EndpointSet>>,
    routes: OrdMap<ResourceName, Arc<ServiceRoutes>>,
    trust: Option<Arc<TrustBundle>>,
    workloads_by_address: OrdMap<IpAddr, Arc<[Arc<Workload>]>>,
    services_by_address: OrdMap<IpAddr, Arc<[Arc<Service>]>>,
}

/// What stands at an address and port.
#[derive(Debug, Clone)]
pub enum Destination {
    /// A port of a Service.
    Service {
        /// The Service.
        service: Arc<Service>,
        /// The port.
        port: ServicePort,
        /// What stands behind it; `None` when nothing was ever said of it.
        endpoints: Option<Arc<EndpointSet>>,
    },
    /// A Service's address, but none of its ports.
    ServiceWithoutPort(Arc<Service>),
    /// A workload.
    Workload(Arc<Workload>),
    /// Nothing that the mesh knows.
    Unknown,
}

// === impl Snapshot ===

impl Snapshot {
    /// The snapshot after these changes. Removals of what is not there change nothing.
    #[must_use]
    pub fn apply(&self, diff: Diff) -> Snapshot {
        let mut next = self.clone();
        for change in diff.changes {
            next.apply_one(change);
        }
        next
    }

    fn apply_one(&mut self, change: Change) {
        match change {
            Change::Workload(workload) => {
                self.remove_workload(&workload.name.clone());
                let workload = Arc::new(workload);
                for address in &workload.addresses {
                    claim(&mut self.workloads_by_address, *address, &workload);
                }
                self.workloads.insert(workload.name.clone(), workload);
            }
            Change::WorkloadRemoved(name) => self.remove_workload(&name),
            Change::Service(service) => {
                self.remove_service(&service.name.clone());
                let service = Arc::new(service);
                for address in &service.addresses {
                    claim(&mut self.services_by_address, *address, &service);
                }
                self.services.insert(service.name.clone(), service);
            }
            Change::ServiceRemoved(name) => self.remove_service(&name),
            Change::Endpoints(set) => {
                self.endpoints.insert(set.service.clone(), Arc::new(set));
            }
            Change::EndpointsRemoved(name) => {
                self.endpoints.remove(&name);
            }
            Change::Routes(routes) => {
                self.routes.insert(routes.service.clone(), Arc::new(routes));
            }
            Change::RoutesRemoved(name) => {
                self.routes.remove(&name);
            }
            Change::Trust(bundle) => self.trust = Some(Arc::new(bundle)),
        }
    }

    fn remove_workload(&mut self, name: &ResourceName) {
        if let Some(gone) = self.workloads.remove(name) {
            for address in &gone.addresses {
                disclaim(&mut self.workloads_by_address, address, |w| w.name == *name);
            }
        }
    }

    fn remove_service(&mut self, name: &ResourceName) {
        if let Some(gone) = self.services.remove(name) {
            for address in &gone.addresses {
                disclaim(&mut self.services_by_address, address, |s| s.name == *name);
            }
        }
    }

    /// What stands at an address and port. A Service's address goes before a workload's.
    pub fn resolve(&self, destination: SocketAddr) -> Destination {
        let ip = destination.ip().to_canonical();
        if let Some(service) = self.services_by_address.get(&ip).and_then(|claims| claims.last()) {
            return match service.port(destination.port()) {
                Some(port) => Destination::Service {
                    service: Arc::clone(service),
                    port: port.clone(),
                    endpoints: self.endpoints.get(&service.name).cloned(),
                },
                None => Destination::ServiceWithoutPort(Arc::clone(service)),
            };
        }
        match self.workload_at(SocketAddr::new(ip, destination.port())) {
            Some(workload) => Destination::Workload(Arc::clone(workload)),
            None => Destination::Unknown,
        }
    }

    /// The workload that serves an address and port: the latest claim among those that serve the port.
    pub fn workload_at(&self, address: SocketAddr) -> Option<&Arc<Workload>> {
        let claims = self.workloads_by_address.get(&address.ip().to_canonical())?;
        claims.iter().rev().find(|w| w.serves(address.port()))
    }

    /// A workload by name.
    pub fn workload(&self, name: &ResourceName) -> Option<&Arc<Workload>> {
        self.workloads.get(name)
    }

    /// All workloads, by name.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.values()
    }

    /// A Service by name.
    pub fn service(&self, name: &ResourceName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// All Services, by name.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// A Service's endpoints.
    pub fn endpoints(&self, service: &ResourceName) -> Option<&Arc<EndpointSet>> {
        self.endpoints.get(service)
    }

    /// All endpoint sets, by name.
    pub fn endpoint_sets(&self) -> impl Iterator<Item = &Arc<EndpointSet>> {
        self.endpoints.values()
    }

    /// The routes at a Service; `None` when requests simply go to it.
    pub fn routes(&self, service: &ResourceName) -> Option<&Arc<ServiceRoutes>> {
        self.routes.get(service)
    }

    /// The routes of all Services that have any, by the Service's name.
    pub fn all_routes(&self) -> impl Iterator<Item = &Arc<ServiceRoutes>> {
        self.routes.values()
    }

    /// The roots that peers are verified against; `None` before the control plane first named them.
    pub fn trust(&self) -> Option<&Arc<TrustBundle>> {
        self.trust.as_ref()
    }
}

fn claim<T>(index: &mut OrdMap<IpAddr, Arc<[Arc<T>]>>, address: IpAddr, claimant: &Arc<T>) {
    let address = address.to_canonical();
    let claims = index
        .get(&address)
        .into_iter()
        .flat_map(|claims| claims.iter())
        .chain(std::iter::once(claimant))
        .cloned()
        .collect();
    index.insert(address, claims);
}

fn disclaim<T>(
    index: &mut OrdMap<IpAddr, Arc<[Arc<T>]>>,
    address: &IpAddr,
    is_gone: impl Fn(&Arc<T>) -> bool,
) {
    let address = address.to_canonical();
    let Some(claims) = index.get(&address) else { return };
    let left: Arc<[Arc<T>]> = claims
        .iter()
        .filter(|claimant| !is_gone(claimant))
        .cloned()
        .collect();
    if left.is_empty() {
        index.remove(&address);
    } else {
        index.insert(address, left);
    }
}

#[cfg(test)]
mod tests;
