//! Backends that fail, and what clients see of it.

use mesh_e2e::farm::{Counts, Farm};
use mesh_e2e::pace::Pace;
use mesh_e2e::report;

use crate::farm;

/// Requests a second that clients make, whatever comes back.
const RATE: u32 = 300;
/// For so many seconds.
const SECONDS: u32 = 15;

fn requests(counts: &[Counts]) -> u64 {
    counts.iter().map(|counts| counts.requests).sum()
}

/// Targets that came more than once, and how many came at all.
fn posted(counts: &[Counts]) -> (usize, usize) {
    let mut targets: Vec<&str> = Vec::new();
    for (target, times) in counts.iter().flat_map(|counts| &counts.posts) {
        (0..*times).for_each(|_| targets.push(target));
    }
    let all = targets.len();
    targets.sort_unstable();
    targets.dedup();
    (all - targets.len(), targets.len())
}

fn all_fail(farm: &Farm, what: &str) {
    farm.clear().unwrap();
    for server in 0..farm.servers.len() {
        farm.tell(server, what).unwrap();
    }
}

#[test]
fn a_backend_that_fails_three_in_ten_answers_999_in_1000_and_no_post_twice() {
    let mut farm = farm();
    let policy = "
retries: { attempts: 8, statuses: [ 503 ], backoff: { base: 5ms, max: 50ms } }
retryBudget: { percent: 60 }
";
    let target = farm.service("flaky", policy).unwrap();
    all_fail(&farm, "fail=30&status=503");
    let folder = farm.folder();
    let posts = Pace::http2(target, RATE / 10, RATE / 10 * SECONDS).post("once");
    let posts = posts.start(&farm.client_b, &folder, "flaky-post").unwrap();
    let gets = Pace::http2(target, RATE, RATE * SECONDS);
    let gets = gets.run(&farm.client_a, &folder, "flaky-get").unwrap();
    let posts = posts.finish().unwrap();
    let counts = farm.counts().unwrap();
    farm.clear().unwrap();

    let asked = gets.all() + posts.all();
    let seen = requests(&counts);
    let failed: u64 = counts.iter().map(|counts| counts.failed).sum();
    report!(
        "{failed} of {seen} failed at the backend; at the client GETs {:?}, POSTs {:?}; load {:.2}; p99 {:.1} ms",
        gets.statuses,
        posts.statuses,
        ratio(seen, asked),
        gets.milliseconds(990)
    );
    assert_eq!(gets.all(), u64::from(RATE * SECONDS));
    assert!(gets.bad() * 1000 <= gets.all(), "{:?}", gets.statuses);
    assert!(
        ratio(failed, seen) > 0.25,
        "the backend failed too seldom to tell"
    );
    assert!(ratio(seen, asked) <= 1.6, "{seen} requests for {asked}");
    // What may have been executed was not sent again: the client got the failure itself.
    let (twice, executed) = posted(&counts);
    assert_eq!(twice, 0, "POSTs that came twice");
    assert_eq!(executed as u64, posts.all());
    assert!(
        (0.2..0.4).contains(&ratio(posts.of(503), posts.all())),
        "{:?}",
        posts.statuses
    );
}

#[test]
fn the_budget_holds_whatever_attempts_say() {
    let mut farm = farm();
    let policy = "retries: { attempts: 8, statuses: [ 503 ], backoff: { base: 1ms, max: 5ms } }";
    let target = farm.service("broken", policy).unwrap();
    all_fail(&farm, "fail=100&status=503");
    let gets = Pace::http2(target, RATE, RATE * SECONDS);
    let gets = gets.run(&farm.client_a, &farm.folder(), "broken").unwrap();
    let counts = farm.counts().unwrap();
    farm.clear().unwrap();
    let load = ratio(requests(&counts), gets.all());
    report!("all requests fail: load on the backend {load:.3} of what is asked for, of 9 without a budget");
    assert_eq!(gets.of(503), gets.all());
    // A fifth of the requests of any ten seconds, and a hundred in the first ones, when there are few yet.
    let most = gets.all() + gets.all() / 5 + 100;
    assert!(requests(&counts) <= most, "{} of {most}", requests(&counts));
    assert!(load > 1.15, "there were retries: {load}");
}

#[test]
fn one_failing_endpoint_of_four_is_no_failure_within_the_default_budget() {
    let mut farm = farm();
    let policy = "retries: { attempts: 5, statuses: [ 5xx ], backoff: { base: 5ms, max: 50ms } }";
    let target = farm.service("one-flaky", policy).unwrap();
    farm.clear().unwrap();
    farm.tell(1, "fail=30&status=500").unwrap();
    let gets = Pace::http1(target, 20, RATE / 20, RATE * SECONDS);
    let gets = gets.run(&farm.client_b, &farm.folder(), "one-flaky").unwrap();
    let counts = farm.counts().unwrap();
    farm.clear().unwrap();
    let load = ratio(requests(&counts), gets.all());
    report!(
        "one of four fails 30 %: {} of {} requests failed, load {load:.3}",
        gets.bad(),
        gets.all()
    );
    assert!(gets.bad() * 1000 <= gets.all(), "{:?}", gets.statuses);
    assert!(load <= 1.2);
}

#[test]
fn a_reset_before_the_answer_is_retried_for_what_may_be_repeated() {
    let mut farm = farm();
    let policy = "
retries: { attempts: 5, on: [ Reset ], backoff: { base: 5ms, max: 50ms } }
retryBudget: { percent: 100 }
";
    let target = farm.service("resets", policy).unwrap();
    all_fail(&farm, "reset=20");
    let folder = farm.folder();
    let posts = Pace::http2(target, 30, 300).post("once");
    let posts = posts.start(&farm.client_a, &folder, "resets-post").unwrap();
    let gets = Pace::http2(target, 100, 1000);
    let gets = gets.run(&farm.client_a, &folder, "resets-get").unwrap();
    let posts = posts.finish().unwrap();
    let counts = farm.counts().unwrap();
    farm.clear().unwrap();
    assert!(gets.bad() <= 2, "{:?}", gets.statuses);
    let (twice, _) = posted(&counts);
    assert_eq!(twice, 0, "POSTs that came twice");
    assert!((30..90).contains(&posts.of(503)), "{:?}", posts.statuses);
}

#[test]
fn servers_that_die_fail_nothing_that_may_be_repeated() {
    let mut farm = farm();
    let policy = "retries: { attempts: 3, on: [ ConnectFailure, Reset ] }";
    let target = farm.service("dies", policy).unwrap();
    farm.clear().unwrap();
    let gets = Pace::http1(target, 20, 20, 6000);
    let mut load = gets.start(&farm.client_a, &farm.folder(), "dies").unwrap();
    for server in [3, 1] {
        mesh_harness::until("requests at the server", mesh_e2e::MOMENT, || {
            Ok((farm.count(server)?.requests > 200).then_some(()))
        })
        .unwrap();
        farm.kill(server).unwrap();
        assert!(load.is_running());
    }
    let gets = load.finish().unwrap();
    for server in [3, 1] {
        farm.revive(server).unwrap();
    }
    report!("two of four servers die: {:?}", gets.statuses);
    // Also what was under way. And until the control plane hears of it, if it ever does, hardly any request pays for
    // finding out anew: the budget allows 20 %, and half of the servers are dead.
    assert_eq!(gets.bad(), 0, "{:?}", gets.statuses);
}

fn ratio(part: u64, whole: u64) -> f64 {
    let number = |n: u64| f64::from(u32::try_from(n).unwrap());
    number(part) / number(whole)
}
