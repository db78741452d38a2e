//! TLS, told from its ClientHello (RFC 8446 §4.1.2, §5.1), and the server name in it (RFC 6066 §3).
//!
//! The ClientHello may be spread over several records. It is read as far as the name and no further; nothing of it is
//! verified, for it goes to a server that does so.

use std::borrow::Cow;

use super::{Detected, MAX_LOOK};

/// The type of records that carry handshake messages: the first byte of every connection.
pub(super) const HANDSHAKE: u8 = 22;
/// The first version number of records, for all versions since SSL 3.0.
const VERSION: u8 = 3;
/// The type of the ClientHello, among handshake messages.
const CLIENT_HELLO: u8 = 1;
/// The type of the extension that has the server name.
const SERVER_NAME: u16 = 0;
/// The type of a name that is a host name.
const HOST_NAME: u8 = 0;
/// Type, version and length of a record.
const RECORD_HEADER: usize = 5;
/// A record's contents at most (RFC 8446 §5.1).
const MAX_RECORD: usize = 1 << 14;
/// A host name at most (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;

/// Why reading stopped before the end.
enum Stop {
    /// What follows has not arrived.
    NeedMore,
    /// The message contradicts itself, or names no server.
    NoName,
}

/// Bytes in the order in which they arrived.
struct Reader<'a> {
    /// What has arrived of the message.
    bytes: &'a [u8],
    /// How much of it is still to come at least: what lies beyond it is not there, and will never be.
    length: usize,
}

/// Tells whether it is TLS.
pub(super) fn detect(bytes: &[u8]) -> Detected {
    let is_tls = |place: usize, expected: u8| bytes.get(place).is_none_or(|byte| *byte == expected);
    let is_filled = bytes.len() < RECORD_HEADER || record_length(bytes).is_some();
    if !is_tls(0, HANDSHAKE) || !is_tls(1, VERSION) || !is_filled || !is_tls(RECORD_HEADER, CLIENT_HELLO) {
        return Detected::Opaque;
    }
    if bytes.len() <= RECORD_HEADER {
        return Detected::NeedMore;
    }
    let (message, is_over) = message(bytes);
    match server_name(&message) {
        Ok(name) => Detected::Tls {
            server_name: Some(name),
        },
        Err(Stop::NeedMore) if !is_over && bytes.len() < MAX_LOOK => Detected::NeedMore,
        Err(_) => Detected::Tls { server_name: None },
    }
}

/// The contents' length of the record at the front; `None` when it has none or too much.
fn record_length(bytes: &[u8]) -> Option<usize> {
    let length = usize::from(u16::from_be_bytes([*bytes.get(3)?, *bytes.get(4)?]));
    (1..=MAX_RECORD).contains(&length).then_some(length)
}

/// The contents of the handshake's records, as far as they have arrived, and whether no more of them can follow. Copied
/// only when there are several records.
fn message(bytes: &[u8]) -> (Cow<'_, [u8]>, bool) {
    let mut contents = Cow::Borrowed(&[][..]);
    let mut rest = bytes;
    while rest.len() >= RECORD_HEADER {
        let is_handshake = rest[0] == HANDSHAKE && rest[1] == VERSION;
        let Some(length) = record_length(rest).filter(|_| is_handshake) else {
            return (contents, true);
        };
        let end = rest.len().min(RECORD_HEADER + length);
        let part = &rest[RECORD_HEADER..end];
        if contents.is_empty() {
            contents = Cow::Borrowed(part);
        } else {
            contents.to_mut().extend_from_slice(part);
        }
        rest = &rest[end..];
    }
    (contents, false)
}

/// The server name of a ClientHello of which the beginning is here.
fn server_name(message: &[u8]) -> Result<String, Stop> {
    let mut message = Reader {
        bytes: message,
        length: usize::MAX,
    };
    message.skip(1)?;
    let length = message.number(3)?;
    let mut hello = message.part(length)?;
    hello.skip(2 + 32)?; // version, random
    for size_of_length in [1, 2, 1] {
        let length = hello.number(size_of_length)?; // session, cipher suites, compression methods
        hello.skip(length)?;
    }
    let length = hello.number(2)?;
    let mut extensions = hello.part(length)?;
    loop {
        let kind = extensions.number(2)?;
        let length = extensions.number(2)?;
        let mut extension = extensions.part(length)?;
        if kind != usize::from(SERVER_NAME) {
            extensions.skip(length)?;
            continue;
        }
        let length = extension.number(2)?;
        let mut names = extension.part(length)?;
        loop {
            let is_host = names.number(1)? == usize::from(HOST_NAME);
            let length = names.number(2)?;
            let name = names.take(length)?;
            if is_host {
                return host_name(name).ok_or(Stop::NoName);
            }
        }
    }
}

/// A host name in lower case; `None` when it is none, such as an address.
fn host_name(bytes: &[u8]) -> Option<String> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let text = std::str::from_utf8(bytes).ok()?;
    let is_valid = !text.is_empty()
        && text.len() <= MAX_NAME
        && bytes.iter().all(is_name)
        && text.split('.').all(|label| !label.is_empty())
        && text.parse::<std::net::Ipv4Addr>().is_err();
    is_valid.then(|| text.to_ascii_lowercase())
}

// === impl Reader ===

impl<'a> Reader<'a> {
    /// A number of so many bytes, at most 3.
    fn number(&mut self, size: usize) -> Result<usize, Stop> {
        let bytes = self.take(size)?;
        Ok(bytes
            .iter()
            .fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// The next bytes.
    fn take(&mut self, count: usize) -> Result<&'a [u8], Stop> {
        if count > self.length {
            return Err(Stop::NoName);
        }
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(Stop::NeedMore)?;
        self.bytes = rest;
        self.length -= count;
        Ok(taken)
    }

    /// Goes past the next bytes.
    fn skip(&mut self, count: usize) -> Result<(), Stop> {
        self.take(count).map(drop)
    }

    /// The next bytes as a reader of their own, of which not all may have arrived; they are to be skipped when they are
    /// not the last that is read.
    fn part(&self, length: usize) -> Result<Reader<'a>, Stop> {
        if length > self.length {
            return Err(Stop::NoName);
        }
        let arrived = self.bytes.len().min(length);
        Ok(Reader {
            bytes: &self.bytes[..arrived],
            length,
        })
    }
}
