//! Traffic policy: how a Service's endpoints are chosen, and what is done about failure and overload.
//!
//! The control plane merges what is set for a route, a Service's port and a Service; what reaches a node is complete.
//! Absent means that the feature is off, but where a default is named. Durations of zero never occur: zero in a manifest
//! switches the timeout off and is absent here.

mod text;

use std::time::Duration;

use crate::HttpMatch;

/// What applies to one port of a Service as a destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortPolicy {
    /// For requests and connections that no route's rule has a policy for.
    pub request: RequestPolicy,
    /// For the endpoints.
    pub backend: BackendPolicy,
}

/// What applies to requests: of a route's rule, or of a Service's port where no route applies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestPolicy {
    /// Timeouts.
    pub timeouts: Timeouts,
    /// When a request is sent again. Absent: only when it was provably not sent to an application, or refused unseen.
    pub retry: Option<Retry>,
    /// Local rate limits, all of which a request must pass.
    pub rate_limits: Vec<RateLimit>,
    /// Faults to inject; each is drawn on its own.
    pub faults: Vec<Fault>,
    /// Keeps a client at its endpoint.
    pub affinity: Option<CookieAffinity>,
}

/// Deadlines of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the whole request's arrival to the end of the answer, retries included; 504.
    pub request: Option<Duration>,
    /// Of one attempt, from its start to the answer's head; 504.
    pub backend_request: Option<Duration>,
    /// With no byte in either direction. Default: one hour.
    pub idle: Option<Duration>,
}

/// When a request is sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// How often at most, the first attempt not counted.
    pub attempts: u32,
    /// Status codes on which it is.
    pub statuses: Vec<u16>,
    /// gRPC status codes on which it is (in an answer without a body only).
    pub grpc_statuses: Vec<u32>,
    /// What else it is on.
    pub on: Vec<RetryOn>,
    /// Whether methods that are not idempotent are repeated too, though they may have been executed. gRPC calls are by
    /// `grpc_statuses`, which name what the user deems safe.
    pub non_idempotent: bool,
    /// Least pause before the first repetition; full jitter, doubling up to `max_backoff`.
    pub backoff: Duration,
    /// Longest pause.
    pub max_backoff: Duration,
}

/// A failure without an answer, on which a request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryOn {
    /// No connection came about.
    ConnectFailure,
    /// The connection broke before the answer's head. The request may have been executed: for idempotent methods only
    /// (RFC 9110 §9.2.2), but with `non_idempotent`.
    Reset,
    /// `backend_request` passed; likewise.
    Timeout,
}

/// How many requests may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// So many in `interval`.
    pub requests: u32,
    /// The interval.
    pub interval: Duration,
    /// So many at once after a pause; at least 1.
    pub burst: u32,
    /// Whose requests are counted together.
    pub key: RateLimitKey,
}

/// Whose requests are counted together. Counts are kept by each node on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateLimitKey {
    /// Everybody's.
    Service,
    /// Each client identity's.
    ClientIdentity,
}

/// A fault to inject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// For requests that any of these matches; empty: for all.
    pub matches: Vec<HttpMatch>,
    /// How many of 1,000,000 requests are hit.
    pub per_million: u32,
    /// What happens to them.
    pub kind: FaultKind,
}

/// What a fault does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Waits so long before the request goes on.
    Delay(Duration),
    /// Answers with this status.
    Abort(u16),
    /// Answers with this gRPC status.
    AbortGrpc(u32),
}

/// Keeps a client at its endpoint by a cookie that the proxy sets (GEP-1619).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieAffinity {
    /// The cookie's name.
    pub name: String,
    /// How long the cookie is kept; absent: for the browser's session.
    pub max_age: Option<Duration>,
    /// The cookie's path.
    pub path: String,
}

/// What applies to the endpoints behind a port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackendPolicy {
    /// How an endpoint is chosen.
    pub balancing: Balancing,
    /// Whether endpoints nearby go first.
    pub locality: LocalityPreference,
    /// For how long a new endpoint's share grows to its full one.
    pub slow_start: Option<Duration>,
    /// Until a connection stands. Default: the node's `[outbound] connect-timeout`.
    pub connect_timeout: Option<Duration>,
    /// Circuit breaking.
    pub limits: Limits,
    /// Passive health checks.
    pub outliers: Option<OutlierDetection>,
    /// How many retries there may be.
    pub retry_budget: RetryBudget,
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Balancing {
    /// The one of two random ones with fewer requests in flight (connections, for TCP), weights considered.
    #[default]
    LeastRequest,
    /// The one of two random ones with the smaller product of its latency's peak-sensitive moving average and its
    /// requests in flight; failures count as slow answers.
    PeakEwma,
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
    /// By consistent hashing on a ring.
    RingHash {
        /// What is hashed.
        key: HashKey,
        /// Least number of points on the ring.
        min_size: u32,
    },
    /// By Maglev's table (Eisenbud et al., NSDI 2016).
    Maglev {
        /// What is hashed.
        key: HashKey,
        /// Size of the table, a prime.
        table_size: u32,
    },
}

/// What of a request is hashed. A request that lacks it goes to any endpoint. TCP has `SourceAddress` only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// A header's value; the name in lower case.
    Header(String),
    /// A cookie's value.
    Cookie(String),
    /// A query parameter's first value.
    Query(String),
    /// The client's address.
    SourceAddress,
}

/// Whether endpoints nearby go first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LocalityPreference {
    /// All are alike.
    #[default]
    None,
    /// Those of the client's zone, then its region, then all; the next level takes over the share of those that are not
    /// healthy.
    Failover,
}

/// Circuit breaking: what goes beyond is answered 503 at once. Absent: no limit. Counted by each node on its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Connections to all endpoints.
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection. Default: 1,024.
    pub max_pending: Option<u32>,
    /// Requests in flight to all endpoints.
    pub max_requests: Option<u32>,
    /// Connections to one endpoint.
    pub endpoint_max_connections: Option<u32>,
    /// Requests in flight to one endpoint.
    pub endpoint_max_requests: Option<u32>,
    /// Requests that one connection carries before it is closed.
    pub max_requests_per_connection: Option<u32>,
}

/// When an endpoint is left out for a while because of how it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlierDetection {
    /// After so many 5xx (or connection failures, or gRPC's equivalents) one after another.
    pub consecutive_5xx: Option<u32>,
    /// After so many 502, 503, 504 or connection failures one after another.
    pub consecutive_gateway: Option<u32>,
    /// When its success rate is far below the others'.
    pub success_rate: Option<SuccessRate>,
    /// How often success rates are compared and ejected endpoints looked at.
    pub interval: Duration,
    /// The first ejection's length; the next ones are multiples of it.
    pub base_ejection: Duration,
    /// The longest ejection.
    pub max_ejection: Duration,
    /// The largest share of endpoints that may be ejected at once, in percent; always at least one endpoint, never the last.
    pub max_ejected_percent: u32,
}

/// Ejection by success rate: below mean - deviations × standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuccessRate {
    /// Only with so many endpoints that have enough requests.
    pub min_endpoints: u32,
    /// Only endpoints with so many requests in an interval.
    pub min_requests: u32,
    /// Deviations, in thousandths; Envoy's default is 1900.
    pub deviations_thousandths: u32,
}

/// How many retries there may be: those in flight at most this share of the requests in flight, but always so many a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// Retries by requests over the last ten seconds, in percent.
    pub percent: u32,
    /// Retries a second that are always allowed.
    pub min_per_second: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            percent: 20,
            min_per_second: 10,
        }
    }
}
