//! Copies of requests, whose answers are thrown away.

use std::time::Duration;

use mesh_e2e::case::get;
use mesh_e2e::hall::Hall;
use mesh_e2e::routes::Route;
use mesh_e2e::{MOMENT, peers};
use mesh_harness::{Workload, until};
use serde_json::Value;

use crate::HALL;

/// Entries of a server's log with this key, once there are at least so many.
fn copies(of: &Workload, key: &str, at_least: usize) -> Vec<Value> {
    let what = format!("{at_least} copies at {}", of.name);
    let found = until(&what, MOMENT, || {
        let found: Vec<Value> = peers::log(of)?
            .into_iter()
            .filter(|entry| entry["key"] == key)
            .collect();
        Ok((found.len() >= at_least).then_some(found))
    });
    found.unwrap()
}

fn mirror(backend: &str, more: &str) -> String {
    format!(
        "{{ type: RequestMirror, requestMirror: {{ backendRef: {{ name: {backend}, port: 8080 }}{more} }} }}"
    )
}

#[test]
fn a_mirror_gets_a_copy_with_the_headers_edited() {
    let mut hall = HALL.take();
    let target = hall.service("mirror").unwrap();
    let rules = format!(
        "- matches: [ {{ path: {{ type: PathPrefix, value: /mirror }} }} ]\n  filters:\n  \
         - {{ type: RequestHeaderModifier, requestHeaderModifier: {{ set: [ {{ name: X-Header-Set, value: edited }} ], \
         remove: [ X-Header-Remove ] }} }}\n  - {}\n  backendRefs: [ {{ name: echo-v1, port: 8080 }} ]\n",
        mirror("echo-v2", "")
    );
    hall.routes(&[Route::http("mirror").parent("mirror").rules(&rules)])
        .unwrap();
    let case = get("/mirror/path?q=1")
        .method("POST")
        .body("a body for both")
        .with("X-Key: mirror-one")
        .with("X-Header-Remove: x")
        .reaches("echo-v1")
        .sees("x-header-set", "edited");
    hall.check(&target, &[case]).unwrap();
    // One for each client; the first case may have been asked more than once.
    let copies = copies(&hall.v2, "mirror-one", 2);
    for copy in &copies {
        assert_eq!(copy["path"], "/mirror/path");
        assert_eq!(copy["query"], "q=1");
        assert_eq!(copy["method"], "POST");
        let headers = copy["headers"].to_string().to_ascii_lowercase();
        assert!(
            headers.contains("[\"x-header-set\",\"edited\"]") && !headers.contains("x-header-remove"),
            "{headers}"
        );
    }
    let whole = until("the copies' bodies to have come", MOMENT, || {
        let log = peers::log(&hall.v2)?;
        let copies = log.iter().filter(|entry| entry["key"] == "mirror-one");
        Ok(copies
            .clone()
            .all(|copy| copy["received"] == 15 && copy["body"] == "complete")
            .then_some(()))
    });
    whole.unwrap();
}

#[test]
fn several_mirrors_get_a_copy_each_and_a_bad_one_does_no_harm() {
    let mut hall = HALL.take();
    let target = hall.service("mirrors").unwrap();
    let rules = format!(
        "- filters:\n  - {}\n  - {}\n  - {}\n  backendRefs: [ {{ name: echo-v1, port: 8080 }} ]\n",
        mirror("echo-v1", ""),
        mirror("echo-v2", ""),
        mirror("nobody", "")
    );
    let route = Route::http("mirrors").parent("mirrors").rules(&rules);
    hall.routes(std::slice::from_ref(&route)).unwrap();
    let resolved = hall.condition(&route, "ResolvedRefs").unwrap();
    assert_eq!(
        (resolved.status.as_str(), resolved.reason.as_str()),
        ("False", "BackendNotFound"),
        "{resolved:?}"
    );
    // The copy's answer is thrown away, also when it never comes.
    let cases = [
        get("/").with("X-Key: mirrors-warm").reaches("echo-v1"),
        get("/").with("X-Key: mirrors-one").reaches("echo-v1"),
    ];
    hall.check(&target, &cases).unwrap();
    assert!(copies(&hall.v2, "mirrors-one", 2).len() == 2);
    assert!(
        copies(&hall.v1, "mirrors-one", 4).len() == 4,
        "the request and its copy, of two clients"
    );
}

