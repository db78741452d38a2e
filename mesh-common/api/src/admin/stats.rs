//! The JSON of a node's `GET /stats`: counts since the process started. Two of them, some time apart, give rates.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `GET /stats?by=services`, `routes` or `workloads`: requests that this node's workloads sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Microseconds since the process started.
    pub uptime_micros: u64,
    /// Requests under way.
    pub in_flight: u64,
    /// Upper bounds of the rows' `latency`, in microseconds, inclusive.
    pub bounds_micros: Vec<u64>,
    /// Requests that are in no row of their own, because there were too many combinations of names.
    pub overflowed: u64,
    /// One for each group.
    pub rows: Vec<StatsRow>,
}

/// Requests of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsRow {
    /// What they have in common.
    #[serde(flatten)]
    pub group: StatsGroup,
    /// How many are over.
    pub requests: u64,
    /// Those of them that failed: answered with 500 or more, with one of gRPC's equivalents, or not at all.
    pub failures: u64,
    /// How many by status; `none` where the client had gone before an answer.
    pub codes: BTreeMap<String, u64>,
    /// How many by response flag; a request may have several or none.
    pub flags: BTreeMap<String, u64>,
    /// Bytes of their bodies.
    pub request_bytes: u64,
    /// Bytes of the answers' bodies.
    pub response_bytes: u64,
    /// How many by duration: one count for each bound, of those that took longer than the former one, then those above all.
    pub latency: Vec<u64>,
}

/// What requests have in common. What they are not grouped by is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StatsGroup {
    /// The Service asked for, `namespace/name:port`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// The rule that matched, `namespace/route#rule`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub route: String,
    /// Where they were sent, `namespace/name:port`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub backend: String,
    /// The workload, `namespace/name`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub workload: String,
    /// What the workload was: `client` or `server`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
}
