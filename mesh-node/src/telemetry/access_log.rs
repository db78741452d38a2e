//! The access log: one line for each connection and each request, when it is over.

mod request;

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use mesh_runtime::logging::LogFormat;
use parking_lot::Mutex;
use serde::Deserialize;

use super::lines::Lines;
use super::requests::RequestRecord;

/// The tracing target of access log lines, to be named in a log filter.
pub const TARGET: &str = "access";
/// Lines a second on failures that belong to nobody: enough to see what goes on, too few to fill a disk.
const NOBODYS_LINES: u32 = 10;

/// Which connections, or requests, the access log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Logged {
    /// Every one.
    All,
    /// Those that failed.
    Failures,
    /// None.
    Off,
}

/// What is written, and how.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Which connections.
    pub connections: Logged,
    /// Which requests.
    pub requests: Logged,
    /// The share of requests that went well which is written, where all are.
    pub sample: f64,
    /// How requests are written; connections go through tracing, which knows.
    pub format: LogFormat,
    /// How many threads carry requests.
    pub threads: usize,
}

/// The access log of the process.
#[derive(Debug)]
pub struct AccessLog {
    settings: Settings,
    nobody: Mutex<Pace>,
    /// Lines of requests; absent when there are none.
    lines: Option<Lines>,
}

/// Which lines are written of those that anybody at all can cause, and how many were not.
#[derive(Debug, Default)]
struct Pace {
    second: Option<Instant>,
    written: u32,
    left_out: u64,
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
    /// The rule of a TCPRoute or TLSRoute, `namespace/route#rule`; empty where there is none.
    pub route: &'a str,
    /// Where the connection went.
    pub endpoint: Option<SocketAddr>,
    /// The peer's SPIFFE ID.
    pub peer: &'a str,
    /// `hbone`, `local`, `direct` or `plaintext`.
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

/// One line with every field of an entry: tracing's level is a part of the macro's name, so a function can't take it.
macro_rules! line {
    ($entry:expr, $level:ident, $message:literal $(, $more:ident)*) => {
        tracing::$level!(
            target: TARGET,
            direction = $entry.direction,
            workload = $entry.workload,
            source = %$entry.source,
            destination = %Shown($entry.destination),
            service = $entry.service,
            route = $entry.route,
            endpoint = %Shown($entry.endpoint),
            peer = $entry.peer,
            transport = $entry.transport,
            bytes_sent = $entry.sent,
            bytes_received = $entry.received,
            duration = $entry.duration.as_secs_f64(),
            $($more,)*
            $message
        )
    };
}

// === impl AccessLog ===

impl AccessLog {
    /// Writes to standard error.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            nobody: Mutex::default(),
            lines: (settings.requests != Logged::Off)
                .then(|| Lines::start(settings.threads, Box::new(Stderr))),
        }
    }

    /// Writes the entry, if it is to be written. Of failures that belong to no workload and no peer a few a second
    /// are written, and the others counted.
    pub fn write(&self, entry: &Entry<'_>) {
        match (&entry.failure, self.settings.connections) {
            (_, Logged::Off) | (None, Logged::Failures) => {}
            (None, Logged::All) => entry.write_success(),
            (Some((reason, error)), _) if entry.is_nobodys() => {
                let Some(left_out) = self.nobody.lock().admit(Instant::now()) else {
                    return;
                };
                if left_out > 0 {
                    tracing::warn!(target: TARGET, left_out, "connections of nobody known failed, and are not in this log");
                }
                entry.write_failure(reason, error);
            }
            (Some((reason, error)), _) => entry.write_failure(reason, error),
        }
    }

    /// Writes the line of a request, if it is to be written: a fraction of a second later, on a thread of its own.
    pub fn write_request(&self, record: &RequestRecord<'_>) {
        let Some(lines) = &self.lines else { return };
        let is_wanted = request::is_told(record) || self.settings.requests == Logged::All && self.is_drawn();
        if is_wanted && request::is_enabled(record) {
            lines.add(|buffer| request::write(record, self.settings.format, SystemTime::now(), buffer));
        }
    }

    fn is_drawn(&self) -> bool {
        self.settings.sample >= 1.0 || fastrand::f64() < self.settings.sample
    }

    /// Writes out the lines of requests that still wait.
    pub fn flush(&self) {
        if let Some(lines) = &self.lines {
            lines.flush();
        }
    }

    /// Lines of requests that were left out because standard error did not take them.
    pub fn left_out(&self) -> u64 {
        self.lines.as_ref().map_or(0, Lines::left_out)
    }
}

/// Standard error: locked for each batch, so that no other line comes in between.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::io::stderr().lock().write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        std::io::stderr().lock().write_all(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// === impl Pace ===

impl Pace {
    /// Whether a line is written now, and then how many were left out before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        let is_same = self
            .second
            .is_some_and(|second| now.duration_since(second) < Duration::from_secs(1));
        if !is_same {
            self.second = Some(now);
            self.written = 0;
        }
        if self.written >= NOBODYS_LINES {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

// === impl Entry ===

impl Entry<'_> {
    /// Whether anybody who reaches a port of the mesh may have caused it: neither captured nor authenticated.
    fn is_nobodys(&self) -> bool {
        self.workload.is_empty() && self.peer.is_empty()
    }

    fn write_success(&self) {
        line!(self, info, "connection complete");
    }

    fn write_failure(&self, reason: &str, error: &str) {
        line!(self, warn, "connection failed", reason, error);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_nobodys_is_counted_and_not_written() {
        let mut pace = Pace::default();
        let start = Instant::now();
        let written = (0..1000).filter(|_| pace.admit(start).is_some()).count();
        assert_eq!(written, 10);
        let later = start + Duration::from_secs(1);
        assert_eq!(pace.admit(later), Some(990), "what was left out is told once");
        assert_eq!(pace.admit(later), Some(0));
    }
}
