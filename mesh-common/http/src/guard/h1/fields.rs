//! Header fields, one line each, as RFC 9110 §5 and RFC 9112 §5 want them.

use crate::guard::Refusal;

/// A field line: its name as it was written, its value without the white space around it.
pub(super) fn split(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if line.first().is_some_and(|byte| is_blank(*byte)) {
        return Err(Refusal::Fold);
    }
    // A name ends where no character of a token stands: at the colon, if it is one.
    let end = line.iter().position(|byte| !TOKEN[usize::from(*byte)]);
    match end.map(|end| line.split_at(end)) {
        Some((name @ [_, ..], [b':', value @ ..])) => Ok((name, trim(value))),
        _ if line.contains(&b':') => Err(Refusal::FieldName),
        _ => Err(Refusal::Colon),
    }
}

/// The elements of a list (RFC 9110 §5.6.1), which may be empty.
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim)
}

/// Without white space at both ends.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

/// Whether it is a token (RFC 9110 §5.6.2): not empty, and of certain characters only.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| TOKEN[usize::from(*byte)])
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};
