//! Chunked content (RFC 9112 §7.1), up to the empty line after its trailer section.

use super::Limits;
use super::fields::split;
use super::lines::Lines;
use crate::guard::Refusal;

/// Bytes of all chunk extensions of a message. A little less than hyper takes, which would break off with less of a
/// reason.
const MAX_EXTENSIONS: usize = 16_000;
/// Largest trailer section: what hyper takes.
const MAX_TRAILERS: usize = 16 * 1024;
/// Fields that a trailer section must not have (RFC 9110 §6.5.1): they say how a message is framed, where it goes, who asks and
/// what its content is, and come too late for whoever has acted already.
const NEVER_TRAILERS: [&str; 16] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Chunked content that is being read.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    state: State,
    /// Bytes of extensions so far.
    extensions: usize,
}

#[derive(Debug)]
enum State {
    /// In a size line: what its digits say so far.
    Size {
        size: u64,
        digits: u32,
    },
    /// Behind the digits, in the extensions.
    Extensions {
        size: u64,
    },
    /// At the LF of a size line.
    SizeEnd {
        size: u64,
    },
    Data(u64),
    /// At the CR, then the LF, behind a chunk.
    DataCr,
    DataLf,
    Trailers {
        lines: Lines,
        fields: usize,
    },
}

// === impl Chunked ===

impl Chunked {
    /// How many of `bytes` may go on, and whether the content ends with them. The trailer section goes on when it is
    /// complete.
    pub(super) fn read(&mut self, bytes: &[u8], limits: Limits) -> Result<(usize, bool), Refusal> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match &mut self.state {
                State::Data(left) => {
                    let rest = bytes.len() - at;
                    let count = rest.min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= count as u64;
                    at += count;
                    if *left == 0 {
                        self.state = State::DataCr;
                    }
                }
                // What went before goes on first, here and below: a refusal comes with a call of its own.
                State::Trailers { .. } if at > 0 => break,
                State::Trailers { lines, fields } => {
                    let section = bytes.get(at..).unwrap_or_default();
                    let length = trailers(section, lines, fields, limits)?;
                    return Ok((length.unwrap_or_default(), length.is_some()));
                }
                _ => match self.byte(*byte) {
                    Ok(()) => at += 1,
                    Err(_) if at > 0 => break,
                    Err(refusal) => return Err(refusal),
                },
            }
        }
        Ok((at, false))
    }

    /// How many of the next bytes are a chunk's data.
    pub(super) fn data(&self) -> u64 {
        match self.state {
            State::Data(left) => left,
            _ => 0,
        }
    }

    /// One byte of framing.
    fn byte(&mut self, byte: u8) -> Result<(), Refusal> {
        self.state = match (&self.state, byte) {
            (&State::Size { size, digits }, digit) if digit.is_ascii_hexdigit() => {
                let value = char::from(digit).to_digit(16).map_or(0, u64::from);
                // Sixteen digits fit 64 bits; of those, 63 are taken.
                if digits == 16 || size >> 59 != 0 {
                    return Err(Refusal::ChunkSize);
                }
                State::Size {
                    size: size << 4 | value,
                    digits: digits + 1,
                }
            }
            (State::Size { digits: 0, .. }, _) => return Err(Refusal::ChunkSize),
            (&State::Size { size, .. } | &State::Extensions { size }, b'\r') => State::SizeEnd { size },
            (&State::Size { size, .. }, b';') | (&State::Extensions { size }, b'\t' | b' '..=b'~') => {
                if self.extensions == MAX_EXTENSIONS {
                    return Err(Refusal::ChunkOverhead);
                }
                self.extensions += 1;
                State::Extensions { size }
            }
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailers {
                lines: Lines::default(),
                fields: 0,
            },
            (&State::SizeEnd { size }, b'\n') => State::Data(size),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::default(),
            (State::DataCr | State::DataLf, _) => return Err(Refusal::ChunkEnd),
            _ => return Err(Refusal::ChunkSize),
        };
        Ok(())
    }
}

/// The length of the trailer section that `section` begins with, with its empty line; `None` if it is not complete.
fn trailers(
    section: &[u8],
    lines: &mut Lines,
    fields: &mut usize,
    limits: Limits,
) -> Result<Option<usize>, Refusal> {
    let limit = MAX_TRAILERS.min(limits.max_head_bytes);
    let within = section.get(..limit).unwrap_or(section);
    while let Some(line) = lines.next(within)? {
        if line.is_empty() {
            return Ok(Some(lines.length()));
        }
        *fields += 1;
        if *fields > limits.max_fields {
            return Err(Refusal::TrailersTooLarge);
        }
        let (name, _) = split(line).map_err(|_| Refusal::Trailers)?;
        if is_never_trailer(name) {
            return Err(Refusal::Trailers);
        }
    }
    if section.len() < limit {
        Ok(None)
    } else {
        Err(Refusal::TrailersTooLarge)
    }
}

/// Whether a field of this name must not stand in a trailer section.
pub(in crate::guard) fn is_never_trailer(name: &[u8]) -> bool {
    NEVER_TRAILERS
        .iter()
        .any(|never| name.eq_ignore_ascii_case(never.as_bytes()))
}

impl Default for State {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}
