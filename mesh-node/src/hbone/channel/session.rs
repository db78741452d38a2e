//! The TLS of one tunnel, of either end: records in and out of buffers that it is given.
//!
//! rustls wants to be asked for its state again after each record; whatever state it is in, it is given the whole inbox, for it
//! may remember places in it.

use std::io;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{CommonState, Error};

use super::buffer::Buffer;

/// Bytes of the largest record's content (RFC 8446 §5.1).
pub(super) const RECORD: usize = 16 * 1024;
/// Bytes that a record is larger than its content: header, type, and the tag of AES-GCM (RFC 8446 §5.2).
pub(super) const OVERHEAD: usize = 5 + 1 + 16;

/// One end's state.
pub(super) enum Session {
    /// The end that connected.
    Client(Box<UnbufferedClientConnection>),
    /// The end that was connected to.
    Server(Box<UnbufferedServerConnection>),
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask again: there may be more in the inbox.
    Again,
    /// The handshake wants more bytes from the peer.
    Blocked,
    /// The inbox has no whole record left, and what is written can be encrypted.
    Ready,
    /// The peer sends nothing more.
    Ended,
}

/// What is to be encrypted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Put<'a> {
    /// Nothing.
    Nothing,
    /// One record's content.
    Content(&'a [u8]),
    /// That nothing more is sent (close_notify).
    End,
}

// === impl Session ===

impl Session {
    /// Takes one step: content of the inbox goes to `give`, and what TLS has to say of itself to the outbox; `put`, too, when
    /// the step's outcome is [`Next::Ready`].
    pub(super) fn step(
        &mut self,
        inbox: &mut Buffer,
        outbox: &mut Buffer,
        put: Put<'_>,
        give: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Next> {
        let (used, next) = match self {
            Session::Client(client) => step(client.process_tls_records(inbox.filled()), outbox, put, give),
            Session::Server(server) => step(server.process_tls_records(inbox.filled()), outbox, put, give),
        };
        inbox.consume(used);
        next
    }

    /// What is the same at both ends: protocol and certificates of the peer.
    pub(super) fn common(&self) -> &CommonState {
        match self {
            Session::Client(client) => client,
            Session::Server(server) => server,
        }
    }
}

/// Bytes of the inbox that are used, and what is next.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    outbox: &mut Buffer,
    put: Put<'_>,
    give: &mut dyn FnMut(&[u8]),
) -> (usize, io::Result<Next>) {
    let UnbufferedStatus { discard, state } = status;
    let mut used = discard;
    let next = match state {
        Ok(ConnectionState::ReadTraffic(mut records)) => loop {
            match records.next_record() {
                Some(Ok(record)) => {
                    used += record.discard;
                    give(record.payload);
                }
                Some(Err(error)) => break Err(failed(error)),
                None => break Ok(Next::Again),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut message)) => match message.encode(outbox.room()) {
            Ok(count) => {
                outbox.added(count);
                Ok(Next::Again)
            }
            Err(error) => Err(io::Error::other(error)),
        },
        Ok(ConnectionState::TransmitTlsData(message)) => {
            // The outbox is written before anything is waited for.
            message.done();
            Ok(Next::Again)
        }
        Ok(ConnectionState::BlockedHandshake) => Ok(Next::Blocked),
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let written = match put {
                Put::Nothing => Ok(0),
                Put::Content(content) => traffic.encrypt(content, outbox.room()),
                Put::End => traffic.queue_close_notify(outbox.room()),
            };
            outbox.added(*written.as_ref().unwrap_or(&0));
            written.map(|_| Next::Ready).map_err(io::Error::other)
        }
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Next::Ended),
        // Early data, which no configuration of ours allows.
        Ok(state) => Err(io::Error::other(format!("TLS is in the state {state:?}"))),
        Err(error) => Err(failed(error)),
    };
    (used, next)
}

/// As tokio-rustls puts it, so that [`crate::identity::verify::explain`] finds the reason.
fn failed(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
