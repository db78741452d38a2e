//! Lines that end with CRLF and have no other control character but tabs.

use crate::guard::Refusal;

/// Finds the ends of lines in bytes that come piece by piece, without looking at any of them twice.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Where the line at hand begins.
    start: usize,
    /// Up to where the bytes were looked at.
    seen: usize,
}

// === impl Lines ===

impl Lines {
    /// The next complete line of `bytes`, without its CRLF; `None` when it is not complete.
    pub(super) fn next<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, Refusal> {
        let rest = bytes.get(self.seen..).unwrap_or_default();
        let Some(found) = control(rest) else {
            self.seen = bytes.len();
            return Ok(None);
        };
        let at = self.seen + found;
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) => {
                let line = bytes.get(self.start..at);
                self.start = at + 2;
                self.seen = at + 2;
                Ok(line)
            }
            (Some(b'\r'), None) => {
                self.seen = at;
                Ok(None)
            }
            (Some(b'\n'), _) => Err(Refusal::BareLf),
            _ => Err(Refusal::ControlCharacter),
        }
    }

    /// How many bytes the lines so far have, with their ends.
    pub(super) fn length(&self) -> usize {
        self.start
    }

    /// Whether not one byte was seen.
    pub(super) fn is_empty(&self) -> bool {
        self.seen == 0 && self.start == 0
    }
}

/// Where the first control character is. Many bytes are looked at together, which processors do at once: most lines are
/// longer than that.
fn control(bytes: &[u8]) -> Option<usize> {
    const TOGETHER: usize = 32;
    let mut chunks = bytes.chunks_exact(TOGETHER);
    let mut at = 0;
    for chunk in &mut chunks {
        if chunk.iter().fold(false, |found, byte| found | is_control(*byte)) {
            return chunk
                .iter()
                .position(|byte| is_control(*byte))
                .map(|found| at + found);
        }
        at += TOGETHER;
    }
    let found = chunks.remainder().iter().position(|byte| is_control(*byte));
    found.map(|found| at + found)
}

/// What must not stand in a line: all control characters but the tab, DEL among them.
fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}
