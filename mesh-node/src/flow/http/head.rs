//! Heads on their way through: a client's request in the form that the endpoint's protocol wants, and the answer back.

use std::net::SocketAddr;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Uri, Version};
use hyper::body::Body as _;
use mesh_http::headers;
use mesh_model::AppProtocol;

use crate::l7::client::RequestHead;
use crate::l7::outgoing::Outgoing;

/// What is spoken with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// What is spoken with the endpoints of a port: what it declares, else what the client speaks. An upgrade is HTTP/1.1's
/// (RFC 9110 §7.8), and so is CONNECT, whose tunnel wants a connection of its own.
pub(super) fn spoken(declared: AppProtocol, client: Version, is_tunnel: bool) -> Spoken {
    match declared {
        AppProtocol::Http2 | AppProtocol::Grpc if !is_tunnel => Spoken::Http2,
        AppProtocol::Undeclared | AppProtocol::Tcp | AppProtocol::Tls
            if !is_tunnel && client == Version::HTTP_2 =>
        {
            Spoken::Http2
        }
        _ => Spoken::Http1,
    }
}

/// Takes what is meant for the client's connection only out of the request, and gives it what every request in the mesh
/// has; without a host it is for the address that was `asked` for. Returns what it wants to upgrade to.
pub(super) fn prepare(request: &mut Parts, asked: SocketAddr) -> Option<HeaderValue> {
    let upgrade = if request.version == Version::HTTP_11 {
        headers::upgrade(&request.headers).cloned()
    } else {
        None
    };
    headers::align_host(request);
    // HTTP/1.0 needs no Host (RFC 1945 §5.2), and every later reader wants one.
    if headers::authority(request).is_none()
        && let Ok(host) = HeaderValue::try_from(asked.to_string())
    {
        request.headers.insert(HOST, host);
    }
    headers::strip_hop_by_hop(&mut request.headers);
    headers::sanitise_trace(&mut request.headers);
    headers::request_id(&mut request.headers, || fastrand::u128(..).to_ne_bytes());
    headers::forwarded_proto(&mut request.headers, "http");
    upgrade
}

/// The head of the request as an endpoint that speaks HTTP/1.1 gets it; `None` when it has no authority, or a target that
/// can't be written.
pub(super) fn http1(head: &Parts, upgrade: Option<&HeaderValue>, body: &Outgoing) -> Option<RequestHead> {
    let authority = headers::authority(head)?;
    let is_connect = head.method == Method::CONNECT;
    let target = match (is_connect, head.uri.path_and_query()) {
        (true, _) => authority,
        (false, Some(target)) => target.as_str(),
        (false, None) => "/",
    };
    let mut written = RequestHead::new(&head.method, target);
    let host = head
        .headers
        .get(HOST)
        .map_or(authority.as_bytes(), HeaderValue::as_bytes);
    written.field(&HOST, host);
    for (name, value) in &head.headers {
        if ![HOST, TE, TRANSFER_ENCODING].contains(name) {
            written.field(name, value.as_bytes());
        }
    }
    if let Some(upgrade) = upgrade {
        written.field(&CONNECTION, b"upgrade");
        written.field(&UPGRADE, upgrade.as_bytes());
    }
    if !is_connect && !body.is_end_stream() {
        match head.headers.get(CONTENT_LENGTH) {
            Some(length) => written.set_length(length.to_str().ok()?.parse().ok()?),
            None => written.set_chunked(head.headers.get(TRAILER)),
        }
    }
    Some(written)
}

/// The request as an endpoint that speaks HTTP/2 gets it; `None` as for [`http1`].
pub(super) fn http2(head: &Parts, body: Outgoing) -> Option<Request<Outgoing>> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = head.headers.clone();
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = http2_target(head, headers::authority(head)?)?;
    // `:authority` says it (RFC 9113 §8.3.1).
    request.headers_mut().remove(HOST);
    request.headers_mut().remove(TRANSFER_ENCODING);
    Some(request)
}

/// Takes what was meant for the endpoint's connection only out of an answer. Returns what was upgraded to.
pub(super) fn answer(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let upgrade = headers::upgrade(headers).cloned();
    // RFC 9112 §6.3: the coding frames the answer, whatever the length says.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    headers::strip_hop_by_hop(headers);
    headers.remove(TE);
    upgrade
}

/// Makes an answer's head one that grants an upgrade.
pub(super) fn grant(headers: &mut HeaderMap, upgrade: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, upgrade);
}

fn http2_target(head: &Parts, authority: &str) -> Option<Uri> {
    let authority: Authority = authority.parse().ok()?;
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    parts.path_and_query = Some(
        head.uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/")),
    );
    Uri::from_parts(parts).ok()
}
