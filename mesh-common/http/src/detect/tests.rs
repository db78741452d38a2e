//! What real clients send first, what other protocols send first, and that no cut changes the answer.

use std::sync::Arc;

use proptest::prelude::*;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

/// The first flight of a real client; `fragment` is the largest record it may make.
fn client_hello(server: &str, fragment: Option<usize>, has_name: bool) -> Vec<u8> {
    let mut config = ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.max_fragment_size = fragment;
    config.enable_sni = has_name;
    let server = ServerName::try_from(server.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), server).unwrap();
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

fn tls(name: Option<&str>) -> Detected {
    Detected::Tls {
        server_name: name.map(str::to_owned),
    }
}

/// The answer to all of the bytes, after checking that every beginning of them gives the same or none.
fn answer(bytes: &[u8]) -> Detected {
    let whole = detect(bytes);
    for length in 0..bytes.len() {
        let part = detect(&bytes[..length]);
        assert!(
            part == Detected::NeedMore || part == whole,
            "{part:?} after {length} of {} bytes, then {whole:?}",
            bytes.len()
        );
    }
    whole
}

#[test]
fn the_registered_methods_are_in_order() {
    assert!(http1::METHODS.is_sorted());
}

#[test]
fn requests_are_http1_though_they_are_malformed() {
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\n\n",
        "GET /",
        "\r\nGET /a",
        " GET / HTTP/1.1\r\n",
        "POST  /two/blanks HTTP/1.1\r\n",
        "GET\t/ HTTP/1.1\r\n",
        "GET http://a/ HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "CONNECT a:80 HTTP/1.1\r\n",
        "GET no-slash\r\n",
        "GET  HTTP/1.1\r\n",
        "GET http://a/ HTTP/9.9\r\n",
        "GET http://a/ http/1.1\r\n",
        "PURGE /any/token HTTP/1.1\r\n",
        "get / HTTP/1.1\r\n",
        "FOO /a b c HTTP/1.1\r\n",
        "PRI * HTTP/1.1\r\n",
        "PRI * HTTP/2.0\r\n\r\nXX",
    ] {
        assert_eq!(answer(request.as_bytes()), Detected::Http1, "{request:?}");
    }
    let long = format!("GET http://{}", "a".repeat(MAX_LOOK));
    assert_eq!(answer(long.as_bytes()), Detected::Http1);
}

#[test]
fn the_preface_is_http2() {
    let mut bytes = PREFACE.to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    assert_eq!(answer(&bytes), Detected::Http2);
    assert_eq!(detect(&PREFACE[..23]), Detected::NeedMore);
}

#[test]
fn a_server_name_is_found_in_any_number_of_records() {
    for fragment in [None, Some(32), Some(100)] {
        let bytes = client_hello("Shop.Example.com", fragment, true);
        assert_eq!(answer(&bytes), tls(Some("shop.example.com")), "{fragment:?}");
    }
    assert_eq!(answer(&client_hello("a.test", Some(32), false)), tls(None));
    assert_eq!(answer(&client_hello("10.0.0.1", None, true)), tls(None));
}

#[test]
fn what_begins_as_tls_stays_tls() {
    let mut bytes = client_hello("a.test", Some(32), true);
    bytes[5 + 27] = 23; // the second record's type
    assert_eq!(answer(&bytes), tls(None));
    // A ClientHello that claims more than anybody looks at, of zeros.
    let mut endless = vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    endless.resize(5 + 0x4000, 0);
    assert_eq!(detect(&endless), tls(None));
    let mut records = vec![22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff];
    while records.len() < 2 * MAX_LOOK {
        records.extend_from_slice(&[22, 3, 3, 0, 1, 0xff]);
    }
    assert_eq!(answer(&records), tls(None));
}

