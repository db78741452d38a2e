//! What stands at an address or behind a Service changes while connections are made; and file descriptors run out.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::process::Command;
use std::thread;
use std::time::Duration;

use mesh_e2e::outcomes::{Client, now};
use mesh_e2e::servers::{self, NGINX_PORT};
use mesh_e2e::shop::{NAMESPACE, Shop, WEB};
use mesh_e2e::traffic::{Probe, address, connect, curl, outcome};
use mesh_e2e::{MOMENT, kernel, report};
use mesh_harness::manifest::{ServiceManifest, WorkloadManifest};
use mesh_harness::sniffer::occurrences;
use mesh_harness::{Process, Sniffer, Workload, until};

use crate::{MARKER, PROBE, SHOP, captured, chance, inode, milliseconds, path, require_all};

/// Serves a workload's own name at `/who`.
fn serve_name(shop: &Shop, workload: &Workload) -> Process {
    let process = servers::nginx(workload, &shop.folder()).unwrap();
    let file = servers::nginx_files(workload, &shop.folder()).join("who");
    fs::write(file, &workload.name).unwrap();
    process
}

/// Gives a pod's address to a pod of the other node. The server that had it goes on, and would answer still.
fn move_address(shop: &Shop, old: &Workload, new: &Workload) {
    let moving = old.v4();
    old.place
        .netns()
        .configure(&format!("addr del {moving}/32 dev eth0\n"))
        .unwrap();
    new.place
        .netns()
        .configure(&format!("addr add {moving}/32 dev eth0\n"))
        .unwrap();
    let [a, b] = [0, 1].map(|index| shop.mesh.nodes[index].node.clone());
    let veth = |node: &mesh_harness::Node, of: &str| {
        let routes = node
            .proxy
            .run("ip", &["-o", "route", "show", of], MOMENT)
            .unwrap()
            .text();
        let mut words = routes.split(' ').skip_while(|word| *word != "dev");
        words.nth(1).unwrap().to_owned()
    };
    let interface = veth(&b, &new.v4().to_string());
    a.proxy
        .netns()
        .configure(&format!("route replace {moving}/32 via {}\n", b.addresses[0]))
        .unwrap();
    b.proxy
        .netns()
        .configure(&format!("route replace {moving}/32 dev {interface}\n"))
        .unwrap();
}

#[test]
fn an_address_that_moves_to_another_node_leads_to_its_new_owner() {
    let mut shop = SHOP.take();
    let old = shop.mesh.add_pod("node-a", "old").unwrap();
    let mut new = shop.mesh.add_pod("node-b", "new").unwrap();
    let _servers = [serve_name(&shop, &old), serve_name(&shop, &new)];
    let moving = old.v4();
    let manifest = |node: &str, workload: &Workload| {
        WorkloadManifest::new(NAMESPACE, node, workload)
            .addresses(&[workload.v4()])
            .label("app", "moving")
            .port("http", NGINX_PORT)
            .yaml()
    };
    let service = ServiceManifest::new(NAMESPACE, "moving").address("10.96.0.50");
    shop.mesh
        .manifests
        .service(&service.port(80, NGINX_PORT))
        .unwrap();
    shop.mesh
        .manifests
        .write("moving.yaml", &manifest("node-a", &old))
        .unwrap();
    shop.a().wait_captured("shop/old").unwrap();
    shop.a().wait_service("shop/moving", 1).unwrap();
    let direct = format!("{moving}:{NGINX_PORT}");
    let clients = [direct.as_str(), "10.96.0.50:80"].map(|to| Client::start(PROBE, &shop.client, to, "/who"));
    let mut kept = connect(&shop.client, address(&direct));
    thread::sleep(Duration::from_millis(300));

    move_address(&shop, &old, &new);
    new.addresses[0] = moving;
    shop.mesh
        .manifests
        .write("moving.yaml", &manifest("node-b", &new))
        .unwrap();
    shop.b().wait_captured("shop/new").unwrap();
    shop.a().wait_released("shop/old").unwrap();
    let known = now();
    thread::sleep(Duration::from_millis(500));
    let mark = shop.a().log().len();
    assert_eq!(curl(&shop.client, &format!("http://{direct}/who")), "new");
    let parts = [
        "workload=shop/client",
        "peer=spiffe://cluster.local/ns/shop/sa/new",
    ];
    shop.a().wait_log(mark, &parts, MOMENT).unwrap();
    let ended = outcome(&mut kept);
    assert_eq!(
        ended,
        Err(ErrorKind::ConnectionReset),
        "a connection to the old one neither goes on nor hangs"
    );
    for client in clients {
        let outcomes = client.finish().unwrap();
        report!("{}", outcomes.summary());
        let change = outcomes.first_answer_after(known).unwrap();
        let late = outcomes.runs.iter().filter(|run| run.last > change);
        let wrong: Vec<_> = late.filter(|run| run.outcome != "ok new").collect();
        assert!(wrong.is_empty(), "{}: {wrong:?}", outcomes.name);
        let after_new = outcomes.runs.iter().skip_while(|run| run.outcome != "ok new");
        assert!(
            after_new.clone().count() > 0 && after_new.clone().all(|run| run.outcome != "ok old"),
            "{}",
            outcomes.summary()
        );
    }
    shop.mesh.manifests.remove("moving.yaml").unwrap();
}

