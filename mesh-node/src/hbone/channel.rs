//! The bytes of a tunnel: TLS over TCP, as HTTP/2's library reads and writes them.
//!
//! That library flushes after each DATA frame that is not tiny. Here a flush waits until the library has nothing more to do: what
//! it wrote in one turn leaves in as few records and system calls as it fits in. And each read takes what is there, many
//! records at once, decrypted where it lies. The records themselves, the handshake and the alerts are rustls's work.

mod buffer;
mod handshake;
mod session;

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use self::buffer::Buffer;
pub use self::handshake::{Client, accept, connect};
use self::session::{Next, OVERHEAD, Put, RECORD, Session};

/// The bytes, for HTTP/2's library.
pub struct Channel(Arc<Mutex<Wire>>);

/// The same bytes, for who drives the library: see [`Flush::flush`].
pub struct Flush(Arc<Mutex<Wire>>);

struct Wire {
    tcp: TcpStream,
    session: Session,
    /// Read from the connection and not decrypted yet.
    inbox: Buffer,
    /// Decrypted, and more than was asked for.
    ahead: BytesMut,
    /// Written by the library and not encrypted yet: less than a record's worth.
    plain: Buffer,
    /// Encrypted, and to be written to the connection.
    outbox: Buffer,
    /// Whether a flush waits for [`Flush::flush`].
    is_deferred: bool,
    /// Whether the peer has said that it sends nothing more.
    is_ended: bool,
    /// Whether it was told that nothing more is sent.
    is_closed: bool,
    /// What a flush met, until it is told of.
    broken: Option<io::Error>,
}

// === impl Channel ===

impl Channel {
    fn new(wire: Wire) -> (Self, Flush) {
        let wire = Arc::new(Mutex::new(wire));
        (Self(Arc::clone(&wire)), Flush(wire))
    }
}

impl AsyncRead for Channel {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.lock().poll_read(context, into)
    }
}

impl AsyncWrite for Channel {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.lock();
        if wire.is_deferred {
            return Poll::Ready(Ok(()));
        }
        wire.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.lock();
        ready!(wire.poll_flush(context))?;
        wire.close()?;
        ready!(wire.poll_send(context))?;
        match Pin::new(&mut wire.tcp).poll_shutdown(context) {
            // The peer has closed both directions already: there is nobody left to tell.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => result,
        }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Channel")
    }
}

// === impl Flush ===

impl Flush {
    /// Polls `connection`, which reads and writes the channel, to its end.
    pub async fn drive<T>(&self, connection: impl Future<Output = T>) -> T {
        self.defer();
        let mut connection = pin!(connection);
        poll_fn(|context| {
            let polled = connection.as_mut().poll(context);
            self.flush(context);
            polled
        })
        .await
    }

    /// From now on nothing leaves before [`Self::flush`] is called, but what there is no room for.
    pub fn defer(&self) {
        self.0.lock().is_deferred = true;
    }

    /// Writes what the library has written. To be called whenever the library has been polled, with the same waker. A failure
    /// is not told of here: the library meets it when it reads on, and is woken for that.
    pub fn flush(&self, context: &mut Context<'_>) {
        let mut wire = self.0.lock();
        if let Poll::Ready(Err(error)) = wire.poll_flush(context) {
            wire.broken = Some(error);
            context.waker().wake_by_ref();
        }
    }
}

// === impl Wire ===

