//! The node ends and starts again while connections are past its proxy.

use std::io::{ErrorKind, Read as _};
use std::thread;
use std::time::{Duration, Instant};

use mesh_e2e::traffic::address;
use mesh_e2e::{LONG, MOMENT};
use mesh_harness::{Process, until};

use super::yard::{DB, Line, SOON, YARD, Yard};

/// Waits until the line is listed as past the proxy.
fn wait_listed(yard: &Yard, line: &Line) {
    let source = line.near.local_addr().unwrap().to_string();
    let listed = until("the connection to be taken over", LONG, || {
        let all = yard.a().admin("/connections")?;
        let mut all = all.as_array().into_iter().flatten();
        Ok(all
            .find(|one| one["source"] == source && one["transport"] == "direct")
            .map(drop))
    });
    assert!(listed.is_ok(), "{listed:?}\n{}", yard.a().log_tail());
}

#[test]
fn a_killed_node_takes_its_connections_over_when_it_starts_again() {
    let mut yard = YARD.take();
    yard.restore().unwrap();
    let (mut kept, mut ended) = (yard.direct(DB), yard.direct(DB));
    let gone = yard.direct(DB);
    wait_listed(&yard, &gone);
    yard.mesh.nodes[0].kill().unwrap();
    kept.works();
    gone.close();
    // The last lease ends, and nothing goes past a proxy that is not there.
    let refused = until("new connections to be refused", MOMENT, || {
        let tried = yard.client.place.connect(address(DB), MOMENT)?;
        Ok(tried.err().map(|error| error.kind()))
    });
    assert_eq!(refused.unwrap(), ErrorKind::ConnectionRefused);
    for listener in &yard.listeners {
        listener.set_nonblocking(true).unwrap();
        while listener.accept().is_ok() {}
    }
    let mark = yard.a().log().len();
    yard.mesh.nodes[0].start().unwrap();
    yard.a().wait_captured("shop/client").unwrap();
    wait_listed(&yard, &kept);
    kept.works();
    let parts = ["connection complete", "service=shop/db", "transport=direct"];
    yard.a().wait_log(mark, &parts, MOMENT).unwrap(); // what ended while it was away
    let again = yard.direct(DB);
    kept.close();
    yard.policy("circuitBreaking: { maxConnections: 9 }");
    yard.wait_withheld(DB, "limits of connections");
    let known = Instant::now();
    assert!(ended.wait_ended(known) < SOON);
    drop(again);
    yard.restore().unwrap();
    yard.wait_granted(DB, 1);
}

#[test]
fn what_may_not_go_past_the_proxy_any_more_ends_after_the_restart() {
    let mut yard = YARD.take();
    yard.restore().unwrap();
    let mut line = yard.direct(DB);
    yard.mesh.nodes[0].kill().unwrap();
    yard.policy("timeouts: { idle: 5m }");
    line.works();
    yard.mesh.nodes[0].start().unwrap();
    line.wait_ended(Instant::now());
    yard.restore().unwrap();
    yard.direct(DB).close();
}

#[test]
fn a_node_that_stops_leaves_them_alone() {
    let mut yard = YARD.take();
    yard.restore().unwrap();
    let mut line = yard.direct(DB);
    yard.mesh.nodes[0].stop().unwrap();
    line.works();
    yard.mesh.nodes[0].start().unwrap();
    yard.a().wait_captured("shop/client").unwrap();
    line.works();
    line.close();
    yard.direct(DB).close();
}

#[test]
fn switched_off_everything_goes_through_the_proxy() {
    let mut yard = YARD.take();
    yard.restore().unwrap();
    let mut line = yard.direct(DB);
    let config = yard.a().config().to_owned();
    let text = std::fs::read_to_string(&config).unwrap();
    let off = text.replace("direct-connections = true", "direct-connections = false");
    assert_ne!(text, off);
    yard.mesh.nodes[0].kill().unwrap();
    std::fs::write(&config, off).unwrap();
    yard.mesh.nodes[0].start().unwrap();
    yard.a().wait_captured("shop/client").unwrap();
    line.wait_ended(Instant::now());
    for _ in 0..3 {
        let line = yard.line(DB);
        assert!(!line.is_direct);
        line.close();
        thread::sleep(Duration::from_millis(100));
    }
    let said = yard.a().admin("/direct").unwrap();
    assert!(
        said["off"].as_str().unwrap().contains("direct-connections"),
        "{said}"
    );
    yard.mesh.nodes[0].kill().unwrap();
    std::fs::write(&config, text).unwrap();
    yard.mesh.nodes[0].start().unwrap();
    yard.a().wait_captured("shop/client").unwrap();
    yard.direct(DB).close();
}

/// CPU time that a process has taken, in clock ticks (proc(5), `stat`, fields 14 and 15).
fn ticks(process: &Process) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    let after = stat.rsplit_once(") ").unwrap().1;
    let fields: Vec<u64> = after
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse().unwrap())
        .collect();
    fields.iter().sum()
}

#[test]
fn many_bytes_cost_the_proxy_nothing() {
    let mut yard = YARD.take();
    yard.restore().unwrap();
    let mut line = yard.direct(DB);
    let before = ticks(yard.mesh.nodes[0].process().unwrap());
    let started = Instant::now();
    let block = vec![0; 1 << 20];
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut all, mut buffer) = (0, vec![0; 1 << 20]);
            while all < 512 << 20 {
                all += line.far.read(&mut buffer).unwrap();
            }
        });
        for _ in 0..512 {
            std::io::Write::write_all(&mut line.near, &block).unwrap();
        }
        reader.join().unwrap();
    });
    let spent = ticks(yard.mesh.nodes[0].process().unwrap()) - before;
    mesh_e2e::report!(
        "512 MiB in {:?}; the proxy took {spent} ticks of 10 ms",
        started.elapsed()
    );
    assert!(spent <= 10, "{spent} ticks");
    line.works();
}
