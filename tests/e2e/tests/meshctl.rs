//! meshctl against a real node: what it shows, and programs that it starts as workloads.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

use std::path::PathBuf;

use mesh_e2e::shop::{self, NAMESPACE, NEIGHBOUR, Shop, WEB};
use mesh_e2e::turns::Turns;
use mesh_e2e::{LONG, MOMENT};
use mesh_harness::manifest::WorkloadManifest;
use mesh_harness::node::NodeProxy;
use mesh_harness::{Finished, Program, Workload, mounts, until};
use nix::sys::signal::Signal;
use serde_json::Value;

static SHOP: Turns<Shop> = Turns::new(Shop::open);

/// meshctl on a node, as an administrator types it.
fn meshctl(node: &NodeProxy, arguments: &[&str]) -> Program {
    node.node.proxy.our_program("meshctl").unwrap().args(arguments)
}

fn run(node: &NodeProxy, arguments: &[&str]) -> Finished {
    meshctl(node, arguments).run(LONG).unwrap()
}

fn json(node: &NodeProxy, command: &str) -> Value {
    let finished = run(node, &[command, "--output", "json"]).success().unwrap();
    serde_json::from_str(&finished.text()).unwrap()
}

/// The same workload in a cgroup that does not exist yet.
fn without_cgroup(workload: &Workload) -> (Workload, PathBuf) {
    let cgroup = format!("{}-started", workload.cgroup);
    let directory = mounts::cgroup2().unwrap().join(&cgroup);
    assert!(!directory.exists());
    (
        Workload {
            cgroup,
            ..workload.clone()
        },
        directory,
    )
}

/// Tells the mesh of a workload, and waits until the node has heard of it; no more can happen without its cgroup.
fn declare(shop: &Shop, workload: &Workload) -> String {
    let name = format!("{NAMESPACE}/{}", workload.name);
    let manifest = WorkloadManifest::new(NAMESPACE, "node-a", workload).port("any", 7000);
    shop.mesh.manifests.workload(&manifest).unwrap();
    until("the node to hear of the workload", MOMENT, || {
        let workloads = shop.a().admin("/workloads")?;
        let mut names = workloads.as_array().into_iter().flatten();
        Ok(names
            .any(|one| one["name"] == name.as_str() && !one["local"].is_null())
            .then_some(()))
    })
    .unwrap();
    name
}

#[test]
fn shows_the_node_to_people_and_to_programs() {
    let shop = SHOP.take();
    let text = run(shop.a(), &["status"]).success().unwrap().text();
    assert!(
        text.contains("node-a") && text.contains("Ready:          yes"),
        "{text}"
    );
    assert_eq!(json(shop.a(), "status")["is_ready"], true);

    let text = run(shop.a(), &["workloads", "--local"]).success().unwrap().text();
    assert!(
        text.contains("shop/client") && text.contains("captured"),
        "{text}"
    );
    assert!(
        !text.contains("shop/web"),
        "a workload of the other node:\n{text}"
    );
    let everywhere = json(shop.a(), "workloads");
    assert!(
        everywhere
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["name"] == "shop/web")
    );

    let text = run(shop.a(), &["services", "--endpoints"])
        .success()
        .unwrap()
        .text();
    assert!(text.contains("80->8080") && text.contains("shop/web"), "{text}");
    let text = run(shop.a(), &["certificates"]).success().unwrap().text();
    assert!(text.contains("/ns/shop/sa/client"), "{text}");
    assert!(json(shop.a(), "config").is_object());
}

#[test]
fn shows_an_open_connection_with_its_peer() {
    let shop = SHOP.take();
    let stream = mesh_e2e::traffic::connect(&shop.client, mesh_e2e::traffic::address(WEB));
    let text = until("the connection to be listed", MOMENT, || {
        let text = run(shop.a(), &["connections", "--workload", "shop/client"])
            .success()?
            .text();
        Ok(text.contains("/ns/shop/sa/web").then_some(text))
    })
    .unwrap();
    assert!(text.contains("hbone") && text.contains("shop/web"), "{text}");
    drop(stream);
    let other = run(shop.a(), &["connections", "--workload", "shop/neighbour"])
        .success()
        .unwrap();
    assert!(!other.text().contains("shop/client "), "{}", other.text());
}

#[test]
fn finds_the_node_fit_and_its_ports_held_by_it() {
    let shop = SHOP.take();
    let report = json(shop.a(), "check");
    assert_eq!(report["is_fit"], true, "{report:#}");
    let admin = report["findings"].as_array().unwrap().iter();
    let mut admin = admin.filter(|one| one["check"].as_str().is_some_and(|check| check.contains("15000")));
    assert!(admin.any(|one| {
        one["found"]
            .as_str()
            .is_some_and(|found| found.starts_with("held by mesh-node"))
    }));
}

#[test]
fn says_when_no_node_answers() {
    let shop = SHOP.take();
    let alone = shop.outsider.place.our_program("meshctl").unwrap();
    let finished = alone.arg("status").run(MOMENT).unwrap();
    assert_eq!(finished.code(), Some(3));
    assert!(
        finished.stderr.contains("no node answers on 127.0.0.1:15000"),
        "{}",
        finished.stderr
    );
}