impl Wire {
    fn new(tcp: TcpStream, session: Session) -> Self {
        Self {
            tcp,
            session,
            inbox: Buffer::default(),
            ahead: BytesMut::new(),
            plain: Buffer::default(),
            outbox: Buffer::default(),
            is_deferred: false,
            is_ended: false,
            is_closed: false,
            broken: None,
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(error));
        }
        let before = into.filled().len();
        loop {
            self.take_ahead(into);
            let result = self.decrypt(into);
            if into.filled().len() > before {
                // What failed fails again when there is nothing else to give.
                return Poll::Ready(Ok(()));
            }
            result?;
            if self.is_ended || into.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(context))?;
        }
    }

    fn take_ahead(&mut self, into: &mut ReadBuf<'_>) {
        if self.ahead.is_empty() {
            return;
        }
        let count = self.ahead.len().min(into.remaining());
        into.put_slice(self.ahead.get(..count).unwrap_or_default());
        self.ahead.advance(count);
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
    }

    /// Decrypts records of the inbox for as long as there is room in `into`.
    fn decrypt(&mut self, into: &mut ReadBuf<'_>) -> io::Result<()> {
        while into.remaining() > 0 && !self.inbox.is_empty() {
            let ahead = &mut self.ahead;
            let mut give = |content: &[u8]| {
                let (now, later) = content.split_at(content.len().min(into.remaining()));
                into.put_slice(now);
                ahead.extend_from_slice(later);
            };
            match self
                .session
                .step(&mut self.inbox, &mut self.outbox, Put::Nothing, &mut give)?
            {
                Next::Again => {}
                Next::Ready | Next::Blocked => break,
                Next::Ended => {
                    self.is_ended = true;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Reads from the connection what it has and there is room for.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.inbox.is_empty() {
            // No buffer is held for bytes that are not there yet.
            self.inbox.give_back();
            ready!(self.tcp.poll_read_ready(context))?;
        }
        self.inbox.compact();
        let mut room = ReadBuf::new(self.inbox.room());
        let read = Pin::new(&mut self.tcp).poll_read(context, &mut room);
        let count = room.filled().len();
        self.inbox.added(count);
        if self.inbox.is_empty() {
            self.inbox.give_back();
        }
        ready!(read)?;
        if count == 0 {
            let text = "the peer ended the connection without an end of TLS (close_notify)";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        for part in parts {
            let mut rest: &[u8] = part;
            while !rest.is_empty() {
                let count = if self.plain.is_empty() && rest.len() >= RECORD {
                    let (record, _) = rest.split_at(RECORD);
                    if self.seal(context, record)? { RECORD } else { 0 }
                } else if self.plain.len() < RECORD || self.seal_collected(context)? {
                    self.plain.append(rest, RECORD)
                } else {
                    0
                };
                if count == 0 && taken == 0 {
                    return Poll::Pending;
                }
                if count == 0 {
                    return Poll::Ready(Ok(taken));
                }
                rest = rest.get(count..).unwrap_or_default();
                taken += count;
            }
        }
        Poll::Ready(Ok(taken))
    }

    /// Encrypts one record. `false` when there is no room for it before the connection has taken something; who waits is
    /// woken then.
    fn seal(&mut self, context: &mut Context<'_>, content: &[u8]) -> io::Result<bool> {
        if !self.outbox.has_room(content.len() + OVERHEAD) {
            if let Poll::Ready(result) = self.poll_send(context) {
                result?;
            }
            self.outbox.compact();
            if !self.outbox.has_room(content.len() + OVERHEAD) {
                return Ok(false);
            }
        }
        self.put(Put::Content(content))?;
        Ok(true)
    }

    /// Encrypts what was collected, likewise.
    fn seal_collected(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let mut plain = std::mem::take(&mut self.plain);
        let sealed = self.seal(context, plain.filled());
        if matches!(sealed, Ok(true)) {
            plain.clear();
        }
        self.plain = plain;
        sealed
    }

    /// Says that nothing more is sent.
    fn close(&mut self) -> io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        self.is_closed = true;
        self.put(Put::End)
    }

    /// Puts a record into the outbox. What is found in the inbox meanwhile is kept for the next read.
    fn put(&mut self, put: Put<'_>) -> io::Result<()> {
        let ahead = &mut self.ahead;
        let mut give = |content: &[u8]| ahead.extend_from_slice(content);
        loop {
            match self
                .session
                .step(&mut self.inbox, &mut self.outbox, put, &mut give)?
            {
                Next::Ready => return Ok(()),
                Next::Again => {}
                // The peer may still read.
                Next::Ended => self.is_ended = true,
                Next::Blocked => return Err(io::ErrorKind::NotConnected.into()),
            }
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.plain.is_empty() {
            if !self.seal_collected(context)? {
                return Poll::Pending;
            }
            self.plain.give_back();
        }
        self.poll_send(context)
    }

    /// Writes all of the outbox.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            let count = ready!(Pin::new(&mut self.tcp).poll_write(context, self.outbox.filled()))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbox.consume(count);
        }
        self.outbox.give_back();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
