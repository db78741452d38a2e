//! How long a request may take, and when it is sent again: the timeouts and the retry of a route's rule.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mesh_e2e::case::get;
use mesh_e2e::hall::Hall;
use mesh_e2e::peers;
use mesh_e2e::routes::Route;
use serde_json::json;

use crate::HALL;

/// A rule for a path with more fields, all to one server.
fn rule(path: &str, fields: &str) -> String {
    format!(
        "- matches: [ {{ path: {{ type: PathPrefix, value: {path} }} }} ]\n  {fields}\n  \
         backendRefs: [ {{ name: echo-v1, port: 8080 }} ]\n"
    )
}

/// How often the first server has got a request with a key that begins like this.
fn attempts(hall: &Hall, key: &str) -> usize {
    let log = peers::log(&hall.v1).unwrap();
    let is_it =
        |entry: &&serde_json::Value| entry["key"].as_str().is_some_and(|known| known.starts_with(key));
    log.iter().filter(is_it).count()
}

#[test]
fn a_request_ends_when_its_time_is_over() {
    let mut hall = HALL.take();
    let target = hall.service("timeouts").unwrap();
    let rules = [
        rule("/request", "timeouts: { request: 500ms }"),
        rule("/backend", "timeouts: { backendRequest: 500ms }"),
        rule("/off", "timeouts: { request: 0s }"),
        rule("/backend-off", "timeouts: { request: 10s, backendRequest: 0s }"),
        rule("/both", "timeouts: { request: 5s, backendRequest: 500ms }"),
    ];
    hall.routes(&[Route::http("timeouts").parent("timeouts").rules(&rules.concat())])
        .unwrap();
    let late = "X-Do: delay=1000";
    let cases = [
        get("/request").with(late).fails(504, "UT"),
        get("/request").reaches("echo-v1"),
        get("/request").with("X-Do: delay=100").reaches("echo-v1"),
        get("/backend").with(late).fails(504, "UT"),
        get("/backend").reaches("echo-v1"),
        get("/both").with(late).fails(504, "UT"),
        get("/off").with(late).reaches("echo-v1"),
        get("/backend-off").with(late).reaches("echo-v1"),
        get("/request").http2().with(late).fails(504, "UT"),
    ];
    hall.check(&target, &cases).unwrap();
    let start = Instant::now();
    let answer = get("/request")
        .with("X-Do: hold")
        .ask(&target)
        .send(&hall.client_a)
        .unwrap();
    assert_eq!(answer.status, 504, "{answer:?}");
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(450) && took < Duration::from_secs(3),
        "{took:?}"
    );
}

#[test]
fn the_time_of_a_request_begins_when_it_has_come() {
    let mut hall = HALL.take();
    let target = hall.service("slow-uploads").unwrap();
    let rules = rule("/request", "timeouts: { request: 700ms }");
    hall.routes(&[Route::http("slow-uploads").parent("slow-uploads").rules(&rules)])
        .unwrap();
    hall.check(
        &target,
        &[get("/request").with("X-Do: delay=1200").fails(504, "UT")],
    )
    .unwrap();
    // A body of one and a half seconds: the client's own time.
    let asks = [1, 2].map(|version| {
        json!({ "version": version, "method": "POST", "path": "/request", "size": 1_000_000, "every": 100 })
    });
    let to = SocketAddr::new(target.address, 80);
    let answers = peers::http(&hall.client_a, &hall.folder(), to, &asks).unwrap();
    for answer in &answers {
        assert_eq!(answer["status"], 200, "{answer}");
        assert!(answer["milliseconds"].as_u64() > Some(1200), "{answer}");
    }
}

