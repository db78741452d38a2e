//! HTTP/1.x, told from its request line (RFC 9112 §3).
//!
//! Other protocols begin with lines of text too, some with a method of HTTP: RTSP, SIP and ICAP (`OPTIONS rtsp://…
//! RTSP/1.0`), STOMP (`CONNECT` alone in its line), memcached (`get key`), Redis (`*1`). So a line with a registered
//! method is HTTP unless it names the version of something else, and a line with any other method is not unless it
//! names a version of HTTP.

use super::{Detected, Likely, MAX_LOOK};

/// Empty lines and blanks before the request line that are looked past. A server should ignore an empty line
/// (RFC 9112 §2.2), and some ignore blanks.
const MAX_BLANKS: usize = 16;
/// The longest method of HTTP's registry has 17 bytes (UPDATEREDIRECTREF).
const MAX_METHOD: usize = 32;
/// A line with a method that nobody registered is no request line when it is longer.
const MAX_LINE: usize = 8 * 1024;

/// The methods of IANA's registry, PRI apart, which HTTP/2's preface reserves.
pub(super) const METHODS: [&str; 39] = [
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "OPTIONS",
    "ORDERPATCH",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "TRACE",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

/// The part of a line that has arrived.
struct Line<'a> {
    method: &'a [u8],
    /// What follows the method, with the blank after it; empty when nothing has arrived yet.
    rest: &'a [u8],
}

/// Tells whether it is HTTP/1.
pub(super) fn detect(bytes: &[u8]) -> Detected {
    let Some(line) = split(bytes) else {
        return Detected::Opaque;
    };
    if line.method.len() > MAX_METHOD {
        return Detected::Opaque;
    }
    match line.rest.first() {
        None => Detected::NeedMore,
        // A word alone in its line is no request line.
        Some(byte) if *byte == b'\r' || !is_blank(*byte) => Detected::Opaque,
        Some(_) if is_registered(line.method) => registered(line.rest, bytes.len()),
        Some(_) => unregistered(line.rest),
    }
}

/// What an undecided line is likely to become.
pub(super) fn likely(bytes: &[u8]) -> Likely {
    match split(bytes) {
        Some(line) if line.method.is_empty() => Likely::Anything,
        Some(line) if line.rest.is_empty() => {
            let is_begun = METHODS
                .iter()
                .any(|method| method.as_bytes().starts_with(line.method));
            if is_begun {
                Likely::Method
            } else {
                Likely::Anything
            }
        }
        Some(line) if is_registered(line.method) => Likely::Request,
        _ => Likely::Anything,
    }
}

/// The first line; `None` when it doesn't begin with what may be a method.
fn split(bytes: &[u8]) -> Option<Line<'_>> {
    let blanks = bytes
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
        .count();
    if blanks > MAX_BLANKS {
        return None;
    }
    let line = &bytes[blanks..];
    let length = line.iter().take_while(|byte| is_token(**byte)).count();
    let (method, rest) = line.split_at(length);
    let is_cut_off = method.is_empty() && !rest.is_empty();
    (!is_cut_off).then_some(Line { method, rest })
}

/// After a registered method: HTTP, unless the line ends with the version of something else.
fn registered(rest: &[u8], looked_at: usize) -> Detected {
    let target = rest.iter().find(|byte| !is_blank(**byte));
    if target == Some(&b'/') {
        return Detected::Http1;
    }
    match complete(rest) {
        Some(line) if names_another_protocol(line) => Detected::Opaque,
        None if looked_at < MAX_LOOK => Detected::NeedMore,
        _ => Detected::Http1,
    }
}

/// After any other method: not HTTP, unless the line names a version of HTTP.
fn unregistered(rest: &[u8]) -> Detected {
    let is_text = |byte: &u8| is_blank(*byte) || *byte > b' ' && *byte != 0x7f;
    let length = rest
        .iter()
        .take(MAX_LINE)
        .take_while(|byte| is_text(byte))
        .count();
    if names_http(&rest[..length]) {
        Detected::Http1
    } else if length < rest.len() {
        // The line's end, or what is in no line of text, or too long.
        Detected::Opaque
    } else {
        Detected::NeedMore
    }
}

/// The line without its end, once that has arrived.
fn complete(rest: &[u8]) -> Option<&[u8]> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    Some(&rest[..end])
}

/// Whether a word of the line begins with `HTTP/` and a digit, as in all of HTTP's versions. Anywhere, for a target
/// with a space in it is malformed and HTTP all the same.
fn names_http(line: &[u8]) -> bool {
    line.windows(7).any(|part| {
        is_blank(part[0]) && part[1..6].eq_ignore_ascii_case(b"HTTP/") && part[6].is_ascii_digit()
    })
}

/// Whether the line's last word is a name, a slash and a digit, and the name is not HTTP's.
fn names_another_protocol(line: &[u8]) -> bool {
    let Some(word) = line.split(|byte| is_blank(*byte)).rfind(|word| !word.is_empty()) else {
        return false;
    };
    let Some(slash) = word.iter().position(|byte| *byte == b'/') else {
        return false;
    };
    let (name, version) = (&word[..slash], &word[slash + 1..]);
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_uppercase);
    let is_version = version.first().is_some_and(u8::is_ascii_digit);
    is_name && is_version && name != b"HTTP"
}

fn is_registered(method: &[u8]) -> bool {
    METHODS
        .binary_search_by(|registered| registered.as_bytes().cmp(method))
        .is_ok()
}

/// What lenient servers take for the space between the words of a request line (RFC 9112 §3).
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | b'\r')
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
