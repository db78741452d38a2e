//! `nodemesh.v1.PortPolicy` and what it is made of. What is not set is not sent.

mod backend;

use mesh_model::{
    CookieAffinity, Fault, FaultKind, PortPolicy, RateLimit, RateLimitKey, RequestPolicy, Retry, RetryOn,
    Timeouts,
};

use super::check::{
    at_most, duration_from_wire, duration_to_wire, grpc_status, header_value, not_zero,
    optional_duration_from_wire, status, token,
};
use super::wire::fault::Kind;
use super::{ConvertError, each, matching, value, wire};

/// All of the requests that a fault may be for.
const MILLION: u32 = 1_000_000;

/// Absent when nothing is set.
pub(super) fn port_to_wire(policy: &PortPolicy) -> Option<wire::PortPolicy> {
    (*policy != PortPolicy::default()).then(|| wire::PortPolicy {
        request: request_to_wire(&policy.request),
        backend: backend::to_wire(&policy.backend),
    })
}

pub(super) fn port_from_wire(message: wire::PortPolicy) -> Result<PortPolicy, ConvertError> {
    Ok(PortPolicy {
        request: request_from_wire(message.request.unwrap_or_default())
            .map_err(|error| error.within("request"))?,
        backend: backend::from_wire(message.backend.unwrap_or_default())
            .map_err(|error| error.within("backend"))?,
    })
}

/// Absent when nothing is set.
pub(super) fn request_to_wire(policy: &RequestPolicy) -> Option<wire::RequestPolicy> {
    (*policy != RequestPolicy::default()).then(|| wire::RequestPolicy {
        request_timeout: policy.timeouts.request.map(duration_to_wire),
        backend_request_timeout: policy.timeouts.backend_request.map(duration_to_wire),
        idle_timeout: policy.timeouts.idle.map(duration_to_wire),
        retry: policy.retry.as_ref().map(retry_to_wire),
        rate_limits: policy.rate_limits.iter().map(rate_limit_to_wire).collect(),
        faults: policy.faults.iter().map(fault_to_wire).collect(),
        affinity: policy.affinity.as_ref().map(|affinity| wire::CookieAffinity {
            name: affinity.name.clone(),
            max_age: affinity.max_age.map(duration_to_wire),
            path: affinity.path.clone(),
        }),
    })
}

pub(super) fn request_from_wire(message: wire::RequestPolicy) -> Result<RequestPolicy, ConvertError> {
    Ok(RequestPolicy {
        timeouts: Timeouts {
            request: optional_duration_from_wire("request_timeout", message.request_timeout)?,
            backend_request: optional_duration_from_wire(
                "backend_request_timeout",
                message.backend_request_timeout,
            )?,
            idle: optional_duration_from_wire("idle_timeout", message.idle_timeout)?,
        },
        retry: message
            .retry
            .map(|retry| retry_from_wire(retry).map_err(|error| error.within("retry")))
            .transpose()?,
        rate_limits: each("rate_limits", message.rate_limits, rate_limit_from_wire)?,
        faults: each("faults", message.faults, fault_from_wire)?,
        affinity: message
            .affinity
            .map(|affinity| affinity_from_wire(affinity).map_err(|error| error.within("affinity")))
            .transpose()?,
    })
}

fn retry_to_wire(retry: &Retry) -> wire::Retry {
    let on = |on: &RetryOn| match on {
        RetryOn::ConnectFailure => wire::RetryOn::ConnectFailure.into(),
        RetryOn::Reset => wire::RetryOn::Reset.into(),
        RetryOn::Timeout => wire::RetryOn::Timeout.into(),
    };
    wire::Retry {
        attempts: retry.attempts,
        statuses: retry.statuses.iter().copied().map(u32::from).collect(),
        grpc_statuses: retry.grpc_statuses.clone(),
        on: retry.on.iter().map(on).collect(),
        non_idempotent: retry.non_idempotent,
        backoff: Some(duration_to_wire(retry.backoff)),
        max_backoff: Some(duration_to_wire(retry.max_backoff)),
    }
}

