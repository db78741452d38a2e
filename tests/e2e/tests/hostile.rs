//! Peers that mean harm: clients and servers of tunnels with valid certificates, workloads, and strangers on the network.
//! After each the nodes must serve on, and hold no more than before.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use mesh_e2e::rogue::TUNNEL_PORT;
use mesh_e2e::servers::{self, NGINX_PORT};
use mesh_e2e::traffic::{accept, address, connect, listen, outcome};
use mesh_e2e::turns::Turns;
use mesh_e2e::{LONG, MOMENT, report};
use mesh_harness::wait::until_true;
use mesh_harness::{Process, until};
use nix::sys::signal::Signal;

#[path = "hostile/lab.rs"]
mod lab;

use lab::{Lab, MIB, PORT, is_closed};

static LAB: Turns<Lab> = Turns::new(Lab::open);

/// The deadline of a handshake (`hbone.connect-timeout`), and what a busy machine adds.
const HANDSHAKE: std::ops::Range<f64> = 9.0..14.0;

#[test]
fn malformed_requests_are_refused_and_nothing_else_is_harmed() {
    let mut lab = LAB.take();
    let before = lab.held(1);
    // RFC 9113 §8.1.1: a malformed request is a stream error; what is well-formed and not served gets a status.
    for (form, met) in lab.meet("malformed", &[]).iter().enumerate() {
        let is_refused = met == "status-400" || met == "reset-1" || met == "goaway-1";
        assert!(is_refused, "form {form}: {met}");
    }
    // RFC 6585 §5, or the end of the connection.
    for size in ["70000", "200000", "4000000"] {
        let met = lab.meet("big-headers", &[size]).concat();
        let is_refused = ["status-431", "goaway-11", "goaway-1"].contains(&met.as_str()) || is_closed(&met);
        assert!(is_refused, "headers of {size} bytes: {met}");
    }
    let met = lab.meet("continuation-flood", &[]).concat();
    assert!(met == "goaway-11" || is_closed(&met), "{met}");
    for (abuse, met) in lab.meet("windows", &[]).iter().enumerate() {
        let is_refused = met.starts_with("goaway-") || met.starts_with("reset-");
        assert!(is_refused, "abuse {abuse}: {met}");
    }
    assert_eq!(
        lab.meet("early-data", &[]),
        ["status-200", "ok"],
        "data before the answer is kept for it"
    );
    lab.assert_unharmed(1, &before);
}

#[test]
fn what_is_no_mutual_tls_with_http2_is_refused() {
    let mut lab = LAB.take();
    let before = lab.held(1);
    let met = lab.meet("tls-variants", &[]);
    assert_eq!(met.len(), 4);
    for (variant, met) in ["TLS 1.2", "no ALPN", "ALPN http/1.1", "no TLS"].iter().zip(met) {
        assert!(met == "refused" || is_closed(&met), "{variant}: {met}");
    }
    let took: f64 = lab.meet("slow-handshake", &[]).concat().parse().unwrap();
    assert!(
        HANDSHAKE.contains(&took),
        "a byte each 100 ms was listened to for {took} s"
    );
    lab.assert_unharmed(1, &before);
}

#[test]
fn floods_of_streams_and_resets_are_bounded() {
    let mut lab = LAB.take();
    let before = lab.held(1);
    // 11 is ENHANCE_YOUR_CALM.
    let met = lab.meet("rapid-reset", &["20000"]).concat();
    assert!(met == "goaway-11" || is_closed(&met), "{met}");
    // Slow enough for each to be served: no harm is done, and the connection goes on.
    assert_eq!(lab.meet("paced-reset", &["2000"]), ["status-200"]);
    // 7 is REFUSED_STREAM: the client may try again elsewhere.
    assert_eq!(
        lab.meet("many-streams", &["250"]),
        ["reset-7:50", "status-200:200"]
    );
    // 3 is FLOW_CONTROL_ERROR.
    let met = lab.meet_at("overdraft", &lab.far, PORT, &[]).concat();
    assert!(["goaway-3", "reset-3"].contains(&met.as_str()), "{met}");
    lab.listener.set_nonblocking(true).unwrap();
    while lab.listener.accept().is_ok() {}
    lab.assert_unharmed(1, &before);
}

