//! The body of a request or an answer, as one type.
//!
//! Length and end are known wherever they were known at the source: hyper then frames a message as it came in, with
//! `Content-Length` where there was one and chunked where there was none.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use mesh_http::guard::Refusal;

mod stream;

use self::stream::StreamBody;

/// A body whose type does not matter, with trailers.
pub type BoxBody = Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError> + Send>>;

/// The body of a request or an answer.
#[derive(Default)]
pub struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Incoming(Incoming),
    Stream(StreamBody),
    Boxed(BoxBody),
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection that it came from, or its protocol.
    #[error("{0}")]
    Http(#[source] hyper::Error),
    /// The stream of HTTP/2 that it came in.
    #[error("{0}")]
    Stream(#[source] h2::Error),
    /// What came is not what HTTP allows.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// Anything else: a deadline, a limit.
    #[error("{0}")]
    Other(#[source] Box<dyn StdError + Send + Sync>),
}

// === impl Body ===

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// All of it at once.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Self::empty();
        }
        Self(Kind::Full(bytes))
    }

    /// What hyper reads from a connection.
    pub fn incoming(body: Incoming) -> Self {
        // An end that is known before the first read stays known when the connection is gone.
        if body.is_end_stream() {
            return Self::empty();
        }
        Self(Kind::Incoming(body))
    }

    /// What comes in a stream of HTTP/2; `length` is its Content-Length. Also where it will be said if something of it is
    /// refused.
    pub(super) fn stream(stream: RecvStream, length: Option<u64>) -> (Self, Option<Arc<OnceLock<Refusal>>>) {
        if stream.is_end_stream() {
            return (Self::empty(), None);
        }
        let refused = Arc::default();
        let body = StreamBody::new(stream, length, Arc::clone(&refused));
        (Self(Kind::Stream(body)), Some(refused))
    }

    /// Any other body: one that is counted, kept for a retry, or limited.
    pub fn boxed(body: impl HttpBody<Data = Bytes, Error = BodyError> + Send + 'static) -> Self {
        Self(Kind::Boxed(Box::pin(body)))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Incoming(body) => {
                let frame = ready!(Pin::new(body).poll_frame(context));
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Http)))
            }
            Kind::Stream(body) => body.poll_frame(context),
            Kind::Boxed(body) => body.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(_) => false,
            Kind::Incoming(body) => body.is_end_stream(),
            Kind::Stream(body) => body.is_end_stream(),
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Incoming(body) => body.size_hint(),
            Kind::Stream(body) => body.size_hint(),
            Kind::Boxed(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Empty => "empty",
            Kind::Full(_) => "full",
            Kind::Incoming(_) => "incoming",
            Kind::Stream(_) => "stream",
            Kind::Boxed(_) => "boxed",
        };
        write!(f, "Body({kind}, {:?})", self.size_hint())
    }
}

impl From<Incoming> for Body {
    fn from(body: Incoming) -> Self {
        Self::incoming(body)
    }
}

// === impl BodyError ===

impl BodyError {
    /// Any error.
    pub fn other(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }

    /// The code of HTTP/2 with which the other end reset the stream, if it did.
    pub fn h2_reason(&self) -> Option<h2::Reason> {
        self.find::<h2::Error>().and_then(h2::Error::reason)
    }

    /// The I/O error at the bottom of it, if there is one.
    pub fn io(&self) -> Option<&io::Error> {
        self.find::<io::Error>()
    }

    /// What was refused of the client's bytes, if that is the cause.
    pub fn refusal(&self) -> Option<Refusal> {
        if let Self::Refused(refusal) = self {
            return Some(*refusal);
        }
        let inner = self.io()?.get_ref()?;
        inner.downcast_ref().copied()
    }

    fn find<E: StdError + 'static>(&self) -> Option<&E> {
        let mut cause: Option<&(dyn StdError + 'static)> = self.source();
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            cause = error.source();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full, StreamBody};

    use super::*;

    #[tokio::test]
    async fn length_and_end_are_known_where_the_source_knew_them() {
        let empty = Body::full("");
        assert!(empty.is_end_stream());
        assert_eq!(empty.size_hint().exact(), Some(0));

        let mut full = Body::full("abc");
        assert_eq!((full.is_end_stream(), full.size_hint().exact()), (false, Some(3)));
        assert_eq!(full.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
        assert_eq!((full.is_end_stream(), full.size_hint().exact()), (true, Some(0)));
        assert!(full.frame().await.is_none());

        let boxed = Body::boxed(Full::from("abc").map_err(|never| match never {}));
        assert_eq!(
            (boxed.is_end_stream(), boxed.size_hint().exact()),
            (false, Some(3))
        );
        let frames = futures::stream::iter([Ok(Frame::data(Bytes::from("abc")))]);
        assert_eq!(Body::boxed(StreamBody::new(frames)).size_hint().exact(), None);
    }

    #[test]
    fn an_error_tells_what_is_at_its_bottom() {
        let reset = BodyError::other(h2::Error::from(h2::Reason::CANCEL));
        assert_eq!(reset.h2_reason(), Some(h2::Reason::CANCEL));
        let refused = io::Error::new(io::ErrorKind::InvalidData, Refusal::ChunkSize);
        let refused = BodyError::other(refused);
        assert_eq!(refused.refusal(), Some(Refusal::ChunkSize));
        assert_eq!(
            BodyError::Refused(Refusal::Trailers).refusal(),
            Some(Refusal::Trailers)
        );
        assert_eq!(reset.refusal(), None);
        assert!(reset.io().is_none());
    }
}
