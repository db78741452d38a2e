//! The access log's line of a request.
//!
//! Much of it was chosen by a client: texts are escaped, so that none can end the line or begin another field, and cut, so that
//! none can fill the disk. What follows a `?` in a path stays out: queries hold what should not be in logs.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use mesh_model::{Identity, ResourceName, RuleName};
use mesh_runtime::logging::LogFormat;
use serde::{Serialize, Serializer};

use super::TARGET;
use crate::outcome::Flags;
use crate::telemetry::requests::{Protocol, RequestRecord, WithPort, is_failure};

// The longest texts, in bytes; what is beyond is cut. Long enough for what is in use: a UUID is 36, a browser's name 150.
const METHOD: usize = 32;
const AUTHORITY: usize = 255;
const PATH: usize = 1024;
const CAUSE: usize = 512;
const ID: usize = 128;
const USER_AGENT: usize = 256;

/// The line, in the order in which it is written. Absent values are `null` in JSON, `-` in text.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: Shown<Timestamp>,
    level: &'static str,
    message: &'static str,
    workload: Option<Shown<&'a ResourceName>>,
    identity: Option<Shown<&'a Identity>>,
    source: Shown<SocketAddr>,
    method: Cut<'a>,
    authority: Cut<'a>,
    path: Cut<'a>,
    protocol: &'static str,
    status: Option<u16>,
    grpc_status: Option<u32>,
    flags: Shown<Flags>,
    cause: Cut<'a>,
    attempts: u32,
    service: Option<Shown<WithPort<'a>>>,
    route: Option<Shown<&'a RuleName>>,
    backend: Option<Shown<WithPort<'a>>>,
    endpoint: Option<Shown<SocketAddr>>,
    peer_workload: Option<Shown<&'a ResourceName>>,
    peer: Option<Shown<&'a Identity>>,
    transport: &'static str,
    duration: Seconds,
    upstream_duration: Option<Seconds>,
    request_bytes: u64,
    response_bytes: u64,
    request_id: Cut<'a>,
    trace_id: Cut<'a>,
    user_agent: Cut<'a>,
    target: &'static str,
}

/// Something that is written as its text.
struct Shown<T>(T);

/// A text of a client's choice.
struct Cut<'a> {
    text: &'a str,
    is_cut: bool,
}

/// Seconds, as a number.
struct Seconds(Duration);

/// A moment, as RFC 3339 has it.
struct Timestamp(SystemTime);

/// Whether the request is one of the failures: it failed, or the proxy did something to it.
pub(super) fn is_told(record: &RequestRecord<'_>) -> bool {
    !record.flags.is_empty() || is_failure(record.status, record.grpc_status, record.flags)
}

/// Whether the log's filter lets the line through.
pub(super) fn is_enabled(record: &RequestRecord<'_>) -> bool {
    if is_failure(record.status, record.grpc_status, record.flags) {
        tracing::enabled!(target: TARGET, tracing::Level::WARN)
    } else {
        tracing::enabled!(target: TARGET, tracing::Level::INFO)
    }
}

/// Adds the line to a buffer.
pub(super) fn write(record: &RequestRecord<'_>, format: LogFormat, now: SystemTime, buffer: &mut Vec<u8>) {
    let line = Line::new(record, now);
    let start = buffer.len();
    let written = match format {
        LogFormat::Json => serde_json::to_writer(&mut *buffer, &line).map_err(io::Error::from),
        LogFormat::Text => line.write_text(buffer),
    };
    // A Vec takes everything, and the fields are plain values; should one fail all the same, no half line stays.
    match written {
        Ok(()) => buffer.push(b'\n'),
        Err(_) => buffer.truncate(start),
    }
}

// === impl Line ===

