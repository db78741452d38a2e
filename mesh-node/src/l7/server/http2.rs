//! HTTP/2 on one connection.
//!
//! On h2 and not on hyper's server: it ends a connection with the code that says why, and what is read but not yet taken can be
//! bounded. The streams run in the connection's own task: they share its thread, and end with it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::stream::FuturesUnordered;
use h2::Reason;
use h2::server::{self, Connection};
use mesh_http::guard;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::probe::Probe;
use super::stream::{self, Request};
use super::{Handler, Refusal, ServeError};
use crate::l7::counted::{Account, Counted};
use crate::l7::guarded::Wait;
use crate::l7::limits::Limits;
use crate::net::budget;

/// Largest frame that is taken: HTTP/2's default. Larger ones would let one stream hold up the others.
const MAX_FRAME: u32 = 16 * 1024;
/// Bytes that wait in one stream for the connection to take them.
const SEND_BUFFER: usize = 256 * 1024;
/// Streams reset by the client before they were looked at (h2's default).
const MAX_PENDING_RESETS: usize = 20;
/// Streams that were reset here for what the client did (h2's default).
const MAX_ERROR_RESETS: usize = 1024;
/// How long a client that is cut off is given to take the reason.
const CUT: Duration = Duration::from_secs(5);

struct Server<IO, H> {
    connection: Connection<Counted<IO>, Bytes>,
    account: Arc<Account>,
    limits: Limits,
    handler: H,
    probe: Option<Probe>,
    idle: Wait<()>,
    /// By when it has to be over, once it is to end.
    deadline: Option<Deadline>,
    ended: Option<Result<(), h2::Error>>,
}

struct Deadline {
    wait: Wait<()>,
    limit: Duration,
    is_refused: bool,
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
    let account = Arc::new(Account::new());
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(u32::try_from(limits.max_head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.max_streams)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(Some(MAX_ERROR_RESETS))
        .data_frame_budget(budget::data_frames(limits.connection_window));
    let handshake = builder.handshake(Counted::new(io, limits, Arc::clone(&account)));
    let connection = match timeout(limits.header_timeout, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return Err(ServeError::Broken(error.into())),
        Err(_) => {
            handler.refused(&Refusal::http2(guard::Refusal::Slow));
            return Ok(());
        }
    };
    let mut server = Server {
        connection,
        account,
        limits: *limits,
        handler,
        probe: None,
        idle: Wait::default(),
        deadline: None,
        ended: None,
    };
    server.probe = server
        .connection
        .ping_pong()
        .map(|pings| Probe::new(pings, limits));
    let mut streams = FuturesUnordered::new();
    let mut stop = pin!(stop);
    let mut has_stopped = false;
    let serve_stream = |server: &Server<IO, H>, request| {
        let account = Arc::clone(&server.account);
        stream::serve(request, server.handler.clone(), server.limits, account)
    };
    poll_fn(|context| {
        if !has_stopped && stop.as_mut().poll(context).is_ready() {
            has_stopped = true;
            server.stop(server.limits.drain_deadline);
        }
        loop {
            while let Poll::Ready(Some(())) = Pin::new(&mut streams).poll_next(context) {}
            match server.poll_accept(context) {
                Poll::Ready(Some(request)) => streams.push(serve_stream(&server, request)),
                Poll::Ready(None) if streams.is_empty() => return Poll::Ready(()),
                _ => break,
            }
        }
        server.poll_end(streams.is_empty(), context)
    })
    .await;
    server.finish(streams.is_empty())
}

// === impl Server ===

impl<IO, H> Server<IO, H>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    /// The next request; `None` when there will be no other.
    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<Option<Request>> {
        if self.ended.is_none() {
            match self.connection.poll_accept(context) {
                Poll::Ready(Some(Ok(request))) => return Poll::Ready(Some(request)),
                Poll::Ready(Some(Err(error))) => self.ended = Some(Err(error)),
                Poll::Ready(None) => self.ended = Some(Ok(())),
                Poll::Pending => {}
            }
        }
        if self.ended.is_some() {
            return Poll::Ready(None);
        }
        Poll::Pending
    }

    /// Whether the connection is over, for another reason than that its client ended it.
    fn poll_end(&mut self, is_idle: bool, context: &mut Context<'_>) -> Poll<()> {
        if let Some(refusal) = self.account.refusal()
            && !self.deadline.as_ref().is_some_and(|deadline| deadline.is_refused)
        {
            self.handler.refused(&Refusal::http2(refusal));
            self.connection.abrupt_shutdown(match refusal {
                guard::Refusal::FrameSize => Reason::FRAME_SIZE_ERROR,
                guard::Refusal::Preface => Reason::PROTOCOL_ERROR,
                _ => Reason::ENHANCE_YOUR_CALM,
            });
            self.deadline = Some(Deadline {
                wait: Wait::default(),
                limit: CUT,
                is_refused: true,
            });
            context.waker().wake_by_ref();
        }
        if let Some(deadline) = &mut self.deadline {
            return deadline.wait.poll((), deadline.limit, context);
        }
        if !is_idle {
            self.idle.stop();
        } else if self.idle.poll((), self.limits.idle_timeout, context).is_ready() {
            self.stop(CUT);
            context.waker().wake_by_ref();
        }
        match &mut self.probe {
            Some(probe) => probe.poll(self.account.heard(), context),
            None => Poll::Pending,
        }
    }

    /// No further requests; those in progress have so long.
    fn stop(&mut self, limit: Duration) {
        if self.deadline.is_none() {
            self.connection.graceful_shutdown();
            self.deadline = Some(Deadline {
                wait: Wait::default(),
                limit,
                is_refused: false,
            });
        }
    }

    fn finish(self, is_idle: bool) -> Result<(), ServeError> {
        match self.ended {
            Some(Err(error)) => {
                // What h2 itself ended the connection for.
                if error.is_library()
                    && let Some(reason) = error.reason()
                {
                    self.handler.refused(&Refusal::protocol(reason));
                }
                Err(ServeError::Broken(error.into()))
            }
            Some(Ok(())) => Ok(()),
            None if self.account.refusal().is_some() => Ok(()),
            None if self.deadline.is_some() && is_idle => Ok(()),
            None if self.deadline.is_some() => Err(ServeError::Drained),
            None => Err(ServeError::Silent),
        }
    }
}