#[test]
fn handshakes_that_never_end_do_not_take_the_node_with_them() {
    let mut lab = LAB.take();
    let before = lab.held(1);
    let held = lab
        .client("half-open", &lab.shop.web, NGINX_PORT)
        .args(["1500", "4"]);
    let mut holding = held.spawn().unwrap();
    holding.wait_log(&["holding"], MOMENT).unwrap();
    thread::sleep(Duration::from_millis(500));
    let during = lab.held(1);
    report!(
        "1,500 clients that say nothing: {} files open, {} before",
        during.files,
        before.files
    );
    assert!(
        during.files < before.files + 600,
        "{before:?} before, during {during:?}"
    );
    // Another pod of the same node is reached all the while.
    let mut near = connect(&lab.shop.client, address("10.96.0.41:80"));
    let (mut far, _) = accept(&lab.listener);
    near.write_all(b"hello").unwrap();
    near.shutdown(Shutdown::Write).unwrap();
    assert_eq!(outcome(&mut far).unwrap(), b"hello");
    drop((near, far));
    holding.wait(MOMENT).unwrap();
    lab.assert_unharmed(1, &before);

    // Nor do they hold up a stop.
    let held = lab
        .client("half-open", &lab.shop.web, NGINX_PORT)
        .args(["100", "30"]);
    let mut holding = held.spawn().unwrap();
    holding.wait_log(&["holding"], MOMENT).unwrap();
    thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    lab.shop.b_mut().stop().unwrap();
    let took = start.elapsed();
    lab.shop.b_mut().start().unwrap();
    assert!(
        took < Duration::from_millis(1900),
        "it waited for nobody: {took:?}"
    );
}

#[test]
fn peers_that_read_nothing_or_answer_nothing_cost_little_and_not_for_long() {
    let mut lab = LAB.take();
    let file = servers::nginx_files(&lab.shop.web, &lab.shop.folder()).join("large");
    fs::write(&file, vec![7; 50_000_000]).unwrap();
    let before = lab.held(1);
    let deaf = lab
        .client("deaf", &lab.far, PORT)
        .spawn()
        .map(|process| (process, Instant::now()));
    let (mut deaf, since) = deaf.unwrap();
    let (mut served, _) = accept(&lab.listener);
    let mut asking = lab
        .client("never-reads", &lab.shop.web, NGINX_PORT)
        .arg("GET /large HTTP/1.0")
        .spawn()
        .unwrap();
    asking.wait_log(&["asked"], MOMENT).unwrap();
    thread::sleep(Duration::from_secs(3));
    let during = lab.held(1);
    let grown = during.bytes.saturating_sub(before.bytes) / MIB;
    report!("50 streams of 50 MB that nobody reads: {grown} MiB");
    // 50 streams of 400 KiB each, with what is on its way: 2.5 GB are not read ahead.
    assert!(grown < 60, "{before:?} before, during {during:?}");
    // 10 s to the PING, 20 s for its answer; then the application hears of it.
    served.set_read_timeout(Some(Duration::from_secs(45))).unwrap();
    let error = served.read(&mut [0]).unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::ConnectionReset,
        "a peer that is gone is not one that has finished"
    );
    let took = since.elapsed().as_secs();
    assert!((25..45).contains(&took), "{took} s");
    assert!(deaf.wait(MOMENT).unwrap().success());
    lab.assert_unharmed(1, &before);
    asking.kill().unwrap();
}

/// What the hostile server does with a stream, by the port asked for, and what the application must see: bytes, and
/// whether the end may look like one.
const MISDEEDS: [(u16, &str, bool); 13] = [
    (100, "", false),
    (204, "", false),
    (302, "", false),
    (503, "", false),
    (1001, "", false),
    (1002, "part", false),
    (1003, "", false),
    (1004, "part", false),
    (1005, "part", false),
    (1006, "part", false),
    (1009, "", false),
    (1010, "", false),
    (1007, "part", true),
];

