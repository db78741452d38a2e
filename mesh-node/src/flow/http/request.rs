//! One request, from its arrival to the head of its answer.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Body as _;
use mesh_http::{headers, path};
use mesh_model::FaultKind;
use tokio::time::{Instant, sleep, sleep_until};

use super::attempt::{self, Sendable, SendableBody};
use super::connection::Connection;
use super::exchange::{Answer, Exchange, Lease};
use super::filters::{Afterwards, Filtered, filter};
use super::hash::hash;
use super::head::{self, Spoken, spoken};
use super::refusal::{Refusal, refuse};
use super::{mirror, tunnel};
use crate::flow::plan::rule::{Rule, Target};
use crate::flow::plan::{Plan, Rules};
use crate::l7::body::Body;
use crate::l7::budget::Share;
use crate::l7::client::AnswerBody;
use crate::l7::interim::Interim;
use crate::l7::meter::{Meter, Metered};
use crate::l7::outgoing::Replay;
use crate::outcome::Flag;
use crate::resilience::{Backend, RateLimiter};

/// What is kept of a body so that it can be sent again (Linkerd's value).
const MAX_REPLAY: usize = 64 * 1024;
/// With no byte in either direction for so long, a request is over: the default.
const IDLE: Duration = Duration::from_secs(3600);

/// Answers a request.
pub(super) async fn answer(connection: &Arc<Connection>, request: Request<Body>) -> Response<Body> {
    let started = Instant::now();
    let (mut head, body) = request.into_parts();
    let meter = Arc::new(Meter::new(started, !body.is_end_stream()));
    let mut exchange = Box::new(Exchange::new(connection, &head, Arc::clone(&meter), started));
    // What the client may change its mind about, and hyper needs no more.
    let upgrade = head::prepare(&mut head, connection.asked);
    exchange.identify(&head.headers);
    let most = connection.context.http.max_body_bytes.unwrap_or(u64::MAX);
    if body.size_hint().lower() > most {
        return refuse(exchange, Refusal::too_large());
    }
    let Some(plan) = connection.plan() else {
        let text = format!("the Service {} is gone", connection.service.0);
        return refuse(exchange, Refusal::new(503, Flag::NoHealthyUpstream, text));
    };
    let (rule, prefix) = match rule_for(&plan, &mut head, &mut exchange) {
        Ok(found) => found,
        Err(refusal) => return refuse(exchange, refusal),
    };
    exchange.rule = Some(Arc::clone(rule));
    let own = match before(rule, &head, connection, &mut exchange).await {
        Ok(()) => filter(rule, head, prefix, connection),
        Err(refusal) => return refuse(exchange, refusal),
    };
    match own {
        Filtered::Answer(mut answer) => {
            exchange.status = Some(answer.status().as_u16());
            answer.extensions_mut().clear();
            exchange.over();
            *answer
        }
        Filtered::Refusal(refusal) => refuse(exchange, refusal),
        Filtered::Request { head, target, after } => {
            let sent = Sent {
                rule,
                head: *head,
                upgrade,
                target,
                after,
            };
            forward(exchange, sent, body, &meter).await
        }
    }
}

/// The rule that the request falls under, and the prefix of its path that the rule matched.
fn rule_for<'a>(
    plan: &'a Plan,
    head: &mut Parts,
    exchange: &mut Exchange,
) -> Result<(&'a Arc<Rule>, Option<&'a str>), Refusal> {
    if let Err(error) = path::normalise_uri(&head.method, &mut head.uri) {
        return Err(Refusal::new(
            400,
            Flag::DownstreamProtocolError,
            error.to_string(),
        ));
    }
    exchange.backend = Some(Arc::clone(&plan.backend));
    match &plan.rules {
        Rules::Http(rules) => match rules.find(head) {
            Some(found) => Ok(found),
            None => Err(Refusal::new(
                404,
                Flag::NoRoute,
                "no rule of the Service's routes matches the request",
            )),
        },
        Rules::Broken(error) => Err(Refusal::new(
            500,
            Flag::NoBackend,
            format!("the Service's routes do not compile: {error}"),
        )),
        // Routes for connections have nothing to say about requests.
        Rules::None | Rules::Tls(_) | Rules::Tcp(_) => Ok((&plan.fallback, None)),
    }
}

