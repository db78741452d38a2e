//! Connections that become something else: WebSocket, other upgrades, CONNECT.

use std::io::{Read, Write};
use std::net::TcpStream;

use mesh_e2e::case::Target;
use mesh_e2e::hall::Hall;
use mesh_e2e::traffic::connect;
use mesh_e2e::{LONG, peers};
use mesh_harness::Workload;
use serde_json::{Value, json};

use crate::HALL;

fn websocket(hall: &Hall, from: &Workload, target: &Target, words: &[&str]) -> Value {
    let url = format!("ws://{}:8090/chat?room=1", target.address);
    peers::websocket(from, &hall.folder(), &url, words, LONG).unwrap()
}

#[test]
fn a_websocket_carries_all_kinds_of_messages() {
    let hall = HALL.take();
    for service in ["echo-v1", "echo-v2"] {
        let target = hall.target(service).unwrap();
        let about = websocket(&hall, &hall.client_a, &target, &["who"]);
        assert_eq!(
            (&about["server"], &about["path"]),
            (&json!(service), &json!("/chat?room=1")),
            "{about}"
        );
        let headers = about["headers"].to_string().to_ascii_lowercase();
        assert!(
            headers.contains("\"sec-websocket-extensions\"")
                && headers.contains("[\"x-client\",\"websockets\"]"),
            "{headers}"
        );
        let echoes = websocket(&hall, &hall.client_a, &target, &["echoes", "20000000"]);
        let expected = json!({ "text": "grüße", "binary": true, "fragmented": "fragmented", "large": true });
        assert_eq!(echoes, expected);
        let both = websocket(&hall, &hall.client_a, &target, &["both-ways", "300", "50000"]);
        assert_eq!(both["received"], 300);
        let idle = websocket(&hall, &hall.client_a, &target, &["idle", "2"]);
        assert_eq!(idle["messages"], json!(["before", "after"]));
    }
}

#[test]
fn a_websocket_ends_as_its_ends_say() {
    let hall = HALL.take();
    for service in ["echo-v1", "echo-v2"] {
        let target = hall.target(service).unwrap();
        let end = |words: &[&str]| websocket(&hall, &hall.client_b, &target, words);
        assert_eq!(
            end(&["say", "close 4001 no more"]),
            json!({ "code": 4001, "reason": "no more" })
        );
        assert_eq!(
            end(&["say", "close 1001 leaving"]),
            json!({ "code": 1001, "reason": "leaving" })
        );
        assert_eq!(
            end(&["leave", "3001", "bye"]),
            json!({ "code": 3001, "reason": "bye" })
        );
        // No closing handshake: the client must not take it for one.
        assert_eq!(end(&["say", "gone"]), json!({ "code": null, "reason": null }));
    }
}

/// Reads an answer's head, byte by byte: what follows belongs to the tunnel.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(
            stream.read(&mut byte).unwrap(),
            1,
            "{}",
            String::from_utf8_lossy(&head)
        );
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Says something and must get it back.
fn echo(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).unwrap();
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, text);
}

#[test]
fn another_upgrade_is_a_tunnel_too() {
    let hall = HALL.take();
    for service in ["echo-v1", "echo-v2"] {
        let target = hall.target(service).unwrap();
        let mut stream = connect(&hall.client_a, (target.address, 80).into());
        // The first bytes of the other protocol may come with the request.
        let request = "GET /switch HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let answer = head(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        let lower = answer.to_ascii_lowercase();
        assert!(
            lower.contains("upgrade: echo/1\r\n") && lower.contains("connection: upgrade\r\n"),
            "{answer}"
        );
        echo(&mut stream, b"after the switch");
        echo(&mut stream, &vec![7; 300_000]);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the end comes through");
    }
}

#[test]
fn a_refused_upgrade_is_an_answer_like_any_other() {
    let hall = HALL.take();
    let target = hall.target("echo-v2").unwrap();
    let mut stream = connect(&hall.client_a, (target.address, 80).into());
    let request =
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\nX-Do: status=403\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let answer = head(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    // The connection is still HTTP's.
    stream
        .write_all(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    assert!(head(&mut stream).starts_with("HTTP/1.1 200 "));
}

#[test]
fn connect_is_passed_on_and_becomes_a_tunnel() {
    let hall = HALL.take();
    for service in ["echo-v1", "echo-v2"] {
        let target = hall.target(service).unwrap();
        let mut stream = connect(&hall.client_a, (target.address, 80).into());
        let request =
            "CONNECT inside.example:5000 HTTP/1.1\r\nHost: inside.example:5000\r\nX-Key: connect\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let answer = head(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        echo(&mut stream, b"through the tunnel");
        let server = if service == "echo-v1" { &hall.v1 } else { &hall.v2 };
        let entry = crate::wait_entry(server, "connect", |entry| !entry.is_null());
        assert_eq!(
            (&entry["method"], &entry["target"]),
            (&json!("CONNECT"), &json!("inside.example:5000"))
        );
        // One that the backend refuses is an answer.
        let mut stream = connect(&hall.client_a, (target.address, 80).into());
        stream
            .write_all(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nX-Do: status=405\r\n\r\n")
            .unwrap();
        assert!(head(&mut stream).starts_with("HTTP/1.1 405 "));
    }
}
