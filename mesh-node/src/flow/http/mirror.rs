//! Mirrors: copies of requests whose answers nobody waits for. A copy never delays or fails the request that it is of.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use hyper::body::Body as _;
use mesh_runtime::tasks;
use tokio::time::timeout;

use super::connection::Connection;
use super::exchange::Exchange;
use super::head::{self, Spoken, spoken};
use super::pool::Wanted;
use crate::flow::plan::rule::{Mirror, Step};
use crate::l7::client::{AnswerBody, send_http1};
use crate::l7::outgoing::Outgoing;
use crate::l7::tee::{self, Tee};
use crate::resilience::{Backend, Demand, Outcome, Pick};
use crate::telemetry::requests::MirrorResult;

/// How long a copy may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Sends the copies that are drawn; returns where the request's body is to be copied to.
pub(super) fn start(
    exchange: &Exchange,
    rule: &[Step],
    backend: &[Step],
    head: &Parts,
    has_body: bool,
) -> Vec<Tee> {
    let mirrors = rule.iter().chain(backend).filter_map(|step| match step {
        Step::Mirror(mirror) if mirror.draw() => Some(mirror),
        _ => None,
    });
    mirrors
        .filter_map(|mirror| start_one(exchange, mirror, head, has_body))
        .collect()
}

fn start_one(exchange: &Exchange, mirror: &Mirror, head: &Parts, has_body: bool) -> Option<Tee> {
    let backend = Arc::clone(mirror.backend.as_ref()?);
    let connection = Arc::clone(&exchange.connection);
    let context = &connection.context;
    let Ok(place) = Arc::clone(&context.mirrors).try_acquire_owned() else {
        context.requests.mirror(backend.name(), MirrorResult::Dropped);
        return None;
    };
    let (tee, body) = if has_body {
        let (tee, copy) = tee::channel();
        (Some(tee), Outgoing::copy(copy))
    } else {
        (None, Outgoing::empty())
    };
    let mut head = head.clone();
    // The copy's body comes when the request's does.
    head.headers.remove(http::header::EXPECT);
    tasks::spawn_guarded("mirror", context.drain.guard(), async move {
        let sent = timeout(DEADLINE, send(&connection, &backend, &head, body)).await;
        let result = match sent {
            Ok(Some(())) => MirrorResult::Answered,
            Ok(None) | Err(_) => MirrorResult::Failed,
        };
        connection.context.requests.mirror(backend.name(), result);
        drop(place);
    });
    tee
}

/// Sends one copy and reads its answer to the end.
async fn send(
    connection: &Arc<Connection>,
    backend: &Arc<Backend>,
    head: &Parts,
    body: Outgoing,
) -> Option<()> {
    let _permit = backend.admit_request().ok()?;
    let endpoint = backend
        .choose(&Pick {
            asked: connection.asked,
            locality: &connection.local.workload.locality,
            hash: None,
            affinity: None,
            tried: &[],
            demand: Demand::Request,
        })
        .ok()?;
    let mut in_flight = endpoint.begin();
    let began = tokio::time::Instant::now();
    let wanted = Wanted {
        context: &connection.context,
        local: &connection.local,
        client: connection.client,
        backend,
        endpoint: &endpoint,
    };
    let upstreams = &connection.context.upstreams;
    let spoken = spoken(backend.protocol(), head.version, false);
    match spoken {
        Spoken::Http1 => {
            let request = head::http1(head, None, &body)?;
            let (connection, lease) = upstreams.http1(&wanted).await.ok()?;
            let answer = send_http1(connection, request, body, |_, _| {}).await.ok()?;
            in_flight.finish(Outcome::Status(answer.status().as_u16()), began.elapsed());
            let mut body = answer.into_body();
            read(&mut body).await?;
            if let Some(connection) = body.reclaim() {
                lease.give_back(connection);
            }
        }
        Spoken::Http2 => {
            let request = head::http2(head, body)?;
            let lease = upstreams.http2(&wanted).await.ok()?;
            let guard = || connection.context.drain.guard();
            let answer = lease.http2().send(request, guard, |_, _| {}).await.ok()?;
            in_flight.finish(Outcome::Status(answer.status().as_u16()), began.elapsed());
            read(&mut answer.into_body()).await?;
        }
    }
    Some(())
}

/// Reads an answer to its end and throws it away.
pub(super) async fn read(body: &mut AnswerBody) -> Option<()> {
    loop {
        let frame = std::future::poll_fn(|task| std::pin::Pin::new(&mut *body).poll_frame(task)).await;
        match frame {
            None => return Some(()),
            Some(Ok(_)) => {}
            Some(Err(_)) => return None,
        }
    }
}
