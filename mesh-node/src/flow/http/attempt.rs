//! Attempts: a request is sent to an endpoint, and to another one when that is safe and wanted.
//!
//! What may have been executed is sent again only when the user's policy says so, and every repetition fits into the
//! backend's budget.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{EXPECT, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use hyper::body::Body as _;
use mesh_http::headers;
use mesh_model::{Retry, RetryOn};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use super::exchange::{Exchange, Lease};
use super::head::{self, Spoken, spoken};
use super::mirror;
use super::pool::{PoolError, Wanted};
use crate::l7::client::{AnswerBody, FailureKind, SendFailure, send_http1};
use crate::l7::interim::{Gate, Interim};
use crate::l7::meter::Metered;
use crate::l7::outgoing::{Outgoing, Replay};
use crate::outcome::Flag;
use crate::resilience::{Backend, Demand, EndpointState, Outcome, Pick, Unavailable};
use crate::telemetry::requests::RetryResult;

/// Endpoints that are tried for a request when none of them gets to see it, without any policy.
const UNSENT_ATTEMPTS: u32 = 3;
/// Bytes of an answer that is thrown away, up to which it is read.
const MAX_DISCARDED: u64 = 16 * 1024;
/// How long that may take: less than the pause before the next attempt.
const DISCARDING: Duration = Duration::from_millis(10);
/// Kept connections that may turn out to be closed before a new one is made.
const STALE_CONNECTIONS: u32 = 3;

/// A request, ready to be sent any number of times.
pub(super) struct Sendable {
    /// Its head, without what belongs to one hop.
    pub head: Parts,
    /// What it wants to upgrade to.
    pub upgrade: Option<HeaderValue>,
    /// Its body.
    pub body: SendableBody,
    /// Where answers before the answer go, when the client can be told.
    pub interim: Option<Interim>,
    /// What consistent hashing goes by.
    pub hash: Option<u64>,
    /// The endpoint that it was at before.
    pub affinity: Option<u64>,
}

/// A body, ready to be sent.
pub(super) enum SendableBody {
    /// There is none.
    Empty,
    /// Once.
    Once(Option<Metered>),
    /// As often as it takes, while little of it was sent.
    Again(Arc<Mutex<Replay>>),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Failed {
    /// The flag.
    pub flag: Flag,
    /// The story.
    pub cause: String,
    kind: Kind,
}

/// What may have happened to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing: another attempt changes nothing.
    Hopeless,
    /// No endpoint was reached.
    NotConnected,
    /// Not a byte was sent, over a connection that had been kept.
    Stale,
    /// The endpoint refused it unseen.
    Refused,
    /// It may have been executed: the connection broke.
    Reset,
    /// It may have been executed: no answer in time.
    Timeout,
}

/// Sends the request until there is an answer to pass on.
pub(super) async fn send(
    exchange: &mut Exchange,
    backend: &Arc<Backend>,
    request: &mut Sendable,
    retry: Option<&Retry>,
    attempt_timeout: Option<Duration>,
) -> Result<(Response<AnswerBody>, Lease), Failed> {
    let mut tried = Vec::new();
    let mut retries = 0;
    let mut stale = 0;
    loop {
        let result = {
            let mut attempt = pin!(one(exchange, backend, request, &mut tried));
            let limit = attempt_timeout.unwrap_or_default();
            tokio::select! {
                biased;
                result = &mut attempt => result,
                () = sleep(limit), if attempt_timeout.is_some() => Err(Failed::timeout(limit)),
            }
        };
        let failed = match result {
            Ok((answer, lease)) => {
                let Some(outcome) = retry.and_then(|retry| wanted_again(retry, &answer, exchange, request))
                else {
                    if retries > 0 {
                        exchange
                            .connection
                            .context
                            .requests
                            .retry(backend.name(), RetryResult::Succeeded);
                    }
                    return Ok((answer, lease));
                };
                if !may_repeat(exchange, backend, request, retries, limit_of(retry)) {
                    return Ok((answer, lease));
                }
                exchange.attempt_over(outcome);
                discard(answer.into_body(), lease).await;
                None
            }
            Err(failed) if failed.kind == Kind::Stale && stale < STALE_CONNECTIONS => {
                // The same endpoint again, on the next connection: the race was lost, nothing has failed.
                stale += 1;
                exchange.attempts -= 1;
                tried.pop();
                continue;
            }
            Err(failed) => {
                if let Some(outcome) = failed.outcome() {
                    exchange.attempt_over(outcome);
                }
                let Some(limit) = failed.limit(retry, request) else {
                    return Err(failed);
                };
                if !may_repeat(exchange, backend, request, retries, limit) {
                    return Err(failed.exhausted(exchange, retries > 0));
                }
                Some(failed)
            }
        };
        exchange
            .connection
            .context
            .requests
            .retry(backend.name(), RetryResult::Retried);
        if let Some(pause) = pause(retry, retries, failed.as_ref()) {
            sleep(pause).await;
        }
        retries += 1;
    }
}

