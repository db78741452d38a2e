//! A client's HTTP/1 connection as hyper sees it: bytes that have one reading, and an end where another would begin.
//!
//! What is refused ends the connection for hyper, which answers the requests before it; our own answer follows those.
//! Here are also the waits that depend on what the bytes mean: for a head, and for the next request.

mod farewell;
mod wait;

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use futures::task::AtomicWaker;
use mesh_http::guard::Refusal;
use mesh_http::guard::h1::{self, Guard, Position, Released};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

pub(super) use self::farewell::Farewell;
pub(super) use self::wait::Wait;
use super::limits::Limits;

/// How much is read at once: the first read of a request, most of which fit.
const READ: usize = 8 * 1024;
/// In `Requests::answered`, beside the request's number.
const GRANTED: u64 = 1 << 63;

/// The connection. `F` is told of refusals.
pub(super) struct Guarded<IO, F> {
    io: IO,
    guard: Guard,
    /// Read, and not taken by hyper yet.
    waiting: BytesMut,
    /// How many of these may be taken.
    released: usize,
    end: End,
    requests: Arc<Requests>,
    refused: F,
    limits: Limits,
    /// The wait for the next request, or the rest of its head.
    reading: Wait<Reading>,
    /// The wait for the client to take something.
    writing: Wait<()>,
    farewell: Farewell,
}

/// What the two sides of a connection tell each other: who reads its bytes, and who answers its requests.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// How many there were.
    begun: AtomicU64,
    /// Whether the last one is in progress: up to the last byte of its answer.
    is_busy: AtomicBool,
    /// Whether there is nothing to come of its answer but what hyper has still to write.
    is_complete: AtomicBool,
    /// The number of the last one that was answered, with [`GRANTED`].
    answered: AtomicU64,
    /// Why the content of the last one is refused, if it is.
    refusal: Mutex<Option<Refusal>>,
    /// Who reads, when it waits for either of these.
    reader: AtomicWaker,
}

/// Kept until the answer to a request is complete.
#[derive(Debug)]
pub(super) struct Busy {
    requests: Arc<Requests>,
    /// The request's, of the connection's; the first one has 1.
    number: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// More may come.
    Open,
    /// The client has ended its direction.
    Client,
    /// Nothing more is read: refused, or too long without a request.
    Here,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Request,
    Head,
}

// === impl Requests ===

impl Requests {
    /// The next request begins.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.is_complete.store(false, Ordering::Release);
        self.is_busy.store(true, Ordering::Release);
        Busy {
            requests: Arc::clone(self),
            number: self.begun.fetch_add(1, Ordering::AcqRel) + 1,
        }
    }

    fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Acquire)
    }

    /// All that hyper had to write is written.
    fn flushed(&self) {
        if self.is_complete.swap(false, Ordering::AcqRel) {
            self.is_busy.store(false, Ordering::Release);
            self.reader.wake();
        }
    }
}

// === impl Busy ===

impl Busy {
    /// Why the request's content is refused, if it is.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        *self.requests.refusal.lock()
    }

    /// The request is answered; whether another protocol follows.
    pub(super) fn answer(&self, is_granted: bool) {
        let granted = if is_granted { GRANTED } else { 0 };
        self.requests
            .answered
            .store(self.number | granted, Ordering::Release);
        self.requests.reader.wake();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.requests.is_complete.store(true, Ordering::Release);
    }
}

// === impl Guarded ===

impl<IO, F> Guarded<IO, F>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    F: FnMut(Refusal) + Unpin,
{
    /// The connection; `requests` is shared with whoever answers.
    pub(super) fn new(io: IO, limits: &Limits, requests: Arc<Requests>, refused: F) -> Self {
        let heads = h1::Limits {
            max_head_bytes: limits.max_head_bytes,
            max_fields: limits.max_headers,
        };
        Self {
            io,
            guard: Guard::new(heads),
            waiting: BytesMut::new(),
            released: 0,
            end: End::Open,
            requests,
            refused,
            limits: *limits,
            reading: Wait::default(),
            writing: Wait::default(),
            farewell: Farewell::default(),
        }
    }

    /// Hands out what may go on; whether there was any.
    fn take(&mut self, buffer: &mut ReadBuf<'_>) -> io::Result<bool> {
        let answered = self.requests.answered.load(Ordering::Acquire);
        self.guard.answered(answered & !GRANTED, answered & GRANTED != 0);
        if self.released == 0 && self.end != End::Here && !self.waiting.is_empty() {
            let released = self.guard.release(&self.waiting);
            self.note(released)?;
        }
        if self.released == 0 {
            return Ok(false);
        }
        self.reading.stop();
        let count = self.released.min(buffer.remaining());
        buffer.put_slice(self.waiting.get(..count).unwrap_or_default());
        self.waiting.advance(count);
        self.released -= count;
        Ok(true)
    }

