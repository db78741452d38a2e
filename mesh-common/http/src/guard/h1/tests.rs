//! What goes on, what is refused, and that neither depends on how the bytes come in pieces.

mod chunks;

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    max_head_bytes: 1024,
    max_fields: 8,
};

/// Reads `bytes` in pieces of `size`, as a connection would bring them. What went on, and how it ended.
fn read(guard: &mut Guard, bytes: &[u8], size: usize) -> (Vec<u8>, Result<Position, Refusal>) {
    let (mut waiting, mut released) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(size) {
        waiting.extend_from_slice(piece);
        loop {
            match guard.release(&waiting) {
                Ok(Released { count: 0, .. }) => break,
                Ok(Released { count, cut }) => {
                    let taken: Vec<u8> = waiting.drain(..count).collect();
                    released.extend_from_slice(&taken[..cut.start]);
                    released.extend_from_slice(&taken[cut.end..]);
                }
                Err(refusal) => return (released, Err(refusal)),
            }
        }
    }
    (released, Ok(guard.position()))
}

fn count(guard: &mut Guard, bytes: &[u8]) -> Result<usize, Refusal> {
    guard.release(bytes).map(|released| released.count)
}

fn whole(text: &str) -> (String, Result<Position, Refusal>) {
    let bytes = text.as_bytes();
    let once = read(&mut Guard::new(LIMITS), bytes, bytes.len());
    for size in 1..bytes.len().min(40) {
        assert_eq!(
            read(&mut Guard::new(LIMITS), bytes, size),
            once,
            "in pieces of {size}: {text:?}"
        );
    }
    (String::from_utf8(once.0).unwrap(), once.1)
}

#[track_caller]
fn passes(text: &str, position: Position) {
    assert_eq!(whole(text), (text.to_owned(), Ok(position)), "{text:?}");
}

#[track_caller]
fn refuses(text: &str, refusal: Refusal) {
    assert_eq!(whole(text), (String::new(), Err(refusal)), "{text:?}");
}

