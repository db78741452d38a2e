//! What a client's connection may cost, and how long it may take: `[http]` of the configuration, as the server uses it.

use std::time::Duration;

use crate::config::HttpConfig;

/// The limits of one client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest head of a request, in bytes: its first line and all header fields; for HTTP/2 the size of the decoded
    /// list (RFC 9113 §6.5.2).
    pub max_head_bytes: usize,
    /// Most header fields of a request.
    pub max_headers: usize,
    /// From the first byte of a head to its last.
    pub header_timeout: Duration,
    /// A connection with no request in progress is kept as long.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of what is to be written to it.
    pub write_timeout: Duration,
    /// HTTP/2: requests in progress on one connection.
    pub max_streams: u32,
    /// HTTP/2: flow-control window of a request's body, in bytes.
    pub stream_window: u32,
    /// HTTP/2: flow-control window of all bodies of a connection, in bytes.
    pub connection_window: u32,
    /// HTTP/2: how often the client is probed.
    pub ping_interval: Duration,
    /// HTTP/2: how long an unanswered probe is waited for.
    pub ping_timeout: Duration,
    /// How long requests in progress may still take after the stop: `[drain] deadline`.
    pub drain_deadline: Duration,
}

// === impl Limits ===

impl Limits {
    /// As configured.
    pub fn new(http: &HttpConfig, drain_deadline: Duration) -> Self {
        Self {
            max_head_bytes: http.max_head_bytes,
            max_headers: http.max_headers,
            header_timeout: http.header_timeout,
            idle_timeout: http.idle_timeout,
            write_timeout: http.write_timeout,
            max_streams: http.max_streams_per_connection,
            stream_window: http.stream_window,
            connection_window: http.connection_window,
            ping_interval: http.ping_interval,
            ping_timeout: http.ping_timeout,
            drain_deadline,
        }
    }
}
