//! HTTP/2: real requests by h2's client, and frames that no client of a library would send.

use bytes::Bytes;
use h2::Reason;
use h2::client::{self, SendRequest};

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const RST_STREAM: u8 = 3;

fn server() -> Server {
    Server::new(Version::Http2)
}

// === a real client ===

struct Client {
    send: SendRequest<Bytes>,
    recorder: Recorder,
    trigger: Trigger,
    task: JoinSet<Result<(), ServeError>>,
    /// The client's own.
    connection: JoinSet<Result<(), h2::Error>>,
}

async fn connect(server: Server) -> Client {
    let (send, connection) = client::Builder::new()
        .initial_connection_window_size(1 << 20)
        .handshake(server.client)
        .await
        .unwrap();
    Client {
        send,
        recorder: server.recorder,
        trigger: server.trigger,
        task: server.task,
        connection: JoinSet::from_iter([connection]),
    }
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://a{path}")).body(()).unwrap()
}

impl Client {
    /// The answer's head, body and trailers.
    async fn ask(
        &self,
        request: Request<()>,
        body: &'static str,
    ) -> Result<(Response<()>, String, Option<HeaderMap>), h2::Error> {
        let mut send = within(self.send.clone().ready()).await?;
        let (answer, mut stream) = send.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            stream.send_data(body.into(), true)?;
        }
        let (head, mut body) = within(answer).await?.into_parts();
        let mut text = String::new();
        while let Some(data) = within(body.data()).await {
            let data = data?;
            text.push_str(std::str::from_utf8(&data).unwrap());
            body.flow_control().release_capacity(data.len())?;
        }
        let trailers = within(body.trailers()).await?;
        Ok((Response::from_parts(head, ()), text, trailers))
    }

    async fn status(&self, request: Request<()>) -> u16 {
        self.ask(request, "").await.unwrap().0.status().as_u16()
    }

    /// Closes the connection. Whether it breaks or ends then is a matter of who writes last.
    async fn over(self) -> Recorder {
        drop(self.send);
        drop(joined(self.task).await);
        self.recorder
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_answered_at_the_same_time() {
    let client = connect(server()).await;
    let many = futures::future::join_all((0..200).map(|_| client.ask(get("/slow"), "")));
    let start = tokio::time::Instant::now();
    for answer in many.await {
        let (head, body, _) = answer.unwrap();
        assert_eq!((head.status().as_u16(), body.as_str()), (200, "slow\n"));
        assert_eq!(head.headers()["content-length"], "5");
        assert!(head.headers().contains_key("date"));
    }
    assert_eq!(start.elapsed().as_secs(), 5);
    client.over().await;
}

#[tokio::test(start_paused = true)]
async fn bodies_and_trailers_go_both_ways() {
    let client = connect(server()).await;
    let request = Request::post("http://a/a?b").body(()).unwrap();
    let mut send = client.send.clone().ready().await.unwrap();
    let (answer, mut stream) = send.send_request(request, false).unwrap();
    stream.send_data("hello ".into(), false).unwrap();
    stream.send_data("there".into(), false).unwrap();
    let name = http::HeaderName::from_static("x-sum");
    let value = http::HeaderValue::from_static("7");
    stream
        .send_trailers(HeaderMap::from_iter([(name, value)]))
        .unwrap();
    assert_eq!(within(answer).await.unwrap().status(), 200);
    let asked = client.recorder.asked.lock()[0].clone();
    assert_eq!(
        (asked.target.as_str(), asked.body),
        ("http://a/a?b", Ok("hello there".into()))
    );
    assert_eq!(asked.trailers.unwrap()["x-sum"], "7");

    let (_, body, trailers) = client.ask(get("/trailers"), "").await.unwrap();
    assert_eq!(body, "data");
    assert_eq!(trailers.unwrap()["x-sum"], "1");
    let (_, body, _) = client.ask(get("/large"), "").await.unwrap();
    assert_eq!(body.len(), 1 << 20);
    let (head, body, _) = client
        .ask(Request::head("http://a/a").body(()).unwrap(), "")
        .await
        .unwrap();
    assert_eq!((head.status().as_u16(), body.as_str()), (200, ""));
    client.over().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_is_reset() {
    let client = connect(server()).await;
    let error = client.ask(get("/broken"), "").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    assert_eq!(client.status(get("/a")).await, 200);
    client.over().await;
}

#[tokio::test(start_paused = true)]
async fn a_reset_ends_the_request() {
    let client = connect(server()).await;
    let mut send = client.send.clone().ready().await.unwrap();
    let (answer, mut stream) = send.send_request(get("/never"), true).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(client.recorder.ended.lock().is_empty());
    stream.send_reset(Reason::CANCEL);
    drop(answer);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*client.recorder.ended.lock(), ["/never"]);
    client.over().await;
}

#[tokio::test(start_paused = true)]
async fn requests_end_with_their_connection() {
    let mut client = connect(server()).await;
    let mut send = client.send.clone().ready().await.unwrap();
    for _ in 0..10 {
        send = send.ready().await.unwrap();
        drop(send.send_request(get("/never"), true).unwrap());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.connection.abort_all();
    drop(send);
    let recorder = client.over().await;
    assert_eq!(recorder.begun.lock().len(), recorder.ended.lock().len());
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_connect_becomes_a_tunnel() {
    let client = connect(server()).await;
    let mut send = client.send.clone().ready().await.unwrap();
    let request = Request::connect("a:80").body(()).unwrap();
    let (answer, mut stream) = send.send_request(request, false).unwrap();
    let answer = within(answer).await.unwrap();
    assert_eq!(answer.status(), 200);
    stream.send_data("ping".into(), true).unwrap();
    let mut body = answer.into_body();
    assert_eq!(within(body.data()).await.unwrap().unwrap(), "ping");
    while let Some(data) = within(body.data()).await {
        assert_eq!(data.unwrap(), "");
    }
    client.over().await;
}

#[tokio::test(start_paused = true)]
async fn pieces_of_a_cookie_are_joined() {
    let client = connect(server()).await;
    let request = Request::get("http://a/a")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(())
        .unwrap();
    assert_eq!(client.status(request).await, 200);
    let asked = client.recorder.asked.lock()[0].clone();
    let cookies: Vec<_> = asked.headers.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; b=2"]);
    client.over().await;
}

#[tokio::test(start_paused = true)]
async fn only_answers_of_our_own_name_an_error() {
    let client = connect(server()).await;
    for (path, is_named) in [("/forged", false), ("/own", true)] {
        let (head, ..) = client.ask(get(path), "").await.unwrap();
        assert_eq!(head.headers().contains_key("x-mesh-error"), is_named);
    }
    client.over().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_does_not_end_the_others() {
    let client = connect(server()).await;
    let request = Request::get("http://a/a").header("host", "b").body(()).unwrap();
    let (head, body, _) = client.ask(request, "").await.unwrap();
    assert_eq!(head.status().as_u16(), 400);
    assert_eq!(
        head.headers()["x-mesh-error"],
        "DPE Host names another authority than the target"
    );
    assert!(body.contains("\"flag\":\"DPE\""), "{body}");
    let mut many = Request::get("http://a/a");
    for index in 0..101 {
        many = many.header(format!("x-{index}"), "a");
    }
    assert_eq!(client.status(many.body(()).unwrap()).await, 431);
    let large = Request::get("http://a/a").header("x", "a".repeat(61_440));
    assert_eq!(client.status(large.body(()).unwrap()).await, 431);
    assert_eq!(client.status(get("/a")).await, 200);
    assert_eq!(client.recorder.begun.lock().len(), 1);
    assert_eq!(client.recorder.causes(), ["host_differs", "too_many_fields"]);
    client.over().await;
}

#[tokio::test(start_paused = true)]
async fn many_small_messages_to_a_slow_handler_are_not_an_attack() {
    let client = connect(server()).await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut send = client.send.clone().ready().await.unwrap();
        let request = Request::post("http://a/unread").body(()).unwrap();
        let (answer, mut stream) = send.send_request(request, false).unwrap();
        // Whole windows of messages of 30 bytes, as gRPC sends them.
        for _ in 0..limits().stream_window / 30 {
            stream.send_data(Bytes::from_static(&[b'x'; 30]), false).unwrap();
        }
        streams.push((answer, stream));
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(client.status(get("/a")).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_requests_finish() {
    let client = connect(server()).await;
    let slow = client.ask(get("/slow"), "");
    let stop = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.trigger.stop();
    };
    let (answer, ()) = tokio::join!(slow, stop);
    assert_eq!(answer.unwrap().1, "slow\n");
    assert!(
        within(client.send.clone().ready()).await.is_err(),
        "GOAWAY was not seen"
    );
    client.over().await;

    let client = connect(server()).await;
    let start = tokio::time::Instant::now();
    let never = client.ask(get("/never"), "");
    let stop = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.trigger.stop();
    };
    let (answer, ()) = tokio::join!(never, stop);
    assert!(answer.is_err());
    assert_eq!(start.elapsed().as_secs(), 11);
    assert!(matches!(joined(client.task).await, Err(ServeError::Drained)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_of_an_answer_loses_that_one() {
    let client = connect(server()).await;
    let mut send = client.send.clone().ready().await.unwrap();
    let (answer, _stream) = send.send_request(get("/large"), true).unwrap();
    let mut body = within(answer).await.unwrap().into_body();
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(client.status(get("/a")).await, 200);
    }
    let error = loop {
        if let Err(error) = within(body.data()).await.unwrap() {
            break error;
        }
    };
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    client.over().await;
}

// === frames ===

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The next frame: its kind, flags, stream and payload.
async fn next(server: &mut Server) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    within(server.client.read_exact(&mut head)).await.ok()?;
    let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
    within(server.client.read_exact(&mut payload)).await.unwrap();
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some((head[3], head[4], stream, payload))
}

/// The code with which the connection ends; `None`: without one.
async fn goodbye(server: &mut Server) -> Option<u32> {
    let mut code = None;
    while let Some((kind, _, _, payload)) = next(server).await {
        if kind == GOAWAY {
            code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
    }
    code
}

async fn raw() -> Server {
    let mut server = server();
    server.send(PREFACE).await;
    server.send(frame(SETTINGS, 0, 0, b"")).await;
    server
}

#[tokio::test(start_paused = true)]
async fn a_flood_ends_with_a_word() {
    let mut server = raw().await;
    for _ in 0..2000 {
        server.send(frame(PING, 0, 0, &[0; 8])).await;
    }
    assert_eq!(goodbye(&mut server).await, Some(11));
    assert_eq!(server.recorder.causes(), ["control_flood"]);
    server.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_requests_that_are_given_up_ends() {
    let mut server = raw().await;
    // GET http / with :authority a
    let head = b"\x82\x86\x84\x41\x01a";
    for stream in (1..4000).step_by(2) {
        let mut both = frame(1, 5, stream, head);
        both.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        if server.client.write_all(&both).await.is_err() {
            break;
        }
    }
    assert_eq!(goodbye(&mut server).await, Some(11));
    assert!(server.recorder.begun.lock().len() <= 501);
    assert_eq!(
        server.recorder.begun.lock().len(),
        server.recorder.ended.lock().len()
    );
}

#[tokio::test(start_paused = true)]
async fn more_content_than_the_window_takes_ends_the_connection() {
    let mut server = raw().await;
    // POST http /unread with :authority a, of which nobody reads the content.
    server
        .send(frame(1, 4, 1, b"\x83\x86\x44\x07/unread\x41\x01a"))
        .await;
    for _ in 0..=limits().stream_window / 16_384 {
        if server
            .client
            .write_all(&frame(0, 0, 1, &vec![0; 16_384]))
            .await
            .is_err()
        {
            break;
        }
    }
    let mut reset = None;
    while reset.is_none()
        && let Some((kind, _, _, payload)) = next(&mut server).await
    {
        if kind == RST_STREAM || kind == GOAWAY {
            reset = payload.last().copied();
        }
    }
    // FLOW_CONTROL_ERROR, of the stream or of the connection (RFC 9113 §6.9.1).
    assert_eq!(reset, Some(3));
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_limit_may_be_sent_again() {
    let mut server = raw().await;
    // GET http /never with :authority a
    let head = b"\x82\x86\x44\x06/never\x41\x01a";
    for number in 0..limits().max_streams + 3 {
        server.send(frame(1, 5, 2 * number + 1, head)).await;
    }
    let mut refused = Vec::new();
    while refused.len() < 3
        && let Some((kind, _, stream, payload)) = next(&mut server).await
    {
        if kind == RST_STREAM {
            // REFUSED_STREAM (RFC 9113 §5.1.2, §8.7).
            assert_eq!(payload, [0, 0, 0, 7]);
            refused.push(stream);
        }
    }
    assert_eq!(refused, [2049, 2051, 2053]);
    assert_eq!(server.recorder.begun.lock().len(), 1024);
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_ends_the_connection() {
    let mut server = raw().await;
    let start = tokio::time::Instant::now();
    server.send(&frame(1, 5, 1, b"\x82\x86\x84\x41\x01a")[..12]).await;
    assert_eq!(goodbye(&mut server).await, Some(11));
    assert!(
        (60..62).contains(&start.elapsed().as_secs()),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(server.recorder.causes(), ["slow"]);
    server.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed() {
    let limits = Limits {
        ping_interval: Duration::from_secs(7200),
        ..limits()
    };
    let mut server = Server::with(Version::Http2, limits);
    server.send(PREFACE).await;
    server.send(frame(SETTINGS, 0, 0, b"")).await;
    let start = tokio::time::Instant::now();
    assert_eq!(goodbye(&mut server).await, Some(0));
    assert!(
        (3600..3610).contains(&start.elapsed().as_secs()),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_without_a_word_is_noticed() {
    let mut server = raw().await;
    let start = tokio::time::Instant::now();
    while let Some((kind, flags, _, payload)) = next(&mut server).await {
        // Answered twice, and then no more.
        if kind == PING && flags == 0 && start.elapsed() < Duration::from_secs(150) {
            server.send(frame(PING, 1, 0, &payload)).await;
        }
    }
    assert_eq!(start.elapsed().as_secs(), 200);
    assert!(matches!(server.ended().await, Err(ServeError::Silent)));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_http2_ends_with_its_code() {
    for (bytes, code) in [
        // DATA on stream 0, and on an idle one; a frame that is too large; a header block that can't be decoded, which
        // RFC 9113 §4.3 has another code for (h2 says 1).
        (frame(0, 0, 0, b"x"), 1),
        (frame(0, 0, 1, b"x"), 1),
        (frame(0, 0, 1, &vec![0; 16_385]), 6),
        (frame(1, 5, 1, b"\xff\xff\xff\xff\xff\xff"), 1),
        (frame(9, 4, 1, b"\x82"), 1),
        (frame(8, 0, 0, &[0; 4]), 1),
    ] {
        let mut server = raw().await;
        server.send(&bytes).await;
        assert_eq!(goodbye(&mut server).await, Some(code), "{:?}", &bytes[..9]);
        let recorder = server.recorder.clone();
        drop(server.ended().await.unwrap_err());
        assert!(recorder.begun.lock().is_empty());
        assert_eq!(recorder.refused.lock().len(), 1);
    }
}