/// Throws an answer away. A short one is read to its end, so that its connection stays: a backend that fails should not
/// have to take a new one for each failure.
async fn discard(mut body: AnswerBody, lease: Lease) {
    let is_short = body.size_hint().upper().is_some_and(|most| most <= MAX_DISCARDED);
    if is_short
        && let Ok(Some(())) = timeout(DISCARDING, mirror::read(&mut body)).await
        && let Lease::Http1(lease) = lease
        && let Some(connection) = body.reclaim()
    {
        lease.give_back(connection);
    }
}

/// Whether the answer is one that policy wants another for, and then how it speaks for its endpoint.
fn wanted_again(
    retry: &Retry,
    answer: &Response<AnswerBody>,
    exchange: &Exchange,
    request: &Sendable,
) -> Option<Outcome> {
    let status = answer.status().as_u16();
    if exchange.is_grpc
        && let Some(code) = headers::grpc_status(answer.headers())
    {
        return retry.grpc_statuses.contains(&code).then_some(Outcome::Grpc(code));
    }
    let is_wanted = retry.statuses.contains(&status) && is_repeatable(&request.head.method, retry);
    is_wanted.then_some(Outcome::Status(status))
}

/// Whether a method may be repeated though it may have been executed.
fn is_repeatable(method: &Method, retry: &Retry) -> bool {
    method.is_idempotent() || retry.non_idempotent
}

fn limit_of(retry: Option<&Retry>) -> u32 {
    retry.map_or(0, |retry| retry.attempts)
}

/// Whether there is another attempt; counts why not.
fn may_repeat(
    exchange: &mut Exchange,
    backend: &Arc<Backend>,
    request: &Sendable,
    retries: u32,
    limit: u32,
) -> bool {
    let refused = if retries >= limit {
        Some(RetryResult::LimitReached)
    } else if !request.body.can_repeat() {
        Some(RetryResult::BodyTooLarge)
    } else if !backend.admit_retry() {
        Some(RetryResult::BudgetExhausted)
    } else {
        None
    };
    if let Some(refused) = refused {
        if limit > 0 {
            exchange
                .connection
                .context
                .requests
                .retry(backend.name(), refused);
        }
        if refused == RetryResult::LimitReached && limit > 0 {
            exchange.flags.insert(Flag::RetryLimitExceeded);
        }
    }
    refused.is_none()
}

/// How long to wait before the next attempt: at least what the policy says (GEP-1731: a minimum), and up to a step that
/// doubles. Another endpoint is tried at once when the last one was not reached.
fn pause(retry: Option<&Retry>, retries: u32, failed: Option<&Failed>) -> Option<Duration> {
    let is_unseen = failed.is_some_and(|failed| matches!(failed.kind, Kind::NotConnected | Kind::Refused));
    if is_unseen && retries == 0 {
        return None;
    }
    let (least, most) = retry.map_or((Duration::from_millis(25), Duration::from_millis(250)), |retry| {
        (retry.backoff, retry.max_backoff)
    });
    let ceiling = least.saturating_mul(2 << retries.min(16)).min(most);
    Some(least + ceiling.saturating_sub(least).mul_f64(fastrand::f64()))
}

