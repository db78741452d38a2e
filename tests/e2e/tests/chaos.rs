//! What comes and goes all the time: workloads, nodes, the control plane, endpoints, addresses, file descriptors.
//!
//! Every test prints its seed; `MESH_CHAOS_SEED` sets another one.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use mesh_e2e::outcomes::{Client, Outcomes, now};
use mesh_e2e::servers::NGINX_PORT;
use mesh_e2e::shop::{NAMESPACE, NEIGHBOUR, Shop, WEB};
use mesh_e2e::traffic::{address, connect, curl, outcome};
use mesh_e2e::turns::Turns;
use mesh_e2e::{MOMENT, kernel, report};
use mesh_harness::manifest::{ServiceManifest, WorkloadManifest};
use mesh_harness::sniffer::occurrences;
use mesh_harness::{NodeProxy, Process, Sniffer, Workload, until};

mod chaos {
    mod endpoints;
    mod files;
}

static SHOP: Turns<Shop> = Turns::new(Shop::open);

const PROBE: &str = env!("CARGO_BIN_EXE_mesh-probe");
/// What no link between nodes may show.
const MARKER: &str = "never-in-the-clear";
/// How soon connections work once a restarted node says that it is ready.
const RECOVERY: Duration = Duration::from_secs(1);
/// Longest that a request takes on a loaded machine.
const IN_FLIGHT: Duration = Duration::from_millis(50);
/// How soon the nodes are what the manifests say, whatever happened before.
const CONVERGENCE: Duration = Duration::from_secs(5);

/// Reproducible chance. The seed is printed.
fn chance(test: &str) -> Rng {
    let seed = std::env::var("MESH_CHAOS_SEED").map_or(7, |text| text.parse().unwrap());
    report!("{test}: seed {seed}");
    Rng::with_seed(seed)
}

fn milliseconds(range: std::ops::Range<u64>, chance: &mut Rng) -> Duration {
    Duration::from_millis(chance.u64(range))
}

/// A path that nginx answers with `ok`, and that the link must not show.
fn path(test: &str) -> String {
    format!("/ok?{MARKER}-{test}")
}

/// Requires that no connection failed, and that every answer was this one.
fn require_all(outcomes: &Outcomes, answer: &str) {
    let wanted = format!("ok {answer}");
    let other = outcomes.runs.iter().find(|run| run.outcome != wanted);
    assert!(other.is_none(), "{}, first of all {other:?}", outcomes.summary());
    assert!(outcomes.answers() > 20, "{}", outcomes.summary());
}

/// What a process holds: files, threads, memory in bytes.
fn held(process: &Process) -> (usize, u64, u64) {
    let (_, threads) = process.peak_bytes_and_threads().unwrap();
    (
        process.open_files().unwrap(),
        threads,
        process.resident_bytes().unwrap(),
    )
}

/// The workloads that a node captures.
fn captured(node: &NodeProxy) -> anyhow::Result<BTreeSet<String>> {
    let all = node.admin("/workloads")?;
    let all = all.as_array().into_iter().flatten();
    let captured = all.filter(|one| one["local"]["is_captured"] == true);
    Ok(captured
        .filter_map(|one| Some(one["name"].as_str()?.to_owned()))
        .collect())
}

/// Waits until exactly these are captured, and the kernel agrees.
fn wait_exactly(node: &NodeProxy, wanted: &BTreeSet<String>, cgroups: &BTreeSet<u64>) {
    let mut seen = BTreeSet::new();
    let agreed = until(
        "exactly the present workloads to be captured",
        CONVERGENCE,
        || {
            seen = captured(node)?;
            Ok((seen == *wanted).then_some(()))
        },
    );
    assert!(agreed.is_ok(), "{agreed:?}: of {wanted:?} there are {seen:?}");
    until("the kernel to have exactly these", CONVERGENCE, || {
        let (links, map) = kernel::enrolled_cgroups(node.pins())?;
        Ok((links == *cgroups && map == *cgroups).then_some(()))
    })
    .unwrap();
}

fn inode(workload: &Workload) -> u64 {
    fs::metadata(workload.place.cgroup()).unwrap().ino()
}

/// Makes and removes cgroups by chance, and gives manifests of some of the workloads.
fn shake(churned: &[Workload], listed: &mut [bool], chance: &mut Rng) -> String {
    let mut manifests = String::new();
    for (number, workload) in churned.iter().enumerate() {
        let is_there = workload.place.cgroup().exists();
        if is_there && chance.u8(..3) == 0 {
            workload.remove_cgroup().unwrap();
        }
        if !workload.place.cgroup().exists() && chance.bool() {
            workload.create_cgroup().unwrap();
        }
        listed[number] = chance.u8(..4) > 0;
        if listed[number] {
            let manifest = WorkloadManifest::new(NAMESPACE, "node-a", workload)
                .label("round", &chance.u8(..3).to_string())
                .service_account(if chance.u8(..8) == 0 {
                    "other"
                } else {
                    &workload.name
                })
                .port("own", 20_000 + u16::try_from(number).unwrap());
            manifests.push_str("---\n");
            manifests.push_str(&manifest.yaml());
        }
    }
    manifests
}

