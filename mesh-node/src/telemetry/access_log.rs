//! The access log: one line for each connection, when it is over.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

/// The tracing target of access log lines, to be named in a log filter.
pub const TARGET: &str = "access";

/// Which connections the access log has. JSON or text is up to `[log] format`, as for every other line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoggedConnections {
    /// Every connection.
    #[default]
    All,
    /// Connections that failed.
    Failures,
    /// Nothing.
    Off,
}

/// What is known of a connection at its end.
#[derive(Debug)]
pub struct Entry<'a> {
    /// `inbound` or `outbound`.
    pub direction: &'static str,
    /// The local workload; empty when it is not known.
    pub workload: &'a str,
    /// The client.
    pub source: SocketAddr,
    /// What it asked for.
    pub destination: Option<SocketAddr>,
    /// The Service asked for.
    pub service: &'a str,
    /// Where the connection went.
    pub endpoint: Option<SocketAddr>,
    /// The peer's SPIFFE ID.
    pub peer: &'a str,
    /// `hbone`, `local` or `plaintext`.
    pub transport: &'static str,
    /// Bytes from the client to the server.
    pub sent: u64,
    /// Bytes from the server to the client.
    pub received: u64,
    /// How long it lasted.
    pub duration: Duration,
    /// Why it failed: a label, and the whole story.
    pub failure: Option<(&'static str, String)>,
}

// === impl LoggedConnections ===

impl LoggedConnections {
    /// Writes the entry, if it is to be written.
    pub fn write(self, entry: &Entry<'_>) {
        match (&entry.failure, self) {
            (_, Self::Off) | (None, Self::Failures) => {}
            (None, Self::All) => entry.write_success(),
            (Some((reason, error)), _) => entry.write_failure(reason, error),
        }
    }
}

// === impl Entry ===

impl Entry<'_> {
    fn write_success(&self) {
        tracing::info!(
            target: TARGET,
            direction = self.direction,
            workload = self.workload,
            source = %self.source,
            destination = %Shown(self.destination),
            service = self.service,
            endpoint = %Shown(self.endpoint),
            peer = self.peer,
            transport = self.transport,
            bytes_sent = self.sent,
            bytes_received = self.received,
            duration = self.duration.as_secs_f64(),
            "connection complete"
        );
    }

    fn write_failure(&self, reason: &str, error: &str) {
        tracing::warn!(
            target: TARGET,
            direction = self.direction,
            workload = self.workload,
            source = %self.source,
            destination = %Shown(self.destination),
            service = self.service,
            endpoint = %Shown(self.endpoint),
            peer = self.peer,
            transport = self.transport,
            bytes_sent = self.sent,
            bytes_received = self.received,
            duration = self.duration.as_secs_f64(),
            reason,
            error,
            "connection failed"
        );
    }
}

/// An address, or a dash.
struct Shown(Option<SocketAddr>);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("-"),
        }
    }
}
