//! An endpoint that the test plays answers in every way that HTTP/1.1 has, and in some that it has not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use hyper::body::{Body as _, Frame};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::*;
use crate::l7::body::{Body, BodyError};
use crate::l7::meter::{Meter, Metered};
use crate::net::side::Side;

const DEADLINE: Duration = Duration::from_secs(5);

/// A connection to an endpoint that the test plays.
async fn pair() -> (Box<Http1>, TcpStream, Arc<Cut>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (endpoint, _) = listener.accept().await.unwrap();
    let cut = Arc::new(Cut::default());
    let io = SideIo::new(Side::Tcp(client), None);
    (Box::new(Http1::new(io, Arc::clone(&cut))), endpoint, cut)
}

fn get() -> RequestHead {
    let mut head = RequestHead::new(&Method::GET, "/a?b=c");
    head.field(&http::header::HOST, b"web");
    head
}

fn body_of(frames: Vec<Result<Frame<Bytes>, std::io::Error>>) -> Outgoing {
    let frames = frames.into_iter().map(|frame| frame.map_err(BodyError::other));
    let body = http_body_util::StreamBody::new(futures::stream::iter(frames));
    let meter = Arc::new(Meter::new(Instant::now(), true));
    Outgoing::once(Metered::new(Body::boxed(body), meter, Vec::new(), u64::MAX))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "one frame of a body, of which others fail"
)]
fn data(text: &'static str) -> Result<Frame<Bytes>, std::io::Error> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

async fn send(
    connection: Box<Http1>,
    head: RequestHead,
    body: Outgoing,
) -> Result<Response<AnswerBody>, SendFailure> {
    timeout(DEADLINE, send_http1(connection, head, body, |_, _| {}))
        .await
        .unwrap()
}

/// The whole of a body: its data, its trailers, and why it broke off.
async fn whole(body: &mut AnswerBody) -> (String, Option<HeaderMap>, Option<String>) {
    let (mut text, mut trailers) = (Vec::new(), None);
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
        let failure = match timeout(DEADLINE, frame).await.unwrap() {
            None => None,
            Some(Ok(frame)) => {
                match frame.into_data() {
                    Ok(data) => text.extend_from_slice(&data),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                }
                continue;
            }
            Some(Err(error)) => Some(error.to_string()),
        };
        return (String::from_utf8(text).unwrap(), trailers, failure);
    }
}

/// Reads what the endpoint gets until it ends so.
async fn until(endpoint: &mut TcpStream, end: &str) -> String {
    let mut got = Vec::new();
    while !got.ends_with(end.as_bytes()) {
        let read = timeout(DEADLINE, endpoint.read_buf(&mut got))
            .await
            .unwrap()
            .unwrap();
        assert!(read > 0, "{:?}", String::from_utf8_lossy(&got));
    }
    String::from_utf8(got).unwrap()
}

