//! What a TrafficPolicy says of endpoints: balancing, circuit breaking, outlier detection. Defaults are Envoy's, which
//! users know.

use std::time::Duration;

use mesh_model::{Balancing, HashKey, LocalityPreference, OutlierDetection, SuccessRate};
use serde::Deserialize;

use crate::source::manifest::reader::Reader;
use crate::source::manifest::text;
use crate::world::BackendSettings;

/// Least points on a ring (Envoy, minimum_ring_size).
const RING_SIZE: u32 = 1024;
/// Size of Maglev's table, a prime (Envoy, table_size; the larger one of the paper's).
const MAGLEV_SIZE: u32 = 65537;
/// Envoy's defaults of outlier detection.
const CONSECUTIVE: u32 = 5;
const INTERVAL: Duration = Duration::from_secs(10);
const BASE_EJECTION: Duration = Duration::from_secs(30);
const MAX_EJECTION: Duration = Duration::from_mins(5);
const MAX_EJECTED_PERCENT: u32 = 10;
const MIN_ENDPOINTS: u32 = 5;
const MIN_REQUESTS: u32 = 100;
const DEVIATIONS: f64 = 1.9;
/// Most standard deviations below the mean that make sense.
const MAX_DEVIATIONS: f64 = 100.0;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawLoadBalancing {
    policy: Option<RawPolicy>,
    hash: Option<RawHash>,
    locality: Option<RawLocality>,
    slow_start: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum RawPolicy {
    LeastRequest,
    PeakEwma,
    RoundRobin,
    Random,
    RingHash,
    Maglev,
}

/// Exactly one of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawHash {
    header: Option<String>,
    cookie: Option<String>,
    query: Option<String>,
    source_address: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum RawLocality {
    None,
    Failover,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawCircuitBreaking {
    max_connections: Option<u32>,
    max_pending_requests: Option<u32>,
    max_requests: Option<u32>,
    #[serde(default)]
    per_endpoint: RawPerEndpoint,
    max_requests_per_connection: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct RawPerEndpoint {
    max_connections: Option<u32>,
    max_requests: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawOutliers {
    #[serde(rename = "consecutive5xx")]
    consecutive_5xx: Option<u32>,
    consecutive_gateway_errors: Option<u32>,
    success_rate: Option<RawSuccessRate>,
    interval: Option<String>,
    base_ejection: Option<String>,
    max_ejection: Option<String>,
    max_ejected_percent: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawSuccessRate {
    min_endpoints: Option<u32>,
    min_requests: Option<u32>,
    deviations: Option<f64>,
}

// === impl RawLoadBalancing ===

impl RawLoadBalancing {
    pub(super) fn convert(self, settings: &mut BackendSettings, reader: &mut Reader<'_>) {
        const FIELD: &str = "spec.loadBalancing";
        let key = self.hash.and_then(|hash| hash.convert(reader));
        let is_hashing = matches!(self.policy, Some(RawPolicy::RingHash | RawPolicy::Maglev));
        if is_hashing && key.is_none() {
            let remedy = "write what is hashed: a header, cookie or query parameter, or sourceAddress: true";
            reader.error(
                format!("{FIELD}.hash"),
                "is missing for a policy that hashes",
                remedy,
            );
        }
        if !is_hashing && key.is_some() {
            let message = "has no meaning for a policy that does not hash";
            reader.error(
                format!("{FIELD}.hash"),
                message,
                "set policy to RingHash or Maglev",
            );
        }
        // A missing key has been reported.
        let key = key.unwrap_or(HashKey::SourceAddress);
        settings.balancing = self.policy.map(|policy| match policy {
            RawPolicy::LeastRequest => Balancing::LeastRequest,
            RawPolicy::PeakEwma => Balancing::PeakEwma,
            RawPolicy::RoundRobin => Balancing::RoundRobin,
            RawPolicy::Random => Balancing::Random,
            RawPolicy::RingHash => Balancing::RingHash {
                key,
                min_size: RING_SIZE,
            },
            RawPolicy::Maglev => Balancing::Maglev {
                key,
                table_size: MAGLEV_SIZE,
            },
        });
        settings.locality = self.locality.map(|locality| match locality {
            RawLocality::None => LocalityPreference::None,
            RawLocality::Failover => LocalityPreference::Failover,
        });
        settings.slow_start = reader.duration(self.slow_start.as_deref(), &format!("{FIELD}.slowStart"));
    }
}

// === impl RawHash ===

impl RawHash {
    fn convert(self, reader: &mut Reader<'_>) -> Option<HashKey> {
        const FIELD: &str = "spec.loadBalancing.hash";
        let remedy = "use letters, digits and !#$%&'*+-.^_`|~, 256 at most";
        let mut keys = Vec::new();
        if let Some(name) = self.header {
            keys.push(HashKey::Header(
                reader.header_name(&name, &format!("{FIELD}.header")),
            ));
        }
        if let Some(name) = self.cookie {
            reader.form(
                text::is_token(&name),
                &name,
                &format!("{FIELD}.cookie"),
                "name of a cookie",
                remedy,
            );
            keys.push(HashKey::Cookie(name));
        }
        if let Some(name) = self.query {
            if name.is_empty() {
                reader.error(
                    format!("{FIELD}.query"),
                    "is empty",
                    "write the name of the parameter",
                );
            }
            keys.push(HashKey::Query(name));
        }
        if self.source_address == Some(true) {
            keys.push(HashKey::SourceAddress);
        }
        if keys.len() != 1 {
            let message = format!("names {} things to hash", keys.len());
            reader.error(
                FIELD,
                message,
                "name one: header, cookie, query or sourceAddress: true",
            );
        }
        keys.pop()
    }
}

// === impl RawCircuitBreaking ===

impl RawCircuitBreaking {
    pub(super) fn convert(&self, settings: &mut BackendSettings, reader: &mut Reader<'_>) {
        let mut limit = |limit: Option<u32>, name: &str| {
            limit.map(|limit| reader.within(limit, 1, u32::MAX, &format!("spec.circuitBreaking.{name}")))
        };
        settings.max_connections = limit(self.max_connections, "maxConnections");
        // None may wait: that is a limit that makes sense.
        settings.max_pending = self.max_pending_requests;
        settings.max_requests = limit(self.max_requests, "maxRequests");
        settings.endpoint_max_connections =
            limit(self.per_endpoint.max_connections, "perEndpoint.maxConnections");
        settings.endpoint_max_requests = limit(self.per_endpoint.max_requests, "perEndpoint.maxRequests");
        settings.max_requests_per_connection =
            limit(self.max_requests_per_connection, "maxRequestsPerConnection");
    }
}

// === impl RawOutliers ===

impl RawOutliers {
    pub(super) fn convert(self, reader: &mut Reader<'_>) -> OutlierDetection {
        const FIELD: &str = "spec.outlierDetection";
        let count = |count: Option<u32>, name: &str, reader: &mut Reader<'_>| {
            count.map(|count| reader.within(count, 1, u32::MAX, &format!("{FIELD}.{name}")))
        };
        let consecutive_5xx = count(self.consecutive_5xx, "consecutive5xx", reader);
        let consecutive_gateway = count(
            self.consecutive_gateway_errors,
            "consecutiveGatewayErrors",
            reader,
        );
        let success_rate = self.success_rate.map(|rate| rate.convert(reader));
        let is_bare = consecutive_5xx.is_none() && consecutive_gateway.is_none() && success_rate.is_none();
        let base_field = format!("{FIELD}.baseEjection");
        let base_ejection = reader.positive(self.base_ejection.as_deref(), BASE_EJECTION, &base_field);
        let longest = MAX_EJECTION.max(base_ejection);
        let max_field = format!("{FIELD}.maxEjection");
        let max_ejection = reader.positive(self.max_ejection.as_deref(), longest, &max_field);
        if max_ejection < base_ejection {
            let message = "is shorter than the first ejection, baseEjection";
            reader.error(max_field, message, "lengthen it, or shorten the other");
        }
        let percent = self.max_ejected_percent.unwrap_or(MAX_EJECTED_PERCENT);
        OutlierDetection {
            consecutive_5xx: if is_bare {
                Some(CONSECUTIVE)
            } else {
                consecutive_5xx
            },
            consecutive_gateway,
            success_rate,
            interval: reader.positive(self.interval.as_deref(), INTERVAL, &format!("{FIELD}.interval")),
            base_ejection,
            max_ejection,
            max_ejected_percent: reader.within(percent, 0, 100, &format!("{FIELD}.maxEjectedPercent")),
        }
    }
}

// === impl RawSuccessRate ===

impl RawSuccessRate {
    fn convert(&self, reader: &mut Reader<'_>) -> SuccessRate {
        const FIELD: &str = "spec.outlierDetection.successRate";
        let deviations = self.deviations.unwrap_or(DEVIATIONS);
        let deviations = reader.within(deviations, 0.0, MAX_DEVIATIONS, &format!("{FIELD}.deviations"));
        let endpoints = self.min_endpoints.unwrap_or(MIN_ENDPOINTS);
        let requests = self.min_requests.unwrap_or(MIN_REQUESTS);
        SuccessRate {
            min_endpoints: reader.within(endpoints, 1, u32::MAX, &format!("{FIELD}.minEndpoints")),
            min_requests: reader.within(requests, 1, u32::MAX, &format!("{FIELD}.minRequests")),
            deviations_thousandths: thousandths(deviations),
        }
    }
}

/// Standard deviations in thousandths; what is out of bounds has been reported.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=100,000 before"
)]
fn thousandths(deviations: f64) -> u32 {
    (deviations.clamp(0.0, MAX_DEVIATIONS) * 1000.0).round() as u32
}
