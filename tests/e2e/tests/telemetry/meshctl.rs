//! meshctl on a node with traffic: routes, stat, top, and what services tell of their endpoints.

use anyhow::Context as _;
use mesh_e2e::LONG;
use mesh_e2e::case::get;
use mesh_e2e::hall::Hall;
use mesh_e2e::routes::Route;
use mesh_harness::node::NodeProxy;
use mesh_harness::{Finished, Process};
use serde_json::Value;

use crate::{HALL, ask, wait_count};

fn meshctl(node: &NodeProxy, arguments: &[&str]) -> Finished {
    let program = node.node.proxy.our_program("meshctl").unwrap();
    program.args(arguments).run(LONG).unwrap()
}

fn text(node: &NodeProxy, arguments: &[&str]) -> String {
    meshctl(node, arguments).success().unwrap().text()
}

fn json(node: &NodeProxy, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--output", "json"]].concat();
    serde_json::from_str(&text(node, &arguments)).unwrap()
}

/// The row with this name in this column.
fn row<'a>(rows: &'a Value, column: &str, name: &str) -> &'a Value {
    let rows = rows.as_array().unwrap();
    let found = rows.iter().find(|row| row[column] == name);
    found
        .with_context(|| format!("no {column} {name} in {rows:#?}"))
        .unwrap()
}

/// A Service with a route that sends a tenth of the requests to its second server, and requests to it until it is dropped.
struct Busy {
    _load: Process,
}

impl Busy {
    fn start(hall: &mut Hall, name: &str) -> Self {
        let target = hall.service(name).unwrap();
        let rules = "
- name: split
  backendRefs: [ { name: echo-v1, port: 8080, weight: 90 }, { name: echo-v2, port: 8080, weight: 10 } ]
";
        hall.routes(&[Route::http(name).parent(name).rules(rules)])
            .unwrap();
        let url = format!("http://{}/", target.address);
        let load = hall.client_a.place.program("wrk").unwrap();
        let load = load.args(["-t1", "-c2", "-d120", &url]).spawn().unwrap();
        Self { _load: load }
    }
}

#[test]
fn stat_shows_rates_success_and_latency() {
    let mut hall = HALL.take();
    let _busy = Busy::start(&mut hall, "busy");
    let a = hall.a();
    mesh_harness::until("traffic", LONG, || {
        let count = a
            .metrics()?
            .sum("mesh_node_requests_total", &[("service", "mesh/busy:80")]);
        Ok((count > 100.0).then_some(()))
    })
    .unwrap();

    let table = text(a, &["stat", "--window", "2s", "--namespace", "mesh"]);
    let line = table
        .lines()
        .find(|line| line.starts_with("mesh/busy:80 "))
        .unwrap();
    let cells: Vec<&str> = line.split_whitespace().collect();
    assert!(cells[1].parse::<f64>().unwrap() > 10.0, "{line}");
    assert_eq!(cells[2], "100%", "{line}");
    assert!(cells[3..6].iter().all(|cell| cell.ends_with('s')), "{line}");

    let rows = json(a, &["stat", "routes", "--window", "2s"]);
    let split: Vec<&Value> = rows
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["route"] == "mesh/busy#split")
        .collect();
    assert_eq!(split.len(), 2, "{rows:#}");
    let share = |backend: &str| {
        let all: f64 = split.iter().filter_map(|row| row["requests"].as_f64()).sum();
        let found = split.iter().find(|row| row["backend"] == backend).unwrap();
        found["requests"].as_f64().unwrap() / all
    };
    let (v1, v2) = (share("mesh/echo-v1:8080"), share("mesh/echo-v2:8080"));
    assert!(v1 > 0.8 && v2 > 0.02, "{v1} {v2}");
    for row in split {
        let at = |name: &str| row[name].as_f64().unwrap();
        assert!(
            at("p50_seconds") <= at("p95_seconds") && at("p95_seconds") <= at("p99_seconds"),
            "{row}"
        );
        assert!(at("p99_seconds") < 10.0 && at("rps") > 0.0, "{row}");
    }

    let rows = json(a, &["stat", "workloads", "--total"]);
    let clients: Vec<&Value> = rows
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["role"] == "client")
        .collect();
    assert!(
        clients.iter().any(|row| row["workload"] == "mesh/client-a"),
        "{rows:#}"
    );
    let servers = rows
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["role"] == "server");
    assert!(
        servers.into_iter().any(|row| row["workload"] == "mesh/echo-v2"),
        "{rows:#}"
    );
}

#[test]
fn stat_counts_exactly_what_was_asked() {
    let mut hall = HALL.take();
    let target = hall.service("exact").unwrap();
    for _ in 0..8 {
        ask(&get("/"), &target, &hall.client_a, 200);
    }
    ask(&get("/").with("X-Do: status=500"), &target, &hall.client_a, 500);
    ask(&get("/").with("X-Do: status=404"), &target, &hall.client_a, 404);
    let a = hall.a();
    wait_count(
        a,
        "mesh_node_requests_total",
        &[("service", "mesh/exact:80")],
        10.0,
    );
    let rows = json(a, &["stat", "--total"]);
    let exact = row(&rows, "service", "mesh/exact:80");
    assert_eq!(exact["requests"], 10);
    assert_eq!(exact["failures"], 1);
    assert_eq!(exact["success_rate"], 0.9);
    assert_eq!(
        exact["codes"],
        serde_json::json!({ "200": 8, "404": 1, "500": 1 })
    );
    let table = text(a, &["stat", "--total"]);
    let line = table
        .lines()
        .find(|line| line.starts_with("mesh/exact:80 "))
        .unwrap();
    assert!(line.contains(" 90.00% "), "{line}");
}