#[test]
fn other_protocols_are_told_early() {
    let cases: [(&str, &[u8]); 21] = [
        ("Redis", b"*1\r"),
        ("memcached", b"get some-key\r\n"),
        ("memcached, a value", b"set key 0 900 5\r\n"),
        ("memcached, binary", b"\x80"),
        ("PostgreSQL", b"\0"),
        ("MongoDB", b"A\0"),
        ("Kafka", b"\0"),
        ("AMQP", b"AMQP\0"),
        ("SSH", b"SSH-2.0-OpenSSH_9.9\r"),
        ("SMTP", b"EHLO client\r\n"),
        ("MQTT", b"\x10\x0e\0"),
        ("STOMP", b"CONNECT\n"),
        ("STOMP, CRLF", b"CONNECT\r"),
        ("PROXY", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"),
        ("PROXY, version 2", b"\r\n\r\n\0"),
        ("RTSP", b"OPTIONS rtsp://a/b RTSP/1.0\r\n"),
        ("SIP", b"OPTIONS sip:a@b SIP/2.0\r\n"),
        ("DNS over TCP", b"\0"),
        ("a TLS alert", b"\x15"),
        (
            "a handshake that begins with something else",
            b"\x16\x03\x01\x00\x10\x02",
        ),
        ("not TLS", b"\x16\x02"),
    ];
    for (protocol, bytes) in cases {
        assert_eq!(answer(bytes), Detected::Opaque, "{protocol}");
    }
    assert_eq!(detect(&[b' '; 17]), Detected::Opaque);
    assert_eq!(detect(&[b'A'; 33]), Detected::Opaque);
    let line = format!("FOO {}", "a".repeat(9000));
    assert_eq!(answer(line.as_bytes()), Detected::Opaque);
}

#[test]
fn says_what_an_undecided_look_may_become() {
    for (bytes, expected) in [
        ("", Likely::Anything),
        ("\r\n", Likely::Anything),
        ("ruok", Likely::Anything),
        ("hello wor", Likely::Anything),
        ("PRI * HT", Likely::Method),
        ("G", Likely::Method),
        ("\r\nPROPF", Likely::Method),
        ("GET ", Likely::Request),
        ("OPTIONS rts", Likely::Request),
        ("\x16", Likely::Tls),
        ("\x16\x03\x01", Likely::Tls),
    ] {
        assert_eq!(detect(bytes.as_bytes()), Detected::NeedMore, "{bytes:?}");
        assert_eq!(likely(bytes.as_bytes()), expected, "{bytes:?}");
    }
}

#[test]
fn a_connection_that_is_http_needs_as_many_bytes_as_differ() {
    assert_eq!(is_http2(b""), None);
    assert_eq!(is_http2(b"P"), None);
    assert_eq!(is_http2(b"PO"), Some(false));
    assert_eq!(is_http2(b"\x16"), Some(false));
    assert_eq!(is_http2(PREFACE), Some(true));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_cut_of_any_bytes_gives_one_answer(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        answer(&bytes);
    }

    #[test]
    fn any_cut_of_text_gives_one_answer(text in "[ \r\n]{0,3}(GET|FOO|PRI|get|OPTIONS)?[ \tA-Z/*\r\n\u{1}.0-9]{0,30}(HTTP/|RTSP/|http/)?[0-9. \r\n]{0,4}") {
        answer(text.as_bytes());
    }

    #[test]
    fn any_cut_of_a_damaged_handshake_gives_one_answer(
        place in 0usize..300,
        value in any::<u8>(),
        fragment in 32usize..200,
    ) {
        let mut bytes = client_hello("shop.example.com", Some(fragment), true);
        let place = place % bytes.len();
        bytes[place] = value;
        answer(&bytes);
    }

    #[test]
    fn enough_bytes_are_always_enough(
        start in prop_oneof![
            Just(b"GET ".to_vec()), Just(b"FOO ".to_vec()), Just(vec![22, 3, 1, 0x40, 0, 1]), Just(Vec::new()),
        ],
        fill in any::<u8>(),
    ) {
        let mut bytes = start;
        bytes.resize(MAX_LOOK, fill);
        prop_assert_ne!(detect(&bytes), Detected::NeedMore);
    }
}