#[test]
fn workloads_come_and_go_quickly_and_exactly_the_present_ones_are_captured() {
    const ROUNDS: usize = 12;
    let mut chance = chance("workloads come and go");
    let mut shop = SHOP.take();
    // Of tests that failed before.
    for file in ["flap.yaml", "moving.yaml"] {
        let _absent = shop.mesh.manifests.remove(file);
    }
    let hosts = (0..40).map(|n| shop.mesh.add_host_workload("node-a", &format!("host-{n}")));
    let mut churned: Vec<Workload> = hosts.collect::<Result<_, _>>().unwrap();
    for n in 0..10 {
        churned.push(shop.mesh.add_pod("node-a", &format!("pod-{n}")).unwrap());
    }
    let base = held(shop.a_mut().process().unwrap());
    let clients = [WEB, NEIGHBOUR].map(|to| Client::start(PROBE, &shop.client, to, "/ok?workloads"));
    let mut kept = connect(&shop.client, address(WEB));
    let mut listed = vec![false; churned.len()];
    for round in 0..ROUNDS {
        let manifests = shake(&churned, &mut listed, &mut chance);
        shop.mesh.manifests.write("churn.yaml", &manifests).unwrap();
        // Those that stay are described in other words each time.
        for (workload, node) in [
            (&shop.client, "node-a"),
            (&shop.neighbour, "node-a"),
            (&shop.web, "node-b"),
        ] {
            let manifest = WorkloadManifest::new(NAMESPACE, node, workload).port("http", NGINX_PORT);
            let manifest = manifest.label("round", &round.to_string());
            shop.mesh.manifests.workload(&manifest).unwrap();
        }
        thread::sleep(milliseconds(20..350, &mut chance));
    }
    let mut wanted = BTreeSet::from(["shop/client".to_owned(), "shop/neighbour".to_owned()]);
    let mut cgroups = BTreeSet::from([inode(&shop.client), inode(&shop.neighbour)]);
    for (workload, listed) in churned.iter().zip(&listed) {
        if *listed && workload.place.cgroup().exists() {
            wanted.insert(format!("{NAMESPACE}/{}", workload.name));
            cgroups.insert(inode(workload));
        }
    }
    assert!(wanted.len() > 10, "{wanted:?}");
    wait_exactly(shop.a(), &wanted, &cgroups);
    // One of them works as any other.
    let one = churned
        .iter()
        .find(|w| w.host_network && wanted.contains(&format!("{NAMESPACE}/{}", w.name)));
    assert_eq!(curl(one.unwrap(), "http://10.96.0.1/ok"), "ok");

    shop.mesh.manifests.remove("churn.yaml").unwrap();
    for workload in churned.iter().filter(|w| w.place.cgroup().exists()) {
        workload.remove_cgroup().unwrap();
    }
    let stayed = ["shop/client", "shop/neighbour"].map(str::to_owned);
    let cgroups = BTreeSet::from([inode(&shop.client), inode(&shop.neighbour)]);
    wait_exactly(shop.a(), &BTreeSet::from(stayed), &cgroups);
    kept.write_all(b"GET /ok HTTP/1.0\r\n\r\n").unwrap();
    assert!(
        outcome(&mut kept).unwrap().ends_with(b"ok"),
        "the connection that was open all the while"
    );
    for client in clients {
        require_all(&client.finish().unwrap(), "ok");
    }
    let process = shop.a_mut().process().unwrap();
    until("the node to hold as much as before", MOMENT, || {
        let (files, threads, _) = held(process);
        Ok((files <= base.0 + 4 && threads <= base.1 + 2).then_some(()))
    })
    .unwrap();
    let after = held(process);
    report!("files, threads and memory before {base:?}, after {ROUNDS} rounds {after:?}");
    assert!(after.2 < base.2 + 10_000_000, "{base:?} {after:?}");
}

/// Sets what becomes of capture at the next start's stop.
fn set_on_stop(node: &NodeProxy, from: &str, to: &str) {
    let text = fs::read_to_string(node.config()).unwrap();
    let (from, to) = (format!("on-stop = \"{from}\""), format!("on-stop = \"{to}\""));
    assert!(text.contains(&from), "{text}");
    fs::write(node.config(), text.replace(&from, &to)).unwrap();
}

