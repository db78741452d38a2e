//! Traffic policy for connections: how long nothing may move, how many there may be, how long one may take to come about,
//! and endpoints that do not take any.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use mesh_e2e::hall::NAMESPACE;
use mesh_e2e::speakers::NAME_PORT;
use mesh_e2e::traffic::{accept, connect, listen, outcome};
use mesh_e2e::{LONG, MOMENT};
use mesh_harness::manifest::{ServiceManifest, WorkloadManifest};
use mesh_harness::until;

use crate::{QUIET_PORT, WORLD, World};

/// Writes a policy for a Service.
fn policy(world: &World, service: &str, spec: &str) {
    let yaml = format!(
        "apiVersion: nodemesh.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {{ name: {service}, namespace: {NAMESPACE} }}\n\
         spec:\n  targetRefs: [ {{ kind: Service, name: {service} }} ]\n  {spec}\n"
    );
    let file = format!("policy-{service}.yaml");
    world.mesh.manifests.write(&file, &yaml).unwrap();
}

fn failed(world: &World, reason: &str) -> f64 {
    let labels = [("direction", "outbound"), ("reason", reason)];
    let metrics = world.a().metrics().unwrap();
    metrics.sum("mesh_node_connections_failed_total", &labels)
}

#[test]
fn a_connection_on_which_nothing_moves_ends() {
    let mut world = WORLD.take();
    policy(&world, "idle", "timeouts: { idle: 1s }");
    let at = world
        .service("idle", "quiet", QUIET_PORT, QUIET_PORT, None)
        .unwrap();
    let idle = failed(&world, "idle");
    let listener = listen(&world.quiet, QUIET_PORT);
    // Before anybody has spoken, and after.
    for word in [&b""[..], b"\0word"] {
        let mut client = connect(&world.client, at);
        client.write_all(word).unwrap();
        let (mut server, _) = accept(&listener);
        server.read_exact(&mut vec![0; word.len()]).unwrap();
        let begun = Instant::now();
        assert_eq!(outcome(&mut client), Err(ErrorKind::ConnectionReset));
        let after = begun.elapsed();
        assert!(
            after > Duration::from_millis(800) && after < Duration::from_secs(4),
            "after {after:?}"
        );
        assert!(outcome(&mut server).is_err());
    }
    assert!(failed(&world, "idle") >= idle + 2.0);
    // As long as something moves, in whatever direction, it goes on.
    let mut client = connect(&world.client, at);
    client.write_all(b"\0").unwrap();
    let (mut server, _) = accept(&listener);
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(500));
        server.write_all(b".").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
}

#[test]
fn connections_beyond_the_limit_are_reset() {
    let mut world = WORLD.take();
    policy(&world, "few", "circuitBreaking: { maxConnections: 2 }");
    let at = world
        .service("few", "quiet", QUIET_PORT, QUIET_PORT, Some("tcp"))
        .unwrap();
    let overflow = failed(&world, "overflow");
    let listener = listen(&world.quiet, QUIET_PORT);
    let mut held: Vec<_> = (0..2)
        .map(|_| (connect(&world.client, at), accept(&listener)))
        .collect();
    let mut third = connect(&world.client, at);
    assert_eq!(outcome(&mut third), Err(ErrorKind::ConnectionReset));
    assert!(failed(&world, "overflow") > overflow);
    held.pop();
    until("a place to be free", MOMENT, || {
        let mut next = connect(&world.client, at);
        next.set_read_timeout(Some(Duration::from_millis(300)))?;
        let read = next.read(&mut [0]);
        Ok(matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock).then_some(()))
    })
    .unwrap();
}

#[test]
fn an_endpoint_that_takes_no_connections_is_passed_over() {
    let mut world = WORLD.take();
    // One endpoint with nginx, one where nobody listens.
    let manifest = ServiceManifest::new(NAMESPACE, "mixed").selects_label("part", "mixed");
    let manifest = manifest.named_port("name", 80, NAME_PORT, Some("tcp"));
    policy(
        &world,
        "mixed",
        "outlierDetection: { consecutive5xx: 2, maxEjectedPercent: 50 }",
    );
    let at = world.add("mixed", manifest, 80, 2).unwrap();
    let url = format!("http://{at}/name?[1-200]");
    let curl = world.client.place.program("curl").unwrap();
    let curl = curl.args([
        "-sS",
        "--fail",
        "--max-time",
        "30",
        "-H",
        "Connection: close",
        &url,
    ]);
    let text = curl.run(LONG).unwrap().success().unwrap().text();
    let answers: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(answers, ["left"; 200]);
    let services = world.a().admin("/services").unwrap();
    let all = services.as_array().unwrap();
    let mixed = all.iter().find(|one| one["name"] == "mesh/mixed").unwrap();
    let is_ejected = |workload: &str| {
        let endpoints = mixed["endpoints"].as_array().unwrap();
        let of_it = endpoints.iter().filter(|one| one["workload"] == workload);
        of_it
            .filter(|one| {
                one["address"]
                    .as_str()
                    .is_some_and(|address| !address.contains(':'))
            })
            .any(|one| !one["ejected"].as_array().unwrap().is_empty())
    };
    assert!(is_ejected("mesh/quiet") && !is_ejected("mesh/left"), "{mixed:#}");
}

#[test]
fn a_connection_that_does_not_come_about_in_time_is_given_up() {
    let mut world = WORLD.take();
    // Nobody has this address, and nobody says so.
    let ghost: IpAddr = "10.2.0.250".parse().unwrap();
    let node = world.mesh.nodes[1].node.proxy.netns();
    node.configure(&format!("route add blackhole {ghost}/32\n"))
        .unwrap();
    let manifest = WorkloadManifest::new(NAMESPACE, "node-c", &world.quiet).named("ghost");
    let manifest = manifest
        .addresses(&[ghost])
        .label("app", "ghost")
        .port("quiet", QUIET_PORT);
    world.mesh.manifests.workload(&manifest).unwrap();
    policy(&world, "ghost", "timeouts: { connect: 300ms }");
    let at = world
        .service("ghost", "ghost", QUIET_PORT, QUIET_PORT, Some("tcp"))
        .unwrap();
    let mut client = connect(&world.client, at);
    let begun = Instant::now();
    assert_eq!(outcome(&mut client), Err(ErrorKind::ConnectionReset));
    let after = begun.elapsed();
    assert!(
        after > Duration::from_millis(200) && after < Duration::from_millis(2500),
        "after {after:?}"
    );
}
