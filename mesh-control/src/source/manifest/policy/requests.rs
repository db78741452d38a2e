//! What a TrafficPolicy says of requests: retries, affinity, rate limits, faults.

use std::collections::BTreeSet;

use mesh_model::{CookieAffinity, Fault, FaultKind, RateLimit, RateLimitKey, Retry, RetryOn};
use serde::Deserialize;

use crate::source::manifest::reader::Reader;
use crate::source::manifest::route::{
    BACKOFF_GROWTH, DEFAULT_ATTEMPTS, DEFAULT_BACKOFF, MAX_ATTEMPTS, RETRIABLE, RawHttpMatch, listed_matches,
};
use crate::source::manifest::text;

/// Most rate limits, and faults, of a policy: each is looked at for each request.
const MAX_LIMITS: usize = 16;
/// gRPC's status codes, by number from 1 on (gRPC, "Status codes and their use in gRPC").
const GRPC_STATUSES: [&str; 16] = [
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// Parts of a percent in a million.
const MILLIONTHS: f64 = 10_000.0;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawRetries {
    attempts: Option<u32>,
    statuses: Option<Vec<RawStatus>>,
    grpc_statuses: Option<Vec<String>>,
    on: Option<Vec<RawRetryOn>>,
    non_idempotent: Option<bool>,
    backoff: Option<RawBackoff>,
}

/// A status code, or the name of several.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a status code, \"5xx\" or \"gateway-error\"")]
enum RawStatus {
    Code(u16),
    Class(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
enum RawRetryOn {
    ConnectFailure,
    Reset,
    Timeout,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawBackoff {
    base: Option<String>,
    max: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAffinity {
    cookie: RawCookie,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawCookie {
    name: String,
    max_age: Option<String>,
    path: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRateLimit {
    requests: u32,
    per: String,
    burst: Option<u32>,
    #[serde(default)]
    key: RawKey,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
enum RawKey {
    #[default]
    Service,
    ClientIdentity,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFault {
    matches: Option<Vec<RawHttpMatch>>,
    percent: f64,
    delay: Option<String>,
    abort: Option<RawAbort>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawAbort {
    status: Option<u16>,
    grpc_status: Option<String>,
}

/// The rate limits.
pub(super) fn rate_limits(raw: Vec<RawRateLimit>, reader: &mut Reader<'_>) -> Vec<RateLimit> {
    const FIELD: &str = "spec.rateLimits";
    let raw = reader.list(Some(raw), MAX_LIMITS, FIELD).into_iter().enumerate();
    raw.map(|(index, limit)| {
        let field = format!("{FIELD}[{index}]");
        let requests = reader.within(limit.requests, 1, u32::MAX, &format!("{field}.requests"));
        let burst = limit.burst.unwrap_or(requests.max(1));
        RateLimit {
            requests,
            interval: reader.positive(
                Some(&limit.per),
                std::time::Duration::ZERO,
                &format!("{field}.per"),
            ),
            burst: reader.within(burst, 1, u32::MAX, &format!("{field}.burst")),
            key: match limit.key {
                RawKey::Service => RateLimitKey::Service,
                RawKey::ClientIdentity => RateLimitKey::ClientIdentity,
            },
        }
    })
    .collect()
}

/// The faults.
pub(super) fn faults(raw: Vec<RawFault>, reader: &mut Reader<'_>) -> Vec<Fault> {
    const FIELD: &str = "spec.faults";
    let raw = reader.list(Some(raw), MAX_LIMITS, FIELD).into_iter().enumerate();
    raw.filter_map(|(index, fault)| fault.convert(&format!("{FIELD}[{index}]"), reader))
        .collect()
}

/// The number of a gRPC status that is not OK.
fn grpc_status(name: &str, field: &str, reader: &mut Reader<'_>) -> Option<u32> {
    let place = GRPC_STATUSES.iter().position(|known| *known == name);
    let number = place.and_then(|place| u32::try_from(place + 1).ok());
    if number.is_none() {
        let message = format!("'{name}' is no gRPC status code of a failure");
        reader.error(field, message, "write its name, such as UNAVAILABLE");
    }
    number
}

// === impl RawRetries ===

impl RawRetries {
    pub(super) fn convert(self, reader: &mut Reader<'_>) -> Retry {
        const FIELD: &str = "spec.retries";
        let attempts = self.attempts.unwrap_or(DEFAULT_ATTEMPTS);
        let mut statuses = BTreeSet::new();
        for (index, status) in self.statuses.unwrap_or_default().into_iter().enumerate() {
            status.add(&mut statuses, &format!("{FIELD}.statuses[{index}]"), reader);
        }
        let mut grpc_statuses = BTreeSet::new();
        for (index, name) in self.grpc_statuses.unwrap_or_default().iter().enumerate() {
            grpc_statuses.extend(grpc_status(
                name,
                &format!("{FIELD}.grpcStatuses[{index}]"),
                reader,
            ));
        }
        let all = || vec![RawRetryOn::ConnectFailure, RawRetryOn::Reset, RawRetryOn::Timeout];
        let on: BTreeSet<RawRetryOn> = self.on.unwrap_or_else(all).into_iter().collect();
        let backoff = self.backoff.unwrap_or_default();
        let base = reader.positive(
            backoff.base.as_deref(),
            DEFAULT_BACKOFF,
            "spec.retries.backoff.base",
        );
        let default = base.saturating_mul(BACKOFF_GROWTH);
        let max = reader.positive(backoff.max.as_deref(), default, "spec.retries.backoff.max");
        if max < base {
            let message = "is shorter than the least pause, backoff.base";
            reader.error("spec.retries.backoff.max", message, "lengthen it");
        }
        Retry {
            attempts: reader.within(attempts, 0, MAX_ATTEMPTS, "spec.retries.attempts"),
            statuses: statuses.into_iter().collect(),
            grpc_statuses: grpc_statuses.into_iter().collect(),
            on: on.into_iter().map(RawRetryOn::convert).collect(),
            non_idempotent: self.non_idempotent.unwrap_or(false),
            backoff: base,
            max_backoff: max,
        }
    }
}

// === impl RawStatus ===

impl RawStatus {
    fn add(self, statuses: &mut BTreeSet<u16>, field: &str, reader: &mut Reader<'_>) {
        match self {
            Self::Code(code) => {
                statuses.insert(reader.within(code, *RETRIABLE.start(), *RETRIABLE.end(), field));
            }
            Self::Class(class) if class == "5xx" => statuses.extend(500..=599),
            Self::Class(class) if class == "gateway-error" => statuses.extend([502, 503, 504]),
            Self::Class(class) => {
                let message = format!("'{class}' is no class of status codes");
                reader.error(
                    field,
                    message,
                    "write 5xx, gateway-error or a number from 400 to 599",
                );
            }
        }
    }
}

// === impl RawRetryOn ===

impl RawRetryOn {
    fn convert(self) -> RetryOn {
        match self {
            Self::ConnectFailure => RetryOn::ConnectFailure,
            Self::Reset => RetryOn::Reset,
            Self::Timeout => RetryOn::Timeout,
        }
    }
}

// === impl RawAffinity ===

impl RawAffinity {
    pub(super) fn convert(self, reader: &mut Reader<'_>) -> CookieAffinity {
        const FIELD: &str = "spec.sessionAffinity.cookie";
        let name = self.cookie.name;
        let remedy = "use letters, digits and !#$%&'*+-.^_`|~, 256 at most";
        reader.form(
            text::is_token(&name),
            &name,
            &format!("{FIELD}.name"),
            "name of a cookie",
            remedy,
        );
        let path = self.cookie.path.unwrap_or_else(|| "/".to_owned());
        let is_path = path.starts_with('/') && text::is_path(&path) && !path.contains(';');
        let remedy = "write an absolute path, without ';'";
        reader.form(
            is_path,
            &path,
            &format!("{FIELD}.path"),
            "path of a cookie",
            remedy,
        );
        let max_age = reader.duration(self.cookie.max_age.as_deref(), &format!("{FIELD}.maxAge"));
        CookieAffinity {
            name,
            max_age: max_age.filter(|age| !age.is_zero()),
            path,
        }
    }
}

// === impl RawFault ===

impl RawFault {
    fn convert(self, field: &str, reader: &mut Reader<'_>) -> Option<Fault> {
        let percent = reader.within(self.percent, 0.0, 100.0, &format!("{field}.percent"));
        let kind = match (self.delay, self.abort) {
            (Some(delay), None) => {
                let field = format!("{field}.delay");
                FaultKind::Delay(reader.positive(Some(&delay), std::time::Duration::ZERO, &field))
            }
            (None, Some(abort)) => abort.convert(&format!("{field}.abort"), reader)?,
            (Some(_), Some(_)) | (None, None) => {
                let message = "a fault is either a delay or an abort";
                reader.error(field, message, "write one of the two; for both, write two faults");
                return None;
            }
        };
        Some(Fault {
            matches: listed_matches(self.matches, &format!("{field}.matches"), reader),
            per_million: millionths(percent),
            kind,
        })
    }
}

/// A percentage from 0 to 100 in millionths; what is out of bounds has been reported.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=1,000,000 before"
)]
fn millionths(percent: f64) -> u32 {
    (percent.clamp(0.0, 100.0) * MILLIONTHS).round() as u32
}

// === impl RawAbort ===

impl RawAbort {
    fn convert(self, field: &str, reader: &mut Reader<'_>) -> Option<FaultKind> {
        match (self.status, self.grpc_status) {
            (Some(status), None) => {
                // A 1xx would not end the exchange.
                reader.within(status, 200, 599, &format!("{field}.status"));
                Some(FaultKind::Abort(status))
            }
            (None, Some(name)) => {
                grpc_status(&name, &format!("{field}.grpcStatus"), reader).map(FaultKind::AbortGrpc)
            }
            (Some(_), Some(_)) | (None, None) => {
                reader.error(
                    field,
                    "has not exactly one status",
                    "write either status or grpcStatus",
                );
                None
            }
        }
    }
}
