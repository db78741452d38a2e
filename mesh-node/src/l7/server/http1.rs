//! HTTP/1 on one connection.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::UPGRADE;
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mesh_http::headers;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Handler, Refusal, ServeError};
use crate::l7::body::{Body, BodyError};
use crate::l7::guarded::{Busy, Guarded, Requests};
use crate::l7::limits::Limits;
use crate::l7::reply;
use crate::l7::upgrade::{Asked, OnUpgraded};

/// What hyper may hold of a connection's bytes in each direction, if the largest head is not larger.
const BUFFER: usize = 64 * 1024;
/// hyper keeps room for so many header fields without an allocation for each request.
const USUAL_FIELDS: usize = 100;

/// An answer's body. The request is in progress for as long as it exists.
struct Answer {
    body: Body,
    _busy: Busy,
}

pub(super) async fn serve<IO, H>(
    io: IO,
    limits: &Limits,
    stop: impl Future<Output = ()> + Send,
    handler: H,
) -> Result<(), ServeError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let requests: Arc<Requests> = Arc::default();
    let guarded = {
        let handler = handler.clone();
        Guarded::new(io, limits, Arc::clone(&requests), move |refusal| {
            handler.refused(&Refusal::http1(refusal));
        })
    };
    let asked: Mutex<Option<Asked>> = Mutex::new(None);
    let service = service_fn(|request| {
        let busy = requests.begin();
        let (handler, asked) = (handler.clone(), &asked);
        async move {
            let (mut answer, is_granted) = answer(handler, request, asked).await;
            if let Some(refusal) = busy.refusal() {
                answer = reply::refused(refusal);
            }
            reply::disown(&mut answer);
            busy.answer(is_granted);
            Ok::<_, Infallible>(answer.map(|body| Answer { body, _busy: busy }))
        }
    });
    let mut builder = http1::Builder::new();
    builder
        // Whether the client's end of its direction ends the connection, is decided in `Guarded`.
        .half_close(false)
        .max_buf_size(limits.max_head_bytes.max(BUFFER))
        .header_read_timeout(None);
    if limits.max_headers > USUAL_FIELDS {
        builder.max_headers(limits.max_headers);
    }
    let connection = builder
        .serve_connection(TokioIo::new(guarded), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop => {
            connection.as_mut().graceful_shutdown();
            let ended = tokio::time::timeout(limits.drain_deadline, connection).await;
            ended.map_err(|_| ServeError::Drained)?
        }
    };
    ended.map_err(|error| ServeError::Broken(error.into()))?;
    let asked = asked.lock().take();
    if let Some(asked) = asked {
        asked.run().await;
    }
    Ok(())
}

/// Answers one request, and says whether that grants an upgrade; what is to follow it is left in `asked`.
async fn answer<H: Handler>(
    handler: H,
    mut request: Request<Incoming>,
    asked: &Mutex<Option<Asked>>,
) -> (Response<Body>, bool) {
    let is_connect = request.method() == Method::CONNECT;
    let has_asked = is_connect || request.headers().contains_key(UPGRADE);
    let upgrade = hyper::upgrade::on(&mut request);
    headers::join_cookies(request.headers_mut());
    let mut answer = handler.handle(request.map(Body::incoming)).await;
    let run = answer.extensions_mut().remove::<OnUpgraded>();
    let is_granted =
        answer.status() == StatusCode::SWITCHING_PROTOCOLS || (is_connect && answer.status().is_success());
    if has_asked {
        let granted = run.filter(|_| is_granted);
        *asked.lock() = Some(Asked { upgrade, granted });
    }
    (answer, is_granted)
}

// === impl Answer ===

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
