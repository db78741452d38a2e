//! Paths: the normal form is its own, has one reading, and is what a request's target gets.

use std::borrow::Cow;

use http::{Method, Uri};
use mesh_http::path::{normalise, normalise_uri};

/// The bytes are a target.
pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(normal) = normalise(&text) {
        one_reading(&normal);
        let (path, query) = split(&normal);
        assert_eq!(query, split(&text).1, "the query is changed");
        let again = normalise(&normal);
        assert!(
            matches!(&again, Ok(Cow::Borrowed(same)) if *same == normal),
            "{normal}: {again:?}"
        );
        assert_eq!(
            normal == text,
            matches!(normal, Cow::Borrowed(_)),
            "copied for nothing: {text}"
        );
        // A server that joins slashes reads no dots either.
        assert!(!path.replace("//", "/").contains("/../"), "{path}");
    }
    let Ok(uri) = Uri::try_from(bytes) else {
        return;
    };
    for method in [Method::GET, Method::OPTIONS, Method::CONNECT] {
        let mut changed = uri.clone();
        if normalise_uri(&method, &mut changed).is_err() {
            continue;
        }
        assert_eq!(
            (changed.scheme(), changed.authority()),
            (uri.scheme(), uri.authority())
        );
        assert_eq!(changed.query(), uri.query());
        match changed.path() {
            "*" => assert_eq!(method, Method::OPTIONS),
            "" => assert_eq!(method, Method::CONNECT),
            path => {
                one_reading(path);
                assert_eq!(normalise(uri.path()).as_deref(), Ok(path));
            }
        }
    }
}

fn split(target: &str) -> (&str, Option<&str>) {
    target
        .split_once('?')
        .map_or((target, None), |(path, query)| (path, Some(query)))
}

/// Whoever decodes first and resolves dots then, with either slash, and without parameters, resolves none.
fn one_reading(normal: &str) {
    let path = split(normal).0;
    assert!(
        path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()),
        "{path}"
    );
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
    assert!(
        !decoded.iter().any(|byte| *byte < 0x20 || *byte == 0x7f),
        "{path}"
    );
    for segment in decoded.split(|byte| matches!(byte, b'/' | b'\\')) {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        assert!(name != b"." && name != b"..", "{path}");
    }
}
