//! Query strings as names and values, without copying what need not be copied.
//!
//! They are read as HTML's forms write them, which is how nearly all servers read them: `&` separates, `+` is a space. An
//! escape that is none stands for itself. What is sent on is never changed.

use std::borrow::Cow;

/// The first value of a parameter, not decoded; empty for a parameter without `=`. Names are compared decoded.
pub(crate) fn first<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(found, _)| *found == name || decoded(found).eq(name.bytes()))
        .map(|(_, value)| value)
}

/// The bytes that a name or value stands for.
pub(crate) fn decoded(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (byte, length) = match rest {
            [] => return None,
            [b'%', high, low, ..] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (b'%', 1),
            },
            [b'+', ..] => (b' ', 1),
            [byte, ..] => (*byte, 1),
        };
        rest = rest.get(length..).unwrap_or_default();
        Some(byte)
    })
}

/// What a name or value stands for; bytes that are no UTF-8 become U+FFFD.
pub(crate) fn text(raw: &str) -> Cow<'_, str> {
    if is_plain(raw) {
        return Cow::Borrowed(raw);
    }
    let bytes: Vec<u8> = decoded(raw).collect();
    Cow::Owned(
        String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

/// Whether a name or value stands for itself.
pub(crate) fn is_plain(raw: &str) -> bool {
    !raw.bytes().any(|byte| matches!(byte, b'%' | b'+'))
}

/// The value of a hexadecimal digit.
pub(crate) fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The bytes in hexadecimal.
pub(crate) fn lower_digits(bytes: [u8; 16]) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 32];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_counts() {
        assert_eq!(first("animal=whale&animal=dolphin", "animal"), Some("whale"));
        assert_eq!(first("&&b=1&a=2=3&a", "a"), Some("2=3"));
        assert_eq!(first("flag&x", "flag"), Some(""));
        for query in ["", "b=1", "A=1", "=a", "ba=1"] {
            assert_eq!(first(query, "a"), None, "{query}");
        }
    }

    #[test]
    fn names_and_values_are_decoded() {
        assert_eq!(first("%61nimal=1", "animal"), Some("1"));
        assert_eq!(first("a+b=1", "a b"), Some("1"));
        assert_eq!(text("a%20b+c%C3%A9"), "a b cé");
        assert_eq!(text("100%&%4"), "100%&%4");
        assert_eq!(text("%zz%ff"), "%zz\u{fffd}");
        assert!(matches!(text("plain"), Cow::Borrowed("plain")));
    }
}
