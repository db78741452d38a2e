//! What ends connections past the proxy, and what does not.

use std::time::{Duration, Instant};

use mesh_e2e::traffic::{address, listen};
use mesh_e2e::{MOMENT, report};
use mesh_harness::until;

use super::yard::{DB, Line, NAMESPACE, PORT, SOON, YARD, Yard, settled};

/// Waits until the destination is withheld for these words, and then for the line's end, which must be soon.
fn must_end(yard: &Yard, line: &mut Line, words: &str) {
    let asked = Instant::now();
    yard.wait_withheld(DB, words);
    let known = Instant::now();
    let took = line.wait_ended(known);
    report!("{words}: known after {:?}, ended {took:?} later", known - asked);
    assert!(took < SOON, "{took:?}");
}

#[test]
fn a_policy_that_wants_the_proxy_ends_connections_within_a_second() {
    let yard = YARD.take();
    yard.restore().unwrap();
    let (mut one, mut other) = (yard.direct(DB), yard.direct(DB));
    let mark = yard.a().log().len();
    yard.policy("circuitBreaking: { maxConnections: 2 }");
    must_end(&yard, &mut one, "limits of connections");
    other.wait_ended(Instant::now());
    let parts = [
        "connection failed",
        "service=shop/db",
        "transport=direct",
        "reason=withdrawn",
    ];
    yard.a().wait_log(mark, &parts, MOMENT).unwrap();
    let mut next = yard.line(DB);
    assert!(!next.is_direct, "it goes through the proxy");
    yard.mesh.manifests.remove("policy.yaml").unwrap();
    yard.wait_granted(DB, 1);
    assert!(yard.line(DB).is_direct, "and past it again");
    next.works();
    next.close();
}

#[test]
fn a_policy_that_does_not_need_the_proxy_changes_nothing() {
    let yard = YARD.take();
    yard.restore().unwrap();
    let mut line = yard.direct(DB);
    yard.policy("loadBalancing: { policy: RoundRobin }");
    let mut told = String::new();
    until("the policy to be accepted", MOMENT, || {
        told = yard.mesh.control.admin("/routes")?.to_string();
        Ok(told.contains("\"shop/db\"").then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}: {told}"));
    std::thread::sleep(SOON);
    line.works();
    assert!(yard.line(DB).is_direct);
    line.close();
    yard.restore().unwrap();
}

#[test]
fn a_route_ends_connections_within_a_second() {
    let yard = YARD.take();
    yard.restore().unwrap();
    // HTTPRoutes have no effect at ports that declare tcp.
    {
        let (kind, version) = ("TCPRoute", "v1alpha2");
        let mut line = yard.direct(DB);
        let text = format!(
            "apiVersion: gateway.networking.k8s.io/{version}\nkind: {kind}\nmetadata: {{ name: db, namespace: {NAMESPACE} }}\n\
             spec:\n  parentRefs: [ {{ group: \"\", kind: Service, name: db, port: 5432 }} ]\n  \
             rules: [ {{ backendRefs: [ {{ name: db, port: 5432 }} ] }} ]\n"
        );
        yard.mesh.manifests.write("route.yaml", &text).unwrap();
        must_end(&yard, &mut line, "routes apply");
        yard.mesh.manifests.remove("route.yaml").unwrap();
        yard.wait_granted(DB, 1);
    }
}

#[test]
fn a_second_endpoint_elsewhere_sends_new_connections_to_the_proxy_and_leaves_open_ones_alone() {
    let yard = YARD.take();
    yard.restore().unwrap();
    let mut line = yard.direct(DB);
    let _far = listen(&yard.far, PORT);
    yard.label(&yard.far, "node-b", "db-0", 1).unwrap();
    yard.wait_withheld(DB, "is on another node");
    std::thread::sleep(SOON);
    line.works();
    let near = mesh_e2e::traffic::connect(&yard.client, address(DB));
    drop(near);
    // What it was left alone for does not protect it from policy.
    yard.policy("circuitBreaking: { maxConnections: 9 }");
    must_end(&yard, &mut line, "limits of connections");
    yard.label(&yard.far, "node-b", "far", 1).unwrap();
    yard.restore().unwrap();
    yard.wait_granted(DB, 1);
}

#[test]
fn leaving_the_mesh_ends_connections_within_a_second() {
    let mut yard = YARD.take();
    yard.restore().unwrap();
    let guest = yard.mesh.add_pod("node-a", "guest").unwrap();
    yard.mesh
        .enrol(NAMESPACE, "node-a", &guest, |workload| workload)
        .unwrap();
    let listener = listen(&guest, 7430);
    let to_guest = std::net::SocketAddr::new(guest.v4(), 7430);
    // As a server, and as a client.
    let mut lines = vec![
        super::yard::direct(yard.a(), &yard.client, to_guest, &listener),
        super::yard::direct(yard.a(), &guest, address(DB), &yard.listeners[0]),
    ];
    let mut stays = yard.direct(DB);
    yard.mesh.manifests.remove("workload-shop-guest.yaml").unwrap();
    yard.a().wait_released("shop/guest").unwrap();
    let released = Instant::now();
    for line in &mut lines {
        let took = line.wait_ended(released);
        assert!(took < SOON, "{took:?}");
    }
    stays.works();
    stays.close();
    // The guest's programs are gone before its connections are; they are told of all the same.
    settled(yard.a());
    let open = |workload: &str| {
        let metrics = yard.a().metrics()?;
        let count = |name: &str| metrics.sum(name, &[("transport", "direct"), ("workload", workload)]);
        let (opened, closed) = (
            count("mesh_node_connections_opened_total"),
            count("mesh_node_connections_closed_total"),
        );
        Ok((opened > 0.5 && (opened - closed).abs() < 0.5).then_some(()))
    };
    until("the guest's connections to be told of", MOMENT, || {
        open("shop/guest")
    })
    .unwrap();
}

#[test]
fn another_identity_is_another_workload() {
    let yard = YARD.take();
    yard.restore().unwrap();
    let mut line = yard.direct(DB);
    let manifest = mesh_harness::manifest::WorkloadManifest::new(NAMESPACE, "node-a", &yard.db[0]);
    let manifest = manifest.port("sql", PORT);
    yard.mesh
        .manifests
        .workload(&manifest.clone().service_account("renamed"))
        .unwrap();
    line.wait_ended(Instant::now());
    until("the new identity to be told", MOMENT, || {
        // One that was opened just before the change was known ends like the others.
        let renamed = yard.direct(DB);
        let source = renamed.near.local_addr()?.to_string();
        std::thread::sleep(Duration::from_millis(300));
        let all = yard.a().admin("/connections")?;
        let mut all = all.as_array().into_iter().flatten();
        let one = all
            .find(|one| one["source"] == source)
            .cloned()
            .unwrap_or_default();
        Ok((one["peer"] == "spiffe://cluster.local/ns/shop/sa/renamed").then_some(()))
    })
    .unwrap();
    yard.mesh.manifests.workload(&manifest).unwrap();
    yard.direct(DB).close();
}
