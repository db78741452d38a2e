//! Traffic policy as it is written: every field may be left to someone else.

use std::time::Duration;

use mesh_model::{
    Balancing, CookieAffinity, Fault, LocalityPreference, OutlierDetection, RateLimit, ResourceName, Retry,
    RetryBudget,
};

use super::{Age, Refusal};

/// A TrafficPolicy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficPolicy {
    /// Its name.
    pub name: ResourceName,
    /// Its age, which decides between two that set the same field of the same target.
    pub age: Age,
    /// `metadata.generation`, which its conditions name.
    pub generation: Option<i64>,
    /// What it is for; never empty.
    pub targets: Vec<TargetRef>,
    /// For requests.
    pub request: RequestSettings,
    /// For endpoints.
    pub backend: BackendSettings,
    /// What can't be done here. With any of these the policy has no effect.
    pub refusals: Vec<Refusal>,
}

/// What a TrafficPolicy is for, in its own namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetRef {
    /// The group, as it was written.
    pub group: Option<String>,
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
    /// The name of a Service's port, or of a route's rule.
    pub section: Option<String>,
}

/// What is set for requests. Absent: left to others. Durations of zero, and retries without attempts, switch a feature
/// off that others may have switched on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestSettings {
    /// From the whole request to the whole answer.
    pub request_timeout: Option<Duration>,
    /// Of one attempt.
    pub backend_timeout: Option<Duration>,
    /// With no byte in either direction.
    pub idle_timeout: Option<Duration>,
    /// When a request is sent again.
    pub retry: Option<Retry>,
    /// How many requests may pass.
    pub rate_limits: Option<Vec<RateLimit>>,
    /// Faults to inject.
    pub faults: Option<Vec<Fault>>,
    /// Keeps a client at its endpoint.
    pub affinity: Option<CookieAffinity>,
}

/// What is set for endpoints. Absent: left to others. Durations of zero switch a feature off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackendSettings {
    /// How an endpoint is chosen.
    pub balancing: Option<Balancing>,
    /// Whether endpoints nearby go first.
    pub locality: Option<LocalityPreference>,
    /// For how long a new endpoint's share grows.
    pub slow_start: Option<Duration>,
    /// Until a connection stands.
    pub connect_timeout: Option<Duration>,
    /// Connections to all endpoints.
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection.
    pub max_pending: Option<u32>,
    /// Requests in flight to all endpoints.
    pub max_requests: Option<u32>,
    /// Connections to one endpoint.
    pub endpoint_max_connections: Option<u32>,
    /// Requests in flight to one endpoint.
    pub endpoint_max_requests: Option<u32>,
    /// Requests that one connection carries.
    pub max_requests_per_connection: Option<u32>,
    /// Passive health checks.
    pub outliers: Option<OutlierDetection>,
    /// How many retries there may be.
    pub retry_budget: Option<RetryBudget>,
}

// === impl RequestSettings ===

impl RequestSettings {
    /// The fields of a TrafficPolicy that are set.
    pub fn fields(&self) -> impl Iterator<Item = &'static str> {
        let fields = [
            (self.request_timeout.is_some(), "spec.timeouts.request"),
            (self.backend_timeout.is_some(), "spec.timeouts.backendRequest"),
            (self.idle_timeout.is_some(), "spec.timeouts.idle"),
            (self.retry.is_some(), "spec.retries"),
            (self.rate_limits.is_some(), "spec.rateLimits"),
            (self.faults.is_some(), "spec.faults"),
            (self.affinity.is_some(), "spec.sessionAffinity"),
        ];
        set(fields)
    }
}

// === impl BackendSettings ===

impl BackendSettings {
    /// The fields of a TrafficPolicy that are set.
    pub fn fields(&self) -> impl Iterator<Item = &'static str> {
        let fields = [
            (self.balancing.is_some(), "spec.loadBalancing.policy"),
            (self.locality.is_some(), "spec.loadBalancing.locality"),
            (self.slow_start.is_some(), "spec.loadBalancing.slowStart"),
            (self.connect_timeout.is_some(), "spec.timeouts.connect"),
            (
                self.max_connections.is_some(),
                "spec.circuitBreaking.maxConnections",
            ),
            (
                self.max_pending.is_some(),
                "spec.circuitBreaking.maxPendingRequests",
            ),
            (self.max_requests.is_some(), "spec.circuitBreaking.maxRequests"),
            (
                self.endpoint_max_connections.is_some(),
                "spec.circuitBreaking.perEndpoint.maxConnections",
            ),
            (
                self.endpoint_max_requests.is_some(),
                "spec.circuitBreaking.perEndpoint.maxRequests",
            ),
            (
                self.max_requests_per_connection.is_some(),
                "spec.circuitBreaking.maxRequestsPerConnection",
            ),
            (self.outliers.is_some(), "spec.outlierDetection"),
            (self.retry_budget.is_some(), "spec.retryBudget"),
        ];
        set(fields)
    }
}

fn set<const N: usize>(fields: [(bool, &'static str); N]) -> impl Iterator<Item = &'static str> {
    fields
        .into_iter()
        .filter_map(|(is_set, field)| is_set.then_some(field))
}
