//! A strict reader of the bytes of one HTTP/1 connection, which stands before the parser.
//!
//! It finds where each request begins and ends, and lets a head go on only when it is complete and has one meaning. What
//! it lets through, any parser reads in the same way. It changes nothing, and holds no bytes: the caller
//! shows it what was read and not yet let through, and is told how much of it may go on.

mod chunked;
mod fields;
mod head;
mod lines;
mod target;

use std::ops::Range;

use self::chunked::Chunked;
pub(super) use self::chunked::is_never_trailer;
pub(super) use self::head::number;
use self::head::{Complete, Framing, Head};
pub(super) use self::target::is_authority;
use super::Refusal;

#[cfg(test)]
mod tests;

/// What a head may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, its first line and the empty one included.
    pub max_head_bytes: usize,
    /// Header fields; as many in a trailer section.
    pub max_fields: usize,
}

/// The reader.
#[derive(Debug)]
pub struct Guard {
    limits: Limits,
    state: State,
    /// What follows the request at hand.
    next: Next,
    /// How many heads have gone on.
    requests: u64,
}

/// What may go on of the bytes that were shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Released {
    /// How many of them, from the first.
    pub count: usize,
    /// Those among them that must not, if any: a line of a head that offers an upgrade which is never granted, or
    /// says it without a Connection header. Parsers would prepare for it all the same.
    pub cut: Range<usize>,
}

/// Where the next byte of the connection belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// Between requests: nothing of a next one has come.
    Idle,
    /// Within a head that is not complete.
    Head,
    /// To the request's content.
    Content,
    /// To what follows a request for an upgrade that is not answered yet: to another protocol, or the next request.
    Held,
    /// To another protocol, after an upgrade.
    Opaque,
    /// To nothing: the last request of the connection is complete.
    Over,
}

#[derive(Debug)]
enum State {
    Head(Head),
    Content(u64),
    Chunked(Chunked),
    Held,
    Opaque,
    Over,
    Refused { refusal: Refusal, is_in_content: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Request,
    Nothing,
    /// Depends on the answer: another protocol; or, as `is_persistent` says, another request or nothing.
    Asked {
        is_persistent: bool,
    },
    Opaque,
}

// === impl Guard ===

impl Guard {
    /// For a new connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Head(Head::default()),
            next: Next::Request,
            requests: 0,
        }
    }

    /// What of `bytes` may go on. These are all that were read and not yet let through: what was not let through
    /// comes first again in the next call. A refusal is final; what came before it was let through by a call before.
    pub fn release(&mut self, bytes: &[u8]) -> Result<Released, Refusal> {
        let mut released = Released::default();
        while let Some(rest) = bytes.get(released.count..)
            && !rest.is_empty()
            && released.cut.is_empty()
        {
            match self.step(rest) {
                Ok(Released { count: 0, .. }) => break,
                Ok(Released { count, cut }) => {
                    released.cut = cut.start + released.count..cut.end + released.count;
                    released.count += count;
                }
                Err(refusal) => {
                    self.state = State::Refused {
                        refusal,
                        is_in_content: self.position() == Position::Content,
                    };
                    if released.count == 0 {
                        return Err(refusal);
                    }
                    // First what was good; the refusal comes with the next call.
                    break;
                }
            }
        }
        Ok(released)
    }

    /// Where the next byte belongs; of a refused connection, where the offending one belonged.
    pub fn position(&self) -> Position {
        match &self.state {
            State::Head(head) if head.is_empty() => Position::Idle,
            State::Content(_)
            | State::Chunked(_)
            | State::Refused {
                is_in_content: true, ..
            } => Position::Content,
            State::Head(_) | State::Refused { .. } => Position::Head,
            State::Held => Position::Held,
            State::Opaque => Position::Opaque,
            State::Over => Position::Over,
        }
    }

    /// How the request with this number was answered; the connection's first one has 1. If it asked for an upgrade or is a
    /// CONNECT, what follows is another protocol's when that `is_granted`, and else another request.
    pub fn answered(&mut self, number: u64, is_granted: bool) {
        let Next::Asked { is_persistent } = self.next else {
            return;
        };
        if number != self.requests {
            return;
        }
        self.next = match (is_granted, is_persistent) {
            (true, _) => Next::Opaque,
            (false, true) => Next::Request,
            (false, false) => Next::Nothing,
        };
        if matches!(self.state, State::Held) {
            self.follow();
        }
    }

    /// How many of the next bytes are sure to go on, content or another protocol. They are shown to
    /// [`Guard::release`] all the same.
    pub fn plain(&self) -> u64 {
        match &self.state {
            State::Content(left) => *left,
            State::Chunked(chunked) => chunked.data(),
            State::Opaque => u64::MAX,
            _ => 0,
        }
    }

    /// Makes a step: some bytes of one kind.
    fn step(&mut self, bytes: &[u8]) -> Result<Released, Refusal> {
        let count = match &mut self.state {
            State::Head(head) => {
                let Some(complete) = head.read(bytes, self.limits)? else {
                    return Ok(Released::default());
                };
                self.begin(&complete);
                let (start, end) = complete.cut.unwrap_or_default();
                return Ok(Released {
                    count: complete.length,
                    cut: start..end,
                });
            }
            State::Content(left) => {
                let count = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= count as u64;
                if *left == 0 {
                    self.follow();
                }
                count
            }
            State::Chunked(chunked) => {
                let (count, is_complete) = chunked.read(bytes, self.limits)?;
                if is_complete {
                    self.follow();
                }
                count
            }
            State::Held => 0,
            State::Opaque => bytes.len(),
            // An empty line after content is an old mistake, and no request.
            State::Over if bytes.len() <= 2 && b"\r\n".starts_with(bytes) => 0,
            State::Over => return Err(Refusal::AfterClose),
            State::Refused { refusal, .. } => return Err(*refusal),
        };
        Ok(Released { count, cut: 0..0 })
    }

    /// A head is complete: what comes after it.
    fn begin(&mut self, head: &Complete) {
        self.requests += 1;
        let is_persistent = head.is_persistent;
        self.next = match (head.is_upgrade, is_persistent) {
            (true, _) => Next::Asked { is_persistent },
            (false, true) => Next::Request,
            (false, false) => Next::Nothing,
        };
        match head.framing {
            Framing::None => self.follow(),
            Framing::Length(length) => self.state = State::Content(length),
            Framing::Chunked => self.state = State::Chunked(Chunked::default()),
        }
    }

    fn follow(&mut self) {
        self.state = match self.next {
            Next::Request => State::Head(Head::default()),
            Next::Nothing => State::Over,
            Next::Asked { .. } => State::Held,
            Next::Opaque => State::Opaque,
        };
    }
}
