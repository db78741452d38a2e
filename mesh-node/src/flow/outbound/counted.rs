//! A client's connection whose bytes are counted, for those that the server of HTTP reads and writes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::flow::report::Shared;
use crate::net::socket;

/// The connection.
pub(super) struct Counted {
    stream: TcpStream,
    counts: Shared,
    /// Whether it was ended as it should.
    is_shut: bool,
}

// === impl Counted ===

impl Counted {
    pub(super) fn new(stream: TcpStream, counts: Shared) -> Self {
        Self {
            stream,
            counts,
            is_shut: false,
        }
    }

    fn received(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = &written {
            let count = *count as u64;
            self.counts
                .connection
                .received
                .fetch_add(count, Ordering::Relaxed);
            self.counts.counters.received.inc_by(count);
        }
        written
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let count = (buffer.filled().len() - before) as u64;
        if count > 0 {
            self.counts.connection.sent.fetch_add(count, Ordering::Relaxed);
            self.counts.counters.sent.inc_by(count);
        }
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.received(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.received(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.is_shut |= matches!(shut, Poll::Ready(Ok(())));
        shut
    }
}

impl Drop for Counted {
    /// What is dropped in the middle is broken off. An answer to HTTP/1.0 ends with its connection, and nothing but a
    /// reset tells a part of it from the whole.
    fn drop(&mut self) {
        if !self.is_shut {
            socket::reset_on_close(&self.stream);
        }
    }
}