impl<'a> Line<'a> {
    fn new(record: &RequestRecord<'a>, now: SystemTime) -> Self {
        let is_failure = is_failure(record.status, record.grpc_status, record.flags);
        let path = record.path.split(['?', '#']).next().unwrap_or_default();
        Self {
            timestamp: Shown(Timestamp(now)),
            level: if is_failure { "WARN" } else { "INFO" },
            message: if is_failure {
                "request failed"
            } else {
                "request complete"
            },
            workload: record.source.map(Shown),
            identity: record.source_identity.map(Shown),
            source: Shown(record.client),
            method: Cut::new(record.method, METHOD),
            authority: Cut::new(record.authority, AUTHORITY),
            path: Cut::new(path, PATH),
            protocol: Protocol::from(record.protocol).as_str(),
            status: record.status,
            grpc_status: record.grpc_status,
            flags: Shown(record.flags),
            cause: Cut::new(record.cause, CAUSE),
            attempts: record.attempts,
            service: record.service.map(WithPort).map(Shown),
            route: record.route.map(Shown),
            backend: record.backend.map(WithPort).map(Shown),
            endpoint: record.endpoint.map(Shown),
            peer_workload: record.destination.map(Shown),
            peer: record.destination_identity.map(Shown),
            transport: record.transport,
            duration: Seconds(record.duration),
            upstream_duration: record.upstream_duration.map(Seconds),
            request_bytes: record.request_bytes,
            response_bytes: record.response_bytes,
            request_id: Cut::new(record.request_id, ID),
            trace_id: Cut::new(record.trace_id, ID),
            user_agent: Cut::new(record.user_agent, USER_AGENT),
            target: TARGET,
        }
    }

    /// As the rest of the log has it: texts of clients in quotes, with escapes as in Rust.
    fn write_text(&self, out: &mut Vec<u8>) -> io::Result<()> {
        write!(
            out,
            "{} {:>5} {}: {}",
            self.timestamp.0, self.level, self.target, self.message
        )?;
        write!(out, " workload={}", OrDash(self.workload.as_ref()))?;
        write!(out, " identity={}", OrDash(self.identity.as_ref()))?;
        write!(
            out,
            " source={} method={} authority={}",
            self.source, self.method, self.authority
        )?;
        write!(out, " path={} protocol={}", self.path, self.protocol)?;
        write!(
            out,
            " status={} grpc_status={}",
            OrDash(self.status),
            OrDash(self.grpc_status)
        )?;
        write!(
            out,
            " flags={} cause={} attempts={}",
            self.flags, self.cause, self.attempts
        )?;
        write!(out, " service={}", OrDash(self.service.as_ref()))?;
        write!(out, " route={}", OrDash(self.route.as_ref()))?;
        write!(out, " backend={}", OrDash(self.backend.as_ref()))?;
        write!(out, " endpoint={}", OrDash(self.endpoint.as_ref()))?;
        write!(out, " peer_workload={}", OrDash(self.peer_workload.as_ref()))?;
        write!(out, " peer={}", OrDash(self.peer.as_ref()))?;
        let transport = Some(self.transport).filter(|transport| !transport.is_empty());
        write!(out, " transport={} duration={}", OrDash(transport), self.duration)?;
        write!(
            out,
            " upstream_duration={}",
            OrDash(self.upstream_duration.as_ref())
        )?;
        write!(
            out,
            " request_bytes={} response_bytes={}",
            self.request_bytes, self.response_bytes
        )?;
        write!(out, " request_id={} trace_id={}", self.request_id, self.trace_id)?;
        write!(out, " user_agent={}", self.user_agent)
    }
}

// === impl Shown ===

impl<T: Display> Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

// === impl Cut ===

impl<'a> Cut<'a> {
    fn new(text: &'a str, longest: usize) -> Self {
        let end = text.floor_char_boundary(longest);
        Self {
            text: &text[..end],
            is_cut: end < text.len(),
        }
    }
}

impl Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)?;
        if self.is_cut { f.write_char('…') } else { Ok(()) }
    }
}

impl Serialize for Cut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_cut {
            serializer.collect_str(&format_args!("{}…", self.text))
        } else {
            serializer.serialize_str(self.text)
        }
    }
}

// === impl Seconds ===

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_secs_f64())
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_secs_f64())
    }
}

impl Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_micros(self.0).fmt(f)
    }
}

/// A value, or a dash.
struct OrDash<T>(Option<T>);

impl<T: Display> Display for OrDash<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_char('-'),
        }
    }
}

#[cfg(test)]
mod tests;
