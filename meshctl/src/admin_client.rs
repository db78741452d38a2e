//! A blocking HTTP/1.1 client for the admin listeners of a node and of the control plane: GET, one connection a request.
//!
//! Invariants: an answer takes no longer than the timeout as a whole and no more memory than its bound.
//! Refuses: redirects, compression, TLS, anything the admin listener never does.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

/// Longest status line and headers together: the admin listener sends less than 1 KiB.
const MAX_HEAD: u64 = 16 * 1024;
/// Largest body: /config of 50,000 workloads is below 64 MiB.
const MAX_BODY: u64 = 256 * 1024 * 1024;
/// Longest line that gives a chunk's size (RFC 9112 §7.1): 16 hexadecimal digits and an extension.
const MAX_CHUNK_LINE: u64 = 256;
/// How much of an error's body is shown, in characters.
const SHOWN_BODY: usize = 300;

/// Whose admin listener it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A node's.
    Node,
    /// The control plane's.
    ControlPlane,
}

/// Why there is no usable answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    /// Nobody listens there.
    #[error("no {peer} answers on {address}; {}", peer.hint())]
    Unreachable {
        peer: Peer,
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// The answer was not complete in time.
    #[error("the {peer} on {address} did not answer {path} within {timeout:?}; allow more with --timeout")]
    TimedOut {
        peer: Peer,
        address: SocketAddr,
        path: String,
        timeout: Duration,
    },
    /// The connection broke in the middle.
    #[error("the connection to the {peer} broke while it answered {path}; its log may say why")]
    Broken {
        peer: Peer,
        path: String,
        #[source]
        source: io::Error,
    },
    /// Not HTTP, or not as RFC 9112 has it.
    #[error("what answered {path} does not speak HTTP ({what}); is {} the {peer}'s admin address?", peer.option())]
    Malformed {
        peer: Peer,
        path: String,
        what: &'static str,
    },
    /// Larger than the bound.
    #[error("the answer to {path} is larger than {MAX_BODY} bytes; ask for less")]
    TooLarge { path: String },
    /// A status other than 200.
    #[error("the {peer} answered {path} with {code}: {body}")]
    Refused {
        peer: Peer,
        path: String,
        code: u16,
        body: String,
    },
    /// JSON of another form than expected.
    #[error("the answer to {path} has an unexpected form; are meshctl and the {peer} of the same version?")]
    Form {
        peer: Peer,
        path: String,
        #[source]
        source: serde_json::Error,
    },
}

/// One admin listener.
#[derive(Debug, Clone)]
pub(crate) struct AdminClient {
    peer: Peer,
    address: SocketAddr,
    timeout: Duration,
}

/// A connection whose every read ends by the deadline.
struct DeadlineStream {
    stream: TcpStream,
    deadline: Instant,
}

/// How the end of a body is told (RFC 9112 §6.3).
#[derive(Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// The failures that need the request's context to become an [`AdminError`].
enum Failure {
    Io(io::Error),
    Malformed(&'static str),
    TooLarge,
}

// === impl AdminClient ===

impl AdminClient {
    pub(crate) fn new(peer: Peer, address: SocketAddr, timeout: Duration) -> Self {
        Self {
            peer,
            address,
            timeout,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The body of a successful answer, as JSON.
    pub(crate) fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, AdminError> {
        let body = self.get(path)?;
        serde_json::from_slice(&body).map_err(|source| self.unexpected(path, source))
    }

    /// A part of an answer as what it is to be.
    pub(crate) fn parse<T: DeserializeOwned>(
        &self,
        path: &str,
        value: serde_json::Value,
    ) -> Result<T, AdminError> {
        serde_json::from_value(value).map_err(|source| self.unexpected(path, source))
    }

    fn unexpected(&self, path: &str, source: serde_json::Error) -> AdminError {
        AdminError::Form {
            peer: self.peer,
            path: path.to_owned(),
            source,
        }
    }

    /// The body of a successful answer.
    pub(crate) fn get(&self, path: &str) -> Result<Vec<u8>, AdminError> {
        let deadline = Instant::now() + self.timeout;
        let stream = TcpStream::connect_timeout(&self.address, self.timeout).map_err(|source| {
            AdminError::Unreachable {
                peer: self.peer,
                address: self.address,
                source,
            }
        })?;
        let (code, body) = self
            .exchange(stream, deadline, path)
            .map_err(|failure| self.explain(failure, path))?;
        if code == 200 {
            return Ok(body);
        }
        let body = String::from_utf8_lossy(&body)
            .trim()
            .chars()
            .take(SHOWN_BODY)
            .collect();
        Err(AdminError::Refused {
            peer: self.peer,
            path: path.to_owned(),
            code,
            body,
        })
    }

    fn exchange(
        &self,
        mut stream: TcpStream,
        deadline: Instant,
        path: &str,
    ) -> Result<(u16, Vec<u8>), Failure> {
        stream.set_write_timeout(Some(self.timeout))?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\nConnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes())?;
        read_answer(BufReader::new(DeadlineStream { stream, deadline }))
    }

    fn explain(&self, failure: Failure, path: &str) -> AdminError {
        let (peer, path) = (self.peer, path.to_owned());
        match failure {
            Failure::Io(source) if matches!(source.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
                AdminError::TimedOut {
                    peer,
                    address: self.address,
                    path,
                    timeout: self.timeout,
                }
            }
            Failure::Io(source) => AdminError::Broken { peer, path, source },
            Failure::Malformed(what) => AdminError::Malformed { peer, path, what },
            Failure::TooLarge => AdminError::TooLarge { path },
        }
    }
}

// === impl Peer ===

impl Peer {
    /// The option that names its address.
    fn option(self) -> &'static str {
        match self {
            Self::Node => "--admin",
            Self::ControlPlane => "--control",
        }
    }

