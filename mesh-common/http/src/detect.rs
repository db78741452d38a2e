//! Which protocol a connection speaks, told from the first bytes that its client sent.
//!
//! The answer never changes once it is given: more bytes turn [`Detected::NeedMore`] into an answer, and an answer into
//! nothing else, however the bytes were cut into pieces. What is clearly meant to be HTTP/1 and malformed is
//! [`Detected::Http1`] all the same, so that it is refused there rather than carried as bytes.

mod http1;
mod tls;

/// The client's connection preface of HTTP/2 (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// No look takes more bytes than this. A ClientHello with keys that resist quantum computers and a few session tickets
/// has 2 to 4 KiB; a request line that is longer than servers take is decided long before.
pub const MAX_LOOK: usize = 16 * 1024;

/// What a connection speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detected {
    /// It can't be told yet. Never the answer to [`MAX_LOOK`] bytes.
    NeedMore,
    /// HTTP/1.x, well-formed or not.
    Http1,
    /// HTTP/2 without TLS.
    Http2,
    /// A TLS handshake.
    Tls {
        /// The server name that the client asks for (RFC 6066 §3), in lower case; `None` when it names none, or none
        /// that is a host name.
        server_name: Option<String>,
    },
    /// None of these.
    Opaque,
}

/// What an undecided look is likely to become: says how long it is worth waiting for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likely {
    /// A method of HTTP and a space: HTTP/1, unless the rest of the line names another protocol.
    Request,
    /// The beginning of a registered method of HTTP, or of the preface of HTTP/2.
    Method,
    /// The beginning of a TLS handshake.
    Tls,
    /// Nothing in particular: text that may be the beginning of a request line, or no byte at all.
    Anything,
}

/// Tells the protocol from the first bytes of a connection, all of them since its beginning.
pub fn detect(bytes: &[u8]) -> Detected {
    let bytes = &bytes[..bytes.len().min(MAX_LOOK)];
    let is_beginning = bytes.len() < PREFACE.len();
    if bytes.starts_with(PREFACE) {
        Detected::Http2
    } else if bytes.is_empty() || is_beginning && PREFACE.starts_with(bytes) {
        Detected::NeedMore
    } else if bytes[0] == tls::HANDSHAKE {
        tls::detect(bytes)
    } else {
        http1::detect(bytes)
    }
}

/// Whether a connection that is known to be HTTP speaks HTTP/2; `None` while it can't be told. What begins otherwise is
/// for the server of HTTP/1 to serve or to refuse.
pub fn is_http2(bytes: &[u8]) -> Option<bool> {
    if bytes.starts_with(PREFACE) {
        Some(true)
    } else if PREFACE.starts_with(bytes) {
        None
    } else {
        Some(false)
    }
}

/// What bytes for which [`detect`] needs more are likely to become.
pub fn likely(bytes: &[u8]) -> Likely {
    match bytes.first() {
        None => Likely::Anything,
        Some(&tls::HANDSHAKE) => Likely::Tls,
        Some(_) if PREFACE.starts_with(bytes) => Likely::Method,
        Some(_) => http1::likely(bytes),
    }
}

#[cfg(test)]
mod tests;
