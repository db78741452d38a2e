//! HTTP/2 to an endpoint, with prior knowledge (RFC 9113 §3.3).
//!
//! On the h2 crate and not on hyper's client: it says how many streams the endpoint takes, keeps the codes of resets,
//! and sends without a detour through a channel.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use ::h2::client::{self, SendRequest};
use ::h2::{Reason, SendStream};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::{Body as _, Frame};
use mesh_runtime::drain::Guard;
use mesh_runtime::tasks;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use super::{AnswerBody, FailureKind, Kind, SendFailure};
use crate::l7::body::BodyError;
use crate::l7::outgoing::Outgoing;
use crate::net::budget;

/// What an endpoint may send in one stream before it is read (bytes).
const STREAM_WINDOW: u32 = 1024 * 1024;
/// What an endpoint may send in all streams of a connection.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Largest frame that is taken.
const MAX_FRAME: u32 = 64 * 1024;
/// Largest header list of an answer.
const MAX_HEADER_LIST: u32 = 256 * 1024;
/// Bytes that wait in one stream for the connection to take them.
const SEND_BUFFER: usize = 256 * 1024;

/// An HTTP/2 connection. Clones share it.
#[derive(Clone, Debug)]
pub struct Http2(SendRequest<Bytes>);

/// A body that is being sent; dropped, it is given up.
pub(super) type Sending = oneshot::Sender<()>;

/// Makes a connection of bytes one of HTTP/2. The future is to be driven to its end.
pub async fn http2<IO>(io: IO) -> Result<(Http2, impl Future<Output = ()> + Send), ::h2::Error>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (send, connection) = client::Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .data_frame_budget(budget::data_frames(CONNECTION_WINDOW))
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .handshake(io)
        .await?;
    let driver = async move {
        if let Err(error) = connection.await {
            tracing::trace!(%error, "connection to an endpoint broke");
        }
    };
    Ok((Http2(send), driver))
}

// === impl Http2 ===

impl Http2 {
    /// How many streams the endpoint takes at once.
    pub fn max_streams(&self) -> usize {
        self.0.current_max_send_streams()
    }

    /// Sends a request. Its target is in absolute form. A body is sent by a task that holds `guard`; `interim` is told
    /// of answers before the answer.
    pub async fn send(
        &self,
        request: Request<Outgoing>,
        guard: impl FnOnce() -> Guard,
        interim: impl Fn(StatusCode, &HeaderMap),
    ) -> Result<Response<AnswerBody>, SendFailure> {
        let mut send = match self.0.clone().ready().await {
            Ok(send) => send,
            Err(error) => {
                return Err(SendFailure {
                    unsent: Some(request.into_body()),
                    ..SendFailure::new(FailureKind::Unsent, &error)
                });
            }
        };
        let (parts, body) = request.into_parts();
        let is_whole = body.is_end_stream();
        // The head is gone with a failure here: a head that h2 refuses is refused on every connection.
        let (mut response, stream) = send
            .send_request(Request::from_parts(parts, ()), is_whole)
            .map_err(|error| failure(&error))?;
        drop(send);
        let mut sending = None;
        if !is_whole {
            let (keep, given_up) = oneshot::channel();
            sending = Some(keep);
            tasks::spawn_guarded("request body", guard(), send_body(body, stream, given_up));
        }
        loop {
            let answer = poll_fn(|context| {
                if let Poll::Ready(Some(Ok(answer))) = response.poll_informational(context) {
                    return Poll::Ready(Err(answer));
                }
                Pin::new(&mut response).poll(context).map(Ok)
            });
            match answer.await {
                Err(early) => interim(early.status(), early.headers()),
                Ok(answer) => {
                    let answer = answer.map_err(|error| failure(&error))?;
                    return Ok(answer.map(|stream| {
                        AnswerBody(Kind::Http2 {
                            stream,
                            is_data_over: false,
                            _sending: sending,
                        })
                    }));
                }
            }
        }
    }
}

/// Sends a body until its end, or until nobody waits for the answer any more.
async fn send_body(mut body: Outgoing, mut stream: SendStream<Bytes>, given_up: oneshot::Receiver<()>) {
    let reason = tokio::select! {
        biased;
        _ = given_up => Reason::CANCEL,
        sent = pump(&mut body, &mut stream) => match sent {
            Ok(()) => return,
            Err(reason) => reason,
        },
    };
    stream.send_reset(reason);
}

async fn pump(body: &mut Outgoing, stream: &mut SendStream<Bytes>) -> Result<(), Reason> {
    loop {
        let frame = tokio::select! {
            biased;
            // The endpoint has answered without the rest, or reset the stream.
            reset = poll_fn(|context| stream.poll_reset(context)) => return Err(reset.unwrap_or(Reason::CANCEL)),
            frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)) => frame,
        };
        let Some(frame) = frame else {
            return stream.send_data(Bytes::new(), true).map_err(|_| Reason::CANCEL);
        };
        // The client broke off: so does this, or the endpoint would take a part for the whole.
        let frame = frame.map_err(|_| Reason::CANCEL)?;
        match frame.into_data() {
            Ok(data) => send_data(data, body.is_end_stream(), stream).await?,
            Err(frame) => {
                let Ok(trailers) = frame.into_trailers() else {
                    continue;
                };
                return stream.send_trailers(trailers).map_err(|_| Reason::CANCEL);
            }
        }
        if body.is_end_stream() {
            return Ok(());
        }
    }
}

async fn send_data(mut data: Bytes, is_last: bool, stream: &mut SendStream<Bytes>) -> Result<(), Reason> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let mut capacity = stream.capacity();
        while capacity == 0 {
            capacity = match poll_fn(|context| stream.poll_capacity(context)).await {
                Some(Ok(capacity)) => capacity,
                Some(Err(_)) | None => return Err(Reason::CANCEL),
            };
        }
        let part = data.split_to(capacity.min(data.len()));
        let is_end = is_last && data.is_empty();
        stream.send_data(part, is_end).map_err(|_| Reason::CANCEL)?;
        if is_end {
            return Ok(());
        }
    }
    if is_last {
        return stream.send_data(Bytes::new(), true).map_err(|_| Reason::CANCEL);
    }
    Ok(())
}

fn failure(error: &::h2::Error) -> SendFailure {
    let kind = match error.reason() {
        Some(Reason::REFUSED_STREAM) => FailureKind::Refused,
        // A GOAWAY that reaches this stream says that it was not looked at.
        _ if error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR) => {
            FailureKind::Refused
        }
        // Reset from here: the client's body broke off. That says nothing against the endpoint.
        _ if error.is_reset() && !error.is_remote() && !error.is_library() => FailureKind::Client,
        _ if error.is_reset() => FailureKind::Reset,
        _ if error.is_io() || error.is_go_away() => FailureKind::Closed,
        _ => FailureKind::Protocol,
    };
    SendFailure::new(kind, error)
}

/// The end of a body that h2 reports an error for.
pub(super) fn body_error(error: ::h2::Error) -> Option<Result<Frame<Bytes>, BodyError>> {
    // RFC 9113 §8.1: after a whole answer, NO_ERROR says only that the rest of the request is not wanted.
    if error.is_reset() && error.reason() == Some(Reason::NO_ERROR) {
        return None;
    }
    Some(Err(BodyError::other(error)))
}
