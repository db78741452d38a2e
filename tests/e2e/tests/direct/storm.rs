//! Grants that come and go under short connections, and a node that is killed in the middle of it.

use std::thread;
use std::time::Duration;

use mesh_e2e::outcomes::{Client, now};
use mesh_e2e::servers::{self, NGINX_PORT};
use mesh_e2e::{MOMENT, kernel, report};
use mesh_harness::manifest::{ServiceManifest, WorkloadManifest};
use mesh_harness::until;

use super::yard::{NAMESPACE, PORT, YARD, settled, sum};

const PROBE: &str = env!("CARGO_BIN_EXE_mesh-probe");
/// A policy that wants the proxy, put there and taken away so often.
const FLIPS: usize = 20;

#[test]
fn grants_that_come_and_go_break_no_more_than_what_is_under_way_and_leave_nothing_behind() {
    let mut yard = YARD.take();
    yard.restore().unwrap();
    let folder = yard.mesh.topology.folder().to_owned();
    let _nginx = servers::nginx(&yard.db[1], &folder).unwrap();
    let manifest = WorkloadManifest::new(NAMESPACE, "node-a", &yard.db[1]).port("sql", PORT);
    yard.mesh
        .manifests
        .workload(&manifest.port("http", NGINX_PORT))
        .unwrap();
    let service = ServiceManifest::new(NAMESPACE, "stormy")
        .address("10.96.0.41")
        .selects("db-1");
    let service = service.port(80, NGINX_PORT);
    let calm = service.yaml();
    let policy = format!(
        "{calm}---\napiVersion: nodemesh.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {{ name: stormy, namespace: {NAMESPACE} }}\n\
         spec:\n  targetRefs: [ {{ kind: Service, name: stormy }} ]\n  circuitBreaking: {{ maxConnections: 1000 }}\n"
    );
    let write = |text: &str| {
        yard.mesh
            .manifests
            .write("service-shop-stormy.yaml", text)
            .unwrap();
    };
    write(&calm);
    yard.a().wait_service("shop/stormy", 1).unwrap();
    let before = settled(yard.a());
    let clients = [(); 3].map(|()| Client::start(PROBE, &yard.client, "10.96.0.41:80", "/ok"));
    for _ in 0..FLIPS {
        write(&policy);
        thread::sleep(Duration::from_millis(150));
        write(&calm);
        thread::sleep(Duration::from_millis(250));
    }
    let calm_at = now();
    yard.a().wait_service("shop/stormy", 1).unwrap();
    thread::sleep(Duration::from_secs(1));
    let middle = yard.a().metrics().unwrap();
    let killed_at = now();
    yard.mesh.nodes[0].kill().unwrap();
    thread::sleep(Duration::from_secs(4));
    yard.mesh.nodes[0].start().unwrap();
    yard.a().wait_captured("shop/client").unwrap();
    let back_at = now();
    thread::sleep(Duration::from_secs(5));
    for transport in ["direct", "local"] {
        let grown =
            sum(&middle, "connections_opened", transport) - sum(&before, "connections_opened", transport);
        report!("{grown} connections were {transport}");
        assert!(grown > 20, "{grown} connections were {transport}");
    }
    for client in clients {
        let outcomes = client.finish().unwrap();
        report!("{}", outcomes.summary());
        // Each change may end what is under way, of which each client has one.
        let broken: u64 = outcomes
            .failures_between(Duration::ZERO, killed_at)
            .iter()
            .map(|run| run.count)
            .sum();
        assert!(broken <= FLIPS as u64, "{}", outcomes.summary());
        let later = outcomes.failures_between(calm_at + Duration::from_secs(1), killed_at);
        assert!(later.is_empty(), "{later:?}");
        let later = outcomes.failures_between(back_at + Duration::from_millis(500), now());
        assert!(later.is_empty(), "{later:?}");
    }
    settled(yard.a());
    until("the kernel's table to be empty", MOMENT, || {
        Ok((kernel::entries(yard.a().pins(), "DIRECT")? == 0).then_some(()))
    })
    .unwrap();
    yard.mesh.manifests.remove("service-shop-stormy.yaml").unwrap();
}