#[test]
fn starts_a_program_as_a_workload_and_leaves_nothing() {
    let mut shop = SHOP.take();
    let pod = shop.mesh.add_pod("node-a", "batch").unwrap();
    let (pod, directory) = without_cgroup(&pod);
    let name = declare(&shop, &pod);
    // One right after another: the node must not take the next cgroup for the one before.
    for service in [WEB, NEIGHBOUR, WEB, NEIGHBOUR, WEB] {
        let before = shop::opened(shop.a(), "outbound");
        let url = format!("http://{service}/ok");
        let finished = run(
            shop.a(),
            &[
                "run",
                "--workload",
                &name,
                "--",
                "curl",
                "-sS",
                "--max-time",
                "5",
                &url,
            ],
        );
        assert_eq!(finished.success().unwrap().text(), "ok");
        assert!(
            shop::opened(shop.a(), "outbound") > before,
            "the very first connection is the mesh's"
        );
        assert!(!directory.exists(), "the cgroup was made for this run");
    }
}

#[test]
fn starts_a_host_network_program() {
    let mut shop = SHOP.take();
    let workload = shop.mesh.add_host_workload("node-a", "agent").unwrap();
    let (workload, directory) = without_cgroup(&workload);
    let name = declare(&shop, &workload);
    let script = format!("cat /proc/self/cgroup; id -un; curl -sS --max-time 5 http://{WEB}/ok");
    let finished = run(
        shop.a(),
        &[
            "run",
            "--workload",
            &name,
            "--user",
            "nobody",
            "--",
            "sh",
            "-c",
            &script,
        ],
    );
    let text = finished.success().unwrap().text();
    assert!(text.contains(&format!("0::/{}", workload.cgroup)), "{text}");
    assert!(text.ends_with("nobody\nok"), "{text}");
    assert!(!directory.exists());
}

#[test]
fn finds_the_network_namespace_through_the_waiting_process() {
    let mut shop = SHOP.take();
    let pod = shop.mesh.add_pod("node-a", "found").unwrap();
    let (pod, _) = without_cgroup(&pod);
    let namespace = pod.place.netns().path().display().to_string();
    let manifest = WorkloadManifest::new(NAMESPACE, "node-a", &pod).network_namespace_by_cgroup();
    shop.mesh.manifests.workload(&manifest).unwrap();
    let name = format!("{NAMESPACE}/{}", pod.name);
    let url = format!("http://{WEB}/ok");
    let arguments = [
        "run",
        "--workload",
        &name,
        "--network-namespace",
        &namespace,
        "--",
        "curl",
        "-sS",
        &url,
    ];
    let text = until("the node to hear of the workload", MOMENT, || {
        let finished = run(shop.a(), &arguments);
        Ok((!finished.stderr.contains("knows no workload")).then(|| finished.success()))
    });
    assert_eq!(text.unwrap().unwrap().text(), "ok");
    let refused = run(shop.a(), &["run", "--workload", &name, "--", "true"]);
    assert_eq!(refused.code(), Some(125));
    assert!(
        refused.stderr.contains("--network-namespace"),
        "{}",
        refused.stderr
    );
}

#[test]
fn ends_as_the_program_ends() {
    let shop = SHOP.take();
    let name = format!("{NAMESPACE}/client");
    let code = |command: &[&str]| {
        let arguments = [&["run", "--workload", &name, "--"], command].concat();
        run(shop.a(), &arguments).code()
    };
    assert_eq!(code(&["sh", "-c", "exit 7"]), Some(7));
    assert_eq!(
        code(&["sh", "-c", "kill -SEGV $$"]),
        Some(128 + Signal::SIGSEGV as i32)
    );
    assert_eq!(code(&["/nonexistent"]), Some(127));
    assert_eq!(code(&["/etc/passwd"]), Some(126));
    assert!(
        shop.client.place.cgroup().exists(),
        "a cgroup that was there before stays"
    );
}

#[test]
fn passes_signals_on() {
    let shop = SHOP.take();
    let script = "trap 'echo ended by request; exit 9' TERM; echo begun; while :; do sleep 0.05; done";
    let arguments = ["run", "--workload", "shop/client", "--", "sh", "-c", script];
    let mut process = meshctl(shop.a(), &arguments).spawn().unwrap();
    process.wait_log(&["begun"], MOMENT).unwrap();
    process.signal(Signal::SIGTERM).unwrap();
    assert_eq!(process.wait(MOMENT).unwrap().code(), Some(9));
    assert!(process.log().contains("ended by request"));
}

#[test]
fn refuses_what_the_node_would_not_serve() {
    let shop = SHOP.take();
    for (name, reason) in [
        ("shop/web", "is a workload of node node-b, and this is node-a"),
        ("shop/nobody", "knows no workload shop/nobody"),
    ] {
        let finished = run(shop.a(), &["run", "--workload", name, "--", "echo", "started"]);
        assert_eq!(finished.code(), Some(125));
        assert!(finished.stderr.contains(reason), "{}", finished.stderr);
        assert_eq!(finished.text(), "");
    }
}
