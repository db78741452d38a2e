//! `[metrics]` and `[access-log]`: what is told of connections and requests, and how much of it is kept.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use mesh_runtime::config::duration;
use serde::Deserialize;

use super::{Senseless, not_zero, within};
use crate::telemetry::access_log::Logged;

/// Series: enough for a table of the busiest Services at least, and no more than a scrape within its 10 s could show.
const SERIES: std::ops::RangeInclusive<usize> = 100..=1_000_000;

/// `[metrics]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct MetricsConfig {
    /// Where `/metrics` is.
    pub address: SocketAddr,
    /// How many combinations of labels requests are counted by, at most; and connections.
    pub max_series: usize,
    /// For how long nothing must have been counted in a series of something that is gone, before it goes too.
    #[serde(with = "duration")]
    pub series_retention: Duration,
}

/// `[access-log]`. JSON or text is up to `[log] format`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AccessLogConfig {
    /// Which connections are written.
    pub connections: Logged,
    /// Which requests are written.
    pub requests: Logged,
    /// With `requests = "all"`, the share of those that went well which is written.
    pub sample: f64,
}

// === impl MetricsConfig ===

impl MetricsConfig {
    pub(super) fn check(&self) -> Result<(), Senseless> {
        within("metrics.max-series", self.max_series, &SERIES)?;
        not_zero("metrics.series-retention", self.series_retention)
    }
}

impl Default for MetricsConfig {
    /// The port is Istio's proxies'; the retention is Linkerd's.
    fn default() -> Self {
        Self {
            address: (Ipv6Addr::UNSPECIFIED, 15020).into(),
            max_series: 10_000,
            series_retention: Duration::from_mins(10),
        }
    }
}

// === impl AccessLogConfig ===

impl AccessLogConfig {
    pub(super) fn check(&self) -> Result<(), Senseless> {
        within("access-log.sample", self.sample, &(0.0..=1.0))
    }
}

impl Default for AccessLogConfig {
    /// A line for each request would be most of what a busy node writes: failures only, unless it is asked for.
    fn default() -> Self {
        Self {
            connections: Logged::All,
            requests: Logged::Failures,
            sample: 1.0,
        }
    }
}
