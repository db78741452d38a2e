//! HTTP/1: one request after the other, and what ends that.

use super::*;

const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";

fn server() -> Server {
    Server::new(Version::Http1)
}

/// The answer's status line and body, of answers whose end is known by a line's end.
async fn answer(server: &mut Server) -> (String, String) {
    let head = server.until("\r\n\r\n").await;
    let status = head.lines().next().unwrap().to_owned();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    within(server.client.read_exact(&mut body)).await.unwrap();
    (status, String::from_utf8(body).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_for_many_requests() {
    let mut server = server();
    for _ in 0..3 {
        server.send(GET).await;
        assert_eq!(
            answer(&mut server).await,
            ("HTTP/1.1 200 OK".into(), "/a \n".into())
        );
    }
    server
        .send("POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    assert_eq!(answer(&mut server).await.1, "/b hi\n");
    assert_eq!(server.recorder.asked.lock().len(), 4);
    server.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn requests_may_come_before_they_are_answered() {
    let mut server = server();
    server
        .send(GET.to_owned() + &GET.replace("/a", "/slow") + &GET.replace("/a", "/c"))
        .await;
    server.finish().await;
    for body in ["/a \n", "slow\n", "/c \n"] {
        assert_eq!(answer(&mut server).await.1, body);
    }
    assert_eq!(server.rest().await, "");
    server.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_no_more_still_gets_its_answer() {
    for path in ["/slow", "/large", "/trailers"] {
        let mut server = server();
        server.send(GET.replace("/a", path)).await;
        server.finish().await;
        let text = server.rest().await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {text:?}");
        let length = text.len();
        assert!(
            length > if path == "/large" { 1 << 20 } else { 60 },
            "{path}: {length}"
        );
        server.ended().await.unwrap();
    }
}

#[tokio::test]
async fn a_request_ends_when_its_client_resets_the_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
    let (mut client, server) = (client.unwrap(), accepted.unwrap().0);
    let recorder = Recorder::default();
    let handler = recorder.clone();
    let mut task = JoinSet::new();
    task.spawn(
        async move { serve(server, Version::Http1, &limits(), std::future::pending(), handler).await },
    );
    client
        .write_all(GET.replace("/a", "/never").as_bytes())
        .await
        .unwrap();
    while recorder.begun.lock().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(recorder.ended.lock().is_empty());
    crate::net::socket::reset_on_close(&client);
    drop(client);
    let ended = timeout(Duration::from_secs(10), joined(task)).await.unwrap();
    assert!(matches!(ended, Err(ServeError::Broken(_))), "{ended:?}");
    assert_eq!(*recorder.ended.lock(), ["/never"]);
}

#[tokio::test(start_paused = true)]
async fn chunks_and_trailers_go_through() {
    let mut server = server();
    let head = "POST /a HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n";
    server.send(head).await;
    for piece in ["3;x=y\r\nab", "c\r\n2\r\nde\r\n0\r\nX-Su", "m: 7\r\n\r\n"] {
        server.send(piece).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(answer(&mut server).await.1, "/a abcde\n");
    let asked = server.recorder.asked.lock()[0].clone();
    assert_eq!(asked.trailers.unwrap()["x-sum"], "7");
    server
        .send("GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n")
        .await;
    let text = server.until("x-sum: 1\r\n\r\n").await;
    assert!(text.contains("transfer-encoding: chunked"), "{text:?}");
    assert!(text.ends_with("4\r\ndata\r\n0\r\nx-sum: 1\r\n\r\n"), "{text:?}");
    server.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_expects_100_gets_it_when_the_body_is_wanted() {
    let mut server = server();
    let head = "POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    server.send(head).await;
    assert_eq!(server.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    server.send("hi").await;
    assert_eq!(answer(&mut server).await.1, "/a hi\n");
    // Who does not want the body, does not ask for it.
    server.send(head.replace("/a", "/early")).await;
    let (status, body) = answer(&mut server).await;
    assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "early\n"));
    assert_eq!(server.rest().await, "");
    server.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn http10_is_answered_and_closed() {
    let mut server = server();
    server.send("GET /trailers HTTP/1.0\r\n\r\n").await;
    let text = server.rest().await;
    assert!(text.starts_with("HTTP/1.0 200 OK\r\n"), "{text:?}");
    assert!(!text.contains("chunked"), "{text:?}");
    assert!(text.ends_with("\r\n\r\ndata"), "{text:?}");
    server.ended().await.unwrap();

    let mut server = Server::new(Version::Http1);
    for _ in 0..2 {
        server
            .send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .await;
        assert_eq!(answer(&mut server).await.1, "/a \n");
    }
    server.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_does_not_look_whole() {
    let mut server = server();
    server.send(GET.replace("/a", "/broken")).await;
    let text = server.rest().await;
    assert!(text.ends_with("4\r\ndata\r\n"), "{text:?}");
    drop(server.ended().await);
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_hands_the_bytes_over() {
    let upgrade = "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    let connect = "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n";
    for request in [upgrade, connect] {
        let mut server = server();
        // Bytes of the other protocol right behind it, that are no HTTP.
        server.send(request.to_owned() + "\0first ").await;
        let head = server.until("\r\n\r\n").await;
        assert!(
            head.starts_with("HTTP/1.1 101 ") || head.starts_with("HTTP/1.1 200 "),
            "{head:?}"
        );
        assert!(!head.contains("content-length"), "{head:?}");
        server.send("GET / HTTP/1.1\r\n\r\n").await;
        server.finish().await;
        assert_eq!(server.rest().await, "\0first GET / HTTP/1.1\r\n\r\n");
        server.ended().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_declined_upgrade_come_requests() {
    let mut server = server();
    let upgrade = "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    server.send(upgrade.to_owned() + GET + upgrade).await;
    for _ in 0..3 {
        assert_eq!(answer(&mut server).await.1, "/a \n");
    }
    server.send(upgrade.to_owned() + "\0").await;
    assert_eq!(answer(&mut server).await.1, "/a \n");
    assert_eq!(answer(&mut server).await.0, "HTTP/1.1 400 Bad Request");
    assert_eq!(server.rest().await, "");
    server.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_offer_of_http2_is_not_seen() {
    let mut server = server();
    let offer = "GET /large HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                 HTTP2-Settings: AAMAAABkAAQ\r\nConnection: close\r\n\r\n";
    server.send(offer).await;
    let text = server.rest().await;
    assert!(text.len() > 1 << 20, "{}", text.len());
    let asked = server.recorder.asked.lock()[0].clone();
    assert!(!asked.headers.contains_key("upgrade"), "{asked:?}");
    server.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_follows_the_answers_before_it() {
    let mut server = server();
    server
        .send(GET.replace("/a", "/slow") + "GET /b HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + GET)
        .await;
    assert_eq!(answer(&mut server).await.1, "slow\n");
    let text = server.rest().await;
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text:?}");
    assert!(text.contains("\r\nconnection: close\r\n"), "{text:?}");
    assert!(
        text.contains("\r\nx-mesh-error: DPE there is more than one Host\r\n"),
        "{text:?}"
    );
    assert_eq!(*server.recorder.begun.lock(), ["/slow"]);
    assert_eq!(server.recorder.causes(), ["host_twice"]);
    server.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_within_content_reaches_the_handler() {
    let mut server = server();
    server
        .send("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n+3\r\n")
        .await;
    assert_eq!(answer(&mut server).await.0, "HTTP/1.1 400 Bad Request");
    assert_eq!(server.rest().await, "");
    assert_eq!(server.recorder.asked.lock()[0].body, Err("chunk_size".into()));
    assert_eq!(server.recorder.causes(), ["chunk_size"]);
    server.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_the_last_request_is_no_request() {
    let mut server = server();
    server
        .send("GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned() + GET)
        .await;
    let text = server.rest().await;
    assert!(text.ends_with("\r\n\r\nslow\n"), "{text:?}");
    assert_eq!(*server.recorder.begun.lock(), ["/slow"]);
    server.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_given_up() {
    let mut server = server();
    let start = tokio::time::Instant::now();
    for piece in ["GET", " /a HTTP/1.1\r\n", "Host: a\r\n", "X: a\r\n", "Y: a\r\n"] {
        server.send(piece).await;
        tokio::time::sleep(Duration::from_secs(11)).await;
    }
    let text = server.rest().await;
    assert!(text.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{text:?}");
    assert!(text.contains("\r\nx-mesh-error: SI "), "{text:?}");
    assert!(start.elapsed() < Duration::from_secs(66), "{:?}", start.elapsed());
    assert_eq!(server.recorder.causes(), ["slow"]);
    server.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_not_our_business() {
    let mut server = server();
    server
        .send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        .await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(600)).await;
        server.send("x").await;
    }
    assert_eq!(answer(&mut server).await.1, "/a xxxxx\n");
    server.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_without_a_word() {
    let mut server = server();
    let start = tokio::time::Instant::now();
    server.send(GET.replace("/a", "/slow")).await;
    answer(&mut server).await;
    assert_eq!(server.rest().await, "");
    let elapsed = start.elapsed();
    assert!((3604..3607).contains(&elapsed.as_secs()), "{elapsed:?}");
    assert!(server.recorder.refused.lock().is_empty());
    server.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_cut() {
    let mut server = server();
    server.send(GET.replace("/a", "/large")).await;
    tokio::time::sleep(Duration::from_secs(290)).await;
    assert!(!server.handle.is_finished());
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(server.handle.is_finished());
    drop(server.ended().await.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_breaks_off_is_told() {
    let mut server = server();
    server.send("GET /a HTTP/1.1\r\nHo").await;
    server.finish().await;
    assert_eq!(server.rest().await, "");
    assert_eq!(server.recorder.causes(), ["truncated"]);
    server.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_is_read_though_the_client_still_sends() {
    let mut server = server();
    server
        .send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n")
        .await;
    // More than the pipe holds: it goes through only if somebody reads it.
    server.send("x".repeat(4 * PIPE)).await;
    assert_eq!(answer(&mut server).await.1, "early\n");
    server.send("x".repeat(4 * PIPE)).await;
    assert_eq!(server.rest().await, "");
    server.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_what_is_idle_and_lets_requests_finish() {
    let mut idle = server();
    idle.send(GET).await;
    answer(&mut idle).await;
    idle.trigger.stop();
    assert_eq!(idle.rest().await, "");
    idle.ended().await.unwrap();

    let mut busy = server();
    busy.send(GET.replace("/a", "/slow") + GET).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    busy.trigger.stop();
    let text = busy.rest().await;
    assert!(text.contains("\r\nconnection: close\r\n"), "{text:?}");
    assert!(text.ends_with("\r\n\r\nslow\n"), "{text:?}");
    busy.ended().await.unwrap();

    let mut endless = server();
    endless.send(GET.replace("/a", "/never")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    endless.trigger.stop();
    let start = tokio::time::Instant::now();
    assert_eq!(endless.rest().await, "");
    assert_eq!(start.elapsed().as_secs(), 10);
    assert_eq!(*endless.recorder.ended.lock(), ["/never"]);
    assert!(matches!(endless.ended().await, Err(ServeError::Drained)));
}

#[tokio::test(start_paused = true)]
async fn only_answers_of_our_own_name_an_error() {
    for (path, is_named) in [("/forged", false), ("/own", true)] {
        let mut server = server();
        server.send(GET.replace("/a", path)).await;
        let head = server.until("\r\n\r\n").await;
        assert_eq!(head.contains("\r\nx-mesh-error: "), is_named, "{head:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_answer_to_an_upgrade_that_is_declined_is_whole() {
    let mut server = server();
    let upgrade = "GET /large HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: echo\r\n\r\n";
    server.send(upgrade).await;
    let text = server.rest().await;
    assert!(text.len() > 1 << 20, "{}", text.len());
    server.ended().await.unwrap();
}
