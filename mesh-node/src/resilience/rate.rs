//! Local rate limits: how many requests may pass, by the generic cell rate algorithm (ITU-T I.371, "virtual
//! scheduling").
//!
//! A count is one atomic, the moment at which everything taken so far is paid off; a request is a single
//! compare-and-swap. That is what the `governor` crate does too; its keyed limiter, though, locks shards of a map, and here
//! the keys are few: the identities of this node's workloads.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use mesh_model::{Identity, RateLimit, RateLimitKey};

use super::clock::{Moment, nanos};

/// Identities that are counted apart; further ones share one count. Only workloads of this node are clients here, so
/// that a node would have to run more service accounts than kubelet allows pods.
const MAX_CLIENTS: usize = 4_096;
/// When there are too many, they are looked through no more often than this: it costs a copy of the map.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// One rate limit and its counts. Keep it when other settings change.
#[derive(Debug)]
pub struct RateLimiter {
    pace: Pace,
    counts: Counts,
}

/// A rate limit was reached; 429, `RL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rate limit is reached; the next request is taken in {} ms", .retry_after.as_millis())]
pub struct RateLimited {
    /// Until the next request is taken. `Retry-After` is this in seconds, rounded up.
    pub retry_after: Duration,
}

/// The limit, in nanoseconds.
#[derive(Debug)]
struct Pace {
    /// What one request takes.
    each: u64,
    /// How far ahead of time requests may be.
    ahead: u64,
    /// Whether there may be any at all.
    is_open: bool,
}

#[derive(Debug)]
enum Counts {
    Service(Count),
    Clients(Clients),
}

#[derive(Debug, Default)]
struct Clients {
    known: ArcSwap<HashMap<Identity, Arc<Count>>>,
    /// For all that found no place.
    others: Count,
    /// When the known ones are looked through next if there are too many.
    next_look: AtomicU64,
}

/// The moment at which all that was taken is paid off, the algorithm's "theoretical arrival time".
#[derive(Debug, Default)]
struct Count(AtomicU64);

// === impl RateLimiter ===

impl RateLimiter {
    /// With nothing counted.
    pub fn new(limit: &RateLimit) -> Self {
        let each = nanos(limit.interval) / u64::from(limit.requests.max(1));
        let each = each.max(1);
        Self {
            pace: Pace {
                each,
                ahead: each.saturating_mul(u64::from(limit.burst.max(1) - 1)),
                is_open: limit.requests > 0,
            },
            counts: match limit.key {
                RateLimitKey::Service => Counts::Service(Count::default()),
                RateLimitKey::ClientIdentity => Counts::Clients(Clients::default()),
            },
        }
    }

    /// Counts a request of this client against all of the limits, or against none of them: what one limit refuses does
    /// not use up another.
    pub fn check_all<'a>(
        limiters: impl Iterator<Item = &'a RateLimiter> + Clone,
        client: &Identity,
    ) -> Result<(), RateLimited> {
        Self::check_all_at(limiters, client, Moment::now())
    }

    fn check_all_at<'a>(
        limiters: impl Iterator<Item = &'a RateLimiter> + Clone,
        client: &Identity,
        now: Moment,
    ) -> Result<(), RateLimited> {
        for (index, limiter) in limiters.clone().enumerate() {
            let taken = limiter.with_count(client, now, |count| count.take(&limiter.pace, now));
            if let Err(refused) = taken {
                for limiter in limiters.take(index) {
                    limiter.with_count(client, now, |count| count.give_back(&limiter.pace));
                }
                return Err(refused);
            }
        }
        Ok(())
    }

    /// Does something with the count that this client's requests go to.
    fn with_count<R>(&self, client: &Identity, now: Moment, act: impl FnOnce(&Count) -> R) -> R {
        match &self.counts {
            Counts::Service(count) => act(count),
            Counts::Clients(clients) => {
                if let Some(count) = clients.known.load().get(client) {
                    return act(count);
                }
                match clients.add(client, now) {
                    Some(count) => act(&count),
                    None => act(&clients.others),
                }
            }
        }
    }
}

