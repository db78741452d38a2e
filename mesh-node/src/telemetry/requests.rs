//! Metrics of requests.

mod record;

use std::sync::Arc;

use mesh_model::ResourceName;
use parking_lot::Mutex;

pub use self::record::RequestRecord;

/// What became of the wish to send a request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryResult {
    /// It was sent again.
    Retried,
    /// It was answered well after it had been sent again.
    Succeeded,
    /// It was not sent again: the budget was used up.
    BudgetExhausted,
    /// It was not sent again: it had been as often as its policy allows.
    LimitReached,
    /// It was not sent again: more of its body had been sent than is kept.
    BodyTooLarge,
}

/// What became of a copy of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MirrorResult {
    /// It was answered, whatever with.
    Answered,
    /// No endpoint took it or answered.
    Failed,
    /// It was not sent: too many copies were under way.
    Dropped,
}

/// The metrics of requests.
#[derive(Debug, Default)]
pub struct RequestMetrics {
    in_flight: Arc<Mutex<i64>>,
}

/// A request that is under way; counts until it is dropped.
#[derive(Debug)]
pub struct InFlight {
    count: Arc<Mutex<i64>>,
}

// === impl RequestMetrics ===

impl RequestMetrics {
    /// A request begins.
    pub fn begin(&self) -> InFlight {
        *self.in_flight.lock() += 1;
        InFlight {
            count: Arc::clone(&self.in_flight),
        }
    }

    /// A request is over.
    pub fn record(&self, record: &RequestRecord<'_>) {
        let _ = record;
    }

    /// A request to this backend was sent again, or should have been.
    pub fn retry(&self, backend: (&ResourceName, u16), result: RetryResult) {
        let _ = (backend, result);
    }

    /// A copy of a request for this backend is over.
    pub fn mirror(&self, backend: (&ResourceName, u16), result: MirrorResult) {
        let _ = (backend, result);
    }
}

// === impl InFlight ===

impl Drop for InFlight {
    fn drop(&mut self) {
        *self.count.lock() -= 1;
    }
}
