//! One side of a relayed connection: a TCP connection or an HTTP/2 stream, read and written in the same way.
//!
//! Memory is held only while bytes are on their way: a side that waits owns no buffer, so that an idle connection
//! costs little more than its socket. Back-pressure goes through: nothing is read that can't be written.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::socket;

/// First read of a burst, in bytes: most requests fit.
const MIN_READ: usize = 4 * 1024;
/// Largest read, in bytes. Beyond it, larger reads gained nothing in the relay benchmark of ztunnel.
const MAX_READ: usize = 256 * 1024;

/// One side of a relayed connection.
#[derive(Debug)]
pub enum Side {
    /// A TCP connection.
    Tcp(TcpStream),
    /// An HTTP/2 stream that carries the bytes of one TCP connection (HBONE).
    Stream {
        /// Towards the peer.
        send: SendStream<Bytes>,
        /// From the peer.
        receive: RecvStream,
        /// What [`Side::spoken`] has taken from `receive` and nobody has read yet.
        ahead: Option<Bytes>,
    },
}

/// The reading half of a side.
pub enum Reader<'a> {
    /// Of a TCP connection.
    Tcp {
        /// The half.
        half: ReadHalf<'a>,
        /// How much to read next.
        size: usize,
    },
    /// Of an HTTP/2 stream.
    Stream {
        /// The half.
        half: &'a mut RecvStream,
        /// Read while something else was written, in order. No more than the stream's window, of which it is a part
        /// until it is `consumed`.
        ahead: VecDeque<io::Result<Bytes>>,
    },
}

/// The writing half of a side.
pub enum Writer<'a> {
    /// Of a TCP connection.
    Tcp(WriteHalf<'a>),
    /// Of an HTTP/2 stream.
    Stream(&'a mut SendStream<Bytes>),
}

// === impl Side ===

impl Side {
    /// Both halves, to be used at the same time.
    pub fn split(&mut self) -> (Reader<'_>, Writer<'_>) {
        match self {
            Side::Tcp(stream) => {
                let (read, write) = stream.split();
                let reader = Reader::Tcp {
                    half: read,
                    size: MIN_READ,
                };
                (reader, Writer::Tcp(write))
            }
            Side::Stream { send, receive, ahead } => {
                let ahead = ahead.take().into_iter().map(Ok).collect();
                let reader = Reader::Stream { half: receive, ahead };
                (reader, Writer::Stream(send))
            }
        }
    }

    /// Waits until there is something to read: the peer's first bytes, or its end. Leaves it there.
    pub async fn spoken(&mut self) -> io::Result<()> {
        match self {
            Side::Tcp(stream) => stream.peek(&mut [0]).await.map(drop),
            Side::Stream { receive, ahead, .. } => {
                if ahead.is_none() {
                    *ahead = receive.data().await.transpose().map_err(stream_error)?;
                }
                Ok(())
            }
        }
    }

    /// Ends both directions of a connection over which nothing was sent: FIN and not RST, so that the server does not take
    /// it for a failure. What the server sends before its own end is thrown away.
    pub async fn end(mut self) -> io::Result<()> {
        let (mut reader, mut writer) = self.split();
        writer.finish().await?;
        while let Some(bytes) = reader.read().await? {
            reader.consumed(bytes.len())?;
        }
        Ok(())
    }

    /// Closes so that the peer sees a failure and not an end: RST, or RST_STREAM with CONNECT_ERROR
    /// (RFC 9113 §8.5).
    pub fn reset(mut self) {
        match &mut self {
            Side::Tcp(stream) => socket::reset_on_close(stream),
            Side::Stream { send, .. } => send.send_reset(Reason::CONNECT_ERROR),
        }
    }
}

impl AsMut<Side> for Side {
    fn as_mut(&mut self) -> &mut Side {
        self
    }
}

// === impl Reader ===

impl Reader<'_> {
    /// The next bytes; `None` at the peer's end of the stream.
    pub async fn read(&mut self) -> io::Result<Option<Bytes>> {
        match self {
            Reader::Tcp { half, size } => read_tcp(half, size).await,
            Reader::Stream { half, ahead } => {
                if let Some(read) = ahead.pop_front() {
                    return read.map(Some);
                }
                // Data in hand counts against the window until `consumed`.
                half.data().await.transpose().map_err(stream_error)
            }
        }
    }

    /// Returns when the peer has broken the connection; to be watched while nothing is read. What it sent before is
    /// still to be read, and then the error.
    pub async fn broken(&mut self) {
        match self {
            // The socket's error is left where it is: without it, the next read would be an end. And that the wait
            // itself fails says that the runtime is going.
            Reader::Tcp { half, .. } => drop(half.ready(Interest::ERROR).await),
            Reader::Stream { half, ahead } => {
                while let Some(read) = half.data().await {
                    let is_error = read.is_err();
                    ahead.push_back(read.map_err(stream_error));
                    if is_error {
                        return;
                    }
                }
                std::future::pending::<()>().await;
            }
        }
    }

    /// Says that bytes which were read have been written, so that the peer may send more.
    pub fn consumed(&mut self, bytes: usize) -> io::Result<()> {
        match self {
            Reader::Tcp { .. } => Ok(()),
            Reader::Stream { half, .. } => half.flow_control().release_capacity(bytes).map_err(stream_error),
        }
    }
}

