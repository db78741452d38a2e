//! One request of HTTP/2, from its head to the end of its answer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use hyper::body::Body as _;
use mesh_http::guard::request;
use mesh_http::headers;

use super::{Handler, Refusal};
use crate::l7::body::{Body, BodyError};
use crate::l7::counted::Account;
use crate::l7::date;
use crate::l7::guarded::Wait;
use crate::l7::interim;
use crate::l7::limits::Limits;
use crate::l7::reply;
use crate::l7::upgrade::OnUpgraded;
use crate::net::io::SideIo;
use crate::net::side::Side;

/// A request as h2 hands it out, and where its answer goes.
pub(super) type Request = (http::Request<RecvStream>, SendResponse<Bytes>);

/// Fields that HTTP/2 does not have (RFC 9113 §8.2.2).
const CONNECTION_FIELDS: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// How a stream ended before its answer did.
enum Broken {
    /// The client has reset it, or the connection is gone.
    Client,
    /// The answer's body broke off.
    Body(BodyError),
    /// The client takes nothing of it.
    Stalled,
}

/// Answers a request.
pub(super) async fn serve<H: Handler>(
    (request, mut respond): Request,
    handler: H,
    limits: Limits,
    account: Arc<Account>,
) {
    let (mut head, receive) = request.into_parts();
    let is_head = head.method == Method::HEAD;
    let is_connect = head.method == Method::CONNECT;
    let checked = request::check(&head, limits.max_headers);
    let (body, tunnel, refused) = if is_connect && checked.is_ok() {
        (Body::empty(), Some(receive), None)
    } else {
        let (body, refused) = Body::stream(receive, length(&head));
        (body, None, refused)
    };
    let mut answer = match checked {
        Ok(()) => {
            headers::join_cookies(&mut head.headers);
            let (interim, mut early) = interim::channel();
            head.extensions.insert(interim);
            let request = http::Request::from_parts(head, body);
            let mut answering = pin!(handler.handle(request));
            let answer = loop {
                tokio::select! {
                    biased;
                    Some(early) = early.recv() => send_early(&mut respond, early),
                    answer = &mut answering => break answer,
                    // Whoever has given up gets no answer, and nobody works on it any more.
                    _ = poll_fn(|context| respond.poll_reset(context)) => return,
                }
            };
            // Those that came together with the answer.
            while let Ok(early) = early.try_recv() {
                send_early(&mut respond, early);
            }
            answer
        }
        Err(refusal) => {
            handler.refused(&Refusal::http2(refusal));
            reply::refused(refusal)
        }
    };
    if let Some(refusal) = refused.and_then(|refused| refused.get().copied()) {
        handler.refused(&Refusal::http2(refusal));
        answer = reply::refused(refusal);
    }
    reply::disown(&mut answer);
    let run = answer.extensions_mut().remove::<OnUpgraded>();
    let (head, body) = answer.into_parts();
    let mut head = Response::from_parts(head, ());
    let has_content = !is_head && !is_bodiless(head.status());
    complete(head.headers_mut(), &body, has_content);
    if let (Some(receive), Some(run), true) = (tunnel, run, head.status().is_success()) {
        let Ok(send) = respond.send_response(head, false) else {
            return;
        };
        let ahead = None;
        let io = SideIo::new(Side::Stream { send, receive, ahead }, None);
        return run.run_stream(io).await;
    }
    let is_whole = !has_content || body.is_end_stream();
    let Ok(mut send) = respond.send_response(head, is_whole) else {
        return;
    };
    if is_whole {
        return;
    }
    match pipe(body, &mut send, &limits, &account).await {
        Ok(()) | Err(Broken::Client) => {}
        Err(Broken::Body(error)) => send.send_reset(error.h2_reason().unwrap_or(Reason::INTERNAL_ERROR)),
        Err(Broken::Stalled) => send.send_reset(Reason::CANCEL),
    }
}

/// Sends an interim answer.
fn send_early(respond: &mut SendResponse<Bytes>, answer: Response<()>) {
    if let Err(error) = respond.send_informational(answer) {
        tracing::debug!(%error, "an interim answer was not sent");
    }
}

/// The answer's body, as fast as the client takes it.
async fn pipe(
    mut body: Body,
    send: &mut SendStream<Bytes>,
    limits: &Limits,
    account: &Account,
) -> Result<(), Broken> {
    loop {
        let frame = poll_fn(|context| {
            if send.poll_reset(context).is_ready() {
                return Poll::Ready(Err(Broken::Client));
            }
            let frame = ready!(Pin::new(&mut body).poll_frame(context));
            Poll::Ready(frame.transpose().map_err(Broken::Body))
        });
        let Some(frame) = frame.await? else {
            return send.send_data(Bytes::new(), true).map_err(|_| Broken::Client);
        };
        match frame.into_data() {
            Ok(mut data) => {
                let is_last = body.is_end_stream();
                if data.is_empty() && is_last {
                    return send.send_data(data, true).map_err(|_| Broken::Client);
                }
                while !data.is_empty() {
                    let room = room(send, data.len(), limits).await?;
                    let part = data.split_to(room.min(data.len()));
                    account.sent_data(part.len().div_ceil(16 * 1024));
                    send.send_data(part, is_last && data.is_empty())
                        .map_err(|_| Broken::Client)?;
                }
                if is_last {
                    return Ok(());
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return send.send_trailers(trailers).map_err(|_| Broken::Client);
                }
            }
        }
    }
}

/// How much of `wanted` the client takes now, one byte at least.
async fn room(send: &mut SendStream<Bytes>, wanted: usize, limits: &Limits) -> Result<usize, Broken> {
    send.reserve_capacity(wanted);
    let mut wait = Wait::default();
    poll_fn(|context| {
        let capacity = send.capacity();
        if capacity > 0 {
            return Poll::Ready(Ok(capacity));
        }
        match send.poll_capacity(context) {
            Poll::Ready(Some(Ok(capacity))) if capacity > 0 => Poll::Ready(Ok(capacity)),
            Poll::Ready(Some(Ok(_))) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(_) => Poll::Ready(Err(Broken::Client)),
            Poll::Pending => {
                ready!(wait.poll((), limits.write_timeout, context));
                Poll::Ready(Err(Broken::Stalled))
            }
        }
    })
    .await
}

/// What an answer needs in HTTP/2, and must not have.
fn complete(headers: &mut HeaderMap, body: &Body, has_content: bool) {
    for name in &CONNECTION_FIELDS {
        headers.remove(name);
    }
    if !headers.contains_key(DATE) {
        headers.insert(DATE, date::now());
    }
    if has_content
        && !headers.contains_key(CONTENT_LENGTH)
        && let Some(length @ 1..) = body.size_hint().exact()
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Answers that have no content, whatever their header says (RFC 9110 §15.3.5, §15.4.5).
fn is_bodiless(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// The request's Content-Length, which has been checked.
fn length(head: &Parts) -> Option<u64> {
    head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
