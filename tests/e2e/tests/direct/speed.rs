//! What a connection past the proxy costs, beside one without the mesh and one through the proxy.

use std::net::SocketAddr;

use mesh_e2e::servers::{self, REDIS_PORT};
use mesh_e2e::traffic::connect;
use mesh_e2e::{LONG, MOMENT, report};
use mesh_harness::manifest::{ServiceManifest, WorkloadManifest};
use mesh_harness::{Workload, until};

use super::yard::{NAMESPACE, PORT, YARD, pair};

/// Rounds of each, in turns.
const ROUNDS: usize = 5;

/// Requests a second of one kind from a client.
fn rate(from: &Workload, to: SocketAddr, clients: &str, size: &str, count: &str) -> f64 {
    let (host, port) = (to.ip().to_string(), to.port().to_string());
    let arguments = [
        "-h", &host, "-p", &port, "-c", clients, "-n", count, "-d", size, "-t", "set", "--csv",
    ];
    let said = from.place.run("redis-benchmark", &arguments, LONG).unwrap();
    let said = said.success().unwrap().text();
    let line = said.lines().find(|line| line.starts_with("\"SET\"")).unwrap();
    line.split(',').nth(1).unwrap().trim_matches('"').parse().unwrap()
}

#[test]
fn connections_past_the_proxy_are_as_fast_as_without_the_mesh() {
    let mut yard = YARD.take();
    yard.restore().unwrap();
    let stranger = yard.mesh.add_pod("node-a", "stranger").unwrap();
    let folder = yard.mesh.topology.folder().to_owned();
    let _redis = servers::redis(&yard.db[1], &folder).unwrap();
    let manifest = WorkloadManifest::new(NAMESPACE, "node-a", &yard.db[1]).port("sql", PORT);
    yard.mesh
        .manifests
        .workload(&manifest.port("redis", REDIS_PORT))
        .unwrap();
    // Through the proxy, for its sake: nobody says what is spoken there.
    let service = ServiceManifest::new(NAMESPACE, "proxied")
        .address("10.96.0.31")
        .selects("db-1");
    yard.mesh
        .manifests
        .service(&service.named_port("main", 80, REDIS_PORT, None))
        .unwrap();
    yard.a().wait_service("shop/proxied", 1).unwrap();
    let own = SocketAddr::new(yard.db[1].v4(), REDIS_PORT);
    let proxied: SocketAddr = "10.96.0.31:80".parse().unwrap();
    drop(connect(&yard.client, own));
    until("the grant", MOMENT, || {
        let pair = pair(yard.a(), "shop/client", own)?.unwrap_or_default();
        let endpoints = pair["endpoints"].as_array();
        Ok(endpoints.filter(|all| !all.is_empty()).map(drop))
    })
    .unwrap();
    for (what, clients, size, count) in [
        ("1 KiB, 1 connection", "1", "1024", "10000"),
        ("1 KiB, 32 connections", "32", "1024", "50000"),
        ("1 MiB, 1 connection", "1", "1048576", "400"),
    ] {
        let mut rates: [Vec<f64>; 3] = Default::default();
        let mut turns = [
            (0, &stranger, own),
            (1, &yard.client, own),
            (2, &yard.client, proxied),
        ];
        for _ in 0..ROUNDS {
            for (which, from, to) in turns {
                rates[which].push(rate(from, to, clients, size, count));
            }
            // Who comes first would meet the machine in another state than the others.
            turns.rotate_left(1);
        }
        let [without, past, through] = rates.map(|mut rates| {
            rates.sort_by(f64::total_cmp);
            rates[ROUNDS / 2]
        });
        report!(
            "{what}: {without:.0}/s without the mesh, {past:.0}/s past the proxy ({:.2}), {through:.0}/s through it ({:.2})",
            past / without,
            through / without
        );
        // They are the same to the kernel; on a busy machine two medians may be far apart.
        assert!(past / without > 0.5, "{past} beside {without}");
    }
    yard.mesh.manifests.remove("service-shop-proxied.yaml").unwrap();
}