#[test]
fn a_body_that_takes_too_long_is_cut_off_and_not_ended() {
    let mut hall = HALL.take();
    let target = hall.service("slow-bodies").unwrap();
    let rules = [
        rule("/request", "timeouts: { request: 700ms }"),
        // Of an attempt only the wait for the answer's head counts.
        rule("/backend", "timeouts: { backendRequest: 700ms }"),
    ];
    hall.routes(&[Route::http("slow-bodies")
        .parent("slow-bodies")
        .rules(&rules.concat())])
        .unwrap();
    // 640 KiB in 20 pieces over two seconds.
    let drip = "X-Do: size=1310720 every=100 chunked";
    hall.check(
        &target,
        &[get("/request").with("X-Do: delay=1200").fails(504, "UT")],
    )
    .unwrap();
    for http2 in [false, true] {
        let case = get("/request").with(drip);
        let case = if http2 { case.http2() } else { case };
        let answer = case.ask(&target).send(&hall.client_a).unwrap();
        assert!(
            answer.exit != 0,
            "a body that was cut off looks whole: {} bytes",
            answer.body.len()
        );
        assert!(answer.body.len() < 1_310_720);
        let answer = get("/backend")
            .with(drip)
            .ask(&target)
            .send(&hall.client_a)
            .unwrap();
        assert_eq!(
            (answer.exit, answer.body.len()),
            (0, 1_310_720),
            "{}",
            answer.error
        );
    }
}

#[test]
fn a_request_is_sent_again_on_the_statuses_that_the_rule_names() {
    let mut hall = HALL.take();
    let target = hall.service("retries").unwrap();
    let rules = [
        rule(
            "/four",
            "retry: { codes: [ 500, 502, 503, 504 ], attempts: 3, backoff: 25ms }",
        ),
        rule("/one", "retry: { codes: [ 503 ], attempts: 1, backoff: 25ms }"),
        rule("/none", "timeouts: { request: 10s }"),
        rule("/long", "retry: { codes: [ 503 ], attempts: 1, backoff: 600ms }"),
    ];
    hall.routes(&[Route::http("retries").parent("retries").rules(&rules.concat())])
        .unwrap();
    let fails = |path: &str, status: u16, times: u32| {
        get(path)
            .with("X-Key: retry-{unique}")
            .with(&format!("X-Do: status={status} times={times}"))
    };
    let mut cases = vec![get("/four").reaches("echo-v1")];
    for status in [500, 502, 503, 504] {
        cases.push(fails("/four", status, 1).is(200).turn(2));
        cases.push(fails("/four", status, 3).is(200).turn(4));
        // When all attempts are used up, the client gets the last answer.
        cases.push(fails("/four", status, 9).is(status).turn(4));
    }
    cases.extend([
        fails("/four", 501, 1).is(501).turn(1),
        fails("/four", 429, 1).is(429).turn(1),
        fails("/one", 503, 1).is(200).turn(2),
        fails("/one", 503, 2).is(503).turn(2),
        fails("/one", 500, 1).is(500).turn(1),
        fails("/none", 503, 1).is(503).turn(1),
        fails("/four", 503, 1).http2().is(200).turn(2),
        fails("/four", 503, 1)
            .method("PUT")
            .body("again")
            .is(200)
            .turn(2)
            .body_was("again"),
        fails("/four", 503, 1).method("HEAD").is(200),
        // What may have been executed is not sent again: POST is not idempotent.
        fails("/four", 503, 1).method("POST").body("once").is(503).turn(1),
        fails("/four", 503, 1)
            .method("PATCH")
            .body("once")
            .is(503)
            .turn(1),
    ]);
    hall.check(&target, &cases).unwrap();
    // The backoff is the least pause.
    let case = fails("/long", 503, 1).with("X-Own: 1");
    let start = Instant::now();
    let answer = case.ask(&target).send(&hall.client_a).unwrap();
    let took = start.elapsed();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(
        took >= Duration::from_millis(600),
        "the second attempt came after {took:?}"
    );
}