/// What becomes of an answer: `Ok((body, whether the connection is kept))`, or the failure's kind or story. It comes in one
/// piece, or byte by byte.
async fn read_of(
    method: &Method,
    answer: &str,
    is_closed: bool,
    bytewise: bool,
) -> Result<(String, bool), String> {
    let (connection, mut endpoint, _cut) = pair().await;
    let answer = answer.to_owned();
    let serving = async {
        until(&mut endpoint, "\r\n\r\n").await;
        endpoint.set_nodelay(true).unwrap();
        for piece in answer.as_bytes().chunks(if bytewise { 1 } else { usize::MAX }) {
            // A client that has seen enough may have gone.
            if endpoint.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        if is_closed {
            endpoint.shutdown().await.ok();
        }
        endpoint
    };
    let asking = async {
        let head = RequestHead::new(method, "/");
        let answer = send(connection, head, Outgoing::empty()).await;
        let mut body = answer
            .map_err(|failure| format!("{:?}", failure.kind))?
            .into_body();
        let (text, _, failure) = whole(&mut body).await;
        match failure {
            Some(failure) => Err(failure),
            None => Ok((
                text,
                body.reclaim().is_some_and(|connection| !connection.is_last()),
            )),
        }
    };
    let (result, _endpoint) = tokio::join!(asking, serving);
    result
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
#[tokio::test]
async fn an_answer_ends_where_its_head_says() {
    let (get, head, connect) = (Method::GET, Method::HEAD, Method::CONNECT);
    let kept = |text: &str| Ok((text.to_owned(), true));
    let ended = |text: &str| Ok((text.to_owned(), false));
    let cases = [
        (
            &get,
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
            false,
            kept("abc"),
        ),
        (
            &get,
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc",
            false,
            kept("abc"),
        ),
        (
            &get,
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            false,
            kept(""),
        ),
        (
            &get,
            "HTTP/1.1 200\r\ncontent-length: 1\r\n\r\na",
            false,
            kept("a"),
        ),
        (&get, "HTTP/1.1 204 No Content\r\n\r\n", false, kept("")),
        (
            &get,
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
            false,
            kept(""),
        ),
        (
            &head,
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
            false,
            kept(""),
        ),
        (
            &head,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            false,
            kept(""),
        ),
        (
            &connect,
            "HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno",
            false,
            kept("no"),
        ),
        (
            &get,
            "HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 1\r\n\r\na",
            false,
            ended("a"),
        ),
        (
            &get,
            "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na",
            false,
            ended("a"),
        ),
        (
            &get,
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\na",
            false,
            kept("a"),
        ),
        (
            &get,
            "HTTP/1.1 200 OK\r\n\r\nall there is",
            true,
            ended("all there is"),
        ),
        (
            &get,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nzip",
            true,
            ended("zip"),
        ),
        (
            &get,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0A ; x=\"y\"\r\n0123456789\r\n0\r\n\r\n",
            false,
            kept("abc0123456789"),
        ),
        (
            &get,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\nx: y\r\n\r\n",
            false,
            kept("a"),
        ),
    ];
    for (method, answer, is_closed, expected) in cases {
        for bytewise in [false, true] {
            let result = read_of(method, answer, is_closed, bytewise).await;
            assert_eq!(result, expected, "{method} {answer:?}, bytewise: {bytewise}");
        }
    }
}

#[tokio::test]
async fn what_has_two_readings_breaks_the_connection() {
    let many = "x: y\r\n".repeat(257);
    let large = format!("x: {}", "y".repeat(300_000));
    let length = |value: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {value}\r\n\r\nabc");
    let chunks = |chunks: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
    let cases = [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc".to_owned(),
            "Protocol",
        ),
        (length("+3"), "Protocol"),
        (length("3, 4"), "Protocol"),
        (length("0x3"), "Protocol"),
        (length(""), "Protocol"),
        (length("99999999999999999999"), "Protocol"),
        (
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            "Protocol",
        ),
        ("HTTP/1.1 200 OK\r\nx : y\r\n\r\n".to_owned(), "Protocol"),
        ("HTTP/1.1 200 OK\r\nx: y\r\n z\r\n\r\n".to_owned(), "Protocol"),
        ("HTTP/2 200\r\n\r\n".to_owned(), "Protocol"),
        ("SSH-2.0-OpenSSH\r\n\r\n".to_owned(), "Protocol"),
        (format!("HTTP/1.1 200 OK\r\n{many}\r\n"), "Protocol"),
        (format!("HTTP/1.1 200 OK\r\n{large}\r\n\r\n"), "Protocol"),
        ("HTTP/1.1 100 Continue\r\n\r\n".repeat(65), "Protocol"),
        ("HTTP/1.1 200 OK\r\ncontent-le".to_owned(), "Closed"),
        (String::new(), "Closed"),
        (length("4"), "unexpected end of file"),
        (chunks("3\r\nab"), "unexpected end of file"),
        (
            chunks("3\r\nabcd\r\n0\r\n\r\n"),
            "a chunk of the answer is longer than its size",
        ),
        (chunks("\r\n"), "the size of a chunk of the answer is no number"),
        (
            chunks("10000000000000003\r\nabc\r\n0\r\n\r\n"),
            "the size of a chunk of the answer is no number",
        ),
        (
            chunks("3\nabc\r\n0\r\n\r\n"),
            "a line of the answer's body does not end with CR LF",
        ),
        (
            chunks("3;\r\r\nabc\r\n0\r\n\r\n"),
            "a line of the answer's body does not end with CR LF",
        ),
        (
            chunks(&format!("3;{}", "x".repeat(5000))),
            "a line of the answer's body is too long",
        ),
        (chunks("0\r\nx y\r\n\r\n"), "the trailers of the answer are none"),
    ];
    for (answer, expected) in cases {
        let result = read_of(&Method::GET, &answer, true, false).await;
        let start: String = answer.chars().take(80).collect();
        assert_eq!(result, Err(expected.to_owned()), "{start:?}");
    }
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let (mut connection, mut endpoint, _cut) = pair().await;
    for number in 0..3 {
        let serving = async {
            let got = until(&mut endpoint, "\r\n\r\n").await;
            assert_eq!(got, "GET /a?b=c HTTP/1.1\r\nhost: web\r\n\r\n");
            let answer = format!("HTTP/1.1 200 OK\r\nx-number: {number}\r\ncontent-length: 2\r\n\r\nok");
            endpoint.write_all(answer.as_bytes()).await.unwrap();
        };
        let (answer, ()) = tokio::join!(send(connection, get(), Outgoing::empty()), serving);
        let answer = answer.unwrap();
        assert_eq!(answer.headers()["x-number"], number.to_string());
        let mut body = answer.into_body();
        assert_eq!(body.size_hint().exact(), Some(2));
        assert_eq!(whole(&mut body).await.0, "ok");
        connection = body.reclaim().unwrap();
        assert!(!connection.is_over());
    }
    // What the endpoint says unasked belongs to no request.
    endpoint.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    let end = Instant::now() + DEADLINE;
    while !connection.is_over() {
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn more_than_the_answer_is_no_next_answer() {
    let answer =
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";
    let result = read_of(&Method::GET, answer, false, false).await;
    assert_eq!(result, Ok(("ok".to_owned(), false)));
}

#[tokio::test]
async fn bodies_are_framed_as_the_head_says() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("6"));
    trailers.insert("x-secret", HeaderValue::from_static("no"));
    let sent = |head: RequestHead, body: Outgoing, end: &'static str| async move {
        let (connection, mut endpoint, _cut) = pair().await;
        let serving = async {
            let got = until(&mut endpoint, end).await;
            endpoint.write_all(b"HTTP/1.1 204 x\r\n\r\n").await.unwrap();
            got
        };
        let (answer, got) = tokio::join!(send(connection, head, body), serving);
        assert!(answer.unwrap().into_body().reclaim().is_some());
        got.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    let mut head = get();
    head.field(&CONTENT_LENGTH, b"6");
    head.set_length(6);
    let body = body_of(vec![data("abc"), data(""), data("def")]);
    assert_eq!(sent(head, body, "def").await, "abcdef");

    let mut head = get();
    head.set_chunked(Some(&HeaderValue::from_static("X-Other, X-Sum, content-length")));
    let body = body_of(vec![
        data("abc"),
        data(""),
        data("0123456789abcdefg"),
        Ok(Frame::trailers(trailers)),
    ]);
    assert_eq!(
        sent(head, body, "0\r\nx-sum: 6\r\n\r\n").await,
        "3\r\nabc\r\n11\r\n0123456789abcdefg\r\n0\r\nx-sum: 6\r\n\r\n"
    );
}

#[tokio::test]
async fn a_body_that_is_not_what_the_head_says_is_broken_off() {
    let broken = || Err(std::io::Error::other("gone"));
    for frames in [vec![data("abcd")], vec![data("ab")], vec![data("a"), broken()]] {
        let (connection, mut endpoint, _cut) = pair().await;
        let mut head = get();
        head.field(&CONTENT_LENGTH, b"3");
        head.set_length(3);
        let failure = send(connection, head, body_of(frames)).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Client);
        let mut got = Vec::new();
        endpoint.read_to_end(&mut got).await.ok();
        assert!(!got.ends_with(b"abc"), "{got:?}");
    }
}

