//! Memory that one workload's requests hold, counted, so that one workload can't take the node's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that are held now.
#[derive(Debug, Default)]
pub struct Budget(AtomicUsize);

/// A part of a budget; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    limit: usize,
    held: usize,
}

// === impl Share ===

impl Share {
    /// Nothing yet, of a budget of `limit` bytes.
    pub fn new(budget: &Arc<Budget>, limit: usize) -> Self {
        Self {
            budget: Arc::clone(budget),
            limit,
            held: 0,
        }
    }

    /// Takes some more; false, and nothing taken, when that is too much for the budget.
    pub fn take(&mut self, bytes: usize) -> bool {
        let used = self.budget.0.fetch_add(bytes, Ordering::Relaxed);
        if used.saturating_add(bytes) > self.limit {
            self.budget.0.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.held += bytes;
        true
    }

    /// Gives all of it back.
    pub fn clear(&mut self) {
        self.budget.0.fetch_sub(self.held, Ordering::Relaxed);
        self.held = 0;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_stay_within_the_budget_and_come_back() {
        let budget = Arc::new(Budget::default());
        let mut first = Share::new(&budget, 100);
        assert!(first.take(60));
        let mut second = Share::new(&budget, 100);
        assert!(!second.take(60), "more than is left");
        assert!(second.take(40));
        drop(first);
        assert!(second.take(60));
        second.clear();
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }
}
