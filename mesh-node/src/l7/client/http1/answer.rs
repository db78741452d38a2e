//! The head of an answer, and how its body is framed (RFC 9112 §6.3).

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode};

use super::decode::Decoder;

/// Largest head, in bytes.
const MAX_HEAD: usize = 256 * 1024;
/// Headers of an answer.
const MAX_HEADERS: usize = 256;

/// What kind of answer a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    /// One with a body, if it has one.
    Body,
    /// One without, whatever its fields say.
    Head,
    /// The rest of the connection, if granted.
    Tunnel,
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Whether the endpoint keeps the connection.
    is_kept: bool,
    is_http10: bool,
}

// === impl Wants ===

impl Wants {
    pub(super) fn of(method: &Method) -> Self {
        match *method {
            Method::HEAD => Self::Head,
            Method::CONNECT => Self::Tunnel,
            _ => Self::Body,
        }
    }
}

/// Where the head ends, if its end has come; remembers in `scanned` how far it looked.
pub(super) fn end_of_head(input: &[u8], scanned: &mut usize) -> Result<Option<usize>, &'static str> {
    let head = input.get(..MAX_HEAD).unwrap_or(input);
    let mut from = scanned.saturating_sub(3);
    while let Some(at) = head.get(from..).and_then(|rest| memchr::memchr(b'\n', rest)) {
        let next = from + at + 1;
        match head.get(next..) {
            Some([b'\n', ..]) => return Ok(Some(next + 1)),
            Some([b'\r', b'\n', ..]) => return Ok(Some(next + 2)),
            _ => from = next,
        }
    }
    *scanned = head.len();
    if head.len() == MAX_HEAD {
        return Err("the head of the answer is too large");
    }
    Ok(None)
}

// === impl Head ===

impl Head {
    /// Reads a whole head.
    pub(super) fn parse(bytes: &Bytes) -> Result<Self, &'static str> {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            bytes,
            &mut fields,
        );
        match parsed {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err("the head of the answer has an end in its middle"),
            Err(httparse::Error::TooManyHeaders) => return Err("the answer has too many headers"),
            Err(_) => return Err("the answer is not HTTP/1.1"),
        }
        let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or("the answer has no status that HTTP knows")?;
        let is_http10 = response.version == Some(0);
        let mut headers = HeaderMap::with_capacity(response.headers.len());
        let mut is_kept = !is_http10;
        for field in response.headers.iter() {
            let name =
                HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| "a header's name is none")?;
            let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value))
                .map_err(|_| "a header's value is none")?;
            if name == CONNECTION {
                let mut options = field.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                if options
                    .clone()
                    .any(|option| option.eq_ignore_ascii_case(b"close"))
                {
                    is_kept = false;
                } else if is_http10 {
                    is_kept |= options.any(|option| option.eq_ignore_ascii_case(b"keep-alive"));
                }
            }
            headers.append(name, value);
        }
        Ok(Self {
            status,
            headers,
            is_kept,
            is_http10,
        })
    }

    /// Whether another one follows.
    pub(super) fn is_interim(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }

    /// Whether the connection may serve another request after this answer.
    pub(super) fn may_be_kept(&self, wants: Wants) -> bool {
        // Somebody between here and the endpoint may go by the one, or by the other (RFC 9112 §6.1).
        let is_ambiguous =
            self.headers.contains_key(TRANSFER_ENCODING) && self.headers.contains_key(CONTENT_LENGTH);
        self.is_kept && !is_ambiguous && !self.is_switch(wants)
    }

    /// Whether another protocol follows.
    fn is_switch(&self, wants: Wants) -> bool {
        self.status == StatusCode::SWITCHING_PROTOCOLS || wants == Wants::Tunnel && self.status.is_success()
    }

    /// How the body is framed.
    pub(super) fn framing(&self, wants: Wants) -> Result<Decoder, &'static str> {
        let has_none = matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if wants == Wants::Head || has_none || self.is_switch(wants) {
            return Ok(Decoder::none());
        }
        let mut codings = self.headers.get_all(TRANSFER_ENCODING).iter();
        if let Some(last) = codings.next_back() {
            if self.is_http10 {
                return Err("an answer in HTTP/1.0 has a transfer coding");
            }
            let last = last
                .as_bytes()
                .rsplit(|byte| *byte == b',')
                .next()
                .unwrap_or_default();
            if last.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Ok(Decoder::chunked());
            }
            return Ok(Decoder::until_close());
        }
        let mut length = None;
        for value in self.headers.get_all(CONTENT_LENGTH) {
            let digits = value.as_bytes();
            let number = digits
                .iter()
                .all(u8::is_ascii_digit)
                .then(|| std::str::from_utf8(digits).ok()?.parse::<u64>().ok())
                .flatten();
            let number = number.ok_or("the answer's length is no number")?;
            if length.is_some_and(|length| length != number) {
                return Err("the answer has two lengths");
            }
            length = Some(number);
        }
        Ok(length.map_or_else(Decoder::until_close, Decoder::length))
    }
}
