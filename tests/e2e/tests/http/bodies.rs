//! Bodies and trailers, in every combination of the versions that the client and the backend speak.

use mesh_e2e::case::get;
use serde_json::{Value, json};

use crate::{HALL, PORTS, ask};

const MIB: u64 = 1024 * 1024;

/// What the server saw of the request that this is the answer to.
fn seen(answer: &Value) -> Value {
    let text = answer["text"].as_str().unwrap_or_default();
    let seen = serde_json::from_str(text);
    assert!(seen.is_ok(), "{answer}");
    seen.unwrap()
}

fn header<'a>(answer: &'a Value, name: &str) -> Option<&'a str> {
    let pairs = answer["headers"].as_array()?;
    pairs.iter().find(|pair| pair[0] == name)?[1].as_str()
}

#[test]
fn bodies_come_through_unchanged_in_all_versions() {
    let hall = HALL.take();
    for target in ["echo-v1", "echo-v2"] {
        let target = hall.target(target).unwrap();
        for (port, backend) in PORTS {
            let mut asks = Vec::new();
            for version in [1, 2] {
                for (size, chunked) in [
                    (0, false),
                    (1, false),
                    (65_537, true),
                    (16 * MIB, false),
                    (16 * MIB, true),
                ] {
                    asks.push(
                        json!({ "version": version, "method": "POST", "size": size, "chunked": chunked }),
                    );
                }
            }
            let answers = ask(&hall, &hall.client_a, &target, port, &asks);
            for (asked, answer) in asks.iter().zip(&answers) {
                assert_eq!(answer["status"], 200, "{asked}: {answer}");
                let seen = seen(answer);
                assert_eq!(seen["protocol"], backend, "{asked}");
                assert_eq!(seen["body"]["length"], asked["size"], "{asked}");
                assert_eq!(seen["body"]["sha256"], answer["sent_sha256"], "{asked}");
            }
        }
    }
}

