//! Certificates and roots that are replaced while connections are open and made.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use mesh_e2e::shop::{Shop, WEB};
use mesh_e2e::traffic::{Probe, curl};
use mesh_harness::{Mesh, NodeProxy, until};

const PROBE: &str = env!("CARGO_BIN_EXE_mesh-probe");
/// Certificates are valid from a tenth of this before they are signed, for clocks that are behind.
const LIFETIME: &str = "1m";
/// Half of their 66 seconds is over so long after they are signed.
const HALF: Duration = Duration::from_secs(27);
/// That, and time for a retry.
const RENEWAL: Duration = Duration::from_secs(45);
/// A step's news reaches every node.
const NEWS: Duration = Duration::from_secs(2);

/// The serial numbers of the certificates that a node holds.
fn serials(node: &NodeProxy) -> BTreeSet<String> {
    let certificates = node.admin("/certificates").unwrap();
    let all = certificates.as_array().unwrap();
    all.iter()
        .map(|certificate| certificate["serial"].as_str().unwrap().to_owned())
        .collect()
}

/// Waits until no certificate of `before` is in use at either node.
fn wait_renewal(shop: &Shop, before: &[BTreeSet<String>]) {
    for (node, old) in shop.mesh.nodes.iter().zip(before) {
        let what = format!("{} to renew its certificates", node.node.name);
        until(&what, RENEWAL, || {
            Ok(serials(node).is_disjoint(old).then_some(()))
        })
        .unwrap();
    }
}

#[test]
fn certificates_are_renewed_and_the_root_is_replaced_under_load() {
    let shop = Shop::open_with(Mesh::builder().certificate_lifetime(LIFETIME)).unwrap();
    let load = Probe::start(PROBE, &shop.client, &["steady", WEB, "150"]);
    let held = || shop.mesh.nodes.iter().map(serials).collect::<Vec<_>>();
    let rotate = |step: &str| {
        shop.mesh
            .control
            .command(&["ca", "rotate", step])
            .unwrap()
            .success()
            .unwrap()
    };

    let first = held();
    let old_root = shop.mesh.control.root_certificates().unwrap();
    rotate("prepare");
    let both = shop.mesh.control.root_certificates().unwrap();
    assert_eq!(both.matches("BEGIN CERTIFICATE").count(), 2, "{both}");
    thread::sleep(NEWS);
    rotate("activate");
    wait_renewal(&shop, &first);
    rotate("finish");
    let new_root = shop.mesh.control.root_certificates().unwrap();
    assert_eq!(new_root.matches("BEGIN CERTIFICATE").count(), 1, "{new_root}");
    assert!(both.contains(new_root.trim()) && new_root != old_root);
    thread::sleep(NEWS);

    // And by the clock alone, at half of their life.
    let second = held();
    let start = Instant::now();
    wait_renewal(&shop, &second);
    assert!(
        start.elapsed() > HALF / 2,
        "renewed long before half of the lifetime: {:?}",
        start.elapsed()
    );

    let text = load.finish();
    let rounds: u64 = text.trim().strip_prefix("ok ").unwrap().parse().unwrap();
    mesh_e2e::report!("{rounds} rounds without a failure while all certificates and the root were replaced");
    assert!(rounds > 1000, "{text}");
    assert_eq!(curl(&shop.client, "http://10.96.0.1/ok"), "ok");
}
