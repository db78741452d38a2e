//! What is spoken to backends, and routes of what is not HTTP.

use std::collections::BTreeMap;

use mesh_e2e::ask::Ask;
use mesh_e2e::case::{Target, get};
use mesh_e2e::hall::Hall;
use mesh_e2e::routes::Route;
use mesh_e2e::{LONG, peers};
use mesh_harness::{Workload, until};
use serde_json::Value;

use crate::HALL;

#[test]
fn a_backends_port_says_what_is_spoken_to_it() {
    let mut hall = HALL.take();
    let target = hall.service("spoken").unwrap();
    let rule = |path: &str, port: u16| {
        format!(
            "- matches: [ {{ path: {{ type: PathPrefix, value: {path} }} }} ]\n  backendRefs: [ {{ name: echo-v1, port: {port} }} ]\n"
        )
    };
    let rules = [rule("/http", 80), rule("/two", 8082), rule("/undeclared", 8081)];
    hall.routes(&[Route::http("spoken").parent("spoken").rules(&rules.concat())])
        .unwrap();
    let cases = [
        get("/two/a?b")
            .reaches("echo-v1")
            .version("HTTP/2.0")
            .path("/two/a")
            .query("b")
            .host("spoken.mesh"),
        get("/two").http2().version("HTTP/2.0").host("spoken.mesh"),
        get("/two")
            .method("POST")
            .body("text")
            .version("HTTP/2.0")
            .body_was("text"),
        get("/http").version("HTTP/1.1"),
        get("/http").http2().version("HTTP/1.1").host("spoken.mesh"),
        get("/http")
            .http2()
            .method("POST")
            .body("text")
            .version("HTTP/1.1")
            .body_was("text"),
        // Nothing declared: as the client does.
        get("/undeclared").version("HTTP/1.1"),
        get("/undeclared").http2().version("HTTP/2.0"),
    ];
    hall.check(&target, &cases).unwrap();
}

fn websocket(hall: &Hall, from: &Workload, target: &Target, port: u16, path: &str, words: &[&str]) -> Value {
    let url = format!("ws://{}:{port}{path}", target.address);
    peers::websocket(from, &hall.folder(), &url, words, LONG).unwrap()
}

#[test]
fn a_websocket_goes_through_its_route() {
    let mut hall = HALL.take();
    let target = hall.service("sockets").unwrap();
    let rules = "
- matches: [ { path: { type: PathPrefix, value: /one } } ]
  filters:
  - { type: RequestHeaderModifier, requestHeaderModifier: { set: [ { name: X-Set, value: by-the-route } ] } }
  - { type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /new } } }
  backendRefs: [ { name: echo-v1, port: 8090 } ]
- matches: [ { path: { type: PathPrefix, value: /two } } ]
  backendRefs: [ { name: echo-v2, port: 8090 } ]
- matches: [ { path: { type: PathPrefix, value: /nowhere } } ]
  backendRefs: [ { name: nobody, port: 8090 } ]
";
    hall.routes(&[Route::http("sockets").parent("sockets").rules(rules)])
        .unwrap();
    for client in [&hall.client_a, &hall.client_b] {
        // At the port that says WebSocket, and at one that says HTTP.
        for port in [8090, 80] {
            let seen = websocket(&hall, client, &target, port, "/one/chat?x=1", &["who"]);
            assert_eq!(
                (seen["server"].as_str(), seen["path"].as_str()),
                (Some("echo-v1"), Some("/new/chat?x=1")),
                "{seen}"
            );
            assert_eq!(seen["subprotocol"], "chat");
            let headers = seen["headers"].to_string().to_ascii_lowercase();
            assert!(headers.contains("[\"x-set\",\"by-the-route\"]"), "{headers}");
            let seen = websocket(&hall, client, &target, port, "/two", &["who"]);
            assert_eq!(seen["server"], "echo-v2");
            let echoes = websocket(&hall, client, &target, port, "/two", &["echoes", "1000000"]);
            assert!(
                echoes["binary"] == true && echoes["large"] == true && echoes["fragmented"] == "fragmented",
                "{echoes}"
            );
            assert_eq!(
                websocket(&hall, client, &target, port, "/other", &["who"])["status"],
                404
            );
            assert_eq!(
                websocket(&hall, client, &target, port, "/nowhere", &["who"])["status"],
                500
            );
        }
    }
}

