//! The headers of a CONNECT request. They feed the peer's telemetry; no decision is ever taken on one.

use std::fmt::Write as _;
use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use mesh_model::Workload;

/// W3C Baggage: what the source is.
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
/// W3C Trace Context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Label that names a workload's canonical service, and the one that stands in for it.
const NAME_LABELS: [&str; 2] = ["app.kubernetes.io/name", "app"];
/// Likewise for its version.
const VERSION_LABELS: [&str; 2] = ["app.kubernetes.io/version", "version"];

/// The headers that ztunnel sends: `baggage`, `forwarded` (RFC 7239) and a `traceparent` of its own.
pub fn request_headers(source: &Workload, client: SocketAddr) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(3);
    let mut insert = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    insert(BAGGAGE, &baggage(source));
    insert(header::FORWARDED, &format!("for=\"{client}\""));
    let (high, low, span) = (fastrand::u64(1..), fastrand::u64(..), fastrand::u64(1..));
    insert(TRACEPARENT, &format!("00-{high:016x}{low:016x}-{span:016x}-00"));
    headers
}

/// The workload as W3C Baggage.
pub fn baggage(workload: &Workload) -> String {
    let label = |names: [&str; 2]| names.iter().find_map(|name| workload.labels.get(*name));
    let mut text = format!(
        "k8s.namespace.name={},k8s.pod.name={}",
        workload.name.namespace(),
        workload.name.name()
    );
    let entries = [
        ("service.name", label(NAME_LABELS)),
        ("service.version", label(VERSION_LABELS)),
    ];
    for (key, value) in entries {
        // Label values have no character that baggage would have to escape, but nobody promises it.
        if let Some(value) = value.filter(|v| !v.is_empty() && v.bytes().all(is_baggage)) {
            // Writing to a String can't fail.
            let _infallible = write!(text, ",{key}={value}");
        }
    }
    text
}

/// Characters of a baggage value that need no escape (W3C Baggage §3.3.1, the part that labels use).
fn is_baggage(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use mesh_model::fixture;

    use super::*;

    #[test]
    fn says_what_the_source_is() {
        let mut workload = fixture::workload("shop/web-1", "a", "10.0.0.1");
        workload.labels.insert("app".to_owned(), "web".to_owned());
        workload.labels.insert("version".to_owned(), "a,b=c".to_owned());
        let headers = request_headers(&workload, "10.0.0.1:40000".parse().unwrap());
        assert_eq!(
            headers["baggage"],
            "k8s.namespace.name=shop,k8s.pod.name=web-1,service.name=web"
        );
        assert_eq!(headers["forwarded"], "for=\"10.0.0.1:40000\"");
        assert_eq!(headers["traceparent"].len(), 55);
    }
}
