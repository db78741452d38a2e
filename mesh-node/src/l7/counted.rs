//! A client's HTTP/2 connection as h2 sees it: its bytes, of which the frames were counted, until there are too many of
//! a kind that costs more than it carries.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use mesh_http::guard::Refusal;
use mesh_http::guard::h2::Guard;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::guarded::{Farewell, Wait};
use super::limits::Limits;

/// The connection.
pub(super) struct Counted<IO> {
    io: IO,
    account: Arc<Account>,
    limits: Limits,
    has_client_ended: bool,
    /// The wait for the rest of a head.
    reading: Wait<()>,
    /// The wait for the client to take something.
    writing: Wait<()>,
    farewell: Farewell,
}

/// What is known of the connection outside of it. Used within one task only, so that its lock is never waited for.
#[derive(Debug)]
pub(super) struct Account(Mutex<State>);

#[derive(Debug)]
struct State {
    guard: Guard,
    refusal: Option<Refusal>,
    /// When something came last.
    heard: Instant,
    /// Up to when time has been told to the guard.
    told: Instant,
}

// === impl Account ===

impl Account {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self(Mutex::new(State {
            guard: Guard::default(),
            refusal: None,
            heard: now,
            told: now,
        }))
    }

    /// Why the client is refused, if it is.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.0.lock().refusal
    }

    /// When something came last.
    pub(super) fn heard(&self) -> Instant {
        self.0.lock().heard
    }

    /// So many DATA frames were sent.
    pub(super) fn sent_data(&self, frames: usize) {
        let frames = u32::try_from(frames).unwrap_or(u32::MAX);
        self.0.lock().guard.sent_data(frames);
    }

    fn read(&self, bytes: &[u8]) -> Result<(), Refusal> {
        let state = &mut *self.0.lock();
        state.heard = Instant::now();
        let passed = state.heard.duration_since(state.told).as_secs();
        if passed > 0 {
            state.told = state.heard;
            state.guard.passed(u32::try_from(passed).unwrap_or(u32::MAX));
        }
        state.guard.read(bytes).inspect_err(|refusal| {
            state.refusal.get_or_insert(*refusal);
        })
    }

    fn refuse(&self, refusal: Refusal) {
        self.0.lock().refusal.get_or_insert(refusal);
    }

    fn is_in_head(&self) -> bool {
        self.0.lock().guard.is_in_head()
    }
}

// === impl Counted ===

impl<IO> Counted<IO> {
    /// The connection; `account` is shared with whoever serves it.
    pub(super) fn new(io: IO, limits: &Limits, account: Arc<Account>) -> Self {
        Self {
            io,
            account,
            limits: *limits,
            has_client_ended: false,
            reading: Wait::default(),
            writing: Wait::default(),
            farewell: Farewell::default(),
        }
    }

    /// Keeps an eye on how long the client takes nothing.
    fn stalled<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.writing.stop();
            return written;
        }
        ready!(self.writing.poll((), self.limits.write_timeout, context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Counted<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.account.refusal().is_some() {
            // Whoever serves the connection has been told by what woke this, and ends it.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        if Pin::new(&mut this.io).poll_read(context, buffer)?.is_pending() {
            if this.account.is_in_head() {
                ready!(this.reading.poll((), this.limits.header_timeout, context));
                this.account.refuse(Refusal::Slow);
            }
            return Poll::Pending;
        }
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        if fresh.is_empty() {
            this.has_client_ended = true;
        } else if this.account.read(fresh).is_err() {
            buffer.set_filled(before);
            return Poll::Pending;
        }
        if !this.account.is_in_head() {
            this.reading.stop();
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Counted<IO> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(context, bytes);
        this.stalled(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(context, parts);
        this.stalled(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.io).poll_flush(context);
        this.stalled(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let is_owed = !this.has_client_ended;
        let shut = this.farewell.poll(&mut this.io, is_owed, context);
        this.stalled(context, shut)
    }
}
