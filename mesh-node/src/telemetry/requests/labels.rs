//! What tells the series of requests apart.
//!
//! Everything here comes from the control plane or from a short closed list. Nothing that a client or a backend can choose
//! freely (path, authority, method, an invented status) makes a series.

use std::fmt;

use http::{StatusCode, Version};
use mesh_model::{ResourceName, RuleName};
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};

use super::{MirrorResult, RequestRecord, RetryResult};
use crate::outcome::{Flag, Flags};
use crate::telemetry::encode::label;
use crate::telemetry::series::Query;

/// What stands in the labels where there were too many series.
pub const OVERFLOW: &str = "overflow";
/// The largest gRPC status (gRPC, "Status codes and their use"); greater ones are one.
const LAST_GRPC_STATUS: u32 = 16;
/// Flags of an answer that did not come to its end, whatever its status.
const BREAKS: [Flag; 6] = [
    Flag::UpstreamRequestTimeout,
    Flag::UpstreamRemoteReset,
    Flag::UpstreamConnectionTermination,
    Flag::UpstreamProtocolError,
    Flag::StreamIdleTimeout,
    Flag::LocalReset,
];

/// Labels of a request, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestLabels<'a> {
    /// The direction that it went: what latency and bytes are shown by.
    pub path: PathLabels<'a>,
    /// The workload that it was sent to last.
    pub destination: Option<&'a ResourceName>,
    /// What the client spoke.
    pub protocol: Protocol,
    /// The status.
    pub code: Code,
    /// The call's status.
    pub grpc: Option<GrpcCode>,
    /// What the proxy did, or saw.
    pub flags: Flags,
}

/// Who asked for what, and where it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PathLabels<'a> {
    /// The workload that asked.
    pub source: Option<&'a ResourceName>,
    /// What it asked for.
    pub service: Option<(&'a ResourceName, u16)>,
    /// The rule that matched.
    pub route: Option<&'a RuleName>,
    /// What it was sent to.
    pub backend: Option<(&'a ResourceName, u16)>,
}

/// The same, to be kept.
#[derive(Debug)]
pub struct RequestKey {
    source: Option<ResourceName>,
    service: Option<(ResourceName, u16)>,
    route: Option<RuleName>,
    backend: Option<(ResourceName, u16)>,
    destination: Option<ResourceName>,
    protocol: Protocol,
    code: Code,
    grpc: Option<GrpcCode>,
    flags: Flags,
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0, or older.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

/// A status, so that backends cannot make as many series as there are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The client had gone.
    None,
    /// One that is registered.
    Exact(u16),
    /// Another one: its first digit.
    Class(u16),
}

/// A gRPC status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GrpcCode {
    /// One that is defined.
    Exact(u32),
    /// Another one.
    Other,
}

/// A backend and what became of something that was for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ResultLabels<'a, R> {
    /// The backend.
    pub(super) backend: (&'a ResourceName, u16),
    /// What became of it.
    pub(super) result: R,
}

/// The same, to be kept.
#[derive(Debug)]
pub(super) struct ResultKey<R> {
    backend: (ResourceName, u16),
    result: R,
}

/// A result as a label.
pub(super) trait ResultLabel: Copy + Eq + std::hash::Hash {
    /// The label.
    fn label(self) -> &'static str;
}

/// Labels, or what stands for those that had no place.
#[derive(Debug, Clone, Copy)]
pub(super) struct OrOverflow<T>(pub(super) Option<T>);

// === impl RequestLabels ===

impl<'a> RequestLabels<'a> {
    /// Those of a request.
    pub fn of(record: &RequestRecord<'a>) -> Self {
        Self {
            path: PathLabels {
                source: record.source,
                service: record.service,
                route: record.route,
                backend: record.backend,
            },
            destination: record.destination,
            protocol: Protocol::from(record.protocol),
            code: record.status.map_or(Code::None, Code::from),
            grpc: record.grpc_status.map(GrpcCode::from),
            flags: record.flags,
        }
    }

    /// Whether the request failed, see [`is_failure`].
    pub fn is_failure(&self) -> bool {
        is_failure(self.code.number(), self.grpc.map(GrpcCode::number), self.flags)
    }
}

/// Whether a request failed: what success rates are made of. So do answers of 500 and above, gRPC's equivalents, answers that
/// were broken off, and requests without an answer; not those whose client had gone.
pub fn is_failure(status: Option<u16>, grpc_status: Option<u32>, flags: Flags) -> bool {
    if flags.contains(Flag::DownstreamConnectionTermination) {
        return status.is_some_and(|status| status >= 500);
    }
    match (status, grpc_status) {
        // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
        (None | Some(500..), _) | (Some(_), Some(2 | 4 | 12..=15)) => true,
        (Some(_), _) => BREAKS.iter().any(|flag| flags.contains(*flag)),
    }
}

impl Query<RequestKey> for RequestLabels<'_> {
    fn is(&self, key: &RequestKey) -> bool {
        *self == key.labels()
    }

    fn to_key(&self) -> RequestKey {
        RequestKey {
            source: self.path.source.cloned(),
            service: self.path.service.map(owned),
            route: self.path.route.cloned(),
            backend: self.path.backend.map(owned),
            destination: self.destination.cloned(),
            protocol: self.protocol,
            code: self.code,
            grpc: self.grpc,
            flags: self.flags,
        }
    }
}

