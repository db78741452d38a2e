//! Trace context: W3C's `traceparent` and `tracestate`, and B3's headers.
//!
//! The mesh makes no spans of its own, so it hands on what it gets, unchanged; it reads the trace's ID for its records. What
//! is broken is taken away: a recipient would start a new trace anyway, and another might read it differently.

use std::fmt;

use http::{HeaderMap, HeaderName};

use super::Present;
use crate::query::{digit, lower_digits};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");
/// B3's form of many headers.
pub(super) const B3_MULTI: [HeaderName; 5] =
    [B3_TRACE_ID, B3_SPAN_ID, B3_PARENT_SPAN_ID, B3_SAMPLED, B3_FLAGS];
/// Most members of `tracestate` (Trace Context §3.3.1.1).
const MAX_MEMBERS: usize = 32;

/// A trace's ID: 16 bytes, not all zero. Displayed as 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

// === impl TraceId ===

impl TraceId {
    /// Of 32 hexadecimal digits, or 16, which are B3's short form and mean the lower half.
    fn parse(digits: &[u8]) -> Option<Self> {
        let mut bytes = [0; 16];
        let half = match digits.len() {
            32 => bytes.as_mut_slice(),
            16 => bytes.split_at_mut(8).1,
            _ => return None,
        };
        for (byte, pair) in half.iter_mut().zip(digits.as_chunks::<2>().0) {
            let [high, low] = pair;
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// As it is displayed, in `digits`.
    pub fn text(self, digits: &mut [u8; 32]) -> &str {
        *digits = lower_digits(self.0);
        // They are ASCII.
        std::str::from_utf8(digits).unwrap_or_default()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; 32]))
    }
}

/// The trace that a request belongs to, by `traceparent`, else by B3's headers.
pub fn trace_id(headers: &HeaderMap) -> Option<TraceId> {
    only(headers, &TRACEPARENT)
        .and_then(traceparent)
        .or_else(|| only(headers, &B3).and_then(b3_single).flatten())
        .or_else(|| TraceId::parse(only(headers, &B3_TRACE_ID)?.as_bytes()))
}

/// Removes trace headers that are broken: `traceparent` with its `tracestate` (Trace Context §4.3), a `tracestate` by itself,
/// B3's single header, B3's other headers together.
pub fn sanitise_trace(headers: &mut HeaderMap) {
    let present = Present::of(headers);
    let has_parent = present.has(Present::TRACEPARENT);
    if has_parent && only(headers, &TRACEPARENT).and_then(traceparent).is_none() {
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
    } else if present.has(Present::TRACESTATE) && !(has_parent && is_tracestate(headers)) {
        headers.remove(TRACESTATE);
    }
    if present.has(Present::B3) && only(headers, &B3).and_then(b3_single).is_none() {
        headers.remove(B3);
    }
    if present.has(Present::B3_MULTI) && !is_b3_multi(headers) {
        for name in &B3_MULTI {
            headers.remove(name);
        }
    }
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?;
    lines.next().is_none().then(|| line.to_str().ok()).flatten()
}

/// `version-traceid-parentid-flags` (Trace Context §3.2). A later version may have more behind.
fn traceparent(value: &str) -> Option<TraceId> {
    const LENGTH: usize = 55;
    let (fields, more) = value.as_bytes().split_at_checked(LENGTH)?;
    let (version, rest) = fields.split_at(2);
    let (trace, rest) = rest.split_at(33);
    let (parent, flags) = rest.split_at(17);
    let ([b'-', trace @ ..], [b'-', parent @ ..], [b'-', flags @ ..]) = (trace, parent, flags) else {
        return None;
    };
    let is_later = version != b"00" && more.first() == Some(&b'-');
    let is_whole = is_lower_hex(version)
        && version != b"ff"
        && is_lower_hex(parent)
        && parent.iter().any(|digit| *digit != b'0')
        && is_lower_hex(flags)
        && (more.is_empty() || is_later);
    if !is_whole || !is_lower_hex(trace) {
        return None;
    }
    TraceId::parse(trace)
}

/// A list of `key=value`, its keys unlike each other (Trace Context §3.3).
fn is_tracestate(headers: &HeaderMap) -> bool {
    let lines = || headers.get_all(TRACESTATE).iter();
    let members = || {
        let lines = lines().filter_map(|line| line.to_str().ok());
        lines
            .flat_map(|line| line.split(','))
            .map(|member| member.trim_matches([' ', '\t']))
            .filter(|member| !member.is_empty())
    };
    let has_twice = |at: usize, key: &str| {
        members()
            .take(at)
            .any(|other| other.split_once('=').is_some_and(|(other, _)| other == key))
    };
    lines().all(|line| line.to_str().is_ok())
        && members().count() <= MAX_MEMBERS
        && members().enumerate().all(|(at, member)| {
            member
                .split_once('=')
                .is_some_and(|(key, value)| is_key(key) && is_value(value) && !has_twice(at, key))
        })
}

fn is_key(key: &str) -> bool {
    let is_inner = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@')
    };
    (1..=256).contains(&key.len())
        && key.bytes().all(is_inner)
        && key.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
}

fn is_value(value: &str) -> bool {
    (1..=256).contains(&value.len())
        && value
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~') && byte != b'=')
}

/// B3's single header: `traceid-spanid[-sampled[-parentspanid]]`, or the decision alone; the trace, if it names one.
#[expect(
    clippy::option_option,
    reason = "outside: whether it is valid; inside: whether it names a trace"
)]
fn b3_single(value: &str) -> Option<Option<TraceId>> {
    let is_decision = |field: &str| matches!(field, "0" | "1" | "d");
    if is_decision(value) {
        return Some(None);
    }
    let mut fields = value.split('-');
    let trace = TraceId::parse(fields.next()?.as_bytes())?;
    let span = fields.next()?;
    let sampled = fields.next().unwrap_or("0");
    let parent = fields.next();
    let is_whole =
        is_span(span) && is_decision(sampled) && parent.is_none_or(is_span) && fields.next().is_none();
    is_whole.then_some(Some(trace))
}

/// B3's other form: the trace's and the span's ID together, or neither, and a decision.
fn is_b3_multi(headers: &HeaderMap) -> bool {
    let is_fine = |name: &HeaderName, check: fn(&str) -> bool| {
        !headers.contains_key(name) || only(headers, name).is_some_and(check)
    };
    is_fine(&B3_TRACE_ID, |value| TraceId::parse(value.as_bytes()).is_some())
        && is_fine(&B3_SPAN_ID, is_span)
        && is_fine(&B3_PARENT_SPAN_ID, is_span)
        && is_fine(&B3_SAMPLED, |value| matches!(value, "0" | "1" | "true" | "false"))
        && is_fine(&B3_FLAGS, |value| matches!(value, "0" | "1"))
        && headers.contains_key(B3_TRACE_ID) == headers.contains_key(B3_SPAN_ID)
        && (headers.contains_key(B3_TRACE_ID) || !headers.contains_key(B3_PARENT_SPAN_ID))
}

fn is_span(field: &str) -> bool {
    field.len() == 16
        && field.bytes().all(|byte| byte.is_ascii_hexdigit())
        && field.bytes().any(|digit| digit != b'0')
}

fn is_lower_hex(field: &[u8]) -> bool {
    field
        .iter()
        .fold(true, |all, byte| all & matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
