//! The access log: what a line says, in either form, and that nobody can write into it.

use mesh_e2e::MOMENT;
use mesh_e2e::case::get;
use mesh_e2e::routes::Route;
use serde_json::Value;

use crate::{HALL, ask};

/// What clients may say of themselves, and should not get away with.
const FORGED: &str = "x\" status=200 flags=- path=\"/forged\" \\\" level=INFO";

#[test]
fn a_line_tells_all_of_a_request_as_text_and_as_json() {
    let mut hall = HALL.take();
    let target = hall.service("told").unwrap();
    let rules = "- name: all\n  backendRefs: [ { name: echo-v1, port: 8080 } ]\n";
    hall.routes(&[Route::http("told").parent("told").rules(rules)])
        .unwrap();
    let case = get("/cart/1?secret=s3cret")
        .body("twelve bytes")
        .with("User-Agent: test/1")
        .with("X-Request-Id: 6f1d6a2c-0000-4000-8000-000000000001")
        .with("traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let (from_a, from_b) = (hall.a().log().len(), hall.b().log().len());
    ask(&case, &target, &hall.client_a, 200);
    ask(&case, &target, &hall.client_b, 200);

    let text = hall
        .a()
        .wait_log(from_a, &["request complete", "mesh/told:80"], MOMENT)
        .unwrap();
    // Quotes are left out of what wait_log gives.
    for part in [
        " INFO access: request complete ",
        " workload=mesh/client-a ",
        " identity=spiffe://cluster.local/ns/mesh/sa/",
        " method=POST ",
        " authority=told.mesh ",
        " path=/cart/1 ",
        " protocol=HTTP/1.1 ",
        " status=200 ",
        " grpc_status=- ",
        " flags=- ",
        " attempts=1 ",
        " route=mesh/told#all ",
        " backend=mesh/echo-v1:8080 ",
        " peer_workload=mesh/echo-v1 ",
        " peer=spiffe://cluster.local/ns/mesh/sa/",
        " transport=local ",
        " request_bytes=12 ",
        " request_id=6f1d6a2c-0000-4000-8000-000000000001 ",
        " trace_id=4bf92f3577b34da6a3ce929d0e0e4736 ",
        " user_agent=test/1",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(!text.contains("s3cret"), "a query may hold secrets: {text}");

    hall.b()
        .wait_log(from_b, &["request complete", "mesh/told:80"], MOMENT)
        .unwrap();
    let log = hall.b().log();
    let line = log.lines().rfind(|line| line.contains("mesh/told:80")).unwrap();
    let json: Value = serde_json::from_str(line).unwrap();
    for (field, expected) in [
        ("level", "INFO"),
        ("target", "access"),
        ("workload", "mesh/client-b"),
        ("method", "POST"),
        ("authority", "told.mesh"),
        ("path", "/cart/1"),
        ("protocol", "HTTP/1.1"),
        ("flags", "-"),
        ("service", "mesh/told:80"),
        ("route", "mesh/told#all"),
        ("backend", "mesh/echo-v1:8080"),
        ("peer_workload", "mesh/echo-v1"),
        ("transport", "hbone"),
        ("request_id", "6f1d6a2c-0000-4000-8000-000000000001"),
        ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("user_agent", "test/1"),
    ] {
        assert_eq!(json[field], expected, "{field} in {line}");
    }
    assert_eq!(json["status"], 200);
    assert_eq!(json["grpc_status"], Value::Null);
    assert_eq!(json["attempts"], 1);
    assert_eq!(json["request_bytes"], 12);
    let (all, upstream) = (&json["duration"], &json["upstream_duration"]);
    assert!(
        all.as_f64() >= upstream.as_f64() && upstream.as_f64() > Some(0.0),
        "{line}"
    );
    assert!(json["endpoint"].as_str().unwrap().ends_with(":8080"), "{line}");
}

#[test]
fn no_client_writes_into_another_field() {
    let mut hall = HALL.take();
    let target = hall.service("forged").unwrap();
    let rules = "- matches: [ { path: { type: Exact, value: /only } } ]\n  backendRefs: [ { name: echo-v1, port: 8080 } ]\n";
    hall.routes(&[Route::http("forged").parent("forged").rules(rules)])
        .unwrap();
    let case = get("/a%22%20status=200%5C")
        .with(&format!("User-Agent: {FORGED}"))
        .with(&format!("X-Request-Id: {FORGED}"))
        .with(&format!("X-Long: {}", "y".repeat(2000)));
    let (from_a, from_b) = (hall.a().log().len(), hall.b().log().len());
    ask(&case, &target, &hall.client_a, 404);
    ask(&case, &target, &hall.client_b, 404);
    hall.a().wait_log(from_a, &["mesh/forged:80"], MOMENT).unwrap();
    let log = hall.a().log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("mesh/forged:80") && line.contains(" access: request"))
        .collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let outside = outside_of_quotes(lines[0]);
    assert!(
        outside.contains(" status=404 ") && outside.contains(" flags=NR "),
        "{outside}"
    );
    assert_eq!(outside.matches(" status=").count(), 1, "{outside}");
    assert!(
        !outside.contains("forged\"") && !outside.contains("level="),
        "{outside}"
    );

    hall.b().wait_log(from_b, &["mesh/forged:80"], MOMENT).unwrap();
    let log = hall.b().log();
    let line = log.lines().rfind(|line| line.contains("mesh/forged:80")).unwrap();
    let json: Value = serde_json::from_str(line).unwrap();
    assert_eq!(json["status"], 404);
    assert_eq!(json["flags"], "NR");
    assert_eq!(json["user_agent"], FORGED);
}

/// What a reader sees who knows quotes and escapes, and leaves out what is in them.
fn outside_of_quotes(line: &str) -> String {
    let mut outside = String::new();
    let (mut is_quoted, mut is_escaped) = (false, false);
    for character in line.chars() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            _ => outside.push(character),
        }
    }
    outside
}