#[test]
fn a_request_whose_connection_breaks_is_sent_again() {
    let mut hall = HALL.take();
    let target = hall.service("resets").unwrap();
    let rules = [
        rule("/again", "retry: { codes: [ 503 ], attempts: 2, backoff: 25ms }"),
        rule("/once", "timeouts: { request: 10s }"),
    ];
    hall.routes(&[Route::http("resets").parent("resets").rules(&rules.concat())])
        .unwrap();
    let breaks = |path: &str, times: u32| {
        get(path)
            .with("X-Key: reset-{unique}")
            .with(&format!("X-Do: reset times={times}"))
    };
    let cases = [
        get("/again").reaches("echo-v1"),
        breaks("/again", 1).is(200).turn(2),
        breaks("/again", 2).is(200).turn(3),
        breaks("/again", 9).is_one_of(&[500, 502, 503]),
        breaks("/once", 1).is_one_of(&[500, 502, 503]),
    ];
    hall.check(&target, &cases).unwrap();
    // A request that may have been executed is not sent again.
    let post = get("/again")
        .method("POST")
        .body("pay")
        .with("X-Key: reset-post")
        .with("X-Do: reset times=1");
    let answer = post.ask(&target).send(&hall.client_a).unwrap();
    assert!([500, 502, 503].contains(&answer.status), "{answer:?}");
    assert_eq!(attempts(&hall, "reset-post"), 1);
    // An answer that has begun is not begun again.
    let half = get("/again").with("X-Key: reset-half").with("X-Do: half times=1");
    let answer = half.ask(&target).send(&hall.client_a).unwrap();
    assert!(answer.exit != 0 && answer.status == 200, "{answer:?}");
    assert_eq!(attempts(&hall, "reset-half"), 1);
}

#[test]
fn a_backend_that_refuses_connections_is_tried_again_and_said_to_fail() {
    let mut hall = HALL.take();
    let target = hall.service("refusals").unwrap();
    // Nobody listens at this port of the workload.
    let service = "apiVersion: v1\nkind: Service\nmetadata: { name: refusing, namespace: mesh }\n\
                   spec: { clusterIP: 10.96.2.3, selector: { app: echo-v2 }, ports: [ { name: http, port: 80, targetPort: 8099, appProtocol: http } ] }\n";
    hall.write("refusing", service).unwrap();
    let rules = "- retry: { codes: [ 503 ], attempts: 2, backoff: 25ms }\n  backendRefs: [ { name: refusing, port: 80 } ]";
    hall.routes(&[Route::http("refusals").parent("refusals").rules(rules)])
        .unwrap();
    hall.check(&target, &[get("/").is_one_of(&[500, 503]).cause_is_named()])
        .unwrap();
}

#[test]
fn each_attempt_has_its_time_and_all_have_theirs() {
    let mut hall = HALL.take();
    let target = hall.service("retry-times").unwrap();
    let rules = [
        rule(
            "/attempts",
            "retry: { codes: [ 503 ], attempts: 2, backoff: 25ms }\n  timeouts: { backendRequest: 300ms }",
        ),
        rule(
            "/all",
            "retry: { codes: [ 503 ], attempts: 5, backoff: 25ms }\n  timeouts: { request: 800ms, backendRequest: 300ms }",
        ),
    ];
    hall.routes(&[Route::http("retry-times")
        .parent("retry-times")
        .rules(&rules.concat())])
        .unwrap();
    let late = |path: &str, times: u32| {
        get(path)
            .with("X-Key: late-{unique}")
            .with(&format!("X-Do: delay=2000 times={times}"))
    };
    let cases = [
        get("/attempts").reaches("echo-v1"),
        late("/attempts", 1).is(200).turn(2),
        late("/attempts", 2).is(200).turn(3),
        late("/attempts", 9).fails(504, "UT"),
        late("/all", 1).is(200).turn(2),
        late("/all", 9).fails(504, "UT"),
    ];
    hall.check(&target, &cases).unwrap();
    let start = Instant::now();
    let answer = late("/all", 9).ask(&target).send(&hall.client_a).unwrap();
    assert_eq!(answer.status, 504);
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(700) && took < Duration::from_millis(1700),
        "{took:?}"
    );
}
