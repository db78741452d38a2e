//! The world as it goes over the wire: every resource encoded once, whatever the number of nodes.
//!
//! A catalog never changes; the next one shares what stayed the same. It remembers which names its last steps changed,
//! so that a session that is a few steps behind need not compare everything.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use imbl::{OrdMap, Vector};
use mesh_api::{EncodedResource, ResourceType};
use mesh_model::{
    BackendTarget, EndpointSet, NodeName, Service, ServiceRoutes, Snapshot, TrustBundle, Workload,
};
use mesh_runtime::drain::Drain;
use tokio::sync::watch;

use crate::world::World;

/// How many steps are remembered. A session further behind compares every resource, which costs milliseconds.
const MAX_STEPS: usize = 64;

/// Every resource, encoded.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    generation: u64,
    resources: [OrdMap<Arc<str>, Entry>; ResourceType::ALL.len()],
    steps: Vector<Arc<Step>>,
}

/// A resource, as its node and as every other node is told.
#[derive(Debug, Clone)]
struct Entry {
    source: Source,
    shared: Arc<EncodedResource>,
    /// What the workload's own node is told in addition.
    own: Option<(NodeName, Arc<EncodedResource>)>,
    /// The Services that routes send something to.
    backends: Arc<[Arc<str>]>,
}

/// What an entry was made of: when it is still the same value, so is the entry.
#[derive(Debug, Clone)]
enum Source {
    Workload(Arc<Workload>),
    Service(Arc<Service>),
    Endpoints(Arc<EndpointSet>),
    Routes(Arc<ServiceRoutes>),
    Trust(Arc<TrustBundle>),
}

/// What one step changed.
#[derive(Debug)]
struct Step {
    generation: u64,
    changed: Vec<(ResourceType, Arc<str>)>,
}

/// Keeps a catalog of the world until the drain. `None` until the world is loaded: its emptiness before means
/// nothing, and a node that was told of it would drop what it has.
pub async fn follow(
    mut worlds: watch::Receiver<Arc<World>>,
    catalogs: watch::Sender<Option<Arc<Catalog>>>,
    drain: Drain,
) {
    loop {
        let world = Arc::clone(&worlds.borrow_and_update());
        if world.is_loaded && world.snapshot.trust().is_some() {
            catalogs.send_if_modified(|current| {
                let next = match current {
                    Some(catalog) => catalog.next(&world.snapshot),
                    None => Some(Catalog::of(&world.snapshot)),
                };
                let is_changed = next.is_some();
                if let Some(next) = next {
                    *current = Some(Arc::new(next));
                }
                is_changed
            });
        }
        tokio::select! {
            () = drain.stopping() => return,
            changed = worlds.changed() => if changed.is_err() { return },
        }
    }
}

// === impl Catalog ===

impl Catalog {
    /// The catalog of a snapshot.
    pub fn of(snapshot: &Snapshot) -> Self {
        let empty = Self::default();
        empty.next(snapshot).unwrap_or(empty)
    }

    /// The next catalog, or `None` when nothing that nodes see has changed. Encodes only what changed.
    pub fn next(&self, snapshot: &Snapshot) -> Option<Self> {
        let mut next = self.clone();
        let mut changed = Vec::new();
        let mut update = |resource_type: ResourceType, sources: &mut dyn Iterator<Item = Source>| {
            update(
                next.of_type_mut(resource_type),
                resource_type,
                sources,
                &mut changed,
            );
        };
        let mut trust = snapshot
            .trust()
            .into_iter()
            .map(|source| Source::Trust(Arc::clone(source)));
        update(ResourceType::TrustBundle, &mut trust);
        let mut workloads = snapshot
            .workloads()
            .map(|source| Source::Workload(Arc::clone(source)));
        update(ResourceType::Workload, &mut workloads);
        let mut services = snapshot
            .services()
            .map(|source| Source::Service(Arc::clone(source)));
        update(ResourceType::Service, &mut services);
        let mut sets = snapshot
            .endpoint_sets()
            .map(|source| Source::Endpoints(Arc::clone(source)));
        update(ResourceType::Endpoints, &mut sets);
        let mut routes = snapshot
            .all_routes()
            .map(|source| Source::Routes(Arc::clone(source)));
        update(ResourceType::Routes, &mut routes);
        if changed.is_empty() {
            return None;
        }
        next.generation += 1;
        next.steps.push_back(Arc::new(Step {
            generation: next.generation,
            changed,
        }));
        while next.steps.len() > MAX_STEPS {
            next.steps.pop_front();
        }
        Some(next)
    }

