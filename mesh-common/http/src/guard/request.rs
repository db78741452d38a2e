//! What is checked of an HTTP/2 request once its header block is decoded, and the library that decodes leaves alone
//! (RFC 9113 §8.2 and §8.3). Of HTTP/1 requests, the bytes themselves were checked.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::Scheme;
use http::{Method, Uri};

use super::Refusal;
use super::h1::is_authority;

#[cfg(test)]
mod tests;

const CONNECTION_FIELDS: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Checks the head of an HTTP/2 request with at most `max_fields` header fields.
pub fn check(request: &Parts, max_fields: usize) -> Result<(), Refusal> {
    let headers = &request.headers;
    if headers.len() > max_fields {
        return Err(Refusal::TooManyFields);
    }
    if CONNECTION_FIELDS.iter().any(|name| headers.contains_key(name)) {
        return Err(Refusal::ConnectionField);
    }
    if headers.get_all(TE).iter().any(|te| te != "trailers") {
        return Err(Refusal::Te);
    }
    if headers.values().any(|value| is_padded(value.as_bytes())) {
        return Err(Refusal::FieldValue);
    }
    target(&request.method, &request.uri)?;
    authority(&request.uri, headers)?;
    content_length(&request.method, headers)
}

/// Checks the trailer section of an HTTP/2 request or answer, or one that is to be sent in either.
pub fn check_trailers(trailers: &HeaderMap, max_fields: usize) -> Result<(), Refusal> {
    if trailers.len() > max_fields {
        return Err(Refusal::TrailersTooLarge);
    }
    let is_misplaced = |name: &HeaderName| super::h1::is_never_trailer(name.as_str().as_bytes());
    if trailers.keys().any(is_misplaced) {
        return Err(Refusal::Trailers);
    }
    Ok(())
}

fn target(method: &Method, uri: &Uri) -> Result<(), Refusal> {
    if method == Method::CONNECT {
        // With `:protocol`, it has a path too; whether that is asked for is known elsewhere.
        return match uri.authority() {
            Some(authority) if authority.port_u16().is_some() || uri.path_and_query().is_some() => Ok(()),
            _ => Err(Refusal::Target),
        };
    }
    let is_known = |scheme: &Scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS;
    if uri.scheme().is_some_and(|scheme| !is_known(scheme)) {
        return Err(Refusal::Target);
    }
    match uri.path() {
        "" => Err(Refusal::PseudoHeader),
        "*" if method == Method::OPTIONS => Ok(()),
        path if path.starts_with('/') => Ok(()),
        _ => Err(Refusal::Target),
    }
}

fn authority(uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().map(http::HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Refusal::HostTwice);
    }
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    if [host, authority]
        .into_iter()
        .flatten()
        .any(|text| !is_authority(text))
    {
        return Err(Refusal::Host);
    }
    match (authority, host) {
        (None, None) => Err(Refusal::HostMissing),
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => Err(Refusal::HostDiffers),
        _ => Ok(()),
    }
}

fn content_length(method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        return Ok(());
    };
    if lengths.next().is_some() {
        return Err(Refusal::ContentLengthTwice);
    }
    let length = super::h1::number(length.as_bytes()).ok_or(Refusal::ContentLength)?;
    if length > 0 && (*method == Method::CONNECT || *method == Method::TRACE) {
        return Err(Refusal::Content);
    }
    Ok(())
}

/// White space at either end, which HTTP/1 would lose (RFC 9113 §8.2.1).
fn is_padded(value: &[u8]) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_blank(value.first()) || is_blank(value.last())
}
