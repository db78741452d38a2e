//! The current snapshot: read without a lock by every connection, replaced by the control plane's session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use mesh_model::{Diff, Snapshot};
use tokio::sync::watch;

use crate::resilience::{Backends, Touched};

/// Holds the current snapshot. One writer at a time: the session with the control plane.
#[derive(Debug)]
pub struct Store {
    current: ArcSwap<Snapshot>,
    /// Counts the snapshots, for readers that compare.
    count: AtomicU64,
    /// The same, for readers that wait for the next.
    generation: watch::Sender<u64>,
    /// What stands behind the Services that are in use; follows the snapshot.
    backends: Arc<Backends>,
}

// === impl Store ===

impl Store {
    /// Starts with an empty snapshot.
    pub fn new() -> Self {
        Self {
            current: ArcSwap::from_pointee(Snapshot::default()),
            count: AtomicU64::new(0),
            generation: watch::Sender::new(0),
            backends: Arc::new(Backends::new()),
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
        let touched = Touched::by(&diff);
        let next = Arc::new(self.current.load().apply(diff));
        // Before anybody reads the snapshot: who finds a Service in it finds its endpoints too.
        self.backends.refresh(&next, &touched);
        self.current.store(next);
        self.count.fetch_add(1, Ordering::Release);
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Counts the snapshots. Read before [`Store::load`]: what is loaded is of this generation, or newer.
    pub fn generation(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// What stands behind the Services that are in use.
    pub fn backends(&self) -> &Arc<Backends> {
        &self.backends
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