    /// Counts up with each change.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// A resource, as a node is told of it.
    pub fn get(
        &self,
        resource_type: ResourceType,
        name: &str,
        node: &NodeName,
    ) -> Option<&Arc<EncodedResource>> {
        self.of_type(resource_type)
            .get(name)
            .map(|entry| entry.seen_by(node))
    }

    /// The Services that the routes of a Service send something to.
    pub fn backends_of_routes(&self, service: &str) -> &[Arc<str>] {
        let entry = self.of_type(ResourceType::Routes).get(service);
        entry.map_or(&[], |entry| &entry.backends)
    }

    /// The names of all resources of a type, sorted.
    pub fn names(&self, resource_type: ResourceType) -> impl Iterator<Item = &Arc<str>> {
        self.of_type(resource_type).keys()
    }

    /// What changed after a generation, or `None` when that is too long ago to know.
    pub fn changed_since(
        &self,
        generation: u64,
        resource_type: ResourceType,
    ) -> Option<impl Iterator<Item = &Arc<str>>> {
        let oldest = self
            .steps
            .front()
            .map_or(self.generation, |step| step.generation.saturating_sub(1));
        (generation >= oldest).then(|| {
            let later = self.steps.iter().filter(move |step| step.generation > generation);
            later
                .flat_map(|step| step.changed.iter())
                .filter(move |(changed, _)| *changed == resource_type)
                .map(|(_, name)| name)
        })
    }

    fn of_type(&self, resource_type: ResourceType) -> &OrdMap<Arc<str>, Entry> {
        let [trust, workloads, services, endpoints, routes] = &self.resources;
        match resource_type {
            ResourceType::TrustBundle => trust,
            ResourceType::Workload => workloads,
            ResourceType::Service => services,
            ResourceType::Endpoints => endpoints,
            ResourceType::Routes => routes,
        }
    }

    fn of_type_mut(&mut self, resource_type: ResourceType) -> &mut OrdMap<Arc<str>, Entry> {
        let [trust, workloads, services, endpoints, routes] = &mut self.resources;
        match resource_type {
            ResourceType::TrustBundle => trust,
            ResourceType::Workload => workloads,
            ResourceType::Service => services,
            ResourceType::Endpoints => endpoints,
            ResourceType::Routes => routes,
        }
    }
}

fn update(
    entries: &mut OrdMap<Arc<str>, Entry>,
    resource_type: ResourceType,
    sources: &mut dyn Iterator<Item = Source>,
    changed: &mut Vec<(ResourceType, Arc<str>)>,
) {
    let mut present: HashSet<Arc<str>> = HashSet::new();
    for source in sources {
        let name: Arc<str> = source.name().into();
        let known = entries.get(&name);
        let is_same = known.is_some_and(|known| known.source.is(&source));
        if !is_same {
            let entry = Entry::new(source);
            if known.is_none_or(|known| !known.looks_like(&entry)) {
                changed.push((resource_type, Arc::clone(&name)));
            }
            entries.insert(Arc::clone(&name), entry);
        }
        present.insert(name);
    }
    let gone: Vec<Arc<str>> = entries
        .keys()
        .filter(|name| !present.contains(*name))
        .cloned()
        .collect();
    for name in gone {
        entries.remove(&name);
        changed.push((resource_type, name));
    }
}

// === impl Entry ===

impl Entry {
    fn new(source: Source) -> Self {
        let (shared, own) = match &source {
            Source::Workload(workload) => {
                let mut public = Workload::clone(workload);
                public.attachment = None;
                // Nobody but its own node, which tells peers of them, has a use for the labels; in a large mesh they
                // would be a third of every node's memory.
                public.labels.clear();
                let own = (
                    workload.node.clone(),
                    Arc::new(EncodedResource::workload(workload)),
                );
                (EncodedResource::workload(&public), Some(own))
            }
            Source::Service(service) => (EncodedResource::service(service), None),
            Source::Endpoints(set) => (EncodedResource::endpoints(set), None),
            Source::Routes(routes) => (EncodedResource::routes(routes), None),
            Source::Trust(bundle) => (EncodedResource::trust(bundle), None),
        };
        Self {
            backends: source.backends(),
            source,
            shared: Arc::new(shared),
            own,
        }
    }

    fn seen_by(&self, node: &NodeName) -> &Arc<EncodedResource> {
        match &self.own {
            Some((owner, own)) if owner == node => own,
            _ => &self.shared,
        }
    }

    fn looks_like(&self, other: &Entry) -> bool {
        let own = |entry: &Entry| {
            entry
                .own
                .as_ref()
                .map(|(node, own)| (node.clone(), own.version.clone()))
        };
        self.shared.version == other.shared.version && own(self) == own(other)
    }
}

