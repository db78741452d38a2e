//! Medians and spreads of a few rounds.

use serde::Serialize;

/// The middle of several rounds, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// The middle one; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

// === impl Summary ===

impl Summary {
    /// Of no values there is none, nor of values that are no numbers.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> = values.to_vec();
        if sorted.is_empty() || sorted.iter().any(|value| !value.is_finite()) {
            return None;
        }
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self {
            median,
            min: sorted[0],
            max: sorted[sorted.len() - 1],
        })
    }

    /// Half of the distance between the least and the greatest, as a share of the median.
    pub fn spread(&self) -> f64 {
        if self.median == 0.0 {
            return 0.0;
        }
        (self.max - self.min) / 2.0 / self.median.abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_not_moved_by_one_bad_round() {
        let summary = Summary::of(&[10.0, 11.0, 9.0, 1000.0, 10.0]).unwrap();
        assert_eq!(
            summary,
            Summary {
                median: 10.0,
                min: 9.0,
                max: 1000.0
            }
        );
        assert_eq!(
            Summary::of(&[1.0, 2.0]).unwrap().median.to_bits(),
            1.5_f64.to_bits()
        );
    }

    #[test]
    fn nothing_and_no_numbers_have_no_summary() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[1.0, f64::NAN]), None);
        assert_eq!(Summary::of(&[1.0, f64::INFINITY]), None);
    }

    #[test]
    fn the_spread_is_a_share_of_the_median() {
        let summary = Summary::of(&[90.0, 100.0, 110.0]).unwrap();
        assert!((summary.spread() - 0.1).abs() < 1e-9);
    }
}