#[tokio::test]
async fn an_answer_may_come_before_the_request_is_whole() {
    let (connection, mut endpoint, _cut) = pair().await;
    let mut head = get();
    head.set_chunked(None);
    let frames = futures::stream::once(async { data("abc").map_err(BodyError::other) });
    let frames = futures::StreamExt::chain(frames, futures::stream::pending());
    let meter = Arc::new(Meter::new(Instant::now(), true));
    let body = Body::boxed(http_body_util::StreamBody::new(frames));
    let body = Outgoing::once(Metered::new(body, meter, Vec::new(), u64::MAX));
    let serving = async {
        until(&mut endpoint, "3\r\nabc\r\n").await;
        let answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno";
        endpoint.write_all(answer).await.unwrap();
    };
    let (answer, ()) = tokio::join!(send(connection, head, body), serving);
    let mut answer = answer.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(whole(answer.body_mut()).await.0, "no");
    assert!(
        answer.into_body().reclaim().is_none(),
        "the endpoint waits for the rest of a request"
    );
}

#[tokio::test]
async fn interim_answers_are_told_and_a_switch_hands_the_connection_over() {
    let (connection, mut endpoint, _cut) = pair().await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let serving = async {
        until(&mut endpoint, "\r\n\r\n").await;
        let answer =
            b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\nHTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\nahead";
        endpoint.write_all(answer).await.unwrap();
        until(&mut endpoint, "pong").await;
        endpoint.write_all(b"more").await.unwrap();
        endpoint.shutdown().await.unwrap();
    };
    let asking = async {
        let mut head = get();
        head.field(&HeaderName::from_static("upgrade"), b"x");
        let interim =
            move |status: StatusCode, headers: &HeaderMap| telling.lock().push((status, headers.len()));
        let answer = send_http1(connection, head, Outgoing::empty(), interim)
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
        let mut upgraded = answer.into_body().into_upgraded().unwrap();
        upgraded.write_all(b"pong").await.unwrap();
        let mut rest = String::new();
        upgraded.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "aheadmore");
    };
    timeout(DEADLINE, async { tokio::join!(asking, serving) })
        .await
        .unwrap();
    assert_eq!(*told.lock(), [(StatusCode::EARLY_HINTS, 1)]);
}

