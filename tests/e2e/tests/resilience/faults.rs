//! Faults that are injected.

use std::time::{Duration, Instant};

use mesh_e2e::ask::Ask;
use mesh_e2e::pace::Pace;
use mesh_e2e::report;

use crate::farm;

#[test]
fn a_share_of_requests_is_aborted_or_delayed() {
    let mut farm = farm();
    let policy = "
faults:
  - { percent: 20, abort: { status: 418 } }
  - { percent: 10, delay: 300ms }
";
    let target = farm.service("faulty", policy).unwrap();
    farm.clear().unwrap();
    let gets = Pace::http2(target, 200, 2000);
    let gets = gets.run(&farm.client_a, &farm.folder(), "faulty").unwrap();
    let slow = gets.latencies.iter().filter(|micros| **micros >= 300_000).count();
    report!("20 % aborted, 10 % delayed: {:?}, {slow} late", gets.statuses);
    // Five standard deviations of a binomial; those that were aborted first are not delayed.
    assert!((310..=490).contains(&gets.of(418)), "{:?}", gets.statuses);
    assert!((95..=270).contains(&slow), "{slow}");
    let served: u64 = farm.counts().unwrap().iter().map(|counts| counts.requests).sum();
    assert_eq!(served, gets.of(200), "what is aborted reaches no server");
}

#[test]
fn a_fault_hits_what_it_is_for() {
    let mut farm = farm();
    let policy = "
faults:
  - percent: 100
    abort: { status: 503 }
    matches: [ { headers: [ { name: x-chaos, value: abort } ] } ]
  - percent: 100
    delay: 700ms
    matches: [ { path: { type: PathPrefix, value: /slow } } ]
";
    let target = farm.service("chosen", policy).unwrap();
    farm.clear().unwrap();
    let url = format!("http://{target}/");
    let plain = Ask::get(&url).send(&farm.client_a).unwrap();
    assert_eq!((plain.status, plain.header("x-mesh-error")), (200, None));
    let aborted = Ask::get(&url)
        .header("x-chaos: abort")
        .send(&farm.client_a)
        .unwrap();
    assert_eq!(aborted.status, 503);
    assert!(
        aborted.header("x-mesh-error").unwrap().starts_with("FI "),
        "{aborted:?}"
    );
    let start = Instant::now();
    let delayed = Ask::get(&format!("{url}slow/er")).send(&farm.client_a).unwrap();
    assert_eq!(delayed.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(700));
}
