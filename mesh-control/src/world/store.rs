//! The current world, and the notice that it changed.
//!
//! A [`World`] never changes; [`Store`] replaces it. The snapshot inside shares everything that stayed the same
//! with the one before.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use mesh_model::{Change, Diff, Identity, NodeName, Snapshot, TrustBundle};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Resources;

/// Everything at one moment.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// Counts up with each change.
    pub generation: u64,
    /// The resources that nodes are told.
    pub snapshot: Snapshot,
    /// Whether a source has been read without an error at least once. Before that, the emptiness of the snapshot
    /// means nothing.
    pub is_loaded: bool,
    identities: Arc<HashMap<NodeName, HashSet<Identity>>>,
}

/// Holds the current world.
#[derive(Debug)]
pub struct Store {
    resources: Mutex<Resources>,
    current: watch::Sender<Arc<World>>,
}

// === impl World ===

impl World {
    /// Whether an enrolled workload of this identity runs on the node: only then may the node hold its certificate.
    pub fn runs(&self, node: &NodeName, identity: &Identity) -> bool {
        self.identities
            .get(node)
            .is_some_and(|identities| identities.contains(identity))
    }
}

// === impl Store ===

impl Store {
    /// An empty world that is not loaded.
    pub fn new() -> Self {
        Self {
            resources: Mutex::default(),
            current: watch::Sender::default(),
        }
    }

    /// Makes these the resources of the world, and returns what that changed.
    pub fn replace(&self, next: Resources) -> Diff {
        let mut resources = self.resources.lock();
        let diff = resources.diff(&next);
        let identities = Arc::new(enrolled_identities(&next));
        self.current.send_if_modified(|world| {
            if diff.is_empty() && world.is_loaded {
                return false;
            }
            *world = Arc::new(World {
                generation: world.generation + 1,
                snapshot: world.snapshot.apply(diff.clone()),
                is_loaded: true,
                identities,
            });
            true
        });
        *resources = next;
        diff
    }

    /// Makes this the trust bundle of the world.
    pub fn set_trust(&self, bundle: TrustBundle) {
        self.current.send_if_modified(|world| {
            if world.snapshot.trust().is_some_and(|current| **current == bundle) {
                return false;
            }
            let mut next = World::clone(world);
            next.generation += 1;
            next.snapshot = next.snapshot.apply(vec![Change::Trust(bundle)].into());
            *world = Arc::new(next);
            true
        });
    }

    /// The current world.
    pub fn current(&self) -> Arc<World> {
        Arc::clone(&self.current.borrow())
    }

    /// Follows the world.
    pub fn subscribe(&self) -> watch::Receiver<Arc<World>> {
        self.current.subscribe()
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

fn enrolled_identities(resources: &Resources) -> HashMap<NodeName, HashSet<Identity>> {
    let mut identities: HashMap<NodeName, HashSet<Identity>> = HashMap::new();
    for workload in resources
        .workloads
        .values()
        .filter(|workload| workload.is_enrolled())
    {
        identities
            .entry(workload.node.clone())
            .or_default()
            .insert(workload.identity.clone());
    }
    identities
}

#[cfg(test)]
mod tests {
    use mesh_model::{Tunnel, fixture};

    use super::*;

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn one_workload(tunnel: Tunnel) -> Resources {
        let mut workload = fixture::workload("shop/web", "a", "10.1.0.2");
        workload.tunnel = tunnel;
        let mut resources = Resources::default();
        resources.workloads.insert(workload.name.clone(), workload);
        resources
    }

    #[test]
    fn knows_which_identities_a_node_may_hold() {
        let store = Store::new();
        store.replace(one_workload(Tunnel::Hbone));
        let web = fixture::identity("shop", "web");
        assert!(store.current().runs(&node("a"), &web));
        assert!(!store.current().runs(&node("b"), &web));
        assert!(
            !store
                .current()
                .runs(&node("a"), &fixture::identity("shop", "other"))
        );
        store.replace(one_workload(Tunnel::None));
        assert!(!store.current().runs(&node("a"), &web), "not enrolled any more");
    }

    #[test]
    fn notifies_only_of_changes() {
        let store = Store::new();
        let mut watch = store.subscribe();
        store.replace(Resources::default());
        assert!(
            watch.has_changed().unwrap(),
            "the first load counts, even an empty one"
        );
        watch.mark_unchanged();
        store.replace(Resources::default());
        assert!(!watch.has_changed().unwrap());
        store.replace(one_workload(Tunnel::Hbone));
        assert!(watch.has_changed().unwrap());
        assert_eq!(store.current().generation, 2);
    }

    #[test]
    fn keeps_the_trust_bundle_across_loads() {
        let store = Store::new();
        let bundle = TrustBundle {
            trust_domain: mesh_model::TrustDomain::new("test.local").unwrap(),
            roots: vec![vec![1]],
            signer: [7; 32],
        };
        store.set_trust(bundle.clone());
        assert!(
            !store.current().is_loaded,
            "a trust bundle alone is no configuration"
        );
        store.replace(one_workload(Tunnel::Hbone));
        assert_eq!(store.current().snapshot.trust().map(|b| b.signer), Some([7; 32]));
        let generation = store.current().generation;
        store.set_trust(bundle);
        assert_eq!(store.current().generation, generation);
    }
}
