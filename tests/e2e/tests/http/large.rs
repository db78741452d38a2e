//! Gigabytes through nodes whose memory stays flat, and readers who take nothing.

use std::time::Duration;

use mesh_e2e::case::Target;
use mesh_e2e::hall::Hall;
use mesh_e2e::report;
use mesh_harness::{Mesh, Process, Workload};
use serde_json::{Value, json};

use crate::{HALL, ask};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;
/// What a transfer may add to a node's memory: a few buffers and the allocator's own ways, against the gigabyte.
const FLAT: u64 = 48 * MIB;

/// Resident memory of all nodes.
fn resident(mesh: &mut Mesh) -> Vec<u64> {
    let nodes = mesh.nodes.iter_mut();
    nodes
        .map(|node| node.process().unwrap().resident_bytes().unwrap())
        .collect()
}

/// The most that each node has beyond what it had before, while a program runs.
fn growth(mesh: &mut Mesh, before: &[u64], program: &mut Process) -> Vec<u64> {
    let mut most = vec![0; before.len()];
    while program.is_running() {
        for (most, (now, before)) in most.iter_mut().zip(resident(mesh).iter().zip(before)) {
            *most = (*most).max(now.saturating_sub(*before));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    most
}

/// Runs curl with these words, and gives what it printed and how far the nodes' memory grew.
fn transfer(hall: &mut Hall, name: &str, words: &[&str]) -> (String, Vec<u64>) {
    let curl = mesh_harness::binaries::theirs("curl").unwrap();
    let client = hall.client_a.clone();
    let program = client
        .place
        .program_at(name, &curl)
        .args(["-sS", "--fail", "--max-time", "110"]);
    // A first one, so that what a transfer needs once is there already.
    let before = resident(&mut hall.mesh);
    let mut running = program.args(words).spawn().unwrap();
    let most = growth(&mut hall.mesh, &before, &mut running);
    let status = running.wait(mesh_e2e::LONG).unwrap();
    assert!(status.success(), "{}", running.log());
    (running.log(), most)
}

fn down(hall: &mut Hall, name: &str, target: &Target, port: u16, bytes: u64, http2: bool) {
    let url = format!("http://{}:{port}/", target.address);
    let does = format!("X-Do: size={bytes}");
    let mut words = vec![
        "-o",
        "/dev/null",
        "-w",
        "%{size_download} bytes in %{time_total} s",
        "-H",
        &does,
        &url,
    ];
    if http2 {
        words.push("--http2-prior-knowledge");
    }
    let (text, most) = transfer(hall, name, &words);
    assert!(text.starts_with(&format!("{bytes} bytes")), "{text}");
    report!(
        "{name}: {text}, memory of the nodes grew by {} and {} MiB",
        most[0] / MIB,
        most[1] / MIB
    );
    assert!(most.iter().all(|grown| *grown < FLAT), "{name}: {most:?}");
}

fn up(hall: &mut Hall, name: &str, target: &Target, port: u16, bytes: u64, http2: bool) {
    let file = hall.folder().join(format!("{name}.sparse"));
    std::fs::File::create(&file).unwrap().set_len(bytes).unwrap();
    let file = file.display().to_string();
    let url = format!("http://{}:{port}/", target.address);
    let mut words = vec!["-T", &file, "-H", "Expect:", &url];
    if http2 {
        words.push("--http2-prior-knowledge");
    }
    let (text, most) = transfer(hall, name, &words);
    assert!(text.contains(&format!("\"length\":{bytes},")), "{text}");
    report!(
        "{name}: memory of the nodes grew by {} and {} MiB",
        most[0] / MIB,
        most[1] / MIB
    );
    assert!(most.iter().all(|grown| *grown < FLAT), "{name}: {most:?}");
}

#[test]
fn a_gibibyte_down_and_up_leaves_memory_flat() {
    let mut hall = HALL.take();
    let target = hall.target("echo-v2").unwrap();
    // So that what a first transfer needs is there before.
    down(&mut hall, "warm-down", &target, 80, 64 * MIB, false);
    up(&mut hall, "warm-up", &target, 80, 64 * MIB, false);
    down(&mut hall, "gibibyte-down", &target, 80, GIB, false);
    up(&mut hall, "gibibyte-up", &target, 80, GIB, false);
    down(&mut hall, "down-over-http2", &target, 8082, 256 * MIB, true);
    up(&mut hall, "up-over-http2", &target, 8082, 256 * MIB, true);
}

/// Bytes that the server could send of a request with this key.
fn sent(of: &Workload, key: &str) -> u64 {
    let log = mesh_e2e::peers::log(of).unwrap();
    let mut entries = log.iter().filter(|entry| entry["key"] == key);
    entries
        .next()
        .and_then(|entry| entry["sent"].as_u64())
        .unwrap_or_default()
}

/// One that stops reading for three seconds, and one that reads on beside it.
fn slow_and_quick(hall: &Hall, target: &Target, port: u16, version: u8, key: &str) {
    let size = 128 * MIB;
    let slow = json!({ "version": version, "headers": { "x-key": key, "x-do": format!("size={size}") },
                       "stop_after": 100_000, "stop_for": 5000, "window": 32 * MIB });
    let quick_size = 32 * MIB;
    let quick = json!({ "version": version, "headers": { "x-do": format!("size={quick_size}") }, "window": 32 * MIB });
    let (answers, held) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            // What was sent once the slow one's buffers are full, and a second later.
            mesh_harness::until("the slow one's buffers to fill", mesh_e2e::MOMENT, || {
                let first = sent(&hall.v2, key);
                std::thread::sleep(Duration::from_millis(700));
                Ok((first > 0 && first == sent(&hall.v2, key)).then_some(first))
            })
            .unwrap()
        });
        (
            ask(hall, &hall.client_a, target, port, &[slow, quick]),
            watch.join().unwrap(),
        )
    });
    for (answer, size) in answers.iter().zip([size, quick_size]) {
        assert_eq!(
            (&answer["error"], &answer["length"]),
            (&Value::Null, &json!(size)),
            "{answer}"
        );
    }
    let took = |answer: &Value| answer["milliseconds"].as_u64().unwrap();
    assert!(took(&answers[0]) > 4900, "the slow one did not stop");
    assert!(
        took(&answers[1]) < 4500,
        "the quick one took {} ms beside a slow one",
        took(&answers[1])
    );
    report!(
        "HTTP/{version} to port {port}: {} KiB on the way to a reader that stops; the one beside it took {} ms",
        held / 1024,
        took(&answers[1])
    );
    // What sockets' buffers and windows hold, of which there are three pairs on the way.
    assert!(
        held < size / 2,
        "{} MiB were sent to one that takes nothing",
        held / MIB
    );
}

