//! Which nodes have a stream: a node counts once, also while it reconnects before its old stream has ended.

use std::collections::HashMap;
use std::sync::Arc;

use mesh_model::NodeName;
use parking_lot::Mutex;

use crate::telemetry::Metrics;

/// The nodes with streams.
#[derive(Clone, Default)]
pub(super) struct Register {
    streams: Arc<Mutex<HashMap<NodeName, usize>>>,
    metrics: Metrics,
}

/// A stream's place in the register; dropping it gives it up.
pub(super) struct Place {
    node: NodeName,
    register: Register,
}

// === impl Register ===

impl Register {
    /// Nobody yet.
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            streams: Arc::default(),
            metrics,
        }
    }

    /// A place for another stream of a node, unless it has as many as it may.
    pub(super) fn enter(&self, node: &NodeName, limit: usize) -> Option<Place> {
        let mut streams = self.streams.lock();
        let count = streams.entry(node.clone()).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        self.publish(streams.len());
        Some(Place {
            node: node.clone(),
            register: self.clone(),
        })
    }

    fn publish(&self, nodes: usize) {
        self.metrics
            .connected_nodes
            .set(i64::try_from(nodes).unwrap_or(i64::MAX));
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        let mut streams = self.register.streams.lock();
        if let Some(count) = streams.get_mut(&self.node) {
            *count -= 1;
            if *count == 0 {
                streams.remove(&self.node);
            }
        }
        self.register.publish(streams.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_a_node_once_and_limits_its_streams() {
        let metrics = Metrics::default();
        let register = Register::new(metrics.clone());
        let (a, b) = (NodeName::new("a").unwrap(), NodeName::new("b").unwrap());
        let first = register.enter(&a, 2);
        let second = register.enter(&a, 2);
        assert!(first.is_some() && second.is_some());
        assert!(register.enter(&a, 2).is_none());
        let other = register.enter(&b, 2);
        assert_eq!(metrics.connected_nodes.get(), 2);
        drop(first);
        assert_eq!(metrics.connected_nodes.get(), 2);
        drop((second, other));
        assert_eq!(metrics.connected_nodes.get(), 0);
    }
}
