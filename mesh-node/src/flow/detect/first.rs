//! The first bytes of a client's TCP connection, looked at and left where they are.

use std::cell::Cell;
use std::io::{self, ErrorKind};

use mesh_http::detect::MAX_LOOK;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::{Seen, Speech};
use crate::net::socket;

/// What is looked at without an allocation: a request's head up to its version, and most handshakes of TLS.
const FEW: usize = 2048;

/// The first bytes.
pub(super) struct First<'a> {
    stream: &'a TcpStream,
    /// How many were looked at.
    count: usize,
    /// Whether the runtime was told that there is nothing to read though there is.
    is_stale: Cell<bool>,
}

// === impl First ===

impl<'a> First<'a> {
    pub(super) fn new(stream: &'a TcpStream) -> Self {
        Self {
            stream,
            count: 0,
            is_stale: Cell::new(false),
        }
    }

    /// Waits for more bytes than were seen before, and shows all of them from the first one on; `None` when no more will
    /// come. Nothing is held while it waits.
    pub(super) async fn more<T>(&mut self, judge: impl Fn(&[u8]) -> T) -> io::Result<Option<T>> {
        loop {
            let ready = self.stream.ready(Interest::READABLE).await?;
            match self.stream.try_io(Interest::READABLE, || self.show(&judge)) {
                Ok(None) => return Ok(None),
                Ok(Some((count, judgement))) => {
                    self.count = count;
                    return Ok(Some(judgement));
                }
                // All that came before the end has been seen.
                Err(error) if error.kind() == ErrorKind::WouldBlock && ready.is_read_closed() => {
                    return Ok(None);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The result of the look.
    pub(super) fn seen(&self, speech: Speech, outcome: &'static str) -> Seen {
        Seen {
            speech,
            outcome,
            is_stale: self.is_stale.get(),
        }
    }

    /// Shows the bytes that are there, if there are more than before. Else it says so as if there were none at all, and
    /// the runtime waits for the kernel to tell of more.
    fn show<T>(&self, judge: impl Fn(&[u8]) -> T) -> io::Result<Option<(usize, T)>> {
        self.is_stale.set(false);
        let mut few = [0; FEW];
        let count = socket::peek(self.stream, &mut few)?;
        if count == 0 {
            return Ok(None);
        }
        if count < FEW {
            return self.judged(&few[..count], judge);
        }
        let mut many = vec![0; MAX_LOOK];
        let count = socket::peek(self.stream, &mut many)?;
        self.judged(&many[..count], judge)
    }

    fn judged<T>(&self, bytes: &[u8], judge: impl Fn(&[u8]) -> T) -> io::Result<Option<(usize, T)>> {
        if bytes.len() <= self.count {
            self.is_stale.set(true);
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(Some((bytes.len(), judge(bytes))))
    }
}
