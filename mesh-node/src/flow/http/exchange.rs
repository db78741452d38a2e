//! One request and its answer: what is known of them grows, and is told once, when the answer has ended or the client
//! has gone.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use hyper::body::{Body, Frame, SizeHint};
use mesh_http::headers::{self, TraceId};
use mesh_model::ResourceName;
use tokio::time::Instant;

use super::connection::Connection;
use super::head;
use super::pool::{Lease1, Lease2};
use crate::flow::plan::rule::Rule;
use crate::l7::body::BodyError;
use crate::l7::client::AnswerBody;
use crate::l7::meter::Meter;
use crate::outcome::{Flag, Flags};
use crate::resilience::{Backend, EndpointState, InFlight, Outcome, RequestPermit};
use crate::telemetry::requests::{self, RequestRecord};

/// A request that is under way. Told when it is dropped.
pub(super) struct Exchange {
    /// Its connection.
    pub connection: Arc<Connection>,
    /// Counts its bytes.
    pub meter: Arc<Meter>,
    /// Whether the client speaks gRPC.
    pub is_grpc: bool,
    /// The Service asked for.
    pub service: (ResourceName, u16),
    /// The rule that it falls under.
    pub rule: Option<Arc<Rule>>,
    /// Where it goes.
    pub backend: Option<Arc<Backend>>,
    /// The current attempt.
    pub attempt: Option<Attempt>,
    /// Counts it among the backend's.
    pub permit: Option<RequestPermit>,
    /// What was done and seen.
    pub flags: Flags,
    /// The story of a failure.
    pub cause: String,
    /// Attempts so far.
    pub attempts: u32,
    /// The answer's status.
    pub status: Option<u16>,
    /// The answer's gRPC status.
    pub grpc_status: Option<u32>,
    started: Instant,
    upstream: Option<Duration>,
    asked: Asked,
    is_over: bool,
    _counted: requests::InFlight,
}

/// What the client asked for, as it did.
struct Asked {
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    trace_id: Option<TraceId>,
}

/// One time that a request is sent.
pub(super) struct Attempt {
    /// To whom.
    pub endpoint: Arc<EndpointState>,
    /// `hbone`, `local` or `plaintext`.
    pub transport: &'static str,
    in_flight: InFlight,
    began: Instant,
    head_after: Option<Duration>,
    is_over: bool,
}

/// The connection that an answer comes over.
pub(super) enum Lease {
    /// To be given back at the answer's end.
    Http1(Box<Lease1>),
    /// Freed at the answer's end.
    Http2 {
        /// The place.
        _place: Lease2,
    },
}

/// The answer's body on its way to the client.
pub(super) struct Answer {
    body: AnswerBody,
    lease: Option<Lease>,
    exchange: Box<Exchange>,
    /// Resolves when the exchange has taken too long, or nothing moves any more.
    late: Pin<Box<dyn Future<Output = Flag> + Send>>,
}

/// The answer took too long.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Late(&'static str);

// === impl Exchange ===

impl Exchange {
    /// A request that has just come in.
    pub(super) fn new(
        connection: &Arc<Connection>,
        request: &http::request::Parts,
        meter: Arc<Meter>,
        started: Instant,
    ) -> Self {
        let header = |name| request.headers.get(name).cloned();
        Self {
            meter,
            is_grpc: headers::is_grpc(&request.headers),
            service: connection.service.clone(),
            rule: None,
            backend: None,
            attempt: None,
            permit: None,
            flags: Flags::default(),
            cause: String::new(),
            attempts: 0,
            status: None,
            grpc_status: None,
            started,
            upstream: None,
            asked: Asked {
                method: request.method.clone(),
                uri: request.uri.clone(),
                version: request.version,
                host: header(http::header::HOST),
                request_id: None,
                user_agent: header(http::header::USER_AGENT),
                trace_id: None,
            },
            is_over: false,
            _counted: connection.context.requests.begin(),
            connection: Arc::clone(connection),
        }
    }

    /// Notes what the request is known by, once that has been settled.
    pub(super) fn identify(&mut self, headers: &HeaderMap) {
        self.asked.request_id = headers.get("x-request-id").cloned();
        self.asked.trace_id = headers::trace_id(headers);
    }

    /// The story of what went wrong.
    pub(super) fn fail(&mut self, flag: Flag, cause: impl Into<String>) {
        self.flags.insert(flag);
        self.cause = cause.into();
    }

    /// It is sent to an endpoint now.
    pub(super) fn begin(&mut self, endpoint: &Arc<EndpointState>) {
        self.attempts += 1;
        self.attempt = Some(Attempt {
            endpoint: Arc::clone(endpoint),
            transport: "",
            in_flight: endpoint.begin(),
            began: Instant::now(),
            head_after: None,
            is_over: false,
        });
    }

    /// The current attempt has a connection.
    pub(super) fn came_by(&mut self, transport: &'static str) {
        if let Some(attempt) = &mut self.attempt {
            attempt.transport = transport;
        }
    }

    /// The current attempt has its answer's head.
    pub(super) fn head_came(&mut self, headers: &HeaderMap) {
        if let Some(attempt) = &mut self.attempt {
            attempt.head_after = Some(attempt.began.elapsed());
            if let Some(pause) = retry_after(headers) {
                attempt.in_flight.retry_after(pause);
            }
        }
        self.meter.touch();
    }

    /// The current attempt is over.
    pub(super) fn attempt_over(&mut self, outcome: Outcome) {
        if let Some(attempt) = self.attempt.as_mut().filter(|attempt| !attempt.is_over) {
            attempt.is_over = true;
            let took = attempt.began.elapsed();
            attempt
                .in_flight
                .finish(outcome, attempt.head_after.unwrap_or(took));
            self.upstream = Some(self.upstream.unwrap_or_default() + took);
        }
    }

