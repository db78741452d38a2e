//! Maglev's table (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, §3.4):
//! each endpoint has a permutation of the table's places of its own, and in turns each takes the next that is free.
//! Shares are even to about one in a hundred where a ring's vary by tens; a change moves few keys of other endpoints.

use super::Node;
use crate::resilience::hash;

/// No endpoint yet.
const FREE: u32 = u32::MAX;

/// The table.
#[derive(Debug)]
pub(super) struct Maglev(Box<[u32]>);

/// An endpoint's way through the table.
struct Walk {
    next: u64,
    skip: u64,
    /// Places it has taken.
    taken: f64,
    /// Its weight by the largest.
    weight: f64,
}

// === impl Maglev ===

impl Maglev {
    /// A table of `size` places, a prime: each way through it then passes all of them.
    pub(super) fn new(nodes: &[Node], size: u32) -> Self {
        let size = u64::from(size.max(2));
        let heaviest = nodes.iter().map(|node| node.weight).max().unwrap_or(1).max(1);
        let mut walks: Vec<Walk> = nodes
            .iter()
            .map(|node| Walk {
                next: hash::join(node.hash, 0) % size,
                skip: hash::join(node.hash, 1) % (size - 1) + 1,
                taken: 0.0,
                weight: f64::from(node.weight) / f64::from(heaviest),
            })
            .collect();
        // The size came from a u32.
        let mut places = vec![FREE; usize::try_from(size).unwrap_or_default()];
        let mut left = places.len();
        let mut round = 0.0;
        while left > 0 && !walks.is_empty() {
            round += 1.0;
            for (place, walk) in (0..).zip(&mut walks) {
                // A light one waits until its share of the rounds is due.
                if left == 0 || round * walk.weight < walk.taken + 1.0 {
                    continue;
                }
                if let Some(slot) = walk.next_free(&places, size) {
                    places[slot] = place;
                    walk.taken += 1.0;
                    left -= 1;
                }
            }
        }
        Self(places.into_boxed_slice())
    }

    /// The place of the endpoint for this hash.
    pub(super) fn find(&self, hash: u64) -> usize {
        let slot = hash % (self.0.len().max(1) as u64);
        let found = usize::try_from(slot).ok().and_then(|slot| self.0.get(slot));
        found.map_or(0, |place| *place as usize)
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> &[u32] {
        &self.0
    }
}

// === impl Walk ===

impl Walk {
    /// The next free place of its permutation.
    fn next_free(&mut self, places: &[u32], size: u64) -> Option<usize> {
        for step in 0..2 * size {
            if step == size {
                // The size is no prime, and this way misses the places that are left.
                self.skip = 1;
            }
            let slot = usize::try_from(self.next).ok()?;
            self.next = (self.next + self.skip) % size;
            if places.get(slot) == Some(&FREE) {
                return Some(slot);
            }
        }
        None
    }
}
