//! Every example does what its README says, with curl as the client and with the README's own commands.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread;
use std::time::Duration;

use mesh_e2e::turns::{Report, Turns};
use mesh_e2e::{LONG, MOMENT};
use mesh_harness::demo::{self, Demo};
use mesh_harness::wait::until_true;
use mesh_harness::{Workload, until};

/// The client of every example.
const CLIENT: &str = "shop/frontend";
/// How the READMEs begin a command.
const TYPED: &str = "meshctl run --workload shop/frontend -- ";
/// Every folder that is an example; the others are the demo's world.
const ALL: [&str; 8] = [
    "ab-testing",
    "canary",
    "faults",
    "mirroring",
    "outlier",
    "rate-limit",
    "retries",
    "timeouts",
];

/// Made once. Each test puts its example in force, and takes it back.
static DEMO: Turns<World> = Turns::new(|| Ok(World(Demo::start()?)));

struct World(Demo);

impl Report for World {
    fn report(&self) -> String {
        self.0.mesh.logs()
    }
}

/// An example in force.
struct InForce<'a> {
    demo: &'a Demo,
    example: &'static str,
}

impl<'a> InForce<'a> {
    fn new(demo: &'a Demo, example: &'static str) -> Self {
        demo.apply(example).unwrap();
        Self { demo, example }
    }
}

impl Drop for InForce<'_> {
    fn drop(&mut self) {
        let withdrawn = self.demo.withdraw(self.example);
        if !thread::panicking() {
            withdrawn.unwrap();
        }
    }
}

/// How often there was which status and version.
type Seen = BTreeMap<(u16, String), u32>;

fn client(demo: &Demo) -> &Workload {
    demo.workload(CLIENT).unwrap()
}

/// So many requests of curl's, one after the other on a connection that it keeps.
fn curl(demo: &Demo, url: &str, count: u32, options: &[&str]) -> Seen {
    let url = format!("{url}[1-{count}]");
    let form = "%{http_code} %header{x-version}\\n";
    let mut words = vec!["-s", "-o", "/dev/null", "-w", form];
    words.extend(options);
    words.push(&url);
    let text = client(demo).place.run("curl", &words, LONG * 2).unwrap().text();
    let mut seen = Seen::new();
    for line in text.lines() {
        // The last line has lost its space when there is no version.
        let (status, version) = line.split_once(' ').unwrap_or((line, ""));
        *seen
            .entry((status.parse().unwrap(), version.to_owned()))
            .or_default() += 1;
    }
    assert_eq!(seen.values().sum::<u32>(), count, "{text}");
    seen
}

fn count(seen: &Seen, status: u16, version: &str) -> u32 {
    seen.get(&(status, version.to_owned()))
        .copied()
        .unwrap_or_default()
}

fn readme(example: &str) -> String {
    fs::read_to_string(demo::folder(example).join("README.md")).unwrap()
}

/// The commands of a README that ask as the client, in words.
fn typed(example: &str) -> Vec<Vec<String>> {
    let readme = readme(example);
    let commands = readme.lines().filter_map(|line| line.trim().strip_prefix(TYPED));
    let words = |command: &str| {
        // The only quotes are around headers.
        let mut parts = command.split('\'');
        let mut words: Vec<String> = Vec::new();
        while let Some(plain) = parts.next() {
            words.extend(plain.split_whitespace().map(str::to_owned));
            words.extend(parts.next().map(str::to_owned));
        }
        words
    };
    commands.map(words).collect()
}

/// Types a command of a README; gives the last line that it prints, its summary, as counts.
fn type_in(demo: &Demo, words: &[String]) -> Seen {
    let (program, rest) = words.split_first().unwrap();
    assert_eq!(program, "mesh-echo");
    let place = &client(demo).place;
    let finished = place
        .our_program(program)
        .unwrap()
        .args(rest)
        .run(LONG * 2)
        .unwrap();
    let text = finished.text();
    let summary = text.lines().last().unwrap_or_default();
    let mut seen = Seen::new();
    for part in summary.split(", ") {
        // "200 v1: 450 (90 %)"
        let (what, rest) = part.split_once(": ").unwrap();
        let (status, version) = what.split_once(' ').unwrap_or((what, ""));
        let count = rest.split_whitespace().next().unwrap().parse().unwrap();
        seen.insert((status.parse().unwrap(), version.to_owned()), count);
    }
    seen
}

