//! The client's side of HTTP: one connection to an endpoint, and sending one request over it.
//!
//! Says of every failure whether the request may have been executed.

mod h2;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::h2::RecvStream;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::body::{Body, Frame, SizeHint};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::h2::{Http2, http2};
use super::body::BodyError;
use super::outgoing::Outgoing;

/// Largest head of an answer, in bytes.
const MAX_HEAD: usize = 256 * 1024;
/// Headers of an answer.
const MAX_HEADERS: usize = 256;

/// An HTTP/1.1 connection that takes one request at a time.
pub type Http1 = http1::SendRequest<Outgoing>;

/// The body of an endpoint's answer.
#[derive(Debug)]
pub struct AnswerBody(Kind);

#[derive(Debug)]
enum Kind {
    Http1(Incoming),
    Http2 {
        stream: RecvStream,
        is_data_over: bool,
        /// The request's body is still on its way; given up with the answer.
        _sending: Option<h2::Sending>,
    },
}

/// Why there is no answer.
#[derive(Debug)]
pub struct SendFailure {
    /// What happened.
    pub kind: FailureKind,
    /// The whole story.
    pub error: String,
    /// The request, when not a byte of it was sent.
    pub unsent: Option<Box<Request<Outgoing>>>,
}

/// What may have happened to a request without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// No byte of it was sent.
    Unsent,
    /// The endpoint says that it did not look at it (RFC 9113 §8.7: REFUSED_STREAM, or above GOAWAY's last stream).
    Refused,
    /// The connection ended before the answer.
    Closed,
    /// The endpoint reset it.
    Reset,
    /// The answer is no HTTP.
    Protocol,
    /// The client's part of the body broke off.
    Client,
}

/// Makes a connection of bytes one of HTTP/1.1. The future is to be driven to its end.
pub async fn http1<IO>(io: IO) -> Result<(Http1, impl Future<Output = ()> + Send), hyper::Error>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (send, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .handshake(TokioIo::new(io))
        .await?;
    let driver = async move {
        // What broke a connection is told by the request that was on it.
        if let Err(error) = connection.with_upgrades().await {
            tracing::trace!(%error, "connection to an endpoint broke");
        }
    };
    Ok((send, driver))
}

/// Sends a request over HTTP/1.1. Its target is in origin form (or authority form for CONNECT), its Host set. `interim` is
/// told of answers before the answer.
pub async fn send_http1(
    connection: &mut Http1,
    mut request: Request<Outgoing>,
    interim: impl Fn(StatusCode, &HeaderMap) + Send + Sync + 'static,
) -> Result<Response<AnswerBody>, SendFailure> {
    hyper::ext::on_informational(&mut request, move |early| {
        interim(early.status(), early.headers());
    });
    match connection.try_send_request(request).await {
        Ok(response) => Ok(response.map(|body| AnswerBody(Kind::Http1(body)))),
        Err(mut failure) => {
            let unsent = failure.take_message().map(Box::new);
            let error = failure.into_error();
            let kind = if unsent.is_some() {
                FailureKind::Unsent
            } else if error.is_parse() {
                FailureKind::Protocol
            } else if error.is_user() {
                FailureKind::Client
            } else {
                FailureKind::Closed
            };
            Err(SendFailure {
                kind,
                error: explain(&error),
                unsent,
            })
        }
    }
}

/// An error with its causes.
fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

// === impl AnswerBody ===

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Http1(body) => {
                let frame = ready!(Pin::new(body).poll_frame(context));
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Http)))
            }
            Kind::Http2 {
                stream, is_data_over, ..
            } => {
                while !*is_data_over {
                    match ready!(stream.poll_data(context)) {
                        Some(Ok(data)) if data.is_empty() && !stream.is_end_stream() => {}
                        Some(Ok(data)) => {
                            // The window grows as fast as the client takes what is read; hyper asks for a frame only then.
                            let released = stream.flow_control().release_capacity(data.len());
                            let frame = released.map(|()| Frame::data(data));
                            return Poll::Ready(Some(frame.map_err(BodyError::other)));
                        }
                        Some(Err(error)) => return Poll::Ready(h2::body_error(error)),
                        None => *is_data_over = true,
                    }
                }
                Poll::Ready(match ready!(stream.poll_trailers(context)) {
                    Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
                    Err(error) => return Poll::Ready(h2::body_error(error)),
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Http1(body) => body.is_end_stream(),
            Kind::Http2 { stream, .. } => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Http1(body) => body.size_hint(),
            Kind::Http2 { stream, .. } if stream.is_end_stream() => SizeHint::with_exact(0),
            Kind::Http2 { .. } => SizeHint::default(),
        }
    }
}

// === impl SendFailure ===

impl SendFailure {
    fn new(kind: FailureKind, error: &(dyn std::error::Error + 'static)) -> Self {
        Self {
            kind,
            error: explain(error),
            unsent: None,
        }
    }
}