#[test]
fn answers_come_through_unchanged_in_all_versions() {
    let hall = HALL.take();
    let target = hall.target("echo-v2").unwrap();
    let mut digests = Vec::new();
    for (port, _) in PORTS {
        let asks: Vec<Value> = [(1, ""), (1, " chunked"), (2, ""), (2, " chunked")]
            .iter()
            .map(|(version, how)| json!({ "version": version, "headers": { "x-do": format!("size={}{how}", 16 * MIB) } }))
            .collect();
        for (asked, answer) in asks.iter().zip(ask(&hall, &hall.client_a, &target, port, &asks)) {
            assert_eq!(
                (&answer["length"], &answer["error"]),
                (&json!(16 * MIB), &Value::Null),
                "{asked}: {answer}"
            );
            // A length that is known stays so, and one that is not is not made up.
            let length = header(&answer, "content-length");
            let is_known = !asked["headers"]["x-do"].as_str().unwrap().contains("chunked");
            assert_eq!(length.is_some(), is_known, "{asked}: {answer}");
            digests.push(answer["sha256"].clone());
        }
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

#[test]
fn trailers_come_through_both_ways_in_all_versions() {
    let hall = HALL.take();
    for service in ["echo-v1", "echo-v2"] {
        let target = hall.target(service).unwrap();
        for (port, backend) in PORTS {
            let asks = [1, 2].map(|version| {
                json!({ "version": version, "method": "POST", "size": 100_000, "trailers": { "x-end": "of the body", "x-sum": "1" },
                        "headers": { "x-do": "trailers", "te": "trailers" } })
            });
            for (asked, answer) in asks.iter().zip(ask(&hall, &hall.client_a, &target, port, &asks)) {
                assert_eq!(answer["status"], 200, "{asked}: {answer}");
                let seen = seen(&answer);
                assert_eq!(seen["protocol"], backend);
                let sent = &seen["body"]["trailers"];
                assert_eq!(
                    (&sent["x-end"], &sent["x-sum"]),
                    (&json!("of the body"), &json!("1")),
                    "{asked}: {seen}"
                );
                assert_eq!(answer["trailers"]["x-after"], "the body", "{asked}: {answer}");
                assert_eq!(answer["trailers"]["x-sum"], answer["sha256"], "{asked}: {answer}");
            }
        }
    }
}

#[test]
fn an_answer_may_come_before_the_body_has_gone() {
    let hall = HALL.take();
    for service in ["echo-v1", "echo-v2"] {
        let target = hall.target(service).unwrap();
        for (port, _) in PORTS {
            // Ten megabytes that take five seconds; the answer does not wait for them.
            let asks = [1, 2].map(|version| {
                json!({ "version": version, "method": "POST", "size": 10 * MIB, "every": 30, "own": true,
                        "headers": { "x-do": "early status=413" } })
            });
            for (asked, answer) in asks.iter().zip(ask(&hall, &hall.client_a, &target, port, &asks)) {
                assert_eq!(answer["status"], 413, "{asked}: {answer}");
            }
        }
    }
}

#[test]
fn answers_without_bodies_have_none() {
    let hall = HALL.take();
    for service in ["echo-v1", "echo-v2"] {
        let target = hall.target(service).unwrap();
        let mut cases = Vec::new();
        for (port, _) in PORTS {
            for http2 in [false, true] {
                let version = |case: mesh_e2e::case::Case| if http2 { case.http2() } else { case };
                let get = |word: &str| version(get("/").port(port).with(&format!("X-Do: {word}")));
                cases.extend([
                    get("status=204").is(204).is_empty(),
                    get("status=304")
                        .with("If-None-Match: a")
                        .with("X-Answer: ETag: a")
                        .is(304)
                        .has("etag", "a")
                        .is_empty(),
                    version(mesh_e2e::case::get("/").port(port).method("HEAD"))
                        .has("content-type", "application/json")
                        .is_empty(),
                    get("size=1000000")
                        .method("HEAD")
                        .has("content-length", "1000000")
                        .is_empty(),
                    get("size=0").has("content-length", "0").is_empty(),
                ]);
            }
        }
        hall.check(&target, &cases).unwrap();
    }
}

#[test]
fn a_client_that_waits_for_100_gets_it_from_the_backend() {
    let hall = HALL.take();
    for service in ["echo-v1", "echo-v2"] {
        let target = hall.target(service).unwrap();
        for (port, _) in PORTS {
            let asks: Vec<Value> = [1, 2]
                .iter()
                .flat_map(|version| {
                    [
                        json!({ "version": version, "method": "POST", "text": "go on", "expect": true }),
                        json!({ "version": version, "method": "POST", "text": "unwanted", "expect": true,
                                "headers": { "x-do": "refuse-continue" }, "own": true }),
                    ]
                })
                .collect();
            let answers = ask(&hall, &hall.client_a, &target, port, &asks);
            for (asked, answer) in asks.iter().zip(&answers) {
                if asked["text"] == "go on" {
                    assert_eq!(
                        (&answer["status"], &answer["interim"]),
                        (&json!(200), &json!([100])),
                        "{asked}: {answer}"
                    );
                    assert_eq!(seen(answer)["body"]["text"], "go on");
                } else {
                    assert_eq!(
                        (&answer["status"], &answer["interim"]),
                        (&json!(417), &json!([])),
                        "{asked}: {answer}"
                    );
                }
            }
        }
    }
}

#[test]
fn interim_answers_come_through_to_those_who_understand_them() {
    let hall = HALL.take();
    for service in ["echo-v1", "echo-v2"] {
        let target = hall.target(service).unwrap();
        for (port, _) in PORTS {
            let case = get("/").port(port).with("X-Do: hints").http2();
            hall.check(&target, &[case.interim(&[103]).reaches(service)])
                .unwrap();
        }
    }
}
