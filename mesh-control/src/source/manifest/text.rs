//! Forms of text that Gateway API's types prescribe, as pure functions.

use std::time::Duration;

/// Longest subdomain (RFC 1123; Gateway API: Hostname, SectionName, Group).
const MAX_SUBDOMAIN: usize = 253;
/// Longest name of a header or query parameter (Gateway API, HeaderName).
const MAX_HEADER_NAME: usize = 256;
/// Longest kind (Gateway API, Kind).
const MAX_KIND: usize = 63;
/// Parts of a duration, and digits of a part (GEP-2257).
const MAX_PARTS: usize = 4;
const MAX_DIGITS: usize = 5;

/// A duration as Gateway API has it: up to four whole numbers of up to five digits, each with `h`, `m`, `s` or `ms`
/// behind it (GEP-2257).
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    for _ in 0..MAX_PARTS {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=MAX_DIGITS).contains(&digits) {
            return None;
        }
        let (number, behind) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let (part, unit) = if behind.starts_with("ms") {
            (Duration::from_millis(number), 2)
        } else if behind.starts_with('s') {
            (Duration::from_secs(number), 1)
        } else if behind.starts_with('m') {
            (Duration::from_secs(number * 60), 1)
        } else if behind.starts_with('h') {
            (Duration::from_secs(number * 3600), 1)
        } else {
            return None;
        };
        total += part;
        rest = behind.get(unit..)?;
        if rest.is_empty() {
            return Some(total);
        }
    }
    None
}

/// A name of RFC 1123: labels of lower-case letters, digits and '-', joined by dots.
pub(super) fn is_subdomain(text: &str) -> bool {
    let is_alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(is_alphanumeric)
            && bytes.last().is_some_and(is_alphanumeric)
            && bytes.iter().all(|byte| is_alphanumeric(byte) || *byte == b'-')
    };
    text.len() <= MAX_SUBDOMAIN && text.split('.').all(is_label)
}

/// The name of a header or query parameter: a token (RFC 9110 §5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    let is_token_char = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.len() <= MAX_HEADER_NAME && text.bytes().all(is_token_char)
}

/// The value of a header: printable, with spaces and tabs within only (RFC 9110 §5.5).
pub(super) fn is_header_value(text: &str) -> bool {
    text.trim_matches([' ', '\t']) == text
        && text
            .bytes()
            .all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte))
}

/// The name of a kind.
pub(super) fn is_kind(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= MAX_KIND
        && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

/// What a path consists of (RFC 3986 §3.3): no query, no fragment, no broken escape.
pub(super) fn is_path(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let is_good = match byte {
            b'%' => {
                let mut is_digit = || bytes.next().is_some_and(|digit| digit.is_ascii_hexdigit());
                is_digit() && is_digit()
            }
            byte => byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(&byte),
        };
        if !is_good {
            return false;
        }
    }
    true
}

/// The name of a gRPC service: parts of letters, digits and '_' joined by dots, none beginning with a digit.
pub(super) fn is_grpc_service(text: &str) -> bool {
    text.strip_prefix('.')
        .unwrap_or(text)
        .split('.')
        .all(is_grpc_method)
}

/// The name of a gRPC method.
pub(super) fn is_grpc_method(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|byte| !byte.is_ascii_digit())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        for (text, millis) in [
            ("0s", 0),
            ("0ms", 0),
            ("1h", 3_600_000),
            ("1m30s", 90_000),
            ("250ms", 250),
            ("1h1m1s1ms", 3_661_001),
            ("10s10s", 20_000),
            ("99999h", 359_996_400_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "1",
            "s",
            "1.5s",
            "-1s",
            "+1s",
            "1 s",
            "1S",
            "1us",
            "100000s",
            "1s1s1s1s1s",
            "1d",
            "1s ",
            "ü",
            "1ü",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn tells_paths() {
        for text in ["/", "", "/a%2e", "/v1/-._~!$&'()*+,;=:@"] {
            assert!(is_path(text), "{text}");
        }
        for text in [
            "/a?b", "/a#b", "/%", "/%2", "/%2x", "/a b", "/ä", "/{id}", "/a\r\n",
        ] {
            assert!(!is_path(text), "{text}");
        }
    }

    #[test]
    fn tells_grpc_names() {
        for text in ["foo", "foo.Bar", ".foo.v1", "_a.b2"] {
            assert!(is_grpc_service(text), "{text}");
        }
        for text in ["", ".", "a..b", "1a", "a.1b", "a/b", "a-b"] {
            assert!(!is_grpc_service(text), "{text}");
        }
        assert!(is_grpc_method("Get_1") && !is_grpc_method("1Get") && !is_grpc_method("a.b"));
    }

    #[test]
    fn tells_header_values() {
        assert!(is_header_value("a b\tc, d") && is_header_value("~"));
        assert!(
            !is_header_value(" a")
                && !is_header_value("a\t")
                && !is_header_value("a\nb")
                && !is_header_value("ä")
        );
    }
}
