//! How long things took: counts in buckets, fine ones for percentiles, of which a few are shown as a Prometheus histogram.

use std::time::Duration;

/// Upper bounds in microseconds, inclusive: seven a decade from 100 µs to 10 s, then up to a minute. Neighbours are at most
/// a factor of 1.67 apart.
pub const BOUNDS: [u64; 40] = [
    100, 150, 200, 250, 350, 500, 700, 1_000, 1_500, 2_000, 2_500, 3_500, 5_000, 7_000, 10_000, 15_000,
    20_000, 25_000, 35_000, 50_000, 70_000, 100_000, 150_000, 200_000, 250_000, 350_000, 500_000, 700_000,
    1_000_000, 1_500_000, 2_000_000, 2_500_000, 3_500_000, 5_000_000, 7_000_000, 10_000_000, 15_000_000,
    20_000_000, 30_000_000, 60_000_000,
];

/// Those of the bounds that Prometheus is shown, in seconds: each bucket is a series of its own.
pub const SHOWN: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// Counts by duration.
#[derive(Debug, Clone)]
pub struct Latency {
    /// How many took at most as long as the bound and longer than the former one; the last has no bound.
    buckets: [u64; BOUNDS.len() + 1],
    /// All durations together, in microseconds.
    sum: u64,
}

// === impl Latency ===

impl Latency {
    /// Counts one.
    pub fn observe(&mut self, duration: Duration) {
        let micros = micros(duration);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        // In bounds: a partition point is at most the length, and there is one bucket more.
        self.buckets[bucket] += 1;
        self.sum = self.sum.saturating_add(micros);
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket += more;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// The counts, not added up; the last has no bound.
    pub fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All durations together, in seconds.
    pub fn seconds(&self) -> f64 {
        Duration::from_micros(self.sum).as_secs_f64()
    }

    /// The counts by the bounds that are shown, not added up, and then the rest.
    pub fn shown(&self) -> [(f64, u64); SHOWN.len() + 1] {
        let mut shown = [(f64::INFINITY, 0); SHOWN.len() + 1];
        for (place, bound) in shown.iter_mut().zip(SHOWN) {
            place.0 = bound;
        }
        let bounds = BOUNDS
            .iter()
            .map(|bound| Duration::from_micros(*bound).as_secs_f64());
        for (bound, count) in bounds.chain([f64::INFINITY]).zip(self.buckets) {
            let place = SHOWN.partition_point(|shown| *shown < bound);
            shown[place].1 += count;
        }
        shown
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            buckets: [0; BOUNDS.len() + 1],
            sum: 0,
        }
    }
}

/// In whole microseconds, rounded up, so that a bucket's bound holds exactly.
pub fn micros(duration: Duration) -> u64 {
    let rest = u64::from(duration.subsec_nanos().div_ceil(1_000));
    duration.as_secs().saturating_mul(1_000_000).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_grow_and_hold_all_that_are_shown() {
        assert!(BOUNDS.is_sorted());
        for shown in SHOWN {
            let found = BOUNDS
                .iter()
                .any(|bound| Duration::from_micros(*bound).as_secs_f64().to_bits() == shown.to_bits());
            assert!(found, "{shown} s is no bound");
        }
    }

    #[test]
    fn a_duration_counts_up_to_its_bound() {
        let mut latency = Latency::default();
        for micros in [0, 1_000, 1_001, 10_000_000, 10_000_001, 3_600_000_000] {
            latency.observe(Duration::from_micros(micros));
        }
        latency.observe(Duration::from_nanos(1_000_001));
        let shown = latency.shown();
        let at = |bound: f64| {
            shown
                .iter()
                .find(|(b, _)| b.to_bits() == bound.to_bits())
                .unwrap()
                .1
        };
        assert_eq!(at(0.001), 2);
        assert_eq!(
            at(0.0025),
            2,
            "a nanosecond more than a millisecond is more than a millisecond"
        );
        assert_eq!(at(10.0), 1);
        assert_eq!(at(f64::INFINITY), 2);
        assert_eq!(shown.iter().map(|(_, count)| count).sum::<u64>(), latency.count());
    }

    #[test]
    fn adds_up() {
        let (mut one, mut other) = (Latency::default(), Latency::default());
        one.observe(Duration::from_millis(1));
        other.observe(Duration::from_millis(1));
        other.observe(Duration::from_secs(2));
        one.add(&other);
        assert_eq!(one.count(), 3);
        assert!((one.seconds() - 2.002).abs() < 1e-9);
    }
}
