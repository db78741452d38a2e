//! The client's side of HTTP: one connection to an endpoint, and sending one request over it.
//!
//! Says of every failure whether the request may have been executed.

mod h2;
mod http1;

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::h2::RecvStream;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

pub use self::h2::{Http2, http2};
use self::http1::Receiving;
pub use self::http1::{Cut, Http1, RequestHead, Upgraded, send_http1};
use super::body::BodyError;
use super::outgoing::Outgoing;

/// The body of an endpoint's answer.
#[derive(Debug)]
pub struct AnswerBody(Kind);

#[derive(Debug)]
enum Kind {
    Http1(Receiving),
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
    /// The request's body, when not a byte of the request was sent.
    pub unsent: Option<Outgoing>,
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

impl AnswerBody {
    /// The connection of HTTP/1.1 that it came over, if nothing of the exchange is left on it.
    pub fn reclaim(&mut self) -> Option<Box<Http1>> {
        match &mut self.0 {
            Kind::Http1(body) => body.reclaim(),
            Kind::Http2 { .. } => None,
        }
    }

    /// The connection of HTTP/1.1, for the protocol that it was upgraded to.
    pub fn into_upgraded(self) -> Option<Upgraded> {
        match self.0 {
            Kind::Http1(body) => body.into_upgraded(),
            Kind::Http2 { .. } => None,
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Http1(body) => body.poll_frame(context),
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