/// The server that a fresh connection reaches, or how it fails.
fn over_tcp(target: &Target, client: &Workload) -> String {
    let answer = Ask::get(&format!("http://{}:9090/", target.address))
        .send(client)
        .unwrap();
    match answer.seen() {
        Some(seen) => seen.server().to_owned(),
        None => format!("curl {}", answer.exit),
    }
}

#[test]
fn connections_are_split_by_a_tcp_route() {
    let mut hall = HALL.take();
    let target = hall.service("bytes").unwrap();
    let rules = "- backendRefs: [ { name: echo-v1, port: 9090, weight: 2 }, { name: echo-v2, port: 9090, weight: 1 }, { name: nobody, port: 9090, weight: 1 } ]";
    let route = Route::tcp("bytes")
        .parent_with("bytes", "port: 9090")
        .rules(rules);
    hall.routes(std::slice::from_ref(&route)).unwrap();
    assert_eq!(hall.condition(&route, "Accepted").unwrap().status, "True");
    assert_eq!(
        hall.condition(&route, "ResolvedRefs").unwrap().reason,
        "BackendNotFound"
    );
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for client in [&hall.client_a, &hall.client_b] {
        for _ in 0..80 {
            *counts.entry(over_tcp(&target, client)).or_default() += 1;
        }
    }
    // The share of the backend that is not there is refused; 160 draws, within four standard deviations.
    let failed: u32 = counts
        .iter()
        .filter(|(outcome, _)| outcome.starts_with("curl"))
        .map(|(_, count)| count)
        .sum();
    let count = |name: &str| counts.get(name).copied().unwrap_or_default();
    assert!(count("echo-v1").abs_diff(80) <= 25, "{counts:?}");
    assert!(
        count("echo-v2").abs_diff(40) <= 22 && failed.abs_diff(40) <= 22,
        "{counts:?}"
    );
}

#[test]
fn tls_connections_go_by_their_server_name() {
    let mut hall = HALL.take();
    let target = hall.service("secure").unwrap();
    let route = |name: &str, host: &str, backend: &str| {
        let rules = format!("- backendRefs: [ {{ name: {backend}, port: 443 }} ]");
        Route::tls(name)
            .parent_with("secure", "port: 443")
            .hostname(host)
            .rules(&rules)
    };
    let routes = [
        route("secure-one", "one.example.org", "echo-v1"),
        route("secure-any", "*.example.org", "echo-v2"),
        route("secure-nobody", "nobody.example.org", "nobody"),
    ];
    hall.routes(&routes).unwrap();
    let ask = |client: &Workload, name: &str| {
        let resolve = format!("{name}:443:{}", target.address);
        let ask = Ask::get(&format!("https://{name}/")).options(&["--insecure", "--resolve", &resolve]);
        ask.send(client).unwrap()
    };
    until("the routes to be in force", mesh_e2e::MOMENT, || {
        Ok((ask(&hall.client_a, "other.example.net").exit != 0).then_some(()))
    })
    .unwrap();
    for client in [&hall.client_a, &hall.client_b] {
        for (name, server) in [
            ("one.example.org", "echo-v1"),
            ("two.example.org", "echo-v2"),
            ("a.b.example.org", "echo-v2"),
        ] {
            let answer = ask(client, name);
            let seen = answer.seen().unwrap_or_else(|| panic!("{name}: {answer:?}"));
            assert_eq!(
                (seen.server(), seen.field("server_name").as_str()),
                (server, name)
            );
        }
        // No route for the name, or nobody behind it: no connection.
        for name in ["other.example.net", "example.org", "nobody.example.org"] {
            let answer = ask(client, name);
            assert!(answer.exit != 0 && answer.status == 0, "{name}: {answer:?}");
        }
    }
}
