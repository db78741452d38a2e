//! The workloads of this node that are attached: their namespaces, and the stop that ends their connections.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use mesh_model::{Identity, NetworkMode, ResourceName, Workload};
use mesh_runtime::drain::{self, Drain, Trigger};

use crate::identity::tls::HostIdentities;
use crate::l7::budget::Budget;
use crate::net::namespace::Namespace;

/// A workload of this node whose processes can be reached.
#[derive(Debug)]
pub struct LocalWorkload {
    /// Its number in the kernel's maps. Never used again for another.
    pub slot: u32,
    /// What the snapshot says of it, as of its attachment.
    pub workload: Arc<Workload>,
    /// Where its sockets live.
    pub namespace: Arc<Namespace>,
    /// Its cgroup's directory.
    pub cgroup: PathBuf,
    stop: Arc<Trigger>,
    /// What its requests hold of the node's memory.
    pub kept: Arc<Budget>,
    /// Stops when the workload is released.
    pub drain: Drain,
}

/// All of them. Read without a lock at every connection.
#[derive(Debug, Default)]
pub struct Locals {
    current: ArcSwap<Index>,
    changes: AtomicU64,
}

#[derive(Debug, Default, Clone)]
struct Index {
    by_slot: HashMap<u32, Arc<LocalWorkload>>,
    by_name: HashMap<ResourceName, Arc<LocalWorkload>>,
}

// === impl LocalWorkload ===

impl LocalWorkload {
    /// An attached workload.
    pub fn new(slot: u32, workload: Arc<Workload>, namespace: Arc<Namespace>, cgroup: PathBuf) -> Self {
        let (stop, drain) = drain::channel();
        Self {
            slot,
            workload,
            namespace,
            cgroup,
            stop: Arc::new(stop),
            kept: Arc::default(),
            drain,
        }
    }

    /// The same processes, of which the manifest says something else now: their connections go on.
    #[must_use]
    pub fn with(&self, workload: Arc<Workload>) -> Self {
        Self {
            slot: self.slot,
            workload,
            namespace: Arc::clone(&self.namespace),
            cgroup: self.cgroup.clone(),
            stop: Arc::clone(&self.stop),
            kept: Arc::clone(&self.kept),
            drain: self.drain.clone(),
        }
    }

    /// Ends its connections.
    pub fn close(&self) {
        self.stop.stop();
    }
}

// === impl Locals ===

impl Locals {
    /// By the number that the kernel's maps have.
    pub fn by_slot(&self, slot: u32) -> Option<Arc<LocalWorkload>> {
        self.current.load().by_slot.get(&slot).cloned()
    }

    /// By name.
    pub fn by_name(&self, name: &ResourceName) -> Option<Arc<LocalWorkload>> {
        self.current.load().by_name.get(name).cloned()
    }

    /// All of them, in no order.
    pub fn all(&self) -> Vec<Arc<LocalWorkload>> {
        self.current.load().by_name.values().cloned().collect()
    }

    /// Adds one; replaces another of the same name.
    pub fn insert(&self, local: &Arc<LocalWorkload>) {
        self.change(|index| {
            index.remove(&local.workload.name);
            index.by_slot.insert(local.slot, Arc::clone(local));
            index
                .by_name
                .insert(local.workload.name.clone(), Arc::clone(local));
        });
    }

    /// Removes one.
    pub fn remove(&self, name: &ResourceName) {
        self.change(|index| index.remove(name));
    }

    /// Counts the changes. Read before anything else: what is read then is as of this change, or newer.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    fn change(&self, change: impl Fn(&mut Index)) {
        self.current.rcu(|current| {
            let mut next = Index::clone(current);
            change(&mut next);
            next
        });
        self.changes.fetch_add(1, Ordering::Release);
    }
}

impl HostIdentities for Locals {
    fn contains(&self, identity: &Identity) -> bool {
        self.current
            .load()
            .host_identities()
            .any(|present| present == identity)
    }

    fn only(&self) -> Option<Identity> {
        let current = self.current.load();
        let mut identities = current.host_identities();
        let first = identities.next()?;
        identities.all(|other| other == first).then(|| first.clone())
    }
}

// === impl Index ===

impl Index {
    fn remove(&mut self, name: &ResourceName) {
        if let Some(gone) = self.by_name.remove(name) {
            self.by_slot.remove(&gone.slot);
        }
    }

    fn host_identities(&self) -> impl Iterator<Item = &Identity> {
        let hosts = self
            .by_name
            .values()
            .filter(|local| local.workload.network == NetworkMode::Host);
        hosts.map(|local| &local.workload.identity)
    }
}