#[tokio::test]
async fn a_cut_breaks_off_whatever_is_under_way() {
    let (connection, mut endpoint, cut) = pair().await;
    let cutting = async {
        until(&mut endpoint, "\r\n\r\n").await;
        cut.cut();
    };
    let (answer, ()) = tokio::join!(send(connection, get(), Outgoing::empty()), cutting);
    assert_eq!(answer.unwrap_err().kind, FailureKind::Closed);

    let (connection, mut endpoint, cut) = pair().await;
    let serving = async {
        until(&mut endpoint, "\r\n\r\n").await;
        endpoint
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
            .await
            .unwrap();
    };
    let (answer, ()) = tokio::join!(send(connection, get(), Outgoing::empty()), serving);
    let mut body = answer.unwrap().into_body();
    let (read, ()) = tokio::join!(whole(&mut body), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        cut.cut();
    });
    assert_eq!((read.0.as_str(), read.2.is_some()), ("abc", true));
    assert!(body.reclaim().is_none());
}

#[tokio::test]
async fn a_connection_that_takes_nothing_gives_the_request_back() {
    let (connection, endpoint, _cut) = pair().await;
    // RST, and the client knows.
    socket2::SockRef::from(&endpoint)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(endpoint);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let failure = send(connection, get(), Outgoing::empty()).await.unwrap_err();
    assert_eq!(
        (failure.kind, failure.unsent.is_some()),
        (FailureKind::Unsent, true)
    );
}
