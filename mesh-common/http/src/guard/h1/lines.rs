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

/// Where the first control character is. Eight bytes are looked at together.
fn control(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let suspects = suspects(u64::from_le_bytes(*word));
        if suspects != 0 {
            let first = suspects.trailing_zeros() as usize / 8;
            // A tab is one, and what stands before it is none.
            let found = word.iter().skip(first).position(|byte| is_control(*byte));
            if let Some(found) = found {
                return Some(at + first + found);
            }
        }
        at += word.len();
    }
    let found = rest.iter().position(|byte| is_control(*byte));
    found.map(|found| at + found)
}

/// Marks bytes below a space, and DEL, in their highest bits. The lowest mark is right; others may stand where none is due,
/// since subtraction borrows from the next byte.
fn suspects(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGHEST: u64 = 0x80 * EACH;
    let below_space = word.wrapping_sub(0x20 * EACH) & !word;
    let other = word ^ (0x7f * EACH);
    let delete = other.wrapping_sub(EACH) & !other;
    (below_space | delete) & HIGHEST
}

/// What must not stand in a line: all control characters but the tab, DEL among them.
fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_control_character_is_found_wherever_it_stands() {
        for control in (0..=u8::MAX).filter(|byte| is_control(*byte)) {
            for at in 0..40 {
                for filler in [b'a', b' ', b'\t', 0x7e, 0x80, 0xff] {
                    let mut bytes = [filler; 40];
                    bytes[at] = control;
                    assert_eq!(super::control(&bytes), Some(at), "{control:#x} after {filler:#x}");
                }
            }
        }
        for byte in (0..=u8::MAX).filter(|byte| !is_control(*byte)) {
            assert_eq!(control(&[byte; 40]), None, "{byte:#x}");
        }
    }
}
