//! Routes for connections: shares of them, and TLS by its server name.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;

use mesh_e2e::hall::NAMESPACE;
use mesh_e2e::routes::Route;
use mesh_e2e::speakers::{HTTPS_PORT, NAME_PORT};
use mesh_e2e::traffic::{connect, outcome};
use mesh_e2e::{LONG, MOMENT};
use mesh_harness::Workload;
use mesh_harness::manifest::ServiceManifest;

use crate::{WORLD, World};

/// How often each server answers when curl asks so many times, on a connection of its own each time; and how often nobody
/// does.
fn answers(from: &Workload, at: SocketAddr, times: u32) -> BTreeMap<String, u32> {
    let url = format!("http://{at}/name?[1-{times}]");
    let curl = from.place.program("curl").unwrap();
    let curl = curl.args([
        "-s",
        "--max-time",
        "30",
        "-H",
        "Connection: close",
        "-w",
        "%{errormsg}\\n",
        &url,
    ]);
    let output = curl.run(LONG).unwrap().stdout;
    let mut counts = BTreeMap::new();
    for line in String::from_utf8_lossy(&output)
        .lines()
        .filter(|line| !line.is_empty())
    {
        let who = if matches!(line, "left" | "right") {
            line
        } else {
            "nobody"
        };
        *counts.entry(who.to_owned()).or_default() += 1;
    }
    counts
}

/// A Service for each of the two servers of HTTPS, at their ports for HTTP too.
fn named(world: &mut World) {
    for pod in ["left", "right"] {
        let name = format!("{pod}-name");
        let manifest = ServiceManifest::new(NAMESPACE, &name).selects(pod);
        let manifest = manifest.named_port("name", 80, NAME_PORT, None);
        world.add(&name, manifest, 80, 1).unwrap();
    }
}

#[test]
fn connections_are_shared_out_by_weight() {
    let mut world = WORLD.take();
    named(&mut world);
    let at = world.service("split", "left", 9000, NAME_PORT, None).unwrap();
    let route = Route::tcp("split").parent("split").rules(
        "- backendRefs: [ { name: left-name, port: 80, weight: 70 }, { name: right-name, port: 80, weight: 30 }, { name: books, port: 5432, weight: 0 } ]",
    );
    world.route("split", &route).unwrap();
    // By chance one round in sixty is further off, and never three in a row.
    let is_fair = (0..3).any(|_| {
        let counts = answers(&world.client, at, 500);
        mesh_e2e::report!("500 connections at 70, 30 and 0: {counts:?}");
        let of = |who: &str| counts.get(who).copied().unwrap_or(0);
        assert_eq!(of("left") + of("right"), 500, "{counts:?}");
        (325..=375).contains(&of("left"))
    });
    assert!(is_fair);
    let parts = ["service=mesh/split", "route=mesh/split#0", "connection complete"];
    world.a().wait_log(0, &parts, MOMENT).unwrap();
}

#[test]
fn the_share_of_a_backend_that_is_not_there_is_reset() {
    let mut world = WORLD.take();
    named(&mut world);
    let at = world.service("half", "left", 9000, NAME_PORT, None).unwrap();
    let route = Route::tcp("half").parent("half").rules(
        "- backendRefs: [ { name: right-name, port: 80, weight: 50 }, { name: no-such, port: 80, weight: 50 } ]",
    );
    world.route("half", &route).unwrap();
    let counts = answers(&world.client, at, 200);
    let reset = counts.get("nobody").copied().unwrap_or(0);
    assert_eq!(
        reset + counts.get("right").copied().unwrap_or(0),
        200,
        "{counts:?}"
    );
    assert!((70..=130).contains(&reset), "{counts:?}");
    let labels = [("direction", "outbound"), ("reason", "no_backend")];
    let failed = world
        .a()
        .metrics()
        .unwrap()
        .sum("mesh_node_connections_failed_total", &labels);
    assert!(failed >= f64::from(reset), "{failed} of {reset} were counted");
}

/// Who answers to a server name over HTTPS; empty when nobody does.
fn over_tls(from: &Workload, at: SocketAddr, name: &str) -> String {
    let (port, ip) = (at.port(), at.ip());
    let resolve = format!("{name}:{port}:{ip}");
    let url = format!("https://{name}:{port}/name");
    let curl = from.place.program("curl").unwrap();
    let curl = curl.args(["-sk", "--max-time", "5", "--resolve", &resolve, &url]);
    let finished = curl.run(MOMENT).unwrap();
    String::from_utf8_lossy(&finished.stdout).trim().to_owned()
}

fn tls_route(name: &str, parent: &str, host: &str, backend: &str) -> Route {
    let rules = format!("- backendRefs: [ {{ name: {backend}, port: {HTTPS_PORT} }} ]");
    Route::tls(name).parent(parent).hostname(host).rules(&rules)
}

#[test]
fn tls_goes_by_the_most_specific_server_name() {
    let mut world = WORLD.take();
    let at = world.service("named", "books", HTTPS_PORT, 5432, None).unwrap();
    for route in [
        tls_route("named-any", "named", "*.shop.test", "left"),
        tls_route("named-one", "named", "b.shop.test", "right"),
        tls_route("named-long", "named", "*.deep.shop.test", "right"),
    ] {
        world.route("named", &route).unwrap();
    }
    let asks = |name: &str| over_tls(&world.client, at, name);
    mesh_harness::until("all routes to be in force", MOMENT, || {
        Ok((asks("b.shop.test") == "right" && asks("x.deep.shop.test") == "right").then_some(()))
    })
    .unwrap();
    assert_eq!(asks("a.shop.test"), "left");
    assert_eq!(asks("B.SHOP.TEST"), "right");
    assert_eq!(asks("c.d.shop.test"), "left");
    assert_eq!(asks("shop.test"), "", "a wildcard stands for one label at least");
    assert_eq!(asks("other.test"), "");
    let labels = [("direction", "outbound"), ("reason", "no_route")];
    let failed = world
        .a()
        .metrics()
        .unwrap()
        .sum("mesh_node_connections_failed_total", &labels);
    assert!(failed >= 2.0, "{failed}");
    // Without a server name, and without TLS at all.
    let url = format!("https://{at}/name");
    let curl = world.client.place.program("curl").unwrap();
    let finished = curl.args(["-sk", "--max-time", "5", &url]).run(MOMENT).unwrap();
    assert!(!finished.status.success());
    let mut client = connect(&world.client, at);
    std::io::Write::write_all(&mut client, b"\0\0\0\x08\r\n").unwrap();
    assert_eq!(outcome(&mut client), Err(ErrorKind::ConnectionReset));
}

#[test]
fn tls_that_is_declared_goes_by_its_routes_too() {
    let mut world = WORLD.take();
    let at = world
        .service("secure", "left", HTTPS_PORT, HTTPS_PORT, Some("https"))
        .unwrap();
    assert_eq!(
        over_tls(&world.client, at, "z.test"),
        "left",
        "without a route it goes to the Service"
    );
    let told = world.told_at("tls", "tls");
    world
        .route("secure", &tls_route("secure", "secure", "z.test", "right"))
        .unwrap();
    mesh_harness::until("the route to be in force", MOMENT, || {
        Ok((over_tls(&world.client, at, "z.test") == "right").then_some(()))
    })
    .unwrap();
    assert_eq!(over_tls(&world.client, at, "y.test"), "");
    assert!(world.told_at("tls", "tls") >= told + 2.0);
}
