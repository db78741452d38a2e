//! One segment of a path: what stands in it, and how it is written in normal form.

use super::PathError;
use crate::query::digit;

/// What a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) kind: Kind,
    /// Whether it is written in normal form.
    pub(super) is_normal: bool,
    /// Whether `/` or `\` is in it, escaped.
    pub(super) has_separator: bool,
}

/// Whether a segment is one that stands for a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Name,
    Dot,
    DotDot,
}

/// A byte of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// That stands for itself.
    Plain(u8),
    /// That is escaped in normal form.
    Escaped(u8),
}

/// What came before, for what depends on it.
struct Dots {
    /// Characters since the last separator.
    length: usize,
    /// Whether they are dots only.
    only: bool,
}

// === impl Segment ===

impl Segment {
    /// Reads a segment, without slashes.
    pub(super) fn read(text: &str) -> Result<Self, PathError> {
        let mut rest = text.as_bytes();
        let mut segment = Self {
            kind: Kind::Name,
            is_normal: true,
            has_separator: false,
        };
        let mut dots = Dots::new();
        // Whether a part of the segment is `.` or `..`.
        let mut has_dots = false;
        let mut last = None;
        while !rest.is_empty() {
            let (unit, raw, after) = next(rest)?;
            segment.is_normal &= unit.is_written(raw);
            rest = after;
            if let Unit::Escaped(byte) = unit {
                if last.is_some_and(|lead| is_overlong(lead, byte)) {
                    return Err(PathError::Overlong);
                }
                last = Some(byte);
            } else {
                last = None;
            }
            match unit {
                Unit::Escaped(b'/' | b'\\') => {
                    segment.has_separator = true;
                    has_dots |= dots.kind() != Kind::Name;
                    dots = Dots::new();
                }
                Unit::Plain(b';') | Unit::Escaped(b';') if dots.kind() != Kind::Name => {
                    return Err(PathError::Parameter);
                }
                unit => dots.add(unit),
            }
        }
        segment.kind = dots.kind();
        if segment.has_separator && (has_dots || segment.kind != Kind::Name) {
            return Err(PathError::EscapedSeparator);
        }
        Ok(segment)
    }
}

/// Whether segments, with the slashes between them, are in normal form for certain: names, of characters that stand for
/// themselves, none of which begins with a dot. Most paths are.
pub(super) fn are_plain_names(segments: &[u8]) -> bool {
    let mut before = b'/';
    segments.iter().all(|byte| {
        let is_plain = PLAIN[usize::from(*byte)] && !(*byte == b'.' && before == b'/');
        before = *byte;
        is_plain
    })
}

/// Slashes, and what stands for itself in a segment.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b','
                    | b';'
                    | b'='
                    | b':'
                    | b'@'
                    | b'/'
            );
        byte += 1;
    }
    table
};

/// Appends a segment in normal form.
pub(super) fn write(text: &str, normal: &mut String) -> Result<(), PathError> {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let (unit, _, after) = next(rest)?;
        rest = after;
        match unit {
            Unit::Plain(byte) => normal.push(char::from(byte)),
            Unit::Escaped(byte) => {
                normal.push('%');
                normal.push(upper_digit(byte >> 4));
                normal.push(upper_digit(byte & 0xf));
            }
        }
    }
    Ok(())
}

/// The first unit, how it is written, and the rest.
fn next(text: &[u8]) -> Result<(Unit, &[u8], &[u8]), PathError> {
    let (unit, length) = match text {
        [b'%', high, low, ..] => {
            let digits = digit(*high).zip(digit(*low)).ok_or(PathError::Escape)?;
            let byte = digits.0 << 4 | digits.1;
            match byte {
                0..0x20 | 0x7f => return Err(PathError::Control),
                byte if is_unreserved(byte) => (Unit::Plain(byte), 3),
                byte => (Unit::Escaped(byte), 3),
            }
        }
        [b'%', ..] => return Err(PathError::Escape),
        [b'#', ..] => return Err(PathError::Fragment),
        [b'\\', ..] => return Err(PathError::Backslash),
        [0..=b' ' | 0x7f, ..] => return Err(PathError::Control),
        [byte, ..] if is_unreserved(*byte) || is_reserved(*byte) => (Unit::Plain(*byte), 1),
        [byte, ..] => (Unit::Escaped(*byte), 1),
        [] => return Err(PathError::NotAbsolute),
    };
    let (raw, rest) = text.split_at(length);
    Ok((unit, raw, rest))
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What else a segment may have unescaped (RFC 3986 §3.3, `pchar`). Whether it is escaped makes a difference.
fn is_reserved(byte: u8) -> bool {
    b"!$&'()*+,;=:@".contains(&byte)
}

/// Whether two bytes begin a UTF-8 sequence that is longer than its character needs (RFC 3629 §3).
fn is_overlong(first: u8, second: u8) -> bool {
    matches!(
        (first, second),
        (0xc0 | 0xc1, 0x80..=0xbf) | (0xe0, 0x80..=0x9f) | (0xf0, 0x80..=0x8f)
    )
}

fn upper_digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).map_or('0', |digit| digit.to_ascii_uppercase())
}

// === impl Unit ===

impl Unit {
    /// Whether `raw` is how it is written in normal form.
    fn is_written(self, raw: &[u8]) -> bool {
        match self {
            Self::Plain(_) => raw.len() == 1,
            Self::Escaped(_) => raw.len() == 3 && !raw.iter().any(u8::is_ascii_lowercase),
        }
    }
}

// === impl Dots ===

impl Dots {
    fn new() -> Self {
        Self {
            length: 0,
            only: true,
        }
    }

    fn add(&mut self, unit: Unit) {
        self.length += 1;
        self.only &= unit == Unit::Plain(b'.');
    }

    fn kind(&self) -> Kind {
        match self.length {
            1 if self.only => Kind::Dot,
            2 if self.only => Kind::DotDot,
            _ => Kind::Name,
        }
    }
}