/// Faults and rate limits.
async fn before(
    rule: &Rule,
    head: &Parts,
    connection: &Connection,
    exchange: &mut Exchange,
) -> Result<(), Refusal> {
    let limiters = rule.limiters.iter().map(|limiter| &limiter.limiter);
    if let Err(limited) = RateLimiter::check_all(limiters, &connection.local.workload.identity) {
        let mut refusal = Refusal::new(429, Flag::RateLimited, limited.to_string());
        refusal.retry_after = Some(limited.retry_after);
        return Err(refusal);
    }
    for fault in &rule.faults {
        if fault
            .matcher
            .as_ref()
            .is_some_and(|matcher| !matcher.matches(head))
            || !fault.injector.draw()
        {
            continue;
        }
        match fault.kind {
            FaultKind::Delay(delay) => {
                exchange.flags.insert(Flag::DelayInjected);
                sleep(delay).await;
            }
            FaultKind::Abort(status) => {
                return Err(Refusal::new(status, Flag::FaultInjected, "a fault was injected"));
            }
            FaultKind::AbortGrpc(status) => {
                let mut refusal = Refusal::new(200, Flag::FaultInjected, "a fault was injected");
                refusal.grpc_status = Some(status);
                return Err(refusal);
            }
        }
    }
    Ok(())
}

/// A request on its way.
struct Sent<'a> {
    rule: &'a Arc<Rule>,
    head: Parts,
    upgrade: Option<HeaderValue>,
    target: &'a Target,
    after: Afterwards<'a>,
}

async fn forward(
    mut exchange: Box<Exchange>,
    sent: Sent<'_>,
    body: Body,
    meter: &Arc<Meter>,
) -> Response<Body> {
    let Sent {
        rule,
        head,
        upgrade,
        target,
        mut after,
    } = sent;
    let backend = match admit(&mut exchange, target) {
        Ok(backend) => backend,
        Err(refusal) => return refuse(exchange, refusal),
    };
    let policy = &rule.policy;
    let affinity = policy.affinity.as_ref().map(|affinity| {
        let known = headers::cookie(&head.headers, &affinity.name);
        (
            affinity,
            known.and_then(|value| u64::from_str_radix(value, 16).ok()),
        )
    });
    after.affinity = affinity;
    let tees = mirror::start(
        &exchange,
        &rule.steps,
        &target.steps,
        &head,
        !body.is_end_stream(),
    );
    let most = exchange
        .connection
        .context
        .http
        .max_body_bytes
        .unwrap_or(u64::MAX);
    let body = (!body.is_end_stream()).then(|| Metered::new(body, Arc::clone(meter), tees, most));
    let interim = head.extensions.get::<Interim>().cloned();
    let mut sendable = Sendable {
        interim,
        hash: hash(&backend, &head, &exchange.connection),
        affinity: affinity.and_then(|(_, known)| known),
        body: sendable_body(
            body,
            &exchange.connection,
            &backend,
            &head,
            policy.retry.is_some(),
        ),
        head,
        upgrade,
    };
    let limits = (policy.timeouts.request, policy.timeouts.idle.unwrap_or(IDLE));
    let mut late: Pin<Box<dyn Future<Output = Flag> + Send>> = Box::pin(late(Arc::clone(meter), limits));
    let result = {
        // Pinned where it is: `select!` would hold it once more.
        let mut sending = pin!(attempt::send(
            &mut exchange,
            &backend,
            &mut sendable,
            policy.retry.as_ref(),
            policy.timeouts.backend_request,
        ));
        tokio::select! {
            result = &mut sending => result.map_err(Refusal::failed),
            flag = &mut late => Err(Refusal::late(flag)),
        }
    };
    match result {
        Ok((answer, lease)) => pass_on(exchange, (answer, lease), &sendable, &after, late),
        Err(_) if meter.is_too_large() => refuse(exchange, Refusal::too_large()),
        Err(refusal) => {
            // A client that keeps its own part back is no endpoint's fault.
            if refusal.status == 504 && meter.is_request_read() {
                exchange.attempt_over(crate::resilience::Outcome::Timeout);
            }
            refuse(exchange, refusal)
        }
    }
}

