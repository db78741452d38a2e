//! Headers that belong to one hop, and those that follow a request through the mesh.
//!
//! The mesh is no host that clients address, so it leaves alone what a proxy of that kind would add: `x-forwarded-for`
//! stays as it is, as Istio's sidecars leave it, and there is no `via`. What the mesh adds itself, it adds only
//! where nobody in front of it did.

mod present;
mod trace;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::Ipv6Addr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Uri};

use crate::query;

use present::Present;
pub use trace::{TraceId, sanitise_trace, trace_id};

/// Ties log lines of one request together.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// How the first client spoke: `http` or `https`.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What is for one hop even where Connection does not name it (RFC 9110 §7.6.1; Proxy-Connection and Keep-Alive by custom,
/// HTTP2-Settings by RFC 7540 §3.2.1).
const HOP_BY_HOP: [(HeaderName, Present); 6] = [
    (CONNECTION, Present::CONNECTION),
    (TRANSFER_ENCODING, Present::TRANSFER_ENCODING),
    (UPGRADE, Present::UPGRADE),
    (HeaderName::from_static("keep-alive"), Present::KEEP_ALIVE),
    (
        HeaderName::from_static("proxy-connection"),
        Present::PROXY_CONNECTION,
    ),
    (HeaderName::from_static("http2-settings"), Present::HTTP2_SETTINGS),
];
/// What Connection may not take away: without it the message would be another one.
const NEVER_NOMINATED: [HeaderName; 2] = [HOST, CONTENT_LENGTH];
/// Longest request ID that is taken over, in bytes; a UUID has 36.
const MAX_REQUEST_ID: usize = 128;

/// Removes what is meant for one hop only, the headers that Connection names included (RFC 9110 §7.6.1). `te: trailers`
/// stays, for gRPC wants it. Call it before routing, so that no rule sees a header that the backend will not, and
/// ask [`upgrade`] first.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let present = Present::of(headers);
    if !present.has(Present::HOP_BY_HOP) {
        return;
    }
    let wants_trailers = present.has(Present::TE) && has_token(headers, &TE, "trailers");
    if present.has(Present::CONNECTION) {
        let nominated: Vec<HeaderName> = tokens(headers, &CONNECTION)
            // Which goes anyway.
            .filter(|token| !token.eq_ignore_ascii_case("keep-alive"))
            .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
            .filter(|name| !NEVER_NOMINATED.contains(name))
            .collect();
        for name in nominated {
            headers.remove(name);
        }
    }
    for (name, kind) in &HOP_BY_HOP {
        if present.has(*kind) {
            headers.remove(name);
        }
    }
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    } else if present.has(Present::TE) {
        headers.remove(TE);
    }
}

/// What an HTTP/1.1 message wants to upgrade to: named by Connection, in one line. `h2c` is none: the mesh finds HTTP/2 out
/// by itself, and a tunnel of that kind would go past every rule.
pub fn upgrade(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut lines = headers.get_all(UPGRADE).iter();
    let protocol = lines.next()?;
    let is_one = lines.next().is_none()
        && tokens(headers, &UPGRADE).next().is_some()
        && !tokens(headers, &UPGRADE).any(|token| token.eq_ignore_ascii_case("h2c"));
    (is_one && has_token(headers, &CONNECTION, "upgrade")).then_some(protocol)
}

/// Gives the request one `x-request-id`: its own if that is usable, else a UUID of version 4 made of `fresh` random bytes
/// (RFC 9562 §5.4).
pub fn request_id(headers: &mut HeaderMap, fresh: impl FnOnce() -> [u8; 16]) {
    let mut lines = headers.get_all(X_REQUEST_ID).iter();
    let first = lines.next().filter(|id| is_request_id(id));
    match (first, lines.next()) {
        (Some(_), None) => {}
        (Some(first), Some(_)) => {
            let first = first.clone();
            headers.insert(X_REQUEST_ID, first);
        }
        (None, _) => {
            headers.insert(X_REQUEST_ID, uuid(fresh()));
        }
    }
}

