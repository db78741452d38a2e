//! A side of a connection as tokio's `AsyncRead` and `AsyncWrite`, for libraries that want those.

mod pieces;

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

pub use self::pieces::ReadSize;
use super::side::{Side, stream_error};

/// A side, read and written as a stream of bytes.
pub struct SideIo {
    inner: Inner,
    /// Kept for as long as the side is: what it was leased from, for example.
    _held: Option<Box<dyn Any + Send + Sync>>,
}

enum Inner {
    Tcp(TcpStream),
    Stream {
        send: SendStream<Bytes>,
        receive: RecvStream,
        /// Received and not read yet. Counts against the stream's window.
        unread: Bytes,
        is_finished: bool,
    },
}

// === impl SideIo ===

impl SideIo {
    /// The side; `held` is dropped with it.
    pub fn new(side: Side, held: Option<Box<dyn Any + Send + Sync>>) -> Self {
        let inner = match side {
            Side::Tcp(stream) => Inner::Tcp(stream),
            Side::Stream { send, receive, ahead } => Inner::Stream {
                send,
                receive,
                unread: ahead.unwrap_or_default(),
                is_finished: false,
            },
        };
        Self { inner, _held: held }
    }

    /// Ends it so that the peer does not take it for a failure: there is nothing more to send, and nothing is waited for.
    pub async fn end(mut self) -> io::Result<()> {
        self.shutdown().await?;
        // A stream that is let go of before the peer has ended it, too, is reset.
        if let Inner::Stream { receive, .. } = &mut self.inner {
            while let Some(data) = receive.data().await.transpose().map_err(stream_error)? {
                receive
                    .flow_control()
                    .release_capacity(data.len())
                    .map_err(stream_error)?;
            }
        }
        Ok(())
    }
}

impl AsyncRead for SideIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Inner::Stream { receive, unread, .. } => {
                while unread.is_empty() {
                    match ready!(receive.poll_data(context)) {
                        Some(Ok(data)) => *unread = data,
                        Some(Err(error)) => return Poll::Ready(Err(stream_error(error))),
                        None => return Poll::Ready(Ok(())),
                    }
                }
                let count = unread.len().min(buffer.remaining());
                buffer.put_slice(unread.get(..count).unwrap_or_default());
                unread.advance(count);
                let released = receive.flow_control().release_capacity(count);
                Poll::Ready(released.map_err(stream_error))
            }
        }
    }
}

impl AsyncWrite for SideIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Inner::Stream { send, .. } => {
                if bytes.is_empty() {
                    return Poll::Ready(Ok(0));
                }
                let capacity = ready!(poll_capacity(send, bytes.len(), context))?;
                let part = Bytes::copy_from_slice(bytes.get(..capacity).unwrap_or(bytes));
                let count = part.len();
                send.send_data(part, false).map_err(stream_error)?;
                Poll::Ready(Ok(count))
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Inner::Stream { send, .. } => {
                let mut left = parts.iter().map(|part| part.len()).sum();
                if left == 0 {
                    return Poll::Ready(Ok(0));
                }
                left = ready!(poll_capacity(send, left, context))?.min(left);
                // In one frame, however many parts it comes in: a frame's head and its payload, for example.
                let mut whole = BytesMut::with_capacity(left);
                for part in parts {
                    let part = part.get(..left).unwrap_or(part);
                    whole.extend_from_slice(part);
                    left -= part.len();
                }
                let count = whole.len();
                send.send_data(whole.freeze(), false).map_err(stream_error)?;
                Poll::Ready(Ok(count))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// An HTTP/2 stream has no buffer of its own to flush: its connection's task writes.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Inner::Stream { .. } => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Inner::Stream {
                send, is_finished, ..
            } => {
                if !*is_finished {
                    *is_finished = true;
                    send.send_data(Bytes::new(), true).map_err(stream_error)?;
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// How many bytes the stream takes, of so many that are wanted: one at least.
fn poll_capacity(
    send: &mut SendStream<Bytes>,
    wanted: usize,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    send.reserve_capacity(wanted);
    let mut capacity = send.capacity();
    while capacity == 0 {
        capacity = match ready!(send.poll_capacity(context)) {
            Some(Ok(capacity)) => capacity,
            Some(Err(error)) => return Poll::Ready(Err(stream_error(error))),
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        };
    }
    Poll::Ready(Ok(capacity))
}

impl Drop for SideIo {
    /// Who drops a stream without having ended it has broken it off; the peer must not take that for an end
    /// (RFC 9113 §8.5).
    fn drop(&mut self) {
        if let Inner::Stream {
            send,
            is_finished: false,
            ..
        } = &mut self.inner
        {
            send.send_reset(Reason::CANCEL);
        }
    }
}

impl std::fmt::Debug for SideIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SideIo")
    }
}