fn admit(exchange: &mut Exchange, target: &Target) -> Result<Arc<Backend>, Refusal> {
    let backend = match &target.backend {
        Ok(backend) => backend,
        Err(reason) => return Err(Refusal::new(500, Flag::NoBackend, reason.clone())),
    };
    exchange.backend = Some(Arc::clone(backend));
    if !backend.exists() {
        let (service, port) = backend.name();
        let text = format!("the backend {service} has no port {port}, or is gone");
        return Err(Refusal::new(500, Flag::NoBackend, text));
    }
    match backend.admit_request() {
        Ok(permit) => exchange.permit = Some(permit),
        Err(overflow) => {
            return Err(Refusal::new(503, Flag::UpstreamOverflow, overflow.to_string()));
        }
    }
    Ok(Arc::clone(backend))
}

/// The body as attempts take it: kept for another one where there may be one after it was sent.
fn sendable_body(
    body: Option<Metered>,
    connection: &Connection,
    backend: &Backend,
    head: &Parts,
    is_retried: bool,
) -> SendableBody {
    let Some(body) = body else {
        return SendableBody::Empty;
    };
    // An HTTP/2 endpoint that leaves refuses streams whose body is on its way already.
    if is_retried || spoken(backend.protocol(), head.version, false) == Spoken::Http2 {
        let most = connection.context.http.max_kept_bytes_per_workload;
        let share = Share::new(&connection.local.kept, most);
        return SendableBody::Again(Replay::new(body, MAX_REPLAY, share));
    }
    SendableBody::Once(Some(body))
}

/// Passes an endpoint's answer on.
fn pass_on(
    mut exchange: Box<Exchange>,
    answer: (Response<AnswerBody>, Lease),
    sent: &Sendable,
    after: &Afterwards<'_>,
    late: Pin<Box<dyn Future<Output = Flag> + Send>>,
) -> Response<Body> {
    let (answer, lease) = answer;
    let (mut head, body) = answer.into_parts();
    let upgraded_to = head::answer(&mut head.headers);
    exchange.status = Some(head.status.as_u16());
    exchange.grpc_status = headers::grpc_status(&head.headers);
    let endpoint = exchange
        .attempt
        .as_ref()
        .map(|attempt| attempt.endpoint.affinity());
    after.apply(&mut head.headers, endpoint);
    let is_connect = sent.head.method == Method::CONNECT && head.status.is_success();
    let is_upgrade = sent.upgrade.is_some() && head.status == StatusCode::SWITCHING_PROTOCOLS;
    if head.status == StatusCode::SWITCHING_PROTOCOLS && !is_upgrade {
        let text = "the endpoint switched protocols without being asked to";
        return refuse(exchange, Refusal::new(502, Flag::UpstreamProtocolError, text));
    }
    if is_connect {
        head.headers.remove(CONTENT_LENGTH);
    }
    if is_connect || is_upgrade {
        let Some(endpoint) = body.into_upgraded() else {
            let text = "the endpoint has no connection of its own for the tunnel";
            return refuse(exchange, Refusal::new(502, Flag::UpstreamProtocolError, text));
        };
        let mut response = Response::from_parts(head, Body::empty());
        if let (true, Some(protocol)) = (is_upgrade, upgraded_to) {
            head::grant(response.headers_mut(), protocol);
        }
        tunnel::attach(&mut response, endpoint, exchange, lease);
        return response;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    let is_bodiless = sent.head.method == Method::HEAD
        || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let is_empty = is_bodiless || body.is_end_stream();
    let body = Answer::new(body, lease, exchange, late, is_bodiless);
    if !is_empty {
        *response.body_mut() = Body::boxed(body);
    }
    response
}

/// Resolves when the request has taken too long (from its whole arrival), or nothing has moved for too long.
async fn late(meter: Arc<Meter>, (request, idle): (Option<Duration>, Duration)) -> Flag {
    let too_long = async {
        match request {
            Some(limit) => {
                meter.request_read().await;
                sleep_until(Instant::now() + limit).await;
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = too_long => Flag::UpstreamRequestTimeout,
        () = meter.idle(idle) => Flag::StreamIdleTimeout,
    }
}
