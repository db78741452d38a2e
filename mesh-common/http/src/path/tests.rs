//! Paths one by one, and what holds for all of them.

use super::*;
use proptest::prelude::*;

fn normal(path: &str) -> String {
    normalise(path).unwrap().into_owned()
}

#[test]
fn what_is_in_normal_form_is_not_copied() {
    for path in [
        "/",
        "/a/b",
        "/a/",
        "//a//b/",
        "/.well-known/x",
        "/a/...",
        "/a/..b/.c/d..",
        "/a%2Fb",
        "/a%20b%5Cc/%25",
        "/a;x=1/b:c@d!$&'()*+,=",
        "/caf%C3%A9",
        "/latin%E9",
        "/a?x=%zz&y=/../..\\&q=%00",
        "/?",
    ] {
        assert!(
            matches!(normalise(path), Ok(Cow::Borrowed(same)) if same == path),
            "{path}"
        );
    }
}

#[test]
fn one_of_several_spellings_is_chosen() {
    for (written, expected) in [
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/.", "/"),
        ("/a/..", "/"),
        ("/./././", "/"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/%2e/a", "/a"),
        ("/%61dmin", "/admin"),
        ("/%7Euser/%2D%5F", "/~user/-_"),
        ("/a%2fb%c3%a9", "/a%2Fb%C3%A9"),
        ("/caf\u{e9}", "/caf%C3%A9"),
        ("/{id}|^\"<>`[]", "/%7Bid%7D%7C%5E%22%3C%3E%60%5B%5D"),
        ("/a//../b", "/a/b"),
        ("/a/..//b", "//b"),
        ("/%252e%252e/a/./b", "/%252e%252e/a/b"),
        ("/a/./b?x=/./y", "/a/b?x=/./y"),
    ] {
        assert_eq!(normal(written), expected, "{written}");
    }
}

#[test]
fn what_servers_read_in_different_ways_is_refused() {
    use PathError::{
        AboveRoot, Backslash, Control, Escape, EscapedSeparator, Fragment, NotAbsolute, Overlong, Parameter,
    };
    for (path, expected) in [
        ("", NotAbsolute),
        ("a", NotAbsolute),
        ("*", NotAbsolute),
        ("?x", NotAbsolute),
        ("%2Fa", NotAbsolute),
        ("/a#b", Fragment),
        ("/a?b#c", Fragment),
        ("/a b", Control),
        ("/a\tb", Control),
        ("/a\0", Control),
        ("/a?b c", Control),
        ("/a?\x7f", Control),
        ("/a%00.png", Control),
        ("/a%0d%0aX:1", Control),
        ("/a%7F", Control),
        ("/a\\b", Backslash),
        ("/..\\..\\etc", Backslash),
        ("/%", Escape),
        ("/%2", Escape),
        ("/%zz", Escape),
        ("/%u002e", Escape),
        ("/%%32%65", Escape),
        ("/..", AboveRoot),
        ("/../a", AboveRoot),
        ("/a/../..", AboveRoot),
        ("/a/%2e%2e/%2e%2e/etc", AboveRoot),
        ("/a/..%2Fb", EscapedSeparator),
        ("/a/..%5Cb", EscapedSeparator),
        ("/a%2F..", EscapedSeparator),
        ("/a%2f%2e%2e%2fb", EscapedSeparator),
        ("/a%2F.%2Fb", EscapedSeparator),
        ("/a%2Fb/../c", EscapedSeparator),
        ("/a%2Fb/c/../../d", EscapedSeparator),
        ("/%c0%ae%c0%ae/", Overlong),
        ("/%C0%AF", Overlong),
        ("/%e0%80%ae", Overlong),
        ("/%F0%80%80%AE", Overlong),
        ("/a/..;/b", Parameter),
        ("/a/..;x=1/b", Parameter),
        ("/a/.;/b", Parameter),
        ("/a/%2e%2e%3b/b", Parameter),
        ("/a/x%2F..;/b", Parameter),
    ] {
        assert_eq!(normalise(path), Err(expected), "{path:?}");
    }
}

#[test]
fn an_escaped_slash_may_stand_before_dots_that_leave_it_alone() {
    assert_eq!(normal("/a%2Fb/c/../d"), "/a%2Fb/d");
    assert_eq!(normal("/x/../a%2Fb"), "/a%2Fb");
}

fn uri(method: &str, target: &str) -> Result<String, PathError> {
    let mut uri: Uri = target.parse().unwrap();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    normalise_uri(&method, &mut uri).map(|()| uri.to_string())
}

#[test]
fn each_form_of_target_has_its_methods() {
    for (method, target, expected) in [
        ("GET", "/a/./b?x", Ok("/a/b?x")),
        ("GET", "http://h.test:81/a/../b", Ok("http://h.test:81/b")),
        ("GET", "http://h.test?x", Ok("http://h.test/?x")),
        ("GET", "http://h.test", Ok("http://h.test/")),
        ("OPTIONS", "*", Ok("*")),
        ("OPTIONS", "/a", Ok("/a")),
        ("CONNECT", "h.test:443", Ok("h.test:443")),
        ("CONNECT", "http://h.test/chat/.", Ok("http://h.test/chat/")),
        ("GET", "*", Err(PathError::Asterisk)),
        ("GET", "h.test:443", Err(PathError::Authority)),
        ("CONNECT", "/a", Err(PathError::Authority)),
        ("CONNECT", "*", Err(PathError::Asterisk)),
        ("GET", "/a/../..", Err(PathError::AboveRoot)),
    ] {
        assert_eq!(
            uri(method, target),
            expected.map(str::to_owned),
            "{method} {target}"
        );
    }
}

#[test]
fn a_target_that_grows_too_long_is_refused() {
    let target = format!("/{}", "{".repeat(40_000));
    assert_eq!(uri("GET", &target), Err(PathError::TooLong));
}

/// Texts with much of what matters in them.
fn paths() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        4 => Just("/"),
        2 => prop::sample::select(vec![".", "..", "%2e", "%2E%2e", ";", "%3b"]),
        2 => prop::sample::select(vec!["%2f", "%2F", "%5c", "\\", "%25", "%252e", "%61", "%7e", "%C3%A9", "%c0%ae"]),
        2 => prop::sample::select(vec!["a", "b", "é", "{", "?", "&", "=", "%", "#", " ", "%00", "+", "~"]),
    ];
    prop::collection::vec(pieces, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #[test]
    fn normal_form_is_its_own(path in paths()) {
        if let Ok(normal) = normalise(&path) {
            let again = normalise(&normal);
            prop_assert!(matches!(again, Ok(Cow::Borrowed(same)) if same == normal), "{} {:?}", normal, again);
        }
    }

    #[test]
    fn normal_form_has_nothing_to_be_read_twice(path in paths()) {
        if let Ok(normal) = normalise(&path) {
            let (before, query) = normal.split_once('?').map_or((&*normal, None), |(path, query)| (path, Some(query)));
            prop_assert_eq!(query, path.split_once('?').map(|(_, query)| query));
            prop_assert!(before.starts_with('/'));
            prop_assert!(before.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert!(!before.contains(['\\', '#', ' ']));
            prop_assert!(!before.split('/').any(|segment| segment == "." || segment == ".."));
            let lower = before.to_ascii_lowercase();
            prop_assert!(!lower.contains("%2e") && !lower.contains("%00") && !lower.contains("%61"));
        }
    }

    /// What a server that decodes everything at once, and only then resolves dots, makes of the normal form is what one
    /// that resolves dots first makes of it.
    #[test]
    fn decoding_first_or_last_makes_no_difference(path in paths()) {
        if let Ok(normal) = normalise(&path) {
            let before = normal.split('?').next().unwrap_or_default();
            let decoded: Vec<u8> = percent_encoding::percent_decode_str(before).collect();
            let separators = |byte: &u8| matches!(byte, b'/' | b'\\');
            for segment in decoded.split(separators) {
                let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
                prop_assert!(name != b"." && name != b"..", "{}", normal);
            }
        }
    }

    #[test]
    fn any_text_is_taken_or_refused(path in "\\PC*") {
        normalise(&path).ok();
        normalise(&format!("/{path}")).ok();
    }
}
