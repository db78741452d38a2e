//! `[http]`: what the HTTP connections of clients may cost, and how long they may take.

use std::time::Duration;

use mesh_runtime::config::duration;
use serde::Deserialize;

use super::{COUNTS, Senseless, WINDOWS, not_zero, within};

/// `[http]`. The defaults are Envoy's where it has any; windows are smaller, since a node holds them for all workloads.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct HttpConfig {
    /// Largest head of a request, in bytes.
    pub max_head_bytes: usize,
    /// Most header fields of a request.
    pub max_headers: usize,
    /// From the first byte of a head to its last.
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    /// How long a connection without a request is kept.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// How long a client may take nothing of what is written to it.
    #[serde(with = "duration")]
    pub write_timeout: Duration,
    /// Largest body of a request, in bytes; absent: as large as it comes.
    pub max_body_bytes: Option<u64>,
    /// Bytes of bodies that are kept for one workload's requests to be sent again.
    pub max_kept_bytes_per_workload: usize,
    /// Requests in progress on one HTTP/2 connection.
    pub max_streams_per_connection: u32,
    /// HTTP/2's window of a request's body, in bytes.
    pub stream_window: u32,
    /// HTTP/2's window of all bodies of a connection, in bytes.
    pub connection_window: u32,
    /// How often an HTTP/2 client is probed.
    #[serde(with = "duration")]
    pub ping_interval: Duration,
    /// How long an unanswered probe is waited for.
    #[serde(with = "duration")]
    pub ping_timeout: Duration,
}

/// Sizes of a head, in bytes: what RFC 9112 §3 wants a first line to have, and what fits the length of a URI in memory
/// with as much again for the header fields.
const HEADS: std::ops::RangeInclusive<usize> = 8_192..=1_048_576;

// === impl HttpConfig ===

impl HttpConfig {
    pub(super) fn check(&self) -> Result<(), Senseless> {
        within("http.max-head-bytes", self.max_head_bytes, &HEADS)?;
        within("http.max-headers", self.max_headers, &(1..=10_000))?;
        not_zero("http.header-timeout", self.header_timeout)?;
        not_zero("http.idle-timeout", self.idle_timeout)?;
        not_zero("http.write-timeout", self.write_timeout)?;
        let streams = usize::try_from(self.max_streams_per_connection).unwrap_or(usize::MAX);
        within("http.max-streams-per-connection", streams, &COUNTS)?;
        within("http.stream-window", self.stream_window, &WINDOWS)?;
        within("http.connection-window", self.connection_window, &WINDOWS)?;
        not_zero("http.ping-interval", self.ping_interval)?;
        not_zero("http.ping-timeout", self.ping_timeout)
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            max_head_bytes: 60 * 1024,
            max_headers: 100,
            header_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(3600),
            write_timeout: Duration::from_secs(300),
            max_body_bytes: None,
            max_kept_bytes_per_workload: 16 * 1024 * 1024,
            max_streams_per_connection: 1024,
            stream_window: 512 * 1024,
            connection_window: 4 * 1024 * 1024,
            ping_interval: Duration::from_secs(60),
            ping_timeout: Duration::from_secs(20),
        }
    }
}
