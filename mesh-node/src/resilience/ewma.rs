//! The moving average of an endpoint's latency that follows peaks at once and forgets them slowly, as in Finagle and
//! Linkerd ("peak EWMA").
//!
//! One atomic: the average as a single in the high half (negative while it is only assumed), when it was brought up to date, in milliseconds, in the low
//! one. No lock, and no request waits for another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::clock::Moment;

/// In so long an idle endpoint's average falls to 1/e (Linkerd's default).
const DECAY: Duration = Duration::from_secs(10);
/// The average of an endpoint that has answered nothing yet (Linkerd's default).
const UNKNOWN: Duration = Duration::from_millis(30);

/// The average.
#[derive(Debug)]
pub(super) struct PeakEwma(AtomicU64);

// === impl PeakEwma ===

impl PeakEwma {
    /// Of an endpoint that has answered nothing yet.
    pub(super) fn new(now: Moment) -> Self {
        Self(AtomicU64::new(pack(-UNKNOWN.as_secs_f32(), millis(now))))
    }

    /// Takes an answer's latency into account.
    pub(super) fn observe(&self, latency: Duration, now: Moment) {
        let now = millis(now);
        let latency = latency.as_secs_f32();
        let update = |packed| {
            let (average, then) = unpack(packed);
            let average = match (average.abs(), then) {
                (average, _) if latency >= average => latency,
                (average, then) => {
                    let rest = remaining(then, now);
                    average * rest + latency * (1.0 - rest)
                }
            };
            pack(average, now)
        };
        self.0.update(Ordering::AcqRel, Ordering::Acquire, update);
    }

    /// The average in seconds. Without answers it decays towards zero, so that an endpoint that was slow once is tried
    /// again. What is only assumed stays: of two endpoints that nothing is known of, none is the faster one for having come
    /// a moment earlier.
    pub(super) fn seconds(&self, now: Moment) -> f32 {
        let (average, then) = unpack(self.0.load(Ordering::Acquire));
        if average < 0.0 {
            return -average;
        }
        average * remaining(then, millis(now))
    }
}

/// What is left of a value after the time between.
fn remaining(then: u32, now: u32) -> f32 {
    // Wraps around after 49 days. Two cores may be out of order by a little: that is no time, not 49 days.
    let elapsed = now.wrapping_sub(then);
    if elapsed == 0 || elapsed > u32::MAX / 2 {
        return 1.0;
    }
    (-Duration::from_millis(elapsed.into()).as_secs_f32() / DECAY.as_secs_f32()).exp()
}

fn pack(average: f32, millis: u32) -> u64 {
    u64::from(average.to_bits()) << 32 | u64::from(millis)
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of a word")]
fn unpack(packed: u64) -> (f32, u32) {
    (f32::from_bits((packed >> 32) as u32), packed as u32)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "wraps around: only differences matter"
)]
fn millis(moment: Moment) -> u32 {
    (moment.as_nanos() / 1_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::FIRST.after(Duration::from_millis(millis))
    }

    #[test]
    fn follows_a_peak_at_once_and_forgets_it_slowly() {
        let ewma = PeakEwma::new(at(0));
        assert!((ewma.seconds(at(0)) - 0.030).abs() < 1e-6);
        ewma.observe(Duration::from_secs(1), at(0));
        assert!((ewma.seconds(at(0)) - 1.0).abs() < 1e-6);
        ewma.observe(Duration::from_millis(10), at(1));
        assert!(ewma.seconds(at(1)) > 0.99);
        // After one time constant of fast answers 1/e of the peak is left.
        for millis in 1..=10_000 {
            ewma.observe(Duration::from_millis(10), at(millis));
        }
        let seconds = ewma.seconds(at(10_000));
        assert!((0.36..0.39).contains(&seconds), "{seconds}");
    }

    #[test]
    fn what_is_assumed_is_the_same_for_all() {
        let (one, other) = (PeakEwma::new(at(0)), PeakEwma::new(at(7)));
        assert!((one.seconds(at(5_000)) - other.seconds(at(5_000))).abs() < f32::EPSILON);
    }

    #[test]
    fn an_idle_endpoint_decays_towards_zero() {
        let ewma = PeakEwma::new(at(0));
        ewma.observe(Duration::from_secs(5), at(0));
        assert!(ewma.seconds(at(60_000)) < 0.02);
    }

    #[test]
    fn time_that_runs_backwards_changes_nothing() {
        let ewma = PeakEwma::new(at(1_000));
        ewma.observe(Duration::from_secs(1), at(1_000));
        assert!((ewma.seconds(at(990)) - 1.0).abs() < 1e-6);
    }
}