/// Lines in a server's log with all of this.
fn served(demo: &Demo, server: &str, parts: &[&str]) -> usize {
    let log = demo.server_log(server).unwrap();
    let has_all = |line: &&str| parts.iter().all(|part| line.contains(part));
    log.lines().filter(has_all).count()
}

#[test]
fn every_example_is_tested_and_says_what_it_shows() {
    let root = demo::folder("");
    let mut folders = BTreeSet::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !["demo", "echo"].contains(&name.as_str()) {
            assert!(readme(&name).contains(TYPED), "{name} has nothing to type");
            folders.insert(name);
        }
    }
    assert_eq!(folders, ALL.map(str::to_owned).into_iter().collect());
}

#[test]
fn a_canary_gets_one_request_in_ten() {
    let world = DEMO.take();
    let demo = &world.0;
    let _in_force = InForce::new(demo, "canary");
    let by_curl = curl(demo, "http://10.96.0.4/", 500, &[]);
    let by_hand = type_in(demo, &typed("canary")[0]);
    for seen in [by_curl, by_hand] {
        let (v1, v2) = (count(&seen, 200, "v1"), count(&seen, 200, "v2"));
        assert_eq!(v1 + v2, 500, "{seen:?}");
        assert!((25..=75).contains(&v2), "{seen:?}");
    }
}

#[test]
fn a_header_chooses_the_version() {
    let world = DEMO.take();
    let demo = &world.0;
    let _in_force = InForce::new(demo, "ab-testing");
    let url = "http://10.96.0.7/";
    let only = |version: &str, count: u32| Seen::from([((200, version.to_owned()), count)]);
    assert_eq!(curl(demo, url, 50, &["-H", "x-group: b"]), only("v2", 50));
    assert_eq!(curl(demo, url, 50, &["-H", "x-group: c"]), only("v1", 50));
    assert_eq!(curl(demo, url, 50, &[]), only("v1", 50));
    let typed = typed("ab-testing");
    assert_eq!(type_in(demo, &typed[0]), only("v2", 10));
    assert_eq!(type_in(demo, &typed[1]), only("v1", 10));
}

#[test]
fn retries_hide_a_flaky_backend_and_spare_what_is_not_idempotent() {
    let world = DEMO.take();
    let demo = &world.0;
    let _in_force = InForce::new(demo, "retries");
    let typed = typed("retries");
    let logged = |parts: &[&str]| -> usize {
        ["shop/stock-1", "shop/stock-2"]
            .map(|server| served(demo, server, parts))
            .iter()
            .sum()
    };
    let before = logged(&["GET"]);
    // Slow enough for the ten retries a second that are always allowed.
    let by_curl = curl(demo, "http://10.96.0.10/", 100, &["--rate", "10/s"]);
    let by_hand = type_in(demo, &typed[0]);
    for seen in [by_curl, by_hand] {
        // Six failures one after another have a probability of 0.0007.
        assert!(count(&seen, 200, "v1") >= 98, "{seen:?}");
    }
    let got = logged(&["GET"]) - before;
    assert!(got >= 240, "200 requests came to {got}: were any sent again?");
    let post = type_in(demo, &typed[1]);
    assert!((10..=50).contains(&count(&post, 503, "v1")), "{post:?}");
    assert_eq!(logged(&["POST"]), 100, "a POST is sent once");
}

#[test]
fn an_endpoint_that_fails_is_left_out() {
    let world = DEMO.take();
    let demo = &world.0;
    let _in_force = InForce::new(demo, "outlier");
    let before = served(demo, "shop/prices-3", &["503"]);
    let first = type_in(demo, &typed("outlier")[0]);
    let failed = served(demo, "shop/prices-3", &["503"]) - before;
    assert_eq!(failed, 3, "{first:?}");
    assert_eq!(count(&first, 200, "v1"), 97, "{first:?}");
    let services = demo.node_of(CLIENT).unwrap().admin("/services").unwrap();
    let prices = services
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "shop/prices")
        .unwrap();
    let ejected: BTreeSet<&str> = prices["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|endpoint| endpoint["ejected"].as_array().is_some_and(|all| !all.is_empty()))
        .filter_map(|endpoint| endpoint["workload"].as_str())
        .collect();
    assert_eq!(ejected, BTreeSet::from(["shop/prices-3"]));
    let second = curl(demo, "http://10.96.0.11/", 100, &[]);
    assert_eq!(count(&second, 200, "v1"), 100, "{second:?}");
}

