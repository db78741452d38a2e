//! Consistent hashing: the same key leads to the same endpoint, on every node and while others come and go.
//!
//! Tables are made when the endpoints change, in the order of their addresses so that all nodes make the same ones; a
//! request costs one look.

mod maglev;
mod ring;

use std::sync::Arc;

use mesh_model::Balancing;

use self::maglev::Maglev;
use self::ring::Ring;
use super::hash;

/// What a table is made from: an endpoint's hash and weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    /// The hash of its address.
    pub(super) hash: u64,
    /// Greater than zero.
    pub(super) weight: u32,
}

/// A table, and what it was made from.
#[derive(Debug)]
pub(super) struct Table {
    nodes: Box<[Node]>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Ring { min_size: u32, ring: Ring },
    Maglev { size: u32, table: Maglev },
}

// === impl Table ===

impl Table {
    /// The table for these endpoints, in this order; the former one if nothing has changed. `None` where nothing is hashed,
    /// or nothing is there.
    pub(super) fn new(
        balancing: &Balancing,
        nodes: &[Node],
        former: Option<&Arc<Table>>,
    ) -> Option<Arc<Table>> {
        if nodes.is_empty() {
            return None;
        }
        let is_same = |table: &&Arc<Table>| match (&table.kind, balancing) {
            (Kind::Ring { min_size, .. }, Balancing::RingHash { min_size: wanted, .. }) => min_size == wanted,
            (Kind::Maglev { size, .. }, Balancing::Maglev { table_size, .. }) => size == table_size,
            _ => false,
        };
        if let Some(former) = former.filter(is_same).filter(|table| *table.nodes == *nodes) {
            return Some(Arc::clone(former));
        }
        let kind = match balancing {
            Balancing::RingHash { min_size, .. } => Kind::Ring {
                min_size: *min_size,
                ring: Ring::new(nodes, *min_size),
            },
            Balancing::Maglev { table_size, .. } => Kind::Maglev {
                size: *table_size,
                table: Maglev::new(nodes, *table_size),
            },
            Balancing::LeastRequest | Balancing::PeakEwma | Balancing::RoundRobin | Balancing::Random => {
                return None;
            }
        };
        Some(Arc::new(Self {
            nodes: nodes.into(),
            kind,
        }))
    }

    /// The place of the endpoint for this hash.
    pub(super) fn find(&self, hash: u64) -> usize {
        match &self.kind {
            Kind::Ring { ring, .. } => ring.find(hash),
            Kind::Maglev { table, .. } => table.find(hash),
        }
    }
}

/// How well an endpoint fits a key, the smaller the better: weighted rendezvous hashing (Schindelhauer and Schomaker, 2005).
/// For keys for which the table finds none that takes anything.
pub(super) fn distance(key: u64, node: Node) -> f64 {
    // Greater than 0, for a unit is below 1.
    let spread = 1.0 - hash::unit(hash::join(key, node.hash));
    -spread.ln() / f64::from(node.weight)
}

#[cfg(test)]
mod tests;
