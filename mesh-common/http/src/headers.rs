//! Headers that belong to one hop, and those that follow a request through the mesh.

use std::borrow::Cow;
use std::fmt;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Uri};

/// A trace's ID: 16 bytes, not all zero. Displayed as 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Removes what is meant for one hop only, the headers that Connection names included (RFC 9110 §7.6.1). `te: trailers`
/// stays. Call it before routing, so that no rule sees a header that the backend will not; ask [`upgrade`] first.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    headers.remove(http::header::CONNECTION);
}

/// What an HTTP/1.1 request or answer wants to upgrade to; `None` without a valid upgrade.
pub fn upgrade(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(http::header::UPGRADE)
}

/// Gives the request an `x-request-id`, a UUID made of `fresh` random bytes, unless it has a usable one.
pub fn request_id(headers: &mut HeaderMap, fresh: impl FnOnce() -> [u8; 16]) {
    let _ = (headers, fresh());
}

/// Removes trace headers that are broken, so that nobody behind reads them as something else.
pub fn sanitise_trace(headers: &mut HeaderMap) {
    let _ = headers;
}

/// The trace that a request belongs to, by `traceparent` or B3's headers.
pub fn trace_id(headers: &HeaderMap) -> Option<TraceId> {
    let _ = headers;
    None
}

/// A cookie's value.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let _ = (headers, name);
    None
}

/// The first value of a query parameter, decoded.
pub fn query<'a>(uri: &'a Uri, name: &str) -> Option<Cow<'a, str>> {
    let _ = (uri, name);
    None
}

/// Whether a message is gRPC's, by its content type; gRPC-Web is not.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let _ = headers;
    false
}

/// `grpc-status`, of an answer's head or trailers.
pub fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    let _ = headers;
    None
}

/// Host and port that a request is for: of its target if this has them, else of Host (RFC 9112 §3.2.2).
pub fn authority(request: &Parts) -> Option<&str> {
    request.uri.authority().map(http::uri::Authority::as_str)
}

/// Makes Host say what the target says, where the target has a host (RFC 9112 §3.2.2).
pub fn align_host(request: &mut Parts) {
    let _ = request;
}

/// Says how the client spoke, `http` or `https`, unless somebody in front of it said so already.
pub fn forwarded_proto(headers: &mut HeaderMap, scheme: &'static str) {
    let _ = (headers, scheme);
}
