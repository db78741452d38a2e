//! Each helper with what it must take and what it must not.

use super::*;
use http::Request;

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

fn parts(target: &str, lines: &[(&'static str, &str)]) -> Parts {
    let mut request = Request::builder().uri(target).body(()).unwrap();
    *request.headers_mut() = headers(lines);
    request.into_parts().0
}

#[test]
fn headers_of_one_hop_are_removed_with_those_that_connection_names() {
    let mut some = headers(&[
        ("connection", "close, X-Private"),
        ("connection", " x-other,, host, content-length, upgrade"),
        ("x-private", "1"),
        ("x-other", "1"),
        ("x-other", "2"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
        ("te", "gzip, trailers"),
        ("host", "a.test"),
        ("content-length", "3"),
        ("trailer", "x-sum"),
        ("x-kept", "1"),
        ("proxy-authorization", "Basic x"),
    ]);
    strip_hop_by_hop(&mut some);
    let kept = [
        "content-length",
        "host",
        "proxy-authorization",
        "te",
        "trailer",
        "x-kept",
    ];
    assert_eq!(names(&some), kept);
    assert_eq!(some["te"], "trailers");
}

#[test]
fn te_without_trailers_goes() {
    for value in ["gzip", "trailersx", "", "gzip;q=1"] {
        let mut some = headers(&[("te", value), ("a", "b")]);
        strip_hop_by_hop(&mut some);
        assert_eq!(names(&some), ["a"], "{value}");
    }
}

#[test]
fn an_upgrade_is_named_by_connection_and_stands_in_one_line() {
    let websocket = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
    assert_eq!(upgrade(&websocket).unwrap(), "websocket");
    for none in [
        &[("upgrade", "websocket")][..],
        &[("connection", "upgrade")],
        &[("connection", "close"), ("upgrade", "websocket")],
        &[("connection", "upgrade"), ("upgrade", "")],
        &[
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("upgrade", "x"),
        ],
        &[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c")],
        &[("connection", "upgrade"), ("upgrade", "websocket, H2C")],
    ] {
        assert!(upgrade(&headers(none)).is_none(), "{none:?}");
    }
}

#[test]
fn a_request_gets_an_id_unless_it_has_one() {
    let fixed = [0xffu8; 16];
    let uuid = "ffffffff-ffff-4fff-bfff-ffffffffffff";
    let long = "x".repeat(MAX_REQUEST_ID + 1);
    for (lines, expected) in [
        (&[][..], uuid),
        (&[("x-request-id", "abc-1")], "abc-1"),
        (&[("x-request-id", "first"), ("x-request-id", "second")], "first"),
        (&[("x-request-id", "")], uuid),
        (&[("x-request-id", "a b")], uuid),
        (&[("x-request-id", "\u{e9}")], uuid),
        (&[("x-request-id", long.as_str())], uuid),
    ] {
        let mut some = headers(lines);
        request_id(&mut some, || fixed);
        let all: Vec<_> = some.get_all(X_REQUEST_ID).iter().collect();
        assert_eq!(all, [expected], "{lines:?}");
    }
    let mut zero = HeaderMap::new();
    request_id(&mut zero, || [0; 16]);
    assert_eq!(zero[X_REQUEST_ID], "00000000-0000-4000-8000-000000000000");
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn trace_of(lines: &[(&'static str, &str)]) -> (Option<String>, Vec<String>) {
    let mut some = headers(lines);
    sanitise_trace(&mut some);
    let left = names(&some).into_iter().map(str::to_owned).collect();
    (trace_id(&some).map(|id| id.to_string()), left)
}

#[test]
fn a_whole_traceparent_passes_with_its_tracestate() {
    let trace = Some(TRACE.to_owned());
    let state = "rojo=00f067aa0ba902b7, a@b=x y,,2c/d*=z";
    assert_eq!(
        trace_of(&[
            ("traceparent", PARENT),
            ("tracestate", state),
            ("tracestate", "last=1")
        ]),
        (
            trace.clone(),
            vec!["traceparent".to_owned(), "tracestate".to_owned()]
        )
    );
    let later = format!("cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-brings");
    assert_eq!(trace_of(&[("traceparent", later.as_str())]).0, trace);
}

#[test]
fn a_broken_traceparent_goes_with_its_tracestate() {
    let upper = PARENT.to_ascii_uppercase();
    for broken in [
        "",
        "00",
        upper.as_str(),
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902bg-01",
        " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 -",
    ] {
        let found = trace_of(&[("traceparent", broken), ("tracestate", "a=1")]);
        assert_eq!(found, (None, Vec::new()), "{broken}");
    }
    let twice = trace_of(&[("traceparent", PARENT), ("traceparent", PARENT)]);
    assert_eq!(twice, (None, Vec::new()));
}

#[test]
fn a_broken_tracestate_goes_alone() {
    let many = (0..33).map(|at| format!("k{at}=v")).collect::<Vec<_>>().join(",");
    for broken in ["a", "A=1", "a=1,a=2", "=1", "a=", "a=b=c", "-a=1", many.as_str()] {
        let found = trace_of(&[("traceparent", PARENT), ("tracestate", broken)]);
        assert_eq!(
            found,
            (Some(TRACE.to_owned()), vec!["traceparent".to_owned()]),
            "{broken}"
        );
    }
    assert_eq!(trace_of(&[("tracestate", "a=1")]), (None, Vec::new()));
}

#[test]
fn b3_is_read_in_both_forms() {
    let short = Some(format!("{}a3ce929d0e0e4736", "0".repeat(16)));
    let single = format!("{TRACE}-00f067aa0ba902b7-1-05e3ac9a4f6e3b90");
    assert_eq!(trace_of(&[("b3", single.as_str())]).0, Some(TRACE.to_owned()));
    assert_eq!(trace_of(&[("b3", "a3ce929d0e0e4736-00f067aa0ba902b7")]).0, short);
    assert_eq!(trace_of(&[("b3", "0")]), (None, vec!["b3".to_owned()]));
    let (found, left) = trace_of(&[
        ("x-b3-traceid", "a3ce929d0e0e4736"),
        ("x-b3-spanid", "00f067aa0ba902b7"),
        ("x-b3-sampled", "1"),
    ]);
    assert_eq!((found, left.len()), (short, 3));
    assert_eq!(trace_of(&[("x-b3-sampled", "0")]).1, ["x-b3-sampled"]);
    assert_eq!(trace_of(&[("x-b3-flags", "1")]).1, ["x-b3-flags"]);
}

#[test]
fn broken_b3_goes() {
    for broken in [
        "2",
        "",
        "a3ce929d0e0e4736",
        "xyz-00f067aa0ba902b7",
        "a3ce929d0e0e4736-00f067aa0ba902b7-9",
    ] {
        assert_eq!(trace_of(&[("b3", broken)]), (None, Vec::new()), "{broken}");
    }
    for broken in [
        &[("x-b3-traceid", "a3ce929d0e0e4736")][..],
        &[("x-b3-spanid", "00f067aa0ba902b7")],
        &[("x-b3-parentspanid", "00f067aa0ba902b7")],
        &[("x-b3-sampled", "maybe")],
        &[
            ("x-b3-traceid", "a3ce929d0e0e473600"),
            ("x-b3-spanid", "00f067aa0ba902b7"),
            ("x-b3-sampled", "1"),
        ],
    ] {
        assert_eq!(trace_of(broken), (None, Vec::new()), "{broken:?}");
    }
}

#[test]
fn the_first_cookie_of_a_name_counts() {
    let some = headers(&[
        ("cookie", "a=1; b = two; c=x=y"),
        ("cookie", "a=9;d="),
        ("cookie", "\u{e9}=1"),
    ]);
    for (name, expected) in [
        ("a", Some("1")),
        ("b", Some("two")),
        ("c", Some("x=y")),
        ("d", Some("")),
        ("e", None),
        ("A", None),
    ] {
        assert_eq!(cookie(&some, name), expected, "{name}");
    }
}

#[test]
fn the_first_value_of_a_query_parameter_is_decoded() {
    let uri: Uri = "/p?a=1&a=2&b%20c=%C3%A9+x&flag".parse().unwrap();
    for (name, expected) in [
        ("a", Some("1")),
        ("b c", Some("é x")),
        ("flag", Some("")),
        ("x", None),
    ] {
        assert_eq!(query(&uri, name).as_deref(), expected, "{name}");
    }
    assert_eq!(query(&Uri::from_static("/p"), "a"), None);
}

#[test]
fn grpc_is_told_by_its_content_type() {
    for (value, expected) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("Application/GRPC; charset=x", true),
        ("application/grpc-web", false),
        ("application/grpc-web+proto", false),
        ("application/grpcx", false),
        ("application/json", false),
        ("", false),
    ] {
        assert_eq!(is_grpc(&headers(&[("content-type", value)])), expected, "{value}");
    }
    assert!(!is_grpc(&HeaderMap::new()));
    assert_eq!(grpc_status(&headers(&[("grpc-status", "14")])), Some(14));
    for none in [&[][..], &[("grpc-status", "x")], &[("grpc-status", "-1")]] {
        assert_eq!(grpc_status(&headers(none)), None);
    }
}

#[test]
fn the_target_s_authority_goes_before_host() {
    for (target, host, expected) in [
        ("/a", Some("a.test:81"), Some("a.test:81")),
        ("http://b.test/a", Some("a.test"), Some("b.test")),
        ("/a", None, None),
    ] {
        let lines: Vec<_> = host.map(|host| ("host", host)).into_iter().collect();
        let mut request = parts(target, &lines);
        assert_eq!(authority(&request), expected);
        align_host(&mut request);
        assert_eq!(authority(&request), expected);
        let aligned = request.headers.get(HOST).map(|host| host.to_str().unwrap());
        assert_eq!(aligned, host.and(expected), "{target} {host:?}");
    }
    let mut twice = parts("http://b.test/", &[("host", "b.test"), ("host", "c.test")]);
    align_host(&mut twice);
    assert_eq!(twice.headers.get_all(HOST).iter().collect::<Vec<_>>(), ["b.test"]);
}

#[test]
fn a_host_is_what_a_url_may_have() {
    for (value, expected) in [
        ("a.test:81", Some("a.test")),
        ("[::1]:81", Some("[::1]")),
        ("user@evil.test", None),
        ("a b", None),
        ("", None),
        ("a.test/path", None),
        ("a.test[::1]:80", None),
        ("[::1]a.test", None),
        ("[::g]", None),
        ("[::1", None),
        ("a.test:80:80", None),
        ("a.test:65536", None),
        ("a.test:", Some("a.test")),
    ] {
        assert_eq!(host(&parts("/", &[("host", value)])), expected, "{value}");
    }
    assert_eq!(host(&parts("http://b.test:1/", &[])), Some("b.test"));
}

#[test]
fn the_scheme_that_somebody_in_front_told_stays() {
    let mut first = HeaderMap::new();
    forwarded_proto(&mut first, "http");
    assert_eq!(first[X_FORWARDED_PROTO], "http");
    let mut second = headers(&[("x-forwarded-proto", "https")]);
    forwarded_proto(&mut second, "http");
    assert_eq!(second[X_FORWARDED_PROTO], "https");
}

#[test]
fn several_cookie_fields_become_one() {
    for (lines, expected) in [
        (&[][..], &[][..]),
        (&[("cookie", "a=1")], &["a=1"]),
        (
            &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2; c=3")],
            &["a=1; b=2; c=3"],
        ),
    ] {
        let mut headers = headers(lines);
        join_cookies(&mut headers);
        let joined: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(joined, expected);
    }
}