/// One attempt: chooses an endpoint, gets a connection, sends.
async fn one(
    exchange: &mut Exchange,
    backend: &Arc<Backend>,
    request: &mut Sendable,
    tried: &mut Vec<Arc<EndpointState>>,
) -> Result<(Response<AnswerBody>, Lease), Failed> {
    let endpoint = choose(exchange, backend, request, tried)?;
    exchange.begin(&endpoint);
    tried.push(Arc::clone(&endpoint));
    let connection = Arc::clone(&exchange.connection);
    let wanted = Wanted {
        context: &connection.context,
        local: &connection.local,
        client: connection.client,
        backend,
        endpoint: &endpoint,
    };
    let upstreams = &connection.context.upstreams;
    let client = request.interim.clone();
    let is_tunnel = request.upgrade.is_some() || request.head.method == Method::CONNECT;
    let result = match spoken(backend.protocol(), request.head.version, is_tunnel) {
        Spoken::Http1 => {
            let (http1, lease) = upstreams
                .http1(&wanted)
                .await
                .map_err(|error| Failed::pool(&error))?;
            exchange.came_by(lease.way.transport);
            let is_reused = lease.is_reused;
            let (body, gate) = body(request);
            let head = head::http1(&request.head, request.upgrade.as_ref(), &body);
            let head = head.ok_or_else(Failed::unwritable)?;
            match send_http1(http1, head, body, early(gate, client)).await {
                Ok(answer) => Ok((answer, Lease::Http1(Box::new(lease)))),
                Err(failure) => Err((failure, is_reused)),
            }
        }
        Spoken::Http2 => {
            let lease = upstreams
                .http2(&wanted)
                .await
                .map_err(|error| Failed::pool(&error))?;
            exchange.came_by(lease.way().transport);
            let is_reused = lease.is_reused;
            let (body, gate) = body(request);
            let outgoing = head::http2(&request.head, body).ok_or_else(Failed::unwritable)?;
            let guard = || connection.context.drain.guard();
            match lease.http2().send(outgoing, guard, early(gate, client)).await {
                Ok(answer) => Ok((answer, Lease::Http2 { _place: lease })),
                Err(failure) => {
                    if !matches!(failure.kind, FailureKind::Reset | FailureKind::Client) {
                        lease.mark_over();
                    }
                    Err((failure, is_reused))
                }
            }
        }
    };
    let (answer, lease) = result.map_err(|(failure, is_reused)| {
        let mut failed = Failed::sending(&failure, is_reused, &endpoint);
        if exchange.meter.is_broken() {
            failed.flag = Flag::DownstreamConnectionTermination;
            failed.kind = Kind::Hopeless;
        }
        request.body.take_back(failure.unsent);
        failed
    })?;
    exchange.head_came(answer.headers());
    Ok((answer, lease))
}

fn choose(
    exchange: &Exchange,
    backend: &Arc<Backend>,
    request: &Sendable,
    tried: &mut Vec<Arc<EndpointState>>,
) -> Result<Arc<EndpointState>, Failed> {
    let connection = &exchange.connection;
    let chosen = |tried: &[Arc<EndpointState>]| {
        backend.choose(&Pick {
            asked: connection.asked,
            locality: &connection.local.workload.locality,
            hash: request.hash,
            affinity: request.affinity,
            tried,
            demand: Demand::Request,
        })
    };
    let endpoint = match chosen(tried) {
        Err(Unavailable::Tried) => {
            tried.clear();
            chosen(tried)
        }
        result => result,
    };
    endpoint.map_err(|error| Failed {
        flag: match error {
            Unavailable::Overflow(_) => Flag::UpstreamOverflow,
            _ => Flag::NoHealthyUpstream,
        },
        cause: error.to_string(),
        kind: Kind::Hopeless,
    })
}

/// The body for one attempt, and the gate that it waits at, when it does.
fn body(request: &mut Sendable) -> (Outgoing, Option<Arc<Gate>>) {
    let mut body = request.body.outgoing();
    let mut gate = None;
    if request.head.headers.contains_key(EXPECT) && !body.is_end_stream() {
        let held = Gate::new(request.interim.clone());
        body = body.held(&held);
        gate = Some(held);
    }
    (body, gate)
}

/// What is done with answers before the answer.
fn early(
    gate: Option<Arc<Gate>>,
    client: Option<Interim>,
) -> impl Fn(StatusCode, &HeaderMap) + Send + Sync + 'static {
    move |status, headers| match (status, &gate, &client) {
        (StatusCode::CONTINUE, Some(gate), _) => gate.open(),
        // Nobody expects it, or it is about the connection.
        (StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS, ..) | (.., None) => {}
        (_, _, Some(client)) => {
            let mut answer = Response::new(());
            *answer.status_mut() = status;
            headers.clone_into(answer.headers_mut());
            head::answer(answer.headers_mut());
            client.send(answer);
        }
    }
}