    /// How the answer that was passed on speaks for its endpoint.
    fn answered(&self) -> Outcome {
        match (self.grpc_status, self.status) {
            (Some(status), _) if self.is_grpc => Outcome::Grpc(status),
            (_, Some(status)) => Outcome::Status(status),
            _ => Outcome::Ok,
        }
    }

    fn record(&self) {
        let (trace_id, mut digits) = (self.asked.trace_id, [0; 32]);
        let local = &self.connection.local.workload;
        let destination = self
            .attempt
            .as_ref()
            .and_then(|attempt| attempt.endpoint.workload.known());
        let record = RequestRecord {
            source: Some(&local.name),
            source_identity: Some(&local.identity),
            service: Some((&self.service.0, self.service.1)),
            route: self.rule.as_ref().and_then(|rule| rule.name.as_deref()),
            backend: self.backend.as_ref().map(|backend| backend.name()),
            destination: destination.map(|workload| &workload.name),
            destination_identity: destination.map(|workload| &workload.identity),
            endpoint: self.attempt.as_ref().map(|attempt| attempt.endpoint.address),
            transport: self.attempt.as_ref().map_or("", |attempt| attempt.transport),
            method: self.asked.method.as_str(),
            authority: self.asked.authority(),
            path: self.asked.uri.path(),
            protocol: self.asked.version,
            status: self.status,
            grpc_status: self.grpc_status,
            flags: self.flags,
            cause: &self.cause,
            attempts: self.attempts,
            duration: self.started.elapsed(),
            upstream_duration: self.upstream,
            request_bytes: self.meter.sent(),
            response_bytes: self.meter.received(),
            request_id: text(self.asked.request_id.as_ref()),
            trace_id: trace_id.map_or("", |id| id.text(&mut digits)),
            user_agent: text(self.asked.user_agent.as_ref()),
            ..RequestRecord::from(self.connection.client)
        };
        let context = &self.connection.context;
        context.requests.record(&record);
        context.access_log.write_request(&record);
    }

    /// The answer has been given: what the drop tells is the whole story.
    pub(super) fn over(mut self) {
        self.is_over = true;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.is_over {
            self.flags.insert(Flag::DownstreamConnectionTermination);
            if self.cause.is_empty() {
                "the client went away".clone_into(&mut self.cause);
            }
        }
        self.record();
    }
}

// === impl Asked ===

impl Asked {
    fn authority(&self) -> &str {
        match self.uri.authority() {
            Some(authority) => authority.as_str(),
            None => text(self.host.as_ref()),
        }
    }
}

/// A header as text; nothing when it is none.
fn text(value: Option<&HeaderValue>) -> &str {
    value
        .and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
        .unwrap_or_default()
}

// === impl Answer ===

impl Answer {
    /// The body of an answer, which may be of a kind that never has one; tells of the exchange at its end.
    pub(super) fn new(
        body: AnswerBody,
        lease: Lease,
        exchange: Box<Exchange>,
        late: Pin<Box<dyn Future<Output = Flag> + Send>>,
        is_bodiless: bool,
    ) -> Self {
        let mut answer = Self {
            body,
            lease: Some(lease),
            exchange,
            late,
        };
        // Nobody asks for the body of an answer that has none.
        if is_bodiless || answer.body.is_end_stream() {
            answer.ended();
        }
        answer
    }

    fn ended(&mut self) {
        if self.exchange.is_over {
            return;
        }
        self.exchange.is_over = true;
        let outcome = self.exchange.answered();
        self.exchange.attempt_over(outcome);
        if let Some(Lease::Http1(lease)) = self.lease.take()
            && self.exchange.meter.is_request_read()
            && let Some(connection) = self.body.reclaim()
        {
            lease.give_back(connection);
        }
    }

    fn broke(&mut self, flag: Flag, outcome: Outcome, cause: String) {
        self.exchange.is_over = true;
        if self.exchange.meter.is_broken() {
            // What the client does to its own part speaks against nobody else.
            self.exchange.fail(
                Flag::DownstreamConnectionTermination,
                "the client broke its request off",
            );
        } else {
            self.exchange.fail(flag, cause);
            self.exchange.attempt_over(outcome);
        }
        self.lease = None;
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut frame = match Pin::new(&mut self.body).poll_frame(task) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                // Once it has resolved it must not be asked again.
                if self.exchange.is_over {
                    return Poll::Ready(Some(Err(BodyError::other(Late("the answer is broken off")))));
                }
                let Poll::Ready(flag) = self.late.as_mut().poll(task) else {
                    return Poll::Pending;
                };
                let error = Late("the answer did not come to its end in time");
                self.broke(flag, Outcome::Timeout, error.to_string());
                return Poll::Ready(Some(Err(BodyError::other(error))));
            }
        };
        match &mut frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.exchange.meter.add_received(data.len());
                }
                if let Some(trailers) = frame.trailers_mut() {
                    head::answer(trailers);
                    self.exchange.grpc_status = headers::grpc_status(trailers);
                }
                if self.body.is_end_stream() {
                    self.ended();
                }
            }
            Some(Err(error)) => {
                let flag = match error.h2_reason() {
                    Some(_) => Flag::UpstreamRemoteReset,
                    None => Flag::UpstreamConnectionTermination,
                };
                let cause = format!("the endpoint broke its answer off: {error}");
                self.broke(flag, Outcome::Reset, cause);
            }
            None => self.ended(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The seconds of `Retry-After`; dates are for people's clients.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    Some(Duration::from_secs(seconds.trim().parse().ok()?))
}
