//! The proxy's own answers to requests, and what they tell of.

use std::time::Duration;

use http::header::{HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use mesh_http::headers;

use super::attempt::Failed;
use super::exchange::Exchange;
use crate::l7::body::Body;
use crate::l7::reply::{self, Client, reply};
use crate::outcome::Flag;

/// Why the proxy answers, and what.
pub(super) struct Refusal {
    /// The status.
    pub status: u16,
    /// The flag.
    pub flag: Flag,
    /// The story.
    pub cause: String,
    /// `Retry-After`, rounded up to seconds.
    pub retry_after: Option<Duration>,
    /// To gRPC clients, instead of the one for `status`.
    pub grpc_status: Option<u32>,
}

/// Answers for the proxy.
pub(super) fn refuse(mut exchange: Box<Exchange>, refusal: Refusal) -> Response<Body> {
    let Refusal { flag, cause, .. } = refusal;
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = match (exchange.is_grpc, refusal.grpc_status) {
        (true, Some(code)) => reply::grpc(code, flag, &cause),
        (true, None) => reply(Client::Grpc, status, flag, &cause),
        (false, _) => reply(Client::Http, status, flag, &cause),
    };
    if let Some(pause) = refusal.retry_after {
        let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
        answer
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    exchange.fail(flag, cause);
    exchange.status = Some(answer.status().as_u16());
    exchange.grpc_status = headers::grpc_status(answer.headers());
    exchange.over();
    answer
}

// === impl Refusal ===

impl Refusal {
    /// Answers with a status.
    pub(super) fn new(status: u16, flag: Flag, cause: impl Into<String>) -> Self {
        Self {
            status,
            flag,
            cause: cause.into(),
            retry_after: None,
            grpc_status: None,
        }
    }

    /// The request took too long.
    pub(super) fn late(flag: Flag) -> Self {
        Self::new(504, flag, "the request was not answered in time")
    }

    /// The request has a larger body than is taken.
    pub(super) fn too_large() -> Self {
        Self::new(
            413,
            Flag::DownstreamProtocolError,
            "the request's body is larger than [http] max-body-bytes",
        )
    }

    /// No endpoint answered.
    pub(super) fn failed(failed: Failed) -> Self {
        let status = match failed.flag {
            Flag::UpstreamRequestTimeout => 504,
            Flag::UpstreamProtocolError => 502,
            Flag::DownstreamProtocolError | Flag::DownstreamConnectionTermination => 400,
            _ => 503,
        };
        Self::new(status, failed.flag, failed.cause)
    }
}
