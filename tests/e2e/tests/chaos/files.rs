//! Files that are damaged or cannot be written, and worlds that are large.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use mesh_e2e::servers::NGINX_PORT;
use mesh_e2e::shop::Shop;
use mesh_e2e::traffic::curl;
use mesh_e2e::{LONG, MOMENT, crowd, report};
use mesh_harness::node::NodeSettings;
use mesh_harness::{Mesh, NodeProxy, until};

use crate::{SHOP, chance};

/// The most that a node with 50,000 workloads in its snapshot may take: the bound that the project has set itself.
const LARGE_WORLD: u64 = 100_000_000;

fn home(node: &NodeProxy) -> PathBuf {
    node.config().parent().unwrap().to_owned()
}

/// The file with the configuration. Waits for it: it is written a moment after a change.
fn state_file(node: &NodeProxy) -> PathBuf {
    let file = home(node).join("state/configuration.v3");
    until("the configuration to be on disk", MOMENT, || {
        Ok(file.exists().then_some(()))
    })
    .unwrap();
    file
}

#[test]
fn damaged_files_are_reported_and_made_anew() {
    let mut chance = chance("damaged files");
    let mut shop = SHOP.take();
    let state = state_file(shop.a());
    let identities = home(shop.a()).join("run/identities");
    let whole = fs::read(&state).unwrap();
    let mut flipped = whole.clone();
    flipped[chance.usize(..whole.len())] ^= 1 << chance.u8(..8);
    let cut = whole[..chance.usize(1..whole.len())].to_vec();
    for damage in [flipped, cut, Vec::new(), b"GET / HTTP/1.1\r\n\r\n".repeat(1000)] {
        until("the keys of both workloads to be on disk", MOMENT, || {
            let keys = fs::read_dir(&identities)?.flatten();
            let keys = keys.filter(|key| key.path().extension().is_some_and(|e| e == "identity"));
            Ok((keys.count() >= 2).then_some(()))
        })
        .unwrap();
        let mark = shop.a().log().len();
        shop.a_mut().kill().unwrap();
        fs::write(&state, &damage).unwrap();
        for key in fs::read_dir(&identities).unwrap().flatten() {
            let mut bytes = fs::read(key.path()).unwrap();
            let at = chance.usize(..bytes.len());
            bytes.truncate(at);
            fs::write(key.path(), bytes).unwrap();
        }
        shop.a_mut().start().unwrap();
        assert_eq!(curl(&shop.client, "http://10.96.0.1/ok"), "ok");
        for parts in [
            ["is damaged", "not used"],
            ["dropping an identity", "run/identities"],
        ] {
            shop.a().wait_log(mark, &parts, MOMENT).unwrap();
        }
        until("the file to be made anew", MOMENT, || {
            Ok((fs::read(&state)? != damage).then_some(()))
        })
        .unwrap();
    }

    let mark = shop.a().log().len();
    shop.a_mut().kill().unwrap();
    shop.a_mut().start().unwrap();
    shop.a()
        .wait_log(mark, &["configuration restored from disk"], MOMENT)
        .unwrap();

    // Without a control plane there is nothing to go on from: captured all the same, and refused.
    let mark = shop.a().log().len();
    shop.mesh.control.kill().unwrap();
    shop.a_mut().kill().unwrap();
    fs::write(&state, &whole[..whole.len() / 2]).unwrap();
    shop.a_mut().launch().unwrap();
    shop.a().wait_log(mark, &["is damaged"], MOMENT).unwrap();
    thread::sleep(Duration::from_millis(300));
    let refused = shop
        .client
        .place
        .connect((shop.web.v4(), NGINX_PORT).into(), MOMENT);
    assert!(refused.unwrap().is_err(), "it must not go past the mesh");
    assert!(!shop.a().is_ready());
    shop.mesh.control.start().unwrap();
    shop.a_mut().wait_ready().unwrap();
    assert_eq!(curl(&shop.client, "http://10.96.0.1/ok"), "ok");
}

