//! Metrics of requests: counts, latency, bytes, retries and mirrors.
//!
//! Telling of a request looks its series up once, in a table of the thread that tells, and formats nothing. Texts and sums are
//! made when somebody asks: for Prometheus in `exposition`, for the admin API from [`RequestMetrics::read`].

mod exposition;
mod labels;
mod record;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use mesh_model::{ResourceName, RuleName};

pub use self::labels::{Code, OVERFLOW, Protocol, RequestKey, RequestLabels, WithPort, is_failure};
use self::labels::{ResultKey, ResultLabels};
pub use self::record::RequestRecord;
use super::latency::{Latency, micros};
use super::series::{Reading, Series, Value, shard_of_thread};

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

/// What still exists: series of the rest expire.
pub trait Living {
    /// Whether there is a workload of this name.
    fn workload(&self, name: &ResourceName) -> bool;
    /// Whether there is a Service of this name.
    fn service(&self, name: &ResourceName) -> bool;
    /// Whether there is a rule of this name.
    fn rule(&self, name: &RuleName) -> bool;
}

/// The metrics of requests.
#[derive(Debug)]
pub struct RequestMetrics {
    requests: Series<RequestKey, Totals>,
    retries: Series<ResultKey<RetryResult>, Count>,
    mirrors: Series<ResultKey<MirrorResult>, Count>,
    /// One for each thread: a request may begin on one and end on another, so only their sum means something.
    in_flight: Box<[Arc<OneThreads>]>,
}

/// A request that is under way; counts until it is dropped.
#[derive(Debug)]
pub struct InFlight {
    count: Arc<OneThreads>,
}

/// A count on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct OneThreads(AtomicI64);

/// What is counted for requests with the same labels.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// How long they took.
    pub latency: Latency,
    /// Microseconds that were not spent waiting for an endpoint.
    pub proxy_micros: u64,
    /// Bytes of their bodies.
    pub request_bytes: u64,
    /// Bytes of the answers' bodies.
    pub response_bytes: u64,
}

/// A plain count.
#[derive(Debug, Clone, Default)]
struct Count(u64);

// === impl RequestMetrics ===

impl RequestMetrics {
    /// Nothing counted yet. `threads` is how many threads carry requests, `max_series` how many combinations of labels there
    /// may be.
    pub fn new(threads: usize, max_series: usize) -> Self {
        Self {
            requests: Series::new("requests", threads, max_series),
            retries: Series::new("request retries", threads, max_series),
            mirrors: Series::new("request mirrors", threads, max_series),
            in_flight: (0..threads.max(1)).map(|_| Arc::default()).collect(),
        }
    }

    /// A request begins.
    pub fn begin(&self) -> InFlight {
        // In bounds: `shard_of_thread` gives less than the length, which is not 0.
        let count = Arc::clone(&self.in_flight[shard_of_thread(self.in_flight.len())]);
        count.0.fetch_add(1, Ordering::Relaxed);
        InFlight { count }
    }

    /// A request is over.
    pub fn record(&self, record: &RequestRecord<'_>) {
        self.requests.update(&RequestLabels::of(record), |totals| {
            totals.latency.observe(record.duration);
            if let Some(upstream) = record.upstream_duration {
                totals.proxy_micros += micros(record.duration.saturating_sub(upstream));
            }
            totals.request_bytes += record.request_bytes;
            totals.response_bytes += record.response_bytes;
        });
    }

    /// A request to this backend was sent again, or should have been.
    pub fn retry(&self, backend: (&ResourceName, u16), result: RetryResult) {
        self.retries
            .update(&ResultLabels { backend, result }, |count| count.0 += 1);
    }

    /// A copy of a request for this backend is over.
    pub fn mirror(&self, backend: (&ResourceName, u16), result: MirrorResult) {
        self.mirrors
            .update(&ResultLabels { backend, result }, |count| count.0 += 1);
    }

    /// Requests that are under way.
    pub fn in_flight(&self) -> u64 {
        let sum: i64 = self
            .in_flight
            .iter()
            .map(|count| count.0.load(Ordering::Relaxed))
            .sum();
        // The counts are read one after another: a request that ends on another thread in between may be missed in one only.
        u64::try_from(sum).unwrap_or_default()
    }

    /// Everything that was counted of requests that are over.
    pub fn read(&self) -> Reading<RequestKey, Totals> {
        self.requests.read()
    }

    /// Removes series of what is gone and in which nothing was counted for `retention`; both in milliseconds, `now` since
    /// any moment. Returns how many.
    pub fn sweep(&self, now: u64, retention: u64, living: &impl Living) -> usize {
        let is_backend_gone = |backend: &ResourceName| !living.service(backend);
        self.requests
            .sweep(now, retention, |key| !is_alive(&key.labels(), living))
            + self
                .retries
                .sweep(now, retention, |key| is_backend_gone(key.backend()))
            + self
                .mirrors
                .sweep(now, retention, |key| is_backend_gone(key.backend()))
    }
}

fn is_alive(labels: &RequestLabels<'_>, living: &impl Living) -> bool {
    let path = &labels.path;
    let workload = |name: Option<&ResourceName>| name.is_none_or(|name| living.workload(name));
    let service = |name: Option<(&ResourceName, u16)>| name.is_none_or(|(name, _)| living.service(name));
    workload(path.source)
        && workload(labels.destination)
        && service(path.service)
        && service(path.backend)
        && path.route.is_none_or(|rule| living.rule(rule))
}

// === impl InFlight ===

impl Drop for InFlight {
    fn drop(&mut self) {
        self.count.0.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Totals ===

impl Value for Totals {
    fn add(&mut self, other: &Self) {
        self.latency.add(&other.latency);
        self.proxy_micros += other.proxy_micros;
        self.request_bytes += other.request_bytes;
        self.response_bytes += other.response_bytes;
    }
}

// === impl Count ===

impl Value for Count {
    fn add(&mut self, other: &Self) {
        self.0 += other.0;
    }
}