#[test]
fn a_mirrors_failure_or_delay_does_not_touch_the_request() {
    let mut hall = HALL.take();
    let target = hall.service("slow-mirror").unwrap();
    let rules = format!(
        "- filters: [ {} ]\n  backendRefs: [ {{ name: echo-v1, port: 8080, filters: [ {{ type: RequestHeaderModifier, \
         requestHeaderModifier: {{ remove: [ X-Do ] }} }} ] }} ]\n",
        mirror("echo-v2", "")
    );
    hall.routes(&[Route::http("slow-mirror").parent("slow-mirror").rules(&rules)])
        .unwrap();
    let words = [
        "status=503",
        "reset",
        "delay=3000",
        "hold",
        "half",
        "size=10000000",
    ];
    let mut cases = vec![get("/").reaches("echo-v1")];
    cases.extend(words.map(|word| {
        get("/")
            .with(&format!("X-Do: {word}"))
            .reaches("echo-v1")
            .unseen("x-do")
    }));
    hall.check(&target, &cases).unwrap();
    let start = std::time::Instant::now();
    hall.check(&target, &[get("/").with("X-Do: delay=3000").reaches("echo-v1")])
        .unwrap();
    assert!(
        start.elapsed() < Duration::from_millis(1500),
        "the copy was waited for: {:?}",
        start.elapsed()
    );
}

/// How many of 500 requests with this key a server has got a copy of.
fn share(hall: &Hall, service: &str, key: &str) -> usize {
    let target = hall.target(service).unwrap();
    let header = format!("X-Key: {key}");
    let seen = target.many_with(&hall.client_a, 500, &["-H", &header]).unwrap();
    assert!(seen.iter().all(|one| one.server() == "echo-v1"));
    // The last copies may still be on their way.
    let mut last = usize::MAX;
    until("the last copy", MOMENT, || {
        let now = peers::log(&hall.v2)?
            .iter()
            .filter(|entry| entry["key"] == key)
            .count();
        std::thread::sleep(Duration::from_millis(300));
        Ok((std::mem::replace(&mut last, now) == now).then_some(now))
    })
    .unwrap()
}

#[test]
fn a_mirror_gets_its_percentage() {
    let mut hall = HALL.take();
    for (name, more, expected) in [
        ("mirror-20", ", percent: 20", 100.0_f64),
        (
            "mirror-half",
            ", fraction: { numerator: 1, denominator: 2 }",
            250.0,
        ),
        ("mirror-0", ", percent: 0", 0.0),
        ("mirror-all", ", percent: 100", 500.0),
    ] {
        let target = hall.service(name).unwrap();
        let rules = format!(
            "- filters: [ {} ]\n  backendRefs: [ {{ name: echo-v1, port: 8080 }} ]\n",
            mirror("echo-v2", more)
        );
        hall.routes(&[Route::http(name).parent(name).rules(&rules)])
            .unwrap();
        hall.check(&target, &[get("/").reaches("echo-v1")]).unwrap();
        let copies = share(&hall, name, name);
        // Three standard deviations of a binomial distribution.
        let share = expected / 500.0;
        let tolerance = 3.0 * (500.0 * share * (1.0 - share)).sqrt();
        #[expect(clippy::cast_precision_loss, reason = "at most 500")]
        let off = (copies as f64 - expected).abs();
        assert!(off <= tolerance, "{name}: {copies} of 500 copied");
    }
}
