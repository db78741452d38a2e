//! gRPC without routes: all four kinds of calls, their metadata, trailers and failures, over both nodes.

use std::net::SocketAddr;
use std::time::Instant;

use mesh_e2e::hall::Hall;
use mesh_e2e::{MOMENT, peers, report};
use mesh_harness::{Workload, until};
use serde_json::{Value, json};

use crate::HALL;

fn call(hall: &Hall, from: &Workload, service: &str, calls: &[Value]) -> Vec<Value> {
    let target = hall.target(service).unwrap();
    peers::grpc(from, &hall.folder(), SocketAddr::new(target.address, 7070), calls).unwrap()
}

/// Whether metadata has this pair.
fn has(metadata: &Value, key: &str, value: &str) -> bool {
    metadata
        .as_array()
        .is_some_and(|pairs| pairs.iter().any(|pair| pair[0] == key && pair[1] == value))
}

#[test]
fn all_kinds_of_calls_carry_messages_metadata_and_trailers() {
    let hall = HALL.take();
    let calls = [
        json!({ "method": "/echo.Echo/Unary", "metadata": [["x-own", "a"], ["x-own", "b"], ["x-own-bin", "bytes"]], "size": 1_000_000 }),
        json!({ "method": "/echo.Echo/Down", "kind": "down", "metadata": [["x-do", "count=50 size=10000"]] }),
        json!({ "method": "/echo.Echo/Up", "kind": "up", "messages": 50, "size": 10_000 }),
        json!({ "method": "/echo.Echo/Both", "kind": "both", "messages": 50 }),
    ];
    // The port that says h2c, and the ones that say nothing.
    for service in ["echo", "echo-v1", "echo-v2"] {
        for client in [&hall.client_a, &hall.client_b] {
            let answers = call(&hall, client, service, &calls);
            for answer in &answers {
                assert_eq!(answer["code"], 0, "{service}: {answer}");
                assert!(has(&answer["trailing"], "x-after", "the messages"), "{answer}");
                assert!(has(&answer["trailing"], "x-bytes-bin", "0001ff"), "{answer}");
            }
            let [unary, down, up, both] = &answers[..] else {
                panic!("{answers:?}")
            };
            assert_eq!(unary["messages"][0]["received"], 1_000_000);
            let metadata = &unary["messages"][0]["metadata"];
            assert!(
                has(metadata, "x-own", "a")
                    && has(metadata, "x-own", "b")
                    && has(metadata, "x-own-bin", "6279746573"),
                "{metadata}"
            );
            assert_eq!(down["messages"].as_array().unwrap().len(), 50);
            assert!(
                has(
                    &down["initial"],
                    "x-server",
                    down["messages"][0]["server"].as_str().unwrap()
                ),
                "{}",
                down["initial"]
            );
            assert_eq!(
                (&up["messages"][0]["count"], &up["messages"][0]["received"]),
                (&json!(50), &json!(500_000))
            );
            let said: Vec<&str> = both["messages"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|one| one["said"].as_str())
                .collect();
            assert_eq!((said.len(), said[49]), (50, "message 49"));
        }
    }
}

#[test]
fn failures_come_through_with_their_words_and_metadata() {
    let hall = HALL.take();
    for service in ["echo-v1", "echo-v2"] {
        let calls = [
            json!({ "method": "/echo.Echo/Unary", "metadata": [["x-do", "code=7"]] }),
            json!({ "method": "/echo.Echo/Missing" }),
            json!({ "method": "/echo.Echo/Down", "kind": "down", "metadata": [["x-do", "count=5 after=3 code=10"]] }),
            json!({ "method": "/echo.Echo/Both", "kind": "both", "messages": 5, "metadata": [["x-do", "after=2 code=13"]] }),
        ];
        let answers = call(&hall, &hall.client_a, service, &calls);
        let codes: Vec<&Value> = answers.iter().map(|answer| &answer["code"]).collect();
        assert_eq!(codes, [7, 12, 10, 13]);
        for answer in [&answers[0], &answers[2], &answers[3]] {
            assert_eq!(answer["details"], format!("asked for: {service}"));
            assert!(has(&answer["trailing"], "x-after", "the failure"), "{answer}");
        }
        // What came before the failure has come.
        assert_eq!(answers[2]["messages"].as_array().unwrap().len(), 3);
        assert_eq!(answers[3]["messages"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn deadlines_and_cancellations_reach_the_server() {
    let hall = HALL.take();
    let calls = [
        json!({ "method": "/echo.Echo/Unary", "timeout": 30.0 }),
        json!({ "method": "/echo.Echo/Unary", "timeout": 0.5, "metadata": [["x-do", "delay=5000"]] }),
        json!({ "method": "/echo.Echo/Down", "kind": "down", "metadata": [["x-do", "count=1000 every=20"]], "cancel_after": 5 }),
        // Some messages of a stream, which the client's deadline then breaks off.
        json!({ "method": "/echo.Echo/LeftUp", "kind": "up", "messages": 3, "hold": 5, "timeout": 0.5 }),
    ];
    for service in ["echo-v1", "echo-v2"] {
        let start = Instant::now();
        let answers = call(&hall, &hall.client_a, service, &calls);
        // grpc-timeout came through: the server knows how long the client waits.
        let left = answers[0]["messages"][0]["seconds_left"].as_f64().unwrap();
        assert!((25.0..=30.5).contains(&left), "{left}");
        let codes: Vec<&Value> = answers.iter().map(|answer| &answer["code"]).collect();
        assert_eq!(codes, [0, 4, 1, 4]);
        // The others go on. (Not at the same moment: grpcio's server ends a stream twice when its deadline passes, and
        // the crate h2 takes that for the end of the connection, whatever else is on it.)
        let next = call(
            &hall,
            &hall.client_a,
            service,
            &[json!({ "method": "/echo.Echo/Unary" })],
        );
        assert_eq!(next[0]["code"], 0, "{}", next[0]);
        assert!(start.elapsed().as_secs() < 8, "the cancelled call was waited for");
    }
    // Both servers were told.
    for method in ["Unary", "Down"] {
        let told = until("the servers to be told that the client has gone", MOMENT, || {
            let line = format!("cancelled: /echo.Echo/{method}\n");
            let told = hall.servers.iter().filter(|server| server.log().contains(&line));
            Ok((told.count() == 2).then_some(()))
        });
        assert!(told.is_ok(), "{method}");
    }
}

#[test]
fn a_thousand_streams_are_open_at_once() {
    let hall = HALL.take();
    for service in ["echo-v1", "echo-v2"] {
        let start = Instant::now();
        let ask = json!({ "method": "/echo.Echo/Both", "kind": "both", "messages": 3, "parallel": 1000, "hold": 3, "timeout": 50 });
        let answers = call(&hall, &hall.client_a, service, &[ask]);
        let good = answers
            .iter()
            .filter(|one| one["code"] == 0 && one["messages"].as_array().unwrap().len() == 3)
            .count();
        assert_eq!(good, 1000, "{:?}", answers.iter().find(|one| one["code"] != 0));
        report!(
            "1,000 streams at once to {service}, held for 3 s: {:?}",
            start.elapsed()
        );
        assert!(start.elapsed().as_secs() < 30);
    }
}
