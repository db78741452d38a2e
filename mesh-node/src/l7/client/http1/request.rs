//! A request on its way to an endpoint: its head in one piece, its body as it comes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use hyper::body::Body as _;

use super::answer::Wants;
use crate::l7::body::BodyError;
use crate::l7::outgoing::Outgoing;
use crate::net::io::SideIo;

/// Room for a request line and usual fields.
const USUAL_HEAD: usize = 1024;
/// A head with what there is of its body already waits for no more once it has so many bytes.
const TOGETHER: usize = 16 * 1024;

/// A request's head, as bytes.
#[derive(Debug)]
pub struct RequestHead {
    bytes: BytesMut,
    framing: Framing,
    pub(super) wants: Wants,
}

/// How the endpoint tells the end of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Framing {
    /// There is none.
    None,
    /// By its length; what is left of it.
    Length(u64),
    /// In chunks; these trailers may follow.
    Chunked(Option<HeaderValue>),
}

/// A request that is being sent.
#[derive(Debug)]
pub(super) struct Sending {
    /// To be sent at once.
    output: Bytes,
    framing: Framing,
    body: Outgoing,
    is_begun: bool,
    is_body_over: bool,
    /// Whether the body has been asked for anything.
    is_body_used: bool,
}

/// Why a request can't be sent to its end.
#[derive(Debug)]
pub(super) enum SendingError {
    /// The connection takes no more.
    Io(io::Error),
    /// The body breaks off, or is not what the head says.
    Body(BodyError),
}

/// The body is not what the head says.
#[derive(Debug, thiserror::Error)]
#[error("the request's body is not as long as its head says")]
struct WrongLength;

// === impl RequestHead ===

impl RequestHead {
    /// The beginning of a head: the request line. `target` has no space or line break in it.
    pub fn new(method: &Method, target: &str) -> Self {
        let mut bytes = BytesMut::with_capacity(USUAL_HEAD.max(target.len() + USUAL_HEAD / 2));
        for part in [method.as_str(), " ", target, " HTTP/1.1\r\n"] {
            bytes.extend_from_slice(part.as_bytes());
        }
        Self {
            bytes,
            framing: Framing::None,
            wants: Wants::of(method),
        }
    }

    /// A field. `value` has no line break in it, as every [`HeaderValue`].
    pub fn field(&mut self, name: &HeaderName, value: &[u8]) {
        let name = name.as_str();
        self.bytes.reserve(name.len() + value.len() + 4);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b": ");
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// The body has this length, which a field says.
    pub fn set_length(&mut self, length: u64) {
        self.framing = Framing::Length(length);
    }

    /// The body comes in chunks, with those of its trailers that `Trailer` has named.
    pub fn set_chunked(&mut self, trailer: Option<&HeaderValue>) {
        self.field(&header::TRANSFER_ENCODING, b"chunked");
        self.framing = Framing::Chunked(trailer.cloned());
    }
}

// === impl Sending ===

impl Sending {
    pub(super) fn new(head: RequestHead, body: Outgoing) -> Self {
        let RequestHead {
            mut bytes, framing, ..
        } = head;
        bytes.extend_from_slice(b"\r\n");
        Self {
            output: bytes.freeze(),
            is_body_over: framing == Framing::None,
            framing,
            body,
            is_begun: false,
            is_body_used: false,
        }
    }

    /// Whether neither the connection nor the body was touched.
    pub(super) fn is_untouched(&self) -> bool {
        !self.is_begun && !self.is_body_used
    }

    pub(super) fn into_body(self) -> Outgoing {
        self.body
    }

    /// Ready when everything is sent.
    pub(super) fn poll(
        &mut self,
        io: &mut SideIo,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendingError>> {
        loop {
            // What there is of a body already need not wait for a write of its own.
            if !self.is_begun && !self.is_body_over && self.output.len() < TOGETHER {
                let _later = self.poll_body(context)?;
            }
            let before = self.output.len();
            let sent = io.poll_send(&mut self.output, context);
            self.is_begun |= self.output.len() < before;
            ready!(sent).map_err(SendingError::Io)?;
            if self.is_body_over {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_body(context))?;
        }
    }

    /// Adds the body's next frame to the output.
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SendingError>> {
        self.is_body_used = true;
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let Some(frame) = frame else {
            return Poll::Ready(self.end(None));
        };
        match frame.map_err(SendingError::Body)?.into_data() {
            Ok(data) => self.data(data)?,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return Poll::Ready(self.end(Some(&trailers)));
                }
            }
        }
        if self.body.is_end_stream() {
            self.end(None)?;
        }
        Poll::Ready(Ok(()))
    }

    fn data(&mut self, data: Bytes) -> Result<(), SendingError> {
        match &mut self.framing {
            Framing::None => Err(SendingError::wrong_length()),
            Framing::Length(left) => {
                *left = left
                    .checked_sub(data.len() as u64)
                    .ok_or_else(SendingError::wrong_length)?;
                self.push(data);
                Ok(())
            }
            // A chunk without bytes would be the last one.
            Framing::Chunked(_) if data.is_empty() => Ok(()),
            Framing::Chunked(_) => {
                let size = format!("{:x}\r\n", data.len());
                let mut chunk = BytesMut::with_capacity(size.len() + data.len() + 2);
                for part in [size.as_bytes(), &data, b"\r\n"] {
                    chunk.put_slice(part);
                }
                self.push(chunk.freeze());
                Ok(())
            }
        }
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), SendingError> {
        self.is_body_over = true;
        match &self.framing {
            Framing::None | Framing::Length(0) => Ok(()),
            Framing::Length(_) => Err(SendingError::wrong_length()),
            Framing::Chunked(named) => {
                let mut last = BytesMut::from(&b"0\r\n"[..]);
                for (name, value) in trailers.into_iter().flatten() {
                    if named.as_ref().is_some_and(|named| is_named(named, name)) {
                        last.put_slice(name.as_str().as_bytes());
                        last.put_slice(b": ");
                        last.put_slice(value.as_bytes());
                        last.put_slice(b"\r\n");
                    }
                }
                last.put_slice(b"\r\n");
                self.push(last.freeze());
                Ok(())
            }
        }
    }

    fn push(&mut self, bytes: Bytes) {
        if self.output.is_empty() {
            self.output = bytes;
            return;
        }
        let mut output = BytesMut::from(std::mem::take(&mut self.output));
        output.extend_from_slice(&bytes);
        self.output = output.freeze();
    }
}

// === impl SendingError ===

impl SendingError {
    fn wrong_length() -> Self {
        Self::Body(BodyError::other(WrongLength))
    }
}

/// Fields that are no trailers: they frame or route a message, say who sends it, or how it is to be read (RFC 9110 §6.5.1).
const NO_TRAILERS: [HeaderName; 20] = [
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::EXPECT,
    header::HOST,
    header::MAX_FORWARDS,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-request-id"),
];

/// Whether `Trailer` names a field, and it may be one.
fn is_named(trailer: &HeaderValue, name: &HeaderName) -> bool {
    let is_it = |part: &[u8]| part.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes());
    !NO_TRAILERS.contains(name) && trailer.as_bytes().split(|byte| *byte == b',').any(is_it)
}
