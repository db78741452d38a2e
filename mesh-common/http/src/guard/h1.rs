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
        }
    }

    /// How many of `bytes` may go on. These are all that were read and not yet let through: what was not let
    /// through comes first again in the next call. A refusal is final; what came before it was let through by a call before.
    pub fn release(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut released = 0;
        while let Some(rest) = bytes.get(released..)
            && !rest.is_empty()
        {
            match self.step(rest) {
                Ok(0) => break,
                Ok(count) => released += count,
                Err(refusal) => {
                    self.state = State::Refused {
                        refusal,
                        is_in_content: self.position() == Position::Content,
                    };
                    if released == 0 {
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
            State::Head(_) => Position::Head,
            State::Content(_) | State::Chunked(_) => Position::Content,
            State::Held => Position::Held,
            State::Opaque => Position::Opaque,
            State::Over => Position::Over,
            State::Refused { is_in_content, .. } if *is_in_content => Position::Content,
            State::Refused { .. } => Position::Head,
        }
    }

    /// The upgrade was granted: what follows the request is another protocol's.
    pub fn grant(&mut self) {
        self.answer(|_| Next::Opaque);
    }

    /// The upgrade was declined: what follows is another request, if the client keeps the connection.
    pub fn decline(&mut self) {
        self.answer(|is_persistent| {
            if is_persistent {
                Next::Request
            } else {
                Next::Nothing
            }
        });
    }

    /// How many of the next bytes may go on without being looked at here: content of known length, another protocol.
    /// The caller says with [`Guard::release`] which did, all the same.
    pub fn plain(&self) -> u64 {
        match self.state {
            State::Content(left) => left,
            State::Opaque => u64::MAX,
            _ => 0,
        }
    }

    fn answer(&mut self, next: impl FnOnce(bool) -> Next) {
        if let Next::Asked { is_persistent } = self.next {
            self.next = next(is_persistent);
            if matches!(self.state, State::Held) {
                self.follow();
            }
        }
    }

    /// Makes a step: some bytes of one kind.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        match &mut self.state {
            State::Head(head) => {
                let Some(complete) = head.read(bytes, self.limits)? else {
                    return Ok(0);
                };
                Ok(self.begin(&complete))
            }
            State::Content(left) => {
                let count = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= count as u64;
                if *left == 0 {
                    self.follow();
                }
                Ok(count)
            }
            State::Chunked(chunked) => {
                let (count, is_complete) = chunked.read(bytes, self.limits)?;
                if is_complete {
                    self.follow();
                }
                Ok(count)
            }
            State::Held => Ok(0),
            State::Opaque => Ok(bytes.len()),
            State::Over => Err(Refusal::AfterClose),
            State::Refused { refusal, .. } => Err(*refusal),
        }
    }

    /// A head is complete: what comes after it.
    fn begin(&mut self, head: &Complete) -> usize {
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
        head.length
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
