//! Many connections: one after another, at once, and idle; and what a node's memory makes of it.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

use std::path::Path;
use std::thread;
use std::time::Duration;

use mesh_e2e::shop::{NEIGHBOUR, Shop, WEB};
use mesh_e2e::traffic::{Probe, curl};
use mesh_e2e::turns::Turns;
use mesh_e2e::{LONG, report};
use mesh_harness::{Workload, until};

static SHOP: Turns<Shop> = Turns::new(Shop::open);

const PROBE: &str = env!("CARGO_BIN_EXE_mesh-probe");
/// The limit of open files is 20,000 a process, and a proxy has two sockets for some of these.
const IDLE: u64 = 10_000;
/// What one idle connection may cost in both proxies together. The relays' buffers of two sockets would be more.
const IDLE_BYTES: u64 = 64 * 1024;
/// How long the allocator keeps freed pages for the next burst (10 s in jemalloc), and a little.
const REST: Duration = Duration::from_secs(12);
/// The most that a node at rest may take: the bound that the project has set itself.
const AT_REST: u64 = 25_000_000;

fn probe(from: &Workload, arguments: &[&str]) -> String {
    let program = from.place.program_at("probe", Path::new(PROBE)).args(arguments);
    program.run(LONG * 2).unwrap().success().unwrap().text()
}

#[test]
fn ten_thousand_short_connections_one_after_another() {
    let shop = SHOP.take();
    report!(
        "to the other node: {}",
        probe(&shop.client, &["short", WEB, "10000"])
    );
    report!(
        "on the same node: {}",
        probe(&shop.client, &["short", NEIGHBOUR, "1000"])
    );
}

#[test]
fn a_thousand_connections_at_once() {
    let shop = SHOP.take();
    assert_eq!(probe(&shop.client, &["burst", WEB, "1000"]), "ok 1000");
    assert_eq!(probe(&shop.client, &["burst", NEIGHBOUR, "1000"]), "ok 1000");
}

#[test]
fn ten_thousand_idle_connections() {
    let mut shop = SHOP.take();
    let resident = |shop: &mut Shop| {
        let nodes = shop.mesh.nodes.iter_mut();
        nodes
            .map(|node| node.process().unwrap().resident_bytes().unwrap())
            .collect::<Vec<u64>>()
    };
    let before = resident(&mut shop);
    let mut hold = Probe::start(PROBE, &shop.client, &["hold", WEB, &IDLE.to_string()]);
    hold.wait_line(&["holding"]);
    thread::sleep(Duration::from_secs(1));
    let during = resident(&mut shop);
    assert_eq!(
        curl(&shop.client, "http://10.96.0.1/ok"),
        "ok",
        "new connections go on beside the idle ones"
    );
    let open = shop.a().admin("/status").unwrap()["open_connections"]
        .as_u64()
        .unwrap();
    assert!(open >= IDLE, "{open}");
    assert!(hold.finish().contains(&format!("alive {IDLE}")));
    let grown: Vec<u64> = during
        .iter()
        .zip(&before)
        .map(|(now, then)| now.saturating_sub(*then))
        .collect();
    report!(
        "memory of one idle connection: {} bytes at the client's node, {} at the server's ({IDLE} of them; {} and {} MB in all)",
        grown[0] / IDLE,
        grown[1] / IDLE,
        during[0] / 1_000_000,
        during[1] / 1_000_000
    );
    assert!(grown.iter().sum::<u64>() / IDLE < IDLE_BYTES, "{grown:?}");
    until("the nodes to let go of closed connections", LONG, || {
        Ok((shop.a().admin("/status")?["open_connections"].as_u64() < Some(10)).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_node_with_four_workloads_at_rest_is_small() {
    let mut shop = Shop::open().unwrap();
    for (name, port) in [("agent-1", 7111), ("agent-2", 7112)] {
        let agent = shop.mesh.add_host_workload("node-a", name).unwrap();
        shop.mesh
            .enrol("shop", "node-a", &agent, |workload| workload.port("own", port))
            .unwrap();
    }
    assert_eq!(curl(&shop.client, "http://10.96.0.1/ok"), "ok");
    assert_eq!(curl(&shop.client, "http://10.96.0.2/ok"), "ok");
    assert_eq!(shop.a().admin("/status").unwrap()["enrolled_workloads"], 4);
    thread::sleep(REST);
    let resident = shop.a_mut().process().unwrap().resident_bytes().unwrap();
    report!("mesh-node with 4 workloads at rest: {} kB", resident / 1000);
    assert!(resident <= AT_REST, "{resident} bytes");
}