#[test]
fn top_goes_on_until_its_count_with_and_without_a_terminal() {
    let mut hall = HALL.take();
    let _busy = Busy::start(&mut hall, "topped");
    let a = hall.a();
    let plain = text(a, &["top", "routes", "--count", "2", "--interval", "500ms"]);
    assert_eq!(plain.matches("requests a second").count(), 2, "{plain}");
    assert!(plain.contains("mesh/topped#split"), "{plain}");
    assert!(!plain.contains('\x1b'), "{plain:?}");

    let lines = text(
        a,
        &["top", "--count", "2", "--interval", "500ms", "--output", "json"],
    );
    assert_eq!(lines.lines().count(), 2);
    for line in lines.lines() {
        let round: Value = serde_json::from_str(line).unwrap();
        assert!(
            round["rows"]
                .as_array()
                .unwrap()
                .iter()
                .any(|row| row["service"] == "mesh/topped:80")
        );
    }

    // script(1) gives it a terminal.
    let program = mesh_harness::binaries::ours("meshctl").unwrap();
    let command = format!("{} top --count 2 --interval 500ms", program.display());
    let script = a.node.proxy.program("script").unwrap();
    let shown = script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
    let shown = shown.run(LONG).unwrap().success().unwrap().text();
    assert_eq!(
        shown.matches("\x1b[H").count(),
        2,
        "each round in place of the former: {shown:?}"
    );
    assert!(shown.contains("mesh/topped:80"), "{shown:?}");
}

#[test]
fn routes_show_what_is_in_force_and_what_is_wrong() {
    let mut hall = HALL.take();
    hall.service("shown").unwrap();
    let rules = "
- name: split
  matches: [ { path: { type: PathPrefix, value: /cart }, method: GET } ]
  timeouts: { request: 1s }
  backendRefs: [ { name: echo-v1, port: 8080, weight: 3 }, { name: absent, port: 80, weight: 1 } ]
";
    hall.routes(&[Route::http("shown").parent("shown").rules(rules)])
        .unwrap();
    let a = hall.a();
    // mesh-control listens on all addresses of its host.
    let control = hall.mesh.control.address().ip();
    let control = std::net::SocketAddr::new(control, 15012).to_string();
    let table = text(a, &["routes", "--control", &control, "--rules"]);
    let line = table.lines().find(|line| line.contains(" mesh/shown ")).unwrap();
    assert!(
        line.contains("HTTPRoute") && line.contains("BackendNotFound"),
        "{line}"
    );
    assert!(
        table.contains("GET /cart*") && table.contains("mesh/echo-v1:8080 3/4"),
        "{table}"
    );
    let complaint = table.lines().find(|line| line.contains("ResolvedRefs is False"));
    let complaint = complaint
        .with_context(|| format!("no complaint in {table}"))
        .unwrap();
    assert!(
        complaint.contains("httproute-mesh-shown.yaml:") && complaint.contains("absent"),
        "{complaint}"
    );
    let report = json(a, &["routes", "--control", &control, "--namespace", "mesh"]);
    let shown = row(&report["in_force"]["routes"], "name", "mesh/shown");
    assert_eq!(shown["parents"][0]["parent"], "mesh/shown");

    let table = text(a, &["routes", "--node"]);
    let line = table
        .lines()
        .find(|line| line.contains("mesh/shown#split"))
        .unwrap();
    assert!(
        line.contains("GET /cart*") && line.contains("timeout 1s"),
        "{line}"
    );
    assert!(
        line.contains("mesh/echo-v1:8080 3/4") && line.contains("invalid ("),
        "{line}"
    );
    let groups = json(a, &["routes", "--node", "--namespace", "mesh"]);
    assert_eq!(
        row(&groups, "service", "mesh/shown")["rules"][0]["name"],
        "mesh/shown#split"
    );

    // Nobody answers there: says what to do.
    let nobody = meshctl(a, &["routes", "--control", "127.0.0.1:1"]);
    assert_eq!(nobody.code(), Some(3));
    assert!(
        nobody.stderr.contains("--control") && nobody.stderr.contains("--node"),
        "{}",
        nobody.stderr
    );
    hall.remove("httproute-mesh-shown").unwrap();
}

#[test]
fn services_show_what_is_under_way() {
    let mut hall = HALL.take();
    let target = hall.service("waiting").unwrap();
    let hold = get("/hold").with("X-Do: delay=3000").ask(&target);
    let client = hall.client_a.clone();
    let held = std::thread::spawn(move || hold.send(&client).unwrap().status);
    let a = hall.a();
    wait_count(
        a,
        "mesh_node_backend_requests",
        &[("backend", "mesh/waiting:80")],
        1.0,
    );
    let services = json(a, &["services"]);
    let endpoints = row(&services, "name", "mesh/waiting")["endpoints"]
        .as_array()
        .unwrap();
    let under_way: u64 = endpoints
        .iter()
        .filter_map(|one| one["active_requests"].as_u64())
        .sum();
    assert_eq!(under_way, 1, "{endpoints:#?}");
    let table = text(a, &["services", "--endpoints", "--namespace", "mesh"]);
    assert!(table.contains("REQUESTS") && table.contains("EJECTED"), "{table}");
    assert_eq!(held.join().unwrap(), 200);
}
