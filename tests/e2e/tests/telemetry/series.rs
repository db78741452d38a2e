//! Series of what is gone go too, and no others.

use mesh_e2e::LONG;
use mesh_e2e::case::get;
use mesh_e2e::hall::{Hall, NAMESPACE};
use mesh_e2e::peers::{self, HTTP_PORT};
use mesh_e2e::routes::Route;
use mesh_harness::until;

use crate::{HALL, ask, wait_count};

/// Names of the metrics that have a label with this value.
fn told_of(hall: &Hall, value: &str) -> Vec<String> {
    let metrics = hall.a().metrics().unwrap();
    let found = metrics.samples().iter().filter(|sample| {
        let mut values = sample.labels.values();
        values.any(|label| {
            label == value
                || label.starts_with(&format!("{value}:"))
                || label.starts_with(&format!("{value}#"))
        })
    });
    found.map(|sample| sample.name.clone()).collect()
}

fn wait_forgotten(hall: &Hall, value: &str) {
    let mut left = Vec::new();
    until(&format!("{value} to be forgotten"), LONG, || {
        left = told_of(hall, value);
        Ok(left.is_empty().then_some(()))
    })
    .map_err(|error| error.context(format!("still there: {left:?}")))
    .unwrap();
}

#[test]
fn series_of_a_removed_workload_route_and_service_go_and_the_others_stay() {
    let mut hall = HALL.take();
    let pod = hall.mesh.add_pod("node-b", "short-lived").unwrap();
    let folder = hall.folder();
    let certificate = peers::Certificate::new(&folder).unwrap();
    let server = peers::http_server(&pod, &folder, "short-lived", &certificate).unwrap();
    hall.mesh
        .enrol(NAMESPACE, "node-b", &pod, |workload| {
            workload.port("http", HTTP_PORT)
        })
        .unwrap();
    pod.place.wait_listening(HTTP_PORT, LONG).unwrap();
    let target = hall.service("expiring").unwrap();
    hall.service_of("short", "short-lived", 1).unwrap();
    let rules = "
- matches: [ { path: { type: PathPrefix, value: /short } } ]
  backendRefs: [ { name: short, port: 8080 } ]
- matches: [ { path: { type: PathPrefix, value: /stays } } ]
  backendRefs: [ { name: echo-v2, port: 8080 } ]
";
    let other = "- matches: [ { path: { type: PathPrefix, value: /other } } ]\n  backendRefs: [ { name: echo-v2, port: 8080 } ]\n";
    let (main, gone) = (
        Route::http("expiring").parent("expiring").rules(rules),
        Route::http("expiring-other").parent("expiring").rules(other),
    );
    hall.routes(&[main, gone.clone()]).unwrap();
    ask(&get("/short"), &target, &hall.client_a, 200);
    ask(&get("/stays"), &target, &hall.client_a, 200);
    ask(&get("/other"), &target, &hall.client_a, 200);
    let requests = "mesh_node_requests_total";
    wait_count(hall.a(), requests, &[("service", "mesh/expiring:80")], 3.0);
    assert!(!told_of(&hall, "mesh/short-lived").is_empty());

    // A workload.
    drop(server);
    hall.remove("workload-mesh-short-lived").unwrap();
    wait_forgotten(&hall, "mesh/short-lived");
    // A route.
    hall.remove(&gone.file()).unwrap();
    wait_forgotten(&hall, "mesh/expiring-other");
    // What exists is told of, though nothing was counted in it for longer than the retention.
    let stays = [
        ("service", "mesh/expiring:80"),
        ("route", "mesh/expiring#1"),
        ("destination_workload", "mesh/echo-v2"),
    ];
    wait_count(hall.a(), requests, &stays, 1.0);
    // A Service.
    hall.remove("httproute-mesh-expiring").unwrap();
    hall.remove("service-mesh-expiring").unwrap();
    wait_forgotten(&hall, "mesh/expiring");
}
