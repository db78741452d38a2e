//! The tables of malformed and ambiguous requests, without the mesh around.

use super::*;

#[path = "../../../../../tests/e2e/tests/hardening/table.rs"]
mod table;

use table::{Case1, End, Http1, latin1};

/// The answer's status, with its content read, and whether it is the last one.
async fn answer(server: &mut Server, is_head: bool) -> u16 {
    let head = server.until("\r\n\r\n").await;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    if !is_head {
        let mut body = vec![0; length];
        within(server.client.read_exact(&mut body)).await.unwrap();
    }
    status
}

async fn check(case: &Case1) {
    let mut server = Server::new(Version::Http1);
    // The client sends while it reads: what is refused is not read to its end.
    let bytes = case.bytes();
    for piece in bytes.chunks(PIPE / 2) {
        server.send(piece).await;
        tokio::task::yield_now().await;
    }
    let mut answers = Vec::new();
    for _ in &case.answers {
        answers.push(answer(&mut server, case.send.starts_with("HEAD")).await);
    }
    assert_eq!(answers, case.answers);
    if case.end() == End::Open {
        server.send("GET /probe HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(answer(&mut server, false).await, 200, "the connection does not serve on");
        assert_eq!(server.recorder.asked.lock().pop().unwrap().target, "/probe");
    } else {
        assert_eq!(server.rest().await, "", "more than was expected");
    }
    assert_eq!(server.recorder.causes(), case.cause.iter().collect::<Vec<_>>());
    compare(case, &server.recorder.asked.lock());
}

fn compare(case: &Case1, asked: &[Asked]) {
    let asked: Vec<&Asked> = asked.iter().filter(|asked| asked.body.is_ok()).collect();
    let lines: Vec<String> = asked.iter().map(|asked| line(asked)).collect();
    assert_eq!(lines, case.seen);
    for (index, asked) in asked.iter().enumerate() {
        let body = String::from_utf8(case.body(index)).unwrap();
        assert_eq!(asked.body, Ok(body));
    }
    if let Some(first) = asked.first() {
        for field in &case.has {
            let (name, value) = field.split_once(": ").unwrap();
            assert_eq!(first.headers[name].as_bytes(), latin1(value), "{name}");
        }
        for name in &case.lacks {
            assert!(!first.headers.contains_key(name), "{name} is there");
        }
    }
}

fn line(asked: &Asked) -> String {
    let uri: http::Uri = asked.target.parse().unwrap();
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    format!("{} {target} HTTP/1.1", asked.method)
}

#[tokio::test(start_paused = true)]
async fn http1() {
    let table = Http1::read();
    assert!(table.case.len() > 150, "{}", table.case.len());
    let mut failed = Vec::new();
    for case in table.case.into_iter().filter(|case| !case.engine) {
        let name = case.name.clone();
        let mut task = JoinSet::new();
        task.spawn(async move { check(&case).await });
        if task.join_next().await.is_none_or(|result| result.is_err()) {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{} cases: {failed:#?}", failed.len());
}
