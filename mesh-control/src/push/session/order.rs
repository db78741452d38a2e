//! What waits for what, so that a node never has a reference to something that it does not have.
//!
//! What is referred to is added before what refers to it, and removed after it: a workload and the endpoints that name
//! it, endpoints and their Service, a Service and the routes that send requests there.
//!
//! A Service's own routes are the exception, for their reference goes the other way: they say what becomes of requests
//! to the Service, and without them the requests would go straight to its endpoints. A Service that the node is about
//! to hear of together with its routes comes after them, and goes before them. Only a Service that other routes on
//! their way need as a backend does not wait: a request past its routes is better than one that is refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_api::ResourceType;
use mesh_model::NodeName;

use super::subscription::{Change, Types, View};
use crate::push::catalog::Catalog;

/// The order in which types are sent: what others refer to comes first.
pub(super) const ORDER: [ResourceType; ResourceType::ALL.len()] = [
    ResourceType::TrustBundle,
    ResourceType::Workload,
    ResourceType::Endpoints,
    ResourceType::Service,
    ResourceType::Routes,
];

/// What of a type must not be sent yet.
#[derive(Debug)]
pub(super) struct Gate {
    /// Nothing of it may be sent.
    pub(super) is_shut: bool,
    upserts: BTreeSet<Arc<str>>,
    removals: Removals,
}

/// Which removals wait.
#[derive(Debug)]
enum Removals {
    All,
    These(BTreeSet<Arc<str>>),
}

/// A stream's subscriptions and what they are compared with.
#[derive(Clone, Copy)]
struct Stream<'a> {
    types: &'a Types,
    catalog: &'a Catalog,
    node: &'a NodeName,
}

// === impl Gate ===

impl Gate {
    /// The gate of a type at this moment.
    pub(super) fn of(resource_type: ResourceType, types: &Types, catalog: &Catalog, node: &NodeName) -> Self {
        use ResourceType::{Endpoints, Routes, Service, TrustBundle, Workload};
        let stream = Stream { types, catalog, node };
        let (is_shut, upserts, removals) = match resource_type {
            TrustBundle => (false, BTreeSet::new(), Removals::These(BTreeSet::new())),
            Workload => (
                false,
                BTreeSet::new(),
                Removals::all_if(stream.unsent(Endpoints).next().is_some()),
            ),
            Endpoints => (
                stream.upserts(Workload).next().is_some(),
                BTreeSet::new(),
                Removals::all_if(stream.unsent(Service).next().is_some()),
            ),
            Service => (
                stream.upserts(Endpoints).next().is_some(),
                stream.services_that_wait(),
                Removals::all_if(stream.unsent(Routes).any(|(name, change)| {
                    change == Change::Upsert || !stream.is_removal_unsent(Service, name)
                })),
            ),
            Routes => {
                let waiting = stream.services_that_wait();
                let removals = stream
                    .unsent(Routes)
                    .filter(|(name, change)| {
                        *change == Change::Removal && stream.is_removal_unsent(Service, name)
                    })
                    .map(|(name, _)| Arc::clone(name));
                (
                    stream.upserts(Service).any(|name| !waiting.contains(name)),
                    BTreeSet::new(),
                    Removals::These(removals.collect()),
                )
            }
        };
        Self {
            is_shut,
            upserts,
            removals,
        }
    }

    /// Whether a change of a resource must wait.
    pub(super) fn holds(&self, name: &str, change: Change) -> bool {
        match (change, &self.removals) {
            (Change::Upsert, _) => self.upserts.contains(name),
            (Change::Removal, Removals::All) => true,
            (Change::Removal, Removals::These(names)) => names.contains(name),
        }
    }
}

// === impl Removals ===

impl Removals {
    fn all_if(all: bool) -> Self {
        if all {
            Self::All
        } else {
            Self::These(BTreeSet::new())
        }
    }
}

// === impl Stream ===

impl<'a> Stream<'a> {
    fn view(self, resource_type: ResourceType) -> View<'a> {
        View {
            resource_type,
            catalog: self.catalog,
            node: self.node,
        }
    }

    fn unsent(self, resource_type: ResourceType) -> impl Iterator<Item = (&'a Arc<str>, Change)> {
        self.types.of(resource_type).unsent(self.view(resource_type))
    }

    fn upserts(self, resource_type: ResourceType) -> impl Iterator<Item = &'a Arc<str>> {
        self.unsent(resource_type)
            .filter(|(_, change)| *change == Change::Upsert)
            .map(|(name, _)| name)
    }

    fn is_removal_unsent(self, resource_type: ResourceType, name: &str) -> bool {
        self.change_of(resource_type, name) == Some(Change::Removal)
    }

    fn change_of(self, resource_type: ResourceType, name: &str) -> Option<Change> {
        self.types
            .of(resource_type)
            .change_of(name, self.view(resource_type))
    }

    /// Services that are sent after their own routes.
    fn services_that_wait(self) -> BTreeSet<Arc<str>> {
        let mut waiting: BTreeSet<Arc<str>> = self
            .upserts(ResourceType::Service)
            .filter(|name| self.change_of(ResourceType::Routes, name) == Some(Change::Upsert))
            .cloned()
            .collect();
        if waiting.is_empty() {
            return waiting;
        }
        let services = self.types.of(ResourceType::Service);
        for parent in self.upserts(ResourceType::Routes) {
            for backend in self.catalog.backends_of_routes(parent) {
                // Nothing follows a Service's routes as long as the node does not know the Service.
                if backend != parent || services.has(parent) {
                    waiting.remove(backend);
                }
            }
        }
        waiting
    }
}
