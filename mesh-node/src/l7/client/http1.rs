//! HTTP/1.1 to an endpoint, one request at a time.
//!
//! Whoever has a request drives the connection himself, and its answer's body after that: there is no task and no channel
//! in between, which is what most of a small request cost. Heads are read by httparse; what frames a message is here, and
//! strict (RFC 9112 §6): an answer of which two readers could find different ends breaks the connection.

mod answer;
mod body;
mod decode;
mod request;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use futures::task::AtomicWaker;
use http::{HeaderMap, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::answer::Head;
pub(super) use self::body::Receiving;
pub use self::request::RequestHead;
use self::request::{Sending, SendingError};
use super::{AnswerBody, FailureKind, Kind, SendFailure, explain};
use crate::l7::outgoing::Outgoing;
use crate::net::io::{ReadSize, SideIo};

/// Answers before the answer that an endpoint may give to one request.
const MAX_INTERIM: u32 = 64;

/// A connection. Between two requests nobody watches it: who takes it from where it is kept asks [`Http1::is_over`].
#[derive(Debug)]
pub struct Http1 {
    io: SideIo,
    cut: Arc<Cut>,
    /// Received and not used yet.
    input: Bytes,
    size: ReadSize,
    has_ended: bool,
    /// Whether there was the last exchange that it is for.
    is_last: bool,
}

/// Breaks a connection off from outside, whatever is under way on it.
#[derive(Debug, Default)]
pub struct Cut {
    is_cut: AtomicBool,
    waker: AtomicWaker,
}

/// A connection after an upgrade, or after a CONNECT was granted: another protocol's bytes.
#[derive(Debug)]
pub struct Upgraded(Http1);

/// Sends a request: its head, and its body while the answer is waited for. `interim` is told of answers before the answer.
/// The connection comes back at the end of the answer's body ([`AnswerBody::reclaim`]).
pub async fn send_http1(
    mut connection: Box<Http1>,
    head: RequestHead,
    body: Outgoing,
    interim: impl Fn(StatusCode, &HeaderMap) + Send + Sync,
) -> Result<Response<AnswerBody>, SendFailure> {
    let wants = head.wants;
    let mut sending = Some(Sending::new(head, body));
    let mut is_sendable = true;
    let mut interims = 0;
    let mut scanned = 0;
    let head = loop {
        let result = poll_fn(|context| {
            if connection.cut.poll(context) {
                return Poll::Ready(Err(SendFailure::cut()));
            }
            if let Some(under_way) = &mut sending {
                match under_way.poll(&mut connection.io, context) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(())) => sending = None,
                    Poll::Ready(Err(error)) => {
                        is_sendable = false;
                        if let Some(failure) = error.into_failure(&mut sending) {
                            return Poll::Ready(Err(failure));
                        }
                    }
                }
            }
            connection.poll_head(&mut scanned, context)
        });
        let head = match result.await {
            Ok(head) => head,
            Err(failure) => return Err(failure),
        };
        if !head.is_interim() {
            break head;
        }
        interims += 1;
        if interims > MAX_INTERIM {
            return Err(SendFailure::protocol(
                "the endpoint gives no end of interim answers",
            ));
        }
        interim(head.status, &head.headers);
        scanned = 0;
    };
    let framing = head.framing(wants).map_err(SendFailure::protocol)?;
    let mut response = Response::new(());
    *response.status_mut() = head.status;
    let is_kept = head.may_be_kept(wants) && is_sendable;
    *response.headers_mut() = head.headers;
    let receiving = Receiving::new(connection, framing, sending, is_kept);
    Ok(response.map(|()| AnswerBody(Kind::Http1(receiving))))
}

// === impl Http1 ===

impl Http1 {
    /// A connection on these bytes, which `cut` breaks off.
    pub fn new(io: SideIo, cut: Arc<Cut>) -> Self {
        Self {
            io,
            cut,
            input: Bytes::new(),
            size: ReadSize::default(),
            has_ended: false,
            is_last: false,
        }
    }

    /// Its bytes, to be ended: there is no exchange under way. Dropped, it is broken off.
    pub fn into_io(self) -> SideIo {
        self.io
    }