fn retry_from_wire(message: wire::Retry) -> Result<Retry, ConvertError> {
    let on = |on: i32| match wire::RetryOn::try_from(on) {
        Ok(wire::RetryOn::ConnectFailure) => Ok(RetryOn::ConnectFailure),
        Ok(wire::RetryOn::Reset) => Ok(RetryOn::Reset),
        Ok(wire::RetryOn::Timeout) => Ok(RetryOn::Timeout),
        Ok(wire::RetryOn::Unspecified) | Err(_) => Err(value("on", format!("unknown value {on}"))),
    };
    let backoff = duration_from_wire("backoff", message.backoff)?;
    let max_backoff = duration_from_wire("max_backoff", message.max_backoff)?;
    if max_backoff < backoff {
        return Err(value("max_backoff", "is shorter than backoff"));
    }
    Ok(Retry {
        attempts: message.attempts,
        statuses: each("statuses", message.statuses, |code| status("status", code, 100))?,
        grpc_statuses: each("grpc_statuses", message.grpc_statuses, |code| {
            grpc_status("status", code)
        })?,
        on: message.on.into_iter().map(on).collect::<Result<_, _>>()?,
        non_idempotent: message.non_idempotent,
        backoff,
        max_backoff,
    })
}

fn rate_limit_to_wire(limit: &RateLimit) -> wire::RateLimit {
    let key = match limit.key {
        RateLimitKey::Service => wire::RateLimitKey::Service,
        RateLimitKey::ClientIdentity => wire::RateLimitKey::ClientIdentity,
    };
    wire::RateLimit {
        requests: limit.requests,
        interval: Some(duration_to_wire(limit.interval)),
        burst: limit.burst,
        key: key.into(),
    }
}

fn rate_limit_from_wire(message: wire::RateLimit) -> Result<RateLimit, ConvertError> {
    Ok(RateLimit {
        key: match message.key() {
            wire::RateLimitKey::Service => RateLimitKey::Service,
            wire::RateLimitKey::ClientIdentity => RateLimitKey::ClientIdentity,
            wire::RateLimitKey::Unspecified => {
                return Err(value("key", format!("unknown value {}", message.key)));
            }
        },
        requests: message.requests,
        interval: duration_from_wire("interval", message.interval)?,
        burst: not_zero("burst", message.burst)?,
    })
}

fn fault_to_wire(fault: &Fault) -> wire::Fault {
    wire::Fault {
        matches: fault.matches.iter().map(matching::to_wire).collect(),
        per_million: fault.per_million,
        kind: Some(match fault.kind {
            FaultKind::Delay(delay) => Kind::Delay(duration_to_wire(delay)),
            FaultKind::Abort(status) => Kind::Abort(status.into()),
            FaultKind::AbortGrpc(status) => Kind::AbortGrpc(status),
        }),
    }
}

fn fault_from_wire(message: wire::Fault) -> Result<Fault, ConvertError> {
    let kind = message.kind.ok_or_else(|| value("kind", "is not known"))?;
    Ok(Fault {
        matches: each("matches", message.matches, matching::from_wire)?,
        per_million: at_most("per_million", message.per_million, MILLION)?,
        kind: match kind {
            Kind::Delay(delay) => FaultKind::Delay(duration_from_wire("delay", Some(delay))?),
            // An informational status is no answer.
            Kind::Abort(code) => FaultKind::Abort(status("abort", code, 200)?),
            Kind::AbortGrpc(code) => FaultKind::AbortGrpc(grpc_status("abort_grpc", code)?),
        },
    })
}

fn affinity_from_wire(message: wire::CookieAffinity) -> Result<CookieAffinity, ConvertError> {
    if message.path.contains(';') {
        return Err(value("path", "has a ';', which would end it"));
    }
    Ok(CookieAffinity {
        name: token("name", message.name)?,
        max_age: optional_duration_from_wire("max_age", message.max_age)?,
        path: header_value("path", message.path)?,
    })
}