#[test]
fn endpoints_flap_and_no_new_connection_fails_while_one_is_ready() {
    let mut chance = chance("endpoints flap");
    let mut shop = SHOP.take();
    let places = [("node-a", "flap-1"), ("node-b", "flap-2"), ("node-b", "flap-3")];
    let pods = places.map(|(node, name)| shop.mesh.add_pod(node, name).unwrap());
    let _servers = [0, 1, 2].map(|n| servers::nginx(&pods[n], &shop.folder()).unwrap());
    let write = |states: [Option<bool>; 3]| {
        let mut text = String::new();
        for (index, state) in states.iter().enumerate() {
            let Some(is_ready) = state else { continue };
            let manifest =
                WorkloadManifest::new(NAMESPACE, places[index].0, &pods[index]).label("app", "flap");
            text.push_str("---\n");
            text.push_str(&manifest.port("http", NGINX_PORT).ready(*is_ready).yaml());
        }
        shop.mesh.manifests.write("flap.yaml", &text).unwrap();
    };
    let mut states = [Some(true); 3];
    write(states);
    shop.add_service_with("flap", 60, 80, NGINX_PORT, 3).unwrap();
    for (node, name) in places {
        shop.mesh
            .node(node)
            .unwrap()
            .wait_captured(&format!("shop/{name}"))
            .unwrap();
    }
    let froms = [&shop.client, &shop.neighbour, &shop.web];
    let clients = froms.map(|from| Client::start(PROBE, from, "10.96.0.60:80", "/ok?flap"));
    for _ in 0..16 {
        let index = chance.usize(..3);
        // One that is ready is told to leave, in a load of its own, before it is gone.
        let next = match states[index] {
            None => Some(true),
            Some(false) => chance.bool().then_some(true),
            Some(true) => Some(false),
        };
        let others = (1..3).map(|offset| states[(index + offset) % 3]);
        if next != Some(true) && others.into_iter().all(|other| other != Some(true)) {
            // Nobody is told to leave before the one that stays is there.
            states[(index + 1) % 3] = Some(true);
            write(states);
            thread::sleep(Duration::from_secs(1));
        }
        states[index] = next;
        write(states);
        thread::sleep(milliseconds(250..500, &mut chance));
    }
    for client in clients {
        let outcomes = client.finish().unwrap();
        report!("{}", outcomes.summary());
        require_all(&outcomes, "ok");
    }
    shop.mesh.manifests.remove("flap.yaml").unwrap();
}

/// The limit of open files of a running process.
fn limit_files(process: &Process, limit: &str) {
    let id = process.id().to_string();
    let done = Command::new("prlimit")
        .args(["--pid", &id, &format!("--nofile={limit}")])
        .status();
    assert!(done.unwrap().success());
}

#[test]
fn a_node_without_file_descriptors_goes_on_and_recovers() {
    let mut shop = SHOP.take();
    let sniffer = Sniffer::start(&shop.mesh.topology, &shop.a().node.link).unwrap();
    let mut held = Probe::start(PROBE, &shop.client, &["hold", WEB, "50"]);
    held.wait_line(&["holding"]);
    limit_files(shop.a_mut().process().unwrap(), "256:");
    let mark = shop.a().log().len();
    let direct = format!("{}:{NGINX_PORT}", shop.web.v4());
    let mut streams = Vec::new();
    for _ in 0..400 {
        if let Ok(stream) = shop.client.place.connect(address(&direct), MOMENT).unwrap() {
            streams.push(stream);
        }
    }
    shop.a()
        .wait_log(mark, &["cannot accept connections"], MOMENT)
        .unwrap();
    let client = Client::start(PROBE, &shop.client, &direct, &path("files"));
    thread::sleep(Duration::from_secs(1));
    let (links, map) = kernel::enrolled_cgroups(shop.a().pins()).unwrap();
    let both = BTreeSet::from([inode(&shop.client), inode(&shop.neighbour)]);
    assert_eq!(
        (&links, &map),
        (&both, &both),
        "nobody is let go of for want of a descriptor"
    );
    drop(streams);
    until("the node to work again", MOMENT, || {
        let answer =
            shop.client
                .place
                .program("curl")?
                .args(["-sS", "--max-time", "1", "http://10.96.0.1/ok"]);
        Ok((answer.run(MOMENT)?.text() == "ok").then_some(()))
    })
    .unwrap();
    shop.a()
        .wait_log(mark, &["accepting connections again"], MOMENT)
        .unwrap();
    assert!(held.finish().contains("alive 50"), "open connections go on");
    let outcomes = client.finish().unwrap();
    report!("{}", outcomes.summary());
    let late = outcomes.runs.last().unwrap();
    assert!(late.is_ok() && outcomes.answers() > 0, "{}", outcomes.summary());
    let lines = shop.a().log()[mark..]
        .matches("cannot accept connections")
        .count();
    assert!(lines < 20, "{lines} lines of the log say the same");
    assert!(captured(shop.a()).unwrap().contains("shop/client"));
    let seen = occurrences(&sniffer.finish().unwrap(), MARKER.as_bytes());
    assert_eq!(seen, 0, "connections left in clear");
    let (soft, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    limit_files(shop.a_mut().process().unwrap(), &format!("{soft}:{hard}"));
}