    /// What to do when nobody answers.
    fn hint(self) -> &'static str {
        match self {
            Self::Node => {
                "is mesh-node running in this network namespace? Name its admin address with --admin"
            }
            Self::ControlPlane => {
                "name mesh-control's admin address with --control, or look at what this node goes by with --node"
            }
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::ControlPlane => "control plane",
        })
    }
}

// === impl DeadlineStream ===

impl Read for DeadlineStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer)
    }
}

// === impl Failure ===

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The status code and the body of one answer.
fn read_answer(mut reader: impl BufRead) -> Result<(u16, Vec<u8>), Failure> {
    let (code, framing) = read_head(&mut reader)?;
    let mut body = Vec::new();
    match framing {
        Framing::Length(length) if length > MAX_BODY => return Err(Failure::TooLarge),
        Framing::Length(length) => read_exactly(&mut reader, length, &mut body)?,
        Framing::Chunked => read_chunks(&mut reader, &mut body)?,
        Framing::UntilClose => {
            reader.take(MAX_BODY + 1).read_to_end(&mut body)?;
            if body.len() as u64 > MAX_BODY {
                return Err(Failure::TooLarge);
            }
        }
    }
    Ok((code, body))
}

fn read_head(reader: &mut impl BufRead) -> Result<(u16, Framing), Failure> {
    let mut head = reader.take(MAX_HEAD);
    let status = read_line(&mut head)?;
    let code = status
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1)?.parse().ok())
        .ok_or(Failure::Malformed("no status line"))?;
    let mut framing = Framing::UntilClose;
    loop {
        let line = read_line(&mut head)?;
        if line.is_empty() {
            return Ok((code, framing));
        }
        let (name, value) = line
            .split_once(':')
            .ok_or(Failure::Malformed("a header without a colon"))?;
        if name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.trim().eq_ignore_ascii_case("chunked") {
                return Err(Failure::Malformed("an unknown transfer encoding"));
            }
            framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case("content-length") && framing != Framing::Chunked {
            let length = value
                .trim()
                .parse()
                .map_err(|_| Failure::Malformed("a wrong length"))?;
            framing = Framing::Length(length);
        }
    }
}

/// One line without its end. Fails when the reader ends first, by its limit or by the peer.
fn read_line(reader: &mut impl BufRead) -> Result<String, Failure> {
    let mut line = String::new();
    match reader.read_line(&mut line) {
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(Failure::Malformed("bytes that are no text"));
        }
        Err(error) => return Err(error.into()),
        Ok(_) => {}
    }
    let text = line
        .strip_suffix('\n')
        .ok_or(Failure::Malformed("a line without an end"))?;
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> Result<(), Failure> {
    loop {
        let line = read_line(&mut reader.take(MAX_CHUNK_LINE))?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| Failure::Malformed("a wrong chunk size"))?;
        if size == 0 {
            // Trailers may follow; nothing in them is of use, and the connection is closed anyway.
            return Ok(());
        }
        if size > MAX_BODY - body.len() as u64 {
            return Err(Failure::TooLarge);
        }
        read_exactly(reader, size, body)?;
        if !read_line(&mut reader.take(2))?.is_empty() {
            return Err(Failure::Malformed("a chunk of another size than announced"));
        }
    }
}

fn read_exactly(reader: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> Result<(), Failure> {
    let read = reader.take(length).read_to_end(body)?;
    if read as u64 == length {
        Ok(())
    } else {
        Err(io::Error::from(ErrorKind::UnexpectedEof).into())
    }
}

#[cfg(test)]
mod tests;