#[test]
fn nodes_are_killed_and_stopped_under_load_and_recover_within_a_second() {
    let mut chance = chance("nodes are killed and stopped");
    let mut shop = SHOP.take();
    let path = path("nodes");
    let direct = format!("{}:{NGINX_PORT}", shop.web.v4());
    let link = shop.a().node.link.clone();
    let sniffer = Sniffer::start(&shop.mesh.topology, &link).unwrap();
    let targets = [WEB, NEIGHBOUR, direct.as_str()];
    let clients = targets.map(|to| Client::start(PROBE, &shop.client, to, &path));
    thread::sleep(Duration::from_millis(300));
    set_on_stop(shop.a(), "release", "keep");
    // What happened when: down, ready.
    let mut turns = Vec::new();
    for turn in 0..14 {
        let node = usize::from(turn % 4 == 3);
        let down = now();
        let node = &mut shop.mesh.nodes[node];
        // From the second start on node A keeps its captures at a stop.
        if turn % 5 == 4 && node.node.name == "node-a" {
            node.stop().unwrap();
        } else {
            node.kill().unwrap();
        }
        thread::sleep(milliseconds(1..100, &mut chance));
        node.start().unwrap();
        turns.push((down, now()));
        thread::sleep(milliseconds(250..400, &mut chance));
    }
    let end = now();
    let all: Vec<Outcomes> = clients
        .into_iter()
        .map(|client| client.finish().unwrap())
        .collect();
    let seen = occurrences(&sniffer.finish().unwrap(), MARKER.as_bytes());
    assert_eq!(seen, 0, "connections left in clear");
    let mut recoveries = Vec::new();
    for outcomes in &all {
        report!("{}", outcomes.summary());
        for (turn, (down, ready)) in turns.iter().enumerate() {
            let next = turns.get(turn + 1).map_or(end, |next| next.0);
            let answer = outcomes.first_answer_after(*ready).unwrap();
            let recovery = answer.saturating_sub(*ready);
            assert!(
                recovery < RECOVERY,
                "{}: turn {turn}: {recovery:?}",
                outcomes.name
            );
            recoveries.push(recovery.as_millis());
            // What was on its way when the next turn came failed with it.
            let late = outcomes.failures_between(answer, next.saturating_sub(IN_FLIGHT));
            assert!(
                late.is_empty(),
                "{}: turn {turn} after {down:?}: {late:?}",
                outcomes.name
            );
        }
        let allowed = [
            "ok ok",
            "connect ConnectionRefused",
            "connect ConnectionReset",
            "write ConnectionReset",
            "write BrokenPipe",
            "read ConnectionReset",
            "read UnexpectedEof",
        ];
        let other = outcomes
            .runs
            .iter()
            .find(|run| !allowed.contains(&run.outcome.as_str()));
        assert!(other.is_none(), "{}: {other:?}", outcomes.name);
    }
    report!("milliseconds from ready to the first answer: {recoveries:?}");

    // And let go of everything at a stop, many times.
    set_on_stop(shop.a(), "keep", "release");
    shop.a_mut().kill().unwrap();
    shop.a_mut().start().unwrap();
    for _ in 0..2 {
        shop.a_mut().stop().unwrap();
        assert!(!shop.a().pins().exists(), "pins are left");
        shop.a_mut().start().unwrap();
        assert_eq!(curl(&shop.client, "http://10.96.0.1/ok"), "ok");
    }
}

#[test]
fn the_control_plane_is_killed_and_restarted_while_manifests_change() {
    let mut chance = chance("the control plane comes and goes");
    let mut shop = SHOP.take();
    let clients = [WEB, NEIGHBOUR].map(|to| Client::start(PROBE, &shop.client, to, "/ok?control"));
    let mut longest = Duration::ZERO;
    for turn in 0..10_u8 {
        if chance.bool() {
            shop.mesh.control.kill().unwrap();
        } else {
            shop.mesh.control.stop().unwrap();
        }
        let service = ServiceManifest::new(NAMESPACE, &format!("turn-{turn}"));
        let service = service
            .selects("web")
            .address(&format!("10.96.1.{turn}"))
            .port(80, NGINX_PORT);
        let file = shop.mesh.manifests.service(&service).unwrap();
        shop.mesh.control.start().unwrap();
        if turn > 0 && chance.bool() {
            shop.mesh.manifests.remove(&file).unwrap();
        }
        // Every other time it does not live long enough for anybody to hear of it.
        if turn % 2 == 1 {
            let start = Instant::now();
            let expected = fs::read_dir(shop.mesh.manifests.folder()).unwrap().flatten();
            let expected: BTreeSet<String> = expected
                .filter_map(|entry| {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    let turn = name.strip_prefix("service-shop-turn-")?.strip_suffix(".yaml")?;
                    Some(format!("shop/turn-{turn}"))
                })
                .collect();
            for node in &shop.mesh.nodes {
                until("the nodes to know what the manifests say", CONVERGENCE, || {
                    let services = node.admin("/services")?;
                    let names = services.as_array().into_iter().flatten();
                    let names = names.filter_map(|one| one["name"].as_str()).map(str::to_owned);
                    let known: BTreeSet<String> = names.filter(|name| name.contains("/turn-")).collect();
                    Ok((known == expected).then_some(()))
                })
                .unwrap();
            }
            longest = longest.max(start.elapsed());
        }
    }
    report!("longest from the control plane's readiness to the nodes': {longest:?}");
    for client in clients {
        require_all(&client.finish().unwrap(), "ok");
    }
    for turn in 0..10 {
        let _gone = shop
            .mesh
            .manifests
            .remove(&format!("service-shop-turn-{turn}.yaml"));
    }
}
