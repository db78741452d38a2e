//! Joined resources by name, and the difference between two sets of them.

use std::collections::BTreeMap;

use mesh_model::{Change, Diff, EndpointSet, ResourceName, Service, ServiceRoutes, Workload};

/// Every resource that nodes are told, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Workloads.
    pub workloads: BTreeMap<ResourceName, Workload>,
    /// Services.
    pub services: BTreeMap<ResourceName, Service>,
    /// Endpoints, a set for each Service.
    pub endpoints: BTreeMap<ResourceName, EndpointSet>,
    /// The routes whose parent a Service is, of those that have any.
    pub routes: BTreeMap<ResourceName, ServiceRoutes>,
}

// === impl Resources ===

impl Resources {
    /// What changes from `self` to `next`. Additions come in the order in which they refer to each other, removals
    /// in the opposite order after them, so that no prefix of the diff refers to what is not there.
    pub fn diff(&self, next: &Resources) -> Diff {
        let mut changes = Vec::new();
        upserts(&self.workloads, &next.workloads, Change::Workload, &mut changes);
        upserts(&self.endpoints, &next.endpoints, Change::Endpoints, &mut changes);
        upserts(&self.services, &next.services, Change::Service, &mut changes);
        upserts(&self.routes, &next.routes, Change::Routes, &mut changes);
        removals(&self.routes, &next.routes, Change::RoutesRemoved, &mut changes);
        removals(
            &self.services,
            &next.services,
            Change::ServiceRemoved,
            &mut changes,
        );
        removals(
            &self.endpoints,
            &next.endpoints,
            Change::EndpointsRemoved,
            &mut changes,
        );
        removals(
            &self.workloads,
            &next.workloads,
            Change::WorkloadRemoved,
            &mut changes,
        );
        Diff { changes }
    }
}

fn upserts<T: Clone + PartialEq>(
    old: &BTreeMap<ResourceName, T>,
    new: &BTreeMap<ResourceName, T>,
    change: fn(T) -> Change,
    changes: &mut Vec<Change>,
) {
    let changed = new.iter().filter(|(name, value)| old.get(name) != Some(value));
    changes.extend(changed.map(|(_, value)| change(value.clone())));
}

fn removals<T>(
    old: &BTreeMap<ResourceName, T>,
    new: &BTreeMap<ResourceName, T>,
    change: fn(ResourceName) -> Change,
    changes: &mut Vec<Change>,
) {
    let gone = old.keys().filter(|name| !new.contains_key(name));
    changes.extend(gone.cloned().map(change));
}

#[cfg(test)]
mod tests {
    use mesh_model::fixture;

    use super::*;

    fn resources(workloads: &[(&str, &str)], services: &[(&str, &str)]) -> Resources {
        let mut resources = Resources::default();
        for (name, address) in workloads {
            let workload = fixture::workload(name, "a", address);
            resources.workloads.insert(workload.name.clone(), workload);
        }
        for (name, address) in services {
            let service = fixture::service(name, address, &[80]);
            resources
                .endpoints
                .insert(service.name.clone(), fixture::endpoints(name, 80, &[]));
            let routes = ServiceRoutes {
                service: service.name.clone(),
                groups: Vec::new(),
            };
            resources.routes.insert(service.name.clone(), routes);
            resources.services.insert(service.name.clone(), service);
        }
        resources
    }

    #[test]
    fn says_nothing_of_what_stays() {
        let one = resources(&[("shop/web-1", "10.1.0.2")], &[("shop/web", "10.96.0.1")]);
        assert!(one.diff(&one).is_empty());
        let two = resources(&[("shop/web-1", "10.1.0.3")], &[("shop/web", "10.96.0.1")]);
        assert_eq!(
            one.diff(&two).changes,
            [Change::Workload(fixture::workload("shop/web-1", "a", "10.1.0.3"))]
        );
    }

    #[test]
    fn removes_last_and_in_the_opposite_order() {
        let old = resources(&[("shop/old", "10.1.0.2")], &[("shop/gone", "10.96.0.1")]);
        let new = resources(&[("shop/new", "10.1.0.2")], &[("shop/here", "10.96.0.1")]);
        let kinds: Vec<&str> = old
            .diff(&new)
            .changes
            .iter()
            .map(|change| match change {
                Change::Workload(_) => "+workload",
                Change::Endpoints(_) => "+endpoints",
                Change::Service(_) => "+service",
                Change::Routes(_) => "+routes",
                Change::RoutesRemoved(_) => "-routes",
                Change::ServiceRemoved(_) => "-service",
                Change::EndpointsRemoved(_) => "-endpoints",
                Change::WorkloadRemoved(_) => "-workload",
                Change::Trust(_) => "trust",
            })
            .collect();
        assert_eq!(
            kinds,
            [
                "+workload",
                "+endpoints",
                "+service",
                "+routes",
                "-routes",
                "-service",
                "-endpoints",
                "-workload"
            ]
        );
    }
}
