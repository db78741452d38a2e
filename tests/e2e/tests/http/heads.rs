//! Headers on their way through: what belongs to one hop, and what follows a request.

use std::collections::BTreeSet;

use mesh_e2e::case::{Case, get};

use crate::{HALL, PORTS};

/// Each case over all versions to all versions.
fn in_all_versions(cases: &[Case]) -> Vec<Case> {
    let mut all = Vec::new();
    for (port, _) in PORTS {
        for case in cases {
            all.push(case.clone().port(port));
            all.push(case.clone().port(port).http2());
        }
    }
    all
}

#[test]
fn headers_of_one_hop_stay_there() {
    let hall = HALL.take();
    let target = hall.target("echo-v2").unwrap();
    let cases = [
        get("/")
            .with("Connection: keep-alive, X-Own, x-other")
            .with("X-Own: 1")
            .with("X-Other: 2")
            .with("X-Stays: 3")
            .unseen("x-own")
            .unseen("x-other")
            .sees("x-stays", "3"),
        get("/").with("Connection: close").unseen("keep-alive"),
        get("/")
            .with("Keep-Alive: timeout=5")
            .with("Proxy-Connection: keep-alive")
            .unseen("keep-alive")
            .unseen("proxy-connection"),
        get("/")
            .with("Connection: TE")
            .with("TE: trailers, deflate")
            .unseen("transfer-encoding"),
        // Not an upgrade: nobody nominated it.
        get("/").with("Upgrade: nothing").unseen("upgrade"),
    ];
    let answers = [
        get("/")
            .with("X-Answer: Connection: x-hidden")
            .with("X-Answer: X-Hidden: 1")
            .with("X-Answer: X-Shown: 2")
            .lacks("x-hidden")
            .has("x-shown", "2"),
        get("/")
            .with("X-Answer: Proxy-Connection: keep-alive")
            .lacks("proxy-connection"),
    ];
    hall.check(&target, &answers).unwrap();
    // What HTTP/2 has left of TE (RFC 9113 §8.2.2), which gRPC needs.
    let te = get("/")
        .port(8082)
        .http2()
        .with("TE: trailers")
        .sees("te", "trailers");
    hall.check(&target, &[te]).unwrap();
    // HTTP/2 has no Connection header: its clients do not send one.
    for (port, _) in PORTS {
        let cases: Vec<Case> = cases.iter().map(|case| case.clone().port(port)).collect();
        hall.check(&target, &cases).unwrap();
    }
}

#[test]
fn headers_of_a_message_come_through() {
    let hall = HALL.take();
    let target = hall.target("echo-v2").unwrap();
    let large = "v".repeat(30_000);
    let cases = [
        get("/")
            .with("X-Large: {large}".replace("{large}", &large).as_str())
            .sees("x-large", &large),
        get("/")
            .with(&format!("X-Answer: X-Large: {large}"))
            .has("x-large", &large),
        get("/").with("Cookie: a=1; b=2").sees("cookie", "a=1; b=2"),
        get("/")
            .with("X-Answer: Set-Cookie: a=1")
            .has("set-cookie", "a=1"),
        get("/").with("X-Empty;").sees("x-empty", ""),
        get("/")
            .with("Accept-Encoding: gzip, br")
            .sees("accept-encoding", "gzip, br"),
        get("/")
            .with("Authorization: Basic YTpi")
            .sees("authorization", "Basic YTpi"),
        get("/?a=%20&b=+&c=%C3%A4").query("a=%20&b=+&c=%C3%A4"),
        get("/%E4%BD%A0").path("/%E4%BD%A0"),
        get("/").with("Host: any.example:81").host("any.example:81"),
    ];
    hall.check(&target, &in_all_versions(&cases)).unwrap();
}

#[test]
fn every_request_has_an_id() {
    let hall = HALL.take();
    let target = hall.target("echo-v2").unwrap();
    hall.check(
        &target,
        &in_all_versions(&[get("/")
            .with("X-Request-Id: mine-1")
            .sees("x-request-id", "mine-1")]),
    )
    .unwrap();
    let seen = target.many(&hall.client_a, 50).unwrap();
    let ids: BTreeSet<String> = seen.iter().filter_map(|one| one.header("x-request-id")).collect();
    assert_eq!(ids.len(), 50, "{ids:?}");
    // A UUID: 8-4-4-4-12 hexadecimal digits (RFC 9562 §4).
    for id in &ids {
        let groups: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12], "{id}");
        assert!(id.chars().all(|c| c == '-' || c.is_ascii_hexdigit()), "{id}");
    }
}

#[test]
fn traces_are_passed_on_and_broken_ones_are_not() {
    let hall = HALL.take();
    let target = hall.target("echo-v2").unwrap();
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let traced = |value: &str| {
        get("/")
            .with(&format!("traceparent: {value}"))
            .with("tracestate: vendor=1")
    };
    let cases = [
        traced(good)
            .sees("traceparent", good)
            .sees("tracestate", "vendor=1"),
        // All zero, too short, upper case (W3C Trace Context §3.2.2): broken, and tracestate means nothing without it.
        traced("00-00000000000000000000000000000000-00f067aa0ba902b7-01")
            .unseen("traceparent")
            .unseen("tracestate"),
        traced("00-4bf92f35-00f067aa0ba902b7-01")
            .unseen("traceparent")
            .unseen("tracestate"),
        traced("nonsense").unseen("traceparent").unseen("tracestate"),
        get("/")
            .with("x-b3-traceid: 463ac35c9f6413ad48485a3953bb6124")
            .with("x-b3-spanid: a2fb4a1d1a96d312")
            .with("x-b3-sampled: 1")
            .sees("x-b3-traceid", "463ac35c9f6413ad48485a3953bb6124")
            .sees("x-b3-spanid", "a2fb4a1d1a96d312")
            .sees("x-b3-sampled", "1"),
        get("/")
            .with("b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1")
            .sees("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1"),
    ];
    hall.check(&target, &in_all_versions(&cases)).unwrap();
}

#[test]
fn the_backend_learns_how_the_client_spoke() {
    let hall = HALL.take();
    let target = hall.target("echo-v2").unwrap();
    let cases = [
        get("/").sees("x-forwarded-proto", "http"),
        // Somebody in front of the client has said so already.
        get("/")
            .with("X-Forwarded-Proto: https")
            .sees("x-forwarded-proto", "https"),
        get("/")
            .with("X-Forwarded-For: 192.0.2.1")
            .with("Forwarded: for=192.0.2.1")
            .sees("forwarded", "for=192.0.2.1"),
    ];
    hall.check(&target, &in_all_versions(&cases)).unwrap();
}