    /// Notes what of `waiting` may go on.
    fn note(&mut self, released: Result<Released, Refusal>) -> io::Result<()> {
        match released {
            Ok(Released { count, cut }) => {
                // What is before the cut moves up to what is behind it.
                self.waiting.copy_within(..cut.start, cut.len());
                self.waiting.advance(cut.len());
                self.released = count - cut.len();
                Ok(())
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// Ends the connection for hyper. Within content the error goes to whoever reads that, and the request is answered
    /// with it if it is not answered yet; else our answer comes after those to the requests before.
    fn refuse(&mut self, refusal: Refusal) -> io::Result<()> {
        self.end = End::Here;
        (self.refused)(refusal);
        if self.guard.position() == Position::Content {
            *self.requests.refusal.lock() = Some(refusal);
            return Err(io::Error::new(io::ErrorKind::InvalidData, refusal));
        }
        self.farewell.say(refusal);
        Ok(())
    }

    /// Nothing of what was read may go on. `Some`: nor will anything that is still to be read, for now or for good.
    fn ended(&mut self, context: &mut Context<'_>) -> Option<Poll<io::Result<()>>> {
        let is_over = match (self.end, self.guard.position()) {
            (End::Open, Position::Over) | (End::Here, _) => true,
            // Another protocol's bytes, or the next request's: not too many before it is known which.
            (End::Open, Position::Held) if self.waiting.len() >= READ => false,
            (End::Client, Position::Held) => false,
            (End::Open, _) => return None,
            (End::Client, Position::Content) => return Some(Poll::Ready(Ok(()))),
            (End::Client, Position::Head) => {
                self.end = End::Here;
                (self.refused)(Refusal::Truncated);
                true
            }
            (End::Client, _) => true,
        };
        // An end is none while a request is in progress: hyper would give it up, and the client may well wait for its
        // answer though it says no more.
        self.requests.reader.register(context.waker());
        if is_over && !self.requests.is_busy() {
            return Some(Poll::Ready(Ok(())));
        }
        Some(Poll::Pending)
    }

    /// Nothing has come: has it taken too long?
    fn overdue(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (reading, limit) = match self.guard.position() {
            Position::Idle if !self.requests.is_busy() => (Reading::Request, self.limits.idle_timeout),
            Position::Head => (Reading::Head, self.limits.header_timeout),
            _ => {
                // The wait for the next request begins when this one is over.
                self.requests.reader.register(context.waker());
                self.reading.stop();
                return Poll::Pending;
            }
        };
        ready!(self.reading.poll(reading, limit, context));
        match reading {
            Reading::Head => self.refuse(Refusal::Slow)?,
            Reading::Request => self.end = End::Here,
        }
        Poll::Ready(Ok(()))
    }

    /// Reads into hyper's own buffer what is sure to go on.
    fn poll_plain(
        &mut self,
        context: &mut Context<'_>,
        plain: u64,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut (&mut self.io).take(plain)).poll_read(context, buffer))?;
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        if fresh.is_empty() {
            self.end = End::Client;
            return Poll::Ready(Ok(()));
        }
        // All of it goes on; the guard counts it.
        self.guard
            .release(fresh)
            .map_err(|refusal| io::Error::new(io::ErrorKind::InvalidData, refusal))?;
        Poll::Ready(Ok(()))
    }

    /// Reads into hyper's own buffer, and leaves it there if all of it may go on: it is a whole request most often. Whether
    /// it was.
    fn poll_through(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        if fresh.is_empty() {
            self.end = End::Client;
            return Poll::Ready(Ok(false));
        }
        let released = self.guard.release(fresh);
        if let Ok(Released { count, cut }) = &released
            && *count == fresh.len()
            && cut.is_empty()
        {
            self.reading.stop();
            return Poll::Ready(Ok(true));
        }
        self.waiting.extend_from_slice(fresh);
        buffer.set_filled(before);
        Poll::Ready(self.note(released).map(|()| false))
    }

    /// Reads what hyper may not have yet.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.waiting.reserve(READ);
        if ready!(pin!(self.io.read_buf(&mut self.waiting)).poll(context))? == 0 {
            self.end = End::Client;
        }
        Poll::Ready(Ok(()))
    }

    /// Keeps an eye on how long the client takes nothing.
    fn stalled<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.writing.stop();
            return written;
        }
        if self.guard.position() == Position::Opaque {
            return Poll::Pending;
        }
        ready!(self.writing.poll((), self.limits.write_timeout, context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<IO, F> AsyncRead for Guarded<IO, F>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    F: FnMut(Refusal) + Unpin,
{
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.take(buffer)? {
                return Poll::Ready(Ok(()));
            }
            if let Some(ended) = this.ended(context) {
                return ended;
            }
            let plain = this.guard.plain();
            if plain > 0 {
                return this.poll_plain(context, plain, buffer);
            }
            let read = if this.waiting.is_empty() && buffer.remaining() >= READ {
                this.poll_through(context, buffer)?
            } else {
                this.poll_more(context)?.map(|()| false)
            };
            match read {
                Poll::Ready(true) => return Poll::Ready(Ok(())),
                Poll::Ready(false) => {}
                Poll::Pending => {
                    if this.waiting.is_empty() {
                        // An idle connection holds no memory for what may come.
                        this.waiting = BytesMut::new();
                    }
                    // What is overdue has ended the connection; the next turn says so.
                    ready!(this.overdue(context))?;
                }
            }
        }
    }
}

impl<IO, F> AsyncWrite for Guarded<IO, F>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    F: FnMut(Refusal) + Unpin,
{
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
        if matches!(flushed, Poll::Ready(Ok(()))) {
            // hyper flushes when it has nothing left to write.
            this.requests.flushed();
        }
        this.stalled(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Whoever has more to say has not read all that we said.
        let says_more = !this.waiting.is_empty()
            || matches!(
                this.guard.position(),
                Position::Head | Position::Content | Position::Held
            );
        let is_owed = says_more && this.end != End::Client;
        let shut = this.farewell.poll(&mut this.io, is_owed, context);
        this.stalled(context, shut)
    }
}
