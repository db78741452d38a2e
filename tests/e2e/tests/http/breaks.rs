//! One end breaks off: the other one learns it, and never takes a part for the whole.

use std::time::Instant;

use mesh_e2e::ask::Ask;
use mesh_e2e::case::get;
use serde_json::{Value, json};

use crate::{HALL, PORTS, ask, wait_entry};

#[test]
fn a_backend_that_breaks_off_leaves_no_answer_that_looks_whole() {
    let hall = HALL.take();
    for service in ["echo-v1", "echo-v2"] {
        let target = hall.target(service).unwrap();
        for (port, _) in PORTS {
            for does in ["half", "half chunked", "half=end", "half=end chunked"] {
                for http2 in [false, true] {
                    let case = get("/").port(port).with(&format!("X-Do: {does}"));
                    let case = if http2 { case.http2() } else { case };
                    let answer = case.ask(&target).send(&hall.client_a).unwrap();
                    // curl(1): 18 a part only, 56 a failed read, 92 a failed stream.
                    let what = format!(
                        "{service}:{port} {does} http2={http2}: {} {}",
                        answer.exit, answer.error
                    );
                    assert!([18, 56, 92].contains(&answer.exit), "{what}");
                    assert_eq!(answer.status, 200, "{what}");
                    assert!(!answer.body.is_empty(), "what came before has come: {what}");
                }
            }
        }
    }
}

#[test]
fn a_part_of_an_answer_to_http10_ends_with_a_reset() {
    let hall = HALL.take();
    for service in ["echo-v1", "echo-v2"] {
        let target = hall.target(service).unwrap();
        for does in ["half chunked", "half=end chunked"] {
            let header = format!("X-Do: {does}");
            let url = format!("http://{}/", target.address);
            let answer = Ask::get(&url)
                .options(&["--http1.0", "-H", &header])
                .send(&hall.client_a)
                .unwrap();
            // curl(1): 56 a failed read. Its end would be the answer's.
            assert_eq!(answer.exit, 56, "{service} {does}: {}", answer.error);
        }
    }
}

#[test]
fn a_backend_that_breaks_off_before_its_answer_is_named() {
    let hall = HALL.take();
    for service in ["echo-v1", "echo-v2"] {
        let target = hall.target(service).unwrap();
        let mut cases = Vec::new();
        for (port, _) in PORTS {
            let reset = get("/").port(port).with("X-Do: reset");
            cases.extend([
                reset.clone().is_one_of(&[502, 503]).cause_is_named(),
                reset.http2().is_one_of(&[502, 503]).cause_is_named(),
            ]);
        }
        hall.check(&target, &cases).unwrap();
        // A client in HTTP/1.1 keeps its connection.
        let url = format!("http://{}/", target.address);
        let two = Ask::get(&url).options(&["-H", "X-Do: reset", "-w", "%{num_connects}", &url]);
        let answer = two.send(&hall.client_a).unwrap();
        assert!(
            answer.text().ends_with('0'),
            "the second request needed a connection: {}",
            answer.text()
        );
    }
}

#[test]
fn a_client_that_leaves_while_it_sends_is_broken_off_at_the_backend() {
    let hall = HALL.take();
    for service in ["echo-v1", "echo-v2"] {
        let target = hall.target(service).unwrap();
        let server = if service == "echo-v1" { &hall.v1 } else { &hall.v2 };
        for (port, backend) in PORTS {
            let key = |version: i32| format!("leaves-{service}-{port}-{version}");
            let asks: Vec<Value> = [1, 2]
                .iter()
                .map(|version| {
                    json!({ "version": version, "method": "POST", "size": 100_000_000, "every": 20, "leave_after": 500_000, "own": true,
                            "headers": { "x-key": key(*version) } })
                })
                .collect();
            for (asked, answer) in asks.iter().zip(ask(&hall, &hall.client_a, &target, port, &asks)) {
                assert!(
                    answer["error"].is_string() && answer["status"].is_null(),
                    "{asked}: {answer}"
                );
            }
            for version in [1, 2] {
                let entry = wait_entry(server, &key(version), |entry| entry["end"] == "aborted");
                assert_eq!(entry["protocol"], backend);
                assert!(
                    entry["received"].as_u64().unwrap() > 300_000,
                    "what was sent came: {entry}"
                );
                assert!(
                    entry["status"].is_null(),
                    "it was taken for a whole request: {entry}"
                );
            }
        }
    }
}

#[test]
fn a_client_that_leaves_while_it_reads_or_waits_is_not_served_on() {
    let hall = HALL.take();
    for service in ["echo-v1", "echo-v2"] {
        let target = hall.target(service).unwrap();
        let server = if service == "echo-v1" { &hall.v1 } else { &hall.v2 };
        for (port, _) in PORTS {
            let key = |what: &str, version: i32| format!("left-{what}-{service}-{port}-{version}");
            let asks: Vec<Value> = [1, 2]
                .iter()
                .map(|version| {
                    json!({ "version": version, "headers": { "x-key": key("reading", *version), "x-do": "size=1000000000" },
                            "leave_after": 1_000_000, "leave_reading": true })
                })
                .collect();
            ask(&hall, &hall.client_a, &target, port, &asks);
            for version in [1, 2] {
                let entry = wait_entry(server, &key("reading", version), |entry| {
                    entry["end"] == "aborted"
                });
                assert!(entry["sent"].as_u64().unwrap() < 200_000_000, "{entry}");
            }
            // curl waits for an answer for half a second, and leaves. (The end of a client in HTTP/1.1 may mean that it
            // has no more to say and waits for its answer; so it gets one.)
            let start = Instant::now();
            let header = format!("X-Key: {}", key("waiting", 2));
            let url = format!("http://{}:{port}/", target.address);
            let options = [
                "--http2-prior-knowledge",
                "--max-time",
                "0.5",
                "-H",
                "X-Do: hold",
                "-H",
                &header,
            ];
            let left = Ask::get(&url).options(&options).send(&hall.client_a).unwrap();
            assert_eq!(left.exit, 28);
            wait_entry(server, &key("waiting", 2), |entry| entry["end"] == "aborted");
            assert!(start.elapsed().as_secs() < 6, "{:?}", start.elapsed());
        }
    }
}
