//! Clients that speak first and do not speak HTTP, and those of HTTP that are slow to.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use mesh_e2e::servers::POSTGRES_PORT;
use mesh_e2e::speakers::NAME_PORT;
use mesh_e2e::traffic::{connect, outcome};
use mesh_e2e::{LONG, MOMENT};

use crate::{WORLD, World};

#[test]
fn redis_is_bytes() {
    let world = WORLD.take();
    let (opaque, stalled) = (world.told("opaque"), world.told("undecided"));
    let (host, port) = (
        crate::at("store").ip().to_string(),
        crate::at("store").port().to_string(),
    );
    let redis = |words: &[&str]| {
        let arguments = [&["-h", &host, "-p", &port][..], words].concat();
        world
            .client
            .place
            .run("redis-cli", &arguments, MOMENT)
            .unwrap()
            .text()
    };
    assert_eq!(redis(&["set", "colour", "green"]).trim(), "OK");
    assert_eq!(redis(&["get", "colour"]).trim(), "green");
    assert!(world.told("opaque") >= opaque + 2.0);
    assert!(
        (world.told("undecided") - stalled).abs() < 0.5,
        "it was told at once"
    );
}

#[test]
fn postgresql_works_with_tls_and_without() {
    let world = WORLD.take();
    for (mode, expected) in [("require", "t"), ("disable", "f")] {
        let target = format!(
            "host={} port={POSTGRES_PORT} user=postgres dbname=postgres sslmode={mode}",
            crate::at("books").ip()
        );
        let query = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
        let psql = world
            .client
            .place
            .program("psql")
            .unwrap()
            .args([&target, "-Atc", query]);
        let answer = psql.run(LONG).unwrap().success().unwrap().text();
        assert_eq!(answer.trim(), expected, "sslmode={mode}");
    }
}

#[test]
fn https_passes_through_and_the_client_sees_the_servers_certificate() {
    let world = WORLD.take();
    let told = world.told("tls");
    let url = format!("https://{}/name", crate::at("left"));
    let curl = world
        .client
        .place
        .run("curl", &["-sSkv", "--max-time", "5", &url], MOMENT)
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&curl.stdout).trim(), "left");
    assert!(curl.stderr.contains("rcgen self signed cert"), "{}", curl.stderr);
    assert!(world.told("tls") > told);
}

#[test]
fn a_request_that_comes_byte_by_byte_is_a_request() {
    let mut world = WORLD.take();
    let at = world.service("slow", "left", 80, NAME_PORT, None).unwrap();
    let told = world.told("http1");
    let mut client = connect(&world.client, at);
    for byte in b"GET /name HTTP/1.1\r\nHost: slow\r\nConnection: close\r\n\r\n" {
        client.write_all(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    let answer = String::from_utf8(outcome(&mut client).unwrap()).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("left"),
        "{answer}"
    );
    assert!((world.told("http1") - told - 1.0).abs() < 0.5);
}

#[test]
fn a_client_of_http_may_connect_long_before_it_asks() {
    let mut world = WORLD.take();
    let at = world.service("early", "left", 80, NAME_PORT, None).unwrap();
    let mut client = connect(&world.client, at);
    std::thread::sleep(Duration::from_millis(300));
    client
        .write_all(b"GET /name HTTP/1.1\r\nHost: early\r\nConnection: close\r\n\r\n")
        .unwrap();
    let answer = String::from_utf8(outcome(&mut client).unwrap()).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("left"),
        "{answer}"
    );
    let broken = world.mesh.nodes[1].metrics().unwrap();
    let labels = [
        ("direction", "inbound"),
        ("workload", "mesh/left"),
        ("reason", "broken"),
    ];
    let broken = broken.sum("mesh_node_connections_failed_total", &labels);
    assert!(
        broken < 0.5,
        "what was opened in vain was broken off and not ended"
    );
}

#[test]
fn clients_that_ask_at_once_cause_no_connections_in_vain() {
    const REQUESTS: f64 = 300.0;
    let mut world = WORLD.take();
    let at = world.service("prompt", "left", 80, NAME_PORT, None).unwrap();
    // nginx closes after each answer: a connection for each request, and one more for each in vain.
    let opened = |world: &World| {
        let labels = [("direction", "inbound"), ("workload", "mesh/left")];
        let metrics = world.mesh.nodes[1].metrics().unwrap();
        metrics.sum("mesh_node_connections_opened_total", &labels)
    };
    let before = opened(&world);
    let probe = Path::new(env!("CARGO_BIN_EXE_mesh-probe"));
    let probe = world.client.place.program_at("prompt", probe);
    let probe = probe.args(["short", &at.to_string(), &REQUESTS.to_string()]);
    probe.run(LONG).unwrap().success().unwrap();
    let in_vain = opened(&world) - before - REQUESTS;
    mesh_e2e::report!("{REQUESTS} connections with a request: {in_vain} opened in vain");
    assert!(
        in_vain <= REQUESTS / 20.0,
        "{in_vain} connections were opened in vain"
    );
}

#[test]
fn what_is_no_http_is_refused_where_http_is_declared() {
    let mut world = WORLD.take();
    let at = world
        .service("declared", "left", 80, NAME_PORT, Some("http"))
        .unwrap();
    let mut client = connect(&world.client, at);
    client
        .write_all(b"\0\0\0\x08 this is something else\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    drop(client.read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
    assert!(world.told_at("http1", "http1") >= 1.0);
}
