//! Circuit breaking: what goes beyond a limit is answered at once.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use mesh_e2e::ask::{Answer, Ask};
use mesh_e2e::farm::Farm;
use mesh_e2e::pace::Pace;
use mesh_e2e::{MOMENT, traffic};
use mesh_harness::{Workload, until};

use crate::farm;

/// Asks for something slow so many times at once, and gives the answers in the order in which they came.
fn together(from: &Workload, target: SocketAddr, count: usize) -> Vec<(Answer, Duration)> {
    let start = Instant::now();
    let ask = || {
        (
            Ask::get(&format!("http://{target}/")).send(from).unwrap(),
            start.elapsed(),
        )
    };
    let mut answers: Vec<(Answer, Duration)> = thread::scope(|scope| {
        let asked: Vec<_> = (0..count).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|answer| answer.join().unwrap()).collect()
    });
    answers.sort_by_key(|(_, after)| *after);
    answers
}

/// So many were answered by a server and the others at once by the proxy, which named the limit.
#[track_caller]
fn assert_broken(answers: &[(Answer, Duration)], served: usize, limit: &str) {
    let (good, bad): (Vec<_>, Vec<_>) = answers.iter().partition(|(answer, _)| answer.status == 200);
    assert_eq!(good.len(), served, "{answers:?}");
    for (answer, after) in &bad {
        assert_eq!(answer.status, 503, "{answer:?}");
        let cause = answer.header("x-mesh-error").unwrap_or_default();
        assert!(cause.starts_with("UO ") && cause.contains(limit), "{cause}");
        assert!(*after < Duration::from_secs(1), "refused only after {after:?}");
    }
}

fn slow(farm: &Farm) {
    farm.clear().unwrap();
    for server in 0..farm.servers.len() {
        farm.tell(server, "delay=1500").unwrap();
    }
}

#[test]
fn requests_in_flight_have_a_limit() {
    let mut farm = farm();
    let policy = "circuitBreaking: { maxRequests: 3 }";
    let target = farm.service("requests", policy).unwrap();
    slow(&farm);
    assert_broken(&together(&farm.client_a, target, 8), 3, "maxRequests is 3");
    let most: u64 = farm.counts().unwrap().iter().map(|counts| counts.most).sum();
    assert!(most <= 3, "{most} at the servers");
    farm.clear().unwrap();
    // Nothing is left counted.
    assert_broken(&together(&farm.client_a, target, 1), 1, "");
}

#[test]
fn connections_have_a_limit_and_so_has_waiting_for_one() {
    let mut farm = farm();
    let policy = "circuitBreaking: { maxConnections: 1, maxPendingRequests: 2 }";
    let target = farm.service_of("connections", 2, policy).unwrap();
    // Who waits for a connection to be made waits, too: the one connection is there when the others come.
    farm.clear().unwrap();
    assert_broken(&together(&farm.client_a, target, 1), 1, "");
    slow(&farm);
    let answers = together(&farm.client_a, target, 6);
    assert_broken(&answers, 3, "maxPendingRequests is 2");
    // One after another on the one connection, in about the order in which they came.
    assert!(answers[5].1 > Duration::from_millis(4_400), "{:?}", answers[5]);
    let counts = farm.count(2).unwrap();
    assert_eq!((counts.most, counts.requests), (1, 3));
    farm.clear().unwrap();
}

#[test]
fn each_endpoint_has_limits_of_its_own() {
    let mut farm = farm();
    let policy = "circuitBreaking: { perEndpoint: { maxRequests: 2 } }";
    let target = farm.service("each", policy).unwrap();
    slow(&farm);
    // Two that choose at the same moment may both get the last place of an endpoint: none is lost, one too many is possible.
    let answers = together(&farm.client_a, target, 14);
    let served = answers.iter().filter(|(answer, _)| answer.status == 200).count();
    assert!((8..=12).contains(&served), "{served}");
    assert_broken(&answers, served, "perEndpoint.maxRequests is 2");
    for counts in farm.counts().unwrap() {
        assert!((2..=3).contains(&counts.most), "{counts:?}");
    }
    farm.clear().unwrap();
}

#[test]
fn connections_of_bytes_are_limited_too() {
    let mut farm = farm();
    let policy = "circuitBreaking: { maxConnections: 2 }";
    let target = farm.service_of_bytes("streams", policy).unwrap();
    farm.clear().unwrap();
    let speak = |stream: &mut TcpStream| {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: s\r\n\r\n")
            .and_then(|()| stream.read(&mut [0; 64]))
    };
    let mut held: Vec<TcpStream> = (0..2).map(|_| traffic::connect(&farm.client_a, target)).collect();
    for stream in &mut held {
        assert!(speak(stream).unwrap() > 0);
    }
    let mut third = traffic::connect(&farm.client_a, target);
    let refused = speak(&mut third);
    assert!(matches!(refused, Ok(0) | Err(_)), "{refused:?}");
    held.pop();
    until("a place to be free again", MOMENT, || {
        let answered = speak(&mut traffic::connect(&farm.client_a, target));
        Ok(matches!(answered, Ok(1..)).then_some(()))
    })
    .unwrap();
}

#[test]
fn an_idle_connection_makes_room_for_another_endpoint() {
    let mut farm = farm();
    let policy = "
circuitBreaking: { maxConnections: 1 }
loadBalancing: { policy: RoundRobin }
";
    let target = farm.service("room", policy).unwrap();
    farm.clear().unwrap();
    // Each request goes to another server than the one before, to which the only connection leads.
    let gets = Pace::http1(target, 1, 20, 60);
    let gets = gets.run(&farm.client_a, &farm.folder(), "room").unwrap();
    assert_eq!(gets.bad(), 0, "{:?}", gets.statuses);
    let counts = farm.counts().unwrap();
    assert!(counts.iter().all(|counts| counts.requests == 15), "{counts:?}");
    assert!(
        gets.milliseconds(990) < MOMENT.as_secs_f64() * 100.0,
        "{} ms",
        gets.milliseconds(990)
    );
}
