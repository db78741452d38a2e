//! A ring of points (Karger et al., "Consistent Hashing and Random Trees", 1997), as in ketama: each endpoint has
//! points in proportion to its weight, and a key belongs to the first point from its own place on.

use super::Node;
use crate::resilience::hash;

/// Points at most, whatever weights and settings say: 4 MiB.
const MAX_POINTS: u64 = 1 << 18;

/// The ring.
#[derive(Debug)]
pub(super) struct Ring(Box<[(u64, u32)]>);

// === impl Ring ===

impl Ring {
    /// A ring of at least `min_size` points; at least one for each endpoint.
    ///
    /// How many points a unit of weight gets is a power of two: it stays the same as endpoints come and go, until their
    /// number has doubled or halved. Otherwise each change would add or take points of all the others and move their
    /// keys too.
    pub(super) fn new(nodes: &[Node], min_size: u32) -> Self {
        let divisor = nodes
            .iter()
            .fold(0, |divisor, node| gcd(divisor, node.weight))
            .max(1);
        let units: u64 = nodes.iter().map(|node| u64::from(node.weight / divisor)).sum();
        let units = units.max(1);
        let wanted = u64::from(min_size).min(MAX_POINTS);
        let each = wanted.div_ceil(units).max(1).next_power_of_two();
        let mut points = Vec::new();
        for (place, node) in (0_u32..).zip(nodes) {
            let units_of_node = u64::from(node.weight / divisor);
            let count = match units_of_node.saturating_mul(each) {
                _ if units.saturating_mul(each) > 2 * MAX_POINTS => {
                    units_of_node.saturating_mul(MAX_POINTS) / units
                }
                count => count,
            };
            points.extend((0..count.max(1)).map(|point| (hash::join(node.hash, point), place)));
        }
        points.sort_unstable();
        points.shrink_to_fit();
        Self(points.into_boxed_slice())
    }

    /// The place of the endpoint for this hash.
    pub(super) fn find(&self, hash: u64) -> usize {
        let next = self.0.partition_point(|(point, _)| *point < hash);
        let point = self.0.get(next).or_else(|| self.0.first());
        point.map_or(0, |(_, place)| *place as usize)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