#[test]
fn a_state_directory_that_cannot_be_written_is_reported_and_does_no_harm() {
    let mut shop = SHOP.take();
    let state = state_file(shop.a());
    // Root may write anywhere; but not a file where a directory is.
    let obstacle = state.with_extension("partial");
    fs::create_dir(&obstacle).unwrap();
    let mark = shop.a().log().len();
    shop.add_service_with("unwritten", 77, 80, NGINX_PORT, 0).unwrap();
    let parts = ["cannot keep the configuration", "node.state-directory"];
    shop.a().wait_log(mark, &parts, MOMENT).unwrap();
    assert_eq!(curl(&shop.client, "http://10.96.0.1/ok"), "ok");
    fs::remove_dir(&obstacle).unwrap();

    // No directory at all, and none can be made.
    shop.a_mut().stop().unwrap();
    let (folder, aside) = (state.parent().unwrap(), home(shop.a()).join("aside"));
    fs::rename(folder, &aside).unwrap();
    fs::write(folder, "").unwrap();
    let failed = shop.a().command(&[], MOMENT).unwrap();
    assert_eq!(failed.code(), Some(1), "{failed:?}");
    let said = failed.text() + &failed.stderr;
    assert!(said.contains("node.state-directory"), "{said}");
    fs::remove_file(folder).unwrap();
    fs::rename(&aside, folder).unwrap();
    shop.a_mut().start().unwrap();
    shop.mesh.manifests.remove("service-shop-unwritten.yaml").unwrap();
}

/// Waits until a node knows so many Services of the crowd's namespace.
fn wait_crowd(node: &NodeProxy, services: usize, deadline: Duration) -> Duration {
    let start = Instant::now();
    let mut last = 0;
    let arrived = until("the crowd to arrive", deadline, || {
        let known = node.admin("/services")?;
        let known = known.as_array().into_iter().flatten();
        let ready = |one: &serde_json::Value| {
            let endpoints = one["endpoints"].as_array();
            one["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("crowd/"))
                && endpoints.is_some_and(|all| all.len() == crowd::PER_SERVICE)
        };
        last = known.filter(|one| ready(one)).count();
        thread::sleep(Duration::from_millis(50)); // the answer itself costs milliseconds
        Ok((last == services).then_some(()))
    });
    let log = || node.log_tail();
    assert!(
        arrived.is_ok(),
        "{arrived:?}; {last} of {services} Services; {}",
        log()
    );
    start.elapsed()
}

#[test]
fn large_worlds_arrive_soon_and_fit_into_little_memory() {
    let settings = NodeSettings {
        access_log: "off".to_owned(),
        ..Shop::node_settings()
    };
    let mut mesh = Mesh::builder()
        .node("node-a")
        .node_settings(settings)
        .prepare()
        .unwrap();
    mesh.manifests.namespace("crowd", false).unwrap();
    mesh.start_nodes().unwrap();
    for (count, per_file, what) in [
        (500, 1, "500 files at once"),
        (5_000, 5_000, "5,000 workloads in one file"),
        (50_000, 10_000, "50,000 workloads in five files"),
    ] {
        crowd::remove(&mesh.manifests).unwrap();
        crowd::write(&mesh.manifests, count, per_file).unwrap();
        let took = wait_crowd(&mesh.nodes[0], count / crowd::PER_SERVICE, LONG);
        let process = mesh.nodes[0].process().unwrap();
        let (peak, _) = process.peak_bytes_and_threads().unwrap();
        let resident = process.resident_bytes().unwrap();
        report!(
            "{what}: in force after {took:?}; mesh-node has {} MB, at most {} MB; mesh-control {} MB",
            resident / 1_000_000,
            peak / 1_000_000,
            mesh.control.process().unwrap().resident_bytes().unwrap() / 1_000_000
        );
        assert!(resident <= LARGE_WORLD, "{resident} bytes");
    }
    // A restart has all of it from disk at once.
    thread::sleep(Duration::from_secs(2));
    mesh.nodes[0].kill().unwrap();
    let start = Instant::now();
    mesh.nodes[0].start().unwrap();
    let ready = start.elapsed();
    thread::sleep(Duration::from_secs(1));
    let process = mesh.nodes[0].process().unwrap();
    let (peak, _) = process.peak_bytes_and_threads().unwrap();
    report!(
        "restarted with 50,000 workloads: ready after {ready:?}; {} MB, at most {} MB",
        process.resident_bytes().unwrap() / 1_000_000,
        peak / 1_000_000
    );
    assert!(process.resident_bytes().unwrap() <= LARGE_WORLD);
}
