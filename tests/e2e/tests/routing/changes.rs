//! Routes that come, change and go, under load.

use mesh_e2e::case::{Target, get};
use mesh_e2e::routes::Route;
use mesh_e2e::{LONG, report};
use mesh_harness::{Process, Workload, binaries, until};

use crate::HALL;

/// Changes of the routes while the load goes on.
const CHANGES: usize = 12;

/// h2load that asks at a steady pace for twenty seconds; over HTTP/1.1 or HTTP/2.
fn load(client: &Workload, target: &Target, http1: bool) -> Process {
    let (version, name) = if http1 {
        ("--h1", "h2load-one")
    } else {
        ("--max-concurrent-streams=10", "h2load-two")
    };
    let program = client
        .place
        .program_at(name, &binaries::theirs("h2load").unwrap());
    let program = program.args([
        "--clients=4",
        "--threads=1",
        "--duration=20",
        "--rps=100",
        version,
    ]);
    program
        .arg(format!("http://{}/load", target.address))
        .spawn()
        .unwrap()
}

/// Requests of an h2load that has ended, and those that were not answered 2xx.
fn outcome(load: &mut Process) -> (u64, u64) {
    load.wait(LONG).unwrap();
    let log = load.log();
    let numbers = |begin: &str| -> Vec<u64> {
        let line = log
            .lines()
            .find_map(|line| line.strip_prefix(begin))
            .unwrap_or_default();
        let words = line.split([' ', ',']);
        words.filter_map(|word| word.parse().ok()).collect()
    };
    // "requests: N total, N started, N done, N succeeded, N failed, N errored, N timeout"
    let requests = numbers("requests: ");
    // "status codes: N 2xx, N 3xx, N 4xx, N 5xx"
    let codes = numbers("status codes: ");
    assert!(requests.len() == 7 && codes.len() == 4, "{log}");
    let (done, succeeded, good) = (requests[2], requests[3], codes[0]);
    let bad = requests[4..].iter().sum::<u64>() + (done - succeeded) + (succeeded - good);
    (done, bad)
}

#[test]
fn changes_of_routes_fail_no_request() {
    let mut hall = HALL.take();
    let target = hall.service("rolling").unwrap();
    let split = |one: u32, two: u32| {
        Route::http("rolling").parent("rolling").rules(&format!(
            "- backendRefs: [ {{ name: echo-v1, port: 8080, weight: {one} }}, {{ name: echo-v2, port: 8080, weight: {two} }} ]"
        ))
    };
    let by_path = Route::http("rolling").parent("rolling").rules(
        "
- matches: [ { path: { type: Exact, value: /load } } ]
  filters: [ { type: ResponseHeaderModifier, responseHeaderModifier: { set: [ { name: x-by, value: path } ] } } ]
  backendRefs: [ { name: echo-v2, port: 8082 } ]
- backendRefs: [ { name: echo-v1, port: 8080 } ]
",
    );
    hall.routes(&[split(1, 0)]).unwrap();
    hall.check(&target, &[get("/").reaches("echo-v1")]).unwrap();
    let mut loads: Vec<Process> = [
        (&hall.client_a, true),
        (&hall.client_b, false),
        (&hall.client_b, true),
    ]
    .into_iter()
    .map(|(client, http1)| load(client, &target, http1))
    .collect();
    for number in 0..CHANGES {
        match number % 4 {
            0 => hall.routes(&[split(1, 1)]).unwrap(),
            1 => hall.routes(std::slice::from_ref(&by_path)).unwrap(),
            2 => hall.remove(&split(1, 0).file()).unwrap(),
            _ => hall.routes(&[split(0, 1)]).unwrap(),
        }
        let case = match number % 4 {
            1 => get("/load").has("x-by", "path"),
            3 => get("/load").reaches("echo-v2").lacks("x-by"),
            _ => get("/load").lacks("x-by"),
        };
        hall.check(&target, &[case]).unwrap();
        assert!(
            loads.iter_mut().all(Process::is_running),
            "the load ended before the changes did"
        );
    }
    for load in &mut loads {
        let (all, bad) = outcome(load);
        report!("{CHANGES} changes of routes: {bad} of {all} requests failed");
        assert!(bad == 0 && all > 5000, "{bad} of {all}: {}", load.log());
    }
}

#[test]
fn a_route_that_goes_gives_its_requests_back_to_the_service() {
    let mut hall = HALL.take();
    let target = hall.service_of("leaving", "echo-v1", 1).unwrap();
    let route = Route::http("leaving")
        .parent("leaving")
        .rules("- backendRefs: [ { name: echo-v2, port: 8080 } ]");
    hall.routes(std::slice::from_ref(&route)).unwrap();
    hall.check(&target, &[get("/").reaches("echo-v2")]).unwrap();
    hall.remove(&route.file()).unwrap();
    hall.check(&target, &[get("/").reaches("echo-v1")]).unwrap();
    until("the control plane to forget the route", mesh_e2e::MOMENT, || {
        Ok(hall.status(&route)?.is_null().then_some(()))
    })
    .unwrap();
}

#[test]
fn a_backend_that_comes_later_makes_the_reference_resolve() {
    let mut hall = HALL.take();
    let target = hall.service("waiting").unwrap();
    let route = Route::http("waiting")
        .parent("waiting")
        .rules("- backendRefs: [ { name: comes-later, port: 80 } ]");
    hall.routes(std::slice::from_ref(&route)).unwrap();
    assert_eq!(
        hall.condition(&route, "ResolvedRefs").unwrap().reason,
        "BackendNotFound"
    );
    hall.check(&target, &[get("/").fails(500, "NC")]).unwrap();
    hall.service_of("comes-later", "echo-v2", 1).unwrap();
    hall.check(&target, &[get("/").reaches("echo-v2")]).unwrap();
    assert_eq!(hall.condition(&route, "ResolvedRefs").unwrap().status, "True");
}

#[test]
fn every_condition_says_which_generation_it_is_about() {
    let mut hall = HALL.take();
    hall.service("generations").unwrap();
    let rules = "- backendRefs: [ { name: echo-v1, port: 8080 } ]";
    let first = Route::http("generations").parent("generations").rules(rules);
    let second = Route::http("generations").parent("generations").rules(rules);
    assert!(first.generation() < second.generation());
    for route in [first, second] {
        hall.routes(std::slice::from_ref(&route)).unwrap();
        let status = hall.status(&route).unwrap();
        let conditions = status["parents"][0]["conditions"].as_array().unwrap();
        let kinds: Vec<&str> = conditions
            .iter()
            .map(|one| one["type"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["Accepted", "ResolvedRefs"]);
        assert!(
            conditions
                .iter()
                .all(|one| one["observed_generation"] == route.generation()),
            "{status}"
        );
    }
}