// === impl Clients ===

impl Clients {
    /// A count for a client that has none; `None` when there are too many.
    fn add(&self, client: &Identity, now: Moment) -> Option<Arc<Count>> {
        let now = now.as_nanos();
        if self.known.load().len() >= MAX_CLIENTS {
            let is_due = |next: u64| (now >= next).then(|| now.saturating_add(nanos(LOOK_PAUSE)));
            self.next_look
                .try_update(Ordering::AcqRel, Ordering::Acquire, is_due)
                .ok()?;
        }
        self.known.rcu(|before| {
            let mut clients = HashMap::clone(before);
            if clients.len() >= MAX_CLIENTS {
                // A count that is paid off is as good as none.
                clients.retain(|_, count| count.0.load(Ordering::Acquire) > now);
            }
            if clients.len() < MAX_CLIENTS {
                clients.entry(client.clone()).or_default();
            }
            clients
        });
        self.known.load().get(client).cloned()
    }
}

// === impl Count ===

impl Count {
    fn take(&self, pace: &Pace, now: Moment) -> Result<(), RateLimited> {
        let now = now.as_nanos();
        let take = |paid_off: u64| {
            let paid_off = paid_off.max(now);
            (pace.is_open && paid_off - now <= pace.ahead).then(|| paid_off.saturating_add(pace.each))
        };
        match self.0.try_update(Ordering::AcqRel, Ordering::Acquire, take) {
            Ok(_) => Ok(()),
            Err(_) if !pace.is_open => Err(RateLimited {
                retry_after: Duration::from_nanos(pace.each),
            }),
            Err(paid_off) => Err(RateLimited {
                retry_after: Duration::from_nanos(
                    paid_off.saturating_sub(now).saturating_sub(pace.ahead).max(1),
                ),
            }),
        }
    }

    fn give_back(&self, pace: &Pace) {
        self.0.update(Ordering::AcqRel, Ordering::Acquire, |paid_off| {
            paid_off.saturating_sub(pace.each)
        });
    }
}

#[cfg(test)]
mod tests {
    use mesh_model::fixture;
    use proptest::prelude::*;

    use super::*;

    fn limit(requests: u32, interval: Duration, burst: u32, key: RateLimitKey) -> RateLimit {
        RateLimit {
            requests,
            interval,
            burst,
            key,
        }
    }

    fn at(millis: u64) -> Moment {
        Moment::FIRST.after(Duration::from_millis(millis))
    }

    fn check(limiter: &RateLimiter, client: &Identity, now: Moment) -> Result<(), RateLimited> {
        RateLimiter::check_all_at(std::iter::once(limiter), client, now)
    }