/// A request with these header lines beside a Host.
fn with(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

#[test]
fn requests_go_on() {
    passes("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Position::Idle);
    passes("GET / HTTP/1.0\r\n\r\n", Position::Over);
    passes("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", Position::Idle);
    passes("\r\nGET / HTTP/1.1\r\nHost: a:80\r\n\r\n", Position::Idle);
    passes("OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", Position::Idle);
    passes("GET http://a/b?c HTTP/1.1\r\nHost: A\r\n\r\n", Position::Idle);
    passes(
        &with("X-Empty:\r\nX-Blank: \t \r\nX-Text:\ta\t\u{e4} b \r\n"),
        Position::Idle,
    );
    passes(&with("Connection: close\r\n"), Position::Over);
    passes(
        &(with("Content-Length: 3\r\n") + "abc" + &with("")),
        Position::Idle,
    );
    passes(&(with("Content-Length: 4\r\n") + "abc"), Position::Content);
}

#[test]
fn a_head_waits_until_it_is_complete() {
    let text = with("Content-Length: 3\r\n");
    let mut guard = Guard::new(LIMITS);
    assert_eq!(guard.position(), Position::Idle);
    assert_eq!(count(&mut guard, &text.as_bytes()[..text.len() - 1]), Ok(0));
    assert_eq!(guard.position(), Position::Head);
    assert_eq!(count(&mut guard, text.as_bytes()), Ok(text.len()));
    assert_eq!((guard.position(), guard.plain()), (Position::Content, 3));
}

#[test]
fn what_came_before_the_refused_goes_on() {
    let good = with("Content-Length: 3\r\n") + "abc";
    let (released, end) = whole(&(good.clone() + "GET /\r\n"));
    assert_eq!((released, end), (good, Err(Refusal::RequestLine)));
}

#[test]
fn lines_are_strict() {
    refuses("GET / HTTP/1.1\nHost: a\n\n", Refusal::BareLf);
    refuses(&with("X: a\n"), Refusal::BareLf);
    refuses(&with("X: a\rY: b\r\n"), Refusal::ControlCharacter);
    refuses(&with("X: a\r\r\n"), Refusal::ControlCharacter);
    refuses(&with("X: a\0b\r\n"), Refusal::ControlCharacter);
    refuses(&with("X: a\x0bb\r\n"), Refusal::ControlCharacter);
    refuses(&with("X: a\x7f\r\n"), Refusal::ControlCharacter);
    refuses(&with("X: a\r\n b\r\n"), Refusal::Fold);
    refuses(&with("X: a\r\n\tb\r\n"), Refusal::Fold);
    refuses("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Refusal::Fold);
    refuses("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::EmptyLines);
    refuses(&with("X\r\n"), Refusal::Colon);
    refuses(&with("X : a\r\n"), Refusal::FieldName);
    refuses(&with("X\t: a\r\n"), Refusal::FieldName);
    refuses(&with(": a\r\n"), Refusal::FieldName);
    refuses(&with("X(y): a\r\n"), Refusal::FieldName);
    refuses(&with("X\u{e4}: a\r\n"), Refusal::FieldName);
}

#[test]
fn first_lines_are_strict() {
    for line in [
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /",
        "GET",
        "GET\t/\tHTTP/1.1",
        "GET / a HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/1.10",
        "GET / HTTP/+1.1",
    ] {
        refuses(&format!("{line}\r\nHost: a\r\n\r\n"), Refusal::RequestLine);
    }
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/3.0"] {
        refuses(&format!("GET / {version}\r\nHost: a\r\n\r\n"), Refusal::Version);
    }
    for method in ["G(T", "", "GET,PUT", "G\u{e4}T", "{GET}"] {
        refuses(
            &format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Refusal::Method,
        );
    }
}

#[test]
fn targets_are_strict() {
    for target in [
        "a",
        "*",
        "//a#b",
        "/a#b",
        "/<",
        "/a?\"",
        "/a`",
        "https://a/",
        "ftp://a/",
        "http://",
        "http://u@a/",
        "http:///a",
        "http://a b/",
        "a:80",
        "http://a#b",
        "?a",
    ] {
        let line = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let refusal = if target.contains(' ') {
            Refusal::RequestLine
        } else {
            Refusal::Target
        };
        refuses(&line, refusal);
    }
    for target in [
        "a",
        "/",
        "a:",
        "a:x",
        "a:65536",
        "u@a:80",
        "http://a:80/",
        "[::1]",
        "[::1",
        "[::1]80",
        "[::g]:80",
        ":80",
    ] {
        refuses(
            &format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
            Refusal::Target,
        );
    }
    refuses("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", Refusal::HostDiffers);
    refuses(
        "CONNECT a:80 HTTP/1.1\r\nHost: a:81\r\n\r\n",
        Refusal::HostDiffers,
    );
    passes("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", Position::Held);
}

#[test]
fn there_is_one_host() {
    refuses("GET / HTTP/1.1\r\n\r\n", Refusal::HostMissing);
    refuses(&with("Host: a\r\n"), Refusal::HostTwice);
    for host in [
        "", "a,b", "a b", "u@a", "a/", "a:", "a:b", "a:80:80", "[::1", "::1", "a:99999", "\u{e4}", "a?b",
        "http://a",
    ] {
        refuses(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), Refusal::Host);
    }
}

#[test]
fn the_length_of_content_is_one_number() {
    for length in [
        "",
        "+5",
        "-5",
        "5,5",
        "5, 5",
        "0x5",
        "5 5",
        "5;",
        "\u{664}",
        "18446744073709551616",
        "9223372036854775808",
        "1e1",
        "5.",
    ] {
        refuses(
            &with(&format!("Content-Length: {length}\r\n")),
            Refusal::ContentLength,
        );
    }
    refuses(
        &with("Content-Length: 5\r\nContent-Length: 6\r\n"),
        Refusal::ContentLengthTwice,
    );
    refuses(
        &with("Content-Length: 5\r\ncontent-length: 5\r\n"),
        Refusal::ContentLengthTwice,
    );
    refuses(
        &with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        Refusal::TwoFramings,
    );
    refuses(
        &with("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"),
        Refusal::TwoFramings,
    );
    for coding in [
        "",
        "gzip",
        "gzip, chunked",
        "chunked, chunked",
        "chunked,",
        "identity",
        "xchunked",
        "chunked;a=b",
        "\"chunked\"",
    ] {
        refuses(
            &with(&format!("Transfer-Encoding: {coding}\r\n")),
            Refusal::Coding,
        );
    }
    let twice = with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n");
    refuses(&twice, Refusal::CodingTwice);
    refuses(
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        Refusal::CodingInHttp10,
    );
    refuses(
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\n\r\n",
        Refusal::Content,
    );
    refuses(
        "TRACE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        Refusal::Content,
    );
}

#[test]
fn connection_names_no_field_that_frames_or_routes() {
    for named in [
        "Host",
        "close, content-length",
        "transfer-encoding",
        "a b",
        "keep-alive; a",
        "connection",
    ] {
        refuses(&with(&format!("Connection: {named}\r\n")), Refusal::Connection);
    }
    passes(&with("Connection: , keep-alive,, te\r\n"), Position::Idle);
}

#[test]
fn a_head_has_limits() {
    refuses(
        &with(&format!("X: {}\r\n", "a".repeat(1024))),
        Refusal::HeadTooLarge,
    );
    refuses(
        &format!("GET /{} HTTP/1.1\r\n", "a".repeat(1024)),
        Refusal::TargetTooLong,
    );
    refuses(&with(&"X: a\r\n".repeat(8)), Refusal::TooManyFields);
    passes(&with(&"X: a\r\n".repeat(7)), Position::Idle);
    let fits = with(&format!("X: {}\r\n", "a".repeat(1024 - with("X: \r\n").len())));
    assert_eq!(fits.len(), 1024);
    passes(&fits, Position::Idle);
}

#[test]
fn nothing_follows_the_last_request() {
    let last = with("Connection: close\r\n");
    let (released, end) = whole(&(last.clone() + &with("")));
    assert_eq!((released, end), (last, Err(Refusal::AfterClose)));
}

#[test]
fn an_empty_line_after_the_last_request_is_nothing() {
    let last = with("Connection: close\r\n");
    assert_eq!(whole(&(last.clone() + "\r\n")), (last, Ok(Position::Over)));
}

#[test]
fn an_upgrade_waits_for_its_answer() {
    let upgrade =
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
    passes(upgrade, Position::Held);
    let text = upgrade.to_owned() + "\x01\x00GET";
    for is_granted in [true, false] {
        let mut guard = Guard::new(LIMITS);
        assert_eq!(count(&mut guard, text.as_bytes()), Ok(upgrade.len()));
        assert_eq!(count(&mut guard, b"\x01\x00GET"), Ok(0));
        if is_granted {
            guard.answered(2, true);
            assert_eq!(guard.position(), Position::Held);
            guard.answered(1, true);
            assert_eq!(count(&mut guard, b"\x01\x00GET"), Ok(5));
            assert_eq!((guard.position(), guard.plain()), (Position::Opaque, u64::MAX));
        } else {
            guard.answered(1, false);
            assert_eq!(count(&mut guard, b"\x01\x00GET"), Err(Refusal::ControlCharacter));
        }
    }
}

#[test]
fn an_upgrade_with_content_is_granted_when_that_has_come() {
    let mut guard = Guard::new(LIMITS);
    let text = with("Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n");
    assert_eq!(count(&mut guard, text.as_bytes()), Ok(text.len()));
    guard.answered(1, true);
    assert_eq!(guard.position(), Position::Content);
    assert_eq!(count(&mut guard, b"{}\r\n"), Ok(4));
    assert_eq!(guard.position(), Position::Opaque);
}

/// The request goes on without its Upgrade, and others may follow.
#[track_caller]
fn is_no_upgrade(version: &str, lines: &str, position: Position) {
    for (before, after) in [("", "X: a\r\n"), ("X: a\r\n", "")] {
        let text = |lines: &str| format!("GET / HTTP/{version}\r\nHost: a\r\n{before}{lines}{after}\r\n");
        let bare: String = lines
            .split_inclusive('\n')
            .filter(|line| !line.starts_with("Upgrade"))
            .collect();
        // Behind another request, and before one if there may be one.
        let first = with("Content-Length: 1\r\n") + "a";
        let last = if position == Position::Idle {
            with("")
        } else {
            String::new()
        };
        let sent = first.clone() + &text(lines) + &last;
        assert_eq!(
            whole(&sent),
            (first + &text(&bare) + &last, Ok(position)),
            "{lines:?}"
        );
    }
}

#[test]
fn what_is_no_upgrade_is_followed_by_requests() {
    passes(&with("Connection: upgrade\r\n"), Position::Idle);
    is_no_upgrade("1.1", "Upgrade: websocket\r\n", Position::Idle);
    is_no_upgrade(
        "1.1",
        "Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n",
        Position::Idle,
    );
    is_no_upgrade(
        "1.1",
        "Upgrade: websocket, H2C\r\nConnection: Upgrade\r\n",
        Position::Idle,
    );
    is_no_upgrade(
        "1.0",
        "Connection: upgrade\r\nUpgrade: websocket\r\n",
        Position::Over,
    );
    refuses(&with("Upgrade: a\r\nUpgrade: b\r\n"), Refusal::UpgradeTwice);
    let mut guard = Guard::new(LIMITS);
    guard.answered(0, true);
    assert_eq!(guard.position(), Position::Idle);
}

proptest! {
    /// Whatever comes: no panic, the same in one piece and in many, and nothing goes on twice or out of order.
    #[test]
    fn pieces_make_no_difference(text in "(GET|POST|G T|CONNECT) (/|/a|\\*|a:80) HTTP/1.[01]\r\n((Host|Content-Length|Transfer-Encoding|Connection|Upgrade|X| Y): ?(a|5|chunked|close|upgrade|)\r?\n){0,5}\r\n[05;a\r\nb]{0,40}", size in 1_usize..64) {
        let bytes = text.as_bytes();
        let once = read(&mut Guard::new(LIMITS), bytes, bytes.len().max(1));
        let pieces = read(&mut Guard::new(LIMITS), bytes, size);
        prop_assert!(bytes.starts_with(&once.0));
        prop_assert_eq!(once, pieces);
    }

    #[test]
    fn any_bytes_at_all(bytes in proptest::collection::vec(any::<u8>(), 0..300), size in 1_usize..64) {
        let once = read(&mut Guard::new(LIMITS), &bytes, bytes.len().max(1));
        prop_assert_eq!(once, read(&mut Guard::new(LIMITS), &bytes, size));
    }
}
