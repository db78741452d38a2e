//! Delays between attempts: exponential, bounded and jittered, so that clients which failed together do not
//! come back together.
//!
//! Holds no clock and never sleeps: the caller waits for what it is given, and counts its own retry budget.

use std::time::Duration;

/// An endless sequence of delays. Each lies between half of and the whole current step; the step starts at
/// `min` and grows by `factor` up to `max`.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    factor: u32,
    step: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    /// A sequence whose steps go from `min` to `max`, each `factor` times the last. A `max` below `min` counts
    /// as `min`, and a `factor` of 0 as 1.
    pub fn new(min: Duration, max: Duration, factor: u32) -> Self {
        Self {
            min,
            max: max.max(min),
            factor: factor.max(1),
            step: min,
            random: fastrand::Rng::new(),
        }
    }

    /// The same sequence, with jitter that is the same in every run: for tests.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.random.seed(seed);
        self
    }

    /// The delay before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        let step = self.step;
        self.step = step.saturating_mul(self.factor).min(self.max);
        // Half fixed, half random: spreads clients, and still never hammers at once.
        (step / 2).saturating_add((step / 2).mul_f64(self.random.f64()))
    }

    /// Starts again from `min`: call it after a success that lasted.
    pub fn reset(&mut self) {
        self.step = self.min;
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.next_delay())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(5);

    #[test]
    fn grows_by_the_factor_up_to_the_maximum() {
        for seed in 0..100 {
            let delays: Vec<_> = Backoff::new(MIN, MAX, 2).with_seed(seed).take(12).collect();
            for (attempt, delay) in delays.iter().enumerate() {
                let step = (MIN * 2u32.pow(u32::try_from(attempt).unwrap())).min(MAX);
                assert!(
                    *delay >= step / 2 && *delay <= step,
                    "attempt {attempt}: {delay:?} of {step:?}"
                );
            }
        }
    }

    #[test]
    fn differs_between_clients() {
        let first: Vec<_> = Backoff::new(MIN, MAX, 2).with_seed(1).take(5).collect();
        let second: Vec<_> = Backoff::new(MIN, MAX, 2).with_seed(2).take(5).collect();
        assert_ne!(first, second);
    }

    #[test]
    fn starts_again_after_a_reset() {
        let mut backoff = Backoff::new(MIN, MAX, 10);
        assert!(backoff.by_ref().take(5).last().is_some_and(|delay| delay > MIN));
        backoff.reset();
        assert!(backoff.next_delay() <= MIN);
    }

    #[test]
    fn survives_absurd_settings() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::ZERO, 0);
        assert!(backoff.next_delay() >= Duration::MAX / 2);
        assert!(backoff.next_delay() >= Duration::MAX / 2);
    }
}
