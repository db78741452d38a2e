//! Nodes and servers that stop in the middle of things.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use mesh_e2e::case::get;
use mesh_e2e::hall::Hall;
use mesh_e2e::traffic::connect;
use mesh_e2e::{MOMENT, report};
use mesh_harness::node::NodeSettings;
use mesh_harness::{Mesh, until};
use nix::sys::signal::Signal;

use crate::HALL;

/// How long a node that stops waits for what is in progress.
const DRAIN: &str = "6s";

fn hall() -> Hall {
    let settings = NodeSettings {
        drain_deadline: DRAIN.to_owned(),
        ..NodeSettings::default()
    };
    Hall::open_with(Mesh::builder().node_settings(settings)).unwrap()
}

/// Stops a node while a request is under way, whose answer must come whole; idle connections must end at once.
fn requests_in_progress_end_well(node: usize) {
    let mut hall = hall();
    let target = hall.target("echo-v2").unwrap();
    let mut idle = connect(&hall.client_a, (target.address, 80).into());
    idle.write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(idle.read(&mut [0; 4096]).unwrap() > 0);
    let clients: Vec<_> = [
        (80, "--http1.1"),
        (80, "--http2-prior-knowledge"),
        (8082, "--http2-prior-knowledge"),
    ]
    .iter()
    .enumerate()
    .map(|(number, (port, version))| {
        let url = format!("http://{}:{port}/", target.address);
        let curl = mesh_harness::binaries::theirs("curl").unwrap();
        let curl = hall
            .client_a
            .place
            .program_at(&format!("drained-{number}"), &curl);
        // 60 pieces in three seconds.
        let curl = curl.args([
            "-sS",
            version,
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{size_download}",
        ]);
        curl.args(["-H", "X-Do: size=3932160 every=50", &url])
            .spawn()
            .unwrap()
    })
    .collect();
    until("the requests to be under way", MOMENT, || {
        let log = mesh_e2e::peers::log(&hall.v2)?;
        Ok((log
            .iter()
            .filter(|entry| entry["sent"].as_u64() > Some(0))
            .count()
            >= 3)
            .then_some(()))
    })
    .unwrap();
    let start = Instant::now();
    hall.mesh.nodes[node]
        .process()
        .unwrap()
        .signal(Signal::SIGTERM)
        .unwrap();
    if node == 0 {
        idle.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        assert_eq!(
            idle.read(&mut [0; 16]).unwrap(),
            0,
            "an idle connection is closed at once"
        );
    }
    for mut client in clients {
        let status = client.wait(MOMENT).unwrap();
        assert!(
            status.success() && client.log() == "200 3932160",
            "{status}: {}",
            client.log()
        );
    }
    hall.mesh.nodes[node].process().unwrap().wait(MOMENT).unwrap();
    let took = start.elapsed();
    report!("a stop with requests of three seconds in progress took {took:?}");
    assert!(
        took < Duration::from_millis(5500),
        "it waited for its deadline: {took:?}\n{}",
        hall.mesh.logs()
    );
}

#[test]
fn the_clients_node_stops_after_the_requests_in_progress() {
    requests_in_progress_end_well(0);
}

#[test]
fn the_servers_node_stops_after_the_requests_in_progress() {
    requests_in_progress_end_well(1);
}

#[test]
fn a_server_that_is_killed_takes_its_answers_with_it_and_nothing_else() {
    let mut hall = HALL.take();
    let target = hall.target("echo-v2").unwrap();
    let other = hall.target("echo-v1").unwrap();
    let curl = mesh_harness::binaries::theirs("curl").unwrap();
    let mut running: Vec<_> = ["--http1.1", "--http2-prior-knowledge"]
        .iter()
        .map(|version| {
            let program = hall.client_a.place.program_at(&format!("killed{version}"), &curl);
            let url = format!("http://{}/", target.address);
            let program = program.args([
                "-sS",
                version,
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "-H",
                "X-Key: killed",
            ]);
            program
                .args(["-H", "X-Do: size=100000000 every=50", &url])
                .spawn()
                .unwrap()
        })
        .collect();
    until("the requests to be under way", MOMENT, || {
        let log = mesh_e2e::peers::log(&hall.v2)?;
        let begun = log
            .iter()
            .filter(|entry| entry["key"] == "killed" && entry["sent"].as_u64() > Some(0));
        Ok((begun.count() == 2).then_some(()))
    })
    .unwrap();
    let at = hall
        .servers
        .iter()
        .position(|server| server.name() == "echo_server in echo-v2")
        .unwrap();
    hall.servers[at].kill().unwrap();
    for client in &mut running {
        let status = client.wait(MOMENT).unwrap();
        assert!(
            !status.success(),
            "an answer that was broken off looks whole: {}",
            client.log()
        );
    }
    hall.check(&target, &[get("/").is(503).cause_is_named()]).unwrap();
    hall.check(&other, &[get("/").reaches("echo-v1")]).unwrap();
    hall.restart_http(at).unwrap();
    hall.check(&target, &[get("/").reaches("echo-v2")]).unwrap();
}