#[test]
fn whatever_a_server_does_the_application_takes_no_broken_connection_for_a_whole_one() {
    let mut lab = LAB.take();
    let at = SocketAddr::new(lab.impostor.v4(), TUNNEL_PORT);
    let program = lab.peer(&lab.impostor, &lab.papers.impostor, "server", at, at);
    let server: Process = program.spawn().unwrap();
    lab.shop.servers.push(server);
    lab.impostor.place.wait_listening(TUNNEL_PORT, MOMENT).unwrap();
    let before = lab.held(0);
    let target = |port| SocketAddr::new(lab.impostor.v4(), port);
    for (port, bytes, is_end) in &MISDEEDS {
        let start = Instant::now();
        let mut stream = connect(&lab.shop.client, target(*port));
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut got = Vec::new();
        let end = stream
            .read_to_end(&mut got)
            .map(drop)
            .map_err(|error| error.kind());
        let expected = if *is_end {
            Ok(())
        } else {
            Err(ErrorKind::ConnectionReset)
        };
        assert_eq!(
            (String::from_utf8_lossy(&got).as_ref(), end),
            (*bytes, expected),
            "port {port}"
        );
        report!("misdeed {port}: {:?}", start.elapsed());
    }
    // A server that takes nothing: the client's writes stop, and memory does not grow.
    let mut stream = connect(&lab.shop.client, target(1008));
    stream.set_nonblocking(true).unwrap();
    let chunk = vec![7; 65536];
    let (mut written, mut idle) = (0, 0);
    while idle < 20 && written < 200_000_000 {
        if let Ok(count) = stream.write(&chunk) {
            (written, idle) = (written + count, 0);
        } else {
            idle += 1;
            thread::sleep(Duration::from_millis(50));
        }
    }
    assert!(
        written < 30_000_000,
        "{written} bytes were taken for somebody who reads none"
    );
    drop(stream);
    lab.assert_unharmed(0, &before);
}

#[test]
fn strangers_at_the_meshs_ports_do_not_fill_the_log() {
    let mut lab = LAB.take();
    let before = lab.held(1);
    let mark = lab.shop.b().log().len();
    for port in [15001, TUNNEL_PORT] {
        let to = SocketAddr::new(lab.shop.web.v4(), port);
        let knocking = lab.peer(&lab.shop.outsider, &lab.papers.client, "knock", to, to);
        assert_eq!(
            knocking.arg("1500").run(LONG).unwrap().success().unwrap().text(),
            "knocked"
        );
    }
    lab.shop
        .b()
        .wait_log(mark, &["reason=not_captured"], MOMENT)
        .unwrap();
    let failed = |reason| {
        let metrics = lab.shop.b().metrics().unwrap();
        metrics.sum("mesh_node_connections_failed_total", &[("reason", reason)])
    };
    until_true("all to be counted", MOMENT, || {
        failed("not_captured") >= 1500.0 && failed("tls") >= 1400.0
    })
    .unwrap();
    let lines = lab.shop.b().log()[mark..].lines().count();
    report!("3,000 strangers: {lines} lines of log");
    assert!(lines < 300, "{lines} lines");
    thread::sleep(Duration::from_secs(1));
    let to = SocketAddr::new(lab.shop.web.v4(), 15001);
    let knocking = lab.peer(&lab.shop.outsider, &lab.papers.client, "knock", to, to);
    knocking.arg("1").run(MOMENT).unwrap();
    lab.shop.b().wait_log(mark, &["left_out="], MOMENT).unwrap();
    lab.assert_unharmed(1, &before);
}

#[test]
fn a_neighbour_whose_manifest_has_somebody_elses_address_gets_no_clear_text_out_of_the_node() {
    let mut lab = LAB.take();
    let mut liar = lab.shop.mesh.add_pod("node-a", "liar").unwrap();
    liar.addresses = lab.shop.outsider.addresses;
    lab.shop
        .mesh
        .enrol("shop", "node-a", &liar, |manifest| manifest.port("raw", PORT))
        .unwrap();
    let listener = listen(&lab.shop.outsider, PORT);
    let mark = lab.shop.a().log().len();
    let mut stream = connect(&lab.shop.client, SocketAddr::new(lab.shop.outsider.v4(), PORT));
    // The reset shows in whichever comes first after it.
    let ended = stream
        .write_all(b"a secret")
        .map_err(|error| error.kind())
        .and_then(|()| outcome(&mut stream));
    assert_eq!(ended, Err(ErrorKind::ConnectionReset));
    let parts = ["workload=shop/client", "does not have this address"];
    lab.shop.a().wait_log(mark, &parts, MOMENT).unwrap();
    listener.set_nonblocking(true).unwrap();
    if let Ok((mut got, _)) = listener.accept() {
        got.set_nonblocking(false).unwrap();
        assert!(
            outcome(&mut got).unwrap_or_default().is_empty(),
            "a secret left the node"
        );
    }
    lab.shop.mesh.manifests.remove("workload-shop-liar.yaml").unwrap();
}

