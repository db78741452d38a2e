//! The tables of malformed and ambiguous requests, without the mesh around.

use super::*;

#[expect(dead_code, reason = "some columns are for the tests through two nodes alone")]
#[path = "../../../../../tests/e2e/tests/hardening/table.rs"]
pub(super) mod table;

use super::frames::{Frames, encoded};
use table::{Case1, Case2, End, Http1, Http2, Met, latin1, repeated};

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

async fn check1(case: &Case1) {
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
        assert_eq!(
            answer(&mut server, false).await,
            200,
            "the connection does not serve on"
        );
        assert_eq!(server.recorder.asked.lock().pop().unwrap().target, "/probe");
    } else {
        assert_eq!(server.rest().await, "", "more than was expected");
    }
    assert_eq!(server.recorder.causes(), case.cause.iter().collect::<Vec<_>>());
    let asked = server.recorder.asked.lock();
    compare(&asked, &case.seen, &case.bodies, (&case.has, &case.lacks));
}

async fn check2(case: &Case2) {
    let mut server = Server::new(Version::Http2);
    if !case.bare {
        server.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        server.send(b"\0\0\0\x04\0\0\0\0\0").await;
    }
    let mut frames = Frames::default();
    for frame in case.frames() {
        // Whoever floods is not read to the end.
        if server.client.write_all(&encoded(&frame)).await.is_err() {
            break;
        }
        frames.read(&mut server, |_| false, Duration::ZERO).await;
    }
    let wanted = case.answers();
    let is_met = |met: &Met| met.answers.len() >= wanted.len() && (!case.ends() || case.either);
    frames.read(&mut server, is_met, DEADLINE).await;
    let serves = !frames.met.is_closed && frames.serves(&mut server).await;
    let asked = std::mem::take(&mut *server.recorder.asked.lock());
    let asked: Vec<Asked> = asked
        .into_iter()
        .filter(|asked| asked.target != "http://a/probe")
        .collect();
    case.verdict(&frames.met, serves).unwrap();
    let recorder = server.recorder.clone();
    drop(server.ended().await);
    if let Some(cause) = &case.cause {
        assert_eq!(recorder.causes(), [cause]);
    }
    if case.some {
        for asked in asked.iter().filter(|asked| asked.body.is_ok()) {
            let line = line(asked);
            assert!(
                ["GET /a HTTP/1.1", "POST /a HTTP/1.1"].contains(&line.as_str()),
                "{line}"
            );
        }
    } else {
        compare(&asked, &case.seen, &case.bodies, (&case.has, &case.lacks));
    }
}

/// What the handler was asked, and what it was to be asked.
fn compare(asked: &[Asked], seen: &[String], bodies: &[String], (has, lacks): (&[String], &[String])) {
    let asked: Vec<&Asked> = asked.iter().filter(|asked| asked.body.is_ok()).collect();
    let lines: Vec<String> = asked.iter().map(|asked| line(asked)).collect();
    assert_eq!(lines, seen);
    for (index, asked) in asked.iter().enumerate() {
        let body = bodies.get(index).map(|body| repeated(body)).unwrap_or_default();
        assert!(asked.body == Ok(body), "{} has another body", lines[index]);
    }
    if let Some(first) = asked.first() {
        for field in has {
            let (name, value) = field.split_once(": ").unwrap();
            assert_eq!(first.headers[name].as_bytes(), latin1(value), "{name}");
        }
        for name in lacks {
            assert!(!first.headers.contains_key(name), "{name} is there");
        }
    }
}

fn line(asked: &Asked) -> String {
    format!("{} {} HTTP/1.1", asked.method, asked.path)
}

/// Runs a case by itself, and says whether it failed.
async fn fails(case: impl Future<Output = ()> + Send + 'static) -> bool {
    let mut task = JoinSet::new();
    task.spawn(case);
    task.join_next().await.is_none_or(|result| result.is_err())
}

#[tokio::test(start_paused = true)]
async fn http1() {
    let table = Http1::read();
    assert!(table.case.len() > 200, "{}", table.case.len());
    let mut failed = Vec::new();
    for case in table.case.into_iter().filter(|case| !case.engine) {
        let name = case.name.clone();
        if fails(async move { check1(&case).await }).await {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{} cases: {failed:#?}", failed.len());
}

#[tokio::test(start_paused = true)]
async fn http2() {
    let table = Http2::read();
    assert!(table.case.len() > 120, "{}", table.case.len());
    let mut failed = Vec::new();
    for case in table.case.into_iter().filter(|case| !case.engine) {
        let name = case.name.clone();
        if fails(async move { check2(&case).await }).await {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{} cases: {failed:#?}", failed.len());
}
