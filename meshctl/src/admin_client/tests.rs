//! The client against a listener of the test's own, which sends bytes as given.

use super::*;
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Answers one request with `answer`, and gives back the request's head.
fn serve(answer: Vec<u8>) -> (AdminClient, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut head = String::new();
        let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(
                reader.read_line(&mut head).expect("a request"),
                0,
                "the request ended early"
            );
        }
        // The client may have seen enough before the end.
        drop(stream.write_all(&answer));
        head
    });
    (AdminClient::new(Peer::Node, address, TIMEOUT), server)
}

fn get(answer: impl Into<Vec<u8>>) -> Result<Vec<u8>, AdminError> {
    let (client, server) = serve(answer.into());
    let result = client.get("/status");
    server.join().expect("the server ends");
    result
}

#[test]
fn sends_a_plain_request() {
    let (client, server) = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_vec());
    assert_eq!(client.get("/status").expect("an answer"), b"{}");
    let head = server.join().expect("the server ends");
    assert!(head.starts_with("GET /status HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains(&format!("Host: {}\r\n", client.address())),
        "{head}"
    );
}

#[test]
fn reads_each_framing() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello and more that is not ours",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;name=value\r\nlo\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nhello",
        "HTTP/1.1 200 OK\n\nhello",
    ] {
        assert_eq!(get(answer).expect(answer), b"hello", "{answer}");
    }
}

#[test]
fn refuses_what_is_no_answer() {
    for (answer, expected) in [
        ("SSH-2.0-OpenSSH\r\n", "no status line"),
        ("HTTP/1.1 two hundred\r\n\r\n", "no status line"),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "without a colon"),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "wrong length"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n",
            "larger than",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "broke"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "unknown transfer",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "wrong chunk size",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            "larger than",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n",
            "without an end",
        ),
        ("HTTP/1.1 200 OK\r\n", "without an end"),
    ] {
        let error = get(answer).expect_err(answer).to_string();
        assert!(error.contains(expected), "{answer:?} gave {error}");
    }
}

#[test]
fn bounds_the_head() {
    let mut answer = b"HTTP/1.1 200 OK\r\n".to_vec();
    answer.extend(b"X: y\r\n".repeat(10_000));
    let error = get(answer).expect_err("too long a head");
    assert!(matches!(error, AdminError::Malformed { .. }), "{error}");
}

#[test]
fn gives_the_reason_of_a_refusal() {
    let error =
        get("HTTP/1.1 404 Not Found\r\nContent-Length: 14\r\n\r\nno such path\r\n").expect_err("a refusal");
    assert_eq!(
        error.to_string(),
        "the node answered /status with 404: no such path"
    );
}

#[test]
fn says_when_the_form_is_another() {
    let (client, server) = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_vec());
    let error = client
        .get_json::<Vec<u8>>("/workloads")
        .expect_err("an object is no list");
    server.join().expect("the server ends");
    assert!(error.to_string().contains("same version"), "{error}");
}

#[test]
fn gives_up_at_the_deadline_even_when_bytes_trickle() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        while stream.write_all(b"H").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let started = Instant::now();
    let error = AdminClient::new(Peer::Node, address, Duration::from_millis(200))
        .get("/status")
        .expect_err("no answer");
    assert!(matches!(error, AdminError::TimedOut { .. }), "{error}");
    assert!(started.elapsed() < TIMEOUT, "took {:?}", started.elapsed());
    server.join().expect("the server ends");
}
