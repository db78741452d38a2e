//! Local rate limits.

use std::thread;
use std::time::Duration;

use mesh_e2e::ask::Ask;
use mesh_e2e::pace::Pace;
use mesh_e2e::report;

use crate::farm;

#[test]
fn a_limit_lets_its_rate_pass_and_says_when_to_come_again() {
    let mut farm = farm();
    let policy = "rateLimits: [ { requests: 50, per: 1s, burst: 10 } ]";
    let target = farm.service("limited", policy).unwrap();
    farm.clear().unwrap();
    let gets = Pace::http2(target, 200, 2000);
    let gets = gets.run(&farm.client_a, &farm.folder(), "limited").unwrap();
    report!("50 a second of 200: {:?}", gets.statuses);
    let passed = gets.of(200);
    // Ten seconds, give or take what h2load's clock and this machine's load do.
    assert!((450..=560).contains(&passed), "{:?}", gets.statuses);
    assert_eq!(passed + gets.of(429), gets.all(), "{:?}", gets.statuses);
}

#[test]
fn a_refusal_names_its_cause_and_the_pause() {
    let mut farm = farm();
    let policy = "rateLimits: [ { requests: 1, per: 3s } ]";
    let target = farm.service("seldom", policy).unwrap();
    farm.clear().unwrap();
    let url = format!("http://{target}/");
    assert_eq!(Ask::get(&url).send(&farm.client_a).unwrap().status, 200);
    let refused = Ask::get(&url).send(&farm.client_a).unwrap();
    assert_eq!(refused.status, 429);
    let pause: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3).contains(&pause), "{pause}");
    assert!(
        refused.header("x-mesh-error").unwrap().starts_with("RL "),
        "{refused:?}"
    );
    thread::sleep(Duration::from_secs(pause));
    assert_eq!(Ask::get(&url).send(&farm.client_a).unwrap().status, 200);
}

#[test]
fn every_client_identity_has_a_limit_of_its_own() {
    let mut farm = farm();
    let policy = "rateLimits: [ { requests: 5, per: 60s, key: ClientIdentity }, { requests: 8, per: 60s } ]";
    let target = farm.service("fair", policy).unwrap();
    farm.clear().unwrap();
    let url = format!("http://{target}/");
    let ask = |from| Ask::get(&url).send(from).unwrap().status;
    let passed = |from| (0..20).filter(|_| ask(from) == 200).count();
    assert_eq!(passed(&farm.client_a), 5);
    // What the greedy one was refused has not used up the common limit.
    assert_eq!(passed(&farm.other_a), 3);
}