// === impl Source ===

impl Source {
    fn name(&self) -> String {
        match self {
            Self::Workload(workload) => workload.name.to_string(),
            Self::Service(service) => service.name.to_string(),
            Self::Endpoints(set) => set.service.to_string(),
            Self::Routes(routes) => routes.service.to_string(),
            Self::Trust(bundle) => bundle.trust_domain.to_string(),
        }
    }

    fn backends(&self) -> Arc<[Arc<str>]> {
        let Self::Routes(routes) = self else {
            return Arc::default();
        };
        let services: BTreeSet<_> = routes
            .targets()
            .filter_map(|target| match target {
                BackendTarget::Service { service, .. } => Some(service),
                BackendTarget::Invalid { .. } => None,
            })
            .collect();
        services
            .into_iter()
            .map(|service| service.to_string().into())
            .collect()
    }

    fn is(&self, other: &Source) -> bool {
        match (self, other) {
            (Self::Workload(one), Self::Workload(other)) => Arc::ptr_eq(one, other),
            (Self::Service(one), Self::Service(other)) => Arc::ptr_eq(one, other),
            (Self::Endpoints(one), Self::Endpoints(other)) => Arc::ptr_eq(one, other),
            (Self::Routes(one), Self::Routes(other)) => Arc::ptr_eq(one, other),
            (Self::Trust(one), Self::Trust(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_model::{Attachment, Change, fixture};

    use super::*;

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn attached(name: &str, node: &str, address: &str) -> Workload {
        let mut workload = fixture::workload(name, node, address);
        workload.attachment = Some(Attachment {
            cgroup: "shop/web".to_owned(),
            network_namespace: None,
        });
        workload
    }

    fn changed(catalog: &Catalog, generation: u64) -> Option<Vec<String>> {
        let names = catalog.changed_since(generation, ResourceType::Workload)?;
        Some(names.map(ToString::to_string).collect())
    }

    #[test]
    fn only_its_own_node_is_told_how_to_find_a_workload() {
        let workload = attached("shop/web", "a", "10.1.0.2");
        let snapshot = Snapshot::default().apply(vec![Change::Workload(workload.clone())].into());
        let catalog = Catalog::of(&snapshot);
        let seen = |name| {
            catalog
                .get(ResourceType::Workload, "shop/web", &node(name))
                .unwrap()
        };
        assert_eq!(**seen("a"), EncodedResource::workload(&workload));
        assert_eq!(
            **seen("b"),
            EncodedResource::workload(&fixture::workload("shop/web", "a", "10.1.0.2"))
        );
    }

    #[test]
    fn remembers_what_its_last_steps_changed() {
        let add = |name: &str| Change::Workload(fixture::workload(name, "a", "10.1.0.2"));
        let one = Snapshot::default().apply(vec![add("shop/one"), add("shop/two")].into());
        let two = one.apply(
            vec![
                Change::WorkloadRemoved("shop/one".parse().unwrap()),
                add("shop/three"),
            ]
            .into(),
        );
        let catalog = Catalog::of(&one).next(&two).unwrap();
        assert_eq!(catalog.generation(), 2);
        assert_eq!(changed(&catalog, 2), Some(vec![]));
        assert_eq!(
            changed(&catalog, 1),
            Some(vec!["shop/three".to_owned(), "shop/one".to_owned()])
        );
        let names: Vec<&str> = catalog.names(ResourceType::Workload).map(AsRef::as_ref).collect();
        assert_eq!(names, ["shop/three", "shop/two"]);
    }

    #[test]
    fn equal_content_is_no_change() {
        let change = || vec![Change::Workload(attached("shop/web", "a", "10.1.0.2"))].into();
        let one = Snapshot::default().apply(change());
        let catalog = Catalog::of(&one);
        assert!(catalog.next(&one.apply(change())).is_none());
        let moved = one.apply(vec![Change::Workload(attached("shop/web", "b", "10.1.0.2"))].into());
        assert!(
            catalog.next(&moved).is_some(),
            "another node is told of the attachment now"
        );
    }

    #[test]
    fn forgets_steps_long_past() {
        let mut snapshot = Snapshot::default();
        let mut catalog = Catalog::default();
        for step in 0..MAX_STEPS + 5 {
            let workload = fixture::workload("shop/web", "a", &format!("10.1.0.{step}"));
            snapshot = snapshot.apply(vec![Change::Workload(workload)].into());
            catalog = catalog.next(&snapshot).unwrap();
        }
        assert_eq!(changed(&catalog, 4), None);
        assert_eq!(changed(&catalog, 5).map(|names| names.len()), Some(MAX_STEPS));
    }
}
