//! A side read and written in pieces that are handed over rather than copied, for who frames messages himself.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::net::TcpStream;

use super::{Inner, SideIo, poll_capacity, stream_error};

/// First read of an answer, in bytes: most fit.
const MIN_READ: usize = 8 * 1024;
/// Largest read, in bytes; reads grow up to it while they are filled.
const MAX_READ: usize = 64 * 1024;

/// How much is read at once from a TCP connection.
#[derive(Debug)]
pub struct ReadSize(usize);

// === impl ReadSize ===

impl Default for ReadSize {
    fn default() -> Self {
        Self(MIN_READ)
    }
}

// === impl SideIo ===

impl SideIo {
    /// The next bytes; none at the peer's end. Nothing is held while nothing comes.
    pub fn poll_piece(&mut self, size: &mut ReadSize, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        match &mut self.inner {
            Inner::Tcp(stream) => read(stream, size, context),
            Inner::Stream { receive, unread, .. } => {
                let mut piece = std::mem::take(unread);
                while piece.is_empty() {
                    piece = match ready!(receive.poll_data(context)) {
                        Some(Ok(data)) => data,
                        Some(Err(error)) => return Poll::Ready(Err(stream_error(error))),
                        None => return Poll::Ready(Ok(Bytes::new())),
                    };
                }
                // The window grows by what is in hand: one piece, since the next is asked for when this one is used.
                let released = receive.flow_control().release_capacity(piece.len());
                Poll::Ready(released.map(|()| piece).map_err(stream_error))
            }
        }
    }

    /// Sends all of `piece`. While it is pending, what has been taken is gone from `piece`.
    pub fn poll_send(&mut self, piece: &mut Bytes, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !piece.is_empty() {
            match &mut self.inner {
                Inner::Tcp(stream) => {
                    let count = ready!(Pin::new(stream).poll_write(context, piece))?;
                    bytes::Buf::advance(piece, count);
                }
                Inner::Stream { send, .. } => {
                    let capacity = ready!(poll_capacity(send, piece.len(), context))?;
                    let part = piece.split_to(capacity.min(piece.len()));
                    send.send_data(part, false).map_err(stream_error)?;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// [`SideIo::poll_send`], to be waited for.
    pub async fn send(&mut self, mut piece: Bytes) -> io::Result<()> {
        poll_fn(|context| self.poll_send(&mut piece, context)).await
    }
}

fn read(stream: &mut TcpStream, size: &mut ReadSize, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
    // Without a buffer until there is something; then by `poll_read`, which knows from a part that was read that there is
    // no more, and asks the kernel no second time.
    ready!(stream.poll_read_ready(context))?;
    let mut buffer = BytesMut::with_capacity(size.0);
    let count = ready!(pin!(stream.read_buf(&mut buffer)).poll(context))?;
    size.0 = if count >= size.0 {
        (size.0 * 2).min(MAX_READ)
    } else {
        MIN_READ.max(count)
    };
    Poll::Ready(Ok(buffer.freeze()))
}
