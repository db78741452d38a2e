//! The current snapshot: read without a lock by every connection, replaced by the control plane's session.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use mesh_model::{Diff, Snapshot};
use tokio::sync::watch;

/// Holds the current snapshot. One writer at a time: the session with the control plane.
#[derive(Debug)]
pub struct Store {
    current: ArcSwap<Snapshot>,
    /// Counts the snapshots; readers that cache something wait for the next.
    generation: watch::Sender<u64>,
}

// === impl Store ===

impl Store {
    /// Starts with an empty snapshot.
    pub fn new() -> Self {
        Self {
            current: ArcSwap::from_pointee(Snapshot::default()),
            generation: watch::Sender::new(0),
        }
    }

    /// The current snapshot. Hold it for as long as one decision takes.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Builds the next snapshot and puts it in force.
    pub fn apply(&self, diff: Diff) {
        if diff.is_empty() {
            return;
        }
        let next = self.current.load().apply(diff);
        self.current.store(Arc::new(next));
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Tells of every next snapshot; several changes may be told at once.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}