    /// Whether the exchange that is over was its last: one of both ends wanted that.
    pub fn is_last(&self) -> bool {
        self.is_last || self.has_ended
    }

    /// Whether it takes no further request: cut, closed by the endpoint, or the endpoint said something unasked.
    pub fn is_over(&mut self) -> bool {
        if self.has_ended || self.cut.is_cut.load(Ordering::Acquire) || !self.input.is_empty() {
            return true;
        }
        // A task that has used its budget up would be told that nothing has come.
        let look = poll_fn(|context| Poll::Ready(self.io.poll_piece(&mut self.size, context).is_ready()));
        let mut context = Context::from_waker(Waker::noop());
        pin!(tokio::task::coop::unconstrained(look)).poll(&mut context) == Poll::Ready(true)
    }

    /// Receives more; false at the endpoint's end.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.has_ended {
            return Poll::Ready(Ok(false));
        }
        let piece = ready!(self.io.poll_piece(&mut self.size, context))?;
        if piece.is_empty() {
            self.has_ended = true;
            return Poll::Ready(Ok(false));
        }
        if self.input.is_empty() {
            self.input = piece;
        } else {
            let mut joined = BytesMut::from(std::mem::take(&mut self.input));
            joined.extend_from_slice(&piece);
            self.input = joined.freeze();
        }
        Poll::Ready(Ok(true))
    }

    /// The next head; `scanned` bytes of the input are known to hold no end of it.
    fn poll_head(
        &mut self,
        scanned: &mut usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<Head, SendFailure>> {
        loop {
            match answer::end_of_head(&self.input, scanned) {
                Ok(Some(end)) => {
                    let head = Head::parse(&self.input.split_to(end));
                    return Poll::Ready(head.map_err(SendFailure::protocol));
                }
                Ok(None) => {}
                Err(what) => return Poll::Ready(Err(SendFailure::protocol(what))),
            }
            match ready!(self.poll_more(context)) {
                Ok(true) => {}
                Ok(false) => {
                    let error: io::Error = io::ErrorKind::UnexpectedEof.into();
                    return Poll::Ready(Err(SendFailure::new(FailureKind::Closed, &error)));
                }
                Err(error) => return Poll::Ready(Err(SendFailure::new(FailureKind::Closed, &error))),
            }
        }
    }
}

// === impl Cut ===

impl Cut {
    /// Breaks the connection off.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether it has been cut; if not, the task is woken when it is.
    fn poll(&self, context: &mut Context<'_>) -> bool {
        self.waker.register(context.waker());
        self.is_cut.load(Ordering::Acquire)
    }
}

// === impl Upgraded ===

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let connection = &mut self.0;
        if connection.input.is_empty() && !ready!(connection.poll_more(context))? {
            return Poll::Ready(Ok(()));
        }
        let count = connection.input.len().min(buffer.remaining());
        buffer.put_slice(connection.input.get(..count).unwrap_or_default());
        connection.input.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.io).poll_shutdown(context)
    }
}

// === impl SendFailure ===

impl SendFailure {
    fn cut() -> Self {
        let error = io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was given up");
        Self::new(FailureKind::Closed, &error)
    }

    fn protocol(what: &'static str) -> Self {
        Self {
            kind: FailureKind::Protocol,
            error: what.to_owned(),
            unsent: None,
        }
    }
}

// === impl SendingError ===

impl SendingError {
    /// What it makes of the request; `None`: its answer may have come, which says more.
    fn into_failure(self, sending: &mut Option<Sending>) -> Option<SendFailure> {
        let stopped = sending.take();
        match self {
            Self::Io(error) if stopped.as_ref().is_some_and(Sending::is_untouched) => Some(SendFailure {
                kind: FailureKind::Unsent,
                error: explain(&error),
                unsent: stopped.map(Sending::into_body),
            }),
            Self::Io(error) => {
                tracing::trace!(%error, "an endpoint takes no more of a request");
                None
            }
            Self::Body(error) => Some(SendFailure::new(FailureKind::Client, &error)),
        }
    }
}