    #[test]
    fn lets_a_burst_through_and_then_keeps_the_pace() {
        let limiter = RateLimiter::new(&limit(10, Duration::from_secs(1), 5, RateLimitKey::Service));
        let client = fixture::identity("a", "web");
        for _ in 0..5 {
            assert!(check(&limiter, &client, at(0)).is_ok());
        }
        let refused = check(&limiter, &client, at(0)).unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_millis(100));
        assert!(check(&limiter, &client, at(99)).is_err());
        assert!(check(&limiter, &client, at(100)).is_ok());
        let passed = (0..10_000)
            .filter(|ms| check(&limiter, &client, at(1_000 + ms)).is_ok())
            .count();
        // Ten a second for ten seconds, and the burst that the pause before has paid off.
        assert!((100..=105).contains(&passed), "{passed}");
    }

    #[test]
    fn retry_after_is_when_the_next_one_passes() {
        let limiter = RateLimiter::new(&limit(1, Duration::from_secs(7), 1, RateLimitKey::Service));
        let client = fixture::identity("a", "web");
        assert!(check(&limiter, &client, at(0)).is_ok());
        let refused = check(&limiter, &client, at(1_000)).unwrap_err();
        assert!(check(&limiter, &client, at(1_000).after(refused.retry_after)).is_ok());
    }

    #[test]
    fn clients_are_counted_apart() {
        let limiter = RateLimiter::new(&limit(1, Duration::from_secs(1), 1, RateLimitKey::ClientIdentity));
        let (one, other) = (fixture::identity("a", "web"), fixture::identity("a", "shop"));
        assert!(check(&limiter, &one, at(0)).is_ok());
        assert!(check(&limiter, &one, at(0)).is_err());
        assert!(check(&limiter, &other, at(0)).is_ok());
    }

    #[test]
    fn what_one_limit_refuses_does_not_use_up_another() {
        let all = RateLimiter::new(&limit(10, Duration::from_secs(1), 10, RateLimitKey::Service));
        let each = RateLimiter::new(&limit(1, Duration::from_secs(1), 1, RateLimitKey::ClientIdentity));
        let (greedy, modest) = (fixture::identity("a", "greedy"), fixture::identity("a", "modest"));
        let both = || [&all, &each].into_iter();
        assert!(RateLimiter::check_all_at(both(), &greedy, at(0)).is_ok());
        for _ in 0..1_000 {
            assert!(RateLimiter::check_all_at(both(), &greedy, at(1)).is_err());
        }
        assert!(RateLimiter::check_all_at(both(), &modest, at(1)).is_ok());
    }

    #[test]
    fn remembers_a_bounded_number_of_clients() {
        let limiter = RateLimiter::new(&limit(1, Duration::from_secs(1), 1, RateLimitKey::ClientIdentity));
        let client = |n: usize| fixture::identity("a", &format!("client-{n}"));
        for n in 0..MAX_CLIENTS {
            assert!(check(&limiter, &client(n), at(0)).is_ok());
        }
        // Those that find no place share one count …
        assert!(check(&limiter, &client(MAX_CLIENTS), at(0)).is_ok());
        assert!(check(&limiter, &client(MAX_CLIENTS + 1), at(0)).is_err());
        // … until the others' are paid off.
        assert!(check(&limiter, &client(MAX_CLIENTS), at(1_001)).is_ok());
        assert!(check(&limiter, &client(MAX_CLIENTS + 1), at(1_001)).is_ok());
        let Counts::Clients(clients) = &limiter.counts else {
            panic!("counts clients");
        };
        assert_eq!(clients.known.load().len(), 2);
    }

    #[test]
    fn nothing_passes_a_limit_of_zero() {
        let limiter = RateLimiter::new(&limit(0, Duration::from_secs(1), 9, RateLimitKey::Service));
        assert!(check(&limiter, &fixture::identity("a", "web"), at(0)).is_err());
    }

    #[test]
    fn threads_together_get_no_more_than_one() {
        let limiter = RateLimiter::new(&limit(
            1_000,
            Duration::from_secs(1_000),
            500,
            RateLimitKey::Service,
        ));
        let client = fixture::identity("a", "web");
        let passed = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        let is_taken = check(&limiter, &client, at(0)).is_ok();
                        passed.fetch_add(is_taken.into(), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), 500);
    }

    proptest! {
        #[test]
        fn in_no_stretch_of_time_pass_more_than_the_rate_and_a_burst(
            requests in 1_u32..50, burst in 1_u32..20, pauses in prop::collection::vec(0_u64..300, 1..300),
        ) {
            let limiter = RateLimiter::new(&limit(requests, Duration::from_secs(1), burst, RateLimitKey::Service));
            let client = fixture::identity("a", "web");
            let mut now = 0;
            let mut passed = Vec::new();
            for pause in pauses {
                now += pause;
                if check(&limiter, &client, at(now)).is_ok() {
                    passed.push(now);
                }
            }
            for (index, start) in passed.iter().enumerate() {
                for (further, end) in passed[index..].iter().enumerate() {
                    // The interval is cut to whole nanoseconds: one request more in a long time.
                    let most = u64::from(burst) + (end - start) * u64::from(requests) / 1_000 + 1;
                    prop_assert!(further as u64 <= most);
                }
            }
        }
    }
}
