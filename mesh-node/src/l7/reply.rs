//! Answers that the proxy makes itself, in the words of the client: an HTTP status with a JSON body, or a gRPC status.
//!
//! Each names its cause in `x-mesh-error`, so that nobody takes it for the backend's.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use mesh_http::guard::Refusal;

use super::body::Body;
use crate::outcome::Flag;

/// Names the cause of an answer that the proxy made: the flag's code, a space, and words.
pub const ERROR_HEADER: HeaderName = HeaderName::from_static("x-mesh-error");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Marks the proxy's own answers.
#[derive(Debug, Clone, Copy)]
struct Own;

/// What the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// HTTP.
    Http,
    /// gRPC over HTTP/2.
    Grpc,
}

/// An answer of the proxy. `detail` is for people: a sentence without secrets.
pub fn reply(client: Client, status: StatusCode, flag: Flag, detail: &str) -> Response<Body> {
    match client {
        Client::Http => http(status, flag, detail),
        Client::Grpc => grpc(grpc_status(status, flag), flag, detail),
    }
}

/// An answer with a gRPC status of its own (an injected fault).
pub fn grpc(status: u32, flag: Flag, detail: &str) -> Response<Body> {
    // Trailers-Only: status and message in the one block of headers there is (gRPC over HTTP/2, "Responses").
    let mut answer = answer(StatusCode::OK, flag, detail, Body::empty());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert(GRPC_STATUS, HeaderValue::from(status));
    headers.insert(GRPC_MESSAGE, value(&percent_encoded(detail)));
    answer
}

/// To a request that is refused: for its head, or when its content has come to what is refused.
pub(super) fn refused(refusal: Refusal) -> Response<Body> {
    let status = refusal.status().unwrap_or(StatusCode::BAD_REQUEST);
    reply(Client::Http, status, flag(refusal), refusal.detail())
}

/// The same for HTTP/1 as it is sent, with which the connection ends: for a client whose bytes never became a request.
pub(super) fn last(refusal: Refusal, status: StatusCode) -> Bytes {
    let (flag, detail) = (flag(refusal), refusal.detail());
    let answer = http(status, flag, detail);
    let mut bytes = format!("HTTP/1.1 {status}\r\nconnection: close\r\n").into_bytes();
    for (name, value) in answer.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    let body = json(status, flag, detail);
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
    bytes.into()
}

fn flag(refusal: Refusal) -> Flag {
    match refusal {
        Refusal::Slow => Flag::StreamIdleTimeout,
        _ => Flag::DownstreamProtocolError,
    }
}

fn http(status: StatusCode, flag: Flag, detail: &str) -> Response<Body> {
    let body = Body::full(json(status, flag, detail));
    let mut answer = answer(status, flag, detail, body);
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    answer
}

fn json(status: StatusCode, flag: Flag, detail: &str) -> String {
    let body = serde_json::json!({ "status": status.as_u16(), "flag": flag.code(), "detail": detail });
    format!("{body}\n")
}

fn answer(status: StatusCode, flag: Flag, detail: &str, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let cause = value(&format!("{} {detail}", flag.code()));
    answer.headers_mut().insert(ERROR_HEADER, cause);
    answer.extensions_mut().insert(Own);
    answer
}

/// Takes from an answer what only the proxy's own may have.
pub(super) fn disown(answer: &mut Response<Body>) {
    if answer.extensions_mut().remove::<Own>().is_none() {
        answer.headers_mut().remove(ERROR_HEADER);
    }
}

/// The gRPC status for an HTTP one: gRPC's own table ("HTTP to gRPC Status Code Mapping"), but where the cause says more.
fn grpc_status(status: StatusCode, flag: Flag) -> u32 {
    const UNKNOWN: u32 = 2;
    const DEADLINE_EXCEEDED: u32 = 4;
    const PERMISSION_DENIED: u32 = 7;
    const RESOURCE_EXHAUSTED: u32 = 8;
    const UNIMPLEMENTED: u32 = 12;
    const INTERNAL: u32 = 13;
    const UNAVAILABLE: u32 = 14;
    const UNAUTHENTICATED: u32 = 16;
    match (flag, status.as_u16()) {
        (Flag::UpstreamRequestTimeout | Flag::StreamIdleTimeout, _) => DEADLINE_EXCEEDED,
        (Flag::RateLimited, _) => RESOURCE_EXHAUSTED,
        // A backend that is not there is a backend that may come (Gateway API, GRPCRoute, backendRefs).
        (Flag::NoBackend, _) | (_, 429 | 502..=504) => UNAVAILABLE,
        (_, 400 | 431) => INTERNAL,
        (_, 401) => UNAUTHENTICATED,
        (_, 403) => PERMISSION_DENIED,
        (_, 404) => UNIMPLEMENTED,
        _ => UNKNOWN,
    }
}

/// As a header's value; what can't stand in one is replaced.
fn value(text: &str) -> HeaderValue {
    let text: String = text
        .chars()
        .map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' })
        .collect();
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("?"))
}

/// Percent-encoded as gRPC wants messages: all but printable ASCII, and `%` itself.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte == b' ' || (byte.is_ascii_graphic() && byte != b'%') {
            encoded.push(char::from(byte));
        } else {
            for part in [b'%', hex(byte >> 4), hex(byte & 0xf)] {
                encoded.push(char::from(part));
            }
        }
    }
    encoded
}

/// A digit of base 16.
fn hex(digit: u8) -> u8 {
    match digit {
        0..=9 => b'0' + digit,
        _ => b'A' - 10 + digit,
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn http_clients_get_json() {
        let answer = reply(
            Client::Http,
            StatusCode::NOT_FOUND,
            Flag::NoRoute,
            "no rule \"a\"\r\nX: b",
        );
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.headers()[ERROR_HEADER], "NR no rule \"a\"??X: b");
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let wanted = serde_json::json!({ "status": 404, "flag": "NR", "detail": "no rule \"a\"\r\nX: b" });
        assert_eq!(body, wanted);
    }

    #[test]
    fn grpc_clients_get_a_status() {
        let status = |status, flag| {
            let answer = reply(
                Client::Grpc,
                StatusCode::from_u16(status).unwrap(),
                flag,
                "50 % \u{e4}",
            );
            assert_eq!(
                (
                    answer.status().as_u16(),
                    answer.headers()[CONTENT_TYPE].as_bytes()
                ),
                (200, &b"application/grpc"[..])
            );
            assert_eq!(answer.headers()[GRPC_MESSAGE], "50 %25 %C3%A4");
            assert!(hyper::body::Body::is_end_stream(answer.body()));
            answer.headers()[GRPC_STATUS]
                .to_str()
                .unwrap()
                .parse::<u32>()
                .unwrap()
        };
        assert_eq!(status(404, Flag::NoRoute), 12);
        assert_eq!(status(500, Flag::NoBackend), 14);
        assert_eq!(status(503, Flag::NoHealthyUpstream), 14);
        assert_eq!(status(504, Flag::UpstreamRequestTimeout), 4);
        assert_eq!(status(504, Flag::UpstreamConnectionFailure), 14);
        assert_eq!(status(429, Flag::RateLimited), 8);
        assert_eq!(status(400, Flag::DownstreamProtocolError), 13);
        assert_eq!(status(418, Flag::FaultInjected), 2);
        let own = grpc(16, Flag::FaultInjected, "no");
        assert_eq!(own.headers()[GRPC_STATUS], "16");
    }
}
