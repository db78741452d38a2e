//! Headers as strangers write them, through everything that is done to those of a request.

use http::header::{CONNECTION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use mesh_http::filter::{Cors, Edits, Redirect, Rewrite};
use mesh_http::{headers, path};
use mesh_model::{HeaderEdits, PathEdit};

/// Lines of a request: the target, then headers.
pub fn check(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let target = lines.next().unwrap_or_default();
    let Ok(mut request) = Request::builder().uri(target).method(Method::OPTIONS).body(()) else {
        return;
    };
    for line in lines.take(64) {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':').unwrap_or(line.len()));
        let name = HeaderName::from_bytes(name);
        let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default());
        if let (Ok(name), Ok(value)) = (name, value) {
            request.headers_mut().append(name, value);
        }
    }
    let mut request = request.into_parts().0;
    if path::normalise_uri(&request.method, &mut request.uri).is_err() {
        return;
    }
    hop_by_hop(&mut request.headers.clone());
    followers(&mut request.headers.clone());
    cors(&request);
    location(&request);

    headers::align_host(&mut request);
    if let Some(authority) = request.uri.authority() {
        let hosts: Vec<_> = request.headers.get_all(HOST).iter().collect();
        assert!(
            hosts.is_empty() || hosts == [authority.as_str()],
            "{hosts:?} for {authority}"
        );
    }
    for name in ["a", "session", ""] {
        headers::cookie(&request.headers, name);
        headers::query(&request.uri, name);
    }
    headers::is_grpc(&request.headers);
    headers::grpc_status(&request.headers);
    edits(&mut request.headers);
}

fn hop_by_hop(some: &mut HeaderMap) {
    if let Some(protocol) = headers::upgrade(some) {
        assert!(some.contains_key(CONNECTION));
        let protocol = protocol.as_bytes().to_ascii_lowercase();
        let mut elements = protocol.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        assert!(
            elements.all(|element| element != b"h2c"),
            "{}",
            protocol.escape_ascii()
        );
    }
    let before = some.clone();
    headers::strip_hop_by_hop(some);
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    ] {
        assert!(!some.contains_key(name), "{name} stays");
    }
    assert!(some.get("te").is_none_or(|te| te == "trailers"));
    for name in ["host", "content-length"] {
        assert!(
            before.get_all(name).iter().eq(some.get_all(name).iter()),
            "{name} is changed"
        );
    }
    let once = some.clone();
    headers::strip_hop_by_hop(some);
    assert_eq!(*some, once);
}

fn followers(some: &mut HeaderMap) {
    headers::request_id(some, || [7; 16]);
    let ids: Vec<_> = some.get_all("x-request-id").iter().collect();
    assert!(matches!(ids[..], [id] if id.to_str().is_ok_and(|id| !id.is_empty() && !id.contains(' '))));

    headers::sanitise_trace(some);
    let trace = headers::trace_id(some);
    // What is left is whole: it names a trace, where it is there at all.
    assert!(!some.contains_key("traceparent") || trace.is_some());
    assert!(some.contains_key("traceparent") || !some.contains_key("tracestate"));
    let once = some.clone();
    headers::sanitise_trace(some);
    assert_eq!((some.clone(), headers::trace_id(some)), (once, trace));
    if let Some(trace) = trace {
        let text = trace.to_string();
        assert!(
            text.len() == 32 && text.bytes().any(|digit| digit != b'0'),
            "{text}"
        );
    }
    headers::forwarded_proto(some, "http");
    assert!(some.contains_key("x-forwarded-proto"));
}

fn cors(request: &http::request::Parts) {
    let all = || vec!["*".to_owned()];
    let origins = vec!["https://*.a.test".to_owned(), "null".to_owned()];
    for (allow_origins, allow_credentials) in [(all(), true), (all(), false), (origins.clone(), true)] {
        let is_all = allow_origins == all();
        let cors = Cors::new(&mesh_model::Cors {
            allow_origins,
            allow_credentials,
            allow_methods: all(),
            allow_headers: all(),
            expose_headers: all(),
            max_age: 5,
        });
        let cors = cors.unwrap();
        let origin = request.headers.get("origin");
        let mut answer = HeaderMap::new();
        cors.answer(origin, &mut answer);
        let preflight = cors.preflight(request).map(|response| response.headers().clone());
        for headers in preflight.into_iter().chain([answer]) {
            let allowed = headers.get("access-control-allow-origin");
            assert!(
                allowed.is_none() || allowed == origin,
                "another origin is answered"
            );
            assert!(headers.contains_key("vary"));
            let has_credentials = headers.contains_key("access-control-allow-credentials");
            assert!(!has_credentials || allow_credentials && allowed.is_some());
            let Some(allowed) = allowed.and_then(|allowed| allowed.to_str().ok()) else {
                continue;
            };
            assert!(
                is_all || allowed == "null" || allowed.to_ascii_lowercase().contains(".a.test"),
                "{allowed}"
            );
        }
    }
}

fn location(request: &http::request::Parts) {
    let redirect = Redirect::new(&mesh_model::Redirect {
        scheme: None,
        hostname: None,
        path: Some(PathEdit::Prefix("/new".to_owned())),
        port: None,
        status: 302,
    });
    if let Ok((_, location)) = redirect.unwrap().location(request, Some(""), 8080) {
        let url: http::Uri = location.to_str().unwrap().parse().unwrap();
        assert!(
            url.scheme().is_some() && url.path().starts_with("/new"),
            "{location:?}"
        );
        assert!(!url.authority().unwrap().as_str().contains('@'), "{location:?}");
    }
    let rewrite = Rewrite::new(&mesh_model::Rewrite {
        hostname: Some("new.test".to_owned()),
        path: Some(PathEdit::Prefix(String::new())),
    });
    let mut rewritten = request.clone();
    if rewrite.unwrap().apply(&mut rewritten, Some("")).is_ok() {
        assert_eq!(headers::authority(&rewritten), Some("new.test"));
        assert_eq!(rewritten.uri.path(), request.uri.path());
        assert_eq!(rewritten.uri.query(), request.uri.query());
    }
}

fn edits(some: &mut HeaderMap) {
    let line = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let edits = Edits::new(&HeaderEdits {
        set: vec![line("a", "1")],
        add: vec![line("b", "2"), line("c", "3")],
        remove: vec!["c".to_owned(), "cookie".to_owned()],
    });
    let before = some.get_all("b").iter().count();
    edits.unwrap().apply(some);
    assert!(some.get_all("a").iter().eq(["1"]));
    assert_eq!(some.get_all("b").iter().count(), before + 1);
    assert!(!some.contains_key("c") && !some.contains_key("cookie"));
}
