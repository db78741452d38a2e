//! The access log's line of a request.
//!
//! Much of it was chosen by a client: texts are escaped, so that none can end the line or begin another field, and cut, so that
//! none can fill the disk. What follows a `?` in a path stays out: queries hold what should not be in logs.
//!
//! There is a line for every request, so it is put together byte by byte, without formatting and without allocating.

mod line;

use std::time::SystemTime;

use mesh_runtime::logging::LogFormat;

use self::line::Line;
use super::TARGET;
use crate::telemetry::requests::{Protocol, RequestRecord, is_failure};

// The longest texts, in bytes; what is beyond is cut. Long enough for what is in use: a UUID is 36, a browser's name 150.
const METHOD: usize = 32;
const AUTHORITY: usize = 255;
const PATH: usize = 1024;
const CAUSE: usize = 512;
const ID: usize = 128;
const USER_AGENT: usize = 256;

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

/// A field's value after its name, which is a literal: the texts around it are made when this is compiled.
macro_rules! field {
    ($line:ident, $name:literal, $write:ident($($argument:expr),*)) => {
        $line.name(concat!(" ", $name, "="), concat!(",\"", $name, "\":"));
        $line.$write($($argument),*);
    };
}

/// Adds the line to a buffer: in JSON an object with absent values as `null`; as text like the rest of the log, with texts of
/// clients in quotes and escapes as in Rust, and `-` for absent values.
pub(super) fn write(record: &RequestRecord<'_>, format: LogFormat, now: SystemTime, buffer: &mut Vec<u8>) {
    let is_failure = is_failure(record.status, record.grpc_status, record.flags);
    let path = record.path.split(['?', '#']).next().unwrap_or_default();
    let mut line = Line::begin(buffer, format == LogFormat::Json);
    line.start(now, is_failure);
    field!(line, "workload", resource(record.source));
    field!(line, "identity", identity(record.source_identity));
    field!(line, "source", address(Some(record.client)));
    field!(line, "method", of_client(record.method, METHOD));
    field!(line, "authority", of_client(record.authority, AUTHORITY));
    field!(line, "path", of_client(path, PATH));
    field!(line, "protocol", word(Protocol::from(record.protocol).as_str()));
    field!(line, "status", number(record.status.map(u64::from)));
    field!(line, "grpc_status", number(record.grpc_status.map(u64::from)));
    field!(line, "flags", flags(record.flags));
    field!(line, "cause", of_client(record.cause, CAUSE));
    field!(line, "attempts", number(Some(record.attempts.into())));
    field!(line, "service", port(record.service));
    field!(line, "route", rule(record.route));
    field!(line, "backend", port(record.backend));
    field!(line, "endpoint", address(record.endpoint));
    field!(line, "peer_workload", resource(record.destination));
    field!(line, "peer", identity(record.destination_identity));
    field!(line, "transport", word(record.transport));
    field!(line, "duration", seconds(Some(record.duration)));
    field!(line, "upstream_duration", seconds(record.upstream_duration));
    field!(line, "request_bytes", number(Some(record.request_bytes)));
    field!(line, "response_bytes", number(Some(record.response_bytes)));
    field!(line, "request_id", of_client(record.request_id, ID));
    field!(line, "trace_id", of_client(record.trace_id, ID));
    field!(line, "user_agent", of_client(record.user_agent, USER_AGENT));
    line.end();
}

#[cfg(test)]
mod tests;