#[test]
fn half_of_the_requests_are_mirrored() {
    let world = DEMO.take();
    let demo = &world.0;
    let _in_force = InForce::new(demo, "mirroring");
    let copies = || served(demo, "shop/web-v2", &["/mirrored"]);
    let before = copies();
    let seen = type_in(demo, &typed("mirroring")[0]);
    assert_eq!(seen, Seen::from([((200, "v1".to_owned()), 100)]));
    // The last copies may still be under way.
    until("enough copies", MOMENT, || {
        Ok((copies() - before >= 30).then_some(()))
    })
    .unwrap();
    thread::sleep(Duration::from_secs(1));
    assert!(copies() - before <= 70, "{} copies", copies() - before);
}

#[test]
fn a_request_takes_no_longer_than_its_timeout() {
    let world = DEMO.take();
    let demo = &world.0;
    let _in_force = InForce::new(demo, "timeouts");
    let typed = typed("timeouts");
    let words: Vec<&str> = typed[0].iter().map(String::as_str).collect();
    let mut timed = words[1..].to_vec();
    timed.extend(["-w", "\\n%{time_total}"]);
    let text = client(demo).place.run(words[0], &timed, MOMENT).unwrap().text();
    let seconds: f64 = text.lines().last().unwrap().parse().unwrap();
    assert!(text.starts_with("HTTP/1.1 504"), "{text}");
    assert!(text.contains("x-mesh-error: UT"), "{text}");
    assert!((0.5..1.5).contains(&seconds), "{seconds} s");
}

#[test]
fn what_goes_beyond_the_rate_is_answered_429() {
    let world = DEMO.take();
    let demo = &world.0;
    let _in_force = InForce::new(demo, "rate-limit");
    let before = served(demo, "shop/orders-1", &["200"]);
    let seen = type_in(demo, &typed("rate-limit")[0]);
    let passed = count(&seen, 200, "v1");
    // Five at once, and one more for each tenth of a second.
    assert!((5..=10).contains(&passed), "{seen:?}");
    let refused: u32 = seen
        .iter()
        .filter(|((status, _), _)| *status == 429)
        .map(|(_, count)| count)
        .sum();
    assert_eq!(passed + refused, 20, "{seen:?}");
    assert_eq!(served(demo, "shop/orders-1", &["200"]) - before, passed as usize);
    let text = client(demo)
        .place
        .run(
            "curl",
            &[
                "-s",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code} %header{retry-after}\\n",
                "http://10.96.0.13/[1-20]",
            ],
            MOMENT,
        )
        .unwrap()
        .text();
    assert!(text.lines().any(|line| line == "429 1"), "{text}");
    thread::sleep(Duration::from_secs(1));
    assert_eq!(count(&curl(demo, "http://10.96.0.13/", 1, &[]), 200, "v1"), 1);
}

#[test]
fn faults_hit_those_who_ask_for_them() {
    let world = DEMO.take();
    let demo = &world.0;
    let _in_force = InForce::new(demo, "faults");
    let url = "http://10.96.0.13/";
    let timed = |header: &str| -> f64 {
        let words = ["-s", "-o", "/dev/null", "-w", "%{time_total}", "-H", header, url];
        client(demo)
            .place
            .run("curl", &words, MOMENT)
            .unwrap()
            .text()
            .parse()
            .unwrap()
    };
    let delayed = timed("x-fault: delay");
    assert!(delayed >= 1.0, "{delayed} s");
    let other = timed("x-fault: other");
    assert!(other < 1.0, "{other} s");
    let before = served(demo, "shop/orders-1", &["200"]);
    let seen = curl(demo, url, 100, &["-H", "x-fault: abort"]);
    let passed = count(&seen, 200, "v1");
    assert!((30..=70).contains(&passed), "{seen:?}");
    assert_eq!(count(&seen, 503, ""), 100 - passed, "{seen:?}");
    // A server may write its line after the client has the answer.
    until_true("as many lines as answers", MOMENT, || {
        served(demo, "shop/orders-1", &["200"]) - before == passed as usize
    })
    .unwrap();
    let typed = typed("faults");
    assert_eq!(
        type_in(demo, &typed[0]),
        Seen::from([((200, "v1".to_owned()), 10)])
    );
    let seen = type_in(demo, &typed[1]);
    assert!((6..=34).contains(&count(&seen, 200, "v1")), "{seen:?}");
}