#[test]
fn a_stop_drains_the_tunnels_of_host_network_workloads_too() {
    let mut lab = LAB.take();
    let host = lab.shop.mesh.add_host_workload("node-b", "hosted").unwrap();
    lab.shop
        .mesh
        .enrol("shop", "node-b", &host, |manifest| manifest.port("raw", PORT))
        .unwrap();
    lab.shop.add_service_with("hosted", 43, 80, PORT, 1).unwrap();
    let listener = listen(&host, PORT);
    let mut near = connect(&lab.shop.client, address("10.96.0.43:80"));
    let (mut far, _) = accept(&listener);
    let mut byte = [0];
    near.write_all(b"a").unwrap();
    far.read_exact(&mut byte).unwrap();
    let process = lab.shop.mesh.nodes[1].process().unwrap();
    process.signal(Signal::SIGTERM).unwrap();
    thread::sleep(Duration::from_millis(500));
    near.write_all(b"b").unwrap();
    far.read_exact(&mut byte).unwrap();
    far.write_all(b"c").unwrap();
    near.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"c", "open connections go on while a node drains");
    assert!(process.wait(MOMENT).unwrap().success());
    assert_eq!(outcome(&mut near), Err(ErrorKind::ConnectionReset));
    assert_eq!(outcome(&mut far), Err(ErrorKind::ConnectionReset));
    lab.shop.b_mut().stop().unwrap_or_default();
    lab.shop.b_mut().start().unwrap();
}

#[test]
fn a_killed_node_does_not_finish_its_peers_connections() {
    let mut lab = LAB.take();
    for node in 0..2 {
        let mut pairs: Vec<_> = (0..2)
            .map(|_| {
                let near = connect(&lab.shop.client, address("10.96.0.41:80"));
                (near, accept(&lab.listener).0)
            })
            .collect();
        // One of them has ended one direction: the other may not look ended for it.
        pairs[1].0.shutdown(Shutdown::Write).unwrap();
        assert_eq!(outcome(&mut pairs[1].1).unwrap(), b"");
        for (near, far) in &mut pairs {
            far.write_all(b"half of it").unwrap();
            near.read_exact(&mut [0; 10]).unwrap();
        }
        lab.shop.mesh.nodes[node].kill().unwrap();
        for (near, far) in &mut pairs {
            // The one beside the killed process is closed by the kernel; the one behind the living proxy is ours.
            let living = if node == 0 { far } else { near };
            let result = if node == 0 {
                // A closed reading direction tells nothing: the reset shows at the next write.
                until("the reset", MOMENT, || Ok(living.write_all(b"x").err())).map(|error| Err(error.kind()))
            } else {
                Ok(outcome(living))
            };
            let kind = result.unwrap().unwrap_err();
            let is_broken = matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
            assert!(is_broken, "{kind}");
        }
        lab.shop.mesh.nodes[node].start().unwrap();
        // What it knows from disk may be older than these two.
        lab.shop.a().wait_captured("shop/client").unwrap();
        lab.shop.b().wait_captured("shop/far").unwrap();
    }
}

#[test]
fn a_node_that_restarts_with_old_news_lets_nobody_past_the_mesh() {
    let mut lab = LAB.take();
    let late = lab.shop.mesh.add_pod("node-a", "late").unwrap();
    lab.shop
        .mesh
        .enrol("shop", "node-a", &late, |manifest| manifest)
        .unwrap();
    let listener = listen(&lab.shop.stranger, PORT);
    let outside = SocketAddr::new(lab.shop.stranger.v4(), PORT);
    // The configuration on disk is a moment old: this workload is not in it.
    lab.shop.a_mut().kill().unwrap();
    lab.shop.mesh.control.kill().unwrap();
    lab.shop.a_mut().start().unwrap();
    thread::sleep(Duration::from_millis(500));
    let refused = late.place.connect(outside, MOMENT).unwrap().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    lab.shop.mesh.control.start().unwrap();
    lab.shop.a().wait_captured("shop/late").unwrap();
    let mark = lab.shop.a().log().len();
    drop(connect(&late, outside));
    drop(accept(&listener));
    lab.shop
        .a()
        .wait_log(mark, &["workload=shop/late", "transport=plaintext"], MOMENT)
        .unwrap();
}
