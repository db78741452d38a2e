//! The bytes of an answer's body out of the bytes of its connection (RFC 9112 §6, §7.1).

use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::answer::end_of_head;

/// Longest line with a chunk's size: extensions are read past, not collected.
const MAX_SIZE_LINE: usize = 4 * 1024;
/// Largest section of trailers, in bytes.
const MAX_TRAILERS: usize = 16 * 1024;
/// Trailers of an answer.
const MAX_FIELDS: usize = 128;

/// Finds the parts of one body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decoder {
    /// So many bytes are left.
    Length(u64),
    /// In chunks.
    Chunked(Chunked),
    /// All there is.
    UntilClose,
}

/// What comes next of a body in chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunked {
    Size,
    /// So many bytes of the chunk are left.
    Data(u64),
    DataEnd,
    /// So many bytes of the input hold no end of them.
    Trailers(usize),
    Over,
}

/// A part of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Some bytes of it.
    Data(Bytes),
    /// Its last part.
    Trailers(HeaderMap),
    /// There is no more.
    End,
    /// More input is wanted.
    More,
}

// === impl Decoder ===

impl Decoder {
    /// Of an answer without a body.
    pub(super) fn none() -> Self {
        Self::Length(0)
    }

    /// Of one with so many bytes.
    pub(super) fn length(length: u64) -> Self {
        Self::Length(length)
    }

    /// Of one in chunks.
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunked::Size)
    }

    /// Of one that ends with its connection.
    pub(super) fn until_close() -> Self {
        Self::UntilClose
    }

    /// Whether all of the body has been taken.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked::Over))
    }

    /// Takes the next part out of the input. An error: it can't be read in one way only.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Part, &'static str> {
        match self {
            Self::Length(0) => Ok(Part::End),
            Self::Length(left) => Ok(take(left, input)),
            Self::UntilClose if input.is_empty() => Ok(Part::More),
            Self::UntilClose => Ok(Part::Data(std::mem::take(input))),
            Self::Chunked(chunked) => chunked.next(input),
        }
    }

    /// The connection has ended: whether the body has, too.
    pub(super) fn may_end(&self) -> bool {
        self.is_over() || *self == Self::UntilClose
    }
}

/// What there is of the next `left` bytes.
fn take(left: &mut u64, input: &mut Bytes) -> Part {
    if input.is_empty() {
        return Part::More;
    }
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    *left -= count as u64;
    Part::Data(input.split_to(count))
}

// === impl Chunked ===

impl Chunked {
    fn next(&mut self, input: &mut Bytes) -> Result<Part, &'static str> {
        loop {
            match self {
                Self::Size => {
                    let Some(line) = line(input, MAX_SIZE_LINE)? else {
                        return Ok(Part::More);
                    };
                    *self = match size(&line)? {
                        0 => Self::Trailers(0),
                        size => Self::Data(size),
                    };
                }
                Self::Data(left) => {
                    let part = take(left, input);
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    return Ok(part);
                }
                Self::DataEnd => {
                    match input.get(..2) {
                        None if b"\r\n".starts_with(input) => return Ok(Part::More),
                        Some(b"\r\n") => input.advance(2),
                        _ => return Err("a chunk of the answer is longer than its size"),
                    }
                    *self = Self::Size;
                }
                Self::Trailers(scanned) => {
                    let Some(trailers) = trailers(input, scanned)? else {
                        return Ok(Part::More);
                    };
                    *self = Self::Over;
                    if !trailers.is_empty() {
                        return Ok(Part::Trailers(trailers));
                    }
                }
                Self::Over => return Ok(Part::End),
            }
        }
    }
}

/// Takes a line that ends with CR LF, without that.
fn line(input: &mut Bytes, most: usize) -> Result<Option<Bytes>, &'static str> {
    let Some(at) = memchr::memchr(b'\n', input) else {
        return if input.len() > most {
            Err("a line of the answer's body is too long")
        } else {
            Ok(None)
        };
    };
    let mut line = input.split_to(at + 1);
    line.truncate(at);
    match line.split_last() {
        // A lone CR within would be an end to others.
        Some((b'\r', rest)) if !rest.contains(&b'\r') => {
            line.truncate(at - 1);
            Ok(Some(line))
        }
        _ => Err("a line of the answer's body does not end with CR LF"),
    }
}

/// The size that a line says; extensions mean nothing to us (RFC 9112 §7.1.1).
fn size(line: &[u8]) -> Result<u64, &'static str> {
    const WRONG: &str = "the size of a chunk of the answer is no number";
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let digits = digits.trim_ascii_end();
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(WRONG);
    }
    let text = std::str::from_utf8(digits).map_err(|_| WRONG)?;
    u64::from_str_radix(text, 16).map_err(|_| WRONG)
}

/// Takes the trailers, if all of them are there; remembers in `scanned` how far it looked for their end.
fn trailers(input: &mut Bytes, scanned: &mut usize) -> Result<Option<HeaderMap>, &'static str> {
    if input.starts_with(b"\r\n") {
        input.advance(2);
        return Ok(Some(HeaderMap::new()));
    }
    if end_of_head(input, scanned)?.is_none() {
        return if input.len() > MAX_TRAILERS {
            Err("the trailers of the answer are too large")
        } else {
            Ok(None)
        };
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut trailers = HeaderMap::new();
    let end = match httparse::parse_headers(input, &mut fields) {
        Ok(httparse::Status::Complete((end, fields))) => {
            for field in fields {
                let name =
                    HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| "a trailer's name is none")?;
                let value = HeaderValue::from_bytes(field.value).map_err(|_| "a trailer's value is none")?;
                trailers.append(name, value);
            }
            end
        }
        Ok(httparse::Status::Partial) | Err(_) => return Err("the trailers of the answer are none"),
    };
    input.advance(end);
    Ok(Some(trailers))
}