// === impl RequestKey ===

impl RequestKey {
    /// The labels.
    pub fn labels(&self) -> RequestLabels<'_> {
        RequestLabels {
            path: PathLabels {
                source: self.source.as_ref(),
                service: self.service.as_ref().map(borrowed),
                route: self.route.as_ref(),
                backend: self.backend.as_ref().map(borrowed),
            },
            destination: self.destination.as_ref(),
            protocol: self.protocol,
            code: self.code,
            grpc: self.grpc,
            flags: self.flags,
        }
    }
}

fn owned((name, port): (&ResourceName, u16)) -> (ResourceName, u16) {
    (name.clone(), port)
}

fn borrowed((name, port): &(ResourceName, u16)) -> (&ResourceName, u16) {
    (name, *port)
}

// === impl ResultLabels ===

impl<R: ResultLabel> Query<ResultKey<R>> for ResultLabels<'_, R> {
    fn is(&self, key: &ResultKey<R>) -> bool {
        self.result == key.result && self.backend == borrowed(&key.backend)
    }

    fn to_key(&self) -> ResultKey<R> {
        ResultKey {
            backend: owned(self.backend),
            result: self.result,
        }
    }
}

impl<R> ResultKey<R> {
    /// The backend.
    pub(super) fn backend(&self) -> &ResourceName {
        &self.backend.0
    }
}

impl ResultLabel for RetryResult {
    fn label(self) -> &'static str {
        match self {
            Self::Retried => "retried",
            Self::Succeeded => "succeeded",
            Self::BudgetExhausted => "budget_exhausted",
            Self::LimitReached => "limit_reached",
            Self::BodyTooLarge => "body_too_large",
        }
    }
}

impl ResultLabel for MirrorResult {
    fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

// === impl Protocol ===

impl From<Version> for Protocol {
    fn from(version: Version) -> Self {
        match version {
            Version::HTTP_2 => Self::Http2,
            Version::HTTP_11 => Self::Http11,
            _ => Self::Http10,
        }
    }
}

impl Protocol {
    /// As in a request line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

// === impl Code ===

impl From<u16> for Code {
    fn from(status: u16) -> Self {
        match StatusCode::from_u16(status) {
            Ok(known) if known.canonical_reason().is_some() => Self::Exact(status),
            _ => Self::Class(status / 100),
        }
    }
}

impl Code {
    /// The status, or its hundreds.
    fn number(self) -> Option<u16> {
        match self {
            Self::None => None,
            Self::Exact(status) => Some(status),
            Self::Class(digit) => Some(digit * 100),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Exact(status) => write!(f, "{status}"),
            Self::Class(digit) => write!(f, "{digit}xx"),
        }
    }
}

// === impl GrpcCode ===

impl From<u32> for GrpcCode {
    fn from(status: u32) -> Self {
        if status <= LAST_GRPC_STATUS {
            Self::Exact(status)
        } else {
            Self::Other
        }
    }
}

impl GrpcCode {
    fn number(self) -> u32 {
        match self {
            Self::Exact(status) => status,
            Self::Other => LAST_GRPC_STATUS + 1,
        }
    }
}

impl fmt::Display for GrpcCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(status) => write!(f, "{status}"),
            Self::Other => f.write_str("other"),
        }
    }
}

/// `namespace/name:port`.
#[derive(Debug, Clone, Copy)]
pub struct WithPort<'a>(pub (&'a ResourceName, u16));

impl fmt::Display for WithPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, port) = self.0;
        write!(f, "{name}:{port}")
    }
}

// === EncodeLabelSet ===

impl EncodeLabelSet for OrOverflow<PathLabels<'_>> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let Some(labels) = &self.0 else {
            return ["source_workload", "service", "route", "backend"]
                .into_iter()
                .try_for_each(|name| label(encoder, name, Some(OVERFLOW)));
        };
        label(encoder, "source_workload", labels.source)?;
        label(encoder, "service", labels.service.map(WithPort))?;
        label(encoder, "route", labels.route)?;
        label(encoder, "backend", labels.backend.map(WithPort))
    }
}

impl EncodeLabelSet for OrOverflow<RequestLabels<'_>> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        OrOverflow(self.0.as_ref().map(|labels| labels.path)).encode(encoder)?;
        let Some(labels) = &self.0 else {
            return label(encoder, "destination_workload", Some(OVERFLOW));
        };
        label(encoder, "destination_workload", labels.destination)?;
        label(encoder, "protocol", Some(labels.protocol.as_str()))?;
        label(encoder, "response_code", Some(labels.code))?;
        label(encoder, "grpc_status", labels.grpc)?;
        label(encoder, "response_flags", Some(labels.flags))
    }
}

impl<R: ResultLabel> EncodeLabelSet for OrOverflow<&ResultKey<R>> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        match self.0 {
            Some(key) => {
                label(encoder, "backend", Some(WithPort(borrowed(&key.backend))))?;
                label(encoder, "result", Some(key.result.label()))
            }
            None => label(encoder, "backend", Some(OVERFLOW)),
        }
    }
}
