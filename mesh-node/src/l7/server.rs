//! One client's HTTP connection, from its first byte to its end.
//!
//! hyper reads and frames; what would be ambiguous or costs too much never gets to it. Everything that a connection
//! needs runs in its own task: the streams of HTTP/2, and what comes after an upgrade. They end with it.

mod http1;
mod http2;
mod probe;
mod stream;
#[cfg(test)]
mod tests;

use std::error::Error as StdError;

use http::{Request, Response, StatusCode};
use mesh_http::guard;
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::Body;
use super::limits::Limits;

/// Which HTTP a connection speaks; detection has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1 or HTTP/1.0.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// Answers requests.
pub trait Handler: Clone + Send + Sync + Unpin + 'static {
    /// Answers one. Dropped when the client goes away or resets the stream.
    fn handle(&self, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send;

    /// Counts and logs what never became a request.
    fn refused(&self, refusal: &Refusal);
}

/// Why a client was refused before its bytes became a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was spoken: HTTP/1.1 or HTTP/2.
    pub version: http::Version,
    /// What it was answered with; `None`: the connection was closed without an answer to this.
    pub status: Option<StatusCode>,
    /// The cause, in one word: a label of metrics.
    pub cause: &'static str,
    /// The cause, as a sentence.
    pub detail: &'static str,
}

/// How a connection failed; for the debug log only, since each request has its own record.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The client's connection broke, or it broke the protocol.
    #[error("the client's connection broke: {0}")]
    Broken(#[source] Box<dyn StdError + Send + Sync>),
    /// Requests were still in progress when the time for the stop was over.
    #[error("requests were still in progress at the deadline of the drain")]
    Drained,
    /// The client does not answer probes.
    #[error("the client does not answer probes any more")]
    Silent,
}

/// Serves a connection to its end. When `stop` resolves, the client is told to open another one; requests in progress
/// have `limits.drain_deadline` to end.
pub async fn serve<IO, H>(
    io: IO,
    version: Version,
    limits: &Limits,
    stop: impl Future<Output = ()> + Send,
    handler: H,
) -> Result<(), ServeError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    match version {
        // Each on the heap by itself: a connection of the one kind has no room for the other.
        Version::Http1 => Box::pin(http1::serve(io, limits, stop, handler)).await,
        Version::Http2 => Box::pin(http2::serve(io, limits, stop, handler)).await,
    }
}

// === impl Refusal ===

impl Refusal {
    /// For what h2 ends a connection.
    fn protocol(reason: h2::Reason) -> Self {
        let (cause, detail) = match reason {
            h2::Reason::ENHANCE_YOUR_CALM => ("excess", "the client asks for more than a connection may"),
            h2::Reason::FLOW_CONTROL_ERROR => ("flow_control", "the client sent more than it was allowed to"),
            h2::Reason::COMPRESSION_ERROR => ("compression", "a header block can't be decoded"),
            h2::Reason::FRAME_SIZE_ERROR => ("frame_size", "a frame has a size that it can't have"),
            _ => ("protocol", "the client broke the rules of HTTP/2"),
        };
        Self {
            version: http::Version::HTTP_2,
            status: None,
            cause,
            detail,
        }
    }

    fn of(refusal: guard::Refusal, version: http::Version) -> Self {
        Self {
            version,
            status: refusal.status(),
            cause: refusal.cause(),
            detail: refusal.detail(),
        }
    }

    /// What a guard refuses of HTTP/1.
    fn http1(refusal: guard::Refusal) -> Self {
        Self::of(refusal, http::Version::HTTP_11)
    }

    /// What a guard refuses of HTTP/2.
    fn http2(refusal: guard::Refusal) -> Self {
        Self::of(refusal, http::Version::HTTP_2)
    }
}
