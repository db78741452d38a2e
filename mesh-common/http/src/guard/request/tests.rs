//! What is refused of requests that the decoder lets through.

use http::Request;

use super::*;

fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request.body(()).unwrap().into_parts().0
}

#[track_caller]
fn checked(method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<(), Refusal> {
    check(&parts(method, uri, headers), 4)
}

#[test]
fn requests_pass() {
    let get = |headers: &[(&str, &str)]| checked("GET", "http://a/b?c", headers);
    assert_eq!(get(&[]), Ok(()));
    assert_eq!(
        get(&[("host", "A"), ("te", "trailers"), ("content-length", "0")]),
        Ok(())
    );
    assert_eq!(checked("GET", "/b", &[("host", "a")]), Ok(()));
    assert_eq!(checked("OPTIONS", "*", &[("host", "a")]), Ok(()));
    assert_eq!(checked("CONNECT", "a:80", &[]), Ok(()));
    assert_eq!(checked("PURGE", "https://[::1]:80/", &[("x", "a b\tc")]), Ok(()));
}

#[test]
fn requests_are_refused() {
    let get =
        |headers: &[(&str, &str)], refusal| assert_eq!(checked("GET", "http://a/", headers), Err(refusal));
    for name in [
        "connection",
        "transfer-encoding",
        "upgrade",
        "keep-alive",
        "proxy-connection",
    ] {
        get(&[(name, "close")], Refusal::ConnectionField);
    }
    get(&[("te", "gzip")], Refusal::Te);
    get(&[("te", "trailers"), ("te", "trailers, deflate")], Refusal::Te);
    get(&[("x", " a")], Refusal::FieldValue);
    get(&[("x", "a\t")], Refusal::FieldValue);
    get(&[("host", "b")], Refusal::HostDiffers);
    get(&[("host", "a:80")], Refusal::HostDiffers);
    get(&[("host", "a"), ("host", "a")], Refusal::HostTwice);
    get(&[("host", "a,b")], Refusal::Host);
    get(
        &[("content-length", "5"), ("content-length", "5")],
        Refusal::ContentLengthTwice,
    );
    get(&[("content-length", "5, 5")], Refusal::ContentLength);
    get(
        &[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"), ("e", "1")],
        Refusal::TooManyFields,
    );
    assert_eq!(checked("GET", "/", &[]), Err(Refusal::HostMissing));
    assert_eq!(checked("GET", "http://u@a/", &[]), Err(Refusal::Host));
    assert_eq!(checked("GET", "ftp://a/", &[]), Err(Refusal::Target));
    assert_eq!(checked("GET", "*", &[("host", "a")]), Err(Refusal::Target));
    assert_eq!(checked("CONNECT", "a", &[]), Err(Refusal::Target));
    assert_eq!(
        checked("CONNECT", "a:80", &[("content-length", "1")]),
        Err(Refusal::Content)
    );
}

#[test]
fn trailers_do_not_frame_or_route() {
    let trailers = |names: &[&'static str]| -> HeaderMap {
        let pair = |name: &&'static str| (HeaderName::from_static(name), http::HeaderValue::from_static("a"));
        names.iter().map(pair).collect()
    };
    assert_eq!(check_trailers(&trailers(&["grpc-status", "x-sum"]), 4), Ok(()));
    for name in ["content-length", "host", "transfer-encoding", "authorization"] {
        assert_eq!(check_trailers(&trailers(&[name]), 4), Err(Refusal::Trailers));
    }
    assert_eq!(
        check_trailers(&trailers(&["a", "b", "c", "d", "e"]), 4),
        Err(Refusal::TrailersTooLarge)
    );
}
