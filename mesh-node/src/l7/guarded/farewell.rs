//! The end of a connection that the client has not ended: our last answer, the end of our direction, and then a while in
//! which what the client still sends is read and dropped. Closed at once, the kernel would reset the connection, and the
//! client lose the answer that it has not read.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use mesh_http::guard::Refusal;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use super::wait::Wait;
use crate::l7::reply;

/// Longest time for which a client is listened to after the end.
const LINGER: Duration = Duration::from_secs(5);
/// A client that has sent nothing for so long has nothing more to say.
const SILENCE: Duration = Duration::from_secs(1);
/// What is read and dropped at once.
const READ: usize = 16 * 1024;

/// The end of a connection.
#[derive(Debug, Default)]
pub(in crate::l7) struct Farewell {
    answer: Bytes,
    is_shut: bool,
    linger: Wait<()>,
    silence: Wait<()>,
}

// === impl Farewell ===

impl Farewell {
    /// What is to be answered before the end.
    pub(in crate::l7) fn say(&mut self, refusal: Refusal) {
        if let Some(status) = refusal.status() {
            self.answer = reply::last(refusal, status);
        }
    }

    /// Says it, ends our direction, and lingers if that `is_owed`.
    pub(in crate::l7) fn poll<IO>(
        &mut self,
        io: &mut IO,
        is_owed: bool,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        while !self.answer.is_empty() {
            let count = ready!(Pin::new(&mut *io).poll_write(context, &self.answer))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.answer.advance(count);
        }
        if !self.is_shut {
            ready!(Pin::new(&mut *io).poll_shutdown(context))?;
            self.is_shut = true;
        }
        if !is_owed {
            return Poll::Ready(Ok(()));
        }
        let mut dropped = BytesMut::with_capacity(READ);
        while self.linger.poll((), LINGER, context).is_pending() {
            dropped.clear();
            match pin!(io.read_buf(&mut dropped)).poll(context) {
                Poll::Ready(Ok(1..)) => self.silence.stop(),
                // An end, of whatever kind.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    ready!(self.silence.poll((), SILENCE, context));
                    return Poll::Ready(Ok(()));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