// === impl SendableBody ===

impl SendableBody {
    fn outgoing(&mut self) -> Outgoing {
        match self {
            Self::Empty | Self::Once(None) => Outgoing::empty(),
            Self::Once(body) => body.take().map_or_else(Outgoing::empty, Outgoing::once),
            Self::Again(replay) => Outgoing::again(replay),
        }
    }

    fn can_repeat(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Once(body) => body.is_some(),
            Self::Again(replay) => replay.lock().can_repeat(),
        }
    }

    /// The body of a request that was not sent can be sent yet.
    fn take_back(&mut self, unsent: Option<Outgoing>) {
        if let (Self::Once(body), Some(unsent)) = (self, unsent) {
            *body = unsent.into_once();
        }
    }
}

// === impl Failed ===

impl Failed {
    fn unwritable() -> Self {
        Self {
            flag: Flag::DownstreamProtocolError,
            cause: "the request's host or target can't be sent on".to_owned(),
            kind: Kind::Hopeless,
        }
    }

    fn timeout(limit: Duration) -> Self {
        Self {
            flag: Flag::UpstreamRequestTimeout,
            cause: format!("the backend did not answer within {} s", limit.as_secs_f32()),
            kind: Kind::Timeout,
        }
    }

    fn pool(error: &PoolError) -> Self {
        let (flag, kind) = match error {
            PoolError::Overflow(_) => (Flag::UpstreamOverflow, Kind::Hopeless),
            PoolError::Connect(_) | PoolError::Timeout { .. } => {
                (Flag::UpstreamConnectionFailure, Kind::NotConnected)
            }
            PoolError::Protocol { .. } => (Flag::UpstreamProtocolError, Kind::NotConnected),
        };
        Self {
            flag,
            cause: error.to_string(),
            kind,
        }
    }

    fn sending(failure: &SendFailure, is_reused: bool, endpoint: &EndpointState) -> Self {
        let (flag, kind) = match failure.kind {
            FailureKind::Unsent if is_reused => (Flag::UpstreamConnectionTermination, Kind::Stale),
            FailureKind::Unsent => (Flag::UpstreamConnectionFailure, Kind::NotConnected),
            FailureKind::Refused => (Flag::UpstreamRemoteReset, Kind::Refused),
            FailureKind::Closed => (Flag::UpstreamConnectionTermination, Kind::Reset),
            FailureKind::Reset => (Flag::UpstreamRemoteReset, Kind::Reset),
            FailureKind::Protocol => (Flag::UpstreamProtocolError, Kind::Reset),
            FailureKind::Client => (Flag::DownstreamConnectionTermination, Kind::Hopeless),
        };
        Self {
            flag,
            cause: format!("{}: {}", endpoint.address, failure.error),
            kind,
        }
    }

    /// How it speaks for the endpoint, if it does.
    fn outcome(&self) -> Option<Outcome> {
        match self.kind {
            Kind::NotConnected => Some(Outcome::ConnectFailed),
            Kind::Timeout => Some(Outcome::Timeout),
            Kind::Refused | Kind::Reset => Some(Outcome::Reset),
            Kind::Hopeless | Kind::Stale => None,
        }
    }

    /// How many repetitions there may be after it; `None` when it is not one to repeat after.
    fn limit(&self, retry: Option<&Retry>, request: &Sendable) -> Option<u32> {
        let is_on = |on| retry.is_some_and(|retry| retry.on.contains(&on));
        let is_repeatable = || retry.is_some_and(|retry| is_repeatable(&request.head.method, retry));
        let unsent = UNSENT_ATTEMPTS - 1;
        match self.kind {
            Kind::Hopeless => None,
            Kind::NotConnected if is_on(RetryOn::ConnectFailure) => Some(limit_of(retry).max(unsent)),
            Kind::NotConnected | Kind::Stale | Kind::Refused => Some(unsent),
            Kind::Reset => (is_on(RetryOn::Reset) && is_repeatable()).then(|| limit_of(retry)),
            Kind::Timeout => (is_on(RetryOn::Timeout) && is_repeatable()).then(|| limit_of(retry)),
        }
    }

    fn exhausted(self, exchange: &mut Exchange, was_repeated: bool) -> Self {
        if was_repeated {
            exchange.flags.insert(Flag::RetryLimitExceeded);
        }
        self
    }
}