#[test]
fn a_slow_reader_stops_its_own_sender_only() {
    let hall = HALL.take();
    let target = hall.target("echo-v2").unwrap();
    slow_and_quick(&hall, &target, 80, 1, "slow-one-one");
    slow_and_quick(&hall, &target, 80, 2, "slow-two-one");
    slow_and_quick(&hall, &target, 8082, 1, "slow-one-two");
    slow_and_quick(&hall, &target, 8082, 2, "slow-two-two");
}

#[test]
fn many_slow_readers_do_not_hold_up_those_that_share_their_connection() {
    let hall = HALL.take();
    let target = hall.target("echo-v2").unwrap();
    // More streams that are not read than any connection's window holds.
    let mut asks: Vec<Value> = (0..100)
        .map(|number| {
            json!({ "version": 1, "own": true, "headers": { "x-key": format!("many-slow-{number}"), "x-do": "size=2097152" },
                    "stop_after": 1, "stop_for": 6000 })
        })
        .collect();
    asks.extend((0..20).map(|_| json!({ "version": 1, "headers": { "x-do": "size=1000000" } })));
    let answers = ask(&hall, &hall.client_a, &target, 8082, &asks);
    for answer in &answers {
        assert_eq!(
            (&answer["status"], &answer["error"]),
            (&json!(200), &Value::Null),
            "{answer}"
        );
    }
    let slowest = answers[100..]
        .iter()
        .filter_map(|answer| answer["milliseconds"].as_u64())
        .max()
        .unwrap();
    report!("the slowest of 20 downloads beside 100 readers that stop: {slowest} ms");
    assert!(slowest < 5000, "{slowest} ms");
}
