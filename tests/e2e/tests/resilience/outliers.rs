//! Endpoints that do badly are left out, and taken back when they do well.

use mesh_e2e::ask::Ask;
use mesh_e2e::farm::{Farm, endpoints};
use mesh_e2e::pace::Pace;
use mesh_e2e::{LONG, report};
use mesh_harness::until;

use crate::farm;

/// The addresses that node A says are ejected for a Service.
fn ejected(farm: &Farm, service: &str) -> Vec<String> {
    let endpoints = endpoints(farm.node(0), service).unwrap();
    let is_ejected = |one: &&serde_json::Value| one["ejected"].as_array().is_some_and(|all| !all.is_empty());
    let address = |one: &serde_json::Value| one["address"].as_str().unwrap_or_default().to_owned();
    endpoints.iter().filter(is_ejected).map(address).collect()
}

#[test]
fn an_endpoint_that_fails_is_ejected_and_comes_back_when_it_is_well() {
    let mut farm = farm();
    let policy = "
outlierDetection: { consecutive5xx: 5, interval: 1s, baseEjection: 2s, maxEjection: 2s, maxEjectedPercent: 50 }
loadBalancing: { policy: RoundRobin }
";
    let target = farm.service("outlier", policy).unwrap();
    farm.clear().unwrap();
    farm.tell(2, "fail=100&status=500").unwrap();
    let gets = Pace::http1(target, 10, 20, 1600);
    let load = gets.start(&farm.client_a, &farm.folder(), "outlier").unwrap();
    let address = farm.servers[2].v4().to_string();
    until("the endpoint to be ejected", LONG, || {
        Ok((ejected(&farm, "outlier") == [address.clone()]).then_some(()))
    })
    .unwrap();
    // Probed every two seconds, and ejected again each time.
    let bad = farm.count(2).unwrap().failed;
    assert!((5..=20).contains(&bad), "{bad} requests until it was ejected");
    std::thread::sleep(std::time::Duration::from_secs(3));
    let still = farm.count(2).unwrap().failed;
    assert!(
        still <= bad + 5,
        "{still} after {bad}: an ejected endpoint gets a probe now and then"
    );
    farm.tell(2, "fail=0").unwrap();
    until("the endpoint to be back", LONG, || {
        Ok(ejected(&farm, "outlier").is_empty().then_some(()))
    })
    .unwrap();
    let before = farm.count(2).unwrap().requests;
    let gets = load.finish().unwrap();
    let after = farm.count(2).unwrap().requests;
    report!(
        "an endpoint fails all: {} of {} requests saw it",
        gets.of(500),
        gets.all()
    );
    assert!(gets.bad() <= 30, "{:?}", gets.statuses);
    assert!(
        after > before + 50,
        "it serves again: {before} before, {after} after"
    );
    farm.clear().unwrap();
}

#[test]
fn connection_failures_eject_and_the_last_endpoint_stays() {
    let mut farm = farm();
    let policy =
        "outlierDetection: { consecutiveGatewayErrors: 1, baseEjection: 60s, maxEjectedPercent: 100 }";
    let target = farm.service_of("last", 0, policy).unwrap();
    farm.clear().unwrap();
    farm.tell(0, "fail=100&status=503").unwrap();
    for _ in 0..5 {
        let answer = Ask::get(&format!("http://{target}/"))
            .send(&farm.client_a)
            .unwrap();
        // From the server itself: the only endpoint is never ejected.
        assert_eq!((answer.status, answer.header("x-mesh-error")), (503, None));
    }
    assert!(ejected(&farm, "last").is_empty());
    farm.clear().unwrap();
}

#[test]
fn a_success_rate_out_of_line_ejects() {
    let mut farm = farm();
    // With four endpoints one cannot be more than 1.73 deviations off: sqrt(n - 1).
    let policy = "
outlierDetection:
  successRate: { minEndpoints: 4, minRequests: 20, deviations: 1.5 }
  interval: 1s
  baseEjection: 30s
  maxEjectedPercent: 50
loadBalancing: { policy: RoundRobin }
";
    let target = farm.service("rate", policy).unwrap();
    farm.clear().unwrap();
    // Never many at a time: failures one after another would not show it.
    farm.tell(1, "fail=40&status=500").unwrap();
    let gets = Pace::http1(target, 10, 20, 1200);
    let gets = gets.run(&farm.client_a, &farm.folder(), "rate").unwrap();
    assert_eq!(
        ejected(&farm, "rate"),
        [farm.servers[1].v4().to_string()],
        "{:?}",
        gets.statuses
    );
    let failed = farm.count(1).unwrap().failed;
    assert!(failed < 80, "{failed}");
    farm.clear().unwrap();
}