/// Makes one field of several Cookie fields: HTTP/2 may split them, HTTP/1.1 has one (RFC 9113 §8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let pieces: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    // Of valid values and "; ", a valid one is made.
    if let Ok(joined) = HeaderValue::from_bytes(&pieces.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// A cookie's value, as it stands; the first one, if there are several of the name.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.split_once('='))
        .find(|(found, _)| found.trim() == name)
        .map(|(_, value)| value.trim())
}

/// The first value of a query parameter, decoded; empty for a parameter without a value.
pub fn query<'a>(uri: &'a Uri, name: &str) -> Option<Cow<'a, str>> {
    query::first(uri.query()?, name).map(query::text)
}

/// Whether a message is gRPC's, by its content type (`application/grpc`, or with `+proto` and the like); gRPC-Web is not.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let Some(value) = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) else {
        return false;
    };
    value.split_at_checked(GRPC.len()).is_some_and(|(kind, rest)| {
        kind.eq_ignore_ascii_case(GRPC) && matches!(rest, [] | [b'+' | b';' | b' ', ..])
    })
}

/// `grpc-status`, of an answer's head or trailers.
pub fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.trim().parse().ok()
}

/// Host and port that a request is for: of its target if this has them, else of Host (RFC 9112 §3.2.2).
pub fn authority(request: &Parts) -> Option<&str> {
    match request.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => request.headers.get(HOST)?.to_str().ok(),
    }
}

/// Makes Host say what the target says, where the target has a host: the same request for everybody (RFC 9112 §3.2.2).
/// HTTP/2's requests without Host get none.
pub fn align_host(request: &mut Parts) {
    let Some(authority) = request.uri.authority() else {
        return;
    };
    let mut lines = request.headers.get_all(HOST).iter();
    let (first, more) = (lines.next(), lines.next());
    let is_aligned = first.is_none_or(|host| host == authority.as_str()) && more.is_none();
    if !is_aligned && let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        request.headers.insert(HOST, host);
    }
}

/// Says how the client spoke, `http` or `https`, unless somebody in front of it said so already.
pub fn forwarded_proto(headers: &mut HeaderMap, scheme: &'static str) {
    headers
        .entry(X_FORWARDED_PROTO)
        .or_insert(HeaderValue::from_static(scheme));
}

/// The host that a request is for, without a port; an IPv6 address in brackets. `None` where there is no valid one.
pub(crate) fn host(request: &Parts) -> Option<&str> {
    let authority = authority(request)?;
    let end = match authority.strip_prefix('[') {
        Some(address) => address.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let is_port = |port: &str| port.is_empty() || port.parse::<u16>().is_ok();
    let is_whole = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    (is_whole && is_host(host)).then_some(host)
}

/// Whether a text is a host that a URL can have, and nothing besides: a name, or an IPv6 address in brackets.
pub(crate) fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[') {
        let address = address.strip_suffix(']');
        return address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let is_named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    !text.is_empty() && text.bytes().all(is_named)
}

/// The elements of a header that is a list, without parameters or quotes (RFC 9110 §5.6.1).
pub(crate) fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|element| element.trim_matches([' ', '\t']))
        .filter(|element| !element.is_empty())
}

/// Whether a list has an element, of any case.
pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

/// Printable, without spaces, and not too long: it goes into log lines as it is.
fn is_request_id(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    (1..=MAX_REQUEST_ID).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

/// A UUID of version 4, in its text form. There is none like it, so HTTP/2 is told not to keep it for later requests: it would
/// take the place of what does come again (RFC 7541 §6.2.3).
fn uuid(mut random: [u8; 16]) -> HeaderValue {
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    let digits = query::lower_digits(random);
    let (digits, _) = digits.as_chunks::<4>();
    let mut text = [b'-'; 36];
    // Groups of 8, 4, 4, 4 and 12 digits.
    for (part, at) in digits.iter().zip([0, 4, 9, 14, 19, 24, 28, 32]) {
        text[at..at + 4].copy_from_slice(part);
    }
    let mut value = HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("-"));
    value.set_sensitive(true);
    value
}