// === impl Writer ===

impl Writer<'_> {
    /// Writes all of it, as fast as the peer takes it.
    pub async fn write(&mut self, mut bytes: Bytes) -> io::Result<()> {
        match self {
            Writer::Tcp(half) => half.write_all(&bytes).await,
            Writer::Stream(send) => {
                while !bytes.is_empty() {
                    send.reserve_capacity(bytes.len());
                    let capacity = poll_fn(|context| send.poll_capacity(context))
                        .await
                        .ok_or(io::ErrorKind::BrokenPipe)?
                        .map_err(stream_error)?;
                    let part = bytes.split_to(capacity.min(bytes.len()));
                    send.send_data(part, false).map_err(stream_error)?;
                }
                Ok(())
            }
        }
    }

    /// Ends this direction: FIN, or END_STREAM. The other direction goes on.
    pub async fn finish(&mut self) -> io::Result<()> {
        match self {
            Writer::Tcp(half) => match half.shutdown().await {
                // The peer has closed both directions already: there is nobody left to tell.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
                result => result,
            },
            Writer::Stream(send) => send.send_data(Bytes::new(), true).map_err(stream_error),
        }
    }
}

/// Waits without a buffer, then reads; reads of a long burst grow, and shrink slowly, for who sends much does not always have a
/// buffer's worth ready. By `poll_read`, which knows from a part that was read
/// that there is no more, and asks the kernel no second time.
async fn read_tcp(half: &mut ReadHalf<'_>, size: &mut usize) -> io::Result<Option<Bytes>> {
    loop {
        half.ready(Interest::READABLE).await?;
        let mut buffer = BytesMut::with_capacity(*size);
        let read = poll_fn(|context| match pin!(half.read_buf(&mut buffer)).poll(context) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            Poll::Pending => Poll::Ready(None),
        });
        match read.await {
            Some(Ok(0)) => return Ok(None),
            Some(Ok(count)) => {
                *size = if count >= *size {
                    (*size * 2).min(MAX_READ)
                } else {
                    (*size / 2).max(count).max(MIN_READ)
                };
                return Ok(Some(buffer.freeze()));
            }
            Some(Err(error)) => return Err(error),
            // Nothing there after all, or the task has had its turn: a read counts against that, the wait for readiness
            // does not. Without giving the thread away here, the loop would go round for ever.
            None => tokio::task::consume_budget().await,
        }
    }
}

/// An HTTP/2 error as the I/O error that a TCP connection would have given.
pub fn stream_error(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
    }
    if error.is_reset() {
        return io::Error::new(io::ErrorKind::ConnectionReset, error);
    }
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// More than tokio gives a task before others have their turn (128).
    const TURN: usize = 1000;

    async fn read_after_a_whole_turn() -> Vec<u8> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        client.write_all(b"late").await.unwrap();
        let (mut half, _writer) = server.split();
        half.ready(Interest::READABLE).await.unwrap();
        // In one go, as a relay that is never short of bytes does it.
        for _ in 0..TURN {
            let mut unit = pin!(tokio::task::consume_budget());
            poll_fn(|context| {
                let _spent = unit.as_mut().poll(context);
                Poll::Ready(())
            })
            .await;
        }
        let mut size = MIN_READ;
        let read = read_tcp(&mut half, &mut size).await.unwrap();
        read.unwrap_or_default().to_vec()
    }

    #[test]
    fn a_task_that_has_had_its_turn_gives_the_thread_away_and_reads_later() {
        let (done, finished) = mpsc::sync_channel(1);
        // A thread of its own: one that goes round for ever can't be stopped.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            done.send(runtime.block_on(read_after_a_whole_turn()))
        });
        assert_eq!(finished.recv_timeout(Duration::from_secs(10)).unwrap(), b"late");
    }
}
